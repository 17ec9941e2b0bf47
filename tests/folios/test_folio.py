"""Facts about `Folio`: data, views without a copy, references, split, migration, and lack of memory."""

from __future__ import annotations

import array
import errno
import gc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = sc.PAGE_SIZE


@pytest.fixture
def swap(swap: sc.Swap) -> sc.Swap:
    swap.swapon(sc.Ram("64M"))
    return swap


def test_new_folio_is_zeros_dirty_and_nobody_elses(swap: sc.Swap) -> None:
    folio = swap.folio(order=3)
    assert (folio.order, folio.nr_pages, len(folio)) == (3, 8, 8 * PAGE)
    assert folio.read() == bytes(8 * PAGE)
    assert (folio.is_dirty, folio.is_uptodate, folio.is_locked, folio.is_writeback, folio.is_mapped) == (
        True,
        True,
        False,
        False,
        False,
    )
    assert (folio.refs, folio.mapcount, folio.entry, folio.pfn, folio.is_resident) == (1, 0, None, None, True)
    assert swap.nr_used_pages == 8


@pytest.mark.parametrize(
    "data",
    [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4], array.array("B", b"abc")],
    ids=lambda data: type(data).__name__,
)
def test_data_comes_first_and_zeros_behind_it(swap: sc.Swap, data: bytes) -> None:
    assert swap.folio(data=data).read() == b"abc" + bytes(PAGE - 3)


def test_data_of_wider_items_is_taken_as_it_lies_in_memory(swap: sc.Swap) -> None:
    words = np.arange(PAGE // 8, dtype="u8")
    assert swap.folio(data=words).read() == words.tobytes()


def test_more_data_than_pages_is_refused_and_takes_no_memory(swap: sc.Swap) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"4097.*4096"):
        swap.folio(data=bytes(PAGE + 1))
    assert swap.nr_used_pages == 0


def test_read_and_write_are_by_bytes(swap: sc.Swap) -> None:
    folio = swap.folio(order=1)
    folio.write(b"hello", PAGE - 2)
    assert folio.read(PAGE - 3, 7) == b"\0hello\0"
    folio.write(b"", 2 * PAGE)
    assert folio.read(2 * PAGE) == b""


@pytest.mark.parametrize(
    "call",
    [
        lambda folio: folio.read(2, PAGE - 1),
        lambda folio: folio.read(PAGE + 1),
        lambda folio: folio.read(2**64 - 1, 2),
        lambda folio: folio.write(b"xy", PAGE - 1),
    ],
)
def test_bytes_beyond_the_folio_are_refused(swap: sc.Swap, call: Callable[[sc.Folio], object]) -> None:
    folio = swap.folio(data=b"a" * PAGE)
    with pytest.raises(sc.InvalidArgumentError, match="4096"):
        call(folio)
    assert folio.read() == b"a" * PAGE


def test_write_dirties_what_swap_in_made_clean(swap: sc.Swap) -> None:
    swap.swapon(sc.Faulty(sc.Ram("1M")), priority=9)
    folio = swap.swap_in(swap.swap_out(swap.folio(data=b"a")))
    folio.is_dirty = False
    folio.write(b"b")
    assert folio.is_dirty


def test_numpy_view_is_the_memory_itself(swap: sc.Swap) -> None:
    folio = swap.folio(order=2)
    words = np.frombuffer(folio, dtype="u4")
    assert words.size == 4096
    assert words.flags.writeable
    words[1024] = 0x01020304
    other = np.frombuffer(folio, dtype="u4")
    assert np.shares_memory(words, other)
    assert other[1024] == 0x01020304
    del words, other
    assert np.frombuffer(folio.read(PAGE, 4), dtype="u4")[0] == 0x01020304


def test_a_view_keeps_the_folio_in_memory(swap: sc.Swap) -> None:
    folio = swap.folio(data=b"kept")
    view = memoryview(folio)
    assert folio.refs == 2
    with pytest.raises(sc.SwapBusyError) as caught:
        swap.swap_out(folio)
    assert caught.value.errno == errno.EBUSY
    assert folio.is_resident
    assert bytes(view[:4]) == b"kept"
    swap.check()
    assert folio.refs == 4, "handle, view, and from the attempt the swap cache and the mapping"
    view.release()
    assert folio.refs == 3
    entry = swap.swap_out(folio)
    assert swap.swap_in(entry).read(0, 4) == b"kept"


