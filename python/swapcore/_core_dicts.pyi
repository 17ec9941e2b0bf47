"""The dicts that the Rust core returns, key by key. There is no such module at run time: import it under ``TYPE_CHECKING``.

A count is pages (4 KiB) unless its key says otherwise; a slot holds one page.
"""

from typing import Literal, NotRequired, TypedDict

from ._core import SwpEntry

__all__ = [
    "AccessReplayReport",
    "BackingInfo",
    "ClusterColumns",
    "DeviceMemory",
    "DeviceState",
    "EventColumns",
    "FolioReplayReport",
    "GroupCounters",
    "MemoryEvents",
    "PageoutCounts",
    "PoolInfo",
    "ReplayReport",
    "ResizedPages",
    "SlotInfo",
    "StrategyMemory",
    "StressReport",
    "SubsystemMemory",
    "SubsystemState",
    "SwapEvents",
    "SwapHeader",
]

class BackingInfo(TypedDict):
    """Where the page of a slot is: `Swap.backing`."""

    type: Literal["none", "zero", "zswap", "swapfile", "folio"]
    """``none`` no page, ``zero`` a mark for zeros, ``zswap`` compressed memory, ``swapfile`` a slot of a device, ``folio`` in memory
    and nowhere else."""
    entry: SwpEntry | None
    """The slot of a ``swapfile``, else None."""
    nr_pages: int
    """Slots from this one on, in its cluster, whose pages are at the same place; on a device in one run."""

class SlotInfo(TypedDict):
    """One slot as `Swap.lookup` finds it."""

    kind: Literal["null", "shadow", "folio", "bad", "pointer"]
    """``null`` free, ``shadow`` swapped out, ``folio`` cached, ``bad`` never handed out, ``pointer`` the backing of a virtual slot."""
    count: int
    """References, extend table included; 0 for a ``pointer``."""
    zero: bool
    """The slot is marked as a page of zeros."""
    word: int
    """The raw 64-bit table word."""
    pfn: int | None
    """The number of the folio that caches the slot, else None."""
    owner: NotRequired[SwpEntry]
    """The virtual slot that a ``pointer`` belongs to; only for a ``pointer``."""
    cache_only: NotRequired[bool]
    """The virtual slot of a ``pointer`` has no reference but its folio; only for a ``pointer``."""
    backing: NotRequired[BackingInfo]
    """Where the page is; only for a slot of a virtual device."""

class DeviceState(TypedDict):
    """The state that decides placement on one device: an item of ``devices`` of `Swap.dump`."""

    type: int
    """The swap type (device number)."""
    prio: int
    """The priority."""
    inuse_pages: int
    """Slots in use."""
    free: list[int]
    """Indexes of empty clusters, head first."""
    nonfull: dict[int, list[int]]
    """By order, indexes of clusters with room, head first; empty lists are left out."""
    frag: dict[int, list[int]]
    """By order, indexes of clusters with room but no free run of the order, head first; empty lists are left out."""
    full: list[int]
    """Indexes of clusters without room, head first."""
    discard: list[int]
    """Indexes of empty clusters that wait for a discard, head first."""
    next: dict[int, int]
    """By order, the slot from which a rotating device goes on; positions of 0 are left out."""

class SubsystemState(TypedDict):
    """The state that decides placement in the whole subsystem: `Swap.dump`."""

    devices: list[DeviceState]
    """The devices that are on."""
    hints: list[dict[int, tuple[int, int]]]
    """By CPU, ``{order: (type, offset)}``: where the next search of the order begins."""
    virtual_hints: list[dict[int, tuple[int, int]]]
    """By CPU, the same for virtual devices: where the next search of the order begins."""
    avail: list[int]
    """Types of the devices with room, in the order they are tried."""

class EventColumns(TypedDict):
    """Records of all CPUs by time, one column a field, for ``np.frombuffer`` in native byte order: `Swap.take_events`."""

    time_ns: bytes
    """u8: the monotonic clock in ns."""
    entry: bytes
    """u8: the slot, 0 for none."""
    kind: bytes
    """u1: the place in ``kinds``."""
    order: bytes
    """u1: log2 of the folio's pages."""
    cpu: bytes
    """u2: the CPU."""
    errno: bytes
    """i4: the errno of a failure, else 0."""
    kinds: list[str]
    """Names of the kinds."""
    nr_lost: int
    """Records that newer records overwrote."""

class ClusterColumns(TypedDict):
    """One column a property of every cluster, for ``np.frombuffer`` in native byte order: `SwapDevice.clusters`."""

    index: bytes
    """u4: the index; the first slot is 512 times that."""
    count: bytes
    """u2: slots in use, 0..=512."""
    flags: bytes
    """u1: the list that the cluster is on."""
    order: bytes
    """u1: the order that the cluster serves."""

