"""Compares the values of swapcore after a step with the recorded values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapcore.results.counters import Difference

from .recording import Between, OneOf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .recording import Recorded, Step

    Values = Mapping[str, int | str]

SKIPPED = frozenset({"kmem", "kmem_max", "pool_total_size"})
"""Last parts of keys that are not compared: kernel memory, which swapcore does not charge, and bytes of
zswap's pools, because the recordings are of the compressor lzo, which swapcore does not have."""

CHARGES = {"usage": "kmem", "max_usage": "kmem_max", "memsw": "kmem", "memsw_max_usage": "kmem_max"}
"""Last parts of keys of charged pages, each with the last part of the key of the kernel's share."""

MEMCG_CHARGE_BATCH = 64
"""Pages that a CPU charges to a group at once. Kernel memory of a group shifts the borders of its batches."""

COUNTED_ANEW = frozenset({"pgpgin", "pgpgout", "pgfault", "pgmajfault", "workingset_refault_anon"})
"""Last parts of keys of ``memory.stat`` that count events, so that they begin anew at `Case.compare_from`."""


class Comparison:
    """Compares step by step and counts the values.

    Attributes:
        nr_compared: Number of values that were compared.
        nr_agreed: Number of values that agree.
        differences: The other values, in the order of the steps.
        missing: Keys of the recording that swapcore has no value for. Their values are not compared.
    """

    def __init__(self) -> None:
        self.nr_compared = 0
        self.nr_agreed = 0
        self.differences: list[Difference] = []
        self.missing: set[str] = set()
        self._start: Values | None = None

    def restart(self, got: Values) -> None:
        """Makes the counts of events begin anew.

        Args:
            got: The values of swapcore now.
        """
        self._start = dict(got)

    def compare_errno(self, step: Step, got: int) -> None:
        """Compares the errno of a step. The errno is not one of the counted values.

        Args:
            step: The recorded step.
            got: The errno of swapcore; 0 stands for success.
        """
        if got not in step.errnos:
            kernel = " or ".join(map(str, sorted(step.errnos)))
            self.differences.append(Difference(step.number, str(step), "errno", kernel, str(got)))

    def compare(self, step: Step, got: Values) -> None:
        """Compares every value of a step.

        Args:
            step: The recorded step.
            got: The values of swapcore after the step.
        """
        for key, recorded, value in self._values(step, got):
            self.nr_compared += 1
            if _agrees(recorded, value) or _is_within_a_batch(key, step.values, value):
                self.nr_agreed += 1
            else:
                self.differences.append(Difference(step.number, str(step), key, str(recorded), str(value)))

    def _values(self, step: Step, got: Values) -> Iterator[tuple[str, Recorded, int | str]]:
        """Yields the values to compare, counted from the start of the comparison."""
        for key, recorded in step.values.items():
            last = key.rpartition(".")[2]
            if last in SKIPPED:
                continue
            value = got.get(key)
            if value is None:
                self.missing.add(key)
                continue
            if self._start is not None and _begins_anew(key, last) and isinstance(value, int):
                value -= int(self._start.get(key, 0))
            yield key, recorded, value


def _begins_anew(key: str, last: str) -> bool:
    return last in COUNTED_ANEW or (key.startswith("vm.") and key != "vm.nr_swapcached")


def _agrees(recorded: Recorded, value: int | str) -> bool:
    match recorded:
        case Between(least, most):
            return isinstance(value, int) and least <= value <= most
        case OneOf(texts):
            return str(value) in texts
        case _:
            return recorded == value


def _is_within_a_batch(key: str, recorded: Mapping[str, Recorded], value: int | str) -> bool:
    """Returns whether a number of charged pages differs only because the group has memory of the kernel."""
    group, _, last = key.rpartition(".")
    want, kmem = recorded[key], recorded.get(f"{group}.{CHARGES.get(last)}", 0)
    if not (isinstance(want, int) and isinstance(kmem, int) and isinstance(value, int)) or kmem == 0:
        return False
    return want - kmem - MEMCG_CHARGE_BATCH < value < want + MEMCG_CHARGE_BATCH
