"""Tests of the kernel's cgroup v2 guide: groups, their life, their files, and the amounts in files."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, task_of

DEFAULTS = {
    "memory.current": "0\n",
    "memory.peak": "0\n",
    "memory.min": "0\n",
    "memory.low": "0\n",
    "memory.high": "max\n",
    "memory.max": "max\n",
    "memory.oom.group": "0\n",
    "memory.swap.current": "0\n",
    "memory.swap.peak": "0\n",
    "memory.swap.high": "max\n",
    "memory.swap.max": "max\n",
    "memory.swap.events": "high 0\nmax 0\nfail 0\n",
    "memory.zswap.current": "0\n",
    "memory.zswap.max": "max\n",
    "memory.zswap.writeback": "1\n",
}
LIMITS = (
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.max",
    "memory.swap.high",
    "memory.swap.max",
    "memory.zswap.max",
)


def machine(device_pages: int = 2048, **switches: str) -> sc.Swap:
    """Returns a subsystem of v2 with one device, on which a folio keeps its slots after a swap-in."""
    swap = sc.Swap(switches={"memcg_stock": "off", **switches})
    swap.swapon(file_storage(device_pages))
    return swap


def test_groups_are_made_and_removed_by_name() -> None:
    swap = machine()
    p = swap.memcg.create("p")
    c = p.create("c")
    assert (swap.memcg.children, p.children, c.path) == ([p], [c], "/p/c")
    assert errno_of(p.create, "c") == errno.EEXIST
    assert errno_of(p.remove) == errno.EBUSY, "there is a group below"
    c.remove()
    assert p.children == []
    assert p.create("c") != c, "the name of a removed group is free"
    assert errno_of(swap.memcg.remove) == errno.EINVAL, "root stays"
    swap.check()


def test_a_group_with_charges_and_without_tasks_can_be_removed() -> None:
    swap = machine()
    a = swap.memcg.create("a")
    kept = swap.folio(2, b"x", memcg=a)
    entry = swap.swap_out(swap.folio(1, b"y", memcg=a))
    a.remove()
    counters = a.counters()
    assert (a.is_online, counters["memory_pages"], counters["swap_pages"]) == (False, 4, 2)
    del kept
    swap.free(entry)
    counters = a.counters()
    assert (counters["memory_pages"], counters["swap_pages"]) == (0, 0)
    swap.check()


def test_a_removed_group_keeps_its_limits() -> None:
    swap = machine()
    a = swap.memcg.create("a", memory_swap_max=2 * PAGE, memory_max="1M")
    folios = [swap.folio(0, b"x", memcg=a) for _ in range(3)]
    swap.folio_alloc_swap(folios[0])
    a.remove()
    assert (a.memory_swap_max, a.memory_max) == (2 * PAGE, 1 << 20)
    swap.folio_alloc_swap(folios[1])
    assert errno_of(swap.folio_alloc_swap, folios[2]) == errno.ENOMEM
    assert a.memory_swap_current == 2 * PAGE
    del folios
    swap.check()


def test_a_child_process_starts_in_the_group_of_its_parent() -> None:
    swap = machine()
    a, b = swap.memcg.create("a"), swap.memcg.create("b")
    mm = swap.mm(memcg=a)
    child = mm.fork()
    mm.memcg = b
    assert (mm.memcg, child.memcg, mm.fork().memcg) == (b, a, b)
    assert errno_of(a.remove) == errno.EBUSY
    del child
    a.remove()
    swap.check()


def test_a_group_with_tasks_may_have_groups_below() -> None:
    """The kernel forbids tasks in a group whose children have the memory controller; swapcore allows them."""
    swap = machine()
    p = swap.memcg.create("p")
    mm = swap.mm(memcg=p)
    c = p.create("c")
    assert (mm.memcg, p.children) == (p, [c])
    swap.check()


def test_a_new_group_has_no_limit_and_no_protection() -> None:
    swap = machine()
    p = swap.memcg.create("p", memory_max="1M", memory_min="4K", memory_oom_group=1, zswap_writeback=0)
    for group in (p.create("c"), swap.memcg.create("b")):
        assert {file: group.read(file) for file in DEFAULTS} == DEFAULTS
        assert set(group.memory_events.values()) == set(group.memory_events_local.values()) == {0}
        assert set(group.memory_stat.values()) == {0}
    swap.check()


@pytest.mark.parametrize("file", LIMITS)
def test_amounts_are_bytes_in_whole_pages_or_max(file: str) -> None:
    swap = machine()
    a = swap.memcg.create("a")
    for written, read in (
        ("5000", "4096"),
        ("4095", "0"),
        ("16K", "16384"),
        ("2m", str(2 << 20)),
        ("1G\n", str(1 << 30)),
        ("max", "max"),
        ("0", "0"),
    ):
        a.write(file, written)
        assert a.read(file) == f"{read}\n", "rounded down to pages"
    for wrong in ("-1", "4X", "infinity", "1 2"):
        assert errno_of(a.write, file, wrong) == errno.EINVAL
    assert a.read(file) == "0\n"
    swap.check()


def test_root_has_the_files_without_limits() -> None:
    swap = machine()
    assert swap.memcg.files == ["memory.stat", "memory.reclaim", "memory.zswap.writeback"]
    task = task_of(swap, None, 8, b"x" * (8 * PAGE))
    swap.memcg.write("memory.reclaim", 4 * PAGE)
    assert task.mm.swapped_pages >= 4
    assert swap.memcg.memory_stat["anon"] == task.mm.resident_pages * PAGE
    swap.check()


def test_keys_of_events_and_of_stat_are_lines() -> None:
    a = machine().memcg.create("a")
    for file in ("memory.events", "memory.events.local", "memory.stat", "memory.swap.events"):
        lines = [line.split(" ") for line in a.read(file).splitlines()]
        assert all(len(line) == 2 and line[1].isdecimal() for line in lines), file
        assert len({key for key, _ in lines}) == len(lines) > 2


def test_limits_of_children_may_exceed_the_limit_of_their_parent() -> None:
    swap = machine()
    p = swap.memcg.create("p", memory_max=32 * PAGE)
    tasks = [task_of(swap, p.create(name, memory_max=32 * PAGE), 48) for name in "ab"]
    for page in range(48):
        for task in tasks:
            task.write(b"x", page)
    assert p.memory_current <= 32 * PAGE
    assert p.memory_events_local["max"] > 0
    assert sum(task.mm.resident_pages for task in tasks) * PAGE == p.memory_current
    swap.check()


def test_a_limit_above_cannot_be_lifted_below() -> None:
    swap = machine()
    p = swap.memcg.create("p", memory_max=8 * PAGE, memory_swap_max=0)
    c = p.create("c", memory_max="max", memory_swap_max="max")
    task = task_of(swap, c, 16)
    with pytest.raises(MemoryError):
        task.write(b"x" * (16 * PAGE))
    assert c.memory_current == p.memory_current == 8 * PAGE
    assert c.memory_swap_current == 0
    swap.check()


def test_a_group_stays_within_64_levels() -> None:
    swap = machine()
    group = swap.memcg
    for _ in range(64):
        group = group.create("below")
    assert errno_of(group.create, "below") == errno.EAGAIN
    swap.check()
