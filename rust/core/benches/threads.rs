//! Measures how allocations scale with the number of threads. Each thread has its own CPU number, and all threads
//! share one device.
//!
//! Run `cargo bench -p swapcore --bench threads -- 1 2 4 8 16`, where each argument is a number of threads. The
//! figures are medians over interleaved rounds. Each thread allocates 16,384 single slots and then frees 16,384
//! slots. In the results named `remote`, each thread frees the slots that another thread allocated.

#[path = "common/median.rs"]
mod median;

use std::sync::{Barrier, Mutex};
use std::time::Instant;

use median::median;
use swapcore::{CpuId, DeviceSpec, Order, Profile, Swap, SwpEntry};

const ROUNDS: usize = 15;
const SLOTS_PER_THREAD: usize = 1 << 14;
const REPEATS: usize = 8;

/// Runs one round. Returns the mean time of one operation in ns.
fn round(threads: usize, is_remote: bool) -> f64 {
    let swap = Swap::new(threads, Profile::Newest).expect("cpus");
    let pages = (2 * threads * SLOTS_PER_THREAD) as u32 + 512;
    swap.swapon(&DeviceSpec::new(pages).priority(1)).expect("a good device");
    let held: Vec<Mutex<Vec<SwpEntry>>> = (0..threads).map(|_| Mutex::default()).collect();
    let barrier = Barrier::new(threads);
    let work = |thread: usize| {
        let cpu = CpuId(thread as u16);
        let mut total_ns = 0;
        for _ in 0..REPEATS {
            barrier.wait();
            let start = Instant::now();
            let mut mine = held[thread].lock().expect("no thread panicked");
            mine.extend((0..SLOTS_PER_THREAD).map(|_| swap.alloc(Order::ZERO, cpu).expect("room")));
            drop(mine);
            let alloc_ns = start.elapsed().as_nanos();
            barrier.wait();
            let start = Instant::now();
            let whose = if is_remote { (thread + 1) % threads } else { thread };
            let entries = std::mem::take(&mut *held[whose].lock().expect("no thread panicked"));
            entries.into_iter().for_each(|entry| swap.put(entry, 1, cpu).expect("in use"));
            total_ns += alloc_ns + start.elapsed().as_nanos();
        }
        total_ns as f64 / (2 * REPEATS * SLOTS_PER_THREAD) as f64
    };
    let ns = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panicked")).sum::<f64>() / threads as f64
    });
    swap.check().expect("every invariant");
    ns
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).filter(|&nr| nr > 0).collect();
    let counts = if given.is_empty() { vec![1, 2] } else { given };
    for is_remote in [false, true] {
        let mut samples = vec![Vec::new(); counts.len()];
        for _ in 0..ROUNDS {
            samples.iter_mut().zip(&counts).for_each(|(samples, &threads)| samples.push(round(threads, is_remote)));
        }
        let medians: Vec<f64> = samples.into_iter().map(median).collect();
        let whose = if is_remote { "remote frees" } else { "own frees" };
        for (&threads, &ns) in counts.iter().zip(&medians) {
            let speed_up = threads as f64 / counts[0] as f64 * medians[0] / ns;
            println!("{threads} threads, {whose}: {ns:.1} ns an operation, speed-up {speed_up:.2}");
        }
    }
}
