"""The plain way with TensorFlow, to compare with: load, serve, average, save."""

import sys

import nibabel as nib
import numpy as np
import tensorflow as tf


def main(image_path: str, mask_path: str, output: str, *models: str) -> None:
    """Mean masked probability of SavedModel folds for one scaled image, as 4-D NIfTI."""
    image = nib.load(image_path)
    mask = nib.load(mask_path).get_fdata(dtype=np.float32)
    batch = tf.constant((image.get_fdata(dtype=np.float32) * mask)[None, ..., None])
    maps = []
    for path in models:
        model = tf.saved_model.load(path)
        maps.append(model.serve(batch).numpy()[0] * mask[..., None])
    nib.save(nib.Nifti1Image(np.mean(maps, axis=0), image.affine), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
