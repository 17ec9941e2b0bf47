"""Random programs over virtual slots. Hypothesis or a seed draws the steps; each step is a method.

A step takes three numbers, and each number chooses a folio, run of slots, device or setting. A step may fail
with an error that the step expects, and after such an error the data is unchanged. `VirtualWorld` checks the
states of slots and the charges of groups.
"""

from __future__ import annotations

import gc
import random
from collections import Counter
from dataclasses import dataclass
from errno import EAGAIN, EBUSY, EEXIST, EIO, ENOENT, ENOMEM, ENOSPC
from typing import ClassVar, NamedTuple

import swapcore as sc

from helpers.memcg_facts import PAGE, file_storage, refusal
from helpers.programs import Steps
from helpers.virtual_facts import C, Part, Reader, VirtualWorld, data_at, hard, noise, parts_of, text, zeros

ORDERS = (0, 0, 0, 1, 2, 3)
MAX_REFS = 18  # more than 14, the largest count that a table entry holds without the extend table


@dataclass
class Run:
    """Consecutive used slots, the bytes of the slots' pages, and the number of references of each slot.

    A run of more than one slot has one reference for each slot.
    """

    entry: int
    data: bytes
    refs: int = 1

    @property
    def nr_pages(self) -> int:
        """The number of slots."""
        return len(self.data) // PAGE


class Held(NamedTuple):
    """Resident pages of a folio whose handle the test holds, and the bytes that they must have."""

    part: Part
    data: bytes

    @property
    def folio(self) -> sc.Folio:
        """The folio of the pages."""
        return self.part.folio

    def overlaps(self, other: Held) -> bool:
        """Tells whether both parts contain the same page of the same folio."""
        ends = (self.part.page + self.part.nr_pages, other.part.page + other.part.nr_pages)
        return self.folio == other.folio and self.part.page < ends[1] and other.part.page < ends[0]

    @property
    def slots(self) -> range:
        """The slots of the pages, empty when the folio has no slots."""
        first = self.folio.entry
        start = 0 if first is None else int(first) + self.part.page
        return range(start, start + self.part.nr_pages * (first is not None))


@dataclass
class Size:
    """The sizes of devices and memory, and the limits of a program; small sizes make more steps fail."""

    ghost_pages: int = 8 * C
    physical_pages: int = 2 * C
    memory_pages: int = 2048
    swap_max_pages: int | None = None
    zswap_percent: int = 20
    max_held: int = 24


