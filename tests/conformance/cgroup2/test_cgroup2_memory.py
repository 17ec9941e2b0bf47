"""Tests of the kernel's cgroup v2 guide: usage, high and max, memory.reclaim, peaks, and events."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, task_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def full() -> Iterator[sc.Swap]:
    """Returns a subsystem of v2 in which reclaim finds no device; `Swap.check` runs after the test."""
    made = sc.Swap(switches={"memcg_stock": "off"})
    yield made
    made.check()


def fill(swap: sc.Swap, group: sc.MemCgroup, nr_pages: int) -> object:
    """Returns a task of the group with ``nr_pages`` written pages."""
    return task_of(swap, group, nr_pages, b"x" * (nr_pages * PAGE))


def test_current_covers_all_groups_below_and_falls_with_them(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a, b = p.create("a"), p.create("b")
    tasks = {group.name: task_of(swap, group, 8, b"x" * (8 * PAGE)) for group in (p, a, b)}
    assert [group.memory_current // PAGE for group in (p, a, b)] == [24, 8, 8]
    tasks["a"].pageout(3)
    assert [group.memory_current // PAGE for group in (p, a, b)] == [21, 5, 8]
    del tasks["b"]
    assert [group.memory_current // PAGE for group in (p, a, b)] == [13, 5, 0]


def test_a_page_in_the_swap_cache_is_charged_to_memory_and_to_swap(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 4, b"x" * (4 * PAGE))
    task.pageout(4)
    task.mm.willneed(task.first, 4)
    assert (a.memory_current, a.memory_swap_current) == (4 * PAGE, 4 * PAGE)
    assert (a.memory_stat["swapcached"], a.memory_stat["anon"]) == (4 * PAGE, 0), "no page table maps them"


def test_a_charge_over_high_reclaims_at_once(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_high=64 * PAGE)
    task = task_of(swap, a, 512)
    for page in range(512):
        task.write(b"x", page)
        assert a.memory_current <= 65 * PAGE
    events = a.memory_events
    assert events["high"] > 0
    assert (events["max"], events["oom"], events["oom_kill"]) == (0, 0, 0)
    assert a.memory_stat["pgsteal_direct"] == task.mm.swapped_pages >= 448


def test_high_may_be_breached_and_no_allocation_fails(full: sc.Swap) -> None:
    a = full.memcg.create("a", memory_high=16 * PAGE)
    task = fill(full, a, 256)
    assert a.memory_current == 256 * PAGE
    assert a.memory_events["high"] == 240, "each charge above the limit"
    assert a.memory_events["oom"] == 0
    del task


def test_a_high_limit_above_also_reclaims(swap: sc.Swap) -> None:
    p = swap.memcg.create("p", memory_high=64 * PAGE)
    tasks = [task_of(swap, p.create(name), 64, b"x" * (64 * PAGE)) for name in "ab"]
    assert p.memory_current <= 65 * PAGE
    assert p.memory_events_local["high"] > 0
    assert sum(task.mm.swapped_pages for task in tasks) >= 63


@pytest.mark.parametrize("file", ["memory.high", "memory.max"])
def test_a_lower_limit_reclaims_unless_the_file_is_nonblocking(swap: sc.Swap, file: str) -> None:
    a = swap.memcg.create("a")
    task = fill(swap, a, 128)
    with a.open(file) as limit:
        limit.write(32 * PAGE, nonblock=True)
        assert (a.memory_current, a.read(file)) == (128 * PAGE, f"{32 * PAGE}\n")
        assert set(a.memory_events.values()) == {0}
        limit.write(32 * PAGE)
    assert a.memory_current <= 32 * PAGE, "the target counts for each priority, so reclaim may free more"
    assert a.memory_events["oom"] == 0
    del task


def test_usage_stays_within_max(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_max=32 * PAGE)
    task = task_of(swap, a, 256)
    for page in range(256):
        task.write(bytes([page]), page)
        assert a.memory_current <= 32 * PAGE
    assert a.memory_events["max"] > 0
    assert a.memory_events["oom"] == 0
    assert [task.read(page, 1) for page in range(256)] == [bytes([page]) for page in range(256)]


def test_a_charge_at_max_without_reclaimable_memory_fails(full: sc.Swap) -> None:
    """The kernel invokes the OOM killer, and the charge succeeds. In swapcore the charge fails."""
    a = full.memcg.create("a", memory_max=8 * PAGE)
    task = task_of(full, a, 16)
    with pytest.raises(MemoryError):
        task.write(b"x" * (16 * PAGE))
    assert a.memory_current == 8 * PAGE
    events = a.memory_events
    assert (events["oom"], events["oom_kill"]) == (1, 0)
    assert events["max"] > 0


def test_a_large_folio_over_max_raises_no_oom(full: sc.Swap) -> None:
    a = full.memcg.create("a", memory_max=64 * PAGE)
    assert errno_of(full.folio, 9, memcg=a) == errno.ENOMEM
    assert a.memory_events["max"] > 0
    assert a.memory_events["oom"] == 0
    assert errno_of(full.folio, 9, memcg=a) == errno.ENOMEM
    assert a.memory_current == 0


def test_a_fault_takes_smaller_folios_where_a_large_one_exceeds_max(full: sc.Swap) -> None:
    a = full.memcg.create("a", memory_max=64 * PAGE)
    task = task_of(full, a, 512, b"x" * (16 * PAGE), anon_order=9)
    assert task.mm.resident_pages == 64, "a folio of order 6"
    assert (a.memory_current, a.memory_stat["anon_thp"]) == (64 * PAGE, 0)
    assert a.memory_events["oom"] == 0


def test_readahead_over_max_is_given_up_without_an_error(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 8, b"x" * (8 * PAGE))
    task.pageout(4)
    locked = task_of(swap, a, 4, b"y" * (4 * PAGE), is_locked=True)
    task.pageout(4, 4)
    a.memory_max = 4 * PAGE
    assert task.mm.willneed(task.first, 8) == 0
    assert (locked.mm.resident_pages, task.mm.swapped_pages) == (4, 8)
    a.memory_max = "max"
    assert task.mm.willneed(task.first, 8) == 8


def test_reclaim_takes_an_amount_from_the_group_and_the_groups_below(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    inside = [task_of(swap, p.create(name), 64, b"x" * (64 * PAGE)) for name in "ab"]
    outside = fill(swap, swap.memcg.create("c"), 64)
    p.write("memory.reclaim", 96 * PAGE)
    freed = 128 - p.memory_current // PAGE
    assert freed == sum(task.mm.swapped_pages for task in inside)
    assert 96 <= freed <= 128, "reclaim may free more, in batches of 32 pages"
    assert swap.stats()["pswpout"] == freed, "the group beside p lost nothing"
    assert p.memory_stat["pgsteal_proactive"] == freed
    assert set(p.memory_events.values()) == {0}
    del outside


def test_reclaim_says_when_it_freed_less(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = fill(swap, a, 64)
    assert errno_of(a.write, "memory.reclaim", "1G") == errno.EAGAIN
    assert a.memory_current == 0, "what could be freed is freed"
    assert errno_of(a.write, "memory.reclaim", "4K") == errno.EAGAIN
    assert errno_of(a.read, "memory.reclaim") == errno.EINVAL
    del task


def test_swappiness_of_reclaim_is_0_to_200_or_max(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = fill(swap, a, 256)
    for nr, value in enumerate(("1", "60", "200", "max"), 1):
        a.write("memory.reclaim", f"128K swappiness={value}")
        assert a.memory_current <= (256 - 32 * nr) * PAGE
    for wrong in ("201", "-1", "", "min", "60%"):
        assert errno_of(a.write, "memory.reclaim", f"4K swappiness={wrong}") == errno.EINVAL
    for wrong in ("4K nodes=0", "swappiness=60", "4K 4K"):
        assert errno_of(a.write, "memory.reclaim", wrong) == errno.EINVAL
    assert swap.swappiness == 60, "the value holds for one reclaim"
    del task


def test_reclaim_with_swappiness_0_takes_no_anonymous_page(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = fill(swap, a, 64)
    assert errno_of(a.write, "memory.reclaim", "64K swappiness=0") == errno.EAGAIN
    assert (a.memory_current, swap.stats()["pswpout"]) == (64 * PAGE, 0)
    swap.swappiness = 0
    assert errno_of(a.write, "memory.reclaim", "64K") == errno.EAGAIN, "the value of the machine"
    a.write("memory.reclaim", "64K swappiness=100")
    assert a.memory_current <= 48 * PAGE
    del task


def test_swappiness_0_of_the_machine_makes_a_limit_fail(swap: sc.Swap) -> None:
    swap.swappiness = 0
    a = swap.memcg.create("a", memory_max=16 * PAGE)
    task = task_of(swap, a, 32)
    with pytest.raises(MemoryError):
        task.write(b"x" * (32 * PAGE))
    assert (a.memory_events["oom"], swap.stats()["pswpout"]) == (1, 0)


def test_peaks_cover_all_groups_below_since_the_group_was_made(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a, b = p.create("a"), p.create("b")
    first = fill(swap, a, 32)
    del first
    second = fill(swap, b, 16)
    assert [group.memory_peak // PAGE for group in (p, a, b)] == [32, 32, 16]
    with p.open("memory.peak") as file, p.open("memory.peak") as other:
        file.write("reset")
        assert (file.read(), other.read()) == (f"{16 * PAGE}\n", f"{32 * PAGE}\n")
    del second


def test_events_are_raised_at_all_groups_above_and_locally_at_one(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a = p.create("a", memory_high=16 * PAGE)
    task = fill(swap, a, 64)
    nr = a.memory_events["high"]
    assert nr > 0
    assert (p.memory_events["high"], a.memory_events_local["high"], p.memory_events_local["high"]) == (
        nr,
        nr,
        0,
    )
    del task


def test_events_stay_at_their_group_with_the_mount_option() -> None:
    swap = sc.Swap(switches={"memcg_stock": "off", "memory_localevents": "on"})
    swap.swapon(file_storage(64))
    p = swap.memcg.create("p")
    a = p.create("a", memory_max=16 * PAGE, memory_swap_max=8 * PAGE)
    task = task_of(swap, a, 64)
    with pytest.raises(MemoryError):
        task.write(b"x" * (64 * PAGE))
    assert a.memory_events == a.memory_events_local
    assert a.memory_events["oom"] == 1
    assert a.memory_swap_events["max"] > 0
    assert set(p.memory_events.values()) == set(p.memory_swap_events.values()) == {0}
    swap.check()


def test_the_machine_distributes_memory_where_high_limits_are_overcommitted() -> None:
    swap = sc.Swap(memory_pages=512, switches={"memcg_stock": "off"})
    swap.swapon(file_storage(4096))
    groups = [swap.memcg.create(name, memory_high=400 * PAGE) for name in "abc"]
    tasks = [task_of(swap, group, 380) for group in groups]
    for page in range(380):
        for task in tasks:
            task.write(b"x", page)
    used = [group.memory_current // PAGE for group in groups]
    assert sum(used) == swap.nr_used_pages <= 512
    assert min(used) > 64, "each group has a share"
    for group in groups:
        assert (group.memory_events["high"], group.memory_events["oom"]) == (0, 0)
    swap.check()


@pytest.mark.parametrize("workingset", ["classic", "mglru"])
def test_reclaim_of_the_machine_below_low_is_an_event(workingset: str) -> None:
    swap = sc.Swap(memory_pages=512, workingset=workingset, switches={"memcg_stock": "off"})
    swap.swapon(file_storage(4096))
    p = swap.memcg.create("p", memory_low="max")
    a = p.create("a", memory_low="max")
    task = task_of(swap, a, 1024)
    for page in range(1024):
        task.write(b"x", page)
    of_p, of_a = p.memory_events_local["low"], a.memory_events_local["low"]
    assert (p.memory_events["low"], a.memory_events["low"]) == (of_p + of_a, of_a)
    assert of_a > 0
    assert a.memory_events["max"] == 0
    del task
    swap.check()


def test_pages_are_charged_to_the_group_of_the_first_touch(swap: sc.Swap) -> None:
    a, b = swap.memcg.create("a"), swap.memcg.create("b")
    task = task_of(swap, a, 8, b"x" * (4 * PAGE))
    child = task.mm.fork()
    child.memcg = b
    child.read(task.first * PAGE, 4 * PAGE)
    assert [group.memory_current // PAGE for group in (a, b)] == [4, 0], "b uses pages of a"
    task.mm.memcg = b
    assert [group.memory_current // PAGE for group in (a, b)] == [4, 0], "a move takes no charge along"
    task.write(b"y" * (8 * PAGE))
    assert [group.memory_current // PAGE for group in (a, b)] == [4, 8], "copies and new pages are b's"
    del child
    assert [group.memory_current // PAGE for group in (a, b)] == [0, 8], "uncharged with its last user"
