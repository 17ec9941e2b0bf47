//! Tests of zram devices: page data, counters and refused calls.

use super::*;
use crate::base::error::SwapError;

const FIRST: SwpOffset = SwpOffset(1);

fn device(mem_limit_bytes: Option<u64>) -> Zram {
    Zram::new(1024, &ZramOptions { mem_limit_bytes, ..ZramOptions::default() }).expect("a size")
}

fn figure(zram: &Zram, name: &str) -> u64 {
    zram.stats().into_iter().find(|figure| figure.0 == name).expect("a figure").1
}

fn text() -> Vec<u8> {
    (0..PAGE_SIZE).map(|i| (i * i / 64) as u8 & 31).collect()
}

/// Bytes that no algorithm compresses.
fn noise(nr_pages: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..nr_pages * PAGE_SIZE).map(|_| next()).collect()
}

#[test]
fn a_state_packs_and_unpacks() {
    let handle = Handle::from_bits((1 << Handle::BITS) - 1);
    for state in [State::Empty, State::Same, State::Stored(handle, 1), State::Stored(Handle::from_bits(0), PAGE_SIZE)] {
        assert_eq!(State::unpack(state.pack()), state);
    }
    assert_eq!(State::Empty.pack(), 0, "zeroed memory is empty slots");
}

#[test]
fn same_filled_pages_are_told_from_all_others() {
    let mut page: Vec<u8> = 0x0123_4567_89ab_cdefu64.to_ne_bytes().repeat(PAGE_SIZE / 8);
    assert_eq!(same_filled(&page), Some(0x0123_4567_89ab_cdef));
    assert_eq!(same_filled(&[0; PAGE_SIZE]), Some(0));
    for at in [0, 7, 8, 2048, PAGE_SIZE - 9, PAGE_SIZE - 1] {
        page[at] ^= 1;
        assert_eq!(same_filled(&page), None, "{at}");
        page[at] ^= 1;
    }
}

#[test]
fn each_kind_of_page_comes_back_and_is_counted() {
    let zram = device(None);
    let data = [vec![0; PAGE_SIZE], vec![9; PAGE_SIZE], text(), noise(1)].concat();
    zram.write(FIRST, &data).expect("room");
    let mut back = vec![1; 5 * PAGE_SIZE];
    zram.read(FIRST, &mut back).expect("whole");
    assert_eq!(back[..4 * PAGE_SIZE], data);
    assert!(back[4 * PAGE_SIZE..].iter().all(|&byte| byte == 0), "never written");
    let figures = ["same_pages", "huge_pages", "huge_pages_since"].map(|name| figure(&zram, name));
    assert_eq!(figures, [2, 1, 1]);
    assert_eq!(figure(&zram, "orig_data_size"), 4 * 4096);
    let packed = figure(&zram, "compr_data_size") - 4096;
    assert!((1..2048).contains(&packed), "{packed}");
    let used = figure(&zram, "mem_used_total");
    assert!(used > 4096 && used.is_multiple_of(4096) && used == figure(&zram, "mem_used_max"));
    zram.slot_free_notify(FIRST, 3);
    zram.discard(FIRST.plus(3), 2).expect("never fails");
    assert_eq!(figure(&zram, "notify_free"), 4);
    for name in ["orig_data_size", "compr_data_size", "mem_used_total", "same_pages", "huge_pages"] {
        assert_eq!(figure(&zram, name), 0, "{name}");
    }
    assert_eq!((figure(&zram, "mem_used_max"), figure(&zram, "huge_pages_since")), (used, 1));
}

