#!/usr/bin/env python3
"""Drop-in for the published script: `predict_one_file.py -i IMAGE -b MASK -m FOLD [-m FOLD] -o OUTPUT`."""

import sys

from shiva_cmb.cli.predict_one_file import main

if __name__ == "__main__":
    sys.exit(main())
