"""Dicts that the Rust core returns: the keys, and the unit of each value.

At run time each dict is a plain `dict`. Import the class names under `typing.TYPE_CHECKING` only.
"""

from typing import Literal, TypedDict, type_check_only

from ._core_entries import SwpEntry
from ._core_memcg import MemCgroup

@type_check_only
class BackingInfo(TypedDict):
    """The place of the page of a slot; see `Swap.backing`."""

    type: Literal["none", "zero", "zswap", "swapfile", "folio"]
    """``none``: the slot is free; ``zero``: the page is zeros and takes no memory; ``zswap``: zswap keeps the
    page compressed; ``swapfile``: the page is on a slot of a real device; ``folio``: only a folio in memory
    has the page."""
    entry: SwpEntry | None
    """The slot on the real device when ``type`` is ``swapfile``, else None."""
    nr_pages: int
    """Number of consecutive slots, from this slot on, whose pages are in the same kind of place. Pages on a
    device are in the same kind of place while their slots form one run."""

@type_check_only
class _SlotInfo(TypedDict):
    """The keys that the dict of every slot has."""

    kind: Literal["null", "shadow", "folio", "bad", "pointer"]
    """``null``: the slot is free; ``shadow``: in use and not cached; ``folio``: in use and cached; ``bad``:
    never handed out; ``pointer``: the slot keeps the page of a virtual slot."""
    count: int
    """Number of references to the slot; 0 for a ``pointer``, because the virtual slot has the references."""
    is_zero: bool
    """True if the slot is marked as a page of zeros."""
    word: int
    """The raw 64-bit word of the swap table."""
    pfn: int | None
    """The number of the folio that caches the slot, else None."""
    memcg: MemCgroup | None
    """The group that owns the slot, which is charged for its page: the owner that the slot records, or else
    the group of the folio that caches the slot. A removed group still owns its slots. None for a free slot,
    for a slot without an owner, for a ``pointer``, whose virtual slot has the owner, and without memcg."""

@type_check_only
class SlotInfo(_SlotInfo, total=False):
    """One slot; see `Swap.lookup`."""

    owner: SwpEntry
    """The virtual slot whose page this slot keeps. Only a ``pointer`` has the key."""
    is_cache_only: bool
    """True if only the swap cache refers to the virtual slot. Only a ``pointer`` has the key."""
    backing: BackingInfo
    """The place of the page. Only a slot of a virtual device has the key."""

@type_check_only
class PageoutReport(TypedDict):
    """The outcome of `Mm.pageout`."""

    reclaimed_pages: int
    """Number of pages that left memory."""
    kept_pages: int
    """Number of pages that a failure kept in memory."""
    split_folios: int
    """Number of large folios that were split because there was no run of their order."""
    errno: int
    """Errno of the last failure that kept pages in memory; 0 without a failure."""

@type_check_only
class ResizeReport(TypedDict):
    """The outcome of `Swap.resize`."""

    max_pages: int
    """The size of the device in slots, header included."""
    limit_pages: int
    """The first slot that is not handed out. The number is below ``max_pages`` while slots in use keep the
    device from shrinking."""

@type_check_only
class DeviceMemory(TypedDict):
    """Exact byte counts of a device; see `SwapDevice.memory`."""

    static_bytes: int
    """Bytes from swapon to swapoff: the device, its cluster array, and ``owner_static_bytes``."""
    table_bytes: int
    """Bytes of the swap tables of clusters in use."""
    extend_bytes: int
    """Bytes of extend tables, which hold large reference counts."""
    pool_bytes: int
    """Bytes of released tables that are kept for reuse."""
    index_bytes: int
    """Bytes of a ghost's cluster records, and of the index that finds these records."""
    virtual_table_bytes: int
    """Bytes of the virtual tables of a ghost: for each slot, beside its table entry, a second word that
    records where the page of the slot lies."""
    owner_static_bytes: int
    """Bytes of the owners of all slots from swapon on (``owner_store`` ``array``); a part of
    ``static_bytes``."""
    owner_bytes: int
    """Bytes of the owners of slots of clusters in use (``owner_store`` ``cluster_table`` or
    ``trampoline``)."""
    total_bytes: int
    """Sum of all parts; ``owner_static_bytes`` counts once, because it is a part of ``static_bytes``."""

