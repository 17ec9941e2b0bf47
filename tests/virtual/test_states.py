"""The states of a virtual slot and the transitions between states, as docs/steps.md defines them.

Random programs reach every state of the table and no other state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import Word, errno_of, word_at
from helpers.virtual_facts import LEGAL_ROWS, Machine, Machines, Reader, noise, row_of, text, zeros
from helpers.virtual_programs import Program, Size

if TYPE_CHECKING:
    from collections.abc import Callable

ZSWAP_OFF = None


def pointer(owner: int, *, is_cache_only: bool = False) -> Word:
    """Returns the table entry of a physical slot that backs the virtual slot ``owner``."""
    return Word("pointer", owner=owner, is_cache_only=is_cache_only)


# Tests of every row of the table of states in docs/steps.md


def test_state_free(machine: Machine) -> None:
    assert machine.row(5) == "free"
    assert machine.swap.backing(5) == {"type": "none", "entry": None, "nr_pages": 1}


def test_state_cached_with_nothing_behind_it_is_dirty(machine: Machine) -> None:
    folio = machine.swap.folio(0, text(1))
    entry = int(machine.swap.folio_alloc_swap(folio))
    machine.keep(folio)
    assert machine.row(entry) == "folio folio"
    assert folio.is_dirty
    assert machine.physical_pages == 0, "a virtual slot takes no physical one"


@pytest.mark.parametrize("zswap", [ZSWAP_OFF, "lz4"])
def test_state_zero_with_and_without_folio(machines: Machines, zswap: str | None) -> None:
    machine = machines(zswap=zswap)
    entry = machine.out(zeros())
    assert machine.row(entry) == "zero shadow zero"
    folio = machine.swap.swap_in(entry)
    machine.keep(folio)
    assert machine.row(entry) == "zero folio zero", "the backing is zero, also while a folio is cached"
    assert (machine.stat("stored_pages"), machine.physical_pages) == (0, 0)
    assert folio.read() == zeros()
    assert machine.swap.zero_batch(entry, 1) == (True, 1)


def test_state_zswap_with_and_without_folio(lz4: Machine) -> None:
    entry = lz4.out(text(1))
    assert lz4.row(entry) == "zswap shadow"
    folio = lz4.swap.folio(0, text(1))
    lz4.swap.swap_cache_add_folio(folio, entry)
    assert row_of(lz4.swap, entry) == "zswap folio"
    assert lz4.stat("stored_pages") == 1
    folio.is_dirty = False
    lz4.swap.swap_cache_del_folio(folio)
    assert row_of(lz4.swap, entry) == "zswap shadow"


def test_state_swapfile_with_and_without_folio(machine: Machine) -> None:
    entry = machine.out(text(1))
    assert machine.row(entry) == "swapfile shadow"
    slot = machine.backing_slot(entry)
    assert word_at(machine.swap, slot) == pointer(entry)
    folio = machine.swap.swap_in(entry)
    machine.keep(folio)
    assert machine.row(entry) == "swapfile folio"
    assert (folio.is_dirty, folio.read()) == (False, text(1))
    assert machine.backing_slot(entry) == slot, "the physical slot stays for the next swap-out"


# Tests of every transition between two rows of the table of states in docs/steps.md


def test_edge_allocate_charges_the_id_alone(machine: Machine) -> None:
    folio = machine.swap.folio(2, text(1, 4), memcg=machine.a)
    entry = int(machine.swap.folio_alloc_swap(folio))
    machine.keep(folio)
    for page in range(4):
        assert machine.row(entry + page) == "folio folio"
        assert machine.swap.swap_count(entry + page) == 0
    assert machine.a.counters()["swap_pages"] == 0
    machine.swap.folio_dup_swap(folio)
    assert [machine.swap.swap_count(entry + page) for page in range(4)] == [1] * 4
    machine.swap.folio_put_swap(folio)


@pytest.mark.parametrize(
    ("first", "second", "zswap", "row"),
    [
        pytest.param(text(1), zeros(), ZSWAP_OFF, "zero shadow zero", id="zeros release the slot"),
        pytest.param(text(1), text(2), "lz4", "zswap shadow", id="zswap releases the slot"),
        pytest.param(zeros(), text(2), "lz4", "zswap shadow", id="zswap clears a stale zero mark"),
        pytest.param(zeros(), text(2), ZSWAP_OFF, "swapfile shadow", id="a device clears a stale zero mark"),
        pytest.param(text(1), None, ZSWAP_OFF, "swapfile shadow", id="reclaim of a clean folio"),
        pytest.param(zeros(), None, ZSWAP_OFF, "zero shadow zero", id="reclaim of a folio of zeros"),
    ],
)
def test_edge_swap_out_again(
    machine: Machine, first: bytes, second: bytes | None, zswap: str | None, row: str
) -> None:
    entry = machine.out(first)
    is_on_device = first != zeros()
    assert machine.physical_pages == is_on_device
    machine.swap.zswap.enabled = zswap is not None
    folio = machine.swap.swap_in(entry)
    if second is not None:
        folio.write(second)
    assert int(machine.swap.swap_out(folio)) == entry
    assert machine.row(entry) == row
    assert machine.physical_pages == (row == "swapfile shadow")
    # A swap-out does not write a clean folio again.
    nr_written = is_on_device + (row == "swapfile shadow" and second is not None)
    nr_zeros = (not is_on_device) + (second == zeros())
    assert machine.stats("pswpout", "swpout_zero") == [nr_written, nr_zeros]
    assert machine.read(entry) == [first if second is None else second]


def test_edge_physical_swap_out_overwrites_its_run_in_place(machine: Machine) -> None:
    entry = machine.out(text(1, 4))
    slots = [machine.backing_slot(entry + page) for page in range(4)]
    assert slots == list(range(slots[0], slots[0] + 4))
    assert machine.swap.backing(entry, 4)["nr_pages"] == 4
    folio = machine.swap.swap_in(entry, 4, orders=1 << 2)
    assert folio.order == 2
    folio.write(text(2, 4))
    assert int(machine.swap.swap_out(folio)) == entry
    assert [machine.backing_slot(entry + page) for page in range(4)] == slots
    assert machine.physical_pages == 4
    assert machine.stat("pswpout") == 8


def test_edge_swap_in_of_zswap_is_exclusive(lz4: Machine) -> None:
    entry = lz4.out(text(1))
    lz4.swap.dup(entry, 1)
    folio = lz4.swap.swap_in(entry)
    lz4.keep(folio)
    assert lz4.row(entry) == "folio folio", "zswap keeps no copy"
    assert folio.is_dirty
    assert lz4.stat("stored_pages") == 0
    lz4.world.folios.clear()
    del folio
    assert lz4.row(entry) == "folio folio", "the slot has a reference, so the folio stays"
    lz4.swap.shrink_swap_cache()
    assert lz4.read(entry) == [text(1)]


def test_edge_dup_and_put_move_the_cache_only_bit(machine: Machine) -> None:
    entry = machine.out(text(1))
    slot = machine.backing_slot(entry)
    folio = machine.swap.swap_in(entry)
    assert word_at(machine.swap, slot) == pointer(entry, is_cache_only=True), "count 0 and cached"
    found = machine.swap.lookup(slot)
    assert (found["kind"], found["owner"], found["is_cache_only"]) == ("pointer", entry, True)
    machine.swap.folio_dup_swap(folio)
    assert word_at(machine.swap, slot) == pointer(entry), "0 to 1 clears the cache-only bit"
    machine.swap.folio_dup_swap(folio)
    assert word_at(machine.swap, slot) == pointer(entry)
    machine.swap.folio_put_swap(folio)
    assert word_at(machine.swap, slot) == pointer(entry), "2 to 1 leaves the bit"
    machine.swap.folio_put_swap(folio)
    assert word_at(machine.swap, slot) == pointer(entry, is_cache_only=True), "cached, 1 to 0 sets it"
    machine.swap.folio_dup_swap(folio)
    machine.swap.put(entry, 1)
    assert machine.swap.lookup(entry)["kind"] == "folio", "the mapped folio keeps the slot"


def test_edge_dup_beyond_what_a_word_holds(machine: Machine) -> None:
    entry = machine.out(text(1))
    for _ in range(21):
        machine.swap.dup(entry, 1)
    assert machine.swap.swap_count(entry) == 22
    machine.world.verify()
    for _ in range(21):
        machine.swap.put(entry, 1)
    assert machine.row(entry) == "swapfile shadow"


@pytest.mark.parametrize("zswap", [ZSWAP_OFF, "lz4"])
@pytest.mark.parametrize("make", [lambda: zeros(4), lambda: text(1, 4), lambda: noise(1, 4)])
def test_edge_free_releases_everything(
    machines: Machines, zswap: str | None, make: Callable[[], bytes]
) -> None:
    machine = machines(zswap=zswap)
    entry = machine.out(make(), machine.a)
    assert machine.a.counters()["id_refs"] == 5
    machine.swap.free(entry, 4)
    assert [machine.row(entry + page) for page in range(4)] == ["free"] * 4
    assert (machine.physical_pages, machine.stat("stored_pages"), machine.ghost.inuse_pages) == (0, 0, 0)
    assert machine.a.counters()["id_refs"] == 1, "freeing the virtual slots gives their id references back"


# Tests of calls that fail for a physical slot behind a virtual slot


def test_pointers_have_no_count(machine: Machine) -> None:
    entry = machine.out(text(1))
    slot = machine.backing_slot(entry)
    for call in (machine.swap.swap_in, machine.swap.free, machine.swap.dup):
        assert errno_of(call, slot, 1) != 0
    assert machine.row(entry) == "swapfile shadow"
    assert machine.physical.slots()[slot & 0xFFFF_FFFF] == 4


# Tests of the charges of groups for virtual slots


@pytest.mark.parametrize("hierarchy", ["v2", "v1"])
def test_two_step_charging_of_every_backing(machines: Machines, hierarchy: str) -> None:
    machine = machines(memcg=hierarchy)
    usage = "swap_pages" if hierarchy == "v2" else "memsw_pages"

    def paid() -> int:
        machine.world.verify()
        return machine.a.counters()[usage]

    machine.out(zeros(), machine.a)
    assert paid() == (0 if hierarchy == "v2" else 1)
    on_file = machine.out(text(1), machine.a)
    assert paid() == (1 if hierarchy == "v2" else 2)
    machine.swap.zswap.enabled = True
    in_zswap = machine.out(text(2), machine.a)
    machine.world.verify()
    if hierarchy == "v2":
        assert paid() == 1, "pages in zswap and pages of zeros are not charged to swap"
        machine.swap.zswap.writeback(in_zswap)
        assert paid() == 2, "charged when a physical slot is attached"
        machine.swap.free(on_file, 1)
        assert paid() == 1, "uncharged when it is detached"
        assert machine.a.counters()["id_refs"] == 3


def test_swap_max_of_zero_still_leaves_zswap_and_zeros(lz4: Machine) -> None:
    lz4.a.write("memory.swap.max", 0)
    assert lz4.row(lz4.out(text(1), lz4.a)) == "zswap shadow"
    assert lz4.row(lz4.out(zeros(), lz4.a)) == "zero shadow zero"
    lz4.swap.zswap.enabled = False
    folio = lz4.swap.folio(0, text(2), memcg=lz4.a)
    assert errno_of(lz4.swap.swap_out, folio) != 0
    assert (folio.is_resident, folio.is_dirty, folio.read()) == (True, True, text(2))
    assert lz4.physical_pages == 0
    lz4.keep(folio)
    lz4.world.verify()


# Tests with several virtual devices, and of the order of virtual and physical devices


def test_pointers_name_the_right_one_of_several_virtual_devices(machine: Machine) -> None:
    second = machine.swap.swapon(sc.Ghost(pages=4096, is_virtual=True))
    entries = machine.out_each(text(n) for n in range(1200))
    assert {entry >> 58 for entry in entries} == {machine.ghost.type, second.type}
    assert Reader(machine.swap).errors() == []
    assert machine.read(*entries) == [text(n) for n in range(len(entries))]


def test_a_folio_that_finds_no_virtual_room_goes_to_an_ordinary_device(machines: Machines) -> None:
    machine = machines(ghost_pages=512)
    entries = machine.out_each(text(n) for n in range(520))
    assert [entry >> 58 == machine.ghost.type for entry in entries] == [True] * 511 + [False] * 9
    machine.world.verify()
    assert machine.read(*entries) == [text(n) for n in range(len(entries))]


def test_the_prefix_of_one_type_ends_where_the_type_or_the_run_does(machines: Machines) -> None:
    machine = machines(ghost_pages=512)
    entry = machine.out(text(1, 8))
    assert machine.swap.backing(entry, 8) == {
        "type": "swapfile",
        "entry": machine.swap.backing(entry)["entry"],
        "nr_pages": 8,
    }
    folios = [machine.swap.swap_in(entry + page) for page in (2, 3)]
    folios[0].write(zeros())
    machine.swap.swap_out(folios.pop(0))
    assert machine.swap.backing(entry, 8)["nr_pages"] == 2
    assert machine.swap.backing(entry + 2, 6) == {"type": "zero", "entry": None, "nr_pages": 1}
    assert machine.swap.backing(entry + 3, 5)["nr_pages"] == 5, "a cached folio does not end it"


# Tests with random programs


@pytest.mark.parametrize("hierarchy", ["v2", "v1"])
@pytest.mark.parametrize("seed", range(3))
def test_random_programs_reach_every_row_and_no_other(hierarchy: str, seed: int) -> None:
    program = Program(Size(), hierarchy=hierarchy, seed=seed)
    program.run_any(500)
    reached = {row for row in program.seen if row in LEGAL_ROWS}
    # On v1 no operation caches a folio over a zswap entry without reading the entry.
    assert reached == LEGAL_ROWS - ({"zswap folio"} if hierarchy == "v1" else set())
    program.finish()


# No case is v1 with `cluster_table` or `array`, because these owner stores lose the owner of a dropped clean
# folio on v1.
@pytest.mark.parametrize(
    ("store", "hierarchy"),
    [("cluster_table", "v2"), ("array", "v2"), ("trampoline", "v2"), ("trampoline", "v1")],
)
def test_books_of_groups_are_right_wherever_owners_are_kept(store: str, hierarchy: str) -> None:
    size = Size(memory_pages=512, physical_pages=64, zswap_percent=2)
    for seed in range(3):
        program = Program(size, hierarchy=hierarchy, store=store, seed=seed)
        program.run_any(120, verify_every=3)
        program.finish()
