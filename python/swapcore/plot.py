"""Draws pictures with matplotlib (extra ``plot``): comparisons, a device, swap traffic, memory of slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._core import PAGE_SIZE, SWAPFILE_CLUSTER
from .exceptions import invalid

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ._core import SwapDevice
    from .results.accesses import AccessReplay, LimitSweep
    from .results.comparison import Comparison
    from .results.memory import MemoryReport

__all__ = ["plot_comparison", "plot_device", "plot_limits", "plot_memory"]

SLOT_STATES = ("free", "swapped out", "cached", "bad", "pointer")
"""Names of the states of a slot, indexed by the byte of `SwapDevice.slots`."""

_SLOT_COLORS = ("#f2f2f2", "#3b6ea8", "#e0a030", "#303030", "#7a4fa0")
_BAR_COLOR = "#3b6ea8"
_LINES_MAX = 2048
_PUBLISHED_BYTES = 32 << 30


def plot_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draws time, split large folios, memory and fragmentation of every strategy into a picture file.

    Args:
        comparison: The comparison to draw.
        path: The file; its suffix is the format (png, svg, pdf).

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        InvalidArgumentError: EINVAL; no such format.
    """
    results = comparison.results
    names = [result.strategy for result in results]
    figure = _figure(10.0, 1.8 + 0.9 * len(names))
    time_axes, fallback_axes, bytes_axes, fragmentation_axes = figure.subplots(2, 2).flat

    medians = np.array([result.ns_per_op for result in results])
    quartiles = np.array([result.ns_per_op_quartiles for result in results])
    _bars(time_axes, "CPU time, ns per operation", names, medians)
    errors = np.abs(quartiles.T - medians)
    time_axes.errorbar(medians, range(len(names)), xerr=errors, fmt="none", ecolor="black", capsize=3)
    floor = "replay without allocator"
    time_axes.axvline(comparison.floor_ns_per_op, color="grey", linestyle=":", label=floor)
    time_axes.legend(fontsize="x-small")
    _bars(fallback_axes, "fallback, % of large pages", names, [result.fallback_percent for result in results])
    _bars(bytes_axes, "bytes per used slot", names, [result.bytes_per_used_slot for result in results])
    _bars(fragmentation_axes, "fragmentation, 0 to 1", names, [result.fragmentation for result in results])
    figure.suptitle(f"{comparison.trace} on {comparison.size_pages} slots, {comparison.rounds} rounds")
    _save(figure, path)


def plot_device(device: SwapDevice, path: str | os.PathLike[str]) -> None:
    """Draws the slots of a device as dots, one line for each cluster.

    The picture of a ghost ends with the last cluster that has a slot in use. A picture has up to 2,048 lines.
    With more clusters, a line shows several clusters, and a dot shows the state with the highest number (see
    `SwapDevice.slots`) among its slots. Time and memory of the call follow the slots in use, not the size of
    the device.

    Args:
        device: The device, which must be on.
        path: The file; its suffix is the format (png, svg, pdf).

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        InvalidArgumentError: EINVAL; no such format.
        EntryGoneError: ENOENT; the device is off.
    """
    image, clusters_a_line = _slot_image(device)
    figure = _figure(9.0, min(2.5 + len(image) * 0.06, 24.0))
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    axes = figure.subplots()
    colors = ListedColormap(list(_SLOT_COLORS))
    last = len(SLOT_STATES) - 1
    # The labels of the axes are numbers of slots and clusters. The middle of a dot is at its slot's number.
    end = len(image) * clusters_a_line
    axes.imshow(
        image,
        cmap=colors,
        vmin=0,
        vmax=last,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, SWAPFILE_CLUSTER - 0.5, end - 0.5, -0.5),
    )
    title = f"swap type {device.type}: {device.inuse_pages} of {device.pages} slots in use"
    label = "cluster" if clusters_a_line == 1 else f"cluster, {clusters_a_line} a line"
    axes.set(xlabel="slot in cluster", ylabel=label, title=title)
    handles = [
        Patch(facecolor=_SLOT_COLORS[state], edgecolor="grey", label=SLOT_STATES[state])
        for state in np.unique(image).tolist()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="small")
    _save(figure, path)


