"""Typed face of the Rust core: the swap allocator, its devices and the replay engine.

Every call that takes ``cpu`` means the CPU whose hints and local lock are used; ``None`` is this
thread's own number, handed out in turn and kept for the life of the thread. Counts are pages
(4 KiB) unless a name says bytes.
"""

import builtins
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, final

from typing_extensions import Buffer

__all__ = [
    "MAX_ORDER",
    "MAX_SWAPFILES",
    "PAGE_SIZE",
    "SWAPFILE_CLUSTER",
    "Folio",
    "Strategy",
    "Swap",
    "SwapBatch",
    "SwapDevice",
    "SwpEntry",
    "Trace",
    "build_swap_header",
    "is_debug_build",
    "parse_swap_header",
    "stress",
]

PAGE_SIZE: int
SWAPFILE_CLUSTER: int
MAX_ORDER: int
MAX_SWAPFILES: int
is_debug_build: bool

class _Storage(Protocol):
    """What `Swap.swapon` reads from a storage object such as `swapcore.Null`."""

    @property
    def pages(self) -> int: ...
    @property
    def bad_pages(self) -> Sequence[int]: ...
    @property
    def is_rotational(self) -> bool: ...
    @property
    def is_block_device(self) -> bool: ...
    @property
    def can_discard(self) -> bool: ...

@final
class SwpEntry:
    """One swap slot, or the first of an aligned run of ``1 << order`` slots.

    An int-like value: ``type << 58 | offset``. Kernel: `swp_entry_t`; differs: it remembers the
    order it was allocated with, so that `Swap.free` needs no length. Equality and hash are those of the value
    alone; an int of the same value is equal, anything else is not.
    """

    def __new__(cls, value: int, order: int = 0) -> SwpEntry: ...
    @property
    def value(self) -> int:
        """The whole word, ``type << 58 | offset``."""
    @property
    def type(self) -> int:
        """The swap type (device number)."""
    @property
    def offset(self) -> int:
        """The slot number on its device."""
    @property
    def order(self) -> int:
        """log2 of the run's pages, 0..=9."""
    @property
    def nr_pages(self) -> int:
        """``1 << order``."""
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: SwpEntry, /) -> bool: ...
    def __le__(self, other: SwpEntry, /) -> bool: ...
    def __gt__(self, other: SwpEntry, /) -> bool: ...
    def __ge__(self, other: SwpEntry, /) -> bool: ...
    def __reduce__(self) -> tuple[builtins.type[SwpEntry], tuple[int, int]]: ...

@final
class SwapBatch:
    """The entries of one `Swap.alloc_batch`, one uint64 a run, as a read-only buffer.

    ``np.asarray(batch)`` is a view without a copy. Kernel: none.
    """

    @property
    def order(self) -> int:
        """log2 of the pages of every run in the batch."""
    @property
    def nr_pages(self) -> int:
        """Slots in all runs together."""
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> SwpEntry: ...
    def __iter__(self) -> Iterator[SwpEntry]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Folio:
    """A minimal folio: what slot reclaim asks about cached pages (order, locked, writeback, mapped, dirty).

    Made by `Swap.folio`. Two handles are equal when they are of one folio. Kernel: `struct folio`; differs: it carries
    no data yet.
    """

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def pfn(self) -> int | None:
        """The number that table entries hold for this folio while it is in the swap cache, else None."""
    @property
    def order(self) -> int: ...
    @property
    def nr_pages(self) -> int: ...
    @property
    def entry(self) -> SwpEntry | None:
        """The first slot this folio owns in the swap cache, or None."""
    locked: bool
    """Somebody holds the folio lock. Setting it takes or frees the lock on behalf of this object."""
    writeback: bool
    mapped: bool
    dirty: bool

@final
class SwapDevice:
    """A device that is turned on. Kernel: `struct swap_info_struct`.

    Every property raises `EntryGoneError` (ENOENT) once the device is turned off.
    """

    @property
    def type(self) -> int: ...
    @property
    def prio(self) -> int: ...
    @property
    def pages(self) -> int:
        """Usable slots: no header, no bad page."""
    @property
    def max_pages(self) -> int:
        """Size in slots, header included."""
    @property
    def inuse_pages(self) -> int: ...
    @property
    def flags(self) -> list[str]:
        """Names of the SWP_* flags that are set."""
    @property
    def is_on(self) -> bool:
        """False after swapoff; never raises."""
    def memory(self) -> dict[str, int]:
        """Returns exact byte counts: ``static_bytes``, ``table_bytes``, ``extend_bytes``, ``pool_bytes`` (released
        tables kept for reuse), ``total_bytes``."""
    def clusters(self) -> dict[str, bytes]:
        """Returns one column per property of every cluster, in index order: ``count`` (u2), ``flags`` (u1),
        ``order`` (u1), native byte order, for ``np.frombuffer``."""
    def slots(self) -> bytes:
        """Returns one byte a slot: 0 free, 1 swapped out, 2 cached, 3 bad, 4 pointer. Takes every CPU's lock."""

