"""Names of the numbers and flags in the answers of the core.

The columns of `SwapDevice.clusters`, `SwapDevice.slots` and `Swap.take_events` have one small number for
each row, because a column goes into NumPy and pandas as it is. An enum of this module turns such a number
into its name: ``ClusterFlag(2)`` is ``ClusterFlag.NONFULL``.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["ClusterFlag", "EventKind", "SlotKind", "SwpFlag"]


class SwpFlag(StrEnum):
    """A flag of a device, see `SwapDevice.flags`. Kernel: the ``SWP_*`` flags."""

    USED = "SWP_USED"
    """The device is on."""
    WRITEOK = "SWP_WRITEOK"
    """The allocator may hand slots out."""
    DISCARDABLE = "SWP_DISCARDABLE"
    """The device was turned on with a form of discard, and its storage can discard."""
    SOLIDSTATE = "SWP_SOLIDSTATE"
    """The device is not rotational, so each CPU has its own hint of allocation."""
    BLKDEV = "SWP_BLKDEV"
    """The device is a whole block device, so large orders are allowed."""
    AREA_DISCARD = "SWP_AREA_DISCARD"
    """The whole device is discarded at swapon."""
    PAGE_DISCARD = "SWP_PAGE_DISCARD"
    """Each cluster is discarded when it empties."""
    STABLE_WRITES = "SWP_STABLE_WRITES"
    """A page must not change while the page is written."""
    SYNCHRONOUS_IO = "SWP_SYNCHRONOUS_IO"
    """The storage is as fast as memory: no readahead, and a swap-in gives the slot up."""
    GHOST = "SWP_GHOST"
    """The device has no storage, and its clusters exist only while they are used. Kernel: the swap table
    series, phase IV."""
    VIRTUAL = "SWP_VIRTUAL"
    """The device is a ghost whose slots record where their pages lie. Kernel: none."""


class ClusterFlag(IntEnum):
    """The list of a cluster, in the column ``flags`` of `SwapDevice.clusters`.

    Kernel: `enum swap_cluster_flags`.
    """

    NONE = 0
    """No list: a CPU allocates from the cluster."""
    FREE = 1
    """The free list."""
    NONFULL = 2
    """The nonfull list of the cluster's order."""
    FRAG = 3
    """The frag list of the cluster's order."""
    FULL = 4
    """The full list."""
    DISCARD = 5
    """The discard list: the cluster is empty and waits for a discard."""
    DEAD = 6
    """No list: the cluster of a ghost was given up."""


class SlotKind(IntEnum):
    """The state of a slot, in `SwapDevice.slots`."""

    NULL = 0
    """The slot is free."""
    SHADOW = 1
    """The slot is in use and not cached: its page is swapped out."""
    FOLIO = 2
    """The slot is in use, and a folio in the swap cache has its page."""
    BAD = 3
    """The slot is never handed out."""
    POINTER = 4
    """The slot keeps the page of a virtual slot."""


class EventKind(IntEnum):
    """The kind of an event, in the column ``kind`` of `Swap.take_events`."""

    SWAP_OUT = 0
    """A folio was written."""
    SWAP_OUT_ZERO = 1
    """A folio was marked as zeros and not written."""
    SWAP_OUT_FALLBACK = 2
    """A large folio found no run of slots."""
    WRITE_ERROR = 3
    """A write failed."""
    SWAP_IN = 4
    """A folio was read."""
    SWAP_IN_ZERO = 5
    """A folio was filled with zeros."""
    SWAP_IN_FALLBACK = 6
    """A swap-in gave up a large order."""
    READ_ERROR = 7
    """A read failed."""
    READAHEAD_HIT = 8
    """A page that was read ahead was used."""
    EVICT = 9
    """A folio left memory."""
