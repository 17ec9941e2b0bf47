//! Tests of the index of clusters under random schedules. With random schedules, a test can have more threads and
//! steps than the tests in `loom.rs`, which try every interleaving.
//!
//! This binary compiles files of the core again with locks and atomics that the scheduler controls.

mod shim;

/// The locks and atomics that the scheduler controls.
mod model {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    pub(crate) mod atomics {
        pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering, fence};
    }
}

#[path = "../src/cluster/index.rs"]
#[expect(dead_code, reason = "the schedules use a part of it")]
mod index;
#[path = "../src/table/shown.rs"]
mod shown;

use shim::device::Device;
// The files of the core name these modules as `crate::base`, `crate::containers` and `crate::table`.
use shim::{base, containers, table};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Arc;
use shuttle::thread;

const NR_SCHEDULES: usize = 3000;
const NR_RECORDS: u32 = 6;
const CAPACITY: u32 = 8;
const STEPS: u32 = 40;

/// Returns an entry of a cluster. The low byte is the number of the cluster plus 1, and the higher bits are `stamp`.
fn entry_of(idx: u32, stamp: u64) -> u64 {
    u64::from(idx) + 1 + (stamp << 8)
}

fn assert_own(idx: u32, entry: u64) {
    assert!(entry == 0 || entry & 0xff == u64::from(idx) + 1, "cluster {idx} shows {entry:#x}");
}

/// Creates, destroys and looks up clusters. The entry of a cluster that a lookup finds must name this cluster.
fn wander(device: &Device, me: u64) {
    let mut rng = thread_rng();
    for step in 0..STEPS {
        let idx = rng.gen_range(0..CAPACITY);
        match rng.gen_range(0..4) {
            0 => {
                if let Some(ci) = device.create(1..CAPACITY) {
                    assert_eq!(ci.get(), 0, "a new cluster is empty");
                    ci.set(entry_of(ci.idx(), me << 16 | u64::from(step)));
                }
            }
            1 => {
                if let Some(ci) = device.lock(idx) {
                    assert_eq!(ci.idx(), idx);
                    assert_ne!(ci.get(), 0, "cluster {idx} was found half made");
                    ci.destroy();
                }
            }
            2 => {
                if let Some(ci) = device.lock(idx) {
                    assert_eq!(ci.get() & 0xff, u64::from(idx) + 1);
                    ci.set(entry_of(idx, me << 16 | u64::from(step)));
                }
            }
            _ => assert_own(idx, device.entry(idx)),
        }
    }
}

#[test]
fn lookups_find_their_own_cluster_or_none() {
    shuttle::check_random(
        || {
            let device = Arc::new(Device::new(NR_RECORDS, CAPACITY));
            let threads: Vec<_> = (1..=4)
                .map(|me| {
                    let device = device.clone();
                    thread::spawn(move || wander(&device, me))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no assertion failed"));
            // The index must list exactly the clusters that exist, which are those that can be locked.
            let left: Vec<u32> = (0..CAPACITY).filter(|&idx| device.lock(idx).is_some()).collect();
            let mut from = 0;
            let listed: Vec<u32> = std::iter::from_fn(|| {
                let idx = device.index.next(from)?;
                from = idx.0 + 1;
                Some(idx.0)
            })
            .collect();
            assert_eq!((left.len() as u32, left), (device.index.len(), listed));
        },
        NR_SCHEDULES,
    );
}

/// The index hands out the lowest free number first. When all numbers are in use, a freed number is the next number
/// that the index hands out.
#[test]
fn the_number_given_back_is_the_next_one() {
    shuttle::check_random(
        || {
            let device = Arc::new(Device::new(4, 4));
            let makers: Vec<_> = (0..4)
                .map(|me| {
                    let device = device.clone();
                    thread::spawn(move || {
                        let ci = device.create(0..4).expect("one for each");
                        ci.set(entry_of(ci.idx(), me));
                        ci.idx()
                    })
                })
                .collect();
            let mut taken: Vec<u32> = makers.into_iter().map(|maker| maker.join().expect("no panic")).collect();
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2, 3]);
            let gone = thread_rng().gen_range(0..4);
            device.lock(gone).expect("in use").destroy();
            assert_eq!(device.create(0..4).map(|ci| ci.idx()), Some(gone));
        },
        NR_SCHEDULES,
    );
}
