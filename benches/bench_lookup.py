"""The cost of reading a table entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    Note = Callable[[str, int], None]

NR_ENTRIES = 4096

pytestmark = pytest.mark.benchmark(group="lookup")


@pytest.fixture
def swap() -> sc.Swap:
    """Returns a subsystem with twice as many used slots as `NR_ENTRIES`."""
    made = sc.Swap()
    made.swapon(sc.Null("256M"))
    made.alloc_batch(2 * NR_ENTRIES)
    return made


def bench_lookup(benchmark: BenchmarkFixture, note: Note, swap: sc.Swap) -> None:
    """Measures `lookup` of one entry, which returns a dict of all fields."""
    assert benchmark(swap.lookup, 1000)["count"] == 1
    note("ns_per_entry", 1)


def bench_swap_count(benchmark: BenchmarkFixture, note: Note, swap: sc.Swap) -> None:
    """Measures `swap_count` of one entry."""
    assert benchmark(swap.swap_count, 1000) == 1
    note("ns_per_entry", 1)


def bench_lookup_many(benchmark: BenchmarkFixture, note: Note, swap: sc.Swap) -> None:
    """Measures `lookup_many`, which returns the raw table entries, for many entries in random order."""
    rng = np.random.Generator(np.random.PCG64(1))
    entries = rng.integers(1, 2 * NR_ENTRIES, size=NR_ENTRIES, dtype=np.uint64)
    words = benchmark(swap.lookup_many, entries.data)
    assert np.frombuffer(words, "u8").all()
    note("ns_per_entry", NR_ENTRIES)


def bench_dict_get(benchmark: BenchmarkFixture, note: Note) -> None:
    """Measures a list comprehension that reads the same entries from a Python dict, for comparison."""
    rng = np.random.Generator(np.random.PCG64(1))
    words = dict.fromkeys(range(2 * NR_ENTRIES), 1)
    entries = rng.integers(1, 2 * NR_ENTRIES, size=NR_ENTRIES).tolist()
    benchmark(lambda: [words[entry] for entry in entries])
    note("ns_per_entry", NR_ENTRIES)
