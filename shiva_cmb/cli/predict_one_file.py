"""`predict_one_file.py`: the flags and behaviour of the published script, without its defects."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from shiva_cmb.cli import values
from shiva_cmb.cli.failing import run_command
from shiva_cmb.cli.screen import be_verbose, print_note, showing_steps
from shiva_cmb.errors import OutputError, UsageError
from shiva_cmb.files import require_not_inputs, require_writable_folder

WRITABLE = (".nii", ".nii.gz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        0, or 1 for a problem with the data, 2 for wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _run(_parser().parse_args(given)), "--debug" in given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predict_one_file.py",
        description="Mean probability of the folds for one image that is scaled and on the model grid "
        "(160x214x176 voxels of 1 mm for the published models). For an image straight from the scanner use "
        "`shiva-cmb predict`. Not for clinical use.",
    )
    add = parser.add_argument
    add("-i", "--input", type=Path, action="append", help="image; repeat it for every channel, in order")
    add(
        "-m",
        "--model",
        type=Path,
        action="append",
        help="fold file, SavedModel folder, bundle or bundled model's name",
    )
    add("-b", "--braimask", dest="mask", type=Path, help="brain mask; also spelled --brainmask")
    add("--m", dest="model", type=Path, action="append", help=argparse.SUPPRESS)
    # short forms the published script understands would be ambiguous among the spellings there are now
    add("--brainmask", "--br", "--bra", "--brai", dest="mask", type=Path, help=argparse.SUPPRESS)
    add("-o", "--output", type=Path, help="where the map goes (.nii or .nii.gz), 4-D as published")
    add("-g", "--gpu", type=int, default=0, help="which GPU, -1 for none (default 0)")
    add("--batch_size", type=int, default=1, help="kept for compatibility: one image is one batch")
    add("--verbose", action="store_true", help="say what is done")
    add("--debug", action="store_true", help="show the traceback of an error")
    ours = parser.add_argument_group("beyond the published script")
    add = ours.add_argument
    add("--labels", type=Path, metavar="FILE", help="write the labelled lesions (.nii or .nii.gz)")
    add("--table", type=Path, metavar="FILE", help="write the lesion table (.tsv)")
    add("--threshold", type=float, help="for labels and table; default: the model's own, else 0.5")
    add("--min-volume-mm3", type=float, help="for labels and table; default: the model's own")
    add("--engine", choices=("auto", "openvino", "keras"), default="auto")
    add("--precision", choices=("auto", "f32", "bf16"), default="auto")
    add("--trust-model-code", action="store_true", help="let Python code inside Keras files run")
    return parser


def _run(given: argparse.Namespace) -> None:
    for flag, value in (("-i", given.input), ("-m", given.model), ("-o", given.output)):
        if not value:
            raise UsageError(f"{flag} is missing: predict_one_file.py -i IMAGE -m MODEL -o OUTPUT [-b MASK]")
    if given.batch_size < 1:
        raise UsageError(f"--batch_size {given.batch_size}: expected at least 1")
    _check_outputs(given)
    if given.verbose:
        be_verbose()

    from shiva_cmb.ensemble import EngineOptions
    from shiva_cmb.lesions import LesionCriteria
    from shiva_cmb.prediction import OneFileJob, predict_one_file

    changes = {"threshold": given.threshold, "min_volume_mm3": given.min_volume_mm3}
    job = OneFileJob(
        images=tuple(given.input),
        models=tuple(given.model),
        output=given.output,
        mask=given.mask,
        labels=given.labels,
        table=given.table,
        change_criteria=lambda own: values.changed_criteria(own, **changes),
    )
    engine = EngineOptions(
        engine=given.engine,
        precision=given.precision,
        gpu=given.gpu,
        trust_model_code=given.trust_model_code,
    )
    values.changed_criteria(LesionCriteria(), **changes)  # a value out of range is said before the work
    with showing_steps(given.input[0].name):
        count = predict_one_file(job, engine, note=print_note)
    if count is not None and given.verbose:
        print(f"{count} lesions")


def _check_outputs(given: argparse.Namespace) -> None:
    """Say before the work what could not be written after it."""
    outputs = [path for path in (given.output, given.labels, given.table) if path is not None]
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise UsageError("two results have the same file name")
    if (
        given.labels is None
        and given.table is None
        and (given.threshold, given.min_volume_mm3) != (None, None)
    ):
        raise UsageError("--threshold and --min-volume-mm3 are for --labels and --table: name one of these")
    for path in outputs:
        if path is not given.table and not path.name.endswith(WRITABLE):
            raise UsageError(f"{path}: expected a name that ends in .nii or .nii.gz")
        if path.is_dir():
            raise OutputError(f"{path} is a folder: name a file")
        require_writable_folder(path.absolute().parent)
    require_not_inputs(outputs, [*given.input, *given.model, *([given.mask] if given.mask else [])])
