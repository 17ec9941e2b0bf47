"""Random programs: `Steps` calls methods of a subclass with random numbers and logs each call.

`SWAPCORE_PROGRAMS` multiplies the usual number of programs. The usual number finds a change that breaks a
common case; ``SWAPCORE_PROGRAMS=20 make test-python`` searches for changes that break a rare case.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    import swapcore as sc

    from helpers.memcg_facts import World

FACTOR = max(1, int(os.environ.get("SWAPCORE_PROGRAMS", "1")))
NUMBER_LIMIT = 1 << 16
"""Each random number that `run` passes to a step is below this limit."""


def nr_programs(usual: int) -> int:
    """Returns the usual number of programs times `FACTOR`."""
    return usual * FACTOR


class Steps:
    """A random program on a subsystem. Each step is a method that takes three numbers."""

    def __init__(self, swap: sc.Swap, world: World, title: str) -> None:
        """Takes a subsystem, the `World` that compares its counters, and a title for the log."""
        self.swap = swap
        self.world = world
        self.log = [f"# {title}"]

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Adds a note with ``what`` and the log of steps to an error of the ``with`` block."""
        try:
            yield
        except BaseException as error:
            error.add_note("\n".join([what, *self.log]))
            raise

    def step(self, name: str, a: int, b: int, c: int) -> None:
        """Logs and calls the step method with this name."""
        self.log.append(f"program.step({name!r}, {a}, {b}, {c})")
        with self.explained("the step raised"):
            getattr(self, name)(a, b, c)

    def run(self, names: Iterable[str], rng: random.Random, *, verify_every: int = 1) -> None:
        """Calls the steps with random numbers, and calls `verify` after every ``verify_every``-th step."""
        for number, name in enumerate(names):
            self.step(name, *(rng.randrange(NUMBER_LIMIT) for _ in range(3)))
            if number % verify_every == 0:
                self.verify()

    def verify(self) -> None:
        """Calls `World.verify`, and adds the log of steps to its error."""
        with self.explained("after these steps"):
            self.world.verify()
