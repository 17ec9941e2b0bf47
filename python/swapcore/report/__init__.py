"""Common parts of all listings: tables, units, progress bars, facts about the machine of a measurement.

The module imports a drawing library only when it draws on a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO, TypeVar

from swapcore._core import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from swapcore._core import MemCgroup

__all__ = [
    "Record",
    "format_limit",
    "format_ratio",
    "format_size",
    "fragmentation_map",
    "machine",
    "memcg_dict",
    "memcg_tree",
    "print_columns",
    "print_footer",
    "print_table",
    "progress",
]

Style = Literal["table", "raw"]

T = TypeVar("T")


class Record:
    """Gives a dataclass of results the machine-readable forms dict and JSON."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain dicts, lists, strings and numbers."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Returns everything as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


QUIET_SECONDS = 2.0
"""Seconds that work must take before a progress bar appears."""

KIB = 1024

_SHADES = " .:-=+*#%@"


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    file: TextIO | None = None,
    style: Style = "table",
    nr_left: int = 1,
    with_headings: bool = True,
) -> None:
    """Prints columns as swapon and zramctl do.

    On a terminal that is wide enough, the library rich lays the columns out. Elsewhere, and with a value in
    the environment variable ``NO_COLOR``, blanks pad the cells, so that no cell is cut off.

    Args:
        headings: One heading for each column, with the unit if the column has one.
        rows: Formatted cells.
        file: The output file; standard output if None.
        style: ``raw`` puts one blank between cells and replaces blanks inside cells.
        nr_left: Number of leading columns that are text and align left; the other columns are numbers.
        with_headings: False leaves the heading line out.
    """
    file = file if file is not None else sys.stdout
    lines = [list(headings), *map(list, rows)] if with_headings else list(map(list, rows))
    if style == "raw":
        for line in lines:
            print(" ".join(cell.replace(" ", "\\x20") for cell in line), file=file)
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    is_wide = sum(widths) + 2 * len(widths) <= shutil.get_terminal_size().columns
    if file.isatty() and is_wide and not os.environ.get("NO_COLOR"):
        _print_rich(headings, rows, file, nr_left, with_headings=with_headings)
        return
    for line in lines:
        cells = [
            cell.ljust(width) if index < nr_left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), file=file)


def print_columns(
    columns: Mapping[str, Callable[[T], str]],
    items: Iterable[T],
    *,
    file: TextIO | None = None,
    nr_left: int = 1,
) -> None:
    """Prints a table with one line for each item.

    Args:
        columns: For each heading, the function that formats the cell of an item in this column.
        items: The items.
        file: See `print_table`.
        nr_left: See `print_table`.
    """
    rows = [[cell(item) for cell in columns.values()] for item in items]
    print_table([*columns], rows, file=file, nr_left=nr_left)


def print_footer(text: str, machine: Mapping[str, object], file: TextIO | None = None) -> None:
    """Prints an empty line and the facts that belong below a table of measured times.

    Args:
        text: The facts.
        machine: The facts that `machine` returned at the measurement. After a measurement with a debug build,
            one more line says that the times mean nothing.
        file: The output file; standard output if None.
    """
    print(f"\n{text}", file=file)
    if machine["is_debug_build"]:
        print("Debug build: the times mean nothing.", file=file)


def _print_rich(
    headings: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO, nr_left: int, *, with_headings: bool
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=with_headings, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < nr_left else "right")
    for row in rows:
        # Each cell is a `Text`, because rich would read the name of a strategy such as "[x]" as markup.
        table.add_row(*map(Text, row))
    Console(file=file).print(table)


def format_size(size_bytes: int) -> str:
    """Formats bytes as util-linux does: ``4K``, ``16G``, ``1.5M``.

    Args:
        size_bytes: The size.

    Returns:
        At most one decimal, binary units.
    """
    value, unit = float(size_bytes), "B"
    for larger in "KMGTP":
        if value < KIB:
            break
        value, unit = value / KIB, larger
    return f"{value:.1f}".removesuffix(".0") + unit


