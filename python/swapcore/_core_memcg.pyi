"""Typed face of the Rust core: memory cgroups. At run time all of it is in `_core`."""

from collections.abc import Sequence
from typing import Any, Final, final

from ._core_dicts import GroupCounters, MemoryEvents, SwapEvents

__all__ = ["MemCgroup"]

@final
class MemCgroup:
    """One memory cgroup, made by `create` from `Swap.memcg`. The object keeps its group alive, but not online. Kernel:
    `struct mem_cgroup`.

    Each file is an attribute with underscores for dots: ``group.memory_max = "1G"``. A number reads as an int, ``key value``
    lines as a dict, any other text (``"max"``) as a str. A write to a read-only file, and a read of a write-only file, is
    EINVAL. A file of the other hierarchy is an AttributeError. A write raises the kernel's errno."""

    name: Final[str]
    """The group's name; "" for root."""
    path: Final[str]
    """The names from root down."""
    parent: Final[MemCgroup | None]
    """The group above; None for root."""
    files: Final[list[str]]
    """Names of the files the group has."""
    # Files of v2.
    memory_current: int
    """``memory.current``: Memory in use, in bytes, with that of groups below. Read only."""
    memory_peak: int
    """``memory.peak``: Most memory in use at one time, in bytes. A write of any text resets it to the memory in use."""
    memory_min: int | str
    """``memory.min``: Memory that reclaim never takes, in bytes, or ``"max"``; writable, with unit or in bytes."""
    memory_low: int | str
    """``memory.low``: Memory that reclaim spares if it finds other memory, in bytes, or ``"max"``; writable, with unit or in
    bytes."""
    memory_high: int | str
    """``memory.high``: The limit above which charges reclaim, in bytes, or ``"max"``; writable, with unit or in bytes."""
    memory_max: int | str
    """``memory.max``: The limit on memory, in bytes, or ``"max"``; writable, with unit or in bytes; a write reclaims the memory
    over the limit."""
    memory_events: MemoryEvents
    """``memory.events``: Counts of events, with those of groups below. Read only."""
    memory_events_local: MemoryEvents
    """``memory.events.local``: Counts of events of the group itself. Read only."""
    memory_stat: dict[str, int]
    """``memory.stat``: Statistics by kernel name, with those of groups below: bytes, and events for names that begin with
    ``pg``, ``workingset_``, ``swp`` or ``zswp``. Read only."""
    memory_reclaim: int | str
    """``memory.reclaim``: Reclaims the written number of bytes; ``swappiness=`` or ``source=zswap`` may follow the number.
    EAGAIN means that less was reclaimed. Write only."""
    memory_swap_current: int
    """``memory.swap.current``: Swap in use, in bytes, with that of groups below. Read only."""
    memory_swap_high: int | str
    """``memory.swap.high``: The amount of swap above which the group is throttled, in bytes, or ``"max"``; writable, with
    unit or in bytes."""
    memory_swap_max: int | str
    """``memory.swap.max``: The limit on swap, in bytes, or ``"max"``; writable, with unit or in bytes. Pages that are
    swapped out stay."""
    memory_swap_peak: int
    """``memory.swap.peak``: Most swap in use at one time, in bytes. A write of any text resets it to the swap in use."""
    memory_swap_events: SwapEvents
    """``memory.swap.events``: Counts of events of swap, with those of groups below. Read only."""
    memory_zswap_current: int
    """``memory.zswap.current``: Compressed memory, in bytes, with that of groups below. Read only."""
    memory_zswap_max: int | str
    """``memory.zswap.max``: The limit on compressed memory, in bytes, or ``"max"``; writable, with unit or in bytes. Pages
    in zswap stay."""
    memory_zswap_writeback: int
    """``memory.zswap.writeback``: With 1, zswap may write pages to a device, and refused pages go to a device. With 0, neither
    happens. Writable."""
    # Files of v1.
    memory_usage_in_bytes: int
    """``memory.usage_in_bytes``: Memory in use, in bytes, with that of groups below. Read only."""
    memory_limit_in_bytes: int | str
    """``memory.limit_in_bytes``: The limit on memory, in bytes; writable, with unit or in bytes, -1 for none."""
    memory_max_usage_in_bytes: int
    """``memory.max_usage_in_bytes``: Most memory in use at one time, in bytes. A write of any text resets it."""
    memory_failcnt: int
    """``memory.failcnt``: Charges that the limit on memory refused. A write of any text resets it to 0."""
    memory_memsw_usage_in_bytes: int
    """``memory.memsw.usage_in_bytes``: Memory and swap in use, in bytes, with those of groups below. Read only."""
    memory_memsw_limit_in_bytes: int | str
    """``memory.memsw.limit_in_bytes``: The limit on memory and swap together, in bytes; writable, with unit or in bytes, -1
    for none."""
    memory_memsw_max_usage_in_bytes: int
    """``memory.memsw.max_usage_in_bytes``: Most memory and swap in use at one time, in bytes. A write of any text resets it."""
    memory_memsw_failcnt: int
    """``memory.memsw.failcnt``: Charges that the limit on memory and swap refused. A write of any text resets it to 0."""
    memory_swappiness: int
    """``memory.swappiness``: Weight of anonymous pages in reclaim, 0..=200; writable."""
    memory_force_empty: int | str
    """``memory.force_empty``: Reclaims as much as possible. Write only."""
    memory_oom_control: dict[str, int] | int
    """``memory.oom_control``: Reads as ``oom_kill_disable`` (0 or 1), ``under_oom`` (0) and ``oom_kill`` (events); a write of 0
    or 1 sets ``oom_kill_disable``."""
    @property
    def children(self) -> list[MemCgroup]:
        """The online groups directly below, in the order of their creation."""
    @property
    def is_online(self) -> bool:
        """Whether the group has not been removed."""
    def create(self, name: str, **files: str | int) -> MemCgroup:
        """Makes a group below. Keywords are files to write, with underscores for dots, ``memory_`` in front or not, such as
        ``memory_max="256M"`` or ``swap_max=0``. Errors: EEXIST; EINVAL;
        ENOSPC all ids in use; EAGAIN too deep; ENODEV removed; the errors of the files. After an error there is no new group."""
    def remove(self) -> None:
        """Takes the group offline; the group's charges live on. Errors: EBUSY groups or tasks in it; ENODEV; EINVAL root."""
    def read(self, file: str) -> str:
        """Returns the text of a file, also of a removed group. Errors: ENOENT; EINVAL the file is write only."""
    def write(self, file: str, value: str | int, *, nonblock: bool = False) -> None:
        """Writes to a file; ``nonblock`` sets a limit without a reclaim of the pages over it. Errors: ENOENT; EINVAL; EACCES; ENODEV; EBUSY a v1 limit below usage; EAGAIN too little reclaimed."""
    def counters(self) -> GroupCounters:
        """Returns the exact counters in pages, references and local events, also of a removed group."""
    def stat_local(self) -> dict[str, int]:
        """Returns the keys of ``memory.stat`` with the group's own part."""
    def set_policy(
        self,
        *,
        allow_swap: bool = True,
        dead_owner: str | None = None,
        devices: Sequence[int] | None = None,
        refault: str | None = None,
    ) -> None:
        """Sets the group's policy table, which decides without a call of a hook; a group made below it from now on copies it,
        and groups that exist keep theirs.

        ``allow_swap`` False keeps the group's pages in memory, ``dead_owner`` is a word of ``dead_swapin`` (None: that of the
        subsystem), ``devices`` the swap types allowed, best first (None: all), ``refault`` ``activate`` or ``never`` (None: the
        working-set rule). Errors: EINVAL an unknown word, an empty list, a device that is off, or a rule that the owner
        store cannot keep; ENODEV removed. Kernel: none."""
    def __getattr__(self, name: str, /) -> Any: ...  # noqa: ANN401
    def __setattr__(self, name: str, value: str | int, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
