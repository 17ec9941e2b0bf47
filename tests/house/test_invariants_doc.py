"""The invariants in docs/invariants.md are exactly the invariants that check() tests."""

from __future__ import annotations

import re

from helpers.places import ROOT

NUMBER = r"I[1-9]\d*"


def code() -> str:
    """Returns the source of check()."""
    return (ROOT / "rust/core/src/show/check/mod.rs").read_text(encoding="utf-8")


def listed_in_code() -> list[str]:
    """Returns the numbers of the `INVARIANTS` table, in table order."""
    table = re.search(r"const INVARIANTS\b.*?=\s*\[(.*?)^\];", code(), re.DOTALL | re.MULTILINE)
    assert table, "check.rs has a table named INVARIANTS"
    return re.findall(rf'\(\s*"({NUMBER})"', table[1])


def explained_in_doc() -> list[str]:
    """Returns the numbers at the start of list items of docs/invariants.md, in document order."""
    doc = (ROOT / "docs/invariants.md").read_text(encoding="utf-8")
    return re.findall(rf"^(?:[-*+]|\d+\.)\s+[*_`]*({NUMBER})\b", doc, re.MULTILINE)


def test_invariants_are_numbered_without_gaps() -> None:
    numbers = listed_in_code()
    assert numbers == [f"I{n}" for n in range(1, len(numbers) + 1)]
    assert len(numbers) >= 8, "the allocator alone has eight"


def test_document_explains_exactly_the_listed_invariants_in_order() -> None:
    assert explained_in_doc() == listed_in_code()


def test_every_listed_invariant_is_proven_somewhere() -> None:
    _, _, code_after_table = code().partition("];")
    further = [path.read_text(encoding="utf-8") for path in (ROOT / "rust/core/src/show/check").glob("*.rs")]
    proven = set(re.findall(rf'"({NUMBER})"', "".join([code_after_table, *further])))
    assert proven == set(listed_in_code())
