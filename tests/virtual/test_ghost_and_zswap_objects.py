"""Ghosts and zswap as Python objects: options, listings, the command line, the memory report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from swapcore import swaps
from swapcore.cli import main
from swapcore.cli.options import Status
from swapcore.running import memory as memory_report
from swapcore.running.accesses import replay_accesses
from swapcore.workloads import zipf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def run_json(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


# Tests of the class `Ghost` and of ghosts that are on


def test_size_is_in_bytes_with_unit_or_in_slots() -> None:
    assert sc.Ghost("1G").pages == sc.Ghost(1 << 30).pages == sc.Ghost(pages=1 << 18).pages == 1 << 18
    assert repr(sc.Ghost(pages=4096)) == "Ghost(pages=4096)"
    ghost = sc.Ghost("16M", is_virtual=True, visibility="hidden")
    assert repr(ghost) == "Ghost(pages=4096, is_virtual=True, visibility='hidden')"
    assert (ghost.is_virtual, ghost.visibility) == (True, "hidden")


def test_header_in_a_file_of_one_page_says_the_size(tmp_path: Path) -> None:
    path = tmp_path / "ghost"
    sc.Null(pages=100_000).write_header(path)
    assert path.stat().st_size == sc.PAGE_SIZE
    device = sc.Swap().swapon(sc.Ghost.open(path))
    assert (device.kind, device.max_pages, device.pages) == ("ghost", 100_000, 99_999)
    assert {"SWP_GHOST", "SWP_SOLIDSTATE"} <= set(device.flags)
    assert "SWP_BLKDEV" not in device.flags
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(sc.InvalidArgumentError):
        sc.Ghost.open(path)
    with pytest.raises(sc.SwapIOError):
        sc.Ghost.open(tmp_path / "nothing")
    path.write_bytes(sc.build_swap_header((1 << 32) - 1))
    assert sc.Ghost.open(path).pages == (1 << 32) - 1, "a header may have more pages than a device"


def test_size_of_2_to_the_32_pages_is_one_slot_less() -> None:
    assert sc.Ghost("16T").pages == sc.Ghost(1 << 44).pages == sc.Ghost(pages=1 << 32).pages == (1 << 32) - 1
    device = sc.Swap().swapon(sc.Ghost("16T"))
    assert (device.max_pages, device.pages) == ((1 << 32) - 1, (1 << 32) - 2)


def test_header_file_is_on_once(tmp_path: Path) -> None:
    path = tmp_path / "ghost"
    sc.Null(pages=100_000).write_header(path)
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost.open(path))
    with pytest.raises(sc.SwapBusyError, match="ghost"):
        sc.Swap().swapon(sc.Ghost.open(path))
    swap.swapoff(device)
    swap.swapon(sc.Ghost.open(path))
    swap.check()


def test_file_that_is_only_a_header_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "ghost"
    sc.Null(pages=100_000).write_header(path)
    with pytest.raises(sc.InvalidArgumentError, match=r"has 1 pages.*100000 pages; Ghost\.open"):
        sc.File(path)


@pytest.mark.parametrize("virtual_table", [False, True])
def test_ghost_has_no_hibernation_slots(virtual_table: bool) -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost("1M", is_virtual=virtual_table))
    with pytest.raises(sc.InvalidArgumentError, match=r"type 0 is a ghost.*hibernation"):
        swap.alloc_hibernation(device)
    assert device.inuse_pages == 0
    swap.check()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sc.Ghost(pages=1), "1"),
        (lambda: sc.Ghost(8192 * 4096 + 1), "33554433.*multiple of the page size"),
        (lambda: sc.Ghost("1M", pages=256), "both"),
        (sc.Ghost, "neither"),
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


def test_device_says_what_it_is(tmp_path: Path) -> None:
    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost("1T", visibility="listed"))
    virtual = swap.swapon(sc.Ghost("15T", is_virtual=True))
    plain = swap.swapon(sc.Ram("1M"))
    file = swap.swapon(sc.File.create(tmp_path / "swap", pages=64, is_block_device=False))
    devices = (ghost, virtual, plain, file)
    assert [device.kind for device in devices] == ["ghost", "ghost", "partition", "file"]
    assert [device.visibility for device in devices] == ["listed", "visible", None, None]
    assert [device.is_virtual for device in devices] == [False, True, False, False]
    assert swap.nr_real_swapfiles == 2
    storage = virtual.storage
    assert storage is not None
    assert (storage.kind, storage.is_virtual) == ("ghost", True)
    memory = virtual.memory()
    assert memory["virtual_table_bytes"] > 0
    assert memory["index_bytes"] > 0
    assert memory["total_bytes"] < 64 * 1024, "an empty device has few tables"


def test_resize_takes_bytes_and_slots_and_says_what_is_left() -> None:
    swap = sc.Swap(zswap="lz4")
    ghost = swap.swapon(sc.Ghost("8M"))
    assert swap.resize(ghost, "1G") == {"max_pages": 1 << 18, "limit_pages": 1 << 18}
    assert swap.resize(ghost, 512 << 12) == {"max_pages": 512, "limit_pages": 512}
    assert swap.resize(ghost, pages=1024) == {"max_pages": 1024, "limit_pages": 1024}
    assert ghost.max_pages == 1024
    for size in (0, "3", -1, 1024):
        with pytest.raises(sc.InvalidArgumentError):
            swap.resize(ghost, size)
    with pytest.raises(sc.InvalidArgumentError, match="both"):
        swap.resize(ghost, "8M", pages=2048)
    with pytest.raises(sc.InvalidArgumentError, match="neither"):
        swap.resize(ghost)
    with pytest.raises(TypeError):
        swap.resize(ghost, pages=1.5)  # type: ignore[arg-type]
    other = sc.Swap()
    with pytest.raises(sc.EntryGoneError):
        other.resize(ghost, "1G")


# Tests of the class `Zswap`, the options of zswap


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


# Tests of the listings of devices and of zswap


def test_swaps_are_shown_as_they_say() -> None:
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ram("1M"), priority=5)
    swap.swapon(sc.Ghost("1G"), priority=7)
    swap.swapon(sc.Ghost("1G", visibility="listed"), priority=6)
    swap.swapon(sc.Ghost("1G", visibility="hidden"), priority=4)
    entry = swap.swap_out(swap.folio(data=b"data"))
    rows = swaps.swaps(swap)
    assert [(row["name"], row["type"], row["priority"]) for row in rows] == [
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


# Tests of the memory report, the bytes that each slot takes


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
    assert "ZSWAP ENTRIES, MiB" in out
    by_name = {use["configuration"]: use["zswap_entry_bytes"] for use in data["uses"]}
    assert by_name["plain"] == by_name["virtual-zero"] == [0] * 5
    # Each of the 2,048 slots has a zswap entry of 40 bytes. For each 64 entries, which share a piece of
    # memory, the list of these pieces has 32 bytes.
    assert 2048 * 40 <= by_name["virtual-zswap"][-1] <= 2048 * 42
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


# Tests of replays on a ghost


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
    ghost = sc.Ghost("1T", is_virtual=True)
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
        work, sc.Ram("64M"), ghost=sc.Ghost("1T", is_virtual=True), zswap="lz4", memory_max="4M"
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
    assert data["ghost"].endswith("is_virtual=True)")
    assert data["storage"].startswith("Ram(")
    assert data["memory_pages"] == 256 << 8


def test_accesses_by_the_command_have_them_too(capsys: Capture) -> None:
    options = ["replay", "zipf", "--memory-max", "8M", "--ghost", "1T", "--zswap", "lz4", "--allow-oom"]
    (run,) = run_json(capsys, *options)["runs"]
    assert run["zswap"] == "lz4"
    assert run["counters"]["zswpout"] > 0
    assert main(options) == 0
    assert "zswap ratio at the peak" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("show", "--swaps --zswap", "one of them"),
        ("show", "--swaps --raw", "--raw is for devices, not for --swaps"),
        ("show", "--ghost 1G", "--ghost is for --swaps and --zswap"),
        ("show", "--zswap --size 1G", "--size is for devices and --memory-report, not for --zswap"),
        ("show", "--swaps --visibility faint", "faint"),
        ("show", "--zswap --algorithm zip", "zip"),
        ("show", "--memory-report --size 1M", "multiple of 8M"),
        ("show", "--memory-report --size 8M --owner-store heap", "heap"),
        ("replay", "--virtual", "--ghost"),
        ("replay", "--ghost 1T --size 1G", "--storage"),
        ("replay", "--ghost many", "many"),
        ("replay", "--zswap zip", "zip"),
        ("replay", "--memory 1", "4096"),
    ],
)
def test_misuse_of_a_command_is_one_line(
    command: str, arguments: str, words: str, small_path: str, capsys: Capture
) -> None:
    traces = [small_path] if command == "replay" else []
    assert main([command, *traces, *arguments.split()]) == Status.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
