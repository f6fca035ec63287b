"""What the settings of every architecture share: how they are read, checked and written. No Keras."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from shiva_cmb.errors import ModelError, UsageError

LEAST_NORMALISED = 8
"""Voxels that instance normalisation must average over: 2 x 2 x 2. One voxel becomes a constant whatever it
was, and two keep nothing but which of them is larger."""


@dataclass(frozen=True)
class NetworkSettings:
    """Base of the settings of one architecture. Fields are numbers, texts or tuples of whole numbers."""

    architecture: ClassVar[str] = ""
    """Its name in a bundle's descriptor, and the module and function that build it."""
    fixed_size: ClassVar[bool] = False
    """Whether weights belong to places, so that they only fit images of the size they were trained on."""

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Settings from the `arguments` of a bundle's `architecture`; those left out keep their defaults.

        Raises:
            ModelError: if an argument is unknown, of the wrong type or out of range.
        """
        known = {field.name: field.default for field in fields(cls)}
        taken = {}
        for key, value in arguments.items():
            if key not in known:
                raise ModelError(
                    f"unknown argument {key!r} of {cls.architecture}: the known ones are {', '.join(known)}"
                )
            taken[key] = cls._taken(key, value, known[key])
        return cls(**taken)

    def as_arguments(self) -> dict[str, Any]:
        """For a descriptor: what `from_arguments` takes, with lists for tuples."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def _taken(cls, key: str, value: Any, default: Any) -> Any:
        if isinstance(default, tuple):
            if isinstance(value, list | tuple) and all(type(item) is int for item in value):
                return tuple(value)
            raise ModelError(f"argument {key} of {cls.architecture}: expected a list of int, got {value!r}")
        wanted = type(default)
        if type(value) is wanted or (wanted is float and type(value) is int):
            return value
        raise ModelError(f"argument {key} of {cls.architecture}: expected {wanted.__name__}, got {value!r}")

    @property
    def instance_norm_factor(self) -> int:
        """How many times smaller than the image the features are at the deepest instance normalisation.

        1 where there is none. (Batch normalisation also averages over the batch, group normalisation over
        channels.)
        """
        return 1

    def require_fits(self, shape: tuple[int, int, int]) -> None:
        """Check that images of this size leave instance normalisation something to average over.

        Args:
            shape: voxels that the network is to see at a time, in training or later.

        Raises:
            UsageError: if they leave fewer than `LEAST_NORMALISED`.
        """
        factor = self.instance_norm_factor
        left = math.prod(-(-n // factor) for n in shape)
        if factor > 1 and left < LEAST_NORMALISED:
            raise UsageError(
                f"patch: {self.architecture} has instance normalisation at 1/{factor} of the resolution, "
                f"where {shape} leaves {left} of at least {LEAST_NORMALISED} voxels: take patches from "
                f"{factor + 1} voxels along each axis, or fewer levels"
            )

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            received = getattr(self, name)
            raise ModelError(f"argument {name} of {self.architecture}: expected {expected}, got {received!r}")

    def _require_widths(self, name: str, at_least: int) -> None:
        """A tuple of filters, one per level."""
        widths = getattr(self, name)
        valid = at_least <= len(widths) <= 9 and min(widths) >= 1
        self._require(valid, name, f"{at_least} to 9 numbers from 1")
