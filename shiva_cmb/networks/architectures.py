"""Architectures beside the SHIVA family, described by numbers: settings only, no Keras.

The defaults are the published settings; `StemUNet` is ours. All of them end in one channel of probabilities,
by a sigmoid, where the originals have two classes and a softmax: that changes the last layer alone. At odd
sizes all round up on the way down and crop on the way up, so that every voxel counts, and so that a network
sees a voxel's surroundings the same way whatever the size of the image.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from shiva_cmb.networks.settings import NetworkSettings


@dataclass(frozen=True)
class PlainUNet(NetworkSettings):
    """The U-Net of Segmentation_CMB, which was trained on VALDO.

    Published: filters, two 3x3x3 convolutions a level, ELU, batch normalisation, maximum pooling, nearest
    upsampling, concatenation, L2. Inferred: the order convolution, normalisation, ELU; no bias beside the
    normalisation; the last entry of the filters is the bottom.
    """

    architecture: ClassVar[str] = "plain_unet"

    filters: tuple[int, ...] = (32, 64, 128, 256)
    """Per level, from the full resolution down to the bottom."""
    convs: int = 2
    """Convolutions per level, in the encoder and in the decoder."""
    l2: float = 1e-4
    """Of the squared weights of each 3x3x3 convolution, added to the loss, and to that of validation."""

    def __post_init__(self) -> None:
        self._require_widths("filters", 1)
        self._require(self.convs >= 1, "convs", "at least 1")
        self._require(0 <= self.l2 < 1, "l2", "0 to below 1")


@dataclass(frozen=True)
class ResidualUNet(NetworkSettings):
    """The residual U-Net of MicrobleedNet.

    Published: filters, numbers of convolutions, instance normalisation, leaky ReLU of 0.01, strided
    convolutions down, transposed ones up, concatenation, L2, a shortcut that starts at the second
    convolution, deep supervision as an option. Inferred: the first convolution of a level is the strided one
    (then the shortcut needs no projection), the shortcut joins before the last activation, transposed
    kernels of 2 voxels, no bias beside a normalisation, the last entry of the filters is the bottom.

    Instance normalisation averages over what the network sees at a time, down to the bottom: the smallest
    cubic patch has 17 voxels along each axis for five levels, 2 ** (levels - 1) + 1 in general.
    """

    architecture: ClassVar[str] = "residual_unet"

    filters: tuple[int, ...] = (32, 64, 128, 256, 320)
    """Per level, from the full resolution down to the bottom."""
    encoder_convs: int = 3
    """Convolutions per encoder level."""
    decoder_convs: int = 2
    """Convolutions per decoder level."""
    bottom_convs: int = 2
    """Convolutions at the bottom."""
    l2: float = 1e-5
    """Of the squared weights of each convolution but the last, added to both losses as well."""
    deep_supervision: int = 0
    """Decoder levels below the first that are judged too, in training only; at full resolution."""

    def __post_init__(self) -> None:
        self._require_widths("filters", 1)
        for name in ("encoder_convs", "decoder_convs", "bottom_convs"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(0 <= self.l2 < 1, "l2", "0 to below 1")
        most = max(len(self.filters) - 2, 0)
        self._require(0 <= self.deep_supervision <= most, "deep_supervision", f"0 to {most}")

    @property
    def instance_norm_factor(self) -> int:
        """At the bottom."""
        return 2 ** (len(self.filters) - 1)


@dataclass(frozen=True)
class MonaiUNet(NetworkSettings):
    """The residual U-Net of MONAI (`UNet`), with batch normalisation and PReLU.

    Kerfoot et al. 2019, "Left-ventricle quantification using residual U-Net". The full resolution has one
    channel only: the first convolution has a stride already, and the last one is transposed.
    """

    architecture: ClassVar[str] = "monai_unet"

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Per level, from half the resolution down; the last two share one resolution."""
    residual_units: int = 2
    """Convolutions with a shortcut around them, per level of the encoder; the decoder has one."""

    def __post_init__(self) -> None:
        self._require_widths("filters", 2)
        self._require(self.residual_units >= 1, "residual_units", "at least 1")


@dataclass(frozen=True)
class SegResNet(NetworkSettings):
    """MONAI's `SegResNet`: Myronenko 2018, "3D MRI brain tumor segmentation using autoencoder
    regularization", without the autoencoder.

    Different from MONAI: upsampling repeats voxels and then averages over 3x3x3, which weighs two neighbours
    2:1 where trilinear interpolation weighs them 3:1. Keras has no trilinear layer in 3-D; weights are in
    neither.
    """

    architecture: ClassVar[str] = "segresnet"

    first_filters: int = 16
    """Filters of the first level; each further level has twice as many."""
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    """Residual blocks per encoder level; the last level is the bottom."""
    blocks_up: tuple[int, ...] = (1, 1, 1)
    """Residual blocks per decoder level, from the bottom up."""
    groups: int = 8
    """Of the group normalisation."""
    dropout: float = 0.2
    """Fraction of channels dropped in training after the first convolution."""

    def __post_init__(self) -> None:
        self._require_widths("blocks_down", 1)
        levels = len(self.blocks_down)
        valid = len(self.blocks_up) == levels - 1 and min(self.blocks_up, default=1) >= 1
        self._require(valid, "blocks_up", f"{levels - 1} numbers from 1, one fewer than blocks_down")
        self._require(self.groups >= 1, "groups", "at least 1")
        valid = self.first_filters >= 1 and self.first_filters % self.groups == 0
        self._require(valid, "first_filters", f"a multiple of the {self.groups} groups")
        self._require(0 <= self.dropout < 1, "dropout", "0 to below 1")


