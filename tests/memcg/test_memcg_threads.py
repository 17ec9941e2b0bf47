"""Threads charge, swap, fork and remove groups. At the end all counters are right and no group is pinned."""

from __future__ import annotations

import errno
import gc
import random
import threading
from collections import deque
from functools import partial
from typing import NamedTuple

import pytest
import swapcore as sc
from helpers.load import Load, new_seed, together
from helpers.memcg_facts import PAGE, Space, World, file_storage, refusal

THREADS = 8
DEVICE_PAGES = 4096
MEMORY_PAGES = 8192
MAX_GROUPS_EVER = 300
MAX_HELD = 40
SPACE_PAGES = 32


class Run(NamedTuple):
    """Swapped-out slots; the owner of a `Run` has one reference of each slot.

    ``is_whole`` means that the slots are all slots of one folio and that no other `Run` has these slots.
    """

    entry: int
    nr_pages: int
    is_whole: bool


class Held(NamedTuple):
    """A folio, and the pages of it that a thread has mapped."""

    folio: sc.Folio
    page: int
    nr_pages: int


class Hammer:
    """Threads on one subsystem, with the folios, slots and address spaces of each thread."""

    def __init__(self, hierarchy: str, store: str = "shadow", stock: str = "off") -> None:
        """Makes the subsystem with two devices and a tree of a few groups."""
        self.is_v1 = hierarchy == "v1"
        self.seed = new_seed()
        self.swap = sc.Swap(
            nr_cpus=THREADS,
            memcg=hierarchy,
            memory_pages=MEMORY_PAGES,
            switches={"owner_store": store, "memcg_stock": stock},
        )
        self.devices = [
            self.swap.swapon(file_storage(DEVICE_PAGES), priority=1),
            self.swap.swapon(sc.Zram(pages=DEVICE_PAGES), priority=1),
        ]
        self.world = World(self.swap)
        self.stay = [self.world.add(self.swap.memcg, name) for name in ("A", "B")]
        self.stay.append(self.world.add(self.stay[0], "C"))
        # Only tasks use the groups S and T, so that no large folio has both pages of tasks and other pages.
        self.of_tasks = [self.world.add(self.swap.memcg, name) for name in ("S", "T")]
        self.css_base = [group.counters()["css_refs"] for group in self.stay]
        self.mortal: list[sc.MemCgroup] = []
        self.runs: deque[Run] = deque()
        self.held: list[list[Held]] = [[] for _ in range(THREADS)]
        self.spaces: list[list[Space]] = [[] for _ in range(THREADS)]
        self.done = [0] * THREADS
        self.nr_refused = [0] * THREADS
        self.start = threading.Barrier(THREADS)
        self.load = Load(self.seed, share=0.5, is_enough=lambda: min(self.done) > 100)

    def group(self, rng: random.Random) -> sc.MemCgroup:
        """Chooses a group, which another thread may remove at any time."""
        mortal = self.mortal
        return rng.choice([self.swap.memcg, *self.stay, *mortal[-4:]])

    def rule(self, rng: random.Random) -> None:
        """Makes or removes a group and sets a limit. Only thread 0 calls this method."""
        parent = rng.choice(self.stay)
        if len(self.mortal) < MAX_GROUPS_EVER and rng.random() < 0.5:
            self.mortal.append(self.world.add(parent, f"m{len(self.mortal)}"))
        if self.mortal and rng.random() < 0.5:
            number = refusal(rng.choice(self.mortal[-4:]).remove)
            assert number in (0, errno.EBUSY, errno.ENODEV), number
        usage = parent.counters()["memory_pages"]
        limit = rng.choice([-1 if self.is_v1 else "max", (usage + rng.randint(0, 40)) * PAGE])
        file = "memory.limit_in_bytes" if self.is_v1 else rng.choice(["memory.max", "memory.swap.max"])
        number = refusal(parent.write, file, limit, **({} if self.is_v1 else {"nonblock": True}))
        assert number in (0, errno.EBUSY, errno.EINVAL), number

    def make(self, thread: int, rng: random.Random) -> None:
        """Makes a folio of any group."""
        group = self.group(rng)
        order = rng.choice([0, 0, 1, 2, 4])
        folio = self.swap.folio(order, rng.choice([None, b"x" * 4000]), memcg=group, cpu=thread)
        self.held[thread].append(Held(folio, 0, 1 << order))

    def out(self, thread: int, rng: random.Random) -> None:
        """Swaps a folio out and adds its slots to `runs`, from which any thread may take the slots."""
        index = rng.randrange(len(self.held[thread]))
        folio, page, nr_pages = self.held[thread][index]
        entry = int(self.swap.swap_out(folio, cpu=thread)) + page
        del self.held[thread][index]
        is_shared = rng.random() < 0.3
        if is_shared:
            self.swap.dup(entry, nr_pages, cpu=thread)
            self.runs.append(Run(entry, nr_pages, is_whole=False))
        self.runs.append(Run(entry, nr_pages, not is_shared and nr_pages == folio.nr_pages))

    def bring_in(self, thread: int, rng: random.Random) -> None:
        """Swaps a run in, or its first page, as a task of any group."""
        run = self.runs.popleft()
        entry, nr_asked = run.entry, run.nr_pages if run.is_whole else 1
        try:
            folio = self.swap.swap_in(
                entry, nr_asked, orders=rng.randrange(32), cpu=thread, memcg=self.group(rng)
            )
        except BaseException:
            self.runs.append(run)
            raise
        # The folio covers an aligned range, which may be larger or smaller than the requested slots.
        nr_mapped = min(nr_asked, folio.nr_pages)
        if nr_mapped < run.nr_pages:
            self.runs.append(Run(entry + nr_mapped, run.nr_pages - nr_mapped, is_whole=False))
        self.held[thread].append(Held(folio, entry & (folio.nr_pages - 1), nr_mapped))

    def give_up(self, thread: int, _rng: random.Random) -> None:
        """Frees a run without reading it."""
        run = self.runs.pop()
        self.swap.free(run.entry, run.nr_pages, cpu=thread)

    def drop(self, thread: int, rng: random.Random) -> None:
        """Drops a folio, and may free its slots."""
        held = self.held[thread]
        folio = held.pop(rng.randrange(len(held))).folio
        if rng.random() < 0.5:
            self.swap.folio_free_swap(folio, cpu=thread)

    def task(self, thread: int, rng: random.Random) -> None:
        """Makes one step of a task: write, reclaim, unmap, fork or exit."""
        spaces = self.spaces[thread]
        if not spaces or (len(spaces) < 3 and rng.random() < 0.1):
            group = rng.choice(self.of_tasks)
            mm = self.swap.mm(memcg=group)
            spaces.append(Space(mm, group, mm.mmap(SPACE_PAGES)))
        space = rng.choice(spaces)
        page = rng.randrange(SPACE_PAGES)
        kind = rng.randrange(8)
        if kind == 0 and len(spaces) < 3:
            spaces.append(space.fork())
        elif kind == 1:
            spaces.remove(space)
        elif kind in (2, 3):
            space.mm.pageout(space.first + page, SPACE_PAGES - page, cpu=thread)
        elif kind == 4:
            space.zap(page, 1)
        else:
            self.done[thread] += 1
            space.write(page, self.done[thread] * THREADS + thread)

    def work(self, thread: int) -> None:
        """Makes random steps until the load ends."""
        rng = random.Random(self.seed * THREADS + thread)
        self.start.wait()
        while self.load.goes_on():
            self.done[thread] += 1
            held = self.held[thread]
            step = rng.choice(
                [self.make, self.out, self.out, self.bring_in, self.drop, self.give_up, self.task]
            )
            if thread == 0 and rng.random() < 0.2:
                self.rule(rng)
            if (step in (self.out, self.drop) and not held) or (step == self.make and len(held) > MAX_HELD):
                continue
            try:
                step(thread, rng)
            except (MemoryError, IndexError, sc.SwapFullError, sc.SwapBusyError):
                self.nr_refused[thread] += 1
            except OSError as error:
                # Thread 0 removed the group after this thread had chosen it.
                if error.errno != errno.ENODEV:
                    raise
                self.nr_refused[thread] += 1

    def run(self) -> None:
        """Runs all threads until the load ends."""
        self.load.run_each(THREADS, self.work)

    def balance(self) -> None:
        """Checks the balances R1 to R9 of `World`.

        The switch ``memcg_stock`` must be off, because a per-CPU stock charges pages before their use.
        """
        gc.collect()
        self.world.folios = [held.folio for all_held in self.held for held in all_held]
        self.world.spaces = [space for spaces in self.spaces for space in spaces]
        self.world.accept_swap_usage()
        self.world.verify()

    def give_everything_back(self) -> None:
        """Drops all folios and tasks, and frees all slots."""
        self.world.folios, self.world.spaces = [], []
        for held in (*self.held, *self.spaces):
            held.clear()
        gc.collect()
        while self.runs:
            self.give_up(0, random.Random())
        self.swap.shrink_swap_cache()
        assert [device.inuse_pages for device in self.devices] == [0, 0], f"seed {self.seed}"
        assert self.swap.nr_used_pages == 0, f"seed {self.seed}"

    def kill_all(self) -> None:
        """Removes the groups that `rule` made and that are still online."""
        for group in self.mortal:
            if group.is_online:
                group.remove()


