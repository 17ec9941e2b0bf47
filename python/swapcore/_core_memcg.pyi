"""Memory cgroups of the Rust core. At run time the classes `MemCgroup` and `MemcgFile` are in `_core`.

The dicts are plain `dict`s at run time; import their names under `typing.TYPE_CHECKING` only.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict, final, type_check_only

from ._core_memory import Mm

@type_check_only
class MemoryEvents(TypedDict):
    """The counts of ``memory.events``."""

    low: int
    """Number of times that reclaim took pages although the group was below its ``memory.low``."""
    high: int
    """Number of times that usage exceeded ``memory.high``."""
    max: int
    """Number of times that a charge would have raised usage above ``memory.max``."""
    oom: int
    """Number of charges that failed although reclaim ran."""
    oom_kill: int
    """Number of tasks that the OOM killer ended; 0 unless the switch ``oom`` is ``kill``."""
    oom_group_kill: int
    """Charges that failed after reclaim in a group that ``memory.oom.group`` makes one workload; swapcore
    kills the tasks of the group only if the switch ``oom`` is ``kill``."""
    sock_throttled: int
    """Always 0, because swapcore has no sockets."""

@type_check_only
class SwapEvents(TypedDict):
    """The counts of ``memory.swap.events``."""

    high: int
    """Number of times that usage exceeded ``memory.swap.high``."""
    max: int
    """Number of times that a charge would have raised usage above ``memory.swap.max``."""
    fail: int
    """Number of folios that got no slots, because the limit refused the charge or no room was left."""

@type_check_only
class OomControl(TypedDict):
    """The values of v1's ``memory.oom_control``."""

    oom_kill_disable: int
    """1 when the OOM killer is disabled, else 0."""
    under_oom: int
    """Always 0, because a charge that finds no memory fails."""
    oom_kill: int
    """Number of tasks that the OOM killer ended; 0 unless the switch ``oom`` is ``kill``."""

@final
class MemcgFile:
    """An open file of a group, made by `MemCgroup.open`. Kernel: a file descriptor.

    A write to ``memory.peak`` or ``memory.swap.peak`` through the object resets the peak for this object
    alone. The object keeps its group alive, but not online. A ``with`` statement closes the file at its
    end."""

    @property
    def name(self) -> str:
        """The name of the file."""
    @property
    def closed(self) -> bool:
        """True after `close`."""
    def read(self) -> str:
        """Returns the whole text of the file.

        Errors: EBADF, the file is closed; EINVAL, the file is write-only. Kernel: `pread` at offset 0."""
    def write(self, value: str | int, *, nonblock: bool = False, cpu: int | None = None) -> None:
        """Writes to the file; with ``nonblock``, a limit below usage is set without reclaim. Releases the
        GIL.

        Errors: EBADF, the file is closed; the errors of `MemCgroup.write`. Kernel: `write`,
        ``O_NONBLOCK``."""
    def close(self) -> None:
        """Closes the file; a second call changes nothing. Kernel: `close`."""
    def __enter__(self) -> MemcgFile: ...
    def __exit__(self, kind: object, value: object, traceback: object) -> None: ...