@type_check_only
class SwapMemory(DeviceMemory):
    """Exact byte counts of a subsystem: the sums over all devices, and the subsystem's own parts; see
    `Swap.memory`."""

    percpu_bytes: int
    """Bytes of the state of the CPUs: hints, caches and counters."""
    folio_header_bytes: int
    """Bytes of folio headers: 64 bytes for each page of memory that was ever part of a folio."""
    memcg_bytes: int
    """Bytes of memory cgroups, and of the map of their private ids."""
    zswap_map_bytes: int
    """Bytes of the map that finds the zswap entries of slots of devices without a virtual table."""
    zswap_entry_bytes: int
    """Bytes of the entries of zswap, without the compressed data, which
    ``Swap.zswap.stats()["pool_total_size"]`` counts."""
    zswap_kept_bytes: int
    """Bytes of the records of zswap's zspages, and of the memory of freed zspages. A pool keeps at most 4 MiB
    of such memory for reuse, until the next swapoff."""

@type_check_only
class ClusterColumns(TypedDict):
    """One column for each property of the clusters, a read-only buffer; see `SwapDevice.clusters`."""

    index: memoryview[int]
    """uint32: the number of the cluster."""
    count: memoryview[int]
    """uint16: slots in use, 0 to 512."""
    flags: memoryview[int]
    """uint8: the list of the cluster, a `swapcore.ClusterFlag`."""
    order: memoryview[int]
    """uint8: the order of the runs in the cluster."""

@type_check_only
class SlotColumns(TypedDict):
    """One column for each property of the slots that are not free, a read-only buffer; see
    `SwapDevice.used_slots`."""

    offset: memoryview[int]
    """uint32: the number of the slot on its device."""
    kind: memoryview[int]
    """uint8: the state of the slot, a `SlotKind`, never ``FREE``."""

@type_check_only
class EventColumns(TypedDict):
    """One column for each field of the records, a read-only buffer; see `Swap.take_events`."""

    time_ns: memoryview[int]
    """uint64: time of the event on the monotonic clock, in ns."""
    entry: memoryview[int]
    """uint64: the entry of the first slot of the event; 0 for an event without a slot."""
    kind: memoryview[int]
    """uint8: the kind of the event, a `swapcore.EventKind`."""
    order: memoryview[int]
    """uint8: the order of the folio."""
    cpu: memoryview[int]
    """uint16: the CPU of the event."""
    errno: memoryview[int]
    """int32: the errno of a failure, else 0."""
    nr_lost: int
    """Number of records that were dropped to make room for newer records."""

@type_check_only
class DeviceDump(TypedDict):
    """The state of a device that decides placement; see `Swap.dump`."""

    type: int
    """The swap type."""
    priority: int
    """The priority."""
    inuse_pages: int
    """Slots in use."""
    free: list[int]
    """Clusters on the free list, head first."""
    full: list[int]
    """Clusters on the full list, head first."""
    discard: list[int]
    """Clusters on the discard list, head first."""
    nonfull: dict[int, list[int]]
    """Clusters on each nonfull list by order, head first; empty lists are left out."""
    frag: dict[int, list[int]]
    """Clusters on each frag list by order, head first; empty lists are left out."""
    next: dict[int, int]
    """The slot at which the next search of a rotational device starts, by order; an order without such a slot
    is left out."""
    named_hints: list[dict[int, tuple[int, int]]]
    """For each CPU the hints, by order, of requests that name this device, in the form of ``SwapDump.hints``.
    Such requests come from a group whose policy names devices, and from `Swap.move_backing`."""

@type_check_only
class SwapDump(TypedDict):
    """The part of a subsystem's state that decides where the allocator places runs; see `Swap.dump`."""

    devices: list[DeviceDump]
    """The devices that are on, by type."""
    hints: list[dict[int, tuple[int, int]]]
    """For each CPU a dict that maps an order to its hint, the slot ``(type, offset)`` at which the next
    search for this order starts; orders without a hint are left out."""
    virtual_hints: list[dict[int, tuple[int, int]]]
    """For each CPU the hints for virtual devices, in the form of ``hints``, which has the hints for all other
    devices."""
    avail: list[int]
    """Types of the devices with room, in the order in which the allocator tries the devices."""

@type_check_only
class ZswapPool(TypedDict):
    """One pool of zswap; see `ZswapHandle.pools`."""

    compressor: str
    """The compressor of the pages in the pool."""
    stored_pages: int
    """Pages in the pool."""
    pool_bytes: int
    """Bytes of the pool's memory, a multiple of the page size."""
    compressed_bytes: int
    """Bytes of compressed data in the pool."""

@type_check_only
class SwapHeader(TypedDict):
    """The fields of a SWAPSPACE2 header; see `parse_swap_header`."""

    version: int
    """Always 1."""
    last_page: int
    """The number of the device's last page."""
    bad_pages: list[int]
    """Pages that must not be used."""
    uuid: bytes
    """The volume id, 16 bytes."""
    label: str
    """The volume label, at most 16 bytes."""
