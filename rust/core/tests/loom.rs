//! Tests of the lockless protocols of the core. The `loom` model tries every interleaving, and every stale read that
//! the memory model allows.
//!
//! This binary compiles files of the core again with locks and atomics that the model controls.

mod shim;

/// The locks and atomics that the model controls.
mod model {
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) mod atomics {
        pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    }
}

#[path = "../src/cluster/index.rs"]
#[expect(dead_code, reason = "the models use a part of it")]
mod index;
#[path = "../src/folio/refs.rs"]
#[expect(dead_code, reason = "the models use a part of it")]
mod refs;
#[path = "../src/table/shown.rs"]
mod shown;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use refs::FolioRefs;
use shim::device::Device;
// The files of the core name these modules as `crate::base`, `crate::containers` and `crate::table`.
use shim::{base, containers, table};
use shown::ShownTable;

/// A table with one entry moves from cluster 0 to cluster 1 while a reader looks up the entries of both clusters.
#[test]
fn a_lookup_never_sees_another_clusters_entry() {
    loom::model(|| {
        let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let entry = Arc::new(AtomicU64::new(0));
        // `pool` is the lock of the table pool. A thread takes this lock to release and to allocate a table.
        let pool = Arc::new(Mutex::new(()));
        ShownTable(&words[0]).attach(1);
        entry.store(100, Ordering::Relaxed);
        let writer = {
            let (words, entry, pool) = (words.clone(), entry.clone(), pool.clone());
            thread::spawn(move || {
                entry.store(0, Ordering::Relaxed);
                ShownTable(&words[0]).detach();
                drop(pool.lock().expect("no panic"));
                drop(pool.lock().expect("no panic"));
                ShownTable(&words[1]).attach(1);
                entry.store(200, Ordering::Relaxed);
            })
        };
        let look = |_| entry.load(Ordering::Relaxed);
        let (mine, other) = (ShownTable(&words[0]).read(look), ShownTable(&words[1]).read(look));
        assert!(matches!(mine, None | Some(0 | 100)), "cluster 0 shows {mine:?}");
        assert!(matches!(other, None | Some(0 | 200)), "cluster 1 shows {other:?}");
        writer.join().expect("no panic");
    });
}

/// One thread freezes a folio, removes the folio from slot 0, frees the folio and uses it again as the folio of slot
/// 1. At the same time a reader looks slot 0 up.
#[test]
fn a_lookup_with_a_reference_has_the_slots_folio() {
    loom::model(|| {
        let slots = Arc::new([AtomicU64::new(7), AtomicU64::new(0)]);
        // `refs` starts with the reference of the cache. `owner` is in the place of a non-atomic field of the folio,
        // which has the number of the folio's slot.
        let (refs, owner) = (Arc::new(FolioRefs(AtomicU32::new(1))), Arc::new(AtomicU32::new(0)));
        let remover = {
            let (slots, refs, owner) = (slots.clone(), refs.clone(), owner.clone());
            thread::spawn(move || {
                if !refs.freeze(1) {
                    return;
                }
                slots[0].store(0, Ordering::Relaxed);
                // The folio is free here. The next user of the folio writes `owner` and publishes the folio in slot
                // 1.
                owner.store(1, Ordering::Relaxed);
                refs.publish(1);
                slots[1].store(7, Ordering::Relaxed);
            })
        };
        let found = slots[0].load(Ordering::Relaxed) == 7 && refs.try_get();
        if found {
            // The reader reads slot 0 again, because the folio may already be the folio of slot 1.
            if slots[0].load(Ordering::Relaxed) == 7 {
                assert_eq!(owner.load(Ordering::Relaxed), 0, "the lookup of slot 0 returned the folio of slot 1");
            }
            assert!(!refs.put(1), "the cache has a reference of its own");
        }
        remover.join().expect("no panic");
        assert_eq!(refs.get(), 1);
    });
}

/// Two users drop their references to a folio. Only the last user frees the folio, and the last user sees the writes
/// of the first user.
#[test]
fn the_last_reference_frees_once_and_sees_everything() {
    loom::model(|| {
        let refs = Arc::new(FolioRefs(AtomicU32::new(2)));
        let done = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let put = |me: usize, refs: &FolioRefs, done: &[AtomicU32; 2]| {
            done[me].store(1, Ordering::Relaxed);
            let is_last = refs.put(1);
            if is_last {
                assert_eq!(done[1 - me].load(Ordering::Relaxed), 1, "the folio was freed too early");
            }
            is_last
        };
        let other = {
            let (refs, done) = (refs.clone(), done.clone());
            thread::spawn(move || put(1, &refs, &done))
        };
        let mine = put(0, &refs, &done);
        assert!(mine != other.join().expect("no panic"), "exactly one frees");
        assert!(!refs.try_get(), "try_get gave a reference to a free folio");
    });
}

/// A cluster is destroyed, and its record becomes the record of another cluster. At the same time a reader looks both
/// clusters up, with the lock and without the lock.
#[test]
fn a_cluster_that_is_found_is_the_one_looked_for() {
    loom::model(|| {
        let device = Arc::new(Device::new(1, 4));
        device.create(1..4).expect("a free number").set(101);
        let mover = {
            let device = device.clone();
            thread::spawn(move || {
                device.lock(1).expect("made above").destroy();
                let ci = device.create(2..4).expect("a free number");
                assert_eq!(ci.idx(), 2);
                ci.set(102);
            })
        };
        assert!(matches!(device.entry(1), 0 | 101) && matches!(device.entry(2), 0 | 102));
        for idx in [1, 2] {
            if let Some(ci) = device.lock(idx) {
                // The entry is never 0, because the thread that creates the cluster holds the lock of the cluster
                // until the entry is set.
                assert_eq!((ci.idx(), ci.get()), (idx, 100 + u64::from(idx)));
            }
        }
        mover.join().expect("no panic");
        assert!(device.lock(1).is_none() && device.lock(2).is_some());
    });
}

/// A cluster is destroyed and created again with the same number and record, while a reader looks the cluster up.
#[test]
fn a_cluster_made_again_is_whole() {
    loom::model(|| {
        let device = Arc::new(Device::new(1, 4));
        device.create(1..4).expect("a free number").set(7);
        let maker = {
            let device = device.clone();
            thread::spawn(move || {
                device.lock(1).expect("made above").destroy();
                device.create(1..4).expect("a free number").set(8);
            })
        };
        if let Some(ci) = device.lock(1) {
            assert!(matches!(ci.get(), 7 | 8));
        }
        assert!(matches!(device.entry(1), 0 | 7 | 8));
        maker.join().expect("no panic");
        assert_eq!(device.lock(1).map(|ci| ci.get()), Some(8));
    });
}

/// Two threads create clusters at the same time and get the two lowest numbers. After a cluster is destroyed, its
/// number is the next that is handed out.
#[test]
fn two_makers_get_the_lowest_numbers() {
    loom::model(|| {
        let device = Arc::new(Device::new(2, 2));
        let make = |device: &Device| device.create(0..2).expect("a number for each").idx();
        let other = {
            let device = device.clone();
            thread::spawn(move || make(&device))
        };
        let mine = make(&device);
        let theirs = other.join().expect("no panic");
        assert_eq!(mine + theirs, 1);
        assert!(device.create(0..2).is_none(), "every number is taken");
        device.lock(mine).expect("made above").destroy();
        assert_eq!(device.create(0..2).map(|ci| ci.idx()), Some(mine));
    });
}
