"""``swapcore compare``: compares allocator strategies on one workload."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from swapcore import report

from .options import (
    Status,
    add_flags,
    add_plot,
    add_size,
    add_trace,
    add_value,
    given,
    print_result,
    take_size,
    take_trace,
    warn,
)

if TYPE_CHECKING:
    import argparse

ABOUT = "compare allocator strategies on one workload"

DEFAULT_TRACE = "kernel-build"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore compare``."""
    add_trace(parser, f"swap operations: a name (see --list) or .npz file (default: {DEFAULT_TRACE})")
    about = "slots of the device that a made-up workload is for (default: 65536)"
    add_value(parser, "--workload-size-pages", "N", about, type=int)
    add_value(
        parser,
        "--strategy",
        "S",
        "built-in name or module:Class, may be repeated; ratios are relative to the first strategy",
        action="append",
        dest="strategies",
    )
    add_value(parser, "--rounds", "N", "timed rounds (default: 11)", type=int)
    add_size(parser, "size of the device, such as 1G (default: the workload fills the device to 90 %%)")
    add_value(parser, "--seed", "X", "seed of the order in a round (default: 1)", type=int)
    add_flags(parser, json="print everything as JSON")
    add_plot(parser, "draw a picture too")


def run(args: argparse.Namespace) -> int:
    """Runs the comparison and prints it."""
    from swapcore.running.compare import compare

    from .names import print_names

    if args.list:
        return print_names(as_json=args.json)
    take_trace(args)
    take_size(args)
    args.trace = args.trace or DEFAULT_TRACE
    # The working directory joins the import path, as with `python -m`, because Python does not search the
    # working directory for an installed script.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with report.progress(f"comparing on {args.trace}", 1.0) as update:
        comparison = compare(
            args.trace,
            **given(args, "strategies", "rounds", "size_pages", "seed"),
            **given(args, "nr_ops", "workload_seed", "workload_size_pages"),
            progress=lambda done, total: update(done / total),
        )
    print_result(args, comparison, "plot_comparison")
    for warning in comparison.warnings:
        warn(warning)
    return Status.GOOD
