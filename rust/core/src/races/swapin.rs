//! Swap-in against swap-in, against free, and against the reuse of a slot.

use super::*;

#[test]
fn of_two_swapins_of_one_slot_one_charges_and_reads() {
    let m = machine();
    let entry = m.out(order(0), 5);
    // The other fault runs completely while the first one waits for memory.
    let theirs = Mutex::new(None);
    let mine = m.alloc_while(entry, order(0), || {
        let how = Swapin::new(OTHER, Orders::ZERO);
        *theirs.lock().expect("one thread") = Some(m.swap.swapin_entry(entry, &how).expect("swapped out").into_raw());
    });
    assert_eq!(mine.map(|_| ()), Err(SwapError::AlreadyCached(entry)), "the second look sees the other's folio");
    let how = Swapin::new(CPU, Orders::ZERO);
    let folio = m.swap.swapin_entry(entry, &how).expect("a lookup now");
    let pfn = theirs.lock().expect("one thread").take().expect("it was there");
    assert_eq!((folio.pfn(), m.reads(), m.charges()), (pfn, 1, 1));
    drop(FolioRef::adopt(m.swap.memory_of_folios().folio(pfn)));
    forget(&m, folio, entry);
    m.assert_empty();
}

#[test]
fn the_loser_of_a_swapin_race_waits_for_the_read_on_the_folio_lock() {
    let m = machine();
    let entry = m.out(order(0), 5);
    let swap = m.swap.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    m.hook(&m.storage.on_read, move || {
        let other = std::thread::spawn(move || {
            let how = Swapin::new(OTHER, Orders::ZERO);
            let folio = swap.swapin_entry(entry, &how).expect("cached");
            assert!(folio.is_locked() && !folio.has(FolioFlags::UPTODATE), "the read is under way");
            sender.send(()).expect("the test listens");
            let locked = folio.folio().lock();
            assert!(locked.has(FolioFlags::UPTODATE) && is_all(&folio, 5));
        });
        receiver.recv().expect("it found the folio");
        drop(other);
    });
    let mapped = m.try_in(entry, order(0), CPU).expect("swapped out");
    assert_eq!((m.reads(), m.charges()), (1, 1));
    // The other thread drops its reference as soon as it has read the folio.
    while mapped.folio().refs() > 2 {
        std::thread::yield_now();
    }
    m.swap.folio_unmap(mapped, CPU).expect("a cpu");
    m.assert_empty();
}

#[test]
fn a_large_swapin_loses_against_a_small_one_inside_its_range() {
    // Elsewhere in the range: a lower order. At the target: the small folio.
    for (at, expected) in [(3, Ok(order(0))), (0, Err(()))] {
        let m = machine();
        let entry = m.out(order(2), 6);
        let small = Mutex::new(None);
        let large = m.alloc_while(entry, order(2), || {
            let how = Swapin::new(OTHER, Orders::ZERO);
            let folio = m.swap.swapin_entry(entry.plus(at), &how).expect("swapped out");
            *small.lock().expect("one thread") = Some(folio.into_raw());
        });
        match (&large, expected) {
            (Ok(folio), Ok(order)) => assert_eq!((folio.order(), m.charges()), (order, 2)),
            (Err(error), Err(())) => assert_eq!((error, m.charges()), (&SwapError::AlreadyCached(entry), 1)),
            other => panic!("{other:?}"),
        }
        let pfn = small.lock().expect("one thread").take().expect("it was there");
        drop((large, FolioRef::adopt(m.swap.memory_of_folios().folio(pfn))));
        m.swap.put(entry, 4, CPU).expect("one reference a slot");
        m.assert_empty();
    }
}

#[test]
fn a_small_swapin_loses_against_a_large_one_and_uses_its_folio() {
    let m = machine();
    let entry = m.out(order(2), 6);
    let small = m.alloc_while(entry.plus(2), order(0), || {
        let how = Swapin::new(OTHER, Orders::one(order(2)));
        drop(m.swap.swapin_entry(entry, &how).expect("swapped out"));
    });
    assert_eq!(small.map(|_| ()), Err(SwapError::AlreadyCached(entry.plus(2))));
    let how = Swapin::new(CPU, Orders::ZERO);
    let folio = m.swap.swapin_entry(entry.plus(2), &how).expect("cached");
    assert_eq!((folio.order(), folio.entry(), m.reads()), (order(2), Some(entry), 1));
    drop(folio);
    m.swap.put(entry, 4, CPU).expect("one reference a slot");
    m.assert_empty();
}

#[test]
fn a_zap_before_the_first_look_is_a_silent_retry() {
    let m = machine();
    let (mm, vpn) = space(&m, Orders::ZERO, 1, 9);
    assert_eq!(pageout(&mm, vpn, 1), 1);
    let entry = entry_of(&mm, vpn);
    mm.zap(vpn..Vpn(vpn.0 + 1), OTHER).expect("mapped");
    let how = Swapin::new(CPU, Orders::ZERO);
    assert_eq!(m.swap.swapin_entry(entry, &how).map(|_| ()), Err(SwapError::NotInUse(entry)));
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(0), "the entry does not match any more: a fresh page");
    assert_eq!(m.charges(), 0);
    drop(mm);
    m.assert_empty();
}

