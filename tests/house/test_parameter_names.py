"""Facts about names: one name and one kind of parameter for one thing, and one meaning for each number.

The tables of this file are the rules. A new parameter, attribute or option that breaks a rule fails a test.
"""

from __future__ import annotations

import argparse
import ast
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from swapcore.cli import _parser

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(str(files("swapcore")))
BINDING = Path(__file__).parents[2] / "rust" / "py" / "src"

KEYWORD_ONLY = {
    "cpu": "the CPU whose local lock and hints a call uses",
    "memcg": "the group of the task that a call is for",
    "orders": "the mask of folio orders that a swap-in may use",
    "priority": "the priority of a device",
    "pages": "a size in pages, beside `size` in bytes",
    "nr_cpus": "the CPUs of a subsystem",
    "is_virtual": "whether slots record where their pages lie",
}
"""Parameters that are keyword-only everywhere, with their one meaning."""

ANNOTATIONS = {
    "cpu": {"int | None", "int"},
    "memcg": {"MemCgroup | None"},
    "nr": {"int | None", "int"},
    "order": {"int"},
    "orders": {"int | None"},
    "pages": {"int | None", "int", "Buffer"},
    "priority": {"int | None"},
    "size": {"str | int | None", "str | int"},
    "memory_max": {"Sequence[str | int | None]"},
    "mem_limit": {"str | int | None"},
}
"""The types of a parameter. A size is `str | int`: an int is bytes, a text has the forms of `parse_size`."""

OTHER_NAMES = {
    "prio": "priority",
    "n": "nr",
    "group": "memcg",
    "virtual_table": "is_virtual",
    "can_discard": "is_discardable",
    "ram": "size",
}
"""Names that a parameter or attribute does not have, and the name that the thing has everywhere."""

NR_ELSEWHERE = {"dup_and_put": "the first parameter is the subsystem"}
"""Functions whose `nr` is not right behind the first parameter, with the reason."""

MEMCG_IN_PLACE = {"Swap.mm": "the group is all that an address space is made of"}
"""Functions with a positional parameter `memcg`, with the reason."""

MEMCG_OF_A_SUBSYSTEM = {"Swap", "AccessRun", "replay_accesses"}
"""Functions that make a subsystem: `memcg` names the memory controller, ``v2``, ``v1`` or ``disabled``."""

PAGES_IN_PLACE = {
    "Storage.ram": "a storage of the core is made of pages only",
    "Storage.zram": "a storage of the core is made of pages only",
    "Storage.create_file": "a storage of the core is made of pages only",
    "Storage.ghost": "a storage of the core is made of pages only",
    "Mm.touch_pages": "a buffer of page numbers",
    "Shmem.touch_pages": "a buffer of page numbers",
    "size_in_pages": "both forms of a size are arguments of the conversion",
    "ghost_pages": "both forms of a size are arguments of the conversion",
    "amount_in_pages": "both forms of a size are arguments of the conversion",
    "usable_pages": "the function converts pages",
}
"""Functions with a positional parameter `pages`, with the reason."""

WITHOUT_CPU = {
    "Swap": {
        "swapon": "works on the device list and on all CPUs in turn",
        "swapoff": "works on the device list and on all CPUs in turn",
        "resize": "holds the local lock of every CPU",
        "run_workers": "the workers run on CPU 0, as work of a queue",
        "locked": "takes a folio lock only",
        "mm": "makes an empty address space",
        "shmem": "makes a file of holes",
        "set_memcg_policy": "sets hooks",
        "slot_owner": "reads one word",
        "swap_ages": "reads the slots of all devices",
        "check": "stops all CPUs",
        "mem_cgroup_flush_stats": "reads the sizes of all groups",
        "stats": "reads the counters of all CPUs",
        "memory": "reads the sizes of all devices",
        "dump": "reads the hints of all CPUs",
        "record_events": "sets the rings of all CPUs",
        "take_events": "reads the rings of all CPUs",
    },
    "Mm": {
        "mmap": "makes no folio",
        "pagemap": "reads page table entries",
        "swap_entry": "reads one page table entry",
    },
    "Shmem": {"swap_entry": "reads one entry of the file"},
    "ZswapHandle": {"stats": "reads counters", "pools": "reads counters", "set_faults": "sets a plan"},
}
"""Methods without `cpu`, because they neither allocate, free, swap nor charge on one CPU."""

