"""Policies of memory cgroups: what may be decided for groups while the subsystem works.

`Swap.set_memcg_policy` takes an object with any of the methods of `MemcgPolicy`; `MemCgroup.set_policy`
decides the same as a table, without calling Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ._core import MemCgroup

__all__ = ["MemcgPolicy"]


class MemcgPolicy(Protocol):
    """Is every hook that a policy may have; one that it does not have is not asked.

    Hooks are called on the thread of the call that led to them, with no lock of the core held: they may call
    back. None leaves a decision to the table of the group and to the switches. An exception is raised by that
    call, once it is done as if the hook had returned None.
    """

    def on_swap_charge(self, group: MemCgroup, nr_pages: int) -> bool | None:
        """Says whether pages of a group may be swapped out; False is as if ``memory.swap.max`` refused."""

    def on_dead_owner(self, owner: MemCgroup, faulting: MemCgroup, nr_pages: int) -> str | None:
        """Says who pays for pages of a removed group: a word of the switch ``dead_swapin`` but ``default``.

        ``fault_mm`` counts only where the owner store can keep the slots the dead group's own.
        """

    def on_limit(self, group: MemCgroup, limit: str, nr_pages: int) -> None:
        """Is told, after the operation, that a limit (``memory``, ``swap``, ``memsw``) refused pages."""

    def on_refault(
        self,
        group: MemCgroup,
        nr_pages: int,
        distance_pages: int,
        is_activated: bool,
    ) -> bool | None:
        """Says whether a folio that came back is active; ``is_activated`` is what the rule says."""

    def choose_device(self, group: MemCgroup, order: int, devices: list[int]) -> int | None:
        """Returns the swap type for a folio, one of ``devices``, which are in the order they are tried."""
