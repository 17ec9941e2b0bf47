"""Facts about ghosts and zswap as Python objects: options, listings, the command line, the memory report."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from swapcore import swaps
from swapcore.cli import main
from swapcore.running import memory as memory_report
from swapcore.running import stacks
from swapcore.running.accesses import replay_accesses
from swapcore.workloads import zipf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]

SMALL_PAGES = 8192


def run_json(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


# Ghosts


def test_size_is_with_unit_or_in_slots() -> None:
    assert sc.Ghost("1G").pages == sc.Ghost(1 << 18).pages == 1 << 18
    assert repr(sc.Ghost(4096)) == "Ghost(pages=4096)"
    ghost = sc.Ghost("16M", virtual_table=True, visibility="hidden")
    assert repr(ghost) == "Ghost(pages=4096, virtual_table=True, visibility='hidden')"
    assert (ghost.virtual_table, ghost.visibility) == (True, "hidden")


def test_size_for_memory_is_eight_times_whole_clusters() -> None:
    assert sc.Ghost.for_ram("1G").pages == 8 << 18
    assert sc.Ghost.for_ram(513).pages == 8 * 1024


def test_header_in_a_file_of_one_page_says_the_size(tmp_path: Path) -> None:
    path = tmp_path / "ghost"
    sc.Null(pages=100_000).write_header(path)
    assert path.stat().st_size == sc.PAGE_SIZE
    assert sc.Ghost.open(path).pages == 100_000
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(sc.InvalidArgumentError):
        sc.Ghost.open(path)
    with pytest.raises(sc.SwapIOError):
        sc.Ghost.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sc.Ghost(1), "1"),
        (lambda: sc.Ghost("17T"), "outside"),
        (lambda: sc.Ghost("1M", visibility="faint"), "faint"),
        (lambda: sc.Ghost.for_ram(0), "0"),
        (lambda: sc.Ghost("many"), "many"),
    ],
)
def test_bad_ghosts_name_the_value(make: Callable[[], sc.Ghost], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        make()


def test_faults_do_not_go_over_a_ghost() -> None:
    with pytest.raises(TypeError, match="storage with data"):
        sc.Faulty(sc.Ghost("1M"))  # type: ignore[arg-type]


def test_device_says_what_it_is() -> None:
    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost("1T", visibility="listed"))
    virtual = swap.swapon(sc.Ghost("1T", virtual_table=True))
    plain = swap.swapon(sc.Ram("1M"))
    assert [device.kind for device in (ghost, virtual, plain)] == ["ghost", "ghost", "partition"]
    assert [device.visibility for device in (ghost, virtual, plain)] == ["listed", "visible", None]
    assert [device.is_virtual for device in (ghost, virtual, plain)] == [False, True, False]
    assert swap.nr_real_swapfiles == 1
    storage = virtual.storage
    assert storage is not None
    assert (storage.kind, storage.has_virtual_table) == ("ghost", True)
    memory = virtual.memory()
    assert memory["virtual_table_bytes"] > 0
    assert memory["index_bytes"] > 0


def test_ghost_refuses_what_zswap_does_not_take() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ghost("1G"))
    entry = swap.swap_out(swap.folio())
    assert swap.lookup(entry)["zero"], "zeros need no place"
    folio = swap.folio(data=b"data")
    with pytest.raises(sc.SwapFullError) as caught:
        swap.swap_out(folio)
    assert caught.value.errno == 28
    assert folio.is_resident
    assert folio.dirty
    swap.check()


def test_resize_takes_units_and_slots_and_says_what_is_left() -> None:
    swap = sc.Swap(zswap="lz4")
    ghost = swap.swapon(sc.Ghost("8M"))
    assert swap.resize(ghost, "1G") == {"max_pages": 1 << 18, "limit_pages": 1 << 18}
    assert swap.resize(ghost, 1024) == {"max_pages": 1024, "limit_pages": 1024}
    assert ghost.max_pages == 1024
    for size in (0, "3", -1):
        with pytest.raises(sc.InvalidArgumentError):
            swap.resize(ghost, size)
    with pytest.raises(TypeError):
        swap.resize(ghost, 1.5)  # type: ignore[arg-type]
    other = sc.Swap()
    with pytest.raises(sc.EntryGoneError):
        other.resize(ghost, "1G")


# zswap


def test_parameters_are_those_given_and_can_be_set() -> None:
    given = sc.Zswap(max_pool_percent=30, accept_threshold_percent=80, shrinker_enabled=True)
    zswap = sc.Swap(zswap=given).zswap
    names = ("compressor", "enabled", "max_pool_percent", "accept_threshold_percent", "shrinker_enabled")
    assert [getattr(zswap, name) for name in names] == [getattr(given, name) for name in names]
    zswap.max_pool_percent = 40
    zswap.enabled = False
    assert (zswap.max_pool_percent, zswap.enabled, zswap.accept_threshold_percent) == (40, False, 80)
    assert "disabled" in repr(zswap)


def test_without_zswap_it_is_off_and_can_be_turned_on() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ghost("1G"))
    assert not swap.zswap.enabled
    folio = swap.folio(data=b"data")
    with pytest.raises(sc.SwapFullError):
        swap.swap_out(folio)
    swap.zswap.enabled = True
    entry = swap.swap_out(folio)
    assert swap.swap_in(entry).read(0, 4) == b"data"
    assert {name: swap.stats()[name] for name in stacks.ZSWAP_COUNTERS} == {
        "zswpin": 1,
        "zswpout": 1,
        "zswpwb": 0,
    }


@pytest.mark.parametrize(
    ("zswap", "words"),
    [
        ("zip", "zip"),
        (sc.Zswap(compressor="zip"), "zip"),
        (sc.Zswap(max_pool_percent=101), "max_pool_percent 101"),
        (sc.Zswap(accept_threshold_percent=-1), "accept_threshold_percent -1"),
    ],
    ids=str,
)
def test_bad_parameters_name_the_value(zswap: str | sc.Zswap, words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        sc.Swap(zswap=zswap)


def test_bad_settings_change_nothing() -> None:
    zswap = sc.Swap(zswap="lz4").zswap
    with pytest.raises(sc.InvalidArgumentError):
        zswap.max_pool_percent = 101
    with pytest.raises(sc.InvalidArgumentError):
        zswap.compressor = "zip"
    with pytest.raises(sc.InvalidArgumentError):
        zswap.set_faults(compress=1.5)
    assert (zswap.max_pool_percent, zswap.compressor) == (20, "lz4")


def test_pools_are_told_by_compressor_and_pages_are_written_back_by_name() -> None:
    swap = sc.Swap(zswap="lz4")
    disk = swap.swapon(sc.Ram("16M"))
    job = swap.memcg.create("job")
    entries = [swap.swap_out(swap.folio(data=b"page %d " % n * 100, memcg=job)) for n in range(64)]
    assert [(pool["compressor"], pool["stored_pages"]) for pool in swap.zswap.pools()] == [("lz4", 64)]
    swap.zswap.writeback(entries[0])
    with pytest.raises(sc.EntryGoneError):
        swap.zswap.writeback(entries[0])
    stats = swap.zswap.stats()
    assert (stats["stored_pages"], stats["written_back_pages"]) == (63, 1)
    # All were looked at and got their second chance.
    with pytest.raises(sc.SwapError) as caught:
        swap.zswap.shrink(job)
    assert caught.value.errno == 11
    assert swap.zswap.shrink(job) > 0
    assert swap.swap_in(entries[0]).read(0, 6) == b"page 0"
    assert disk.inuse_pages in {63, 64}
    swap.check()


def test_injected_failures_lose_nothing() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("16M"))
    swap.zswap.set_faults(pool_alloc=1.0)
    entry = swap.swap_out(swap.folio(data=b"data"))
    assert swap.zswap.stats()["reject_alloc_fail"] == 1
    assert swap.stats()["pswpout"] == 1
    assert swap.swap_in(entry).read(0, 4) == b"data"
    swap.zswap.set_faults()
    entry = swap.swap_out(swap.folio(data=b"data"))
    assert swap.stats()["zswpout"] == 1
    swap.zswap.set_faults(decompress=1.0)
    with pytest.raises(sc.SwapIOError):
        swap.swap_in(entry)
    swap.zswap.set_faults()
    assert swap.swap_in(entry).read(0, 4) == b"data"
    swap.check()


# Listings


def test_swaps_are_shown_as_they_say() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("1M"), priority=5)
    swap.swapon(sc.Ghost("1G"), priority=7)
    swap.swapon(sc.Ghost("1G", visibility="listed"), priority=6)
    swap.swapon(sc.Ghost("1G", visibility="hidden"), priority=4)
    entry = swap.swap_out(swap.folio(data=b"data"))
    rows = swaps.swaps(swap)
    assert [(row["name"], row["type"], row["prio"]) for row in rows] == [
        ("ram0", "partition", 5),
        ("ghost1", "ghost", 7),
        ("ghost2", "ghost", 6),
    ]
    assert [row["size_bytes"] for row in rows] == [(1 << 20) - 4096, (1 << 30) - 4096, None]
    assert [row["used_bytes"] for row in rows] == [0, 4096, 0]
    assert entry.type == 1


def test_swaps_are_printed_as_swapon_does(capsys: Capture) -> None:
    assert main(["show", "--swaps", "--ghost", "1T", "--visibility", "listed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "SIZE", "USED", "PRIO"]
    assert lines[1].split()[:3] == ["ghost0", "ghost", "-"]
    assert lines[2].split()[:2] == ["ram1", "partition"]
    assert "accesses" in lines[-1]
    hidden = run_json(capsys, "show", "--swaps", "--visibility", "hidden")["swapdevices"]
    assert [row["name"] for row in hidden] == ["ram1"]


def test_zswap_is_printed_as_zramctl_does(capsys: Capture) -> None:
    assert main(["show", "--zswap"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "ALGORITHM", "DATA", "TOTAL", "RATIO", "WRITTEN-BACK"]
    assert lines[1].split()[:2] == ["zswap0", "lz4"]
    assert any(line.startswith("pool_limit_hit") for line in lines)
    facts = run_json(capsys, "show", "--zswap")["zswap"]
    (pool,) = facts["pools"]
    assert pool["data_bytes"] > 0
    assert facts["written_back_bytes"] > 0
    assert pool["data_bytes"] == facts["stats"]["stored_pages"] * sc.PAGE_SIZE
    assert pool["ratio"] == pool["data_bytes"] / pool["pool_bytes"]
    assert pool["pool_bytes"] == facts["stats"]["pool_total_size"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--swaps", "--zswap"], "one of them"),
        (["--swaps", "--raw"], "--raw is for devices, not for --swaps"),
        (["--ghost", "1G"], "--ghost is for --swaps and --zswap"),
        (["--zswap", "--size", "1G"], "--size is for --memory-report, not for --zswap"),
        (["--swaps", "--visibility", "faint"], "faint"),
        (["--zswap", "--algorithm", "zip"], "zip"),
        (["--memory-report", "--size", "1M"], "multiple of 8M"),
        (["--memory-report", "--size", "8M", "--owner-store", "heap"], "heap"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_one_line(arguments: list[str], words: str, capsys: Capture) -> None:
    assert main(["show", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


# Memory of slots.


def test_words_of_a_slot_are_8_16_and_24_bytes() -> None:
    report = memory_report.measure("64M")
    words = {use.configuration: use.table_bytes_per_slot[1:] for use in report.uses}
    assert {name: set(of_steps) for name, of_steps in words.items()} == {
        "plain": {8.0},
        "plain-zswap": {8.0},
        "ghost-zswap": {8.0},
        "virtual-zero": {16.0},
        "virtual-zswap": {16.0},
        "virtual-device": {24.0},
    }
    for use in report.uses:
        assert use.used_slots == (0, 4096, 8192, 12288, 16384)
        assert use.total_bytes == tuple(sum(parts.values()) for parts in use.parts)


def test_owners_are_two_bytes_more() -> None:
    report = memory_report.measure("8M", ("plain", "virtual-zero"), owner_store="cluster_table")
    assert [use.table_bytes_per_slot[-1] for use in report.uses] == [10.0, 18.0]


def test_report_has_the_published_figures_with_their_source(capsys: Capture) -> None:
    data = run_json(capsys, "show", "--memory-report", "--size", "8M")
    assert {row["id"] for row in data["published"]} == {"M-1", "M-2", "M-3, M-4"}
    assert all(row["source"].startswith("published") for row in data["published"])
    assert main(["show", "--memory-report", "--size", "8M"]) == 0
    out = capsys.readouterr().out
    assert "MiB AT 25 %" in out
    assert "64.5" in out
    assert out.count("published, ") == len(memory_report.PUBLISHED)


def test_report_is_drawn(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "memory.svg"
    assert main(["show", "--memory-report", "--size", "8M", "--plot", str(path)]) == 0
    assert path.stat().st_size > 1000
    assert "virtual-device" in capsys.readouterr().out


def test_unknown_configuration_is_refused() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="'fast' is none of plain"):
        memory_report.measure("8M", ("fast",))


# Replays


def test_without_a_disk_what_zswap_refuses_stays_and_is_counted(small: sc.Trace) -> None:
    ghost = sc.Ghost("1T")
    result = sc.replay(small, ghost=ghost, zswap="lz4")
    nr_pages = sum(count << order for order, count in small.allocations_by_order.items())
    assert (result.swapped_out_pages, result.refused_pages) == (nr_pages, 0)
    assert result.swapped_in_pages == nr_pages
    counters = result.counters
    assert counters["zswpout"] + counters["swpout_zero"] == nr_pages
    assert (counters["pswpout"], counters["zswpwb"]) == (0, 0)
    assert result.zswap_at_peak["stored_pages"] > 1000
    assert result.zswap_ratio is not None
    assert 1.5 < result.zswap_ratio < 4
    assert (result.storage, result.ghost, result.zswap) == (None, repr(ghost), "lz4")

    bare = sc.replay(small, ghost=ghost)
    assert bare.refused_pages > 0
    assert bare.swapped_out_pages + bare.refused_pages == nr_pages
    assert bare.swapped_in_pages == bare.swapped_out_pages


def test_full_pools_refuse_and_the_replay_goes_on(small: sc.Trace) -> None:
    zswap = sc.Zswap(max_pool_percent=1)
    result = sc.replay(small, ghost=sc.Ghost("1T"), zswap=zswap, memory="256M")
    assert result.refused_pages > 0
    assert result.zswap_at_peak["pool_limit_hit"] > 0
    assert result.swapped_in_pages == result.swapped_out_pages


def test_storage_behind_a_ghost_takes_the_rest(small: sc.Trace) -> None:
    ghost = sc.Ghost("1T", virtual_table=True)
    zswap = sc.Zswap(max_pool_percent=1)
    result = sc.replay(small, sc.Ram("64M"), ghost=ghost, zswap=zswap, memory="256M")
    assert result.refused_pages == result.dropped_pages == 0
    assert result.swapped_in_pages == result.swapped_out_pages
    assert result.counters["pswpout"] > 0
    assert result.memory_bytes_at_peak is not None
    assert result.memory_bytes_at_peak > 0
    with pytest.raises(sc.InvalidArgumentError, match="no virtual table"):
        sc.replay(small, sc.Ram("64M"), ghost=sc.Ghost("1T"))


def test_accesses_go_through_zswap_too() -> None:
    work = zipf(nr_pages=2048, nr_accesses=20_000, seed=1)
    result = replay_accesses(
        work, sc.Ram("64M"), ghost=sc.Ghost("1T", virtual_table=True), zswap="lz4", memory_max="4M"
    )
    assert result.counters["zswpout"] > 500
    assert result.counters["zswpin"] > 100
    assert result.counters["pswpout"] == 0
    assert result.verified_pages > 100
    assert result.zswap_at_peak["stored_pages"] > 100
    assert result.zswap_ratio is not None
    assert result.zswap_ratio > 1.5
    assert result.oom_kills == 0


def test_command_has_ghost_and_zswap_in_its_table(small_path: str, capsys: Capture) -> None:
    options = ["replay", small_path, "--ghost", "1T", "--zswap", "lz4"]
    assert main(options) == 0
    out = capsys.readouterr().out
    rows = {line.split("  ")[0]: line.split()[-2:] for line in out.splitlines() if line}
    assert rows["refused, stayed in memory"] == ["0", "pages"]
    assert rows["zswpout"][1] == "count"
    assert "zswap pool at the peak" in out
    assert "every page read is what was written" in out
    data = run_json(capsys, *options, "--storage", "ram", "--memory", "256M")
    assert data["ghost"].endswith("virtual_table=True)")
    assert data["storage"].startswith("Ram(")
    assert data["memory_pages"] == 256 << 8


def test_accesses_by_the_command_have_them_too(capsys: Capture) -> None:
    options = ["replay", "zipf", "--memory-max", "8M", "--ghost", "1T", "--zswap", "lz4"]
    (run,) = run_json(capsys, *options)["runs"]
    assert run["zswap"] == "lz4"
    assert run["counters"]["zswpout"] > 0
    assert main(options) == 0
    assert "zswap ratio at the peak" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--virtual-table"], "--ghost"),
        (["--ghost", "1T", "--size", "1G"], "--storage"),
        (["--ghost", "many"], "many"),
        (["--zswap", "zip"], "zip"),
        (["--memory", "1"], "4096"),
    ],
    ids=str,
)
def test_misuse_of_the_command_is_one_line(
    arguments: list[str], words: str, small_path: str, capsys: Capture
) -> None:
    assert main(["replay", small_path, *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_data_that_does_not_compress_is_kept_as_it_is() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("1M"))
    data = os.urandom(sc.PAGE_SIZE)
    entry = swap.swap_out(swap.folio(data=data))
    assert swap.zswap.stats()["stored_incompressible_pages"] == 1
    assert swap.swap_in(entry).read() == data
