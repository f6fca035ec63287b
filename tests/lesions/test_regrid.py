"""One lesion on another grid: neither lost nor broken. The property test is with the training labels."""

import numpy as np

from shiva_cmb.imaging import Grid
from shiva_cmb.lesions.regrid import lesion_on_grid


def test_half_millimetre_voxels_become_one_millimetre_voxels() -> None:
    fine = Grid((20, 20, 20), np.diag([0.5, 0.5, 0.5, 1.0]))
    coarse = Grid((10, 10, 10), np.diag([1.0, 1.0, 1.0, 1.0]))
    # 4 x 2 x 2 voxels of 1/8 mm3 are 2 mm3: two voxels. Along x their edges lie at 1.75 and 3.75 mm, so they
    # fill the coarse voxels 2 (1.5 to 2.5) by 3/4, 3 (2.5 to 3.5) wholly, 4 by 1/4: 2 and 3 are the fullest.
    voxels = np.argwhere(np.ones((4, 2, 2))) + 4
    chosen = lesion_on_grid(voxels, fine, coarse)
    assert sorted(map(tuple, chosen)) == [(2, 2, 2), (3, 2, 2)]


def test_a_lesion_off_the_grid_gives_nothing() -> None:
    grid = Grid((10, 10, 10), np.eye(4))
    far = np.eye(4)
    far[:3, 3] = 100
    assert lesion_on_grid(np.array([[5, 5, 5]]), Grid((10, 10, 10), far), grid).shape == (0, 3)
