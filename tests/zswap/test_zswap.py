"""zswap from outside: parameters, limit, outcomes of compression, loads, order of writeback, pools.

Writeback of one entry is in virtual/test_realloc.py; files and limits of groups are in test_zswap_groups.py.
"""

from __future__ import annotations

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, file_storage
from helpers.virtual_facts import Machine, errno_of, noise, refusal, row_of, text, zeros

ENOENT, EIO, EAGAIN = 2, 5, 11
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
SCAN = 32  # entries that one shrink of a group looks at


def swap_out_or_none(swap: sc.Swap, data: bytes, memcg: sc.MemCgroup | None = None) -> sc.SwpEntry | None:
    """Swaps a folio out; returns None when neither zswap nor a device takes it."""
    folio = swap.folio((len(data) // PAGE - 1).bit_length(), data, memcg=memcg)
    try:
        return swap.swap_out(folio)
    except sc.SwapError:
        assert folio.is_resident
        assert folio.dirty
        assert folio.read() == data
        return None


def shrunk_pages(swap: sc.Swap, group: sc.MemCgroup | None = None) -> int:
    """Shrinks a group once and returns the pages written back."""
    written: list[int] = []
    assert refusal(lambda: written.append(swap.zswap.shrink(group))) in (0, EAGAIN)
    return sum(written)


# Parameters.


def test_parameters_have_the_kernel_s_defaults() -> None:
    zswap = sc.Swap(zswap="lz4").zswap
    found = (zswap.enabled, zswap.compressor, zswap.max_pool_percent, zswap.accept_threshold_percent)
    assert found == (True, "lz4", 20, 90)
    assert zswap.shrinker_enabled is False
    assert sc.Swap().zswap.enabled is False
    assert set(zswap.stats()) >= KERNEL_NAMES
    assert not any(zswap.stats().values())


def test_parameters_can_be_written_while_it_runs() -> None:
    swap = sc.Swap(zswap=sc.Zswap(compressor="zstd", max_pool_percent=30, shrinker_enabled=True))
    zswap = swap.zswap
    assert (zswap.compressor, zswap.max_pool_percent, zswap.shrinker_enabled) == ("zstd", 30, True)
    zswap.compressor, zswap.max_pool_percent, zswap.accept_threshold_percent = "lz4", 7, 50
    zswap.enabled = zswap.shrinker_enabled = False
    assert (zswap.enabled, zswap.compressor, zswap.max_pool_percent) == (False, "lz4", 7)
    assert (zswap.accept_threshold_percent, zswap.shrinker_enabled) == (50, False)
    with pytest.raises(sc.InvalidArgumentError):
        zswap.compressor = "brotli"
    assert zswap.compressor == "lz4"


@pytest.mark.parametrize("has_table", [False, True])
def test_zswap_can_be_turned_on_later_and_off_again(has_table: bool) -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ghost(4096, virtual_table=has_table))
    assert swap_out_or_none(swap, text(1)) is None
    swap.zswap.enabled = True
    entry = swap_out_or_none(swap, text(1))
    assert entry is not None
    swap.zswap.enabled = False
    assert swap_out_or_none(swap, text(2)) is None
    assert swap.swap_in(entry).read() == text(1), "a stored page can be read"


# The limit, which opens again at nine tenths.


@pytest.mark.parametrize("has_table", [False, True])
def test_hysteresis_between_100_and_90_percent(has_table: bool) -> None:
    swap = sc.Swap(memory_pages=4096, zswap=sc.Zswap(max_pool_percent=5))
    swap.swapon(sc.Ghost(4096, virtual_table=has_table))
    max_pages = 4096 * 5 // 100
    accept_pages = max_pages * 90 // 100
    entries = [swap_out_or_none(swap, noise(number)) for number in range(max_pages)]
    assert None not in entries
    assert swap.zswap.stats()["pool_total_size"] == max_pages * PAGE
    assert swap.zswap.stats()["pool_limit_hit"] == 0
    for number in range(1, 4):
        assert swap_out_or_none(swap, noise(0)) is None
        assert swap.zswap.stats()["pool_limit_hit"] == number, "each check at the limit"
    for left in range(max_pages - 1, accept_pages, -1):
        swap.free(entries.pop())  # type: ignore[arg-type]
        assert swap.zswap.stats()["pool_total_size"] == left * PAGE
        assert swap_out_or_none(swap, noise(0)) is None, f"{left} pages are still more than 90 %"
    assert swap.zswap.stats()["pool_limit_hit"] == 3, "those under the limit are refused and not counted"
    swap.free(entries.pop())  # type: ignore[arg-type]
    while len(entries) < max_pages:
        entries.append(swap_out_or_none(swap, noise(len(entries))))
    assert None not in entries, "up to the limit again"
    assert swap_out_or_none(swap, noise(0)) is None
    assert swap.zswap.stats()["pool_limit_hit"] == 4
    swap.check()


def test_a_pool_of_nothing_takes_nothing(machines: Machines) -> None:
    machine = machines(zswap=sc.Zswap(max_pool_percent=0))
    assert row_of(machine.swap, machine.out(text(1))) == "swapfile shadow"
    assert machine.stat("pool_limit_hit") == 1


def test_a_full_pool_makes_room_when_there_is_a_real_device(machines: Machines) -> None:
    machine = machines(memory_pages=4096, zswap=sc.Zswap(max_pool_percent=2))
    entries = [machine.out(noise(number)) for number in range(300)]
    machine.swap.run_workers()
    assert machine.stat("written_back_pages") > 0
    assert machine.stat("pool_total_size") <= 4096 * 2 // 100 * PAGE
    machine.world.verify()
    assert all(machine.swap.swap_in(entry).read() == noise(n) for n, entry in enumerate(entries))


# Stores and the outcomes of compression.


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize(
    ("fault", "counter"),
    [("entry_alloc", "reject_kmemcache_fail"), ("pool_alloc", "reject_alloc_fail")],
)
def test_a_store_that_fails_is_counted_and_goes_on_to_the_device(
    has_table: bool, fault: str, counter: str
) -> None:
    swap = sc.Swap(zswap="lz4")
    if has_table:
        swap.swapon(sc.Ghost(4096, virtual_table=True))
    device = swap.swapon(file_storage(512))
    swap.zswap.set_faults(**{fault: 1.0})
    entry = swap.swap_out(swap.folio(0, text(1)))
    stats = swap.zswap.stats()
    assert {name for name in KERNEL_NAMES if stats[name]} == {counter}
    assert stats[counter] == 1
    assert (device.inuse_pages, swap.stats()["pswpout"]) == (1, 1)
    assert swap.swap_in(entry).read() == text(1)
    swap.check()


@pytest.mark.parametrize("is_failure", [False, True])
def test_incompressible_page_is_stored_raw_where_writeback_is_allowed(machine: Machine, is_failure: bool) -> None:
    machine.swap.zswap.set_faults(compress=1.0 if is_failure else 0.0)
    data = text(1) if is_failure else noise(1)
    entry = machine.out(data, machine.a)
    assert machine.row(entry) == "zswap shadow"
    assert (machine.stat("stored_pages"), machine.stat("stored_incompressible_pages")) == (1, 1)
    assert (machine.stat("reject_compress_poor"), machine.stat("reject_compress_fail")) == (0, 0)
    assert int(machine.a.read("memory.zswap.current")) == machine.stat("pool_total_size") == PAGE
    assert machine.swap.swap_in(entry).read() == data
    assert machine.stat("stored_incompressible_pages") == 0


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize(
    ("is_failure", "counter"), [(False, "reject_compress_poor"), (True, "reject_compress_fail")]
)
def test_incompressible_page_stays_where_writeback_is_not(
    has_table: bool, is_failure: bool, counter: str
) -> None:
    swap = sc.Swap(zswap="lz4")
    if has_table:
        swap.swapon(sc.Ghost(4096, virtual_table=True))
    device = swap.swapon(file_storage(512))
    a = swap.memcg.create("A")
    a.write("memory.zswap.writeback", 0)
    swap.zswap.set_faults(compress=1.0 if is_failure else 0.0)
    folio = swap.folio(0, text(1) if is_failure else noise(1), memcg=a)
    for tries in range(1, 4):
        assert refusal(lambda: swap.swap_out(folio)) != 0
        assert (folio.is_resident, folio.dirty, folio.active) == (True, True, True)
        assert swap.zswap.stats()[counter] == tries, "one try a call"
    assert swap.stats()["pswpout"] == 0
    assert device.inuse_pages == (0 if has_table else 1)
    assert swap.zswap.stats()["stored_pages"] == 0
    swap.check()


def test_reclaim_of_pages_that_nobody_takes_ends(machine: Machine) -> None:
    machine.a.write("memory.zswap.writeback", 0)
    machine.a.write("memory.max", 64 * PAGE)
    mm = machine.swap.mm(machine.a)
    first = mm.mmap(256)
    with pytest.raises(MemoryError):
        mm.write(first * PAGE, noise(1, 256))
    assert 0 < machine.stat("reject_compress_poor") < 64 * 256, "no livelock"
    assert machine.physical_pages == 0


def test_raw_pages_keep_their_place_in_the_lru(machine: Machine) -> None:
    data = [noise(number) if number % 5 == 2 else text(number) for number in range(SCAN + 8)]
    entries = [machine.out(page, machine.a) for page in data]
    assert machine.stat("stored_incompressible_pages") == 8
    assert shrunk_pages(machine.swap, machine.a) == 0, "all 32 that it saw had a second chance"
    # The last 8 use their second chance now; then the oldest 24 go by age, raw pages like others.
    assert shrunk_pages(machine.swap, machine.a) == SCAN - 8
    rows = [row_of(machine.swap, entry) for entry in entries]
    assert rows == ["swapfile shadow"] * (SCAN - 8) + ["zswap shadow"] * 16
    machine.world.verify()
    assert [machine.swap.swap_in(entry).read() for entry in entries] == data


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_large_folio_is_stored_page_by_page(machine: Machine, order: int) -> None:
    nr_pages = 1 << order
    entry = machine.out(text(1, nr_pages))
    assert [row_of(machine.swap, entry + page) for page in range(nr_pages)] == ["zswap shadow"] * nr_pages
    assert (machine.stat("stored_pages"), machine.stat("zswpout")) == (nr_pages, nr_pages)
    assert machine.stat(f"hugepages-{4 << order}kB.zswpout") == 1
    assert machine.stat(f"hugepages-{4 << order}kB.swpout") == 0
    assert machine.swap.backing(entry, nr_pages)["nr_pages"] == nr_pages
    folios = machine.swap.swap_in_batch([sc.SwpEntry(entry, order)], orders=(1 << (order + 1)) - 1)
    assert [folio.order for folio in folios] == [0] * nr_pages, "large loads are not"
    assert b"".join(folio.read() for folio in folios) == text(1, nr_pages)
    assert machine.stat("zswpin") == nr_pages


@pytest.mark.parametrize("fault", ["entry_alloc", "pool_alloc"])
@pytest.mark.parametrize("has_table", [False, True])
def test_a_large_folio_is_stored_whole_or_not_at_all(fault: str, has_table: bool) -> None:
    outcomes = set()
    for seed in range(12):
        swap = sc.Swap(zswap="lz4")
        if has_table:
            swap.swapon(sc.Ghost(4096, virtual_table=True))
        device = swap.swapon(file_storage(2048))
        swap.zswap.set_faults(**{fault: 0.15}, seed=seed)
        entry = swap.swap_out(swap.folio(3, text(seed, 8)))
        stored = swap.zswap.stats()["stored_pages"]
        outcomes.add(stored)
        assert stored in (0, 8)
        assert swap.stats()["zswpout"] == stored
        assert swap.stats()["pswpout"] == 8 - stored
        assert device.inuse_pages == (8 - stored if has_table else 8)
        folios = swap.swap_in_batch([entry])
        assert b"".join(folio.read() for folio in folios) == text(seed, 8)
        swap.check()
    assert outcomes == {0, 8}


@pytest.mark.parametrize("why", ["disabled", "full", "group", "entry_alloc"])
@pytest.mark.parametrize("has_table", [False, True])
def test_a_refused_store_drops_the_older_copy(why: str, has_table: bool) -> None:
    """A read after the second write never returns the first data."""
    swap = sc.Swap(zswap="lz4", memory_pages=4096)
    if has_table:
        swap.swapon(sc.Ghost(4096, virtual_table=True))
    swap.swapon(file_storage(512))
    a = swap.memcg.create("A")
    entry = swap.swap_out(swap.folio(0, text(1), memcg=a))
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
    else:
        swap.zswap.set_faults(entry_alloc=1.0)
    assert swap.swap_out(folio) == entry
    assert swap.zswap.stats()["stored_pages"] == 0
    assert swap.swap_in(entry).read() == text(2)
    swap.check()


def test_a_store_replaces_the_older_copy(machine: Machine) -> None:
    entry = machine.out(noise(1))
    folio = machine.swap.folio(0, text(2))
    machine.swap.swap_cache_add_folio(folio, entry)
    folio.write(text(2))
    machine.swap.swap_out(folio)
    assert (machine.stat("stored_pages"), machine.stat("stored_incompressible_pages")) == (1, 0)
    assert machine.swap.swap_in(entry).read() == text(2)


# Loads.


@pytest.mark.parametrize("has_table", [False, True])
def test_a_load_is_exclusive(has_table: bool) -> None:
    swap = sc.Swap(zswap="zstd")
    swap.swapon(sc.Ghost(4096, virtual_table=has_table))
    entry = swap.swap_out(swap.folio(0, text(1)))
    folio = swap.swap_in(entry)
    assert (folio.dirty, folio.uptodate, folio.read()) == (True, True, text(1))
    assert (swap.zswap.stats()["stored_pages"], swap.zswap.stats()["pool_total_size"]) == (0, 0)
    assert (swap.stats()["zswpin"], swap.stats()["pswpin"]) == (1, 0)
    entry = swap.swap_out(folio)
    assert swap.stats()["zswpout"] == 2, "stored again"
    assert swap.swap_in(entry).read() == text(1)
    swap.check()


@pytest.mark.parametrize("has_table", [False, True])
def test_a_load_that_does_not_decompress_is_an_io_error_and_can_be_tried_again(has_table: bool) -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ghost(4096, virtual_table=has_table))
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


