"""The scenarios J1 to J9 of docs/steps.md, with every visible counter after each step.

Each test runs in the modes CANON, MAIN and PRE. Where the modes differ, the first row is for CANON, and the
second row is for MAIN and PRE.
"""

from __future__ import annotations

import pytest
import swapcore as sc
from helpers.load import together
from helpers.memcg_facts import Word, word_at
from helpers.memcg_scenes import MODES, Scene, family

pytestmark = pytest.mark.parametrize("mode", MODES)


def test_j1_round_trip_in_v2(v2: Scene) -> None:
    v2.fault_in("f", 3, v2.a)
    v2.expect({v2.a: "8/0/0/1"})
    entry = v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.expect({v2.a: ("8/8/8/1", "8/8/8/9")}, entry, ["F|0"] * 8)
    # The test adds a reference to each slot, as the unmap in a swap-out does, and drops it again, because
    # `swap_out` below unmaps the folio.
    v2.swap.folio_dup_swap(v2.folios["f"])
    v2.expect({v2.a: ("8/8/8/1", "8/8/8/9")}, entry, ["F|1"] * 8)
    v2.swap.folio_put_swap(v2.folios["f"])
    assert v2.out("f") == entry
    v2.expect({v2.a: "0/8/8/9"}, entry, ["S(A)|1"] * 8)
    # `swap_in` maps the folio and drops one reference of each slot. The test adds a second reference, so that
    # the count is 1 after `swap_in`, as it is before the map.
    v2.swap.dup(entry, 8)
    v2.bring_in("f", entry, 8, orders=1 << 3, memcg=v2.a)
    v2.expect({v2.a: ("8/8/8/1", "8/8/8/9")}, entry, ["F|1"] * 8)
    v2.swap.folio_put_swap(v2.folios["f"])
    v2.expect({v2.a: ("8/8/8/1", "8/8/8/9")}, entry, ["F|0"] * 8)
    assert v2.swap.folio_free_swap(v2.folios["f"])
    v2.expect({v2.a: "8/0/0/1"}, entry, ["0"] * 8)


def test_j1_single_pages_come_in_one_by_one(v2: Scene) -> None:
    entry = v2.fresh_out(3, v2.a)
    v2.bring_in("f", entry + 2, memcg=v2.a)
    v2.expect({v2.a: ("1/8/8/8", "1/8/8/9")}, entry, ["S(A)|1", "S(A)|1", "F|0", "S(A)|1"])


def test_j1_by_an_address_space_whose_first_write_fails(v2: Scene) -> None:
    task = v2.task(v2.a, 8, b"data", orders=1 << 3, anon_order=3)
    assert v2.row(v2.a) == "8/0/0/1"
    v2.storage.set_faults(fail_write_in=1)
    assert task.pageout(8)["kept_pages"] == 8
    entry = task.mm.swap_entry(task.first)
    assert entry is not None
    v2.expect({v2.a: ("8/8/8/1", "8/8/8/9")}, entry, ["F|1"] * 8)
    assert task.pageout(8)["reclaimed_pages"] == 8
    v2.expect({v2.a: "0/8/8/9"})


def test_j2_round_trip_in_v1(v1: Scene) -> None:
    v1.fault_in("f", 3, v1.a)
    v1.expect({v1.a: "8/8/0/1"})
    entry = v1.swap.folio_alloc_swap(v1.folios["f"])
    v1.expect({v1.a: "8/8/0/1"})
    v1.out("f")
    v1.expect({v1.a: "0/8/8/9"})
    v1.bring_in("f", entry, 8, orders=1 << 3, memcg=v1.a)
    v1.expect({v1.a: "8/8/0/1"}, entry, ["F|0"] * 8)
    assert v1.swap.folio_free_swap(v1.folios["f"])
    v1.expect({v1.a: "8/8/0/1"})
    v1.drop("f")
    v1.expect({v1.a: "0/0/0/1"})


def test_j2_clean_folio_is_reclaimed_again(v1: Scene) -> None:
    entry = v1.fresh_out(3, v1.a)
    v1.bring_in("f", entry, 8, orders=1 << 3, memcg=v1.a)
    v1.out("f")
    v1.expect({v1.a: "0/8/8/9"})
    assert v1.stat("pswpout") == 8, "the folio was clean, so the second swap-out writes nothing"


