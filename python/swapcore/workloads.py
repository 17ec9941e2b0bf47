"""Workloads of page accesses: programs that touch pages, write them, fork and exit, generated from a seed.

A workload is a list of steps, and each step names a process by its number. The simplest workload is one
process that touches pages, such as the workload of a recorded list of accesses. In other workloads several
processes run at one time, fork and end, as the processes of a build or a server do.
`swapcore.running.accesses.replay_accesses` replays a workload under the limits of a memory cgroup.
"""

from __future__ import annotations

import math
import os
import random
from array import array
from dataclasses import dataclass, replace
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
"""Skew of `zipf`: the k-th most popular page is touched k**-0.99 times as often as the most popular page."""

WRITE_SHARE = 0.3
"""Probability that an access writes, if `_writes` draws whether the access writes."""

SWEEP_PAGES = 8192
"""Number of pages of a sweep of `scan`, unless the caller says otherwise."""

FORK_PAGES = 4096
"""Number of pages of the parent of `fork_heavy`, unless the caller says otherwise."""

BUILD_PAGES = (512, 1536)
"""Smallest and largest number of pages of one process of `build_like`: 2 to 6 MiB."""

BUILD_NEAR_PAGES = 32
"""Largest distance of an access to the newest page, in pages, for seven of eight accesses of `build_like`."""

BUILD_PIECES = 4
"""Number of turns in which a process of `build_like` does its accesses, because processes take turns."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Starts a process with an empty mapping.

    Attributes:
        process: Number of the process.
        span_pages: Pages of the mapping.
    """

    process: int
    span_pages: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Starts a process as a copy of another process.

    Attributes:
        parent: Number of the process to copy.
        process: Number of the new process.
    """

    parent: int
    process: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Makes a process touch pages.

    Attributes:
        process: Number of the process.
        accesses: The list of accesses. Earlier steps of the process, or of its parent before the fork, did
            the accesses before ``start``.
        start: Index of the first access to do.
        stop: Index of the last access to do, plus 1.
        cpu: The CPU that runs the process.
    """

    process: int
    accesses: Accesses
    start: int
    stop: int
    cpu: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends a process, which frees its memory and its slots.

    Attributes:
        process: Number of the process.
    """

    process: int


Step = Spawn | Fork | Touch | Exit


@dataclass(frozen=True, slots=True)
class Workload:
    """Describes the steps of processes, in order.

    Attributes:
        name: The workload's name in listings.
        steps: Every step; a process without an `Exit` step runs until the end.
        nr_cpus: Number of CPUs that the steps need.
        peak_pages: Upper limit of the pages in use at one time, including the copies of pages after a fork.
        nr_ops: The ``nr_ops`` that `load` took; None for every other workload.
        seed: The seed with which `load` made the workload; None for every other workload.
    """

    name: str
    steps: tuple[Step, ...]
    nr_cpus: int
    peak_pages: int
    nr_ops: int | None = None
    seed: int | None = None

    @property
    def nr_accesses(self) -> int:
        """Returns the number of accesses of all steps."""
        return sum(step.stop - step.start for step in self.steps if isinstance(step, Touch))

    def head(self, nr_accesses: int) -> Workload:
        """Returns the workload of the first accesses; processes that live then run until the end.

        Args:
            nr_accesses: Number of accesses to keep, if the workload has so many.

        Returns:
            The workload.
        """
        steps: list[Step] = []
        left = nr_accesses
        for step in self.steps:
            if not isinstance(step, Touch):
                steps.append(step)
                continue
            steps.append(replace(step, stop=min(step.stop, step.start + left)))
            left -= step.stop - step.start
            if left <= 0:
                break
        return replace(self, steps=tuple(steps))


@dataclass(frozen=True, slots=True)
class Maker:
    """Describes a workload that has a name.

    Attributes:
        about: Description in one line, for listings.
        make: Function that returns the workload. Each such function takes a ``seed``.
        parameters_for: Function that returns parameters of ``make`` for at least a number of accesses.
    """

    about: str
    make: Callable[..., Workload]
    parameters_for: Callable[[int], dict[str, int]]


def load(name_or_path: str | os.PathLike[str], **parameters: int) -> Workload:
    """Returns a workload by name, or the recorded accesses of a file.

    Args:
        name_or_path: A name in `WORKLOADS`, or the path of an .npz file with columns ``page`` and ``write``.
        **parameters: Parameters of a workload with a name, see `zipf`, `scan`, `build_like`, `fork_heavy`;
            also ``nr_ops``, which makes a workload of exactly this number of accesses.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, a file without these columns, or a value out of range.
    """
    maker = WORKLOADS.get(os.fspath(name_or_path))
    if maker is not None:
        return _made(maker, **parameters)
    # The import is local, because only a workload from a file needs NumPy.
    from .trace import load_accesses

    found = recorded(load_accesses(name_or_path), name=os.fspath(name_or_path))
    if parameters:
        raise invalid(f"trace {name_or_path!s} is recorded and takes no {', '.join(sorted(parameters))}")
    return found


def _made(maker: Maker, *, nr_ops: int | None = None, **parameters: int) -> Workload:
    """Makes a workload with a name, and with ``nr_ops`` accesses unless it is None."""
    seed = parameters.get("seed", DEFAULT_SEED)
    if nr_ops is None:
        return replace(maker.make(**parameters), seed=seed)
    _check(nr_ops=nr_ops)
    made = maker.make(**maker.parameters_for(nr_ops) | parameters)
    if made.nr_accesses < nr_ops:
        raise invalid(f"nr_ops {nr_ops} is over the {made.nr_accesses} accesses of this {made.name}")
    return replace(made.head(nr_ops), nr_ops=nr_ops, seed=seed)


def recorded(accesses: Accesses, *, name: str = "accesses") -> Workload:
    """Makes a workload of one process out of a list of accesses.

    Args:
        accesses: The list.
        name: The workload's name in listings.

    Returns:
        The workload.
    """
    steps = (Spawn(0, max(accesses.span_pages, 1)), Touch(0, accesses, 0, accesses.nr_accesses), Exit(0))
    return Workload(name, steps, nr_cpus=1, peak_pages=max(accesses.nr_pages, 1))


def zipf(*, nr_pages: int = 8192, nr_accesses: int = 200_000, seed: int = DEFAULT_SEED) -> Workload:
    """Touches pages by popularity, as a cache or a database does: a few pages often, most pages rarely.

    Args:
        nr_pages: Number of pages; their popularity is shuffled.
        nr_accesses: Number of accesses; the share `WRITE_SHARE` of them writes.
        seed: Seed of the choices.

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


