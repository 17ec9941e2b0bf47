"""Workloads of swap operations: recorded or generated lists of allocations and frees, without slots.

A workload is a dict of NumPy columns of one length, one element for each operation, in time order: ``op`` (0
allocate, 1 free), ``cpu``, ``folio`` (allocations are numbered 0, 1, 2 ... in order), ``first`` (free: first
freed page of the folio) and ``nr`` (pages: a power of two for an allocation, any run inside the folio for a
free). The allocator chooses the slot of an allocation. `load` checks a workload and makes it ready to replay.

Page accesses are another kind of workload: columns ``page`` and ``write``, which `load_accesses` checks. This
module reads page accesses from files only; `swapcore.workloads` generates page accesses.
"""

from __future__ import annotations

import os
import zipfile
from array import array
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ._core import Accesses, Trace
from .exceptions import InvalidArgumentError, invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Columns = dict[str, NDArray[Any]]

__all__ = [
    "ACCESS_COLUMNS",
    "ACCESS_WORKLOADS",
    "COLUMNS",
    "WORKLOADS",
    "Workload",
    "as_trace",
    "columns",
    "fragment",
    "has_accesses",
    "load",
    "load_accesses",
    "mthp_mix",
    "order0_churn",
]

COLUMNS: dict[str, str] = {"op": "u1", "cpu": "u1", "folio": "u4", "first": "u2", "nr": "u2"}
"""Every column that a replay of swap operations reads, with its NumPy type."""

ACCESS_COLUMNS: dict[str, str] = {"page": "u4", "write": "u1"}
"""Every column that a replay of page accesses reads, with its NumPy type."""

ACCESS_WORKLOADS = ("zipf", "scan", "build-like", "fork-heavy")
"""Names of the workloads of page accesses, which `swapcore.workloads` makes, for messages."""

SPLIT_SHARE = 0.25
"""Probability that `_Draft.free_random` with ``can_split`` frees only the first half of a large folio."""

NR_CPUS = 2
"""Number of CPUs of the generated workloads, which is also the number of CPUs of the recorded workload."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Describes a workload that has a name.

    Attributes:
        about: Description in one line, for listings.
        make: Function that returns the columns. The function of a generated workload takes ``nr_ops``,
            ``size_pages`` and ``seed``.
        is_recorded: Whether the workload comes from a file and takes no parameters.
    """

    about: str
    make: Callable[..., Columns]
    is_recorded: bool = False


def load(name_or_path: str | os.PathLike[str], **parameters: int) -> Trace:
    """Loads a workload of swap operations by name or from a file, ready to replay.

    Args:
        name_or_path: A name in `WORKLOADS`, or the path of an .npz file with the columns of `COLUMNS`.
        **parameters: ``nr_ops``, ``size_pages``, ``seed`` of a generated workload.

    Returns:
        The checked trace.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, not a trace file, or an impossible sequence of
            operations.
    """
    return as_trace(columns(name_or_path, **parameters))


def load_accesses(path: str | os.PathLike[str]) -> Accesses:
    """Loads recorded page accesses from a file, ready to replay.

    Args:
        path: An .npz file with the columns of `ACCESS_COLUMNS`.

    Returns:
        The checked list.

    Raises:
        InvalidArgumentError: EINVAL; the file has no such columns.
    """
    found = _read_path(path, ACCESS_COLUMNS)
    return Accesses(*(found[name].data for name in ACCESS_COLUMNS))


