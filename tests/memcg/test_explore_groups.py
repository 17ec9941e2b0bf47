"""What a user sees of groups: files in ``dir``, tasks, removed groups with charges, the tree of groups."""

from __future__ import annotations

import io
import json
import rlcompleter
from errno import EINVAL
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of
from swapcore import report
from swapcore.cli import main
from swapcore.running.owners import OWNER_STORES

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.memcg_scenes import Scene

HIERARCHIES = ("v2", "v1")


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_dir_and_completion_have_the_files_of_the_group(hierarchy: str) -> None:
    swap = sc.Swap(memcg=hierarchy)
    for group in (swap.memcg, swap.memcg.create("job")):
        files = {file.replace(".", "_") for file in group.files}
        names = dir(group)
        assert names == sorted(set(names))
        assert {name for name in names if name.startswith("memory_")} == files
        assert {"create", "children", "tasks", "counters", "__repr__"} <= set(names)
        completer = rlcompleter.Completer({"group": group})
        completions = [completer.complete("group.memory_", number) for number in range(100)]
        assert files <= {text.split(".")[1] for text in completions if text}
    swap.check()


@pytest.mark.parametrize(("hierarchy", "name"), [("v2", "memory_reclaim"), ("v1", "memory_force_empty")])
def test_a_write_only_file_is_no_attribute_to_read(hierarchy: str, name: str) -> None:
    group = sc.Swap(memcg=hierarchy).memcg.create("job")
    assert not hasattr(group, name)
    with pytest.raises(AttributeError, match="can only be written"):
        getattr(group, name)
    assert errno_of(group.read, name.replace("_", ".", 1)) == EINVAL


def test_a_group_lists_its_tasks() -> None:
    swap, other = sc.Swap(), sc.Swap()
    a, b = swap.memcg.create("a"), swap.memcg.create("b")
    first, second, foreign = swap.mm(memcg=a), swap.mm(memcg=a), other.mm()
    assert [task is mm for task, mm in zip(a.tasks, (first, second), strict=True)] == [True, True]
    assert (b.tasks, swap.memcg.tasks, other.memcg.tasks) == ([], [], [foreign])
    child = second.fork()
    assert a.tasks == [first, second, child]
    first.memcg = b
    assert (a.tasks, b.tasks) == ([second, child], [first])
    assert first.memcg == b
    del second, child
    assert a.tasks == []
    a.remove()
    assert errno_of(setattr, first, "memcg", a)
    assert b.tasks == [first]
    with pytest.raises(AttributeError):
        del first.memcg
    swap.check()


@pytest.mark.parametrize("store", OWNER_STORES)
@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_a_removed_group_is_shown_while_slots_are_charged_to_it(
    scenes: Callable[..., Scene], store: str, hierarchy: str
) -> None:
    scene = scenes("canon", hierarchy, owner_store=store)
    p = scene.group("P")
    a = scene.group("A", p)
    entry = scene.fresh_out(1, a)
    a.remove()
    assert (p.children, p.dying_children) == ([], [a])
    assert (p.dying_children[0].is_online, a.counters()["memcg_swap_pages"]) == (False, 2)
    [shown] = report.memcg_dict(p)["children"]
    assert (shown["name"], shown["is_online"], shown["swap_bytes"]) == ("A", False, 2 * PAGE)
    lines = io.StringIO()
    report.memcg_tree(scene.root, lines)
    [line] = [line for line in lines.getvalue().splitlines() if line.strip().startswith("A ")]
    assert line.split()[1] == "offline"
    assert "8K" in line
    p.remove()
    [shown] = report.memcg_dict(scene.root)["children"]
    assert (shown["name"], shown["is_online"], shown["children"][0]["name"]) == ("P", False, "A")
    scene.swap.free(entry, 2)
    assert report.memcg_dict(scene.root)["children"] == []
    scene.swap.check()


def test_the_tree_shows_events_of_high_limits_and_tasks() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ram("16M"))
    job = swap.memcg.create("job", memory_high="256K", swap_high="64K")
    mm = swap.mm(memcg=job)
    mm.write(mm.mmap(256) * PAGE, b"x" * (256 * PAGE))
    facts = report.memcg_dict(swap.memcg)["children"][0]
    assert (facts["events"]["high"] > 0, facts["events"]["swap-high"] > 0, facts["tasks"]) == (True, True, 1)
    assert facts["events"]["high"] == job.memory_events["high"]
    assert facts["events"]["swap-high"] == job.memory_swap_events["high"]
    lines = io.StringIO()
    report.memcg_tree(swap.memcg, lines)
    heading, _root, row = lines.getvalue().splitlines()
    names = heading.replace(" / ", "/").split()
    cells = dict(zip(names, row.replace(" / ", "/").split(), strict=True))
    assert (cells["TASKS"], cells["HIGH"]) == ("1", str(facts["events"]["high"]))
    assert cells["SWAP-HIGH"] == str(facts["events"]["swap-high"])
    swap.check()


def test_show_memcg_shows_swap_that_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--memcg", "--json"]) == 0
    [build] = json.loads(capsys.readouterr().out)["memcg"]["children"]
    used = {child["name"]: child["swap_bytes"] for child in build["children"]}
    assert build["swap_bytes"] == sum(used.values()) > 0
    assert sum(child["tasks"] for child in build["children"]) > 0
