"""Datasets laid out for other programs, as lists of cases."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from shiva_cmb.dataset.cases import Dataset
from shiva_cmb.dataset.importing.bids import import_bids
from shiva_cmb.dataset.importing.decathlon import import_decathlon
from shiva_cmb.dataset.importing.nnunet import import_nnunet
from shiva_cmb.dataset.importing.valdo import import_valdo
from shiva_cmb.errors import Note, warn_user

Layout = Literal["nnunet", "decathlon", "valdo", "bids"]

_IMPORTERS: dict[Layout, Callable[[Path, Note], Dataset]] = {
    "nnunet": import_nnunet,
    "decathlon": import_decathlon,
    "valdo": import_valdo,
    "bids": import_bids,
}


def import_dataset(layout: Layout, source: str | Path, *, note: Note = warn_user) -> Dataset:
    """Find the cases of a dataset that is laid out for another program.

    Args:
        layout: `nnunet` (`dataset.json` of version 1 or 2), `decathlon` (a list of the Medical Segmentation
            Decathlon or MONAI), `valdo` (the folders of its Task 2) or `bids` (raw images and derivatives).
        source: its folder, or its JSON.
        note: told what was left out.

    Raises:
        DataError: if it is no such dataset, or no case with a label is in it.
    """
    return _IMPORTERS[layout](Path(source), note)


__all__ = ["Layout", "import_dataset"]
