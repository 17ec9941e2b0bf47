"""The listings of ``swapcore show`` other than one device: groups, ghost and zswap, memory of slots."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from swapcore.exceptions import invalid

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from swapcore._core import Swap
    from swapcore.running.accesses import Runner

DEFAULT_ACCESSES = "build-like"

TREE: dict[str, dict[str, str]] = {
    "build": {"memory_max": "8M"},
    "job0": {"memory_max": "3M"},
    "job1": {"memory_max": "4M", "swap_max": "1M"},
}
"""The groups with their limits. The first group is above the others, which get the processes in turn."""

SHOWN_PART = 0.75
"""Part of the workload that runs before a listing, because at the workload's end every process has left."""

DEFAULT_GHOST = "15T"
VIRTUAL_ACCESSES = "zipf"
VIRTUAL_TREE: dict[str, dict[str, str]] = {"job": {"memory_max": "8M", "zswap_max": "2M"}}
"""The group of ``--swaps`` and ``--zswap``: its cold pages exceed its limit on zswap."""


class _Scene(NamedTuple):
    about: str
    show: Callable[[argparse.Namespace], int]
    options: tuple[str, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    group = parser.add_argument_group("instead of a device, one of")
    for name, scene in SCENES.items():
        group.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=scene.about)
    options = parser.add_argument_group("of these")
    options.add_argument("--ghost", metavar="SIZE", help=f"size of the ghost (default: {DEFAULT_GHOST})")
    options.add_argument("--visibility", metavar="V", help="of the ghost: visible, listed or hidden")
    options.add_argument("--algorithm", metavar="A", help="of zswap: lz4, or zstd if the build has it")
    options.add_argument("--size", metavar="SIZE", help="size that --memory-report fills (default: 32G)")
    options.add_argument("--owner-store", metavar="S", help="store of --memory-report (default: shadow)")


def chosen(args: argparse.Namespace) -> Callable[[argparse.Namespace], int] | None:
    """Returns the listing to print instead of a device, or None; refuses options of other listings."""
    names = [name for name in SCENES if getattr(args, name)]
    if len(names) > 1:
        raise invalid(f"{', '.join(map(_option, names))}: one of them at a time")
    own = {name for scene in SCENES.values() for name in scene.options}
    of_devices = {"trace", "until", "size_pages", "plot", "bytes", "noheadings", "raw", "output"}
    allowed = {*SCENES[names[0]].options} if names else of_devices
    for name in sorted((own | of_devices) - allowed):
        value = getattr(args, name)
        if value is None or value is False:
            continue
        owners = ["devices"] if name in of_devices else []
        owners += [_option(scene) for scene, facts in SCENES.items() if name in facts.options]
        rest = f", not for {_option(names[0])}" if names else ""
        raise invalid(f"{_option(name)} is for {' and '.join(owners)}{rest}")
    return SCENES[names[0]].show if names else None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _owner_stores(args: argparse.Namespace) -> int:
    """Measures every owner store and prints its cost."""
    import dataclasses

    from swapcore.results.owners import print_owner_memory
    from swapcore.running.owners import OWNER_STORES, owner_memory

    rows = [owner_memory(store) for store in OWNER_STORES]
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print_owner_memory(rows)
    return 0


def _run_most(swap: Swap, trace: str, tree: dict[str, dict[str, str]]) -> Runner:
    """Runs most of a workload in a tree of groups, or in its only group."""
    from math import ceil

    from swapcore import report
    from swapcore.running.accesses import Runner, workload_of
    from swapcore.workloads import Touch

    work = workload_of(trace)
    parent, *names = tree
    above = swap.memcg.create(parent, **tree[parent])
    groups = [above.create(name, **tree[name]) for name in names] or [above]
    touches = [number for number, step in enumerate(work.steps) if isinstance(step, Touch)]
    last = touches[ceil(SHOWN_PART * len(touches)) - 1]
    runner = Runner(swap, lambda process: groups[process % len(groups)])
    with report.progress(f"replaying {trace}", work.nr_accesses) as update:
        runner.run(work.steps[: last + 1], update)
    return runner


