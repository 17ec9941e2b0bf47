"""Facts about recordings of counters: values that agreed keep agreeing, and every changed value is found."""

from __future__ import annotations

import fnmatch
import gzip
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from helpers.places import DOCS, RECORDINGS, ROOT
from swapcore.results.counters import by_family
from swapcore.running.counters import is_recording, replay_case
from swapcore.running.oracle import expand

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from swapcore.results.counters import CounterResult

Lines = list[dict[str, Any]]

SHARED = ROOT.parent / "shared" / "counters" / "cases"
OWN = expand([RECORDINGS / "counters"])

# Values of all shared cases, and how many of them agree, at least. A change that makes more values agree
# raises the number here.
FLOORS = {
    "memcg": (3276, 3271),
    "mthp": (3297, 3269),
    "ra": (3054, 3054),
    "refault": (18134, 18023),
    "zswap": (2871, 2862),
}

HEADER = {"name": "hand", "family": "hand", "devices": [{"kind": "zram", "pages": 1024}]}
CASE: Lines = [
    HEADER,
    {"step": 0, "op": ["group", "a", {"memory.limit_in_bytes": 128}], "values": {}},
    {"step": 1, "op": ["proc", "p", "a"], "values": {}},
    {"step": 2, "op": ["map", "p", "r", 16], "values": {}},
    {
        "step": 3,
        "op": ["fill", "p", "r", 0, 8],
        "values": {"a.stat.rss": 8, "p.r.resident": 8, "a.usage": 64, "a.memsw": 64, "a.stat.pgpgin": 8},
    },
    {
        "step": 4,
        "op": ["pageout", "p", "r", 0, 4],
        "values": {
            "vm.pswpout": 4, "dev0.used": 4, "a.stat.swap": 4, "a.stat.rss": 4,
            "p.r.swapped": "0-3", "p.r.resident": 4,
        },
        "gone": ["a.usage", "a.memsw"],
    },
    {
        "step": 5,
        "op": ["read", "p", "r", [[0, 2, 2]]],
        "values": {"vm.pswpin": 2, "dev0.used": 2, "a.stat.swap": 2, "p.r.swapped": "1,3", "p.r.resident": 6,
                   "a.stat.rss": 6, "a.stat.pgpgin": 10},
    },
    {"step": 6, "op": ["rmdir", "a"], "errno": 16, "values": {}},
    {"step": 7, "op": ["exit", "p"], "values": {"dev0.used": 0, "a.stat.swap": 0, "a.stat.rss": 0},
     "gone": ["p.r.swapped", "p.r.resident"]},
]  # fmt: skip
"""A small case that agrees."""


def tampered(step: int, **changes: object) -> Lines:
    """Returns `CASE` with other values at one step."""
    return [
        {**line, "values": {**line["values"], **changes}} if line.get("step") == step else line
        for line in CASE
    ]


def write(path: Path, lines: Lines) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.fixture
def replayed(tmp_path: Path) -> Callable[[Lines], CounterResult]:
    """Returns a function that writes lines to a file and replays the file."""
    return lambda lines: replay_case(write(tmp_path / "hand.jsonl", lines))


# Recordings of this repository


def known_differences() -> dict[str, tuple[int, int, list[str]]]:
    """Returns the table of docs/fidelity.md: values that agree, values compared, patterns of other keys."""
    text = (DOCS / "fidelity.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) of (\d+) \| (.*?) \|", text, re.MULTILINE)
    return {case: (int(agreed), int(of), re.findall(r"`([^`]+)`", keys)) for case, agreed, of, keys in rows}


KNOWN = known_differences()


def test_own_recordings_are_of_every_family() -> None:
    assert {path.name.partition("-")[0] for path in OWN} == FLOORS.keys()
    assert len(OWN) == 16
    assert sum(path.stat().st_size for path in OWN) < 200 << 10


