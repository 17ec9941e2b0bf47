//! Swap-out, split, migration, fork and swapoff against faults and lookups.

use super::*;
use crate::datapath::Content;
use crate::memcg::MemCgroup;
use crate::mm::{Access, Pte};

#[test]
fn before_it_is_unmapped_a_page_on_its_way_out_does_not_fault() {
    let m = machine();
    let (mm, vpn) = space(&m, Orders::ZERO, 1, 3);
    let (folio, _) = mm.touch(vpn, Access::Read, CPU).expect("present");
    // The folio has slots, and the page table still maps it.
    m.swap.add_to_swap(&folio.folio().lock(), None, CPU).expect("room");
    assert_eq!((byte_at(&mm, vpn, OTHER), m.stat("pgmajfault")), (Ok(3), 0));
    assert_eq!(m.swap.on_cpu(CPU).expect("a cpu").folio_free_swap(folio.folio()), Ok(true));
    drop(folio);
    drop(mm);
    m.assert_empty();
}

#[test]
fn a_fault_while_the_page_is_written_maps_it_and_reclaim_lets_go() {
    let m = machine_with(false, SwapinCheck::ZeroFirst);
    let (mm, vpn) = space(&m, Orders::ZERO, 1, 3);
    let mm = Arc::new(mm);
    let (theirs, swap) = (mm.clone(), m.swap.clone());
    m.hook(&m.storage.on_write, move || {
        assert!(matches!(theirs.swap_entry(vpn), Ok(Some(_))), "unmapped by now");
        let entry = entry_of(&theirs, vpn);
        let folio = swap.on_cpu(OTHER).expect("a cpu").swap_cache_get_folio(entry).expect("a slot").expect("cached");
        assert!(folio.has(FolioFlags::WRITEBACK) && !folio.is_locked());
        // The fault waits for the folio lock, not for the write.
        assert_eq!(byte_at(&theirs, vpn, OTHER), Ok(3));
    });
    assert_eq!(pageout(&mm, vpn, 1), 0, "somebody took it: the page stays");
    assert_eq!((m.storage.writes.load(Ordering::Relaxed), m.reads()), (1, 0));
    assert!(matches!(mm.vma_of(vpn).expect("mapped").pte(vpn), Pte::Present { .. }));
    // The byte written now must not be lost to the copy on the device.
    mm.write(vpn.0 * PAGE_SIZE as u64, &[8], CPU).expect("present");
    assert_eq!(pageout(&mm, vpn, 1), 1);
    assert_eq!((byte_at(&mm, vpn, CPU), m.storage.writes.load(Ordering::Relaxed)), (Ok(8), 2));
    drop(mm);
    m.assert_empty();
}

#[test]
fn a_write_to_the_page_while_it_is_written_out_is_not_lost() {
    let m = machine_with(false, SwapinCheck::ZeroFirst);
    let (mm, vpn) = space(&m, Orders::ZERO, 1, 3);
    let mm = Arc::new(mm);
    let theirs = mm.clone();
    let (started, listens) = std::sync::mpsc::channel();
    let writer = Mutex::new(None);
    m.hook(&m.storage.on_write, move || {
        // The write has a thread of its own, because the bytes are being read and the writer waits until the transfer
        // is over.
        let other = std::thread::spawn(move || {
            started.send(()).expect("the test listens");
            theirs.write(vpn.0 * PAGE_SIZE as u64, &[8], OTHER).expect("cached");
        });
        listens.recv().expect("it runs");
        *writer.lock().expect("one thread") = Some(other);
        std::mem::forget(writer);
    });
    pageout(&mm, vpn, 1);
    // In any order of the two, the written byte is read in the end.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while byte_at(&mm, vpn, CPU) != Ok(8) {
        assert!(std::time::Instant::now() < until, "the write is lost");
        pageout(&mm, vpn, 1);
    }
    while Arc::strong_count(&mm) > 1 {
        std::thread::yield_now();
    }
    drop(mm);
    m.assert_empty();
}

#[test]
fn a_lookup_that_meets_a_frozen_folio_waits_and_sees_the_shadow() {
    let m = machine();
    let folio = m.swap.folio_with(order(0), &[3]).expect("memory");
    let locked = folio.folio().lock();
    m.swap.add_to_swap(&locked, None, CPU).expect("room");
    let entry = locked.entry().expect("cached");
    m.swap.on_cpu(CPU).expect("a cpu").dup_locked(&locked, 0..1).expect("room");
    locked.clear(FolioFlags::DIRTY);
    let (is_looking, has_looked) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let looker = || {
            is_looking.store(true, Ordering::Relaxed);
            let found = m.swap.on_cpu(OTHER).expect("a cpu").swap_cache_get_folio(entry).expect("a slot");
            has_looked.store(true, Ordering::Relaxed);
            found.is_none()
        };
        let handle = std::cell::RefCell::new(None);
        let is_gone = m.swap.on_cpu(CPU).expect("a cpu").remove_mapping(&locked, 1, &|_| {
            *handle.borrow_mut() = Some(scope.spawn(looker));
            while !is_looking.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!has_looked.load(Ordering::Relaxed), "it spins as long as the folio is frozen");
            Shadow { eviction: 77, ..Shadow::default() }
        });
        assert!(is_gone);
        assert!(handle.take().expect("started").join().expect("no panic"), "then it sees the shadow");
    });
    assert_eq!(m.word(entry).shadow().map(|shadow| shadow.eviction), Some(77));
    locked.keep();
    let pfn = folio.into_raw();
    m.swap.memory_of_folios().folio(pfn).free_frozen();
    m.swap.put(entry, 1, CPU).expect("one reference");
    m.assert_empty();
}

