"""Options and fixtures of the benchmarks: which strategies run, and on which machine a number was taken."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from swapcore import report
from swapcore.running.compare import DEFAULT_STRATEGIES
from swapcore.strategy import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--strategy``."""
    parser.addoption(
        "--strategy",
        action="append",
        default=[],
        metavar="NAME|MODULE:CLASS",
        help="benchmark this strategy too; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes pytest collect ``bench_*`` here and leaves them alone in a run of the tests."""
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_")
    # A class beside the user is found as with `python -m pytest`.
    sys.path.insert(0, str(config.invocation_params.dir))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a benchmark that takes ``strategy`` once for each default one and each given."""
    if "strategy" in metafunc.fixturenames:
        specs = [*DEFAULT_STRATEGIES, *metafunc.config.getoption("strategy")]
        try:
            names = [name_of(spec) for spec in specs]
        except sc.InvalidArgumentError as error:
            raise pytest.UsageError(error.strerror) from error
        metafunc.parametrize("strategy", specs, ids=names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips everything in a debug build: its numbers would be believed by somebody."""
    if sc.is_debug_build:
        for item in items:
            item.add_marker(pytest.mark.skip("swapcore is built with debug assertions; timings mean nothing"))


def pytest_benchmark_update_machine_info(machine_info: dict[str, object]) -> None:
    """Adds package version and kind of build to saved results."""
    machine_info["swapcore"] = report.machine()


@pytest.fixture
def note(benchmark: BenchmarkFixture) -> Callable[[str, int], None]:
    """Returns a function that adds the median per item to the result; there is none when timing is off."""

    def add(name: str, nr_items: int) -> None:
        if benchmark.stats is not None:
            benchmark.extra_info[name] = benchmark.stats.stats.median * 1e9 / nr_items

    return add
