//! Tests in which threads use a virtual device with zswap while the real device behind the virtual device is turned
//! off and on. No byte is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use swapcore::base::types::CssId;
use swapcore::memcg::Hierarchy;
use swapcore::zswap::ZswapOptions;
use swapcore::{Config, Profile, Swap, Visibility};

use crate::common::{Load, assert_empty, ghost_on, load, ram, stat, storage_on, virtual_spec};

const THREADS: u16 = 4;
const PAGES: u64 = 1536;

#[test]
fn four_threads_keep_every_byte_while_the_real_device_goes_off_and_on() {
    let zswap = ZswapOptions { max_pool_percent: 1, ..ZswapOptions::default() };
    let config = Config {
        memcg: Some(Hierarchy::V2),
        memory_pages: 3 * u64::from(THREADS) * PAGES,
        zswap: Some(zswap),
        ..Config::new(usize::from(THREADS) + 1, Profile::Newest)
    };
    let swap = Arc::new(Swap::with_config(config).expect("these go together"));
    ghost_on(&swap, 1 << 20, virtual_spec(Visibility::Hidden), 10);
    let groups = swap.memcg().expect("enabled");
    let css: Vec<CssId> =
        (0..THREADS).map(|cpu| groups.create(CssId::ROOT, &format!("cpu {cpu}")).expect("a name").css()).collect();
    let goes_on = load(|| stat(&swap, "swapoff_rmap_slots") > 0);
    let is_over = AtomicBool::new(false);
    let (steps, rounds) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|cpu| {
                let (swap, css, goes_on) = (&swap, css[usize::from(cpu)], &goes_on);
                scope.spawn(move || Load { css, ..Load::new(cpu, PAGES) }.run(swap, goes_on))
            })
            .collect();
        let (swap, is_over) = (&swap, &is_over);
        let switcher = scope.spawn(move || {
            let mut rounds = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                let real = storage_on(swap, ram(16 << 10), 1);
                std::thread::sleep(Duration::from_millis(20));
                loop {
                    match swap.swapoff(&real, |entry, _| panic!("{entry} has a reference")) {
                        Ok(()) => break,
                        // EBUSY: a slot stayed in use, so the swapoff failed and the device is on again.
                        Err(error) => assert_eq!(error.errno(), 16, "{error}"),
                    }
                }
                rounds += 1;
            }
            rounds
        });
        let steps: u64 = workers.into_iter().map(|worker| worker.join().expect("no thread panicked")).sum();
        is_over.store(true, Ordering::Relaxed);
        (steps, switcher.join().expect("no panic"))
    });
    println!("{steps} steps, {rounds} swapoffs, {} slots through the reverse map", stat(&swap, "swapoff_rmap_slots"));
    assert!(rounds > 0 && stat(&swap, "swapoff_rmap_slots") > 0, "the device was in use when it went off");
    assert_eq!(stat(&swap, "swapoff_ptes_visited"), 0);
    assert_empty(&swap);
    for css in css {
        let group = groups.get(css);
        assert_eq!((group.memory.usage_pages(), group.swap.usage_pages()), (0, 0));
    }
}
