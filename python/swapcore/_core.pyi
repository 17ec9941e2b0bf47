"""Types and docs of the Rust core: the swap allocator, its devices, its memory and the replay engine.

``cpu`` arguments name the CPU whose hints (the slots at which its next searches start) and local lock a call
uses. None means the calling thread's number modulo ``nr_cpus``. Threads get their numbers in the order of
their first call, and a thread keeps its number. Counts are pages of 4 KiB unless a name ends in ``bytes``.
The errno EINVAL is raised as `swapcore.InvalidArgumentError`, and the errno ENOENT as
`swapcore.EntryGoneError`. "Releases the GIL" means that other Python threads run during the call. The core
holds no lock while Python code runs (a hook, a signal handler, ``unuse`` or ``progress``), so the Python code
may call any function.

The stubs are split into files ``_core_*.pyi``. At run time only the module ``_core`` exists.
"""

from ._core_devices import Storage, SwapDevice, ZswapHandle, build_swap_header, parse_swap_header
from ._core_entries import SwapBatch, SwpEntry
from ._core_memcg import MemcgFile, MemCgroup
from ._core_memory import Folio, FolioLock, Mm, Shmem
from ._core_replay import Accesses, Strategy, Trace, stress
from ._core_swap import Swap

__all__ = [
    "MAX_ORDER",
    "MAX_SWAPFILES",
    "PAGE_SIZE",
    "SWAPFILE_CLUSTER",
    "Accesses",
    "Folio",
    "FolioLock",
    "MemCgroup",
    "MemcgFile",
    "Mm",
    "Shmem",
    "Storage",
    "Strategy",
    "Swap",
    "SwapBatch",
    "SwapDevice",
    "SwpEntry",
    "Trace",
    "ZswapHandle",
    "build_facts",
    "build_swap_header",
    "is_debug_build",
    "parse_swap_header",
    "stress",
]

PAGE_SIZE: int
"""Number of bytes of a page: 4096."""
SWAPFILE_CLUSTER: int
"""Number of slots of a cluster: 512."""
MAX_ORDER: int
"""The largest order of a run or folio: 9."""
MAX_SWAPFILES: int
"""The largest number of devices that can be on at one time."""
build_facts: dict[str, str]
"""Facts about the build by name: ``build`` (``debug`` or ``release``), ``opt-level``, ``target``, ``rustc``, and
``abi3`` and ``zstd`` (``yes`` or ``no``)."""
is_debug_build: bool
"""True if the core was built with debug assertions. Timings of such a build mean nothing."""
