"""Replaying page accesses under the limits of a memory cgroup: what they cost, and proof of each page.

`replay_accesses` runs a workload of `swapcore.workloads`, or recorded accesses, in one group of a fresh
subsystem. `replay_over_limits` does so for several limits, for a table or a picture of what a limit costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from . import report
from ._core import PAGE_SIZE, SWAPFILE_CLUSTER, Accesses, Swap
from .exceptions import InvariantError, invalid
from .replaying import front_counters, stack, zswap_ratio
from .size import DEFAULT_MEMORY_PAGES, memory_pages, parse_size
from .storage import Null, Zram
from .workloads import WORKLOADS, Exit, Fork, Spawn, Touch, Workload, load, recorded

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from ._core import MemCgroup, Mm
    from .policy import MemcgHooks
    from .replaying import Storage
    from .storage import Ghost
    from .workloads import Step
    from .zswap import Zswap

__all__ = [
    "AccessReplay",
    "LimitSweep",
    "Runner",
    "default_size_pages",
    "replay_accesses",
    "replay_over_limits",
    "workload_of",
]

DEFAULT_SEED = 1
DEFAULT_SWAPPINESS = 60
MAX = "max"
"""What the files of a group call no limit."""

COUNTERS = (
    "pgmajfault",
    "pswpin",
    "pswpout",
    "swpin_zero",
    "swpout_zero",
    "workingset_refault_anon",
    "workingset_activate_anon",
    "workingset_restore_anon",
    "pgscan",
    "pgsteal",
)
"""Counters that are told, where there are any, even when they are 0."""

MEMORY_EVENTS = ("high", "max", "oom", "oom_kill")
"""Lines of ``memory.events`` that are told."""

SWAP_EVENTS = ("high", "max", "fail")
"""Lines of ``memory.swap.events``."""


@dataclass(frozen=True, slots=True)
class AccessReplay(report.Record):
    """Is what `replay_accesses` returns.

    Attributes:
        workload: Its name or path.
        storage: The storage, as its representation shows it; None with a ghost alone.
        ghost: The ghost, the same; None without.
        zswap: Compressor of zswap; None without.
        memcg: The hierarchy: ``v2``, ``v1`` or ``disabled``.
        memory_max: Limit on memory in bytes, or ``max``.
        memory_high: Throttle limit in bytes, or ``max``.
        swap_max: Limit on swap in bytes, or ``max``.
        swappiness: 0 to 200.
        switches: Every switch of the subsystem with its value.
        seed: Of the contents, and of the accesses of a workload with a name.
        is_verified: Each page that came back from swap was compared with what went out, and was the same.
        accesses: Accesses done.
        writes: Those that wrote.
        first_touches: Those that were the first of their page.
        verified_pages: Pages compared as a whole.
        oom_kills: Processes that ended early, as their group had no memory to charge.
        ns_per_access: CPU time, faults and reclaim included, contents and comparisons not.
        memory_peak_bytes: Most memory charged at one time; None without a group.
        swap_peak_bytes: Most swap charged at one time (``v1``: memory and swap); None without a group.
        counters: Counters of the subsystem and its group by kernel name.
        memory_events: What ``memory.events`` counts, with ``v1`` too; empty without a group.
        swap_events: The same of ``memory.swap.events``.
        machine: See `swapcore.report.machine`.
        zswap_at_peak: Figures of zswap when it held most pages, under kernel names; empty without. They are
            looked at every 1,024 accesses.
        zswap_ratio: Bytes of the pages in zswap then by those of its pools; None when it held nothing.
        broken_invariant: What `Swap.check` says at the end; None: every invariant holds. Only with the
            switch ``rfc_literal``, whose defects show so: anything else raises.
    """

    workload: str
    storage: str | None
    ghost: str | None
    zswap: str | None
    memcg: str
    memory_max: int | str
    memory_high: int | str
    swap_max: int | str
    swappiness: int
    switches: dict[str, str]
    seed: int
    is_verified: bool
    accesses: int
    writes: int
    first_touches: int
    verified_pages: int
    oom_kills: int
    ns_per_access: float
    memory_peak_bytes: int | None
    swap_peak_bytes: int | None
    counters: dict[str, int]
    memory_events: dict[str, int]
    swap_events: dict[str, int]
    machine: dict[str, str | int | bool]
    zswap_at_peak: dict[str, int]
    zswap_ratio: float | None
    broken_invariant: str | None = None

    def table(self, file: TextIO | None = None) -> None:
        """Prints the result for people.

        Args:
            file: Where to; standard output if None.
        """
        LimitSweep((self,)).table(file)


@dataclass(frozen=True, slots=True)
class LimitSweep(report.Record):
    """Is what `replay_over_limits` returns.

    Attributes:
        runs: One a limit on memory, in the order asked for.
    """

    runs: tuple[AccessReplay, ...]

    def table(self, file: TextIO | None = None) -> None:
        """Prints a column a limit.

        Args:
            file: Where to; standard output if None.
        """
        runs = self.runs
        peak_of = "memory and swap at the peak" if runs[0].memcg == "v1" else "swap at the peak"
        rows = [
            ["memory limit", *(report.format_limit(run.memory_max) for run in runs), ""],
            ["swap limit", *(report.format_limit(run.swap_max) for run in runs), ""],
            ["accesses", *(f"{run.accesses}" for run in runs), "count"],
            ["first touches", *(f"{run.first_touches}" for run in runs), "pages"],
            ["access", *(f"{run.ns_per_access:.0f}" for run in runs), "ns"],
            ["memory at the peak", *(report.format_limit(run.memory_peak_bytes) for run in runs), ""],
            [peak_of, *(report.format_limit(run.swap_peak_bytes) for run in runs), ""],
            ["killed for want of memory", *(f"{run.oom_kills}" for run in runs), "processes"],
        ]
        rows += _zswap_rows(runs)
        found = [_counts(run) for run in runs]
        rows += [[name, *(f"{counts[name]}" for counts in found), "count"] for name in found[0]]
        report.print_table(["NAME", *["VALUE"] * len(runs), "UNIT"], rows, file=file)
        first = runs[0]
        proof = "no page was verified"
        if first.is_verified:
            verified = ", ".join(f"{run.verified_pages}" for run in runs)
            proof = f"every page that came back is what was written ({verified} compared whole)"
        devices = ", ".join(filter(None, (first.ghost, first.storage)))
        print(
            f"\n{first.workload} on {devices}, memcg {first.memcg}, swappiness {first.swappiness}, "
            f"seed {first.seed}; {proof}. Times are CPU time, contents and comparison apart.",
            file=file,
        )
        for run in runs:
            if run.broken_invariant is not None:
                limit = report.format_limit(run.memory_max)
                print(f"memory limit {limit}, rfc_literal: {run.broken_invariant}", file=file)
        if first.machine["is_debug_build"]:
            print("Debug build: the times mean nothing.", file=file)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws swap traffic and time over the limit, see `swapcore.plot.plot_limits`.

        Args:
            path: The file; its suffix is the format.
        """
        from .plot import plot_limits

        plot_limits(self, path)


