"""Writes a trained anatomy network as it is shipped: no TensorFlow needed, weights in half precision."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shiva_cmb.anatomy.head_network import GRAPH, N_CLASSES, write_about
from shiva_cmb.anatomy.window import SPACING_MM
from shiva_cmb.ensemble.quiet_openvino import openvino
from shiva_cmb.files import new_directory
from shiva_cmb.networks.head_unet import FOLD
from shiva_cmb.synthesis.head_map import REGION_NAMES
from shiva_cmb.training.anatomy.settings import AnatomyTrainingSettings


def export_network(
    network: Any,
    folder: Path,
    settings: AnatomyTrainingSettings,
    trained_on: Sequence[str],
    figures: dict[str, float],
) -> None:
    """Write what `anatomy.head_network.load_head_network` reads.

    Args:
        network: gives probabilities.
        folder: made new.
        settings: how it was trained.
        trained_on: names of the heads.
        figures: on the held-out heads.

    Raises:
        OutputError: if the folder is there or cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="shiva_cmb-") as work:
        network.export(work, format="tf_saved_model", verbose=False)
        graph = openvino.Core().read_model(work)
    x, y, z = (n // 2 for n in settings.window)
    graph.reshape([1, x, y, z, FOLD])
    _fold_constants(graph)
    classes = {0: ["outside", None], **REGION_NAMES}
    if len(classes) != N_CLASSES:
        raise ValueError(f"expected {N_CLASSES} classes, got {len(classes)}")
    about = {
        "spacing_mm": SPACING_MM,
        "axes": "right, anterior, superior",
        "classes": classes,
        "trained_on": list(trained_on),
        "figures": figures,
        "settings": asdict(settings),
    }
    with new_directory(folder) as temporary:
        openvino.save_model(graph, temporary / GRAPH, compress_to_fp16=True)
        write_about(temporary, settings.window, about)


def _fold_constants(graph: Any) -> None:
    """Drop all that only computes shapes: half of the graph."""
    from openvino.passes import ConstantFolding, Manager  # after `quiet_openvino`

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(graph)
