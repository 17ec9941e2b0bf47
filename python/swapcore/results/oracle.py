"""Results of a comparison with recorded kernel behaviour."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

SLOT_SWAPPED, SLOT_CACHED, SLOT_BAD = 1, 2, 3
"""The bytes of `SwapDevice.slots` for slots that are swapped out, cached and bad."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Says where and how a replay first differed from the recording.

    Attributes:
        line: Line number in the case file, from 1.
        op: The operation that was recorded on the line.
        expected: The kernel's outcome.
        got: The outcome of swapcore.
        dump: `Swap.dump` at the divergence: the state of all cluster lists and hints.
    """

    line: int
    op: str
    expected: str
    got: str
    dump: dict[str, Any]

    def __str__(self) -> str:
        """Returns one line with all attributes but the dump."""
        return f"line {self.line}, {self.op}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Holds the outcome of one case.

    Attributes:
        case: The case's name.
        family: The kind of workload.
        path: The case file.
        profile: The profile of the replay.
        allocations: Number of recorded allocations, failed allocations included.
        frees: Number of slots that the recording frees.
        slots: Number of slots that the recording hands out.
        slots_agreed: Number of slots that swapcore handed out in the recorded place, up to the first
            divergence.
        seconds: Wall time of the replay.
        divergence: The first divergence; None if everything agreed.
    """

    case: str
    family: str
    path: str
    profile: str
    allocations: int
    frees: int
    slots: int
    slots_agreed: int
    seconds: float
    divergence: Divergence | None = None

    @property
    def is_agreed(self) -> bool:
        """Returns True if every slot and every recorded state agreed."""
        return self.divergence is None

    @property
    def agreement(self) -> float:
        """Returns the share of the slots that agreed, 0 to 1."""
        return self.slots_agreed / self.slots if self.slots else float(self.is_agreed)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain dicts, lists, strings and numbers."""
        return {**dataclasses.asdict(self), "is_agreed": self.is_agreed, "agreement": self.agreement}
