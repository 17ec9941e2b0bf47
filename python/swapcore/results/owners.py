"""Bytes that each owner store takes, and their table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from swapcore import report

NR_CLUSTERS = 64
"""Clusters that are filled to see what one in use costs."""


@dataclass(frozen=True, slots=True)
class OwnerMemory:
    """Is what one owner store costs on one device.

    Attributes:
        owner_store: The store.
        size_bytes: The device.
        static_bytes: Owners, there from swapon on.
        bytes_per_used_cluster: Owners of one cluster in use, beside its table.
        bytes_per_used_slot: Table and owners of a slot, of clusters that are full.
    """

    owner_store: str
    size_bytes: int
    static_bytes: int
    bytes_per_used_cluster: int
    bytes_per_used_slot: float


def print_owner_memory(rows: list[OwnerMemory], file: TextIO | None = None) -> None:
    """Prints what the stores cost, one a line.

    Args:
        rows: Of one device size.
        file: Where to; standard output if None.
    """
    headings = ["OWNER_STORE", "STATIC", "BYTES/USED CLUSTER", "BYTES/USED SLOT"]
    cells = [
        [
            row.owner_store,
            report.format_size(row.static_bytes),
            f"{row.bytes_per_used_cluster}",
            f"{row.bytes_per_used_slot:.2f}",
        ]
        for row in rows
    ]
    report.print_table(headings, cells, file=file)
    print(
        f"\nA device of {report.format_size(rows[0].size_bytes)}, {NR_CLUSTERS} clusters of it full. STATIC "
        "is there from swapon on; a used slot is its table entry, 8 bytes, and an owner that is not in "
        "STATIC. trampoline: while no slot of a dead group is cached for another.",
        file=file,
    )
