"""Moves of a virtual slot's page: writeback from zswap, and relocation, with a failure at each step.

After each failure the data is unchanged, no physical slot is lost, and a counter shows the failure. Steps 1
to 5 of a writeback are WB1 to WB5 of docs/steps.md.
"""

from __future__ import annotations

import threading
import time
from errno import EEXIST, EINVAL, EIO, ENOENT, ENOMEM, ENOSPC
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of, file_storage, refusal, word_at
from helpers.programs import nr_programs
from helpers.virtual_facts import C, Machine, Machines, text
from helpers.virtual_programs import Program, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = nr_programs(25)


def fill_physical(machine: Machine) -> list[sc.SwpEntry]:
    """Allocates all slots of the physical device for hibernation and returns their entries."""
    assert machine.physical is not None
    runs = [machine.swap.alloc_hibernation(machine.physical) for _ in range(machine.physical.pages)]
    machine.world.ownerless.update(map(int, runs))
    return runs


def let_go(machine: Machine, runs: list[sc.SwpEntry]) -> None:
    """Frees slots of `fill_physical`."""
    for run in runs:
        machine.swap.free_hibernation(run)


def expect_refused(machine: Machine, entry: int, code: int) -> None:
    """Expects that the writeback of a page of group A fails with ``code`` and the page stays in zswap."""
    physical_pages = machine.physical_pages if machine.physical else 0
    assert errno_of(machine.swap.zswap.writeback, entry) == code
    assert machine.rows(entry) == ["zswap shadow"]
    assert machine.stats("stored_pages", "written_back_pages") == [1, 0]
    assert machine.a.counters()["swap_pages"] == 0
    if machine.physical:
        assert machine.physical_pages == physical_pages


# Tests of the writeback of one zswap entry, step by step


def test_writeback_moves_one_entry_and_drops_its_folio(lz4: Machine) -> None:
    entry = lz4.out(text(1), lz4.a)
    lz4.swap.zswap.writeback(entry)
    assert lz4.row(entry) in ("swapfile shadow", "swapfile folio")
    assert lz4.stats("written_back_pages", "zswpwb", "stored_pages", "zswpin") == [1, 1, 0, 0]
    assert (lz4.physical_pages, lz4.a.counters()["swap_pages"]) == (1, 1)
    lz4.swap.shrink_swap_cache()
    assert lz4.row(entry) == "swapfile shadow"
    assert lz4.swap.nr_used_pages == 0
    assert lz4.read(entry) == [text(1)]


def test_writeback_step_1_somebody_loads_it_eexist(lz4: Machine) -> None:
    entry = lz4.out(text(1), lz4.a)
    folio = lz4.swap.folio(0, text(1), memcg=lz4.a)
    lz4.swap.swap_cache_add_folio(folio, entry)
    assert errno_of(lz4.swap.zswap.writeback, entry) == EEXIST
    assert lz4.rows(entry) == ["zswap folio"]
    assert (lz4.physical_pages, lz4.stat("written_back_pages")) == (0, 0)
    folio.is_dirty = False
    lz4.swap.swap_cache_del_folio(folio)
    assert lz4.read(entry) == [text(1)]


def test_writeback_step_1_it_was_freed_enoent(lz4: Machine) -> None:
    entry = lz4.out(text(1), lz4.a)
    lz4.swap.free(entry, 1)
    assert errno_of(lz4.swap.zswap.writeback, entry) == ENOENT
    assert (lz4.physical_pages, lz4.ghost.inuse_pages) == (0, 0)


def test_writeback_step_1_no_memory_enomem(machines: Machines) -> None:
    machine = machines(zswap="lz4", memory_pages=512)
    entry = machine.out(text(1), machine.a)
    nr_free = machine.swap.memory_pages - machine.swap.nr_used_pages
    hold = [machine.swap.folio(0) for _ in range(nr_free)]
    expect_refused(machine, entry, ENOMEM)
    hold.clear()
    assert machine.row(entry) == "zswap shadow"
    assert machine.read(entry) == [text(1)]


@pytest.mark.parametrize("how", ["zero", "swapfile"])
def test_writeback_step_2_there_is_no_entry_any_more(lz4: Machine, how: str) -> None:
    entry = lz4.out(text(1), lz4.a)
    folio = lz4.swap.swap_in(entry, memcg=lz4.a)
    if how == "zero":
        folio.write(bytes(PAGE))
    else:
        lz4.swap.zswap.enabled = False
    lz4.swap.swap_out(folio)
    before = lz4.row(entry)
    assert errno_of(lz4.swap.zswap.writeback, entry) in (ENOENT, ENOMEM)
    assert lz4.row(entry) == before
    assert lz4.stat("written_back_pages") == 0


