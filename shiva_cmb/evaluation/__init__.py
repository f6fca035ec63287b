"""How good predictions are: matching, figures with their uncertainty, strata, comparison of methods.

The functions on arrays are pure and fast enough for a validation metric:

    >>> from shiva_cmb.evaluation import lesions_of_mask, match_lesions
    >>> found = match_lesions(lesions_of_mask(truth, grid), lesions_of_mask(prediction, grid))
    >>> found.tp, found.fp, found.fn
"""

from shiva_cmb.evaluation.assignment import match_points
from shiva_cmb.evaluation.comparison import Comparison, compare
from shiva_cmb.evaluation.lesion_set import LesionSet, lesions_of_labels, lesions_of_mask
from shiva_cmb.evaluation.matching import Matching, MatchRule, match_lesions
from shiva_cmb.evaluation.operating_point import (
    choose_operating_point,
    require_choice,
    store_operating_point,
)
from shiva_cmb.evaluation.pairing.inputs import CaseList, EvaluationCase, pair_cases
from shiva_cmb.evaluation.pipeline import Evaluation, evaluate
from shiva_cmb.evaluation.settings import EvaluationSettings

__all__ = [
    "CaseList",
    "Comparison",
    "Evaluation",
    "EvaluationCase",
    "EvaluationSettings",
    "LesionSet",
    "MatchRule",
    "Matching",
    "choose_operating_point",
    "compare",
    "evaluate",
    "lesions_of_labels",
    "lesions_of_mask",
    "match_lesions",
    "match_points",
    "pair_cases",
    "require_choice",
    "store_operating_point",
]
