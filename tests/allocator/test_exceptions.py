"""Facts about the errors: an errno each, the built-in class that goes with it, pickling."""

from __future__ import annotations

import errno
import pickle

import pytest
import swapcore as sc
from swapcore import exceptions

ERRNOS: dict[type[OSError], tuple[int, type[Exception]]] = {
    sc.SwapFullError: (errno.ENOSPC, OSError),
    sc.InvalidArgumentError: (errno.EINVAL, ValueError),
    sc.EntryGoneError: (errno.ENOENT, FileNotFoundError),
    sc.AlreadyCachedError: (errno.EEXIST, FileExistsError),
    sc.SwapBusyError: (errno.EBUSY, OSError),
    sc.TooManySwapfilesError: (errno.EPERM, PermissionError),
    sc.RefOverflowError: (errno.EOVERFLOW, OSError),
    sc.SwapIOError: (errno.EIO, OSError),
}


def swap_with_one_slot() -> sc.Swap:
    swap = sc.Swap()
    swap.swapon(sc.Null(pages=2))
    return swap


def test_every_public_error_has_an_errno_or_is_an_invariant() -> None:
    public = {getattr(exceptions, name) for name in exceptions.__all__}
    assert public == {*ERRNOS, sc.SwapError, sc.InvariantError}


@pytest.mark.parametrize("error_class", ERRNOS)
def test_error_is_an_os_error_of_its_builtin_class(error_class: type[OSError]) -> None:
    number, builtin = ERRNOS[error_class]
    error = error_class(number, "slot 7 is over the limit 3")
    assert isinstance(error, sc.SwapError)
    assert isinstance(error, OSError)
    assert isinstance(error, builtin)
    assert (error.errno, error.strerror) == (number, "slot 7 is over the limit 3")


@pytest.mark.parametrize("error_class", ERRNOS)
def test_error_pickles(error_class: type[OSError]) -> None:
    error = error_class(ERRNOS[error_class][0], "why")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is error_class
    assert (back.errno, back.strerror) == (error.errno, "why")


def test_invariant_error_is_an_assertion_without_errno_and_pickles() -> None:
    error = sc.InvariantError("I2: cluster 4 is on two lists")
    assert isinstance(error, AssertionError)
    assert not hasattr(error, "errno")
    assert str(pickle.loads(pickle.dumps(error))) == "I2: cluster 4 is on two lists"


def test_full_device_raises_enospc() -> None:
    swap = swap_with_one_slot()
    swap.alloc()
    with pytest.raises(sc.SwapFullError) as caught:
        swap.alloc()
    assert caught.value.errno == errno.ENOSPC


def test_order_over_the_largest_raises_einval_that_names_both() -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"10.*9") as caught:
        swap_with_one_slot().alloc(order=10)
    assert caught.value.errno == errno.EINVAL


def test_second_free_raises_enoent() -> None:
    swap = swap_with_one_slot()
    entry = swap.alloc()
    swap.free(entry)
    with pytest.raises(FileNotFoundError) as caught:
        swap.free(entry)
    assert type(caught.value) is sc.EntryGoneError
    assert caught.value.errno == errno.ENOENT


def test_second_folio_on_a_slot_raises_eexist() -> None:
    swap = swap_with_one_slot()
    entry = swap.alloc()
    swap.swap_cache_add_folio(swap.folio(), entry)
    with pytest.raises(FileExistsError) as caught:
        swap.swap_cache_add_folio(swap.folio(), entry)
    assert type(caught.value) is sc.AlreadyCachedError


def test_swapoff_with_references_left_raises_ebusy() -> None:
    swap = swap_with_one_slot()
    swap.alloc()
    with pytest.raises(sc.SwapBusyError) as caught:
        swap.swapoff(swap.devices[0], unuse=lambda _entry, _count: None)
    assert caught.value.errno == errno.EBUSY
    assert swap.devices[0].is_on
    swap.check()


def test_one_device_too_many_raises_eperm() -> None:
    swap = sc.Swap()
    for _ in range(sc.MAX_SWAPFILES):
        swap.swapon(sc.Null(pages=2))
    with pytest.raises(PermissionError) as caught:
        swap.swapon(sc.Null(pages=2))
    assert type(caught.value) is sc.TooManySwapfilesError
    assert len(swap.devices) == sc.MAX_SWAPFILES
