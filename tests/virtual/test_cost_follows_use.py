"""The cost of a ghost follows its clusters in use, and not its size: time, memory and address space."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from pathlib import Path

C = sc.SWAPFILE_CLUSTER
MIB = 1 << 20
LIMIT_BYTES = 6291456 << 10
"""The limit of ``ulimit -v 6291456``, which a batch scheduler may set."""

LISTINGS = """
import contextlib, io, json, resource, sys, time
import numpy, matplotlib.figure, matplotlib.backends.backend_agg
import swapcore as sc
from swapcore import report
from swapcore.cli import main
from swapcore.plot import plot_device

def maxrss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

swap = sc.Swap()
ghost = swap.swapon(sc.Ghost("15T"))
for _ in range(4):
    swap.alloc(9)
calls = {
    "plot_device": lambda: plot_device(ghost, sys.argv[1]),
    "slots": ghost.slots,
    "used_slots": ghost.used_slots,
    "clusters": ghost.clusters,
    "dump": swap.dump,
    "show": lambda: sc.swaps.swaps_table(swap, io.StringIO()),
    "check": swap.check,
}
plot_device(swap.swapon(sc.Null(pages=1024)), sys.argv[1])  # fonts are found at the first picture
cost = {}
for name, call in calls.items():
    before, start = maxrss_bytes(), time.monotonic()
    call()
    cost[name] = (time.monotonic() - start, maxrss_bytes() - before)
print(json.dumps(cost))
"""

LIFE = """
import sys
import swapcore as sc

swap = sc.Swap(zswap="lz4", virtual="15T")
swap.swapon(sc.Ghost("15T"))
swap.swapon(sc.Ram("64M"))
entries = [swap.swap_out(swap.folio(9, data=bytes([byte]) * (2 << 20))) for byte in range(1, 9)]
for byte, entry in enumerate(entries, 1):
    assert set(swap.swap_in(entry).read()) == {byte}
swap.check()
"""

SPACE = """
import json
from pathlib import Path
import swapcore as sc

def space_bytes():
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096

swap, sizes = sc.Swap(), {}
for name, has_table in (("16M", False), ("16M", True), ("15T", False), ("15T", True)):
    before = space_bytes()
    swap.swapon(sc.Ghost(name, is_virtual=has_table))
    sizes[f"{name} {has_table}"] = space_bytes() - before
print(json.dumps(sizes))
"""


def run_limited(script: str, *arguments: object) -> str:
    """Runs a script in a process with `LIMIT_BYTES` of address space."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", script, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES)),
    ).stdout


