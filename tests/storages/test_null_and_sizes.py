"""Facts about `Null` and sizes: accepted and refused values, and sizes in header files."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from swapcore.storage import parse_size

if TYPE_CHECKING:
    from pathlib import Path

VOLUME_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("16G", 16 << 30),
        ("512M", 512 << 20),
        ("4K", 4096),
        ("1T", 1 << 40),
        ("8192", 8192),
        (" 2 m ", 2 << 20),
        ("11.5G", 23 << 29),
        ("0.3M", 76 * 4096),
        ("1P", 1 << 50),
        ("1.5E", 3 << 59),
        ("0x1000", 4096),
        ("0X10k", 16 << 10),
        ("0x1E000", 0x1E000),
        ("010000", 4096),
        (4096, 4096),
        (0, 0),
    ],
)
def test_size_is_read_with_binary_units(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "G", "1.5", ".5G", "1.G", "-4K", "4KB", "0x", "0x1.5G", "08", "4 4K", "٤K"]
)
def test_text_that_is_no_size_is_named_in_the_error(text: str) -> None:
    with pytest.raises(sc.InvalidArgumentError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("size", ["4095", "1", 4097, -4096, "3K"])
def test_size_that_is_not_whole_pages_is_named_with_the_page_size(size: str | int) -> None:
    with pytest.raises(sc.InvalidArgumentError, match="4096") as caught:
        parse_size(size)
    assert repr(size) in str(caught.value)


def test_size_that_is_no_number_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        parse_size(4096.0)  # type: ignore[arg-type]


def test_defaults_are_a_solid_state_block_device() -> None:
    device = sc.Null(pages=16)
    assert (device.bad_pages, device.is_block_device) == ((), True)
    assert (device.is_rotational, device.is_discardable) == (False, False)


def test_null_is_frozen_hashable_and_copies() -> None:
    device = sc.Null("1M", bad_pages=range(3, 6), is_discardable=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        device.pages = 3  # type: ignore[misc]
    assert {device: 1}[pickle.loads(pickle.dumps(device))] == 1
    assert copy.copy(device) == device
    assert dataclasses.replace(device, pages=7) == sc.Null(pages=7, bad_pages=[3, 4, 5], is_discardable=True)


def test_swapon_reads_every_property(swap: sc.Swap) -> None:
    device = swap.swapon(
        sc.Null(pages=1000, bad_pages=[7, 9], is_rotational=True, is_discardable=True), discard="pages"
    )
    assert (device.max_pages, device.pages) == (1000, 997)
    assert "SWP_SOLIDSTATE" not in device.flags
    assert {"SWP_BLKDEV", "SWP_PAGE_DISCARD"} <= set(device.flags)
    assert [slot for slot, state in enumerate(device.slots()) if state == 3] == [0, 7, 9]


def test_header_round_trip(tmp_path: Path) -> None:
    device = sc.Null(pages=5000, bad_pages=[5, 700, 4999], is_discardable=True)
    device.write_header(tmp_path / "swap", label="build", uuid=VOLUME_ID)
    assert sc.Null.from_header(tmp_path / "swap", is_discardable=True) == device
    header = sc.parse_swap_header((tmp_path / "swap").read_bytes())
    assert (header["label"], header["uuid"], header["last_page"]) == ("build", VOLUME_ID.bytes, 4999)


def test_header_leaves_the_rest_of_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.write_bytes(b"x" * 12_288)
    sc.Null(pages=3).write_header(path)
    data = path.read_bytes()
    assert len(data) == 12_288
    assert data[4096:] == b"x" * 8192


def test_two_headers_get_different_ids(tmp_path: Path) -> None:
    for name in ("a", "b"):
        sc.Null(pages=3).write_header(tmp_path / name)
    ids = {sc.parse_swap_header((tmp_path / name).read_bytes())["uuid"] for name in ("a", "b")}
    assert len(ids) == 2


def test_regular_file_with_bad_pages_is_refused_by_swapon(tmp_path: Path) -> None:
    sc.Null(pages=100, bad_pages=[5]).write_header(tmp_path / "swap")
    swap = sc.Swap()
    with pytest.raises(sc.InvalidArgumentError):
        swap.swapon(sc.Null.from_header(tmp_path / "swap", is_block_device=False))
    assert swap.swapon(sc.Null.from_header(tmp_path / "swap")).pages == 98


@pytest.mark.parametrize("content", [b"", b"short", bytes(4096)])
def test_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "swap").write_bytes(content)
    with pytest.raises(sc.InvalidArgumentError):
        sc.Null.from_header(tmp_path / "swap")


def test_missing_file_is_an_os_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        sc.Null.from_header(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")


@pytest.mark.skipif(shutil.which("mkswap") is None, reason="mkswap is not installed")
def test_header_of_mkswap_is_read_and_written_alike(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.touch(mode=0o600)
    os.truncate(path, 4096 * 3000)
    subprocess.run(["mkswap", "-L", "label", "-U", str(VOLUME_ID), path], check=True, capture_output=True)
    device = sc.Null.from_header(path)
    assert device == sc.Null(pages=3000)
    device.write_header(tmp_path / "ours", label="label", uuid=VOLUME_ID)
    # The comparison leaves out the first KiB, which mkswap does not write, because boot code may be there.
    assert (tmp_path / "ours").read_bytes()[1024:4096] == path.read_bytes()[1024:4096]
