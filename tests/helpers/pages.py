"""Reads the prose and the Python code blocks of documentation pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def prose(page: Path) -> str:
    """Returns a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def run_blocks(page: Path, names: dict[str, object] | None = None) -> list[str]:
    """Runs and returns the Python blocks of a page, each with new globals or all with ``names``."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for number, block in enumerate(blocks, 1):
        # The file name puts the page and the number of the block into a traceback.
        exec(compile(block, f"{page}, block {number}", "exec"), {} if names is None else names)
    return blocks
