"""Workloads: recorded or made-up lists of swap operations: what is allocated and freed, but not where.

A workload is a dict of NumPy columns of one length, one element an operation, in time order: ``op`` (0
allocate, 1 free), ``cpu``, ``folio`` (allocations are numbered 0, 1, 2 ... in order), ``first`` (free: first
page of the folio that goes) and ``nr`` (pages: a power of two for an allocation, any run inside the folio for
a free). Which slot an allocation gets is the allocator's business. `load` checks one and makes it ready to
replay.

Page accesses are another kind: columns ``page`` and ``write``, which `load_accesses` checks. They come from
files only; those that are made up are in `swapcore.workloads`.
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
"""Every column that a replay reads, with its type."""

ACCESS_COLUMNS: dict[str, str] = {"page": "u4", "write": "u1"}
"""Every column that a replay of page accesses reads, with its type."""

SPLIT_SHARE = 0.25
"""Part of the releases of large folios that come in two halves, where a workload splits at all."""

NR_CPUS = 2
"""CPUs the made-up workloads run on, as many as the recorded ones."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Describes a workload that has a name.

    Attributes:
        about: One line for listings.
        make: Returns the columns; takes ``nr_ops``, ``size_pages`` and ``seed`` where the workload is made
            up. is_recorded: True when it comes from a file and takes no parameters.
    """

    about: str
    make: Callable[..., Columns]
    is_recorded: bool = False


def load(name_or_path: str | os.PathLike[str], **parameters: int) -> Trace:
    """Makes a workload ready to replay.

    Args:
        name_or_path: A name in `WORKLOADS`, or the path of an .npz file with the columns of `COLUMNS`.
        **parameters: ``nr_ops``, ``size_pages``, ``seed`` of a made-up workload.

    Returns:
        The checked trace.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, not a trace file, or a trace that cannot have
        happened.
    """
    found = columns(name_or_path, **parameters)
    return as_trace(found)


def load_accesses(path: str | os.PathLike[str]) -> Accesses:
    """Makes recorded page accesses ready to replay.

    Args:
        path: An .npz file with the columns of `ACCESS_COLUMNS`.

    Returns:
        The checked list.

    Raises:
        InvalidArgumentError: EINVAL; not such a file.
    """
    found = _read_path(path, ACCESS_COLUMNS)
    return Accesses(*(found[name].data for name in ACCESS_COLUMNS))


def has_accesses(path: str | os.PathLike[str]) -> bool:
    """Says whether a file has the columns of page accesses.

    Args:
        path: Any path; False where there is no .npz file.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return all(column in archive for column in ACCESS_COLUMNS)
    except (OSError, *_NOT_COLUMNS):
        return False


def as_trace(workload: Columns) -> Trace:
    """Checks columns and makes them ready to replay.

    Args:
        workload: The columns of `COLUMNS` in their types.

    Returns:
        The trace.

    Raises:
        InvalidArgumentError: EINVAL; a trace that cannot have happened.
    """
    return Trace(*(workload[name].data for name in COLUMNS))


def columns(name_or_path: str | os.PathLike[str], **parameters: int) -> Columns:
    """Returns the columns of a workload, for a look at them or to make another of them.

    Args:
        name_or_path: As for `load`.
        **parameters: As for `load`.

    Returns:
        The columns of `COLUMNS` in their types, C-contiguous.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, or not a trace file.
    """
    workload = WORKLOADS.get(os.fspath(name_or_path))
    if parameters and (workload is None or workload.is_recorded):
        raise invalid(f"trace {name_or_path!s} is recorded and takes no {', '.join(sorted(parameters))}")
    if workload is not None:
        return workload.make(**parameters)
    return _read_path(name_or_path, COLUMNS)


def mthp_mix(nr_ops: int = 200_000, *, size_pages: int = 65_536, seed: int = 1) -> Columns:
    """Mixes folios of orders 0, 2, 4, 6 and 9 with between 80 and 95 % of ``size_pages`` in use.

    Random folios are freed from 95 % down to 80 %, a quarter of the large ones in two halves, then new ones
    are allocated up to 95 % again, and so on: the shape under which large allocations begin to fail.

    Args:
        nr_ops: Operations.
        size_pages: What the percentages are of; replay it on a device of that size.
        seed: Of the PCG64 generator.

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
        nr_ops: Operations.
        size_pages: What the percentage is of.
        seed: Of the PCG64 generator.

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
    """Punches random holes into many single pages, then asks for folios of orders 2, 4 and 6; repeats.

    Each round fills up to 90 % of ``size_pages`` with single pages, frees random folios down to 50 %, and
    takes large folios up to 90 % again.

    Args:
        nr_ops: Operations.
        size_pages: What the percentages are of.
        seed: Of the PCG64 generator.

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
    """Writes down operations and remembers which folios are in use.

    Random numbers are drawn beforehand in bulk: one call of the generator per operation would cost more than
    all the rest.
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
        self._op = bytearray()
        self._folio = array("I")
        self._first = array("H")
        self._nr = array("H")

    @property
    def nr_ops(self) -> int:
        """Returns how many operations there are so far."""
        return len(self._op)

    @property
    def nr_live(self) -> int:
        """Returns how many folios, or rests of folios, are in use."""
        return len(self._live)

    def allocate(self, nr: int) -> None:
        """Adds the allocation of a folio of ``nr`` pages."""
        self._live.append((self._nr_folios, 0, nr))
        self._write(0, self._nr_folios, 0, nr)
        self._nr_folios += 1
        self.used_pages += nr

    def free_random(self, *, can_split: bool = False) -> None:
        """Adds the release of a random folio, or, sometimes if it ``can_split``, of its first half."""
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
        """Returns what was written down."""
        made = {
            "op": np.frombuffer(self._op, dtype="u1"),
            "cpu": self._cpu[: self.nr_ops],
            "folio": np.frombuffer(self._folio, dtype="u4"),
            "first": np.frombuffer(self._first, dtype="u2"),
            "nr": np.frombuffer(self._nr, dtype="u2"),
        }
        return {name: np.ascontiguousarray(made[name]) for name in COLUMNS}

    def _write(self, op: int, folio: int, first: int, nr: int) -> None:
        self._op.append(op)
        self._folio.append(folio)
        self._first.append(first)
        self._nr.append(nr)


def _kernel_build() -> Columns:
    # importlib.resources also serves a package that is imported from a zip file.
    with files(__package__).joinpath("data/kernel-build.npz").open("rb") as file:
        return _read(file, "kernel-build", COLUMNS)


def _read_path(path: str | os.PathLike[str], wanted: dict[str, str]) -> Columns:
    if not Path(path).is_file():
        known = ", ".join(WORKLOADS)
        raise invalid(
            f"trace {path!s} is neither a file nor one of {known} (swap operations); "
            "those of page accesses are zipf, scan, build-like, fork-heavy"
        )
    # Opened here, as np.load leaves a file open that turns out not to be an archive.
    with Path(path).open("rb") as file:
        return _read(file, os.fspath(path), wanted)


_NOT_COLUMNS = (zipfile.BadZipFile, EOFError, ValueError, AttributeError, TypeError)
"""What reading a file raises that is no archive of columns."""


def _read(file: IO[bytes], name: str, wanted: dict[str, str]) -> Columns:
    """Reads the columns of an .npz file and converts them to the types a replay takes, never losing a bit."""
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
"""Every workload with a name. Command line, tests and benchmarks iterate over this table."""