@pytest.mark.parametrize("call", [lambda folio: folio.read(), lambda folio: folio.write(b"x")])
def test_core_keeps_its_hands_off_while_a_view_is_out(
    swap: sc.Swap, call: Callable[[sc.Folio], object]
) -> None:
    folio = swap.folio()
    with memoryview(folio), pytest.raises(sc.SwapBusyError, match="1 view"):
        call(folio)
    call(folio)


def test_views_outlive_the_handle(swap: sc.Swap) -> None:
    view = memoryview(swap.folio(data=b"alive"))
    gc.collect()
    assert swap.nr_used_pages == 1
    assert bytes(view[:5]) == b"alive"
    view.release()
    assert swap.nr_used_pages == 0


def test_views_outlive_the_subsystem() -> None:
    words = np.frombuffer(sc.Swap().folio(order=9, data=b"\1" * 4096), dtype="u1")
    gc.collect()
    assert int(words.sum()) == 4096


def test_dropped_handle_frees_the_memory(swap: sc.Swap) -> None:
    folio = swap.folio(order=9)
    assert swap.nr_used_pages == 512
    del folio
    assert swap.nr_used_pages == 0


def test_references_are_cache_mappings_handles_and_views(swap: sc.Swap) -> None:
    folio = swap.folio(order=2)
    assert folio.refs == 1
    folio.is_mapped = True
    assert (folio.refs, folio.mapcount) == (5, 4)
    entry = swap.folio_alloc_swap(folio)
    assert folio.refs == 9
    again = swap.folio_at(entry)
    assert again is not None
    assert folio.refs == 10
    with memoryview(folio):
        assert again.refs == 11
    del again
    # Unmapping the folio frees its slots, because only the swap cache holds them.
    folio.is_mapped = False
    assert (folio.refs, folio.mapcount, folio.entry) == (1, 0, None)


def test_setting_mapped_twice_maps_once(swap: sc.Swap) -> None:
    folio = swap.folio(order=1)
    for mapped in (True, True, False, False):
        folio.is_mapped = mapped
        assert folio.mapcount == 2 * mapped


def test_two_handles_of_one_folio_are_equal(swap: sc.Swap) -> None:
    folio, other = swap.folio(), swap.folio()
    handle = swap.folio_at(swap.folio_alloc_swap(folio))
    assert handle == folio
    assert hash(handle) == hash(folio)
    assert folio != other
    assert folio != "folio"
    assert {folio: 1}[handle] == 1


def test_second_handle_keeps_the_folio_in_memory(swap: sc.Swap) -> None:
    folio = swap.folio(data=b"x")
    handle = swap.folio_at(swap.folio_alloc_swap(folio))
    with pytest.raises(sc.SwapBusyError):
        swap.swap_out(folio)
    assert folio.is_resident
    del handle
    swap.swap_out(folio)


GONE: list[Callable[[sc.Swap, sc.Folio], object]] = [
    lambda _, folio: folio.read(),
    lambda _, folio: folio.write(b"x"),
    lambda _, folio: memoryview(folio),
    lambda _, folio: folio.refs,
    lambda _, folio: folio.mapcount,
    lambda _, folio: folio.is_dirty,
    lambda _, folio: folio.pfn,
    lambda swap, folio: swap.swap_out(folio),
    lambda swap, folio: swap.folio_split(folio),
    lambda swap, folio: swap.folio_migrate(folio),
    lambda swap, folio: swap.folio_alloc_swap(folio),
]


