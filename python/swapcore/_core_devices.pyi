"""Devices of the Rust core: storages, devices that are on, zswap. At run time the classes are in `_core`."""

from collections.abc import Sequence
from typing import Literal, Protocol, final, type_check_only

from typing_extensions import Buffer

from ._core_entries import SwpEntry
from ._core_memcg import MemCgroup
from ._core_results import ClusterColumns, DeviceMemory, SlotColumns, SwapHeader, ZswapPool
from .kinds import SwpFlag

@type_check_only
class Geometry(Protocol):
    """The attributes that `Swap.swapon` reads of a device without data, such as `swapcore.Null`."""

    @property
    def pages(self) -> int: ...
    @property
    def bad_pages(self) -> Sequence[int]: ...
    @property
    def is_rotational(self) -> bool: ...
    @property
    def is_block_device(self) -> bool: ...
    @property
    def is_discardable(self) -> bool: ...

@type_check_only
class HasStorage(Protocol):
    """The attribute that `Swap.swapon` reads of `swapcore.Ram`, `swapcore.Zram`, `swapcore.File`,
    `swapcore.Ghost` and `swapcore.Faulty`."""

    @property
    def storage(self) -> Storage: ...

@type_check_only
class ZswapOptions(Protocol):
    """The attributes that `Swap` reads of `swapcore.Zswap`."""

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

