"""Images and their geometry: reading, writing, invertible spatial steps, intensity scaling."""

from shiva_cmb.imaging.alignment import align_image, align_mask, binary_mask
from shiva_cmb.imaging.chain import SpatialChain, chain_to_model_grid
from shiva_cmb.imaging.checks import check_image
from shiva_cmb.imaging.header_affine import check_affine
from shiva_cmb.imaging.model_grid import ModelInput, Preprocessing, to_model_grid
from shiva_cmb.imaging.reading import read_shape, read_volume
from shiva_cmb.imaging.scaling import Scaling, scale_intensity
from shiva_cmb.imaging.steps import CropPad, Reorient, Resample, SpatialStep
from shiva_cmb.imaging.volume import Grid, Volume
from shiva_cmb.imaging.writing import write_volume

__all__ = [
    "CropPad",
    "Grid",
    "ModelInput",
    "Preprocessing",
    "Reorient",
    "Resample",
    "Scaling",
    "SpatialChain",
    "SpatialStep",
    "Volume",
    "align_image",
    "align_mask",
    "binary_mask",
    "chain_to_model_grid",
    "check_affine",
    "check_image",
    "read_shape",
    "read_volume",
    "scale_intensity",
    "to_model_grid",
    "write_volume",
]
