"""Replay of page accesses under the limits of a memory cgroup: the cost, and a proof of each page.

`replay_accesses` runs a workload of `swapcore.workloads`, or recorded accesses, in one group of a fresh
subsystem. `replay_over_limits` runs the workload once for each of several limits, so that a table or a
picture can show the cost of a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swapcore import report
from swapcore._core import PAGE_SIZE, SWAPFILE_CLUSTER, Accesses
from swapcore.exceptions import InvariantError, invalid, require_list
from swapcore.results.accesses import AccessReplay, LimitSweep
from swapcore.size import parse_limit
from swapcore.workloads import WORKLOADS, Exit, Fork, Spawn, Touch, Workload, load, recorded

from .stacks import DEFAULT_SEED, Run, RunOptions, require_made_up, zswap_ratio

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from typing import Unpack

    from swapcore._core import MemCgroup, Mm, Swap
    from swapcore.policy import MemcgHooks
    from swapcore.workloads import Step

    from .stacks import ContentOptions, Storage

__all__ = [
    "AccessOptions",
    "AccessRun",
    "Runner",
    "SweepOptions",
    "default_size_pages",
    "replay_accesses",
    "replay_over_limits",
    "run",
    "workload_of",
]

MAX = "max"
"""The word for "no limit" in the files of a group."""

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
"""Names of the counters that a result lists, even if a counter is 0, where the subsystem has the counter."""

LIMITS = ("memory_max", "memory_high", "swap_max")
"""Attributes of `AccessRun` that are limits of the group."""

MEMORY_EVENTS = ("high", "max", "oom", "oom_kill")
"""Lines of ``memory.events`` that a result lists."""

SWAP_EVENTS = ("high", "max", "fail")
"""Lines of ``memory.swap.events`` that a result lists."""


class Runner:
    """Runs the steps of workloads in one subsystem; a process without an exit step lives until `exit_all`."""

    def __init__(
        self,
        swap: Swap,
        group_of: Callable[[int], MemCgroup | None] = lambda _process: None,
        **contents: Unpack[ContentOptions],
    ) -> None:
        """Takes the subsystem and the options for the contents of pages.

        Args:
            swap: The subsystem, with as many CPUs as the workload names.
            group_of: Returns the group of a process by the process's number; None is the root. A fork stays
                in the group of its parent.
            **contents: The attributes of `AccessRun` that decide the contents of pages, by name.
        """
        self.totals = dict.fromkeys(("accesses", "writes", "first_touches", "verified_pages", "cpu_ns"), 0)
        self.oom_kills = 0
        self._swap = swap
        self._group_of = group_of
        self._contents = contents
        self._processes: dict[int, tuple[Mm, int]] = {}

    def run(self, steps: Iterable[Step], progress: Callable[[int], None] | None = None) -> None:
        """Runs steps in order; the steps of a process that was killed for lack of memory are left out.

        Args:
            steps: The steps.
            progress: Called with the number of accesses done.

        Raises:
            InvariantError: A page came back with another content.
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
        """Ends every living process, which frees its memory and slots."""
        self._processes.clear()

    def _mm(self, process: int) -> Mm:
        group = self._group_of(process)
        return self._swap.mm() if group is None else self._swap.mm(memcg=group)

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
            **self._contents,
        )
        outcome: dict[str, Any] = {**counts}
        for name in self.totals:
            self.totals[name] += outcome[name]
        if outcome["is_oom"]:
            self.oom_kills += 1
            del self._processes[step.process]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRun(Run):
    """Describes one replay of page accesses, see `replay_accesses`.

    `Run` lists the other attributes. The default storage is a `Zram` with room for twice the pages of the
    workload. The seed also decides the accesses of a workload that is given by name, unless ``workload_seed``
    does.

    Attributes:
        workload: A name or path as for `swapcore.workloads.load`, a workload, or a list of accesses.
        memory_max: Limit on memory, with unit or in bytes, rounded down to pages. None or ``"max"`` is no
            limit.
        memory_high: Throttle limit on memory, in the form of ``memory_max``. ``v1`` has no throttle limit.
        swap_max: Limit on swap, in the form of ``memory_max``. With ``v1`` a ``swap_max`` needs a
            ``memory_max``, because ``v1`` has a limit on memory and swap together, which is set to the sum.
        swappiness: 0 to 200. With 0 the reclaim of a limit swaps no page.
        switches: Single choices of the subsystem by name, see `swapcore.Swap.switches`.
        policy: Hooks, see `swapcore.policy`.
        memcg: ``v2``, ``v1`` or ``disabled``, of memory cgroups; a run with ``disabled`` has no limits.
    """

    workload: str | os.PathLike[str] | Accesses | Workload = "zipf"
    memory_max: str | int | None = None
    memory_high: str | int | None = None
    swap_max: str | int | None = None
    swappiness: int = 60
    switches: dict[str, str] | None = None
    policy: MemcgHooks | None = None
    memcg: str = "v2"


