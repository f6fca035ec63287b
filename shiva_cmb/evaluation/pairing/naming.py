"""Which files belong to one case: told from BIDS entities, else from file names and folders."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from shiva_cmb.errors import DataError

Kind = Literal["label", "mask", "probability", "image", "brain", "searched", "regions", "other", "plain"]

_ENDINGS: dict[Kind, tuple[str, ...]] = {
    "label": (
        *("labels", "label", "lesions", "lesion", "bleeds", "bleed"),
        *("microbleeds", "microbleed", "cmbs", "cmb"),
        *("truth", "gt", "reference", "annotation", "annotations", "manual"),
        *("segmentation", "dseg", "seg", "prediction", "predicted", "pred"),
    ),
    "mask": ("mask",),
    "probability": ("probabilities", "probability", "probmap", "probs", "prob", "pmap"),
    "image": (
        *("swi", "t2starw", "t2star", "t2s", "t2w", "t2", "t1w", "t1", "gre", "megre", "flair", "qsm"),
        *("minip", "magnitude", "mag", "phase"),
    ),
    "brain": ("brainmask", "brain"),
    "searched": ("searched",),
    "regions": ("synthseg", "aparc+aseg", "aparc", "aseg", "parcellation", "parc", "regions", "atlas"),
    "other": ("std", "agreement", "image", "space-model"),
}
"""Last parts of file names and what they say."""

_FIRST: tuple[Kind, ...] = ("other", "probability", "label", "regions", "searched", "brain", "mask", "image")
"""Of several kinds that a name tells, the one that counts."""
_KIND_OF: dict[str, Kind] = {word: kind for kind, words in _ENDINGS.items() for word in words}
_ENDING = re.compile(
    r"(?:^|[_\-. ])(" + "|".join(sorted(map(re.escape, _KIND_OF), key=len, reverse=True)) + r")$",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"([A-Za-z0-9]+)-([A-Za-z0-9.+]+)")
_IGNORED_ENTITIES = frozenset({"desc", "space", "label", "res", "den"})
"""BIDS entities that name a derivative, not an acquisition."""
NIFTI_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
"""How the name of an image ends."""


@dataclass(frozen=True, eq=False)
class Item:
    """One file, and what its name tells."""

    path: Path
    """The file."""
    folders: tuple[str, ...] = ()
    """Folders below the root of its source."""
    case: str | None = None
    """The case's name where a table gives it; the file name does not count then."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The other cells of its row, where it comes from a table."""
    table: Path | None = None
    """That table."""
    line: int = 0
    """Line of the row."""
    probability: Path | None = None
    """The probability map, where a table gives both."""

    @cached_property
    def _ending_words(self) -> tuple[str, tuple[str, ...]]:
        """The file name without extension and known endings; the endings, in lower case."""
        stem, words = NIFTI_ENDING.sub("", self.path.name), []
        while match := _ENDING.search(stem):
            words.append(match[1].lower())
            stem = stem[: match.start()]
        return stem, tuple(words)

    @cached_property
    def kind(self) -> Kind:
        """What the file name says it is."""
        kinds = {_KIND_OF[word] for word in self._ending_words[1] if word != "space-model"}
        if "mask" in kinds and "brain" in kinds:
            return "brain"
        return next((kind for kind in _FIRST if kind in kinds), "plain")

    @property
    def in_model_space(self) -> bool:
        """Whether the name says that it lies on the model grid."""
        return "space-model" in self.path.name

    @cached_property
    def entities(self) -> dict[str, str]:
        """BIDS entities of folders and name that say which acquisition it is; empty without `sub`."""
        stem = NIFTI_ENDING.sub("", self.path.name)
        parts = [*self.folders, stem] if self.case is None else [self.case]
        found: dict[str, str] = {}
        for number, part in enumerate(parts):
            for chunk in part.split("_"):
                match = _ENTITY.fullmatch(chunk)
                if match and (number == len(parts) - 1 or match[1] in ("sub", "ses")):
                    found[match[1]] = match[2]
        if "sub" not in found:
            return {}
        return {key: value for key, value in found.items() if key not in _IGNORED_ENTITIES}

    def parts(self, *, keep_modality: bool) -> tuple[str, ...]:
        """Folders and name, without known endings; a name that is nothing else is left out."""
        if self.case is not None:
            return tuple(self.case.split("/"))
        stem, words = self._ending_words
        images = [word for word in words if _KIND_OF[word] == "image"]
        if keep_modality and images:
            stem = "_".join(part for part in (stem, *reversed(images)) if part)
        return (*self.folders, stem) if stem else self.folders


