"""Random operations on address spaces whose pages have data, with all parts that the options ask for."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from swapcore._core import PAGE_SIZE
from swapcore.exceptions import (
    EntryGoneError,
    InvalidArgumentError,
    InvariantError,
    SwapFullError,
    SwapIOError,
    SwapMemoryError,
)
from swapcore.storage import Faulty, Ghost, Zram

from .program import OpsRun, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swapcore._core import MemCgroup, Mm, SwapDevice, SwpEntry

SPAN_PAGES = 512
"""Pages of the mapping of an address space."""

TASKS_MAX = 8
RANGE_MAX = 96

MEMORY_PAGES = 2048
"""Memory of the subsystem, less than the address spaces have together, so that reclaim runs too."""

FAULT_PROBABILITY = 0.05

READ_WRITTEN = 0.9
"""Probability that `DataProgram.read` reads a page that was written."""

ZSWAP_ENABLED = 0.8
"""Probability that `DataProgram.zswap` turns zswap on, when it turns zswap on or off."""

ZERO_SHARE, COMPRESSIBLE_SHARE = 0.1, 0.7
"""Shares of the written pages that are zeros, and that compress well."""

LIMITS = ("max", "1M", "2M", "4M")
ZEROS = bytes(PAGE_SIZE)


@dataclass(slots=True)
class _Task:
    """An address space, and the pages that it wrote: a page that is not listed has zeros."""

    mm: Mm
    first_page: int
    group: MemCgroup | None
    pages: dict[int, bytes] = field(default_factory=dict)


class DataProgram(Program):
    """Writes pages, swaps them out and in, and compares each page that is read with what was written."""

    WEIGHTS: ClassVar[dict[str, int]] = {
        "write": 34,
        "read": 26,
        "pageout": 14,
        "willneed": 3,
        "zap": 3,
        "fork": 2,
        "spawn": 1,
        "end": 2,
    }

    def __init__(self, how: OpsRun) -> None:
        """Turns the devices on and makes the groups.

        Args:
            how: The description of the run.
        """
        super().__init__(how, memory_pages=MEMORY_PAGES, zswap=how.zswap)
        self.storages: dict[int, tuple[Ghost | Zram | Faulty, int]] = {}
        self.faulty: list[Faulty] = []
        if how.ghost is not None:
            self._swapon(Ghost(how.ghost, is_virtual=True), 20)
        for number in range(how.devices):
            storage: Zram | Faulty = Zram(pages=how.pages // how.devices)
            if how.faults:
                storage = Faulty(storage, seed=how.seed + number)
                self.faulty.append(storage)
            self._swapon(storage, 10 - min(number, 1))
        self.groups = [self.swap.memcg.create(f"group{number}") for number in range(how.groups)]
        self.nr_groups_made = how.groups
        self.tasks: list[_Task] = []
        self.spawn()

    def weights(self) -> dict[str, int]:
        """Returns the operations of this run with their weights."""
        weights = super().weights()
        if self.how.faults:
            weights["fault"] = 3
        if self.how.groups:
            weights |= {"limit": 3, "move": 2, "regroup": 1}
        if self.how.zswap is not None:
            weights["zswap"] = 4
        if self.how.ghost is not None:
            weights["resize"] = 1
        return weights

    # Operations of address spaces.

    def write(self) -> None:
        """Writes one whole page."""
        task, page = self._task(), self.rng.randrange(SPAN_PAGES)
        data = self._page()
        with self._refused():
            task.mm.write((task.first_page + page) * PAGE_SIZE, data, cpu=self.cpu)
            task.pages[page] = data

    def read(self) -> None:
        """Reads one page, usually one that was written, and compares it."""
        task = self._task()
        written = sorted(task.pages)
        page = (
            self.rng.choice(written)
            if written and self.rng.random() < READ_WRITTEN
            else self.rng.randrange(SPAN_PAGES)
        )
        with self._refused():
            self._verify(task, page)

    def pageout(self) -> None:
        """Swaps a range of pages out."""
        task = self._task()
        with self._refused():
            task.mm.pageout(*self._range(task), cpu=self.cpu)

    def willneed(self) -> None:
        """Reads a range of pages into the swap cache."""
        task = self._task()
        with self._refused():
            task.mm.willneed(*self._range(task), cpu=self.cpu)

    def zap(self) -> None:
        """Drops a range of pages."""
        task = self._task()
        first, nr = self._range(task)
        task.mm.zap(first, nr, cpu=self.cpu)
        for page in range(first - task.first_page, first - task.first_page + nr):
            task.pages.pop(page, None)

    def fork(self) -> None:
        """Copies an address space."""
        if len(self.tasks) < TASKS_MAX:
            task = self._task()
            with self._refused():
                child = task.mm.fork(cpu=self.cpu)
                self.tasks.append(_Task(child, task.first_page, task.group, dict(task.pages)))

    def spawn(self) -> None:
        """Starts an address space."""
        if len(self.tasks) < TASKS_MAX:
            group = self.rng.choice(self.groups) if self.groups else None
            mm = self.swap.mm() if group is None else self.swap.mm(memcg=group)
            orders = self.rng.choice((None, 1, 0b10001))
            self.tasks.append(_Task(mm, mm.mmap(SPAN_PAGES, orders=orders), group))

    def end(self) -> None:
        """Ends an address space."""
        if len(self.tasks) > 1:
            self.tasks.pop(self.rng.randrange(len(self.tasks)))

    # Operations of the other parts.

    def swapoff(self) -> None:
        """Turns a device off, which reads its pages back, and on again."""
        device: SwapDevice = self.rng.choice(sorted(self.swap.devices, key=lambda device: device.type))
        kind = device.type

        def unuse(_entry: SwpEntry, _count: int) -> None:
            for task in self.tasks:
                task.mm.unuse(device, cpu=self.cpu)

        with self._refused():
            self.swap.swapoff(device, unuse)
            self._swapon(*self.storages.pop(kind))
            self.counts["swapoffs"] += 1

    def fault(self) -> None:
        """Plans failures of a storage, or none."""
        storage = self.rng.choice(self.faulty)
        write, read = (FAULT_PROBABILITY * self.rng.randrange(3) for _ in range(2))
        storage.set_faults(write_error_probability=write, read_error_probability=read)

    def limit(self) -> None:
        """Changes a limit of a group."""
        group = self.rng.choice(self.groups)
        file = self.rng.choice(("memory.max", "memory.high", "memory.swap.max"))
        with self._refused():
            group.write(file, self.rng.choice(LIMITS))

    def move(self) -> None:
        """Moves an address space to a group."""
        task = self._task()
        task.group = self.rng.choice(self.groups)
        task.mm.memcg = task.group

    def regroup(self) -> None:
        """Removes a group that has no address space, and makes another group."""
        used = [task.group for task in self.tasks]
        for place, group in enumerate(self.groups):
            if group not in used:
                group.remove()
                self.groups[place] = self.swap.memcg.create(f"group{self.nr_groups_made}")
                self.nr_groups_made += 1
                return

    def zswap(self) -> None:
        """Writes pages of zswap back, or changes whether zswap takes new pages."""
        zswap = self.swap.zswap
        choice = self.rng.randrange(3)
        if choice == 0:
            zswap.enabled = self.rng.random() < ZSWAP_ENABLED
            return
        with self._refused():
            try:
                if choice == 1:
                    zswap.shrink(cpu=self.cpu)
                else:
                    zswap.shrink_worker(cpu=self.cpu)
            except (EntryGoneError, InvalidArgumentError) as error:
                # There was no page to write back, or every page had a second chance left.
                if error.errno not in {errno.ENOENT, errno.EAGAIN}:
                    raise

    def resize(self) -> None:
        """Gives the ghost another size."""
        for device in self.swap.devices:
            if device.kind == "ghost":
                self.swap.resize(device, pages=self.rng.randint(2, 16) * 512)

    def drain(self) -> None:
        """Reads every page once more, without planned failures, and ends all address spaces."""
        for storage in self.faulty:
            storage.set_faults()
        for group in self.groups:
            group.write("memory.max", "max")
            group.write("memory.high", "max")
        while self.tasks:
            task = self.tasks[-1]
            for page in sorted(task.pages):
                self._verify(task, page)
            del task
            self.tasks.pop()

    def _swapon(self, storage: Ghost | Zram | Faulty, priority: int) -> None:
        self.storages[self.swap.swapon(storage, priority=priority).type] = (storage, priority)

    def _task(self) -> _Task:
        return self.rng.choice(self.tasks)

    def _range(self, task: _Task) -> tuple[int, int]:
        first = self.rng.randrange(SPAN_PAGES)
        return task.first_page + first, self.rng.randint(1, min(RANGE_MAX, SPAN_PAGES - first))

    def _page(self) -> bytes:
        """Returns the content of a page: zeros, a word again and again, or bytes that do not compress."""
        kind = self.rng.random()
        if kind < ZERO_SHARE:
            return ZEROS
        if kind < ZERO_SHARE + COMPRESSIBLE_SHARE:
            return self.rng.randbytes(8) * (PAGE_SIZE // 8)
        return self.rng.randbytes(PAGE_SIZE)

    def _verify(self, task: _Task, page: int) -> None:
        data = task.mm.read((task.first_page + page) * PAGE_SIZE, PAGE_SIZE, cpu=self.cpu)
        if data != task.pages.get(page, ZEROS):
            raise InvariantError(f"page {page} of an address space is not what was written")
        self.counts["verified_pages"] += 1

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Counts the errors that an operation may raise: no room, no memory, and planned failures."""
        try:
            yield
        except SwapFullError:
            self.counts["full"] += 1
        except SwapMemoryError:
            self.counts["no_memory"] += 1
        except SwapIOError:
            if not self.how.faults:
                raise
            self.counts["io_errors"] += 1
