"""Facts about the dicts of the core: their keys are those of the TypedDicts in the stubs, each with a doc."""

from __future__ import annotations

import ast
from importlib.resources import files

import numpy as np
import pytest
import swapcore as sc
from swapcore import _core

CLASSES = {
    node.name: node
    for node in ast.parse(files("swapcore").joinpath("_core_dicts.pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}


def annotated(name: str) -> dict[str, str]:
    """Returns the keys of a TypedDict with their annotations, with those of its base."""
    node = CLASSES[name]
    keys = {} if (base := ast.unparse(node.bases[0])) == "TypedDict" else annotated(base)
    members = [member for member in node.body if isinstance(member, ast.AnnAssign)]
    return keys | {ast.unparse(member.target): ast.unparse(member.annotation) for member in members}


def required(name: str) -> set[str]:
    return {key for key, annotation in annotated(name).items() if not annotation.startswith("NotRequired")}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_dict_and_every_key_has_a_doc(name: str) -> None:
    node = CLASSES[name]
    assert ast.get_docstring(node)
    for member, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(member)


def shapes() -> dict[str, object]:
    """Returns one dict of the core for every TypedDict but those that have optional keys."""
    swap = sc.Swap(nr_cpus=2, zswap="lz4")
    device = swap.swapon(sc.Zram("16M"))
    ghost = swap.swapon(sc.Ghost("64M"), priority=0)
    group = swap.memcg.create("group")
    mm = swap.mm(group)
    first = mm.mmap(16)
    mm.write(first * sc.PAGE_SIZE, b"x")
    swap.record_events(16)
    paged_out = mm.pageout(first, 16)
    trace = _core.Trace(np.array([0, 1], "u1"), *trace_columns())
    accesses = _core.Accesses(np.array([0, 1], "u4"), np.array([1, 0], "u1"))
    fresh = swap.mm()
    replayed = accesses.replay(fresh, fresh.mmap(2))
    strategy = _core.Strategy.create(min(_core.Strategy.names), size_pages=4096)
    entry = swap.alloc()
    found = {
        "BackingInfo": swap.backing(entry),
        "ClusterColumns": device.clusters(),
        "DeviceMemory": device.memory(),
        "DeviceState": swap.dump()["devices"][0],
        "EventColumns": swap.take_events(),
        "MemoryEvents": group.memory_events,
        "PageoutCounts": paged_out,
        "PoolInfo": swap.zswap.pools()[0],
        "ResizedPages": swap.resize(ghost, "32M"),
        "SubsystemMemory": swap.memory(),
        "SubsystemState": swap.dump(),
        "SwapEvents": group.memory_swap_events,
        "SwapHeader": sc.parse_swap_header(sc.build_swap_header(100)),
        "StrategyMemory": strategy.memory(),
        "ReplayReport": trace.replay(strategy),
        "FolioReplayReport": trace.replay_folios(swap),
        "AccessReplayReport": replayed,
        "StressReport": _core.stress(threads=1, seconds=0.01, seed=1, pages=4096),
    }
    swap.free(entry)
    swap.check()
    return found


def trace_columns() -> list[np.ndarray]:
    """Returns cpu, folio, first and nr of one allocation of a page and its free."""
    return [
        np.array([0, 0], "u1"),
        np.array([0, 0], "u4"),
        np.array([0, 0], "u2"),
        np.array([1, 1], "u2"),
    ]


def test_the_core_returns_the_keys_of_the_stub() -> None:
    found = shapes()
    assert found.keys() == CLASSES.keys() - {"SlotInfo", "GroupCounters"}
    for name, value in found.items():
        assert set(value) == required(name), name


def test_lookup_has_more_keys_where_the_stub_says_so() -> None:
    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost("64M", virtual_table=True), priority=1)
    swap.swapon(sc.Ram("16M"), priority=0)
    entry = swap.swap_out(swap.folio(data=b"x"))
    assert entry.type == ghost.type
    virtual = swap.lookup(entry)
    assert set(virtual) == required("SlotInfo") | {"backing"}
    slot = virtual["backing"]["entry"]
    pointer = swap.lookup(slot)
    assert set(pointer) == required("SlotInfo") | {"owner", "cache_only"}
    assert pointer["owner"] == entry
    assert set(annotated("SlotInfo")) == set(virtual) | set(pointer)
    swap.swap_in(entry)
    swap.check()


def test_counters_of_both_hierarchies_are_the_keys_of_the_stub() -> None:
    found = set()
    for hierarchy in ("v1", "v2"):
        swap = sc.Swap(memcg=hierarchy)
        counters = set(swap.memcg.create("group").counters())
        assert counters < set(annotated("GroupCounters"))
        found |= counters
        swap.check()
    assert found == set(annotated("GroupCounters"))


def test_every_file_of_a_group_is_an_attribute_of_the_stub_with_its_kernel_name() -> None:
    tree = ast.parse(files("swapcore").joinpath("_core_memcg.pyi").read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef))
    stated = {}
    for member, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign) and ast.unparse(member.target).startswith("memory_"):
            assert isinstance(following, ast.Expr)
            stated[ast.unparse(member.target)] = following.value.value.split("``")[1]
    names = set()
    for hierarchy in ("v1", "v2"):
        swap = sc.Swap(memcg=hierarchy)
        names |= set(swap.memcg.create("group").files)
        swap.check()
    assert set(stated.values()) == names
    assert all(attribute == name.replace(".", "_") for attribute, name in stated.items())
