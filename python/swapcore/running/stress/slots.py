"""Random operations on slots without data: allocate, free, add references, cache, turn devices off."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from swapcore.exceptions import InvariantError, SwapFullError
from swapcore.storage import Null

from .program import OpsRun, Program
from .steps import draw_order, dup_and_put, free_cached

if TYPE_CHECKING:
    from swapcore._core import Folio, SwapDevice

TYPE_SHIFT = 58
"""Bits of a swap entry below its swap type."""

BATCH_MAX = 64
CACHED_MAX = 64


class SlotProgram(Program):
    """Allocates and frees runs of slots; a mark of each slot shows a slot that is handed out twice."""

    WEIGHTS: ClassVar[dict[str, int]] = {
        "alloc": 30,
        "alloc_batch": 4,
        "free": 22,
        "free_part": 8,
        "dup": 10,
        "cache": 6,
    }

    def __init__(self, how: OpsRun) -> None:
        """Turns the devices on.

        Args:
            how: The description of the run.
        """
        super().__init__(how)
        self.held: list[tuple[int, int]] = []
        self.cached: list[Folio] = []
        self.owned: set[int] = set()
        for number in range(how.devices):
            self.swap.swapon(Null(pages=how.pages // how.devices), priority=10 - min(number, 1))

    def alloc(self) -> None:
        """Allocates one run."""
        order = draw_order(self.rng)
        try:
            self._own(int(self.swap.alloc(order, cpu=self.cpu)), 1 << order)
        except SwapFullError:
            self.counts["full"] += 1
            self.free()

    def alloc_batch(self) -> None:
        """Allocates several runs in one call."""
        order, nr = draw_order(self.rng), self.rng.randint(1, BATCH_MAX)
        batch = self.swap.alloc_batch(nr, order, cpu=self.cpu)
        for entry in batch:
            self._own(int(entry), 1 << order)
        self.counts["full"] += len(batch) < nr

    def free(self) -> None:
        """Frees one run."""
        if self.held:
            self._release(*self._take())

    def free_part(self) -> None:
        """Frees a part of one run."""
        if not self.held:
            return
        value, nr = self._take()
        first = self.rng.randrange(nr)
        length = self.rng.randint(1, nr - first)
        self._release(value + first, length)
        rest = ((value, first), (value + first + length, nr - first - length))
        self.held += [run for run in rest if run[1]]

    def dup(self) -> None:
        """Adds references, sometimes more than a table entry can count, and drops them."""
        if not self.held:
            return
        value, nr = self.rng.choice(self.held)
        times = self.rng.choice((1, 1, 2, 15, 40))
        dup_and_put(self.swap, value, nr, times, cpu=self.cpu, name=f"slot {value:#x}")

    def cache(self) -> None:
        """Leaves a slot that only the swap cache holds, so that the allocator may take the slot back."""
        singles = [place for place, (_, nr) in enumerate(self.held) if nr == 1]
        if not singles:
            return
        value, _ = self.held.pop(self.rng.choice(singles))
        folio = self.swap.folio(cpu=self.cpu)
        self.swap.swap_cache_add_folio(folio, value)
        self.cached.append(folio)
        self.owned.discard(value)
        self.swap.folio_put_swap(folio)
        if len(self.cached) > CACHED_MAX:
            self._uncache()

    def swapoff(self) -> None:
        """Turns a device off, which drops the references to its slots, and on again."""
        device: SwapDevice = self.rng.choice(sorted(self.swap.devices, key=lambda device: device.type))
        kind, prio, pages = device.type, device.priority, device.max_pages
        self.held = [run for run in self.held if run[0] >> TYPE_SHIFT != kind]
        self.owned = {value for value in self.owned if value >> TYPE_SHIFT != kind}
        self.swap.swapoff(device)
        self.swap.swapon(Null(pages=pages), priority=prio)
        self.counts["swapoffs"] += 1

    def drain(self) -> None:
        """Frees all runs and empties the swap cache."""
        while self.held:
            self._release(*self.held.pop())
        while self.cached:
            self._uncache()

    def _take(self) -> tuple[int, int]:
        return self.held.pop(self.rng.randrange(len(self.held)))

    def _own(self, value: int, nr: int) -> None:
        slots = range(value, value + nr)
        if not self.owned.isdisjoint(slots):
            raise InvariantError(f"slot {value:#x}, a run of {nr}, was handed out while it is in use")
        self.owned.update(slots)
        self.held.append((value, nr))

    def _release(self, value: int, nr: int) -> None:
        self.owned.difference_update(range(value, value + nr))
        self.swap.free(value, nr, cpu=self.cpu)

    def _uncache(self) -> None:
        free_cached(self.swap, self.rng, self.cached, cpu=self.cpu)
