"""Fixtures for all tests: an environment independent of the shell, small workloads, hypothesis profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from hypothesis import HealthCheck, settings
from swapcore import trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL_PAGES = 8192

# Environment variables about the terminal, its colours and its width, which change the command line's output.
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

search = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", search)
# By default Hypothesis draws the same examples in every run, so that a failure repeats. The option
# `--hypothesis-profile=search` draws new examples in each run.
settings.register_profile("repeatable", search, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the environment variables with which the shell describes its terminal."""
    for name in TERMINAL_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def swap() -> Iterator[sc.Swap]:
    """Returns a subsystem of one CPU without a device; `Swap.check` runs after the test."""
    made = sc.Swap()
    yield made
    made.check()


@pytest.fixture
def faulty(swap: sc.Swap) -> sc.Faulty:
    """Returns a storage of 16 MiB, turned on in `swap`, that can inject failures."""
    storage = sc.Faulty(sc.Ram("16M"))
    swap.swapon(storage)
    return storage


@pytest.fixture(scope="session")
def small() -> sc.Trace:
    """Returns a small generated trace of swap operations that fits a device of 8192 pages."""
    return trace.as_trace(trace.mthp_mix(5_000, size_pages=SMALL_PAGES))


@pytest.fixture
def small_path(tmp_path: Path) -> str:
    """Returns the path of a trace file with the same workload as `small`."""
    path = tmp_path / "small.npz"
    np.savez(path, **trace.mthp_mix(5_000, size_pages=SMALL_PAGES))
    return str(path)
