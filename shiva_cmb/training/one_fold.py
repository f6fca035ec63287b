"""One fold of a training that is prepared: `python -m shiva_cmb.training.one_fold MODEL_DIR NUMBER`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shiva_cmb.errors import ShivaCmbError
from shiva_cmb.training.run import Run, stored_cases, stored_settings
from shiva_cmb.training.train import Progress, RunOptions, prepare_training, train_one_fold


def main(arguments: Sequence[str] | None = None) -> int:
    """Train it; a remark is a line that starts with `note: `, a failure one that starts with `error: `."""
    parser = argparse.ArgumentParser(description="Train one fold of a prepared training.")
    parser.add_argument("output", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tensorboard", action="store_true")
    given = parser.parse_args(arguments)
    run = Run(given.output)
    options = RunOptions(cache=given.cache, workers=given.workers, tensorboard=given.tensorboard)
    try:
        training = prepare_training(
            run,
            stored_cases(run),
            stored_settings(run),
            options,
            note=lambda line: None,  # was said when the cases were prepared
            progress=Progress(),
        )
        train_one_fold(replace(training, note=_note), given.number)
    except (ShivaCmbError, OSError) as error:
        sys.stderr.write(f"\nerror: {error}\n")  # native libraries may have left a line open
        return error.exit_code if isinstance(error, ShivaCmbError) else 1
    return 0


def _note(line: str) -> None:
    sys.stderr.write(f"\nnote: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
