"""Workloads of page accesses: programs that touch pages, write them, fork and exit, made up from a seed.

A workload is a list of steps over numbered processes. One process that touches pages is the simplest, and
what a recorded list of accesses makes; several overlap, fork and end, as those of a build or a server do.
`swapcore.running.accesses.replay_accesses` replays one under the limits of a memory cgroup.
"""

from __future__ import annotations

import math
import os
import random
from array import array
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ._core import Accesses
from .exceptions import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "WORKLOADS",
    "Exit",
    "Fork",
    "Maker",
    "Spawn",
    "Step",
    "Touch",
    "Workload",
    "build_like",
    "fork_heavy",
    "load",
    "recorded",
    "scan",
    "zipf",
]

DEFAULT_SEED = 1
ZIPF_SKEW = 0.99
"""Of the popularity of pages: the k-th is touched k**-0.99 times as often as the first."""

WRITE_SHARE = 0.3
"""Part of the accesses that write, where a workload does not say."""

BUILD_PAGES = (512, 1536)
"""Least and most pages of one process of a build: 2 to 6 MiB."""

BUILD_NEAR_PAGES = 32
"""How far from the last page most accesses of a build go."""

BUILD_PIECES = 4
"""Pieces in which a process of a build runs, taking turns with the others."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Starts a process with an empty mapping.

    Attributes:
        process: Its number.
        span_pages: Pages of the mapping.
    """

    process: int
    span_pages: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Starts a process as a copy of another.

    Attributes:
        parent: The other.
        process: The new one's number.
    """

    parent: int
    process: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Makes a process touch pages.

    Attributes:
        process: Which.
        accesses: The list; those before ``start`` are what the process, or its parent before the fork, did.
        start: First access.
        stop: Behind the last one.
        cpu: Where it runs.
    """

    process: int
    accesses: Accesses
    start: int
    stop: int
    cpu: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends a process: its memory and its slots are free.

    Attributes:
        process: Which.
    """

    process: int


Step = Spawn | Fork | Touch | Exit


@dataclass(frozen=True, slots=True)
class Workload:
    """Describes what processes do, in order.

    Attributes:
        name: For listings.
        steps: Every step; processes that do not exit stay until the end.
        nr_cpus: CPUs that steps name.
        peak_pages: No fewer pages than live at one time, copies after a fork included.
    """

    name: str
    steps: tuple[Step, ...]
    nr_cpus: int
    peak_pages: int

    @property
    def nr_accesses(self) -> int:
        """Returns the accesses of all steps."""
        return sum(step.stop - step.start for step in self.steps if isinstance(step, Touch))


@dataclass(frozen=True, slots=True)
class Maker:
    """Describes a workload that has a name.

    Attributes:
        about: One line for listings.
        make: Returns the workload; each has a ``seed``.
    """

    about: str
    make: Callable[..., Workload]


def load(name_or_path: str | os.PathLike[str], **parameters: int) -> Workload:
    """Returns a workload by name, or the recorded accesses of a file.

    Args:
        name_or_path: A name in `WORKLOADS`, or the path of an .npz file with columns ``page`` and ``write``.
        **parameters: Of a workload with a name; see the function that makes it.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, not such a file, or a value out of range.
    """
    maker = WORKLOADS.get(os.fspath(name_or_path))
    if maker is not None:
        return maker.make(**parameters)
    if parameters:
        raise invalid(f"trace {name_or_path!s} is recorded and takes no {', '.join(sorted(parameters))}")
    # NumPy is loaded for files only.
    from .trace import load_accesses

    return recorded(load_accesses(name_or_path), name=os.fspath(name_or_path))


def recorded(accesses: Accesses, *, name: str = "accesses") -> Workload:
    """Makes a workload of one process out of a list of accesses.

    Args:
        accesses: The list.
        name: For listings.

    Returns:
        The workload.
    """
    steps = (Spawn(0, max(accesses.span_pages, 1)), Touch(0, accesses, 0, accesses.nr_accesses), Exit(0))
    return Workload(name, steps, nr_cpus=1, peak_pages=max(accesses.nr_pages, 1))


def zipf(*, nr_pages: int = 8192, nr_accesses: int = 200_000, seed: int = DEFAULT_SEED) -> Workload:
    """Touches pages by popularity, as a cache or a database does: few often, most now and then.

    Args:
        nr_pages: Pages, in no order of popularity.
        nr_accesses: Accesses; `WRITE_SHARE` of them write.
        seed: Of the choices.

    Returns:
        A workload of one process.

    Raises:
        InvalidArgumentError: EINVAL; a number under 1.
    """
    _check(nr_pages=nr_pages, nr_accesses=nr_accesses)
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    pages = list(range(nr_pages))
    rng.shuffle(pages)
    weights = list(accumulate(rank**-ZIPF_SKEW for rank in range(1, nr_pages + 1)))
    chosen = rng.choices(pages, cum_weights=weights, k=nr_accesses)
    return recorded(_accesses(chosen, _writes(rng, nr_accesses)), name="zipf")


def scan(*, nr_pages: int = 8192, nr_sweeps: int = 8, seed: int = DEFAULT_SEED) -> Workload:
    """Touches all pages in order, again and again: the worst of all for a limit below them.

    Args:
        nr_pages: Pages of a sweep.
        nr_sweeps: Sweeps.
        seed: Of which accesses write.

    Returns:
        A workload of one process.

    Raises:
        InvalidArgumentError: EINVAL; a number under 1.
    """
    _check(nr_pages=nr_pages, nr_sweeps=nr_sweeps)
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    pages = list(range(nr_pages)) * nr_sweeps
    return recorded(_accesses(pages, _writes(rng, len(pages))), name="scan")


def build_like(*, nr_processes: int = 24, parallel: int = 2, seed: int = DEFAULT_SEED) -> Workload:
    """Runs many short processes, ``parallel`` at a time, each with a few MiB that it touches with locality.

    Args:
        nr_processes: Processes in all.
        parallel: Processes at a time, each on a CPU of its own.
        seed: Of sizes and accesses.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; a number under 1.
    """
    _check(nr_processes=nr_processes, parallel=parallel)
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    steps: list[Step] = []
    sizes: list[int] = []
    # CPUs take turns, and each starts the next process when its last one is done.
    running: list[list[Step]] = [[] for _ in range(parallel)]
    nr_turns = 0
    while len(sizes) < nr_processes or any(running):
        for cpu, turns in enumerate(running):
            # Apart at first, or all would be small, and then large, at the same time.
            is_late = nr_turns < cpu * BUILD_PIECES // parallel
            if not turns and len(sizes) < nr_processes and not is_late:
                accesses = _compiler(rng)
                steps.append(Spawn(len(sizes), accesses.span_pages))
                turns.extend(_in_pieces(len(sizes), accesses, cpu))
                sizes.append(accesses.nr_pages)
            if turns:
                steps.append(turns.pop(0))
        nr_turns += 1
    return Workload("build-like", tuple(steps), nr_cpus=parallel, peak_pages=parallel * max(sizes))


def fork_heavy(
    *, nr_pages: int = 4096, nr_children: int = 12, parallel: int = 4, seed: int = DEFAULT_SEED
) -> Workload:
    """Forks children off a parent with a working set, as a server that saves its state: each writes a part.

    Args:
        nr_pages: Pages of the parent.
        nr_children: Children; each writes an eighth of the pages and reads as many, then exits.
        parallel: Children at a time.
        seed: Of the accesses.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; a number under 1.
    """
    _check(nr_pages=nr_pages, nr_children=nr_children, parallel=parallel)
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    nr_own = max(nr_pages // 8, 1)
    # The parent touches all its pages, then some of them between two forks.
    pages = [*range(nr_pages), *rng.choices(range(nr_pages), k=nr_own * nr_children)]
    writes = bytes([1]) * nr_pages + _writes(rng, nr_own * nr_children)
    parent = _accesses(pages, writes)
    steps: list[Step] = [Spawn(0, nr_pages), Touch(0, parent, 0, nr_pages)]
    at = nr_pages
    for child in range(1, nr_children + 1):
        own = rng.sample(range(nr_pages), nr_own)
        # What a page holds follows from all accesses before: the parent's until the fork, then the child's.
        accesses = _accesses(pages[:at] + own + own, writes[:at] + bytes([1]) * nr_own + bytes(nr_own))
        steps += [Fork(0, child), Touch(child, accesses, at, at + nr_own)]
        steps.append(Touch(0, parent, at, at + nr_own))
        at += nr_own
        # Its pages are read when others have run since.
        steps.append(Touch(child, accesses, at, at + nr_own))
        if child > parallel:
            steps.append(Exit(child - parallel))
    steps += [Exit(child) for child in range(max(nr_children - parallel, 0) + 1, nr_children + 1)]
    steps.append(Exit(0))
    # The parent writes too while children share its pages.
    peak_pages = nr_pages + (parallel + 1) * 2 * nr_own
    return Workload("fork-heavy", tuple(steps), nr_cpus=1, peak_pages=peak_pages)


WORKLOADS: dict[str, Maker] = {
    "zipf": Maker("made up: 200,000 accesses to 32 MiB by popularity, skew 0.99", zipf),
    "scan": Maker("made up: 8 sweeps over 32 MiB in order", scan),
    "build-like": Maker("made up: 24 short processes of 2 to 6 MiB, two at a time", build_like),
    "fork-heavy": Maker("made up: a process of 16 MiB and 12 children by fork that write a part", fork_heavy),
}
"""Every workload of page accesses with a name."""


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise invalid(f"{name} {number} is under the least, 1")


def _writes(rng: random.Random, nr_accesses: int) -> bytes:
    """Returns one byte an access: 1 for the share that writes."""
    limit = math.ceil(WRITE_SHARE * 256)
    return bytes(drawn < limit for drawn in rng.randbytes(nr_accesses))


def _accesses(pages: Sequence[int], writes: bytes) -> Accesses:
    return Accesses(array("I", pages), writes)


def _compiler(rng: random.Random) -> Accesses:
    """Returns the accesses of one short process: mostly near the last page, sometimes far back."""
    nr_pages = rng.randint(*BUILD_PAGES)
    pages: list[int] = []
    here = 0
    for page in range(nr_pages):
        pages.append(page)
        for drawn in rng.randbytes(4):
            # One in eight goes far back, as to a symbol table.
            near = max(page - BUILD_NEAR_PAGES, 0)
            here = rng.randint(near, page) if drawn >> 5 else rng.randint(0, page)
            pages.append(here)
    return _accesses(pages, _writes(rng, len(pages)))


def _in_pieces(process: int, accesses: Accesses, cpu: int) -> list[Step]:
    """Returns the turns of a process, its exit included."""
    marks = [accesses.nr_accesses * piece // BUILD_PIECES for piece in range(BUILD_PIECES + 1)]
    turns: list[Step] = [Touch(process, accesses, start, stop, cpu) for start, stop in pairwise(marks)]
    return [*turns, Exit(process)]
