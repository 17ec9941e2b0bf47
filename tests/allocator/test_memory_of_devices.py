"""The memory of a device: the byte counters of the package and the resident set of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import swapcore as sc

TIB_PAGES = 1 << 28

# Prints the growth of the resident set and of the counted bytes in each step. A fresh process runs this code,
# because memory of other tests must not count.
PROBE = """
import swapcore as sc

def rss_bytes():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096

swap = sc.Swap()
before = rss_bytes()
device = swap.swapon(sc.Null(pages={pages}))
if {fill}:
    batches = []
    while len(batch := swap.alloc_batch(1 << 18)):
        batches.append(batch)
    held = sum(len(batch) for batch in batches) * 8
    assert device.inuse_pages == device.pages
    print(rss_bytes() - before - held, device.memory()["total_bytes"], device.pages)
    for batch in batches:
        swap.free_batch(batch)
    print(rss_bytes() - before - held, device.memory()["total_bytes"], device.pages)
else:
    print(rss_bytes() - before, device.memory()["static_bytes"], device.pages)
swap.check()
"""


def probe(*, pages: int, fill: bool) -> list[list[int]]:
    """Runs `PROBE`; returns a row of resident bytes, counted bytes and usable slots for each step."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc to read the resident set from")
    source = PROBE.format(pages=pages, fill=fill)
    output = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True).stdout
    return [[int(number) for number in line.split()] for line in output.splitlines()]


def test_empty_terabyte_counts_and_takes_at_most_32_mib() -> None:
    [[resident, counted, _]] = probe(pages=TIB_PAGES, fill=False)
    assert 0 < counted <= 32 << 20
    assert resident <= 32 << 20


def test_full_device_takes_at_most_8_2_bytes_a_slot_and_gives_them_back() -> None:
    [[resident, counted, pages], [resident_after, counted_after, _]] = probe(pages=1 << 22, fill=True)
    assert 8.0 < counted / pages <= 8.2
    # The limit has one more MiB, because page faults add whole pages and the interpreter allocates memory
    # too.
    assert resident <= 8.2 * pages + (1 << 20)
    assert counted_after / pages < 0.2
    assert resident_after <= 0.2 * pages + (1 << 20)


def test_counters_are_exact(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Null(pages=4096))
    empty = device.memory()
    assert empty["table_bytes"] == 4096, "cluster 0 has the header"
    run = swap.alloc(9)
    assert device.memory()["table_bytes"] == 2 * 4096
    swap.dup(run)
    for _ in range(14):
        swap.dup(run)
    assert device.memory()["extend_bytes"] == 2048
    for _ in range(16):
        swap.put(run)
    after = device.memory()
    assert (after["table_bytes"], after["extend_bytes"], after["pool_bytes"]) == (4096, 0, 4096)
    assert after["static_bytes"] == empty["static_bytes"]
    assert after["total_bytes"] == sum(after[name] for name in after if name != "total_bytes")
