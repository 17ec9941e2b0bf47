"""Allocators to compare: what one must offer, and how one is named.

A strategy hands out and takes back aligned runs of slots of one device. Built-in ones are written in Rust
(`swapcore.Strategy.names`); a class with the methods of `AllocatorStrategy` is one too.
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
    """Is what an allocator written in Python must offer.

    It is built as ``Cls(size_pages=..., nr_cpus=...)``. Slots are numbered 1..size_pages - 1; slot 0 holds
    the swap header and is never handed out.

    Attributes:
        name: What tables call it.
        max_order: Largest order it takes, 0..=9; larger requests are split before it sees them.
    """

    name: str
    max_order: int

    def __init__(self, *, size_pages: int, nr_cpus: int) -> None:
        """Starts with an empty device of ``size_pages`` slots, header included."""

    def alloc(self, order: int, cpu: int) -> int:
        """Returns the first slot of a free, aligned run of ``1 << order`` slots; -1 without room."""

    def free(self, slot: int, nr: int, cpu: int) -> None:
        """Takes back ``nr`` slots from ``slot`` on; they may be a part of what was handed out."""


class BatchedStrategy(AllocatorStrategy, Protocol):
    """Is an `AllocatorStrategy` with the optional methods: each is called where it exists.

    A call from Rust into Python costs more than most allocators, so the batched forms are worth having.
    """

    def alloc_batch(self, n: int, order: int, cpu: int) -> Sequence[int]:
        """Returns the first slots of up to ``n`` runs; fewer when there is no room for more."""

    def free_batch(self, slots: Iterable[int], nr: int, cpu: int) -> None:
        """Takes back ``nr`` slots from each of ``slots`` on."""

    def memory(self) -> dict[str, int]:
        """Returns ``static_bytes``, held while empty, and ``dynamic_bytes``, held for what is in use now."""


def resolve(spec: Spec) -> Factory:
    """Finds the strategy that a name or class means.

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
    """Returns what tables call a strategy: its ``name``, or that of its class.

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
