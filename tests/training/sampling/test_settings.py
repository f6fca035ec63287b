"""What can be asked of the sampling, and how patches grow."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import UsageError
from shiva_cmb.training.sampling.settings import PRESETS, SamplingSettings, patch_stages


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings(name: str) -> None:
    chosen = replace(SamplingSettings(), **PRESETS[name])
    assert chosen != SamplingSettings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"lesion_fraction": 1.1}, "lesion_fraction: expected 0 to 1, got 1.1"),
        ({"lesion_choice": "big"}, "lesion_choice: expected one of lesion, voxel, size, got 'big'"),
        ({"lesion_case_fraction": 0.5}, r"lesion_case_fraction: expected lesion_fraction \(0.7\) to 1"),
        ({"patch": (8, 8, 4)}, "patch: expected three sizes of at least 8"),
        ({"first_patch": (16, 16, 16)}, "first_patch and grow_epochs belong together"),
        ({"first_patch": (64, 16, 16), "grow_epochs": 3}, "first_patch: expected at most the patch"),
        ({"first_patch": (16, 16, 16), "grow_epochs": 3, "patch": None}, "cannot grow to whole volumes"),
        ({"mine_threshold": 0.0}, "mine_threshold"),
    ],
)
def test_mistakes_are_named_in_one_line(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        SamplingSettings(**changes)
    assert "\n" not in str(error.value)


def test_patches_that_do_not_grow_are_one_stage() -> None:
    assert patch_stages(SamplingSettings(), 7) == ((0, 6, (48, 48, 48)),)
    assert patch_stages(SamplingSettings(patch=None), 7) == ((0, 6, None),)


@settings(deadline=None, max_examples=50)
@given(
    first=st.tuples(*[st.integers(8, 40)] * 3),
    more=st.tuples(*[st.integers(0, 60)] * 3),
    grow=st.integers(1, 12),
    epochs=st.integers(1, 20),
)
def test_patches_grow_without_a_gap(
    first: tuple[int, int, int], more: tuple[int, int, int], grow: int, epochs: int
) -> None:
    last = tuple(a + b for a, b in zip(first, more, strict=True))
    sampling = SamplingSettings(patch=last, first_patch=first, grow_epochs=grow)
    stages = patch_stages(sampling, epochs)
    assert [epoch for start, end, _ in stages for epoch in range(start, end + 1)] == list(range(epochs))
    sizes = [patch for _, _, patch in stages]
    for smaller, larger in pairwise(sizes):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))
        assert smaller != larger
        assert all(size % 8 == 0 for size in smaller)
    assert (sizes[-1] == last) or epochs <= grow
