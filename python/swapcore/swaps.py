"""Lists the swap of a subsystem as util-linux does: devices as in `swapon --show`, zswap as in `zramctl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO, TypedDict

from . import report
from ._core import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._core import Swap, SwapDevice

__all__ = [
    "ListedDevice",
    "ListedPool",
    "ListedZswap",
    "cluster_lists",
    "device_name",
    "swaps",
    "swaps_table",
    "zswap",
    "zswap_table",
]


class ListedDevice(TypedDict):
    """A device as ``/proc/swaps`` lists it; see `swaps`."""

    name: str
    type: str
    size_bytes: int | None
    used_bytes: int
    priority: int


class ListedPool(TypedDict):
    """A pool of zswap as ``zramctl`` would list it; see `zswap`."""

    compressor: str
    data_bytes: int
    pool_bytes: int
    ratio: float | None


class ListedZswap(TypedDict):
    """The contents and the counters of zswap; see `zswap`."""

    pools: list[ListedPool]
    written_back_bytes: int
    stats: dict[str, int]


def device_name(device: SwapDevice) -> str:
    """Returns the name of a device in listings.

    Args:
        device: The device, which must be on.

    Returns:
        The kind of the device's storage, followed by the swap type of the device: ``zram0``, ``ghost1``.
    """
    storage = device.storage
    return f"{'null' if storage is None else storage.kind}{device.type}"


def cluster_lists(device: dict[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """Yields the lists of clusters that are not empty.

    Args:
        device: A device of `Swap.dump`.

    Yields:
        The name of the list and the clusters of the list. The name of a nonfull or frag list has its order,
        because each order has lists of its own.
    """
    yield from ((name, device[name]) for name in ("free", "full", "discard") if device[name])
    for name in ("nonfull", "frag"):
        yield from ((f"{name}[{order}]", clusters) for order, clusters in sorted(device[name].items()))


def swaps(swap: Swap) -> list[ListedDevice]:
    """Returns the devices as ``/proc/swaps`` lists them, without the hidden devices.

    Args:
        swap: The subsystem.

    Returns:
        ``name``, ``type`` (``partition``, ``file`` or ``ghost``), ``size_bytes`` (None for a device that is
        not counted in the totals), ``used_bytes`` and ``priority`` of each device, in the order of their
        types.
    """
    shown = [device for device in swap.devices if device.visibility != "hidden"]
    return [
        {
            "name": device_name(device),
            "type": device.kind,
            "size_bytes": None if device.visibility == "listed" else device.pages * PAGE_SIZE,
            "used_bytes": device.inuse_pages * PAGE_SIZE,
            "priority": device.priority,
        }
        for device in sorted(shown, key=lambda device: device.type)
    ]


def swaps_table(swap: Swap, file: TextIO | None = None) -> None:
    """Prints the devices as ``swapon --show`` does.

    Args:
        swap: The subsystem.
        file: The output file; standard output if None.
    """
    columns: dict[str, Callable[[ListedDevice], str]] = {
        "NAME": lambda row: row["name"],
        "TYPE": lambda row: row["type"],
        "SIZE": lambda row: report.format_limit(row["size_bytes"]),
        "USED": lambda row: report.format_size(row["used_bytes"]),
        "PRIO": lambda row: str(row["priority"]),
    }
    report.print_columns(columns, swaps(swap), file=file, nr_left=2)


def zswap(swap: Swap) -> ListedZswap:
    """Returns the contents and the counters of zswap.

    Args:
        swap: The subsystem.

    Returns:
        ``pools``, ``written_back_bytes`` (all pools together) and ``stats`` (every counter by its kernel
        name). ``pools`` is a list with ``compressor``, ``data_bytes`` (uncompressed size of the pages),
        ``pool_bytes`` and ``ratio`` (None for an empty pool) of each pool. The pool for new pages comes
        first.
    """
    stats = swap.zswap.stats()
    pools: list[ListedPool] = [
        {
            "compressor": pool["compressor"],
            "data_bytes": pool["stored_pages"] * PAGE_SIZE,
            "pool_bytes": pool["pool_bytes"],
            "ratio": pool["stored_pages"] * PAGE_SIZE / pool["pool_bytes"] if pool["pool_bytes"] else None,
        }
        for pool in swap.zswap.pools()
    ]
    written_back_bytes = stats["written_back_pages"] * PAGE_SIZE
    return {"pools": pools, "written_back_bytes": written_back_bytes, "stats": stats}


def zswap_table(swap: Swap, file: TextIO | None = None) -> None:
    """Prints one line for each pool of zswap, in the form of ``zramctl``, and then the counters of zswap.

    Args:
        swap: The subsystem.
        file: The output file; standard output if None.
    """
    facts = zswap(swap)
    # Only the row of the first pool shows the written-back bytes, because the core counts them for all pools
    # together.
    written_back = [report.format_size(facts["written_back_bytes"])] + ["-"] * len(facts["pools"])
    rows = [
        [
            f"zswap{number}",
            pool["compressor"],
            report.format_size(pool["data_bytes"]),
            report.format_size(pool["pool_bytes"]),
            report.format_ratio(pool["ratio"]),
            written_back[number],
        ]
        for number, pool in enumerate(facts["pools"])
    ]
    headings = ["NAME", "ALGORITHM", "DATA", "TOTAL", "RATIO", "WRITTEN-BACK"]
    report.print_table(headings, rows, file=file, nr_left=2)
    print(file=file)
    counters = [
        [name, str(value), "bytes" if name in {"pool_total_size", "entry_bytes"} else "count"]
        for name, value in facts["stats"].items()
    ]
    report.print_table(["COUNTER", "VALUE", "UNIT"], counters, file=file)
