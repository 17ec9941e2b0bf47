"""Strategies side by side on one workload: time, failures, fallback, memory, fragmentation.

`compare` builds every strategy afresh for each round and interleaves them, so that a slow minute of the
machine hits all of them; ratios are taken inside a round, then their median.
"""

from __future__ import annotations

import errno
import os
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import report
from ._core import SWAPFILE_CLUSTER, Trace
from .exceptions import InvalidArgumentError
from .storage import PAGES_MAX, PAGES_MIN
from .strategy import name_of, resolve
from .trace import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TextIO

    from numpy.typing import NDArray

    from ._core_dicts import ReplayReport
    from .strategy import Factory, Spec

__all__ = ["DEFAULT_STRATEGIES", "Comparison", "StrategyResult", "compare", "default_size_pages"]

DEFAULT_STRATEGIES = ("swap_table", "p3", "bitmap_ff")
DEFAULT_ROUNDS = 11
ROUNDS_MAX = 10_000
DEFAULT_SEED = 1

FRAGMENTATION_SAMPLES = 64

NOTES = (
    "one replay loop drives every strategy by one virtual call an operation; all use the same kind of lock",
    "the floor is that loop without an allocator; it is part of every time",
    "each round builds fresh instances: the first touch of their memory is part of their time",
    "the seed shuffles the order inside a round; ratios are taken between runs of one round",
    "time is CPU time of the replaying thread, not wall time",
    "failures, fallback, memory and fragmentation come from an untimed run: time does not decide placement",
    "a large request that fails is asked for again page by page, as in the kernel, as part of one operation",
    "p3 is swap_table plus the per-slot work of the kernel before the series, on two static arrays",
    "p3 does one compare-exchange on a 2-byte owner record when a slot is taken and one when it is freed",
    "p3 does one atomic clear of a bit in the zero bitmap when a slot is freed",
    "bitmap_ff keeps one bit a slot and knows no owner, reference count, zero mark or swap cache",
    "bytes count metadata only, static and dynamic, when the most slots were in use",
    "a strategy written in Python pays for a call into the interpreter for every operation",
)


