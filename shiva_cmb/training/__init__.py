"""Training: a list of cases goes in, a bundle of folds comes out. Importing it does not import Keras."""

from shiva_cmb.training.settings import QUICK, TrainingSettings
from shiva_cmb.training.train import EpochReport, Progress, train_folds

__all__ = [
    "QUICK",
    "EpochReport",
    "Progress",
    "TrainingSettings",
    "train_folds",
]
