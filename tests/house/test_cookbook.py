"""The cookbook and the examples: every block runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COOKBOOK = ROOT / "docs/cookbook.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def recipes() -> list[tuple[str, list[str]]]:
    """Returns each recipe that has code: its heading, and its blocks."""
    parts = re.split(r"^## (.*)\n", COOKBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [(heading, re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)) for heading, text in pairs]


def test_every_recipe_has_code() -> None:
    assert len(recipes()) >= 10
    assert [heading for heading, blocks in recipes() if not blocks] == []


def test_blocks_run_in_the_order_of_the_page() -> None:
    names: dict[str, object] = {}
    for heading, blocks in recipes():
        for block in blocks:
            # The name of the recipe is in the traceback of a block that fails.
            exec(compile(block, f"docs/cookbook.md, {heading}", "exec"), names)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path: Path) -> None:
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_limit_swap_by_age_bounds_the_hoard_and_leaves_the_cache_alone() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/limit_swap_by_age.py"], capture_output=True, text=True, check=True
    )
    cache, hoard = done.stdout.splitlines()
    assert re.match(r"cache: 50000 accesses, \d+ pages of swap at the peak, \d+ refused, 0 killed", cache)
    figures = r"(\d+) accesses, (\d+) pages of swap at the peak, (\d+) refused, 1 killed"
    found = re.match(f"hoard: {figures}", hoard)
    assert found is not None, hoard
    accesses, peak_pages, refused_pages = map(int, found.groups())
    assert accesses < 8192
    # Pages old, pages young, and those between two looks at the ages.
    assert peak_pages <= 2048 + 512 + 64
    assert refused_pages > 0
