"""Results of a comparison of strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swapcore import report

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from numpy.typing import NDArray


NOTES = (
    "one replay loop drives every strategy by one virtual call an operation; all use the same kind of lock",
    "the floor is that loop without an allocator; it is part of every time",
    "each round builds fresh instances: the first touch of their memory is part of their time",
    "the seed shuffles the order inside a round; ratios are taken between runs of one round",
    "time is CPU time of the replaying thread, not wall time",
    "failures, fallback, memory and fragmentation come from an untimed run: time does not decide placement",
    "a large request that fails is asked for again page by page, as in the kernel, as part of one operation",
    "p3 is swap_table plus the per-slot work of the kernel before phase IV, on two static arrays",
    "p3 does one compare-exchange on a 2-byte owner record when a slot is taken and one when it is freed",
    "p3 does one atomic clear of a bit in the zero bitmap when a slot is freed",
    "bitmap_ff keeps one bit a slot and knows no owner, reference count, zero mark or swap cache",
    "bytes count metadata only, static and dynamic, when the most slots were in use",
    "a strategy written in Python pays for a call into the interpreter for every operation",
)


@dataclass(frozen=True, slots=True)
class StrategyResult:
    """Holds the result of one strategy on the workload.

    Attributes:
        strategy: The strategy's name.
        allocations: Number of allocations in the workload.
        failures: Number of allocations that failed, by order; order 0 includes the pages of split folios.
        ns_per_op: Median over the rounds of CPU time per operation, in ns.
        ns_per_op_quartiles: First and third quartile of the CPU time per operation, in ns.
        ratio: Median over the rounds of the strategy's time divided by the first strategy's time.
        ratio_quartiles: First and third quartile of ``ratio`` over the rounds.
        fallback_percent: Percentage of the pages of large folios that had to be placed one by one.
        dropped_pages: Number of pages that found no slot, not even as single pages.
        static_bytes: Bytes of metadata of the empty device.
        bytes_at_peak: Bytes of metadata, static and dynamic, when the workload is at its peak.
        used_slots_peak: Slots in use when the workload is at its peak.
        bytes_per_used_slot: ``bytes_at_peak / used_slots_peak``.
        fragmentation: Mean over the run of 1 - (free slots in aligned free runs of 16 slots) / (free slots).
        rounds_ns_per_op: CPU time per operation in ns, one element for each round, in the order of the
            rounds.
    """

    strategy: str
    allocations: int
    failures: dict[int, int]
    ns_per_op: float
    ns_per_op_quartiles: tuple[float, float]
    ratio: float
    ratio_quartiles: tuple[float, float]
    fallback_percent: float
    dropped_pages: int
    static_bytes: int
    bytes_at_peak: int
    used_slots_peak: int
    bytes_per_used_slot: float
    fragmentation: float
    rounds_ns_per_op: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison(report.Record):
    """Holds the result of `compare`.

    Attributes:
        trace: Name or path of the workload.
        nr_ops: Operations in the workload.
        nr_cpus: CPUs in the workload.
        size_pages: Slots of the device, header included.
        rounds: Timed rounds.
        seed: Seed of the order of the strategies inside each round.
        floor_ns_per_op: Cost of the replay without an allocator in ns per operation, median over the rounds.
        results: One result for each strategy, in the caller's order.
        machine: See `swapcore.report.machine`.
        workload_seed: Seed of the operations as the caller gave it; None is the workload's default, or a
            workload that is not made up.
        workload_size_pages: Slots of the device that the workload was made for; None for a workload that is
            not made up.
        warnings: Why the figures may mislead: the workload is for a device of another size.
        notes: The rules that make the comparison fair, and the limits of the comparison.
    """

    trace: str
    nr_ops: int
    nr_cpus: int
    size_pages: int
    rounds: int
    seed: int
    floor_ns_per_op: float
    results: tuple[StrategyResult, ...]
    machine: dict[str, str | int | bool]
    workload_seed: int | None = None
    workload_size_pages: int | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = NOTES

    def to_numpy(self) -> NDArray[Any]:
        """Returns one structured row for each strategy, without failures, quartiles and single rounds."""
        import numpy as np

        fields = [
            (field, "i8" if field.endswith(("bytes", "pages", "peak", "allocations")) else "f8")
            for field in StrategyResult.__slots__
            if field not in {"strategy", "failures", "rounds_ns_per_op"} and not field.endswith("quartiles")
        ]
        width = max(len(result.strategy) for result in self.results)
        return np.array(
            [(result.strategy, *(getattr(result, field) for field, _ in fields)) for result in self.results],
            dtype=[("strategy", f"U{width}"), *fields],
        )

    def table(self, file: TextIO | None = None) -> None:
        """Prints the comparison as a table.

        Args:
            file: The output file; standard output if None.
        """
        # A strategy that does not report its memory has 0 bytes, so the table prints "-" for 0 bytes.
        columns: dict[str, Callable[[StrategyResult], str]] = {
            "strategy": lambda one: one.strategy,
            "allocations": lambda one: f"{one.allocations}",
            "failures by order": lambda one: _failures(one.failures),
            "ns/op": lambda one: f"{one.ns_per_op:.1f}",
            "time ratio": lambda one: f"{one.ratio:.2f}",
            "fallback %": lambda one: f"{one.fallback_percent:.1f}",
            "static bytes": lambda one: f"{one.static_bytes}" if one.bytes_at_peak else "-",
            "bytes/used slot": lambda one: f"{one.bytes_per_used_slot:.2f}" if one.bytes_at_peak else "-",
            "fragmentation 0-1": lambda one: f"{one.fragmentation:.3f}",
        }
        report.print_columns(columns, self.results, file=file)
        report.print_footer(
            f"{self.trace}: {self.nr_ops} operations on {self.size_pages} slots, {self.nr_cpus} CPUs. "
            f"Median CPU time of {self.rounds} interleaved rounds, seed {self.seed}; "
            f"{self.floor_ns_per_op:.1f} ns/op of it is the replay itself.",
            self.machine,
            file,
        )
        for warning in self.warnings:
            print(f"Warning: {warning}.", file=file)


def _failures(failures: dict[int, int]) -> str:
    return ", ".join(f"o{order} {count}" for order, count in failures.items()) or "none"
