"""zswap: parameters, results of a store, loads, order of writeback, pools.

virtual/test_realloc.py tests the writeback of one entry. test_zswap_groups.py tests files and limits of
groups. Rust tests (`rust/core/tests/it/data/zswap.rs`) cover the limit of the pools and the shrink worker.
"""

from __future__ import annotations

from errno import EAGAIN, EINVAL, EIO, ENOENT, ENOSPC
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, refusal, task_of
from helpers.virtual_facts import Machine, noise, text, zeros
from swapcore.running import stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KERNEL_NAMES = {
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
SCAN = 32  # the number of entries that one shrink of a group scans


def shrunk_pages(machine: Machine) -> int:
    """Shrinks group A once and returns the number of pages written back."""
    written: list[int] = []
    assert refusal(lambda: written.append(machine.swap.zswap.shrink(memcg=machine.a))) in (0, EAGAIN)
    return sum(written)


# Tests of the parameters of zswap


NAMES = ("compressor", "enabled", "max_pool_percent", "accept_threshold_percent", "shrinker_enabled")


def parameters_of(zswap: object) -> list[object]:
    """Returns the parameters of an `sc.Zswap` or of `Swap.zswap`."""
    return [getattr(zswap, name) for name in NAMES]


def test_parameters_have_the_kernel_s_defaults() -> None:
    zswap = sc.Swap(zswap="lz4").zswap
    assert parameters_of(zswap) == ["lz4", True, 20, 90, False]
    assert sc.Swap().zswap.enabled is False
    assert set(zswap.stats()) >= KERNEL_NAMES
    assert not any(zswap.stats().values())


def test_parameters_are_those_given_and_can_be_written_while_it_runs() -> None:
    percent = {"max_pool_percent": 30, "accept_threshold_percent": 80}
    given = sc.Zswap(compressor="zstd", shrinker_enabled=True, **percent)
    zswap = sc.Swap(zswap=given).zswap
    assert parameters_of(zswap) == parameters_of(given) == ["zstd", True, 30, 80, True]
    zswap.compressor, zswap.max_pool_percent, zswap.accept_threshold_percent = "lz4", 7, 50
    zswap.enabled = zswap.shrinker_enabled = False
    assert parameters_of(zswap) == ["lz4", False, 7, 50, False]
    assert "disabled" in repr(zswap)
    for name, bad in (("compressor", "brotli"), ("max_pool_percent", 101)):
        assert errno_of(setattr, zswap, name, bad) == EINVAL
    assert errno_of(zswap.set_faults, compress=1.5) == EINVAL
    assert parameters_of(zswap) == ["lz4", False, 7, 50, False]


@pytest.mark.parametrize("has_table", [False, True])
def test_zswap_can_be_turned_on_later_and_off_again(has_table: bool) -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ghost(pages=4096, is_virtual=has_table))
    folio = swap.folio(0, text(1))
    assert errno_of(swap.swap_out, folio) == ENOSPC
    assert (folio.is_resident, folio.is_dirty, folio.is_active, folio.read()) == (True, True, True, text(1))
    swap.zswap.enabled = True
    entry = swap.swap_out(folio)
    swap.zswap.enabled = False
    other = swap.folio(0, text(2))
    assert errno_of(swap.swap_out, other) == ENOSPC
    assert swap.swap_in(entry).read() == text(1), "a stored page can be read"
    assert [swap.stats()[name] for name in sorted(stacks.ZSWAP_COUNTERS)] == [1, 1, 0]


# Tests of stores in zswap, by the outcome of compression


@pytest.fixture(params=[False, True], ids=["direct", "virtual"])
def has_table(request: pytest.FixtureRequest) -> bool:
    """Tells whether the subsystem has a virtual device, which a physical device backs."""
    return bool(request.param)


@pytest.fixture
def stack(has_table: bool) -> Iterator[tuple[sc.Swap, sc.SwapDevice]]:
    """Returns a subsystem with zswap, and its physical device."""
    swap = sc.Swap(zswap="lz4")
    if has_table:
        swap.swapon(sc.Ghost(pages=4096, is_virtual=True))
    yield swap, swap.swapon(file_storage(2048))
    swap.check()


@pytest.mark.parametrize(
    ("fault", "counter"),
    [("entry_alloc", "reject_kmemcache_fail"), ("pool_alloc", "reject_alloc_fail")],
)
def test_a_store_that_fails_is_counted_and_goes_on_to_the_device(
    stack: tuple[sc.Swap, sc.SwapDevice], fault: str, counter: str
) -> None:
    swap, device = stack
    swap.zswap.set_faults(**{fault: 1.0})
    entry = swap.swap_out(swap.folio(0, text(1)))
    stats = swap.zswap.stats()
    assert {name for name in KERNEL_NAMES if stats[name]} == {counter}
    assert stats[counter] == 1
    assert (device.inuse_pages, swap.stats()["pswpout"]) == (1, 1)
    assert swap.swap_in(entry).read() == text(1)


