"""Tests of documented facts of /proc/vmstat and meminfo, mTHP, vm.page-cluster, vm.swappiness and MGLRU."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = sc.PAGE_SIZE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[sc.Swap]:
    """Returns a subsystem with a swap file, which is not synchronous; `Swap.check` runs after the test."""
    swap = sc.Swap()
    swap.swapon(sc.File.create(tmp_path / "swap", "64M", is_block_device=True, is_rotational=False))
    yield swap
    swap.check()


def written(
    swap: sc.Swap, nr_pages: int, memcg: sc.MemCgroup | None = None, **options: int
) -> tuple[sc.Mm, int]:
    """Maps pages and writes the number of each page into the page."""
    mm = swap.mm(memcg=memcg)
    first = mm.mmap(nr_pages, **options)
    for page in range(nr_pages):
        mm.write((first + page) * PAGE, b"page %05d" % page)
    return mm, first


def noise(nr_pages: int) -> bytes:
    """Returns pages that no algorithm compresses."""
    return random.Random(1).randbytes(nr_pages * PAGE)


def grown(swap: sc.Swap, before: dict[str, int]) -> dict[str, int]:
    """Returns the counters that differ from ``before``, each with its growth."""
    now = swap.stats()
    return {name: now[name] - before[name] for name in now if now[name] != before[name]}


def test_pswpout_and_pswpin_count_pages_of_folios_of_every_size(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    entries = [swap.swap_out(swap.folio(order, b"x")) for order in (0, 2, 4, 9)]
    assert swap.stats()["pswpout"] == 1 + 4 + 16 + 512
    for entry in entries:
        swap.swap_in(entry)
    assert swap.stats()["pswpin"] == 1 + 4 + 16 + 512


def test_pages_of_zeros_are_counted_apart_from_those_that_are_written(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    entries = [swap.swap_out(swap.folio(order)) for order in (0, 4)]
    for entry in entries:
        swap.swap_in(entry)
    stats = swap.stats()
    assert (stats["swpout_zero"], stats["swpin_zero"]) == (17, 17)
    assert (stats["pswpout"], stats["pswpin"], stats["hugepages-64kB.swpout"]) == (0, 0, 0)


def test_pages_in_zswap_are_counted_apart_from_those_that_are_written() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("16M"))
    entry = swap.swap_out(swap.folio(data=b"x"))
    stats = swap.stats()
    assert (stats["zswpout"], stats["pswpout"]) == (1, 0)
    swap.swap_in(entry)
    stats = swap.stats()
    assert (stats["zswpin"], stats["pswpin"]) == (1, 0)
    swap.check()


def test_zswpwb_counts_pages_that_zswap_writes_to_a_device() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("16M"))
    entry = swap.swap_out(swap.folio(data=b"x"))
    swap.zswap.writeback(entry)
    stats = swap.stats()
    assert (stats["zswpwb"], stats["pswpout"]) == (1, 1)
    assert swap.swap_in(entry).read(0, 1) == b"x"
    swap.check()


def test_zswap_and_zswapped_are_the_pools_and_what_is_in_them() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("16M"))
    for number in range(100):
        swap.swap_out(swap.folio(data=b"text %d " % number * 300))
    stats = swap.stats()
    assert stats["Zswapped"] == 100 * PAGE
    assert 0 < stats["Zswap"] == swap.zswap.stats()["pool_total_size"] < stats["Zswapped"]
    swap.check()


def test_pgmajfault_counts_faults_that_read_and_not_the_pages(disk: sc.Swap) -> None:
    mm, first = written(disk, 64)
    assert disk.stats()["pgmajfault"] == 0, "a first touch reads nothing"
    mm.pageout(first, 64)
    mm.read(first * PAGE, 1)
    stats = disk.stats()
    assert stats["pgmajfault"] == 1
    assert stats["pswpin"] == 1 + stats["swap_ra"] > 1


def test_swap_ra_counts_pages_read_ahead_and_swap_ra_hit_those_used(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 8)
    mm.read(first * PAGE, 1)
    ahead = disk.stats()["swap_ra"]
    assert (ahead > 0, disk.stats()["swap_ra_hit"]) == (True, 0)
    mm.read((first + 1) * PAGE, 1)
    assert disk.stats()["swap_ra_hit"] == 1
    mm.read((first + 1) * PAGE, 1)
    assert disk.stats()["swap_ra_hit"] == 1, "a page is used once"


def test_swap_cached_pages_are_in_memory_and_in_a_slot(disk: sc.Swap) -> None:
    disk.page_cluster = 0
    mm, first = written(disk, 8)
    mm.pageout(first, 8)
    assert disk.stats()["nr_swapcached"] == 0
    mm.read(first * PAGE, 8 * PAGE)
    assert (disk.stats()["nr_swapcached"], disk.devices[0].inuse_pages) == (8, 8)
    mm.write(first * PAGE, b"x")
    before = disk.stats()
    mm.pageout(first, 8)
    assert grown(disk, before)["pswpout"] == 1, "the other pages are in the swap file already"


def test_swap_total_and_swap_free_are_the_sums_over_all_devices(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram(pages=1000), priority=2)
    other = swap.swapon(sc.Ram(pages=3000), priority=1)
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (999 + 2999, 999 + 2999)
    entries = [swap.swap_out(swap.folio(data=b"x")) for _ in range(7)]
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (3998, 3991)
    swap.swapoff(other)
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (999, 992)
    assert swap.stats()["total_swap_pages"] == 999
    for entry in entries:
        swap.free(entry)
    assert swap.nr_swap_pages == 999


def test_thp_swpout_counts_huge_pages_that_go_out_in_one_piece(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    swap.swap_out(swap.folio(9, b"x"))
    swap.swap_out(swap.folio(8, b"x"))
    stats = swap.stats()
    assert (stats["thp_swpout"], stats["thp_swpout_fallback"]) == (1, 0)
    assert (stats["hugepages-2048kB.swpout"], stats["hugepages-1024kB.swpout"]) == (1, 1)


def test_thp_swpout_fallback_counts_huge_pages_that_are_split_for_lack_of_a_run(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram(pages=1000))
    swap.swap_out(swap.folio(data=b"x"))
    mm, first = written(swap, 512, anon_order=9)
    assert mm.pageout(first, 512)["reclaimed_pages"] == 512
    stats = swap.stats()
    assert (stats["thp_swpout"], stats["thp_swpout_fallback"]) == (0, 1)
    assert (stats["hugepages-2048kB.swpout"], stats["hugepages-2048kB.swpout_fallback"]) == (0, 1)
    assert mm.read((first + 511) * PAGE, 10) == b"page 00511"


@pytest.mark.parametrize("order", range(1, 10))
def test_each_size_has_its_own_counters_in_folios(swap: sc.Swap, order: int) -> None:
    swap.swapon(sc.Ram("16M"))
    before = swap.stats()
    entries = [swap.swap_out(swap.folio(order, b"x")) for _ in range(2)]
    name = f"hugepages-{4 << order}kB"
    changes = grown(swap, before)
    assert {key: value for key, value in changes.items() if "hugepages" in key} == {f"{name}.swpout": 2}
    swap.swap_in(entries[0])
    assert swap.stats()[f"{name}.swpin"] == 1


def test_swpout_fallback_counts_a_split_before_the_swap_out(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram(pages=12))
    mm, first = written(swap, 8, anon_order=3)
    assert mm.pageout(first, 8)["split_folios"] == 1
    stats = swap.stats()
    assert (stats["hugepages-32kB.swpout"], stats["hugepages-32kB.swpout_fallback"]) == (0, 1)
    assert stats["pswpout"] == 8


def test_zswpout_counts_large_folios_that_zswap_takes_whole() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("16M"))
    swap.swap_out(swap.folio(4, b"text " * 10_000))
    stats = swap.stats()
    assert (stats["hugepages-64kB.zswpout"], stats["hugepages-64kB.swpout"]) == (1, 0)
    assert (stats["zswpout"], stats["pswpout"]) == (16, 0)
    swap.check()


def test_swpin_counts_large_folios_that_come_in_in_one_piece(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    mm, first = written(swap, 16, orders=1 << 4, anon_order=4)
    mm.pageout(first, 16)
    mm.read((first + 9) * PAGE, 1)
    stats = swap.stats()
    assert (stats["hugepages-64kB.swpin"], stats["pswpin"], stats["pgmajfault"]) == (1, 16, 1)
    assert stats["hugepages-64kB.swpin_fallback"] == 0


def test_a_swap_in_from_zswap_is_in_no_counter_of_large_swap_ins() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("16M"))
    mm, first = written(swap, 16, orders=1 << 4, anon_order=4)
    mm.pageout(first, 16)
    assert mm.read((first + 3) * PAGE, 10) == b"page 00003"
    assert swap.stats()["hugepages-64kB.swpin"] == 0
    swap.check()


def test_swpin_fallback_charge_counts_charges_that_fail_after_the_allocation() -> None:
    swap = sc.Swap(switches={"memcg_stock": "off"})
    swap.swapon(sc.Ram("16M"))
    group = swap.memcg.create("A")
    mm, first = written(swap, 16, group, orders=1 << 4, anon_order=4)
    mm.pageout(first, 16)
    group.write("memory.max", str(8 * PAGE))
    assert mm.read((first + 3) * PAGE, 10) == b"page 00003"
    stats = swap.stats()
    assert stats["hugepages-64kB.swpin_fallback"] == stats["hugepages-64kB.swpin_fallback_charge"] == 1
    assert (stats["hugepages-64kB.swpin"], stats["pswpin"]) == (0, 1)
    swap.check()


def test_swpin_fallback_counts_allocations_that_fail() -> None:
    swap = sc.Swap(memory_pages=512, memcg="disabled")
    swap.swapon(sc.Ram("16M"))
    mm, first = written(swap, 16, orders=1 << 4, anon_order=4)
    mm.pageout(first, 16)
    held = [swap.folio() for _ in range(512 - 8)]
    assert mm.read((first + 3) * PAGE, 10) == b"page 00003"
    stats = swap.stats()
    assert stats["hugepages-64kB.swpin_fallback"] == 1
    assert stats["hugepages-64kB.swpin_fallback_charge"] == 0
    del held
    swap.check()


def test_anon_fault_alloc_counts_large_folios_of_first_touches(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(40, anon_order=4)
    before = swap.stats()
    mm.write(first * PAGE, b"x" * (40 * PAGE))
    changes = grown(swap, before)
    assert changes == {
        "hugepages-64kB.anon_fault_alloc": 2,
        "hugepages-64kB.nr_anon": 2,
        "hugepages-32kB.anon_fault_alloc": 1,
        "hugepages-32kB.nr_anon": 1,
    }
    swap.folio(4)
    child = mm.fork()
    child.write(first * PAGE, b"y" * PAGE)
    assert grown(swap, before) == changes, "a copy, and a folio without a fault, count as nothing"


def test_anon_fault_fallback_counts_first_touches_without_memory_for_a_large_folio() -> None:
    swap = sc.Swap(memory_pages=512)
    held = [swap.folio() for _ in range(512 - 8)]
    mm = swap.mm()
    first = mm.mmap(16, anon_order=4)
    mm.write(first * PAGE, b"x")
    stats = swap.stats()
    assert (stats["hugepages-64kB.anon_fault_fallback"], stats["hugepages-64kB.anon_fault_alloc"]) == (1, 0)
    assert stats["hugepages-64kB.anon_fault_fallback_charge"] == 0
    nr_pages = sum(
        (4 << order) // 4 * stats[f"hugepages-{4 << order}kB.anon_fault_alloc"] for order in range(1, 10)
    )
    assert mm.resident_pages == max(nr_pages, 1)
    del held
    swap.check()


def test_anon_fault_fallback_charge_counts_first_touches_whose_charge_is_refused() -> None:
    swap = sc.Swap(switches={"memcg_stock": "off"})
    group = swap.memcg.create("A", memory_max=str(8 * PAGE))
    mm = swap.mm(memcg=group)
    first = mm.mmap(16, anon_order=4)
    mm.write(first * PAGE, b"x")
    stats = swap.stats()
    for name in ("anon_fault_fallback", "anon_fault_fallback_charge"):
        assert stats[f"hugepages-64kB.{name}"] == 1
        assert stats[f"hugepages-32kB.{name}"] == 0
    assert (stats["hugepages-64kB.anon_fault_alloc"], stats["hugepages-32kB.anon_fault_alloc"]) == (0, 1)
    assert mm.resident_pages == 8
    swap.check()


def test_split_counts_large_folios_by_the_size_that_is_split(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    before = swap.stats()
    parts = swap.folio_split(swap.folio(4, b"x"), 2)
    swap.folio_split(parts[0])
    changes = grown(swap, before)
    assert changes == {"hugepages-64kB.split": 1, "hugepages-16kB.split": 1}
    mm, first = written(swap, 16, anon_order=4)
    assert mm.pageout(first, 10)["split_folios"] == 1
    assert swap.stats()["hugepages-64kB.split"] == 2


def test_split_failed_counts_folios_that_another_user_keeps_whole(swap: sc.Swap) -> None:
    folio = swap.folio(4, b"x")
    with memoryview(folio), pytest.raises(sc.SwapBusyError):
        swap.folio_split(folio)
    assert (swap.stats()["hugepages-64kB.split"], swap.stats()["hugepages-64kB.split_failed"]) == (0, 1)
    with pytest.raises(sc.InvalidArgumentError):
        swap.folio_split(folio, 4)
    assert swap.stats()["hugepages-64kB.split_failed"] == 1, "bad arguments are no split"
    swap.folio_split(folio)
    assert (swap.stats()["hugepages-64kB.split"], swap.stats()["hugepages-64kB.split_failed"]) == (1, 1)


def test_refaults_of_evicted_pages_are_counted(disk: sc.Swap) -> None:
    disk.page_cluster = 0
    mm, first = written(disk, 16)
    mm.pageout(first, 16)
    assert disk.stats()["workingset_refault_anon"] == 0
    mm.read(first * PAGE, 10 * PAGE)
    assert disk.stats()["workingset_refault_anon"] == 10


def test_pgsteal_counts_pages_reclaimed_and_pgscan_those_looked_at() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("16M"))
    mm, _ = written(swap, 1000)
    stats = swap.stats()
    assert stats["pgsteal"] >= 1000 - 512
    assert stats["pgscan"] >= stats["pgsteal"]
    assert stats["pgsteal_direct"] == stats["pgsteal"]
    assert mm.resident_pages + mm.swapped_pages == 1000
    swap.check()


@pytest.mark.parametrize(("page_cluster", "window_pages"), [(0, 1), (1, 2), (2, 4), (3, 8)])
def test_page_cluster_is_the_logarithm_of_the_window(
    disk: sc.Swap, page_cluster: int, window_pages: int
) -> None:
    disk.page_cluster = page_cluster
    mm, first = written(disk, 64)
    mm.pageout(first, 64)
    mm.read((first + 32) * PAGE, 1)
    assert disk.stats()["pswpin"] == window_pages


def test_page_cluster_is_3_by_default(swap: sc.Swap) -> None:
    assert swap.page_cluster == 3
    for wrong in (-1, 32):
        with pytest.raises(sc.InvalidArgumentError):
            swap.page_cluster = wrong
    assert swap.page_cluster == 3


def test_page_cluster_0_turns_readahead_off(disk: sc.Swap) -> None:
    disk.page_cluster = 0
    mm, first = written(disk, 64)
    mm.pageout(first, 64)
    for page in range(64):
        mm.read((first + page) * PAGE, 1)
    stats = disk.stats()
    assert (stats["swap_ra"], stats["pswpin"], stats["pgmajfault"]) == (0, 64, 64)


def test_on_a_disk_that_rotates_neighbours_are_those_of_the_swap_area(tmp_path: Path) -> None:
    swap = sc.Swap()
    swap.swapon(sc.File.create(tmp_path / "swap", "16M", is_block_device=True, is_rotational=True))
    one, first = written(swap, 64)
    other, start = written(swap, 64)
    for page in range(64):
        one.pageout(first + page, 1)
        other.pageout(start + page, 1)
    one.read((first + 32) * PAGE, 1)
    assert swap.stats()["pswpin"] == 8
    before = swap.stats()
    entry = one.swap_entry(first + 33)
    other.read((start + 32) * PAGE, 1)
    assert entry is not None
    assert "pswpin" not in grown(swap, before), "the page of the other task went out next to the first page"
    swap.check()


def test_swappiness_is_60_by_default_and_at_most_200(swap: sc.Swap) -> None:
    assert swap.swappiness == 60
    for value in (0, 100, 200):
        swap.swappiness = value
        assert swap.swappiness == value
    for wrong in (-1, 201):
        with pytest.raises(sc.InvalidArgumentError):
            swap.swappiness = wrong
    assert swap.swappiness == 200


def test_at_swappiness_0_a_group_swaps_nothing_out() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ram("16M"))
    group = swap.memcg.create("A")
    written(swap, 64, group)
    mm, _ = written(swap, 64, group)
    with pytest.raises(OSError, match=r"\w"):
        group.write("memory.reclaim", f"{32 * PAGE} swappiness=0")
    assert (mm.swapped_pages, swap.stats()["pswpout"]) == (0, 0)
    group.write("memory.reclaim", f"{32 * PAGE} swappiness=1")
    assert swap.stats()["pswpout"] >= 32
    swap.check()


def test_mglru_is_chosen_for_a_machine_and_off_by_default() -> None:
    assert sc.Swap(workingset="mglru").nr_cpus == 1
    with pytest.raises(sc.InvalidArgumentError, match="mglru"):
        sc.Swap(workingset="lru_gen")


def test_pages_used_again_are_activated_and_active_pages_age() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("16M"))
    mm = swap.mm()
    first = mm.mmap(3000)
    mm.write(first * PAGE, b"x" * (300 * PAGE))
    for start in range(400, 1600, 30):
        mm.read(first * PAGE, 300 * PAGE)
        mm.write((first + start) * PAGE, b"x" * (30 * PAGE))
    stats, stat = swap.stats(), swap.memcg.memory_stat
    assert stats["pgactivate"] >= 300, "the pages that every round uses became active"
    assert stat["active_anon"] > 100 * PAGE
    assert stats["pgrefill"] >= stats["pgdeactivate"] > 0, (
        "active pages are looked at when inactive pages are few"
    )
    assert stat["active_anon"] + stat["inactive_anon"] == stat["anon"]
    swap.check()


def test_machine_figures_of_memory_are_those_of_the_root_group(disk: sc.Swap) -> None:
    mm, first = written(disk, 10)
    locked, _ = written(disk, 4, is_locked=True)
    mm.pageout(first, 3)
    stat = disk.memcg.memory_stat
    assert stat["anon"] == (mm.resident_pages + locked.resident_pages) * PAGE == 11 * PAGE
    assert stat["active_anon"] + stat["inactive_anon"] == 7 * PAGE
    assert stat["unevictable"] == 4 * PAGE
