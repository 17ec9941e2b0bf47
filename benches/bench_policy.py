"""The cost of a group's policy: no policy, a table in the Rust core, and a Python hook for every event."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

import swapcore as sc
from swapcore.running.accesses import Runner, default_size_pages
from swapcore.workloads import Exit, zipf

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 7
SEED = 1
WORK = zipf(nr_pages=8192, nr_accesses=60_000, seed=SEED)
MEMORY_MAX = "16M"


class Hooks:
    """A policy with every hook. Each hook returns None, so the core decides as the kernel does."""

    def answer(self, *_: object) -> None:
        """Returns None, the answer of each hook."""

    on_swap_charge = on_limit = on_refault = choose_device = answer


def no_policy(_swap: sc.Swap, _group: sc.MemCgroup) -> None:
    """Sets no policy."""


def table(swap: sc.Swap, group: sc.MemCgroup) -> None:
    """Sets a table policy with the same decisions as the kernel's rules."""
    group.set_policy(allow_swap=True, devices=[device.type for device in swap.devices])


def hooks(swap: sc.Swap, _group: sc.MemCgroup) -> None:
    """Sets a policy of Python hooks."""
    swap.set_memcg_policy(Hooks())


POLICIES: dict[str, Callable[[sc.Swap, sc.MemCgroup], None]] = {
    "none": no_policy,
    "table": table,
    "hooks": hooks,
}


def replay(set_policy: Callable[[sc.Swap, sc.MemCgroup], None]) -> tuple[int, int]:
    """Returns the CPU time of a replay in ns, and the sum of pages swapped out, refaults and limit events."""
    swap = sc.Swap()
    swap.swapon(sc.Zram(pages=default_size_pages(WORK)))
    group = swap.memcg.create("workload", memory_max=MEMORY_MAX)
    set_policy(swap, group)
    runner = Runner(swap, lambda _process: group, is_verified=False, seed=SEED)
    runner.run(step for step in WORK.steps if not isinstance(step, Exit))
    stats: dict[str, Any] = swap.stats()
    events = stats["pswpout"] + stats["swpout_zero"] + stats["workingset_refault_anon"]
    return runner.totals["cpu_ns"], events + group.counters()["events_max"]


def bench_policy(benchmark: BenchmarkFixture) -> None:
    """Measures each policy in ns per event, in rounds that run all three policies in random order."""
    benchmark.group = "policy"
    rng = random.Random(SEED)
    times_ns: dict[str, list[float]] = {name: [] for name in POLICIES}
    nr_events: set[int] = set()

    def one_round() -> None:
        order = list(POLICIES)
        rng.shuffle(order)
        for name in order:
            cpu_ns, events = replay(POLICIES[name])
            times_ns[name].append(cpu_ns / events)
            nr_events.add(events)

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
    # Equal numbers of events show that all three policies lead to the same decisions.
    assert len(nr_events) == 1
    bare = times_ns["none"]
    for name, times in times_ns.items():
        benchmark.extra_info[f"{name}_ns_per_event"] = statistics.median(times)
        over = [time - base for time, base in zip(times, bare, strict=True)]
        benchmark.extra_info[f"{name}_extra_ns_per_event"] = statistics.median(over)
    benchmark.extra_info["events"] = nr_events.pop()
    benchmark.extra_info["seed"] = SEED
    print({name: round(value) for name, value in benchmark.extra_info.items()})
