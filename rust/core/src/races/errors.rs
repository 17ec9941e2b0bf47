//! Tests of the errors of a swap-in. Each test creates the one condition that causes the error.

use super::*;
use crate::datapath::Content;
use crate::machine::profile::SwapinCheck;

#[test]
fn a_cached_target_is_eexist() {
    let m = machine();
    let entry = m.out(order(0), 1);
    let folio = m.alloc_while(entry, order(0), || {}).expect("swapped out");
    assert_eq!(m.alloc_while(entry, order(0), || {}).map(|_| ()), Err(SwapError::AlreadyCached(entry)));
    assert_eq!((m.reads(), m.charges()), (1, 1));
    m.forget(folio, entry);
}

#[test]
fn a_free_target_is_enoent_with_and_without_a_table() {
    let m = machine();
    let entry = m.out(order(0), 1);
    let (header, far) = (SwpEntry::new(SwpType(0), SwpOffset(0)), SwpEntry::new(SwpType(0), SwpOffset(2000)));
    for free in [entry.plus(1), far] {
        assert_eq!(m.alloc_while(free, order(0), || {}).map(|_| ()), Err(SwapError::NotInUse(free)));
    }
    // The range of order 9 contains slot 0, which is the header slot. `swap_cache_check_batch` treats the header
    // slot, which is marked bad, like a free slot.
    let checked = m.on(CPU).swap_cache_check_batch(entry, order(9));
    assert_eq!(checked, Err(SwapError::NotUniform(header)));
    assert_eq!(m.charges(), 0);
    m.put(entry, 1, CPU);
}

#[test]
fn another_slot_that_is_cached_free_or_foreign_is_ebusy_and_a_lower_order_is_taken() {
    for spoil in ["cached", "free", "owner", "zero"] {
        let m = machine();
        let groups = m.swap.memcg().expect("enabled");
        let owner =
            if spoil == "owner" { groups.create(CssId::ROOT, "other").expect("a group") } else { groups.root() };
        let byte = if spoil == "zero" { 0 } else { 7 };
        // The large swap-in covers the slots 4 to 7. Only slot 7 differs: it is cached, free, owned by another group,
        // or a slot of zeros.
        let first = m.out(order(0), 7);
        (2..7).for_each(|_| _ = m.out(order(0), 7));
        let (entry, other) = (first.plus(3), m.out_of(owner.css(), order(0), byte));
        assert_eq!(other, entry.plus(3));
        let kept = (spoil == "cached").then(|| m.alloc_while(other, order(0), || {}).expect("swapped out"));
        if spoil == "free" {
            m.put(other, 1, CPU);
        }
        let checked = m.on(CPU).swap_cache_check_batch(entry, order(2));
        assert_eq!(checked.map(|_| ()), Err(SwapError::NotUniform(other)), "{spoil}");
        let folio = m.alloc_while(entry, order(2), || {}).expect("order 0 always works");
        assert_eq!((folio.order(), is_all(&folio, 7)), (order(0), true), "{spoil}");
        assert_eq!(m.stat("hugepages-16kB.swpin_fallback"), 1, "{spoil}");
        drop((folio, kept));
        m.put(first, if spoil == "free" { 6 } else { 7 }, CPU);
    }
}

#[test]
fn the_switch_decides_whether_mixed_zero_marks_over_a_cached_target_are_ebusy_or_eexist() {
    let errors = [SwapError::NotUniform, SwapError::AlreadyCached];
    for (check, error) in [SwapinCheck::ZeroFirst, SwapinCheck::TargetFirst].into_iter().zip(errors) {
        let m = machine_with(true, |switches| switches.swapin_check = check);
        let entry = m.out(order(1), 7);
        let folio = m.alloc_while(entry.plus(1), order(0), || {}).expect("swapped out");
        let locked = folio.folio().lock();
        m.on(CPU).begin_writeout(&locked, Content::Zeros).expect("cached");
        let checked = m.on(CPU).swap_cache_check_batch(entry.plus(1), order(1)).map(|_| ());
        assert_eq!(checked, Err(error(entry.plus(1))), "{check:?}");
        drop(locked);
        drop(folio);
        m.put(entry, 2, CPU);
    }
}

#[test]
fn a_shadow_that_changed_meanwhile_is_eagain_and_tried_again_at_the_same_order() {
    // The device is not synchronous, so a swapped-in page keeps its slots. The next swap-out of the page uses the
    // same slots.
    let m = readahead_machine();
    let first = m.out(order(2), 1);
    m.put(first, 4, CPU);
    let entry = m.out(order(2), 7);
    let before = m.word(entry);
    let folio = m.alloc_while(entry, order(2), || {
        let mapped = m.try_in(entry, order(2), OTHER).expect("swapped out");
        m.swap.swap_out(mapped, OTHER).map_err(|kept| kept.error).expect("cached");
        assert_ne!(m.word(entry), before, "another eviction left another shadow");
    });
    let folio = folio.expect("the second attempt succeeds");
    assert_eq!((folio.order(), m.stat("shadow_retries")), (order(2), 1));
    assert_eq!(m.stat("hugepages-16kB.swpin_fallback"), 0, "EAGAIN is no reason for a lower order");
    m.forget(folio, entry);
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
    m.script.refuses_charges.store(true, Ordering::Relaxed);
    assert!(matches!(m.try_in(entry, order(2), CPU), Err(SwapError::NoMemory(_))));
    assert_eq!((m.word(entry), m.reads(), m.charges()), (before, 0, 0));
    assert_eq!(m.stat("hugepages-16kB.swpin_fallback_charge"), 1);
    assert_eq!(m.swap.memory_of_folios().nr_used_pages(), 0, "no page leaks");
    m.swap.check().expect("every invariant");
    m.script.refuses_charges.store(false, Ordering::Relaxed);
    let mapped = m.try_in(entry, order(2), CPU).expect("the charge passes now");
    assert!(is_all(mapped.folio(), 7));
    m.swap.folio_unmap(mapped, CPU).expect("a CPU");
}
