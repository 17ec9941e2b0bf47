"""Storages, which hold the pages of a swap device: the arguments of `swapcore.Swap.swapon`.

`Null` hands out slots and keeps no data. `Ram`, `Zram` and `File` keep the pages of
`swapcore.Swap.swap_out`. `Faulty` wraps another storage and makes calls fail as planned. `Ghost` keeps no
pages: slots of a ghost are for pages of zeros and pages in zswap, and with a virtual table for pages on other
devices. A storage cannot be turned on a second time while the storage is on.
"""

from __future__ import annotations

import errno
import operator
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypedDict

from swapcore import _core
from swapcore.exceptions import InvalidArgumentError
from swapcore.size import (
    PAGES_MAX,
    PAGES_MIN,
    amount_in_pages,
    ghost_pages,
    parse_size,
    size_in_bytes,
    size_in_pages,
    uuid_bytes,
)
from swapcore.storage.null import Null

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn, Self, Unpack
    from uuid import UUID

__all__ = ["PAGES_MAX", "PAGES_MIN", "Faulty", "File", "Ghost", "Null", "Ram", "Zram", "parse_size"]


class _WithStorage:
    """Base class of the storages that wrap a `Storage` of the Rust core."""

    __slots__ = ("_shown", "storage")

    storage: _core.Storage
    """The storage of the Rust core, which `swapcore.Swap.swapon` reads."""

    def __init__(self, storage: _core.Storage, *shown: str, **options: object) -> None:
        """Takes the storage of the core, and the arguments that `repr` shows; `repr` leaves out None."""
        self.storage = storage
        self._show(*shown, **options)

    def _show(self, *shown: str, **options: object) -> None:
        """Replaces the arguments that `repr` shows."""
        given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
        self._shown = ", ".join([*shown, *given])

    @property
    def pages(self) -> int:
        """Returns the size in slots, header included."""
        return self.storage.pages

    @property
    def bad_pages(self) -> tuple[int, ...]:
        """Returns the slots that are never handed out."""
        return tuple(self.storage.bad_pages)

    def stats(self) -> dict[str, int]:
        """Returns the figures of the storage by their kernel names, see `Storage.stats`."""
        return self.storage.stats()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown})"


class Ram(_WithStorage):
    """Uncompressed memory: a write of a slot allocates a page, and a free of the slot releases it."""

    __slots__ = ()

    def __init__(self, size: str | int | None = None, *, pages: int | None = None) -> None:
        """Makes an empty device, which takes no memory yet.

        Args:
            size: Size with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
            pages: Size in slots, header included.

        Raises:
            InvalidArgumentError: EINVAL; no size, two sizes, or a size out of range.
        """
        slots = size_in_pages(size, pages)
        super().__init__(_core.Storage.ram(slots), pages=slots)


