"""Replay of a workload with folios that have data: the cost on one storage, and a proof of each page.

`replay` swaps out a folio for every allocation of the workload, and swaps in the pages of the folio for every
release. The content of a page is a function of the seed and the page, so `replay` can compare each page that
is swapped in with the expected content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swapcore import report
from swapcore._core import Trace
from swapcore.results.folios import FolioReplay

from .compare import default_size_pages, load_made_up
from .stacks import Run, RunOptions, zswap_ratio

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from .stacks import Storage

__all__ = ["FolioOptions", "FolioRun", "replay", "run"]

COUNTERS = (
    "pswpin",
    "pswpout",
    "swpin_zero",
    "swpout_zero",
    "pgmajfault",
    "thp_swpout",
    "thp_swpout_fallback",
)
"""Names of the counters that a result lists, even if a counter is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolioRun(Run):
    """Describes one replay with folios, see `replay`.

    `Run` lists the other attributes. The default storage is a `Zram` that the workload fills to 90 %.

    Attributes:
        trace: A workload as for `swapcore.trace.load`, or a loaded trace.
        read_percent: Percentage of releases that read their pages back, drawn by ``seed``. The other releases
            free their pages without a read.
    """

    trace: str | os.PathLike[str] | Trace = "kernel-build"
    read_percent: float = 100.0


class FolioOptions(RunOptions, total=False):
    """Options of `replay`: the attributes of `FolioRun` without ``trace`` and ``storage``."""

    read_percent: float


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
        progress: Called with two numbers: operations done, and all operations.
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
    """Runs the replay that a `FolioRun` describes.

    Args:
        how: The description.
        progress: Called with two numbers: operations done, and all operations.

    Returns:
        The result. The function raises the errors of `replay`.
    """
    loaded = load_made_up(how.trace, nr_ops=how.nr_ops, workload_seed=how.workload_seed)
    how = how.with_storage(default_size_pages(loaded))
    swap, devices = how.turn_on(nr_cpus=loaded.nr_cpus)
    counts = loaded.replay_folios(
        swap,
        read_percent=how.read_percent,
        progress=None if progress is None else lambda done: progress(done, loaded.nr_ops),
        **how.contents,
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
        memory_pages=swap.memory_pages,
        size_pages=size_pages,
        read_percent=how.read_percent,
        ns_per_page_out=outcome.pop("swap_out_ns") / max(outcome["swapped_out_pages"], 1),
        ns_per_page_in=outcome.pop("swap_in_ns") / max(outcome["swapped_in_pages"], 1),
        memory_bytes_at_peak=peak.get("mem_used_total", peak.get("allocated_bytes")),
        compression_ratio=_ratio(peak),
        zswap_at_peak=zswap_at_peak if how.zswap is not None else {},
        zswap_ratio=zswap_ratio(zswap_at_peak),
        counters=_counters(stats, how.front_counters),
        machine=report.machine(),
        nr_ops=how.nr_ops,
        workload_seed=how.workload_seed,
        **how.described(),
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
