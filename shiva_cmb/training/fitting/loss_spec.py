"""What a loss is made of, and its short text such as `dice+ce:5`. No Keras: settings are checked without."""

import math
import re
from dataclasses import dataclass
from types import MappingProxyType

from shiva_cmb.errors import UsageError

KINDS = MappingProxyType(
    {
        "dice": {},
        "tversky": {"false_positives": 0.3, "false_negatives": 0.7},
        "focal_tversky": {"false_positives": 0.3, "false_negatives": 0.7, "gamma": 3.0},
        "bce": {},
        "ce": {"positive_weight": 5.0, "negative_weight": 1.0},
        "lesion_ce": {"lesion_weight": 60.0},
        "focal": {"alpha": 0.25, "gamma": 2.0},
        "dicece": {},
    }
)
"""The losses by name, and the numbers each takes, in order, with what they are where the text has none."""


@dataclass(frozen=True)
class LossTerm:
    """One loss of a sum."""

    kind: str
    """One of `KINDS`."""
    weight: float = 1.0
    """What it is multiplied by."""
    arguments: tuple[float, ...] = ()
    """The numbers of its kind, the first ones or all; the others keep their defaults."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown loss {self.kind!r}: the known ones are {', '.join(KINDS)}")
        names = list(KINDS[self.kind])
        if len(self.arguments) > len(names):
            known = f"{len(names)} ({', '.join(names)})" if names else "no"
            raise UsageError(f"loss {self.kind}: takes {known} numbers, got {len(self.arguments)}")
        for name, number in {"weight": self.weight, **self.named}.items():
            if not (math.isfinite(number) and number > 0):
                raise UsageError(f"loss {self.kind}: expected a {name} above 0, got {number}")
        if self.kind == "focal" and not self.named["alpha"] < 1:
            raise UsageError(f"loss focal: expected an alpha below 1, got {self.named['alpha']}")

    @property
    def named(self) -> dict[str, float]:
        """All numbers by name."""
        return {**KINDS[self.kind], **dict(zip(KINDS[self.kind], self.arguments, strict=False))}


@dataclass(frozen=True)
class LossSettings:
    """A weighted sum of losses."""

    terms: tuple[LossTerm, ...]
    """At least one."""

    def __post_init__(self) -> None:
        if not self.terms:
            raise UsageError("a loss needs at least one term")


def parse_loss(text: str, positive_weight: float = 5.0) -> LossSettings:
    """Read a loss such as `dice+ce:5` or `focal_tversky:0.3,0.7,3 + 0.5*ce:5,0.1`.

    Args:
        text: terms joined by `+`, each `[WEIGHT*]NAME[:NUMBER,...]`; see `KINDS`.
        positive_weight: of `ce` where it has no number.

    Raises:
        UsageError: if the text is something else, or a number is out of range.
    """
    terms = []
    for part in re.split(r"(?<!\de)\+", text, flags=re.IGNORECASE):  # not in 1e+1
        factor, star, rest = part.strip().rpartition("*")
        kind, colon, numbers = (piece.strip() for piece in rest.partition(":"))
        arguments = tuple(_number(number, text) for number in numbers.split(",")) if colon else ()
        if kind == "ce" and not arguments:
            arguments = (positive_weight,)
        terms.append(LossTerm(kind, _number(factor, text) if star else 1.0, arguments))
    return LossSettings(tuple(terms))


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"loss {whole!r}: expected terms like 0.5*ce:5 joined by +, got {text.strip()!r} for a number"
        ) from None
