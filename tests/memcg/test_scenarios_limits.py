"""The scenarios J10 to J14, and the group at which a refault is judged.

Two columns where they differ: CANON (the shadow store) and MAIN, which PRE (the array) equals in all.
"""

from __future__ import annotations

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, word_at
from helpers.memcg_scenes import MODES, Scene

every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_j10_swap_max_splits_a_folio_of_a_page_table(v2: Scene) -> None:
    v2.a.write("memory.swap.max", 256 * PAGE)
    mm = v2.swap.mm(v2.a)
    first = mm.mmap(512, anon_order=9)
    mm.write(first * PAGE, b"data")
    assert v2.row(v2.a) == "512/0/0/1"
    report = mm.pageout(first, 512)
    assert (report["reclaimed_pages"], report["kept_pages"], report["split_folios"]) == (256, 256, 1)
    assert v2.row(v2.a).rpartition("/")[0] == "256/256/256"
    assert v2.a.read("memory.swap.events") == "high 0\nmax 257\nfail 257\n"
    assert (v2.stat("swpout_fallback", 9), v2.stat("thp_swpout_fallback")) == (1, 1)
    assert v2.a.memory_stat["thp_swpout_fallback"] == 1


@every_mode
def test_j10_no_room_on_the_device_counts_failures_only(mode: str) -> None:
    scene = Scene(mode, pages=16)
    scene.swap.alloc_batch(100)
    scene.world.ownerless.update(scene.device.type << 58 | slot for slot in range(1, 16))
    scene.fault_in("f", 0, scene.a)
    for failures in (1, 2):
        with pytest.raises(sc.SwapFullError):
            scene.swap.folio_alloc_swap(scene.folios["f"])
        assert scene.a.read("memory.swap.events") == f"high 0\nmax 0\nfail {failures}\n"
    scene.expect({scene.a: "1/0/0/1"})
    scene.end()


@every_mode
def test_j10_v1_has_no_swap_events(mode: str) -> None:
    scene = Scene(mode, "v1", pages=16)
    scene.swap.alloc_batch(100)
    scene.fault_in("f", 0, scene.a)
    with pytest.raises(sc.SwapFullError):
        scene.swap.folio_alloc_swap(scene.folios["f"])
    facts = scene.a.counters()
    assert (facts["swap_events_max"], facts["swap_events_fail"]) == (0, 0)


@every_mode
def test_j11_limit_of_an_ancestor(v2: Scene) -> None:
    p = v2.group("P", swap_max=6 * PAGE)
    a, b = v2.group("A", p), v2.group("B", p)
    v2.fresh_out(2, a)
    v2.fault_in("f", 2, b)
    refs = v2.folios["f"].refs
    with pytest.raises(MemoryError):
        v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.expect({a: "0/4/4/5", b: "4/0/0/1", p: "4/4/0/1"})
    assert (v2.folios["f"].refs, v2.folios["f"].entry) == (refs, None)
    assert v2.device.inuse_pages == 4
    refused = "high 0\nmax 1\nfail 1\n"
    assert [group.read("memory.swap.events") for group in (b, p, a)] == [
        refused,
        refused,
        "high 0\nmax 0\nfail 0\n",
    ]
    local = [(facts["swap_events_max"], facts["swap_events_fail"]) for facts in (b.counters(), p.counters())]
    assert local == [(1, 1), (0, 0)]
    assert b.counters()["swap_watermark_pages"] == 4
    assert b.read("memory.swap.peak") == f"{4 * PAGE}\n"
    assert p.read("memory.swap.peak") == f"{4 * PAGE}\n"
    # Two pages fit below the limit, four do not.
    v2.swap.swap_out_batch([v2.swap.folio(0, b"x", memcg=b) for _ in range(2)])
    v2.expect({b: "4/2/2/3", p: "4/6/0/1"})


def by_readahead(scene: Scene, entry: int) -> None:
    """Brings a slot into the cache, unmapped, and drops it again as an abandoned zswap writeback does."""
    folio = scene.swap.swap_cluster_readahead(entry)
    assert folio is not None
    scene.keep("read ahead", folio)
    del folio


