"""Work on many cases in several processes; one that kills its process fails alone."""

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")

Progress = Callable[[int, int], None]
"""Told how many cases of how many are done."""

KILLED = "the process that worked on it was killed, perhaps for want of memory"
"""Outcome of a case whose process died."""


def run_cases(
    cases: Sequence[Case],
    work: Callable[[Case], Outcome],
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Outcome | str]:
    """Do the work for every case, several at once.

    If a process dies, all that were at work may have been the reason: each of their cases is tried again in a
    process of its own, and the others go on.

    Args:
        cases: what to work on; picklable.
        work: done for each; picklable. It should not raise.
        processes: how many at once. One works in this process.
        progress: told how far it is.

    Returns:
        The outcome of each case in their order, or `KILLED`.
    """
    done: dict[int, Outcome | str] = {}

    def finish(number: int, outcome: Outcome | str) -> None:
        done[number] = outcome
        if progress is not None:
            progress(len(done), len(cases))

    count = min(processes, len(cases))
    if count <= 1:
        for number, case in enumerate(cases):
            finish(number, work(case))
    else:
        waiting = deque(range(len(cases)))
        while waiting:
            for suspect in _until_one_dies(cases, waiting, work, count, finish):
                finish(suspect, _alone(cases[suspect], work))
    return [done[number] for number in range(len(cases))]


def _until_one_dies(
    cases: Sequence[Case],
    waiting: deque[int],
    work: Callable[[Case], Outcome],
    count: int,
    finish: Callable[[int, Outcome], None],
) -> list[int]:
    """Take cases from `waiting` until none is left or a process dies; those that were at work then."""
    running: dict[Future[Outcome], int] = {}
    with _pool(count) as pool:
        while waiting or running:
            # no more are handed out than are needed to keep all busy: they would all be suspects
            while waiting and len(running) < count + 1:
                number = waiting.popleft()
                try:
                    with _interrupts_ignored():  # processes are started by this, and inherit it
                        running[pool.submit(work, cases[number])] = number
                except BrokenProcessPool:
                    return sorted((number, *running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    return sorted(running.values())
                finish(running.pop(future), outcome)
    return []


def _alone(case: Case, work: Callable[[Case], Outcome]) -> Outcome | str:
    with _pool(1) as pool:
        try:
            with _interrupts_ignored():
                future = pool.submit(work, case)
            return future.result()
        except BrokenProcessPool:
            return KILLED


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; only the first one should answer, in one line."""
    if threading.current_thread() is not threading.main_thread():  # only there can it be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _pool(count: int) -> ProcessPoolExecutor:
    # no threads or locks are copied, on every system
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
