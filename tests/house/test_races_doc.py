"""Every test that docs/races.md names exists, and docs/races.md names every race test."""

from __future__ import annotations

import re

from helpers.places import ROOT

TESTS = re.compile(r"#\[test\]\s+fn (\w+)\(")


def test_every_race_has_its_test_and_every_test_its_race() -> None:
    named = set(re.findall(r"`(\w+_\w+)`", (ROOT / "docs/races.md").read_text(encoding="utf-8")))
    races = set()
    for path in (ROOT / "rust/core/src/races").glob("*.rs"):
        found = TESTS.findall(path.read_text(encoding="utf-8"))
        if path.stem != "shmem":
            races.update(found)
    known = races.union(
        *(TESTS.findall(path.read_text(encoding="utf-8")) for path in (ROOT / "rust").rglob("*.rs"))
    )
    assert races <= named
    assert named <= known
