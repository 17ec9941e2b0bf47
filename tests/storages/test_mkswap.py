"""Bad pages in a header of the real `mkswap -c`: the pages that mkswap cannot read are never allocated."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import swapcore as sc

SHIM = Path(__file__).with_name("mkswap_shim.c")
PAGES = 1024
BAD_PAGES = [3, 17, 512, 513, PAGES - 1]
GOOD_PAGES = set(range(1, PAGES)) - set(BAD_PAGES)
PATH = os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "")])

needs_tools = pytest.mark.skipif(
    any(shutil.which(tool, path=PATH) is None for tool in ("mkswap", "gcc")),
    reason="mkswap or gcc is not installed",
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a preload library that makes a file look like a block device with unreadable pages."""
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        pytest.skip(f"the shim does not build here: {built.stderr}")
    return library


def check_and_make(shim: Path, path: Path, bad_pages: list[int]) -> Path:
    """Runs `mkswap -c` on an image with the preload library; skips the test if mkswap finds no bad pages."""
    path.write_bytes(bytes(PAGES * 4096))
    path.chmod(0o600)
    env = {
        "PATH": PATH,
        "LC_ALL": "C",
        "LD_PRELOAD": str(shim),
        "BAD_PAGES": " ".join(map(str, bad_pages)),
    }
    made = subprocess.run(["mkswap", "-c", path], env=env, capture_output=True, text=True, check=False)
    if f"{len(bad_pages)} bad page" not in made.stdout:
        pytest.skip(f"this mkswap does not check an image under the shim: {made.stdout}{made.stderr}")
    assert made.returncode == 0, made.stderr
    return path


def pages_of(path: Path) -> list[bytes]:
    """Returns the pages of a file."""
    data = path.read_bytes()
    return [data[start : start + sc.PAGE_SIZE] for start in range(0, len(data), sc.PAGE_SIZE)]


@needs_tools
@pytest.mark.parametrize("bad_pages", [[], [3], BAD_PAGES], ids=lambda pages: str(len(pages)))
def test_bad_pages_that_mkswap_found_are_those_we_read(
    shim: Path, tmp_path: Path, bad_pages: list[int]
) -> None:
    path = check_and_make(shim, tmp_path / "image", bad_pages)
    header = sc.parse_swap_header(path.read_bytes()[:4096])
    assert header["last_page"] == PAGES - 1
    assert header["bad_pages"] == bad_pages


@needs_tools
def test_device_with_bad_pages_of_mkswap_never_hands_them_out(shim: Path, tmp_path: Path) -> None:
    path = check_and_make(shim, tmp_path / "image", BAD_PAGES)
    swap = sc.Swap()
    device = swap.swapon(sc.Null.from_header(path))
    assert device.pages == len(GOOD_PAGES)
    assert {swap.alloc().offset for _ in GOOD_PAGES} == GOOD_PAGES
    with pytest.raises(sc.SwapFullError):
        swap.alloc()


@needs_tools
def test_data_never_goes_to_the_bad_pages_of_mkswap(shim: Path, tmp_path: Path) -> None:
    path = check_and_make(shim, tmp_path / "image", BAD_PAGES)
    before = pages_of(path)
    swap = sc.Swap()
    device = swap.swapon(sc.File(path, is_block_device=True))
    assert device.pages == len(GOOD_PAGES)
    for _ in GOOD_PAGES:
        swap.swap_out(swap.folio(0, b"\xff" * sc.PAGE_SIZE))
    with pytest.raises(sc.SwapFullError):
        swap.swap_out(swap.folio(0, b"\xff"))
    changed = (old != new for old, new in zip(before, pages_of(path), strict=True))
    assert {page for page, is_changed in enumerate(changed) if is_changed} == GOOD_PAGES
