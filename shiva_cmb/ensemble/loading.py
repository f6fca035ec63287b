"""An ensemble in memory: loaded once, called many times."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.ensemble.averaging import AVERAGING, Averaging, AveragingName, EnsembleMaps, average_folds
from shiva_cmb.ensemble.bundle import DESCRIPTOR_NAME, open_bundle, verify_bundle
from shiva_cmb.ensemble.bundled import bundled_model, named_model
from shiva_cmb.ensemble.conversion import FoldSource, UnsupportedModelError, convert, fold_sources
from shiva_cmb.ensemble.descriptor import ASSUMED_SHIVAI_PART, ShivaCmbPart
from shiva_cmb.ensemble.formats import detect_format
from shiva_cmb.ensemble.keras_files import inspect_keras_file, refuse_foreign_code
from shiva_cmb.errors import ImageError, ModelError, Note, UsageError, warn_user

EngineName = Literal["auto", "openvino", "keras"]
Precision = Literal["auto", "f32", "bf16"]


@dataclass(frozen=True)
class EngineOptions:
    """How the folds are run."""

    engine: EngineName = "auto"
    """`auto`: Keras where a GPU is there, else OpenVINO."""
    precision: Precision = "auto"
    """`auto`: bf16 where the processor has it. Only OpenVINO can choose."""
    threads: int | None = None
    """Processor threads; None: all."""
    gpu: int | None = None
    """Which GPU; negative: none; None: whatever TensorFlow finds."""
    trust_model_code: bool = False
    """Whether Python code inside Keras files may run."""


class Engine(Protocol):
    """Runs the folds."""

    name: str
    precision: str

    def fold_outputs(self, batch: NDArray[np.float32]) -> Any:
        """Each fold's probabilities (x, y, z) for one image (1, x, y, z, channels)."""


@dataclass(frozen=True)
class ModelSource:
    """The folds on disk and what they expect, before anything is loaded."""

    folds: tuple[FoldSource, ...]
    part: ShivaCmbPart
    """The bundle's own part; for bare model files, what SHiVAi would do."""
    described: bool
    """Whether `part` was written for this package rather than assumed."""
    from_bundle: bool
    """Whether there is a descriptor at all, rather than bare fold files."""
    version: str = ""
    """The bundle's version, for provenance."""


class Ensemble:
    """Folds that stay loaded.

    Example:
        >>> ensemble = shiva_cmb.load_ensemble("my_model")
        >>> for path in paths:
        ...     result = shiva_cmb.predict(path, model=ensemble)
    """

    def __init__(self, source: ModelSource, options: EngineOptions, note: Note = warn_user) -> None:
        """Load the folds; see `load_ensemble`."""
        self.source = source
        self.part = source.part
        self.options = options
        self.notes: tuple[str, ...] = ()
        """What was said while it was loaded."""
        self._engine = _start_engine(source, options, note)
        self._lock = Lock()

    @property
    def engine(self) -> str:
        """`openvino` or `keras`."""
        return self._engine.name

    @property
    def precision(self) -> str:
        """`f32` or `bf16`, as used."""
        return self._engine.precision

    @property
    def averaging(self) -> Averaging:
        """How this model's folds are usually averaged."""
        return AVERAGING[self.part.averaging]

    def predict(
        self,
        channels: NDArray[np.float32],
        mask: NDArray[np.float32] | None = None,
        *,
        averaging: AveragingName | None = None,
        threshold: float | None = None,
    ) -> EnsembleMaps:
        """Run all folds on one image on the model grid and average them.

        Args:
            channels: scaled image, shape (x, y, z, channels) or, for one channel, (x, y, z).
            mask: brain mask on the same grid, or None.
            averaging: one of the published variants; None: the bundle's own.
            threshold: where a fold agrees; None: the bundle's own.

        Returns:
            Mean, deviation and agreement, arrays of shape (x, y, z).

        Raises:
            ImageError: if the shape is not the model's.
            ModelError: if a fold gives something else than probabilities.
        """
        if channels.ndim == 3:
            channels = channels[..., None]
        expected = (*self.part.input.shape, len(self.part.channels))
        if channels.shape != expected:
            raise ImageError(
                f"the model takes {expected} (x, y, z, channels), the image has {channels.shape}"
            )
        rule = AVERAGING[averaging] if averaging else self.averaging
        limit = self.part.operating_point.threshold if threshold is None else threshold
        image = channels.astype(np.float32, copy=False)
        if mask is not None and rule.mask_input:
            image = image * mask[..., None].astype(np.float32, copy=False)
        # the engine's outputs are overwritten by its next call, which may be another thread's
        with self._lock:
            return average_folds(list(self._engine.fold_outputs(image[None])), mask, rule, limit)


def load_ensemble(
    model: str | Path | Sequence[str | Path] | None = None,
    *,
    model_dir: str | Path | None = None,
    shape: tuple[int, int, int] | None = None,
    channels: int | None = None,
    options: EngineOptions | None = None,
    note: Note = warn_user,
) -> Ensemble:
    """Load a model so that it can be used many times.

    Args:
        model: a bundle (folder or JSON), the name of a bundled model, or one or several fold files (`.h5`,
            `.keras`, SavedModel folder); None: the bundled microbleed ensemble.
        model_dir: where the folds named by a JSON lie; by default beside it.
        shape: image size for bare files that take any; default 160x214x176.
        channels: number of channels for bare files; default 1.
        options: how to run it.
        note: told what was assumed.

    Raises:
        ModelError: if a fold is missing, damaged, has the wrong checksum or shape, or holds untrusted code.
        UsageError: if the precision cannot be had.
    """
    notes: list[str] = []

    def say(line: str) -> None:
        notes.append(line)
        note(line)

    options = options or EngineOptions()
    source = find_model(model, model_dir=model_dir, note=say)
    if not source.from_bundle:
        source = replace(source, part=_assumed_part(source, shape, channels, say))
    for fold in source.folds:  # before the cache is looked at: what was trusted once is not trusted for ever
        if detect_format(fold.path) != "saved_model":
            refuse_foreign_code(fold.path, options.trust_model_code)
    ensemble = Ensemble(source, options, say)
    ensemble.notes = tuple(notes)
    return ensemble


