"""A head of 60 mm with all that a real one has, made of balls: as a label map, and ready to be filled."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.synthesis import head_map as hm
from shiva_cmb.synthesis.quick.protocol import Protocol

SIZE = 64
MIDDLE_MM = np.array([1.5, -18.5, 41.5])
"""World place of its centre."""
SHELLS = ((30, 511, 511), (29, 515, 515), (28, 24, 24), (25, 3, 42), (22, 2, 41))
"""Radius, and labels on the left and on the right: skin, skull, fluid, cortex, white matter."""


def small_head(name: str = "round") -> hm.HeadMap:
    """The label map, as it is read from a file."""
    head = round_head()
    return hm.HeadMap(
        name, Volume(head.labels.copy(), head.grid.affine)
    )  # the head is shared, the map is not


@cache
def round_head(ventricles: bool = True) -> hm.DeformedHead:
    """Skin, skull, fluid, cortex and white matter around ventricles and a few nuclei, a cerebellum below."""
    x, y, z = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    far = np.sqrt(x**2 + (y / 1.05) ** 2 + z**2)
    labels = np.zeros((SIZE,) * 3, np.int16)
    for radius, left, right in SHELLS:
        labels[far < radius] = left
        labels[(far < radius) & (x > 0)] = right
    labels[(np.abs(x) < 1.5) & (far < 28) & (z > 8)] = 24
    labels[(z < -10) & (np.abs(x) < 10) & (far < 25)] = 8
    labels[(z < -14) & (np.abs(x) < 6) & (far < 21)] = 7
    for side, (putamen, pallidum, thalamus, ventricle) in ((-1, (12, 13, 10, 4)), (1, (51, 52, 49, 43))):
        labels[np.sqrt((x - 12 * side) ** 2 + y**2 + z**2) < 4] = putamen
        labels[np.sqrt((x - 8 * side) ** 2 + y**2 + z**2) < 2.5] = pallidum
        labels[np.sqrt((x - 4 * side) ** 2 + (y + 5) ** 2 + (z + 3) ** 2) < 2.5] = thalamus
        if ventricles:
            labels[np.sqrt(((x - 4 * side) / 2.5) ** 2 + (y / 10) ** 2 + ((z - 4) / 3) ** 2) < 1] = ventricle
    if ventricles:
        labels[(np.abs(x) < 1.5) & (np.abs(y) < 7) & (np.abs(z + 3) < 4)] = 14
    affine = np.eye(4)
    affine[:3, 3] = MIDDLE_MM - (SIZE - 1) / 2
    return hm.DeformedHead("round", labels, Grid((SIZE,) * 3, affine))


def plain_protocol(**changes: Any) -> Protocol:
    """A magnitude image of 3 T and 20 ms, 2 mm, straight, without noise or bias; or changed in some way."""
    plain = Protocol(
        sequence="t2s",
        field_t=3.0,
        te_s=0.020,
        tr_ms=500.0,
        flip_degrees=20.0,
        spacing_mm=(2.0, 2.0, 2.0),
        sub_slices=1,
        rotation=np.eye(3),
        noise=0.0,
        part_mm=(0.0, 0.0),
        stripped=False,
        random_contrast=False,
        kept_fraction=1.0,
        bias=0.0,
        phase_window_mm=15.0,
        phase_power=4.0,
        b0_direction=np.array([0.0, 0.0, 1.0]),
    )
    return replace(plain, **changes)
