"""The cases to learn from: what is known about each, and the list of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.dataset.manifest import Entry, Manifest, read_manifest
from shiva_cmb.errors import DataError, UsageError


@dataclass(frozen=True)
class Case:
    """One scan and what is known about it."""

    name: str
    """Short and unique among the cases; kept in the bundle."""
    images: tuple[Path, ...]
    """NIfTI, native space, one for each channel of the dataset."""
    label: Path
    """NIfTI: where the bleeds are, all zero where there is none; in the same scanner space as the images."""
    mask: Path | None
    """Brain mask; without it the brain is estimated."""
    patient: str
    """Scans of one patient are never split between training and validation."""
    training_only: bool = False
    """Never in validation: made-up scans, scans added for their false alarms."""
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The free columns: site, sequence, field and so on."""


@dataclass(frozen=True)
class Dataset:
    """A list of cases and what holds for all of them."""

    path: Path
    """Where it was read from."""
    channels: tuple[str, ...]
    """Names of the image channels, in the order of `Case.images`."""
    cases: tuple[Case, ...]
    """At least one."""
    values: LabelValues = field(default_factory=LabelValues)
    """What the values in the labels mean."""
    patients_listed: bool = True
    """Whether the list names patients; if not, every case counts as a patient of its own."""

    def with_channels(self, channels: Sequence[str]) -> "Dataset":
        """The same cases with some of their channels, in the order asked for.

        Raises:
            UsageError: if there is no such channel, or one is named twice.
        """
        for channel in channels:
            if channel not in self.channels or channels.count(channel) > 1:
                raise UsageError(
                    f"channel {channel!r}: expected some of {', '.join(self.channels)}, each once"
                )
        chosen = [self.channels.index(channel) for channel in channels]
        cases = [replace(case, images=tuple(case.images[k] for k in chosen)) for case in self.cases]
        return replace(self, channels=tuple(channels), cases=tuple(cases))


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """The cases of a dataset alone; see `read_dataset`."""
    return read_dataset(path).cases


def read_dataset(path: str | Path, *, require_files: bool = True) -> Dataset:
    """Read a list of cases.

    Args:
        path: a table (commas, semicolons or tabs) with a header, or a JSON; see `shiva_cmb.dataset.manifest`.
            Relative paths count from its folder.
        require_files: refuse a list that names files which do not exist.

    Raises:
        DataError: if the list is missing or empty, a column or a file is missing, or a name or an image comes
            twice; the message names the line or the case.
    """
    manifest = read_manifest(Path(path))
    entries = manifest.entries
    if not entries:
        raise DataError(f"{path}: there is no case in the list")
    images = [
        tuple(_file(manifest, entry, file, _image_column(channel), require_files) for channel, file in pairs)
        for entry, pairs in ((entry, tuple(entry.images.items())) for entry in entries)
    ]
    labels = [_file(manifest, entry, entry.label, "label", require_files) for entry in entries]
    masks = [
        _file(manifest, entry, entry.mask, "mask", require_files) if entry.mask else None for entry in entries
    ]
    _require_different_images(manifest, images)
    names = _names(manifest, images)
    listed = _all_or_none(manifest, [entry.patient for entry in entries], "patient")
    cases = tuple(
        Case(name, files, label, mask, entry.patient or name, entry.training_only, entry.columns)
        for name, files, label, mask, entry in zip(names, images, labels, masks, entries, strict=True)
    )
    return Dataset(manifest.path, manifest.channels, cases, manifest.values, listed)


def _image_column(channel: str) -> str:
    return "image" if channel == "image" else f"{channel} image"


def _file(manifest: Manifest, entry: Entry, cell: str, what: str, required: bool) -> Path:
    if not cell:
        hint = "; a scan without bleeds needs an all-zero label" if what == "label" else ""
        raise DataError(f"{manifest.path}, {entry.where}: the {what} is missing{hint}")
    file = manifest.path.parent / Path(cell).expanduser()
    if required and not file.is_file():
        raise DataError(f"{manifest.path}, {entry.where}: the {what} {file} does not exist")
    return file


def _require_different_images(manifest: Manifest, images: Sequence[Sequence[Path]]) -> None:
    first: dict[Path, str] = {}
    for entry, files in zip(manifest.entries, images, strict=True):
        for file in files:
            before = first.setdefault(file.resolve(), entry.where)
            if before is not entry.where:
                raise DataError(f"{manifest.path}, {entry.where}: {file} is on {before} already")
        if len({file.resolve() for file in files}) < len(files):
            raise DataError(f"{manifest.path}, {entry.where}: two channels are the same file {files[0]}")


def _names(manifest: Manifest, images: Sequence[Sequence[Path]]) -> list[str]:
    if not _all_or_none(manifest, [entry.case for entry in manifest.entries], "case"):
        return short_names([files[0] for files in images])
    first: dict[str, str] = {}
    for entry in manifest.entries:
        if entry.case in first:
            raise DataError(
                f"{manifest.path}, {entry.where}: the case {entry.case!r} is on {first[entry.case]} already"
            )
        first[entry.case] = entry.where
    return list(first)


def _all_or_none(manifest: Manifest, values: Sequence[str], what: str) -> bool:
    """Whether all are given.

    Raises:
        DataError: if only some are.
    """
    if any(values) and not all(values):
        where = manifest.entries[[bool(value) for value in values].index(False)].where
        raise DataError(
            f"{manifest.path}, {where}: the {what} is missing; fill it in for all cases or for none"
        )
    return any(values)


def short_names(images: Sequence[Path]) -> list[str]:
    """File names without extension, with as many parent folders as it takes to tell them apart."""
    bare = [
        image.absolute().with_name(image.name.removesuffix(".gz").removesuffix(".nii")) for image in images
    ]
    longest = max(len(path.parts) for path in bare)
    for depth in range(1, longest):
        names = ["/".join(path.parts[-depth:]) for path in bare]
        if len(set(names)) == len(names):
            return names
    return [str(image) for image in images]