@pytest.mark.parametrize("hierarchy", ["v2", "v1"])
@pytest.mark.parametrize("store", ["shadow", "cluster_table", "array", "trampoline"])
def test_books_balance_after_eight_threads(hierarchy: str, store: str) -> None:
    hammer = Hammer(hierarchy, store)
    hammer.run()
    hammer.balance()
    hammer.give_everything_back()
    hammer.world.expect_nothing()
    hammer.kill_all()
    hammer.world.expect_nothing()
    assert sum(not group.is_online for group in hammer.world.groups) > 0
    hammer.world.forget_removed()
    hammer.mortal.clear()
    gc.collect()
    assert [group.counters()["css_refs"] for group in hammer.stay] == hammer.css_base
    assert hammer.swap.memcg.counters()["memcg_swap_pages"] == 0
    hammer.swap.check()


@pytest.mark.parametrize("hierarchy", ["v2", "v1"])
def test_stocks_are_given_back(hierarchy: str) -> None:
    hammer = Hammer(hierarchy, stock="on")
    hammer.run()
    hammer.give_everything_back()
    for group in hammer.stay + hammer.of_tasks:
        assert 0 <= group.counters()["memory_pages"] <= 64 * THREADS * len(hammer.world.groups)
    hammer.kill_all()
    for group in reversed(hammer.stay + hammer.of_tasks):
        group.remove()
    hammer.world.expect_nothing()
    hammer.swap.check()


