"""The exact size of every table in bytes, with 0, 25, 50, 75 and 100 % of a small device in use."""

from __future__ import annotations

import pytest
import swapcore as sc
from helpers.memcg_facts import PAGE, file_storage
from helpers.virtual_facts import C, text, zeros

CLUSTERS = 8
SLOTS = CLUSTERS * C
WORD_BYTES = 8
OWNER_BYTES = 2
TABLES = ("table_bytes", "virtual_table_bytes", "owner_bytes")


def slots_of(percent: int) -> int:
    """Returns the number of slots that fill ``percent`` of the clusters, without the bad slot 0."""
    clusters = CLUSTERS * percent // 100
    return clusters * C - 1 if clusters else 0


def clusters_of(percent: int) -> int:
    """Returns the number of clusters with a table at ``percent``; cluster 0 always has a table."""
    return max(1, CLUSTERS * percent // 100)


def owners_of(percent: int, store: str) -> set[int]:
    """Returns the possible sizes of the owner tables. An empty cluster 0 may have an owner table or none."""
    owners = clusters_of(percent) * C * OWNER_BYTES
    return {0} if store == "shadow" else {owners} if percent else {0, owners}


def fill(swap: sc.Swap, nr_slots: int, how: str, memcg: sc.MemCgroup) -> list[sc.SwpEntry]:
    """Swaps out ``nr_slots`` folios of zeros or of text, and returns their entries."""
    return [
        swap.swap_out(swap.folio(0, zeros() if how == "zero" else text(number), memcg=memcg))
        for number in range(nr_slots)
    ]


every_fill = pytest.mark.parametrize("percent", [0, 25, 50, 75, 100])
every_store = pytest.mark.parametrize("store", ["shadow", "cluster_table"])


def expect_tables(device: sc.SwapDevice, percent: int, store: str, *, is_virtual: bool) -> None:
    """Compares the table sizes of a device with ``percent`` of its clusters in use."""
    memory = device.memory()
    tables = clusters_of(percent) * C * WORD_BYTES
    assert device.inuse_pages == slots_of(percent)
    assert memory["table_bytes"] == tables
    assert memory["virtual_table_bytes"] == (tables if is_virtual else 0)
    assert memory["owner_bytes"] in owners_of(percent, store)


@every_store
@every_fill
def test_plain_device_is_8_or_10_bytes_a_slot(percent: int, store: str) -> None:
    swap = sc.Swap(memory_pages=512, switches={"owner_store": store})
    device = swap.swapon(sc.Zram(pages=SLOTS))
    fill(swap, slots_of(percent), "data", swap.memcg.create("A"))
    expect_tables(device, percent, store, is_virtual=False)


@every_store
@pytest.mark.parametrize("how", ["zero", "zswap"])
@every_fill
def test_virtual_in_zswap_or_zero_is_16_or_18_bytes_a_slot(percent: int, how: str, store: str) -> None:
    swap = sc.Swap(memory_pages=512, zswap=sc.Zswap(max_pool_percent=100), switches={"owner_store": store})
    device = swap.swapon(sc.Ghost(pages=SLOTS, is_virtual=True))
    fill(swap, slots_of(percent), how, swap.memcg.create("A"))
    expect_tables(device, percent, store, is_virtual=True)


@every_store
@every_fill
def test_virtual_on_a_physical_slot_is_24_or_26_bytes_a_slot(percent: int, store: str) -> None:
    swap = sc.Swap(memory_pages=512, switches={"owner_store": store})
    ghost = swap.swapon(sc.Ghost(pages=SLOTS, is_virtual=True))
    device = swap.swapon(sc.Zram(pages=SLOTS))
    fill(swap, slots_of(percent), "data", swap.memcg.create("A"))
    expect_tables(ghost, percent, store, is_virtual=True)
    # A physical cluster whose slots all back virtual slots has no owner table in any store.
    expect_tables(device, percent, "shadow", is_virtual=False)
    if percent:
        used = [device.memory()[name] for device in (ghost, device) for name in TABLES]
        assert sum(used) == (24 if store == "shadow" else 26) * (slots_of(percent) + 1)


def test_a_physical_cluster_has_owners_from_its_first_direct_use_on() -> None:
    swap = sc.Swap(switches={"owner_store": "cluster_table"})
    ghost = swap.swapon(sc.Ghost(pages=C, is_virtual=True))
    device = swap.swapon(sc.Zram(pages=SLOTS))
    a = swap.memcg.create("A")
    fill(swap, C - 1, "data", a)
    assert (ghost.memory()["owner_bytes"], device.memory()["owner_bytes"]) == (C * OWNER_BYTES, 0)
    entry = swap.swap_out(swap.folio(0, text(1), memcg=a))
    assert entry.type == device.type
    assert device.memory()["owner_bytes"] == C * OWNER_BYTES
    swap.check()


def test_the_whole_cluster_is_there_for_one_slot_and_goes_with_it() -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Ghost(pages=SLOTS, is_virtual=True))
    entries = fill(swap, C, "zero", swap.memcg)
    assert [device.memory()[name] for name in TABLES] == [2 * PAGE, 2 * PAGE, 0]
    swap.free(entries.pop())
    assert [device.memory()[name] for name in TABLES] == [PAGE, PAGE, 0]


def test_a_ghost_without_virtual_table_has_no_second_word() -> None:
    swap = sc.Swap(zswap=sc.Zswap(max_pool_percent=100))
    device = swap.swapon(sc.Ghost(pages=SLOTS))
    fill(swap, SLOTS // 2 - 1, "zero", swap.memcg)
    assert [device.memory()[name] for name in TABLES] == [SLOTS // 2 * WORD_BYTES, 0, 0]


def test_totals_are_sums_of_their_parts() -> None:
    swap = sc.Swap(zswap="lz4", switches={"owner_store": "cluster_table"})
    swap.swapon(sc.Ghost(pages=SLOTS, is_virtual=True))
    swap.swapon(file_storage(SLOTS))
    fill(swap, 1500, "data", swap.memcg.create("A"))
    swap.zswap.enabled = False
    fill(swap, 1500, "data", swap.memcg.create("B"))
    parts = (*TABLES, "static_bytes", "extend_bytes", "pool_bytes", "index_bytes")
    for device in swap.devices:
        memory = device.memory()
        assert memory["total_bytes"] == sum(memory[part] for part in parts), memory
    for part in parts:
        assert swap.memory()[part] == sum(device.memory()[part] for device in swap.devices), part
    swap.check()
