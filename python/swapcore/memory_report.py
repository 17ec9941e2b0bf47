"""What a slot costs in memory, by the package's own counters, beside the figures that others published.

`measure` fills a device in steps of a quarter, once for each way that swap can be set up, and counts bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from . import report
from ._core import MAX_ORDER, PAGE_SIZE, SWAPFILE_CLUSTER, Swap
from .exceptions import invalid
from .null import Null
from .size import PAGES_MAX, parse_size
from .storage import Ghost

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ._core import SwapDevice

__all__ = ["CONFIGURATIONS", "PUBLISHED", "MemoryReport", "MemoryUse", "Published", "measure"]

USED_PERCENT = (0, 25, 50, 75, 100)
"""Where a device is looked at."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Is one way to set swap up.

    Attributes:
        about: One line.
        has_ghost: A ghost is in front, or alone.
        has_virtual_table: It knows where pages lie.
        has_device: There is a device for data, which keeps none here.
        has_zswap: Pages go to zswap; otherwise they go to the device, or are zeros.
    """

    about: str
    has_ghost: bool = False
    has_virtual_table: bool = False
    has_device: bool = False
    has_zswap: bool = False


CONFIGURATIONS = {
    "plain": Configuration("a device, pages on it", has_device=True),
    "plain-zswap": Configuration("a device, pages in zswap", has_device=True, has_zswap=True),
    "ghost-zswap": Configuration("a ghost without a table, pages in zswap", has_ghost=True, has_zswap=True),
    "virtual-zero": Configuration(
        "a ghost with a table, pages are zeros", has_ghost=True, has_virtual_table=True
    ),
    "virtual-zswap": Configuration(
        "a ghost with a table, pages in zswap", has_ghost=True, has_virtual_table=True, has_zswap=True
    ),
    "virtual-device": Configuration(
        "a ghost with a table, pages on a device behind it",
        has_ghost=True,
        has_virtual_table=True,
        has_device=True,
    ),
}
"""Every way that is measured, by name."""


@dataclass(frozen=True, slots=True)
class Published:
    """Is a figure that somebody else measured on a kernel, for 32 GB of swap.

    Attributes:
        id: Its row in `docs/benchmarks.md`, where published results are listed.
        about: What was measured.
        megabytes: At 0, 25, 50, 75 and 100 % in use, as printed; None where nobody printed one.
        source: Where and when.
    """

    id: str
    about: str
    megabytes: tuple[float | None, ...]
    source: str


_VSS = "published, Virtual Swap Space v3 to v6, Feb to May 2026"
_SONG = "published, Kairui Song on the mailing list, Feb 2026"

PUBLISHED = (
    Published("M-1", "swapfile, pages in zswap", (25, 57, 89, 121, 153), _VSS),
    Published("M-1", "Virtual Swap Space, pages in zswap", (0, 48.25, 96.5, 144.75, 193), _VSS),
    Published("M-2", "swapfile, pages on disk", (25, 41, 57, 73, 89), _VSS),
    Published("M-2", "Virtual Swap Space, pages on disk", (2, 66.25, 130.5, 194.75, 259), _VSS),
    Published("M-3, M-4", "swap table phase II", (25.5, None, None, None, 89.5), _SONG),
    Published("M-3, M-4", "swap table phase III", (17.5, None, None, None, 81.5), _SONG),
    Published("M-3, M-4", "swap table phase IV", (0.5, None, None, None, 64.5), _SONG),
    Published("M-3, M-4", "Virtual Swap Space", (2.0, None, None, None, 259), _SONG),
)
"""The published figures M-1 to M-4 of `docs/benchmarks.md`."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Is what one way costs.

    Attributes:
        configuration: A name in `CONFIGURATIONS`.
        about: One line.
        used_slots: Slots in use at each step.
        parts: Bytes at each step by what they are for, see `SwapDevice.memory`; ``zswap_map_bytes`` finds the
            entries of slots that have no virtual word.
        total_bytes: Their sums: what it costs to know where pages are. Pages themselves, compressed or not,
            and the entries of zswap, which a kernel has in either case, are no part of it.
        bytes_per_slot: The sums by the slots in use; None at 0.
        table_bytes_per_slot: Words of a slot: entry, virtual word, and the entry of the slot behind it; bytes
            by slots added since the empty device. None at 0.
    """

    configuration: str
    about: str
    used_slots: tuple[int, ...]
    parts: tuple[dict[str, int], ...]
    total_bytes: tuple[int, ...]
    bytes_per_slot: tuple[float | None, ...]
    table_bytes_per_slot: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class MemoryReport(report.Record):
    """Is what `measure` returns.

    Attributes:
        size_bytes: Of the slots that are filled; each device has one cluster more, for its header.
        owner_store: Where owners of slots are kept.
        used_percent: The steps.
        uses: One a configuration.
        published: Figures of others, all for 32 GB.
    """

    size_bytes: int
    owner_store: str
    used_percent: tuple[int, ...]
    uses: tuple[MemoryUse, ...]
    published: tuple[Published, ...]

    def table(self, file: TextIO | None = None) -> None:
        """Prints the figures for people, ours first.

        Args:
            file: Where to; standard output if None.
        """
        steps = [f"{percent} %" for percent in self.used_percent]
        rows = [
            [
                use.configuration,
                *(f"{total / 2**20:.2f}" for total in use.total_bytes),
                f"{use.table_bytes_per_slot[-1]:.2f}",
                f"{use.bytes_per_slot[-1]:.3f}",
                use.about,
            ]
            for use in self.uses
        ]
        per_slot = ["WORDS, B/SLOT", "ALL, B/SLOT", ""]
        headings = ["CONFIGURATION", *(f"MiB AT {step}" for step in steps), *per_slot]
        report.print_table(headings, rows, file=file)
        print(
            f"\n{report.format_size(self.size_bytes)} of slots, owner store {self.owner_store}, counted by "
            "the package; per slot at 100 %. Words are what each slot in use has of its own.\n",
            file=file,
        )
        rows = [
            [
                one.about,
                *("-" if figure is None else f"{figure:g}" for figure in one.megabytes),
                one.id,
                one.source,
            ]
            for one in self.published
        ]
        headings = ["PUBLISHED, OF 32 GB", *(f"MB AT {step}" for step in steps), "ROW", "SOURCE"]
        report.print_table(headings, rows, file=file)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws bytes over slots in use, see `swapcore.plot.plot_memory`.

        Args:
            path: The file; its suffix is the format.
        """
        from .plot import plot_memory

        plot_memory(self, path)


