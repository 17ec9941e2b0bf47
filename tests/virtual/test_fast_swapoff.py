"""Swapoff of a physical device behind virtual slots: the reverse map is walked, and no page table is.

Cached, uncached, held, under writeback, freed meanwhile, direct users; and the classic walk on the same data.
"""

from __future__ import annotations

import gc
import threading
import time
from typing import NamedTuple

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, file_storage
from helpers.virtual_facts import C, Machine, data_at, errno_of, noise, refusal, row_of, text, zeros

EBUSY, EIO, ENOMEM = 16, 5, 12


def walked(swap: sc.Swap) -> tuple[int, int]:
    """Returns the number of slots freed through the reverse map and of page table entries visited."""
    stats = swap.stats()
    return stats["swapoff_rmap_slots"], stats["swapoff_ptes_visited"]


class Tasks(NamedTuple):
    """An address space whose pages are swapped out, and their bytes."""

    mm: sc.Mm
    first: int
    data: list[bytes]

    def expect(self) -> None:
        """Expects every page to hold its bytes."""
        for page, data in enumerate(self.data):
            assert self.mm.read((self.first + page) * PAGE, PAGE) == data


def swapped_out(swap: sc.Swap, nr_pages: int, *, seed: int = 0, group: sc.MemCgroup | None = None) -> Tasks:
    """Makes an address space and puts all its pages out."""
    mm = swap.mm(group)
    first = mm.mmap(nr_pages)
    data = [noise(seed + page) for page in range(nr_pages)]
    mm.write(first * PAGE, b"".join(data))
    assert mm.pageout(first, nr_pages)["reclaimed_pages"] == nr_pages
    assert mm.swapped_pages == nr_pages
    return Tasks(mm, first, data)


def test_no_page_table_entry_is_visited_when_all_users_are_virtual(machine: Machine) -> None:
    tasks = swapped_out(machine.swap, 700)
    entries = [tasks.mm.swap_entry(tasks.first + page) for page in range(700)]
    assert machine.physical_pages == 700
    machine.swap.swapoff(machine.physical)
    assert walked(machine.swap) == (700, 0)
    assert not machine.physical.is_on
    assert [tasks.mm.swap_entry(tasks.first + page) for page in range(700)] == entries, "as they were"
    assert {row_of(machine.swap, int(entry)) for entry in entries} == {"folio folio"}
    machine.swap.check()
    tasks.expect()


def test_the_classic_walk_on_the_same_data_visits_them_all() -> None:
    swap = sc.Swap(memory_pages=8192)
    device = swap.swapon(file_storage(4 * C))
    tasks = swapped_out(swap, 700)
    swap.swapoff(device, lambda _entry, _count: tasks.mm.unuse(device))
    freed, visited = walked(swap)
    assert freed == 0
    assert visited >= 700
    assert tasks.mm.swapped_pages == 0, "and brings them in"
    tasks.expect()
    swap.check()


def test_uncached_cached_and_held_folios(machine: Machine) -> None:
    entries = [machine.out(text(number), machine.a) for number in range(6)]
    large = machine.out(text(50, 4), machine.a)
    machine.swap.dup(entries[0], 1)
    cached = machine.swap.swap_in(entries[0], memcg=machine.a)
    clean_with_refs = machine.swap.swap_in(entries[1], memcg=machine.a)
    whole = machine.swap.swap_in(large, 4, orders=1 << 2, memcg=machine.a)
    machine.keep(cached, clean_with_refs, whole)
    machine.world.verify()
    machine.swap.swapoff(machine.physical)
    assert walked(machine.swap) == (10, 0)
    assert cached.dirty, "a folio without backing must stay dirty"
    assert whole.dirty
    rows = [row_of(machine.swap, entry) for entry in entries]
    assert rows == ["folio folio"] * 6
    assert machine.a.counters()["swap_pages"] == 0
    machine.world.verify()
    assert cached.read() == text(0)
    assert whole.read() == text(50, 4)
    machine.world.folios.clear()
    del cached, clean_with_refs, whole
    for number in (0, 2, 3, 4, 5):
        assert data_at(machine.swap, entries[number]) == text(number)


