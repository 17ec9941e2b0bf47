"""Results of a measurement of memory, and published figures to compare the results with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from swapcore import report

USED_PERCENT = (0, 25, 50, 75, 100)
"""Percentages of slots in use at which a device is measured."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Describes one combination of ghost, device and zswap to measure.

    Attributes:
        about: Description in one line.
        has_ghost: True if there is a ghost, in front of the device or alone.
        is_virtual: True if the ghost records where pages lie.
        has_device: True if there is a device for pages, which keeps no data in this measurement.
        has_zswap: True if pages go to zswap; otherwise pages go to the device, or are zeros.
    """

    about: str
    has_ghost: bool = False
    is_virtual: bool = False
    has_device: bool = False
    has_zswap: bool = False


CONFIGURATIONS = {
    "plain": Configuration("a device, pages on it", has_device=True),
    "plain-zswap": Configuration("a device, pages in zswap", has_device=True, has_zswap=True),
    "ghost-zswap": Configuration("a ghost without a table, pages in zswap", has_ghost=True, has_zswap=True),
    "virtual-zero": Configuration("a ghost with a table, pages are zeros", has_ghost=True, is_virtual=True),
    "virtual-zswap": Configuration(
        "a ghost with a table, pages in zswap", has_ghost=True, is_virtual=True, has_zswap=True
    ),
    "virtual-device": Configuration(
        "a ghost with a table, pages on a device behind it",
        has_ghost=True,
        is_virtual=True,
        has_device=True,
    ),
}
"""Every measured configuration, by name."""


@dataclass(frozen=True, slots=True)
class Published:
    """Holds published figures that were measured on a kernel, for 32 GB of swap.

    Attributes:
        id: The row of the figures in `docs/benchmarks.md`, which lists published results.
        about: The measured configuration.
        megabytes: Megabytes at 0, 25, 50, 75 and 100 % of the slots in use, as the source prints the figures;
            None where the source prints no figure.
        source: Place and date of the publication.
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
    """Holds the cost of one configuration.

    Attributes:
        configuration: A name in `CONFIGURATIONS`.
        about: Description in one line.
        used_slots: Slots in use at each step.
        parts: Bytes at each step by purpose, see `SwapDevice.memory`. ``zswap_map_bytes`` is the map that
            finds the zswap entries of slots of devices without a virtual table.
        total_bytes: Sum of the parts at each step: the bytes that record where pages are. The sum does
            not include the pages themselves, compressed or not. The sum does not include the entries of zswap
            either, because a kernel has these entries in every configuration.
        zswap_entry_bytes: Bytes of the entries of zswap at each step, which ``total_bytes`` leaves out.
        bytes_per_slot: ``total_bytes`` divided by the slots in use; None at 0 slots.
        table_bytes_per_slot: Bytes of the table words for a slot: its table entry, its word in the virtual
            table, and the table entry of the physical slot behind it. The figure is the growth of these bytes
            since the empty device, divided by the slots in use; None at 0 slots.
    """

    configuration: str
    about: str
    used_slots: tuple[int, ...]
    parts: tuple[dict[str, int], ...]
    total_bytes: tuple[int, ...]
    zswap_entry_bytes: tuple[int, ...]
    bytes_per_slot: tuple[float | None, ...]
    table_bytes_per_slot: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class MemoryReport(report.Record):
    """Holds the result of `measure`.

    Attributes:
        size_bytes: Bytes of the slots that the measurement fills; each device has one cluster more, because
            the header takes a slot.
        owner_store: The word of the switch ``owner_store``: where the owners of slots are kept.
        used_percent: The steps, in percent of the slots.
        uses: The cost of each configuration.
        published: Published figures, all for 32 GB of swap.
    """

    size_bytes: int
    owner_store: str
    used_percent: tuple[int, ...]
    uses: tuple[MemoryUse, ...]
    published: tuple[Published, ...]

    def table(self, file: TextIO | None = None) -> None:
        """Prints the measured figures as a table, then the published figures.

        Args:
            file: The output file; standard output if None.
        """
        steps = [f"{percent} %" for percent in self.used_percent]
        rows = []
        for use in self.uses:
            totals = [f"{total / 2**20:.2f}" for total in use.total_bytes]
            full = [f"{use.table_bytes_per_slot[-1]:.2f}", f"{use.bytes_per_slot[-1]:.3f}"]
            entries = f"{use.zswap_entry_bytes[-1] / 2**20:.2f}"
            rows.append([use.configuration, *totals, *full, entries, use.about])
        per_slot = ["WORDS, B/SLOT", "ALL, B/SLOT", "ZSWAP ENTRIES, MiB", ""]
        headings = ["CONFIGURATION", *(f"MiB AT {step}" for step in steps), *per_slot]
        report.print_table(headings, rows, file=file)
        print(
            f"\n{report.format_size(self.size_bytes)} of slots, owner store {self.owner_store}, counted by "
            "the package; per slot at 100 %. Words are the part that each slot in use has of its own. The "
            "entries of zswap (at 100 %) and the compressed pages are in no other column.\n",
            file=file,
        )
        rows = []
        for one in self.published:
            figures = ["-" if figure is None else f"{figure:g}" for figure in one.megabytes]
            rows.append([one.about, *figures, one.id, one.source])
        headings = ["PUBLISHED, OF 32 GB", *(f"MB AT {step}" for step in steps), "ROW", "SOURCE"]
        report.print_table(headings, rows, file=file)
