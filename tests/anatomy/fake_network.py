"""A network that knows one thing: bright is brain."""

import numpy as np

from shiva_cmb.anatomy.head_network import HeadNetwork
from shiva_cmb.anatomy.window import folded, unfolded

WINDOW = (88, 104, 80)


def bright_is_brain(window=WINDOW, fluid_above=2.0):
    """Lobar, left and right of the middle of what is bright; ventricle where it is brighter than a value."""

    def run(batch):
        image = unfolded(batch[0])
        brain = image > 0.5
        classes = np.full((*brain.shape, 8), 0.001, np.float32)
        middle = np.argwhere(brain)[:, 0].mean() if brain.any() else 0
        left = np.arange(brain.shape[0])[:, None, None] < middle
        classes[..., 0] = np.where(brain, 0.02, 0.98)
        classes[..., 1] = np.where(left, 0.97, 0.002) * np.where(brain, 1, 0.01)
        classes[..., 2] = np.where(left, 0.002, 0.97) * np.where(brain, 1, 0.01)
        fluid = image > fluid_above
        classes[fluid] = 0.001
        classes[fluid, 6] = 0.993
        return np.stack([folded(classes[..., number]) for number in range(8)], axis=-1)[None]

    return HeadNetwork(window, "0" * 64, run)
