"""Counters of reclaim on Linux 6.18: each expected value is the kernel's value after the same accesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = sc.PAGE_SIZE
# The kernel reads the sizes of lists at the last flush, and lists count new folios in batches of 31.
LAZY = {"memcg_stat": "flushed", "lru_add_batch": "on"}


class Task:
    """A task in a group of cgroup v1 on a machine of profile ``v618`` with one zram device."""

    def __init__(self, limit_pages: int, memsw_pages: int | None = None, **switches: str) -> None:
        self.swap = sc.Swap(memcg="v1", profile="v618", switches=switches)
        self.device = self.swap.swapon(sc.Zram(pages=8192))
        self.group = self.swap.memcg.create("a", memory_limit_in_bytes=limit_pages * PAGE)
        if memsw_pages:
            self.group.write("memory.memsw.limit_in_bytes", memsw_pages * PAGE)
        self.mm = self.swap.mm(self.group)

    def map(self, nr_pages: int = 512, **options: int) -> None:
        self.first = self.mm.mmap(nr_pages, **options)

    def fill(self, pages: Iterable[int]) -> None:
        """Writes pages after a flush, as the recorder of the kernel does before each step."""
        self.flush()
        for page in pages:
            self.mm.write((self.first + page) * PAGE, b"two nice" * 64 + bytes([page % 250 + 1]))

    def read(self, pages: Iterable[int]) -> None:
        self.flush()
        for page in pages:
            self.mm.read((self.first + page) * PAGE, 1)

    def flush(self) -> None:
        self.swap.lru_add_drain()
        self.swap.mem_cgroup_flush_stats()

    def seen(self) -> dict[str, int]:
        stats = self.swap.stats()
        keys = ("pswpin", "pswpout", "workingset_refault_anon", "workingset_activate_anon")
        return {key: stats[key] for key in keys} | {
            "usage": self.group.memory_usage_in_bytes // PAGE,
            "failcnt": self.group.memory_failcnt,
            "inactive": self.group.memory_stat["inactive_anon"] // PAGE,
        }


@pytest.fixture
def tasks() -> Iterator[list[Task]]:
    """Returns a list for the tasks of a test, whose subsystems are checked at the end."""
    made: list[Task] = []
    yield made
    for task in made:
        task.swap.check()


def task_of(tasks: list[Task], limit_pages: int, memsw_pages: int | None = None, **switches: str) -> Task:
    task = Task(limit_pages, memsw_pages, **switches)
    task.map()
    tasks.append(task)
    return task


def values(task: Task, **expected: int) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the values of a task under the keys of ``expected``, and ``expected``."""
    seen = task.seen()
    return {key: seen[key] for key in expected}, expected


@pytest.mark.parametrize("switches", [{}, LAZY], ids=["exact", "lazy"])
def test_one_page_over_a_full_limit_swaps_44_pages_out(tasks: list[Task], switches: dict[str, str]) -> None:
    task = task_of(tasks, 256, **switches)
    task.fill(range(256))
    task.fill([256])
    got, want = values(task, pswpout=44, usage=213, failcnt=2, inactive=213)
    assert got == want
    task.fill(range(257, 281))
    got, want = values(task, pswpout=44, usage=237, failcnt=26, inactive=237)
    assert got == want


def test_a_group_that_is_filled_in_one_go_is_judged_by_old_sizes(tasks: list[Task]) -> None:
    task = task_of(tasks, 256, **LAZY)
    task.fill(range(328))
    got, want = values(task, pswpout=84, usage=244, failcnt=74, inactive=244)
    assert got == want


@pytest.mark.parametrize("switches", [{}, LAZY], ids=["exact", "lazy"])
def test_two_rounds_over_more_pages_than_the_limit(tasks: list[Task], switches: dict[str, str]) -> None:
    task = task_of(tasks, 96, **switches)
    for page in range(120):
        task.fill([page])
    for page in [*range(120), *range(120)]:
        task.read([page])
    got, want = values(task, pswpin=240, pswpout=282, workingset_refault_anon=240, usage=78, failcnt=304)
    assert got == want


