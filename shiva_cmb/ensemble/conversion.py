"""Turns an ensemble of any format into one OpenVINO model, once, and keeps it in the user's cache folder.

OpenVINO reads SavedModels itself, without TensorFlow. Keras files go through a SavedModel that a child
process writes, so that TensorFlow's memory and messages never reach the caller.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.ensemble.formats import detect_format
from shiva_cmb.errors import ModelError, Note, warn_user

CACHE_VERSION = "2"
"""Raise when what is stored changes."""

KEPT_FILES = ("ensemble.xml", "ensemble.bin")

log = logging.getLogger(__name__)


class UnsupportedModelError(ModelError):
    """A model that OpenVINO cannot read, though TensorFlow may."""


@dataclass(frozen=True)
class FoldSource:
    """One fold as it lies on disk."""

    path: Path
    """A SavedModel folder, an `.h5` or a `.keras` file."""
    sha256: str
    """Of its content, see `checksums.sha256_of`."""


def fold_sources(paths: Sequence[Path]) -> tuple[FoldSource, ...]:
    """Hash the folds.

    Raises:
        ModelError: if one is missing or unreadable.
    """
    return tuple(FoldSource(path, sha256_of(path)) for path in paths)


def cache_folder() -> Path:
    """Where converted models are kept: `$SHIVA_CMB_CACHE`, else the user's cache folder."""
    import platformdirs

    named = os.environ.get("SHIVA_CMB_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("shiva_cmb")) / "openvino"


def convert(
    folds: Sequence[FoldSource],
    shape: tuple[int, int, int],
    channels: int,
    *,
    trust_model_code: bool = False,
    note: Note = warn_user,
) -> Path:
    """Find the ensemble in the cache, or convert it.

    Args:
        folds: the models, all with one input (batch, x, y, z, channels) and one output (batch, x, y, z, 1).
        shape: image size (x, y, z) the models will get; must be theirs where they fix one.
        channels: number of channels of the image.
        trust_model_code: whether Python code inside Keras files may run.
        note: told where the cache cannot be used.

    Returns:
        The `.xml` file of one OpenVINO model: input (1, x, y, z, channels), one output per fold. Where the
        cache folder cannot be written, in a temporary folder that is removed when Python ends.

    Raises:
        UnsupportedModelError: if OpenVINO cannot read a fold.
        ModelError: if a fold is damaged or its shape is not as expected.
    """
    from shiva_cmb.ensemble.quiet_openvino import openvino

    made_of = [
        CACHE_VERSION,
        openvino.__version__,
        str(shape),
        str(channels),
        *(fold.sha256 for fold in folds),
    ]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    kept = cache_folder() / key
    if _is_whole(kept):
        return kept / "ensemble.xml"
    with tempfile.TemporaryDirectory(prefix="shiva_cmb-") as work:
        saved_models = as_saved_models(folds, Path(work), trust_model_code)
        model = _merge(
            [
                read_saved_model(path, fold.path, (*shape, channels))
                for path, fold in zip(saved_models, folds, strict=True)
            ]
        )
        try:
            return _keep(model, kept)
        except OSError as error:
            note(f"the converted model could not be kept in {cache_folder()} ({error.strerror or error})")
            return _keep(model, Path(_temporary_folder()) / key)


_folders_to_remove: list[tempfile.TemporaryDirectory[str]] = []


def _temporary_folder() -> str:
    folder = tempfile.TemporaryDirectory(prefix="shiva_cmb-")
    _folders_to_remove.append(folder)  # removes itself when the interpreter ends
    return folder.name


def _is_whole(kept: Path) -> bool:
    """Whether a cache entry is there, readable and as it was written; a damaged one is removed."""
    try:
        listed = json.loads((kept / "sha256.json").read_text(encoding="utf-8"))
        if listed == {name: sha256_of(kept / name) for name in KEPT_FILES}:
            return True
    except FileNotFoundError:
        if not kept.exists():
            return False
    except (OSError, ValueError, ModelError) as error:
        log.info("the cache entry %s cannot be used: %s", kept, error)
    shutil.rmtree(kept, ignore_errors=True)
    return False


def _keep(model: Any, final: Path) -> Path:
    """Write the model under a temporary name and rename it; another process may have been first."""
    from shiva_cmb.ensemble.quiet_openvino import openvino

    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=final.parent, ignore_cleanup_errors=True) as work:
        folder = Path(work) / "entry"  # made with ordinary rights: a cache may be shared between users
        folder.mkdir()
        try:
            openvino.save_model(model, folder / "ensemble.xml", compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO reports a full disk so
            raise OSError(None, str(error).splitlines()[0]) from error
        sums = {name: sha256_of(folder / name) for name in KEPT_FILES}
        (folder / "sha256.json").write_text(json.dumps(sums), encoding="utf-8")
        try:
            folder.replace(final)
        except OSError:
            if not _is_whole(final):
                raise
    return final / "ensemble.xml"


def as_saved_models(folds: Sequence[FoldSource], work: Path, trust_model_code: bool) -> list[Path]:
    """A SavedModel folder per fold, the Keras files among them exported in one child process."""
    saved_models = [
        fold.path if detect_format(fold.path) == "saved_model" else work / f"fold_{number}"
        for number, fold in enumerate(folds)
    ]
    jobs = [
        (fold.path, target) for fold, target in zip(folds, saved_models, strict=True) if fold.path != target
    ]
    if jobs:
        export_in_child(jobs, trust_model_code)
    return saved_models


def export_in_child(
    jobs: Sequence[tuple[Path, Path]], trust_model_code: bool, kind: str = "savedmodel"
) -> None:
    """Export Keras files in a process of its own.

    Args:
        jobs: pairs of a Keras file and what to write.
        trust_model_code: whether Python code inside the files may run.
        kind: `savedmodel` or `onnx`.

    Raises:
        ModelError: with the child's own line if it fails.
    """
    command = [sys.executable, "-m", "shiva_cmb.ensemble.keras_engine", "--kind", kind]
    if trust_model_code:
        command.append("--trust-model-code")
    for source, target in jobs:
        command += [str(source), str(target)]
    # the child must find this package also where it runs from a checkout that is not installed
    package_parent = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    child = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    log.debug("export of %s:\n%s%s", jobs, child.stdout, child.stderr)
    if child.returncode == 0:
        return
    lines = [line for line in child.stderr.splitlines() if line.startswith("error: ")]
    reason = (
        lines[-1].removeprefix("error: ") if lines else f"the export ended with status {child.returncode}"
    )
    raise ModelError(reason if lines else f"{jobs[0][0]} could not be converted: {reason}")


def read_saved_model(saved_model: Path, named: Path, size: tuple[int, int, int, int]) -> Any:
    """Read a SavedModel and fix its input to one image of `size` (x, y, z, channels)."""
    from shiva_cmb.ensemble.quiet_openvino import openvino

    try:
        model = openvino.Core().read_model(saved_model)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UnsupportedModelError(f"{named} cannot be read by OpenVINO: {reason}") from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"{named} has {len(model.inputs)} inputs and {len(model.outputs)} outputs, expected one of each"
        )
    declared = model.input(0).partial_shape
    if not declared.compatible(openvino.PartialShape([1, *size])):
        raise ModelError(
            f"{named} takes an input of {declared} (batch, x, y, z, channels), but {size} is to be given"
        )
    model.reshape([1, *size])
    produced = model.output(0).partial_shape
    if not produced.same_scheme(openvino.PartialShape([1, *size[:3], 1])):
        raise ModelError(f"{named} gives an output of shape {produced}, expected {(1, *size[:3], 1)}")
    return model


def _merge(models: Sequence[Any]) -> Any:
    """One OpenVINO model with a shared float32 input and one float32 output per fold."""
    from shiva_cmb.ensemble.quiet_openvino import openvino

    ops = openvino.opset13
    shared = ops.parameter(list(models[0].input(0).shape), np.float32, name="image")
    results = []
    for model in models:
        old = model.get_parameters()[0]
        image = (
            shared
            if old.get_element_type() == openvino.Type.f32
            else ops.convert(shared, old.get_element_type())
        )
        old.output(0).replace(image.output(0))
        output = model.get_results()[0].input_value(0)
        if output.get_element_type() != openvino.Type.f32:
            output = ops.convert(output, "f32").output(0)
        results.append(ops.result(output))
    return openvino.Model(results, [shared], "shiva_cmb_ensemble")
