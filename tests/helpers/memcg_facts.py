"""Reads a subsystem with memory control through the public API and recomputes the counters of groups.

This module is written from a description of the kernel and not from the Rust code. `World` reads the table
entry of every slot and all folios of the test and of the swap table, and adds up slots and pages over the
tree of groups. `World.broken` checks these balances, R1 to R9 of docs/steps.md, which must hold while no
operation runs:

1. v2: the swap usage of a group is the number of slots that the group and its descendants own. 2. v1: the
memsw usage of a group is the number of these slots plus the resident pages charged below the group. 3. The
memory usage of a group is the number of resident pages charged below the group. 4. The local MEMCG_SWAP
statistic of a group is the number of slots that the group owns. 5. A group id has one reference while the
group is online, and one for each slot that records the id. 6. A cached folio fills aligned slots of its size,
and a slot without references is empty or cached. 7. v2: each cached folio has an owner. 8. Each used slot has
an owner, unless the slot was swapped out without one. 9. v2: swap usage rises above swap.max only if the
limit was lowered, or by ``reparent_if_shared``.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PAGE = sc.PAGE_SIZE
TYPE_SHIFT = 58
NODES_SHIFT = 6
ID_SHIFT = 2 + NODES_SHIFT
EVICTION_SHIFT = ID_SHIFT + 16
FLAGS_SHIFT = 59
BAD = 0xFFFF_FFFF_FFFF_FFF8
POINTER_TAG = 0b100
OWNER_SHIFT = 3
OWNER_OFFSET_BITS = 40
CACHE_ONLY_SHIFT = 63
UNLIMITED = 1 << 62
TOKEN = 0x746F_6B65 << 32  # a page that a `Space` wrote starts with `TOKEN` plus a number, in eight bytes
CELLS = ("array", "cluster_table", "trampoline")
"""The owner stores that keep the owner of a slot beside the table entry of the slot."""


def file_storage(pages: int) -> sc.Faulty:
    """Returns a file that takes large folios and can be made to fail.

    The storage is not synchronous, so a folio keeps its slots after a swap-in. This function removes the name
    of the file, so the kernel frees the space of the file when the storage closes the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "swap"
        return sc.Faulty(
            sc.File.create(path, pages=pages, sparse=True, is_block_device=True, is_rotational=False)
        )


def refusal(call: Callable[..., object], *args: object, **kwargs: object) -> int:
    """Makes a call and returns the errno of its error, 0 for no error."""
    try:
        call(*args, **kwargs)
    except OSError as error:
        return error.errno or -1
    return 0


def errno_of(call: Callable[..., object], *args: object, **kwargs: object) -> int:
    """Makes a call that must fail and returns its errno."""
    code = refusal(call, *args, **kwargs)
    assert code != 0, f"{call} with {args} and {kwargs} raised no error"
    return code


@dataclass(frozen=True)
class Word:
    """The fields of one table entry.

    A count above 14 reads as 15, because the extend table holds the whole count. An entry of kind ``pointer``
    belongs to a physical slot that backs a virtual slot; ``owner`` is the swap entry of the virtual slot.
    """

    kind: str
    count: int = 0
    is_zero: bool = False
    pfn: int = 0
    eviction: int = 0
    memcg_id: int = 0
    node: int = 0
    is_workingset: bool = False
    owner: int = 0
    is_cache_only: bool = False


def unpack(word: int) -> Word:
    """Returns the fields of a table entry."""
    if word == 0:
        return Word("null")
    if word == BAD:
        return Word("bad")
    count, is_zero = word >> 60, bool(word >> FLAGS_SHIFT & 1)
    payload = word & ((1 << FLAGS_SHIFT) - 1)
    if word & 3 == 2:
        return Word("folio", count, is_zero, pfn=payload >> 2)
    if word & 1:
        return Word(
            "shadow",
            count,
            is_zero,
            eviction=payload >> EVICTION_SHIFT,
            memcg_id=payload >> ID_SHIFT & 0xFFFF,
            node=payload >> 2 & ((1 << NODES_SHIFT) - 1),
            is_workingset=bool(payload >> 1 & 1),
        )
    if word & 0b111 != POINTER_TAG:
        return Word("unknown")
    kind, offset = divmod(payload >> OWNER_SHIFT, 1 << OWNER_OFFSET_BITS)
    owner = (kind & 0xFF) << TYPE_SHIFT | offset
    return Word("pointer", owner=owner, is_cache_only=bool(word >> CACHE_ONLY_SHIFT))


