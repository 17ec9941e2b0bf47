//! Prints the memory of a ghost device of 15 TiB, without and with a virtual table. The program measures after
//! swapon, with one slot in a hundred in use, and with all slots freed. The counted bytes include the words of a
//! virtual table that were never written. The resident bytes do not include these words.
//!
//! Run `cargo run --release -p swapcore --example ghost_memory`.

use std::sync::Arc;
use std::time::Instant;

use swapcore::storage::Ghost;
use swapcore::{CpuId, Discard, GhostSpec, Order, Profile, Swap, SwapDevice};

const CPU: CpuId = CpuId(0);
/// The number of slots in 15 TiB.
const MAX_PAGES: u32 = 15 << 28;

/// Returns the anonymous resident bytes of this process. Bytes of mapped files are left out, because the system loads
/// the code of the program page by page while the program runs.
fn rss_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("Anonymous:")).expect("a line");
    let kib: i64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kib << 10
}

fn show(what: &str, device: &SwapDevice, rss_before: i64, nr_live: u64) {
    let (memory, rss) = (device.memory(), rss_bytes() - rss_before);
    let counted = memory.total_bytes();
    println!("{what}: {counted} bytes counted, {rss} more resident; {memory:?}");
    if nr_live > 0 {
        let (by_count, by_rss) = (counted as f64 / nr_live as f64, rss as f64 / nr_live as f64);
        println!("  {nr_live} slots in use: {by_count:.3} bytes a slot counted, {by_rss:.3} resident");
    }
}

fn main() {
    for has_virtual_table in [false, true] {
        println!("virtual table: {has_virtual_table}");
        measure(GhostSpec { has_virtual_table, ..GhostSpec::default() });
    }
}

fn measure(spec: GhostSpec) {
    let swap = Swap::new(1, Profile::Newest).expect("a CPU");
    rss_bytes();
    let before = rss_bytes();
    let start = Instant::now();
    let ghost = Ghost::new(MAX_PAGES, spec).expect("a size");
    let device = swap.swapon_storage(Arc::new(ghost), Some(1), Discard::None).expect("a good device");
    println!("swapon of {} slots: {:.1} us", device.max_pages(), start.elapsed().as_secs_f64() * 1e6);
    show("on", &device, before, 0);
    let nr_clusters = MAX_PAGES / 512 / 100;
    let start = Instant::now();
    let runs: Vec<_> = (0..nr_clusters).map(|_| swap.alloc(Order::MAX, CPU).expect("room")).collect();
    println!("{} clusters made and filled: {:.3} s", runs.len(), start.elapsed().as_secs_f64());
    let runs_bytes = size_of_val(&runs[..]) as i64;
    show("1 % in use", &device, before + runs_bytes, u64::from(nr_clusters) * 512);
    let start = Instant::now();
    runs.iter().for_each(|&run| swap.put(run, 512, CPU).expect("in use"));
    println!("freed and destroyed: {:.3} s", start.elapsed().as_secs_f64());
    show("empty again", &device, before + runs_bytes, 0);
    let start = Instant::now();
    swap.swapoff(&device, |_, _| Ok(())).expect("nothing in use");
    drop(device);
    println!(
        "swapoff: {:.1} us, {} more resident",
        start.elapsed().as_secs_f64() * 1e6,
        rss_bytes() - before - runs_bytes
    );
}