def test_every_view_of_a_large_ghost_is_quick_and_small(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cost = json.loads(run_limited(LISTINGS, tmp_path / "picture.png"))
    # Every call took milliseconds when this test was written; only the picture takes longer.
    slow = {
        name: seconds for name, (seconds, _) in cost.items() if seconds > (5 if name == "plot_device" else 1)
    }
    large = {name: nr_bytes for name, (_, nr_bytes) in cost.items() if nr_bytes > 64 * MIB}
    assert (slow, large) == ({}, {})


def test_ghosts_of_every_size_work_in_a_limited_process() -> None:
    run_limited(LIFE)


def test_a_ghost_reserves_address_space_by_its_size() -> None:
    sizes: dict[str, int] = json.loads(run_limited(SPACE))
    assert sizes["16M False"] < 4 * MIB
    assert sizes["16M True"] < 4 * MIB
    assert sizes["15T False"] < 768 * MIB
    assert sizes["15T True"] < 1024 * MIB


@pytest.mark.parametrize("owner_store", ["shadow", "array", "cluster_table", "trampoline"])
def test_a_ghost_grows_beyond_the_space_of_its_first_size(owner_store: str) -> None:
    swap = sc.Swap(switches={"owner_store": owner_store})
    ghost = swap.swapon(sc.Ghost("4M"))
    swap.resize(ghost, "256M")
    entries = [swap.alloc(9) for _ in range(127)]
    assert sorted(int(entry) // C for entry in entries) == list(range(1, 128))
    assert all(swap.lookup(int(entry) + 511)["kind"] == "shadow" for entry in entries)
    swap.check()
    for entry in entries[::2]:
        swap.free(entry, C)
    assert {int(swap.alloc(9)) // C for _ in range(64)} == set(range(1, 128, 2))
    swap.check()


def test_pages_behind_the_first_size_of_a_virtual_ghost_keep_their_bytes() -> None:
    swap = sc.Swap(zswap="lz4")
    ghost = swap.swapon(sc.Ghost("4M", is_virtual=True))
    swap.resize(ghost, "64M")
    entries = [swap.swap_out(swap.folio(9, data=bytes([byte]) * (C * sc.PAGE_SIZE))) for byte in range(1, 17)]
    swap.check()
    for byte, entry in enumerate(entries, 1):
        assert set(bytes(swap.swap_in(entry).read(0, sc.PAGE_SIZE))) == {byte}
    swap.check()


def test_the_slots_of_a_ghost_end_with_its_last_cluster_in_use() -> None:
    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost("15T"))
    assert ghost.slots() == b"\x03" + bytes(C - 1)
    [first, second] = [int(swap.alloc(9)) for _ in range(2)]
    swap.free(first, C)
    slots = ghost.slots()
    assert (len(slots), slots[first : first + C], slots[second : second + C]) == (
        3 * C,
        bytes(C),
        b"\x01" * C,
    )
    swap.check()


def test_the_slots_of_a_ghost_end_with_the_ghost() -> None:
    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost(pages=700))
    while swap.nr_swap_pages:
        swap.alloc()
    assert ghost.slots() == b"\x03" + b"\x01" * 699
    swap.check()


def columns_of(device: sc.SwapDevice) -> list[tuple[int, int]]:
    columns = device.used_slots()
    return list(zip(columns["offset"], columns["kind"], strict=True))


@pytest.mark.parametrize("make", [lambda: sc.Null(pages=2000), lambda: sc.Ghost(pages=2000)])
def test_used_slots_are_the_slots_that_are_not_free(make: Any) -> None:  # noqa: ANN401 - two kinds of devices
    swap = sc.Swap()
    device = swap.swapon(make())
    entries = [int(swap.alloc(order)) for order in (0, 4, 9)]
    swap.free(entries[1] + 3, 5)
    assert columns_of(device) == [(slot, kind) for slot, kind in enumerate(device.slots()) if kind]
    assert len(columns_of(device)) == device.inuse_pages + 1
    swap.check()


def test_a_picture_of_many_clusters_has_a_bounded_number_of_lines(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from swapcore.plot import _slot_image, plot_device

    swap = sc.Swap()
    device = swap.swapon(sc.Null("64G"))
    entries = [int(swap.alloc(9)) for _ in range(3)]
    image, clusters_a_line = _slot_image(device)
    assert (image.shape, clusters_a_line) == ((2048, C), 16)
    # Cluster 0 has the header. The four clusters are in the first line, and its dots have the highest state.
    assert (entries[0] // C, image[0, 0], image[0, 1], image[1:].any()) == (1, 3, 1, False)
    start = time.monotonic()
    plot_device(device, tmp_path / "picture.png")
    assert time.monotonic() - start < 20
    swap.check()


def test_a_line_of_a_small_picture_is_a_cluster() -> None:
    pytest.importorskip("numpy")
    from swapcore.plot import _slot_image

    swap = sc.Swap()
    ghost = swap.swapon(sc.Ghost(pages=1100))
    first = int(swap.alloc(4))
    image, clusters_a_line = _slot_image(ghost)
    assert (clusters_a_line, image.shape) == (1, (1 + first // C, C))
    while swap.nr_swap_pages:
        swap.alloc()
    image, _ = _slot_image(ghost)
    assert (image.shape, image[-1, 1100 % C - 1], image[-1, 1100 % C]) == ((3, C), 1, 3)
    swap.check()
