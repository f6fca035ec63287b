"""Work for other processes; imports little, so that they start fast."""

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Fragile:
    """Squares numbers; some kill their process."""

    deadly: tuple[int, ...] = ()

    def __call__(self, number: int) -> int:
        if number in self.deadly:
            os._exit(3)
        time.sleep(0.01)  # so that others are at work when one dies
        return number * number


def process_of(_: int) -> int:
    """Where the work is done."""
    time.sleep(0.05)
    return os.getpid()
