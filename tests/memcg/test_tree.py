"""The tree of groups: names, ids, removal, and the combinations of switches."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import errno_of
from helpers.memcg_scenes import Scene, family

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", ["...", "a b", "größe", "x" * 200])
def test_other_names_are_fine(v2: Scene, name: str) -> None:
    assert v2.root.create(name).name == name


def test_id_of_a_dead_group_is_taken_while_slots_record_it(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.a.remove()
    assert (v2.a.counters()["id"], v2.a.counters()["id_refs"]) == (2, 1)
    assert v2.group("B").counters()["id"] == 3
    v2.swap.free(entry)
    assert (v2.a.counters()["id"], v2.a.counters()["id_refs"]) == (0, 0)
    assert v2.group("C").counters()["id"] == 2
    v2.expect({v2.a: "0/0/0/0"})


def test_dead_owner_of_cached_folios_alone_has_no_id(v2: Scene) -> None:
    v2.fault_in("f", 2, v2.a)
    v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.a.remove()
    assert v2.a.counters()["id"] == 0
    assert v2.group("B").counters()["id"] == 2
    v2.expect({v2.a: "4/4/4/0"})
    entry = v2.out("f")
    v2.expect({v2.a: "0/0/0/0", v2.root: "0/0/4/5"})
    v2.swap.free(entry)
    v2.expect({v2.a: "0/0/0/0", v2.root: "0/0/0/1"})


def test_group_with_children_or_tasks_stays(v2: Scene) -> None:
    p = v2.root.create("P")
    child = p.create("C")
    assert errno_of(p.remove) == errno.EBUSY
    mm = v2.swap.mm(memcg=child)
    assert mm.memcg == child
    fork = mm.fork()
    assert fork.memcg == child
    del mm
    assert errno_of(child.remove) == errno.EBUSY
    del fork
    child.remove()
    p.remove()
    assert (child.is_online, p.is_online, v2.root.children) == (False, False, [])


def test_offline_group_is_looked_at_and_not_changed(v2: Scene) -> None:
    p = v2.group("P")
    a = v2.group("A", p, memory_max="1M")
    v2.fault_in("f", 1, a)
    a.remove()
    assert (a.name, a.path, a.parent, a.is_online) == ("A", "/P/A", p, False)
    assert a not in p.children
    assert a.read("memory.max") == f"{1 << 20}\n"
    assert a.counters()["memory_pages"] == 2
    assert errno_of(a.remove) == errno.ENODEV
    assert errno_of(a.create, "x") == errno.ENODEV
    assert errno_of(a.write, "memory.max", "2M") == errno.ENODEV
    assert errno_of(v2.swap.mm, memcg=a) == errno.ENODEV
    assert errno_of(v2.swap.folio, memcg=a) == errno.ENODEV
    assert v2.folios["f"].memcg == a
    v2.expect({a: "2/0/0/0", p: "2/0/0/1"})
    entry = v2.out("f")
    v2.expect({a: "0/0/0/0", p: "0/2/2/3"})
    v2.swap.free(entry)
    v2.expect({p: "0/0/0/1"})


def test_resident_folios_move_up_where_that_is_chosen(scenes: Callable[..., Scene]) -> None:
    scene = scenes(lru_reparent="on")
    p = scene.group("P")
    a = scene.group("A", p)
    scene.fault_in("f", 1, a)
    a.remove()
    assert scene.folios["f"].memcg == p
    scene.expect({p: "2/0/0/1"})
    scene.out("f")
    scene.expect({p: "0/2/2/3"})


def test_split_and_migration_change_no_counter(v2: Scene) -> None:
    v2.fault_in("f", 3, v2.a)
    v2.swap.folio_alloc_swap(v2.folios["f"])
    v2.keep("f", v2.swap.folio_migrate(v2.folios["f"]))
    v2.expect({v2.a: "8/8/8/1"})
    assert v2.folios["f"].memcg == v2.a
    for number, part in enumerate(v2.swap.folio_split(v2.folios["f"], 1)):
        assert part.memcg == v2.a
        v2.keep(str(number), part)
        del part
    v2.drop("f")
    v2.expect({v2.a: "8/8/8/1"})
    for number in range(4):
        v2.out(str(number))
    v2.expect({v2.a: "0/8/8/9"})


def test_group_outlives_its_subsystem_object() -> None:
    a = sc.Swap().memcg.create("A")
    assert a.read("memory.current") == "0\n"
    assert a.parent is not None


def test_defaults_are_the_repaired_protocol() -> None:
    switches = sc.Swap().switches
    expected = {
        "owner_store": "shadow",
        "dead_swapin": {"default", "reparent"},
        "shared_count": "2",
        "refault_level": {"default", "owner"},
        "idonly_refault": "skip",
        "rfc_literal": "off",
        "lru_reparent": "off",
        "memcg_stock": "on",
        "memory_recursiveprot": "on",
    }
    for name, word in expected.items():
        assert switches[name] in (word if isinstance(word, set) else {word}), name


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ({"owner_store": "shadow", "refault_level": "reclaim_root"}, "refault_level"),
        ({"owner_store": "trampoline", "refault_level": "reclaim_root"}, "refault_level"),
        ({"owner_store": "shadow", "dead_swapin": "fault_mm"}, "dead_swapin"),
        ({"dead_swapin": "fault_mm"}, "dead_swapin"),
        ({"rfc_literal": "on", "owner_store": "array"}, "rfc_literal"),
        ({"rfc_literal": "on", "owner_store": "cluster_table"}, "rfc_literal"),
        ({"rfc_literal": "on", "owner_store": "trampoline"}, "rfc_literal"),
        ({"rfc_literal": "on", "dead_swapin": "reparent_if_shared"}, "rfc_literal"),
        ({"owner_store": "nowhere"}, "nowhere"),
        ({"dead_swapin": "never"}, "never"),
        ({"shared_count": "1"}, "1"),
        ({"shared_count": "16"}, "16"),
        ({"shared_count": "two"}, "two"),
        ({"refault_level": "top"}, "top"),
        ({"idonly_refault": "maybe"}, "maybe"),
        ({"rfc_literal": "yes"}, "yes"),
        ({"lru_reparent": "1"}, "1"),
        ({"memcg_stock": "64"}, "64"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(switches: dict[str, str], reason: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=reason) as caught:
        sc.Swap(switches=switches)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "switches",
    [
        {"owner_store": "cluster_table", "refault_level": "reclaim_root", "dead_swapin": "fault_mm"},
        {"owner_store": "array", "refault_level": "owner", "dead_swapin": "reparent"},
        {"owner_store": "trampoline", "dead_swapin": "fault_mm"},
        {"owner_store": "shadow", "dead_swapin": "reparent_if_shared", "shared_count": "15"},
        {"owner_store": "shadow", "rfc_literal": "on", "dead_swapin": "reparent"},
        {"rfc_literal": "on"},
    ],
)
def test_choices_that_go_together(switches: dict[str, str]) -> None:
    found = sc.Swap(switches=switches).switches
    assert {name: found[name] for name in switches} == switches


@pytest.mark.parametrize(
    ("shared_count", "count", "is_moved"),
    [("2", 1, True), ("2", 2, False), ("2", 3, False), ("3", 2, True), ("3", 3, False)],
)
def test_range_that_one_task_has_goes_with_that_task(
    scenes: Callable[..., Scene], shared_count: str, count: int, is_moved: bool
) -> None:
    scene = scenes(dead_swapin="reparent_if_shared", shared_count=shared_count)
    p, b, c, entry = family(scene)
    for _ in range(count - 1):
        scene.swap.dup(entry + 3)
    c.remove()
    scene.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    scene.expect({p: "0/0/0/1", b: "4/4/4/1"} if is_moved else {p: "4/4/4/1", b: "0/0/0/1"})
    assert scene.row(c) == "0/0/0/0"


def test_trampoline_remembers_a_dead_owner_while_its_pages_are_somebody_elses(
    scenes: Callable[..., Scene],
) -> None:
    scene = scenes(owner_store="trampoline", dead_swapin="fault_mm")
    p, b, c, entry = family(scene)
    number = c.counters()["id"]
    assert {scene.swap.slot_owner(entry + page) for page in range(4)} <= {0, number}
    c.remove()
    scene.bring_in("f", entry, 4, orders=1 << 2, memcg=b)
    scene.expect({b: "4/0/0/1", c: "0/4/4/4", p: "0/4/0/1"})
    assert {scene.swap.slot_owner(entry + page) for page in range(4)} == {number}
    scene.out("f")
    scene.expect({b: "0/0/0/1", c: "0/4/4/4", p: "0/4/0/1"}, entry, ["S(C)|1"] * 4)
    scene.swap.free(entry, 4)
    scene.expect({c: "0/0/0/0", p: "0/0/0/1"})
