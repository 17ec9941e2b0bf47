"""The worked examples E1 to E13 of docs/steps.md: every slot, list and hint that they state.

The test names carry the example's number. Workers run only where an example says so, because a run of
reclaim_work that frees nothing still rotates the list of full clusters.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest
from swapcore import Folio, Null, Swap, SwapDevice, SwapFullError, SwpEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

A, B = 0, 1  # swap types, in the order of swapon

every_profile = pytest.mark.parametrize("profile", ["v618", "p3", "series", "newest"])


def machine(profile: str = "newest", nr_cpus: int = 1) -> Swap:
    """Makes a subsystem whose workers wait for `run_workers`."""
    return Swap(nr_cpus=nr_cpus, profile=profile, workers="manual")


def single(
    profile: str, pages: int, *, bad_pages: Iterable[int] = (), nr_cpus: int = 1
) -> tuple[Swap, SwapDevice]:
    """Makes a subsystem with one solid-state device of `pages` slots, header included."""
    swap = machine(profile, nr_cpus)
    return swap, swap.swapon(Null(pages=pages, bad_pages=list(bad_pages)), priority=0)


def pair(profile: str, pages: int, *, is_rotational: bool = False) -> Swap:
    """Makes a subsystem with two devices A and B of one priority."""
    swap = machine(profile)
    for _ in range(2):
        swap.swapon(Null(pages=pages, is_rotational=is_rotational), priority=3)
    return swap


def take(swap: Swap, n: int, order: int = 0, cpu: int = 0) -> list[int]:
    """Allocates `n` runs and returns their first slots."""
    return [swap.alloc(order, cpu=cpu).offset for _ in range(n)]


def take_places(swap: Swap, n: int, order: int = 0) -> list[tuple[int, int]]:
    """Allocates `n` runs and returns (type, first slot) of each."""
    entries = [swap.alloc(order, cpu=0) for _ in range(n)]
    return [(entry.type, entry.offset) for entry in entries]


def fill(swap: Swap, cpu: int = 0) -> list[int]:
    """Allocates single slots until there is none."""
    slots = []
    while True:
        try:
            slots.append(swap.alloc(cpu=cpu).offset)
        except SwapFullError:
            return slots


def assert_no_room(swap: Swap, order: int = 0, cpu: int = 0) -> None:
    """Asserts that an allocation fails."""
    with pytest.raises(SwapFullError):
        swap.alloc(order, cpu=cpu)


def entry_at(offset: int, kind: int = A) -> SwpEntry:
    """Names a slot."""
    return SwpEntry(kind << 58 | offset)


def free(swap: Swap, slots: Iterable[int], kind: int = A) -> None:
    """Frees single slots in the order given."""
    for slot in slots:
        swap.free(entry_at(slot, kind))


def slots_from(*ranges: tuple[int, int]) -> list[int]:
    """Lists the slots of inclusive ranges."""
    return [slot for first, last in ranges for slot in range(first, last + 1)]


def places(kind: int, first: int, last: int) -> list[tuple[int, int]]:
    """Lists the slots of an inclusive range of one device."""
    return [(kind, slot) for slot in range(first, last + 1)]


def lists(swap: Swap, kind: int = A) -> dict[str, Any]:
    """Returns the lists of one device."""
    return next(row for row in swap.dump()["devices"] if row["type"] == kind)


def assert_lists(swap: Swap, kind: int = A, **expected: list[int] | dict[int, list[int]]) -> None:
    """Asserts named lists of one device, e.g. ``free=[1, 2]``, ``nonfull={0: [0]}``."""
    row = lists(swap, kind)
    assert {name: row[name] for name in expected} == expected


def hint(swap: Swap, order: int = 0, cpu: int = 0) -> tuple[int, int] | None:
    """Returns (type, slot) of a CPU's hint, None without one."""
    found: tuple[int, int] | None = swap.dump()["hints"][cpu].get(order)
    return found


def cache_idle(swap: Swap, slot: int, order: int = 0) -> Folio:
    """Reads swapped-out slots back and drops their references, so that only the swap cache holds them."""
    folio = swap.folio(order)
    swap.swap_cache_add_folio(folio, entry_at(slot))
    swap.folio_put_swap(folio)
    return folio


