"""``swapcore stress``: uses the allocator from many threads, then proves that no slot was lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from swapcore import report
from swapcore.exceptions import invalid

from .options import add_flags, add_value, given

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import Any

ABOUT = "hammer the allocator from many threads, then prove that nothing was lost"

UNITS = {"freed_slots": "slots", "inuse_pages_end": "slots", "seconds": "s"}


LIMITS = {"threads": 2**32 - 1, "pages": 2**32 - 1, "devices": 2**32 - 1, "seed": 2**64 - 1, "seconds": 1e9}
"""Largest values that the argument types of the Rust core can hold; the core itself checks smaller limits."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore stress``."""
    add_value(parser, "--threads", "N", "number of threads", type=int, default=8)
    add_value(parser, "--seconds", "S", "duration in seconds", type=float, default=10.0)
    add_value(parser, "--seed", "X", "seed of every random choice", type=int, default=1)
    add_flags(parser, python="run Python threads instead of Rust threads")
    add_value(parser, "--pages", "N", "slots of all devices together", type=int, default=262_144)
    add_value(parser, "--devices", "N", "number of devices", type=int, default=2)
    add_value(parser, "--profile", "P", "profile: the kernel to imitate", default="newest")
    add_flags(parser, json="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the stress and prints its counts."""
    stress: Callable[..., Mapping[str, Any]]
    if args.python:
        from swapcore.running.stress import stress
    else:
        from swapcore._core import stress

    for name, high in LIMITS.items():
        value = getattr(args, name)
        if not 0 <= value <= high:
            raise invalid(f"{name} {value} is not in 0..={high}")
    kind = "Python" if args.python else "Rust"
    with report.progress(f"stress, {args.threads} {kind} threads", args.seconds, is_timed=True):
        result = stress(profile=args.profile, **given(args, *LIMITS))
    if args.json:
        print(json.dumps({"kind": kind.lower(), **result}, indent=2))
        return 0
    rows = [
        [name, f"{value:.2f}" if isinstance(value, float) else str(value), UNITS.get(name, "")]
        for name, value in result.items()
    ]
    report.print_table(["name", "value", "unit"], rows)
    print(
        "\nevery slot is accounted for and every invariant holds, "
        f"{args.threads} {kind} threads, seed {args.seed}"
    )
    return 0