# Order of writeback.


def test_first_scan_writes_nothing_and_the_second_all(machine: Machine) -> None:
    entries = [machine.out(text(number), machine.a) for number in range(SCAN)]
    pool = machine.stat("pool_total_size")
    assert shrunk_pages(machine.swap, machine.a) == 0
    assert (machine.stat("written_back_pages"), machine.stat("pool_total_size")) == (0, pool)
    assert shrunk_pages(machine.swap, machine.a) == SCAN
    assert (machine.stat("written_back_pages"), machine.stat("stored_pages")) == (SCAN, 0)
    assert (machine.stat("zswpwb"), machine.physical_pages) == (SCAN, SCAN)
    assert {row_of(machine.swap, entry) for entry in entries} == {"swapfile shadow"}
    machine.world.verify()
    assert [machine.swap.swap_in(entry).read() for entry in entries] == [text(n) for n in range(SCAN)]


def test_an_entry_that_fails_does_not_hold_the_others_up(machine: Machine) -> None:
    entries = [machine.out(text(number), machine.a) for number in range(8)]
    assert shrunk_pages(machine.swap, machine.a) == 0
    in_use = machine.swap.folio(0, text(0), memcg=machine.a)
    machine.swap.swap_cache_add_folio(in_use, entries[0])
    assert shrunk_pages(machine.swap, machine.a) == 7
    assert machine.stat("reject_reclaim_fail") >= 1
    assert row_of(machine.swap, entries[0]) == "zswap folio"
    in_use.dirty = False
    machine.swap.swap_cache_del_folio(in_use)


