"""What is chosen on the out-of-fold maps once the folds are trained."""

from dataclasses import dataclass

from shiva_cmb.errors import UsageError


@dataclass(frozen=True)
class CalibrationSettings:
    """How the operating point is chosen, and whether probabilities are calibrated."""

    pick: str = "f1"
    """What the operating point is chosen for: `f1` is the highest lesion-wise F1, `fp:0.5` the highest
    sensitivity with at most 0.5 false positives per scan."""
    temperature: bool = False
    """Whether the networks' logits are divided by one number, fitted so that probabilities mean what they
    say."""

    def __post_init__(self) -> None:
        if self.pick == "f1":
            return  # without importing what reads the others
        from shiva_cmb.evaluation.operating_point import require_choice

        try:
            require_choice(self.pick)
        except UsageError as error:
            raise UsageError(f"pick: {error}") from error
