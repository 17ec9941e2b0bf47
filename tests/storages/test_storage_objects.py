"""Facts about `Ram`, `Zram`, `File` and `Faulty` as objects: sizes, options, representation, misuse."""

from __future__ import annotations

import errno
import os
import uuid
from typing import TYPE_CHECKING

import pytest
import swapcore as sc
from swapcore.storage import PAGES_MAX

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", [sc.Null, sc.Ram, sc.Zram])
def test_size_and_pages_mean_the_same(kind: type[sc.Null | sc.Ram | sc.Zram]) -> None:
    assert kind("1M").pages == kind(1 << 20).pages == kind(pages=256).pages == 256


@pytest.mark.parametrize("kind", [sc.Null, sc.Ram, sc.Zram])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "either size or pages"),
        ({"size": "1M", "pages": 2}, "either size or pages"),
        ({"size": "3K"}, "4096"),
        *(({"pages": pages}, f"{pages}.*{PAGES_MAX}") for pages in (0, 1, -5, PAGES_MAX + 1)),
    ],
    ids=str,
)
def test_bad_size_is_refused(
    kind: type[sc.Null | sc.Ram | sc.Zram], arguments: dict[str, str | int], words: str
) -> None:
    with pytest.raises(sc.InvalidArgumentError, match=words):
        kind(**arguments)  # type: ignore[arg-type]


def test_representation_says_how_to_make_it(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    ram = sc.Ram("1M")
    assert repr(ram) == "Ram(pages=256)"
    assert repr(sc.Zram("1M", mem_limit="64K")) == "Zram(pages=256, algorithm='lz4', mem_limit='64K')"
    assert repr(sc.Faulty(ram, seed=3)) == "Faulty(Ram(pages=256), seed=3)"
    file = sc.File.create(path, "1M", is_rotational=True)
    assert repr(file) == f"File({str(path)!r}, is_rotational=True)"
    del file
    assert repr(sc.File(path, is_rotational=False)) == f"File({str(path)!r}, is_rotational=False)"
    assert repr(sc.File(path)) == f"File({str(path)!r})"


def test_swapon_reads_what_the_storage_says(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Zram("64M"), priority=3)
    assert (device.max_pages, device.priority) == (16_384, 3)
    assert "SWP_SYNCHRONOUS_IO" in device.flags
    assert device.storage is not None
    assert device.storage.kind == "zram"
    assert swap.swapon(sc.Null("1M")).storage is None


def test_unknown_algorithm_names_those_there_are() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="lz4"):
        sc.Zram("1M", algorithm="zip")


def test_figures_are_those_of_mm_stat() -> None:
    swap, zram = sc.Swap(), sc.Zram("16M")
    swap.swapon(zram)
    kept = [swap.swap_out(swap.folio(data=data)) for data in (b"\7" * 4096, os.urandom(4096), b"ab" * 100)]
    stats = zram.stats()
    assert (stats["orig_data_size"], stats["same_pages"], stats["huge_pages"]) == (3 * 4096, 1, 1)
    assert 0 < stats["compr_data_size"] <= stats["mem_used_total"] <= stats["mem_used_max"]
    for entry in kept:
        swap.free(entry)
    assert zram.stats()["notify_free"] == 3


def test_file_has_the_header_of_mkswap_and_is_its_owners(tmp_path: Path) -> None:
    volume = uuid.UUID(int=7)
    file = sc.File.create(tmp_path / "swap", "1M", label="build", uuid=volume)
    header = sc.parse_swap_header((tmp_path / "swap").read_bytes())
    assert (header["last_page"], header["label"], header["uuid"]) == (255, "build", volume.bytes)
    assert (tmp_path / "swap").stat().st_mode & 0o777 == 0o600
    assert file.path == str(tmp_path / "swap")
    assert file.pages == 256


def test_sparse_file_takes_space_as_it_is_written(tmp_path: Path) -> None:
    swap, file = sc.Swap(), sc.File.create(tmp_path / "swap", "64M", sparse=True)
    assert file.stats()["allocated_bytes"] < 1 << 20
    swap.swapon(file)
    swap.swap_out_batch([swap.folio(data=os.urandom(4096)) for _ in range(1024)])
    assert file.stats()["allocated_bytes"] >= 4 << 20


def test_bad_pages_of_a_file_are_never_used(tmp_path: Path) -> None:
    bad_pages = [3, 5, 255]
    file = sc.File.create(tmp_path / "swap", "1M", bad_pages=bad_pages, is_block_device=True)
    assert file.bad_pages == (3, 5, 255)
    swap = sc.Swap()
    device = swap.swapon(file)
    entries = swap.swap_out_batch([swap.folio(data=bytes([n])) for n in range(1, device.pages + 1 - 10)])
    assert not {entry.offset for entry in entries} & {0, *bad_pages}
    assert [folio.read(0, 1)[0] for folio in swap.swap_in_batch(entries)] == list(range(1, len(entries) + 1))


def test_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.write_bytes(b"precious")
    with pytest.raises(sc.SwapIOError) as caught:
        sc.File.create(path, "1M")
    assert caught.value.errno == errno.EEXIST
    assert path.read_bytes() == b"precious"


def test_missing_file_is_an_os_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(sc.SwapIOError, match="none") as caught:
        sc.File(tmp_path / "none")
    assert caught.value.errno == errno.ENOENT


