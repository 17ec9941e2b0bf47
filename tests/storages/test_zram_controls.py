"""Facts about the controls of a zram: `mem_limit`, `reset`, reset of `mem_used_max`."""

from __future__ import annotations

import errno
import os

import pytest
import swapcore as sc

SAME = b"\7" * sc.PAGE_SIZE


def noise() -> bytes:
    """Returns a page that does not compress."""
    return os.urandom(sc.PAGE_SIZE)


def text(number: int) -> bytes:
    """Returns a page that compresses."""
    return os.urandom(256) * 16 if number % 2 else os.urandom(128) * 32


def test_limit_below_use_refuses_later_stores_only(swap: sc.Swap) -> None:
    zram = sc.Zram("16M")
    device = swap.swapon(zram)
    pages = [noise() for _ in range(64)] + [text(number) for number in range(3)]
    entries = [swap.swap_out(swap.folio(data=page)) for page in pages]
    used = zram.stats()["mem_used_total"]
    limit = used // 2 // sc.PAGE_SIZE * sc.PAGE_SIZE
    zram.mem_limit_bytes = limit
    assert (zram.mem_limit_bytes, zram.stats()["mem_limit"]) == (limit, limit)
    assert zram.stats()["mem_used_total"] == used
    for page in (noise(), text(1)):
        with pytest.raises(sc.SwapIOError, match=f"mem_limit of {limit} bytes") as caught:
            swap.swap_out(swap.folio(data=page))
        assert caught.value.errno == errno.ENOMEM
    assert swap.swap_in(swap.swap_out(swap.folio(data=SAME))).read() == SAME
    assert [swap.swap_in(entry).read() for entry in entries] == pages
    assert zram.stats()["failed_writes"] == 2
    assert swap.swap_in(swap.swap_out(swap.folio(data=pages[0]))).read() == pages[0]
    assert device.storage is not None
    device.storage.mem_limit_bytes = 4097
    assert zram.mem_limit_bytes == 8192, "the core rounds up to pages"


def test_limit_takes_the_forms_of_a_size_and_is_shown() -> None:
    zram = sc.Zram("1M", mem_limit="64K")
    assert zram.mem_limit_bytes == 64 << 10
    zram.mem_limit_bytes = "128K"
    assert zram.mem_limit_bytes == 128 << 10
    assert repr(zram) == "Zram(pages=256, algorithm='lz4', mem_limit='128K')"
    for none in (None, 0):
        zram.mem_limit_bytes = none
        assert zram.mem_limit_bytes == zram.stats()["mem_limit"] == 0
    zram.mem_limit_bytes = "3K"
    assert zram.mem_limit_bytes == 4096, "rounded up to pages, as in the kernel"
    for bad in (-4096, "x"):
        with pytest.raises(sc.InvalidArgumentError, match=str(bad)):
            zram.mem_limit_bytes = bad
    with pytest.raises(sc.InvalidArgumentError, match="mem_limit_bytes -1 is not in 0"):
        zram.storage.mem_limit_bytes = -1


def test_mem_used_max_starts_again_at_present_use(swap: sc.Swap) -> None:
    zram = sc.Zram("16M")
    swap.swapon(zram)
    entries = [swap.swap_out(swap.folio(data=noise())) for _ in range(32)]
    for entry in entries[8:]:
        swap.free(entry)
    assert zram.stats()["mem_used_max"] == 32 * sc.PAGE_SIZE
    zram.reset_mem_used_max()
    assert zram.stats()["mem_used_max"] == zram.stats()["mem_used_total"] == 8 * sc.PAGE_SIZE


@pytest.mark.parametrize("wrapped", [False, True])
def test_reset_is_refused_while_on_and_gives_memory_back(*, wrapped: bool) -> None:
    swap, zram = sc.Swap(), sc.Zram("16M", mem_limit="8M")
    storage = sc.Faulty(zram) if wrapped else zram
    device = swap.swapon(storage)
    pages = [SAME, noise(), text(1)]
    entries = [swap.swap_out(swap.folio(data=page)) for page in pages]
    before = zram.stats()
    with pytest.raises(sc.SwapBusyError, match="zram storage is a device already"):
        zram.reset()
    assert zram.stats() == before
    assert [swap.swap_in(entry).read() for entry in entries] == pages
    swap.swapoff(device)
    storage.storage.reset()
    assert set(zram.stats().values()) == {0}
    assert zram.mem_limit_bytes == 0
    again = swap.swapon(zram)
    entries = [swap.swap_out(swap.folio(data=page)) for page in pages]
    assert [swap.swap_in(entry).read() for entry in entries] == pages
    swap.swapoff(again)
    zram.reset()
    assert repr(zram) == "Zram(pages=4096, algorithm='lz4')"
    swap.check()


def test_reset_drops_pages_that_a_device_left() -> None:
    zram = sc.Zram("16M")
    swap = sc.Swap()
    swap.swapon(zram)
    for _ in range(256):
        swap.swap_out(swap.folio(data=noise()))
    swap.check()
    del swap
    assert zram.stats()["mem_used_total"] == 256 * sc.PAGE_SIZE
    zram.reset()
    assert zram.stats()["mem_used_total"] == 0


@pytest.mark.parametrize("storage", [sc.Ram("1M"), sc.Ghost("1M"), sc.Faulty(sc.Ram("1M"))], ids=repr)
def test_other_storages_have_no_such_controls(storage: sc.Ram | sc.Ghost | sc.Faulty) -> None:
    core = storage.storage
    calls = (core.reset, core.reset_mem_used_max, lambda: core.mem_limit_bytes)
    for call in calls:
        with pytest.raises(sc.InvalidArgumentError, match=f"{core.kind}.*zram"):
            call()
