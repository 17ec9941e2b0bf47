"""The commands of the documentation: those of swapcore run as printed, and all name what the repository has.

A block with the mark ``not run: REASON`` is only parsed, like a command of cargo, make, pip or pytest, and
like a command in the text of a page: its options, targets, paths and names must exist.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.pages import PAGES, Block, blocks, prose
from helpers.places import ROOT
from swapcore.cli import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = [block for page in PAGES for block in blocks(page, "sh")]
FILES = {block.saved_as: block.code for page in PAGES for block in blocks(page, "python") if block.saved_as}
"""The files that the pages tell readers to save."""

PROGRAMS = ("cargo", "make", "pytest", "python", "swapcore", "valgrind")
FOLDERS = ("benches", "docs", "examples", "tests")
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/[\w./-]+)?")


def commands(text: str) -> list[list[str]]:
    """Returns the words of each line with a command, without comments."""
    found = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words for words in found if words]


def inline(page: Path) -> list[list[str]]:
    """Returns the words of each command in the text of a page; the text wraps commands."""
    found = re.findall(rf"`((?:{'|'.join(PROGRAMS)})\s[^`]+)`", prose(page))
    return [shlex.split(text) for text in found]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder like a checkout, with the files that pages save; ``swapcore`` is a program."""
    for name in FOLDERS:
        (tmp_path / name).symlink_to(ROOT / name)
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    program = tmp_path / "bin" / "swapcore"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m swapcore "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def lines_to_run() -> dict[Block, list[str]]:
    """Returns the lines of swapcore by block; a command that several blocks have is run once."""
    found: dict[Block, list[str]] = {}
    seen: set[str] = set()
    for block in BLOCKS:
        for line in block.code.splitlines() if block.is_run else []:
            command = shlex.join(shlex.split(line, comments=True))
            if command.startswith("swapcore ") and command not in seen:
                seen.add(command)
                found.setdefault(block, []).append(line)
    return found


LINES = lines_to_run()


@pytest.mark.skipif(sc.is_debug_build, reason="with a debug build the commands take minutes")
@pytest.mark.parametrize("block", LINES, ids=lambda block: block.name)
def test_commands_of_swapcore_run_as_printed(block: Block, desk: Path) -> None:
    for line in LINES[block]:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, cwd=desk)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout, line
        if block.output is not None:
            assert done.stdout == block.output


@cache
def help_of(*program: str) -> str:
    """Returns the help text of a program of Python."""
    # pytest reads `benches/conftest.py`, which has an option of its own, and a debug build of swapcore warns.
    quiet = ["-W", "ignore::RuntimeWarning"]
    command = [sys.executable, *quiet, "-m", *program, "--help", *(quiet if program[0] == "pytest" else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def options(words: list[str]) -> list[str]:
    return [word.split("=")[0] for word in words if word.startswith("--")]


def unknown_to_swapcore(words: list[str]) -> list[str]:
    verbs = words[1:2] if words[1:2] and not words[1].startswith("-") else []
    if verbs and verbs[0] not in COMMANDS:
        return verbs
    return [name for name in options(words) if not re.search(rf"{name}\b", help_of("swapcore", *verbs))]


def unknown_to_cargo(words: list[str]) -> list[str]:
    core = ROOT / "rust" / "core"
    values = dict(pairwise(words))
    places = {"--bench": core / "benches", "--example": core / "examples", "--test": core / "tests"}
    found = [
        values[option]
        for option, folder in places.items()
        if option in values and values[option] != "NAME" and not (folder / f"{values[option]}.rs").exists()
    ]
    manifests = [tomllib.loads(path.read_text()) for path in ROOT.glob("rust/*/Cargo.toml")]
    packages = {manifest["package"]["name"] for manifest in manifests}
    found += [name for option, name in values.items() if option == "-p" and name not in packages]
    if "--lib" in values and not (core / "src" / values["--lib"]).exists():
        found.append(values["--lib"])
    return found


def unknown_to_pip(words: list[str]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [extra for word in words for extra in re.findall(r"\.\[([\w,]+)\]", word)]
    return [
        name for extra in extras for name in extra.split(",") if name not in project["optional-dependencies"]
    ]


def unknown(words: list[str]) -> list[str]:
    """Returns the options, targets, paths and names of a command that the repository does not have."""
    program = words[0].rpartition("/")[2]
    if program == "python" and words[1:2] == ["-m"]:
        program, words = words[2], words[2:]
    found = [word for word in words[1:] if PATH.fullmatch(word) and not (ROOT / word).exists()]
    match program:
        case "swapcore":
            found += unknown_to_swapcore(words)
        case "cargo":
            found += unknown_to_cargo(words)
        case "pip":
            found += unknown_to_pip(words)
        case "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            found += [word for word in words[1:] if word not in targets]
        case "pytest":
            found += [name for name in options(words) if name not in help_of("pytest", "benches")]
            classes = [value for option, value in pairwise(words) if option == "--strategy"]
            found += [name for name in classes if f"{name.partition(':')[0]}.py" not in FILES]
        case "python":
            pass
        case "valgrind":
            examples = [word.rpartition("/")[2] for word in words if "/examples/" in word]
            found += [name for name in examples if not (ROOT / f"rust/core/examples/{name}.rs").exists()]
        case _:
            found.append(program)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_what_the_repository_has(page: Path) -> None:
    found = [words for block in blocks(page, "sh") for words in commands(block.code)] + inline(page)
    assert {shlex.join(words): names for words in found if (names := unknown(words))} == {}


def test_a_block_that_is_not_run_says_why() -> None:
    reasons = [block.mark.removeprefix("not run: ") for block in BLOCKS if not block.is_run]
    assert 1 <= len(reasons) <= 5
    assert [reason for reason in reasons if not re.search(r"\d+ (s|MB|GB)\b|exit status is \d", reason)] == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("swapcore stress --no-such", ["--no-such"]),
        ("swapcore guess", ["guess"]),
        ("swapcore oracle tests/none", ["tests/none"]),
        ("cargo bench -p swapcore --bench none", ["none"]),
        ("cargo test -p none --lib storage", ["none"]),
        ("make none", ["none"]),
        (".venv/bin/python -m pytest tests/none", ["tests/none"]),
        ("pytest benches --strategy none:Strategy", ["none:Strategy"]),
        ("pip install -e '.[none]'", ["none"]),
        ("python examples/none.py", ["examples/none.py"]),
        ("valgrind target/debug/examples/none", ["none"]),
        ("sudo swapon", ["sudo"]),
    ],
)
def test_the_reader_of_commands_sees_what_is_missing(command: str, names: list[str]) -> None:
    assert unknown(shlex.split(command)) == names
