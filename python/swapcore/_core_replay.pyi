"""Workloads of the Rust core: replays, comparisons and the stress. At run time the classes are in `_core`.

The dicts are plain `dict`s at run time. Import the class names under `typing.TYPE_CHECKING` only.
"""

from collections.abc import Callable
from typing import ClassVar, TypedDict, final, type_check_only

from typing_extensions import Buffer

from ._core_entries import SwapBatch
from ._core_memory import Mm
from ._core_swap import Swap

@type_check_only
class StrategyMemory(TypedDict):
    """Bytes of memory of a strategy, which is a slot allocator; see `Strategy.memory`."""

    static_bytes: int
    """Bytes that do not depend on the slots in use."""
    dynamic_bytes: int
    """Bytes whose number depends on the slots in use."""

@type_check_only
class ReplayReport(TypedDict):
    """The outcome of `Trace.replay`."""

    ops: int
    """Operations replayed."""
    allocations: int
    """Allocations among the replayed operations."""
    cpu_ns: int
    """Thread CPU time of all calls in ns, without the samples of fragmentation."""
    failures: dict[int, int]
    """Requests that failed, by order. Order 0 includes pages of split folios; an order without a failure has
    no key."""
    fallback_pages: int
    """Pages of large folios that were split because no run of their order was free."""
    dropped_pages: int
    """Pages that got no slot."""
    large_pages: int
    """Pages that were requested in large folios."""
    used_slots_peak: int
    """Slots in use at the peak of the trace."""
    used_slots_end: int
    """Slots in use at the end of the trace."""
    bytes_at_peak: int
    """Bytes of memory of the strategy at the peak of the trace; 0 if ``samples`` is 0."""
    static_bytes: int
    """Part of ``bytes_at_peak`` that does not depend on the slots in use."""
    fragmentation: float
    """Mean over the samples of 1 - (free slots in aligned free runs of 16 slots) / (free slots)."""

@type_check_only
class FolioReplayReport(TypedDict):
    """The outcome of `Trace.replay_folios`."""

    ops: int
    """Operations replayed."""
    swapped_out_pages: int
    """Pages that got a slot."""
    swapped_in_pages: int
    """Pages that were read back, including the pages that the end of the trace releases."""
    dropped_pages: int
    """Pages that got no slot."""
    refused_pages: int
    """Pages that got a slot of a ghost but no place for their data; the pages stay in memory."""
    unread_pages: int
    """Pages that were dropped without a read."""
    fallback_pages: int
    """Pages of large folios that were split."""
    swap_in_folios: int
    """Folios that the swap-ins made."""
    swap_out_ns: int
    """Thread CPU time of the swap-outs in ns, including the splits of folios."""
    swap_in_ns: int
    """Thread CPU time of the swap-ins in ns."""
    peak_pages: int
    """The most slots in use at one time."""
    end_pages: int
    """Slots in use at the end of the trace, before they are released."""
    peak_stats: dict[str, int]
    """Figures, at the peak, of the storage of the first device that has a place for pages."""
    peak_zswap: dict[str, int]
    """Figures of zswap at the peak."""

@type_check_only
class AccessReplayReport(TypedDict):
    """The outcome of `Accesses.replay`."""

    accesses: int
    """Accesses replayed."""
    writes: int
    """Replayed accesses that write."""
    first_touches: int
    """Replayed accesses that touched their page for the first time."""
    verified_pages: int
    """Pages that were swapped in and compared as a whole with their expected content; 0 if ``is_verified`` is
    False."""
    cpu_ns: int
    """Thread CPU time of the accesses in ns, without the time to make contents and to compare whole
    pages."""
    is_oom: bool
    """True if the replay ended early, because an access found no memory or no room in its memory cgroup."""