def test_the_table_of_differences_names_recordings_of_this_repository() -> None:
    assert KNOWN.keys() <= {path.name.removesuffix(".jsonl.gz") for path in OWN}


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_a_recording_agrees_but_for_the_differences_in_the_docs(path: Path) -> None:
    assert is_recording(path)
    result = replay_case(path)
    agreed, compared, patterns = KNOWN.get(result.case, (result.compared, result.compared, []))
    unknown = [
        str(difference)
        for difference in result.first_by_key()
        if not any(fnmatch.fnmatchcase(difference.key, pattern) for pattern in patterns)
    ]
    assert unknown == []
    assert result.compared <= compared
    assert result.agreed >= agreed - (compared - result.compared)


# Recordings beside the repository


@pytest.mark.skipif(not SHARED.is_dir(), reason="no recordings in ../shared/counters/cases")
@pytest.mark.parametrize("family", FLOORS)
def test_shared_recordings_agree_as_far_as_they_did(family: str) -> None:
    results = [replay_case(path) for path in sorted(SHARED.glob(f"{family}-*.jsonl"))]
    assert {result.family for result in results} == {family}
    total = by_family(results)[0]
    nr_values, floor = FLOORS[family]
    assert total.compared <= nr_values
    assert total.agreed >= floor, f"{total.agreed} of {total.compared} values agree"


# The format and the comparison


def test_a_case_that_agrees(replayed: Callable[[Lines], CounterResult]) -> None:
    result = replayed(CASE)
    assert result.differences == ()
    assert result.is_agreed
    assert (result.case, result.family, result.profile, result.steps) == ("hand", "hand", "v618", 8)
    assert (result.compared, result.agreed, result.missing) == (34, 34, ())


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (3, {"a.stat.rss": 9}),
        (4, {"vm.pswpout": 5}),
        (4, {"p.r.swapped": "0-2"}),
        (4, {"dev0.used": {"min": 5, "max": 9}}),
        (4, {"p.r.swapped": {"any": ["0-2", "1-3"]}}),
        (5, {"p.r.resident": 7}),
        (7, {"a.stat.swap": 1}),
    ],
    ids=str,
)
def test_a_changed_value_is_found_at_its_step(
    replayed: Callable[[Lines], CounterResult], step: int, changes: dict[str, Any]
) -> None:
    first = replayed(tampered(step, **changes)).differences[0]
    assert (first.step, first.key) == (step, *changes)
    assert f"step {step} " in str(first)


def test_a_line_of_text_leaves_the_end_of_a_long_operation_out(
    replayed: Callable[[Lines], CounterResult],
) -> None:
    pages = [0, 2] * 100
    long = {**CASE[6], "op": ["read", "p", "r", pages], "values": {}}
    first = replayed([*CASE[:6], long]).differences[0]
    assert json.loads(first.op) == ["read", "p", "r", pages]
    assert len(str(first)) < 140
    assert str(first).endswith("...  a.stat.rss: kernel 4, swapcore 6")


@pytest.mark.parametrize(
    "changes",
    [
        {"dev0.used": {"min": 3, "max": 4}},
        {"p.r.swapped": {"any": ["1-4", "0-3"]}},
        {"zswap.pool_total_size": 7},
    ],
    ids=str,
)
def test_a_value_that_varied_agrees_within_its_limits(
    replayed: Callable[[Lines], CounterResult], changes: dict[str, Any]
) -> None:
    # Step 5 states the values again, so that the wide values hold at step 4 only.
    assert replayed(tampered(4, **changes)).is_agreed


@pytest.mark.parametrize(("kmem", "is_ok"), [(0, False), (1, True)])
def test_kernel_memory_of_a_group_moves_charges_by_less_than_a_batch(
    replayed: Callable[[Lines], CounterResult], kmem: int, is_ok: bool
) -> None:
    usage = {"a.usage": 120, "a.kmem": kmem}
    assert replayed(tampered(3, **usage)).is_agreed == is_ok
    assert not replayed(tampered(3, **{**usage, "a.usage": 129})).is_agreed