@pytest.mark.parametrize("use", GONE)
@pytest.mark.parametrize("how", ["swap_out", "folio_split", "folio_migrate"])
def test_handle_of_a_gone_folio_raises_enoent(
    swap: sc.Swap, how: str, use: Callable[[sc.Swap, sc.Folio], object]
) -> None:
    folio = swap.folio(order=2)
    kept = getattr(swap, how)(folio)
    with pytest.raises(sc.EntryGoneError) as caught:
        use(swap, folio)
    assert caught.value.errno == errno.ENOENT
    assert (folio.order, folio.nr_pages, folio.is_resident) == (2, 4, False)
    assert folio.entry == (kept if how == "swap_out" else None)
    assert folio == folio  # noqa: PLR0124
    assert "Folio of order 2" in repr(folio)


def test_split_keeps_data_mappings_and_slots(swap: sc.Swap) -> None:
    folio = swap.folio(order=3, data=b"".join(bytes([page]) * PAGE for page in range(8)))
    folio.is_mapped = True
    first = swap.folio_alloc_swap(folio)
    parts = swap.folio_split(folio, order=1)
    assert [part.nr_pages for part in parts] == [2, 2, 2, 2]
    assert [part.mapcount for part in parts] == [2, 2, 2, 2]
    assert [int(part.entry) - int(first) for part in parts if part.entry] == [0, 2, 4, 6]
    assert [part.read(PAGE, 1)[0] for part in parts] == [1, 3, 5, 7]
    swap.check()
    entries = swap.swap_out_batch(parts)
    assert [folio.read(0, 1)[0] for folio in swap.swap_in_batch(entries)] == [0, 2, 4, 6]


def test_split_to_no_smaller_order_is_refused(swap: sc.Swap) -> None:
    folio = swap.folio(order=2)
    for order in (2, 9):
        with pytest.raises(sc.InvalidArgumentError, match=str(order)):
            swap.folio_split(folio, order)
    assert folio.is_resident


@pytest.mark.parametrize("how", ["folio_split", "folio_migrate"])
def test_busy_folio_is_neither_split_nor_moved(swap: sc.Swap, how: str) -> None:
    folio = swap.folio(order=2, data=b"x")
    with memoryview(folio), pytest.raises(sc.SwapBusyError):
        getattr(swap, how)(folio)
    folio.is_locked = True
    with pytest.raises(sc.SwapBusyError):
        getattr(swap, how)(folio)
    folio.is_locked = False
    assert folio.read(0, 1) == b"x"
    assert getattr(swap, how)(folio)


def test_migration_moves_data_and_slots_to_other_memory(swap: sc.Swap) -> None:
    folio = swap.folio(order=4, data=b"moving" * 1000)
    folio.is_mapped = True
    entry = swap.folio_alloc_swap(folio)
    pfn = folio.pfn
    moved = swap.folio_migrate(folio)
    assert (moved.entry, moved.mapcount, moved.is_dirty) == (entry, 16, True)
    assert moved.pfn != pfn
    assert moved.read(0, 6000) == b"moving" * 1000
    assert swap.folio_at(entry) == moved
    assert swap.nr_used_pages == 16


def test_page_cluster_sets_the_readahead_window(swap: sc.Swap) -> None:
    assert swap.page_cluster == 3
    swap.page_cluster = 0
    assert swap.page_cluster == 0
    with pytest.raises(sc.InvalidArgumentError, match=r"32.*31"):
        swap.page_cluster = 32


def test_readahead_brings_neighbours_into_the_swap_cache(swap: sc.Swap) -> None:
    entries = swap.swap_out_batch([swap.folio(data=bytes([page + 1])) for page in range(32)])
    swap.page_cluster = 0
    alone = swap.swap_cluster_readahead(entries[20])
    assert alone is not None
    assert (alone.read(0, 1), swap.nr_swapcache_pages) == (bytes([21]), 1)
    swap.page_cluster = 3
    for entry in entries[:8]:
        assert swap.swap_cluster_readahead(entry) is not None
    assert swap.nr_swapcache_pages >= 8
    assert swap.stats()["swap_ra"] > 0


def test_memory_runs_out_as_memory_error_and_comes_back() -> None:
    swap = sc.Swap(memory_pages=512)
    folio = swap.folio(order=9)
    with pytest.raises(MemoryError):
        swap.folio()
    assert (swap.memory_pages, swap.nr_used_pages) == (512, 512)
    del folio
    assert swap.folio(order=9).nr_pages == 512


