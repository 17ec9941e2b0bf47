"""Threads on one subsystem: no slot is handed out twice, none is lost, and the invariants hold at the end.

Owners are kept in one byte a slot, tested and set without a lock: only the owner of a slot touches its byte,
unless the allocator gave the slot away twice, which the byte then shows.
"""

from __future__ import annotations

import random
import signal
import threading
from collections import deque

import pytest
from helpers.load import SECONDS, Load, new_seed
from swapcore import Null, Swap, SwapFullError, SwpEntry, _core

THREADS = 8
DEVICE_PAGES = (6000, 3000, 4096 + 77)
NOBODY = 0


class Hammer:
    """Threads that allocate, share, pass on and free entries until the time is up."""

    def __init__(self, swap: Swap, seed: int) -> None:
        """Prepares the owner map; slot states are kept by swap type."""
        self.swap = swap
        self.seed = seed
        self.owners = {device.type: bytearray(device.max_pages) for device in swap.devices}
        self.handed_over: deque[SwpEntry] = deque()  # freed by another thread than took them
        self.start = threading.Barrier(THREADS)
        self.faults: list[str] = []
        self.allocations = [0] * THREADS
        self.failures = [0] * THREADS
        self.remote_frees = [0] * THREADS
        self.load = Load(seed, is_enough=self.is_enough)

    def is_enough(self) -> bool:
        """Tells whether a slot was given away twice, or the threads did something."""
        is_done = sum(self.allocations) > THREADS * 100 and sum(self.remote_frees) > 0
        return is_done or bool(self.faults)

    def claim(self, entry: SwpEntry, owner: int) -> None:
        """Notes the owner of a fresh run, whose slots must have had none."""
        owners = self.owners[entry.type]
        for slot in range(entry.offset, entry.offset + entry.nr_pages):
            if owners[slot] != NOBODY:
                self.faults.append(
                    f"seed {self.seed}: ({entry.type}, {slot}) given to {owner}, is {owners[slot]}'s"
                )
            owners[slot] = owner

    def give_up(self, entry: SwpEntry, owner: int) -> None:
        """Clears the owner of a run before the run is freed, because another thread may get it at once."""
        owners = self.owners[entry.type]
        for slot in range(entry.offset, entry.offset + entry.nr_pages):
            if owners[slot] != owner:
                self.faults.append(
                    f"seed {self.seed}: ({entry.type}, {slot}) of {owner} became {owners[slot]}'s"
                )
            owners[slot] = NOBODY

    def pass_on(self, entry: SwpEntry, owner: int) -> None:
        """Leaves a run for any thread to free."""
        owners = self.owners[entry.type]
        owners[entry.offset : entry.offset + entry.nr_pages] = bytes([THREADS + 1]) * entry.nr_pages
        self.handed_over.append(entry)
        self.remote_frees[owner - 1] += 1

    def free(self, entry: SwpEntry, owner: int, rng: random.Random, cpu: int) -> None:
        """Frees a run at once, or in two parts, or after references were added and taken."""
        if rng.random() < 0.2:
            times = rng.choice([1, 2, 16])
            for _ in range(times):
                self.swap.dup(entry, cpu=cpu)
            for _ in range(times):
                self.swap.put(entry, cpu=cpu)
        self.give_up(entry, owner)
        if entry.nr_pages > 1 and rng.random() < 0.3:
            half = entry.nr_pages // 2
            self.swap.free(int(entry) + half, half, cpu=cpu)
            self.swap.free(int(entry), half, cpu=cpu)
        else:
            self.swap.free(entry, cpu=cpu)

    def work(self, thread: int) -> None:
        """Takes and frees runs until the load ends."""
        rng = random.Random(self.seed * THREADS + thread)
        owner = thread + 1
        held: list[SwpEntry] = []
        self.start.wait()
        while self.load.goes_on() and not self.faults:
            cpu = rng.randrange(self.swap.nr_cpus)
            # Bursts, so that the devices are full some of the time and nearly empty at others.
            if rng.random() < 0.5:
                for _ in range(rng.randint(1, 40)):
                    try:
                        entry = self.swap.alloc(rng.choice([0, 0, 0, 0, 1, 2, 4, 6, 9]), cpu=cpu)
                    except SwapFullError:
                        self.failures[thread] += 1
                        continue
                    self.claim(entry, owner)
                    held.append(entry)
                    self.allocations[thread] += 1
            for _ in range(min(len(held), rng.randint(0, 60))):
                entry = held.pop(rng.randrange(len(held)))
                if rng.random() < 0.2:
                    self.pass_on(entry, owner)
                else:
                    self.free(entry, owner, rng, cpu)
            while self.handed_over and rng.random() < 0.7:
                try:
                    entry = self.handed_over.popleft()
                except IndexError:
                    break
                self.free(entry, THREADS + 1, rng, cpu)
        for entry in held:
            self.free(entry, owner, rng, cpu=0)

    def run(self) -> None:
        """Runs all threads to their end and frees the remaining runs."""
        self.load.run([lambda thread=thread: self.work(thread) for thread in range(THREADS)])
        assert not self.faults, self.faults[0]
        rng = random.Random(self.seed)
        while self.handed_over:
            self.free(self.handed_over.popleft(), THREADS + 1, rng, cpu=0)