def _memcg(args: argparse.Namespace) -> int:
    """Prints the tree of groups in the middle of a workload."""
    from swapcore import report
    from swapcore._core import Swap
    from swapcore.running.accesses import default_size_pages, workload_of
    from swapcore.storage import Zram

    trace = args.trace or DEFAULT_ACCESSES
    work = workload_of(trace)
    swap = Swap(nr_cpus=work.nr_cpus)
    swap.swapon(Zram(pages=default_size_pages(work)))
    runner = _run_most(swap, trace, TREE)
    facts = {"memcg": report.memcg_dict(swap.memcg)}
    _finish(args, runner, trace, facts, lambda: report.memcg_tree(swap.memcg))
    return 0


def _swaps(args: argparse.Namespace) -> int:
    """Prints devices in the middle of a workload as ``swapon --show`` does."""
    from swapcore import swaps

    swap, runner, trace = _virtual_machine(args)
    _finish(args, runner, trace, {"swapdevices": swaps.swaps(swap)}, lambda: swaps.swaps_table(swap))
    return 0


def _zswap(args: argparse.Namespace) -> int:
    """Prints zswap in the middle of a workload."""
    from swapcore import swaps

    swap, runner, trace = _virtual_machine(args)
    _finish(args, runner, trace, {"zswap": swaps.zswap(swap)}, lambda: swaps.zswap_table(swap))
    return 0


def _virtual_machine(args: argparse.Namespace) -> tuple[Swap, Runner, str]:
    """Runs most of a workload on a ghost with a table, zswap, and a device behind them."""
    from swapcore._core import Swap
    from swapcore.running.accesses import default_size_pages, workload_of
    from swapcore.storage import Ghost, Ram

    trace = args.trace or VIRTUAL_ACCESSES
    work = workload_of(trace)
    swap = Swap(nr_cpus=work.nr_cpus, zswap=args.algorithm or "lz4")
    visibility = args.visibility or "visible"
    swap.swapon(Ghost(args.ghost or DEFAULT_GHOST, virtual_table=True, visibility=visibility))
    swap.swapon(Ram(pages=default_size_pages(work)), priority=10)
    return swap, _run_most(swap, trace, VIRTUAL_TREE), trace


def _finish(
    args: argparse.Namespace,
    runner: Runner,
    trace: str,
    facts: Mapping[str, object],
    table: Callable[[], None],
) -> None:
    """Prints the facts as JSON or as a table."""
    nr_accesses = runner.totals["accesses"]
    if args.json:
        print(json.dumps({"trace": trace, "accesses": nr_accesses, **facts}))
        return
    table()
    print(f"\n{trace}, {nr_accesses} accesses; {runner.oom_kills} processes killed for want of memory")


def _memory_report(args: argparse.Namespace) -> int:
    """Prints the memory of slots beside published figures."""
    from swapcore import report
    from swapcore.running.memory import measure

    with report.progress("filling devices", 1.0) as update:
        memory = measure(
            args.size or "32G",
            owner_store=args.owner_store or "shadow",
            progress=lambda done, total: update(done / total),
        )
    if args.plot is not None:
        from swapcore.plot import plot_memory

        plot_memory(memory, args.plot)
    if args.json:
        print(memory.to_json())
    else:
        memory.table()
    return 0


_OF_VIRTUAL = ("trace", "ghost", "visibility", "algorithm")

SCENES = {
    "memcg": _Scene(
        "a tree of memory cgroups with limits, three quarters through page accesses", _memcg, ("trace",)
    ),
    "owner_stores": _Scene(
        "bytes of each store of the group that is charged for a slot, on a device of 1T", _owner_stores, ()
    ),
    "swaps": _Scene(
        "a ghost and a device as swapon --show has them, after most of page accesses", _swaps, _OF_VIRTUAL
    ),
    "zswap": _Scene(
        "zswap after most of page accesses, as zramctl shows devices, and its counters", _zswap, _OF_VIRTUAL
    ),
    "memory_report": _Scene(
        "bytes a slot of every configuration at 0 to 100 %% of a size, beside published figures",
        _memory_report,
        ("plot", "size", "owner_store"),
    ),
}
"""The listings that can be printed instead of a device."""
