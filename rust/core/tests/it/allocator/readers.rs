//! Readers without a lock, while tables go from cluster to cluster: an entry is always one of its own cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use swapcore::table::{EntryKind, Shadow};
use swapcore::{CpuId, DeviceSpec, Order, Profile, Swap, SwapDevice, SwpOffset};

use crate::common::{C, owner_of, stress_time};

const WRITERS: u16 = 2;
const CLUSTERS: u32 = 8;

/// Takes a whole cluster, marks its slots with an owner that says which cluster it is, and gives it back.
fn write(swap: &Swap, cpu: CpuId, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let folio = swap.folio_alloc(Order::MAX).expect("memory");
        let mut on_cpu = swap.on_cpu(cpu).expect("a cpu");
        let entry = on_cpu.folio_alloc_swap(folio.folio()).expect("more clusters than writers");
        on_cpu.folio_dup_swap(folio.folio(), None).expect("no other handle has the folio");
        let shadow = Shadow { memcg: owner_of(entry.offset()), ..Shadow::default() };
        on_cpu.swap_cache_del_folio(folio.folio(), shadow).expect("no other handle has the folio");
        on_cpu.put(entry, Order::MAX.nr_pages()).expect("one reference a slot");
    }
}

/// Reads slots over and over; returns how many were seen swapped out.
fn read(device: &Arc<SwapDevice>, stop: &AtomicBool) -> u64 {
    let (mut seen, mut slot) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        slot = (slot + 509) % (CLUSTERS * C);
        let entry = device.get(SwpOffset(slot));
        if let Some(shadow) = entry.shadow() {
            assert_eq!(shadow.memcg, owner_of(SwpOffset(slot)), "slot {slot} shows another cluster's entry");
            seen += 1;
        }
        let is_possible = matches!(entry.kind(), EntryKind::Null | EntryKind::Pfn | EntryKind::Shadow);
        assert!(is_possible || SwpOffset(slot).cluster().0 == 0, "slot {slot} is {entry:?}");
    }
    seen
}

#[test]
fn a_reader_never_sees_another_clusters_entry() {
    let swap = Swap::new(WRITERS as usize, Profile::Newest).expect("cpus");
    let device = swap.swapon(&DeviceSpec::new(CLUSTERS * C).priority(1)).expect("a good device");
    let stop = AtomicBool::new(false);
    let seen: u64 = std::thread::scope(|scope| {
        for cpu in (0..WRITERS).map(CpuId) {
            let (swap, stop) = (&swap, &stop);
            scope.spawn(move || write(swap, cpu, stop));
        }
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read(&device, &stop))).collect();
        let end = Instant::now() + stress_time();
        while Instant::now() < end && readers.iter().all(|reader| !reader.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("every entry was one of its cluster")).sum()
    });
    assert!(seen > 1000, "{seen} entries seen prove little");
    swap.check().expect("every invariant");
}