@dataclass(frozen=True, slots=True)
class StrategyResult:
    """What one strategy did with the workload.

    Attributes:
        strategy: Its name.
        allocations: Allocations in the workload.
        failures: Requests without room by order; order 0 includes the pages of split folios.
        ns_per_op: Median over the rounds of CPU time per operation.
        ns_per_op_quartiles: First and third quartile of the same.
        ratio: Median over the rounds of its time by the first strategy's.
        ratio_quartiles: First and third quartile of the same.
        fallback_percent: Pages of large folios that had to be placed one by one, of all their pages.
        dropped_pages: Pages that found no slot at all.
        static_bytes: Metadata of the empty device.
        bytes_at_peak: Metadata, static and dynamic, at that moment.
        used_slots_peak: Slots in use when the workload is at its peak.
        bytes_per_used_slot: ``bytes_at_peak / used_slots_peak``.
        fragmentation: Mean over the run of 1 - free slots in aligned free runs of 16 / free slots.
        rounds_ns_per_op: Every round, in order.
    """

    strategy: str
    allocations: int
    failures: dict[int, int]
    ns_per_op: float
    ns_per_op_quartiles: tuple[float, float]
    ratio: float
    ratio_quartiles: tuple[float, float]
    fallback_percent: float
    dropped_pages: int
    static_bytes: int
    bytes_at_peak: int
    used_slots_peak: int
    bytes_per_used_slot: float
    fragmentation: float
    rounds_ns_per_op: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison(report.Record):
    """Is what `compare` returns.

    Attributes:
        trace: Name or path of the workload.
        nr_ops: Operations in it.
        nr_cpus: CPUs in it.
        size_pages: Slots of the device, header included.
        rounds: Timed rounds.
        seed: Of the order inside the rounds.
        floor_ns_per_op: What the replay costs without an allocator, median over the rounds.
        results: One a strategy, in the order asked for.
        machine: See `swapcore.report.machine`.
        notes: What makes the comparison fair, and what it leaves out.
    """

    trace: str
    nr_ops: int
    nr_cpus: int
    size_pages: int
    rounds: int
    seed: int
    floor_ns_per_op: float
    results: tuple[StrategyResult, ...]
    machine: dict[str, str | int | bool]
    notes: tuple[str, ...] = NOTES

    def to_numpy(self) -> NDArray[Any]:
        """Returns one structured row a strategy, without failures and single rounds."""
        import numpy as np

        fields = [
            (field, "i8" if field.endswith(("bytes", "pages", "peak", "allocations")) else "f8")
            for field in StrategyResult.__slots__
            if field not in {"strategy", "failures", "rounds_ns_per_op"} and not field.endswith("quartiles")
        ]
        width = max(len(result.strategy) for result in self.results)
        return np.array(
            [(result.strategy, *(getattr(result, field) for field, _ in fields)) for result in self.results],
            dtype=[("strategy", f"U{width}"), *fields],
        )

    def table(self, file: TextIO | None = None) -> None:
        """Prints the comparison for people.

        Args:
            file: Where to; standard output if None.
        """
        rows = [
            [
                result.strategy,
                f"{result.allocations}",
                _failures(result.failures),
                f"{result.ns_per_op:.1f}",
                f"{result.ratio:.2f}",
                f"{result.fallback_percent:.1f}",
                # A strategy that does not tell its memory is not one that needs none.
                f"{result.static_bytes}" if result.bytes_at_peak else "-",
                f"{result.bytes_per_used_slot:.2f}" if result.bytes_at_peak else "-",
                f"{result.fragmentation:.3f}",
            ]
            for result in self.results
        ]
        headings = [
            "strategy",
            "allocations",
            "failures by order",
            "ns/op",
            "time ratio",
            "fallback %",
            "static bytes",
            "bytes/used slot",
            "fragmentation 0-1",
        ]
        report.print_table(headings, rows, file=file)
        print(
            f"\n{self.trace}: {self.nr_ops} operations on {self.size_pages} slots, {self.nr_cpus} CPUs. "
            f"Median CPU time of {self.rounds} interleaved rounds, seed {self.seed}; "
            f"{self.floor_ns_per_op:.1f} ns/op of it is the replay itself.",
            file=file,
        )
        if self.machine["is_debug_build"]:
            print("Debug build: the times mean nothing.", file=file)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws the comparison into a picture file, see `swapcore.plot.plot_comparison`.

        Args:
            path: The file; its suffix is the format.
        """
        from .plot import plot_comparison

        plot_comparison(self, path)


def compare(
    trace: str | os.PathLike[str] | Trace = "kernel-build",
    strategies: Iterable[Spec] = DEFAULT_STRATEGIES,
    *,
    rounds: int = DEFAULT_ROUNDS,
    size_pages: int | None = None,
    seed: int = DEFAULT_SEED,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Replays one workload through several strategies.

    Args:
        trace: A workload as for `swapcore.trace.load`, or one already loaded.
        strategies: Each as for `swapcore.strategy.resolve`; ratios are against the first.
        rounds: How often each is timed.
        size_pages: Slots of the device, header included; None takes the workload's peak at 90 %.
        seed: Of the order inside the rounds.
        progress: Called with replays done and replays in all.

    Returns:
        The comparison.

    Raises:
        InvalidArgumentError: EINVAL; an unknown name, no strategy, no round, or a bad size.
    """
    specs = list(strategies)
    if not specs:
        raise InvalidArgumentError(errno.EINVAL, "0 strategies are under the least, 1")
    if not 1 <= rounds <= ROUNDS_MAX:
        raise InvalidArgumentError(errno.EINVAL, f"rounds {rounds} is not in 1..={ROUNDS_MAX}")
    loaded = trace if isinstance(trace, Trace) else load(trace)
    size_pages = default_size_pages(loaded) if size_pages is None else size_pages
    if not PAGES_MIN <= size_pages <= PAGES_MAX:
        raise InvalidArgumentError(
            errno.EINVAL, f"size_pages {size_pages} is not in {PAGES_MIN}..={PAGES_MAX}"
        )
    factories = [resolve(spec) for spec in specs]

    nr_replays = len(specs) * (rounds + 1)
    nr_done = 0

    def replay(factory: Factory, samples: int) -> ReplayReport:
        nonlocal nr_done
        outcome = loaded.replay(factory(size_pages, loaded.nr_cpus), samples=samples)
        nr_done += 1
        if progress is not None:
            progress(nr_done, nr_replays)
        return outcome

    looks = [replay(factory, FRAGMENTATION_SAMPLES) for factory in factories]
    times_ns: list[list[float]] = [[] for _ in factories]
    floors_ns: list[float] = []
    visit = list(range(len(factories)))
    rng = random.Random(seed)  # noqa: S311 - a shuffle, not a secret
    for _ in range(rounds):
        rng.shuffle(visit)
        for index in visit:
            outcome = replay(factories[index], 0)
            times_ns[index].append(outcome["cpu_ns"] / outcome["ops"])
        floors_ns.append(loaded.floor() / loaded.nr_ops)

    return Comparison(
        trace="trace" if isinstance(trace, Trace) else os.fspath(trace),
        nr_ops=loaded.nr_ops,
        nr_cpus=loaded.nr_cpus,
        size_pages=size_pages,
        rounds=rounds,
        seed=seed,
        floor_ns_per_op=statistics.median(floors_ns),
        results=tuple(
            _result(name_of(spec), look, times, times_ns[0])
            for spec, look, times in zip(specs, looks, times_ns, strict=True)
        ),
        machine=report.machine(),
    )


def default_size_pages(trace: Trace) -> int:
    """Returns the size of a device that the workload fills to 90 %, in whole clusters.

    Args:
        trace: The workload.

    Returns:
        Slots, header included.
    """
    return -(-trace.peak_pages * 10 // (9 * SWAPFILE_CLUSTER)) * SWAPFILE_CLUSTER


def _result(name: str, look: ReplayReport, times: Sequence[float], base: Sequence[float]) -> StrategyResult:
    ratios = [time / first for time, first in zip(times, base, strict=True)]
    return StrategyResult(
        strategy=name,
        allocations=look["allocations"],
        failures={order: count for order, count in sorted(look["failures"].items()) if count},
        ns_per_op=statistics.median(times),
        ns_per_op_quartiles=_quartiles(times),
        ratio=statistics.median(ratios),
        ratio_quartiles=_quartiles(ratios),
        fallback_percent=100.0 * look["fallback_pages"] / max(look["large_pages"], 1),
        dropped_pages=look["dropped_pages"],
        static_bytes=look["static_bytes"],
        bytes_at_peak=look["bytes_at_peak"],
        used_slots_peak=look["used_slots_peak"],
        bytes_per_used_slot=look["bytes_at_peak"] / max(look["used_slots_peak"], 1),
        fragmentation=look["fragmentation"],
        rounds_ns_per_op=tuple(times),
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def _failures(failures: dict[int, int]) -> str:
    return ", ".join(f"o{order} {count}" for order, count in failures.items()) or "none"