@every_profile
def test_e1_fresh_device_hands_out_slots_in_ascending_order(profile: str) -> None:
    swap, device = single(profile, 4096)
    assert device.pages == 4095
    assert_lists(swap, nonfull={0: [0]}, free=[1, 2, 3, 4, 5, 6, 7], frag={}, full=[])
    assert take(swap, 2048) == slots_from((1, 2048))
    assert_lists(swap, full=[0, 1, 2, 3], frag={0: [4]}, free=[5, 6, 7], nonfull={})
    assert hint(swap) == (A, 2049)
    swap.check()


@every_profile
def test_e1b_masked_tail_puts_the_last_cluster_second(profile: str) -> None:
    swap, _ = single(profile, 4000)
    assert_lists(swap, nonfull={0: [0, 7]}, free=[1, 2, 3, 4, 5, 6])
    assert take(swap, 2048) == slots_from((1, 511), (3584, 3999), (512, 1632))
    assert_lists(swap, full=[0, 7, 1, 2], frag={0: [3]}, free=[4, 5, 6], nonfull={})
    assert hint(swap) == (A, 1633)
    swap.check()


@every_profile
def test_e1c_bad_pages_are_skipped(profile: str) -> None:
    swap, device = single(profile, 4096, bad_pages=[600, 1500])
    assert device.pages == 4093
    assert_lists(swap, nonfull={0: [0, 1, 2]}, free=[3, 4, 5, 6, 7])
    assert take(swap, 2048) == slots_from((1, 599), (601, 1499), (1501, 2050))
    assert_lists(swap, full=[0, 1, 2, 3], frag={0: [4]})
    assert hint(swap) == (A, 2051)
    swap.check()


@every_profile
def test_e2_each_order_fills_its_own_cluster(profile: str) -> None:
    swap, _ = single(profile, 4096)
    pairs = [(take(swap, 1)[0], take(swap, 1, 4)[0]) for _ in range(32)]
    assert pairs == [(1 + i, 512 + 16 * i) for i in range(32)]
    assert pairs[-1][1] == 1008
    assert_lists(swap, full=[1])
    pairs = [(take(swap, 1)[0], take(swap, 1, 4)[0]) for _ in range(8)]
    assert pairs == [(33 + i, 1024 + 16 * i) for i in range(8)]
    assert (hint(swap), hint(swap, 4)) == ((A, 41), (A, 1152))
    assert_lists(swap, full=[1], frag={0: [0], 4: [2]}, free=[3, 4, 5, 6, 7])
    swap.check()


@every_profile
def test_e2b_one_run_of_every_order_twice(profile: str) -> None:
    swap, _ = single(profile, 8192)
    first = [take(swap, 1, order)[0] for order in range(10)]
    assert first == [1, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 4608]
    assert hint(swap, 9) is None
    second = [take(swap, 1, order)[0] for order in range(10)]
    assert second == [2, 514, 1028, 1544, 2064, 2592, 3136, 3712, 4352, 5120]
    swap.check()


def every_other_slot_free(profile: str, *, descending: bool = False) -> Swap:
    """Fills a device of four clusters and frees its even slots."""
    swap, _ = single(profile, 2048)
    assert fill(swap) == slots_from((1, 2047))
    assert swap.dump()["avail"] == []
    assert hint(swap) is None
    even = range(2, 2047, 2)
    free(swap, reversed(even) if descending else even)
    return swap


@every_profile
def test_e3_freed_slots_come_back_cluster_by_cluster(profile: str) -> None:
    swap = every_other_slot_free(profile)
    assert_lists(swap, full=[], nonfull={0: [0, 1, 2, 3]})
    want = [*range(2, 511, 2), *range(512, 1023, 2), *range(1024, 1201, 2)]
    assert take(swap, 600) == want
    assert_lists(swap, full=[0, 1], frag={0: [2]}, nonfull={0: [3]})
    assert hint(swap) == (A, 1201)
    swap.check()


@every_profile
def test_e3_nonfull_order_is_the_order_of_first_frees(profile: str) -> None:
    swap = every_other_slot_free(profile, descending=True)
    assert_lists(swap, full=[], nonfull={0: [3, 2, 1, 0]})
    want = [*range(1536, 2047, 2), *range(1024, 1535, 2), *range(512, 687, 2)]
    assert take(swap, 600) == want
    swap.check()


