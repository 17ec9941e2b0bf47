"""Results of a replay with folios that have data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from swapcore import report

from .replays import Replay, zswap_rows


@dataclass(frozen=True, slots=True)
class FolioReplay(Replay):
    """Holds the result of `replay`.

    Each page of the workload counts in exactly one of ``swapped_in_pages``, ``unread_pages``,
    ``dropped_pages`` and ``refused_pages``.

    Attributes:
        trace: Name or path of the workload.
        storage: The storage's representation; None with a ghost alone.
        ghost: The ghost's representation; None without a ghost.
        zswap: Compressor of zswap; None without zswap.
        zswap_options: Attributes of `swapcore.Zswap`; None without zswap.
        memory_pages: Number of pages of memory of the subsystem; zswap's limit is a percentage of them.
        size_pages: Slots of the device that is tried first, header included.
        seed: Seed of the contents and of the choice of the releases that read.
        zero_percent: Percentage of pages that are zeros.
        random_percent: Percentage of pages that do not compress.
        read_percent: Percentage of releases that read their pages.
        is_verified: True if each page read was compared with its written content, and had this content.
        ops: Number of operations of the workload.
        swapped_out_pages: Number of pages that got a slot.
        swapped_in_pages: Number of pages that were read back, including pages in use at the end of the
            workload.
        unread_pages: Number of pages that were freed without a read.
        dropped_pages: Number of pages that got no slot.
        refused_pages: Number of pages that got a slot but no place for their data, because zswap did not take
            the page and no device is behind the ghost. A refused page stays in memory, as in the kernel, and
            takes no further part in the replay.
        fallback_pages: Number of pages of large folios that were split because there was no run.
        swap_in_folios: Number of folios that the swap-ins made.
        ns_per_page_out: CPU time of the swap-outs per page in ns, without the time to make contents.
        ns_per_page_in: CPU time of the swap-ins per page in ns, without the time to compare contents.
        peak_pages: Largest number of slots in use at one time.
        end_pages: Number of slots in use at the end of the workload.
        peak_stats: Figures of the storage when the workload is at its peak, under kernel names.
        memory_bytes_at_peak: Memory or file space of the pages at the peak, in bytes; None if the storage
            does not measure this amount.
        compression_ratio: Bytes of the pages stored at the peak, divided by the memory for them; None if the
            storage does not compress.
        zswap_at_peak: Figures of zswap when the workload is at its peak, under kernel names; empty without
            zswap.
        zswap_ratio: Bytes of the pages in zswap at the peak, divided by the bytes of the pools of zswap; None
            if zswap holds no page.
        counters: Counters of the subsystem by kernel name. A counter of one folio size is listed only if the
            counter is not 0.
        machine: See `swapcore.report.machine`.
        nr_ops: Operations of a made-up workload as the caller gave them; None is the workload's default.
        workload_seed: Seed of the operations of a made-up workload as the caller gave it; None is the
            default.
    """

    trace: str
    storage: str | None
    ghost: str | None
    zswap: str | None
    zswap_options: dict[str, str | int | bool] | None
    memory_pages: int
    size_pages: int
    seed: int
    zero_percent: float
    random_percent: float
    read_percent: float
    is_verified: bool
    ops: int
    swapped_out_pages: int
    swapped_in_pages: int
    unread_pages: int
    dropped_pages: int
    refused_pages: int
    fallback_pages: int
    swap_in_folios: int
    ns_per_page_out: float
    ns_per_page_in: float
    peak_pages: int
    end_pages: int
    peak_stats: dict[str, int]
    memory_bytes_at_peak: int | None
    compression_ratio: float | None
    zswap_at_peak: dict[str, int]
    zswap_ratio: float | None
    counters: dict[str, int]
    machine: dict[str, str | int | bool]
    nr_ops: int | None = None
    workload_seed: int | None = None

    def table(self, file: TextIO | None = None) -> None:
        """Prints the result as a table.

        Args:
            file: The output file; standard output if None.
        """
        rows = [
            ["seed", f"{self.seed}", ""],
            ["pages out", f"{self.swapped_out_pages}", "pages"],
            ["pages in", f"{self.swapped_in_pages}", "pages"],
            ["given up unread", f"{self.unread_pages}", "pages"],
            ["without a slot", f"{self.dropped_pages}", "pages"],
            *([["refused, stayed in memory", f"{self.refused_pages}", "pages"]] if self.ghost else []),
            ["of large folios that got no run", f"{self.fallback_pages}", "pages"],
            ["swap-out", f"{self.ns_per_page_out:.0f}", "ns/page"],
            ["swap-in", f"{self.ns_per_page_in:.0f}", "ns/page"],
            ["slots in use at the peak", f"{self.peak_pages}", "pages"],
            ["space at the peak", report.format_limit(self.memory_bytes_at_peak), ""],
            ["compression ratio at the peak", report.format_ratio(self.compression_ratio), ""],
            *zswap_rows([self]),
            *([name, f"{value}", "count"] for name, value in self.counters.items()),
        ]
        report.print_table(["NAME", "VALUE", "UNIT"], rows, file=file)
        proof = "every page read is what was written" if self.is_verified else "no page was verified"
        if self.dropped_pages:
            proof = f"{proof}, but {self.dropped_pages} pages found no slot and took no part"
        if self.refused_pages:
            proof = f"{proof}; {self.refused_pages} pages had nowhere to go but memory"
        facts = f"{self.trace}: {self.ops} operations on {self.devices}; {proof}."
        note = "Times are CPU time of the calls, contents and comparison apart."
        report.print_footer(f"{facts} {note}", self.machine, file)
