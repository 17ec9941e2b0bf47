"""Replays recordings of a real kernel's swap slots, and compares every slot and every count.

A case is a file of JSON lines (``.jsonl`` or ``.jsonl.gz``): swapon, allocations with their slots, references
added and dropped, frees, swapoff, and the slots in use after each line. `replay_case` gives the same requests
to a `swapcore.Swap` in the same order. The replay ends with agreement on every slot, or with the first line
on which recording and replay differ.

The file does not record the kernel's pages and processes. The replay therefore puts a mapped folio of order 0
into the swap cache for each slot that the kernel had in its swap cache. The folio stays in the cache until
the allocator itself reclaims the slot. The file records when the kernel reclaimed the slot.
"""

from __future__ import annotations

import gzip
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swapcore._core import PAGE_SIZE, SWAPFILE_CLUSTER, Folio, Swap, SwapDevice
from swapcore.exceptions import InvariantError, SwapError, SwapFullError, invalid, require_list
from swapcore.results.oracle import SLOT_BAD, SLOT_CACHED, SLOT_SWAPPED, CaseResult, Divergence
from swapcore.storage import Null

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    Line = dict[str, Any]
    Run = list[int]


DEFAULT_PROFILE = "v618"
"""The profile of the kernel that recorded the cases."""

TYPE_SHIFT = 58
COUNT_SHIFT = 60
COUNT_OVERFLOW = 15
"""An inline count of 15 says that the full count is in the extend table."""

MALFORMED = (LookupError, TypeError, ValueError, OverflowError, AttributeError)
"""Exceptions that Python raises when a field of a line is missing or has an unexpected type."""

OPERATIONS = ("swapon", "swapoff", "alloc", "free", "put", "dup", "reuse", "settle", "end")
"""Operations that a replay repeats; the method of `_Replay` for ``alloc`` is ``_alloc``, and so on."""

SILENT_OPS = frozenset({"map", "populate", "note", "skip"})
"""Operations of the recording script that cause no swap activity."""


