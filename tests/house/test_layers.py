"""A Rust module uses only modules below it, in the order that lib.rs states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "rust/core/src"


def stated_layers() -> list[list[str]]:
    """Returns the lines between the two marks in lib.rs, bottom first; modules of a line are independent."""
    text = (SRC / "lib.rs").read_text(encoding="utf-8")
    block = re.search(r"^//! layers:\n(.*?)^//! end of layers$", text, re.DOTALL | re.MULTILINE)
    assert block, "lib.rs states its layers"
    return [line.removeprefix("//!").split() for line in block[1].splitlines()]


def module_of(path: Path) -> str:
    """Returns the top-level module that a file belongs to."""
    return path.relative_to(SRC).parts[0].removesuffix(".rs")


def code_of(text: str) -> str:
    """Removes comments, which may name anything."""
    return re.sub(r"//.*", "", text)


def used_names(text: str, root: str = "crate") -> set[str]:
    """Returns the names that follow `crate::`, or another root, in the code."""
    code = code_of(text)
    used = set(re.findall(rf"\b{root}::([A-Za-z_]\w*)", code))
    for group in re.findall(rf"\b{root}::\{{(.*?)\}};", code, re.DOTALL):
        used |= set(re.findall(r"(?:^|,)\s*([A-Za-z_]\w*)", re.sub(r"\{[^{}]*\}", "", group)))
    return used


def rust_files() -> list[Path]:
    """Returns every file of the core but its root."""
    return sorted(path for path in SRC.rglob("*.rs") if path.name != "lib.rs")


def upward_uses(module: str, used: set[str], layers: list[list[str]]) -> set[str]:
    """Returns the modules that are not below a module."""
    level = next(i for i, line in enumerate(layers) if module in line)
    below = {name for line in layers[:level] for name in line}
    return used - below - {module}


def test_every_module_has_its_layer() -> None:
    stated = [module for line in stated_layers() for module in line]
    assert len(stated) == len(set(stated)), "a module is stated once"
    assert set(stated) == {module_of(path) for path in rust_files()}


@pytest.mark.parametrize("path", rust_files(), ids=lambda path: path.relative_to(SRC).as_posix())
def test_module_uses_only_those_below_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    layers = stated_layers()
    used = used_names(text)
    depth = len(path.relative_to(SRC).parts)
    if depth == 1 or (depth == 2 and path.name == "mod.rs"):
        # Here `super` is the crate; in a nested module, such as tests, it names what the file itself defines.
        used |= used_names(text, "super") & {module for line in layers for module in line}
    assert not upward_uses(module_of(path), used, layers)


def test_uses_in_every_spelling_are_seen() -> None:
    text = """
        use crate::table::{Entry, pool::Pool};
        use crate::{
            limits::{A, B},
            types,
        };
        // use crate::comment::ignored;
        fn f() { crate::device::go(); let _: crate::Reexported; }
    """
    assert used_names(text) == {"table", "limits", "types", "device", "Reexported"}
    assert used_names("use super::cluster::List;", "super") == {"cluster"}
    assert used_names("use super::cluster::List;") == set()


def test_upward_and_sideways_uses_are_found() -> None:
    layers = [["limits"], ["types"], ["table", "folio"], ["swap"]]
    assert upward_uses("table", {"limits", "types", "table"}, layers) == set()
    assert upward_uses("table", {"limits", "swap"}, layers) == {"swap"}
    assert upward_uses("table", {"folio"}, layers) == {"folio"}
    assert upward_uses("swap", {"Reexported"}, layers) == {"Reexported"}, (
        "a path through the root hides the layer"
    )