@final
class Swap:
    """One machine's swap subsystem: devices, priorities, per-CPU hints, counters.

    ``profile`` is one of ``v618``, ``p3``, ``series``, ``newest``. ``workers`` is ``inline`` (reclaim_work and
    discard_work run right after the operation that queued them) or ``manual`` (only in `run_workers`).
    ``switches`` overrides single choices of the profile by name, see `switches`.
    """

    def __new__(
        cls,
        *,
        nr_cpus: int = 1,
        profile: str = "newest",
        workers: str = "inline",
        switches: dict[str, str] | None = None,
    ) -> Swap: ...
    @property
    def nr_cpus(self) -> int: ...
    @property
    def profile(self) -> str: ...
    @property
    def switches(self) -> dict[str, str]:
        """Every switch with its value: ``default_priority`` (``minus_one``/``descending``), ``rule_u``
        (``leave``/``relocate``), ``sync_discard`` (``avail``/``active``), ``free_order`` (``ascending``/``columns``),
        ``first_search`` (``nonfull``/``free``), ``hibernation`` (``hint``/``search``)."""
    @property
    def nr_swap_pages(self) -> int:
        """Free slots of all enabled devices."""
    @property
    def total_swap_pages(self) -> int: ...
    @property
    def nr_swapcache_pages(self) -> int:
        """Slots whose table entry is a folio."""
    @property
    def vm_swap_full(self) -> bool:
        """True when less than half of all slots are free: ``nr_swap_pages * 2 < total_swap_pages``."""
    @property
    def devices(self) -> list[SwapDevice]:
        """The devices that are on, in the order they are tried (the avail list, then the full ones by type)."""
    def swapon(
        self,
        storage: _Storage,
        *,
        priority: int | None = None,
        discard: str | None = None,
    ) -> SwapDevice:
        """Turns a device on and returns it. ``priority`` 0..=32767, or None for the profile's default rule.
        ``discard`` is None, ``"once"``, ``"pages"`` or ``"both"``.

        Errors: EINVAL bad size, bad page list, priority or discard word; EPERM all types in use.
        Kernel: `swapon`.
        """
    def swapoff(
        self,
        device: SwapDevice,
        unuse: Callable[[SwpEntry, int], None] | None = None,
    ) -> None:
        """Turns a device off. ``unuse(entry, count)`` is called, with no lock held, for every slot that still has
        references and must give all ``count`` of them back with `put`; None gives them back itself (the pages are
        read back and forgotten).

        Errors: ENOENT it is off; EBUSY ``unuse`` left slots in use, or hibernation slots pin it: the device is on
        again. An exception from ``unuse`` turns the device on again and is raised. Kernel: `swapoff`, `try_to_unuse`.
        """
    def alloc(self, order: int = 0, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one aligned run of ``1 << order`` slots, swapped out at once (count 1, not cached).

        Errors: `SwapFullError` (ENOSPC) no run of that order; EINVAL bad order or cpu.
        Kernel: `folio_alloc_swap` followed by unmap and removal from the cache.
        """
    def alloc_batch(self, n: int, order: int = 0, *, cpu: int | None = None) -> SwapBatch:
        """Hands out up to ``n`` runs in one call, exactly those that ``n`` calls of `alloc` would give.

        The batch is shorter than ``n`` when there was no room for more; it stops at the first failure.
        """
    def free(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Takes one reference from each of ``nr`` slots (default: the entry's whole run) and frees those at zero.

        Errors: ENOENT a slot is not in use, and nothing changed. Kernel: `swap_put_entries_direct`.
        """
    def free_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Frees every run of a batch, or of any C-contiguous uint64 buffer of entries (``order`` is for buffers).

        Errors: EINVAL an entry lies beyond its device, ENOENT it names no device: nothing changed. ENOENT a slot is
        not in use: the runs before it are free, the message says how many.
        """
    def put(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """The same as `free`, under the kernel's word for it."""
    def dup(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Adds one reference to each of ``nr`` slots (default: the entry's whole run).

        Errors: ENOENT a slot has no reference, EINVAL a slot is bad, and nothing changed.
        Kernel: `swap_dup_entry_direct`.
        """
    def put_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """The same as `free_batch`, under the kernel's word for it."""
    def dup_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Adds one reference to every slot of every run. Errors as `dup`; the runs before the failing one keep theirs."""
    def lookup(self, entry: SwpEntry | int) -> dict[str, Any]:
        """Returns ``kind`` (``null``, ``shadow``, ``folio``, ``bad``, ``pointer``), ``count``, ``zero``, ``word`` and
        ``pfn`` (None unless cached) of one slot, a snapshot. Errors: ENOENT no such device, EINVAL beyond it."""
    def lookup_many(self, entries: SwapBatch | Buffer) -> bytes:
        """Returns the raw 64-bit table words of many entries (uint64, native order, for ``np.frombuffer``)."""
    def swap_count(self, entry: SwpEntry | int) -> int:
        """Returns the reference count of one slot, extend table included."""
    def folio(self, order: int = 0) -> Folio:
        """Makes a folio: unlocked, clean, not mapped, not cached. It is forgotten once it is dropped and uncached."""
    def folio_alloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives a folio its slots: entries hold the folio, count 0. Errors: ENOSPC no room; EEXIST already cached."""
    def folio_dup_swap(self, folio: Folio, page: int | None = None) -> None:
        """Adds one reference to all slots of a cached folio, or to that of one page. Errors: EINVAL not cached here."""
    def folio_put_swap(self, folio: Folio, page: int | None = None) -> None:
        """Takes one reference from all slots of a cached folio, or from one; never frees. Errors: ENOENT a count is 0."""
    def swap_cache_add_folio(self, folio: Folio, entry: SwpEntry | int) -> None:
        """Puts an uncached folio over swapped-out slots (swap-in). Errors: EEXIST the slot is cached; ENOENT it is
        free; EBUSY another slot of the range is unsuitable; EINVAL misaligned or folio already cached."""
    def swap_cache_del_folio(self, folio: Folio, *, cpu: int | None = None) -> None:
        """Takes a folio out of the cache; slots without references are freed. Errors: EINVAL not cached; EBUSY writeback."""
    def folio_free_swap(self, folio: Folio, *, cpu: int | None = None) -> bool:
        """Frees the slots of a cached folio unless a slot has references or it is under writeback; says if it did.

        Errors: EBUSY locked; EINVAL cached by another subsystem."""
    def folio_at(self, entry: SwpEntry | int) -> Folio | None:
        """Returns the folio that caches a slot, or None."""
    def alloc_hibernation(self, device: SwapDevice, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one slot of one device for a hibernation image (empty shadow, count 1). Errors: ENOSPC."""
    def free_hibernation(self, entry: SwpEntry | int, *, cpu: int | None = None) -> None:
        """Gives a hibernation slot back. Errors: ENOENT it is not one."""
    def run_workers(self) -> int:
        """Runs queued reclaim_work and discard_work of all devices; returns the slots and clusters they released."""
    def check(self) -> None:
        """Proves every invariant with all CPUs stopped; raises `InvariantError` naming the first broken one."""
    def stats(self) -> dict[str, int]:
        """Returns counters under kernel names where the kernel has one (``thp_swpout_fallback``,
        ``hugepages-64kB.swpout_fallback``, ...)."""
    def memory(self) -> dict[str, int]:
        """Returns exact byte counts of the whole subsystem: `SwapDevice.memory` summed, plus ``percpu_bytes``."""
    def dump(self) -> dict[str, Any]:
        """Returns the state that decides placement. ``devices``: a list of ``{"type", "prio", "inuse_pages", "free",
        "nonfull", "frag", "full", "discard", "next"}`` where ``free``/``full``/``discard`` are lists of cluster indexes
        head first, ``nonfull``/``frag`` dicts from order to such a list (empty ones left out) and ``next`` the rotating
        device's positions by order (empty when solid state). ``hints``: a list per CPU of ``{order: (type, offset)}``.
        ``avail``: types in the order they are tried."""

@final
class Trace:
    """A recorded list of swap operations, checked once and ready to replay.

    Columns as in a trace file, any C-contiguous buffers of equal length: ``op`` u1 (0 allocate, 1 free), ``cpu`` u1,
    ``folio`` u4, ``first`` u2, ``nr`` u2 (pages).
    """

    def __new__(cls, op: Buffer, cpu: Buffer, folio: Buffer, first: Buffer, nr: Buffer) -> Trace: ...
    @property
    def nr_ops(self) -> int: ...
    @property
    def nr_allocations(self) -> int: ...
    @property
    def nr_cpus(self) -> int: ...
    @property
    def peak_pages(self) -> int: ...
    @property
    def allocations_by_order(self) -> dict[int, int]: ...
    def replay(self, strategy: Strategy, *, samples: int = 0) -> dict[str, Any]:
        """Replays the whole trace once and drains nothing. Detached from the interpreter unless the strategy is Python.

        A failing request of order > 0 is split into order-0 requests (head page first, then last to second), as the
        kernel does; a failing order-0 request drops its page. ``samples`` > 0 stops the clock that many times, evenly,
        to look at fragmentation. Returns ``ops``, ``allocations``, ``cpu_ns`` (thread CPU time of all calls, sampling
        excluded), ``failures`` (by order, requests), ``fallback_pages`` and ``dropped_pages``, ``large_pages`` (asked
        for with order > 0), ``used_slots_peak``, ``used_slots_end``, ``bytes_at_peak``, ``static_bytes``, and
        ``fragmentation`` (mean over the samples of 1 - free slots in aligned free runs of 16 / free slots)."""
    def floor(self) -> int:
        """Returns the CPU ns that replaying costs without any allocator: the loop, the bookkeeping, the virtual call."""

@final
class Strategy:
    """An allocator behind the one trait that replay, comparison and benchmarks drive."""

    names: ClassVar[dict[str, str]]
    """Every built-in strategy with one line about it."""

    @staticmethod
    def create(name: str, *, size_pages: int, nr_cpus: int = 1) -> Strategy:
        """Makes a built-in strategy over one fresh device. Errors: EINVAL unknown name or bad size."""
    @staticmethod
    def wrap(obj: object, *, size_pages: int, name: str | None = None) -> Strategy:
        """Makes a strategy of a Python object with the methods of `swapcore.strategy.AllocatorStrategy`.

        Errors: EINVAL bad size or ``max_order``. An exception that a method raises is raised again by the call, or by
        the replay, that led to it."""
    @property
    def name(self) -> str: ...
    @property
    def max_order(self) -> int: ...
    def alloc(self, order: int = 0, cpu: int = 0) -> int:
        """Returns the first slot of a run, or -1 when there is no room."""
    def free(self, slot: int, nr: int = 1, cpu: int = 0) -> None:
        """Frees ``nr`` slots from ``slot`` on (a part of a run is allowed)."""
    def alloc_batch(self, n: int, order: int = 0, cpu: int = 0) -> SwapBatch: ...
    def free_batch(self, batch: SwapBatch, cpu: int = 0) -> None: ...
    def memory(self) -> dict[str, int]:
        """Returns ``static_bytes`` and ``dynamic_bytes``."""

def stress(
    *,
    threads: int,
    seconds: float,
    seed: int,
    pages: int = 262144,
    devices: int = 2,
    nr_cpus: int | None = None,
    profile: str = "newest",
) -> dict[str, Any]:
    """Hammers one subsystem from Rust threads (random orders, partial frees, dup and put, remote frees, bursts to a
    full device), then drains it and proves that nothing was lost; detached throughout.

    Returns ``ops``, ``allocated_runs``, ``freed_slots``, ``failures``, ``dups``, ``cached_folios``, ``seconds``, ``seed``, ``threads``,
    ``inuse_pages_end`` (0) and ``double_handouts`` (0). Raises `InvariantError` when something was lost.
    """

def parse_swap_header(page: Buffer) -> dict[str, Any]:
    """Reads a SWAPSPACE2 header page: ``version``, ``last_page``, ``bad_pages``, ``uuid`` (bytes), ``label``.

    Errors: EINVAL no signature, bad version, last_page 0, more than 637 bad pages. Either byte order is read.
    """

def build_swap_header(
    last_page: int, bad_pages: Sequence[int] = ..., uuid: bytes = ..., label: str = ...
) -> bytes:
    """Builds the 4096-byte SWAPSPACE2 header page that `mkswap` would write."""
