"""The defects K1 to K6 of docs/memcg.md: each defect occurs with the switch `rfc_literal`, none by default.

Rust tests cover K7, which Python cannot observe, and K8, which needs a second thread during a swap-in.
"""

from __future__ import annotations

import pytest
from helpers.memcg_scenes import LITERAL, Scene, family


@pytest.fixture
def hierarchy() -> str:
    """Returns the hierarchy of `scene`. A test parametrised by ``hierarchy`` replaces this fixture."""
    return "v2"


@pytest.fixture(params=[False, True], ids=["canon", "literal"])
def is_literal(request: pytest.FixtureRequest) -> bool:
    """Tells whether ``rfc_literal`` is on in `scene`. Each test runs with the switch on and off."""
    return bool(request.param)


@pytest.fixture
def scene(hierarchy: str, is_literal: bool) -> Scene:
    """Returns a scene for which `Scene.end` is not called, because the defects leave charged pages behind."""
    return Scene("canon", hierarchy, **(LITERAL if is_literal else {}))


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
def test_k1_memory_of_a_failed_swap_in(scene: Scene, hierarchy: str, is_literal: bool) -> None:
    entry = scene.fresh_out(0, scene.a)
    scene.a.write("memory.max" if hierarchy == "v2" else "memory.limit_in_bytes", 0)
    for nr_failures in (1, 2):
        with pytest.raises(MemoryError):
            scene.swap.swap_in(entry, memcg=scene.a)
        assert scene.swap.nr_used_pages == nr_failures * is_literal
        assert scene.words(entry) == ["S(A)|1"]
    assert scene.row(scene.a) == "0/1/1/2"


def test_k1_references_of_a_failed_swap_charge(scene: Scene, is_literal: bool) -> None:
    a = scene.group("A", swap_max=0)
    scene.fault_in("f", 2, a)
    before = scene.folios["f"].refs
    with pytest.raises(MemoryError):
        scene.swap.folio_alloc_swap(scene.folios["f"])
    assert scene.folios["f"].refs == before + 4 * is_literal
    assert (scene.folios["f"].entry, scene.device.inuse_pages) == (None, 0)
    scene.drop("f")
    assert scene.swap.nr_used_pages == 4 * is_literal


def test_k2_slot_that_nobody_owns_is_read(scene: Scene, is_literal: bool) -> None:
    entry = scene.swap.alloc_hibernation(scene.device)
    scene.read_ahead(entry)
    assert scene.swap.stats()["rfc_null_memcg"] == int(is_literal)


def test_k2_slot_without_an_owner_is_swapped_in(scene: Scene, is_literal: bool) -> None:
    scene.keep("f", scene.swap.swap_in(scene.swap.alloc(), memcg=scene.a))
    assert scene.swap.stats()["rfc_null_memcg"] == int(is_literal)


@pytest.mark.parametrize("hierarchy", ["v1"])
def test_k3_resident_folio_loses_its_memsw(scene: Scene, is_literal: bool) -> None:
    entry = scene.fresh_out(3, scene.a)
    scene.bring_in("f", entry, 8, orders=1 << 3, memcg=scene.a)
    assert scene.row(scene.a) == "8/8/0/1"
    assert scene.swap.folio_free_swap(scene.folios["f"])
    assert scene.row(scene.a) == ("8/0/-8/1" if is_literal else "8/8/0/1")
    assert scene.world.broken() == ([2, 4] if is_literal else [])
    scene.drop("f")
    facts = scene.a.counters()
    assert facts["memory_pages"] == 0
    assert facts["memsw_pages"] - facts["swap_underflow_pages"] == -8 * is_literal


def test_k4_statistic_of_cached_pages(scene: Scene, is_literal: bool) -> None:
    entry = scene.fresh_out(2, scene.a)
    assert scene.a.counters()["swapcached_pages"] == 0, "the folio was charged before it was cached"
    scene.bring_in("f", entry, 4, orders=1 << 2, memcg=scene.a)
    assert scene.a.counters()["swapcached_pages"] == (0 if is_literal else 4)
    assert scene.swap.folio_free_swap(scene.folios["f"])
    assert scene.a.counters()["swapcached_pages"] == (-4 if is_literal else 0)


def test_k5_statistic_of_swap_after_the_owner_died_twice(scene: Scene, is_literal: bool) -> None:
    g = scene.group("G")
    p, b, c, entry = family(scene, g)
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


def test_k6_refault_of_a_folio_that_was_not_reclaimed(scene: Scene, is_literal: bool) -> None:
    entry = scene.fresh_out(0, scene.a)
    scene.swap.swap_cache_del_folio(scene.read_ahead(entry))
    scene.drop("read ahead")
    before = scene.a.stat_local()["workingset_refault_anon"]
    scene.bring_in("f", entry, memcg=scene.a)
    assert scene.a.stat_local()["workingset_refault_anon"] - before == int(is_literal)


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
def test_literal_keeps_its_promises_over_a_plain_round_trip(scene: Scene) -> None:
    entry = scene.fresh_out(3, scene.a)
    assert scene.world.broken() == []
    scene.bring_in("f", entry, 8, orders=1 << 3, memcg=scene.a)
    assert scene.world.broken() == []
    scene.out("f")
    assert scene.world.broken() == []
    scene.swap.free(entry, 8)
    assert scene.world.broken() == []
