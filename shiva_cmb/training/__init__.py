"""Training: a list of cases goes in, a bundle of folds comes out. Importing it does not import Keras."""

from shiva_cmb.training.cases import Case, read_cases
from shiva_cmb.training.folds import Fold, split_folds
from shiva_cmb.training.settings import QUICK, TrainingSettings
from shiva_cmb.training.train import EpochReport, Progress, train_folds

__all__ = [
    "QUICK",
    "Case",
    "EpochReport",
    "Fold",
    "Progress",
    "TrainingSettings",
    "read_cases",
    "split_folds",
    "train_folds",
]