#[test]
fn a_lookup_that_comes_first_keeps_the_folio() {
    let m = machine();
    let folio = m.swap.folio_with(order(2), &[3]).expect("memory");
    let locked = folio.folio().lock();
    m.swap.add_to_swap(&locked, None, CPU).expect("room");
    let entry = locked.entry().expect("cached");
    m.swap.on_cpu(CPU).expect("a cpu").dup_locked(&locked, 0..4).expect("room");
    locked.clear(FolioFlags::DIRTY);
    let seen = m.swap.on_cpu(OTHER).expect("a cpu").swap_cache_get_folio(entry.plus(3)).expect("a slot");
    let asks = |_: Option<&MemCgroup>| panic!("no shadow is made for a folio that stays");
    assert!(!m.swap.on_cpu(CPU).expect("a cpu").remove_mapping(&locked, 1, &asks));
    assert_eq!((locked.refs(), locked.has(FolioFlags::SWAPCACHE)), (6, true));
    drop((seen, locked));
    drop(folio);
    m.swap.put(entry, 4, CPU).expect("one reference a slot");
    m.assert_empty();
}

#[test]
fn who_waited_for_the_lock_of_a_folio_that_is_split_finds_the_part_with_its_slot() {
    let m = machine();
    let folio = m.swap.folio_with(order(2), &[7; 4 * PAGE_SIZE]).expect("memory");
    m.swap.add_to_swap(&folio.folio().lock(), None, CPU).expect("room");
    let entry = folio.entry().expect("cached");
    m.swap.on_cpu(CPU).expect("a cpu").folio_dup_swap(folio.folio(), None).expect("room");
    // The lookup runs before the split. Its reference is dropped for the lock and taken again, as the retry of a
    // fault does.
    let found = m.swap.on_cpu(OTHER).expect("a cpu").swap_cache_get_folio(entry.plus(3)).expect("a slot");
    let old = found.as_ref().expect("cached").folio();
    let parts = {
        let mapped = MappedFolio::from_parts(folio, 0..0);
        let (mapped, error) = m.swap.folio_split(mapped, order(0), CPU).expect_err("somebody holds it");
        assert!(matches!(error, SwapError::FolioPinned { refs: 6, expected: 5 }), "{error}");
        drop(found);
        m.swap.folio_split(mapped, order(0), CPU).map_err(|(_, error)| error).expect("nobody holds it now")
    };
    assert!(!old.lock().covers(entry.plus(3)), "the folio waited for has this slot no more");
    for (page, part) in (0..4).zip(&parts) {
        let now = m.swap.on_cpu(OTHER).expect("a cpu").swap_cache_get_folio(entry.plus(page)).expect("a slot");
        assert_eq!(now.expect("cached").pfn(), part.folio().pfn());
        assert_eq!((m.count(entry.plus(page)), part.folio().order()), (1, order(0)));
        assert!(is_all(part.folio(), 7));
    }
    m.swap.check().expect("every invariant");
    drop(parts);
    m.swap.put(entry, 4, CPU).expect("one reference a slot");
    m.assert_empty();
}

#[test]
fn a_folio_that_moves_keeps_counts_marks_flags_and_bytes() {
    let m = machine();
    let folio = m.swap.folio_with(order(1), &[7; 2 * PAGE_SIZE]).expect("memory");
    let locked = folio.folio().lock();
    m.swap.add_to_swap(&locked, None, CPU).expect("room");
    let entry = locked.entry().expect("cached");
    let mut on_cpu = m.swap.on_cpu(CPU).expect("a cpu");
    on_cpu.dup_locked(&locked, 0..1).expect("room");
    on_cpu.begin_writeout(&locked, Content::Zeros).expect("cached");
    drop((on_cpu, locked));
    let old = folio.pfn();
    let moved = m.swap.folio_migrate(MappedFolio::map(folio), CPU).map_err(|(_, error)| error).expect("memory");
    assert_ne!(moved.folio().pfn(), old);
    assert_eq!((m.count(entry), m.count(entry.plus(1)), m.word(entry).is_zero()), (1, 0, true));
    assert_eq!((moved.folio().entry(), moved.folio().mapcount(), moved.folio().refs()), (Some(entry), 2, 5));
    assert!(is_all(moved.folio(), 7) && moved.folio().has(FolioFlags::DIRTY));
    m.swap.check().expect("every invariant");
    m.swap.put(entry, 1, CPU).expect("one reference");
    m.swap.folio_unmap(moved, CPU).expect("a cpu");
    m.assert_empty();
}

