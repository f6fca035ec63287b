"""Find cerebral microbleeds in SWI and T2*-GRE images. Not for clinical use.

Example:
    >>> import shiva_cmb
    >>> result = shiva_cmb.predict("swi.nii.gz", model="my_model", mask="brain.nii.gz")
    >>> for lesion in result.lesions:
    ...     print(lesion.x_mm, lesion.y_mm, lesion.z_mm, lesion.volume_mm3)
    >>> result.save("results", "swi")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiva_cmb.ensemble import EngineOptions, Ensemble, load_ensemble
    from shiva_cmb.imaging import Volume, read_volume, write_volume
    from shiva_cmb.lesions import LesionCriteria, LesionTable, find_lesions
    from shiva_cmb.prediction import Prediction, PredictionSettings, predict

_HOMES = {
    "EngineOptions": "ensemble",
    "Ensemble": "ensemble",
    "load_ensemble": "ensemble",
    "Volume": "imaging",
    "read_volume": "imaging",
    "write_volume": "imaging",
    "LesionCriteria": "lesions",
    "LesionTable": "lesions",
    "find_lesions": "lesions",
    "Prediction": "prediction",
    "PredictionSettings": "prediction",
    "predict": "prediction",
}

__all__ = [
    "EngineOptions",
    "Ensemble",
    "LesionCriteria",
    "LesionTable",
    "Prediction",
    "PredictionSettings",
    "Volume",
    "find_lesions",
    "load_ensemble",
    "predict",
    "read_volume",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: `import shiva_cmb` itself stays instant."""
    if name in _HOMES:
        return getattr(import_module(f"shiva_cmb.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'shiva_cmb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
