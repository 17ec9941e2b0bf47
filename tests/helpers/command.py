"""Calls of the command line: the JSON that a command prints, and the error line of a refused command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from swapcore.cli import main

if TYPE_CHECKING:
    import pytest


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:  # noqa: ANN401
    """Runs a command with ``--json``, expects the exit code ``code``, and returns the JSON of stdout."""
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def assert_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Expects exit code 2, nothing on stdout, and one line on stderr that contains ``words``."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("swapcore: ")
    assert err.count("\n") == 1
    assert "[Errno" not in err
    assert words in err
