"""Listings of ``swapcore show`` beside that of one device: groups, a ghost and zswap, memory of slots."""

from __future__ import annotations

import json
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from swapcore import report, swaps
from swapcore._core import Swap
from swapcore.exceptions import invalid
from swapcore.storage import Ghost, Ram, Zram

from .options import add_flags, add_value, given, option, print_result

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from swapcore.running.accesses import Runner
    from swapcore.workloads import Workload

DEFAULT_ACCESSES = "build-like"

TREE: dict[str, dict[str, str]] = {
    "build": {"memory_max": "8M"},
    "job0": {"memory_max": "3M"},
    "job1": {"memory_max": "4M", "swap_max": "1M"},
}
"""The groups of ``--memcg`` with their limits.

The first group is the parent of all other groups. The processes of the workload join the other groups in
turn.
"""

SHOWN_PART = 0.75
"""Share of a workload's `Touch` steps that run before a listing. The other steps do not run, because at the
end of a workload no process is left to list."""

DEFAULT_GHOST = "15T"
VIRTUAL_ACCESSES = "zipf"
VIRTUAL_TREE: dict[str, dict[str, str]] = {"job": {"memory_max": "8M", "zswap_max": "2M"}}
"""The group of ``--swaps`` and ``--zswap``, whose cold pages exceed the group's limit on zswap."""


