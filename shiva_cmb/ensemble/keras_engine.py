"""The one place outside networks and training that touches Keras and TensorFlow.

Run as `python -m shiva_cmb.ensemble.keras_engine SOURCE TARGET ...` it exports Keras files; see
`conversion.export_in_child`.
"""

import argparse
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.ensemble.formats import detect_format
from shiva_cmb.ensemble.keras_files import refuse_foreign_code
from shiva_cmb.errors import ModelError, ShivaCmbError

log = logging.getLogger(__name__)

ExportKind = Literal["savedmodel", "onnx"]


def gpu_is_visible() -> bool:
    """Whether TensorFlow sees a GPU. Imports TensorFlow."""
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


def load_keras_model(path: str | Path, *, trust_model_code: bool = False) -> Any:
    """Load an `.h5` or `.keras` file of Keras 2 or 3, in float32.

    Args:
        path: the file.
        trust_model_code: whether Python code in its layers may run.

    Returns:
        A `keras.Model`, or a `tf_keras.Model` for a Keras-2 file.

    Raises:
        ModelError: if the file is damaged, holds untrusted code, or needs tf-keras and that is not installed.
    """
    path = Path(path)
    file = refuse_foreign_code(path, trust_model_code)
    has_tf_keras = importlib.util.find_spec("tf_keras") is not None
    if file.needs_tf_keras and not has_tf_keras:
        raise ModelError(
            f"{path} is a Keras 2 file: to read it, install tf-keras (pip install 'shiva-cmb[legacy]')"
        )
    try:
        if file.format.startswith("keras2") and has_tf_keras:
            return _load_keras2(path, file.format == "keras2-archive", trust_model_code)
        import keras

        return keras.models.load_model(path, compile=False, safe_mode=not trust_model_code)
    except Exception as error:  # Keras raises whatever its layers raise
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"{path} cannot be loaded: {reason[0] if reason else type(error).__name__}"
        ) from error


def _load_keras2(path: Path, is_archive: bool, trust_model_code: bool) -> Any:
    """Rebuild a Keras 2 model in float32: processors have no half-precision pooling."""
    import h5py
    import tensorflow
    import tf_keras

    names = {"tf": tensorflow}  # as Lambda layers of the published models call it
    if trust_model_code:
        tf_keras.__internal__.enable_unsafe_deserialization()
    if is_archive:
        model = tf_keras.models.load_model(path, custom_objects=names, compile=False)
        config = {"class_name": type(model).__name__, "config": model.get_config()}
    else:
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
    rebuilt = tf_keras.models.model_from_json(json.dumps(_in_float32(config)), custom_objects=names)
    if is_archive:
        rebuilt.set_weights(model.get_weights())
    else:
        rebuilt.load_weights(path)
    return rebuilt


def _in_float32(config: Any) -> Any:
    """The same configuration with every mixed-precision policy replaced."""
    if isinstance(config, dict):
        if config.get("class_name") in ("Policy", "PolicyV1", "DTypePolicy") and "config" in config:
            return "float32"
        return {
            key: "float32" if key == "dtype" and value == "mixed_float16" else _in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_in_float32(item) for item in config]
    return config


def export_model(
    source: Path, target: Path, kind: ExportKind = "savedmodel", *, trust_model_code: bool = False
) -> None:
    """Write a Keras file as a SavedModel (`.serve`, `serving_default`) or as ONNX, with a free batch size.

    Raises:
        ModelError: see `load_keras_model`; or if ONNX is asked for and tf2onnx is missing, or the file is of
            Keras 2.
    """
    model = load_keras_model(source, trust_model_code=trust_model_code)
    legacy = type(model).__module__.startswith("tf_keras")
    if kind == "savedmodel":
        if legacy:
            model.export(str(target))
        else:
            model.export(str(target), format="tf_saved_model", verbose=False)
        return
    if legacy:
        raise ModelError(f"{source} is a Keras 2 file: export it as savedmodel, ONNX is for Keras 3 files")
    if importlib.util.find_spec("tf2onnx") is None:
        raise ModelError("ONNX export needs tf2onnx: pip install 'shiva-cmb[onnx]'")
    model(model.inputs[0])  # Keras exports only what was called, be it with symbols
    model.export(str(target), format="onnx", verbose=False)


