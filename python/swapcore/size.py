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
    "DEFAULT_MEMORY",
    "PAGES_MAX",
    "PAGES_MIN",
    "amount_in_pages",
    "ghost_pages",
    "parse_limit",
    "parse_size",
    "size_in_bytes",
    "size_in_pages",
    "usable_pages",
    "uuid_bytes",
]

_UNITS = "KMGTPE"
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SIZE = rf"\s*(0x[0-9a-f]++|\d+)(?:\s*|(\.\d+)?\s*([{_UNITS}])(?:iB)?)\s*"

PAGES_MIN = 2
"""Smallest size of a device in slots: the header page and one slot."""
PAGES_MAX = 2**32 - 1
"""Largest size of a device in slots, because the kernel's `swap_info_struct.max` is an unsigned 32-bit
count."""
DEFAULT_MEMORY = "16G"
"""Default memory of a subsystem."""


def size_in_bytes(size: str | int) -> int:
    """Converts a size, which need not be whole pages, into bytes.

    Args:
        size: The size, in the forms of `parse_size`.

    Returns:
        The size in bytes. The size of a number with a fraction is rounded down to whole pages.

    Raises:
        InvalidArgumentError: EINVAL; not a size.
    """
    if not isinstance(size, str):
        size_bytes = operator.index(size)
        if size_bytes < 0:
            raise invalid(f"size {size!r} is under the least, 0")
        return size_bytes
    # The pattern is compiled here, because compiling it at import would slow `import swapcore`. `re`
    # caches the compiled pattern.
    match = re.fullmatch(_SIZE, size, re.ASCII | re.IGNORECASE)
    if match is None:
        raise invalid(
            f"size {size!r} is not a number with an optional unit K, M, G, T, P or E, also KiB, MiB, GiB, "
            "TiB, PiB or EiB; a fraction needs a unit"
        )
    number, fraction, unit = match.groups()
    shift = 10 * (_UNITS.index(unit.upper()) + 1) if unit else 0
    if not fraction:
        return _whole_number(size, number) << shift
    if not number.isdecimal():
        raise invalid(f"size {size!r} has a fraction, so its number must be decimal")
    fraction_bytes: int = (int(number + fraction[1:]) << shift) // 10 ** len(fraction[1:])
    return fraction_bytes - fraction_bytes % _core.PAGE_SIZE


def _whole_number(size: str, number: str) -> int:
    """Reads a number as the kernel does: ``0x`` begins a hexadecimal number, any other 0 an octal number."""
    if not number.isdecimal():
        return int(number, 16)
    try:
        return int(number, 8 if number[0] == "0" else 10)
    except ValueError:
        raise invalid(f"size {size!r} begins with 0, so its digits must be octal, 0 to 7") from None


def parse_size(size: str | int) -> int:
    """Converts a size such as ``"16G"``, ``"16GiB"``, ``"11.5G"``, ``"8192"`` or an int into bytes.

    Units are binary: K or KiB, M or MiB, G or GiB, T or TiB, P or PiB, E or EiB are 2**10, 2**20, 2**30,
    2**40, 2**50, 2**60 bytes; a bare number is bytes. As in the kernel, ``"0x1000"`` is hexadecimal, and
    another number that begins with 0 is octal. A number with a fraction needs a unit, and its size is rounded
    down to whole pages, because listings print rounded sizes.

    Args:
        size: The size, a multiple of the page size.

    Returns:
        The size in bytes.

    Raises:
        InvalidArgumentError: EINVAL; not a size, or not whole pages.
    """
    size_bytes = size_in_bytes(size)
    if size_bytes % _core.PAGE_SIZE:
        raise invalid(f"size {size!r} is not a multiple of the page size, {_core.PAGE_SIZE} bytes")
    return size_bytes


def parse_limit(limit: str | int) -> int:
    """Converts a limit of a group into bytes, rounded down to pages, as the kernel's counters round limits.

    Args:
        limit: The limit, in the forms of `parse_size`, but not only whole pages: a limit of 1 is 0.

    Returns:
        The limit in bytes.

    Raises:
        InvalidArgumentError: EINVAL; not a size.
    """
    limit_bytes = size_in_bytes(limit)
    return limit_bytes - limit_bytes % _core.PAGE_SIZE


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
    slots = amount_in_pages(size, pages)
    if not PAGES_MIN <= slots <= PAGES_MAX:
        raise invalid(f"size {slots} pages is outside {PAGES_MIN}..={PAGES_MAX} pages")
    return slots


def ghost_pages(size: str | int | None, pages: int | None) -> int:
    """Converts the size of a ghost, given in one of two ways, into pages.

    Args:
        size: Size with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
        pages: Size in slots, header included.

    Returns:
        The size in slots, header included; 2**32 slots become `PAGES_MAX`, see `usable_pages`.

    Raises:
        InvalidArgumentError: EINVAL; no size, two sizes, or a size out of range.
    """
    slots = usable_pages(amount_in_pages(size, pages))
    return size_in_pages(None, slots)


def amount_in_pages(size: str | int | None, pages: int | None) -> int:
    """Converts an amount of memory, given in one of two ways, into pages.

    Args:
        size: The amount with unit, or in bytes, see `parse_size`. Exclusive with ``pages``.
        pages: The amount in pages.

    Returns:
        The amount in pages. The code that uses the amount checks the range.

    Raises:
        InvalidArgumentError: EINVAL; no amount, two amounts, or not whole pages.
    """
    if (size is None) == (pages is None):
        raise invalid(f"give either size or pages, not {'both' if pages is not None else 'neither'}")
    return parse_size(size) // _core.PAGE_SIZE if size is not None else operator.index(pages or 0)


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