def word_at(swap: sc.Swap, entry: int) -> Word:
    """Reads the table entry of a slot."""
    return unpack(int(np.frombuffer(swap.lookup_many(np.array([entry], np.uint64)), np.uint64)[0]))


def words_of(swap: sc.Swap, device: sc.SwapDevice) -> dict[int, Word]:
    """Reads the table entries of a device's slots that are neither free nor bad, by swap entry."""
    entries = np.arange(device.max_pages, dtype=np.uint64) + np.uint64(device.type << TYPE_SHIFT)
    words = np.frombuffer(swap.lookup_many(entries), np.uint64)
    in_use = np.flatnonzero((words != 0) & (words != BAD))
    return {int(entries[slot]): unpack(int(words[slot])) for slot in in_use}


def slots_in_use(swap: sc.Swap) -> dict[int, Word]:
    """Reads the table entries of all devices' slots that are neither free nor bad, by swap entry."""
    return {entry: word for device in swap.devices for entry, word in words_of(swap, device).items()}


def limit_pages(group: sc.MemCgroup, file: str) -> int:
    """Reads a limit of a group, in pages; `UNLIMITED` stands for "max"."""
    text = group.read(file).strip()
    return UNLIMITED if text == "max" else int(text) // PAGE


@dataclass
class Space:
    """An address space whose pages a test writes. Each write has a unique number, which identifies copies."""

    mm: sc.Mm
    group: sc.MemCgroup
    first: int
    pages: dict[int, int] = field(default_factory=dict)

    def write(self, page: int, token: int) -> None:
        """Writes a page; after an error the page has its old content."""
        self.mm.write((self.first + page) * PAGE, (TOKEN + token).to_bytes(8, "little"))
        self.pages[page] = token

    def fork(self) -> Space:
        """Returns a fork of the address space."""
        return Space(self.mm.fork(), self.group, self.first, dict(self.pages))

    def zap(self, page: int, nr_pages: int) -> None:
        """Unmaps pages and removes the pages from `pages`."""
        self.mm.zap(self.first + page, nr_pages)
        for gone in range(page, page + nr_pages):
            self.pages.pop(gone, None)

    def entries(self) -> dict[int, int]:
        """Returns the swap entry of each page that is swapped out."""
        found = ((page, self.mm.swap_entry(self.first + page)) for page in self.pages)
        return {page: int(entry) for page, entry in found if entry is not None}

    def present(self) -> set[int]:
        """Returns the numbers that `write` wrote into the pages that are resident now."""
        if self.mm.resident_pages + self.mm.swapped_pages == 0:
            self.pages.clear()  # an address space without pages is a task that the OOM killer ended
        swapped = self.entries()
        return {token for page, token in self.pages.items() if page not in swapped}


