"""Limits: the charge loop and its events, limits that are lowered, and the rules of v1."""

from __future__ import annotations

import errno

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE
from helpers.memcg_scenes import Scene, errno_of, values

LIMIT, MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def test_usage_may_equal_the_limit(v2: Scene) -> None:
    a = v2.group("A", memory_max=4 * PAGE)
    v2.fault_in("f", 2, a)
    assert a.counters()["events_max"] == 0
    v2.expect({a: "4/0/0/1"})


def test_charge_of_a_page_tries_eighteen_times(v2: Scene) -> None:
    a = v2.group("A", memory_max=PAGE)
    v2.fault_in("f", 0, a)
    with pytest.raises(MemoryError):
        v2.swap.folio(0, memcg=a)
    facts = a.counters()
    assert (facts["events_max"], facts["events_oom"], facts["events_oom_kill"]) == (18, 1, 0)
    events = values(a.read("memory.events"))
    assert (events["max"], events["oom"], events["oom_kill"]) == (18, 1, 0)
    assert facts["memory_failcnt"] == 0, "v1 alone counts it"
    assert v2.swap.nr_used_pages == 1
    v2.expect({a: "1/0/0/1"})


def test_task_tries_as_often(v2: Scene) -> None:
    a = v2.group("A", memory_max=PAGE)
    v2.fault_in("f", 0, a)
    mm = v2.swap.mm(a)
    first = mm.mmap(1)
    with pytest.raises(MemoryError):
        mm.write(first * PAGE, b"x")
    assert a.counters()["events_max"] == 18
    assert mm.resident_pages == 0