@final
class Storage:
    """A place for the pages of a device. Kernel: the block device or file behind a `swap_info_struct`.

    The static methods make storages. `Swap.swapon` turns a storage on. A storage cannot be turned on a
    second time while the storage is on."""

    @staticmethod
    def ram(pages: int) -> Storage:
        """Makes uncompressed memory for ``pages`` slots; the first write of a slot takes its memory. Kernel:
        `brd`.

        Errors: EINVAL, ``pages`` is out of range."""
    @staticmethod
    def zram(
        pages: int, *, algorithm: str = "lz4", level: int | None = None, mem_limit_bytes: int | None = None
    ) -> Storage:
        """Makes memory for ``pages`` slots that keeps each page compressed, in at most ``mem_limit_bytes``
        bytes. Kernel: `zram`.

        Errors: EINVAL, unknown algorithm (the message lists the algorithms of this build), bad level, or a
        value is out of range."""
    @staticmethod
    def file(
        path: str, *, direct: bool = False, is_block_device: bool | None = None, is_rotational: bool | None =
        None, fixpgsz: bool = False
    ) -> Storage:
        """Opens a swap file or block device that has a header of mkswap.

        ``direct`` opens the file with ``O_DIRECT``. If ``is_block_device`` or ``is_rotational`` is None, the
        storage asks the system for the value. With ``fixpgsz``, a header for another page size (a power of
        two up to 64 KiB) is replaced by a header for pages of 4096 bytes that covers the whole file, as by
        ``swapon --fixpgsz``. Label, UUID and the first 1024 bytes stay. Unlike with ``swapon``, bad pages
        stay bad pages.

        Errors, with the file unchanged unless a write fails: EINVAL, no SWAPSPACE2 header, a header for
        another page size without ``fixpgsz`` (the message names both page sizes and the byte order), more
        than 637 bad pages, or the header names more pages than the file has; EBUSY, the file is open as swap;
        `SwapIOError` with the system's errno."""
    def swaplabel(self, *, label: str | None = None, uuid: bytes | None = None) -> None:
        """Writes another label or another UUID to the header of a `file`; None keeps the old value.

        A ``label`` has at most 16 bytes, none of them zero; a ``uuid`` has 16 bytes. All other bytes of the
        header stay. Errors, with nothing changed: EINVAL, the label does not fit, or neither the storage nor
        a storage that it wraps is a `file`; `SwapBusyError` (EBUSY), the storage is on, because the kernel
        refuses writes to a swap file that is on; `SwapIOError`, the header cannot be read. If the write
        fails, the header in the file is undefined. Releases the GIL. Kernel: ``swaplabel`` of util-linux."""
    @staticmethod
    def create_file(
        path: str, pages: int, *, label: str = "", uuid: bytes, bad_pages: Sequence[int] | None = None,
        sparse: bool = False
    ) -> None:
        """Makes a swap file of ``pages`` pages with a header and with mode 0600.

        With ``sparse``, the file system allocates no blocks for the pages.

        Errors: `SwapIOError`, with EEXIST if the file exists, else with the system's errno; EINVAL, bad label
        or bad list of pages. After an error no new file is left. Kernel: `mkswap` of util-linux."""
    @staticmethod
    def faulty(inner: Storage, *, seed: int = 0) -> Storage:
        """Wraps a storage with planned failures, see `set_faults`; ``seed`` decides which calls fail by
        probability."""
    def set_faults(
        self, *, fail_write_in: int | None = None, fail_read_in: int | None = None,
        write_error_probability: float = 0.0, read_error_probability: float = 0.0, errno: int = 5,
        tear_write_pages: int | None = None, delay_ns: int = 0
    ) -> None:
        """Replaces the plan of a `faulty` storage; a call without arguments plans no failure.

        The ``fail_write_in``-th write and the ``fail_read_in``-th read from now fail once (1 is the next).
        Each write and each read fails with the given probability, 0.0 to 1.0. ``errno`` is the errno of these
        failures. The next write stores only ``tear_write_pages`` pages and fails with EIO. Each write, read
        and discard takes ``delay_ns`` ns longer. ``SwapDevice.storage`` of a device on a `faulty` storage
        takes a plan, too. Errors: EINVAL, neither the storage nor a storage that it wraps is `faulty`, or a
        value is out of range."""
    @staticmethod
    def ghost(pages: int, *, is_virtual: bool = False, visibility: str = "visible") -> Storage:
        """Makes a ghost: a device of ``pages`` slots, header included, that stores no page data.

        With ``is_virtual`` each slot records where its page is. ``visibility`` is ``visible``, ``listed``
        or ``hidden``, see `swapcore.Ghost`. Errors: EINVAL. Kernel: the header-only swap file of the swap
        table series, phase IV."""
    @staticmethod
    def ghost_for_ram(ram_pages: int, *, is_virtual: bool = False, visibility: str = "visible") -> Storage:
        """Makes a `ghost` of eight times ``ram_pages`` slots in whole clusters. Errors: EINVAL.

        Kernel: ``/dev/ghostswap`` of the swap table series, phase IV."""
    @staticmethod
    def ghost_open(path: str, *, is_virtual: bool = False, visibility: str = "visible") -> Storage:
        """Makes a `ghost` of the size that the header in a file of exactly one page states.

        Errors: EINVAL, the file is no header of a ghost; `SwapIOError` with the system's errno."""
    @property
    def kind(self) -> Literal["ram", "zram", "file", "ghost", "faulty"]:
        """The kind of storage; ``faulty`` for a wrapper with planned faults."""
    @property
    def is_virtual(self) -> bool:
        """True for a ghost whose slots record where their pages lie."""
    @property
    def pages(self) -> int:
        """Size in slots, header included."""
    @property
    def bad_pages(self) -> list[int]:
        """Numbers of the slots that are never handed out."""
    @property
    def is_rotational(self) -> bool:
        """True if seeks cost time; all CPUs then allocate from one shared next slot."""
    @property
    def is_block_device(self) -> bool:
        """True for a block device; False for a regular file, which takes only single pages."""
    @property
    def is_discardable(self) -> bool:
        """True if the storage takes discards."""
    @property
    def label(self) -> str:
        """The label in the header of a `file`, see `swaplabel`. Errors: EINVAL, the storage is no `file`."""
    @property
    def uuid(self) -> bytes:
        """The UUID in the header of a `file`, 16 bytes, see `swaplabel`. Errors: EINVAL, the storage is no
        `file`."""
    @property
    def mem_limit_bytes(self) -> int:
        """The limit on the memory of a `zram` in bytes; 0 means no limit. Kernel: ``mem_limit``.

        Settable, also while the storage is on; a set rounds up to pages. Stored pages stay. While the memory
        in use is above the limit, every write of a page that needs memory fails with ENOMEM. Errors: EINVAL,
        the storage is no `zram`, or the value is not 0 to 2**64 - 1."""
    @mem_limit_bytes.setter
    def mem_limit_bytes(self, mem_limit_bytes: int) -> None: ...
    def reset_mem_used_max(self) -> None:
        """Sets ``mem_used_max`` of a `zram` to the memory that is in use now.

        Errors: EINVAL, the storage is no `zram`. Kernel: a write of 0 to ``mem_used_max``."""
    def reset(self) -> None:
        """Drops all pages of a `zram`, gives their memory back, zeroes the statistics and removes the limit.

        Errors, with nothing changed: `SwapBusyError` (EBUSY), the storage is on; EINVAL, the storage is no
        `zram`. Releases the GIL. Kernel: a write to ``reset``; differs: size and algorithm stay."""
    @property
    def is_synchronous(self) -> bool:
        """True if the storage is as fast as memory. A page fault on such a storage reads no other page ahead,
        and frees the slot once its page is in memory and no reference to the slot is left. Kernel:
        `SWP_SYNCHRONOUS_IO`."""
    def stats(self) -> dict[str, int]:
        """Returns the figures of the storage by name; figures of zram have the names of the kernel's
        ``mm_stat`` and ``io_stat``.

        Keys:
            orig_data_size: ``ram``, ``zram``: bytes of the stored pages before compression.
            mem_used_total: ``ram``, ``zram``: bytes of memory in use.
            compr_data_size: ``zram``: bytes of compressed data.
            mem_limit: ``zram``: the limit in bytes, 0 for none.
            mem_used_max: ``zram``: the most bytes of memory that were in use.
            same_pages: ``zram``: pages filled with one word, kept without memory.
            pages_compacted: ``zram``: pages freed by compaction.
            huge_pages: ``zram``: pages stored now that do not compress.
            huge_pages_since: ``zram``: pages ever stored that do not compress, freed pages included.
            failed_reads: ``zram``: reads that failed.
            failed_writes: ``zram``: writes that failed.
            invalid_io: ``zram``: always 0, because the core checks ranges before it calls the storage.
            notify_free: ``zram``: pages that were freed together with their slot.
            allocated_bytes: ``file``: bytes that the file system allocated to the file; a block device has no
                such key.
            injected_write_errors: ``faulty``: writes that failed as planned.
            injected_read_errors: ``faulty``: reads that failed as planned.
            torn_writes: ``faulty``: writes that stored only a part of their pages.
            delayed_calls: ``faulty``: calls that were delayed as planned."""

