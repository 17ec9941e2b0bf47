"""Common parts of the verbs: functions that add options, and a function that prints a result."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import argparse

    Parser = argparse._ActionsContainer  # noqa: SLF001 - a parser, or a group of a parser's options


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


def add_size_pages(parser: Parser) -> None:
    """Adds the size of the device that a trace of swap operations fills."""
    about = "slots of the device (default: the workload fills the device to 90 %%)"
    add_value(parser, "--size-pages", "N", about, type=int)


PICTURE_SUFFIXES = (".png", ".svg", ".pdf")


def add_plot(parser: Parser, about: str) -> None:
    """Adds the option for a picture. A file that cannot be written is refused before the run.

    Args:
        parser: The parser, or a group of its options.
        about: The help text, without the formats.
    """
    add_value(parser, "--plot", "FILE", f"{about} (png, svg, pdf; needs matplotlib)", type=_picture_path)


def _picture_path(path: str) -> str:
    if os.path.splitext(path)[1].lower() not in PICTURE_SUFFIXES:  # noqa: PTH122 - as below
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
    """Returns the options that the user gave; the function that gets the options has the other defaults.

    Args:
        args: The parsed arguments.
        *names: Names of options without a default in the parser.

    Returns:
        The values of the given options by name.
    """
    return {name: value for name in names if (value := getattr(args, name)) is not None}


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
