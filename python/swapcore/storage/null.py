"""`Null`: a device that keeps metadata only."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swapcore import _core
from swapcore.size import size_in_pages, usable_pages, uuid_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

__all__ = ["Null"]


HEADER_BYTES_MAX = 64 << 10
"""The largest page size for which `swapcore.parse_swap_header` looks for a header, as `swapon` does."""


@dataclass(frozen=True, slots=True, init=False)
class Null:
    """A device that keeps metadata only: it hands out slots and discards page contents.

    Attributes:
        pages: Size in slots, header included.
        bad_pages: Slots that are never handed out.
        is_rotational: True turns off `SWP_SOLIDSTATE`, so all CPUs allocate from one shared next slot.
        is_block_device: False makes the device a regular file, which takes only order 0 and no bad pages.
        is_discardable: True lets ``swapon(discard=...)`` take effect.
    """

    pages: int
    bad_pages: tuple[int, ...]
    is_rotational: bool
    is_block_device: bool
    is_discardable: bool

    def __init__(
        self,
        size: str | int | None = None,
        *,
        pages: int | None = None,
        bad_pages: Iterable[int] = (),
        is_rotational: bool = False,
        is_block_device: bool = True,
        is_discardable: bool = False,
    ) -> None:
        """Describes a device.

        Args:
            size: Size with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
            pages: Size in slots, header included.
            bad_pages: Slots that are never handed out; `Swap.swapon` checks their range.
            is_rotational: Whether the device is a disk that seeks.
            is_block_device: Whether the device is a block device (as opposed to a regular file).
            is_discardable: Whether the device takes discards.

        Raises:
            InvalidArgumentError: EINVAL; no size, two sizes, or a size out of range.
        """
        for name, value in (
            ("pages", size_in_pages(size, pages)),
            ("bad_pages", tuple(map(operator.index, bad_pages))),
            ("is_rotational", is_rotational),
            ("is_block_device", is_block_device),
            ("is_discardable", is_discardable),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_header(
        cls,
        path: str | os.PathLike[str],
        *,
        is_rotational: bool = False,
        is_block_device: bool = True,
        is_discardable: bool = False,
    ) -> Null:
        """Takes size and bad pages from the header that mkswap wrote to a device or to an image of a device.

        An image stands for the block device that it copies. ``is_block_device=False`` says that the image is
        a swap file, which `Swap.swapon` refuses if the file has bad pages.

        Args:
            path: The file; only its header is read.
            is_rotational: See `Null`.
            is_block_device: See `Null`.
            is_discardable: See `Null`.

        Returns:
            The device.

        Raises:
            OSError: The file cannot be read.
            InvalidArgumentError: EINVAL; no valid SWAPSPACE2 header, or a header for another page size.
        """
        # `open` instead of pathlib, because an import of pathlib takes a sixth of the time budget for an
        # import of this package.
        with open(path, "rb") as file:  # noqa: PTH123
            header = _core.parse_swap_header(file.read(HEADER_BYTES_MAX))
        return cls(
            pages=usable_pages(header["last_page"] + 1),
            bad_pages=header["bad_pages"],
            is_rotational=is_rotational,
            is_block_device=is_block_device,
            is_discardable=is_discardable,
        )

    def write_header(
        self, path: str | os.PathLike[str], *, label: str = "", uuid: UUID | str | None = None
    ) -> None:
        """Writes the header page as mkswap does, and leaves the rest of the file unchanged.

        Args:
            path: A file or device; a file is created if it does not exist.
            label: Volume label, at most 16 bytes.
            uuid: Volume id, also as text; None draws a random id.

        Raises:
            OSError: The file cannot be written.
            InvalidArgumentError: EINVAL; a label, volume id or bad page list that does not fit.
        """
        page = _core.build_swap_header(self.pages - 1, self.bad_pages, uuid_bytes(uuid), label)
        # os.open without O_TRUNC keeps the pages after the header, and open(path, "wb") would remove the
        # pages.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(page)
