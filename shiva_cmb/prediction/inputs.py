"""What a user gives for one subject, read and checked: channels on one grid, and a brain mask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy import Anatomy, segment_head
from shiva_cmb.errors import ImageError, Note, UsageError, warn_user
from shiva_cmb.imaging import (
    Grid,
    ModelInput,
    Preprocessing,
    Volume,
    align_image,
    align_mask,
    binary_mask,
    check_affine,
    check_image,
    read_volume,
    to_model_grid,
)

ImageLike = str | Path | Volume

LEAST_EXTENT_MM = 20.0
"""What measures less along an axis is no scan of a brain, or its header has a wrong voxel size."""
ESTIMATED = "anatomy network"
"""Where the mask came from if the user gave none."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject's images, all on the grid of the first one."""

    channels: tuple[Volume, ...]
    """Finite images, in the order of the model's channels."""
    brain: NDArray[np.bool_]
    """Brain mask on that grid."""
    mask: NDArray[np.float32] | None
    """The user's mask with its own values; None where `brain` was estimated."""
    sources: tuple[str, ...]
    """Where the channels came from."""
    mask_source: str
    """Where the mask came from."""
    anatomy: Anatomy | None = None
    """The estimate; None where the user gave a mask."""

    @property
    def grid(self) -> Grid:
        """Native space."""
        return self.channels[0].grid


def read_subject(
    images: ImageLike | Sequence[ImageLike],
    mask: ImageLike | None,
    *,
    index: int | None = None,
    note: Note = warn_user,
) -> Subject:
    """Read and check everything one prediction needs.

    Args:
        images: one image, or one per channel; further channels are resampled to the first.
        mask: brain mask on any grid that overlaps, or None for an estimate by the anatomy network.
        index: which volume of files that hold several, from 0.
        note: told of every repair and guess.

    Raises:
        ImageError: if something cannot be used.
    """
    given: list[ImageLike] = list(images) if isinstance(images, list | tuple) else [images]  # type: ignore[list-item]
    if not given:
        raise ImageError("no image was given")
    named = [(volume_name(image), read_image(image, index=index, note=note)) for image in given]
    channels = [check_image(volume, name, note) for name, volume in named]
    for (name, _), channel in zip(named, channels, strict=True):
        _require_extent(channel.grid, name)
    grid = channels[0].grid
    for number, (name, _) in enumerate(named[1:], start=1):
        channels[number] = align_image(channels[number], grid, name, note)
    sources = tuple(name for name, _ in named)
    if mask is None:
        with naming(sources[0]):
            anatomy = segment_head(channels[0], lambda line: note(f"{sources[0]}: {line}"))
        return Subject(tuple(channels), anatomy.brain, None, sources, ESTIMATED, anatomy)
    name = volume_name(mask)
    values = align_mask(read_image(mask, index=None, note=note), grid, name, note)
    return Subject(tuple(channels), binary_mask(values, name), values, sources, name)


def on_model_grid(
    subject: Subject, preprocessing: Preprocessing, note: Note = warn_user
) -> tuple[ModelInput, ...]:
    """Every channel as a network is fed it, in their order.

    Raises:
        ImageError: see `to_model_grid`; the message names the channel's file.
    """
    inputs: list[ModelInput] = []
    for source, channel in zip(subject.sources, subject.channels, strict=True):
        # further channels share the first one's grid: what is to be said of it is said once
        say = note if not inputs else _quiet
        with naming(source):
            inputs.append(to_model_grid(channel, subject.brain, preprocessing, say))
    return tuple(inputs)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name before the message of an image error that does not name it."""
    try:
        yield
    except ImageError as error:
        if name in str(error):
            raise
        raise ImageError(f"{name}: {error}") from error


def volume_name(image: ImageLike) -> str:
    """What to call an image in messages."""
    return "the image" if isinstance(image, Volume) else str(image)


def read_image(image: ImageLike, *, index: int | None, note: Note) -> Volume:
    """A volume as it is, or read from its file.

    Raises:
        UsageError: if it is neither a `Volume` nor a path.
        ImageError: if it cannot be used.
    """
    if isinstance(image, str | Path):
        return read_volume(image, index=index, note=note)
    if not isinstance(image, Volume):
        raise UsageError(f"expected a path or a shiva_cmb.Volume, got {type(image).__name__}")
    check_affine(image.affine, volume_name(image), note, image.shape)
    return image


def _require_extent(grid: Grid, name: str) -> None:
    extent_mm = [count * size for count, size in zip(grid.shape, grid.spacing_mm, strict=True)]
    if min(extent_mm) < LEAST_EXTENT_MM:
        size = " x ".join(f"{mm:.3g}" for mm in extent_mm)
        raise ImageError(
            f"{name}: the image measures {size} mm; expected a head scan, "
            f"at least {LEAST_EXTENT_MM:g} mm along each axis: check the file and its voxel size"
        )


def _quiet(line: str) -> None:
    """Say nothing."""
