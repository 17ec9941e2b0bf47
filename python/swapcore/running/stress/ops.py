"""A stress run of one thread with a number of operations, and the search for a shorter run that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .data import DataProgram
from .program import OpsRun
from .slots import SlotProgram

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OpsRun", "StressError", "shortest", "stress_ops"]


class StressError(Exception):
    """Says that a run failed: at which operation, and why.

    Attributes:
        nr_ops: Operations of the shortest run that is known to fail.
        error: The error of the last operation, or of the proof after it.
    """

    def __init__(self, nr_ops: int, error: Exception) -> None:
        """Takes the number of operations and the error."""
        super().__init__(f"operation {nr_ops}: {type(error).__name__}: {error}")
        self.nr_ops = nr_ops
        self.error = error


def stress_ops(how: OpsRun, tell: Callable[[int], None] = lambda _done: None) -> dict[str, Any]:
    """Runs random operations from one thread, frees everything, and proves that no slot and no page was lost.

    Args:
        how: The description of the run.
        tell: Called with the operations done, now and then.

    Returns:
        ``ops``, ``seed``, how often each operation ran, ``verified_pages``, ``full`` (requests without room),
        ``no_memory`` (refused charges), ``io_errors`` (planned failures that were seen), ``swapoffs``, and
        ``counters`` (every counter of the subsystem that is not 0).

    Raises:
        InvalidArgumentError: EINVAL; a value out of range.
        StressError: An operation failed, a page was lost, or an invariant is broken.
    """
    program = DataProgram(how) if how.has_data else SlotProgram(how)
    try:
        counts = program.run(tell)
    except Exception as error:
        raise StressError(program.nr_done, error) from error
    return {"ops": how.ops, "seed": how.seed, **counts}


def shortest(how: OpsRun, failure: StressError) -> tuple[StressError, int]:
    """Looks for the smallest number of operations that still fails, by halves.

    Each try is a fresh run. A run with fewer operations does the first operations of the longer run, and then
    frees everything and proves.

    Args:
        how: The description of the run that failed.
        failure: Its failure.

    Returns:
        The failure of the shortest run that failed, and the number of tries.
    """
    passes, found, nr_tries = 0, failure, 0
    while found.nr_ops - passes > 1:
        middle = (passes + found.nr_ops) // 2
        nr_tries += 1
        try:
            stress_ops(replace(how, ops=middle))
            passes = middle
        except StressError as error:
            found = error
    return found, nr_tries