def test_writeback_step_3_no_physical_slot_enomem_before_decompression(machines: Machines) -> None:
    machine = machines(zswap="lz4", physical_pages=64)
    entry = machine.out(text(1), machine.a)
    runs = fill_physical(machine)
    machine.swap.zswap.set_faults(decompress=1.0)
    expect_refused(machine, entry, ENOMEM)
    assert machine.stat("decompress_fail") == 0
    machine.swap.zswap.set_faults()
    word = word_at(machine.swap, entry)
    # As in the scenario J12 of docs/steps.md, the shadow keeps the owner and has no age.
    assert (word.memcg_id, word.eviction) == (machine.a.counters()["id"], 0)
    let_go(machine, runs)
    machine.swap.zswap.writeback(entry)
    assert machine.swap.backing(entry)["type"] == "swapfile"


@pytest.mark.parametrize("physical_pages", [0, 4 * C])
def test_writeback_step_3_no_device_or_swap_max_of_the_group(machines: Machines, physical_pages: int) -> None:
    machine = machines(zswap="lz4", physical_pages=physical_pages)
    entry = machine.out(text(1), machine.a)
    if physical_pages:
        machine.a.write("memory.swap.max", 0)
    expect_refused(machine, entry, ENOMEM)
    machine.world.verify()
    assert machine.read(entry) == [text(1)]


def test_writeback_step_4_decompression_fails_eio_and_the_slot_is_given_back(lz4: Machine) -> None:
    entry = lz4.out(text(1), lz4.a)
    lz4.swap.zswap.set_faults(decompress=1.0)
    expect_refused(lz4, entry, EIO)
    lz4.world.verify()
    assert (lz4.physical_pages, lz4.stat("decompress_fail"), lz4.swap.nr_used_pages) == (0, 1, 0)
    lz4.swap.zswap.set_faults()
    assert lz4.read(entry) == [text(1)]


@pytest.mark.parametrize("fault", [{"fail_write_in": 1}, {"tear_write_pages": 0}], ids=str)
def test_writeback_step_5_write_error_leaves_the_data_in_a_dirty_folio(
    lz4: Machine, fault: dict[str, int]
) -> None:
    entry = lz4.out(text(1), lz4.a)
    lz4.storage.set_faults(**fault)
    refusal(lz4.swap.zswap.writeback, entry)
    assert lz4.stat("write_errors") == 1
    folio = lz4.swap.folio_at(entry)
    assert folio is not None
    assert (folio.is_dirty, folio.read()) == (True, text(1))
    del folio
    lz4.swap.shrink_swap_cache()
    lz4.world.verify()
    assert lz4.read(entry) == [text(1)]


# Tests of `Swap.folio_realloc_swap`, which gives a virtual slot a physical slot


def test_realloc_gives_a_contiguous_run_and_pointers(machine: Machine) -> None:
    folio = machine.swap.folio(2, text(1, 4), memcg=machine.a)
    entry = int(machine.swap.folio_alloc_swap(folio))
    first = machine.swap.folio_realloc_swap(folio)
    machine.keep(folio)
    assert (first.type, first.offset % 4, first.order) == (machine.physical.type, 0, 2)
    found = machine.swap.backing(entry, 4)
    assert (found["type"], int(found["entry"]), found["nr_pages"]) == ("swapfile", int(first), 4)
    assert (machine.physical_pages, machine.a.counters()["swap_pages"]) == (4, 4)
    machine.world.verify()
    assert machine.swap.folio_realloc_swap(folio) == first, "a folio that has a run keeps it"
    assert machine.physical_pages == 4


def test_realloc_of_a_folio_that_is_not_cached_is_refused(machine: Machine) -> None:
    assert errno_of(machine.swap.folio_realloc_swap, machine.swap.folio(0)) == EINVAL
    assert machine.physical_pages == 0


@pytest.mark.parametrize("limit_pages", [0, 3])
def test_realloc_is_refused_over_swap_max_and_changes_nothing(machine: Machine, limit_pages: int) -> None:
    machine.a.write("memory.swap.max", limit_pages * PAGE)
    folio = machine.swap.folio(2, text(1, 4), memcg=machine.a)
    entry = int(machine.swap.folio_alloc_swap(folio))
    assert errno_of(machine.swap.folio_realloc_swap, folio) in (ENOMEM, ENOSPC)
    machine.keep(folio)
    assert machine.row(entry + 3) == "folio folio"
    assert (machine.physical_pages, machine.a.counters()["swap_pages"]) == (0, 0)
    machine.a.write("memory.swap.max", 4 * PAGE)
    machine.swap.folio_realloc_swap(folio)