def has_accesses(path: str | os.PathLike[str]) -> bool:
    """Says whether a file has the columns of page accesses.

    Args:
        path: Any path; a path without an .npz file gives False.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return all(column in archive for column in ACCESS_COLUMNS)
    except (OSError, *_NOT_COLUMNS):
        return False


def as_trace(workload: Columns) -> Trace:
    """Checks the columns of a workload and makes a trace that is ready to replay.

    Args:
        workload: The columns of `COLUMNS` in their types.

    Returns:
        The trace.

    Raises:
        InvalidArgumentError: EINVAL; an impossible sequence of operations.
    """
    return Trace(*(workload[name].data for name in COLUMNS))


def columns(name_or_path: str | os.PathLike[str], **parameters: int) -> Columns:
    """Returns the columns of a workload, for a look at the columns or as a start for another workload.

    Args:
        name_or_path: As for `load`.
        **parameters: As for `load`.

    Returns:
        The columns of `COLUMNS` in their types, C-contiguous.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, or not a trace file.
    """
    workload = WORKLOADS.get(os.fspath(name_or_path))
    if workload is not None and not workload.is_recorded:
        return workload.make(**parameters)
    found = _read_path(name_or_path, COLUMNS) if workload is None else workload.make()
    if parameters:
        raise invalid(f"trace {name_or_path!s} is recorded and takes no {', '.join(sorted(parameters))}")
    return found


def mthp_mix(nr_ops: int = 200_000, *, size_pages: int = 65_536, seed: int = 1) -> Columns:
    """Mixes folios of orders 0, 2, 4, 6 and 9 with between 80 and 95 % of ``size_pages`` in use.

    The workload allocates folios up to 95 %, then frees random folios down to 80 %, and repeats both. A
    quarter of the frees of large folios free only the first half of the folio. Under this load, large
    allocations begin to fail.

    Args:
        nr_ops: Number of operations.
        size_pages: Slots that the percentages refer to; replay the workload on a device of that size.
        seed: Seed of the PCG64 generator.

    Returns:
        The columns.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    sizes = (1 << rng.choice([0, 2, 4, 6, 9], size=nr_ops, p=[0.60, 0.20, 0.14, 0.05, 0.01])).tolist()
    draft = _Draft(rng, nr_ops)
    low_pages, high_pages = size_pages * 80 // 100, size_pages * 95 // 100
    is_filling = True
    for nr in sizes:
        if is_filling and draft.used_pages + nr > high_pages:
            is_filling = False
        elif not is_filling and draft.used_pages <= low_pages:
            is_filling = True
        if is_filling:
            draft.allocate(nr)
        else:
            draft.free_random(can_split=True)
    return draft.columns()


def order0_churn(nr_ops: int = 200_000, *, size_pages: int = 65_536, seed: int = 1) -> Columns:
    """Fills 90 % of ``size_pages`` with single pages, then frees and allocates in bursts of about 32.

    Args:
        nr_ops: Number of operations.
        size_pages: Slots that the percentages refer to.
        seed: Seed of the PCG64 generator.

    Returns:
        The columns.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    draft = _Draft(rng, nr_ops)
    for _ in range(min(nr_ops, size_pages * 90 // 100)):
        draft.allocate(1)
    while draft.nr_ops < nr_ops:
        burst = min(int(rng.geometric(1 / 32)), nr_ops - draft.nr_ops, draft.nr_live)
        for _ in range(burst):
            draft.free_random()
        for _ in range(min(burst, nr_ops - draft.nr_ops)):
            draft.allocate(1)
    return draft.columns()


def fragment(nr_ops: int = 200_000, *, size_pages: int = 65_536, seed: int = 1) -> Columns:
    """Leaves random holes between many single pages, then allocates folios of orders 2, 4 and 6; repeats.

    Each round allocates single pages up to 90 % of ``size_pages``, frees random folios down to 50 %, and
    allocates large folios up to 90 % again.

    Args:
        nr_ops: Number of operations.
        size_pages: Slots that the percentages refer to.
        seed: Seed of the PCG64 generator.

    Returns:
        The columns.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    sizes = (1 << rng.choice([2, 4, 6], size=nr_ops, p=[0.5, 0.4, 0.1])).tolist()
    draft = _Draft(rng, nr_ops)
    low_pages, high_pages = size_pages * 50 // 100, size_pages * 90 // 100
    while draft.nr_ops < nr_ops:
        while draft.nr_ops < nr_ops and draft.used_pages < high_pages:
            draft.allocate(1)
        while draft.nr_ops < nr_ops and draft.used_pages > low_pages:
            draft.free_random()
        while draft.nr_ops < nr_ops and draft.used_pages + sizes[draft.nr_ops] <= high_pages:
            draft.allocate(sizes[draft.nr_ops])
    return draft.columns()


