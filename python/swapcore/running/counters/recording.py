"""Reads recordings of the counters of a real kernel: a script, and every value after each step of the script.

A recording is a file of JSON lines (``.jsonl`` or ``.jsonl.gz``). The first line is the case: the devices and
the settings of the machine. Each other line is a step: an operation, and the values that differ from the step
before. `read` checks the form of every line and adds the values up, so that each `Step` has all its values.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swapcore.exceptions import InvalidArgumentError, invalid

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

MALFORMED = (LookupError, TypeError, ValueError, OverflowError, AttributeError)
"""Exceptions that Python raises when a field of a line is missing or has an unexpected type."""

CASE_KEYS = frozenset({"name", "family", "devices"})
"""Keys that the first line of a recording has."""

DEVICE_KINDS = frozenset({"zram", "loop", "file"})

NO_STEP = -1


@dataclass(frozen=True, slots=True)
class Between:
    """A number that was not the same in all runs of the recorded script.

    Attributes:
        least: The lowest number of all runs.
        most: The highest number of all runs.
    """

    least: int
    most: int

    def __str__(self) -> str:
        """Returns both numbers."""
        return f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A text that was not the same in all runs of the recorded script.

    Attributes:
        texts: The texts of all runs.
    """

    texts: tuple[str, ...]

    def __str__(self) -> str:
        """Returns all texts."""
        return " or ".join(map(repr, self.texts))


Recorded = int | str | Between | OneOf
"""A value of a recording: a number, page ranges of a region, or one of these that varied over the runs."""


