"""Tests of documented facts of madvise(2), fork(2) and munmap(2) that concern swap."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np
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
    swap.swapon(sc.File.create(tmp_path / "swap", "16M", is_block_device=True))
    swap.page_cluster = 0
    yield swap
    swap.check()


def written(swap: sc.Swap, nr_pages: int, **options: int) -> tuple[sc.Mm, int]:
    """Maps pages and writes the number of each page into the page."""
    mm = swap.mm()
    first = mm.mmap(nr_pages, **options)
    for page in range(nr_pages):
        mm.write((first + page) * PAGE, text_of(page))
    return mm, first


def text_of(page: int) -> bytes:
    """Returns the text of a page: its number."""
    return b"page %05d" % page


def is_whole(mm: sc.Mm, first: int, nr_pages: int) -> bool:
    """Tells whether each page has the content that `written` wrote."""
    return all(mm.read((first + page) * PAGE, 10) == text_of(page) for page in range(nr_pages))


def touch(mm: sc.Mm, first: int, nr_pages: int, *, is_write: bool = False) -> None:
    """Touches each page, as MADV_POPULATE_READ or MADV_POPULATE_WRITE does."""
    pages = np.arange(nr_pages, dtype=np.uint32)
    mm.touch_pages(first, pages, np.full(nr_pages, is_write, np.uint8))


def test_pageout_swaps_anonymous_pages_out_and_frees_their_memory(disk: sc.Swap) -> None:
    mm, first = written(disk, 32)
    assert disk.nr_used_pages == 32
    assert mm.pageout(first, 32)["reclaimed_pages"] == 32
    assert (mm.resident_pages, mm.swapped_pages, disk.nr_used_pages) == (0, 32, 0)
    assert disk.stats()["pswpout"] == 32
    assert is_whole(mm, first, 32)


def test_pageout_takes_pages_however_recently_they_were_used(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    for _ in range(5):
        assert is_whole(mm, first, 8)
    assert mm.pageout(first, 8)["reclaimed_pages"] == 8


def test_pageout_of_a_part_of_a_mapping_leaves_the_rest(disk: sc.Swap) -> None:
    mm, first = written(disk, 16)
    mm.pageout(first + 4, 4)
    assert [mm.swap_entry(first + page) is not None for page in range(16)] == [
        4 <= page < 8 for page in range(16)
    ]


def test_pageout_of_pages_that_are_out_or_were_never_touched_does_nothing(disk: sc.Swap) -> None:
    mm, first = written(disk, 4)
    untouched = mm.mmap(4)
    mm.pageout(first, 4)
    before = disk.stats()
    for start in (first, untouched):
        assert mm.pageout(start, 4)["reclaimed_pages"] == 0
    assert disk.stats() == before
    assert (mm.resident_pages, mm.swapped_pages) == (0, 4)


def test_pageout_without_room_for_the_pages_keeps_them_and_is_no_error() -> None:
    swap = sc.Swap()
    mm, first = written(swap, 4)
    report = mm.pageout(first, 4)
    assert (report["reclaimed_pages"], report["kept_pages"]) == (0, 4)
    assert is_whole(mm, first, 4)
    swap.check()


def test_a_clean_page_goes_out_again_without_a_write(disk: sc.Swap) -> None:
    mm, first = written(disk, 4)
    mm.pageout(first, 4)
    assert is_whole(mm, first, 4)
    mm.write((first + 3) * PAGE, b"PAGE")
    mm.pageout(first, 4)
    assert disk.stats()["pswpout"] == 4 + 1, "only the page that was written to is written again"
    assert mm.read((first + 3) * PAGE, 4) == b"PAGE"
    assert is_whole(mm, first, 3)


def test_pageout_leaves_pages_that_another_task_maps(disk: sc.Swap) -> None:
    mm, first = written(disk, 4)
    child = mm.fork()
    report = mm.pageout(first, 4)
    assert (report["reclaimed_pages"], report["kept_pages"]) == (0, 4)
    assert (mm.resident_pages, child.resident_pages) == (4, 4)
    del child
    assert mm.pageout(first, 4)["reclaimed_pages"] == 4


def test_dontneed_gives_zeros_and_frees_memory_and_slots_at_once(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 4)
    mm.zap(first, 8)
    assert (mm.resident_pages, mm.swapped_pages, disk.nr_used_pages) == (0, 0, 0)
    assert disk.devices[0].inuse_pages == 0
    before = disk.stats()["pswpin"]
    assert mm.read(first * PAGE, 8 * PAGE) == bytes(8 * PAGE)
    assert disk.stats()["pswpin"] == before, "no page is read to be dropped"


def test_dontneed_in_one_task_leaves_the_other_task_its_pages(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 4)
    child = mm.fork()
    child.zap(first, 8)
    assert child.read(first * PAGE, 8 * PAGE) == bytes(8 * PAGE)
    assert disk.devices[0].inuse_pages == 4
    assert is_whole(mm, first, 8)


def test_pages_written_after_dontneed_keep_what_is_written(disk: sc.Swap) -> None:
    mm, first = written(disk, 2)
    mm.zap(first, 2)
    mm.write(first * PAGE, b"new")
    mm.pageout(first, 2)
    assert mm.read(first * PAGE, 4) == b"new\0"


def test_willneed_reads_swapped_pages_ahead_and_the_access_needs_no_read(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 8)
    assert mm.willneed(first, 8) == 8
    assert disk.stats()["pswpin"] == 8
    assert mm.resident_pages == 0, "no page table changes"
    assert is_whole(mm, first, 8)
    assert (disk.stats()["pswpin"], disk.stats()["pgmajfault"]) == (8, 0)


def test_willneed_of_pages_in_memory_or_never_touched_does_nothing(disk: sc.Swap) -> None:
    mm, first = written(disk, 4)
    untouched = mm.mmap(4)
    before = disk.stats()
    assert (mm.willneed(first, 4), mm.willneed(untouched, 4)) == (0, 0)
    assert disk.stats() == before
    assert mm.resident_pages == 4


def test_populate_read_faults_every_page_in_and_changes_none(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 8)
    touch(mm, first, 8)
    assert (mm.resident_pages, mm.swapped_pages) == (8, 0)
    mm.pageout(first, 8)
    assert disk.stats()["pswpout"] == 8, "the pages were not dirtied"
    assert is_whole(mm, first, 8)


def test_populate_of_pages_that_were_never_touched_makes_pages_of_zeros(disk: sc.Swap) -> None:
    mm = disk.mm()
    first = mm.mmap(8)
    touch(mm, first, 8)
    assert mm.resident_pages == 8
    assert mm.read(first * PAGE, 8 * PAGE) == bytes(8 * PAGE)


def test_populate_write_breaks_the_sharing_of_a_fork(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    child = mm.fork()
    assert disk.nr_used_pages == 8
    touch(child, first, 8)
    assert disk.nr_used_pages == 8, "a read shares the pages"
    touch(child, first, 8, is_write=True)
    assert disk.nr_used_pages == 16
    assert is_whole(child, first, 8)


def test_populate_that_fails_reports_the_error_and_has_populated_a_part() -> None:
    swap = sc.Swap()
    storage = sc.Faulty(sc.Ram("1M"))
    swap.swapon(storage)
    mm, first = written(swap, 8)
    mm.pageout(first, 8)
    storage.set_faults(fail_read_in=4)
    with pytest.raises(sc.SwapIOError):
        touch(mm, first, 8)
    assert (mm.resident_pages, mm.swapped_pages) == (3, 5)
    touch(mm, first, 8)
    assert is_whole(mm, first, 8)
    swap.check()


def test_locked_pages_refuse_pageout_and_dontneed_with_einval(disk: sc.Swap) -> None:
    mm, first = written(disk, 4, is_locked=True)
    for call in (mm.pageout, mm.zap):
        with pytest.raises(sc.InvalidArgumentError) as caught:
            call(first, 4)
        assert caught.value.errno == errno.EINVAL
    assert mm.resident_pages == 4
    assert is_whole(mm, first, 4)


def test_a_mapping_without_large_orders_gets_no_large_folio(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    mm, first = written(swap, 32, anon_order=4, orders=1 << 4)
    mm.pageout(first, 32)
    assert swap.stats()["hugepages-64kB.swpout"] == 2
    assert is_whole(mm, first, 32)
    assert swap.stats()["hugepages-64kB.swpin"] == 2
    plain, first = written(swap, 32, anon_order=4)
    plain.pageout(first, 32)
    assert is_whole(plain, first, 32)
    assert swap.stats()["hugepages-64kB.swpin"] == 2, "each page of the other mapping came in alone"


def test_fork_reads_and_writes_nothing_and_shares_the_slots(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 4)
    before = disk.stats()
    child = mm.fork()
    assert disk.stats() == before
    assert (child.resident_pages, child.swapped_pages) == (4, 4)
    for page in range(4):
        entry = mm.swap_entry(first + page)
        assert entry is not None
        assert child.swap_entry(first + page) == entry
        assert disk.swap_count(entry) == 2
    assert is_whole(child, first, 8)


def test_writes_after_a_fork_are_private(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 4)
    child = mm.fork()
    for page in (0, 7):
        child.write((first + page) * PAGE, b"child     ")
    mm.write((first + 1) * PAGE, b"parent    ")
    assert child.read((first + 1) * PAGE, 10) == text_of(1)
    assert mm.read((first + 1) * PAGE, 10) == b"parent    "
    assert mm.read(first * PAGE, 10) == text_of(0)
    assert mm.read((first + 7) * PAGE, 10) == text_of(7)
    assert child.read(first * PAGE, 10) == child.read((first + 7) * PAGE, 10) == b"child     "


def test_the_end_of_one_task_leaves_the_slots_to_the_other(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 8)
    child = mm.fork()
    del mm
    assert disk.devices[0].inuse_pages == 8
    assert is_whole(child, first, 8)
    del child
    assert (disk.devices[0].inuse_pages, disk.nr_used_pages) == (0, 0)


def test_the_end_of_a_mapping_frees_its_slots_without_a_read(disk: sc.Swap) -> None:
    mm, first = written(disk, 8)
    mm.pageout(first, 8)
    del mm
    assert disk.devices[0].inuse_pages == 0
    assert disk.stats()["pswpin"] == 0


def test_the_page_map_has_type_and_offset_of_a_swapped_page(disk: sc.Swap) -> None:
    mm, first = written(disk, 2)
    assert mm.swap_entry(first) is None
    mm.pageout(first, 1)
    entry = mm.swap_entry(first)
    assert entry is not None
    assert entry.type == disk.devices[0].type
    assert disk.devices[0].slots()[entry.offset] == 1
    assert mm.swap_entry(first + 1) is None


def test_vm_rss_and_vm_swap_count_each_page_of_a_task_once(disk: sc.Swap) -> None:
    mm, first = written(disk, 10)
    mm.pageout(first, 6)
    child = mm.fork()
    for task in (mm, child):
        assert (task.resident_pages, task.swapped_pages) == (4, 6)
    assert is_whole(mm, first, 2)
    assert (mm.resident_pages, mm.swapped_pages) == (6, 4)
    assert (child.resident_pages, child.swapped_pages) == (4, 6)
