"""Each misuse raises the documented error with its errno, and leaves the subsystem unchanged."""

from __future__ import annotations

import errno
import re
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from helpers.errors import ERRNOS
from swapcore import (
    MAX_ORDER,
    MAX_SWAPFILES,
    AlreadyCachedError,
    EntryGoneError,
    Folio,
    InvalidArgumentError,
    Null,
    Strategy,
    Swap,
    SwapBusyError,
    SwapDevice,
    SwapFullError,
    SwpEntry,
    TooManySwapfilesError,
)

TYPE_SHIFT = 58
PAGES = 2100
BAD_PAGE = 700
ABSENT_TYPE = 5


def at(offset: int, kind: int = 0, order: int = 0) -> SwpEntry:
    """Returns the entry of a slot."""
    return SwpEntry(kind << TYPE_SHIFT | offset, order)


@pytest.fixture
def swap() -> Iterator[Swap]:
    """A subsystem with used slots 1..100 except 60, an order-4 run at 1024, and an empty second device."""
    swap = Swap(nr_cpus=2, workers="manual")
    swap.swapon(Null(pages=PAGES, bad_pages=[BAD_PAGE]), priority=5)
    swap.swapon(Null(pages=600), priority=1)
    swap.alloc_batch(100, cpu=0)
    assert swap.alloc(4, cpu=1).offset == 1024
    swap.free(at(60))
    yield swap
    swap.check()


def state(swap: Swap) -> dict[str, Any]:
    """Returns all state that a refused call must not change."""
    return {
        "dump": swap.dump(),
        "free": swap.nr_swap_pages,
        "total": swap.total_swap_pages,
        "cached": swap.nr_swapcache_pages,
        "memory": swap.memory(),
        "words": [
            swap.lookup_many(array("Q", [int(at(slot, device.type)) for slot in range(device.max_pages)]))
            for device in swap.devices
        ],
    }


@contextmanager
def refused(swap: Swap, error: type[OSError], message: str = ".") -> Iterator[None]:
    """Expects that the body raises the error with the errno of its class and changes no state."""
    before = state(swap)
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert caught.value.errno == ERRNOS[error]
    assert re.search(message, caught.value.strerror), "an error has a message"
    assert state(swap) == before
    swap.check()


Verb = Callable[[Swap, SwpEntry], None]
VERBS: dict[str, Verb] = {
    "free": lambda swap, entry: swap.free(entry),
    "put": lambda swap, entry: swap.put(entry),
    "dup": lambda swap, entry: swap.dup(entry),
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())


@every_verb
@pytest.mark.parametrize(
    ("entry", "error"),
    [
        *((at(offset), EntryGoneError) for offset in (60, 101, 512, 1023, 1040, 1536, PAGES - 1)),
        *((at(offset), InvalidArgumentError) for offset in (0, BAD_PAGE)),
        *((at(offset), InvalidArgumentError) for offset in (PAGES, 2559, 2560, (1 << TYPE_SHIFT) - 1)),
        (at(1, ABSENT_TYPE), EntryGoneError),
        (at(PAGES - 12, order=4), InvalidArgumentError),
    ],
    ids=str,
)
def test_slot_that_is_free_bad_or_outside_is_refused(
    swap: Swap, verb: Verb, entry: SwpEntry, error: type[OSError]
) -> None:
    with refused(swap, error):
        verb(swap, entry)


@every_verb
def test_one_free_slot_spoils_a_whole_run(swap: Swap, verb: Verb) -> None:
    swap.free(at(1030))
    with refused(swap, EntryGoneError):
        verb(swap, at(1024, order=4))
    swap.free(at(1024), 6)
    swap.free(at(1031), 9)


@pytest.mark.parametrize("nr", [0, PAGES, (1 << 32) - 1])
def test_number_of_slots_out_of_range_is_refused(swap: Swap, nr: int) -> None:
    for call in (swap.free, swap.dup):
        with refused(swap, InvalidArgumentError):
            call(at(1), nr)


def test_run_is_freed_only_once(swap: Swap) -> None:
    entry = at(1024, order=4)
    swap.free(entry)
    with refused(swap, EntryGoneError):
        swap.free(entry)


def test_batch_with_a_foreign_entry_is_refused_as_a_whole(swap: Swap) -> None:
    for foreign, error in (
        (at(1, ABSENT_TYPE), EntryGoneError),
        (at(PAGES), InvalidArgumentError),
        (at(0), InvalidArgumentError),
    ):
        with refused(swap, error):
            swap.free_batch(array("Q", [int(at(1)), int(at(2)), int(foreign)]))


