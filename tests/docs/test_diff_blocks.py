"""The diffs of the documentation fit: the lines that a diff keeps or removes are in the file."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

import pytest
from helpers.pages import PAGES, blocks
from helpers.places import ROOT


class Change(NamedTuple):
    """The part of a diff that changes one file."""

    page: str
    path: str
    lines: list[str]

    @property
    def old(self) -> list[str]:
        """The lines that the file has before the change, in order."""
        return [line[1:] for line in self.lines if line[0] in " -"]

    @property
    def new(self) -> list[str]:
        """The lines that the change adds."""
        return [line[1:] for line in self.lines if line[0] == "+"]


def changes_of(page: str, code: str) -> list[Change]:
    """Returns the changes of a diff."""
    parts = re.split(r"^--- (\S+)\n", code, flags=re.MULTILINE)
    assert parts[0] == "", "a diff begins with the name of a file"
    return [
        Change(page, path, [line or " " for line in text.splitlines()])
        for path, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


CHANGES = [
    change
    for page in PAGES
    for block in blocks(page, "diff")
    for change in changes_of(block.name, block.code)
]


def missing(change: Change, text: str) -> str | None:
    """Returns the first line that a file does not have where the change expects it, or None."""
    have = iter(text.splitlines())
    return next((line for line in change.old if line not in have), None)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.page}-{change.path}")
def test_a_diff_fits_the_file_that_it_changes(change: Change) -> None:
    path = ROOT / change.path
    if change.old:
        assert missing(change, path.read_text(encoding="utf-8")) is None
    else:
        # A file that only gets lines is a new file, or lines for any place in it.
        assert path.parent.is_dir()
    if path.suffix == ".py" and not path.exists():
        ast.parse("\n".join(change.new))


def test_the_reader_of_diffs_sees_what_does_not_fit() -> None:
    (change,) = changes_of("page", "--- a.py\n first\n+new\n-last\n")
    assert (change.old, change.new) == (["first", "last"], ["new"])
    assert missing(change, "first\nmore\nlast\n") is None
    assert missing(change, "last\nfirst\n") == "last"
    assert len(CHANGES) >= 15