class AmbiguousError(DataError):
    """Several files for one case."""


Chosen = TypeVar("Chosen")
OtherChosen = TypeVar("OtherChosen")


def pair_items(
    left: Sequence[Item],
    right: Sequence[Item],
    choose_left: Callable[[str, list[Item]], Chosen | None],
    choose_right: Callable[[str, list[Item]], OtherChosen | None],
) -> tuple[dict[str, Chosen], dict[str, OtherChosen]]:
    """Name the cases of two collections of files so that the same case has the same name in both.

    Of several ways, the one that gives most pairs is taken, then the one with the shorter names. BIDS files
    go by `sub` and those other entities that both sides have. Others go by the file name without known
    endings, with as many parent folders as it takes to tell them apart.

    Args:
        left: files of one side.
        right: files of the other.
        choose_left: takes the name of a case and its files; gives what to use of them, or None if nothing.
        choose_right: the same for the other side; both raise `AmbiguousError` if they cannot tell.

    Returns:
        What was chosen per case, for each side.

    Raises:
        DataError: if no way of naming leaves one choice per case.
    """
    best: tuple[dict[str, Chosen], dict[str, OtherChosen]] | None = None
    most = -1
    failure: AmbiguousError | None = None
    for names in _namings(left, right):
        try:
            ours = _choose(dict(zip(left, names[0], strict=True)), choose_left)
            theirs = _choose(dict(zip(right, names[1], strict=True)), choose_right)
        except AmbiguousError as error:
            failure = error
            continue
        pairs = len(ours.keys() & theirs.keys())
        if pairs > most:
            best, most = (ours, theirs), pairs
    if best is None:
        raise failure or DataError("there is no image to pair")
    return best


def _namings(left: Sequence[Item], right: Sequence[Item]) -> list[tuple[list[str], list[str]]]:
    """Ways to name both sides: as tables name all cases, if they do; then the shortest names first."""
    ours = {key for item in left for key in item.entities}
    theirs = {key for item in right for key in item.entities}
    shared = ours & theirs
    ways: list[tuple[list[str], list[str]]] = []
    given = [[item.case for item in side if item.case is not None] for side in (left, right)]
    if [len(side) for side in given] == [len(left), len(right)]:
        ways.append((given[0], given[1]))
    for keep_modality in (False, True):
        sides = [_telling_parts(side, keep_modality) for side in (left, right)]
        deepest = max((len(parts) for side in sides for parts in side), default=1)
        for depth in range(1, deepest + 1):
            names = [
                [_bids_name(i, shared) or "/".join(p[-depth:]) for i, p in zip(side, parts, strict=True)]
                for side, parts in zip((left, right), sides, strict=True)
            ]
            if not ways or (names[0], names[1]) != ways[-1]:
                ways.append((names[0], names[1]))
    return ways


def _bids_name(item: Item, keys: set[str]) -> str:
    """For example `sub-01_ses-2`; empty for what is not BIDS, or if the other side is not."""
    order = sorted(keys & item.entities.keys(), key=lambda key: (key != "sub", key != "ses"))
    return "_".join(f"{key}-{item.entities[key]}" for key in order) if "sub" in order else ""


def _telling_parts(items: Sequence[Item], keep_modality: bool) -> list[tuple[str, ...]]:
    """Folders and name of each file, without what all of them have."""
    everything = [item.parts(keep_modality=keep_modality) for item in items]
    common = set.intersection(*map(set, everything)) if len(items) > 1 else set()
    telling = [tuple(part for part in parts if part not in common) for parts in everything]
    if not all(telling):
        telling = everything
    return [p or (NIFTI_ENDING.sub("", i.path.name),) for p, i in zip(telling, items, strict=True)]


def _choose(
    names: Mapping[Item, str], choose: Callable[[str, list[Item]], Chosen | None]
) -> dict[str, Chosen]:
    groups: dict[str, list[Item]] = {}
    for item, name in names.items():
        groups.setdefault(name, []).append(item)
    chosen = {name: choose(name, items) for name, items in groups.items()}
    return {name: one for name, one in chosen.items() if one is not None}
