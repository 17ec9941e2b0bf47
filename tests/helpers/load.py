"""Threads of a test: `together` runs several calls at the same moment, `Load` runs threads for some seconds.

`SWAPCORE_STRESS_SECONDS` is the duration of one load in seconds. One second reaches each race of these tests;
a longer load makes a rare interleaving more likely.
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECONDS = float(os.environ.get("SWAPCORE_STRESS_SECONDS", "1"))
LIMIT_SECONDS = 120.0
"""The time limit of a load. `Load.run` fails if a thread runs this long after the load should have ended.

A load whose ``is_enough`` returns false at its end continues for at most half of this time.
"""


def new_seed() -> int:
    """Returns a seed that differs from run to run, so that each run tries other interleavings."""
    return random.SystemRandom().randrange(1 << 32)


def together(*works: Callable[[], object]) -> list[Any]:
    """Calls each function in a new thread, all at the same moment, and returns their results in order."""
    start = threading.Barrier(len(works))

    def begin(work: Callable[[], object]) -> object:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works, timeout=LIMIT_SECONDS))


class Load:
    """Threads that run until the time of the load is over and ``is_enough`` returns True."""

    def __init__(
        self, seed: int, *, share: float = 1.0, is_enough: Callable[[], bool] = lambda: True
    ) -> None:
        """Prepares a load of ``share`` times `SECONDS`.

        ``is_enough`` tells whether the threads made enough steps for the test to judge. The load runs longer
        while ``is_enough`` returns false, because a thread of a busy machine may get no CPU time for seconds.
        """
        self.seed = seed
        self.seconds = share * SECONDS
        self.is_enough = is_enough
        self.end = self.limit = 0.0
        self.raised: list[BaseException] = []

    def goes_on(self) -> bool:
        """Tells a thread whether to make another step."""
        now = time.monotonic()
        if self.raised or now >= self.limit:
            return False
        return now < self.end or not self.is_enough()

    def start_clock(self) -> None:
        """Sets `end`, the end of the load, and `limit`, which is `LIMIT_SECONDS` / 2 after `end`."""
        self.end = time.monotonic() + self.seconds
        self.limit = self.end + LIMIT_SECONDS / 2

    def run(self, works: Iterable[Callable[[], object]]) -> None:
        """Runs each function in a new thread, and raises the first error with the seed as a note."""
        self.start_clock()
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + LIMIT_SECONDS)
            assert not thread.is_alive(), f"seed {self.seed}: a thread hangs"
        if self.raised:
            self.raised[0].add_note(f"seed {self.seed}")
            raise self.raised[0]
        assert self.is_enough(), f"seed {self.seed}: the threads did too little in {LIMIT_SECONDS / 2:.0f} s"

    def run_each(self, nr_threads: int, work: Callable[[int], object], *others: Callable[[], object]) -> None:
        """Runs ``work(number)`` in ``nr_threads`` threads, and each of ``others`` in one more thread."""
        self.run([*(partial(work, thread) for thread in range(nr_threads)), *others])

    def _guarded(self, work: Callable[[], object]) -> None:
        """Runs one function and keeps its error, which `run` raises."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            self.raised.append(error)
