"""The lesions of one image as lists of voxels: small, picklable, and all that matching needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.imaging.volume import Grid
from shiva_cmb.lesions.neighbours import Connectivity, neighbours, require_connectivity


@dataclass(frozen=True, eq=False)
class LesionSet:
    """The lesions of one image without the image: their voxels, grouped by lesion."""

    grid: Grid
    """Of the image they were found in."""
    voxels: NDArray[np.intp]
    """Flat C-order indices, shape (voxels,): grouped by lesion, ascending within each; none occurs twice."""
    starts: NDArray[np.intp]
    """Shape (lesions + 1,): lesion k owns `voxels[starts[k]:starts[k + 1]]`, at least one voxel."""
    names: NDArray[np.int64]
    """Shape (lesions,): the value in the label map, or the number of the component from 1."""
    scores: NDArray[np.float64] | None = None
    """Shape (lesions,): highest probability inside; None for masks."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Number of voxels of each lesion, shape (lesions,)."""
        return np.diff(self.starts)

    @property
    def volumes_mm3(self) -> NDArray[np.float64]:
        """Volume of each lesion, shape (lesions,)."""
        return self.sizes.astype(np.float64) * self.grid.voxel_volume_mm3

    @property
    def owner(self) -> NDArray[np.intp]:
        """Index of the lesion that owns each entry of `voxels`, shape (voxels,)."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def first_voxels(self) -> NDArray[np.intp]:
        """Lowest flat index of each lesion, shape (lesions,): different for all, whatever their order."""
        return self.voxels[self.starts[:-1]]

    @property
    def centroids(self) -> NDArray[np.float64]:
        """Mean voxel index of each lesion, shape (lesions, 3); the same to the last bit in any order."""
        owner, n = self.owner, len(self)
        totals = [np.bincount(owner, axis, n) for axis in np.unravel_index(self.voxels, self.grid.shape)]
        return np.stack(totals, axis=-1) / self.sizes[:, None]

    @property
    def centroids_mm(self) -> NDArray[np.float64]:
        """Centroids in world millimetres (RAS), shape (lesions, 3)."""
        return self.grid.to_world(self.centroids)

    @property
    def places(self) -> NDArray[np.intp]:
        """Voxel indices of all lesions, shape (voxels, 3)."""
        return np.stack(np.unravel_index(self.voxels, self.grid.shape), axis=-1)

    def indices(self, lesion: int) -> NDArray[np.intp]:
        """Voxel indices of one lesion, shape (its voxels, 3)."""
        own = self.voxels[self.starts[lesion] : self.starts[lesion + 1]]
        return np.stack(np.unravel_index(own, self.grid.shape), axis=-1)

    def cut_out(self, lesion: int) -> NDArray[np.bool_]:
        """One lesion in its bounding box; its voxels come in the same order as in `voxels`."""
        own = self.indices(lesion)
        corner = own.min(axis=0)
        inside = np.zeros(own.max(axis=0) - corner + 1, bool)
        inside[tuple((own - corner).T)] = True
        return inside

    def labels(self) -> NDArray[np.int32]:
        """The label map: lesion k is marked k + 1, shape of the grid."""
        labels = np.zeros(self.grid.shape, np.int32)
        labels.ravel()[self.voxels] = self.owner + 1
        return labels

    def select(self, keep: ArrayLike) -> "LesionSet":
        """Only some of the lesions, in the same order and under the same names.

        Args:
            keep: which ones, boolean, shape (lesions,).

        Raises:
            UsageError: if `keep` has another length or is not boolean.
        """
        keep, sizes = self.flags(keep), self.sizes
        scores = None if self.scores is None else self.scores[keep]
        starts = _starts(sizes[keep])
        return LesionSet(self.grid, self.voxels[np.repeat(keep, sizes)], starts, self.names[keep], scores)

    def followed_by(self, other: "LesionSet") -> "LesionSet":
        """These lesions and, under further numbers, those of a set on the same grid; none overlap."""
        names = np.arange(1, len(other) + 1) + self.names.max(initial=0)
        starts = np.concatenate([self.starts, self.starts[-1] + other.starts[1:]])
        voxels = np.concatenate([self.voxels, other.voxels])
        return LesionSet(self.grid, voxels, starts, np.concatenate([self.names, names]))

    def flags(self, of_each: ArrayLike) -> NDArray[np.bool_]:
        """One boolean for each lesion, checked, shape (lesions,).

        Raises:
            UsageError: if there are more or fewer, or they are not booleans.
        """
        flags = np.asarray(of_each, bool if not len(self) else None)
        if flags.shape != (len(self),) or flags.dtype != bool:
            raise UsageError(f"expected {len(self)} booleans, got {flags.dtype} of shape {flags.shape}")
        return flags

    def with_scores(self, probability: NDArray[Any]) -> "LesionSet":
        """The same lesions, each scored by the highest probability inside.

        Args:
            probability: map on the same grid.

        Raises:
            ImageError: if the shape differs from the grid's.
        """
        _require_shape("probability map", probability, self.grid)
        inside = probability[np.unravel_index(self.voxels, self.grid.shape)].astype(np.float64)
        scores = np.maximum.reduceat(inside, self.starts[:-1]) if len(self) else np.zeros(0)
        return replace(self, scores=scores)


def lesions_of_mask(mask: NDArray[Any], grid: Grid, connectivity: Connectivity = 26) -> LesionSet:
    """The connected components of the non-zero voxels, numbered as they come in the array.

    Args:
        mask: shape of the grid, any type.
        grid: where it lies.
        connectivity: see `Connectivity`.

    Raises:
        ImageError: if the shape is not the grid's, or a value is not finite.
        UsageError: if there is no such connectivity.
    """
    _require_shape("mask", mask, grid)
    require_connectivity(connectivity)
    inside = mask != 0
    voxels = flat_indices(inside)
    _require(mask, voxels, np.isfinite, "finite values")
    corners = np.unravel_index(voxels, grid.shape)
    # labelling only the box around all lesions spares the background
    box = tuple(slice(int(i.min()), int(i.max()) + 1) if i.size else slice(0, 0) for i in corners)
    numbers, count = scipy.ndimage.label(inside[box], neighbours(connectivity))
    owner = numbers[tuple(i - part.start for i, part in zip(corners, box, strict=True))] - 1
    return grouped(grid, voxels, owner, np.arange(1, count + 1))


def lesions_of_labels(labels: NDArray[Any], grid: Grid) -> LesionSet:
    """Every non-zero value is one lesion: touching ones stay apart, and one in two pieces stays one.

    Args:
        labels: shape of the grid, whole numbers of any type.
        grid: where they lie.

    Raises:
        ImageError: if the shape is not the grid's, or a value is not a whole number.
    """
    _require_shape("label map", labels, grid)
    voxels = flat_indices(labels != 0)
    values = _require(labels, voxels, lambda x: np.isfinite(x) & (x == np.rint(x)), "whole numbers")
    names, owner = np.unique(values.astype(np.int64), return_inverse=True)
    return grouped(grid, voxels, owner, names)


def flat_indices(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Flat C-order indices of the true voxels of an image, ascending, shape (voxels,)."""
    if inside.flags.c_contiguous:
        return np.flatnonzero(inside)
    # images from files lie in Fortran order, and are gone through several times faster as they lie
    places = np.unravel_index(np.flatnonzero(inside.T), inside.shape[::-1])
    return np.sort(np.ravel_multi_index(places[::-1], inside.shape))