def test_dirty_folio_over_its_slot_keeps_what_was_written(machine: Machine) -> None:
    entry = machine.out(text(1))
    folio = machine.swap.swap_in(entry)
    folio.write(text(2))
    machine.swap.swapoff(machine.physical)
    assert folio.read() == text(2)
    machine.swap.swapon(file_storage(C))
    entry = machine.swap.swap_out(folio)
    assert machine.swap.swap_in(entry).read() == text(2)


def test_waits_for_a_write_that_is_under_way(machine: Machine) -> None:
    folio = machine.swap.folio(0, text(1))
    machine.storage.set_faults(delay_ns=300_000_000)
    codes: list[int] = []

    def write(folio: sc.Folio) -> None:
        codes.append(refusal(lambda: machine.swap.swap_out(folio)))

    writer = threading.Thread(target=write, args=(folio,))
    writer.start()
    while machine.physical_pages == 0:
        time.sleep(0.001)
    machine.swap.swapoff(machine.physical, None)
    writer.join(60)
    assert walked(machine.swap)[1] == 0
    assert not machine.physical.is_on
    machine.physical = None
    # Swapoff found the folio in memory before or after the writer had finished.
    if codes == [EBUSY]:
        assert (folio.is_resident, folio.dirty, folio.read()) == (True, True, text(1))
    else:
        assert codes == [0]
        assert row_of(machine.swap, int(folio.entry)) == "folio folio"
        assert data_at(machine.swap, int(folio.entry)) == text(1)


@pytest.mark.parametrize("trait", ["locked", "writeback"])
def test_a_folio_that_a_handle_holds_keeps_the_device_on(machine: Machine, trait: str) -> None:
    """Swapoff gives up after a while, because the caller itself may hold the lock of the folio."""
    entry = machine.out(text(1))
    machine.swap.dup(entry, 1)
    folio = machine.swap.swap_in(entry)
    setattr(folio, trait, True)
    assert errno_of(machine.swap.swapoff, machine.physical) == EBUSY
    assert machine.physical.is_on
    assert row_of(machine.swap, entry) == "swapfile folio"
    setattr(folio, trait, False)
    machine.keep(folio)
    machine.world.verify()
    machine.swap.swapoff(machine.physical)
    assert row_of(machine.swap, entry) == "folio folio"
    assert walked(machine.swap) == (1, 0)
    assert folio.read() == text(1)


def test_slots_freed_meanwhile_are_no_matter(machine: Machine) -> None:
    entries = [machine.out(text(number)) for number in range(1500)]
    machine.storage.set_faults(delay_ns=100_000)
    off = threading.Thread(target=machine.swap.swapoff, args=(machine.physical,))
    off.start()
    for entry in reversed(entries[500:]):
        machine.swap.free(entry, 1, cpu=1)
    off.join(60)
    assert not off.is_alive()
    assert not machine.physical.is_on
    freed, visited = walked(machine.swap)
    assert 0 < freed <= 1500
    assert visited == 0
    machine.physical = None
    machine.world.verify()
    assert all(data_at(machine.swap, entry) == text(n) for n, entry in enumerate(entries[:500]))


def test_slots_read_meanwhile_are_no_matter(machine: Machine) -> None:
    tasks = swapped_out(machine.swap, 800)
    machine.storage.set_faults(delay_ns=50_000)
    off = threading.Thread(target=machine.swap.swapoff, args=(machine.physical,))
    off.start()
    tasks.expect()
    off.join(60)
    assert not off.is_alive()
    assert walked(machine.swap)[1] == 0
    tasks.expect()
    machine.swap.check()


