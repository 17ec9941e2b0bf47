//! Every error of a swap-in, forced under its exact condition.

use super::*;
use crate::base::types::CssId;
use crate::datapath::Content;
use crate::folio::LockedFolio;
use crate::memcg::{CounterKind, MemcgStat};
use crate::slots::owner::CacheExit;

#[test]
fn a_cached_target_is_eexist() {
    let m = machine();
    let entry = m.out(order(0), 1);
    let folio = m.alloc_while(entry, order(0), || {}).expect("swapped out");
    assert_eq!(m.alloc_while(entry, order(0), || {}).map(|_| ()), Err(SwapError::AlreadyCached(entry)));
    assert_eq!((m.reads(), m.charges()), (1, 1));
    forget(&m, folio, entry);
    m.assert_empty();
}

#[test]
fn a_free_target_is_enoent_with_and_without_a_table() {
    let m = machine();
    let far = SwpEntry::new(crate::base::types::SwpType(0), SwpOffset(2000));
    assert_eq!(m.alloc_while(far, order(0), || {}).map(|_| ()), Err(SwapError::NotInUse(far)));
    let entry = m.out(order(0), 1);
    assert_eq!(m.alloc_while(entry.plus(1), order(0), || {}).map(|_| ()), Err(SwapError::NotInUse(entry.plus(1))));
    // A slot that only the cache holds, and a bad slot, count as free.
    let header = SwpEntry::new(crate::base::types::SwpType(0), SwpOffset(0));
    let checked = m.swap.on_cpu(CPU).expect("a cpu").swap_cache_check_batch(entry, order(9));
    assert_eq!(checked, Err(SwapError::NotUniform(header)), "the header is in the range");
    assert_eq!(m.charges(), 0);
    m.swap.put(entry, 1, CPU).expect("one reference");
    m.assert_empty();
}

/// Gives a cached folio and its slot to a new group.
fn change_group(m: &Machine, locked: &LockedFolio<'_>) {
    let groups = m.swap.memcg().expect("enabled");
    let (root, other) = (groups.root(), groups.create(CssId::ROOT, "other").expect("a group"));
    locked.lru_del();
    locked.unbind(groups);
    groups.css_put(root, 1);
    for which in [CounterKind::Memory, CounterKind::Swap] {
        groups.charge(other, which, 1);
    }
    for stat in [MemcgStat::Swap, MemcgStat::Swapcached] {
        root.count(stat, -1);
        other.count(stat, 1);
    }
    locked.bind(groups, other);
}

#[test]
fn another_slot_that_is_cached_free_or_foreign_is_ebusy_and_a_lower_order_is_taken() {
    for spoil in ["cached", "free", "owner", "zero"] {
        let m = machine();
        let entry = m.out(order(2), 7);
        let other = entry.plus(3);
        let mut kept = None;
        match spoil {
            "cached" => kept = Some(m.alloc_while(other, order(0), || {}).expect("swapped out")),
            "free" => m.swap.put(other, 1, CPU).expect("one reference"),
            _ => {
                // The slot is swapped in and put back with another owner or mark.
                let folio = m.alloc_while(other, order(0), || {}).expect("swapped out");
                let locked = folio.folio().lock();
                let mut on_cpu = m.swap.on_cpu(CPU).expect("a cpu");
                if spoil == "zero" {
                    on_cpu.begin_writeout(&locked, Content::Zeros).expect("cached");
                } else {
                    change_group(&m, &locked);
                }
                on_cpu.del_locked(&locked, CacheExit::Dropped(Shadow::default())).expect("clean");
            }
        }
        let checked = m.swap.on_cpu(CPU).expect("a cpu").swap_cache_check_batch(entry, order(2));
        assert_eq!(checked.map(|_| ()), Err(SwapError::NotUniform(other)), "{spoil}");
        let folio = m.alloc_while(entry, order(2), || {}).expect("order 0 always works");
        assert_eq!((folio.order(), is_all(&folio, 7)), (order(0), true), "{spoil}");
        assert_eq!(m.stat("hugepages-16kB.swpin_fallback"), 1, "{spoil}");
        drop((folio, kept));
        let left = if spoil == "free" { 3 } else { 4 };
        m.swap.put(entry, left, CPU).expect("one reference a slot");
        m.assert_empty();
    }
}