@every_profile
def test_e3_large_order_never_uses_order_0_clusters(profile: str) -> None:
    swap = every_other_slot_free(profile)
    before = swap.dump()["devices"]
    assert_no_room(swap, 4)
    assert swap.dump()["devices"] == before
    swap.check()


@every_profile
def test_e4_full_device_leaves_and_rejoins_the_avail_list(profile: str) -> None:
    swap, _ = single(profile, 2048)
    fill(swap)
    assert_lists(swap, full=[0, 1, 2, 3])
    free(swap, [1234])
    assert_lists(swap, full=[0, 1, 3], nonfull={0: [2]})
    assert swap.dump()["avail"] == [A]
    assert take(swap, 1) == [1234]
    assert_lists(swap, full=[0, 1, 3, 2], nonfull={})
    assert swap.dump()["avail"] == []
    free(swap, [700, 100, 701])
    assert_lists(swap, nonfull={0: [1, 0]})
    assert take(swap, 3) == [700, 701, 100]
    assert_no_room(swap)
    swap.check()


@every_profile
def test_e4b_emptied_cluster_is_reused_last(profile: str) -> None:
    swap, _ = single(profile, 4096)
    take(swap, 2048)
    free(swap, range(512, 1024))
    assert_lists(swap, free=[5, 6, 7, 1])
    assert take(swap, 600) == slots_from((2049, 2648))
    assert take(swap, 1500) == slots_from((2649, 4095), (512, 564))
    swap.check()


@every_profile
def test_e4c_freed_slot_waits_for_the_next_slow_visit(profile: str) -> None:
    swap, _ = single(profile, 4096)
    take(swap, 600)
    assert hint(swap) == (A, 601)
    free(swap, [5])
    assert_lists(swap, nonfull={0: [0]})
    assert take(swap, 425) == [*slots_from((601, 1023)), 5, 1024]
    swap.check()


@every_profile
def test_e5_equal_devices_alternate_cluster_by_cluster(profile: str) -> None:
    swap = pair(profile, 2048)
    want = [*places(A, 1, 511), *places(B, 1, 511), *places(A, 512, 1023), *places(B, 512, 577)]
    assert take_places(swap, 1600) == want
    swap.check()


@every_profile
def test_e5_each_order_meets_its_own_device(profile: str) -> None:
    swap = pair(profile, 2048)
    got = [take_places(swap, 1, order)[0] for order in (0, 4, 2) * 3]
    assert got == [(A, 1), (B, 512), (A, 512), (A, 2), (B, 528), (A, 516), (A, 3), (B, 544), (A, 520)]
    swap.check()


@every_profile
def test_e5_rotating_devices_alternate_slot_by_slot(profile: str) -> None:
    swap = pair(profile, 2048, is_rotational=True)
    assert take_places(swap, 6) == [(A, 1), (B, 1), (A, 2), (B, 2), (A, 3), (B, 3)]
    assert swap.dump()["hints"] == [{}]
    assert [lists(swap, kind)["next"][0] for kind in (A, B)] == [4, 4]
    swap.check()


@every_profile
def test_e5b_hint_outlives_a_better_device_coming_back(profile: str) -> None:
    swap = machine(profile)
    swap.swapon(Null(pages=1024), priority=5)
    swap.swapon(Null(pages=2048), priority=1)
    assert take_places(swap, 1100) == [*places(A, 1, 1023), *places(B, 1, 77)]
    free(swap, [700])
    assert swap.dump()["avail"] == [A, B]
    want = [*places(B, 78, 511), (A, 700), (B, 512)]
    assert take_places(swap, 436) == want
    swap.check()


@every_profile
def test_e6_each_cpu_fills_its_own_cluster(profile: str) -> None:
    swap, _ = single(profile, 2048, nr_cpus=2)
    got = [take(swap, 1, cpu=cpu)[0] for cpu in (0, 1) * 3]
    assert got == [1, 512, 2, 513, 3, 514]
    assert_lists(swap, frag={0: [0, 1]})
    swap.check()


