"""Options and fixtures of the benchmarks: the strategies to run, and the machine of a saved result."""

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
    """Adds the option ``--strategy``."""
    parser.addoption(
        "--strategy",
        action="append",
        default=[],
        metavar="NAME|MODULE:CLASS",
        help="benchmark this strategy too; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes pytest collect ``bench_*`` files and functions in this folder, but not in a run of the tests."""
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_")
    # The folder where pytest was called joins the import path, so that `--strategy MODULE:CLASS` finds
    # modules there.
    sys.path.insert(0, str(config.invocation_params.dir))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a benchmark with the argument ``strategy`` for each default strategy and each ``--strategy``."""
    if "strategy" in metafunc.fixturenames:
        specs = [*DEFAULT_STRATEGIES, *metafunc.config.getoption("strategy")]
        try:
            names = [name_of(spec) for spec in specs]
        except sc.InvalidArgumentError as error:
            raise pytest.UsageError(error.strerror) from error
        metafunc.parametrize("strategy", specs, ids=names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips all benchmarks in a debug build, because times of a debug build mean nothing."""
    if sc.is_debug_build:
        for item in items:
            item.add_marker(pytest.mark.skip("swapcore is built with debug assertions; timings mean nothing"))


def pytest_benchmark_update_machine_info(machine_info: dict[str, object]) -> None:
    """Adds the package version and the kind of build to saved results."""
    machine_info["swapcore"] = report.machine()


@pytest.fixture
def note(benchmark: BenchmarkFixture) -> Callable[[str, int], None]:
    """Returns a function that adds the median time in ns per item to the result, unless timing is off."""

    def add(name: str, nr_items: int) -> None:
        if benchmark.stats is not None:
            benchmark.extra_info[name] = benchmark.stats.stats.median * 1e9 / nr_items

    return add
