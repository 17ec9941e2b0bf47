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


def run_module(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_stub_agrees_with_the_rust_core(tmp_path: Path) -> None:
    allowlist = tmp_path / "allowlist"
    # Before 3.12 the buffer protocol has no method that could be looked up.
    hidden = [] if sys.version_info >= (3, 12) else ["Folio", "SwapBatch"]
    names = [f"swapcore._core.{name}.__buffer__" for name in hidden]
    # A class of the binding has it as a part of `__getattribute__`.
    names.append("swapcore._core.MemCgroup.__getattr__")
    # Files of a group are attributes by way of `__getattr__`; `test_stub_docs.py` compares their names.
    names.append(r"swapcore\._core\.MemCgroup\.memory_.*")
    allowlist.write_text("\n".join(names))
    run_module("mypy.stubtest", "--allowlist", str(allowlist), "swapcore._core", cwd=tmp_path)


def test_package_is_strictly_typed(tmp_path: Path) -> None:
    # From another folder, so that mypy checks the installed package without our configuration.
    run_module("mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "swapcore", cwd=tmp_path)


def test_package_tells_type_checkers_that_it_is_typed() -> None:
    assert files("swapcore").joinpath("py.typed").is_file()
    for stub in ("_core.pyi", "_core_dicts.pyi", "_core_memcg.pyi", "_core_replay.pyi"):
        assert files("swapcore").joinpath(stub).is_file()
