"""Makes the subsystem of a replay: its memory, a storage by name, a ghost and zswap before the storage."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, TypedDict

from swapcore._core import PAGE_SIZE, Swap
from swapcore.exceptions import invalid
from swapcore.size import DEFAULT_MEMORY, parse_size
from swapcore.storage import Faulty, File, Ghost, Null, Ram, Zram
from swapcore.storage.zswap import zswap_options

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from swapcore._core import SwapDevice
    from swapcore.storage.zswap import Zswap

    Storage = Null | Ram | Zram | File | Faulty | Ghost


DEFAULT_SEED = 1

CONTENTS = ("zero_percent", "random_percent", "is_verified", "seed")
"""Attributes of `Run` that decide the contents of pages."""

STORAGES = {
    "zram": "compressed memory",
    "ram": "memory, uncompressed",
    "file": "a swap file; a new one unless it exists already",
    "null": "nowhere: slots only, nothing can be read back and so nothing is verified",
}
"""Every kind of storage that `make_storage` makes, with a description in one line."""


ZSWAP_COUNTERS = ("zswpin", "zswpout", "zswpwb")
"""Counters that a result lists for a run with zswap, even if a counter is 0.

The counters count pages read from zswap, pages stored in zswap, and pages that zswap wrote back to a device.
"""

GHOST_COUNTERS = ("swpout_refused",)
"""Counters that a result lists for a run with a ghost, even if a counter is 0.

The counter counts pages that stayed in memory because no place took the page, once for each refusal.
"""


class ContentOptions(TypedDict, total=False):
    """Options for the contents of pages: the attributes of `Run` that `CONTENTS` names."""

    zero_percent: float
    random_percent: float
    is_verified: bool
    seed: int


class RunOptions(ContentOptions, total=False):
    """Options of a replay: the attributes of `Run` without ``storage``."""

    ghost: Ghost | None
    zswap: Zswap | str | None
    memory: str | int
    nr_ops: int | None
    workload_seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Describes what both kinds of replays need: the devices, the memory, the contents of the pages.

    Attributes:
        storage: The storage of the pages. With None, the storage is a `Zram` of a size that the replay
            chooses, or there is no storage if ``ghost`` is given. The storage is turned on for the replay and
            turned off again. With `Null` no page is verified.
        ghost: A device in front of the storage, see `swapcore.Ghost`. Pages without a place stay in memory.
        zswap: Compressed memory in front of the ghost and the storage, as for `swapcore.Swap`.
        memory: Memory of the subsystem, with unit or in bytes.
        zero_percent: Percentage of pages that are zeros; page accesses that write change such a page.
        random_percent: Percentage of pages that do not compress. The other pages compress about 3:1.
        is_verified: True compares each page that comes back from swap with the page's expected content.
        seed: Seed of the contents and of the replay's other random choices.
        nr_ops: Operations or accesses of a made-up workload; None takes the number of the workload.
        workload_seed: Seed of the operations or accesses of a made-up workload; None takes the default.
    """

    storage: Storage | None = None
    ghost: Ghost | None = None
    zswap: Zswap | str | None = None
    memory: str | int = DEFAULT_MEMORY
    zero_percent: float = 10.0
    random_percent: float = 10.0
    is_verified: bool = True
    seed: int = DEFAULT_SEED
    nr_ops: int | None = None
    workload_seed: int | None = None

    def with_storage(self, size_pages: int) -> Self:
        """Returns the description with the default storage in place of None.

        Args:
            size_pages: Slots of the `Zram` that is the default storage.

        Returns:
            The description, in which ``is_verified`` is False if the storage keeps no data.
        """
        storage = self.storage
        if storage is None and self.ghost is None:
            storage = Zram(pages=size_pages)
        return replace(self, storage=storage, is_verified=self.is_verified and not isinstance(storage, Null))

    def turn_on(self, *, nr_cpus: int, **options: Any) -> tuple[Swap, list[SwapDevice]]:  # noqa: ANN401
        """Makes the subsystem and turns its devices on, the ghost first.

        Args:
            nr_cpus: CPUs of the subsystem.
            **options: Other arguments of `Swap`.

        Returns:
            The subsystem, and one or two devices.

        Raises:
            InvalidArgumentError: EINVAL; a ghost without a virtual table has a storage behind it.
        """
        memory_pages = parse_size(self.memory) // PAGE_SIZE
        swap = Swap(nr_cpus=nr_cpus, zswap=self.zswap, memory_pages=memory_pages, **options)
        storage, ghost = self.storage, self.ghost
        if storage is not None and ghost is not None and not ghost.is_virtual:
            raise invalid(f"{ghost!r} has no virtual table: its pages cannot go to {storage!r}")
        return swap, [swap.swapon(one) for one in (ghost, storage) if one is not None]

    @property
    def contents(self) -> dict[str, Any]:
        """Returns the attributes that decide the contents of pages, by name."""
        return {name: getattr(self, name) for name in CONTENTS}

    @property
    def front_counters(self) -> tuple[str, ...]:
        """Returns the counters that a result lists for the ghost and the zswap in front of a storage."""
        counters = ZSWAP_COUNTERS if self.zswap is not None else ()
        return counters + GHOST_COUNTERS if self.ghost is not None else counters

    def described(self) -> dict[str, Any]:
        """Returns the attributes that a result contains, in the form of JSON."""
        zswap = None if self.zswap is None else zswap_options(self.zswap)
        return {
            "storage": None if self.storage is None else repr(self.storage),
            "ghost": None if self.ghost is None else repr(self.ghost),
            "zswap": None if zswap is None else zswap["compressor"],
            "zswap_options": zswap,
            **self.contents,
        }


def require_made_up(name: object, **parameters: int | None) -> None:
    """Refuses parameters of made-up workloads for a workload that is not made up.

    Args:
        name: The name of the other workload, for the message.
        **parameters: The parameters; None is a parameter that was not given.

    Raises:
        InvalidArgumentError: EINVAL; a parameter was given.
    """
    given = [f"{parameter} {value}" for parameter, value in parameters.items() if value is not None]
    if given:
        raise invalid(f"{', '.join(given)}: only a workload that is made up takes it, not {name}")


@contextmanager
def make_storage(
    kind: str,
    *,
    size_pages: int,
    algorithm: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Iterator[Storage]:
    """Makes a storage by the name of its kind, and removes a temporary swap file at the end.

    Args:
        kind: A name in `STORAGES`.
        size_pages: Slots, header included; a file that exists has its own size.
        algorithm: Algorithm of ``zram``; None is the default of ``zram``.
        path: Path of ``file``: a swap file or device that exists, or a new swap file, which is not removed.
            With None the swap file is in a temporary directory, which is removed at the end.

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
