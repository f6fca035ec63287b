"""A network that knows one thing: bright is brain."""

import numpy as np

from shiva_cmb.anatomy.head_network import HeadNetwork
from shiva_cmb.anatomy.window import folded, unfolded

WINDOW = (88, 104, 80)


def bright_is_brain(window=WINDOW):
    """Lobar, left and right of the middle of what is bright."""

    def run(batch):
        brain = unfolded(batch[0]) > 0.5
        classes = np.full((*brain.shape, 8), 0.001, np.float32)
        middle = np.argwhere(brain)[:, 0].mean() if brain.any() else 0
        left = np.arange(brain.shape[0])[:, None, None] < middle
        classes[..., 0] = np.where(brain, 0.02, 0.98)
        classes[..., 1] = np.where(left, 0.97, 0.002) * np.where(brain, 1, 0.01)
        classes[..., 2] = np.where(left, 0.002, 0.97) * np.where(brain, 1, 0.01)
        return np.stack([folded(classes[..., number]) for number in range(8)], axis=-1)[None]

    return HeadNetwork(window, "0" * 64, run)
