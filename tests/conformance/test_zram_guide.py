"""Tests of documented facts of the administrator's guide to zram."""

from __future__ import annotations

import errno
import random

import pytest
import swapcore as sc

PAGE = sc.PAGE_SIZE
TEXT = b"a page of text that compresses well. " * 120


def noise(seed: int, nr_pages: int = 1) -> bytes:
    """Returns pages that no algorithm compresses."""
    return random.Random(seed).randbytes(nr_pages * PAGE)


def text(number: int) -> bytes:
    """Returns a page of text that begins with its number."""
    return (b"%08d" % number + TEXT)[:PAGE]


@pytest.fixture
def zram(swap: sc.Swap) -> sc.Zram:
    """Returns a device of 16 MiB that is turned on in `swap`."""
    storage = sc.Zram("16M")
    swap.swapon(storage)
    return storage


def out(swap: sc.Swap, data: bytes, order: int = 0) -> sc.SwpEntry:
    """Swaps a folio with the data out."""
    return swap.swap_out(swap.folio(order, data))


def test_disksize_is_the_uncompressed_size(swap: sc.Swap, zram: sc.Zram) -> None:
    assert zram.pages == 4096
    entries = swap.swap_out_batch([swap.folio(data=text(number)) for number in range(4095)])
    assert zram.stats()["orig_data_size"] == 4095 * PAGE
    assert zram.stats()["mem_used_total"] < 4095 * PAGE // 4
    with pytest.raises(sc.SwapFullError):
        out(swap, text(0))
    assert swap.swap_in(entries[4094]).read() == text(4094)


def test_a_size_takes_the_units_of_the_guide() -> None:
    assert [sc.Zram(size).pages for size in ("64K", "256M", 50 << 20)] == [16, 65536, 12800]


def test_an_unused_device_takes_no_memory(swap: sc.Swap) -> None:
    storage = sc.Zram("1T")
    swap.swapon(storage)
    assert storage.stats()["mem_used_total"] == 0


def test_an_algorithm_is_chosen_by_name_and_an_unknown_one_is_einval() -> None:
    assert sc.Zram("1M", algorithm="lz4").pages == 256
    with pytest.raises(sc.InvalidArgumentError, match="lz4") as caught:
        sc.Zram("1M", algorithm="none")
    assert caught.value.errno == errno.EINVAL


def test_two_devices_have_each_their_own_figures(swap: sc.Swap) -> None:
    first, second = sc.Zram("4M"), sc.Zram("4M")
    swap.swapon(first, priority=2)
    swap.swapon(second, priority=1)
    out(swap, text(1))
    assert [zram.stats()["orig_data_size"] for zram in (first, second)] == [PAGE, 0]


def test_orig_data_size_counts_the_pages_of_every_kind(swap: sc.Swap, zram: sc.Zram) -> None:
    entries = [out(swap, data) for data in (text(1), noise(1), b"\7" * PAGE)]
    assert zram.stats()["orig_data_size"] == 3 * PAGE
    swap.free(entries[0])
    assert zram.stats()["orig_data_size"] == 2 * PAGE


def test_compr_data_size_is_the_compressed_size_of_what_is_stored(swap: sc.Swap, zram: sc.Zram) -> None:
    entry = out(swap, text(1))
    one = zram.stats()["compr_data_size"]
    assert 0 < one < PAGE // 4
    out(swap, text(2))
    assert zram.stats()["compr_data_size"] == pytest.approx(2 * one, rel=0.05)
    swap.free(entry)
    assert zram.stats()["compr_data_size"] == pytest.approx(one, rel=0.05)
    out(swap, b"\7" * PAGE)
    assert zram.stats()["compr_data_size"] == pytest.approx(one, rel=0.05), "a same-filled page has no data"


def test_mem_used_total_is_whole_pages_and_includes_fragmentation(swap: sc.Swap, zram: sc.Zram) -> None:
    entries = [out(swap, text(number)) for number in range(200)]
    full = zram.stats()
    assert full["mem_used_total"] % PAGE == 0
    assert full["mem_used_total"] >= full["compr_data_size"]
    for number, entry in enumerate(entries):
        if number % 8:
            swap.free(entry)
    holes = zram.stats()
    assert holes["mem_used_total"] > 2 * holes["compr_data_size"], "the memory between the objects counts"