def test_swap_in_falls_back_to_what_memory_there_is() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("64M"))
    data = bytes(range(256)) * 16 * 512
    entry = swap.swap_out(swap.folio(order=9, data=data))
    in_the_way = swap.folio(order=8)
    part = swap.swap_in(entry, orders=1 << 9 | 1 << 7)
    assert part.nr_pages == 128
    assert part.read() == data[: 128 * PAGE]
    assert swap.stats()["hugepages-2048kB.swpin_fallback"] == 1
    del part, in_the_way
    rest = swap.swap_in_batch([sc.SwpEntry(int(entry) + page) for page in range(128, 512)])
    assert b"".join(folio.read() for folio in rest) == data[128 * PAGE :]
    assert swap.devices[0].inuse_pages == 0
    swap.check()


def test_swap_in_without_memory_changes_nothing() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("64M"))
    entry = swap.swap_out(swap.folio(data=b"still there"))
    in_the_way = swap.folio(order=9)
    with pytest.raises(MemoryError):
        swap.swap_in(entry)
    assert swap.swap_count(entry) == 1
    swap.check()
    del in_the_way
    assert swap.swap_in(entry).read(0, 11) == b"still there"


def test_swap_in_of_a_part_leaves_its_neighbours_alone(swap: sc.Swap) -> None:
    entry = swap.swap_out(swap.folio(order=4, data=b"".join(bytes([page]) * PAGE for page in range(1, 17))))
    folios = swap.swap_in_batch([sc.SwpEntry(int(entry) + 2, 2)], orders=0b11111)
    # Each folio covers an aligned pair of slots, because an aligned folio of four pages would cover other
    # slots.
    assert [(folio.nr_pages, folio.read(0, 1)[0]) for folio in folios] == [(2, 3), (2, 5)]
    assert swap.nr_swapcache_pages == 0
    assert [swap.swap_count(int(entry) + page) for page in (1, 2, 5, 6)] == [1, 0, 0, 1]


def test_swap_out_batch_stops_at_the_first_failure(swap: sc.Swap) -> None:
    folios = [swap.folio(data=bytes([number])) for number in range(4)]
    with memoryview(folios[2]), pytest.raises(sc.SwapBusyError, match=r"run 2.*the 2 runs before"):
        swap.swap_out_batch(folios)
    assert [folio.is_resident for folio in folios] == [False, False, True, True]
    assert [entry and swap.swap_in(entry).read(0, 1)[0] for entry in (folios[0].entry, folios[1].entry)] == [
        0,
        1,
    ]


def test_swap_in_batch_hands_over_what_is_in_when_it_fails(swap: sc.Swap) -> None:
    good = swap.swap_out(swap.folio(data=b"good"))
    free = swap.swap_out(swap.folio())
    swap.free(free)
    with pytest.raises(sc.EntryGoneError) as caught:
        swap.swap_in_batch([good, free])
    (folio,) = caught.value.folios  # type: ignore[attr-defined]
    assert folio.read(0, 4) == b"good"


def test_folio_that_another_handle_keeps_locked_is_busy_and_nobody_waits(
    swap: sc.Swap, tmp_path: Path
) -> None:
    swap.swapon(sc.File.create(tmp_path / "swap", "1M"))
    entry = swap.swap_out(swap.folio(0, b"data"))
    swap.dup(entry)
    folio = swap.swap_in(entry)
    other = swap.folio_at(entry)
    assert other is not None
    other.is_locked = True
    for call in (
        lambda: swap.swap_out(folio),
        lambda: swap.swap_in(entry),
        lambda: swap.folio_migrate(folio),
    ):
        with pytest.raises(sc.SwapBusyError, match="locked or under writeback"):
            call()
    other.is_locked = False
    other.is_writeback = True
    with pytest.raises(sc.SwapBusyError, match="locked or under writeback"):
        swap.swap_out(folio)
    other.is_writeback = False
    del other
    assert swap.swap_out(folio) == entry
    assert swap.swap_in(entry).read(0, 4) == b"data"