def test_realloc_wants_a_run_of_its_order_and_no_split(machines: Machines) -> None:
    machine = machines(physical_pages=64)
    runs = fill_physical(machine)
    let_go(machine, [run for run in runs if run.offset % 2])
    folio = machine.swap.folio(1, text(1, 2))
    entry = int(machine.swap.folio_alloc_swap(folio))
    used = machine.physical_pages
    assert errno_of(machine.swap.folio_realloc_swap, folio) == ENOSPC
    assert errno_of(machine.swap.swap_out, folio) == ENOSPC
    machine.keep(folio)
    assert machine.row(entry) == "folio folio"
    assert (machine.physical_pages, folio.read()) == (used, text(1, 2))
    parts = machine.swap.folio_split(folio)
    entries = machine.swap.swap_out_batch(parts)
    assert b"".join(machine.read(*entries)) == text(1, 2)
    let_go(machine, [run for run in runs if not run.offset % 2])


def test_trap_of_a_store_that_failed_half_way_leaks_no_old_slot(machine: Machine) -> None:
    """If a zswap store fails after some pages of a folio, the old physical slots are not leaked."""
    mixes = 0
    for seed in range(20):
        machine.swap.zswap.enabled = False
        entry = machine.out(text(1, 8), machine.a)
        folio = machine.swap.swap_in(entry, 8, orders=1 << 3, memcg=machine.a)
        assert (folio.order, machine.physical_pages) == (3, 8)
        folio.write(text(seed, 8))
        machine.swap.zswap.enabled = True
        machine.swap.zswap.set_faults(pool_alloc=0.3, seed=seed)
        machine.swap.swap_out(folio)
        is_stored = machine.stat("stored_pages") == 8
        mixes += not is_stored
        assert machine.physical_pages == (0 if is_stored else 8)
        machine.world.verify()
        machine.swap.zswap.set_faults()
        folios = machine.swap.swap_in_batch([sc.SwpEntry(entry, 3)])
        assert b"".join(folio.read() for folio in folios) == text(seed, 8)
        del folio, folios
        machine.swap.shrink_swap_cache()
    assert mixes > 5


def test_physical_slots_are_let_go_only_once_the_store_has_succeeded(machine: Machine) -> None:
    entry = machine.out(text(1), machine.a)
    slot = machine.backing_slot(entry)
    folio = machine.swap.swap_in(entry, memcg=machine.a)
    folio.write(text(2))
    machine.swap.zswap.enabled = True
    machine.swap.zswap.set_faults(entry_alloc=1.0)
    machine.storage.set_faults(fail_write_in=1)
    assert errno_of(machine.swap.swap_out, folio) == EIO
    assert folio.read() == text(2)
    machine.keep(folio)
    assert machine.row(entry) == "swapfile folio"
    machine.swap.swap_out(folio)
    assert machine.backing_slot(entry) == slot, "the write goes to the same slot"
    machine.swap.zswap.set_faults()
    folio = machine.swap.swap_in(entry, memcg=machine.a)
    folio.write(text(3))
    machine.swap.swap_out(folio)
    assert machine.physical_pages == 0
    assert machine.read(entry) == [text(3)]


# Tests of `Swap.move_backing`, which moves a page from one physical slot to another


class Pair:
    """A page of group A that is swapped out to one file, and a second file."""

    def __init__(self, machine: Machine, *, second_pages: int = C) -> None:
        """Swaps the page out to the first file and turns the second file on."""
        self.machine = machine
        self.entry = machine.out(text(1), machine.a)
        self.storage = file_storage(second_pages)
        self.second = machine.swap.swapon(self.storage, priority=0)
        self.old_slot = machine.backing_slot(self.entry)

    def move(self) -> str:
        """Moves the backing of the page to the second file."""
        return self.machine.swap.move_backing(self.entry, self.second)

    def read(self) -> sc.Folio:
        """Swaps the page in."""
        return self.machine.swap.swap_in(self.entry, memcg=self.machine.a)

    def expect_old(self) -> None:
        """Expects that the old slot backs the page and that no slot of the second file is in use."""
        assert self.machine.backing_slot(self.entry) == self.old_slot
        assert (self.machine.physical_pages, self.second.inuse_pages) == (1, 0)
        assert self.machine.a.counters()["swap_pages"] == 1
        self.machine.world.verify()


