"""Tests of the kernel's cgroup v2 guide: the protection of memory by memory.min and memory.low."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, Task, errno_of, file_storage, task_of

BOTH = pytest.mark.parametrize("file", ["memory_min", "memory_low"])


def machine(**switches: str) -> sc.Swap:
    """Returns a subsystem of v2 with one device and without per-CPU stocks of charges."""
    swap = sc.Swap(switches={"memcg_stock": "off", **switches})
    swap.swapon(file_storage(16384))
    return swap


def idle(swap: sc.Swap, group: sc.MemCgroup, nr_pages: int) -> Task:
    """Returns a task with ``nr_pages`` written pages; reclaim has cleared the accessed bit of each page."""
    task = task_of(swap, group, nr_pages, b"x" * (nr_pages * PAGE))
    group.write("memory.reclaim", "4K")
    task.read(0, nr_pages * PAGE)
    group.write("memory.reclaim", "4K")
    return task


def pages_of(*groups: sc.MemCgroup) -> list[int]:
    """Returns the pages of memory of each group."""
    return [group.memory_current // PAGE for group in groups]


@BOTH
def test_memory_within_the_protection_is_not_reclaimed(file: str) -> None:
    swap = machine()
    top = swap.memcg.create("top", memory_max=1024 * PAGE)
    a, b = top.create("a"), top.create("b")
    kept = idle(swap, a, 512)
    before = pages_of(a)
    setattr(a, file, 512 * PAGE)
    other = task_of(swap, b, 2048, b"y" * (2048 * PAGE))
    assert pages_of(a) == before
    assert (a.memory_events["low"], other.mm.swapped_pages > 0) == (0, True)
    del kept
    swap.check()


def test_min_holds_where_low_gives_way() -> None:
    for file, is_kept in (("memory_min", True), ("memory_low", False)):
        swap = machine()
        top = swap.memcg.create("top", memory_max=512 * PAGE)
        a, b = top.create("a"), top.create("b", memory_swap_max=0)
        kept = idle(swap, a, 400)
        before = a.memory_current
        setattr(a, file, "max")
        task = task_of(swap, b, 256)
        if is_kept:
            with pytest.raises(MemoryError):
                task.write(b"y" * (256 * PAGE))
            assert (a.memory_current, a.memory_events["low"], top.memory_events["oom"]) == (before, 0, 1)
        else:
            task.write(b"y" * (256 * PAGE))
            assert a.memory_current <= 256 * PAGE
            assert a.memory_events["low"] > 0
        del kept
        swap.check()


@BOTH
def test_protection_reaches_as_far_as_the_groups_above_have_it(file: str) -> None:
    swap = machine()
    top = swap.memcg.create("top")
    p = top.create("p")
    a = p.create("a")
    kept = idle(swap, a, 512)
    before = pages_of(a)[0]
    setattr(a, file, "max")
    top.write("memory.reclaim", 64 * PAGE)
    assert pages_of(a)[0] <= before - 64, "p has no protection to give"
    assert a.memory_events["low"] == 0
    before = pages_of(a)[0]
    setattr(p, file, "max")
    if file == "memory_min":
        assert errno_of(top.write, "memory.reclaim", 64 * PAGE) == errno.EAGAIN
        assert pages_of(a) == [before]
    else:
        top.write("memory.reclaim", 64 * PAGE)
        assert a.memory_events["low"] > 0, "low gives way, because nothing else is left"
    del kept
    swap.check()


@BOTH
def test_a_group_gives_its_own_reclaim_no_protection(file: str) -> None:
    swap = machine()
    a = swap.memcg.create("a")
    kept = idle(swap, a, 256)
    setattr(a, file, "max")
    before = pages_of(a)[0]
    a.write("memory.reclaim", 64 * PAGE)
    assert pages_of(a)[0] <= before - 64
    assert a.memory_events["low"] == 0
    del kept
    swap.check()


@BOTH
@pytest.mark.parametrize("recursive", ["on", "off"])
def test_unclaimed_protection_reaches_the_groups_below_by_the_mount_option(file: str, recursive: str) -> None:
    swap = machine(memory_recursiveprot=recursive)
    top = swap.memcg.create("top", memory_max=1024 * PAGE)
    p, b = top.create("p"), top.create("b")
    a = p.create("a")
    kept = idle(swap, a, 512)
    before = pages_of(a)[0]
    setattr(p, file, "max")
    pressure = task_of(swap, b, 1024)
    pressure.write(b"y" * (1024 * PAGE))
    assert (pages_of(a)[0] == before) == (recursive == "on")
    del kept
    swap.check()


@BOTH
def test_memory_above_the_protection_is_reclaimed_in_proportion(file: str) -> None:
    swap = machine()
    top = swap.memcg.create("top")
    groups = [top.create(name) for name in "abc"]
    kept = [idle(swap, group, 2048) for group in groups]
    before = pages_of(*groups)
    for group, pages in zip(groups, (0, 1024, 1536), strict=True):
        setattr(group, file, pages * PAGE)
    for _ in range(16):
        top.write("memory.reclaim", 64 * PAGE)
    lost = [old - new for old, new in zip(before, pages_of(*groups), strict=True)]
    assert lost[0] > lost[1] > lost[2] > 0, lost
    # A walk that ends with the last group is followed by a walk from the first, so the first loses more.
    assert 1.5 < lost[0] / lost[1] < 4.5, "half of the second group is protected"
    del kept
    swap.check()


@BOTH
def test_a_removed_group_is_protected_no_more(file: str) -> None:
    """The guide ignores the protection of a group without tasks. The kernel ends the protection at rmdir."""
    swap = machine()
    top = swap.memcg.create("top")
    a = top.create("a")
    folio = swap.folio(0, b"x", memcg=a)
    setattr(a, file, "1M")
    a.remove()
    assert getattr(a, file) == 0
    del folio
    swap.check()
