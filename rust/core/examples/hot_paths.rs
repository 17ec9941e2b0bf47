//! Repeats one hot path of the core, so that a tool can count the instructions of the path. Other load on the machine
//! does not change the count.
//!
//! The difference between two runs of different length is the cost of the path without the start of the process:
//!
//! ```text
//! cargo build --release -p swapcore --example hot_paths
//! for nr in 4096 8192; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/hot_paths pair $nr
//! done
//! ```
//!
//! The paths are:
//!
//! * `pair` allocates one slot and frees the slot.
//! * `bulk` allocates 4,096 slots with one call for each slot, and then frees the slots with one call for each slot.
//! * `batch` allocates 4,096 slots by one call and frees the slots by another call. `nr` is the number of slots.
//! * `out-in` swaps a 64 kB folio out to RAM and in again.

use std::hint::black_box;
use std::sync::Arc;

use swapcore::storage::Ram;
use swapcore::table::SwapTableEntry;
use swapcore::{CpuId, DeviceSpec, Discard, MappedFolio, Order, Orders, Profile, Swap, Swapin, SwpEntry};

const CPU: CpuId = CpuId(0);
const PAGES: u32 = 1 << 16;
const BATCH: usize = 4096;

fn fresh() -> Swap {
    let swap = Swap::new(1, Profile::Newest).expect("one CPU");
    swap.swapon(&DeviceSpec::new(PAGES).priority(1)).expect("a good device");
    swap
}

/// Allocates one slot and frees the slot, `nr` times. Half of each cluster is in use, so that no cluster becomes
/// empty.
fn pair(nr: usize) {
    let swap = fresh();
    let slots: Vec<_> = std::iter::from_fn(|| swap.alloc(Order::ZERO, CPU).ok()).collect();
    for slot in slots.into_iter().filter(|slot| slot.offset().0 % 512 >= 256) {
        swap.put(slot, 1, CPU).expect("in use");
    }
    for _ in 0..nr {
        let entry = swap.alloc(Order::ZERO, CPU).expect("room");
        swap.put(black_box(entry), 1, CPU).expect("in use");
    }
}

/// Allocates 4,096 slots one by one and then frees the slots one by one. Repeats this until `nr` slots have been
/// allocated and freed.
fn bulk(nr: usize) {
    let swap = fresh();
    let mut slots = Vec::with_capacity(4096);
    for _ in 0..nr / 4096 {
        slots.extend((0..4096).map(|_| swap.alloc(Order::ZERO, CPU).expect("room")));
        slots.drain(..).for_each(|slot| swap.put(slot, 1, CPU).expect("in use"));
    }
}

/// Allocates and frees `BATCH` slots at a time, until `nr` slots have been allocated and freed.
fn batch(nr: usize) {
    let swap = fresh();
    let mut out = vec![SwpEntry::NONE; BATCH];
    for _ in 0..nr / BATCH {
        let mut cpu = swap.on_cpu(CPU).expect("CPU 0");
        assert_eq!(cpu.alloc_batch(Order::ZERO, SwapTableEntry::SWAPPED_OUT, &mut out), BATCH);
        assert!(cpu.put_batch(Order::ZERO, &out).1.is_ok());
    }
}

/// Swaps a 64 kB folio out to RAM and in again.
fn out_in(nr: usize) {
    let swap = Swap::new(1, Profile::Newest).expect("one CPU");
    let storage = Arc::new(Ram::new(PAGES).expect("memory"));
    swap.swapon_storage(storage, Some(1), Discard::None).expect("a good device");
    let order = Order::new(4).expect("an order");
    let folio = swap.folio_with(order, &[7; 1 << 16]).expect("memory");
    let mut mapped = MappedFolio::map(folio);
    for _ in 0..nr {
        let entry = swap.swap_out(mapped, CPU).expect("room");
        mapped = swap.swap_in(entry, 16, &Swapin::new(CPU, Orders::from_bits(1 << 4).expect("orders"))).expect("data");
    }
    swap.folio_unmap(mapped, CPU).expect("mapped");
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (path, nr) = match args.as_slice() {
        [path, nr] => (path.as_str(), nr.parse().expect("a number of repetitions")),
        _ => panic!("usage: hot_paths pair|bulk|batch|out-in REPETITIONS"),
    };
    match path {
        "pair" => pair(nr),
        "bulk" => bulk(nr),
        "batch" => batch(nr),
        "out-in" => out_in(nr),
        _ => panic!("no path {path}; there are pair, bulk, batch, out-in"),
    }
}
