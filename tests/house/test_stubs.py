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


def run(*arguments: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# `_core_memcg` and `_core_replay` are parts of the stub of `_core`. stubtest leaves out names that come from
# another stub, so it gets a module for each part, with the classes of `_core`.
STUBTEST = """
import sys, types
from mypy.stubtest import main
from swapcore import _core
PARTS = {"_core_memcg": ["MemCgroup"], "_core_replay": ["Accesses", "Strategy", "Trace", "stress"]}
for part, names in PARTS.items():
    module = types.ModuleType(f"swapcore.{part}")
    module.__all__ = names
    module.__dict__.update({name: getattr(_core, name) for name in names})
    sys.modules[module.__name__] = module
sys.exit(main())
"""


def test_stub_agrees_with_the_rust_core(tmp_path: Path) -> None:
    allowlist = tmp_path / "allowlist"
    # Before 3.12 the buffer protocol has no method that could be looked up.
    hidden = [] if sys.version_info >= (3, 12) else ["Folio", "SwapBatch"]
    names = [f"swapcore._core.{name}.__buffer__" for name in hidden]
    # A class of the binding has it as a part of `__getattribute__`.
    names.append("swapcore._core_memcg.MemCgroup.__getattr__")
    allowlist.write_text("\n".join(names))
    modules = [f"swapcore.{name}" for name in ("_core", "_core_memcg", "_core_replay")]
    run("-c", STUBTEST, "--allowlist", str(allowlist), *modules, cwd=tmp_path)


def test_package_is_strictly_typed(tmp_path: Path) -> None:
    # From another folder, so that mypy checks the installed package without our configuration.
    run("-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "swapcore", cwd=tmp_path)


def test_package_tells_type_checkers_that_it_is_typed() -> None:
    assert files("swapcore").joinpath("py.typed").is_file()
    for stub in ("_core.pyi", "_core_dicts.pyi", "_core_memcg.pyi", "_core_replay.pyi"):
        assert files("swapcore").joinpath(stub).is_file()