def format_limit(limit: int | str | None) -> str:
    """Formats bytes, the word ``max`` for no limit, or None for an unknown value.

    Args:
        limit: Bytes, the word, or None.

    Returns:
        The text of `format_size`, the word, or a dash.
    """
    if limit is None:
        return "-"
    return limit if isinstance(limit, str) else format_size(limit)


def format_ratio(ratio: float | None) -> str:
    """Formats a ratio, or None for an unknown ratio.

    Args:
        ratio: The ratio.

    Returns:
        Two decimals, or a dash.
    """
    return "-" if ratio is None else f"{ratio:.2f}"


def fragmentation_map(used_share: Sequence[float], *, width: int = 64) -> list[str]:
    """Draws one character for each cluster: blank is free, ``@`` is full.

    Args:
        used_share: Used part of each cluster, 0 to 1, in index order.
        width: Clusters in a line.

    Returns:
        The lines. Each line begins with the index of the first cluster of the line.
    """
    # Only an empty cluster gets the first shade, and only a full cluster gets the last shade.
    inner = len(_SHADES) - 2
    cells = [
        _SHADES[0]
        if share <= 0
        else _SHADES[-1]
        if share >= 1
        else _SHADES[1 + min(int(share * inner), inner - 1)]
        for share in used_share
    ]
    digits = len(str(max(len(cells) - 1, 0)))
    return [
        f"{start:>{digits}} |{''.join(cells[start : start + width])}|"
        for start in range(0, len(cells), width)
    ]


def memcg_dict(root: MemCgroup) -> dict[str, Any]:
    """Returns a group and the groups below it, with usage and limits of each.

    Args:
        root: The topmost group.

    Returns:
        ``name``, ``path``, ``is_online``, ``tasks`` (number of tasks in the group itself), ``memory_bytes``,
        ``memory_max``, ``swap_bytes``, ``swap_max``, ``memsw_bytes``, ``memsw_max``, ``events`` (the events
        of the group itself by name) and ``children`` (a list of such dicts: the online groups, then the
        removed groups that memory or slots are still charged to, or that have such groups below). An amount
        is a number of bytes, a limit can be ``"max"``, and both are None for the root of ``v2``, which has no
        such files.
        Memsw is memory and swap together, None with ``v2``. With ``v1``, ``swap_bytes`` is ``total_swap`` of
        ``memory.stat``, and swap alone has no limit.
    """
    return _memcg_facts(root) | {"children": [memcg_dict(child) for child in _memcg_below(root)]}


def memcg_tree(root: MemCgroup, file: TextIO | None = None) -> None:
    """Prints a group and the groups below it, one line for each group, see `memcg_dict`.

    With ``v1``, a column ``MEMSW / MAX`` has memory and swap together.

    Args:
        root: The topmost group.
        file: The output file; standard output if None.
    """
    is_v1 = "memory.memsw.limit_in_bytes" in root.files
    amounts = ("memory", "memsw", "swap") if is_v1 else ("memory", "swap")
    rows = [
        [
            f"{'  ' * depth}{facts['name'] or facts['path']}",
            "online" if facts["is_online"] else "offline",
            *(
                f"{format_limit(facts[f'{name}_bytes'])} / {format_limit(facts[f'{name}_max'])}"
                for name in amounts
            ),
            *(str(facts["events"][name]) for name in _MEMCG_EVENTS),
            str(facts["tasks"]),
        ]
        for depth, facts in _memcg_lines(root, 0)
    ]
    headings = [
        "NAME",
        "STATE",
        *(f"{name.upper()} / MAX" for name in amounts),
        *(name.upper() for name in _MEMCG_EVENTS),
        "TASKS",
    ]
    print_table(headings, rows, file=file, nr_left=2)


_MEMCG_EVENTS = {
    "high": "events_high",
    "max": "events_max",
    "oom": "events_oom",
    "swap-high": "swap_events_high",
    "swap-max": "swap_events_max",
    "swap-fail": "swap_events_fail",
}
"""Maps the name of each event in the table to the name of the event's counter in `MemCgroup.counters`."""

