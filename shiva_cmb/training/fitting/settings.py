"""How one network is fitted: what is lowered, by which steps, and what is kept. No Keras."""

from dataclasses import dataclass
from typing import Literal

from shiva_cmb.errors import UsageError
from shiva_cmb.training.fitting.loss_spec import LossSettings, parse_loss

Schedule = Literal["cosine", "polynomial", "plateau", "constant"]
Metric = Literal["loss", "lesion_f1", "dice"]
DATA_LOSS = "val_data_loss"
"""In the log: the validation loss of the finest output, without penalties."""


@dataclass(frozen=True)
class FittingSettings:
    """How one network is fitted."""

    epochs: int = 200
    """Rounds; after each one the fold is checked, and its best state is kept."""
    loss: str = "ce+dice"
    """What is lowered: see `parse_loss`."""
    positive_weight: float = 5.0
    """How much more a voxel of a bleed counts in the cross-entropy, unless `loss` says so itself."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Kingma and Ba 2015; `adamw` with decoupled weight decay, Loshchilov and Hutter 2019."""
    learning_rate: float = 1e-3
    """The highest one."""
    weight_decay: float = 1e-5
    """Of `adamw`, per step and relative to the learning rate."""
    schedule: Schedule = "cosine"
    """After the warm-up: half a cosine, a power of what is left, a cut whenever `metric` no longer gets
    better, or no change."""
    warmup_fraction: float = 0.1
    """Share of the steps in which the learning rate rises from a tenth to the highest."""
    final_fraction: float = 0.01
    """Lowest learning rate, relative to the highest; `constant` stays at the highest."""
    polynomial_power: float = 0.9
    """Of the polynomial schedule."""
    plateau_epochs: int = 10
    """Epochs without progress after which the plateau schedule cuts the learning rate."""
    plateau_factor: float = 0.5
    """What it is multiplied by then."""
    ema: float = 0.0
    """Momentum of the exponential moving average of the weights, such as 0.999; the averaged ones are checked
    and kept. 0: no average."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of each weight, so that a patch full of mimics does not undo what was
    learned. 0: no limit."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step."""
    precision: Literal["f32", "bf16", "f16"] = "f32"
    """Of the layers; weights stay in float32. `f16` scales the loss."""
    metric: Metric = "loss"
    """What chooses the best epoch: the loss on fixed patches, or lesion-wise F1 or Dice on whole volumes."""
    check_every: int = 1
    """Epochs from one check on whole volumes to the next."""
    check_volumes: bool = False
    """Check whole volumes even if another metric chooses."""
    window_overlap: float = 0.25
    """Of the windows that whole volumes are checked by."""
    patience: int = 0
    """Epochs without progress of `metric` after which a fold ends, counted when the learning rate has risen,
    patches have grown and frozen parts have thawed. 0: it runs to the end."""
    replicas: int = 1
    """Devices that share each batch. Each normalises and changes its part by itself, so another number gives
    other weights."""
    deterministic: bool = False
    """The same weights from the same seed, to the last bit, at some cost in speed."""

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "check_every", "plateau_epochs", "replicas"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("learning_rate", "positive_weight", "polynomial_power"):
            self._require(getattr(self, name) > 0, name, "a number above 0")
        for name in ("weight_decay", "clip_norm", "patience"):
            self._require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("warmup_fraction", "ema", "window_overlap", "plateau_factor"):
            self._require(0 <= getattr(self, name) < 1, name, "0 to below 1")
        for name in ("final_fraction", "plateau_factor"):
            self._require(0 < getattr(self, name) <= 1, name, "above 0 to 1")
        self._check_waiting()
        _ = self.loss_settings  # says what is wrong with it

    @property
    def loss_settings(self) -> LossSettings:
        """The terms of the loss."""
        return parse_loss(self.loss, self.positive_weight)

    @property
    def checks_volumes(self) -> bool:
        """Whether whole volumes are predicted while training."""
        return self.check_volumes or self.metric != "loss"

    def checks_in(self, epoch: int) -> bool:
        """Whether whole volumes are predicted after an epoch (from 1), if they are at all."""
        return epoch in (1, self.epochs) or epoch % self.check_every == 0

    @property
    def monitored(self) -> tuple[str, Literal["min", "max"]]:
        """The name of what chooses the best epoch, as in the log, and which way is better."""
        if self.metric == "loss":
            return DATA_LOSS, "min"
        return f"val_{self.metric}", "max"

    def _check_waiting(self) -> None:
        """Figures of whole volumes stay the same from one check to the next, which is no want of progress."""
        if self.metric == "loss":
            return
        expected = f"at least check_every ({self.check_every}) where metric is {self.metric}"
        self._require(not 0 < self.patience < self.check_every, "patience", f"0 or {expected}")
        if self.schedule == "plateau":
            self._require(self.plateau_epochs >= self.check_every, "plateau_epochs", expected)

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            raise UsageError(f"{name}: expected {expected}, got {getattr(self, name)}")
