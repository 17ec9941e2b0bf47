"""Facts about the docs of the API: the stubs contain the docs, and the extension has the same docs."""

from __future__ import annotations

import ast
import inspect
import itertools
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from swapcore import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

STUBS = sorted(file.name for file in files("swapcore").iterdir() if file.name.endswith(".pyi"))

# Members without docs in the extension, because Sphinx and IDEs show no docs of a class attribute that is a
# plain value.
VALUES = {"Strategy.names"}


def text_of(stub: str) -> str:
    return files("swapcore").joinpath(stub).read_text(encoding="utf-8")


@cache
def tree(stub: str) -> ast.Module:
    return ast.parse(text_of(stub))


def classes() -> dict[str, ast.ClassDef]:
    return {node.name: node for stub in STUBS for node in tree(stub).body if isinstance(node, ast.ClassDef)}


def is_dict(name: str) -> bool:
    bases = classes()[name].bases if name in classes() else []
    return any(base == "TypedDict" or is_dict(base) for base in names_in(ast.Tuple(bases)))


def names_in(annotation: ast.expr | None) -> list[str]:
    return [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)] if annotation else []


def keys_of(name: str) -> Iterator[tuple[str, str, ast.expr]]:
    """Yields the name, the docs and the type of each key of a TypedDict."""
    for base in names_in(ast.Tuple(classes()[name].bases)):
        if is_dict(base):
            yield from keys_of(base)
    body = classes()[name].body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            doc = (
                after.value.value
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                else ""
            )
            assert isinstance(doc, str)
            yield node.target.id, inspect.cleandoc(doc).replace("\n", "\n        "), node.annotation


def key_docs(annotation: ast.expr | None, title: str = "Keys") -> str:
    """Returns the section ``Keys`` for a method that returns a dict; the section ends the method's docs."""
    docs = ""
    for name in filter(is_dict, names_in(annotation)):
        keys = list(keys_of(name))
        docs += f"\n\n{title}:" + "".join(f"\n    {key}: {doc}" for key, doc, _ in keys)
        docs += "".join(key_docs(kind, f"Keys of ``{key}``") for key, _, kind in keys)
    return docs


def is_setter(member: ast.FunctionDef) -> bool:
    return any(isinstance(decorator, ast.Attribute) for decorator in member.decorator_list)


def documented() -> Iterator[tuple[str, str]]:
    """Yields the public classes, methods, properties and functions of the stubs with their docs."""
    for node in itertools.chain.from_iterable(tree(stub).body for stub in STUBS):
        if isinstance(node, ast.FunctionDef):
            yield node.name, (ast.get_docstring(node) or "") + key_docs(node.returns)
        if isinstance(node, ast.ClassDef) and node.name in sc.__all__:
            yield node.name, ast.get_docstring(node) or ""
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and member.name[0] != "_" and not is_setter(member):
                    docs = (ast.get_docstring(member) or "") + key_docs(member.returns)
                    yield f"{node.name}.{member.name}", docs


DOCUMENTED = dict(documented())


def at_run_time(name: str) -> object:
    found: object = _core
    for part in name.split("."):
        found = getattr(found, part)
    return found


def public_members() -> set[str]:
    """Returns the names of all public classes, functions and members of the extension."""
    found = {name for name in vars(_core) if callable(getattr(_core, name)) and name[0] != "_"}
    for name in sorted(found):
        if isinstance(getattr(_core, name), type):
            found |= {f"{name}.{member}" for member in vars(getattr(_core, name)) if member[0] != "_"}
    return found


@pytest.mark.parametrize("name", DOCUMENTED)
def test_help_says_what_the_stub_says(name: str) -> None:
    assert DOCUMENTED[name], "the stub documents every public name"
    assert inspect.getdoc(at_run_time(name)) == DOCUMENTED[name]


def test_module_says_what_its_stub_says() -> None:
    assert inspect.getdoc(_core) == ast.get_docstring(tree("_core.pyi"))


def test_every_public_member_has_docs_in_the_stub() -> None:
    assert public_members() - VALUES == DOCUMENTED.keys()
    assert len(DOCUMENTED) > 200


@pytest.mark.parametrize("name", sorted(filter(is_dict, classes())))
def test_every_key_of_a_result_has_docs(name: str) -> None:
    keys = list(keys_of(name))
    assert keys
    assert [key for key, doc, _ in keys if not doc] == []


