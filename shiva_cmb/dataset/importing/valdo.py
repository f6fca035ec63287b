"""The folders of VALDO's Task 2: `sub-101/sub-101_space-T2S_desc-masked_T2S.nii.gz` and its like.

Source: Sudre et al., Where is VALDO?, Medical Image Analysis 2024, and the challenge's data.
"""

import re
from pathlib import Path

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.importing.common import dataset_of, require_folder, say_left_out
from shiva_cmb.errors import Note

CHANNELS = ("T2S", "T1", "T2")
"""As files are called; the first is the one on which microbleeds are seen."""
_IMAGE = re.compile(r"(sub-(\d)\d*)_space-T2S_desc-masked_(T2S|T1|T2)\.nii(?:\.gz)?")
_LABEL = re.compile(r"(sub-\d+)_space-T2S_CMB\.nii(?:\.gz)?")


def import_valdo(source: Path, note: Note) -> Dataset:
    """The labelled subjects, with the cohort (first digit of the number) as a free column."""
    require_folder(source, "VALDO's Task 2")
    images: dict[str, dict[str, Path]] = {}
    labels: dict[str, Path] = {}
    cohorts: dict[str, str] = {}
    for file in sorted(source.rglob("*.nii*")):
        if image := _IMAGE.fullmatch(file.name):
            images.setdefault(image[1], {})[image[3]] = file
            cohorts[image[1]] = image[2]
        elif label := _LABEL.fullmatch(file.name):
            labels[label[1]] = file
    say_left_out([name for name in images if name not in labels], "no label", note)
    say_left_out([name for name in images if "T2S" not in images[name]], "no T2S image", note)
    usable = [name for name in images if name in labels and "T2S" in images[name]]
    channels = [kind for kind in CHANNELS if all(kind in images[name] for name in usable)]
    for kind in CHANNELS:
        have = sum(kind in images[name] for name in usable)
        if 0 < have < len(usable):
            note(f"the channel {kind} is left out: only {have} of {len(usable)} subjects have it")
    cases = [
        Case(
            name=name,
            images=tuple(images[name][kind] for kind in channels),
            label=labels[name],
            mask=None,
            patient=name,
            columns={"cohort": cohorts[name]},
        )
        for name in usable
    ]
    return dataset_of(source, [kind.lower() for kind in channels], cases)
