"""Tests of statements in the docs of `Swap`, `SwapDevice` and `MemCgroup`."""

from __future__ import annotations

import errno
import inspect
import threading
from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable


def test_swapoff_without_unuse_drops_references_of_null(swap: sc.Swap) -> None:
    null = swap.swapon(sc.Null("16M"), priority=1)
    swap.alloc_batch(8)
    swap.swapoff(null)
    assert not null.is_on


def test_swapoff_asks_unuse_at_most_sixteen_times_for_a_slot(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Ram("16M"))
    entry = swap.alloc()
    asked = []
    with pytest.raises(sc.SwapBusyError):
        swap.swapoff(device, lambda slot, count: asked.append((slot.value, count)))
    assert asked == [(entry.value, 1)] * 16
    assert device.is_on
    swap.free(entry)


def test_move_backing_to_a_ghost_is_einval_and_to_a_device_that_is_off_enoent(swap: sc.Swap) -> None:
    ghost = swap.swapon(sc.Ghost("64M", is_virtual=True), priority=2)
    off = swap.swapon(sc.Ram("16M"), priority=1)
    swap.swapon(sc.Ram("16M"), priority=0)
    swap.swapoff(off)
    folio = swap.folio(data=b"x")
    entry = swap.swap_out(folio)
    assert entry.type == ghost.type
    assert swap.backing(entry)["type"] == "swapfile"
    with pytest.raises(sc.InvalidArgumentError) as to_ghost:
        swap.move_backing(entry, ghost)
    assert to_ghost.value.errno == errno.EINVAL
    with pytest.raises(sc.EntryGoneError) as to_off:
        swap.move_backing(entry, off)
    assert to_off.value.errno == errno.ENOENT
    assert swap.swap_in(entry).read(0, 1) == b"x"


def test_slots_beside_a_running_batch_sees_each_slot_before_or_after_a_change() -> None:
    swap = sc.Swap(nr_cpus=2)
    device = swap.swapon(sc.Null("256M"))
    worker = threading.Thread(target=lambda: swap.free_batch(swap.alloc_batch(60_000, cpu=1), cpu=1))
    worker.start()
    looks = [device.slots() for _ in range(20)]
    worker.join()
    assert all(look[0] == 3 and set(look) <= {0, 1, 3} for look in looks)
    assert device.slots().count(1) == 0
    swap.check()


def test_a_policy_table_decides_for_the_group_and_is_copied_to_groups_made_later(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("16M"))
    parent = swap.memcg.create("parent")
    before = parent.create("before")
    parent.set_policy(allow_swap=False)
    after = parent.create("after")
    for group, may_swap in ((parent, False), (before, True), (after, False)):
        folio = swap.folio(memcg=group)
        if may_swap:
            swap.swap_in(swap.swap_out(folio))
        else:
            with pytest.raises(MemoryError):
                swap.swap_out(folio)


@pytest.mark.parametrize("profile", ["v618", "p3", "series", "newest"])
def test_the_doc_of_switches_names_every_switch_and_its_word(profile: str) -> None:
    swap = sc.Swap(profile=profile)
    doc = inspect.getdoc(type(swap).switches)
    assert doc
    for name, word in swap.switches.items():
        assert f"``{name}``" in doc
        words = doc.split(f"``{name}``")[1].split(")")[0]
        assert word in words or name == "shared_count" or word in {"on", "off"}
    swap.check()


def test_error_texts_name_the_thing_that_is_wrong() -> None:
    swap = sc.Swap(zswap="lz4")
    ghost = swap.swapon(sc.Ghost("64M", is_virtual=True))
    disk = swap.swapon(sc.Ram("16M"))

    def text_of(call: Callable[[], object], errno_wanted: int) -> str:
        with pytest.raises(OSError, match=r"\w") as raised:
            call()
        assert raised.value.errno == errno_wanted
        return str(raised.value)

    beyond = (ghost.type << 58) + (1 << 40)
    assert "1..0" not in text_of(lambda: swap.put(beyond, 1), errno.EINVAL)
    assert "the offset is over 4294967295" in text_of(lambda: swap.put(beyond, 1), errno.EINVAL)
    last = (disk.type << 58) + 4096
    assert "is not in 1..4096" in text_of(lambda: swap.put(last, 1), errno.EINVAL)
    swap.zswap.enabled = False
    entry = swap.swap_out(swap.folio(data=b"x"))
    behind = swap.backing(entry)["entry"]
    assert "backs a virtual slot" in text_of(lambda: swap.put(behind, 1), errno.EINVAL)
    assert swap.move_backing(entry, disk) == "in_place"
    swap.check()
    plain = sc.Swap(zswap="lz4")
    plain.swapon(sc.Ghost("64M"))
    plain.zswap.enabled = False
    folio = plain.folio(data=b"x")
    assert "zswap is off or refused the pages" in text_of(lambda: plain.swap_out(folio), errno.ENOSPC)
    plain.check()