def test_shrinking_says_why_it_cannot(machine: Machine) -> None:
    assert errno_of(machine.swap.zswap.shrink, machine.a) == ENOENT, "empty"
    machine.out(text(1), machine.a)
    machine.a.write("memory.zswap.writeback", 0)
    assert errno_of(machine.swap.zswap.shrink, machine.a) == ENOENT, "off"
    machine.a.write("memory.zswap.writeback", 1)
    assert shrunk_pages(machine.swap, machine.a) == 0
    assert shrunk_pages(machine.swap, machine.a) == 1


def test_the_worker_shrinks_down_to_the_threshold(machines: Machines) -> None:
    machine = machines(memory_pages=4096, zswap=sc.Zswap(max_pool_percent=5))
    groups = [machine.world.add(machine.swap.memcg, name) for name in "AB"]
    for number in range(200):
        machine.out(noise(number), groups[number % 2])
    machine.swap.zswap.max_pool_percent = 4
    machine.swap.zswap.shrink_worker()
    accept_pages = 4096 * 4 // 100 * 90 // 100
    assert machine.stat("stored_pages") * PAGE == machine.stat("pool_total_size")
    assert accept_pages - 2 * SCAN <= machine.stat("stored_pages") <= accept_pages
    assert all(int(group.read("memory.zswap.current")) < 100 * PAGE for group in groups), "in turn"
    machine.world.verify()


