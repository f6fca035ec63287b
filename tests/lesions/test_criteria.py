import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.lesions import LesionCriteria


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.0},
        {"threshold": -0.1},
        {"threshold": float("nan")},
        {"threshold": 0.5, "peak_threshold": 0.4},
        {"peak_threshold": 1.0},
        {"min_volume_mm3": -1.0},
        {"min_volume_mm3": float("nan")},
        {"connectivity": 8},
        {"max_outside_fraction": 1.1},
    ],
)
def test_values_that_make_no_sense_are_refused_in_one_line(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        LesionCriteria(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_defaults_keep_the_smallest_bleed_by_definition() -> None:
    assert LesionCriteria().min_volume_mm3 < 4.19
    assert LesionCriteria().connectivity == 26