@pytest.fixture
def world() -> World:
    """Returns a `World` with one device and two CPUs."""
    swap = sc.Swap(nr_cpus=2, memory_pages=MEMORY_PAGES, switches={"memcg_stock": "off"})
    swap.swapon(file_storage(2048))
    return World(swap)


def test_slots_zapped_while_their_charge_fails(world: World) -> None:
    """J5 of docs/steps.md: while a swap-in's charge fails, a thread frees two slots, which are uncharged."""
    swap = world.swap
    a = world.add(swap.memcg, "A")
    world.folios = [swap.folio(0, b"x", memcg=a) for _ in range(12)]
    for _ in range(100):
        a.write("memory.max", "max")
        entry = int(swap.swap_out(swap.folio(4, b"x", memcg=a)))
        a.write("memory.max", 12 * PAGE)
        swap_in = partial(swap.swap_in, entry, 1, orders=1 << 4, memcg=a, cpu=0)
        code, _ = together(partial(refusal, swap_in), partial(swap.free, entry + 3, 2, cpu=1))
        assert code == errno.ENOMEM
        world.verify()
        facts = a.counters()
        assert (facts["swap_pages"], facts["memcg_swap_pages"], facts["id_refs"]) == (14, 14, 15)
        swap.free(entry, 3)
        swap.free(entry + 5, 11)
    assert (swap.devices[0].inuse_pages, swap.nr_used_pages) == (0, 12)


def test_faults_race_with_the_death_of_the_owner(world: World) -> None:
    """A swap-in races with the removal of the owner: pages are charged once, to the owner or its parent."""
    swap = world.swap
    p, b = world.add(swap.memcg, "P"), world.add(swap.memcg, "B")
    outcomes = set()
    while len(world.groups) < 150:
        c = world.add(p, f"c{len(world.groups)}")
        entry = swap.swap_out(swap.folio(2, b"x", memcg=c))
        folio, _ = together(partial(swap.swap_in, entry, orders=1 << 2, memcg=b), c.remove)
        world.folios = [folio]
        assert folio.memcg in (p, c)
        outcomes.add(folio.memcg == p)
        world.verify()
        assert p.counters()["memory_pages"] == p.counters()["swap_pages"] == 4
        world.folios = []
        del folio
        assert (p.counters()["memory_pages"], p.counters()["swap_pages"]) == (0, 0)
        assert c.counters()["id_refs"] == 0
    assert outcomes
