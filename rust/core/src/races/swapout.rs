//! Tests of swap-out, split, migration, fork and swapoff that race with faults and lookups.

use super::*;
use crate::datapath::Content;
use crate::memcg::MemCgroup;
use crate::mm::{Access, Pte};

#[test]
fn a_page_with_slots_that_is_still_mapped_does_not_fault() {
    let m = machine();
    let (mm, vpn) = space(&m, 1, 3);
    let (folio, _) = mm.touch(vpn, Access::Write, CPU).expect("present");
    // The folio has slots, and the page table still maps it.
    m.swap.add_to_swap(&folio.folio().lock(), None, CPU).expect("room");
    assert_eq!((byte_at(&mm, vpn, OTHER), m.stat("pgmajfault")), (Ok(3), 0));
    assert_eq!(m.on(CPU).folio_free_swap(folio.folio()), Ok(true));
}

#[test]
fn a_fault_during_the_write_maps_the_page_and_reclaim_keeps_the_page() {
    let m = readahead_machine();
    let (mm, vpn) = space(&m, 1, 3);
    let mm = Arc::new(mm);
    let (theirs, swap) = (mm.clone(), m.swap.clone());
    m.script.on_write.set(move || {
        // The page table has the swap entry before the write starts.
        let entry = entry_of(&theirs, vpn);
        let folio = swap.swap_cache_get_folio(entry, OTHER).expect("a slot").expect("cached");
        assert!(folio.has(FolioFlags::WRITEBACK) && !folio.is_locked());
        // The fault needs only the folio lock, which is free. It does not wait for the end of the write.
        assert_eq!(byte_at(&theirs, vpn, OTHER), Ok(3));
    });
    assert_eq!(pageout(&mm, vpn, 1), 0, "the fault mapped the page, so the page stays");
    assert_eq!((m.writes(), m.reads()), (1, 0));
    assert!(matches!(mm.vma_of(vpn).expect("mapped").pte(vpn), Pte::Present { .. }));
    // The page gets a new byte, so the next swap-out must write the page again.
    mm.write(vpn.0 * PAGE_SIZE as u64, &[8], CPU).expect("present");
    assert_eq!(pageout(&mm, vpn, 1), 1);
    assert_eq!((byte_at(&mm, vpn, CPU), m.writes()), (Ok(8), 2));
}

#[test]
fn a_write_to_a_page_during_its_pageout_is_not_lost() {
    let m = readahead_machine();
    let (mm, vpn) = space(&m, 1, 3);
    let mm = Arc::new(mm);
    let theirs = mm.clone();
    let (sender, writers) = std::sync::mpsc::channel();
    m.script.on_write.set(move || {
        // The write of the byte runs on its own thread, because the write waits until the transfer has read the bytes
        // of the page.
        let (started, starts) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            started.send(()).expect("the hook listens");
            theirs.write(vpn.0 * PAGE_SIZE as u64, &[8], OTHER).expect("cached");
        });
        starts.recv().expect("the writer starts");
        sender.send(writer).expect("the test listens");
    });
    pageout(&mm, vpn, 1);
    join(writers.try_recv().expect("the hook ran"));
    // The page is either mapped or swapped out here. It holds the written byte in both cases.
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(8));
    pageout(&mm, vpn, 1);
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(8));
}

#[test]
fn a_lookup_of_a_frozen_folio_waits_and_sees_the_shadow() {
    let m = machine();
    let (folio, entry) = m.cached(order(0), 3, 1);
    let locked = folio.folio().lock();
    locked.clear(FolioFlags::DIRTY);
    let is_looking = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = || {
            is_looking.store(true, Ordering::Relaxed);
            m.lookup(entry, OTHER).is_none()
        };
        let looker = std::cell::OnceCell::new();
        let is_gone = m.on(CPU).remove_mapping(&locked, 1, &|_| {
            let looker = looker.get_or_init(|| scope.spawn(look));
            while !is_looking.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
            assert!(!looker.is_finished(), "the lookup spins while the folio is frozen");
            Shadow { eviction: 77, ..Shadow::default() }
        });
        assert!(is_gone);
        let looker = looker.into_inner().expect("the shadow was asked for");
        assert!(looker.join().expect("no panic"), "the lookup finds no folio");
    });
    assert_eq!(m.word(entry).shadow().map(|shadow| shadow.eviction), Some(77));
    locked.keep();
    m.swap.memory_of_folios().folio(folio.into_raw()).free_frozen();
    m.put(entry, 1, CPU);
}

#[test]
fn a_lookup_before_the_removal_keeps_the_folio_cached() {
    let m = machine();
    let (folio, entry) = m.cached(order(2), 3, 4);
    let locked = folio.folio().lock();
    locked.clear(FolioFlags::DIRTY);
    let seen = m.lookup(entry.plus(3), OTHER);
    let shadow_of = |_: Option<&MemCgroup>| panic!("no shadow is made for a folio that stays");
    assert!(!m.on(CPU).remove_mapping(&locked, 1, &shadow_of));
    assert_eq!((locked.refs(), locked.has(FolioFlags::SWAPCACHE)), (6, true));
    drop((seen, locked));
    m.forget(folio, entry);
}