@dataclass(frozen=True, slots=True)
class Device:
    """A swap device of a case.

    Attributes:
        kind: ``zram``, ``loop`` or ``file``.
        pages: Size in pages, header included.
        priority: The priority that swapon asks for; None for the default.
        is_rotational: The device is a rotating disk.
        is_later: The device is not on at the start.
    """

    kind: str
    pages: int
    priority: int | None
    is_rotational: bool
    is_later: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script.

    Attributes:
        line: Number of the line in the file, from 1.
        number: Number of the step in the script, from 0.
        op: Name of the operation.
        arguments: Arguments of the operation.
        errnos: The errno of each run; 0 stands for success.
        values: Every value after the step by key.
    """

    line: int
    number: int
    op: str
    arguments: tuple[Any, ...]
    errnos: frozenset[int]
    values: Mapping[str, Recorded]

    def __str__(self) -> str:
        """Returns the operation as the file has it."""
        return json.dumps([self.op, *self.arguments])


@dataclass(frozen=True, slots=True)
class Case:
    """A recorded script.

    Attributes:
        path: The file.
        name: Name of the case.
        family: Name of the kind of cases.
        devices: The devices by number.
        orders: Orders above 0 that mappings may use.
        page_cluster: ``vm.page-cluster``.
        is_vma_ra_enabled: ``vma_ra_enabled``, the switch of the readahead over neighbouring pages.
        swappiness: ``vm.swappiness``.
        defrag: ``transparent_hugepage/defrag``.
        zswap: The parameters of zswap at the start; None if zswap was never enabled.
        memcg: The version of memory cgroups, ``v1`` or ``v2``.
        is_by_hand: The values were computed by hand and no kernel recorded them: charges are exact, and the
            machine has no other memory.
        about: What the script shows; "" in a recording of a kernel.
        compare_from: Number of the step at which the counts of events begin anew and the comparison begins;
            `NO_STEP` if the comparison begins with the first step.
        steps: The steps.
    """

    path: str
    name: str
    family: str
    devices: tuple[Device, ...]
    orders: tuple[int, ...]
    page_cluster: int
    is_vma_ra_enabled: bool
    swappiness: int
    defrag: str
    zswap: Mapping[str, object] | None
    memcg: Literal["v1", "v2"]
    is_by_hand: bool
    about: str
    compare_from: int
    steps: tuple[Step, ...]


def is_recording(path: str | os.PathLike[str]) -> bool:
    """Returns whether the first line of a file is the case of a recording of counters."""
    try:
        with _open(Path(path)) as file:
            first = json.loads(file.readline())
    except (ValueError, EOFError, gzip.BadGzipFile):
        return False
    return isinstance(first, dict) and first.keys() >= CASE_KEYS and "op" not in first


def read(path: str | os.PathLike[str]) -> Case:
    """Reads a recording.

    Args:
        path: The file.

    Returns:
        The case with all its steps.

    Raises:
        InvalidArgumentError: EINVAL; a line is not what the format says.
    """
    header, *lines = _lines(Path(path))
    try:
        case = _case(str(path), header)
    except MALFORMED as error:
        raise invalid(f"{path}, line 1: not the case of a recording: {_reason(error)}") from error
    steps = []
    values: dict[str, Recorded] = {}
    for number, line in enumerate(lines, 2):
        try:
            step = _step(number, line, values)
        except MALFORMED as error:
            raise invalid(f"{path}, line {number}: not a recorded step: {_reason(error)}") from error
        values = dict(step.values)
        steps.append(step)
    return _with_steps(case, tuple(steps))


def _open(path: Path) -> Any:  # noqa: ANN401 - a text file of one of two modules
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _lines(path: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    try:
        with _open(path) as file:
            for text in file:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise invalid(f"{path}, line {len(lines) + 1}: not an object: {line!r}")
                lines.append(line)
    except InvalidArgumentError:
        raise
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise invalid(f"{path}, line {len(lines) + 1}: not a recording: {error}") from error
    if not lines or not lines[0].keys() >= CASE_KEYS:
        raise invalid(f"{path}, line 1: not the case of a recording")
    return lines


def _case(path: str, header: dict[str, Any]) -> Case:
    zswap = header.get("zswap")
    return Case(
        path=path,
        name=_text(header["name"]),
        family=_text(header["family"]),
        devices=tuple(map(_device, header["devices"])),
        orders=tuple(map(_number, header.get("orders", []))),
        page_cluster=_number(header.get("page_cluster", 0)),
        is_vma_ra_enabled=bool(header.get("vma_ra", True)),
        swappiness=_number(header.get("swappiness", 60)),
        defrag=_text(header.get("defrag", "madvise")),
        zswap=None if zswap is None else dict(zswap),
        memcg=_version(header.get("memcg", "v1")),
        is_by_hand=bool(header.get("by_hand", False)),
        about=_text(header.get("about", "")),
        compare_from=_number(header.get("compare_from", NO_STEP)),
        steps=(),
    )


def _version(word: object) -> Literal["v1", "v2"]:
    match word:
        case "v1" | "v2":
            return word
        case _:
            raise ValueError(f"memcg {word!r} is none of v1, v2")


def _device(device: dict[str, Any]) -> Device:
    kind = _text(device["kind"])
    if kind not in DEVICE_KINDS:
        raise ValueError(f"device of kind {kind!r} is none of {', '.join(sorted(DEVICE_KINDS))}")
    priority = device.get("prio")
    return Device(
        kind=kind,
        pages=_number(device["pages"]),
        priority=None if priority is None else _number(priority),
        is_rotational=bool(device.get("rotational", False)),
        is_later=bool(device.get("later", False)),
    )


def _step(line: int, step: dict[str, Any], before: Mapping[str, Recorded]) -> Step:
    op, *arguments = step["op"]
    errnos = step.get("errno", 0)
    values = {**before, **{_text(key): _value(value) for key, value in step["values"].items()}}
    for key in step.get("gone", []):
        values.pop(key, None)
    return Step(
        line=line,
        number=_number(step["step"]),
        op=_text(op),
        arguments=tuple(arguments),
        errnos=frozenset(map(_number, errnos if isinstance(errnos, list) else [errnos])),
        values=values,
    )


def _with_steps(case: Case, steps: tuple[Step, ...]) -> Case:
    fields = {name: getattr(case, name) for name in Case.__slots__}
    return Case(**{**fields, "steps": steps})


def _value(value: object) -> Recorded:
    if isinstance(value, dict):
        if value.keys() == {"min", "max"}:
            return Between(_number(value["min"]), _number(value["max"]))
        return OneOf(tuple(map(_text, value["any"])))
    return value if isinstance(value, str) else _number(value)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