def expand(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Returns the case files that paths name.

    Args:
        paths: Files, or directories that hold ``*.jsonl`` and ``*.jsonl.gz``.

    Returns:
        The files; the files of a directory are sorted by name.

    Raises:
        InvalidArgumentError: EINVAL; a path that is no file, or a directory without cases.
    """
    require_list("paths", paths)
    cases: list[Path] = []
    for path in map(Path, paths):
        found = (
            sorted(p for p in path.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz")))
            if path.is_dir()
            else [path]
        )
        if not found or not found[0].is_file():
            raise invalid(f"path {path} is neither a case file nor a directory of them")
        cases += found
    return cases


def replay(
    paths: Iterable[str | os.PathLike[str]],
    *,
    profile: str = DEFAULT_PROFILE,
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseResult]:
    """Replays many cases.

    Args:
        paths: Case files, or directories of case files.
        profile: Profile of the `Swap` that replays the cases.
        progress: Called with two numbers: cases done, and all cases.

    Returns:
        One result for each case.

    Raises:
        InvalidArgumentError: EINVAL; not a case file, or an unknown profile.
    """
    cases = expand(paths)
    results = []
    for number, path in enumerate(cases, 1):
        results.append(replay_case(path, profile=profile))
        if progress is not None:
            progress(number, len(cases))
    return results


def replay_case(path: str | os.PathLike[str], *, profile: str = DEFAULT_PROFILE) -> CaseResult:
    """Replays one case up to its end or its first divergence.

    Args:
        path: The case file.
        profile: Profile of the `Swap` that replays the case.

    Returns:
        The result.

    Raises:
        InvalidArgumentError: EINVAL; not a case file, or an unknown profile.
    """
    lines = _read(Path(path))
    header = lines[0]
    totals = _totals(path, lines)
    start = time.perf_counter()
    case = _Replay(lines, Swap(nr_cpus=header["ncpu"], profile=profile, workers="inline"))
    divergence = case.run(path)
    return CaseResult(
        case=header["case"],
        family=header["family"],
        path=str(path),
        profile=profile,
        **totals,
        slots_agreed=case.slots_agreed,
        seconds=time.perf_counter() - start,
        divergence=divergence,
    )


class _Diverged(Exception):  # noqa: N818 - the name states an event; the exception never leaves this module
    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got


@dataclass(slots=True)
class _Device:
    """The state that every slot of one device has according to the recording."""

    device: SwapDevice
    counts: NDArray[np.uint32]
    is_cached: NDArray[np.bool_]
    folios: dict[int, Folio] = field(default_factory=dict)


class _Replay:
    def __init__(self, lines: list[Line], swap: Swap) -> None:
        self.lines = lines
        self.swap = swap
        self.index = 0
        """Index of the line that is replayed."""
        self.devices: dict[int, _Device] = {}
        self.slots_agreed = 0
        self.reclaimed: list[Run] = []
        """Slots that the next allocation reclaims from the swap cache, according to the recording."""

    def run(self, path: str | os.PathLike[str]) -> Divergence | None:
        operations: dict[str, Callable[[Line], None]] = {op: getattr(self, f"_{op}") for op in OPERATIONS}
        for index, line in enumerate(self.lines):
            if line["op"] in SILENT_OPS or index == 0:
                continue
            self.index = index
            try:
                operations[line["op"]](line)
            except _Diverged as diverged:
                return self._divergence(diverged.expected, diverged.got)
            except InvariantError as error:
                return self._divergence("every invariant to hold", str(error))
            except SwapError as error:
                return self._divergence("success", f"{type(error).__name__}: {error}")
            except MALFORMED as error:
                raise invalid(
                    f"{path}, line {self.index + 1}: not a recorded {line['op']}: {error!r}"
                ) from error
        return None

    # Operations. Each method repeats the operation of one recorded line and compares every fact of the line.

    def _swapon(self, line: Line) -> None:
        discard = line["discard"] or None
        storage = Null(
            pages=line["pages"],
            bad_pages=line["bad"],
            is_rotational=not line["ssd"],
            is_discardable=discard is not None,
        )
        device = self.swap.swapon(storage, priority=line["asked_prio"], discard=discard)
        _expect("type", line["type"], device.type)
        _expect("priority", line["prio"], device.priority)
        _expect("usable slots", line["usable"], device.pages)
        nr = device.max_pages
        self.devices[device.type] = _Device(device, np.zeros(nr, "u4"), np.zeros(nr, "?"))
        self._compare_counters(line)

    def _swapoff(self, line: Line) -> None:
        state = self.devices[line["type"]]
        slots = np.frombuffer(state.device.slots(), dtype="u1")
        got = np.flatnonzero((slots == SLOT_SWAPPED) | (slots == SLOT_CACHED))
        expected = np.concatenate([np.arange(0), *(np.arange(off, off + nr) for _, off, nr in line["slots"])])
        if not np.array_equal(got, expected):
            odd = np.setxor1d(got, expected)
            raise _Diverged(
                f"{expected.size} slots in use at swapoff",
                f"{got.size}, first difference at {_swp(line['type'], odd[0])}",
            )
        self.swap.swapoff(state.device)
        del self.devices[line["type"]]
        self._compare_counters(line)

    def _alloc(self, line: Line) -> None:
        if line.get("fail"):
            self._alloc_fails(line)
        else:
            self._alloc_slots(line)
        self._take_back({"slots": self.reclaimed})
        self.reclaimed = []
        for state, _, off, nr in self._runs(line):
            state.counts[off : off + nr] = 1
        # `reclaim_work` has already run inside the last request, because the workers are inline. The
        # recording lists the slots that `reclaim_work` freed on the lines after this line.
        after = line
        for later in self._work_lines():
            after = later
            self._take_back(later)
        self._compare_slots(line)
        self._compare_counters(after)

    def _alloc_slots(self, line: Line) -> None:
        order = line["order"]
        expected = np.concatenate([_values(run, 1 << order) for run in line["slots"]])
        if expected.size != line["n"]:
            # The error is a ValueError, because `run` reports an `InvalidArgumentError` as a divergence.
            raise ValueError(f"{expected.size} runs for {line['n']} requests")
        got = np.asarray(self.swap.alloc_batch(line["n"], order, cpu=line["cpu"]))
        nr_agreed = _nr_agreed(expected, got)
        self.slots_agreed += nr_agreed << order
        if nr_agreed < expected.size:
            answer = _swp_of(got[nr_agreed]) if nr_agreed < got.size else "no room"
            raise _Diverged(
                f"{_swp_of(expected[nr_agreed])} (request {nr_agreed + 1} of {expected.size}, order {order})",
                answer,
            )

    def _alloc_fails(self, line: Line) -> None:
        for number in range(line["n"]):
            try:
                entry = self.swap.alloc(line["order"], cpu=line["cpu"])
            except SwapFullError:
                continue
            raise _Diverged(
                f"no room (request {number + 1} of {line['n']}, order {line['order']})",
                _swp(entry.type, entry.offset),
            )

    def _free(self, line: Line) -> None:
        if line["why"] == "reclaim":
            self.reclaimed += line["slots"]
            return
        if line["why"] == "work":
            self._compare_slots(line)
            if next(self._work_lines(), None) is None:
                self._compare_counters(line)
            return
        for state, kind, off, nr in self._runs(line):
            if state.is_cached[off : off + nr].any():
                # The slots are freed one by one, because `put` can leave a slot to the swap cache,
                # and a second call must free such a slot.
                for slot in range(off, off + nr):
                    self._free_slot(state, kind, slot, line["cpu"])
            else:
                self.swap.put(_value(kind, off), nr, cpu=line["cpu"])
            state.counts[off : off + nr] = 0
        self._compare(line)

    def _free_slot(self, state: _Device, kind: int, slot: int, cpu: int) -> None:
        if state.counts[slot]:
            self.swap.put(_value(kind, slot), 1, cpu=cpu)
        if state.is_cached[slot]:
            folio = _uncache(state, kind, slot)
            if folio.entry is not None and not self.swap.folio_free_swap(folio, cpu=cpu):
                raise _Diverged(f"{_swp(kind, slot)} to be freed", "references left on it")

    def _put(self, line: Line) -> None:
        keeps_cached = bool(line.get("cached"))
        for state, kind, off, nr in self._runs(line):
            if not line.get("cache") and not keeps_cached:
                self.swap.put(_value(kind, off), nr, cpu=line["cpu"])
            else:
                for slot in range(off, off + nr):
                    folio = self._cached_folio(state, kind, slot)
                    if line["why"].startswith("fault"):
                        self.swap.folio_put_swap(folio)
                    else:
                        # `put` lets the allocator itself decide that the mapped folio stays in the swap
                        # cache.
                        self.swap.put(_value(kind, slot), 1, cpu=line["cpu"])
            counts = state.counts[off : off + nr]
            counts -= 1
            if keeps_cached and counts.any():
                raise _Diverged("no reference left", f"{counts.max()} by the recording itself")
            if not keeps_cached and not counts.all():
                raise _Diverged("references left", "none by the recording itself")
        self._compare(line)

    def _dup(self, line: Line) -> None:
        for state, kind, off, nr in self._runs(line):
            self.swap.dup(_value(kind, off), nr, cpu=line["cpu"])
            state.counts[off : off + nr] += 1
        self._compare(line)

    def _reuse(self, line: Line) -> None:
        for state, kind, off, nr in self._runs(line):
            for slot in range(off, off + nr):
                folio = _uncache(state, kind, slot)
                self.swap.folio_dup_swap(folio)
                self.swap.swap_cache_del_folio(folio, cpu=line["cpu"])
            state.counts[off : off + nr] += 1
        self._compare(line)

    def _settle(self, line: Line) -> None:
        self.swap.run_workers()
        self._compare_counters(line)

    def _end(self, line: Line) -> None:
        if self.reclaimed:
            raise _Diverged("an allocation after the slots taken back", "the end of the recording")
        for kind, state in self.devices.items():
            slots = np.frombuffer(state.device.slots(), dtype="u1")
            is_bad = slots == SLOT_BAD
            expected = np.where(state.is_cached, SLOT_CACHED, np.where(state.counts > 0, SLOT_SWAPPED, 0))
            if not np.array_equal(slots[~is_bad], expected[~is_bad]):
                odd = int(np.flatnonzero((slots != expected) & ~is_bad)[0])
                raise _Diverged(f"{_swp(kind, odd)} in state {expected[odd]}", f"state {slots[odd]}")
        self._compare_counters(line)
        self.swap.check()

    # State that follows from the recording.

    def _runs(self, line: Line) -> Iterator[tuple[_Device, int, int, int]]:
        """Yields the runs of slots of a line: device, type, first offset and length."""
        for kind, off, nr in line["slots"]:
            yield self.devices[kind], kind, off, nr

    def _cached_folio(self, state: _Device, kind: int, slot: int) -> Folio:
        """Returns the folio of a slot; adds a new folio to the swap cache if no earlier line did so."""
        folio = state.folios.get(slot)
        if folio is None:
            folio = self.swap.folio(0)
            folio.is_mapped = True
            self.swap.swap_cache_add_folio(folio, _value(kind, slot))
            state.folios[slot] = folio
            state.is_cached[slot] = True
        return folio

    def _take_back(self, line: Line) -> None:
        """Checks that the allocator itself has reclaimed a line's slots, which only the swap cache held."""
        for state, kind, off, nr in self._runs(line):
            for slot in range(off, off + nr):
                folio = _uncache(state, kind, slot)
                name, count = _swp(kind, slot), state.counts[slot]
                if count:
                    raise _Diverged(f"{name} to have no reference", f"{count} by the recording")
                if folio.entry is not None:
                    raise _Diverged(f"{name} to be taken back from the swap cache", "still cached")

    def _work_lines(self) -> Iterator[Line]:
        """Yields the lines right after the current line that record slots freed by `reclaim_work`."""
        for line in itertools.islice(self.lines, self.index + 1, None):
            if line.get("why") == "work":
                yield line
            elif line["op"] not in SILENT_OPS:
                return

    # Comparisons of the state of swapcore with the recording.

    def _compare_counters(self, line: Line) -> None:
        if self.reclaimed:
            # The allocator has not taken all reclaimed slots back yet, because the line describes a moment
            # inside the next allocation.
            return
        inuse = {kind: state.device.inuse_pages for kind, state in sorted(self.devices.items())}
        expected = {int(kind): count for kind, count in sorted(line["inuse"].items())}
        _expect("slots in use by type", expected, inuse)
        nr_cached = sum(len(state.folios) for state in self.devices.values())
        _expect("cached slots", nr_cached, self.swap.nr_swapcache_pages)

    def _compare(self, line: Line) -> None:
        self._compare_slots(line)
        self._compare_counters(line)

    def _compare_slots(self, line: Line) -> None:
        """Compares the table entries of a line's runs with their expected kind and count."""
        for state, kind, off, nr in self._runs(line):
            words = np.frombuffer(self.swap.lookup_many(_values([kind, off, nr], 1).data), dtype="u8")
            counts = state.counts[off : off + nr]
            is_cached = state.is_cached[off : off + nr]
            low_bits = np.where(is_cached, 2, np.where(counts > 0, 1, 0))
            # A table entry with bit 0 set is a shadow, whatever bit 1 is, because bit 1 is a part of the
            # shadow's value.
            got_bits = np.where(words & 1, 1, words & 3)
            is_same = (got_bits == low_bits) & (words >> COUNT_SHIFT == np.minimum(counts, COUNT_OVERFLOW))
            is_same &= (words == 0) == (low_bits == 0)
            if not is_same.all():
                slot = off + int(np.argmin(is_same))
                got = self.swap.lookup(_value(kind, slot))
                expected = f"{_swp(kind, slot)} {_state(state, slot)}"
                raise _Diverged(expected, f"{got['kind']}, count {got['count']}")
            for slot in (off + np.flatnonzero(counts >= COUNT_OVERFLOW)).tolist():
                count = self.swap.swap_count(_value(kind, slot))
                _expect(f"count of {_swp(kind, slot)}", int(state.counts[slot]), count)

    def _divergence(self, expected: str, got: str) -> Divergence:
        op = self.lines[self.index]["op"]
        return Divergence(self.index + 1, op, expected, got, {**self.swap.dump()})


def _read(path: Path) -> list[Line]:
    opener = gzip.open if path.suffix == ".gz" else open
    lines: list[Line] = []
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            lines += map(json.loads, file)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise invalid(f"{path}, line {len(lines) + 1}: not a recorded case: {error}") from error
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            raise invalid(f"{path}, line {number}: not an object: {line!r}")
        cpu = line.get("cpu", 0)
        if not isinstance(cpu, int) or cpu < 0:
            raise invalid(f"{path}, line {number}: no such cpu: {cpu!r}")
    if not lines or lines[0].get("op") != "header":
        raise invalid(f"{path}, line 1: not the header of a recorded case")
    missing = [key for key in ("case", "family", "ncpu") if key not in lines[0]]
    if missing:
        raise invalid(f"{path}, line 1: header without {', '.join(missing)}")
    for key, limit in (("cluster", SWAPFILE_CLUSTER), ("page_size", PAGE_SIZE)):
        if lines[0].get(key) != limit:
            raise invalid(f"{path}: {key} {lines[0].get(key)} is not {limit}")
    if lines[-1].get("op") != "end":
        raise invalid(f"{path}: cut off at line {len(lines)}, no end line")
    return lines


def _uncache(state: _Device, kind: int, slot: int) -> Folio:
    folio = state.folios.pop(slot, None)
    if folio is None:
        raise _Diverged(f"{_swp(kind, slot)} in the swap cache", "not read into it by the recording itself")
    state.is_cached[slot] = False
    return folio


def _totals(path: str | os.PathLike[str], lines: list[Line]) -> dict[str, int]:
    """Counts the allocations, frees and slots of all lines of a case, also after the first divergence."""
    totals = dict.fromkeys(("allocations", "frees", "slots"), 0)
    for number, line in enumerate(lines, 1):
        try:
            if line["op"] == "alloc":
                totals["allocations"] += line["n"]
                totals["slots"] += sum(nr for _, _, nr in line["slots"])
            elif line["op"] == "free":
                totals["frees"] += sum(nr for _, _, nr in line["slots"])
        except MALFORMED as error:
            raise invalid(f"{path}, line {number}: not a recorded operation: {error!r}") from error
    return totals


def _value(kind: int, offset: int) -> int:
    return kind << TYPE_SHIFT | offset


def _values(run: Run, step: int) -> NDArray[np.uint64]:
    kind, off, nr = run
    first = _value(kind, off)
    return np.arange(first, first + nr, step, dtype=np.uint64)


def _nr_agreed(expected: NDArray[np.uint64], got: NDArray[np.uint64]) -> int:
    nr = min(expected.size, got.size)
    is_same = expected[:nr] == got[:nr]
    return nr if is_same.all() else int(np.argmin(is_same))


def _expect(name: str, expected: object, got: object) -> None:
    if expected != got:
        raise _Diverged(f"{name} {expected}", f"{got}")


def _swp(kind: int, offset: int) -> str:
    return f"swp({kind}:{offset:#x})"


def _swp_of(value: np.uint64) -> str:
    return _swp(int(value) >> TYPE_SHIFT, int(value) & ((1 << TYPE_SHIFT) - 1))


def _state(state: _Device, slot: int) -> str:
    count = int(state.counts[slot])
    kind = "folio" if state.is_cached[slot] else "shadow" if count else "null"
    return f"{kind}, count {count}"