def test_j2_clean_folio_is_dropped_without_reclaim(v1: Scene) -> None:
    entry = v1.fresh_out(3, v1.a)
    v1.swap.dup(entry, 8)
    v1.bring_in("f", entry, 8, orders=1 << 3, memcg=v1.a)
    v1.expect({v1.a: "8/8/0/1"})
    v1.swap.swap_cache_del_folio(v1.folios["f"])
    if v1.mode != "canon":
        v1.world.ownerless.update(range(entry, entry + 8))
    v1.expect({v1.a: ("8/16/8/9", "8/8/0/1")})
    v1.drop("f")
    v1.expect({v1.a: ("0/8/8/9", "0/0/0/1")}, entry, [("S(A)|1" if v1.mode == "canon" else "S()|1")] * 8)
    v1.bring_in("f", entry, 8, orders=1 << 3, memcg=v1.a)
    v1.expect({v1.a: "8/8/0/1"})


def test_j3_owner_is_dead_in_v2(v2: Scene) -> None:
    p, b, c, entry = family(v2)
    v2.expect({p: "0/4/0/1", c: "0/4/4/5", b: "0/0"})
    c.remove()
    v2.expect({p: "0/4/0/1", c: "0/4/4/4", b: "0/0"})
    assert not c.is_online
    v2.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    v2.expect({p: ("4/4/4/1", "0/4/0/1"), c: ("0/0/0/0", "0/4/4/4"), b: ("0/0", "4/0")})
    assert v2.folios["f"].memcg == (p if v2.mode == "canon" else b)
    if v2.mode == "canon":
        assert c.counters()["id"] == 0, "the id is free"
    assert v2.swap.folio_free_swap(v2.folios["f"])
    v2.expect({p: ("4/0/0/1", "0/0/0/1"), c: "0/0/0/0", b: ("0/0", "4/0")})


def test_j3_owner_is_dead_in_v1(v1: Scene) -> None:
    p, b, c, entry = family(v1)
    v1.expect({p: "0/4", c: "0/4/4/5", b: "0/0"})
    c.remove()
    v1.expect({p: "0/4", c: "0/4/4/4", b: "0/0"})
    v1.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    v1.expect({p: ("4/4/0/1", "0/0/0/1"), c: "0/0/0/0", b: ("0/0", "4/4")})


def test_j3_limit_of_the_new_owner_applies(v2: Scene) -> None:
    p, b, c, entry = family(v2)
    c.remove()
    p.write("memory.max", 0)
    if v2.mode == "canon":
        with pytest.raises(MemoryError):
            v2.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
        v2.expect({p: "0/4/0/1", c: "0/4/4/4", b: "0/0"})
    else:
        v2.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
        v2.expect({b: "4/0"})


def two_owners(scene: Scene) -> tuple[sc.MemCgroup, sc.MemCgroup, int]:
    """Returns A and B, which own slots 0-3 and 4-7 of an aligned run, and the first slot of the run."""
    while (scene.fresh_out(2) & 7) != 4:
        pass
    a, b = scene.group("A"), scene.group("B")
    first, second = scene.fresh_out(2, a), scene.fresh_out(2, b)
    assert (first & 7, second) == (0, first + 4)
    return a, b, first


def test_j4_large_folio_over_two_owners(v2: Scene) -> None:
    a, b, first = two_owners(v2)
    v2.expect({a: "0/4/4/5", b: "0/4/4/5"})
    assert v2.bring_in("f", first + 5, orders=0b1100, memcg=b).nr_pages == 4
    v2.expect({a: "0/4/4/5", b: ("4/4/4/1", "4/4/4/5")})
    assert [v2.stat("swpin_fallback", order) for order in (3, 2)] == [1, 0]
    assert v2.stat("swpin", 2) == 1
    assert v2.words(first, 8) == ["S(A)|1"] * 4 + ["F|1", "F|0", "F|1", "F|1"]


