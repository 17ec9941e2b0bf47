"""Every Python block of the documentation runs as printed, alone or after the blocks of its page above it."""

from __future__ import annotations

import ast
import builtins
import doctest
from typing import TYPE_CHECKING

import pytest
import swapcore
from helpers.pages import BUILDS_UP, PAGES, Block, all_blocks, blocks, builds_up

if TYPE_CHECKING:
    from pathlib import Path

LANGUAGES = {"diff", "python", "sh", "text"}
BUILDING = [page for page in PAGES if builds_up(page)]
ALONE = [block for page in PAGES if page not in BUILDING for block in blocks(page, "python")]


def run(block: Block, names: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    """Runs a block, and compares what it prints with the output that the page shows."""
    # The name of the page and the lines of the page are in a traceback.
    code = compile("\n" * block.line + block.code, block.page, "exec")
    exec(code, names)
    printed = capsys.readouterr().out
    if block.output is not None:
        assert printed == block.output


@pytest.mark.parametrize("block", ALONE, ids=lambda block: block.name)
def test_block_runs_alone(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(block, {"__name__": "__main__"}, capsys)


@pytest.mark.parametrize("page", BUILDING, ids=lambda page: page.name)
def test_blocks_of_a_page_that_builds_up_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        run(block, names, capsys)


def foreign_names(code: str) -> set[str]:
    """Returns the names that a block uses and does not bind."""
    nodes = [*ast.walk(ast.parse(code))]
    named = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in named if not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {
        node.name
        for node in nodes
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.ExceptHandler)) and node.name
    }
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return {node.id for node in named} - bound - set(dir(builtins))


@pytest.mark.parametrize("page", BUILDING, ids=lambda page: page.name)
def test_a_page_that_says_so_builds_up(page: Path) -> None:
    assert any(foreign_names(block.code) for block in blocks(page, "python")), "each block can run alone"


def test_pages_have_the_known_languages_and_marks() -> None:
    found = [block for page in PAGES for block in all_blocks(page)]
    assert [block.name for block in found if block.language not in LANGUAGES] == []
    assert [block.mark for block in found if block.mark and block.is_run and block.saved_as is None] == []
    assert len(ALONE) >= 10
    assert len(BUILDING) >= 2
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert text.count("\n```") == 2 * len(found), "the reader sees each block"


def test_the_docstring_of_the_package_prints_what_it_shows() -> None:
    assert doctest.testmod(swapcore) == doctest.TestResults(failed=0, attempted=7)


def test_the_reader_sees_marks_and_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shown = (
        "<!-- file: a.py -->\n```python\nprint(1)\n```\n\n```text\n1\n```\n\nText.\n\n```text\nmore\n```\n"
    )
    page.write_text(f"# Page\n\n{BUILDS_UP}\n\n{shown}<!-- not run: takes long -->\n```sh\nswapcore\n```\n")
    assert builds_up(page)
    first, output, _, last = all_blocks(page)
    assert (first.name, first.code, first.saved_as, first.output) == (
        "page.md:6",
        "print(1)\n",
        "a.py",
        "1\n",
    )
    assert (output.language, last.is_run, last.code) == ("text", False, "swapcore\n")