_MEMCG_LIMITS = (
    ("memory", "memory_pages", ("memory.max", "memory.limit_in_bytes")),
    ("swap", "swap_pages", ("memory.swap.max",)),
    ("memsw", "memsw_pages", ("memory.memsw.limit_in_bytes",)),
)
"""For each charged resource its name, its key in `MemCgroup.counters`, and the files that have its limit."""

_V1_UNLIMITED_BYTES = 9223372036854771712
"""The number that the files of ``v1`` have for "no limit": the largest number of whole pages, in bytes."""


def _memcg_facts(group: MemCgroup) -> dict[str, Any]:
    counters: dict[str, Any] = {**group.counters()}
    files = set(group.files)
    names = ("memory_bytes", "memory_max", "swap_bytes", "swap_max", "memsw_bytes", "memsw_max")
    amounts: dict[str, int | str | None] = dict.fromkeys(names)
    for name, counter, candidates in _MEMCG_LIMITS:
        for file in files.intersection(candidates):
            text = group.read(file).strip()
            is_unlimited = text == "max" or int(text) >= _V1_UNLIMITED_BYTES
            amounts[f"{name}_max"] = "max" if is_unlimited else int(text)
            amounts[f"{name}_bytes"] = counters[counter] * PAGE_SIZE
    if amounts["memsw_bytes"] is not None:
        stat = dict(line.split() for line in group.read("memory.stat").splitlines())
        amounts |= {"swap_bytes": int(stat["total_swap"]), "swap_max": "max"}
    return {
        "name": group.name,
        "path": group.path,
        "is_online": group.is_online,
        "tasks": len(group.tasks),
        **amounts,
        "events": {name: counters[counter] for name, counter in _MEMCG_EVENTS.items()},
    }


def _memcg_lines(group: MemCgroup, depth: int) -> Iterator[tuple[int, dict[str, Any]]]:
    yield depth, _memcg_facts(group)
    for child in _memcg_below(group):
        yield from _memcg_lines(child, depth + 1)


def _memcg_below(group: MemCgroup) -> list[MemCgroup]:
    """Returns the online groups below a group, and the removed groups that charges or such groups keep."""
    return group.children + [
        child for child in group.dying_children if _is_charged(child) or _memcg_below(child)
    ]


def _is_charged(group: MemCgroup) -> bool:
    counters: dict[str, int] = {**group.counters()}
    charged = ("memory_pages", "swap_pages", "memsw_pages", "memcg_swap_pages")
    return any(counters.get(name) for name in charged)


def machine() -> dict[str, str | int | bool]:
    """Returns the facts that a measured number depends on: platform, CPU, Python, package version, build."""
    import swapcore

    return {
        "platform": platform.platform(),
        "cpu_model": _cpu_model(),
        "nr_cpus": os.cpu_count() or 1,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "swapcore": swapcore.__version__,
        "is_debug_build": swapcore.is_debug_build,
    }


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # Only Linux has /proc/cpuinfo, so on other systems the module `platform` returns the model.
    return platform.processor() or platform.machine()


@contextmanager
def progress(description: str, total: float, *, is_timed: bool = False) -> Iterator[Callable[[float], None]]:
    """Shows a progress bar on standard error after two seconds of work, if standard error is a terminal.

    Args:
        description: Name of the work.
        total: Number of steps, or of seconds if ``is_timed`` is True.
        is_timed: True lets the bar follow the clock instead of the number of steps done.

    Yields:
        A function to call with the number of steps done so far.
    """
    done = 0.0

    def update(steps: float) -> None:
        nonlocal done
        done = steps

    if not sys.stderr.isatty():
        yield update
        return
    start = time.monotonic()
    finished = threading.Event()

    def draw() -> None:
        if finished.wait(QUIET_SECONDS):
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total)
            while not finished.wait(0.2):
                bar.update(task, completed=min(time.monotonic() - start, total) if is_timed else done)

    # A thread draws the bar, because the work is mostly one long call into Rust.
    drawer = threading.Thread(target=draw, name="swapcore-progress", daemon=True)
    drawer.start()
    try:
        yield update
    finally:
        finished.set()
        drawer.join()
