"""Tests of documented facts of mkswap(8), swaplabel(8) and the swap header."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
import swapcore as sc

if TYPE_CHECKING:
    from pathlib import Path

PAGE = sc.PAGE_SIZE
PATH = os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "")])
MKSWAP = shutil.which("mkswap", path=PATH)
SWAPLABEL = shutil.which("swaplabel", path=PATH)
VOLUME = uuid.UUID("12345678-1234-5678-1234-567812345678")


def header(version: int = 1, last_page: int = 99, nr_bad: int = 0) -> bytes:
    """Returns a swap header page that this function builds without mkswap and without the package."""
    page = bytearray(PAGE)
    struct.pack_into("<III", page, 1024, version, last_page, nr_bad)
    page[PAGE - 10 :] = b"SWAPSPACE2"
    return bytes(page)


def test_the_header_has_the_layout_of_version_1(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    sc.File.create(path, "1M", label="build", uuid=VOLUME, bad_pages=[3, 200], is_block_device=True)
    page = path.read_bytes()[:PAGE]
    assert page[-10:] == b"SWAPSPACE2"
    assert struct.unpack_from("<III", page, 1024) == (1, 255, 2)
    assert page[1036:1052] == VOLUME.bytes
    assert page[1052:1068] == b"build".ljust(16, b"\0")
    assert struct.unpack_from("<II", page, 1536) == (3, 200)


def test_the_first_block_of_a_new_area_is_erased(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    sc.File.create(path, "1M")
    assert path.read_bytes()[:1024] == bytes(1024)
    other = tmp_path / "other"
    other.write_bytes(b"x" * (16 * PAGE))
    sc.Null(pages=16).write_header(other)
    assert other.read_bytes()[:1024] == bytes(1024)


@pytest.mark.parametrize("version", [0, 2])
def test_only_version_1_is_a_swap_area(version: int) -> None:
    assert sc.parse_swap_header(header(1))["version"] == 1
    with pytest.raises(sc.InvalidArgumentError, match="version"):
        sc.parse_swap_header(header(version))


def test_the_old_signature_is_no_swap_area() -> None:
    page = header()[: PAGE - 10] + b"SWAP-SPACE"
    with pytest.raises(sc.InvalidArgumentError, match="signature"):
        sc.parse_swap_header(page)


def test_the_area_is_the_whole_file_less_a_rest_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    sc.Null(pages=100).write_header(path)
    os.truncate(path, 100 * PAGE + 4095)
    assert sc.File(path).pages == 100


def test_space_beyond_the_last_page_of_the_header_is_ignored(swap: sc.Swap, tmp_path: Path) -> None:
    path = tmp_path / "swap"
    sc.Null(pages=100).write_header(path)
    os.truncate(path, 200 * PAGE)
    device = swap.swapon(sc.File(path))
    assert (device.max_pages, device.pages) == (100, 99)
    assert len(swap.alloc_batch(200)) == 99


def test_a_header_that_names_more_pages_than_the_file_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    sc.Null(pages=100).write_header(path)
    os.truncate(path, 99 * PAGE)
    with pytest.raises(sc.InvalidArgumentError, match=r"99 pages.*100"):
        sc.File(path)


def test_a_header_addresses_at_most_4294967295_pages() -> None:
    page = sc.build_swap_header(2**32 - 1)
    assert sc.parse_swap_header(page)["last_page"] == 2**32 - 1
    with pytest.raises(sc.InvalidArgumentError):
        sc.build_swap_header(2**32)


def test_a_header_has_room_for_637_bad_pages() -> None:
    bad_pages = list(range(1, 638))
    assert sc.parse_swap_header(sc.build_swap_header(1000, bad_pages))["bad_pages"] == bad_pages
    with pytest.raises(sc.InvalidArgumentError, match="637"):
        sc.build_swap_header(1000, list(range(1, 639)))
    with pytest.raises(sc.InvalidArgumentError, match="637"):
        sc.parse_swap_header(header(nr_bad=638))


def test_a_label_has_at_most_16_bytes_and_a_longer_one_is_refused() -> None:
    assert sc.parse_swap_header(sc.build_swap_header(99, label="a" * 16))["label"] == "a" * 16
    with pytest.raises(sc.InvalidArgumentError, match="16"):
        sc.build_swap_header(99, label="a" * 17)


def test_a_uuid_is_drawn_where_none_is_given_and_may_be_clear(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        sc.File.create(tmp_path / name, "1M")
        ids.add(sc.parse_swap_header((tmp_path / name).read_bytes()[:PAGE])["uuid"])
    assert len(ids) == 2
    assert {uuid.UUID(bytes=one).version for one in ids} == {4}
    sc.File.create(tmp_path / "clear", "1M", uuid=uuid.UUID(int=0))
    assert sc.parse_swap_header((tmp_path / "clear").read_bytes()[:PAGE])["uuid"] == bytes(16)


def test_a_size_in_kib_is_taken_as_the_size_of_the_area(tmp_path: Path) -> None:
    assert sc.File.create(tmp_path / "swap", "1024K").pages == 256


@pytest.mark.skipif(SWAPLABEL is None, reason="swaplabel is not installed")
def test_swaplabel_reads_label_and_uuid_of_a_new_area(tmp_path: Path) -> None:
    sc.File.create(tmp_path / "swap", "1M", label="build", uuid=VOLUME)
    shown = subprocess.run([str(SWAPLABEL), tmp_path / "swap"], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["LABEL:", "build", "UUID:", str(VOLUME)]


@pytest.mark.skipif(SWAPLABEL is None, reason="swaplabel is not installed")
def test_an_area_that_swaplabel_changed_has_the_new_label_and_uuid(swap: sc.Swap, tmp_path: Path) -> None:
    path = tmp_path / "swap"
    sc.File.create(path, "1M", label="old")
    subprocess.run([str(SWAPLABEL), "-L", "new", "-U", str(VOLUME), path], check=True, capture_output=True)
    found = sc.parse_swap_header(path.read_bytes()[:PAGE])
    assert (found["label"], found["uuid"], found["last_page"]) == ("new", VOLUME.bytes, 255)
    assert swap.swapon(sc.File(path)).pages == 255


@pytest.mark.skipif(MKSWAP is None, reason="mkswap is not installed")
def test_an_area_of_mkswap_is_turned_on_with_its_label_and_uuid(swap: sc.Swap, tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.write_bytes(bytes(100 * PAGE))
    path.chmod(0o600)
    subprocess.run([str(MKSWAP), "-L", "disk", "-U", str(VOLUME), path], check=True, capture_output=True)
    found = sc.parse_swap_header(path.read_bytes()[:PAGE])
    assert (found["label"], found["uuid"], found["last_page"]) == ("disk", VOLUME.bytes, 99)
    assert swap.swapon(sc.File(path)).pages == 99