@final
class SwapDevice:
    """A device that is turned on, returned by `Swap.swapon`. Kernel: `struct swap_info_struct`.

    Once the device is turned off, all attributes but ``is_on`` raise `EntryGoneError` (ENOENT).

    ``with swap.swapon(...) as device`` turns the device off at its end, as `Swap.swapoff` without ``unuse``
    does; a device that is off already is no error. The end raises `SwapBusyError` (EBUSY) while slots with
    data have references, and the device stays on. After an exception in the block the end raises no error of
    its own, but adds it to the exception as a note."""

    def __enter__(self) -> SwapDevice: ...
    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...

    @property
    def type(self) -> int:
        """The swap type, which is the number of the device."""
    @property
    def kind(self) -> Literal["partition", "file", "ghost"]:
        """The kind of device that the column ``Type`` of ``/proc/swaps`` shows."""
    @property
    def visibility(self) -> Literal["visible", "listed", "hidden"] | None:
        """How listings and totals treat a ghost; None for other devices."""
    @property
    def is_virtual(self) -> bool:
        """True for a ghost whose slots record where their pages lie."""
    @property
    def priority(self) -> int:
        """The priority; the allocator tries the device of the highest priority first."""
    @property
    def pages(self) -> int:
        """Number of usable slots, without the header and bad pages."""
    @property
    def max_pages(self) -> int:
        """Size in slots, header included."""
    @property
    def limit_pages(self) -> int:
        """First slot that is not handed out: ``max_pages``, or less while slots in use keep a ghost from
        shrinking; see `Swap.resize`. ``nr_swap_pages`` counts no free slot from this slot on."""
    @property
    def inuse_pages(self) -> int:
        """Number of slots in use."""
    @property
    def flags(self) -> list[SwpFlag]:
        """The SWP_* flags that are set, which are also the texts of their names."""
    @property
    def is_on(self) -> bool:
        """False once the device is turned off; the property never raises."""
    @property
    def storage(self) -> Storage | None:
        """The storage that keeps the pages; None for a device that keeps metadata only."""
    def memory(self) -> DeviceMemory:
        """Returns exact byte counts of the device."""
    def clusters(self) -> ClusterColumns:
        """Returns columns of the properties of all clusters.

        ``np.asarray(column)`` is a view without a copy, and ``pd.DataFrame(device.clusters())`` has one row
        for each cluster.

        Clusters are in the order of their numbers; a ghost lists only the clusters that exist. Each cluster
        is locked on its own, so two rows can show different moments."""
    def slots(self) -> bytes:
        """Returns one byte for each of ``max_pages`` slots, a `swapcore.SlotKind`: 0 free, 1 swapped out, 2
        in the swap cache, 3 bad, 4 pointer (the slot keeps the page of a virtual slot).

        ``np.frombuffer(device.slots(), "u1")`` is a view without a copy. The bytes of a ghost end with the
        last cluster that has a slot in use; the slots after it are free. The call takes no locks, so two bytes
        can show different moments."""
    def used_slots(self) -> SlotColumns:
        """Returns columns of all slots that are not free, read-only buffers, for NumPy and pandas.

        ``np.asarray(column)`` is a view without a copy, and ``pd.DataFrame(device.used_slots())`` has one row
        for each slot that is not free. Slots are in the order of their numbers. The time and the size of the
        result follow the clusters that were ever used, not the size of the device. The call takes no locks, so
        two rows can show different moments."""

