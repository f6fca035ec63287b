"""What kind of model a path holds, decided by its content and never by its suffix alone."""

import zipfile
from pathlib import Path
from typing import Literal

from shiva_cmb.errors import ModelError

ModelFormat = Literal["bundle", "saved_model", "h5", "keras", "zip"]

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def detect_format(path: str | Path) -> ModelFormat:
    """Look at a model path.

    Args:
        path: a bundle folder or its JSON, a SavedModel folder, an `.h5` or `.keras` file, or a zip.

    Returns:
        Which of these it is.

    Raises:
        ModelError: if there is nothing, or nothing that is known.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"the model {path} does not exist")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        if any(path.glob("*.json")):
            return "bundle"
        raise ModelError(f"{path} holds neither model_info.json (a bundle) nor saved_model.pb (a SavedModel)")
    if path.suffix.lower() == ".json":
        return "bundle"
    with path.open("rb") as file:
        start = file.read(len(HDF5_SIGNATURE))
    if start == HDF5_SIGNATURE:
        return "h5"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "keras" if "config.json" in archive.namelist() else "zip"
    raise ModelError(f"{path} is no HDF5 (.h5), .keras or SavedModel: is the file complete?")
