"""Replaying a workload with folios that have data: what they cost on one storage, and proof of each page.

`replay` swaps a folio out for every allocation of the workload and swaps it in for every release. What a page
holds is a function of seed and page, so each page that comes back is compared with what went out.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO

from . import report
from ._core import PAGE_SIZE, Swap, Trace
from .comparison import default_size_pages
from .exceptions import invalid
from .size import DEFAULT_MEMORY_PAGES, memory_pages
from .storage import Faulty, File, Ghost, Null, Ram, Zram
from .trace import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .zswap import Zswap

    Storage = Null | Ram | Zram | File | Faulty | Ghost

__all__ = ["STORAGES", "FolioReplay", "front_counters", "make_storage", "replay", "stack", "zswap_ratio"]

DEFAULT_ZERO_PERCENT = 10.0
DEFAULT_RANDOM_PERCENT = 10.0
DEFAULT_READ_PERCENT = 100.0
DEFAULT_SEED = 1

STORAGES = {
    "zram": "compressed memory",
    "ram": "memory, uncompressed",
    "file": "a swap file; a new one unless it exists already",
    "null": "nowhere: slots only, nothing can be read back and so nothing is verified",
}
"""Every kind of storage that `make_storage` makes, with one line about it."""

COUNTERS = (
    "pswpin",
    "pswpout",
    "swpin_zero",
    "swpout_zero",
    "pgmajfault",
    "thp_swpout",
    "thp_swpout_fallback",
)
"""Counters that are told even when they are 0."""

ZSWAP_COUNTERS = ("zswpin", "zswpout", "zswpwb")
"""Counters that are told with zswap, even when they are 0: pages in, out, and written back to a device."""

GHOST_COUNTERS = ("swpout_refused",)
"""The same with a ghost: pages that stayed in memory each time that nobody took them."""


@dataclass(frozen=True, slots=True)
class FolioReplay(report.Record):
    """Is what `replay` returns.

    A page is one of ``swapped_in_pages``, ``unread_pages``, ``dropped_pages`` and ``refused_pages``.

    Attributes:
        trace: Name or path of the workload.
        storage: The storage, as its representation shows it; None with a ghost alone.
        ghost: The ghost, the same; None without.
        zswap: Compressor of zswap; None without.
        memory_pages: Memory of the subsystem; the limit of zswap is a part of it.
        size_pages: Slots of the device that is tried first, header included.
        seed: Of contents, and of which releases read.
        zero_percent: Pages that are zeros.
        random_percent: Pages that do not compress.
        read_percent: Releases that read their pages.
        is_verified: Each page read was compared with what was written, and was the same.
        ops: Operations of the workload.
        swapped_out_pages: Pages that got a slot.
        swapped_in_pages: Pages that were read back, those left at the end of the workload included.
        unread_pages: Pages that were given up unread.
        dropped_pages: Pages that got no slot.
        refused_pages: Pages that got a slot and no place: zswap did not take them, and nothing is behind the
            ghost. They stay in memory, as in the kernel, and take no further part.
        fallback_pages: Pages of large folios that were split, as there was no run.
        swap_in_folios: Folios that the pages read came in.
        ns_per_page_out: CPU time of the swap-outs by pages; making the contents is not part of it.
        ns_per_page_in: CPU time of the swap-ins by pages; comparing is not part of it.
        peak_pages: Most slots in use at one time.
        end_pages: Slots in use at the end of the workload.
        peak_stats: Figures of the storage when the workload is at its peak, under kernel names.
        memory_bytes_at_peak: What the pages took there: memory or file space; None where nobody knows.
        compression_ratio: Bytes of the pages stored at the peak by memory for them; None if not compressed.
        zswap_at_peak: Figures of zswap when the workload is at its peak, under kernel names; empty without.
        zswap_ratio: Bytes of the pages in zswap at the peak by those of its pools; None if it holds nothing.
        counters: Counters of the subsystem by kernel name; those by page size only where they are not 0.
        machine: See `swapcore.report.machine`.
    """

    trace: str
    storage: str | None
    ghost: str | None
    zswap: str | None
    memory_pages: int
    size_pages: int
    seed: int
    zero_percent: float
    random_percent: float
    read_percent: float
    is_verified: bool
    ops: int
    swapped_out_pages: int
    swapped_in_pages: int
    unread_pages: int
    dropped_pages: int
    refused_pages: int
    fallback_pages: int
    swap_in_folios: int
    ns_per_page_out: float
    ns_per_page_in: float
    peak_pages: int
    end_pages: int
    peak_stats: dict[str, int]
    memory_bytes_at_peak: int | None
    compression_ratio: float | None
    zswap_at_peak: dict[str, int]
    zswap_ratio: float | None
    counters: dict[str, int]
    machine: dict[str, str | int | bool]

    def table(self, file: TextIO | None = None) -> None:
        """Prints the result for people.

        Args:
            file: Where to; standard output if None.
        """
        ratio, used = self.compression_ratio, self.memory_bytes_at_peak
        rows = [
            ["seed", f"{self.seed}", ""],
            ["pages out", f"{self.swapped_out_pages}", "pages"],
            ["pages in", f"{self.swapped_in_pages}", "pages"],
            ["given up unread", f"{self.unread_pages}", "pages"],
            ["without a slot", f"{self.dropped_pages}", "pages"],
            *([["refused, stayed in memory", f"{self.refused_pages}", "pages"]] if self.ghost else []),
            ["of large folios that got no run", f"{self.fallback_pages}", "pages"],
            ["swap-out", f"{self.ns_per_page_out:.0f}", "ns/page"],
            ["swap-in", f"{self.ns_per_page_in:.0f}", "ns/page"],
            ["slots in use at the peak", f"{self.peak_pages}", "pages"],
            ["space at the peak", "-" if used is None else report.format_size(used), ""],
            ["compression ratio at the peak", "-" if ratio is None else f"{ratio:.2f}", ""],
            *self._zswap_rows(),
            *([name, f"{value}", "count"] for name, value in self.counters.items()),
        ]
        report.print_table(["NAME", "VALUE", "UNIT"], rows, file=file)
        proof = "every page read is what was written" if self.is_verified else "no page was verified"
        if self.dropped_pages:
            proof = f"{proof}, but {self.dropped_pages} pages found no slot and took no part"
        if self.refused_pages:
            proof = f"{proof}; {self.refused_pages} pages had nowhere to go but memory"
        devices = ", ".join(filter(None, (self.ghost, self.storage)))
        print(
            f"\n{self.trace}: {self.ops} operations on {devices}; {proof}. "
            "Times are CPU time of the calls, contents and comparison apart.",
            file=file,
        )
        if self.machine["is_debug_build"]:
            print("Debug build: the times mean nothing.", file=file)

    def _zswap_rows(self) -> list[list[str]]:
        if self.zswap is None:
            return []
        pool_bytes = self.zswap_at_peak["pool_total_size"]
        ratio = self.zswap_ratio
        return [
            ["zswap pages at the peak", f"{self.zswap_at_peak['stored_pages']}", "pages"],
            ["zswap pool at the peak", report.format_size(pool_bytes), ""],
            ["zswap ratio at the peak", "-" if ratio is None else f"{ratio:.2f}", ""],
        ]


def replay(
    trace: str | os.PathLike[str] | Trace = "kernel-build",
    storage: Storage | None = None,
    *,
    ghost: Ghost | None = None,
    zswap: Zswap | str | None = None,
    memory: str | int = DEFAULT_MEMORY_PAGES,
    zero_percent: float = DEFAULT_ZERO_PERCENT,
    random_percent: float = DEFAULT_RANDOM_PERCENT,
    read_percent: float = DEFAULT_READ_PERCENT,
    is_verified: bool = True,
    seed: int = DEFAULT_SEED,
    progress: Callable[[int, int], None] | None = None,
) -> FolioReplay:
    """Replays a workload with folios that have data on one storage.

    Args:
        trace: A workload as for `swapcore.trace.load`, or one already loaded.
        storage: Where the pages go; None is a `Zram` that the workload fills to 90 %, and nothing with a
            ``ghost``. It is turned on for the replay and turned off again. With `Null` nothing is verified.
        ghost: A device in front of it, see `swapcore.Ghost`.
        zswap: Compressed memory in front of both, as for `swapcore.Swap`.
        memory: Memory of the subsystem, with unit or in pages.
        zero_percent: Pages that are zeros.
        random_percent: Pages that do not compress; the others compress about 3:1.
        read_percent: Releases that read their pages back; the others give them up unread.
        is_verified: Compare each page that comes back with what went out.
        seed: Of contents, and of which releases read.
        progress: Called with operations done and operations in all.

    Returns:
        What was done.

    Raises:
        InvalidArgumentError: EINVAL; an unknown workload, a percentage out of range, or a bad device.
        InvariantError: A page came back different: the storage lost data.
        SwapIOError: The storage could not read or write.
    """
    loaded = trace if isinstance(trace, Trace) else load(trace)
    if storage is None and ghost is None:
        storage = Zram(pages=default_size_pages(loaded))
    swap = Swap(nr_cpus=loaded.nr_cpus, zswap=zswap, memory_pages=memory_pages(memory))
    devices = [swap.swapon(one) for one in stack(storage, ghost)]
    is_verified = is_verified and not isinstance(storage, Null)
    counts = loaded.replay_folios(
        swap,
        zero_percent=zero_percent,
        random_percent=random_percent,
        read_percent=read_percent,
        is_verified=is_verified,
        seed=seed,
        progress=None if progress is None else lambda done: progress(done, loaded.nr_ops),
    )
    outcome: dict[str, Any] = {**counts}
    swap.check()
    stats = swap.stats()
    size_pages = devices[0].max_pages
    for device in devices:
        swap.swapoff(device)
    peak, zswap_at_peak = outcome["peak_stats"], outcome.pop("peak_zswap")
    return FolioReplay(
        trace="trace" if isinstance(trace, Trace) else os.fspath(trace),
        storage=None if storage is None else repr(storage),
        ghost=None if ghost is None else repr(ghost),
        zswap=swap.zswap.compressor if zswap is not None else None,
        memory_pages=swap.memory_pages,
        size_pages=size_pages,
        seed=seed,
        zero_percent=zero_percent,
        random_percent=random_percent,
        read_percent=read_percent,
        is_verified=is_verified,
        ns_per_page_out=outcome.pop("swap_out_ns") / max(outcome["swapped_out_pages"], 1),
        ns_per_page_in=outcome.pop("swap_in_ns") / max(outcome["swapped_in_pages"], 1),
        memory_bytes_at_peak=peak.get("mem_used_total", peak.get("allocated_bytes")),
        compression_ratio=_ratio(peak),
        zswap_at_peak=zswap_at_peak if zswap is not None else {},
        zswap_ratio=zswap_ratio(zswap_at_peak),
        counters=_counters(stats, front_counters(ghost, zswap)),
        machine=report.machine(),
        **outcome,
    )


def stack(storage: Storage | None, ghost: Ghost | None) -> list[Storage]:
    """Returns the devices of a replay in the order they are turned on.

    Args:
        storage: Where pages go; None is nowhere.
        ghost: What is in front of it.

    Returns:
        One or two.

    Raises:
        InvalidArgumentError: EINVAL; a ghost that knows nothing of devices behind it, and one behind it.
    """
    if storage is not None and ghost is not None and not ghost.virtual_table:
        raise invalid(f"{ghost!r} has no virtual table: its pages cannot go to {storage!r}")
    return [one for one in (ghost, storage) if one is not None]


def front_counters(ghost: Ghost | None, zswap: Zswap | str | None) -> tuple[str, ...]:
    """Returns the counters that are told for what stands in front of a storage.

    Args:
        ghost: A ghost, or None.
        zswap: What zswap is made with, or None.

    Returns:
        Kernel names, and ``swpout_refused``.
    """
    return (ZSWAP_COUNTERS if zswap is not None else ()) + (GHOST_COUNTERS if ghost is not None else ())


def zswap_ratio(stats: dict[str, int]) -> float | None:
    """Returns how many bytes of pages a byte of zswap's pools holds.

    Args:
        stats: What `Swap.zswap` counts.

    Returns:
        The ratio; None while it holds nothing.
    """
    if not stats.get("stored_pages"):
        return None
    return stats["stored_pages"] * PAGE_SIZE / stats["pool_total_size"]


@contextmanager
def make_storage(
    kind: str,
    *,
    size_pages: int,
    algorithm: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Iterator[Storage]:
    """Makes a storage by the name of its kind and gives it up at the end.

    Args:
        kind: A name in `STORAGES`.
        size_pages: Slots, header included; a file that exists has its own size.
        algorithm: Of ``zram``; None is its default.
        path: Of ``file``: a swap file or device that exists, or a new swap file, which stays. None is a file
            in the temporary directory that goes at the end.

    Yields:
        The storage.

    Raises:
        InvalidArgumentError: EINVAL; no such kind, or an option of another kind.
        SwapIOError: The file cannot be made or opened.
    """
    if kind not in STORAGES:
        raise invalid(f"storage {kind!r} is none of {', '.join(STORAGES)}")
    for option, value, owner in (("algorithm", algorithm, "zram"), ("path", path, "file")):
        if value is not None and kind != owner:
            raise invalid(f"{option} {value!s} is for storage {owner}, not for {kind}")
    if kind == "zram":
        yield Zram(pages=size_pages) if algorithm is None else Zram(pages=size_pages, algorithm=algorithm)
    elif kind == "ram":
        yield Ram(pages=size_pages)
    elif kind == "null":
        yield Null(pages=size_pages)
    elif path is not None:
        yield File(path) if Path(path).exists() else File.create(path, pages=size_pages)
    else:
        with TemporaryDirectory(prefix="swapcore-") as folder:
            yield File.create(Path(folder) / "swapfile", pages=size_pages, sparse=True)


def _ratio(peak: dict[str, int]) -> float | None:
    if not peak.get("mem_used_total") or "compr_data_size" not in peak:
        return None
    return peak["orig_data_size"] / peak["mem_used_total"]


def _counters(stats: dict[str, int], front: tuple[str, ...]) -> dict[str, int]:
    counters = {name: stats[name] for name in COUNTERS + front}
    by_size = {name: value for name, value in stats.items() if name.startswith("hugepages-") and value}
    return counters | {name: value for name, value in by_size.items() if not name.endswith("alloc_failures")}
