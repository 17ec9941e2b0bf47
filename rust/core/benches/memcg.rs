//! Measures the charge of a folio's pages to a group that several CPUs use. The core charges all pages of a folio at
//! once, mostly from the CPU's stock of charges. The plain side, with which the core is compared, charges a shared
//! counter page by page.
//!
//! Run `cargo bench -p swapcore --bench memcg -- 1 2 4`, where each argument is a number of threads. Folios have
//! order 6, and the group is below root. The plain side has one atomic counter with a limit and a watermark. Each
//! round measures the core and the plain side, and the figures are medians of the ratios of all rounds.

#[path = "common/median.rs"]
mod median;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use median::median;
use swapcore::base::gfp::Gfp;
use swapcore::base::types::CssId;
use swapcore::memcg::{CounterKind, Hierarchy};
use swapcore::{Config, CpuId, Profile, Swap};

const ROUNDS: usize = 61;
const PAIRS: usize = 10_000;
const NR_PAGES: u64 = 64;

/// Runs `body` many times on several threads. Returns the mean time of one call in ns.
fn round(threads: usize, body: impl Fn(CpuId) + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let work = |thread: usize| {
        barrier.wait();
        let start = Instant::now();
        (0..PAIRS).for_each(|_| body(CpuId(thread as u16)));
        start.elapsed().as_nanos() as f64 / PAIRS as f64
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panicked")).sum::<f64>() / threads as f64
    })
}

/// The counter with which the core is compared. The bench charges this counter page by page.
#[derive(Default)]
#[repr(align(128))]
struct Plain {
    usage: AtomicU64,
    max: AtomicU64,
    watermark: AtomicU64,
}

impl Plain {
    fn pair(&self) {
        for _ in 0..NR_PAGES {
            let usage = self.usage.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(usage <= self.max.load(Ordering::Relaxed), "no limit");
            if usage > self.watermark.load(Ordering::Relaxed) {
                self.watermark.store(usage, Ordering::Relaxed);
            }
        }
        (0..NR_PAGES).for_each(|_| {
            self.usage.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn compare(name: &str, threads: usize, ours: impl Fn(CpuId) + Sync) {
    let plain = Plain { max: AtomicU64::new(u64::MAX), ..Plain::default() };
    let (mut ratios, mut ours_ns, mut plain_ns) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        let sides = |is_ours: bool| if is_ours { round(threads, &ours) } else { round(threads, |_| plain.pair()) };
        let first = sides(number % 2 == 0);
        let second = sides(number % 2 != 0);
        let (one, other) = if number % 2 == 0 { (first, second) } else { (second, first) };
        ratios.push(one / other);
        ours_ns.push(one);
        plain_ns.push(other);
    }
    println!(
        "{name}, {threads} threads: ratio {:.4}; {:.0} ns a charge and uncharge, page by page {:.0} ns",
        median(ratios),
        median(ours_ns),
        median(plain_ns)
    );
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).filter(|&nr| nr > 0).collect();
    let counts = if given.is_empty() { vec![1, 2] } else { given };
    let nr_cpus = counts.iter().copied().max().expect("at least one");
    let config = Config { memcg: Some(Hierarchy::V2), ..Config::new(nr_cpus, Profile::Newest) };
    let swap = Swap::with_config(config).expect("a good config");
    let groups = swap.memcg().expect("enabled");
    let group = groups.create(CssId::ROOT, "bench").expect("a group");
    group.memory.set_max(1 << 30);
    for threads in counts {
        compare("memory", threads, |cpu| {
            swap.try_charge(group, NR_PAGES, Gfp::HIGHUSER_MOVABLE, cpu).expect("no charge is refused");
            groups.uncharge_memory(group, NR_PAGES);
        });
        compare("swap", threads, |_| {
            assert!(groups.try_charge(group, CounterKind::Swap, NR_PAGES).is_ok(), "no charge is refused");
            groups.uncharge(group, CounterKind::Swap, NR_PAGES);
        });
    }
    groups.drain_stocks();
    assert_eq!((group.memory.usage_pages(), group.swap.usage_pages()), (0, 0));
}
