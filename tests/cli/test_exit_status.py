"""Exit statuses of every command, ``--version``, shell completion, ``NO_COLOR`` and names of workloads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.command import json_of
from swapcore import _core, report, trace, workloads
from swapcore.cli import COMMANDS, main
from swapcore.cli.options import Status
from swapcore.running.stacks import STORAGES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def test_the_statuses_are_one_scheme_that_the_help_names(capsys: Capture) -> None:
    assert [status.value for status in Status] == [0, 1, 2, 3, 130]
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "0 good; 1 what was checked is not so; 2 usage; 3 the run was cut short; 130 interrupted" in text


def raises(error: BaseException) -> Callable[[object], int]:
    def run(_args: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (sc.InvariantError("I3"), 1),
        (sc.InvalidArgumentError(22, "rounds 0"), 2),
        (ModuleNotFoundError("plots need matplotlib"), 2),
        (sc.SwapIOError(5, "failed"), 3),
        (sc.SwapMemoryError(12, "no memory"), 3),
        (OSError(28, "No space left on device"), 3),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_the_status_of_its_kind(
    error: BaseException, status: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(COMMANDS["show"], "run", raises(error))
    assert main(["show"]) == status
    assert capsys.readouterr().err.startswith("swapcore: ")


def test_a_closed_pipe_is_a_run_cut_short(tmp_path: Path) -> None:
    program = f"{sys.executable} -m swapcore compare --list --json"
    command = f"( {program}; echo $? > {tmp_path}/status ) | true"
    subprocess.run(["sh", "-c", f"sleep 0; {command}"], check=True, capture_output=True)
    # The reader may be there for the whole output of a quick command, so a whole run is right too.
    assert (tmp_path / "status").read_text().strip() in {"0", "3"}


def test_version_has_the_facts_of_the_build(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    line = capsys.readouterr().out
    facts = _core.build_facts
    assert facts["build"] == ("debug" if sc.is_debug_build else "release")
    assert set(facts) == {"build", "opt-level", "target", "rustc", "abi3", "zstd"}
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", facts["rustc"])
    assert line.count("\n") == 1
    assert all(f"{name} {value}" in line for name, value in facts.items())
    assert "cpython 3." in line


def test_version_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom swapcore.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit: print(*sys.modules, sep='\\n')"
    )
    printed = subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], text=True)
    assert {"numpy", "rich", "shtab"}.isdisjoint(printed.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_names_every_command_and_option(shell: str, capsys: Capture) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", shell])
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert all(word in script for word in ("swap-max", "size-pages", "allow-oom"))


def test_a_bash_completion_works(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", "bash"])
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    ask = (
        f"source {tmp_path}/completion; COMP_WORDS=(swapcore re); COMP_CWORD=1; "
        "COMP_LINE='swapcore re'; COMP_POINT=11; "
        "function=$(complete -p swapcore | sed -E 's/.*-F ([^ ]+).*/\\1/'); $function swapcore re swapcore; "
        "echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "replay"


def test_completion_of_another_shell_is_refused(capsys: Capture) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit, match="2"):
        main(["--print-completion", "nosuch"])
    assert "shell 'nosuch' is none of bash, zsh, tcsh" in capsys.readouterr().err


def test_completion_without_its_library_says_how_to_get_it(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit, match="2"):
        main(["--print-completion", "bash"])
    assert "pip install 'swapcore[completion]'" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1", ""])
def test_no_color_prints_no_escape(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = os.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", value)
    with os.fdopen(child, "w") as terminal:
        report.print_table(["NAME", "ns/op"], [["x", "1.5"]], file=terminal)
        terminal.flush()
        text = ""
        while "1.5" not in text:
            text += os.read(parent, 4096).decode()
    os.close(parent)
    # An empty value of the variable is no value.
    assert ("\x1b[" in text) == (value == "")


# Names of workloads


@pytest.mark.parametrize("command", ["compare", "replay", "show"])
def test_list_names_everything(command: str, capsys: Capture) -> None:
    data = json_of(capsys, command, "--list")
    assert set(data["traces"]) == set(trace.WORKLOADS)
    assert set(data["accesses"]) == set(workloads.WORKLOADS)
    assert set(data["strategies"]) == set(sc.Strategy.names)
    assert set(data["storages"]) == set(STORAGES)


def test_names_of_page_accesses_in_messages_are_those_of_the_workloads() -> None:
    assert set(trace.ACCESS_WORKLOADS) == set(workloads.WORKLOADS)


def test_compare_and_show_take_the_workload_as_an_argument(capsys: Capture, small_path: str) -> None:
    data = json_of(capsys, "compare", small_path, "--rounds", "1", "--strategy", "p3")
    assert data["trace"] == small_path
    assert json_of(capsys, "show", small_path)["trace"] == small_path


@pytest.mark.parametrize("command", ["compare", "replay", "show"])
def test_two_workloads_are_refused(command: str, capsys: Capture) -> None:
    assert main([command, "kernel-build", "--trace", "fragment"]) == 2
    assert "trace kernel-build and --trace fragment are two" in capsys.readouterr().err
