"""nnU-Net's `dataset.json`, version 1 (Decathlon-like) and 2.

Source: nnU-Net's documentation, `dataset_format.md`.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.importing.common import dataset_of, json_of, say_left_out, values_of
from shiva_cmb.dataset.json_files import read_json
from shiva_cmb.errors import DataError, Note


class _Training(BaseModel):
    """A case of version 1."""

    image: str
    label: str | None = None


class _Explicit(BaseModel):
    """A case of version 2 whose files lie elsewhere."""

    images: list[str]
    label: str | None = None


class _NnUNet(BaseModel):
    model_config = ConfigDict(extra="ignore")

    channel_names: dict[int, str] = Field(default_factory=dict)
    modality: dict[int, str] = Field(default_factory=dict)
    labels: dict[str, int | list[int] | str] = Field(default_factory=dict)
    file_ending: str = ".nii.gz"
    training: list[_Training] = Field(default_factory=list)
    dataset: dict[str, _Explicit] = Field(default_factory=dict)


def import_nnunet(source: Path, note: Note) -> Dataset:
    """The training cases of an nnU-Net raw dataset; see `import_dataset`."""
    path = json_of(source, "an nnU-Net dataset")
    content = read_json(path, _NnUNet, "nnU-Net dataset")
    folder, ending = path.parent, content.file_ending
    if ending not in (".nii", ".nii.gz"):
        raise DataError(f"{path}: the images end in {ending!r}; only NIfTI can be read (.nii, .nii.gz)")
    named = content.channel_names or content.modality
    if not named:
        raise DataError(f"{path}: the key 'channel_names' (or 'modality') is missing")
    channels = [named[number] for number in sorted(named)]
    if content.dataset:
        files = {
            name: ([folder / image for image in one.images], one.label and folder / one.label)
            for name, one in content.dataset.items()
        }
    else:
        files = {
            name: (
                [folder / "imagesTr" / f"{name}_{k:04d}{ending}" for k in range(len(channels))],
                folder / "labelsTr" / f"{name}{ending}",
            )
            for name in _identifiers(content, folder)
        }
    labelled = {name: (images, label) for name, (images, label) in files.items() if label and label.is_file()}
    say_left_out([name for name in files if name not in labelled], "no label", note)
    incomplete = [
        name
        for name, (images, _) in labelled.items()
        if len(images) != len(channels) or not all(image.is_file() for image in images)
    ]
    say_left_out(incomplete, "not an image of each channel", note)
    tests = {file.name[: -len(ending) - 5] for file in (folder / "imagesTs").glob(f"*_0000{ending}")}
    say_left_out(sorted(tests), "for testing, without a label", note)
    note(f"{path}: nnU-Net names no patients: every case counts as one; add a column 'patient' if some share")
    cases = [
        Case(name, tuple(images), label, None, name)
        for name, (images, label) in labelled.items()
        if name not in incomplete
    ]
    values = values_of(_named(content.labels, path))
    return dataset_of(path, channels, cases, values=values, patients_listed=False)


def _identifiers(content: _NnUNet, folder: Path) -> list[str]:
    ending = content.file_ending
    if content.training:
        return [Path(one.image).name.removesuffix(ending) for one in content.training]
    return sorted(file.name[: -len(ending) - 5] for file in (folder / "imagesTr").glob(f"*_0000{ending}"))


def _named(labels: dict[str, int | list[int] | str], path: Path) -> list[tuple[str, int | list[int]]]:
    """Names and numbers: version 1 says `{"1": "lesion"}`, version 2 `{"lesion": 1}`."""
    pairs: list[tuple[str, int | list[int]]] = []
    for key, value in labels.items():
        if not isinstance(value, str):
            pairs.append((key, value))
        elif key.isdecimal():
            pairs.append((value, int(key)))
        else:
            raise DataError(f"{path}: labels: expected a name and its number, got {key!r} and {value!r}")
    return pairs
