"""What a network is fed: an image on the model's grid, scaled, with the way back."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.errors import ImageError, Note, UsageError, warn_user
from shiva_cmb.imaging.chain import MODEL_SHAPE, MODEL_SPACING_MM, SpatialChain, chain_to_model_grid
from shiva_cmb.imaging.scaling import Scaling, scale_intensity
from shiva_cmb.imaging.shivai import shivai_chain
from shiva_cmb.imaging.volume import Volume


@dataclass(frozen=True)
class Preprocessing:
    """How a native image becomes network input."""

    preset: Literal["shiva_cmb", "shivai"] = "shiva_cmb"
    """`shiva_cmb`: see `chain_to_model_grid`. `shivai`: as that pipeline does, see `shivai_chain`."""
    shape: tuple[int, int, int] = MODEL_SHAPE
    """Voxels of the network's input."""
    spacing_mm: tuple[float, float, float] = MODEL_SPACING_MM
    """Voxel size of the network's input."""
    scaling: Scaling = field(default_factory=Scaling)
    """How values are scaled."""

    def __post_init__(self) -> None:
        if self.preset not in ("shiva_cmb", "shivai"):
            raise UsageError(f"unknown preprocessing {self.preset!r}: expected shiva_cmb or shivai")
        if len(self.shape) != 3 or min(self.shape) < 2:
            raise UsageError(f"expected a model grid of three axes of 2 or more voxels, got {self.shape}")
        if len(self.spacing_mm) != 3 or not all(0 < size < np.inf for size in self.spacing_mm):
            raise UsageError(f"expected three voxel sizes above 0 mm, got {self.spacing_mm}")


@dataclass(frozen=True, eq=False)
class ModelInput:
    """An image ready for a network."""

    image: Volume
    """Scaled, float32, on the model's grid."""
    brain: NDArray[np.bool_] | None
    """On the model's grid; None where none was given."""
    chain: SpatialChain
    """From the native grid to the model's grid and back."""


def to_model_grid(
    image: Volume,
    brain: NDArray[np.bool_] | None,
    settings: Preprocessing,
    note: Note = warn_user,
) -> ModelInput:
    """Reorient, resample, crop or pad and scale.

    Args:
        image: native image, finite values (see `checks.check_image`).
        brain: on the image's grid, or None.
        settings: see `Preprocessing`.
        note: is told how much of the brain is cut, if any.

    Returns:
        The input on the model's grid, and the chain that takes results back.

    Raises:
        ImageError: if values are not finite, the brain is empty or of another shape, or its values have no
            spread.
    """
    if image.data.dtype.kind == "f" and not np.isfinite(image.data).all():
        raise ImageError("the image holds NaN or infinite values: repair them with check_image first")
    if brain is not None and brain.shape != image.shape:
        raise ImageError(f"expected a brain mask of shape {image.shape}, got {brain.shape}")
    if settings.preset == "shivai":
        chain = shivai_chain(image.grid, brain, settings.shape, settings.spacing_mm, note)
        model_image = chain.apply(image, order=3)
    else:
        chain = chain_to_model_grid(image.grid, brain, settings.shape, settings.spacing_mm, note)
        model_image = chain.apply(_from_zero(image, settings.scaling), order=3)
    model_brain = _brain_on(chain, image, brain, settings)
    scaled = scale_intensity(
        model_image.data, _scaling_region(chain, image, model_brain, settings), settings.scaling
    )
    return ModelInput(Volume(scaled, model_image.affine), model_brain, chain)


def _from_zero(image: Volume, scaling: Scaling) -> Volume:
    """Shift the image's minimum to 0, so that padding with 0 is background and never brighter than air.

    `p99` and `zscore` do not depend on the shift; `shivai` cuts negative values itself, so is not shifted.
    """
    low = image.data.min()
    if scaling.scheme == "shivai" or low == 0:
        return image
    return image.with_data(image.data.astype(np.float32) - np.float32(low))


def _scaling_region(
    chain: SpatialChain, image: Volume, brain: NDArray[np.bool_] | None, settings: Preprocessing
) -> NDArray[np.bool_] | None:
    """Where values are taken from for the scale: the brain, else the field of view, else (SHiVAi) everything.

    Padding is no part of the picture: with it, the 99th percentile of a small field of view would be 0.
    """
    if brain is not None or settings.preset == "shivai":
        return brain
    field_of_view = np.broadcast_to(np.ones((), dtype=bool), image.shape)
    return np.asarray(chain.apply(image.with_data(field_of_view), order=0).data, dtype=bool)


def _brain_on(
    chain: SpatialChain, image: Volume, brain: NDArray[np.bool_] | None, settings: Preprocessing
) -> NDArray[np.bool_] | None:
    if brain is None:
        return None
    if settings.preset == "shivai":
        moved = chain.apply(image.with_data(brain), order=0).data
    else:  # between thick slices a linear edge is smoother than the nearest slice's
        moved = chain.apply(image.with_data(brain.astype(np.float32)), order=1).data >= 0.5
    if not moved.any():
        raise ImageError("nothing of the brain mask is left on the model grid: check the mask")
    return np.ascontiguousarray(moved, dtype=bool)
