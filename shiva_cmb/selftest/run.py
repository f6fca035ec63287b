"""Implant, predict, compare, as often as wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.ensemble import Ensemble, load_ensemble
from shiva_cmb.errors import Note, warn_user
from shiva_cmb.evaluation import lesions_of_labels, match_lesions
from shiva_cmb.imaging import Volume
from shiva_cmb.prediction import Prediction, PredictionSettings, predict
from shiva_cmb.prediction.inputs import ImageLike, read_subject
from shiva_cmb.prediction.regions import estimated_regions
from shiva_cmb.selftest.result import ImplantedBleed, SelfTest, SelfTestSettings
from shiva_cmb.synthesis.bleeds.draw import BleedSettings
from shiva_cmb.synthesis.bleeds.implant import Implanted, ScannerSettings, implant

_WITHOUT_PLACES = PredictionSettings(places=False)
KEPT_AWAY_MM = 5.0
"""No implant lies this near to what is found on the untouched scan: one could not tell whose hit it is."""


def run_selftest(
    scan: ImageLike,
    *,
    model: Ensemble | str | Path | Sequence[str | Path] | None = None,
    mask: ImageLike | None = None,
    settings: SelfTestSettings | None = None,
    scanner: ScannerSettings | None = None,
    on_step: Callable[[str], None] | None = None,
    note: Note = warn_user,
) -> SelfTest:
    """Implant bleeds into copies of a scan and count which of them a model finds.

    The model runs on the untouched scan too: what it finds there is neither a hit nor a false alarm.

    Args:
        scan: native SWI or T2*.
        model: as for `predict`; the bundled ensemble if left out.
        mask: brain mask; None: the brain is found on the scan.
        settings: how many bleeds of which sizes, how often.
        scanner: how the scan was made; a SWI of 3 T and 20 ms if left out.
        on_step: told the name of each step.
        note: told of everything repaired, guessed or left out.

    Raises:
        ImageError: if the scan or mask cannot be used.
        ModelError: if the model cannot be used.
    """
    settings, scanner = settings or SelfTestSettings(), scanner or ScannerSettings()
    step = on_step or (lambda name: None)
    notes: list[str] = []

    def say(line: str) -> None:
        if line not in notes:  # every copy gives the same remarks
            notes.append(line)
            note(line)

    step("loading the model")
    ensemble = model if isinstance(model, Ensemble) else load_ensemble(model, note=say)
    step("the untouched scan")
    untouched = _untouched(scan, mask, ensemble, settings, say)
    bleeds: list[ImplantedBleed] = []
    copies: list[Implanted] = []
    false_alarms = 0
    for repeat in range(1, settings.repeats + 1):
        step(f"copy {repeat} of {settings.repeats}")
        copy = _copy(repeat, untouched, settings, scanner, say)
        after = _predict(copy.image, untouched.mask, ensemble, say)
        found, false = _judge(copy, untouched.found.labels, after.labels)
        bleeds += [ImplantedBleed(repeat, bleed, bleed.bleed in found) for bleed in copy.bleeds]
        false_alarms += false
        copies += [copy] if settings.keep_images else []
    how = (settings, scanner, untouched.source, tuple(notes))
    return SelfTest(tuple(bleeds), len(untouched.found.lesions), false_alarms, tuple(copies), *how)


@dataclass(frozen=True, eq=False)
class _Untouched:
    """The scan as it is."""

    image: Volume
    mask: Volume | None
    """The user's; None where it was estimated."""
    source: str
    """Where the scan came from."""
    found: Prediction
    """What the model finds on it."""
    regions: NDArray[np.uint8] | None
    """On the image's grid; None where they are not known."""
    allowed: NDArray[np.bool_]
    """Where bleeds may be implanted."""


def _untouched(
    scan: ImageLike, mask: ImageLike | None, ensemble: Ensemble, settings: SelfTestSettings, note: Note
) -> _Untouched:
    subject = read_subject(scan, mask, index=settings.volume_index, note=note)
    image = subject.channels[0]
    brain_mask = None if subject.mask is None else image.with_data(subject.mask)
    found = _predict(image, brain_mask, ensemble, note)
    regions = estimated_regions(subject)
    if regions.volume is None:
        note(f"regions are not known ({regions.source}): bleeds are implanted anywhere in the brain")
    places = None if regions.volume is None else regions.volume.data
    allowed = subject.brain & ~_near(found.labels, KEPT_AWAY_MM)
    return _Untouched(image, brain_mask, subject.sources[0], found, places, allowed)


def _predict(image: Volume, mask: Volume | None, ensemble: Ensemble, note: Note) -> Prediction:
    return predict(image, model=ensemble, mask=mask, settings=_WITHOUT_PLACES, note=note)


def _copy(
    repeat: int, scan: _Untouched, settings: SelfTestSettings, scanner: ScannerSettings, note: Note
) -> Implanted:
    """The scan with bleeds in it, others for each repeat."""
    wanted = BleedSettings(
        lesion_free_share=0,
        bleed_count=(settings.bleeds, settings.bleeds),
        bleed_diameter_mm=settings.diameter_mm,
    )
    rng = np.random.default_rng([settings.seed, repeat])
    copy = implant(rng, scan.image, scan.allowed, scan.regions, wanted, scanner)
    if len(copy.bleeds) < copy.wanted:
        note(f"only {len(copy.bleeds)} of {copy.wanted} bleeds found a place in copy {repeat}")
    return copy


def _near(labels: Volume, distance_mm: float) -> NDArray[np.bool_]:
    """What lies within a distance of any lesion."""
    if not labels.data.any():
        return np.zeros(labels.shape, bool)
    far = ndimage.distance_transform_edt(labels.data == 0, sampling=labels.spacing_mm)
    return np.asarray(far <= distance_mm)


def _judge(copy: Implanted, before: Volume, after: Volume) -> tuple[frozenset[int], int]:
    """The numbers of the bleeds that were found, and how many lesions are new and at no bleed.

    A lesion and a bleed match if they share a voxel, one to one.
    """
    truth = lesions_of_labels(copy.numbers, after.grid)
    found = lesions_of_labels(after.data, after.grid)
    faint = np.array([not copy.bleeds[name - 1].visible for name in truth.names], bool)
    matching = match_lesions(truth, found, ignored_truth=faint)
    hit = truth.names[matching.truth_status == "TP"]
    wrong = found.select(matching.prediction_status == "FP")
    old = np.unique(wrong.owner[before.data[tuple(wrong.places.T)] > 0])
    touching = np.unique(wrong.owner[copy.numbers[tuple(wrong.places.T)] > 0])  # a second lesion at a bleed
    return frozenset(int(name) for name in hit), len(wrong) - len(np.union1d(old, touching))
