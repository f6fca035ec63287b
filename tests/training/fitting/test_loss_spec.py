"""The text of a loss means one thing, and what it cannot mean is said."""

import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.training.fitting.loss_spec import KINDS, LossSettings, LossTerm, parse_loss


def test_terms_weights_and_numbers() -> None:
    assert parse_loss(" 0.5*focal_tversky:0.3,0.7, 3 + ce:5,0.1 ") == LossSettings(
        (LossTerm("focal_tversky", 0.5, (0.3, 0.7, 3.0)), LossTerm("ce", 1.0, (5.0, 0.1)))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_has_defaults(kind: str) -> None:
    (term,) = parse_loss(kind).terms
    assert term.kind == kind
    assert term.named == KINDS[kind]


def test_first_numbers_alone_leave_the_others() -> None:
    (term,) = parse_loss("tversky:0.5").terms
    assert term.named == {"false_positives": 0.5, "false_negatives": 0.7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown loss ''"),
        ("dice+", "unknown loss ''"),
        ("Dice", "unknown loss 'Dice': the known ones are dice, tversky"),
        ("dice:1", "loss dice: takes no numbers, got 1"),
        ("ce:1,2,3", r"loss ce: takes 2 \(positive_weight, negative_weight\) numbers, got 3"),
        ("ce:", "got '' for a number"),
        ("ce:five", "expected terms like 0.5.ce:5 joined by ., got 'five' for a number"),
        ("x*dice", "got 'x' for a number"),
        ("*dice", "got '' for a number"),
        ("0*dice", "loss dice: expected a weight above 0, got 0.0"),
        ("nan*dice", "expected a weight above 0, got nan"),
        ("tversky:0,1", "loss tversky: expected a false_positives above 0, got 0.0"),
        ("focal:1", "loss focal: expected an alpha below 1, got 1.0"),
    ],
)
def test_what_cannot_be_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_loss(text)
    assert "\n" not in str(caught.value)


def test_a_sum_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one term"):
        LossSettings(())


def test_numbers_may_be_in_scientific_notation() -> None:
    assert parse_loss("1e+1*ce:1e-1+dice") == parse_loss("10*ce:0.1 + dice")
