"""Data through every storage: no failure loses data, and every failure is counted."""

from __future__ import annotations

import errno
import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.interrupt import AlarmError, alarm_after
from helpers.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    WithData = sc.Ram | sc.Zram | sc.File | sc.Faulty

PAGE = sc.PAGE_SIZE
NR_FOLIOS = 3_000
NR_THREADS = 4
ALIVE = 200
"""The number of folios that a thread keeps swapped out at a time."""
SIZE = "512M"

ORDERS = range(10)
ORDER_WEIGHTS = [40, 20, 12, 9, 7, 5, 3, 2, 1, 1]
"""Weights of the orders 0 to 9. A folio has about 17 pages on average, so all folios have 200 MiB."""


def page_hashes(data: bytes) -> list[bytes]:
    """Returns the hash of each page."""
    return [
        blake2b(data[start : start + PAGE], digest_size=16).digest() for start in range(0, len(data), PAGE)
    ]


def make_data(rng: random.Random, order: int) -> tuple[str, bytes]:
    """Draws a kind of data (zero, compressible or random); returns the kind and the data of a folio."""
    kind = rng.choice(["zero", "compressible", "random"])
    nr_pages = 1 << order
    if kind == "zero":
        return kind, bytes(nr_pages * PAGE)
    if kind == "random":
        return kind, rng.randbytes(nr_pages * PAGE)
    words = [rng.randbytes(16) for _ in range(nr_pages)]
    return kind, b"".join(word * (PAGE // 32) + rng.randbytes(64) + bytes(PAGE // 2 - 64) for word in words)


@dataclass
class Worker:
    """The folios of one thread, which swaps them out and in at random and compares every page."""

    swap: sc.Swap
    seed: int
    nr_folios: int
    pages: Counter[str] = field(default_factory=Counter)
    nr_failed: Counter[str] = field(default_factory=Counter)

    def work(self) -> None:
        rng = random.Random(self.seed)
        alive: list[tuple[sc.SwpEntry, list[bytes]]] = []
        orders = rng.choices(ORDERS, ORDER_WEIGHTS, k=self.nr_folios)
        for order in orders:
            kind, data = make_data(rng, order)
            self.pages[kind] += 1 << order
            self.pages["zero" if kind == "zero" else "stored"] += (1 << order) * (kind != "zero")
            alive += self.swap_out(self.swap.folio(order, data), data)
            while len(alive) > ALIVE:
                self.swap_in(*alive.pop(rng.randrange(len(alive))), mask=rng.randrange(1024))
        rng.shuffle(alive)
        for entry, hashes in alive:
            self.swap_in(entry, hashes, mask=1 << entry.order)

    def swap_out(self, folio: sc.Folio, data: bytes) -> list[tuple[sc.SwpEntry, list[bytes]]]:
        """Swaps a folio out, again after each write error. Splits a folio for which no run is free."""
        while True:
            try:
                return [(self.swap.swap_out(folio), page_hashes(data))]
            except sc.SwapIOError:
                self.nr_failed["write"] += 1
                assert folio.is_resident
            except sc.SwapFullError:
                if folio.order == 0:
                    raise
                break
        parts = self.swap.folio_split(folio)
        out = []
        for page, part in enumerate(parts):
            out += self.swap_out(part, data[page * PAGE : (page + 1) * PAGE])
        return out

    def swap_in(self, entry: sc.SwpEntry, hashes: Sequence[bytes], mask: int) -> None:
        """Swaps a run in, again after each read error, and compares every page."""
        nr_done = 0
        while nr_done < entry.nr_pages:
            left = entry.nr_pages - nr_done
            try:
                folio = self.swap.swap_in(int(entry) + nr_done, left, orders=fitting(entry, nr_done, mask))
            except sc.SwapIOError:
                self.nr_failed["read"] += 1
                continue
            got = page_hashes(folio.read())
            assert got == list(hashes[nr_done : nr_done + folio.nr_pages]), f"{entry} page {nr_done}"
            nr_done += folio.nr_pages


def fitting(entry: sc.SwpEntry, nr_done: int, mask: int) -> int:
    """Returns the orders of ``mask`` whose folio fits at the first slot that is not yet swapped in."""
    at, left = entry.offset + nr_done, entry.nr_pages - nr_done
    return sum(
        1 << order for order in ORDERS if mask >> order & 1 and at % (1 << order) == 0 and 1 << order <= left
    )


def run_workers(swap: sc.Swap, nr_folios: int, seed: int) -> list[Worker]:
    """Runs a `Worker` in each thread; afterwards no slot or page may be left, and `Swap.check` must pass."""
    workers = [Worker(swap, seed + number, nr_folios // NR_THREADS) for number in range(NR_THREADS)]
    Load(seed).run(worker.work for worker in workers)
    swap.check()
    assert not any(device.inuse_pages for device in swap.devices)
    assert (swap.nr_used_pages, swap.nr_swapcache_pages) == (0, 0)
    return workers


def total(workers: Sequence[Worker], key: str) -> int:
    return sum(worker.pages[key] for worker in workers)


def direct_file(path: Path) -> sc.File:
    try:
        return sc.File.create(path, SIZE, sparse=True, direct=True, is_block_device=True)
    except sc.SwapIOError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("this file system does no direct I/O")


STORAGES: dict[str, Callable[[Path], WithData]] = {
    "ram": lambda _: sc.Ram(SIZE),
    "zram": lambda _: sc.Zram(SIZE),
    "file": lambda path: sc.File.create(path, SIZE, sparse=True),
    "file-large-folios": lambda path: sc.File.create(path, SIZE, sparse=True, is_block_device=True),
    "file-direct": direct_file,
}


@pytest.mark.parametrize("kind", STORAGES)
def test_thousands_of_folios_from_four_threads_come_back_as_they_went(kind: str, tmp_path: Path) -> None:
    swap = sc.Swap(nr_cpus=NR_THREADS)
    storage = STORAGES[kind](tmp_path / "swap")
    swap.swapon(storage)
    workers = run_workers(swap, NR_FOLIOS, seed=1)
    stats = swap.stats()
    assert (stats["pswpout"], stats["swpout_zero"]) == (total(workers, "stored"), total(workers, "zero"))
    # A swap-in in several folios reads each page once.
    assert (stats["pswpin"], stats["swpin_zero"]) == (total(workers, "stored"), total(workers, "zero"))
    assert (stats["read_errors"], stats["write_errors"]) == (0, 0)
    if kind in ("ram", "zram"):
        assert storage.stats()["orig_data_size"] == 0, "a freed slot costs nothing"


@pytest.mark.parametrize("kind", STORAGES)
def test_nothing_is_lost_when_writes_and_reads_fail(kind: str, tmp_path: Path) -> None:
    swap = sc.Swap(nr_cpus=NR_THREADS)
    storage = sc.Faulty(STORAGES[kind](tmp_path / "swap"), seed=7)
    swap.swapon(storage)
    storage.set_faults(write_error_probability=0.05, read_error_probability=0.05)
    workers = run_workers(swap, NR_FOLIOS, seed=2)
    stats, injected = swap.stats(), storage.stats()
    failed = sum((worker.nr_failed for worker in workers), Counter[str]())
    assert min(failed["write"], failed["read"]) > 20
    assert stats["write_errors"] == injected["injected_write_errors"] == failed["write"]
    assert stats["read_errors"] == injected["injected_read_errors"] == failed["read"]
    assert (stats["pswpout"], stats["pswpin"]) == (total(workers, "stored"), total(workers, "stored"))


# Tests with one failure of a storage at a time.


@pytest.mark.parametrize("nr_failures", [1, 3])
@pytest.mark.parametrize(
    ("faults", "number", "words"),
    [
        *(
            ({"fail_write_in": 1, "errno": code}, code, "injected")
            for code in (errno.EIO, errno.ENOSPC, errno.ENODEV)
        ),
        *(({"tear_write_pages": nr_pages}, errno.EIO, "torn") for nr_pages in (0, 1, 3)),
    ],
    ids=str,
)
def test_failed_write_leaves_the_folio_dirty_and_in_memory_however_often_it_is_tried(
    swap: sc.Swap, faulty: sc.Faulty, faults: dict[str, int], number: int, words: str, nr_failures: int
) -> None:
    data = b"".join(bytes([page + 1]) * PAGE for page in range(4))
    folio = swap.folio(order=2, data=data)
    for _ in range(nr_failures):
        faulty.set_faults(**faults)  # type: ignore[arg-type]
        with pytest.raises(sc.SwapIOError, match=words) as caught:
            swap.swap_out(folio)
        assert caught.value.errno == number
        assert (folio.is_resident, folio.is_dirty, folio.read()) == (True, True, data)
        swap.check()
    assert faulty.stats()["torn_writes"] == (nr_failures if words == "torn" else 0)
    assert swap.stats()["write_errors"] == nr_failures
    assert swap.swap_in(swap.swap_out(folio)).read() == data


def test_failed_read_may_be_tried_again() -> None:
    swap, storage = sc.Swap(), sc.Faulty(sc.Zram("16M"))
    swap.swapon(storage)
    entry = swap.swap_out(swap.folio(order=2, data=b"precious"))
    storage.set_faults(fail_read_in=1)
    with pytest.raises(sc.SwapIOError):
        swap.swap_in(entry)
    assert [swap.swap_count(int(entry) + page) for page in range(4)] == [1] * 4
    assert (swap.nr_swapcache_pages, swap.nr_used_pages, swap.stats()["read_errors"]) == (0, 0, 1)
    swap.check()
    assert swap.swap_in(entry).read(0, 8) == b"precious"


def test_zram_without_room_keeps_the_folio(swap: sc.Swap) -> None:
    swap.swapon(sc.Zram("4M", mem_limit="64K"))
    rng = random.Random(5)
    kept: list[tuple[sc.Folio, bytes]] = []
    out: list[tuple[sc.SwpEntry, bytes]] = []
    for _ in range(40):
        data = rng.randbytes(PAGE)
        folio = swap.folio(data=data)
        try:
            out.append((swap.swap_out(folio), data))
        except sc.SwapIOError as error:
            assert error.errno == errno.ENOMEM  # noqa: PT017
            kept.append((folio, data))
    assert len(out) == 16
    assert all(folio.read() == data for folio, data in kept)
    assert swap.stats()["write_errors"] == len(kept) == 24
    assert all(swap.swap_in(entry).read() == data for entry, data in out)


def test_full_device_keeps_the_folio(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram(pages=4))
    entries = swap.swap_out_batch([swap.folio(data=bytes([number])) for number in range(3)])
    folio = swap.folio(data=b"fourth")
    with pytest.raises(sc.SwapFullError):
        swap.swap_out(folio)
    assert folio.read(0, 6) == b"fourth"
    assert swap.swap_in(entries[1]).read(0, 1) == b"\1"
    assert swap.swap_in(swap.swap_out(folio)).read(0, 6) == b"fourth"


def test_large_folio_that_gets_no_run_is_counted_and_goes_out_split(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram(pages=300))
    folio = swap.folio(order=4, data=bytes(range(1, 17)) * PAGE)
    with pytest.raises(sc.SwapFullError):
        swap.swap_out(folio)
    assert swap.stats()["hugepages-64kB.swpout_fallback"] == 1
    entries = swap.swap_out_batch(swap.folio_split(folio))
    back = b"".join(folio.read() for folio in swap.swap_in_batch(entries))
    assert back == bytes(range(1, 17)) * PAGE


def test_zero_pages_cost_no_io_and_are_counted_exactly(swap: sc.Swap, faulty: sc.Faulty) -> None:
    faulty.set_faults(write_error_probability=1.0, read_error_probability=1.0)
    entries = [swap.swap_out(swap.folio(order)) for order in (0, 2, 9)]
    assert [swap.zero_batch(entry, 512) for entry in entries[1:]] == [(True, 4), (True, 512)]
    assert all(swap.lookup(entry)["is_zero"] for entry in entries)
    device = swap.devices[0]
    never_used = device.type << 58 | device.max_pages - 10
    assert swap.zero_batch(never_used, 4) == (False, 4)
    assert swap.zero_batch(never_used, 512) == (False, 10)
    for entry in entries:
        folio = swap.swap_in(entry)
        assert folio.read() == bytes(len(folio))
    stats = swap.stats()
    assert (stats["swpout_zero"], stats["swpin_zero"], stats["pswpout"], stats["pswpin"]) == (517, 517, 0, 0)
    assert (stats["write_errors"], stats["read_errors"]) == (0, 0)


def test_shared_slot_is_read_by_each_who_has_it(swap: sc.Swap) -> None:
    swap.swapon(sc.Zram("4M"))
    entry = swap.swap_out(swap.folio(order=1, data=b"shared"))
    swap.dup(entry)
    one = swap.swap_in(entry)
    other = swap.swap_in(entry)
    assert one == other
    assert one.mapcount == 4
    assert one.read(0, 6) == b"shared"
    swap.check()
    del one, other
    assert swap.devices[0].inuse_pages == 0


# Tests of swapoff while folios are swapped out.


@pytest.mark.parametrize("make", [sc.Ram, sc.Zram], ids=["ram", "zram"])
def test_swapoff_of_a_device_with_data_is_refused(swap: sc.Swap, make: Callable[[str], WithData]) -> None:
    device = swap.swapon(make("1M"))
    entry = swap.swap_out(swap.folio(data=b"data"))
    with pytest.raises(sc.SwapBusyError, match="unuse=") as caught:
        swap.swapoff(device)
    assert caught.value.errno == errno.EBUSY
    assert device.is_on
    assert swap.swap_count(entry) == 1
    assert swap.swap_in(entry).read(0, 4) == b"data"
    swap.swapoff(device)
    assert not device.is_on


def test_swapoff_with_a_hook_that_swaps_in_keeps_all_data(swap: sc.Swap, tmp_path: Path) -> None:
    device = swap.swapon(sc.File.create(tmp_path / "swap", "32M", is_block_device=True))
    rng = random.Random(3)
    data = {order: make_data(rng, order)[1] for order in range(8)}
    entries = {order: swap.swap_out(swap.folio(order, content)) for order, content in data.items()}
    swap.dup(entries[3])
    found: dict[int, list[sc.Folio]] = {}

    def unuse(entry: sc.SwpEntry, count: int) -> None:
        found[int(entry)] = [swap.swap_in(entry, 1) for _ in range(count)]

    swap.swapoff(device, unuse=unuse)
    assert not device.is_on
    for order, entry in entries.items():
        folios = [found[int(entry) + page] for page in range(1 << order)]
        assert b"".join(folio[0].read() for folio in folios) == data[order]
        assert {len(folio) for folio in folios} == {2 if order == 3 else 1}
    swap.check()
    # The folios stay in memory after swapoff and are swapped out to the next device.
    swap.swapon(sc.Zram("4M"))
    again = swap.swap_out(found[int(entries[0])][0])
    assert swap.swap_in(again).read() == data[0]


def test_storage_is_on_once_at_a_time_and_may_be_turned_on_again(swap: sc.Swap) -> None:
    storage = sc.Zram("1M")
    device = swap.swapon(storage)
    for other in (swap, sc.Swap()):
        for same in (storage, sc.Faulty(storage), sc.Faulty(sc.Faulty(storage))):
            with pytest.raises(sc.SwapBusyError, match="zram storage is a device already"):
                other.swapon(same)
    swap.swapoff(device)
    assert swap.swapon(storage).is_on


def test_interrupted_batches_lose_nothing(swap: sc.Swap, faulty: sc.Faulty) -> None:
    folios = [swap.folio(0, i.to_bytes(4, "little")) for i in range(1500)]
    faulty.set_faults(delay_ns=1_000_000)
    with pytest.raises(AlarmError), alarm_after(0.2):
        swap.swap_out_batch(folios)
    faulty.set_faults()
    entries = [folio.entry or swap.swap_out(folio) for folio in folios]
    faulty.set_faults(delay_ns=1_000_000)
    with pytest.raises(AlarmError) as caught, alarm_after(0.2):
        swap.swap_in_batch(entries)
    faulty.set_faults()
    done = caught.value.folios  # type: ignore[attr-defined]
    assert 0 < len(done) < len(folios)
    rest = swap.swap_in_batch(entries[len(done) :])
    assert [int.from_bytes(folio.read(0, 4), "little") for folio in done + rest] == list(range(1500))