@pytest.fixture
def pair(machine: Machine) -> Iterator[Pair]:
    made = Pair(machine)
    yield made
    assert made.read().read() == text(1)


def test_relocation_keeps_the_content(pair: Pair) -> None:
    assert pair.move() == "done"
    assert pair.machine.backing_slot(pair.entry) >> 58 == pair.second.type
    assert (pair.machine.physical_pages, pair.second.inuse_pages) == (0, 1)
    assert pair.machine.a.counters()["swap_pages"] == 1
    pair.machine.world.verify()


def test_relocation_write_error_frees_the_new_slot_and_keeps_the_old(pair: Pair) -> None:
    pair.storage.set_faults(fail_write_in=1)
    assert errno_of(pair.move) == EIO
    pair.expect_old()
    pair.storage.set_faults(tear_write_pages=0)
    assert errno_of(pair.move) == EIO
    pair.expect_old()


def test_relocation_read_error_keeps_the_old_slot(pair: Pair) -> None:
    pair.machine.storage.set_faults(fail_read_in=1)
    assert errno_of(pair.move) == EIO
    pair.expect_old()


def test_relocation_no_room_keeps_the_old_slot(machine: Machine) -> None:
    pair = Pair(machine, second_pages=64)
    hold = [machine.swap.alloc_hibernation(pair.second) for _ in range(63)]
    assert pair.move() == "no_room"
    let_go(machine, hold)
    pair.expect_old()
    assert pair.read().read() == text(1)


def test_relocation_busy_folio_is_skipped(pair: Pair) -> None:
    folio = pair.read()
    folio.is_locked = True
    assert pair.move() == "skipped"
    folio.is_locked = False
    pair.machine.keep(folio)
    pair.expect_old()
    pair.machine.swap.swap_out(folio)
    pair.machine.world.folios.clear()


def test_relocation_slot_that_was_freed_counts_as_moved(machine: Machine) -> None:
    pair = Pair(machine)
    machine.swap.free(pair.entry, 1)
    assert pair.move() == "freed"
    assert (machine.physical_pages, pair.second.inuse_pages) == (0, 0)


def test_relocation_cached_page_is_not_read_again(pair: Pair) -> None:
    pair.machine.swap.dup(pair.entry, 1)
    folio = pair.read()
    pair.machine.storage.set_faults(fail_read_in=1)
    assert pair.move() == "done"
    pair.machine.storage.set_faults()
    pair.machine.keep(folio)
    pair.machine.world.verify()
    pair.machine.swap.swap_out(folio)
    pair.machine.world.folios.clear()
    assert pair.machine.backing_slot(pair.entry) >> 58 == pair.second.type


def test_relocation_what_is_not_on_a_physical_slot_is_skipped(lz4: Machine) -> None:
    entry = lz4.out(text(1), lz4.a)
    assert lz4.swap.move_backing(entry, lz4.physical) == "skipped"
    assert lz4.row(entry) == "zswap shadow"


def test_relocation_old_slot_is_valid_until_the_write_is_complete(pair: Pair) -> None:
    """During a slow write, the backing of the virtual slot is always the old slot or the new slot."""
    pair.storage.set_faults(delay_ns=50_000_000)
    mover = threading.Thread(target=pair.move)
    mover.start()
    seen = set()
    while mover.is_alive():
        seen.add(pair.machine.backing_slot(pair.entry) >> 58)
        time.sleep(0.002)
    mover.join()
    seen.add(pair.machine.backing_slot(pair.entry) >> 58)
    assert seen == {pair.machine.physical.type, pair.second.type}
    pair.storage.set_faults()


# Tests with random programs


def test_random_programs_with_faults_lose_nothing() -> None:
    """Programs with full devices, little memory, limits, and failures of storages and zswap lose no data."""
    seen: set[str] = set()
    for seed in range(PROGRAMS):
        size = Size(
            ghost_pages=(C, 4 * C)[seed % 2],
            physical_pages=(24, 64, C)[seed % 3],
            memory_pages=512,
            swap_max_pages=(None, 0, 10, None)[seed % 4],
            zswap_percent=(20, 2, 1)[seed % 3],
        )
        program = Program(size, hierarchy="v1" if seed % 5 == 4 else "v2", seed=seed)
        program.run_any(60, verify_every=12)
        program.finish()
        seen |= program.seen.keys()
    failures = {"swap_out 5", "swap_out 28", "swap_in 5", "writeback 5", "writeback 12", "move 5"}
    assert failures <= seen, failures - seen
