"""The record that goes beside every result: what went in, what was done, with what."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shiva_cmb.anatomy import Anatomy
from shiva_cmb.anatomy.head_network import bundled_network
from shiva_cmb.ensemble import Ensemble
from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.errors import NOT_CLINICAL
from shiva_cmb.imaging import Grid, Preprocessing, SpatialChain
from shiva_cmb.lesions import FoundLesions, LesionCriteria
from shiva_cmb.prediction.inputs import Subject

PREDICTION_SOFTWARE = ("shiva-cmb", "openvino", "tensorflow", "keras", "nibabel", "numpy", "scipy")


def describe_software(packages: Sequence[str] = PREDICTION_SOFTWARE) -> dict[str, str]:
    """Versions of what the result depends on."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def describe_inputs(subject: Subject) -> dict[str, Any]:
    """Files with checksums, and the native grid."""
    images = [describe_file(source) for source in subject.sources]
    return {"images": images, "mask": describe_file(subject.mask_source), "grid": describe_grid(subject.grid)}


def describe_anatomy(anatomy: Anatomy | None) -> dict[str, Any] | None:
    """What the anatomy network said of the image; None where nothing of it was used."""
    if anatomy is None:
        return None
    return {
        "network_sha256": bundled_network().sha256,
        "brain_volume_cm3": round(anatomy.volume_cm3, 1),
        "confidence": round(anatomy.confidence, 3),
        "doubts": list(anatomy.flags),
    }


def describe_grid(grid: Grid) -> dict[str, Any]:
    """Shape, spacing, orientation and affine."""
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(size, 6) for size in grid.spacing_mm],
        "orientation": grid.orientation,
        "affine": grid.affine.tolist(),
    }


def describe_model(ensemble: Ensemble, averaging: str) -> dict[str, Any]:
    """The folds with checksums, and how they were run."""
    return {
        "folds": [{"path": str(fold.path), "sha256": fold.sha256} for fold in ensemble.source.folds],
        "version": ensemble.source.version,
        "described_by_bundle": ensemble.source.described,
        "engine": ensemble.engine,
        "precision": ensemble.precision,
        "averaging": averaging,
        "weights": "equal",
    }


def describe_lesions(criteria: LesionCriteria, found: FoundLesions) -> dict[str, Any]:
    """The criteria, how many lesions met them, and how many components did not."""
    return {"criteria": asdict(criteria), "lesions": len(found.table), "dropped": found.dropped}


def describe(
    subject: Subject,
    model: dict[str, Any],
    preprocessing: Preprocessing,
    chain: SpatialChain,
    lesions: dict[str, Any],
) -> dict[str, Any]:
    """The whole record, but for the notes and times that come last."""
    return {
        "notice": NOT_CLINICAL,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": describe_inputs(subject),
        "model": model,
        "preprocessing": {**asdict(preprocessing), "to_model_grid": chain.as_dict()},
        **lesions,
        "software": describe_software(),
    }


def describe_file(source: str) -> dict[str, Any]:
    """A file with its checksum, or where else something came from."""
    path = Path(source)
    if not path.is_file():
        return {"source": source}
    return {"source": str(path.absolute()), "sha256": sha256_of(path)}