#[test]
fn a_lookup_after_a_split_finds_the_part_with_the_slot() {
    let m = machine();
    let (folio, entry) = m.cached(order(2), 7, 4);
    // The lookup runs before the split, and the reference of the lookup makes the first split fail. The test drops
    // the reference and looks up again, as a fault does that waits for the folio lock.
    let found = m.lookup(entry.plus(3), OTHER);
    let old = found.as_ref().expect("cached").folio();
    let mapped = MappedFolio::from_parts(folio, 0..0);
    let (mapped, error) = m.swap.folio_split(mapped, order(0), CPU).expect_err("the lookup has a reference");
    assert!(matches!(error, SwapError::FolioPinned { refs: 6, expected: 5 }), "{error}");
    drop(found);
    let parts = m.swap.folio_split(mapped, order(0), CPU).map_err(|(_, error)| error).expect("no other reference");
    assert!(!old.lock().covers(entry.plus(3)), "the folio of the lookup is now the first part only");
    for (page, part) in (0..4).zip(&parts) {
        assert_eq!(m.lookup(entry.plus(page), OTHER).expect("cached").pfn(), part.folio().pfn());
        assert_eq!((m.count(entry.plus(page)), part.folio().order()), (1, order(0)));
        assert!(is_all(part.folio(), 7));
    }
    m.swap.check().expect("every invariant");
    drop(parts);
    m.put(entry, 4, CPU);
}

#[test]
fn a_migration_keeps_counts_marks_flags_and_bytes() {
    let m = machine();
    let (folio, entry) = m.cached(order(1), 7, 1);
    m.on(CPU).begin_writeout(&folio.folio().lock(), Content::Zeros).expect("cached");
    let old = folio.pfn();
    let moved = m.swap.folio_migrate(MappedFolio::map(folio), CPU).map_err(|(_, error)| error).expect("memory");
    assert_ne!(moved.folio().pfn(), old);
    assert_eq!((m.count(entry), m.count(entry.plus(1)), m.word(entry).is_zero()), (1, 0, true));
    assert_eq!((moved.folio().entry(), moved.folio().mapcount(), moved.folio().refs()), (Some(entry), 2, 5));
    assert!(is_all(moved.folio(), 7) && moved.folio().has(FolioFlags::DIRTY));
    m.swap.check().expect("every invariant");
    m.put(entry, 1, CPU);
    m.swap.folio_unmap(moved, CPU).expect("a CPU");
}

#[test]
fn a_fork_and_the_freeing_of_a_slot_exclude_each_other() {
    let m = readahead_machine();
    let (mm, vpn, entry) = swapped_space(&m, 1, 3);
    let folio = m.fault(entry, order(0), CPU).expect("swapped out");
    // The fork runs before the first call of `folio_free_swap`. Each of the two page tables has a reference to the
    // slot, so the call does not free the slot.
    let child = mm.fork(OTHER).expect("room");
    assert_eq!((m.count(entry), m.on(CPU).folio_free_swap(folio.folio())), (2, Ok(false)));
    assert_eq!((byte_at(&mm, vpn, CPU), byte_at(&child, vpn, OTHER)), (Ok(3), Ok(3)));
    // Now both spaces map the page, so the slot has no reference. The free succeeds, and a later `dup` finds no slot.
    assert_eq!(m.on(CPU).folio_free_swap(folio.folio()), Ok(true));
    assert_eq!(m.swap.dup(entry, 1, OTHER), Err(SwapError::NotInUse(entry)));
    child.write(vpn.0 * PAGE_SIZE as u64, &[4], OTHER).expect("a copy");
    assert_eq!((byte_at(&mm, vpn, CPU), byte_at(&child, vpn, OTHER)), (Ok(3), Ok(4)));
}

#[test]
fn swapoff_waits_for_a_read_under_way_and_refuses_new_ones() {
    let m = readahead_machine();
    let (mm, vpn, entry) = swapped_space(&m, 2, 3);
    let mm = Arc::new(mm);
    let (theirs, swap) = (mm.clone(), m.swap.clone());
    let (sender, swapoffs) = std::sync::mpsc::channel();
    m.script.on_read.set(move || {
        let swapoff = std::thread::spawn(move || {
            let device = swap.device(entry.ty()).expect("on");
            swap.swapoff(&device, |_, _| theirs.unuse(entry.ty(), OTHER)).expect("everything is read back");
        });
        std::thread::sleep(Duration::from_millis(20));
        assert!(!swapoff.is_finished(), "the folio under read is locked");
        sender.send(swapoff).expect("the test listens");
    });
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(3));
    join(swapoffs.try_recv().expect("the hook ran"));
    assert_eq!((byte_at(&mm, vpn, CPU), byte_at(&mm, Vpn(vpn.0 + 1), CPU)), (Ok(3), Ok(3)));
    assert_eq!(m.fault(entry, order(0), CPU).map(|_| ()), Err(SwapError::NoDevice(entry)));
}

#[test]
fn a_writeback_folio_yields_to_an_earlier_fault_and_serves_a_later_fault() {
    // The test plays the part of zswap writeback, which inserts its own folio of order 0 for the slot.
    let m = machine();
    let how = Swapin::new(CPU, Orders::ZERO);
    let entry = m.out(order(0), 6);
    let fault = m.fault(entry, order(0), OTHER).expect("swapped out");
    let late = m.swap.swap_cache_alloc_folio(entry, &how).map(|_| ());
    assert_eq!(late, Err(SwapError::AlreadyCached(entry)), "the fault inserted its folio first");
    m.forget(fault, entry);
    let gone = m.swap.swap_cache_alloc_folio(entry, &how).map(|_| ());
    assert_eq!(gone, Err(SwapError::NotInUse(entry)), "the slot is free");
    let entry = m.out(order(0), 6);
    let first = m.swap.swap_cache_alloc_folio(entry, &how).expect("swapped out");
    let hit = m.fault(entry, order(0), OTHER).expect("cached");
    assert!(hit.is_locked() && !hit.has(FolioFlags::UPTODATE), "the fault waits for the lock");
    m.swap.swap_read_folio(first.locked, CPU).expect("readable");
    assert!(is_all(&hit, 6) && m.reads() == 2, "one read for each swap-in");
    drop(first.folio);
    m.forget(hit, entry);
}