def test_batch_stops_at_the_first_slot_not_in_use(swap: Swap) -> None:
    inuse = [device.inuse_pages for device in swap.devices]
    twice = array("Q", [int(at(slot)) for slot in (7, 8, 7, 9)])
    with pytest.raises(EntryGoneError) as caught:
        swap.free_batch(twice)
    assert caught.value.errno == errno.ENOENT
    assert "2" in str(caught.value)
    assert [device.inuse_pages for device in swap.devices] == [inuse[0] - 2, inuse[1]]
    assert [swap.lookup(at(slot))["kind"] for slot in (7, 8, 9)] == ["null", "null", "shadow"]


def test_dup_batch_stops_at_the_first_slot_not_in_use(swap: Swap) -> None:
    with pytest.raises(EntryGoneError):
        swap.dup_batch(array("Q", [int(at(slot)) for slot in (7, 60, 9)]))
    assert [swap.swap_count(at(slot)) for slot in (7, 60, 9)] == [2, 0, 1]


@pytest.mark.parametrize("order", [MAX_ORDER + 1, 63, 64, 255, 256])
def test_order_out_of_range_is_refused(swap: Swap, order: int) -> None:
    calls: list[Callable[[], object]] = [
        lambda: swap.alloc(order, cpu=0),
        lambda: swap.alloc_batch(3, order, cpu=0),
        lambda: swap.folio(order),
        lambda: SwpEntry(1, order),
    ]
    for call in calls:
        with refused(swap, InvalidArgumentError, f"{order}.*{MAX_ORDER}"):
            call()


@pytest.mark.parametrize("cpu", [2, 1 << 20])
def test_cpu_out_of_range_is_refused(swap: Swap, cpu: int) -> None:
    for call in (lambda: swap.alloc(cpu=cpu), lambda: swap.alloc_batch(2, cpu=cpu)):
        with refused(swap, InvalidArgumentError):
            call()


@pytest.mark.parametrize("value", [-1, 1 << 63, (1 << 64) - 1, 1 << 64])
def test_word_that_is_no_entry_is_refused(swap: Swap, value: int) -> None:
    for call in (swap.free, swap.dup, swap.lookup):
        with refused(swap, InvalidArgumentError):
            call(value)


def test_failing_allocation_takes_no_slot(swap: Swap) -> None:
    swap.alloc_batch(10_000, 0, cpu=0)
    with refused(swap, SwapFullError):
        swap.alloc(cpu=0)
    assert len(swap.alloc_batch(5, 3, cpu=0)) == 0


def storage(pages: int, *bad_pages: int, is_block_device: bool = True) -> Null:
    """Returns the storage of a device with these properties."""
    return Null(pages=pages, bad_pages=bad_pages, is_block_device=is_block_device)


@pytest.mark.parametrize(
    ("null", "options"),
    [
        pytest.param(storage(100, 0), {}, id="header-as-bad-page"),
        pytest.param(storage(100, 100), {}, id="bad-page-beyond-the-end"),
        pytest.param(storage(100, 1 << 31), {}, id="bad-page-beyond-any-end"),
        pytest.param(storage(100, 7, 7), {}, id="bad-page-twice"),
        pytest.param(storage(4, 1, 2, 3), {}, id="nothing-usable"),
        pytest.param(storage(100, 7, is_block_device=False), {}, id="bad-page-in-a-file"),
        pytest.param(storage(100), {"priority": -1}, id="negative-priority"),
        pytest.param(storage(100), {"priority": 32768}, id="priority-too-high"),
        pytest.param(storage(100), {"discard": "sometimes"}, id="discard-word"),
    ],
)
def test_swapon_refuses_what_the_kernel_refuses(swap: Swap, null: Null, options: dict[str, Any]) -> None:
    with refused(swap, InvalidArgumentError):
        swap.swapon(null, **options)


def test_no_swap_type_beyond_the_last(swap: Swap) -> None:
    while len(swap.devices) < MAX_SWAPFILES:
        swap.swapon(Null(pages=10))
    assert sorted(device.type for device in swap.devices) == list(range(MAX_SWAPFILES))
    with refused(swap, TooManySwapfilesError):
        swap.swapon(Null(pages=10))


def device_of(swap: Swap, kind: int) -> SwapDevice:
    """Returns the device of a type."""
    return next(device for device in swap.devices if device.type == kind)


def test_device_that_is_off_cannot_be_turned_off(swap: Swap) -> None:
    device = device_of(swap, 1)
    swap.swapoff(device)
    assert not device.is_on
    with refused(swap, EntryGoneError):
        swap.swapoff(device)
    with pytest.raises(EntryGoneError):
        _ = device.inuse_pages