#[test]
fn a_free_between_the_looks_is_enoent_or_ebusy_and_charges_nobody() {
    let m = machine();
    let entry = m.out(order(2), 6);
    let gone = m.alloc_while(entry, order(0), || m.swap.put(entry, 1, OTHER).expect("one reference"));
    assert_eq!(gone.map(|_| ()), Err(SwapError::NotInUse(entry)));
    let smaller = m.alloc_while(entry.plus(2), order(1), || m.swap.put(entry.plus(3), 1, OTHER).expect("one"));
    assert_eq!(smaller.as_ref().map(|folio| folio.order()).map_err(Clone::clone), Ok(order(0)));
    assert_eq!(m.charges(), 1, "only the folio that got in");
    drop(smaller);
    m.swap.put(entry.plus(1), 2, CPU).expect("one reference a slot");
    m.assert_empty();
}

#[test]
fn a_free_after_insertion_keeps_the_slot_until_the_folio_goes() {
    let m = machine();
    let entry = m.out(order(0), 6);
    let swap = m.swap.clone();
    m.hook(&m.storage.on_read, move || swap.put(entry, 1, OTHER).expect("one reference"));
    let how = Swapin::new(CPU, Orders::ZERO);
    let folio = m.swap.swapin_entry(entry, &how).expect("inserted before the free");
    assert_eq!((m.count(entry), m.word(entry).kind()), (0, EntryKind::Pfn));
    m.swap.check().expect("every invariant");
    assert_eq!(m.swap.on_cpu(CPU).expect("a cpu").folio_free_swap(folio.folio()), Ok(true));
    assert_eq!((m.word(entry).is_null(), folio.has(FolioFlags::DIRTY)), (true, true));
    drop(folio);
    m.assert_empty();
}

#[test]
fn a_free_during_a_charge_that_fails_frees_and_uncharges_the_slot() {
    let m = machine();
    let entry = m.out(order(0), 6);
    let swap = m.swap.clone();
    m.ledger.refuses_swapin.store(true, Ordering::Relaxed);
    m.hook(&m.ledger.on_charge, move || swap.put(entry, 1, OTHER).expect("one reference"));
    let how = Swapin::new(CPU, Orders::ZERO);
    assert_eq!(m.swap.swapin_entry(entry, &how).map(|_| ()), Err(SwapError::NoMemory(1)));
    assert!(m.word(entry).is_null());
    assert_eq!(m.owned_pages(), 0);
    m.assert_empty();
}

#[test]
fn a_slot_that_is_reused_meanwhile_is_found_foreign_by_the_page_table() {
    let m = machine();
    let (mm, vpn) = space(&m, Orders::ZERO, 1, 9);
    assert_eq!(pageout(&mm, vpn, 1), 1);
    let entry = entry_of(&mm, vpn);
    let foreign = m.alloc_while(entry, order(0), || {
        mm.zap(vpn..Vpn(vpn.0 + 1), OTHER).expect("mapped");
        // The slot's next user gets it at once, and is still writing.
        let folio = m.swap.folio_with(order(0), &[4]).expect("memory");
        let mut on_cpu = m.swap.on_cpu(OTHER).expect("a cpu");
        while on_cpu.folio_alloc_swap(folio.folio()).expect("room") != entry {
            on_cpu.folio_free_swap(folio.folio()).expect("not locked");
        }
    });
    assert_eq!(foreign.map(|_| ()), Err(SwapError::AlreadyCached(entry)));
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(0), "never the other's data");
    let stray = m.swap.on_cpu(CPU).expect("a cpu").swap_cache_get_folio(entry).expect("a slot").expect("cached");
    assert_eq!(m.swap.on_cpu(CPU).expect("a cpu").folio_free_swap(stray.folio()), Ok(true));
    drop((stray, mm));
    m.assert_empty();
}

#[test]
fn a_slot_reused_and_swapped_out_again_is_read_after_insertion_whatever_its_shadow() {
    let m = machine();
    let entry = m.out(order(0), 1);
    let reuse = || {
        m.swap.put(entry, 1, OTHER).expect("one reference");
        let mut others = Vec::new();
        // Takes other slots until the allocator comes back to this one.
        loop {
            let taken = m.out(order(0), 2);
            if taken == entry {
                break;
            }
            others.push(taken);
        }
        others.into_iter().for_each(|other| m.swap.put(other, 1, OTHER).expect("one reference"));
    };
    let folio = m.alloc_while(entry, order(0), reuse).expect("swapped out");
    assert!(is_all(&folio, 2), "data of now, whether the shadow was the same or tried again");
    forget(&m, folio, entry);
    m.assert_empty();
}
