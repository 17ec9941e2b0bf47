"""Large folios and shared pages of address spaces, with the counters that Linux 6.18 shows after a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = sc.PAGE_SIZE


class Scene:
    """A group on v1 with one task whose mapping allows folios of 16 pages, over a zram device."""

    def __init__(self, profile: str, *, order: int = 4, nr_pages: int = 512) -> None:
        self.swap = sc.Swap(profile=profile, memcg="v1")
        self.swap.page_cluster = 0
        self.device = self.swap.swapon(sc.Zram("64M"), priority=1)
        self.group = self.swap.memcg.create("a")
        self.mm = self.swap.mm(self.group)
        self.first = self.mm.mmap(nr_pages, orders=1 << order, anon_order=order)

    def fill(self, first: int, nr_pages: int) -> None:
        """Writes the number of each page into its last bytes."""
        for page in range(first, first + nr_pages):
            self.touch(self.mm, page, page + 1)

    def touch(self, mm: sc.Mm, page: int, value: int | None = None) -> None:
        """Reads the last bytes of a page, or writes a number there."""
        address = (self.first + page + 1) * PAGE - 8
        if value is None:
            mm.read(address, 8)
        else:
            mm.write(address, value.to_bytes(8, "little"))

    def counts(self, *keys: str) -> list[int]:
        """Returns numbers of `memory.stat`; those in bytes are returned in pages."""
        in_bytes = {"rss", "rss_huge", "swap", "swapcached"}
        stat = self.group.memory_stat
        return [stat[key] // PAGE if key in in_bytes else stat[key] for key in keys]

    def events(self, *names: str, size_kb: int = 64) -> list[int]:
        """Returns counters of folios of one size."""
        stats = self.swap.stats()
        return [stats[f"hugepages-{size_kb}kB.{name}"] for name in names]


@pytest.fixture
def v618() -> Iterator[Scene]:
    """Returns a scene of 6.18; `Swap.check` runs after the test."""
    scene = Scene("v618")
    yield scene
    scene.swap.check()


@pytest.fixture
def newest() -> Iterator[Scene]:
    """Returns a scene of the newest kernel; `Swap.check` runs after the test."""
    scene = Scene("newest")
    yield scene
    scene.swap.check()


def test_a_refilled_hole_charges_one_folio(v618: Scene) -> None:
    v618.fill(0, 16)
    v618.mm.zap(v618.first + 3, 1)
    v618.touch(v618.mm, 3, 1)
    assert v618.counts("pgfault", "pgpgin") == [2, 2]
    assert v618.events("anon_fault_alloc", "anon_fault_fallback") == [1, 0]


def test_up_to_6_18_a_shared_slot_comes_in_alone_and_stays(v618: Scene) -> None:
    v618.fill(0, 32)
    v618.mm.pageout(v618.first, 32)
    child = v618.mm.fork()
    v618.touch(child, 1)
    assert v618.counts("pgmajfault", "swapcached", "swap") == [1, 1, 31]
    v618.touch(v618.mm, 1)
    assert v618.counts("pgmajfault", "swapcached", "swap") == [1, 1, 31]
    assert v618.device.inuse_pages == 32
    del child
    v618.touch(v618.mm, 16)
    assert v618.events("swpin") == [1]
    assert v618.device.inuse_pages == 16


def test_the_newest_kernel_reads_a_shared_range_as_one_folio(newest: Scene) -> None:
    newest.fill(0, 16)
    newest.mm.pageout(newest.first, 16)
    child = newest.mm.fork()
    newest.touch(child, 1)
    newest.touch(newest.mm, 1)
    assert newest.events("swpin") == [1]
    assert newest.device.inuse_pages == 0


def test_up_to_6_18_a_large_folio_leaves_the_shared_rest_of_its_slots(v618: Scene) -> None:
    v618.fill(0, 16)
    v618.mm.pageout(v618.first, 16)
    child = v618.mm.fork()
    child.zap(v618.first + 1, 1)
    v618.touch(v618.mm, 1)
    assert v618.events("swpin") == [1]
    assert (v618.device.inuse_pages, v618.swap.stats()["nr_swapcached"]) == (15, 0)
    v618.touch(v618.mm, 0, 7)
    v618.touch(child, 0)
    assert child.read(v618.first * PAGE + PAGE - 8, 1) == b"\x01"


@pytest.mark.parametrize("profile", ["v618", "newest"])
def test_a_write_to_a_shared_slot_is_one_fault(profile: str) -> None:
    scene = Scene(profile, order=0)
    scene.fill(0, 4)
    scene.mm.pageout(scene.first, 4)
    child = scene.mm.fork()
    scene.touch(child, 0, 9)
    assert scene.counts("pgfault", "pgmajfault", "pgpgin") == [5, 1, 6]
    scene.touch(scene.mm, 0, 9)
    assert scene.counts("pgfault", "pgmajfault", "pgpgin") == [6, 1, 6], "the page is the parent's alone"
    assert scene.device.inuse_pages == 3
    scene.swap.check()


@pytest.mark.parametrize("profile", ["v618", "newest"])
def test_a_swapoff_counts_no_faults_and_reads_single_pages(profile: str) -> None:
    scene = Scene(profile)
    scene.fill(0, 32)
    scene.mm.pageout(scene.first, 32)
    before = scene.counts("pgfault", "pgmajfault")
    scene.swap.swapoff(scene.device, lambda _entry, _count: scene.mm.unuse(scene.device))
    assert scene.counts("pgfault", "pgmajfault") == before
    assert scene.counts("pgpgin") == [2 + 32]
    assert scene.events("swpin") == [0]
    scene.touch(scene.mm, 5, 1)
    assert scene.counts("pgfault", "pgpgin") == [before[0] + 1, 34], (
        "the entry was not writable, the page is not copied"
    )
    scene.swap.check()


def test_a_page_that_is_unmapped_among_mapped_ones_marks_the_folio_for_a_split(v618: Scene) -> None:
    v618.fill(0, 32)
    assert v618.events("nr_anon", "nr_anon_partially_mapped", "split_deferred") == [2, 0, 0]
    v618.mm.zap(v618.first + 1, 2)
    v618.mm.zap(v618.first + 3, 2)
    assert v618.counts("rss") == [28]
    assert v618.events("nr_anon", "nr_anon_partially_mapped", "split_deferred", "split") == [2, 1, 1, 0]
    v618.mm.pageout(v618.first, 32)
    assert v618.counts("rss", "swap") == [0, 28]
    assert v618.events("nr_anon", "nr_anon_partially_mapped", "split_deferred", "split") == [0, 0, 1, 1]
    assert v618.counts("pgpgin", "pgpgout") == [2, 17], (
        "a freed page of a split folio is uncharged for itself"
    )


def test_a_split_of_mapped_pages_counts_as_deferred_and_one_of_a_whole_mapping_does_not(v618: Scene) -> None:
    v618.fill(0, 16)
    v618.mm.pageout(v618.first + 2, 14)
    assert v618.events("split", "split_deferred", "nr_anon_partially_mapped") == [1, 1, 0]
    huge = Scene("v618", order=9, nr_pages=1024)
    huge.fill(0, 512)
    assert huge.counts("rss", "rss_huge") == [512, 512]
    huge.mm.pageout(huge.first, 256)
    assert huge.counts("rss", "rss_huge") == [256, 0]
    assert huge.events("split", "split_deferred", size_kb=2048) == [1, 0]
    huge.swap.check()


def test_a_shared_page_is_mapped_until_its_last_mapping_is_gone(v618: Scene) -> None:
    v618.fill(0, 16)
    child = v618.mm.fork()
    child.zap(v618.first, 4)
    assert v618.events("split_deferred") == [0]
    v618.mm.zap(v618.first + 2, 4)
    assert (v618.counts("rss"), v618.events("split_deferred")) == ([14], [1])
    del child
    assert v618.counts("rss") == [12]


def test_a_mapping_of_a_whole_huge_folio_ends_with_the_first_zapped_page() -> None:
    scene = Scene("v618", order=9, nr_pages=1536)
    scene.fill(0, 1024)
    scene.mm.zap(scene.first, 17)
    assert scene.counts("rss", "rss_huge") == [1007, 512]
    scene.mm.zap(scene.first, 512)
    scene.touch(scene.mm, 5, 1)
    assert scene.counts("rss", "rss_huge") == [1024, 1024], "the zap of all pages frees the page table"
    child = scene.mm.fork()
    scene.touch(child, 700, 1)
    assert scene.counts("rss", "rss_huge") == [1025, 1024], "the parent still maps the whole folio"
    del child
    scene.touch(scene.mm, 701, 1)
    assert scene.counts("rss", "rss_huge", "pgpgin") == [1024, 1024, 4], "the only user writes in place"
    scene.swap.check()


def test_the_first_read_maps_a_page_of_zeros_that_costs_nothing(v618: Scene) -> None:
    v618.touch(v618.mm, 2)
    assert v618.counts("pgfault", "pgpgin", "rss") == [1, 0, 0]
    assert (v618.mm.resident_pages, int(v618.group.read("memory.usage_in_bytes"))) == (1, 0)
    v618.mm.pageout(v618.first, 16)
    assert v618.mm.resident_pages == 1
    v618.touch(v618.mm, 3, 7)
    assert v618.events("anon_fault_alloc") == [0], "the window has an entry"
    child = v618.mm.fork()
    v618.touch(child, 2, 9)
    assert v618.mm.read((v618.first + 2) * PAGE, PAGE) == bytes(PAGE)
    assert v618.counts("pgfault", "pgpgin", "rss") == [3, 2, 2]


def test_the_first_read_of_a_huge_range_maps_zeros_at_all_its_pages() -> None:
    scene = Scene("v618", order=9, nr_pages=1024)
    scene.touch(scene.mm, 2)
    scene.touch(scene.mm, 600)
    assert (scene.mm.resident_pages, scene.counts("pgfault", "rss")) == (1024, [2, 0])
    scene.touch(scene.mm, 3, 1)
    assert scene.counts("pgpgin", "rss", "rss_huge") == [1, 512, 512]
    scene.mm.zap(scene.first + 700, 1)
    scene.touch(scene.mm, 601, 1)
    assert (scene.mm.resident_pages, scene.counts("pgpgin", "rss", "rss_huge")) == (1023, [2, 513, 512])
    assert scene.mm.read((scene.first + 602) * PAGE, PAGE) == bytes(PAGE)
    scene.swap.check()


def test_a_split_maps_zeros_at_pages_that_were_never_written(v618: Scene) -> None:
    v618.touch(v618.mm, 17, 5)
    v618.mm.zap(v618.first + 18, 1)
    v618.touch(v618.mm, 18, 5)
    v618.mm.pageout(v618.first, 32)
    assert (v618.device.inuse_pages, v618.mm.resident_pages) == (2, 14)
    assert v618.counts("rss", "swap", "pgpgin", "pgpgout") == [0, 2, 2, 17]
    assert v618.mm.read((v618.first + 16) * PAGE, PAGE) == bytes(PAGE)
    assert v618.counts("pgfault") == [2]


def test_the_last_user_of_a_large_folio_writes_in_place(v618: Scene) -> None:
    v618.fill(0, 16)
    child = v618.mm.fork()
    v618.touch(child, 0, 9)
    v618.touch(v618.mm, 1, 9)
    assert v618.counts("pgpgin", "rss") == [3, 18]
    del child
    v618.touch(v618.mm, 2, 9)
    assert v618.counts("pgpgin", "rss", "pgfault") == [3, 16, 4]


def test_the_last_user_of_a_cached_page_writes_in_place_and_frees_the_slot() -> None:
    scene = Scene("v618", order=0)
    scene.fill(0, 2)
    scene.mm.pageout(scene.first, 2)
    child = scene.mm.fork()
    scene.touch(child, 0)
    del child
    scene.touch(scene.mm, 0)
    assert (scene.counts("swapcached", "rss"), scene.device.inuse_pages) == ([1, 1], 2)
    scene.touch(scene.mm, 0, 7)
    assert (scene.counts("swapcached", "rss", "pgpgin"), scene.device.inuse_pages) == ([0, 1, 3], 1)
    scene.swap.check()


def test_rss_has_no_page_that_is_only_in_the_swap_cache(v618: Scene) -> None:
    v618.fill(0, 2)
    v618.mm.pageout(v618.first, 2)
    child = v618.mm.fork()
    v618.touch(child, 0)
    del child
    assert v618.counts("rss", "swapcached") == [0, 1]


def test_a_split_leaves_the_whole_mapping_of_another_task_at_the_same_pages() -> None:
    scene = Scene("v618", order=9, nr_pages=1024)
    scene.touch(scene.mm, 0)
    child = scene.mm.fork()
    scene.fill(0, 512)
    for page in range(512):
        scene.touch(child, page, 1)
    scene.mm.pageout(scene.first, 1)
    assert scene.counts("rss", "rss_huge") == [1023, 512]
    child.pageout(scene.first, 512)
    assert scene.counts("rss", "rss_huge") == [511, 0]
    scene.swap.check()
