"""What the benchmarks work on: three SavedModel folds and one scan on the model grid, made once."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

SHAPE = (160, 214, 176)


def make_folds(folder: Path) -> list[Path]:
    """Three folds of the 10-18-32-58-104 network, two conv-BN-ReLU per level, with lively batch norms."""
    import keras

    from shiva_cmb.networks import ShivaUNet, build_network

    network = ShivaUNet(levels=5, pool_deepest=False, wide_decoder=False, head_filters=0, activation="relu")
    paths = []
    for number in range(3):
        path = folder / f"fold_{number}.tf_inference"
        paths.append(path)
        if path.is_dir():
            continue
        keras.utils.set_random_seed(number)
        model = build_network("shiva_unet", asdict(network), (*SHAPE, 1))
        rng = np.random.default_rng(number)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                scale, shift, mean, variance = layer.get_weights()
                layer.set_weights(
                    [
                        scale * rng.uniform(0.8, 1.2, scale.shape),
                        shift + rng.normal(0, 0.1, shift.shape),
                        rng.normal(0, 0.2, mean.shape),
                        rng.uniform(0.5, 1.5, variance.shape),
                    ]
                )
        model.export(str(path), verbose=False)
    return paths


def make_image(folder: Path) -> tuple[Path, Path]:
    """A generated scan, brought to the model grid and scaled, and its brain mask."""
    from shiva_cmb.imaging import Preprocessing, Volume, to_model_grid, write_volume
    from shiva_cmb.synthesis import bundled_head, make_scan

    image, mask = folder / "swi.nii.gz", folder / "brain.nii.gz"
    if not (image.is_file() and mask.is_file()):
        scan = make_scan(np.random.default_rng(0), bundled_head())
        given = to_model_grid(scan.image, scan.brain.data > 0, Preprocessing())
        write_volume(given.image, image)
        write_volume(Volume(given.brain.astype(np.uint8), given.image.affine), mask)
    return image, mask


if __name__ == "__main__":
    make_folds(Path(sys.argv[1]))
    make_image(Path(sys.argv[1]))
