"""Facts about the scripts for cgroup v2, whose values were computed by hand."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from helpers.places import DOCS, RECORDINGS
from swapcore.running.counters import replay_case
from swapcore.running.oracle import expand

if TYPE_CHECKING:
    from pathlib import Path

SCRIPTS = expand([RECORDINGS / "counters" / "by_hand"])

HEADER = {
    "name": "hand", "family": "memcg2", "memcg": "v2", "by_hand": True, "about": "A test.",
    "devices": [{"kind": "zram", "pages": 64}],
}  # fmt: skip


def known_differences() -> dict[str, list[str]]:
    """Returns the table of docs/fidelity.md: by script, the patterns of the keys that may differ."""
    text = (DOCS / "fidelity.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(memcg2-[\w-]+)` \| (.*?) \|", text, re.MULTILINE)
    return {script: re.findall(r"`([^`]+)`", keys) for script, keys in rows}


KNOWN = known_differences()


def head_of(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        head: dict[str, Any] = json.loads(file.readline())
    return head


def write(path: Path, *steps: dict[str, Any], **head: object) -> Path:
    """Writes a script with the numbers of its steps."""
    lines = [{**HEADER, **head}, *({"step": number, **step} for number, step in enumerate(steps))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_script_says_what_it_shows() -> None:
    assert len(SCRIPTS) >= 20
    for path in SCRIPTS:
        head = head_of(path)
        assert (head["name"], head["family"], head["memcg"]) == (path.stem, "memcg2", "v2")
        assert head["by_hand"] is True
        assert re.fullmatch(r"\w.+\.", head["about"])


def test_the_table_of_differences_names_scripts() -> None:
    assert KNOWN.keys() <= {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_agrees_but_for_the_differences_in_the_docs(path: Path) -> None:
    result = replay_case(path)
    unknown = [
        str(difference)
        for difference in result.differences
        if not any(fnmatch.fnmatchcase(difference.key, pattern) for pattern in KNOWN.get(result.case, []))
    ]
    assert unknown == []
    assert result.missing == ()
    assert result.compared > 0


def test_limits_and_usage_are_in_pages(tmp_path: Path) -> None:
    path = write(
        tmp_path / "hand.jsonl",
        {
            "op": ["group", "a", {"memory.max": 16, "memory.swap.max": "max", "memory.oom.group": 1}],
            "values": {"a.memory.max": 16, "a.memory.swap.max": "max", "a.memory.oom.group": 1},
        },
        {"op": ["proc", "p", "a"], "values": {"a.cgroup.events.populated": 1}},
        {"op": ["map", "p", "r", 8], "values": {}},
        {
            "op": ["fill", "p", "r", 0, 3],
            "values": {"a.memory.current": 3, "a.memory.stat.anon": 3, "root.memory.stat.anon": 3},
        },
        {"op": ["open", "f", "a", "memory.peak"], "values": {"open.f": 3}},
        {
            "op": ["zap", "p", "r", 0, 2],
            "values": {"a.memory.current": 1, "a.memory.stat.anon": 1, "root.memory.stat.anon": 1},
        },
        {"op": ["reset", "f"], "values": {"open.f": 1, "a.memory.peak": 3}},
        {"op": ["close", "f"], "values": {}, "gone": ["open.f"]},
    )
    result = replay_case(path)
    assert (result.differences, result.missing) == ((), ())


@pytest.mark.parametrize(
    ("op", "errno"),
    [
        (["cat", None, "memory.current"], 2),
        (["cat", None, "memory.stat"], 0),
        (["reclaim", None, 1], 11),
        (["reclaim", None, 1, 300], 22),
        (["reclaim", None, 0], 0),
    ],
    ids=str,
)
def test_the_root_group_has_few_files(tmp_path: Path, op: list[Any], errno: int) -> None:
    step: dict[str, Any] = {"op": op, "values": {}}
    assert replay_case(write(tmp_path / "hand.jsonl", {**step, "errno": errno})).is_agreed
    assert not replay_case(write(tmp_path / "hand.jsonl", {**step, "errno": 1})).is_agreed


def test_a_version_of_groups_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "hand.jsonl", memcg="v3")
    with pytest.raises(sc.InvalidArgumentError, match=r"line 1: .*v3"):
        replay_case(path)