def scan(*, nr_pages: int = SWEEP_PAGES, nr_sweeps: int = 8, seed: int = DEFAULT_SEED) -> Workload:
    """Touches all pages in order, again and again, the worst case for a limit below the number of pages.

    Args:
        nr_pages: Pages of a sweep.
        nr_sweeps: Number of sweeps.
        seed: Seed of the choice of the accesses that write.

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
        seed: Seed of sizes and accesses.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; a number under 1.
    """
    _check(nr_processes=nr_processes, parallel=parallel)
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    steps: list[Step] = []
    sizes: list[int] = []
    # The CPUs take turns. A CPU starts the next process when the last process of the CPU is done.
    running: list[list[Step]] = [[] for _ in range(parallel)]
    nr_turns = 0
    while len(sizes) < nr_processes or any(running):
        for cpu, turns in enumerate(running):
            # The first processes start at different turns, because processes that start together would all
            # be small, and then large, at the same time.
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
    *, nr_pages: int = FORK_PAGES, nr_children: int = 12, parallel: int = 4, seed: int = DEFAULT_SEED
) -> Workload:
    """Forks children off a parent that has a working set, as a server does to save its state.

    Args:
        nr_pages: Pages of the parent.
        nr_children: Number of children; each child writes an eighth of the pages, reads these pages, then
            exits.
        parallel: Children at a time.
        seed: Seed of the accesses.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; a number under 1.
    """
    _check(nr_pages=nr_pages, nr_children=nr_children, parallel=parallel)
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    nr_own = max(nr_pages // 8, 1)
    # The parent touches all its pages once, and then some of its pages between two forks.
    pages = [*range(nr_pages), *rng.choices(range(nr_pages), k=nr_own * nr_children)]
    writes = bytes([1]) * nr_pages + _writes(rng, nr_own * nr_children)
    parent = _accesses(pages, writes)
    steps: list[Step] = [Spawn(0, nr_pages), Touch(0, parent, 0, nr_pages)]
    at = nr_pages
    for child in range(1, nr_children + 1):
        own = rng.sample(range(nr_pages), nr_own)
        # The content of a page depends on all earlier accesses, so the list of the child begins with the
        # accesses of the parent until the fork.
        accesses = _accesses(pages[:at] + own + own, writes[:at] + bytes([1]) * nr_own + bytes(nr_own))
        steps += [Fork(0, child), Touch(child, accesses, at, at + nr_own)]
        steps.append(Touch(0, parent, at, at + nr_own))
        at += nr_own
        # The child reads its pages after the parent has run, so that the pages may be swapped out.
        steps.append(Touch(child, accesses, at, at + nr_own))
        if child > parallel:
            steps.append(Exit(child - parallel))
    steps += [Exit(child) for child in range(max(nr_children - parallel, 0) + 1, nr_children + 1)]
    steps.append(Exit(0))
    # `peak_pages` is an upper limit. The factor `parallel + 1` counts the parent too, because each write of
    # the parent to a page shared with a child makes a copy of the page.
    peak_pages = nr_pages + (parallel + 1) * 2 * nr_own
    return Workload("fork-heavy", tuple(steps), nr_cpus=1, peak_pages=peak_pages)


WORKLOADS: dict[str, Maker] = {
    "zipf": Maker(
        "made up: 200,000 accesses to 32 MiB by popularity, skew 0.99",
        zipf,
        lambda nr_ops: {"nr_accesses": nr_ops},
    ),
    "scan": Maker(
        "made up: 8 sweeps over 32 MiB in order",
        scan,
        lambda nr_ops: {"nr_sweeps": -(-nr_ops // SWEEP_PAGES)},
    ),
    "build-like": Maker(
        "made up: 24 short processes of 2 to 6 MiB, two at a time",
        build_like,
        # A process accesses each of its pages five times.
        lambda nr_ops: {"nr_processes": -(-nr_ops // (5 * BUILD_PAGES[0]))},
    ),
    "fork-heavy": Maker(
        "made up: a process of 16 MiB and 12 children by fork that write a part",
        fork_heavy,
        # A child is the reason for three accesses to an eighth of the pages.
        lambda nr_ops: {"nr_children": -(-nr_ops // (3 * FORK_PAGES // 8))},
    ),
}
"""Every workload of page accesses with a name."""


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise invalid(f"{name} {number} is under the least, 1")


def _writes(rng: random.Random, nr_accesses: int) -> bytes:
    """Returns one byte for each access: 1 for an access that writes, else 0."""
    limit = math.ceil(WRITE_SHARE * 256)
    return bytes(drawn < limit for drawn in rng.randbytes(nr_accesses))


def _accesses(pages: Sequence[int], writes: bytes) -> Accesses:
    return Accesses(array("I", pages), writes)


def _compiler(rng: random.Random) -> Accesses:
    """Returns the accesses of one short process: mostly near its newest page, sometimes to any older page."""
    nr_pages = rng.randint(*BUILD_PAGES)
    pages: list[int] = []
    here = 0
    for page in range(nr_pages):
        pages.append(page)
        for drawn in rng.randbytes(4):
            # One access in eight goes to any page touched so far, as an access to a symbol table does.
            near = max(page - BUILD_NEAR_PAGES, 0)
            here = rng.randint(near, page) if drawn >> 5 else rng.randint(0, page)
            pages.append(here)
    return _accesses(pages, _writes(rng, len(pages)))


def _in_pieces(process: int, accesses: Accesses, cpu: int) -> list[Step]:
    """Returns the steps of a process: `BUILD_PIECES` steps, each with a part of the accesses, and an exit."""
    marks = [accesses.nr_accesses * piece // BUILD_PIECES for piece in range(BUILD_PIECES + 1)]
    turns: list[Step] = [Touch(process, accesses, start, stop, cpu) for start, stop in pairwise(marks)]
    return [*turns, Exit(process)]
