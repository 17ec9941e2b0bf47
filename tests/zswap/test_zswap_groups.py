"""zswap and groups: the files `memory.zswap.*`, statistics, `memory.reclaim`, and J12 of docs/steps.md."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, EIO
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, Word, errno_of, file_storage, refusal, word_at
from helpers.virtual_facts import VirtualWorld, noise, row_of, text

if TYPE_CHECKING:
    from helpers.virtual_facts import Machine, Machines


def current_bytes(group: sc.MemCgroup) -> int:
    """Returns the number of bytes in zswap that a group is charged for."""
    return int(group.read("memory.zswap.current"))


@pytest.mark.parametrize("value", ["2", "-1", "yes", "\n"])
def test_writeback_takes_0_and_1(value: str) -> None:
    a = sc.Swap().memcg.create("A")
    assert a.read("memory.zswap.writeback") == "1\n"
    assert errno_of(a.write, "memory.zswap.writeback", value) == EINVAL
    a.write("memory.zswap.writeback", "0")
    assert a.read("memory.zswap.writeback") == "0\n"


def test_max_is_of_bytes_in_whole_pages() -> None:
    a = sc.Swap().memcg.create("A")
    for written, read in (("5000", "4096"), ("1M", str(1 << 20)), ("max", "max"), ("0", "0")):
        a.write("memory.zswap.max", written)
        assert a.read("memory.zswap.max").strip() == read
    assert errno_of(a.write, "memory.zswap.max", "x") == EINVAL


def test_current_is_of_a_group_and_all_below_it(machine: Machine) -> None:
    p = machine.group("P")
    c = machine.group("C", p)
    in_c = machine.out_each([noise(number) for number in range(3)], c)
    machine.out(noise(9), p)
    assert (current_bytes(c), current_bytes(p)) == (3 * PAGE, 4 * PAGE)
    machine.swap.free(in_c.pop(), 1)
    assert (current_bytes(c), current_bytes(p)) == (2 * PAGE, 3 * PAGE)
    machine.swap.swap_in(in_c.pop())
    assert (current_bytes(c), current_bytes(p)) == (PAGE, 2 * PAGE)
    machine.world.verify()


def test_compressed_bytes_are_charged_to_memory_in_whole_pages(machine: Machine) -> None:
    entries = []
    for number in range(300):
        entries.append(machine.out(text(number), machine.a))
        pages = -(-current_bytes(machine.a) // PAGE)
        assert machine.a.counters()["memory_pages"] == pages
    assert 0 < current_bytes(machine.a) < 300 * 200
    for entry in entries:
        machine.swap.free(entry, 1)
    assert (current_bytes(machine.a), machine.a.counters()["memory_pages"]) == (0, 0)


def test_the_charge_for_compressed_pages_is_never_refused(machine: Machine) -> None:
    folios = [machine.swap.folio(0, noise(number), memcg=machine.a) for number in range(8)]
    machine.a.write("memory.max", 8 * PAGE)
    for folio in folios:
        assert row_of(machine.swap, int(machine.swap.swap_out(folio))) == "zswap shadow"
    assert current_bytes(machine.a) == 8 * PAGE


def test_statistics_have_their_kernel_names(machine: Machine) -> None:
    p = machine.group("P")
    a = machine.group("A", p)
    entries = machine.out_each([text(number) for number in range(5)], a)
    machine.swap.swap_in(entries.pop())
    machine.swap.zswap.writeback(entries.pop())
    for group in (a, p, machine.swap.memcg):
        stat = group.memory_stat
        assert (stat["zswapped"], stat["zswpout"], stat["zswpin"], stat["zswpwb"]) == (3 * PAGE, 5, 1, 1)
        assert stat["zswap"] == current_bytes(a)
    totals = machine.swap.stats()
    assert (totals["zswpout"], totals["zswpin"], totals["zswpwb"]) == (5, 1, 1)


def test_a_limit_of_0_is_never(machine: Machine) -> None:
    p = machine.group("P")
    c = machine.group("C", p)
    p.write("memory.zswap.max", 0)
    entries = [machine.out(text(1), group) for group in (p, c, None)]
    assert machine.rows(*entries) == ["swapfile shadow"] * 2 + ["zswap shadow"], "root has no limit"
    assert current_bytes(p) == 0


def test_a_group_that_may_not_be_written_back_is_refused_at_its_limit(machine: Machine) -> None:
    machine.a.write("memory.zswap.max", PAGE)
    machine.a.write("memory.zswap.writeback", 0)
    filler = 0
    while current_bytes(machine.a) < PAGE:
        filler += 1
        machine.out(noise(filler)[:2500] + bytes(PAGE - 2500), machine.a)
    folio = machine.swap.folio(0, text(99), memcg=machine.a)
    assert errno_of(machine.swap.swap_out, folio) != 0
    assert (folio.is_resident, folio.is_dirty, folio.is_active) == (True, True, True)
    assert (machine.physical_pages, machine.stat("written_back_pages")) == (0, 0)
    folio.write(bytes(PAGE))


def test_writeback_is_allowed_where_all_ancestors_allow_it(machine: Machine) -> None:
    p = machine.group("P")
    c = machine.group("C", p)
    g = machine.group("G", c)
    for forbidding in (p, c, g):
        forbidding.write("memory.zswap.writeback", 0)
        folio = machine.swap.folio(0, noise(1), memcg=g)
        assert refusal(machine.swap.swap_out, folio) != 0
        forbidding.write("memory.zswap.writeback", 1)
        assert row_of(machine.swap, int(machine.swap.swap_out(folio))) == "zswap shadow"
    p.write("memory.zswap.writeback", 0)
    assert g.read("memory.zswap.writeback").strip() == "1", "the file shows the setting of its own group"


def test_writeback_off_keeps_entries_where_they_are(machines: Machines) -> None:
    machine = machines(memory_pages=4096, zswap=sc.Zswap(max_pool_percent=2))
    b = machine.group("B")
    kept = machine.out_each([text(number) for number in range(40)], machine.a)
    machine.a.write("memory.zswap.writeback", 0)
    machine.out_each([noise(number) for number in range(200)], b)
    machine.swap.zswap.shrink_worker()
    assert set(machine.rows(*kept)) == {"zswap shadow"}
    assert machine.stat("written_back_pages") > 0
    assert machine.a.memory_stat["zswpwb"] == 0
    machine.world.verify()


def test_proactive_reclaim_of_zswap_alone(machine: Machine) -> None:
    folios = [machine.swap.folio(0, text(100 + number), memcg=machine.a) for number in range(4)]
    machine.out_each([noise(number) for number in range(64)], machine.a)
    for _ in range(4):
        assert refusal(machine.a.write, "memory.reclaim", f"{8 * PAGE} source=zswap") in (0, EAGAIN)
    assert 8 <= machine.stat("written_back_pages") == machine.a.memory_stat["zswpwb"] <= 64
    assert all(folio.is_resident for folio in folios)
    assert errno_of(machine.a.write, "memory.reclaim", f"{PAGE} source=disk") == EINVAL
    machine.keep(*folios)
    machine.world.verify()


def test_proactive_writeback_gives_every_second_chance_before_it_gives_up(machines: Machines) -> None:
    machine = machines(memory_pages=8192, zswap="lz4")
    machine.out_each([text(number) for number in range(1024)], machine.a)
    stored_bytes = current_bytes(machine.a)
    assert refusal(machine.a.write, "memory.reclaim", f"{stored_bytes} source=zswap") == 0
    stat = machine.a.memory_stat
    # The requested amount is rounded down to whole pages, and the last written page may exceed the amount.
    assert stored_bytes - PAGE < stat["zswpwb_proactive_b"] <= stored_bytes
    assert stat["zswpwb_proactive_b"] == stored_bytes - current_bytes(machine.a)
    assert stat["zswpwb"] == machine.stat("written_back_pages") > 850
    assert errno_of(machine.a.write, "memory.reclaim", f"{stored_bytes} source=zswap") == EAGAIN
    assert (machine.a.memory_stat["zswpwb"], current_bytes(machine.a)) == (1024, 0)
    assert machine.a.memory_stat["zswpwb_proactive_b"] == stored_bytes
    machine.world.verify()


def test_proactive_writeback_counts_compressed_bytes(machine: Machine) -> None:
    p = machine.group("P")
    a = machine.group("A", p)
    machine.out_each([text(number) for number in range(500)], a)
    before = current_bytes(a)
    p.write("memory.reclaim", f"{2 * PAGE} source=zswap")
    written_bytes = before - current_bytes(a)
    assert 2 * PAGE <= written_bytes < 2 * PAGE + 100
    assert a.memory_stat["zswpwb"] > 100, "a page has about 34 compressed bytes"
    assert a.memory_stat["zswpwb_proactive_b"] == p.memory_stat["zswpwb_proactive_b"] == written_bytes
    assert a.memory_stat["pgscan"] == 0, "no list was scanned"
    machine.world.verify()


def test_other_writeback_is_not_proactive(machine: Machine) -> None:
    entries = machine.out_each([noise(number) for number in range(40)], machine.a)
    machine.swap.zswap.writeback(entries[0])
    assert errno_of(machine.swap.zswap.shrink, memcg=machine.a) == EAGAIN
    assert machine.swap.zswap.shrink(memcg=machine.a) > 0
    assert machine.a.memory_stat["zswpwb"] > 1
    assert machine.a.memory_stat["zswpwb_proactive_b"] == 0


def test_proactive_writeback_takes_no_swappiness_and_needs_writeback(machine: Machine) -> None:
    p = machine.group("P")
    a = machine.group("A", p)
    machine.out_each([noise(number) for number in range(40)], a)
    for words in ("source=zswap swappiness=60", "swappiness=max source=zswap"):
        assert errno_of(a.write, "memory.reclaim", f"4K {words}") == EINVAL
    for forbidding in (p, a):
        forbidding.write("memory.zswap.writeback", 0)
        assert errno_of(a.write, "memory.reclaim", "4K source=zswap") == EINVAL
        forbidding.write("memory.zswap.writeback", 1)
    a.write("memory.zswap.writeback", 0)
    assert errno_of(p.write, "memory.reclaim", "4K source=zswap") == EAGAIN, "the group below forbids it"
    a.write("memory.zswap.writeback", 1)
    assert machine.stat("written_back_pages") == 0
    p.write("memory.reclaim", "4K source=zswap")
    assert machine.stat("written_back_pages") == 1


def test_pages_that_do_not_compress_are_counted(machine: Machine) -> None:
    p = machine.group("P")
    a = machine.group("A", p)
    entries = machine.out_each([noise(1), noise(2), text(3)], a)
    for group in (a, p, machine.swap.memcg):
        assert (group.memory_stat["zswap_incomp"], group.memory_stat["zswapped"]) == (2, 3 * PAGE)
    machine.swap.swap_in(entries[0])
    machine.swap.free(entries[2], 1)
    assert (a.memory_stat["zswap_incomp"], a.memory_stat["zswapped"]) == (1, PAGE)
    a.remove()
    assert (p.memory_stat["zswap_incomp"], p.stat_local()["zswap_incomp"]) == (1, 1)
    machine.swap.zswap.writeback(entries[1])
    assert p.memory_stat["zswap_incomp"] == 0
    machine.world.verify()


def test_pages_of_dead_groups_are_their_parents(machines: Machines) -> None:
    machine = machines(memory_pages=4096, zswap=sc.Zswap(max_pool_percent=2, accept_threshold_percent=10))
    p = machine.group("P")
    entries = []
    for number in range(40):
        c = machine.group(f"C{number}", p)
        entries.append(machine.out(noise(number), c))
        c.remove()
        assert (c.stat_local()["zswapped"], p.stat_local()["zswapped"]) == (0, (number + 1) * PAGE)
    assert current_bytes(p) == 40 * PAGE
    assert (p.counters()["memory_pages"], p.stat_local()["zswap"]) == (40, 40 * PAGE)
    machine.world.verify()
    # The entries of the removed groups are all on the list of P. The first batch of 32 entries only takes
    # their second chances away. The next two batches write 24 and 16 pages.
    assert machine.swap.zswap.shrink_worker() == 40
    machine.world.verify()
    for entry in entries:
        machine.swap.free(entry, 1)
    assert (current_bytes(p), p.counters()["memory_pages"]) == (0, 0)


def test_the_worker_writes_what_a_hundred_dead_groups_left(machines: Machines) -> None:
    machine = machines(memory_pages=8192, zswap=sc.Zswap(max_pool_percent=2, accept_threshold_percent=50))
    for number in range(100):
        c = machine.group(f"C{number}")
        machine.out(noise(number), c)
        c.remove()
    assert machine.swap.zswap.shrink_worker() > 0
    assert machine.stat("written_back_pages") > 0
    machine.world.verify()


def test_a_dead_group_stores_for_its_nearest_online_ancestor(machine: Machine) -> None:
    p = machine.group("P")
    c = machine.group("C", p)
    g = machine.group("G", c)
    folio = machine.swap.folio(0, noise(1), memcg=g)
    g.remove()
    c.remove()
    entry = machine.swap.swap_out(folio)
    assert row_of(machine.swap, int(entry)) == "zswap shadow"
    assert [group.stat_local()["zswapped"] for group in (g, c, p)] == [0, 0, PAGE]
    machine.world.verify()
    assert machine.swap.swap_in(entry).read() == noise(1)
    assert p.stat_local()["zswapped"] == 0


def test_a_removed_group_takes_its_entries_along(machine: Machine) -> None:
    p = machine.group("P")
    c = machine.group("C", p)
    entry = machine.out(noise(1), c)
    c.remove()
    assert current_bytes(p) == PAGE
    machine.world.verify()
    folio = machine.swap.swap_in(entry, memcg=p)
    assert folio.read() == noise(1)
    assert current_bytes(p) == 0
    assert folio.memcg == p


# J12: tests of a writeback from zswap that fails half way


@pytest.mark.parametrize(("idonly_refault", "nr_refaults"), [("skip", 0), ("count", 1)])
def test_j12_writeback_abort_leaves_an_id_only_shadow(idonly_refault: str, nr_refaults: int) -> None:
    swap = sc.Swap(zswap="lz4", switches={"memcg_stock": "off", "idonly_refault": idonly_refault})
    swap.swapon(file_storage(512))
    world = VirtualWorld(swap)
    a = world.add(swap.memcg, "A")
    entry = int(swap.swap_out(swap.folio(0, text(1), memcg=a)))
    swap.zswap.set_faults(decompress=1.0)
    assert errno_of(swap.zswap.writeback, entry) == EIO
    swap.zswap.set_faults()
    facts = a.counters()
    # The group is charged one page of memory for the compressed bytes.
    assert (facts["memory_pages"], facts["swap_pages"], facts["id_refs"]) == (1, 1, 2)
    assert word_at(swap, entry) == Word("shadow", count=1, memcg_id=facts["id"])
    world.verify()
    before = a.stat_local()["workingset_refault_anon"]
    folio = swap.swap_in(entry, memcg=a)
    assert folio.read() == text(1)
    assert a.stat_local()["workingset_refault_anon"] - before == nr_refaults
