"""Reads virtual devices and what backs them from outside, and recomputes what must hold.

Written from a description of the kernel's behaviour, not from the Rust code: raw words of the
tables, the type of each slot, and the books of groups, which `World` compares.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import swapcore as sc
from memcg_facts import BAD, PAGE, TYPE_SHIFT, Word, World, file_storage, slots_in_use, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

C = sc.SWAPFILE_CLUSTER
CACHE_ONLY_SHIFT = 63
OWNER_TYPE_SHIFT = 43
OWNER_TYPE_MASK = 0xFF
OWNER_OFFSET_MASK = (1 << 40) - 1
POINTER_TAG = 0b100

LEGAL_ROWS = {
    "folio folio",  # cached, nothing behind it
    "zero folio zero",
    "zero shadow zero",
    "zswap folio",
    "zswap shadow",
    "swapfile folio",
    "swapfile shadow",
}
"""What a used virtual slot may be at rest: its type, its word, its zero mark."""


def zeros(nr_pages: int = 1) -> bytes:
    """Returns pages of zeros."""
    return bytes(PAGE * nr_pages)


def text(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages that compress well, each different."""
    rng = random.Random(seed)
    return b"".join(rng.randbytes(8) * (PAGE // 8) for _ in range(nr_pages))


def noise(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages that do not compress."""
    return random.Random(seed).randbytes(PAGE * nr_pages)


def hard(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages that compress to a little less than they are."""
    rng = random.Random(seed)
    nr_bytes = rng.choice([3570, 3600, 3900, 4040])
    return b"".join(rng.randbytes(nr_bytes) + bytes(PAGE - nr_bytes) for _ in range(nr_pages))


def errno_of(call: Callable[..., object], *args: object) -> int:
    """Calls what must fail and returns why; no memory is ENOMEM."""
    code = refusal(lambda: call(*args))
    assert code != 0, "it was not refused"
    return code


def refusal(call: Callable[[], object]) -> int:
    """Makes a call and returns the errno of its refusal, 0 for none."""
    try:
        call()
    except MemoryError:
        return 12
    except OSError as error:
        return error.errno or -1
    return 0


class Part(NamedTuple):
    """Pages of a folio: all of it, or those that a handle maps of one that is larger."""

    folio: sc.Folio
    page: int
    nr_pages: int

    def read(self) -> bytes:
        """Returns their bytes."""
        return self.folio.read(self.page * PAGE, self.nr_pages * PAGE)


def parts_of(folios: list[sc.Folio], entry: int, nr_pages: int) -> list[Part]:
    """Returns what of folios that were swapped in one after the other lies over a run of slots."""
    parts: list[Part] = []
    at = 0
    for folio in folios:
        page = (entry + at) & (folio.nr_pages - 1)
        parts.append(Part(folio, page, min(nr_pages - at, folio.nr_pages - page)))
        at += parts[-1].nr_pages
    return parts


def data_at(swap: sc.Swap, entry: int, nr_pages: int = 1) -> bytes:
    """Swaps slots in and returns their bytes. The folio may be larger where it was cached."""
    folios = swap.swap_in_batch([sc.SwpEntry(entry + page) for page in range(nr_pages)])
    return b"".join(
        part.read() for page, folio in enumerate(folios) for part in parts_of([folio], entry + page, 1)
    )


class Pointer(NamedTuple):
    """A physical slot's word, taken apart."""

    owner: int
    is_cache_only: bool


def pointer_of(word: int) -> Pointer:
    """Takes the word of a slot that backs another apart."""
    assert word & 0b111 == POINTER_TAG, hex(word)
    kind = word >> OWNER_TYPE_SHIFT & OWNER_TYPE_MASK
    return Pointer(kind << TYPE_SHIFT | (word >> 3 & OWNER_OFFSET_MASK), bool(word >> CACHE_ONLY_SHIFT))


def raw_words(swap: sc.Swap, device: sc.SwapDevice) -> dict[int, int]:
    """Returns the words of a device's slots that are neither free nor bad, by entry."""
    entries = np.arange(device.max_pages, dtype=np.uint64) + np.uint64(device.type << TYPE_SHIFT)
    words = np.frombuffer(swap.lookup_many(entries), np.uint64)
    return {int(entries[slot]): int(words[slot]) for slot in np.flatnonzero((words != 0) & (words != BAD))}


def row_of(swap: sc.Swap, entry: int) -> str:
    """Returns the row of the state table of a virtual slot, as in `LEGAL_ROWS`, ``free`` for a free one."""
    found, backing = swap.lookup(entry), swap.backing(entry)
    if found["kind"] == "null" and backing["type"] == "none":
        return "free"
    return f"{backing['type']} {found['kind']}{' zero' * found['zero']}"


class Reader:
    """One look at all devices of a subsystem, at rest."""

    def __init__(self, swap: sc.Swap) -> None:
        """Reads every word, and of each used virtual slot what backs it."""
        self.swap = swap
        self.words = {device.type: raw_words(swap, device) for device in swap.devices}
        self.virtual = {device.type for device in swap.devices if device.is_virtual}
        self.physical = {device.type for device in swap.devices if device.kind != "ghost"}
        self.rows: Counter[str] = Counter()
        self.backing: dict[int, int] = {}
        """The physical slot of each virtual one that has one."""
        self.reasons: list[str] = []
        for kind in self.virtual:
            for entry, word in self.words[kind].items():
                self._read(entry, unpack(word))

    def _read(self, entry: int, word: Word) -> None:
        answer = self.swap.backing(entry)
        row = f"{answer['type']} {word.kind}{' zero' * word.is_zero}"
        self.rows[row] += 1
        if row not in LEGAL_ROWS or answer["nr_pages"] != 1:
            self.reasons.append(f"virtual slot {entry:#x} is {row}, {answer}, {word}")
        if (answer["type"] == "swapfile") != (answer["entry"] is not None):
            self.reasons.append(f"virtual slot {entry:#x} answers {answer}")
        elif answer["entry"] is not None:
            self.backing[entry] = int(answer["entry"])

    def errors(self) -> list[str]:
        """Returns everything that does not agree."""
        self._check_reverse_map()
        for device in self.swap.devices:
            used = len(self.words[device.type])
            if device.inuse_pages != used:
                self.reasons.append(f"device {device.type} says {device.inuse_pages} in use, it has {used}")
        stored = self.swap.zswap.stats()["stored_pages"]
        in_zswap = self.rows["zswap folio"] + self.rows["zswap shadow"]
        if stored < in_zswap or (self.is_all_virtual and stored != in_zswap):
            self.reasons.append(f"stored_pages is {stored}, {in_zswap} virtual slots are in zswap")
        return self.reasons

    @property
    def is_all_virtual(self) -> bool:
        """No device that is not virtual has a slot of its own in use."""
        pointers = sum(
            word & 0b111 == POINTER_TAG for kind in self.physical for word in self.words[kind].values()
        )
        others = sum(len(words) for kind, words in self.words.items() if kind not in self.virtual)
        return pointers == others

    def _check_reverse_map(self) -> None:
        named = Counter(self.backing.values())
        for entry, slot in self.backing.items():
            word = self.words.get(slot >> TYPE_SHIFT, {}).get(slot, 0)
            if slot >> TYPE_SHIFT not in self.physical or word & 0b111 != POINTER_TAG:
                self.reasons.append(f"virtual slot {entry:#x} is on {slot:#x}, whose word is {word:#x}")
                continue
            own = unpack(self.words[entry >> TYPE_SHIFT][entry])
            is_cache_only = own.kind == "folio" and own.count == 0
            if pointer_of(word) != Pointer(entry, is_cache_only):
                self.reasons.append(f"slot {slot:#x} names {pointer_of(word)}, it is of {entry:#x}, {own}")
            if named[slot] != 1:
                self.reasons.append(f"slot {slot:#x} is of {named[slot]} virtual slots")
        for kind, words in self.words.items():
            for slot, word in words.items():
                if word & 0b111 != POINTER_TAG:
                    continue
                if kind not in self.physical or self.backing.get(pointer_of(word).owner) != slot:
                    self.reasons.append(f"slot {slot:#x} names {pointer_of(word)}, which is elsewhere")
                found = self.swap.lookup(slot)
                if (int(found["owner"]), found["cache_only"]) != pointer_of(word):
                    self.reasons.append(f"lookup of {slot:#x} says {found}")


class VirtualWorld(World):
    """A subsystem with virtual devices: a group pays for physical slots only, and for its part of zswap."""

    def owners(
        self, ids: dict[int, sc.MemCgroup], cached: dict[int, sc.Folio]
    ) -> tuple[Counter[sc.MemCgroup], Counter[sc.MemCgroup]]:
        """Returns the slots that each group is charged for, and its id references from slots."""
        everything = {entry: word for entry, word in self.used.items() if word.kind != "pointer"}
        virtual = {device.type for device in self.swap.devices if device.is_virtual}
        self.used = everything
        own, pins = super().owners(ids, cached)
        if not self.is_v1:
            self.used = {
                entry: word
                for entry, word in everything.items()
                if entry >> TYPE_SHIFT not in virtual or self.swap.backing(entry)["type"] == "swapfile"
            }
            own, _ = super().owners(ids, cached)
        self.used = everything
        return own, pins

    def _check_words(self, cached: dict[int, sc.Folio], before: Iterable[int]) -> None:
        """Leaves slots out that were on a device that is off now: nobody can be asked about them."""
        types = {device.type for device in self.swap.devices}
        super()._check_words(cached, {entry for entry in before if entry >> TYPE_SHIFT in types})

    def resident(self, cached: dict[int, sc.Folio]) -> Counter[sc.MemCgroup]:
        """Returns the pages in memory that each group is charged for, those of zswap included, rounded up."""
        resident = super().resident(cached)
        if not self.is_v1:
            for group in self.groups:
                resident[group] += -(-group.stat_local()["zswap"] // PAGE)
        return resident

    def verify(self) -> None:
        """Proves the core's own invariants, the rules R1 to R9, and those of virtual slots."""
        super().verify()
        reader = Reader(self.swap)
        assert reader.errors() == [], reader.reasons


class Machine:
    """A virtual device over a file that can fail and is not synchronous: slots stay with what is read."""

    def __init__(
        self,
        *,
        ghost_pages: int = 8 * C,
        physical_pages: int = 4 * C,
        memory_pages: int = 8192,
        zswap: str | sc.Zswap | None = None,
        memcg: str = "v2",
        nr_cpus: int = 2,
        **switches: str,
    ) -> None:
        """Turns a virtual device on, and a physical one unless it has no pages."""
        self.swap = sc.Swap(
            nr_cpus=nr_cpus,
            memory_pages=memory_pages,
            memcg=memcg,
            zswap=zswap,
            switches={"memcg_stock": "off", **switches},
        )
        self.swap.page_cluster = 0
        self.ghost = self.swap.swapon(sc.Ghost(ghost_pages, virtual_table=True))
        self.storage = file_storage(max(physical_pages, 2))
        self.physical = self.swap.swapon(self.storage) if physical_pages else None
        self.world = VirtualWorld(self.swap)

    def out(self, data: bytes, memcg: sc.MemCgroup | None = None) -> int:
        """Swaps a new folio with this data out; returns its first slot."""
        order = (len(data) // PAGE - 1).bit_length()
        return int(self.swap.swap_out(self.swap.folio(order, data, memcg=memcg)))

    def row(self, entry: int) -> str:
        """Returns the row of a virtual slot, and proves everything on the way."""
        self.world.verify()
        return row_of(self.swap, entry)

    def keep(self, *folios: sc.Folio) -> None:
        """Says which folios the test holds, for the books."""
        self.world.folios = list(folios)

    def backing_slot(self, entry: int) -> int:
        """Returns the physical slot of a virtual one."""
        found = self.swap.backing(entry)
        assert found["type"] == "swapfile", found
        return int(found["entry"])

    def stat(self, name: str) -> int:
        """Returns a counter of zswap or of the subsystem."""
        return {**self.swap.stats(), **self.swap.zswap.stats()}[name]

    @property
    def physical_pages(self) -> int:
        """Slots in use on the physical device."""
        assert self.physical is not None
        return self.physical.inuse_pages

    def end(self) -> None:
        """Gives up every slot and expects nothing to be left anywhere. The test holds no folio."""
        self.world.folios.clear()
        self.swap.shrink_swap_cache()
        for entry, word in slots_in_use(self.swap).items():
            if word.kind in ("shadow", "folio"):
                for _ in range(self.swap.swap_count(entry)):
                    self.swap.free(entry, 1)
        self.swap.shrink_swap_cache()
        assert [device.inuse_pages for device in self.swap.devices] == [0] * len(self.swap.devices)
        assert (self.swap.nr_used_pages, self.swap.zswap.stats()["stored_pages"]) == (0, 0)
        assert self.swap.zswap.stats()["pool_total_size"] == 0
        for group in self.world.groups:
            facts = group.counters()
            assert (facts["memory_pages"], facts["id_refs"]) == (0, int(group.is_online)), group.path
        self.world.verify()
