"""Where the pages of a swap device go: what `swapcore.Swap.swapon` takes.

`Null` keeps no data: slots are handed out, and that is all. `Ram`, `Zram` and `File` keep what
`swapcore.Swap.swap_out` gives them; `Faulty` is one of these with failures that you plan. `Ghost` refuses
what it is given: its slots are for zeros and zswap, and with a virtual table for what lies on other devices.
Each is turned on once at a time.
"""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING

from swapcore import _core
from swapcore.size import PAGES_MAX, PAGES_MIN, memory_pages, parse_size, size_in_pages, uuid_bytes
from swapcore.storage.null import Null

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

__all__ = ["PAGES_MAX", "PAGES_MIN", "Faulty", "File", "Ghost", "Null", "Ram", "Zram", "parse_size"]


class _WithStorage:
    """What every storage that the core knows has."""

    __slots__ = ("_shown", "storage")

    storage: _core.Storage
    """What `swapcore.Swap.swapon` reads."""

    def __init__(self, storage: _core.Storage, shown: str) -> None:
        """Takes the core's storage and what the representation shows."""
        self.storage = storage
        self._shown = shown

    @property
    def pages(self) -> int:
        """Returns the size in slots, header included."""
        return self.storage.pages

    @property
    def bad_pages(self) -> tuple[int, ...]:
        """Returns the slots that are never handed out."""
        return tuple(self.storage.bad_pages)

    def stats(self) -> dict[str, int]:
        """Returns the figures under kernel names, see `Storage.stats`."""
        return self.storage.stats()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown})"


class Ram(_WithStorage):
    """Memory, uncompressed: a page of it is taken when its slot is written, given back when it is freed."""

    __slots__ = ()

    def __init__(self, size: str | int | None = None, *, pages: int | None = None) -> None:
        """Makes an empty device; no memory is taken yet.

        Args:
            size: Size with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
            pages: Size in slots, header included.

        Raises:
            InvalidArgumentError: EINVAL; no size, two sizes, or a size out of range.
        """
        slots = size_in_pages(size, pages)
        super().__init__(_core.Storage.ram(slots), f"pages={slots}")


class Zram(_WithStorage):
    """Memory with every page compressed on its own, as `zram` keeps it."""

    __slots__ = ()

    def __init__(
        self,
        size: str | int | None = None,
        *,
        pages: int | None = None,
        algorithm: str = "lz4",
        level: int | None = None,
        mem_limit: str | int | None = None,
    ) -> None:
        """Makes an empty device; no memory is taken yet.

        Args:
            size: Size of what is stored, uncompressed, with unit or in bytes. Exclusive with ``pages``.
            pages: The same in slots, header included.
            algorithm: ``lz4``, or ``zstd`` where the build has it.
            level: Of the algorithm; None is its default.
            mem_limit: Most memory for compressed pages, with unit or in bytes; None is no limit. A page that
                finds no room stays in memory: the swap-out raises `SwapIOError` (ENOMEM).

        Raises:
            InvalidArgumentError: EINVAL; a bad size, an unknown algorithm (the message lists those there
                are), or a bad level.
        """
        slots = size_in_pages(size, pages)
        limit_bytes = None if mem_limit is None else parse_size(mem_limit)
        storage = _core.Storage.zram(slots, algorithm=algorithm, level=level, mem_limit_bytes=limit_bytes)
        options = {"algorithm": algorithm, "level": level, "mem_limit": mem_limit}
        given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
        super().__init__(storage, ", ".join([f"pages={slots}", *given]))