class Zram(_WithStorage):
    """Memory in which each page is compressed separately, as in the kernel's `zram`."""

    __slots__ = ("_options",)

    def __init__(
        self,
        size: str | int | None = None,
        *,
        pages: int | None = None,
        algorithm: str = "lz4",
        level: int | None = None,
        mem_limit: str | int | None = None,
    ) -> None:
        """Makes an empty device, which takes no memory yet.

        Args:
            size: Uncompressed size of the pages, with unit or in bytes. Exclusive with ``pages``.
            pages: Uncompressed size in slots, header included.
            algorithm: ``lz4``, or ``zstd`` if the build has it.
            level: Level of the algorithm; None is the algorithm's default.
            mem_limit: Largest amount of memory for compressed pages, with unit or in bytes; the amount is
                rounded up to pages, as in the kernel. None is no limit.
                A page that finds no room stays in memory, and the swap-out raises `SwapIOError` (ENOMEM).

        Raises:
            InvalidArgumentError: EINVAL; a bad size, an unknown algorithm (the message lists the known
                algorithms), or a bad level.
        """
        slots = size_in_pages(size, pages)
        limit_bytes = None if mem_limit is None else size_in_bytes(mem_limit)
        storage = _core.Storage.zram(slots, algorithm=algorithm, level=level, mem_limit_bytes=limit_bytes)
        self._options = {"pages": slots, "algorithm": algorithm, "level": level}
        super().__init__(storage, **self._options, mem_limit=mem_limit)

    @property
    def mem_limit_bytes(self) -> int:
        """Returns the limit on memory for compressed pages in bytes; 0 is no limit.

        The limit can be set, also while the device is on, to a size with unit or in bytes; None and 0 are no
        limit. Stored pages stay. While more memory than the limit is in use, only pages filled with one word
        find room.
        """
        return self.storage.mem_limit_bytes

    @mem_limit_bytes.setter
    def mem_limit_bytes(self, mem_limit: str | int | None) -> None:
        self.storage.mem_limit_bytes = 0 if mem_limit is None else size_in_bytes(mem_limit)
        self._show(**self._options, mem_limit=mem_limit)

    def reset_mem_used_max(self) -> None:
        """Sets the figure ``mem_used_max`` to the memory in use now, as a write of 0 does in the kernel."""
        self.storage.reset_mem_used_max()

    def reset(self) -> None:
        """Drops all pages, gives their memory back, zeroes the figures and removes the limit on memory.

        Size and algorithm stay; in the kernel both have to be set again.

        Raises:
            SwapBusyError: EBUSY; the device is on.
        """
        self.storage.reset()
        self._show(**self._options)


class HeaderOptions(TypedDict, total=False):
    """Options of `File.create` for the header and the space of a new swap file."""

    label: str
    uuid: UUID | str | None
    bad_pages: Iterable[int]
    sparse: bool


