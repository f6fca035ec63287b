"""Which random changes are made to images and labels in training, how often and how strong. No Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from shiva_cmb.errors import UsageError

Range = tuple[float, float]
"""Smallest and largest value; each sample draws its own between them."""


@dataclass(frozen=True)
class Change:
    """Base of all: how often a sample is changed."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType({})
    """What the other fields may be."""

    probability: float = 0.0
    """Of each sample."""

    def __post_init__(self) -> None:
        limits = {"probability": (0.0, 1.0)} | dict(self.limits)
        for name, (lowest, highest) in limits.items():
            value = getattr(self, name)
            ends = value if isinstance(value, tuple) else (value,)
            # written so that NaN is refused too
            inside = all(lowest <= end <= highest for end in ends)
            if not inside or list(ends) != sorted(ends) or (isinstance(value, tuple) and len(ends) != 2):
                what = "a smallest and a largest number" if isinstance(value, tuple) else "a number"
                raise UsageError(
                    f"augmentation {type(self).__name__}.{name}: expected {what} from {lowest:g} to"
                    f" {highest:g}, got {value}"
                )


@dataclass(frozen=True)
class Implant(Change):
    """New microbleeds in the first channel, and in the label: the image is a SWI or a T2*-GRE.

    They have the dipole field and decay of the generator of scans; where nobody could see them they count
    neither way. They come before all other changes, which make them look like those that were there.
    """

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType(
        {"bleeds": (1, 20), "diameter_mm": (0.5, 15.0), "echo_t_ms": (5.0, 500.0), "swi_share": (0.0, 1.0)}
    )

    bleeds: tuple[int, int] = (1, 3)
    """Fewest and most in a sample; fewer where there is no place in the brain."""
    diameter_mm: Range = (2.0, 6.0)
    """What they look like at 3 T and 20 ms, on a log scale."""
    echo_t_ms: Range = (30.0, 95.0)
    """Field times echo time, which they bloom with: 60 are 3 T and 20 ms."""
    swi_share: float = 0.5
    """Samples whose bleeds have the phase mask of SWI: 1 for SWI alone, 0 for T2*-GRE alone."""


@dataclass(frozen=True)
class Flip(Change):
    """Mirror images; `probability` holds for each axis by itself."""

    axes: tuple[int, ...] = (0, 1, 2)
    """Array axes that may be mirrored; of whole volumes only axis 0, left-right, is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.axes) <= {0, 1, 2} or len(set(self.axes)) != len(self.axes):
            raise UsageError(
                f"augmentation Flip.axes: expected some of 0, 1 and 2, each once, got {self.axes}"
            )


@dataclass(frozen=True)
class Turn(Change):
    """Turns by 90 degrees, between axes of the same number of voxels and spacing; whole volumes stay."""


@dataclass(frozen=True)
class Affine(Change):
    """Rotation, scale and shear about the middle."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType(
        {"rotation_degrees": (0.0, 180.0), "scale_fraction": (0.0, 0.5), "shear_fraction": (0.0, 0.5)}
    )

    rotation_degrees: float = 10.0
    """Largest angle about each axis, either way."""
    scale_fraction: float = 0.1
    """Largest change of size along each axis, either way: 0.1 is 10 %."""
    shear_fraction: float = 0.02
    """Largest shift of one axis per length of another, either way."""


@dataclass(frozen=True)
class Elastic(Change):
    """A smooth random displacement."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType(
        {"displacement_mm": (0.0, 50.0), "smoothness_mm": (2.0, 500.0)}
    )

    displacement_mm: float = 1.5
    """Standard deviation along each axis; each sample draws its own from 0 to this."""
    smoothness_mm: float = 20.0
    """Distance over which the displacement changes; at least five times its size, so that nothing folds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.displacement_mm * 5.0 > self.smoothness_mm:
            raise UsageError(
                "augmentation Elastic.displacement_mm: expected at most a fifth of smoothness_mm"
                f" ({self.smoothness_mm:g} mm), or space folds, got {self.displacement_mm:g}"
            )


@dataclass(frozen=True)
class ThickSlices(Change):
    """As if scanned in thick slices along one axis (drawn), and brought back to the grid."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType(
        {"thickness_mm": (0.1, 50.0), "interpolated_fraction": (0.0, 1.0)}
    )

    thickness_mm: Range = (2.0, 5.0)
    """Of a slice, over which is averaged."""
    interpolated_fraction: float = 0.5
    """Share brought back by linear interpolation between slices; the others repeat each slice."""


@dataclass(frozen=True)
class Blur(Change):
    """A Gaussian blur."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType({"sigma_mm": (0.0, 20.0)})

    sigma_mm: Range = (0.5, 1.0)
    """Its standard deviation."""


@dataclass(frozen=True)
class BiasField(Change):
    """A slow change of brightness across the image."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType(
        {"strength": (0.0, 2.0), "smoothness_mm": (2.0, 500.0)}
    )

    strength: Range = (0.0, 0.3)
    """Standard deviation of the field's natural logarithm, before its mean over the image is taken off."""
    smoothness_mm: float = 60.0
    """Distance over which it changes."""


@dataclass(frozen=True)
class GaussianNoise(Change):
    """Added noise."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType({"std_fraction": (0.0, 2.0)})

    std_fraction: Range = (0.0, 0.05)
    """Standard deviation, as a fraction of the scale from 0 to 1."""


@dataclass(frozen=True)
class RicianNoise(GaussianNoise):
    """The noise of magnitude images: Gaussian in the real and the imaginary part; never below 0."""


@dataclass(frozen=True)
class SaltPepper(Change):
    """Single voxels set to 0 or 1."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType({"voxel_fraction": (0.0, 1.0)})

    voxel_fraction: Range = (0.0, 0.01)
    """How many."""


