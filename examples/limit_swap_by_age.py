"""Limits swap by age: a group with too many old pages in swap may not swap out more pages.

The age of a slot is the number of pages that the group evicted or activated since the slot's page was swapped
out. A group with more than `BUDGET_PAGES` old slots keeps new pages in memory. The group then reaches its own
limit on memory, and a process of the group is killed if reclaim finds no page to free.
"""

from __future__ import annotations

from array import array
from collections import Counter

import swapcore as sc
from swapcore.running.accesses import Runner
from swapcore.workloads import Workload, scan, zipf

OLD = 2048  # age in pages from which a slot is old
BUDGET_PAGES = 512  # number of old slots that a group may have
EVERY = 64  # number of charges between two readings of the ages of all slots of a group


class LimitSwapByAge:
    """Refuses swap to each group that has more old slots than `BUDGET_PAGES`."""

    def __init__(self, swap: sc.Swap) -> None:
        """Starts with no charge counted and no group over its budget."""
        self.swap = swap
        self.asked, self.refused_pages = Counter[sc.MemCgroup](), Counter[sc.MemCgroup]()
        self.is_over: dict[sc.MemCgroup, bool] = {}

    def on_swap_charge(self, group: sc.MemCgroup, nr_pages: int) -> bool:
        """Returns False to refuse a folio; the core calls this hook before a folio gets slots."""
        if self.asked[group] % EVERY == 0:
            ages = array("Q", self.swap.swap_ages(memcg=group))
            self.is_over[group] = sum(age >= OLD for age in ages) > BUDGET_PAGES
        self.asked[group] += 1
        self.refused_pages[group] += nr_pages * self.is_over[group]
        return not self.is_over[group]


def run(swap: sc.Swap, policy: LimitSwapByAge, name: str, work: Workload) -> None:
    """Runs a workload in a new group with a memory limit of 8 MiB, and prints the outcome."""
    group = swap.memcg.create(name, memory_max="8M")
    runner = Runner(swap, lambda _process: group)
    runner.run(work.steps)
    peak_pages = group.counters()["swap_watermark_pages"]
    print(
        f"{name}: {runner.totals['accesses']} accesses, {peak_pages} pages of swap at the peak, "
        f"{policy.refused_pages[group]} refused, {runner.oom_kills} killed"
    )


def main() -> None:
    """Runs a workload that touches its pages again and again, and one that touches each page once."""
    swap = sc.Swap()
    swap.swapon(sc.Zram("128M"))
    policy = LimitSwapByAge(swap)
    swap.set_memcg_policy(policy)
    run(swap, policy, "cache", zipf(nr_pages=2560, nr_accesses=50_000, seed=1))
    run(swap, policy, "hoard", scan(nr_pages=8192, nr_sweeps=1, seed=1))
    swap.check()


if __name__ == "__main__":
    main()
