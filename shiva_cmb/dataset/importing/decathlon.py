"""Lists of the Medical Segmentation Decathlon, and MONAI's with folds.

Sources: the Decathlon's `dataset.json` files; MONAI's `load_decathlon_datalist`.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shiva_cmb.dataset.cases import Case, Dataset, short_names
from shiva_cmb.dataset.importing.common import dataset_of, json_of, say_left_out, values_of
from shiva_cmb.dataset.json_files import read_json
from shiva_cmb.dataset.manifest import ONE_CHANNEL
from shiva_cmb.errors import DataError, Note


class _Item(BaseModel):
    model_config = ConfigDict(extra="ignore")

    image: str | Annotated[list[str], Field(min_length=1)]
    label: str | None = None
    fold: int | None = None


class _Decathlon(BaseModel):
    model_config = ConfigDict(extra="ignore")

    training: list[_Item]
    validation: list[_Item] = Field(default_factory=list)
    test: list[object] = Field(default_factory=list)
    modality: dict[int, str] = Field(default_factory=dict)
    labels: dict[int, str] = Field(default_factory=dict)


def import_decathlon(source: Path, note: Note) -> Dataset:
    """The labelled cases of a list, its `fold` and list kept as free columns; see `import_dataset`."""
    path = json_of(source, "a Decathlon list")
    content = read_json(path, _Decathlon, "Decathlon list")
    items = [("training", item) for item in content.training]
    items += [("validation", item) for item in content.validation]
    labelled, again = _each_once([(split, item) for split, item in items if item.label], path.parent)
    say_left_out([str(item.image) for _, item in items if not item.label], "no label", note)
    say_left_out([str(one) for one in content.test], "for testing", note)
    say_left_out(again, "the list has the image already", note)
    images = [_files(path.parent, item.image) for _, item in labelled]
    counts = sorted({len(files) for files in images})
    if len(counts) > 1:
        raise DataError(f"{path}: some cases have {counts[0]} images and some {counts[-1]}")
    channels = [content.modality[number] for number in sorted(content.modality)]
    if counts and len(channels) != counts[0]:
        named = len(channels)
        channels = [ONE_CHANNEL] if counts[0] == 1 else [str(k) for k in range(counts[0])]
        if named:
            note(f"{path}: {named} channels are named, but a case has {counts[0]} files: called {channels}")
    note(f"{path}: the list names no patients: every case counts as one; add 'patient' if some share one")
    names = short_names([files[0] for files in images]) if images else []
    cases = []
    for name, files, (split, item) in zip(names, images, labelled, strict=True):
        columns = {"split": split} if content.validation else {}
        if item.fold is not None:
            columns["fold"] = str(item.fold)
        cases.append(Case(name, files, path.parent / str(item.label), None, name, columns=columns))
    values = values_of((name, number) for number, name in content.labels.items())
    return dataset_of(path, channels, cases, values=values, patients_listed=False)


def _each_once(items: list[tuple[str, _Item]], folder: Path) -> tuple[list[tuple[str, _Item]], list[str]]:
    """The first item of each image, and the images of the others."""
    first: dict[tuple[Path, ...], tuple[str, _Item]] = {}
    again = []
    for split, item in items:
        files = tuple(file.resolve() for file in _files(folder, item.image))
        if files in first:
            again.append(str(item.image))
        first.setdefault(files, (split, item))
    return list(first.values()), again


def _files(folder: Path, image: str | list[str]) -> tuple[Path, ...]:
    return tuple(folder / one for one in ([image] if isinstance(image, str) else image))
