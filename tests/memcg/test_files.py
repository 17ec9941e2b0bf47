"""The files of a group: their names, texts, units, and the writes that they refuse."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE
from helpers.memcg_scenes import Scene, errno_of, keys, values


def split(names: str) -> list[str]:
    """Returns names that are written in one text."""
    return names.split()


V1_UNLIMITED = 9223372036854771712
V2_LIMITS = ("memory.max", "memory.high", "memory.swap.max", "memory.swap.high", "memory.zswap.max")
V2_FILES = {
    *V2_LIMITS,
    "memory.current",
    "memory.peak",
    "memory.events",
    "memory.events.local",
    "memory.reclaim",
    "memory.stat",
    "memory.swap.current",
    "memory.swap.peak",
    "memory.swap.events",
    "memory.zswap.current",
    "memory.zswap.writeback",
}
V1_LIMITS = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
V1_FILES = {
    *V1_LIMITS,
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.failcnt",
    "memory.memsw.usage_in_bytes",
    "memory.memsw.max_usage_in_bytes",
    "memory.memsw.failcnt",
    "memory.swappiness",
    "memory.stat",
    "memory.force_empty",
    "memory.oom_control",
}
READ_ONLY = {
    "v2": (
        "memory.current",
        "memory.events",
        "memory.events.local",
        "memory.stat",
        "memory.swap.current",
        "memory.swap.events",
        "memory.zswap.current",
    ),
    "v1": ("memory.usage_in_bytes", "memory.memsw.usage_in_bytes", "memory.stat"),
}
STAT_BYTES = split(
    "anon file shmem zswap zswapped swapcached anon_thp inactive_anon active_anon inactive_file "
    "active_file unevictable"
)
STAT_COUNTS = split(
    "workingset_refault_anon workingset_refault_file workingset_activate_anon "
    "workingset_activate_file workingset_restore_anon workingset_restore_file pgscan pgsteal "
    "pgscan_kswapd pgsteal_kswapd pgscan_direct pgsteal_direct pgscan_khugepaged pgsteal_khugepaged "
    "pgscan_proactive pgsteal_proactive pswpin pswpout pgmajfault pgrefill pgactivate pgdeactivate "
    "swpin_zero swpout_zero zswpin zswpout zswpwb thp_swpout thp_swpout_fallback"
)
V1_STAT = split(
    "cache rss rss_huge shmem mapped_file dirty writeback workingset_refault_anon "
    "workingset_refault_file swap swapcached pgpgin pgpgout pgfault pgmajfault inactive_anon "
    "active_anon inactive_file active_file unevictable"
)


def test_files_of_v2(v2: Scene) -> None:
    assert set(v2.a.files) >= V2_FILES
    assert not set(v2.a.files) & (V1_FILES - V2_FILES)
    assert {"memory.reclaim", "memory.stat"} <= set(v2.root.files)
    assert not set(v2.root.files) & (V2_FILES - {"memory.reclaim", "memory.stat", "memory.zswap.writeback"})


def test_files_of_v1(v1: Scene) -> None:
    assert set(v1.a.files) >= V1_FILES
    assert not set(v1.a.files) & (V2_FILES - V1_FILES)


def test_fresh_group_of_v2(v2: Scene) -> None:
    assert {file: v2.a.read(file) for file in V2_LIMITS} == dict.fromkeys(V2_LIMITS, "max\n")
    for file in ("memory.current", "memory.peak", "memory.swap.current", "memory.swap.peak"):
        assert v2.a.read(file) == "0\n"
    assert v2.a.read("memory.swap.events") == "high 0\nmax 0\nfail 0\n"


def test_fresh_group_of_v1(v1: Scene) -> None:
    for file in V1_LIMITS:
        assert v1.a.read(file) == f"{V1_UNLIMITED}\n"
    for file in sorted(V1_FILES - {*V1_LIMITS, "memory.stat", "memory.oom_control", "memory.swappiness"}):
        if file != "memory.force_empty":
            assert v1.a.read(file) == "0\n", file
    assert keys(v1.a.read("memory.oom_control")) == ["oom_kill_disable", "under_oom", "oom_kill"]
    assert set(values(v1.a.read("memory.oom_control")).values()) == {0}
    assert v1.a.read("memory.swappiness") == "60\n"


@pytest.mark.parametrize(
    ("file", "text", "shown"),
    [
        *((file, "5K", 4096) for file in V2_LIMITS),
        ("memory.max", "0", 0),
        ("memory.max", "4096", 4096),
        ("memory.max", "4095", 0),
        ("memory.max", "12287", 8192),
        ("memory.max", "12K", 12288),
        ("memory.max", "3M", 3 << 20),
        ("memory.max", "2G", 2 << 30),
        ("memory.max", "1T", 1 << 40),
        ("memory.max", "1P", 1 << 50),
        ("memory.max", "1E", 1 << 60),
        ("memory.max", "8192\n", 8192),
        ("memory.max", 20480, 20480),
    ],
)
def test_limits_are_bytes_in_whole_pages(v2: Scene, file: str, text: str | int, shown: int) -> None:
    v2.a.write(file, text)
    assert v2.a.read(file) == f"{shown}\n"
    v2.a.write(file, "max")
    assert v2.a.read(file) == "max\n"


@pytest.mark.parametrize("file", V1_LIMITS[:1])
@pytest.mark.parametrize(
    ("text", "shown"), [("5000", 4096), ("1M", 1 << 20), ("-1", V1_UNLIMITED), (-1, V1_UNLIMITED)]
)
def test_limits_of_v1(v1: Scene, file: str, text: str | int, shown: int) -> None:
    v1.a.write(file, text)
    assert v1.a.read(file) == f"{shown}\n"


@pytest.mark.parametrize(
    ("hierarchy", "file", "text"),
    [
        *(("v2", "memory.max", text) for text in ("abc", "1 M", "4096 4096", "maximum", "1KK", "1.5M")),
        *(("v2", file, "1Mx") for file in V2_LIMITS),
        *(("v1", file, "1Mx") for file in V1_LIMITS),
    ],
)
def test_bad_amounts_change_nothing(hierarchy: str, file: str, text: str) -> None:
    a = Scene(hierarchy=hierarchy).group("A")
    before = a.read(file)
    assert errno_of(lambda: a.write(file, text)) == errno.EINVAL
    assert a.read(file) == before


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
def test_files_that_are_only_read_or_only_written_or_not_there(hierarchy: str) -> None:
    a = Scene(hierarchy=hierarchy).group("A")
    for file in READ_ONLY[hierarchy]:
        assert errno_of(lambda file=file: a.write(file, "0")) == errno.EACCES, file
    assert (
        errno_of(lambda: a.read("memory.reclaim" if hierarchy == "v2" else "memory.force_empty"))
        == errno.EINVAL
    )
    for file in ("memory.nonsense", "", "cpu.max", "memory"):
        assert errno_of(lambda file=file: a.read(file)) == errno.ENOENT
        assert errno_of(lambda file=file: a.write(file, "0")) == errno.ENOENT


def test_usage_is_that_of_the_subtree(v2: Scene) -> None:
    p = v2.group("P")
    a = v2.group("A", p)
    v2.fault_in("f", 1, a)
    v2.fault_in("g", 0, p)
    v2.fresh_out(2, a)
    assert [group.read("memory.current") for group in (p, a)] == [f"{3 * PAGE}\n", f"{2 * PAGE}\n"]
    assert [group.read("memory.swap.current") for group in (p, a)] == [f"{4 * PAGE}\n"] * 2


@pytest.mark.parametrize("text", ["reset", "0"])
def test_peak_is_kept_until_it_is_written(v2: Scene, text: str) -> None:
    v2.fresh_out(2, v2.a)
    v2.fault_in("f", 0, v2.a)
    assert (v2.a.read("memory.peak"), v2.a.read("memory.swap.peak")) == (f"{4 * PAGE}\n", f"{4 * PAGE}\n")
    v2.a.write("memory.peak", text)
    assert (v2.a.read("memory.peak"), v2.a.read("memory.swap.peak")) == (f"{PAGE}\n", f"{4 * PAGE}\n")
    v2.a.write("memory.swap.peak", text)
    v2.fault_in("g", 3, v2.a)
    v2.drop("g")
    assert (v2.a.read("memory.peak"), v2.a.read("memory.swap.peak")) == (f"{9 * PAGE}\n", f"{4 * PAGE}\n")


def test_peak_of_v1_is_reset_by_writing(v1: Scene) -> None:
    v1.fault_in("f", 2, v1.a)
    v1.drop("f")
    for file in ("memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes"):
        assert v1.a.read(file) == f"{4 * PAGE}\n"
        v1.a.write(file, "0")
        assert v1.a.read(file) == "0\n"


def test_stat_of_v2_has_every_key_in_its_unit(v2: Scene) -> None:
    p = v2.group("P")
    a = v2.group("A", p)
    for group in (v2.root, p, a):
        assert {*STAT_BYTES, *STAT_COUNTS} <= set(keys(group.read("memory.stat")))
    v2.fault_in("f", 2, a)
    v2.fault_in("g", 0, p)
    entry = v2.fresh_out(3, a)
    stat = values(a.read("memory.stat"))
    assert (stat["anon"], stat["inactive_anon"] + stat["active_anon"]) == (4 * PAGE, 4 * PAGE)
    assert (stat["pswpout"], stat["pswpin"], stat["swapcached"]) == (8, 0, 0)
    v2.bring_in("h", entry, 8, orders=1 << 3, memcg=a)
    stat = values(a.read("memory.stat"))
    assert (stat["anon"], stat["swapcached"], stat["pswpin"]) == (12 * PAGE, 8 * PAGE, 8)
    assert (stat["workingset_refault_anon"], stat["pgmajfault"]) == (8, 1)
    whole = values(p.read("memory.stat"))
    assert (whole["anon"], whole["swapcached"], whole["pswpout"]) == (13 * PAGE, 8 * PAGE, 8)
    local = p.stat_local()
    assert (local["anon"], local["swapcached"], local["pswpout"]) == (PAGE, 0, 0)
    assert a.memory_stat == stat


def test_stat_of_v1(v1: Scene) -> None:
    p = v1.group("P")
    a = v1.group("A", p)
    p.write("memory.limit_in_bytes", "8M")
    p.write("memory.memsw.limit_in_bytes", "16M")
    a.write("memory.limit_in_bytes", "9M")
    v1.fault_in("f", 0, p)
    v1.fault_in("g", 1, a)
    v1.fresh_out(2, a)
    for group in (v1.root, p, a):
        names = keys(group.read("memory.stat"))
        assert set(names) >= {"hierarchical_memory_limit", "hierarchical_memsw_limit", *V1_STAT}
        assert set(names) >= {f"total_{name}" for name in V1_STAT}
    stat, below = values(p.read("memory.stat")), values(a.read("memory.stat"))
    assert (stat["rss"], stat["total_rss"]) == (PAGE, 3 * PAGE)
    assert (stat["swap"], stat["total_swap"]) == (0, 4 * PAGE)
    assert (below["rss"], below["swap"], below["total_swap"]) == (2 * PAGE, 4 * PAGE, 4 * PAGE)
    for facts in (stat, below):
        assert (facts["hierarchical_memory_limit"], facts["hierarchical_memsw_limit"]) == (8 << 20, 16 << 20)


def test_swappiness(v1: Scene, v2: Scene) -> None:
    v2.swap.swappiness = 100
    assert v2.swap.swappiness == 100
    for wrong in (-1, 201):
        with pytest.raises((sc.InvalidArgumentError, OverflowError)):
            v2.swap.swappiness = wrong
    assert v1.swap.swappiness == 60
    v1.swap.swappiness = 10
    assert v1.root.read("memory.swappiness") == "10\n"
    v1.a.write("memory.swappiness", "200")
    b = v1.group("B", v1.a)
    v1.root.write("memory.swappiness", 30)
    assert [group.read("memory.swappiness") for group in (v1.root, v1.a, b)] == ["30\n", "200\n", "200\n"]
    assert v1.swap.swappiness == 30
    assert errno_of(lambda: v1.a.write("memory.swappiness", "201")) == errno.EINVAL


@pytest.mark.parametrize("suffix", ["", " swappiness=max"])
def test_reclaim_puts_pages_out(v2: Scene, suffix: str) -> None:
    mm = v2.swap.mm(v2.a)
    first = mm.mmap(32)
    mm.write(first * PAGE, b"x" * (32 * PAGE))
    v2.a.write("memory.reclaim", f"{32 * PAGE}{suffix}")
    assert v2.row(v2.a) == "0/32/32/33"
    assert (mm.resident_pages, mm.swapped_pages) == (0, 32)


def test_force_empty_puts_pages_out(v1: Scene) -> None:
    mm = v1.swap.mm(v1.a)
    first = mm.mmap(8)
    mm.write(first * PAGE, b"x" * (8 * PAGE))
    v1.a.write("memory.force_empty", "0")
    assert v1.row(v1.a) == "0/8/8/9"