@final
class MemCgroup:
    """One memory cgroup, made by `create` from `Swap.memcg`. Kernel: `struct mem_cgroup`.

    The object keeps its group in existence, but the group can go offline. Two objects of the same group are
    equal.

    Each file of a group is an attribute, with underscores for dots: ``group.memory_max = "1G"``. Amounts are
    bytes. A set takes an int, or a text in the kernel's form, such as ``"1G"`` or ``"0x1000"``, and rounds
    the amount down to pages. As in the kernel, a number that begins with 0 is octal, and a blank text or a
    unit alone is 0. A set of an attribute and a keyword of `create` also take the forms ``"1.5G"`` and
    ``"1GiB"``, which the kernel's files and `write` do not. A file with a number reads as an int, a file with
    lines of keys and values as a dict, and any other text (``"max"``) as a str. An attribute raises
    AttributeError if the group does not have its file. A v1 group has only the files of v1, and a v2 group
    only the files of v2; on v2 the root group has only ``memory.stat``, ``memory.reclaim`` and
    ``memory.zswap.writeback``. Two files are write-only: ``memory_reclaim`` (v2) reclaims a number of bytes,
    and ``memory_force_empty`` (v1) reclaims as many pages as possible. ``dir(group)``, and completion with
    it, has the files that the group has. A read of an attribute of a write-only file is an AttributeError,
    because ``hasattr`` and completion read attributes.

    Errors of a set: EACCES, the file is read-only; EINVAL, the file does not take the text; ENODEV, the group
    is removed; EAGAIN, ``memory_reclaim`` reclaimed too little. A file of a removed group can still be read.
    Reclaim holds no lock while a hook runs, so a hook may call any function."""

    @property
    def name(self) -> str:
        """The name given to `create`; "" for root."""
    @property
    def path(self) -> str:
        """The names of the groups from root down to this group, with slashes between them."""
    @property
    def parent(self) -> MemCgroup | None:
        """The group above; None for root."""
    @property
    def files(self) -> list[str]:
        """Names of the files of the group."""
    @property
    def children(self) -> list[MemCgroup]:
        """The online groups directly below this group, in the order of their creation."""
    @property
    def dying_children(self) -> list[MemCgroup]:
        """The removed groups directly below this group that still exist, in the order of their creation.

        Memory, slots, objects or groups below refer to such a group. Kernel: ``nr_dying_descendants`` of
        ``cgroup.stat`` counts them."""
    @property
    def tasks(self) -> list[Mm]:
        """The address spaces of the group alone, in the order of their creation.

        A set of `Mm.memcg` moves a task to another group. Kernel: ``cgroup.procs``, as objects instead of
        process ids."""
    @property
    def is_online(self) -> bool:
        """False once the group is removed."""
    def create(self, name: str, **files: str | int) -> MemCgroup:
        """Makes a group below this group, and writes ``files``, such as ``memory_max="256M"`` or
        ``swap_max=0``.

        A keyword is the name of a file with underscores for dots, with or without ``memory_`` in front.
        Errors, after which there is no new group: EEXIST, the name is taken; EINVAL, the name cannot be a
        directory's name; ENOSPC, all private ids are in use; EAGAIN, the tree is too deep; ENODEV, this group
        is removed; TypeError, a keyword is not a file; the errors of `write`. Kernel: `mkdir`."""
    def remove(self) -> None:
        """Takes the group offline; the group is freed when no memory, slot or object refers to it.

        Errors: EBUSY, the group has tasks or groups below it, or, with the switch ``lru_reparent``, a folio
        that a handle locked (`Folio.is_locked`); ENODEV, the group is already removed; EINVAL, the group is
        root.
        Releases the GIL. Locks: with ``lru_reparent`` the lock of each folio of the group in turn. Kernel:
        `mem_cgroup_css_offline`."""
    def read(self, file: str) -> str:
        """Returns the text of a file; the files of a removed group stay readable.

        Errors: ENOENT, the group has no such file; EINVAL, the file is write-only."""
    def write(
        self, file: str, value: str | int, *, nonblock: bool = False, cpu: int | None = None
    ) -> None:
        """Writes a value to a file; with ``nonblock``, a write of a limit below usage does not reclaim.

        Errors: ENOENT, the group has no such file; EBUSY, usage stays above a v1 limit; the errors of
        setting an attribute, see `MemCgroup`. Kernel: `write`, ``O_NONBLOCK``."""
    def open(self, file: str) -> MemcgFile:
        """Opens a file of the group. The calls of `read` and `write` and the attributes of the group do not
        use this open file; they all share another file descriptor.

        Errors: ENOENT, the group has no such file; ENODEV, the group is removed. Kernel: `open`."""
    def counters(self) -> dict[str, int]:
        """Returns the exact counters of the group, which can be a removed group. Kernel: none.

        Keys:
            memory_pages: pages of memory charged to the group and all groups below.
            swap_pages: v2: slots charged to the group and all groups below.
            memsw_pages: v1: pages of memory and slots charged to the group and all groups below.
            memcg_swap_pages: the group's own part of the statistic MEMCG_SWAP, in pages.
            memory_watermark_pages: the highest value that ``memory_pages`` had.
            swap_watermark_pages: v2: the highest value that ``swap_pages`` had.
            memsw_watermark_pages: v1: the highest value that ``memsw_pages`` had.
            memory_failcnt: charges that the memory limit refused.
            swap_failcnt: charges that the swap limit refused; on v1, that the limit on memory and swap
                together refused.
            swapcached_pages: the group's own pages in the swap cache.
            id: the private id, 1 for root; a released id is given to a later group.
            id_refs: pins of the private id: one while the group is online, and one for each slot that records
                it.
            css_refs: references that keep the group alive, including the reference of this object.
            memory_underflow_pages: pages of memory that were uncharged without a charge; a value above 0 is a
                defect.
            swap_underflow_pages: pages of swap that were uncharged without a charge; above 0 only with
                ``rfc_literal``.
            events_max: the group's own count of ``max`` in ``memory.events``.
            events_oom: the group's own count of ``oom``.
            events_oom_kill: the group's own count of ``oom_kill``.
            events_high: the group's own count of ``high``.
            swap_events_max: the group's own count of ``max`` in ``memory.swap.events``.
            swap_events_fail: the group's own count of ``fail``.
            swap_events_high: the group's own count of ``high``."""
    def stat_local(self) -> dict[str, int]:
        """Returns the keys of ``memory.stat`` with the values of the group alone, which v2 does not show.

        A value may be below 0 with ``rfc_literal``. A group has the keys of its hierarchy; on v1 the file
        lists each key again with ``total_`` in front, and this value covers the group and all groups below.
        Kernel: none.

        Keys:
            anon: bytes of anonymous pages that are mapped.
            file: the same value as ``shmem``, because swapcore has no other files than shmem files.
            shmem: bytes of pages of shmem files.
            zswap: bytes of compressed pages in zswap.
            zswapped: bytes of pages in zswap before compression.
            zswap_incomp: pages that zswap stores as they are, because they do not compress.
            swapcached: bytes of pages in the swap cache.
            anon_thp: bytes of folios of the largest order that are mapped whole.
            inactive_anon: bytes of anonymous pages on the inactive list.
            active_anon: bytes of anonymous pages on the active list.
            inactive_file: always 0, because swap-backed pages are on the anonymous lists.
            active_file: always 0, because swap-backed pages are on the anonymous lists.
            unevictable: bytes of pages that must stay in memory.
            workingset_refault_anon: anonymous pages that came back after eviction.
            workingset_refault_file: always 0, because swapcore has only swap-backed pages.
            workingset_activate_anon: anonymous pages that came back so soon that they became active.
            workingset_activate_file: always 0, because swapcore has only swap-backed pages.
            workingset_restore_anon: anonymous pages that came back and had been in the working set.
            workingset_restore_file: always 0, because swapcore has only swap-backed pages.
            pgscan: pages that reclaim looked at.
            pgsteal: pages that reclaim freed.
            pgscan_kswapd: always 0, because swapcore has no kswapd.
            pgscan_direct: the part of ``pgscan`` in reclaim because of a limit or a lack of memory.
            pgscan_khugepaged: always 0, because swapcore has no khugepaged.
            pgscan_proactive: the part of ``pgscan`` that ``memory.reclaim`` asked for.
            pgsteal_kswapd: always 0, because swapcore has no kswapd.
            pgsteal_direct: the part of ``pgsteal`` in reclaim because of a limit or a lack of memory.
            pgsteal_khugepaged: always 0, because swapcore has no khugepaged.
            pgsteal_proactive: the part of ``pgsteal`` that ``memory.reclaim`` asked for.
            pswpin: pages read from a device.
            pswpout: pages written to a device.
            pgfault: page faults.
            pgmajfault: page faults that had to allocate or read.
            pgrefill: active pages that reclaim looked at.
            pgactivate: pages that became active.
            pgdeactivate: pages that became inactive.
            swpin_zero: pages filled with zeros instead of read.
            swpout_zero: pages marked as zeros instead of written.
            zswpin: pages that came from zswap.
            zswpout: pages that went to zswap.
            zswpwb: pages that zswap wrote back to a device.
            zswpwb_proactive_b: compressed bytes of pages that ``memory.reclaim`` wrote back from zswap.
            thp_swpout: large folios swapped out in one piece.
            thp_swpout_fallback: large folios split before swap-out.
            cache: v1: the same value as ``shmem``, because swapcore has no other files than shmem files.
            rss: v1: bytes of anonymous pages that are mapped.
            rss_huge: v1: bytes of folios of the largest order that are mapped whole.
            mapped_file: v1: always 0, because swapcore has only swap-backed pages.
            dirty: v1: always 0, because swapcore has only swap-backed pages.
            writeback: v1: always 0, because swapcore has only swap-backed pages.
            swap: v1: bytes of slots charged.
            pgpgin: v1: pages charged.
            pgpgout: v1: pages uncharged."""
    def set_policy(
        self, *, allow_swap: bool = True, dead_owner: str | None = None, devices: Sequence[int] | None = None,
        refault: str | None = None
    ) -> None:
        """Replaces the policy of this group; a group that is made below this group afterwards starts with the
        same policy, except for the devices. Kernel: none.

        Each call sets all four rules, so an argument that is left out resets its rule to the default.
        ``allow_swap`` says whether folios of the group may be swapped out. ``dead_owner`` is a word of the
        switch ``dead_swapin``; None takes the value of the switch. ``devices`` are the swap types of the
        devices that may hold data of the group, the best first, as far as the groups above allow these
        devices; None allows the devices of the group above, and for root all devices, by priority. If a
        virtual device is among them, only the real devices among them back its slots, and without a real
        device the data stays in zswap. ``refault`` is ``activate`` (each page that comes back becomes active)
        or ``never`` (no page becomes active); with None a page becomes active if its refault distance is
        within the working set.

        Errors: EINVAL, unknown word, a rule that the switch ``owner_store`` does not allow, no device, or a
        device that is not on; ENODEV, the group is removed."""

    # The files of v2.

    @property
    def memory_current(self) -> int:
        """``memory.current``: bytes of memory charged to the group and all groups below. Read-only; root has
        no such file."""
    @property
    def memory_peak(self) -> int:
        """``memory.peak``: the highest value that ``memory_current`` had, in bytes. A write of any text but
        the empty one resets the value for `read` and this attribute, not for a file of `open`; root has no
        such file."""
    @memory_peak.setter
    def memory_peak(self, value: str | int) -> None: ...
    @property
    def memory_min(self) -> int | Literal["max"]:
        """``memory.min``: bytes that reclaim never takes, as far as the groups above have this protection.
        Settable; root has no such file."""
    @memory_min.setter
    def memory_min(self, value: str | int) -> None: ...
    @property
    def memory_low(self) -> int | Literal["max"]:
        """``memory.low``: bytes that reclaim takes only after all other memory, as far as the groups above
        have this protection. Settable; root has no such file."""
    @memory_low.setter
    def memory_low(self, value: str | int) -> None: ...
    @property
    def memory_high(self) -> int | Literal["max"]:
        """``memory.high``: bytes above which the group is reclaimed at once. Settable; root has no such
        file."""
    @memory_high.setter
    def memory_high(self, value: str | int) -> None: ...
    @property
    def memory_max(self) -> int | Literal["max"]:
        """``memory.max``: the limit on memory in bytes. Settable; a value below usage reclaims first. Root
        has no such file."""
    @memory_max.setter
    def memory_max(self, value: str | int) -> None: ...
    @property
    def memory_events(self) -> MemoryEvents:
        """``memory.events``: counts of the group and all groups below; with the switch
        ``memory_localevents``, of the group alone. Read-only; root has no such file."""
    @property
    def memory_events_local(self) -> MemoryEvents:
        """``memory.events.local``: counts of the group alone. Read-only; root has no such file."""
    @property
    def memory_oom_group(self) -> int:
        """``memory.oom.group``: 1 when the group with all groups below is one workload for the OOM killer,
        else 0. Settable; root has no such file."""
    @memory_oom_group.setter
    def memory_oom_group(self, value: str | int) -> None: ...
    @property
    def memory_swap_current(self) -> int:
        """``memory.swap.current``: bytes of slots charged to the group and all groups below. Read-only; root
        has no such file."""
    @property
    def memory_swap_peak(self) -> int:
        """``memory.swap.peak``: the highest value that ``memory_swap_current`` had, in bytes. A write resets
        the value in the same way as a write to ``memory_peak`` does; root has no such file."""
    @memory_swap_peak.setter
    def memory_swap_peak(self, value: str | int) -> None: ...
    @property
    def memory_swap_high(self) -> int | Literal["max"]:
        """``memory.swap.high``: bytes of slots above which charges count as ``high`` events. Settable; root
        has no such file."""
    @memory_swap_high.setter
    def memory_swap_high(self, value: str | int) -> None: ...
    @property
    def memory_swap_max(self) -> int | Literal["max"]:
        """``memory.swap.max``: the limit on slots in bytes. Settable; slots in use stay, and only new charges
        are refused. Root has no such file."""
    @memory_swap_max.setter
    def memory_swap_max(self, value: str | int) -> None: ...
    @property
    def memory_swap_events(self) -> SwapEvents:
        """``memory.swap.events``: counts of the group and all groups below; with the switch
        ``memory_localevents``, of the group alone. Read-only; root has no such file."""
    @property
    def memory_zswap_current(self) -> int:
        """``memory.zswap.current``: bytes of compressed pages of the group and all groups below. Read-only;
        root has no such file."""
    @property
    def memory_zswap_max(self) -> int | Literal["max"]:
        """``memory.zswap.max``: the limit on compressed pages in bytes. Settable; pages in zswap stay, and
        only new pages are refused. Root has no such file."""
    @memory_zswap_max.setter
    def memory_zswap_max(self, value: str | int) -> None: ...
    @property
    def memory_zswap_writeback(self) -> int:
        """``memory.zswap.writeback``: 1 if pages of the group may be written to a device, else 0: with 0,
        zswap writes none of the pages back, and a swap-out that zswap refuses fails. The file has no effect
        while zswap is disabled. Settable; root has this file too."""
    @memory_zswap_writeback.setter
    def memory_zswap_writeback(self, value: str | int) -> None: ...
    @property
    def memory_stat(self) -> dict[str, int]:
        """``memory.stat``: the statistics that `stat_local` lists; on v2 each value covers the group and all
        groups below. Read-only; root has this file too. On v1 ``hierarchical_memory_limit`` and
        ``hierarchical_memsw_limit`` are the smallest limits, in bytes, of the group and all groups above."""

    # The files of v1; root has all of them.

    @property
    def memory_usage_in_bytes(self) -> int:
        """``memory.usage_in_bytes``: bytes of memory charged to the group and all groups below. Read-only."""
    @property
    def memory_limit_in_bytes(self) -> int:
        """``memory.limit_in_bytes``: the limit on memory in bytes. Settable. Errors of a set: EBUSY, reclaim
        cannot bring usage below the value; EINVAL, the value is above the limit of memory and swap."""
    @memory_limit_in_bytes.setter
    def memory_limit_in_bytes(self, value: str | int) -> None: ...
    @property
    def memory_max_usage_in_bytes(self) -> int:
        """``memory.max_usage_in_bytes``: the highest value that ``memory_usage_in_bytes`` had. Any write
        resets the value."""
    @memory_max_usage_in_bytes.setter
    def memory_max_usage_in_bytes(self, value: str | int) -> None: ...
    @property
    def memory_failcnt(self) -> int:
        """``memory.failcnt``: charges that the limit on memory refused. Any write sets 0."""
    @memory_failcnt.setter
    def memory_failcnt(self, value: str | int) -> None: ...
    @property
    def memory_memsw_usage_in_bytes(self) -> int:
        """``memory.memsw.usage_in_bytes``: bytes of memory and slots charged together. Read-only."""
    @property
    def memory_memsw_limit_in_bytes(self) -> int:
        """``memory.memsw.limit_in_bytes``: the limit on memory and slots together, in bytes. Settable. Errors
        of a set: EBUSY, reclaim cannot bring usage below the value; EINVAL, the value is below the limit of
        memory."""
    @memory_memsw_limit_in_bytes.setter
    def memory_memsw_limit_in_bytes(self, value: str | int) -> None: ...
    @property
    def memory_memsw_max_usage_in_bytes(self) -> int:
        """``memory.memsw.max_usage_in_bytes``: the highest value that ``memory_memsw_usage_in_bytes`` had.
        Any write resets the value."""
    @memory_memsw_max_usage_in_bytes.setter
    def memory_memsw_max_usage_in_bytes(self, value: str | int) -> None: ...
    @property
    def memory_memsw_failcnt(self) -> int:
        """``memory.memsw.failcnt``: charges that the limit of memory and swap refused. Any write sets 0."""
    @memory_memsw_failcnt.setter
    def memory_memsw_failcnt(self, value: str | int) -> None: ...
    @property
    def memory_swappiness(self) -> int:
        """``memory.swappiness``: how readily anonymous pages are reclaimed, 0 to 200. Settable."""
    @memory_swappiness.setter
    def memory_swappiness(self, value: str | int) -> None: ...
    @property
    def memory_oom_control(self) -> OomControl:
        """``memory.oom_control``: the state of the OOM killer. Settable: 0 or 1 for ``oom_kill_disable``.
        Errors of a set: EINVAL, the group is root."""
    @memory_oom_control.setter
    def memory_oom_control(self, value: str | int) -> None: ...
    @property
    def memory_use_hierarchy(self) -> int:
        """``memory.use_hierarchy``: always 1, because every group is hierarchical. A set of 1 changes
        nothing. Errors of a set: EINVAL, any other value."""
    @memory_use_hierarchy.setter
    def memory_use_hierarchy(self, value: str | int) -> None: ...
    @property
    def memory_move_charge_at_immigrate(self) -> int:
        """``memory.move_charge_at_immigrate``: always 0, because a task that moves takes no charge along. A
        set of 0 changes nothing. Errors of a set: EINVAL, any other value."""
    @memory_move_charge_at_immigrate.setter
    def memory_move_charge_at_immigrate(self, value: str | int) -> None: ...
    def __setattr__(self, name: str, value: str | int, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
