"""Conversion of sizes and volume ids from the forms that every storage accepts."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING

from . import _core
from .exceptions import invalid

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "DEFAULT_MEMORY_PAGES",
    "PAGES_MAX",
    "PAGES_MIN",
    "memory_pages",
    "parse_size",
    "size_in_pages",
    "usable_pages",
    "uuid_bytes",
]

_UNIT_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SIZE = r"\s*(\d+)(?:\s*|(\.\d+)?\s*([KMGT])(?:iB)?)\s*"

PAGES_MIN = 2
"""Smallest size of a device in slots: the header page and one slot."""
PAGES_MAX = 2**32 - 1
"""Largest size of a device in slots, because the kernel's `swap_info_struct.max` is an unsigned 32-bit
count."""
DEFAULT_MEMORY_PAGES = 1 << 22
"""Default memory of a subsystem in pages: 16 GiB."""


def parse_size(size: str | int) -> int:
    """Converts a size such as ``"16G"``, ``"16GiB"``, ``"11.5G"``, ``"8192"`` or an int into bytes.

    Units are binary: K or KiB, M or MiB, G or GiB, T or TiB are 2**10, 2**20, 2**30, 2**40 bytes; a bare
    number is bytes. A number with a
    fraction needs a unit, and its size is rounded down to whole pages, because listings print rounded sizes.

    Args:
        size: The size, a multiple of the page size.

    Returns:
        The size in bytes.

    Raises:
        InvalidArgumentError: EINVAL; not a size, or not whole pages.
    """
    if isinstance(size, str):
        # The pattern is compiled here, because compiling it at import would slow `import swapcore`. `re`
        # caches the compiled pattern.
        match = re.fullmatch(_SIZE, size, re.ASCII | re.IGNORECASE)
        if match is None:
            raise invalid(
                f"size {size!r} is not a number with an optional unit K, M, G or T, also KiB, MiB, GiB or "
                "TiB; a fraction needs a unit"
            )
        number, fraction, unit = match.groups()
        shift = _UNIT_SHIFT[(unit or "").upper()]
        size_bytes = int(number) << shift
        if fraction:
            fraction_bytes = (int(fraction[1:]) << shift) // 10 ** len(fraction[1:])
            size_bytes += fraction_bytes - (size_bytes + fraction_bytes) % _core.PAGE_SIZE
    else:
        size_bytes = operator.index(size)
    if size_bytes < 0:
        raise invalid(f"size {size!r} is under the least, 0")
    if size_bytes % _core.PAGE_SIZE:
        raise invalid(f"size {size!r} is not a multiple of the page size, {_core.PAGE_SIZE} bytes")
    return size_bytes


def size_in_pages(size: str | int | None, pages: int | None) -> int:
    """Converts the size of a storage, given in one of two ways, into pages.

    Args:
        size: Size with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
        pages: Size in slots, header included.

    Returns:
        The size in slots, header included.

    Raises:
        InvalidArgumentError: EINVAL; no size, two sizes, or a size out of range.
    """
    if (size is None) == (pages is None):
        raise invalid(f"give either size or pages, not {'both' if pages is not None else 'neither'}")
    slots = parse_size(size) // _core.PAGE_SIZE if size is not None else operator.index(pages or 0)
    if not PAGES_MIN <= slots <= PAGES_MAX:
        raise invalid(f"size {slots} pages is outside {PAGES_MIN}..={PAGES_MAX} pages")
    return slots


def memory_pages(memory: str | int) -> int:
    """Converts an amount of memory, or the size of a ghost, into pages.

    Args:
        memory: The amount, as text with a unit, see `parse_size`, or as a number of pages.

    Returns:
        The amount in pages. The code that uses the amount checks the range.

    Raises:
        InvalidArgumentError: EINVAL; not a size, or not whole pages.
    """
    return parse_size(memory) // _core.PAGE_SIZE if isinstance(memory, str) else operator.index(memory)


def usable_pages(pages: int) -> int:
    """Returns the size that the kernel gives a device of ``pages`` pages.

    Args:
        pages: Size in pages, header included.

    Returns:
        `PAGES_MAX` for 2**32 pages, because an unsigned 32-bit count holds no more, and the last page stays
        unused. Any other size is returned as it is.
    """
    return PAGES_MAX if pages == PAGES_MAX + 1 else pages


def uuid_bytes(uuid: UUID | str | None) -> bytes:
    """Returns the bytes of a volume id.

    Args:
        uuid: The id, also as text with hyphens; None draws a random id.

    Returns:
        16 bytes.

    Raises:
        InvalidArgumentError: EINVAL; a text of another form.
        TypeError: Neither an id nor a text.
    """
    # The import is local, because the module `uuid` costs a tenth of the time budget for an import of this
    # package, and few callers need the module.
    from uuid import UUID, uuid4

    if uuid is None:
        return uuid4().bytes
    if isinstance(uuid, UUID):
        return uuid.bytes
    if not isinstance(uuid, str):
        message = f"uuid must be a UUID or a str, not {type(uuid).__name__}"
        raise TypeError(message)
    # `UUID` accepts braces, prefixes and texts without hyphens, too, but `swaplabel` accepts one form only.
    if re.fullmatch(_UUID, uuid, re.ASCII | re.IGNORECASE) is None:
        raise invalid(
            f"uuid {uuid!r} is not 32 hexadecimal digits in groups of 8-4-4-4-12, joined by hyphens"
        )
    return UUID(uuid).bytes