def test_direct_users_take_the_classic_walk_and_the_others_do_not() -> None:
    swap = sc.Swap(memory_pages=8192)
    swap.page_cluster = 0
    device = swap.swapon(file_storage(4 * C))
    direct = swapped_out(swap, 100)
    swap.swapon(sc.Ghost(8 * C, virtual_table=True))
    virtual = swapped_out(swap, 200, seed=1000)
    assert device.inuse_pages == 300
    swap.swapoff(device, lambda _entry, _count: direct.mm.unuse(device))
    freed, visited = walked(swap)
    assert freed == 200
    assert visited >= 100
    assert (direct.mm.swapped_pages, virtual.mm.swapped_pages) == (0, 200)
    swap.check()
    direct.expect()
    virtual.expect()


def test_a_direct_user_that_stays_turns_the_device_on_again(machine: Machine) -> None:
    bare = machine.swap.alloc(0)
    entry = machine.out(text(1))
    assert errno_of(machine.swap.swapoff, machine.physical, lambda _entry, _count: None) == EBUSY
    assert machine.physical.is_on
    assert machine.swap.swap_count(bare) == 1
    machine.swap.free(bare)
    machine.swap.check()
    assert machine.swap.swap_in(entry).read() == text(1)
    machine.swap.swapoff(machine.physical)


def test_read_error_turns_the_device_on_again_with_all_its_data(machine: Machine) -> None:
    entries = [machine.out(text(number)) for number in range(50)]
    machine.storage.set_faults(read_error_probability=0.9)
    assert errno_of(machine.swap.swapoff, machine.physical) == EIO
    assert machine.physical.is_on
    machine.world.verify()
    machine.storage.set_faults()
    machine.out(text(99))
    machine.swap.swapoff(machine.physical)
    assert [data_at(machine.swap, entry) for entry in entries] == [text(n) for n in range(50)]


def test_no_memory_turns_the_device_on_again_with_all_its_data(machines: Machines) -> None:
    machine = machines(memory_pages=512, physical_pages=4 * C)
    entries = [machine.out(text(number)) for number in range(600)]
    assert errno_of(machine.swap.swapoff, machine.physical) == ENOMEM
    assert machine.physical.is_on
    machine.swap.check()
    assert all(data_at(machine.swap, entry) == text(n) for n, entry in enumerate(entries))


@pytest.mark.parametrize("way_out", ["zswap", "other device"])
def test_dirty_folios_go_elsewhere_when_memory_is_short(machines: Machines, way_out: str) -> None:
    machine = machines(memory_pages=512)
    tasks = swapped_out(machine.swap, 400)
    more = swapped_out(machine.swap, 400, seed=400)
    if way_out == "zswap":
        machine.swap.zswap.enabled = True
        machine.swap.zswap.max_pool_percent = 100
    else:
        machine.swap.swapon(file_storage(4 * C))
    # The pages belong to address spaces, so reclaim finds them and swaps them out where slots are free.
    machine.swap.swapoff(machine.physical)
    assert walked(machine.swap)[1] == 0
    machine.swap.check()
    tasks.expect()
    more.expect()
    del tasks, more
    gc.collect()


def test_zswap_and_zero_slots_are_left_alone(machines: Machines) -> None:
    machine = machines(zswap="lz4")
    stored, zero = machine.out(text(1)), machine.out(zeros())
    machine.swap.zswap.enabled = False
    on_file = machine.out(text(2))
    machine.swap.swapoff(machine.physical)
    rows = [row_of(machine.swap, entry) for entry in (stored, zero, on_file)]
    assert rows == ["zswap shadow", "zero shadow zero", "folio folio"]
    assert walked(machine.swap) == (1, 0)
    assert machine.swap.swap_in(on_file).read() == text(2)


def test_the_space_is_given_back_and_the_data_can_go_out_again(machines: Machines) -> None:
    # Each order allocates from a cluster of its own.
    machine = machines(physical_pages=16 * C)
    tasks = swapped_out(machine.swap, 300)
    storage = machine.storage
    machine.swap.swapoff(machine.physical)
    machine.physical = machine.swap.swapon(storage)
    assert machine.physical_pages == 0
    tasks.expect()
    assert tasks.mm.pageout(tasks.first, 300)["reclaimed_pages"] == 300
    assert machine.physical_pages == 300
    tasks.expect()
