//! Tests of a swap-in that races with another swap-in, with the free of a slot, or with the reuse of a slot.

use super::*;
use crate::memcg::{DeadSwapin, MemcgSwitches, OwnerStore};

#[test]
fn two_swapins_of_one_slot_charge_and_read_once() {
    let m = machine();
    let entry = m.out(order(0), 5);
    // The fault of the CPU `OTHER` runs completely inside the first fault's request for memory.
    let theirs = Mutex::new(None);
    let mine = m.alloc_while(entry, order(0), || {
        *theirs.lock().expect("one thread") = Some(m.fault(entry, order(0), OTHER).expect("swapped out"));
    });
    assert_eq!(mine.map(|_| ()), Err(SwapError::AlreadyCached(entry)), "the second look sees the other folio");
    let folio = m.fault(entry, order(0), CPU).expect("cached");
    let other = theirs.into_inner().expect("one thread").expect("the other fault ran");
    assert_eq!((folio.pfn(), m.reads(), m.charges()), (other.pfn(), 1, 1));
    drop(other);
    m.forget(folio, entry);
}

#[test]
fn the_loser_of_a_swapin_race_waits_for_the_read_on_the_folio_lock() {
    let m = machine();
    let entry = m.out(order(0), 5);
    let swap = m.swap.clone();
    let (sender, losers) = std::sync::mpsc::channel();
    m.script.on_read.set(move || {
        let (found, finds) = std::sync::mpsc::channel();
        let loser = std::thread::spawn(move || {
            let folio = swap.swapin_entry(entry, &Swapin::new(OTHER, Orders::ZERO)).expect("cached");
            assert!(folio.is_locked() && !folio.has(FolioFlags::UPTODATE), "the read is under way");
            found.send(()).expect("the hook listens");
            let locked = folio.folio().lock();
            assert!(locked.has(FolioFlags::UPTODATE) && is_all(&folio, 5));
        });
        finds.recv().expect("the loser finds the folio");
        sender.send(loser).expect("the test listens");
    });
    let mapped = m.try_in(entry, order(0), CPU).expect("swapped out");
    assert_eq!((m.reads(), m.charges()), (1, 1));
    join(losers.try_recv().expect("the hook ran"));
    m.swap.folio_unmap(mapped, CPU).expect("a CPU");
}

#[test]
fn a_large_swapin_loses_against_a_small_one_inside_its_range() {
    // If slot 3 of the range has a small folio, the large swap-in takes order 0. If the target slot 0 has a small
    // folio, the large swap-in gets EEXIST.
    for (at, nr_charges) in [(3, 2), (0, 1)] {
        let m = machine();
        let entry = m.out(order(2), 6);
        let small = Mutex::new(None);
        let large = m.alloc_while(entry, order(2), || {
            let folio = m.fault(entry.plus(at), order(0), OTHER).expect("swapped out");
            *small.lock().expect("one thread") = Some(folio);
        });
        let expected = if at == 0 { Err(SwapError::AlreadyCached(entry)) } else { Ok(order(0)) };
        assert_eq!(large.as_ref().map(|folio| folio.order()).map_err(Clone::clone), expected);
        assert_eq!(m.charges(), nr_charges);
        drop((large, small));
        m.put(entry, 4, CPU);
    }
}

#[test]
fn a_small_swapin_loses_against_a_large_one_and_uses_its_folio() {
    let m = machine();
    let entry = m.out(order(2), 6);
    let small = m.alloc_while(entry.plus(2), order(0), || {
        drop(m.fault(entry, order(2), OTHER).expect("swapped out"));
    });
    assert_eq!(small.map(|_| ()), Err(SwapError::AlreadyCached(entry.plus(2))));
    let folio = m.fault(entry.plus(2), order(0), CPU).expect("cached");
    assert_eq!((folio.order(), folio.entry(), m.reads()), (order(2), Some(entry), 1));
    m.forget(folio, entry);
}

#[test]
fn a_fault_after_a_zap_gets_a_fresh_page() {
    let m = machine();
    let (mm, vpn, entry) = swapped_space(&m, 1, 9);
    mm.zap(vpn..Vpn(vpn.0 + 1), OTHER).expect("mapped");
    assert_eq!(m.fault(entry, order(0), CPU).map(|_| ()), Err(SwapError::NotInUse(entry)));
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(0), "the page table has no entry any more, so the page is fresh");
    assert_eq!(m.charges(), 0);
}

#[test]
fn a_free_between_the_two_checks_is_enoent_or_lowers_the_order() {
    let m = machine();
    let entry = m.out(order(2), 6);
    let gone = m.alloc_while(entry, order(0), || m.put(entry, 1, OTHER));
    assert_eq!(gone.map(|_| ()), Err(SwapError::NotInUse(entry)));
    let smaller = m.alloc_while(entry.plus(2), order(1), || m.put(entry.plus(3), 1, OTHER));
    assert_eq!(smaller.as_ref().map(|folio| folio.order()).map_err(Clone::clone), Ok(order(0)));
    assert_eq!(m.charges(), 1, "only the inserted folio is charged");
    drop(smaller);
    m.put(entry.plus(1), 2, CPU);
}

