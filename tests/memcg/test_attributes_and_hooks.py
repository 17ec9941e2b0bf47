"""Memory cgroups in Python: files as attributes, hooks of policies, and errors of hooks."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable


def machine(**switches: str) -> sc.Swap:
    swap = sc.Swap(switches=switches)
    swap.swapon(sc.Ram("16M"))
    return swap


def errno_of(call: Callable[..., object], *args: object, **kwargs: object) -> int | None:
    with pytest.raises((sc.SwapError, MemoryError)) as raised:
        call(*args, **kwargs)
    return getattr(raised.value, "errno", None)


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
    assert (child.path, child.name, child.is_online) == ("/a/b", "b", True)
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
    assert swap.folio().memcg == swap.memcg
    entry = swap.swap_out(folio)
    counters = group.counters()
    assert (counters["memory_pages"], counters["swap_pages"], counters["memcg_swap_pages"]) == (0, 4, 4)
    assert (counters["id_refs"], swap.slot_owner(entry)) == (5, counters["id"])
    assert len(np.frombuffer(swap.swap_ages(group), np.uint64)) in (0, 4)
    other = swap.memcg.create("b")
    back = swap.swap_in(entry, memcg=other)
    assert (back.memcg, other.counters()["memory_pages"]) == (group, 0), "an online owner pays"
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
        lambda: swap.mm(foreign),
        lambda: swap.swap_in(1, memcg=foreign),
        lambda: swap.swap_in_batch([swap.alloc()], memcg=foreign),
        lambda: swap.swap_ages(foreign),
    ):
        assert errno_of(call) == 22


def test_memcg_can_be_disabled_or_of_v1() -> None:
    swap = sc.Swap(memcg="disabled")
    for name in ("memcg", "swappiness"):
        assert errno_of(getattr, swap, name) == 22
    assert errno_of(lambda: swap.mm().memcg) == 22
    assert swap.folio().memcg is None
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
    mm = swap.mm(group)
    assert mm.memcg == group
    assert errno_of(group.remove) == 16
    first = mm.mmap(8)
    mm.touch_pages(first, np.array([0, 3, 3], np.uint32), np.array([True, False, True]))
    mm.touch_pages(first, np.array([1], np.uint64))
    assert (mm.resident_pages, group.counters()["memory_pages"]) == (3, 3)
    assert errno_of(mm.touch_pages, first, np.array([0], np.uint32), b"") == 22
    assert errno_of(mm.touch_pages, first, np.array([5, 1 << 20], np.uint32)) == 14
    assert mm.resident_pages == 4, "those before are there"
    with pytest.raises(TypeError, match="uint32 or uint64"):
        mm.touch_pages(first, np.array([0], np.int8))
    del mm
    # The exceptions above have it too.
    gc.collect()
    group.remove()


class Recorder:
    """A policy that gives planned answers and keeps the arguments of each call."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.asked: list[tuple[object, ...]] = []

    def answer(self, *asked: object) -> object:
        self.asked.append(asked)
        answer = self.answers.get(str(asked[0]))
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Policy(Recorder):
    def on_swap_charge(self, group: sc.MemCgroup, nr_pages: int) -> object:
        return self.answer("on_swap_charge", group, nr_pages)

    def on_dead_owner(self, owner: sc.MemCgroup, faulting: sc.MemCgroup, nr_pages: int) -> object:
        return self.answer("on_dead_owner", owner, faulting, nr_pages)

    def on_limit(self, group: sc.MemCgroup, limit: str, nr_pages: int) -> None:
        self.answer("on_limit", group, limit, nr_pages)

    def on_refault(
        self, group: sc.MemCgroup, nr_pages: int, distance_pages: int, is_activated: bool
    ) -> object:
        return self.answer("on_refault", group, nr_pages, distance_pages, is_activated)

    def choose_device(self, group: sc.MemCgroup, order: int, devices: list[int]) -> object:
        return self.answer("choose_device", group, order, devices)


