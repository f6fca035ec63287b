"""What a Keras file is and holds, read without Keras: nothing in the file runs."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from shiva_cmb.ensemble.foreign_code import find_foreign_code, legacy_operations, walk
from shiva_cmb.errors import ModelError

KerasFormat = Literal["keras3-h5", "keras2-h5", "keras", "keras2-archive"]
_MAX_CONFIG_BYTES = 64 << 20
_HALF_PRECISION = ("mixed_float16", "float16")


@dataclass(frozen=True)
class KerasFile:
    """A Keras file that was looked at, not loaded."""

    path: Path
    format: KerasFormat
    """`keras` is the zip archive of Keras 3; `keras2-archive` is the one tf-keras wrote."""
    keras_version: str
    """Empty if the file does not say."""
    input_shape: tuple[int | None, ...] | None
    """Batch, x, y, z, channels of the first input, as the file states it."""
    mixed_float16: bool
    """Whether any layer computes in half precision, for which TensorFlow has no CPU kernels."""
    legacy_operations: tuple[str, ...]
    """TensorFlow functions called by Keras 2 operation layers (`TFOpLambda`), which Keras 3 cannot load."""
    unsafe: tuple[str, ...]
    """Layers that could run code of the file's author; see `find_foreign_code`."""

    @property
    def needs_tf_keras(self) -> bool:
        """Whether Keras 3 is known not to read this file."""
        in_keras2 = self.format in ("keras2-h5", "keras2-archive")
        return in_keras2 and (
            self.mixed_float16 or bool(self.legacy_operations) or self.format == "keras2-archive"
        )


def inspect_keras_file(path: str | Path) -> KerasFile:
    """Look at a `.h5`, `.hdf5` or `.keras` file, whatever its extension.

    Raises:
        ModelError: if it is missing, truncated, neither HDF5 nor a Keras archive, or holds weights only.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"the Keras file {path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if start == b"PK\x03\x04":
        return _inspect_archive(path)
    return _inspect_h5(path)


def refuse_foreign_code(path: str | Path, trust: bool = False) -> KerasFile:
    """Look at a Keras file and refuse it if loading it could run code of its author.

    Args:
        path: a `.h5` or `.keras` file.
        trust: accept such code.

    Raises:
        ModelError: naming the file and its layers; or see `inspect_keras_file`.
    """
    file = inspect_keras_file(path)
    if file.unsafe and not trust:
        raise ModelError(
            f"{path} was not loaded, as it could run code of its author: layer {'; '.join(file.unsafe[:4])}"
            f"{' and others' if len(file.unsafe) > 4 else ''}. If you trust where it comes from, allow that "
            "with --trust-model-code"
        )
    return file


def _inspect_h5(path: Path) -> KerasFile:
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            version = _as_text(file.attrs.get("keras_version", ""))
            weights_only = text is None and len(file) > 0
            elsewhere = tuple(_stored_elsewhere(file))
    except (OSError, KeyError, RuntimeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} is no readable HDF5 file, perhaps cut short: {reason[:160]}") from error
    if text is None:
        held = "weights only" if weights_only else "no model"
        raise ModelError(f"{path} holds {held}: expected a full Keras model, as model.save() writes it")
    config = _parse(_as_text(text), path)
    is_keras2 = version.startswith("2") or (not version and _has_key(config, "batch_input_shape"))
    return _describe(path, "keras2-h5" if is_keras2 else "keras3-h5", version, config, elsewhere)


def _inspect_archive(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise ModelError(f"{path} has a configuration of more than {_MAX_CONFIG_BYTES >> 20} MiB")
            text = archive.read("config.json").decode()
            metadata = json.loads(archive.read("metadata.json"))
    except KeyError as error:
        raise ModelError(f"{path} is a zip but no Keras model: {error.args[0]}") from error
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is no readable .keras file, perhaps cut short: {error}") from error
    version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    config = _parse(text, path)
    # Without optimiser and losses: prediction does not build them, and training ones are often custom.
    config.pop("compile_config", None)
    return _describe(path, "keras2-archive" if version.startswith("2") else "keras", version, config, ())


def _describe(
    path: Path, kind: KerasFormat, version: str, config: dict[str, Any], elsewhere: tuple[str, ...]
) -> KerasFile:
    return KerasFile(
        path=path,
        format=kind,
        keras_version=version,
        input_shape=_input_shape(config),
        mixed_float16=any(_is_half_precision(entry) for _, entry in walk(config)),
        legacy_operations=legacy_operations(config),
        unsafe=find_foreign_code(config) + elsewhere,
    )


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} has an unreadable model configuration: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} has no model configuration but a {type(config).__name__}")
    return config


def _as_text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _has_key(config: dict[str, Any], key: str) -> bool:
    return any(key in entry for _, entry in walk(config))


def _input_shape(config: dict[str, Any]) -> tuple[int | None, ...] | None:
    for _, entry in walk(config):
        shape = entry.get("batch_shape", entry.get("batch_input_shape"))
        if isinstance(shape, list) and all(size is None or isinstance(size, int) for size in shape):
            return tuple(shape)
    return None


def _is_half_precision(entry: Any) -> bool:
    policy = entry.get("dtype")
    if isinstance(policy, dict):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, dict) else None
    return policy in _HALF_PRECISION


def _stored_elsewhere(group: h5py.Group) -> Iterator[str]:
    """Parts of an HDF5 file that would be read from other files of this computer."""
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            yield f"{name!r} (a link to the file {link.filename!r})"
            continue
        if not isinstance(link, h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _stored_elsewhere(item)
        elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            yield f"{item.name!r} (values stored in another file)"
