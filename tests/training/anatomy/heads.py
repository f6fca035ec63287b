"""A head of ellipsoids, quickly made."""

import numpy as np

from shiva_cmb.imaging import Grid
from shiva_cmb.synthesis.head_map import DeformedHead

SHAPE = (56, 64, 60)


def ellipsoid(radii, shift=(0, 0, 0)):
    places = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    middle = (np.array(SHAPE) - 1) / 2 + np.array([0, 0, 4])
    return (((places - middle - np.array(shift)) / radii) ** 2).sum(axis=-1) < 1


def small_head(name="head_a"):
    """Scalp, bone, fluid, brain with sides, ventricle, putamen, brain stem and mucosa; 1 mm."""
    right = np.arange(SHAPE[0])[:, None, None] >= SHAPE[0] / 2
    labels = np.zeros(SHAPE, np.int16)
    labels[ellipsoid((26, 30, 24))] = 511
    labels[ellipsoid((24, 28, 22))] = 515
    labels[ellipsoid((22, 26, 20))] = 24
    for radii, left in (((20, 24, 18), 3), ((17, 21, 15), 2)):
        labels[ellipsoid(radii)] = left
        labels[ellipsoid(radii) & right] = left + 39
    labels[ellipsoid((4, 8, 4))] = 4
    for side, value in ((-9, 12), (9, 51)):
        labels[ellipsoid((3, 5, 4), (side, 0, 0))] = value
    labels[ellipsoid((5, 5, 10), (0, -4, -16))] = 16
    labels[ellipsoid((6, 6, 4), (0, 20, -18))] = 509
    affine = np.eye(4)
    affine[:3, 3] = -np.array(SHAPE) / 2
    return DeformedHead(name, labels, Grid(SHAPE, affine))
