"""Messages name the argument that is wrong, and every size is read in every form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.command import json_of
from swapcore.running.accesses import replay_accesses, replay_over_limits
from swapcore.running.oracle import expand
from swapcore.storage import parse_size

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("zram", r"give a storage, such as swapcore.Zram\(\"1G\"\), not the text 'zram'"),
        ("1G", r"give a storage, such as swapcore.Null\('1G'\), not its size"),
        (4096, r"give a storage, such as swapcore.Null\(4096\), not its size"),
        (sc.Zram, r"give an object, such as swapcore.Zram\(\"1G\"\), not the class Zram"),
        ([1], r"give a storage, such as swapcore.Zram\(\"1G\"\), not a list"),
    ],
    ids=str,
)
def test_a_storage_that_is_none_is_named(storage: object, words: str, swap: sc.Swap) -> None:
    with pytest.raises(TypeError, match=words):
        swap.swapon(storage)  # type: ignore[arg-type]
    for run in (sc.replay, replay_accesses):
        with pytest.raises(TypeError, match=words):
            run(storage=storage)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["swap_table", b"p3", dict])
def test_one_of_several_is_not_taken_apart(given: object) -> None:
    shown = "dict" if given is dict else repr(given)
    words = f"{shown} is one, not several: give a list, such as .{shown}."
    with pytest.raises(sc.InvalidArgumentError, match=f"strategies {words}"):
        sc.compare("order0-churn", given)  # type: ignore[arg-type]
    with pytest.raises(sc.InvalidArgumentError, match=f"memory_max {words}"):
        replay_over_limits("zipf", given)  # type: ignore[arg-type]
    with pytest.raises(sc.InvalidArgumentError, match=f"paths {words}"):
        expand(given)  # type: ignore[arg-type]


FORMS = {
    "1.5G": 3 << 29,
    "1GiB": 1 << 30,
    "1.5 gib": 3 << 29,
    "16MiB": 16 << 20,
    "4KiB": 4096,
    "2TiB": 2 << 40,
}


@pytest.mark.parametrize(("text", "size_bytes"), FORMS.items())
def test_a_size_is_read_in_every_form(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["1iB", "1KB", "1.5GB", "1 Gi", "1GiBB", "GiB"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match="KiB, MiB, GiB, TiB, PiB or EiB"):
        parse_size(text)


@pytest.mark.parametrize(("text", "size_bytes"), [("1.5G", 3 << 29), ("1GiB", 1 << 30)])
def test_every_size_of_the_api_takes_them(text: str, size_bytes: int) -> None:
    pages = size_bytes // sc.PAGE_SIZE
    for kind in (sc.Null, sc.Ram, sc.Zram, sc.Ghost):
        assert kind(text).pages == pages
    assert sc.Zram("1G", mem_limit=text).mem_limit_bytes == size_bytes
    swap = sc.Swap(virtual=text)
    [ghost] = swap.devices
    assert ghost.max_pages == pages
    assert swap.resize(ghost, text)["max_pages"] == pages
    group = swap.memcg.create("group", memory_max=text)
    assert group.memory_max == size_bytes
    group.memory_swap_max = text
    assert group.memory_swap_max == size_bytes
    # The text of a file is the text of the kernel, which knows neither a fraction nor a unit of two letters.
    with pytest.raises(sc.InvalidArgumentError):
        group.write("memory.max", text)
    result = replay_accesses("zipf", nr_ops=100, memory_max=text, memory=text)
    assert (result.memory_max, result.memory_pages) == (size_bytes, pages)
    swap.check()


@pytest.mark.parametrize("text", ["1.5G", "1GiB"])
def test_every_size_of_the_command_line_takes_them(text: str, capsys: Capture) -> None:
    pages = parse_size(text) // sc.PAGE_SIZE
    command = ["replay", "zipf", "--nr-ops", "100"]
    options = [
        "--size",
        text,
        "--memory",
        text,
        "--memory-max",
        text,
        "--memory-high",
        text,
        "--swap-max",
        text,
    ]
    [run] = json_of(capsys, *command, *options)["runs"]
    assert (run["memory_max"], run["memory_high"], run["swap_max"]) == (pages * sc.PAGE_SIZE,) * 3
    assert f"pages={pages}," in run["storage"]
    [run] = json_of(capsys, *command, "--ghost", text)["runs"]
    assert f"pages={pages}" in run["ghost"]
    devices = json_of(capsys, "show", "--swaps", "--nr-ops", "1000", "--ghost", text)["swapdevices"]
    # The header page is not usable.
    assert devices[0]["size_bytes"] == (pages - 1) * sc.PAGE_SIZE


def test_a_size_of_a_swap_file_takes_them(tmp_path: Path) -> None:
    assert sc.File.create(tmp_path / "swap", "1.5MiB", sparse=True).pages == 384
