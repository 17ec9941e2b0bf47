"""``swapcore replay``: a workload with pages that have data, on one storage, with a proof of every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from swapcore.running.stacks import Storage

ABOUT = "replay a workload with pages that have data on one storage, and prove every page"

ACCESS_OPTIONS = ("memory_max", "memory_high", "swap_max", "swappiness", "memcg", "switch", "plot")
"""Options of page accesses, which swap operations do not take because they have no groups."""

DEFAULT_READ_PERCENT = 100.0
DEFAULT_SWAPPINESS = 60
DEFAULT_MEMCG = "v2"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "workload",
        nargs="?",
        metavar="TRACE",
        help="swap operations: a name (see compare --list) or .npz file with op, cpu, folio, first, nr; page "
        "accesses: zipf, scan, build-like, fork-heavy, or .npz file with page, write (default: kernel-build)",
    )
    parser.add_argument("--trace", metavar="TRACE", help="the same as TRACE")
    parser.add_argument(
        "--storage",
        metavar="KIND",
        help="zram, ram, file or null (default: zram, and nothing with --ghost)",
    )
    parser.add_argument(
        "--size", metavar="SIZE", help="size of the device, such as 1G (default: the workload's need)"
    )
    _configure_virtual(parser)
    parser.add_argument("--algorithm", metavar="A", help="of zram: lz4, or zstd if the build has it")
    parser.add_argument(
        "--path",
        metavar="FILE",
        help="path of storage file, made if missing (default: a temporary file)",
    )
    for name, default, about in (
        ("zero", 10.0, "pages that are zeros"),
        ("random", 10.0, "pages that do not compress; the others do, about 3:1"),
    ):
        parser.add_argument(
            f"--{name}-percent",
            type=float,
            default=default,
            metavar="P",
            help=f"{about} (default: {default:g})",
        )
    parser.add_argument("--no-verify", action="store_true", help="do not compare the pages that come back")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="X", help="seed of all random choices (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    _configure_kinds(parser)


def _configure_virtual(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the ghost and the zswap in front of the storage."""
    virtual = parser.add_argument_group("in front of the storage")
    virtual.add_argument(
        "--ghost", metavar="SIZE", help="a device that keeps no pages, such as 15T; before --storage if given"
    )
    virtual.add_argument(
        "--virtual-table",
        action="store_true",
        help="the ghost records where each page lies; always on if --storage is given too",
    )
    virtual.add_argument("--zswap", metavar="ALGO", help="compressor: lz4, or zstd if the build has it")
    virtual.add_argument(
        "--memory", metavar="SIZE", help="memory of the machine; zswap may have a fifth of it (default: 16G)"
    )


