//! Threads on a virtual device with zswap, while the real device behind it goes off and on: nothing is lost.
//!
//! `SWAPCORE_STRESS_SECONDS` says for how long; 2 unless it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::memcg::Hierarchy;
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::spec::{Discard, GhostSpec, Visibility};
use swapcore::storage::{Ghost, Ram};
use swapcore::zswap::ZswapOptions;
use swapcore::{Config, CpuId, Orders, Profile, Swap};

const THREADS: u16 = 4;
const PAGES: u64 = 1536;

fn time() -> Duration {
    let given = std::env::var("SWAPCORE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(given.unwrap_or(2.0))
}

/// What a page holds: zeros, something that compresses, or something that does not.
fn fill(page: &mut [u8], tag: u64) {
    match tag % 3 {
        0 => page.fill(0),
        1 => page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&tag.to_ne_bytes())),
        _ => ChaCha8Rng::seed_from_u64(tag).fill_bytes(page),
    }
}

/// Writes, pages out and reads a mapping of its own; every page read is compared. Returns its steps.
fn hammer(swap: &Arc<Swap>, css: CssId, cpu: CpuId, until: Instant) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(cpu.0.into());
    let mm = Mm::in_group(swap.clone(), css).expect("online");
    let is_large = cpu.0.is_multiple_of(2);
    let orders = Orders::from_bits(if is_large { 0b1_0001_0100 } else { 0 }).expect("a mask");
    let options = VmaOptions { orders, anon_order: if is_large { 4 } else { 0 }, ..VmaOptions::default() };
    let start = mm.mmap(PAGES, options).expect("a mapping").pages().start;
    let mut tags = vec![0u64; PAGES as usize];
    let (mut page, mut expected) = (vec![0; PAGE_SIZE], vec![0; PAGE_SIZE]);
    let mut step = 0;
    while Instant::now() < until {
        step += 1;
        let at = rng.random_range(0..PAGES);
        let address = (start.0 + at) * PAGE_SIZE as u64;
        match rng.random_range(0..8) {
            0..3 => {
                let tag = step * 3 + rng.random_range(0..3);
                fill(&mut page, tag);
                mm.write(address, &page, cpu).expect("memory enough for all");
                tags[at as usize] = tag;
            }
            3..6 => {
                mm.read(address, &mut page, cpu).expect("memory enough for all");
                fill(&mut expected, tags[at as usize]);
                assert!(page == expected, "page {at} of cpu {} is not what was written", cpu.0);
            }
            6 => {
                let nr = rng.random_range(1..200).min(PAGES - at);
                mm.pageout(Vpn(start.0 + at)..Vpn(start.0 + at + nr), cpu).expect("mapped");
            }
            _ => {
                let nr = rng.random_range(1..20).min(PAGES - at);
                mm.zap(Vpn(start.0 + at)..Vpn(start.0 + at + nr), cpu).expect("mapped");
                tags[at as usize..(at + nr) as usize].fill(0);
            }
        }
    }
    for (at, &tag) in tags.iter().enumerate() {
        mm.read((start.0 + at as u64) * PAGE_SIZE as u64, &mut page, cpu).expect("memory enough for all");
        fill(&mut expected, tag);
        assert!(page == expected, "page {at} of cpu {} is not what was written", cpu.0);
    }
    step
}

#[test]
fn four_threads_keep_every_byte_while_the_real_device_goes_off_and_on() {
    let zswap = ZswapOptions { max_pool_percent: 2, ..ZswapOptions::default() };
    let config = Config {
        memcg: Some(Hierarchy::V2),
        memory_pages: 3 * u64::from(THREADS) * PAGES,
        zswap: Some(zswap),
        ..Config::new(usize::from(THREADS) + 1, Profile::Newest)
    };
    let swap = Arc::new(Swap::with_config(config).expect("these go together"));
    let spec = GhostSpec { has_virtual_table: true, visibility: Visibility::Hidden };
    let ghost = Arc::new(Ghost::new(1 << 20, spec).expect("a size"));
    swap.swapon_storage(ghost, Some(10), Discard::None).expect("a virtual device");
    let groups = swap.memcg().expect("enabled");
    let css: Vec<CssId> =
        (0..THREADS).map(|cpu| groups.create(CssId::ROOT, &format!("cpu {cpu}")).expect("a name").css()).collect();
    let until = Instant::now() + time();
    let is_over = AtomicBool::new(false);
    let (steps, rounds) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|cpu| {
                let (swap, css) = (&swap, css[usize::from(cpu)]);
                scope.spawn(move || hammer(swap, css, CpuId(cpu), until))
            })
            .collect();
        let (swap, is_over) = (&swap, &is_over);
        let switcher = scope.spawn(move || {
            let mut rounds = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                let real = Arc::new(Ram::new(16 << 10).expect("a size"));
                let real = swap.swapon_storage(real, Some(1), Discard::None).expect("a real device");
                std::thread::sleep(Duration::from_millis(20));
                loop {
                    match swap.swapoff(&real, |entry, _| panic!("{entry} has a reference")) {
                        Ok(()) => break,
                        // Somebody was at it throughout; it is on again.
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
    let stat = |name: &str| swap.stats().into_iter().find(|(known, _)| known == name).map_or(0, |(_, value)| value);
    println!("{steps} steps, {rounds} swapoffs, {} slots through the reverse map", stat("swapoff_rmap_slots"));
    assert!(rounds > 0 && stat("swapoff_rmap_slots") > 0, "the device was in use when it went off");
    assert_eq!(stat("swapoff_ptes_visited"), 0);
    swap.shrink_swap_cache(u64::MAX, CpuId(0)).expect("a cpu");
    swap.check().expect("every invariant");
    for device in swap.devices() {
        assert_eq!(swap.inuse_pages(device.ty()), 0, "type {} has slots left", device.ty().0);
    }
    assert_eq!(swap.memory_of_folios().nr_used_pages(), 0);
    for css in css {
        let group = groups.get(css);
        assert_eq!((group.memory.usage_pages(), group.swap.usage_pages()), (0, 0));
    }
}
