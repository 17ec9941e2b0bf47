"""Common parts of the subcommands: exit statuses, functions that add options, and functions that print."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from swapcore.exceptions import invalid
from swapcore.size import size_in_pages

if TYPE_CHECKING:
    import argparse

    Parser = argparse._ActionsContainer  # noqa: SLF001 - a parser, or a group of a parser's options


class Status(IntEnum):
    """The exit statuses of every command."""

    GOOD = 0
    """The command did its work, and what it checked holds."""
    NOT_SO = 1
    """What the command checked is not so: a recorded case diverges, or an invariant is broken."""
    USAGE = 2
    """The arguments cannot be, or a library that they need is not installed."""
    CUT_SHORT = 3
    """The run ended early or left a part out: want of memory, a failed read or write, a closed pipe."""
    INTERRUPTED = 130
    """The user pressed Ctrl-C."""


class Result(Protocol):
    """Lists the methods of a result that `print_result` calls."""

    def to_json(self) -> str:
        """Returns everything as JSON text."""

    def table(self) -> None:
        """Prints the result as a table."""


def add_value(parser: Parser, name: str, metavar: str, about: str, **settings: Any) -> None:  # noqa: ANN401
    """Adds an option with a value.

    Args:
        parser: The parser, or a group of its options.
        name: The option, with its dashes.
        metavar: Name of the value in the help text.
        about: The help text. If the settings have a ``default``, the help text ends with the default.
        **settings: Other arguments of `argparse.ArgumentParser.add_argument`.
    """
    suffix = " (default: %(default)s)" if "default" in settings else ""
    parser.add_argument(name, metavar=metavar, help=about + suffix, **settings)


def add_flags(parser: Parser, **flags: str) -> None:
    """Adds options without a value.

    Args:
        parser: The parser, or a group of its options.
        **flags: The help text of each option by name; an underscore in a name becomes a dash of the option.
    """
    for name, about in flags.items():
        parser.add_argument(option(name), action="store_true", help=about)


def add_size(parser: Parser, about: str) -> None:
    """Adds the two forms of the size of a device: ``--size`` and ``--size-pages``, see `take_size`.

    Args:
        parser: The parser.
        about: The help text of ``--size``.
    """
    add_value(parser, "--size", "SIZE", about)
    add_value(parser, "--size-pages", "N", "the size in slots, instead of --size", type=int)


def take_size(args: argparse.Namespace, name: str = "size_pages") -> None:
    """Puts the size, from ``--size`` or from the option in slots, into the option in slots.

    Args:
        args: The parsed arguments of `add_size`.
        name: The name of the option in slots.

    Raises:
        InvalidArgumentError: EINVAL; both were given, or ``--size`` is no size of a device.
    """
    if args.size is not None:
        if getattr(args, name) is not None:
            raise invalid(f"--size {args.size} and {option(name)} {getattr(args, name)} are two, give one")
        setattr(args, name, size_in_pages(args.size, None))


def add_trace(parser: argparse.ArgumentParser, about: str) -> None:
    """Adds the workload, as an argument and as ``--trace``, and the parameters of a made-up workload.

    Args:
        parser: The parser.
        about: The help text of the argument.
    """
    parser.add_argument("workload", nargs="?", metavar="TRACE", help=about)
    add_value(parser, "--trace", "TRACE", "the same as TRACE")
    about = "operations or accesses of a workload that is made up (default: as --list says)"
    add_value(parser, "--nr-ops", "N", about, type=int)
    about = "seed of the operations or accesses of a workload that is made up (default: 1)"
    add_value(parser, "--workload-seed", "X", about, type=int)
    add_flags(parser, list="print all names of workloads, strategies and storages, and exit")


def take_trace(args: argparse.Namespace) -> None:
    """Puts the workload, from the argument or the option, into ``args.trace``; None without a workload.

    Args:
        args: The parsed arguments of `add_trace`.

    Raises:
        InvalidArgumentError: EINVAL; both were given.
    """
    if args.workload is not None and args.trace is not None:
        raise invalid(f"trace {args.workload} and --trace {args.trace} are two, give one")
    args.trace = args.trace if args.workload is None else args.workload


PICTURE_SUFFIXES = (".png", ".svg", ".pdf")


def add_plot(parser: Parser, about: str) -> None:
    """Adds the option for a picture. A file that cannot be written is refused before the run.

    Args:
        parser: The parser, or a group of its options.
        about: The help text, without the formats.
    """
    add_value(parser, "--plot", "FILE", f"{about} (png, svg, pdf; needs matplotlib)", type=_picture_path)


def _picture_path(path: str) -> str:
    if os.path.splitext(path)[1].lower() not in PICTURE_SUFFIXES:  # noqa: PTH122 - pathlib slows every start
        raise ArgumentTypeError(f"{path!r} does not end in one of {', '.join(PICTURE_SUFFIXES)}")
    if not os.path.isdir(os.path.dirname(path) or "."):  # noqa: PTH112, PTH120 - an import of pathlib slows every start
        raise ArgumentTypeError(f"the folder of {path!r} does not exist")
    if os.path.isdir(path):  # noqa: PTH112
        raise ArgumentTypeError(f"{path!r} is a folder")
    if not os.access(path if os.path.exists(path) else os.path.dirname(path) or ".", os.W_OK):  # noqa: PTH110, PTH120
        raise ArgumentTypeError(f"{path!r} cannot be written")
    return path


def option(name: str) -> str:
    """Returns an option in the form of the command line, such as ``--size-pages``.

    Args:
        name: The option's name in the parsed arguments.
    """
    return f"--{name.replace('_', '-')}"


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns the options that the user gave; the function that gets them has the defaults of all others.

    Args:
        args: The parsed arguments.
        *names: Names of options without a default in the parser.

    Returns:
        The values of the given options by name.
    """
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def warn(text: str) -> None:
    """Prints a warning on standard error.

    Args:
        text: The warning, without a dot.
    """
    sys.stdout.flush()
    print(f"swapcore: warning: {text}", file=sys.stderr)


def print_result(args: argparse.Namespace, result: Result, plot: str) -> None:
    """Prints a result as JSON or as a table, and then draws it if the user wants a picture.

    The picture comes last, so that a failure to write the picture loses no result.

    Args:
        args: The parsed arguments with ``plot`` and ``json``.
        result: The result.
        plot: Name of the function of `swapcore.plot` that draws such a result.
    """
    if args.json:
        print(result.to_json())
    else:
        result.table()
    if args.plot is not None:
        from swapcore import plot as pictures

        getattr(pictures, plot)(result, args.plot)
