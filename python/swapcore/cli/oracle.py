"""``swapcore oracle``: compares slots of the allocator and counters of memory with a recorded kernel.

The first line of a file says which kind of recording the file is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from swapcore import report
from swapcore.swaps import cluster_lists

from .options import Status, add_flags, add_value

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from swapcore.results.counters import CounterResult, FamilyResult
    from swapcore.results.oracle import CaseResult

ABOUT = "replay recorded kernel behaviour and compare every slot and every counter"

CLUSTERS_SHOWN = 16

_SUMS = ("allocations", "frees", "slots", "slots_agreed", "seconds")
"""Attributes of a result that the summary adds up."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``swapcore oracle``."""
    parser.add_argument(
        "path", nargs="+", metavar="PATH", help="recorded case (.jsonl, .jsonl.gz), or directory of them"
    )
    add_value(parser, "--profile", "P", "profile: the kernel to imitate", default="v618")
    about = "counters: print every difference, not only the first of a case, and the keys without a value"
    parser.add_argument("-v", "--verbose", action="store_true", help=about)
    add_flags(parser, json="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Replays the cases; returns `Status.GOOD` if all cases agree, and `Status.NOT_SO` if a case diverges."""
    from swapcore.running.counters import is_recording
    from swapcore.running.oracle import expand

    of_slots: list[Path] = []
    of_counters: list[Path] = []
    for path in expand(args.path):
        (of_counters if is_recording(path) else of_slots).append(path)
    slots, counters = _replay(of_slots, of_counters, args.profile)
    if args.json:
        print(json.dumps(_to_dict(slots, counters), indent=2))
    else:
        _print(slots, counters, is_verbose=args.verbose)
    is_good = all(result.is_agreed for result in slots) and all(result.is_agreed for result in counters)
    return Status.GOOD if is_good else Status.NOT_SO


def _replay(
    of_slots: Sequence[Path], of_counters: Sequence[Path], profile: str
) -> tuple[list[CaseResult], list[CounterResult]]:
    from swapcore.running import counters, oracle

    slots = []
    values = []
    with report.progress("replaying cases", 1.0) as update:
        total = len(of_slots) + len(of_counters)
        for done, path in enumerate(of_slots, 1):
            slots.append(oracle.replay_case(path, profile=profile))
            update(done / total)
        for done, path in enumerate(of_counters, 1 + len(of_slots)):
            values.append(counters.replay_case(path, profile=profile))
            update(done / total)
    return slots, values


def _to_dict(slots: Sequence[CaseResult], counters: Sequence[CounterResult]) -> dict[str, Any]:
    """Returns the JSON object. Each kind of recording has its part only if such a file was replayed."""
    from swapcore.results.counters import by_family

    data: dict[str, Any] = {}
    if slots:
        data["summary"] = _summary(slots)
        data["cases"] = [result.to_dict() for result in slots]
    if counters:
        data["counters"] = {
            "families": [family.to_dict() for family in by_family(counters)],
            "cases": [result.to_dict() for result in counters],
        }
    return data


def _summary(results: Sequence[CaseResult]) -> dict[str, Any]:
    return {
        "cases": len(results),
        "cases_agreed": sum(result.is_agreed for result in results),
        **{name: sum(getattr(result, name) for result in results) for name in _SUMS},
        "profile": results[0].profile,
    }


def _print(slots: Sequence[CaseResult], counters: Sequence[CounterResult], *, is_verbose: bool) -> None:
    if slots:
        _print_slots(slots)
    if slots and counters:
        print()
    if counters:
        _print_counters(counters, is_verbose=is_verbose)


def _print_slots(results: Sequence[CaseResult]) -> None:
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


def _print_counters(results: Sequence[CounterResult], *, is_verbose: bool) -> None:
    """Prints the differences of each case, then the sums of each family."""
    from swapcore.results.counters import by_family

    for result in results:
        if is_verbose or not result.is_agreed:
            print(f"{result.case}: {result.agreed} of {result.compared} values agree")
        shown = result.differences if is_verbose else result.differences[:1]
        for difference in shown:
            print(f"  {difference}")
        if len(result.differences) > len(shown):
            rest = len(result.differences) - len(shown)
            print(f"  and {rest} more, of {len(result.first_by_key())} keys")
        if is_verbose and result.missing:
            print(f"  not compared, because swapcore has no such value: {', '.join(result.missing)}")
    columns: dict[str, Callable[[FamilyResult], str]] = {
        "family": lambda family: family.family,
        "cases": lambda family: str(family.cases),
        "without a difference": lambda family: str(family.cases_agreed),
        "values compared": lambda family: str(family.compared),
        "agreed": lambda family: str(family.agreed),
        "agreed %": lambda family: f"{100 * family.agreement:.2f}",
        "ms": lambda family: f"{1000 * family.seconds:.0f}",
    }
    if any(not result.is_agreed for result in results) or is_verbose:
        print()
    report.print_columns(columns, by_family(results))
    print(f"\ncounters, profile {results[0].profile}")


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
