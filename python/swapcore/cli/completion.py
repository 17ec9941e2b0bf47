"""The option ``--print-completion``: a script that completes commands and options in a shell.

The script comes from the library shtab, the extra ``completion`` of the package. The script has every command
and option in it, so that a completion starts no interpreter.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from swapcore.exceptions import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = ("TRACE", "PATH", "FILE")
"""Names of values in the help text for which a shell completes names of files."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the completion script of a shell.

    Args:
        parser: The parser of the command line.
        shell: ``bash``, ``zsh`` or ``tcsh``.

    Returns:
        The text of the script.

    Raises:
        InvalidArgumentError: EINVAL; another shell.
        ModuleNotFoundError: shtab is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError:
        raise ModuleNotFoundError("completion needs shtab: pip install 'swapcore[completion]'") from None
    if shell not in shtab.SUPPORTED_SHELLS:
        raise invalid(f"shell {shell!r} is none of {', '.join(shtab.SUPPORTED_SHELLS)}")
    for action in _actions(parser):
        if action.metavar in PATHS:
            action.complete = shtab.FILE
    text: str = shtab.complete(parser, shell)
    return text


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """Yields the arguments of a parser and of the parsers of its commands."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of arguments
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for verb in action.choices.values():
                yield from _actions(verb)