#[test]
fn a_fork_and_the_freeing_of_a_slot_exclude_each_other() {
    let m = machine_with(false, SwapinCheck::ZeroFirst);
    let (mm, vpn) = space(&m, Orders::ZERO, 1, 3);
    assert_eq!(pageout(&mm, vpn, 1), 1);
    let entry = entry_of(&mm, vpn);
    let how = Swapin::new(CPU, Orders::ZERO);
    let folio = m.swap.swapin_entry(entry, &how).expect("swapped out");
    // The fork comes first: a reference exists, so no slot is freed.
    let child = mm.fork(OTHER).expect("room");
    assert_eq!((m.count(entry), m.swap.on_cpu(CPU).expect("a cpu").folio_free_swap(folio.folio())), (2, Ok(false)));
    assert_eq!((byte_at(&mm, vpn, CPU), byte_at(&child, vpn, OTHER)), (Ok(3), Ok(3)));
    // Both are mapped: the free comes first, and no entry is left to copy.
    assert_eq!(m.swap.on_cpu(CPU).expect("a cpu").folio_free_swap(folio.folio()), Ok(true));
    assert_eq!(m.swap.dup(entry, 1, OTHER), Err(SwapError::NotInUse(entry)));
    child.write(vpn.0 * PAGE_SIZE as u64, &[4], OTHER).expect("a copy");
    assert_eq!((byte_at(&mm, vpn, CPU), byte_at(&child, vpn, OTHER)), (Ok(3), Ok(4)));
    drop((folio, mm, child));
    m.assert_empty();
}

#[test]
fn swapoff_waits_for_a_read_under_way_and_refuses_new_ones() {
    let m = machine_with(false, SwapinCheck::ZeroFirst);
    let (mm, vpn) = space(&m, Orders::ZERO, 2, 3);
    assert_eq!(pageout(&mm, vpn, 2), 2);
    let entry = entry_of(&mm, vpn);
    let device = m.swap.device(entry.ty()).expect("on");
    let (swap, is_off) = (m.swap.clone(), Arc::new(AtomicBool::new(false)));
    let (mm, seen) = (Arc::new(mm), is_off.clone());
    let theirs = mm.clone();
    let off = Mutex::new(None);
    m.hook(&m.storage.on_read, move || {
        let other = std::thread::spawn(move || {
            let ty = device.ty();
            swap.swapoff(&device, |_, _| theirs.unuse(ty, OTHER)).expect("everything is read back");
            seen.store(true, Ordering::Relaxed);
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!is_off.load(Ordering::Relaxed), "the folio under read is locked");
        *off.lock().expect("one thread") = Some(other);
        std::mem::forget(off);
    });
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(3));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while m.swap.device(entry.ty()).is_ok() || Arc::strong_count(&mm) > 1 {
        assert!(std::time::Instant::now() < until, "swapoff does not end");
        std::thread::yield_now();
    }
    assert_eq!((byte_at(&mm, vpn, CPU), byte_at(&mm, Vpn(vpn.0 + 1), CPU)), (Ok(3), Ok(3)));
    let how = Swapin::new(CPU, Orders::ZERO);
    assert_eq!(m.swap.swapin_entry(entry, &how).map(|_| ()), Err(SwapError::NoDevice(entry)));
    drop(mm);
    m.assert_empty();
}

#[test]
fn a_writer_that_moves_a_page_to_its_device_yields_to_a_fault_or_serves_it() {
    // As zswap writeback does: an order-0 folio of its own over the slot.
    let m = machine();
    let entry = m.out(order(0), 6);
    let fault = m.swap.swapin_entry(entry, &Swapin::new(OTHER, Orders::ZERO)).expect("swapped out");
    let late = m.swap.swap_cache_alloc_folio(entry, &Swapin::new(CPU, Orders::ZERO)).map(|_| ());
    assert_eq!(late, Err(SwapError::AlreadyCached(entry)), "the fault was first: stop");
    forget(&m, fault, entry);
    let gone = m.swap.swap_cache_alloc_folio(entry, &Swapin::new(CPU, Orders::ZERO)).map(|_| ());
    assert_eq!(gone, Err(SwapError::NotInUse(entry)), "the slot is gone: stop");
    let entry = m.out(order(0), 6);
    let first = m.swap.swap_cache_alloc_folio(entry, &Swapin::new(CPU, Orders::ZERO)).expect("swapped out");
    let hit = m.swap.swapin_entry(entry, &Swapin::new(OTHER, Orders::ZERO)).expect("cached");
    assert!(hit.is_locked() && !hit.has(FolioFlags::UPTODATE), "the fault waits for the lock");
    m.swap.swap_read_folio(first.locked, CPU).expect("readable");
    assert!(is_all(&hit, 6) && m.reads() == 2, "one read for each time it came in");
    drop(first.folio);
    forget(&m, hit, entry);
    m.assert_empty();
}