def find_model(
    model: str | Path | Sequence[str | Path] | None,
    *,
    model_dir: str | Path | None = None,
    note: Note = warn_user,
) -> ModelSource:
    """Find and check the folds of a model without loading them; for `model` see `load_ensemble`.

    Raises:
        ModelError: if a fold is missing, unreadable or has the wrong checksum.
        UsageError: if several models are named and one of them is a bundle.
    """
    if model is None:
        model = bundled_model()
    named = [model] if isinstance(model, str | Path) else list(model)
    paths = [named_model(path) for path in named]
    if not paths:
        raise UsageError("no model was given: name a bundle, or one or more fold files")
    formats = [detect_format(path) for path in paths]
    if "zip" in formats:
        raise ModelError(f"{paths[formats.index('zip')]} is packed: unpack it with `shiva-cmb model import`")
    if formats == ["bundle"]:
        bundle = open_bundle(paths[0], model_dir, note=note)
        sums = verify_bundle(bundle, note=note)
        folds = tuple(
            FoldSource(path, checksums.sha256)
            for path, checksums in zip(bundle.fold_paths, sums, strict=True)
        )
        described = bundle.descriptor.shiva_cmb is not None
        return ModelSource(_different(folds, note), bundle.part, described, True, bundle.descriptor.version)
    if "bundle" in formats:
        raise UsageError("name either one bundle or the files of its folds, not both")
    if model_dir is not None:
        raise UsageError(
            "--model-dir goes with a descriptor (JSON) that names its folds, not with fold files"
        )
    folds = _different(fold_sources(paths), note)
    return ModelSource(folds, ASSUMED_SHIVAI_PART, described=False, from_bundle=False)


def _different(folds: tuple[FoldSource, ...], note: Note) -> tuple[FoldSource, ...]:
    if len({fold.sha256 for fold in folds}) < len(folds):
        note("the same fold is given more than once: it counts more than the others")
    return folds


def _assumed_part(
    source: ModelSource, shape: tuple[int, int, int] | None, channels: int | None, note: Note
) -> ShivaCmbPart:
    """What bare fold files are taken to expect: their own input shape, and for the rest SHiVAi's ways.

    Who states the shape prepares the images too, so nothing needs to be said of preprocessing.
    """
    part = source.part
    first = source.folds[0].path
    if shape is None:
        beside = first.parent / DESCRIPTOR_NAME
        hint = f"; {beside} may say otherwise: name its folder to use it" if beside.is_file() else ""
        note(
            f"{first.name} comes without a description: preprocessing, scaling and averaging are taken to be "
            f"SHiVAi's{hint}"
        )
        if detect_format(first) != "saved_model":
            stated = inspect_keras_file(first).input_shape or ()
            if len(stated) == 5 and None not in stated[1:]:
                shape, channels = stated[1:4], channels or stated[4]  # type: ignore[assignment]
    changes: dict[str, Any] = {}
    if shape is not None:
        changes["input"] = part.input.model_copy(update={"shape": tuple(shape)})
    if channels is not None and channels != len(part.channels):
        changes["channels"] = tuple(f"channel_{number}" for number in range(channels))
    return part.model_copy(update=changes)


def _start_engine(source: ModelSource, options: EngineOptions, note: Note) -> Engine:
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"expected at least one thread, got {options.threads}")
    if options.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(options.gpu)  # read when TensorFlow is imported
    if options.engine == "keras" or (options.engine == "auto" and _gpu_is_usable(options.gpu, note)):
        return _keras_engine(source, options)
    from shiva_cmb.ensemble.openvino_engine import OpenVinoEngine

    try:
        model = convert(
            source.folds,
            source.part.input.shape,
            len(source.part.channels),
            trust_model_code=options.trust_model_code,
            note=note,
        )
    except UnsupportedModelError as error:
        if options.engine == "openvino":
            raise
        note(f"{error}; TensorFlow is used instead, which is slower")
        return _keras_engine(source, options)
    return OpenVinoEngine(model, options.precision, options.threads)


def _keras_engine(source: ModelSource, options: EngineOptions) -> Engine:
    if options.precision == "bf16":
        raise UsageError("bf16 can be chosen with the openvino engine only; the keras engine runs in f32")
    from shiva_cmb.ensemble.keras_engine import KerasEngine

    return KerasEngine([fold.path for fold in source.folds], options.threads, options.trust_model_code)


def _gpu_is_usable(gpu: int | None, note: Note) -> bool:
    """Look for the driver's device files first: without one, TensorFlow need not be imported to ask."""
    if (gpu is not None and gpu < 0) or not any(Path("/dev").glob("nvidia[0-9]*")):
        return False
    from shiva_cmb.ensemble.keras_engine import gpu_is_visible

    if gpu_is_visible():
        return True
    note(
        "there is a GPU, but this TensorFlow cannot use it: using the processor "
        "(pip install 'tensorflow[and-cuda]' to use the GPU)"
    )
    return False
