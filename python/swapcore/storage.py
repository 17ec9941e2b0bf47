"""Where the pages of a swap device go. So far: nowhere.

`Null` gives a device its size, its bad pages and the properties that decide placement, and keeps no
data. It is what `swapcore.Swap.swapon` takes.
"""

from __future__ import annotations

import errno
import operator
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _core
from .exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

__all__ = ["Null", "parse_size"]

_UNIT_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"\s*(\d+)\s*([KMGT]?)\s*", re.ASCII | re.IGNORECASE)

PAGES_MIN = 2
"""The header page and one slot."""
PAGES_MAX = 2**32 - 1
"""`swap_info_struct.max` is an unsigned 32-bit count of pages."""


def parse_size(size: str | int) -> int:
    """Converts a size such as ``"16G"``, ``"512M"``, ``"8192"`` or an int into bytes.

    Units are binary: K, M, G, T are 2**10, 2**20, 2**30, 2**40 bytes; a bare number is bytes.

    Args:
        size: The size; must be a multiple of the page size.

    Returns:
        The size in bytes.

    Raises:
        InvalidArgumentError: EINVAL; not a size, or not whole pages.
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None:
            raise _invalid(f"size {size!r} is not a number with an optional unit K, M, G or T")
        size_bytes = int(match[1]) << _UNIT_SHIFT[match[2].upper()]
    else:
        size_bytes = operator.index(size)
    if size_bytes < 0 or size_bytes % _core.PAGE_SIZE:
        raise _invalid(f"size {size!r} is not a multiple of the page size, {_core.PAGE_SIZE} bytes")
    return size_bytes


@dataclass(frozen=True, slots=True, init=False)
class Null:
    """A device that keeps metadata only: slots are handed out, page contents go nowhere.

    Attributes:
        pages: Size in slots, header included.
        bad_pages: Slots that are never handed out.
        is_rotational: True turns off `SWP_SOLIDSTATE`: one allocation position for all CPUs.
        is_block_device: False makes it a regular file: order 0 only, no bad pages.
        can_discard: True lets ``swapon(discard=...)`` take effect.
    """

    pages: int
    bad_pages: tuple[int, ...]
    is_rotational: bool
    is_block_device: bool
    can_discard: bool

    def __init__(
        self,
        size: str | int | None = None,
        *,
        pages: int | None = None,
        bad_pages: Iterable[int] = (),
        is_rotational: bool = False,
        is_block_device: bool = True,
        can_discard: bool = False,
    ) -> None:
        """Describes a device.

        Args:
            size: Size with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
            pages: Size in slots, header included.
            bad_pages: Slots that are never handed out; `Swap.swapon` checks their range.
            is_rotational: Whether the device seeks.
            is_block_device: Whether it is a block device (as opposed to a regular file).
            can_discard: Whether it takes discards.

        Raises:
            InvalidArgumentError: EINVAL; no size, two sizes, or a size out of range.
        """
        if (size is None) == (pages is None):
            raise _invalid(f"give either size or pages, not {'both' if pages is not None else 'neither'}")
        slots = parse_size(size) // _core.PAGE_SIZE if size is not None else operator.index(pages or 0)
        if not PAGES_MIN <= slots <= PAGES_MAX:
            raise _invalid(f"size {slots} pages is outside {PAGES_MIN}..={PAGES_MAX} pages")
        for name, value in (
            ("pages", slots),
            ("bad_pages", tuple(map(operator.index, bad_pages))),
            ("is_rotational", is_rotational),
            ("is_block_device", is_block_device),
            ("can_discard", can_discard),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_header(
        cls,
        path: str | os.PathLike[str],
        *,
        is_rotational: bool = False,
        is_block_device: bool = True,
        can_discard: bool = False,
    ) -> Null:
        """Takes size and bad pages from the header that mkswap wrote to a device or an image of one.

        An image stands for the block device it was taken from; ``is_block_device=False`` says that it is a
        swap file, which `Swap.swapon` refuses when it has bad pages.

        Args:
            path: The file; only its first page is read.
            is_rotational: See `Null`.
            is_block_device: See `Null`.
            can_discard: See `Null`.

        Returns:
            The device.

        Raises:
            OSError: The file cannot be read.
            InvalidArgumentError: EINVAL; no valid SWAPSPACE2 header.
        """
        # Not pathlib: importing it takes a sixth of what importing this package may.
        with open(path, "rb") as file:  # noqa: PTH123
            header = _core.parse_swap_header(file.read(_core.PAGE_SIZE))
        return cls(
            pages=header["last_page"] + 1,
            bad_pages=header["bad_pages"],
            is_rotational=is_rotational,
            is_block_device=is_block_device,
            can_discard=can_discard,
        )

    def write_header(
        self, path: str | os.PathLike[str], *, label: str = "", uuid: UUID | None = None
    ) -> None:
        """Writes the header page that mkswap would, and leaves the rest of the file alone.

        Args:
            path: A file or device; a file is created if it does not exist.
            label: Volume label, at most 16 bytes.
            uuid: Volume id; None draws a random one.

        Raises:
            OSError: The file cannot be written.
            InvalidArgumentError: EINVAL; a label or bad page list that does not fit.
        """
        if uuid is None:
            # Importing uuid costs a tenth of the import budget, and few callers come here.
            from uuid import uuid4

            uuid = uuid4()
        page = _core.build_swap_header(self.pages - 1, self.bad_pages, uuid.bytes, label)
        # Not "wb": that would cut off what follows the header.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(page)


def _invalid(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(errno.EINVAL, message)
