"""docs/conformance.md: each fact has a verdict, each fact that holds names a test, and the sums are right."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import pytest
from helpers.places import ROOT

PAGE = ROOT / "docs" / "conformance.md"
VERDICTS = ("holds", "differs", "none")


class Row(NamedTuple):
    """One fact of a document."""

    document: str
    label: str
    fact: str
    verdict: str
    why: str


def rows() -> list[Row]:
    """Returns the rows of all tables of facts, with the heading of their table."""
    found, document = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            document = line.removeprefix("## ")
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and re.fullmatch(r"[A-Z0-9]+-\d+", cells[0]):
            found.append(Row(document, *cells))
    return found


def test_each_fact_has_a_label_of_its_own_and_a_verdict() -> None:
    facts = rows()
    assert len(facts) >= 250
    assert [label for label, nr in Counter(row.label for row in facts).items() if nr > 1] == []
    assert [row for row in facts if row.verdict not in VERDICTS or not row.fact or not row.why] == []


def test_each_fact_that_holds_names_tests_that_exist() -> None:
    missing = []
    for row in rows():
        if row.verdict != "holds":
            continue
        tests = re.findall(r"`((?:tests|rust)/[\w/.]+)::(?:\w+::)*(\w+)`", row.why)
        if not tests:
            missing.append((row.label, "no test"))
        for path, name in tests:
            source = ROOT / path
            defined = rf"\b(def|fn) {name}\b"
            if not source.is_file() or not re.search(defined, source.read_text()):
                missing.append((row.label, f"{path}::{name}"))
    assert missing == []


@pytest.mark.parametrize("is_sum", [False, True], ids=["documents", "sum"])
def test_the_table_of_sums_is_right(is_sum: bool) -> None:
    facts = rows()
    names = ["all"] if is_sum else sorted({row.document for row in facts})
    for name in names:
        verdicts = Counter(row.verdict for row in facts if is_sum or row.document == name)
        numbers = [verdicts.total(), *(verdicts[verdict] for verdict in VERDICTS)]
        line = f"| {name} | " + " | ".join(map(str, numbers)) + " |"
        assert line in PAGE.read_text().splitlines()