def test_values_from_compare_from_on_count_anew(replayed: Callable[[Lines], CounterResult]) -> None:
    lines = [{**CASE[0], "compare_from": 4}, *CASE[1:]]
    assert {difference.key for difference in replayed(lines).differences} == {"vm.pswpout", "a.stat.pgpgin"}
    lines[5] = {**CASE[5], "values": {**CASE[5]["values"], "vm.pswpout": 0}}
    lines[6] = {**CASE[6], "values": {**CASE[6]["values"], "a.stat.pgpgin": 2}}
    result = replayed(lines)
    assert result.differences == ()
    assert result.compared == 22


def test_an_errno_is_compared_with_those_of_all_runs(replayed: Callable[[Lines], CounterResult]) -> None:
    def with_errno(errno: int | list[int]) -> Lines:
        return [*CASE[:7], {**CASE[7], "errno": errno}, CASE[8]]

    assert replayed(with_errno([0, 16])).is_agreed
    [difference] = replayed(with_errno(22)).differences
    assert (difference.step, difference.key, difference.swapcore) == (6, "errno", "16")


def test_a_process_that_is_killed_has_no_later_steps(replayed: Callable[[Lines], CounterResult]) -> None:
    lines: Lines = [
        {**HEADER, "devices": []},
        {"step": 0, "op": ["group", "a", {"memory.limit_in_bytes": 4}], "values": {}},
        {"step": 1, "op": ["proc", "p", "a"], "values": {}},
        {"step": 2, "op": ["map", "p", "r", 16], "values": {}},
        {"step": 3, "op": ["fill", "p", "r", 0, 8], "errno": 12, "values": {"a.stat.pgpgin": 4}},
        {"step": 4, "op": ["read", "p", "r", [0]], "errno": 3, "values": {}},
        {"step": 5, "op": ["rmdir", "a"], "values": {}, "gone": ["a.stat.pgpgin"]},
    ]
    result = replayed(lines)
    assert result.differences == ()
    assert result.compared == 2


def test_a_key_without_a_value_is_missing_and_not_compared(
    replayed: Callable[[Lines], CounterResult],
) -> None:
    result = replayed(tampered(3, **{"vm.no_such_counter": 1}))
    assert result.is_agreed
    assert result.missing == ("vm.no_such_counter",)


def test_a_compressed_case_is_the_same(tmp_path: Path) -> None:
    assert replay_case(write(tmp_path / "hand.jsonl.gz", CASE)).is_agreed


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, {**HEADER, "devices": [{"kind": "tape", "pages": 8}]}),
        (1, {**HEADER, "devices": [{"kind": "zram"}]}),
        (4, {"step": 2, "op": ["map", "p", "r"], "values": {}}),
        (4, {"step": 2, "op": ["fly", "p"], "values": {}}),
        (4, {"step": 2, "op": [], "values": {}}),
        (4, {"step": "2", "op": ["proc", "q"], "values": {}}),
        (4, {"step": 2, "op": ["proc", "q"]}),
        (4, {"step": 2, "op": ["proc", "q"], "values": {"a.usage": 1.5}}),
        (5, {"step": 3, "op": ["fill", "p", "no region", 0, 8], "values": {}}),
        (5, {"step": 3, "op": ["swapoff", 7], "values": {}}),
    ],
    ids=str,
)
def test_a_malformed_line_is_named(tmp_path: Path, number: int, line: dict[str, Any]) -> None:
    path = write(tmp_path / "hand.jsonl", [*CASE[: number - 1], line, *CASE[number:]])
    with pytest.raises(sc.InvalidArgumentError, match=rf"hand\.jsonl, line {number}:"):
        replay_case(path)


@pytest.mark.parametrize("text", ["", "[]\n", '{"name": 1', '{"op": "header"}\n'])
def test_a_file_of_another_kind_is_no_recording_of_counters(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hand.jsonl"
    path.write_text(text)
    assert not is_recording(path)
    with pytest.raises(sc.InvalidArgumentError, match=r"hand\.jsonl, line 1"):
        replay_case(path)