def test_without_a_flush_no_refault_activates(tasks: list[Task]) -> None:
    task = task_of(tasks, 96, memcg_stat="flushed")
    task.fill(range(40))
    task.group.write("memory.force_empty", 0)
    task.swap.root_file_pages = 0
    for page in range(40):
        task.mm.read((task.first + page) * PAGE, 1)
    assert task.seen()["workingset_activate_anon"] == 0


def test_a_refault_after_a_pageout_is_judged_by_the_file_pages_of_the_machine(tasks: list[Task]) -> None:
    for file_pages, activated in ((0, 0), (200_000, 24)):
        task = task_of(tasks, 256)
        task.swap.root_file_pages = file_pages
        assert task.swap.root_file_pages == file_pages
        task.fill(range(160))
        task.mm.pageout(task.first, 160)
        task.read(range(24))
        assert task.seen()["workingset_activate_anon"] == activated


def test_a_flush_after_a_number_of_updates_needs_no_call(tasks: list[Task]) -> None:
    task = task_of(tasks, 256, memcg_stat="flushed")
    assert task.swap.memcg_flush_updates == 0
    task.swap.memcg_flush_updates = 100
    assert task.swap.memcg_flush_updates == 100
    with pytest.raises(ValueError, match="number of updates"):
        task.swap.memcg_flush_updates = -1
    disabled = sc.Swap(memcg="disabled")
    for call in (disabled.mem_cgroup_flush_stats, lambda: disabled.memcg_flush_updates):
        with pytest.raises(sc.SwapError, match="memcg is disabled"):
            call()


def test_a_batch_over_memory_and_swap_forbids_swap_for_the_whole_charge(tasks: list[Task]) -> None:
    task = task_of(tasks, 256, 280)
    task.fill(range(256))
    with pytest.raises(MemoryError):
        task.fill([256])
    got, want = values(task, pswpout=0, failcnt=35)
    assert got == want
    assert task.group.memory_memsw_failcnt == 0, "the kernel counts only refusals of memory"
    roomy = task_of(tasks, 256, 356)
    roomy.fill(range(256))
    roomy.fill([256])
    assert roomy.seen()["pswpout"] == 44, "320 pages are below the limit of memory and swap"


def test_a_killed_task_tries_again_before_its_charge_fails(tasks: list[Task]) -> None:
    for is_disabled, failcnt in ((0, 36), (1, 19)):
        task = task_of(tasks, 256)
        task.swap.swapoff(task.device)
        task.group.write("memory.oom_control", is_disabled)
        task.fill(range(256))
        with pytest.raises(MemoryError):
            task.fill([256])
        assert task.seen()["failcnt"] == failcnt


def test_a_cpu_keeps_pages_in_advance_for_seven_groups() -> None:
    swap = sc.Swap(memcg="v1", profile="v618")
    groups = [swap.memcg.create(f"g{i}") for i in range(8)]
    usage = lambda: [group.memory_usage_in_bytes // PAGE for group in groups]  # noqa: E731
    folios = [swap.folio(0, memcg=group, cpu=0) for group in groups[:7]]
    assert usage() == [64] * 7 + [0]
    folios += [swap.folio(0, memcg=group, cpu=0) for group in groups[:7]]
    assert usage() == [64] * 7 + [0], "the second page of each group comes from its stock"
    folios.append(swap.folio(0, memcg=groups[7], cpu=0))
    assert usage() == [2] + [64] * 7, "the first stock makes room"
    groups[3].write("memory.force_empty", 0)
    assert usage() == [2] * 7 + [1], "a drain of one group's stock drains all stocks of the CPU"
    del folios
    swap.check()


def test_a_large_folio_over_the_limit_is_charged_after_reclaim(tasks: list[Task]) -> None:
    for defrag in ("madvise", "never"):
        task = Task(101)
        task.swap.thp_defrag = defrag
        tasks.append(task)
        task.map(orders=1 << 4, anon_order=4)
        task.fill(range(144))
        kinds = ("anon_fault_alloc", "swpout", "anon_fault_fallback_charge")
        counts = [task.swap.stats()[f"hugepages-64kB.{kind}"] for kind in kinds]
        if defrag == "madvise":
            assert counts == [9, 4, 0]
            got, want = values(task, failcnt=7, usage=80, pswpout=64)
            assert got == want
        else:
            assert counts[2] > 0, "a large folio that needs reclaim gives way to single pages"
