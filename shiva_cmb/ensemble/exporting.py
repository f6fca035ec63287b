"""Writes a bundle's folds in the formats of other programs."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from shiva_cmb.ensemble.bundle import Bundle, FoldFile, Identity, verify_bundle, write_bundle
from shiva_cmb.ensemble.conversion import FoldSource, as_saved_models, export_in_child, read_saved_model
from shiva_cmb.ensemble.formats import detect_format
from shiva_cmb.ensemble.half_size import store_half_size
from shiva_cmb.errors import ModelError, Note, warn_user
from shiva_cmb.files import new_directory, require_new

ExportFormat = Literal["savedmodel", "float16", "openvino", "onnx"]


def export_bundle(
    bundle: Bundle,
    folder: str | Path,
    kind: ExportFormat,
    *,
    trust_model_code: bool = False,
    note: Note = warn_user,
) -> Path:
    """Export every fold.

    `savedmodel` gives a bundle again, one SavedModel folder per fold with the `model_info.json` and md5 that
    SHiVAi reads: put it below SHiVAi's model folder. `float16` gives a bundle again, with `.h5` files of
    half the size, see `store_half_size`. `openvino` gives `fold_k.xml` and `.bin`, `onnx` gives
    `fold_k.onnx`; beside them `settings.json` says how to prepare images.

    Args:
        bundle: the model.
        folder: made new.
        kind: the format.
        trust_model_code: whether Python code inside Keras files may run.
        note: told what was not checked.

    Returns:
        The folder.

    Raises:
        ModelError: if a fold is missing, differs from its checksum, or cannot be exported.
        OutputError: if the folder exists or cannot be written.
    """
    folder = Path(folder)
    require_new(folder)
    checksums = verify_bundle(bundle, note=note)
    folds = [FoldSource(path, sums.sha256) for path, sums in zip(bundle.fold_paths, checksums, strict=True)]
    if kind == "savedmodel":
        with tempfile.TemporaryDirectory(prefix="shiva_cmb-") as work:
            _write_again(bundle, as_saved_models(folds, Path(work), trust_model_code), folder)
        return folder
    if kind == "float16":
        with tempfile.TemporaryDirectory(prefix="shiva_cmb-") as work:
            _write_again(bundle, _half_size(folds, Path(work)), folder)
        return folder
    with new_directory(folder) as temporary:
        if kind == "openvino":
            _write_openvino(bundle, folds, temporary, trust_model_code)
        else:
            _write_onnx(folds, temporary, trust_model_code)
        settings = bundle.part.model_dump(mode="json", exclude={"folds"})
        (temporary / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return folder


def _write_again(bundle: Bundle, paths: Sequence[Path], folder: Path) -> None:
    known = bundle.part.folds or (None,) * len(paths)
    files = [
        FoldFile(path, fold.validation_cases, fold.metrics) if fold else FoldFile(path)
        for path, fold in zip(paths, known, strict=True)
    ]
    descriptor = bundle.descriptor
    identity = Identity(
        target=descriptor.target,
        version=descriptor.version,
        release_date=descriptor.release_date,
        author=descriptor.author,
        url=descriptor.url,
    )
    write_bundle(folder, files, bundle.part, identity)


def _half_size(folds: Sequence[FoldSource], work: Path) -> list[Path]:
    paths = []
    for number, fold in enumerate(folds):
        if detect_format(fold.path) != "h5":
            raise ModelError(f"{fold.path} is no .h5 file: only those are stored in float16")
        paths.append(store_half_size(fold.path, work / f"fold_{number}.h5"))
    return paths


def _write_openvino(
    bundle: Bundle, folds: Sequence[FoldSource], folder: Path, trust_model_code: bool
) -> None:
    from shiva_cmb.ensemble.quiet_openvino import openvino

    size = (*bundle.part.input.shape, len(bundle.part.channels))
    with tempfile.TemporaryDirectory(prefix="shiva_cmb-") as work:
        for number, path in enumerate(as_saved_models(folds, Path(work), trust_model_code)):
            model = read_saved_model(path, folds[number].path, size)
            openvino.save_model(model, folder / f"fold_{number}.xml", compress_to_fp16=False)


def _write_onnx(folds: Sequence[FoldSource], folder: Path, trust_model_code: bool) -> None:
    for fold in folds:
        if detect_format(fold.path) == "saved_model":
            raise ModelError(f"{fold.path} is a SavedModel: ONNX is written from Keras files (.h5, .keras)")
    jobs = [(fold.path, folder / f"fold_{number}.onnx") for number, fold in enumerate(folds)]
    export_in_child(jobs, trust_model_code, "onnx")