class Runner:
    """Runs the steps of workloads in one subsystem; processes that do not exit live until `exit_all`."""

    def __init__(
        self,
        swap: Swap,
        group_of: Callable[[int], MemCgroup | None] = lambda _process: None,
        *,
        zero_percent: float = 10.0,
        random_percent: float = 10.0,
        is_verified: bool = True,
        seed: int = DEFAULT_SEED,
    ) -> None:
        """Takes the subsystem and says how pages are made.

        Args:
            swap: The subsystem, with as many CPUs as the workload names.
            group_of: Returns the group a process is in, by its number; None is the root. Forks stay in
                that of their parent.
            zero_percent: Pages that are zeros until they are written.
            random_percent: Pages that do not compress; the others compress about 3:1.
            is_verified: Compare each page that comes back from swap with what went out.
            seed: Of the contents.
        """
        self.totals = dict.fromkeys(("accesses", "writes", "first_touches", "verified_pages", "cpu_ns"), 0)
        self.oom_kills = 0
        self._swap = swap
        self._group_of = group_of
        self._how: dict[str, Any] = {
            "zero_percent": zero_percent,
            "random_percent": random_percent,
            "is_verified": is_verified,
            "seed": seed,
        }
        self._processes: dict[int, tuple[Mm, int]] = {}

    def run(self, steps: Iterable[Step], progress: Callable[[int], None] | None = None) -> None:
        """Runs steps in order; a process that is killed for want of memory takes no further part.

        Args:
            steps: The steps.
            progress: Called with the accesses done.

        Raises:
            InvariantError: A page came back different.
            SwapIOError: The storage could not read or write.
        """
        for step in steps:
            match step:
                case Spawn(process, span_pages):
                    mm = self._mm(process)
                    self._processes[process] = (mm, mm.mmap(span_pages))
                case Fork(parent, process) if parent in self._processes:
                    mm, first_page = self._processes[parent]
                    self._processes[process] = (mm.fork(), first_page)
                case Touch() if step.process in self._processes:
                    self._touch(step, progress)
                case Exit(process):
                    self._processes.pop(process, None)

    def exit_all(self) -> None:
        """Ends every process that lives: memory and slots are free."""
        self._processes.clear()

    def _mm(self, process: int) -> Mm:
        group = self._group_of(process)
        return self._swap.mm() if group is None else self._swap.mm(group)

    def _touch(self, step: Touch, progress: Callable[[int], None] | None) -> None:
        mm, first_page = self._processes[step.process]
        before = self.totals["accesses"]
        counts = step.accesses.replay(
            mm,
            first_page,
            step.start,
            step.stop,
            cpu=step.cpu,
            progress=None if progress is None else lambda done: progress(before + done),
            **self._how,
        )
        outcome: dict[str, Any] = {**counts}
        for name in self.totals:
            self.totals[name] += outcome[name]
        if outcome["is_oom"]:
            self.oom_kills += 1
            del self._processes[step.process]


