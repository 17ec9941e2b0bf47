"""Scripted programs on allocator and model for corners that random programs reach seldom.

`Lockstep` compares every answer, counter, list and hint after each operation; what a test asserts besides is
the fact that it is about.
"""

from __future__ import annotations

import pytest
from lockstep import Disk, Lockstep
from swapcore import Swap

every_profile = pytest.mark.parametrize("profile", ["v618", "p3", "series", "newest"])
both_workers = pytest.mark.parametrize("workers", ["inline", "manual"])


def side_with(*disks: Disk, nr_cpus: int = 1, profile: str = "newest", workers: str = "inline") -> Lockstep:
    """Starts both sides with devices."""
    side = Lockstep(nr_cpus=nr_cpus, profile=profile, workers=workers)
    for disk in disks:
        side.swapon(disk)
    return side


def free_clusters(side: Lockstep, kind: int = 0) -> list[int]:
    """Returns the free list of a device."""
    return list(side.model.devices[kind].free)


PROFILE_SWITCHES = {
    "v618": {
        "default_priority": "descending",
        "rule_u": "leave",
        "sync_discard": "avail",
        "hibernation": "search",
    },
    "p3": {"default_priority": "minus_one", "rule_u": "leave", "hibernation": "search"},
    "series": {
        "default_priority": "minus_one",
        "rule_u": "relocate",
        "sync_discard": "active",
        "hibernation": "hint",
    },
    "newest": {
        "default_priority": "minus_one",
        "rule_u": "leave",
        "sync_discard": "active",
        "hibernation": "hint",
    },
}
"""What docs/kernel-map.md fixes. Nothing known says whose discards `p3` runs synchronously."""


@pytest.mark.parametrize(("profile", "fixed"), PROFILE_SWITCHES.items())
def test_profile_sets_the_switches_of_its_kernel(profile: str, fixed: dict[str, str]) -> None:
    switches = Swap(profile=profile).switches
    assert {name: switches[name] for name in fixed} == fixed
    assert switches["free_order"] == "ascending"
    assert switches["first_search"] == "nonfull"


def test_switch_overrides_only_itself() -> None:
    swap = Swap(profile="series", switches={"free_order": "columns"})
    assert swap.switches == {**Swap(profile="series").switches, "free_order": "columns"}


def test_columns_lay_the_free_list_out_as_old_kernels_did() -> None:
    side = Lockstep(nr_cpus=1, profile="newest", workers="manual", switches={"free_order": "columns"})
    side.swapon(Disk(70 * 512))
    assert free_clusters(side)[:9] == [32, 64, 1, 33, 65, 2, 34, 66, 3]
    side.drain()


@every_profile
def test_failing_batch_turns_equal_devices_like_a_failing_allocation(profile: str) -> None:
    side = side_with(Disk(63, priority=5), Disk(40, priority=5), profile=profile)
    side.alloc_batch(1, 9, 0)
    assert side.swap.dump()["avail"] == [1, 0]
    side.alloc(0, 0)
    side.drain()


@every_profile
def test_batch_that_takes_everything_still_fails_once(profile: str) -> None:
    side = side_with(Disk(40, priority=5), Disk(1024, priority=5, blkdev=False), profile=profile)
    side.alloc_batch(39, 0, 0)
    side.alloc_batch(20_000, 0, 0)
    side.put(1, 1000, 1)
    side.alloc_batch(20_000, 0, 0)
    side.drain()


@every_profile
def test_inline_discard_follows_a_folio_leaving_the_cache(profile: str) -> None:
    side = side_with(Disk(2048, page_discard=True), profile=profile)
    side.folio_alloc_swap(0, 0)
    side.folio_free_swap(0)
    assert free_clusters(side) == [2, 3, 1]
    side.folio_alloc_swap(4, 0)
    side.swap_cache_del_folio(1)
    assert free_clusters(side) == [3, 1, 2]
    side.drain()


@every_profile
def test_inline_discard_follows_a_failing_allocation(profile: str) -> None:
    side = side_with(Disk(1024, priority=5, page_discard=True), profile=profile)
    side.folio_alloc_swap(9, 0)
    side.alloc_batch(500, 0, 0)
    assert side.swap.vm_swap_full
    side.alloc(4, 0)  # fails, but takes the idle folio's cluster back
    assert free_clusters(side) == [1]
    side.alloc(4, 0)
    assert side.runs[-1] == (0, 512, 16)
    side.drain()


def test_pending_discards_run_in_the_order_of_swapon_among_equals() -> None:
    disk = Disk(1024, priority=5, page_discard=True)
    side = side_with(Disk(1024, priority=5), disk, workers="manual")
    side.swapoff(0)
    side.swapon(disk)  # type 0 again, but behind type 1
    side.alloc_batch(2046, 0, 0)
    side.put(0, 512, 512)
    side.put(1, 512, 512)
    side.alloc(0, 0)
    assert side.runs[-1] == (1, 512, 1)
    side.drain()


