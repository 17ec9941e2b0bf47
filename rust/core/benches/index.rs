//! Compares the core's index of clusters with other indexes: lookups, and the creation and destruction of a cluster.
//!
//! Run `cargo bench -p swapcore --bench index`. The figures are medians of ratios over interleaved rounds. Lookups
//! read random entries of tables that are all in use. In a chained lookup the slot depends on the result of the last
//! lookup. Independent lookups overlap as far as the CPU allows. The other indexes map a cluster to the number of a
//! table in one flat array, so that only the index differs. The argument `large` adds a part with a million clusters,
//! which takes 9 GiB of memory.

#[path = "common/pairs.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::{Arc, Mutex, RwLock};

use common::pairs;
use memmap2::{MmapMut, MmapOptions};
use swapcore::storage::Ghost;
use swapcore::{CpuId, Discard, GhostSpec, Order, Profile, Swap, SwapDevice, SwpOffset};

const CPU: CpuId = CpuId(0);
const C: usize = 512;
const LOOKUPS: usize = 20_000;

/// A flat array with one word for every slot. The system maps the memory of the array at its first use, so that the
/// page tables of the machine are the index.
struct Flat(MmapMut);

impl Flat {
    fn new(nr_slots: usize, fill: u64) -> Self {
        let map = MmapOptions::new().len(nr_slots * 8).no_reserve_swap().map_anon().expect("address space");
        let mut flat = Self(map);
        flat.0.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&fill.to_ne_bytes()));
        flat
    }

    #[inline(always)]
    fn get(&self, slot: usize) -> u64 {
        bytemuck::cast_slice::<u8, u64>(&self.0)[slot]
    }
}

/// Returns a device with `nr_clusters` clusters in use.
fn full(nr_clusters: usize) -> (Swap, Arc<SwapDevice>) {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    // The device has one cluster more than `nr_clusters`, so that the bench can create and destroy a cluster.
    let ghost = Ghost::new(((nr_clusters + 1) * C) as u32, GhostSpec::default()).expect("a size");
    let device = swap.swapon_storage(Arc::new(ghost), Some(1), Discard::None).expect("a good device");
    (1..nr_clusters).for_each(|_| _ = swap.alloc(Order::MAX, CPU).expect("room"));
    (1..C).for_each(|_| _ = swap.alloc(Order::ZERO, CPU).expect("room"));
    (swap, device)
}

/// Returns the next slot in a scrambled order. `read` is the entry of the last lookup. The CPU must wait for `read`,
/// although its value does not change the result.
#[inline(always)]
fn scramble(at: usize, read: u64) -> usize {
    at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 + (read as usize & 2))
}

/// The slots that a lookup bench reads.
#[derive(Clone, Copy)]
enum Slots {
    /// All slots.
    All,
    /// One cache line of each table. These lines fit in the CPU's cache, so the index takes most of the time of a
    /// lookup.
    OneLine,
}

impl Slots {
    #[inline(always)]
    fn pick(self, at: usize, nr_clusters: usize) -> usize {
        match self {
            Self::All => (at >> 20) % (nr_clusters * C),
            Self::OneLine => {
                let cluster = (at >> 20) % nr_clusters;
                // Each table uses a different line, because the same line of all tables would be in only a few sets
                // of the CPU's cache.
                cluster * C + cluster * 8 % C
            }
        }
    }
}

fn chained(slots: Slots, nr_clusters: usize, get: impl Fn(usize) -> u64) {
    let mut at = 1;
    for _ in 0..LOOKUPS {
        at = scramble(at, get(slots.pick(at, nr_clusters)));
    }
    black_box(at);
}

fn independent(slots: Slots, nr_clusters: usize, get: impl Fn(usize) -> u64) {
    let (mut at, mut sum) = (1, 0u64);
    for _ in 0..LOOKUPS {
        at = scramble(at, 0);
        sum = sum.wrapping_add(get(slots.pick(at, nr_clusters)));
    }
    black_box(sum);
}

fn compare(name: &str, nr_clusters: usize, ours: impl Fn(usize) -> u64, peer: impl Fn(usize) -> u64) {
    for (slots, which) in [(Slots::All, "any slot"), (Slots::OneLine, "a line a cluster")] {
        let ours_chained = || chained(slots, nr_clusters, &ours);
        pairs(&format!("get, {which}, chained, {name}"), ours_chained, || chained(slots, nr_clusters, &peer));
        let ours_apart = || independent(slots, nr_clusters, &ours);
        pairs(&format!("get, {which}, independent, {name}"), ours_apart, || independent(slots, nr_clusters, &peer));
    }
}

