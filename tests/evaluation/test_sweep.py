import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from shiva_cmb.errors import ImageError, UsageError
from shiva_cmb.evaluation import sweep
from shiva_cmb.evaluation.lesion_set import lesions_of_labels
from shiva_cmb.evaluation.matching import MatchRule, RuleName, match_lesions
from shiva_cmb.evaluation.sweep import SweepSettings, sweep_case
from shiva_cmb.imaging.volume import Volume
from shiva_cmb.lesions import LesionCriteria, find_lesions
from tests.evaluation.boxes import bar, dot, grid, lesions, scattered


def test_counts_at_each_threshold_and_volume() -> None:
    data = np.zeros((20, 16, 12), np.float32)
    data[2:6, 5, 5] = 0.9  # 4 voxels on T1
    data[9, 5, 5], data[10, 5, 5], data[11, 5, 5] = 0.8, 0.4, 0.8  # one at 0.3, two at 0.6, on T2
    data[16, 12, 8] = 0.7  # on nothing
    truth = lesions(bar(2, 5), bar(9, 11), dot(1, y=1, z=1))
    counts = sweep_case(
        Volume(data, np.eye(4)), truth, settings=SweepSettings((0.3, 0.6, 0.85), (0.0, 2.0, 4.0))
    )
    assert counts[:, :, 0].tolist() == [
        # found 4, 3 and 1 voxels; T3 is always missed
        [[2, 1, 1], [2, 0, 1], [1, 0, 2]],
        # found 4, 1, 1 and 1: the halves of T2 are a hit and a false alarm
        [[2, 2, 1], [1, 0, 2], [1, 0, 2]],
        # found 4
        [[1, 0, 2], [1, 0, 2], [1, 0, 2]],
    ]
    ignoring = sweep_case(
        Volume(data, np.eye(4)), truth, np.array([False, True, True]), SweepSettings((0.3, 0.6), (0.0,))
    )
    assert ignoring[:, 0, 0].tolist() == [[1, 1, 0], [1, 1, 0]]


def test_a_lesion_of_exactly_the_minimum_stays_whatever_the_rounding() -> None:
    data = np.zeros((20, 16, 12), np.float32)
    data[2:4, 5, 5] = 0.9
    step = float(np.float32(0.9))  # 0.89999998: two voxels are a little less than 2 x 0.729 mm3
    probability = Volume(data, np.diag([step, step, step, 1.0]))
    truth = lesions(bar(2, 3), on=probability.grid)
    assert truth.volumes_mm3[0] < 2 * 0.729
    counts = sweep_case(probability, truth, settings=SweepSettings((0.5,), (2 * 0.729, 1.46)))
    assert counts[0, :, 0].tolist() == [[1, 0, 0], [0, 0, 1]]