def replay_accesses(
    workload: str | os.PathLike[str] | Accesses | Workload = "zipf",
    storage: Storage | None = None,
    *,
    ghost: Ghost | None = None,
    zswap: Zswap | str | None = None,
    memory: str | int = DEFAULT_MEMORY_PAGES,
    memory_max: str | int | None = None,
    memory_high: str | int | None = None,
    swap_max: str | int | None = None,
    swappiness: int = DEFAULT_SWAPPINESS,
    switches: dict[str, str] | None = None,
    policy: MemcgHooks | None = None,
    memcg: str = "v2",
    zero_percent: float = 10.0,
    random_percent: float = 10.0,
    is_verified: bool = True,
    seed: int = DEFAULT_SEED,
    progress: Callable[[int, int], None] | None = None,
) -> AccessReplay:
    """Replays page accesses in the group ``workload`` of a fresh subsystem.

    Args:
        workload: A name or path as for `swapcore.workloads.load`, a workload, or a list of accesses.
        storage: Where pages go; None is a `Zram` with room for twice the workload, and nothing with a
            ``ghost``. It is turned on for the replay and turned off again. With `Null` nothing is verified.
        ghost: A device in front of it, see `swapcore.Ghost`; pages that nobody takes stay in memory.
        zswap: Compressed memory in front of both, as for `swapcore.Swap`.
        memory: Memory of the subsystem, with unit or in pages.
        memory_max: Limit on memory, with unit or in bytes; None or ``"max"`` is none.
        memory_high: Throttle limit on memory, the same; not with ``v1``.
        swap_max: Limit on swap, the same. With ``v1`` it needs ``memory_max``: the two together are the limit
            on memory and swap.
        swappiness: 0 to 200; the limit's reclaim swaps nothing with 0.
        switches: Single choices of the subsystem by name, see `swapcore.Swap.switches`.
        policy: Hooks, see `swapcore.policy`.
        memcg: ``v2``, ``v1`` or ``disabled``, which knows no limits.
        zero_percent: Pages that are zeros until they are written.
        random_percent: Pages that do not compress; the others compress about 3:1.
        is_verified: Compare each page that comes back from swap with what went out.
        seed: Of the contents, and of the accesses of a workload that is given by name.
        progress: Called with accesses done and accesses in all.

    Returns:
        What was done.

    Raises:
        InvalidArgumentError: EINVAL; an unknown workload, a limit that cannot be, or a value out of range.
        InvariantError: A page came back different: the storage lost data.
        SwapIOError: The storage could not read or write.
    """
    work = workload_of(workload, seed)
    limits = {"memory_max": memory_max, "memory_high": memory_high, "swap_max": swap_max}
    files = _files(limits, memcg)
    if storage is None and ghost is None:
        storage = Zram(pages=default_size_pages(work))
    is_verified = is_verified and not isinstance(storage, Null)
    swap = Swap(
        nr_cpus=work.nr_cpus,
        switches=switches,
        memcg=memcg,
        zswap=zswap,
        memory_pages=memory_pages(memory),
    )
    devices = [swap.swapon(one) for one in stack(storage, ghost)]
    group = None
    if memcg != "disabled":
        # Before the group, which inherits it with v1.
        swap.swappiness = swappiness
        group = swap.memcg.create("workload", **files)
        swap.set_memcg_policy(policy)
    runner = Runner(
        swap,
        lambda _process: group,
        zero_percent=zero_percent,
        random_percent=random_percent,
        is_verified=is_verified,
        seed=seed,
    )
    zswap_at_peak: dict[str, int] = {}

    def tell(done: int) -> None:
        if zswap is not None:
            now = swap.zswap.stats()
            if now["stored_pages"] >= zswap_at_peak.get("stored_pages", 0):
                zswap_at_peak.update(now)
        if progress is not None:
            progress(done, work.nr_accesses)

    runner.run(work.steps, tell)
    runner.exit_all()
    broken = _broken_invariant(swap)
    told = COUNTERS + front_counters(ghost, zswap)
    stats, usage = _figures(swap, group, told)
    for device in devices:
        swap.swapoff(device)
    totals = runner.totals
    return AccessReplay(
        broken_invariant=broken,
        workload=work.name,
        storage=None if storage is None else repr(storage),
        ghost=None if ghost is None else repr(ghost),
        zswap=None if zswap is None else swap.zswap.compressor,
        memcg=memcg,
        memory_max=_limit(memory_max),
        memory_high=_limit(memory_high),
        swap_max=_limit(swap_max),
        swappiness=swappiness,
        switches=swap.switches,
        seed=seed,
        is_verified=is_verified,
        oom_kills=runner.oom_kills,
        ns_per_access=totals.pop("cpu_ns") / max(totals["accesses"], 1),
        memory_peak_bytes=_peak(usage, "memory_watermark_pages"),
        swap_peak_bytes=_peak(usage, "swap_watermark_pages", "memsw_watermark_pages"),
        zswap_at_peak=zswap_at_peak,
        zswap_ratio=zswap_ratio(zswap_at_peak),
        counters={name: stats[name] for name in told if name in stats},
        memory_events={name: usage[f"events_{name}"] for name in MEMORY_EVENTS if usage},
        swap_events={name: usage[f"swap_events_{name}"] for name in SWAP_EVENTS if usage},
        machine=report.machine(),
        **totals,
    )


