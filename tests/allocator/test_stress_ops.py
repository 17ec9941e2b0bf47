"""Stress runs with a number of operations repeat their counters, and a failure prints its shortest run."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from helpers.command import json_of
from swapcore.cli import main
from swapcore.running.stress.data import DataProgram
from swapcore.running.stress.ops import OpsRun, StressError, shortest, stress_ops
from swapcore.running.stress.slots import SlotProgram

if TYPE_CHECKING:
    from collections.abc import Callable

Capture = pytest.CaptureFixture[str]

RUNS: dict[str, dict[str, Any]] = {
    "slots": {},
    "slots and swapoff": {"swapoff": True, "devices": 3},
    "data": {"data": True},
    "faults": {"faults": True},
    "faults and swapoff": {"faults": True, "swapoff": True},
    "groups": {"groups": 3, "swapoff": True},
    "zswap": {"zswap": "lz4"},
    "ghost": {"ghost": "8M", "swapoff": True},
    "all": {"faults": True, "swapoff": True, "groups": 3, "zswap": "lz4", "ghost": "8M"},
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("seed", [1, 2])
def test_equal_options_give_equal_counters(name: str, seed: int) -> None:
    how = OpsRun(ops=1500, seed=seed, **RUNS[name])
    first, second = stress_ops(how), stress_ops(how)
    assert first == second
    assert stress_ops(replace(how, seed=seed + 10)) != first
    assert first["counters"]["alloc_runs"] > 0
    assert how.has_data == (first["verified_pages"] > 0)
    assert how.swapoff == (first["swapoffs"] > 0)


def test_the_options_have_their_effects() -> None:
    result = stress_ops(OpsRun(ops=4000, seed=3, **RUNS["all"]))
    for name in ("io_errors", "swapoffs", "verified_pages", "limit", "move", "zswap", "resize"):
        assert result[name] > 0, name
    for name in ("read_errors", "zswpout", "pswpout", "pswpin", "swapoff_rmap_slots"):
        assert result["counters"].get(name, 0) > 0, name


@pytest.mark.parametrize("profile", ["v618", "p3", "series", "newest"])
def test_every_profile_runs(profile: str) -> None:
    for name in ("slots and swapoff", "faults and swapoff"):
        assert stress_ops(OpsRun(ops=600, profile=profile, **RUNS[name]))["ops"] == 600


COMMAND = ["stress", "--ops", "800", "--seed", "5"]


def test_the_command_gives_equal_counters_and_says_so(capsys: Capture) -> None:
    options = [*COMMAND, "--faults", "--swapoff"]
    first, second = (json_of(capsys, *options) for _ in range(2))
    assert first == second
    assert (first["kind"], first["is_deterministic"], first["ops"], first["seed"]) == ("ops", True, 800, 5)
    again = json_of(capsys, *shlex.split(first["command"])[1:])
    assert again == first
    assert main(COMMAND) == 0
    out = capsys.readouterr().out
    assert "One thread, deterministic: swapcore stress --ops 800 --seed 5 " in out


def forgets_a_page(program: DataProgram) -> None:
    """Zaps pages, but expects the first of them to keep its content: a page that gets lost."""
    task = program._task()  # noqa: SLF001
    first, nr = program._range(task)  # noqa: SLF001
    task.mm.zap(first, nr, cpu=program.cpu)
    for page in range(first - task.first_page + 1, first - task.first_page + nr):
        task.pages.pop(page, None)


def leaks_a_slot(program: SlotProgram) -> None:
    """Forgets a run of slots, as a leak would; the proof at the end sees it."""
    if program.held:
        program._take()  # noqa: SLF001


def breaks_an_invariant(program: SlotProgram) -> None:
    """Raises at the hundredth reference."""
    if program.counts["dup"] == 99:
        raise sc.InvariantError("I3: seeded")


BUGS: list[tuple[type[SlotProgram | DataProgram], str, Callable[..., None], list[str], str]] = [
    (DataProgram, "zap", forgets_a_page, ["--swapoff", "--faults"], "is not what was written"),
    (SlotProgram, "free_part", leaks_a_slot, [], "after everything was freed"),
    (SlotProgram, "dup", breaks_an_invariant, ["--swapoff"], "I3: seeded"),
]


@pytest.mark.parametrize(
    ("program", "name", "bug", "options", "words"), BUGS, ids=["page", "slot", "invariant"]
)
def test_a_seeded_bug_is_found_made_shorter_and_run_again(
    program: type, name: str, bug: Callable[..., None], options: list[str], words: str,
    capsys: Capture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(program, name, bug)
        assert main(["stress", "--ops", "3000", "--seed", "9", *options]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert words in err
        command = err.splitlines()[-1].removeprefix("swapcore: run it again with: ")
        words_of_command = shlex.split(command)
        nr_ops = int(words_of_command[words_of_command.index("--ops") + 1])
        assert 0 < nr_ops < 3000
        assert main(words_of_command[1:]) == 1
        err = capsys.readouterr().err
        assert words in err
        assert f"has {nr_ops} operations" in err
        # One operation less does not fail.
        words_of_command[words_of_command.index("--ops") + 1] = str(nr_ops - 1)
        assert nr_ops == 1 or main(words_of_command[1:]) == 0
        capsys.readouterr()
        data = json.loads(json_failure(capsys, [*words_of_command[1:], "--ops", str(nr_ops)]))
        assert (data["shortest_ops"], data["command"]) == (nr_ops, command)
    assert main(shlex.split(command)[1:]) == 0, "without the bug the same command is good"


def json_failure(capsys: Capture, arguments: list[str]) -> str:
    assert main([*arguments, "--json"]) == 1
    return capsys.readouterr().out


def test_the_search_tries_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlotProgram, "dup", breaks_an_invariant)
    how = OpsRun(ops=3000)
    with pytest.raises(StressError, match=r"operation [0-9]+: InvariantError: I3: seeded") as caught:
        stress_ops(how)
    found, nr_tries = shortest(how, caught.value)
    assert found.nr_ops == caught.value.nr_ops, "the operation that raises is the last one"
    assert 0 < nr_tries < 13


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ops", "0"], "ops 0 is under the least, 1"),
        (["--ops", "5", "--devices", "0"], "devices 0"),
        (["--ops", "5", "--groups", "-1"], "groups -1"),
        (["--ops", "5", "--threads", "2"], "--threads 2 with --ops: only a run of one thread can run again"),
        (["--ops", "5", "--seconds", "2"], "--seconds 2 and --ops 5 are two lengths"),
        (["--ops", "5", "--pages", "2"], "size 1 pages is outside"),
        (["--ops", "5", "--zswap", "brotli"], "brotli"),
        (["--ops", "5", "--ghost", "much"], "'much'"),
        (["--ops", "5", "--profile", "v9"], "v9"),
        (["--faults"], "--faults is for a run with --ops"),
        (["--groups", "2"], "--groups is for a run with --ops"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(arguments: list[str], words: str, capsys: Capture) -> None:
    assert main(["stress", *arguments]) == 2
    assert words in capsys.readouterr().err
