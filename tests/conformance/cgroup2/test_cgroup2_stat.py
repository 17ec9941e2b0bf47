"""Tests of the kernel's cgroup v2 guide: the keys of memory.stat that count anonymous memory and swap."""

from __future__ import annotations

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, file_storage, task_of


def counts(group: sc.MemCgroup, *keys: str) -> list[int]:
    """Returns the values of ``keys`` in memory.stat."""
    stat = group.memory_stat
    return [stat[key] for key in keys]


def test_amounts_are_bytes_of_pages_on_lists(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a = p.create("a")
    task = task_of(swap, a, 1024, b"x" * (512 * PAGE), anon_order=9)
    small = task_of(swap, p, 16, b"x" * (8 * PAGE))
    locked = task_of(swap, a, 4, b"x" * (4 * PAGE), is_locked=True)
    assert counts(a, "anon", "anon_thp", "unevictable") == [516 * PAGE, 512 * PAGE, 4 * PAGE]
    assert counts(p, "anon", "anon_thp", "unevictable") == [524 * PAGE, 512 * PAGE, 4 * PAGE]
    for group, pages in ((a, 512), (p, 520), (swap.memcg, 520)):
        assert sum(counts(group, "inactive_anon", "active_anon")) == pages * PAGE
    assert counts(p, "file", "shmem", "inactive_file", "active_file") == [0] * 4
    task.pageout(512)
    assert counts(a, "anon", "anon_thp") == [4 * PAGE, 0]
    del small, locked


def test_faults_count_and_major_ones_apart(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 8, b"x" * (4 * PAGE))
    assert counts(a, "pgfault", "pgmajfault") == [4, 0]
    task.pageout(4)
    task.read(0, 2 * PAGE)
    assert counts(a, "pgfault", "pgmajfault") == [6, 2]
    task.mm.willneed(task.first, 4)
    task.read(2, 2 * PAGE)
    assert counts(a, "pgfault", "pgmajfault") == [8, 2], "a page of the swap cache is a minor fault"


def test_pages_of_a_device_and_pages_of_zeros_count_apart(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 8, b"x" * (4 * PAGE) + bytes(4 * PAGE))
    task.pageout(8)
    assert counts(a, "pswpout", "swpout_zero", "pswpin", "swpin_zero") == [4, 4, 0, 0]
    task.read(0, 8 * PAGE)
    assert counts(a, "pswpout", "swpout_zero", "pswpin", "swpin_zero") == [4, 4, 4, 4]


def test_large_folios_that_go_out_whole_or_split(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 512, b"x" * (512 * PAGE), anon_order=9)
    task.pageout(512)
    assert counts(a, "thp_swpout", "thp_swpout_fallback") == [1, 0]
    small = sc.Swap(switches={"memcg_stock": "off"})
    small.swapon(file_storage(512))
    b = small.memcg.create("b")
    task_of(small, b, 512, b"x" * (512 * PAGE), anon_order=9).pageout(512)
    assert counts(b, "thp_swpout", "thp_swpout_fallback") == [0, 1]
    assert b.memory_stat["pswpout"] == 511
    small.check()


@pytest.mark.parametrize("by", ["limit", "request", "machine"])
def test_scanned_and_freed_pages_count_by_their_cause(by: str) -> None:
    swap = sc.Swap(memory_pages=512 if by == "machine" else 4096, switches={"memcg_stock": "off"})
    swap.swapon(file_storage(8192))
    p = swap.memcg.create("p", memory_max="max" if by == "machine" else 512 * PAGE)
    task = task_of(swap, p.create("a"), 1024, b"x" * (256 * PAGE))
    if by == "request":
        p.write("memory.reclaim", 64 * PAGE)
    else:
        task.write(b"x" * (1024 * PAGE))
    part, other = ("proactive", "direct") if by == "request" else ("direct", "proactive")
    scan, steal = counts(p, "pgscan", "pgsteal")
    assert scan >= steal >= 64
    assert counts(p, f"pgscan_{part}", f"pgsteal_{part}") == [scan, steal]
    names = [f"pg{what}_{who}" for what in ("scan", "steal") for who in (other, "kswapd", "khugepaged")]
    assert counts(p, *names) == [0] * 6
    assert steal == task.mm.swapped_pages
    swap.check()


def test_pages_move_between_the_lists_and_are_counted(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_max=512 * PAGE)
    hot, cold = task_of(swap, a, 200, b"x" * (200 * PAGE)), task_of(swap, a, 4096)
    for page in range(4096):
        cold.write(b"x", page)
        if page % 50 == 0:
            hot.read(0, 200 * PAGE)
    assert a.memory_stat["pgactivate"] >= 200
    assert hot.mm.resident_pages == 200, "the pages in use stay"
    assert a.memory_stat["active_anon"] >= 200 * PAGE
    for page in range(4096):
        cold.read(page, 1)
    refilled, deactivated = counts(a, "pgrefill", "pgdeactivate")
    assert refilled >= deactivated > 0


REFAULTS = ("workingset_refault_anon", "workingset_activate_anon", "workingset_restore_anon")


def test_evicted_pages_that_come_back_are_refaults(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_max=256 * PAGE)
    hot, cold = task_of(swap, a, 64, b"x" * (64 * PAGE)), task_of(swap, a, 2048)

    def write_each(first: int, end: int) -> None:
        for page in range(first, end):
            cold.write(b"x", page)
            if page % 20 == 0:
                hot.read(0, 64 * PAGE)

    write_each(0, 1024)
    refaults, activates, restores = counts(a, *REFAULTS)
    youngest = max(page for page in range(1024) if cold.mm.swap_entry(cold.first + page) is not None)
    cold.read(youngest, 1)
    assert counts(a, *REFAULTS) == [refaults + 1, activates + 1, restores], "fewer pages went than are active"
    cold.read(0, 1)
    assert counts(a, *REFAULTS) == [refaults + 2, activates + 1, restores], "more pages went since"


def test_a_page_of_the_working_set_that_comes_back_is_restored(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_max=256 * PAGE)
    hot, cold = task_of(swap, a, 200, b"x" * (200 * PAGE)), task_of(swap, a, 4096)
    for page in range(1024):
        cold.write(b"x", page)
        if page % 20 == 0:
            hot.read(0, 200 * PAGE)
    page = 1024
    while hot.mm.swapped_pages == 0:
        cold.write(b"x", page)
        page += 1
    assert a.memory_stat["pgdeactivate"] > 0, "the idle pages left the active list first"
    refaults, _, restores = counts(a, *REFAULTS)
    first = next(page for page in range(200) if hot.mm.swap_entry(hot.first + page) is not None)
    hot.read(first, 1)
    stat = a.memory_stat
    assert stat["workingset_refault_anon"] == refaults + 1
    assert stat["workingset_restore_anon"] == restores + 1


def test_the_statistics_of_removed_groups_stay_in_the_sums(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a = p.create("a")
    task = task_of(swap, a, 16, b"x" * (16 * PAGE))
    task.pageout(16)
    task.read(0, 16 * PAGE)
    del task
    a.remove()
    del a
    assert counts(p, "pgfault", "pgmajfault", "pswpin", "pswpout", "anon") == [32, 16, 16, 16, 0]
    assert counts(swap.memcg, "pgfault", "pswpout") == [32, 16]
    assert p.stat_local()["pswpout"] == 0