def plot_limits(sweep: LimitSweep, path: str | os.PathLike[str]) -> None:
    """Draws pages swapped out and in, and the time of an access, as functions of the memory limit.

    Args:
        sweep: The sweep to draw; a run without a limit is drawn at the peak of its memory.
        path: The file; its suffix is the format (png, svg, pdf).

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        InvalidArgumentError: EINVAL; no such format.
    """

    def limit_bytes(run: AccessReplay) -> int:
        return run.memory_max if isinstance(run.memory_max, int) else run.memory_peak_bytes or 0

    runs = sorted(sweep.runs, key=limit_bytes)
    limits_mib = [limit_bytes(run) / 2**20 for run in runs]
    figure = _figure(8.0, 6.0)
    traffic_axes, time_axes = figure.subplots(2, 1, sharex=True)
    for label, written, zero in (("out", "pswpout", "swpout_zero"), ("in", "pswpin", "swpin_zero")):
        pages = [run.counters[written] + run.counters[zero] for run in runs]
        traffic_axes.plot(limits_mib, [nr * PAGE_SIZE / 2**20 for nr in pages], marker="o", label=label)
    cut_mib = [limit for limit, run in zip(limits_mib, runs, strict=True) if run.is_cut_short]
    if cut_mib:
        traffic_axes.plot(cut_mib, [0] * len(cut_mib), "kx", markersize=12, label="cut short", clip_on=False)
    traffic_axes.set(ylabel="swapped, MiB", ylim=(0, None))
    traffic_axes.legend(fontsize="small")
    time_axes.plot(limits_mib, [run.ns_per_access for run in runs], marker="o", color=_BAR_COLOR)
    time_axes.set(xlabel="limit on memory, MiB", ylabel="CPU time, ns per access", ylim=(0, None))
    figure.suptitle(f"{runs[0].workload}: the cost of a limit")
    _save(figure, path)


def plot_memory(memory: MemoryReport, path: str | os.PathLike[str]) -> None:
    """Draws memory by the percentage of slots in use: measured figures solid, published figures dashed.

    Args:
        memory: The report to draw. Published figures are drawn only for a report of 32 GiB, because they are
            figures of 32 GiB.
        path: The file; its suffix is the format (png, svg, pdf).

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        InvalidArgumentError: EINVAL; no such format.
    """
    figure = _figure(9.0, 5.5)
    axes = figure.subplots()
    for use in memory.uses:
        mib = [total / 2**20 for total in use.total_bytes]
        axes.plot(memory.used_percent, mib, marker="o", label=f"{use.configuration}: {use.about}")
    if memory.size_bytes == _PUBLISHED_BYTES:
        for one in memory.published:
            known = [(x, y) for x, y in zip(memory.used_percent, one.megabytes, strict=True) if y is not None]
            label = f"{one.about} ({one.id}, {one.source}), MB"
            axes.plot(*zip(*known, strict=True), linestyle="--", marker="x", linewidth=0.8, label=label)
    title = f"memory of {memory.size_bytes / 2**30:g} GiB of slots, owner store {memory.owner_store}"
    axes.set(xlabel="slots in use, %", ylabel="memory, MiB", ylim=(0, None), title=title)
    axes.legend(fontsize="xx-small")
    _save(figure, path)


def _slot_image(device: SwapDevice) -> tuple[NDArray[np.uint8], int]:
    """Returns the states of slots, a row for each line of the picture, and the clusters of a line."""
    columns = device.used_slots()
    offsets, kinds = np.asarray(columns["offset"]), np.asarray(columns["kind"])
    max_pages = device.max_pages
    end = int(offsets[-1]) + 1 if device.kind == "ghost" else max_pages
    nr_clusters = -(-end // SWAPFILE_CLUSTER)
    clusters_a_line = -(-nr_clusters // _LINES_MAX)
    image = np.zeros((-(-nr_clusters // clusters_a_line), SWAPFILE_CLUSTER), dtype="u1")
    lines = offsets // (SWAPFILE_CLUSTER * clusters_a_line)
    np.maximum.at(image, (lines, offsets % SWAPFILE_CLUSTER), kinds)
    # If the last cluster is only partly on the device, the slots beyond the device are drawn as bad slots.
    if nr_clusters * SWAPFILE_CLUSTER > max_pages:
        image[-1, max_pages % SWAPFILE_CLUSTER :] = SLOT_STATES.index("bad")
    return image, clusters_a_line


def _figure(width_inches: float, height_inches: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "plots need matplotlib, which the extra [plot] brings: pip install matplotlib", name=error.name
        ) from error
    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def _bars(axes: Axes, title: str, names: list[str], values: Sequence[float] | NDArray[np.float64]) -> None:
    axes.barh(range(len(names)), values, color=_BAR_COLOR)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title(title, fontsize="medium")
    # The axis starts at 0. If all values are 0, the axis ends at 1, because matplotlib would choose a tiny
    # scale.
    axes.set_xlim(0, max([*values, 1e-9]) * 1.1 if any(values) else 1)
    axes.locator_params(axis="x", nbins=5)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise invalid(f"plot {path}: {error}") from error
