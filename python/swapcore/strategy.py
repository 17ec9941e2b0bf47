"""Allocators to compare: the interface of an allocator, and the names by which callers choose allocators.

A strategy hands out and takes back aligned runs of slots of one device. The built-in strategies are written
in Rust (`swapcore.Strategy.names`). A Python class with the methods of `AllocatorStrategy` is a strategy too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

from ._core import Strategy
from .exceptions import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Factory = Callable[[int, int], Strategy]
    Spec = str | Callable[..., "AllocatorStrategy"]

__all__ = ["AllocatorStrategy", "BatchedStrategy", "name_of", "resolve"]


class AllocatorStrategy(Protocol):
    """Lists the members that an allocator written in Python must have.

    The package builds the allocator as ``Cls(size_pages=..., nr_cpus=...)``. Slots are numbered
    1..size_pages - 1. Slot 0 holds the swap header and is never handed out. The core passes arguments by
    place, so an allocator can name them as it likes.

    Attributes:
        name: The allocator's name in tables.
        max_order: Largest order that the allocator takes, 0..=9. The caller splits requests of larger orders.
    """

    name: str
    max_order: int

    def __init__(self, *, size_pages: int, nr_cpus: int) -> None:
        """Starts with an empty device of ``size_pages`` slots, header included."""

    def alloc(self, order: int, cpu: int, /) -> int:
        """Returns the first slot of a free, aligned run of ``1 << order`` slots, or -1 without room."""

    def free(self, slot: int, nr: int, cpu: int, /) -> None:
        """Takes back the ``nr`` slots from ``slot`` on; the slots may be a part of an allocated run."""


class BatchedStrategy(AllocatorStrategy, Protocol):
    """Adds the optional methods to `AllocatorStrategy`; the core calls each optional method that exists.

    The batched methods save time, because a call from Rust into Python takes longer than most allocations.
    """

    def alloc_batch(self, nr: int, order: int, cpu: int, /) -> Sequence[int]:
        """Returns the first slots of up to ``nr`` runs, fewer if there is no room for more."""

    def free_batch(self, slots: Iterable[int], nr: int, cpu: int, /) -> None:
        """Takes back ``nr`` consecutive slots for each first slot in ``slots``."""

    def memory(self) -> dict[str, int]:
        """Returns ``static_bytes``, the memory of an empty device, and ``dynamic_bytes``, for used slots."""


def resolve(spec: Spec) -> Factory:
    """Finds the strategy for a name or class.

    Args:
        spec: The name of a built-in strategy, ``"module:Class"``, or a class (any callable that takes
            ``size_pages`` and ``nr_cpus`` and returns an `AllocatorStrategy`).

    Returns:
        A function of ``(size_pages, nr_cpus)`` that makes a fresh instance.

    Raises:
        InvalidArgumentError: EINVAL; no such strategy.
    """
    if isinstance(spec, str) and spec in Strategy.names:
        return lambda size_pages, nr_cpus: Strategy.create(spec, size_pages=size_pages, nr_cpus=nr_cpus)
    make = _import(spec) if isinstance(spec, str) else spec
    if not callable(make):
        raise invalid(f"strategy {spec!r} is not a class")
    name = name_of(spec)
    return lambda size_pages, nr_cpus: Strategy.wrap(
        make(size_pages=size_pages, nr_cpus=nr_cpus), size_pages=size_pages, name=name
    )


def name_of(spec: Spec) -> str:
    """Returns the name of a strategy in tables: its ``name``, or the name of its class.

    Args:
        spec: As for `resolve`.

    Returns:
        The name.

    Raises:
        InvalidArgumentError: EINVAL; no such strategy.
    """
    if isinstance(spec, str):
        if spec in Strategy.names:
            return spec
        spec = _import(spec)
    return str(getattr(spec, "name", None) or getattr(spec, "__name__", spec))


def _import(spec: str) -> Callable[..., AllocatorStrategy]:
    module_name, colon, class_name = spec.partition(":")
    if not colon or not module_name or not class_name:
        raise invalid(
            f"strategy {spec!r} is none of {', '.join(sorted(Strategy.names))}, nor of the form module:Class"
        )
    try:
        found: Any = importlib.import_module(module_name)
        for part in class_name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise invalid(f"strategy {spec!r} cannot be imported: {error}") from error
    return cast("Callable[..., AllocatorStrategy]", found)
