"""Values of memory cgroups, by the keys of a recording.

A group of version 1 has the short keys of the recordings, such as ``a.usage``, in pages. A group of version 2
has the names of its files as keys. An amount is in pages, a limit without a value is the text ``max``:

* ``a.memory.current``, ``.peak``, ``.min``, ``.low``, ``.high``, ``.max`` and ``a.memory.swap.current``,
  ``.peak``, ``.high``, ``.max``, ``a.memory.zswap.max``: pages.
* ``a.memory.zswap.current``: bytes, because compressed pages are no whole pages.
* ``a.memory.zswap.writeback``, ``a.memory.oom.group``: 0 or 1.
* ``a.memory.events.KEY``, ``a.memory.events.local.KEY``, ``a.memory.swap.events.KEY``: counts.
* ``a.memory.stat.KEY``: pages where the file has bytes of whole pages, else the value of the file.
* ``a.cgroup.events.populated``: 1 if the group or a group below has a task, else 0.

The root group has ``memory.stat`` and ``memory.zswap.writeback`` only, with ``root`` as its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapcore._core import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swapcore._core import MemCgroup

LEVELS_IN_BYTES = frozenset(
    {
        "rss", "rss_huge", "swap", "swapcached", "inactive_anon", "active_anon",
        "anon", "anon_thp", "file", "shmem", "zswapped", "unevictable", "inactive_file", "active_file",
    }
)  # fmt: skip
"""Keys of ``memory.stat`` in bytes, which a recording has in pages. The first line is of version 1."""

GROUP_FILES = {
    "usage": ("memory.usage_in_bytes", PAGE_SIZE),
    "max_usage": ("memory.max_usage_in_bytes", PAGE_SIZE),
    "failcnt": ("memory.failcnt", 1),
    "memsw": ("memory.memsw.usage_in_bytes", PAGE_SIZE),
    "memsw_max_usage": ("memory.memsw.max_usage_in_bytes", PAGE_SIZE),
    "memsw_failcnt": ("memory.memsw.failcnt", 1),
}
"""Files of a group of version 1 with one number, and the unit of the number, by the last part of a key."""

LIMITS = frozenset(
    {
        "memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.high", "memory.swap.max",
        "memory.zswap.max",
    }
)  # fmt: skip
"""Files of a group of version 2 with an amount that a script sets, in pages."""

UNIT_OF_FILE = {
    **dict.fromkeys(LIMITS, PAGE_SIZE),
    "memory.current": PAGE_SIZE,
    "memory.peak": PAGE_SIZE,
    "memory.swap.current": PAGE_SIZE,
    "memory.swap.peak": PAGE_SIZE,
    "memory.zswap.current": 1,
    "memory.zswap.writeback": 1,
    "memory.oom.group": 1,
}
"""Files of a group of version 2 with one value, and the unit of the value."""

LINES = ("memory.events", "memory.events.local", "memory.swap.events", "memory.stat")
"""Files of a group of version 2 with a key and a number a line."""

ROOT = "root"
"""The name of the root group in the keys of version 2."""


def amount(file: str, text: str) -> int | str:
    """Converts the text of a file of version 2 with one value.

    Args:
        file: The name of the file.
        text: The text.

    Returns:
        Pages or the number of the file; the text ``max`` for a limit without a value.
    """
    word = text.strip()
    return word if word == "max" else int(word) // UNIT_OF_FILE[file]


def v1_values(memcg: MemCgroup, /) -> Iterator[tuple[str, int]]:
    """Yields the values of a group of version 1, by the last parts of their keys."""
    for key, (file, unit) in GROUP_FILES.items():
        yield key, int(memcg.read(file)) // unit
    yield from (("stat." + key, value) for key, value in _lines_of(memcg, "memory.stat"))


def v2_values(memcg: MemCgroup, /) -> Iterator[tuple[str, int | str]]:
    """Yields the values of a group of version 2, by the last parts of their keys."""
    files = memcg.files
    for file in UNIT_OF_FILE:
        if file in files:
            yield file, amount(file, memcg.read(file))
    for file in LINES:
        if file in files:
            yield from ((f"{file}.{key}", value) for key, value in _lines_of(memcg, file))
    yield "cgroup.events.populated", int(_is_populated(memcg))


def _lines_of(memcg: MemCgroup, file: str) -> Iterator[tuple[str, int]]:
    for line in memcg.read(file).splitlines():
        key, value = line.split()
        is_bytes = file == "memory.stat" and key.removeprefix("total_") in LEVELS_IN_BYTES
        yield key, int(value) // (PAGE_SIZE if is_bytes else 1)


def _is_populated(memcg: MemCgroup) -> bool:
    return bool(memcg.tasks) or any(map(_is_populated, memcg.children))
