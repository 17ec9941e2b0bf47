"""Runs random operations on one subsystem from Python threads, and proves that no slot was lost.

`stress` is the counterpart of `swapcore._core.stress` that uses the public API, one call at a time. `stress`
finds errors between interpreter threads and measures no speed. Every slot has an ownership mark outside the
allocator. The marks show a slot that is handed out twice, or freed without an owner, even if the allocator's
own state hides the error.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from array import array
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from swapcore._core import Swap, SwpEntry
from swapcore.exceptions import InvariantError, SwapFullError, invalid
from swapcore.storage import Null

from .steps import draw_order, dup_and_put, free_cached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swapcore._core import Folio, SwapDevice

    Run = tuple[int, int]
    """A run of slots: the value of its first entry, and its length in pages."""

__all__ = ["stress"]

TYPE_SHIFT = 58
OFFSET_MASK = (1 << TYPE_SHIFT) - 1

SWITCH_SECONDS = 20e-6
"""Switch interval of the interpreter during the stress, so that a thread runs only a few calls in a turn."""

BATCH_MAX = 64
BURST_LOOPS = 1024
BURST_KEEPS_RUNS = 64
CACHED_MAX = 256
JOIN_SECONDS = 60.0


def stress(
    *,
    threads: int,
    seconds: float,
    seed: int,
    pages: int = 262_144,
    devices: int = 2,
    nr_cpus: int | None = None,
    profile: str = "newest",
) -> dict[str, Any]:
    """Runs random operations from many Python threads on one `Swap`.

    Each thread allocates runs of all orders singly and in batches, and frees whole runs, parts of runs and
    batches. Each thread adds and drops references, leaves slots that only the swap cache holds, hands runs to
    other threads, which free these runs, and sometimes allocates until no slot is free.

    Args:
        threads: Python threads.
        seconds: Duration of the run.
        seed: Seed of every thread's choices; the machine decides the interleaving.
        pages: Slots of all devices together, headers included.
        devices: Number of devices; the first two have equal priority.
        nr_cpus: CPUs of the subsystem; None takes one for each thread.
        profile: See `Swap`.

    Returns:
        ``ops``, ``allocated_runs``, ``freed_slots``, ``failures``, ``dups``, ``cached_folios``,
        ``seconds``, ``seed``, ``threads``, ``inuse_pages_end`` (0) and ``double_handouts`` (0).

    Raises:
        InvalidArgumentError: EINVAL; a number that is too small.
        InvariantError: A slot was handed out twice or lost, or an invariant is broken.
    """
    _require_numbers(threads, seconds, pages, devices)
    swap = Swap(nr_cpus=threads if nr_cpus is None else nr_cpus, profile=profile)
    marks = {}
    turned_on = []
    for number in range(devices):
        device = swap.swapon(Null(pages=pages // devices), priority=10 - max(number - 1, 0))
        turned_on.append(device)
        marks[device.type] = bytearray(device.max_pages)

    hammer = _Hammer(swap, marks, threads, seed)
    start = time.monotonic()
    with _switch_interval(SWITCH_SECONDS):
        hammer.run(start + seconds)
    elapsed = time.monotonic() - start
    hammer.drain()
    return {
        **{key: sum(worker.counts[key] for worker in hammer.workers) for key in _COUNTS},
        "seconds": elapsed,
        "seed": seed,
        "threads": threads,
        "inuse_pages_end": _prove(swap, turned_on, marks),
        "double_handouts": 0,
    }


_COUNTS = ("ops", "allocated_runs", "freed_slots", "failures", "dups", "cached_folios")


def _require_numbers(threads: int, seconds: float, pages: int, devices: int) -> None:
    if not 0 <= seconds < float("inf"):
        raise invalid(f"seconds {seconds} is neither 0 nor more")
    for name, value in (
        ("threads", threads),
        ("devices", devices),
        ("pages per device", pages // max(devices, 1) // 2),
    ):
        if value < 1:
            raise invalid(f"{name} {value} is under the least, 1")


class _Hammer:
    """Holds the state that the threads share."""

    def __init__(self, swap: Swap, marks: dict[int, bytearray], nr_threads: int, seed: int) -> None:
        self.swap = swap
        self.marks = marks
        self.barrier = threading.Barrier(nr_threads)
        self.errors: SimpleQueue[BaseException] = SimpleQueue()
        self.is_stopped = threading.Event()
        self.workers = [_Worker(self, number, seed) for number in range(nr_threads)]

    def run(self, deadline: float) -> None:
        running = [
            threading.Thread(
                target=worker.run, args=(deadline,), name=f"swapcore-stress-{worker.number}", daemon=True
            )
            for worker in self.workers
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(max(deadline - time.monotonic(), 0.0) + JOIN_SECONDS)
            if thread.is_alive():
                raise InvariantError(f"{thread.name} is stuck {JOIN_SECONDS:.0f} s after the end")
        if not self.errors.empty():
            raise self.errors.get()

    def drain(self) -> None:
        for worker in self.workers:
            worker.drain()


class _Worker:
    def __init__(self, hammer: _Hammer, number: int, seed: int) -> None:
        self.hammer = hammer
        self.swap = hammer.swap
        self.number = number
        self.cpu = number % hammer.swap.nr_cpus
        self.mark = number % 255 + 1
        self.rng = random.Random(f"{seed}/{number}")  # noqa: S311 - choices, not secrets
        self.held: list[Run] = []
        self.cached: list[Folio] = []
        self.inbox: SimpleQueue[Run] = SimpleQueue()
        self.counts = dict.fromkeys(_COUNTS, 0)

    def run(self, deadline: float) -> None:
        weights = {
            self._alloc: 30,
            self._alloc_batch: 4,
            self._free: 24,
            self._free_part: 8,
            self._free_batch: 3,
            self._dup: 12,
            self._cache: 6,
            self._send: 10,
        }
        try:
            self.hammer.barrier.wait()
            for loop in itertools.count():
                if time.monotonic() >= deadline or self.hammer.is_stopped.is_set():
                    return
                for step in self.rng.choices([*weights], [*weights.values()], k=32):
                    step()
                    self.counts["ops"] += 1
                self._receive()
                # The first burst of a thread is in one of its first loops, so that a short run has bursts
                # too. The loop number of the bursts differs by thread, so that the threads take turns.
                if loop % BURST_LOOPS == self.number % BURST_LOOPS:
                    self._burst()
        except BaseException as error:  # noqa: BLE001 - `_Hammer.run` raises the error in the calling thread
            self.hammer.errors.put(error)
            self.hammer.is_stopped.set()

    def drain(self) -> None:
        """Frees all runs that this worker holds or has in its inbox, when all threads have stopped."""
        self._receive()
        while self.held:
            self._release(*self.held.pop())
        while self.cached:
            self._uncache()

    # Steps. Each step makes one or a few calls to the allocator.

    def _alloc(self) -> None:
        order = draw_order(self.rng)
        try:
            self._own(int(self.swap.alloc(order, cpu=self.cpu)), 1 << order)
        except SwapFullError:
            self.counts["failures"] += 1
            self._free()

    def _alloc_batch(self) -> None:
        order = draw_order(self.rng)
        n = self.rng.randint(1, BATCH_MAX)
        self.counts["failures"] += self._own_batch(n, order) < n

    def _free(self) -> None:
        if self.held:
            self._release(*self._take())

    def _free_part(self) -> None:
        if not self.held:
            return
        value, nr = self._take()
        first = self.rng.randrange(nr)
        length = self.rng.randint(1, nr - first)
        self._release(value + first, length)
        if first:
            self.held.append((value, first))
        if first + length < nr:
            self.held.append((value + first + length, nr - first - length))

    def _free_batch(self) -> None:
        runs = [self._take() for _ in range(min(len(self.held), self.rng.randint(1, BATCH_MAX)))]
        singles = [value for value, nr in runs if nr == 1]
        self.held += [run for run in runs if run[1] > 1]
        if singles:
            for value in singles:
                self._disown(value, 1)
            self.swap.free_batch(array("Q", singles))
            self.counts["freed_slots"] += len(singles)

    def _dup(self) -> None:
        """Adds up to 40 references, more than a table entry can count inline, and drops the references."""
        if not self.held:
            return
        value, nr = self.rng.choice(self.held)
        times = self.rng.choice((1, 1, 1, 2, 15, 40))
        dup_and_put(self.swap, value, nr, times, cpu=self.cpu, name=_name(value))
        self.counts["dups"] += times

    def _cache(self) -> None:
        """Leaves a slot that only the swap cache holds, so that the allocator may reclaim the slot."""
        if not self.held:
            return
        value, nr = self._take()
        if nr > 1:
            self.held.append((value, nr))
            return
        folio = self.swap.folio()
        self.swap.swap_cache_add_folio(folio, value)
        self.cached.append(folio)
        self._disown(value, 1)
        self.swap.folio_put_swap(folio)
        self.counts["freed_slots"] += 1
        self.counts["cached_folios"] += 1
        if len(self.cached) > CACHED_MAX:
            self._uncache()

    def _uncache(self) -> None:
        free_cached(self.swap, self.rng, self.cached, cpu=self.cpu)

    def _send(self) -> None:
        if self.held:
            self.rng.choice(self.hammer.workers).inbox.put(self._take())

    def _receive(self) -> None:
        """Frees on this CPU the runs that other threads allocated on their CPUs."""
        while not self.inbox.empty():
            self._release(*self.inbox.get())

    def _burst(self) -> None:
        """Allocates until there is no room, then frees most of the runs."""
        order = self.rng.choice((0, 2, 4, 9))
        while self._own_batch(4096, order):
            pass
        self.counts["failures"] += 1
        while len(self.held) > BURST_KEEPS_RUNS:
            self._release(*self._take())

    # Bookkeeping of the owners of slots, outside the allocator.

    def _take(self) -> Run:
        index = self.rng.randrange(len(self.held))
        self.held[index], self.held[-1] = self.held[-1], self.held[index]
        return self.held.pop()

    def _own(self, value: int, nr: int) -> None:
        marks, offset = self._marks(value)
        # Two threads that own the same slot may both pass this check at the same time. In this case the
        # second of the two frees finds no mark and raises.
        if marks.count(0, offset, offset + nr) != nr:
            raise InvariantError(
                f"{_name(value)} of {nr} slots was handed out while another thread owns a part of it"
            )
        marks[offset : offset + nr] = bytes((self.mark,)) * nr
        self.held.append((value, nr))
        self.counts["allocated_runs"] += 1

    def _own_batch(self, n: int, order: int) -> int:
        """Allocates up to ``n`` runs in one call; returns the number of runs."""
        batch = self.swap.alloc_batch(n, order, cpu=self.cpu)
        for entry in batch:
            self._own(int(entry), 1 << order)
        return len(batch)

    def _disown(self, value: int, nr: int) -> None:
        marks, offset = self._marks(value)
        if 0 in marks[offset : offset + nr]:
            raise InvariantError(
                f"{_name(value)} of {nr} slots is about to be freed but a part of it has no owner"
            )
        marks[offset : offset + nr] = bytes(nr)

    def _release(self, value: int, nr: int) -> None:
        # The mark is removed before the free, because another thread may get the slot before `free` returns.
        self._disown(value, nr)
        self.swap.free(value, nr, cpu=self.cpu)
        self.counts["freed_slots"] += nr

    def _marks(self, value: int) -> tuple[bytearray, int]:
        return self.hammer.marks[value >> TYPE_SHIFT], value & OFFSET_MASK


def _prove(swap: Swap, devices: list[SwapDevice], marks: dict[int, bytearray]) -> int:
    """Proves that every slot of the subsystem is free after the drain; returns the slots in use, 0."""
    swap.check()
    for device in devices:
        owned = len(marks[device.type]) - marks[device.type].count(0)
        if owned:
            raise InvariantError(f"{owned} slots of type {device.type} still have an owner after the drain")
        slots = device.slots()
        if slots.count(0) != device.pages:
            raise InvariantError(
                f"{slots.count(0)} slots of type {device.type} are free, not all {device.pages}"
            )
    inuse_pages = sum(device.inuse_pages for device in devices)
    if inuse_pages or swap.nr_swap_pages != swap.total_swap_pages:
        raise InvariantError(
            f"{inuse_pages} slots in use, {swap.nr_swap_pages} of {swap.total_swap_pages} free"
        )
    return inuse_pages


@contextmanager
def _switch_interval(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _name(value: int) -> str:
    entry = SwpEntry(value)
    return f"swp({entry.type}:{entry.offset:#x})"