def test_hooks_are_asked_and_obeyed() -> None:
    swap = machine(owner_store="cluster_table", memcg_stock="off")
    swap.swapon(sc.Ram("16M"))
    group, other = swap.memcg.create("a"), swap.memcg.create("b")
    policy = Policy(choose_device=1, on_refault=True, on_dead_owner="reparent")
    swap.set_memcg_policy(policy)
    # Shadows of the first page out say nothing: its age is 0.
    first = swap.swap_out(swap.folio(0, b"x", memcg=group))
    entry = swap.swap_out(swap.folio(0, b"x", memcg=group))
    assert (first.type, entry.type) == (1, 1)
    assert policy.asked[:2] == [("on_swap_charge", group, 1), ("choose_device", group, 0, [0, 1])]
    group.remove()
    folio = swap.swap_in(entry, memcg=other)
    assert ("on_dead_owner", group, other, 1) in policy.asked
    assert folio.memcg == swap.memcg
    assert folio.active
    asked = [asked for asked in policy.asked if asked[0] == "on_refault"]
    assert [(owner, nr) for _, owner, nr, _, _ in asked] == [(swap.memcg, 1)]
    policy.answers["on_swap_charge"] = False
    other.memory_max = "4K"
    kept = swap.folio(memcg=other)
    assert errno_of(swap.swap_out, kept) is None
    assert other.counters()["swap_events_max"] == 1
    with pytest.raises(MemoryError):
        swap.folio(memcg=other)
    assert ("on_limit", other, "memory", 1) in policy.asked
    swap.set_memcg_policy(None)
    nr_asked = len(policy.asked)
    swap.swap_out(kept)
    assert len(policy.asked) == nr_asked


@pytest.mark.parametrize("hook", ["on_swap_charge", "choose_device"])
def test_what_a_hook_raises_the_swap_out_raises_once_it_is_done(hook: str) -> None:
    swap = machine()
    swap.set_memcg_policy(Policy(**{hook: ZeroDivisionError(hook)}))
    folio = swap.folio()
    with pytest.raises(ZeroDivisionError, match=hook):
        swap.swap_out(folio)
    assert folio.entry is not None
    assert not folio.is_resident
    swap.set_memcg_policy(None)
    swap.swap_in(folio.entry)


def test_what_a_hook_raises_at_a_swap_in_comes_with_the_folio() -> None:
    swap = machine()
    entries = [swap.swap_out(swap.folio(0, bytes([n]))) for n in range(1, 4)]
    swap.set_memcg_policy(Policy(on_refault=ValueError("no")))
    with pytest.raises(ValueError, match="no") as raised:
        swap.swap_in(entries[1])
    assert [folio.read(0, 1) for folio in raised.value.folios] == [b"\2"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no") as raised:
        swap.swap_in_batch([entries[0], entries[2]])
    # The second one is not begun.
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

    done: list[sc.SwpEntry] = []
    threads = [threading.Thread(target=lambda: done.append(swap.swap_out(swap.folio(2)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4


def test_an_address_space_asks_for_its_group() -> None:
    swap = machine(memcg_stock="off")
    group = swap.memcg.create("a")
    mm = swap.mm(group)
    first = mm.mmap(2)
    mm.touch_pages(first, np.arange(2, dtype=np.uint64), b"\1\1")
    policy = Policy(on_swap_charge=False)
    swap.set_memcg_policy(policy)
    assert mm.pageout(first, 2)["kept_pages"] == 2
    assert policy.asked == [("on_swap_charge", group, 1)] * 2
    policy.answers = {"on_swap_charge": ValueError("why"), "on_refault": ValueError("back")}
    with pytest.raises(ValueError, match="why"):
        mm.pageout(first, 2)
    assert (mm.resident_pages, mm.swapped_pages) == (0, 2)
    with pytest.raises(ValueError, match="back"):
        mm.read(first * sc.PAGE_SIZE, 2 * sc.PAGE_SIZE)
    assert mm.resident_pages == 2


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


def test_tables_decide_without_python() -> None:
    swap = machine()
    swap.swapon(sc.Ram("16M"))
    parent = swap.memcg.create("p")
    parent.set_policy(devices=[1], refault="activate")
    child = parent.create("c")
    assert swap.swap_out(swap.folio(memcg=child)).type == 1
    entry = swap.swap_out(swap.folio(0, b"x", memcg=child))
    assert swap.swap_in(entry).active
    child.set_policy(allow_swap=False)
    with pytest.raises(MemoryError):
        swap.swap_out(swap.folio(memcg=child))
    for bad in ({"devices": [24]}, {"devices": [-1]}, {"refault": "maybe"}, {"dead_owner": "nobody"}):
        assert errno_of(child.set_policy, **bad) == 22
    assert errno_of(child.set_policy, dead_owner="fault_mm") == 22
    child.remove()
    assert errno_of(child.set_policy) == 19


def test_memory_counts_owners() -> None:
    for store, counted in (("shadow", False), ("array", True)):
        swap = machine(owner_store=store)
        memory = swap.memory()
        assert (memory["owner_static_bytes"] > 0) == counted
        assert swap.devices[0].memory()["owner_static_bytes"] == memory["owner_static_bytes"]
        assert memory["owner_bytes"] == 0