@dataclass(frozen=True)
class Gamma(Change):
    """A power of the values between 0 and 1; others, and 0 and 1 themselves, stay."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType({"exponent": (0.1, 10.0)})

    exponent: Range = (0.7, 1.5)
    """Drawn evenly in its logarithm."""


@dataclass(frozen=True)
class Levels(Change):
    """Contrast about each channel's mean, then gain, then brightness."""

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType(
        {"contrast": (0.0, 10.0), "gain": (0.0, 10.0), "brightness": (-1.0, 1.0)}
    )

    contrast: Range = (0.75, 1.25)
    """Factor of the distance to the mean."""
    gain: Range = (0.9, 1.1)
    """Factor of the values."""
    brightness: Range = (-0.1, 0.1)
    """Added, as a fraction of the scale from 0 to 1."""


@dataclass(frozen=True)
class Inversion(Change):
    """Bright for dark: 1 minus the values."""


@dataclass(frozen=True)
class ChannelLoss(Change):
    """One channel (drawn) becomes noise from 0 to 1, if there are several: not every scan has them all."""


@dataclass(frozen=True)
class BrainMasking(Change):
    """Everything outside the brain becomes empty, so that networks work with and without skull stripping.

    A lesion that lies outside then counts neither way.
    """

    limits: ClassVar[Mapping[str, Range]] = MappingProxyType({"edge_mm": (0.0, 20.0)})

    edge_mm: float = 2.0
    """How far the mask's edge moves, about: other tools' masks are tighter or wider. 0 takes it as it is."""


@dataclass(frozen=True)
class AugmentationSettings:
    """Every change by itself. The order of the fields is the order in which they are made."""

    implant: Implant = field(default_factory=Implant)
    """New bleeds; in none of the presets."""
    turn: Turn = field(default_factory=Turn)
    """Turns by 90 degrees."""
    flip: Flip = field(default_factory=Flip)
    """Mirror images."""
    affine: Affine = field(default_factory=Affine)
    """Rotation, scale, shear."""
    elastic: Elastic = field(default_factory=Elastic)
    """Smooth deformation."""
    blur: Blur = field(default_factory=Blur)
    """Blur."""
    thick_slices: ThickSlices = field(default_factory=ThickSlices)
    """Thick slices."""
    bias_field: BiasField = field(default_factory=BiasField)
    """Slow changes of brightness."""
    gaussian_noise: GaussianNoise = field(default_factory=GaussianNoise)
    """Added noise."""
    rician_noise: RicianNoise = field(default_factory=RicianNoise)
    """Noise of magnitude images."""
    salt_pepper: SaltPepper = field(default_factory=SaltPepper)
    """Dead and white voxels."""
    gamma: Gamma = field(default_factory=Gamma)
    """Power of the values."""
    levels: Levels = field(default_factory=Levels)
    """Contrast, gain, brightness."""
    inversion: Inversion = field(default_factory=Inversion)
    """Bright for dark."""
    channel_loss: ChannelLoss = field(default_factory=ChannelLoss)
    """A channel becomes noise."""
    brain_masking: BrainMasking = field(default_factory=BrainMasking)
    """Skull stripping."""


LIGHT = AugmentationSettings(
    flip=Flip(0.5),
    levels=Levels(1.0, contrast=(1.0, 1.0), gain=(0.9, 1.1), brightness=(0.0, 0.0)),
)
MEDIUM = AugmentationSettings(
    turn=Turn(0.5),
    flip=Flip(0.5),
    affine=Affine(0.3),
    elastic=Elastic(0.1),
    blur=Blur(0.15),
    thick_slices=ThickSlices(0.15, thickness_mm=(2.0, 4.0)),
    bias_field=BiasField(0.3),
    gaussian_noise=GaussianNoise(0.15),
    rician_noise=RicianNoise(0.15),
    gamma=Gamma(0.3),
    levels=Levels(0.5),
    channel_loss=ChannelLoss(0.1),
    brain_masking=BrainMasking(0.3),
)
HEAVY = AugmentationSettings(
    turn=Turn(0.4),
    flip=Flip(0.5),
    affine=Affine(0.24, rotation_degrees=11.5, scale_fraction=0.05, shear_fraction=0.01),
    elastic=Elastic(0.12, displacement_mm=3.0),
    blur=Blur(0.25, sigma_mm=(0.25, 1.25)),
    thick_slices=ThickSlices(0.25),
    bias_field=BiasField(0.4, strength=(0.0, 0.5)),
    gaussian_noise=GaussianNoise(0.15, std_fraction=(0.0, 0.1)),
    rician_noise=RicianNoise(0.15, std_fraction=(0.0, 0.1)),
    salt_pepper=SaltPepper(0.15, voxel_fraction=(0.0, 0.15)),
    gamma=Gamma(0.3, exponent=(0.5, 2.0)),
    levels=Levels(0.5, contrast=(0.6, 1.4), gain=(0.8, 1.2), brightness=(-0.15, 0.15)),
    inversion=Inversion(0.15),
    channel_loss=ChannelLoss(0.15),
    brain_masking=BrainMasking(0.5),
)
AUGMENTATIONS: Mapping[str, AugmentationSettings] = MappingProxyType(
    {"none": AugmentationSettings(), "light": LIGHT, "medium": MEDIUM, "heavy": HEAVY}
)
"""By name. `heavy` turns, moves, bends, blurs, inverts and spoils images about as often and as much as the
published pretraining of a microbleed network did (its nested probabilities multiplied; noise and blur brought
from z-scores and voxels of 0.5 mm to these units), and adds what that lacked: bias field, Rician noise, thick
slices, brain masking."""
