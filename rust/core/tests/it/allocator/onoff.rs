//! Tests that turn devices off and on while threads allocate and free slots. No slot is lost, and no slot is handed
//! out twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::storage::Faulty;
use swapcore::{CpuId, DeviceSpec, Order, Profile, Swap, SwapError, SwpEntry, SwpOffset, SwpType};

use crate::common::{order, ram, storage_on, stress_time};

const THREADS: u16 = 4;

/// The length of each run in use, by the first entry of the run. The thread that takes a run out of the map also
/// drops the references of the run.
type Owned = Mutex<BTreeMap<SwpEntry, u32>>;

fn take_covering(owned: &Owned, slot: SwpEntry) -> Option<(SwpEntry, u32)> {
    let mut owned = owned.lock().expect("no thread panicked");
    let (&first, &nr_pages) = owned.range(..=slot).next_back()?;
    let is_covered = slot.value() < first.value() + nr_pages as u64;
    is_covered.then(|| (first, owned.remove(&first).expect("just seen")))
}

fn hammer(swap: &Swap, owned: &Owned, cpu: CpuId, stop: &AtomicBool) {
    let mut rng = ChaCha8Rng::seed_from_u64(cpu.0.into());
    while !stop.load(Ordering::Relaxed) {
        let order = order([0, 0, 0, 2, 4, 9][rng.random_range(0..6)]);
        if let Ok(entry) = swap.alloc(order, cpu) {
            let before = owned.lock().expect("no thread panicked").insert(entry, order.nr_pages());
            assert_eq!(before, None, "{entry} handed out twice");
        }
        let some = SwpEntry::new(SwpType(rng.random_range(0..2)), SwpOffset(rng.random_range(0..8192)));
        if let Some((first, nr_pages)) = take_covering(owned, some) {
            swap.put(first, nr_pages, cpu).expect("the map had a reference");
        }
    }
}

#[test]
fn a_device_goes_and_comes_back_under_load() {
    for &profile in Profile::ALL {
        let swap = Swap::new(THREADS as usize, profile).expect("cpus");
        let spec = DeviceSpec::new(8000).priority(5);
        swap.swapon(&spec).expect("a good device");
        let (owned, stop, mut nr_off) = (Owned::default(), AtomicBool::new(false), 0);
        std::thread::scope(|scope| {
            for cpu in (0..THREADS).map(CpuId) {
                let (swap, owned, stop) = (&swap, &owned, &stop);
                scope.spawn(move || hammer(swap, owned, cpu, stop));
            }
            let end = Instant::now() + stress_time() / Profile::NAMES.len() as u32;
            // The loop makes at least four rounds, because a slow machine makes few rounds before `end`.
            while Instant::now() < end || nr_off < 4 {
                let device = swap.swapon(&spec).expect("a free type");
                std::thread::sleep(Duration::from_millis(5));
                let unuse = |entry: SwpEntry, _| match take_covering(&owned, entry) {
                    Some((first, nr_pages)) => swap.put(first, nr_pages, CpuId(0)),
                    // The slot is not in the map, because a thread has just allocated the slot or is about to free
                    // it. If the slot stays in use, a later pass of the swapoff calls this hook for the slot again.
                    None => Ok(()),
                };
                while let Err(error) = swap.swapoff(&device, unuse) {
                    assert!(matches!(error, SwapError::StillInUse { .. }), "{error}");
                }
                assert!(matches!(swap.swapoff(&device, |_, _| Ok(())), Err(SwapError::NoDevice(_))));
                nr_off += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
        for (first, nr_pages) in std::mem::take(&mut *owned.lock().expect("no thread panicked")) {
            swap.put(first, nr_pages, CpuId(0)).expect("in use");
        }
        assert_eq!(swap.nr_swap_pages() as u64, swap.total_swap_pages());
        swap.check().expect("every invariant");
    }
}

#[test]
fn without_a_hook_references_to_data_keep_a_device_on() {
    let swap = Swap::new(1, Profile::Newest).expect("a cpu");
    let bare = swap.swapon(&DeviceSpec::new(512)).expect("a good device");
    let entry = swap.alloc(Order::ZERO, CpuId(0)).expect("room");
    swap.dup(entry, 1, CpuId(0)).expect("in use");
    assert_eq!((entry.ty(), bare.kind(), bare.storage().keeps_data()), (bare.ty(), "partition", false));
    swap.swapoff_without_hook(&bare).expect("references without data are dropped");
    let device = storage_on(&swap, Arc::new(Faulty::new(ram(512), 1)), 1);
    assert!(device.storage().keeps_data());
    let entry = swap.alloc(Order::ZERO, CpuId(0)).expect("room");
    let error = swap.swapoff_without_hook(&device).expect_err("a slot is in use");
    assert!(matches!(error, SwapError::StillInUse { inuse_pages: 1, .. }), "{error}");
    assert!(device.flag_names().contains(&"SWP_WRITEOK".to_owned()));
    swap.put(entry, 1, CpuId(0)).expect("in use");
    swap.swapoff_without_hook(&device).expect("no slot is in use");
    swap.check().expect("every invariant");
}
