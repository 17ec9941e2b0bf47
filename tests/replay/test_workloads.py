"""Facts about generated page accesses: they are deterministic, in range, and of the shape of their names."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from swapcore import trace, workloads
from swapcore.running.accesses import Runner
from swapcore.workloads import Exit, Fork, Spawn, Touch, Workload

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, dict[str, int]] = {
    "zipf": {"nr_pages": 256, "nr_accesses": 4096},
    "scan": {"nr_pages": 256, "nr_sweeps": 3},
    "build-like": {"nr_processes": 5, "parallel": 2},
    "fork-heavy": {"nr_pages": 256, "nr_children": 6, "parallel": 2},
}


def small(name: str, seed: int = 1) -> Workload:
    return workloads.load(name, seed=seed, **SMALL[name])


def shape(work: Workload) -> list[tuple[object, ...]]:
    """Returns the steps of a workload as tuples, with the counts of each list of accesses."""
    return [
        (step.process, step.start, step.stop, step.cpu, step.accesses.nr_writes, step.accesses.nr_pages)
        if isinstance(step, Touch)
        else (step,)
        for step in work.steps
    ]


def test_every_workload_has_a_small_form_here() -> None:
    assert set(SMALL) == set(workloads.WORKLOADS)


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_make_equal_workloads(name: str) -> None:
    assert shape(small(name)) == shape(small(name))
    assert shape(small(name)) != shape(small(name, seed=2))


@pytest.mark.parametrize("name", SMALL)
def test_steps_are_those_of_processes_that_live(name: str) -> None:
    work = small(name)
    living: set[int] = set()
    touched: dict[int, int] = {}
    for step in work.steps:
        match step:
            case Spawn(process, span_pages):
                assert process not in living
                assert span_pages > 0
                living.add(process)
            case Fork(parent, process):
                assert parent in living
                assert process not in living
                living.add(process)
                touched[process] = touched[parent]
            case Touch(process, accesses, start, stop, cpu):
                assert process in living
                assert touched.get(process, 0) == start < stop <= accesses.nr_accesses
                assert 0 <= cpu < work.nr_cpus
                touched[process] = stop
            case Exit(process):
                living.remove(process)
    assert living == set()


@pytest.mark.parametrize("name", SMALL)
def test_a_run_touches_all_it_says_holds_no_more_pages_and_leaves_nothing(name: str) -> None:
    work = small(name)
    swap = sc.Swap(nr_cpus=work.nr_cpus)
    swap.swapon(sc.Ram("64M"))
    runner = Runner(swap)
    peak_pages = 0
    for step in work.steps:
        runner.run([step])
        peak_pages = max(peak_pages, swap.nr_used_pages)
    assert work.peak_pages / 2 < peak_pages <= work.peak_pages
    assert runner.totals["accesses"] == work.nr_accesses
    assert 0 < runner.totals["writes"] < work.nr_accesses
    assert runner.oom_kills == 0
    assert (swap.nr_used_pages, swap.devices[0].inuse_pages) == (0, 0)
    swap.check()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """Returns a list that receives the columns of every `Accesses` made by `workloads`."""
    seen: list[tuple[list[int], list[int]]] = []

    def spy(page: array[int], write: bytes) -> sc.Accesses:
        seen.append((list(page), list(write)))
        return sc.Accesses(page, write)

    monkeypatch.setattr(workloads, "Accesses", spy)
    return seen


def test_zipf_touches_few_pages_often(made: list[tuple[list[int], list[int]]]) -> None:
    small("zipf")
    [(pages, writes)] = made
    popular = Counter(pages).most_common()
    # The most popular of 256 pages gets 1 / H(256), about a sixth, of the accesses; H is the harmonic number.
    assert 0.12 < popular[0][1] / len(pages) < 0.21
    assert sum(count for _, count in popular[:26]) > 0.5 * len(pages)
    assert 0.27 < sum(writes) / len(writes) < 0.34
    # The popular pages are scattered, so the most popular pages are not pages 0 to 7.
    assert [page for page, _ in popular[:8]] != list(range(8))


def test_scan_goes_in_order(made: list[tuple[list[int], list[int]]]) -> None:
    small("scan")
    assert made[0][0] == list(range(256)) * 3


def test_processes_of_a_build_touch_near_pages_mostly(made: list[tuple[list[int], list[int]]]) -> None:
    work = small("build-like")
    assert len(made) == 5
    for pages, _ in made:
        near = sum(abs(page - before) <= workloads.BUILD_NEAR_PAGES for before, page in pairwise(pages))
        assert 0.6 < near / len(pages) < 0.95
        assert workloads.BUILD_PAGES[0] <= max(pages) + 1 <= workloads.BUILD_PAGES[1]
    assert {step.cpu for step in work.steps if isinstance(step, Touch)} == {0, 1}


def test_children_of_a_fork_write_their_own_part_after_what_the_parent_did(
    made: list[tuple[list[int], list[int]]],
) -> None:
    small("fork-heavy")
    (parent, _), *children = made
    assert len(children) == 6
    for number, (pages, writes) in enumerate(children):
        fork_at = 256 + 32 * number
        assert pages[:fork_at] == parent[:fork_at]
        assert pages[fork_at : fork_at + 32] == pages[fork_at + 32 :]
        assert writes[fork_at:] == [1] * 32 + [0] * 32


def test_a_page_written_behind_the_back_of_the_workload_is_caught() -> None:
    work = workloads.scan(nr_pages=64, nr_sweeps=2)
    spawn, touch, _ = work.steps
    assert isinstance(touch, Touch)
    swap = sc.Swap()
    swap.swapon(sc.Ram("16M"))
    mm = swap.mm()
    first = mm.mmap(64)
    assert spawn == Spawn(0, 64)
    touch.accesses.replay(mm, first, 0, 64)
    assert mm.pageout(first, 64)["reclaimed_pages"] == 64
    mm.write((first + 7) * sc.PAGE_SIZE, b"\xa5" * 8)
    mm.pageout(first, 64)
    with pytest.raises(sc.InvariantError, match="page 7 is not what was written when access 71 looks"):
        touch.accesses.replay(mm, first, 64, 128)


# Tests of `Accesses`, a checked list of page accesses


@pytest.mark.parametrize(
    ("page", "write", "words"),
    [
        ([0, 1], b"\1", "columns differ in length"),
        ([0, 1 << 28], b"\0\0", "operation 1 .* page number"),
        ([3], b"\2", "operation 0 .* write must be 0 or 1"),
    ],
)
def test_bad_columns_name_the_access(page: list[int], write: bytes, words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        sc.Accesses(array("I", page), write)


def test_columns_have_their_types() -> None:
    with pytest.raises((TypeError, BufferError)):
        sc.Accesses(array("Q", [0]), b"\0")
    with pytest.raises((TypeError, BufferError)):
        sc.Accesses(array("I", [0]), array("H", [0]))


def test_properties_and_representation() -> None:
    accesses = sc.Accesses(array("I", [5, 0, 5]), b"\1\0\1")
    assert (accesses.nr_accesses, accesses.nr_writes, accesses.nr_pages, accesses.span_pages) == (3, 2, 2, 6)
    assert repr(accesses) == "<Accesses: 3 to 2 pages>"
    assert sc.Accesses.__module__ == "swapcore"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 4}, r"start 4 is not in 0\.\.=3"),
        ({"start": 2, "stop": 1}, r"stop 1 is not in 2\.\.=3"),
        ({"stop": -1}, "stop -1"),
        ({"cpu": 1}, "cpu 1"),
        ({"seed": -1}, "seed -1"),
        ({"zero_percent": 101.0}, "zero percent 101"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options: dict[str, float], words: str) -> None:
    accesses = sc.Accesses(array("I", [0, 1, 0]), bytes(3))
    mm = sc.Swap().mm()
    with pytest.raises(sc.InvalidArgumentError, match=words):
        accesses.replay(mm, mm.mmap(2), **options)  # type: ignore[arg-type]
    assert mm.resident_pages == 0


def test_pages_that_are_not_mapped_are_refused() -> None:
    accesses = sc.Accesses(array("I", [0, 1]), bytes(2))
    mm = sc.Swap().mm()
    with pytest.raises(OSError, match="is not mapped") as caught:
        accesses.replay(mm, mm.mmap(1))
    assert caught.value.errno == 14


def test_no_memory_ends_a_replay_and_is_told() -> None:
    accesses = sc.Accesses(array("I", range(1024)), bytes(1024))
    swap = sc.Swap(memory_pages=512)
    mm = swap.mm()
    outcome = accesses.replay(mm, mm.mmap(1024))
    assert (outcome["is_oom"], outcome["accesses"], mm.resident_pages) == (True, 512, 512)
    runner = Runner(swap)
    del mm
    runner.run(workloads.recorded(accesses).steps)
    assert (runner.oom_kills, runner.totals["accesses"], swap.nr_used_pages) == (1, 512, 0)


def test_progress_is_told_and_may_end_the_replay() -> None:
    accesses = sc.Accesses(array("I", [0]) * 5000, bytes(5000))
    mm = sc.Swap().mm()
    first, seen = mm.mmap(1), list[int]()
    accesses.replay(mm, first, progress=seen.append)
    assert seen == [0, 1024, 2048, 3072, 4096, 5000]

    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        accesses.replay(mm, first, progress=stop)


# Tests of workloads from a file and of `load` by name


def test_recorded_accesses_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    np.savez(path, page=np.array([3, 1, 3], "u4"), write=np.array([0, 1, 1], "u1"))
    work = workloads.load(path)
    assert (work.name, work.nr_accesses, work.peak_pages, work.nr_cpus) == (str(path), 3, 2, 1)
    assert trace.has_accesses(path)
    with pytest.raises(sc.InvalidArgumentError, match="is recorded and takes no seed"):
        workloads.load(path, seed=1)


def test_other_files_are_no_accesses(tmp_path: Path) -> None:
    columns = trace.mthp_mix(100, size_pages=1024)
    np.savez(tmp_path / "operations.npz", allow_pickle=False, **columns)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("operations.npz", "text.npz", "missing.npz"):
        assert not trace.has_accesses(tmp_path / name)
        with pytest.raises(sc.InvalidArgumentError, match=name):
            workloads.load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("nope", {}, "nope is neither a file nor one of"),
        ("zipf", {"nr_pages": 0}, "nr_pages 0 is under the least, 1"),
        ("scan", {"nr_sweeps": 0}, "nr_sweeps 0"),
        ("build-like", {"parallel": 0}, "parallel 0"),
        ("fork-heavy", {"nr_children": 0}, "nr_children 0"),
    ],
)
def test_bad_names_and_numbers_are_refused(name: str, parameters: dict[str, int], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        workloads.load(name, **parameters)
