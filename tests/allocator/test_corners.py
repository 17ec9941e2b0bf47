"""Fixed programs on the allocator and the model for cases that random programs reach rarely.

`Lockstep` compares every answer, counter, list and hint after each operation. A test asserts only the fact
that its name states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers.lockstep import Disk, Lockstep
from swapcore import Swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    SideWith = Callable[..., Lockstep]

both_workers = pytest.mark.parametrize("workers", ["inline", "manual"])
newest_alone = pytest.mark.parametrize("profile", ["newest"])


@pytest.fixture(params=["v618", "p3", "series", "newest"])
def profile(request: pytest.FixtureRequest) -> str:
    """Returns each profile in turn."""
    name: str = request.param
    return name


@pytest.fixture
def side_with(profile: str) -> Iterator[SideWith]:
    """Returns a function that starts a `Lockstep` with devices; `Lockstep.drain` runs after the test."""
    sides = []

    def start(*disks: Disk, nr_cpus: int = 1, workers: str = "inline", **switches: str) -> Lockstep:
        side = Lockstep(nr_cpus=nr_cpus, profile=profile, workers=workers, switches=switches)
        for disk in disks:
            side.swapon(disk)
        sides.append(side)
        return side

    yield start
    for side in sides:
        side.drain()


def free_clusters(side: Lockstep, kind: int = 0) -> list[int]:
    """Returns the free list of a device."""
    return list(side.model.devices[kind].free)


NEW_KERNEL = {"default_priority": "minus_one", "sync_discard": "active", "hibernation": "hint"}
PROFILE_SWITCHES = {
    "v618": {
        "default_priority": "descending",
        "rule_u": "leave",
        "sync_discard": "avail",
        "hibernation": "search",
    },
    "p3": {"default_priority": "minus_one", "rule_u": "leave", "hibernation": "search"},
    "series": {**NEW_KERNEL, "rule_u": "relocate"},
    "newest": {**NEW_KERNEL, "rule_u": "leave"},
}
"""The switches that each profile sets. Profile `p3` does not set `sync_discard`."""


@pytest.mark.parametrize(("profile", "fixed"), PROFILE_SWITCHES.items())
def test_profile_sets_the_switches_of_its_kernel(profile: str, fixed: dict[str, str]) -> None:
    switches = Swap(profile=profile).switches
    assert {name: switches[name] for name in fixed} == fixed
    assert switches["free_order"] == "ascending"
    assert switches["first_search"] == "nonfull"


def test_switch_overrides_only_itself() -> None:
    swap = Swap(profile="series", switches={"free_order": "columns"})
    assert swap.switches == {**Swap(profile="series").switches, "free_order": "columns"}


@newest_alone
def test_columns_lay_the_free_list_out_as_old_kernels_did(side_with: SideWith) -> None:
    side = side_with(Disk(70 * 512), workers="manual", free_order="columns")
    assert free_clusters(side)[:9] == [32, 64, 1, 33, 65, 2, 34, 66, 3]


def test_failing_batch_turns_equal_devices_like_a_failing_allocation(side_with: SideWith) -> None:
    side = side_with(Disk(63, priority=5), Disk(40, priority=5))
    side.alloc_batch(1, 9, 0)
    assert side.swap.dump()["avail"] == [1, 0]
    side.alloc(0, 0)


def test_batch_that_takes_everything_still_fails_once(side_with: SideWith) -> None:
    side = side_with(Disk(40, priority=5), Disk(1024, priority=5, is_block_device=False))
    side.alloc_batch(39, 0, 0)
    side.alloc_batch(20_000, 0, 0)
    side.put(1, 1000, 1)
    side.alloc_batch(20_000, 0, 0)


def test_inline_discard_follows_a_folio_leaving_the_cache(side_with: SideWith) -> None:
    side = side_with(Disk(2048, is_discardable=True))
    side.folio_alloc_swap(0, 0)
    side.on_folio("folio_free_swap", 0)
    assert free_clusters(side) == [2, 3, 1]
    side.folio_alloc_swap(4, 0)
    side.on_folio("swap_cache_del_folio", 1)
    assert free_clusters(side) == [3, 1, 2]


def test_inline_discard_follows_a_failing_allocation(side_with: SideWith) -> None:
    side = side_with(Disk(1024, priority=5, is_discardable=True))
    side.folio_alloc_swap(9, 0)
    side.alloc_batch(500, 0, 0)
    assert side.swap.vm_swap_full
    side.alloc(4, 0)  # fails, but reclaims the cached folio without references and so frees its cluster
    assert free_clusters(side) == [1]
    side.alloc(4, 0)
    assert side.runs[-1] == (0, 512, 16)


@newest_alone
def test_pending_discards_run_in_the_order_of_swapon_among_equals(side_with: SideWith) -> None:
    disk = Disk(1024, priority=5, is_discardable=True)
    side = side_with(Disk(1024, priority=5), disk, workers="manual")
    side.swapoff(0)
    side.swapon(disk)  # the device gets swap type 0 again, but is behind type 1 in the list of devices
    side.alloc_batch(2046, 0, 0)
    side.put(0, 512, 512)
    side.put(1, 512, 512)
    side.alloc(0, 0)
    assert side.runs[-1] == (1, 512, 1)


@newest_alone
def test_failing_swapoff_frees_idle_cached_slots_after_the_others(side_with: SideWith) -> None:
    side = side_with(Disk(2048, priority=5), nr_cpus=3, workers="manual")
    for cpu in (0, 1, 2):
        side.folio_alloc_swap(0, cpu)
    side.on_folio("folio_dup_swap", 2)
    side.folio_alloc_swap(0, 2)
    side.on_folio("folio_dup_swap", 3)
    side.folio_alloc_swap(0, 0)
    side.set_traits(4, is_locked=True)  # the slots of a locked folio stay in use, so swapoff fails
    side.swapoff(0, hook=True)
    assert side.devices[0].is_on


@both_workers
def test_cluster_emptied_by_the_scan_itself_is_left_alone(side_with: SideWith, workers: str) -> None:
    side = side_with(Disk(1536, priority=5), workers=workers)
    side.folio_alloc_swap(4, 0)
    side.alloc_batch(1022, 0, 0)
    side.alloc(4, 0)
    side.alloc(4, 0)
    side.alloc(0, 0)


@both_workers
def test_hint_scan_takes_idle_folios_back(side_with: SideWith, workers: str) -> None:
    side = side_with(Disk(1024, priority=5), workers=workers)
    for _ in range(4):
        side.folio_alloc_swap(4, 0)
    side.alloc_batch(505, 0, 0)
    for order in (4, 4, 4, 0, 0, 4, 0):
        side.alloc(order, 0)


def test_cluster_of_bad_slots_only_is_never_handed_out(side_with: SideWith) -> None:
    side = side_with(Disk(2048, bad_pages=frozenset(range(512, 1024)), priority=5))
    assert side.model.devices[0].nonfull[0] == [0, 1]
    side.alloc(4, 0)
    side.alloc_batch(20_000, 0, 0)
    assert not any(512 <= first < 1024 for _, first, _ in side.runs)
    side.put(0, 1, 1)
    side.alloc(0, 0)


def test_device_of_one_slot_works(side_with: SideWith) -> None:
    side = side_with(Disk(2, priority=5))
    for _ in range(2):
        side.alloc(0, 0)
        side.alloc(0, 0)
        side.put(0, 1, 1)


def test_automatic_priorities_move_up_when_a_device_leaves(side_with: SideWith, profile: str) -> None:
    side = side_with(Disk(600), Disk(600), Disk(600))
    side.swapoff(1)
    side.swapon(Disk(700))
    side.swapoff(0)
    side.swapon(Disk(20))
    prios = {device.type: device.priority for device in side.swap.devices}
    assert prios == ({2: -2, 1: -3, 0: -4} if profile == "v618" else {2: -1, 1: -1, 0: -1})
    side.alloc_batch(5000, 0, 0)


def test_cpus_share_a_rotating_devices_position(side_with: SideWith) -> None:
    side = side_with(Disk(2048, is_rotational=True, priority=5), nr_cpus=2)
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


def test_large_order_tries_one_device_only(side_with: SideWith) -> None:
    side = side_with(Disk(1024, priority=9, is_block_device=False), Disk(4096, priority=1))
    side.alloc(4, 0)
    assert side.runs == []
    side.alloc(0, 0)
    assert side.runs == [(0, 1, 1)]


def test_extend_table_counts_far_beyond_an_entry(side_with: SideWith) -> None:
    side = side_with(Disk(1024))
    side.alloc(3, 0)
    _, first, _ = side.runs[0]
    for _ in range(40):
        side.dup(0, first + 2, 4)
    side.compare_slots()
    assert side.swap.swap_count(first + 3) == 41
    for _ in range(27):
        side.put(0, first + 2, 4)
    assert [side.swap.swap_count(first + page) for page in range(8)] == [1, 1, 14, 14, 14, 14, 1, 1]
