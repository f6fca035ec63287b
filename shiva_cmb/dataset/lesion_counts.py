"""How many lesions each case has: what folds are balanced by."""

from functools import partial

from shiva_cmb.dataset.cases import Case, Dataset
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.errors import DataError, ShivaCmbError
from shiva_cmb.evaluation.lesion_set import lesions_of_mask
from shiva_cmb.imaging import read_volume
from shiva_cmb.parallel import Progress, run_cases


def count_lesions(
    dataset: Dataset, *, processes: int = 1, progress: Progress | None = None
) -> tuple[int, ...]:
    """The number of 26-connected components in the label of each case.

    Args:
        dataset: see `read_dataset`.
        processes: labels at once.
        progress: told how many are done.

    Raises:
        DataError: naming the first label that cannot be read.
    """
    outcomes = run_cases(dataset.cases, partial(_count, values=dataset.values), processes, progress)
    counts = []
    for outcome in outcomes:
        if isinstance(outcome, str):
            raise DataError(f"{outcome}; `shiva-cmb dataset check` says more")
        counts.append(outcome)
    return tuple(counts)


def _count(case: Case, values: LabelValues) -> int | str:
    try:
        label = read_volume(case.label, note=lambda line: None)
        return len(lesions_of_mask(values.lesions_in(label.data), label.grid))
    except (ShivaCmbError, OSError, MemoryError) as error:
        return str(error) or f"{case.label}: {type(error).__name__}"