@type_check_only
class StressReport(TypedDict):
    """The outcome of `stress`."""

    threads: int
    """Number of threads that ran."""
    seconds: float
    """The requested duration in s."""
    seed: int
    """The seed that `stress` was called with."""
    ops: int
    """Number of operations of all threads."""
    allocated_runs: int
    """Number of runs that the allocator handed out."""
    freed_slots: int
    """Number of slots that were freed."""
    failures: int
    """Number of allocations that found no free run."""
    dups: int
    """Number of references that were added to slots."""
    cached_folios: int
    """Number of folios that only the swap cache held."""
    inuse_pages_end: int
    """Slots in use at the end: always 0, because `stress` frees every slot and raises if a slot is left."""
    double_handouts: int
    """Slots handed out while in use: always 0, because `stress` raises at such a slot."""

@final
class Trace:
    """A list of swap operations, which the constructor checks and the methods replay.

    The columns are C-contiguous buffers of equal length: ``op`` uint8 (0 allocate, 1 free), ``cpu`` uint8,
    ``folio`` uint32, ``first`` uint16 and ``nr`` uint16 (pages of the folio). Errors of the constructor:
    EINVAL; the message names the operation."""

    def __new__(cls, op: Buffer, cpu: Buffer, folio: Buffer, first: Buffer, nr: Buffer) -> Trace: ...
    @property
    def nr_ops(self) -> int:
        """Number of operations of the trace."""
    @property
    def nr_allocations(self) -> int:
        """Number of allocations among the operations."""
    @property
    def nr_cpus(self) -> int:
        """Number of CPUs that the trace needs: the largest CPU number of an operation plus 1."""
    @property
    def peak_pages(self) -> int:
        """The most pages in use at one time."""
    @property
    def allocations_by_order(self) -> dict[int, int]:
        """Number of allocations by order; an order without an allocation has no key."""
    def replay_folios(
        self, swap: Swap, *, zero_percent: float = 10.0, random_percent: float = 10.0,
        read_percent: float = 100.0, is_verified: bool = True, seed: int = 1,
        progress: Callable[[int], object] | None = None
    ) -> FolioReplayReport:
        """Replays the trace with folios that have data, and returns the counts.

        Each allocation swaps a folio out. ``read_percent`` percent of the frees, drawn by ``seed``, swap
        their pages in and drop the pages. The other frees drop their pages without a read. The pages in use
        at the end are released in the same way.

        ``zero_percent`` percent of the pages are zeros, ``random_percent`` percent do not compress, all other
        pages compress to about a third. A large folio that gets no run is split, as in the kernel; a page
        that gets no slot is dropped; a page that a ghost refuses stays in memory. With ``is_verified`` each
        page read is compared with its written content.

        Releases the GIL. Every 256 operations the call looks for signals and calls ``progress``
        with the number of operations done. An exception of a signal handler or of ``progress`` ends the
        replay.

        Errors: EINVAL, the subsystem has fewer CPUs than the trace, or a percentage is out of range;
        `InvariantError`, a page came back with other data; `SwapIOError`."""
    def replay(self, strategy: Strategy, *, samples: int = 0) -> ReplayReport:
        """Replays the whole trace once through a strategy, and returns the counts; slots in use at the end
        stay in use.

        A request of order > 0 that fails is split into requests of order 0, as in the kernel; a request of
        order 0 that fails drops its page. ``samples`` times, evenly spread, the replay stops its clock and
        measures the fragmentation. The call releases the GIL, except for a strategy written in
        Python, whose exceptions it raises."""
    def floor(self) -> int:
        """Returns the CPU time in ns of a replay with a strategy that allocates nothing: the time of the
        replay loop, of its bookkeeping, and of the calls through the trait ``Strategy``."""

