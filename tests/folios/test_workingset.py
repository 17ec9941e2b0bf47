"""Compares `classic` and `mglru` of ``Swap(workingset=...)`` with equal accesses under a memory limit."""

from __future__ import annotations

from array import array
from random import Random
from typing import TYPE_CHECKING

import swapcore as sc
from swapcore import workloads
from swapcore.running.accesses import Runner

if TYPE_CHECKING:
    from collections.abc import Iterable

RULES = ("classic", "mglru")
LIMIT = "4M"
"""A memory limit of 1,024 pages."""


def counters(rule: str, pages: Iterable[int]) -> dict[str, int]:
    """Writes the pages in order, in a group with `LIMIT`, and returns the counters of the subsystem."""
    page = array("I", pages)
    work = workloads.recorded(sc.Accesses(page, bytes([1] * len(page))))
    swap = sc.Swap(nr_cpus=work.nr_cpus, workingset=rule)
    swap.swapon(sc.Zram(pages=32_768))
    group = swap.memcg.create("workload", memory_max=LIMIT)
    runner = Runner(swap, lambda _process: group, zero_percent=0.0, random_percent=0.0)
    runner.run(work.steps)
    swap.check()
    stats = swap.stats()
    assert runner.totals["verified_pages"] == stats["pswpin"]
    runner.exit_all()
    swap.check()
    return stats


def moving_sets() -> list[int]:
    """Makes 120,000 accesses to four sets of 600 pages, 10,000 to a set in turn.

    Every tenth access goes instead to the next page of a stream of 7,000 other pages.
    """
    random = Random(1)
    count = 120_000
    return [
        2400 + at // 10 % 7000 if at % 10 == 0 else at // 10_000 % 4 * 600 + random.randrange(600)
        for at in range(count)
    ]


def stream_over_an_idle_set() -> list[int]:
    """Makes accesses that use a set of 400 pages often, then 4,000 other pages once, then the set again."""
    hot = list(range(400))
    in_use = [page for start in range(400, 8400, 50) for page in [*hot, *range(start, start + 50)]]
    return [*in_use, *range(8400, 12_400), *hot]


def test_generations_give_an_old_working_set_up_sooner() -> None:
    classic, mglru = (counters(rule, moving_sets()) for rule in RULES)
    # With `classic`, pages of the previous set stay active until the inactive list is shorter than the active
    # list. MGLRU ages a whole generation at once.
    assert mglru["pswpin"] < 0.9 * classic["pswpin"]
    # When MGLRU ages, it clears the first access of all pages at once. With `classic`, reclaim scans and
    # rotates each accessed page at the tail of the list separately.
    assert mglru["pgscan"] < 0.5 * classic["pgscan"]


def test_the_active_list_keeps_an_idle_working_set_and_generations_do_not() -> None:
    classic, mglru = (counters(rule, stream_over_an_idle_set()) for rule in RULES)
    # Every page of the set is swapped out once, when memory is short for the first time. During the stream,
    # `classic` scans the active list only if the inactive list is shorter, but MGLRU ages every generation.
    assert 400 <= classic["pswpin"] < 500
    assert mglru["pswpin"] >= classic["pswpin"] + 350
    assert mglru["workingset_refault_anon"] == mglru["pswpin"]


def test_active_is_a_young_generation() -> None:
    swap = sc.Swap(workingset="mglru")
    swap.swapon(sc.Ram("4M"))
    folio = swap.folio()
    assert folio.is_active
    stat = dict(line.split() for line in swap.memcg.read("memory.stat").splitlines())
    assert (stat["active_anon"], stat["inactive_anon"]) == (str(sc.PAGE_SIZE), "0")
    swap.check()
