//! Tests of the index of clusters. A random sequence of steps compares the index with an ordered set. Further tests
//! find clusters by number while other threads create and destroy clusters.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::index::Index;
use super::{ClusterFlag, Clusters};
use crate::base::types::{ClusterIdx, MemcgId};
use crate::table::{OwnerForm, Shadow, SwapTableEntry};

#[derive(Clone, Debug)]
enum Step {
    /// Stores up to `nr` clusters in a range, each under the lowest free number. Fields: `nr`, start and end of the
    /// range.
    Store(u32, u32, u32),
    /// Erases up to `nr` members of the set. Fields: `nr`, rank of the member that is erased each time.
    Erase(u32, usize),
    /// Asks whether a number is a member, and which is the first member from that number on.
    Look(u32),
}

fn step(capacity: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..200u32, 0..capacity, 0..=capacity).prop_map(|(nr, start, end)| Step::Store(nr, start, end)),
        (1..200u32, Just(0), Just(capacity)).prop_map(|(nr, start, end)| Step::Store(nr, start, end)),
        (1..150u32, any::<usize>()).prop_map(|(nr, nth)| Step::Erase(nr, nth)),
        (0..capacity + 10).prop_map(Step::Look),
    ]
}

fn run(capacity: u32, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (index, mut model) = (Index::dynamic(capacity.min(70), capacity).expect("memory"), BTreeSet::new());
    for step in steps {
        match step {
            Step::Store(nr, start, end) => {
                for _ in 0..nr {
                    let lowest = (start..end).find(|number| !model.contains(number));
                    let mut prepared = None;
                    let stored = index.store_lowest(start..end, 7, |idx| prepared = Some(idx));
                    prop_assert_eq!(stored.map(|idx| idx.0), lowest);
                    prop_assert_eq!(prepared, stored, "`prepare` runs exactly when a number is stored");
                    model.extend(lowest);
                }
            }
            Step::Erase(nr, nth) => {
                for _ in 0..nr.min(model.len() as u32) {
                    let number = *model.iter().nth(nth % model.len()).expect("a member");
                    index.erase(ClusterIdx(number));
                    model.remove(&number);
                }
            }
            Step::Look(at) => {
                prop_assert_eq!(index.find(ClusterIdx(at), Some), model.contains(&at).then_some(7));
                prop_assert_eq!(index.next(at).map(|idx| idx.0), model.range(at..).next().copied());
            }
        }
        prop_assert_eq!(index.len() as usize, model.len());
    }
    let members = std::iter::successors(index.next(0), |idx| index.next(idx.0 + 1)).map(|idx| idx.0);
    prop_assert!(members.eq(model), "the members differ");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_small_index_is_a_set(steps in prop::collection::vec(step(100), 1..60)) {
        run(100, steps)?;
    }

    #[test]
    fn an_index_of_two_levels_is_a_set(steps in prop::collection::vec(step(4100), 1..60)) {
        run(4100, steps)?;
    }
}

#[test]
fn a_full_index_of_every_level_finds_what_is_given_back() {
    let capacity = 64 * 64 * 64 + 70;
    let index = Index::dynamic(capacity.min(70), capacity).expect("memory");
    let store = || index.store_lowest(0..capacity, 1, |_| ()).map(|idx| idx.0);
    assert!((0..capacity).all(|number| store() == Some(number)));
    assert_eq!((store(), index.len()), (None, capacity));
    for gone in [capacity - 1, 64 * 64 * 64, 64 * 64 * 64 - 1, 64 * 64, 4095, 64, 63, 0] {
        index.erase(ClusterIdx(gone));
    }
    assert_eq!(index.store_lowest(4096..5000, 1, |_| ()), Some(ClusterIdx(4096)));
    assert_eq!(index.store_lowest(65..4095, 1, |_| ()), None, "every number of the range is in use");
    let again: Vec<_> = std::iter::from_fn(store).collect();
    assert_eq!(again, [0, 63, 64, 4095, 64 * 64 * 64 - 1, 64 * 64 * 64, capacity - 1]);
}

