//! Folios and address spaces under threads, on real storages: nothing is read twice, nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::{FaultPlan, Faulty, Ram, SwapStorage, Zram, ZramOptions};
use swapcore::{Config, CpuId, DeviceSpec, KeptFolio, MappedFolio, Order, Orders, Profile, Swap, Swapin, SwpEntry};

use crate::common::{options_of, order, page_of, stat, swap_on};

fn out(swap: &Swap, order: Order, data: &[u8], cpu: CpuId) -> SwpEntry {
    let folio = swap.folio_with(order, data).expect("memory");
    swap.swap_out(MappedFolio::map(folio), cpu).map_err(|kept| kept.error).expect("room")
}

#[test]
fn eight_faults_on_one_large_entry_read_it_once() {
    const THREADS: u16 = 8;
    const ROUNDS: u64 = 1000;
    let swap = swap_on(Config::new(THREADS.into(), Profile::Newest), Arc::new(Ram::new(4096).expect("memory")));
    let data: Vec<u8> = (0..64 * PAGE_SIZE).map(|i| (i / 7 % 251) as u8 | 1).collect();
    let barrier = Barrier::new(THREADS as usize + 1);
    let entry = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for cpu in (0..THREADS).map(CpuId) {
            let (swap, barrier, entry, data) = (&swap, &barrier, &entry, &data);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    let targ = SwpEntry::from_value(entry.load(Ordering::Relaxed)).plus(u32::from(cpu.0) * 8);
                    let folio = swap.swapin_entry(targ, &Swapin::new(cpu, Orders::one(order(6)))).expect("swapped out");
                    drop(folio.folio().lock());
                    assert_eq!(folio.order(), order(6));
                    assert!(*folio.bytes().expect("no views") == **data, "every thread sees all of it");
                    drop(folio);
                    barrier.wait();
                }
            });
        }
        for round in 1..=ROUNDS {
            let value = out(&swap, order(6), &data, CpuId(0));
            entry.store(value.value(), Ordering::Relaxed);
            barrier.wait();
            barrier.wait();
            assert_eq!(stat(&swap, "pswpin"), round * 64, "exactly one read a round");
            assert_eq!(stat(&swap, "hugepages-256kB.swpin"), round);
            swap.put(value, 64, CpuId(0)).expect("one reference a slot");
        }
    });
    swap.check().expect("every invariant");
    assert_eq!(swap.memory_of_folios().nr_used_pages(), 0);
}

/// Each thread writes, pages out, forks and reads its own mapping; all share devices.
fn hammer_spaces(storage: Arc<dyn SwapStorage>, may_fail: bool) {
    const THREADS: u16 = 4;
    const PAGES: u64 = 1536;
    let swap = swap_on(Config::new(THREADS.into(), Profile::Newest), storage);
    std::thread::scope(|scope| {
        for cpu in (0..THREADS).map(CpuId) {
            let swap = swap.clone();
            scope.spawn(move || {
                let mut rng = ChaCha8Rng::seed_from_u64(cpu.0.into());
                let mm = Mm::new(swap.clone());
                let start = mm.mmap(PAGES, options_of(cpu)).expect("a mapping").pages().start;
                let mut tags = vec![0u64; PAGES as usize];
                let mut page = vec![0; PAGE_SIZE];
                for step in 0..6000u64 {
                    let at = rng.random_range(0..PAGES);
                    let address = (start.0 + at) * PAGE_SIZE as u64;
                    match rng.random_range(0..8) {
                        0..3 => {
                            let tag = (step + 1) << 2 | rng.random_range(0..4);
                            if mm.write(address, &page_of(tag), cpu).is_ok() {
                                tags[at as usize] = tag;
                            } else {
                                assert!(may_fail, "a write fails only when its page cannot be read");
                            }
                        }
                        3..6 => match mm.read(address, &mut page, cpu) {
                            Ok(()) => {
                                assert!(page == page_of(tags[at as usize]), "page {at} at step {step} on {cpu:?}");
                            }
                            Err(error) => assert!(may_fail, "{error}"),
                        },
                        6 => {
                            let end = (at + rng.random_range(1..200)).min(PAGES);
                            mm.pageout(Vpn(start.0 + at)..Vpn(start.0 + end), cpu).expect("mapped");
                        }
                        _ if rng.random_ratio(1, 40) => {
                            let child = mm.fork(cpu).expect("room");
                            if child.read(address, &mut page, cpu).is_ok() {
                                assert!(page == page_of(tags[at as usize]), "the child's page {at} at step {step}");
                            }
                            // A write in the child is invisible in the parent; the child is dropped.
                            let _ = child.write(address, &[1, 2, 3], cpu);
                        }
                        _ => {
                            let end = (at + 3).min(PAGES);
                            mm.zap(Vpn(start.0 + at)..Vpn(start.0 + end), cpu).expect("mapped");
                            tags[at as usize..end as usize].fill(0);
                        }
                    }
                }
                drop(mm);
            });
        }
    });
    swap.check().expect("every invariant");
    // Slots that only the cache has, left by reads ahead of need, go with the device.
    for device in swap.devices() {
        swap.swapoff(&device, |_, _| unreachable!("no slot has a reference")).expect("nothing is in use");
    }
    assert_eq!(swap.memory_of_folios().nr_used_pages(), 0, "no page leaks");
    swap.check().expect("every invariant");
}