/// Compares lookups of the core's index with lookups of four other indexes.
fn lookups(nr_clusters: usize) {
    let (_swap, device) = full(nr_clusters);
    let nr_slots = nr_clusters * C;
    let word = device.get(SwpOffset(nr_slots as u32 - 1)).raw();
    let flat = Flat::new(nr_slots, word);
    let ours = |slot: usize| device.get(SwpOffset(slot as u32)).raw();
    let title = |peer: &str| format!("{nr_clusters} clusters, against {peer}");
    compare(&title("a flat mapped array"), nr_clusters, ours, |slot| flat.get(slot));

    let tables = 0..nr_clusters as u32;
    let tree = scc::TreeIndex::new();
    tables.clone().for_each(|at| assert!(tree.insert_sync(at, at).is_ok()));
    let by_tree = |slot: usize| {
        let at = tree.peek_with(&((slot / C) as u32), |_, &at| at as usize);
        flat.get(at.expect("in use") * C + slot % C)
    };
    compare(&title("scc::TreeIndex"), nr_clusters, ours, by_tree);
    drop(tree);

    let map = papaya::HashMap::new();
    tables.clone().for_each(|at| _ = map.pin().insert(at, at));
    let by_hash = |slot: usize| {
        let at = *map.pin().get(&((slot / C) as u32)).expect("in use") as usize;
        flat.get(at * C + slot % C)
    };
    compare(&title("papaya::HashMap"), nr_clusters, ours, by_hash);
    drop(map);

    let map = RwLock::new(tables.map(|at| (at, at)).collect::<BTreeMap<_, _>>());
    let by_lock = |slot: usize| {
        let at = map.read().expect("no panic")[&((slot / C) as u32)] as usize;
        flat.get(at * C + slot % C)
    };
    compare(&title("RwLock<BTreeMap>"), nr_clusters, ours, by_lock);
}

/// The simple index with which the creation and destruction of clusters is compared.
struct Plain {
    tables: BTreeMap<u32, Box<[u64; C]>>,
    free: BTreeSet<u32>,
}

/// Measures the creation and destruction of a cluster. Also measures an allocation that creates a cluster together
/// with the put that destroys the cluster.
fn create_and_destroy(nr_clusters: usize) {
    let (swap, device) = full(nr_clusters);
    let used = 0..nr_clusters as u32;
    let plain = Mutex::new(Plain {
        tables: used.clone().map(|idx| (idx, Box::new([1; C]))).collect(),
        free: (used.end..(1 << 23)).collect(),
    });
    let ours = || {
        for _ in 0..LOOKUPS / 20 {
            assert!(device.probe_cluster(), "one number is free");
        }
    };
    let alloc_and_put = || {
        for _ in 0..LOOKUPS / 20 {
            let mut cpu = swap.on_cpu(CPU).expect("a CPU");
            let entry = cpu.alloc(Order::ZERO).expect("one number is free");
            cpu.put(black_box(entry), 1).expect("in use");
        }
    };
    let theirs = || {
        for _ in 0..LOOKUPS / 20 {
            let mut table = Box::new([0; C]);
            let idx = {
                let mut plain = plain.lock().expect("no panic");
                let idx = plain.free.pop_first().expect("millions");
                table[0] = 1;
                plain.tables.insert(idx, table);
                idx
            };
            let mut plain = plain.lock().expect("no panic");
            let mut table = plain.tables.remove(&black_box(idx)).expect("made above");
            table[0] = 0;
            plain.free.insert(idx);
        }
    };
    let title = |what: &str| format!("{what} beside {nr_clusters} clusters, against Mutex<BTreeMap> + BTreeSet");
    pairs(&title("create + destroy"), ours, theirs);
    pairs(&title("alloc + put, which do it"), alloc_and_put, theirs);
}

fn main() {
    let is_large = std::env::args().any(|arg| arg == "large");
    for nr_clusters in [1 << 10, 1 << 16] {
        lookups(nr_clusters);
        create_and_destroy(nr_clusters);
    }
    if is_large {
        lookups(1 << 20);
    }
}
