"""Lesions of a probability map that is there already, by other criteria, without the network."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.ensemble.checksums import sha256_of
from shiva_cmb.errors import NOT_CLINICAL, DataError, ImageError, Note, UsageError, warn_user
from shiva_cmb.files import replacing, require_not_inputs, write_json
from shiva_cmb.imaging import align_image, align_mask, binary_mask, check_image, read_volume, write_volume
from shiva_cmb.lesions import FoundLesions, LesionCriteria, find_lesions
from shiva_cmb.prediction.provenance import describe_lesions, describe_software
from shiva_cmb.prediction.result import make_folder


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
    if mask is None:
        note("no brain mask was given: lesions outside the brain are kept, other than in a prediction")
    else:
        values = align_mask(read_volume(mask, note=note), volume.grid, str(mask), note)
        brain = binary_mask(values, str(mask))
    return find_lesions(volume, criteria, image=scan, brain=brain)


def save_relabelled(
    found: FoundLesions,
    probability: str | Path,
    criteria: LesionCriteria,
    folder: str | Path,
    others: Sequence[Path] = (),
) -> dict[str, Path]:
    """Write `NAME_labels.nii.gz`, `NAME_lesions.tsv` and `NAME_provenance.json` for `NAME_prob.nii.gz`.

    The provenance keeps what the prediction's own file beside the map says, and adds a `relabel` part.

    Args:
        found: what `relabel` gave.
        probability: the map it was made from.
        criteria: what counted as a lesion.
        folder: made if it is missing.
        others: further files it was made from, which must not be overwritten.

    Raises:
        OutputError: if something cannot be written; then nothing is.
        UsageError: if a file it was made from would be overwritten.
        DataError: if the prediction's own provenance cannot be read.
    """
    probability, folder = Path(probability), make_folder(folder)
    name = image_name(probability).removesuffix("_prob")
    written = {
        "labels": folder / f"{name}_labels.nii.gz",
        "lesions": folder / f"{name}_lesions.tsv",
        "provenance": folder / f"{name}_provenance.json",
    }
    require_not_inputs(written.values(), [probability, *others])
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
    """The criteria the map's own provenance names, else the defaults.

    Raises:
        DataError: if the provenance cannot be read.
    """
    path = Path(probability)
    beside = path.with_name(f"{image_name(path).removesuffix('_prob')}_provenance.json")
    saved = _earlier_record(beside).get("criteria", {})
    try:
        return LesionCriteria(**saved)
    except (TypeError, ValueError, UsageError) as error:
        raise DataError(f"{beside}: unusable criteria ({error}): mend it or move it away") from error


def image_name(path: str | Path) -> str:
    """A file's name without `.nii` or `.nii.gz`."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def _earlier_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"notice": NOT_CLINICAL}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON ({error}): mend it or move it away") from error
    if not isinstance(record, dict):
        raise DataError(f"{path} is no provenance: expected a JSON object; mend it or move it away")
    return record
