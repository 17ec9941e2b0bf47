"""Drives the real allocator and the naive model through the same operations and compares the results.

Every method of `Lockstep` is one operation. It raises AssertionError with a replayable list of the operations
so far when the two disagree, and calls `Swap.check` after each.
"""

from __future__ import annotations

import errno
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from swapcore import Folio, Null, Swap, SwapDevice, SwpEntry

from helpers.model import MAX_ORDER, C, Device, Disk, Model, Switches
from helpers.model import Folio as ModelFolio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TYPE_SHIFT = 58
FREE, SWAPPED_OUT, CACHED, BAD = range(4)  # bytes of `SwapDevice.slots`


def value_of(kind: int, offset: int) -> int:
    """Encodes an entry."""
    return kind << TYPE_SHIFT | offset


def place_of(entry: SwpEntry) -> tuple[int, int]:
    """Returns (type, slot) of an entry."""
    return entry.type, entry.offset


@dataclass(eq=False)
class Pair:
    """One folio on both sides; the real handle may have been dropped while the folio is cached."""

    real: Folio | None
    model: ModelFolio


class Lockstep:
    """The real subsystem and the model side by side."""

    def __init__(
        self,
        *,
        nr_cpus: int,
        profile: str,
        workers: str,
        switches: dict[str, str] | None = None,
        dump_every: int = 1,
    ) -> None:
        """Starts both without a device. The whole dump is compared on every `dump_every`-th step."""
        self.log = [f"side = Lockstep({nr_cpus=}, {profile=}, {workers=}, {switches=})"]
        self.swap = Swap(nr_cpus=nr_cpus, profile=profile, workers=workers, switches=switches)
        self.model = Model(nr_cpus, workers, Switches.of(self.swap.switches))
        self.devices: dict[int, SwapDevice] = {}
        self.runs: list[tuple[int, int, int]] = []  # (type, first slot, slots) once handed out
        self.folios: list[Pair] = []
        self.hibernation: list[tuple[int, int]] = []
        self.dump_every = dump_every

    def both(self, call: str, real: Callable[[], Any], modelled: Callable[[], Any]) -> tuple[Any, int | None]:
        """Runs an operation on both sides and compares answer or errno; returns them."""
        self.log.append(call)
        answers: list[tuple[Any, int | None]] = []
        for operation in (real, modelled):
            try:
                answers.append((operation(), None))
            except OSError as error:
                answers.append((None, error.errno))
        assert answers[0] == answers[1], self.report(f"real {answers[0]}, model {answers[1]}")
        self.compare()
        if len(self.log) % self.dump_every == 0:
            self.compare_all()
        if len(self.log) % (8 * self.dump_every) == 0:
            self.compare_slots()
        return answers[1]

    def report(self, what: str) -> str:
        """Describes a disagreement with the operations that led to it."""
        return "\n".join([what, *self.log, f"model {self.model.dump()}", f"real  {self.swap.dump()}"])

    def compare(self) -> None:
        """Compares the counters and proves the real side's invariants."""
        real = {kind: device.inuse_pages for kind, device in self.devices.items()}
        want = {kind: device.inuse for kind, device in self.model.devices.items()}
        assert real == want, self.report(f"inuse: real {real}, model {want}")
        assert self.swap.nr_swap_pages == self.model.nr_swap_pages, self.report("nr_swap_pages")
        assert self.swap.vm_swap_full == self.model.full_swap, self.report("vm_swap_full")
        self.swap.check()

    def compare_all(self) -> None:
        """Compares lists, hints, device order and every folio's place."""
        assert self.swap.dump() == self.model.dump(), self.report("dump")
        for pair in self.folios:
            if pair.real is not None:
                real_place = pair.real.entry and place_of(pair.real.entry)
                place = pair.model.entry and (pair.model.entry[0].type, pair.model.entry[1])
                assert real_place == place, self.report(f"folio at {real_place}, model {place}")

    def compare_slots(self) -> None:
        """Compares the state of every slot, and the reference count of every slot in use."""
        for kind, device in self.model.devices.items():
            states = states_of(device)
            real = self.devices[kind].slots()
            assert real == states, self.report(f"slots of type {kind}: {difference(real, states)}")
            for slot, state in device.slots.items():
                if not state.is_bad:
                    count = self.swap.swap_count(value_of(kind, slot))
                    assert count == state.count, self.report(
                        f"({kind}, {slot}): count {count}, model {state.count}"
                    )

    # Devices

    def swapon(self, disk: Disk) -> None:
        """Turns a device on."""
        storage = Null(
            pages=disk.pages,
            bad_pages=sorted(disk.bad),
            is_rotational=disk.rotational,
            is_block_device=disk.blkdev,
            can_discard=disk.page_discard,
        )

        def real() -> int:
            discard = "pages" if disk.page_discard else None
            device = self.swap.swapon(storage, priority=disk.priority, discard=discard)
            self.devices[device.type] = device
            return device.type

        self.both(
            f"side.swapon({disk})",
            real,
            lambda: self.model.swapon(disk),
        )

    def swapoff(self, kind: int, keep_every: int | None = None, *, hook: bool = False) -> None:
        """Turns a device off, with a hook that gives every reference back but those of each n-th slot."""
        calls: dict[str, list[tuple[int, int, int]]] = {"real": [], "model": []}

        def keeps(slot: int) -> bool:
            return keep_every is not None and slot % keep_every == 0

        def real_unuse(entry: SwpEntry, count: int) -> None:
            calls["real"].append((*place_of(entry), count))
            for _ in range(0 if keeps(entry.offset) else count):
                self.swap.put(entry, 1)

        def model_unuse(type_: int, slot: int, count: int) -> None:
            calls["model"].append((type_, slot, count))
            for _ in range(0 if keeps(slot) else count):
                self.model.put(type_, slot)

        def real() -> None:
            device = self.devices[kind]
            self.swap.swapoff(device, real_unuse if hook else None)
            del self.devices[kind]

        _, code = self.both(
            f"side.swapoff({kind}, {keep_every}, {hook=})",
            real,
            lambda: self.model.swapoff(kind, model_unuse if hook else None),
        )
        # The real side comes back to slots that the hook left in use.
        assert list(dict.fromkeys(calls["real"])) == calls["model"], self.report(
            "unuse was called for other slots"
        )
        if code is None:
            self.runs = [run for run in self.runs if run[0] != kind]
            self.hibernation = [place for place in self.hibernation if place[0] != kind]

    # Allocation

    def alloc(self, order: int, cpu: int) -> None:
        """Allocates one run."""
        found, _ = self.both(
            f"side.alloc({order}, {cpu})",
            lambda: place_of(self.swap.alloc(order, cpu=cpu)),
            lambda: self.model.alloc(order, cpu) or full(),
        )
        if found:
            self.runs.append((*found, 1 << order))

    def alloc_batch(self, n: int, order: int, cpu: int) -> None:
        """Allocates runs until one fails or `n` are there."""

        def modelled() -> list[int]:
            found: list[int] = []
            while len(found) < n and (place := self.model.alloc(order, cpu)):
                found.append(value_of(*place))
            return found

        found, _ = self.both(
            f"side.alloc_batch({n}, {order}, {cpu})",
            lambda: memoryview(self.swap.alloc_batch(n, order, cpu=cpu)).tolist(),
            modelled,
        )
        self.runs += [(v >> TYPE_SHIFT, v & ((1 << TYPE_SHIFT) - 1), 1 << order) for v in found]

    def alloc_hibernation(self, kind: int, cpu: int) -> None:
        """Allocates a hibernation slot."""
        found, _ = self.both(
            f"side.alloc_hibernation({kind}, {cpu})",
            lambda: place_of(self.swap.alloc_hibernation(self.devices[kind], cpu=cpu)),
            lambda: self.model.alloc_hibernation(kind, cpu) or full(),
        )
        if found:
            self.hibernation.append(found)

    def free_hibernation(self, index: int) -> None:
        """Gives a hibernation slot back."""
        place = self.hibernation.pop(index)
        self.both(
            f"side.free_hibernation({index})",
            lambda: self.swap.free_hibernation(value_of(*place), cpu=0),
            lambda: self.model.free_hibernation(*place),
        )

    # References

    def put(self, kind: int, offset: int, nr: int) -> int | None:
        """Takes one reference from each slot of a range; returns the errno."""
        return self.both(
            f"side.put({kind}, {offset}, {nr})",
            lambda: self.swap.put(value_of(kind, offset), nr, cpu=0),
            lambda: self.model.put(kind, offset, nr),
        )[1]

    def dup(self, kind: int, offset: int, nr: int) -> int | None:
        """Adds one reference to each slot of a range; returns the errno."""
        return self.both(
            f"side.dup({kind}, {offset}, {nr})",
            lambda: self.swap.dup(value_of(kind, offset), nr, cpu=0),
            lambda: self.model.dup(kind, offset, nr),
        )[1]

    def free_batch(self, runs: Sequence[tuple[int, int]], order: int) -> None:
        """Frees runs of one order in one call."""

        def modelled() -> None:
            for kind, offset in runs:
                self.model.put(kind, offset, 1 << order)

        self.both(
            f"side.free_batch({list(runs)}, {order})",
            lambda: self.swap.free_batch(
                array("Q", [value_of(*place) for place in runs]), order=order, cpu=0
            ),
            modelled,
        )

    def referenced_pieces(self, kind: int, offset: int, nr: int) -> list[tuple[int, int]]:
        """Returns the sub-ranges (first, slots) of a range in which every slot has a reference of ours."""
        device = self.model.devices[kind]
        pieces: list[tuple[int, int]] = []
        for slot in range(offset, offset + nr):
            if slot in device.slots and device.slots[slot].count and slot not in device.hibernation:
                if pieces and sum(pieces[-1]) == slot:
                    pieces[-1] = (pieces[-1][0], pieces[-1][1] + 1)
                else:
                    pieces.append((slot, 1))
        return pieces

    def is_in_use(self, run: tuple[int, int, int]) -> bool:
        """Says if some slot of a run is still in use."""
        kind, first, nr = run
        slots = self.model.devices[kind].slots
        return any(slot in slots for slot in range(first, first + nr))

    def prune_runs(self) -> None:
        """Forgets the runs of which nothing is in use any more."""
        self.runs = [run for run in self.runs if self.is_in_use(run)]

    # Folios

    def folio_alloc_swap(self, order: int, cpu: int) -> None:
        """Makes a folio and gives it slots."""
        pair = Pair(self.swap.folio(order), ModelFolio(order))
        found, _ = self.both(
            f"side.folio_alloc_swap({order}, {cpu})",
            lambda: place_of(self.swap.folio_alloc_swap(self.real(pair), cpu=cpu)),
            lambda: self.model.folio_alloc_swap(pair.model, cpu) or full(),
        )
        if found:
            self.folios.append(pair)
            self.runs.append((*found, 1 << order))

    def swap_cache_add_folio(self, kind: int, offset: int, order: int) -> int | None:
        """Makes a folio and puts it over swapped-out slots; returns the errno."""
        pair = Pair(self.swap.folio(order), ModelFolio(order))
        _, code = self.both(
            f"side.swap_cache_add_folio({kind}, {offset}, {order})",
            lambda: self.swap.swap_cache_add_folio(self.real(pair), value_of(kind, offset)),
            lambda: self.model.swap_cache_add_folio(pair.model, kind, offset),
        )
        if code is None:
            self.folios.append(pair)
        return code

    def real(self, pair: Pair) -> Folio:
        """Returns the real handle of a folio, looked up by its slot if it was dropped."""
        if pair.real is None:
            assert pair.model.entry is not None
            dev, offset = pair.model.entry
            pair.real = self.swap.folio_at(value_of(dev.type, offset))
            assert pair.real is not None, self.report("a cached folio is not found by its slot")
        return pair.real

    def drop_handle(self, index: int) -> None:
        """Drops the real handle of a cached folio: the cache keeps the folio, a lock goes with its holder."""
        self.log.append(f"side.drop_handle({index})")
        pair = self.folios[index]
        pair.real = None
        pair.model.locked = False
        self.model.unmap(pair.model)

    def cached_folios(self) -> list[int]:
        """Returns the indexes of folios in the cache, and forgets the others."""
        cached = [pair for pair in self.folios if pair.model.entry]
        if len(cached) < len(self.folios):
            self.log.append("side.cached_folios()")
        self.folios = cached
        return list(range(len(self.folios)))

    def set_traits(self, index: int, **traits: bool) -> None:
        """Sets locked, writeback, mapped or dirty on both sides of a folio."""
        self.log.append(f"side.set_traits({index}, **{traits})")
        pair = self.folios[index]
        real = self.real(pair)
        for name, trait in traits.items():
            setattr(real, name, trait)
            if name == "mapped" and not trait:
                self.model.unmap(pair.model)
            else:
                setattr(pair.model, name, trait)

    def folio_dup_swap(self, index: int, page: int | None) -> None:
        """Adds references through a folio."""
        self.on_folio("folio_dup_swap", index, page)

    def folio_put_swap(self, index: int, page: int | None) -> None:
        """Takes references through a folio."""
        self.on_folio("folio_put_swap", index, page)

    def swap_cache_del_folio(self, index: int) -> None:
        """Takes a folio out of the cache."""
        self.on_folio("swap_cache_del_folio", index)

    def folio_free_swap(self, index: int) -> None:
        """Frees the slots of a folio if nothing refers to them."""
        self.on_folio("folio_free_swap", index)

    def on_folio(self, method: str, index: int, *args: int | None) -> None:
        """Calls a method that both sides have, with a folio."""
        pair = self.folios[index]
        folio = self.real(pair)
        self.both(
            f"side.{method}({', '.join(map(str, (index, *args)))})",
            lambda: getattr(self.swap, method)(folio, *args),
            lambda: getattr(self.model, method)(pair.model, *args),
        )

    # The end

    def run_workers(self) -> None:
        """Runs queued work."""

        def real() -> None:
            self.swap.run_workers()

        self.both("side.run_workers()", real, self.model.run_workers)

    def drain(self) -> None:
        """Compares everything, gives everything back and expects an empty subsystem."""
        self.compare_all()
        self.compare_slots()
        while self.hibernation:
            self.free_hibernation(0)
        for index in self.cached_folios():
            # A dirty folio with a reference stays; its content does not matter here.
            self.set_traits(index, locked=False, writeback=False, dirty=False)
        for index in self.cached_folios():
            if self.folios[index].model.entry:
                self.swap_cache_del_folio(index)
        for kind, device in sorted(self.model.devices.items()):
            for first, last in contiguous(s for s, state in device.slots.items() if not state.is_bad):
                while pieces := self.referenced_pieces(kind, first, last + 1 - first):
                    for piece, nr in pieces:
                        self.put(kind, piece, nr)
        self.run_workers()
        self.compare_all()
        assert all(device.inuse_pages == 0 for device in self.devices.values())


def states_of(device: Device) -> bytes:
    """Returns the expected bytes of `SwapDevice.slots`, one a slot."""
    states = bytearray([FREE]) * device.max
    for slot, state in device.slots.items():
        if slot < device.max:
            states[slot] = BAD if state.is_bad else CACHED if state.folio else SWAPPED_OUT
    return bytes(states)


def difference(real: bytes, want: bytes) -> list[tuple[int, int, int]]:
    """Lists the first slots whose states differ: (slot, real, wanted)."""
    if len(real) != len(want):
        return [(min(len(real), len(want)), len(real), len(want))]
    return [
        (slot, *states) for slot, states in enumerate(zip(real, want, strict=True)) if states[0] != states[1]
    ][:8]


def contiguous(slots: Iterable[int]) -> list[tuple[int, int]]:
    """Groups slots into inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if ranges and ranges[-1][1] + 1 == slot:
            ranges[-1] = (ranges[-1][0], slot)
        else:
            ranges.append((slot, slot))
    return ranges


def full() -> NoReturn:
    """Raises the error that the real side raises when there is no room."""
    raise OSError(errno.ENOSPC, "no room")


__all__ = ["MAX_ORDER", "C", "Disk", "Lockstep", "Pair", "value_of"]
