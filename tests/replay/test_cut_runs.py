"""Runs that were cut say so, workloads for another size say so, and made-up workloads take parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import swapcore as sc
from helpers.command import json_of
from swapcore import trace, workloads
from swapcore.cli import main
from swapcore.plot import plot_limits
from swapcore.running.accesses import replay_accesses, replay_over_limits
from swapcore.running.rerun import rerun

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]

# A group that may hold 1 MiB in memory and 1 MiB in swap kills the process of zipf, which has 32 MiB.
CUT = ["replay", "zipf", "--nr-ops", "5000", "--memory-max", "1M", "--swap-max", "1M"]


# Processes killed for want of memory


def test_a_killed_process_is_a_warning_a_mark_and_status_3(capsys: Capture) -> None:
    assert main(CUT) == 3
    out, err = capsys.readouterr()
    [warning] = err.splitlines()
    assert warning.startswith("swapcore: warning: memory limit 1M: 1 process was killed for want of memory, ")
    assert "of 5000 accesses were not done" in warning
    lines = out.splitlines()
    assert lines[1].split() == ["run", "CUT", "SHORT"]
    assert any(line.startswith("CUT SHORT: memory limit 1M: ") for line in lines)


def test_json_has_the_mark(capsys: Capture) -> None:
    [run] = json_of(capsys, *CUT, code=3)["runs"]
    assert run["is_cut_short"] is True
    assert (run["oom_kills"], run["nr_ops"]) == (1, 5000)
    assert 0 < run["skipped_accesses"] == 5000 - run["accesses"]


def test_allow_oom_makes_it_a_good_run(capsys: Capture) -> None:
    assert main([*CUT, "--allow-oom"]) == 0
    assert "swapcore: warning: " in capsys.readouterr().err


def test_a_whole_run_has_no_mark(capsys: Capture) -> None:
    assert main(["replay", "zipf", "--nr-ops", "5000"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "CUT" not in out
    [run] = json_of(capsys, "replay", "zipf", "--nr-ops", "5000")["runs"]
    assert (run["is_cut_short"], run["skipped_accesses"], run["accesses"]) == (False, 0, 5000)


def test_a_sweep_marks_the_runs_that_were_cut(capsys: Capture, tmp_path: Path) -> None:
    options = {"nr_ops": 5000, "swap_max": "1M"}
    sweep = replay_over_limits("zipf", ["1M", "64M"], **options)  # type: ignore[arg-type]
    assert [run.is_cut_short for run in sweep.runs] == [True, False]
    assert sweep.runs[1].cut == ""
    sweep.table()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["run", "CUT", "SHORT", "whole"]
    assert sum(line.startswith("CUT SHORT: ") for line in lines) == 1
    pytest.importorskip("matplotlib")
    plot_limits(sweep, tmp_path / "limits.svg")
    assert "cut short" in (tmp_path / "limits.svg").read_text()


def test_allow_oom_is_for_page_accesses(capsys: Capture, small_path: str) -> None:
    assert main(["replay", small_path, "--allow-oom"]) == 2
    assert "--allow-oom is for page accesses" in capsys.readouterr().err


def test_a_listing_of_a_cut_run_counts_the_kills(capsys: Capture) -> None:
    assert json_of(capsys, "show", "--memcg", "--nr-ops", "5000")["oom_kills"] >= 0


# Workloads for another size


SMALL = {"nr_ops": 2000, "workload_size_pages": 4096}


def test_a_workload_for_another_size_warns(capsys: Capture) -> None:
    command = ["compare", "mthp-mix", "--nr-ops", "2000", "--rounds", "1", "--strategy", "p3"]
    assert main([*command, "--size-pages", "8192"]) == 0
    out, err = capsys.readouterr()
    words = "mthp-mix was made for a device of 65536 slots, not of 8192; workload_size_pages=8192 makes"
    assert f"swapcore: warning: {words}" in err
    assert f"Warning: {words}" in out
    data = json_of(capsys, *command, "--size-pages", "8192")
    assert data["workload_size_pages"] == 65_536
    assert words in data["warnings"][0]
    capsys.readouterr()
    assert main([*command, "--size-pages", "8192", "--workload-size-pages", "8192"]) == 0
    assert capsys.readouterr().err == ""


def test_a_workload_on_its_own_size_or_the_default_does_not_warn() -> None:
    for options in ({}, {"size_pages": 4096}):
        result = sc.compare("mthp-mix", ["p3"], rounds=1, **SMALL, **options)  # type: ignore[arg-type]
        assert (result.warnings, result.workload_size_pages) == ((), 4096)


def test_a_recorded_workload_warns_on_a_device_that_cannot_hold_it(small_path: str) -> None:
    peak = trace.load(small_path).peak_pages
    result = sc.compare(small_path, ["p3"], rounds=1, size_pages=peak)
    assert result.warnings == (
        f"{small_path} has {peak} pages in use at its peak, which a device of {peak} slots cannot hold",
    )
    assert sc.compare(small_path, ["p3"], rounds=1, size_pages=peak + 1).warnings == ()


# Parameters of made-up workloads


@pytest.mark.parametrize("name", workloads.WORKLOADS)
@pytest.mark.parametrize("nr_ops", [1, 3000, 300_000])
def test_page_accesses_have_as_many_accesses_as_asked_for(name: str, nr_ops: int) -> None:
    work = workloads.load(name, nr_ops=nr_ops, seed=3)
    assert (work.nr_accesses, work.nr_ops, work.seed) == (nr_ops, nr_ops, 3)


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_a_replay_has_as_many_accesses_as_asked_for(name: str) -> None:
    result = replay_accesses(name, nr_ops=3000, workload_seed=3, is_verified=False)
    assert (result.accesses, result.nr_ops, result.workload_seed) == (3000, 3000, 3)


def test_the_head_of_a_workload_has_its_first_accesses() -> None:
    work = workloads.load("build-like")
    head = work.head(4000)
    assert head.nr_accesses == 4000
    assert head.steps[:3] == work.steps[:3]
    assert work.head(10**9) == work


def test_nr_ops_that_the_other_parameters_do_not_allow_is_refused() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="nr_ops 5000 is over the 100 accesses of this zipf"):
        workloads.load("zipf", nr_ops=5000, nr_accesses=100)
    with pytest.raises(sc.InvalidArgumentError, match="nr_ops 0 is under the least, 1"):
        workloads.load("zipf", nr_ops=0)


def test_the_seed_of_the_workload_is_not_the_seed_of_the_contents(capsys: Capture) -> None:
    command = ["replay", "zipf", "--nr-ops", "20000", "--memory-max", "8M"]
    runs = [
        json_of(capsys, *command, *seeds)["runs"][0]
        for seeds in (
            [],
            ["--workload-seed", "1"],
            ["--workload-seed", "2"],
            ["--seed", "2", "--workload-seed", "1"],
        )
    ]
    first_touches = [run["first_touches"] for run in runs]
    assert first_touches[0] == first_touches[1] == first_touches[3] != first_touches[2]


@pytest.mark.parametrize("command", ["compare", "replay", "show"])
def test_commands_of_swap_operations_take_them(command: str, capsys: Capture) -> None:
    data = json_of(capsys, command, "order0-churn", "--nr-ops", "1234", "--workload-seed", "5")
    assert data["operations" if command == "show" else {"replay": "ops"}.get(command, "nr_ops")] == 1234


@pytest.mark.parametrize("command", ["compare", "replay", "show"])
@pytest.mark.parametrize("option", ["--nr-ops", "--workload-seed"])
def test_a_recorded_workload_takes_none(command: str, option: str, capsys: Capture) -> None:
    assert main([command, "kernel-build", option, "5"]) == 2
    err = capsys.readouterr().err
    assert "kernel-build" in err
    assert "5" in err or option.removeprefix("--workload-").removeprefix("--").replace("-", "_") in err


def test_results_with_parameters_run_again() -> None:
    results: list[Any] = [
        sc.compare("mthp-mix", ["p3"], rounds=1, workload_seed=7, **SMALL),  # type: ignore[arg-type]
        sc.replay("fragment", nr_ops=3000, workload_seed=7),
        replay_accesses("scan", nr_ops=9000, workload_seed=7, memory_max="8M"),
    ]
    for result in results:
        again: Any = rerun(json.loads(result.to_json()))
        assert (again.workload_seed, again.to_dict().get("counters")) == (7, result.to_dict().get("counters"))
    assert rerun(json.loads(results[0].to_json())).nr_ops == 2000  # type: ignore[union-attr]


# Messages that do not contradict themselves


def test_a_name_of_the_other_kind_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"trace kernel-build has swap operations; .* zipf"):
        replay_accesses("kernel-build")
    for run in (sc.replay, sc.compare):
        with pytest.raises(sc.InvalidArgumentError, match=r"trace zipf has page accesses; .* kernel-build"):
            run("zipf")
    with pytest.raises(sc.InvalidArgumentError, match="trace nope is neither a file nor one of"):
        sc.replay("nope", nr_ops=5)
    with pytest.raises(sc.InvalidArgumentError, match="trace nope is neither a file nor one of"):
        workloads.load("nope", seed=5)
    path = tmp_path / "accesses.npz"
    np.savez(path, page=np.zeros(3, "u4"), write=np.zeros(3, "u1"))
    with pytest.raises(sc.InvalidArgumentError, match="nr_ops 5: only a workload that is made up takes it"):
        replay_accesses(path, nr_ops=5)