OTHER_BOOLS = {
    "vm_swap_full": "the kernel's name",
    "vma_ra_enabled": "the kernel's name",
    "enabled": "the module parameter of zswap",
    "shrinker_enabled": "the module parameter of zswap",
    "closed": "the name of every file object of Python",
    "direct": "an order to the call: O_DIRECT",
    "nonblock": "an order to the call: O_NONBLOCK",
    "fixpgsz": "an order to the call: the option of swapon",
    "sparse": "an order to the call: truncate instead of allocate",
    "allow_swap": "a rule of a group's policy",
    "virtual": "a size, or True for the largest size",
    "data": "the option of `swapcore stress`, whose command a run prints",
    "faults": "the option of `swapcore stress`, whose command a run prints",
    "swapoff": "the option of `swapcore stress`, whose command a run prints",
    "as_json": "an order to the call",
    "with_headings": "an order to the call",
}
"""Names of bools that do not begin with `is_` or `has_`, with the reason."""

AFTER_A_UNIT = {
    "per": "a ratio, as in `bytes_per_slot`",
    "at": "a moment, as in `bytes_at_peak`",
    "end": "a moment, as in `inuse_pages_end`",
    "since": "the kernel's name `huge_pages_since`",
}
"""Words that may follow the unit in a name."""

COLUMNS_OF = {
    "Trace": "the parameters are the columns of a workload",
    "Accesses": "the parameters are columns",
}
"""Functions whose parameters are columns, one element for each operation."""


class Parameter(NamedTuple):
    """A parameter of a public function or method."""

    owner: str
    name: str
    place: int
    is_keyword_only: bool
    annotation: str


class Member(NamedTuple):
    """A property, a field of a class or a key of a dict."""

    owner: str
    name: str
    annotation: str


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Returns the modules and stubs of the package."""
    paths = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in {".py", ".pyi"})
    return tuple((path.name, ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


def public_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yields each public function and method with its name; properties are left out."""
    for _, module in modules():
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
                yield node.name, node
            if isinstance(node, ast.ClassDef) and node.name[0] != "_" and node.name not in COLUMNS_OF:
                for member in node.body:
                    is_made = isinstance(member, ast.FunctionDef) and member.name in {"__new__", "__init__"}
                    if isinstance(member, ast.FunctionDef) and (member.name[0] != "_" or is_made):
                        yield node.name if is_made else f"{node.name}.{member.name}", member


def is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def is_setter(node: ast.FunctionDef) -> bool:
    return any("setter" in ast.unparse(decorator) for decorator in node.decorator_list)


def parameters() -> Iterator[Parameter]:
    """Yields the parameters that a caller can name: not `self`, positional-only and variable ones."""
    for owner, node in public_functions():
        if is_property(node) or is_setter(node):
            continue
        named = [arg for arg in node.args.args if arg.arg not in {"self", "cls", "slf"}]
        for place, arg in enumerate(named):
            yield Parameter(owner, arg.arg, place, False, ast.unparse(arg.annotation or ast.Constant(None)))
        for arg in node.args.kwonlyargs:
            yield Parameter(owner, arg.arg, -1, True, ast.unparse(arg.annotation or ast.Constant(None)))


def members() -> Iterator[Member]:
    """Yields the properties of classes, the fields of dataclasses and the keys of dicts."""
    for _, module in modules():
        for node in module.body:
            if not isinstance(node, ast.ClassDef) or (node.name[0] == "_" and node.name != "_SlotInfo"):
                continue
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and is_property(member) and member.name[0] != "_":
                    yield Member(node.name, member.name, ast.unparse(member.returns or ast.Constant(None)))
                if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    yield Member(node.name, member.target.id, ast.unparse(member.annotation))


PARAMETERS = list(parameters())
MEMBERS = list(members())


def named(name: str) -> list[Parameter]:
    found = [parameter for parameter in PARAMETERS if parameter.name == name]
    assert found, f"no parameter {name}, so its rule is of no use"
    return found


def test_the_inventory_has_every_kind() -> None:
    assert len(PARAMETERS) > 400
    assert len(MEMBERS) > 300
    assert {"Swap.alloc", "Ghost", "compare", "Mm.array"} <= {parameter.owner for parameter in PARAMETERS}


@pytest.mark.parametrize("name", KEYWORD_ONLY)
def test_a_parameter_of_one_meaning_is_keyword_only(name: str) -> None:
    wrong = [parameter.owner for parameter in named(name) if not parameter.is_keyword_only]
    assert set(wrong) - PAGES_IN_PLACE.keys() - MEMCG_IN_PLACE.keys() == set()


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_parameter_has_one_type(name: str) -> None:
    wrong = {parameter for parameter in named(name) if parameter.annotation not in ANNOTATIONS[name]}
    assert {parameter.owner for parameter in wrong} <= (MEMCG_OF_A_SUBSYSTEM if name == "memcg" else set())


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_thing_has_no_second_name(name: str) -> None:
    assert [parameter.owner for parameter in PARAMETERS if parameter.name == name] == []
    assert [member for member in MEMBERS if member.name == name and member.owner != "ClusterColumns"] == []


