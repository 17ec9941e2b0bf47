"""``swapcore show``: what swapon --show would tell after a workload, cluster lists, a map of the device.

With ``--memcg``: the tree of memory cgroups in the middle of one; with ``--owner-stores``: what owners cost.
"""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from swapcore.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from swapcore._core import Swap, SwapDevice
    from swapcore.trace import Columns

ABOUT = "show devices, cluster lists and fragmentation after a workload, or its memory cgroups"

DEFAULT_TRACE = "kernel-build"
DEFAULT_ACCESSES = "build-like"

TREE: dict[str, dict[str, str]] = {
    "build": {"memory_max": "8M"},
    "job0": {"memory_max": "3M"},
    "job1": {"memory_max": "4M", "swap_max": "1M"},
}
"""The groups of ``--memcg`` with their limits: one above the others, which have the processes in turn."""

SHOWN_PART = 0.75
"""Where in the workload ``--memcg`` looks: at its end every process has left."""


class _Column(NamedTuple):
    about: str
    value: Callable[[SwapDevice], int | str]
    is_bytes: bool = False


def _page_size() -> int:
    from swapcore._core import PAGE_SIZE

    return PAGE_SIZE


COLUMNS: dict[str, _Column] = {
    "NAME": _Column("device", lambda device: f"null{device.type}"),
    "TYPE": _Column("kind of device", lambda device: "partition" if "SWP_BLKDEV" in device.flags else "file"),
    "SIZE": _Column("usable size", lambda device: device.pages * _page_size(), is_bytes=True),
    "USED": _Column("bytes in use", lambda device: device.inuse_pages * _page_size(), is_bytes=True),
    "PRIO": _Column("priority", lambda device: device.prio),
    "PAGES": _Column("usable slots", lambda device: device.pages),
    "INUSE-PAGES": _Column("slots in use", lambda device: device.inuse_pages),
    "FLAGS": _Column("SWP_* flags", lambda device: ",".join(device.flags)),
    "MEMORY": _Column("bytes of metadata", lambda device: device.memory()["total_bytes"], is_bytes=True),
}
DEFAULT_COLUMNS = "NAME,TYPE,SIZE,USED,PRIO"
TEXT_COLUMNS = ("NAME", "TYPE", "FLAGS")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--trace",
        metavar="NAME|PATH",
        help=f"workload, or .npz file (default: {DEFAULT_TRACE}; with --memcg {DEFAULT_ACCESSES})",
    )
    parser.add_argument(
        "--until", type=int, metavar="OPS", help="stop after so many operations (default: all)"
    )
    parser.add_argument(
        "--size-pages",
        type=int,
        metavar="N",
        help="slots of the device (default: the workload fills it to 90 %%)",
    )
    parser.add_argument(
        "--memcg",
        action="store_true",
        help="print a tree of memory cgroups with limits instead, three quarters through page accesses",
    )
    parser.add_argument(
        "--owner-stores",
        action="store_true",
        help="print what each way to remember who is charged for a slot costs instead, on a device of 1T",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw every slot into a picture (needs matplotlib)")
    parser.add_argument("--bytes", action="store_true", help="print sizes in bytes")
    parser.add_argument("--noheadings", action="store_true", help="print the devices only, without headings")
    parser.add_argument(
        "--raw", action="store_true", help="print the devices only, one blank between columns"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, sizes in bytes")
    parser.add_argument(
        "-o",
        "--output",
        default=DEFAULT_COLUMNS,
        metavar="COLS",
        help="columns: "
        + ", ".join(f"{name} ({column.about})" for name, column in COLUMNS.items())
        + " (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Replays the workload and prints the state it leaves."""
    from swapcore import report
    from swapcore._core import Swap
    from swapcore.comparison import default_size_pages
    from swapcore.storage import Null
    from swapcore.trace import as_trace, columns

    _refuse_mixed(args)
    if args.owner_stores:
        return _show_owner_stores(as_json=args.json)
    if args.memcg:
        return _show_memcg(args.trace or DEFAULT_ACCESSES, as_json=args.json)
    args.trace = args.trace or DEFAULT_TRACE
    chosen = _chosen(args.output)
    workload = columns(args.trace)
    trace = as_trace(workload)
    swap = Swap(nr_cpus=trace.nr_cpus)
    swap.swapon(Null(pages=default_size_pages(trace) if args.size_pages is None else args.size_pages))
    if args.until is not None and args.until < 0:
        raise InvalidArgumentError(errno.EINVAL, f"until {args.until} is under the least, 0")
    nr_ops = trace.nr_ops if args.until is None else min(args.until, trace.nr_ops)
    with report.progress(f"replaying {args.trace}", nr_ops) as update:
        _replay(swap, workload, nr_ops, update)
    if args.plot is not None:
        from swapcore.plot import plot_device

        plot_device(swap.devices[0], args.plot)
    if args.json:
        print(json.dumps(_to_dict(swap, args.trace, nr_ops, chosen)))
        return 0
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
    return 0


def _refuse_mixed(args: argparse.Namespace) -> None:
    """Refuses what means nothing where no device is shown."""
    chosen = [name for name in ("memcg", "owner_stores") if getattr(args, name)]
    of_devices = ["until", "size_pages", "plot", "bytes", "noheadings", "raw"]
    if args.output != DEFAULT_COLUMNS:
        of_devices.append("output")
    wrong = [name for name in of_devices if getattr(args, name) not in (None, False)]
    wrong += ["trace"] if args.owner_stores and args.trace is not None else []
    if len(chosen) > 1:
        raise InvalidArgumentError(errno.EINVAL, "--memcg and --owner-stores: one of them at a time")
    if chosen and wrong:
        option, of = wrong[0].replace("_", "-"), chosen[0].replace("_", "-")
        raise InvalidArgumentError(errno.EINVAL, f"--{option} is for devices, not for --{of}")


def _show_owner_stores(*, as_json: bool) -> int:
    """Measures every owner store and prints what it costs."""
    import dataclasses

    from swapcore.owners import OWNER_STORES, owner_memory, print_owner_memory

    rows = [owner_memory(store) for store in OWNER_STORES]
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print_owner_memory(rows)
    return 0


def _show_memcg(trace: str, *, as_json: bool) -> int:
    """Runs most of a workload in a tree of groups and prints the tree."""
    from math import ceil

    from swapcore import report
    from swapcore._core import Swap
    from swapcore.access_replay import Runner, default_size_pages, workload_of
    from swapcore.storage import Zram
    from swapcore.workloads import Touch

    work = workload_of(trace)
    swap = Swap(nr_cpus=work.nr_cpus)
    swap.swapon(Zram(pages=default_size_pages(work)))
    parent, *names = TREE
    above = swap.memcg.create(parent, **TREE[parent])
    groups = [above.create(name, **TREE[name]) for name in names]
    touches = [number for number, step in enumerate(work.steps) if isinstance(step, Touch)]
    last = touches[ceil(SHOWN_PART * len(touches)) - 1]
    runner = Runner(swap, lambda process: groups[process % len(groups)])
    with report.progress(f"replaying {trace}", work.nr_accesses) as update:
        runner.run(work.steps[: last + 1], update)
    if as_json:
        shown = {
            "trace": trace,
            "accesses": runner.totals["accesses"],
            "memcg": report.memcg_dict(swap.memcg),
        }
        print(json.dumps(shown))
        return 0
    report.memcg_tree(swap.memcg)
    nr_accesses, nr_killed = runner.totals["accesses"], runner.oom_kills
    print(f"\n{trace}, {nr_accesses} accesses; {nr_killed} processes killed for want of memory")
    return 0


def _chosen(output: str) -> list[str]:
    import errno

    from swapcore.exceptions import InvalidArgumentError

    chosen = [name.strip().upper() for name in output.split(",")]
    unknown = [name for name in chosen if name not in COLUMNS]
    if unknown:
        raise InvalidArgumentError(errno.EINVAL, f"column {unknown[0]} is none of {', '.join(COLUMNS)}")
    return chosen


def _cell(column: _Column, device: SwapDevice, *, is_exact: bool) -> str:
    from swapcore.report import format_size

    value = column.value(device)
    return format_size(value) if column.is_bytes and not is_exact and isinstance(value, int) else str(value)


def _replay(swap: Swap, workload: Columns, nr_ops: int, update: Callable[[float], None]) -> None:
    """Replays the first operations one by one; a large folio without room is split as the kernel does."""
    from swapcore.exceptions import SwapFullError
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
    """Allocates the pages of a folio one by one, head first, then last to second; 0 stands for no room."""
    from swapcore.exceptions import SwapFullError

    values = [0] * nr
    # A single page that failed is not asked for twice.
    for page in [0, *range(nr - 1, 0, -1)] if nr > 1 else []:
        with suppress(SwapFullError):
            values[page] = int(swap.alloc(cpu=cpu))
    return values


def _lists(swap: Swap) -> Iterable[tuple[int, str, int]]:
    """Yields device type, list and clusters on it, for every list that is not empty."""
    for device in swap.dump()["devices"]:
        for name in ("free", "full", "discard"):
            if device[name]:
                yield device["type"], name, len(device[name])
        for name in ("nonfull", "frag"):
            for order, clusters in sorted(device[name].items()):
                yield device["type"], f"{name}[{order}]", len(clusters)


def _used_slots(device: SwapDevice) -> list[int]:
    """Returns the slots of each cluster that cannot be allocated now."""
    return memoryview(device.clusters()["count"]).cast("H").tolist()


def _print_lists_and_map(swap: Swap, trace: str, nr_ops: int) -> None:
    from swapcore import report
    from swapcore._core import SWAPFILE_CLUSTER

    print()
    rows = [[f"null{kind}", name, str(count)] for kind, name, count in _lists(swap)]
    report.print_table(["NAME", "LIST", "CLUSTERS"], rows, nr_left=2)
    for device in swap.devices:
        used = [count / SWAPFILE_CLUSTER for count in _used_slots(device)]
        print(f"\nnull{device.type}: one character is {SWAPFILE_CLUSTER} slots, blank is free, @ is full")
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
