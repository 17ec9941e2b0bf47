//! Tests of swap-ins of shmem files. A swap-in takes the order of the swap-out, frees the slots, and splits the entry
//! of the file when the folio is smaller than the entry.

use super::*;
use crate::mm::{Shmem, ShmemEntry};

/// Makes a file of 16 pages in folios of order 2. Page `i` is full of `i + 1`.
fn resident_file(m: &Machine) -> Shmem {
    let file = Shmem::new(m.swap.clone(), 16, order(2)).expect("a size");
    for page in 0..16u64 {
        file.write(page * PAGE_SIZE as u64, &[page as u8 + 1; PAGE_SIZE], CssId::ROOT, CPU).expect("memory");
    }
    file
}

/// Makes a file like `resident_file` and swaps out all its pages.
fn file(m: &Machine) -> Shmem {
    let file = resident_file(m);
    (0..16).step_by(4).for_each(|index| file.writeout(index, CPU).expect("room"));
    file
}

fn byte_of(file: &Shmem, index: u64) -> Result<u8> {
    let mut byte = [0];
    file.read(index * PAGE_SIZE as u64, &mut byte, CssId::ROOT, CPU).map(|()| byte[0])
}

fn assert_whole(file: &Shmem) {
    assert!((0..16).all(|index| byte_of(file, index) == Ok(index as u8 + 1)), "a page is not what was written");
}

fn slot_of(file: &Shmem, index: u64) -> Option<(SwpEntry, Order)> {
    match file.entry(index).expect("in the file") {
        ShmemEntry::Swap { entry, order } => Some((entry, order)),
        _ => None,
    }
}

#[test]
fn a_swapin_of_a_file_takes_the_order_of_the_swapout_and_frees_the_slots() {
    let m = machine();
    let file = file(&m);
    let (entry, large) = slot_of(&file, 6).expect("swapped out");
    assert_eq!((large, m.count(entry)), (order(2), 1));
    assert_eq!(byte_of(&file, 6), Ok(7));
    assert_eq!((m.reads(), m.charges(), m.stat("hugepages-16kB.swpin")), (1, 1, 1));
    assert!(m.word(entry).is_null(), "a swap-in of a file frees the slots on every device");
    assert_whole(&file);
    assert_eq!(m.reads(), 4);
}

#[test]
fn a_smaller_folio_leaves_the_rest_of_its_range_swapped_out() {
    // The device is not synchronous, so every page is swapped in as a single page.
    let m = readahead_machine();
    m.swap.readahead().set_page_cluster(0).expect("in range");
    let file = file(&m);
    assert_eq!(byte_of(&file, 5), Ok(6));
    let orders = [4, 5, 6, 7, 8].map(|index| slot_of(&file, index).map(|slot| slot.1));
    let [single, large] = [order(0), order(2)].map(Some);
    assert_eq!(orders, [single, None, single, single, large]);
    assert_whole(&file);
}

#[test]
fn a_truncation_during_the_read_is_a_silent_retry() {
    let m = machine();
    let file = Arc::new(file(&m));
    let theirs = file.clone();
    m.script.on_read.set(move || theirs.truncate(4..8, OTHER).expect("in the file"));
    assert_eq!(byte_of(&file, 5), Ok(0), "the truncated page reads as a hole");
    assert_eq!((byte_of(&file, 3), byte_of(&file, 8)), (Ok(4), Ok(9)));
}

#[test]
fn no_memory_is_enomem_unless_the_entry_changed() {
    let m = machine();
    let file = file(&m);
    m.script.refuses_charges.store(true, Ordering::Relaxed);
    assert!(matches!(byte_of(&file, 5), Err(SwapError::NoMemory(_))));
    m.script.refuses_charges.store(false, Ordering::Relaxed);
    assert_eq!(byte_of(&file, 5), Ok(6), "the refused swap-in left the page swapped out");
}

#[test]
fn a_failed_write_or_read_loses_nothing() {
    let m = machine();
    let file = file(&m);
    assert_eq!(byte_of(&file, 5), Ok(6));
    m.fail_next_transfers();
    assert!(matches!(file.writeout(5, CPU), Err(SwapError::Io { .. })));
    assert!(matches!(byte_of(&file, 9), Err(SwapError::Io { .. })));
    assert_whole(&file);
    m.swap.check().expect("every invariant");
}

#[test]
fn threads_write_read_and_page_out_one_file() {
    let m = machine();
    let file = Shmem::new(m.swap.clone(), 256, order(3)).expect("a size");
    std::thread::scope(|scope| {
        for (thread, cpu) in [(0u64, CPU), (1, OTHER)] {
            let file = &file;
            scope.spawn(move || {
                let mut state = thread + 1;
                let mut last = [0u8; 256];
                for step in 0..20_000u64 {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    // Neighbouring pages belong to different threads, so every folio has pages of both threads.
                    let index = (state >> 40) % 128 * 2 + thread;
                    match (state >> 33) % 4 {
                        0 => {
                            last[index as usize] = step as u8;
                            file.write(index * PAGE_SIZE as u64, &[step as u8; 64], CssId::ROOT, cpu).expect("memory");
                        }
                        1 => drop(file.writeout(index, cpu)),
                        _ => {
                            let mut bytes = [0; 64];
                            file.read(index * PAGE_SIZE as u64, &mut bytes, CssId::ROOT, cpu).expect("readable");
                            assert_eq!(bytes, [last[index as usize]; 64], "page {index} at step {step}");
                        }
                    }
                }
            });
        }
    });
    assert!(m.stat("pswpin") > 100, "{:?}", m.swap.stats());
}

#[test]
fn a_dirty_folio_with_a_truncated_page_is_read_page_by_page() {
    let m = machine();
    let file = resident_file(&m);
    m.fail_next_transfers();
    assert!(file.writeout(4, CPU).is_err());
    file.truncate(5..6, CPU).expect("in the file");
    let bytes: Vec<_> = (4..8).map(|index| byte_of(&file, index)).collect();
    assert_eq!(bytes, [Ok(5), Ok(0), Ok(7), Ok(8)]);
    assert_eq!(m.reads(), 0, "no page of the folio reached the device");
}
