"""A write to a page that is in the swap cache copies the page and gives the cached page up."""

from __future__ import annotations

import swapcore as sc


def test_a_copied_page_leaves_no_slot_behind(swap: sc.Swap) -> None:
    # A storage that is slower than memory keeps a page that was read in the swap cache.
    device = swap.swapon(sc.Faulty(sc.Ram("4M")))
    mm = swap.mm()
    first = mm.mmap(1)
    mm.write(first * sc.PAGE_SIZE, b"x" * sc.PAGE_SIZE)
    mm.pageout(first, 1)
    child = mm.fork()
    child.read(first * sc.PAGE_SIZE, 1)
    mm.zap(first, 1)
    assert device.inuse_pages == 1, "the swap cache holds the slot"
    child.write(first * sc.PAGE_SIZE, b"y")
    assert (device.inuse_pages, swap.nr_used_pages) == (0, 1)
    assert child.read(first * sc.PAGE_SIZE, 2) == b"yx"