@dataclass(frozen=True)
class AttentionUNet(NetworkSettings):
    """MONAI's `AttentionUnet`: Oktay et al. 2018, "Attention U-Net: learning where to look for the pancreas".

    As in MONAI: convolutions with a stride instead of pooling, an additive gate between the features of a
    level and those from below it, instance normalisation without scale and PReLU after the merging
    convolution, batch normalisation and ReLU elsewhere.

    The deepest instance normalisation is one level above the bottom: the smallest cubic patch has 9 voxels
    along each axis for five levels, 2 ** (levels - 2) + 1 in general.
    """

    architecture: ClassVar[str] = "attention_unet"

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Per level, from the full resolution down to the bottom."""

    def __post_init__(self) -> None:
        self._require_widths("filters", 2)
        self._require(min(self.filters) >= 2, "filters", "numbers from 2")

    @property
    def instance_norm_factor(self) -> int:
        """At the merging convolution above the bottom."""
        return 2 ** (len(self.filters) - 2)


@dataclass(frozen=True)
class UNETR(NetworkSettings):
    """Hatamizadeh et al. 2022, "UNETR: transformers for 3D medical image segmentation", as in MONAI.

    Different from MONAI: queries, keys and values have biases, as in the vision transformer it cites. Where
    a size is not a multiple of the patch, the patches reach over both ends alike and the last upsampling is
    cropped to the image.

    Each patch has a learned position, so a network fits one image size: train it on whole volumes. Any size
    will do: the deepest instance normalisation sees 2 x 2 x 2 voxels of every patch.
    """

    architecture: ClassVar[str] = "unetr"
    fixed_size: ClassVar[bool] = True

    first_filters: int = 16
    """Filters at the full resolution; each decoder level below has twice as many."""
    hidden: int = 768
    """Numbers that describe a patch of 16 x 16 x 16 voxels."""
    mlp: int = 3072
    """Width between the two dense layers of a block."""
    heads: int = 12
    """Of the attention."""
    layers: int = 12
    """Transformer blocks."""
    taps: tuple[int, ...] = (3, 6, 9)
    """Blocks (from 0) whose output also feeds the decoder: finest resolution first."""

    def __post_init__(self) -> None:
        for name in ("first_filters", "heads", "layers", "mlp"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        valid = self.hidden >= 1 and self.hidden % self.heads == 0
        self._require(valid, "hidden", f"a multiple of the {self.heads} heads")
        valid = len(self.taps) == 3 and list(self.taps) == sorted(set(self.taps)) and self.taps[0] >= 0
        valid = valid and self.taps[-1] < self.layers
        self._require(valid, "taps", f"3 rising numbers from 0 to {self.layers - 1}")


@dataclass(frozen=True)
class StemUNet(NetworkSettings):
    """A U-Net at half the resolution, on channels that hold each cube of 2 x 2 x 2 voxels; ours.

    Nothing is lost on the way in: the cubes' voxels are put into channels (as in Shi et al. 2016, "Real-time
    single image and video super-resolution using an efficient sub-pixel convolutional neural network", there
    on the way out) and back to their places at the end. A voxel costs an eighth of what it does in a U-Net
    whose first level has the full resolution. Levels are convolution, batch normalisation and activation,
    with maximum pooling, nearest upsampling and concatenation.
    """

    architecture: ClassVar[str] = "stem_unet"

    filters: tuple[int, ...] = (32, 64, 128)
    """Per level, from half the resolution down to the bottom."""
    convs: int = 2
    """Convolutions per encoder level."""
    decoder_convs: int = 2
    """Convolutions per decoder level."""
    merge: Literal["concat", "add"] = "concat"
    """How what comes from below joins a level: as further channels (`concat`), or narrowed to the level's
    width and added (`add`), which is a third of the work less."""
    full_filters: int = 0
    """Filters of a convolution at the full resolution, before the stem, and of another one that joins it
    with what comes back from the U-Net; 0 leaves both out."""
    residual: bool = False
    """Adds each level's input to its output."""
    activation: Literal["swish", "relu"] = "relu"
    """After each normalisation."""

    def __post_init__(self) -> None:
        self._require_widths("filters", 1)
        for name in ("convs", "decoder_convs"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(self.merge in ("concat", "add"), "merge", "concat or add")
        self._require(self.full_filters >= 0, "full_filters", "0 or more")
        self._require(self.activation in ("swish", "relu"), "activation", "swish or relu")
