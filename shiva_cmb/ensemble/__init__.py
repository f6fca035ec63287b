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
from shiva_cmb.ensemble.bundled import bundled_model, bundled_names, named_model
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
    "bundled_model",
    "bundled_names",
    "find_model",
    "load_ensemble",
    "named_model",
    "open_bundle",
    "update_operating_point",
    "verify_bundle",
    "write_bundle",
]
