"""Policies of the memory controller in Python: the core calls a hook when a group swaps.

`swapcore.Swap.set_memcg_policy` takes any object that has at least one of the hooks below. A missing hook
costs nothing. A method whose name starts with ``on_`` or ``choose_``, or has up to two wrong letters, is
refused (TypeError), because such a method is probably a misspelt hook. A hook may call any function, because
the core holds no lock while a hook runs. If a hook that runs during reclaim of a group touches pages of the
group, reclaim may never end, because the touched pages come back to memory.

If a hook raises an exception, the call that led to the hook finishes as if the hook had returned None, and
then raises the exception. After `swap_in`, the exception's ``folios`` holds the folio. After `swap_out`, the
exception's ``entry`` holds the entry. A call that works page by page stops at its next check for signals.

Each call of a hook costs a call into the interpreter. `swapcore.MemCgroup.set_policy`, the table form of a
policy, gives fixed answers without calls into the interpreter.
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
"""The limit that refused a charge. ``memsw`` is the limit of ``v1`` on memory and swap together."""

DeadOwner = Literal["reparent", "fault_mm", "reparent_if_shared"]
"""The rule for the group that is charged when a page of a removed group is swapped in.

``reparent`` charges the nearest ancestor that is online. ``fault_mm`` charges the group of the faulting task.
``reparent_if_shared`` charges the ancestor if the slots have another reference, else the faulting task's
group."""


class OnSwapCharge(Protocol):
    """Decides, before a folio gets slots, whether the folio may go to swap."""

    def on_swap_charge(self, group: MemCgroup, nr_pages: int, /) -> bool | None:
        """Says whether a folio may go to swap.

        Args:
            group: The group that is charged for the folio.
            nr_pages: Pages of the folio.

        Returns:
            False refuses the folio, and the group counts the events ``max`` and ``fail`` as if
            ``memory.swap.max`` had refused it. True or None leaves the decision to the limits.
        """


class OnDeadOwner(Protocol):
    """Chooses the group to charge when a page of a removed group is swapped in."""

    def on_dead_owner(
        self, owner: MemCgroup, faulting: MemCgroup, nr_pages: int, /
    ) -> DeadOwner | Literal["root"] | MemCgroup | None:
        """Returns the group to charge, or the rule that chooses the group.

        Args:
            owner: The group that was removed.
            faulting: The group of the task that faults.
            nr_pages: Pages of the folio.

        Returns:
            A group that is online, or ``"root"`` for the root group: this group is charged for the folio and
            owns its slots from now on. A word of `DeadOwner`: the rule. None: the rule of the owner's policy
            table, or else of the switch ``dead_swapin``. ``fault_mm`` is allowed only if the switch
            ``owner_store`` can keep an owner that differs from the folio's.
        """


class OnLimit(Protocol):
    """Is called after an operation in which a limit refused a charge.

    With several threads, the refused charge may belong to another thread's operation.
    """

    def on_limit(self, group: MemCgroup, limit: Limit, nr_pages: int, /) -> None:
        """Receives the facts of the refused charge.

        Args:
            group: The group that has the limit.
            limit: The limit that refused the charge.
            nr_pages: Pages of the refused charge.
        """


class OnRefault(Protocol):
    """Decides which list a folio that reclaim swapped out starts on when the folio is swapped in."""

    def on_refault(
        self, group: MemCgroup, nr_pages: int, distance_pages: int, is_activated: bool, /
    ) -> bool | None:
        """Says whether the folio starts on the active list.

        Args:
            group: The group at whose level the core judged the refault distance.
            nr_pages: Pages of the folio.
            distance_pages: Pages that were evicted or activated in the group since the folio was evicted.
            is_activated: The core's judgement: True if the distance is within the working set.

        Returns:
            True for the active list, False for the inactive list, None for the core's judgement.
        """


class ChooseDevice(Protocol):
    """Chooses the device whose slots a folio gets.

    The devices of the group's policy table, and not this hook, restrict the device behind a virtual slot.
    """

    def choose_device(self, group: MemCgroup, order: int, devices: Sequence[int], /) -> int | None:
        """Returns the swap type to use.

        Args:
            group: The group that is charged for the folio.
            order: log2 of the folio's pages.
            devices: Swap types in the order in which the core tries them, virtual devices first.

        Returns:
            One of ``devices``. None takes the kernel's order.
        """


class MemcgPolicy(OnSwapCharge, OnDeadOwner, OnLimit, OnRefault, ChooseDevice, Protocol):
    """Lists every hook. A policy needs only one of the hooks and no base class, see `MemcgHooks`."""


MemcgHooks = OnSwapCharge | OnDeadOwner | OnLimit | OnRefault | ChooseDevice
"""An object with at least one hook, the argument of `swapcore.Swap.set_memcg_policy`."""