class _Scene(NamedTuple):
    about: str
    show: Callable[[argparse.Namespace], int]
    options: tuple[str, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose a listing (groups, devices, zswap, memory) and set its options."""
    group = parser.add_argument_group("one listing instead of the listing of a device")
    add_flags(group, **{name: scene.about for name, scene in SCENES.items()})
    options = parser.add_argument_group("options of these listings")
    add_value(options, "--ghost", "SIZE", f"size of the ghost (default: {DEFAULT_GHOST})")
    add_value(options, "--visibility", "V", "visibility of the ghost: visible, listed or hidden")
    add_value(options, "--algorithm", "A", "compressor of zswap: lz4, or zstd if the build has it")
    add_value(options, "--owner-store", "S", "owner store of --memory-report (default: shadow)")


def chosen(args: argparse.Namespace) -> Callable[[argparse.Namespace], int] | None:
    """Returns the function of the chosen listing, or None; refuses options that belong to another listing."""
    names = [name for name in SCENES if getattr(args, name)]
    if len(names) > 1:
        raise invalid(f"{', '.join(map(option, names))}: one of them at a time")
    own = {name for scene in SCENES.values() for name in scene.options}
    of_devices = {*_OF_WORKLOAD, "until", "size", "size_pages", "plot"}
    of_devices |= {"bytes", "noheadings", "raw", "output"}
    allowed = {*SCENES[names[0]].options} if names else of_devices
    for name in sorted((own | of_devices) - allowed):
        value = getattr(args, name)
        if value is None or value is False:
            continue
        owners = ["devices"] if name in of_devices else []
        owners += [option(scene) for scene, facts in SCENES.items() if name in facts.options]
        rest = f", not for {option(names[0])}" if names else ""
        raise invalid(f"{option(name)} is for {' and '.join(owners)}{rest}")
    return SCENES[names[0]].show if names else None


def _owner_stores(args: argparse.Namespace) -> int:
    """Measures and prints the memory of every owner store, which is a place for the owners of slots."""
    from swapcore.results.owners import print_owner_memory
    from swapcore.running.owners import OWNER_STORES, owner_memory

    rows = [owner_memory(store) for store in OWNER_STORES]
    if args.json:
        print(json.dumps([row.to_dict() for row in rows]))
    else:
        print_owner_memory(rows)
    return 0


def _run_most(swap: Swap, work: Workload, tree: dict[str, dict[str, str]]) -> Runner:
    """Runs `SHOWN_PART` of a workload in the groups below the first group of ``tree``, or in a sole group."""
    from swapcore.running.accesses import Runner

    parent, *names = tree
    above = swap.memcg.create(parent, **tree[parent])
    groups = [above.create(name, **tree[name]) for name in names] or [above]
    runner = Runner(swap, lambda process: groups[process % len(groups)])
    with report.progress(f"replaying {work.name}", work.nr_accesses) as update:
        runner.run(work.steps[: _nr_shown_steps(work)], update)
    return runner


def _nr_shown_steps(work: Workload) -> int:
    from swapcore.workloads import Touch

    touches = [number for number, step in enumerate(work.steps) if isinstance(step, Touch)]
    return touches[ceil(SHOWN_PART * len(touches)) - 1] + 1


def _run_until_swap_is_used(swap: Swap, work: Workload, runner: Runner) -> None:
    """Runs further steps until slots are charged to a group.

    At some moments all processes are small, and a listing of that moment shows no swap.
    """
    steps = iter(work.steps[_nr_shown_steps(work) :])
    top = swap.memcg.children
    while not any(group.counters()["swap_pages"] for group in top) and (step := next(steps, None)):
        runner.run([step])


def _memcg(args: argparse.Namespace) -> int:
    """Prints the tree of groups when swap is used, at the earliest after `SHOWN_PART` of a workload."""
    from swapcore.running.accesses import default_size_pages, workload_of

    work = workload_of(args.trace or DEFAULT_ACCESSES, **given(args, "nr_ops", "workload_seed"))
    swap = Swap(nr_cpus=work.nr_cpus)
    swap.swapon(Zram(pages=default_size_pages(work)))
    runner = _run_most(swap, work, TREE)
    _run_until_swap_is_used(swap, work, runner)
    groups = swap.memcg
    return _print(
        args, work, runner, {"memcg": report.memcg_dict(groups)}, partial(report.memcg_tree, groups)
    )


def _virtual(args: argparse.Namespace) -> int:
    """Prints devices or zswap after `SHOWN_PART` of a run on a ghost with a virtual table over a device."""
    from swapcore.running.accesses import default_size_pages, workload_of

    work = workload_of(args.trace or VIRTUAL_ACCESSES, **given(args, "nr_ops", "workload_seed"))
    swap = Swap(nr_cpus=work.nr_cpus, zswap=args.algorithm or "lz4")
    swap.swapon(Ghost(args.ghost or DEFAULT_GHOST, is_virtual=True, **given(args, "visibility")))
    swap.swapon(Ram(pages=default_size_pages(work)), priority=10)
    runner = _run_most(swap, work, VIRTUAL_TREE)
    facts: Mapping[str, object]
    if args.swaps:
        facts, table = {"swapdevices": swaps.swaps(swap)}, swaps.swaps_table
    else:
        facts, table = {"zswap": swaps.zswap(swap)}, swaps.zswap_table
    return _print(args, work, runner, facts, partial(table, swap))


def _print(
    args: argparse.Namespace,
    work: Workload,
    runner: Runner,
    facts: Mapping[str, object],
    table: Callable[[], None],
) -> int:
    """Prints the state after a replay: ``facts`` as JSON with ``--json``, else what ``table`` prints."""
    nr_accesses = runner.totals["accesses"]
    if args.json:
        run = {"trace": work.name, "accesses": nr_accesses, "oom_kills": runner.oom_kills}
        print(json.dumps(run | {**facts}))
        return 0
    table()
    print(f"\n{work.name}, {nr_accesses} accesses; {runner.oom_kills} processes killed for want of memory")
    return 0


def _memory_report(args: argparse.Namespace) -> int:
    """Prints the memory of slots beside published figures."""
    from swapcore.running.memory import measure

    with report.progress("filling devices", 1.0) as update:
        options = given(args, "size", "owner_store")
        memory = measure(progress=lambda done, total: update(done / total), **options)
    print_result(args, memory, "plot_memory")
    return 0


_OF_WORKLOAD = ("trace", "nr_ops", "workload_seed")
_OF_VIRTUAL = (*_OF_WORKLOAD, "ghost", "visibility", "algorithm")

SCENES = {
    "memcg": _Scene(
        "a tree of memory cgroups with limits, three quarters through page accesses, while swap is used",
        _memcg,
        _OF_WORKLOAD,
    ),
    "owner_stores": _Scene(
        "bytes of each store of the group that is charged for a slot, on a device of 1T", _owner_stores, ()
    ),
    "swaps": _Scene(
        "a ghost and a device as swapon --show has them, after most of page accesses", _virtual, _OF_VIRTUAL
    ),
    "zswap": _Scene(
        "zswap after most of page accesses, as zramctl shows devices, and its counters", _virtual, _OF_VIRTUAL
    ),
    "memory_report": _Scene(
        "bytes a slot of every configuration at 0 to 100 %% of a size, beside published figures",
        _memory_report,
        ("plot", "size", "owner_store"),
    ),
}
"""The listings that ``swapcore show`` can print instead of the listing of a device, by option."""
