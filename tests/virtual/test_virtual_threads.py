"""Threads use virtual slots while a device goes off and on; threads read clusters while they are freed."""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections import deque
from errno import EAGAIN, EBUSY, EEXIST, ENOENT, ENOMEM, ENOSPC
from functools import partial

import numpy as np
import pytest
import swapcore as sc
from helpers.load import Load, new_seed
from helpers.memcg_facts import BAD, PAGE, TYPE_SHIFT, Task, file_storage, refusal, task_of, unpack
from helpers.virtual_facts import C, Reader, VirtualWorld, data_at, noise, parts_of, text, zeros

THREADS = 4
MAX_HELD = 64
MAX_RUNS = 900


def toggle(swap: sc.Swap, storage: sc.Faulty, load: Load, outcomes: set[str]) -> None:
    """Turns a device on and off until the load ends, and adds each result of swapoff to ``outcomes``."""
    device: list[sc.SwapDevice] = []
    while load.goes_on():
        if not device:
            # The storage stays busy after swapoff while another thread still reads the device.
            deadline = time.monotonic() + 10
            while refusal(lambda: device.append(swap.swapon(storage, priority=5))):
                assert time.monotonic() < deadline, "the storage stays busy"
            time.sleep(0.01)
            continue
        code = refusal(swap.swapoff, device[0])
        outcomes.add(f"swapoff {code}")
        # EBUSY: a slot of the device backs no virtual slot, and swapoff has no unuse hook that would free the
        # slot.
        assert code in (0, EBUSY, ENOMEM), code
        if not code:
            device.clear()


def data_of(number: int) -> bytes:
    """Returns the bytes of the run with this number: 1 to 4 pages of zeros, text or noise."""
    order = (0, 0, 0, 1, 2)[number % 5]
    kind = number // 5 % 8
    return zeros(1 << order) if kind == 0 else (noise if kind < 3 else text)(number, 1 << order)


