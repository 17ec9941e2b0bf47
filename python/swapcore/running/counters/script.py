"""Runs the operations of a recorded script through the public API, and reads the values of swapcore."""

from __future__ import annotations

import errno
import functools
import itertools
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swapcore._core import PAGE_SIZE, MemcgFile, MemCgroup, Mm, Swap, SwapDevice
from swapcore.exceptions import SwapError, SwapMemoryError
from swapcore.storage import File, Zram

from .groups import LIMITS, ROOT, amount, v1_values, v2_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .recording import Case, Device, Step

NR_CPUS = 2
MEMORY_PAGES = 6 << 20
"""Memory of the machine of the recordings: 24 GiB."""

CPU = 0
"""The CPU that every process of a script runs on."""

SWITCHES = {"memcg_stock": "on", "memcg_stat": "flushed", "lru_add_batch": "on", "oom": "kill"}
"""Switches that imitate the machine of the recordings."""

SWITCHES_BY_HAND = {"memcg_stock": "off", "oom": "kill"}
"""Switches of a case that was computed by hand: a charge is the pages that it names."""

ROOT_FILE_PAGES = 200_000
"""Pages of file cache of the machine of the recordings, at which the refaults after a pageout are judged."""

OF_TASKS = frozenset({"fill", "write", "read", "pageout", "zap", "fork", "exit"})
"""Operations whose first argument is a process."""

TOUCHES = frozenset({"fill", "write", "read"})
"""Operations at which the OOM killer can end a process."""

ACCESS_BYTE = PAGE_SIZE - 8
"""The byte of a page that an access reads or writes."""

VMSTAT = (
    "pswpin", "pswpout", "swpin_zero", "swpout_zero", "swap_ra", "swap_ra_hit", "zswpin", "zswpout", "zswpwb",
    "workingset_refault_anon", "workingset_activate_anon", "workingset_restore_anon", "thp_swpout",
    "thp_swpout_fallback", "nr_swapcached", "pgdeactivate",
)  # fmt: skip
"""Keys of `Swap.stats` that a recording has from ``/proc/vmstat``."""

WORD_BYTES = 8