#[test]
fn a_write_over_the_limit_leaves_nothing() {
    let zram = device(Some(5 * 4096 - 1));
    assert_eq!(figure(&zram, "mem_limit"), 5 * 4096);
    zram.write(FIRST, &noise(4)).expect("4 pages are within the limit of 5");
    let error = zram.write(SwpOffset(10), &noise(2)).expect_err("2 more pages are over the limit of 5");
    assert_eq!(error.errno(), 12);
    let SwapError::Io { op: "write", first: 10, nr_pages: 2, .. } = error else { panic!("{error}") };
    assert_eq!((figure(&zram, "mem_used_total"), figure(&zram, "failed_writes")), (4 * 4096, 1));
    zram.write(SwpOffset(10), &[7; 2 * PAGE_SIZE]).expect("same-filled pages take no memory");
    zram.slot_free_notify(FIRST, 4);
    zram.write(SwpOffset(20), &noise(5)).expect("4 pages were freed");
}

#[test]
fn a_limit_below_use_refuses_later_writes_only() {
    let zram = device(None);
    zram.write(FIRST, &[text(), noise(4)].concat()).expect("no limit");
    let used = figure(&zram, "mem_used_total");
    zram.set_mem_limit_bytes(used - 4096);
    assert_eq!((zram.mem_limit_bytes(), figure(&zram, "mem_limit")), (used - 4096, used - 4096));
    let mut back = vec![0; 5 * PAGE_SIZE];
    zram.read(FIRST, &mut back).expect("stored pages stay");
    assert_eq!(back, [text(), noise(4)].concat());
    let error = zram.write(SwpOffset(20), &text()).expect_err("the zspage of the first page has room");
    assert!(error.errno() == 12 && error.to_string().contains(&format!("{}", used - 4096)), "{error}");
    zram.write(SwpOffset(30), &[7; PAGE_SIZE]).expect("a same-filled page takes no memory");
    zram.slot_free_notify(FIRST.plus(1), 1);
    zram.write(SwpOffset(20), &text()).expect("use is at the limit, and the zspage has room");
    assert_eq!(zram.write(SwpOffset(40), &noise(1)).expect_err("one page too many").errno(), 12);
    zram.set_mem_limit_bytes(used - 4095);
    assert_eq!(zram.mem_limit_bytes(), used, "rounded up to pages");
    zram.write(SwpOffset(40), &noise(1)).expect("the limit has room again");
    zram.set_mem_limit_bytes(0);
    zram.write(SwpOffset(50), &noise(9)).expect("no limit");
    assert_eq!((zram.mem_limit_bytes(), figure(&zram, "failed_writes")), (0, 2));
}

#[test]
fn the_largest_use_starts_again_at_present_use() {
    let zram = device(None);
    zram.write(FIRST, &noise(9)).expect("room");
    zram.slot_free_notify(FIRST, 6);
    assert_eq!(figure(&zram, "mem_used_max"), 9 * 4096);
    zram.reset_mem_used_max();
    assert_eq!(figure(&zram, "mem_used_max"), 3 * 4096);
    zram.write(FIRST, &noise(1)).expect("room");
    assert_eq!(figure(&zram, "mem_used_max"), 4 * 4096);
}

#[test]
fn a_reset_device_is_as_new() {
    for max_pages in [1024, 1001] {
        let options = ZramOptions { mem_limit_bytes: Some(40 * 4096), ..ZramOptions::default() };
        let zram = Zram::new(max_pages, &options).expect("a size");
        let last = SwpOffset(max_pages - 1);
        zram.write(FIRST, &[vec![0; PAGE_SIZE], vec![9; PAGE_SIZE], text(), noise(20)].concat()).expect("room");
        zram.write(last, &text()).expect("room");
        zram.write(SwpOffset(100), &noise(30)).expect_err("over the limit");
        zram.slot_free_notify(FIRST.plus(3), 8);
        zram.compact();
        let claim = Claim::new(&zram).expect("no device is on the storage");
        let before = zram.stats();
        assert_eq!(zram.reset_zram().expect_err("a device is on").errno(), 16);
        assert_eq!(zram.stats(), before);
        drop(claim);
        zram.reset_zram().expect("no device is on the storage");
        assert!(zram.stats().iter().all(|figure| figure.1 == 0), "{:?}", zram.stats());
        // Each size class that had a zspage keeps the memory of 64 zspage records.
        let kept_bytes = zram.pool.kept_bytes() - Pool::new(u64::MAX).kept_bytes();
        assert!(kept_bytes < 4 * 4096, "{kept_bytes}: the 31 freed pages are kept");
        let mut back = vec![1; PAGE_SIZE];
        for slot in [FIRST, FIRST.plus(1), FIRST.plus(2), FIRST.plus(20), last] {
            zram.read(slot, &mut back).expect("never written");
            assert!(back.iter().all(|&byte| byte == 0), "{slot:?}");
        }
        zram.write(FIRST, &text()).expect("room");
        zram.read(FIRST, &mut back).expect("whole");
        assert_eq!(back, text());
    }
}