def test_order_is_the_first_parameter_or_follows_the_first() -> None:
    wrong = [parameter for parameter in named("order") if parameter.is_keyword_only or parameter.place > 1]
    assert {parameter.owner for parameter in wrong} == set()


def test_nr_follows_the_first_parameter_or_is_the_first() -> None:
    wrong = [parameter for parameter in named("nr") if parameter.is_keyword_only or parameter.place > 1]
    assert {parameter.owner for parameter in wrong} == NR_ELSEWHERE.keys()


def test_a_device_is_measured_in_bytes_or_in_pages() -> None:
    with_size = {parameter.owner for parameter in named("size")}
    with_pages = {parameter.owner for parameter in named("pages")}
    devices = {"Null", "Ram", "Zram", "File.create", "Ghost", "Ghost.for_ram", "Swap.resize"}
    assert devices <= with_size & with_pages
    others = {"parse_size", "size_in_bytes", "measure", "owner_memory", "compare"}
    assert with_size - with_pages <= others


@pytest.mark.parametrize("class_name", WITHOUT_CPU)
def test_cpu_is_a_parameter_of_each_method_that_works_on_one_cpu(class_name: str) -> None:
    methods = {
        owner.removeprefix(f"{class_name}.")
        for owner, node in public_functions()
        if owner.startswith(f"{class_name}.") and not is_property(node) and not is_setter(node)
    }
    with_cpu = {parameter.owner.removeprefix(f"{class_name}.") for parameter in named("cpu")}
    assert methods - with_cpu == WITHOUT_CPU[class_name].keys()


def test_the_binding_takes_the_cpu_from_the_caller() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in BINDING.rglob("*.rs")}
    assert sources
    assert [name for name, text in sources.items() if "cpu(None" in text] == []


def test_a_bool_begins_with_is_or_has() -> None:
    bools = {parameter.name for parameter in PARAMETERS if parameter.annotation.split(" | ")[0] == "bool"}
    bools |= {member.name for member in MEMBERS if member.annotation.split(" | ")[0] == "bool"}
    assert {name for name in bools if not name.startswith(("is_", "has_"))} == OTHER_BOOLS.keys()


def test_a_method_that_answers_yes_or_no_begins_with_is_or_has() -> None:
    answers = [
        owner
        for owner, node in public_functions()
        if node.returns and ast.unparse(node.returns) == "bool" and not is_property(node)
    ]
    named_so = [owner for owner in answers if not owner.rpartition(".")[2].startswith(("is_", "has_"))]
    assert set(named_so) == {"Swap.folio_free_swap"}


@pytest.mark.parametrize("unit", ["pages", "bytes", "ns"])
def test_a_number_with_a_unit_ends_in_the_unit(unit: str) -> None:
    numbers = {
        member.name for member in MEMBERS if "int" in member.annotation or "float" in member.annotation
    }
    words = [name.split("_") for name in sorted(numbers)]
    behind = [name[name.index(unit) + 1 :] for name in words if unit in name]
    assert [rest for rest in behind if rest and rest[0] not in AFTER_A_UNIT | {"quartiles": ""}] == []


def test_a_limit_of_a_run_is_a_size() -> None:
    fields = {member.name: member.annotation for member in MEMBERS if member.owner in {"Run", "AccessRun"}}
    limits = {name: fields[name] for name in ("memory", "memory_max", "memory_high", "swap_max")}
    assert limits == {"memory": "str | int"} | dict.fromkeys([*limits][1:], "str | int | None")


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Yields the options of every command of the command line."""
    for action in _parser()._actions:  # noqa: SLF001 - argparse has no other list
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command, parser in action.choices.items():
                yield from ((command, option) for option in parser._actions)  # noqa: SLF001


def test_an_option_with_a_size_takes_a_size_and_an_option_with_pages_a_number() -> None:
    found = list(options())
    sizes = {f"{name} {option.dest}" for name, option in found if str(option.metavar).startswith("SIZE")}
    assert {"replay size", "replay memory_max", "replay ghost", "show ghost", "stress ghost"} <= sizes
    for name, option in found:
        words = option.dest.split("_")
        if "size" in words and words[-1] != "pages":
            assert f"{name} {option.dest}" in sizes
        if words[-1] == "pages":
            assert option.type is int, f"{name} {option.dest}"
        assert option.dest not in OTHER_NAMES
