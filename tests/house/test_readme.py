"""Tests of the statements in README.md that a test can check."""

from __future__ import annotations

import re

from helpers.pages import run_blocks
from helpers.places import DOCS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_of_a_page_run_as_they_stand() -> None:
    assert run_blocks(ROOT / "README.md")
    assert len(run_blocks(DOCS / "folios.md")) == 5
    assert len(run_blocks(DOCS / "virtual.md", {})) == 3


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert "docs/compare.png" in links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


def test_both_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    commands = re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE)
    assert commands[:2] == ["demo", "test"]
    assert set(commands) <= set(targets)
