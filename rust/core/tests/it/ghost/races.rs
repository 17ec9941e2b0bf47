//! Tests of ghost devices under threads: clusters that are destroyed while other threads read their slots, swapoff
//! under load, and sizes that change under load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::{CpuId, DeviceSpec, GhostSpec, Order, Profile, Swap, SwapError, Visibility};

use crate::allocator::readers::{NR_CPUS, watch_clusters};
use crate::common::{C, ghost_on, with_ghost};

const SEED: u64 = 20_261_126;
const ROUNDS: u64 = 1500;
const STEPS_A_ROUND: u64 = 100;

/// A writer frees the last slot of a cluster, which destroys the cluster, while a reader reads slots of the cluster.
/// Readers read the slots with the lowest numbers, because a ghost hands out these slots first.
#[test]
fn a_stale_number_reads_as_null_or_as_its_own_cluster() {
    let (swap, device) = with_ghost(NR_CPUS, Profile::Newest, 6 * C);
    watch_clusters(&swap, &device, C..3 * C);
    assert_eq!(device.nr_live_clusters(), 1);
}

/// Allocates and frees slots at random until `stop` is set, and then frees all slots that are left.
fn churn(swap: &Swap, cpu: CpuId, nr_steps: &AtomicU64, stop: &AtomicBool) {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + u64::from(cpu.0));
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        nr_steps.fetch_add(1, Ordering::Relaxed);
        let order = Order::new([0, 0, 0, 2, 4, 9][rng.random_range(0..6)]).expect("an order");
        if held.len() < 400 && rng.random_ratio(5, 9) {
            match swap.alloc(order, cpu) {
                Ok(entry) => held.push((entry, order)),
                Err(error) => assert_eq!(error, SwapError::NoSpace { nr_pages: order.nr_pages() }),
            }
        } else if !held.is_empty() {
            let (entry, order) = held.swap_remove(rng.random_range(0..held.len()));
            swap.put(entry, order.nr_pages(), cpu).expect("taken above");
        }
    }
    held.into_iter().for_each(|(entry, order)| swap.put(entry, order.nr_pages(), cpu).expect("taken above"));
}

/// Calls `change` `nr_rounds` times while two threads allocate and free slots. Before each call the function waits
/// until the threads have made some steps, because otherwise the calls would hold the locks most of the time and the
/// threads would make no steps.
fn under_load(swap: &Swap, nr_rounds: u64, mut change: impl FnMut()) {
    let (stop, nr_steps) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|cpu| scope.spawn(move || churn(swap, CpuId(cpu), nr_steps, stop)));
        for round in 1..=nr_rounds {
            while nr_steps.load(Ordering::Relaxed) < round * STEPS_A_ROUND && workers.iter().all(|w| !w.is_finished()) {
                std::thread::yield_now();
            }
            change();
            swap.check().expect("every invariant");
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().expect("no error except NoSpace"));
    });
}

/// The test turns one of two ghosts off many times. A swapoff fails while a slot of the ghost is in use, and the
/// ghost is then on again.
#[test]
fn a_ghost_is_turned_off_and_on_under_load() {
    let (swap, mut ghost) = with_ghost(2, Profile::Newest, 64 * C);
    swap.swapon(&DeviceSpec::new(64 * C).priority(1)).expect("a good device");
    ghost_on(&swap, 16 * C, GhostSpec { visibility: Visibility::Hidden, ..GhostSpec::default() }, 1);
    let (mut nr_off, mut nr_refused) = (0, 0);
    under_load(&swap, ROUNDS / 5, || match swap.swapoff(&ghost, |_, _| Err(SwapError::Interrupted)) {
        Ok(()) => {
            nr_off += 1;
            ghost = ghost_on(&swap, 64 * C, GhostSpec::default(), 1);
        }
        Err(error) => {
            nr_refused += 1;
            assert!(matches!(error, SwapError::Interrupted | SwapError::StillInUse { .. }), "{error}");
        }
    });
    assert!(nr_refused > 10, "{nr_refused} times refused, {nr_off} times off");
    swap.swapoff(&ghost, |_, _| Err(SwapError::Interrupted)).expect("nothing in use");
    swap.check().expect("every invariant");
}

/// A smaller size takes no effect while slots beyond it are in use. The invariants hold after every resize.
#[test]
fn sizes_change_under_load() {
    let (swap, device) = with_ghost(2, Profile::Newest, 40 * C);
    let (mut nr_shrunk, mut nr_held) = (0, 0);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    under_load(&swap, ROUNDS, || {
        let wanted = rng.random_range(1..60) * C;
        let before = device.max_pages();
        let resize = swap.resize(&device, wanted).expect("the device is on");
        assert_eq!(resize.limit_pages, wanted);
        assert!(resize.max_pages == wanted || (resize.max_pages == before && wanted < before), "{resize:?}");
        let counter = if resize.max_pages == wanted { &mut nr_shrunk } else { &mut nr_held };
        *counter += u32::from(wanted < before);
        assert_eq!(swap.total_swap_pages(), u64::from(device.max_pages() - 1));
    });
    assert!(nr_shrunk > 10 && nr_held > 10, "{nr_shrunk} resizes made the device smaller, {nr_held} were held back");
    assert_eq!((swap.inuse_pages(device.ty()), device.nr_live_clusters()), (0, 1));
    let resize = swap.resize(&device, 4 * C).expect("the device is on");
    assert_eq!((resize.max_pages, resize.limit_pages, swap.nr_swap_pages()), (4 * C, 4 * C, i64::from(4 * C - 1)));
    swap.check().expect("every invariant");
}
