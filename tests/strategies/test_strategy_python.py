"""Facts about strategies written in Python, and about the GIL while Rust replays a built-in strategy."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from helpers.pages import blocks
from helpers.places import DOCS
from swapcore import trace
from swapcore.strategy import AllocatorStrategy, name_of, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZE_PAGES = 8192


class FirstFit:
    """A strategy that takes the lowest free run. Assertions fail when a caller breaks the protocol."""

    name = "first_fit"
    max_order = 9

    def __init__(self, *, size_pages: int, nr_cpus: int) -> None:
        self.used = bytearray(size_pages)
        self.used[0] = 1
        self.nr_cpus = nr_cpus
        self.calls: list[str] = []

    def alloc(self, order: int, cpu: int) -> int:
        assert 0 <= cpu < self.nr_cpus
        nr = 1 << order
        slot = self.used.find(bytes(nr))
        while slot > 0 and slot % nr:
            slot = self.used.find(bytes(nr), slot + -slot % nr)
        if slot > 0:
            self.used[slot : slot + nr] = b"\x01" * nr
        return slot

    def free(self, slot: int, nr: int, cpu: int) -> None:
        assert 0 <= cpu < self.nr_cpus
        assert self.used[slot : slot + nr] == b"\x01" * nr
        self.used[slot : slot + nr] = bytes(nr)


class BatchedFirstFit(FirstFit):
    """A `FirstFit` with batched methods, which records each call of a batched method."""

    name = "batched_first_fit"

    def alloc_batch(self, n: int, order: int, cpu: int) -> list[int]:
        self.calls.append("alloc_batch")
        slots = [self.alloc(order, cpu) for _ in range(n)]
        return [slot for slot in slots if slot > 0]

    def free_batch(self, slots: Iterable[int], nr: int, cpu: int) -> None:
        self.calls.append("free_batch")
        for slot in slots:
            self.free(slot, nr, cpu)

    def memory(self) -> dict[str, int]:
        return {"static_bytes": len(self.used), "dynamic_bytes": 5}


class WithoutMaxOrder(FirstFit):
    name = "small"
    max_order = 2

    def alloc(self, order: int, cpu: int) -> int:
        assert order <= 2, "larger requests are split before"
        return super().alloc(order, cpu)


class Raising(FirstFit):
    def alloc(self, order: int, cpu: int) -> int:
        del order, cpu
        raise RuntimeError("out of order")


def wrap(own: FirstFit) -> sc.Strategy:
    return sc.Strategy.wrap(own, size_pages=len(own.used))


@pytest.fixture(scope="module")
def workload() -> sc.Trace:
    return trace.load("mthp-mix", nr_ops=10_000, size_pages=SIZE_PAGES)


@pytest.mark.parametrize("strategy_class", [FirstFit, BatchedFirstFit])
def test_python_strategy_replays_the_whole_workload(
    strategy_class: type[FirstFit], workload: sc.Trace
) -> None:
    own = strategy_class(size_pages=2 * SIZE_PAGES, nr_cpus=workload.nr_cpus)
    outcome = workload.replay(wrap(own), samples=1)
    assert outcome["allocations"] == workload.nr_allocations
    assert outcome["dropped_pages"] == outcome["fallback_pages"] == 0
    assert outcome["used_slots_peak"] == workload.peak_pages
    # One used slot is slot 0, the header, which no operation allocated.
    assert own.used.count(1) == outcome["used_slots_end"] + 1


def test_failed_large_requests_come_back_as_single_pages(workload: sc.Trace) -> None:
    own = FirstFit(size_pages=SIZE_PAGES, nr_cpus=workload.nr_cpus)
    outcome = workload.replay(wrap(own), samples=8)
    assert outcome["fallback_pages"] > 0
    assert outcome["failures"][9] > 0
    assert own.used.count(1) == outcome["used_slots_end"] + 1


def test_requests_over_the_largest_order_never_reach_the_strategy(workload: sc.Trace) -> None:
    own = WithoutMaxOrder(size_pages=2 * SIZE_PAGES, nr_cpus=workload.nr_cpus)
    outcome = workload.replay(wrap(own))
    assert outcome["fallback_pages"] > 0
    assert outcome["dropped_pages"] == 0


def test_single_and_batched_forms_give_the_same_slots() -> None:
    single, batched = (
        wrap(strategy_class(size_pages=1024, nr_cpus=1)) for strategy_class in (FirstFit, BatchedFirstFit)
    )
    first, second = single.alloc_batch(100, 2), batched.alloc_batch(100, 2)
    assert np.asarray(first).tolist() == np.asarray(second).tolist() == [4 * index for index in range(1, 101)]
    assert len(single.alloc_batch(1000, 0)) == 1024 - 1 - 400
    single.free_batch(first)
    batched.free_batch(second)
    assert single.alloc(2) == batched.alloc(2) == 4


def test_batched_forms_are_called_where_they_exist() -> None:
    own = BatchedFirstFit(size_pages=1024, nr_cpus=1)
    wrapped = wrap(own)
    wrapped.free_batch(wrapped.alloc_batch(10))
    assert own.calls == ["alloc_batch", "free_batch"]
    assert wrapped.memory() == {"static_bytes": 1024, "dynamic_bytes": 5}


def test_strategy_without_memory_reports_none() -> None:
    memory = wrap(FirstFit(size_pages=16, nr_cpus=1)).memory()
    assert memory == {"static_bytes": 0, "dynamic_bytes": 0}


def test_exception_of_a_strategy_reaches_the_caller(workload: sc.Trace) -> None:
    wrapped = wrap(Raising(size_pages=1024, nr_cpus=2))
    with pytest.raises(RuntimeError, match="out of order"):
        workload.replay(wrapped)


def test_object_without_the_methods_is_refused() -> None:
    with pytest.raises((AttributeError, TypeError, sc.InvalidArgumentError)):
        sc.Strategy.wrap(object(), size_pages=16)


def test_class_name_and_import_path_resolve_to_the_same_strategy() -> None:
    by_class = resolve(FirstFit)(1024, 1)
    by_path = resolve(f"{__name__}:FirstFit")(1024, 1)
    assert by_class.name == by_path.name == name_of(FirstFit) == "first_fit"
    assert (by_class.max_order, by_path.alloc(4)) == (9, 16)


def test_python_strategy_takes_part_in_a_comparison(workload: sc.Trace) -> None:
    comparison = sc.compare(workload, ["swap_table", FirstFit], rounds=1)
    assert [result.strategy for result in comparison.results] == ["swap_table", "first_fit"]
    assert comparison.results[1].ratio > 1, "a call into Python an operation cannot be faster than none"


def test_protocol_accepts_the_example() -> None:
    strategy: AllocatorStrategy = FirstFit(size_pages=16, nr_cpus=1)
    assert strategy.alloc(0, 0) == 1


def test_documented_example_has_twenty_lines() -> None:
    example = re.search(
        r"^class .*?(?=\n\n\n|\Z)", blocks(DOCS / "strategy.md", "python")[0].code, re.DOTALL | re.MULTILINE
    )
    assert example is not None
    assert len([line for line in example[0].splitlines() if line.strip()]) <= 20, "it is said to be 20 lines"


def test_other_threads_run_while_rust_replays() -> None:
    loaded = trace.load("order0-churn", nr_ops=1_000_000)
    strategy = sc.Strategy.create("bitmap_ff", size_pages=65_536, nr_cpus=2)
    ticks: list[float] = []
    is_done = threading.Event()

    def tick() -> None:
        while not is_done.wait(0.0005):
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.perf_counter()
    loaded.replay(strategy)
    end = time.perf_counter()
    is_done.set()
    ticker.join()
    # If the replay held the interpreter lock, the thread `ticker` could add no time to `ticks` between
    # `start` and `end`.
    assert end - start > 0.005
    assert len([moment for moment in ticks if start < moment < end]) >= 3