#[test]
fn a_free_after_insertion_keeps_the_slot_until_the_folio_is_removed() {
    let m = machine();
    let entry = m.out(order(0), 6);
    let swap = m.swap.clone();
    m.script.on_read.set(move || swap.put(entry, 1, OTHER).expect("one reference"));
    let folio = m.fault(entry, order(0), CPU).expect("inserted before the free");
    assert_eq!((m.count(entry), m.word(entry).kind()), (0, EntryKind::Pfn));
    m.swap.check().expect("every invariant");
    assert_eq!(m.on(CPU).folio_free_swap(folio.folio()), Ok(true));
    assert_eq!((m.word(entry).is_null(), folio.has(FolioFlags::DIRTY)), (true, true));
}

#[test]
fn a_free_during_a_charge_that_fails_frees_and_uncharges_the_slot() {
    let m = machine();
    let entry = m.out(order(0), 6);
    let swap = m.swap.clone();
    m.script.refuses_charges.store(true, Ordering::Relaxed);
    m.script.on_charge.set(move || swap.put(entry, 1, OTHER).expect("one reference"));
    assert_eq!(m.fault(entry, order(0), CPU).map(|_| ()), Err(SwapError::NoMemory(1)));
    assert!(m.word(entry).is_null());
    assert_eq!(m.owned_pages(), 0);
}

#[test]
fn a_fault_does_not_map_the_new_folio_of_a_reused_slot() {
    let m = machine();
    let (mm, vpn, entry) = swapped_space(&m, 1, 9);
    let foreign = m.alloc_while(entry, order(0), || {
        mm.zap(vpn..Vpn(vpn.0 + 1), OTHER).expect("mapped");
        // The freed slot is allocated for another folio, which stays dirty in memory.
        let folio = m.swap.folio_with(order(0), &[4]).expect("memory");
        let mut on_cpu = m.on(OTHER);
        while on_cpu.folio_alloc_swap(folio.folio()).expect("room") != entry {
            on_cpu.folio_free_swap(folio.folio()).expect("not locked");
        }
    });
    assert_eq!(foreign.map(|_| ()), Err(SwapError::AlreadyCached(entry)));
    assert_eq!(byte_at(&mm, vpn, CPU), Ok(0), "the fault never maps the other folio");
    let stray = m.lookup(entry, CPU).expect("cached");
    assert_eq!(m.on(CPU).folio_free_swap(stray.folio()), Ok(true));
}

#[test]
fn a_swapin_reads_the_new_data_of_a_reused_slot() {
    let m = machine();
    let entry = m.out(order(0), 1);
    let reuse = || {
        m.put(entry, 1, OTHER);
        // The hook swaps pages out until the allocator hands out the slot `entry` again, and frees the other slots.
        let others: Vec<_> =
            std::iter::repeat_with(|| m.out(order(0), 2)).take_while(|&taken| taken != entry).collect();
        others.into_iter().for_each(|other| m.put(other, 1, OTHER));
    };
    let folio = m.alloc_while(entry, order(0), reuse).expect("swapped out");
    assert!(is_all(&folio, 2), "the swap-in reads the new data, also when the shadow is the same");
    m.forget(folio, entry);
}

#[test]
fn slots_of_a_removed_owner_belong_to_a_group_with_an_id_when_the_payer_is_removed_too() {
    for owner_store in [OwnerStore::Array, OwnerStore::ClusterTable] {
        let m = machine_with(true, |switches| {
            switches.memcg = MemcgSwitches { owner_store, dead_swapin: Some(DeadSwapin::Reparent), ..switches.memcg };
        });
        let groups = m.swap.memcg().expect("enabled");
        let parent = groups.create(CssId::ROOT, "parent").expect("a new name").css();
        let owner = groups.create(parent, "owner").expect("a new name").css();
        let entry = m.out_of(owner, order(2), 7);
        m.swap.remove_group(owner, CPU).expect("an empty group");
        let swap = m.swap.clone();
        // The group `parent` is charged for the memory of the folio. The group is removed before the charge of the
        // slots moves.
        m.script.on_settlement.set(move || swap.remove_group(parent, OTHER).expect("an empty group"));
        let folio = m.fault(entry, order(2), CPU).expect("swapped out");
        m.swap.check().expect("every pin has a reason");
        assert_eq!((m.owned_pages(), groups.root().id_refs()), (4, 5), "{owner_store:?}: root owns the slots");
        m.forget(folio, entry);
    }
}