_TEXT_LINES = np.frombuffer(b"two nice" * (PAGE_SIZE // WORD_BYTES), "u1").reshape(-1, 8 * WORD_BYTES)
"""A page of text before its random words: 64 lines of 8 words."""


@functools.lru_cache(maxsize=4096)
def content(kind: str, seed: int) -> bytes:
    """Makes the bytes of a page.

    Args:
        kind: ``zero``; ``same``, one byte over and over; ``rand``; ``text``, 1 word in 8 random.
        seed: Seed of the bytes.

    Returns:
        The page.
    """
    if kind == "zero":
        return bytes(PAGE_SIZE)
    if kind == "same":
        return bytes([1 + seed % 255]) * PAGE_SIZE
    rng = random.Random(seed)  # noqa: S311 - the bytes are no secret
    if kind == "rand":
        return rng.randbytes(PAGE_SIZE)
    lines = _TEXT_LINES.copy()
    lines[:, :WORD_BYTES] = np.frombuffer(rng.randbytes(len(lines) * WORD_BYTES), "u1").reshape(
        -1, WORD_BYTES
    )
    return lines.tobytes()


def page_numbers(spec: Sequence[int | Sequence[int]]) -> Iterator[int]:
    """Yields the pages of an access: numbers as they are, ``[start, count, step]`` one by one."""
    for item in spec:
        if isinstance(item, int):
            yield item
        else:
            start, count, step = item
            yield from range(start, start + count * step, step)


def page_ranges(numbers: Sequence[int]) -> str:
    """Formats ascending page numbers as a recording does, such as ``0-15,20``."""
    runs = itertools.groupby(enumerate(numbers), key=lambda item: item[1] - item[0])
    texts = []
    for _, run in runs:
        run_pages = [page for _, page in run]
        texts.append(str(run_pages[0]) if len(run_pages) == 1 else f"{run_pages[0]}-{run_pages[-1]}")
    return ",".join(texts)


class _Task:
    """A process of a script: its address space, and the first page and size of each region."""

    def __init__(self, mm: Mm, regions: dict[str, tuple[int, int]]) -> None:
        self.mm = mm
        self.regions = regions


class Machine:
    """The machine of one case: runs steps and reads values.

    Attributes:
        swap: The subsystem.
    """

    def __init__(self, case: Case, profile: str) -> None:
        self._case = case
        self.swap = _swap_of(case, profile)
        self._folder = tempfile.TemporaryDirectory(prefix="swapcore-")
        self._storages = [self._storage(number, device) for number, device in enumerate(case.devices)]
        self._devices: list[SwapDevice | None] = [None] * len(case.devices)
        self._groups: dict[str, MemCgroup] = {}
        self._tasks: dict[str, _Task] = {}
        self._files: dict[str, MemcgFile] = {}
        for number, device in enumerate(case.devices):
            if not device.is_later:
                self._swapon(number)

    def close(self) -> None:
        """Removes the files of the devices."""
        self._folder.cleanup()

    def run(self, step: Step) -> int:
        """Runs a step.

        Args:
            step: The step.

        Returns:
            The errno of the operation; 0 after success. Memory that is refused ends the process with ENOMEM,
            as the OOM killer does, and each later step of the process is ESRCH.

        Raises:
            AttributeError: The operation does not exist.
            LookupError: The operation names a group, process, region or device that does not exist.
        """
        if step.op in OF_TASKS and step.arguments[0] not in self._tasks:
            return errno.ESRCH
        try:
            getattr(self, f"_{step.op}")(*step.arguments)
        except SwapMemoryError:
            if step.op in TOUCHES:
                # The OOM killer ends the process. If the core has no OOM killer, the process ends here.
                del self._tasks[step.arguments[0]]
            return errno.ENOMEM
        except SwapError as error:
            return getattr(error, "errno", None) or errno.EIO
        return 0

    def settle(self) -> None:
        """Does what the recorder does after each step.

        Pages of other groups push the pages of the script out of the CPU's batch, and reads of
        ``memory.stat`` update the statistics.
        """
        self.swap.lru_add_drain(cpu=CPU)
        self.swap.mem_cgroup_flush_stats()

    # Operations. Each method has the name and the arguments of an operation of the recordings.

    def _group(self, name: str, files: dict[str, Any] | None = None, parent: str | None = None) -> None:
        above = self.swap.memcg if parent is None else self._groups[parent]
        self._groups[name] = above.create(name)
        for file, value in (files or {}).items():
            self._set(name, file, value)

    def _set(self, group: str, file: str, value: Any) -> None:  # noqa: ANN401 - a JSON value
        is_pages = isinstance(value, int) and value >= 0 and (file.endswith("_in_bytes") or file in LIMITS)
        self._groups[group].write(file, value * PAGE_SIZE if is_pages else value)

    def _rmdir(self, group: str) -> None:
        self._groups[group].remove()
        del self._groups[group]

    def _force_empty(self, group: str) -> None:
        self._groups[group].write("memory.force_empty", 0)

    def _reclaim(self, group: str | None, nr_pages: int, swappiness: int | str | None = None) -> None:
        words = "" if swappiness is None else f" swappiness={swappiness}"
        self._memcg(group).write("memory.reclaim", f"{nr_pages * PAGE_SIZE}{words}")

    def _cat(self, group: str | None, file: str) -> None:
        self._memcg(group).read(file)

    def _open(self, name: str, group: str, file: str) -> None:
        self._files[name] = self._groups[group].open(file)

    def _reset(self, name: str) -> None:
        self._files[name].write("reset")

    def _close(self, name: str) -> None:
        self._files.pop(name).close()

    def _proc(self, name: str, group: str | None = None) -> None:
        self._tasks[name] = _Task(self.swap.mm(self._memcg(group)), {})

    def _move(self, name: str, group: str | None = None) -> None:
        self._tasks[name].mm.memcg = self._memcg(group)

    def _map(self, name: str, region: str, nr_pages: int) -> None:
        orders = sum(1 << order for order in self._case.orders)
        task = self._tasks[name]
        first = task.mm.mmap(nr_pages, orders=orders, anon_orders=orders, is_hugepage=orders != 0)
        task.regions[region] = (first, nr_pages)

    def _fill(
        self, name: str, region: str, first: int, nr_pages: int, kind: str = "text", seed: int = 1
    ) -> None:
        task = self._tasks[name]
        base, _ = task.regions[region]
        for page in range(first, first + nr_pages):
            task.mm.write((base + page) * PAGE_SIZE, content(kind, seed + page), cpu=CPU)

    def _read(self, name: str, region: str, pages: Sequence[int | Sequence[int]]) -> None:
        task = self._tasks[name]
        base, _ = task.regions[region]
        for page in page_numbers(pages):
            task.mm.read((base + page) * PAGE_SIZE + ACCESS_BYTE, 1, cpu=CPU)

    def _write(self, name: str, region: str, pages: Sequence[int | Sequence[int]]) -> None:
        task = self._tasks[name]
        base, _ = task.regions[region]
        for page in page_numbers(pages):
            task.mm.write((base + page) * PAGE_SIZE + ACCESS_BYTE, b"\x07", cpu=CPU)

    def _pageout(self, name: str, region: str, first: int, nr_pages: int) -> None:
        mm = self._tasks[name].mm
        mm.pageout(self._tasks[name].regions[region][0] + first, nr_pages, cpu=CPU)
        # The recorder empties the group after a pageout to a device that is slower than memory, because the
        # written pages stay in the swap cache.
        kinds = zip(self._devices, self._case.devices, strict=True)
        if any(device is not None and spec.kind != "zram" for device, spec in kinds):
            mm.memcg.write("memory.force_empty", 0)

    def _zap(self, name: str, region: str, first: int, nr_pages: int) -> None:
        task = self._tasks[name]
        task.mm.zap(task.regions[region][0] + first, nr_pages, cpu=CPU)

    def _fork(self, name: str, child: str) -> None:
        task = self._tasks[name]
        self._tasks[child] = _Task(task.mm.fork(cpu=CPU), dict(task.regions))

    def _exit(self, name: str) -> None:
        del self._tasks[name]

    def _swapon(self, number: int) -> None:
        spec = self._case.devices[number]
        self._devices[number] = self.swap.swapon(self._storages[number], priority=spec.priority)

    def _swapoff(self, number: int) -> None:
        device = self._devices[number]
        if device is None:
            raise LookupError(f"device {number} is off")

        def unuse(*_: object) -> None:
            for task in self._tasks.values():
                task.mm.unuse(device, cpu=CPU)

        self.swap.swapoff(device, unuse)
        self._devices[number] = None

    def _zswap(self, parameters: dict[str, Any]) -> None:
        _set_zswap(self.swap, parameters)

    # Values.

    def values(self) -> dict[str, int | str]:
        """Returns every value by the key of a recording."""
        values: dict[str, int | str] = dict(_global_values(self.swap, has_zswap=self._case.zswap is not None))
        for number, device in enumerate(self._devices):
            if device is not None:
                values[f"dev{number}.used"] = device.inuse_pages
        values.update(self._values_of_groups())
        for name, file in self._files.items():
            values[f"open.{name}"] = amount(file.name, file.read())
        for name, task in self._tasks.items():
            if task.mm.is_killed:
                continue
            for region, (first, nr_pages) in task.regions.items():
                swapped, nr_resident = _region_values(task.mm, first, nr_pages)
                values[f"{name}.{region}.swapped"] = swapped
                values[f"{name}.{region}.resident"] = nr_resident
        return values

    def _values_of_groups(self) -> Iterator[tuple[str, int | str]]:
        is_v2 = self._case.memcg == "v2"
        groups = {ROOT: self.swap.memcg, **self._groups} if is_v2 else self._groups
        for name, group in groups.items():
            for key, value in v2_values(group) if is_v2 else v1_values(group):
                yield f"{name}.{key}", value

    def _memcg(self, group: str | None) -> MemCgroup:
        return self.swap.memcg if group is None else self._groups[group]

    def _storage(self, number: int, device: Device) -> Zram | File:
        if device.kind == "zram":
            return Zram(pages=device.pages)
        path = Path(self._folder.name) / f"swap{number}"
        File.create(path, device.pages * PAGE_SIZE)
        return File(path, is_block_device=device.kind == "loop", is_rotational=device.is_rotational)


def _swap_of(case: Case, profile: str) -> Swap:
    """Makes the subsystem of a case, without devices."""
    # A write to a loop device or a file is over after the step of the script that began the write.
    swap = Swap(
        nr_cpus=NR_CPUS,
        profile=profile,
        memcg=case.memcg,
        switches=SWITCHES_BY_HAND if case.is_by_hand else SWITCHES,
        memory_pages=MEMORY_PAGES,
        writeback="queued",
    )
    if case.zswap is not None:
        _set_zswap(swap, case.zswap)
    swap.swappiness = case.swappiness
    swap.page_cluster = case.page_cluster
    swap.thp_defrag = case.defrag
    swap.vma_ra_enabled = case.is_vma_ra_enabled
    if not case.is_by_hand:
        swap.root_file_pages = ROOT_FILE_PAGES
    return swap


def _set_zswap(swap: Swap, parameters: Any) -> None:  # noqa: ANN401 - a JSON object
    """Sets parameters of zswap. The compressor stays, because swapcore does not have the recorded one."""
    for name, value in parameters.items():
        if name in {"enabled", "shrinker_enabled"}:
            setattr(swap.zswap, name, value in {"Y", "1", 1})
        elif name != "compressor":
            setattr(swap.zswap, name, int(value))


def _global_values(swap: Swap, *, has_zswap: bool) -> Iterator[tuple[str, int]]:
    stats = swap.stats()
    for key in VMSTAT:
        yield f"vm.{key}", stats[key]
    for key, value in stats.items():
        if key.startswith("hugepages-"):
            size, _, name = key.removeprefix("hugepages-").partition("kB.")
            yield f"mthp{size}.{name}", value
    if has_zswap:
        for key, value in swap.zswap.stats().items():
            yield f"zswap.{key}", value


def _region_values(mm: Mm, first: int, nr_pages: int) -> tuple[str, int]:
    """Returns the ranges of the swapped-out pages of a region, and the number of its pages in memory."""
    words = np.asarray(mm.pagemap(first, nr_pages))
    swapped = np.flatnonzero(words >> np.uint64(62) & np.uint64(1))
    return page_ranges(swapped.tolist()), int(np.count_nonzero(words >> np.uint64(63)))
