"""Writes that are over later: `Swap(writeback="queued")` and `Swap.complete_writeback`."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import swapcore as sc

PAGE = sc.PAGE_SIZE


def queued(tmp_path: Path, writeback: str = "queued", **options: object) -> sc.Swap:
    swap = sc.Swap(writeback=writeback, **options)  # type: ignore[arg-type]
    swap.swapon(sc.File.create(tmp_path / "swap", "16M", is_block_device=True))
    return swap


def written(swap: sc.Swap, nr_pages: int, group: sc.MemCgroup | None = None) -> tuple[sc.Mm, int]:
    mm = swap.mm(group)
    first = mm.mmap(nr_pages)
    for page in range(nr_pages):
        mm.write((first + page) * PAGE, b"page %4d" % page)
    return mm, first


def is_whole(mm: sc.Mm, first: int, pages: Iterable[int]) -> bool:
    return all(mm.read((first + page) * PAGE, 9) == b"page %4d" % page for page in pages)


def numbers(swap: sc.Swap) -> tuple[int, int, int]:
    return swap.nr_queued_writes, swap.nr_swapcache_pages, swap.nr_used_pages


def test_a_folio_is_under_writeback_until_its_write_is_completed(tmp_path: Path) -> None:
    swap = queued(tmp_path)
    mm, first = written(swap, 8)
    report = mm.pageout(first, 8)
    assert (report["reclaimed_pages"], report["kept_pages"], report["errno"]) == (0, 8, 0)
    assert (numbers(swap), swap.stats()["pswpout"], mm.resident_pages) == ((8, 8, 8), 8, 0)
    swap.check()
    assert swap.complete_writeback(3) == 3
    assert numbers(swap) == (5, 8, 8), "a page that was written stays in the cache until reclaim drops it"
    swap.shrink_swap_cache()
    assert numbers(swap) == (5, 5, 5)
    assert (swap.complete_writeback(), swap.complete_writeback()) == (5, 0)
    swap.shrink_swap_cache()
    assert (numbers(swap), swap.stats()["pswpout"]) == ((0, 0, 0), 8)
    assert is_whole(mm, first, range(8))
    swap.check()


def test_storages_as_fast_as_memory_and_sync_queue_nothing(tmp_path: Path) -> None:
    for storage, writeback in ((sc.Ram("16M"), "queued"), (sc.File.create(tmp_path / "swap", "16M"), "sync")):
        swap = sc.Swap(writeback=writeback)
        swap.swapon(storage)
        mm, first = written(swap, 8)
        mm.pageout(first, 8)
        assert numbers(swap) == (0, 0, 0)
        swap.check()
    with pytest.raises(sc.InvalidArgumentError, match="sync, queued, thread"):
        sc.Swap(writeback="later")


def test_a_fault_takes_a_page_under_writeback_and_a_later_write_is_written_again(tmp_path: Path) -> None:
    swap = queued(tmp_path)
    swap.page_cluster = 0
    mm, first = written(swap, 4)
    mm.pageout(first, 4)
    assert is_whole(mm, first, range(4))
    assert (swap.stats()["pswpin"], swap.nr_queued_writes) == (0, 4)
    mm.write(first * PAGE, b"newer")
    swap.complete_writeback()
    assert mm.read(first * PAGE, 5) == b"newer"
    mm.pageout(first, 4)
    assert swap.stats()["pswpout"] == 5, "only the page that changed is written again"
    swap.complete_writeback()
    swap.shrink_swap_cache()
    assert (numbers(swap), mm.read(first * PAGE, 5)) == ((0, 0, 0), b"newer")
    swap.check()


def test_pages_that_are_zapped_under_writeback_leave_no_slot(tmp_path: Path) -> None:
    swap = queued(tmp_path)
    mm, first = written(swap, 8)
    mm.pageout(first, 8)
    mm.zap(first, 4)
    del mm
    swap.check()
    swap.complete_writeback()
    swap.shrink_swap_cache()
    assert (numbers(swap), swap.devices[0].inuse_pages) == ((0, 0, 0), 0)
    swap.check()


def test_a_write_that_fails_keeps_the_page(tmp_path: Path) -> None:
    faulty = sc.Faulty(sc.File.create(tmp_path / "swap", "16M", is_block_device=True))
    swap = sc.Swap(writeback="queued")
    swap.swapon(faulty)
    mm, first = written(swap, 4)
    mm.pageout(first, 4)
    faulty.set_faults(fail_write_in=1)
    assert swap.complete_writeback(2) == 2
    assert swap.stats()["write_errors"] == 1
    swap.check()
    # The first page is dirty in the swap cache, and the next pageout queues its write again.
    mm.pageout(first, 4)
    assert swap.nr_queued_writes == 3
    swap.complete_writeback()
    swap.shrink_swap_cache()
    assert numbers(swap) == (0, 0, 0)
    assert is_whole(mm, first, range(4))
    swap.check()


def test_reclaim_waits_for_the_writes_that_it_wants(tmp_path: Path) -> None:
    swap = queued(tmp_path, memcg="v1")
    group = swap.memcg.create("a")
    mm, first = written(swap, 64, group)
    mm.pageout(first, 64)
    assert swap.nr_queued_writes == 64
    group.write("memory.force_empty", 0)
    assert numbers(swap) == (0, 0, 0)
    assert is_whole(mm, first, range(64))
    swap.check()


@pytest.mark.parametrize("writeback", ["queued", "thread"])
def test_an_address_space_larger_than_memory_keeps_its_content(tmp_path: Path, writeback: str) -> None:
    swap = queued(tmp_path, writeback, memory_pages=512, nr_cpus=2)
    mm, first = written(swap, 1200)
    for _ in range(2):
        assert is_whole(mm, first, range(1200))
        mm.pageout(first, 600)
    swap.check()


def test_the_thread_ends_writes_without_a_call_and_ends_with_the_subsystem(tmp_path: Path) -> None:
    time.sleep(0.2)  # the thread of an earlier test ends within this time
    before = nr_threads()
    swap = queued(tmp_path, "thread")
    mm, first = written(swap, 32)
    mm.pageout(first, 32)
    while swap.nr_queued_writes > 0:
        time.sleep(0.01)
    swap.check()
    assert is_whole(mm, first, range(32))
    assert nr_threads() == before + 1
    del swap, mm
    wait_for(lambda: nr_threads() == before)


def nr_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def wait_for(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_true() and time.monotonic() < end:
        time.sleep(0.01)
    assert is_true()


def test_swapoff_ends_the_writes_of_the_device(tmp_path: Path) -> None:
    swap = queued(tmp_path)
    device = swap.devices[0]
    mm, first = written(swap, 32)
    mm.pageout(first, 32)
    assert swap.nr_queued_writes == 32
    swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert (numbers(swap), swap.devices) == ((0, 0, 32), [])
    assert is_whole(mm, first, range(32))
    swap.check()


def test_a_handle_swaps_out_and_in_while_the_write_is_queued(tmp_path: Path) -> None:
    swap = queued(tmp_path)
    entry = swap.swap_out(swap.folio(data=b"plain text"))
    assert numbers(swap) == (1, 1, 1)
    folio = swap.swap_in(entry)
    assert (folio.read(0, 10), swap.stats()["pswpin"]) == (b"plain text", 0)
    entry = swap.swap_out(folio)
    assert swap.nr_queued_writes == 0, "a swap-out ends the older write of the folio"
    assert swap.swap_in(entry).read(0, 10) == b"plain text"
    swap.check()


@pytest.mark.parametrize(("profile", "cached_pages"), [("v618", 4), ("newest", 0)])
def test_a_writeback_from_zswap_is_queued_too(tmp_path: Path, profile: str, cached_pages: int) -> None:
    swap = queued(tmp_path, zswap="lz4", profile=profile)
    swap.page_cluster = 0
    mm, first = written(swap, 4)
    mm.pageout(first, 4)
    assert numbers(swap) == (0, 0, 0), "a page in zswap needs no write"
    for page in range(4):
        entry = mm.swap_entry(first + page)
        assert entry is not None
        swap.zswap.writeback(entry)
    assert numbers(swap) == (4, 4, 4)
    assert swap.zswap.stats()["written_back_pages"] == 4
    swap.check()
    swap.complete_writeback()
    assert numbers(swap) == (0, cached_pages, cached_pages)
    assert is_whole(mm, first, range(4))
    swap.check()
