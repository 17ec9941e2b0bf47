"""The worked scenarios J10 to J14 of docs/steps.md, and where refaults are judged.

Two columns where they differ: CANON and MAIN; PRE equals MAIN in all. docs/steps.md defines the three words.
"""

from __future__ import annotations

import pytest
import swapcore as sc
from memcg_facts import PAGE, word_at
from memcg_scenes import MODES, Scene

every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_j10_swap_max_splits_a_folio_of_a_page_table(mode: str) -> None:
    scene = Scene(mode)
    a = scene.group("A")
    a.write("memory.swap.max", 256 * PAGE)
    mm = scene.swap.mm(a)
    first = mm.mmap(512, anon_order=9)
    mm.write(first * PAGE, b"data")
    assert scene.row(a) == "512/0/0/1"
    report = mm.pageout(first, 512)
    assert (report["reclaimed_pages"], report["kept_pages"], report["split_folios"]) == (256, 256, 1)
    assert scene.row(a).rpartition("/")[0] == "256/256/256"
    assert a.read("memory.swap.events") == "high 0\nmax 257\nfail 257\n"
    assert (scene.stat("swpout_fallback", 9), scene.stat("thp_swpout_fallback")) == (1, 1)
    assert a.memory_stat["thp_swpout_fallback"] == 1
    del mm
    scene.end()


@every_mode
def test_j10_no_room_on_the_device_counts_failures_only(mode: str) -> None:
    scene = Scene(mode, pages=16)
    a = scene.group("A")
    scene.swap.alloc_batch(100)
    scene.world.ownerless.update(scene.device.type << 58 | slot for slot in range(1, 16))
    scene.fault_in("f", 0, a)
    for failures in (1, 2):
        with pytest.raises(sc.SwapFullError):
            scene.swap.folio_alloc_swap(scene.folios["f"])
        assert a.read("memory.swap.events") == f"high 0\nmax 0\nfail {failures}\n"
    scene.expect({a: "1/0/0/1"})
    scene.end()


@every_mode
def test_j10_v1_has_no_swap_events(mode: str) -> None:
    scene = Scene(mode, "v1", pages=16)
    a = scene.group("A")
    scene.swap.alloc_batch(100)
    scene.fault_in("f", 0, a)
    with pytest.raises(sc.SwapFullError):
        scene.swap.folio_alloc_swap(scene.folios["f"])
    facts = a.counters()
    assert (facts["swap_events_max"], facts["swap_events_fail"]) == (0, 0)


@every_mode
def test_j11_limit_of_an_ancestor(mode: str) -> None:
    scene = Scene(mode)
    p = scene.group("P", swap_max=6 * PAGE)
    a, b = scene.group("A", p), scene.group("B", p)
    scene.fresh_out(2, a)
    scene.fault_in("f", 2, b)
    refs = scene.folios["f"].refs
    with pytest.raises(MemoryError):
        scene.swap.folio_alloc_swap(scene.folios["f"])
    scene.expect({a: "0/4/4/5", b: "4/0/0/1", p: "4/4/0/1"})
    assert (scene.folios["f"].refs, scene.folios["f"].entry) == (refs, None)
    assert scene.device.inuse_pages == 4
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
    # Two pages have room where four have not.
    scene.swap.swap_out_batch([scene.swap.folio(0, b"x", memcg=b) for _ in range(2)])
    scene.expect({b: "4/2/2/3", p: "4/6/0/1"})
    scene.end()


def by_readahead(scene: Scene, entry: int) -> None:
    """Brings a slot into the cache, unmapped, and drops it again as an abandoned zswap writeback does."""
    folio = scene.swap.swap_cluster_readahead(entry)
    assert folio is not None
    scene.keep("read ahead", folio)
    del folio


