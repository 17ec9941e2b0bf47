"""Memory cgroups in Python: files as attributes, hooks of policies, and errors of hooks."""

from __future__ import annotations

import gc
import weakref
from functools import partialmethod

import numpy as np
import pytest
import swapcore as sc
from helpers.load import together
from helpers.memcg_facts import errno_of, task_of


def machine(**switches: str) -> sc.Swap:
    swap = sc.Swap(switches=switches)
    swap.swapon(sc.Ram("16M"))
    return swap


def test_files_are_attributes() -> None:
    swap = machine()
    group = swap.memcg.create("a", memory_max="1M", swap_max=8192)
    assert (group.memory_max, group.memory_swap_max, group.memory_high) == (1 << 20, 8192, "max")
    group.memory_max = "max"
    with pytest.raises(TypeError):
        group.memory_high = True
    group.memory_high = 1
    assert (group.memory_max, group.memory_high) == ("max", 0)
    assert list(group.memory_events)[:3] == ["low", "high", "max"]
    assert group.read("memory.current") == "0\n"
    assert group.memory_stat["pswpout"] == 0
    assert group.stat_local()["anon"] == 0
    with pytest.raises(AttributeError, match="memory_maximum"):
        _ = group.memory_maximum
    with pytest.raises(AttributeError, match='no file "name"'):
        group.name = "b"
    with pytest.raises(TypeError, match="str or an int, not float"):
        group.memory_max = 1.5  # type: ignore[assignment]
    assert errno_of(setattr, group, "memory_current", 0) == 13
    assert errno_of(group.write, "memory.max", "much") == 22
    assert errno_of(group.write, "memory.reclaim", "1G") == 11


def test_a_group_whose_file_refuses_is_not_made() -> None:
    root = machine().memcg
    with pytest.raises(TypeError, match="memory_mox"):
        root.create("a", memory_mox=1)
    assert errno_of(root.create, "a", memory_max="much") == 22
    assert root.children == []
    made = root.create("a")
    assert (made.path, made.counters()["id"]) == ("/a", 2), "the id of the refused group is free again"
    assert errno_of(root.create, "a") == 17


def test_groups_are_equal_by_what_they_are() -> None:
    swap = machine()
    group = swap.memcg.create("a")
    assert swap.memcg.children == [group]
    assert group.parent == swap.memcg
    assert swap.memcg.parent is None
    assert {group: 1}[swap.memcg.children[0]] == 1
    assert swap.memcg != machine().memcg
    assert group != "a"
    child = group.create("b")
    assert (child.path, child.name, child.parent, child.is_online) == ("/a/b", "b", group, True)
    assert (swap.memcg.path, swap.memcg.name) == ("/", "")
    assert errno_of(group.remove) == 16
    child.remove()
    assert (child.is_online, group.children, child.read("memory.current")) == (False, [], "0\n")
    assert errno_of(child.remove) == 19
    assert "removed" in repr(child)


def test_who_is_charged() -> None:
    swap = machine(memcg_stock="off")
    group = swap.memcg.create("a")
    folio = swap.folio(2, b"x", memcg=group)
    assert folio.memcg == group
    assert swap.folio().memcg == swap.mm().memcg == swap.memcg
    entry = swap.swap_out(folio)
    counters = group.counters()
    assert (counters["memory_pages"], counters["swap_pages"], counters["memcg_swap_pages"]) == (0, 4, 4)
    assert (counters["id_refs"], swap.slot_owner(entry)) == (5, counters["id"])
    assert len(np.frombuffer(swap.swap_ages(memcg=group), np.uint64)) in (0, 4)
    other = swap.memcg.create("b")
    back = swap.swap_in(entry, memcg=other)
    assert (back.memcg, other.counters()["memory_pages"]) == (group, 0), "the online owner is charged"
    assert other.memory_stat["pgmajfault"] == 1
    group.memory_max = "16K"
    with pytest.raises(MemoryError, match=r"memory\.max of"):
        swap.folio(memcg=group)
    group.memory_swap_max = 0
    del back
    with pytest.raises(MemoryError, match=r"memory\.swap\.max of"):
        swap.folio_alloc_swap(swap.folio(memcg=group))


