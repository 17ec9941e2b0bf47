"""Facts about ``swapcore oracle`` with recordings of counters: its table, its JSON and its exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from helpers.command import json_of
from helpers.places import RECORDINGS
from swapcore.cli import main

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def case(tmp_path: Path, name: str, *, rss: int) -> str:
    """Writes a case of family ``f`` that agrees if ``rss`` is 4."""
    lines: list[dict[str, Any]] = [
        {"name": name, "family": "f", "devices": []},
        {"step": 0, "op": ["group", "a"], "values": {}},
        {"step": 1, "op": ["proc", "p", "a"], "values": {}},
        {"step": 2, "op": ["map", "p", "r", 8], "values": {}},
        {
            "step": 3,
            "op": ["fill", "p", "r", 0, 4],
            "values": {"a.stat.rss": rss, "p.r.resident": rss, "vm.no_such": 1},
        },
    ]
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_a_case_that_agrees_is_good(capsys: Capture, tmp_path: Path) -> None:
    assert main(["oracle", case(tmp_path, "same", rss=4)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[0] == "family"
    assert [line.split()[:5] for line in out.splitlines()[1:3]] == [
        ["f", "1", "1", "2", "2"],
        ["all", "1", "1", "2", "2"],
    ]


def test_the_first_difference_of_a_case_is_shown(capsys: Capture, tmp_path: Path) -> None:
    paths = [case(tmp_path, "same", rss=4), case(tmp_path, "other", rss=5)]
    assert main(["oracle", *paths]) == 1
    out = capsys.readouterr().out
    assert "same" not in out
    assert "other: 0 of 2 values agree" in out
    assert 'step 3 ["fill", "p", "r", 0, 4]  a.stat.rss: kernel 5, swapcore 4' in out
    assert "and 1 more, of 2 keys" in out
    assert "p.r.resident" not in out


def test_verbose_shows_every_difference_and_the_keys_without_a_value(capsys: Capture, tmp_path: Path) -> None:
    assert main(["oracle", "-v", case(tmp_path, "other", rss=5)]) == 1
    out = capsys.readouterr().out
    assert "p.r.resident: kernel 5, swapcore 4" in out
    assert "vm.no_such" in out


def test_json_has_families_and_cases(capsys: Capture, tmp_path: Path) -> None:
    paths = [case(tmp_path, "same", rss=4), case(tmp_path, "other", rss=5)]
    data = json_of(capsys, "oracle", *paths, code=1)
    assert data.keys() == {"counters"}
    families = data["counters"]["families"]
    assert [(sums["family"], sums["compared"], sums["agreed"]) for sums in families] == [
        ("f", 4, 2),
        ("all", 4, 2),
    ]
    same, other = data["counters"]["cases"]
    assert (same["is_agreed"], other["is_agreed"]) == (True, False)
    assert other["differences"][0] == {
        "step": 3,
        "op": '["fill", "p", "r", 0, 4]',
        "key": "a.stat.rss",
        "kernel": "5",
        "swapcore": "4",
    }
    assert other["missing"] == ["vm.no_such"]


def test_one_command_replays_both_kinds(capsys: Capture, tmp_path: Path) -> None:
    slots = str(RECORDINGS / "bad.jsonl.gz")
    data = json_of(capsys, "oracle", slots, case(tmp_path, "same", rss=4))
    assert data["summary"]["cases"] == 1
    assert len(data["counters"]["cases"]) == 1
    assert main(["oracle", slots, case(tmp_path, "same", rss=4)]) == 0
    out = capsys.readouterr().out
    assert "1 of 1 cases agree" in out
    assert "values compared" in out
