"""Tests of the kernel's zswap guide: parameters, stores, loads, order of writeback, groups, shrinker."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, refusal, task_of
from helpers.virtual_facts import noise, text


def machine(zswap: str | sc.Zswap | None = "lz4", **options: int) -> sc.Swap:
    """Returns a subsystem with zswap in front of one device, on which slots stay after a swap-in."""
    swap = sc.Swap(zswap=zswap, switches={"memcg_stock": "off"}, **options)
    swap.page_cluster = 0
    swap.swapon(file_storage(4096))
    return swap


def out(swap: sc.Swap, data: bytes, memcg: sc.MemCgroup | None = None) -> sc.SwpEntry:
    """Swaps a page out."""
    return swap.swap_out(swap.folio(0, data, memcg=memcg))


def zswap_stats(swap: sc.Swap, *names: str) -> list[int]:
    """Returns the counters of zswap that ``names`` lists."""
    stats = swap.zswap.stats()
    return [stats[name] for name in names]


def test_zswap_is_off_unless_asked_for_and_can_be_turned_on_at_any_time() -> None:
    swap = machine(None)
    assert swap.zswap.enabled is False
    first = out(swap, text(1))
    swap.zswap.enabled = True
    second = out(swap, text(2))
    assert [swap.backing(entry)["type"] for entry in (first, second)] == ["swapfile", "zswap"]
    assert [swap.swap_in(entry).read() for entry in (first, second)] == [text(1), text(2)]
    swap.check()


def test_disabled_zswap_keeps_its_pages_until_they_are_read_or_freed() -> None:
    swap = machine()
    entries = [out(swap, text(seed)) for seed in range(4)]
    swap.zswap.enabled = False
    late = out(swap, text(9))
    assert zswap_stats(swap, "stored_pages") == [4]
    assert swap.backing(late)["type"] == "swapfile"
    assert swap.swap_in(entries[0]).read() == text(0)
    swap.free(entries[1])
    assert zswap_stats(swap, "stored_pages") == [2]
    swap.zswap.enabled = True
    assert [swap.backing(entry)["type"] for entry in entries[2:]] == ["zswap"] * 2
    swap.check()


def test_swapoff_brings_all_pages_of_zswap_into_memory() -> None:
    swap = machine()
    task = task_of(swap, None, 16, text(1, 16))
    task.pageout(16)
    assert zswap_stats(swap, "stored_pages") == [16]
    swap.zswap.enabled = False
    device = swap.devices[0]
    swap.swapoff(device, lambda _entry, _count: task.mm.unuse(device))
    assert zswap_stats(swap, "stored_pages", "pool_total_size") == [0, 0]
    assert (task.mm.resident_pages, task.read(0, 16 * PAGE)) == (16, text(1, 16))
    swap.check()


def test_a_stored_page_is_not_written_and_not_read() -> None:
    swap = machine()
    task = task_of(swap, None, 64, text(1, 64))
    task.pageout(64)
    assert task.read(0, 64 * PAGE) == text(1, 64)
    stats = swap.stats()
    assert [stats[name] for name in ("zswpout", "zswpin", "pswpout", "pswpin")] == [64, 64, 0, 0]
    swap.check()


def test_an_entry_is_found_by_the_device_and_the_offset_of_its_slot() -> None:
    swap = sc.Swap(zswap="lz4")
    for _ in range(2):
        swap.swapon(file_storage(16))
    entries = [out(swap, text(seed)) for seed in range(30)]
    assert len({entry.type for entry in entries}) == 2
    assert sorted(entry.offset for entry in entries) == sorted([*range(1, 16)] * 2)
    assert zswap_stats(swap, "stored_pages") == [30]
    assert [swap.swap_in(entry).read() for entry in entries] == [text(seed) for seed in range(30)]
    swap.check()


def test_the_pool_grows_with_its_pages_and_shrinks_with_them() -> None:
    swap = machine()
    assert zswap_stats(swap, "pool_total_size") == [0]
    task = task_of(swap, None, 512, text(1, 512))
    task.pageout(256)
    half = swap.zswap.stats()["pool_total_size"]
    task.pageout(256, 256)
    whole = swap.zswap.stats()["pool_total_size"]
    assert 0 < half < whole < 512 * PAGE // 4
    task.mm.zap(task.first, 512)
    assert zswap_stats(swap, "stored_pages", "pool_total_size") == [0, 0]
    swap.check()


def test_an_entry_goes_when_no_page_table_names_its_slot() -> None:
    swap = machine()
    task = task_of(swap, None, 4, text(1, 4))
    task.pageout(4)
    child = task.mm.fork()
    child.zap(task.first, 2)
    assert zswap_stats(swap, "stored_pages") == [4], "the parent has all slots"
    del task
    assert zswap_stats(swap, "stored_pages") == [2]
    del child
    assert zswap_stats(swap, "stored_pages", "pool_total_size") == [0, 0]
    swap.check()


def test_the_oldest_pages_go_to_the_device_when_the_pools_are_full() -> None:
    swap = machine(sc.Zswap(max_pool_percent=2, accept_threshold_percent=50), memory_pages=4096)
    entries = [out(swap, noise(seed)) for seed in range(82)]
    kinds = [swap.backing(entry)["type"] for entry in entries]
    assert kinds[81] == "swapfile", "the limit of 81 pages is reached, so the last page goes to the device"
    assert zswap_stats(swap, "pool_limit_hit") == [1]
    nr_written = swap.zswap.stats()["written_back_pages"]
    assert nr_written >= 41, "the worker went on to half of the limit"
    assert kinds[:81] == ["swapfile"] * nr_written + ["zswap"] * (81 - nr_written), "oldest first"
    assert [swap.swap_in(entry).read() for entry in entries] == [noise(seed) for seed in range(82)]
    swap.check()


def hard(seed: int) -> bytes:
    """Returns a page whose compressed data is almost as large as a page and takes a page of the pool."""
    return noise(seed)[:3900] + bytes(PAGE - 3900)


@pytest.mark.parametrize(("threshold", "nr_left"), [(80, 80), (100, 99)])
def test_full_pools_take_no_page_until_they_are_at_the_threshold(threshold: int, nr_left: int) -> None:
    """With a threshold of 100 percent, full pools take a page again as soon as one stored page is freed."""
    swap = machine(sc.Zswap(max_pool_percent=10, accept_threshold_percent=threshold), memory_pages=1000)
    a = swap.memcg.create("a", memory_zswap_writeback=0)
    stored = [out(swap, hard(seed), a) for seed in range(100)]
    assert zswap_stats(swap, "pool_total_size", "pool_limit_hit") == [100 * PAGE, 0]
    folio = swap.folio(0, hard(200), memcg=a)
    assert errno_of(swap.swap_out, folio) == errno.ENOSPC
    while len(stored) > nr_left:
        swap.free(stored.pop())
        assert (refusal(swap.swap_out, folio) == 0) == (len(stored) == nr_left)
    assert zswap_stats(swap, "pool_total_size", "pool_limit_hit") == [(nr_left + 1) * PAGE, 1]
    swap.check()


def test_a_limit_of_0_percent_takes_no_page() -> None:
    swap = machine(sc.Zswap(max_pool_percent=0))
    entry = out(swap, text(1))
    assert zswap_stats(swap, "stored_pages", "pool_limit_hit") == [0, 1]
    assert swap.backing(entry)["type"] == "swapfile"
    swap.check()


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("compressor", "deflate"),
        ("max_pool_percent", 101),
        ("accept_threshold_percent", 101),
        ("max_pool_percent", -1),
    ],
)
def test_a_parameter_that_is_refused_keeps_its_value(name: str, bad: object) -> None:
    swap = machine()
    before = getattr(swap.zswap, name)
    with pytest.raises((sc.InvalidArgumentError, OverflowError)):
        setattr(swap.zswap, name, bad)
    assert getattr(swap.zswap, name) == before
    swap.check()


def test_another_compressor_leaves_stored_pages_as_they_are() -> None:
    swap = machine()
    entries = [out(swap, text(seed)) for seed in range(4)]
    size = swap.zswap.pools()[0]["compressed_bytes"]
    swap.zswap.compressor = "zstd"
    new = out(swap, text(9))
    pools = {pool["compressor"]: pool for pool in swap.zswap.pools()}
    assert (pools["lz4"]["stored_pages"], pools["lz4"]["compressed_bytes"]) == (4, size)
    assert pools["zstd"]["stored_pages"] == 1
    assert [swap.swap_in(entry).read() for entry in entries] == [text(seed) for seed in range(4)]
    assert [pool["compressor"] for pool in swap.zswap.pools()] == ["zstd"], "an empty old pool goes"
    assert swap.swap_in(new).read() == text(9)
    swap.check()


def test_pages_of_zeros_cost_no_memory_and_pages_of_another_byte_are_compressed() -> None:
    swap = machine()
    zeros, ones = out(swap, bytes(PAGE)), out(swap, b"\1" * PAGE)
    assert zswap_stats(swap, "stored_pages") == [1]
    assert (swap.lookup(zeros)["is_zero"], swap.backing(ones)["type"]) == (True, "zswap")
    assert swap.zswap.pools()[0]["compressed_bytes"] < 64
    assert [swap.swap_in(entry).read() for entry in (zeros, ones)] == [bytes(PAGE), b"\1" * PAGE]
    swap.check()


def test_writeback_0_keeps_the_pages_of_a_group_off_the_devices() -> None:
    swap = machine(sc.Zswap(max_pool_percent=1, accept_threshold_percent=50), memory_pages=1000)
    p = swap.memcg.create("p", memory_zswap_writeback=0)
    a = p.create("a")
    assert a.memory_zswap_writeback == 1, "the file shows the value of its own group"
    entries = [out(swap, text(seed), a) for seed in range(8)]
    incompressible = swap.folio(0, noise(1), memcg=a)
    for tries in (1, 2):
        assert errno_of(swap.swap_out, incompressible) == errno.ENOSPC
        assert zswap_stats(swap, "reject_compress_poor") == [tries], "each try compresses the page again"
    assert incompressible.is_resident
    assert errno_of(swap.zswap.shrink, memcg=a) == errno.ENOENT
    assert swap.zswap.shrink_worker() == 0
    assert {swap.backing(entry)["type"] for entry in entries} == {"zswap"}
    assert swap.stats()["pswpout"] == 0
    p.memory_zswap_writeback = 1
    swap.swap_out(incompressible)
    swap.check()


@pytest.mark.parametrize("has_table", [False, True])
def test_writeback_0_has_no_effect_while_zswap_is_disabled(has_table: bool) -> None:
    swap = sc.Swap(switches={"memcg_stock": "off"})
    if has_table:
        swap.swapon(sc.Ghost(pages=4096, is_virtual=True))
    swap.swapon(file_storage(2048))
    p = swap.memcg.create("p", memory_zswap_writeback=0)
    a = p.create("a", memory_zswap_writeback=0)
    task = task_of(swap, a, 16, noise(1, 16))
    assert task.pageout(16)["reclaimed_pages"] == 16
    assert (swap.stats()["pswpout"], a.memory_swap_current) == (16, 16 * PAGE)
    a.memory_swap_max = 16 * PAGE
    assert refusal(swap.swap_out, swap.folio(0, noise(2), memcg=a)) == errno.ENOMEM, (
        "memory.swap.max still has"
    )
    a.memory_swap_max = "max"
    swap.zswap.enabled = True
    folio = swap.folio(0, noise(3), memcg=a)
    assert refusal(swap.swap_out, folio) == errno.ENOSPC
    swap.zswap.enabled = False
    assert refusal(swap.swap_out, folio) == 0
    swap.check()


def test_writeback_0_still_takes_compressed_pages_and_a_swap_limit_of_0_does_not() -> None:
    swap = machine()
    a = swap.memcg.create("a", memory_zswap_writeback=0)
    b = swap.memcg.create("b", memory_swap_max=0)
    assert swap.backing(out(swap, text(1), a))["type"] == "zswap"
    assert errno_of(swap.swap_out, swap.folio(0, text(2), memcg=b)) == errno.ENOMEM
    assert zswap_stats(swap, "stored_pages") == [1]
    swap.check()


def test_a_page_in_zswap_is_charged_as_swap_and_its_bytes_as_memory() -> None:
    swap = machine()
    a = swap.memcg.create("a")
    entries = [out(swap, text(seed), a) for seed in range(64)]
    assert a.memory_swap_current == 64 * PAGE
    assert 0 < a.memory_zswap_current <= a.memory_current < 64 * PAGE // 8
    swap.zswap.writeback(entries[0])
    assert (a.memory_swap_current, a.memory_stat["zswpwb"]) == (64 * PAGE, 1)
    swap.check()


def test_a_group_at_its_zswap_limit_is_refused_until_pages_leave() -> None:
    swap = machine()
    a = swap.memcg.create("a", memory_zswap_max=4 * PAGE, memory_zswap_writeback=0)
    entries = [out(swap, hard(seed), a) for seed in range(5)]
    assert a.memory_zswap_current >= 4 * PAGE
    folio = swap.folio(0, text(9), memcg=a)
    assert errno_of(swap.swap_out, folio) == errno.ENOSPC
    b = swap.memcg.create("b")
    out(swap, text(8), b)
    swap.swap_in(entries[0], memcg=a)
    swap.swap_in(entries[1], memcg=a)
    assert a.memory_zswap_current < 4 * PAGE
    swap.swap_out(folio)
    swap.check()


def test_a_group_at_its_zswap_limit_writes_its_oldest_pages_to_make_room() -> None:
    swap = machine()
    a = swap.memcg.create("a", memory_zswap_max=32 * PAGE)
    entries = [out(swap, noise(seed), a) for seed in range(96)]
    assert a.memory_zswap_current <= 33 * PAGE
    assert a.memory_stat["zswpwb"] > 0
    assert swap.backing(entries[0])["type"] == "swapfile"
    assert zswap_stats(swap, "pool_limit_hit") == [0]
    swap.check()


def test_the_shrinker_is_off_and_writes_cold_pages_in_reclaim_when_it_is_on() -> None:
    for is_on in (False, True):
        swap = machine()
        assert swap.zswap.shrinker_enabled is False
        swap.zswap.shrinker_enabled = is_on
        a = swap.memcg.create("a")
        for seed in range(128):
            out(swap, noise(seed), a)
        for _ in range(4):
            assert refusal(a.write, "memory.reclaim", 64 * PAGE) in (0, errno.EAGAIN)
        written = swap.zswap.stats()["written_back_pages"]
        assert (written > 0) == is_on
        assert a.memory_zswap_current == (128 - written) * PAGE
        swap.check()


def test_incompressible_pages_are_stored_as_they_are_where_writeback_is_allowed() -> None:
    swap = machine()
    a = swap.memcg.create("a")
    entry = out(swap, noise(1), a)
    names = ("stored_pages", "stored_incompressible_pages", "pool_total_size")
    assert zswap_stats(swap, *names) == [1, 1, PAGE]
    assert (a.memory_stat["zswap_incomp"], a.memory_zswap_current) == (1, PAGE)
    assert swap.swap_in(entry).read() == noise(1)
    assert zswap_stats(swap, *names) == [0, 0, 0]
    swap.check()


def test_the_files_of_debugfs_are_counters_with_their_names() -> None:
    stats = machine().zswap.stats()
    assert set(stats) - {"entry_bytes"} == {
        "pool_limit_hit",
        "reject_reclaim_fail",
        "reject_alloc_fail",
        "reject_kmemcache_fail",
        "reject_compress_fail",
        "reject_compress_poor",
        "decompress_fail",
        "written_back_pages",
        "pool_total_size",
        "stored_pages",
        "stored_incompressible_pages",
    }
    assert set(stats.values()) == {0}
