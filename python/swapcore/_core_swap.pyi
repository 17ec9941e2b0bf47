"""The subsystem of the Rust core. At run time all of it is in `_core`."""

from collections.abc import Callable, Sequence
from typing import Literal, final

from typing_extensions import Buffer

from ._core_devices import Geometry, HasStorage, Storage, SwapDevice, ZswapHandle, ZswapOptions
from ._core_entries import SwapBatch, SwpEntry
from ._core_memcg import MemCgroup
from ._core_memory import Folio, Mm
from ._core_results import BackingInfo, EventColumns, ResizeReport, SlotInfo, SwapDump, SwapMemory

@final
class Swap:
    """One machine's swap subsystem: devices, priorities, per-CPU hints, folios, memory cgroups and counters.

    ``profile`` is the kernel whose choices apply: ``v618``, ``p3``, ``series`` or ``newest``; ``switches``
    overrides single choices, by name and word as in the property `switches`. ``workers`` is ``inline``
    (reclaim_work and discard_work run right after the operation that queued them) or ``manual`` (they run in
    `run_workers`). ``memory_pages``, 512 to 2**31, is the number of pages that folios may have together;
    memory is taken as it is written. ``workingset`` is ``classic`` (active and inactive lists) or ``mglru``
    (generations). ``memcg`` is ``v2``, ``v1`` or ``disabled``. ``zswap`` is the name of a compressor, a
    `swapcore.Zswap`, or None, which leaves zswap off until it is turned on.

    ``cpu`` arguments name the CPU whose hints and local lock a call uses; None is the number of the thread
    itself. Errors of the constructor: EINVAL, a value is out of range, an unknown word, or switches that
    exclude each other."""

    def __new__(
        cls, *, nr_cpus: int = 1, profile: str = "newest", workers: str = "inline",
        switches: dict[str, str] | None = None, memory_pages: int = 4194304, workingset: str = "classic",
        memcg: str = "v2", zswap: str | ZswapOptions | None = None
    ) -> Swap: ...
    @property
    def nr_cpus(self) -> int:
        """CPUs of the subsystem."""
    @property
    def profile(self) -> Literal["v618", "p3", "series", "newest"]:
        """The profile given to the constructor."""
    @property
    def switches(self) -> dict[str, str]:
        """The word of every switch, by name.

        Allocator: ``default_priority`` (``minus_one``, ``descending``), ``rule_u`` (``leave``, ``relocate``),
        ``sync_discard`` (``avail``, ``active``), ``free_order`` (``ascending``, ``columns``),
        ``first_search`` (``nonfull``, ``free``), ``hibernation`` (``hint``, ``search``), ``swapin_check``
        (``zero_first``, ``target_first``).

        Ghosts: ``ghost_cluster0`` (``listed``, ``unlisted``), ``ghost_large_orders`` (``allowed``,
        ``refused``).

        Memory cgroups: ``owner_store`` (``shadow``, ``array``, ``cluster_table``, ``trampoline``),
        ``dead_swapin`` (``default``, ``reparent``, ``fault_mm``, ``reparent_if_shared``), ``shared_count`` (2
        to 15), ``refault_level`` (``default``, ``owner``, ``reclaim_root``), ``idonly_refault`` (``skip``,
        ``count``), ``rfc_literal``, ``lru_reparent`` and ``memcg_stock`` (``on``, ``off``)."""

    # Devices.

    @property
    def devices(self) -> list[SwapDevice]:
        """The devices that are on, in the order in which they are tried: the avail list, then the full ones
        by type."""
    @property
    def nr_swap_pages(self) -> int:
        """Free slots of all enabled devices. Kernel: `nr_swap_pages`."""
    @property
    def total_swap_pages(self) -> int:
        """Usable slots of all enabled devices. Kernel: `total_swap_pages`."""
    @property
    def vm_swap_full(self) -> bool:
        """True when less than half of all slots are free; slots of virtual ghosts do not count. Kernel:
        `vm_swap_full`."""
    @property
    def nr_real_swapfiles(self) -> int:
        """Devices with room that have a place for pages; at 0 zswap writes nothing back."""
    @property
    def zswap(self) -> ZswapHandle:
        """The compressed memory in front of the devices."""
    def swapon(
        self, storage: Storage | HasStorage | Geometry, *, priority: int | None = None, discard: str | None = None
    ) -> SwapDevice:
        """Turns a device on and returns it. Kernel: `swapon`.

        ``storage`` is a `Storage`, or a `swapcore.Ram`, `Zram`, `File`, `Ghost`, `Faulty` or `Null`.
        ``priority`` is 0 to 32767; None takes the default rule of the profile. ``discard`` is None, ``once``,
        ``pages`` or ``both``.

        Errors: EINVAL, bad size, list of bad pages, priority or word; `SwapBusyError` (EBUSY), the storage is
        on already; `TooManySwapfilesError` (EPERM), all types are in use; `MemoryError`. Detaches. Locks: the
        list of devices, then each CPU's local lock in turn."""
    def swapoff(self, device: SwapDevice, unuse: Callable[[SwpEntry, int], None] | None = None) -> None:
        """Turns a device off. Kernel: `swapoff`, `try_to_unuse`; differs: ``unuse`` stands for the walk over
        page tables.

        ``unuse(entry, count)`` runs for every slot with references and must give all ``count`` of them back,
        with `swap_in`, `put`, or ``lambda entry, count: mm.unuse(device)`` for an address space. Up to 16
        rounds call it again for slots that are still in use. No lock is held meanwhile. Without ``unuse``,
        references to slots of a device without data (`swapcore.Null`) are dropped, and references to data are
        an error. Slots behind virtual ones are read back in either case.

        Errors, and the device is on again: `SwapBusyError` (EBUSY), slots stay in use, or hibernation slots
        pin the device; the exception of ``unuse``. `EntryGoneError` (ENOENT), the device is off already.
        Detaches."""
    def resize(self, device: SwapDevice, size: str | int) -> ResizeReport:
        """Gives a ghost another size, a text with a unit or a number of slots, in whole clusters. Kernel:
        none.

        A device grows at once. It shrinks once no slot above the new size is in use; until then
        ``limit_pages`` keeps allocation below the new size. Errors: EINVAL, bad size, or the device is no
        ghost; EBUSY, a swapoff of the device is under way; ENOENT. Detaches. Locks: the list of devices, and
        every CPU's local lock at once."""
    def alloc_hibernation(self, device: SwapDevice, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one slot of one device for a hibernation image: empty shadow, count 1.

        Errors: `SwapFullError` (ENOSPC); ENOENT, the device is virtual. Kernel:
        `swap_alloc_hibernation_slot`."""
    def free_hibernation(self, entry: SwpEntry | int, *, cpu: int | None = None) -> None:
        """Gives a hibernation slot back. A folio over the slot keeps it until the folio leaves the cache.

        Errors: `EntryGoneError` (ENOENT), the slot is no hibernation slot; EINVAL. Kernel:
        `swap_free_hibernation_slot`."""
    def run_workers(self) -> int:
        """Runs the queued reclaim_work and discard_work of all devices; returns the slots and clusters that
        they released.

        Detaches."""

    # Slots.

    def alloc(self, order: int = 0, *, cpu: int | None = None) -> SwpEntry:
        """Hands out one aligned run of ``1 << order`` slots that are swapped out at once: count 1, not
        cached.

        Errors: `SwapFullError` (ENOSPC), no run of that order; EINVAL, bad order or CPU. Kernel:
        `folio_alloc_swap` followed by unmap and removal from the cache."""
    def alloc_batch(self, n: int, order: int = 0, *, cpu: int | None = None) -> SwapBatch:
        """Hands out up to ``n`` runs in one call, exactly the runs that ``n`` calls of `alloc` give.

        The first failure ends the call, so the batch may be short. A batch of 16,384 slots or more detaches; if a
        signal handler raises meanwhile, all runs are given back. Errors: EINVAL, bad order or CPU."""
    def free(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Takes one reference from each of ``nr`` slots (None: the entry's whole run) and frees the slots at
        zero.

        Errors, and nothing changed: `EntryGoneError` (ENOENT), a slot is not in use, or no such device;
        EINVAL, a slot is bad or lies beyond its device. Kernel: `swap_put_entries_direct`."""
    def put(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """The same as `free`, by the kernel's word."""
    def free_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Frees every run of a batch, or of any C-contiguous uint64 buffer of entries, whose runs are of
        ``order``.

        Errors, and nothing changed: EINVAL, an entry lies beyond its device; ENOENT, an entry names no
        device. With `EntryGoneError` (ENOENT) because a slot is not in use, the runs before it are free, and
        the message has their number. A batch of 16,384 slots or more detaches."""
    def put_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """The same as `free_batch`, by the kernel's word."""
    def dup(self, entry: SwpEntry | int, nr: int | None = None, *, cpu: int | None = None) -> None:
        """Adds one reference to each of ``nr`` slots (None: the entry's whole run).

        Errors, and nothing changed: `EntryGoneError` (ENOENT), a slot has no reference; EINVAL, a slot is bad
        or lies beyond its device; `RefOverflowError` (EOVERFLOW). Kernel: `swap_dup_entry_direct`."""
    def dup_batch(self, batch: SwapBatch | Buffer, *, order: int = 0, cpu: int | None = None) -> None:
        """Adds one reference to every slot of every run.

        Errors: as `dup`; the runs before the failing one keep their new reference. A batch of 16,384 slots or
        more detaches."""
    def lookup(self, entry: SwpEntry | int) -> SlotInfo:
        """Returns a snapshot of the state of one slot. Kernel: `swap_table_get`, `swap_swapcount`.

        Errors: ENOENT, no such device; EINVAL, the slot lies beyond it."""
    def lookup_many(self, entries: SwapBatch | Buffer) -> bytes:
        """Returns the raw 64-bit table words of many entries: uint64, native byte order, for
        ``np.frombuffer``.

        Errors: as `lookup`. 16,384 entries or more detach."""
    def swap_count(self, entry: SwpEntry | int) -> int:
        """Returns the references to one slot, its extend table included. Errors: as `lookup`. Kernel:
        `swap_swapcount`."""
    def zero_batch(self, entry: SwpEntry | int, nr_max: int) -> tuple[bool, int]:
        """Returns the zero mark of a slot, and how many slots from it on, at most ``nr_max`` in its cluster,
        share the mark.

        Errors: ENOENT, no such device, or the cluster has no table; EINVAL. Kernel: `swap_zeromap_batch`."""
    def backing(self, entry: SwpEntry | int, nr: int = 1) -> BackingInfo:
        """Returns the place of the page of a slot, and how many slots from it on, at most ``nr`` in its
        cluster, share it.

        A slot of a device that is not virtual is its own place. Unless the caller keeps the folio over the
        slot locked, the answer may be outdated at once. Errors: as `lookup`. Kernel:
        `vswap_check_backing`."""
    def folio_realloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives the virtual slots of a cached folio a run of slots of another device and returns the run; the
        folio is dirty then. A run that is there already stays.

        Errors: `SwapFullError` (ENOSPC), no run of the folio's order; `MemoryError`, the swap charge was
        refused; `SwapBusyError` (EBUSY), the folio is locked, under writeback or not read; EINVAL, it is not
        cached. Detaches. Kernel: `folio_realloc_swap`."""
    def move_backing(
        self, entry: SwpEntry | int, device: SwapDevice, *, cpu: int | None = None
    ) -> Literal["done", "freed", "skipped", "no_room"]:
        """Moves the page behind a virtual slot, with the other pages of its folio, to another real device.

        Returns ``done``; ``freed``, the virtual slot is not in use any more; ``skipped``, the folio is locked
        or under writeback, or the page is on no real device; or ``no_room``, ``device`` has no run. Unless it
        is ``done``, the page is where it was. Errors: EINVAL, ``device`` is a ghost or of another subsystem,
        or the slot lies beyond its device; ENOENT, ``device`` is off, or the entry names no device;
        `SwapIOError`, read or write failed; `MemoryError`. Detaches. Kernel: none."""

    # Folios.

    @property
    def memory_pages(self) -> int:
        """Pages that folios may have together."""
    @property
    def nr_used_pages(self) -> int:
        """Pages that folios have now."""
    def folio(
        self, order: int = 0, data: Buffer | None = None, *, memcg: MemCgroup | None = None,
        cpu: int | None = None
    ) -> Folio:
        """Makes a folio with ``data`` and zeros behind the data, charged to ``memcg`` (None: root).

        The folio is dirty, up to date, unlocked, not mapped and not cached. Errors: `MemoryError`, no memory
        of that order, or the charge was refused; EINVAL, bad order, or more data than pages. Detaches.
        Kernel: an anonymous fault."""
    def swap_out(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Swaps a folio out and returns the entry: slots, unmap, zero check, write; then the memory of the
        folio is free.

        The caller has one reference to each slot, which `swap_in` or `free` gives back. A folio that nothing
        maps counts as mapped once, by its handle. Errors, and the folio is in memory with nothing lost:
        `SwapFullError` (ENOSPC), no run of its order (`folio_split` helps); `MemoryError`, the charge was
        refused; `SwapBusyError` (EBUSY), another handle, mapping or view holds it, or it is locked;
        `SwapIOError`, the write failed; `EntryGoneError` (ENOENT), the handle is empty. If a hook raises, the
        exception has the ``entry`` of a swap-out that is done. Detaches, and sleeps for the folio lock.
        Kernel: `shrink_folio_list` of one folio."""
    def swap_in(
        self, entry: SwpEntry | int, nr: int | None = None, *, orders: int | None = None,
        cpu: int | None = None, memcg: MemCgroup | None = None
    ) -> Folio:
        """Swaps in the pages of ``nr`` slots (None: the entry's run) for one reference to each, and maps the
        folio.

        ``orders`` is a mask of folio orders to try, bit k for order k (None: the entry's order); order 0 is
        always tried last. The folio may be smaller than asked for: its ``entry`` and ``nr_pages`` say which
        slots it covers, and the references to the other slots are still the caller's (`swap_in_batch` reads
        everything). A folio in the swap cache comes as large as it is. ``memcg`` is the group of the task
        that faults (None: root).

        Errors: `EntryGoneError` (ENOENT), a slot has no reference; `MemoryError`, no memory, or the charge
        was refused; `SwapIOError`, the read failed, nothing changed, and the call may be repeated; EINVAL. If
        a hook raises, the exception has the folio in its ``folios``. Detaches. Kernel: `swapin_entry`,
        `do_swap_page`."""
    def swap_out_batch(self, folios: Sequence[Folio], *, cpu: int | None = None) -> list[SwpEntry]:
        """Swaps many folios out in one call and returns their entries.

        The first failure raises its error as `swap_out` does, with the index in the message; the folios
        before it are out, and their ``entry`` says where. Detaches, and looks for signals between folios."""
    def swap_in_batch(
        self, entries: SwapBatch | Buffer | Sequence[SwpEntry], *, order: int = 0, orders: int | None = None,
        cpu: int | None = None, memcg: MemCgroup | None = None
    ) -> list[Folio]:
        """Swaps every run of ``entries`` in, in order, in as few folios as possible; ``order`` is for buffers
        of bare words.

        A failure, or a signal handler that raises, raises its error with the folios that are in as
        ``folios``. Errors and the other arguments: as `swap_in`. Detaches, and looks for signals between
        runs."""
    def folio_split(self, folio: Folio, order: int = 0, *, cpu: int | None = None) -> list[Folio]:
        """Splits a folio into folios of a smaller ``order``, mapped and cached as before; the old handle is
        empty then.

        Errors: EINVAL, ``order`` is not smaller; `SwapBusyError` (EBUSY), another handle, mapping or view
        holds the folio. Kernel: `split_folio_to_order`."""
    def folio_migrate(self, folio: Folio, *, cpu: int | None = None) -> Folio:
        """Moves the content of a folio to other memory and returns the new handle; the old handle is empty
        then.

        Errors: `MemoryError`; `SwapBusyError` (EBUSY), another handle, mapping or view holds the folio.
        Kernel: `migrate_folio`."""

    # The swap cache, step by step.

    @property
    def nr_swapcache_pages(self) -> int:
        """Slots whose table entry is a folio."""
    @property
    def page_cluster(self) -> int:
        """log2 of the largest readahead window in pages; settable. Errors of a set: EINVAL, not 0 to 31.
        Kernel: ``vm.page-cluster``."""
    @page_cluster.setter
    def page_cluster(self, page_cluster: int) -> None: ...
    def folio_alloc_swap(self, folio: Folio, *, cpu: int | None = None) -> SwpEntry:
        """Gives a folio its slots, charges them and marks the folio dirty: the entries hold the folio, count
        0.

        Errors: `SwapFullError` (ENOSPC); `AlreadyCachedError` (EEXIST); `MemoryError`, the charge was
        refused; `SwapBusyError` (EBUSY), the folio is locked; EINVAL, it is of another subsystem. Detaches.
        Kernel: `folio_alloc_swap`; differs: it takes the folio lock itself."""
    def folio_dup_swap(self, folio: Folio, page: int | None = None) -> None:
        """Adds one reference to all slots of a cached folio, or to that of one page.

        Errors: EINVAL, the folio is not cached, or has no such page; `SwapBusyError` (EBUSY);
        `RefOverflowError` (EOVERFLOW). Kernel: `folio_dup_swap`; differs: it takes the folio lock itself."""
    def folio_put_swap(self, folio: Folio, page: int | None = None) -> None:
        """Takes one reference from all slots of a cached folio, or from that of one page; frees nothing.

        Errors: `EntryGoneError` (ENOENT), a count is 0, and nothing changed; EINVAL, the folio is not cached,
        or has no such page; `SwapBusyError` (EBUSY). Kernel: `folio_put_swap`; differs: it takes the folio
        lock itself."""
    def swap_cache_add_folio(self, folio: Folio, entry: SwpEntry | int) -> None:
        """Puts an uncached folio over swapped-out slots, as a swap-in does; its data stays as it is.

        Errors: `AlreadyCachedError` (EEXIST), the slot is cached; `EntryGoneError` (ENOENT), it is free;
        `SwapBusyError` (EBUSY), another slot of the range is unsuitable; EINVAL, misaligned, or the folio is
        cached. Kernel: `swap_cache_add_folio`."""
    def swap_cache_del_folio(self, folio: Folio, *, cpu: int | None = None) -> None:
        """Takes a folio out of the cache; slots without references are freed.

        Errors: EINVAL, the folio is not cached; `SwapBusyError` (EBUSY), it is locked, under writeback, or
        dirty with references to its slots. Kernel: `swap_cache_del_folio`; differs: it takes the folio lock
        itself."""
    def folio_free_swap(self, folio: Folio, *, cpu: int | None = None) -> bool:
        """Frees the slots of a cached folio, unless a slot has references or the folio is under writeback;
        returns whether it did.

        Errors: `SwapBusyError` (EBUSY), the folio is locked; EINVAL, it is of another subsystem. Kernel:
        `folio_free_swap`."""
    def folio_at(self, entry: SwpEntry | int) -> Folio | None:
        """Returns a handle of the folio that caches a slot, unmapped; None without a folio.

        Errors: as `lookup`. Kernel: `swap_cache_get_folio`."""
    def swap_cluster_readahead(self, entry: SwpEntry | int, *, cpu: int | None = None) -> Folio | None:
        """Reads the aligned block of slots around one into the swap cache and returns its folio, unmapped;
        None when the slot is free or there is no memory.

        Errors: `SwapIOError`, the slot itself cannot be read; as `lookup`. Detaches. Kernel:
        `swap_cluster_readahead`."""
    def shrink_swap_cache(self, nr_pages: int | None = None, *, cpu: int | None = None) -> int:
        """Drops folios that only the swap cache holds, until ``nr_pages`` pages are free (None: all are
        looked at); returns the pages freed.

        A clean folio leaves its slots as they are; slots without references are freed; a dirty folio stays.
        Swap-in and `folio` do the same when memory runs out. Detaches. Locks: folio locks are tried. Kernel:
        `shrink_folio_list`."""

    # Memory cgroups.

    @property
    def memcg(self) -> MemCgroup:
        """The root of the memory cgroups. Errors: EINVAL, memcg is disabled."""
    @property
    def swappiness(self) -> int:
        """How readily anonymous pages are reclaimed, 0 to 200; settable; on v1 it is root's. Errors: EINVAL,
        memcg is disabled, or a set is out of range. Kernel: ``vm.swappiness``."""
    @swappiness.setter
    def swappiness(self, swappiness: int) -> None: ...
    def mm(self, memcg: MemCgroup | None = None) -> Mm:
        """Makes an empty address space of a task in ``memcg`` (None: root), which cannot be removed while it
        exists.

        Errors: ENODEV, the group is removed; EINVAL, it is of another subsystem. Kernel: `mm_alloc`."""
    def set_memcg_policy(self, policy: object | None) -> None:
        """Installs the hooks of an object in place of the present ones (see `swapcore.policy.MemcgPolicy`);
        None removes them.

        The call that leads to a hook raises the exception of the hook, once the call is done. Hooks that
        refer to the subsystem keep it alive until they are removed. Errors: TypeError, the object has no
        hook. Kernel: none."""
    def slot_owner(self, entry: SwpEntry | int) -> int:
        """Returns the private id of the group that is charged for a slot; 0 for none.

        A slot that a folio caches has an owner only where the owner store keeps the owner beside the entry.
        Errors: as `lookup`."""
    def swap_ages(self, group: MemCgroup) -> bytes:
        """Returns the age of each slot of a group that was evicted: the pages that were evicted or became
        active since.

        uint64, native byte order, in no order, for ``np.frombuffer``; with ``mglru`` all 0. Errors: EINVAL.
        Detaches. Kernel: the distance that `workingset_refault` would find."""

    # The state as numbers.

    def check(self) -> None:
        """Proves every invariant with all CPUs stopped. Errors: `InvariantError`, naming the first broken
        one. Detaches."""
    def stats(self) -> dict[str, int]:
        """Returns every counter; the name is the kernel's where the kernel has the counter.

        Slots: ``nr_swap_pages`` free, ``total_swap_pages`` usable, ``nr_swapcached`` cached; ``alloc_runs``
        handed out; ``alloc_failures_order0`` requests that failed; ``slow_path_visits``;
        ``reclaimed_cached_pages`` cached slots taken back; ``discarded_clusters``; ``discard_errors``.

        Pages: ``pswpin``, ``pswpout`` read from and written to devices; ``swpin_zero``, ``swpout_zero``
        filled with and marked as zeros; ``zswpin``, ``zswpout``, ``zswpwb`` from zswap, to zswap, and on to a
        device; ``swpout_refused`` with a slot and no place; ``swap_ra``, ``swap_ra_hit`` read ahead, and
        wanted later; ``pgmajfault`` faults that had to allocate or read; ``thp_swpout``,
        ``thp_swpout_fallback`` large folios swapped out whole and split; ``read_errors``, ``write_errors``
        calls that failed.

        Bytes: ``Zswap`` memory of the pools, ``Zswapped`` the pages in them.

        Reclaim, in pages: ``workingset_refault_anon``, ``workingset_activate_anon``,
        ``workingset_restore_anon``, ``pgscan``, ``pgsteal``, ``pgrefill``, ``pgactivate``, ``pgdeactivate``.

        Others: ``shadow_retries`` insertions repeated because a shadow changed; ``rfc_null_memcg`` null
        dereferences that the posted series would have made; ``swapoff_rmap_slots`` slots freed through the
        reverse map and ``swapoff_ptes_visited`` page table entries visited by swapoffs.

        For each order above 0, with the directory of the mTHP counters in front, such as
        ``hugepages-64kB.swpout``, in folios: ``swpin``, ``swpin_fallback``, ``swpin_fallback_charge``,
        ``swpout``, ``swpout_fallback``, ``zswpout``, ``alloc_failures``."""
    def memory(self) -> SwapMemory:
        """Returns exact byte counts of the whole subsystem, all devices together."""
    def dump(self) -> SwapDump:
        """Returns the state that decides where the next run goes."""
    def record_events(self, capacity: int) -> None:
        """Keeps the last ``capacity`` records of each CPU from now on; 0 keeps none. Earlier records are
        dropped.

        Errors: EINVAL, ``capacity`` is out of range."""
    def take_events(self) -> EventColumns:
        """Takes the records of all CPUs, sorted by time, as columns for ``np.frombuffer`` in native byte
        order.

        Detaches. Kernel: tracepoints."""
