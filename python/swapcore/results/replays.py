"""Common parts of the results of replays with folios and of replays of page accesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapcore import report

if TYPE_CHECKING:
    from collections.abc import Sequence


class Replay(report.Record):
    """Base class of `FolioReplay` and `AccessReplay` with the attributes that both tables show alike."""

    __slots__ = ()

    storage: str | None
    ghost: str | None
    zswap: str | None
    zswap_at_peak: dict[str, int]
    zswap_ratio: float | None

    @property
    def devices(self) -> str:
        """Returns the representations of the devices, the ghost first."""
        return ", ".join(filter(None, (self.ghost, self.storage)))


def zswap_rows(runs: Sequence[Replay]) -> list[list[str]]:
    """Returns the rows of a table that show the figures of zswap at the peak.

    Args:
        runs: The results, one for each column of values.

    Returns:
        Rows with name, values and unit; no rows for results without zswap.
    """
    if runs[0].zswap is None:
        return []
    pools = [report.format_size(run.zswap_at_peak["pool_total_size"]) for run in runs]
    return [
        ["zswap pages at the peak", *(f"{run.zswap_at_peak['stored_pages']}" for run in runs), "pages"],
        ["zswap pool at the peak", *pools, ""],
        ["zswap ratio at the peak", *(report.format_ratio(run.zswap_ratio) for run in runs), ""],
    ]
