"""Facts about first touches of large folios: their orders, reclaim for them, and the page map."""

from __future__ import annotations

import numpy as np
import pytest
import swapcore as sc

PRESENT, SWAPPED = np.uint64(63), np.uint64(62)

ORDERS_2_AND_4 = 1 << 2 | 1 << 4


def group_of(swap: sc.Swap, limit_pages: int) -> sc.MemCgroup:
    return swap.memcg.create("a", memory_max=limit_pages * sc.PAGE_SIZE)


def large(swap: sc.Swap, name: str) -> dict[int, int]:
    """Returns the counts of a statistic of large folios by order, without orders whose count is 0."""
    sizes = {order: f"hugepages-{4 << order}kB.{name}" for order in range(1, 10)}
    return {order: swap.stats()[key] for order, key in sizes.items() if swap.stats()[key]}


def test_a_first_touch_takes_the_largest_order_of_the_mask_that_fits(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(40, anon_orders=ORDERS_2_AND_4)
    mm.touch_pages(first, np.arange(40, dtype=np.uint32), np.ones(40, np.uint8))
    # Pages 32 to 39 do not fill a folio of 16 pages, and order 3 is not in the mask.
    assert large(swap, "anon_fault_alloc") == {4: 2, 2: 2}
    assert large(swap, "anon_fault_fallback") == {}
    assert mm.resident_pages == 40


def test_a_page_in_memory_leaves_room_for_smaller_folios_only(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(16, anon_orders=ORDERS_2_AND_4)
    mm.write(first * sc.PAGE_SIZE, b"x")
    mm.zap(first, 15)
    mm.write(first * sc.PAGE_SIZE, b"x")
    assert large(swap, "anon_fault_alloc") == {4: 1, 2: 1}
    assert mm.resident_pages == 5


def test_anon_order_tries_every_smaller_order(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(8, anon_order=4)
    mm.write(first * sc.PAGE_SIZE, b"x")
    assert large(swap, "anon_fault_alloc") == {3: 1}


def charged(swap: sc.Swap, *, is_hugepage: bool) -> sc.Mm:
    """Fills a group of 40 pages up to 32 pages, then touches 16 pages as one folio."""
    swap.swapon(sc.Ram("4M"))
    mm = swap.mm(group_of(swap, 40))
    first = mm.mmap(64, anon_orders=1 << 4, is_hugepage=is_hugepage)
    for page in (0, 16, 32):
        mm.write((first + page) * sc.PAGE_SIZE, b"x")
    return mm


@pytest.mark.parametrize(
    ("defrag", "is_hugepage", "reclaims"),
    [
        ("always", True, True),
        ("always", False, True),
        ("defer", True, False),
        ("defer+madvise", True, True),
        ("defer+madvise", False, False),
        ("madvise", True, True),
        ("madvise", False, False),
        ("never", True, False),
    ],
)
def test_thp_defrag_says_which_mappings_reclaim_for_large_folios(
    defrag: str, is_hugepage: bool, reclaims: bool
) -> None:
    swap = sc.Swap(switches={"memcg_stock": "off"})
    assert swap.thp_defrag == "madvise"
    swap.thp_defrag = defrag
    mm = charged(swap, is_hugepage=is_hugepage)
    assert large(swap, "anon_fault_alloc") == {4: 3 if reclaims else 2}
    assert large(swap, "anon_fault_fallback_charge") == ({} if reclaims else {4: 1})
    assert (mm.swapped_pages > 0) == reclaims
    swap.check()


def test_thp_defrag_refuses_an_unknown_word(swap: sc.Swap) -> None:
    with pytest.raises(sc.InvalidArgumentError, match='thp_defrag "sometimes" is not one of always, defer'):
        swap.thp_defrag = "sometimes"
    assert swap.thp_defrag == "madvise"


def test_a_swap_in_reclaims_for_a_large_folio_as_a_first_touch_does() -> None:
    falls_back = {}
    for defrag in ("madvise", "never"):
        swap = sc.Swap(switches={"memcg_stock": "off"}, profile="v618")
        swap.swapon(sc.Zram("4M"))
        swap.thp_defrag = defrag
        mm = swap.mm(group_of(swap, 40))
        first = mm.mmap(48, orders=1 << 4, anon_orders=1 << 4, is_hugepage=True)
        mm.write(first * sc.PAGE_SIZE, b"x")
        mm.pageout(first, 16)
        other = mm.mmap(32, is_hugepage=True)
        mm.touch_pages(other, np.arange(32, dtype=np.uint32), np.ones(32, np.uint8))
        mm.read(first * sc.PAGE_SIZE, 1)
        falls_back[defrag] = large(swap, "swpin_fallback_charge")
        swap.check()
    assert falls_back == {"madvise": {}, "never": {4: 1}}


def test_pagemap_has_a_word_for_each_page(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Ram("4M"))
    mm = swap.mm()
    first = mm.mmap(600)
    mm.write(first * sc.PAGE_SIZE, b"x" * (3 * sc.PAGE_SIZE))
    mm.pageout(first + 1, 1)
    words = np.asarray(mm.pagemap(first, 600))
    assert words.dtype == np.uint64
    assert np.flatnonzero(words >> PRESENT).tolist() == [0, 2]
    assert np.flatnonzero(words >> SWAPPED & np.uint64(1)).tolist() == [1]
    entry = mm.swap_entry(first + 1)
    assert entry is not None
    assert int(words[1]) & ~(1 << 62) == entry.offset << 5 | device.type
    assert words[3:].any() == np.False_
    with pytest.raises(sc.SwapError, match="not mapped"):
        mm.pagemap(first, 601)
