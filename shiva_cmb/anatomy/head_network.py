"""The network that tells the brain and its coarse regions, run by OpenVINO."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.window import folded, scaled, unfolded
from shiva_cmb.errors import ModelError

GRAPH, WEIGHTS, ABOUT = "head_unet.xml", "head_unet.bin", "anatomy.json"
N_CLASSES = 8
"""Outside, and the seven coarse regions."""
MIRRORED = (0, 2, 1, 4, 3, 5, 6, 7)
"""What each class is in the mirror."""


@dataclass(frozen=True, eq=False)
class HeadNetwork:
    """A network that is ready to run."""

    window: tuple[int, int, int]
    """Voxels of 2 mm that it sees: axes right, anterior, superior."""
    sha256: str
    """Of its weights."""
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """Folded image (1, x / 2, y / 2, z / 2, 8) to probabilities (1, x / 2, y / 2, z / 2, 8, 8)."""

    def probabilities(self, values: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Probability of each class.

        Args:
            values: an image of any contrast, shape of the window.
            inside: where it has values.

        Returns:
            Shape (x, y, z, 8): outside, then the coarse regions 1 to 7. Where there is no image, outside.
        """
        image = np.ascontiguousarray(folded(scaled(values, inside))[None])
        found = np.array(unfolded(self.run(image)[0]))
        found[~inside] = 0
        found[~inside, 0] = 1
        return found

    def mirrored_too(
        self, values: NDArray[np.floating], inside: NDArray[np.bool_], seen: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The mean of an answer and that for the image with left and right exchanged.

        Args:
            values: as in `probabilities`.
            inside: as in `probabilities`.
            seen: what `probabilities` gave for them.
        """
        mirrored = self.probabilities(values[::-1], inside[::-1])[::-1, ..., list(MIRRORED)]
        return np.asarray(0.5 * (seen + mirrored))


def load_head_network(folder: Any) -> HeadNetwork:
    """Read and compile a network.

    Args:
        folder: a path, or a folder of package resources, that `training.anatomy` wrote.

    Raises:
        ModelError: if a file is missing, damaged, or not as `anatomy.json` says.
    """
    from shiva_cmb.ensemble.quiet_openvino import openvino

    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        files = {name: (folder / name).read_bytes() for name in (GRAPH, WEIGHTS)}
        window, sums = about["window"], about["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the anatomy network in {folder} cannot be read ({error})") from error
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != sums.get(name):
            raise ModelError(f"{folder / name} is not the file that {ABOUT} describes: install it again")
    core = openvino.Core()
    try:
        compiled = core.compile_model(
            core.read_model(files[GRAPH], files[WEIGHTS]),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",  # the same answer on every processor
                "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False,
            },
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"OpenVINO cannot compile the anatomy network: {reason}") from error

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(compiled({0: image})[0])

    x, y, z = window
    return HeadNetwork((x, y, z), sums[WEIGHTS], run)


@lru_cache(maxsize=1)
def bundled_network() -> HeadNetwork:
    """The network that comes with the package, compiled once.

    Raises:
        ModelError: if it is not there, or damaged.
    """
    return load_head_network(resources.files("shiva_cmb") / "models" / "anatomy")


def write_about(folder: Path, window: tuple[int, int, int], more: dict[str, Any]) -> None:
    """Write `anatomy.json` beside the network's files: what it is, and their checksums."""
    from shiva_cmb.files import write_json

    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (GRAPH, WEIGHTS)}
    write_json({"window": list(window), **more, "sha256": sums}, folder / ABOUT)
