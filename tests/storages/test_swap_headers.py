"""Facts about headers of swap files: another page size, `fixpgsz`, label and UUID."""

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

VOLUME_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
PATH = os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "")])
PAGE_SIZES = [8 << 10, 16 << 10, 32 << 10, 64 << 10]


def has_tool(name: str) -> bool:
    """Returns whether a program is installed."""
    return shutil.which(name, path=PATH) is not None


def foreign_file(path: Path, page_bytes: int, byte_order: str = "<", pages: int = 100) -> Path:
    """Makes a swap file as mkswap does on a machine with another page size or byte order."""
    data = bytearray(b"boot" * (pages * page_bytes // 4))
    data[1024:page_bytes] = bytes(page_bytes - 1024)
    struct.pack_into(f"{byte_order}III16s16s", data, 1024, 1, pages - 1, 0, VOLUME_ID.bytes, b"spare")
    data[page_bytes - 10 : page_bytes] = b"SWAPSPACE2"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("page_bytes", PAGE_SIZES)
@pytest.mark.parametrize(("byte_order", "word"), [("<", "little-endian"), (">", "big-endian")])
def test_header_for_another_page_size_is_named(
    tmp_path: Path, page_bytes: int, byte_order: str, word: str
) -> None:
    path = foreign_file(tmp_path / "swap", page_bytes, byte_order)
    before = path.read_bytes()
    for open_it in (sc.File, sc.Null.from_header, sc.Ghost.open):
        with pytest.raises(sc.InvalidArgumentError, match=rf"{page_bytes} bytes \({word}\).* 4096 .*fixpgsz"):
            open_it(path)
    with pytest.raises(sc.InvalidArgumentError, match=str(page_bytes)):
        sc.parse_swap_header(before[: 64 << 10])
    assert path.read_bytes() == before


@pytest.mark.parametrize("page_bytes", PAGE_SIZES)
@pytest.mark.parametrize("byte_order", "<>")
def test_fixpgsz_writes_the_header_again(
    swap: sc.Swap, tmp_path: Path, page_bytes: int, byte_order: str
) -> None:
    path = foreign_file(tmp_path / "swap", page_bytes, byte_order)
    file = sc.File(path, fixpgsz=True)
    assert (file.pages, file.label, file.uuid) == (100 * page_bytes // sc.PAGE_SIZE, "spare", VOLUME_ID)
    assert path.read_bytes()[:1024] == b"boot" * 256
    assert b"SWAPSPACE2" not in path.read_bytes()[sc.PAGE_SIZE : 64 << 10]
    swap.swapon(file)
    entry = swap.swap_out(swap.folio(data=b"on the file"))
    assert swap.swap_in(entry).read(0, 11) == b"on the file"
    assert sc.Null.from_header(path).pages == file.pages


def test_fixpgsz_leaves_a_good_header_and_a_file_cut_short_alone(tmp_path: Path) -> None:
    sc.File.create(tmp_path / "good", "1M", label="good")
    before = (tmp_path / "good").read_bytes()
    assert sc.File(tmp_path / "good", fixpgsz=True).label == "good"
    assert (tmp_path / "good").read_bytes() == before
    path = foreign_file(tmp_path / "short", 64 << 10)
    os.truncate(path, 99 * (64 << 10))
    before = path.read_bytes()
    with pytest.raises(sc.InvalidArgumentError, match=r"1584 pages.*1600"):
        sc.File(path, fixpgsz=True)
    assert path.read_bytes() == before


def test_header_in_the_other_byte_order_is_read_and_keeps_its_order(tmp_path: Path) -> None:
    path = foreign_file(tmp_path / "swap", sc.PAGE_SIZE, ">")
    file = sc.File(path)
    file.swaplabel(label="other")
    assert (file.pages, file.label, file.uuid) == (100, "other", VOLUME_ID)
    assert struct.unpack_from(">II", path.read_bytes(), 1024) == (1, 99)


@pytest.mark.skipif(not has_tool("mkswap"), reason="mkswap is not installed")
def test_file_of_mkswap_for_another_page_size_is_fixed(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.touch(mode=0o600)
    os.truncate(path, 64 << 16)
    subprocess.run(
        ["mkswap", "-p", "65536", "-L", "foreign", "-U", str(VOLUME_ID), path],
        env={"PATH": PATH},
        check=True,
        capture_output=True,
    )
    with pytest.raises(sc.InvalidArgumentError, match="65536"):
        sc.File(path)
    file = sc.File(path, fixpgsz=True)
    assert (file.pages, file.label, file.uuid) == (1024, "foreign", VOLUME_ID)


def test_label_and_uuid_change_without_a_new_file(swap: sc.Swap, tmp_path: Path) -> None:
    path = tmp_path / "swap"
    file = sc.File.create(path, "1M", label="before", uuid=VOLUME_ID)
    before = path.read_bytes()
    file.swaplabel(label="sixteen-letters!")
    assert (file.label, file.uuid) == ("sixteen-letters!", VOLUME_ID)
    file.swaplabel(uuid="AABBCCDD-0011-2233-4455-66778899aabb")
    assert file.uuid == uuid.UUID("aabbccdd-0011-2233-4455-66778899aabb")
    file.swaplabel(label="", uuid=VOLUME_ID)
    file.swaplabel()
    after = path.read_bytes()
    assert (after[:1052], after[1052:1068], after[1068:]) == (before[:1052], bytes(16), before[1068:])
    assert swap.swapon(file).pages == 255


def test_direct_io_reads_and_writes_headers(tmp_path: Path) -> None:
    path = foreign_file(tmp_path / "swap", 64 << 10)
    try:
        file = sc.File(path, direct=True, fixpgsz=True)
    except sc.SwapIOError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    file.swaplabel(label="direct")
    assert (file.pages, file.label, file.uuid) == (1600, "direct", VOLUME_ID)
    assert sc.parse_swap_header(path.read_bytes())["label"] == "direct"


def test_label_stays_while_the_device_is_on(tmp_path: Path) -> None:
    swap, file = sc.Swap(), sc.File.create(tmp_path / "swap", "1M", label="before", uuid=VOLUME_ID)
    faulty = sc.Faulty(file)
    for storage in (file, faulty):
        device = swap.swapon(storage)
        with pytest.raises(sc.SwapBusyError, match="device already"):
            file.swaplabel(label="after")
        assert device.storage is not None
        assert (device.storage.label, device.storage.uuid) == ("before", VOLUME_ID.bytes)
        swap.swapoff(device)
    faulty.storage.swaplabel(label="after")
    assert file.label == "after"
    assert sc.parse_swap_header((tmp_path / "swap").read_bytes())["label"] == "after"
    swap.check()


@pytest.mark.parametrize("label", ["seventeen-letters", "seventeen-byte-ä", "zero\0inside"])
def test_label_that_does_not_fit_is_named_with_the_limit(tmp_path: Path, label: str) -> None:
    file = sc.File.create(tmp_path / "swap", "1M", label="before")
    words = rf"has {len(label.encode())} bytes.*at most 16"
    with pytest.raises(sc.InvalidArgumentError, match=words):
        file.swaplabel(label=label, uuid=VOLUME_ID)
    assert file.label == "before"
    assert file.uuid != VOLUME_ID
    with pytest.raises(sc.InvalidArgumentError, match=words):
        sc.File.create(tmp_path / "new", "1M", label=label)
    with pytest.raises(sc.InvalidArgumentError, match=words):
        sc.Null("1M").write_header(tmp_path / "new", label=label)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "random",
        VOLUME_ID.hex,
        f"{{{VOLUME_ID}}}",
        f"urn:uuid:{VOLUME_ID}",
        f"{VOLUME_ID} ",
        str(VOLUME_ID)[:-1],
        str(VOLUME_ID).replace("1", "g", 1),
    ],
)
def test_text_that_is_no_uuid_is_named_with_the_form(tmp_path: Path, text: str) -> None:
    file = sc.File.create(tmp_path / "swap", "1M", uuid=str(VOLUME_ID))
    with pytest.raises(sc.InvalidArgumentError, match="8-4-4-4-12") as caught:
        file.swaplabel(label="after", uuid=text)
    assert repr(text) in str(caught.value)
    assert (file.label, file.uuid) == ("", VOLUME_ID)
    with pytest.raises(sc.InvalidArgumentError, match="8-4-4-4-12"):
        sc.File.create(tmp_path / "new", "1M", uuid=text)
    with pytest.raises(TypeError, match="not bytes"):
        file.swaplabel(uuid=VOLUME_ID.bytes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "storage", [sc.Ram("1M"), sc.Zram("1M"), sc.Ghost("1M"), sc.Faulty(sc.Ram("1M"))], ids=repr
)
def test_storage_without_a_header_has_no_label(storage: sc.Ram | sc.Zram | sc.Ghost | sc.Faulty) -> None:
    core = storage.storage
    for call in (lambda: core.label, lambda: core.uuid, lambda: core.swaplabel(label="x")):
        with pytest.raises(sc.InvalidArgumentError, match=f"{core.kind}.*file"):
            call()


@pytest.mark.skipif(not has_tool("swaplabel"), reason="swaplabel is not installed")
def test_swaplabel_reads_what_we_write_and_writes_what_we_read(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    file = sc.File.create(path, "1M")
    file.swaplabel(label="ours", uuid=VOLUME_ID)
    shown = subprocess.run(
        ["swaplabel", path], env={"PATH": PATH}, check=True, capture_output=True, text=True
    )
    assert "ours" in shown.stdout
    assert str(VOLUME_ID) in shown.stdout
    ours = path.read_bytes()
    file.swaplabel(label="else", uuid=uuid.UUID(int=1))
    del file
    subprocess.run(["swaplabel", "-L", "ours", "-U", str(VOLUME_ID), path], env={"PATH": PATH}, check=True)
    assert path.read_bytes() == ours
