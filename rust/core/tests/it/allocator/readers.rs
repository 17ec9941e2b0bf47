//! Tests in which threads read entries without a lock while tables move from cluster to cluster. A slot never shows
//! the entry of another cluster.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use swapcore::table::{EntryKind, Shadow};
use swapcore::{CpuId, DeviceSpec, Order, Profile, Swap, SwapDevice, SwpOffset};

use crate::common::{C, owner_of, stress_time};

const WRITERS: u16 = 2;
const READERS: u16 = 2;
/// The number of threads of `watch_clusters`. Each thread has its own CPU number.
pub(crate) const NR_CPUS: usize = (WRITERS + READERS) as usize;

/// Allocates a whole cluster, writes entries whose owner names the cluster, and frees the cluster. Repeats this until
/// `stop` is set.
fn write(swap: &Swap, cpu: CpuId, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let folio = swap.memory_of_folios().alloc(Order::MAX).expect("memory");
        let mut on_cpu = swap.on_cpu(cpu).expect("a cpu");
        let entry = on_cpu.folio_alloc_swap(folio.folio()).expect("there are more clusters than writers");
        on_cpu.folio_dup_swap(folio.folio(), None).expect("no other handle has the folio");
        let shadow = Shadow { memcg: owner_of(entry.offset()), ..Shadow::default() };
        on_cpu.swap_cache_del_folio(folio.folio(), shadow).expect("no other handle has the folio");
        drop(on_cpu);
        std::thread::yield_now();
        swap.put(entry, Order::MAX.nr_pages(), cpu).expect("one reference a slot");
    }
}

/// Looks slots up without a lock, and also looks some slots up with a lock. Returns the number of lookups that found
/// an entry of `write`.
fn read(swap: &Swap, device: &SwapDevice, cpu: CpuId, slots: Range<u32>, stop: &AtomicBool) -> u64 {
    let (mut seen, mut slot) = (0, slots.start);
    while !stop.load(Ordering::Relaxed) {
        slot = slots.start + (slot + 509) % (slots.end - slots.start);
        let entry = device.get(SwpOffset(slot));
        if let Some(shadow) = entry.shadow() {
            assert_eq!(shadow.memcg, owner_of(SwpOffset(slot)), "slot {slot} shows another cluster's entry");
            seen += 1;
        }
        // The assertions below are not made for cluster 0, because its slot 0 is bad.
        if slot < C {
            continue;
        }
        assert!(matches!(entry.kind(), EntryKind::Null | EntryKind::Pfn | EntryKind::Shadow), "slot {slot}: {entry:?}");
        if slot % 16 == 0 {
            let count = swap.on_cpu(cpu).expect("a cpu").swap_count(device.entry_at(SwpOffset(slot)));
            assert!(matches!(count, Ok(0 | 1)), "slot {slot}: {count:?}");
        }
    }
    seen
}

/// Reads `slots` while other threads allocate and free whole clusters.
pub(crate) fn watch_clusters(swap: &Swap, device: &SwapDevice, slots: Range<u32>) {
    let stop = &AtomicBool::new(false);
    let seen: u64 = std::thread::scope(|scope| {
        for cpu in (0..WRITERS).map(CpuId) {
            scope.spawn(move || write(swap, cpu, stop));
        }
        let spawn = |cpu| {
            let slots = slots.clone();
            scope.spawn(move || read(swap, device, CpuId(cpu), slots, stop))
        };
        let readers: Vec<_> = (WRITERS..WRITERS + READERS).map(spawn).collect();
        let end = Instant::now() + stress_time();
        while Instant::now() < end && readers.iter().all(|reader| !reader.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("every entry was one of its cluster")).sum()
    });
    assert!(seen > 1000, "only {seen} entries were seen");
    swap.check().expect("every invariant");
}

#[test]
fn a_reader_never_sees_another_clusters_entry() {
    let swap = Swap::new(NR_CPUS, Profile::Newest).expect("cpus");
    let device = swap.swapon(&DeviceSpec::new(8 * C).priority(1)).expect("a good device");
    watch_clusters(&swap, &device, 0..8 * C);
}