def _configure_kinds(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only one kind of workload has."""
    operations = parser.add_argument_group("swap operations")
    operations.add_argument(
        "--read-percent",
        type=float,
        metavar="P",
        help="percentage of releases that read their pages; the others free them unread (default: 100)",
    )
    accesses = parser.add_argument_group("page accesses, in a memory cgroup with limits")
    accesses.add_argument(
        "--memory-max", metavar="SIZE[,...]", help="limit on memory, such as 16M; several give a column each"
    )
    accesses.add_argument("--memory-high", metavar="SIZE", help="limit that throttles")
    accesses.add_argument("--swap-max", metavar="SIZE", help="limit on swap")
    accesses.add_argument("--swappiness", type=int, metavar="N", help="0 to 200 (default: 60)")
    accesses.add_argument("--memcg", metavar="V", help="hierarchy: v2, v1 or disabled (default: v2)")
    accesses.add_argument(
        "--switch", action="append", metavar="NAME=WORD", help="a choice of the subsystem, may be repeated"
    )
    accesses.add_argument(
        "--plot", metavar="FILE", help="draw traffic over the limit (png, svg, pdf; needs matplotlib)"
    )


def run(args: argparse.Namespace) -> int:
    """Replays the workload and prints its cost."""
    from pathlib import Path

    from swapcore import workloads
    from swapcore.exceptions import invalid

    if args.workload is not None and args.trace is not None:
        raise invalid(f"trace {args.workload} and --trace {args.trace} are two, give one")
    if args.size is not None and args.path is not None and Path(args.path).exists():
        raise invalid(f"--size {args.size} is for a new file: {args.path} has its own")
    args.trace = args.workload or args.trace or "kernel-build"
    if args.trace in workloads.WORKLOADS:
        return _accesses(args)
    # The import is local, because only a trace needs NumPy.
    from swapcore.trace import has_accesses

    return _accesses(args) if has_accesses(args.trace) else _operations(args)


def _operations(args: argparse.Namespace) -> int:
    from swapcore import report
    from swapcore.exceptions import invalid
    from swapcore.running.compare import default_size_pages
    from swapcore.running.folios import replay
    from swapcore.trace import load

    trace = load(args.trace)
    for name in ACCESS_OPTIONS:
        if getattr(args, name) is not None:
            raise invalid(
                f"--{name.replace('_', '-')} is for page accesses: {args.trace} lists swap operations, "
                "which say what was swapped and not who touched what"
            )
    with (
        _storage(args, default_size_pages(trace)) as storage,
        report.progress(f"replaying {args.trace}", trace.nr_ops) as update,
    ):
        result = replay(
            args.trace,
            storage,
            read_percent=DEFAULT_READ_PERCENT if args.read_percent is None else args.read_percent,
            progress=lambda done, _total: update(done),
            **_shared(args),
        )
    if args.json:
        print(result.to_json())
    else:
        result.table()
    return 0


def _accesses(args: argparse.Namespace) -> int:
    from contextlib import ExitStack

    from swapcore import report
    from swapcore.exceptions import invalid
    from swapcore.running.accesses import default_size_pages, replay_over_limits, workload_of

    if args.read_percent is not None:
        raise invalid(f"--read-percent {args.read_percent:g} is for swap operations, not for {args.trace}")
    limits = [None] if args.memory_max is None else args.memory_max.split(",")
    work = workload_of(args.trace, args.seed)
    with ExitStack() as stack, report.progress(f"replaying {args.trace}", 1.0) as update:
        sweep = replay_over_limits(
            work,
            limits,
            make_storage=lambda: stack.enter_context(_storage(args, default_size_pages(work))),
            progress=lambda done, total: update(done / total),
            memory_high=args.memory_high,
            swap_max=args.swap_max,
            swappiness=DEFAULT_SWAPPINESS if args.swappiness is None else args.swappiness,
            memcg=DEFAULT_MEMCG if args.memcg is None else args.memcg,
            switches=_switches(args.switch),
            **_shared(args),
        )
    if args.plot is not None:
        from swapcore.plot import plot_limits

        plot_limits(sweep, args.plot)
    if args.json:
        print(sweep.to_json())
    else:
        sweep.table()
    return 0


def _shared(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that both kinds of replay take."""
    return {
        "zero_percent": args.zero_percent,
        "random_percent": args.random_percent,
        "is_verified": not args.no_verify,
        "seed": args.seed,
        **_in_front(args),
    }


def _storage(args: argparse.Namespace, default_pages: int) -> AbstractContextManager[Storage | None]:
    from contextlib import nullcontext

    from swapcore.exceptions import invalid
    from swapcore.running.stacks import make_storage
    from swapcore.size import size_in_pages

    if args.storage is None and args.ghost is not None:
        for name in ("size", "algorithm", "path"):
            if getattr(args, name) is not None:
                raise invalid(f"--{name} {getattr(args, name)} is of a storage: with --ghost give --storage")
        return nullcontext()
    size_pages = default_pages if args.size is None else size_in_pages(args.size, None)
    kind = args.storage or "zram"
    return make_storage(kind, size_pages=size_pages, algorithm=args.algorithm, path=args.path)


def _in_front(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of zswap, ghost and memory.

    Each call makes a new ghost, because a ghost can be turned on only once at a time.
    """
    from swapcore.exceptions import invalid
    from swapcore.storage import Ghost

    if args.virtual_table and args.ghost is None:
        raise invalid("--virtual-table is of a ghost: give --ghost SIZE")
    front: dict[str, Any] = {"zswap": args.zswap}
    if args.ghost is not None:
        has_table = args.virtual_table or args.storage is not None
        front["ghost"] = Ghost(args.ghost, virtual_table=has_table)
    if args.memory is not None:
        front["memory"] = args.memory
    return front


def _switches(given: list[str] | None) -> dict[str, str] | None:
    from swapcore.exceptions import invalid

    for text in given or ():
        if "=" not in text:
            raise invalid(f"switch {text!r} is not of the form NAME=WORD")
    return dict(text.split("=", 1) for text in given) if given else None
