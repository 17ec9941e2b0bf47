"""Steps on slots without data that the threads and the program of operations have in common."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from swapcore._core import MAX_ORDER
from swapcore.exceptions import InvalidArgumentError, InvariantError

if TYPE_CHECKING:
    import random

    from swapcore._core import Folio, Swap


def draw_order(rng: random.Random) -> int:
    """Draws the order of an allocation; most allocations are of single slots."""
    return rng.choices((0, 1, 2, 4, 6, MAX_ORDER), (60, 5, 12, 14, 7, 2))[0]


def dup_and_put(swap: Swap, value: int, nr: int, times: int, *, cpu: int, name: str) -> None:
    """Adds references to each slot of a run, compares the count of the first slot, and drops the references.

    Args:
        swap: The subsystem.
        value: Value of the entry of the first slot.
        nr: Number of slots, each with one reference.
        times: Number of references to add.
        cpu: The CPU that runs the calls.
        name: Name of the first slot in the error.
    """
    for _ in range(times):
        swap.dup(value, nr, cpu=cpu)
    count = swap.swap_count(value)
    if count != times + 1:
        raise InvariantError(f"{name} has count {count} after {times} dups of 1")
    for _ in range(times):
        swap.put(value, nr, cpu=cpu)


def free_cached(swap: Swap, rng: random.Random, cached: list[Folio], *, cpu: int) -> None:
    """Removes one of the folios that only the swap cache holds from the list, and frees its slot."""
    folio = cached.pop(rng.randrange(len(cached)))
    # The allocator may have reclaimed the slot before this call, or may reclaim the slot during the call. A
    # swapoff may have removed the folio.
    if folio.entry is not None:
        with suppress(InvalidArgumentError):
            swap.folio_free_swap(folio, cpu=cpu)