class File(_WithStorage):
    """A swap file or a block device with the header that mkswap wrote."""

    __slots__ = ("path",)

    path: str
    """As it was given."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        direct: bool = False,
        is_block_device: bool | None = None,
        is_rotational: bool | None = None,
    ) -> None:
        """Opens a file and keeps others from using it as swap until it is dropped.

        Args:
            path: The file or device; its header gives size and bad pages.
            direct: Bypass the page cache (O_DIRECT).
            is_block_device: None asks the system. True lets large folios and bad pages be on a regular file.
            is_rotational: Whether it seeks; None asks the system.

        Raises:
            SwapIOError: It cannot be opened or read.
            SwapBusyError: EBUSY; somebody has it open as swap.
            InvalidArgumentError: EINVAL; no valid SWAPSPACE2 header, or the file ends before its last page.
        """
        self.path = os.fspath(path)
        options = {"direct": direct, "is_block_device": is_block_device, "is_rotational": is_rotational}
        storage = _core.Storage.file(
            self.path, direct=direct, is_block_device=is_block_device, is_rotational=is_rotational
        )
        given = [f"{name}={value!r}" for name, value in options.items() if value not in (None, False)]
        super().__init__(storage, ", ".join([repr(self.path), *given]))

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        size: str | int | None = None,
        *,
        pages: int | None = None,
        label: str = "",
        uuid: UUID | None = None,
        bad_pages: Iterable[int] = (),
        sparse: bool = False,
        direct: bool = False,
        is_block_device: bool | None = None,
        is_rotational: bool | None = None,
    ) -> File:
        """Makes a swap file, as mkswap would, and opens it.

        Args:
            path: The file; it must not exist. Only its owner may read it.
            size: Size with unit, or in bytes. Exclusive with ``pages``.
            pages: Size in slots, header included.
            label: Volume label, at most 16 bytes.
            uuid: Volume id; None draws a random one.
            bad_pages: Slots that are never handed out.
            sparse: Leave the space to be found when pages are written, which may then fail with ENOSPC.
            direct: See `File`.
            is_block_device: See `File`.
            is_rotational: See `File`.

        Returns:
            The open file.

        Raises:
            SwapIOError: It exists, or there is no room for it; no file is left behind.
            InvalidArgumentError: EINVAL; a size, label or bad page list that does not fit.
        """
        slots = size_in_pages(size, pages)
        _core.Storage.create_file(
            os.fspath(path),
            slots,
            label=label,
            uuid=uuid_bytes(uuid),
            bad_pages=tuple(map(operator.index, bad_pages)),
            sparse=sparse,
        )
        return cls(path, direct=direct, is_block_device=is_block_device, is_rotational=is_rotational)


class Faulty(_WithStorage):
    """Another storage whose calls fail as planned: no fault is planned at first."""

    __slots__ = ("inner",)

    inner: Ram | Zram | File | Faulty
    """The storage below."""

    def __init__(self, inner: Ram | Zram | File | Faulty, *, seed: int = 0) -> None:
        """Puts the faults over another storage; only one of the two can be on.

        Args:
            inner: Where pages go that do not fail.
            seed: Of the dice; equal seeds and equal calls fail alike.
        """
        if not isinstance(inner, (Ram, Zram, File, Faulty)):
            message = f"faults go over a storage with data, such as Ram, not over {inner!r}"
            raise TypeError(message)
        self.inner = inner
        super().__init__(_core.Storage.faulty(inner.storage, seed=seed), f"{inner!r}, seed={seed}")

    def set_faults(
        self,
        *,
        fail_write_in: int | None = None,
        fail_read_in: int | None = None,
        write_error_probability: float = 0.0,
        read_error_probability: float = 0.0,
        errno: int = 5,
        tear_write_pages: int | None = None,
        delay_ns: int = 0,
    ) -> None:
        """Replaces the plan; no arguments: no more faults.

        Args:
            fail_write_in: The n-th write from now fails, 1 is the next; once.
            fail_read_in: The same for reads.
            write_error_probability: Each write fails with this probability, 0 to 1.
            read_error_probability: The same for reads.
            errno: Of failures by count or probability; 5 is EIO.
            tear_write_pages: Of the next write only so many pages arrive, then it fails with EIO; once.
            delay_ns: Each call takes so much longer.

        Raises:
            InvalidArgumentError: EINVAL; a value out of range, and the old plan stays.
        """
        self.storage.set_faults(
            fail_write_in=fail_write_in,
            fail_read_in=fail_read_in,
            write_error_probability=write_error_probability,
            read_error_probability=read_error_probability,
            errno=errno,
            tear_write_pages=tear_write_pages,
            delay_ns=delay_ns,
        )


class Ghost(_WithStorage):
    """A device with slots and no place for pages, which costs no memory until slots of it are used.

    Pages that are zeros, or that zswap takes, live there; all others stay in memory. With a virtual table
    every slot also knows where its page lies: its swap-outs go to zswap first and then to the devices behind
    it, and what lies there can be moved without touching a page table.
    """

    __slots__ = ("virtual_table", "visibility")

    virtual_table: bool
    """Each slot has a second word that says where its page lies."""
    visibility: str
    """``visible``, ``listed`` or ``hidden``."""

    def __init__(self, size: str | int, *, virtual_table: bool = False, visibility: str = "visible") -> None:
        """Describes a device; nothing is taken from anywhere.

        Args:
            size: With unit, such as ``"15T"``; a number is slots, header included: no bytes are behind.
            virtual_table: Have other devices behind it, see `docs/virtual.md`.
            visibility: ``visible`` is listed and counted in the totals, ``listed`` is listed without a size,
                ``hidden`` is neither.

        Raises:
            InvalidArgumentError: EINVAL; a size out of range or an unknown word.
        """
        slots = size_in_pages(None, memory_pages(size))
        self._make(_core.Storage.ghost(slots, virtual_table=virtual_table, visibility=visibility), visibility)

    @classmethod
    def for_ram(cls, ram: str | int, *, virtual_table: bool = False, visibility: str = "visible") -> Ghost:
        """Describes what the character device of the proposal is: eight times memory, in whole clusters.

        Args:
            ram: Size of memory with unit, or in pages.
            virtual_table: See `Ghost`.
            visibility: See `Ghost`.

        Returns:
            The device.

        Raises:
            InvalidArgumentError: EINVAL; a size out of range or an unknown word.
        """
        ghost = cls.__new__(cls)
        storage = _core.Storage.ghost_for_ram(
            memory_pages(ram), virtual_table=virtual_table, visibility=visibility
        )
        ghost._make(storage, visibility)
        return ghost

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, virtual_table: bool = False, visibility: str = "visible"
    ) -> Ghost:
        """Takes the size from a file of exactly one page that holds a swap header.

        Args:
            path: The file, as `Null.write_header` makes it.
            virtual_table: See `Ghost`.
            visibility: See `Ghost`.

        Returns:
            The device.

        Raises:
            SwapIOError: The file cannot be read.
            InvalidArgumentError: EINVAL; it is no such file, or an unknown word.
        """
        ghost = cls.__new__(cls)
        storage = _core.Storage.ghost_open(
            os.fspath(path), virtual_table=virtual_table, visibility=visibility
        )
        ghost._make(storage, visibility)
        return ghost

    def _make(self, storage: _core.Storage, visibility: str) -> None:
        self.virtual_table = storage.has_virtual_table
        self.visibility = visibility
        given = [f"pages={storage.pages}"]
        given += ["virtual_table=True"] if self.virtual_table else []
        given += [f"visibility={visibility!r}"] if visibility != "visible" else []
        _WithStorage.__init__(self, storage, ", ".join(given))