@pytest.mark.parametrize("is_failure", [False, True])
def test_incompressible_page_is_stored_raw_where_writeback_is_allowed(
    machine: Machine, is_failure: bool
) -> None:
    machine.swap.zswap.set_faults(compress=1.0 if is_failure else 0.0)
    data = text(1) if is_failure else noise(1)
    entry = machine.out(data, machine.a)
    assert machine.row(entry) == "zswap shadow"
    assert machine.stats("stored_pages", "stored_incompressible_pages") == [1, 1]
    assert machine.stats("reject_compress_poor", "reject_compress_fail") == [0, 0]
    assert int(machine.a.read("memory.zswap.current")) == machine.stat("pool_total_size") == PAGE
    assert machine.read(entry) == [data]
    assert machine.stat("stored_incompressible_pages") == 0


@pytest.mark.parametrize(
    ("is_failure", "counter"), [(False, "reject_compress_poor"), (True, "reject_compress_fail")]
)
def test_incompressible_page_stays_where_writeback_is_not(
    stack: tuple[sc.Swap, sc.SwapDevice], has_table: bool, is_failure: bool, counter: str
) -> None:
    swap, device = stack
    a = swap.memcg.create("A", memory_zswap_writeback=0)
    swap.zswap.set_faults(compress=1.0 if is_failure else 0.0)
    folio = swap.folio(0, text(1) if is_failure else noise(1), memcg=a)
    for tries in range(1, 4):
        assert refusal(swap.swap_out, folio) != 0
        assert (folio.is_resident, folio.is_dirty, folio.is_active) == (True, True, True)
        assert swap.zswap.stats()[counter] == tries, "each swap-out compresses once"
    assert swap.stats()["pswpout"] == 0
    assert device.inuse_pages == (0 if has_table else 1)
    assert swap.zswap.stats()["stored_pages"] == 0


def test_reclaim_of_pages_that_nobody_takes_ends(machine: Machine) -> None:
    machine.a.write("memory.zswap.writeback", 0)
    machine.a.write("memory.max", 64 * PAGE)
    task = machine.task(machine.a, 256)
    with pytest.raises(MemoryError):
        task.write(noise(1, 256))
    assert 0 < machine.stat("reject_compress_poor") < 64 * 256, "reclaim gives up"
    assert machine.physical_pages == 0


def test_raw_pages_keep_their_place_in_the_lru(machine: Machine) -> None:
    data = [noise(number) if number % 5 == 2 else text(number) for number in range(SCAN + 8)]
    entries = machine.out_each(data, machine.a)
    pool = machine.stat("pool_total_size")
    assert machine.stat("stored_incompressible_pages") == 8
    assert shrunk_pages(machine) == 0, "the first scan gives 32 entries a second chance and writes none"
    assert machine.stats("written_back_pages", "pool_total_size") == [0, pool]
    # The second scan gives the last 8 entries their second chance. The second scan writes the oldest 24
    # entries, including raw pages, which zswap stores uncompressed.
    assert shrunk_pages(machine) == SCAN - 8
    assert machine.rows(*entries) == ["swapfile shadow"] * (SCAN - 8) + ["zswap shadow"] * 16
    assert machine.stats("zswpwb", "stored_pages") == [machine.physical_pages, 16] == [SCAN - 8, 16]
    machine.world.verify()
    assert machine.read(*entries) == data


@pytest.mark.parametrize("fault", ["entry_alloc", "pool_alloc"])
def test_a_large_folio_is_stored_whole_or_not_at_all(
    stack: tuple[sc.Swap, sc.SwapDevice], has_table: bool, fault: str
) -> None:
    swap, device = stack
    outcomes = set()
    for seed in range(12):
        before = swap.stats()
        swap.zswap.set_faults(**{fault: 0.15}, seed=seed)
        entry = swap.swap_out(swap.folio(3, text(seed, 8)))
        swap.zswap.set_faults()
        stored = swap.zswap.stats()["stored_pages"]
        outcomes.add(stored)
        written = [swap.stats()[name] - before[name] for name in ("zswpout", "pswpout")]
        assert written == [stored, 8 - stored]
        assert device.inuse_pages == (8 - stored if has_table else 8)
        folios = swap.swap_in_batch([entry])
        assert b"".join(folio.read() for folio in folios) == text(seed, 8)
        del folios
        swap.shrink_swap_cache()
    assert outcomes == {0, 8}


