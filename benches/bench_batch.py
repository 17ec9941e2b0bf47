"""The cost of a slot when one call allocates or frees many slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from swapcore.strategy import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    Note = Callable[[str, int], None]

SIZES = (64, 4096)


@pytest.fixture
def swap() -> sc.Swap:
    """Returns a subsystem with a used slot, so that no batch allocates the first cluster's swap table."""
    made = sc.Swap()
    made.swapon(sc.Null("256M"))
    made.alloc()
    return made


@pytest.mark.parametrize("size", SIZES)
def bench_batch(benchmark: BenchmarkFixture, note: Note, swap: sc.Swap, size: int) -> None:
    """Measures `alloc_batch`, and `free_batch` of the returned batch object."""
    benchmark.group = f"batch-{size}"
    alloc_batch, free_batch = swap.alloc_batch, swap.free_batch

    def pair() -> None:
        free_batch(alloc_batch(size))

    benchmark(pair)
    note("ns_per_slot", size)
    assert swap.devices[0].inuse_pages == 1


@pytest.mark.parametrize("size", SIZES)
def bench_batch_through_numpy(benchmark: BenchmarkFixture, note: Note, swap: sc.Swap, size: int) -> None:
    """Measures `alloc_batch` and `free_batch` with the entries as a NumPy array."""
    benchmark.group = f"batch-{size}"

    def pair() -> None:
        entries = np.asarray(swap.alloc_batch(size))
        swap.free_batch(entries.data)

    benchmark(pair)
    note("ns_per_slot", size)
    assert swap.devices[0].inuse_pages == 1


@pytest.mark.parametrize("size", SIZES)
def bench_list_slice(benchmark: BenchmarkFixture, note: Note, size: int) -> None:
    """Measures the removal of a slice at the end of a Python list and its append, for comparison."""
    benchmark.group = f"batch-{size}"
    slots = list(range(65_536))

    def pair() -> None:
        batch = slots[-size:]
        del slots[-size:]
        slots.extend(batch)

    benchmark(pair)
    note("ns_per_slot", size)


@pytest.mark.parametrize("size", SIZES)
def bench_strategy_batch(benchmark: BenchmarkFixture, note: Note, strategy: str, size: int) -> None:
    """Measures a batched allocation and a batched free through the trait `Strategy`, as `compare` does."""
    benchmark.group = f"batch-{size}"
    allocator = resolve(strategy)(65_536, 1)
    assert allocator.alloc() > 0

    def pair() -> None:
        allocator.free_batch(allocator.alloc_batch(size))

    benchmark(pair)
    note("ns_per_slot", size)