@pytest.mark.parametrize("nr_cpus", [1, 3, THREADS])
def test_threads_never_share_a_slot(nr_cpus: int) -> None:
    swap = Swap(nr_cpus=nr_cpus)
    for index, pages in enumerate(DEVICE_PAGES):
        swap.swapon(Null(pages=pages, is_rotational=index == 1), priority=index // 2)
    hammer = Hammer(swap, seed=new_seed())
    hammer.run()
    swap.check()
    assert [device.inuse_pages for device in swap.devices] == [0] * len(DEVICE_PAGES)
    assert swap.nr_swap_pages == swap.total_swap_pages == sum(DEVICE_PAGES) - len(DEVICE_PAGES)
    assert not any(any(owners) for owners in hammer.owners.values())


def test_threads_fill_a_device_to_the_last_slot() -> None:
    swap = Swap(nr_cpus=THREADS)
    swap.swapon(Null(pages=20_000))
    taken: list[list[SwpEntry]] = [[] for _ in range(THREADS)]
    start = threading.Barrier(THREADS)

    def take(thread: int) -> None:
        start.wait()
        while True:
            batch = list(swap.alloc_batch(37, cpu=thread))
            if not batch:
                return
            taken[thread] += batch

    threads = [threading.Thread(target=take, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Clusters that another CPU holds are skipped, so the threads may leave a few slots; one alone finds them.
    taken[0] += list(swap.alloc_batch(20_000, cpu=0))
    slots = sorted(entry.offset for entries in taken for entry in entries)
    assert slots == list(range(1, 20_000))
    assert swap.nr_swap_pages == 0
    swap.check()


@pytest.mark.parametrize("profile", ["v618", "newest"])
def test_rust_threads_lose_nothing(profile: str) -> None:
    seed = new_seed()
    report = _core.stress(threads=THREADS, seconds=SECONDS, seed=seed, pages=65_536, profile=profile)
    assert report["seed"] == seed
    assert report["threads"] == THREADS
    assert report["seconds"] >= SECONDS
    assert report["double_handouts"] == 0
    assert report["inuse_pages_end"] == 0
    assert report["ops"] > 100_000
    assert report["allocated_runs"] > 0
    assert report["dups"] > 0


def test_long_batch_is_interrupted_and_gives_everything_back() -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise TimeoutError

    swap = Swap(nr_cpus=1)
    device = swap.swapon(Null("512G"))
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError):
            swap.alloc_batch(1 << 27)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert device.inuse_pages == 0
    swap.check()
