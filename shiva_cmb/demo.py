"""What a model does with two generated scans of a head it has never seen: make, predict, compare, draw."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shiva_cmb.ensemble import Ensemble
from shiva_cmb.errors import Note, UsageError
from shiva_cmb.evaluation.assignment import match_points
from shiva_cmb.files import replacing
from shiva_cmb.lesions import Lesion, LesionTable
from shiva_cmb.prediction import Prediction, predict
from shiva_cmb.prediction.result import make_folder
from shiva_cmb.reporting import write_overlay
from shiva_cmb.synthesis import (
    BleedSettings,
    HeadMap,
    ProtocolSettings,
    SynthesisSettings,
    TrueBleed,
    bundled_head,
    make_scan,
    write_scan,
)

_A_FEW = BleedSettings(lesion_free_share=0, bleed_count=(4, 7), bleed_diameter_mm=(3.0, 7.0), pair_share=0)
_PLAIN = ProtocolSettings(
    random_contrast_share=0,
    stripped_share=0,
    part_share=0,
    max_tilt_degrees=15,
    signal_to_noise=(20.0, 30.0),
    largest_voxels=24e6,
)
_SWI = replace(_PLAIN, swi_share=1, three_tesla_share=1, in_plane_mm=(0.7, 0.7), swi_slice_mm=(1.5, 1.5))
_T2S = replace(_PLAIN, swi_share=0, three_tesla_share=0, in_plane_mm=(0.9, 0.9), t2s_slice_mm=(4.5, 4.5))
SCANS = {
    "swi": SynthesisSettings(protocol=_SWI, bleeds=_A_FEW),
    "t2s": SynthesisSettings(protocol=_T2S, bleeds=_A_FEW),
}
"""What is made. The slices are tilted and the array's axes point anywhere, as in scanners' files."""
NEAR_MM = 5.0
"""A lesion and a bleed that lie closer than this are the same one: thick slices blur the place."""


@dataclass(frozen=True, eq=False)
class DemoScan:
    """One scan, what is in it, and what was found."""

    name: str
    """`swi` or `t2s`."""
    image: Path
    """The scan; its truth lies beside it."""
    truth: tuple[TrueBleed, ...]
    """The bleeds that can be seen."""
    prediction: Prediction
    """The lesions that were found."""
    partners: dict[int, int]
    """Index of a true bleed to index of the lesion that found it."""
    false_alarms: int
    """Lesions at no bleed; those at bleeds too faint to be seen count neither way."""
    picture: Path
    """Lesions and truth, as PNG."""
    files: dict[str, Path]
    """The prediction's files."""


def run_demo(
    ensemble: Ensemble,
    folder: Path,
    *,
    seed: int,
    on_step: Callable[[str], None],
    note: Note,
    head: HeadMap | None = None,
) -> Iterator[DemoScan]:
    """Make a SWI and a thick-slice T2*-weighted image, and find the bleeds in each without a brain mask.

    Args:
        ensemble: the model.
        folder: an existing folder for everything that is made: `scans/` and `results/`.
        seed: of the scans.
        on_step: told what is being done.
        note: told of repairs and guesses.
        head: whose label map; None: the one that comes with the package, which no bundled model was
            trained on.

    Yields:
        Each scan when it is done.

    Raises:
        UsageError: if the seed is negative.
    """
    if seed < 0:
        raise UsageError(f"seed: expected 0 or more, got {seed}")
    head = head or bundled_head()
    scans, results = make_folder(folder / "scans"), make_folder(folder / "results")
    for number, (name, settings) in enumerate(SCANS.items()):
        on_step(f"making the {name} image")
        scan = make_scan(np.random.default_rng([seed, number]), head, settings)
        write_scan(scan, scans, name)
        image = scans / f"{name}.nii.gz"
        on_step(f"finding microbleeds in {image.name}")
        prediction = predict(image, model=ensemble, note=note)
        files = prediction.save(results, name)
        truth = tuple(bleed for bleed in scan.bleeds if bleed.visible)
        picture = results / f"{name}_lesions.png"
        with replacing() as pending:
            write_overlay(
                pending.path(picture),
                scan.image,
                prediction.labels,
                truth_mm=[_place(bleed) for bleed in truth],
                title=f"Demo: generated {name} image, lesions found and true bleeds",
            )
        partners, false_alarms = compare_with_truth(prediction.lesions, scan.bleeds)
        yield DemoScan(name, image, truth, prediction, partners, false_alarms, picture, files)


def pair_with_truth(lesions: LesionTable, truth: Sequence[TrueBleed]) -> dict[int, int]:
    """One lesion at most for each bleed, within `NEAR_MM`, as many as can be and then as near as can be.

    Returns:
        Index of the bleed to index of the lesion, both from 0.
    """
    pairs = match_points([_place(bleed) for bleed in truth], [_place(lesion) for lesion in lesions], NEAR_MM)
    return dict(pairs.tolist())


def compare_with_truth(lesions: LesionTable, bleeds: Sequence[TrueBleed]) -> tuple[dict[int, int], int]:
    """The partners of the bleeds that can be seen, as `pair_with_truth`, and the number of false alarms.

    Lesions at bleeds that are too faint to be seen count neither way.
    """
    partners = pair_with_truth(lesions, [bleed for bleed in bleeds if bleed.visible])
    left = [lesion for number, lesion in enumerate(lesions) if number not in partners.values()]
    excused = pair_with_truth(LesionTable(tuple(left)), [bleed for bleed in bleeds if not bleed.visible])
    return partners, len(left) - len(excused)


def _place(thing: Lesion | TrueBleed) -> tuple[float, float, float]:
    return thing.x_mm, thing.y_mm, thing.z_mm