def test_docs_begin_with_one_sentence() -> None:
    summaries = {name: doc.split("\n\n")[0].replace("\n", " ") for name, doc in DOCUMENTED.items()}
    assert [name for name, summary in summaries.items() if not summary.endswith((".", ":"))] == []


def test_stubs_are_short_files() -> None:
    assert STUBS[0] == "_core.pyi"
    lengths = {stub: text_of(stub).count("\n") for stub in STUBS}
    assert {stub: lines for stub, lines in lengths.items() if lines > 700} == {}


def test_docs_tell_of_errors_and_the_kernel() -> None:
    # The docs name the errno of each error, and the kernel function of which a method is the counterpart.
    docs = DOCUMENTED["Swap.alloc"]
    assert "ENOSPC" in docs
    assert "`folio_alloc_swap`" in docs


def test_signatures_are_shown() -> None:
    assert str(inspect.signature(sc.Swap.alloc)) == "(self, /, order=0, *, cpu=None)"
    assert str(inspect.signature(sc.Swap)).startswith("(*, nr_cpus=1, profile=")


def machine(**options: str) -> sc.Swap:
    swap = sc.Swap(zswap="lz4", **options)
    swap.swapon(sc.Null("1M"))
    return swap


def test_docs_name_every_counter() -> None:
    swap = machine()
    group = swap.memcg.create("group")
    v1 = machine(memcg="v1").memcg.create("group")
    storages = [sc.Ram("1M"), sc.Zram("1M"), sc.Faulty(sc.Ram("1M"))]
    shown = {
        "Swap.stats": [
            name.removeprefix("hugepages-64kB.")
            for name in swap.stats()
            if "-" not in name or "-64kB" in name
        ],
        "ZswapHandle.stats": list(swap.zswap.stats()),
        "Storage.stats": [name for storage in storages for name in storage.storage.stats()],
        "MemCgroup.counters": [*group.counters(), *v1.counters()],
        "MemCgroup.stat_local": [*group.stat_local(), *v1.stat_local()],
        "Swap.switches": list(swap.switches),
    }
    for name, keys in shown.items():
        assert keys
        assert [
            key for key in keys if f"{key}:" not in DOCUMENTED[name] and f"``{key}``" not in DOCUMENTED[name]
        ] == []
    swap.check()


def test_typed_dicts_have_the_keys_that_are_returned() -> None:
    swap = machine()
    device = swap.swapon(sc.Ghost("4M", is_virtual=True))
    mm = swap.mm()
    swap.record_events(4)
    entry = swap.swap_out(swap.folio(data=b"data"))
    results = {
        "SwapMemory": swap.memory(),
        "DeviceMemory": device.memory(),
        "ClusterColumns": device.clusters(),
        "SlotColumns": device.used_slots(),
        "EventColumns": swap.take_events(),
        "SwapDump": swap.dump(),
        "DeviceDump": swap.dump()["devices"][0],
        "ResizeReport": swap.resize(device, "8M"),
        "PageoutReport": mm.pageout(mm.mmap(1), 1),
        "BackingInfo": swap.backing(entry),
        "_SlotInfo": {key: value for key, value in swap.lookup(entry).items() if key != "backing"},
        "ZswapPool": swap.zswap.pools()[0],
        "SwapHeader": sc.parse_swap_header(sc.build_swap_header(10)),
        "MemoryEvents": swap.memcg.create("a").memory_events,
        "SwapEvents": swap.memcg.create("b").memory_swap_events,
        "OomControl": machine(memcg="v1").memcg.memory_oom_control,
        "StressReport": _core.stress(threads=1, seconds=0.01, seed=1, pages=4096),
        "StrategyMemory": sc.Strategy.create("swap_table", size_pages=1024).memory(),
    }
    for name, result in results.items():
        assert {key for key, _, _ in keys_of(name)} == result.keys(), name
    swap.free(entry)
    swap.check()


def test_every_readable_file_of_a_group_is_a_property() -> None:
    for hierarchy in ("v1", "v2"):
        root = machine(memcg=hierarchy).memcg
        group = root.create("group")
        for file in {*root.files, *group.files} - {"memory.reclaim", "memory.force_empty"}:
            assert f"MemCgroup.{file.replace('.', '_')}" in DOCUMENTED
            assert f"``{file}``" in DOCUMENTED[f"MemCgroup.{file.replace('.', '_')}"]
