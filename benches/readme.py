"""Measures the first picture, the first table and their text in README.md: ``make readme`` runs this program.

One run of `swapcore.compare` gives all three. The program saves the run in ``docs/compare.json``, draws
``docs/compare.png``, and writes the part of README.md between the two marks. The picture has the hash of the
saved run, so that tests/docs/test_readme_run.py can tell that picture, table and text are of one run.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import swapcore as sc
from swapcore.plot import plot_comparison

if TYPE_CHECKING:
    from swapcore.results.comparison import Comparison

ROOT = Path(__file__).resolve().parent.parent
README, RUN, PICTURE = ROOT / "README.md", ROOT / "docs" / "compare.json", ROOT / "docs" / "compare.png"

BEGIN, END = "<!-- `make readme` writes from here -->\n", "<!-- to here -->\n"

LARGE_PAGES = 1 << 28
"""Slots of a device of 1 TiB, for the column of static bytes."""

ABOUT = {
    "swap_table": "owner and zero mark inside the 8-byte entry",
    "p3": "the same allocator with a static owner array and zero bitmap",
    "bitmap_ff": "one bit a slot under one lock, without owners, counts or a cache",
}

STAMP = b"swapcore-run"
"""The key of the text in a picture that names the run."""


def measure() -> tuple[Comparison, dict[str, Any]]:
    """Runs the comparison, and returns it and everything that is saved of it."""
    comparison = sc.compare("kernel-build", list(ABOUT))
    static_bytes = {
        name: sc.Strategy.create(name, size_pages=LARGE_PAGES, nr_cpus=comparison.nr_cpus).memory()[
            "static_bytes"
        ]
        for name in ABOUT
    }
    return comparison, {"comparison": comparison.to_dict(), "static_bytes_of_1_tib": static_bytes}


TABLE = """\
![Strategies side by side on a recorded kernel build](docs/compare.png)

| {nr_ops:,} operations of a kernel build, one thread, device {full_percent:.0f} % full at the peak | time \
| pages of large folios split | bytes a used slot | static bytes, 1 TiB device |
|---|---|---|---|---|
{rows}

One run of `make readme` gives the picture, the table and this paragraph, and is saved in
[compare.json](docs/compare.json): `swapcore compare --trace {trace}` on {size_pages:,} slots, {rounds}
rounds, seed {seed}; {cpu_model}, {python}. An operation of `swap_table` takes {ns:.0f} ns of CPU time,
of which the replay itself takes {floor_ns:.0f} ns. The quartiles of the time ratio are {p3[0]:.2f} and
{p3[1]:.2f} for `p3`, {bitmap_ff[0]:.2f} and {bitmap_ff[1]:.2f} for `bitmap_ff`.
"""

ROW = (
    "| `{strategy}`: {about} | {ratio:.2f} | {fallback_percent:.1f} % "
    "| {bytes_per_used_slot:.2f} | {mib:.0f} MiB |"
)


def part(run: dict[str, Any]) -> str:
    """Returns the part of README.md that a saved run gives."""
    facts = run["comparison"]
    results = {one["strategy"]: one for one in facts["results"]}
    first = results["swap_table"]
    static_bytes = run["static_bytes_of_1_tib"]
    rows = [
        ROW.format_map(results[name] | {"about": about, "mib": static_bytes[name] / 2**20})
        for name, about in ABOUT.items()
    ]
    return TABLE.format_map(
        {
            **facts,
            **facts["machine"],
            "full_percent": 100 * first["used_slots_peak"] / facts["size_pages"],
            "rows": "\n".join(rows),
            "ns": first["ns_per_op"],
            "floor_ns": facts["floor_ns_per_op"],
            **{name: results[name]["ratio_quartiles"] for name in ("p3", "bitmap_ff")},
        }
    )


def written(text: str, made: str) -> str:
    """Returns a README with the part between the marks replaced."""
    above, begin, rest = text.partition(BEGIN)
    _, end, below = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no marks {BEGIN.strip()} and {END.strip()}")
    return f"{above}{begin}{made}{end}{below}"


def name_of(saved: bytes) -> str:
    """Returns the name of a saved run: the SHA-256 of the file."""
    return hashlib.sha256(saved).hexdigest()


def chunks(picture: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the types and the data of the chunks of a PNG picture."""
    found, at = [], 8
    while at < len(picture):
        (length,) = struct.unpack_from(">I", picture, at)
        found.append((picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def stamped(picture: bytes, name: str) -> bytes:
    """Returns a PNG picture with the name of a run in its text."""
    kept = chunks(picture)
    kept.insert(1, (b"tEXt", STAMP + b"\0" + name.encode()))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in kept
    )
    return picture[:8] + body


def stamp_of(picture: bytes) -> str | None:
    """Returns the name of the run that a picture was drawn from, or None."""
    texts = [data.partition(b"\0") for kind, data in chunks(picture) if kind == b"tEXt"]
    return next((text.decode() for key, _, text in texts if key == STAMP), None)


def main() -> None:
    """Measures, and writes the run, the picture and the part of README.md."""
    if sc.is_debug_build:
        sys.exit("readme: times of a debug build mean nothing; install a release build")
    comparison, run = measure()
    RUN.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    plot_comparison(comparison, PICTURE)
    PICTURE.write_bytes(stamped(PICTURE.read_bytes(), name_of(RUN.read_bytes())))
    README.write_text(written(README.read_text(encoding="utf-8"), part(run)), encoding="utf-8")


if __name__ == "__main__":
    main()