class File(_WithStorage):
    """A swap file or a block device with the header that mkswap wrote.

    ``with File(...) as file`` closes the file at its end, see `close`. The file stays on its file system.
    """

    __slots__ = ("path",)

    path: str
    """The path as the caller gave it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        direct: bool = False,
        is_block_device: bool | None = None,
        is_rotational: bool | None = None,
        fixpgsz: bool = False,
    ) -> None:
        """Opens a file and locks it against another use as swap until this object is dropped.

        Args:
            path: The file or device, whose header gives size and bad pages.
            direct: Bypass the page cache (O_DIRECT).
            is_block_device: None asks the system. True allows large folios and bad pages on a regular file.
            is_rotational: Whether the device seeks; None asks the system.
            fixpgsz: True replaces a header for another page size by a header for pages of 4096 bytes that
                covers the whole file, as ``swapon --fixpgsz`` does. Label, UUID and bad pages stay.

        Raises:
            SwapIOError: The file cannot be opened, read or written.
            SwapBusyError: EBUSY; the file is open as swap already.
            InvalidArgumentError: EINVAL; no valid SWAPSPACE2 header, a header for another page size without
                ``fixpgsz``, or the file ends before its last page.
        """
        self.path = os.fspath(path)
        options: dict[str, bool | None] = {"is_block_device": is_block_device, "is_rotational": is_rotational}
        storage = _core.Storage.file(self.path, direct=direct, fixpgsz=fixpgsz, **options)
        super().__init__(storage, repr(self.path), direct=direct or None, **options)

    def close(self) -> None:
        """Closes the file and gives its lock up; a second call changes nothing.

        A device that is on, and a `Faulty` around the file, keep the file open and locked, as the
        kernel keeps a swap file open from swapon to swapoff. Afterwards all attributes but ``path`` and
        ``closed`` raise `InvalidArgumentError` (EBADF).
        """
        with suppress(AttributeError):
            object.__delattr__(self, "storage")

    @property
    def closed(self) -> bool:
        """Returns whether `close` was called."""
        try:
            return self.storage is None
        except InvalidArgumentError:
            return True

    def __getattr__(self, name: str) -> NoReturn:
        """Names the reason for which a closed file has no storage."""
        if name == "storage":
            raise InvalidArgumentError(errno.EBADF, f"the swap file {self.path!r} is closed")
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(message)

    def __enter__(self) -> Self:
        """Returns the open file."""
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        """Closes the file."""
        self.close()

    @property
    def label(self) -> str:
        """Returns the volume label in the header."""
        return self.storage.label

    @property
    def uuid(self) -> UUID:
        """Returns the volume id in the header."""
        from uuid import UUID

        return UUID(bytes=self.storage.uuid)

    def swaplabel(self, *, label: str | None = None, uuid: UUID | str | None = None) -> None:
        """Changes the label or the UUID in the header, and nothing else, as the program ``swaplabel`` does.

        Args:
            label: Volume label, at most 16 bytes; None keeps the label.
            uuid: Volume id, also as text; None keeps the id.

        Raises:
            SwapBusyError: EBUSY; the device is on. The kernel refuses writes to a swap file that is on.
            InvalidArgumentError: EINVAL; a label that does not fit, or a text that is no volume id. Nothing
                changed.
            SwapIOError: The header cannot be read or written.
        """
        self.storage.swaplabel(label=label, uuid=None if uuid is None else uuid_bytes(uuid))

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        size: str | int | None = None,
        *,
        pages: int | None = None,
        direct: bool = False,
        is_block_device: bool | None = None,
        is_rotational: bool | None = None,
        **header: Unpack[HeaderOptions],
    ) -> File:
        """Makes a swap file, as mkswap does, and opens it.

        Args:
            path: The file, which must not exist. Only the owner of the file may read the file.
            size: Size with unit, or in bytes. Exclusive with ``pages``.
            pages: Size in slots, header included.
            direct: See `File`.
            is_block_device: See `File`.
            is_rotational: See `File`.
            **header: ``label`` (volume label, at most 16 bytes; default empty), ``uuid`` (volume id, also as
                text; the default None draws a random id), ``bad_pages`` (slots that are never handed out;
                default none) and ``sparse`` (True reserves no space, so a later write may fail with ENOSPC;
                default False).

        Returns:
            The open file.

        Raises:
            SwapIOError: The file exists, or there is no room for it, or it cannot be opened.
            InvalidArgumentError: EINVAL; a size, label, volume id or bad page list that does not fit, such as
                bad pages of a regular file without ``is_block_device=True``.

        After an error there is no new file.
        """
        _create_file(path, size_in_pages(size, pages), **header)
        try:
            return cls(path, direct=direct, is_block_device=is_block_device, is_rotational=is_rotational)
        except BaseException:
            # This call made the file, so this call removes the file. The first error is reported.
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - pathlib is slow to import
            raise


def _create_file(
    path: str | os.PathLike[str],
    slots: int,
    *,
    label: str = "",
    uuid: UUID | str | None = None,
    bad_pages: Iterable[int] = (),
    sparse: bool = False,
) -> None:
    _core.Storage.create_file(
        os.fspath(path),
        slots,
        label=label,
        uuid=uuid_bytes(uuid),
        bad_pages=tuple(map(operator.index, bad_pages)),
        sparse=sparse,
    )


class Faulty(_WithStorage):
    """Wraps another storage, and makes calls fail as planned; a new `Faulty` has no planned fault.

    A run of `swapcore.replay` or `swapcore.replay_accesses` on a `Faulty` storage cannot be repeated from its
    saved result: `swapcore.rerun` raises `InvalidArgumentError` ("cannot be made again"), because a storage's
    representation does not hold the plan of faults.
    """

    __slots__ = ("inner",)

    inner: Ram | Zram | File | Faulty
    """The wrapped storage, which gets the pages."""

    def __init__(self, inner: Ram | Zram | File | Faulty, *, seed: int = 0) -> None:
        """Wraps another storage; only one of the two storages can be on at one time.

        Args:
            inner: The storage that gets the pages whose write does not fail.
            seed: Seed of the failures by probability; equal seeds and equal calls give equal failures.
        """
        if not isinstance(inner, (Ram, Zram, File, Faulty)):
            message = f"faults go over a storage with data, such as Ram, not over {inner!r}"
            raise TypeError(message)
        self.inner = inner
        super().__init__(_core.Storage.faulty(inner.storage, seed=seed), repr(inner), seed=seed)

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
        """Replaces the plan of faults; a call without arguments plans no fault.

        Args:
            fail_write_in: The n-th write from now fails once; 1 is the next write.
            fail_read_in: The n-th read from now fails once; 1 is the next read.
            write_error_probability: Each write fails with this probability, 0 to 1.
            read_error_probability: Each read fails with this probability, 0 to 1.
            errno: The errno of failures by count or probability; 5 is EIO.
            tear_write_pages: The next write stores this many pages and then fails with EIO, once.
            delay_ns: Each write, read and discard takes this number of ns longer.

        Raises:
            InvalidArgumentError: EINVAL; a value is out of range. The old plan stays.
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
    """A device with slots and no place for pages, which costs no memory until its slots are used.

    Pages of zeros, and pages that zswap takes, get slots of a ghost. All other pages stay in memory. With a
    virtual table, every slot also records where its page lies. A swap-out to a ghost with a virtual table
    tries zswap first and then the devices behind the ghost. The page of a slot can move between zswap and
    these devices, and no page table changes.
    """

    __slots__ = ("is_virtual", "visibility")

    is_virtual: bool
    """True if each slot has a second word that records where the page of the slot lies."""
    visibility: str
    """``visible``, ``listed`` or ``hidden``."""

    def __init__(
        self,
        size: str | int | None = None,
        *,
        pages: int | None = None,
        is_virtual: bool = False,
        visibility: str = "visible",
    ) -> None:
        """Describes a device; the description takes no memory and no file space.

        Args:
            size: Size with unit, such as ``"15T"``, or in bytes, see `parse_size`. Exclusive with ``pages``.
                ``"16T"`` makes 2**32 - 1 slots, as many as a device can have.
            pages: Size in slots, header included.
            is_virtual: True allows other devices behind the ghost, see `docs/virtual.md`.
            visibility: ``visible`` is listed and counted in the totals, ``listed`` is listed without a size,
                ``hidden`` is not listed and not counted.

        Raises:
            InvalidArgumentError: EINVAL; a size out of range or an unknown word.
        """
        slots = ghost_pages(size, pages)
        self._make(_core.Storage.ghost(slots, is_virtual=is_virtual, visibility=visibility), visibility)

    @classmethod
    def for_ram(
        cls,
        size: str | int | None = None,
        *,
        pages: int | None = None,
        is_virtual: bool = False,
        visibility: str = "visible",
    ) -> Ghost:
        """Describes a ghost with the size of ``/dev/ghostswap``, a character device of a kernel patch.

        The size is eight times the size of memory, in whole clusters.

        Args:
            size: Size of memory with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
            pages: Size of memory in pages.
            is_virtual: See `Ghost`.
            visibility: See `Ghost`.

        Returns:
            The device.

        Raises:
            InvalidArgumentError: EINVAL; a size out of range or an unknown word.
        """
        ghost = cls.__new__(cls)
        storage = _core.Storage.ghost_for_ram(
            amount_in_pages(size, pages), is_virtual=is_virtual, visibility=visibility
        )
        ghost._make(storage, visibility)
        return ghost

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, is_virtual: bool = False, visibility: str = "visible"
    ) -> Ghost:
        """Describes a ghost of the size that the swap header in a file of exactly one page states.

        Args:
            path: The file, as `Null.write_header` makes it.
            is_virtual: See `Ghost`.
            visibility: See `Ghost`.

        Returns:
            The device.

        Raises:
            SwapIOError: The file cannot be read.
            InvalidArgumentError: EINVAL; the file is not one page with a swap header, or an unknown word.
        """
        ghost = cls.__new__(cls)
        storage = _core.Storage.ghost_open(os.fspath(path), is_virtual=is_virtual, visibility=visibility)
        ghost._make(storage, visibility)
        return ghost

    def _make(self, storage: _core.Storage, visibility: str) -> None:
        self.is_virtual = storage.is_virtual
        self.visibility = visibility
        shown = None if visibility == "visible" else visibility
        virtual = self.is_virtual or None
        _WithStorage.__init__(self, storage, pages=storage.pages, is_virtual=virtual, visibility=shown)
