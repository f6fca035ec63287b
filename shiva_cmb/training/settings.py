"""Everything that decides how folds are trained."""

from dataclasses import asdict, dataclass, field
from typing import Any

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Preprocessing, Scaling
from shiva_cmb.networks import NetworkSettings, ShivaUNet
from shiva_cmb.training.fitting.loss_spec import LossSettings, parse_loss

SHALLOW = ShivaUNet(
    first_filters=16, levels=4, growth=2.0, dropout=0.1, pool_deepest=False, wide_decoder=False
)
"""A network for patches, which show it little context."""


@dataclass(frozen=True)
class TrainingSettings:
    """How folds are trained. The defaults suit a set of some dozens of scans and a GPU."""

    folds: int = 5
    """Networks; each leaves out its share of the patients."""
    epochs: int = 100
    """Rounds; after each one the fold is checked, and its best state is kept."""
    steps_per_epoch: int = 100
    """Batches per round."""
    batch_size: int = 4
    """Patches (or volumes) per batch."""
    patch: tuple[int, int, int] | None = (48, 48, 48)
    """Voxels of the training patches; None trains on whole volumes."""
    lesion_fraction: float = 0.7
    """Share of the patches that hold a bleed, each at a random place within the patch."""
    learning_rate: float = 1e-3
    """Of Adam at the start; it falls to 1 % along a half cosine."""
    loss: str = "ce+dice"
    """What is lowered: see `parse_loss`."""
    positive_weight: float = 5.0
    """How much more a voxel of a bleed counts in the cross-entropy, unless `loss` says so itself."""
    seed: int = 0
    """Of the split, the weights and the patches."""
    shape: tuple[int, int, int] = (160, 214, 176)
    """Voxels of the model grid: right, anterior, superior."""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Voxel size of the model grid."""
    scaling: Scaling = field(default_factory=Scaling)
    """How intensities are scaled."""
    mask_input: bool = False
    """Whether everything outside the brain mask is set to zero."""
    network: NetworkSettings = SHALLOW
    """The architecture: one of the classes of `networks.ARCHITECTURES`."""
    modality: str = "swi"
    """What kind of image it is, in the vocabulary of model descriptors: swi, t2s, ..."""

    def __post_init__(self) -> None:
        for name in ("epochs", "steps_per_epoch", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.folds < 2:
            raise UsageError(f"folds: expected at least 2, got {self.folds}")
        if not 0 <= self.lesion_fraction <= 1:
            raise UsageError(f"lesion_fraction: expected 0 to 1, got {self.lesion_fraction}")
        if not self.learning_rate > 0 or not self.positive_weight > 0:
            raise UsageError("learning_rate and positive_weight: expected numbers above 0")
        if min(self.shape) < 1 or min(self.spacing_mm) <= 0:
            raise UsageError(
                f"the model grid needs sizes above 0, got {self.shape} voxels of {self.spacing_mm} mm"
            )
        if any(not 8 <= patch <= grid for patch, grid in zip(self.patch_shape, self.shape, strict=True)):
            raise UsageError(
                f"patch: expected 8 voxels up to the model grid {self.shape}, got {self.patch_shape}"
            )
        if self.network.fixed_size and self.patch_shape != self.shape:
            raise UsageError(
                f"{self.network.architecture} learns a weight for each place: train it on whole volumes "
                f"(patch whole), not on patches of {self.patch_shape} of the model grid {self.shape}"
            )
        _ = self.loss_settings  # says what is wrong with it

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """Voxels the network sees at a time in training."""
        return self.patch if self.patch is not None else self.shape

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image is brought to the model grid."""
        return Preprocessing(shape=self.shape, spacing_mm=self.spacing_mm, scaling=self.scaling)

    @property
    def loss_settings(self) -> LossSettings:
        """The terms of the loss."""
        return parse_loss(self.loss, self.positive_weight)

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.epochs * self.steps_per_epoch

    def as_dict(self) -> dict[str, Any]:
        """For the bundle: plain numbers, texts, lists and dictionaries."""
        plain = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return plain | {
            "architecture": self.network.architecture,
            "network": self.network.as_arguments(),
        }


QUICK = TrainingSettings(
    folds=2,
    epochs=6,
    steps_per_epoch=80,
    batch_size=2,
    patch=(32, 32, 32),
    learning_rate=3e-3,
    network=ShivaUNet(
        first_filters=8,
        levels=3,
        growth=2.0,
        dropout_first=0.0,
        dropout=0.0,
        pool_deepest=False,
        wide_decoder=False,
        head_filters=0,
        activation="relu",
    ),
)
"""A small network that learns plain dark dots in half a minute a fold on two cores: for the demo."""
