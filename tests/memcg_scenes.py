"""A stage for small deterministic programs over memory control: groups, named folios, and rows to compare.

A row is what the scenarios J1 to J14 of docs/steps.md show of a group, as text, in up to four columns:
``memory/swap/MEMCG_SWAP/id references`` (v1: memsw for swap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from memcg_facts import PAGE, World, file_storage, word_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STORES = {"canon": "shadow", "main": "cluster_table", "pre": "array"}
MODES = tuple(STORES)
LITERAL = {"rfc_literal": "on", "dead_swapin": "reparent"}
DATA = b"data"

Row = str | tuple[str, str]
"""One row for all, or that of CANON and that of MAIN and PRE."""


def errno_of(call: Callable[[], object]) -> int | None:
    """Calls what must fail and returns why."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        call()
    return caught.value.errno


def keys(text: str) -> list[str]:
    """Returns the keys of a file of ``key value`` lines."""
    assert text.endswith("\n")
    return [line.split()[0] for line in text.splitlines()]


def values(text: str) -> dict[str, int]:
    """Returns such a file as a dict."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


class Scene:
    """A subsystem on a storage that is not synchronous, so that slots stay with what is read from them."""

    def __init__(
        self, mode: str = "canon", hierarchy: str = "v2", *, pages: int = 16_384, **switches: str
    ) -> None:
        """Makes the subsystem; ``switches`` come on top of the mode's."""
        self.mode = mode
        self.storage = file_storage(pages)
        self.swap = sc.Swap(
            memcg=hierarchy,
            switches={"owner_store": STORES[mode], "memcg_stock": "off", **switches},
            nr_cpus=2,
            memory_pages=8192,
        )
        self.device = self.swap.swapon(self.storage)
        self.swap.page_cluster = 0
        self.world = World(self.swap)
        self.root = self.swap.memcg
        self.is_literal = switches.get("rfc_literal") == "on"
        self.folios: dict[str, sc.Folio] = {}

    def group(self, name: str, parent: sc.MemCgroup | None = None, **files: str | int) -> sc.MemCgroup:
        """Makes a group."""
        return self.world.add(parent or self.root, name, **files)

    def keep(self, name: str, folio: sc.Folio) -> sc.Folio:
        """Keeps a folio under a name."""
        self.folios[name] = folio
        self.world.folios = list(self.folios.values())
        return folio

    def drop(self, *names: str) -> None:
        """Lets folios go: nobody else here holds one."""
        for name in names:
            del self.folios[name]
        self.world.folios = list(self.folios.values())

    def fault_in(
        self, name: str, order: int, memcg: sc.MemCgroup | None = None, data: bytes | None = DATA
    ) -> None:
        """Makes a folio with data, or zeros, mapped by its handle."""
        self.keep(name, self.swap.folio(order, data, memcg=memcg)).mapped = True

    def out(self, name: str) -> sc.SwpEntry:
        """Swaps a folio out."""
        entry = self.swap.swap_out(self.folios[name])
        self.drop(name)
        return entry

    def fresh_out(self, order: int, memcg: sc.MemCgroup | None = None, data: bytes | None = DATA) -> int:
        """Makes a folio, swaps it out, and returns its slot."""
        self.fault_in("fresh", order, memcg, data)
        return int(self.out("fresh"))

    def bring_in(
        self, name: str, entry: int, nr: int = 1, *, orders: int = 1, memcg: sc.MemCgroup | None = None
    ) -> sc.Folio:
        """Swaps slots in as a task of a group."""
        return self.keep(name, self.swap.swap_in(int(entry), nr, orders=orders, memcg=memcg))

    def row(self, group: sc.MemCgroup) -> str:
        """Returns the columns of the tables."""
        facts = group.counters()
        swap_pages = facts["memsw_pages"] if self.world.is_v1 else facts["swap_pages"]
        return f"{facts['memory_pages']}/{swap_pages}/{facts['memcg_swap_pages']}/{facts['id_refs']}"

    def expect(self, rows: Mapping[sc.MemCgroup, Row]) -> None:
        """Compares rows, and proves every invariant on the way."""
        for group, row in rows.items():
            wanted = row if isinstance(row, str) else row[self.mode != "canon"]
            found = "/".join(self.row(group).split("/")[: wanted.count("/") + 1])
            assert found == wanted, f"{group.path} in {self.mode}"
        if not self.is_literal:
            self.world.verify()

    def words(self, entry: int, nr: int = 1) -> list[str]:
        """Returns what slots hold, in the notation of docs/steps.md: ``S(A)|1,Z``, ``F|0``, ``0``."""
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
        """Returns a counter of the subsystem, of an order if it is counted by order."""
        prefix = "" if order is None else f"hugepages-{(PAGE << order) // 1024}kB."
        return self.swap.stats()[prefix + name]

    def end(self) -> None:
        """Gives up what is left and expects every group to be as it was made."""
        self.drop(*list(self.folios))
        for entry, word in self.world.used.items():
            if word.kind in ("shadow", "folio"):
                for _ in range(self.swap.swap_count(entry)):
                    self.swap.free(entry, 1)
        self.swap.shrink_swap_cache()
        assert (self.swap.nr_used_pages, self.device.inuse_pages) == (0, 0)
        self.expect({group: f"0/0/0/{int(group.is_online)}" for group in self.world.groups})
