"""The scans to learn from: the list of cases, the folds, and the cases on the model grid. Knows no Keras."""

from shiva_cmb.dataset.cases import Case, Dataset, read_cases, read_dataset
from shiva_cmb.dataset.folds import Fold, check_leakage, read_folds, split_folds, write_folds
from shiva_cmb.dataset.labels import LabelValues

__all__ = [
    "Case",
    "Dataset",
    "Fold",
    "LabelValues",
    "check_leakage",
    "read_cases",
    "read_dataset",
    "read_folds",
    "split_folds",
    "write_folds",
]
