//! Tests of the number of bits for an age, of an example with both refault levels, and of each possible result of a
//! refault.

use std::sync::Arc;

use super::*;
use crate::base::types::MemcgId;
use LruvecStat::{ActivateAnon, RefaultAnon, RestoreAnon};

const CLASSIC: Workingset = Workingset::Classic { bucket_order: 0 };
const PAGE: FolioFacts = FolioFacts { nr_pages: 1, is_workingset: false, is_referenced: false, lru_refs: 0 };

/// Makes a lruvec W with two children A and B. A has 10 active anonymous pages, and B has 20 active anonymous pages.
fn tree() -> [Arc<Lruvec>; 3] {
    let w = Lruvec::new(MemcgId(10), 0, None);
    let a = Lruvec::new(MemcgId(11), 0, Some(w.clone()));
    let b = Lruvec::new(MemcgId(12), 0, Some(w.clone()));
    a.add_lru_pages(LruList::ActiveAnon, 10);
    b.add_lru_pages(LruList::ActiveAnon, 20);
    [w, a, b]
}

fn refault<'a>(shadow: Shadow, lruvec: &'a Lruvec, evicted_from: &'a Lruvec) -> Refault<'a> {
    let context = RefaultContext::Fault;
    Refault { nr_pages: 1, shadow, lruvec, evicted_from: Some(evicted_from), nr_swap_pages: 1000, context }
}

fn stats(lruvec: &Lruvec) -> [u64; 3] {
    [RefaultAnon, ActivateAnon, RestoreAnon].map(|stat| lruvec.stat(stat))
}

#[test]
fn widths_follow_the_reference() {
    let widths = |nodes| [file_eviction_bits(nodes), anon_eviction_bits(nodes, 4), anon_eviction_bits(nodes, 5)];
    assert_eq!([0, 6, 10].map(widths), [[46, 42, 41], [40, 36, 35], [36, 32, 31]]);
}

#[test]
fn ages_are_shortened_only_for_more_pages_than_they_tell_apart() {
    let sixteen_tib_pages = 1u64 << 32;
    assert_eq!(bucket_order(sixteen_tib_pages, anon_eviction_bits(10, 5)), 1);
    assert_eq!(bucket_order(sixteen_tib_pages + 1, anon_eviction_bits(10, 5)), 2);
    assert_eq!(bucket_order(sixteen_tib_pages / 2, anon_eviction_bits(10, 5)), 0);
    assert_eq!([0, 1, 2, 1 << 24].map(|pages| bucket_order(pages, EVICTION_BITS)), [0; 4]);
}

#[test]
fn owner_level_activates_where_reclaim_root_does_not() {
    let [w, a, b] = tree();
    let shadow = CLASSIC.evict(PAGE, &a, RefaultLevel::Owner);
    assert_eq!(shadow, Shadow { memcg: MemcgId(11), ..Shadow::default() });
    (0..50).for_each(|_| _ = CLASSIC.evict(PAGE, &b, RefaultLevel::Owner));
    assert_eq!([&w, &a, &b].map(|lruvec| lruvec.nonresident_age()), [51, 1, 50]);
    let verdict = CLASSIC.refault(refault(shadow, &a, &a));
    assert!(verdict.is_counted && verdict.is_recent && verdict.is_activated && !verdict.is_restored);
    assert_eq!((stats(&a), stats(&w), stats(&b)), ([1, 1, 0], [1, 1, 0], [0; 3]));
    assert_eq!([w.nonresident_age(), a.nonresident_age()], [52, 2], "an eviction and an activation age the lists");

    let [w, a, b] = tree();
    let shadow = CLASSIC.evict(PAGE, &a, RefaultLevel::ReclaimRoot(&w));
    assert_eq!(shadow, Shadow { memcg: MemcgId(10), ..Shadow::default() });
    (0..50).for_each(|_| _ = CLASSIC.evict(PAGE, &b, RefaultLevel::ReclaimRoot(&w)));
    assert_eq!([&w, &a, &b].map(|lruvec| lruvec.nonresident_age()), [51, 0, 0]);
    assert_eq!(w.lru_pages(LruList::ActiveAnon), 30);
    let verdict = CLASSIC.refault(refault(shadow, &a, &w));
    assert_eq!(verdict, RefaultVerdict { is_counted: true, ..RefaultVerdict::default() });
    assert_eq!((stats(&a), stats(&w)), ([1, 0, 0], [1, 0, 0]));
    assert_eq!(w.stat_local(RefaultAnon), 0);
}

