//! Tests of writeback from zswap that races with faults on the page and with users of the folio.

use super::*;
use crate::swapping::WritebackReason;
use crate::zswap::ZswapOptions;

fn zswap_machine() -> Machine {
    let m = machine();
    m.swap.zswap().set_options(ZswapOptions::default()).expect("percentages");
    m
}

#[test]
fn a_fault_during_writeback_maps_the_page_and_counts_no_readahead_hit() {
    let m = zswap_machine();
    let (mm, vpn, entry) = swapped_space(&m, 1, 5);
    let mm = Arc::new(mm);
    let faulting = mm.clone();
    m.script.on_write.set(move || assert_eq!(byte_at(&faulting, vpn, OTHER), Ok(5)));
    m.swap.zswap_writeback_entry(entry, CPU).expect("written");
    let folio = m.lookup(entry, CPU).expect("the mapped folio stays in the cache");
    assert!(folio.is_mapped() && !folio.has(FolioFlags::RECLAIM) && !folio.has(FolioFlags::DIRTY));
    drop(folio);
    assert_eq!((m.reads(), m.stat("swap_ra_hit"), m.stat("zswpwb"), m.stat("zswpin")), (0, 0, 1, 0));
    assert_eq!(pageout(&mm, vpn, 1), 1);
    assert_eq!((m.stat("pswpout"), byte_at(&mm, vpn, CPU)), (1, Ok(5)), "a clean page is not written again");
}

#[test]
fn a_writeback_does_not_wait_for_a_user_that_locks_the_folio() {
    let m = zswap_machine();
    let entry = m.out(order(0), 6);
    let swap = m.swap.clone();
    m.script.on_write.set(move || {
        let folio = swap.swap_cache_get_folio(entry, OTHER).expect("a slot").expect("cached");
        folio.folio().lock().keep();
        folio.into_raw();
    });
    m.swap.zswap_writeback_entry(entry, CPU).expect("written");
    let pfn = m.on(CPU).swap_cache_lookup(entry).expect("a slot").expect("the folio stays");
    let folio = FolioRef::adopt(m.swap.memory_of_folios().folio(pfn));
    assert!(folio.is_locked() && folio.has(FolioFlags::UPTODATE) && is_all(&folio, 6));
    folio.unlock();
    m.forget(folio, entry);
    m.swap.shrink_swap_cache(u64::MAX, CPU).expect("a CPU");
}

#[test]
fn a_writeback_with_the_id_of_another_slot_fails_and_keeps_the_owner() {
    let m = zswap_machine();
    let (entry, other) = (m.out(order(0), 7), m.out(order(0), 8));
    let id_of = |entry| m.swap.zswap().map_get(entry).expect("stored");
    let owner = m.swap.memcg().expect("enabled").root().id();
    let ageless = Shadow { memcg: owner, ..Shadow::default() };
    let age = m.word(entry).shadow().expect("swapped out");
    assert!(age.memcg == owner && age != ageless, "{age:?}");
    let error =
        m.swap.writeback(id_of(other), entry, WritebackReason::Pressure, CPU).expect_err("the id is of another slot");
    assert_eq!((error.errno(), m.stat("zswpwb"), m.writes()), (12, 0, 0));
    assert_eq!(m.word(entry).shadow(), Some(ageless));
    m.swap.check().expect("every invariant");
    for (entry, byte) in [(entry, 7), (other, 8)] {
        let mapped = m.try_in(entry, order(0), CPU).expect("the page is still swapped out");
        assert!(is_all(mapped.folio(), byte));
        m.swap.folio_unmap(mapped, CPU).expect("a CPU");
    }
}
