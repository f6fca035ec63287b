"""Work in several processes: outcomes in order, and a process that dies takes only its own case along."""

import os

import pytest

from shiva_cmb.parallel import KILLED, run_cases
from tests.workers import Fragile, process_of


def test_outcomes_come_in_the_order_of_the_cases() -> None:
    told: list[tuple[int, int]] = []
    outcomes = run_cases(range(6), Fragile(), 2, lambda done, of: told.append((done, of)))
    assert outcomes == [0, 1, 4, 9, 16, 25]
    assert told == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize("deadly", [(0,), (3, 7)])
def test_a_process_that_dies_takes_only_its_own_case(deadly: tuple[int, ...]) -> None:
    told: list[tuple[int, int]] = []
    outcomes = run_cases(range(8), Fragile(deadly), 2, lambda done, of: told.append((done, of)))
    assert outcomes == [KILLED if number in deadly else number**2 for number in range(8)]
    assert told == [(k, 8) for k in range(1, 9)]


def test_one_process_is_this_one() -> None:
    assert run_cases([1, 2], process_of, 1) == [os.getpid()] * 2
    assert run_cases([1], process_of, 8) == [os.getpid()]
    assert os.getpid() not in run_cases([1, 2], process_of, 2)
    assert run_cases([], process_of, 4) == []