@every_mode
def test_j12_clean_folio_is_dropped_without_reclaim(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.expect({v2.a: "0/1/1/2"})
    by_readahead(v2, entry)
    v2.expect({v2.a: ("1/1/1/1", "1/1/1/2")}, entry, ["F|1"])
    v2.swap.swap_cache_del_folio(v2.folios["read ahead"])
    v2.expect({v2.a: "1/1/1/2"})
    word = word_at(v2.swap, entry)
    # The shadow has an id and no age; MAIN keeps the id beside the word.
    assert (word.kind, word.count, word.eviction, word.node, word.is_workingset) == ("shadow", 1, 0, 0, False)
    assert word.memcg_id == (v2.a.counters()["id"] if v2.mode == "canon" else 0)
    v2.drop("read ahead")
    v2.expect({v2.a: "0/1/1/2"})
    before = v2.a.stat_local()["workingset_refault_anon"]
    v2.bring_in("f", entry, memcg=v2.a)
    assert v2.a.stat_local()["workingset_refault_anon"] == before


def test_j12_refault_of_an_id_alone_may_count() -> None:
    scene = Scene(idonly_refault="count")
    entry = scene.fresh_out(0, scene.a)
    by_readahead(scene, entry)
    scene.swap.swap_cache_del_folio(scene.folios["read ahead"])
    scene.drop("read ahead")
    before = scene.a.stat_local()["workingset_refault_anon"]
    scene.bring_in("f", entry, memcg=scene.a)
    assert scene.a.stat_local()["workingset_refault_anon"] == before + 1
    scene.end()


@every_mode
def test_j13_root_counts_and_is_not_charged(v2: Scene) -> None:
    v2.fault_in("f", 2)
    v2.expect({v2.root: "0/0/0/1"})
    v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.expect({v2.root: ("0/0/4/1", "0/0/4/5")})
    entry = v2.out("f")
    v2.expect({v2.root: "0/0/4/5"})
    v2.swap.free(entry)
    v2.expect({v2.root: "0/0/0/1"})


@every_mode
def test_j13_dead_child_of_root(v2: Scene) -> None:
    c = v2.group("C")
    entry = v2.fresh_out(2, c)
    c.remove()
    v2.expect({c: "0/4/4/4", v2.root: "0/0/0/1"})
    v2.bring_in("f", entry, 4, orders=1 << 2)
    v2.expect({c: ("0/0/0/0", "0/4/4/4"), v2.root: ("0/0/4/1", "0/0/0/1")})


@every_mode
def test_j14_every_state_of_one_slot(v2: Scene) -> None:
    cached: tuple[str, str] = ("1/1/1/1", "1/1/1/2")
    v2.fault_in("f", 0, v2.a)
    v2.expect({v2.a: "1/0/0/1"})
    entry = v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.expect({v2.a: cached}, entry, ["F|0"])
    v2.out("f")
    v2.expect({v2.a: "0/1/1/2"}, entry, ["S(A)|1"])
    by_readahead(v2, int(entry))
    v2.expect({v2.a: cached}, entry, ["F|1"])
    v2.drop("read ahead")
    assert v2.swap.shrink_swap_cache() == 1
    v2.expect({v2.a: "0/1/1/2"})
    v2.swap.dup(entry)
    v2.swap.dup(entry)
    v2.expect({v2.a: "0/1/1/2"}, entry, ["S(A)|3"])
    v2.bring_in("f", entry, memcg=v2.a)
    v2.expect({v2.a: cached}, entry, ["F|2"])
    v2.drop("f")
    v2.swap.free(entry)
    v2.swap.free(entry)
    v2.expect({v2.a: "0/0/0/1"}, entry, ["0"])
    assert v2.swap.nr_used_pages == 0


@every_mode
def test_refault_counts_for_who_is_charged(mode: str) -> None:
    """`pageout` reclaims without a limit, so refaults are judged at root; tests of the core cover limits."""
    scene = Scene(mode)
    w = scene.group("W")
    a, b = scene.group("A", w), scene.group("B", w)
    mm_a, mm_b = scene.swap.mm(a), scene.swap.mm(b)
    first_a, first_b = mm_a.mmap(11), mm_b.mmap(70)
    mm_a.write(first_a * PAGE, bytes([1]) * (11 * PAGE))
    mm_b.write(first_b * PAGE, bytes([1]) * (70 * PAGE))
    mm_a.pageout(first_a, 1)
    mm_b.pageout(first_b, 50)
    mm_a.read(first_a * PAGE, 1)
    name = "workingset_refault_anon"
    assert [group.stat_local()[name] for group in (a, b, w)] == [1, 0, 0]
    assert [group.memory_stat[name] for group in (a, b, w)] == [1, 0, 1]
