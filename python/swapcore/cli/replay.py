"""``swapcore replay``: a workload with pages that have data, on one storage; every page is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

ABOUT = "replay a workload with pages that have data on one storage, and prove every page"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--trace",
        default="kernel-build",
        metavar="NAME|PATH",
        help="workload, or .npz file (default: %(default)s)",
    )
    parser.add_argument(
        "--storage", default="zram", metavar="KIND", help="zram, ram, file or null (default: %(default)s)"
    )
    parser.add_argument(
        "--size", metavar="SIZE", help="of the device, such as 1G (default: the workload fills it to 90 %%)"
    )
    parser.add_argument("--algorithm", metavar="A", help="of zram: lz4, or zstd where the build has it")
    parser.add_argument(
        "--path", metavar="FILE", help="of file: made if it does not exist (default: a temporary one)"
    )
    for name, default, about in (
        ("zero", 10.0, "pages that are zeros"),
        ("random", 10.0, "pages that do not compress; the others do, about 3:1"),
        ("read", 100.0, "releases that read their pages, the others give them up unread"),
    ):
        parser.add_argument(
            f"--{name}-percent",
            type=float,
            default=default,
            metavar="P",
            help=f"{about} (default: {default:g})",
        )
    parser.add_argument("--no-verify", action="store_true", help="do not compare what comes back")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="X", help="of contents and reads (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Replays the workload and prints what it cost."""
    from pathlib import Path

    from swapcore import report
    from swapcore.comparison import default_size_pages
    from swapcore.exceptions import invalid
    from swapcore.replaying import make_storage, replay
    from swapcore.size import size_in_pages
    from swapcore.trace import load

    if args.size is not None and args.path is not None and Path(args.path).exists():
        raise invalid(f"--size {args.size} is for a new file: {args.path} has its own")
    trace = load(args.trace)
    size_pages = default_size_pages(trace) if args.size is None else size_in_pages(args.size, None)
    options = {"size_pages": size_pages, "algorithm": args.algorithm, "path": args.path}
    with (
        make_storage(args.storage, **options) as storage,
        report.progress(f"replaying {args.trace}", trace.nr_ops) as update,
    ):
        result = replay(
            args.trace,
            storage,
            zero_percent=args.zero_percent,
            random_percent=args.random_percent,
            read_percent=args.read_percent,
            is_verified=not args.no_verify,
            seed=args.seed,
            progress=lambda done, _total: update(done),
        )
    if args.json:
        print(result.to_json())
    else:
        result.table()
    return 0
