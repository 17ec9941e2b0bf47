"""The command line: each subcommand is a module with ``ABOUT``, ``configure(parser)`` and ``run(args)``.

The module of a subcommand imports heavy modules inside ``run``, so that ``swapcore --help`` starts fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from swapcore.exceptions import SwapError

from . import compare, oracle, replay, show, stress

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

COMMANDS = {"compare": compare, "oracle": oracle, "replay": replay, "show": show, "stress": stress}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; None takes the arguments of the process.

    Returns:
        The exit status: 0, or 1 after an error, which is one line on standard error. Bad usage exits with 2.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed the pipe. Standard output becomes the null device, because
        # Python flushes the rest of the output at exit, and a second flush to the pipe would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("swapcore: interrupted", file=sys.stderr)
        return 130
    except (SwapError, OSError, ModuleNotFoundError) as error:
        print(f"swapcore: {_message(error)}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    # Abbreviated options are off, because a new option can make an abbreviation in a script ambiguous.
    parser = argparse.ArgumentParser(
        prog="swapcore", description="Linux's swap slot allocator, outside the kernel.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        description = f"{module.ABOUT[:1].upper()}{module.ABOUT[1:]}."
        verb = verbs.add_parser(name, help=module.ABOUT, description=description, allow_abbrev=False)
        module.configure(verb)
        verb.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    """Prints the version of the package.

    The action ``version`` of argparse would need the version at every start, and reading the version from the
    package metadata takes longer than the rest of the start.
    """

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import swapcore

        print(f"swapcore {swapcore.__version__}")
        parser.exit()


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)
