"""``swapcore compare``: compares allocator strategies on one workload."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from swapcore import report
from swapcore._core import Strategy

from .options import add_flags, add_plot, add_size_pages, add_value, given, print_result

if TYPE_CHECKING:
    import argparse

ABOUT = "compare allocator strategies on one workload"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore compare``."""
    add_value(parser, "--trace", "NAME|PATH", "workload, or .npz file", default="kernel-build")
    add_value(
        parser,
        "--strategy",
        "S",
        "built-in name or module:Class, may be repeated; ratios are relative to the first strategy",
        action="append",
        dest="strategies",
    )
    add_value(parser, "--rounds", "N", "timed rounds (default: 11)", type=int)
    add_size_pages(parser)
    add_value(parser, "--seed", "X", "seed of the order in a round (default: 1)", type=int)
    add_flags(parser, json="print everything as JSON")
    add_plot(parser, "draw a picture too")
    add_flags(parser, list="print the names of workloads and strategies, and exit")


def run(args: argparse.Namespace) -> int:
    """Runs the comparison and prints it."""
    from swapcore.running.compare import compare

    if args.list:
        return _list(as_json=args.json)
    # The working directory joins the import path, as with `python -m`, because Python does not search the
    # working directory for an installed script.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with report.progress(f"comparing on {args.trace}", 1.0) as update:
        comparison = compare(
            args.trace,
            **given(args, "strategies", "rounds", "size_pages", "seed"),
            progress=lambda done, total: update(done / total),
        )
    print_result(args, comparison, "plot_comparison")
    return 0


def _list(*, as_json: bool) -> int:
    from swapcore.trace import WORKLOADS

    if as_json:
        workloads = {name: workload.about for name, workload in WORKLOADS.items()}
        print(json.dumps({"traces": workloads, "strategies": dict(Strategy.names)}, indent=2))
        return 0
    rows = [["trace", name, workload.about] for name, workload in WORKLOADS.items()]
    rows += [["strategy", name, about] for name, about in Strategy.names.items()]
    report.print_table(["KIND", "NAME", "ABOUT"], rows, nr_left=3)
    return 0
