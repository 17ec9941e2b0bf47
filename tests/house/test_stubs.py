"""Facts about the types: the stubs agree with the extension. `make lint` runs mypy over the package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed (extra dev)"
)


def run_python(*arguments: str, cwd: Path) -> str:
    """Runs the interpreter in a folder and returns what it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


STUBTEST = """
import ast, sys, types
from importlib.resources import files
from mypy.stubtest import main
from swapcore import _core

# Each stub file becomes a module with the names that it takes from the extension, because stubtest compares
# an imported name only in the module that defines the name.
package = [file.name for file in files("swapcore").iterdir()]
stubs = sorted(name[:-4] for name in package if name.startswith("_core") and name.endswith(".pyi"))
for stub in stubs[1:]:
    module = sys.modules[f"swapcore.{stub}"] = types.ModuleType(f"swapcore.{stub}")
    for node in ast.parse(files("swapcore").joinpath(f"{stub}.pyi").read_text()).body:
        if hasattr(_core, getattr(node, "name", "")):
            setattr(module, node.name, getattr(_core, node.name))
sys.argv[1:] += [f"swapcore.{stub}" for stub in stubs]
sys.exit(main())
"""


def test_stub_agrees_with_the_rust_core(tmp_path: Path) -> None:
    allowlist = tmp_path / "allowlist"
    # Before Python 3.12, an object with the buffer protocol has no method `__buffer__` that stubtest could
    # find.
    hidden = [] if sys.version_info >= (3, 12) else ["memory.Folio", "entries.SwapBatch"]
    allowlist.write_text("\n".join(f"swapcore._core_{name}.__buffer__" for name in hidden))
    printed = run_python("-c", STUBTEST, "--allowlist", str(allowlist), cwd=tmp_path)
    nr_stubs = len([file for file in files("swapcore").iterdir() if file.name.endswith(".pyi")])
    assert f"{nr_stubs} modules" in printed, "every part is compared"


def test_package_tells_type_checkers_that_it_is_typed() -> None:
    assert files("swapcore").joinpath("py.typed").is_file()
    assert files("swapcore").joinpath("_core.pyi").is_file()
