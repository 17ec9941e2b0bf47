"""Every recipe of the cookbook has code, and every example runs unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers.places import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_every_recipe_has_code() -> None:
    page = (DOCS / "cookbook.md").read_text(encoding="utf-8")
    recipes = re.split("^## ", page, flags=re.MULTILINE)[1:]
    assert len(recipes) >= 10
    assert [recipe for recipe in recipes if "```python\n" not in recipe] == []


def output_of(path: Path) -> list[str]:
    """Runs an example and returns the lines that it prints."""
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path: Path) -> None:
    assert output_of(path)


def test_limit_swap_by_age_bounds_the_hoard_and_leaves_the_cache_alone() -> None:
    cache, hoard = output_of(ROOT / "examples/limit_swap_by_age.py")
    assert re.match(r"cache: 50000 accesses, \d+ pages of swap at the peak, \d+ refused, 0 killed", cache)
    figures = r"(\d+) accesses, (\d+) pages of swap at the peak, (\d+) refused, 1 killed"
    found = re.match(f"hoard: {figures}", hoard)
    assert found is not None, hoard
    accesses, peak_pages, refused_pages = map(int, found.groups())
    assert accesses < 8192
    # The group has at most 2,048 young pages, the budget of 512 old pages, and the pages of the 64 charges
    # between two readings of the ages in swap.
    assert peak_pages <= 2048 + 512 + 64
    assert refused_pages > 0
