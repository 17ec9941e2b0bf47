"""Measures the cost of layers in front of a device: no layer, a ghost with a virtual table, zswap, or both.

A ghost keeps no pages; its virtual table records for each slot where the page lies. Each round runs the same
workload on every setup of `SETUPS` in random order. Ratios are relative to the bare device.
"""

from __future__ import annotations

import random
import statistics
import time
from array import array
from typing import TYPE_CHECKING

import swapcore as sc
from swapcore.trace import as_trace, mthp_mix

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 9
SEED = 1
SIZE_PAGES = 32_768
NR_OPS = 10_000
TRACE = as_trace(mthp_mix(NR_OPS, size_pages=SIZE_PAGES))
NR_FREED = 16_384
SETUPS = {"plain": (False, None), "virtual": (True, None), "zswap": (False, "lz4"), "both": (True, "lz4")}
"""For each setup, True if the setup has a ghost with a virtual table, and the compressor of zswap or None."""

FIGURES = ("out_ns_per_page", "in_ns_per_page", "free_ns_per_page")


def subsystem(name: str) -> sc.Swap:
    """Makes a subsystem of a setup on a `Ram` device, the fastest kind of device."""
    has_ghost, compressor = SETUPS[name]
    swap = sc.Swap(nr_cpus=TRACE.nr_cpus, zswap=compressor)
    if has_ghost:
        swap.swapon(sc.Ghost("1T", is_virtual=True))
    swap.swapon(sc.Ram(pages=2 * SIZE_PAGES))
    return swap


def free_ns(name: str) -> float:
    """Returns the CPU time in ns per page of freeing swapped-out single pages in the order of swap-out."""
    swap = subsystem(name)
    entries = [swap.swap_out(swap.folio(data=b"page %d" % page), cpu=0) for page in range(NR_FREED)]
    batch = array("Q", map(int, entries))
    start = time.thread_time_ns()
    swap.free_batch(batch, cpu=0)
    spent = time.thread_time_ns() - start
    swap.check()
    return spent / NR_FREED


def measure(name: str) -> tuple[float, float, float]:
    """Returns the `FIGURES` of a setup in one round."""
    swap = subsystem(name)
    done = TRACE.replay_folios(swap, is_verified=False, seed=SEED)
    # Every setup does the same work only if no setup drops or refuses a page.
    assert done["dropped_pages"] == done["refused_pages"] == 0
    out_ns = done["swap_out_ns"] / done["swapped_out_pages"]
    return out_ns, done["swap_in_ns"] / done["swapped_in_pages"], free_ns(name)


def bench_virtual(benchmark: BenchmarkFixture) -> None:
    """Measures each setup in ns per page out, in and freed, and each time relative to the bare device."""
    benchmark.group = "virtual"
    rng = random.Random(SEED)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in SETUPS}

    def one_round() -> None:
        order = list(SETUPS)
        rng.shuffle(order)
        for name in order:
            found[name].append(measure(name))

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
    plain = list(zip(*found["plain"], strict=True))
    for name, rounds in found.items():
        for figure, ours, bare in zip(FIGURES, zip(*rounds, strict=True), plain, strict=True):
            benchmark.extra_info[f"{name}_{figure}"] = statistics.median(ours)
            ratios = [one / other for one, other in zip(ours, bare, strict=True)]
            benchmark.extra_info[f"{name}_{figure.split('_')[0]}_ratio"] = statistics.median(ratios)
    benchmark.extra_info["seed"] = SEED
    print({name: round(value, 3) for name, value in benchmark.extra_info.items()})
