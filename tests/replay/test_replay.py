"""Facts about `replay` and ``swapcore replay``: pages are verified, sums are right, misuse is one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from helpers.command import assert_refused, json_of
from swapcore.cli import main
from swapcore.cli.options import Status
from swapcore.results.folios import FolioReplay
from swapcore.running import folios, stacks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]

SMALL_PAGES = 8192


MAKERS: dict[str, Callable[[Path], stacks.Storage]] = {
    "ram": lambda _: sc.Ram("64M"),
    "zram": lambda _: sc.Zram("64M"),
    "file": lambda path: sc.File.create(path, "64M", sparse=True),
    "large-folios": lambda path: sc.File.create(path, "64M", sparse=True, is_block_device=True),
    "faulty": lambda _: sc.Faulty(sc.Ram("64M")),
    "null": lambda _: sc.Null("64M"),
}


def nr_pages(workload: sc.Trace) -> int:
    """Returns the number of pages of all allocations of a workload."""
    return sum(count << order for order, count in workload.allocations_by_order.items())


@pytest.mark.parametrize("kind", MAKERS)
def test_every_page_is_swapped_out_and_in(kind: str, small: sc.Trace, tmp_path: Path) -> None:
    result = sc.replay(small, MAKERS[kind](tmp_path / "swap"))
    assert result.swapped_out_pages == result.swapped_in_pages == nr_pages(small)
    assert (result.dropped_pages, result.unread_pages, result.ops) == (0, 0, small.nr_ops)
    assert result.peak_pages == small.peak_pages
    assert result.is_verified == (kind != "null")
    counters = result.counters
    assert counters["pswpout"] + counters["swpout_zero"] == nr_pages(small)
    assert counters["pswpin"] + counters["swpin_zero"] == nr_pages(small)
    assert result.ns_per_page_out > 0
    assert result.ns_per_page_in > 0
    assert (result.memory_bytes_at_peak is None) == (kind == "null")
    # Large folios fall back to single pages on a regular file, which takes only folios of order 0.
    assert (result.fallback_pages > nr_pages(small) / 4) == (kind == "file")


def test_zram_compresses_about_as_said(small: sc.Trace) -> None:
    plain = sc.replay(small, sc.Zram("64M"), zero_percent=0, random_percent=0)
    assert plain.compression_ratio is not None
    assert 2.5 < plain.compression_ratio < 3.5
    noise = sc.replay(small, sc.Zram("64M"), zero_percent=0, random_percent=100)
    assert noise.compression_ratio is not None
    assert noise.compression_ratio < 1.01
    assert noise.peak_stats["huge_pages"] == noise.peak_pages
    assert sc.replay(small, sc.Ram("64M")).compression_ratio is None


def test_zeros_alone_write_nothing(small: sc.Trace) -> None:
    result = sc.replay(small, sc.Zram("64M"), zero_percent=100, random_percent=0)
    assert (result.counters["pswpout"], result.counters["pswpin"]) == (0, 0)
    assert result.counters["swpout_zero"] == result.swapped_out_pages


def test_pages_may_be_given_up_unread(small: sc.Trace) -> None:
    result = sc.replay(small, sc.Ram("64M"), read_percent=25)
    assert result.swapped_in_pages + result.unread_pages == result.swapped_out_pages
    assert 0.1 < result.swapped_in_pages / result.swapped_out_pages < 0.4
    assert sc.replay(small, sc.Ram("64M"), read_percent=0).swapped_in_pages == 0


def test_what_finds_no_slot_is_dropped_and_counted(small: sc.Trace) -> None:
    result = sc.replay(small, sc.Ram(pages=SMALL_PAGES // 2))
    assert result.dropped_pages > 0
    assert result.fallback_pages > 0
    assert result.swapped_out_pages + result.dropped_pages == nr_pages(small)
    assert result.swapped_in_pages == result.swapped_out_pages


def test_equal_seeds_do_the_same(small: sc.Trace) -> None:
    def figures(seed: int) -> tuple[object, ...]:
        result = sc.replay(small, sc.Zram("64M"), seed=seed, read_percent=50)
        return result.counters, result.peak_stats, result.swapped_in_pages

    assert figures(4) == figures(4)
    assert figures(4) != figures(5)


def test_write_error_ends_the_replay_and_names_its_reason(small: sc.Trace) -> None:
    storage = sc.Faulty(sc.Ram("64M"))
    storage.set_faults(fail_write_in=100)
    with pytest.raises(sc.SwapIOError, match="injected"):
        sc.replay(small, storage)


def test_progress_is_told_and_may_end_the_replay(small: sc.Trace) -> None:
    seen: list[tuple[int, int]] = []
    sc.replay(small, sc.Ram("64M"), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[0] == (0, small.nr_ops)
    assert len(seen) > 10

    def stop(done: int, _total: int) -> None:
        if done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sc.replay(small, sc.Ram("64M"), progress=stop)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"zero_percent": -1}, "zero percent -1"),
        ({"random_percent": 100.5}, "random percent 100.5"),
        ({"zero_percent": 60, "random_percent": 60}, "together 120"),
        ({"read_percent": float("nan")}, "read percent NaN"),
        ({"seed": -1}, "seed -1"),
    ],
    ids=str,
)
def test_bad_shares_are_refused(small: sc.Trace, options: dict[str, Any], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        sc.replay(small, sc.Ram("64M"), **options)


def test_subsystem_with_too_few_cpus_is_refused(small: sc.Trace) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"nr_cpus.*1 is not in 2"):
        small.replay_folios(sc.Swap(nr_cpus=1))


def test_storage_is_free_again_afterwards(small: sc.Trace) -> None:
    storage = sc.Zram("64M")
    for _ in range(2):
        assert sc.replay(small, storage).dropped_pages == 0
    assert storage.stats()["orig_data_size"] == 0


# The command ``swapcore replay``


@pytest.mark.parametrize("kind", stacks.STORAGES)
def test_command_prints_seed_times_and_counters(kind: str, small_path: str, capsys: Capture) -> None:
    assert main(["replay", "--trace", small_path, "--storage", kind, "--seed", "77"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line.split()[-2:] for line in lines if line}
    assert rows["seed"][-1] == "77"
    assert rows["swap-out"][-1] == rows["swap-in"][-1] == "ns/page"
    assert int(rows["pswpout"][0]) > 1000
    assert ("every page read is what was written" in lines[-1]) == (kind != "null")


def test_json_has_every_figure(small_path: str, capsys: Capture) -> None:
    data = json_of(capsys, "replay", "--trace", small_path, "--no-verify", "--read-percent", "50")
    assert set(data) == set(FolioReplay.__slots__)
    assert (data["trace"], data["seed"], data["is_verified"]) == (small_path, 1, False)
    assert data["read_percent"] == 50
    assert set(folios.COUNTERS) <= set(data["counters"])
    assert any(name.startswith("hugepages-64kB.swpout") for name in data["counters"])
    assert isinstance(data["compression_ratio"], float)
    assert data["machine"]["swapcore"] == sc.__version__


def test_new_file_stays_and_is_used_again(small_path: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "swap"
    options = ["replay", "--trace", small_path, "--storage", "file", "--path", str(path)]
    assert main([*options, "--size", "64M"]) == 0
    assert path.stat().st_size == 64 << 20
    capsys.readouterr()
    assert json_of(capsys, *options)["size_pages"] == 16_384
    assert_refused(capsys, [*options, "--size", "2M"], "has its own")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trace", "nope"], "nope"),
        (["--storage", "tape"], "'tape' is none of zram, ram, file, null"),
        (["--size", "many"], "'many'"),
        (["--size", "1"], "4096"),
        (["--algorithm", "zip"], "zip"),
        (["--storage", "ram", "--algorithm", "lz4"], "algorithm lz4 is for storage zram"),
        (["--path", "there"], "path there is for storage file"),
        (["--zero-percent", "101"], "zero percent 101"),
        (["--seed", "-1"], "seed -1"),
    ],
    ids=str,
)
def test_misuse_is_one_line_and_the_status_of_usage(
    arguments: list[str], words: str, small_path: str, capsys: Capture
) -> None:
    assert_refused(capsys, ["replay", "--trace", small_path, *arguments], words)


def test_a_file_that_cannot_be_made_cuts_the_run_short(small_path: str, capsys: Capture) -> None:
    path = "/dev/null/swap"
    options = ["replay", "--trace", small_path, "--storage", "file", "--path", path]
    assert main(options) == Status.CUT_SHORT
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert path in err


def test_bundled_kernel_build_is_proven_page_by_page() -> None:
    result = sc.replay()
    assert result.is_verified
    assert result.swapped_in_pages == result.swapped_out_pages == 177_240
    assert result.dropped_pages == 0
