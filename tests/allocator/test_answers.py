"""Answers of the core have types: columns go into NumPy and pandas as they are, and numbers have names."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTERS = {"index": np.uint32, "count": np.uint16, "flags": np.uint8, "order": np.uint8}
EVENTS = {
    "time_ns": np.uint64,
    "entry": np.uint64,
    "kind": np.uint8,
    "order": np.uint8,
    "cpu": np.uint16,
    "errno": np.int32,
}


def test_columns_of_clusters_are_arrays_without_a_copy() -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Null("16M"))
    swap.alloc_batch(600)
    columns = device.clusters()
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    assert {name: array.dtype for name, array in arrays.items()} == CLUSTERS
    assert arrays["index"].tolist() == list(range(8))
    assert arrays["count"].sum() == 601, "the header is a slot in use"
    for array, column in zip(arrays.values(), columns.values(), strict=True):
        assert isinstance(column, memoryview)
        assert column.readonly
        assert np.shares_memory(array, np.frombuffer(column, array.dtype))
    swap.check()


def test_columns_of_events_are_arrays_even_without_a_record() -> None:
    swap = sc.Swap(nr_cpus=2)
    swap.swapon(sc.Ram("1M"))
    for expected in ([], [sc.EventKind.SWAP_OUT, sc.EventKind.EVICT, sc.EventKind.SWAP_IN]):
        swap.record_events(8)
        if expected:
            swap.swap_in(swap.swap_out(swap.folio(data=b"x"), cpu=1), cpu=1)
        events: dict[str, Any] = {**swap.take_events()}
        assert events.pop("nr_lost") == 0
        arrays = {name: np.asarray(column) for name, column in events.items()}
        assert {name: array.dtype for name, array in arrays.items()} == EVENTS
        assert arrays["kind"].tolist() == expected
        assert arrays["cpu"].tolist() == [1] * len(expected)
    swap.check()


def test_columns_go_into_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    swap = sc.Swap()
    device = swap.swapon(sc.Ram("16M"))
    swap.record_events(8)
    swap.swap_in(swap.swap_out(swap.folio(data=b"x")))
    assert len(pandas.DataFrame(device.clusters())) == 8
    events = pandas.DataFrame(swap.take_events())
    assert events["kind"].tolist() == [sc.EventKind.SWAP_OUT, sc.EventKind.EVICT, sc.EventKind.SWAP_IN]


def test_words_and_ages_are_arrays_of_uint64() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ram("16M"))
    group = swap.memcg.create("group")
    assert np.asarray(swap.swap_ages(memcg=group)).dtype == np.uint64
    batch = swap.alloc_batch(3)
    entry = swap.swap_out(swap.folio(data=b"x", memcg=group))
    words = np.asarray(swap.lookup_many(batch))
    assert words.dtype == np.uint64
    assert words.tolist() == [swap.lookup(entry)["word"] for entry in batch]
    assert np.asarray(swap.swap_ages(memcg=group)).tolist() == [1]
    swap.free(entry)
    swap.free_batch(batch)
    swap.check()


def test_numbers_of_clusters_and_slots_have_the_names_of_their_lists_and_states() -> None:
    swap = sc.Swap(workers="manual")
    device = swap.swapon(sc.Null("64M", is_discardable=True), discard="pages")
    batch = [swap.alloc(cpu=0) for _ in range(512 * 20)]
    for entry in [*batch[: 512 * 3], *batch[512 * 5 : 512 * 6 : 2], *batch[512 * 7 : 512 * 9]]:
        swap.free(entry)
    swap.alloc(4)
    dump = swap.dump()["devices"][0]
    listed = {
        index: sc.ClusterFlag[name.upper()] for name in ("free", "full", "discard") for index in dump[name]
    }
    for name in ("nonfull", "frag"):
        lists: dict[int, list[int]] = dump[name]
        listed |= {index: sc.ClusterFlag[name.upper()] for clusters in lists.values() for index in clusters}
    columns = device.clusters()
    flags = {
        index: sc.ClusterFlag(flag) for index, flag in zip(columns["index"], columns["flags"], strict=True)
    }
    assert {index: flags[index] for index in listed} == listed
    assert set(flags.values()) - set(listed.values()) <= {sc.ClusterFlag.NONE}
    assert len(set(listed.values())) >= 4
    states = device.slots()
    names = {
        swap.lookup(device.type << 58 | slot)["kind"]: states[slot] for slot in range(0, device.max_pages, 7)
    }
    assert all(sc.SlotKind(state).name.lower() == name for name, state in names.items())
    assert {"null", "shadow", "bad"} <= names.keys()
    swap.check()


def test_each_kind_of_event_has_the_number_of_its_name() -> None:
    swap = sc.Swap(memory_pages=4096)
    faulty = sc.Faulty(sc.Ram("1M"))
    swap.swapon(faulty)

    def kinds(work: Callable[[], object]) -> set[sc.EventKind]:
        swap.record_events(4096)
        with suppress(sc.SwapError):
            work()
        return {sc.EventKind(kind) for kind in swap.take_events()["kind"]}

    folio = swap.folio(data=b"x")
    faulty.storage.set_faults(write_error_probability=1.0)
    assert sc.EventKind.WRITE_ERROR in kinds(lambda: swap.swap_out(folio))
    faulty.storage.set_faults()
    entry = swap.swap_out(folio)
    faulty.storage.set_faults(read_error_probability=1.0)
    assert kinds(lambda: swap.swap_in(entry)) == {sc.EventKind.READ_ERROR}
    faulty.storage.set_faults()
    zero = swap.swap_out(swap.folio())
    assert kinds(lambda: swap.swap_in(zero)) == {sc.EventKind.SWAP_IN_ZERO}
    assert sc.EventKind.SWAP_OUT_ZERO in kinds(lambda: swap.swap_out(swap.folio()))
    assert sc.EventKind.SWAP_OUT_FALLBACK in kinds(lambda: swap.swap_out(swap.folio(9, b"too large")))
    assert list(sc.EventKind)[-1] == len(sc.EventKind) - 1 == 9


def test_flags_of_a_device_are_an_enum_and_the_texts_of_their_names() -> None:
    swap = sc.Swap()
    device = swap.swapon(sc.Zram("1M"), discard="pages")
    for flag in device.flags:
        assert isinstance(flag, sc.SwpFlag)
        assert flag == f"SWP_{flag.name}"
    assert sc.SwpFlag.SYNCHRONOUS_IO in device.flags
    assert "SWP_SYNCHRONOUS_IO" in device.flags
    assert sc.SwpFlag.GHOST not in device.flags
    ghost = swap.swapon(sc.Ghost("1M", is_virtual=True))
    assert {sc.SwpFlag.GHOST, sc.SwpFlag.VIRTUAL} <= set(ghost.flags)
    swap.check()


STORES = ["shadow", "array", "cluster_table", "trampoline"]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("memcg", ["v1", "v2"])
def test_lookup_names_the_group_that_owns_the_slot(memcg: str, store: str) -> None:
    if memcg == "v1" and store == "trampoline":
        pytest.skip("v1 has no trampoline")
    swap = sc.Swap(memcg=memcg, switches={"owner_store": store})
    swap.swapon(sc.Ram("16M"))
    group = swap.memcg.create("group")
    folio = swap.folio(data=b"x", memcg=group)
    cached = swap.folio_alloc_swap(folio)
    assert swap.lookup(cached)["memcg"] == group, "the slot is cached"
    entry = swap.swap_out(swap.folio(data=b"y", memcg=group))
    assert swap.lookup(entry)["memcg"] == group, "the slot is swapped out"
    root = swap.swap_out(swap.folio(data=b"z"))
    assert swap.lookup(root)["memcg"] in (swap.memcg, None)
    assert swap.lookup(swap.devices[0].type << 58)["memcg"] is None, "the header has no owner"
    swap.free(entry)
    assert swap.lookup(entry)["memcg"] is None, "a free slot has no owner"
    swap.check()


def test_a_removed_group_still_owns_its_slots_and_without_memcg_nobody_does() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ram("1M"))
    group = swap.memcg.create("group")
    entry = swap.swap_out(swap.folio(data=b"x", memcg=group))
    group.remove()
    assert swap.lookup(entry)["memcg"] == group
    swap.free(entry)
    swap.check()
    swap = sc.Swap(memcg="disabled")
    swap.swapon(sc.Ram("1M"))
    assert swap.lookup(swap.swap_out(swap.folio(data=b"x")))["memcg"] is None


def test_the_owner_of_a_virtual_slot_is_shown_at_the_virtual_slot() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ghost("1G", is_virtual=True))
    swap.swapon(sc.Ram("1M"))
    group = swap.memcg.create("group")
    entry = swap.swap_out(swap.folio(data=b"x", memcg=group))
    real = swap.backing(entry)["entry"]
    assert real is not None
    assert swap.lookup(entry)["memcg"] == group
    assert swap.lookup(real)["memcg"] is None
    assert swap.lookup(swap.lookup(real)["owner"])["memcg"] == group
    swap.check()
