"""A call that leads to a hook raises the hook's error, and its finished work is not lost."""

from __future__ import annotations

import time
from typing import Any

import pytest
import swapcore as sc
from swapcore.cli import main
from swapcore.cli.options import Status

PAGE = sc.PAGE_SIZE


class Raises:
    """A policy whose hooks all raise an error."""

    nr_calls = 0

    def on_swap_charge(self, _group: sc.MemCgroup, _nr_pages: int) -> bool:
        self.nr_calls += 1
        raise RuntimeError("charge")

    def on_dead_owner(self, _owner: sc.MemCgroup, _faulting: sc.MemCgroup, _nr_pages: int) -> str:
        raise RuntimeError("dead owner")


@pytest.fixture
def swap(swap: sc.Swap) -> sc.Swap:
    swap.swapon(sc.Ram("16M"))
    return swap


def test_swap_out_says_where_the_folio_went(swap: sc.Swap) -> None:
    swap.set_memcg_policy(Raises())
    with pytest.raises(RuntimeError, match="charge") as caught:
        swap.swap_out(swap.folio(data=b"precious"))
    swap.set_memcg_policy(None)
    entry: Any = caught.value.entry  # type: ignore[attr-defined]
    assert bytes(swap.swap_in(entry))[:8] == b"precious"


def test_swap_in_hands_the_folio_over(swap: sc.Swap) -> None:
    dead = swap.memcg.create("dead")
    entry = swap.swap_out(swap.folio(data=b"precious", memcg=dead))
    dead.remove()
    swap.set_memcg_policy(Raises())
    with pytest.raises(RuntimeError, match="dead owner") as caught:
        swap.swap_in(entry)
    [folio] = caught.value.folios  # type: ignore[attr-defined]
    assert bytes(folio)[:8] == b"precious"


def test_a_long_write_stops_when_a_hook_raised(swap: sc.Swap) -> None:
    group = swap.memcg.create("group", memory_max="1M")
    mm = swap.mm(memcg=group)
    first = mm.mmap(2048)
    policy = Raises()
    swap.set_memcg_policy(policy)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="charge"):
        mm.write(first * PAGE, b"x" * (2048 * PAGE))
    assert time.monotonic() - start < 60
    # The write has 2,048 pages, of which 256 fit into the limit. `Mm.write` does 64 pages at a time.
    assert 0 < policy.nr_calls < 512
    swap.set_memcg_policy(None)


def test_show_refuses_what_is_for_devices(capsys: pytest.CaptureFixture[str]) -> None:
    mixed = (["--memcg", "--raw"], ["--owner-stores", "--until", "5"], ["--memcg", "--owner-stores"])
    for arguments in mixed:
        assert main(["show", *arguments]) == Status.USAGE
        assert arguments[0] in capsys.readouterr().err


def test_a_limit_is_no_truth_value(swap: sc.Swap) -> None:
    group = swap.memcg.create("group")
    with pytest.raises(TypeError):
        group.memory_max = True
    assert group.memory_max == "max"


def test_the_literal_text_is_replayed_and_what_it_breaks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "scan", "--memory-max", "8M", "--switch", "rfc_literal=on"]) == 0
    assert "I20 is broken" in capsys.readouterr().out