class World:
    """A subsystem with the groups, folios and address spaces of a test, whose charges it recomputes."""

    def __init__(self, swap: sc.Swap) -> None:
        """Takes a subsystem that has the root group only. `add` makes further groups."""
        self.swap = swap
        switches = swap.switches
        self.store = switches["owner_store"]
        self.is_v1 = "memory.usage_in_bytes" in swap.memcg.files
        self.is_reparent_only = switches["dead_swapin"] != "reparent_if_shared"
        self.lru_reparent = switches["lru_reparent"] == "on"
        self.groups: list[sc.MemCgroup] = [swap.memcg]
        self.folios: list[sc.Folio] = []
        self.spaces: list[Space] = []
        self.ownerless: set[int] = set()
        """Slots that no group owns.

        `Swap.alloc` and hibernation make slots without an owner. On v1 with an owner store of `CELLS`, a slot
        also loses its owner when the slot's clean folio leaves the swap cache without reclaim.
        """
        self.used: dict[int, Word] = {}
        self.reasons: list[str] = []
        self._swap_pages: Counter[sc.MemCgroup] = Counter()

    @property
    def root(self) -> sc.MemCgroup:
        """The root group."""
        return self.groups[0]

    def add(self, parent: sc.MemCgroup, name: str, **files: str | int) -> sc.MemCgroup:
        """Makes a group and adds the group to `groups`; `broken` reads the counters of removed groups too."""
        group = parent.create(name, **files)
        self.groups.append(group)
        return group

    def forget_removed(self) -> None:
        """Drops the handles of removed groups, because a handle keeps a removed group alive."""
        self.groups = [group for group in self.groups if group.is_online]
        self._swap_pages = Counter({group: self._swap_pages[group] for group in self.groups})

    def give_up_slots(self) -> None:
        """Frees every slot that has a reference, and expects no slot to be left."""
        self.folios.clear()
        self.spaces.clear()
        self.swap.shrink_swap_cache()
        for entry, word in slots_in_use(self.swap).items():
            for _ in range(self.swap.swap_count(entry) if word.kind in ("shadow", "folio") else 0):
                self.swap.free(entry, 1)
        self.swap.shrink_swap_cache()
        assert [device.inuse_pages for device in self.swap.devices] == [0] * len(self.swap.devices)

    def expect_nothing(self) -> None:
        """Expects no page in memory or zswap, no charge, and one id reference for each online group."""
        stats = self.swap.zswap.stats()
        assert (self.swap.nr_used_pages, stats["stored_pages"], stats["pool_total_size"]) == (0, 0, 0)
        names = ["memory_pages", "memsw_pages" if self.is_v1 else "swap_pages", "memcg_swap_pages"]
        names += ["swapcached_pages", "memory_underflow_pages", "swap_underflow_pages", "id_refs"]
        for group in self.groups:
            if group.is_online or not self.lru_reparent:
                facts = group.counters()
                assert [facts[name] for name in names] == [0] * 6 + [int(group.is_online)], group.path

    def verify(self) -> None:
        """Checks the invariants of `Swap.check`, the balances R1 to R9, and the statistics of groups."""
        self.swap.check()
        assert self.broken() == [], self.reasons
        assert self.swapcached_errors() == []

    def broken(self) -> list[int]:
        """Returns the numbers of the broken balances of R1 to R9; `reasons` gets a sentence for each."""
        self.reasons = []
        counters = {group: group.counters() for group in self.groups}
        ids = {facts["id"]: group for group, facts in counters.items() if facts["id"]}
        before, self.used = self.used, slots_in_use(self.swap)
        cached = self.cached_folios()
        own, pins = self.owners(ids, cached)
        self._check_words(cached, before)
        resident = self.resident(cached)
        own_sums, resident_sums = self.sums(own), self.sums(resident)
        for group in self.groups:
            facts = counters[group]
            if group is not self.root and (group.is_online or not self.lru_reparent):
                self._check_usage(group, facts, own_sums[group], resident_sums[group])
            if group.is_online or not self.lru_reparent:
                self._expect(4, group, "MEMCG_SWAP", facts["memcg_swap_pages"], own[group])
            self._expect(5, group, "id references", facts["id_refs"], group.is_online + pins[group])
        if not self.is_v1:
            self._check_limits(counters)
        return sorted({int(reason.split(":")[0]) for reason in self.reasons})

    def cached_folios(self) -> dict[int, sc.Folio]:
        """Returns the folios that table entries name, by the entry of the first slot of each folio."""
        folios: dict[int, sc.Folio] = {}
        covered: set[int] = set()
        for entry, word in self.used.items():
            if word.kind == "folio" and entry not in covered:
                folio = self.swap.folio_at(entry)
                if folio is None or folio.entry is None or folio.pfn != word.pfn:
                    self.reasons.append(f"6: slot {entry:#x} names a folio that has other slots or none")
                    continue
                folios[int(folio.entry)] = folio
                covered.update(range(int(folio.entry), int(folio.entry) + folio.nr_pages))
        return folios

    def owners(
        self, ids: dict[int, sc.MemCgroup], cached: dict[int, sc.Folio]
    ) -> tuple[Counter[sc.MemCgroup], Counter[sc.MemCgroup]]:
        """Returns two counts for each group: slots that the group owns, and slots that record its id."""
        own: Counter[sc.MemCgroup] = Counter()
        pins: Counter[sc.MemCgroup] = Counter()
        self.ownerless &= self.used.keys()
        bound = {
            first + page: folio.memcg for first, folio in cached.items() for page in range(folio.nr_pages)
        }
        for entry, word in self.used.items():
            number = self._recorded_id(entry, word)
            if number and number not in ids:
                self.reasons.append(f"5: slot {entry:#x} is of id {number}, which no group has")
                continue
            recorded = ids.get(number)
            if recorded is not None:
                pins[recorded] += 1
                if word.kind == "shadow":
                    self.ownerless.discard(entry)
            if self.is_v1 and word.kind == "folio":
                continue  # v1 charges the resident pages of a cached folio, and not the folio's slots
            owner = recorded or self._owner_of_cached(entry, word, bound)
            if owner is not None:
                own[owner] += 1
            elif entry not in self.ownerless:
                self.reasons.append(f"8: slot {entry:#x} has no owner, {word}")
        return own, pins

    def _recorded_id(self, entry: int, word: Word) -> int:
        """Returns the group id in the table entry of a slot or beside the entry, 0 for none."""
        if word.kind == "shadow" and self.store in ("shadow", "trampoline"):
            return word.memcg_id
        return self.swap.slot_owner(entry) if self.store in CELLS else 0

    def _owner_of_cached(
        self, entry: int, word: Word, bound: dict[int, sc.MemCgroup | None]
    ) -> sc.MemCgroup | None:
        """Returns the owner of the folio cached at a slot if the store records no owner of a cached slot."""
        if word.kind != "folio" or self.store not in ("shadow", "trampoline") or entry in self.ownerless:
            return None
        if bound.get(entry) is None:
            self.reasons.append(f"7: the folio of slot {entry:#x} has no owner")
        return bound.get(entry)

    def _check_words(self, cached: dict[int, sc.Folio], before: Iterable[int]) -> None:
        for entry, word in self.used.items():
            if word.kind in ("pointer", "unknown") or (word.kind == "shadow" and word.count == 0):
                self.reasons.append(f"6: slot {entry:#x} is {word}")
        for first, folio in cached.items():
            words = [self.used.get(first + page) for page in range(folio.nr_pages)]
            if first % folio.nr_pages or any(
                word is None or (word.kind, word.pfn) != ("folio", folio.pfn) for word in words
            ):
                self.reasons.append(f"6: {folio!r} does not fill {folio.nr_pages} aligned slots")
        if self.store in CELLS:
            for entry in set(before) - self.used.keys():
                if self.swap.slot_owner(entry):
                    self.reasons.append(f"5: slot {entry:#x} is free and has an owner")

    def known_folios(self, cached: dict[int, sc.Folio]) -> set[sc.Folio]:
        """Returns the resident folios of the test and the folios of the swap table."""
        return {folio for folio in self.folios if folio.is_resident} | set(cached.values())

    def resident(self, cached: dict[int, sc.Folio]) -> Counter[sc.MemCgroup]:
        """Returns the number of resident pages that each group is charged for."""
        resident: Counter[sc.MemCgroup] = Counter()
        for folio in self.known_folios(cached):
            if folio.memcg is not None:
                resident[folio.memcg] += folio.nr_pages
        if self.spaces:
            tokens = set(self.cached_tokens(cached))
            present = {(space.group, token) for space in self.spaces for token in space.present()}
            resident.update(Counter(group for group, token in present if token not in tokens))
        return resident

    def cached_tokens(self, cached: dict[int, sc.Folio]) -> Iterator[int]:
        """Returns the numbers that a `Space` wrote into pages of cached folios."""
        for folio in cached.values():
            for page in range(folio.nr_pages):
                start = int.from_bytes(folio.read(page * PAGE, 8), "little")
                if start >> 32 == TOKEN >> 32:
                    yield start - TOKEN

    def sums(self, local: Counter[sc.MemCgroup]) -> Counter[sc.MemCgroup]:
        """Adds the pages of each group to all its ancestors."""
        total: Counter[sc.MemCgroup] = Counter()
        for group, pages in local.items():
            level: sc.MemCgroup | None = group
            while level is not None:
                total[level] += pages
                level = level.parent
        return total

    def _check_usage(self, group: sc.MemCgroup, facts: dict[str, int], own: int, resident: int) -> None:
        if self.is_v1:
            self._expect(2, group, "memsw", facts["memsw_pages"], own + resident)
        else:
            self._expect(1, group, "swap", facts["swap_pages"], own)
        self._expect(3, group, "memory", facts["memory_pages"], resident)
        self._expect(3, group, "memory below zero", facts["memory_underflow_pages"], 0)
        self._expect(2 if self.is_v1 else 1, group, "swap below zero", facts["swap_underflow_pages"], 0)

    def accept_swap_usage(self) -> None:
        """Records the present swap usage as the usage from which the check of balance 9 (R9) measures a rise.

        Tests with threads need this call, because a limit that was lowered below the usage since the last
        check is no error.
        """
        pages = {group: group.counters().get("swap_pages", 0) for group in self.groups}
        self._swap_pages = Counter(pages)

    def _check_limits(self, counters: dict[sc.MemCgroup, dict[str, int]]) -> None:
        for group in self.groups[1:]:
            usage, last = counters[group]["swap_pages"], self._swap_pages[group]
            if group.is_online and self.is_reparent_only and usage > max(last, 0):
                limit = limit_pages(group, "memory.swap.max")
                if usage > limit:
                    self.reasons.append(f"9: swap of {group.path} went from {last} to {usage}, over {limit}")
            self._swap_pages[group] = usage

    def _expect(self, number: int, group: sc.MemCgroup, what: str, is_: int, should: int) -> None:
        if is_ != should:
            self.reasons.append(f"{number}: {what} of {group.path} is {is_}, should be {should}")

    def hierarchical_swap_errors(self) -> list[str]:
        """Compares the sum of MEMCG_SWAP below each group with the slots that the group and descendants own.

        With ``rfc_literal`` only these sums are right on v2, because the defect K5 of docs/memcg.md breaks
        the statistics of single groups.
        """
        counters = {group: group.counters() for group in self.groups}
        ids = {facts["id"]: group for group, facts in counters.items() if facts["id"]}
        self.used = slots_in_use(self.swap)
        own = self.sums(self.owners(ids, self.cached_folios())[0])
        stat = self.sums(Counter({group: facts["memcg_swap_pages"] for group, facts in counters.items()}))
        return [
            f"{group.path}: MEMCG_SWAP {stat[group]}, slots {own[group]}"
            for group in self.groups
            if group.is_online and stat[group] != own[group]
        ]

    def swapcached_errors(self) -> list[str]:
        """Compares ``swapcached_pages`` of each group with the cached folios.

        With the defect K4 of docs/memcg.md the two numbers of pages differ.
        """
        self.used = slots_in_use(self.swap)
        cached: Counter[sc.MemCgroup | None] = Counter()
        for folio in self.cached_folios().values():
            cached[folio.memcg] += folio.nr_pages
        return [
            f"{group.path}: swapcached {found}, table {cached[group]}"
            for group in self.groups
            if (found := group.counters()["swapcached_pages"]) != cached[group]
            and (group.is_online or not self.lru_reparent)
        ]


