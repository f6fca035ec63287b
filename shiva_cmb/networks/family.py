"""The SHIVA family of 3-D U-Nets, described by numbers: settings only, no Keras."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

from shiva_cmb.networks.settings import NetworkSettings


@dataclass(frozen=True)
class ShivaUNet(NetworkSettings):
    """One member of the family. The defaults are the published `Unet3Dv2-10.7.2-1.8`.

    The published names read `<first filters>.<levels>.<convolutions per level>-<growth>`. What is known of
    the plain network, from ports of two sister models (perivascular spaces, white-matter lesions) with
    their published weights: the filters 10, 18, 32, 58, 104, 187, 337; two bias-free 3x3x3 convolutions per
    level, each with batch normalisation and swish; maximum pooling after *every* level, the last one
    included; spatial dropout, 0.05 after the first pooling and 0.5 elsewhere; nearest upsampling; a decoder
    whose first convolution keeps the width of the concatenation; two convolutions of 10 filters; a 1x1x1
    convolution with a sigmoid.

    Inferred, because nothing public says it: that the microbleed network equals its sisters, and how the
    residual one (`ResUnet3D-8.9.2-1.5`) adds its shortcuts. Here they go around each level, through a 1x1x1
    convolution where the width changes, and in before the last activation.

    Different on purpose, so published weights do not fit in: at odd sizes the original rounds down and pads
    after upsampling. Here pooling rounds up and upsampling is cropped. So nine levels fit in 160 x 214 x
    176, every voxel counts, and TensorFlow's graph optimiser finds no padding before a convolution to get
    wrong.
    """

    architecture: ClassVar[str] = "shiva_unet"

    first_filters: int = 10
    """Filters of the first level."""
    levels: int = 7
    """Encoder levels; the next one has half the resolution and `growth` times the filters."""
    convs: int = 2
    """Convolutions per level, in the encoder and in the decoder."""
    growth: float = 1.8
    """Ratio of filters between levels, rounded at each level from the rounded number above it."""
    residual: bool = False
    """Adds each encoder and decoder level's input to its output."""
    dropout_first: float = 0.05
    """Fraction of channels dropped in training after the first pooling."""
    dropout: float = 0.5
    """Fraction of channels dropped in training after the other poolings and the decoder levels."""
    pool_deepest: bool = True
    """Pools below the last level too, and decodes that level as well; else the last level is the bottom."""
    wide_decoder: bool = True
    """Decoder levels keep the width of the concatenation until their last convolution: 3 times the work."""
    head_filters: int = 10
    """Filters of the convolutions before the output; 0 leaves these out."""
    activation: Literal["swish", "relu"] = "swish"
    """After each normalisation."""

    def __post_init__(self) -> None:
        self._require(self.first_filters >= 1, "first_filters", "at least 1")
        self._require(1 <= self.levels <= 9, "levels", "1 to 9")
        self._require(self.convs >= 1, "convs", "at least 1")
        self._require(0.5 <= self.growth <= 4, "growth", "0.5 to 4")
        self._require(0 <= self.dropout_first < 1, "dropout_first", "0 to below 1")
        self._require(0 <= self.dropout < 1, "dropout", "0 to below 1")
        self._require(self.head_filters >= 0, "head_filters", "0 or more")
        self._require(self.activation in ("swish", "relu"), "activation", "swish or relu")

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters per level, from the full resolution down."""
        widths = [self.first_filters]
        while len(widths) < self.levels:
            widths.append(max(1, round(self.growth * widths[-1])))
        return tuple(widths)


PUBLISHED = MappingProxyType(
    {
        "Unet3Dv2-10.7.2-1.8": ShivaUNet(),
        "ResUnet3D-8.9.2-1.5": ShivaUNet(first_filters=8, levels=9, growth=1.5, residual=True),
    }
)
"""The architectures of the published SHIVA-CMB models, v1 and v2, by their published names."""
