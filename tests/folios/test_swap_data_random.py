"""Random programs over folios with data on two devices, one with faults, against a dict of bytes."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import swapcore as sc
from helpers.programs import nr_programs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = sc.PAGE_SIZE
DEVICE_PAGES = 2048

seeds = st.integers(0, 2**32)
indexes = st.integers(0, 1000)
orders = st.sampled_from([0, 0, 0, 1, 2, 4, 9])


def content(seed: int, order: int) -> bytes:
    """Returns zeros, text or noise.

    Some folios have one kind in all pages, others draw a kind for each page.
    """
    rng = random.Random(seed)
    makers: list[Callable[[], bytes]] = [
        lambda: bytes(PAGE),
        lambda: rng.randbytes(8) * (PAGE // 8),
        lambda: rng.randbytes(PAGE),
    ]
    chosen = rng.choice(makers) if rng.random() < 0.7 else None
    return b"".join((chosen or rng.choice(makers))() for _ in range(1 << order))


@dataclass
class Run:
    """Slots in use and their content."""

    entry: int
    data: bytes


class SwapDataMachine(RuleBasedStateMachine):
    """Folios in memory and runs in swap, each with the bytes that it must contain."""

    def __init__(self) -> None:
        super().__init__()
        self.swap = sc.Swap(nr_cpus=2, memory_pages=4096)
        self.faulty = sc.Faulty(sc.Ram(pages=DEVICE_PAGES))
        self.swap.swapon(sc.Zram(pages=DEVICE_PAGES), priority=5)
        self.swap.swapon(self.faulty, priority=5)
        self.folios: list[tuple[sc.Folio, bytes]] = []
        self.runs: list[Run] = []

    @rule(order=orders, seed=seeds)
    def make(self, order: int, seed: int) -> None:
        """Makes a folio, if there is memory."""
        data = content(seed, order)
        try:
            self.folios.append((self.swap.folio(order, data), data))
        except MemoryError:
            assert self.swap.nr_used_pages > 2048

    @precondition(lambda self: self.folios)
    @rule(index=indexes, seed=seeds)
    def write(self, index: int, seed: int) -> None:
        """Changes some bytes of a folio through a memoryview or with `Folio.write`."""
        index %= len(self.folios)
        folio, data = self.folios[index]
        patch = random.Random(seed).randbytes(100)
        at = seed % (len(data) - len(patch))
        if seed % 2:
            folio.write(patch, at)
        else:
            with memoryview(folio) as view:
                view[at : at + len(patch)] = patch
        self.folios[index] = (folio, data[:at] + patch + data[at + len(patch) :])

    @precondition(lambda self: self.folios)
    @rule(index=indexes, cpu=st.integers(0, 1))
    def swap_out(self, index: int, cpu: int) -> None:
        """Swaps a folio out. A failed swap-out must leave the folio unchanged."""
        folio, data = self.folios.pop(index % len(self.folios))
        try:
            entry = self.swap.swap_out(folio, cpu=cpu)
        except (sc.SwapIOError, sc.SwapFullError, sc.SwapBusyError):
            self.folios.append((folio, data))
        else:
            self.runs.append(Run(int(entry), data))

    @precondition(lambda self: self.runs)
    @rule(index=indexes, mask=st.integers(0, 1023), cpu=st.integers(0, 1))
    def swap_in(self, index: int, mask: int, cpu: int) -> None:
        """Swaps a run in. After a failure, the slots that were not swapped in must keep their data."""
        run = self.runs.pop(index % len(self.runs))
        nr_pages = len(run.data) // PAGE
        try:
            folios = self.swap.swap_in_batch(
                [sc.SwpEntry(run.entry + page) for page in range(nr_pages)]
                if mask % 2
                else [sc.SwpEntry(run.entry, nr_pages.bit_length() - 1)],
                orders=mask,
                cpu=cpu,
            )
            error = None
        except (sc.SwapIOError, MemoryError) as caught:
            folios, error = caught.folios, type(caught)  # type: ignore[union-attr]
        at = 0
        for folio in folios:
            data = run.data[at : at + len(folio)]
            assert folio.read() == data
            self.folios.append((folio, data))
            at += len(folio)
        if error is not None:
            left = run.data[at:]
            for page in range(len(left) // PAGE):
                entry = run.entry + at // PAGE + page
                assert self.swap.swap_count(entry) >= 1
                self.runs.append(Run(entry, left[page * PAGE : (page + 1) * PAGE]))
        else:
            assert at == len(run.data)

    @precondition(lambda self: self.runs)
    @rule(index=indexes)
    def give_up(self, index: int) -> None:
        """Frees a run without a swap-in."""
        run = self.runs.pop(index % len(self.runs))
        self.swap.free(run.entry, len(run.data) // PAGE)

    @precondition(lambda self: self.folios)
    @rule(index=indexes, order=st.integers(0, 8))
    def split(self, index: int, order: int) -> None:
        """Splits a folio."""
        folio, data = self.folios.pop(index % len(self.folios))
        try:
            parts = self.swap.folio_split(folio, order)
        except (sc.InvalidArgumentError, sc.SwapBusyError):
            self.folios.append((folio, data))
            return
        size = len(parts[0])
        self.folios += [(part, data[i * size : (i + 1) * size]) for i, part in enumerate(parts[:4])]

    @precondition(lambda self: self.folios)
    @rule(index=indexes)
    def migrate(self, index: int) -> None:
        """Migrates a folio."""
        folio, data = self.folios.pop(index % len(self.folios))
        try:
            folio = self.swap.folio_migrate(folio)
        except MemoryError:
            assert self.swap.nr_used_pages > 2048
        self.folios.append((folio, data))

    @precondition(lambda self: self.folios)
    @rule(index=indexes)
    def drop(self, index: int) -> None:
        """Drops the handle of a folio."""
        del self.folios[index % len(self.folios)]

    @rule(plan=st.sampled_from(["none", "write", "read", "torn", "dice"]))
    def set_faults(self, plan: str) -> None:
        """Sets the failures that the second device will inject."""
        plans: dict[str, dict[str, float]] = {
            "none": {},
            "write": {"fail_write_in": 1},
            "read": {"fail_read_in": 1},
            "torn": {"tear_write_pages": 1},
            "dice": {"write_error_probability": 0.3, "read_error_probability": 0.3},
        }
        self.faulty.set_faults(**plans[plan])  # type: ignore[arg-type]

    @invariant()
    def is_consistent(self) -> None:
        """Checks the invariants, and compares the bytes of the last three folios in memory."""
        self.swap.check()
        for folio, data in self.folios[-3:]:
            assert folio.read() == data

    def teardown(self) -> None:
        """Compares the bytes of all folios and runs, frees them, and expects no page or slot to be left."""
        self.faulty.set_faults()
        assert all(folio.read() == data for folio, data in self.folios)
        self.folios.clear()
        for run in self.runs:
            folios = self.swap.swap_in_batch(
                [sc.SwpEntry(run.entry + i) for i in range(len(run.data) // PAGE)]
            )
            assert b"".join(folio.read() for folio in folios) == run.data
            del folios
        assert [device.inuse_pages for device in self.swap.devices] == [0, 0]
        # The frames of a caught error refer to folios until the garbage collector frees the frames.
        gc.collect()
        assert self.swap.nr_used_pages == 0
        self.swap.check()
        stats, injected = self.swap.stats(), self.faulty.stats()
        assert stats["write_errors"] == injected["injected_write_errors"] + injected["torn_writes"]
        assert stats["read_errors"] == injected["injected_read_errors"]


TestSwapDataMachine = SwapDataMachine.TestCase
TestSwapDataMachine.settings = settings(max_examples=nr_programs(30), stateful_step_count=30)
