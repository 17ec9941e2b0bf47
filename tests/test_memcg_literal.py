"""The defects K1 to K8 of docs/memcg.md, one small program each: `rfc_literal` has them, CANON does not.

K7 (which memory policy an allocation takes) has no face here; what CANON does about it is tested in the core.
"""

from __future__ import annotations

import pytest
import swapcore as sc
from memcg_scenes import LITERAL, Scene

both = pytest.mark.parametrize("is_literal", [False, True], ids=["canon", "literal"])


def scene_of(hierarchy: str, *, is_literal: bool) -> Scene:
    """Returns a stage, of the text as it was mailed or repaired."""
    return Scene("canon", hierarchy, **(LITERAL if is_literal else {}))


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
@both
def test_k1_memory_of_a_failed_swap_in(hierarchy: str, is_literal: bool) -> None:
    scene = scene_of(hierarchy, is_literal=is_literal)
    a = scene.group("A")
    entry = scene.fresh_out(0, a)
    a.write("memory.max" if hierarchy == "v2" else "memory.limit_in_bytes", 0)
    for nr_failures in (1, 2):
        with pytest.raises(MemoryError):
            scene.swap.swap_in(entry, memcg=a)
        assert scene.swap.nr_used_pages == nr_failures * is_literal
        assert scene.words(entry) == ["S(A)|1"]
    assert scene.row(a) == "0/1/1/2"


@both
def test_k1_references_of_a_failed_swap_charge(is_literal: bool) -> None:
    scene = scene_of("v2", is_literal=is_literal)
    a = scene.group("A", swap_max=0)
    scene.fault_in("f", 2, a)
    before = scene.folios["f"].refs
    with pytest.raises(MemoryError):
        scene.swap.folio_alloc_swap(scene.folios["f"])
    assert scene.folios["f"].refs == before + 4 * is_literal
    assert (scene.folios["f"].entry, scene.device.inuse_pages) == (None, 0)
    scene.drop("f")
    assert scene.swap.nr_used_pages == 4 * is_literal


@both
def test_k2_slot_that_nobody_owns_is_read(is_literal: bool) -> None:
    scene = scene_of("v2", is_literal=is_literal)
    entry = scene.swap.alloc_hibernation(scene.device)
    folio = scene.swap.swap_cluster_readahead(entry)
    del folio
    assert scene.swap.stats()["rfc_null_memcg"] == int(is_literal)


@both
def test_k2_slot_without_an_owner_is_swapped_in(is_literal: bool) -> None:
    scene = scene_of("v2", is_literal=is_literal)
    scene.keep("f", scene.swap.swap_in(scene.swap.alloc(), memcg=scene.group("A")))
    assert scene.swap.stats()["rfc_null_memcg"] == int(is_literal)


@both
def test_k3_resident_folio_loses_its_memsw(is_literal: bool) -> None:
    scene = scene_of("v1", is_literal=is_literal)
    a = scene.group("A")
    entry = scene.fresh_out(3, a)
    scene.bring_in("f", entry, 8, orders=1 << 3, memcg=a)
    assert scene.row(a) == "8/8/0/1"
    assert scene.swap.folio_free_swap(scene.folios["f"])
    assert scene.row(a) == ("8/0/-8/1" if is_literal else "8/8/0/1")
    assert scene.world.broken() == ([2, 4] if is_literal else [])
    scene.drop("f")
    facts = a.counters()
    assert facts["memory_pages"] == 0
    assert facts["memsw_pages"] - facts["swap_underflow_pages"] == -8 * is_literal


@both
def test_k4_statistic_of_cached_pages(is_literal: bool) -> None:
    scene = scene_of("v2", is_literal=is_literal)
    a = scene.group("A")
    entry = scene.fresh_out(2, a)
    assert a.counters()["swapcached_pages"] == 0, "charged before it was cached"
    scene.bring_in("f", entry, 4, orders=1 << 2, memcg=a)
    assert a.counters()["swapcached_pages"] == (0 if is_literal else 4)
    assert scene.swap.folio_free_swap(scene.folios["f"])
    assert a.counters()["swapcached_pages"] == (-4 if is_literal else 0)


@both
def test_k5_statistic_of_swap_after_the_owner_died_twice(is_literal: bool) -> None:
    scene = scene_of("v2", is_literal=is_literal)
    g, b = scene.group("G"), scene.group("B")
    p = scene.group("P", g)
    c = scene.group("C", p)
    entry = scene.fresh_out(2, c)
    c.remove()
    scene.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    assert scene.world.broken() == []
    p.remove()
    scene.out("f")
    assert scene.row(g) == ("0/4/0/5" if is_literal else "0/4/4/5")
    assert scene.row(p) == ("0/0/4/0" if is_literal else "0/0/0/0")
    assert scene.world.broken() == ([4] if is_literal else [])
    assert scene.world.hierarchical_swap_errors() == []
    scene.swap.free(entry, 4)
    assert scene.row(g) == ("0/0/-4/1" if is_literal else "0/0/0/1")
    assert scene.row(p) == ("0/0/4/0" if is_literal else "0/0/0/0")
    assert scene.world.broken() == ([4] if is_literal else [])
    assert scene.world.hierarchical_swap_errors() == []


@both
def test_k6_refault_of_a_folio_that_was_not_reclaimed(is_literal: bool) -> None:
    scene = scene_of("v2", is_literal=is_literal)
    a = scene.group("A")
    entry = scene.fresh_out(0, a)
    scene.keep("f", scene.swap.swap_cluster_readahead(entry) or scene.swap.folio())
    scene.swap.swap_cache_del_folio(scene.folios["f"])
    scene.drop("f")
    before = a.stat_local()["workingset_refault_anon"]
    scene.bring_in("f", entry, memcg=a)
    assert a.stat_local()["workingset_refault_anon"] - before == int(is_literal)


@both
def test_k8_retries_are_counted(is_literal: bool) -> None:
    """A slot must be freed and swapped out again while memory is allocated: one thread never does that."""
    scene = scene_of("v2", is_literal=is_literal)
    a = scene.group("A")
    scene.bring_in("f", scene.fresh_out(3, a), 8, orders=1 << 3, memcg=a)
    assert scene.swap.stats()["shadow_retries"] == 0


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
def test_literal_keeps_its_promises_over_a_plain_round_trip(hierarchy: str) -> None:
    scene = scene_of(hierarchy, is_literal=True)
    a = scene.group("A")
    entry = scene.fresh_out(3, a)
    assert scene.world.broken() == []
    scene.bring_in("f", entry, 8, orders=1 << 3, memcg=a)
    assert scene.world.broken() == []
    scene.out("f")
    assert scene.world.broken() == []
    scene.swap.free(entry, 8)
    assert scene.world.broken() == []


@pytest.mark.parametrize(
    "switches",
    [
        {"owner_store": "array"},
        {"owner_store": "cluster_table"},
        {"owner_store": "trampoline"},
        {"dead_swapin": "reparent_if_shared"},
        {"dead_swapin": "fault_mm"},
    ],
)
def test_literal_is_one_store_and_one_rule(switches: dict[str, str]) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"rfc_literal|fault_mm"):
        sc.Swap(switches={"rfc_literal": "on", **switches})
