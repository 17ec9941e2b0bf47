"""Reads the prose and the blocks of code of documentation pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from helpers.places import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
"""Every page with blocks of code."""

BUILDS_UP = "The Python blocks of this page build up: each runs after the blocks above it."
"""The first line of a page whose blocks use names of the blocks above them."""

FENCED = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of code of a page.

    ``line`` is the line of the fence above the code. ``mark`` is the text of an HTML comment on the line
    above the fence: ``not run: REASON``, or ``file: NAME`` for a block that the page tells readers to save.
    ``output`` is the text of a block ``text`` that follows, which shows what the block prints.
    """

    page: Path
    number: int
    line: int
    language: str
    code: str
    mark: str
    output: str | None

    @property
    def name(self) -> str:
        """Page and first line, for names of tests and for tracebacks."""
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether the block runs in the tests; a block that does not run is only parsed."""
        return not self.mark.startswith("not run: ")

    @property
    def saved_as(self) -> str | None:
        """The name of the file that the page tells readers to save the block in."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else None


def prose(page: Path) -> str:
    """Returns a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def all_blocks(page: Path) -> Iterator[Block]:
    """Yields the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = [*FENCED.finditer(text)]
    following = [*found[1:], None] if found else []
    for number, (match, after) in enumerate(zip(found, following, strict=True), 1):
        shows_output = (
            after is not None and after[2] == "text" and not text[match.end() : after.start()].strip()
        )
        line = text.count("\n", 0, match.start(2)) + 1
        output = after[3] if after is not None and shows_output else None
        yield Block(page, number, line, match[2], match[3], match[1] or "", output)


def blocks(page: Path, language: str) -> list[Block]:
    """Returns the blocks of a page that are in a language."""
    return [block for block in all_blocks(page) if block.language == language]


def builds_up(page: Path) -> bool:
    """Returns whether the first line of a page, after its heading, says that its blocks build up."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line]
    return lines[1].startswith(BUILDS_UP)
