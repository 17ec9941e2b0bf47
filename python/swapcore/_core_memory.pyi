"""Memory of the Rust core: folios and address spaces. At run time these classes are in `_core`."""

from collections.abc import Sequence
from typing import TypeVar, final, overload

from numpy import dtype as np_dtype
from numpy import float64, generic
from numpy.typing import DTypeLike
from typing_extensions import Buffer

from ._core_devices import SwapDevice
from ._core_entries import SwpEntry
from ._core_memcg import MemCgroup
from ._core_results import PageoutReport
from .arrays import MmArray

_ScalarT = TypeVar("_ScalarT", bound=generic)

@final
class Folio:
    """A handle of ``1 << order`` contiguous pages of memory with data. Kernel: `struct folio`.

    `Swap.folio` and `Swap.swap_in` make folios. A `Folio` object is a handle, which has one reference to its
    folio. A handle that is mapped maps the folio as one page table does. When a handle is dropped, the
    handle unmaps the folio and gives up its reference. A folio without references is freed. Two handles of
    the same folio are equal.
    ``len(folio)`` is ``nr_pages * PAGE_SIZE`` bytes.

    ``memoryview(folio)`` and ``np.frombuffer(folio, dtype)`` are writable views of the folio's bytes, without
    a copy. Making a view marks the folio dirty. While a view exists, the folio stays in memory, and `read`,
    `write` and a swap-out raise `SwapBusyError` (EBUSY).

    Once a call has swapped out, split or migrated the folio of this handle, the handle is empty: all
    attributes but ``order``, ``nr_pages``, ``entry`` and ``is_resident`` raise `EntryGoneError` (ENOENT)."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def is_resident(self) -> bool:
        """True while this handle has a folio in memory; the property never raises."""
    @property
    def pfn(self) -> int | None:
        """The number of the folio in swap table entries while the folio is in the swap cache, else None."""
    @property
    def order(self) -> int:
        """log2 of the folio's number of pages, 0 to 9; the property never raises."""
    @property
    def nr_pages(self) -> int:
        """Number of pages of the folio, ``1 << order``; the property never raises."""
    @property
    def entry(self) -> SwpEntry | None:
        """The first slot of a folio in the swap cache, or the first slot to which the folio of this handle
        was swapped out; None for a folio without slots."""
    @property
    def memcg(self) -> MemCgroup | None:
        """The group that is charged for the folio; None if the group is freed, or if memcg is disabled."""
    @property
    def refs(self) -> int:
        """Number of references to the folio: one from the swap cache for each page, one for each mapping of a
        page, one for each handle, and one for each view."""
    @property
    def mapcount(self) -> int:
        """Number of mappings of the folio's pages, summed over all page tables."""
    @property
    def is_locked(self) -> bool:
        """True while the folio lock is taken; settable. Kernel: `PG_locked`.

        A set to True takes the lock for this handle if the lock is free; a set to False releases the lock
        that this handle took. `Swap.locked` takes the lock for a ``with`` block, or raises. A call that needs
        the lock of a folio while a handle has it raises `SwapBusyError` (EBUSY) at once. The exception is
        `MemCgroup.remove` with the switch ``lru_reparent``: it waits for the lock, so it hangs."""
    @is_locked.setter
    def is_locked(self, is_locked: bool) -> None: ...
    @property
    def is_writeback(self) -> bool:
        """True while the folio is being written to its device; settable. Kernel: `PG_writeback`."""
    @is_writeback.setter
    def is_writeback(self, is_writeback: bool) -> None: ...
    @property
    def is_mapped(self) -> bool:
        """True while a page table or a handle maps the folio; settable. A set to True maps all pages of the
        folio through this handle, a set to False removes these mappings."""
    @is_mapped.setter
    def is_mapped(self, is_mapped: bool) -> None: ...
    @property
    def is_dirty(self) -> bool:
        """True while the folio's data may differ from the data in its slots; settable. Kernel: `PG_dirty`.

        A set to True also makes the folio up to date, because its bytes are then the newest data. A set to
        False states that the slots have the same data. If the slots have other data, a swap-out
        loses the folio's data."""
    @is_dirty.setter
    def is_dirty(self, is_dirty: bool) -> None: ...
    @property
    def is_uptodate(self) -> bool:
        """True once the folio has its data, which is read from its slots or given when the folio is made.
        Kernel: `PG_uptodate`."""
    @property
    def is_active(self) -> bool:
        """True while the folio is on the active list; with ``mglru``, while the folio is in one of the two
        youngest generations. Kernel: `PG_active`."""
    @property
    def is_workingset(self) -> bool:
        """True while the folio is part of the working set. Kernel: `PG_workingset`."""
    def read(self, offset_bytes: int = 0, nr_bytes: int | None = None) -> bytes:
        """Copies ``nr_bytes`` bytes out, from ``offset_bytes`` on; None means to the end.

        Errors: EINVAL, the range ends beyond the folio; `SwapBusyError` (EBUSY), a view exists."""
    def write(self, data: Buffer, offset_bytes: int = 0) -> None:
        """Copies the bytes of ``data`` in, from ``offset_bytes`` on, and marks the folio dirty.

        Errors: EINVAL, the range ends beyond the folio; `SwapBusyError` (EBUSY), a view exists."""

