"""Rules that the documentation states are checked: runs of strategies, names of hooks, paths of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import swapcore as sc
from swapcore import report
from swapcore.cli import main

if TYPE_CHECKING:
    from pathlib import Path


class Misaligned:
    """Hands out the slots from 1 on, whatever the order."""

    name = "misaligned"
    max_order = 9

    def __init__(self, *, size_pages: int, nr_cpus: int) -> None:
        del size_pages, nr_cpus
        self.next = 3

    def alloc(self, order: int, cpu: int) -> int:
        del cpu
        self.next += 1 << order
        return self.next - (1 << order)

    def free(self, slot: int, nr: int, cpu: int) -> None:
        """Takes nothing back."""


def test_compare_refuses_a_misaligned_run() -> None:
    with pytest.raises(
        sc.InvariantError, match=r"misaligned handed out slot \d+, but .* order 4 is a multiple of 16"
    ):
        sc.compare("kernel-build", ["swap_table", Misaligned], rounds=1)


@pytest.mark.parametrize("value", [-2, 1 << 32])
def test_a_number_that_is_no_slot_is_refused(value: int) -> None:
    class Wrong(Misaligned):
        def alloc(self, order: int, cpu: int) -> int:
            del order, cpu
            return value

    strategy = sc.Strategy.wrap(Wrong(size_pages=64, nr_cpus=1), size_pages=64)
    with pytest.raises(ValueError, match=f"alloc returned {value}, which is neither a slot number nor -1"):
        strategy.alloc()


def test_more_runs_than_asked_for_are_refused() -> None:
    class Generous(Misaligned):
        def alloc_batch(self, n: int, order: int, cpu: int) -> list[int]:
            del order, cpu
            return list(range(1, n + 2))

    strategy = sc.Strategy.wrap(Generous(size_pages=64, nr_cpus=1), size_pages=64)
    with pytest.raises(ValueError, match="alloc_batch returned 5 runs, more than the 4 asked for"):
        strategy.alloc_batch(4)


def policy_with(*names: str) -> Any:  # noqa: ANN401 - a policy with any methods
    return type("Policy", (), {name: lambda *_: None for name in names})()


@pytest.mark.parametrize(
    "name", ["on_swap_charged", "on_dead_ower", "On_limit", "on_limits", "choose_a_device"]
)
def test_a_misspelt_hook_beside_a_right_one_is_refused(name: str) -> None:
    swap = sc.Swap()
    with pytest.raises(
        TypeError, match=f"Policy.{name} is no hook: the hooks are on_swap_charge, on_dead_owner"
    ):
        swap.set_memcg_policy(policy_with("on_refault", name))
    swap.set_memcg_policy(policy_with("on_refault", "named", "limits", "choice"))
    swap.check()


OWNER_STORES = ["shadow", "array", "cluster_table", "trampoline"]


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
@pytest.mark.parametrize("owner_store", OWNER_STORES)
@pytest.mark.parametrize("payer", ["root", "third"])
def test_the_hook_names_the_group_that_pays_for_a_removed_one(
    hierarchy: str, owner_store: str, payer: str
) -> None:
    swap = sc.Swap(memcg=hierarchy, switches={"memcg_stock": "off", "owner_store": owner_store})
    swap.swapon(sc.Ram("16M"))
    above = swap.memcg.create("above")
    dead, faulting, third = above.create("dead"), swap.memcg.create("faulting"), swap.memcg.create("third")

    class Policy:
        def on_dead_owner(self, _owner: sc.MemCgroup, _faulting: sc.MemCgroup, _nr: int) -> Any:  # noqa: ANN401
            return "root" if payer == "root" else third

    swap.set_memcg_policy(Policy())
    entry = swap.swap_out(swap.folio(2, data=b"left", memcg=dead))
    dead.remove()
    folio = swap.swap_in(entry, memcg=faulting)
    assert folio.memcg is not None
    assert folio.memcg.path == ("/" if payer == "root" else "/third")
    pages = [group.counters()["memory_pages"] for group in (above, faulting, third)]
    assert pages == [0, 0, 0 if payer == "root" else 4]
    swap.check()
    again = swap.swap_out(folio)
    assert swap.swap_in(again).read(0, 4) == b"left"
    swap.check()


def test_a_hook_names_only_an_online_group_of_the_same_subsystem() -> None:
    swap = sc.Swap()
    swap.swapon(sc.Ram("16M"))
    dead, gone = swap.memcg.create("dead"), swap.memcg.create("gone")
    entries = [swap.swap_out(swap.folio(data=b"left", memcg=dead)) for _ in range(3)]
    dead.remove()
    gone.remove()

    class Policy:
        answer: Any = gone

        def on_dead_owner(self, *_: object) -> Any:  # noqa: ANN401 - the right and wrong answers
            return self.answer

    policy = Policy()
    swap.set_memcg_policy(policy)
    with pytest.raises(OSError, match='the group "gone" is removed'):
        swap.swap_in(entries[0])
    policy.answer = sc.Swap().memcg
    with pytest.raises(sc.InvalidArgumentError, match="another"):
        swap.swap_in(entries[1])
    policy.answer = "roots"
    with pytest.raises(sc.InvalidArgumentError, match=r'"roots" is not one of .*reparent_if_shared, root'):
        swap.swap_in(entries[2])
    swap.set_memcg_policy(None)
    swap.check()


def test_the_tree_of_the_older_hierarchy_shows_swap_and_memsw(capsys: pytest.CaptureFixture[str]) -> None:
    swap = sc.Swap(memcg="v1", switches={"memcg_stock": "off"})
    swap.swapon(sc.Ram("16M"))
    group = swap.memcg.create("group", memory_limit_in_bytes="8M", memory_memsw_limit_in_bytes="8M")
    entry = swap.swap_out(swap.folio(2, data=b"out", memcg=group))
    folio = swap.folio(1, data=b"in", memcg=group)
    swap.shrink_swap_cache(100)
    facts = report.memcg_dict(group)
    page = sc.PAGE_SIZE
    assert (facts["memory_bytes"], facts["swap_bytes"], facts["memsw_bytes"]) == (
        2 * page,
        4 * page,
        6 * page,
    )
    assert (facts["memory_max"], facts["swap_max"], facts["memsw_max"]) == (8 << 20, "max", 8 << 20)
    report.memcg_tree(swap.memcg)
    heading = capsys.readouterr().out.splitlines()[0]
    assert [name.strip() for name in heading.split("  ") if name.strip()][2:5] == [
        "MEMORY / MAX",
        "MEMSW / MAX",
        "SWAP / MAX",
    ]
    del folio
    assert swap.swap_in(entry).read(0, 3) == b"out"
    swap.check()


def test_the_tree_of_the_newer_hierarchy_has_no_memsw() -> None:
    facts = report.memcg_dict(sc.Swap().memcg.create("group"))
    assert facts["memsw_bytes"] is facts["memsw_max"] is None


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit) as caught:
        main(["compare", "--trace", "no such trace", "--plot", str(tmp_path / "folder.png")])
    assert caught.value.code == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_picture_that_fails_after_the_work_loses_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from swapcore import plot

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plot, "plot_device", fail)
    with pytest.raises((OSError, SystemExit)):
        raise SystemExit(main(["show", "--until", "100", "--plot", str(tmp_path / "picture.png")]))
    assert "NAME" in capsys.readouterr().out