#[test]
fn distance_is_compared_with_the_pages_that_could_make_room() {
    let lruvec = Lruvec::new(MemcgId(1), 3, None);
    let shadow = CLASSIC.evict(FolioFacts { nr_pages: 16, ..PAGE }, &lruvec, RefaultLevel::Owner);
    lruvec.add_lru_pages(LruList::ActiveFile, 5);
    lruvec.add_lru_pages(LruList::InactiveFile, 5);
    lruvec.add_lru_pages(LruList::ActiveAnon, 6);
    lruvec.add_lru_pages(LruList::InactiveAnon, 1000);
    let folio = Refault { nr_pages: 16, ..refault(shadow, &lruvec, &lruvec) };
    // If no page can be swapped out, the distance 16 is compared with the 10 file pages only.
    assert!(!CLASSIC.refault(Refault { nr_swap_pages: 0, ..folio }).is_recent, "16 > 10");
    assert!(CLASSIC.refault(folio).is_recent, "the distance 16 is at most 10 file and 6 anonymous pages");
    assert_eq!((shadow.node, lruvec.nonresident_age()), (3, 32));
    assert!(!CLASSIC.refault(folio).is_recent, "the activation of 16 pages made the distance 32");
    assert_eq!(stats(&lruvec), [48, 16, 0]);
    lruvec.add_lru_pages(LruList::InactiveFile, -5);
    assert_eq!(lruvec.lru_pages(LruList::InactiveFile), 0);
}

#[test]
fn age_wraps_at_the_bits_of_the_shadow() {
    let lruvec = Lruvec::new(MemcgId(1), 0, None);
    lruvec.add_lru_pages(LruList::ActiveAnon, 7);
    let almost = (1u64 << EVICTION_BITS) - 3;
    (0..almost >> 31).for_each(|_| _ = lruvec.age_nonresident(1 << 31));
    lruvec.age_nonresident((almost & ((1 << 31) - 1)) as u32);
    let shadow = CLASSIC.evict(PAGE, &lruvec, RefaultLevel::Owner);
    assert_eq!(shadow.eviction, almost);
    lruvec.age_nonresident(6);
    assert_eq!(lruvec.nonresident_age(), (1 << EVICTION_BITS) + 4);
    assert!(CLASSIC.refault(refault(shadow, &lruvec, &lruvec)).is_recent, "the distance is 7, over the wrap");
    assert!(!CLASSIC.refault(refault(shadow, &lruvec, &lruvec)).is_recent, "the distance is 8");
    assert_eq!(CLASSIC.evict(PAGE, &lruvec, RefaultLevel::Owner).eviction, 5, "the age is masked, not saturated");
}

#[test]
fn buckets_round_the_eviction_down() {
    let coarse = Workingset::Classic { bucket_order: 2 };
    let lruvec = Lruvec::new(MemcgId(1), 0, None);
    lruvec.add_lru_pages(LruList::ActiveAnon, 4);
    lruvec.age_nonresident(7);
    let shadow = coarse.evict(PAGE, &lruvec, RefaultLevel::Owner);
    assert_eq!(shadow.eviction, 1);
    assert!(coarse.refault(refault(shadow, &lruvec, &lruvec)).is_recent, "the distance 8 - 4 is at most 4");
    assert!(!coarse.refault(refault(shadow, &lruvec, &lruvec)).is_recent, "the distance 9 - 4 is over 4");
}

#[test]
fn page_of_the_working_set_is_restored_and_its_cost_noted() {
    let [w, a, _b] = tree();
    w.add_lru_pages(LruList::ActiveFile, 100);
    let shadow = CLASSIC.evict(FolioFacts { is_workingset: true, ..PAGE }, &a, RefaultLevel::Owner);
    let verdict = CLASSIC.refault(Refault { nr_pages: 2, ..refault(shadow, &a, &a) });
    assert!(verdict.is_activated && verdict.is_restored && verdict.lru_refs.is_none());
    assert_eq!((stats(&a), stats(&w)), ([2; 3], [2; 3]));
    assert_eq!((a.cost().anon_pages, w.cost().anon_pages), (2, 2));
    a.note_cost(LruType::File, 2);
    let (own, above) = (a.cost(), w.cost());
    // In lruvec A the cost 4 is over a quarter of 10 pages, so both costs are halved.
    assert_eq!((own.anon_pages, own.file_pages), (1, 1));
    assert_eq!((above.anon_pages, above.file_pages), (2, 2), "the cost 4 is at most a quarter of 130 pages");
}

