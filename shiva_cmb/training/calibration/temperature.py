"""Temperature scaling: one number that makes probabilities mean what they say, baked into the networks.

Source: Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, 2017.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.errors import ModelError, Note, ShivaCmbError, UsageError, warn_user
from shiva_cmb.evaluation import EvaluationSettings, pair_cases
from shiva_cmb.evaluation.metrics.calibration import BINS, expected_calibration_error
from shiva_cmb.evaluation.reading import read_case
from shiva_cmb.files import plain, replacing
from shiva_cmb.training.calibration.out_of_fold import ignored_truth

if TYPE_CHECKING:
    import keras

JUDGED_ABOVE = 1e-3
"""Voxels of lower probability are left out: there are a thousand times more of them than others, nearly all
are background, and a single lesion that a network has no idea of would outweigh all that it sees."""

LIMITS = (0.1, 10.0)
"""Between these the temperature is sought."""

_LARGEST_LOGIT = 17.0
"""Of the highest probability below 1 in float32."""
_STEP = 0.01
"""Logits this near count as equal: 2400 numbers then stand for all voxels of all cases."""
_EDGES = np.arange(np.log(JUDGED_ABOVE / (1 - JUDGED_ABOVE)), _LARGEST_LOGIT + _STEP, _STEP)
_MIDDLES = (_EDGES[:-1] + _EDGES[1:]) / 2


@dataclass(frozen=True)
class Temperature:
    """What was fitted, and what it is good for."""

    value: float
    """Logits are divided by it: above 1 the networks were too sure."""
    voxels: int
    """That were judged: those above `JUDGED_ABOVE` of all cases."""
    lesion_voxels: int
    """Those of them that are truth."""
    error_before: float
    """Expected calibration error of voxels above the lowest threshold of the sweep; NaN if there are none."""
    error_after: float
    """The same as it should be with the temperature, from the same maps."""

    def as_dict(self) -> dict[str, float | int | None]:
        """For the bundle's `training`."""
        return dict(plain(asdict(self)))