def test_swap_in_of_a_page_tries_as_often(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.fault_in("f", 0, v2.a)
    v2.a.write("memory.max", PAGE)
    with pytest.raises(MemoryError):
        v2.swap.swap_in(entry, memcg=v2.a)
    facts = v2.a.counters()
    assert (facts["events_max"], facts["events_oom"]) == (18, 1)
    v2.expect({v2.a: "1/1/1/2"})


def test_failures_are_counted_in_v1(v1: Scene) -> None:
    v1.a.write(LIMIT, PAGE)
    v1.fault_in("f", 0, v1.a)
    with pytest.raises(MemoryError):
        v1.swap.folio(0, memcg=v1.a)
    facts = v1.a.counters()
    assert (facts["memory_failcnt"], facts["swap_failcnt"]) == (18, 0)
    assert v1.a.read("memory.failcnt") == "18\n"
    v1.a.write("memory.failcnt", "0")
    assert v1.a.read("memory.failcnt") == "0\n"
    v1.expect({v1.a: "1/1/0/1"})


def test_memsw_refuses_before_memory_is_asked(v1: Scene) -> None:
    v1.a.write(LIMIT, 2 * PAGE)
    v1.a.write(MEMSW, 2 * PAGE)
    v1.fault_in("f", 1, v1.a)
    with pytest.raises(MemoryError):
        v1.swap.folio(0, memcg=v1.a)
    facts = v1.a.counters()
    assert (facts["memory_failcnt"], facts["swap_failcnt"]) == (0, 18)
    assert (v1.a.read("memory.failcnt"), v1.a.read("memory.memsw.failcnt")) == ("0\n", "18\n")
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
    found = {
        group.name: tuple(
            values(group.read(file))["max"] for file in ("memory.events", "memory.events.local")
        )
        for group in (g, p, a)
    }
    assert found == {"G": (18, 0), "P": (18, 18), "A": (0, 0)}
    assert [values(group.read("memory.events"))["oom"] for group in (g, p, a)] == [1, 1, 0]
    v2.expect({a: "2/0/0/1", p: "2/0/0/1", g: "2/0/0/1"})


def test_clean_pages_make_room_for_a_charge(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    folio = v2.swap.swap_cluster_readahead(entry)
    assert folio is not None
    del folio
    v2.expect({v2.a: "1/1/1/1"})
    v2.a.write("memory.max", PAGE)
    v2.fault_in("f", 0, v2.a)
    v2.expect({v2.a: "1/1/1/2"})
    facts = v2.a.counters()
    assert facts["events_max"] >= 1
    assert facts["events_oom"] == 0


def test_pages_of_tasks_make_room_for_a_charge(v2: Scene) -> None:
    a = v2.group("A", memory_max=16 * PAGE)
    mm = v2.swap.mm(a)
    first = mm.mmap(64)
    for page in range(64):
        mm.write((first + page) * PAGE, page.to_bytes(8, "little"))
    assert a.counters()["memory_pages"] <= 16
    assert a.counters()["memory_watermark_pages"] == 16
    assert mm.swapped_pages >= 48
    assert [int.from_bytes(mm.read((first + page) * PAGE, 8), "little") for page in range(64)] == list(
        range(64)
    )
    v2.swap.check()


def test_lowering_swap_max_reclaims_nothing(v2: Scene) -> None:
    entry = v2.fresh_out(2, v2.a)
    v2.expect({v2.a: "0/4/4/5"})
    v2.a.write("memory.swap.max", 0)
    assert (v2.a.read("memory.swap.max"), v2.a.read("memory.swap.current")) == ("0\n", f"{4 * PAGE}\n")
    v2.expect({v2.a: "0/4/4/5"})
    v2.fault_in("f", 0, v2.a)
    with pytest.raises(MemoryError):
        v2.swap.swap_out(v2.folios["f"])
    assert v2.a.read("memory.swap.events") == "high 0\nmax 1\nfail 1\n"
    v2.bring_in("g", entry, 4, orders=1 << 2, memcg=v2.a)
    v2.drop("g")
    v2.expect({v2.a: "1/0/0/1"})


def test_swap_max_0_is_full_and_slots_are_given_up(v2: Scene) -> None:
    entry = v2.fresh_out(0, v2.a)
    v2.a.write("memory.swap.max", 0)
    v2.bring_in("f", entry, memcg=v2.a)
    assert v2.words(entry) == ["0"]
    v2.expect({v2.a: "1/0/0/1"})


def test_swap_charge_is_all_or_nothing_and_keeps_its_watermark(v2: Scene) -> None:
    p = v2.group("P", swap_max=PAGE)
    a = v2.group("A", p)
    v2.fault_in("f", 3, a)
    with pytest.raises(MemoryError):
        v2.swap.folio_alloc_swap(v2.folios["f"])
    assert (a.counters()["swap_watermark_pages"], p.counters()["swap_watermark_pages"]) == (8, 0)
    v2.expect({a: "8/0/0/1", p: "8/0/0/1"})


@pytest.mark.parametrize("nonblock", [False, True])
def test_memory_max_below_usage_is_stored_all_the_same(v2: Scene, nonblock: bool) -> None:
    v2.fault_in("f", 2, v2.a)
    v2.a.write("memory.max", PAGE, nonblock=nonblock)
    assert (v2.a.read("memory.max"), v2.a.read("memory.current")) == (f"{PAGE}\n", f"{4 * PAGE}\n")
    facts = v2.a.counters()
    assert (facts["events_oom"] > 0) == (not nonblock)
    assert facts["events_oom_kill"] == 0, "no task exists that could be killed"
    v2.expect({v2.a: "4/0/0/1"})


def test_memory_max_below_usage_puts_pages_out(v2: Scene) -> None:
    mm = v2.swap.mm(v2.a)
    first = mm.mmap(32)
    mm.write(first * PAGE, b"x" * (32 * PAGE))
    v2.a.write("memory.max", 8 * PAGE)
    facts = v2.a.counters()
    assert facts["memory_pages"] <= 8
    assert facts["events_oom"] == 0
    assert mm.resident_pages + mm.swapped_pages == 32


def test_memory_max_below_usage_kills_nobody_where_there_is_no_swap(v2: Scene) -> None:
    """The kernel would kill a task. No data is given up here: usage stays, and the event says so."""
    a = v2.group("A", swap_max=0)
    mm = v2.swap.mm(a)
    first = mm.mmap(8)
    mm.write(first * PAGE, b"x" * (8 * PAGE))
    a.write("memory.max", 0)
    facts = a.counters()
    assert facts["memory_pages"] == 8
    assert facts["events_oom"] == 1
    assert facts["events_oom_kill"] == 0
    with pytest.raises(MemoryError):
        v2.swap.folio(memcg=a)


def test_memory_high_below_usage_never_kills(v2: Scene) -> None:
    v2.fault_in("f", 2, v2.a)
    v2.a.write("memory.high", PAGE)
    assert (v2.a.read("memory.high"), v2.a.read("memory.current")) == (f"{PAGE}\n", f"{4 * PAGE}\n")
    facts = v2.a.counters()
    assert (facts["events_oom"], facts["events_oom_kill"], facts["events_max"]) == (0, 0, 0)


def test_memory_high_is_told(v2: Scene) -> None:
    a = v2.group("A", memory_high=100 * PAGE)
    mm = v2.swap.mm(a)
    first = mm.mmap(101)
    mm.write(first * PAGE, b"x" * (101 * PAGE))
    assert a.counters()["events_high"] >= 1
    assert values(a.read("memory.events"))["high"] >= 1


def test_limit_of_v1_below_usage_reclaims(v1: Scene) -> None:
    mm = v1.swap.mm(v1.a)
    first = mm.mmap(32)
    mm.write(first * PAGE, b"x" * (32 * PAGE))
    v1.a.write(LIMIT, 8 * PAGE)
    facts = v1.a.counters()
    assert facts["memory_pages"] <= 8
    assert facts["memsw_pages"] == 32


def test_limit_of_memsw_below_usage_is_not_met_by_swapping(v1: Scene) -> None:
    mm = v1.swap.mm(v1.a)
    first = mm.mmap(32)
    mm.write(first * PAGE, b"x" * (32 * PAGE))
    v1.a.write(LIMIT, 8 * PAGE)
    assert errno_of(lambda: v1.a.write(MEMSW, 8 * PAGE)) == errno.EBUSY
    assert v1.a.counters()["memsw_pages"] == 32


def test_v1_does_not_tell_ancestors(v1: Scene) -> None:
    p = v1.group("P")
    a = v1.group("A", p)
    a.write(LIMIT, PAGE)
    v1.fault_in("f", 0, a)
    with pytest.raises(MemoryError):
        v1.swap.folio(0, memcg=a)
    assert p.counters()["events_max"] == 0
    assert values(p.read("memory.oom_control"))["under_oom"] == 0


def test_stocks_are_pages_charged_ahead() -> None:
    scene = Scene(memcg_stock="on")
    scene.fault_in("f", 0, scene.a)
    assert 1 <= scene.a.counters()["memory_pages"] <= 64 * scene.swap.nr_cpus
    scene.a.write("memory.max", 2 * PAGE)
    scene.fault_in("g", 0, scene.a)
    assert scene.a.counters()["memory_pages"] == 2, "stocks were drained for it"
    scene.drop("f", "g")
    scene.a.remove()
    assert scene.a.counters()["memory_pages"] == 0


def test_root_is_never_refused(v2: Scene) -> None:
    v2.fault_in("f", 9)
    entry = v2.out("f")
    assert v2.swap.swap_in(entry).nr_pages == 512
    facts = v2.root.counters()
    assert (facts["memory_pages"], facts["swap_pages"], facts["events_max"]) == (0, 0, 0)


def test_memory_error_is_not_a_swap_error(v2: Scene) -> None:
    a = v2.group("A", memory_max=0)
    with pytest.raises(MemoryError) as caught:
        v2.swap.folio(memcg=a)
    assert not isinstance(caught.value, sc.SwapFullError)