def test_memory_is_given_back_when_slots_are_freed(swap: sc.Swap, zram: sc.Zram) -> None:
    entries = [out(swap, noise(number)) for number in range(64)]
    assert zram.stats()["mem_used_total"] == 64 * PAGE
    for entry in entries:
        swap.free(entry)
    figures = zram.stats()
    assert [figures[name] for name in ("orig_data_size", "compr_data_size", "mem_used_total")] == [0, 0, 0]


def test_mem_used_max_is_the_most_that_was_used(swap: sc.Swap, zram: sc.Zram) -> None:
    entries = [out(swap, noise(number)) for number in range(64)]
    for entry in entries:
        swap.free(entry)
    out(swap, noise(99))
    assert zram.stats()["mem_used_max"] == 64 * PAGE


def test_a_same_filled_page_takes_no_memory_and_any_word_may_fill_it(swap: sc.Swap, zram: sc.Zram) -> None:
    pages = [b"\1" * PAGE, b"abcdefgh" * (PAGE // 8), b"\xff" * PAGE]
    entries = [out(swap, page) for page in pages]
    figures = zram.stats()
    assert (figures["same_pages"], figures["mem_used_total"], figures["huge_pages"]) == (3, 0, 0)
    assert [swap.swap_in(entry).read() for entry in entries] == pages
    assert zram.stats()["same_pages"] == 0


def test_a_page_of_zeros_reaches_no_device(swap: sc.Swap, zram: sc.Zram) -> None:
    out(swap, bytes(PAGE))
    assert (zram.stats()["same_pages"], swap.stats()["swpout_zero"]) == (0, 1)


def test_huge_pages_do_not_compress_and_are_stored_as_they_are(swap: sc.Swap, zram: sc.Zram) -> None:
    data = noise(7)
    entry = out(swap, data)
    figures = zram.stats()
    assert (figures["huge_pages"], figures["huge_pages_since"]) == (1, 1)
    assert figures["compr_data_size"] == figures["mem_used_total"] == PAGE
    assert swap.swap_in(entry).read() == data


def test_huge_pages_falls_and_huge_pages_since_does_not(swap: sc.Swap, zram: sc.Zram) -> None:
    for entry in [out(swap, noise(number)) for number in range(5)]:
        swap.free(entry)
    out(swap, noise(9))
    figures = zram.stats()
    assert (figures["huge_pages"], figures["huge_pages_since"]) == (1, 6)


def test_a_large_folio_is_compressed_page_by_page(swap: sc.Swap, zram: sc.Zram) -> None:
    data = b"".join([text(1), noise(1), b"\5" * PAGE, text(2)])
    entry = out(swap, data, order=2)
    figures = zram.stats()
    assert (figures["orig_data_size"], figures["huge_pages"], figures["same_pages"]) == (4 * PAGE, 1, 1)
    assert b"".join(folio.read() for folio in swap.swap_in_batch([entry])) == data


def test_notify_free_counts_pages_whose_slots_are_freed(swap: sc.Swap, zram: sc.Zram) -> None:
    entries = [out(swap, text(number)) for number in range(10)]
    for entry in entries[:4]:
        swap.free(entry)
    assert zram.stats()["notify_free"] == 4
    swap.swap_in(entries[4])
    assert zram.stats()["notify_free"] == 5, "a swap-in gives the slot up"


def test_a_read_leaves_the_figures_of_the_stored_data(swap: sc.Swap, zram: sc.Zram) -> None:
    mm = swap.mm()
    first = mm.mmap(4)
    mm.write(first * PAGE, b"".join(text(number) for number in range(4)))
    child = mm.fork()
    swap.memcg.write("memory.reclaim", str(4 * PAGE))
    before = zram.stats()
    assert before["orig_data_size"] == 4 * PAGE
    assert mm.read(first * PAGE, PAGE) == text(0)
    after = zram.stats()
    names = ("orig_data_size", "compr_data_size", "mem_used_total", "mem_used_max")
    assert [after[name] for name in names] == [before[name] for name in names], (
        "the child still needs the slot"
    )
    assert child.read(first * PAGE, PAGE) == text(0)


def test_a_write_over_mem_limit_fails_and_what_is_stored_stays(swap: sc.Swap) -> None:
    zram = sc.Zram("4M", mem_limit="64K")
    swap.swapon(zram)
    assert zram.stats()["mem_limit"] == 64 << 10
    entries = [out(swap, noise(number)) for number in range(16)]
    folio = swap.folio(data=noise(99))
    with pytest.raises(sc.SwapIOError) as caught:
        swap.swap_out(folio)
    assert caught.value.errno == errno.ENOMEM
    assert folio.read() == noise(99)
    assert zram.stats()["mem_used_total"] == 64 << 10
    assert zram.stats()["failed_writes"] == 1
    swap.free(entries[0])
    assert swap.swap_in(swap.swap_out(folio)).read() == noise(99)


def test_a_same_filled_page_passes_a_full_mem_limit(swap: sc.Swap) -> None:
    zram = sc.Zram("4M", mem_limit="4K")
    swap.swapon(zram)
    out(swap, noise(1))
    entry = out(swap, b"\3" * PAGE)
    assert swap.swap_in(entry).read() == b"\3" * PAGE


def test_no_limit_is_shown_as_0(swap: sc.Swap, zram: sc.Zram) -> None:
    out(swap, text(1))
    assert zram.stats()["mem_limit"] == 0


def test_swapoff_leaves_an_empty_device_that_can_be_turned_on_again(swap: sc.Swap, zram: sc.Zram) -> None:
    entry = out(swap, text(1))
    device = swap.devices[0]
    swap.swapoff(device, lambda slot, _count: swap.swap_in(slot) and None)
    assert zram.stats()["orig_data_size"] == 0
    swap.swapon(zram)
    assert swap.swap_in(out(swap, text(2))).read() == text(2)
    del entry


def test_a_device_that_is_on_takes_discards(swap: sc.Swap) -> None:
    zram = sc.Zram("4M")
    device = swap.swapon(zram, discard="pages")
    assert "SWP_PAGE_DISCARD" in device.flags
    for entry in [out(swap, text(number)) for number in range(1023)]:
        swap.free(entry)
    assert zram.stats()["mem_used_total"] == 0
    assert swap.stats()["discarded_clusters"] > 0
    assert zram.stats()["notify_free"] == 1023, "a page counts once"


def test_a_higher_level_of_an_algorithm_makes_smaller_data(swap: sc.Swap) -> None:
    try:
        levels = [sc.Zram("1M", algorithm="zstd", level=level) for level in (1, 19)]
    except sc.InvalidArgumentError as error:
        pytest.skip(str(error))
    rng = random.Random(3)
    words = [rng.randbytes(rng.randrange(3, 9)) for _ in range(60)]
    pages = [b"".join(rng.choice(words) for _ in range(1400))[:PAGE] for _ in range(50)]
    sizes_bytes = []
    for zram in levels:
        device = swap.swapon(zram)
        for entry in [out(swap, page) for page in pages]:
            assert swap.lookup(entry)["count"] == 1
        sizes_bytes.append(zram.stats()["compr_data_size"])
        swap.swapoff(device, lambda slot, _count: swap.swap_in(slot) and None)
    assert sizes_bytes[1] < 0.97 * sizes_bytes[0]


@pytest.mark.parametrize(
    "options", [{"algorithm": "zstd", "level": 99}, {"algorithm": "lz4", "level": 1}], ids=str
)
def test_a_level_that_the_algorithm_does_not_have_is_einval(options: dict[str, str | int]) -> None:
    with pytest.raises(sc.InvalidArgumentError) as caught:
        sc.Zram("1M", **options)  # type: ignore[arg-type]
    assert caught.value.errno == errno.EINVAL
