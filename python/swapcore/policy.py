"""Policies of the memory controller in Python: hooks that are asked, or told, when a group swaps.

`swapcore.Swap.set_memcg_policy` takes any object that has at least one of the hooks below; those it lacks
cost nothing. No lock of the core is held while a hook runs, so it may call anything; but a hook that
touches pages of a group for which reclaim asks it works against that reclaim, which may then never end.
What a hook raises is raised by the call that led to it, once that is done as if the hook had returned None:
`swap_in` has done it then, and its folio is in the exception's ``folios``; of `swap_out` the entry is in its
``entry``. Calls that work page by page stop at the next look for signals.

Each hook costs a call into the interpreter. Where a fixed answer will do, the table form,
`swapcore.MemCgroup.set_policy`, gives it without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._core import MemCgroup

__all__ = [
    "ChooseDevice",
    "DeadOwner",
    "Limit",
    "MemcgHooks",
    "MemcgPolicy",
    "OnDeadOwner",
    "OnLimit",
    "OnRefault",
    "OnSwapCharge",
]

Limit = Literal["memory", "swap", "memsw"]
"""Which limit refused: ``memsw`` is that on memory and swap together, which ``v1`` has."""

DeadOwner = Literal["reparent", "fault_mm", "reparent_if_shared"]
"""Who is charged when a page comes back whose group is gone: its nearest ancestor that is online, the group
of the task that faults, or the latter unless somebody else refers to the slots."""


class OnSwapCharge(Protocol):
    """Is asked before a folio gets slots."""

    def on_swap_charge(self, group: MemCgroup, nr_pages: int, /) -> bool | None:
        """Says whether a folio may go to swap.

        Args:
            group: Who is charged for it.
            nr_pages: Its pages.

        Returns:
            False: it may not, and the group counts the events ``max`` and ``fail`` as if
            ``memory.swap.max`` had refused it. True or None: as the limits say.
        """


class OnDeadOwner(Protocol):
    """Is asked when a page comes back whose group was removed."""

    def on_dead_owner(self, owner: MemCgroup, faulting: MemCgroup, nr_pages: int, /) -> DeadOwner | None:
        """Says who is charged.

        Args:
            owner: The group that was removed.
            faulting: That of the task that faults.
            nr_pages: Pages of the folio.

        Returns:
            Who; None: as the switch ``dead_swapin`` says. ``fault_mm`` only where the switch
            ``owner_store`` can keep an owner who is not the folio's.
        """


class OnLimit(Protocol):
    """Is told, after the operation, that a limit refused a charge; with threads it may be another's."""

    def on_limit(self, group: MemCgroup, limit: Limit, nr_pages: int, /) -> None:
        """Takes note.

        Args:
            group: Whose limit it is.
            limit: Which one.
            nr_pages: Pages refused.
        """


class OnRefault(Protocol):
    """Is asked when a page comes back that reclaim had taken."""

    def on_refault(
        self, group: MemCgroup, nr_pages: int, distance_pages: int, is_activated: bool, /
    ) -> bool | None:
        """Says whether the folio starts on the active list.

        Args:
            group: At whose level its distance was judged.
            nr_pages: Pages of the folio.
            distance_pages: Pages that were evicted or activated there since it went.
            is_activated: How it was judged: the distance is within the working set.

        Returns:
            Whether it does; None: as judged.
        """


class ChooseDevice(Protocol):
    """Is asked for the device of a folio."""

    def choose_device(self, group: MemCgroup, order: int, devices: Sequence[int], /) -> int | None:
        """Returns the swap type to use.

        Args:
            group: Who is charged for the folio.
            order: log2 of its pages.
            devices: Swap types in the order they are tried.

        Returns:
            One of them; None: the kernel's order.
        """


class MemcgPolicy(OnSwapCharge, OnDeadOwner, OnLimit, OnRefault, ChooseDevice, Protocol):
    """Has every hook. Few policies do: write those you need, and no base class; see `MemcgHooks`."""


MemcgHooks = OnSwapCharge | OnDeadOwner | OnLimit | OnRefault | ChooseDevice
"""What `swapcore.Swap.set_memcg_policy` takes: an object with any of the hooks."""