class KerasEngine:
    """Loaded models, run by TensorFlow: for GPUs, and for what OpenVINO cannot read."""

    name = "keras"
    precision = "f32"

    def __init__(
        self, paths: Sequence[Path], threads: int | None = None, trust_model_code: bool = False
    ) -> None:
        """Load all folds.

        Args:
            paths: the folds' files and folders.
            threads: how many processor threads to use; None: TensorFlow's choice.
            trust_model_code: whether Python code inside Keras files may run.

        Raises:
            ModelError: see `load_keras_model`.
        """
        _set_up_tensorflow(threads)
        self._folds = [_loaded(path, trust_model_code) for path in paths]

    def fold_outputs(self, batch: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Run the folds one by one.

        Args:
            batch: one scaled image, shape (1, x, y, z, channels).

        Yields:
            Each fold's probabilities, shape (x, y, z).

        Raises:
            ModelError: if a fold refuses the image's shape or gives something else than one channel.
        """
        import tensorflow

        image = tensorflow.constant(batch)
        for path, run in self._folds:
            try:
                output = np.asarray(run(image), dtype=np.float32)
            except (ValueError, TypeError, tensorflow.errors.InvalidArgumentError) as error:
                reason = str(error).strip().splitlines()[0]
                raise ModelError(f"{path} does not take an image of shape {batch.shape}: {reason}") from error
            if output.shape != (*batch.shape[:4], 1):
                raise ModelError(f"{path} gives {output.shape}, expected {(*batch.shape[:4], 1)}")
            yield output[0, ..., 0]


def _set_up_tensorflow(threads: int | None) -> None:
    import tensorflow

    try:
        for device in tensorflow.config.list_physical_devices("GPU"):
            tensorflow.config.experimental.set_memory_growth(device, True)
        if threads is not None:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        # the caller's own TensorFlow runs already, and cannot be set up again
        log.info("TensorFlow keeps its present settings: %s", error)


def _loaded(path: Path, trust_model_code: bool) -> tuple[Path, Any]:
    import tensorflow

    if detect_format(path) != "saved_model":
        model = load_keras_model(path, trust_model_code=trust_model_code)
        return path, tensorflow.function(lambda image: model(image, training=False))
    try:
        model = tensorflow.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} cannot be loaded: {reason}") from error
    if not hasattr(model, "serve") and "serving_default" not in model.signatures:
        raise ModelError(f"{path} has neither `serve` nor the signature `serving_default`")

    def run(image: Any) -> Any:
        # called through the model: its functions alone do not keep its variables alive
        if hasattr(model, "serve"):
            return model.serve(image)
        signature = model.signatures["serving_default"]
        (name,) = signature.structured_input_signature[1]
        (output,) = signature(**{name: image}).values()
        return output

    return path, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Export pairs of SOURCE and TARGET; a failure is one line on stderr that starts with `error: `."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(description="Export Keras files.")
    parser.add_argument("--kind", choices=get_args(ExportKind), default="savedmodel")
    parser.add_argument("--trust-model-code", action="store_true")
    parser.add_argument("paths", nargs="+", type=Path, metavar="SOURCE TARGET")
    options = parser.parse_args(arguments)
    for source, target in zip(options.paths[::2], options.paths[1::2], strict=True):
        try:
            export_model(source, target, options.kind, trust_model_code=options.trust_model_code)
        except ShivaCmbError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        except Exception as error:  # the child's last word to its parent
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            sys.stderr.write(f"error: {source} could not be exported: {reason}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