#[test]
fn bytes_are_those_of_the_pages_touched() {
    let index = Index::dynamic(1 << 9, 1 << 23).expect("memory");
    assert_eq!(index.touched_bytes(), 0);
    let store = || index.store_lowest(0..1 << 23, 1, |_| ()).expect("room");
    store();
    assert_eq!(index.touched_bytes(), 4 * 4096, "one page of words and one page of each of three levels");
    (1..513).for_each(|_| _ = store());
    assert_eq!(index.touched_bytes(), 5 * 4096);
    index.erase(ClusterIdx(512));
    assert_eq!(index.touched_bytes(), 5 * 4096, "an erased number keeps its word, because the word counts the uses");
}

/// Creates a cluster, marks its first slot with the cluster's number, and destroys the cluster; repeats these steps
/// until the time `end`.
fn come_and_go(clusters: &Clusters, end: Instant) {
    while Instant::now() < end {
        let mut ci = clusters.create().expect("more numbers than threads");
        let (idx, slot) = (ci.idx(), ci.table().expect("a new cluster has a table"));
        let shadow = Shadow { memcg: MemcgId(idx.0 as u16 + 1), ..Shadow::default() };
        assert!(slot.get(0).is_null(), "a new cluster is empty");
        slot.set(0, SwapTableEntry::swapped_out(shadow, 1));
        ci.add_count(1);
        drop(ci);
        std::thread::yield_now();
        let mut ci = clusters.lock(idx).expect("a slot with a count keeps the cluster");
        ci.table().expect("in use").set(0, SwapTableEntry::NULL);
        ci.sub_count(1);
        ci.destroy();
    }
}

#[test]
fn a_lock_by_number_is_that_clusters_or_there_is_none() {
    let clusters = Clusters::dynamic(64, OwnerForm::Entry, false).expect("memory");
    let (mut nr_found, mut nr_none) = (0u32, 0u32);
    let end = Instant::now() + Duration::from_millis(500);
    std::thread::scope(|scope| {
        (0..2).for_each(|_| _ = scope.spawn(|| come_and_go(&clusters, end)));
        let mut idx = ClusterIdx(0);
        while Instant::now() < end {
            idx.0 = (idx.0 + 1) % 3;
            let Some(ci) = clusters.lock(idx) else {
                nr_none += 1;
                continue;
            };
            nr_found += 1;
            let word = ci.table().map(|table| table.get(0));
            let owner = word.and_then(|word| word.shadow()).map(|shadow| shadow.memcg);
            assert_eq!((owner, ci.flag()), (Some(MemcgId(idx.0 as u16 + 1)), ClusterFlag::None), "{idx} is {word:?}");
        }
    });
    assert!(nr_found > 1000 && nr_none > 1000, "too few lookups: {nr_found} found a cluster, {nr_none} found none");
    assert_eq!((clusters.nr_live(), clusters.nr_tables().0), (0, 0));
}

/// A lookup reads from the index the number of a cluster's record, and then the cluster is destroyed. The lookup must
/// not accept the record, neither while the record is dead nor when the record belongs to a new cluster.
#[test]
fn a_record_that_is_dead_or_another_clusters_is_not_taken_for_the_old_one() {
    let clusters = Clusters::dynamic(2, OwnerForm::Entry, false).expect("memory");
    let (mut first, mut second) = (clusters.create().expect("room"), clusters.create().expect("room"));
    let (stale, old) = (second.record, second.idx());
    first.destroy();
    second.destroy();
    drop((first, second));
    assert!(clusters.lock_record(stale, old).is_none(), "the record is dead");
    // The new cluster gets the lowest number and the record that was released last.
    let again = clusters.create().expect("room");
    assert_eq!((again.record, again.idx()), (stale, ClusterIdx(0)));
    drop(again);
    assert!(clusters.lock_record(stale, old).is_none(), "the record is cluster 0's");
    assert!(clusters.lock_record(stale, ClusterIdx(0)).is_some_and(|ci| ci.count() == 0));
}
