"""Reads a subsystem with memory control from outside and recomputes what its counters must be.

Written from a description of the kernel's behaviour, not from the Rust code: the words of every slot, the
folios that the test and the table know, and sums over the tree. Rules R1 to R9 of docs/steps.md are named by
number.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import swapcore as sc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = sc.PAGE_SIZE
TYPE_SHIFT = 58
NODES_SHIFT = 6
ID_SHIFT = 2 + NODES_SHIFT
EVICTION_SHIFT = ID_SHIFT + 16
FLAGS_SHIFT = 59
BAD = 0xFFFF_FFFF_FFFF_FFF8
UNLIMITED = 1 << 62
TOKEN = 0x746F_6B65 << 32  # the first eight bytes of a page that a `Space` wrote: this plus a number
CELLS = ("array", "cluster_table", "trampoline")  # stores that keep owners beside the words


def file_storage(pages: int) -> sc.Faulty:
    """Returns a storage that takes large folios, can fail, and is not synchronous: slots stay with folios.

    It is a file without a name by then; nothing is left of it when it is dropped.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "swap"
        return sc.Faulty(
            sc.File.create(path, pages=pages, sparse=True, is_block_device=True, is_rotational=False)
        )


@dataclass(frozen=True)
class Word:
    """One table word, taken apart. Counts over 14 read 15: the rest is in the extend table."""

    kind: str
    count: int = 0
    is_zero: bool = False
    pfn: int = 0
    eviction: int = 0
    memcg_id: int = 0
    node: int = 0
    is_workingset: bool = False


def unpack(word: int) -> Word:
    """Takes a word apart by the layout of the 64-bit table entry."""
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
    return Word("pointer")


def word_at(swap: sc.Swap, entry: int) -> Word:
    """Reads one slot's word."""
    return unpack(int(np.frombuffer(swap.lookup_many(np.array([entry], np.uint64)), np.uint64)[0]))


def slots_in_use(swap: sc.Swap) -> dict[int, Word]:
    """Reads the words of all slots of all devices that are neither free nor bad, by entry."""
    used = {}
    for device in swap.devices:
        entries = np.arange(device.max_pages, dtype=np.uint64) + np.uint64(device.type << TYPE_SHIFT)
        words = np.frombuffer(swap.lookup_many(entries), np.uint64)
        for slot in np.flatnonzero((words != 0) & (words != BAD)):
            used[int(entries[slot])] = unpack(int(words[slot]))
    return used


def limit_pages(group: sc.MemCgroup, file: str) -> int:
    """Reads a limit in pages."""
    text = group.read(file).strip()
    return UNLIMITED if text == "max" else int(text) // PAGE


@dataclass
class Space:
    """An address space whose pages a test writes, each with a token of its own: copies can be told apart."""

    mm: sc.Mm
    group: sc.MemCgroup
    first: int
    pages: dict[int, int] = field(default_factory=dict)

    def write(self, page: int, token: int) -> None:
        """Writes a page; a failure leaves it as it was."""
        self.mm.write((self.first + page) * PAGE, (TOKEN + token).to_bytes(8, "little"))
        self.pages[page] = token

    def fork(self) -> Space:
        """Forks."""
        return Space(self.mm.fork(), self.group, self.first, dict(self.pages))

    def zap(self, page: int, nr_pages: int) -> None:
        """Forgets pages."""
        self.mm.zap(self.first + page, nr_pages)
        for gone in range(page, page + nr_pages):
            self.pages.pop(gone, None)

    def entries(self) -> dict[int, int]:
        """Returns the slots of the pages that are swapped out."""
        found = ((page, self.mm.swap_entry(self.first + page)) for page in self.pages)
        return {page: int(entry) for page, entry in found if entry is not None}

    def present(self) -> set[int]:
        """Returns the tokens of the pages that are mapped."""
        if self.mm.resident_pages + self.mm.swapped_pages == 0:
            self.pages.clear()  # the OOM killer was here
        swapped = self.entries()
        return {token for page, token in self.pages.items() if page not in swapped}


