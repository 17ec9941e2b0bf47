"""Swapoff of a physical device that backs virtual slots: swapoff walks the reverse map and no page table.

The folios are cached, uncached, held, under writeback, or freed during swapoff. A direct user has a slot of
the physical device without a virtual slot; for such slots swapoff walks page tables, as `try_to_unuse` does.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EBUSY, EIO, ENOMEM
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import Task, errno_of, file_storage, refusal, task_of
from helpers.virtual_facts import C, Machine, Machines, data_at, noise, text, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator


def walked(swap: sc.Swap) -> tuple[int, int]:
    """Returns the number of slots freed through the reverse map, and of page table entries visited."""
    stats = swap.stats()
    return stats["swapoff_rmap_slots"], stats["swapoff_ptes_visited"]


@dataclass
class Pages(Task):
    """A task whose pages are swapped out, and the expected bytes of these pages."""

    data: list[bytes]

    def expect(self) -> None:
        """Compares every page with its expected bytes."""
        assert [self.read(page) for page in range(len(self.data))] == self.data

    def entries(self) -> list[int]:
        """Returns the swap entries of the pages."""
        return [int(self.mm.swap_entry(self.first + page)) for page in range(len(self.data))]


def swapped_out(swap: sc.Swap, nr_pages: int, *, seed: int = 0) -> Pages:
    """Makes a task with pages of noise and swaps all of them out."""
    data = [noise(seed + page) for page in range(nr_pages)]
    task = task_of(swap, None, nr_pages, b"".join(data))
    assert task.pageout(nr_pages)["reclaimed_pages"] == task.mm.swapped_pages == nr_pages
    return Pages(task.mm, task.first, data)


@contextmanager
def going_off(machine: Machine, *, delay_ns: int) -> Iterator[None]:
    """Turns the physical device off in another thread while the ``with`` block runs."""
    machine.storage.set_faults(delay_ns=delay_ns)
    off = threading.Thread(target=machine.swap.swapoff, args=(machine.physical,))
    off.start()
    yield
    off.join(60)
    assert not off.is_alive()
    assert not machine.physical.is_on
    assert walked(machine.swap)[1] == 0


def test_no_page_table_entry_is_visited_when_all_users_are_virtual(machine: Machine) -> None:
    tasks = swapped_out(machine.swap, 700)
    entries = tasks.entries()
    assert machine.physical_pages == 700
    machine.swap.swapoff(machine.physical)
    assert walked(machine.swap) == (700, 0)
    assert not machine.physical.is_on
    assert tasks.entries() == entries, "the page tables are unchanged"
    assert set(machine.rows(*entries)) == {"folio folio"}
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
    assert tasks.mm.swapped_pages == 0, "the classic walk swaps all pages in"
    tasks.expect()
    swap.check()


def test_uncached_cached_and_held_folios(machine: Machine) -> None:
    entries = machine.out_each([text(number) for number in range(6)], machine.a)
    large = machine.out(text(50, 4), machine.a)
    machine.swap.dup(entries[0], 1)
    cached = machine.swap.swap_in(entries[0], memcg=machine.a)
    clean_with_refs = machine.swap.swap_in(entries[1], memcg=machine.a)
    whole = machine.swap.swap_in(large, 4, orders=1 << 2, memcg=machine.a)
    machine.keep(cached, clean_with_refs, whole)
    machine.world.verify()
    machine.swap.swapoff(machine.physical)
    assert walked(machine.swap) == (10, 0)
    assert (cached.is_dirty, whole.is_dirty) == (True, True), "a folio without backing must stay dirty"
    assert machine.rows(*entries) == ["folio folio"] * 6
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
    assert machine.read(entry) == [text(2)]


def test_waits_for_a_write_that_is_under_way(machine: Machine) -> None:
    folio = machine.swap.folio(0, text(1))
    machine.storage.set_faults(delay_ns=300_000_000)
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(refusal, machine.swap.swap_out, folio)
        while machine.physical_pages == 0:
            time.sleep(0.001)
        machine.swap.swapoff(machine.physical, None)
        code = write.result(60)
    assert walked(machine.swap)[1] == 0
    assert not machine.physical.is_on
    # The swap-out fails with EBUSY if swapoff removed the physical slot before the write ended. The swap-out
    # succeeds if the write ended before swapoff.
    if code == EBUSY:
        assert (folio.is_resident, folio.is_dirty, folio.read()) == (True, True, text(1))
    else:
        assert code == 0
        assert machine.rows(folio.entry) == ["folio folio"]
        assert data_at(machine.swap, int(folio.entry)) == text(1)


@pytest.mark.parametrize("trait", ["is_locked", "is_writeback"])
def test_a_folio_that_a_handle_holds_keeps_the_device_on(machine: Machine, trait: str) -> None:
    """Swapoff stops waiting for a held folio after a while, because the caller may hold the folio's lock."""
    entry = machine.out(text(1))
    machine.swap.dup(entry, 1)
    folio = machine.swap.swap_in(entry)
    setattr(folio, trait, True)
    assert errno_of(machine.swap.swapoff, machine.physical) == EBUSY
    assert machine.physical.is_on
    assert machine.rows(entry) == ["swapfile folio"]
    setattr(folio, trait, False)
    machine.keep(folio)
    machine.world.verify()
    machine.swap.swapoff(machine.physical)
    assert machine.rows(entry) == ["folio folio"]
    assert walked(machine.swap) == (1, 0)
    assert folio.read() == text(1)


