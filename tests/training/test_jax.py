"""Training on JAX: run where JAX is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.small import TINY, small_dataset


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_a_fold_trained_on_jax_loads_on_tensorflow(tmp_path: Path) -> None:
    config = {**TINY, "metric": "lesion_f1", "ema": 0.5, "augmentation": "medium"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "train_folds.py", "--config", str(tmp_path / "config.json")]
    command += ["--data", str(small_dataset(tmp_path, 2)), "-o", str(tmp_path / "model"), "--fold", "0"]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    model = keras.models.load_model(tmp_path / "model" / "training" / "fold_0" / "fold.h5", compile=False)
    image = np.random.default_rng(0).random((1, *model.input_shape[1:]), dtype=np.float32)
    assert 0 < float(np.mean(model(image))) < 1