@pytest.mark.parametrize("why", ["nothing", "disabled", "full", "group", "entry_alloc"])
def test_a_store_replaces_the_older_copy_and_a_refused_one_drops_it(
    stack: tuple[sc.Swap, sc.SwapDevice], why: str
) -> None:
    """After a second write of a slot, a read never returns the data of the first write."""
    swap, _ = stack
    a = swap.memcg.create("A")
    entry = swap.swap_out(swap.folio(0, noise(1), memcg=a))
    folio = swap.folio(0, text(2), memcg=a)
    swap.swap_cache_add_folio(folio, entry)
    folio.write(text(2))
    assert swap.zswap.stats()["stored_pages"] == 1
    if why == "disabled":
        swap.zswap.enabled = False
    elif why == "full":
        swap.zswap.max_pool_percent = 0
    elif why == "group":
        a.write("memory.zswap.max", 0)
    elif why == "entry_alloc":
        swap.zswap.set_faults(entry_alloc=1.0)
    assert swap.swap_out(folio) == entry
    stats = swap.zswap.stats()
    assert (stats["stored_pages"], stats["stored_incompressible_pages"]) == (int(why == "nothing"), 0)
    assert swap.zswap.stats()["pool_limit_hit"] == int(why == "full")
    assert swap.swap_in(entry).read() == text(2)


# Tests of loads from zswap


@pytest.mark.parametrize("has_table", [False, True])
def test_a_load_that_does_not_decompress_is_an_io_error_and_can_be_tried_again(has_table: bool) -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ghost(pages=4096, is_virtual=has_table))
    entry = swap.swap_out(swap.folio(0, text(1)))
    swap.zswap.set_faults(decompress=1.0)
    for tries in (1, 2):
        assert errno_of(swap.swap_in, entry) == EIO
        assert swap.zswap.stats()["decompress_fail"] == tries
        assert swap.swap_count(entry) == 1
        assert swap.zswap.stats()["stored_pages"] == 1
        swap.check()
    swap.zswap.set_faults()
    assert swap.swap_in(entry).read() == text(1)


# Tests of the order in which zswap writes entries back


def test_an_entry_that_fails_does_not_hold_the_others_up(machine: Machine) -> None:
    entries = machine.out_each([text(number) for number in range(8)], machine.a)
    assert shrunk_pages(machine) == 0
    in_use = machine.swap.folio(0, text(0), memcg=machine.a)
    machine.swap.swap_cache_add_folio(in_use, entries[0])
    assert shrunk_pages(machine) == 7
    assert machine.stat("reject_reclaim_fail") >= 1
    assert machine.rows(entries[0]) == ["zswap folio"]
    in_use.is_dirty = False
    machine.swap.swap_cache_del_folio(in_use)


def test_shrinking_says_why_it_cannot(machine: Machine) -> None:
    assert errno_of(machine.swap.zswap.shrink, memcg=machine.a) == ENOENT, "the group has no entry"
    machine.out(text(1), machine.a)
    machine.a.write("memory.zswap.writeback", 0)
    assert errno_of(machine.swap.zswap.shrink, memcg=machine.a) == ENOENT, "writeback is off"
    machine.a.write("memory.zswap.writeback", 1)
    assert errno_of(machine.swap.zswap.shrink, memcg=machine.a) == EAGAIN, (
        "the entry has its second chance first"
    )
    assert shrunk_pages(machine) == 1


# Tests of the pools and counters of zswap


def test_another_compressor_is_another_pool_and_the_old_one_goes_when_empty(machine: Machine) -> None:
    old = machine.out_each(text(number) for number in range(5))
    machine.swap.zswap.compressor = "zstd"
    new = machine.out_each(text(10 + number) for number in range(3))
    pools = machine.swap.zswap.pools()
    assert {pool["compressor"]: pool["stored_pages"] for pool in pools} == {"lz4": 5, "zstd": 3}
    assert sum(pool["pool_bytes"] for pool in pools) == machine.stat("pool_total_size") > 0
    for entry in old[:4]:
        machine.swap.free(entry, 1)
    assert len(machine.swap.zswap.pools()) == 2
    assert machine.read(old[4]) == [text(4)], "the page is decompressed by the compressor of its pool"
    assert [pool["compressor"] for pool in machine.swap.zswap.pools()] == ["zstd"]
    assert machine.read(*new) == [text(10 + number) for number in range(3)]


