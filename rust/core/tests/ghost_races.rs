//! Clusters that go while others look at them, and sizes that change under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::storage::Ghost;
use swapcore::table::{EntryKind, Shadow};
use swapcore::{
    CpuId, DeviceSpec, Discard, GhostSpec, MemcgId, Order, Profile, Swap, SwapDevice, SwapError, SwpOffset, Visibility,
};

const C: u32 = 512;
const SEED: u64 = 20_261_126;
const WRITERS: u16 = 2;
const ROUNDS: u64 = 1500;
const STEPS_A_ROUND: u64 = 100;
const DURATION: Duration = Duration::from_secs(1);

fn with_ghost(nr_cpus: u16, max_pages: u32) -> (Swap, Arc<SwapDevice>) {
    let swap = Swap::new(nr_cpus.into(), Profile::Newest).expect("CPUs");
    let ghost = Arc::new(Ghost::new(max_pages, GhostSpec::default()).expect("a size"));
    let device = swap.swapon_storage(ghost, Some(1), Discard::None).expect("a good device");
    (swap, device)
}

fn owner_of(offset: SwpOffset) -> MemcgId {
    MemcgId(offset.cluster().0 as u16 + 1)
}

/// Makes a cluster, marks its slots with an owner that says which it is, and destroys it.
fn come_and_go(swap: &Swap, cpu: CpuId, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let folio = swap.folio_alloc(Order::MAX).expect("memory");
        let mut on_cpu = swap.on_cpu(cpu).expect("a cpu");
        let entry = on_cpu.folio_alloc_swap(folio.folio()).expect("more numbers than writers");
        on_cpu.folio_dup_swap(folio.folio(), None).expect("nobody else has the folio");
        let shadow = Shadow { memcg: owner_of(entry.offset()), ..Shadow::default() };
        on_cpu.swap_cache_del_folio(folio.folio(), shadow).expect("nobody else has the folio");
        drop(on_cpu);
        std::thread::yield_now();
        swap.put(entry, Order::MAX.nr_pages(), cpu).expect("one reference a slot");
    }
}

/// Looks slots up with a lock and without, by numbers of clusters that may be gone; returns how many were in use.
fn look(swap: &Swap, device: &SwapDevice, cpu: CpuId, stop: &AtomicBool) -> u64 {
    let (mut seen, mut slot) = (0, C);
    while !stop.load(Ordering::Relaxed) {
        // The lowest numbers are the ones in use.
        slot = C + (slot + 509) % (2 * C);
        let entry = device.get(SwpOffset(slot));
        assert!(matches!(entry.kind(), EntryKind::Null | EntryKind::Pfn | EntryKind::Shadow), "slot {slot}: {entry:?}");
        if let Some(shadow) = entry.shadow() {
            assert_eq!(shadow.memcg, owner_of(SwpOffset(slot)), "slot {slot} shows another cluster's entry");
            seen += 1;
        }
        if slot % 16 != 0 {
            continue;
        }
        let count = swap.on_cpu(cpu).expect("a cpu").swap_count(device.entry_at(SwpOffset(slot)));
        assert!(matches!(count, Ok(0 | 1)), "slot {slot}: {count:?}");
    }
    seen
}