class SweepOptions(RunOptions, total=False):
    """Options of `replay_over_limits`: the attributes of `AccessRun` that all runs of a sweep share."""

    memory_high: str | int | None
    swap_max: str | int | None
    swappiness: int
    switches: dict[str, str] | None
    policy: MemcgHooks | None
    memcg: str


class AccessOptions(SweepOptions, total=False):
    """Options of `replay_accesses`: the attributes of `AccessRun` without ``workload`` and ``storage``."""

    memory_max: str | int | None


def replay_accesses(
    workload: str | os.PathLike[str] | Accesses | Workload = "zipf",
    storage: Storage | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[AccessOptions],
) -> AccessReplay:
    """Replays page accesses in the group ``workload`` of a fresh subsystem.

    Args:
        workload: See `AccessRun`.
        storage: See `AccessRun`.
        progress: Called with two numbers: accesses done, and all accesses.
        **options: The other attributes of `AccessRun`.

    Returns:
        The result.

    Raises:
        InvalidArgumentError: EINVAL; an unknown workload, an impossible limit, or a value out of range.
        InvariantError: A page has the wrong content: the storage lost data.
        SwapIOError: The storage could not read or write.
    """
    return run(AccessRun(workload=workload, storage=storage, **options), progress)


def run(how: AccessRun, progress: Callable[[int, int], None] | None = None) -> AccessReplay:
    """Runs the replay that an `AccessRun` describes.

    Args:
        how: The description.
        progress: Called with two numbers: accesses done, and all accesses.

    Returns:
        The result. The function raises the errors of `replay_accesses`.
    """
    work = workload_of(how.workload, how.seed, nr_ops=how.nr_ops, workload_seed=how.workload_seed)
    files = _files({name: getattr(how, name) for name in LIMITS}, how.memcg)
    how = how.with_storage(default_size_pages(work))
    swap, devices = how.turn_on(nr_cpus=work.nr_cpus, switches=how.switches, memcg=how.memcg)
    group = None
    if how.memcg != "disabled":
        # The swappiness is set first, because with v1 a new group inherits the swappiness of the root.
        swap.swappiness = how.swappiness
        group = swap.memcg.create("workload", **files)
        swap.set_memcg_policy(how.policy)
    runner = Runner(swap, lambda _process: group, **how.contents)
    zswap_at_peak = _run_steps(runner, swap, work, how, progress)
    broken = _broken_invariant(swap)
    told = COUNTERS + how.front_counters
    stats, usage = _figures(swap, group, told)
    for device in devices:
        swap.swapoff(device)
    totals = runner.totals
    policy = type(how.policy)
    return AccessReplay(
        workload=work.name,
        memory_pages=swap.memory_pages,
        memcg=how.memcg,
        swappiness=how.swappiness,
        switches=swap.switches,
        policy=None if how.policy is None else f"{policy.__module__}:{policy.__qualname__}",
        nr_ops=work.nr_ops,
        workload_seed=work.seed,
        oom_kills=runner.oom_kills,
        skipped_accesses=work.nr_accesses - totals["accesses"],
        is_cut_short=runner.oom_kills > 0,
        ns_per_access=totals.pop("cpu_ns") / max(totals["accesses"], 1),
        memory_peak_bytes=_peak(usage, "memory_watermark_pages"),
        swap_peak_bytes=_peak(usage, "swap_watermark_pages", "memsw_watermark_pages"),
        zswap_at_peak=zswap_at_peak,
        zswap_ratio=zswap_ratio(zswap_at_peak),
        counters={name: stats[name] for name in told if name in stats},
        memory_events={name: usage[f"events_{name}"] for name in MEMORY_EVENTS if usage},
        swap_events={name: usage[f"swap_events_{name}"] for name in SWAP_EVENTS if usage},
        machine=report.machine(),
        broken_invariant=broken,
        **how.described() | {name: _limit(getattr(how, name)) for name in LIMITS} | totals,
    )


