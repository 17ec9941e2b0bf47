"""Only the files of the table `UNSAFE_PIECES` contain unsafe code, and each piece has a SAFETY comment.

New unsafe code requires an edit of the table.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from helpers.places import ROOT
from helpers.rust_layers import TOKENS

if TYPE_CHECKING:
    from pathlib import Path

CRATES = ("rust/core", "rust/py")

UNSAFE_PIECES = {
    "rust/core/src/cluster/mod.rs": {"impl": 1},
    "rust/core/src/folio/data.rs": {"block": 2},
    "rust/core/src/folio/memory.rs": {"impl": 1},
    "rust/core/src/containers/zeroed.rs": {"block": 2},
    "rust/core/src/base/sync.rs": {"impl": 1, "fn": 1},
    "rust/core/src/table/mod.rs": {"impl": 1},
    "rust/core/src/table/owners.rs": {"impl": 1},
    "rust/core/src/table/virtual_word.rs": {"impl": 1},
    "rust/py/src/slots/batch.rs": {"block": 1, "fn": 1},
    "rust/py/src/folio.rs": {"block": 3, "fn": 2},
}
"""The number of unsafe blocks, impls and functions by file. docs/safety.md says why each piece is sound."""

REASON_LINES_MAX = 8
"""The maximum distance in lines from the start of a SAFETY comment to its piece of unsafe code."""

KINDS = {"{": "block", "impl": "impl", "fn": "fn", "extern": "fn"}
PIECE = re.compile(r"\bunsafe\s+(impl|fn|extern)\b|\bunsafe\s*(\{)")


def rust_files() -> list[Path]:
    """Returns the source files of both crates."""
    return sorted(path for crate in CRATES for path in (ROOT / crate).rglob("src/**/*.rs"))


def blank(text: str) -> str:
    """Replaces comments and literals by spaces, so that the code keeps its positions."""
    return TOKENS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def pieces(text: str) -> list[tuple[str, int]]:
    """Returns (kind, line number from 0) of every unsafe piece."""
    code = blank(text)
    return [
        (KINDS[match[1] or match[2]], code.count("\n", 0, match.start())) for match in PIECE.finditer(code)
    ]


def without_reason(text: str) -> list[tuple[str, int]]:
    """Returns the unsafe pieces without a SAFETY comment above them."""
    lines = text.splitlines()
    return [
        (kind, line)
        for kind, line in pieces(text)
        if not any(
            re.search(r"//.*\bSAFETY:", above) for above in lines[max(0, line - REASON_LINES_MAX) : line + 1]
        )
    ]


def test_unsafe_code_is_where_the_table_says() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): dict(
            Counter(kind for kind, _ in pieces(path.read_text(encoding="utf-8")))
        )
        for path in rust_files()
    }
    assert {path: kinds for path, kinds in found.items() if kinds} == UNSAFE_PIECES


def test_no_other_unsafe_word_escapes_the_count() -> None:
    for path in rust_files():
        text = path.read_text(encoding="utf-8")
        words = len(re.findall(r"\bunsafe\b", blank(text)))
        assert words == len(pieces(text)), path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sorted(UNSAFE_PIECES))
def test_every_unsafe_piece_states_its_reason(path: str) -> None:
    assert without_reason((ROOT / path).read_text(encoding="utf-8")) == []


def test_lints_deny_unsafe_code_in_both_crates() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    assert workspace["workspace"]["lints"]["rust"]["unsafe_code"] in ("deny", "forbid")
    for crate in CRATES:
        manifest = tomllib.loads((ROOT / crate / "Cargo.toml").read_text(encoding="utf-8"))
        assert manifest["lints"] == {"workspace": True}, crate


def test_no_file_allows_unsafe_code_without_a_reason() -> None:
    for path in rust_files():
        code = path.read_text(encoding="utf-8")
        for level, rest in re.findall(r"#!?\[(allow|expect|warn)\(unsafe_code([^\]]*)\]", code):
            assert level == "expect", path
            assert "reason" in rest, path


def test_counting_ignores_comments_and_strings() -> None:
    text = """
        // unsafe { in a comment }
        let words = "unsafe { in a string }";
        let raw = r#"unsafe fn "quoted" {"#;
        // SAFETY: the reason.
        #[expect(unsafe_code, reason = "..")]
        let value = unsafe { read() };
        unsafe impl Send for Cell {}
        unsafe
        {
        }
        unsafe fn call() {}
        unsafe extern "C" fn hook() {}
    """
    assert [kind for kind, _ in pieces(text)] == ["block", "impl", "block", "fn", "fn"]
    assert without_reason("// SAFETY: x\nunsafe { a() }\n" + "\n" * 20 + "unsafe { b() }") == [("block", 22)]
