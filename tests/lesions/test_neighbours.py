import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.lesions.neighbours import neighbours, require_connectivity


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_so_many_neighbours_as_the_name_says(connectivity: int) -> None:
    require_connectivity(connectivity)
    assert neighbours(connectivity).sum() == connectivity + 1  # type: ignore[arg-type]


def test_other_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="connectivity of 6, 18 or 26, got 8"):
        require_connectivity(8)
