"""Results of a measurement of owner stores, which are the places for the owners of slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from swapcore import report

if TYPE_CHECKING:
    from collections.abc import Callable

NR_CLUSTERS = 64
"""Number of clusters that the measurement fills to find the cost of one cluster in use."""


@dataclass(frozen=True, slots=True)
class OwnerMemory(report.Record):
    """Holds the cost of one owner store on one device.

    Attributes:
        owner_store: The store's name.
        size_bytes: Size of the device in bytes.
        static_bytes: Bytes of owners that the store allocates at swapon.
        bytes_per_used_cluster: Bytes of owners of one cluster in use, without the cluster's table.
        bytes_per_used_slot: Bytes of the table and of the owners for one slot, in full clusters.
    """

    owner_store: str
    size_bytes: int
    static_bytes: int
    bytes_per_used_cluster: int
    bytes_per_used_slot: float


def print_owner_memory(rows: list[OwnerMemory], file: TextIO | None = None) -> None:
    """Prints the memory that each owner store takes, one owner store a line.

    Args:
        rows: The stores, all measured on one device size.
        file: The output file; standard output if None.
    """
    columns: dict[str, Callable[[OwnerMemory], str]] = {
        "OWNER_STORE": lambda row: row.owner_store,
        "STATIC": lambda row: report.format_size(row.static_bytes),
        "BYTES/USED CLUSTER": lambda row: f"{row.bytes_per_used_cluster}",
        "BYTES/USED SLOT": lambda row: f"{row.bytes_per_used_slot:.2f}",
    }
    report.print_columns(columns, rows, file=file)
    print(
        f"\nA device of {report.format_size(rows[0].size_bytes)}, {NR_CLUSTERS} clusters of it full. STATIC "
        "is there from swapon on; a used slot is its table entry, 8 bytes, and an owner that is not in "
        "STATIC. trampoline: while no slot of a dead group is cached for another.",
        file=file,
    )
