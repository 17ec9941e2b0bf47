"""A task moves to another group: the charges that exist stay, and the next charges go to the new group.

Each row is ``memory/swap/MEMCG_SWAP/id references`` of a group, and the second column is memsw on v1.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENODEV
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of
from helpers.memcg_scenes import Scene, values
from swapcore.running.owners import OWNER_STORES

if TYPE_CHECKING:
    from collections.abc import Callable

HIERARCHIES = ("v2", "v1")
NAMES = "PAB"

STEPS = (
    "written",
    "swapped out",
    "removed",
    "page 0 read",
    "page 1 written",
    "page 4 written",
    "page 0 out",
    "ended",
)

# The rows (see the docstring of this file) of the groups P, A below P, and B after each step. A page of the
# removed group A that is swapped in is charged to P, the nearest online ancestor, with the owner store
# "shadow", and to B, the group of the task, with the other owner stores.
REPARENT_V2 = (
    ("4/0/0/1", "4/0/0/1", "0/0/0/1"),
    ("0/4/0/1", "0/4/4/5", "0/0/0/1"),
    ("0/4/0/1", "0/4/4/4", "0/0/0/1"),
    ("1/4/1/1", "0/3/3/3", "0/0/0/1"),
    ("2/3/1/1", "0/2/2/2", "0/0/0/1"),
    ("2/3/1/1", "0/2/2/2", "1/0/0/1"),
    ("1/3/1/2", "0/2/2/2", "1/0/0/1"),
    ("0/0/0/1", "0/0/0/0", "0/0/0/1"),
)
FAULT_MM_V2 = (
    *REPARENT_V2[:3],
    ("0/4/0/1", "0/4/4/4", "1/0/0/1"),
    ("0/3/0/1", "0/3/3/3", "2/0/0/1"),
    ("0/3/0/1", "0/3/3/3", "3/0/0/1"),
    ("0/3/0/1", "0/3/3/3", "2/0/0/1"),
    REPARENT_V2[7],
)
REPARENT_V1 = (
    ("4/4/0/1", "4/4/0/1", "0/0/0/1"),
    *REPARENT_V2[1:3],
    ("1/4/0/1", "0/3/3/3", "0/0/0/1"),
    ("2/4/0/1", "0/2/2/2", "0/0/0/1"),
    ("2/4/0/1", "0/2/2/2", "1/1/0/1"),
    ("1/4/1/2", "0/2/2/2", "1/1/0/1"),
    REPARENT_V2[7],
)
FAULT_MM_V1 = (
    *REPARENT_V1[:3],
    ("0/3/0/1", "0/3/3/3", "1/1/0/1"),
    ("0/2/0/1", "0/2/2/2", "2/2/0/1"),
    ("0/2/0/1", "0/2/2/2", "3/3/0/1"),
    ("0/2/0/1", "0/2/2/2", "2/3/1/2"),
    REPARENT_V2[7],
)
ROWS = {
    ("v2", "reparent"): REPARENT_V2,
    ("v2", "fault_mm"): FAULT_MM_V2,
    ("v1", "reparent"): REPARENT_V1,
    ("v1", "fault_mm"): FAULT_MM_V1,
}
SWAPCACHED = {"reparent": "100", "fault_mm": "001"}
"""Pages in the swap cache after page 0 was read: one digit for each of the groups P, A and B."""


def check_step(scene: Scene, step: str, rows: tuple[tuple[str, ...], ...], cached: str) -> None:
    """Compares the rows and the cached pages of P, A and B after a step, and expects no event of a limit."""
    groups = scene.world.groups[1:]
    assert [group.name for group in groups] == list(NAMES)
    found = tuple(scene.row(group) for group in groups)
    assert found == rows[STEPS.index(step)], step
    is_cached = step in ("page 0 read", "page 1 written", "page 4 written")
    swapcached = "".join(str(group.counters()["swapcached_pages"]) for group in groups)
    assert swapcached == (cached if is_cached else "000"), step
    for group in groups:
        if not scene.world.is_v1:
            events = {**values(group.read("memory.events")), **values(group.read("memory.swap.events"))}
            assert set(events.values()) == {0}, (step, group.path, events)
        facts = group.counters()
        assert facts["memory_failcnt"] == facts["swap_failcnt"] == 0, step
        assert facts["memory_underflow_pages"] == facts["swap_underflow_pages"] == 0, step
    scene.swap.check()


@pytest.mark.parametrize("store", OWNER_STORES)
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_a_page_of_a_removed_group_comes_back_in_a_task_that_moved(
    scenes: Callable[..., Scene], store: str, hierarchy: str
) -> None:
    scene = scenes("canon", hierarchy, owner_store=store)
    rule = "reparent" if store == "shadow" else "fault_mm"
    rows, cached = ROWS[hierarchy, rule], SWAPCACHED[rule]
    p = scene.group("P")
    a, b = scene.group("A", p), scene.group("B")
    task = scene.task(a, 8)
    for page in range(4):
        task.write(b"page %d" % page, page)
    check_step(scene, "written", rows, cached)
    assert task.pageout(4)["reclaimed_pages"] == 4
    check_step(scene, "swapped out", rows, cached)
    assert errno_of(a.remove) == EBUSY
    task.mm.memcg = b
    assert task.mm.memcg == b
    check_step(scene, "swapped out", rows, cached)
    a.remove()
    assert errno_of(b.remove) == EBUSY
    check_step(scene, "removed", rows, cached)
    assert task.read(0, 6) == b"page 0"
    check_step(scene, "page 0 read", rows, cached)
    task.write(b"PAGE 1", 1)
    check_step(scene, "page 1 written", rows, cached)
    task.write(b"PAGE 4", 4)
    check_step(scene, "page 4 written", rows, cached)
    assert task.pageout(1)["reclaimed_pages"] == 1
    check_step(scene, "page 0 out", rows, cached)
    faults = values(b.read("memory.stat"))
    assert (faults["pgfault"], faults["pgmajfault"]) == (3, 2), "faults of the group of the task"
    assert values(a.read("memory.stat"))["pgmajfault"] == 0
    contents = b"".join(task.read(page, 6) for page in range(5))
    assert contents == b"page 0PAGE 1page 2page 3PAGE 4"
    del task
    check_step(scene, "ended", rows, cached)


@pytest.mark.parametrize("store", OWNER_STORES)
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_an_online_owner_pays_although_its_task_moved(
    scenes: Callable[..., Scene], store: str, hierarchy: str
) -> None:
    scene = scenes("canon", hierarchy, owner_store=store)
    a, b = scene.group("A"), scene.group("B")
    task = scene.task(a, 4)
    for page in range(3):
        task.write(b"x", page)
    task.pageout(2)
    task.mm.memcg = b
    task.write(b"y", 0)
    task.write(b"y", 2)
    task.write(b"y", 3)
    assert [scene.row(group)[0] for group in (a, b)] == ["2", "1"], "A pays for pages 0 and 2, B for page 3"
    child = task.mm.fork()
    assert child.memcg == b
    child.write((task.first + 2) * PAGE, b"z")
    assert [scene.row(group)[0] for group in (a, b)] == ["2", "2"], "B pays for the copy of the child"
    a.remove()
    scene.swap.check()


def test_a_move_that_fails_changes_nothing(scenes: Callable[..., Scene]) -> None:
    scene = scenes()
    a, b = scene.group("A"), scene.group("B")
    task = scene.task(a, 1)
    b.remove()
    assert errno_of(setattr, task.mm, "memcg", b) == ENODEV
    assert errno_of(setattr, task.mm, "memcg", sc.Swap().memcg) == EINVAL
    assert task.mm.memcg == a
    assert errno_of(a.remove) == EBUSY
    assert errno_of(setattr, sc.Swap(memcg="disabled").mm(), "memcg", a) == EINVAL
    task.mm.memcg = a
    del task
    a.remove()
