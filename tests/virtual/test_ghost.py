"""Ghost devices: size, steps of a swap-out, refused writeback, visibility, swapoff, and resizing under load.

Rust tests (`rust/core/tests/it/ghost`) cover clusters, worked example E12 and resizing step by step.
"""

from __future__ import annotations

import random
from errno import EINVAL, ENOSPC

import pytest
import swapcore as sc
from helpers.load import Load
from helpers.memcg_facts import PAGE, errno_of, file_storage, refusal, task_of
from helpers.virtual_facts import C, noise, text, zeros


def ghost_swap(**options: object) -> tuple[sc.Swap, sc.SwapDevice]:
    """Makes a subsystem with one ghost device without virtual table."""
    swap = sc.Swap(nr_cpus=2, memory_pages=4096, **options)  # type: ignore[arg-type]
    return swap, swap.swapon(sc.Ghost(pages=8 * C))


@pytest.mark.parametrize(
    ("ram", "pages"),
    [
        (513 << 12, 1024 * 8),
        ("4K", 512 * 8),
        ("2M", 512 * 8),
        ("2052K", 1024 * 8),
        ("1465M", 375_296 * 8),  # slots for 11.5 GiB, as on a machine in a post to the mailing list
        ("32G", 8_388_608 * 8),
    ],
)
def test_size_is_ram_rounded_up_to_a_cluster_times_eight(ram: int | str, pages: int) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost.for_ram(ram))
    assert (device.max_pages, device.pages) == (pages, pages - 1)
    assert swap.total_swap_pages == pages - 1


def test_e12_ghost_as_posted_by_its_switches() -> None:
    swap = sc.Swap(switches={"ghost_cluster0": "unlisted", "ghost_large_orders": "refused"})
    swap.swapon(sc.Ghost(pages=3072))
    assert [swap.alloc(0).offset for _ in range(600)] == list(range(512, 1112))
    assert errno_of(swap.alloc, 4) == ENOSPC
    swap.check()


# Tests of reads and writes that a ghost refuses, because a ghost stores no pages


def test_swap_out_order_zero_mark_comes_before_zswap_and_the_write() -> None:
    swap, device = ghost_swap(zswap="lz4")
    entry = swap.swap_out(swap.folio(2, zeros(4)))
    assert (swap.stats()["swpout_zero"], swap.zswap.stats()["stored_pages"]) == (4, 0)
    assert swap.swap_in(entry).read(0, PAGE) == zeros()
    other = swap.swap_out(swap.folio(0, text(1)))
    assert swap.zswap.stats()["stored_pages"] == 1
    assert swap.swap_in(other).read() == text(1)
    assert device.inuse_pages <= 5


def test_writeback_of_an_entry_is_refused_before_a_folio_is_made() -> None:
    swap, _ = ghost_swap(zswap="lz4")
    swap.swapon(file_storage(C))
    entry = swap.swap_out(swap.folio(0, text(1)))
    cached, used = swap.nr_swapcache_pages, swap.nr_used_pages
    hold = [swap.folio(0) for _ in range(swap.memory_pages - used)]
    assert errno_of(swap.zswap.writeback, entry) == EINVAL, "not ENOMEM, as no folio is allocated"
    assert (swap.nr_swapcache_pages, swap.nr_used_pages) == (cached, swap.memory_pages)
    assert swap.zswap.stats()["stored_pages"] == 1
    hold.clear()
    assert swap.swap_in(entry).read() == text(1)


# Tests of real devices behind a ghost, and of the shrink worker of zswap


def fill_pool(swap: sc.Swap) -> list[sc.SwpEntry]:
    """Swaps out pages that do not compress until the zswap pool is full and refuses a page."""
    entries: list[sc.SwpEntry] = []
    for number in range(swap.memory_pages):
        folio = swap.folio(0, noise(number))
        if refusal(lambda folio=folio: entries.append(swap.swap_out(folio))) == ENOSPC:
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
    refusal(swap.swap_out, folio)
    swap.run_workers()
    refused = swap.zswap.stats()["reject_reclaim_fail"]
    assert 0 < refused <= 16 * 32, "the writeback of a ghost slot is refused, and the worker gives up"
    assert swap.zswap.stats()["written_back_pages"] == 0
    assert [swap.swap_in(entry).read() for entry in entries] == [noise(n) for n in range(len(entries))]


# Tests of the listings and totals that show a ghost


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize(
    ("visibility", "is_counted"), [("visible", True), ("listed", False), ("hidden", False)]
)
def test_visibility_decides_what_is_counted(visibility: str, is_counted: bool, has_table: bool) -> None:
    swap = sc.Swap()
    swap.swapon(sc.Null(pages=1001))
    device = swap.swapon(sc.Ghost(pages=1 << 20, visibility=visibility, is_virtual=has_table))
    assert device.visibility == visibility
    assert (device.kind, device.is_virtual) == ("ghost", has_table)
    counted = (1 << 20) - 1 if is_counted else 0
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (1000 + counted, 1000 + counted)
    entry = swap.swap_out(swap.folio(0, zeros()))
    assert entry.type == device.type or not has_table
    assert swap.nr_swap_pages == 1000 + counted - (is_counted or entry.type != device.type)
    runs = [swap.alloc(0) for _ in range(600)]
    on_null = sum(run.type != device.type for run in runs) + (entry.type != device.type)
    # `vm_swap_full` leaves out the slots of a virtual device, because such a device can always grow.
    assert swap.vm_swap_full == ((has_table or not is_counted) and on_null > 500)
    swap.check()
    swap.free(entry)
    for run in runs:
        swap.free(run)
    swap.swapoff(device)
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (1000, 1000)


