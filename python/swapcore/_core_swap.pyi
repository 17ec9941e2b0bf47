"""The subsystem of the Rust core. At run time the class is in `_core`."""

from collections.abc import Callable, Sequence
from typing import Literal, final

from typing_extensions import Buffer

from ._core_devices import Geometry, HasStorage, Storage, SwapDevice, ZswapHandle, ZswapOptions
from ._core_entries import SwapBatch, SwpEntry
from ._core_memcg import MemCgroup
from ._core_memory import Folio, FolioLock, Mm, Shmem
from ._core_results import BackingInfo, EventColumns, ResizeReport, SlotInfo, SwapDump, SwapMemory

@final
class Swap:
    """One machine's swap subsystem: devices, priorities, per-CPU hints, folios, memory cgroups and counters.

    ``profile`` is the kernel whose choices apply: ``v618``, ``p3``, ``series`` or ``newest``; ``switches``
    overrides single choices, by name and word as in the property `switches`. ``workers`` is ``inline``
    (reclaim_work and discard_work run right after the operation that queued them) or ``manual`` (only
    `run_workers` runs reclaim_work and discard_work). ``memory_pages``, 512 to 2**31, is the number of pages
    that all folios may have together; a page takes memory when it is written. ``workingset`` is ``classic``
    (active and inactive lists) or ``mglru`` (generations). ``memcg``, of the memory cgroups, is ``v2``,
    ``v1`` or ``disabled``. ``zswap`` is the name of a compressor, a `swapcore.Zswap`, or None; with None,
    zswap is off until `ZswapHandle.enabled` is set. ``virtual`` turns on a hidden ghost with a virtual table,
    in front of all devices that come later; the value is its size, a text with a unit or a number of bytes,
    or True for 2**32 - 1 slots, as many as a device can have. ``writeback`` is ``sync`` (a write to a device is
    over when the call returns) or ``queued`` (a write to a device that is not as fast as memory is over when
    `complete_writeback` ends it; until then its folio is in the swap cache under writeback) or ``thread`` (as
    ``queued``, and a thread of the subsystem ends the writes as soon as it can).

    ``with Swap() as swap`` removes the hooks at its end and turns each device off that no slot in use keeps
    on; the other devices stay on without an error, because only the holder of a slot can read its page back.
    All of them go with the last object of the subsystem.

    ``cpu`` arguments name the CPU whose hints (the slots at which its next searches start) and local lock a
    call uses; None means the calling thread's
    number modulo ``nr_cpus``. Errors of the constructor: EINVAL, a value is out of range, an unknown word, or
    switches that exclude each other."""

    def __new__(
        cls, *, nr_cpus: int = 1, profile: str = "newest", workers: str = "inline",
        switches: dict[str, str] | None = None, memory_pages: int = 4194304, workingset: str = "classic",
        memcg: str = "v2", zswap: str | ZswapOptions | None = None, virtual: bool | str | int | None = None,
        writeback: str = "sync"
    ) -> Swap: ...
    def __enter__(self) -> Swap: ...
    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...
    @property
    def nr_cpus(self) -> int:
        """Number of CPUs of the subsystem."""
    @property
    def profile(self) -> Literal["v618", "p3", "series", "newest"]:
        """The profile given to the constructor."""
    @property
    def switches(self) -> dict[str, str]:
        """The word of every switch, by name; docs/kernel-map.md and docs/memcg.md say what each word does.

        Allocator: ``default_priority`` (``minus_one``, ``descending``), ``rule_u`` (``leave``, ``relocate``),
        ``sync_discard`` (``avail``, ``active``), ``free_order`` (``ascending``, ``columns``),
        ``first_search`` (``nonfull``, ``free``), ``hibernation`` (``hint``, ``search``), ``swapin_check``
        (``zero_first``, ``target_first``), ``zswap_large_swapin`` (``unless_stored``, ``never``),
        ``sync_swapin`` (``always``, ``unshared``),
        ``zswap_shrink_scan`` (``batch``, ``one``), ``zswap_written`` (``dropped``, ``cached``),
        ``never_mapped_dirty`` (``written``, ``kept``).

        Tasks: ``oom`` (``fail``, ``kill``): a fault of an `Mm` that gets no memory raises `MemoryError`, or the
        OOM killer ends the task with the most pages and the fault is repeated; if the killer ends the task of the
        fault, the fault raises `MemoryError`, and later calls raise `TaskKilledError`.

        Ghosts: ``ghost_cluster0`` (``listed``, ``unlisted``), ``ghost_large_orders`` (``allowed``,
        ``refused``).

        Lists: ``lru_add_batch`` (``on``, ``off``).

        Memory cgroups: ``owner_store`` (``shadow``, ``array``, ``cluster_table``, ``trampoline``),
        ``dead_swapin`` (``default``, ``reparent``, ``fault_mm``, ``reparent_if_shared``), ``shared_count`` (2
        to 15), ``refault_level`` (``default``, ``owner``, ``reclaim_root``), ``idonly_refault`` (``skip``,
        ``count``), ``memcg_stat`` (``exact``, ``flushed``), ``rfc_literal``, ``lru_reparent``,
        ``memcg_stock``, ``memory_recursiveprot`` and ``memory_localevents`` (``on``, ``off``)."""

    # Devices.

    @property
    def devices(self) -> list[SwapDevice]:
        """The devices that are on: first the avail list, in the order in which the allocator tries devices,
        then full devices by type."""
    @property
    def nr_swap_pages(self) -> int:
        """Number of free slots of all enabled devices, below `SwapDevice.limit_pages`. Kernel:
        `nr_swap_pages`."""
    @property
    def total_swap_pages(self) -> int:
        """Number of usable slots of all enabled devices. Kernel: `total_swap_pages`."""
    @property
    def vm_swap_full(self) -> bool:
        """True if less than half of all slots are free; slots of virtual ghosts do not count. Kernel:
        `vm_swap_full`."""
    @property
    def nr_real_swapfiles(self) -> int:
        """Number of devices that have room and a place for pages; if the number is 0, zswap writes no page
        back."""
    @property
    def zswap(self) -> ZswapHandle:
        """The compressed memory in front of the devices."""
    def swapon(
        self, storage: Storage | HasStorage | Geometry, *, priority: int | None = None, discard: str | None =
        None
    ) -> SwapDevice:
        """Turns a device on and returns it. Kernel: `swapon`.

        ``storage`` is a `Storage`, or a `swapcore.Ram`, `Zram`, `File`, `Ghost`, `Faulty` or `Null`.
        ``priority`` is 0 to 32767; None takes the profile's default rule. ``discard`` is None, ``once``,
        ``pages`` or ``both``. ``with swap.swapon(...) as device`` turns the device off at its end, see
        `SwapDevice`.

        Errors: EINVAL, bad size, list of bad pages, priority or word; `SwapBusyError` (EBUSY), the storage is
        on already; `TooManySwapfilesError` (EPERM), all types are in use; `MemoryError`. Releases the GIL.
        Locks: the lock of the device list, then each CPU's local lock in turn."""
    def swapoff(self, device: SwapDevice, unuse: Callable[[SwpEntry, int], None] | None = None) -> None:
        """Turns a device off. Kernel: `swapoff`, `try_to_unuse`; differs: ``unuse`` stands for the walk over
        page tables.

        ``unuse(entry, count)`` runs for every slot with references and must give back all ``count``
        references: with `swap_in`, with `put`, or for an address space with ``lambda entry, count:
        mm.unuse(device)``. Up to 16 rounds call ``unuse`` again for slots that are still in use. No lock is
        held while ``unuse`` runs. Without ``unuse``, references to slots of a device without data
        (`swapcore.Null`) are dropped, and references to slots with data are an error. With and without
        ``unuse``, pages of virtual slots are read back into memory.

        Errors, after which the device is on again: `SwapBusyError` (EBUSY), slots stay in use, or hibernation
        slots pin the device; the exception of ``unuse``. Another error: `EntryGoneError` (ENOENT), the device
        is off already. Releases the GIL."""
    def resize(
        self, device: SwapDevice, size: str | int | None = None, *, pages: int | None = None
    ) -> ResizeReport:
        """Gives a ghost another size in whole clusters. Kernel: none.

        The caller passes ``size``, a text with a unit or a number of bytes, or ``pages``, a number of slots.

        A device grows at once. A device shrinks once all slots above the new size are free; until then
        ``limit_pages`` keeps allocation below the new size. Errors: EINVAL, bad size, or the device is no
        ghost; EBUSY, a swapoff of the device is under way; ENOENT. Releases the GIL. Locks: the lock of the
        device list, and every CPU's local lock at once."""
    def alloc_hibernation(self, device: SwapDevice, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one slot of one device for a hibernation image; the slot's table entry is an empty shadow
        with count 1.

        Errors: `SwapFullError` (ENOSPC); EINVAL, the device is a ghost, which keeps no pages; ENOENT. Kernel:
        `swap_alloc_hibernation_slot`."""
    def free_hibernation(self, entry: SwpEntry | int, *, cpu: int | None = None) -> None:
        """Gives a hibernation slot back; if a folio caches the slot, the slot stays in use until the folio
        leaves the cache.

        Errors: `EntryGoneError` (ENOENT), the slot is not a hibernation slot; EINVAL. Kernel:
        `swap_free_hibernation_slot`."""
    def run_workers(self) -> int:
        """Runs the queued reclaim_work and discard_work of all devices; returns the number of released slots
        and clusters.

        Releases the GIL."""

    @property
    def nr_queued_writes(self) -> int:
        """Number of queued writes that are not over; 0 with ``writeback="sync"``. Kernel: ``nr_writeback``; differs:
        folios, not pages."""
    def complete_writeback(self, nr: int | None = None, *, cpu: int | None = None) -> int:
        """Ends the ``nr`` oldest queued writes (None: all), each after its data is on the device; returns the number
        of writes that ended.

        A folio whose write failed is dirty again and stays in the swap cache; ``write_errors`` of `stats` counts the
        failure. Reclaim that needs a folio under writeback, a swapoff, and a swap-out of the folio end the writes up
        to that folio themselves.
        Errors: EINVAL, a number is out of range. Releases the GIL. Kernel: `end_swap_bio_write`; differs: writes end
        in their order."""

    # Slots.

    def alloc(self, order: int = 0, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one aligned run of ``1 << order`` slots in the state after a swap-out: count 1, not
        cached.

        Errors: `SwapFullError` (ENOSPC), no run of that order; EINVAL, bad order or CPU. Kernel:
        `folio_alloc_swap` followed by unmap and removal from the cache."""
    def alloc_batch(self, nr: int, order: int = 0, *, cpu: int | None = None) -> SwapBatch:
        """Hands out up to ``nr`` runs in one call, the same runs as ``nr`` calls of `alloc`.

        The first failure ends the call, so the batch may be short. A batch of 16,384 slots or more releases
        the GIL; if a signal handler raises during the call, all runs are given back. Errors: EINVAL, bad
        order or CPU."""
    def free(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Drops one reference of each of ``nr`` slots (None: the entry's whole run) and frees the slots
        whose count is 0 then.

        Errors, after which nothing has changed: `EntryGoneError` (ENOENT), a slot is free, or there is no
        such device; EINVAL, a slot is bad or beyond its device. Kernel: `swap_put_entries_direct`."""
    def put(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Does the same as `free`; the kernel's word for this operation is "put"."""
    def free_batch(self, batch: SwapBatch | Buffer, order: int = 0, *, cpu: int | None = None) -> None:
        """Frees every run of a batch, or of any C-contiguous uint64 buffer of entries; the runs of a buffer
        have ``order``.

        Errors, after which nothing has changed: EINVAL, an entry is beyond its device; ENOENT, an entry names
        no device. Another error: `EntryGoneError` (ENOENT), a slot is free; then the runs before this slot
        are freed, and the message has the number of the freed runs. A batch of 16,384 slots or more
        releases the GIL."""
    def put_batch(self, batch: SwapBatch | Buffer, order: int = 0, *, cpu: int | None = None) -> None:
        """Does the same as `free_batch`; the kernel's word for this operation is "put"."""
    def dup(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Adds one reference to each of ``nr`` slots (None: the entry's whole run).

        Errors, after which nothing has changed: `EntryGoneError` (ENOENT), a slot has no reference; EINVAL, a
        slot is bad or beyond its device; `RefOverflowError` (EOVERFLOW). Kernel: `swap_dup_entry_direct`."""
    def dup_batch(self, batch: SwapBatch | Buffer, order: int = 0, *, cpu: int | None = None) -> None:
        """Adds one reference to every slot of every run.

        Errors: the errors of `dup`, after which the runs before the failing run keep their new references. A
        batch of 16,384 slots or more releases the GIL."""
    def lookup(self, entry: SwpEntry | int, *, cpu: int | None = None) -> SlotInfo:
        """Returns a snapshot of the state of one slot. Kernel: `swap_table_get`, `swap_swapcount`.

        Errors: ENOENT, no such device; EINVAL, the slot is beyond its device."""
    def lookup_many(self, entries: SwapBatch | Buffer, *, cpu: int | None = None) -> memoryview[int]:
        """Returns the raw 64-bit table words of many entries, a read-only buffer of uint64.

        ``np.asarray(words)`` is a view without a copy.

        Errors: the errors of `lookup`. A call with 16,384 entries or more releases the GIL."""
    def swap_count(self, entry: SwpEntry | int, *, cpu: int | None = None) -> int:
        """Returns the number of references to one slot, with the part in the extend table. Errors: the errors
        of `lookup`. Kernel: `swap_swapcount`."""
    def zero_batch(
        self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None
    ) -> tuple[bool, int]:
        """Returns the zero mark of a slot, and the number of consecutive slots with the same mark.

        The count starts with this slot, is at most ``nr`` (None: the entry's run), and ends at the end of the
        slot's cluster.

        The slots of a cluster that was never used have no mark. Errors: ENOENT, no such device; EINVAL.
        Kernel: `swap_zeromap_batch`."""
    def backing(
        self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None
    ) -> BackingInfo:
        """Returns the place of the page of a slot, and the number of consecutive slots whose pages are in the
        same kind of place.

        The count starts with this slot, is at most ``nr`` (None: the entry's run), and ends at the end of the
        slot's cluster. On a device that is not virtual, the place of a page is the page's own slot. The
        answer can be outdated at once, unless the caller keeps the folio that caches the slot locked. Errors:
        the errors of `lookup`. Kernel: `vswap_check_backing`."""
    def folio_realloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives the virtual slots of a cached folio a run of slots on another device and returns the run.

        The folio becomes dirty. If the virtual slots already have a run on another device, the run stays.

        Errors: `SwapFullError` (ENOSPC), no run of the folio's order; `MemoryError`, the swap charge was
        refused; `SwapBusyError` (EBUSY), the folio is locked, under writeback or not read; EINVAL, the folio
        is not cached. Releases the GIL. Kernel: `folio_realloc_swap`."""
    def move_backing(
        self, entry: SwpEntry | int, device: SwapDevice, *, cpu: int | None = None
    ) -> Literal["done", "in_place", "freed", "skipped", "no_room"]:
        """Moves the page of a virtual slot, with the other pages of its folio, to another real device.

        Returns ``done``; ``in_place``, the page is on ``device`` already; ``freed``, the virtual slot is
        free; ``skipped``, the folio is locked or under writeback, or the page is on no real device; or
        ``no_room``, ``device`` has no run. Except after ``done``, the page stays in its old place. Errors:
        EINVAL, ``device`` is a ghost or of another subsystem, or the slot is beyond its device; ENOENT,
        ``device`` is off, or the entry names no device; `SwapIOError`, read or write failed; `MemoryError`.
        Releases the GIL. Kernel: none."""

    # Folios.

    @property
    def memory_pages(self) -> int:
        """Number of pages that all folios may have together."""
    @property
    def nr_used_pages(self) -> int:
        """Number of pages that all folios have together now."""
    def folio(
        self, order: int = 0, data: Buffer | None = None, *, memcg: MemCgroup | None = None,
        cpu: int | None = None
    ) -> Folio:
        """Makes a folio that holds ``data`` followed by zeros, and charges it to ``memcg`` (None: root).

        The folio is dirty, up to date, unlocked, not mapped and not cached. Errors: `MemoryError`, no memory
        of that order, or the charge was refused; EINVAL, bad order, or more data than pages. Releases the
        GIL. Kernel: an anonymous fault."""
    def swap_out(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Swaps a folio out and returns its entry: the call allocates slots, unmaps the folio, looks for
        zeros, writes the data, and frees the memory.

        The caller gets one reference to each slot, which `swap_in` or `free` gives back. A folio without
        mappings counts as mapped once, by its handle. Errors, after which the folio is in memory with all its
        data: `SwapFullError` (ENOSPC), no run of its order (`folio_split` helps); `MemoryError`, the charge
        was refused; `SwapBusyError` (EBUSY), another handle, mapping or view holds the folio, or the folio is
        locked; `SwapIOError`, the write failed; `EntryGoneError` (ENOENT), the handle is empty. If a hook
        raises and the swap-out is done, the exception's ``entry`` is the entry. Releases the GIL, and waits
        for the folio lock. Kernel: `shrink_folio_list` of one folio."""
    def swap_in(
        self, entry: SwpEntry | int, nr: int | None = None, *, orders: int | None = None,
        memcg: MemCgroup | None = None, cpu: int | None = None
    ) -> Folio:
        """Swaps in the pages of ``nr`` slots (None: the entry's run), drops one reference of each slot, and
        maps the folio.

        ``orders`` is a mask of folio orders to try, bit k for order k; order 0 is always tried last. None
        tries the entry's order if the slots are on a device as fast as memory, and order 0 on other devices,
        as a page fault does. The folio can be smaller than the request: its ``entry`` and ``nr_pages`` say
        which slots it covers, and the caller keeps the references to the other slots (`swap_in_batch` reads
        all slots). If a folio in the swap cache covers the slot, the call returns this folio with its own
        size. ``memcg`` is the group of the task that faults (None: root).

        Errors: `EntryGoneError` (ENOENT), a slot has no reference; `MemoryError`, no memory, or the charge
        was refused; `SwapIOError`, the read failed, nothing has changed, and the call may be repeated;
        EINVAL. If a hook raises, the exception's ``folios`` holds the folio. Releases the GIL. Kernel:
        `swapin_entry`, `do_swap_page`."""
    def swap_out_batch(self, folios: Sequence[Folio], *, cpu: int | None = None) -> list[SwpEntry]:
        """Swaps many folios out in one call and returns their entries.

        The first failure raises the error of `swap_out`, with the index of the folio in the message. The
        folios before the failing folio are swapped out, and `Folio.entry` of each folio is its first slot.
        Releases the GIL, and looks for signals between folios."""
    def swap_in_batch(
        self, entries: SwapBatch | Buffer | Sequence[SwpEntry], order: int = 0, *, orders: int | None = None,
        memcg: MemCgroup | None = None, cpu: int | None = None
    ) -> list[Folio]:
        """Swaps in every run of ``entries``, in order, in as few folios as possible; ``order`` is the order
        of the runs in a buffer.

        After a failure, or if a signal handler raises, the exception's ``folios`` holds the folios that are
        swapped in. The errors and the other arguments are those of `swap_in`. Releases the GIL, and looks for
        signals between runs."""
    def locked(self, folio: Folio) -> FolioLock:
        """Returns the lock of a folio for a ``with`` block: ``with swap.locked(folio):``.

        The block begins with the lock taken and its end releases the lock, see `FolioLock`. Errors: EINVAL,
        the folio is of another subsystem."""
    def folio_split(self, folio: Folio, order: int = 0, *, cpu: int | None = None) -> list[Folio]:
        """Splits a folio into folios of a smaller ``order``, mapped and cached as before; the old handle
        becomes empty.

        Errors, after which nothing has changed: EINVAL, ``order`` is not smaller, or the folio is of another
        subsystem; `SwapBusyError` (EBUSY), another handle, mapping or view holds the folio, or the folio is
        locked; `EntryGoneError` (ENOENT), the handle is empty. Releases the GIL. Kernel:
        `split_folio_to_order`."""
    def folio_migrate(self, folio: Folio, *, cpu: int | None = None) -> Folio:
        """Moves the content of a folio to other memory and returns the new handle; the old handle becomes
        empty.

        The allocation of the new folio may reclaim. If a hook raises, the exception's ``folios`` holds the
        new handle. Errors, after which nothing has changed: `MemoryError`; EINVAL, the folio is of another
        subsystem; `SwapBusyError` (EBUSY), another handle, mapping or view holds the folio, or the folio is
        locked; `EntryGoneError` (ENOENT), the handle is empty. Releases the GIL. Kernel: `migrate_pages` of
        one folio, `migrate_folio`."""

    # The swap cache, step by step.

    @property
    def nr_swapcache_pages(self) -> int:
        """Number of slots that are in the swap cache: the table entry of such a slot names a folio."""
    @property
    def page_cluster(self) -> int:
        """log2 of the largest readahead window in pages; settable. Errors of a set: EINVAL, not 0 to 31.
        Kernel: ``vm.page-cluster``."""
    @page_cluster.setter
    def page_cluster(self, page_cluster: int) -> None: ...
    @property
    def vma_ra_enabled(self) -> bool:
        """True if faults on devices that do not rotate read the neighbouring pages of the mapping ahead, False if
        they read the neighbouring slots; settable. Kernel: ``/sys/kernel/mm/swap/vma_ra_enabled``."""
    @vma_ra_enabled.setter
    def vma_ra_enabled(self, is_enabled: bool) -> None: ...
    def folio_alloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives a folio its slots, charges the slots and marks the folio dirty; the table entry of each slot
        names the folio and has count 0.

        Errors: `SwapFullError` (ENOSPC); `AlreadyCachedError` (EEXIST); `MemoryError`, the charge was
        refused; `SwapBusyError` (EBUSY), the folio is locked; EINVAL, the folio is of another subsystem.
        Releases the GIL. Kernel: `folio_alloc_swap`; differs: the call takes the folio lock itself."""
    def folio_dup_swap(self, folio: Folio, page: int | None = None, *, cpu: int | None = None) -> None:
        """Adds one reference to each slot of a cached folio, or to the slot of one page.

        Errors: EINVAL, the folio is not cached, or has no such page; `SwapBusyError` (EBUSY);
        `RefOverflowError` (EOVERFLOW). Kernel: `folio_dup_swap`; differs: the call takes the folio lock
        itself."""
    def folio_put_swap(self, folio: Folio, page: int | None = None, *, cpu: int | None = None) -> None:
        """Drops one reference of each slot of a cached folio, or of the slot of one page; frees no slot.

        Errors: `EntryGoneError` (ENOENT), a count is 0, and nothing has changed; EINVAL, the folio is not
        cached, or has no such page; `SwapBusyError` (EBUSY). Kernel: `folio_put_swap`; differs: the call
        takes the folio lock itself."""
    def swap_cache_add_folio(
        self, folio: Folio, entry: SwpEntry | int, *, cpu: int | None = None
    ) -> None:
        """Puts an uncached folio into the swap cache over swapped-out slots, as a swap-in does; the folio's
        data stays the same.

        Errors: `AlreadyCachedError` (EEXIST), the slot is cached; `EntryGoneError` (ENOENT), the slot is
        free; `SwapBusyError` (EBUSY), another slot of the range is unsuitable; EINVAL, the entry is
        misaligned, or the folio is cached. Kernel: `swap_cache_add_folio`."""
    def swap_cache_del_folio(self, folio: Folio, *, cpu: int | None = None) -> None:
        """Takes a folio out of the swap cache and frees its slots without references.

        Errors: EINVAL, the folio is not cached; `SwapBusyError` (EBUSY), the folio is locked, under
        writeback, or dirty with references to its slots. Kernel: `swap_cache_del_folio`; differs: the call
        takes the folio lock itself."""
    def folio_free_swap(self, folio: Folio, *, cpu: int | None = None) -> bool:
        """Frees the slots of a cached folio, unless a slot has references or the folio is under writeback;
        returns whether the slots are freed.

        Errors: `SwapBusyError` (EBUSY), the folio is locked; EINVAL, the folio is of another subsystem.
        Kernel: `folio_free_swap`."""
    def folio_at(self, entry: SwpEntry | int, *, cpu: int | None = None) -> Folio | None:
        """Returns an unmapped handle of the folio that caches a slot, or None if no folio caches the slot.

        Errors: the errors of `lookup`. Kernel: `swap_cache_get_folio`."""
    def swap_cluster_readahead(self, entry: SwpEntry | int, *, cpu: int | None = None) -> Folio | None:
        """Reads the aligned block of slots around a slot into the swap cache and returns an unmapped handle
        of the slot's folio; None if the slot is free.

        Errors: `SwapIOError`, the slot itself cannot be read; `SwapMemoryError` (ENOMEM), no memory for the
        slot itself; the errors of `lookup`. Releases the GIL. Kernel: `swap_cluster_readahead`; differs: an
        error instead of NULL."""
    def shrink_swap_cache(self, nr_pages: int | None = None, *, cpu: int | None = None) -> int:
        """Drops folios that only the swap cache holds, until it has freed ``nr_pages`` pages (None: all such
        folios); returns the number of freed pages.

        The slots of a dropped folio keep their references, and the slots without references are freed. A
        dirty folio stays. Swap-ins and `folio` drop folios in the same way when memory runs out. Releases the
        GIL. Locks: the call tries each folio lock and skips a locked folio. Kernel: `shrink_folio_list`."""

    # Memory cgroups.

    @property
    def memcg(self) -> MemCgroup:
        """The root of the tree of memory cgroups. Errors: EINVAL, memcg is disabled."""
    @property
    def root_file_pages(self) -> int:
        """Number of file pages of the machine that no folio of this subsystem has; settable; 0 at the start.

        No limit causes the evictions of a pageout that a user requests, so the refaults of these pages are
        judged at root: such a refault is recent, and the page becomes active, if the refault distance is at
        most the number of root's active anonymous pages plus this number. Kernel: ``active_file`` and
        ``inactive_file`` of root. Errors of a set: EINVAL, the number is out of range."""
    @root_file_pages.setter
    def root_file_pages(self, root_file_pages: int) -> None: ...
    @property
    def memcg_flush_updates(self) -> int:
        """Number of updates of statistics, in pages, after which the statistics are flushed without a call of
        `mem_cgroup_flush_stats`; settable; 0 for no such flush.

        The number has an effect with the switch ``memcg_stat=flushed`` only. It stands for the kernel's flush
        every 2 seconds. Errors: EINVAL, memcg is disabled, or a set is out of range."""
    @memcg_flush_updates.setter
    def memcg_flush_updates(self, memcg_flush_updates: int) -> None: ...
    def mem_cgroup_flush_stats(self) -> None:
        """Makes the present sizes of the lists the sizes that reclaim and refaults read with the switch
        ``memcg_stat=flushed``.

        A read of ``memory.stat`` does the same after more than 64 updates for each CPU. Errors: EINVAL, memcg
        is disabled. Kernel: `mem_cgroup_flush_stats`."""
    def lru_add_drain(self, *, cpu: int | None = None) -> None:
        """Makes the LRU lists count the new folios that are in the batch of a CPU.

        The call has an effect with the switch ``lru_add_batch`` only. Reclaim, pageout, `Mm.zap` and the end of
        an address space drain the batch of their CPU. Errors: EINVAL, bad CPU. Kernel: `lru_add_drain`."""
    @property
    def swappiness(self) -> int:
        """How readily anonymous pages are reclaimed, 0 to 200; settable; with v1 the value is the root
        group's. Errors: EINVAL, memcg is disabled, or a set is out of range. Kernel: ``vm.swappiness``."""
    @swappiness.setter
    def swappiness(self, swappiness: int) -> None: ...
    def mm(self, memcg: MemCgroup | None = None) -> Mm:
        """Makes an empty address space of a task in ``memcg`` (None: root); the group cannot be removed while
        the address space exists.

        Errors: ENODEV, the group is removed; EINVAL, the group is of another subsystem. Kernel:
        `mm_alloc`."""
    def shmem(self, nr_pages: int, order: int = 0) -> Shmem:
        """Makes a file in memory of ``nr_pages`` holes, 1 to 2**28, which tasks of several groups can share.

        ``order`` is the order of the folio that a first touch makes where such a folio fits in the file; 9
        stands for ``huge=within_size``, 0 for ``huge=never``. The entries of all pages exist from the start,
        16 bytes a page. Errors: EINVAL, a value is out of range; `MemoryError`, no memory for the entries.
        Kernel: `shmem_file_setup`, ``huge=`` of `tmpfs`."""
    @property
    def thp_defrag(self) -> Literal["always", "defer", "defer+madvise", "madvise", "never"]:
        """The mappings for whose large folios an allocation or a charge may reclaim memory; settable.

        ``always``: every mapping. ``defer+madvise``, ``madvise``: the mappings with ``is_hugepage`` of
        `Mm.mmap`. ``defer``, ``never``: no mapping. An allocation without reclaim falls back to a smaller folio.
        Errors of a set: EINVAL, an unknown word. Kernel: ``/sys/kernel/mm/transparent_hugepage/defrag``; differs:
        there is no kswapd to wake."""
    @thp_defrag.setter
    def thp_defrag(self, defrag: str) -> None: ...
    def set_memcg_policy(self, policy: object | None) -> None:
        """Replaces the hooks by the hooks of an object, see `swapcore.policy.MemcgPolicy`; None removes all
        hooks.

        A call that leads to a hook first finishes and then raises the hook's exception. Hooks that refer to
        the subsystem keep it alive until they are removed. Errors: TypeError, the object has no hook, or a
        method whose name starts with ``on_`` or ``choose_`` or has up to two wrong letters is no hook. Kernel:
        none."""
    def slot_owner(self, entry: SwpEntry | int) -> int:
        """Returns the private id of the group that is charged for a slot; 0 if no group is charged.

        A slot that a folio caches has an owner only if the switch ``owner_store`` keeps owners outside the
        table entries. Errors: the errors of `lookup`."""
    def swap_ages(self, *, memcg: MemCgroup | None = None) -> memoryview[int]:
        """Returns the age of each evicted slot of a group (None: root): the number of pages that were evicted
        or became active since the eviction.

        The ages are a read-only buffer of uint64 in no order; ``np.asarray(ages)`` is a view without a copy.
        With ``mglru`` all ages are 0. Errors: EINVAL. Releases the GIL. Kernel: the distance that
        `workingset_refault` would find."""

    # The state as numbers.

    def check(self) -> None:
        """Proves every invariant while no operation runs and all CPUs are stopped. Any thread may call it at
        any time.

        The call waits for the operations that run, and new operations wait for the call. Errors:
        `InvariantError`, which names the first broken invariant; `SwapBusyError` (EBUSY), inside an operation
        of the same thread, such as a hook. Releases the GIL."""
    def stats(self) -> dict[str, int]:
        """Returns every counter by name; a counter that the kernel has keeps the kernel's name.

        Slots: ``nr_swap_pages`` free, ``total_swap_pages`` usable, ``nr_swapcached`` in the swap cache,
        ``reclaimed_cached_pages`` taken back from the swap cache. Runs: ``alloc_runs`` handed out. Requests:
        ``alloc_failures_order0`` of order 0 that failed, ``slow_path_visits`` that took the slow path.
        Discards: ``discarded_clusters``, and ``discard_errors`` that failed.

        Pages: ``pswpin`` read from devices, ``pswpout`` written to devices; ``swpin_zero`` filled with zeros,
        ``swpout_zero`` marked as zeros; ``zswpin`` read from zswap, ``zswpout`` stored in zswap, ``zswpwb``
        written from zswap to a device; ``swpout_refused`` with a slot, but refused because no place takes the
        data; ``swap_ra`` read ahead, ``swap_ra_hit`` read ahead and used afterwards. Faults that had to
        allocate or read: ``pgmajfault``. Tasks that the OOM killer ended: ``oom_kill``. Large folios: ``thp_swpout`` swapped out whole,
        ``thp_swpout_fallback`` split. Failed calls of storages: ``read_errors``, ``write_errors``.

        Bytes: ``Zswap`` of the memory of zswap's pools, ``Zswapped`` of the pages in the pools.

        Reclaim, in pages: ``workingset_refault_anon``, ``workingset_activate_anon``,
        ``workingset_restore_anon``, ``pgscan``, ``pgsteal``, ``pgrefill``, ``pgactivate``, ``pgdeactivate``.
        The parts ``pgscan_proactive`` and ``pgsteal_proactive`` are those of ``memory.reclaim``, the parts
        ``pgscan_direct`` and ``pgsteal_direct`` the rest.

        Others: ``shadow_retries`` insertions repeated because a shadow changed; ``rfc_null_memcg`` null
        dereferences that the swap table series, phase IV, would have made as posted; ``swapoff_rmap_slots``
        slots that swapoffs freed through the reverse map, ``swapoff_ptes_visited`` page table entries that
        swapoffs visited.

        For each order above 0, with the directory of the mTHP counters in front, such as
        ``hugepages-64kB.swpout``, in folios: ``swpin``, ``swpin_fallback``, ``swpin_fallback_charge``,
        ``swpout``, ``swpout_fallback``, ``zswpout``, ``alloc_failures``; ``anon_fault_alloc`` and
        ``shmem_alloc`` made by a first touch of an address space and of a file, ``anon_fault_fallback`` and
        ``shmem_fallback`` for which a first touch used a smaller folio, the parts
        ``anon_fault_fallback_charge`` and ``shmem_fallback_charge`` of these because a charge was refused;
        ``split``, and ``split_failed`` because the folio had another user; ``split_deferred`` that became
        partially mapped. Of anonymous folios that exist: ``nr_anon``, and the part
        ``nr_anon_partially_mapped``."""
    def memory(self) -> SwapMemory:
        """Returns exact byte counts of the whole subsystem, including all its devices."""
    def dump(self) -> SwapDump:
        """Returns the state that decides where the allocator places the next run."""
    def record_events(self, capacity: int) -> None:
        """Starts to record events, and keeps the last ``capacity`` records of each CPU; 0 records no events.

        The call drops all earlier records.

        Errors: EINVAL, ``capacity`` is out of range."""
    def take_events(self) -> EventColumns:
        """Removes the event records of all CPUs, and returns the records sorted by time.

        ``np.asarray(column)`` is a view without a copy, and ``pd.DataFrame(swap.take_events())`` has one row
        for each record.

        Releases the GIL. Kernel: tracepoints."""
