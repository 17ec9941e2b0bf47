//! Tests in which threads use folios and address spaces on real storages. No page is read twice, and no page is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use swapcore::base::gfp::Gfp;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::mm::VmaOptions;
use swapcore::storage::{FaultPlan, Faulty, SwapStorage, Zram, ZramOptions};
use swapcore::table::Shadow;
use swapcore::{Config, CpuId, DeviceSpec, KeptFolio, MappedFolio, Order, Orders, Profile, Swap, Swapin, SwpEntry};

use crate::common::{CPU, Load, Space, assert_empty, order, ram, stat, swap_on};

fn out(swap: &Swap, order: Order, data: &[u8], cpu: CpuId) -> SwpEntry {
    let folio = swap.folio_with(order, data).expect("memory");
    swap.swap_out(MappedFolio::map(folio), cpu).map_err(|kept| kept.error).expect("room")
}

#[test]
fn new_slots_of_a_clean_folio_get_its_data() {
    let swap = swap_on(Config::new(1, Profile::Newest), ram(1024));
    let old = out(&swap, order(0), &[7; PAGE_SIZE], CPU);
    // The second reference keeps the slot in use after the swap-in, so that the folio stays clean and cached.
    swap.dup(old, 1, CPU).expect("in use");
    let how = Swapin::new(CPU, Orders::ZERO);
    let mapped = swap.swap_in(old, 1, &how).expect("swapped out");
    {
        let (folio, mut on_cpu) = (mapped.folio().folio(), swap.on_cpu(CPU).expect("a CPU"));
        on_cpu.swap_cache_del_folio(folio, Shadow::default()).expect("the folio is clean");
        on_cpu.folio_alloc_swap(folio).expect("room");
    }
    let new = swap.swap_out(mapped, CPU).map_err(|kept| kept.error).expect("room");
    let mapped = swap.swap_in(new, 1, &how).expect("swapped out");
    assert!(*mapped.folio().bytes().expect("no views") == [7; PAGE_SIZE], "the page lost its data");
    swap.folio_unmap(mapped, CPU).expect("a CPU");
    swap.put(old, 1, CPU).expect("one reference");
    assert_empty(&swap);
}

#[test]
fn eight_faults_on_one_large_entry_read_it_once() {
    const THREADS: u16 = 8;
    const ROUNDS: u64 = 1000;
    let swap = swap_on(Config::new(THREADS.into(), Profile::Newest), ram(4096));
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
                    assert!(*folio.bytes().expect("no views") == **data, "the folio has other bytes than were written");
                    drop(folio);
                    barrier.wait();
                }
            });
        }
        for round in 1..=ROUNDS {
            let value = out(&swap, order(6), &data, CPU);
            entry.store(value.value(), Ordering::Relaxed);
            barrier.wait();
            barrier.wait();
            assert_eq!(stat(&swap, "pswpin"), round * 64, "exactly one read a round");
            assert_eq!(stat(&swap, "hugepages-256kB.swpin"), round);
            swap.put(value, 64, CPU).expect("one reference a slot");
        }
    });
    swap.check().expect("every invariant");
    assert_eq!(swap.memory_of_folios().nr_used_pages(), 0);
}

/// Runs four threads. Each thread works on its own address space, and all threads share the device.
fn hammer_spaces(storage: Arc<dyn SwapStorage>, may_fail: bool) {
    const THREADS: u16 = 4;
    let swap = swap_on(Config::new(THREADS.into(), Profile::Newest), storage);
    std::thread::scope(|scope| {
        for cpu in 0..THREADS {
            let (load, mut steps, swap) = (Load { may_fail, ..Load::new(cpu, 1536) }, 0..6000, &swap);
            scope.spawn(move || load.run(swap, || steps.next().is_some()));
        }
    });
    swap.check().expect("every invariant");
    // Readahead may leave slots that only the cache holds. The swapoff frees these slots.
    for device in swap.devices() {
        swap.swapoff(&device, |_, _| unreachable!("no slot has a reference")).expect("nothing is in use");
    }
    assert_empty(&swap);
}

#[test]
fn address_spaces_on_compressed_memory_lose_nothing() {
    hammer_spaces(Arc::new(Zram::new(16384, &ZramOptions::default()).expect("memory")), false);
}

#[test]
fn address_spaces_without_room_lose_nothing() {
    hammer_spaces(ram(2048), false);
}

#[test]
fn address_spaces_on_a_failing_device_lose_nothing() {
    let faulty = Faulty::new(ram(16384), 7);
    let plan = FaultPlan { write_error_probability: 0.05, read_error_probability: 0.05, ..FaultPlan::default() };
    faulty.set_plan(plan).expect("a good plan");
    hammer_spaces(Arc::new(faulty), true);
}