def test_file_without_header_or_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(8192))
    with pytest.raises(sc.InvalidArgumentError):
        sc.File(tmp_path / "zeros")
    sc.File.create(tmp_path / "short", "1M")
    os.truncate(tmp_path / "short", 1 << 19)
    with pytest.raises(sc.InvalidArgumentError, match=r"128 pages.*256"):
        sc.File(tmp_path / "short")


def test_second_user_of_a_file_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    file = sc.File.create(tmp_path / "swap", "1M")
    with pytest.raises(sc.SwapBusyError, match=r"swap.* is a device already"):
        sc.File(tmp_path / "swap")
    assert file.storage.pages == 256
    del file
    assert sc.File(tmp_path / "swap").pages == 256


def test_pages_stay_in_the_file_where_their_slots_are(swap: sc.Swap, tmp_path: Path) -> None:
    swap.swapon(sc.File.create(tmp_path / "swap", "1M"))
    entry = swap.swap_out(swap.folio(data=b"here it is"))
    at = entry.offset * sc.PAGE_SIZE
    assert (tmp_path / "swap").read_bytes()[at : at + 10] == b"here it is"


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"fail_write_in": 0}, "0 is not in 1"),
        ({"write_error_probability": 1.5}, r"1\.5 is not in 0\.\.=1"),
        ({"read_error_probability": float("nan")}, "NaN"),
        ({"errno": 0}, "errno 0"),
        ({"errno": 99999}, "99999"),
        ({"tear_write_pages": -1}, "-1"),
    ],
    ids=str,
)
def test_plan_that_cannot_be_is_refused_and_the_old_one_stays(
    swap: sc.Swap, faulty: sc.Faulty, faults: dict[str, float], words: str
) -> None:
    faulty.set_faults(fail_write_in=1)
    with pytest.raises(sc.InvalidArgumentError, match=words):
        faulty.set_faults(**faults)  # type: ignore[arg-type]
    with pytest.raises(sc.SwapIOError):
        swap.swap_out(swap.folio(data=b"x"))


def test_only_a_faulty_storage_has_faults() -> None:
    with pytest.raises(sc.InvalidArgumentError, match="ram"):
        sc.Ram("1M").storage.set_faults()


def test_faults_may_be_put_over_faults() -> None:
    inner = sc.Faulty(sc.Ram("1M"))
    outer = sc.Faulty(inner)
    swap = sc.Swap()
    swap.swapon(outer)
    inner.set_faults(fail_write_in=1, errno=errno.ENOSPC)
    with pytest.raises(sc.SwapIOError) as caught:
        swap.swap_out(swap.folio(data=b"x"))
    assert caught.value.errno == errno.ENOSPC
    assert inner.stats()["injected_write_errors"] == 1


def test_storage_of_the_device_takes_a_plan_too(swap: sc.Swap) -> None:
    device = swap.swapon(sc.Faulty(sc.Ram("1M")))
    assert device.storage is not None
    assert device.storage.kind == "faulty"
    device.storage.set_faults(fail_write_in=1)
    folio = swap.folio(data=b"kept")
    with pytest.raises(sc.SwapIOError):
        swap.swap_out(folio)
    assert folio.read(0, 4) == b"kept"
    plain = swap.swapon(sc.Ram("1M")).storage
    assert plain is not None
    with pytest.raises(sc.InvalidArgumentError, match="ram"):
        plain.set_faults()
    swap.check()


def test_delays_are_counted(swap: sc.Swap, faulty: sc.Faulty) -> None:
    faulty.set_faults(delay_ns=1000)
    swap.swap_in(swap.swap_out(swap.folio(data=b"x")))
    assert faulty.stats()["delayed_calls"] == 2


def test_faults_need_a_storage_with_data() -> None:
    with pytest.raises(TypeError, match="with data"):
        sc.Faulty(sc.Null("1M"))  # type: ignore[arg-type]


def test_zram_limit_of_zero_is_no_limit(swap: sc.Swap) -> None:
    swap.swapon(sc.Zram("1M", mem_limit=0))
    entry = swap.swap_out(swap.folio(0, b"x"))
    assert swap.swap_in(entry).read(0, 1) == b"x"


def test_freed_clusters_of_a_file_are_punched_when_asked(tmp_path: Path) -> None:
    for discard, punched_bytes in (("pages", 512 * sc.PAGE_SIZE), (None, 0)):
        swap = sc.Swap()
        storage = sc.File.create(tmp_path / f"swap-{discard}", "8M")
        device = swap.swapon(storage, discard=discard)
        if discard is not None and "SWP_PAGE_DISCARD" not in device.flags:
            pytest.skip("the file system has no hole punching")
        entries = [swap.swap_out(swap.folio(0, b"x" * sc.PAGE_SIZE)) for _ in range(1500)]
        before = storage.stats()["allocated_bytes"]
        cluster = [entry for entry in entries if entry.offset // sc.SWAPFILE_CLUSTER == 1]
        assert len(cluster) == sc.SWAPFILE_CLUSTER
        for entry in cluster:
            swap.free(entry)
        assert before - storage.stats()["allocated_bytes"] == punched_bytes
        assert swap.stats()["discarded_clusters"] == (1 if discard else 0)
        rest = [entry for entry in entries if entry not in set(cluster)]
        assert {swap.swap_in(entry).read() for entry in rest} == {b"x" * sc.PAGE_SIZE}
        swap.check()
