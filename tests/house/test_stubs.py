"""Facts about the types: the stub agrees with the Rust core, and the package is strictly typed."""

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


STUBS = [
    file.name
    for file in files("swapcore").iterdir()
    if file.name.startswith("_core") and file.name.endswith(".pyi")
]


def run_module(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


STUBTEST = """
import ast, sys, types
from importlib.resources import files
from mypy.stubtest import main
from swapcore import _core

# Each part of the stub becomes a module with its names of the extension, because stubtest compares a name
# that a stub imports only in the module that defines the name.
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
    # Before 3.12 the buffer protocol has no method that could be looked up.
    hidden = [] if sys.version_info >= (3, 12) else ["memory.Folio", "entries.SwapBatch"]
    allowlist.write_text("\n".join(f"swapcore._core_{name}.__buffer__" for name in hidden))
    command = [sys.executable, "-c", STUBTEST, "--allowlist", str(allowlist)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(STUBS)} modules" in done.stdout, "every part is compared"


def test_package_is_strictly_typed(tmp_path: Path) -> None:
    # From another folder, so that mypy checks the installed package without our configuration.
    run_module("mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "swapcore", cwd=tmp_path)


def test_package_tells_type_checkers_that_it_is_typed() -> None:
    assert files("swapcore").joinpath("py.typed").is_file()
    assert files("swapcore").joinpath("_core.pyi").is_file()
