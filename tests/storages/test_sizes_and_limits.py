"""Facts about sizes and limits: an int is bytes everywhere, and a limit is rounded to pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from swapcore.cli import main
from swapcore.running.accesses import replay_accesses
from swapcore.size import parse_limit

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = {
    0: 0,
    1: 0,
    "4095": 0,
    4097: 4096,
    "1.5G": 3 << 29,
    "1GiB": 1 << 30,
    "0x1000": 4096,
    "0x1g": 1 << 30,
    "010000": 4096,
    "1K": 0,
    "1 M": 1 << 20,
    "1KiB": 0,
    "1P": 1 << 50,
}
"""Limits of groups, and the number of bytes that a group then has."""

LIMIT_FILES = ("memory_max", "memory_high", "memory_low", "memory_min", "memory_swap_max", "memory_zswap_max")

TEXTS_OF_LINUX: dict[str, int | None] = {
    "0": 0, "1": 0, "4095": 0, "4096": 4096, "0x1000": 4096, "0X1000": 4096, "0x": None, "0x1g": 1 << 30,
    "0x1G": 1 << 30, "0x10000g": 1 << 46, "010000": 4096, "0100000000": 1 << 24, "08": None, "09": None,
    "00": 0, "0xz": None, "K": 0, "k": 0, "\n": 0, " ": 0, "1K": 0, "4k": 4096, "4KB": None, "4 K": None,
    " 4096": 4096, "4096 ": 4096, "4096\n": 4096, " 0x1000\n": 4096, "1.5G": None, "1GiB": None,
    "+4096": None, "+": None, "-4096": None, "-0": None, "1e3": None, "1e": 1 << 60, "1E": 1 << 60,
    "1P": 1 << 50, "0x1E": 0, "1t": 1 << 40, "1T1": None, "4096K": 1 << 22, "0b1000": None, "0o10": None,
    "1_000": None, "0x1000K": 1 << 22, "07777": 0, "0777K": 127 << 12, "0x0x10": None, "1KK": None,
    "00x10": None, "0E": 0, "1Z": None, "1\t": 0, "\t4096": 4096,
}  # fmt: skip
"""Texts for `memory.limit_in_bytes` with the bytes that Linux 6.18 read back; None for EINVAL."""


@pytest.mark.parametrize("make", [sc.Null, sc.Ram, sc.Zram, sc.Ghost], ids=lambda make: str(make.__name__))
def test_an_int_is_bytes_and_pages_are_named(make: Callable[..., sc.Ghost]) -> None:
    assert make(1 << 20).pages == make("1M").pages == make("0x100000").pages == make(pages=256).pages == 256
    with pytest.raises(sc.InvalidArgumentError, match="size 1023 is not a multiple of the page size"):
        make(1023)
    with pytest.raises(sc.InvalidArgumentError, match="both"):
        make("1M", pages=256)


def test_an_int_is_bytes_for_a_resize_the_memory_and_the_ghost_of_a_machine() -> None:
    swap = sc.Swap(virtual=1 << 30)
    [ghost] = swap.devices
    assert ghost.max_pages == 1 << 18
    assert (
        swap.resize(ghost, 1 << 29)["max_pages"] == swap.resize(ghost, pages=1 << 17)["max_pages"] == 1 << 17
    )
    assert sc.Ghost.for_ram(1 << 30).pages == sc.Ghost.for_ram(pages=1 << 18).pages == 8 << 18
    assert replay_accesses("zipf", nr_ops=100, memory=1 << 30).memory_pages == 1 << 18
    for size in (16 << 20, "16M", "0x1000000"):
        assert sc.compare("order0-churn", nr_ops=100, rounds=1, size=size).size_pages == 4096
    with pytest.raises(sc.InvalidArgumentError, match="both"):
        sc.compare("order0-churn", size="16M", size_pages=4096)
    swap.check()


@pytest.mark.parametrize(("limit", "limit_bytes"), LIMITS.items())
def test_a_limit_takes_every_size_and_rounds_down(limit: str | int, limit_bytes: int) -> None:
    assert parse_limit(limit) == limit_bytes
    swap = sc.Swap()
    group = swap.memcg.create("group", swap_high=limit)
    assert group.memory_swap_high == limit_bytes
    for file in LIMIT_FILES:
        setattr(group, file, limit)
        assert getattr(group, file) == limit_bytes, file
    swap.check()


@pytest.mark.parametrize(("text", "limit_bytes"), TEXTS_OF_LINUX.items(), ids=repr)
def test_a_file_takes_the_texts_that_linux_takes(text: str, limit_bytes: int | None) -> None:
    swap = sc.Swap(memcg="v1")
    group = swap.memcg.create("group")
    if limit_bytes is None:
        with pytest.raises(sc.InvalidArgumentError):
            group.write("memory.limit_in_bytes", text)
        limit_bytes = 9223372036854771712
    else:
        group.write("memory.limit_in_bytes", text)
    assert group.memory_limit_in_bytes == limit_bytes


@pytest.mark.parametrize(
    ("text", "swappiness"), [("0x10", 16), ("010", 8), ("+1", 1), ("00", 0), ("1K", None), ("1.0", None)]
)
def test_a_number_may_be_hexadecimal_or_octal(text: str, swappiness: int | None) -> None:
    group = sc.Swap(memcg="v1").memcg.create("group")
    if swappiness is None:
        with pytest.raises(sc.InvalidArgumentError):
            group.write("memory.swappiness", text)
    else:
        group.memory_swappiness = text
        assert group.memory_swappiness == swappiness


def test_an_amount_to_reclaim_takes_every_size_and_its_options() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ram("16M"))
    group = swap.memcg.create("group")
    mm = swap.mm(memcg=group)
    first = mm.mmap(512)
    mm.write(first * sc.PAGE_SIZE, b"x" * 512 * sc.PAGE_SIZE)
    for amount in ("0x4000", "0.0625M swappiness=0x64", "16KiB", "16 K"):
        before_pages = mm.resident_pages
        group.memory_reclaim = amount
        assert mm.resident_pages <= before_pages - 4, amount
    with pytest.raises(sc.InvalidArgumentError):
        group.memory_reclaim = " "
    swap.check()


def test_a_limit_of_memory_of_one_byte_is_a_limit_of_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_accesses("zipf", nr_ops=100, memory_max=1).memory_max == 0
    assert (
        main(["replay", "zipf", "--nr-ops", "100", "--memory-max", "1,0x100000", "--json", "--allow-oom"])
        == 0
    )
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["memory_max"] for run in runs] == [0, 1 << 20]


def test_zram_rounds_its_limit_up_as_the_kernel_does() -> None:
    assert sc.Zram("1M", mem_limit=1).mem_limit_bytes == 4096
    assert sc.Zram("1M", mem_limit="0x1001").mem_limit_bytes == 8192


@pytest.mark.parametrize("size", [["--size", "16M"], ["--size", "0x1000000"], ["--size-pages", "4096"]])
def test_every_command_takes_a_size_with_unit_or_in_pages(
    size: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [size[0].replace("--size-pages", "--pages"), size[1]]
    found = []
    for command in (
        ["show", "order0-churn", "--nr-ops", "100", *size, "-o", "SIZE"],
        ["replay", "order0-churn", "--nr-ops", "100", *size],
        ["compare", "order0-churn", "--nr-ops", "100", "--rounds", "1", *size],
        ["stress", "--ops", "5", *pages],
    ):
        assert main([*command, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    show, replay, compare, stress = found
    assert show["swapdevices"] == [{"size": 4095 * sc.PAGE_SIZE}]
    assert replay["size_pages"] == compare["size_pages"] == 4096
    assert "--pages 4096" in stress["command"]


@pytest.mark.parametrize("command", ["show", "replay", "compare", "stress"])
def test_two_sizes_are_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = "--pages" if command == "stress" else "--size-pages"
    assert main([command, "--size", "16M", pages, "4096"]) == 2
    assert f"--size 16M and {pages} 4096 are two, give one" in capsys.readouterr().err
