"""Lesions of a probability map that is there already, by other criteria, without the network."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from shiva_cmb.anatomy.regions import Place
from shiva_cmb.errors import NOT_CLINICAL, DataError, ImageError, Note, UsageError, warn_user
from shiva_cmb.files import replacing, require_not_inputs, write_json
from shiva_cmb.imaging import align_image, align_mask, binary_mask, check_image, read_volume, write_volume
from shiva_cmb.lesions import FoundLesions, LesionCriteria, LesionTable, find_lesions
from shiva_cmb.prediction.provenance import describe_file, describe_lesions, describe_software
from shiva_cmb.prediction.regions import RegionMap, given_regions, with_places
from shiva_cmb.prediction.result import make_folder

_WRITTEN = {"labels": "labels.nii.gz", "lesions": "lesions.tsv", "provenance": "provenance.json"}
"""What `save_relabelled` writes: endings of the files, which those of a prediction have too."""


def relabel(
    probability: str | Path,
    criteria: LesionCriteria,
    *,
    image: str | Path | None = None,
    mask: str | Path | None = None,
    regions: str | Path | None = None,
    region_names: Mapping[int, Place] | None = None,
    note: Note = warn_user,
) -> FoundLesions:
    """Threshold, label and measure a saved probability map again.

    Without a map of regions, lesions have the region and side that the prediction's own files beside the map
    (`NAME_labels.nii.gz`, `NAME_lesions.tsv`) give at their place, or nearest to it within 5 mm.

    Args:
        probability: NIfTI map in [0, 1].
        criteria: what counts as a lesion.
        image: the scan, for the contrast of lesions; resampled if its grid differs.
        mask: brain mask; lesions outside of it are dropped.
        regions: map of regions on any grid, such as FreeSurfer's or SynthSeg's.
        region_names: what its values mean; if left out, see `given_regions`.
        note: told what was resampled, and how many lesions have no region.

    Raises:
        ImageError: if a file cannot be used, or the map leaves [0, 1].
        DataError: if the prediction's table cannot be read.
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
        note(
            "no brain mask was given: lesions outside the brain and in its fluid are kept, other than in a "
            "prediction (`predict --anatomy` writes NAME_searched.nii.gz, where lesions can be)"
        )
    else:
        values = align_mask(read_volume(mask, note=note), volume.grid, str(mask), note)
        brain = binary_mask(values, str(mask))
    found = find_lesions(volume, criteria, image=scan, brain=brain)
    if regions is not None:
        return with_places(found, given_regions(regions, region_names, volume.grid, note))
    return _with_earlier_places(found, Path(probability), note)


def save_relabelled(
    found: FoundLesions,
    probability: str | Path,
    criteria: LesionCriteria,
    folder: str | Path,
    others: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Write `NAME_labels.nii.gz`, `NAME_lesions.tsv` and `NAME_provenance.json` for `NAME_prob.nii.gz`.

    The provenance keeps what the prediction's own file beside the map says, and adds a `relabel` part.

    Args:
        found: what `relabel` gave.
        probability: the map it was made from.
        criteria: what counted as a lesion.
        folder: made if it is missing.
        others: further files it was made from, by what they are; they are recorded and never overwritten.

    Raises:
        OutputError: if something cannot be written; then nothing is.
        UsageError: if a file it was made from would be overwritten, such as the prediction's own labels.
        DataError: if the prediction's own provenance cannot be read.
    """
    probability, folder, others = Path(probability), make_folder(folder), others or {}
    name = _name(probability)
    written = {kind: folder / f"{name}_{ending}" for kind, ending in _WRITTEN.items()}
    earlier = [path for ending in _WRITTEN.values() if (path := _beside(probability, ending)).exists()]
    require_not_inputs(written.values(), [probability, *earlier, *others.values()])
    record = _earlier_record(_beside(probability, _WRITTEN["provenance"]))
    record["relabel"] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{kind: describe_file(str(path)) for kind, path in {"probability": probability, **others}.items()},
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
    beside = _beside(Path(probability), _WRITTEN["provenance"])
    saved = _earlier_record(beside).get("criteria", {})
    try:
        return LesionCriteria(**saved)
    except (TypeError, ValueError, UsageError) as error:
        raise DataError(f"{beside}: unusable criteria ({error}): mend it or move it away") from error


def image_name(path: str | Path) -> str:
    """A file's name without `.nii` or `.nii.gz`."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def _name(probability: Path) -> str:
    return image_name(probability).removesuffix("_prob")


def _beside(probability: Path, ending: str) -> Path:
    """Another file of the prediction that a map belongs to."""
    return probability.with_name(f"{_name(probability)}_{ending}")


def _with_earlier_places(found: FoundLesions, probability: Path, note: Note) -> FoundLesions:
    """Region and side as the prediction's lesions have them at the same place."""
    labels, table = (_beside(probability, _WRITTEN[kind]) for kind in ("labels", "lesions"))
    if not (labels.is_file() and table.is_file()):
        return found
    names = {
        lesion.lesion: Place(lesion.region, lesion.side)  # type: ignore[arg-type]
        for lesion in LesionTable.read_tsv(table)
        if lesion.region is not None
    }
    if not names:
        return found
    found = with_places(found, RegionMap(read_volume(labels, note=note), names))
    unknown = sum(lesion.region is None for lesion in found.table)
    if unknown:
        note(
            f"{unknown} lesion(s) have no region: {table.name} has none at their place, give a map of regions"
        )
    return found


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