def test_swapoff_of_an_old_handle_leaves_the_types_new_device_alone(swap: Swap) -> None:
    old = device_of(swap, 1)
    swap.swapoff(old)
    assert swap.swapon(Null(pages=800)).type == 1
    with refused(swap, EntryGoneError):
        swap.swapoff(old)


def test_swapoff_whose_hook_gives_nothing_back_leaves_the_device_on(swap: Swap) -> None:
    device = device_of(swap, 0)
    with refused(swap, SwapBusyError):
        swap.swapoff(device, lambda _entry, _count: None)
    assert device.is_on
    assert swap.alloc(cpu=0).type == 0


def test_exception_of_the_hook_leaves_the_device_on(swap: Swap) -> None:
    device = device_of(swap, 0)
    before = state(swap)

    def unuse(_entry: SwpEntry, _count: int) -> None:
        raise KeyError("the owner is gone")

    with pytest.raises(KeyError, match="the owner is gone"):
        swap.swapoff(device, unuse)
    assert device.is_on
    assert state(swap) == before


def test_swapoff_inside_swapoffs_hook_is_refused(swap: Swap) -> None:
    device = device_of(swap, 0)
    refusals = []

    def unuse(entry: SwpEntry, count: int) -> None:
        with pytest.raises(SwapBusyError) as caught:
            swap.swapoff(device)
        refusals.append(caught.value.errno)
        assert swap.alloc(cpu=1).type != device.type, "a device that is being turned off serves no allocation"
        swap.check()
        for _ in range(count):
            swap.put(entry, 1)

    inuse = device.inuse_pages
    swap.swapoff(device, unuse)
    assert refusals == [errno.EBUSY] * inuse


@pytest.mark.parametrize("nr_slots", [0, 1])
def test_ordinary_slot_is_no_hibernation_slot(swap: Swap, nr_slots: int) -> None:
    for _ in range(nr_slots):
        swap.alloc_hibernation(device_of(swap, 0), cpu=0)
    for offset in (1, 1024):
        with refused(swap, EntryGoneError):
            swap.free_hibernation(at(offset))


def test_hibernation_slot_given_back_by_put_pins_no_more(swap: Swap) -> None:
    device = device_of(swap, 0)
    swap.put(swap.alloc_hibernation(device, cpu=0))
    swap.swapoff(device)
    assert not device.is_on


def test_hibernation_slot_is_given_back_only_once(swap: Swap) -> None:
    entry = swap.alloc_hibernation(device_of(swap, 0), cpu=0)
    swap.free_hibernation(entry)
    with refused(swap, EntryGoneError):
        swap.free_hibernation(entry)


def test_hibernation_slot_pins_its_device(swap: Swap) -> None:
    device = device_of(swap, 0)
    entry = swap.alloc_hibernation(device, cpu=0)
    with refused(swap, SwapBusyError):
        swap.swapoff(device)
    swap.free_hibernation(entry)
    swap.swapoff(device)


def test_folio_of_another_subsystem_is_refused(swap: Swap) -> None:
    other = Swap(nr_cpus=1)
    other.swapon(Null(pages=PAGES))
    folio = other.folio(data=b"x")
    other.folio_alloc_swap(folio, cpu=0)
    uncached = other.folio()
    calls: list[Callable[[Folio], object]] = [
        swap.folio_dup_swap,
        swap.folio_put_swap,
        swap.swap_cache_del_folio,
        swap.folio_free_swap,
        lambda _: swap.folio_alloc_swap(uncached),
        swap.folio_split,
        swap.folio_migrate,
        swap.swap_out,
    ]
    for call in calls:
        before = state(other)
        with refused(swap, InvalidArgumentError):
            call(folio)
        assert state(other) == before
    assert folio.read(0, 1) == b"x"
    other.check()


def test_device_of_another_subsystem_is_refused(swap: Swap) -> None:
    other = Swap(nr_cpus=1)
    foreign = other.swapon(Null(pages=PAGES))
    with refused(swap, EntryGoneError):
        swap.swapoff(foreign)
    with refused(swap, EntryGoneError):
        swap.alloc_hibernation(foreign, cpu=0)
    assert foreign.is_on


def test_cached_folio_takes_no_second_place(swap: Swap) -> None:
    folio = swap.folio()
    swap.swap_cache_add_folio(folio, at(5))
    with refused(swap, AlreadyCachedError):
        swap.folio_alloc_swap(folio, cpu=0)
    with refused(swap, InvalidArgumentError):
        swap.swap_cache_add_folio(folio, at(6))
    with refused(swap, AlreadyCachedError):
        swap.swap_cache_add_folio(swap.folio(), at(5))


