"""``swapcore replay``: replays a workload with pages that have data, and proves every page."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapcore import report
from swapcore.exceptions import invalid
from swapcore.storage import Ghost

from .options import (
    Status,
    add_flags,
    add_plot,
    add_size,
    add_trace,
    add_value,
    given,
    option,
    print_result,
    take_size,
    take_trace,
    warn,
)

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from swapcore.running.stacks import Storage

ABOUT = "replay a workload with pages that have data on one storage, and prove every page"

ACCESS_OPTIONS = (
    "memory_max",
    "memory_high",
    "swap_max",
    "swappiness",
    "memcg",
    "switch",
    "plot",
    "allow_oom",
)
"""Options that only page accesses take, because a replay of swap operations has no memory cgroup."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore replay``."""
    add_trace(
        parser,
        "swap operations: a name (see --list) or .npz file with op, cpu, folio, first, nr; page accesses: "
        "a name, such as zipf, or .npz file with page, write (default: kernel-build)",
    )
    add_value(
        parser, "--storage", "KIND", "zram, ram, file or null (default: zram, and nothing with --ghost)"
    )
    add_size(parser, "size of the device, such as 1G (default: the workload's need)")
    _configure_virtual(parser)
    add_value(parser, "--algorithm", "A", "algorithm of zram: lz4, or zstd if the build has it")
    add_value(parser, "--path", "FILE", "path of storage file, made if missing (default: a temporary file)")
    add_value(parser, "--zero-percent", "P", "percentage of pages that are zeros (default: 10)", type=float)
    about = "percentage of pages that do not compress; other pages compress about 3:1 (default: 10)"
    add_value(parser, "--random-percent", "P", about, type=float)
    add_flags(parser, no_verify="do not compare the pages that come back")
    add_value(parser, "--seed", "X", "seed of all random choices", type=int, default=1)
    add_flags(parser, json="print everything as JSON")
    _configure_kinds(parser)