class DeviceMemory(TypedDict):
    """Bytes of metadata of one device: `SwapDevice.memory`."""

    static_bytes: int
    """Bytes that are there from the start."""
    table_bytes: int
    """Bytes of swap tables of clusters in use."""
    extend_bytes: int
    """Bytes of tables of counts that do not fit into an entry."""
    pool_bytes: int
    """Bytes of released tables kept for reuse."""
    index_bytes: int
    """Bytes of the clusters of a ghost and of the index that finds them."""
    virtual_table_bytes: int
    """Bytes of the table that says where the pages of a ghost lie."""
    owner_static_bytes: int
    """Bytes of owners that are there from the start; a part of ``static_bytes``."""
    owner_bytes: int
    """Bytes of owners of slots of clusters in use."""
    total_bytes: int
    """Bytes in total."""

class SubsystemMemory(DeviceMemory):
    """Bytes of metadata of all devices together and of the subsystem itself: `Swap.memory`."""

    percpu_bytes: int
    """Bytes of hints, counters and local locks of all CPUs."""
    folio_header_bytes: int
    """64 bytes for each page of memory that a folio ever had."""
    memcg_bytes: int
    """Bytes of groups and of the map of ids."""
    zswap_map_bytes: int
    """Bytes of the map that finds the zswap entries of slots without a virtual word."""
    zswap_entry_bytes: int
    """Bytes of the zswap entries of slots without a virtual word."""

class ResizedPages(TypedDict):
    """A device after `Swap.resize`."""

    max_pages: int
    """The device's size in slots."""
    limit_pages: int
    """The slot where allocation ends; slots in use above it keep the device from shrinking."""

class PageoutCounts(TypedDict):
    """Counts of one call of `Mm.pageout`."""

    reclaimed_pages: int
    """Pages that left memory."""
    kept_pages: int
    """Pages that stay in memory."""
    split_folios: int
    """Large folios that were split, because there was no run."""
    errno: int
    """The errno of the last failure that kept pages in memory, 0 for none."""

class GroupCounters(TypedDict, total=False):
    """Exact counters of one group: `MemCgroup.counters`. A v1 group has ``memsw_*`` where a v2 group has ``swap_*`` pages."""

    memory_pages: int
    """Pages charged to memory, with those of groups below."""
    swap_pages: int
    """v2: pages charged to swap, with those of groups below."""
    memsw_pages: int
    """v1: pages charged to memory and swap together."""
    memcg_swap_pages: int
    """Pages of the group itself that are swapped out."""
    memory_watermark_pages: int
    """Most pages charged to memory at one time."""
    swap_watermark_pages: int
    """v2: most pages charged to swap at one time."""
    memsw_watermark_pages: int
    """v1: most pages charged to memory and swap at one time."""
    memory_failcnt: int
    """Charges of memory that the limit refused."""
    swap_failcnt: int
    """Charges of swap, or of memory and swap, that the limit refused."""
    swapcached_pages: int
    """Pages of the group itself in the swap cache."""
    id: int
    """The private id that slots record."""
    id_refs: int
    """References to the id."""
    css_refs: int
    """References to the group; the object is one."""
    memory_underflow_pages: int
    """Pages uncharged from memory beyond those charged; 0 unless there is a bug."""
    swap_underflow_pages: int
    """Pages uncharged from swap beyond those charged; 0 unless there is a bug."""
    events_max: int
    """Local events: the memory limit was reached."""
    events_oom: int
    """Local events: a charge found no memory."""
    events_oom_kill: int
    """Local events: the kernel's OOM killer kills a task here."""
    events_high: int
    """Local events: usage was above ``memory.high``."""
    swap_events_max: int
    """Local events: the swap limit refused a charge."""
    swap_events_fail: int
    """Local events: a swap-out failed for the limit or for want of slots."""
    swap_events_high: int
    """Local events: swap usage was above ``memory.swap.high``."""

class MemoryEvents(TypedDict):
    """Events of a group as ``memory.events`` counts them."""

    low: int
    """Reclaims although usage was below ``memory.low``."""
    high: int
    """Charges above ``memory.high``."""
    max: int
    """Charges that exceeded ``memory.max``."""
    oom: int
    """Charges that failed for want of memory."""
    oom_kill: int
    """Kills for want of memory."""
    oom_group_kill: int
    """Kills of whole groups."""
    sock_throttled: int
    """Always 0, because the package has no sockets."""

