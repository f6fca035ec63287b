"""A head of ellipsoids, 1 mm, small enough to simulate in a second."""

import numpy as np

from shiva_cmb.imaging import Volume
from shiva_cmb.synthesis.head_map import HeadMap

SIZE = (72, 84, 76)


def ellipsoid_head(name: str = "egg") -> HeadMap:
    x, y, z = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SIZE], indexing="ij")

    def ball(rx: float, ry: float, rz: float, at: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
        return ((x - at[0]) / rx) ** 2 + ((y - at[1]) / ry) ** 2 + ((z - at[2]) / rz) ** 2 < 1

    left = x < 0
    labels = np.zeros(SIZE, np.int16)
    labels[ball(34, 40, 36)] = 511
    labels[ball(31, 37, 33)] = 515
    labels[ball(28, 34, 30)] = 24
    labels[ball(25, 31, 27)] = np.where(left, 3, 42)[ball(25, 31, 27)]
    labels[ball(21, 27, 23)] = np.where(left, 2, 41)[ball(21, 27, 23)]
    for side, (thalamus, pallidum, ventricle) in ((-1, (10, 13, 4)), (1, (49, 52, 43))):
        labels[ball(4, 5, 4, (side * 5, 0, 0))] = thalamus
        labels[ball(3, 4, 3, (side * 12, 2, 0))] = pallidum
        labels[ball(3, 8, 4, (side * 4, -2, 8))] = ventricle
    labels[ball(7, 7, 6, (0, -16, -16))] = 8
    labels[ball(2, 20, 2, (0, -5, 29))] = 514
    labels[ball(7, 5, 5, (0, 34, -10))] = 0  # an air sinus
    affine = np.eye(4)
    affine[:3, 3] = -(np.array(SIZE) - 1) / 2
    return HeadMap(name, Volume(labels, affine))
