//! Measures operations of the core on one thread, without the cost of a Python call: alloc and free by order,
//! batches, lookups, swapon.
//!
//! Run `cargo bench -p swapcore --bench pairs`. The figures are medians over interleaved rounds, in ns.

#[path = "common/median.rs"]
mod median;

use std::hint::black_box;
use std::time::Instant;

use median::median;
use swapcore::table::SwapTableEntry;
use swapcore::{CpuId, DeviceSpec, Order, Profile, Swap, SwpEntry};

const ROUNDS: usize = 41;
const CPU: CpuId = CpuId(0);

/// Runs `step` `nr` times. Returns the mean time of one step in ns.
fn time(nr: usize, mut step: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..nr).for_each(|_| step());
    start.elapsed().as_nanos() as f64 / nr as f64
}

fn fresh(pages: u32) -> Swap {
    let swap = Swap::new(1, Profile::Newest).expect("one cpu");
    swap.swapon(&DeviceSpec::new(pages).priority(1)).expect("a good device");
    swap
}

/// Returns a subsystem whose device has the lower half of each cluster in use, so that no cluster becomes empty or
/// full in the measurement. For the largest order the device is empty, because a run of this order is a whole
/// cluster.
fn half_used(order: Order) -> Swap {
    let swap = fresh(1 << 16);
    let runs: Vec<_> = std::iter::from_fn(|| swap.alloc(order, CPU).ok()).collect();
    for run in runs.into_iter().filter(|run| run.offset().0 % 512 >= 256 || order == Order::MAX) {
        swap.put(run, order.nr_pages(), CPU).expect("taken above");
    }
    swap
}

fn main() {
    let swap = fresh(1 << 20);
    let orders = [0u8, 2, 4, 6, 9].map(|order| Order::new(order).expect("an order"));
    let half: Vec<_> = orders.iter().map(|&order| half_used(order)).collect();
    let (mut pairs, mut bulk) = (vec![Vec::new(); orders.len()], [const { Vec::new() }; 4]);
    let mut empty = vec![Vec::new(); orders.len()];
    let mut held = vec![Vec::new(); orders.len()];
    let mut batches = vec![Vec::new(); 2];
    let mut lookups = Vec::new();
    for _ in 0..ROUNDS {
        for ((samples, &order), swap) in pairs.iter_mut().zip(&orders).zip(&half) {
            let nr = 1 << (16 - order.get());
            samples.push(time(nr, || {
                let entry = swap.alloc(order, CPU).expect("room");
                swap.put(black_box(entry), order.nr_pages(), CPU).expect("just taken");
            }));
        }
        let mut entries = vec![SwpEntry::NONE; 1 << 16];
        let mut next = entries.iter_mut();
        bulk[0].push(time(1 << 16, || *next.next().expect("one a step") = swap.alloc(Order::ZERO, CPU).expect("room")));
        let mut next = entries.iter();
        bulk[1].push(time(1 << 16, || swap.put(*next.next().expect("one a step"), 1, CPU).expect("taken above")));
        let mut cpu = swap.on_cpu(CPU).expect("cpu 0");
        let mut next = entries.iter_mut();
        bulk[2].push(time(1 << 16, || *next.next().expect("one a step") = cpu.alloc(Order::ZERO).expect("room")));
        let mut next = entries.iter();
        bulk[3].push(time(1 << 16, || cpu.put(*next.next().expect("one a step"), 1).expect("taken above")));
        drop(cpu);
        for (samples, &order) in empty.iter_mut().zip(&orders) {
            let nr = 1 << (16 - order.get());
            samples.push(time(nr, || {
                let entry = swap.alloc(order, CPU).expect("room");
                swap.put(black_box(entry), order.nr_pages(), CPU).expect("just taken");
            }));
        }
        for ((samples, &order), swap) in held.iter_mut().zip(&orders).zip(&half) {
            let mut cpu = swap.on_cpu(CPU).expect("cpu 0");
            let nr = 1 << (16 - order.get());
            samples.push(time(nr, || {
                let entry = cpu.alloc(order).expect("room");
                cpu.put(black_box(entry), order.nr_pages()).expect("just taken");
            }));
        }
        for (samples, size) in batches.iter_mut().zip([64, 4096]) {
            let mut out = vec![SwpEntry::NONE; size];
            samples.push(
                time((1 << 17) / size, || {
                    let mut cpu = swap.on_cpu(CPU).expect("cpu 0");
                    let nr = cpu.alloc_batch(Order::ZERO, SwapTableEntry::SWAPPED_OUT, &mut out);
                    assert!(nr == size && cpu.put_batch(Order::ZERO, &out).1.is_ok());
                }) / size as f64,
            );
        }
        let mut cpu = swap.on_cpu(CPU).expect("cpu 0");
        let entry = cpu.alloc(Order::ZERO).expect("room");
        lookups.push(time(1 << 17, || {
            black_box(cpu.lookup(black_box(entry)).expect("in use"));
        }));
        cpu.put(entry, 1).expect("just taken");
    }
    for (samples, order) in pairs.into_iter().zip(&orders) {
        println!("alloc + free of one run, {order}, half used device: {:.1} ns", median(samples));
    }
    let [taken, given, taken_held, given_held] = bulk.map(median);
    println!("65536 allocs, then as many frees, o0: {taken:.1} + {given:.1} ns");
    println!("65536 allocs, then as many frees, o0, local lock held: {taken_held:.1} + {given_held:.1} ns");
    for (samples, order) in empty.into_iter().zip(&orders) {
        println!(
            "alloc + free of one run, {order}, empty device (its cluster comes and goes): {:.1} ns",
            median(samples)
        );
    }
    for (samples, order) in held.into_iter().zip(&orders) {
        println!("alloc + free of one run, {order}, half used device, local lock held: {:.1} ns", median(samples));
    }
    for (samples, size) in batches.into_iter().zip([64, 4096]) {
        println!("alloc_batch + free_batch of {size}: {:.2} ns a slot", median(samples));
    }
    println!("lookup: {:.1} ns", median(lookups));
    let swapons = (0..ROUNDS).map(|_| time(1, || drop(fresh(1 << 28)))).collect();
    println!("swapon + drop of an empty 1 TiB device: {:.3} ms", median(swapons) / 1e6);
    swap.check().expect("every invariant");
}
