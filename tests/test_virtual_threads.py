"""Threads over virtual slots, with the physical device going off and on; a reader of what is gone.

`SWAPCORE_SECONDS` says for how long; the seed is in the message of a failure.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import threading
import time
from collections import deque
from errno import EBUSY, EEXIST, ENOENT, ENOMEM, ENOSPC
from typing import TYPE_CHECKING

import numpy as np
import pytest
import swapcore as sc
from memcg_facts import BAD, PAGE, file_storage, unpack
from virtual_facts import C, Reader, VirtualWorld, data_at, noise, parts_of, pointer_of, refusal, text, zeros

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 4
SECONDS = float(os.environ.get("SWAPCORE_SECONDS", "5"))
MAX_HELD = 64
MAX_RUNS = 900
EAGAIN = 11


def run_threads(seed: int, works: list[Callable[[], None]], seconds: float) -> None:
    """Runs all to their end and raises what one of them raised."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 60)
        assert not thread.is_alive(), f"seed {seed}: a thread hangs"
    if raised:
        raised[0].add_note(f"seed {seed}")
        raise raised[0]


def on_again(swap: sc.Swap, storage: sc.Faulty) -> sc.SwapDevice:
    """Turns a device on that was turned off: who was looking at it just then lets its storage go soon."""
    made: list[sc.SwapDevice] = []
    deadline = time.monotonic() + 10
    while refusal(lambda: made.append(swap.swapon(storage, priority=5))):
        assert time.monotonic() < deadline, "somebody keeps the storage"
    return made[0]


def data_of(number: int) -> bytes:
    """Returns the bytes of a run, which follow from its number: zeros, text or noise, of 1 to 4 pages."""
    order = (0, 0, 0, 1, 2)[number % 5]
    kind = number // 5 % 8
    return zeros(1 << order) if kind == 0 else (noise if kind < 3 else text)(number, 1 << order)


