"""Tests of the kernel's cgroup v2 guide: usage, limits, peak and events of swap."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, task_of


def test_current_of_swap_covers_all_groups_below(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a, b = p.create("a"), p.create("b")
    tasks = [task_of(swap, group, 16, b"x" * (16 * PAGE)) for group in (a, b)]
    tasks[0].pageout(8)
    tasks[1].pageout(4)
    assert [group.memory_swap_current // PAGE for group in (p, a, b)] == [12, 8, 4]
    del tasks[0]
    assert [group.memory_swap_current // PAGE for group in (p, a, b)] == [4, 0, 4]


def test_memory_and_swap_are_counted_and_limited_apart(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_max=16 * PAGE)
    task = task_of(swap, a, 256, b"x" * (256 * PAGE))
    assert a.memory_current <= 16 * PAGE
    assert a.memory_swap_current + a.memory_current == 256 * PAGE, "only memory has a limit"
    assert a.memory_swap_current == task.mm.swapped_pages * PAGE


def test_a_group_at_its_swap_limit_swaps_nothing_out(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_swap_max=8 * PAGE, memory_max=16 * PAGE)
    task = task_of(swap, a, 64)
    with pytest.raises(MemoryError):
        task.write(b"x" * (64 * PAGE))
    assert (a.memory_current, a.memory_swap_current) == (16 * PAGE, 8 * PAGE)
    events = a.memory_swap_events
    assert events["max"] == events["fail"] > 0
    assert (a.memory_events["oom"], task.mm.resident_pages) == (1, 16)


def test_a_swap_limit_of_0_keeps_anonymous_memory_in(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_swap_max=0)
    task = task_of(swap, a, 32, b"x" * (32 * PAGE))
    assert errno_of(a.write, "memory.reclaim", 8 * PAGE) == errno.EAGAIN
    assert (a.memory_current, a.memory_stat["pgscan"]) == (32 * PAGE, 0), "no page is scanned"
    assert task.pageout(32)["reclaimed_pages"] == 0
    assert swap.stats()["pswpout"] == 0


def test_a_swap_limit_below_usage_is_reached_as_pages_come_back(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 64, b"x" * (64 * PAGE))
    task.pageout(64)
    with a.open("memory.swap.max") as limit:
        limit.write(8 * PAGE)
    assert (a.memory_swap_current, a.memory_swap_max) == (64 * PAGE, 8 * PAGE)
    assert a.memory_swap_events == {"high": 0, "max": 0, "fail": 0}
    for page in range(40):
        task.read(page, 1)
        assert a.memory_swap_current == (63 - page) * PAGE, "a swap-in gives its slot up"
    assert task.pageout(40)["reclaimed_pages"] == 0


def test_a_charge_over_swap_high_is_an_event(swap: sc.Swap) -> None:
    """The kernel makes the task sleep. In swapcore `MemCgroup::throttled_ms` of Rust adds up the time."""
    p = swap.memcg.create("p")
    a = p.create("a", memory_swap_high=8 * PAGE)
    task = task_of(swap, a, 64, b"x" * (32 * PAGE))
    task.pageout(8)
    task.write(b"y", 40)
    assert a.memory_swap_events["high"] == 0, "usage may be at the limit"
    task.pageout(16)
    assert a.memory_swap_current == 16 * PAGE, "the limit refuses no slot"
    task.write(b"y", 41)
    assert a.memory_swap_events == p.memory_swap_events == {"high": 1, "max": 0, "fail": 0}
    assert a.counters()["swap_events_high"] == 1
    assert p.counters()["swap_events_high"] == 0


def test_the_peak_of_swap_is_kept_and_reset_by_each_open_file(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a = p.create("a")
    task = task_of(swap, a, 16, b"x" * (16 * PAGE))
    task.pageout(16)
    task.mm.zap(task.first, 12)
    assert (a.memory_swap_current, a.memory_swap_peak, p.memory_swap_peak) == (4 * PAGE, 16 * PAGE, 16 * PAGE)
    with a.open("memory.swap.peak") as file:
        file.write("")
        assert file.read() == f"{16 * PAGE}\n"
        file.write("x")
        assert (file.read(), a.memory_swap_peak) == (f"{4 * PAGE}\n", 16 * PAGE)


def test_a_full_device_is_a_failure_and_no_limit() -> None:
    swap = sc.Swap(switches={"memcg_stock": "off"})
    swap.swapon(file_storage(16))
    p = swap.memcg.create("p")
    task = task_of(swap, p.create("a"), 32, b"x" * (32 * PAGE))
    assert task.pageout(32)["reclaimed_pages"] == 15
    assert p.memory_swap_events == {"high": 0, "max": 0, "fail": 17}
    swap.check()


def test_a_slot_stays_charged_until_it_is_free(swap: sc.Swap) -> None:
    a, b = swap.memcg.create("a"), swap.memcg.create("b")
    task = task_of(swap, a, 4, b"x" * (4 * PAGE))
    task.pageout(4)
    child = task.mm.fork()
    child.memcg = b
    del task
    assert [group.memory_swap_current // PAGE for group in (a, b)] == [4, 0]
    del child
    assert a.memory_swap_current == 0
