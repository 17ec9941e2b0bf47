"""`Scene`: a subsystem with groups and named folios. A test compares the groups' counters with rows of text.

A row has four counters of one group: ``memory/swap/MEMCG_SWAP/id references``. On v1 the second counter is
memsw. A test may leave out the last counters of a row. docs/steps.md defines the modes CANON, MAIN and PRE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import swapcore as sc

from helpers.memcg_facts import PAGE, Stage, World, file_storage, word_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STORES = {"canon": "shadow", "main": "cluster_table", "pre": "array"}
MODES = tuple(STORES)
LITERAL = {"rfc_literal": "on", "dead_swapin": "reparent"}
DATA = b"data"

Row = str | tuple[str, str]
"""One row for all modes of docs/steps.md, or two rows: one for CANON, and one for MAIN and PRE."""


def values(text: str) -> dict[str, int]:
    """Returns a file of ``key value`` lines as a dict."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


class Scene(Stage):
    """A subsystem on a `file_storage`, on which a folio keeps its slots after a swap-in."""

    def __init__(
        self, mode: str = "canon", hierarchy: str = "v2", *, pages: int = 16_384, **switches: str
    ) -> None:
        """Makes the subsystem. ``switches`` override the switches that ``mode`` sets."""
        self.mode = mode
        self.storage = file_storage(pages)
        swap = sc.Swap(
            memcg=hierarchy,
            switches={"owner_store": STORES[mode], "memcg_stock": "off", **switches},
            nr_cpus=2,
            memory_pages=8192,
        )
        super().__init__(swap, World(swap))
        self.device = swap.swapon(self.storage)
        self.root = swap.memcg
        self.is_literal = switches.get("rfc_literal") == "on"
        self.folios: dict[str, sc.Folio] = {}

    def keep(self, name: str, folio: sc.Folio) -> sc.Folio:
        """Keeps the handle of a folio under a name."""
        self.folios[name] = folio
        self.world.folios = list(self.folios.values())
        return folio

    def drop(self, *names: str) -> None:
        """Drops the handles of named folios."""
        for name in names:
            del self.folios[name]
        self.world.folios = list(self.folios.values())

    def fault_in(
        self, name: str, order: int, memcg: sc.MemCgroup | None = None, data: bytes | None = DATA
    ) -> None:
        """Makes a mapped folio with ``data``, or with zeros if ``data`` is None, and keeps its handle."""
        self.keep(name, self.swap.folio(order, data, memcg=memcg)).is_mapped = True

    def out(self, name: str) -> sc.SwpEntry:
        """Swaps a named folio out, drops its handle and returns its entry."""
        entry = self.swap.swap_out(self.folios[name])
        self.drop(name)
        return entry

    def fresh_out(self, order: int, memcg: sc.MemCgroup | None = None, data: bytes | None = DATA) -> int:
        """Makes a folio, swaps it out, and returns the entry of its first slot."""
        self.fault_in("fresh", order, memcg, data)
        return int(self.out("fresh"))

    def bring_in(
        self, name: str, entry: int, nr: int = 1, *, orders: int = 1, memcg: sc.MemCgroup | None = None
    ) -> sc.Folio:
        """Swaps slots in as a task of a group and keeps the folio under a name."""
        return self.keep(name, self.swap.swap_in(int(entry), nr, orders=orders, memcg=memcg))

    def read_ahead(self, entry: int) -> sc.Folio:
        """Reads a slot into the swap cache, unmapped, and keeps the folio under the name "read ahead"."""
        folio = self.swap.swap_cluster_readahead(entry)
        assert folio is not None
        return self.keep("read ahead", folio)

    def row(self, group: sc.MemCgroup) -> str:
        """Returns the row of a group, in the format that the start of this file defines."""
        facts = group.counters()
        swap_pages = facts["memsw_pages"] if self.world.is_v1 else facts["swap_pages"]
        return f"{facts['memory_pages']}/{swap_pages}/{facts['memcg_swap_pages']}/{facts['id_refs']}"

    def expect(self, rows: Mapping[sc.MemCgroup, Row], entry: int = 0, words: Sequence[str] = ()) -> None:
        """Compares the rows of groups and the table entries of slots, and checks all balances of `World`."""
        for group, row in rows.items():
            wanted = row if isinstance(row, str) else row[self.mode != "canon"]
            found = "/".join(self.row(group).split("/")[: wanted.count("/") + 1])
            assert found == wanted, f"{group.path} in {self.mode}"
        assert self.words(entry, len(words)) == list(words)
        if not self.is_literal:
            self.world.verify()

    def words(self, entry: int, nr: int = 1) -> list[str]:
        """Returns the table entries of slots as short texts.

        ``F|0`` is a cached folio with count 0, ``S(A)|1,Z`` is a shadow of group A with count 1 and a zero
        mark, and ``0`` is a free slot.
        """
        return [self._word(int(entry) + slot) for slot in range(nr)]

    def _word(self, entry: int) -> str:
        word = word_at(self.swap, entry)
        if word.kind == "null":
            return "0"
        flags = f"|{word.count}{',Z' * word.is_zero}"
        if word.kind == "folio":
            return f"F{flags}"
        number = word.memcg_id if self.mode == "canon" else self.swap.slot_owner(entry)
        names = [group.name for group in self.world.groups if number and group.counters()["id"] == number]
        return f"S({''.join(names)}){flags}"

    def stat(self, name: str, order: int | None = None) -> int:
        """Returns a counter of the subsystem, or the counter of one folio order."""
        prefix = "" if order is None else f"hugepages-{(PAGE << order) // 1024}kB."
        return self.swap.stats()[prefix + name]

    def end(self) -> None:
        """Drops all folios, frees all slots, and expects no page, slot or charge to be left."""
        self.folios.clear()
        super().end()


def family(
    scene: Scene, grandparent: sc.MemCgroup | None = None
) -> tuple[sc.MemCgroup, sc.MemCgroup, sc.MemCgroup, int]:
    """Makes groups P and B, and C below P; returns P, B, C, and the first of four slots that C owns."""
    p, b = scene.group("P", grandparent), scene.group("B")
    c = scene.group("C", p)
    return p, b, c, scene.fresh_out(2, c)