def test_groups_of_others_are_refused() -> None:
    swap, foreign = machine(), machine().memcg
    for call in (
        lambda: swap.folio(memcg=foreign),
        lambda: swap.mm(memcg=foreign),
        lambda: swap.swap_in(1, memcg=foreign),
        lambda: swap.swap_in_batch([swap.alloc()], memcg=foreign),
        lambda: swap.swap_ages(memcg=foreign),
    ):
        assert errno_of(call) == 22


def test_memcg_can_be_disabled_or_of_v1() -> None:
    swap = sc.Swap(memcg="disabled")
    for name in ("memcg", "swappiness"):
        assert errno_of(getattr, swap, name) == 22
    assert errno_of(lambda: swap.mm().memcg) == 22
    assert swap.folio().memcg is None
    assert errno_of(swap.folio, memcg=machine().memcg) == 22
    assert errno_of(sc.Swap, memcg="v3") == 22
    v1 = sc.Swap(memcg="v1")
    v1.swappiness = 10
    group = v1.memcg.create("a", memory_limit_in_bytes="2M", memory_memsw_limit_in_bytes="4M", swappiness=7)
    assert (group.memory_memsw_limit_in_bytes, group.memory_swappiness, v1.swappiness) == (4 << 20, 7, 10)
    assert "memsw_pages" in group.counters()
    assert "swap_pages" not in group.counters()
    assert errno_of(group.write, "memory.limit_in_bytes", "5M") == 22
    assert errno_of(setattr, v1, "swappiness", 201) == 22


def test_pages_are_touched_by_a_task_of_the_group() -> None:
    swap = machine(memcg_stock="off")
    group = swap.memcg.create("a")
    mm = swap.mm(memcg=group)
    assert mm.memcg == group
    assert errno_of(group.remove) == 16
    first = mm.mmap(8)
    mm.touch_pages(first, np.array([0, 3, 3], np.uint32), np.array([True, False, True]))
    mm.touch_pages(first, np.array([1], np.uint64))
    assert (mm.resident_pages, group.counters()["memory_pages"]) == (3, 2), (
        "a read of a new page costs nothing"
    )
    assert errno_of(mm.touch_pages, first, np.array([0], np.uint32), b"") == 22
    assert errno_of(mm.touch_pages, first, np.array([5, 1 << 20], np.uint32)) == 14
    assert mm.resident_pages == 4, "the pages before the bad one are touched"
    with pytest.raises(TypeError, match="uint32 or uint64"):
        mm.touch_pages(first, np.array([0], np.int8))
    del mm
    # The frames of the caught errors refer to the address space until the garbage collector frees the frames.
    gc.collect()
    group.remove()