#[test]
fn refault_of_a_memcg_that_is_gone_or_after_four_generations_is_never_recent() {
    let lruvec = Lruvec::new(MemcgId(7), 1, None);
    let counted = RefaultVerdict { is_counted: true, ..RefaultVerdict::default() };
    let shadow = Workingset::Mglru.evict(PAGE, &lruvec, RefaultLevel::Owner);
    let folio = refault(shadow, &lruvec, &lruvec);
    let gone = Refault { evicted_from: None, ..folio };
    assert_eq!((CLASSIC.refault(gone), Workingset::Mglru.refault(gone)), (counted, RefaultVerdict::default()));
    assert_eq!(stats(&lruvec), [1, 0, 0]);
    lruvec.lrugen.inc_max_seq();
    assert_eq!(Workingset::Mglru.refault(folio), counted);
}

#[test]
fn mglru_refault_restores_references_or_the_working_set() {
    let lruvec = Lruvec::new(MemcgId(7), 1, None);
    let used = FolioFacts { nr_pages: 4, is_workingset: false, is_referenced: true, lru_refs: 3 };
    let shadow = Workingset::Mglru.evict(used, &lruvec, RefaultLevel::Owner);
    assert_eq!(shadow, Shadow { eviction: 3, memcg: MemcgId(7), node: 1, is_workingset: false });
    let verdict = Workingset::Mglru.refault(Refault { nr_pages: 4, ..refault(shadow, &lruvec, &lruvec) });
    let restored = RefaultVerdict { is_counted: true, is_recent: true, lru_refs: Some(3), ..RefaultVerdict::default() };
    assert_eq!((verdict, stats(&lruvec)), (restored, [4, 0, 0]));
    let tier = lruvec.lrugen.read_ctrl_pos(LruType::Anon, 2..3, 1);
    assert_eq!((tier.refaulted, tier.total), (4, 4));

    let shadow = Workingset::Mglru.evict(FolioFacts { is_workingset: true, ..PAGE }, &lruvec, RefaultLevel::Owner);
    let folio = refault(shadow, &lruvec, &lruvec);
    let verdict = Workingset::Mglru.refault(Refault { context: RefaultContext::Other, ..folio });
    assert!(verdict.is_restored && !verdict.is_activated && verdict.lru_refs.is_none());
    assert!(Workingset::Mglru.refault(folio).is_activated);
    assert_eq!(stats(&lruvec), [6, 1, 2]);
    assert_eq!(lruvec.nonresident_age(), 0, "a refault under MGLRU leaves the age of the classic lists");
}

#[test]
fn mglru_remembers_the_owner_whatever_made_reclaim_run_and_counts_only_there() {
    let [w, a, b] = tree();
    let shadow = Workingset::Mglru.evict(PAGE, &a, RefaultLevel::ReclaimRoot(&w));
    assert_eq!(shadow.memcg, MemcgId(11));
    assert_eq!(Workingset::Mglru.refault(refault(shadow, &b, &a)), RefaultVerdict::default());
    assert_eq!((stats(&a), stats(&b), stats(&w)), ([0; 3], [0; 3], [0; 3]));
}

#[test]
fn references_count_from_the_first_use() {
    let refs = |is_referenced, lru_refs| FolioFacts { is_referenced, lru_refs, ..PAGE }.refs();
    assert_eq!([refs(false, 0), refs(true, 0), refs(true, 3), refs(false, 3)], [0, 1, 4, 0]);
}

#[test]
fn rules_are_found_by_name() {
    for name in ["classic", "mglru"] {
        assert_eq!(Workingset::from_name(name, 1 << 20).map(Workingset::name), Ok(name));
    }
    let error = Workingset::from_name("lru", 1).expect_err("no such rule");
    assert_eq!((error.to_string().as_str(), error.errno()), ("workingset \"lru\" is not one of classic, mglru", 22));
}

