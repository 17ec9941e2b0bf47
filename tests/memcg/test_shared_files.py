"""A file in memory that tasks of two groups touch: the first toucher pays, at a swap-in the owner of a slot.

A row is ``memory/swap/MEMCG_SWAP/id references`` of a group, and the second column is memsw on v1.
"""

from __future__ import annotations

from errno import ENODEV

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of
from helpers.memcg_scenes import values
from swapcore.running.owners import OWNER_STORES

HIERARCHIES = ("v2", "v1")
PAGES_OF = ("shmem", "anon", "swapcached")
EVENTS_OF = ("pgmajfault", "pswpin", "pswpout")


def machine(hierarchy: str, store: str = "shadow") -> sc.Swap:
    switches = {"owner_store": store, "memcg_stock": "off"}
    swap = sc.Swap(memcg=hierarchy, switches=switches, memory_pages=4096)
    swap.swapon(sc.Ram("16M"))
    return swap


def row(group: sc.MemCgroup) -> str:
    facts = group.counters()
    swap_pages = facts["memsw_pages"] if "memsw_pages" in facts else facts["swap_pages"]
    return f"{facts['memory_pages']}/{swap_pages}/{facts['memcg_swap_pages']}/{facts['id_refs']}"


def own(group: sc.MemCgroup) -> tuple[int, ...]:
    """Returns the pages of files, anonymous and cached pages, faults and transfers of a group alone."""
    stat = {"anon": 0, **group.stat_local()}
    stat["anon"] = stat.get("rss", stat["anon"])
    return tuple([stat[key] // PAGE for key in PAGES_OF] + [stat.get(key, 0) for key in EVENTS_OF])


def assert_no_limit_refused(*groups: sc.MemCgroup) -> None:
    for group in groups:
        facts = group.counters()
        refused = ("memory_failcnt", "swap_failcnt", "memory_underflow_pages", "swap_underflow_pages")
        assert [facts[key] for key in refused] == [0] * 4
        assert {value for key, value in facts.items() if "events" in key} == {0}
        for file in {"memory.events", "memory.swap.events"}.intersection(group.files):
            assert set(values(group.read(file)).values()) == {0}


@pytest.mark.parametrize("store", OWNER_STORES)
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_shared_memory_that_the_other_group_swaps_in(store: str, hierarchy: str) -> None:
    swap = machine(hierarchy, store)
    p, b = swap.memcg.create("P"), swap.memcg.create("B")
    a = p.create("A")
    first, second = swap.mm(memcg=a), swap.mm(memcg=b)
    file = swap.shmem(16, order=2)
    full = "4/0/0/1" if hierarchy == "v2" else "4/4/0/1"

    def expect(step: str, *rows: str) -> None:
        assert tuple(map(row, (p, a, b))) == rows, step
        assert_no_limit_refused(p, a, b)
        swap.check()

    file.write(0, b"page 0", memcg=first.memcg)
    for page in range(1, 4):
        file.write(page * PAGE, b"page %d" % page, memcg=second.memcg)
    expect("A touched first", full, full, "0/0/0/1")
    assert (own(a), own(b)) == ((4, 0, 0, 0, 0, 0), (0,) * 6)
    file.write(4 * PAGE, b"page 4", memcg=second.memcg)
    expect("B touched other pages", full, full, full)
    assert file.pageout(0, 4) == {"reclaimed_pages": 4, "kept_pages": 0, "split_folios": 0, "errno": 0}
    expect("swapped out", "0/4/0/1", "0/4/4/5", full)
    assert {swap.slot_owner(file.swap_entry(page) or 0) for page in range(4)} == {a.counters()["id"]}
    nr_moved = 4 if hierarchy == "v2" else 0  # v1 has no such statistics
    assert own(a) == (0, 0, 0, 0, 0, nr_moved)
    assert file.read(2 * PAGE, 6, memcg=second.memcg) == b"page 2"
    expect("B swapped in, and the owner A pays", full, full, full)
    assert (own(a), own(b)) == ((4, 0, 0, 0, nr_moved, nr_moved), (4, 0, 0, 1, 0, 0)), (
        "the fault is the task's"
    )
    stats = swap.stats()
    assert [stats[key] for key in ("pswpout", "pswpin", "pgmajfault", "nr_swapcached")] == [4, 4, 1, 0]
    assert stats["hugepages-16kB.swpout"] == stats["hugepages-16kB.swpin"] == 1
    file.pageout(0, 4)
    first.memcg = b
    expect("a task that moves takes no charge along", "0/4/0/1", "0/4/4/5", full)
    a.remove()
    expect("the owner is dead", "0/4/0/1", "0/4/4/4", full)
    assert file.read(3 * PAGE, 6, memcg=second.memcg) == b"page 3"
    if store == "shadow":
        expect("the parent of the owner pays", full, "0/0/0/0", full)
    else:
        both = "8/0/0/1" if hierarchy == "v2" else "8/8/0/1"
        expect("the group of the task pays", "0/0/0/1", "0/0/0/0", both)
    del file
    expect("the file is gone", "0/0/0/1", "0/0/0/0", "0/0/0/1")


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_a_limit_and_willneed_keep_the_owner(hierarchy: str) -> None:
    swap = machine(hierarchy)
    a, b = swap.memcg.create("A"), swap.memcg.create("B")
    file = swap.shmem(8)
    file.write(0, b"x" * (8 * PAGE), memcg=a)
    a.write("memory.max" if hierarchy == "v2" else "memory.limit_in_bytes", 4 * PAGE)
    assert file.resident_pages <= 4
    assert file.resident_pages + file.swapped_pages == 8
    file.pageout(0, 8)
    assert (file.willneed(0, 4, memcg=b), file.swapped_pages) == (4, 8)
    assert ((own(a)[0], own(a)[2]), own(b)) == ((0, 4), (0,) * 6)
    assert file.read(0, 8 * PAGE, memcg=b) == b"x" * (8 * PAGE)
    assert row(b).startswith("0/0/")
    assert a.counters()["memory_pages"] <= 4
    swap.check()


def test_a_removed_group_touches_no_page() -> None:
    swap = machine("v2")
    a = swap.memcg.create("A")
    file = swap.shmem(2)
    a.remove()
    assert errno_of(file.write, 0, b"x", memcg=a) == ENODEV
    assert (file.resident_pages, file.swapped_pages) == (0, 0)
    with pytest.raises(sc.InvalidArgumentError):
        file.read(0, 1, memcg=sc.Swap().memcg)
    swap.check()