def _configure_virtual(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the ghost and the zswap in front of the storage."""
    virtual = parser.add_argument_group("in front of the storage")
    about = "size of a ghost, a device that keeps no pages, such as 15T; in front of --storage if given"
    add_value(virtual, "--ghost", "SIZE", about)
    about = "the ghost records where each page lies; always on if --storage is given too"
    add_flags(virtual, virtual=about)
    add_value(virtual, "--zswap", "ALGO", "compressor: lz4, or zstd if the build has it")
    about = "memory of the machine; zswap may use a fifth of the memory (default: 16G)"
    add_value(virtual, "--memory", "SIZE", about)


def _configure_kinds(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only replays of swap operations take, and those that only page accesses take."""
    operations = parser.add_argument_group("swap operations")
    about = "percentage of releases that read their pages; other releases only free them (default: 100)"
    add_value(operations, "--read-percent", "P", about, type=float)
    accesses = parser.add_argument_group("page accesses, in a memory cgroup with limits")
    about = "limit on memory, such as 16M; each of several limits gets a column"
    add_value(accesses, "--memory-max", "SIZE[,...]", about)
    add_value(accesses, "--memory-high", "SIZE", "limit that throttles")
    add_value(accesses, "--swap-max", "SIZE", "limit on swap")
    add_value(accesses, "--swappiness", "N", "0 to 200 (default: 60)", type=int)
    add_value(accesses, "--memcg", "V", "of the memory cgroups: v2, v1 or disabled (default: v2)")
    about = "a switch of the subsystem and its word, see Swap.switches; may be repeated"
    add_value(accesses, "--switch", "NAME=WORD", about, action="append")
    about = "exit with 0, not with 3, if a process is killed for want of memory"
    accesses.add_argument("--allow-oom", action="store_const", const=True, help=about)
    add_plot(accesses, "draw traffic over the limit")


def run(args: argparse.Namespace) -> int:
    """Replays the workload and prints its cost; a run that was cut short is `Status.CUT_SHORT`."""
    from swapcore import workloads

    from .names import print_names

    if args.list:
        return print_names(as_json=args.json)
    take_trace(args)
    if args.path is not None and Path(args.path).exists():
        for name, value in given(args, "size", "size_pages").items():
            raise invalid(f"{option(name)} {value} is for a new file: {args.path} has its own")
    if args.storage is not None or args.ghost is None:
        take_size(args)
    args.trace = args.trace or "kernel-build"
    if args.trace in workloads.WORKLOADS:
        return _accesses(args)
    # The import is local, because `swapcore.trace` imports NumPy, which a workload of page accesses that is
    # given by name does not need.
    from swapcore.trace import has_accesses

    return _accesses(args) if has_accesses(args.trace) else _operations(args)


def _operations(args: argparse.Namespace) -> int:
    from swapcore.running.compare import default_size_pages, load_made_up
    from swapcore.running.folios import replay

    of_workload = given(args, "nr_ops", "workload_seed")
    trace = load_made_up(args.trace, **of_workload)
    for name in given(args, *ACCESS_OPTIONS):
        raise invalid(
            f"{option(name)} is for page accesses: {args.trace} lists swap operations, "
            "which say what was swapped and not who touched what"
        )
    with (
        _storage(args, default_size_pages(trace)) as storage,
        report.progress(f"replaying {args.trace}", trace.nr_ops) as update,
    ):
        options = _shared(args) | of_workload | given(args, "read_percent")
        result = replay(args.trace, storage, progress=lambda done, _total: update(done), **options)
    print_result(args, result, "")
    return Status.GOOD


def _accesses(args: argparse.Namespace) -> int:

    from swapcore.running.accesses import default_size_pages, replay_over_limits, workload_of

    if args.read_percent is not None:
        raise invalid(f"--read-percent {args.read_percent:g} is for swap operations, not for {args.trace}")
    limits = [None] if args.memory_max is None else args.memory_max.split(",")
    work = workload_of(args.trace, args.seed, **given(args, "nr_ops", "workload_seed"))
    with ExitStack() as stack, report.progress(f"replaying {args.trace}", 1.0) as update:
        sweep = replay_over_limits(
            work,
            limits,
            make_storage=lambda: stack.enter_context(_storage(args, default_size_pages(work))),
            progress=lambda done, total: update(done / total),
            switches=_switches(args.switch),
            **given(args, "memory_high", "swap_max", "swappiness", "memcg"),
            **_shared(args),
        )
    print_result(args, sweep, "plot_limits")
    cut = [run for run in sweep.runs if run.is_cut_short]
    for run in cut:
        warn(f"{run.cut}; the figures are those of a part of {args.trace}")
    return Status.CUT_SHORT if cut and not args.allow_oom else Status.GOOD


def _shared(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that replays of swap operations and of page accesses take.

    Each call makes a new ghost, because a ghost can be turned on only once at a time.
    """
    if args.virtual and args.ghost is None:
        raise invalid("--virtual is of a ghost: give --ghost SIZE")
    options = given(args, "zero_percent", "random_percent", "seed", "zswap", "memory")
    if args.ghost is not None:
        is_virtual = args.virtual or args.storage is not None
        options["ghost"] = Ghost(args.ghost, is_virtual=is_virtual)
    return options | {"is_verified": not args.no_verify}


def _storage(args: argparse.Namespace, default_pages: int) -> AbstractContextManager[Storage | None]:

    from swapcore.running.stacks import make_storage

    if args.storage is None and args.ghost is not None:
        for name, value in given(args, "size", "size_pages", "algorithm", "path").items():
            raise invalid(f"{option(name)} {value} is of a storage: with --ghost give --storage")
        return nullcontext()
    size_pages = default_pages if args.size_pages is None else args.size_pages
    kind = args.storage or "zram"
    return make_storage(kind, size_pages=size_pages, algorithm=args.algorithm, path=args.path)


def _switches(given: list[str] | None) -> dict[str, str] | None:

    for text in given or ():
        if "=" not in text:
            raise invalid(f"switch {text!r} is not of the form NAME=WORD")
    return dict(text.split("=", 1) for text in given) if given else None
