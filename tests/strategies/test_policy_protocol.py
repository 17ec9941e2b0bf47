"""Facts about policies: the arguments of hooks, the effect of answers, errors of hooks, and the table."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
import swapcore as sc
from swapcore import policy

if TYPE_CHECKING:
    from collections.abc import Callable

HOOKS = {
    "on_swap_charge": ["group", "nr_pages"],
    "on_dead_owner": ["owner", "faulting", "nr_pages"],
    "on_limit": ["group", "limit", "nr_pages"],
    "on_refault": ["group", "nr_pages", "distance_pages", "is_activated"],
    "choose_device": ["group", "order", "devices"],
}


def recorded(name: str) -> Callable[..., Any]:
    """Returns a hook that records its call and gives the answer that the `Recorder` has for the hook."""

    def hook(self: Recorder, *arguments: object) -> Any:  # noqa: ANN401 - as the test plans
        self.calls.append((name, *arguments))
        answer = self.answers.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer(*arguments) if callable(answer) else answer

    return hook


class Recorder:
    """A policy with every hook. An answer is a value to return, an error to raise, or a function to call."""

    def __init__(self, **answers: object) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = answers

    on_swap_charge = recorded("on_swap_charge")
    on_dead_owner = recorded("on_dead_owner")
    on_limit = recorded("on_limit")
    on_refault = recorded("on_refault")
    choose_device = recorded("choose_device")

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def machine(storage: str = "16M", **switches: str) -> tuple[sc.Swap, sc.MemCgroup]:
    swap = sc.Swap(switches={"memcg_stock": "off", **switches})
    swap.swapon(sc.Ram(storage))
    return swap, swap.memcg.create("group")


def recording(swap: sc.Swap, **answers: object) -> Recorder:
    """Sets a new `Recorder` as the policy of a subsystem and returns the recorder."""
    recorder = Recorder(**answers)
    swap.set_memcg_policy(recorder)
    return recorder


# Tests of the arguments that hooks get


def test_every_hook_has_its_arguments_by_position() -> None:
    for name, arguments in HOOKS.items():
        parameters = list(inspect.signature(getattr(policy.MemcgPolicy, name)).parameters.values())[1:]
        assert [parameter.name for parameter in parameters] == arguments
        assert {parameter.kind for parameter in parameters} == {inspect.Parameter.POSITIONAL_ONLY}


def test_one_hook_is_a_policy_and_all_are_one() -> None:
    single = get_args(policy.MemcgHooks)
    hooks = {name for protocol in single for name in vars(protocol) if name in HOOKS}
    assert hooks == set(HOOKS)
    assert set(policy.MemcgPolicy.__mro__) >= set(single)


def test_words_are_those_of_the_files() -> None:
    assert get_args(policy.Limit) == ("memory", "swap", "memsw")
    assert get_args(policy.DeadOwner) == ("reparent", "fault_mm", "reparent_if_shared")
    names = {"MemCgroup": sc.MemCgroup, "Sequence": list}
    for name in HOOKS:
        assert "return" in get_type_hints(getattr(policy.MemcgPolicy, name), localns=names)


# Tests of the answers of hooks and of their effect


def test_swap_charge_is_asked_before_slots_are_taken() -> None:
    swap, group = machine()
    recorder = recording(swap, on_swap_charge=False)
    free_pages = swap.nr_swap_pages
    folio = swap.folio(2, data=b"stays", memcg=group)
    with pytest.raises(MemoryError):
        swap.swap_out(folio)
    assert recorder.named("on_swap_charge") == [(group, 4)]
    assert folio.is_resident
    assert swap.nr_swap_pages == free_pages
    counters = group.counters()
    assert (counters["swap_events_max"], counters["swap_events_fail"], counters["swap_pages"]) == (1, 1, 0)
    recorder.answers["on_swap_charge"] = None
    swap.swap_out(folio)
    assert group.counters()["swap_pages"] == 4
    swap.check()


def test_dead_owner_says_who_pays() -> None:
    for answer, path in (("reparent", "/"), ("fault_mm", "/heir"), (None, "/heir")):
        swap, group = machine(owner_store="cluster_table")
        heir = swap.memcg.create("heir")
        entry = swap.swap_out(swap.folio(data=b"left", memcg=group))
        group.remove()
        recorder = recording(swap, on_dead_owner=answer)
        folio = swap.swap_in(entry, memcg=heir)
        [(owner, faulting, nr_pages)] = recorder.named("on_dead_owner")
        assert (owner, faulting, nr_pages) == (group, heir, 1)
        assert not owner.is_online
        assert folio.memcg is not None
        assert folio.memcg.path == path
        del folio
        swap.check()


def test_fault_mm_where_the_store_cannot_keep_it_is_refused() -> None:
    swap, group = machine(owner_store="shadow")
    heir = swap.memcg.create("heir")
    entry = swap.swap_out(swap.folio(data=b"left", memcg=group))
    group.remove()
    recording(swap, on_dead_owner="fault_mm")
    with pytest.raises(sc.InvalidArgumentError, match="fault_mm"):
        swap.swap_in(entry, memcg=heir)
    swap.check()


def test_limit_is_told_after_the_operation_and_may_change_the_limit() -> None:
    swap, group = machine()
    group.write("memory.swap.max", 4096)

    def grow(group: sc.MemCgroup, _limit: policy.Limit, _nr_pages: int) -> None:
        # The core holds no lock during the hook, so the hook may call every method.
        swap.check()
        group.write("memory.swap.max", "max")

    recorder = recording(swap, on_limit=grow)
    folio = swap.folio(3, data=b"more", memcg=group)
    with pytest.raises(MemoryError):
        swap.swap_out(folio)
    assert recorder.named("on_limit") == [(group, "swap", 8)]
    swap.swap_out(folio)
    assert group.counters()["swap_pages"] == 8


def test_memory_limit_is_told_with_its_name() -> None:
    swap, group = machine()
    group.write("memory.max", 0)
    recorder = recording(swap)
    with pytest.raises(MemoryError):
        swap.folio(memcg=group)
    assert (group, "memory", 1) in recorder.named("on_limit")


@pytest.mark.parametrize("answer", [True, False, None])
def test_refault_decides_about_the_active_list(answer: bool | None) -> None:
    swap, group = machine()
    recorder = recording(swap, on_refault=answer)
    entries = [swap.swap_out(swap.folio(data=bytes([n + 1]), memcg=group)) for n in range(4)]
    folio = swap.swap_in(entries[0], memcg=group)
    [(judged, nr_pages, distance_pages, is_activated)] = recorder.named("on_refault")
    assert (judged, nr_pages) == (group, 1)
    assert distance_pages >= 3
    assert folio.is_active == (is_activated if answer is None else answer)


def test_device_is_chosen_from_those_there_are(swap: sc.Swap) -> None:
    slow, fast = swap.swapon(sc.Ram("16M"), priority=1), swap.swapon(sc.Ram("16M"), priority=9)
    group = swap.memcg.create("group")
    recorder = recording(swap, choose_device=slow.type)
    assert swap.swap_out(swap.folio(1, data=b"x", memcg=group)).type == slow.type
    assert recorder.named("choose_device") == [(group, 1, [fast.type, slow.type])]
    recorder.answers["choose_device"] = None
    assert swap.swap_out(swap.folio(data=b"x", memcg=group)).type == fast.type


# Tests of hooks that raise an error


@pytest.mark.parametrize("hook", ["on_swap_charge", "choose_device"])
def test_what_a_hook_raises_is_raised_when_the_call_is_done(hook: str) -> None:
    swap, group = machine()
    recording(swap, **{hook: RuntimeError("mine")})
    folio = swap.folio(data=b"gone", memcg=group)
    with pytest.raises(RuntimeError, match="mine"):
        swap.swap_out(folio)
    # The result is that of a hook that returns None: the folio is swapped out.
    assert not folio.is_resident
    assert group.counters()["swap_pages"] == 1
    swap.check()


def test_object_without_a_hook_is_refused_and_none_takes_the_policy_away() -> None:
    swap, group = machine()
    recorder = recording(swap, on_swap_charge=False)
    swap.set_memcg_policy(None)
    swap.swap_out(swap.folio(data=b"x", memcg=group))
    assert recorder.calls == []
    with pytest.raises((TypeError, sc.InvalidArgumentError)):
        swap.set_memcg_policy(object())


# Tests of `MemCgroup.set_policy`, the table form of a policy


def test_table_says_the_same_without_python(swap: sc.Swap) -> None:
    slow, _fast = swap.swapon(sc.Ram("16M"), priority=1), swap.swapon(sc.Ram("16M"), priority=9)
    group = swap.memcg.create("group")
    group.set_policy(devices=[slow.type])
    below = group.create("below")
    for charged in (group, below):
        assert swap.swap_out(swap.folio(data=b"x", memcg=charged)).type == slow.type
    group.set_policy(allow_swap=False)
    with pytest.raises(MemoryError):
        swap.swap_out(swap.folio(data=b"x", memcg=group))
    # `set_policy` does not affect the group `below`, because `below` was made before the call.
    swap.swap_out(swap.folio(data=b"x", memcg=below))
    assert group.counters()["swap_events_fail"] == 1


def test_devices_of_a_group_only_narrow_those_above(swap: sc.Swap) -> None:
    slow, middle, fast = [swap.swapon(sc.Ram("16M"), priority=priority) for priority in (1, 5, 9)]
    parent = swap.memcg.create("parent")
    child = parent.create("child")
    grandchild = child.create("grandchild")

    def used(group: sc.MemCgroup) -> int:
        return swap.swap_out(swap.folio(data=b"x", memcg=group)).type

    child.set_policy(devices=[middle.type, fast.type, slow.type])
    assert (used(parent), used(child), used(grandchild)) == (fast.type, middle.type, middle.type)
    parent.set_policy(devices=[slow.type, fast.type])
    assert used(parent) == slow.type
    assert (used(child), used(grandchild)) == (fast.type, fast.type), "the order is that of the nearest list"
    grandchild.set_policy(devices=[slow.type, middle.type])
    assert used(grandchild) == slow.type
    parent.set_policy(devices=[middle.type])
    assert {used(group) for group in (parent, child, grandchild, parent.create("later"))} == {middle.type}
    swap.memcg.set_policy(devices=[fast.type])
    for group in (parent, child, grandchild):
        with pytest.raises(sc.SwapFullError):
            used(group)
    assert used(swap.memcg) == fast.type
    swap.memcg.set_policy()
    parent.set_policy()
    assert (used(parent), used(child), used(grandchild)) == (fast.type, middle.type, slow.type)


@pytest.mark.parametrize(
    "options", [{"dead_owner": "nobody"}, {"refault": "maybe"}, {"devices": [7]}, {"devices": []}], ids=str
)
def test_table_refuses_what_it_does_not_know(options: dict[str, Any]) -> None:
    _swap, group = machine()
    with pytest.raises(sc.InvalidArgumentError):
        group.set_policy(**options)
