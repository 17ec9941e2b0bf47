"""Strategies side by side on one workload: time, failures, fallback, memory, fragmentation.

`compare` makes a new instance of every strategy for each round and interleaves the strategies, so that a slow
minute of the machine slows all strategies. A ratio divides two times of the same round, and the result has
the median of the ratios.
"""

from __future__ import annotations

import os
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swapcore import report
from swapcore._core import SWAPFILE_CLUSTER, Trace
from swapcore.exceptions import invalid
from swapcore.results.comparison import Comparison, StrategyResult
from swapcore.storage import PAGES_MAX, PAGES_MIN
from swapcore.strategy import name_of, resolve
from swapcore.trace import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from swapcore._core_replay import ReplayReport
    from swapcore.strategy import Factory, Spec


DEFAULT_STRATEGIES = ("swap_table", "p3", "bitmap_ff")
DEFAULT_ROUNDS = 11
ROUNDS_MAX = 10_000
DEFAULT_SEED = 1

FRAGMENTATION_SAMPLES = 64


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
        trace: A workload as for `swapcore.trace.load`, or a loaded workload.
        strategies: Names or classes as for `swapcore.strategy.resolve`; ratios are relative to the first.
        rounds: Number of timed replays of each strategy.
        size_pages: Slots of the device, header included; None takes a size that the workload fills to 90 %.
        seed: Seed of the order of the strategies inside each round.
        progress: Called with two numbers: replays done, and all replays.

    Returns:
        The comparison.

    Raises:
        InvalidArgumentError: EINVAL; an unknown name, no strategy, no round, or a bad size.
    """
    specs = list(strategies)
    if not specs:
        raise invalid("0 strategies are under the least, 1")
    if not 1 <= rounds <= ROUNDS_MAX:
        raise invalid(f"rounds {rounds} is not in 1..={ROUNDS_MAX}")
    loaded = trace if isinstance(trace, Trace) else load(trace)
    size_pages = default_size_pages(loaded) if size_pages is None else size_pages
    if not PAGES_MIN <= size_pages <= PAGES_MAX:
        raise invalid(f"size_pages {size_pages} is not in {PAGES_MIN}..={PAGES_MAX}")
    timing = _Timing(loaded, [resolve(spec) for spec in specs], size_pages, rounds, progress)
    looks = timing.look()
    times_ns, floors_ns = timing.time_ns(seed)
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


@dataclass(slots=True)
class _Timing:
    """Replays one workload through the strategies of one comparison."""

    trace: Trace
    factories: list[Factory]
    size_pages: int
    rounds: int
    progress: Callable[[int, int], None] | None
    nr_done: int = 0

    def look(self) -> list[ReplayReport]:
        """Returns the report of one untimed replay of each strategy, with samples of fragmentation."""
        return [self._replay(factory, FRAGMENTATION_SAMPLES) for factory in self.factories]

    def time_ns(self, seed: int) -> tuple[list[list[float]], list[float]]:
        """Returns the times of each strategy, and the times without an allocator, in ns per operation.

        Each list of times has one element for each round.
        """
        times_ns: list[list[float]] = [[] for _ in self.factories]
        floors_ns: list[float] = []
        visit = list(range(len(self.factories)))
        rng = random.Random(seed)  # noqa: S311 - a shuffle, not a secret
        for _ in range(self.rounds):
            rng.shuffle(visit)
            for index in visit:
                outcome = self._replay(self.factories[index], 0)
                times_ns[index].append(outcome["cpu_ns"] / outcome["ops"])
            floors_ns.append(self.trace.floor() / self.trace.nr_ops)
        return times_ns, floors_ns

    def _replay(self, factory: Factory, samples: int) -> ReplayReport:
        outcome = self.trace.replay(factory(self.size_pages, self.trace.nr_cpus), samples=samples)
        self.nr_done += 1
        if self.progress is not None:
            self.progress(self.nr_done, len(self.factories) * (self.rounds + 1))
        return outcome


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
