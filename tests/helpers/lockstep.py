"""Drives the real allocator and the naive model through the same operations and compares the results.

Every method of `Lockstep` that is an `operation` calls the same method of `swapcore.Swap` and of `Model`. It
raises AssertionError with a replayable list of the operations so far when the two disagree, and calls
`Swap.check` after each.
"""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from swapcore import Folio, Null, Swap, SwapDevice, SwpEntry

from helpers.model import MAX_ORDER, C, Device, Disk, Model, place_of, value_of
from helpers.model import Folio as ModelFolio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FREE, SWAPPED_OUT, CACHED, BAD = range(4)  # bytes of `SwapDevice.slots`


@dataclass(eq=False)
class Pair:
    """One folio on both sides; the real handle may have been dropped while the folio is cached."""

    real: Folio | None
    model: ModelFolio


def operation(method: Callable[..., Any]) -> Callable[..., Any]:
    """Adds each call of a method to the log of its `Lockstep`, as a line of Python."""

    @wraps(method)
    def logged(self: Lockstep, *args: object, **options: object) -> Any:  # noqa: ANN401 - as the method
        words = [*map(repr, args), *(f"{name}={option!r}" for name, option in options.items())]
        self.log.append(f"side.{method.__name__}({', '.join(words)})")
        return method(self, *args, **options)

    return logged


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
        self.model = Model(nr_cpus, workers, self.swap.switches)
        self.devices: dict[int, SwapDevice] = {}
        self.runs: list[tuple[int, int, int]] = []  # (type, first slot, slots) once handed out
        self.folios: list[Pair] = []
        self.hibernation: list[tuple[int, int]] = []
        self.dump_every = dump_every

    def both(self, call: Callable[[Any], Any]) -> tuple[Any, int | None]:
        """Makes a call on both sides and compares answer or errno; returns those of the model."""
        answers: list[tuple[Any, int | None]] = []
        for side in (self.swap, self.model):
            try:
                answers.append((call(side), None))
            except OSError as error:
                answers.append((None, error.errno))
        assert answers[0] == answers[1], self.report(f"real {answers[0]}, model {answers[1]}")
        self.compare()
        if len(self.log) % self.dump_every == 0:
            self.compare_all()
        if len(self.log) % (8 * self.dump_every) == 0:
            self.compare_slots()
        return answers[1]

    def device(self, side: Swap | Model, kind: int) -> SwapDevice | Device:
        """Returns a device as one side knows it."""
        return self.devices[kind] if side is self.swap else self.model.devices[kind]

    def folio(self, side: Swap | Model, pair: Pair) -> Folio | ModelFolio:
        """Returns a folio as one side knows it."""
        return self.real(pair) if side is self.swap else pair.model

    def report(self, what: str) -> str:
        """Describes a disagreement with the operations that led to it."""
        return "\n".join([what, *self.log, f"model {self.model.dump()}", f"real  {self.swap.dump()}"])

    def compare(self) -> None:
        """Compares the counters and proves the real side's invariants."""
        real = {device.type: device.inuse_pages for device in self.swap.devices}
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
                at, modelled = pair.real.entry, pair.model.value
                assert at == modelled, self.report(f"folio at {at}, model {modelled}")

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

    @operation
    def swapon(self, disk: Disk) -> None:
        """Turns a device on."""
        options = asdict(disk)
        priority = options.pop("priority")

        def turn_on(side: Swap | Model) -> int:
            if side is self.model:
                return self.model.swapon(disk).type
            discard = "pages" if disk.can_discard else None
            device = self.swap.swapon(Null(**options), priority=priority, discard=discard)
            self.devices[device.type] = device
            return device.type

        self.both(turn_on)

    @operation
    def swapoff(self, kind: int, keep_every: int | None = None, *, hook: bool = False) -> None:
        """Turns a device off, with a hook that gives every reference back but those of each n-th slot."""
        calls: list[list[tuple[int, int]]] = []

        def turn_off(side: Any) -> None:  # noqa: ANN401 - either side
            seen: list[tuple[int, int]] = []
            calls.append(seen)

            def unuse(entry: SwpEntry | int, count: int) -> None:
                seen.append((int(entry), count))
                _, slot = place_of(int(entry))
                for _ in range(0 if keep_every and slot % keep_every == 0 else count):
                    side.put(entry, 1)

            side.swapoff(self.device(side, kind), unuse if hook else None)

        _, code = self.both(turn_off)
        # The real side comes back to slots that the hook left in use.
        assert list(dict.fromkeys(calls[0])) == calls[1], self.report("unuse was called for other slots")
        if code is None:
            del self.devices[kind]
            self.runs = [run for run in self.runs if run[0] != kind]
            self.hibernation = [place for place in self.hibernation if place[0] != kind]

    # Allocation

    @operation
    def alloc(self, order: int, cpu: int) -> None:
        """Allocates one run."""
        self.hand_out(order, lambda side: side.alloc(order, cpu=cpu))

    def hand_out(self, order: int, call: Callable[[Any], SwpEntry | int]) -> bool:
        """Allocates one run by a call and notes it; says if there was room."""
        found, code = self.both(call)
        if code is None:
            self.runs.append((*place_of(found), 1 << order))
        return code is None

    @operation
    def alloc_batch(self, n: int, order: int, cpu: int) -> None:
        """Allocates runs until one fails or `n` are there."""
        found, _ = self.both(lambda side: [int(entry) for entry in side.alloc_batch(n, order, cpu=cpu)])
        self.runs += [(*place_of(value), 1 << order) for value in found]

    @operation
    def alloc_hibernation(self, kind: int, cpu: int) -> None:
        """Allocates a hibernation slot."""
        found, code = self.both(lambda side: side.alloc_hibernation(self.device(side, kind), cpu=cpu))
        if code is None:
            self.hibernation.append(place_of(found))

    @operation
    def free_hibernation(self, index: int) -> None:
        """Gives a hibernation slot back."""
        value = value_of(*self.hibernation.pop(index))
        self.both(lambda side: side.free_hibernation(value, cpu=0))

    # References

    @operation
    def put(self, kind: int, offset: int, nr: int) -> None:
        """Takes one reference from each slot of a range."""
        self.both(lambda side: side.put(value_of(kind, offset), nr, cpu=0))

    @operation
    def dup(self, kind: int, offset: int, nr: int) -> None:
        """Adds one reference to each slot of a range."""
        self.both(lambda side: side.dup(value_of(kind, offset), nr, cpu=0))

    @operation
    def free_batch(self, runs: Sequence[tuple[int, int]], order: int) -> None:
        """Frees runs of one order in one call."""
        values = array("Q", [value_of(*place) for place in runs])
        self.both(lambda side: side.free_batch(values, order=order, cpu=0))

    def referenced_pieces(self, kind: int, offset: int, nr: int) -> list[tuple[int, int]]:
        """Returns the sub-ranges (first, slots) of a range in which every slot has a reference of ours."""
        device = self.model.devices[kind]
        slots = (slot for slot in range(offset, offset + nr) if slot in device.slots)
        return contiguous(s for s in slots if device.slots[s].count and s not in device.hibernation)

    def is_in_use(self, run: tuple[int, int, int]) -> bool:
        """Says if some slot of a run is still in use."""
        kind, first, nr = run
        slots = self.model.devices[kind].slots
        return any(slot in slots for slot in range(first, first + nr))

    def prune_runs(self) -> None:
        """Forgets the runs of which nothing is in use any more."""
        self.runs = [run for run in self.runs if self.is_in_use(run)]

    # Folios

    @operation
    def folio_alloc_swap(self, order: int, cpu: int) -> None:
        """Makes a folio and gives it slots."""
        pair = Pair(self.swap.folio(order), ModelFolio(order))
        if self.hand_out(order, lambda side: side.folio_alloc_swap(self.folio(side, pair), cpu=cpu)):
            self.folios.append(pair)

    @operation
    def swap_cache_add_folio(self, kind: int, offset: int, order: int) -> int | None:
        """Makes a folio and puts it over swapped-out slots; returns the errno."""
        pair = Pair(self.swap.folio(order), ModelFolio(order))
        value = value_of(kind, offset)
        _, code = self.both(lambda side: side.swap_cache_add_folio(self.folio(side, pair), value))
        if code is None:
            self.folios.append(pair)
        return code

    def real(self, pair: Pair) -> Folio:
        """Returns the real handle of a folio, looked up by its slot if it was dropped."""
        if pair.real is None:
            assert pair.model.value is not None
            pair.real = self.swap.folio_at(pair.model.value)
            assert pair.real is not None, self.report("a cached folio is not found by its slot")
        return pair.real

    @operation
    def drop_handle(self, index: int) -> None:
        """Drops the real handle of a cached folio: the cache keeps the folio, a lock goes with its holder."""
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

    @operation
    def set_traits(self, index: int, **traits: bool) -> None:
        """Sets locked, writeback, mapped or dirty on both sides of a folio."""
        pair = self.folios[index]
        real = self.real(pair)
        for name, trait in traits.items():
            setattr(real, name, trait)
            if name == "mapped" and not trait:
                self.model.unmap(pair.model)
            else:
                setattr(pair.model, name, trait)

    def unlock_folios(self) -> None:
        """Makes every cached folio ready to leave, because swapoff waits for a folio that is not ready."""
        for index in self.cached_folios():
            model = self.folios[index].model
            if model.locked or model.writeback:
                self.set_traits(index, locked=False, writeback=False)

    @operation
    def on_folio(self, method: str, index: int, *args: int | None) -> None:
        """Calls a method that both sides have, with a folio."""
        pair = self.folios[index]
        self.both(lambda side: getattr(side, method)(self.folio(side, pair), *args))

    # The end

    @operation
    def run_workers(self) -> None:
        """Runs queued work."""

        def run(side: Swap | Model) -> None:
            side.run_workers()

        self.both(run)

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
                self.on_folio("swap_cache_del_folio", index)
        for kind, device in sorted(self.model.devices.items()):
            for first, nr in contiguous(s for s, state in device.slots.items() if not state.is_bad):
                while pieces := self.referenced_pieces(kind, first, nr):
                    for piece in pieces:
                        self.put(kind, *piece)
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
    """Groups slots into ranges (first, slots)."""
    ranges: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if ranges and sum(ranges[-1]) == slot:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((slot, 1))
    return ranges


__all__ = ["MAX_ORDER", "C", "Disk", "Lockstep", "Pair", "value_of"]
