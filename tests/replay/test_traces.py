"""Facts about workloads: the bundled workload, the generated workloads, and refused files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import swapcore as sc
from swapcore import trace

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MADE_UP = [name for name, workload in trace.WORKLOADS.items() if not workload.is_recorded]


def used_pages(columns: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Returns the number of pages in use after each operation."""
    nr = columns["nr"].astype(np.int64)
    return np.cumsum(np.where(columns["op"] == 0, nr, -nr))


def write(path: Path, **changes: object) -> Path:
    """Writes a trace of an allocation and its release with changed columns. None leaves a column out."""
    columns: dict[str, Any] = {
        "op": [0, 1],
        "cpu": [0, 0],
        "folio": [0, 0],
        "first": [0, 0],
        "nr": [4, 4],
        **changes,
    }
    arrays: dict[str, Any] = {k: np.asarray(values) for k, values in columns.items() if values is not None}
    np.savez(path, **arrays)
    return path


def test_bundled_kernel_build_is_the_recorded_one() -> None:
    loaded = trace.load("kernel-build")
    assert (loaded.nr_ops, loaded.nr_cpus, loaded.peak_pages) == (200_000, 2, 49_298)
    assert {order: count for order, count in loaded.allocations_by_order.items() if count} == {
        0: 100_504,
        4: 3_488,
        6: 143,
        9: 23,
    }
    assert loaded.nr_allocations == 104_158


@pytest.mark.parametrize("name", trace.WORKLOADS)
def test_columns_have_the_documented_types_and_one_length(name: str) -> None:
    columns = trace.columns(name)
    assert {key: values.dtype for key, values in columns.items()} == {
        key: np.dtype(kind) for key, kind in trace.COLUMNS.items()
    }
    assert {values.shape for values in columns.values()} == {(200_000,)}
    assert all(values.flags.c_contiguous for values in columns.values())


@pytest.mark.parametrize("name", MADE_UP)
def test_same_seed_makes_the_same_workload(name: str) -> None:
    first, again, other = (trace.columns(name, nr_ops=20_000, seed=seed) for seed in (7, 7, 8))
    assert all(np.array_equal(first[key], again[key]) for key in trace.COLUMNS)
    assert any(not np.array_equal(first[key], other[key]) for key in trace.COLUMNS)


@pytest.mark.parametrize("name", MADE_UP)
def test_made_up_workload_is_valid_and_takes_under_two_seconds(name: str) -> None:
    start = time.process_time()
    loaded = trace.load(name)
    assert time.process_time() - start < 2
    assert loaded.nr_ops == 200_000
    assert loaded.nr_cpus == 2


def test_mthp_mix_stays_between_80_and_95_percent_with_five_orders() -> None:
    columns = trace.mthp_mix(100_000, size_pages=16_384)
    used = used_pages(columns)
    start = int(np.argmax(used >= 16_384 * 80 // 100))
    # A free of a folio of order 9 may take the usage up to 512 pages below the low mark of 80 %.
    assert used[start:].min() > 16_384 * 80 // 100 - 512
    assert used.max() <= 16_384 * 95 // 100
    assert used.max() > 16_384 * 94 // 100
    assert set(columns["nr"][columns["op"] == 0].tolist()) == {1, 4, 16, 64, 512}
    assert (columns["first"][columns["op"] == 1] > 0).any(), "no folio is freed in parts"


def test_order0_churn_keeps_near_90_percent_with_single_pages() -> None:
    columns = trace.order0_churn(50_000, size_pages=8192)
    assert set(columns["nr"].tolist()) == {1}
    used = used_pages(columns)
    assert used.max() == 8192 * 90 // 100
    assert (columns["op"][8192:] == 1).mean() == pytest.approx(0.5, abs=0.02)


def test_fragment_asks_for_large_folios_among_holes() -> None:
    columns = trace.fragment(100_000, size_pages=16_384)
    used = used_pages(columns)
    assert used.max() <= 16_384 * 90 // 100
    assert set(columns["nr"][columns["op"] == 0].tolist()) == {1, 4, 16, 64}
    first_large = int(np.argmax(columns["nr"] > 1))
    assert used[first_large - 1] <= 16_384 * 50 // 100
    assert (columns["op"][:first_large] == 1).any(), "the holes come first"


@pytest.mark.parametrize("nr_ops", [1, 2, 777])
@pytest.mark.parametrize("name", MADE_UP)
def test_any_number_of_operations_is_exact(name: str, nr_ops: int) -> None:
    assert trace.load(name, nr_ops=nr_ops).nr_ops == nr_ops


def test_no_operations_are_refused() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="nr_ops 0"):
        trace.load("mthp-mix", nr_ops=0)


def test_path_of_a_trace_file_is_loaded_and_other_columns_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "own.npz", dt_us=[0, 5])
    assert trace.load(path).peak_pages == 4
    assert trace.load(str(path)).nr_allocations == 1


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"nope.*kernel-build.*mthp-mix"):
        trace.load("nope")


def test_parameters_of_a_recorded_workload_are_refused() -> None:
    with pytest.raises(sc.InvalidArgumentError, match=r"kernel-build.*recorded.*seed"):
        trace.load("kernel-build", seed=3)


@pytest.mark.parametrize("content", [b"", b"op,cpu\n0,1\n", b"PK\x03\x04 cut off"])
def test_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(sc.InvalidArgumentError, match=r"bad\.npz"):
        trace.load(tmp_path / "bad.npz")


def test_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(sc.InvalidArgumentError, match=r"one\.npy"):
        trace.load(tmp_path / "one.npy")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nr": None}, "no column nr"),
        ({"cpu": [0.0, 1.0]}, "cpu is float64"),
        ({"first": [0, 1 << 16]}, "first has values 0..65536"),
        ({"folio": [0, -1]}, "folio has values -1..0"),
    ],
)
def test_bad_column_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        trace.load(write(tmp_path / "bad.npz", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"nr": [3, 3]},
        {"folio": [5, 5]},
        {"op": [0, 0]},
        {"nr": [4, 0]},
        {"op": [0]},
    ],
    ids=str,
)
def test_trace_that_cannot_have_happened_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(sc.InvalidArgumentError):
        trace.load(write(tmp_path / "bad.npz", **changes))
