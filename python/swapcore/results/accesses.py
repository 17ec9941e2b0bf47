"""Results of replays of page accesses under limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from swapcore import report

from .replays import Replay, zswap_rows


@dataclass(frozen=True, slots=True)
class AccessReplay(Replay):
    """Holds the result of `replay_accesses`.

    Attributes:
        workload: The workload's name or path.
        storage: The storage's representation; None with a ghost alone.
        ghost: The ghost's representation; None without a ghost.
        zswap: Compressor of zswap; None without zswap.
        zswap_options: Attributes of `swapcore.Zswap`; None without zswap.
        memory_pages: Number of pages of memory of the subsystem.
        memcg: Of the memory cgroups: ``v2``, ``v1`` or ``disabled``.
        memory_max: Limit on memory in bytes, or ``max``.
        memory_high: Throttle limit in bytes, or ``max``.
        swap_max: Limit on swap in bytes, or ``max``.
        swappiness: 0 to 200.
        switches: Every switch of the subsystem with its value.
        policy: Class of the hooks, as ``module:Class``; None without hooks.
        zero_percent: Percentage of pages that are zeros until they are written.
        random_percent: Percentage of pages that do not compress.
        seed: Seed of the contents, and of the accesses of a workload with a name.
        is_verified: True if each page that came back from swap was compared with its expected content, and
            had this content.
        accesses: Number of accesses done.
        writes: Number of accesses that wrote.
        first_touches: Number of accesses that were the first access to their page.
        verified_pages: Number of pages that were compared as a whole.
        nr_ops: Accesses of a made-up workload as the caller gave them; None is the workload's default.
        workload_seed: Seed of the accesses of a workload with a name; None for every other workload.
        oom_kills: Processes that ended early because their group had no memory to charge.
        skipped_accesses: Accesses of the workload that were not done, because their process had ended early.
        is_cut_short: True if a process ended early; the other figures are then those of a part of the
            workload.
        ns_per_access: CPU time per access in ns, including faults and reclaim, but without the time to make
            and compare contents.
        memory_peak_bytes: Largest amount of memory charged at one time; None without a group.
        swap_peak_bytes: Largest amount of swap charged at one time (with ``v1``: of memory and swap
            together); None without a group.
        counters: Counters of the subsystem and its group by kernel name.
        memory_events: Counts of ``memory.events``, with ``v1`` too; empty without a group.
        swap_events: Counts of ``memory.swap.events``, with ``v1`` too; empty without a group.
        machine: See `swapcore.report.machine`.
        zswap_at_peak: Figures of zswap when zswap held the most pages, under kernel names; empty without
            zswap. The replay reads the figures every 1,024 accesses.
        zswap_ratio: Bytes of the pages in zswap in ``zswap_at_peak``, divided by the bytes of the pools; None
            if zswap held no page.
        broken_invariant: Message of `Swap.check` at the end; None if every invariant holds. Only a run with
            the switch ``rfc_literal`` can have a message, because the defects of this switch break
            invariants. In a run without the switch, a broken invariant raises.
    """

    workload: str
    storage: str | None
    ghost: str | None
    zswap: str | None
    zswap_options: dict[str, str | int | bool] | None
    memory_pages: int
    memcg: str
    memory_max: int | str
    memory_high: int | str
    swap_max: int | str
    swappiness: int
    switches: dict[str, str]
    policy: str | None
    zero_percent: float
    random_percent: float
    seed: int
    is_verified: bool
    accesses: int
    writes: int
    first_touches: int
    verified_pages: int
    nr_ops: int | None
    workload_seed: int | None
    oom_kills: int
    skipped_accesses: int
    is_cut_short: bool
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

    @property
    def cut(self) -> str:
        """Returns the sentence that says how the run was cut short; the empty text for a whole run."""
        if not self.is_cut_short:
            return ""
        processes = "1 process was" if self.oom_kills == 1 else f"{self.oom_kills} processes were"
        return (
            f"memory limit {report.format_limit(self.memory_max)}: {processes} killed for want of memory, "
            f"{self.skipped_accesses} of {self.accesses + self.skipped_accesses} accesses were not done"
        )

    def table(self, file: TextIO | None = None) -> None:
        """Prints the result as a table.

        Args:
            file: The output file; standard output if None.
        """
        LimitSweep((self,)).table(file)


@dataclass(frozen=True, slots=True)
class LimitSweep(report.Record):
    """Holds the results of `replay_over_limits`.

    Attributes:
        runs: One result for each limit on memory, in the caller's order.
    """

    runs: tuple[AccessReplay, ...]

    def table(self, file: TextIO | None = None) -> None:
        """Prints a table with one column for each limit.

        Args:
            file: The output file; standard output if None.
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
        if any(run.is_cut_short for run in runs):
            rows.insert(0, ["run", *("CUT SHORT" if run.is_cut_short else "whole" for run in runs), ""])
            rows.append(["accesses not done", *(f"{run.skipped_accesses}" for run in runs), "count"])
        rows += zswap_rows(runs)
        found = [_counts(run) for run in runs]
        rows += [[name, *(f"{counts[name]}" for counts in found), "count"] for name in found[0]]
        report.print_table(["NAME", *["VALUE"] * len(runs), "UNIT"], rows, file=file)
        first = runs[0]
        proof = "no page was verified"
        if first.is_verified:
            verified = ", ".join(f"{run.verified_pages}" for run in runs)
            proof = f"every page that came back is what was written ({verified} compared whole)"
        text = (
            f"{first.workload} on {first.devices}, memcg {first.memcg}, "
            f"swappiness {first.swappiness}, seed {first.seed}; {proof}. Times are CPU time, contents and "
            "comparison apart."
        )
        text += "".join(f"\nCUT SHORT: {run.cut}." for run in runs if run.is_cut_short)
        for run in runs:
            if run.broken_invariant is not None:
                limit = report.format_limit(run.memory_max)
                text += f"\nmemory limit {limit}, rfc_literal: {run.broken_invariant}"
        report.print_footer(text, first.machine, file)


def _counts(run: AccessReplay) -> dict[str, int]:
    """Returns all counts of a run by name, where a name is the heading of a row that `table` prints."""
    events = {f"memory.events {name}": count for name, count in run.memory_events.items()}
    events |= {f"memory.swap.events {name}": count for name, count in run.swap_events.items()}
    return run.counters | events