/// The DEAD race: the last slot of a cluster is freed while a reader holds its number.
#[test]
fn a_stale_number_reads_as_null_or_as_its_own_cluster() {
    let (swap, device) = with_ghost(WRITERS + 2, 6 * C);
    let stop = AtomicBool::new(false);
    let seen: u64 = std::thread::scope(|scope| {
        for cpu in (0..WRITERS).map(CpuId) {
            let (swap, stop) = (&swap, &stop);
            scope.spawn(move || come_and_go(swap, cpu, stop));
        }
        let lookers: Vec<_> = (WRITERS..WRITERS + 2)
            .map(|cpu| {
                let (swap, device, stop) = (&swap, &device, &stop);
                scope.spawn(move || look(swap, device, CpuId(cpu), stop))
            })
            .collect();
        let end = Instant::now() + DURATION;
        while Instant::now() < end && lookers.iter().all(|looker| !looker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        lookers.into_iter().map(|looker| looker.join().expect("every entry was one of its cluster")).sum()
    });
    assert!(seen > 1000, "{seen} entries seen prove little");
    assert_eq!(device.nr_live_clusters(), 1);
    swap.check().expect("every invariant");
}

/// Takes and gives back at random; what it holds at the end it gives back.
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

/// Ghosts and a device with storage, while one of the ghosts is turned off again and again: refused while somebody needs
/// it, which puts it back behind its equals.
#[test]
fn a_ghost_is_turned_off_and_on_under_load() {
    let (swap, mut ghost) = with_ghost(2, 64 * C);
    swap.swapon(&DeviceSpec::new(64 * C).priority(1)).expect("a good device");
    let hidden = GhostSpec { visibility: Visibility::Hidden, ..GhostSpec::default() };
    let other = Ghost::new(16 * C, hidden).expect("a size");
    swap.swapon_storage(Arc::new(other), Some(1), Discard::None).expect("a good device");
    let (stop, nr_steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut nr_off, mut nr_refused) = (0, 0);
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|cpu| {
            let (swap, nr_steps, stop) = (&swap, &nr_steps, &stop);
            scope.spawn(move || churn(swap, CpuId(cpu), nr_steps, stop))
        });
        for round in 1..=ROUNDS / 5 {
            while nr_steps.load(Ordering::Relaxed) < round * STEPS_A_ROUND && workers.iter().all(|w| !w.is_finished()) {
                std::thread::yield_now();
            }
            match swap.swapoff(&ghost, |_, _| Err(SwapError::Interrupted)) {
                Ok(()) => {
                    nr_off += 1;
                    let again = Arc::new(Ghost::new(64 * C, GhostSpec::default()).expect("a size"));
                    ghost = swap.swapon_storage(again, Some(1), Discard::None).expect("a free type");
                }
                Err(error) => {
                    nr_refused += 1;
                    assert!(matches!(error, SwapError::Interrupted | SwapError::StillInUse { .. }), "{error}");
                }
            }
            swap.check().expect("every invariant");
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().expect("no error but no room"));
    });
    assert!(nr_refused > 10, "{nr_refused} times refused, {nr_off} times off");
    swap.swapoff(&ghost, |_, _| Err(SwapError::Interrupted)).expect("nothing in use");
    swap.check().expect("every invariant");
}

/// Before, during and after a resize the slots in use fit the size, and the clusters' counts add up to the device's.
#[test]
fn sizes_change_under_load() {
    let (swap, device) = with_ghost(2, 40 * C);
    let (stop, nr_steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut nr_shrunk, mut nr_held) = (0, 0);
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|cpu| {
            let (swap, nr_steps, stop) = (&swap, &nr_steps, &stop);
            scope.spawn(move || churn(swap, CpuId(cpu), nr_steps, stop))
        });
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        for round in 1..=ROUNDS {
            // One size after the other would leave the workers no lock to get.
            while nr_steps.load(Ordering::Relaxed) < round * STEPS_A_ROUND && workers.iter().all(|w| !w.is_finished()) {
                std::thread::yield_now();
            }
            let wanted = rng.random_range(1..60) * C;
            let before = device.max_pages();
            let resize = swap.resize(&device, wanted).expect("the device is on");
            assert_eq!(resize.limit_pages, wanted);
            assert!(resize.max_pages == wanted || (resize.max_pages == before && wanted < before), "{resize:?}");
            let counter = if resize.max_pages == wanted { &mut nr_shrunk } else { &mut nr_held };
            *counter += u32::from(wanted < before);
            assert_eq!(swap.total_swap_pages(), u64::from(device.max_pages() - 1));
            swap.check().expect("every invariant");
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().expect("no error but no room"));
    });
    assert!(nr_shrunk > 10 && nr_held > 10, "{nr_shrunk} times smaller, {nr_held} times held to less");
    assert_eq!((swap.inuse_pages(device.ty()), device.nr_live_clusters()), (0, 1));
    let resize = swap.resize(&device, 4 * C).expect("the device is on");
    assert_eq!((resize.max_pages, resize.limit_pages, swap.nr_swap_pages()), (4 * C, 4 * C, i64::from(4 * C - 1)));
    swap.check().expect("every invariant");
}