def replay_over_limits(
    workload: str | os.PathLike[str] | Accesses | Workload,
    memory_max: Sequence[str | int | None],
    *,
    make_storage: Callable[[], Storage | None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,  # noqa: ANN401 - those of replay_accesses
) -> LimitSweep:
    """Replays page accesses once for each of several limits on memory.

    Args:
        workload: As for `replay_accesses`; it is made once.
        memory_max: The limits, each as for `replay_accesses`.
        make_storage: Returns the storage of the next run.
        progress: Called with accesses done and accesses in all, over all runs.
        **options: The rest of what `replay_accesses` takes.

    Returns:
        One result a limit.

    Raises:
        InvalidArgumentError: EINVAL; no limit, or as `replay_accesses`.
    """
    if not memory_max:
        raise invalid("0 limits are under the least, 1")
    work = workload_of(workload, options.get("seed", DEFAULT_SEED))
    runs: list[AccessReplay] = []

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(len(runs) * total + done, len(memory_max) * total)

    for limit in memory_max:
        storage = make_storage()
        runs.append(replay_accesses(work, storage, memory_max=limit, progress=tell, **options))
    return LimitSweep(tuple(runs))


def workload_of(workload: str | os.PathLike[str] | Accesses | Workload, seed: int = DEFAULT_SEED) -> Workload:
    """Returns the workload that is meant.

    Args:
        workload: As for `replay_accesses`.
        seed: Of a workload that is made up.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; no such workload.
    """
    if isinstance(workload, Workload):
        return workload
    if isinstance(workload, Accesses):
        return recorded(workload)
    return load(workload, seed=seed) if workload in WORKLOADS else load(workload)


def default_size_pages(work: Workload) -> int:
    """Returns the size of a device with room for twice the pages that live at one time, in whole clusters.

    Args:
        work: The workload.

    Returns:
        Slots, header included.
    """
    return -(-2 * work.peak_pages // SWAPFILE_CLUSTER) * SWAPFILE_CLUSTER


def _limit(limit: str | int | None) -> int | str:
    return MAX if limit is None or limit == MAX else parse_size(limit)


def _files(limits: dict[str, str | int | None], memcg: str) -> dict[str, int | str]:
    """Returns the files of a group that make up the limits."""
    given = {name: limit for name, value in limits.items() if (limit := _limit(value)) != MAX}
    if memcg == "disabled" and given:
        raise invalid(f"memcg disabled knows no limits, not {', '.join(given)}")
    if memcg != "v1":
        return given
    memory, swap = given.get("memory_max"), given.get("swap_max")
    if "memory_high" in given:
        raise invalid(f"memory_high {given['memory_high']} is for memcg v2, v1 has no such file")
    if swap is not None and memory is None:
        raise invalid(f"swap_max {swap} of memcg v1 needs memory_max: the limit is on both together")
    files = {} if memory is None else {"memory_limit_in_bytes": memory}
    if isinstance(memory, int) and isinstance(swap, int):
        files["memory_memsw_limit_in_bytes"] = memory + swap
    return files


def _figures(
    swap: Swap, group: MemCgroup | None, wanted: tuple[str, ...]
) -> tuple[dict[str, int], dict[str, Any]]:
    """Returns counters by kernel name, the group's where it has them, and its usage and events."""
    if group is None:
        return swap.stats(), {}
    of_group = {name: value for name, value in group.stat_local().items() if name in wanted}
    return swap.stats() | of_group, {**group.counters()}


def _zswap_rows(runs: Sequence[AccessReplay]) -> list[list[str]]:
    """Returns what zswap held at most, where there is one."""
    if runs[0].zswap is None:
        return []
    ratios = ["-" if run.zswap_ratio is None else f"{run.zswap_ratio:.2f}" for run in runs]
    pools = [report.format_size(run.zswap_at_peak["pool_total_size"]) for run in runs]
    return [
        ["zswap pages at the peak", *(f"{run.zswap_at_peak['stored_pages']}" for run in runs), "pages"],
        ["zswap pool at the peak", *pools, ""],
        ["zswap ratio at the peak", *ratios, ""],
    ]


def _counts(run: AccessReplay) -> dict[str, int]:
    """Returns every count of a run by the name it has in a table."""
    events = {f"memory.events {name}": count for name, count in run.memory_events.items()}
    events |= {f"memory.swap.events {name}": count for name, count in run.swap_events.items()}
    return run.counters | events


def _peak(usage: dict[str, int], *names: str) -> int | None:
    pages = next((usage[name] for name in names if name in usage), None)
    return None if pages is None else pages * PAGE_SIZE


def _broken_invariant(swap: Swap) -> str | None:
    """Proves every invariant; returns what does not hold where that is what people want to see."""
    try:
        swap.check()
    except InvariantError as error:
        if swap.switches["rfc_literal"] == "off":
            raise
        return str(error)
    return None