@pytest.mark.parametrize(("nr_bytes", "class_bytes"), [(3570, 3632), (3900, 4096)])
def test_nothing_above_3624_bytes_saves_memory(machine: Machine, nr_bytes: int, class_bytes: int) -> None:
    """The largest size class below a page has 3,632 bytes; an object of this class may span two pages."""
    nr_stored = 256
    for number in range(nr_stored):
        machine.out(noise(number)[:nr_bytes] + bytes(PAGE - nr_bytes))
    wanted = nr_stored * class_bytes
    assert wanted <= machine.stat("pool_total_size") <= wanted * 1.08


def test_zeros_never_reach_zswap(machine: Machine) -> None:
    machine.out(zeros(4))
    assert machine.stats("stored_pages", "zswpout", "swpout_zero") == [0, 0, 4]
    machine.out(b"\1" * PAGE)
    assert machine.stat("stored_pages") == 1, "a page of equal bytes is data"


def test_swapoff_of_an_ordinary_device_drops_its_entries() -> None:
    swap = sc.Swap(zswap="lz4")
    device = swap.swapon(file_storage(512))
    task = task_of(swap, None, 8, text(1, 8))
    assert task.pageout(8)["reclaimed_pages"] == 8
    assert swap.zswap.stats()["stored_pages"] == 8
    swap.swapoff(device, lambda _entry, _count: task.mm.unuse(device))
    assert swap.zswap.stats()["stored_pages"] == 0
    assert task.read(0, 8 * PAGE) == text(1, 8)
    swap.check()


def test_entries_are_given_back_with_their_pages() -> None:
    swap = sc.Swap(zswap="lz4")
    device = swap.swapon(sc.Ghost("1G", is_virtual=True))
    assert swap.memory()["zswap_entry_bytes"] == 0
    entries = [swap.swap_out(swap.folio(sc.MAX_ORDER, data=b"text ")) for _ in range(200)]
    full = swap.memory()["zswap_entry_bytes"]
    assert 200 * 512 * 40 <= full <= 200 * 512 * 42
    # The test frees half of the pages in runs of 512, so that whole pieces of memory of 64 entries are freed.
    for entry in entries[:100]:
        swap.put(entry, 512)
    assert swap.memory()["zswap_entry_bytes"] <= full * 0.55
    for entry in entries[100:]:
        swap.put(entry, 512)
    assert swap.memory()["zswap_entry_bytes"] <= 64 * 40 + 256
    assert swap.memory()["zswap_kept_bytes"] > 0
    swap.swapoff(device)
    # `zswap_kept_bytes` is not 0, because the lists of kept zspages keep their capacity of 22 KiB.
    assert swap.memory()["zswap_kept_bytes"] < 64 * 1024
    swap.check()


# Tests of swap-ins of large folios while zswap is, or was, on


def nr_pages_of_fault(swap: sc.Swap) -> int:
    """Swaps 16 pages out and returns the number of pages that a fault on the first page brings back."""
    mm = swap.mm()
    start = mm.mmap(16, orders=1 << 4, anon_order=4)
    mm.write(start * PAGE, b"x" * (16 * PAGE))
    mm.pageout(start, 16)
    assert swap.nr_used_pages == 0
    assert mm.read(start * PAGE, 1) == b"x"
    return swap.nr_used_pages


def nr_pages_of_handle(swap: sc.Swap) -> int:
    """Swaps 16 pages out and returns the number of pages of the folio that a handle's swap-in brings back."""
    folio = swap.swap_in(swap.swap_out(swap.folio(4, b"x" * (16 * PAGE))), 16)
    assert folio.read(0, 1) == b"x"
    return folio.nr_pages


@pytest.mark.parametrize("profile", ["v618", "p3", "series", "newest"])
@pytest.mark.parametrize("swap_in", [nr_pages_of_fault, nr_pages_of_handle])
@pytest.mark.parametrize("is_stored", [False, True], ids=["zswap was on", "zswap has the pages"])
def test_large_swap_ins_after_zswap_was_enabled(
    profile: str, swap_in: Callable[[sc.Swap], int], is_stored: bool
) -> None:
    """Profiles but `newest` try no large swap-in once zswap was enabled, so they count no fallback."""
    swap = sc.Swap(profile=profile, zswap="lz4")
    swap.swapon(sc.Ram("4M"))
    swap.zswap.enabled = is_stored
    is_never = swap.switches["zswap_large_swapin"] == "never"
    assert is_never == (profile != "newest")
    assert swap_in(swap) == (1 if is_never or is_stored else 16)
    assert swap.stats()["hugepages-64kB.swpin_fallback"] == (is_stored and not is_never)
    swap.check()
