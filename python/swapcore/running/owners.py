"""Measurement of the memory that an owner store takes to record the owners of slots."""

from __future__ import annotations

from swapcore._core import PAGE_SIZE, SWAPFILE_CLUSTER, Swap
from swapcore.results.owners import NR_CLUSTERS, OwnerMemory
from swapcore.storage.null import Null

OWNER_STORES = ("shadow", "array", "cluster_table", "trampoline")
"""The words of the switch ``owner_store``, see `Swap.switches`."""


def owner_memory(owner_store: str, size: str | int = "1T") -> OwnerMemory:
    """Turns on a device that keeps no data, fills some clusters, and counts the bytes of owners.

    Args:
        owner_store: One of `OWNER_STORES`, which are the places where the owner of a slot can be kept.
        size: Size of the device, in bytes or as text.

    Returns:
        The bytes of owners.

    Raises:
        InvalidArgumentError: EINVAL; an unknown store or a bad size.
    """
    swap = Swap(switches={"owner_store": owner_store})
    device = swap.swapon(Null(size))
    empty = device.memory()
    group = swap.memcg.create("group")
    # The folios belong to a group, because only slots of such folios have an owner. A folio of order 9 fills
    # a whole cluster, so no folio gets slots of the header's cluster.
    folios = [swap.folio(9, memcg=group) for _ in range(NR_CLUSTERS)]
    for folio in folios:
        swap.swap_out(folio)
    full = device.memory()
    owners = full["owner_bytes"] - empty["owner_bytes"]
    tables = full["table_bytes"] - empty["table_bytes"]
    return OwnerMemory(
        owner_store=owner_store,
        size_bytes=device.max_pages * PAGE_SIZE,
        static_bytes=empty["owner_static_bytes"],
        bytes_per_used_cluster=owners // NR_CLUSTERS,
        bytes_per_used_slot=(tables + owners) / (NR_CLUSTERS * SWAPFILE_CLUSTER),
    )
