"""Everything that decides what is trained. No Keras: the command line reads it."""

from dataclasses import dataclass, field, replace

from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Preprocessing, Scaling
from shiva_cmb.networks import NetworkSettings, ShivaUNet
from shiva_cmb.training.augmentation.settings import AUGMENTATIONS, AugmentationSettings, BrainMasking
from shiva_cmb.training.calibration.settings import CalibrationSettings
from shiva_cmb.training.fitting.initial_settings import InitialSettings
from shiva_cmb.training.fitting.settings import FittingSettings
from shiva_cmb.training.sampling.settings import SamplingSettings

SHALLOW = ShivaUNet(
    first_filters=16, levels=4, growth=2.0, dropout=0.1, pool_deepest=False, wide_decoder=False
)
"""A network for patches, which show it little context."""


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained. The defaults suit a set of some dozens of scans and a GPU."""

    folds: int = 5
    """Networks; each leaves out its share of the patients."""
    stratify: tuple[str, ...] = ()
    """Columns of the dataset that every fold should have a like share of, beside the counts of bleeds."""
    seed: int = 0
    """Of the split, the weights, the patches and their changes; from 0 to 2147483647."""
    channels: tuple[str, ...] = ("swi",)
    """What kinds of image the network is given, in the vocabulary of model descriptors: swi, t2s, t1, ..."""
    values: LabelValues = field(default_factory=LabelValues)
    """What the values of the labels mean."""
    grid: tuple[int, int, int] = (160, 214, 176)
    """Voxels of the model grid: right, anterior, superior."""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Voxel size of the model grid."""
    scaling: Scaling = field(default_factory=Scaling)
    """How intensities are scaled."""
    mask_input: bool = False
    """Whether everything outside the brain mask is set to zero."""
    network: NetworkSettings = SHALLOW
    """The architecture: one of the classes of `networks.ARCHITECTURES`."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """Which part of which case the network sees."""
    augmentation: AugmentationSettings = AUGMENTATIONS["light"]
    """How what it sees is changed."""
    fitting: FittingSettings = field(default_factory=FittingSettings)
    """What is lowered, by which steps, and what is kept."""
    initial: InitialSettings = field(default_factory=InitialSettings)
    """Where the weights come from, and which of them stay as they are."""
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    """How the threshold is chosen in the end."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UsageError(f"folds: expected at least 2, got {self.folds}")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed: expected 0 to {2**31 - 1}, got {self.seed}")
        if min(self.grid) < 1 or min(self.spacing_mm) <= 0:
            raise UsageError(
                f"the model grid needs sizes above 0, got {self.grid} voxels of {self.spacing_mm} mm"
            )
        if any(not 8 <= patch <= size for patch, size in zip(self.patch, self.grid, strict=True)):
            raise UsageError(f"patch: expected 8 voxels up to the model grid {self.grid}, got {self.patch}")
        first = self.sampling.first_patch
        for shape in (self.patch, self.grid, *([first] if first else [])):
            self.network.require_fits(shape)
        if self.network.fixed_size and (first or self.patch != self.grid):
            raise UsageError(
                f"{self.network.architecture} learns a weight for each place: train it on whole volumes "
                f"(patch whole), not on patches of {self.patch} of the model grid {self.grid}"
            )

    @property
    def patch(self) -> tuple[int, int, int]:
        """Voxels the network sees at a time in training, at last."""
        return self.sampling.patch if self.sampling.patch is not None else self.grid

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image is brought to the model grid."""
        return Preprocessing(shape=self.grid, spacing_mm=self.spacing_mm, scaling=self.scaling)

    @property
    def changes(self) -> AugmentationSettings:
        """The augmentation, which leaves everything outside the brain as it is if that is set to zero."""
        if not self.mask_input:
            return self.augmentation
        return replace(self.augmentation, brain_masking=BrainMasking(1.0, edge_mm=0.0))

    @property
    def value_range(self) -> tuple[float, float]:
        """Scaled values of air and of the brightest brain."""
        return (-3.0, 3.0) if self.scaling.scheme == "zscore" else (0.0, 1.0)

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.fitting.epochs * self.sampling.steps_per_epoch
