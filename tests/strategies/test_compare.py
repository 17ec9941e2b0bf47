"""Facts about comparisons: contents, repeatable placement, printing, plotting and refusals."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from swapcore import trace
from swapcore.plot import plot_comparison, plot_device
from swapcore.running.compare import DEFAULT_STRATEGIES, default_size_pages

if TYPE_CHECKING:
    from pathlib import Path

    from swapcore.results.comparison import Comparison

NR_OPS = 20_000
PLACEMENT = ("allocations", "failures", "fallback_percent", "fragmentation")


@pytest.fixture(scope="module")
def workload() -> sc.Trace:
    return trace.load("mthp-mix", nr_ops=NR_OPS, size_pages=8192)


@pytest.fixture(scope="module")
def comparison(workload: sc.Trace) -> Comparison:
    return sc.compare(workload, rounds=3, size_pages=8192, seed=5)


def test_default_strategies_exist_and_come_first_to_last(comparison: Comparison) -> None:
    assert set(DEFAULT_STRATEGIES) <= set(sc.Strategy.names)
    assert tuple(result.strategy for result in comparison.results) == DEFAULT_STRATEGIES


def test_every_strategy_did_the_whole_workload(comparison: Comparison, workload: sc.Trace) -> None:
    assert comparison.nr_ops == NR_OPS
    for result in comparison.results:
        assert result.allocations == workload.nr_allocations
        assert result.used_slots_peak <= workload.peak_pages
        assert result.used_slots_peak + result.dropped_pages >= workload.peak_pages
        assert len(result.rounds_ns_per_op) == 3
        assert 0 < min(result.rounds_ns_per_op) <= result.ns_per_op <= max(result.rounds_ns_per_op)
        assert result.ns_per_op_quartiles[0] <= result.ns_per_op <= result.ns_per_op_quartiles[1]
        assert result.ratio_quartiles[0] <= result.ratio <= result.ratio_quartiles[1]
        assert 0 <= result.fallback_percent <= 100
        assert 0 <= result.fragmentation <= 1
        assert result.bytes_per_used_slot == result.bytes_at_peak / result.used_slots_peak


def test_first_strategy_has_ratio_one(comparison: Comparison) -> None:
    assert comparison.results[0].ratio == 1
    assert comparison.results[0].ratio_quartiles == (1, 1)


def test_floor_is_under_every_strategy(comparison: Comparison) -> None:
    assert 0 < comparison.floor_ns_per_op < min(result.ns_per_op for result in comparison.results)


def test_p3_places_as_swap_table_and_holds_two_bytes_a_slot_more(comparison: Comparison) -> None:
    own, p3, _ = comparison.results
    for field in (*PLACEMENT, "dropped_pages", "used_slots_peak"):
        assert getattr(own, field) == getattr(p3, field), field
    # Beside its table entry, each slot of `p3` has 2 bytes for the owner and 1 bit for the zero mark.
    assert p3.static_bytes - own.static_bytes == pytest.approx(comparison.size_pages * (2 + 1 / 8), rel=0.01)


def test_placement_repeats_whatever_the_seed(comparison: Comparison, workload: sc.Trace) -> None:
    again = sc.compare(workload, rounds=1, size_pages=8192, seed=6)
    for before, after in zip(comparison.results, again.results, strict=True):
        for field in (*PLACEMENT, "static_bytes", "bytes_at_peak"):
            assert getattr(before, field) == getattr(after, field), field


def test_tight_device_shows_failures_by_order() -> None:
    tight = sc.compare(
        trace.load("fragment", nr_ops=20_000, size_pages=8192), ["swap_table"], rounds=1, size_pages=8192
    )
    failures = tight.results[0].failures
    assert failures, "random holes leave no room for large folios"
    assert set(failures) <= {0, 2, 4, 6}
    assert all(count > 0 for count in failures.values())
    assert tight.results[0].fallback_percent > 0


@pytest.mark.parametrize(("peak", "clusters"), [(49_298, 107), (4_608, 10), (1, 1)])
def test_default_size_is_filled_to_90_percent(peak: int, clusters: int) -> None:
    op, cpu = np.zeros(peak, "u1"), np.zeros(peak, "u1")
    folio, first, nr = np.arange(peak, dtype="u4"), np.zeros(peak, "u2"), np.ones(peak, "u2")
    loaded = trace.as_trace({"op": op, "cpu": cpu, "folio": folio, "first": first, "nr": nr})
    assert default_size_pages(loaded) == clusters * sc.SWAPFILE_CLUSTER


def test_json_holds_everything(comparison: Comparison) -> None:
    data = json.loads(comparison.to_json())
    assert data["seed"] == 5
    assert data["rounds"] == 3
    assert {"platform", "cpu_model", "python", "swapcore", "is_debug_build"} <= set(data["machine"])
    assert len(data["notes"]) >= 5
    assert [row["strategy"] for row in data["results"]] == list(DEFAULT_STRATEGIES)
    assert data["results"][1]["rounds_ns_per_op"] == list(comparison.results[1].rounds_ns_per_op)


def test_numpy_rows_agree_with_the_results(comparison: Comparison) -> None:
    rows = comparison.to_numpy()
    assert rows["strategy"].tolist() == list(DEFAULT_STRATEGIES)
    assert rows["ns_per_op"].tolist() == [result.ns_per_op for result in comparison.results]
    assert rows["static_bytes"].dtype == np.int64


def test_table_off_a_terminal_has_one_line_a_strategy_and_units(comparison: Comparison) -> None:
    out = io.StringIO()
    comparison.table(out)
    heading, *rows = out.getvalue().splitlines()
    for words in ("ns/op", "fallback %", "static bytes", "bytes/used slot", "failures by order"):
        assert words in heading
    assert [row.split()[0] for row in rows[: len(DEFAULT_STRATEGIES)]] == list(DEFAULT_STRATEGIES)
    assert "seed 5" in rows[-1] or "seed 5" in rows[-2]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_plot_writes_a_picture(comparison: Comparison, tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    swap = sc.Swap()
    device = swap.swapon(sc.Null(pages=1000, bad_pages=[5]))
    swap.alloc_batch(700)
    path = tmp_path / f"picture.{suffix}"
    for plot, result in ((plot_comparison, comparison), (plot_device, device)):
        plot(result, path)
        assert path.read_bytes().startswith(magic)


def test_plot_without_matplotlib_names_the_extra(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"extra \[plot\]"):
        plot_comparison(comparison, tmp_path / "x.png")


def test_unknown_picture_format_is_refused(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(sc.InvalidArgumentError, match="xyz"):
        plot_comparison(comparison, tmp_path / "x.xyz")


def test_progress_reaches_the_total(workload: sc.Trace) -> None:
    steps: list[tuple[int, int]] = []
    sc.compare(workload, ["swap_table", "bitmap_ff"], rounds=2, progress=lambda *step: steps.append(step))
    assert steps == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strategies": []}, "0 strategies"),
        ({"rounds": 0}, "rounds 0"),
        ({"strategies": ["first_fit"]}, r"first_fit.*swap_table"),
        ({"strategies": ["no_such_module:Class"]}, "no_such_module"),
        ({"strategies": ["json:NoSuchClass"]}, "NoSuchClass"),
        ({"trace": "no-such-trace"}, "no-such-trace"),
    ],
    ids=str,
)
def test_bad_argument_is_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        sc.compare(**arguments)  # type: ignore[arg-type]
