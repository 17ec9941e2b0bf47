"""``rss`` and ``anon`` of ``memory.stat`` count the pages that are mapped, with the values of Linux 6.18."""

from pathlib import Path

import pytest
import swapcore as sc

PAGE = sc.PAGE_SIZE


@pytest.fixture(params=[("v1", "rss"), ("v2", "anon")], ids=["v1", "v2"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[sc.Swap, sc.MemCgroup, str]:
    version, key = request.param
    swap = sc.Swap(profile="v618", memcg=version)
    swap.swapon(sc.File.create(tmp_path / "swap", "16M", is_block_device=True))
    return swap, swap.memcg.create("a"), key


def mapped(group: sc.MemCgroup, key: str) -> int:
    return group.stat_local()[key] // PAGE


def test_pages_that_were_read_ahead_count_from_their_fault_on(
    case: tuple[sc.Swap, sc.MemCgroup, str],
) -> None:
    swap, group, key = case
    mm = swap.mm(group)
    first = mm.mmap(64)
    mm.write(first * PAGE, b"x" * (64 * PAGE))
    assert mapped(group, key) == 64
    mm.pageout(first, 64)
    assert mapped(group, key) == 0
    mm.read((first + 32) * PAGE, 1)
    assert (swap.stats()["nr_swapcached"], mapped(group, key)) == (8, 1)
    mm.read((first + 33) * PAGE, 1)
    assert (swap.stats()["nr_swapcached"], mapped(group, key)) == (8, 2)
    swap.check()


def test_pages_of_a_large_folio_count_while_they_are_mapped(case: tuple[sc.Swap, sc.MemCgroup, str]) -> None:
    swap, group, key = case
    mm = swap.mm(group)
    first = mm.mmap(64, orders=1 << 4, anon_order=4)
    mm.write(first * PAGE, b"x" * (64 * PAGE))
    mm.zap(first + 1, 2)
    assert mapped(group, key) == 62, "the folio keeps the memory of the two pages"
    assert swap.nr_used_pages == 64
    mm.zap(first, 16)
    assert mapped(group, key) == 48
    child = mm.fork()
    assert mapped(group, key) == 48, "a page counts once"
    mm.zap(first, 64)
    assert mapped(group, key) == 48, "the child maps the pages"
    child.zap(first + 20, 2)
    assert mapped(group, key) == 46
    del mm, child
    assert mapped(group, key) == 0
    swap.check()


def test_parts_of_a_split_folio_count_their_own_pages(case: tuple[sc.Swap, sc.MemCgroup, str]) -> None:
    swap, group, key = case
    mm = swap.mm(group)
    first = mm.mmap(16, orders=1 << 4, anon_order=4)
    mm.write(first * PAGE, b"x" * (16 * PAGE))
    mm.zap(first, 8)
    # The pageout of a part of the folio splits the folio into single pages.
    mm.pageout(first + 8, 4)
    assert mapped(group, key) == mm.resident_pages == 4
    mm.zap(first, 16)
    assert mapped(group, key) == 0
    swap.check()
