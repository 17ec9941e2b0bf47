"""Threads on one subsystem: allocations return every slot once, and a signal ends a long batch."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from helpers.interrupt import AlarmError, alarm_after
from helpers.load import Load
from swapcore import Null, Swap, SwpEntry

THREADS = 8


def test_threads_fill_a_device_to_the_last_slot() -> None:
    swap = Swap(nr_cpus=THREADS)
    swap.swapon(Null(pages=20_000))
    taken: list[list[SwpEntry]] = [[] for _ in range(THREADS)]
    start = threading.Barrier(THREADS)

    def take(thread: int) -> None:
        start.wait()
        while batch := list(swap.alloc_batch(37, cpu=thread)):
            taken[thread] += batch

    Load(seed=0).run(partial(take, thread) for thread in range(THREADS))
    # The threads may leave slots free, because an allocation skips clusters that another CPU holds.
    taken[0] += list(swap.alloc_batch(20_000, cpu=0))
    slots = sorted(entry.offset for entries in taken for entry in entries)
    assert slots == list(range(1, 20_000))
    assert swap.nr_swap_pages == 0
    swap.check()


def test_long_batch_is_interrupted_and_gives_everything_back(swap: Swap) -> None:
    device = swap.swapon(Null("512G"))
    with pytest.raises(AlarmError), alarm_after(0.05):
        swap.alloc_batch(1 << 27)
    assert device.inuse_pages == 0
