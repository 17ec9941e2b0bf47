"""Facts about `cpu`: every call that works on one CPU takes `cpu`, and refuses a CPU that does not exist."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: dict[str, Callable[[sc.Swap, sc.SwpEntry, int], object]] = {
    "lookup": lambda swap, entry, cpu: swap.lookup(entry, cpu=cpu),
    "lookup_many": lambda swap, entry, cpu: swap.lookup_many(array("Q", [int(entry)]), cpu=cpu),
    "swap_count": lambda swap, entry, cpu: swap.swap_count(entry, cpu=cpu),
    "zero_batch": lambda swap, entry, cpu: swap.zero_batch(entry, cpu=cpu),
    "backing": lambda swap, entry, cpu: swap.backing(entry, cpu=cpu),
    "folio_at": lambda swap, entry, cpu: swap.folio_at(entry, cpu=cpu),
    "folio_dup_swap": lambda swap, entry, cpu: swap.folio_dup_swap(cached(swap, entry), cpu=cpu),
    "folio_put_swap": lambda swap, entry, cpu: swap.folio_put_swap(cached(swap, entry), cpu=cpu),
    "swap_cache_add_folio": lambda swap, entry, cpu: swap.swap_cache_add_folio(swap.folio(), entry, cpu=cpu),
    "MemCgroup.write": lambda swap, _, cpu: swap.memcg.create("a").write("memory.max", "1G", cpu=cpu),
    "MemcgFile.write": lambda swap, _, cpu: swap.memcg.create("a").open("memory.max").write("1G", cpu=cpu),
}


def cached(swap: sc.Swap, entry: sc.SwpEntry) -> sc.Folio:
    """Returns a folio in the swap cache over a slot."""
    folio = swap.folio()
    swap.swap_cache_add_folio(folio, entry)
    return folio


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_a_cpu_and_refuses_one_that_is_not_there(name: str) -> None:
    swap = sc.Swap(nr_cpus=2)
    swap.swapon(sc.Ram("1M"))
    entry = swap.swap_out(swap.folio(data=b"page"))
    with pytest.raises(sc.InvalidArgumentError, match="2"):
        CALLS[name](swap, entry, 2)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_runs_on_the_cpu_that_it_is_given(name: str) -> None:
    swap = sc.Swap(nr_cpus=2)
    swap.swapon(sc.Ram("1M"))
    entry = swap.swap_out(swap.folio(data=b"page"))
    CALLS[name](swap, entry, 1)
    swap.check()