@every_profile
def test_e6_cpus_share_a_cluster_when_none_is_left(profile: str) -> None:
    swap, _ = single(profile, 1024, nr_cpus=2)
    assert take(swap, 1, cpu=0) == [1]
    assert take(swap, 512, cpu=1) == slots_from((512, 1023))
    assert_lists(swap, free=[], frag={0: [0]})
    assert hint(swap, cpu=0) == (A, 2)
    got = [take(swap, 1, cpu=cpu)[0] for cpu in (1, 0, 1, 0)]
    assert got == [2, 3, 4, 5]
    swap.check()


@every_profile
def test_e6_free_in_a_cluster_leaves_its_cpus_hint_alone(profile: str) -> None:
    swap, _ = single(profile, 2048, nr_cpus=2)
    for cpu in chain.from_iterable(repeat((0, 1), 10)):
        take(swap, 1, cpu=cpu)
    free(swap, [3])
    assert_lists(swap, nonfull={0: [0]}, frag={0: [1]})
    assert hint(swap, cpu=0) == (A, 11)
    assert take(swap, 1, cpu=0) == [11]
    assert_lists(swap, nonfull={}, frag={0: [1, 0]})
    swap.check()


@every_profile
def test_e7_order_0_steals_from_a_larger_orders_cluster(profile: str) -> None:
    swap, _ = single(profile, 1536)
    assert take(swap, 40, 4) == [*range(512, 1009, 16), *range(1024, 1137, 16)]
    assert take(swap, 511) == slots_from((1, 511))
    assert swap.vm_swap_full
    assert_lists(swap, free=[], nonfull={}, frag={4: [2]}, full=[1, 0])
    assert take(swap, 1) == [1152]
    assert_lists(swap, full=[0, 1])
    assert take(swap, 2) == [1153, 1154]
    assert hint(swap, 4) == (A, 1152)
    assert take(swap, 1, 4) == [1168]
    assert hint(swap, 4) == (A, 1184)
    assert fill(swap) == slots_from((1155, 1167), (1184, 1535))
    swap.check()


@every_profile
def test_e8_order_9_needs_a_wholly_free_cluster(profile: str) -> None:
    swap, _ = single(profile, 2048)
    assert take(swap, 3, 9) == [512, 1024, 1536]
    assert_no_room(swap, 9)
    free(swap, range(1024, 1536))
    assert_lists(swap, free=[2])
    assert take(swap, 1, 9) == [1024]
    free(swap, [1024])
    assert_lists(swap, nonfull={0: [0], 9: [2]})
    assert_no_room(swap, 9)
    assert fill(swap) == [*slots_from((1, 511)), 1024]
    swap.check()


def idle_slots_cached(swap: Swap) -> list[Folio]:
    """Fills device A, frees slot 100 and leaves slots 50, 51 and 56..59 to the swap cache alone."""
    assert take_places(swap, 2047) == places(A, 1, 2047)
    free(swap, [100])
    return [cache_idle(swap, 50), cache_idle(swap, 51), cache_idle(swap, 56, order=2)]


@every_profile
def test_e9_scan_takes_idle_cached_slots_when_swap_is_half_full(profile: str) -> None:
    swap, device = single(profile, 2048)
    folios = idle_slots_cached(swap)
    assert swap.vm_swap_full
    assert device.inuse_pages == 2046
    assert take(swap, 3) == [50, 51, 56]
    assert device.inuse_pages == 2047 - 4, "slot 56 drops the whole order-2 folio, slot 100 is still free"
    assert [folio.entry for folio in folios] == [None, None, None]
    assert all(folio.dirty for folio in folios)
    assert fill(swap) == [57, 58, 59, 100]
    swap.check()


@every_profile
def test_e9_idle_cached_slots_stay_while_swap_is_mostly_free(profile: str) -> None:
    swap, _ = single(profile, 2048)
    swap.swapon(Null(pages=1 << 20))
    folios = idle_slots_cached(swap)
    assert not swap.vm_swap_full
    assert take_places(swap, 3) == [(A, 100), (B, 1), (B, 2)]
    held = [folio.entry.offset for folio in folios if folio.entry is not None]
    assert held == [50, 51, 56]
    swap.check()


