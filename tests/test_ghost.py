"""Ghost devices: headers, worked example E12, what may be written where, presentation, and sizes."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from memcg_facts import PAGE, file_storage
from virtual_facts import C, errno_of, noise, refusal, text, zeros

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EINVAL, ENOSPC, EIO = 22, 28, 5
SECONDS = float(os.environ.get("SWAPCORE_SECONDS", "5"))


def offsets(entries: list[sc.SwpEntry]) -> list[int]:
    """Returns the slots of entries."""
    return [entry.offset for entry in entries]


def ghost_swap(pages: int = 8 * C, **options: object) -> tuple[sc.Swap, sc.SwapDevice]:
    """Makes a subsystem with one ghost that has no virtual table."""
    swap = sc.Swap(nr_cpus=2, memory_pages=4096, **options)  # type: ignore[arg-type]
    return swap, swap.swapon(sc.Ghost(pages))


# The header and the size.


def header_file(path: Path, last_page: int, pages: int = 1) -> Path:
    """Writes a file of a header and nothing, or something, behind it."""
    path.write_bytes(sc.build_swap_header(last_page) + bytes(PAGE * (pages - 1)))
    return path


def test_header_only_file_is_a_ghost(tmp_path: Path) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost.open(header_file(tmp_path / "ghost", 4095)))
    assert (device.kind, device.max_pages, device.pages) == ("ghost", 4096, 4095)
    assert {"SWP_GHOST", "SWP_SOLIDSTATE"} <= set(device.flags)
    assert "SWP_BLKDEV" not in device.flags


def test_header_promises_more_than_a_device_can_have(tmp_path: Path) -> None:
    device = sc.Swap().swapon(sc.Ghost.open(header_file(tmp_path / "ghost", (1 << 32) - 1)))
    assert device.max_pages == (1 << 32) - 1


@pytest.mark.parametrize("pages", [2, 4096])
def test_file_of_more_than_its_header_is_none(tmp_path: Path, pages: int) -> None:
    assert errno_of(sc.Ghost.open, header_file(tmp_path / "ghost", 4095, pages)) == EINVAL


def test_file_without_header_is_none(tmp_path: Path) -> None:
    (tmp_path / "ghost").write_bytes(bytes(PAGE))
    assert errno_of(sc.Ghost.open, tmp_path / "ghost") == EINVAL
    (tmp_path / "ghost").write_bytes(b"x" * 100)
    assert errno_of(sc.Ghost.open, tmp_path / "ghost") != 0


@pytest.mark.parametrize(
    ("ram", "pages"),
    [
        ("4K", 512 * 8),
        ("2M", 512 * 8),
        ("2052K", 1024 * 8),
        ("1465M", 375_296 * 8),  # the thread's machine: 11.5 G
        ("32G", 8_388_608 * 8),
    ],
)
def test_size_is_ram_rounded_up_to_a_cluster_times_eight(ram: str, pages: int) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost.for_ram(ram))
    assert (device.max_pages, device.pages) == (pages, pages - 1)
    assert swap.total_swap_pages == pages - 1


@pytest.mark.parametrize("has_table", [False, True])
def test_slot_0_is_never_allocated_and_lowest_index_reused(has_table: bool) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost(4 * C, virtual_table=has_table))
    assert swap.lookup(device.type << 58)["kind"] == "bad"
    entries = [swap.alloc(0) for _ in range(4 * C - 1)]
    assert sorted(offsets(entries)) == list(range(1, 4 * C))
    assert errno_of(swap.alloc, 0) == ENOSPC
    for entry in entries:
        if entry.offset // C in (1, 2):
            swap.free(entry)
    assert swap.alloc(0).offset // C == 1, "the lowest free index"
    assert swap.lookup((device.type << 58) + 2 * C)["kind"] == "null", "no cluster reads as free slots"
    swap.check()


def test_cluster_0_stays_and_the_others_vanish() -> None:
    swap, device = ghost_swap(64 * C)
    empty = device.memory()
    entries = [swap.alloc(0) for _ in range(20 * C)]
    assert device.memory()["table_bytes"] >= empty["table_bytes"] + 19 * PAGE
    for entry in entries:
        swap.free(entry)
    now = device.memory()
    assert now["table_bytes"] == empty["table_bytes"] == PAGE
    assert now["index_bytes"] == empty["index_bytes"] < 64 * 1024
    assert device.inuse_pages == 0


# E12.


def test_e12_ghost_of_the_series() -> None:
    switches = {"ghost_cluster0": "unlisted", "ghost_large_orders": "refused"}
    swap, device = ghost_swap(3072, profile="series", switches=switches)
    assert device.pages == 3071
    first = [swap.alloc(0) for _ in range(600)]
    assert offsets(first) == list(range(512, 1112))
    for entry in first[:512]:
        swap.free(entry)
    assert swap.lookup(first[0])["kind"] == "null"
    more = [swap.alloc(0) for _ in range(1000)]
    assert offsets(more) == [*range(1112, 1536), *range(512, 1024), *range(1536, 1600)]
    assert errno_of(swap.alloc, 4) == ENOSPC
    rest = list(itertools.takewhile(bool, (refusal(swap.alloc) == 0 for _ in range(3072))))
    assert device.inuse_pages == 2560 == 600 - 512 + 1000 + len(rest)
    assert swap.dump()["avail"] == [device.type], "it can never be full"
    assert swap.nr_swap_pages == 3071 - 2560
    swap.check()


@pytest.mark.parametrize("has_table", [False, True])
def test_e12_ghost_of_the_newest(has_table: bool) -> None:
    swap = sc.Swap(profile="newest")
    swap.swapon(sc.Ghost(3072, virtual_table=has_table))
    assert offsets([swap.alloc(0) for _ in range(600)]) == list(range(1, 601))
    assert swap.alloc(4).offset == 1024
    swap.check()


def test_e12_hints_of_virtual_devices_are_their_own() -> None:
    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost(3072, virtual_table=True))
    swap.swapon(sc.Zram(pages=3072), priority=5)
    folios = [swap.folio(0, text(number)) for number in range(20)]
    for number, folio in enumerate(folios):
        entry = swap.folio_alloc_swap(folio)
        assert (entry.type, entry.offset) == (ghost.type, 1 + number), "as if nobody else allocated"
        bare = swap.alloc(0)
        assert (bare.type, bare.offset) == (1 - ghost.type, 1 + number)


# What may be written where.


def test_1_3_a_refused_write_leaves_the_folio_dirty_and_active() -> None:
    swap, device = ghost_swap()
    folio = swap.folio(0, text(1))
    assert errno_of(swap.swap_out, folio) == ENOSPC
    assert (folio.is_resident, folio.dirty, folio.active, folio.writeback) == (True, True, True, False)
    assert folio.read() == text(1)
    assert swap.stats()["pswpout"] == 0
    del folio
    assert (device.inuse_pages, swap.nr_used_pages) == (0, 0)
    swap.check()


def test_1_3_swap_out_order_zero_mark_comes_before_zswap_and_the_write() -> None:
    swap, device = ghost_swap(zswap="lz4")
    entry = swap.swap_out(swap.folio(2, zeros(4)))
    assert (swap.stats()["swpout_zero"], swap.zswap.stats()["stored_pages"]) == (4, 0)
    assert swap.swap_in(entry).read(0, PAGE) == zeros()
    other = swap.swap_out(swap.folio(0, text(1)))
    assert swap.zswap.stats()["stored_pages"] == 1
    assert swap.swap_in(other).read() == text(1)
    assert device.inuse_pages <= 5


def test_1_3_zeros_need_no_zswap() -> None:
    swap, _ = ghost_swap()
    entry = swap.swap_out(swap.folio(0, zeros()))
    assert swap.swap_in(entry).read() == zeros()


def test_1_3_swap_in_that_nobody_has_is_an_io_error() -> None:
    swap, _ = ghost_swap(zswap="lz4")
    entry = swap.alloc(0)
    assert errno_of(swap.swap_in, entry) == EIO
    assert swap.swap_count(entry) == 1
    swap.free(entry)
    swap.check()


def test_1_3_writeback_of_an_entry_is_refused_before_a_folio_is_made() -> None:
    swap, _ = ghost_swap(zswap="lz4")
    swap.swapon(file_storage(C))
    entry = swap.swap_out(swap.folio(0, text(1)))
    cached, used = swap.nr_swapcache_pages, swap.nr_used_pages
    hold = [swap.folio(0) for _ in range(swap.memory_pages - used)]
    assert errno_of(swap.zswap.writeback, entry) == EINVAL, "not ENOMEM: no folio was asked for"
    assert (swap.nr_swapcache_pages, swap.nr_used_pages) == (cached, swap.memory_pages)
    assert swap.zswap.stats()["stored_pages"] == 1
    hold.clear()
    assert swap.swap_in(entry).read() == text(1)


# Real devices, and the worker of zswap.


def test_real_devices_are_those_on_the_avail_list() -> None:
    swap, ghost = ghost_swap()
    assert swap.nr_real_swapfiles == 0
    virtual = swap.swapon(sc.Ghost(C, virtual_table=True))
    assert swap.nr_real_swapfiles == 0
    small = swap.swapon(sc.Null(pages=64), priority=9)
    assert swap.nr_real_swapfiles == 1
    other = swap.swapon(sc.Null(pages=64), priority=8)
    assert swap.nr_real_swapfiles == 2
    for full in (1, 0):
        entries = [swap.alloc(0) for _ in range(63)]
        assert swap.nr_real_swapfiles == full, "a full device is not on the list"
    swap.free(entries[5])
    assert swap.nr_real_swapfiles == 1
    swap.alloc(0)
    assert swap.nr_real_swapfiles == 0
    swap.free(entries[6])
    swap.swapoff(other, lambda entry, count: [swap.put(entry, 1) for _ in range(count)])
    assert swap.nr_real_swapfiles == 0, "the other one is still full"
    swap.swapoff(small, lambda entry, count: [swap.put(entry, 1) for _ in range(count)])
    for device in (ghost, virtual):
        swap.swapoff(device)
    assert swap.nr_real_swapfiles == 0
    swap.check()


def fill_pool(swap: sc.Swap) -> list[sc.SwpEntry]:
    """Stores pages that do not compress until one is refused."""
    entries: list[sc.SwpEntry] = []
    for number in range(swap.memory_pages):
        folio = swap.folio(0, noise(number))
        try:
            entries.append(swap.swap_out(folio))
        except sc.SwapFullError:
            return entries
        if swap.zswap.stats()["pool_limit_hit"]:
            return entries
    pytest.fail("the pool never was full")


def test_worker_is_not_queued_without_a_real_device() -> None:
    swap, _ = ghost_swap(zswap=sc.Zswap(max_pool_percent=1))
    entries = fill_pool(swap)
    assert len(entries) == 4096 // 100
    swap.run_workers()
    stats = swap.zswap.stats()
    assert (stats["written_back_pages"], stats["reject_reclaim_fail"]) == (0, 0)
    assert stats["pool_limit_hit"] == 1


def test_worker_is_not_queued_while_the_real_device_is_full() -> None:
    swap, ghost = ghost_swap(zswap=sc.Zswap(max_pool_percent=1), workers="manual")
    real = swap.swapon(file_storage(64), priority=9)
    runs = [swap.alloc(0) for _ in range(63)]
    assert {entry.type for entry in runs} == {real.type}
    entries = fill_pool(swap)
    assert {entry.type for entry in entries} == {ghost.type}
    swap.run_workers()
    assert swap.zswap.stats()["reject_reclaim_fail"] == 0
    swap.free(runs[0])
    swap.free(runs[1])
    folio = swap.folio(0, noise(1 << 20))
    refusal(lambda: swap.swap_out(folio))
    swap.run_workers()
    refused = swap.zswap.stats()["reject_reclaim_fail"]
    assert 0 < refused <= 16 * 32, "entries of ghost slots are refused, and the worker gives up"
    assert swap.zswap.stats()["written_back_pages"] == 0
    assert [swap.swap_in(entry).read() for entry in entries] == [noise(n) for n in range(len(entries))]


# Presentation and visibility.


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize(
    ("visibility", "is_counted"), [("visible", True), ("listed", False), ("hidden", False)]
)
def test_visibility_decides_what_is_counted(visibility: str, is_counted: bool, has_table: bool) -> None:
    swap = sc.Swap()
    swap.swapon(sc.Null(pages=1001))
    device = swap.swapon(sc.Ghost(1 << 20, visibility=visibility, virtual_table=has_table))
    assert device.visibility == visibility
    assert (device.kind, device.is_virtual) == ("ghost", has_table)
    counted = (1 << 20) - 1 if is_counted else 0
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (1000 + counted, 1000 + counted)
    entry = swap.swap_out(swap.folio(0, zeros()))
    assert entry.type == device.type or not has_table
    assert swap.nr_swap_pages == 1000 + counted - (is_counted or entry.type != device.type)
    runs = [swap.alloc(0) for _ in range(600)]
    on_null = sum(run.type != device.type for run in runs) + (entry.type != device.type)
    # Of virtual slots there are as many as one wants: "nearly full" is not about them.
    assert swap.vm_swap_full == ((has_table or not is_counted) and on_null > 500)
    swap.check()
    swap.free(entry)
    for run in runs:
        swap.free(run)
    swap.swapoff(device)
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (1000, 1000)


def test_visibility_has_three_words_and_ordinary_devices_none() -> None:
    assert errno_of(lambda: sc.Ghost(4096, visibility="seen")) == EINVAL
    swap = sc.Swap()
    assert swap.swapon(sc.Null(pages=64)).visibility is None
    assert swap.swapon(sc.Ghost(4096)).visibility == "visible"


def test_kind_is_that_of_proc_swaps(tmp_path: Path) -> None:
    swap = sc.Swap()
    kinds = [
        swap.swapon(storage).kind
        for storage in (
            sc.Ghost(4096),
            sc.Ghost(4096, virtual_table=True),
            sc.Ram(pages=64),
            sc.File.create(tmp_path / "swap", pages=64, is_block_device=False),
        )
    ]
    assert kinds == ["ghost", "ghost", "partition", "file"]


def test_ghosts_take_turns_as_other_devices_of_their_priority_do() -> None:
    swap = sc.Swap(zswap="lz4")
    devices = [swap.swapon(sc.Ghost(8 * C), priority=3), swap.swapon(sc.Ghost(8 * C), priority=3)]
    low = swap.swapon(sc.Null(pages=8 * C), priority=1)
    used = [swap.alloc(0) for _ in range(4 * C)]
    assert {entry.type for entry in used} == {device.type for device in devices}
    assert low.inuse_pages == 0
    for entry in used:
        swap.free(entry)
    for device in devices:
        swap.swapoff(device)
        assert not device.is_on
    assert swap.alloc(0).type == low.type


@pytest.mark.parametrize("has_table", [False, True])
def test_swapoff_of_a_ghost_brings_its_pages_back(has_table: bool) -> None:
    swap = sc.Swap(zswap="lz4")
    device = swap.swapon(sc.Ghost(8 * C, virtual_table=has_table), priority=5)
    real = swap.swapon(file_storage(C))
    mm = swap.mm()
    first = mm.mmap(64)
    for page in range(64):
        mm.write((first + page) * PAGE, text(page) if page % 3 else zeros())
    assert mm.pageout(first, 64)["reclaimed_pages"] == 64
    for page in range(1, 64, 6 if has_table else 64):
        refusal(lambda page=page: swap.zswap.writeback(mm.swap_entry(first + page)))
    assert real.inuse_pages == (11 if has_table else 0)
    swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert (swap.zswap.stats()["stored_pages"], real.inuse_pages) == (0, 0)
    for page in range(64):
        assert mm.read((first + page) * PAGE, PAGE) == (text(page) if page % 3 else zeros())
    swap.check()


@pytest.mark.parametrize("has_table", [False, True])
def test_15_tib_take_no_memory_until_they_are_used(has_table: bool) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost("15T", virtual_table=has_table))
    assert device.max_pages == 15 << 28
    empty = device.memory()["total_bytes"]
    assert empty < 64 * 1024
    nr_slots = 100 * C - 1
    for _ in range(nr_slots):
        swap.alloc(0)
    per_slot = (device.memory()["total_bytes"] - empty) / nr_slots
    assert (16 if has_table else 8) * 99 / 100 <= per_slot <= (17 if has_table else 8.5)


# Resizes under load.


@pytest.mark.parametrize("has_table", [False, True])
def test_grow_and_shrink_an_empty_device(has_table: bool) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost(4 * C, virtual_table=has_table))
    assert swap.resize(device, 16 * C) == {"max_pages": 16 * C, "limit_pages": 16 * C}
    assert (device.max_pages, swap.total_swap_pages) == (16 * C, 16 * C - 1)
    assert swap.nr_swap_pages == 16 * C - 1
    assert swap.resize(device, 2 * C) == {"max_pages": 2 * C, "limit_pages": 2 * C}
    assert (device.max_pages, swap.total_swap_pages, swap.nr_swap_pages) == (2 * C, 2 * C - 1, 2 * C - 1)
    swap.check()


def test_grow_gives_a_full_device_room() -> None:
    swap, device = ghost_swap(C)
    assert len([swap.alloc(0) for _ in range(C - 1)]) == device.inuse_pages
    assert errno_of(swap.alloc, 0) == ENOSPC
    swap.resize(device, 2 * C)
    assert swap.alloc(0).offset == C
    swap.check()


@pytest.mark.parametrize("has_table", [False, True])
def test_shrink_stops_above_the_highest_slot_in_use(has_table: bool) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost(8 * C, virtual_table=has_table))
    entries = [swap.alloc(0) for _ in range(6 * C - 1)]
    for entry in entries:
        if entry.offset // C != 4:
            swap.free(entry)
    found = swap.resize(device, 2 * C)
    assert found["limit_pages"] == 2 * C
    assert 5 * C <= found["max_pages"] == device.max_pages, "what is left is reported"
    room = list(itertools.takewhile(bool, (refusal(swap.alloc) == 0 for _ in range(8 * C))))
    assert len(room) == 2 * C - 1, "no new slot is above the limit"
    swap.check()
    for entry in entries:
        if entry.offset // C == 4:
            swap.free(entry)
    assert swap.resize(device, 2 * C) == {"max_pages": 2 * C, "limit_pages": 2 * C}
    assert errno_of(swap.lookup, entries[-1]) == EINVAL, "beyond it"
    swap.check()


def alloc_and_free(swap: sc.Swap, thread: int, deadline: float, done: list[int]) -> None:
    """Takes and gives slots, many at once when there are none."""
    rng = random.Random(thread)
    mine: list[sc.SwpEntry] = []
    while time.monotonic() < deadline:
        done[thread] += 1
        if rng.random() < 0.52 and len(mine) < 4000:
            try:
                mine.append(swap.alloc(rng.choice([0, 0, 0, 4, 9]), cpu=thread))
            except sc.SwapFullError:
                rng.shuffle(mine)
                while len(mine) > 10:
                    swap.free(mine.pop(), cpu=thread)
        elif mine:
            swap.free(mine.pop(rng.randrange(len(mine))), cpu=thread)
    for entry in mine:
        swap.free(entry, cpu=thread)


def guarded(raised: list[BaseException], work: Callable[..., None], *args: object) -> None:
    """Does what a thread does and keeps what it raises."""
    try:
        work(*args)
    except BaseException as error:  # noqa: BLE001
        raised.append(error)


@pytest.mark.parametrize("has_table", [False, True])
def test_resize_under_load(has_table: bool) -> None:
    """Used slots never exceed what there is, and those of the clusters add up, while all of it changes."""
    swap = sc.Swap(nr_cpus=4)
    device = swap.swapon(sc.Ghost(64 * C, virtual_table=has_table))
    deadline = time.monotonic() + SECONDS / 2
    raised: list[BaseException] = []
    done = [0] * 4
    threads = [
        threading.Thread(target=guarded, args=(raised, alloc_and_free, swap, thread, deadline, done))
        for thread in range(4)
    ]
    for thread in threads:
        thread.start()
    rng = random.Random(9)
    sizes = set()
    while time.monotonic() < deadline and not raised:
        asked = rng.randrange(1, 128) * C
        found = swap.resize(device, asked)
        assert found["limit_pages"] == asked <= found["max_pages"] == device.max_pages
        assert device.inuse_pages <= device.max_pages - 1
        swap.check()
        sizes.add(found["max_pages"] == asked)
    for thread in threads:
        thread.join(SECONDS + 60)
    if raised:
        raise raised[0]
    assert min(done) > 100
    assert sizes == {True, False}
    assert device.inuse_pages == 0
    assert swap.resize(device, 3 * C) == {"max_pages": 3 * C, "limit_pages": 3 * C}
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (3 * C - 1, 3 * C - 1)
    swap.check()
