"""`Swap.shmem`: files in memory keep their bytes through swap-out, swap-in, truncation and swapoff."""

from __future__ import annotations

import errno
from array import array

import pytest
import swapcore as sc
from helpers.memcg_facts import errno_of

PAGE = sc.PAGE_SIZE
STORAGES = {"ram": lambda: sc.Ram("16M"), "zram": lambda: sc.Zram("16M")}


def pages_of(nr_pages: int) -> bytes:
    return b"".join(b"page %04d " % page * (PAGE // 10) + b"." * (PAGE % 10) for page in range(nr_pages))


def filled(swap: sc.Swap, nr_pages: int, order: int = 0) -> sc.Shmem:
    file = swap.shmem(nr_pages, order=order)
    file.write(0, pages_of(nr_pages))
    return file


@pytest.mark.parametrize("order", [0, 2, 4])
@pytest.mark.parametrize("storage", STORAGES)
def test_bytes_come_back_from_swap(swap: sc.Swap, storage: str, order: int) -> None:
    device = swap.swapon(STORAGES[storage]())
    file = filled(swap, 40, order)
    assert (file.nr_pages, file.order, file.resident_pages, file.swapped_pages) == (40, order, 40, 0)
    assert file.pageout(0, 40) == {"reclaimed_pages": 40, "kept_pages": 0, "split_folios": 0, "errno": 0}
    assert (file.resident_pages, file.swapped_pages, device.inuse_pages) == (0, 40, 40)
    assert repr(file) == "<Shmem of 40 pages: 0 resident, 40 swapped out>"
    assert file.read(3 * PAGE - 5, 2 * PAGE) == pages_of(40)[3 * PAGE - 5 :][: 2 * PAGE]
    assert file.read(0, 40 * PAGE) == pages_of(40)
    assert (file.swapped_pages, device.inuse_pages) == (0, 0), "slots are given up at once"
    del file
    assert swap.nr_used_pages == 0


def test_pages_beside_the_range_of_a_pageout_stay(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    file = filled(swap, 16, 4)
    assert file.pageout(2, 3) == {"reclaimed_pages": 3, "kept_pages": 0, "split_folios": 1, "errno": 0}
    assert [page for page in range(16) if file.swap_entry(page) is not None] == [2, 3, 4]
    assert file.read(0, 16 * PAGE) == pages_of(16)


def test_a_pageout_splits_a_folio_that_lost_a_page(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    file = filled(swap, 16, 4)
    file.truncate(5, 1)
    assert file.pageout(0, 16) == {"reclaimed_pages": 15, "kept_pages": 0, "split_folios": 1, "errno": 0}
    wanted = bytearray(pages_of(16))
    wanted[5 * PAGE : 6 * PAGE] = bytes(PAGE)
    assert file.read(0, 16 * PAGE) == wanted


def test_a_pageout_without_room_keeps_the_pages(swap: sc.Swap, faulty: sc.Faulty) -> None:
    file = filled(swap, 2)
    faulty.set_faults(fail_write_in=1)
    report = file.pageout(0, 2)
    assert (report["reclaimed_pages"], report["kept_pages"], report["errno"]) == (1, 1, errno.EIO)
    assert file.pageout(0, 2)["reclaimed_pages"] == 1, "the page in the swap cache is written again"
    assert file.read(0, 2 * PAGE) == pages_of(2)


def test_a_failed_read_leaves_the_page_in_its_slot(swap: sc.Swap, faulty: sc.Faulty) -> None:
    file = filled(swap, 1)
    file.pageout(0, 1)
    faulty.set_faults(fail_read_in=1)
    with pytest.raises(sc.SwapIOError):
        file.read(0, 1)
    assert file.read(0, PAGE) == pages_of(1)


def test_willneed_reads_ahead_and_truncate_frees(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Ram("16M"))
    file = filled(swap, 8)
    file.pageout(0, 8)
    assert (file.willneed(0, 4), swap.nr_swapcache_pages, file.swapped_pages) == (4, 4, 8)
    assert file.willneed(0, 4) == 0
    assert file.pageout(0, 4)["reclaimed_pages"] == 4, "pages in the cache are dropped again"
    file.willneed(0, 2)
    file.truncate(0, 8)
    assert (file.resident_pages, file.swapped_pages, device.inuse_pages, swap.nr_used_pages) == (0, 0, 0, 0)
    assert file.read(0, 8 * PAGE) == bytes(8 * PAGE)


def test_touches_are_reads_or_writes(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    file = swap.shmem(8)
    file.touch_pages(1, array("I", [0, 2]), bytes([0, 1]))
    assert (file.resident_pages, file.swap_entry(1), file.swap_entry(0)) == (2, None, None)
    with pytest.raises(sc.InvalidArgumentError, match="number of writes"):
        file.touch_pages(0, array("I", [0, 1]), b"x")
    assert errno_of(file.touch_pages, 0, array("Q", [7, 8])) == errno.EFAULT
    assert file.resident_pages == 3, "the page before the error is present"


def test_a_swapoff_reads_the_pages_of_a_file_back(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Ram("16M"))
    file = filled(swap, 20, 2)
    file.pageout(0, 20)
    with pytest.raises(sc.SwapBusyError):
        swap.swapoff(device)
    swap.swapoff(device, lambda _entry, _count: file.unuse(device))
    assert (device.is_on, file.resident_pages) == (False, 20)
    assert file.read(0, 20 * PAGE) == pages_of(20)
    assert errno_of(file.unuse, device) == errno.ENOENT


def test_a_device_of_another_subsystem_is_refused(swap: sc.Swap) -> None:
    other = sc.Swap()
    device = other.swapon(sc.Ram("1M"))
    assert errno_of(swap.shmem(1).unuse, device) == errno.ENOENT
    assert errno_of(swap.mm().unuse, device) == errno.ENOENT
    other.check()


def test_errors_name_the_value_and_the_limit(swap: sc.Swap) -> None:
    with pytest.raises(sc.InvalidArgumentError, match="0"):
        swap.shmem(0)
    with pytest.raises(sc.InvalidArgumentError, match=str(1 << 28)):
        swap.shmem((1 << 28) + 1)
    assert errno_of(swap.shmem, 1, order=10) == errno.EINVAL
    file = swap.shmem(4)
    assert errno_of(file.read, 4 * PAGE - 1, 2) == errno.EFAULT
    assert errno_of(file.write, 4 * PAGE, b"x") == errno.EFAULT
    assert file.read(4 * PAGE, 0) == b""
    for call in (file.pageout, file.willneed, file.truncate):
        assert errno_of(call, 3, 2) == errno.EFAULT
        assert errno_of(call, 0, 4, cpu=1) == errno.EINVAL
        assert errno_of(call, 0, 0) == errno.EINVAL
    assert errno_of(file.swap_entry, 4) == errno.EFAULT
    assert file.resident_pages == 0, "a refused call changes nothing"


def test_a_file_is_larger_than_memory() -> None:
    swap = sc.Swap(memory_pages=512)
    swap.swapon(sc.Ram("16M"))
    file = filled(swap, 2000, 3)
    assert file.swapped_pages >= 2000 - 512
    assert file.read(0, 2000 * PAGE) == pages_of(2000)
    swap.check()


def test_calls_that_look_at_runs_have_the_same_arguments(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    entry = swap.swap_out(swap.folio(order=3))
    assert swap.zero_batch(entry) == swap.zero_batch(entry, nr=8) == (True, 8)
    assert swap.zero_batch(int(entry)) == (True, 1)
    assert swap.backing(entry)["nr_pages"] == swap.backing(entry, nr=8)["nr_pages"] == 8
    assert swap.backing(int(entry))["nr_pages"] == 1
    for call in (swap.zero_batch, swap.backing):
        assert errno_of(call, entry, 0) == errno.EINVAL
    swap.free(entry)


def test_split_and_migration_refuse_in_the_same_way(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    gone, folio, foreign = swap.folio(order=1, data=b"x"), swap.folio(order=1), sc.Swap().folio(order=1)
    entry = swap.swap_out(gone)
    for call in (swap.folio_split, swap.folio_migrate):
        assert errno_of(call, gone) == errno.ENOENT
        assert errno_of(call, foreign) == errno.EINVAL
        with swap.locked(folio):
            assert errno_of(call, folio) == errno.EBUSY
        with memoryview(folio):
            assert errno_of(call, folio) == errno.EBUSY
        assert errno_of(call, folio, cpu=1) == errno.EINVAL
        assert folio.is_resident
    swap.free(entry)


def test_hibernation_refuses_like_the_other_calls(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Ram("16M"))
    foreign = sc.Swap()
    assert errno_of(swap.alloc_hibernation, foreign.swapon(sc.Ram("1M"))) == errno.ENOENT
    assert errno_of(swap.alloc_hibernation, device, cpu=1) == errno.EINVAL
    slot = swap.alloc_hibernation(device)
    assert errno_of(swap.free_hibernation, slot, cpu=1) == errno.EINVAL
    swap.free_hibernation(slot)
    for stale in (slot, int(slot)):
        assert errno_of(swap.free_hibernation, stale) == errno.ENOENT