def test_j4_order_0_follows_though_nobody_asked(v2: Scene) -> None:
    a, b, first = two_owners(v2)
    assert v2.bring_in("f", first + 5, orders=0b1000, memcg=b).nr_pages == 1
    v2.expect({a: "0/4/4/5", b: ("1/4/4/4", "1/4/4/5")})
    assert v2.stat("swpin_fallback", 3) == 1


def crowded(scene: Scene, limit_pages: int) -> tuple[int, list[Word]]:
    """Gives A 12 resident pages, 16 slots and a limit; returns the first slot and all table entries."""
    entry = scene.fresh_out(4, scene.a)
    for number in range(12):
        scene.fault_in(f"in the way {number}", 0, scene.a)
    scene.a.write("memory.max", limit_pages * sc.PAGE_SIZE)
    scene.expect({scene.a: "12/16/16/17"})
    return entry, raw_words(scene, entry)


def raw_words(scene: Scene, entry: int) -> list[Word]:
    """Returns the table entries of 16 slots."""
    return [word_at(scene.swap, entry + slot) for slot in range(16)]


def test_j5_charge_fails_and_a_page_comes_in(v2: Scene) -> None:
    entry, before = crowded(v2, 20)
    assert v2.bring_in("f", entry + 3, orders=1 << 4, memcg=v2.a).nr_pages == 1
    v2.expect({v2.a: ("13/16/16/16", "13/16/16/17")})
    assert [v2.stat(name, 4) for name in ("swpin_fallback_charge", "swpin_fallback")] == [1, 1]
    assert v2.a.counters()["events_max"] == 0, "a large charge fails without an event"
    assert v2.swap.nr_used_pages == 12 + 1
    after = raw_words(v2, entry)
    assert after[:3] + after[4:] == before[:3] + before[4:]


def test_j5_no_charge_works_and_nothing_changed(v2: Scene) -> None:
    entry, before = crowded(v2, 12)
    with pytest.raises(MemoryError):
        v2.bring_in("f", entry, 16, orders=1 << 4, memcg=v2.a)
    v2.expect({v2.a: "12/16/16/17"})
    assert raw_words(v2, entry) == before
    assert v2.swap.nr_used_pages == 12
    assert v2.a.counters()["events_max"] >= 1
    assert v2.stat("swpin_fallback_charge", 4) == 1
    # test_memcg_threads.py tests the same scenario, J5, with slots that are freed while the charge fails.


@pytest.mark.parametrize("limit", ["max", str(sc.PAGE_SIZE)])
def test_j6_raced_swap_in_charges_and_reads_once(v2: Scene, limit: str) -> None:
    a = v2.group("A", memory_max=limit)
    entry = v2.fresh_out(0, a)
    v2.swap.dup(entry)
    v2.storage.set_faults(delay_ns=20_000_000)
    faults = [lambda cpu=cpu: v2.swap.swap_in(entry, cpu=cpu, memcg=a) for cpu in range(2)]
    first, second = together(*faults)
    assert v2.keep("first", first) == v2.keep("second", second)
    v2.expect({a: ("1/1/1/1", "1/1/1/2")}, entry, ["F|0"])
    assert (v2.stat("pswpin"), v2.folios["first"].mapcount) == (1, 2)
    assert v2.stat("pgmajfault") in (1, 2)


def three_owners(scene: Scene) -> tuple[list[sc.MemCgroup], int]:
    """Returns the groups A, B and C, which own ten consecutive slots, and the first slot."""
    groups = {name: scene.group(name) for name in "ABC"}
    entries = [scene.fresh_out(0, groups[name]) for name in "AAABBBBACC"]
    assert entries == list(range(entries[0], entries[0] + 10))
    return list(groups.values()), entries[0]


@pytest.mark.parametrize("is_cached", [False, True])
def test_j7_batch_free_over_three_owners(v2: Scene, is_cached: bool) -> None:
    (a, b, c), first = three_owners(v2)
    v2.expect({a: "0/4/4/5", b: "0/4/4/5", c: "0/2/2/3"})
    if is_cached:
        v2.read_ahead(first + 4)
        v2.expect({a: "0/4/4/5", b: ("1/4/4/4", "1/4/4/5"), c: "0/2/2/3"}, first + 4, ["F|1"])
        v2.drop("read ahead")
    v2.swap.free(first, 10)
    # The core makes one uncharge for each run of equal owners. The counters show only the sum.
    v2.expect({a: "0/0/0/1", b: "0/0/0/1", c: "0/0/0/1"})
    assert v2.swap.nr_used_pages == 0


