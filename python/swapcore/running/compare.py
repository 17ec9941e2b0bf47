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
from typing import TYPE_CHECKING, TypedDict

from swapcore import report
from swapcore._core import SWAPFILE_CLUSTER, Trace
from swapcore.exceptions import invalid, require_list
from swapcore.results.comparison import Comparison, StrategyResult
from swapcore.size import PAGES_MAX, PAGES_MIN, size_in_pages
from swapcore.strategy import name_of, resolve
from swapcore.trace import WORKLOADS, load

from .stacks import require_made_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeGuard, Unpack

    from swapcore._core_replay import ReplayReport
    from swapcore.strategy import Factory, Spec


DEFAULT_STRATEGIES = ("swap_table", "p3", "bitmap_ff")
DEFAULT_ROUNDS = 11
ROUNDS_MAX = 10_000
DEFAULT_SEED = 1

FRAGMENTATION_SAMPLES = 64

MADE_FOR_PAGES = 65_536
"""Slots of the device that a made-up workload is for, unless the caller says otherwise."""


class WorkloadOptions(TypedDict, total=False):
    """Parameters of a workload that is made up; None is the workload's default."""

    nr_ops: int | None
    workload_seed: int | None
    workload_size_pages: int | None


def compare(
    trace: str | os.PathLike[str] | Trace = "kernel-build",
    strategies: Iterable[Spec] = DEFAULT_STRATEGIES,
    *,
    rounds: int = DEFAULT_ROUNDS,
    size: str | int | None = None,
    size_pages: int | None = None,
    seed: int = DEFAULT_SEED,
    progress: Callable[[int, int], None] | None = None,
    **workload: Unpack[WorkloadOptions],
) -> Comparison:
    """Replays one workload through several strategies.

    Args:
        trace: A workload as for `swapcore.trace.load`, or a loaded workload.
        strategies: Names or classes as for `swapcore.strategy.resolve`; ratios are relative to the first.
        rounds: Number of timed replays of each strategy.
        size: Size of the device, with unit or in bytes. Exclusive with ``size_pages``.
        size_pages: Slots of the device, header included; without both sizes, the workload fills the device
            to 90 %.
        seed: Seed of the order of the strategies inside each round.
        progress: Called with two numbers: replays done, and all replays.
        **workload: Parameters of a workload that is made up: ``nr_ops`` (operations), ``workload_seed`` (seed
            of the operations) and ``workload_size_pages`` (slots of the device that the workload is for).

    Returns:
        The comparison; its ``warnings`` say if the workload is for a device of another size.

    Raises:
        InvalidArgumentError: EINVAL; an unknown name, no strategy, no round, or a bad size.
    """
    require_list("strategies", strategies)
    specs = list(strategies)
    if not specs:
        raise invalid("0 strategies are under the least, 1")
    if not 1 <= rounds <= ROUNDS_MAX:
        raise invalid(f"rounds {rounds} is not in 1..={ROUNDS_MAX}")
    if size is not None:
        size_pages = size_in_pages(size, size_pages)
    loaded = load_made_up(trace, **workload)
    made_for_pages = _made_for_pages(trace, workload.get("workload_size_pages"))
    name = "trace" if isinstance(trace, Trace) else os.fspath(trace)
    warnings = () if size_pages is None else _size_warnings(name, loaded, made_for_pages, size_pages)
    size_pages = default_size_pages(loaded) if size_pages is None else size_pages
    if not PAGES_MIN <= size_pages <= PAGES_MAX:
        raise invalid(f"size_pages {size_pages} is not in {PAGES_MIN}..={PAGES_MAX}")
    timing = _Timing(loaded, [resolve(spec) for spec in specs], size_pages, rounds, progress)
    looks = timing.look()
    times_ns, floors_ns = timing.time_ns(seed)
    return Comparison(
        trace=name,
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
        workload_seed=workload.get("workload_seed"),
        workload_size_pages=made_for_pages,
        warnings=warnings,
    )


def load_made_up(
    trace: str | os.PathLike[str] | Trace,
    *,
    nr_ops: int | None = None,
    workload_seed: int | None = None,
    workload_size_pages: int | None = None,
) -> Trace:
    """Loads a workload of swap operations; only a workload that is made up takes parameters.

    Args:
        trace: A workload as for `swapcore.trace.load`, or a loaded workload.
        nr_ops: Number of operations.
        workload_seed: Seed of the operations.
        workload_size_pages: Slots of the device that the workload is for.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; an unknown workload, or a parameter of a workload that is not made up.
    """
    if not _is_made_up(trace):
        found = trace if isinstance(trace, Trace) else load(trace)
        name = "a loaded trace" if isinstance(trace, Trace) else os.fspath(trace)
        require_made_up(
            name, nr_ops=nr_ops, workload_seed=workload_seed, workload_size_pages=workload_size_pages
        )
        return found
    given = {"nr_ops": nr_ops, "seed": workload_seed, "size_pages": workload_size_pages}
    return load(trace, **{name: value for name, value in given.items() if value is not None})


def _is_made_up(trace: str | os.PathLike[str] | Trace) -> TypeGuard[str]:
    return isinstance(trace, str) and trace in WORKLOADS and not WORKLOADS[trace].is_recorded


def _made_for_pages(trace: str | os.PathLike[str] | Trace, given: int | None) -> int | None:
    """Returns the size of the device that a workload was made for; None if the workload is not made up."""
    if not _is_made_up(trace):
        return None
    return MADE_FOR_PAGES if given is None else given


def _size_warnings(name: str, trace: Trace, made_for_pages: int | None, size_pages: int) -> tuple[str, ...]:
    """Returns one warning if the caller's size is not the size that the workload is for."""
    if made_for_pages is not None and made_for_pages != size_pages:
        found = f"{name} was made for a device of {made_for_pages} slots, not of {size_pages}"
        return (f"{found}; workload_size_pages={size_pages} makes it for this size",)
    if trace.peak_pages > size_pages - 1:
        found = f"{name} has {trace.peak_pages} pages in use at its peak"
        return (f"{found}, which a device of {size_pages} slots cannot hold",)
    return ()


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