class Hammer:
    """Four threads on one subsystem that share all swapped-out runs."""

    def __init__(self, seed: int, zswap: sc.Zswap | None) -> None:
        """Turns on a virtual device and a file. `toggle` turns a second file on and off."""
        self.seed = seed
        self.swap = sc.Swap(nr_cpus=THREADS, memory_pages=8192, zswap=zswap, switches={"memcg_stock": "off"})
        self.ghost = self.swap.swapon(sc.Ghost(pages=64 * C, is_virtual=True))
        self.storage = file_storage(8 * C)
        self.other = self.swap.swapon(file_storage(8 * C), priority=1)
        self.world = VirtualWorld(self.swap)
        self.groups = [self.world.add(self.swap.memcg, name) for name in "AB"]
        self.runs: deque[tuple[int, int]] = deque()
        """The first slot and the number of each run.

        A thread that removes a run from `runs` owns one reference of each slot of the run.
        """
        self.numbers = iter(range(1 << 62))
        self.done = [0] * THREADS
        self.outcomes: set[str] = set()
        self.load = Load(seed, share=2.0, is_enough=self.is_enough)

    def is_enough(self) -> bool:
        """Tells whether each thread made 100 steps and swapoff succeeded on a device in use."""
        wanted = {"swapoff 0", "out 0", "again 0"}
        is_done = min(self.done) > 100 and wanted <= self.outcomes
        return is_done and self.swap.stats()["swapoff_rmap_slots"] > 0

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
        self.put_out(folio, 0, number, thread, "out")

    def put_out(self, folio: sc.Folio, page: int, number: int, thread: int, name: str) -> None:
        """Swaps out a folio whose pages from ``page`` on are a run. A failure must not change the bytes."""
        slots: list[int] = []
        code = refusal(lambda: slots.append(int(self.swap.swap_out(folio, cpu=thread))))
        assert code in (0, ENOSPC, ENOMEM, EBUSY), code
        if slots:
            self.runs.append((slots[0] + page, number))
        else:
            data = data_of(number)
            assert folio.read(page * PAGE, len(data)) == data
        self.outcomes.add(f"{name} {code}")

    def bring_in(self, thread: int, rng: random.Random) -> None:
        """Swaps a run in, compares its bytes, and swaps the folio out again or drops the folio."""
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
            self.put_out(folio, page, number, thread, "again")

    def give_up(self, thread: int, _rng: random.Random) -> None:
        """Frees a run without reading it."""
        entry, number = self.runs.pop()
        self.swap.free(entry, len(data_of(number)) // PAGE, cpu=thread)

    def disturb(self, thread: int, rng: random.Random) -> None:
        """Moves or reads the backing of a run that another thread may free at the same time."""
        runs = list(self.runs)
        if not runs:
            return
        entry, _ = rng.choice(runs)
        kind = rng.randrange(5)
        if kind == 0:
            code = refusal(self.swap.zswap.writeback, entry, cpu=thread)
            assert code in (0, EEXIST, ENOENT, ENOMEM), code
        elif kind == 1:
            code = refusal(self.swap.zswap.shrink, memcg=rng.choice(self.groups), cpu=thread)
            assert code in (0, EAGAIN, ENOENT), code
        elif kind == 2:
            code = refusal(self.swap.move_backing, entry, self.other, cpu=thread)
            assert code in (0, ENOMEM), code
        elif kind == 3:
            code = refusal(self.swap.backing, entry, 4)
            assert code == 0
        else:
            self.swap.shrink_swap_cache(16)
            code = 0
        self.outcomes.add(f"disturb {kind} {code}")

    def work(self, thread: int) -> None:
        """Makes random steps until the load ends."""
        rng = random.Random(self.seed + thread)
        while self.load.goes_on():
            self.done[thread] += 1
            # IndexError: `runs` is empty. RuntimeError: another thread changes `runs` during a copy.
            with contextlib.suppress(IndexError, RuntimeError):
                if len(self.runs) < MAX_RUNS and rng.random() < 0.45:
                    self.out(thread, rng)
                elif rng.random() < 0.6:
                    self.bring_in(thread, rng)
                elif rng.random() < 0.3:
                    self.give_up(thread, rng)
                else:
                    self.disturb(thread, rng)

    def finish(self) -> None:
        """Compares the bytes of all runs, and expects no page, slot or charge to be left."""
        gc.collect()
        self.world.verify()
        for entry, number in self.runs:
            data = data_of(number)
            assert data_at(self.swap, entry, len(data) // PAGE) == data, f"seed {self.seed}: run {number}"
        gc.collect()
        self.swap.shrink_swap_cache()
        assert not any(device.inuse_pages for device in self.swap.devices)
        self.world.expect_nothing()
        self.world.verify()


@pytest.mark.parametrize("has_zswap", [False, True])
def test_data_survives_four_threads_and_a_device_that_goes_off_and_on(has_zswap: bool) -> None:
    hammer = Hammer(new_seed(), sc.Zswap(max_pool_percent=2) if has_zswap else None)
    switching = partial(toggle, hammer.swap, hammer.storage, hammer.load, hammer.outcomes)
    hammer.load.run_each(THREADS, hammer.work, switching)
    assert hammer.swap.stats()["swapoff_ptes_visited"] == 0
    hammer.finish()


class Worker:
    """A thread with an address space.

    `data` makes the bytes of a page from the page's entry in ``numbers``.
    """

    NR_PAGES = 1024

    def __init__(self, swap: sc.Swap, thread: int, seed: int) -> None:
        """Makes the address space."""
        self.rng = random.Random(seed + thread)
        self.cpu = thread
        order = self.rng.choice([0, 2])
        self.task: Task | None = task_of(swap, None, self.NR_PAGES, orders=0b111, anon_order=order)
        self.numbers: dict[int, int] = {}
        self.nr_done = 0

    def data(self, page: int) -> bytes:
        """Returns the expected bytes of a page."""
        return (text, noise)[page % 2](self.numbers[page]) if page in self.numbers else zeros()

    def expect(self, task: Task, page: int) -> None:
        """Compares a page with its expected bytes."""
        assert task.read(page, cpu=self.cpu) == self.data(page), f"page {page} of thread {self.cpu}"

    def step(self, task: Task) -> None:
        """Writes, reads, reclaims or unmaps a page, or forks the task."""
        self.nr_done += 1
        page, kind = self.rng.randrange(self.NR_PAGES), self.rng.random()
        if kind < 0.5:
            self.numbers[page] = self.rng.randrange(1 << 30)
            task.write(self.data(page), page, cpu=self.cpu)
        elif kind < 0.9:
            self.expect(task, page)
        elif kind < 0.96:
            task.pageout(min(16, self.NR_PAGES - page), page, cpu=self.cpu)
        elif kind < 0.98:
            task.mm.zap(task.first + page, 1)
            self.numbers.pop(page, None)
        else:
            self.expect(Task(task.mm.fork(cpu=self.cpu), task.first), page)

    def work(self, load: Load) -> None:
        """Makes steps until the load ends, then compares all pages and exits."""
        task, self.task = self.task, None
        while load.goes_on():
            self.step(task)
        for page in range(self.NR_PAGES):
            self.expect(task, page)


def test_address_spaces_survive_a_device_that_goes_off_and_on() -> None:
    """Faults, forks and exits of tasks race with reclaim, zswap and swapoff. Every page keeps its bytes."""
    seed = new_seed()
    swap = sc.Swap(nr_cpus=THREADS, memory_pages=2048, zswap=sc.Zswap(max_pool_percent=5))
    swap.swapon(sc.Ghost(pages=64 * C, is_virtual=True))
    storage = file_storage(16 * C)
    swap.swapon(file_storage(16 * C), priority=1)
    workers = [Worker(swap, thread, seed) for thread in range(THREADS)]
    outcomes: set[str] = set()
    load = Load(
        seed, is_enough=lambda: "swapoff 0" in outcomes and min(worker.nr_done for worker in workers) > 50
    )
    switching = partial(toggle, swap, storage, load, outcomes)
    load.run_each(THREADS, lambda thread: workers[thread].work(load), switching)
    workers.clear()
    gc.collect()
    swap.shrink_swap_cache()
    swap.check()
    assert not any(device.inuse_pages for device in swap.devices)
    assert swap.nr_used_pages == 0


@pytest.mark.parametrize("has_table", [False, True])
def test_reader_with_a_stale_index_sees_null(has_table: bool) -> None:
    """While cluster tables are allocated and freed, a reader sees each slot as used or free, never as bad."""
    swap = sc.Swap(nr_cpus=THREADS)
    device = swap.swapon(sc.Ghost(pages=8 * C, is_virtual=has_table))
    hold = [swap.alloc(0) for _ in range(C - 1)]
    assert {entry.offset // C for entry in hold} == {0}
    entries = np.arange(C, 4 * C, dtype=np.uint64)
    seen: list[set[str]] = [set() for _ in range(2)]
    rounds = [0]
    load = Load(9, is_enough=lambda: rounds[0] > 10 and seen[0] | seen[1] == {"null", "shadow"})

    def read(thread: int) -> None:
        rng = random.Random(thread)
        while load.goes_on():
            words = np.frombuffer(swap.lookup_many(entries), np.uint64)
            for word in np.unique(words):
                assert int(word) != BAD
                seen[thread].add(unpack(int(word)).kind)
            found = swap.lookup(int(rng.choice(entries)))
            assert (found["kind"], found["count"]) in (("null", 0), ("shadow", 1))

    def create_and_destroy() -> None:
        rng = random.Random(9)
        while load.goes_on():
            rounds[0] += 1
            mine = [swap.alloc(0, cpu=2) for _ in range(rng.choice([1, 2, 600]))]
            assert all(swap.lookup(entry)["kind"] == "shadow" for entry in mine)
            rng.shuffle(mine)
            for entry in mine:
                swap.free(entry, cpu=3)
                assert swap.lookup(entry)["kind"] == "null", "a freed slot reads as free"

    load.run_each(2, read, create_and_destroy)
    assert seen[0] | seen[1] == {"null", "shadow"}, "readers saw no other word"
    assert not np.frombuffer(swap.lookup_many(entries), np.uint64).any()
    assert device.memory()["table_bytes"] == PAGE, "only cluster 0 exists"
    swap.check()


def test_reverse_map_names_nobody_once_the_virtual_slot_is_gone() -> None:
    """While slots are allocated and freed, a physical slot reads as a valid pointer, as free or as bad."""
    swap = sc.Swap(nr_cpus=THREADS)
    ghost = swap.swapon(sc.Ghost(pages=8 * C, is_virtual=True))
    device = swap.swapon(file_storage(C))
    slots = np.arange(C, dtype=np.uint64) + np.uint64(device.type << TYPE_SHIFT)
    seen: set[str] = set()
    load = Load(0, share=0.5, is_enough=lambda: {"null", "pointer"} <= seen)

    def read() -> None:
        while load.goes_on():
            for word in np.frombuffer(swap.lookup_many(slots), np.uint64):
                found = unpack(int(word))
                seen.add(found.kind)
                if found.kind == "pointer":
                    assert found.owner >> TYPE_SHIFT == ghost.type
                    assert 0 < found.owner & 0xFFFF_FFFF < ghost.max_pages

    def churn() -> None:
        number = 0
        while load.goes_on():
            number += 1
            entries = [swap.swap_out(swap.folio(0, text(number + page)), cpu=1) for page in range(40)]
            for entry in entries:
                swap.free(entry, cpu=2)

    load.run([read, churn])
    assert seen <= {"null", "pointer", "bad"}
    assert Reader(swap).errors() == []
    assert device.inuse_pages == ghost.inuse_pages == 0
    swap.check()
