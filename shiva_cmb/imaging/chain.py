"""From an image's own grid to the model's grid and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging.interpolation import Order
from shiva_cmb.imaging.steps import CropPad, Reorient, Resample, SpatialStep
from shiva_cmb.imaging.volume import Grid, Volume

MODEL_SHAPE = (160, 214, 176)
MODEL_SPACING_MM = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class SpatialChain:
    """Steps one after the other; each starts on the grid on which the one before ends."""

    steps: tuple[SpatialStep, ...]
    """At least one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise ImageError("a spatial chain needs at least one step")

    @property
    def source(self) -> Grid:
        """The grid of the image as it is stored."""
        return self.steps[0].source

    @property
    def target(self) -> Grid:
        """The model's grid."""
        return self.steps[-1].target

    def apply(self, volume: Volume, order: Order) -> Volume:
        """From `source` to `target`: order 3 for images, 1 for masks, 0 for labels."""
        for step in self.steps:
            volume = step.apply(volume, order)
        return volume

    def invert(self, volume: Volume, order: Order) -> Volume:
        """From `target` back to exactly `source`; 0 where the target did not reach."""
        for step in reversed(self.steps):
            volume = step.invert(volume, order)
        # The source's own affine, not one that went through rounding.
        return Volume(volume.data, self.source.affine)

    def as_dict(self) -> dict[str, Any]:
        """For provenance: both grids and every step, in order."""
        return {
            "from": _grid_dict(self.source),
            "to": _grid_dict(self.target),
            "steps": [step.as_dict() for step in self.steps],
        }


def chain_to_model_grid(
    image: Grid,
    brain: NDArray[np.bool_] | None,
    shape: tuple[int, int, int] = MODEL_SHAPE,
    spacing_mm: tuple[float, float, float] = MODEL_SPACING_MM,
    note: Note = warn_user,
) -> SpatialChain:
    """Closest canonical orientation, the model's voxel size, a window of the model's shape about the brain.

    The window is centred on the brain's bounding box, which fits the whole brain whenever that is possible
    (a window about the centre of mass can cut a brain that would fit). Where it is too large along an
    axis, the window that keeps most of its voxels is taken; without a brain, the middle of the field of view.
    An image that already has the model's shape and voxel size keeps its place and its exact values.

    Args:
        image: the image's grid.
        brain: on that grid, or None.
        shape: the model's input shape.
        spacing_mm: the model's voxel size.
        note: is told how much of the brain is cut, if any.

    Raises:
        ImageError: if `brain` is empty or has another shape.
    """
    reorient = Reorient(image)
    resample = Resample.to_spacing(reorient.target, spacing_mm)
    if resample.shape == shape:
        start = (0, 0, 0)
    elif brain is None:
        start = _start((n - count) // 2 for n, count in zip(resample.shape, shape, strict=True))
    else:
        profiles = brain_profiles(brain, reorient)
        start = _start(
            _window_start(profile, _positions(resample, axis), shape[axis])
            for axis, profile in enumerate(profiles)
        )
    crop = CropPad(resample.target, start, shape)
    chain = SpatialChain((reorient, resample, crop))
    if brain is not None:
        note_cut_brain(brain, chain, note)
    return chain


def brain_profiles(brain: NDArray[np.bool_], reorient: Reorient) -> tuple[NDArray[np.int64], ...]:
    """How many brain voxels each canonical slice holds, for the three axes.

    Raises:
        ImageError: if `brain` is empty or does not have the source's shape.
    """
    if brain.shape != reorient.source.shape:
        raise ImageError(f"expected a brain mask of shape {reorient.source.shape}, got {brain.shape}")
    canonical = reorient.apply(Volume(brain, reorient.source.affine)).data
    # Summing slabs first reads the large array twice instead of three times.
    in_plane = np.add.reduce(canonical, axis=2, dtype=np.int32)
    z = np.count_nonzero(canonical, axis=(0, 1)).astype(np.int64)
    x, y = in_plane.sum(axis=1, dtype=np.int64), in_plane.sum(axis=0, dtype=np.int64)
    if not z.any():
        raise ImageError("the brain mask is empty: nothing to centre the model grid on")
    return x, y, z


def note_cut_brain(brain: NDArray[np.bool_], chain: SpatialChain, note: Note) -> None:
    """Say how much of the brain lies outside the chain's target, if any does."""
    corners = np.array([[-0.5] * 3, [n - 0.5 for n in chain.target.shape]])
    reach = chain.source.to_voxel(chain.target.to_world(corners))
    kept = tuple(
        slice(max(0, int(np.ceil(low - 1e-6))), max(0, int(np.floor(high + 1e-6)) + 1))
        for low, high in zip(reach.min(axis=0), reach.max(axis=0), strict=True)
    )
    total = np.count_nonzero(brain)
    cut = total - np.count_nonzero(brain[kept])
    if cut:
        percent = 100 * cut / total
        said = f"{percent:.1f} %" if percent >= 0.1 else "less than 0.1 %"
        shape = " x ".join(str(n) for n in chain.target.shape)
        note(
            f"the brain is larger than the model grid ({shape} voxels): {said} of it is cut and not searched"
        )


def _positions(resample: Resample, axis: int) -> NDArray[np.float64]:
    """Where the source's slices lie, in voxels after resampling."""
    ratio = resample.spacing_mm[axis] / resample.source.spacing_mm[axis]
    slices = np.arange(resample.source.shape[axis], dtype=np.float64)
    return (slices - resample.first_voxel[axis]) / ratio


def _window_start(profile: NDArray[np.int64], positions: NDArray[np.float64], count: int) -> int:
    """First voxel of the window of `count` voxels along one axis."""
    occupied = np.flatnonzero(profile)
    half_slice = abs(positions[1] - positions[0]) / 2
    low, high = positions[occupied[0]] - half_slice, positions[occupied[-1]] + half_slice
    centred = int(np.floor((low + high) / 2 - count / 2 + 1))
    if high - low <= count:
        return centred
    spare = int(np.ceil(high - low - count)) // 2 + 1
    starts = np.arange(centred - spare, centred + spare + 1)
    inside = (positions >= starts[:, None] - 0.5) & (positions <= starts[:, None] + count - 0.5)
    kept = inside @ profile
    best = starts[kept == kept.max()]
    return int(best[np.abs(best - centred).argmin()])


def _start(values: Any) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z


def _grid_dict(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist(), "orientation": grid.orientation}