def test_the_dynamic_shrinker_works_only_when_it_is_on() -> None:
    written = {}
    for is_enabled in (False, True):
        machine = Machine(zswap=sc.Zswap(shrinker_enabled=is_enabled))
        a = machine.world.add(machine.swap.memcg, "A")
        a.write("memory.max", 1024 * PAGE)
        mm = machine.swap.mm(a)
        first = mm.mmap(2048)
        for page in range(2048):
            mm.write((first + page) * PAGE, noise(page)[:1000])
        written[is_enabled] = machine.stat("written_back_pages")
        for page in range(2048):
            assert mm.read((first + page) * PAGE, 1000) == noise(page)[:1000]
        machine.swap.check()
        del mm
        machine.end()
    assert written[False] == 0 < written[True]


# Pools and counters.


def test_another_compressor_is_another_pool_and_the_old_one_goes_when_empty(machine: Machine) -> None:
    old = [machine.out(text(number)) for number in range(5)]
    machine.swap.zswap.compressor = "zstd"
    new = [machine.out(text(10 + number)) for number in range(3)]
    pools = {pool["compressor"]: pool["stored_pages"] for pool in machine.swap.zswap.pools()}
    assert pools == {"lz4": 5, "zstd": 3}
    sizes = [pool["pool_bytes"] for pool in machine.swap.zswap.pools()]
    assert sum(sizes) == machine.stat("pool_total_size") > 0
    for entry in old[:4]:
        machine.swap.free(entry, 1)
    assert len(machine.swap.zswap.pools()) == 2
    assert machine.swap.swap_in(old[4]).read() == text(4), "by the compressor it was made with"
    assert [pool["compressor"] for pool in machine.swap.zswap.pools()] == ["zstd"]
    assert [machine.swap.swap_in(entry).read() for entry in new] == [text(10 + n) for n in range(3)]


