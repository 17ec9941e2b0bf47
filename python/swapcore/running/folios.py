"""Replay of a workload with folios that have data, with their cost on one storage and a proof of each page.

`replay` swaps a folio out for every allocation of the workload and swaps it in for every release. The content
of a page is a function of seed and page, so `replay` compares each page that comes back with its content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from swapcore import report
from swapcore._core import Swap, Trace
from swapcore.results.folios import FolioReplay
from swapcore.size import DEFAULT_MEMORY_PAGES, memory_pages
from swapcore.storage import Null, Zram
from swapcore.storage.zswap import zswap_options
from swapcore.trace import load

from .compare import default_size_pages
from .stacks import front_counters, stack, zswap_ratio

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from swapcore.storage import Ghost
    from swapcore.storage.zswap import Zswap

    from .stacks import Storage

__all__ = ["FolioOptions", "FolioRun", "replay", "run"]

DEFAULT_ZERO_PERCENT = 10.0
DEFAULT_RANDOM_PERCENT = 10.0
DEFAULT_READ_PERCENT = 100.0
DEFAULT_SEED = 1


COUNTERS = (
    "pswpin",
    "pswpout",
    "swpin_zero",
    "swpout_zero",
    "pgmajfault",
    "thp_swpout",
    "thp_swpout_fallback",
)
"""Counters that a result lists even if they are 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolioRun:
    """Describes one replay with folios, see `replay`.

    Attributes:
        trace: A workload as for `swapcore.trace.load`, or a loaded one.
        storage: The storage of the pages. None is a `Zram` that the workload fills to 90 %, and no storage
            with a ``ghost``. The storage is turned on for the replay and turned off again. With `Null` no
            page is verified.
        ghost: A device in front of the storage, see `swapcore.Ghost`.
        zswap: Compressed memory in front of both, as for `swapcore.Swap`.
        memory: Memory of the subsystem, with unit or in pages.
        zero_percent: Percentage of pages that are zeros.
        random_percent: Percentage of pages that do not compress. The others compress about 3:1.
        read_percent: Percentage of releases that read their pages back. The others free them unread.
        is_verified: Compare each page that is read back with its written content.
        seed: Seed of the contents and of the releases that read.
    """

    trace: str | os.PathLike[str] | Trace = "kernel-build"
    storage: Storage | None = None
    ghost: Ghost | None = None
    zswap: Zswap | str | None = None
    memory: str | int = DEFAULT_MEMORY_PAGES
    zero_percent: float = DEFAULT_ZERO_PERCENT
    random_percent: float = DEFAULT_RANDOM_PERCENT
    read_percent: float = DEFAULT_READ_PERCENT
    is_verified: bool = True
    seed: int = DEFAULT_SEED


class FolioOptions(TypedDict, total=False):
    """Options of `replay`: the attributes of `FolioRun` after the first two."""

    ghost: Ghost | None
    zswap: Zswap | str | None
    memory: str | int
    zero_percent: float
    random_percent: float
    read_percent: float
    is_verified: bool
    seed: int


def replay(
    trace: str | os.PathLike[str] | Trace = "kernel-build",
    storage: Storage | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[FolioOptions],
) -> FolioReplay:
    """Replays a workload with folios that have data on one storage.

    Args:
        trace: See `FolioRun`.
        storage: See `FolioRun`.
        progress: Called with operations done and operations in all.
        **options: The other attributes of `FolioRun`.

    Returns:
        The result.

    Raises:
        InvalidArgumentError: EINVAL; an unknown workload, a percentage out of range, or a bad device.
        InvariantError: A page has the wrong content: the storage lost data.
        SwapIOError: The storage could not read or write.
    """
    return run(FolioRun(trace=trace, storage=storage, **options), progress)


def run(how: FolioRun, progress: Callable[[int, int], None] | None = None) -> FolioReplay:
    """Runs one replay as described.

    Args:
        how: The description.
        progress: Called with operations done and operations in all.

    Returns:
        The result. Errors are those of `replay`.
    """
    loaded = how.trace if isinstance(how.trace, Trace) else load(how.trace)
    storage = how.storage
    if storage is None and how.ghost is None:
        storage = Zram(pages=default_size_pages(loaded))
    swap = Swap(nr_cpus=loaded.nr_cpus, zswap=how.zswap, memory_pages=memory_pages(how.memory))
    devices = [swap.swapon(one) for one in stack(storage, how.ghost)]
    is_verified = how.is_verified and not isinstance(storage, Null)
    counts = loaded.replay_folios(
        swap,
        zero_percent=how.zero_percent,
        random_percent=how.random_percent,
        read_percent=how.read_percent,
        is_verified=is_verified,
        seed=how.seed,
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
        trace="trace" if isinstance(how.trace, Trace) else os.fspath(how.trace),
        storage=None if storage is None else repr(storage),
        ghost=None if how.ghost is None else repr(how.ghost),
        zswap=swap.zswap.compressor if how.zswap is not None else None,
        zswap_options=None if how.zswap is None else zswap_options(how.zswap),
        memory_pages=swap.memory_pages,
        size_pages=size_pages,
        seed=how.seed,
        zero_percent=how.zero_percent,
        random_percent=how.random_percent,
        read_percent=how.read_percent,
        is_verified=is_verified,
        ns_per_page_out=outcome.pop("swap_out_ns") / max(outcome["swapped_out_pages"], 1),
        ns_per_page_in=outcome.pop("swap_in_ns") / max(outcome["swapped_in_pages"], 1),
        memory_bytes_at_peak=peak.get("mem_used_total", peak.get("allocated_bytes")),
        compression_ratio=_ratio(peak),
        zswap_at_peak=zswap_at_peak if how.zswap is not None else {},
        zswap_ratio=zswap_ratio(zswap_at_peak),
        counters=_counters(stats, front_counters(how.ghost, how.zswap)),
        machine=report.machine(),
        **outcome,
    )


def _ratio(peak: dict[str, int]) -> float | None:
    if not peak.get("mem_used_total") or "compr_data_size" not in peak:
        return None
    return peak["orig_data_size"] / peak["mem_used_total"]


def _counters(stats: dict[str, int], front: tuple[str, ...]) -> dict[str, int]:
    counters = {name: stats[name] for name in COUNTERS + front}
    by_size = {name: value for name, value in stats.items() if name.startswith("hugepages-") and value}
    return counters | {name: value for name, value in by_size.items() if not name.endswith("alloc_failures")}
