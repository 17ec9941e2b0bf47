"""Facts about `stress` from Python threads: it accounts for every slot and detects a faulty allocator."""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from helpers.load import SECONDS, new_seed
from swapcore import _core
from swapcore.running import stress as stress_module
from swapcore.running.stress import stress

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = {
    "ops",
    "allocated_runs",
    "freed_slots",
    "failures",
    "dups",
    "cached_folios",
    "seconds",
    "seed",
    "threads",
    "inuse_pages_end",
    "double_handouts",
}


def run(**changes: object) -> dict[str, Any]:
    seed = new_seed()
    print(f"seed {seed}")
    arguments: dict[str, Any] = {"threads": 4, "seconds": SECONDS, "seed": seed, "pages": 8192, **changes}
    return stress(**arguments)


@pytest.mark.parametrize("is_rotational", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "newest"},
        {"profile": "series"},
        {"profile": "v618"},
        {"nr_cpus": 1},
        {"nr_cpus": 3, "devices": 3, "threads": 8, "pages": 13_173},
        {"threads": 1, "devices": 1},
    ],
    ids=str,
)
def test_python_threads_lose_nothing(
    changes: dict[str, object], *, is_rotational: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stress_module, "Null", partial(sc.Null, is_rotational=is_rotational))
    result = run(**changes)
    assert set(result) == KEYS
    assert result["inuse_pages_end"] == result["double_handouts"] == 0
    assert min(result["ops"], result["allocated_runs"], result["dups"]) > 100
    assert result["cached_folios"] > 10
    assert result["failures"] > 0, "the device was never full"
    assert result["freed_slots"] >= result["allocated_runs"]


@pytest.mark.parametrize("profile", ["v618", "newest"])
def test_rust_threads_lose_nothing(profile: str) -> None:
    seed = new_seed()
    report = _core.stress(threads=8, seconds=SECONDS, seed=seed, pages=65_536, profile=profile)
    assert set(report) == KEYS
    assert (report["seed"], report["threads"]) == (seed, 8)
    assert report["seconds"] >= SECONDS
    assert report["double_handouts"] == report["inuse_pages_end"] == 0
    assert report["ops"] > 100_000
    assert min(report["allocated_runs"], report["dups"]) > 0


def test_switch_interval_is_put_back() -> None:
    before = sys.getswitchinterval()
    run(threads=1, seconds=0)
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"seconds": seconds}, f"seconds {seconds}") for seconds in (-1, float("nan"), float("inf"))),
        *((change, "under the least") for change in ({"threads": 0}, {"devices": 0}, {"pages": 3})),
    ],
    ids=str,
)
def test_bad_number_is_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        run(**changes)


def hand_out_twice(swap: sc.Swap, order: int, *, cpu: int) -> sc.SwpEntry:
    del order, cpu
    used = swap.devices[0].slots().index(1)
    return sc.SwpEntry(swap.devices[0].type << 58 | used)


def do_nothing(_swap: sc.Swap, _value: int, _nr: int, *, cpu: int) -> None:
    del cpu


@pytest.mark.parametrize(
    ("method", "spoil"),
    [("alloc", hand_out_twice), ("free", do_nothing), ("dup", do_nothing)],
    ids=["double hand-out", "lost slot", "lost reference"],
)
def test_faulty_allocator_is_noticed(
    method: str, spoil: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count(1)

    class Spoiled:
        """A `Swap` with one method whose 200th call returns or does something wrong."""

        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as `Swap`
            self.swap = sc.Swap(**options)

        def __getattr__(self, name: str) -> object:
            is_wrong = name == method and next(calls) == 200
            return partial(spoil, self.swap) if is_wrong else getattr(self.swap, name)

    monkeypatch.setattr(stress_module, "Swap", Spoiled)
    with pytest.raises((sc.InvariantError, sc.EntryGoneError)):
        run(threads=2, seconds=1)
