"""Lesions of a probability map that is there already, by other criteria, without the network."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.errors import ImageError, Note, UsageError, warn_user
from shiva_cmb.files import replacing, require_writable_folder
from shiva_cmb.imaging import align_image, align_mask, binary_mask, check_image, read_volume, write_volume
from shiva_cmb.lesions import FoundLesions, LesionCriteria, find_lesions
from shiva_cmb.prediction.provenance import NOT_CLINICAL, describe_lesions, describe_software
from shiva_cmb.prediction.result import write_json


def relabel(
    probability: str | Path,
    criteria: LesionCriteria,
    *,
    image: str | Path | None = None,
    mask: str | Path | None = None,
    note: Note = warn_user,
) -> FoundLesions:
    """Threshold, label and measure a saved probability map again.

    Args:
        probability: NIfTI map in [0, 1].
        criteria: what counts as a lesion.
        image: the scan, for the contrast of lesions; resampled if its grid differs.
        mask: brain mask; lesions outside of it are dropped.
        note: told what was resampled.

    Raises:
        ImageError: if a file cannot be used, or the map leaves [0, 1].
    """
    volume = read_volume(probability, note=note)
    if not np.isfinite(volume.data).all():
        raise ImageError(
            f"{probability}: a probability map must be finite, this one has NaN or infinite values"
        )
    scan = None
    if image is not None:
        scan = check_image(read_volume(image, note=note), str(image), note)
        scan = align_image(scan, volume.grid, str(image), note)
    brain = None
    if mask is not None:
        values = align_mask(read_volume(mask, note=note), volume.grid, str(mask), note)
        brain = binary_mask(values, str(mask))
    return find_lesions(volume, criteria, image=scan, brain=brain)


def save_relabelled(
    found: FoundLesions, probability: str | Path, criteria: LesionCriteria, folder: str | Path
) -> dict[str, Path]:
    """Write `NAME_labels.nii.gz`, `NAME_lesions.tsv` and `NAME_provenance.json` for `NAME_prob.nii.gz`.

    The provenance keeps what the prediction's own file beside the map says, and adds a `relabel` part.

    Raises:
        OutputError: if something cannot be written; then nothing is.
        UsageError: if the labels would overwrite the map.
    """
    probability, folder = Path(probability), Path(folder)
    require_writable_folder(folder)
    name = image_name(probability).removesuffix("_prob")
    written = {
        "labels": folder / f"{name}_labels.nii.gz",
        "lesions": folder / f"{name}_lesions.tsv",
        "provenance": folder / f"{name}_provenance.json",
    }
    if written["labels"].resolve() == probability.resolve():
        raise UsageError(f"{probability} would be overwritten by its own labels: name another output folder")
    record = _earlier_record(probability.with_name(f"{name}_provenance.json"))
    record["relabel"] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "probability": {"source": str(probability.absolute()), "sha256": sha256_of(probability)},
        **describe_lesions(criteria, found),
        "software": describe_software(),
    }
    with replacing() as pending:
        write_volume(found.labels, pending.path(written["labels"]))
        found.table.write_tsv(pending.path(written["lesions"]))
        write_json(record, pending.path(written["provenance"]))
    return written


def criteria_beside(probability: str | Path) -> LesionCriteria:
    """The criteria the map's own provenance names, else the defaults."""
    path = Path(probability)
    record = _earlier_record(path.with_name(f"{image_name(path).removesuffix('_prob')}_provenance.json"))
    known = set(asdict(LesionCriteria()))
    saved = record.get("criteria", {})
    return LesionCriteria(**{key: value for key, value in saved.items() if key in known})


def image_name(path: str | Path) -> str:
    """A file's name without `.nii` or `.nii.gz`."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def _earlier_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"notice": NOT_CLINICAL}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no readable JSON ({error}): move it away or mend it") from error
    return dict(record)
