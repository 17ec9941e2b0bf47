"""A swap-in without ``orders`` does as a page fault: large folios only on a device as fast as memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Storage = sc.Ram | sc.Zram | sc.File

DATA = b"".join(page.to_bytes(2, "little") * (sc.PAGE_SIZE // 2) for page in range(1, 17))


def file_of(path: Path) -> sc.File:
    """Makes a swap file that takes large folios, and that the core does not treat as fast as memory."""
    return sc.File.create(path / "swap", pages=1024, is_block_device=True, is_rotational=False)


@pytest.mark.parametrize(
    ("storage_of", "nr_folio_pages"),
    [(lambda _: sc.Ram("4M"), 16), (lambda _: sc.Zram("4M"), 16), (file_of, 1)],
    ids=["ram", "zram", "file"],
)
def test_the_device_decides(
    storage_of: Callable[[Path], Storage], nr_folio_pages: int, tmp_path: Path
) -> None:
    swap = sc.Swap()
    swap.swapon(storage_of(tmp_path))
    entry = swap.swap_out(swap.folio(4, DATA))
    folio = swap.swap_in(entry)
    assert folio.nr_pages == nr_folio_pages
    folios = [folio]
    if nr_folio_pages < 16:
        folios += swap.swap_in_batch([sc.SwpEntry(int(entry) + page) for page in range(1, 16)])
    assert b"".join(folio.read(0, folio.nr_pages * sc.PAGE_SIZE) for folio in folios) == DATA
    folios.clear()
    del folio
    again = swap.swap_out(swap.folio(4, DATA))
    folios = swap.swap_in_batch([again])
    assert [folio.nr_pages for folio in folios] == [nr_folio_pages] * (16 // nr_folio_pages)
    folios.clear()
    swap.check()


def test_the_default_is_that_of_the_fault_path(tmp_path: Path) -> None:
    swap = sc.Swap()
    swap.page_cluster = 0
    swap.swapon(file_of(tmp_path))
    mm = swap.mm()
    first = mm.mmap(16, orders=1 << 4, anon_order=4)
    mm.write(first * sc.PAGE_SIZE, DATA)
    mm.pageout(first, 16)
    mm.read(first * sc.PAGE_SIZE, 1)
    by_fault = swap.stats()["pswpin"]
    entry = swap.swap_out(swap.folio(4, DATA))
    assert swap.swap_in(entry).nr_pages == by_fault == 1
    swap.free(int(entry) + 1, 15)
    swap.check()


def test_orders_that_are_given_are_tried_on_every_device(tmp_path: Path) -> None:
    swap = sc.Swap()
    swap.swapon(file_of(tmp_path))
    entry = swap.swap_out(swap.folio(4, DATA))
    assert swap.swap_in(entry, orders=1 << 4).nr_pages == 16
    swap.check()