#[test]
fn shadows_that_no_eviction_left_are_told_apart() {
    let id_only = Shadow { memcg: MemcgId(9), ..Shadow::default() };
    assert!(!is_from_eviction(Shadow::default()) && !is_from_eviction(id_only));
    assert!(is_from_eviction(Shadow { eviction: 1, ..id_only }));
    assert!(is_from_eviction(Shadow { node: 1, ..id_only }));
    assert!(is_from_eviction(Shadow { is_workingset: true, ..id_only }));
}

#[test]
fn threads_age_and_count_every_page() {
    let [w, a, b] = tree();
    std::thread::scope(|scope| {
        for lruvec in [&a, &a, &b, &b] {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let shadow = CLASSIC.evict(PAGE, lruvec, RefaultLevel::Owner);
                    CLASSIC.refault(refault(shadow, lruvec, lruvec));
                }
            });
        }
    });
    assert_eq!((a.stat(RefaultAnon), w.stat(RefaultAnon), w.stat_local(RefaultAnon)), (2000, 4000, 0));
    assert_eq!(w.nonresident_age(), 4000 + w.stat(ActivateAnon));
    assert_eq!(a.nonresident_age(), 2000 + a.stat_local(ActivateAnon));
}

#[test]
fn flushed_statistics_stand_still_until_a_flush() {
    let root = Lruvec::with_stat_reads(MemcgId(1), 0, None, MemcgStatReads::Flushed);
    let a = Lruvec::new(MemcgId(2), 0, Some(root.clone()));
    let read = |lruvec: &Lruvec| (lruvec.page_state(LruList::ActiveAnon), lruvec.lru_pages(LruList::ActiveAnon));
    a.add_lru_pages(LruList::ActiveAnon, 10);
    assert_eq!((read(&a), read(&root)), ((0, 10), (0, 10)));
    a.flush_stats();
    assert_eq!((read(&a), read(&root)), ((10, 10), (10, 10)));
    a.add_lru_pages(LruList::ActiveAnon, 5);
    a.count(LruvecStat::ActivateAnon, 5);
    assert_eq!((read(&a), read(&root), a.has_new_refaults()), ((10, 15), (10, 15), false));
    a.flush_stats_after(10);
    assert_eq!(read(&a), (10, 15), "10 updates are not more than 10");
    a.flush_stats_after(9);
    assert_eq!((read(&a), read(&root), a.has_new_refaults()), ((15, 15), (15, 15), true));
    // With a largest number of updates a flush needs no request.
    root.set_max_updates(4);
    a.add_lru_pages(LruList::ActiveAnon, -3);
    assert_eq!(read(&a), (15, 12));
    a.add_lru_pages(LruList::ActiveAnon, -1);
    assert_eq!((read(&a), a.max_updates()), ((11, 11), 4));
    // A cost is halved while it exceeds a quarter of the flushed sizes.
    root.set_max_updates(0);
    a.add_lru_pages(LruList::InactiveAnon, 1000);
    a.note_cost(LruType::Anon, 8);
    assert_eq!(a.cost().anon_pages, 4, "8 pages exceed a quarter of 11 pages");
    a.flush_stats();
    a.note_cost(LruType::Anon, 8);
    assert_eq!(a.cost().anon_pages, 12);
    a.note_cost(LruType::Anon, 0);
    assert_eq!(a.cost().anon_pages, 12);
}

#[test]
fn file_pages_of_the_machine_belong_to_the_working_set() {
    let lruvec = Lruvec::new(MemcgId(1), 0, None);
    let rule = Workingset::Classic { bucket_order: 0 };
    let shadow = rule.evict(FolioFacts { nr_pages: 1, ..FolioFacts::default() }, &lruvec, RefaultLevel::Owner);
    lruvec.age_nonresident(99);
    let refault = Refault {
        nr_pages: 1,
        shadow,
        lruvec: &lruvec,
        evicted_from: Some(&lruvec),
        nr_swap_pages: 1,
        context: RefaultContext::Fault,
    };
    assert!(!rule.refault(refault).is_recent);
    lruvec.set_other_file_pages(100);
    assert!(rule.refault(refault).is_recent, "100 pages were evicted, and 100 file pages are in memory");
}
