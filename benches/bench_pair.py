"""Benchmarks of one allocation and one free from Python, by order, and of an empty call for comparison."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

ORDERS = (0, 2, 4, 6, 9)


@pytest.mark.benchmark(group="baseline")
def bench_noop_method(benchmark: BenchmarkFixture) -> None:
    """Measures a call into the extension that only reads a field."""
    entry = sc.SwpEntry(1)
    benchmark(entry.__int__)


@pytest.mark.benchmark(group="baseline")
def bench_deque_pair(benchmark: BenchmarkFixture) -> None:
    """Measures one allocation and one free on a free list of Python ints in a deque, for comparison."""
    slots = deque(range(4096))
    popleft, append = slots.popleft, slots.append

    def pair() -> None:
        append(popleft())

    benchmark(pair)
    assert len(slots) == 4096


@pytest.mark.parametrize("order", ORDERS)
def bench_pair(benchmark: BenchmarkFixture, order: int) -> None:
    """Measures `Swap.alloc` and `Swap.free` of one run."""
    benchmark.group = f"pair-o{order}"
    swap = sc.Swap()
    swap.swapon(sc.Null("256M"))
    # One run stays in use, so that no allocation attaches the cluster's swap table and no free releases it.
    swap.alloc(order)
    alloc, free = swap.alloc, swap.free

    def pair() -> None:
        free(alloc(order))

    benchmark(pair)
    benchmark.extra_info["pages"] = 1 << order
    assert swap.devices[0].inuse_pages == 1 << order
    swap.check()


@pytest.mark.parametrize("order", ORDERS)
def bench_strategy_pair(benchmark: BenchmarkFixture, strategy: str, order: int) -> None:
    """Measures one allocation and one free through the `Strategy` trait, as `compare` does."""
    from swapcore.strategy import resolve

    benchmark.group = f"pair-o{order}"
    allocator = resolve(strategy)(65_536, 1)
    if order > allocator.max_order:
        pytest.skip(f"order {order} is over the largest order {allocator.max_order}")
    assert allocator.alloc(order) > 0
    alloc, free, nr = allocator.alloc, allocator.free, 1 << order

    def pair() -> None:
        free(alloc(order), nr)

    benchmark(pair)