def test_failing_swapoff_frees_idle_cached_slots_after_the_others() -> None:
    side = side_with(Disk(2048, priority=5), nr_cpus=3, workers="manual")
    for cpu in (0, 1, 2):
        side.folio_alloc_swap(0, cpu)
    side.folio_dup_swap(2, None)
    side.folio_alloc_swap(0, 2)
    side.folio_dup_swap(3, None)
    side.folio_alloc_swap(0, 0)
    side.set_traits(4, locked=True)  # slot 2 stays: swapoff fails
    side.swapoff(0, hook=True)
    assert side.devices[0].is_on
    side.drain()


@every_profile
@both_workers
def test_cluster_emptied_by_the_scan_itself_is_left_alone(profile: str, workers: str) -> None:
    side = side_with(Disk(1536, priority=5), profile=profile, workers=workers)
    side.folio_alloc_swap(4, 0)
    side.alloc_batch(1022, 0, 0)
    side.alloc(4, 0)
    side.alloc(4, 0)
    side.alloc(0, 0)
    side.drain()


@every_profile
@both_workers
def test_hint_scan_takes_idle_folios_back(profile: str, workers: str) -> None:
    side = side_with(Disk(1024, priority=5), profile=profile, workers=workers)
    for _ in range(4):
        side.folio_alloc_swap(4, 0)
    side.alloc_batch(505, 0, 0)
    for order in (4, 4, 4, 0, 0, 4, 0):
        side.alloc(order, 0)
    side.drain()


@every_profile
def test_cluster_of_bad_slots_only_is_never_handed_out(profile: str) -> None:
    side = side_with(Disk(2048, bad=frozenset(range(512, 1024)), priority=5), profile=profile)
    assert side.model.devices[0].nonfull[0] == [0, 1]
    side.alloc(4, 0)
    side.alloc_batch(20_000, 0, 0)
    assert not any(512 <= first < 1024 for _, first, _ in side.runs)
    side.put(0, 1, 1)
    side.alloc(0, 0)
    side.drain()


@every_profile
def test_device_of_one_slot_works(profile: str) -> None:
    side = side_with(Disk(2, priority=5), profile=profile)
    for _ in range(2):
        side.alloc(0, 0)
        side.alloc(0, 0)
        side.put(0, 1, 1)
    side.drain()


@every_profile
def test_automatic_priorities_move_up_when_a_device_leaves(profile: str) -> None:
    side = side_with(Disk(600), Disk(600), Disk(600), profile=profile)
    side.swapoff(1)
    side.swapon(Disk(700))
    side.swapoff(0)
    side.swapon(Disk(20))
    prios = {device.type: device.prio for device in side.swap.devices}
    assert prios == ({2: -2, 1: -3, 0: -4} if profile == "v618" else {2: -1, 1: -1, 0: -1})
    side.alloc_batch(5000, 0, 0)
    side.drain()


@every_profile
def test_cpus_share_a_rotating_devices_position(profile: str) -> None:
    side = side_with(Disk(2048, rotational=True, priority=5), nr_cpus=2, profile=profile)
    for cpu in (0, 1, 0):
        side.alloc(0, cpu)
        side.alloc(4, cpu)
    assert [first for _, first, nr in side.runs if nr == 1] == [1, 2, 3]
    side.put(0, 512, 16)
    side.alloc(4, 1)
    side.alloc_batch(20_000, 0, 1)
    side.put(0, 600, 3)
    side.alloc(0, 0)
    side.alloc(1, 0)
    side.drain()


@every_profile
def test_large_order_tries_one_device_only(profile: str) -> None:
    side = side_with(Disk(1024, priority=9, blkdev=False), Disk(4096, priority=1), profile=profile)
    side.alloc(4, 0)
    assert side.runs == []
    side.alloc(0, 0)
    assert side.runs == [(0, 1, 1)]
    side.drain()


@every_profile
def test_extend_table_counts_far_beyond_an_entry(profile: str) -> None:
    side = side_with(Disk(1024), profile=profile)
    side.alloc(3, 0)
    _, first, _ = side.runs[0]
    for _ in range(40):
        side.dup(0, first + 2, 4)
    side.compare_slots()
    assert side.swap.swap_count(first + 3) == 41
    for _ in range(27):
        side.put(0, first + 2, 4)
    assert [side.swap.swap_count(first + page) for page in range(8)] == [1, 1, 14, 14, 14, 14, 1, 1]
    side.drain()
