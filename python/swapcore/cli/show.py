"""``swapcore show``: prints devices after a workload as ``swapon --show`` does, cluster lists, and a map.

`swapcore.cli.scenes` has all other listings, such as ``--memcg`` and ``--swaps``.
"""

from __future__ import annotations

import json
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from swapcore import report
from swapcore._core import PAGE_SIZE, SWAPFILE_CLUSTER, Swap
from swapcore.exceptions import SwapFullError, invalid
from swapcore.storage import Null
from swapcore.swaps import cluster_lists

from . import scenes
from .options import Status, add_flags, add_plot, add_size, add_trace, add_value, take_size, take_trace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from swapcore._core import SwapDevice
    from swapcore.trace import Columns

ABOUT = "show devices, cluster lists and fragmentation after a workload, or groups, ghosts, zswap, memory"

DEFAULT_TRACE = "kernel-build"

MAP_CHARACTERS_MAX = 64 * 256
"""Largest number of characters of a map. With more clusters, a character shows several clusters."""


class _Column(NamedTuple):
    about: str
    value: Callable[[SwapDevice], int | str]
    is_bytes: bool = False


COLUMNS: dict[str, _Column] = {
    "NAME": _Column("device", lambda device: f"null{device.type}"),
    "TYPE": _Column("kind of device", lambda device: device.kind),
    "SIZE": _Column("usable size", lambda device: device.pages * PAGE_SIZE, is_bytes=True),
    "USED": _Column("bytes in use", lambda device: device.inuse_pages * PAGE_SIZE, is_bytes=True),
    "PRIO": _Column("priority", lambda device: device.priority),
    "PAGES": _Column("usable slots", lambda device: device.pages),
    "INUSE-PAGES": _Column("slots in use", lambda device: device.inuse_pages),
    "FLAGS": _Column("SWP_* flags", lambda device: ",".join(device.flags)),
    "MEMORY": _Column("bytes of metadata", lambda device: device.memory()["total_bytes"], is_bytes=True),
}
DEFAULT_COLUMNS = "NAME,TYPE,SIZE,USED,PRIO"
TEXT_COLUMNS = ("NAME", "TYPE", "FLAGS")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore show``."""
    default = f"default: {DEFAULT_TRACE}; with --memcg {scenes.DEFAULT_ACCESSES}"
    add_trace(parser, f"workload, or .npz file ({default})")
    add_value(parser, "--until", "OPS", "stop after this many operations (default: all)", type=int)
    about = "size of the device, such as 1G (default: the workload fills the device to 90 %%)"
    add_size(parser, f"{about}, or the size that --memory-report fills (default: 32G)")
    add_plot(parser, "draw a picture of the listing")
    add_flags(
        parser,
        bytes="print sizes in bytes",
        noheadings="print the devices only, without headings",
        raw="print the devices only, one blank between columns",
        json="print everything as JSON, sizes in bytes",
    )
    about = ", ".join(f"{name} ({column.about})" for name, column in COLUMNS.items())
    output_help = f"columns: {about} (default: {DEFAULT_COLUMNS})"
    parser.add_argument("-o", "--output", metavar="COLS", help=output_help)
    scenes.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Replays the workload and prints the state of the device at the end."""
    from swapcore.running.compare import default_size_pages
    from swapcore.trace import as_trace, columns

    from .names import print_names

    if args.list:
        return print_names(as_json=args.json)
    take_trace(args)
    scene = scenes.chosen(args)
    if scene is not None:
        return scene(args)
    take_size(args)
    args.trace = args.trace or DEFAULT_TRACE
    chosen = _chosen(args.output or DEFAULT_COLUMNS)
    options = {"nr_ops": args.nr_ops, "seed": args.workload_seed}
    workload = columns(args.trace, **{name: value for name, value in options.items() if value is not None})
    trace = as_trace(workload)
    swap = Swap(nr_cpus=trace.nr_cpus)
    swap.swapon(Null(pages=default_size_pages(trace) if args.size_pages is None else args.size_pages))
    if args.until is not None and args.until < 0:
        raise invalid(f"until {args.until} is under the least, 0")
    nr_ops = trace.nr_ops if args.until is None else min(args.until, trace.nr_ops)
    with report.progress(f"replaying {args.trace}", nr_ops) as update:
        _replay(swap, workload, nr_ops, update)
    _print_device(swap, args, chosen, nr_ops)
    # The picture is drawn last, so that the listing is printed even if the picture cannot be written.
    if args.plot is not None:
        from swapcore.plot import plot_device

        plot_device(swap.devices[0], args.plot)
    return Status.GOOD


