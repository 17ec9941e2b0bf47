"""A naive model of the kernel's swap slot allocator, with which tests compare the real allocator.

This module is written from a description of the kernel and not from the Rust code. `Model` has plain lists
and one dict of slots for each device, without bit packing and locks. Each operation uses the slow and obvious
algorithm.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

C = 512  # slots in a cluster
MAX_ORDER = 9
NONE, FREE, NONFULL, FRAG, FULL, DISCARD = range(6)
COLUMNS = 32  # until 6.17 a new free list has the clusters in the order of index modulo `COLUMNS`, then index
TYPE_SHIFT = 58  # index of the lowest bit of the swap type in the value of an entry


@dataclass(frozen=True)
class Disk:
    """A device to turn on, with the options of `swapcore.Null`.

    With `priority` None, the default rule of the profile decides the priority.
    """

    pages: int
    bad_pages: frozenset[int] = frozenset()
    priority: int | None = None
    is_rotational: bool = False
    is_block_device: bool = True
    is_discardable: bool = False


@dataclass(eq=False)
class Folio:
    """The state of a folio in the model. `entry` is the first slot while the folio is in the swap cache."""

    order: int = 0
    entry: tuple[Device, int] | None = None
    is_locked: bool = False
    is_writeback: bool = False
    is_mapped: bool = False
    is_dirty: bool = True

    @property
    def value(self) -> int | None:
        """The entry of the folio's first slot as an integer; None while the folio is not cached."""
        return self.entry and value_of(self.entry[0].type, self.entry[1])


@dataclass(eq=False)
class Slot:
    """A slot that is not free.

    `count` does not count the swap cache. `folio` is None while the slot is not cached.
    """

    count: int
    folio: Folio | None = None
    is_bad: bool = False