@final
class FolioLock:
    """The lock of a folio for a ``with`` block, made by `Swap.locked`. Kernel: `folio_lock`, `folio_unlock`.

    The block begins with the lock taken, and gets the folio. Its end releases the lock, also after an
    exception. Errors at the beginning of the block: `SwapBusyError` (EBUSY), this handle or another handle
    has the lock; `EntryGoneError` (ENOENT), the handle is empty. The beginning of the block waits while an
    operation of another thread has the lock. Releases the GIL."""

    def __enter__(self) -> Folio: ...
    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...

@final
class Mm:
    """One address space: pages are faulted in, shared after a fork, swapped out and swapped in. Kernel:
    `struct mm_struct`.

    `Swap.mm` makes address spaces. A page number times `PAGE_SIZE` is an address. When the object is dropped,
    all pages are unmapped, and memory and slots that no other address space uses are freed. Each call
    releases the GIL. If a signal handler raises, the call ends between two pages."""

    def mmap(
        self, nr_pages: int, *, orders: int | None = None, anon_order: int = 0, anon_orders: int | None = None,
        is_hugepage: bool | None = None, is_locked: bool = False, is_uffd_armed: bool = False
    ) -> int:
        """Maps ``nr_pages`` pages of zeros and returns the number of the first page, a multiple of 512.

        ``orders`` is the mask of folio orders that a swap-in may use, bit k for order k; None allows single
        pages only. ``anon_order`` is the order of the folio that a first write makes where such a folio fits;
        elsewhere the order is a smaller one of ``orders`` if ``orders`` has ``anon_order``, and any smaller one
        otherwise. A first read makes no folio. A smaller order is tried next if memory or the charge is refused.
        ``anon_orders`` is a mask of the orders that a first write may use, in place of ``anon_order``; the
        largest that fits is tried first, order 0 last. With ``is_hugepage`` the mapping is one for which
        `Swap.thp_defrag` may allow reclaim, as after ``MADV_HUGEPAGE``; None stands for True if a first write may
        make a large folio.
        ``is_locked`` keeps the pages in memory once they are touched, as ``mlock2`` with ``MLOCK_ONFAULT``
        does; ``unevictable`` in ``memory.stat`` counts the pages. ``is_uffd_armed`` limits swap-ins to single
        pages, as an armed userfaultfd does.

        Errors: EINVAL, a value is out of range. Kernel: `mmap` of anonymous memory."""
    @overload
    def array(
        self, shape: int | Sequence[int], dtype: None = None, *, first_page: int | None = None,
        orders: int | None = None, anon_order: int = 0, cpu: int | None = None
    ) -> MmArray[float64]: ...
    @overload
    def array(
        self, shape: int | Sequence[int], dtype: type[_ScalarT] | np_dtype[_ScalarT], *,
        first_page: int | None = None, orders: int | None = None, anon_order: int = 0, cpu: int | None = None
    ) -> MmArray[_ScalarT]: ...
    @overload
    def array(
        self, shape: int | Sequence[int], dtype: DTypeLike, *, first_page: int | None = None,
        orders: int | None = None, anon_order: int = 0, cpu: int | None = None
    ) -> MmArray[generic]:
        """Maps pages for an array of NumPy's ``dtype`` (None: float64) and returns the array, whose elements
        are zero.

        An index of the array copies elements out, and an assignment copies elements in. ``orders`` and
        ``anon_order`` are those of `mmap`. With ``first_page`` the call maps no pages, and the array is in
        the pages from this page on: the array of the parent after a `fork`, for example. ``cpu`` is the CPU
        of all faults. The pages stay mapped until the address space ends; `zap` drops their memory and slots.

        Errors: ImportError, NumPy is not installed; EFAULT, a page from ``first_page`` on is not mapped;
        EINVAL, the items of the dtype are not plain bytes, a length is below 0, or the array is larger than a
        mapping. Kernel: none."""
    def read(self, address_bytes: int, nr_bytes: int, *, cpu: int | None = None) -> bytes:
        """Copies ``nr_bytes`` bytes out, and faults in pages that are not in memory.

        Errors: EFAULT, a page is not mapped; `SwapIOError`, a page cannot be read and stays swapped out;
        `MemoryError`, no memory, or the charge was refused, after which ``is_killed`` may be true;
        `TaskKilledError` (ESRCH), the OOM killer ended the task before."""
    def read_into(self, address_bytes: int, buffer: Buffer, *, cpu: int | None = None) -> None:
        """Copies bytes out until a writable ``buffer`` is full, as `read` does, without a new object.

        The items of ``buffer`` can have any type, and the buffer must be C-contiguous. The faults and the
        copies out of pages run detached, 1 MiB at a time.

        Errors: TypeError, the buffer is read-only or not contiguous; the errors of `read`, after which the
        buffer can have new and old bytes."""
    def write(self, address_bytes: int, data: Buffer, *, cpu: int | None = None) -> None:
        """Copies the bytes of ``data`` in, faults in pages that are not in memory, and copies each shared
        page before the write.

        Errors: the errors of `read`, after which the bytes before the failing page are written."""
    def touch_pages(
        self, first_page: int, pages: Buffer, writes: Buffer | None = None, *, cpu: int | None = None
    ) -> None:
        """Makes pages present in memory, with one fault for each page.

        ``pages`` are distances from ``first_page`` (uint32 or uint64). ``writes`` has one byte for each page,
        and a byte other than 0 makes the fault a write. If ``writes`` is None, no fault is a write. Errors:
        EINVAL, the lengths differ; the errors of `read`, after which the pages before the failing page are
        present. Kernel: `handle_mm_fault`."""
    def pageout(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> PageoutReport:
        """Swaps the pages of a range out in ascending order, and returns the counts of the outcomes.

        Pages that another address space maps stay in memory. A large folio is swapped out whole, or split if
        there is no run of its order. A large folio of which the range maps only a part is split first. Pages
        that an earlier call unmapped and could not write are tried again. Errors, with the pages before the
        error swapped out: EFAULT, a page is not mapped; EINVAL, a mapping is locked. Kernel:
        ``MADV_PAGEOUT``, `madvise_pageout`."""
    def willneed(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> int:
        """Reads the swapped-out pages of a range into the swap cache and returns the number of pages that
        were read.

        Each page is read as a single page and is not mapped; the next fault finds it. The owner of the slot
        is charged. A page that cannot be read is skipped. Errors, with the pages before the error read:
        EFAULT, a page is not mapped. Kernel: ``MADV_WILLNEED``, `read_swap_cache_async`, whose reads go on
        after the call."""
    def zap(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> None:
        """Drops the pages of a range, which read as zeros afterwards.

        Errors, with the pages before the error dropped: EFAULT, a page is not mapped; EINVAL, a mapping is
        locked. Kernel: ``MADV_DONTNEED``, `zap_pte_range`."""
    def fork(self, *, cpu: int | None = None) -> Mm:
        """Returns a copy that shares every page until one of the two address spaces writes the page. The copy
        inherits no memory lock.

        Errors: `RefOverflowError` (EOVERFLOW), a slot has too many references. Kernel: `copy_page_range`."""
    def swap_entry(self, page: int) -> SwpEntry | None:
        """Returns the slot of a page that is swapped out; None for a page in memory.

        Errors: EFAULT, the page is not mapped."""
    def pagemap(self, first_page: int, nr_pages: int) -> memoryview[int]:
        """Returns one word for each page of a range, a read-only buffer of uint64.

        Bit 63 is set for a page in memory, and bits 0 to 54 are then its frame number. Bit 62 is set for a page
        that is swapped out, bits 0 to 4 are then the type of its slot, and bits 5 to 54 the offset. A page
        without memory and slot has the word 0. ``np.asarray(words)`` is a view without a copy. Errors: EFAULT, a
        page is not mapped. Releases the GIL. Kernel: ``/proc/PID/pagemap``; differs: all other bits are 0."""
    def unuse(self, device: SwapDevice, *, cpu: int | None = None) -> None:
        """Swaps in every page of this address space that is on a device, for the hook of `Swap.swapoff`:
        ``swap.swapoff(device, lambda entry, count: mm.unuse(device))``.

        Errors: the errors of `read`; ENOENT, the device is turned off, or of another subsystem. Kernel:
        `unuse_mm`."""
    @property
    def memcg(self) -> MemCgroup:
        """The memory cgroup of the task, which is charged for the next pages of the task; settable.

        A set moves the task. The charges of pages and slots that the task has stay with the old group, which
        can be removed when no task is left in it. `MemCgroup.tasks` lists the tasks of a group. Errors:
        EINVAL, memcg is disabled. Errors of a set, after which the task is in its old group: ENODEV, the
        group is removed; EINVAL, the group is of another subsystem. Kernel: a write of ``cgroup.procs``, on
        v1 without ``memory.move_charge_at_immigrate``."""
    @memcg.setter
    def memcg(self, memcg: MemCgroup) -> None: ...
    @property
    def is_killed(self) -> bool:
        """True once the OOM killer has ended the task, see the switch ``oom`` of `Swap.switches`. The task is then
        in the root group and has no pages, and each call raises `TaskKilledError` (ESRCH)."""
    @property
    def resident_pages(self) -> int:
        """Number of pages of the address space that are in memory."""
    @property
    def swapped_pages(self) -> int:
        """Number of pages of the address space that are swapped out."""

@final
class Shmem:
    """A file in memory, whose pages tasks of several groups share. Kernel: a file of `tmpfs`.

    `Swap.shmem` makes files. ``memcg`` arguments name the group of the task that touches the page (None:
    root); for an `Mm`, that is ``mm.memcg``. The group of the first touch is charged for a page. At a swap-in
    the owner of the slot is charged; if the owner is removed, the switch ``dead_swapin`` says which group
    pays. A swap-in takes the folio from the swap cache, or reads it as a swap-in of an address space does; it
    uses the order of the swap-out and frees the slots at once. Reclaim swaps the pages out like all others.
    When the object is dropped, the pages and slots of the file are freed. Each call releases the GIL. If a
    signal handler raises, the call ends between two pages. Differs: a file has a fixed size and no page
    tables."""

    @property
    def nr_pages(self) -> int:
        """The size of the file in pages."""
    @property
    def order(self) -> int:
        """The order of the folio that a first touch makes where such a folio fits."""
    @property
    def resident_pages(self) -> int:
        """Number of pages of the file that are in memory."""
    @property
    def swapped_pages(self) -> int:
        """Number of pages of the file that are swapped out. The other pages not in memory are holes."""
    def read(
        self, offset_bytes: int, nr_bytes: int, *, memcg: MemCgroup | None = None, cpu: int | None = None
    ) -> bytes:
        """Copies ``nr_bytes`` bytes out, and brings pages in that are not in memory. A hole gets a page of
        zeros.

        Errors: EFAULT, the range ends beyond the file; `SwapIOError`, a page cannot be read and stays swapped
        out; `MemoryError`, no memory, or the charge was refused; ENODEV, ``memcg`` is removed; EINVAL,
        ``memcg`` is of another subsystem. Kernel: `shmem_get_folio_gfp` of a page fault."""
    def write(
        self, offset_bytes: int, data: Buffer, *, memcg: MemCgroup | None = None, cpu: int | None = None
    ) -> None:
        """Copies the bytes of ``data`` in, and brings pages in that are not in memory.

        Errors: the errors of `read`, after which the bytes before the failing page are written."""
    def touch_pages(
        self, first_page: int, pages: Buffer, writes: Buffer | None = None, *, memcg: MemCgroup | None = None,
        cpu: int | None = None
    ) -> None:
        """Makes pages present in memory, with one fault for each page.

        ``pages`` are distances from ``first_page`` (uint32 or uint64). ``writes`` has one byte for each page,
        and a byte other than 0 makes the folio dirty. If ``writes`` is None, no touch is a write. Errors:
        EINVAL, the lengths differ; the errors of `read`, after which the pages before the failing page are
        present."""
    def pageout(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> PageoutReport:
        """Swaps the pages of a range out in ascending order, and returns the counts of the outcomes.

        A large folio is swapped out whole, or split if there is no run of its order. A large folio that lies
        partly in the range is split first. Folios in the swap cache that no file names are dropped or written
        again. Errors: EFAULT, the range ends beyond the file, with the pages before the error swapped out.
        Kernel: ``MADV_PAGEOUT`` of a shared mapping, `shmem_writeout`."""
    def willneed(
        self, first_page: int, nr_pages: int, *, memcg: MemCgroup | None = None, cpu: int | None = None
    ) -> int:
        """Reads the swapped-out pages of a range into the swap cache and returns the number of pages that
        were read.

        Each page is read as a single page; the next touch finds it. The owner of the slot is charged. A page
        that cannot be read is skipped. Errors, with the pages before the error read: EFAULT, the range ends
        beyond the file. Kernel: ``MADV_WILLNEED``, `force_shm_swapin_readahead`, whose reads go on after the
        call."""
    def truncate(self, first_page: int, nr_pages: int, *, cpu: int | None = None) -> None:
        """Turns the pages of a range into holes, and frees their memory and slots. The size stays.

        A large folio or entry that lies partly in the range is cut. Errors, after which nothing has changed:
        EFAULT, the range ends beyond the file. Kernel: `shmem_truncate_range`, as
        ``FALLOC_FL_PUNCH_HOLE``."""
    def swap_entry(self, page: int) -> SwpEntry | None:
        """Returns the slot of a page that is swapped out; None for a page in memory and for a hole.

        Errors: EFAULT, the page is beyond the file."""
    def unuse(self, device: SwapDevice, *, memcg: MemCgroup | None = None, cpu: int | None = None) -> None:
        """Swaps in every page of the file that is on a device, for the hook of `Swap.swapoff`:
        ``swap.swapoff(device, lambda entry, count: file.unuse(device))``.

        ``memcg`` is the group of the task that turns the device off. Errors: the errors of `read`; ENOENT,
        the device is turned off, or of another subsystem. Kernel: `shmem_unuse`."""