def test_slots_freed_meanwhile_are_no_matter(machine: Machine) -> None:
    entries = machine.out_each(text(number) for number in range(1500))
    with going_off(machine, delay_ns=100_000):
        for entry in reversed(entries[500:]):
            machine.swap.free(entry, 1, cpu=1)
    assert 0 < walked(machine.swap)[0] <= 1500
    machine.world.verify()
    assert all(data_at(machine.swap, entry) == text(n) for n, entry in enumerate(entries[:500]))


def test_slots_read_meanwhile_are_no_matter(machine: Machine) -> None:
    tasks = swapped_out(machine.swap, 800)
    with going_off(machine, delay_ns=50_000):
        tasks.expect()
    tasks.expect()


def test_direct_users_take_the_classic_walk_and_the_others_do_not() -> None:
    swap = sc.Swap(memory_pages=8192)
    swap.page_cluster = 0
    device = swap.swapon(file_storage(4 * C))
    direct = swapped_out(swap, 100)
    swap.swapon(sc.Ghost(pages=8 * C, is_virtual=True))
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
    assert machine.read(entry) == [text(1)]
    machine.swap.swapoff(machine.physical)


def test_read_error_turns_the_device_on_again_with_all_its_data(machine: Machine) -> None:
    entries = machine.out_each(text(number) for number in range(50))
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
    entries = machine.out_each(text(number) for number in range(600))
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
    # The 800 pages do not fit into the memory of 512 pages. Reclaim finds the pages, because they belong to
    # address spaces, and swaps them out to zswap or to the other device.
    machine.swap.swapoff(machine.physical)
    assert walked(machine.swap)[1] == 0
    machine.swap.check()
    tasks.expect()
    more.expect()


def test_zswap_and_zero_slots_are_left_alone(lz4: Machine) -> None:
    stored, zero = lz4.out(text(1)), lz4.out(zeros())
    lz4.swap.zswap.enabled = False
    on_file = lz4.out(text(2))
    lz4.swap.swapoff(lz4.physical)
    assert lz4.rows(stored, zero, on_file) == ["zswap shadow", "zero shadow zero", "folio folio"]
    assert walked(lz4.swap) == (1, 0)
    assert lz4.read(on_file) == [text(2)]


def test_the_space_is_given_back_and_the_data_can_go_out_again(machines: Machines) -> None:
    # Runs of different orders are in different clusters, so the device needs a free cluster for each order.
    machine = machines(physical_pages=16 * C)
    tasks = swapped_out(machine.swap, 300)
    machine.swap.swapoff(machine.physical)
    machine.physical = machine.swap.swapon(machine.storage)
    assert machine.physical_pages == 0
    tasks.expect()
    assert tasks.pageout(300)["reclaimed_pages"] == 300
    assert machine.physical_pages == 300
    tasks.expect()