@dataclass(eq=False)
class Device:
    """A device that is on.

    A slot that is not in `slots` is free. Each cluster list holds indexes of clusters, head first.
    """

    type: int
    disk: Disk
    prio: int
    writeok: bool = True
    inuse: int = 0
    slots: dict[int, Slot] = field(default_factory=dict)
    hibernation: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Marks the bad slots. `Model.swapon` puts the clusters on lists."""
        self.max = self.disk.pages
        self.pages = self.max - 1 - len(self.disk.bad_pages)
        nr_clusters = -(-self.max // C)
        self.count, self.flag, self.order = ([0] * nr_clusters for _ in range(3))
        for off in {0, *self.disk.bad_pages, *range(self.max, nr_clusters * C)}:
            self.slots[off] = Slot(0, is_bad=True)
            self.count[off // C] += 1
        self.free: list[int] = []
        self.full: list[int] = []
        self.discard: list[int] = []
        self.nonfull: list[list[int]] = [[] for _ in range(MAX_ORDER + 1)]
        self.frag: list[list[int]] = [[] for _ in range(MAX_ORDER + 1)]
        self.next = [0] * (MAX_ORDER + 1)

    def move(self, c: int, to: list[int], flag: int) -> None:
        """Moves a cluster from its list, if it is on a list, to the tail of the list ``to``."""
        for where in (self.free, self.full, self.discard, *self.nonfull, *self.frag):
            if c in where:
                where.remove(c)
        to.append(c)
        self.flag[c] = flag

    def isolate(self, where: list[int]) -> int | None:
        """Removes and returns the first cluster of a list; returns None if the list is empty."""
        if not where:
            return None
        c = where.pop(0)
        self.flag[c] = NONE
        return c

    def usable(self, c: int, order: int) -> bool:
        """Says whether an allocation of this order may use the cluster.

        A cluster on the free list is not usable, because the cluster has no swap table.
        """
        in_use = self.flag[c] in (NONE, NONFULL, FRAG)
        return in_use and (order == 0 or self.count[c] == 0 or self.order[c] == order)


@dataclass(frozen=True)
class Request:
    """The parameters of an allocation; `make` returns a new `Slot` for each slot of the run."""

    order: int
    cpu: int
    make: Callable[[], Slot] = field(default=lambda: Slot(1))

    @property
    def nr(self) -> int:
        """The number of slots of the run."""
        return 1 << self.order


def value_of(kind: int, off: int) -> int:
    """Returns the swap entry of a slot as an integer."""
    return kind << TYPE_SHIFT | off


def place_of(value: int) -> tuple[int, int]:
    """Returns the swap type and the slot of an entry."""
    return divmod(value, 1 << TYPE_SHIFT)


def entry_of(found: tuple[Device, int] | None) -> int:
    """Returns the entry of the run that an allocation found; fails with ENOSPC when there is no run."""
    dev, off = found or fail(errno.ENOSPC)
    return value_of(dev.type, off)


def fail(code: int) -> NoReturn:
    """Raises the OSError of an errno."""
    raise OSError(code, os.strerror(code))


def not_locked(folio: Folio) -> None:
    """Raises EBUSY if the folio is locked."""
    if folio.is_locked:
        fail(errno.EBUSY)


def placed(folio: Folio) -> tuple[Device, int]:
    """Returns device and first slot of a cached folio; fails with EINVAL if the folio is not cached."""
    return folio.entry or fail(errno.EINVAL)


class Model:
    """One machine's swap subsystem, with the methods of `swapcore.Swap`. Swap entries are integers."""

    def __init__(self, nr_cpus: int, workers: str, switches: dict[str, str]) -> None:
        """Starts without a device."""
        self.switches = switches
        self.inline = workers == "inline"
        self.devices: dict[int, Device] = {}
        self.avail: list[Device] = []
        self.active: list[Device] = []
        self.hints: list[dict[int, tuple[Device, int]]] = [{} for _ in range(nr_cpus)]
        # Only reclaim has a queue, because the discard lists of the devices are the queue of discards.
        self.reclaim_queue: set[Device] = set()
        self.least_priority = -1

    # Devices

    @property
    def nr_swap_pages(self) -> int:
        """The free slots of all enabled devices, minus the used slots of devices that swapoff empties."""
        return sum((d.pages if d.writeok else 0) - d.inuse for d in self.devices.values())

    @property
    def full_swap(self) -> bool:
        """Whether less than half of all slots is free, as in the kernel's `vm_swap_full`."""
        return self.nr_swap_pages * 2 < sum(d.pages for d in self.devices.values() if d.writeok)

    def swapon(self, disk: Disk) -> Device:
        """Turns a device on."""
        priority = disk.priority
        if priority is None:
            priority = -1
            if self.switches["default_priority"] == "descending":
                self.least_priority -= 1
                priority = self.least_priority
        kind = next(t for t in range(len(self.devices) + 1) if t not in self.devices)
        dev = Device(kind, disk, priority)
        for c, count in enumerate(dev.count):
            dev.move(c, *((dev.nonfull[0], NONFULL) if count else (dev.free, FREE)))
        if self.switches["free_order"] == "columns":
            dev.free.sort(key=lambda c: (c % COLUMNS, c))
        self.devices[kind] = dev
        for plist in (self.avail, self.active):
            self.plist_add(plist, dev)
        return dev

    @staticmethod
    def plist_add(plist: list[Device], dev: Device) -> None:
        """Inserts a device behind all devices of the same or a higher priority."""
        plist.insert(sum(d.prio >= dev.prio for d in plist), dev)

    def swapoff(self, dev: Device, unuse: Callable[[int, int], None] | None = None) -> None:
        """Turns a device off. `unuse(entry, count)` frees references of a slot; None frees all references."""
        if dev.hibernation:
            fail(errno.EBUSY)
        dev.writeok = False
        for plist in (self.avail, self.active):
            if dev in plist:
                plist.remove(dev)
        self.unuse_all(dev, unuse or self.put_all)
        if dev.inuse:
            dev.writeok = True
            self.plist_add(self.active, dev)
            if dev.inuse < dev.pages:
                self.plist_add(self.avail, dev)
            fail(errno.EBUSY)
        self.reclaim_queue.discard(dev)
        self.hints = [{o: (d, off) for o, (d, off) in hints.items() if d is not dev} for hints in self.hints]
        del self.devices[dev.type]
        if self.switches["default_priority"] == "descending" and dev.prio < 0:
            for d in self.active:
                d.prio += d.prio < dev.prio
            self.least_priority += 1

    def unuse_all(self, dev: Device, unuse: Callable[[int, int], None]) -> None:
        """Calls `unuse` for each slot with references, then frees slots that only the swap cache holds."""

        def drop_cached(off: int) -> None:
            slot = dev.slots.get(off)
            if slot and slot.folio and not slot.folio.is_locked:
                self.drop_idle(slot.folio)

        for off in sorted(o for o, s in dev.slots.items() if s.count):
            unuse(value_of(dev.type, off), dev.slots[off].count)
            drop_cached(off)
        for off in sorted(dev.slots):
            drop_cached(off)

    # Allocation

    def alloc(self, order: int, *, cpu: int) -> int:
        """Allocates a run; each slot of the run is swapped out with count 1."""
        found = self.allocate(Request(order, cpu))
        self.settle()
        return entry_of(found)

    def alloc_batch(self, n: int, order: int, *, cpu: int) -> list[int]:
        """Allocates up to `n` runs; a failed allocation ends the batch."""
        found: list[int] = []
        with suppress(OSError):
            while len(found) < n:
                found.append(self.alloc(order, cpu=cpu))
        return found

    def folio_alloc_swap(self, folio: Folio, *, cpu: int) -> int:
        """Allocates the slots of a folio. The slots are cached and have count 0."""
        if folio.entry:
            fail(errno.EEXIST)
        not_locked(folio)
        folio.is_locked = True
        folio.entry = found = self.allocate(Request(folio.order, cpu, lambda: Slot(0, folio)))
        self.settle()
        folio.is_locked = False
        return entry_of(found)

    def allocate(self, req: Request) -> tuple[Device, int] | None:
        """Tries the CPU's hint, then all devices; if both fail, order 0 discards clusters and tries again."""
        while True:
            found = self.fast_path(req) or self.slow_path(req)
            if found or req.order > 0 or not self.sync_discard():
                return found

    def fast_path(self, req: Request) -> tuple[Device, int] | None:
        """Searches the hinted cluster from the hint on, the slot after the CPU's last run of the order."""
        hints = self.hints[req.cpu]
        if req.order not in hints:
            return None
        dev, off = hints[req.order]
        if not dev.usable(off // C, req.order):
            if self.switches["rule_u"] == "relocate":
                self.relocate(dev, off // C)
                del hints[req.order]
            return None
        found = self.scan(dev, off, req)
        return (dev, found) if found else None

    def slow_path(self, req: Request) -> tuple[Device, int] | None:
        """Tries every available device once; for an order above 0, tries only the first device."""
        tried: list[Device] = []
        while dev := next((d for d in self.avail if d not in tried), None):
            tried.append(dev)
            self.avail.remove(dev)
            self.plist_add(self.avail, dev)
            if found := self.cluster_alloc(dev, req):
                return dev, found
            if req.order > 0:
                return None
        return None

    def cluster_alloc(self, dev: Device, req: Request) -> int:
        """Allocates from one device; returns the first slot of the run, 0 if there is no room."""
        if req.order > 0 and not dev.disk.is_block_device:
            return 0
        if dev.disk.is_rotational and (off := dev.next[req.order]):
            if dev.usable(off // C, req.order):
                if found := self.scan(dev, off, req):
                    return found
            elif self.switches["rule_u"] == "relocate":
                self.relocate(dev, off // C)
                dev.next[req.order] = 0
        for clusters, limit in self.search_order(dev, req.order):
            for _ in range(limit):
                c = dev.isolate(clusters)
                if c is None:
                    break
                if found := self.scan(dev, c * C, req):
                    return found
        return 0

    def search_order(self, dev: Device, order: int) -> Iterator[tuple[list[int], int]]:
        """Yields the cluster lists to try, each with the number of clusters to try.

        The lists are yielded one by one, because a scan between two lists changes the lists.
        """
        one, every = 1, len(dev.count)
        free_first = dev.disk.is_discardable or self.switches["first_search"] == "free"
        if free_first:
            yield dev.free, one
        if order < MAX_ORDER:
            yield dev.nonfull[order], every
        if not free_first:
            yield dev.free, one
        if self.full_swap:
            self.reclaim_full(dev, budget=1)
        if order < MAX_ORDER:
            yield dev.frag[order], one
        if order == 0:
            for other in range(1, MAX_ORDER + 1):
                yield dev.frag[other], every
                yield dev.nonfull[other], every

    def scan(self, dev: Device, off: int, req: Request) -> int:
        """Searches a cluster from `off` on, allocates a run, sets the hint; returns the first slot or 0."""
        c, nr = off // C, req.nr
        end = (c + 1) * C
        found = hint = 0
        while dev.count[c] + nr <= C and off + nr <= end:
            slots = [s for s in range(off, off + nr) if s in dev.slots]
            if all(self.is_idle_cached(dev.slots[s]) for s in slots):
                if slots and not self.reclaim_range(dev, off, req):
                    break
                if not any(s in dev.slots for s in slots):
                    found = off if dev.writeok else 0
                    break
            off += nr
        if found:
            self.commit(dev, off, req)
            if dev.count[c] < C and off + 2 * nr <= end:
                hint = off + nr
        self.relocate(dev, c)
        if dev.disk.is_rotational:
            dev.next[req.order] = hint
        elif hint:
            self.hints[req.cpu][req.order] = (dev, hint)
        else:
            self.hints[req.cpu].pop(req.order, None)
        return found

    def is_idle_cached(self, slot: Slot) -> bool:
        """Says whether a scan may try to reclaim a cached slot."""
        return slot.folio is not None and slot.count == 0 and self.full_swap

    def reclaim_range(self, dev: Device, off: int, req: Request) -> bool:
        """Reclaims the cached slots of a run, and says whether the cluster is still usable."""
        for s in range(off, off + req.nr):
            slot = dev.slots.get(s)
            if slot and (slot.count or self.try_to_reclaim(dev, s) < 0):
                break
        return dev.usable(off // C, req.order)

    def commit(self, dev: Device, off: int, req: Request) -> None:
        """Marks the slots of an allocation as used and counts them."""
        c = off // C
        for s in range(off, off + req.nr):
            dev.slots[s] = req.make()
        if dev.count[c] == 0:
            dev.order[c] = req.order
        dev.count[c] += req.nr
        if dev.inuse + req.nr == dev.pages:
            self.avail.remove(dev)
            # The kernel tests vm_swap_full before it subtracts the new slots from nr_swap_pages.
            if self.full_swap:
                self.reclaim_queue.add(dev)
        dev.inuse += req.nr

    def relocate(self, dev: Device, c: int) -> None:
        """Moves a cluster, after an allocation attempt, to the list that its count of used slots requires."""
        if dev.flag[c] == DISCARD:
            return
        if dev.count[c] == 0:
            if dev.flag[c] != FREE:
                self.free_cluster(dev, c)
        elif dev.count[c] < C:
            if dev.flag[c] != FRAG:
                dev.move(c, dev.frag[dev.order[c]], FRAG)
        elif dev.flag[c] != FULL:
            dev.move(c, dev.full, FULL)

    # Freeing

    def free_cluster(self, dev: Device, c: int) -> None:
        """Moves an empty cluster to the free list, or to the discard list if the device takes discards."""
        if dev.writeok and dev.disk.is_discardable:
            dev.move(c, dev.discard, DISCARD)
        else:
            dev.move(c, dev.free, FREE)
            dev.order[c] = 0

    def free_slots(self, dev: Device, off: int, nr: int) -> None:
        """Frees `nr` slots from `off` on, which are all in one cluster."""
        c = off // C
        for s in range(off, off + nr):
            del dev.slots[s]
            dev.hibernation.discard(s)
        dev.count[c] -= nr
        dev.inuse -= nr
        if dev.writeok and dev not in self.avail:
            self.plist_add(self.avail, dev)
        if dev.count[c] == 0:
            self.free_cluster(dev, c)
        elif dev.flag[c] != NONFULL:
            dev.move(c, dev.nonfull[dev.order[c]], NONFULL)

    def put_one(self, dev: Device, off: int) -> None:
        """Drops one reference of a slot. Frees a slot without references that is not cached."""
        slot = dev.slots[off]
        slot.count -= 1
        if slot.count == 0 and slot.folio is None:
            self.free_slots(dev, off, 1)

    def referenced(self, value: int, nr: int) -> tuple[Device, int]:
        """Returns device and first slot of a range if every slot has a reference.

        Raises ENOENT or EINVAL otherwise.
        """
        kind, off = place_of(value)
        dev = self.devices.get(kind) or fail(errno.ENOENT)
        if nr < 1 or off + nr > dev.max:
            fail(errno.EINVAL)
        slots = [dev.slots.get(s) for s in range(off, off + nr)]
        for slot in slots:
            if slot is None or slot.count == 0:
                fail(errno.EINVAL if slot and slot.is_bad else errno.ENOENT)
        return dev, off

    def put(self, value: int, nr: int = 1, *, cpu: int = 0) -> None:
        """Drops one reference of each slot, as the kernel does for the entries of a freed page table."""
        del cpu
        dev, off = self.referenced(value, nr)
        end = off + nr
        while off < end:
            piece_end = min(end, (off // C + 1) * C)
            only_cached = [s for s in range(off, piece_end) if dev.slots[s].count == 1 and dev.slots[s].folio]
            for s in range(off, piece_end):
                self.put_one(dev, s)
            while only_cached and off < piece_end:
                n = abs(self.try_to_reclaim(dev, off, anyway=False))
                off += 1
                if n:
                    off = -(-off // n) * n
            off = piece_end
        self.settle()

    def put_all(self, value: int, count: int) -> None:
        """Drops ``count`` references of a slot."""
        for _ in range(count):
            self.put(value)

    def free_batch(self, values: Sequence[int], *, order: int, cpu: int) -> None:
        """Drops one reference of each slot of several runs of one order."""
        for value in values:
            self.put(value, 1 << order, cpu=cpu)

    def dup(self, value: int, nr: int, *, cpu: int) -> None:
        """Adds one reference to each slot."""
        del cpu
        dev, off = self.referenced(value, nr)
        for s in range(off, off + nr):
            dev.slots[s].count += 1

    # The swap cache

    def try_to_reclaim(self, dev: Device, off: int, *, anyway: bool = True) -> int:
        """Tries to reclaim the folio that is cached at a slot.

        Returns the number of pages of the folio, negative if its slots were not freed, and 0 without a folio.
        """
        folio = dev.slots[off].folio if off in dev.slots else None
        if folio is None:
            return 0
        nr = 1 << folio.order
        wanted = anyway or not folio.is_mapped or self.full_swap
        if folio.is_locked or not wanted or not self.drop_idle(folio):
            return -nr
        return nr

    def drop_idle(self, folio: Folio) -> bool:
        """Removes a folio from the cache if it is not under writeback and no slot of it has a reference."""
        if folio.is_writeback or any(slot.count for slot in self.slots_of(folio)):
            return False
        self.remove_folio(folio)
        folio.is_dirty = True
        return True

    def slots_of(self, folio: Folio) -> list[Slot]:
        """Returns all slots of a cached folio."""
        dev, first = placed(folio)
        return [dev.slots[s] for s in range(first, first + (1 << folio.order))]

    def remove_folio(self, folio: Folio) -> None:
        """Removes a folio from the cache and frees its slots without a reference."""
        dev, first = placed(folio)
        nr = 1 << folio.order
        idle = [s for s in range(first, first + nr) if dev.slots[s].count == 0]
        for slot in self.slots_of(folio):
            slot.folio = None
        folio.entry = None
        for s in idle:
            self.free_slots(dev, s, 1)

    def swap_cache_add_folio(self, folio: Folio, value: int) -> None:
        """Adds a folio to the swap cache at swapped-out slots."""
        not_locked(folio)
        kind, off = place_of(value)
        nr = 1 << folio.order
        dev = self.devices.get(kind) or fail(errno.ENOENT)
        if folio.entry or off % nr or off >= dev.max:
            fail(errno.EINVAL)
        first, *others = (dev.slots.get(s) for s in range(off, off + nr))
        if first is None or first.is_bad:
            fail(errno.ENOENT if first is None else errno.EINVAL)
        if first.folio:
            fail(errno.EEXIST)
        if any(slot is None or slot.is_bad or slot.folio for slot in others):
            fail(errno.EBUSY)
        folio.entry = (dev, off)
        folio.is_dirty = False
        for slot in self.slots_of(folio):
            slot.folio = folio

    def swap_cache_del_folio(self, folio: Folio) -> None:
        """Removes a folio from the cache; fails with EBUSY if its content would be lost."""
        not_locked(folio)
        placed(folio)
        if folio.is_writeback or (folio.is_dirty and any(slot.count for slot in self.slots_of(folio))):
            fail(errno.EBUSY)
        self.remove_folio(folio)
        self.settle()

    def folio_free_swap(self, folio: Folio) -> bool:
        """Frees the slots of a cached folio unless a slot has a reference."""
        not_locked(folio)
        freed = folio.entry is not None and not folio.entry[0].hibernation and self.drop_idle(folio)
        self.settle()
        return freed

    def unmap(self, folio: Folio) -> None:
        """Unmaps a folio. Frees its slots if only the swap cache holds them and the folio is not locked."""
        was_mapped, folio.is_mapped = folio.is_mapped, False
        if was_mapped and folio.entry and not folio.is_locked:
            self.folio_free_swap(folio)

    def folio_dup_swap(self, folio: Folio, page: int | None = None) -> None:
        """Adds a reference to the slots of a cached folio; only this method raises a count from 0 to 1."""
        not_locked(folio)
        slots = self.slots_of(folio)
        for slot in slots if page is None else [slots[page]]:
            slot.count += 1

    def folio_put_swap(self, folio: Folio, page: int | None = None) -> None:
        """Drops a reference of the slots of a cached folio. The slots stay in use."""
        not_locked(folio)
        slots = self.slots_of(folio)
        if page is not None:
            slots = [slots[page]]
        if any(slot.count == 0 for slot in slots):
            fail(errno.ENOENT)
        for slot in slots:
            slot.count -= 1

    # Hibernation

    def alloc_hibernation(self, dev: Device, *, cpu: int) -> int:
        """Allocates a slot of ``dev`` for a hibernation image."""
        req = Request(0, cpu)
        found = None
        hinted = self.hints[cpu].get(0)
        if self.switches["hibernation"] == "hint" and hinted and hinted[0] is dev:
            found = self.fast_path(req)
        off = found[1] if found else self.cluster_alloc(dev, req)
        if off:
            dev.hibernation.add(off)
        self.settle()
        return entry_of((dev, off) if off else None)

    def free_hibernation(self, value: int, *, cpu: int) -> None:
        """Frees a hibernation slot."""
        kind, off = place_of(value)
        if off not in self.devices[kind].hibernation:
            fail(errno.ENOENT)
        self.put(value, cpu=cpu)

    # Workers

    def settle(self) -> None:
        """Runs the workers if the subsystem has inline workers, which run at the end of each operation."""
        if self.inline:
            self.run_workers()

    def run_workers(self) -> None:
        """Runs the queued work of each device: first reclaim, because reclaim may queue discards."""
        for _, dev in sorted(self.devices.items()):
            if dev in self.reclaim_queue:
                self.reclaim_queue.remove(dev)
                self.reclaim_full(dev, dev.inuse // C)
            self.do_discard(dev)

    def reclaim_full(self, dev: Device, budget: int) -> None:
        """Reclaims cached slots of up to ``budget`` full clusters, but of at least one full cluster."""
        while (c := dev.isolate(dev.full)) is not None:
            budget -= 1
            off = c * C
            while off < min(dev.max, (c + 1) * C):
                slot = dev.slots.get(off)
                idle = slot is not None and slot.folio is not None and slot.count == 0
                off += abs(self.try_to_reclaim(dev, off)) or 1 if idle else 1
            if dev.flag[c] == NONE:
                self.relocate(dev, c)
            if budget <= 0:
                break

    def do_discard(self, dev: Device) -> bool:
        """Moves all clusters of the discard list to the free list, and says whether the list had clusters."""
        clusters = dev.discard[:]
        for c in clusters:
            dev.move(c, dev.free, FREE)
            dev.order[c] = 0
        return bool(clusters)

    def sync_discard(self) -> bool:
        """Discards the clusters of the first device that has clusters to discard."""
        devices = self.avail if self.switches["sync_discard"] == "avail" else self.active
        return any(self.do_discard(dev) for dev in list(devices))

    def dump(self) -> dict[str, Any]:
        """Returns the state that decides placement, in the form of `Swap.dump`."""
        return {
            "devices": [
                {
                    "type": d.type,
                    "priority": d.prio,
                    "inuse_pages": d.inuse,
                    "free": list(d.free),
                    "nonfull": {o: list(x) for o, x in enumerate(d.nonfull) if x},
                    "frag": {o: list(x) for o, x in enumerate(d.frag) if x},
                    "full": list(d.full),
                    "discard": list(d.discard),
                    "next": {o: off for o, off in enumerate(d.next) if off},
                    "named_hints": [{} for _ in self.hints],
                }
                for _, d in sorted(self.devices.items())
            ],
            "hints": [{o: (d.type, off) for o, (d, off) in sorted(h.items())} for h in self.hints],
            "virtual_hints": [{} for _ in self.hints],
            "avail": [d.type for d in self.avail],
        }
