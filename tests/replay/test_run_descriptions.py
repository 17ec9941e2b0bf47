"""The JSON of a result describes its run completely: a run with these options gives equal counters."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from swapcore.running.accesses import AccessRun, replay_accesses, replay_over_limits
from swapcore.running.rerun import rerun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from swapcore import MemCgroup

# Keys of results whose values differ in a second run: times, and facts about the process and the machine.
TIMES = {"ns_per_access", "ns_per_page_in", "ns_per_page_out", "floor_ns_per_op", "machine"}
TIMES_OF_STRATEGIES = {"ns_per_op", "ns_per_op_quartiles", "ratio", "ratio_quartiles", "rounds_ns_per_op"}


class FewPages:
    """Hooks that refuse large folios."""

    def on_swap_charge(self, _group: MemCgroup, nr_pages: int) -> bool | None:
        return False if nr_pages > 1 else None


def without_times(data: dict[str, Any]) -> dict[str, Any]:
    if "results" in data:
        rows = [{k: v for k, v in row.items() if k not in TIMES_OF_STRATEGIES} for row in data["results"]]
        data = {**data, "results": rows}
    if "runs" in data:
        data = {**data, "runs": [without_times(run) for run in data["runs"]]}
    return {name: value for name, value in data.items() if name not in TIMES}


def assert_repeatable(result: Any, tmp_path: Path) -> None:  # noqa: ANN401 - any class of results
    path = tmp_path / "result.json"
    path.write_text(result.to_json(), encoding="utf-8")
    again = rerun(path)
    assert type(again) is type(result)
    assert without_times(json.loads(again.to_json())) == without_times(json.loads(result.to_json()))


def test_a_replay_of_accesses_runs_again_from_its_json(tmp_path: Path) -> None:
    result = replay_accesses(
        "zipf",
        sc.Zram("64M"),
        memory_max="8M",
        swap_max="64M",
        swappiness=100,
        switches={"owner_store": "cluster_table"},
        policy=FewPages(),
        zswap=sc.Zswap(max_pool_percent=10),
        memory="1G",
        zero_percent=30.0,
        random_percent=5.0,
        seed=7,
    )
    saved = json.loads(result.to_json())
    assert (saved["zero_percent"], saved["random_percent"]) == (30.0, 5.0)
    assert saved["policy"] == f"{__name__}:FewPages"
    assert_repeatable(result, tmp_path)


GHOST = sc.Ghost("1G", is_virtual=True)
RUNS: dict[str, Callable[[], object]] = {
    "sweep over limits": lambda: replay_over_limits("scan", ["8M", None], seed=3),
    "replay with folios": lambda: sc.replay(
        "order0-churn", ghost=GHOST, zswap="lz4", read_percent=50.0, zero_percent=20.0, seed=5
    ),
    "comparison": lambda: sc.compare("order0-churn", ["swap_table", "bitmap_ff"], rounds=2, seed=4),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_result_runs_again_from_its_json(name: str, tmp_path: Path) -> None:
    assert_repeatable(RUNS[name](), tmp_path)


def test_a_description_is_a_value() -> None:
    how = AccessRun(workload="scan", memory_max="8M")
    assert replace(how, seed=2) != how
    assert replace(how, seed=how.seed) == how
    with pytest.raises(AttributeError):
        how.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"storage": "Faulty(Ram(pages=256))"}, "cannot be made again"),
        ({"storage": "File('/dev/null/none')"}, "the file is gone"),
        ({"policy": "swapcore.policy:Missing"}, "cannot be made again"),
        ({"workload": "no such workload"}, "no such"),
    ],
)
def test_a_description_that_cannot_run_is_refused(change: dict[str, str], words: str) -> None:
    data = {**json.loads(replay_accesses("scan", seed=1).to_json()), **change}
    with pytest.raises(sc.InvalidArgumentError, match=words):
        rerun(data)


def test_json_that_is_no_result_is_refused() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="no result"):
        rerun({"answer": 42})
