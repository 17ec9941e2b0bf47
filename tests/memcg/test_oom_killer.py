"""Facts about the switch ``oom``: which task ends, what becomes of its pages, and what is counted."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc

PAGE = sc.PAGE_SIZE


def swap_of(memcg: str = "v2", **switches: str) -> sc.Swap:
    return sc.Swap(memcg=memcg, switches={"memcg_stock": "off", "oom": "kill", **switches})


def task_of(swap: sc.Swap, group: sc.MemCgroup, nr_pages: int) -> tuple[sc.Mm, int]:
    """Makes a task with a mapping of 64 pages, of which ``nr_pages`` pages are written."""
    mm = swap.mm(group)
    first = mm.mmap(64)
    mm.write(first * PAGE, bytes([7]) * (nr_pages * PAGE))
    return mm, first


def test_a_charge_that_finds_no_memory_fails_without_the_switch() -> None:
    swap = swap_of(oom="fail")
    group = swap.memcg.create("a", memory_max=8 * PAGE)
    with pytest.raises(sc.SwapMemoryError):
        task_of(swap, group, 9)
    assert group.memory_events["oom_kill"] == 0
    assert swap.stats()["oom_kill"] == 0
    swap.check()


def test_the_task_with_the_most_pages_ends_and_the_fault_goes_on() -> None:
    swap = swap_of()
    group = swap.memcg.create("a", memory_max=16 * PAGE)
    big, first_of_big = task_of(swap, group, 10)
    small, _ = task_of(swap, group, 8)
    assert (big.is_killed, small.is_killed) == (True, False)
    assert (big.resident_pages, small.resident_pages) == (0, 8)
    assert group.tasks == [small]
    assert (group.memory_events["oom_kill"], swap.stats()["oom_kill"]) == (1, 1)
    with pytest.raises(sc.TaskKilledError) as caught:
        big.read(first_of_big * PAGE, 1)
    assert caught.value.errno == errno.ESRCH
    assert isinstance(caught.value, ProcessLookupError)
    swap.check()


def test_a_task_that_ends_itself_gets_the_error_of_the_charge() -> None:
    swap = swap_of(memcg="v1")
    group = swap.memcg.create("a")
    group.write("memory.limit_in_bytes", 8 * PAGE)
    mm, first = task_of(swap, group, 8)
    with pytest.raises(sc.SwapMemoryError, match=r"memory\.limit_in_bytes"):
        mm.write((first + 8) * PAGE, b"x")
    assert mm.is_killed
    assert group.memory_oom_control["oom_kill"] == 1
    # The task is in the root group now, so that its group can be removed.
    assert mm.memcg == swap.memcg
    group.remove()
    for call in (lambda: mm.mmap(1), lambda: mm.pageout(first, 1), mm.fork, lambda: mm.pagemap(first, 1)):
        with pytest.raises(sc.TaskKilledError):
            call()
    with pytest.raises(sc.TaskKilledError):
        mm.memcg = swap.memcg
    swap.check()


def test_swapped_pages_count_and_their_slots_are_freed() -> None:
    swap = swap_of()
    device = swap.swapon(sc.Ram(pages=17))
    group = swap.memcg.create("a", memory_max=8 * PAGE)
    swapped, _ = task_of(swap, group, 20)
    assert device.inuse_pages >= 12
    other, _ = task_of(swap, group, 6)
    assert swapped.is_killed
    assert not other.is_killed
    assert device.inuse_pages == other.swapped_pages
    swap.check()


def test_only_tasks_below_the_limit_that_refused_end() -> None:
    swap = swap_of()
    above = swap.memcg.create("x", memory_max=64 * PAGE)
    group = above.create("a", memory_max=8 * PAGE)
    beside, _ = task_of(swap, above.create("b"), 30)
    mm, first = task_of(swap, group, 8)
    with pytest.raises(sc.SwapMemoryError):
        mm.write((first + 8) * PAGE, b"x")
    assert (mm.is_killed, beside.is_killed) == (True, False)
    assert group.memory_events["oom_kill"] == above.memory_events["oom_kill"] == 1
    swap.check()


def test_memory_oom_group_ends_all_tasks_of_the_group() -> None:
    swap = swap_of()
    above = swap.memcg.create("x", memory_max=16 * PAGE)
    group = above.create("a", memory_oom_group=1)
    first_task, _ = task_of(swap, group, 10)
    second_task, _ = task_of(swap, group, 2)
    other, _ = task_of(swap, above.create("b"), 8)
    assert (first_task.is_killed, second_task.is_killed, other.is_killed) == (True, True, False)
    assert above.memory_events["oom_kill"] == 2
    swap.check()


def test_oom_kill_disable_keeps_the_tasks() -> None:
    swap = swap_of(memcg="v1")
    group = swap.memcg.create("a")
    group.write("memory.limit_in_bytes", 8 * PAGE)
    group.write("memory.oom_control", 1)
    mm, first = task_of(swap, group, 8)
    with pytest.raises(sc.SwapMemoryError):
        mm.write((first + 8) * PAGE, b"x")
    assert not mm.is_killed
    assert mm.read(first * PAGE, 1) == b"\x07"
    swap.check()


def test_a_fork_is_a_task_of_its_own() -> None:
    swap = swap_of()
    group = swap.memcg.create("a", memory_max=16 * PAGE)
    parent, first = task_of(swap, group, 8)
    child = parent.fork()
    child.write(first * PAGE, b"y" * (8 * PAGE))
    # Both tasks have 8 pages, so the task that was made last ends.
    parent.write((first + 8) * PAGE, b"x")
    assert (parent.is_killed, child.is_killed) == (False, True)
    assert parent.read(first * PAGE, 1) == b"\x07"
    swap.check()


def test_the_machine_without_memory_ends_a_task_too() -> None:
    swap = sc.Swap(memory_pages=512, memcg="disabled", switches={"oom": "kill"})
    big = swap.mm()
    first = big.mmap(400)
    big.write(first * PAGE, b"x" * (400 * PAGE))
    small = swap.mm()
    first = small.mmap(200)
    small.write(first * PAGE, b"x" * (200 * PAGE))
    assert (big.is_killed, small.is_killed) == (True, False)
    swap.check()