class Program(Steps):
    """A program on two virtual devices, two files that can fail, zswap and two groups; compares all bytes."""

    def __init__(
        self,
        size: Size,
        *,
        hierarchy: str = "v2",
        store: str = "shadow",
        seed: int = 0,
        has_faults: bool = True,
    ) -> None:
        """Makes the subsystem and turns all devices on."""
        self.size = size
        self.has_faults = has_faults
        swap = sc.Swap(
            nr_cpus=2,
            memory_pages=size.memory_pages,
            memcg=hierarchy,
            switches={"memcg_stock": "off", "owner_store": store},
            zswap=sc.Zswap(max_pool_percent=size.zswap_percent),
        )
        super().__init__(swap, VirtualWorld(swap), f"{size}, {hierarchy}, {store}, {seed=}")
        swap.page_cluster = 0
        self.ghosts = [
            self.swap.swapon(sc.Ghost(pages=size.ghost_pages, is_virtual=True), priority=1) for _ in range(2)
        ]
        self.storages = [file_storage(size.physical_pages) for _ in range(2)]
        self.devices: list[sc.SwapDevice | None] = [self.swap.swapon(storage) for storage in self.storages]
        self.groups = [self.world.add(self.swap.memcg, name) for name in ("A", "B")]
        if size.swap_max_pages is not None and hierarchy == "v2":
            self.groups[0].write("memory.swap.max", size.swap_max_pages * PAGE)
        self.runs: list[Run] = []
        self.held: list[Held] = []
        self.seen: Counter[str] = Counter()
        """The number of slots that `observe` saw in each state, and the number of steps by their outcome."""
        self.rng = random.Random(seed)

    # Steps

    def make(self, a: int, b: int, c: int) -> None:
        """Makes a folio, and swaps it out or keeps it in memory."""
        order = ORDERS[a % len(ORDERS)]
        if len(self.held) >= self.size.max_held:
            return
        maker = (text, hard, noise, zeros)[b % 4]
        data = maker(1 << order) if maker is zeros else maker(b, 1 << order)  # type: ignore[operator]
        if b % 8 == 0 and order:
            data = zeros() + data[PAGE:]
        made: list[sc.Folio] = []
        code = refusal(lambda: made.append(self.swap.folio(order, data, memcg=self.groups[c % 2])))
        assert code in (0, ENOMEM), code
        if made:
            self.held.append(Held(Part(made.pop(), 0, 1 << order), data))
            if c % 4:
                self._out(len(self.held) - 1, c)

    def swap_out(self, a: int, _b: int, c: int) -> None:
        """Swaps a folio out."""
        if self.held:
            self._out(a % len(self.held), c)

    def _out(self, index: int, c: int) -> None:
        held = self.held.pop(index)
        slots: list[int] = []
        code = refusal(lambda: slots.append(int(self.swap.swap_out(held.folio, cpu=c % 2))))
        assert code in (0, ENOSPC, EIO, EBUSY, ENOMEM), code
        self.seen[f"swap_out {code}"] += 1
        if not slots:
            assert held.folio.is_resident
            assert held.part.read() == held.data
            self.held.append(held)
            return
        entry = slots[0] + held.part.page
        for run in self.runs:
            if run.entry == entry and run.nr_pages == held.part.nr_pages:
                assert run.data == held.data
                run.refs += 1
                return
        self.runs.append(Run(entry, held.data))

    def swap_in(self, a: int, b: int, c: int) -> None:
        """Swaps a run in. Slots that a failed call did not swap in must keep their data."""
        if not self.runs or len(self.held) >= self.size.max_held:
            return
        run = self.runs.pop(a % len(self.runs))
        folios, code = [], 0
        entries = [sc.SwpEntry(run.entry, run.nr_pages.bit_length() - 1)]
        try:
            folios = self.swap.swap_in_batch(entries, orders=b % 1024, cpu=c % 2, memcg=self.groups[c % 2])
        except (sc.SwapIOError, MemoryError) as error:
            folios = error.folios  # type: ignore[union-attr]
            code = ENOMEM if isinstance(error, MemoryError) else EIO
        self.seen[f"swap_in {code}"] += 1
        at = 0
        for part in parts_of(folios, run.entry, run.nr_pages):
            data = run.data[at : at + part.nr_pages * PAGE]
            assert part.read() == data, "the folio has other bytes than the run"
            self.held.append(Held(part, data))
            at += len(data)
        if run.refs > 1:
            self.runs.append(Run(run.entry, run.data, run.refs - (not code)))
        else:
            assert code or at == len(run.data)
            self._keep_pieces(run, at)

    def _keep_pieces(self, run: Run, at: int) -> None:
        for page in range(at // PAGE, run.nr_pages):
            self.runs.append(Run(run.entry + page, run.data[page * PAGE : (page + 1) * PAGE]))

    def write(self, a: int, b: int, _c: int) -> None:
        """Writes a page of a `Held` whose pages and slots belong to no other `Held` and to no `Run`."""
        if not self.held:
            return
        index = a % len(self.held)
        held = self.held[index]
        slots = set(held.slots)
        others = [other for other in self.held if other is not held and held.overlaps(other)]
        if others or any(slots & set(range(run.entry, run.entry + run.nr_pages)) for run in self.runs):
            return
        page = b % held.part.nr_pages
        patch = (text(b), noise(b), zeros())[b % 3]
        held.folio.write(patch, (held.part.page + page) * PAGE)
        at = page * PAGE
        self.held[index] = Held(held.part, held.data[:at] + patch + held.data[at + PAGE :])

    def drop(self, a: int, _b: int, _c: int) -> None:
        """Drops the handle of a folio."""
        if self.held:
            del self.held[a % len(self.held)]

    def give_up(self, a: int, _b: int, c: int) -> None:
        """Frees one reference of each slot of a run."""
        if self.runs:
            run = self.runs[a % len(self.runs)]
            self.swap.free(run.entry, run.nr_pages, cpu=c % 2)
            run.refs -= 1
            if not run.refs:
                self.runs.remove(run)

    def dup(self, a: int, _b: int, _c: int) -> None:
        """Adds a reference to a single slot, as a fork does."""
        singles = [run for run in self.runs if run.nr_pages == 1 and run.refs < MAX_REFS]
        if singles:
            run = singles[a % len(singles)]
            self.swap.dup(run.entry, 1)
            run.refs += 1

    def peek(self, a: int, b: int, _c: int) -> None:
        """Adds a folio with the data of a slot to the swap cache without a read.

        If ``b`` is odd, the step removes the folio from the swap cache again.
        """
        if not self.runs or len(self.held) >= self.size.max_held:
            return
        run = self.runs[a % len(self.runs)]
        owner = self.swap.slot_owner(run.entry)
        groups = [group for group in self.groups if group.counters()["id"] == owner]
        if run.nr_pages != 1 or not groups or self.world.is_v1:
            return
        made: list[sc.Folio] = []
        refusal(lambda: made.append(self.swap.folio(0, run.data, memcg=groups[0])))
        if made:
            code = refusal(self.swap.swap_cache_add_folio, made[0], run.entry)
            assert code in (0, EEXIST), code
            self.observe()
            if b % 2 and not code:
                made[0].is_dirty = False
                self.swap.swap_cache_del_folio(made[0])

    def writeback(self, a: int, _b: int, c: int) -> None:
        """Moves one entry of zswap to a physical slot."""
        if self.runs:
            run = self.runs[a % len(self.runs)]
            entry = run.entry + c % run.nr_pages
            code = refusal(self.swap.zswap.writeback, entry, cpu=c % 2)
            assert code in (0, EEXIST, ENOENT, ENOMEM, EIO), code
            self.seen[f"writeback {code}"] += 1

    def shrink(self, a: int, _b: int, c: int) -> None:
        """Writes zswap entries of a group back, or runs the shrink worker of zswap."""
        if a % 2:
            code = refusal(self.swap.zswap.shrink, memcg=self.groups[c % 2], cpu=c % 2)
        else:
            code = refusal(self.swap.zswap.shrink_worker, cpu=c % 2)
        assert code in (0, EAGAIN, ENOENT, ENOMEM, EIO), code

    def move(self, a: int, b: int, c: int) -> None:
        """Moves a slot's backing to a physical device."""
        devices = [device for device in self.devices if device is not None]
        if not self.runs or not devices:
            return
        run = self.runs[a % len(self.runs)]
        if run.entry >> 58 not in {ghost.type for ghost in self.ghosts}:
            return
        answers: list[str] = []
        device = devices[b % len(devices)]
        code = refusal(lambda: answers.append(self.swap.move_backing(run.entry, device, cpu=c % 2)))
        assert code in (0, EIO, ENOMEM), code
        assert code or answers[0] in ("done", "in_place", "freed", "skipped", "no_room"), answers
        self.seen[f"move {answers or code}"] += 1

    def swapoff(self, a: int, _b: int, _c: int) -> None:
        """Turns a physical device on if it is off; otherwise tries to turn it off."""
        index = a % len(self.devices)
        device = self.devices[index]
        if device is None:
            self.devices[index] = self.swap.swapon(self.storages[index])
            return
        code = refusal(self.swap.swapoff, device)
        assert code in (0, EBUSY, EIO, ENOMEM), code
        self.seen[f"swapoff {code}"] += 1
        if not code:
            self.devices[index] = None
        else:
            assert device.is_on

    def reclaim(self, _a: int, _b: int, _c: int) -> None:
        """Frees cached folios that only the swap cache holds."""
        self.swap.shrink_swap_cache()

    def set_zswap(self, a: int, b: int, _c: int) -> None:
        """Turns zswap on or off, or changes its compressor."""
        if a % 3:
            self.swap.zswap.enabled = bool(b % 4)
        else:
            self.swap.zswap.compressor = ("lz4", "zstd")[b % 2]

    def set_faults(self, a: int, b: int, c: int) -> None:
        """Sets the failures that a storage and zswap will inject."""
        if not self.has_faults:
            return
        plans: list[dict[str, float]] = [
            {},
            {},
            {"fail_write_in": 1},
            {"fail_read_in": 1},
            {"tear_write_pages": 1},
            {"write_error_probability": 0.3, "read_error_probability": 0.3},
        ]
        self.storages[a % 2].set_faults(**plans[b % len(plans)])  # type: ignore[arg-type]
        name = ("entry_alloc", "pool_alloc", "compress", "decompress")[c % 4]
        self.swap.zswap.set_faults(**{name: (0.0, 0.3, 1.0)[a % 3]}, seed=b)

    STEPS: ClassVar[dict[str, int]] = {
        "make": 8,
        "swap_out": 5,
        "swap_in": 8,
        "write": 3,
        "drop": 3,
        "give_up": 3,
        "dup": 2,
        "peek": 3,
        "writeback": 4,
        "shrink": 2,
        "move": 3,
        "swapoff": 1,
        "reclaim": 1,
        "set_zswap": 2,
        "set_faults": 3,
    }
    """The weight of each step in a random choice."""

    # Running

    def run_any(self, nr_steps: int, *, verify_every: int = 1) -> None:
        """Makes random steps, and calls `verify` after every ``verify_every``-th step."""
        names = self.rng.choices(list(self.STEPS), list(self.STEPS.values()), k=nr_steps)
        self.run(names, self.rng, verify_every=verify_every)

    def observe(self) -> None:
        """Adds the states of all virtual slots to `seen`."""
        self.seen.update(Reader(self.swap).rows)

    def verify(self) -> None:
        """Verifies the `VirtualWorld`, and compares the bytes of the last three folios in `held`."""
        self.world.folios = [held.folio for held in self.held]
        super().verify()
        with self.explained("after these steps"):
            self.observe()
            for held in self.held[-3:]:
                assert held.part.read() == held.data

    def finish(self) -> None:
        """Compares the bytes of all pages and frees all pages. No page, slot or charge may be left."""
        for storage in self.storages:
            storage.set_faults()
        self.swap.zswap.set_faults()
        with self.explained("at the end"):
            assert all(held.part.read() == held.data for held in self.held)
            self.held.clear()
            self.world.folios.clear()
            gc.collect()
            for run in self.runs:
                for _ in range(run.refs):
                    assert data_at(self.swap, run.entry, run.nr_pages) == run.data
            self.runs.clear()
            gc.collect()
            self.swap.shrink_swap_cache()
            assert not any(device.inuse_pages for device in self.swap.devices)
            self.world.expect_nothing()
            self.world.verify()
