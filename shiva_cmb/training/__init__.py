"""Training: a list of cases goes in, a bundle of folds comes out. Importing it does not import Keras."""

from shiva_cmb.training.config import settings_from
from shiva_cmb.training.settings import TrainingSettings
from shiva_cmb.training.train import EpochReport, Progress, RunOptions, train_folds

__all__ = ["EpochReport", "Progress", "RunOptions", "TrainingSettings", "settings_from", "train_folds"]
