"""Facts about the stress from Python threads: every slot is accounted for, a faulty allocator noticed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
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


def run(**changes: object) -> dict[str, object]:
    arguments: dict[str, Any] = {"threads": 4, "seconds": 0.7, "seed": 11, "pages": 8192, **changes}
    return stress(**arguments)


@pytest.mark.parametrize("profile", ["newest", "series", "v618"])
def test_python_threads_lose_nothing(profile: str) -> None:
    result = stress(threads=4, seconds=0.7, seed=11, pages=8192, profile=profile)
    assert set(result) == KEYS
    assert result["inuse_pages_end"] == result["double_handouts"] == 0
    assert min(result["ops"], result["allocated_runs"], result["dups"]) > 100
    assert result["cached_folios"] > 10
    assert result["failures"] > 0, "the device was never full"
    assert result["freed_slots"] >= result["allocated_runs"]


def test_fewer_cpus_than_threads_lose_nothing() -> None:
    assert run(nr_cpus=1)["inuse_pages_end"] == 0


def test_one_device_and_one_thread_lose_nothing() -> None:
    assert run(threads=1, devices=1)["inuse_pages_end"] == 0


def test_result_has_the_shape_of_the_one_from_rust() -> None:
    assert set(_core.stress(threads=2, seconds=0.1, seed=1, pages=8192)) == KEYS


def test_switch_interval_is_put_back() -> None:
    before = sys.getswitchinterval()
    run(threads=1, seconds=0)
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=f"seconds {seconds}"):
        run(seconds=seconds)


@pytest.mark.parametrize("changes", [{"threads": 0}, {"devices": 0}, {"pages": 3}])
def test_number_that_is_too_small_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(sc.InvalidArgumentError, match="under the least"):
        run(**changes)


class _Spoiled:
    """A `Swap` with one method that now and then does something wrong."""

    def __init__(self, swap: sc.Swap, name: str, spoil: Callable[..., object]) -> None:
        self.swap = swap
        self.name = name
        self.spoil = spoil
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        method = getattr(self.swap, name)
        if name != self.name:
            return method

        def call(*args: object, **kwargs: object) -> object:
            self.calls += 1
            if self.calls == 200:
                return self.spoil(self.swap, *args, **kwargs)
            return method(*args, **kwargs)

        return call


def hand_out_twice(swap: sc.Swap, order: int, *, cpu: int) -> sc.SwpEntry:
    del order, cpu
    used = swap.devices[0].slots().index(1)
    return sc.SwpEntry(swap.devices[0].type << 58 | used)


def forget_to_free(_swap: sc.Swap, _value: int, _nr: int, *, cpu: int) -> None:
    del cpu


def forget_a_reference(_swap: sc.Swap, _value: int, _nr: int, *, cpu: int) -> None:
    del cpu


@pytest.mark.parametrize(
    ("method", "spoil"),
    [("alloc", hand_out_twice), ("free", forget_to_free), ("dup", forget_a_reference)],
    ids=["double hand-out", "lost slot", "lost reference"],
)
def test_faulty_allocator_is_noticed(
    method: str, spoil: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**kwargs: object) -> _Spoiled:
        return _Spoiled(sc.Swap(**kwargs), method, spoil)  # type: ignore[arg-type]

    monkeypatch.setattr(stress_module, "Swap", make)
    with pytest.raises((sc.InvariantError, sc.EntryGoneError)):
        run(threads=2, seconds=1)
