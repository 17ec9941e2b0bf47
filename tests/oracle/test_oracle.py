"""Facts about the oracle: every recorded kernel case agrees with swapcore, and a changed case does not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from helpers.places import RECORDINGS, ROOT
from swapcore.running.oracle import expand, replay, replay_case

if TYPE_CHECKING:
    from swapcore.results.oracle import CaseResult

Lines = list[dict[str, Any]]
Replayed = Callable[[Lines], "CaseResult"]

CASES = ROOT.parent / "shared" / "oracle" / "cases"
SHARED_FILES = expand([CASES]) if CASES.is_dir() else []
# Recordings of this repository, with other parameters than the shared cases in every family of workloads.
# Each workload was recorded three times, with equal files.
OWN_FILES = expand([RECORDINGS])

HEADER = {"op": "header", "case": "hand", "family": "hand", "cluster": 512, "page_size": 4096, "ncpu": 2}
CASE: Lines = [
    HEADER,
    {
        "op": "swapon",
        "type": 0,
        "pages": 2048,
        "usable": 2046,
        "prio": 10,
        "asked_prio": 10,
        "bad": [700],
        "ssd": 1,
        "discard": "",
        "inuse": {"0": 0},
    },
    {"op": "note", "text": "nothing happens here", "inuse": {"0": 0}},
    {"op": "alloc", "cpu": 0, "order": 0, "n": 8, "slots": [[0, 1, 8]], "inuse": {"0": 8}},
    {"op": "alloc", "cpu": 1, "order": 4, "n": 2, "slots": [[0, 1024, 32]], "inuse": {"0": 40}},
    {"op": "dup", "cpu": 0, "slots": [[0, 1, 4]], "inuse": {"0": 40}},
    {"op": "put", "cpu": 0, "why": "fault-r", "cache": 1, "slots": [[0, 1, 2]], "inuse": {"0": 40}},
    {"op": "put", "cpu": 0, "why": "exit", "cached": 1, "slots": [[0, 1, 2]], "inuse": {"0": 40}},
    {"op": "reuse", "cpu": 0, "slots": [[0, 1, 1]], "inuse": {"0": 40}},
    {"op": "free", "cpu": 0, "why": "write", "slots": [[0, 2, 1]], "inuse": {"0": 39}},
    {"op": "put", "cpu": 0, "why": "fault-w", "slots": [[0, 3, 2]], "inuse": {"0": 39}},
    {"op": "free", "cpu": 0, "why": "exit", "slots": [[0, 1, 1], [0, 3, 6]], "inuse": {"0": 32}},
    {"op": "alloc", "cpu": 0, "order": 9, "n": 1, "slots": [[0, 1536, 512]], "inuse": {"0": 544}},
    {"op": "alloc", "cpu": 0, "order": 9, "n": 2, "fail": 1, "slots": [], "inuse": {"0": 544}},
    {"op": "settle", "ms": 10, "inuse": {"0": 544}},
    {"op": "swapoff", "type": 0, "slots": [[0, 1024, 32], [0, 1536, 512]], "inuse": {}},
    {"op": "end", "cpu": 0, "inuse": {}},
]
"""A case with each operation once, on one device with a bad page."""


def tampered(line: int, **changes: object) -> Lines:
    """Returns `CASE` with changes in one line; lines count from 1."""
    return [{**old, **changes} if number == line else old for number, old in enumerate(CASE, 1)]


def write(path: Path, lines: Lines) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.fixture
def replayed(tmp_path: Path) -> Replayed:
    """Returns a function that writes lines to a file and replays the file."""
    return lambda lines: replay_case(write(tmp_path / "hand.jsonl", lines))


def first_divergence(result: CaseResult) -> tuple[int, str]:
    assert result.divergence is not None
    return result.divergence.line, result.divergence.op


@pytest.mark.skipif(not SHARED_FILES, reason="no recorded cases in ../shared/oracle/cases")
def test_shared_cases_are_all_here() -> None:
    manifest = json.loads((CASES / "MANIFEST.json").read_text())
    assert len(SHARED_FILES) >= 58
    assert {path.name for path in SHARED_FILES} == {case["file"] for case in manifest.values()}


def test_own_recordings_are_of_every_family() -> None:
    families = set()
    for path in OWN_FILES:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            families.add(json.loads(next(lines))["family"])
    assert len(OWN_FILES) == 33
    assert {"seq", "churn", "forkdup", "lazy", "cacheonly", "overflow", "onoff", "mixed"} <= families


@pytest.mark.parametrize("path", [*OWN_FILES, *SHARED_FILES], ids=lambda path: path.name)
def test_recorded_case_agrees_on_every_slot_and_state(path: Path) -> None:
    result = replay_case(path)
    assert result.divergence is None, str(result.divergence)
    assert result.slots_agreed == result.slots > 0
    assert result.allocations > 0


def test_every_operation_agrees_on_the_hand_written_case(replayed: Replayed) -> None:
    result = replayed(CASE)
    assert result.divergence is None, str(result.divergence)
    assert (result.case, result.family, result.profile) == ("hand", "hand", "v618")
    assert (result.allocations, result.slots, result.slots_agreed, result.frees) == (13, 552, 552, 8)
    assert result.agreement == 1


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        (2, {"usable": 2047}),
        (2, {"prio": 9}),
        (2, {"inuse": {"0": 1}}),
        (4, {"slots": [[0, 1, 7], [0, 9, 1]]}),
        (4, {"slots": [[7, 1, 8]]}),
        (4, {"inuse": {"0": 7}}),
        (5, {"slots": [[0, 512, 32]]}),
        (5, {"cpu": 0, "order": 0, "n": 32}),
        (5, {"fail": 1, "slots": []}),
        (6, {"slots": [[0, 8, 4]]}),
        (7, {"slots": [[0, 9, 1]]}),
        (8, {"cached": 0}),
        (9, {"inuse": {"0": 39}}),
        (9, {"slots": [[0, 3, 1]]}),
        (10, {"slots": [[0, 5, 2]]}),
        (10, {"why": "work"}),
        (11, {"slots": [[0, 3, 3]]}),
        (12, {"slots": [[0, 1, 1], [0, 3, 7]]}),
        (13, {"slots": [[0, 512, 512]]}),
        (14, {"order": 0}),
        (16, {"slots": [[0, 1024, 32], [0, 1536, 511]]}),
        (16, {"slots": [[0, 1023, 33], [0, 1536, 512]]}),
    ],
    ids=str,
)
def test_tampered_line_is_found(replayed: Replayed, line: int, changes: dict[str, Any]) -> None:
    result = replayed(tampered(line, **changes))
    assert not result.is_agreed
    assert first_divergence(result) == (line, CASE[line - 1]["op"])


RECLAIM = {"op": "free", "cpu": 0, "why": "reclaim", "slots": [[0, 1, 1]], "inuse": {"0": 31}}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        pytest.param([*CASE[:12], RECLAIM, *CASE[12:]], (14, "alloc"), id="never cached"),
        pytest.param([*CASE[:15], RECLAIM, CASE[16]], (17, "end"), id="never cached, no allocation after"),
        pytest.param([*CASE[:4], {"op": "end", "cpu": 0, "inuse": {"0": 7}}], (5, "end"), id="left in use"),
    ],
)
def test_slots_that_were_not_cached_or_stay_in_use_are_found_later(
    replayed: Replayed, lines: Lines, found: tuple[int, str]
) -> None:
    assert first_divergence(replayed(lines)) == found


def test_divergence_tells_both_sides_and_the_lists(replayed: Replayed) -> None:
    result = replayed(tampered(4, slots=[[0, 1, 7], [0, 9, 1]]))
    assert result.divergence is not None
    assert "swp(0:0x9)" in result.divergence.expected
    assert "swp(0:0x8)" in result.divergence.got
    assert result.slots_agreed == 7
    assert result.agreement == 7 / result.slots
    device = result.divergence.dump["devices"][0]
    assert device["free"] == [2, 3]
    assert json.loads(json.dumps(result.to_dict()))["divergence"]["line"] == 4


@pytest.mark.skipif(not SHARED_FILES, reason="no recorded cases in ../shared/oracle/cases")
def test_recorded_case_with_one_slot_changed_is_caught_at_its_line(replayed: Replayed) -> None:
    lines = [json.loads(line) for line in (CASES / "steal-a.jsonl").read_text().splitlines()]
    number = [index for index, line in enumerate(lines) if line["op"] == "alloc" and line["slots"]][-1]
    kind, offset, nr = lines[number]["slots"][-1]
    lines[number]["slots"][-1] = [kind, offset + nr, nr]
    assert first_divergence(replayed(lines)) == (number + 1, "alloc")


def test_directory_and_compressed_cases_are_replayed_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl.gz", CASE)
    write(tmp_path / "a.jsonl", CASE)
    (tmp_path / "MANIFEST.json").write_text("{}")
    steps: list[tuple[int, int]] = []
    results = replay([tmp_path, tmp_path / "a.jsonl"], progress=lambda *step: steps.append(step))
    assert [Path(result.path).name for result in results] == ["a.jsonl", "b.jsonl.gz", "a.jsonl"]
    assert all(result.is_agreed for result in results)
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_other_profile_differs_where_the_kernels_do(tmp_path: Path) -> None:
    default_priority = tampered(2, asked_prio=None, prio=-2)
    path = write(tmp_path / "hand.jsonl", default_priority)
    assert replay_case(path).is_agreed
    assert first_divergence(replay_case(path, profile="newest")) == (2, "swapon")


@pytest.mark.parametrize(
    "lines",
    [
        CASE[1:],
        CASE[:-1],
        [{**HEADER, "cluster": 256}, *CASE[1:]],
        [{key: value for key, value in HEADER.items() if key != "ncpu"}, *CASE[1:]],
    ],
    ids=["header", "end", "cluster", "ncpu"],
)
def test_file_that_is_no_whole_case_is_refused(replayed: Replayed, lines: Lines) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"hand\.jsonl"):
        replayed(lines)


@pytest.mark.parametrize(
    ("right", "wrong", "line"), [('"swapoff"', '"swapoff', 16), ('0, "inuse": {}}', '0, "inuse": {}}\n3', 18)]
)
def test_line_that_is_no_json_or_no_object_is_named(
    tmp_path: Path, right: str, wrong: str, line: int
) -> None:
    path = write(tmp_path / "hand.jsonl", CASE)
    path.write_text(path.read_text().replace(right, wrong, 1))
    with pytest.raises(sc.InvalidArgumentError, match=rf"hand\.jsonl, line {line}"):
        replay_case(path)


@pytest.mark.parametrize(
    "change",
    [
        {"slots": None},
        {"slots": [[0, 1, 7]]},
        {"slots": [[0, -1, 8]]},
        {"slots": [["0", 1, 8]]},
        {"slots": [[0, 1]]},
        {"cpu": -1},
        {"op": "unheard-of"},
        {"inuse": 8},
    ],
    ids=str,
)
def test_malformed_line_is_refused_with_its_number(replayed: Replayed, change: dict[str, Any]) -> None:
    with pytest.raises(sc.InvalidArgumentError, match="line 4"):
        replayed(tampered(4, **change))


def test_missing_field_is_refused_with_its_line(replayed: Replayed) -> None:
    lines = [*CASE[:5], {key: value for key, value in CASE[5].items() if key != "slots"}, *CASE[6:]]
    with pytest.raises(sc.InvalidArgumentError, match="line 6"):
        replayed(lines)


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_path_without_cases_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(sc.InvalidArgumentError, match=name):
        expand([tmp_path / name])
