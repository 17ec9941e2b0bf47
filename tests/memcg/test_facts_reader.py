"""`World` on a fake subsystem: `World` reads table entries and detects each broken balance of R1 to R9."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from helpers.memcg_facts import BAD, ID_SHIFT, PAGE, Word, World, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    import swapcore as sc

EMPTY = {
    "memory_pages": 0,
    "swap_pages": 0,
    "memsw_pages": 0,
    "memcg_swap_pages": 0,
    "swapcached_pages": 0,
    "id": 0,
    "id_refs": 1,
    "memory_underflow_pages": 0,
    "swap_underflow_pages": 0,
}


@dataclass(eq=False)
class Group:
    """A fake group whose counters a test sets."""

    path: str
    parent: Group | None
    facts: dict[str, int]
    is_online: bool = True
    swap_max: str = "max"
    files: tuple[str, ...] = ()

    def counters(self) -> dict[str, int]:
        return self.facts

    def read(self, _file: str) -> str:
        return f"{self.swap_max}\n"


@dataclass(eq=False)
class Folio:
    """A fake folio in the swap cache."""

    pfn: int
    entry: int
    nr_pages: int
    memcg: Group | None
    is_resident: bool = True


@dataclass
class Fake:
    """A fake subsystem of eight slots. Slot 1 is a shadow of C; slots 4 and 5 are a cached folio of P."""

    store: str = "shadow"
    is_v1: bool = False
    words: list[int] = field(default_factory=lambda: [0] * 8)
    cells: list[int] = field(default_factory=lambda: [0] * 8)

    def __post_init__(self) -> None:
        files = ("memory.usage_in_bytes",) if self.is_v1 else ()
        self.memcg = Group("/", None, {**EMPTY, "id": 1}, files=files)
        self.p = Group("/P", self.memcg, {**EMPTY, "id": 2, "memory_pages": 2, "swap_pages": 3})
        self.c = Group("/P/C", self.p, {**EMPTY, "id": 3, "id_refs": 1, "swap_pages": 1}, is_online=False)
        self.p.facts |= {"memcg_swap_pages": 2, "swapcached_pages": 2, "memsw_pages": 3}
        self.c.facts |= {"memcg_swap_pages": 1, "memsw_pages": 1}
        self.folio = Folio(7, 4, 2, self.p)
        self.words[0] = BAD
        self.words[1] = 1 << 60 | 3 << ID_SHIFT | 1
        self.words[4] = self.words[5] = 1 << 60 | 7 << 2 | 2
        self.switches = {"owner_store": self.store, "dead_swapin": "reparent", "lru_reparent": "off"}
        self.devices = [SimpleNamespace(type=0, max_pages=8)]
        if self.store != "shadow":
            self.cells[1], self.cells[4], self.cells[5] = 3, 2, 2
            self.p.facts["id_refs"] = 3
        if self.is_v1:
            self.p.facts["memcg_swap_pages"] = 0

    def lookup_many(self, entries: np.ndarray[Any, np.dtype[np.uint64]]) -> bytes:
        return np.array([self.words[int(entry)] for entry in entries], np.uint64).tobytes()

    def folio_at(self, entry: int) -> Folio | None:
        return self.folio if self.words[entry] & 3 == 2 else None

    def slot_owner(self, entry: int) -> int:
        return self.cells[entry]

    def check(self) -> None:
        """Replaces `Swap.check` and never fails."""

    def world(self) -> World:
        world = World(cast("sc.Swap", self))
        world.groups += cast("list[sc.MemCgroup]", [self.p, self.c])
        return world


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0, Word("null")),
        (BAD, Word("bad")),
        (0xABCDE123407, Word("shadow", 0, False, 0, 0xABCDE, 0x1234, 1, True)),
        (0x38000ABCDE123407, Word("shadow", 3, True, 0, 0xABCDE, 0x1234, 1, True)),
        (0x123401, Word("shadow", memcg_id=0x1234)),
        (0x5000101, Word("shadow", eviction=5, memcg_id=1)),
        (1, Word("shadow")),
        (2 << 60 | 1 << 59 | 0x1234 << 2 | 2, Word("folio", 2, True, 0x1234)),
        (4, Word("pointer")),
    ],
)
def test_words_are_read_as_the_reference_packs_them(value: int, word: Word) -> None:
    assert unpack(value) == word


@pytest.mark.parametrize("is_v1", [False, True])
@pytest.mark.parametrize("store", ["shadow", "cluster_table"])
def test_sound_books_are_passed(store: str, is_v1: bool) -> None:
    if store != "shadow" and is_v1:
        fake = Fake(store, is_v1)
        fake.cells[4] = fake.cells[5] = 0
        fake.p.facts["id_refs"] = 1
    else:
        fake = Fake(store, is_v1)
    world = fake.world()
    world.verify()
    assert sorted(world.used) == [1, 4, 5]


def poke(what: str, key: str, value: int) -> Callable[[Fake], None]:
    """Returns a function that sets a counter of a group."""
    return lambda fake: getattr(fake, what).facts.update({key: value})


def word(slot: int, value: int) -> Callable[[Fake], None]:
    """Returns a function that sets the table entry of a slot."""
    return lambda fake: fake.words.__setitem__(slot, value)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (poke("p", "swap_pages", 2), 1),
        (poke("c", "swap_pages", 0), 1),
        (poke("p", "swap_underflow_pages", 1), 1),
        (poke("p", "memory_pages", 3), 3),
        (poke("c", "memory_pages", 1), 3),
        (poke("c", "memcg_swap_pages", 0), 4),
        (poke("memcg", "memcg_swap_pages", 1), 4),
        (poke("c", "id_refs", 2), 5),
        (poke("memcg", "id_refs", 0), 5),
        (poke("c", "id", 0), 5),
        (word(2, 1 << 60 | 9 << ID_SHIFT | 1), 5),
        (word(2, 3 << ID_SHIFT | 1), 6),
        (word(5, 0), 6),
        (word(6, 4), 6),
        (word(2, 1 << 60 | 1), 8),
        (lambda fake: setattr(fake.folio, "memcg", None), 7),
        (lambda fake: setattr(fake.folio, "pfn", 8), 6),
        (lambda fake: setattr(fake.p, "swap_max", str(2 * PAGE)), 9),
    ],
)
def test_each_fault_is_seen(change: Callable[[Fake], None], number: int) -> None:
    fake = Fake()
    change(fake)
    world = fake.world()
    assert number in world.broken(), world.reasons


def test_faults_of_v1_are_seen() -> None:
    for group in ("p", "c"):
        fake = Fake(is_v1=True)
        poke(group, "memsw_pages", 9)(fake)
        assert fake.world().broken() == [2]


def test_faults_of_cells_are_seen() -> None:
    fake = Fake("cluster_table")
    fake.cells[5] = 0
    assert fake.world().broken() == [1, 4, 5, 8]
    fake = Fake("cluster_table")
    world = fake.world()
    assert world.broken() == []
    fake.words[1] = 0
    fake.c.facts |= {"swap_pages": 0, "memcg_swap_pages": 0, "id_refs": 0}
    fake.p.facts["swap_pages"] = 2
    assert world.broken() == [5], "a free slot with an owner"


def test_limits_may_be_under_what_was_used_before() -> None:
    fake = Fake()
    world = fake.world()
    assert world.broken() == []
    fake.p.swap_max = "0"
    assert world.broken() == []


def test_statistics_are_compared() -> None:
    fake = Fake()
    assert fake.world().hierarchical_swap_errors() == []
    fake.p.facts["memcg_swap_pages"], fake.c.facts["memcg_swap_pages"] = 3, 0
    assert fake.world().hierarchical_swap_errors() == []
    fake.c.facts["memcg_swap_pages"] = 1
    assert len(fake.world().hierarchical_swap_errors()) == 2
    fake.p.facts["swapcached_pages"] = -2
    assert fake.world().swapcached_errors() == ["/P: swapcached -2, table 2"]
