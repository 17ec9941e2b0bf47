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
    # The last window of the parent was full of hits, so the window of the child has 8 pages from its first fault on.
    after = disk.stats()
    assert (after["swap_ra"] - before["swap_ra"], after["pgmajfault"] - before["pgmajfault"]) == (7, 1)
    before = after
    read(mm, first, range(64, 72))
    assert disk.stats()["pgmajfault"] == before["pgmajfault"], "the child has read the pages for the parent too"
    disk.check()
