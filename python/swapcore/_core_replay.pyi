"""Typed face of the Rust core, second part: replays, allocators and the stress run. At run time all of it is in `_core`."""

from collections.abc import Callable
from typing import ClassVar, final

from typing_extensions import Buffer

from ._core import Mm, Swap, SwapBatch
from ._core_dicts import AccessReplayReport, FolioReplayReport, ReplayReport, StrategyMemory, StressReport

__all__ = ["Accesses", "Strategy", "Trace", "stress"]

@final
class Trace:
    """A recorded list of swap operations, checked once and ready to replay.

    Columns as in a trace file, any C-contiguous buffers of equal length: ``op`` u1 (0 allocate, 1 free), ``cpu`` u1,
    ``folio`` u4, ``first`` u2, ``nr`` u2 (pages)."""

    def __new__(cls, op: Buffer, cpu: Buffer, folio: Buffer, first: Buffer, nr: Buffer) -> Trace: ...
    @property
    def nr_ops(self) -> int:
        """Operations of the trace."""
    @property
    def nr_allocations(self) -> int:
        """Allocations among the operations."""
    @property
    def nr_cpus(self) -> int:
        """CPUs that operations name."""
    @property
    def peak_pages(self) -> int:
        """Most pages in use at one time."""
    @property
    def allocations_by_order(self) -> dict[int, int]:
        """Allocations by order; orders without any are left out."""
    def replay_folios(
        self,
        swap: Swap,
        *,
        zero_percent: float = 10.0,
        random_percent: float = 10.0,
        read_percent: float = 100.0,
        is_verified: bool = True,
        seed: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> FolioReplayReport:
        """Replays the trace with folios that have data: each allocation swaps a folio out, each free swaps its pages in
        and drops them (``read_percent`` of the frees, drawn by ``seed``) or drops them unread. Folios in use at the end
        are released in the same way.

        ``zero_percent`` of the pages are zeros, ``random_percent`` do not compress, the others about 3:1. A large folio that
        gets no run is split as in the kernel. A page that gets no slot is dropped. A page that a ghost refuses stays in memory.
        With ``is_verified`` every page read is compared with its written content. Detaches. Every 256 operations the replay
        checks for Ctrl-C and calls ``progress`` with the operations done; an exception of ``progress`` ends the replay.

        Returns ``ops``, ``swapped_out_pages``, ``swapped_in_pages``, ``dropped_pages``, ``refused_pages``, ``unread_pages``,
        ``fallback_pages`` (of large folios that were split), ``swap_in_folios``, ``swap_out_ns`` and ``swap_in_ns`` (thread
        CPU time of the calls), ``peak_pages``, ``end_pages`` (in use at the end of the trace), and ``peak_stats`` (figures
        of the storage of the first device that is no ghost, at the peak) and ``peak_zswap`` (figures of zswap at the peak).
        Errors: EINVAL fewer CPUs than the trace or a percentage out of range; `InvariantError` a page came back with another
        content; `SwapIOError`."""
    def replay(self, strategy: Strategy, *, samples: int = 0) -> ReplayReport:
        """Replays the whole trace once and drains nothing. Detached from the interpreter unless the strategy is Python.

        A failing request of order > 0 is split into order-0 requests as in the kernel; a failing order-0 request drops its
        page. ``samples`` > 0 stops the clock that many times, evenly, to measure fragmentation. Returns ``ops``,
        ``allocations``, ``cpu_ns`` (thread CPU time of all calls), ``failures`` (requests by order), ``fallback_pages``,
        ``dropped_pages``, ``large_pages`` (asked for with order > 0), ``used_slots_peak``, ``used_slots_end``,
        ``bytes_at_peak``, ``static_bytes``, and ``fragmentation`` (mean over the samples of 1 - free slots in aligned free
        runs of 16 / free slots)."""
    def floor(self) -> int:
        """Returns the CPU ns of a replay without an allocator: the loop, the bookkeeping, the virtual call."""

@final
class Accesses:
    """A list of page accesses, checked once and ready to replay.

    Columns are C-contiguous buffers of equal length: ``page`` u4, below 2**28, and ``write`` u1 (1 writes, else 0).
    Errors: EINVAL names the access."""

    def __new__(cls, page: Buffer, write: Buffer) -> Accesses: ...
    @property
    def nr_accesses(self) -> int:
        """Accesses in the list."""
    @property
    def nr_writes(self) -> int:
        """Accesses that write."""
    @property
    def nr_pages(self) -> int:
        """Pages that are accessed at all."""
    @property
    def span_pages(self) -> int:
        """Pages to map for a replay: one more than the largest page number."""
    def replay(
        self,
        mm: Mm,
        first_page: int,
        start: int = 0,
        stop: int | None = None,
        *,
        zero_percent: float = 10.0,
        random_percent: float = 10.0,
        is_verified: bool = True,
        seed: int = 1,
        cpu: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> AccessReplayReport:
        """Makes one page after the other present; page 0 is ``first_page``. The accesses before ``start`` were replayed in
        ``mm``, or in the address space that ``mm`` was forked from, with the same seed, because a page's content follows from
        them.

        The first access of a page fills it, ``zero_percent`` with zeros, ``random_percent`` so that they do not compress;
        each write after that changes its last word. With ``is_verified`` each access compares that word, and the whole page
        when it was swapped out. Detaches. Every 1,024 accesses the replay checks for Ctrl-C and calls ``progress`` with the
        accesses done; an exception of ``progress`` ends the replay.

        Returns ``accesses``, ``writes``, ``first_touches``, ``verified_pages`` (compared whole), ``cpu_ns`` (thread CPU time
        without contents and whole comparisons) and ``is_oom`` (the replay ended early for want of memory). Errors: EINVAL a
        value out of range; EFAULT not mapped; `InvariantError` a page came back with another content; `SwapIOError`."""

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
        """Makes a strategy of a Python object with the methods of `swapcore.strategy.AllocatorStrategy`. Errors: EINVAL bad
        size or ``max_order``. The call or the replay that led to a method raises the method's exception."""
    @property
    def name(self) -> str:
        """The name shown in tables."""
    @property
    def max_order(self) -> int:
        """The largest order that the strategy serves."""
    def alloc(self, order: int = 0, cpu: int = 0) -> int:
        """Returns the first slot of a run, or -1 when there is no room."""
    def free(self, slot: int, nr: int = 1, cpu: int = 0) -> None:
        """Frees ``nr`` slots from ``slot`` on (a part of a run is allowed)."""
    def alloc_batch(self, n: int, order: int = 0, cpu: int = 0) -> SwapBatch:
        """Hands out up to ``n`` runs in one call; stops at the first failure."""
    def free_batch(self, batch: SwapBatch, cpu: int = 0) -> None:
        """Frees every run of a batch."""
    def memory(self) -> StrategyMemory:
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
) -> StressReport:
    """Hammers one subsystem from Rust threads (random orders, partial frees, dup and put, remote frees, bursts to a full
    device), then drains it and proves that nothing was lost; detached throughout. Returns ``ops``, ``allocated_runs``,
    ``freed_slots``, ``failures``, ``dups``, ``cached_folios``, ``seconds``, ``seed``, ``threads``, ``inuse_pages_end`` (0)
    and ``double_handouts`` (0). Errors: `InvariantError` a slot was lost or handed out twice."""
