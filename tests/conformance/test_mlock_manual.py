"""Tests of documented facts of mlock(2), mlock2(2) and mlockall(2); `is_locked` is MLOCK_ONFAULT."""

from __future__ import annotations

import pytest
import swapcore as sc

PAGE = sc.PAGE_SIZE


def locked(swap: sc.Swap, group: sc.MemCgroup, nr_pages: int) -> tuple[sc.Mm, int]:
    """Maps locked pages in a group and writes the number of each page into the page."""
    mm = swap.mm(memcg=group)
    first = mm.mmap(nr_pages, is_locked=True)
    for page in range(nr_pages):
        mm.write((first + page) * PAGE, b"page %05d" % page)
    return mm, first


def reclaim_all(group: sc.MemCgroup) -> None:
    """Reclaims as much of a group as there is to reclaim."""
    with pytest.raises(OSError, match=r"\w"):
        group.write("memory.reclaim", "1G")


def unevictable_pages(group: sc.MemCgroup) -> int:
    """Returns the number of pages that the group keeps out of reclaim."""
    return group.memory_stat["unevictable"] // PAGE


@pytest.fixture
def scene() -> tuple[sc.Swap, sc.MemCgroup]:
    """Returns a subsystem with a device, and a group."""
    swap = sc.Swap(switches={"memcg_stock": "off"})
    swap.swapon(sc.Ram("16M"))
    return swap, swap.memcg.create("A")


def test_a_locked_range_is_not_populated_by_the_lock(scene: tuple[sc.Swap, sc.MemCgroup]) -> None:
    swap, group = scene
    mm = swap.mm(memcg=group)
    first = mm.mmap(64, is_locked=True)
    assert (mm.resident_pages, unevictable_pages(group)) == (0, 0)
    mm.write((first + 5) * PAGE, b"x")
    assert (mm.resident_pages, unevictable_pages(group)) == (1, 1)
    swap.check()


def test_locked_pages_stay_in_memory_under_reclaim(scene: tuple[sc.Swap, sc.MemCgroup]) -> None:
    swap, group = scene
    mm, _ = locked(swap, group, 64)
    free = mm.mmap(64)
    mm.write(free * PAGE, b"x" * (64 * PAGE))
    reclaim_all(group)
    assert (mm.resident_pages, mm.swapped_pages) == (64, 64)
    assert swap.stats()["pswpout"] == 64
    swap.check()


def test_locked_pages_stay_in_memory_when_memory_runs_out() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("16M"))
    mm, first = locked(swap, swap.memcg, 128)
    other = swap.mm()
    start = other.mmap(1000)
    other.write(start * PAGE, b"x" * (1000 * PAGE))
    assert (mm.resident_pages, mm.swapped_pages) == (128, 0)
    assert mm.read((first + 100) * PAGE, 10) == b"page 00100"
    swap.check()


def test_locked_pages_that_fill_memory_are_enomem_for_others() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("16M"))
    mm, first = locked(swap, swap.memcg, 512)
    other = swap.mm()
    start = other.mmap(1)
    with pytest.raises(MemoryError):
        other.write(start * PAGE, b"x")
    assert (mm.resident_pages, mm.swapped_pages) == (512, 0)
    assert mm.read((first + 511) * PAGE, 10) == b"page 00511"
    swap.check()


def test_a_child_inherits_no_lock_and_its_next_pages_are_not_locked(
    scene: tuple[sc.Swap, sc.MemCgroup],
) -> None:
    swap, group = scene
    mm, first = locked(swap, group, 32)
    child = mm.fork()
    child.write(first * PAGE, b"child" * 100)
    assert unevictable_pages(group) == 32, "the copy of the child is not locked"
    reclaim_all(group)
    assert (child.resident_pages, child.swapped_pages) == (31, 1)
    assert child.read(first * PAGE, 5) == b"child"
    swap.check()


def test_a_page_stays_while_one_of_its_tasks_locks_it(scene: tuple[sc.Swap, sc.MemCgroup]) -> None:
    swap, group = scene
    mm, first = locked(swap, group, 32)
    child = mm.fork()
    reclaim_all(group)
    assert (mm.resident_pages, child.resident_pages) == (32, 32)
    del mm
    assert unevictable_pages(group) == 0
    reclaim_all(group)
    assert (child.resident_pages, child.swapped_pages) == (0, 32)
    assert child.read((first + 31) * PAGE, 10) == b"page 00031"
    swap.check()


def test_a_locked_page_that_a_fork_shares_is_copied_into_a_locked_page(
    scene: tuple[sc.Swap, sc.MemCgroup],
) -> None:
    swap, group = scene
    mm, first = locked(swap, group, 8)
    child = mm.fork()
    for page in range(8):
        mm.write((first + page) * PAGE, b"PAGE")
    reclaim_all(group)
    assert (mm.resident_pages, mm.swapped_pages) == (8, 0), "the writer's copies are locked"
    assert (child.resident_pages, child.swapped_pages) == (0, 8), "the child has pages without a lock"
    assert child.read(first * PAGE, 10) == b"page 00000"
    swap.check()


def test_the_end_of_a_task_removes_its_locks(scene: tuple[sc.Swap, sc.MemCgroup]) -> None:
    swap, group = scene
    mm, _ = locked(swap, group, 16)
    assert unevictable_pages(group) == 16
    del mm
    assert (unevictable_pages(group), swap.nr_used_pages) == (0, 0)
    swap.check()


def test_a_lock_covers_whole_pages_of_its_mapping_alone(scene: tuple[sc.Swap, sc.MemCgroup]) -> None:
    swap, group = scene
    mm = swap.mm(memcg=group)
    before, inside, after = mm.mmap(8), mm.mmap(8, is_locked=True), mm.mmap(8)
    for first in (before, inside, after):
        mm.write(first * PAGE + 17, b"x" * (8 * PAGE - 17))
    reclaim_all(group)
    assert mm.resident_pages == 8
    assert [mm.swap_entry(first) is None for first in (before, inside, after)] == [False, True, False]
    swap.check()


def test_a_locked_page_of_a_large_folio_stays(scene: tuple[sc.Swap, sc.MemCgroup]) -> None:
    swap, group = scene
    mm = swap.mm(memcg=group)
    first = mm.mmap(16, anon_order=4, is_locked=True)
    mm.write(first * PAGE, b"x" * (16 * PAGE))
    reclaim_all(group)
    assert (mm.resident_pages, mm.swapped_pages) == (16, 0)
    assert unevictable_pages(group) == 16
    swap.check()