class World:
    """A subsystem, and what a test knows of it."""

    def __init__(self, swap: sc.Swap) -> None:
        """Takes a subsystem whose tree is the root alone; say what is made later with `add` and the lists."""
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
        """Slots nobody was charged for: of `Swap.alloc`, of hibernation, and (v1, cells) of clean drops."""
        self.used: dict[int, Word] = {}
        self.reasons: list[str] = []
        self._swap_pages: Counter[sc.MemCgroup] = Counter()

    @property
    def root(self) -> sc.MemCgroup:
        """The root group."""
        return self.groups[0]

    def add(self, parent: sc.MemCgroup, name: str, **files: str | int) -> sc.MemCgroup:
        """Makes a group that the sums know of, also once it is dead."""
        group = parent.create(name, **files)
        self.groups.append(group)
        return group

    def forget_removed(self) -> None:
        """Lets groups go that are removed: one that somebody holds lives on below its parent."""
        self.groups = [group for group in self.groups if group.is_online]
        self._swap_pages = Counter({group: self._swap_pages[group] for group in self.groups})

    def verify(self) -> None:
        """Proves the core's own invariants, the rules R1 to R9, and the statistics."""
        self.swap.check()
        assert self.broken() == [], self.reasons
        assert self.swapcached_errors() == []

    def broken(self) -> list[int]:
        """Returns the numbers of the invariants that do not hold; `reasons` says more."""
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
        """Returns the folios of the table, by the entry of their first slot."""
        folios: dict[int, sc.Folio] = {}
        covered: set[int] = set()
        for entry, word in self.used.items():
            if word.kind == "folio" and entry not in covered:
                folio = self.swap.folio_at(entry)
                if folio is None or folio.entry is None or folio.pfn != word.pfn:
                    self.reasons.append(f"6: slot {entry:#x} names a folio that is not cached")
                    continue
                folios[int(folio.entry)] = folio
                covered.update(range(int(folio.entry), int(folio.entry) + folio.nr_pages))
        return folios

    def owners(
        self, ids: dict[int, sc.MemCgroup], cached: dict[int, sc.Folio]
    ) -> tuple[Counter[sc.MemCgroup], Counter[sc.MemCgroup]]:
        """Returns the slots that each group owns, and its id references from slots."""
        own: Counter[sc.MemCgroup] = Counter()
        pins: Counter[sc.MemCgroup] = Counter()
        self.ownerless &= self.used.keys()
        bound = {
            first + page: folio.memcg for first, folio in cached.items() for page in range(folio.nr_pages)
        }
        for entry, word in self.used.items():
            number = self._recorded_id(entry, word)
            if number and number not in ids:
                self.reasons.append(f"5: slot {entry:#x} is of id {number}, which nobody has")
                continue
            recorded = ids.get(number)
            if recorded is not None:
                pins[recorded] += 1
                if word.kind == "shadow":
                    self.ownerless.discard(entry)
            if self.is_v1 and word.kind == "folio":
                continue  # the resident pages are charged, not the slots
            owner = recorded or self._owner_of_cached(entry, word, bound)
            if owner is not None:
                own[owner] += 1
            elif entry not in self.ownerless:
                self.reasons.append(f"8: nobody owns slot {entry:#x}, {word}")
        return own, pins

    def _recorded_id(self, entry: int, word: Word) -> int:
        """Returns the id that a slot records, in its word or beside it; 0 for none."""
        if word.kind == "shadow" and self.store in ("shadow", "trampoline"):
            return word.memcg_id
        return self.swap.slot_owner(entry) if self.store in CELLS else 0

    def _owner_of_cached(
        self, entry: int, word: Word, bound: dict[int, sc.MemCgroup | None]
    ) -> sc.MemCgroup | None:
        """Returns who a folio belongs to, where its slots belong to the same group."""
        if word.kind != "folio" or self.store not in ("shadow", "trampoline") or entry in self.ownerless:
            return None
        if bound.get(entry) is None:
            self.reasons.append(f"7: the folio of slot {entry:#x} has no owner")
        return bound.get(entry)

    def _check_words(self, cached: dict[int, sc.Folio], before: Iterable[int]) -> None:
        for entry, word in self.used.items():
            if word.kind == "pointer" or (word.kind == "shadow" and word.count == 0):
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
        """Returns every folio in memory that is the test's or the table's, once."""
        return {folio for folio in self.folios if folio.is_resident} | set(cached.values())

    def resident(self, cached: dict[int, sc.Folio]) -> Counter[sc.MemCgroup]:
        """Returns the pages in memory that each group is charged for."""
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
        """Returns the tokens of the pages that cached folios have."""
        for folio in cached.values():
            for page in range(folio.nr_pages):
                start = int.from_bytes(folio.read(page * PAGE, 8), "little")
                if start >> 32 == TOKEN >> 32:
                    yield start - TOKEN

    def sums(self, local: Counter[sc.MemCgroup]) -> Counter[sc.MemCgroup]:
        """Adds what groups have to all their ancestors."""
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
        """Compares the sums of MEMCG_SWAP with the slots owned: all that `rfc_literal` promises in v2."""
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
        """Compares the statistic of cached pages with the table. K4."""
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
