"""For all tests: an environment that does not depend on the shell, small workloads, hypothesis profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from swapcore import trace

if TYPE_CHECKING:
    from pathlib import Path

    import swapcore as sc

SMALL_PAGES = 8192

# The terminal of the shell, its colours and its width change what the command line prints.
TERMINAL_VARIABLES = (
    "CLICOLOR_FORCE",
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "NO_COLOR",
    "PYTHONWARNINGS",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)

# The same examples in every run, so that a failure repeats. `--hypothesis-profile=search` draws others.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the variables by which the starting shell describes its terminal."""
    for name in TERMINAL_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def small() -> sc.Trace:
    """Returns a small made-up workload that fits a device of 8192 pages."""
    return trace.as_trace(trace.mthp_mix(5_000, size_pages=SMALL_PAGES))


@pytest.fixture
def small_path(tmp_path: Path) -> str:
    """Returns the path of a file with the same workload."""
    path = tmp_path / "small.npz"
    columns: dict[str, Any] = trace.mthp_mix(5_000, size_pages=SMALL_PAGES)
    np.savez(path, **columns)
    return str(path)
