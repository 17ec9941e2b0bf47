"""The devices of a replay: storages by name, a ghost in front of them, and the counters that both add."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from swapcore._core import PAGE_SIZE
from swapcore.exceptions import invalid
from swapcore.storage import Faulty, File, Ghost, Null, Ram, Zram

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from swapcore.storage.zswap import Zswap

    Storage = Null | Ram | Zram | File | Faulty | Ghost


STORAGES = {
    "zram": "compressed memory",
    "ram": "memory, uncompressed",
    "file": "a swap file; a new one unless it exists already",
    "null": "nowhere: slots only, nothing can be read back and so nothing is verified",
}
"""Every kind of storage that `make_storage` makes, with one line about it."""


ZSWAP_COUNTERS = ("zswpin", "zswpout", "zswpwb")
"""Counters listed with zswap, even if they are 0: pages in, out, and written back to a device."""

GHOST_COUNTERS = ("swpout_refused",)
"""Counters listed with a ghost, even if they are 0: pages that stayed in memory because no place took them.

A page counts once for each refusal."""


def stack(storage: Storage | None, ghost: Ghost | None) -> list[Storage]:
    """Returns the devices of a replay in the order they are turned on.

    Args:
        storage: The storage of the pages, or None.
        ghost: The ghost in front of the storage, or None.

    Returns:
        One or two devices.

    Raises:
        InvalidArgumentError: EINVAL; a ghost without a virtual table has a storage behind it.
    """
    if storage is not None and ghost is not None and not ghost.virtual_table:
        raise invalid(f"{ghost!r} has no virtual table: its pages cannot go to {storage!r}")
    return [one for one in (ghost, storage) if one is not None]


def front_counters(ghost: Ghost | None, zswap: Zswap | str | None) -> tuple[str, ...]:
    """Returns the counters that a result lists for the ghost and the zswap in front of a storage.

    Args:
        ghost: A ghost, or None.
        zswap: The options of zswap, or None.

    Returns:
        Kernel names, and ``swpout_refused``.
    """
    return (ZSWAP_COUNTERS if zswap is not None else ()) + (GHOST_COUNTERS if ghost is not None else ())


@contextmanager
def make_storage(
    kind: str,
    *,
    size_pages: int,
    algorithm: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Iterator[Storage]:
    """Makes a storage by the name of its kind and gives it up at the end.

    Args:
        kind: A name in `STORAGES`.
        size_pages: Slots, header included; a file that exists has its own size.
        algorithm: Algorithm of ``zram``; None is the default of ``zram``.
        path: Path of ``file``: a swap file or device that exists, or a new swap file, which stays. None is a
            file in the temporary directory that is deleted at the end.

    Yields:
        The storage.

    Raises:
        InvalidArgumentError: EINVAL; no such kind, or an option of another kind.
        SwapIOError: The file cannot be made or opened.
    """
    if kind not in STORAGES:
        raise invalid(f"storage {kind!r} is none of {', '.join(STORAGES)}")
    for option, value, owner in (("algorithm", algorithm, "zram"), ("path", path, "file")):
        if value is not None and kind != owner:
            raise invalid(f"{option} {value!s} is for storage {owner}, not for {kind}")
    if kind == "zram":
        yield Zram(pages=size_pages) if algorithm is None else Zram(pages=size_pages, algorithm=algorithm)
    elif kind == "ram":
        yield Ram(pages=size_pages)
    elif kind == "null":
        yield Null(pages=size_pages)
    elif path is not None:
        yield File(path) if Path(path).exists() else File.create(path, pages=size_pages)
    else:
        with TemporaryDirectory(prefix="swapcore-") as folder:
            yield File.create(Path(folder) / "swapfile", pages=size_pages, sparse=True)


def zswap_ratio(stats: dict[str, int]) -> float | None:
    """Returns the bytes of pages per byte of zswap's pools.

    Args:
        stats: The figures of `Swap.zswap`.

    Returns:
        The ratio; None while zswap holds no page.
    """
    if not stats.get("stored_pages"):
        return None
    return stats["stored_pages"] * PAGE_SIZE / stats["pool_total_size"]
