"""What is known of each lesion after matching: the rows of `lesions.tsv`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import Place, place_of
from shiva_cmb.evaluation.lesion_set import LesionSet
from shiva_cmb.evaluation.matching import Matching
from shiva_cmb.imaging import Volume
from shiva_cmb.lesions import shape
from shiva_cmb.lesions.features import sphericity

Kind = Literal["truth", "prediction"]
Status = Literal["TP", "FN", "FP", "ignored"]


@dataclass(frozen=True, slots=True)
class LesionFacts:
    """One lesion of one case, true or predicted, and what became of it: a row of `lesions.tsv`.

    Lengths in mm, positions in world coordinates (RAS). None where something is not known or does not apply.
    """

    case: str
    """Name of the case."""
    kind: Kind
    """On which side the lesion is."""
    status: Status
    """Outcome of the matching: TP and FN of true lesions, TP and FP of predictions."""
    name: int
    """Value in the label map, or number of the connected component."""
    partner: int | None
    """`name` of the lesion it was matched with on the other side."""
    x_mm: float
    """Centroid, to the right."""
    y_mm: float
    """Centroid, to the front."""
    z_mm: float
    """Centroid, upwards."""
    volume_mm3: float
    """Volume of its voxels."""
    equivalent_diameter_mm: float
    """Diameter of the ball of that volume."""
    elongation: float | None = None
    """1 is round, 0 a line: as in the lesion table, with every voxel's own extent."""
    sphericity: float | None = None
    """1 for a ball, less for anything else (IBSI)."""
    region: str | None = None
    """For example `lobar`, `deep` or `infratentorial`."""
    side: str | None = None
    """`left`, `right` or `midline`."""
    score: float | None = None
    """Highest probability inside, for predictions from a probability map."""
    matched_dice: float | None = None
    """Dice with the partner."""
    overlap_voxels: int | None = None
    """Voxels shared with the partner."""
    distance_mm: float | None = None
    """Distance of the centroids of both partners."""


def lesion_facts(
    case: str,
    truth: LesionSet,
    prediction: LesionSet,
    matching: Matching,
    dices: NDArray[np.float64],
    regions: tuple[Volume | None, Mapping[int, Place]],
) -> tuple[LesionFacts, ...]:
    """One row per lesion, truth first.

    Args:
        case: name of the case.
        truth: its true lesions.
        prediction: its predicted lesions.
        matching: what became of both.
        dices: Dice of every matched pair, in the order of `matching.pairs`.
        regions: a map of regions, if there is one, and the names of its values.
    """
    dice_of = {(int(t), int(p)): float(dice) for (t, p), dice in zip(matching.pairs, dices, strict=True)}
    centres = truth.centroids_mm, prediction.centroids_mm
    facts = []
    for kind, own, other in (("truth", truth, prediction), ("prediction", prediction, truth)):
        status = matching.truth_status if kind == "truth" else matching.prediction_status
        partners = matching.truth_partner if kind == "truth" else matching.prediction_partner
        elongations = shape.elongations(own.places, own.sizes, own.grid.affine)
        volumes_mm3 = own.volumes_mm3
        for k in range(len(own)):
            j = int(partners[k])
            pair = (k, j) if kind == "truth" else (j, k)
            place = _place(own, k, *regions)
            x, y, z = centres[kind == "prediction"][k].tolist()
            facts.append(
                LesionFacts(
                    case=case,
                    kind=kind,  # type: ignore[arg-type]
                    status=str(status[k]),  # type: ignore[arg-type]
                    name=int(own.names[k]),
                    partner=int(other.names[j]) if j >= 0 else None,
                    x_mm=x,
                    y_mm=y,
                    z_mm=z,
                    volume_mm3=float(volumes_mm3[k]),
                    equivalent_diameter_mm=shape.equivalent_diameter_mm(float(volumes_mm3[k])),
                    elongation=float(elongations[k]),
                    sphericity=sphericity(*lesion_box(own, k)),
                    region=None if place is None else place.region,
                    side=None if place is None else place.side,
                    score=None if own.scores is None else float(own.scores[k]),
                    matched_dice=dice_of.get(pair) if j >= 0 else None,
                    overlap_voxels=int(matching.overlaps[pair]) if j >= 0 else None,
                    distance_mm=float(np.linalg.norm(centres[0][pair[0]] - centres[1][pair[1]]))
                    if j >= 0
                    else None,
                )
            )
    return tuple(facts)


def lesion_box(lesions: LesionSet, k: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """One lesion in its bounding box, and the affine, of which only the linear part holds for the box."""
    return lesions.cut_out(k), lesions.grid.affine


def _place(lesions: LesionSet, k: int, regions: Volume | None, names: Mapping[int, Place]) -> Place | None:
    """The region most of a lesion's voxels are in, looked up by world position."""
    if regions is None:
        return None
    world = lesions.grid.to_world(lesions.indices(k))
    voxels = np.rint(regions.grid.to_voxel(world)).astype(np.intp)
    voxels = voxels[np.all((voxels >= 0) & (voxels < regions.shape), axis=1)]
    return place_of(regions.data[tuple(voxels.T)], names)
