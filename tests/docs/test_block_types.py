"""The Python blocks of the documentation and the examples pass mypy's strict mode, and get no `Any`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from helpers import answers
from helpers.pages import PAGES, blocks, builds_up
from helpers.places import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed (extra dev)"
)

CONFIG = """
[mypy]
strict = True
disallow_any_explicit = True
follow_imports = silent
plugins = {plugin}
cache_dir = {cache}
"""

# A module that gets an `Any` from swapcore in line 8, which proves that the plugin of `helpers.answers` runs.
# The other lines say what the index of an array gives.
PROBE = """
from typing import assert_type
import numpy as np
import swapcore as sc
from numpy.typing import NDArray
from swapcore import report

report.memcg_dict(sc.Swap().memcg)
array = sc.Swap().mm().array((3, 3), np.int32)
assert_type(array, sc.MmArray[np.int32])
assert_type(array[1:2], NDArray[np.int32])
assert_type(array[..., 1], NDArray[np.int32])
assert_type(array[1, 2], np.int32 | NDArray[np.int32])
assert_type(np.asarray(array), NDArray[np.int32])
assert_type([block for _, block in array.blocks()], list[NDArray[np.int32]])
assert_type(sc.Swap().mm().array(3), sc.MmArray[np.float64])
assert_type(sc.Swap().mm().array(3, "u4"), sc.MmArray[np.generic])
"""


def write_modules(folder: Path) -> list[Path]:
    """Writes each block into a module of its own, and the blocks of a page that builds up into one module."""
    modules = {}
    for page in PAGES:
        code = {f"line_{block.line}": block.code for block in blocks(page, "python")}
        if code and builds_up(page):
            code = {"whole": "".join(code.values())}
        modules |= {f"{page.stem}_{name}.py".replace("-", "_"): text for name, text in code.items()}
    for name, text in modules.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.py"))


def test_blocks_and_examples_have_no_any(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    modules = [*write_modules(tmp_path), *sorted((ROOT / "examples").glob("*.py"))]
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE, encoding="utf-8")
    # The cache makes the second run fast. `make lint` has a cache of its own, because a cache is of one set
    # of options.
    cache = pytestconfig.cache.mkdir("mypy") if hasattr(pytestconfig, "cache") else tmp_path / "cache"
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG.format(plugin=answers.__file__, cache=cache), encoding="utf-8")
    package = Path(str(files("swapcore"))).parent
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, *modules, probe],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(package)},
    )
    assert f"(checked {len(modules) + 1} source files)" in done.stdout, done.stdout + done.stderr
    # An error in a file of the package is an error of `make lint`.
    errors = [line for line in done.stdout.splitlines() if ": error: " in line and str(package) not in line]
    # Mypy names a file by its path from the working directory.
    assert errors == ["probe.py:8: error: swapcore answers with dict[str, Any]  [misc]"], "\n".join(errors)
    assert len(modules) >= 16
