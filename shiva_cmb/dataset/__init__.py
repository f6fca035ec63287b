"""The scans to learn from: the list of cases, the folds, and the cases on the model grid. Knows no Keras."""

from shiva_cmb.dataset.cases import Case, read_cases
from shiva_cmb.dataset.folds import Fold, split_folds

__all__ = ["Case", "Fold", "read_cases", "split_folds"]