#[test]
fn address_spaces_on_compressed_memory_lose_nothing() {
    hammer_spaces(Arc::new(Zram::new(16384, &ZramOptions::default()).expect("memory")), false);
}

#[test]
fn address_spaces_without_room_lose_nothing() {
    hammer_spaces(Arc::new(Ram::new(2048).expect("memory")), false);
}

#[test]
fn address_spaces_on_a_failing_device_lose_nothing() {
    let faulty = Faulty::new(Arc::new(Ram::new(16384).expect("memory")), 7);
    let plan = FaultPlan { write_error_probability: 0.05, read_error_probability: 0.05, ..FaultPlan::default() };
    faulty.set_plan(plan).expect("a good plan");
    hammer_spaces(Arc::new(faulty), true);
}

#[test]
fn a_failed_write_leaves_the_folio_mapped_dirty_and_as_it_was() {
    let faulty = Arc::new(Faulty::new(Arc::new(Ram::new(4096).expect("memory")), 7));
    let swap = swap_on(Config::new(1, Profile::Newest), faulty.clone());
    let data = vec![9; 4 * PAGE_SIZE];
    for plan in [
        FaultPlan { fail_write_in: Some(1), errno: 28, ..FaultPlan::default() },
        FaultPlan { tear_write_pages: Some(2), ..FaultPlan::default() },
    ] {
        faulty.set_plan(plan).expect("a good plan");
        let folio = MappedFolio::map(swap.folio_with(order(2), &data).expect("memory"));
        let Err(KeptFolio { folio, error }) = swap.swap_out(folio, CpuId(0)) else { panic!("the write fails") };
        assert!(matches!(error.errno(), 5 | 28), "{error}");
        let flags = folio.folio().flags();
        assert!(flags.contains(swapcore::FolioFlags::DIRTY | swapcore::FolioFlags::SWAPCACHE));
        assert_eq!((folio.folio().mapcount(), folio.folio().refs()), (4, 9));
        swap.check().expect("every invariant");
        let entry = swap.swap_out(folio, CpuId(0)).map_err(|kept| kept.error).expect("it works the second time");
        let back = swap.swap_in(entry, 4, &Swapin::new(CpuId(0), Orders::one(order(2)))).expect("written");
        assert!(*back.folio().bytes().expect("no views") == *data);
        swap.folio_unmap(back, CpuId(0)).expect("a cpu");
    }
    assert_eq!((stat(&swap, "write_errors"), swap.memory_of_folios().nr_used_pages()), (2, 0));
}

#[test]
fn readahead_reads_neighbours_and_counts_those_that_were_wanted() {
    // Not synchronous: the null device of a metadata-only swapon reads as zeros.
    let swap = Arc::new(Swap::new(1, Profile::Newest).expect("cpus"));
    swap.swapon(&DeviceSpec::new(4096)).expect("a good device");
    let mm = Mm::new(swap.clone());
    let start = mm.mmap(64, VmaOptions::default()).expect("a mapping").pages().start;
    mm.write(start.0 * PAGE_SIZE as u64, &[1; 64 * PAGE_SIZE], CpuId(0)).expect("memory");
    let all = start..Vpn(start.0 + 64);
    assert_eq!(mm.pageout(all, CpuId(0)).expect("mapped").reclaimed_pages, 64);
    let mut byte = [0];
    for page in 0..64 {
        mm.read((start.0 + page) * PAGE_SIZE as u64, &mut byte, CpuId(0)).expect("readable");
    }
    assert_eq!(stat(&swap, "pswpin"), 64, "each page once");
    let (ahead, hits) = (stat(&swap, "swap_ra"), stat(&swap, "swap_ra_hit"));
    assert!(ahead >= 48 && hits == ahead, "{ahead} read ahead, {hits} of them wanted");
    assert_eq!(stat(&swap, "pgmajfault"), 64 - ahead);
    swap.check().expect("every invariant");
}