#[test]
fn a_page_that_does_not_decompress_is_a_failed_read() {
    let zram = device(None);
    zram.write(FIRST, &[text(), text()].concat()).expect("room");
    let word = zram.slots[FIRST.0 as usize][0].load(Ordering::Relaxed);
    let State::Stored(handle, bytes) = State::unpack(word) else { panic!("text compresses") };
    // The new state has a size that is one byte too small, so the read misses the end of the compressed data.
    zram.slots[FIRST.0 as usize][0].store(State::Stored(handle, bytes - 1).pack(), Ordering::Relaxed);
    let mut back = vec![0; PAGE_SIZE];
    let error = zram.read(FIRST, &mut back).expect_err("damaged data");
    assert_eq!((error.errno(), figure(&zram, "failed_reads")), (5, 1));
    zram.read(FIRST.plus(1), &mut back).expect("whole");
    assert_eq!((back == text(), figure(&zram, "failed_reads")), (true, 1));
    zram.slots[FIRST.0 as usize][0].store(word, Ordering::Relaxed);
    zram.read(FIRST, &mut back).expect("whole again");
}

#[test]
fn compaction_keeps_the_data() {
    let zram = device(None);
    let pages: Vec<_> = (0..600u32).map(|i| [&i.to_ne_bytes(), &text()[4..]].concat()).collect();
    (0..600).for_each(|i| zram.write(SwpOffset(1 + i), &pages[i as usize]).expect("room"));
    (0..600).filter(|i| i % 5 != 0).for_each(|i| zram.slot_free_notify(SwpOffset(1 + i), 1));
    let (before, compressed) = (figure(&zram, "mem_used_total"), figure(&zram, "compr_data_size"));
    let pages_given = zram.compact();
    assert!(pages_given > 0 && figure(&zram, "pages_compacted") == pages_given);
    assert_eq!(figure(&zram, "mem_used_total"), before - pages_given * 4096);
    assert_eq!(figure(&zram, "compr_data_size"), compressed);
    let mut back = vec![0; PAGE_SIZE];
    for i in (0..600).step_by(5) {
        zram.read(SwpOffset(1 + i), &mut back).expect("whole");
        assert_eq!(back, pages[i as usize], "{i}");
    }
    zram.slot_free_notify(FIRST, 600);
    assert_eq!((figure(&zram, "mem_used_total"), figure(&zram, "compr_data_size")), (0, 0));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_is_smaller_than_lz4() {
    let of = |algorithm| {
        let zram = Zram::new(16, &ZramOptions { algorithm, mem_limit_bytes: None }).expect("a size");
        zram.write(FIRST, &text()).expect("room");
        let mut back = vec![1; PAGE_SIZE];
        zram.read(FIRST, &mut back).expect("whole");
        assert_eq!(back, text());
        figure(&zram, "compr_data_size")
    };
    assert!(of(Algorithm::Zstd { level: 3 }) < of(Algorithm::Lz4));
    let too_high = ZramOptions { algorithm: Algorithm::Zstd { level: 99 }, mem_limit_bytes: None };
    assert_eq!(Zram::new(16, &too_high).expect_err("a level").errno(), 22);
}