@final
class ZswapHandle:
    """The compressed memory in front of all devices, `Swap.zswap`. Kernel: `mm/zswap.c`.

    The properties are the module parameters of zswap, and all are settable."""

    @property
    def enabled(self) -> bool:
        """True while zswap takes new pages. A stored page stays until it is read, freed or written back."""
    @enabled.setter
    def enabled(self, enabled: bool) -> None: ...
    @property
    def compressor(self) -> str:
        """The compressor for new pages: ``lz4``, or ``zstd`` if the build has it. Stored pages stay in the
        pool of their compressor. Errors of a set: EINVAL, unknown name."""
    @compressor.setter
    def compressor(self, compressor: str) -> None: ...
    @property
    def max_pool_percent(self) -> int:
        """The largest part of ``Swap(memory_pages=...)`` that the pools may use, in percent. Errors of a set:
        EINVAL, not 0 to 100."""
    @max_pool_percent.setter
    def max_pool_percent(self, percent: int) -> None: ...
    @property
    def accept_threshold_percent(self) -> int:
        """The part of the pools' limit to which full pools must shrink before zswap takes pages again, in
        percent. Errors of a set: EINVAL, not 0 to 100."""
    @accept_threshold_percent.setter
    def accept_threshold_percent(self, percent: int) -> None: ...
    @property
    def shrinker_enabled(self) -> bool:
        """True if reclaim writes cold pages to devices before the pools are full."""
    @shrinker_enabled.setter
    def shrinker_enabled(self, enabled: bool) -> None: ...
    def stats(self) -> dict[str, int]:
        """Returns every counter by its kernel name; a counter without a unit counts events.

        Keys:
            pool_limit_hit: stores refused because the pools were full.
            reject_reclaim_fail: pages that zswap could not write back to make room.
            reject_alloc_fail: stores refused for lack of pool memory.
            reject_kmemcache_fail: stores refused for lack of memory for an entry.
            reject_compress_fail: stores refused because the compressor failed.
            reject_compress_poor: stores refused because the page does not compress and its group is not
                allowed to write back.
            decompress_fail: loads that failed because the data is damaged.
            written_back_pages: pages written to a device.
            pool_total_size: bytes of all pools.
            stored_pages: pages in all pools now.
            stored_incompressible_pages: pages among ``stored_pages`` that are kept uncompressed.
            entry_bytes: bytes of memory of zswap's entries now, which are allocated 64 at a time."""
    def pools(self) -> list[ZswapPool]:
        """Returns the figures of each pool; the pool that takes new pages is the first."""
    def set_faults(
        self, *, entry_alloc: float = 0.0, pool_alloc: float = 0.0, compress: float = 0.0, decompress: float =
        0.0, seed: int = 0
    ) -> None:
        """Replaces the failures to inject, each with a probability, 0.0 to 1.0; a call without arguments
        plans no failure.

        ``entry_alloc`` fails the allocation of an entry, ``pool_alloc`` fails the allocation of memory for
        data, and ``compress`` and ``decompress`` fail the compressor. Equal seeds and equal calls give equal
        failures. Errors: EINVAL, a probability is out of range."""
    def writeback(self, entry: SwpEntry | int, *, cpu: int | None = None) -> None:
        """Writes the page of one slot to a device and drops the page from zswap.

        Errors: `AlreadyCachedError` (EEXIST), the slot is cached; ENOENT, the page is not in zswap;
        `MemoryError`, no memory, or there is no slot on another device for the page of a virtual slot;
        EINVAL, the slot is of a ghost without a virtual table; `SwapIOError`, the data is damaged, or the
        write failed and the page is in memory, dirty. Kernel: `zswap_writeback_entry`."""
    def shrink(self, *, memcg: MemCgroup | None = None, cpu: int | None = None) -> int:
        """Writes up to 32 of the coldest pages of a group (None: root) to devices, or only the coldest page with
        the switch ``zswap_shrink_scan=one``; returns the number of written pages.

        Errors: EAGAIN, every write failed; ENOENT, the group has no page in zswap, or is not allowed to write
        back. Kernel: `shrink_memcg`."""
    def shrink_worker(self, *, cpu: int | None = None) -> int:
        """Writes pages of all groups in turn to devices until the pools have shrunk to
        ``accept_threshold_percent``; returns the number of written pages.

        The call gives up after 16 failures. Kernel: `shrink_worker`."""

def parse_swap_header(page: Buffer) -> SwapHeader:
    """Reads a SWAPSPACE2 header page of 4096 bytes, in either byte order.

    ``page`` may be longer: if ``page`` has the first 65536 bytes of a swap area, the error for a header of
    another page size names this page size. Errors: EINVAL, no signature, another page size, bad version, last
    page 0, or more than 637 bad pages."""

def build_swap_header(
    last_page: int, bad_pages: Sequence[int] = ..., uuid: bytes = ..., label: str = ...
) -> bytes:
    """Builds the 4096-byte SWAPSPACE2 header page that `mkswap` writes; ``uuid`` has 16 bytes.

    Errors: EINVAL, more than 637 bad pages, or a label of more than 16 bytes or with a zero byte."""
