"""Options of zswap, the compressed memory in front of the devices, for a new subsystem."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Zswap", "zswap_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zswap:
    """Options of zswap for ``Swap(zswap=...)``; all defaults but ``enabled`` are defaults of the kernel.

    Attributes:
        compressor: ``lz4``, or ``zstd`` if the build has it.
        enabled: True lets zswap take new pages. A stored page stays until the page is read, freed or written
            back.
        max_pool_percent: Largest percentage of memory (``Swap(memory_pages=...)``) for compressed pages.
        accept_threshold_percent: Percentage of the amount of ``max_pool_percent``. Pools that are full take
            no page until the pools have shrunk to this percentage.
        shrinker_enabled: True lets zswap write cold pages to the devices when memory runs out, before the
            pools are full.
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
