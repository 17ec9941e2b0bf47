"""Compressed memory in front of the devices: how it is asked for when a subsystem is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Zswap", "zswap_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zswap:
    """What ``Swap(zswap=...)`` takes: the kernel's parameters with its defaults, but ``enabled``.

    Attributes:
        compressor: ``lz4``, or ``zstd`` where the build has it.
        enabled: Take pages; what is in stays in until it is read, freed or written back.
        max_pool_percent: Most of memory (``Swap(memory_pages=...)``) that compressed pages may have.
        accept_threshold_percent: Of that most: once full, nothing is taken until the pools have shrunk to it.
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