class Hammer:
    """Four threads on one subsystem; runs are anybody's."""

    def __init__(self, seed: int, zswap: sc.Zswap | None) -> None:
        """Turns a virtual device and two files on; the first goes off and on."""
        self.seed = seed
        self.swap = sc.Swap(nr_cpus=THREADS, memory_pages=8192, zswap=zswap, switches={"memcg_stock": "off"})
        self.ghost = self.swap.swapon(sc.Ghost(64 * C, virtual_table=True))
        self.storage, self.other_storage = file_storage(8 * C), file_storage(8 * C)
        self.device: sc.SwapDevice | None = self.swap.swapon(self.storage, priority=5)
        self.other = self.swap.swapon(self.other_storage, priority=1)
        self.world = VirtualWorld(self.swap)
        self.groups = [self.world.add(self.swap.memcg, name) for name in "AB"]
        self.runs: deque[tuple[int, int]] = deque()
        """First slot and number; whoever takes one out of here has its references."""
        self.numbers = iter(range(1 << 62))
        self.done = [0] * THREADS
        self.outcomes: set[str] = set()

    def out(self, thread: int, rng: random.Random) -> None:
        """Makes a folio and swaps it out."""
        number = next(self.numbers)
        data = data_of(number)
        try:
            folio = self.swap.folio(
                (len(data) // PAGE).bit_length() - 1, data, memcg=rng.choice(self.groups), cpu=thread
            )
        except MemoryError:
            return
        slots: list[int] = []
        code = refusal(lambda: slots.append(int(self.swap.swap_out(folio, cpu=thread))))
        assert code in (0, ENOSPC, ENOMEM, EBUSY), code
        if slots:
            self.runs.append((slots[0], number))
        else:
            assert folio.read() == data
        self.outcomes.add(f"out {code}")

    def bring_in(self, thread: int, rng: random.Random) -> None:
        """Swaps a run in, compares it, and swaps it out again or drops it."""
        entry, number = self.runs.popleft()
        data = data_of(number)
        order = (len(data) // PAGE).bit_length() - 1
        orders = rng.choice([1, (1 << order) | 1])
        folios = self.swap.swap_in_batch([sc.SwpEntry(entry, order)], orders=orders, cpu=thread)
        parts = parts_of(folios, entry, 1 << order)
        assert b"".join(part.read() for part in parts) == data, f"run {number} came back different"
        if len(folios) == 1 and rng.random() < 0.6:
            folio, page, _ = parts.pop()
            folios.clear()
            slots: list[int] = []
            code = refusal(lambda: slots.append(int(self.swap.swap_out(folio, cpu=thread))))
            assert code in (0, ENOSPC, ENOMEM, EBUSY), code
            if slots:
                self.runs.append((slots[0] + page, number))
            else:
                assert folio.read(page * PAGE, len(data)) == data
            self.outcomes.add(f"again {code}")

    def give_up(self, thread: int, _rng: random.Random) -> None:
        """Frees a run unread."""
        entry, number = self.runs.pop()
        self.swap.free(entry, len(data_of(number)) // PAGE, cpu=thread)

    def disturb(self, thread: int, rng: random.Random) -> None:
        """Moves what backs somebody's run, or tries to, without holding it."""
        runs = list(self.runs)
        if not runs:
            return
        entry, _ = rng.choice(runs)
        kind = rng.randrange(5)
        if kind == 0:
            code = refusal(lambda: self.swap.zswap.writeback(entry, cpu=thread))
            assert code in (0, EEXIST, ENOENT, ENOMEM), code
        elif kind == 1:
            code = refusal(lambda: self.swap.zswap.shrink(rng.choice(self.groups), cpu=thread))
            assert code in (0, EAGAIN, ENOENT), code
        elif kind == 2:
            code = refusal(lambda: self.swap.move_backing(entry, self.other, cpu=thread))
            assert code in (0, ENOMEM), code
        elif kind == 3:
            code = refusal(lambda: self.swap.backing(entry, 4))
            assert code == 0
        else:
            self.swap.shrink_swap_cache(16)
            code = 0
        self.outcomes.add(f"disturb {kind} {code}")

    def work(self, thread: int, deadline: float) -> None:
        """Does what comes up."""
        rng = random.Random(self.seed + thread)
        while time.monotonic() < deadline:
            self.done[thread] += 1
            # There may be no run at the moment, or the list of them changes under a copy of it.
            with contextlib.suppress(IndexError, RuntimeError):
                if len(self.runs) < MAX_RUNS and rng.random() < 0.45:
                    self.out(thread, rng)
                elif rng.random() < 0.6:
                    self.bring_in(thread, rng)
                elif rng.random() < 0.3:
                    self.give_up(thread, rng)
                else:
                    self.disturb(thread, rng)

    def toggle(self, deadline: float) -> None:
        """Turns the first file off and on."""
        while time.monotonic() < deadline:
            if self.device is None:
                self.device = on_again(self.swap, self.storage)
                time.sleep(0.01)
            else:
                code = refusal(lambda: self.swap.swapoff(self.device))
                self.outcomes.add(f"swapoff {code}")
                # Folios that found no virtual slot may be on it, for nobody to give back.
                assert code in (0, EBUSY, ENOMEM), code
                if not code:
                    self.device = None

    def finish(self) -> None:
        """Proves that nothing is lost and that nothing is left."""
        gc.collect()
        self.world.verify()
        for entry, number in self.runs:
            data = data_of(number)
            assert data_at(self.swap, entry, len(data) // PAGE) == data, f"seed {self.seed}: run {number}"
        gc.collect()
        self.swap.shrink_swap_cache()
        assert [device.inuse_pages for device in self.swap.devices] == [0] * len(self.swap.devices)
        stats = self.swap.zswap.stats()
        assert (self.swap.nr_used_pages, stats["stored_pages"], stats["pool_total_size"]) == (0, 0, 0)
        for group in self.groups:
            facts = group.counters()
            assert (facts["memory_pages"], facts["swap_pages"], facts["id_refs"]) == (0, 0, 1)
        self.world.verify()


@pytest.mark.parametrize("has_zswap", [False, True])
def test_data_survives_four_threads_and_a_device_that_goes_off_and_on(has_zswap: bool) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    hammer = Hammer(seed, sc.Zswap(max_pool_percent=2) if has_zswap else None)
    deadline = time.monotonic() + SECONDS
    works: list[Callable[[], None]] = [
        lambda thread=thread: hammer.work(thread, deadline) for thread in range(THREADS)
    ]
    run_threads(seed, [*works, lambda: hammer.toggle(deadline)], SECONDS)
    assert min(hammer.done) > 100
    assert {"swapoff 0", "out 0", "again 0"} <= hammer.outcomes
    assert hammer.swap.stats()["swapoff_rmap_slots"] > 0
    assert hammer.swap.stats()["swapoff_ptes_visited"] == 0
    hammer.finish()


class Task:
    """An address space whose pages follow from numbers that it knows."""

    NR_PAGES = 1024

    def __init__(self, swap: sc.Swap, thread: int, seed: int) -> None:
        """Maps it."""
        self.thread = thread
        self.rng = random.Random(seed + thread)
        self.mm = swap.mm()
        self.first = self.mm.mmap(self.NR_PAGES, orders=0b111, anon_order=self.rng.choice([0, 2]))
        self.numbers: dict[int, int] = {}
        self.nr_done = 0

    def data(self, page: int) -> bytes:
        """Returns what a page should hold."""
        return (text, noise)[page % 2](self.numbers[page]) if page in self.numbers else zeros()

    def expect(self, mm: sc.Mm, page: int) -> None:
        """Reads a page."""
        found = mm.read((self.first + page) * PAGE, PAGE, cpu=self.thread)
        assert found == self.data(page), f"page {page} of thread {self.thread}"

    def step(self) -> None:
        """Does one thing."""
        self.nr_done += 1
        page, kind = self.rng.randrange(self.NR_PAGES), self.rng.random()
        if kind < 0.5:
            self.numbers[page] = self.rng.randrange(1 << 30)
            self.mm.write((self.first + page) * PAGE, self.data(page), cpu=self.thread)
        elif kind < 0.9:
            self.expect(self.mm, page)
        elif kind < 0.96:
            self.mm.pageout(self.first + page, min(16, self.NR_PAGES - page), cpu=self.thread)
        elif kind < 0.98:
            self.mm.zap(self.first + page, 1)
            self.numbers.pop(page, None)
        else:
            self.expect(self.mm.fork(cpu=self.thread), page)

    def work(self, deadline: float) -> None:
        """Goes on until then, and reads all."""
        while time.monotonic() < deadline:
            self.step()
        for page in range(self.NR_PAGES):
            self.expect(self.mm, page)
        del self.mm


def test_address_spaces_survive_a_device_that_goes_off_and_on() -> None:
    """Faults of tasks, forks and exits race with reclaim, zswap and swapoff."""
    seed = random.SystemRandom().randrange(1 << 32)
    swap = sc.Swap(nr_cpus=THREADS, memory_pages=2048, zswap=sc.Zswap(max_pool_percent=5))
    swap.swapon(sc.Ghost(64 * C, virtual_table=True))
    storage = file_storage(16 * C)
    swap.swapon(file_storage(16 * C), priority=1)
    deadline = time.monotonic() + SECONDS / 2
    tasks = [Task(swap, thread, seed) for thread in range(THREADS)]
    outcomes = set()

    def toggle() -> None:
        device = None
        while time.monotonic() < deadline:
            if device is None:
                device = on_again(swap, storage)
                time.sleep(0.02)
            else:
                code = refusal(lambda device=device: swap.swapoff(device))
                assert code in (0, EBUSY, ENOMEM), code
                outcomes.add(code)
                device = device if code else None

    run_threads(seed, [*(lambda task=task: task.work(deadline) for task in tasks), toggle], SECONDS)
    assert min(task.nr_done for task in tasks) > 50
    assert 0 in outcomes
    tasks.clear()
    gc.collect()
    swap.shrink_swap_cache()
    swap.check()
    assert [device.inuse_pages for device in swap.devices] == [0] * len(swap.devices)
    assert swap.nr_used_pages == 0


@pytest.mark.parametrize("has_table", [False, True])
def test_reader_with_a_stale_index_sees_null(has_table: bool) -> None:
    """The last slot of a cluster goes while others look: they see it used or free, and in the end free."""
    swap = sc.Swap(nr_cpus=THREADS)
    device = swap.swapon(sc.Ghost(8 * C, virtual_table=has_table))
    hold = [swap.alloc(0) for _ in range(C - 1)]
    assert {entry.offset // C for entry in hold} == {0}
    deadline = time.monotonic() + SECONDS / 2
    entries = np.arange(C, 4 * C, dtype=np.uint64)
    seen: list[set[str]] = [set() for _ in range(2)]
    rounds = [0]

    def read(thread: int) -> None:
        rng = random.Random(thread)
        while time.monotonic() < deadline:
            words = np.frombuffer(swap.lookup_many(entries), np.uint64)
            for word in np.unique(words):
                assert int(word) != BAD
                seen[thread].add(unpack(int(word)).kind)
            found = swap.lookup(int(rng.choice(entries)))
            assert (found["kind"], found["count"]) in (("null", 0), ("shadow", 1))

    def create_and_destroy() -> None:
        rng = random.Random(9)
        while time.monotonic() < deadline:
            rounds[0] += 1
            mine = [swap.alloc(0, cpu=2) for _ in range(rng.choice([1, 2, 600]))]
            assert all(swap.lookup(entry)["kind"] == "shadow" for entry in mine)
            rng.shuffle(mine)
            for entry in mine:
                swap.free(entry, cpu=3)
                assert swap.lookup(entry)["kind"] == "null", "stale, whether its cluster is there or not"

    run_threads(9, [lambda: read(0), lambda: read(1), create_and_destroy], SECONDS)
    assert rounds[0] > 10
    assert seen[0] | seen[1] == {"null", "shadow"}
    assert not np.frombuffer(swap.lookup_many(entries), np.uint64).any()
    assert device.memory()["table_bytes"] == PAGE, "cluster 0 alone is there"
    swap.check()


def test_reverse_map_names_nobody_once_the_virtual_slot_is_gone() -> None:
    """Who reads the word of a physical slot sees its owner or nothing."""
    swap = sc.Swap(nr_cpus=THREADS)
    ghost = swap.swapon(sc.Ghost(8 * C, virtual_table=True))
    device = swap.swapon(file_storage(C))
    deadline = time.monotonic() + SECONDS / 4
    slots = np.arange(C, dtype=np.uint64) + np.uint64(device.type << 58)
    seen = set()

    def read() -> None:
        while time.monotonic() < deadline:
            for word in np.frombuffer(swap.lookup_many(slots), np.uint64):
                kind = unpack(int(word)).kind
                seen.add(kind)
                if kind == "pointer":
                    owner = pointer_of(int(word)).owner
                    assert owner >> 58 == ghost.type
                    assert 0 < owner & 0xFFFF_FFFF < ghost.max_pages

    def churn() -> None:
        number = 0
        while time.monotonic() < deadline:
            number += 1
            entries = [swap.swap_out(swap.folio(0, text(number + page)), cpu=1) for page in range(40)]
            for entry in entries:
                swap.free(entry, cpu=2)

    run_threads(0, [read, churn], SECONDS)
    assert {"null", "pointer"} <= seen <= {"null", "pointer", "bad"}
    assert Reader(swap).errors() == []
    assert device.inuse_pages == ghost.inuse_pages == 0
    swap.check()
