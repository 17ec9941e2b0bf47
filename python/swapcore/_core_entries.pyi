"""Entries of the Rust core, which name slots of devices. At run time the classes are in `_core`."""

import builtins
from collections.abc import Iterator
from typing import final

@final
class SwpEntry:
    """One swap slot, or the first of an aligned run of ``1 << order`` slots: an int-like value, ``type << 58
    | offset``.

    Equality and hash use only the value. An entry equals an entry or an int of the same value, and no other
    object. ``<`` and ``>`` compare only entries. Errors of the constructor: EINVAL, ``order`` is over
    `MAX_ORDER`. Kernel: `swp_entry_t`; differs: an entry keeps the order of its allocation, so `Swap.free`
    needs no length."""

    def __new__(cls, value: int, order: int = 0) -> SwpEntry: ...
    @property
    def value(self) -> int:
        """The whole word, ``type << 58 | offset``."""
    @property
    def type(self) -> int:
        """The swap type, which is the number of the device."""
    @property
    def offset(self) -> int:
        """The number of the slot on its device."""
    @property
    def order(self) -> int:
        """log2 of the number of slots of the run, 0 to 9."""
    @property
    def nr_pages(self) -> int:
        """Number of slots of the run, ``1 << order``."""
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: SwpEntry, /) -> bool: ...
    def __le__(self, other: SwpEntry, /) -> bool: ...
    def __gt__(self, other: SwpEntry, /) -> bool: ...
    def __ge__(self, other: SwpEntry, /) -> bool: ...
    def __reduce__(self) -> tuple[builtins.type[SwpEntry], tuple[int, int]]: ...

@final
class SwapBatch:
    """The entries of one `Swap.alloc_batch`, a read-only buffer of one uint64 for each run.

    ``np.asarray(batch)`` is a view without a copy. The length of a batch is the number of runs; its items are
    `SwpEntry`. Kernel: none."""

    @property
    def order(self) -> int:
        """log2 of the number of slots of each run in the batch."""
    @property
    def nr_pages(self) -> int:
        """Number of slots of all runs together."""
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> SwpEntry: ...
    def __iter__(self) -> Iterator[SwpEntry]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