@every_mode
def test_j12_clean_folio_is_dropped_without_reclaim(mode: str) -> None:
    scene = Scene(mode)
    a = scene.group("A")
    entry = scene.fresh_out(0, a)
    scene.expect({a: "0/1/1/2"})
    by_readahead(scene, entry)
    scene.expect({a: ("1/1/1/1", "1/1/1/2")})
    assert scene.words(entry) == ["F|1"]
    scene.swap.swap_cache_del_folio(scene.folios["read ahead"])
    scene.expect({a: "1/1/1/2"})
    word = word_at(scene.swap, entry)
    # An id and nothing else; MAIN has the id elsewhere.
    assert (word.kind, word.count, word.eviction, word.node, word.is_workingset) == ("shadow", 1, 0, 0, False)
    assert word.memcg_id == (a.counters()["id"] if mode == "canon" else 0)
    scene.drop("read ahead")
    scene.expect({a: "0/1/1/2"})
    before = a.stat_local()["workingset_refault_anon"]
    scene.bring_in("f", entry, memcg=a)
    assert a.stat_local()["workingset_refault_anon"] == before
    scene.end()


def test_j12_refault_of_an_id_alone_may_count() -> None:
    scene = Scene(idonly_refault="count")
    a = scene.group("A")
    entry = scene.fresh_out(0, a)
    by_readahead(scene, entry)
    scene.swap.swap_cache_del_folio(scene.folios["read ahead"])
    scene.drop("read ahead")
    before = a.stat_local()["workingset_refault_anon"]
    scene.bring_in("f", entry, memcg=a)
    assert a.stat_local()["workingset_refault_anon"] == before + 1
    scene.end()


@every_mode
def test_j13_root_counts_and_is_not_charged(mode: str) -> None:
    scene = Scene(mode)
    scene.fault_in("f", 2)
    scene.expect({scene.root: "0/0/0/1"})
    scene.swap.folio_alloc_swap(scene.folios["f"])
    scene.expect({scene.root: ("0/0/4/1", "0/0/4/5")})
    entry = scene.out("f")
    scene.expect({scene.root: "0/0/4/5"})
    scene.swap.free(entry)
    scene.expect({scene.root: "0/0/0/1"})
    scene.end()


@every_mode
def test_j13_dead_child_of_root(mode: str) -> None:
    scene = Scene(mode)
    c = scene.group("C")
    entry = scene.fresh_out(2, c)
    c.remove()
    scene.expect({c: "0/4/4/4", scene.root: "0/0/0/1"})
    scene.bring_in("f", entry, 4, orders=1 << 2)
    scene.expect({c: ("0/0/0/0", "0/4/4/4"), scene.root: ("0/0/4/1", "0/0/0/1")})
    scene.end()


@every_mode
def test_j14_every_state_of_one_slot(mode: str) -> None:
    scene = Scene(mode)
    a = scene.group("A")
    cached: tuple[str, str] = ("1/1/1/1", "1/1/1/2")
    scene.fault_in("f", 0, a)
    scene.expect({a: "1/0/0/1"})
    entry = scene.swap.folio_alloc_swap(scene.folios["f"])
    scene.expect({a: cached})
    assert scene.words(entry) == ["F|0"]
    scene.out("f")
    scene.expect({a: "0/1/1/2"})
    assert scene.words(entry) == ["S(A)|1"]
    by_readahead(scene, int(entry))
    scene.expect({a: cached})
    assert scene.words(entry) == ["F|1"]
    scene.drop("read ahead")
    assert scene.swap.shrink_swap_cache() == 1
    scene.expect({a: "0/1/1/2"})
    scene.swap.dup(entry)
    scene.swap.dup(entry)
    scene.expect({a: "0/1/1/2"})
    assert scene.words(entry) == ["S(A)|3"]
    scene.bring_in("f", entry, memcg=a)
    scene.expect({a: cached})
    assert scene.words(entry) == ["F|2"]
    scene.drop("f")
    scene.swap.free(entry)
    scene.swap.free(entry)
    scene.expect({a: "0/0/0/1"})
    assert scene.words(entry) == ["0"]
    assert scene.swap.nr_used_pages == 0
    scene.end()


@every_mode
def test_refault_counts_for_who_is_charged(mode: str) -> None:
    """Who puts pages out by address has no limit to be judged at; limits are tested in the core."""
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
