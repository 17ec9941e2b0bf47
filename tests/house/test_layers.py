"""A room of the core, the binding or the package calls only rooms of lower layers.

A room is a folder or file directly below the source folder. The root file of the sources lists the layers.
"""

from __future__ import annotations

import pytest
from helpers.places import ROOT
from helpers.python_layers import Package
from helpers.rust_layers import Crate, code_of, receiver_of, use_paths

CORE = Crate.read(
    ROOT / "rust/core/src",
    test_only=frozenset({"tests.rs", "races", "index_model.rs"}),
    receivers={
        "swap": "Swap",
        "on_cpu": "OnCpu",
        "op": "Operation",
        "operation": "Operation",
        "mm": "Mm",
        "groups": "MemCgroups",
        "memcg": "MemCgroups",
    },
    followed=frozenset({"Mm"}),
    # Names of methods that vectors, iterators, paths and other types outside the crate have too.
    foreign_names=frozenset({"resize", "path"}),
)

BINDING = Crate.read(ROOT / "rust/py/src")
PACKAGE = Package.read(ROOT / "python/swapcore")

# The trait through which rooms call a room of a higher layer: zswap with full pools, and reclaim, ask for the
# writeback of pages. No other such call is allowed.
TRAITS_FILLED_ABOVE = {"ZswapShrinker"}

# Names that methods of several rooms share, of `Swap`, `OnCpu`, `Operation`, `Mm` and other types with
# methods in several rooms. The test resolves calls of these methods by the receiver. A new method must have a
# unique name, because each name in this list weakens the test.
# fmt: off
SHARED_NAMES = {
    "alloc", "alloc_batch", "backing", "bytes", "check", "children", "create", "css", "drop", "dup",
    "enter", "events", "finish", "flags", "folio_alloc_swap", "fork", "free", "get",
    "group", "has", "insert", "kind", "limit_pages", "lookup", "max_pages", "memcg", "memory", "name", "new",
    "note", "nr_cpus", "nr_pages", "nr_swap_pages", "options", "pageout", "pages", "put", "read",
    "refault", "remove", "resolve", "root", "set_policy", "set_swappiness", "stat", "stats", "swap",
    "swap_in", "swap_out", "swappiness", "take_run", "try_charge", "ty", "uncharge", "vmas", "write",
    "zswap",
}
# fmt: on


each_sources = pytest.mark.parametrize(
    "sources", [CORE, BINDING, PACKAGE], ids=["core", "binding", "package"]
)


@each_sources
def test_every_room_has_its_layer(sources: Crate | Package) -> None:
    assert sources.levels.keys() == sources.rooms


@pytest.mark.parametrize("crate", [CORE, BINDING], ids=["core", "binding"])
def test_a_room_of_a_crate_is_stated_once(crate: Crate) -> None:
    assert sum(map(len, crate.layers)) == len(crate.rooms)


@each_sources
def test_no_path_no_method_call_and_no_import_goes_upward(sources: Crate | Package) -> None:
    assert not sources.upward(), "\n".join(map(str, sources.upward()))


def test_the_core_has_folders_only() -> None:
    assert {file for file in CORE.texts if "/" not in file} == {"lib.rs"}


def test_one_registered_trait_calls_upward() -> None:
    assert CORE.traits_filled_above() == TRAITS_FILLED_ABOVE


def test_types_in_several_rooms_are_known() -> None:
    assert {"Swap", "OnCpu", "Operation"} <= CORE.spread_types


def test_method_names_are_unique_among_rooms() -> None:
    assert CORE.shared_names == SHARED_NAMES


# Tests of the layer check itself: it must find each kind of upward call that a test adds to the sources.

