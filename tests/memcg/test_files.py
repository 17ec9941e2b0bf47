"""The files of groups from Python. Rust tests (`rust/core/tests/it/memcg/files.rs`) cover every v2 file."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, errno_of
from helpers.memcg_scenes import Scene, values

if TYPE_CHECKING:
    from collections.abc import Callable

V1_UNLIMITED = 9223372036854771712
V1_FRESH = {
    "memory.limit_in_bytes": f"{V1_UNLIMITED}\n",
    "memory.memsw.limit_in_bytes": f"{V1_UNLIMITED}\n",
    "memory.usage_in_bytes": "0\n",
    "memory.max_usage_in_bytes": "0\n",
    "memory.failcnt": "0\n",
    "memory.memsw.usage_in_bytes": "0\n",
    "memory.memsw.max_usage_in_bytes": "0\n",
    "memory.memsw.failcnt": "0\n",
    "memory.swappiness": "60\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    "memory.use_hierarchy": "1\n",
    "memory.move_charge_at_immigrate": "0\n",
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


def test_fresh_group_of_v1(v1: Scene) -> None:
    assert set(v1.a.files) == {*V1_FRESH, "memory.stat", "memory.force_empty"}
    assert {file: v1.a.read(file) for file in V1_FRESH} == V1_FRESH


@pytest.mark.parametrize(
    ("hierarchy", "write_only"), [("v1", "memory.force_empty"), ("v2", "memory.reclaim")]
)
def test_files_that_are_only_read_or_only_written_or_not_there(
    scenes: Callable[..., Scene], hierarchy: str, write_only: str
) -> None:
    a = scenes(hierarchy=hierarchy).a
    for file in READ_ONLY[hierarchy]:
        assert errno_of(a.write, file, "0") == errno.EACCES, file
    assert errno_of(a.read, write_only) == errno.EINVAL
    for file in ("memory.nonsense", "", "cpu.max", "memory"):
        assert errno_of(a.read, file) == errno.ENOENT
        assert errno_of(a.write, file, "0") == errno.ENOENT


def test_peak_of_v1_is_reset_by_writing(v1: Scene) -> None:
    v1.fault_in("f", 2, v1.a)
    v1.drop("f")
    for file in ("memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes"):
        assert v1.a.read(file) == f"{4 * PAGE}\n"
        v1.a.write(file, "0")
        assert v1.a.read(file) == "0\n"


def test_stat_of_v2_is_in_its_unit(v2: Scene) -> None:
    p = v2.group("P")
    a = v2.group("A", p)
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


def test_swappiness(v1: Scene, v2: Scene) -> None:
    v2.swap.swappiness = 100
    assert v2.swap.swappiness == 100
    for wrong in (-1, 201):
        with pytest.raises((sc.InvalidArgumentError, OverflowError)):
            v2.swap.swappiness = wrong
    v1.swap.swappiness = 10
    assert v1.root.read("memory.swappiness") == "10\n"
    v1.root.write("memory.swappiness", 30)
    assert v1.swap.swappiness == 30


@pytest.mark.parametrize("suffix", ["", " swappiness=max"])
def test_reclaim_puts_pages_out(v2: Scene, suffix: str) -> None:
    task = v2.task(v2.a, 32, b"x" * (32 * PAGE))
    v2.a.write("memory.reclaim", f"{32 * PAGE}{suffix}")
    assert v2.row(v2.a) == "0/32/32/33"
    assert (task.mm.resident_pages, task.mm.swapped_pages) == (0, 32)


@pytest.mark.parametrize(("file", "only"), [("use_hierarchy", 1), ("move_charge_at_immigrate", 0)])
def test_files_of_old_choices_take_only_the_choice_that_is_left(v1: Scene, file: str, only: int) -> None:
    """The values and errors are those of Linux 6.18."""
    for text in {"0", "1", "2", "3", "max", "-1"} - {str(only)}:
        assert errno_of(v1.a.write, f"memory.{file}", text) == errno.EINVAL
    v1.a.write(f"memory.{file}", only)
    assert v1.a.read(f"memory.{file}") == f"{only}\n"


def test_force_empty_puts_pages_out(v1: Scene) -> None:
    task = v1.task(v1.a, 8, b"x" * (8 * PAGE))
    v1.a.write("memory.force_empty", "0")
    assert v1.row(v1.a) == "0/8/8/9"
    assert (task.mm.resident_pages, task.mm.swapped_pages) == (0, 8)


def test_an_empty_text_changes_no_file(v2: Scene) -> None:
    for file in v2.a.files:
        before = v2.a.read(file) if file != "memory.reclaim" else ""
        v2.a.write(file, "")
        assert (v2.a.read(file) if file != "memory.reclaim" else "") == before


def test_an_empty_text_resets_no_peak(v1: Scene, scenes: Callable[..., Scene]) -> None:
    v2 = scenes()
    for scene, files in (
        (v1, ("memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes")),
        (v2, ("memory.peak",)),
    ):
        scene.fault_in("f", 2, scene.a)
        scene.drop("f")
        for file in files:
            scene.a.write(file, "")
            assert scene.a.read(file) == f"{4 * PAGE}\n", file
            scene.a.write(file, "\n")
            assert scene.a.read(file) == "0\n", file


def test_peaks_belong_to_open_files(v2: Scene) -> None:
    v2.fault_in("f", 2, v2.a)
    v2.drop("f")
    v2.fault_in("g", 0, v2.a)
    with v2.a.open("memory.peak") as one, v2.a.open("memory.peak") as two:
        assert one.read() == two.read() == v2.a.read("memory.peak") == f"{4 * PAGE}\n"
        one.write("")
        assert one.read() == f"{4 * PAGE}\n", "an empty text resets nothing"
        one.write("reset")
        assert (one.read(), two.read(), v2.a.read("memory.peak")) == (
            f"{PAGE}\n",
            f"{4 * PAGE}\n",
            f"{4 * PAGE}\n",
        )
        v2.fault_in("h", 1, v2.a)
        v2.drop("h")
        two.write("\n")
        assert (one.read(), two.read()) == (f"{3 * PAGE}\n", f"{PAGE}\n"), (
            "a reset of the other takes nothing"
        )
        v2.a.write("memory.peak", "x")
        assert (one.read(), two.read(), v2.a.memory_peak) == (f"{3 * PAGE}\n", f"{PAGE}\n", PAGE)
        assert v2.a.counters()["memory_watermark_pages"] == 4
        with v2.a.open("memory.peak") as three:
            assert three.read() == f"{4 * PAGE}\n"
    assert one.closed
    assert errno_of(one.read) == errno_of(one.write, "x") == errno.EBADF
    one.close()


def test_peaks_of_swap_belong_to_open_files(v2: Scene) -> None:
    entries = [v2.fresh_out(1, v2.a), v2.fresh_out(0, v2.a)]
    with v2.a.open("memory.swap.peak") as swap_peak, v2.a.open("memory.peak") as peak:
        v2.swap.free(entries[0], 2)
        before = peak.read()
        swap_peak.write("1")
        assert (swap_peak.read(), v2.a.memory_swap_peak, peak.read()) == (f"{PAGE}\n", 3 * PAGE, before)


def test_any_file_opens_and_keeps_its_group(v2: Scene) -> None:
    group = v2.group("P")
    with group.open("memory.max") as file:
        assert (file.name, file.read(), file.closed) == ("memory.max", "max\n", False)
        file.write(8 * PAGE)
        assert file.read() == group.read("memory.max") == f"{8 * PAGE}\n"
        group.remove()
        assert file.read() == f"{8 * PAGE}\n"
        assert errno_of(file.write, "max") == errno.ENODEV
    assert errno_of(v2.a.open, "memory.nonsense") == errno.ENOENT
    assert errno_of(group.open, "memory.max") == errno.ENODEV
    assert errno_of(v2.swap.memcg.open, "memory.peak") == errno.ENOENT
