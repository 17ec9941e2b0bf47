"""Arrays in pages of an address space: every index means what it means to NumPy, wherever the pages are."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = sc.PAGE_SIZE


@pytest.fixture
def swap() -> Iterator[sc.Swap]:
    """Returns a subsystem with a zram device; `check` runs after the test."""
    swap = sc.Swap(nr_cpus=2)
    swap.swapon(sc.Zram("64M"))
    yield swap
    swap.check()


def filled(mm: sc.Mm, shape: tuple[int, ...], dtype: str = "u4") -> tuple[sc.MmArray, np.ndarray[Any, Any]]:
    """Returns an array that is swapped out, and an array of NumPy with the same elements."""
    array = mm.array(shape, dtype)
    expected = np.arange(1, array.size + 1).astype(dtype).reshape(shape)
    array[...] = expected
    mm.pageout(array.first_page, array.nr_pages)
    return array, expected


def test_an_array_starts_with_zeros_and_says_what_it_is(swap: sc.Swap) -> None:
    mm = swap.mm()
    array = mm.array((1000, 3))
    assert (array.shape, array.dtype, array.ndim, array.size) == ((1000, 3), np.float64, 2, 3000)
    assert (array.nbytes, array.nr_pages, len(array), array.mm) == (24_000, 6, 1000, mm)
    assert repr(array) == f"<MmArray: shape (1000, 3), float64, first page {array.first_page}>"
    assert mm.resident_pages == 0, "no element was touched"
    assert not np.asarray(array).any()
    assert mm.array(7, "u1").shape == (7,)
    assert mm.array(np.array([2, 3]), "u1").shape == (2, 3)


def test_slices_fault_pages_in_and_assignments_dirty_them(swap: sc.Swap) -> None:
    mm = swap.mm()
    array, expected = filled(mm, (16 * 1024,))
    assert (mm.resident_pages, mm.swapped_pages) == (0, 16)
    assert np.array_equal(array[1024:2048], expected[1024:2048])
    assert (mm.resident_pages, mm.swapped_pages) == (1, 15), "one page has these elements"
    array[2047:2049] += 5
    assert (mm.resident_pages, mm.swapped_pages) == (2, 14), "two pages have these elements"
    expected[2047:2049] += 5
    mm.pageout(array.first_page, array.nr_pages)
    assert np.array_equal(array[:], expected)


KEYS = [
    5, -1, np.int64(3), slice(None), slice(3, 9), slice(9, 3), slice(None, None, -1), slice(20, 1, -3), ...,
    None, (), (2, 3), (2, ...), (..., 3), (slice(None), 3), (slice(2, 20, 5), slice(None, None, -2)),
    (None, 4, None, slice(1, 5)), (slice(None), slice(0, 0)), (..., slice(5), None), (2, 3, ...),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_an_index_means_what_it_means_to_numpy(swap: sc.Swap, key: Any) -> None:  # noqa: ANN401
    array, expected = filled(swap.mm(), (24, 40))
    found = array[key]
    assert type(found) is type(expected[key])
    assert found.shape == expected[key].shape
    assert np.array_equal(found, expected[key])
    array[key] = expected[key] // 2 + 7
    expected[key] = expected[key] // 2 + 7
    assert np.array_equal(np.asarray(array), expected)
    array[key] = 9
    expected[key] = 9
    assert np.array_equal(np.asarray(array), expected)


def test_random_indexes_of_large_arrays_agree_with_numpy(swap: sc.Swap) -> None:
    rng = random.Random(7)
    array, expected = filled(swap.mm(), (3, 700, 500))
    for _ in range(60):
        key = tuple(
            rng.randrange(n)
            if rng.random() < 0.3
            else slice(*sorted(rng.sample(range(n + 1), 2)), rng.choice([1, 1, 2, 37]))
            for n in array.shape
        )
        assert np.array_equal(array[key], expected[key]), key
        values = np.asarray(expected[key]) ^ 0x55
        array[key] = expected[key] = values
    assert np.array_equal(array[...], expected)


def test_a_column_reads_only_the_pages_that_it_touches(swap: sc.Swap) -> None:
    mm = swap.mm()
    array, expected = filled(mm, (8, 4 * PAGE), "u1")
    assert np.array_equal(array[:, 5], expected[:, 5])
    assert mm.resident_pages == 8
    array[::2, 5] = 0
    expected[::2, 5] = 0
    assert mm.resident_pages == 8
    assert np.array_equal(array[...], expected)


def test_a_scalar_fills_the_whole_array(swap: sc.Swap) -> None:
    array = swap.mm().array((3, 1 << 17), "f8")
    array.fill(2.5)
    assert np.array_equal(array[...], np.full((3, 1 << 17), 2.5))


def test_rows_and_blocks_come_in_order_and_an_update_by_blocks_is_in_place(swap: sc.Swap) -> None:
    array, expected = filled(swap.mm(), (10, 6))
    assert [row.tolist() for row in array] == expected.tolist()
    assert [rows for rows, _ in array.blocks(4)] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert [rows for rows, _ in array.blocks()] == [slice(0, 10)]
    for rows, block in array.blocks(3):
        array[rows] = block * 2
    assert np.array_equal(array[...], expected * 2)
    large = swap.mm().array((5, 1 << 19), "u1")
    assert [rows.stop for rows, _ in large.blocks()] == [2, 4, 5], "a block has at most 1 MiB"
    with pytest.raises(sc.InvalidArgumentError, match="number of rows is 1 or more, not 0") as error:
        array.blocks(0)
    assert error.value.errno == errno.EINVAL


def test_numpy_copies_the_whole(swap: sc.Swap) -> None:
    array, expected = filled(swap.mm(), (5, 7))
    assert np.sum(array) == expected.sum()
    assert np.asarray(array, "f4").dtype == np.float32
    whole = np.array(array)
    whole[:] = 0
    assert np.array_equal(array[...], expected), "a copy, not a view"
    with pytest.raises(ValueError, match="can only be copied"):
        array.__array__(copy=False)


@pytest.mark.parametrize("dtype", ["?", "i1", ">u4", "c16", "M8[s]", "S5", "U3", [("a", "u1"), ("b", "f8")]])
def test_items_of_any_fixed_size_come_back(swap: sc.Swap, dtype: Any) -> None:  # noqa: ANN401
    mm = swap.mm()
    array = mm.array(2000, dtype)
    expected = np.frombuffer(bytes(n % 2 for n in range(array.nbytes)), array.dtype)
    if dtype == "U3":
        expected = np.array(["abc", "x"] * 1000, dtype)
    array[:] = expected
    mm.pageout(array.first_page, array.nr_pages)
    assert array[:].dtype == expected.dtype
    assert array[:].tobytes() == expected.tobytes()
    assert array[1::3].tobytes() == expected[1::3].tobytes()
    assert array[-1] == expected[-1]


def test_arrays_without_axes_or_elements(swap: sc.Swap) -> None:
    mm = swap.mm()
    one = mm.array((), "i8")
    one[()] = 7
    assert one[()] == 7
    assert np.asarray(one).shape == ()
    with pytest.raises(TypeError, match="no length"):
        len(one)
    none = mm.array((0, 4))
    none[:] = 1
    assert (len(none), none.nbytes, none[...].shape, list(none.blocks())) == (0, 0, (0, 4), [])


def test_a_wrong_index_is_an_index_error_and_changes_nothing(swap: sc.Swap) -> None:
    array, expected = filled(swap.mm(), (4, 5))
    wrong: dict[str, Any] = {
        "index 4 is out of bounds for axis 0 with size 4": 4,
        "index -6 is out of bounds for axis 1 with size 5": (0, -6),
        "the index has 3 axes, and the array has 2": (0, 0, 0),
        "at most 1 Ellipsis, not 2": (..., ...),
        "not ndarray": np.array([1, 2]),
        "not list": [0],
        "not bool": True,
        "not str": "a",
        "not float": 1.0,
    }
    for message, key in wrong.items():
        with pytest.raises(IndexError, match=message):
            array[key]
        with pytest.raises(IndexError, match=message):
            array[key] = 0
    with pytest.raises(ValueError, match="broadcast"):
        array[0] = [1, 2]
    assert np.array_equal(array[...], expected)


def test_a_wrong_shape_or_dtype_maps_no_pages(swap: sc.Swap) -> None:
    mm = swap.mm()
    before = mm.mmap(1)
    for shape, dtype, message in (
        (-1, "f8", "a length of a shape is 0 or more, not -1"),
        (3, object, "dtype object cannot be kept in pages"),
        (3, "V0", "cannot be kept in pages"),
        (3, "(2,)f8", "cannot be kept in pages"),
        (1 << 48, "u1", "number of pages|pages of a mapping"),
    ):
        with pytest.raises(sc.InvalidArgumentError, match=message) as error:
            mm.array(shape, dtype)
        assert error.value.errno == errno.EINVAL
    with pytest.raises(TypeError):
        mm.array(2.5)  # type: ignore[arg-type]
    assert mm.mmap(1) == before + 512, "no mapping lies between"


def test_a_fork_has_the_array_and_its_writes_stay_its_own(swap: sc.Swap) -> None:
    mm = swap.mm()
    array, expected = filled(mm, (8, PAGE), "u1")
    child = mm.fork()
    copy = child.array(array.shape, array.dtype, first_page=array.first_page)
    copy[3] = 0
    assert np.array_equal(array[...], expected)
    assert not copy[3].any()
    assert np.array_equal(copy[4:], expected[4:])
    with pytest.raises(sc.InvalidArgumentError, match="not mapped") as error:
        child.array((9, 512 * PAGE), "u1", first_page=array.first_page)
    assert error.value.errno == errno.EFAULT


def test_a_zap_makes_zeros_and_the_array_keeps_its_address_space(swap: sc.Swap) -> None:
    array, expected = filled(swap.mm(), (8, PAGE), "u1")
    array.mm.zap(array.first_page + 2, 3)
    expected[2:5] = 0
    assert np.array_equal(array[...], expected)
    array.mm.pageout(array.first_page, array.nr_pages)
    assert swap.stats()["nr_swap_pages"] < swap.total_swap_pages
    del array
    assert swap.stats()["nr_swap_pages"] == swap.total_swap_pages, (
        "the address space ended with its last user"
    )


def test_a_failed_fault_raises_its_errno_and_the_array_comes_back() -> None:
    swap = sc.Swap()
    faulty = sc.Faulty(sc.Ram("16M"))
    swap.swapon(faulty)
    mm = swap.mm()
    array, expected = filled(mm, (16, PAGE), "u1")
    faulty.storage.set_faults(read_error_probability=1.0, errno=errno.EREMOTEIO)
    for copy in (lambda: array[2], lambda: array[::5], lambda: np.asarray(array)):
        with pytest.raises(sc.SwapIOError) as error:
            copy()
        assert error.value.errno == errno.EREMOTEIO
    with pytest.raises(sc.SwapIOError):
        array[3, 1:4] = 0
    faulty.storage.set_faults()
    assert np.array_equal(array[...], expected)
    swap.check()


def test_a_limit_that_refuses_is_a_memory_error(swap: sc.Swap) -> None:
    group = swap.memcg.create("group", memory_max="1M", swap_max="1M")
    array = swap.mm(memcg=group).array((16, 1 << 18), "u1")
    with pytest.raises(MemoryError):
        array.fill(1)
    group.memory_swap_max = "max"
    assert array[0].all(), "the elements before the failing page are written"
    assert not array[-1].any()


def test_a_sum_and_an_update_under_a_limit_equal_those_of_a_memmap(swap: sc.Swap, tmp_path: Any) -> None:  # noqa: ANN401
    group = swap.memcg.create("group", memory_max="1M")
    array = swap.mm(memcg=group).array(1 << 19)  # 4 MiB
    mapped = np.memmap(tmp_path / "data", np.float64, "w+", shape=array.shape)
    for target in (array, mapped):
        target[:] = np.arange(1 << 19) % 1000
    for rows, block in array.blocks(1 << 14):
        array[rows] = block * 1.5 + 1
        mapped[rows] = mapped[rows] * 1.5 + 1
    sums = [sum(block.sum() for _, block in array.blocks(1 << 14)), 0.0]
    sums[1] = sum(mapped[at : at + (1 << 14)].sum() for at in range(0, 1 << 19, 1 << 14))
    assert sums[0] == sums[1]
    assert group.memory_current <= 1 << 20
    assert group.memory_swap_current >= 3 << 20


def test_threads_update_their_own_rows(swap: sc.Swap) -> None:
    group = swap.memcg.create("group", memory_max="1M")
    array = swap.mm(memcg=group).array((4, 100_000), "u4")

    def work(number: int) -> None:
        for _ in range(5):
            array[number] += number + 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert (array[number] == 5 * (number + 1)).all()


def test_read_into_fills_any_writable_buffer(swap: sc.Swap) -> None:
    mm = swap.mm()
    address = mm.mmap(600) * PAGE + 100
    data = np.random.default_rng(1).bytes(2 * (1 << 20) + 12_344)
    mm.write(address, data)
    mm.pageout(address // PAGE, 600)
    for buffer in (bytearray(len(data)), np.zeros(len(data) // 8, "f8"), np.zeros((2, len(data) // 4), "u2")):
        mm.read_into(address, buffer)
        assert bytes(memoryview(buffer).cast("B")) == data
    mm.read_into(address, bytearray())
    mm.read_into(address, np.empty((0, 3)))


def test_read_into_refuses_a_buffer_that_it_cannot_fill(swap: sc.Swap) -> None:
    mm = swap.mm()
    address = mm.mmap(1) * PAGE
    with pytest.raises(TypeError, match="the buffer must be writable, and bytes is read-only"):
        mm.read_into(address, bytes(4))
    with pytest.raises(TypeError, match="contiguous"):
        mm.read_into(address, np.zeros((4, 4))[:, 1])
    with pytest.raises(TypeError):
        mm.read_into(address, 5)  # type: ignore[arg-type]
    buffer = bytearray(b"x" * 4097)
    with pytest.raises(sc.InvalidArgumentError) as error:
        mm.read_into(address, buffer)
    assert error.value.errno == errno.EFAULT
    assert buffer == b"x" * 4097, "nothing was copied"


def test_the_first_array_imports_numpy_and_the_package_does_not() -> None:
    code = """
import sys, swapcore as sc
mm = sc.Swap().mm()
mm.mmap(1)
assert "numpy" not in sys.modules
sc.Swap().mm().array(3)
assert "numpy" in sys.modules and isinstance(mm.array(3), sc.MmArray)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