def measure(
    size: str | int = "32G",
    configurations: tuple[str, ...] = tuple(CONFIGURATIONS),
    *,
    owner_store: str = "shadow",
    progress: Callable[[int, int], None] | None = None,
) -> MemoryReport:
    """Fills devices and counts what it takes to know where pages are.

    Args:
        size: Of the slots to fill, with unit or in bytes; a multiple of 8M: each step is whole clusters.
        configurations: Names in `CONFIGURATIONS`.
        owner_store: See `Swap.switches`.
        progress: Called with folios swapped out and folios in all.

    Returns:
        Bytes at each step.

    Raises:
        InvalidArgumentError: EINVAL; a size that is none, too large or no such multiple, or an unknown name.
    """
    step_pages = (len(USED_PERCENT) - 1) * SWAPFILE_CLUSTER
    size_pages = parse_size(size) // PAGE_SIZE
    if not 0 < size_pages <= PAGES_MAX - SWAPFILE_CLUSTER or size_pages % step_pages:
        raise invalid(
            f"size {size!r} is not a multiple of {report.format_size(step_pages * PAGE_SIZE)} "
            f"up to {PAGES_MAX - SWAPFILE_CLUSTER} pages"
        )
    for name in configurations:
        if name not in CONFIGURATIONS:
            raise invalid(f"configuration {name!r} is none of {', '.join(CONFIGURATIONS)}")
    nr_folios = size_pages // SWAPFILE_CLUSTER
    uses: list[MemoryUse] = []
    for name in configurations:
        done = len(uses) * nr_folios

        def tell(more: int, done: int = done) -> None:
            if progress is not None:
                progress(done + more, len(configurations) * nr_folios)

        uses.append(_measure(name, size_pages, owner_store, tell))
    return MemoryReport(
        size_bytes=size_pages * PAGE_SIZE,
        owner_store=owner_store,
        used_percent=USED_PERCENT,
        uses=tuple(uses),
        published=PUBLISHED,
    )


def _measure(name: str, size_pages: int, owner_store: str, tell: Callable[[int], None]) -> MemoryUse:
    configuration = CONFIGURATIONS[name]
    switches = {"owner_store": owner_store}
    swap = Swap(switches=switches, zswap="lz4" if configuration.has_zswap else None)
    # The header's cluster cannot have a run that fills it.
    pages = size_pages + SWAPFILE_CLUSTER
    devices: list[SwapDevice] = []
    if configuration.has_ghost:
        devices.append(swap.swapon(Ghost(pages, virtual_table=configuration.has_virtual_table)))
    if configuration.has_device:
        devices.append(swap.swapon(Null(pages=pages)))
    # Zeros are marked where nothing takes pages.
    data = b"x" if configuration.has_device or configuration.has_zswap else None
    group = swap.memcg.create("group")
    used_slots, parts, nr_out = [], [], 0
    for percent in USED_PERCENT:
        while nr_out * SWAPFILE_CLUSTER * 100 < size_pages * percent:
            swap.swap_out(swap.folio(MAX_ORDER, data=data, memcg=group))
            nr_out += 1
            tell(nr_out)
        used_slots.append(nr_out * SWAPFILE_CLUSTER)
        parts.append(_parts(swap, devices))
    totals = tuple(sum(step.values()) for step in parts)
    words = [_words(step) for step in parts]
    return MemoryUse(
        configuration=name,
        about=configuration.about,
        used_slots=tuple(used_slots),
        parts=tuple(parts),
        total_bytes=totals,
        bytes_per_slot=tuple(
            total / used if used else None for total, used in zip(totals, used_slots, strict=True)
        ),
        table_bytes_per_slot=tuple(
            (word - words[0]) / used if used else None for word, used in zip(words, used_slots, strict=True)
        ),
    )


_PARTS = ("static_bytes", "index_bytes", "table_bytes", "virtual_table_bytes", "owner_bytes", "extend_bytes")
"""Bytes of a device that are told; released tables kept for reuse are not in use."""


def _parts(swap: Swap, devices: list[SwapDevice]) -> dict[str, int]:
    memories: list[dict[str, Any]] = [{**device.memory()} for device in devices]
    parts = {name: sum(memory[name] for memory in memories) for name in _PARTS}
    return parts | {"zswap_map_bytes": swap.memory()["zswap_map_bytes"]}


def _words(parts: dict[str, int]) -> int:
    return parts["table_bytes"] + parts["virtual_table_bytes"] + parts["owner_bytes"]