def test_j8_owner_dies_twice(v2: Scene) -> None:
    g = v2.group("G")
    p, b, c, entry = family(v2, g)
    v2.expect({g: "0/4/0/1", p: "0/4/0/1", c: "0/4/4/5"})
    c.remove()
    v2.expect({g: "0/4/0/1", p: "0/4/0/1", c: "0/4/4/4"})
    v2.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    v2.expect({g: ("4/4/0/1", "0/4/0/1"), p: ("4/4/4/1", "0/4/0/1")})
    v2.expect({c: ("0/0/0/0", "0/4/4/4"), b: ("0/0", "4/0")})
    p.remove()
    v2.expect({p: ("4/4/4/0", "0/4/0/0"), g: ("4/4/0/1", "0/4/0/1")})
    v2.out("f")
    v2.expect({g: ("0/4/4/5", "0/4/0/1"), p: ("0/0/0/0", "0/4/0/0")})
    v2.expect({c: ("0/0/0/0", "0/4/4/4"), b: "0/0/0/1"})
    assert v2.words(entry, 4) == ["S(G)|1" if v2.mode == "canon" else "S(C)|1"] * 4
    v2.swap.free(entry, 4)
    v2.expect({g: "0/0/0/1", p: "0/0/0/0", c: "0/0/0/0"})


def test_j8_dead_parent_with_a_slot_of_its_own_owns_on(v2: Scene) -> None:
    if v2.mode != "canon":
        pytest.skip("only CANON moves slots from C to P; MAIN and PRE keep the owner C")
    g = v2.group("G")
    p, b, c, entry = family(v2, g)
    v2.fresh_out(0, p)
    c.remove()
    v2.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    p.remove()
    v2.expect({p: "4/5/5/1", g: "4/5/0/1"})
    v2.out("f")
    v2.expect({p: "0/5/5/5", g: "0/5/0/1"}, entry, ["S(P)|1"] * 4)
    v2.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    v2.expect({p: "0/1/1/1", g: "4/5/4/1"})


def test_j9_zeros(v2: Scene) -> None:
    v2.fault_in("f", 2, v2.a, None)
    v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.expect({v2.a: ("4/4/4/1", "4/4/4/5")})
    entry = v2.out("f")
    v2.expect({v2.a: "0/4/4/5"})
    assert (v2.stat("swpout_zero"), v2.stat("pswpout")) == (4, 0)
    assert v2.words(entry, 4) == ["S(A)|1,Z"] * 4
    folio = v2.bring_in("f", entry, 4, orders=1 << 2, memcg=v2.a)
    v2.expect({v2.a: ("4/4/4/1", "4/4/4/5")})
    assert [v2.stat("swpin_zero"), v2.stat("pswpin"), v2.stat("swpin", 2)] == [4, 0, 0]
    folio.write(b"not zeros")
    del folio
    assert v2.out("f") == entry, "the folio kept its slots"
    v2.expect({v2.a: "0/4/4/5"}, entry, ["S(A)|1"] * 4)
    assert (v2.stat("swpout_zero"), v2.stat("pswpout")) == (4, 4)
    local = v2.a.stat_local()
    names = ("swpout_zero", "swpin_zero", "pswpout", "pswpin")
    assert [local[name] for name in names] == [4, 4, 4, 0]


def test_j9_range_that_is_half_zeros(v2: Scene) -> None:
    while (v2.fresh_out(0) & 3) != 3:
        pass
    entries = [v2.fresh_out(0, v2.a, data) for data in (None, None, b"x", b"y")]
    assert entries == list(range(entries[0], entries[0] + 4))
    assert v2.bring_in("f", entries[0], orders=1 << 2, memcg=v2.a).nr_pages == 1
    v2.expect({v2.a: ("1/4/4/4", "1/4/4/5")})
    assert (v2.stat("swpin_fallback", 2), v2.stat("swpin_zero")) == (1, 1)