class Policy:
    """A policy that returns the answers of the test and records the arguments of each call."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.asked: list[tuple[object, ...]] = []

    def answer(self, *asked: object) -> object:
        self.asked.append(asked)
        answer = self.answers.get(str(asked[0]))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    on_swap_charge = partialmethod(answer, "on_swap_charge")
    on_refault = partialmethod(answer, "on_refault")
    choose_device = partialmethod(answer, "choose_device")


def test_what_a_hook_raises_at_a_swap_in_comes_with_the_folio() -> None:
    swap = machine()
    entries = [swap.swap_out(swap.folio(0, bytes([n]))) for n in range(1, 4)]
    swap.set_memcg_policy(Policy(on_refault=ValueError("no")))
    with pytest.raises(ValueError, match="no") as raised:
        swap.swap_in(entries[1])
    assert [folio.read(0, 1) for folio in raised.value.folios] == [b"\2"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no") as raised:
        swap.swap_in_batch([entries[0], entries[2]])
    # The batch stopped after the first entry, so the second entry keeps its reference.
    assert [folio.read(0, 1) for folio in raised.value.folios] == [b"\1"]  # type: ignore[attr-defined]
    assert swap.swap_count(entries[2]) == 1


def test_answers_of_another_type_are_errors_and_count_as_none() -> None:
    swap = machine()
    for answers, error in (
        ({"on_swap_charge": "yes"}, TypeError),
        ({"choose_device": 7}, sc.InvalidArgumentError),
        ({"choose_device": "zram"}, TypeError),
    ):
        swap.set_memcg_policy(Policy(**answers))
        folio = swap.folio()
        with pytest.raises(error):
            swap.swap_out(folio)
        assert not folio.is_resident
    with pytest.raises(TypeError, match="object has no hook"):
        swap.set_memcg_policy(object())


def test_a_hook_may_call_back_and_other_threads_do_not_see_what_it_raises() -> None:
    swap = machine()

    class Nested:
        def on_swap_charge(self, group: sc.MemCgroup, nr_pages: int) -> None:
            if nr_pages == 1:
                raise KeyError("inner")
            with pytest.raises(KeyError, match="inner"):
                swap.swap_out(swap.folio(0, memcg=group))

    swap.set_memcg_policy(Nested())
    entry = swap.swap_out(swap.folio(2))
    assert entry.nr_pages == 4
    with pytest.raises(KeyError, match="inner"):
        swap.swap_out(swap.folio())

    together(*[lambda: swap.swap_out(swap.folio(2))] * 4)


def test_a_hook_cannot_check_because_its_own_operation_runs() -> None:
    swap = machine()

    class Checks:
        def on_swap_charge(self, _group: sc.MemCgroup, _nr_pages: int) -> None:
            swap.check()

    swap.set_memcg_policy(Checks())
    with pytest.raises(sc.SwapBusyError, match="inside an operation"):
        swap.swap_out(swap.folio())
    swap.set_memcg_policy(None)
    swap.check()


def test_an_address_space_asks_for_its_group() -> None:
    swap = machine(memcg_stock="off")
    group = swap.memcg.create("a")
    task = task_of(swap, group, 2, b"x" * (2 * sc.PAGE_SIZE))
    policy = Policy(on_swap_charge=False)
    swap.set_memcg_policy(policy)
    assert task.pageout(2)["kept_pages"] == 2
    assert policy.asked == [("on_swap_charge", group, 1)] * 2
    policy.answers = {"on_swap_charge": ValueError("why"), "on_refault": ValueError("back")}
    with pytest.raises(ValueError, match="why"):
        task.pageout(2)
    assert (task.mm.resident_pages, task.mm.swapped_pages) == (0, 2)
    with pytest.raises(ValueError, match="back"):
        task.read(0, 2 * sc.PAGE_SIZE)
    assert task.mm.resident_pages == 2


def test_hooks_do_not_keep_the_subsystem() -> None:
    swap = machine()
    policy = Policy()
    swap.set_memcg_policy(policy)
    gone = weakref.ref(policy)
    del policy
    assert gone() is not None
    del swap
    gc.collect()
    assert gone() is None


def test_table_activates_refaults_without_python_and_refuses_what_it_cannot_keep() -> None:
    swap = machine()
    parent = swap.memcg.create("p")
    parent.set_policy(refault="activate")
    child = parent.create("c")
    entry = swap.swap_out(swap.folio(0, b"x", memcg=child))
    assert swap.swap_in(entry).is_active
    for bad in ({"devices": [24]}, {"devices": [-1]}, {"dead_owner": "fault_mm"}):
        assert errno_of(child.set_policy, **bad) == 22
    child.remove()
    assert errno_of(child.set_policy) == 19


def test_memory_counts_owners() -> None:
    for store, counted in (("shadow", False), ("array", True)):
        swap = machine(owner_store=store)
        memory = swap.memory()
        assert (memory["owner_static_bytes"] > 0) == counted
        assert swap.devices[0].memory()["owner_static_bytes"] == memory["owner_static_bytes"]
        assert memory["owner_bytes"] == 0
