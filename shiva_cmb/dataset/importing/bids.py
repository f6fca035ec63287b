"""BIDS: raw SWI or T2*-GRE, and labels and brain masks among the derivatives.

Source: the Brain Imaging Data Structure, 1.10, sections on anatomy and on derivatives.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.importing.common import dataset_of, require_folder, say_left_out
from shiva_cmb.dataset.manifest import ONE_CHANNEL
from shiva_cmb.errors import DataError, Note
from shiva_cmb.evaluation.pairing.naming import Item
from shiva_cmb.tables import is_missing, read_table

SUFFIXES = ("swi", "T2starw", "GRE")
"""Images that show microbleeds; where one acquisition has several, the first is taken."""
_IMAGE = re.compile(rf"_({'|'.join(SUFFIXES)})\.nii(\.gz)?$")
_LABEL = re.compile(
    r"(_desc-(cmb|microbleed)s?_mask|_label-(cmb|microbleed)s?_\w+)\.nii(\.gz)?$", re.IGNORECASE
)
_SEGMENTATION = re.compile(r"_dseg\.nii(\.gz)?$")
_OTHER_SEGMENTATION = re.compile(r"_(desc|label|atlas|seg)-[A-Za-z0-9]+")
_BRAIN = re.compile(r"_desc-brain_mask\.nii(\.gz)?$")
_NO_MAGNITUDE = re.compile(r"_part-(phase|real|imag)_")


def import_bids(source: Path, note: Note) -> Dataset:
    """One case per labelled acquisition, with the columns of `participants.tsv`; see `import_dataset`."""
    require_folder(source, "a BIDS dataset")
    files = [_item(file, source) for file in sorted(source.rglob("*.nii*")) if _is_visible(file, source)]
    files = [item for item in files if item.entities]
    images = _images(files, note)
    labels = [item for item in files if _LABEL.search(item.path.name)]
    segmentations = [
        item
        for item in files
        if _SEGMENTATION.search(item.path.name) and not _OTHER_SEGMENTATION.search(item.path.name)
    ]
    brains = [item for item in files if _BRAIN.search(item.path.name)]
    participants = _participants(source)
    cases: list[Case] = []
    without: list[str] = []
    several: list[str] = []
    for name, image in images.items():
        found = _belonging(image, labels) or _belonging(image, segmentations)
        if len(found) != 1:
            (several if found else without).append(name)
            continue
        masks = _belonging(image, brains)
        patient = f"sub-{image.entities['sub']}"
        cases.append(
            Case(
                name=name,
                images=(image.path,),
                label=found[0].path,
                mask=masks[0].path if len(masks) == 1 else None,
                patient=patient,
                columns=participants.get(patient, {}),
            )
        )
    say_left_out(without, "no label", note)
    say_left_out(several, "several labels", note)
    return dataset_of(source, (ONE_CHANNEL,), cases)


def _item(file: Path, root: Path) -> Item:
    return Item(file, file.relative_to(root).parts[:-1])


def _is_visible(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _images(files: Sequence[Item], note: Note) -> dict[str, Item]:
    """One image of each acquisition, by name of the case; raw ones if there are any."""
    found = [
        item for item in files if _IMAGE.search(item.path.name) and not _NO_MAGNITUDE.search(item.path.name)
    ]
    raw = [item for item in found if "derivatives" not in item.folders]
    groups: dict[str, list[Item]] = {}
    for item in raw or found:
        order = sorted(item.entities, key=lambda key: (key != "sub", key != "ses"))
        groups.setdefault("_".join(f"{key}-{item.entities[key]}" for key in order), []).append(item)
    chosen = {name: min(items, key=_preference) for name, items in groups.items()}
    doubled = [name for name, items in groups.items() if len(items) > 1]
    if doubled:
        first = chosen[doubled[0]].path.name
        note(f"{len(doubled)} acquisitions have several images; one is taken, for example {first}")
    return chosen


def _preference(item: Item) -> tuple[int, int, str]:
    match = _IMAGE.search(item.path.name)
    return SUFFIXES.index(match[1]) if match else len(SUFFIXES), len(item.path.name), item.path.name


def _belonging(image: Item, others: Sequence[Item]) -> list[Item]:
    """Files of the image's acquisition: no entity says otherwise; those that say most if several do."""
    found = [
        item
        for item in others
        if item.entities.get("ses") == image.entities.get("ses")
        and all(image.entities.get(key) == value for key, value in item.entities.items())
    ]
    most = max((len(item.entities) for item in found), default=0)
    return [item for item in found if len(item.entities) == most]


def _participants(root: Path) -> Mapping[str, dict[str, str]]:
    """The free columns of each subject."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    table = read_table(path, what="list of participants", delimiter="\t")
    if "participant_id" not in table.columns:
        raise DataError(f"{path}: the column 'participant_id' is missing")
    return {
        "sub-" + row["participant_id"].removeprefix("sub-"): {
            name: "" if is_missing(cell) else cell for name, cell in row.items() if name != "participant_id"
        }
        for _, row in table.rows
    }