class _Draft:
    """Builds a workload: records the operations, and the folios that are in use after them.

    The constructor draws all random numbers in bulk, because one call of the generator for each operation
    costs more than all other work.
    """

    def __init__(self, rng: np.random.Generator, nr_ops: int) -> None:
        if nr_ops < 1:
            raise invalid(f"nr_ops {nr_ops} is under the least, 1")
        self.used_pages = 0
        self._picks: list[float] = rng.random(nr_ops).tolist()
        self._splits: list[bool] = (rng.random(nr_ops) < SPLIT_SHARE).tolist()
        self._cpu = rng.integers(0, NR_CPUS, size=nr_ops, dtype=np.uint8)
        self._live: list[tuple[int, int, int]] = []
        self._nr_folios = 0
        self._op, self._folio = array("B"), array("I")
        self._first, self._nr = array("H"), array("H")

    @property
    def nr_ops(self) -> int:
        """Returns the number of operations so far."""
        return len(self._op)

    @property
    def nr_live(self) -> int:
        """Returns the number of folios in use, where the rest of a split folio counts as a folio."""
        return len(self._live)

    def allocate(self, nr: int) -> None:
        """Adds the allocation of a folio of ``nr`` pages."""
        self._live.append((self._nr_folios, 0, nr))
        self._write(0, self._nr_folios, 0, nr)
        self._nr_folios += 1
        self.used_pages += nr

    def free_random(self, *, can_split: bool = False) -> None:
        """Adds the release of a random folio, or, if ``can_split``, sometimes of the folio's first half."""
        live = self._live
        index = int(self._picks[self.nr_ops] * len(live))
        folio, first, nr = live[index]
        if can_split and nr > 1 and self._splits[self.nr_ops]:
            nr //= 2
            live[index] = (folio, first + nr, nr)
        else:
            live[index] = live[-1]
            live.pop()
        self._write(1, folio, first, nr)
        self.used_pages -= nr

    def columns(self) -> Columns:
        """Returns the columns of the recorded operations."""
        made = (self._op, self._cpu[: self.nr_ops], self._folio, self._first, self._nr)
        return {name: np.array(made[place], dtype) for place, (name, dtype) in enumerate(COLUMNS.items())}

    def _write(self, op: int, folio: int, first: int, nr: int) -> None:
        self._op.append(op)
        self._folio.append(folio)
        self._first.append(first)
        self._nr.append(nr)


def _kernel_build() -> Columns:
    # importlib.resources opens the file, because importlib.resources also reads a package in a zip file.
    with files(__package__).joinpath("data/kernel-build.npz").open("rb") as file:
        return _read(file, "kernel-build", COLUMNS)


def _read_path(path: str | os.PathLike[str], wanted: dict[str, str]) -> Columns:
    if not Path(path).is_file():
        raise invalid(_no_such_trace(os.fspath(path), wanted))
    # The file is opened here, because np.load does not close a file that is not an archive.
    with Path(path).open("rb") as file:
        return _read(file, os.fspath(path), wanted)


def _no_such_trace(name: str, wanted: dict[str, str]) -> str:
    """Returns the message for a name that is no file and no workload of the wanted kind."""
    operations, accesses = ", ".join(WORKLOADS), ", ".join(ACCESS_WORKLOADS)
    if name in ACCESS_WORKLOADS:
        return f"trace {name} has page accesses; those of swap operations are {operations}, or an .npz file"
    if name in WORKLOADS and wanted is ACCESS_COLUMNS:
        return f"trace {name} has swap operations; those of page accesses are {accesses}, or an .npz file"
    return (
        f"trace {name} is neither a file nor one of {operations} (swap operations); "
        f"those of page accesses are {accesses}"
    )


_NOT_COLUMNS = (zipfile.BadZipFile, EOFError, ValueError, AttributeError, TypeError)
"""Exceptions that NumPy raises when a file is not an .npz archive of columns."""


def _read(file: IO[bytes], name: str, wanted: dict[str, str]) -> Columns:
    """Reads the columns of an .npz file and converts them without loss to the types of a replay."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            missing = [column for column in wanted if column not in archive]
            if missing:
                raise invalid(f"trace {name} has no column {', '.join(missing)}")
            return {column: _as_type(archive[column], column, dtype) for column, dtype in wanted.items()}
    except _NOT_COLUMNS as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise invalid(f"trace {name} is not an .npz file of columns: {error}") from error


def _as_type(values: NDArray[Any], column: str, dtype: str) -> NDArray[Any]:
    limit = np.iinfo(dtype).max
    if values.dtype.kind not in "iub":
        raise invalid(f"trace column {column} is {values.dtype}, not an integer")
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= limit:
        raise invalid(f"trace column {column} has values {values.min()}..{values.max()} outside 0..={limit}")
    return np.ascontiguousarray(values, dtype=dtype)


WORKLOADS: dict[str, Workload] = {
    "kernel-build": Workload(
        "recorded: make -j12 of a kernel under a 320 MiB memory limit, mTHP 64 kB, 256 kB and 2 MB, two CPUs",
        _kernel_build,
        is_recorded=True,
    ),
    "mthp-mix": Workload("made up: orders 0, 2, 4, 6, 9 between 80 and 95 % of 256 MiB", mthp_mix),
    "order0-churn": Workload("made up: single pages in bursts at 90 % of 256 MiB", order0_churn),
    "fragment": Workload(
        "made up: random holes, then large folios, rounds between 50 and 90 % of 256 MiB", fragment
    ),
}
"""Every workload of swap operations with a name, for the command line, the tests and the benchmarks."""
