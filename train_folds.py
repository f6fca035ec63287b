#!/usr/bin/env python3
"""Train one network per fold: `train_folds.py --data cases.csv --folds 5 -o MODEL_DIR`."""

import sys

from shiva_cmb.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
