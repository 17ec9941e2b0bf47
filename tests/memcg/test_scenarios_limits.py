"""The scenarios J10 to J14 of docs/steps.md, and the group whose statistics count a refault.

Where the modes differ, the first row is for CANON, and the second row is for MAIN and PRE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, word_at
from helpers.memcg_scenes import MODES, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

every_mode = pytest.mark.parametrize("mode", MODES)


@every_mode
def test_j10_swap_max_splits_a_folio_of_a_page_table(v2: Scene) -> None:
    v2.a.write("memory.swap.max", 256 * PAGE)
    # A split would map the shared page of zeros in the place of pages of zeros.
    task = v2.task(v2.a, 512, b"data" * (512 * PAGE // 4), anon_order=9)
    assert v2.row(v2.a) == "512/0/0/1"
    report = task.pageout(512)
    assert (report["reclaimed_pages"], report["kept_pages"], report["split_folios"]) == (256, 256, 1)
    assert v2.row(v2.a).rpartition("/")[0] == "256/256/256"
    assert v2.a.read("memory.swap.events") == "high 0\nmax 257\nfail 257\n"
    assert (v2.stat("swpout_fallback", 9), v2.stat("thp_swpout_fallback")) == (1, 1)
    assert v2.a.memory_stat["thp_swpout_fallback"] == 1


@every_mode
@pytest.mark.parametrize("hierarchy", ["v2", "v1"])
def test_j10_no_room_on_the_device_counts_failures_only_and_v1_nothing(
    scenes: Callable[..., Scene], mode: str, hierarchy: str
) -> None:
    scene = scenes(mode, hierarchy, pages=16)
    scene.swap.alloc_batch(100)
    scene.world.ownerless.update(scene.device.type << 58 | slot for slot in range(1, 16))
    scene.fault_in("f", 0, scene.a)
    for failures in (1, 2):
        with pytest.raises(sc.SwapFullError):
            scene.swap.folio_alloc_swap(scene.folios["f"])
        facts = scene.a.counters()
        counted = 0 if hierarchy == "v1" else failures
        assert (facts["swap_events_max"], facts["swap_events_fail"]) == (0, counted)
    scene.expect({scene.a: "1/1/0/1" if hierarchy == "v1" else "1/0/0/1"})


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
    events = [group.read("memory.swap.events") for group in (b, p, a)]
    assert events == ["high 0\nmax 1\nfail 1\n"] * 2 + ["high 0\nmax 0\nfail 0\n"]
    local = [(facts["swap_events_max"], facts["swap_events_fail"]) for facts in (b.counters(), p.counters())]
    assert local == [(1, 1), (0, 0)]
    assert b.counters()["swap_watermark_pages"] == 4
    assert b.read("memory.swap.peak") == p.read("memory.swap.peak") == f"{4 * PAGE}\n"
    # Two more pages fit below the limit of P.
    v2.swap.swap_out_batch([v2.swap.folio(0, b"x", memcg=b) for _ in range(2)])
    v2.expect({b: "4/2/2/3", p: "4/6/0/1"})


@every_mode
def test_j12_clean_folio_is_dropped_without_reclaim(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.expect({v2.a: "0/1/1/2"})
    v2.read_ahead(entry)
    v2.expect({v2.a: ("1/1/1/1", "1/1/1/2")}, entry, ["F|1"])
    v2.swap.swap_cache_del_folio(v2.folios["read ahead"])
    v2.expect({v2.a: "1/1/1/2"})
    word = word_at(v2.swap, entry)
    # The shadow has no age. In the mode CANON the shadow has the owner's id; in MAIN and PRE the id is beside
    # the table entry.
    assert (word.kind, word.count, word.eviction, word.node, word.is_workingset) == ("shadow", 1, 0, 0, False)
    assert word.memcg_id == (v2.a.counters()["id"] if v2.mode == "canon" else 0)
    v2.drop("read ahead")
    v2.expect({v2.a: "0/1/1/2"})
    v2.bring_in("f", entry, memcg=v2.a)
    assert v2.a.stat_local()["workingset_refault_anon"] == 1, "the read-ahead counts, the swap-in does not"


def test_j12_refault_of_an_id_alone_may_count(scenes: Callable[..., Scene]) -> None:
    scene = scenes(idonly_refault="count")
    entry = scene.fresh_out(0, scene.a)
    scene.swap.swap_cache_del_folio(scene.read_ahead(entry))
    scene.drop("read ahead")
    scene.bring_in("f", entry, memcg=scene.a)
    assert scene.a.stat_local()["workingset_refault_anon"] == 2


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
    v2.read_ahead(entry)
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
def test_refault_counts_for_the_group_that_is_charged(v2: Scene) -> None:
    """A refault counts for the group that is charged for the page, not for the parent of the group.

    `pageout` reclaims without a limit, so a refault distance is compared with the working set of root.
    Rust tests cover reclaim for a limit.
    """
    w = v2.group("W")
    a, b = v2.group("A", w), v2.group("B", w)
    of_a, of_b = v2.task(a, 11, b"x" * (11 * PAGE)), v2.task(b, 70, b"x" * (70 * PAGE))
    of_a.pageout(1)
    of_b.pageout(50)
    of_a.read(0, 1)
    name = "workingset_refault_anon"
    assert [group.stat_local()[name] for group in (a, b, w)] == [1, 0, 0]
    assert [group.memory_stat[name] for group in (a, b, w)] == [1, 0, 1]
