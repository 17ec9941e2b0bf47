"""Every file, function and kernel-map name that docs/ mentions exists in the repository."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from helpers.pages import prose
from helpers.places import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
BASES = [ROOT / base for base in ("", "docs", "rust/core/src", "rust/core", "rust/py/src", "python/swapcore")]

FILE = re.compile(r"(?<![\w/.*-])([\w-][\w./-]*\.(?:rs|pyi|py|md|toml|png))\b")

# Files that do not exist because readers make them when they follow CONTRIBUTING.md or docs/strategy.md.
MADE_BY_READERS = {"storage/xor.rs", "workload/strategy/next_fit.rs", "first_fit.py"}


def exists(name: str) -> bool:
    """Says whether a file exists, by its path from a known folder or, for a test, by its bare name."""
    if any((base / name).exists() for base in BASES):
        return True
    return "/" not in name and any(path.name == name for path in (ROOT / "tests").rglob(name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    names = set(FILE.findall(prose(page))) - MADE_BY_READERS
    assert {name for name in names if not exists(name)} == set()


def test_names_of_the_kernel_map_occur_in_the_code() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("rust/core/src", "rust/py/src", "python/swapcore")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".rs", ".py", ".pyi"}
    )
    words = set(re.findall(r"\w+", code))
    table = prose(DOCS / "kernel-map.md").partition("## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")][1:]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row) if not name.endswith(".rs")}
    assert len(names) > 100
    missing = {name for name in names if not set(re.findall(r"\w+", name)) <= words}
    assert missing == set()


def test_the_reader_of_names_sees_what_is_missing() -> None:
    assert FILE.findall("`slots/free.rs`, [x](virtual.md#top), tests/**/x.py and mm/vmscan.c") == [
        "slots/free.rs",
        "virtual.md",
    ]
    assert exists("cluster/list.rs")
    assert not exists("cluster/no_such.rs")


@pytest.mark.parametrize("name", ["first-allocation.md", "swap-out-and-in.md"])
def test_functions_of_the_walks_are_in_the_files_named(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    pairs = re.findall(r"`([\w/]+\.rs)`, `(?:\w+::)?(\w+)`", text)
    assert len(pairs) >= 8
    paths = {file: next(base / file for base in BASES if (base / file).exists()) for file, _ in pairs}
    source = {file: path.read_text(encoding="utf-8") for file, path in paths.items()}
    assert [(file, function) for file, function in pairs if f"fn {function}" not in source[file]] == []


def test_the_rows_of_a_walk_stand_in_at_most_eighteen_files() -> None:
    walks = (DOCS / "swap-out-and-in.md").read_text(encoding="utf-8").split("## Swap-in")
    files = [set(re.findall(r"^\| \d+ \| `([\w/]+\.rs)`", walk, re.MULTILINE)) for walk in walks]
    assert [len(names) for names in files] == [17, 16], "the page states these numbers"