def _print_device(swap: Swap, args: argparse.Namespace, chosen: list[str], nr_ops: int) -> None:
    if args.json:
        print(json.dumps(_to_dict(swap, args.trace, nr_ops, chosen)))
        return
    rows = [[_cell(COLUMNS[name], device, is_exact=args.bytes) for name in chosen] for device in swap.devices]
    report.print_table(
        chosen,
        rows,
        style="raw" if args.raw else "table",
        nr_left=next((index for index, name in enumerate(chosen) if name not in TEXT_COLUMNS), len(chosen)),
        with_headings=not args.noheadings,
    )
    if not args.raw and not args.noheadings:
        _print_lists_and_map(swap, args.trace, nr_ops)


def _chosen(output: str) -> list[str]:
    chosen = [name.strip().upper() for name in output.split(",")]
    unknown = [name for name in chosen if name not in COLUMNS]
    if unknown:
        raise invalid(f"column {unknown[0]} is none of {', '.join(COLUMNS)}")
    return chosen


def _cell(column: _Column, device: SwapDevice, *, is_exact: bool) -> str:

    value = column.value(device)
    if column.is_bytes and not is_exact and isinstance(value, int):
        return report.format_size(value)
    return str(value)


def _replay(swap: Swap, workload: Columns, nr_ops: int, update: Callable[[float], None]) -> None:
    """Replays ``nr_ops`` operations one by one; splits a large folio that gets no run, as the kernel does."""
    from swapcore.trace import COLUMNS as TRACE_COLUMNS

    slots: dict[int, int | list[int]] = {}
    operations = zip(*(workload[name][:nr_ops].tolist() for name in TRACE_COLUMNS), strict=True)
    for number, (op, cpu, folio, first, nr) in enumerate(operations):
        if number % 4096 == 0:
            update(number)
        if op == 0:
            try:
                slots[folio] = int(swap.alloc(nr.bit_length() - 1, cpu=cpu))
            except SwapFullError:
                slots[folio] = _alloc_split(swap, nr, cpu)
            continue
        held = slots[folio]
        if isinstance(held, int):
            swap.free(held + first, nr, cpu=cpu)
        else:
            for value in filter(None, held[first : first + nr]):
                swap.free(value, 1, cpu=cpu)


def _alloc_split(swap: Swap, nr: int, cpu: int) -> list[int]:
    """Allocates a slot for each page: page 0, then the last down to page 1; a page without room gets 0."""
    values = [0] * nr
    # A folio of one page is not split, because the allocation of the page has failed already.
    for page in [0, *range(nr - 1, 0, -1)] if nr > 1 else []:
        with suppress(SwapFullError):
            values[page] = int(swap.alloc(cpu=cpu))
    return values


def _lists(swap: Swap) -> Iterable[tuple[int, str, int]]:
    """Yields device type, name and number of clusters of every list that is not empty."""
    for device in swap.dump()["devices"]:
        for name, clusters in cluster_lists({**device}):
            yield device["type"], name, len(clusters)


def _used_slots(device: SwapDevice) -> list[int]:
    """Returns, for each cluster, the number of slots that cannot be allocated now."""
    return device.clusters()["count"].tolist()


def _print_lists_and_map(swap: Swap, trace: str, nr_ops: int) -> None:

    print()
    rows = [[f"null{kind}", name, str(count)] for kind, name, count in _lists(swap)]
    report.print_table(["NAME", "LIST", "CLUSTERS"], rows, nr_left=2)
    for device in swap.devices:
        counts = _used_slots(device)
        # A map has up to `MAP_CHARACTERS_MAX` characters, each of the same number of clusters.
        nr = ceil(len(counts) / MAP_CHARACTERS_MAX) or 1
        used = [
            sum(part) / (len(part) * SWAPFILE_CLUSTER)
            for start in range(0, len(counts), nr)
            for part in [counts[start : start + nr]]
        ]
        scale = f"one character is {nr * SWAPFILE_CLUSTER} slots"
        print(f"\nnull{device.type}: {scale}, blank is free, @ is full")
        print("\n".join(report.fragmentation_map(used)))
    print(f"\n{trace}, {nr_ops} operations")


def _to_dict(swap: Swap, trace: str, nr_ops: int, chosen: list[str]) -> dict[str, Any]:
    return {
        "trace": trace,
        "operations": nr_ops,
        "swapdevices": [
            {name.lower(): COLUMNS[name].value(device) for name in chosen} for device in swap.devices
        ],
        "lists": [{"type": kind, "list": name, "clusters": count} for kind, name, count in _lists(swap)],
        "used_slots_by_cluster": {f"null{device.type}": _used_slots(device) for device in swap.devices},
        "stats": swap.stats(),
        "memory": swap.memory(),
    }
