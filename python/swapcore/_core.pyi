"""Typed face of the Rust core: the swap allocator, its devices and the replay engine.

``cpu`` is the CPU whose hints and local lock a call uses. None is the thread's own number; threads get numbers in turn and
keep them for life. Counts are pages (4 KiB) unless a name says bytes.
"""

import builtins
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, final

from typing_extensions import Buffer

# Parts of the core, in files of their own for length.
from ._core_dicts import (
    BackingInfo,
    ClusterColumns,
    DeviceMemory,
    EventColumns,
    PageoutCounts,
    PoolInfo,
    ResizedPages,
    SlotInfo,
    SubsystemMemory,
    SubsystemState,
    SwapHeader,
)
from ._core_memcg import MemCgroup
from ._core_replay import Accesses, Strategy, Trace, stress

__all__ = [
    "MAX_ORDER",
    "MAX_SWAPFILES",
    "PAGE_SIZE",
    "SWAPFILE_CLUSTER",
    "Accesses",
    "Folio",
    "MemCgroup",
    "Mm",
    "Storage",
    "Strategy",
    "Swap",
    "SwapBatch",
    "SwapDevice",
    "SwpEntry",
    "Trace",
    "ZswapHandle",
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

class _Geometry(Protocol):
    """The attributes of a description without data, such as `swapcore.Null`, for `Swap.swapon`."""

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

class _ZswapOptions(Protocol):
    """The attributes of `swapcore.Zswap`, for `Swap`."""

    @property
    def compressor(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def max_pool_percent(self) -> int: ...
    @property
    def accept_threshold_percent(self) -> int: ...
    @property
    def shrinker_enabled(self) -> bool: ...

class _HasStorage(Protocol):
    """The attribute of `swapcore.Ram`, `swapcore.Zram`, `swapcore.File`, `swapcore.Ghost` and `swapcore.Faulty`, for `Swap.swapon`."""

    @property
    def storage(self) -> Storage: ...

@final
class Storage:
    """A place for page contents, made by static methods. `Swap.swapon` turns it into a device, once at a time.
    Kernel: the block device or file behind a `swap_info_struct`."""

    @staticmethod
    def ram(pages: int) -> Storage:
        """Uncompressed memory for ``pages`` slots; a write of a slot takes its memory. Kernel: `brd`."""
    @staticmethod
    def zram(
        pages: int, *, algorithm: str = "lz4", level: int | None = None, mem_limit_bytes: int | None = None
    ) -> Storage:
        """Compressed memory for ``pages`` slots. Errors: EINVAL unknown algorithm (the message lists the algorithms of this build)
        or bad level. Kernel: `zram`."""
    @staticmethod
    def file(
        path: str,
        *,
        direct: bool = False,
        is_block_device: bool | None = None,
        is_rotational: bool | None = None,
    ) -> Storage:
        """A swap file or block device with the header that mkswap wrote; None asks the system. Errors: EINVAL no SWAPSPACE2
        header, or a header with more pages than the file has; `SwapIOError` with the system's errno."""
    @staticmethod
    def create_file(
        path: str,
        pages: int,
        *,
        label: str = "",
        uuid: bytes,
        bad_pages: Sequence[int] | None = None,
        sparse: bool = False,
    ) -> None:
        """Makes a swap file of ``pages`` pages, mode 0600, with its header. Errors: `SwapIOError` (EEXIST it exists, ...);
        EINVAL bad label or bad page list. After an error there is no new file."""
    @staticmethod
    def faulty(inner: Storage, *, seed: int = 0) -> Storage:
        """Another storage with faults that `set_faults` plans."""
    def set_faults(
        self,
        *,
        fail_write_in: int | None = None,
        fail_read_in: int | None = None,
        write_error_probability: float = 0.0,
        read_error_probability: float = 0.0,
        errno: int = 5,
        tear_write_pages: int | None = None,
        delay_ns: int = 0,
    ) -> None:
        """Replaces the plan of a `faulty` storage: the n-th write or read from now fails (1 is the next); each fails with
        a probability; of the next write only ``tear_write_pages`` pages arrive; each call takes ``delay_ns`` longer.
        A call without arguments plans no fault. Errors: EINVAL not a faulty storage, or a value out of range."""
    @staticmethod
    def ghost(pages: int, *, virtual_table: bool = False, visibility: str = "visible") -> Storage:
        """Slots without a place for pages. ``visibility`` is ``visible``, ``listed`` or ``hidden``. Errors: EINVAL. Kernel: a
        header-only swap file of the series."""
    @staticmethod
    def ghost_for_ram(ram_pages: int, *, virtual_table: bool = False, visibility: str = "visible") -> Storage:
        """A ghost of eight times ``ram_pages`` slots, in whole clusters. Errors: EINVAL. Kernel: ``/dev/ghostswap`` of the series."""
    @staticmethod
    def ghost_open(path: str, *, virtual_table: bool = False, visibility: str = "visible") -> Storage:
        """A ghost of the size in the header of a file of exactly one page. Errors: EINVAL the file is not one page with a
        header; `SwapIOError`."""
    @property
    def kind(self) -> str:
        """``ram``, ``zram``, ``file``, ``ghost`` or ``faulty``."""
    @property
    def has_virtual_table(self) -> bool:
        """Whether the storage is a ghost whose slots record where their pages lie."""
    @property
    def pages(self) -> int:
        """Size in slots, header included."""
    @property
    def bad_pages(self) -> list[int]:
        """Slots that are never handed out."""
    @property
    def is_rotational(self) -> bool:
        """Whether the device seeks; one allocation position then serves all CPUs."""
    @property
    def is_block_device(self) -> bool:
        """Whether the storage is a block device, as opposed to a regular file."""
    @property
    def can_discard(self) -> bool:
        """Whether the storage takes discards."""
    @property
    def is_synchronous(self) -> bool:
        """Whether the storage is as fast as memory: swap-in reads nothing ahead and gives the slot up."""
    def stats(self) -> dict[str, int]:
        """Returns the storage's figures under kernel names; for zram the figures of ``mm_stat`` and ``io_stat`` in their units."""

@final
class SwpEntry:
    """One swap slot, or the first of an aligned run of ``1 << order`` slots: an int-like value, ``type << 58 | offset``.

    Kernel: `swp_entry_t`; differs: an entry keeps the order of its allocation, so that `Swap.free` needs no length.
    Equality and hash are those of the value alone; an int of the same value is equal, any other object is not."""

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
    """The entries of one `Swap.alloc_batch`, one uint64 a run, as a read-only buffer: ``np.asarray(batch)`` is a view
    without a copy. Kernel: none."""

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
    """Pages with data, in memory: ``1 << order`` of them in one piece. Kernel: `struct folio`.

    Made by `Swap.folio` and `Swap.swap_in`. A handle has one reference to the folio. A ``mapped`` handle maps the folio as one
    page table does. Dropping the handle unmaps the folio and frees pages that have no other reference. Two handles of one folio
    are equal. ``memoryview(folio)`` and ``np.frombuffer(folio, dtype)`` are writable views of the folio's bytes without a copy.
    A view marks the folio dirty and, while it lives, keeps the folio in memory: swap-out raises `SwapBusyError`. Once the folio
    is swapped out, split or migrated through this handle, all members but ``order``, ``nr_pages``, ``entry`` and
    ``is_resident`` raise `EntryGoneError`."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int:
        """Bytes of the folio, ``nr_pages * PAGE_SIZE``."""
    @property
    def is_resident(self) -> bool:
        """Whether the folio is in memory; never raises."""
    @property
    def refs(self) -> int:
        """References: the swap cache has one for each page, each mapping of a page one, each handle and each view one."""
    @property
    def mapcount(self) -> int:
        """Mappings of its pages, all page tables together."""
    @property
    def uptodate(self) -> bool:
        """Whether the folio's data is valid."""
    @property
    def active(self) -> bool:
        """On the active list, or with ``mglru`` in one of the two youngest generations."""
    @property
    def workingset(self) -> bool:
        """Part of the working set."""
    def read(self, offset_bytes: int = 0, nr_bytes: int | None = None) -> bytes:
        """Copies bytes out (default: to the end). Errors: EINVAL beyond the folio; EBUSY views are out."""
    def write(self, data: Buffer, offset_bytes: int = 0) -> None:
        """Copies bytes in and marks the folio dirty. Errors: EINVAL beyond the folio; EBUSY views are out."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def pfn(self) -> int | None:
        """The number that table entries hold for this folio while it is in the swap cache, else None."""
    @property
    def order(self) -> int:
        """log2 of the pages."""
    @property
    def nr_pages(self) -> int:
        """Pages of the folio."""
    @property
    def entry(self) -> SwpEntry | None:
        """The first slot this folio owns in the swap cache, the slot it went to once this handle swapped it out, or None."""
    @property
    def memcg(self) -> MemCgroup | None:
        """The group that is charged for the folio."""
    locked: bool
    """The folio lock is held. Setting it takes or frees the lock on behalf of this object."""
    writeback: bool
    """The folio is being written to its device."""
    mapped: bool
    """Mapped by some page table; setting it maps the folio through this handle, or unmaps it."""
    dirty: bool
    """The folio's data differs from the device's. Clearing the flag states that the slots have the data; if they have not, the
    data is lost."""

@final
class Mm:
    """One address space: pages that fault, are shared after a fork, and go to swap and come back. Made by `Swap.mm`.

    A page number times `PAGE_SIZE` is an address. Dropping the object frees its pages and slots. Kernel: `struct mm_struct`."""

    def mmap(
        self,
        nr_pages: int,
        *,
        orders: int | None = None,
        anon_order: int = 0,
        is_locked: bool = False,
        is_uffd_armed: bool = False,
    ) -> int:
        """Maps ``nr_pages`` pages of zeros and returns the number of the first, a multiple of 512; times `PAGE_SIZE` it is an address.

        ``orders`` is the mask of folio orders, bit k for order k, that a swap-in may use (None: single pages), ``anon_order`` the order of folios
        that a first touch makes where they fit; pages that are locked stay in memory; an armed userfaultfd means single
        pages. Errors: EINVAL. Kernel: `mmap` of anonymous memory."""
    def read(self, address_bytes: int, nr_bytes: int, *, cpu: int | None = None) -> bytes:
        """Copies bytes out, faulting pages in. Errors: EFAULT not mapped; `SwapIOError` a page cannot be read, and stays
        swapped out; `MemoryError`."""
    def write(self, address_bytes: int, data: Buffer, *, cpu: int | None = None) -> None:
        """Copies bytes in, faulting pages in and copying shared pages. Errors: as `read`; the bytes before the failing page are
        written."""
    def touch_pages(
        self, first_page: int, pages: Buffer, writes: Buffer | None = None, *, cpu: int | None = None
    ) -> None:
        """Makes pages present, given by their distance from ``first_page`` (uint32 or uint64); a page whose byte in ``writes``
        is not 0 is written. Detaches. Errors: as `read`; the pages before the failing page are present."""
    def pageout(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> PageoutCounts:
        """Swaps the pages of a range out in ascending order, without pages that other address spaces map too; large folios go whole, or
        are split when there is no run; pages that an earlier call unmapped but could not write are tried again. Returns ``reclaimed_pages``, ``kept_pages``, ``split_folios`` and ``errno`` (of the last
        failure that kept pages in memory, 0 for none). Errors: EFAULT not mapped. Kernel: ``MADV_PAGEOUT``."""
    def zap(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> None:
        """Drops the pages of a range, which read as zeros from then on. Errors: EFAULT. Kernel: ``MADV_DONTNEED``."""
    def fork(self, *, cpu: int | None = None) -> Mm:
        """Returns a copy that shares every page until one of the two writes it. Kernel: `copy_page_range`."""
    def swap_entry(self, page: int) -> SwpEntry | None:
        """Returns the slot of a page that is swapped out, else None. Errors: EFAULT not mapped."""
    def unuse(self, device: SwapDevice, *, cpu: int | None = None) -> None:
        """Swaps in every page that lies on a device, as in ``swap.swapoff(device, lambda entry, count: mm.unuse(device))``.
        Errors: as `read`. Kernel: `unuse_mm`."""
    @property
    def memcg(self) -> MemCgroup:
        """The group of the address space's task. Errors: EINVAL memcg is disabled."""
    @property
    def resident_pages(self) -> int:
        """Pages in memory."""
    @property
    def swapped_pages(self) -> int:
        """Pages swapped out."""

@final
class SwapDevice:
    """A device that is turned on. Every property raises `EntryGoneError` (ENOENT) once it is turned off.
    Kernel: `struct swap_info_struct`."""

    @property
    def type(self) -> int:
        """The swap type (device number)."""
    @property
    def kind(self) -> str:
        """The type that ``/proc/swaps`` shows: ``partition``, ``file`` or ``ghost``."""
    @property
    def visibility(self) -> str | None:
        """How a ghost is shown and counted: ``visible``, ``listed`` or ``hidden``; None for other devices."""
    @property
    def is_virtual(self) -> bool:
        """Whether the device is a ghost whose slots record where their pages lie."""
    @property
    def prio(self) -> int:
        """The priority."""
    @property
    def pages(self) -> int:
        """Usable slots: no header, no bad page."""
    @property
    def max_pages(self) -> int:
        """Size in slots, header included."""
    @property
    def inuse_pages(self) -> int:
        """Slots in use."""
    @property
    def flags(self) -> list[str]:
        """Names of the SWP_* flags that are set."""
    @property
    def is_on(self) -> bool:
        """False after swapoff; never raises."""
    @property
    def storage(self) -> Storage | None:
        """The storage of the device's pages; None for a device that keeps metadata only."""
    def memory(self) -> DeviceMemory:
        """Returns exact byte counts: ``static_bytes``, ``table_bytes``, ``extend_bytes``, ``pool_bytes`` (released
        tables kept for reuse), ``owner_bytes`` (owners of slots of clusters in use), ``owner_static_bytes`` (owners that are
        there from the start, a part of ``static_bytes``), ``index_bytes`` (clusters of a ghost and the index that finds them),
        ``virtual_table_bytes`` (the table that says where pages of a ghost lie), ``total_bytes``."""
    def clusters(self) -> ClusterColumns:
        """Returns one column per property of every cluster (of a ghost, of every cluster that exists), in index order: ``index`` (u4),
        ``count`` (u2), ``flags`` (u1), ``order`` (u1), native byte order, for ``np.frombuffer``."""
    def slots(self) -> bytes:
        """Returns one byte for each slot: 0 free, 1 swapped out, 2 cached, 3 bad, 4 pointer. The snapshot takes no lock: a slot
        that changes meanwhile has its state before or after the change."""

@final
class Swap:
    """One machine's swap subsystem: devices, priorities, per-CPU hints, counters.

    ``profile`` is one of ``v618``, ``p3``, ``series``, ``newest``. ``workers`` is ``inline`` (reclaim_work and discard_work run
    right after the operation that queued them) or ``manual`` (only in `run_workers`). ``switches`` overrides single choices of
    the profile by name, see `switches`. ``memory_pages`` (512..=2**31) is the memory of all folios together; a write takes the
    memory that it needs. ``workingset`` is ``classic`` (active and inactive lists) or ``mglru`` (generations); ``memcg`` is ``v2``, ``v1`` or ``disabled``; ``zswap`` is the name of
    a compressor, a `swapcore.Zswap`, or None for no zswap until it is turned on. ``cpu`` arguments of the methods are the CPU
    whose hints and local lock are used; None is this thread's own number."""

    def __new__(
        cls,
        *,
        nr_cpus: int = 1,
        profile: str = "newest",
        workers: str = "inline",
        switches: dict[str, str] | None = None,
        memory_pages: int = 4194304,
        workingset: str = "classic",
        memcg: str = "v2",
        zswap: str | _ZswapOptions | None = None,
    ) -> Swap: ...
    @property
    def nr_cpus(self) -> int:
        """CPUs of the subsystem."""
    @property
    def profile(self) -> str:
        """The profile that the caller chose."""
    @property
    def switches(self) -> dict[str, str]:
        """Every switch with its value: ``default_priority`` (``minus_one``/``descending``), ``rule_u``
        (``leave``/``relocate``), ``sync_discard`` (``avail``/``active``), ``free_order`` (``ascending``/``columns``),
        ``first_search`` (``nonfull``/``free``), ``hibernation`` (``hint``/``search``), ``swapin_check``
        (``zero_first``/``target_first``), ``ghost_cluster0`` (``listed``/``unlisted``), ``ghost_large_orders``
        (``allowed``/``refused``), ``owner_store`` (``shadow``/``array``/``cluster_table``/``trampoline``),
        ``dead_swapin`` (``default``/``reparent``/``fault_mm``/``reparent_if_shared``), ``shared_count`` (2..=15),
        ``refault_level`` (``default``/``owner``/``reclaim_root``), ``idonly_refault`` (``skip``/``count``), and ``on``/``off``:
        ``rfc_literal``, ``lru_reparent``, ``memcg_stock``."""
    @property
    def nr_swap_pages(self) -> int:
        """Free slots of all enabled devices."""
    @property
    def total_swap_pages(self) -> int:
        """Usable slots of all enabled devices."""
    @property
    def nr_swapcache_pages(self) -> int:
        """Slots whose table entry is a folio."""
    @property
    def vm_swap_full(self) -> bool:
        """True when less than half of all slots are free, ``nr_swap_pages * 2 < total_swap_pages``; the slots of virtual ghosts
        do not count."""
    @property
    def devices(self) -> list[SwapDevice]:
        """The devices that are on, in the order they are tried (the avail list, then the full devices by type)."""
    @property
    def zswap(self) -> ZswapHandle:
        """Compressed memory in front of the devices."""
    @property
    def nr_real_swapfiles(self) -> int:
        """Devices with room that have a place for pages: 0 turns writeback of zswap off."""
    def resize(self, device: SwapDevice, size: str | int) -> ResizedPages:
        """Gives a ghost another size, with unit or in slots, in whole clusters. Returns ``max_pages``, the ghost's size, and
        ``limit_pages``, the slot where allocation ends. Slots in use above that limit keep a ghost from shrinking. Errors: EINVAL.
        Kernel: none."""
    def swapon(
        self,
        storage: Storage | _HasStorage | _Geometry,
        *,
        priority: int | None = None,
        discard: str | None = None,
    ) -> SwapDevice:
        """Turns a device on and returns it. ``storage`` is `swapcore.Zram`, `Ram`, `File`, `Ghost`, `Faulty` or `Null`;
        ``priority`` is 0..=32767, or None for the profile's default rule; ``discard`` is None, ``"once"``, ``"pages"`` or ``"both"``. Errors: EINVAL bad size, bad page list, priority or discard word;
        EPERM all types in use. Kernel: `swapon`."""
    def swapoff(self, device: SwapDevice, unuse: Callable[[SwpEntry, int], None] | None = None) -> None:
        """Turns a device off.

        ``unuse(entry, count)`` is called, with no lock held, for every slot that still has references. ``unuse`` gives all
        ``count`` of them back, by `swap_in`, by `put`, or for an address space by ``lambda entry, count: mm.unuse(device)``.
        It is called again for slots that are still in use, up to 16 times. With None, references of a `swapcore.Null` device
        are dropped, because there is no data behind them; any other device with references stays on.

        Errors: `EntryGoneError` (ENOENT) the device is off; `SwapBusyError` (EBUSY) ``unuse`` is None and the device has data,
        ``unuse`` left slots in use, or hibernation slots pin the device. After EBUSY, and after an exception of ``unuse``,
        which is raised, the device is on. Kernel: `swapoff`, `try_to_unuse`."""
    def alloc(self, order: int = 0, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one aligned run of ``1 << order`` slots, swapped out at once (count 1, not cached). Errors:
        `SwapFullError` (ENOSPC) no run of that order; EINVAL bad order or cpu. Kernel: `folio_alloc_swap` followed by unmap
        and removal from the cache."""
    def alloc_batch(self, n: int, order: int = 0, *, cpu: int | None = None) -> SwapBatch:
        """Hands out up to ``n`` runs in one call, exactly the runs that ``n`` calls of `alloc` return. The call stops at the
        first failure and then returns fewer runs."""
    def free(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Takes one reference from each of ``nr`` slots (default: the entry's whole run) and frees those at zero. Errors:
        ENOENT a slot is not in use, and nothing changed. Kernel: `swap_put_entries_direct`."""
    def free_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Frees every run of a batch, or of any C-contiguous uint64 buffer of entries (``order`` is for buffers). Errors:
        EINVAL an entry lies beyond its device, or ENOENT an entry names no device, and nothing changed; ENOENT a slot is not in
        use, the runs before it are free, and the message gives their number."""
    def put(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Does the same as `free`, under the kernel's name."""
    def dup(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Adds one reference to each of ``nr`` slots (default: the entry's whole run). Errors: ENOENT a slot has no
        reference, EINVAL a slot is bad, and nothing changed. Kernel: `swap_dup_entry_direct`."""
    def put_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Does the same as `free_batch`, under the kernel's name."""
    def dup_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Adds one reference to every slot of every run. Errors: as `dup`; the runs before the failing run keep the reference."""
    def lookup(self, entry: SwpEntry | int) -> SlotInfo:
        """Returns ``kind`` (``null``, ``shadow``, ``folio``, ``bad``, ``pointer``), ``count``, ``zero``, ``word`` and
        ``pfn`` (None unless cached) of one slot, a snapshot; of a ``pointer`` also its ``owner`` (the virtual slot) and
        ``cache_only``, of a slot of a virtual device also ``backing``. Errors: ENOENT no such device, EINVAL beyond it."""
    def backing(self, entry: SwpEntry | int, nr: int = 1) -> BackingInfo:
        """Returns where the page of a slot is: ``type`` (``none``, ``zero``, ``zswap``, ``swapfile``, ``folio``: in memory and
        nowhere else), ``entry`` (the slot of a ``swapfile``, else None) and ``nr_pages``, the number of slots from this slot on,
        at most ``nr`` in its cluster, whose pages are at the same place, on a device in one run. Errors: as `lookup`. Kernel:
        `vswap_check_backing`."""
    def folio_realloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives the virtual slots of a cached folio a run of slots of another device, dirties the folio, and returns the run.
        Errors: `SwapFullError` no run; `MemoryError` the swap charge was refused; EBUSY; EINVAL not cached. Kernel: the same."""
    def move_backing(self, entry: SwpEntry | int, device: SwapDevice, *, cpu: int | None = None) -> str:
        """Moves the page behind a virtual slot, with the other pages of its folio, to another device. Returns ``done``, ``freed`` (the
        slot has no reference any more), ``skipped`` (busy, or not on a device) or ``no_room``. Errors: `SwapIOError`, and the
        page is where it was; `MemoryError`; ENOENT no such device, or ``device`` is off; EINVAL an entry beyond its device, or
        ``device`` is a ghost, because a ghost has no place for pages. Kernel: none."""
    def lookup_many(self, entries: SwapBatch | Buffer) -> bytes:
        """Returns the raw 64-bit table words of many entries (uint64, native order, for ``np.frombuffer``)."""
    def swap_count(self, entry: SwpEntry | int) -> int:
        """Returns the reference count of one slot, extend table included."""
    def folio(
        self,
        order: int = 0,
        data: Buffer | None = None,
        *,
        memcg: MemCgroup | None = None,
        cpu: int | None = None,
    ) -> Folio:
        """Makes a folio with ``data`` and zeros behind it, charged to ``memcg`` (None: root): dirty, up to date, unlocked,
        not mapped, not cached. Errors: `MemoryError` no memory of that order, or the charge was refused; EINVAL more data
        than pages. Kernel: an anonymous fault."""
    @property
    def memory_pages(self) -> int:
        """Pages that folios may have together."""
    @property
    def nr_used_pages(self) -> int:
        """Pages that folios have now."""
    @property
    def page_cluster(self) -> int:
        """log2 of the largest readahead window in pages, 0..=31; settable. Kernel: ``vm.page-cluster``."""
    @page_cluster.setter
    def page_cluster(self, page_cluster: int) -> None: ...
    def swap_out(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Swaps a folio out: allocates slots, unmaps, checks for zeros, writes, and frees the memory. Returns the entry, on which
        the caller has one reference for each slot (give it back with `swap_in` or `free`).

        A folio without a mapping counts as mapped once, by its handle. After an error the folio is resident and no data is
        lost. Errors: `SwapFullError` (ENOSPC) no run of the folio's order (`folio_split` helps); `SwapBusyError` (EBUSY) another
        handle, mapping or view holds the folio, or the folio is locked; `SwapIOError` the write failed; `EntryGoneError` the
        folio is swapped out.
        Detaches from the interpreter. Kernel: `shrink_folio_list` of one folio."""
    def swap_in(
        self,
        entry: SwpEntry | int,
        nr: int | None = None,
        *,
        orders: int | None = None,
        cpu: int | None = None,
        memcg: MemCgroup | None = None,
    ) -> Folio:
        """Swaps in the pages of ``nr`` slots (default: the entry's run), takes one reference from each slot, and maps the folio.

        ``orders`` is a mask of folio orders to try, bit k for order k (default: the entry's order); order 0 is always
        tried last. The folio may be smaller than requested: its ``entry`` and ``nr_pages`` tell the slots that it covers, and the
        references of the other slots stay with the caller (see `swap_in_batch`). A folio that was in the swap cache already
        keeps its size. Errors: `EntryGoneError` (ENOENT) a slot has no reference; `MemoryError`; `SwapIOError` the read
        failed, nothing changed, try again. ``memcg`` is the group whose task faults (None: root). Detaches. Kernel:
        `swapin_entry`, `do_swap_page`."""
    def swap_out_batch(self, folios: Sequence[Folio], *, cpu: int | None = None) -> list[SwpEntry]:
        """Swaps many folios out in one detached call. At the first failure it raises that error as `swap_out` does, with
        the index in its message; the folios before it are swapped out (their ``entry`` is the slot). The call checks for signals
        on the way."""
    def swap_in_batch(
        self,
        entries: SwapBatch | Buffer | Sequence[SwpEntry],
        *,
        order: int = 0,
        orders: int | None = None,
        cpu: int | None = None,
        memcg: MemCgroup | None = None,
    ) -> list[Folio]:
        """Swaps every run of every entry in, in order, in as few folios as possible (``order`` is for buffers of bare
        words). At a failure, or when a signal handler raises, the call raises that error, whose ``folios`` attribute holds the
        folios that are swapped in."""
    def folio_split(self, folio: Folio, order: int = 0, *, cpu: int | None = None) -> list[Folio]:
        """Splits a folio into folios of a smaller order with the folio's mapping and caching, and empties the handle. Errors:
        EINVAL order not smaller; EBUSY another handle or view holds it. Kernel: `split_folio_to_order`."""
    def folio_migrate(self, folio: Folio, *, cpu: int | None = None) -> Folio:
        """Moves a folio's content to other memory and empties the handle. Errors: `MemoryError`; EBUSY.
        Kernel: `migrate_folio`."""
    def shrink_swap_cache(self, nr_pages: int | None = None, *, cpu: int | None = None) -> int:
        """Drops folios that only the swap cache holds, until ``nr_pages`` pages are free or all (None) were visited; returns the
        number of pages freed. A clean folio leaves its slots as they are, a folio whose slots have no reference frees them, a dirty folio
        stays. Swap-in and `folio` do it by themselves when memory has run out. Kernel: `shrink_folio_list`."""
    def swap_cluster_readahead(self, entry: SwpEntry | int, *, cpu: int | None = None) -> Folio | None:
        """Reads the aligned block of slots around one into the swap cache and returns its folio, unmapped; None when the
        slot is free or there is no memory. Kernel: `swap_cluster_readahead`."""
    def zero_batch(self, entry: SwpEntry | int, nr_max: int) -> tuple[bool, int]:
        """Returns the zero mark of a slot and the number of slots from it on, at most ``nr_max`` in its cluster, with that mark.
        Kernel: `swap_zeromap_batch`."""
    def folio_alloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives a folio slots, charges the slots and dirties the folio: entries hold the folio with count 0. Errors: ENOSPC no
        room; EEXIST already cached; `MemoryError` the charge was refused."""
    def folio_dup_swap(self, folio: Folio, page: int | None = None) -> None:
        """Adds one reference to all slots of a cached folio, or to the slot of one page. Errors: EINVAL not cached here."""
    def folio_put_swap(self, folio: Folio, page: int | None = None) -> None:
        """Takes one reference from all slots of a cached folio, or from the slot of one page, and frees no slot. Errors: ENOENT a
        count is 0."""
    def swap_cache_add_folio(self, folio: Folio, entry: SwpEntry | int) -> None:
        """Puts an uncached folio over swapped-out slots (swap-in). Errors: EEXIST the slot is cached; ENOENT the slot is
        free; EBUSY another slot of the range is unsuitable; EINVAL misaligned or folio already cached."""
    def swap_cache_del_folio(self, folio: Folio, *, cpu: int | None = None) -> None:
        """Takes a folio out of the cache; slots without references are freed. Errors: EINVAL not cached; EBUSY locked,
        under writeback, or dirty with references to its slots."""
    def folio_free_swap(self, folio: Folio, *, cpu: int | None = None) -> bool:
        """Frees the slots of a cached folio unless a slot has references or the folio is under writeback; returns whether the
        slots were freed. Errors:
        EBUSY locked; EINVAL cached by another subsystem."""
    def folio_at(self, entry: SwpEntry | int) -> Folio | None:
        """Returns the folio that caches a slot, or None."""
    def alloc_hibernation(self, device: SwapDevice, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one slot of one device for a hibernation image (empty shadow, count 1). Errors: ENOSPC."""
    def free_hibernation(self, entry: SwpEntry | int, *, cpu: int | None = None) -> None:
        """Gives a hibernation slot back. Errors: ENOENT the slot is no hibernation slot."""
    def mm(self, memcg: MemCgroup | None = None) -> Mm:
        """Makes an empty address space of a task in ``memcg`` (None: root). The group cannot be removed meanwhile. Errors: ENODEV
        removed. Kernel: `mm_alloc`."""
    @property
    def memcg(self) -> MemCgroup:
        """The root of the memory cgroups. Errors: EINVAL memcg is disabled."""
    @property
    def swappiness(self) -> int:
        """Weight of anonymous pages in reclaim, 0..=200; settable; on v1 the root group's. Kernel: ``vm.swappiness``."""
    @swappiness.setter
    def swappiness(self, swappiness: int) -> None: ...
    def set_memcg_policy(self, policy: object | None) -> None:
        """Sets the object whose hooks are called (see `swapcore.policy.MemcgPolicy`) and replaces the earlier object; None
        removes it. The call that led to a hook finishes and then raises the hook's exception (`swap_in` with the folio in the
        exception's ``folios``). Hooks that refer to the subsystem keep it alive until they are removed."""
    def slot_owner(self, entry: SwpEntry | int) -> int:
        """Returns the private id of the group that is charged for a slot, 0 for none. A slot that a folio caches has an id only if
        the owner store keeps the id beside the entry."""
    def swap_ages(self, group: MemCgroup) -> bytes:
        """Returns, for each slot of a group that is swapped out, the pages evicted or activated since its eviction (uint64,
        native order, for ``np.frombuffer``)."""
    def record_events(self, capacity: int) -> None:
        """Keeps the last ``capacity`` records of each CPU from now on, and drops earlier records; 0 keeps none."""
    def take_events(self) -> EventColumns:
        """Takes the records of all CPUs, by time, as columns for ``np.frombuffer`` (native byte order): ``time_ns`` u8
        (monotonic clock), ``entry`` u8 (0 for none), ``kind`` u1 (place in the list ``kinds``), ``order`` u1, ``cpu`` u2,
        ``errno`` i4 (0 but for failures); and ``nr_lost``, the number of records that newer records overwrote.

        Kinds: ``swap_out`` written, ``swap_out_zero`` marked as zeros, ``swap_out_fallback`` no run for a large folio,
        ``write_error``, ``swap_in`` read, ``swap_in_zero``, ``swap_in_fallback`` a large order given up, ``read_error``,
        ``readahead_hit`` a page read ahead was wanted, ``evict`` a folio left memory. Kernel: tracepoints."""
    def run_workers(self) -> int:
        """Runs queued reclaim_work and discard_work of all devices; returns the slots and clusters they released."""
    def check(self) -> None:
        """Proves every invariant with all CPUs stopped; raises `InvariantError` naming the first broken one."""
    def stats(self) -> dict[str, int]:
        """Returns counters under kernel names where the kernel has one (``thp_swpout_fallback``,
        ``hugepages-64kB.swpout_fallback``, ...)."""
    def memory(self) -> SubsystemMemory:
        """Returns exact byte counts of the whole subsystem: `SwapDevice.memory` summed, plus ``percpu_bytes`` and
        ``folio_header_bytes`` (64 for each page of memory that a folio ever had), ``memcg_bytes`` (groups and the map of ids),
        ``zswap_entry_bytes`` and ``zswap_map_bytes`` (the map that finds entries of slots that have no virtual word)."""
    def dump(self) -> SubsystemState:
        """Returns the state that decides placement. ``devices``: a list of ``{"type", "prio", "inuse_pages", "free",
        "nonfull", "frag", "full", "discard", "next"}`` where ``free``/``full``/``discard`` are lists of cluster indexes
        head first, ``nonfull``/``frag`` dicts from order to such a list (empty ones left out) and ``next`` the rotating
        device's positions by order. ``hints``: by CPU ``{order: (type, offset)}``.
        ``virtual_hints``: the same into virtual devices, by CPU ``{order: (type, offset)}``. ``avail``: types in the order tried."""

@final
class ZswapHandle:
    """Compressed memory in front of all devices, `Swap.zswap`; its parameters can be set. Kernel: `mm/zswap.c`, its module
    parameters and debugfs files."""

    enabled: bool
    """zswap takes new pages. A stored page stays until it is read, freed or written back, also after zswap is turned off."""
    compressor: str
    """The compressor of pages stored from now on: ``lz4``, or ``zstd`` where the build has it. Stored pages stay in the pool of
    the compressor before."""
    max_pool_percent: int
    """Largest part of ``Swap(memory_pages=...)`` for compressed pages, in percent, 0 to 100."""
    accept_threshold_percent: int
    """Part of that largest part, in percent, 0 to 100. Full pools take no page until they have shrunk to this size."""
    shrinker_enabled: bool
    """Writes cold pages back when memory runs out, before the pools are full."""
    def stats(self) -> dict[str, int]:
        """Returns every counter by its kernel name; ``pool_total_size`` is bytes, the others count pages or events."""
    def pools(self) -> list[PoolInfo]:
        """Returns ``compressor``, ``stored_pages``, ``pool_bytes`` and ``compressed_bytes`` (of the data in it) of each pool. The
        pool for new pages comes first."""
    def set_faults(
        self,
        *,
        entry_alloc: float = 0.0,
        pool_alloc: float = 0.0,
        compress: float = 0.0,
        decompress: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Replaces the failures to inject, each with a probability; a call without arguments injects none. Equal seeds and
        equal calls give equal failures. Errors: EINVAL."""
    def writeback(self, entry: SwpEntry | int, *, cpu: int | None = None) -> None:
        """Writes the page of one slot to a device and drops the page from zswap. Errors: EEXIST the slot is cached; ENOENT the
        page is not in zswap; `MemoryError` no memory, or no slot of a device behind the ghost; EINVAL a ghost without a table;
        `SwapIOError`. Kernel: `zswap_writeback_entry`."""
    def shrink(self, memcg: MemCgroup | None = None, *, cpu: int | None = None) -> int:
        """Writes up to 32 of a group's coldest pages (None: root's) to devices; returns the number of pages written. Errors:
        EAGAIN no page could be written; ENOENT the group has no page, or none that may be written. Kernel: `shrink_memcg`."""
    def shrink_worker(self, *, cpu: int | None = None) -> int:
        """Writes pages of all groups in turn to devices until the pools are down to the threshold; returns the number of pages.
        Kernel: `shrink_worker`."""

def parse_swap_header(page: Buffer) -> SwapHeader:
    """Reads a SWAPSPACE2 header page: ``version``, ``last_page``, ``bad_pages``, ``uuid`` (bytes), ``label``.

    Errors: EINVAL no signature, bad version, last_page 0, more than 637 bad pages. Either byte order is read."""

def build_swap_header(
    last_page: int, bad_pages: Sequence[int] = ..., uuid: bytes = ..., label: str = ...
) -> bytes:
    """Builds the 4096-byte SWAPSPACE2 header page that `mkswap` writes."""
