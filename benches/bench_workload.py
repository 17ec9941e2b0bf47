"""The time that a strategy, which is a slot allocator, needs to replay a whole workload."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from swapcore.running.compare import default_size_pages
from swapcore.strategy import resolve
from swapcore.trace import WORKLOADS, load

if TYPE_CHECKING:
    import swapcore as sc
    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 5


@cache
def workload(name: str) -> sc.Trace:
    """Returns a workload; `functools.cache` keeps it, so all strategies replay the same object."""
    return load(name)


@pytest.mark.parametrize("trace", WORKLOADS)
def bench_workload(benchmark: BenchmarkFixture, strategy: str, trace: str) -> None:
    """Measures a replay on a device that the workload fills to 90 %; the strategy's setup is not timed."""
    benchmark.group = f"workload-{trace}"
    loaded = workload(trace)
    make = resolve(strategy)
    size_pages = default_size_pages(loaded)
    outcomes: list[dict[str, Any]] = []

    def fresh() -> tuple[tuple[object], dict[str, object]]:
        return (make(size_pages, loaded.nr_cpus),), {}

    def replay(allocator: sc.Strategy) -> None:
        outcomes.append(loaded.replay(allocator))

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        replay, setup=fresh, rounds=ROUNDS, warmup_rounds=1
    )
    times_ns = sorted(one["cpu_ns"] / one["ops"] for one in outcomes[-ROUNDS:])
    benchmark.extra_info["cpu_ns_per_op"] = times_ns[len(times_ns) // 2]
    look = loaded.replay(make(size_pages, loaded.nr_cpus), samples=1)
    benchmark.extra_info["fallback_pages"] = look["fallback_pages"]
    benchmark.extra_info["bytes_per_used_slot"] = look["bytes_at_peak"] / look["used_slots_peak"]
    assert {one["dropped_pages"] for one in outcomes} == {look["dropped_pages"]}
