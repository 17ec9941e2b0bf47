"""The files of a group: their names, texts, units, and what they refuse."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from memcg_facts import PAGE
from memcg_scenes import Scene, errno_of, keys, values


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


@pytest.fixture
def v2() -> Scene:
    return Scene()


@pytest.fixture
def v1() -> Scene:
    return Scene(hierarchy="v1")


def test_files_of_v2(v2: Scene) -> None:
    a = v2.group("A")
    assert set(a.files) >= V2_FILES
    assert not set(a.files) & (V1_FILES - V2_FILES)
    assert {"memory.reclaim", "memory.stat"} <= set(v2.root.files)
    assert not set(v2.root.files) & (V2_FILES - {"memory.reclaim", "memory.stat", "memory.zswap.writeback"})


def test_files_of_v1(v1: Scene) -> None:
    a = v1.group("A")
    assert set(a.files) >= V1_FILES
    assert not set(a.files) & (V2_FILES - V1_FILES)


def test_fresh_group_of_v2(v2: Scene) -> None:
    a = v2.group("A")
    assert {file: a.read(file) for file in V2_LIMITS} == dict.fromkeys(V2_LIMITS, "max\n")
    for file in ("memory.current", "memory.peak", "memory.swap.current", "memory.swap.peak"):
        assert a.read(file) == "0\n"
    assert a.read("memory.swap.events") == "high 0\nmax 0\nfail 0\n"


def test_fresh_group_of_v1(v1: Scene) -> None:
    a = v1.group("A")
    for file in V1_LIMITS:
        assert a.read(file) == f"{V1_UNLIMITED}\n"
    for file in sorted(V1_FILES - {*V1_LIMITS, "memory.stat", "memory.oom_control", "memory.swappiness"}):
        if file != "memory.force_empty":
            assert a.read(file) == "0\n", file
    assert keys(a.read("memory.oom_control")) == ["oom_kill_disable", "under_oom", "oom_kill"]
    assert set(values(a.read("memory.oom_control")).values()) == {0}
    assert a.read("memory.swappiness") == "60\n"


@pytest.mark.parametrize("file", V2_LIMITS)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4095", 0),
        ("12287", 8192),
        ("12K", 12288),
        ("5K", 4096),
        ("3M", 3 << 20),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("1P", 1 << 50),
        ("1E", 1 << 60),
        ("8192\n", 8192),
        (20480, 20480),
    ],
)
def test_limits_are_bytes_in_whole_pages(v2: Scene, file: str, text: str | int, shown: int) -> None:
    a = v2.group("A")
    a.write(file, text)
    assert a.read(file) == f"{shown}\n"
    a.write(file, "max")
    assert a.read(file) == "max\n"


@pytest.mark.parametrize("file", V1_LIMITS[:1])
@pytest.mark.parametrize(
    ("text", "shown"), [("5000", 4096), ("1M", 1 << 20), ("-1", V1_UNLIMITED), (-1, V1_UNLIMITED)]
)
def test_limits_of_v1(v1: Scene, file: str, text: str | int, shown: int) -> None:
    a = v1.group("A")
    a.write(file, text)
    assert a.read(file) == f"{shown}\n"


@pytest.mark.parametrize("text", ["abc", "1Mx", "1 M", "4096 4096", "maximum", "1KK", "1.5M"])
@pytest.mark.parametrize(
    ("hierarchy", "file"), [*(("v2", file) for file in V2_LIMITS), *(("v1", file) for file in V1_LIMITS)]
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


def test_root_of_v2_has_no_usage(v2: Scene) -> None:
    for file in ("memory.current", "memory.max", "memory.swap.current"):
        assert errno_of(lambda file=file: v2.root.read(file)) == errno.ENOENT


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
    a = v2.group("A")
    v2.fresh_out(2, a)
    v2.fault_in("f", 0, a)
    assert (a.read("memory.peak"), a.read("memory.swap.peak")) == (f"{4 * PAGE}\n", f"{4 * PAGE}\n")
    a.write("memory.peak", text)
    assert (a.read("memory.peak"), a.read("memory.swap.peak")) == (f"{PAGE}\n", f"{4 * PAGE}\n")
    a.write("memory.swap.peak", text)
    v2.fault_in("g", 3, a)
    v2.drop("g")
    assert (a.read("memory.peak"), a.read("memory.swap.peak")) == (f"{9 * PAGE}\n", f"{4 * PAGE}\n")


def test_peak_of_v1_is_reset_by_writing(v1: Scene) -> None:
    a = v1.group("A")
    v1.fault_in("f", 2, a)
    v1.drop("f")
    for file in ("memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes"):
        assert a.read(file) == f"{4 * PAGE}\n"
        a.write(file, "0")
        assert a.read(file) == "0\n"


def test_events_have_their_order(v2: Scene) -> None:
    a = v2.group("A")
    names = ["low", "high", "max", "oom", "oom_kill", "oom_group_kill", "sock_throttled"]
    for file in ("memory.events", "memory.events.local"):
        assert keys(a.read(file)) in (names, names[:-1])
        assert set(values(a.read(file)).values()) == {0}


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


def test_stat_of_v2_does_not_show_swap(v2: Scene) -> None:
    a = v2.group("A")
    v2.fresh_out(2, a)
    assert "swap" not in values(a.read("memory.stat"))


def test_stat_keeps_what_dead_children_did(v2: Scene) -> None:
    p = v2.group("P")
    a = v2.group("A", p)
    v2.swap.free(v2.fresh_out(2, a))
    a.remove()
    assert p.memory_stat["pswpout"] == 4


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


def test_root_of_v1_shows_what_nobody_is_charged_for(v1: Scene) -> None:
    v1.fault_in("f", 1)
    v1.fresh_out(2)
    assert v1.root.read("memory.usage_in_bytes") == f"{2 * PAGE}\n"
    assert v1.root.read("memory.memsw.usage_in_bytes") == f"{6 * PAGE}\n"


def test_swappiness(v1: Scene, v2: Scene) -> None:
    v2.swap.swappiness = 100
    assert v2.swap.swappiness == 100
    for wrong in (-1, 201):
        with pytest.raises((sc.InvalidArgumentError, OverflowError)):
            v2.swap.swappiness = wrong
    assert v1.swap.swappiness == 60
    v1.swap.swappiness = 10
    assert v1.root.read("memory.swappiness") == "10\n"
    a = v1.group("A")
    a.write("memory.swappiness", "200")
    b = v1.group("B", a)
    v1.root.write("memory.swappiness", 30)
    assert [group.read("memory.swappiness") for group in (v1.root, a, b)] == ["30\n", "200\n", "200\n"]
    assert v1.swap.swappiness == 30
    assert errno_of(lambda: a.write("memory.swappiness", "201")) == errno.EINVAL


def test_files_are_attributes_too(v2: Scene) -> None:
    a = v2.group("A", memory_max="1G", swap_max="2M", memory_high="512M", swap_high=8192)
    assert (a.memory_max, a.memory_swap_max, a.memory_high, a.memory_swap_high) == (
        1 << 30,
        2 << 20,
        512 << 20,
        8192,
    )
    a.memory_max = "max"
    a.memory_swap_max = 4096
    assert (a.memory_max, a.read("memory.swap.max")) == ("max", "4096\n")
    v2.fault_in("f", 0, a)
    assert (a.memory_current, a.memory_swap_current) == (PAGE, 0)
    assert a.memory_swap_events == {"high": 0, "max": 0, "fail": 0}
    assert a.memory_events["oom"] == 0
    with pytest.raises(AttributeError):
        _ = a.memory_nonsense
    with pytest.raises(OSError, match=r"memory\.current"):
        a.memory_current = 0


def test_keywords_of_v1(v1: Scene) -> None:
    a = v1.group("A", memory_limit_in_bytes="1M", memory_memsw_limit_in_bytes="2M", memory_swappiness=5)
    assert [a.read(file) for file in V1_LIMITS] == [f"{1 << 20}\n", f"{2 << 20}\n"]
    assert a.memory_swappiness == 5


@pytest.mark.parametrize("files", [{"memory_max": "junk"}, {"memory_max": "1M", "swap_max": "1Q"}])
def test_group_whose_file_refuses_its_value_is_not_made(v2: Scene, files: dict[str, str]) -> None:
    assert errno_of(lambda: v2.root.create("A", **files)) == errno.EINVAL
    assert v2.root.children == []
    assert v2.group("A").counters()["id"] == 2, "its id is free"


@pytest.mark.parametrize(
    "text", ["junk", "4096 swappiness=201", "4096 swappiness=x", "4096 nonsense=1", "4096 swappiness="]
)
def test_reclaim_refuses_bad_text(v2: Scene, text: str) -> None:
    a = v2.group("A")
    assert errno_of(lambda: a.write("memory.reclaim", text)) == errno.EINVAL


@pytest.mark.parametrize("text", ["1M", "1M swappiness=0", "1M swappiness=200", "1M swappiness=max"])
def test_reclaim_that_finds_too_little_says_so(v2: Scene, text: str) -> None:
    a = v2.group("A")
    v2.fault_in("f", 0, a)
    for group in (a, v2.root):
        assert errno_of(lambda group=group: group.write("memory.reclaim", text)) == errno.EAGAIN
    v2.expect({a: "1/0/0/1"})


@pytest.mark.parametrize("suffix", ["", " swappiness=max"])
def test_reclaim_puts_pages_out(v2: Scene, suffix: str) -> None:
    a = v2.group("A")
    mm = v2.swap.mm(a)
    first = mm.mmap(32)
    mm.write(first * PAGE, b"x" * (32 * PAGE))
    a.write("memory.reclaim", f"{32 * PAGE}{suffix}")
    assert v2.row(a) == "0/32/32/33"
    assert (mm.resident_pages, mm.swapped_pages) == (0, 32)


def test_force_empty_puts_pages_out(v1: Scene) -> None:
    a = v1.group("A")
    mm = v1.swap.mm(a)
    first = mm.mmap(8)
    mm.write(first * PAGE, b"x" * (8 * PAGE))
    a.write("memory.force_empty", "0")
    assert v1.row(a) == "0/8/8/9"
