"""Readahead of swap faults on a device that is not as fast as memory, with the values of Linux 6.18."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import swapcore as sc

PAGE = sc.PAGE_SIZE
NR_PAGES = 256


@pytest.fixture
def disk(tmp_path: Path) -> sc.Swap:
    swap = sc.Swap(profile="v618")
    swap.swapon(sc.File.create(tmp_path / "swap", "16M", is_block_device=True))
    return swap


def swapped(swap: sc.Swap) -> tuple[sc.Mm, int]:
    """Returns an address space all of whose pages are swapped out, and its first page."""
    mm = swap.mm()
    first = mm.mmap(NR_PAGES)
    for page in range(NR_PAGES):
        mm.write((first + page) * PAGE, b"page %3d" % page)
    mm.pageout(first, NR_PAGES)
    return mm, first


def read(mm: sc.Mm, first: int, pages: Iterable[int]) -> None:
    for page in pages:
        assert mm.read((first + page) * PAGE, 8) == b"page %3d" % page


def test_a_child_goes_on_with_the_window_of_its_parent(disk: sc.Swap) -> None:
    mm, first = swapped(disk)
    read(mm, first, range(64))
    before = disk.stats()
    child = mm.fork()
    read(child, first, range(64, 72))
    # The last window of the parent was full of hits, so the window of the child has 8 pages.
    after = disk.stats()
    assert (after["swap_ra"] - before["swap_ra"], after["pgmajfault"] - before["pgmajfault"]) == (7, 1)
    before = after
    read(mm, first, range(64, 72))
    assert disk.stats()["pgmajfault"] == before["pgmajfault"], (
        "the child has read the pages for the parent too"
    )
    disk.check()


def cached(swap: sc.Swap, mm: sc.Mm, first: int) -> list[int]:
    """Returns the swapped-out pages that are in the swap cache."""
    entries = {page: mm.swap_entry(first + page) for page in range(NR_PAGES)}
    return [page for page, entry in entries.items() if entry is not None and swap.lookup(entry)["pfn"]]


@pytest.mark.parametrize("vma_ra_enabled", [True, False])
def test_vma_ra_enabled_chooses_the_neighbours_that_are_read_ahead(
    disk: sc.Swap, vma_ra_enabled: bool
) -> None:
    assert disk.vma_ra_enabled
    disk.vma_ra_enabled = vma_ra_enabled
    mm, first = swapped(disk)
    read(mm, first, [32])
    # Slot 0 has the header, so page 32 is in slot 33. The window of the page starts 3 pages before the page.
    # The window of the slot is the aligned block of slots from slot 32 to slot 39.
    window = [29, 30, 31, 33, 34, 35, 36] if vma_ra_enabled else [31, 33, 34, 35, 36, 37, 38]
    assert cached(disk, mm, first) == window
    read(mm, first, window)
    assert disk.stats()["swap_ra_hit"] == 7
    disk.check()


def test_page_cluster_0_records_the_page_of_a_fault_and_keeps_the_hits(disk: sc.Swap) -> None:
    mm, first = swapped(disk)
    disk.page_cluster = 1
    read(mm, first, [0, 1])
    read(mm, first, range(2, 8))
    disk.page_cluster = 0
    read(mm, first, range(8, 20))
    disk.page_cluster = 4
    before = disk.stats()
    read(mm, first, range(20, 100))
    after = disk.stats()
    # Page 19 is the last fault and page 8 was a hit, so the windows are pages 20 to 23, 24 to 31, and then 16
    # pages each.
    grown = {name: after[name] - before[name] for name in ("pgmajfault", "swap_ra", "swap_ra_hit", "pswpin")}
    assert grown == {"pgmajfault": 7, "swap_ra": 85, "swap_ra_hit": 73, "pswpin": 92}
    disk.check()


@pytest.mark.parametrize("word", ["written", "kept"])
def test_a_page_that_was_read_ahead_from_zswap_and_never_used(tmp_path: Path, word: str) -> None:
    swap = sc.Swap(profile="v618", memcg="v1", zswap="lz4", switches={"never_mapped_dirty": word})
    swap.swapon(sc.File.create(tmp_path / "swap", "16M", is_block_device=True))
    group = swap.memcg.create("a")
    mm = swap.mm(group)
    first = mm.mmap(64)
    for page in range(64):
        mm.write((first + page) * PAGE, b"page %3d" % page)
    mm.pageout(first, 64)
    read(mm, first, [32])
    # zswap keeps no copy of a page that was read, so the seven pages that were read ahead are dirty.
    assert (swap.stats()["swap_ra"], swap.zswap.stats()["stored_pages"]) == (7, 56)
    group.write("memory.force_empty", 0)
    nr_kept = 7 if word == "kept" else 0
    assert swap.stats()["nr_swapcached"] == nr_kept
    assert swap.zswap.stats()["stored_pages"] == 64 - nr_kept
    read(mm, first, range(64))
    group.write("memory.force_empty", 0)
    assert swap.stats()["nr_swapcached"] == 0, "a page that was used is reclaimed"
    read(mm, first, range(64))
    swap.check()
