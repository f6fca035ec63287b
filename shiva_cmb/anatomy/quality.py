"""Whether what was found looks like a brain."""

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.imaging import Volume

LEAST_FOUND_CM3 = 100.0
"""Less is no brain, and no part of one that is worth a prediction."""
PLAUSIBLE_CM3 = (900.0, 2000.0)
"""Brain with its fluid: adults have 1100 to 1800."""
PLAUSIBLE_MM = ((105.0, 170.0), (130.0, 205.0), (100.0, 175.0))
"""Width, length and height."""
PLAUSIBLE_FILL = (0.35, 0.65)
"""Share of the bounding box that is brain; an ellipsoid fills 0.52."""
PIECE_SHARE = 0.03
"""A second piece smaller than this is a speck."""
CUT_CM2 = (6.0, 6.0, 6.0, 6.0, 12.0, 6.0)
"""Area of brain at the edge of the field of view from which it counts as cut, by `EDGES`. Below, the brain
stem always goes on."""
EDGES = ("left", "right", "back", "front", "lower", "upper")
LEAST_CONFIDENCE = 0.7
LARGEST_IMBALANCE = 0.15
"""Of the lobar regions: difference of left and right against their sum."""


def quality_flags(
    brain: Volume,
    regions: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    pieces: list[NDArray[np.bool_]],
    confidence: float,
) -> tuple[str, ...]:
    """What is not as expected of a brain.

    Args:
        brain: mask in the window, axes right, anterior, superior.
        regions: coarse regions there.
        inside: where the image has values.
        pieces: the two largest pieces that were found.
        confidence: mean probability of what was chosen.

    Returns:
        A line for each; what the field of view cuts excuses volume and shape.
    """
    spacing, mask = brain.spacing_mm, brain.data
    cut = cut_edges(mask, inside, spacing)
    flags = _size_flags(mask, spacing, bool(cut))
    if len(pieces) > 1 and pieces[1].sum() > PIECE_SHARE * pieces[0].sum():
        share = pieces[1].sum() / pieces[0].sum()
        flags.append(f"the brain was found in pieces, the second one, {share:.0%} of the first, was left out")
    if confidence < LEAST_CONFIDENCE:
        flags.append(
            f"the anatomy network is unsure of this image (confidence {confidence:.2f}, expected "
            f"{LEAST_CONFIDENCE} or more)"
        )
    left, right = (int(np.count_nonzero(mask & (regions == side))) for side in (1, 2))
    imbalance = abs(left - right) / max(left + right, 1)
    if imbalance > LARGEST_IMBALANCE and not {"left", "right"} & set(cut):
        flags.append(f"its hemispheres differ by {imbalance:.0%} of their volume")
    lines = [f"the brain mask is doubtful: {flag}" for flag in flags]
    if cut:
        edges = _listed([f"{edge} edge" for edge in cut])
        lines.insert(0, f"the field of view cuts the brain at its {edges}: the rest is not searched")
    return tuple(lines)


def cut_edges(
    brain: NDArray[np.bool_], inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> list[str]:
    """At which edges of the field of view the brain is cut: names of `EDGES`."""
    cut: list[str] = []
    if not inside.any():
        return cut
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        seen = np.flatnonzero(inside.any(axis=others))
        area_cm2 = spacing_mm[others[0]] * spacing_mm[others[1]] / 100
        for end, plane in enumerate((seen[0], seen[-1])):
            number = 2 * axis + end
            if np.count_nonzero(np.take(brain, plane, axis=axis)) * area_cm2 > CUT_CM2[number]:
                cut.append(EDGES[number])
    return cut


def _size_flags(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float], is_cut: bool) -> list[str]:
    volume_cm3 = float(mask.sum() * np.prod(spacing_mm)) / 1000
    low, high = PLAUSIBLE_CM3
    flags = []
    if volume_cm3 > high or (volume_cm3 < low and not is_cut):
        flags.append(f"its volume is {volume_cm3:.0f} cm3, expected {low:.0f} to {high:.0f}")
    sizes_mm = []
    for axis, name in enumerate(("width", "length", "height")):
        seen = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        size_mm = float(seen[-1] - seen[0] + 1) * spacing_mm[axis] if seen.size else 0.0
        sizes_mm.append(size_mm)
        low, high = PLAUSIBLE_MM[axis]
        if size_mm > high or (size_mm < low and not is_cut):
            flags.append(f"its {name} is {size_mm:.0f} mm, expected {low:.0f} to {high:.0f}")
    box_cm3 = float(np.prod(sizes_mm)) / 1000
    low, high = PLAUSIBLE_FILL
    if not is_cut and box_cm3 and not low <= volume_cm3 / box_cm3 <= high:
        flags.append(f"it fills {volume_cm3 / box_cm3:.0%} of its box, expected {low:.0%} to {high:.0%}")
    return flags


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
