"""``swapcore stress``: hammer the allocator from many threads, then prove that nothing was lost."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import Any

ABOUT = "hammer the allocator from many threads, then prove that nothing was lost"

UNITS = {"freed_slots": "slots", "inuse_pages_end": "slots", "seconds": "s"}


LIMITS = {"threads": 2**32 - 1, "pages": 2**32 - 1, "devices": 2**32 - 1, "seed": 2**64 - 1, "seconds": 1e9}
"""Largest values of the arguments of the Rust core, which checks closer limits itself."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("--threads", type=int, default=8, metavar="N", help="threads (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="duration (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="X", help="seed of every choice (default: %(default)s)"
    )
    parser.add_argument("--python", action="store_true", help="Python threads instead of Rust threads")
    parser.add_argument(
        "--pages", type=int, default=262_144, metavar="N", help="slots in all (default: %(default)s)"
    )
    parser.add_argument("--devices", type=int, default=2, metavar="N", help="devices (default: %(default)s)")
    parser.add_argument(
        "--profile", default="newest", metavar="P", help="kernel to behave like (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the stress and prints its counts."""
    from swapcore import report
    from swapcore.exceptions import InvalidArgumentError

    stress: Callable[..., Mapping[str, Any]]
    if args.python:
        from swapcore.running.stress import stress
    else:
        from swapcore._core import stress

    for name, high in LIMITS.items():
        value = getattr(args, name)
        if not 0 <= value <= high:
            raise InvalidArgumentError(errno.EINVAL, f"{name} {value} is not in 0..={high}")
    kind = "Python" if args.python else "Rust"
    with report.progress(f"stress, {args.threads} {kind} threads", args.seconds, is_timed=True):
        result = stress(
            threads=args.threads,
            seconds=args.seconds,
            seed=args.seed,
            pages=args.pages,
            devices=args.devices,
            profile=args.profile,
        )
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