@pytest.mark.parametrize(("nr_bytes", "class_bytes"), [(3570, 3632), (3900, 4096)])
def test_nothing_above_3624_bytes_saves_memory(machine: Machine, nr_bytes: int, class_bytes: int) -> None:
    """The largest size class below a page is 3632 bytes; its objects lie in chained pages."""
    nr_stored = 256
    for number in range(nr_stored):
        machine.out(noise(number)[:nr_bytes] + bytes(PAGE - nr_bytes))
    wanted = nr_stored * class_bytes
    assert wanted <= machine.stat("pool_total_size") <= wanted * 1.08


def test_zeros_never_reach_zswap(machine: Machine) -> None:
    machine.out(zeros(4))
    assert (machine.stat("stored_pages"), machine.stat("zswpout")) == (0, 0)
    machine.out(b"\1" * PAGE)
    assert machine.stat("stored_pages") == 1, "other patterns are data"


def test_swapoff_of_an_ordinary_device_drops_its_entries() -> None:
    swap = sc.Swap(zswap="lz4")
    device = swap.swapon(file_storage(512))
    mm = swap.mm()
    first = mm.mmap(8)
    for page in range(8):
        mm.write((first + page) * PAGE, text(page))
    assert mm.pageout(first, 8)["reclaimed_pages"] == 8
    assert swap.zswap.stats()["stored_pages"] == 8
    swap.swapoff(device, lambda _entry, _count: mm.unuse(device))
    assert swap.zswap.stats()["stored_pages"] == 0
    assert mm.read(first * PAGE, PAGE) == text(0)
    swap.check()