class SwapEvents(TypedDict):
    """Events of a group as ``memory.swap.events`` counts them."""

    high: int
    """Charges above ``memory.swap.high``."""
    max: int
    """Charges that ``memory.swap.max`` refused."""
    fail: int
    """Swap-outs that failed for the limit or for want of slots."""

class PoolInfo(TypedDict):
    """One pool of zswap: an item of `ZswapHandle.pools`."""

    compressor: str
    """The compressor of its pages."""
    stored_pages: int
    """Pages in it."""
    pool_bytes: int
    """Bytes of memory that the pool takes."""
    compressed_bytes: int
    """Bytes of the compressed data in it."""

class SwapHeader(TypedDict):
    """The fields of a SWAPSPACE2 header page: `parse_swap_header`."""

    version: int
    """Version of the header, always 1."""
    last_page: int
    """The last slot; the device has one slot more."""
    bad_pages: list[int]
    """Slots that are never handed out."""
    uuid: bytes
    """Volume id, 16 bytes."""
    label: str
    """Volume label, at most 16 bytes of text."""

class StrategyMemory(TypedDict):
    """Bytes of metadata of an allocator: `Strategy.memory`."""

    static_bytes: int
    """Bytes that are there from the start."""
    dynamic_bytes: int
    """Bytes that come and go with slots in use."""

class ReplayReport(TypedDict):
    """The measurements of one `Trace.replay`."""

    ops: int
    """Operations replayed."""
    allocations: int
    """Allocations among the operations."""
    cpu_ns: int
    """Thread CPU time of all calls in ns, without sampling."""
    failures: dict[int, int]
    """Failed requests by order; order 0 includes the pages of split folios."""
    fallback_pages: int
    """Pages of large folios that were split."""
    dropped_pages: int
    """Pages that got no slot."""
    large_pages: int
    """Pages requested with order > 0."""
    used_slots_peak: int
    """Slots in use at the peak of the trace."""
    used_slots_end: int
    """Slots in use at the end of the trace."""
    bytes_at_peak: int
    """Bytes that the strategy takes at the peak; measured only with ``samples``."""
    static_bytes: int
    """The part of ``bytes_at_peak`` that is there from the start."""
    fragmentation: float
    """The mean over the samples of 1 - free slots in aligned free runs of 16 / free slots."""

class FolioReplayReport(TypedDict):
    """The counts and measurements of one `Trace.replay_folios`."""

    ops: int
    """Operations replayed."""
    swapped_out_pages: int
    """Pages that got a slot."""
    swapped_in_pages: int
    """Pages that were read back, including the pages left at the end of the trace."""
    dropped_pages: int
    """Pages that got no slot."""
    refused_pages: int
    """Pages that got a slot on a ghost and no place for their data; they stay in memory."""
    unread_pages: int
    """Pages that were freed unread."""
    fallback_pages: int
    """Pages of large folios that were split."""
    swap_in_folios: int
    """Folios that the swapped-in pages arrived in."""
    swap_out_ns: int
    """Thread CPU time of swap-outs, splits included, in ns."""
    swap_in_ns: int
    """Thread CPU time of swap-ins in ns."""
    peak_pages: int
    """Most slots in use at one time."""
    end_pages: int
    """Slots in use at the end of the trace."""
    peak_stats: dict[str, int]
    """`Storage.stats` of the first device that is no ghost, at the peak."""
    peak_zswap: dict[str, int]
    """`ZswapHandle.stats` at the peak."""

class AccessReplayReport(TypedDict):
    """The counts and measurements of one `Accesses.replay`."""

    accesses: int
    """Accesses replayed."""
    writes: int
    """Accesses that wrote."""
    first_touches: int
    """Accesses that were the first to their page."""
    verified_pages: int
    """Pages that were compared as a whole after a swap-in; 0 unless verified."""
    cpu_ns: int
    """Thread CPU time in ns, without contents and whole comparisons."""
    is_oom: bool
    """The replay ended early, because an access found no memory or its charge was refused."""

class StressReport(TypedDict):
    """The counts of one `stress`."""

    threads: int
    """Threads that ran."""
    seconds: float
    """Seconds asked for."""
    seed: int
    """The seed of the random choices."""
    ops: int
    """Operations of all threads."""
    allocated_runs: int
    """Runs handed out."""
    freed_slots: int
    """Slots given back."""
    failures: int
    """Requests that found no room."""
    dups: int
    """References added."""
    cached_folios: int
    """Folios that were left to the swap cache."""
    inuse_pages_end: int
    """Slots in use after the drain: 0."""
    double_handouts: int
    """Slots that were handed out while in use: 0."""