@dataclass
class Task:
    """An address space with one mapped area."""

    mm: sc.Mm
    first: int

    def write(self, data: bytes, page: int = 0, **options: int) -> None:
        """Writes bytes from the start of a page of the area."""
        self.mm.write((self.first + page) * PAGE, data, **options)

    def read(self, page: int = 0, nr_bytes: int = PAGE, **options: int) -> bytes:
        """Reads bytes from the start of a page of the area."""
        return self.mm.read((self.first + page) * PAGE, nr_bytes, **options)

    def pageout(self, nr_pages: int, page: int = 0, **options: int) -> dict[str, int]:
        """Reclaims pages of the area and returns the counts of `Mm.pageout`."""
        return self.mm.pageout(self.first + page, nr_pages, **options)


def task_of(swap: sc.Swap, memcg: sc.MemCgroup | None, nr_pages: int, data: bytes = b"", **area: int) -> Task:
    """Makes an address space of a group, maps ``nr_pages`` and writes data to the first of them."""
    mm = swap.mm(memcg=memcg)
    task = Task(mm, mm.mmap(nr_pages, **area))
    task.write(data)
    return task


class Stage:
    """A subsystem on which a test makes groups and tasks."""

    def __init__(self, swap: sc.Swap, world: World) -> None:
        """Takes a subsystem and the `World` that compares its counters."""
        self.swap = swap
        self.swap.page_cluster = 0
        self.world = world

    def group(self, name: str, parent: sc.MemCgroup | None = None, **files: str | int) -> sc.MemCgroup:
        """Makes a group below a parent, which is root by default."""
        return self.world.add(parent or self.swap.memcg, name, **files)

    @cached_property
    def a(self) -> sc.MemCgroup:
        """The group A below root. The first access makes it."""
        return self.group("A")

    def task(self, memcg: sc.MemCgroup | None, nr_pages: int, data: bytes = b"", **area: int) -> Task:
        """Makes an address space of a group in this subsystem; `task_of` describes the arguments."""
        return task_of(self.swap, memcg, nr_pages, data, **area)

    def end(self) -> None:
        """Frees all slots and expects no page, slot or charge to be left. The caller must hold no folio."""
        self.world.give_up_slots()
        self.world.expect_nothing()
        self.world.verify()
