"""What the networks see of which case, and how often. Knows no Keras."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shiva_cmb.errors import UsageError

Shape = tuple[int, int, int]

SMALLEST_PATCH = 8
"""Voxels along each axis."""
PATCH_STEP = 8
"""Patches grow by multiples of this, which networks with three or fewer halvings divide without rest."""

LesionChoice = Literal["lesion", "voxel", "size"]
CaseChoice = Literal["case", "lesion"]
Placement = Literal["anywhere", "centred"]
Negatives = Literal["any", "lesion_free"]


@dataclass(frozen=True)
class SamplingSettings:
    """Which patches are cut out of which cases. `PRESETS` holds the published ways."""

    patch: Shape | None = (48, 48, 48)
    """Voxels of the training patches; None trains on whole volumes."""
    batch_size: int = 4
    """Patches (or volumes) per batch."""
    steps_per_epoch: int = 50
    """Batches per epoch."""
    lesion_fraction: float = 0.7
    """Share of the patches cut around a lesion. Of whole volumes: share that is drawn among the cases with
    lesions, while the others are drawn among all cases."""
    lesion_choice: LesionChoice = "lesion"
    """Of a case's lesions, each alike (`lesion`), in proportion to its voxels (`voxel`: large ones more
    often), or small lesions as often as large ones over all cases (`size`)."""
    case_choice: CaseChoice = "case"
    """For patches around a lesion: every case with lesions alike (`case`), or the more lesions the more often
    (`lesion`)."""
    lesion_case_fraction: float | None = None
    """Share of all patches that come from cases with lesions, be it from elsewhere in them; the others come
    from cases without. At least `lesion_fraction`. None: patches elsewhere come from every case alike."""
    placement: Placement = "anywhere"
    """Where in its patch a lesion lies: whole and at a random place (`anywhere`), or in the middle up to
    `jitter_voxels` (`centred`)."""
    jitter_voxels: int = 0
    """Largest shift of a centred lesion along each axis. It stays whole in the patch; along an axis on which
    it is too long, its middle does."""
    negatives: Negatives = "any"
    """Whether the patches without a target may hold a lesion by chance."""
    hard_negative_fraction: float = 0.0
    """Of the patches without a target, the share cut around false positives of the current network."""
    mine_every_epochs: int = 10
    """Epochs after which false positives are looked for anew, if they are used."""
    mine_threshold: float = 0.3
    """Probability from which a voxel counts as a false positive."""
    mine_most_per_case: int = 50
    """So many false positives of a case are kept, the strongest ones."""
    first_patch: Shape | None = None
    """Voxels of the patches at the start, if they are to grow to `patch`."""
    grow_epochs: int = 0
    """Epochs after which they have grown."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps_per_epoch", "mine_every_epochs", "mine_most_per_case"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("jitter_voxels", "grow_epochs"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("lesion_fraction", "hard_negative_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if not 0 < self.mine_threshold < 1:
            raise UsageError(f"mine_threshold: expected a number between 0 and 1, got {self.mine_threshold}")
        self._check_choices()
        share = self.lesion_case_fraction
        if share is not None and not self.lesion_fraction <= share <= 1:
            raise UsageError(
                f"lesion_case_fraction: expected lesion_fraction ({self.lesion_fraction}) to 1, got {share}"
            )
        for name in ("patch", "first_patch"):
            size = getattr(self, name)
            if size is not None and (len(size) != 3 or min(size) < SMALLEST_PATCH):
                raise UsageError(f"{name}: expected three sizes of at least {SMALLEST_PATCH}, got {size}")
        self._check_growth()

    def _check_choices(self) -> None:
        allowed = {
            "lesion_choice": LesionChoice,
            "case_choice": CaseChoice,
            "placement": Placement,
            "negatives": Negatives,
        }
        for name, kind in allowed.items():
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    f"{name}: expected one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}"
                )

    def _check_growth(self) -> None:
        if (self.first_patch is None) != (self.grow_epochs == 0):
            raise UsageError("first_patch and grow_epochs belong together: give both or none")
        if self.first_patch is None:
            return
        if self.patch is None:
            raise UsageError("first_patch: patches cannot grow to whole volumes; give patch a size")
        if any(first > last for first, last in zip(self.first_patch, self.patch, strict=True)):
            raise UsageError(f"first_patch: expected at most the patch {self.patch}, got {self.first_patch}")

    @property
    def mines(self) -> bool:
        """Whether false positives of the current network are looked for."""
        return self.hard_negative_fraction > 0


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "whole": {"patch": None, "batch_size": 1, "lesion_fraction": 0.0},
    "random_3d": {
        "patch": (64, 64, 64),
        "lesion_fraction": 0.9,
        "lesion_choice": "voxel",
        "case_choice": "case",
        "placement": "anywhere",
        "negatives": "any",
    },
    "per_lesion": {
        "lesion_fraction": 0.7,
        "lesion_choice": "size",
        "case_choice": "lesion",
        "placement": "anywhere",
    },
    "pos_neg": {
        "patch": (128, 128, 128),
        "lesion_fraction": 0.5,
        "lesion_choice": "voxel",
        "case_choice": "case",
        "placement": "centred",
        "negatives": "lesion_free",
    },
    "roi": {
        "patch": (128, 128, 128),
        "lesion_fraction": 1.0,
        "lesion_choice": "lesion",
        "case_choice": "lesion",
        "placement": "centred",
        "jitter_voxels": 32,
    },
}
"""What the published ways change in `SamplingSettings`: whole volumes (SHIVA-CMB); patches in proportion to
classes; small lesions as often as large ones, whichever case they are in; as many crops with as without a
lesion; crops about each lesion with a random shift. Published crops about a lesion that left the volume were
dropped: here they are moved inside."""


def patch_stages(settings: SamplingSettings, epochs: int) -> tuple[tuple[int, int, Shape | None], ...]:
    """The size of the patches over a run: equal steps in time, every side a multiple of 8 while it grows.

    Args:
        settings: see `SamplingSettings`.
        epochs: of the whole run.

    Returns:
        First epoch, last epoch (both from 0, inclusive) and patch of each stage; the stages follow each other
        without a gap from 0 to `epochs - 1`.
    """
    sizes = [_patch_at(settings, epoch) for epoch in range(epochs)]
    first = [epoch for epoch in range(epochs) if epoch == 0 or sizes[epoch] != sizes[epoch - 1]]
    ends = [*(start - 1 for start in first[1:]), epochs - 1]
    return tuple((start, end, sizes[start]) for start, end in zip(first, ends, strict=True))


def _patch_at(settings: SamplingSettings, epoch: int) -> Shape | None:
    if settings.patch is None or settings.first_patch is None or epoch >= settings.grow_epochs:
        return settings.patch
    grown = [
        first + (last - first) * epoch // settings.grow_epochs
        for first, last in zip(settings.first_patch, settings.patch, strict=True)
    ]
    x, y, z = (max(size // PATCH_STEP * PATCH_STEP, SMALLEST_PATCH) for size in grown)
    return x, y, z
