"""Sums and updates an array that is mostly swapped out, beside a `np.memmap` with the same data.

The array is in the pages of a task whose group has a memory limit, and the rest of the pages is
compressed in zram. The program prints times, bytes in memory and whether the results are equal. The
arguments are the size of the array and the limit: ``python examples/array_over_swap.py 1G 256M``.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import swapcore as sc
from swapcore.size import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    Floats = sc.MmArray[np.float64] | np.memmap[tuple[int], np.dtype[np.float64]]

ROWS = 1 << 17  # elements of a block: 1 MiB of float64


def fill(target: Floats) -> None:
    """Writes values that repeat, so that pages compress."""
    for at in range(0, len(target), ROWS):
        end = min(at + ROWS, len(target))
        target[at:end] = np.arange(at, end) % 1000


def total(target: Floats) -> float:
    """Returns the sum of all elements, block by block."""
    return float(sum(target[at : at + ROWS].sum() for at in range(0, len(target), ROWS)))


def update(target: Floats) -> None:
    """Changes each element in place, block by block."""
    for at in range(0, len(target), ROWS):
        target[at : at + ROWS] = target[at : at + ROWS] * 1.5 + 1


def file_bytes_in_memory() -> int:
    """Returns the bytes of mapped files that are in the memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return sum(int(kb) for kb in re.findall(r"^Rss(?:File|Shmem):\s+(\d+) kB", status, re.MULTILINE)) << 10


def run(name: str, target: Floats, bytes_in_memory: Callable[[], str]) -> list[float]:
    """Runs the steps on an array, prints the time of each step, and returns the sums."""
    sums, times = [], []
    for step in (fill, total, update, total):
        start = time.perf_counter()
        result = step(target)
        times.append(f"{step.__name__} {time.perf_counter() - start:.3f} s")
        sums += [] if result is None else [result]
    print(f"{name}: {', '.join(times)}; {bytes_in_memory()}")
    return sums


def main() -> None:
    """Runs the same steps on an `MmArray` and on a `np.memmap`."""
    size_bytes, limit_bytes = (parse_size(text) for text in (sys.argv[1:] or ["4M", "1M"]))
    swap = sc.Swap()
    zram = sc.Zram(2 * size_bytes)
    swap.swapon(zram)
    group = swap.memcg.create("job", memory_max=limit_bytes)
    array = swap.mm(memcg=group).array(size_bytes // 8)

    def memory_of_array() -> str:
        mib = [n / 2**20 for n in (group.memory_current, zram.storage.stats()["mem_used_total"])]
        return f"{mib[0]:.1f} MiB of pages in memory, {mib[1]:.1f} MiB of compressed pages"

    sums = run("MmArray", array, memory_of_array)
    stats = swap.stats()
    print(f"pages written to zram: {stats['pswpout']}, read back: {stats['pswpin']}")
    with tempfile.TemporaryDirectory() as folder:
        before = file_bytes_in_memory()
        mapped = np.memmap(Path(folder) / "data", np.float64, "w+", shape=array.shape)

        def memory_of_memmap() -> str:
            return (
                f"{(file_bytes_in_memory() - before) / 2**20:.1f} MiB of the file in memory, without a limit"
            )

        is_equal = sums == run("np.memmap", mapped, memory_of_memmap)
        del mapped
    swap.check()
    print(f"sums are {'equal' if is_equal else f'not equal: {sums}'}")
    if not is_equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
