"""``swapcore stress``: uses the subsystem at random, then proves that no slot and no page was lost."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from swapcore import report
from swapcore.exceptions import invalid

from .options import Status, add_flags, add_value, given, option, take_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import Any

    from swapcore.running.stress.ops import OpsRun, StressError

ABOUT = "hammer the allocator from many threads, then prove that nothing was lost"

UNITS = {"freed_slots": "slots", "inuse_pages_end": "slots", "seconds": "s", "verified_pages": "pages"}

DEFAULTS = {"threads": 8, "seconds": 10.0, "pages": 262_144}
"""Defaults of a run with a duration; a run with ``--ops`` has others."""

LIMITS = {"threads": 2**32 - 1, "pages": 2**32 - 1, "devices": 2**32 - 1, "seed": 2**64 - 1, "seconds": 1e9}
"""Largest values that the argument types of the Rust core can hold; the core itself checks smaller limits."""

OPS_OPTIONS = ("data", "faults", "swapoff", "groups", "zswap", "ghost")
"""Options that only a run with ``--ops`` takes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore stress``."""
    add_value(parser, "--threads", "N", f"number of threads (default: {DEFAULTS['threads']})", type=int)
    add_value(parser, "--seconds", "S", f"duration in seconds (default: {DEFAULTS['seconds']})", type=float)
    add_value(parser, "--seed", "X", "seed of every random choice", type=int, default=1)
    add_flags(parser, python="run Python threads instead of Rust threads")
    about = f"slots of all devices together (default: {DEFAULTS['pages']}; with --ops 4096)"
    add_value(parser, "--pages", "N", about, type=int)
    add_value(parser, "--size", "SIZE", "size of all devices together, such as 1G, instead of --pages")
    add_value(parser, "--devices", "N", "number of devices", type=int, default=2)
    add_value(parser, "--profile", "P", "profile: the kernel to imitate", default="newest")
    add_flags(parser, json="print the result as JSON")
    ops = parser.add_argument_group(
        "a run that can run again",
        "One thread does N operations. Equal options give equal operations and equal counters. After a "
        "failure, shorter runs are tried, and the command of the shortest that fails is printed.",
    )
    add_value(ops, "--ops", "N", "number of operations, instead of threads and a duration", type=int)
    for name, about in {
        "swapoff": "turn devices off and on again during the run",
        "data": "address spaces whose pages have data, instead of slots; the options below imply it",
        "faults": "reads and writes of the devices fail now and then",
    }.items():
        ops.add_argument(option(name), action="store_const", const=True, help=about)
    add_value(ops, "--groups", "N", "memory cgroups with changing limits", type=int)
    add_value(ops, "--zswap", "ALGO", "compressor of zswap: lz4, or zstd if the build has it")
    add_value(
        ops, "--ghost", "SIZE", "size of a ghost with a virtual table in front of the devices, such as 8M"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the stress and prints its counts."""
    take_size(args, "pages")
    for name, high in LIMITS.items():
        value = getattr(args, name)
        if value is not None and not 0 <= value <= high:
            raise invalid(f"{name} {value} is not in 0..={high}")
    return _threads(args) if args.ops is None else _ops(args)


def _threads(args: argparse.Namespace) -> int:
    stress: Callable[..., Mapping[str, Any]]
    if args.python:
        from swapcore.running.stress import stress
    else:
        from swapcore._core import stress

    for name in given(args, *OPS_OPTIONS):
        raise invalid(f"{option(name)} is for a run with --ops")
    options = DEFAULTS | given(args, *LIMITS)
    kind = "Python" if args.python else "Rust"
    threads = options["threads"]
    with report.progress(f"stress, {threads} {kind} threads", options["seconds"], is_timed=True):
        result = stress(profile=args.profile, **options)
    if args.json:
        print(json.dumps({"kind": kind.lower(), **result}, indent=2))
        return Status.GOOD
    _print_rows(result)
    print(
        f"\nevery slot is accounted for and every invariant holds, {threads} {kind} threads, seed {args.seed}"
    )
    return Status.GOOD


def _ops(args: argparse.Namespace) -> int:
    from swapcore.running.stress.ops import OpsRun, StressError, stress_ops

    if args.threads not in {None, 1}:
        raise invalid(f"--threads {args.threads} with --ops: only a run of one thread can run again")
    if args.seconds is not None:
        raise invalid(f"--seconds {args.seconds:g} and --ops {args.ops} are two lengths, give one")
    names = ("ops", "seed", "pages", "devices", "profile", *OPS_OPTIONS)
    how = OpsRun(**given(args, *names))
    try:
        with report.progress(f"stress, {how.ops} operations", how.ops) as update:
            result = stress_ops(how, update)
    except StressError as failure:
        return _failed(how, failure, as_json=args.json)
    if args.json:
        print(
            json.dumps({"kind": "ops", "is_deterministic": True, **result, "command": how.command}, indent=2)
        )
        return Status.GOOD
    counters = result.pop("counters")
    _print_rows(result | counters)
    print(
        f"\nevery slot and every page is accounted for and every invariant holds. One thread, deterministic: "
        f"{how.command} gives these counts again"
    )
    return Status.GOOD


def _failed(how: OpsRun, failure: StressError, *, as_json: bool) -> int:
    """Prints a failure, and the command of the shortest run that fails."""
    from swapcore.running.stress.ops import shortest

    print(f"swapcore: stress failed at {failure}", file=sys.stderr)
    found, nr_tries = shortest(how, failure)
    command = replace(how, ops=found.nr_ops).command
    if as_json:
        facts = {"kind": "ops", "failure": str(failure.error), "failed_at": failure.nr_ops}
        facts |= {"shortest_failure": str(found.error), "shortest_ops": found.nr_ops, "command": command}
        print(json.dumps(facts, indent=2))
    print(
        f"swapcore: the shortest run that fails has {found.nr_ops} operations ({nr_tries} shorter runs "
        f"tried): {found}\nswapcore: run it again with: {command}",
        file=sys.stderr,
    )
    return Status.NOT_SO


def _print_rows(counts: Mapping[str, Any]) -> None:
    rows = [
        [name, f"{value:.2f}" if isinstance(value, float) else str(value), UNITS.get(name, "")]
        for name, value in counts.items()
    ]
    report.print_table(["name", "value", "unit"], rows)
