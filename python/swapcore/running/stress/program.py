"""The common part of the random programs of a stress run with a number of operations."""

from __future__ import annotations

import random
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from swapcore._core import Swap
from swapcore.exceptions import InvariantError, invalid

if TYPE_CHECKING:
    from collections.abc import Callable

NR_CPUS = 2
"""CPUs of the subsystem; each operation draws the CPU that runs it."""

CHECK_EVERY = 256
"""Operations from one proof of all invariants to the next."""

DEFAULT_PAGES = 4096
"""Slots of all devices together, a few clusters, so that devices are full now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsRun:
    """Describes a stress run of one thread; equal descriptions give equal operations and equal counters.

    Attributes:
        ops: Number of operations.
        seed: Seed of every random choice.
        pages: Slots of all devices together, headers included.
        devices: Number of devices.
        profile: See `swapcore.Swap`.
        data: True runs address spaces whose pages have data; False allocates and frees slots.
        faults: True makes reads and writes of storages fail now and then; implies data.
        swapoff: True turns devices off and on again during the run.
        groups: Number of memory cgroups with changing limits, to which the address spaces belong; 0 is none;
            implies data.
        zswap: Compressor of zswap, or None for no zswap; implies data.
        ghost: Size of a ghost with a virtual table in front of the devices, or None; implies data.
    """

    ops: int
    seed: int = 1
    pages: int = DEFAULT_PAGES
    devices: int = 2
    profile: str = "newest"
    data: bool = False
    faults: bool = False
    swapoff: bool = False
    groups: int = 0
    zswap: str | None = None
    ghost: str | None = None

    @property
    def has_data(self) -> bool:
        """Returns True if the pages of the run have data, as ``data`` or another attribute says."""
        return self.data or self.faults or self.groups > 0 or self.zswap is not None or self.ghost is not None

    @property
    def command(self) -> str:
        """Returns the command that runs the same operations."""
        words = ["swapcore", "stress", "--ops", f"{self.ops}", "--seed", f"{self.seed}"]
        words += ["--pages", f"{self.pages}", "--devices", f"{self.devices}", "--profile", self.profile]
        words += [f"--{name}" for name in ("data", "faults", "swapoff") if getattr(self, name)]
        if self.groups:
            words += ["--groups", f"{self.groups}"]
        for name in ("zswap", "ghost"):
            if getattr(self, name) is not None:
                words += [f"--{name}", getattr(self, name)]
        return shlex.join(words)

    def require_numbers(self) -> None:
        """Raises `InvalidArgumentError` (EINVAL) for a number that is too small."""
        for name, least in (("ops", 1), ("seed", 0), ("devices", 1), ("groups", 0)):
            if getattr(self, name) < least:
                raise invalid(f"{name} {getattr(self, name)} is under the least, {least}")


class Program(ABC):
    """Random operations on one subsystem; a subclass has the operations.

    The random choices depend on the seed only, so the first operations of a longer run are those of a shorter
    run.
    """

    WEIGHTS: ClassVar[dict[str, int]] = {}
    """Maps the name of each operation, a method, to the weight with which it is drawn."""

    def __init__(self, how: OpsRun, **options: Any) -> None:  # noqa: ANN401 - the options of `Swap`
        """Makes the subsystem.

        Args:
            how: The description of the run.
            **options: Other arguments of `Swap`.
        """
        how.require_numbers()
        self.how = how
        self.rng = random.Random(how.seed)  # noqa: S311 - choices, not secrets
        self.swap = Swap(nr_cpus=NR_CPUS, profile=how.profile, **options)
        self.cpu = 0
        self.nr_done = 0
        self.counts = dict.fromkeys(("verified_pages", "full", "no_memory", "io_errors", "swapoffs"), 0)
        weights = self.weights()
        self.counts |= dict.fromkeys(weights, 0)
        self._names, self._weights = [*weights], [*accumulate(weights.values())]

    def weights(self) -> dict[str, int]:
        """Returns the operations of this run with their weights."""
        weights = dict(self.WEIGHTS)
        if self.how.swapoff:
            weights["swapoff"] = 1
        return weights

    @abstractmethod
    def swapoff(self) -> None:
        """Turns a device off and on again."""

    @abstractmethod
    def drain(self) -> None:
        """Frees everything that the program holds."""

    def run(self, tell: Callable[[int], None]) -> dict[str, Any]:
        """Runs all operations, frees everything, and proves that no slot was lost.

        Args:
            tell: Called with the operations done, now and then.

        Returns:
            Counts of the program by name, and ``counters``, the counters of the subsystem that are not 0.
        """
        for _ in range(self.how.ops):
            # One choice at a time, because a shorter run must make the choices of a longer run.
            [name] = self.rng.choices(self._names, cum_weights=self._weights)
            self.cpu = self.rng.randrange(NR_CPUS)
            self.nr_done += 1
            getattr(self, name)()
            self.counts[name] += 1
            if self.nr_done % CHECK_EVERY == 0:
                self.swap.check()
                tell(self.nr_done)
        self.swap.check()
        self.drain()
        self.swap.check()
        inuse_pages = sum(device.inuse_pages for device in self.swap.devices)
        if inuse_pages or self.swap.nr_swap_pages != self.swap.total_swap_pages:
            raise InvariantError(
                f"after everything was freed, {inuse_pages} slots are in use and "
                f"{self.swap.nr_swap_pages} of {self.swap.total_swap_pages} are free"
            )
        counters = {name: count for name, count in self.swap.stats().items() if count}
        return {**self.counts, "counters": counters}
