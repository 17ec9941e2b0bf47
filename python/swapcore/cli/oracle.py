"""``swapcore oracle``: compares every slot of the allocator with a recorded kernel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from swapcore import report
from swapcore.swaps import cluster_lists

from .options import Status, add_flags, add_value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from swapcore.results.oracle import CaseResult

ABOUT = "replay recorded kernel behaviour and compare every slot"

CLUSTERS_SHOWN = 16

_SUMS = ("allocations", "frees", "slots", "slots_agreed", "seconds")
"""Attributes of a result that the summary adds up."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore oracle``."""
    parser.add_argument(
        "path", nargs="+", metavar="PATH", help="recorded case (.jsonl, .jsonl.gz), or directory of them"
    )
    add_value(parser, "--profile", "P", "profile: the kernel to imitate", default="v618")
    add_flags(parser, json="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Replays the cases; returns `Status.GOOD` if all cases agree, and `Status.NOT_SO` if a case diverges."""
    from swapcore.running.oracle import replay

    with report.progress("replaying cases", 1.0) as update:
        results = replay(args.path, profile=args.profile, progress=lambda done, total: update(done / total))
    if args.json:
        cases = [result.to_dict() for result in results]
        print(json.dumps({"summary": _summary(results), "cases": cases}, indent=2))
    else:
        _print(results)
    return Status.GOOD if all(result.is_agreed for result in results) else Status.NOT_SO


def _summary(results: Sequence[CaseResult]) -> dict[str, Any]:
    return {
        "cases": len(results),
        "cases_agreed": sum(result.is_agreed for result in results),
        **{name: sum(getattr(result, name) for result in results) for name in _SUMS},
        "profile": results[0].profile,
    }


def _print(results: Sequence[CaseResult]) -> None:

    columns: dict[str, Callable[[CaseResult], str]] = {
        "case": lambda result: result.case,
        "family": lambda result: result.family,
        "result": lambda result: "agrees" if result.is_agreed else "DIVERGES",
        "allocations": lambda result: str(result.allocations),
        "slots freed": lambda result: str(result.frees),
        "slots allocated": lambda result: str(result.slots),
        "slots agreed %": lambda result: f"{100 * result.agreement:.2f}",
        "ms": lambda result: f"{1000 * result.seconds:.0f}",
    }
    report.print_columns(columns, results, nr_left=3)
    for result in results:
        if result.divergence is not None:
            print(f"\n{result.case}: {result.divergence}")
            for text in _state(result.divergence.dump):
                print(f"  {text}")
    total = _summary(results)
    print(
        f"\n{total['cases_agreed']} of {total['cases']} cases agree, "
        f"{total['slots_agreed']} of {total['slots']} slots, "
        f"{total['allocations']} allocations, {total['frees']} slots freed, profile {total['profile']}, "
        f"{total['seconds']:.1f} s"
    )


def _state(dump: dict[str, Any]) -> list[str]:
    """Formats the lists and hints of a dump."""
    lines = [f"avail={dump['avail']}"]
    for device in dump["devices"]:
        lists = [f"{name}={_clusters(clusters)}" for name, clusters in cluster_lists(device)]
        rotating = f" next={device['next']}" if device["next"] else ""
        lines.append(
            f"type {device['type']}: inuse_pages={device['inuse_pages']} {' '.join(lists)}{rotating}"
        )
        for cpu, hints in enumerate(device["named_hints"]):
            if hints:
                lines.append(f"cpu {cpu} hints of requests for type {device['type']}: {_hints(hints)}")
    for cpu, hints in enumerate(dump["hints"]):
        lines.append(f"cpu {cpu} hints: {_hints(hints) or 'none'}")
    for cpu, hints in enumerate(dump["virtual_hints"]):
        if hints:
            lines.append(f"cpu {cpu} virtual hints: {_hints(hints)}")
    return lines


def _hints(hints: dict[int, tuple[int, int]]) -> str:
    """Formats the hints of one CPU by order; returns the empty text for a CPU without hints."""
    return ", ".join(f"o{order} swp({kind}:{offset:#x})" for order, (kind, offset) in sorted(hints.items()))


def _clusters(clusters: Sequence[int]) -> str:
    shown = ", ".join(map(str, clusters[:CLUSTERS_SHOWN]))
    rest = len(clusters) - CLUSTERS_SHOWN
    return f"[{shown}, ... {rest} more]" if rest > 0 else f"[{shown}]"