#[test]
fn mixed_zero_marks_over_a_cached_target_are_ebusy_or_eexist_as_the_switch_says() {
    for (check, expected) in [(SwapinCheck::ZeroFirst, "busy"), (SwapinCheck::TargetFirst, "exists")] {
        let m = machine_with(true, check);
        let entry = m.out(order(1), 7);
        let folio = m.alloc_while(entry.plus(1), order(0), || {}).expect("swapped out");
        let locked = folio.folio().lock();
        let mut on_cpu = m.swap.on_cpu(CPU).expect("a cpu");
        on_cpu.begin_writeout(&locked, Content::Zeros).expect("cached");
        let checked = on_cpu.swap_cache_check_batch(entry.plus(1), order(1)).map(|_| ());
        drop((on_cpu, locked));
        match expected {
            "busy" => assert_eq!(checked, Err(SwapError::NotUniform(entry.plus(1)))),
            _ => assert_eq!(checked, Err(SwapError::AlreadyCached(entry.plus(1)))),
        }
        drop(folio);
        m.swap.put(entry, 2, CPU).expect("one reference a slot");
        m.assert_empty();
    }
}

#[test]
fn a_shadow_that_changed_meanwhile_is_eagain_and_tried_again_at_the_same_order() {
    // On a device that is not synchronous a swapped-in page keeps its slots, so that it is swapped out to the same
    // slots.
    let m = machine_with(false, SwapinCheck::ZeroFirst);
    drop_slots(&m, m.out(order(2), 1));
    let entry = m.out(order(2), 7);
    let before = m.word(entry);
    let folio = m.alloc_while(entry, order(2), || {
        let mapped = m.try_in(entry, order(2), OTHER).expect("swapped out");
        m.swap.swap_out(mapped, OTHER).map_err(|kept| kept.error).expect("cached");
        assert_ne!(m.word(entry), before, "another eviction");
    });
    assert_eq!(folio.as_ref().map(|folio| folio.order()).map_err(Clone::clone), Ok(order(2)));
    assert_eq!(m.stat("shadow_retries"), 1);
    assert_eq!(m.stat("hugepages-16kB.swpin_fallback"), 0, "EAGAIN is no reason for a lower order");
    forget(&m, folio.expect("looked at"), entry);
    m.assert_empty();
}

#[test]
fn no_memory_at_any_order_is_enomem_and_a_refused_charge_restores_the_shadow() {
    let m = machine();
    let entry = m.out(order(2), 7);
    let before = m.word(entry);
    let nothing = |order: Order, _| Err(SwapError::NoMemory(order.nr_pages().into()));
    let how = Swapin { allocate: Some(&nothing), ..Swapin::new(CPU, Orders::one(order(2))) };
    let failed = m.swap.swap_cache_alloc_folio(entry, &how).map(|_| ());
    assert_eq!(failed, Err(SwapError::NoMemory(1)), "the last order tried is 0");
    assert_eq!(m.stat("hugepages-16kB.swpin_fallback"), 1);
    m.ledger.refuses_swapin.store(true, Ordering::Relaxed);
    assert!(matches!(m.try_in(entry, order(2), CPU), Err(SwapError::NoMemory(_))));
    assert_eq!((m.word(entry), m.reads(), m.charges()), (before, 0, 0));
    assert_eq!(m.stat("hugepages-16kB.swpin_fallback_charge"), 1);
    assert_eq!(m.swap.memory_of_folios().nr_used_pages(), 0, "no page leaks");
    m.swap.check().expect("every invariant");
    m.ledger.refuses_swapin.store(false, Ordering::Relaxed);
    let mapped = m.try_in(entry, order(2), CPU).expect("charged now");
    assert!(is_all(mapped.folio(), 7));
    m.swap.folio_unmap(mapped, CPU).expect("a cpu");
    m.assert_empty();
}
