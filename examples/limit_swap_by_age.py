"""Limits swap by age: a group whose swapped pages nobody has come back for may swap no more.

The age of a slot is what its group evicted and activated since the page went there. Old slots are data that
the group could do without; with more of them than its budget it keeps new pages in memory, and its own limit
on memory makes it pay, by death if it has nothing to give up.
"""

from __future__ import annotations

from array import array
from collections import Counter

import swapcore as sc
from swapcore.running.accesses import Runner
from swapcore.workloads import Workload, scan, zipf

OLD = 2048  # evictions
BUDGET_PAGES = 512  # slots of that age
EVERY = 64  # charges between two looks, each of which reads the age of every slot


class LimitSwapByAge:
    """Refuses swap to groups over their budget."""

    def __init__(self, swap: sc.Swap) -> None:
        """Starts with nobody over it."""
        self.swap = swap
        self.asked, self.refused_pages = Counter[sc.MemCgroup](), Counter[sc.MemCgroup]()
        self.is_over: dict[sc.MemCgroup, bool] = {}

    def on_swap_charge(self, group: sc.MemCgroup, nr_pages: int) -> bool:
        """Is asked before a folio gets slots."""
        if self.asked[group] % EVERY == 0:
            ages = array("Q", self.swap.swap_ages(group))
            self.is_over[group] = sum(age >= OLD for age in ages) > BUDGET_PAGES
        self.asked[group] += 1
        self.refused_pages[group] += nr_pages * self.is_over[group]
        return not self.is_over[group]


def run(swap: sc.Swap, policy: LimitSwapByAge, name: str, work: Workload) -> None:
    """Runs a program in a group of 8 MiB."""
    group = swap.memcg.create(name, memory_max="8M")
    runner = Runner(swap, lambda _process: group)
    runner.run(work.steps)
    peak_pages = group.counters()["swap_watermark_pages"]
    print(
        f"{name}: {runner.totals['accesses']} accesses, {peak_pages} pages of swap at the peak, "
        f"{policy.refused_pages[group]} refused, {runner.oom_kills} killed"
    )


def main() -> None:
    """Runs a program that comes back to its pages and one that does not."""
    swap = sc.Swap()
    swap.swapon(sc.Zram("128M"))
    policy = LimitSwapByAge(swap)
    swap.set_memcg_policy(policy)
    run(swap, policy, "cache", zipf(nr_pages=2560, nr_accesses=50_000, seed=1))
    run(swap, policy, "hoard", scan(nr_pages=8192, nr_sweeps=1, seed=1))
    swap.check()


if __name__ == "__main__":
    main()
