"""Facts about `replay_accesses` and its command: sums are right, limits hold, misuse prints one line."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import swapcore as sc
from helpers.command import assert_refused, json_of
from swapcore import workloads
from swapcore.cli import main
from swapcore.plot import plot_limits
from swapcore.results.accesses import AccessReplay
from swapcore.running import accesses as access_replay
from swapcore.running.accesses import replay_accesses, replay_over_limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from swapcore.workloads import Workload

Capture = pytest.CaptureFixture[str]

PAGES = 2048
MIB = 1 << 20


def sweeps() -> Workload:
    return workloads.scan(nr_pages=PAGES, nr_sweeps=3)


def popular() -> Workload:
    return workloads.zipf(nr_pages=PAGES, nr_accesses=20_000)


@pytest.fixture
def accesses_path(tmp_path: Path) -> str:
    path = tmp_path / "accesses.npz"
    page = np.arange(600, dtype="u4") % 200 * 3
    np.savez(path, page=page, write=(page % 2).astype("u1"))
    return str(path)


# Replays without limits on the group


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_without_limits_nothing_is_swapped(name: str) -> None:
    result = replay_accesses(name)
    work = workloads.load(name)
    assert (result.workload, result.accesses, result.oom_kills) == (name, work.nr_accesses, 0)
    assert 0 < result.writes < result.accesses
    assert 0 < result.first_touches <= result.accesses
    assert result.ns_per_access > 0
    assert result.counters["pswpout"] == result.counters["swpout_zero"] == result.verified_pages == 0
    assert (result.memory_max, result.swap_max) == ("max", "max")


def test_a_list_of_accesses_a_path_and_a_workload_are_all_taken(accesses_path: str) -> None:
    of_path = replay_accesses(accesses_path)
    page = array("I", [number % 200 * 3 for number in range(600)])
    accesses = sc.Accesses(page, bytes(number % 2 for number in page))
    for workload in (accesses, workloads.recorded(accesses)):
        other = replay_accesses(workload)
        assert (other.accesses, other.writes, other.first_touches) == (600, of_path.writes, 200)
    assert of_path.workload == accesses_path


def test_progress_is_told_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    replay_accesses(sweeps(), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, 3 * PAGES), (3 * PAGES, 3 * PAGES))


def test_result_is_json(accesses_path: str) -> None:
    result = replay_accesses(accesses_path)
    data = json.loads(result.to_json())
    assert set(data) == set(AccessReplay.__slots__)
    assert data["machine"]["swapcore"] == sc.__version__
    assert data["ns_per_access"] == result.ns_per_access


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"memory_max": "16M", "memcg": "disabled"},
            "memcg disabled knows no limits, not memory_max",
        ),
        ({"memory_max": "much"}, "'much'"),
        ({"memory_high": "16M", "memcg": "v1"}, "memory_high 16777216 is for memcg v2"),
        ({"swap_max": "16M", "memcg": "v1"}, "swap_max 16777216 of memcg v1 needs memory_max"),
        ({"zero_percent": 101.0}, "zero percent 101"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        replay_accesses(sweeps(), **options)


def test_no_limits_at_all_are_refused() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="0 limits are under the least, 1"):
        replay_over_limits("zipf", [])


# Replays under limits of the group


@pytest.mark.parametrize("memcg", ["v2", "v1"])
@pytest.mark.parametrize("make", [sc.Ram, sc.Zram], ids=lambda make: str(make.__name__))
@pytest.mark.parametrize("work", [sweeps, popular])
def test_a_limit_makes_pages_go_and_come_back_as_they_were(
    work: Callable[[], Workload], make: Callable[[str], sc.Ram], memcg: str
) -> None:
    result = replay_accesses(work(), make("64M"), memory_max="4M", memcg=memcg)
    counters = result.counters
    out_pages = counters["pswpout"] + counters["swpout_zero"]
    in_pages = counters["pswpin"] + counters["swpin_zero"]
    assert out_pages >= in_pages > 0
    # Every page that was swapped in was accessed, because a storage in memory has no readahead.
    assert result.verified_pages == in_pages
    assert result.memory_peak_bytes == 4 * MIB
    assert result.oom_kills == 0
    assert result.swap_peak_bytes is not None
    kept_bytes = 0 if memcg == "v1" else 4 * MIB
    assert result.swap_peak_bytes >= (result.first_touches * sc.PAGE_SIZE - kept_bytes) * 0.9
    assert counters["workingset_refault_anon"] >= in_pages * 0.99


def test_a_scan_gains_little_from_memory_and_popular_pages_much() -> None:
    counters = replay_accesses(sweeps(), memory_max="4M").counters
    # Half of the pages fit into `memory_max`, so each sweep after the first swaps at least the other half in,
    # whichever pages are resident.
    assert counters["pswpin"] + counters["swpin_zero"] > 0.45 * 2 * PAGES
    kept = replay_accesses(popular(), memory_max="4M").counters
    assert kept["pswpin"] + kept["swpin_zero"] < 0.3 * 20_000


def test_a_file_reads_ahead_and_every_page_is_proven(tmp_path: Path) -> None:
    storage = sc.File.create(tmp_path / "swap", "64M", sparse=True)
    result = replay_accesses(sweeps(), storage, memory_max="4M")
    assert result.verified_pages > PAGES
    assert result.counters["pgmajfault"] < result.counters["pswpin"]


def test_more_limit_is_less_traffic() -> None:
    sweep = replay_over_limits(popular(), ["2M", "4M", "6M", None])
    traffic = [run.counters["pswpin"] + run.counters["swpin_zero"] for run in sweep.runs]
    assert traffic == sorted(traffic, reverse=True)
    assert len(set(traffic)) == 4
    assert traffic[-1] == 0
    peaks = [run.memory_peak_bytes for run in sweep.runs]
    assert peaks[:3] == [2 * MIB, 4 * MIB, 6 * MIB]


def test_equal_seeds_do_the_same() -> None:
    def figures(seed: int) -> tuple[object, ...]:
        result = replay_accesses("build-like", memory_max="6M", seed=seed)
        return result.counters, result.memory_events, result.accesses, result.memory_peak_bytes

    assert figures(3) == figures(3)
    assert figures(3) != figures(4)


def test_swap_max_refuses_and_the_task_is_killed() -> None:
    # `swap_max` is five pages more than whole batches of reclaim fill, so the last batch reaches `swap_max`.
    result = replay_accesses(sweeps(), memory_max="2M", swap_max=MIB + 5 * sc.PAGE_SIZE)
    assert result.oom_kills == 1
    assert result.accesses < PAGES
    assert result.swap_peak_bytes is not None
    # A refused charge briefly raises the usage, and so the peak, above the limit.
    assert result.swap_peak_bytes - MIB in (5 * sc.PAGE_SIZE, 6 * sc.PAGE_SIZE)
    assert result.swap_events["max"] == result.swap_events["fail"] > 0
    assert result.memory_events["oom"] >= 1
    assert result.memory_events["max"] > 0


def test_v1_limits_memory_and_swap_together() -> None:
    result = replay_accesses(sweeps(), memory_max="2M", swap_max="1M", memcg="v1")
    assert result.oom_kills == 1
    assert result.swap_peak_bytes == 3 * MIB
    assert result.counters["pswpout"] > 0


def test_swappiness_0_swaps_nothing_for_a_limit() -> None:
    result = replay_accesses(sweeps(), memory_max="2M", swappiness=0)
    assert (result.counters["pswpout"], result.counters["swpout_zero"], result.oom_kills) == (0, 0, 1)


@pytest.mark.parametrize("owner_store", ["shadow", "array", "cluster_table", "trampoline"])
def test_every_owner_store_loses_nothing(owner_store: str) -> None:
    result = replay_accesses("fork-heavy", memory_max="8M", switches={"owner_store": owner_store})
    assert result.switches["owner_store"] == owner_store
    assert result.verified_pages > 0
    assert result.oom_kills == 0


def test_a_policy_is_asked() -> None:
    class Counts:
        def __init__(self) -> None:
            self.pages = 0

        def on_swap_charge(self, group: object, nr_pages: int) -> None:
            assert str(getattr(group, "path", "")) == "/workload"
            self.pages += nr_pages

    policy = Counts()
    result = replay_accesses(sweeps(), memory_max="4M", policy=policy)
    assert policy.pages > 0
    assert policy.pages == result.counters["pswpout"] + result.counters["swpout_zero"]


def test_write_error_under_a_limit_ends_in_a_kill_and_not_in_lost_pages() -> None:
    storage = sc.Faulty(sc.Ram("64M"))
    storage.set_faults(write_error_probability=1.0)
    result = replay_accesses(sweeps(), storage, memory_max="4M", zero_percent=0)
    assert (result.oom_kills, result.counters["pswpin"]) == (1, 0)


# The command ``swapcore replay``


def test_command_takes_a_name_or_a_path(accesses_path: str, capsys: Capture) -> None:
    assert main(["replay", "scan"]) == 0
    assert "65536" in capsys.readouterr().out
    for arguments in ([accesses_path], ["--trace", accesses_path]):
        [run] = json_of(capsys, "replay", *arguments)["runs"]
        assert (run["workload"], run["accesses"], run["first_touches"]) == (accesses_path, 600, 200)


def test_command_still_replays_swap_operations(small_path: str, capsys: Capture) -> None:
    assert json_of(capsys, "replay", small_path)["ops"] == 5000


def test_command_prints_a_column_for_each_limit(capsys: Capture, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "limits.svg"
    limits = ["--memory-max", "8M,16M,max", "--swap-max", "64M"]
    assert main(["replay", "zipf", *limits, "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line.split() for line in lines if line}
    assert rows["memory limit"][-3:] == ["8M", "16M", "max"]
    assert rows["swap limit"][-3:] == ["64M"] * 3
    assert rows["access"][-1] == "ns"
    out_pages = [int(cell) for cell in rows["pswpout"][1:4]]
    assert out_pages[0] > out_pages[1] > out_pages[2] == 0
    assert "every page that came back is what was written" in lines[-1]
    assert picture.stat().st_size > 1000


def test_json_has_every_run(capsys: Capture) -> None:
    limits = ["--memory-max", "4M,8M", "--switch", "owner_store=array"]
    runs = json_of(capsys, "replay", "build-like", *limits)["runs"]
    assert [run["memory_max"] for run in runs] == [4 * MIB, 8 * MIB]
    assert {run["switches"]["owner_store"] for run in runs} == {"array"}
    assert tuple(runs[0]["memory_events"]) == access_replay.MEMORY_EVENTS
    assert tuple(runs[0]["swap_events"]) == access_replay.SWAP_EVENTS
    assert set(access_replay.COUNTERS) <= set(runs[0]["counters"])


@pytest.mark.parametrize("option", ["memory-max", "memory-high", "swap-max", "swappiness", "memcg"])
def test_limits_of_swap_operations_are_refused(option: str, small_path: str, capsys: Capture) -> None:
    words = f"{small_path} lists swap operations, which say what was swapped and not who touched what"
    arguments = ["replay", small_path, f"--{option}", "1"]
    assert_refused(capsys, arguments, f"swapcore: --{option} is for page accesses: {words}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scan", "--trace", "zipf"], "trace scan and --trace zipf are two, give one"),
        (["scan", "--read-percent", "50"], "--read-percent 50 is for swap operations, not for scan"),
        (["scan", "--switch", "owner_store"], "switch 'owner_store' is not of the form NAME=WORD"),
        (["scan", "--memory-max", "4M,"], "''"),
        (["nope"], "nope is neither a file nor one of"),
        (["scan", "--storage", "tape"], "'tape' is none of"),
        (["scan", "--memory-max", "4M", "--memcg", "disabled"], "memcg disabled knows no limits"),
    ],
    ids=str,
)
def test_misuse_is_one_line_and_exit_1(arguments: list[str], words: str, capsys: Capture) -> None:
    assert_refused(capsys, ["replay", *arguments], words)


def test_plot_of_one_run_without_a_limit_is_drawn(accesses_path: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_limits(replay_over_limits(accesses_path, [None]), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


# The tree of groups that ``swapcore show --memcg`` prints


def test_show_prints_the_tree_with_limits(capsys: Capture) -> None:
    assert main(["show", "--memcg"]) == 0
    heading, root, build, first, second, *_rest, last = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["NAME", "STATE"]
    # The root has no limits and no usage, because no page is charged to the root.
    assert root.split()[1:6] == ["online", "-", "/", "-", "-"]
    assert build.startswith("  build")
    assert (first[:8], second[:8]) == ("    job0", "    job1")
    assert "/ 3M" in first
    assert "/ 1M" in second
    assert last.startswith("build-like, ")


def test_show_json_has_what_the_tree_shows(capsys: Capture) -> None:
    data = json_of(capsys, "show", "--memcg", "--trace", "zipf")
    root = data["memcg"]
    [build] = root["children"]
    first, second = build["children"]
    assert root["memory_bytes"] is root["memory_max"] is None
    assert (root["path"], build["path"], first["path"]) == ("/", "/build", "/build/job0")
    assert (build["memory_max"], first["swap_max"], second["swap_max"]) == (8 * MIB, "max", MIB)
    # The workload has one process, which runs in the first of the two groups.
    assert 0 < first["memory_bytes"] <= 3 * MIB
    assert first["swap_bytes"] > 20 * MIB
    assert second["memory_bytes"] == second["swap_bytes"] == 0
    assert first["events"]["max"] > 0
    assert data["accesses"] == 200_000


def test_tree_of_the_older_hierarchy_has_words_for_no_limit() -> None:
    from swapcore import report

    swap = sc.Swap(memcg="v1")
    group = swap.memcg.create("group", memory_limit_in_bytes="4M")
    facts = report.memcg_dict(group)
    assert (facts["memory_max"], facts["swap_max"], facts["children"]) == (4 * MIB, "max", [])
    group.remove()
    assert report.memcg_dict(group)["is_online"] is False