@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(["overlap", "iou", "distance", "shiva", "valdo", "valdo-voxels"]),
    connectivity=st.sampled_from([6, 18, 26]),
    listed=st.booleans(),
    order=st.sampled_from("CF"),
    kind=st.sampled_from([np.float32, np.float64]),
    in_brain=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_the_same_as_finding_and_matching_at_each(
    seed: int, name: RuleName, connectivity: int, listed: bool, order: str, kind: type, in_brain: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = (9, 8, 7)
    smooth = ndimage.gaussian_filter(rng.random(shape), rng.choice([0.0, 0.6]))
    # values in steps of 0.05, so that many are exactly a threshold, and many lesions have equal volumes
    data = np.asarray(np.rint(smooth * 20) / 20, kind, order=order)  # type: ignore[call-overload]
    affine = np.diag([0.9, 1.1, 2.0, 1.0])
    probability = Volume(data, affine)
    truth = lesions_of_labels(scattered(rng, shape, int(rng.integers(0, 6))), probability.grid)
    ignored = rng.random(len(truth)) < 0.3
    brain = rng.random(shape) < 0.8 if in_brain else None
    most_outside = float(rng.choice([0.0, 0.25, 0.5]))
    rule = MatchRule(name, max_distance_mm=3.0)
    voxel_mm3 = 0.9 * 1.1 * 2.0
    chosen = SweepSettings(
        (0.3, 0.45, 0.5, 0.7),
        (0.0, voxel_mm3, 2 * voxel_mm3),
        (0.0, 0.45, 0.6, 0.65),
        connectivity,  # type: ignore[arg-type]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "MOST_LISTED_VOXELS", 10**6 if listed else 0)
        counts = sweep_case(
            probability, truth, ignored, chosen, rule, brain=brain, max_outside_fraction=most_outside
        )
    assert counts.shape == (4, 3, 4, 3)
    for (t, threshold), (v, minimum), (p, peak) in itertools.product(
        *map(enumerate, (chosen.thresholds, chosen.min_volumes_mm3, chosen.peak_thresholds))
    ):
        above = peak if peak >= threshold else None  # a lower one asks for nothing
        criteria = LesionCriteria(threshold, above, minimum, connectivity, most_outside)  # type: ignore[arg-type]
        kept = find_lesions(probability, criteria, brain=brain).labels
        found = lesions_of_labels(kept.data, probability.grid)
        matching = match_lesions(truth, found, rule, ignored_truth=ignored)
        assert counts[t, v, p].tolist() == [matching.tp, matching.fp, matching.fn]


def test_a_lesion_counts_where_its_peak_is_above_the_peak_threshold() -> None:
    data = np.zeros((20, 16, 12), np.float32)
    data[2:6, 5, 5] = 0.35, 0.9, 0.35, 0.35  # on T1
    data[9:11, 5, 5] = 0.7  # exactly a peak threshold, on T2
    data[16, 12, 8] = 0.4  # on nothing
    chosen = SweepSettings((0.3, 0.8), (0.0,), (0.0, 0.4, 0.7))
    counts = sweep_case(Volume(data, np.eye(4)), lesions(bar(2, 5), bar(9, 10)), settings=chosen)
    assert counts[0, 0].tolist() == [[2, 1, 0], [2, 0, 0], [1, 0, 1]]
    assert counts[1, 0].tolist() == [[1, 0, 1]] * 3


def test_what_lies_outside_the_brain_is_dropped_at_every_threshold() -> None:
    data = np.zeros((20, 16, 12), np.float32)
    data[2:6, 5, 5] = 0.9  # 2 to 5; the brain ends behind 4: a quarter outside
    data[2:8, 9, 5] = 0.4, 0.4, 0.6, 0.6, 0.6, 0.6  # above 0.3 half outside, above 0.5 three quarters
    data[12, 5, 5] = 0.7
    brain = np.zeros(data.shape, bool)
    brain[:5] = True
    truth = lesions(bar(2, 5), dot(12))
    chosen = SweepSettings((0.3, 0.5, 0.8), (0.0,))
    inside = sweep_case(Volume(data, np.eye(4)), truth, settings=chosen, brain=brain)
    assert inside[:, 0, 0].tolist() == [[1, 0, 1], [1, 0, 1], [1, 0, 1]]
    half = sweep_case(Volume(data, np.eye(4)), truth, settings=chosen, brain=brain, max_outside_fraction=0.5)
    assert half[:, 0, 0].tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 1]]
    everywhere = sweep_case(Volume(data, np.eye(4)), truth, settings=chosen)
    assert everywhere[:, 0, 0].tolist() == [[2, 1, 0], [2, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_contrast(value: float) -> None:
    probability = Volume(np.full((20, 16, 12), value, np.float32), np.eye(4))
    counts = sweep_case(probability, lesions(dot(3), bar(7, 8)))
    assert counts.shape == (20, 4, 1, 3)
    # nothing found, or all in one lesion, at every operating point
    assert (counts == ([0, 0, 2] if value == 0.0 else [1, 0, 1])).all()
    assert (sweep_case(probability, lesions()) == ([0, 0, 0] if value == 0.0 else [0, 1, 0])).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 1), (5, 1, 3), (2, 2, 2)])
def test_thin_images(shape: tuple[int, int, int]) -> None:
    data = np.random.default_rng(1).random(shape)
    truth = lesions(on=grid(shape))
    counts = sweep_case(
        Volume(data, np.eye(4)), truth, settings=SweepSettings((0.5,), (0.0,), connectivity=6)
    )
    expected = ndimage.label(data > 0.5)[1]
    assert counts.tolist() == [[[[0, expected, 0]]]]


def test_the_default_operating_points() -> None:
    chosen = SweepSettings()
    assert len(chosen.thresholds) == 20
    assert (chosen.thresholds[0], chosen.thresholds[9], chosen.thresholds[-1]) == (0.05, 0.5, 0.99)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"thresholds": ()}, r"ascending thresholds in \[0, 1\)"),
        ({"thresholds": (0.5, 0.4)}, "ascending thresholds"),
        ({"thresholds": (0.5, 1.0)}, "ascending thresholds"),
        ({"thresholds": (float("nan"),)}, "ascending thresholds"),
        ({"min_volumes_mm3": (-1.0, 2.0)}, "ascending minimum volumes"),
        ({"min_volumes_mm3": (2.0, 2.0)}, "ascending minimum volumes"),
        ({"peak_thresholds": (0.5, 1.0)}, r"ascending peak thresholds in \[0, 1\)"),
        ({"connectivity": 8}, "connectivity of 6, 18 or 26, got 8"),
    ],
)
def test_settings_without_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SweepSettings(**values)  # type: ignore[arg-type]


def test_maps_that_do_not_fit_are_refused() -> None:
    data = np.zeros((20, 16, 12), np.float32)
    with pytest.raises(ImageError, match="not on the grid of the truth"):
        sweep_case(Volume(data, np.diag([1.0, 1.0, 2.0, 1.0])), lesions(dot(3)))
    for value in (np.nan, 255.0):
        data[3, 3, 3] = value
        with pytest.raises(ImageError, match=r"expected probabilities in \[0, 1\]"):
            sweep_case(Volume(data, np.eye(4)), lesions(dot(3)))
