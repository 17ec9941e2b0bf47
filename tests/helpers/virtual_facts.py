"""Reads virtual devices and their backing through the public API, and recomputes the values that must hold.

This module is written from a description of the kernel and not from the Rust code. `Reader` reads the table
entry of every slot and the backing of each virtual slot. `World` compares the counters of groups.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import swapcore as sc

from helpers.memcg_facts import PAGE, TYPE_SHIFT, Stage, Word, World, file_storage, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

C = sc.SWAPFILE_CLUSTER

LEGAL_ROWS = {
    "folio folio",  # the page is only in a cached folio, and neither in zswap nor on a physical device
    "zero folio zero",
    "zero shadow zero",
    "zswap folio",
    "zswap shadow",
    "swapfile folio",
    "swapfile shadow",
}
"""The states that a used virtual slot may have while no operation runs.

A state has the type of the backing, the kind of the table entry, and ``zero`` for a slot with the zero mark.
"""


def zeros(nr_pages: int = 1) -> bytes:
    """Returns pages of zeros."""
    return bytes(PAGE * nr_pages)


def text(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages with different data that compress well."""
    rng = random.Random(seed)
    return b"".join(rng.randbytes(8) * (PAGE // 8) for _ in range(nr_pages))


def noise(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages that do not compress."""
    return random.Random(seed).randbytes(PAGE * nr_pages)


def hard(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages that each compress to a little less than a page."""
    rng = random.Random(seed)
    nr_bytes = rng.choice([3570, 3600, 3900, 4040])
    return b"".join(rng.randbytes(nr_bytes) + bytes(PAGE - nr_bytes) for _ in range(nr_pages))


class Part(NamedTuple):
    """Consecutive pages of a folio."""

    folio: sc.Folio
    page: int
    nr_pages: int

    def read(self) -> bytes:
        """Returns the bytes of the pages."""
        return self.folio.read(self.page * PAGE, self.nr_pages * PAGE)


def parts_of(folios: list[sc.Folio], entry: int, nr_pages: int) -> list[Part]:
    """Returns the part of each folio that covers a run of slots.

    ``folios`` must be in the order of the slots.
    """
    parts: list[Part] = []
    at = 0
    for folio in folios:
        page = (entry + at) & (folio.nr_pages - 1)
        parts.append(Part(folio, page, min(nr_pages - at, folio.nr_pages - page)))
        at += parts[-1].nr_pages
    return parts


def data_at(swap: sc.Swap, entry: int, nr_pages: int = 1) -> bytes:
    """Swaps slots in and returns their bytes, but not the bytes of other slots that a cached folio covers."""
    folios = swap.swap_in_batch([sc.SwpEntry(entry + page) for page in range(nr_pages)])
    return b"".join(
        part.read() for page, folio in enumerate(folios) for part in parts_of([folio], entry + page, 1)
    )


def row_of(swap: sc.Swap, entry: int) -> str:
    """Returns the state of a virtual slot as in `LEGAL_ROWS`, or ``free``."""
    found, backing = swap.lookup(entry), swap.backing(entry)
    if found["kind"] == "null" and backing["type"] == "none":
        return "free"
    return f"{backing['type']} {found['kind']}{' zero' * found['is_zero']}"


class Reader:
    """The table entries of all slots and the backing of all virtual slots, read while no operation runs."""

    def __init__(self, swap: sc.Swap) -> None:
        """Reads every slot's table entry, and the backing (the page's place) of each used virtual slot."""
        self.swap = swap
        self.words = {device.type: words_of(swap, device) for device in swap.devices}
        self.virtual = {device.type for device in swap.devices if device.is_virtual}
        self.physical = {device.type for device in swap.devices if device.kind != "ghost"}
        self.rows: Counter[str] = Counter()
        self.backing: dict[int, int] = {}
        """The entry of the physical slot that backs a virtual slot, by the entry of the virtual slot."""
        self.reasons: list[str] = []
        for kind in self.virtual:
            for entry, word in self.words[kind].items():
                self._read(entry, word)

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
        """Returns a sentence for each contradiction of table entries, backing, reverse map and counters."""
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
        """Whether every used slot of the devices without a virtual table backs a virtual slot."""
        pointers = sum(word.kind == "pointer" for kind in self.physical for word in self.words[kind].values())
        others = sum(len(words) for kind, words in self.words.items() if kind not in self.virtual)
        return pointers == others

    def _check_reverse_map(self) -> None:
        for entry, slot in self.backing.items():
            own = self.words[entry >> TYPE_SHIFT][entry]
            is_cache_only = own.kind == "folio" and own.count == 0
            wanted = Word("pointer", owner=entry, is_cache_only=is_cache_only)
            found = self.words.get(slot >> TYPE_SHIFT, {}).get(slot)
            if slot >> TYPE_SHIFT not in self.physical or found != wanted:
                self.reasons.append(f"virtual slot {entry:#x}, {own}, is on {slot:#x}, whose word is {found}")
        for slot, times in Counter(self.backing.values()).items():
            if times != 1:
                self.reasons.append(f"slot {slot:#x} is of {times} virtual slots")
        for kind, words in self.words.items():
            for slot, word in words.items():
                if word.kind != "pointer":
                    continue
                if kind not in self.physical or self.backing.get(word.owner) != slot:
                    self.reasons.append(f"slot {slot:#x} names {word}, which is not on this slot")
                found = self.swap.lookup(slot)
                if (int(found["owner"]), found["is_cache_only"]) != (word.owner, word.is_cache_only):
                    self.reasons.append(f"lookup of {slot:#x} says {found}")


class VirtualWorld(World):
    """A `World` with virtual devices: groups are charged for physical slots and for bytes in zswap."""

    def owners(
        self, ids: dict[int, sc.MemCgroup], cached: dict[int, sc.Folio]
    ) -> tuple[Counter[sc.MemCgroup], Counter[sc.MemCgroup]]:
        """Returns two counts for each group: slots charged to the group, and slots that record its id."""
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
        """Excludes slots of devices that are off from ``before``, because `slot_owner` refuses them."""
        types = {device.type for device in self.swap.devices}
        super()._check_words(cached, {entry for entry in before if entry >> TYPE_SHIFT in types})

    def resident(self, cached: dict[int, sc.Folio]) -> Counter[sc.MemCgroup]:
        """Returns the pages that each group is charged for.

        The zswap bytes of a group are rounded up to pages.
        """
        resident = super().resident(cached)
        if not self.is_v1:
            for group in self.groups:
                resident[group] += -(-group.stat_local()["zswap"] // PAGE)
        return resident

    def verify(self) -> None:
        """Checks all that `World.verify` checks, and the virtual slots with `Reader`."""
        super().verify()
        reader = Reader(self.swap)
        assert reader.errors() == [], reader.reasons


class Machine(Stage):
    """A virtual device over a `file_storage`, on which a folio keeps its slots after a swap-in."""

    def __init__(
        self,
        *,
        ghost_pages: int = 8 * C,
        physical_pages: int = 4 * C,
        memory_pages: int = 8192,
        zswap: str | sc.Zswap | None = None,
        memcg: str = "v2",
    ) -> None:
        """Turns on a virtual device and, unless ``physical_pages`` is 0, a physical device."""
        swap = sc.Swap(
            nr_cpus=2,
            memory_pages=memory_pages,
            memcg=memcg,
            zswap=zswap,
            switches={"memcg_stock": "off"},
        )
        super().__init__(swap, VirtualWorld(swap))
        self.ghost = swap.swapon(sc.Ghost(pages=ghost_pages, is_virtual=True))
        self.storage = file_storage(max(physical_pages, 2))
        self.physical = swap.swapon(self.storage) if physical_pages else None

    def out(self, data: bytes, memcg: sc.MemCgroup | None = None) -> int:
        """Swaps a new folio with this data out and returns the entry of its first slot."""
        order = (len(data) // PAGE - 1).bit_length()
        return int(self.swap.swap_out(self.swap.folio(order, data, memcg=memcg)))

    def out_each(self, pages: Iterable[bytes], memcg: sc.MemCgroup | None = None) -> list[int]:
        """Swaps a new folio out for each page and returns the entries."""
        return [self.out(page, memcg) for page in pages]

    def read(self, *entries: int) -> list[bytes]:
        """Swaps each slot in and returns the bytes of its folio."""
        return [self.swap.swap_in(entry).read() for entry in entries]

    def row(self, entry: int) -> str:
        """Verifies the `VirtualWorld` and returns the state of a virtual slot as in `LEGAL_ROWS`."""
        self.world.verify()
        return row_of(self.swap, entry)

    def rows(self, *entries: int) -> list[str]:
        """Returns the state of each virtual slot as in `LEGAL_ROWS`."""
        return [row_of(self.swap, entry) for entry in entries]

    def keep(self, *folios: sc.Folio) -> None:
        """Tells `World` the folios that the test holds, because `World` itself finds only cached folios."""
        self.world.folios = list(folios)

    def backing_slot(self, entry: int) -> int:
        """Returns the physical slot that backs a virtual slot."""
        found = self.swap.backing(entry)
        assert found["type"] == "swapfile", found
        return int(found["entry"])

    def stat(self, name: str) -> int:
        """Returns the counter of zswap or of the subsystem with this name."""
        return {**self.swap.stats(), **self.swap.zswap.stats()}[name]

    def stats(self, *names: str) -> list[int]:
        """Returns the counters of zswap or of the subsystem with these names."""
        return [self.stat(name) for name in names]

    @property
    def physical_pages(self) -> int:
        """The number of slots in use on the physical device."""
        assert self.physical is not None
        return self.physical.inuse_pages


Machines = Callable[..., Machine]


@pytest.fixture
def machines() -> Iterator[Machines]:
    """Returns a function that makes a `Machine`. `Machine.end` runs for each `Machine` after the test."""
    made: list[Machine] = []

    def make(**options: Any) -> Machine:  # noqa: ANN401 - the options of `Machine`
        made.append(Machine(**options))
        return made[-1]

    yield make
    for machine in made:
        machine.end()


@pytest.fixture
def machine(machines: Machines) -> Machine:
    """Returns a `Machine`, which has a virtual device over a physical device, without zswap."""
    return machines()


@pytest.fixture
def lz4(machines: Machines) -> Machine:
    """Returns a `Machine`, which has a virtual device over a physical device, with zswap in front."""
    return machines(zswap="lz4")
