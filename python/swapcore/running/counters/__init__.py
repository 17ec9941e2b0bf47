"""Replays recordings of the counters of a real kernel, and compares every value after every step.

A recording is a script of small steps, such as a fill of a region or a new limit, and the values that a
kernel showed after each step: the files of memory cgroups, ``/proc/vmstat``, the statistics of large folios,
zswap, slots in use and the pages of each region. `replay_case` runs the same script through the public API. A
difference does not end the replay, because later values can agree in spite of the difference.

The kernel recorded cgroups of version 1. A case whose first line has ``"memcg": "v2"`` has groups of version
2, with the keys that `groups` describes. With ``"by_hand": true`` the values were computed by hand; the
replay then charges exact numbers of pages (``memcg_stock=off``), and the machine has no other memory. A
difference shows a value computed by hand as the value of the kernel.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from swapcore.exceptions import invalid
from swapcore.results.counters import CounterResult

from .comparison import Comparison
from .recording import MALFORMED, is_recording, read
from .script import Machine

if TYPE_CHECKING:
    import os

__all__ = ["DEFAULT_PROFILE", "is_recording", "replay_case"]

DEFAULT_PROFILE = "v618"
"""The profile of the kernel that recorded the cases."""


def replay_case(path: str | os.PathLike[str], *, profile: str = DEFAULT_PROFILE) -> CounterResult:
    """Replays one recording and compares every value.

    Args:
        path: The recording.
        profile: Profile of the `Swap` that replays the script.

    Returns:
        The result.

    Raises:
        InvalidArgumentError: EINVAL; not a recording, or an unknown profile.
        InvariantError: `Swap.check` finds a broken invariant after the last step.
    """
    case = read(path)
    start = time.perf_counter()
    comparison = Comparison()
    machine = Machine(case, profile)
    try:
        for step in case.steps:
            try:
                got_errno = machine.run(step)
            except MALFORMED as error:
                raise invalid(f"{path}, line {step.line}: not a recorded {step.op}: {error!r}") from error
            machine.settle()
            comparison.compare_errno(step, got_errno)
            values = machine.values()
            if step.number > case.compare_from:
                comparison.compare(step, values)
            else:
                comparison.restart(values)
        machine.swap.check()
    finally:
        machine.close()
    return CounterResult(
        case=case.name,
        family=case.family,
        path=str(path),
        profile=profile,
        steps=len(case.steps),
        compared=comparison.nr_compared,
        agreed=comparison.nr_agreed,
        seconds=time.perf_counter() - start,
        differences=tuple(comparison.differences),
        missing=tuple(sorted(comparison.missing)),
    )