@every_profile
def test_e10_reclaim_work_empties_full_clusters_of_cached_slots(profile: str) -> None:
    swap, device = single(profile, 2048)
    folios = [swap.folio() for _ in range(2047)]
    assert [swap.folio_alloc_swap(folio, cpu=0).offset for folio in folios] == slots_from((1, 2047))
    assert swap.dump()["avail"] == []
    assert swap.nr_swapcache_pages == 2047
    swap.run_workers()
    assert_lists(swap, nonfull={0: [0]}, free=[1, 2], full=[3])
    assert device.inuse_pages == 512
    assert swap.dump()["avail"] == [A]
    assert [folio.entry is None for folio in folios] == [True] * 1535 + [False] * 512
    assert take(swap, 3) == [1, 2, 3]
    swap.check()


def discarding(profile: str) -> Swap:
    """Makes a subsystem with one device of five clusters that discards emptied clusters."""
    swap = machine(profile)
    swap.swapon(Null(pages=2560, can_discard=True), priority=0, discard="pages")
    return swap


@every_profile
def test_e11_emptied_cluster_waits_for_its_discard(profile: str) -> None:
    swap = discarding(profile)
    assert take(swap, 600) == slots_from((512, 1111))
    free(swap, range(512, 1024))
    assert_lists(swap, discard=[1])
    assert take(swap, 1000) == slots_from((1112, 2111))
    assert_lists(swap, nonfull={0: [0]}, free=[], discard=[1])
    assert take(swap, 449) == [*slots_from((2112, 2559)), 1]
    swap.check()


@every_profile
def test_e11_discarded_cluster_returns_to_the_tail_of_free(profile: str) -> None:
    swap = discarding(profile)
    take(swap, 600)
    free(swap, range(512, 1024))
    assert_lists(swap, free=[3, 4], discard=[1])
    swap.run_workers()
    assert_lists(swap, free=[3, 4, 1], discard=[])
    assert take(swap, 424 + 1024 + 513) == slots_from((1112, 2559), (512, 1023), (1, 1))
    swap.check()


def stale_order_4_hint(profile: str, switches: dict[str, str] | None, pages: int = 2048) -> Swap:
    """Leaves CPU 0 an order-4 hint into cluster 1, which CPU 1 then fills with single slots up to 611."""
    swap = Swap(nr_cpus=3, profile=profile, workers="manual", switches=switches)
    swap.swapon(Null(pages=pages), priority=0)
    assert take(swap, 1, 4, cpu=0) == [512]
    assert hint(swap, 4) == (A, 528)
    free(swap, range(512, 528))
    assert_lists(swap, free=[*range(2, pages // 512), 1])
    want = slots_from((1, 511), (1024, pages - 1), (512, 611))
    assert take(swap, len(want), cpu=1) == want
    free(swap, [520])
    assert_lists(swap, nonfull={0: [1]})
    return swap


RULE_U = [
    pytest.param("v618", None, "leave", id="v618"),
    pytest.param("p3", None, "leave", id="p3"),
    pytest.param("series", None, "relocate", id="series"),
    pytest.param("newest", None, "leave", id="newest"),
    pytest.param("series", {"rule_u": "leave"}, "leave", id="series-leave"),
    pytest.param("newest", {"rule_u": "relocate"}, "relocate", id="newest-relocate"),
]


@pytest.mark.parametrize(("profile", "switches", "rule_u"), RULE_U)
def test_e13_unusable_hint_cluster(profile: str, switches: dict[str, str] | None, rule_u: str) -> None:
    swap = stale_order_4_hint(profile, switches)
    assert swap.switches["rule_u"] == rule_u
    assert_no_room(swap, 4, cpu=0)
    if rule_u == "leave":
        assert_lists(swap, nonfull={0: [1]}, frag={})
        assert hint(swap, 4) == (A, 528)
    else:
        assert_lists(swap, nonfull={}, frag={0: [1]})
        assert hint(swap, 4) is None
    assert take(swap, 413, cpu=1) == [*slots_from((612, 1023)), 520]
    swap.check()


@pytest.mark.parametrize(("profile", "switches", "rule_u"), RULE_U)
def test_e13_relocated_cluster_comes_after_free_ones(
    profile: str, switches: dict[str, str] | None, rule_u: str
) -> None:
    swap = stale_order_4_hint(profile, switches, pages=3072)
    free(swap, range(1024, 2048))
    assert_lists(swap, free=[2, 3])
    assert take(swap, 1, 4, cpu=0) == [1024]
    assert take(swap, 1, cpu=2) == [520 if rule_u == "leave" else 1536]
    swap.check()
