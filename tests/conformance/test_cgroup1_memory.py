"""Tests of the kernel's cgroup v1 memory guide: accounting, limits, swappiness, statistics, removal."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, task_of

if TYPE_CHECKING:
    from collections.abc import Iterator

UNLIMITED = 9223372036854771712
"""The value of a limit that was never set: the most pages that fit a signed word, in bytes."""


def machine(**options: object) -> sc.Swap:
    """Returns a subsystem of v1 with one device, on which a folio keeps its slots after a swap-in."""
    switches = {"memcg_stock": "off", **options.pop("switches", {})}  # type: ignore[dict-item]
    swap = sc.Swap(memcg="v1", switches=switches, **options)  # type: ignore[arg-type]
    swap.page_cluster = 0
    swap.swapon(file_storage(8192))
    return swap


@pytest.fixture
def swap() -> Iterator[sc.Swap]:
    """Returns `machine()`, which charges page by page; `Swap.check` runs after the test."""
    made = machine()
    yield made
    made.check()


def usage(*groups: sc.MemCgroup) -> list[tuple[int, int]]:
    """Returns the pages of memory, and of memory and swap together, of each group."""
    return [
        (group.memory_usage_in_bytes // PAGE, group.memory_memsw_usage_in_bytes // PAGE) for group in groups
    ]


def test_files_and_their_first_values(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    assert a.files == swap.memcg.files, "root has every file"
    for memory in ("memory", "memory.memsw"):
        assert a.read(f"{memory}.limit_in_bytes") == f"{UNLIMITED}\n"
        for name in ("usage_in_bytes", "max_usage_in_bytes", "failcnt"):
            assert a.read(f"{memory}.{name}") == "0\n"
    for absent in (
        "memory.soft_limit_in_bytes",
        "memory.numa_stat",
        "memory.pressure_level",
        "memory.kmem.usage_in_bytes",
    ):
        assert errno_of(a.read, absent) == errno.ENOENT


def test_limits_take_units_and_minus_one(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    for written, read in (
        ("4M", 4 << 20),
        ("4m", 4 << 20),
        ("64k", 64 << 10),
        ("64K", 64 << 10),
        ("1G", 1 << 30),
        ("1g", 1 << 30),
        ("5000", 4096),
        ("-1", UNLIMITED),
    ):
        a.write("memory.limit_in_bytes", written)
        assert a.read("memory.limit_in_bytes") == f"{read}\n", "rounded to pages"
    for wrong in ("max", "4X", "-2"):
        assert errno_of(a.write, "memory.limit_in_bytes", wrong) == errno.EINVAL
    for file in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        assert errno_of(swap.memcg.write, file, "1G") == errno.EINVAL, "root has no limit"


def test_anonymous_pages_are_charged_at_the_fault_and_uncharged_with_their_last_user(swap: sc.Swap) -> None:
    a, b = swap.memcg.create("a"), swap.memcg.create("b")
    task = task_of(swap, a, 8)
    assert usage(a) == [(0, 0)]
    task.write(b"x" * (8 * PAGE))
    assert usage(a) == [(8, 8)]
    child = task.mm.fork()
    child.memcg = b
    child.read(task.first * PAGE, 8 * PAGE)
    assert usage(a, b) == [(8, 8), (0, 0)], "the first touch decides"
    del task
    assert usage(a, b) == [(8, 8), (0, 0)]
    del child
    assert usage(a, b) == [(0, 0), (0, 0)]


def test_a_swapout_moves_the_charge_and_leaves_the_sum(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 16, b"x" * (16 * PAGE))
    task.pageout(12)
    assert usage(a) == [(4, 16)]
    assert (a.memory_stat["swap"], a.memory_stat["rss"]) == (12 * PAGE, 4 * PAGE)
    task.mm.willneed(task.first, 4)
    assert usage(a) == [(8, 16)], "a page of the swap cache is charged as memory"
    assert (a.memory_stat["swapcached"], a.memory_stat["swap"]) == (4 * PAGE, 8 * PAGE)
    task.read(0, 12 * PAGE)
    assert usage(a) == [(16, 16)]


def test_pages_that_come_in_are_charged_to_the_owner_of_the_slot(swap: sc.Swap) -> None:
    a, b = swap.memcg.create("a"), swap.memcg.create("b")
    task = task_of(swap, a, 8, b"x" * (8 * PAGE))
    task.pageout(8)
    task.mm.memcg = b
    assert usage(a, b) == [(0, 8), (0, 0)], "a move takes no charge along"
    task.mm.willneed(task.first, 4)
    task.read(4, 2 * PAGE)
    assert usage(a, b) == [(6, 8), (0, 0)]


def test_usage_at_the_limit_reclaims_the_pages_of_the_group(swap: sc.Swap) -> None:
    a, b = (swap.memcg.create(name, memory_limit_in_bytes=32 * PAGE) for name in "ab")
    beside = task_of(swap, b, 32, b"x" * (32 * PAGE))
    task = task_of(swap, a, 256, b"x" * (256 * PAGE))
    assert usage(a) == [(task.mm.resident_pages, 256)]
    assert task.mm.resident_pages <= 32
    assert a.memory_failcnt > 0
    assert (a.memory_max_usage_in_bytes, a.memory_memsw_max_usage_in_bytes) == (32 * PAGE, 256 * PAGE)
    assert (beside.mm.resident_pages, b.memory_failcnt) == (32, 0)


def test_a_limit_above_reclaims_from_the_whole_tree(swap: sc.Swap) -> None:
    p = swap.memcg.create("p", memory_limit_in_bytes=64 * PAGE)
    tasks = [task_of(swap, p.create(name), 128) for name in "ab"]
    for page in range(128):
        for task in tasks:
            task.write(b"x", page)
    assert usage(p)[0][0] <= 64
    assert usage(p)[0][1] == 256, "the usage of the groups below counts above"
    assert all(task.mm.swapped_pages > 64 for task in tasks)
    assert p.memory_failcnt > 0


def test_a_charge_that_reclaim_cannot_serve_fails() -> None:
    """The kernel invokes the OOM killer. In swapcore the charge fails with an error."""
    swap = sc.Swap(memcg="v1", switches={"memcg_stock": "off"})
    a = swap.memcg.create("a", memory_limit_in_bytes=8 * PAGE)
    task = task_of(swap, a, 16)
    with pytest.raises(MemoryError):
        task.write(b"x" * (16 * PAGE))
    assert (a.memory_usage_in_bytes, a.memory_failcnt) == (8 * PAGE, 35)
    swap.check()


def test_the_memory_limit_is_at_most_that_of_memory_and_swap(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    memory, memsw = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    assert errno_of(a.write, memsw, "1M") == errno.EINVAL, "memory has no limit yet"
    a.write(memory, "1M")
    a.write(memsw, "2M")
    assert errno_of(a.write, memory, "3M") == errno.EINVAL
    assert errno_of(a.write, memsw, "512K") == errno.EINVAL
    assert (a.memory_limit_in_bytes, a.memory_memsw_limit_in_bytes) == (1 << 20, 2 << 20)


def test_a_group_at_its_limit_of_memory_and_swap_swaps_nothing_out(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_limit_in_bytes=32 * PAGE, memory_memsw_limit_in_bytes=32 * PAGE)
    task = task_of(swap, a, 64)
    with pytest.raises(MemoryError):
        task.write(b"x" * (64 * PAGE))
    assert usage(a) == [(32, 32)]
    assert (a.memory_failcnt, a.memory_memsw_failcnt, swap.stats()["pswpout"]) == (0, 0, 0)
    assert a.memory_stat["rss"] == 32 * PAGE


def test_the_machine_swaps_out_pages_of_a_group_at_its_limit_of_memory_and_swap() -> None:
    swap = machine(memory_pages=512)
    a = swap.memcg.create("a", memory_limit_in_bytes=128 * PAGE, memory_memsw_limit_in_bytes=128 * PAGE)
    task = task_of(swap, a, 128, b"x" * (128 * PAGE))
    other = task_of(swap, None, 1024, b"y" * (1024 * PAGE))
    assert task.mm.swapped_pages > 0
    assert usage(a) == [(task.mm.resident_pages, 128)]
    del other
    swap.check()


def test_a_limit_below_usage_reclaims_or_is_refused(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 128, b"x" * (128 * PAGE))
    a.memory_limit_in_bytes = 32 * PAGE
    assert usage(a)[0][0] == task.mm.resident_pages <= 32
    assert errno_of(a.write, "memory.memsw.limit_in_bytes", 64 * PAGE) == errno.EBUSY
    locked = task_of(swap, a, 16, b"x" * (16 * PAGE), is_locked=True)
    assert errno_of(a.write, "memory.limit_in_bytes", 8 * PAGE) == errno.EBUSY
    assert a.memory_limit_in_bytes == 32 * PAGE, "the old limit stays"
    del locked


def test_counts_and_peaks_are_reset_by_a_write(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_limit_in_bytes=16 * PAGE)
    task = task_of(swap, a, 64, b"x" * (64 * PAGE))
    assert a.memory_failcnt > 0
    task.mm.zap(task.first, 64)
    for file in ("memory.failcnt", "memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes"):
        assert int(a.read(file)) > 0
        a.write(file, "0")
        assert a.read(file) == "0\n"


def test_force_empty_reclaims_what_it_can(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    task = task_of(swap, a, 64, b"x" * (64 * PAGE))
    locked = task_of(swap, a, 8, b"x" * (8 * PAGE), is_locked=True)
    a.write("memory.force_empty", "0")
    assert usage(a) == [(8, 72)]
    assert errno_of(a.read, "memory.force_empty") == errno.EINVAL
    assert errno_of(swap.memcg.write, "memory.force_empty", "0") == errno.EINVAL
    del task, locked
    a.remove()


def test_swappiness_is_the_group_s_own_and_root_s_is_that_of_the_machine(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    assert a.memory_swappiness == swap.swappiness == 60
    swap.swappiness = 10
    b = swap.memcg.create("b")
    assert (swap.memcg.memory_swappiness, a.memory_swappiness, b.memory_swappiness) == (10, 60, 10)
    a.memory_swappiness = 200
    swap.memcg.memory_swappiness = 30
    assert (a.memory_swappiness, swap.swappiness) == (200, 30)
    for wrong in ("201", "-1", "x"):
        assert errno_of(a.write, "memory.swappiness", wrong) == errno.EINVAL


def test_swappiness_0_keeps_a_limit_from_swapping_out(swap: sc.Swap) -> None:
    a = swap.memcg.create("a", memory_limit_in_bytes=16 * PAGE, memory_swappiness=0)
    b = swap.memcg.create("b", memory_limit_in_bytes=16 * PAGE)
    swap.memcg.memory_swappiness = 0
    task = task_of(swap, a, 32)
    with pytest.raises(MemoryError):
        task.write(b"x" * (32 * PAGE))
    assert swap.stats()["pswpout"] == 0
    other = task_of(swap, b, 32, b"x" * (32 * PAGE))
    assert other.mm.swapped_pages >= 16, "the value of b counts, not that of root"


def test_oom_control_is_stored_and_no_task_waits() -> None:
    swap = sc.Swap(memcg="v1", switches={"memcg_stock": "off"})
    a = swap.memcg.create("a", memory_limit_in_bytes=8 * PAGE)
    assert a.memory_oom_control == {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 0}
    a.memory_oom_control = 1
    assert a.memory_oom_control["oom_kill_disable"] == 1
    assert errno_of(swap.memcg.write, "memory.oom_control", "1") == errno.EINVAL
    assert errno_of(a.write, "memory.oom_control", "2") == errno.EINVAL
    task = task_of(swap, a, 16)
    with pytest.raises(MemoryError):
        task.write(b"x" * (16 * PAGE))
    assert a.memory_oom_control == {"oom_kill_disable": 1, "under_oom": 0, "oom_kill": 0}
    a.memory_limit_in_bytes = 16 * PAGE
    task.write(b"x" * (16 * PAGE))
    swap.check()


def test_stat_has_the_group_s_own_values_the_limits_and_the_sums(swap: sc.Swap) -> None:
    p = swap.memcg.create("p", memory_limit_in_bytes="8M", memory_memsw_limit_in_bytes="16M")
    a = p.create("a", memory_limit_in_bytes="32M")
    above = task_of(swap, p, 8, b"x" * (8 * PAGE))
    task = task_of(swap, a, 512, b"x" * (512 * PAGE), anon_order=9)
    small = task_of(swap, a, 16, b"x" * (16 * PAGE))
    small.pageout(4)
    small.read(0, 2 * PAGE)
    own, whole = a.memory_stat, p.memory_stat
    assert (own["rss"], own["rss_huge"], own["swap"]) == (526 * PAGE, 512 * PAGE, 2 * PAGE)
    assert (whole["rss"], whole["total_rss"], whole["total_swap"]) == (8 * PAGE, 534 * PAGE, 2 * PAGE)
    assert (own["cache"], own["mapped_file"], own["dirty"], own["writeback"]) == (0, 0, 0, 0)
    assert own["inactive_anon"] + own["active_anon"] == 526 * PAGE
    assert (own["pgfault"], own["pgmajfault"], own["swapcached"]) == (19, 2, 2 * PAGE)
    assert own["pgpgin"] - own["pgpgout"] == 1 + 14, "folios charged and still in memory"
    assert own["hierarchical_memory_limit"] == whole["hierarchical_memory_limit"] == 8 << 20
    assert own["hierarchical_memsw_limit"] == 16 << 20
    del above, task


def test_unevictable_pages_are_counted(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    locked = task_of(swap, a, 8, b"x" * (8 * PAGE), is_locked=True)
    stat = a.memory_stat
    assert (stat["unevictable"], stat["rss"], stat["inactive_anon"] + stat["active_anon"]) == (
        8 * PAGE,
        8 * PAGE,
        0,
    )
    del locked


def test_usage_is_rounded_up_by_pages_charged_ahead_and_stat_is_exact() -> None:
    swap = machine(switches={"memcg_stock": "on"})
    a = swap.memcg.create("a")
    task = task_of(swap, a, 4, b"x" * (4 * PAGE))
    assert a.memory_usage_in_bytes == 64 * PAGE
    assert a.memory_stat["rss"] == 4 * PAGE
    a.write("memory.force_empty", "0")
    assert usage(a) == [(0, 4)]
    del task
    swap.check()


def test_migration_of_a_folio_keeps_its_charge(swap: sc.Swap) -> None:
    a = swap.memcg.create("a")
    folio = swap.folio_migrate(swap.folio(2, b"x", memcg=a))
    assert (folio.memcg, usage(a)) == (a, [(4, 4)])
    del folio
    assert usage(a) == [(0, 0)]


def test_a_group_can_be_removed_with_charges_but_not_with_tasks(swap: sc.Swap) -> None:
    p = swap.memcg.create("p")
    a, b = p.create("a"), p.create("b")
    task = task_of(swap, a, 8, b"x" * (8 * PAGE))
    task.pageout(4)
    assert errno_of(a.remove) == errno.EBUSY
    task.mm.memcg = b
    assert errno_of(p.remove) == errno.EBUSY
    a.remove()
    assert usage(p, a) == [(4, 8), (4, 8)], "the charge stays"
    del task
    assert usage(p) == [(0, 0)]


@pytest.mark.parametrize("store", ["array", "shadow"])
def test_a_page_of_a_removed_group_is_charged_to_the_group_that_swaps_it_in(store: str) -> None:
    """The guide is right with the owner store ``array``: the group that swaps the page in is charged.

    With ``shadow``, the owner store of the swap table series, phase IV, the nearest online ancestor of the
    removed group is charged.
    """
    swap = machine(switches={"owner_store": store})
    p, b = swap.memcg.create("p"), swap.memcg.create("b")
    a = p.create("a")
    task = task_of(swap, a, 4, b"x" * (4 * PAGE))
    task.pageout(4)
    task.mm.memcg = b
    a.remove()
    task.read(0, 4 * PAGE)
    assert usage(p, b) == ([(0, 0), (4, 4)] if store == "array" else [(4, 4), (0, 0)])
    swap.check()