def test_folio_needs_aligned_slots_that_are_all_swapped_out(swap: Swap) -> None:
    swap.swap_cache_add_folio(swap.folio(), at(34))
    with refused(swap, InvalidArgumentError):
        swap.swap_cache_add_folio(swap.folio(2), at(6))
    with refused(swap, EntryGoneError):
        swap.swap_cache_add_folio(swap.folio(), at(60))
    with refused(swap, SwapBusyError):
        swap.swap_cache_add_folio(swap.folio(2), at(32))
    with refused(swap, SwapBusyError):
        swap.swap_cache_add_folio(swap.folio(3), at(56))


def test_uncached_folio_has_no_slots_to_count(swap: Swap) -> None:
    folio = swap.folio(1)
    for call in (swap.folio_dup_swap, swap.folio_put_swap, swap.swap_cache_del_folio):
        with refused(swap, InvalidArgumentError):
            call(folio)


def test_folio_cannot_give_back_a_reference_it_has_not(swap: Swap) -> None:
    folio = swap.folio(2)
    entry = swap.folio_alloc_swap(folio, cpu=0)
    swap.folio_dup_swap(folio, 1)
    for page in (None, 0):
        with refused(swap, EntryGoneError):
            swap.folio_put_swap(folio, page)
    assert [swap.swap_count(int(entry) + page) for page in range(4)] == [0, 1, 0, 0]


def test_page_outside_the_folio_is_refused(swap: Swap) -> None:
    folio = swap.folio(2)
    swap.folio_alloc_swap(folio, cpu=0)
    for call in (swap.folio_dup_swap, swap.folio_put_swap):
        with refused(swap, InvalidArgumentError):
            call(folio, 4)


def test_idle_cached_slot_has_no_reference_to_add_or_take(swap: Swap) -> None:
    folio = swap.folio()
    entry = swap.folio_alloc_swap(folio, cpu=0)
    with refused(swap, EntryGoneError):
        swap.put(entry)


def test_folio_under_writeback_stays_cached(swap: Swap) -> None:
    folio = swap.folio()
    swap.folio_alloc_swap(folio, cpu=0)
    folio.is_writeback = True
    with refused(swap, SwapBusyError):
        swap.swap_cache_del_folio(folio)
    before = state(swap)
    assert swap.folio_free_swap(folio) is False
    assert state(swap) == before


@pytest.mark.parametrize(
    "options",
    [
        {"nr_cpus": 0},
        {"profile": "v6"},
        {"workers": "later"},
        {"switches": {"rule_u": "maybe"}},
        {"switches": {"rule": "x"}},
    ],
    ids=str,
)
def test_options_that_no_subsystem_has_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Swap(**options)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("value", [-1, -(2**70), 2**33, 2**64, 2**70])
def test_integers_out_of_range_are_einval_with_name_and_value(swap: Swap, value: int) -> None:
    calls: list[tuple[str, Callable[[], object]]] = [
        ("order", lambda: swap.alloc(value, cpu=0)),
        ("cpu", lambda: swap.alloc(cpu=value)),
        ("number of runs", lambda: swap.alloc_batch(-abs(value), cpu=0)),
        ("number of slots", lambda: swap.free(at(1), value)),
        ("size in pages", lambda: Strategy.create("p3", size_pages=value)),
        ("nr_cpus", lambda: Swap(nr_cpus=value)),
        ("priority", lambda: swap.swapon(Null(pages=512), priority=value)),
    ]
    for name, call in calls:
        shown = str(value) if abs(value) < 2**64 else ""
        with refused(swap, InvalidArgumentError, f"{name}.*{shown}"):
            call()


def test_what_is_no_integer_is_a_type_error_that_names_the_argument(swap: Swap) -> None:
    with pytest.raises(TypeError, match="order must be an int, not str"):
        swap.alloc("4")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"swapcore\.Null\('16G'\)"):
        swap.swapon("16G")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not as list"):
        swap.free_batch([at(1)])  # type: ignore[arg-type]


def test_buffer_of_the_other_byte_order_is_refused(swap: Swap) -> None:
    entries = np.array([int(at(1))], dtype=np.dtype(np.uint64).newbyteorder("S"))
    before = state(swap)
    with pytest.raises(BufferError, match="byte order"):
        swap.free_batch(entries.data)
    assert state(swap) == before


def test_entry_equals_entries_and_ints_of_its_value_and_nothing_else() -> None:
    entry = SwpEntry(5)
    assert entry == SwpEntry(5, 3)
    assert entry == 5
    for other in (6, -1, 2**64, 5.0, "5", None):
        assert entry != other
        assert not entry == other  # noqa: SIM201 - both operators are tested
    with pytest.raises(TypeError):
        entry < 6  # type: ignore[operator]  # noqa: B015
