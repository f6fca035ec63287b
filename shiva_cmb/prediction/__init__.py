"""The main job: from native images and a model to lesions in native space."""

from shiva_cmb.prediction.one_file import OneFileJob, predict_one_file
from shiva_cmb.prediction.pipeline import PredictionSettings, predict
from shiva_cmb.prediction.relabel import criteria_beside, image_name, relabel, save_relabelled
from shiva_cmb.prediction.result import ModelSpace, Prediction

__all__ = [
    "ModelSpace",
    "OneFileJob",
    "Prediction",
    "PredictionSettings",
    "criteria_beside",
    "image_name",
    "predict",
    "predict_one_file",
    "relabel",
    "save_relabelled",
]
