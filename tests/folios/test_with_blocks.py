"""The ``with`` blocks of the package: what a block begins, the end of the block ends."""

from __future__ import annotations

import errno
import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from helpers.memcg_facts import errno_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_device_is_off_after_its_block(swap: sc.Swap) -> None:
    with swap.swapon(sc.Ram("1M")) as device:
        assert swap.devices[0].type == device.type
        swap.swap_in(swap.swap_out(swap.folio(data=b"data")))
    assert (device.is_on, swap.devices) == (False, [])
    with swap.swapon(sc.Null("1M")) as device:
        swap.alloc()
    assert not device.is_on, "a device without data drops references"
    with swap.swapon(sc.Ram("1M")) as device:
        swap.swapoff(device)


def test_slots_with_data_keep_the_device_on(swap: sc.Swap) -> None:
    with pytest.raises(sc.SwapBusyError), swap.swapon(sc.Ram("1M")) as device:
        entry = swap.swap_out(swap.folio(data=b"data"))
    assert device.is_on
    assert swap.swap_in(entry).read(0, 4) == b"data"


def test_the_exception_of_the_block_is_the_one_that_counts(swap: sc.Swap) -> None:
    with pytest.raises(ZeroDivisionError) as caught, swap.swapon(sc.Ram("1M")) as device:  # noqa: PT012
        entry = swap.swap_out(swap.folio(data=b"data"))
        1 // 0  # noqa: B018 - the block fails
    [note] = caught.value.__notes__
    assert note.startswith("swapoff at the end of the block: ")
    assert device.is_on
    swap.free(entry)
    with pytest.raises(ZeroDivisionError) as caught, swap.swapon(sc.Ram("1M")) as other:
        1 // 0  # noqa: B018 - the block fails
    assert not hasattr(caught.value, "__notes__")
    assert not other.is_on


class Hook:
    """A policy whose object refers to the subsystem."""

    def __init__(self, swap: sc.Swap) -> None:
        self.swap = swap

    def on_swap_charge(self, _group: sc.MemCgroup, _nr_pages: int) -> bool:
        return True


def test_a_subsystem_ends_what_it_can() -> None:
    with sc.Swap() as swap:
        busy, idle = swap.swapon(sc.Ram("1M"), priority=2), swap.swapon(sc.Ram("1M"), priority=1)
        null = swap.swapon(sc.Null("1M"), priority=0)
        entry = swap.swap_out(swap.folio(data=b"data"))
        hook = Hook(swap)
        swap.set_memcg_policy(hook)
    assert (busy.is_on, idle.is_on, null.is_on) == (True, False, False)
    assert swap.swap_in(entry).read(0, 4) == b"data"
    swap.check()
    gone = weakref.ref(hook)
    del hook
    gc.collect()
    assert gone() is None, "the hooks are removed"


def test_a_subsystem_turns_a_ghost_and_the_device_behind_it_off() -> None:
    with sc.Swap(zswap="lz4", virtual=True) as swap:
        swap.swapon(sc.Ram("1M"))
        entry = swap.swap_out(swap.folio(data=b"data"))
        swap.zswap.writeback(entry)
        swap.swap_in(entry)
        assert len(swap.devices) == 2
    assert swap.devices == []
    swap.check()


def test_the_exception_of_a_subsystem_s_block_passes() -> None:
    with pytest.raises(ZeroDivisionError), sc.Swap() as swap:  # noqa: PT012 - the end of the block is tested
        device = swap.swapon(sc.Ram("1M"))
        1 // 0  # noqa: B018 - the block fails
    assert not device.is_on


def test_a_file_is_closed_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "swapfile"
    with sc.File.create(path, "1M", label="here") as file:
        assert (file.label, file.closed) == ("here", False)
        assert errno_of(sc.File, path) == errno.EBUSY
    assert (file.closed, path.stat().st_size) == (True, 1 << 20)
    for read in (lambda: file.label, lambda: file.pages, file.stats, file.swaplabel):
        with pytest.raises(sc.InvalidArgumentError, match="closed") as caught:
            read()
        assert caught.value.errno == errno.EBADF
    assert repr(file).startswith("File(")
    file.close()
    with sc.File(path) as again:
        assert again.label == "here"
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        again.nope  # type: ignore[attr-defined]  # noqa: B018 - the read fails


def test_a_device_keeps_its_file_open(swap: sc.Swap, tmp_path: Path) -> None:
    path = tmp_path / "swapfile"
    with sc.File.create(path, "1M") as file:
        device = swap.swapon(file)
    entry = swap.swap_out(swap.folio(data=b"data"))
    assert errno_of(sc.File, path) == errno.EBUSY, "as the kernel, from swapon to swapoff"
    assert swap.swap_in(entry).read(0, 4) == b"data"
    swap.swapoff(device)
    sc.File(path).close()
    with pytest.raises(sc.InvalidArgumentError, match="closed"):
        swap.swapon(file)
    with sc.File(path) as file, swap.swapon(file) as device:
        pass
    assert not device.is_on


@pytest.mark.parametrize("options", [{"bad_pages": [3]}, {"bad_pages": [300]}, {"label": "x" * 17}], ids=str)
def test_a_failed_create_leaves_no_file(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "swapfile"
    with pytest.raises(sc.InvalidArgumentError):
        sc.File.create(path, "1M", **options)  # type: ignore[arg-type]
    assert not path.exists()
    sc.File.create(path, "1M", bad_pages=[3], is_block_device=True).close()
    with pytest.raises(sc.SwapIOError):
        sc.File.create(path, "1M")
    assert path.exists(), "a file of somebody else stays"


def test_a_block_has_the_lock_of_a_folio(swap: sc.Swap) -> None:
    swap.swapon(sc.Ram("1M"))
    folio = swap.folio(data=b"data")
    with swap.locked(folio) as same:
        assert same is folio
        assert folio.is_locked
        assert errno_of(swap.swap_out, folio) == errno.EBUSY
        with pytest.raises(sc.SwapBusyError), swap.locked(folio):
            pass
        assert folio.is_locked, "a refused block releases no lock of another block"
    assert not folio.is_locked
    with pytest.raises(ZeroDivisionError), swap.locked(folio):
        1 // 0  # noqa: B018 - the block fails
    assert not folio.is_locked
    entry = swap.swap_out(folio)
    with pytest.raises(sc.EntryGoneError), swap.locked(folio):
        pass
    swap.free(entry)
    with pytest.raises(sc.InvalidArgumentError):
        swap.locked(sc.Swap().folio())


def test_one_thread_at_a_time_has_the_lock(swap: sc.Swap) -> None:
    folio = swap.folio()
    inside, most = 0, 0

    def run() -> None:
        nonlocal inside, most
        done = 0
        while done < 50:
            try:
                with swap.locked(folio):
                    inside += 1
                    most = max(most, inside)
                    inside -= 1
                    done += 1
            except sc.SwapBusyError:
                pass

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, folio.is_locked) == (1, False)
