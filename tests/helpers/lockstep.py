"""Drives the real allocator and the naive model through the same operations and compares the results.

Every method of `Lockstep` with the decorator `operation` calls the same method of `swapcore.Swap` and of
`Model`, and then `Swap.check`. When the answers differ, the method raises AssertionError with a replayable
list of the operations so far.
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

FREE, SWAPPED_OUT, CACHED, BAD = range(4)  # the bytes that `SwapDevice.slots` returns


@dataclass(eq=False)
class Pair:
    """A folio of the real subsystem and of the model. `real` is None once the test dropped its handle."""

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
        """Starts subsystem and model without a device. Every `dump_every`-th step compares their dumps."""
        self.log = [f"side = Lockstep({nr_cpus=}, {profile=}, {workers=}, {switches=})"]
        self.swap = Swap(nr_cpus=nr_cpus, profile=profile, workers=workers, switches=switches)
        self.model = Model(nr_cpus, workers, self.swap.switches)
        self.devices: dict[int, SwapDevice] = {}
        # The swap type, the first slot and the number of slots of each run that `alloc` handed out.
        self.runs: list[tuple[int, int, int]] = []
        self.folios: list[Pair] = []
        self.hibernation: list[tuple[int, int]] = []
        self.dump_every = dump_every

    def both(self, call: Callable[[Any], Any]) -> tuple[Any, int | None]:
        """Calls subsystem and model, and compares the results; returns the model's answer and errno."""
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
        """Returns the device of a swap type: the `SwapDevice` of the subsystem, or the model's `Device`."""
        return self.devices[kind] if side is self.swap else self.model.devices[kind]

    def folio(self, side: Swap | Model, pair: Pair) -> Folio | ModelFolio:
        """Returns the folio of a pair that belongs to ``side``, the real subsystem or the model."""
        return self.real(pair) if side is self.swap else pair.model

    def report(self, what: str) -> str:
        """Returns ``what``, the log of operations, and the dumps of subsystem and model."""
        return "\n".join([what, *self.log, f"model {self.model.dump()}", f"real  {self.swap.dump()}"])

    def compare(self) -> None:
        """Compares the counters of subsystem and model, and checks the invariants of the subsystem."""
        real = {device.type: device.inuse_pages for device in self.swap.devices}
        want = {kind: device.inuse for kind, device in self.model.devices.items()}
        assert real == want, self.report(f"inuse: real {real}, model {want}")
        assert self.swap.nr_swap_pages == self.model.nr_swap_pages, self.report("nr_swap_pages")
        assert self.swap.vm_swap_full == self.model.full_swap, self.report("vm_swap_full")
        self.swap.check()

    def compare_all(self) -> None:
        """Compares cluster lists, hints, device order, and the entry of every folio."""
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
            discard = "pages" if disk.is_discardable else None
            device = self.swap.swapon(Null(**options), priority=priority, discard=discard)
            self.devices[device.type] = device
            return device.type

        self.both(turn_on)

    @operation
    def swapoff(self, kind: int, keep_every: int | None = None, *, hook: bool = False) -> None:
        """Turns a device off.

        With ``hook``, an ``unuse`` hook frees all references but the references of each ``keep_every``-th
        slot.
        """
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
        # `Swap.swapoff` calls the hook again for slots that the hook left in use. `Model.swapoff` calls the
        # hook once for each slot.
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
        """Allocates a run with ``call``, adds it to `runs`, and says whether the allocation succeeded."""
        found, code = self.both(call)
        if code is None:
            self.runs.append((*place_of(found), 1 << order))
        return code is None

    @operation
    def alloc_batch(self, n: int, order: int, cpu: int) -> None:
        """Allocates up to `n` runs in one call; a failed allocation ends the batch."""
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
        """Frees a hibernation slot."""
        value = value_of(*self.hibernation.pop(index))
        self.both(lambda side: side.free_hibernation(value, cpu=0))

    # References

    @operation
    def put(self, kind: int, offset: int, nr: int) -> None:
        """Drops one reference of each slot of a range."""
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
        """Returns the sub-ranges (first, slots) of a range whose slots all have a reference of the test."""
        device = self.model.devices[kind]
        slots = (slot for slot in range(offset, offset + nr) if slot in device.slots)
        return contiguous(s for s in slots if device.slots[s].count and s not in device.hibernation)

    def is_in_use(self, run: tuple[int, int, int]) -> bool:
        """Says whether a slot of a run is still in use."""
        kind, first, nr = run
        slots = self.model.devices[kind].slots
        return any(slot in slots for slot in range(first, first + nr))

    def prune_runs(self) -> None:
        """Removes each run that has no used slot from `runs`."""
        self.runs = [run for run in self.runs if self.is_in_use(run)]

    # Folios

    @operation
    def folio_alloc_swap(self, order: int, cpu: int) -> None:
        """Makes a folio and allocates its slots."""
        pair = Pair(self.swap.folio(order), ModelFolio(order))
        if self.hand_out(order, lambda side: side.folio_alloc_swap(self.folio(side, pair), cpu=cpu)):
            self.folios.append(pair)

    @operation
    def swap_cache_add_folio(self, kind: int, offset: int, order: int) -> int | None:
        """Adds a new folio to the swap cache at swapped-out slots, and returns the errno."""
        pair = Pair(self.swap.folio(order), ModelFolio(order))
        value = value_of(kind, offset)
        _, code = self.both(lambda side: side.swap_cache_add_folio(self.folio(side, pair), value))
        if code is None:
            self.folios.append(pair)
        return code

    def real(self, pair: Pair) -> Folio:
        """Returns the real handle of a folio.

        If the test dropped the handle, this method makes a new handle by a look-up of the folio's slot.
        """
        if pair.real is None:
            assert pair.model.value is not None
            pair.real = self.swap.folio_at(pair.model.value)
            assert pair.real is not None, self.report("a cached folio is not found by its slot")
        return pair.real

    @operation
    def drop_handle(self, index: int) -> None:
        """Drops the real handle of a cached folio.

        The swap cache keeps the folio. The lock that the handle held ends.
        """
        pair = self.folios[index]
        pair.real = None
        pair.model.is_locked = False
        self.model.unmap(pair.model)

    def cached_folios(self) -> list[int]:
        """Returns the indexes of the cached folios, and removes all other folios from `folios`."""
        cached = [pair for pair in self.folios if pair.model.entry]
        if len(cached) < len(self.folios):
            self.log.append("side.cached_folios()")
        self.folios = cached
        return list(range(len(self.folios)))

    @operation
    def set_traits(self, index: int, **traits: bool) -> None:
        """Sets attributes such as `is_locked` on the real folio and on the folio of the model."""
        pair = self.folios[index]
        real = self.real(pair)
        for name, trait in traits.items():
            setattr(real, name, trait)
            if name == "is_mapped" and not trait:
                self.model.unmap(pair.model)
            else:
                setattr(pair.model, name, trait)

    def unlock_folios(self) -> None:
        """Ends lock and writeback of every cached folio, because swapoff waits for lock and writeback."""
        for index in self.cached_folios():
            model = self.folios[index].model
            if model.is_locked or model.is_writeback:
                self.set_traits(index, is_locked=False, is_writeback=False)

    @operation
    def on_folio(self, method: str, index: int, *args: int | None) -> None:
        """Calls a method of subsystem and model with the folio at an index of `folios`."""
        pair = self.folios[index]
        self.both(lambda side: getattr(side, method)(self.folio(side, pair), *args))

    # Queued work, and the end of a test

    @operation
    def run_workers(self) -> None:
        """Runs the queued work of the workers of subsystem and model."""

        def run(side: Swap | Model) -> None:
            side.run_workers()

        self.both(run)

    def drain(self) -> None:
        """Compares all state, frees all folios and slots, and expects that no slot is in use."""
        self.compare_all()
        self.compare_slots()
        while self.hibernation:
            self.free_hibernation(0)
        for index in self.cached_folios():
            # Every folio is made clean, because the swap cache keeps a dirty folio whose slots have
            # references. The folio's data may be lost, because the test does not compare data.
            self.set_traits(index, is_locked=False, is_writeback=False, is_dirty=False)
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
    """Returns the bytes that `SwapDevice.slots` must return, one for each slot."""
    states = bytearray([FREE]) * device.max
    for slot, state in device.slots.items():
        if slot < device.max:
            states[slot] = BAD if state.is_bad else CACHED if state.folio else SWAPPED_OUT
    return bytes(states)


def difference(real: bytes, want: bytes) -> list[tuple[int, int, int]]:
    """Lists the first eight slots whose states differ: (slot, real state, expected state)."""
    if len(real) != len(want):
        return [(min(len(real), len(want)), len(real), len(want))]
    return [
        (slot, *states) for slot, states in enumerate(zip(real, want, strict=True)) if states[0] != states[1]
    ][:8]


def contiguous(slots: Iterable[int]) -> list[tuple[int, int]]:
    """Groups slots into ranges (first slot, number of slots)."""
    ranges: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if ranges and sum(ranges[-1]) == slot:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((slot, 1))
    return ranges


__all__ = ["MAX_ORDER", "C", "Disk", "Lockstep", "Pair", "value_of"]
