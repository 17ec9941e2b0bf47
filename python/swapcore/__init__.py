"""Linux's swap slot allocator as a Python package with a Rust core.

>>> import swapcore as sc
>>> swap = sc.Swap(nr_cpus=2)
>>> device = swap.swapon(sc.Null("1G"), priority=10)
>>> entry = swap.alloc(order=4, cpu=0)
>>> entry.nr_pages
16
>>> swap.free(entry)
>>> swap.check()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core import (
    MAX_ORDER,
    MAX_SWAPFILES,
    PAGE_SIZE,
    SWAPFILE_CLUSTER,
    Accesses,
    Folio,
    FolioLock,
    MemcgFile,
    MemCgroup,
    Mm,
    Shmem,
    Storage,
    Strategy,
    Swap,
    SwapBatch,
    SwapDevice,
    SwpEntry,
    Trace,
    ZswapHandle,
    build_swap_header,
    is_debug_build,
    parse_swap_header,
)
from .exceptions import (
    AlreadyCachedError,
    EntryGoneError,
    GroupExistsError,
    InvalidArgumentError,
    InvariantError,
    RefOverflowError,
    SwapBusyError,
    SwapError,
    SwapFullError,
    SwapIOError,
    SwapMemoryError,
    TaskKilledError,
    TooManySwapfilesError,
)
from .storage import Faulty, File, Ghost, Null, Ram, Zram
from .storage.zswap import Zswap

if TYPE_CHECKING:
    from .arrays import MmArray
    from .kinds import ClusterFlag, EventKind, SlotKind, SwpFlag
    from .running.compare import compare
    from .running.folios import replay

    __version__: str

__all__ = [
    "MAX_ORDER",
    "MAX_SWAPFILES",
    "PAGE_SIZE",
    "SWAPFILE_CLUSTER",
    "Accesses",
    "AlreadyCachedError",
    "ClusterFlag",
    "EntryGoneError",
    "EventKind",
    "Faulty",
    "File",
    "Folio",
    "FolioLock",
    "Ghost",
    "GroupExistsError",
    "InvalidArgumentError",
    "InvariantError",
    "MemCgroup",
    "MemcgFile",
    "Mm",
    "MmArray",
    "Null",
    "Ram",
    "RefOverflowError",
    "Shmem",
    "SlotKind",
    "Storage",
    "Strategy",
    "Swap",
    "SwapBatch",
    "SwapBusyError",
    "SwapDevice",
    "SwapError",
    "SwapFullError",
    "SwapIOError",
    "SwapMemoryError",
    "SwpEntry",
    "SwpFlag",
    "TaskKilledError",
    "TooManySwapfilesError",
    "Trace",
    "Zram",
    "Zswap",
    "ZswapHandle",
    "__version__",
    "build_swap_header",
    "compare",
    "is_debug_build",
    "parse_swap_header",
    "replay",
]

# The folders and modules of the package, the lowest layer first, one layer in a line. A module imports only
# from its own folder and from the lines above its own line. tests/house/test_layers.py checks this order.
# layers:
# exceptions kinds
# size
# storage policy strategy arrays
# trace
# workloads
# report
# swaps results
# plot running
# running
# cli
# end of layers

if is_debug_build:
    import warnings

    warnings.warn(
        "swapcore was built with debug assertions: its timings mean nothing (build it with --release)",
        RuntimeWarning,
        stacklevel=2,
    )


def __getattr__(name: str) -> object:
    """Imports `compare`, `replay`, `MmArray`, `__version__` and the enums of `kinds` on first use.

    `compare`, `replay` and `MmArray` need NumPy, and `__version__` needs the metadata of the package.
    These imports are rarely needed, so ``import swapcore`` leaves them out.
    """
    value: object
    if name == "compare":
        from .running.compare import compare as value
    elif name == "replay":
        from .running.folios import replay as value
    elif name == "MmArray":
        from .arrays import MmArray

        value = MmArray
    elif name in {"ClusterFlag", "EventKind", "SlotKind", "SwpFlag"}:
        from . import kinds

        value = getattr(kinds, name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("swapcore")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