#[test]
fn a_failed_write_leaves_the_folio_mapped_dirty_and_as_it_was() {
    let faulty = Arc::new(Faulty::new(ram(4096), 7));
    let swap = swap_on(Config::new(1, Profile::Newest), faulty.clone());
    let data = vec![9; 4 * PAGE_SIZE];
    for plan in [
        FaultPlan { fail_write_in: Some(1), errno: 28, ..FaultPlan::default() },
        FaultPlan { tear_write_pages: Some(2), ..FaultPlan::default() },
    ] {
        faulty.set_plan(plan).expect("a good plan");
        let folio = MappedFolio::map(swap.folio_with(order(2), &data).expect("memory"));
        let Err(KeptFolio { folio, error }) = swap.swap_out(folio, CPU) else { panic!("the write fails") };
        assert!(matches!(error.errno(), 5 | 28), "{error}");
        let flags = folio.folio().flags();
        assert!(flags.contains(swapcore::FolioFlags::DIRTY | swapcore::FolioFlags::SWAPCACHE));
        assert_eq!((folio.folio().mapcount(), folio.folio().refs()), (4, 9));
        swap.check().expect("every invariant");
        let entry = swap.swap_out(folio, CPU).map_err(|kept| kept.error).expect("it works the second time");
        let back = swap.swap_in(entry, 4, &Swapin::new(CPU, Orders::one(order(2)))).expect("written");
        assert!(*back.folio().bytes().expect("no views") == *data);
        swap.folio_unmap(back, CPU).expect("a cpu");
    }
    assert_eq!((stat(&swap, "write_errors"), swap.memory_of_folios().nr_used_pages()), (2, 0));
}

/// Swaps a slot in, in a thread of its own, and returns the first byte of the page. The test fails when the swap-in
/// takes 20 s.
fn first_byte_in_time(swap: &Arc<Swap>, entry: SwpEntry) -> u8 {
    let (sender, receiver) = std::sync::mpsc::channel();
    let swap = Arc::clone(swap);
    std::thread::spawn(move || {
        let mapped = swap.swap_in(entry, 1, &Swapin::new(CPU, Orders::ZERO)).expect("in memory");
        let byte = mapped.folio().bytes().expect("no views")[0];
        swap.folio_unmap(mapped, CPU).expect("a cpu");
        // The result is ignored, because the receiver is dropped when the swap-in took too long and the test has
        // failed.
        let _ = sender.send(byte);
    });
    receiver.recv_timeout(Duration::from_secs(20)).expect("the swap-in ends")
}

#[test]
fn a_dirty_folio_in_the_cache_has_the_data_of_its_slots() {
    let swap = swap_on(Config::new(1, Profile::Newest), ram(4096));
    let out = |byte: u8| {
        let folio = MappedFolio::map(swap.folio_with(order(0), &[byte]).expect("memory"));
        swap.swap_out(folio, CPU).map_err(|kept| kept.error).expect("room")
    };
    // The folio is inserted into the cache without a read of the slot. `folio_mark_dirty` declares the bytes of the
    // folio to be the newest data of the slot.
    let entry = out(1);
    let folio = swap.folio_with(order(0), b"b").expect("memory");
    swap.on_cpu(CPU).expect("a cpu").swap_cache_add_folio(folio.folio(), entry).expect("swapped out");
    folio.folio_mark_dirty();
    assert_eq!(first_byte_in_time(&swap, entry), b'b');
    drop(folio);
    // The bytes of a new folio, which was never written to a device, are the data of the slots that the folio gets.
    let folio = swap.folio_alloc(order(0), Gfp::HIGHUSER_MOVABLE, CPU).expect("memory");
    folio.bytes_mut().expect("no views").fill(7);
    let entry = swap.folio_alloc_swap(&folio, CPU).expect("room");
    swap.on_cpu(CPU).expect("a cpu").folio_dup_swap(folio.folio(), None).expect("cached");
    assert_eq!(first_byte_in_time(&swap, entry), 7);
    drop(folio);
    swap.check().expect("every invariant");
}

#[test]
fn readahead_reads_neighbours_and_counts_those_that_were_wanted() {
    // The device stores no data and is not synchronous, so swap-ins read ahead and get zeros.
    let swap = Arc::new(Swap::new(1, Profile::Newest).expect("cpus"));
    swap.swapon(&DeviceSpec::new(4096)).expect("a good device");
    let space = Space::new(&swap, CssId::ROOT, 64, VmaOptions::default());
    space.mm.write(space.address(0), &[1; 64 * PAGE_SIZE], CPU).expect("memory");
    assert_eq!(space.mm.pageout(space.pages(0..64), CPU).expect("mapped").reclaimed_pages, 64);
    (0..64).for_each(|page| space.mm.read(space.address(page), &mut [0], CPU).expect("readable"));
    assert_eq!(stat(&swap, "pswpin"), 64, "each page once");
    let (ahead, hits) = (stat(&swap, "swap_ra"), stat(&swap, "swap_ra_hit"));
    assert!(ahead >= 48 && hits == ahead, "{ahead} read ahead, {hits} of them wanted");
    assert_eq!(stat(&swap, "pgmajfault"), 64 - ahead);
    swap.check().expect("every invariant");
}