@pytest.mark.parametrize("has_table", [False, True])
def test_swapoff_of_a_ghost_brings_its_pages_back(has_table: bool) -> None:
    swap = sc.Swap(zswap="lz4")
    device = swap.swapon(sc.Ghost(pages=8 * C, is_virtual=has_table), priority=5)
    real = swap.swapon(file_storage(C))
    data = [text(page) if page % 3 else zeros() for page in range(64)]
    task = task_of(swap, None, 64, b"".join(data))
    assert task.pageout(64)["reclaimed_pages"] == 64
    for page in range(1, 64, 6 if has_table else 64):
        refusal(swap.zswap.writeback, task.mm.swap_entry(task.first + page))
    assert real.inuse_pages == (11 if has_table else 0)
    swap.swapoff(device, lambda _entry, _count: task.mm.unuse(device))
    assert (swap.zswap.stats()["stored_pages"], real.inuse_pages) == (0, 0)
    assert [task.read(page) for page in range(64)] == data
    swap.check()


# Tests of `Swap.resize` of a ghost


def alloc_and_free(swap: sc.Swap, thread: int, load: Load, done: list[int]) -> None:
    """Allocates and frees slots at random; frees all but ten slots when the device is full."""
    rng = random.Random(thread)
    mine: list[sc.SwpEntry] = []
    while load.goes_on():
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


@pytest.mark.parametrize("has_table", [False, True])
def test_resize_under_load(has_table: bool) -> None:
    """The size changes while four threads allocate and free slots.

    All used slots are always below the size of the device.
    """
    swap = sc.Swap(nr_cpus=4)
    device = swap.swapon(sc.Ghost(pages=64 * C, is_virtual=has_table))
    done = [0] * 4
    sizes: set[bool] = set()
    load = Load(9, is_enough=lambda: min(done) > 100 and sizes == {True, False})

    def change_size() -> None:
        rng = random.Random(9)
        while load.goes_on():
            asked = rng.randrange(1, 128) * C
            found = swap.resize(device, pages=asked)
            assert found["limit_pages"] == asked <= found["max_pages"] == device.max_pages
            assert device.inuse_pages <= device.max_pages - 1
            swap.check()
            sizes.add(found["max_pages"] == asked)

    load.run_each(4, lambda thread: alloc_and_free(swap, thread, load, done), change_size)
    assert device.inuse_pages == 0
    assert swap.resize(device, pages=3 * C) == {"max_pages": 3 * C, "limit_pages": 3 * C}
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (3 * C - 1, 3 * C - 1)
    swap.check()


# Tests of ``Swap(virtual=...)``, which turns on a hidden ghost from the start


@pytest.mark.parametrize(("given", "pages"), [(True, 2**32 - 1), ("1G", 1 << 18), (5000 << 12, 5000)])
def test_virtual_is_a_hidden_ghost_in_front_of_all_devices(given: bool | str | int, pages: int) -> None:
    swap = sc.Swap(virtual=given, profile="v618")
    (ghost,) = swap.devices
    assert (ghost.max_pages, ghost.is_virtual, ghost.visibility) == (pages, True, "hidden")
    assert (swap.total_swap_pages, swap.nr_swap_pages) == (0, 0)
    disk = swap.swapon(sc.Ram("16M"))
    assert disk.priority == -2, "the ghost takes no automatic priority"
    entry = swap.swap_out(swap.folio(data=b"page"))
    assert entry.type == ghost.type
    assert swap.backing(entry)["type"] == "swapfile"
    assert disk.inuse_pages == 1
    assert swap.swap_in(entry).read(0, 4) == b"page"
    swap.check()


def test_virtual_is_off_by_default_and_its_size_is_checked() -> None:
    assert sc.Swap().devices == sc.Swap(virtual=False).devices == []
    for bad in (1, 4096, 2**45):
        with pytest.raises(sc.InvalidArgumentError, match=r"size \d+ "):
            sc.Swap(virtual=bad)
    with pytest.raises(TypeError):
        sc.Swap(virtual=1.5)  # type: ignore[arg-type]


# Tests of `SwapDevice.limit_pages` of a ghost that shrinks


def test_free_slots_beyond_the_limit_are_not_counted() -> None:
    swap = sc.Swap(zswap="lz4")
    ghost = swap.swapon(sc.Ghost(pages=4 * C))
    entries = [swap.alloc() for _ in range(4 * C - 1)]
    swap.free(entries[3 * C])
    assert ghost.limit_pages == ghost.max_pages == 4 * C
    assert swap.resize(ghost, pages=2 * C) == {"max_pages": 4 * C, "limit_pages": 2 * C}
    assert (ghost.limit_pages, ghost.max_pages, swap.nr_swap_pages) == (2 * C, 4 * C, 0)
    for entry in entries[2 * C : 2 * C + 400]:
        swap.free(entry)
    assert swap.nr_swap_pages == 0
    swap.check()
    with pytest.raises(sc.SwapFullError):
        swap.alloc()
    swap.free(entries[7])
    assert swap.nr_swap_pages == 1
    swap.check()
    swap.resize(ghost, pages=4 * C)
    assert swap.nr_swap_pages == 402
    swap.check()
