"""How an evaluation is done: what counts as a lesion, what as a match, what is reported."""

from dataclasses import dataclass, field
from typing import Literal

from shiva_cmb.errors import UsageError
from shiva_cmb.evaluation.matching import ANY_OVERLAP, MatchRule
from shiva_cmb.evaluation.sweep import SweepSettings
from shiva_cmb.lesions.criteria import LesionCriteria

LabelKind = Literal["auto", "mask", "labels"]
"""What an image of lesions holds: `mask`: everything that is not 0, in connected components; `labels`: each
value is one lesion, in however many pieces; `auto`: each connected piece of each value is a lesion, so that
those of one value stay apart where there is a gap, and those of two values where there is none. A soft mask
(fractions up to 1) is cut above one half, except that `labels` refuses it."""
PredictionKind = Literal["auto", "mask", "labels", "probability"]
"""As `LabelKind`, except that `auto` takes an image with fractions for a probability map; `probability`: to
be thresholded, whatever its values."""

NOTHING_DROPPED = LesionCriteria(min_volume_mm3=0.0)
"""The default criteria: what a method hands in is judged as it is."""


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything that changes the figures."""

    rule: MatchRule = ANY_OVERLAP
    """When a prediction has found a lesion."""
    criteria: LesionCriteria = NOTHING_DROPPED
    """How maps become lesions. The minimum volume holds for predictions of every kind, the connectivity for
    masks of both sides; nothing is dropped unless it is asked for."""
    ignore_below_mm3: float = 0.0
    """Smaller truth lesions, and the predictions that touch them, count neither way."""
    ignored_values: tuple[int, ...] = ()
    """Values of the truth whose regions, and the predictions that touch only such, count neither way."""
    truth_kind: LabelKind = "auto"
    """What the truth files hold."""
    prediction_kind: PredictionKind = "auto"
    """What the prediction files hold."""
    maps_first: bool = False
    """Where a case has a label map and a probability map, the probability map is judged; so it is with the
    kind `probability`."""
    sweep: SweepSettings = field(default_factory=SweepSettings)
    """Operating points that are tried, where there are probability maps."""
    scan_thresholds: tuple[int, ...] = (1, 3, 5, 11)
    """A scan counts as positive with at least so many lesions."""
    strata: tuple[str, ...] = ()
    """Columns of the case table, as `thickness_mm` or with cuts as `thickness_mm:3`."""
    replicates: int = 1000
    """Bootstrap samples."""
    level: float = 0.95
    """Of the intervals."""
    seed: int = 0
    """Of the bootstrap and the permutations."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.ignore_below_mm3 < float("inf"):
            raise UsageError(f"expected a volume of 0 mm3 or more to ignore, got {self.ignore_below_mm3}")
        if 0 in self.ignored_values:
            raise UsageError("expected truth values other than 0, the background, to ignore")
        if not self.scan_thresholds or min(self.scan_thresholds) < 1:
            raise UsageError(f"expected lesion counts of 1 or more, got {self.scan_thresholds}")
        if self.replicates < 100:
            raise UsageError(f"expected 100 bootstrap replicates or more, got {self.replicates}")
        if self.seed < 0:
            raise UsageError(f"expected a seed of 0 or more, got {self.seed}")
        if not 0.5 <= self.level < 1.0:
            raise UsageError(f"expected a level of the intervals in [0.5, 1), got {self.level}")
