"""The worked examples E1 to E13 of docs/steps.md: every slot, list and hint that an example states.

A test has the number of its example in its name. Workers run only where an example says so, because a run of
reclaim_work that frees no slot still rotates the list of full clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from swapcore import Folio, Null, Swap, SwapFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Machine = Callable[..., Swap]

A, B = 0, 1  # swap types, in the order of swapon
IN_B = 1 << 58  # the entry of a slot of device B is the slot plus `IN_B`; on device A it is the slot


@pytest.fixture(params=["v618", "p3", "series", "newest"])
def profile(request: pytest.FixtureRequest) -> str:
    """Returns each profile in turn."""
    name: str = request.param
    return name


@pytest.fixture
def machine(profile: str) -> Iterator[Machine]:
    """Returns a function that makes subsystems with manual workers; `check` runs on each after the test."""
    made = []

    def make(
        *devices: Null, nr_cpus: int = 1, switches: dict[str, str] | None = None, **options: str
    ) -> Swap:
        swap = Swap(nr_cpus=nr_cpus, profile=profile, workers="manual", switches=switches)
        for device in devices:
            swap.swapon(device, priority=3, **options)
        made.append(swap)
        return swap

    yield make
    for swap in made:
        swap.check()


def take(swap: Swap, n: int, order: int = 0, cpu: int = 0) -> list[int]:
    """Allocates `n` runs and returns their first entries."""
    return [int(swap.alloc(order, cpu=cpu)) for _ in range(n)]


def fill(swap: Swap) -> list[int]:
    """Allocates single slots until the subsystem is full, and returns their entries."""
    slots: list[int] = []
    while True:
        try:
            slots += take(swap, 1)
        except SwapFullError:
            return slots


def assert_no_room(swap: Swap, order: int = 0, cpu: int = 0) -> None:
    """Asserts that an allocation fails."""
    with pytest.raises(SwapFullError):
        swap.alloc(order, cpu=cpu)


def free(swap: Swap, slots: Iterable[int]) -> None:
    """Frees single slots in the order given."""
    for slot in slots:
        swap.free(slot)


def slots_from(*ranges: tuple[int, int]) -> list[int]:
    """Returns the slots of ranges (first, last), both inclusive."""
    return [slot for first, last in ranges for slot in range(first, last + 1)]


def in_b(first: int, last: int) -> tuple[int, int]:
    """Returns a range of slots of device B, for `slots_from`."""
    return IN_B + first, IN_B + last


def lists(swap: Swap, kind: int = A) -> dict[str, Any]:
    """Returns the cluster lists of one device."""
    return next(row for row in swap.dump()["devices"] if row["type"] == kind)


def assert_lists(swap: Swap, **expected: list[int] | dict[int, list[int]]) -> None:
    """Compares named cluster lists of device A, for example ``free=[1, 2]``, ``nonfull={0: [0]}``."""
    row = lists(swap)
    assert {name: row[name] for name in expected} == expected


def hint(swap: Swap, order: int = 0, cpu: int = 0) -> tuple[int, int] | None:
    """Returns the hint of a CPU for an order: (type, slot) at which its next search starts, or None."""
    found: tuple[int, int] | None = swap.dump()["hints"][cpu].get(order)
    return found


def cache_idle(swap: Swap, slot: int, order: int = 0) -> Folio:
    """Caches a folio at swapped-out slots and drops their references. Only the swap cache holds the slots."""
    folio = swap.folio(order)
    swap.swap_cache_add_folio(folio, slot)
    swap.folio_put_swap(folio)
    return folio


def test_e1_fresh_device_hands_out_slots_in_ascending_order(machine: Machine) -> None:
    swap = machine(Null(pages=4096))
    assert swap.devices[0].pages == 4095
    assert_lists(swap, nonfull={0: [0]}, free=[1, 2, 3, 4, 5, 6, 7], frag={}, full=[])
    assert take(swap, 2048) == slots_from((1, 2048))
    assert_lists(swap, full=[0, 1, 2, 3], frag={0: [4]}, free=[5, 6, 7], nonfull={})
    assert hint(swap) == (A, 2049)


def test_e1b_masked_tail_puts_the_last_cluster_second(machine: Machine) -> None:
    swap = machine(Null(pages=4000))
    assert_lists(swap, nonfull={0: [0, 7]}, free=[1, 2, 3, 4, 5, 6])
    assert take(swap, 2048) == slots_from((1, 511), (3584, 3999), (512, 1632))
    assert_lists(swap, full=[0, 7, 1, 2], frag={0: [3]}, free=[4, 5, 6], nonfull={})
    assert hint(swap) == (A, 1633)


def test_e1c_bad_pages_are_skipped(machine: Machine) -> None:
    swap = machine(Null(pages=4096, bad_pages=[600, 1500]))
    assert swap.devices[0].pages == 4093
    assert_lists(swap, nonfull={0: [0, 1, 2]}, free=[3, 4, 5, 6, 7])
    assert take(swap, 2048) == slots_from((1, 599), (601, 1499), (1501, 2050))
    assert_lists(swap, full=[0, 1, 2, 3], frag={0: [4]})
    assert hint(swap) == (A, 2051)


def test_e2_each_order_fills_its_own_cluster(machine: Machine) -> None:
    swap = machine(Null(pages=4096))
    pairs = [(take(swap, 1)[0], take(swap, 1, 4)[0]) for _ in range(32)]
    assert pairs == [(1 + i, 512 + 16 * i) for i in range(32)]
    assert pairs[-1][1] == 1008
    assert_lists(swap, full=[1])
    pairs = [(take(swap, 1)[0], take(swap, 1, 4)[0]) for _ in range(8)]
    assert pairs == [(33 + i, 1024 + 16 * i) for i in range(8)]
    assert (hint(swap), hint(swap, 4)) == ((A, 41), (A, 1152))
    assert_lists(swap, full=[1], frag={0: [0], 4: [2]}, free=[3, 4, 5, 6, 7])


def test_e2b_one_run_of_every_order_twice(machine: Machine) -> None:
    swap = machine(Null(pages=8192))
    first = [take(swap, 1, order)[0] for order in range(10)]
    assert first == [1, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 4608]
    assert hint(swap, 9) is None
    second = [take(swap, 1, order)[0] for order in range(10)]
    assert second == [2, 514, 1028, 1544, 2064, 2592, 3136, 3712, 4352, 5120]


def every_other_slot_free(machine: Machine, *, descending: bool = False) -> Swap:
    """Fills a device of four clusters and frees its even slots."""
    swap = machine(Null(pages=2048))
    assert fill(swap) == slots_from((1, 2047))
    assert swap.dump()["avail"] == []
    assert hint(swap) is None
    even = range(2, 2047, 2)
    free(swap, reversed(even) if descending else even)
    return swap


def test_e3_freed_slots_come_back_cluster_by_cluster(machine: Machine) -> None:
    swap = every_other_slot_free(machine)
    assert_lists(swap, full=[], nonfull={0: [0, 1, 2, 3]})
    want = [*range(2, 511, 2), *range(512, 1023, 2), *range(1024, 1201, 2)]
    assert take(swap, 600) == want
    assert_lists(swap, full=[0, 1], frag={0: [2]}, nonfull={0: [3]})
    assert hint(swap) == (A, 1201)


def test_e3_nonfull_order_is_the_order_of_first_frees(machine: Machine) -> None:
    swap = every_other_slot_free(machine, descending=True)
    assert_lists(swap, full=[], nonfull={0: [3, 2, 1, 0]})
    want = [*range(1536, 2047, 2), *range(1024, 1535, 2), *range(512, 687, 2)]
    assert take(swap, 600) == want


def test_e3_large_order_never_uses_order_0_clusters(machine: Machine) -> None:
    swap = every_other_slot_free(machine)
    before = swap.dump()["devices"]
    assert_no_room(swap, 4)
    assert swap.dump()["devices"] == before


def test_e4_full_device_leaves_and_rejoins_the_avail_list(machine: Machine) -> None:
    swap = machine(Null(pages=2048))
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


def test_e4b_emptied_cluster_is_reused_last(machine: Machine) -> None:
    swap = machine(Null(pages=4096))
    take(swap, 2048)
    free(swap, range(512, 1024))
    assert_lists(swap, free=[5, 6, 7, 1])
    assert take(swap, 600) == slots_from((2049, 2648))
    assert take(swap, 1500) == slots_from((2649, 4095), (512, 564))


def test_e4c_freed_slot_waits_for_the_next_slow_visit(machine: Machine) -> None:
    swap = machine(Null(pages=4096))
    take(swap, 600)
    assert hint(swap) == (A, 601)
    free(swap, [5])
    assert_lists(swap, nonfull={0: [0]})
    assert take(swap, 425) == [*slots_from((601, 1023)), 5, 1024]


def test_e5_equal_devices_alternate_cluster_by_cluster(machine: Machine) -> None:
    swap = machine(Null(pages=2048), Null(pages=2048))
    want = slots_from((1, 511), in_b(1, 511), (512, 1023), in_b(512, 577))
    assert take(swap, 1600) == want


def test_e5_each_order_meets_its_own_device(machine: Machine) -> None:
    swap = machine(Null(pages=2048), Null(pages=2048))
    got = [take(swap, 1, order)[0] for order in (0, 4, 2) * 3]
    assert got == [1, IN_B + 512, 512, 2, IN_B + 528, 516, 3, IN_B + 544, 520]


def test_e5_rotating_devices_alternate_slot_by_slot(machine: Machine) -> None:
    swap = machine(*[Null(pages=2048, is_rotational=True)] * 2)
    assert take(swap, 6) == [1, IN_B + 1, 2, IN_B + 2, 3, IN_B + 3]
    assert swap.dump()["hints"] == [{}]
    assert [lists(swap, kind)["next"][0] for kind in (A, B)] == [4, 4]


def test_e5b_hint_outlives_a_better_device_coming_back(machine: Machine) -> None:
    swap = machine()
    swap.swapon(Null(pages=1024), priority=5)
    swap.swapon(Null(pages=2048), priority=1)
    assert take(swap, 1100) == slots_from((1, 1023), in_b(1, 77))
    free(swap, [700])
    assert swap.dump()["avail"] == [A, B]
    assert take(swap, 436) == slots_from(in_b(78, 511), (700, 700), in_b(512, 512))


def test_e6_each_cpu_fills_its_own_cluster(machine: Machine) -> None:
    swap = machine(Null(pages=2048), nr_cpus=2)
    got = [take(swap, 1, cpu=cpu)[0] for cpu in (0, 1) * 3]
    assert got == [1, 512, 2, 513, 3, 514]
    assert_lists(swap, frag={0: [0, 1]})


def test_e6_cpus_share_a_cluster_when_none_is_left(machine: Machine) -> None:
    swap = machine(Null(pages=1024), nr_cpus=2)
    assert take(swap, 1, cpu=0) == [1]
    assert take(swap, 512, cpu=1) == slots_from((512, 1023))
    assert_lists(swap, free=[], frag={0: [0]})
    assert hint(swap, cpu=0) == (A, 2)
    got = [take(swap, 1, cpu=cpu)[0] for cpu in (1, 0, 1, 0)]
    assert got == [2, 3, 4, 5]


def test_e6_free_in_a_cluster_leaves_its_cpus_hint_alone(machine: Machine) -> None:
    swap = machine(Null(pages=2048), nr_cpus=2)
    for cpu in (0, 1) * 10:
        take(swap, 1, cpu=cpu)
    free(swap, [3])
    assert_lists(swap, nonfull={0: [0]}, frag={0: [1]})
    assert hint(swap, cpu=0) == (A, 11)
    assert take(swap, 1, cpu=0) == [11]
    assert_lists(swap, nonfull={}, frag={0: [1, 0]})


def test_e7_order_0_steals_from_a_larger_orders_cluster(machine: Machine) -> None:
    swap = machine(Null(pages=1536))
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


def test_e8_order_9_needs_a_wholly_free_cluster(machine: Machine) -> None:
    swap = machine(Null(pages=2048))
    assert take(swap, 3, 9) == [512, 1024, 1536]
    assert_no_room(swap, 9)
    free(swap, range(1024, 1536))
    assert_lists(swap, free=[2])
    assert take(swap, 1, 9) == [1024]
    free(swap, [1024])
    assert_lists(swap, nonfull={0: [0], 9: [2]})
    assert_no_room(swap, 9)
    assert fill(swap) == [*slots_from((1, 511)), 1024]


def idle_slots_cached(swap: Swap) -> list[Folio]:
    """Fills device A and frees slot 100. Only the swap cache holds slots 50, 51 and 56..59."""
    assert take(swap, 2047) == slots_from((1, 2047))
    free(swap, [100])
    return [cache_idle(swap, 50), cache_idle(swap, 51), cache_idle(swap, 56, order=2)]


def test_e9_scan_takes_idle_cached_slots_when_swap_is_half_full(machine: Machine) -> None:
    swap = machine(Null(pages=2048))
    folios = idle_slots_cached(swap)
    assert swap.vm_swap_full
    assert swap.devices[0].inuse_pages == 2046
    assert take(swap, 3) == [50, 51, 56]
    assert swap.devices[0].inuse_pages == 2047 - 4, "slot 56 drops its order-2 folio; slot 100 is free"
    assert [folio.entry for folio in folios] == [None, None, None]
    assert all(folio.is_dirty for folio in folios)
    assert fill(swap) == [57, 58, 59, 100]


def test_e9_idle_cached_slots_stay_while_swap_is_mostly_free(machine: Machine) -> None:
    swap = machine(Null(pages=2048))
    swap.swapon(Null(pages=1 << 20))
    folios = idle_slots_cached(swap)
    assert not swap.vm_swap_full
    assert take(swap, 3) == [100, IN_B + 1, IN_B + 2]
    held = [folio.entry.offset for folio in folios if folio.entry is not None]
    assert held == [50, 51, 56]


def test_e10_reclaim_work_empties_full_clusters_of_cached_slots(machine: Machine) -> None:
    swap = machine(Null(pages=2048))
    folios = [swap.folio() for _ in range(2047)]
    assert [swap.folio_alloc_swap(folio, cpu=0).offset for folio in folios] == slots_from((1, 2047))
    assert swap.dump()["avail"] == []
    assert swap.nr_swapcache_pages == 2047
    swap.run_workers()
    assert_lists(swap, nonfull={0: [0]}, free=[1, 2], full=[3])
    assert swap.devices[0].inuse_pages == 512
    assert swap.dump()["avail"] == [A]
    assert [folio.entry is None for folio in folios] == [True] * 1535 + [False] * 512
    assert take(swap, 3) == [1, 2, 3]


def discarding(machine: Machine) -> Swap:
    """Makes a subsystem with one device of five clusters, which discards each cluster that becomes empty."""
    return machine(Null(pages=2560, is_discardable=True), discard="pages")


def test_e11_emptied_cluster_waits_for_its_discard(machine: Machine) -> None:
    swap = discarding(machine)
    assert take(swap, 600) == slots_from((512, 1111))
    free(swap, range(512, 1024))
    assert_lists(swap, discard=[1])
    assert take(swap, 1000) == slots_from((1112, 2111))
    assert_lists(swap, nonfull={0: [0]}, free=[], discard=[1])
    assert take(swap, 449) == [*slots_from((2112, 2559)), 1]


def test_e11_discarded_cluster_returns_to_the_tail_of_free(machine: Machine) -> None:
    swap = discarding(machine)
    take(swap, 600)
    free(swap, range(512, 1024))
    assert_lists(swap, free=[3, 4], discard=[1])
    swap.run_workers()
    assert_lists(swap, free=[3, 4, 1], discard=[])
    assert take(swap, 424 + 1024 + 513) == slots_from((1112, 2559), (512, 1023), (1, 1))


def stale_order_4_hint(machine: Machine, switches: dict[str, str] | None, pages: int = 2048) -> Swap:
    """Makes an order-4 hint of CPU 0 into cluster 1, which CPU 1 fills with single slots up to 611."""
    swap = machine(Null(pages=pages), nr_cpus=3, switches=switches)
    assert take(swap, 1, 4, cpu=0) == [512]
    assert hint(swap, 4) == (A, 528)
    free(swap, range(512, 528))
    assert_lists(swap, free=[*range(2, pages // 512), 1])
    want = slots_from((1, 511), (1024, pages - 1), (512, 611))
    assert take(swap, len(want), cpu=1) == want
    free(swap, [520])
    assert_lists(swap, nonfull={0: [1]})
    return swap


with_rule_u = pytest.mark.parametrize(
    ("profile", "switches", "rule_u"),
    [
        ("v618", None, "leave"),
        ("p3", None, "leave"),
        ("series", None, "relocate"),
        ("newest", None, "leave"),
        ("series", {"rule_u": "leave"}, "leave"),
        ("newest", {"rule_u": "relocate"}, "relocate"),
    ],
    ids=str,
)


@with_rule_u
def test_e13_unusable_hint_cluster(machine: Machine, switches: dict[str, str] | None, rule_u: str) -> None:
    swap = stale_order_4_hint(machine, switches)
    assert swap.switches["rule_u"] == rule_u
    assert_no_room(swap, 4, cpu=0)
    if rule_u == "leave":
        assert_lists(swap, nonfull={0: [1]}, frag={})
        assert hint(swap, 4) == (A, 528)
    else:
        assert_lists(swap, nonfull={}, frag={0: [1]})
        assert hint(swap, 4) is None
    assert take(swap, 413, cpu=1) == [*slots_from((612, 1023)), 520]


@with_rule_u
def test_e13_relocated_cluster_comes_after_free_ones(
    machine: Machine, switches: dict[str, str] | None, rule_u: str
) -> None:
    swap = stale_order_4_hint(machine, switches, pages=3072)
    free(swap, range(1024, 2048))
    assert_lists(swap, free=[2, 3])
    assert take(swap, 1, 4, cpu=0) == [1024]
    assert take(swap, 1, cpu=2) == [520 if rule_u == "leave" else 1536]