def fit_temperature(table: Path, values: LabelValues | None = None, *, note: Note = warn_user) -> Temperature:
    """Find the temperature that gives the truth of the out-of-fold maps the highest likelihood.

    Args:
        table: see `out_of_fold.write_case_table`.
        values: what the values in the dataset's labels mean.
        note: told which cases were left out, and where nothing could be fitted (the temperature is 1 then).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import expit

    counts = _logit_counts(table, values, note)
    false, true = counts
    if not false.any() or not true.any():
        note(
            "no temperature was fitted: no voxel that a network takes for a lesion is "
            + ("wrong" if true.any() else "right")
        )
        value = 1.0
    else:

        def loss(log_temperature: float) -> float:
            logits = _MIDDLES / np.exp(log_temperature)
            return float(true @ np.logaddexp(0, -logits) + false @ np.logaddexp(0, logits))

        low, high = np.log(LIMITS)
        value = float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))
        if not 1.01 * LIMITS[0] < value < 0.99 * LIMITS[1]:
            note(f"the temperature {value:.3g} is at the end of what is tried: the networks learned little")
    before, after = (_calibration_error(counts, expit(_MIDDLES / t)) for t in (1.0, value))
    return Temperature(value, int(counts.sum()), int(true.sum()), before, after)


def bake_temperature(source: Path, temperature: float, target: Path) -> Path:
    """Write a network whose probabilities are those of another at a temperature: logits are divided by it.

    The weights of the last convolution are changed, so nothing that reads the network has to know.

    Args:
        source: a whole Keras model (`.h5`) that ends in a convolution and a sigmoid.
        temperature: above 0.
        target: `.h5` file to write; may be `source`. It is whole at any moment.

    Raises:
        UsageError: if the temperature is not above 0.
        ModelError: if the file cannot be used or ends in something else.
        OutputError: if it cannot be written.
    """
    from shiva_cmb.ensemble.keras_engine import load_keras_model

    if not 0.0 < temperature < float("inf"):
        raise UsageError(f"expected a temperature above 0, got {temperature}")
    model = load_keras_model(source)
    _divide_logits(model, temperature, source)
    logger = logging.getLogger("absl")  # Keras advises another format: HDF5 is what bundles hold
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with replacing() as pending:
            model.save(pending.path(target))
    finally:
        logger.setLevel(level)
    return target


def _logit_counts(table: Path, values: LabelValues | None, note: Note) -> NDArray[np.int64]:
    """How many background and how many lesion voxels have which logit, shape (2, bins)."""
    from scipy.special import logit

    how = EvaluationSettings(truth_kind="mask", ignored_values=ignored_truth(values))
    counts = np.zeros((2, len(_MIDDLES)), np.int64)
    for case in pair_cases(table, table, note=_silent).cases:
        try:
            lesions = read_case(case, how, note=_silent)
        except ShivaCmbError as error:
            note(f"{case.name}: left out of the temperature: {error}")
            continue
        if lesions.probability is None:
            continue
        truth, data = lesions.truth, lesions.probability.data
        true = truth.select(~lesions.ignored_truth).voxels
        judged = np.ones(data.shape, bool)
        judged.reshape(-1)[truth.select(lesions.ignored_truth).voxels] = False
        is_true = np.zeros(data.shape, bool)
        is_true.reshape(-1)[true] = True
        judged &= data > JUDGED_ABOVE
        logits = np.minimum(logit(data[judged].astype(np.float64)), _LARGEST_LOGIT)
        for kind in (0, 1):
            counts[kind] += np.histogram(logits[is_true[judged] == kind], _EDGES)[0]
    return counts


def _calibration_error(counts: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """Of voxels above the lowest threshold of the sweep, each bin of logits at one probability."""
    shown = probability > min(EvaluationSettings().sweep.thresholds)
    number, probability = counts[:, shown], probability[shown]
    place = np.clip(np.ceil(probability * BINS).astype(np.intp) - 1, 0, BINS - 1)
    totals = (number.sum(axis=0), number.sum(axis=0) * probability, number[1])
    bins = np.stack([np.bincount(place, total, BINS) for total in totals], axis=-1)
    return float(expected_calibration_error(bins[None]).value)


def _divide_logits(model: "keras.Model", temperature: float, source: Path) -> None:
    """Change the weights so that the logits are divided by the temperature.

    Raises:
        ModelError: if the network does not end as those of this package do.
    """
    from keras import activations, layers

    last = _maker(model.layers, model.outputs[0])
    activation = getattr(last, "activation", None)
    if isinstance(last, layers.Activation):
        last = _maker(model.layers, last.input)
        while isinstance(
            last, layers.Cropping3D | layers.Reshape | layers.Permute
        ):  # values stay as they are
            last = _maker(model.layers, last.input)
    if activation is activations.sigmoid:
        if isinstance(last, layers.Conv3D):
            _change(last, temperature, 0.0)
            return
        if isinstance(last, layers.Add) and len(last.input) == 2:
            # x + conv(x): the convolution has to take over what the sum loses of x
            for plain, sum_of in (last.input, last.input[::-1]):
                conv = _maker(model.layers, sum_of)
                if isinstance(conv, layers.Conv3D) and conv.input is plain:
                    _change(conv, temperature, 1.0)
                    return
    raise ModelError(
        f"{source} does not end in a convolution and a sigmoid: its probabilities cannot be scaled;"
        " train without a temperature"
    )


def _change(conv: Any, temperature: float, shortcut: float) -> None:
    """Make `conv(x) + shortcut * x` its former self divided by the temperature."""
    kernel, *bias = conv.get_weights()
    centre = tuple((n - 1) // 2 for n in kernel.shape[:3])
    same = shortcut * np.eye(*kernel.shape[3:], dtype=kernel.dtype)
    kernel[centre] += same
    kernel /= temperature
    kernel[centre] -= same
    conv.set_weights([kernel, *(b / temperature for b in bias)])


def _maker(layers: Sequence[Any], tensor: Any) -> Any:
    """The layer whose output a tensor is."""
    return next(layer for layer in layers if layer.output is tensor)


def _silent(_: str) -> None:
    """The choice of the operating point makes the same remarks."""
