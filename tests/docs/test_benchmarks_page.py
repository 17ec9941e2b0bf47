"""docs/benchmarks.md: the columns of swapcore are what its commands print now."""

from __future__ import annotations

import re
import shlex

import pytest
import swapcore as sc
from helpers.command import json_of
from helpers.pages import blocks
from helpers.places import DOCS, ROOT

PAGE = DOCS / "benchmarks.md"


@pytest.mark.skipif(sc.is_debug_build, reason="with a debug build the replay takes a minute")
def test_the_replay_of_the_compiler_has_the_counters_of_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = (block.code for block in blocks(PAGE, "sh") if "cc1-small" in block.code)
    exact, flushed = (
        json_of(capsys, *shlex.split(command)[1:], "--switch", f"memcg_stat={word}")["runs"]
        for word in ("exact", "flushed")
    )
    number = r"([\d,]+)"
    sides = rf" \| [^|]+ \| {number} \| {number}"
    row = re.compile(rf"^\| (\d+) MiB{sides}{sides} \|$", re.MULTILINE)
    shown = [[int(cell.replace(",", "")) for cell in cells] for cells in row.findall(PAGE.read_text())]
    counters = [(one["counters"], other["counters"]) for one, other in zip(exact, flushed, strict=True)]
    runs = [
        [run["memory_max"] >> 20, *(side[name] for name in ("pswpin", "pswpout") for side in both)]
        for run, both in zip(exact, counters, strict=True)
    ]
    assert len(runs) == 4
    assert shown == runs
