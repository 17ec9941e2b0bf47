"""Address spaces: a read returns the bytes written last, whether the page is resident or swapped out."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from helpers.load import Load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PAGE = sc.PAGE_SIZE


@pytest.fixture
def swap() -> Iterator[sc.Swap]:
    """Returns a subsystem with a zram device; `Swap.check` runs after the test."""
    swap = sc.Swap(nr_cpus=4)
    swap.swapon(sc.Zram("64M"), priority=1)
    yield swap
    swap.check()


def pattern(page: int, generation: int = 0) -> bytes:
    """Returns bytes that compress and contain the number of the page."""
    return np.full(PAGE // 8, page * 1000 + generation + 1, np.uint64).tobytes()


def mapped(swap: sc.Swap, nr_pages: int, **options: int) -> tuple[sc.Mm, int]:
    """Maps pages and writes the pattern of each page; returns the address space and the first page."""
    mm = swap.mm()
    first = mm.mmap(nr_pages, **options)
    for page in range(nr_pages):
        mm.write((first + page) * PAGE, pattern(page))
    return mm, first


def is_whole(mm: sc.Mm, first: int, pages: Iterable[int]) -> bool:
    """Tells whether each page has the pattern of its number."""
    return all(mm.read((first + page) * PAGE, PAGE) == pattern(page) for page in pages)


def test_fresh_pages_are_zeros_and_writes_come_back(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(4)
    assert mm.read(first * PAGE, PAGE) == bytes(PAGE)
    mm.write(first * PAGE + PAGE - 2, b"abcd")
    assert mm.read(first * PAGE + PAGE - 3, 6) == b"\0abcd\0"
    assert (mm.resident_pages, mm.swapped_pages) == (2, 0)


def test_pageout_moves_pages_to_slots_and_a_read_brings_them_back(swap: sc.Swap) -> None:
    mm, first = mapped(swap, 64)
    assert mm.pageout(first, 64) == {"reclaimed_pages": 64, "kept_pages": 0, "split_folios": 0, "errno": 0}
    assert (mm.resident_pages, mm.swapped_pages) == (0, 64)
    entry = mm.swap_entry(first + 5)
    assert entry is not None
    assert swap.lookup(entry)["count"] == 1
    assert mm.read((first + 5) * PAGE, PAGE) == pattern(5)
    assert mm.swap_entry(first + 5) is None
    assert swap.stats()["pswpin"] == 1


def test_large_folios_go_out_and_come_in_whole(swap: sc.Swap) -> None:
    mm, first = mapped(swap, 64, orders=1 << 4, anon_order=4)
    assert mm.pageout(first, 64)["reclaimed_pages"] == 64
    assert mm.read((first + 17) * PAGE, PAGE) == pattern(17)
    stats = swap.stats()
    assert (stats["hugepages-64kB.swpout"], stats["hugepages-64kB.swpin"]) == (4, 1)
    assert (mm.resident_pages, mm.swapped_pages) == (16, 48)


def test_a_range_that_ends_within_a_folio_splits_it(swap: sc.Swap) -> None:
    mm, first = mapped(swap, 16, anon_order=4)
    report = mm.pageout(first, 10)
    assert (report["reclaimed_pages"], report["split_folios"]) == (10, 1)
    assert (mm.resident_pages, mm.swapped_pages) == (6, 10)
    assert is_whole(mm, first, range(16))


def test_fork_shares_until_a_write_in_memory_and_in_swap(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(2)
    mm.write(first * PAGE, b"resident")
    mm.write((first + 1) * PAGE, b"swapped")
    mm.pageout(first + 1, 1)
    child = mm.fork()
    entry = mm.swap_entry(first + 1)
    assert entry is not None
    assert entry == child.swap_entry(first + 1)
    assert swap.swap_count(entry) == 2
    child.write(first * PAGE, b"child   ")
    child.write((first + 1) * PAGE, b"CHILD  ")
    assert mm.read(first * PAGE, 8) + mm.read((first + 1) * PAGE, 7) == b"residentswapped"
    assert child.read(first * PAGE, 8) + child.read((first + 1) * PAGE, 7) == b"child   CHILD  "


def test_shared_and_locked_pages_stay(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(1)
    locked = mm.mmap(1, is_locked=True)
    mm.write(first * PAGE, b"x")
    mm.write(locked * PAGE, b"x")
    child = mm.fork()
    assert mm.pageout(first, 1)["kept_pages"] == 1
    for refused in (mm.pageout, mm.zap):
        with pytest.raises(sc.InvalidArgumentError, match="locked"):
            refused(locked, 1)
    assert mm.read(locked * PAGE, 1) == b"x"
    assert child.read(first * PAGE, 1) == b"x"
    assert child.pageout(locked, 1)["kept_pages"] == 1


def test_a_child_inherits_no_lock(swap: sc.Swap) -> None:
    mm, first = mapped(swap, 64, is_locked=True)
    assert swap.memcg is not None
    assert swap.memcg.memory_stat["unevictable"] == 64 * PAGE
    child = mm.fork()
    del mm
    assert swap.memcg.memory_stat["unevictable"] == 0
    assert child.pageout(first, 64)["reclaimed_pages"] == 64
    assert is_whole(child, first, range(64))


def test_pageout_takes_what_a_zap_left_of_a_large_folio(swap: sc.Swap) -> None:
    mm, first = mapped(swap, 16, anon_order=4)
    mm.zap(first + 7, 1)
    assert mm.pageout(first, 16) == {"reclaimed_pages": 15, "kept_pages": 0, "split_folios": 1, "errno": 0}
    assert (mm.resident_pages, mm.swapped_pages) == (0, 15)
    assert is_whole(mm, first, (page for page in range(16) if page != 7))


@pytest.mark.parametrize("is_synchronous", [True, False])
def test_willneed_reads_pages_into_the_swap_cache(is_synchronous: bool, tmp_path: Path) -> None:
    swap = sc.Swap(switches={"memcg_stock": "off"})
    file = sc.File.create(tmp_path / "swap", pages=1024, is_block_device=True, is_rotational=False)
    device = swap.swapon(sc.Ram("16M") if is_synchronous else file)
    group = swap.memcg.create("A")
    mm = swap.mm(memcg=group)
    first = mm.mmap(32, orders=1 << 4, anon_order=4)
    for page in range(32):
        mm.write((first + page) * PAGE, pattern(page))
    mm.pageout(first, 32)
    before = swap.stats()
    assert mm.willneed(first, 20) == 20
    assert (mm.resident_pages, mm.swapped_pages) == (0, 32), "no page is mapped"
    assert (swap.nr_swapcache_pages, device.inuse_pages) == (20, 32)
    facts = group.counters()
    assert (facts["memory_pages"], facts["swap_pages"], facts["swapcached_pages"]) == (20, 32, 20)
    after = swap.stats()
    grown = {name: after[name] - before[name] for name in ("pswpin", "pgmajfault", "swap_ra", "swap_ra_hit")}
    assert grown == {"pswpin": 20, "pgmajfault": 0, "swap_ra": 0, "swap_ra_hit": 0}
    assert after["hugepages-64kB.swpin"] == 0, "each page is read alone"
    assert mm.willneed(first, 20) == 0, "the pages are cached already"
    assert is_whole(mm, first, range(20))
    assert swap.stats()["pgmajfault"] == before["pgmajfault"], "the faults found the pages"
    with pytest.raises(OSError, match="mapped"):
        mm.willneed(first, 33)
    assert swap.nr_swapcache_pages >= 12
    mm.zap(first, 32)
    facts = group.counters()
    assert (facts["memory_pages"], facts["swap_pages"], facts["swapcached_pages"]) == (0, 0, 0)
    swap.check()


def test_willneed_skips_what_cannot_be_read() -> None:
    swap = sc.Swap()
    storage = sc.Faulty(sc.Ram("16M"))
    swap.swapon(storage)
    mm, first = mapped(swap, 8)
    mm.pageout(first, 8)
    storage.set_faults(fail_read_in=3)
    assert mm.willneed(first, 8) == 7
    assert (swap.nr_swapcache_pages, swap.stats()["read_errors"]) == (7, 1)
    assert is_whole(mm, first, range(8)), "the fault reads the page again"
    swap.check()


def test_zap_and_drop_give_everything_back(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(32)
    mm.write(first * PAGE, b"x" * (32 * PAGE))
    mm.pageout(first, 16)
    mm.zap(first + 8, 16)
    assert mm.read((first + 8) * PAGE, 4) == bytes(4)
    assert (mm.resident_pages, mm.swapped_pages) == (9, 8)
    del mm
    assert (swap.nr_used_pages, swap.devices[0].inuse_pages) == (0, 0)


def test_swapoff_reads_everything_back(swap: sc.Swap) -> None:
    mm, first = mapped(swap, 40)
    mm.pageout(first, 40)
    device = swap.devices[0]
    with pytest.raises(sc.SwapBusyError, match="unuse"):
        swap.swapoff(device)
    swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert not device.is_on
    assert is_whole(mm, first, range(40))


def test_a_page_that_cannot_be_read_stays_swapped_out_and_is_read_later() -> None:
    swap = sc.Swap()
    storage = sc.Faulty(sc.Ram("1M"))
    swap.swapon(storage)
    mm = swap.mm()
    first = mm.mmap(1)
    mm.write(first * PAGE, b"precious")
    storage.set_faults(fail_write_in=1)
    assert mm.pageout(first, 1) == {"reclaimed_pages": 0, "kept_pages": 1, "split_folios": 0, "errno": 5}
    assert mm.pageout(first, 1)["reclaimed_pages"] in (0, 1)
    assert mm.read(first * PAGE, 8) == b"precious"
    assert mm.pageout(first, 1)["reclaimed_pages"] == 1
    storage.set_faults(fail_read_in=1)
    with pytest.raises(sc.SwapIOError):
        mm.read(first * PAGE, 8)
    assert mm.read(first * PAGE, 8) == b"precious"
    stats = swap.stats()
    assert (stats["write_errors"], stats["read_errors"]) == (1, 1)
    swap.check()


@pytest.mark.parametrize(
    ("call", "errno"),
    [
        (lambda mm: mm.read(1 << 40, 1), 14),
        (lambda mm: mm.write(1 << 40, b"x"), 14),
        (lambda mm: mm.pageout(1 << 30, 1), 14),
        (lambda mm: mm.zap(1 << 30, 1), 14),
        (lambda mm: mm.mmap(0), 22),
        (lambda mm: mm.mmap(1, orders=1 << 10), 22),
        (lambda mm: mm.mmap(1, anon_order=10), 22),
        (lambda mm: mm.read(0, 1, cpu=4), 22),
    ],
)
def test_bad_arguments_are_refused(swap: sc.Swap, call: object, errno: int) -> None:
    mm = swap.mm()
    mm.mmap(1)
    with pytest.raises(OSError, match=r"\d") as caught:
        call(mm)  # type: ignore[operator]
    assert caught.value.errno == errno


def test_threads_in_one_space_see_their_own_writes(swap: sc.Swap) -> None:
    mm = swap.mm()
    nr_threads, nr_pages = 4, 64
    first = mm.mmap(nr_threads * nr_pages, orders=0b10100, anon_order=4)

    def work(thread: int) -> None:
        rng = random.Random(thread)
        generations = [-1] * nr_pages
        base = first + thread * nr_pages
        for step in range(1500):
            page = rng.randrange(nr_pages)
            address = (base + page) * PAGE
            kind = rng.randrange(4)
            if kind == 0:
                mm.write(address, pattern(page, step % 900), cpu=thread)
                generations[page] = step % 900
            elif kind == 1:
                # The pages may be those of any thread.
                at = rng.randrange(nr_threads * nr_pages - 20)
                mm.pageout(first + at, 20, cpu=thread)
            else:
                expected = pattern(page, generations[page]) if generations[page] >= 0 else bytes(PAGE)
                assert mm.read(address, PAGE, cpu=thread) == expected, f"{thread=}, {page=}, {step=}"

    Load(seed=0).run(partial(work, thread) for thread in range(nr_threads))
    assert swap.stats()["pswpout"] > 0


def test_events_are_columns_in_time_order(swap: sc.Swap) -> None:
    assert swap.take_events()["nr_lost"] == 0
    swap.record_events(64)
    entry = swap.swap_out(swap.folio(2, b"data"), cpu=1)
    zero = swap.swap_out(swap.folio(0), cpu=2)
    swap.swap_in(entry, cpu=3)
    swap.swap_in(zero)
    events = swap.take_events()
    kinds = [sc.EventKind(kind).name.lower() for kind in events["kind"]]
    assert kinds == ["swap_out", "evict", "swap_out_zero", "evict", "swap_in", "swap_in_zero"]
    assert list(np.frombuffer(events["order"], np.uint8)) == [2, 2, 0, 0, 2, 0]
    assert list(np.frombuffer(events["entry"], np.uint64))[:5:4] == [int(entry), int(entry)]
    assert list(np.frombuffer(events["cpu"], np.uint16))[:5] == [1, 1, 2, 2, 3]
    assert list(np.frombuffer(events["errno"], np.int32)) == [0] * 6
    assert np.all(np.diff(np.frombuffer(events["time_ns"], np.uint64).astype(np.int64)) >= 0)
    assert swap.take_events()["kind"] == b""


def test_events_that_find_no_room_push_the_oldest_out(swap: sc.Swap) -> None:
    swap.record_events(3)
    for _ in range(4):
        swap.swap_out(swap.folio(0, b"x"))
    events = swap.take_events()
    assert (len(events["kind"]), events["nr_lost"]) == (3, 5)
    swap.record_events(0)
    swap.swap_out(swap.folio(0, b"x"))
    assert swap.take_events()["kind"] == b""


def test_pages_read_ahead_make_room_when_memory_runs_out(tmp_path: Path) -> None:
    swap = sc.Swap(memory_pages=512)
    device = swap.swapon(sc.File.create(tmp_path / "swap", "16M"))
    mm = swap.mm()
    first = mm.mmap(1500)
    for page in range(1500):
        mm.write((first + page) * PAGE, pattern(page))
        mm.pageout(first + page, 1)
    for page in range(1500):
        entry = mm.swap_entry(first + page)
        assert entry is not None
        # Readahead reads more pages than memory has, and no task accesses these pages.
        assert swap.swap_cluster_readahead(entry) is not None
    assert swap.stats()["pswpin"] >= 1500
    assert is_whole(mm, first, range(0, 1500, 7))
    mm.pageout(first, 1500)
    swap.shrink_swap_cache()
    assert (swap.nr_used_pages, swap.nr_swapcache_pages) == (0, 0)
    assert swap.folio().read() == bytes(PAGE)
    mm.zap(first, 1200)
    swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert mm.read((first + 1499) * PAGE, PAGE) == pattern(1499)
    swap.check()


def test_a_page_whose_write_failed_is_written_by_the_next_pageout() -> None:
    swap = sc.Swap()
    storage = sc.Faulty(sc.Ram("4M"))
    swap.swapon(storage)
    mm = swap.mm()
    first = mm.mmap(100)
    mm.write(first * PAGE, b"x" * (100 * PAGE))
    storage.set_faults(fail_write_in=50)
    assert mm.pageout(first, 100) == {"reclaimed_pages": 99, "kept_pages": 1, "split_folios": 0, "errno": 5}
    assert (mm.resident_pages, swap.nr_used_pages) == (0, 1)
    assert mm.pageout(first, 100) == {"reclaimed_pages": 1, "kept_pages": 0, "split_folios": 0, "errno": 0}
    assert swap.nr_used_pages == 0
    assert mm.read(first * PAGE, 100 * PAGE) == b"x" * (100 * PAGE)
    swap.check()


def test_absurd_sizes_are_refused_and_large_mappings_cost_little(swap: sc.Swap) -> None:
    mm = swap.mm()
    first = mm.mmap(64)
    with pytest.raises(OSError, match="is not mapped") as caught:
        mm.read(first * PAGE, 1 << 40)
    assert caught.value.errno == 14
    with pytest.raises(sc.InvalidArgumentError, match="1000000000000 is not in"):
        swap.record_events(10**12)
    huge = mm.mmap(1 << 28)
    mm.write((huge + (1 << 27)) * PAGE, b"far")
    assert mm.fork().read((huge + (1 << 27)) * PAGE, 3) == b"far"
    with pytest.raises(sc.InvalidArgumentError, match="pages of a mapping"):
        mm.mmap((1 << 28) + 1)
