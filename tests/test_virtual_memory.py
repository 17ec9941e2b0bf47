"""The bytes of every table, to the byte, at 0, 25, 50, 75 and 100 % of a small size."""

from __future__ import annotations

import pytest
import swapcore as sc
from memcg_facts import PAGE, file_storage
from virtual_facts import C, VirtualWorld, text, zeros

CLUSTERS = 8
SLOTS = CLUSTERS * C
WORD_BYTES = 8
OWNER_BYTES = 2
PERCENT = [0, 25, 50, 75, 100]


def slots_of(percent: int) -> int:
    """Returns the slots in use when whole clusters are: slot 0 is bad, and its cluster always there."""
    clusters = CLUSTERS * percent // 100
    return clusters * C - 1 if clusters else 0


def clusters_of(percent: int) -> int:
    """Returns the clusters that are there."""
    return max(1, CLUSTERS * percent // 100)


def owners_of(percent: int, store: str) -> set[int]:
    """Returns the bytes of owners there may be; of the one cluster without users there may be some."""
    owners = clusters_of(percent) * C * OWNER_BYTES
    return {0} if store == "shadow" else {owners} if percent else {0, owners}


def fill(swap: sc.Swap, nr_slots: int, how: str, memcg: sc.MemCgroup) -> list[sc.SwpEntry]:
    """Takes slots of the device that comes first, with data."""
    return [
        swap.swap_out(swap.folio(0, zeros() if how == "zero" else text(number), memcg=memcg))
        for number in range(nr_slots)
    ]


@pytest.mark.parametrize("store", ["shadow", "cluster_table"])
@pytest.mark.parametrize("percent", PERCENT)
def test_plain_device_is_8_or_10_bytes_a_slot(percent: int, store: str) -> None:
    swap = sc.Swap(memory_pages=512, switches={"owner_store": store})
    device = swap.swapon(sc.Zram(pages=SLOTS))
    fill(swap, slots_of(percent), "data", swap.memcg.create("A"))
    memory = device.memory()
    assert device.inuse_pages == slots_of(percent)
    assert memory["table_bytes"] == clusters_of(percent) * C * WORD_BYTES
    assert memory["owner_bytes"] in owners_of(percent, store)
    assert memory["virtual_table_bytes"] == 0


@pytest.mark.parametrize("store", ["shadow", "cluster_table"])
@pytest.mark.parametrize("how", ["zero", "zswap"])
@pytest.mark.parametrize("percent", PERCENT)
def test_virtual_in_zswap_or_zero_is_16_or_18_bytes_a_slot(
    percent: int, how: str, store: str
) -> None:
    swap = sc.Swap(memory_pages=512, zswap=sc.Zswap(max_pool_percent=100), switches={"owner_store": store})
    device = swap.swapon(sc.Ghost(SLOTS, virtual_table=True))
    fill(swap, slots_of(percent), how, swap.memcg.create("A"))
    memory = device.memory()
    assert device.inuse_pages == slots_of(percent)
    assert memory["table_bytes"] == clusters_of(percent) * C * WORD_BYTES
    assert memory["virtual_table_bytes"] == clusters_of(percent) * C * WORD_BYTES
    assert memory["owner_bytes"] in owners_of(percent, store)


@pytest.mark.parametrize("store", ["shadow", "cluster_table"])
@pytest.mark.parametrize("percent", PERCENT)
def test_virtual_on_a_physical_slot_is_24_or_26_bytes_a_slot(percent: int, store: str) -> None:
    swap = sc.Swap(memory_pages=512, switches={"owner_store": store})
    ghost = swap.swapon(sc.Ghost(SLOTS, virtual_table=True))
    device = swap.swapon(sc.Zram(pages=SLOTS))
    a = swap.memcg.create("A")
    fill(swap, slots_of(percent), "data", a)
    virtual, physical = ghost.memory(), device.memory()
    assert ghost.inuse_pages == device.inuse_pages == slots_of(percent)
    tables = clusters_of(percent) * C * WORD_BYTES
    assert virtual["table_bytes"] == virtual["virtual_table_bytes"] == physical["table_bytes"] == tables
    assert physical["virtual_table_bytes"] == 0
    assert virtual["owner_bytes"] in owners_of(percent, store)
    assert physical["owner_bytes"] == 0, "physical clusters that only back others have no owners"
    per_slot = 24 if store == "shadow" else 26
    if percent:
        total = virtual["table_bytes"] + virtual["virtual_table_bytes"] + virtual["owner_bytes"]
        assert total + physical["table_bytes"] == per_slot * (slots_of(percent) + 1)


def test_a_physical_cluster_has_owners_from_its_first_direct_use_on() -> None:
    swap = sc.Swap(switches={"owner_store": "cluster_table"})
    ghost = swap.swapon(sc.Ghost(C, virtual_table=True))
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
    device = swap.swapon(sc.Ghost(SLOTS, virtual_table=True))
    entries = fill(swap, C, "zero", swap.memcg)
    memory = device.memory()
    assert (memory["table_bytes"], memory["virtual_table_bytes"]) == (2 * PAGE, 2 * PAGE)
    swap.free(entries.pop())
    memory = device.memory()
    assert (memory["table_bytes"], memory["virtual_table_bytes"]) == (PAGE, PAGE)


def test_a_ghost_without_virtual_table_has_no_second_word() -> None:
    swap = sc.Swap(zswap=sc.Zswap(max_pool_percent=100))
    device = swap.swapon(sc.Ghost(SLOTS))
    fill(swap, SLOTS // 2 - 1, "zero", swap.memcg)
    memory = device.memory()
    assert (memory["table_bytes"], memory["virtual_table_bytes"]) == (SLOTS // 2 * WORD_BYTES, 0)


def test_totals_are_sums_of_their_parts() -> None:
    swap = sc.Swap(zswap="lz4", switches={"owner_store": "cluster_table"})
    swap.swapon(sc.Ghost(SLOTS, virtual_table=True))
    swap.swapon(file_storage(SLOTS))
    fill(swap, 1500, "data", swap.memcg.create("A"))
    swap.zswap.enabled = False
    fill(swap, 1500, "data", swap.memcg.create("B"))
    parts = ["static_bytes", "table_bytes", "extend_bytes", "pool_bytes", "owner_bytes"]
    parts += ["index_bytes", "virtual_table_bytes"]
    for device in swap.devices:
        memory = device.memory()
        assert memory["total_bytes"] == sum(memory[part] for part in parts), memory
    for part in parts:
        assert swap.memory()[part] == sum(device.memory()[part] for device in swap.devices), part
    VirtualWorld(swap).swap.check()
