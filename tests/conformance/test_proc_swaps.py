"""Tests of documented facts of /proc/swaps and of the tables that swapon(8) prints."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import swapcore as sc
from swapcore.swaps import swaps, swaps_table

if TYPE_CHECKING:
    from pathlib import Path

PAGE = sc.PAGE_SIZE


def test_each_device_that_is_on_has_a_row_in_the_order_of_types(swap: sc.Swap) -> None:
    assert swaps(swap) == []
    for priority in (1, 3, 2):
        swap.swapon(sc.Null("1M"), priority=priority)
    assert [row["priority"] for row in swaps(swap)] == [1, 3, 2]
    first = next(device for device in swap.devices if device.type == 0)
    swap.swapoff(first)
    assert [row["priority"] for row in swaps(swap)] == [3, 2]
    swap.swapon(sc.Null("1M"), priority=9)
    assert [row["priority"] for row in swaps(swap)] == [9, 3, 2], "the free type is used again"


def test_the_size_is_without_header_and_bad_pages(swap: sc.Swap) -> None:
    swap.swapon(sc.Null(pages=256, bad_pages=[7, 8]))
    assert swaps(swap)[0]["size_bytes"] == 253 * PAGE


def test_used_follows_the_slots_in_use(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("1M"))
    entries = [swap.swap_out(swap.folio(data=b"x")) for _ in range(3)]
    assert swaps(swap)[0]["used_bytes"] == 3 * PAGE
    swap.free(entries[0])
    assert swaps(swap)[0]["used_bytes"] == 2 * PAGE


def test_a_slot_that_only_the_swap_cache_holds_is_used(swap: sc.Swap, tmp_path: Path) -> None:
    swap.swapon(sc.File.create(tmp_path / "swap", "1M"))
    folio = swap.swap_in(swap.swap_out(swap.folio(data=b"x")))
    assert swap.nr_swapcache_pages == 1
    assert swaps(swap)[0]["used_bytes"] == PAGE
    del folio


def test_the_type_is_partition_or_file(swap: sc.Swap, tmp_path: Path) -> None:
    swap.swapon(sc.Zram("1M"))
    swap.swapon(sc.File.create(tmp_path / "swap", "1M"))
    assert [row["type"] for row in swaps(swap)] == ["partition", "file"]


def test_the_table_has_the_default_columns_of_swapon(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("1M"), priority=5)
    table = io.StringIO()
    swaps_table(swap, table)
    lines = [line.split() for line in table.getvalue().splitlines()]
    assert lines[0] == ["NAME", "TYPE", "SIZE", "USED", "PRIO"]
    assert [line[0] for line in lines[1:]] == ["ram0"]
    assert lines[1][-1] == "5"
