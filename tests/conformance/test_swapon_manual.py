"""Tests of documented facts of swapon(2), swapoff(2), swapon(8) and swapoff(8)."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from pathlib import Path

PAGE = sc.PAGE_SIZE

SWAPON_WITHOUT_MEMORY = """
import resource, sys
import swapcore as sc
swap = sc.Swap()
used_bytes = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used_bytes + (32 << 20), resource.RLIM_INFINITY))
try:
    swap.swapon(sc.Null("8T"))
except MemoryError as error:
    print("refused", error.errno, len(swap.devices), swap.total_swap_pages)
"""


def written(swap: sc.Swap, nr_pages: int) -> tuple[sc.Mm, int]:
    """Maps pages and writes the number of each page into the page."""
    mm = swap.mm()
    first = mm.mmap(nr_pages)
    for page in range(nr_pages):
        mm.write((first + page) * PAGE, b"page %d" % page)
    return mm, first


def is_whole(mm: sc.Mm, first: int, nr_pages: int) -> bool:
    """Tells whether each page has the content that `written` wrote."""
    texts = [b"page %d" % page for page in range(nr_pages)]
    return all(mm.read((first + page) * PAGE, len(text)) == text for page, text in enumerate(texts))


def test_pages_go_to_a_file_from_swapon_to_swapoff(swap: sc.Swap, tmp_path: Path) -> None:
    folio = swap.folio(data=b"before")
    with pytest.raises(sc.SwapFullError):
        swap.swap_out(folio)
    device = swap.swapon(sc.File.create(tmp_path / "swap", "1M"))
    entry = swap.swap_out(swap.folio(data=b"between"))
    at_bytes = entry.offset * PAGE
    assert (tmp_path / "swap").read_bytes()[at_bytes : at_bytes + 7] == b"between"
    assert swap.swap_in(entry).read(0, 7) == b"between"
    swap.swapoff(device)
    with pytest.raises(sc.SwapFullError):
        swap.swap_out(folio)
    assert folio.read(0, 6) == b"before"


@pytest.mark.parametrize("profile", ["v618", "p3", "series", "newest"])
def test_a_chosen_priority_is_above_all_defaults_and_a_higher_number_comes_first(profile: str) -> None:
    swap = sc.Swap(profile=profile)
    chosen = {swap.swapon(sc.Null("1M"), priority=priority).type: priority for priority in (0, 32767, 5)}
    for _ in range(3):
        swap.swapon(sc.Null("1M"))
    assert {device.type: device.priority for device in swap.devices if device.type in chosen} == chosen
    assert [device.priority for device in swap.devices][:3] == [32767, 5, 0]
    assert all(device.priority < 0 for device in swap.devices[3:])
    swap.check()


@pytest.mark.parametrize(("profile", "prios"), [("v618", [-2, -3, -4]), ("newest", [-1, -1, -1])])
def test_newer_devices_with_a_default_priority_are_lower_up_to_618(profile: str, prios: list[int]) -> None:
    swap = sc.Swap(profile=profile)
    assert [swap.swapon(sc.Null("1M")).priority for _ in range(3)] == prios
    swap.check()


def test_a_higher_device_is_exhausted_before_a_lower_one(swap: sc.Swap) -> None:
    low = swap.swapon(sc.Null(pages=1000), priority=1)
    high = swap.swapon(sc.Null(pages=1500), priority=2)
    entries = [swap.alloc() for _ in range(high.pages + 10)]
    assert [entry.type for entry in entries] == [high.type] * high.pages + [low.type] * 10
    assert high.inuse_pages == high.pages


def test_a_storage_is_on_once(swap: sc.Swap) -> None:
    ram = sc.Ram("1M")
    device = swap.swapon(ram)
    other = sc.Swap()
    for machine in (swap, other):
        with pytest.raises(sc.SwapBusyError) as caught:
            machine.swapon(ram)
        assert caught.value.errno == errno.EBUSY
    swap.swapoff(device)
    assert other.swapon(ram).is_on
    other.check()


def test_a_character_device_is_no_swap_area() -> None:
    with pytest.raises(sc.SwapIOError, match="neither a regular file nor a block device") as caught:
        sc.File("/dev/null")
    assert caught.value.errno == errno.EINVAL


def test_swapon_without_memory_is_enomem_and_no_device_is_on() -> None:
    command = [sys.executable, "-W", "ignore", "-c", SWAPON_WITHOUT_MEMORY]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["refused", str(errno.ENOMEM), "0", "0"]


@pytest.mark.parametrize(
    ("discard", "is_discarded_at_swapon", "is_discarded_when_free"),
    [(None, False, False), ("once", True, False), ("pages", False, True), ("both", True, True)],
)
def test_each_discard_policy_discards_what_it_says(
    tmp_path: Path, discard: str | None, is_discarded_at_swapon: bool, is_discarded_when_free: bool
) -> None:
    path = tmp_path / "swap"
    sc.File.create(path, "4M")
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"x" * (1023 * PAGE))
    swap = sc.Swap()
    storage = sc.File(path)
    if not storage.storage.is_discardable:
        pytest.skip("the file system has no hole punching")
    swap.swapon(storage, discard=discard)
    data = path.read_bytes()
    assert data[4086:4096] == b"SWAPSPACE2", "the header stays"
    assert data[PAGE:] == (b"\0" if is_discarded_at_swapon else b"x") * (1023 * PAGE)
    entries = swap.swap_out_batch([swap.folio(data=b"y" * PAGE) for _ in range(1023)])
    for entry in entries:
        swap.free(entry)
    last_cluster = path.read_bytes()[512 * PAGE :]
    assert last_cluster == (b"\0" if is_discarded_when_free else b"y") * (512 * PAGE)
    swap.check()


@pytest.mark.parametrize("discard", ["once", "pages", "both"])
def test_a_discard_policy_is_ignored_where_the_device_has_no_discards(swap: sc.Swap, discard: str) -> None:
    device = swap.swapon(sc.Null("4M", is_discardable=False), discard=discard)
    assert not any("DISCARD" in flag for flag in device.flags)
    swap.free_batch(swap.alloc_batch(device.pages))
    assert (swap.stats()["discarded_clusters"], swap.stats()["discard_errors"]) == (0, 0)


def test_a_freed_slot_is_discarded_before_its_reuse(swap: sc.Swap, tmp_path: Path) -> None:
    file = sc.File.create(tmp_path / "swap", "4M")
    if not file.storage.is_discardable:
        pytest.skip("the file system has no hole punching")
    device = swap.swapon(file, discard="pages")
    entries = [swap.swap_out(swap.folio(data=b"old")) for _ in range(device.pages)]
    freed = [entry for entry in entries if entry.offset // sc.SWAPFILE_CLUSTER == 1]
    for entry in freed:
        assert swap.stats()["discarded_clusters"] == 0
        swap.free(entry)
    assert swap.stats()["discarded_clusters"] == 1
    cluster = (tmp_path / "swap").read_bytes()[512 * PAGE :]
    assert cluster == bytes(512 * PAGE)
    assert swap.swap_out(swap.folio(data=b"new")) in freed


def test_every_device_that_is_listed_can_be_turned_off(swap: sc.Swap, tmp_path: Path) -> None:
    for storage in (sc.Ram("1M"), sc.Zram("1M"), sc.File.create(tmp_path / "swap", "1M"), sc.Null("1M")):
        swap.swapon(storage)
    for device in swap.devices:
        swap.swapoff(device)
    assert (swap.devices, swap.total_swap_pages, swap.nr_swap_pages) == ([], 0, 0)


def test_swapoff_without_memory_is_enomem_and_the_device_stays_on_with_all_data() -> None:
    swap = sc.Swap(memory_pages=512)
    device = swap.swapon(sc.Ram("8M"))
    mm = swap.mm()
    first = mm.mmap(900)
    for page in range(900):
        mm.write((first + page) * PAGE, b"page %d" % page)
        mm.pageout(first + page, 1)
    with pytest.raises(MemoryError) as caught:
        swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOMEM
    assert device.is_on
    assert is_whole(mm, first, 900)
    swap.check()


def test_swapoff_moves_pages_that_find_no_memory_to_another_device() -> None:
    swap = sc.Swap(memory_pages=512)
    device = swap.swapon(sc.Ram("8M"), priority=2)
    other = swap.swapon(sc.Ram("8M"), priority=1)
    mm = swap.mm()
    first = mm.mmap(900)
    for page in range(900):
        mm.write((first + page) * PAGE, b"page %d" % page)
    assert other.inuse_pages == 0
    swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert other.inuse_pages >= 900 - 512
    assert is_whole(mm, first, 900)
    swap.check()


def test_swapoff_reads_every_page_into_memory_and_nothing_is_lost(swap: sc.Swap, tmp_path: Path) -> None:
    device = swap.swapon(sc.File.create(tmp_path / "swap", "1M"))
    mm, first = written(swap, 100)
    child = mm.fork()
    mm.pageout(first, 100)
    both = (mm, child)
    swap.swapoff(device, lambda _entry, _count: [task.unuse(device) for task in both] and None)
    assert (mm.swapped_pages, child.swapped_pages) == (0, 0)
    assert is_whole(mm, first, 100)
    assert is_whole(child, first, 100)


def test_a_device_can_be_turned_on_again_after_swapoff(swap: sc.Swap, tmp_path: Path) -> None:
    file = sc.File.create(tmp_path / "swap", "1M")
    for _ in range(3):
        device = swap.swapon(file)
        assert swap.swap_in(swap.swap_out(swap.folio(data=b"again"))).read(0, 5) == b"again"
        swap.swapoff(device)


def test_preallocated_files_are_swap_areas(swap: sc.Swap, tmp_path: Path) -> None:
    file = sc.File.create(tmp_path / "swap", "4M")
    assert file.stats()["allocated_bytes"] >= 4 << 20
    swap.swapon(file)
    assert swap.swap_in(swap.swap_out(swap.folio(data=b"x"))).read(0, 1) == b"x"


def test_the_number_of_devices_is_32_less_the_types_that_the_kernel_reserves(swap: sc.Swap) -> None:
    assert sc.MAX_SWAPFILES == 24
    for _ in range(24):
        swap.swapon(sc.Null("1M"))
    with pytest.raises(sc.TooManySwapfilesError) as caught:
        swap.swapon(sc.Null("1M"))
    assert caught.value.errno == errno.EPERM
    swap.swapoff(swap.devices[0])
    assert swap.swapon(sc.Null("1M")).is_on
