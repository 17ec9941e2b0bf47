"""Random programs on the real allocator and on a naive model: every slot, counter, list and hint must agree.

Two drivers share `Lockstep`: hypothesis, which shrinks a failing program, and seeded programs, of which a run
makes thousands because they are fast. A failure prints the program; `Program(seed).run()` repeats a seeded
program.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from helpers.lockstep import MAX_ORDER, C, Disk, Lockstep
from helpers.programs import nr_programs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILES = ("v618", "p3", "series", "newest")
WORKERS = ("inline", "manual")
NR_BLOCKS = 8
PROGRAMS_IN_BLOCK = nr_programs(15)
STEPS = 45
MAX_DEVICES = 3
PAGE_METHODS = ("folio_dup_swap", "folio_put_swap")
FOLIO_METHODS = (*PAGE_METHODS, "swap_cache_del_folio", "folio_free_swap")


def random_disk(rng: random.Random) -> Disk:
    """Draws a device of a few clusters, often with a short last cluster, sometimes with bad pages."""
    pages = rng.choice([rng.randint(4, 600), rng.randint(513, 3 * C), C * rng.randint(1, 5)])
    is_block_device = rng.random() < 0.9
    bad: set[int] = set()
    if is_block_device and rng.random() < 0.3:
        bad = {rng.randint(1, pages - 1) for _ in range(rng.randint(1, min(12, pages // 2)))}
        if pages > 3 * C and rng.random() < 0.2:
            bad |= set(range(C, 2 * C))  # a cluster without any usable slot
    return Disk(
        pages,
        frozenset(bad),
        rng.choice([None, 0, 5, 5, 7]),
        is_rotational=rng.random() < 0.2,
        is_block_device=is_block_device,
        is_discardable=rng.random() < 0.35,
    )


class Program:
    """One seeded random program."""

    def __init__(self, seed: int) -> None:
        """Draws the options of the `Lockstep`, and turns devices on."""
        self.rng = rng = random.Random(seed)
        self.nr_cpus = rng.randint(1, 3)
        switches = {}
        if rng.random() < 0.1:
            switches["free_order"] = "columns"
        if rng.random() < 0.1:
            switches["first_search"] = "free"
        self.side = Lockstep(
            nr_cpus=self.nr_cpus,
            profile=PROFILES[seed % len(PROFILES)],
            workers=rng.choice(WORKERS),
            switches=switches,
            dump_every=4,
        )
        self.side.log.insert(0, f"# seed {seed}")
        for _ in range(rng.randint(1, MAX_DEVICES)):
            self.side.swapon(random_disk(rng))
        # Each program prefers a few operations, so some programs fill devices and others fragment them.
        self.weights = [rng.choice([1, 1, 2, 6]) for _ in self.operations()]

    def operations(self) -> list[Callable[[], None]]:
        """Returns the steps from which `run` draws."""
        return [
            self.alloc,
            self.alloc_batch,
            self.fill,
            self.put_part,
            self.free_batch,
            self.dup,
            self.add_folio,
            self.alloc_folio,
            self.use_folio,
            self.hibernate,
            self.side.run_workers,
            self.switch_device,
        ]

    def run(self) -> None:
        """Runs all steps, and then frees all slots of the real subsystem and of the model."""
        operations = self.operations()
        for _ in range(STEPS):
            self.rng.choices(operations, self.weights)[0]()
        self.side.drain()

    def cpu(self) -> int:
        """Draws a CPU."""
        return self.rng.randrange(self.nr_cpus)

    def order(self) -> int:
        """Draws an order; order 0 is a little more frequent than all other orders together."""
        return self.rng.choice([0, self.rng.randint(0, MAX_ORDER)])

    def a_run(self) -> tuple[int, int, int] | None:
        """Draws an allocated run with a used slot, or a part of such a run; None if there is no such run."""
        if not self.side.runs or not self.side.is_in_use(run := self.rng.choice(self.side.runs)):
            self.side.prune_runs()
            if not self.side.runs:
                return None
            run = self.rng.choice(self.side.runs)
        kind, first, nr = run
        if self.rng.random() < 0.5:
            skip = self.rng.randrange(nr)
            first, nr = first + skip, self.rng.randint(1, nr - skip)
        return kind, first, nr

    def alloc(self) -> None:
        """Allocates a few runs."""
        for _ in range(self.rng.randint(1, 4)):
            self.side.alloc(self.order(), self.cpu())

    def alloc_batch(self) -> None:
        """Allocates many runs of one order."""
        order = self.order()
        self.side.alloc_batch(self.rng.randint(1, max(2, 700 >> order)), order, self.cpu())

    def fill(self) -> None:
        """Sometimes fills the devices. Full devices are rare, because they make later steps less varied."""
        if self.rng.random() < 0.3:
            self.side.alloc_batch(20_000, 0, self.cpu())

    def put_part(self) -> None:
        """Drops a reference of each slot of a run that still has references."""
        for _ in range(self.rng.randint(1, 6)):
            if run := self.a_run():
                for piece, nr in self.side.referenced_pieces(*run):
                    self.side.put(run[0], piece, nr)

    def free_batch(self) -> None:
        """Drops a reference of many single slots in random order."""
        slots = [
            (kind, slot)
            for kind, device in self.side.model.devices.items()
            for slot, state in device.slots.items()
            if state.count and slot not in device.hibernation
        ]
        if slots:
            self.side.free_batch(self.rng.sample(slots, self.rng.randint(1, min(len(slots), 400))), 0)

    def dup(self) -> None:
        """Adds references, sometimes more than the table entry can count without the extend table."""
        if run := self.a_run():
            for _ in range(self.rng.choice([1, 1, 2, 15, 17])):
                for piece, nr in self.side.referenced_pieces(*run):
                    self.side.dup(run[0], piece, nr)

    def add_folio(self) -> None:
        """Adds folios to the swap cache at used slots. Often drops a reference of each slot."""
        for _ in range(self.rng.randint(1, 8)):
            if run := self.a_run():
                kind, first, nr = run
                order = self.rng.randint(0, nr.bit_length() - 1)
                first = first >> order << order
                if not self.side.model.devices[kind].hibernation.isdisjoint(
                    range(first, first + (1 << order))
                ):
                    continue
                if self.side.swap_cache_add_folio(kind, first, order) is None:
                    self.random_traits(len(self.side.folios) - 1)
                    if self.rng.random() < 0.7:
                        self.side.on_folio("folio_put_swap", len(self.side.folios) - 1)

    def alloc_folio(self) -> None:
        """Swaps folios out and leaves them cached, mostly without a reference."""
        for _ in range(self.rng.randint(1, 8)):
            known = len(self.side.folios)
            self.side.folio_alloc_swap(self.order(), self.cpu())
            if len(self.side.folios) > known and self.side.folios[-1].model.entry:
                self.random_traits(known)
                if self.rng.random() < 0.3:
                    self.side.on_folio("folio_dup_swap", known)

    def random_traits(self, index: int) -> None:
        """Locks, maps or puts under writeback a folio, in half of the calls, so that reclaim skips it."""
        trait = self.rng.choice(
            ["is_locked", "is_writeback", "is_mapped", "is_mapped", None, None, None, None]
        )
        if trait:
            self.side.set_traits(index, **{trait: True})

    def use_folio(self) -> None:
        """Makes a few random calls on cached folios."""
        rng, side = self.rng, self.side
        for _ in range(rng.randint(1, 4)):
            if not (cached := side.cached_folios()):
                return
            index = rng.choice(cached)
            page = rng.choice([None, rng.randrange(1 << side.folios[index].model.order)])
            action = rng.choice(["drop_handle", "set_traits", *FOLIO_METHODS])
            if action == "drop_handle":
                side.drop_handle(index)
            elif action == "set_traits":
                side.set_traits(index, is_locked=False, is_writeback=False, is_mapped=rng.random() < 0.5)
            else:
                side.on_folio(action, index, *([page] if action in PAGE_METHODS else []))

    def hibernate(self) -> None:
        """Allocates or frees hibernation slots.

        Sometimes a folio is cached at a freed slot, as after readahead.
        """
        rng, side = self.rng, self.side
        for _ in range(rng.randint(1, 3)):
            if side.hibernation and rng.random() < 0.6:
                index = rng.randrange(len(side.hibernation))
                if rng.random() < 0.2:
                    side.swap_cache_add_folio(*side.hibernation[index], 0)
                side.free_hibernation(index)
            elif side.devices:
                side.alloc_hibernation(rng.choice(sorted(side.devices)), self.cpu())

    def switch_device(self) -> None:
        """Turns a device on or off. An unuse hook, used in half of the swapoffs, may keep slots in use."""
        rng, side = self.rng, self.side
        if len(side.devices) < MAX_DEVICES and rng.random() < 0.5:
            side.swapon(random_disk(rng))
        elif side.devices and rng.random() < 0.4:
            if rng.random() < 0.8:
                side.unlock_folios()
            hook = rng.random() < 0.5
            side.swapoff(rng.choice(sorted(side.devices)), rng.choice([None, 3]) if hook else None, hook=hook)


@pytest.mark.parametrize("block", range(NR_BLOCKS))
def test_seeded_programs_agree_with_the_model(block: int) -> None:
    for seed in range(block * PROGRAMS_IN_BLOCK, (block + 1) * PROGRAMS_IN_BLOCK):
        Program(seed).run()


disks = st.builds(
    Disk,
    pages=st.one_of(st.integers(2, 600), st.integers(1, 4).map(lambda n: n * C), st.integers(C + 1, 4 * C)),
    bad_pages=st.just(frozenset()),
    priority=st.sampled_from([None, 0, 5]),
    is_rotational=st.booleans(),
    is_block_device=st.sampled_from([True, True, True, False]),
    is_discardable=st.booleans(),
)
cpus = st.integers(0, 1)
orders = st.one_of(st.just(0), st.integers(0, MAX_ORDER))
indexes = st.integers(0, 1 << 16)


class LockstepMachine(RuleBasedStateMachine):
    """The operations of `Lockstep` as hypothesis rules.

    Hypothesis chooses operations and shrinks a failure.
    """

    side: Lockstep

    @initialize(profile=st.sampled_from(PROFILES), workers=st.sampled_from(WORKERS), disk=disks)
    def start(self, profile: str, workers: str, disk: Disk) -> None:
        """Starts the real subsystem and the model, each with one device."""
        self.side = Lockstep(nr_cpus=2, profile=profile, workers=workers)
        self.side.swapon(disk)

    def pick_run(self, index: int) -> tuple[int, int, int]:
        """Chooses one of the runs that have a used slot."""
        return self.side.runs[index % len(self.side.runs)]

    def has_runs(self) -> bool:
        """Says whether a run has a used slot."""
        self.side.prune_runs()
        return bool(self.side.runs)

    def has_cached(self) -> bool:
        """Says whether a folio is cached."""
        return bool(self.side.cached_folios())

    def pick_folio(self, index: int) -> int:
        """Chooses one of the cached folios."""
        return index % len(self.side.cached_folios())

    @precondition(lambda self: len(self.side.devices) < MAX_DEVICES)
    @rule(disk=disks)
    def swapon(self, disk: Disk) -> None:
        """Turns a device on."""
        self.side.swapon(disk)

    @precondition(lambda self: self.side.devices)
    @rule(index=indexes, hook=st.booleans())
    def swapoff(self, index: int, hook: bool) -> None:
        """Turns a device off, with or without an unuse hook."""
        self.side.unlock_folios()
        kinds = sorted(self.side.devices)
        self.side.swapoff(kinds[index % len(kinds)], hook=hook)

    @rule(order=orders, cpu=cpus)
    def alloc(self, order: int, cpu: int) -> None:
        """Allocates one run."""
        self.side.alloc(order, cpu)

    @rule(n=st.integers(1, 1200), order=orders, cpu=cpus)
    def alloc_batch(self, n: int, order: int, cpu: int) -> None:
        """Allocates runs until one fails."""
        self.side.alloc_batch(n, order, cpu)

    @precondition(has_runs)
    @rule(index=indexes, skip=indexes, nr=indexes)
    def put(self, index: int, skip: int, nr: int) -> None:
        """Drops a reference of each slot of a part of a run."""
        kind, first, size = self.pick_run(index)
        skip %= size
        for piece, length in self.side.referenced_pieces(kind, first + skip, nr % (size - skip) + 1):
            self.side.put(kind, piece, length)

    @precondition(has_runs)
    @rule(index=indexes, times=st.sampled_from([1, 2, 16]))
    def dup(self, index: int, times: int) -> None:
        """Adds references to a run."""
        kind, first, size = self.pick_run(index)
        for _ in range(times):
            for piece, length in self.side.referenced_pieces(kind, first, size):
                self.side.dup(kind, piece, length)

    @precondition(has_runs)
    @rule(index=indexes, order=orders, forget=st.booleans())
    def swap_cache_add_folio(self, index: int, order: int, forget: bool) -> None:
        """Adds a folio to the cache at used slots, and with ``forget`` drops a reference of each slot."""
        kind, first, size = self.pick_run(index)
        order = min(order, size.bit_length() - 1)
        added = self.side.swap_cache_add_folio(kind, first, order) is None
        if added and forget:
            self.side.on_folio("folio_put_swap", len(self.side.folios) - 1)

    @rule(order=orders, cpu=cpus)
    def folio_alloc_swap(self, order: int, cpu: int) -> None:
        """Swaps a folio out and leaves it cached."""
        self.side.folio_alloc_swap(order, cpu)

    @precondition(has_cached)
    @rule(index=indexes, method=st.sampled_from(FOLIO_METHODS))
    def use_folio(self, index: int, method: str) -> None:
        """Calls one of `FOLIO_METHODS` with a cached folio."""
        self.side.on_folio(method, self.pick_folio(index))

    @precondition(has_cached)
    @rule(index=indexes, locked=st.booleans(), writeback=st.booleans(), mapped=st.booleans())
    def set_traits(self, index: int, locked: bool, writeback: bool, mapped: bool) -> None:
        """Sets lock, writeback and mapping of a cached folio, which decide whether it can be reclaimed."""
        self.side.set_traits(
            self.pick_folio(index), is_locked=locked, is_writeback=writeback, is_mapped=mapped
        )

    @precondition(lambda self: self.side.devices)
    @rule(index=indexes, cpu=cpus)
    def alloc_hibernation(self, index: int, cpu: int) -> None:
        """Allocates a hibernation slot."""
        kinds = sorted(self.side.devices)
        self.side.alloc_hibernation(kinds[index % len(kinds)], cpu)

    @precondition(lambda self: self.side.hibernation)
    @rule(index=indexes)
    def free_hibernation(self, index: int) -> None:
        """Frees a hibernation slot."""
        self.side.free_hibernation(index % len(self.side.hibernation))

    @rule()
    def run_workers(self) -> None:
        """Runs the queued work of the workers."""
        self.side.run_workers()

    @invariant()
    def is_consistent(self) -> None:
        """Compares the counters of the real subsystem and of the model after every step."""
        if hasattr(self, "side"):
            self.side.compare()

    def teardown(self) -> None:
        """Frees all slots of the real subsystem and of the model."""
        if hasattr(self, "side"):
            self.side.drain()


TestLockstepMachine = LockstepMachine.TestCase
TestLockstepMachine.settings = settings(max_examples=nr_programs(30), stateful_step_count=35)
