"""Random programs over memory control. Hypothesis or a seed draws the steps; each step is a method.

A step takes three numbers, and each number chooses a group, folio, slot or limit. A step may fail with an
error that the step expects. `World` checks the counters after each step.
"""

from __future__ import annotations

import errno
import gc
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import swapcore as sc

from helpers.memcg_facts import PAGE, Space, World, file_storage, refusal, word_at
from helpers.programs import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

DEVICE_PAGES = 3072
MAX_GROUPS = 6
MAX_GROUPS_EVER = 14
MAX_DEPTH = 4
MAX_SPACES = 3
SPACE_PAGES = 24
MAX_COUNT = 18  # more than 14, the largest count that a table entry holds without the extend table
MAX_FOLIO_PAGES = 240


class Config(NamedTuple):
    """The switches of a program and its hierarchy of memory cgroups, v1 or v2."""

    store: str
    hierarchy: str
    dead_swapin: str
    is_literal: bool = False
    lru_reparent: str = "off"

    def __str__(self) -> str:
        """Returns the switches that are not off, joined by hyphens."""
        return "-".join(str(word) for word in self if word not in (False, "off"))


DEAD_SWAPIN = {
    "shadow": ("reparent", "reparent_if_shared"),
    "array": ("reparent", "fault_mm", "reparent_if_shared"),
    "cluster_table": ("reparent", "fault_mm", "reparent_if_shared"),
    "trampoline": ("reparent", "fault_mm", "reparent_if_shared"),
}
CONFIGS = [
    Config(store, hierarchy, dead_swapin)
    for store, rules in DEAD_SWAPIN.items()
    for hierarchy in ("v2", "v1")
    for dead_swapin in ("default", *rules)
] + [
    Config("shadow", "v2", "default", lru_reparent="on"),
    Config("cluster_table", "v2", "default", lru_reparent="on"),
]
LITERAL_CONFIGS = {
    hierarchy: Config("shadow", hierarchy, "reparent", is_literal=True) for hierarchy in ("v2", "v1")
}


def pick(items: Sequence[T], number: int) -> T:
    """Chooses an item by a number of any size."""
    return items[number % len(items)]


