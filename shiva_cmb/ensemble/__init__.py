"""The model: bundles on disk, model formats, engines, and the averaging of folds."""

from shiva_cmb.ensemble.averaging import AVERAGING, Averaging, AveragingName, EnsembleMaps, average_folds
from shiva_cmb.ensemble.bundle import (
    Bundle,
    FoldFile,
    Identity,
    open_bundle,
    update_operating_point,
    verify_bundle,
    write_bundle,
)
from shiva_cmb.ensemble.descriptor import OperatingPoint
from shiva_cmb.ensemble.loading import EngineOptions, Ensemble, find_model, load_ensemble

__all__ = [
    "AVERAGING",
    "Averaging",
    "AveragingName",
    "Bundle",
    "EngineOptions",
    "Ensemble",
    "EnsembleMaps",
    "FoldFile",
    "Identity",
    "OperatingPoint",
    "average_folds",
    "find_model",
    "load_ensemble",
    "open_bundle",
    "update_operating_point",
    "verify_bundle",
    "write_bundle",
]