def grouped(
    grid: Grid, voxels: NDArray[np.intp], owner: NDArray[np.integer], names: NDArray[np.int64]
) -> LesionSet:
    """A set out of ascending flat indices and the lesion, from 0, that owns each.

    Args:
        grid: where the voxels lie.
        voxels: flat C-order indices, ascending, shape (voxels,).
        owner: index into `names`, each at least once, shape (voxels,).
        names: shape (lesions,).
    """
    order = np.argsort(owner, kind="stable")
    return LesionSet(grid, voxels[order], _starts(np.bincount(owner, minlength=len(names))), names)


def require_same_grid(truth: Grid, other: Grid, what: str = "prediction") -> None:
    """Refuse what is on another grid than the truth: voxel indices would mean other places.

    Args:
        truth: its grid.
        other: the grid of what is compared with it.
        what: what messages call that.

    Raises:
        ImageError: if the grids differ.
    """
    if truth is not other and not truth.matches(other):
        raise ImageError(
            f"the {what} {other.shape} is not on the grid of the truth {truth.shape}:"
            " resample one to the other first"
        )


def overlap_counts(truth: LesionSet, prediction: LesionSet) -> NDArray[np.int64]:
    """Number of voxels that each truth lesion shares with each predicted one, shape (truth, prediction).

    Raises:
        ImageError: if the two are not on the same grid.
    """
    require_same_grid(truth.grid, prediction.grid)
    shape = (len(truth), len(prediction))
    if not len(truth) or not len(prediction):
        return np.zeros(shape, np.int64)
    _, rows, columns = np.intersect1d(
        truth.voxels, prediction.voxels, assume_unique=True, return_indices=True
    )
    pairs = truth.owner[rows] * shape[1] + prediction.owner[columns]
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def centre_distances(truth: LesionSet, prediction: LesionSet, *, voxels: bool = False) -> NDArray[np.float64]:
    """Distance of every truth lesion's centroid from every predicted one's, shape (truth, prediction).

    Args:
        truth: on the grid of the prediction.
        prediction: on the grid of the truth.
        voxels: measure in voxel indices instead of world millimetres.
    """
    return lengths(truth.centroids[:, None] - prediction.centroids[None], None if voxels else truth.grid)


def lengths(offsets: NDArray[np.float64], grid: Grid | None) -> NDArray[np.float64]:
    """Lengths of offsets between voxel indices, (...) for (..., 3): in mm, or without a grid in voxels."""
    squares = np.zeros(offsets.shape[:-1])
    for row in np.eye(3) if grid is None else grid.affine[:3, :3]:
        # element by element, no matrix product: swapped or reordered sets give the same bits
        squares += (offsets[..., 0] * row[0] + offsets[..., 1] * row[1] + offsets[..., 2] * row[2]) ** 2
    return np.sqrt(squares)


def _starts(sizes: NDArray[np.integer]) -> NDArray[np.intp]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)


def _require_shape(what: str, data: NDArray[Any], grid: Grid) -> None:
    if data.shape != grid.shape:
        raise ImageError(f"expected a {what} of shape {grid.shape}, got {data.shape}")


def _require(
    data: NDArray[Any], voxels: NDArray[np.intp], holds: Callable[[NDArray[Any]], NDArray[Any]], what: str
) -> NDArray[Any]:
    """The values at flat indices, all of which must be what is expected; background needs no check."""
    values: NDArray[Any] = data[np.unravel_index(voxels, data.shape)]
    if values.dtype.kind == "f" and not holds(values).all():
        raise ImageError(f"expected {what} in a mask or label map, got {values[~holds(values)][0]}")
    return values
