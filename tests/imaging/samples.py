"""Affines and images that the tests of this room share."""

import numpy as np
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat
from nibabel.orientations import axcodes2ornt

from shiva_cmb.imaging import Grid, Volume

ORIENTATIONS = ("RAS", "LPS", "LAS", "RAI", "PSR", "IPL", "ASL", "SRP")


def make_grid(
    shape, spacing_mm, orientation="RAS", tilt_degrees=(0.0, 0.0, 0.0), centre_mm=(3.0, -7.0, 11.0)
):
    """A grid of any orientation and tilt about a given world centre; spacing along the array axes."""
    ornt = axcodes2ornt(orientation)
    axes = np.zeros((3, 3))
    for axis, (to, sign) in enumerate(ornt):
        axes[int(to), axis] = sign
    x, y, z = np.deg2rad(tilt_degrees)
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(z, y, x) @ axes @ np.diag(spacing_mm)
    affine[:3, 3] = np.array(centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(tuple(shape), affine)


def world_coordinates(grid):
    """World millimetres of every voxel, shape (x, y, z, 3)."""
    return grid.to_world(np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1))


def smooth_image(grid, wavelength_mm=40.0):
    """A field that changes slowly in world space, in [0, 1]."""
    world = world_coordinates(grid)
    waves = np.sin(2 * np.pi * world / wavelength_mm + np.array([0.3, 1.1, 2.0]))
    return Volume((0.5 + waves.sum(axis=-1) / 6).astype(np.float32), grid.affine)


def dot(grid, centre_mm, sigma_mm=3.0):
    """A soft blob at a world point."""
    distance = np.linalg.norm(world_coordinates(grid) - np.asarray(centre_mm), axis=-1)
    return Volume(np.exp(-0.5 * (distance / sigma_mm) ** 2).astype(np.float32), grid.affine)


def centroid_mm(volume):
    """World centre of mass."""
    weights = np.clip(volume.data, 0, None).astype(np.float64)
    return (world_coordinates(volume.grid) * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()


def ball(grid, radius_mm, centre_mm=(3.0, -7.0, 11.0)):
    """A boolean ball about a world point."""
    return np.linalg.norm(world_coordinates(grid) - np.asarray(centre_mm), axis=-1) < radius_mm


spacings = st.tuples(st.floats(0.5, 1.6), st.floats(0.5, 1.6), st.floats(0.6, 4.0))


@st.composite
def grids(draw):
    """Grids of about 48 mm field of view: anisotropic, oblique, any orientation."""
    spacing = draw(st.permutations(draw(spacings)))
    field = [draw(st.floats(40.0, 56.0)) for _ in range(3)]
    shape = [max(4, round(size / step)) for size, step in zip(field, spacing, strict=True)]
    tilt = [draw(st.floats(-25, 25)) for _ in range(3)]
    return make_grid(shape, spacing, draw(st.sampled_from(ORIENTATIONS)), tilt)
