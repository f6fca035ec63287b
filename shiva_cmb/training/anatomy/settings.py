"""How the anatomy network is trained. Plain values; no Keras here."""

from dataclasses import dataclass, fields

from shiva_cmb.errors import UsageError


@dataclass(frozen=True)
class RandomHeadSettings:
    """How images of random contrast are drawn. Lengths in mm."""

    stripped_share: float = 0.2
    """Of the images, how many have the skull set to zero."""
    physical_share: float = 0.6
    """Of the images, how many have intensities like a gradient echo's; the others any."""
    cut_share: float = 0.5
    """Of the images, how many have a field of view that cuts the head."""
    thick_share: float = 0.55
    """Of the images, how many have slices thicker than the grid's."""
    slice_mm: tuple[float, float] = (2.5, 7.0)
    """Thinnest and thickest of these slices."""
    rotation_deg: float = 25.0
    """Largest angle about each axis."""
    shift_mm: tuple[float, float, float] = (8.0, 10.0, 14.0)
    """How far the brain's middle may lie from the window's, by axis; half of the images within a sixth."""
    scale_spread: float = 0.07
    """Standard deviation of the logarithm of the size."""
    bend_mm: float = 3.0
    """Standard deviation of the displacement at control points 32 mm apart."""

    def __post_init__(self) -> None:
        for name in ("stripped_share", "physical_share", "cut_share", "thick_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name}: expected a share from 0 to 1, got {value}")


_COUNTS = ("batch_size", "steps", "check_every", "check_images", "final_images", "workers")


@dataclass(frozen=True)
class AnatomyTrainingSettings:
    """The whole training of the anatomy network."""

    widths: tuple[int, ...] = (24, 40, 56, 72)
    """Filters at 4, 8, 16 ... mm."""
    window: tuple[int, int, int] = (96, 112, 96)
    """Voxels of 2 mm that the network sees in use, and at the checks."""
    small_window: tuple[int, int, int] = (80, 96, 80)
    """Voxels of 2 mm that it is trained on at first: less of the air around a head takes less time."""
    small_share: float = 0.9
    """Of the steps, how many see the small window."""
    batch_size: int = 1
    """Images in a step."""
    steps: int = 2400
    """How many steps."""
    warmup_steps: int = 200
    """Steps over which the learning rate rises."""
    learning_rate: float = 2e-3
    """The highest; it falls as half a cosine."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    dice_weight: float = 1.0
    """Of the Dice loss beside the cross-entropy: small regions are learned sooner with it."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of each weight."""
    check_every: int = 200
    """Steps between checkpoints, with a look at the held-out heads."""
    check_images: int = 12
    """Images of that look."""
    held_out: tuple[str, ...] = ("head_11", "head_12", "head_13", "head_14")
    """Names of heads that are not trained on."""
    mixed_precision: bool = True
    """Computes in bfloat16."""
    workers: int = 1
    """Threads that draw images."""
    final_images: int = 60
    """Images of the last check, whose figures go with the network."""
    seed: int = 0
    """Of weights and images."""
    drawing: RandomHeadSettings = RandomHeadSettings()
    """How images are drawn."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _COUNTS and value < 1:
                raise UsageError(f"{field.name}: expected 1 or more, got {value}")
        if not 0 <= self.small_share <= 1:
            raise UsageError(f"small_share: expected a share from 0 to 1, got {self.small_share}")
        if not self.widths or min(self.widths) < 1:
            raise UsageError(f"widths: expected one filter or more per level, got {self.widths}")
        smallest = 2 ** len(self.widths)
        for name in ("window", "small_window"):
            sizes = getattr(self, name)
            if any(n < smallest or n % smallest for n in sizes):
                raise UsageError(f"{name}: expected multiples of {smallest}, got {sizes}")