def _run_steps(
    runner: Runner,
    swap: Swap,
    work: Workload,
    how: AccessRun,
    progress: Callable[[int, int], None] | None,
) -> dict[str, int]:
    """Runs the workload to its end; returns the figures of zswap when zswap held the most pages."""
    zswap_at_peak: dict[str, int] = {}

    def tell(done: int) -> None:
        if how.zswap is not None:
            now = swap.zswap.stats()
            if now["stored_pages"] >= zswap_at_peak.get("stored_pages", 0):
                zswap_at_peak.update(now)
        if progress is not None:
            progress(done, work.nr_accesses)

    runner.run(work.steps, tell)
    runner.exit_all()
    return zswap_at_peak


def replay_over_limits(
    workload: str | os.PathLike[str] | Accesses | Workload,
    memory_max: Sequence[str | int | None],
    *,
    make_storage: Callable[[], Storage | None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SweepOptions],
) -> LimitSweep:
    """Replays page accesses once for each of several limits on memory.

    Args:
        workload: As for `replay_accesses`; one workload serves all runs.
        memory_max: The limits, each in the form that `replay_accesses` takes.
        make_storage: Function that returns the storage of the next run.
        progress: Called with two numbers, accesses done and all accesses, summed over all runs.
        **options: The other attributes of `AccessRun`, without ``memory_max``.

    Returns:
        One result for each limit.

    Raises:
        InvalidArgumentError: EINVAL; no limit, or as `replay_accesses`.
    """
    require_list("memory_max", memory_max)
    if not memory_max:
        raise invalid("0 limits are under the least, 1")
    work = workload_of(
        workload,
        options.get("seed", DEFAULT_SEED),
        nr_ops=options.pop("nr_ops", None),
        workload_seed=options.pop("workload_seed", None),
    )
    runs: list[AccessReplay] = []

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(len(runs) * total + done, len(memory_max) * total)

    for limit in memory_max:
        storage = make_storage()
        runs.append(run(AccessRun(workload=work, storage=storage, memory_max=limit, **options), tell))
    return LimitSweep(tuple(runs))


def workload_of(
    workload: str | os.PathLike[str] | Accesses | Workload,
    seed: int = DEFAULT_SEED,
    *,
    nr_ops: int | None = None,
    workload_seed: int | None = None,
) -> Workload:
    """Returns the workload for a name, a path, a list of accesses or a workload.

    Args:
        workload: As for `replay_accesses`.
        seed: Seed of a workload with a name, unless ``workload_seed`` is given.
        nr_ops: Accesses of a workload with a name; None takes the number of the workload.
        workload_seed: Seed of a workload with a name.

    Returns:
        The workload.

    Raises:
        InvalidArgumentError: EINVAL; no such workload, or a parameter of a workload that is not made up.
    """
    if isinstance(workload, str) and workload in WORKLOADS:
        parameters = {"seed": seed if workload_seed is None else workload_seed}
        return load(workload, **parameters) if nr_ops is None else load(workload, nr_ops=nr_ops, **parameters)
    if isinstance(workload, Workload):
        found = workload
    else:
        found = recorded(workload) if isinstance(workload, Accesses) else load(workload)
    require_made_up(found.name, nr_ops=nr_ops, workload_seed=workload_seed)
    return found


def default_size_pages(work: Workload) -> int:
    """Returns the size of a device with room for twice the pages in use at one time, in whole clusters.

    Args:
        work: The workload.

    Returns:
        Slots, header included.
    """
    return -(-2 * work.peak_pages // SWAPFILE_CLUSTER) * SWAPFILE_CLUSTER


def _limit(limit: str | int | None) -> int | str:
    return MAX if limit is None or limit == MAX else parse_limit(limit)


def _files(limits: dict[str, str | int | None], memcg: str) -> dict[str, int | str]:
    """Returns the group files, with their values, that set the limits."""
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
    """Returns counters by kernel name, and the group's usage and events.

    A counter that the group has comes from the group, and every other counter from the subsystem.
    """
    if group is None:
        return swap.stats(), {}
    of_group = {name: value for name, value in group.stat_local().items() if name in wanted}
    return swap.stats() | of_group, {**group.counters()}


def _peak(usage: dict[str, int], *names: str) -> int | None:
    pages = next((usage[name] for name in names if name in usage), None)
    return None if pages is None else pages * PAGE_SIZE


def _broken_invariant(swap: Swap) -> str | None:
    """Proves every invariant; with ``rfc_literal``, returns the message of a broken invariant."""
    try:
        swap.check()
    except InvariantError as error:
        if swap.switches["rfc_literal"] == "off":
            raise
        return str(error)
    return None
