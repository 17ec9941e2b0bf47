"""``swapcore compare``: strategies side by side on one workload."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

ABOUT = "compare allocator strategies on one workload"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--trace",
        default="kernel-build",
        metavar="NAME|PATH",
        help="workload, or .npz file (default: %(default)s)",
    )
    parser.add_argument(
        "--strategy",
        action="append",
        metavar="S",
        help="built-in name or module:Class, may be repeated; ratios are relative to the first strategy",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="timed rounds (default: 11)")
    parser.add_argument(
        "--size-pages",
        type=int,
        metavar="N",
        help="slots of the device (default: the workload fills it to 90 %%)",
    )
    parser.add_argument("--seed", type=int, metavar="X", help="seed of the order in a round (default: 1)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw a picture too (png, svg, pdf; needs matplotlib)")
    parser.add_argument(
        "--list", action="store_true", help="print the names of workloads and strategies, and leave"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the comparison and prints it."""
    from swapcore import report
    from swapcore.running.compare import DEFAULT_ROUNDS, DEFAULT_SEED, DEFAULT_STRATEGIES, compare

    if args.list:
        return _list(as_json=args.json)
    # The working directory joins the import path, as with `python -m`, because an installed script does not
    # search it.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with report.progress(f"comparing on {args.trace}", 1.0) as update:
        comparison = compare(
            args.trace,
            args.strategy or DEFAULT_STRATEGIES,
            rounds=DEFAULT_ROUNDS if args.rounds is None else args.rounds,
            size_pages=args.size_pages,
            seed=DEFAULT_SEED if args.seed is None else args.seed,
            progress=lambda done, total: update(done / total),
        )
    if args.plot is not None:
        from swapcore.plot import plot_comparison

        plot_comparison(comparison, args.plot)
    if args.json:
        print(comparison.to_json())
    else:
        comparison.table()
    return 0


def _list(*, as_json: bool) -> int:
    from swapcore import report
    from swapcore._core import Strategy
    from swapcore.trace import WORKLOADS

    if as_json:
        workloads = {name: workload.about for name, workload in WORKLOADS.items()}
        print(json.dumps({"traces": workloads, "strategies": dict(Strategy.names)}, indent=2))
        return 0
    rows = [["trace", name, workload.about] for name, workload in WORKLOADS.items()]
    rows += [["strategy", name, about] for name, about in Strategy.names.items()]
    report.print_table(["KIND", "NAME", "ABOUT"], rows, nr_left=3)
    return 0