class Program(Steps):
    """A subsystem and the steps of a program on it."""

    def __init__(self, config: Config, variant: int = 0) -> None:
        """Makes the subsystem; ``variant`` chooses the storage, and ``workingset``, classic or mglru."""
        self.config = config
        self.is_v1 = config.hierarchy == "v1"
        switches = {
            "owner_store": config.store,
            "dead_swapin": config.dead_swapin,
            "rfc_literal": "on" if config.is_literal else "off",
            "lru_reparent": config.lru_reparent,
            "memcg_stock": "off",
        }
        swap = sc.Swap(
            nr_cpus=2,
            memcg=config.hierarchy,
            switches=switches,
            memory_pages=1024,
            workingset=pick(("classic", "classic", "mglru"), variant // 3),
        )
        self.faulty = file_storage(DEVICE_PAGES)
        storages = (self.faulty, sc.Zram(pages=DEVICE_PAGES), self.faulty, sc.Ram(pages=DEVICE_PAGES))
        super().__init__(swap, World(swap), f"{config}, variant {variant}")
        self.device = swap.swapon(pick(storages, variant))
        self.hibernation: list[int] = []
        self.tokens = 0

    def online(self) -> list[sc.MemCgroup]:
        """Returns the groups that are online, root first."""
        return [group for group in self.world.groups if group.is_online]

    def folio(self, number: int) -> sc.Folio | None:
        """Chooses one of the folios of the program."""
        self.world.folios = [folio for folio in self.world.folios if folio.is_resident]
        return pick(self.world.folios, number) if self.world.folios else None

    def shared_slots(self) -> list[int]:
        """Returns the slots with references that neither an address space nor a hibernation image holds."""
        taken = {entry for space in self.world.spaces for entry in space.entries().values()}
        taken.update(self.hibernation)
        return [
            entry
            for entry, word in self.world.used.items()
            if word.count and word.kind != "bad" and entry not in taken
        ]

    def shared_run(self, a: int, b: int) -> tuple[int, int] | None:
        """Chooses up to 24 consecutive slots of `shared_slots`."""
        slots = self.shared_slots()
        if not slots:
            return None
        first, free_for_all = pick(slots, a), set(slots)
        nr_slots = 1
        while nr_slots <= b % 24 and first + nr_slots in free_for_all:
            nr_slots += 1
        return first, nr_slots

    # Groups.

    def create_group(self, a: int, _b: int, _c: int) -> None:
        """Makes a group below any group that is online."""
        online = self.online()
        parent = pick(online, a)
        if (
            len(online) < MAX_GROUPS
            and len(self.world.groups) < MAX_GROUPS_EVER
            and parent.path.count("/") < MAX_DEPTH
        ):
            self.world.add(parent, f"g{len(self.world.groups)}")

    def remove_group(self, a: int, _b: int, _c: int) -> None:
        """Removes a group. A group with children or tasks refuses the removal."""
        online = self.online()[1:]
        if not online:
            return
        group = pick(online, a)
        is_busy = bool(group.children) or any(space.group == group for space in self.world.spaces)
        assert refusal(group.remove) == (errno.EBUSY if is_busy else 0)
        assert group.is_online == is_busy

    def set_memory_max(self, a: int, b: int, _c: int) -> None:
        """Sets the memory limit of a group to a value near the usage, or removes the limit."""
        self._set_limit(a, b, "memory.max", "memory.limit_in_bytes", "memory_pages")

    def set_swap_max(self, a: int, b: int, _c: int) -> None:
        """Sets the swap limit of a group; v1 limits the sum of memory and swap."""
        self._set_limit(a, b, "memory.swap.max", "memory.memsw.limit_in_bytes", "swap_pages")

    def _set_limit(self, a: int, b: int, v2: str, v1: str, usage: str) -> None:
        online = self.online()[1:]
        if not online:
            return
        group = pick(online, a)
        used = group.counters()["memsw_pages" if self.is_v1 and usage == "swap_pages" else usage]
        # The new limit is rarely below the usage, because a limit below the usage starts the OOM killer.
        pages = max(0, used + pick((0, 1, 4, 4, 9, 20, -2), b))
        unlimited = -1 if self.is_v1 else "max"
        limit = unlimited if b % 3 == 0 else pages * PAGE
        number = refusal(group.write, v1 if self.is_v1 else v2, limit)
        # v1 refuses a limit below the usage, and a memory limit above the memsw limit.
        assert number in ((0, errno.EBUSY, errno.EINVAL) if self.is_v1 else (0,))

    def reclaim(self, a: int, b: int, _c: int) -> None:
        """Reclaims a few pages of a group."""
        group = pick(self.online(), a)
        if not self.is_v1:
            assert refusal(group.write, "memory.reclaim", (1 + b % 8) * PAGE) in (0, errno.EAGAIN)

    # Folios.

    def make_folio(self, a: int, b: int, c: int) -> None:
        """Makes a folio of a group, with data or zeros, mapped or not."""
        group, order = pick(self.online(), a), pick((0, 0, 1, 2, 2, 3, 3, 4), b)
        if self.swap.nr_used_pages > MAX_FOLIO_PAGES:
            return
        before = group.counters()["memory_pages"]
        try:
            folio = self.swap.folio(order, pick((None, b"text" * 1000), c), memcg=group)
        except MemoryError:
            # The usage may be lower than before the call, because the failed charge reclaimed pages first.
            assert group.counters()["memory_pages"] <= before
            return
        assert folio.memcg == group
        folio.is_mapped = c % 3 != 0
        self.world.folios.append(folio)

    def folio_alloc_swap(self, a: int, _b: int, _c: int) -> None:
        """Allocates the slots of a folio."""
        folio = self.folio(a)
        if folio is None or folio.entry is not None:
            return
        refs = folio.refs
        try:
            self.swap.folio_alloc_swap(folio)
        except (MemoryError, sc.SwapFullError):
            assert folio.entry is None
            assert folio.refs == refs or self.config.is_literal

    def swap_out(self, a: int, _b: int, c: int) -> None:
        """Swaps a folio out."""
        folio = self.folio(a)
        if folio is None:
            return
        try:
            self.swap.swap_out(folio, cpu=c % 2)
        except (MemoryError, sc.SwapFullError, sc.SwapBusyError, sc.SwapIOError):
            assert folio.is_resident

    def swap_in(self, a: int, b: int, c: int) -> None:
        """Swaps a few slots in as a task of any group. After a failed charge the slots are unchanged."""
        run = self.shared_run(a, pick((0, 0, 1, 3, 7, 15), c))
        if run is None or self.swap.nr_used_pages > MAX_FOLIO_PAGES:
            return
        first, nr_slots = run
        before = word_at(self.swap, first)
        try:
            folio = self.swap.swap_in(
                first,
                nr_slots,
                orders=self.orders_beside_spaces(first, b % 32),
                cpu=c % 2,
                memcg=pick(self.online(), b),
            )
        except MemoryError:
            after = word_at(self.swap, first)
            facts = [(word.kind, word.count, word.is_zero, word.memcg_id) for word in (before, after)]
            assert facts[0] == facts[1]
            return
        except sc.SwapIOError:
            return
        self.world.folios.append(folio)

    def orders_beside_spaces(self, entry: int, orders: int) -> int:
        """Returns ``orders`` without the orders whose folio would cover a slot of an address space."""
        taken = {slot for space in self.world.spaces for slot in space.entries().values()}
        for order in range(1, 5):
            base = entry & -(1 << order)
            if taken & set(range(base, base + (1 << order))):
                return orders & ((1 << order) - 1)
        return orders

    def free_swap(self, a: int, _b: int, _c: int) -> None:
        """Frees the slots of a folio when the slots have no reference."""
        folio = self.folio(a)
        if folio is not None:
            self.swap.folio_free_swap(folio)

    def drop_clean(self, a: int, _b: int, c: int) -> None:
        """Removes a folio from the swap cache without reclaim."""
        folio = self.folio(a)
        if folio is None or folio.entry is None:
            return
        if c % 2:
            folio.is_dirty = False
        slots = range(int(folio.entry), int(folio.entry) + folio.nr_pages)
        try:
            self.swap.swap_cache_del_folio(folio)
        except sc.SwapBusyError:
            assert folio.is_dirty
        else:
            if self.is_v1 and self.config.store != "shadow":
                self.world.ownerless.update(slots)

    def split(self, a: int, b: int, _c: int) -> None:
        """Splits a folio."""
        folio = self.folio(a)
        if folio is None or folio.order == 0:
            return
        try:
            self.world.folios += self.swap.folio_split(folio, b % folio.order)
        except sc.SwapBusyError:
            assert folio.is_resident

    def migrate(self, a: int, _b: int, _c: int) -> None:
        """Moves a folio to other memory."""
        folio = self.folio(a)
        if folio is None:
            return
        try:
            self.world.folios.append(self.swap.folio_migrate(folio))
        except (sc.SwapBusyError, MemoryError):
            assert folio.is_resident

    def drop_handle(self, a: int, b: int, _c: int) -> None:
        """Drops the handles of up to three folios."""
        for number in range(1 + b % 3):
            folio = self.folio(a + number)
            if folio is not None:
                self.world.folios.remove(folio)

    def map_or_unmap(self, a: int, _b: int, c: int) -> None:
        """Maps or unmaps a folio through its handle."""
        folio = self.folio(a)
        if folio is not None:
            folio.is_mapped = bool(c % 2)

    # Slots.

    def dup(self, a: int, b: int, _c: int) -> None:
        """Adds a reference to each slot of a run, as a fork does."""
        run = self.shared_run(a, b)
        if run is not None and all(
            self.swap.swap_count(entry) < MAX_COUNT for entry in range(run[0], run[0] + run[1])
        ):
            self.swap.dup(*run)

    def free(self, a: int, b: int, _c: int) -> None:
        """Frees one reference of each slot of a run; the slots may have different owners."""
        run = self.shared_run(a, b)
        if run is not None:
            self.swap.free(*run)

    def alloc(self, _a: int, b: int, _c: int) -> None:
        """Allocates slots that are charged to no group."""
        try:
            entry = self.swap.alloc(b % 3)
        except sc.SwapFullError:
            return  # no cluster has room for the order, because each cluster in use serves another order
        self.world.ownerless.update(range(int(entry), int(entry) + entry.nr_pages))

    def hibernate(self, a: int, _b: int, c: int) -> None:
        """Allocates a hibernation slot, or frees one."""
        if c % 2 and self.hibernation:
            self.swap.free_hibernation(self.hibernation.pop(a % len(self.hibernation)))
        elif len(self.hibernation) < 3:
            self.hibernation.append(int(self.swap.alloc_hibernation(self.device)))
            self.world.ownerless.add(self.hibernation[-1])

    def readahead(self, a: int, b: int, c: int) -> None:
        """Reads a slot and its neighbours into the swap cache, unmapped."""
        slots = self.shared_slots()
        if not slots or self.swap.nr_used_pages > MAX_FOLIO_PAGES:
            return
        self.swap.page_cluster = b % 4
        try:
            folio = self.swap.swap_cluster_readahead(pick(slots, a))
        except (sc.SwapIOError, MemoryError):
            return
        if folio is not None and c % 2:
            self.world.folios.append(folio)

    def shrink(self, _a: int, b: int, _c: int) -> None:
        """Frees cached folios that only the swap cache holds."""
        self.swap.shrink_swap_cache(pick((None, 1, 4), b))

    # Address spaces.

    def space(self, number: int) -> Space | None:
        """Chooses an address space."""
        return pick(self.world.spaces, number) if self.world.spaces else None

    def spawn(self, a: int, _b: int, _c: int) -> None:
        """Starts a task in a group."""
        if len(self.world.spaces) < MAX_SPACES:
            group = pick(self.online(), a)
            mm = self.swap.mm(memcg=group)
            assert mm.memcg == group
            self.world.spaces.append(Space(mm, group, mm.mmap(SPACE_PAGES)))

    def touch(self, a: int, b: int, c: int) -> None:
        """Writes a few pages of a task."""
        space = self.space(a)
        if space is None or self.swap.nr_used_pages > MAX_FOLIO_PAGES:
            return
        for page in range(1 + c % 6):
            self.tokens += 1
            try:
                space.write((b + page) % SPACE_PAGES, self.tokens)
            except (MemoryError, sc.SwapIOError):
                return

    def fork(self, a: int, _b: int, _c: int) -> None:
        """Forks a task."""
        space = self.space(a)
        if space is not None and len(self.world.spaces) < MAX_SPACES:
            self.world.spaces.append(space.fork())

    def pageout(self, a: int, b: int, c: int) -> None:
        """Reclaims pages of a task."""
        space = self.space(a)
        if space is not None:
            first = b % SPACE_PAGES
            space.mm.pageout(space.first + first, min(SPACE_PAGES - first, 1 + c % 12))

    def zap(self, a: int, b: int, c: int) -> None:
        """Unmaps pages of a task."""
        space = self.space(a)
        if space is not None:
            first = b % SPACE_PAGES
            space.zap(first, min(SPACE_PAGES - first, 1 + c % 8))

    def exit(self, a: int, _b: int, _c: int) -> None:
        """Ends a task."""
        if self.world.spaces:
            self.world.spaces.pop(a % len(self.world.spaces))

    def set_faults(self, _a: int, b: int, _c: int) -> None:
        """Makes the next write or the next read of the storage fail, or lets all I/O succeed."""
        plan: dict[str, int] = pick(({}, {"fail_write_in": 1}, {"fail_read_in": 1}, {"fail_write_in": 1}), b)
        if self.is_v1 and self.config.store != "shadow":
            # No read fails here, because a failed read removes the folio from the swap cache, and on v1 all
            # owner stores but "shadow" then lose the owner of the folio's slots.
            plan.pop("fail_read_in", None)
        self.faulty.set_faults(**plan)

    def end(self) -> None:
        """Drops all folios, tasks and slots, and checks that no charge is left."""
        self.log.append("program.end()")
        self.faulty.set_faults()
        self.world.spaces.clear()
        self.world.folios.clear()
        gc.collect()  # frees folios that the frames of a caught error refer to
        for entry in self.hibernation:
            self.swap.free_hibernation(entry)
        self.hibernation.clear()
        with self.explained("at the end"):
            self.world.give_up_slots()
            if not self.config.is_literal:
                self.world.verify()
                self.world.expect_nothing()


STEPS: dict[str, int] = {
    "create_group": 4,
    "remove_group": 4,
    "set_memory_max": 2,
    "set_swap_max": 2,
    "reclaim": 1,
    "make_folio": 10,
    "folio_alloc_swap": 3,
    "swap_out": 12,
    "swap_in": 12,
    "free_swap": 2,
    "drop_clean": 3,
    "split": 2,
    "migrate": 1,
    "drop_handle": 3,
    "map_or_unmap": 1,
    "dup": 3,
    "free": 3,
    "alloc": 1,
    "hibernate": 1,
    "readahead": 2,
    "shrink": 2,
    "spawn": 2,
    "touch": 4,
    "fork": 1,
    "pageout": 4,
    "zap": 1,
    "exit": 1,
    "set_faults": 3,
}
"""The weight of each step in a random choice."""
