"""The option ``--list``: all names of workloads, strategies and storages."""

from __future__ import annotations

import json

from swapcore import report
from swapcore._core import Strategy

from .options import Status


def print_names(*, as_json: bool) -> int:
    """Prints every name that a command takes, with a description in one line.

    Args:
        as_json: True prints JSON, one object for each kind of names.

    Returns:
        `Status.GOOD`.
    """
    from swapcore import workloads
    from swapcore.running.stacks import STORAGES
    from swapcore.trace import WORKLOADS

    kinds: dict[tuple[str, str], dict[str, str]] = {
        ("trace", "traces"): {name: workload.about for name, workload in WORKLOADS.items()},
        ("accesses", "accesses"): {name: maker.about for name, maker in workloads.WORKLOADS.items()},
        ("strategy", "strategies"): dict(Strategy.names),
        ("storage", "storages"): STORAGES,
    }
    if as_json:
        print(json.dumps({many: names for (_, many), names in kinds.items()}, indent=2))
        return Status.GOOD
    rows = [[one, name, about] for (one, _), names in kinds.items() for name, about in names.items()]
    report.print_table(["KIND", "NAME", "ABOUT"], rows, nr_left=3)
    return Status.GOOD
