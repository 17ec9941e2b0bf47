"""Measurement of the memory that each configuration of swap takes to record where pages are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swapcore import report
from swapcore._core import MAX_ORDER, PAGE_SIZE, SWAPFILE_CLUSTER, Swap
from swapcore.exceptions import invalid
from swapcore.results.memory import CONFIGURATIONS, PUBLISHED, USED_PERCENT, MemoryReport, MemoryUse
from swapcore.size import PAGES_MAX, parse_size
from swapcore.storage import Ghost
from swapcore.storage.null import Null

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from swapcore._core import SwapDevice


def measure(
    size: str | int = "32G",
    configurations: tuple[str, ...] = tuple(CONFIGURATIONS),
    *,
    owner_store: str = "shadow",
    progress: Callable[[int, int], None] | None = None,
) -> MemoryReport:
    """Fills devices and counts the bytes that record where pages are.

    Args:
        size: Size of the slots to fill, with unit or in bytes. The size must be a multiple of 8M, because
            each step fills whole clusters.
        configurations: Names in `CONFIGURATIONS`.
        owner_store: The word of the switch ``owner_store``, see `Swap.switches`.
        progress: Called with two numbers: folios swapped out, and all folios.

    Returns:
        The bytes of each configuration at each step.

    Raises:
        InvalidArgumentError: EINVAL; a malformed size, a size that is too large or no multiple of 8M, or an
            unknown name.
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
    zswap = "lz4" if configuration.has_zswap else None
    swap = Swap(switches={"owner_store": owner_store}, zswap=zswap)
    # The device has one cluster more than `size_pages`, because slot 0 is the header and so no run of a whole
    # cluster fits into cluster 0.
    pages = size_pages + SWAPFILE_CLUSTER
    devices: list[SwapDevice] = []
    if configuration.has_ghost:
        devices.append(swap.swapon(Ghost(pages=pages, is_virtual=configuration.is_virtual)))
    if configuration.has_device:
        devices.append(swap.swapon(Null(pages=pages)))
    # A ghost alone, without a device and without zswap, takes only pages of zeros, which it records as marks.
    # The folios therefore have no data.
    data = b"x" if configuration.has_device or configuration.has_zswap else None
    group = swap.memcg.create("group")
    used_slots, parts, entries, nr_out = [], [], [], 0
    for percent in USED_PERCENT:
        while nr_out * SWAPFILE_CLUSTER * 100 < size_pages * percent:
            swap.swap_out(swap.folio(MAX_ORDER, data=data, memcg=group))
            nr_out += 1
            tell(nr_out)
        used_slots.append(nr_out * SWAPFILE_CLUSTER)
        parts.append(_parts(swap, devices))
        entries.append(swap.memory()["zswap_entry_bytes"])
    totals = tuple(sum(step.values()) for step in parts)
    words = [_words(step) for step in parts]

    def per_slot(sizes: Iterable[int]) -> tuple[float | None, ...]:
        return tuple(size / used if used else None for size, used in zip(sizes, used_slots, strict=True))

    return MemoryUse(
        configuration=name,
        about=configuration.about,
        used_slots=tuple(used_slots),
        parts=tuple(parts),
        total_bytes=totals,
        zswap_entry_bytes=tuple(entries),
        bytes_per_slot=per_slot(totals),
        table_bytes_per_slot=per_slot(word - words[0] for word in words),
    )


_PARTS = ("static_bytes", "index_bytes", "table_bytes", "virtual_table_bytes", "owner_bytes", "extend_bytes")
"""Keys of `SwapDevice.memory` that a report counts.

``pool_bytes`` is not among the keys, because released tables that are kept for reuse are not in use.
"""


def _parts(swap: Swap, devices: list[SwapDevice]) -> dict[str, int]:
    memories: list[dict[str, Any]] = [{**device.memory()} for device in devices]
    parts = {name: sum(memory[name] for memory in memories) for name in _PARTS}
    return parts | {"zswap_map_bytes": swap.memory()["zswap_map_bytes"]}


def _words(parts: dict[str, int]) -> int:
    return parts["table_bytes"] + parts["virtual_table_bytes"] + parts["owner_bytes"]
