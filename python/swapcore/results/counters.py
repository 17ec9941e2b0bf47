"""Results of a comparison with recorded counters of a kernel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

OP_SHOWN = 72
"""Characters of an operation in a line of text."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A value after a step that is not the recorded value.

    Attributes:
        step: Number of the step in the script, from 0.
        op: The operation of the step.
        key: The key of the value, or ``errno`` for the outcome of the operation.
        kernel: The recorded value.
        swapcore: The value of swapcore.
    """

    step: int
    op: str
    key: str
    kernel: str
    swapcore: str

    def __str__(self) -> str:
        """Returns one line with all attributes; the end of a long operation is left out."""
        op = self.op if len(self.op) <= OP_SHOWN else f"{self.op[:OP_SHOWN]}..."
        return f"step {self.step} {op}  {self.key}: kernel {self.kernel}, swapcore {self.swapcore}"


@dataclass(frozen=True, slots=True)
class CounterResult:
    """Holds the outcome of one case.

    Attributes:
        case: The case's name.
        family: The kind of script.
        path: The case file.
        profile: The profile of the replay.
        steps: Number of steps of the script.
        compared: Number of values that were compared.
        agreed: Number of values that agree.
        seconds: Wall time of the replay.
        differences: All values that differ, in the order of the steps.
        missing: Keys that swapcore has no value for, sorted. Their values are not compared.
    """

    case: str
    family: str
    path: str
    profile: str
    steps: int
    compared: int
    agreed: int
    seconds: float
    differences: tuple[Difference, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def is_agreed(self) -> bool:
        """Returns True if no value and no errno differs."""
        return not self.differences

    def first_by_key(self) -> list[Difference]:
        """Returns the first difference of each key."""
        firsts: dict[str, Difference] = {}
        for difference in self.differences:
            firsts.setdefault(difference.key, difference)
        return list(firsts.values())

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain dicts, lists, strings and numbers."""
        return {**dataclasses.asdict(self), "is_agreed": self.is_agreed}


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """Sums the outcomes of the cases of one family.

    Attributes:
        family: The kind of script; ``all`` for the sum of all cases.
        cases: Number of cases.
        cases_agreed: Number of cases without a difference.
        compared: Number of values that were compared.
        agreed: Number of values that agree.
        seconds: Wall time of the replays.
    """

    family: str
    cases: int
    cases_agreed: int
    compared: int
    agreed: int
    seconds: float

    @property
    def agreement(self) -> float:
        """Returns the share of the values that agree, 0 to 1; 1 without a value."""
        return self.agreed / self.compared if self.compared else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain dicts, lists, strings and numbers."""
        return {**dataclasses.asdict(self), "agreement": self.agreement}


def by_family(results: Sequence[CounterResult]) -> list[FamilyResult]:
    """Sums results by family.

    Args:
        results: The results of cases.

    Returns:
        One sum for each family, sorted by name, and the sum of all cases.
    """
    families: dict[str, list[CounterResult]] = {}
    for result in results:
        families.setdefault(result.family, []).append(result)
    return [_sum(name, families[name]) for name in sorted(families)] + [_sum("all", results)]


def _sum(family: str, results: Sequence[CounterResult]) -> FamilyResult:
    return FamilyResult(
        family=family,
        cases=len(results),
        cases_agreed=sum(result.is_agreed for result in results),
        compared=sum(result.compared for result in results),
        agreed=sum(result.agreed for result in results),
        seconds=sum(result.seconds for result in results),
    )
