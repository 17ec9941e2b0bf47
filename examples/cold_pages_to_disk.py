"""Writes cold compressed pages to a disk, turns the disk off again, and counts the cost.

The page tables name slots of a ghost with a virtual table, and each slot of the ghost records where its page
lies. Pages therefore move from zswap to the disk and back to memory, and no page table changes.
"""

from __future__ import annotations

import time

import swapcore as sc

PAGES = 4096


def where(swap: sc.Swap, mm: sc.Mm, first: int) -> dict[str, int]:
    """Returns the number of pages in each kind of place: memory, zswap, disk (``swapfile``)."""
    found: dict[str, int] = {}
    for page in range(first, first + PAGES):
        entry = mm.swap_entry(page)
        place = "memory" if entry is None else swap.backing(entry)["type"]
        found[place] = found.get(place, 0) + 1
    return found


def main() -> None:
    """Swaps pages out to zswap, writes half of the pages to the disk, and turns the disk off."""
    swap = sc.Swap(zswap="lz4")
    swap.swapon(sc.Ghost("15T", is_virtual=True))
    disk = swap.swapon(sc.Ram("64M"))
    job = swap.memcg.create("job")
    mm = swap.mm(memcg=job)
    first = mm.mmap(PAGES)
    for page in range(PAGES):
        mm.write((first + page) * sc.PAGE_SIZE, b"page %d " % page * 300)

    mm.pageout(first, PAGES)
    pool_bytes = swap.zswap.stats()["pool_total_size"]
    print(f"swapped out: {where(swap, mm, first)}, {pool_bytes >> 10} KiB of pools")

    # Each call of `shrink` looks at up to 32 pages in zswap. The first look at a page does not write the
    # page, because it only takes away the page's second chance (its reference bit). The next look writes the
    # page.
    written_pages, nr_looks = 0, 0
    while written_pages < PAGES // 2:
        try:
            written_pages += swap.zswap.shrink(memcg=job)
        except sc.SwapError:
            nr_looks += 1
    places, used = where(swap, mm, first), disk.inuse_pages
    print(f"cold half written back after {nr_looks} looks in vain: {places}, {used} slots of the disk in use")

    start = time.thread_time()
    swap.swapoff(disk)
    spent = time.thread_time() - start
    stats = swap.stats()
    gib = stats["swapoff_rmap_slots"] * sc.PAGE_SIZE / 2**30
    print(
        f"disk gone: {where(swap, mm, first)}, {stats['swapoff_rmap_slots']} slots by the reverse map, "
        f"{stats['swapoff_ptes_visited']} page-table entries visited, {spent / gib:.2f} s a GiB"
    )
    for page in range(PAGES):
        text = b"page %d " % page
        if mm.read((first + page) * sc.PAGE_SIZE, len(text)) != text:
            raise SystemExit(f"page {page} is not what was written")
    swap.check()
    print("every page is what was written")


if __name__ == "__main__":
    main()
