"""Limits of groups: the charge loop and its events, lowered limits, and the rules of v1."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of
from helpers.memcg_scenes import Scene, values

LIMIT, MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def test_usage_may_equal_the_limit(v2: Scene) -> None:
    a = v2.group("A", memory_max=4 * PAGE)
    v2.fault_in("f", 2, a)
    assert a.counters()["events_max"] == 0
    v2.expect({a: "4/0/0/1"})


@pytest.mark.parametrize("by", ["folio", "task", "swap-in"])
def test_charge_of_a_page_tries_eighteen_times_and_a_killed_task_more_often(v2: Scene, by: str) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.fault_in("f", 0, v2.a)
    v2.a.write("memory.max", PAGE)
    charge = {
        "folio": lambda: v2.swap.folio(0, memcg=v2.a),
        "task": lambda: v2.task(v2.a, 1).write(b"x"),
        "swap-in": lambda: v2.swap.swap_in(entry, memcg=v2.a),
    }[by]
    attempts = 35 if by == "task" else 18
    with pytest.raises(MemoryError, match=r"memory\.max of \"/A\"") as caught:
        charge()
    assert isinstance(caught.value, sc.SwapMemoryError)
    assert caught.value.errno == errno.ENOMEM
    facts = v2.a.counters()
    assert (facts["events_max"], facts["events_oom"], facts["events_oom_kill"]) == (attempts, 1, 0)
    events = values(v2.a.read("memory.events"))
    assert (events["max"], events["oom"], events["oom_kill"]) == (attempts, 1, 0)
    assert facts["memory_failcnt"] == 0, "v1 alone counts failed charges here"
    assert v2.swap.nr_used_pages == 1
    v2.expect({v2.a: "1/1/1/2"})


def test_failures_are_counted_in_v1_and_ancestors_are_not_told(v1: Scene) -> None:
    p = v1.group("P")
    a = v1.group("A", p)
    a.write(LIMIT, PAGE)
    v1.fault_in("f", 0, a)
    with pytest.raises(MemoryError):
        v1.swap.folio(0, memcg=a)
    facts = a.counters()
    assert (facts["memory_failcnt"], facts["swap_failcnt"]) == (18, 0)
    assert a.read("memory.failcnt") == "18\n"
    a.write("memory.failcnt", "0")
    assert a.read("memory.failcnt") == "0\n"
    assert p.counters()["events_max"] == 0
    assert values(p.read("memory.oom_control"))["under_oom"] == 0
    v1.expect({a: "1/1/0/1"})


def test_memsw_refuses_before_memory_is_asked(v1: Scene) -> None:
    v1.a.write(LIMIT, 2 * PAGE)
    v1.a.write(MEMSW, 2 * PAGE)
    v1.fault_in("f", 1, v1.a)
    with pytest.raises(MemoryError):
        v1.swap.folio(0, memcg=v1.a)
    facts = v1.a.counters()
    assert (facts["memory_failcnt"], facts["swap_failcnt"]) == (0, 0), "only refusals of memory are counted"
    assert (v1.a.read("memory.failcnt"), v1.a.read("memory.memsw.failcnt")) == ("0\n", "0\n")
    v1.expect({v1.a: "2/2/0/1"})


def test_slots_count_against_memsw(v1: Scene) -> None:
    v1.a.write(LIMIT, 4 * PAGE)
    v1.a.write(MEMSW, 4 * PAGE)
    entry = v1.fresh_out(1, v1.a)
    v1.fault_in("f", 1, v1.a)
    with pytest.raises(MemoryError):
        v1.swap.folio(0, memcg=v1.a)
    v1.expect({v1.a: "2/4/2/3"})
    v1.swap.free(entry, 2)
    v1.fault_in("g", 0, v1.a)
    v1.expect({v1.a: "3/3/0/1"})


def test_events_are_those_of_the_level_that_refused(v2: Scene) -> None:
    g = v2.group("G")
    p = v2.group("P", g, memory_max=2 * PAGE)
    a = v2.group("A", p)
    v2.fault_in("f", 1, a)
    with pytest.raises(MemoryError):
        v2.swap.folio(0, memcg=a)
    whole = [values(group.read("memory.events")) for group in (g, p, a)]
    local = [values(group.read("memory.events.local")) for group in (g, p, a)]
    assert [(events["max"], events["oom"]) for events in whole] == [(18, 1), (18, 1), (0, 0)]
    assert [events["max"] for events in local] == [0, 18, 0]
    v2.expect({a: "2/0/0/1", p: "2/0/0/1", g: "2/0/0/1"})


def test_clean_pages_make_room_for_a_charge(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.read_ahead(entry)
    v2.drop("read ahead")
    v2.expect({v2.a: "1/1/1/1"})
    v2.a.write("memory.max", PAGE)
    v2.fault_in("f", 0, v2.a)
    v2.expect({v2.a: "1/1/1/2"})
    facts = v2.a.counters()
    assert facts["events_max"] >= 1
    assert facts["events_oom"] == 0


def test_pages_of_tasks_make_room_for_a_charge(v2: Scene) -> None:
    a = v2.group("A", memory_max=16 * PAGE)
    task = v2.task(a, 64)
    for page in range(64):
        task.write(bytes([page]), page)
    assert a.counters()["memory_pages"] <= 16
    assert a.counters()["memory_watermark_pages"] == 16
    assert task.mm.swapped_pages >= 48
    assert [task.read(page, 1) for page in range(64)] == [bytes([page]) for page in range(64)]


def test_swap_max_0_is_full_and_slots_are_given_up(v2: Scene) -> None:
    entry = v2.fresh_out(2, v2.a)
    v2.expect({v2.a: "0/4/4/5"})
    v2.a.write("memory.swap.max", 0)
    v2.fault_in("f", 0, v2.a)
    with pytest.raises(MemoryError):
        v2.swap.swap_out(v2.folios["f"])
    assert v2.a.read("memory.swap.events") == "high 0\nmax 1\nfail 1\n"
    v2.expect({v2.a: "1/4/4/5"})
    v2.bring_in("g", entry, 4, orders=1 << 2, memcg=v2.a)
    v2.expect({v2.a: "5/0/0/1"}, entry, ["0"] * 4)


def test_memory_max_below_usage_puts_pages_out(v2: Scene) -> None:
    task = v2.task(v2.a, 32, b"x" * (32 * PAGE))
    v2.a.write("memory.max", 8 * PAGE)
    facts = v2.a.counters()
    assert facts["memory_pages"] <= 8
    assert facts["events_oom"] == 0
    assert task.mm.resident_pages + task.mm.swapped_pages == 32


def test_memory_max_below_usage_kills_nobody_where_there_is_no_swap(v2: Scene) -> None:
    """A memory.max below the usage counts an oom event. The kernel kills a task; swapcore keeps the pages."""
    a = v2.group("A", swap_max=0)
    task = v2.task(a, 8, b"x" * (8 * PAGE))
    a.write("memory.max", 0)
    facts = a.counters()
    assert facts["memory_pages"] == task.mm.resident_pages == 8
    assert (facts["events_oom"], facts["events_oom_kill"]) == (1, 0)
    with pytest.raises(MemoryError):
        v2.swap.folio(memcg=a)


def test_memory_high_is_told(v2: Scene) -> None:
    a = v2.group("A", memory_high=100 * PAGE)
    task = v2.task(a, 101, b"x" * (101 * PAGE))
    assert a.counters()["events_high"] == values(a.read("memory.events"))["high"] >= 1
    assert task.mm.resident_pages + task.mm.swapped_pages == 101


def test_limit_of_v1_below_usage_reclaims_and_that_of_memsw_is_not_met_by_swapping(v1: Scene) -> None:
    task = v1.task(v1.a, 32, b"x" * (32 * PAGE))
    v1.a.write(LIMIT, 8 * PAGE)
    assert v1.a.counters()["memory_pages"] == task.mm.resident_pages <= 8
    assert errno_of(v1.a.write, MEMSW, 8 * PAGE) == errno.EBUSY
    assert v1.a.counters()["memsw_pages"] == 32


def test_stocks_are_pages_charged_ahead() -> None:
    scene = Scene(memcg_stock="on")
    scene.fault_in("f", 0, scene.a)
    assert 1 <= scene.a.counters()["memory_pages"] <= 64 * scene.swap.nr_cpus
    scene.a.write("memory.max", 2 * PAGE)
    scene.fault_in("g", 0, scene.a)
    assert scene.a.counters()["memory_pages"] == 2, "the lower limit drains the stocks"
    scene.drop("f", "g")
    scene.a.remove()
    assert scene.a.counters()["memory_pages"] == 0


def test_root_is_never_refused(v2: Scene) -> None:
    v2.fault_in("f", 9)
    entry = v2.out("f")
    assert v2.swap.swap_in(entry, orders=1 << 9).nr_pages == 512
    facts = v2.root.counters()
    assert (facts["memory_pages"], facts["swap_pages"], facts["events_max"]) == (0, 0, 0)


def test_reclaim_on_request_counts_as_proactive(v2: Scene) -> None:
    task = v2.task(v2.a, 64)
    task.write(b"x" * (64 * PAGE))
    v2.a.write("memory.reclaim", 8 * PAGE)
    stat = v2.a.memory_stat
    assert stat["pgsteal"] == stat["pgsteal_proactive"] >= 8
    assert stat["pgscan"] == stat["pgscan_proactive"] >= stat["pgsteal"]
    assert (stat["pgscan_direct"], stat["pgsteal_direct"]) == (0, 0)
    v2.a.write("memory.max", 16 * PAGE)
    after = v2.a.memory_stat
    assert (after["pgscan_proactive"], after["pgsteal_proactive"]) == (stat["pgscan"], stat["pgsteal"])
    assert after["pgsteal_direct"] == after["pgsteal"] - stat["pgsteal"] > 0
    assert after["pgscan_direct"] == after["pgscan"] - stat["pgscan"] > 0
    totals = v2.swap.stats()
    for key in ("pgscan", "pgsteal"):
        assert totals[key] == totals[f"{key}_direct"] + totals[f"{key}_proactive"] == after[key]


def test_oom_group_is_a_flag_that_no_child_inherits(v2: Scene) -> None:
    p = v2.group("P")
    assert (p.read("memory.oom.group"), p.memory_oom_group) == ("0\n", 0)
    p.write("memory.oom.group", "1\n")
    assert (p.read("memory.oom.group"), v2.group("A", p).memory_oom_group) == ("1\n", 0)
    for bad in ("2", "-1", "\n", "yes", "max"):
        assert errno_of(p.write, "memory.oom.group", bad) == errno.EINVAL
    assert p.memory_oom_group == 1
    assert "memory.oom.group" not in v2.swap.memcg.files


@pytest.mark.parametrize(
    ("flags", "raised"),
    [("", ""), ("A", "A"), ("PA", "P"), ("P", "P"), ("L", "L"), ("LA", "L"), ("T", ""), ("TLPA", "L")],
)
def test_a_failed_charge_raises_its_group_kill_at_the_highest_flag_below_the_limit(
    v2: Scene, flags: str, raised: str
) -> None:
    groups = {"T": v2.group("T")}
    for above, name in ("TL", "LP", "PA"):
        groups[name] = v2.group(name, groups[above])
    for name in flags:
        groups[name].memory_oom_group = 1
    groups["L"].memory_max = 0
    for nr in (1, 2):
        with pytest.raises(MemoryError):
            v2.swap.folio(0, memcg=groups["A"])
        events = {name: group.memory_events["oom_group_kill"] for name, group in groups.items()}
        local = {name: group.memory_events_local["oom_group_kill"] for name, group in groups.items()}
        assert local == {name: nr * (name == raised) for name in groups}
        upwards = "TLPA"[: "TLPA".find(raised) + 1] if raised else ""
        assert events == {name: nr * (name in upwards) for name in groups}, (
            "v2 raises it at all groups above, too"
        )
        assert groups["L"].memory_events["oom"] == nr
        assert groups["A"].memory_events["oom_kill"] == 0


def test_a_limit_below_usage_raises_the_group_kill_of_its_group(v2: Scene) -> None:
    a = v2.group("A", memory_oom_group=1, memory_swap_max=0)
    v2.fault_in("f", 2, a)
    a.write("memory.max", PAGE)
    assert (a.memory_events["oom"], a.memory_events["oom_group_kill"]) == (1, 1)
