"""The README's promises that can be checked."""

from __future__ import annotations

import re

from helpers.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_block_runs_as_it_stands() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_recipes_of_the_folio_page_run_as_they_stand() -> None:
    text = (ROOT / "docs/folios.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/folios.md", "exec"), {})


def test_recipes_of_the_page_on_virtual_swap_run_as_they_stand() -> None:
    text = (ROOT / "docs/virtual.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, object] = {}
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/virtual.md", "exec"), names)


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