@final
class Accesses:
    """A list of page accesses of one program, which the constructor checks and `replay` replays.

    The columns are C-contiguous buffers of equal length: ``page`` uint32, below 2**28, and ``write`` uint8 (1
    for a write, else 0). Errors of the constructor: EINVAL; the message names the access."""

    def __new__(cls, page: Buffer, write: Buffer) -> Accesses: ...
    @property
    def nr_accesses(self) -> int:
        """Number of accesses of the list."""
    @property
    def nr_writes(self) -> int:
        """Number of accesses that write."""
    @property
    def nr_pages(self) -> int:
        """Number of pages with at least one access."""
    @property
    def span_pages(self) -> int:
        """Number of pages to map for a replay: the largest page number plus 1."""
    def replay(
        self, mm: Mm, first_page: int, start: int = 0, stop: int | None = None, *, zero_percent: float = 10.0,
        random_percent: float = 10.0, is_verified: bool = True, seed: int = 1, cpu: int | None = None,
        progress: Callable[[int], object] | None = None
    ) -> AccessReplayReport:
        """Replays the accesses from ``start`` up to ``stop`` (None: the end) in an address space; returns
        the counts.

        Page 0 of the list is ``first_page`` of ``mm``. The accesses before ``start`` must have been replayed
        in ``mm``, or in the address space from which ``mm`` was forked, with the same ``seed``, because these
        accesses decide the contents of the pages.

        The first access of a page fills the page: ``zero_percent`` percent of the pages with zeros,
        ``random_percent`` percent with data that does not compress. Each later write changes the last word of
        its page. With ``is_verified`` each access compares the last word, and after a swap-in the whole page.

        Releases the GIL. Every 1,024 accesses the call looks for signals and calls ``progress``
        with the number of accesses done. An exception of a signal handler or of ``progress`` ends the replay.

        Errors: EINVAL, a value is out of range; EFAULT, a page is not mapped; `InvariantError`, a page came
        back with other data; `SwapIOError`."""

@final
class Strategy:
    """An allocator that replays, comparisons and benchmarks call through the Rust trait ``Strategy``."""

    names: ClassVar[dict[str, str]]
    """Maps the name of every built-in strategy to a description in one line."""

    @staticmethod
    def create(name: str, *, size_pages: int, nr_cpus: int = 1) -> Strategy:
        """Makes a built-in strategy over one fresh device of ``size_pages`` slots.

        Errors: EINVAL, unknown name, or a value is out of range."""
    @staticmethod
    def wrap(obj: object, *, size_pages: int, name: str | None = None) -> Strategy:
        """Makes a strategy of a Python object with the methods of `swapcore.strategy.AllocatorStrategy`.

        A call or replay that calls a method of ``obj`` raises the exception of the method. Errors: EINVAL,
        bad size or ``max_order``; AttributeError, a method is missing."""
    @property
    def name(self) -> str:
        """The name of the strategy in tables."""
    @property
    def max_order(self) -> int:
        """The largest order that the strategy takes."""
    def alloc(self, order: int = 0, *, cpu: int = 0) -> int:
        """Returns the first slot of a run of ``1 << order`` slots, or -1 without room.

        Errors: EINVAL, a value is out of range."""
    def free(self, slot: int, nr: int = 1, *, cpu: int = 0) -> None:
        """Frees ``nr`` slots from ``slot`` on; the slots may be a part of a run.

        Errors: EINVAL, a value is out of range; the errors of the strategy."""
    def alloc_batch(self, nr: int, order: int = 0, *, cpu: int = 0) -> SwapBatch:
        """Returns up to ``nr`` runs in one call; the first failure ends the call."""
    def free_batch(self, batch: SwapBatch, *, cpu: int = 0) -> None:
        """Frees every run of a batch."""
    def memory(self) -> StrategyMemory:
        """Returns the bytes of memory that the strategy takes."""

def stress(
    *, threads: int, seconds: float, seed: int, pages: int = 262144, devices: int = 2,
    nr_cpus: int | None = None, profile: str = "newest"
) -> StressReport:
    """Runs random operations on one subsystem from ``threads`` Rust threads for ``seconds`` s, frees all
    slots, and proves that no slot was lost.

    The threads allocate random orders, free parts of runs, add and drop references, free runs of other
    threads, and fill ``devices`` devices that have about ``pages`` slots together. If ``nr_cpus`` is None,
    each thread has a CPU of its own. Releases the GIL and looks for signals every 20 ms. Errors:
    EINVAL, a value is out of range; `InvariantError`, a slot was lost or an invariant is broken."""
