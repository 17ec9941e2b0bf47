"""Facts about the command line: exit codes, one-line errors, JSON, tables, util-linux options."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.command import assert_refused, json_of
from swapcore import report, trace, workloads
from swapcore.cli import COMMANDS, main
from swapcore.running.stacks import STORAGES

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def test_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swapcore", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in COMMANDS)


def test_version_is_that_of_the_package(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"swapcore {sc.__version__} (")


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["oracle"], ["compare", "--rounds", "x"], ["show", "--no"]]
)
def test_bad_usage_exits_with_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: swapcore" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "--trace", "nope"], "nope"),
        (["compare", "--strategy", "nope"], "nope"),
        (["compare", "--rounds", "0"], "rounds 0"),
        (["compare", "--size-pages", "1"], "size_pages 1"),
        (["compare", "--size-pages", "-1"], "size_pages -1"),
        (["compare", "--size-pages", "99999999999"], "size_pages 99999999999"),
        (["show", "--size-pages", "-1"], "-1"),
        (["stress", "--threads", "0"], "threads 0"),
        (["stress", "--seed", "-1"], "seed -1"),
        (["stress", "--seconds", "nan"], "seconds nan"),
        (["stress", "--pages", "99999999999"], "pages 99999999999"),
        (["stress", "--pages", "1", "--python"], "pages"),
        (["stress", "--profile", "v9"], "v9"),
        (["stress", "--threads", "0", "--python"], "threads 0"),
        (["show", "-o", "NAME,COLOUR"], "COLOUR"),
        (["show", "--trace", "/"], "/"),
    ],
    ids=str,
)
def test_error_is_one_line_and_exit_2(arguments: list[str], words: str, capsys: Capture) -> None:
    assert_refused(capsys, arguments, words)


def test_compare_prints_a_row_a_strategy(capsys: Capture, small_path: str) -> None:
    assert main(["compare", "--trace", small_path, "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["swap_table", "p3", "bitmap_ff"]
    assert "seed 1" in out


def test_compare_json_has_the_strategies_asked_for(capsys: Capture, small_path: str) -> None:
    options = ["--strategy=p3", "--strategy=swap_table", "--rounds=2", "--seed=9"]
    data = json_of(capsys, "compare", "--trace", small_path, *options)
    assert (data["rounds"], data["seed"], data["trace"]) == (2, 9, small_path)
    assert [row["strategy"] for row in data["results"]] == ["p3", "swap_table"]


def test_compare_finds_a_class_in_the_working_directory(
    capsys: Capture, small_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bump_allocator.py").write_text(
        "class Bump:\n"
        "    name, max_order = 'bump', 0\n"
        "    def __init__(self, *, size_pages, nr_cpus): self.next, self.end = 1, size_pages\n"
        "    def alloc(self, order, cpu):\n"
        "        self.next += 1\n"
        "        return self.next - 1 if self.next <= self.end else -1\n"
        "    def free(self, slot, nr, cpu): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in {"", str(tmp_path)}])
    options = ["--trace", small_path, "--strategy", "bump_allocator:Bump", "--rounds", "1"]
    [result] = json_of(capsys, "compare", *options)["results"]
    assert result["strategy"] == "bump"
    assert result["failures"]["0"] > 0, "nothing is ever freed"


def test_compare_list_names_every_workload_and_strategy(capsys: Capture) -> None:
    assert main(["compare", "--list"]) == 0
    names = {line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert names == {*trace.WORKLOADS, *workloads.WORKLOADS, *sc.Strategy.names, *STORAGES}


def oracle_case(tmp_path: Path, *, first_slot: int) -> str:
    lines = [
        {"op": "header", "case": "two", "family": "seq", "cluster": 512, "page_size": 4096, "ncpu": 1},
        {
            "op": "swapon", "type": 0, "pages": 2048, "usable": 2047, "prio": 1, "asked_prio": 1,
            "bad": [], "ssd": 1, "discard": "", "inuse": {"0": 0},
        },
        {"op": "alloc", "cpu": 0, "order": 0, "n": 1, "slots": [[0, first_slot, 1]], "inuse": {"0": 1}},
        {"op": "end", "cpu": 0, "inuse": {"0": 1}},
    ]  # fmt: skip
    path = tmp_path / f"two-{first_slot}.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_oracle_exits_0_when_all_agree(capsys: Capture, tmp_path: Path) -> None:
    assert main(["oracle", oracle_case(tmp_path, first_slot=1)]) == 0
    assert "1 of 1 cases agree" in capsys.readouterr().out


def test_oracle_exits_1_and_shows_line_lists_and_hints_when_one_diverges(
    capsys: Capture, tmp_path: Path
) -> None:
    paths = [oracle_case(tmp_path, first_slot=slot) for slot in (1, 2)]
    assert main(["oracle", *paths]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 cases agree" in out
    assert "line 3, alloc: expected swp(0:0x2)" in out
    assert "got swp(0:0x1)" in out
    assert "free=[1, 2, 3]" in out
    assert "frag[0]=[0]" in out
    assert "cpu 0 hints: o0 swp(0:0x2)" in out


def test_oracle_json_has_summary_and_cases(capsys: Capture, tmp_path: Path) -> None:
    paths = [oracle_case(tmp_path, first_slot=slot) for slot in (1, 2)]
    data = json_of(capsys, "oracle", *paths, code=1)
    assert (data["summary"]["cases"], data["summary"]["cases_agreed"]) == (2, 1)
    assert [case["is_agreed"] for case in data["cases"]] == [True, False]
    assert data["cases"][1]["divergence"]["line"] == 3


@pytest.mark.parametrize("arguments", [["/dev/null/case"], ["--profile", "v9"]])
def test_oracle_exits_2_when_a_case_cannot_be_replayed(
    arguments: list[str], capsys: Capture, tmp_path: Path
) -> None:
    assert main(["oracle", oracle_case(tmp_path, first_slot=1), *arguments]) == 2
    assert capsys.readouterr().err.startswith("swapcore: ")


@pytest.mark.parametrize("kind", ["rust", "python"])
def test_stress_ends_with_every_slot_accounted_for(kind: str, capsys: Capture) -> None:
    options = ["--python"] if kind == "python" else []
    data = json_of(capsys, "stress", "--threads=2", "--seconds=0.3", "--seed=4", "--pages=8192", *options)
    assert data["kind"] == kind
    assert (data["seed"], data["threads"], data["inuse_pages_end"], data["double_handouts"]) == (4, 2, 0, 0)
    assert data["ops"] > 100


def test_stress_prints_seed_and_units(capsys: Capture) -> None:
    assert main(["stress", "--threads=1", "--seconds=0.1", "--pages=4096", "--seed=77"]) == 0
    out = capsys.readouterr().out
    assert "seed 77" in out
    assert next(line for line in out.splitlines() if line.startswith("freed_slots")).endswith("slots")


def test_show_prints_the_columns_of_swapon_lists_and_map(capsys: Capture, small_path: str) -> None:
    assert main(["show", "--trace", small_path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "SIZE", "USED", "PRIO"]
    assert lines[1].split()[:2] == ["null0", "partition"]
    assert any(line.split() == ["NAME", "LIST", "CLUSTERS"] for line in lines)
    assert any(line.lstrip().startswith("0 |") for line in lines)


def test_show_raw_noheadings_and_columns_work_as_in_util_linux(capsys: Capture, small_path: str) -> None:
    options = ["show", "--trace", small_path, "--raw", "--noheadings", "--bytes"]
    assert main([*options, "-o", "name,pages,size"]) == 0
    name, pages, size = capsys.readouterr().out.split(" ")
    assert name == "null0"
    assert int(size) == int(pages) * sc.PAGE_SIZE


def test_show_until_stops_early_and_json_agrees(capsys: Capture, small_path: str) -> None:
    columns = trace.columns(small_path)
    used_pages = int(columns["nr"][:100].sum())
    assert not columns["op"][:100].any(), "the first operations only allocate"
    data = json_of(capsys, "show", "--trace", small_path, "--until", "100", "-o", "INUSE-PAGES,USED,PRIO")
    assert data["operations"] == 100
    assert data["swapdevices"] == [{"inuse-pages": used_pages, "used": used_pages * sc.PAGE_SIZE, "prio": -1}]
    # Slot 0, the header, counts as a used slot of its cluster but not as a used page of the device.
    assert sum(data["used_slots_by_cluster"]["null0"]) == used_pages + 1


def test_show_splits_what_does_not_fit_and_still_ends_with_the_right_pages(
    capsys: Capture, small_path: str
) -> None:
    columns = trace.columns(small_path)
    signs = 1 - 2 * columns["op"].astype(int)
    data = json_of(capsys, "show", "--trace", small_path, "--size-pages", "8192", "-o", "INUSE-PAGES")
    assert data["swapdevices"] == [{"inuse-pages": int((signs * columns["nr"]).sum())}]


def test_closed_pipe_is_no_traceback(small_path: str) -> None:
    program = shlex.join([sys.executable, "-m", "swapcore", "show", "--trace", small_path, "--json"])
    command = f"{program} | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("columns", ["80", "10"])
def test_table_on_a_terminal_keeps_odd_names_as_they_are(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = os.openpty()
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "dumb")
    with os.fdopen(child, "w") as terminal:
        report.print_table(["NAME", "ns/op"], [["[bold]x", "1.5"]], file=terminal)
        terminal.flush()
        text = ""
        # On a busy machine the text arrives in pieces. If a piece is missing, the read hangs and so fails the
        # test.
        while "1.5" not in text:
            text += os.read(parent, 4096).decode()
    os.close(parent)
    assert text.split() == ["NAME", "ns/op", "[bold]x", "1.5"]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0B"), (4096, "4K"), (1536 << 10, "1.5M"), (16 << 30, "16G"), (3 << 50, "3P")],
)
def test_sizes_read_as_in_util_linux(size_bytes: int, text: str) -> None:
    assert report.format_size(size_bytes) == text


def test_map_shows_free_and_full_only_where_they_are_exact() -> None:
    lines = report.fragmentation_map([0, 1 / 512, 0.5, 511 / 512, 1, 1], width=4)
    assert lines[0] == "0 | .+%|"
    assert lines[1] == "4 |@@|"


def progress_text(monkeypatch: pytest.MonkeyPatch, *, quiet_seconds: float, is_timed: bool) -> str:
    """Returns the terminal output of a progress bar during 0.7 s of work that is half done."""
    parent, child = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(report, "QUIET_SECONDS", quiet_seconds)
    with os.fdopen(child, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with report.progress("busy", 1.4 if is_timed else 10, is_timed=is_timed) as update:
            update(5)
            time.sleep(0.7)
        print("done", file=terminal, flush=True)
        text = os.read(parent, 65_536).decode()
    os.close(parent)
    return text


@pytest.mark.parametrize("is_timed", [False, True])
def test_progress_bar_appears_on_a_terminal_after_a_while(
    *, is_timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = progress_text(monkeypatch, quiet_seconds=0.05, is_timed=is_timed)
    assert "busy" in text
    assert "50%" in text if not is_timed else "%" in text


def test_short_work_shows_no_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress_text(monkeypatch, quiet_seconds=5, is_timed=False).strip() == "done"


def test_progress_off_a_terminal_is_silent(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "QUIET_SECONDS", 0)
    with report.progress("busy", 1) as update:
        update(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("picture", "words"),
    [("x.xyz", ".png, .svg, .pdf"), ("png", ".png"), ("no/such/x.png", "does not exist")],
)
def test_picture_that_cannot_be_written_is_refused_before_the_run(
    picture: str, words: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--trace", "no such trace", "--plot", picture])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "word"), [(["compare", "--rounds", "1"], "swap_table"), (["show"], "null0")], ids=str
)
def test_a_command_plots(
    command: list[str], word: str, capsys: Capture, small_path: str, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert main([*command, "--trace", small_path, "--plot", str(tmp_path / "picture.svg")]) == 0
    assert (tmp_path / "picture.svg").stat().st_size > 1000
    assert word in capsys.readouterr().out


# The child process sets the handler of SIGINT itself, because a shell ignores SIGINT in its background
# commands, and a child process inherits an ignored signal.
INTERRUPTIBLE = """
import signal
import sys
from swapcore.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def test_interrupted_stress_stops_at_once_and_says_so() -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, "stress", "--threads", "2", "--seconds", "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in errors
