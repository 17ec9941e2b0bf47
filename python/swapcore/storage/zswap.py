"""Compressed memory in front of the devices: its options when a subsystem is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Zswap", "zswap_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zswap:
    """Options of zswap for ``Swap(zswap=...)``: the kernel's parameters with its defaults, but ``enabled``.

    Attributes:
        compressor: ``lz4``, or ``zstd`` if the build has it.
        enabled: Take new pages. A stored page stays until it is read, freed or written back.
        max_pool_percent: Largest percentage of memory (``Swap(memory_pages=...)``) for compressed pages.
        accept_threshold_percent: Percentage of that largest amount. Full pools take no page until they have
            shrunk to this size.
        shrinker_enabled: Write cold pages to the devices when memory runs out, before the pools are full.
    """

    compressor: str = "lz4"
    enabled: bool = True
    max_pool_percent: int = 20
    accept_threshold_percent: int = 90
    shrinker_enabled: bool = False


def zswap_options(zswap: Zswap | str) -> dict[str, str | int | bool]:
    """Returns the attributes of zswap's options by name.

    Args:
        zswap: The options, or the name of a compressor, which stands for the defaults.

    Returns:
        Names and values, ready for JSON.
    """
    return asdict(Zswap(compressor=zswap) if isinstance(zswap, str) else zswap)
