"""What it costs in bytes to remember who is charged for a slot, measured on devices of each owner store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from . import report
from ._core import PAGE_SIZE, SWAPFILE_CLUSTER, Swap
from .null import Null

__all__ = ["OWNER_STORES", "OwnerMemory", "owner_memory", "print_owner_memory"]

OWNER_STORES = ("shadow", "array", "cluster_table", "trampoline")
"""The values of the switch ``owner_store``."""

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


def owner_memory(owner_store: str, size: str | int = "1T") -> OwnerMemory:
    """Turns a device on that keeps no data, fills some clusters, and counts.

    Args:
        owner_store: One of `OWNER_STORES`.
        size: Of the device, in bytes or as text.

    Returns:
        What is counted.

    Raises:
        InvalidArgumentError: EINVAL, an unknown store or a bad size.
    """
    swap = Swap(switches={"owner_store": owner_store})
    device = swap.swapon(Null(size))
    empty = device.memory()
    group = swap.memcg.create("group")
    # Folios, so that the slots have an owner; those of another cluster than the header's.
    folios = [swap.folio(9, memcg=group) for _ in range(NR_CLUSTERS)]
    for folio in folios:
        swap.swap_out(folio)
    full = device.memory()
    owners = full["owner_bytes"] - empty["owner_bytes"]
    tables = full["table_bytes"] - empty["table_bytes"]
    nr_slots = NR_CLUSTERS * SWAPFILE_CLUSTER
    static = empty["owner_static_bytes"]
    return OwnerMemory(
        owner_store=owner_store,
        size_bytes=device.max_pages * PAGE_SIZE,
        static_bytes=static,
        bytes_per_used_cluster=owners // NR_CLUSTERS,
        bytes_per_used_slot=(tables + owners) / nr_slots,
    )


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