SEEDED_IN_CORE = {
    "path in code": ("base/types.rs", "fn f() { crate::reclaim::hooks::go(); }"),
    "use": ("table/entry.rs", "use crate::mm::Mm;"),
    "use group": ("cluster/guard.rs", "use crate::{base::types, swapping::{swapin::Swapin, swapout}};"),
    "super": ("slots/free.rs", "use super::super::cache::replace;"),
    "room beside it": ("cluster/list.rs", "use crate::storage::Null;"),
    "name that the root re-exports": ("folio/lru.rs", "use crate::OnCpu;"),
    "method of Swap": ("slots/take_back.rs", "fn f(s: &Swap) { s.end_operation(); }"),
    "method of OnCpu": (
        "slots/dup_put.rs",
        "fn f(s: &Swap) { s.on_cpu(CpuId(0)).unwrap().alloc_for_folio(folio); }",
    ),
    "method of Operation": (
        "machine/space.rs",
        "fn f(op: &mut Operation<'_>) { op.try_to_reclaim(device, offset, when); }",
    ),
    "method of Mm": ("reclaim/mod.rs", "fn f(mm: &Mm) { mm.check_mapped(vpn); }"),
    "method by path": ("datapath/mod.rs", "fn f(s: &Swap) { Swap::swap_out(s, folio, cpu); }"),
    "method of a shared name, by its receiver": (
        "memcg/group.rs",
        "fn f(swap: &Swap) { swap.swap_in(entry, 1, how); }",
    ),
}


@pytest.mark.parametrize(("file", "line"), SEEDED_IN_CORE.values(), ids=SEEDED_IN_CORE.keys())
def test_a_seeded_upward_call_in_the_core_is_found(file: str, line: str) -> None:
    assert file in CORE.texts
    assert CORE.with_line(file, line).upward(file)


def test_a_seeded_upward_call_in_the_binding_is_found() -> None:
    lowest, highest = BINDING.layers[0][0], BINDING.layers[-1][0]
    file = next(file for file in BINDING.code if BINDING.room_of(file) == lowest)
    seeded = BINDING.with_line(file, f"use crate::{highest}::something;")
    assert [upward.called for upward in seeded.upward()] == [highest]


def test_a_comment_a_string_and_a_test_may_name_anything() -> None:
    line = (
        '// crate::mm::Mm\nconst S: &str = "crate::mm::Mm";\n#[cfg(test)]\nmod tests { use crate::mm::Mm; }'
    )
    assert not CORE.with_line("base/types.rs", line).upward("base/types.rs")


def test_a_second_trait_filled_from_above_is_found() -> None:
    seeded = CORE.with_line("slots/mod.rs", "trait Hook { fn go(&self); }\nfn f(hook: &dyn Hook) {}")
    seeded = seeded.with_line("mm/mod.rs", "impl crate::slots::Hook for Mm { fn go(&self) {} }")
    assert seeded.traits_filled_above() == {*TRAITS_FILLED_ABOVE, "Hook"}


def test_a_new_duplicate_of_a_method_name_is_found() -> None:
    seeded = CORE.with_line("table/entry.rs", "impl Shadow { fn end_operation(&self) {} }")
    assert seeded.shared_names == SHARED_NAMES | {"end_operation"}


@pytest.mark.parametrize(
    "line",
    ["import swapcore.{0}", "from swapcore.{0} import x", "from .{0} import x", "from . import {0}"],
)
@pytest.mark.parametrize("place", ["{0}", "def f():\n    {0}", "if TYPE_CHECKING:\n    {0}"])
def test_a_seeded_upward_import_is_found(line: str, place: str) -> None:
    lowest, highest = PACKAGE.layers[0][0], PACKAGE.layers[-1][0]
    seeded = PACKAGE.with_line(f"{lowest}.py", place.format(line.format(highest)))
    assert [upward.called for upward in seeded.upward()] == [highest]


def test_use_groups_are_taken_apart() -> None:
    assert use_paths("crate::{limits::{A, B as C}, types, table::pool::*}") == [
        ("crate", "limits", "A"),
        ("crate", "limits", "B"),
        ("crate", "types"),
        ("crate", "table", "pool", "*"),
    ]


def test_receivers_are_told_apart() -> None:
    for expression, receiver in {
        "self.swap.on_cpu(f(1)[2])?.": "on_cpu",
        "swap\n    .": "swap",
        "self.op().": "op",
        "f(a.b, c)?.d.": "d",
    }.items():
        assert receiver_of(expression, len(expression) - 1) == receiver


def test_lifetimes_are_no_characters() -> None:
    assert code_of("fn f<'a>(x: &'a str) -> char { 'b' } // c") == "fn f<'a>(x: &'a str) -> char { \"\" } "
