//! Compares the data path of the core with the work that the core cannot avoid, called the plain side. A swap-out and
//! swap-in is compared with the compressor or the system calls alone. A lookup in the swap cache is compared with an
//! access to an array.
//!
//! Run `cargo bench -p swapcore --bench datapath`. Each round measures the core and the plain side in one process,
//! and the order of the two sides changes each round. A ratio is the time of the core divided by the time of the
//! plain side in the same round. The figures are the median and the quartiles of all ratios.

mod common;

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{NR_RUNS, RUN_BYTES, RUN_PAGES, SEED, pairs, runs};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::Pfn;
use swapcore::storage::header::SwapHeader;
use swapcore::storage::{File, FileOptions, SwapStorage, Zram, ZramOptions};
use swapcore::table::SwapTableEntry;
use swapcore::{
    Config, CpuId, DeviceSpec, Discard, MappedFolio, Order, Orders, Profile, Swap, SwapDevice, Swapin, SwpEntry,
    SwpOffset,
};

const CPU: CpuId = CpuId(0);

fn order() -> Order {
    Order::new(RUN_PAGES.ilog2() as u8).expect("an order")
}

/// Swaps every folio out, and then swaps every folio in.
fn out_and_in<'s>(swap: &'s Swap, folios: &mut Vec<MappedFolio<'s>>) {
    let entries: Vec<SwpEntry> = folios
        .drain(..)
        .map(|folio| {
            // The dirty flag stands for a page that a program wrote to since the last swap-in.
            folio.folio().set(swapcore::FolioFlags::DIRTY);
            swap.swap_out(folio, CPU).map_err(|kept| kept.error).expect("room")
        })
        .collect();
    let how = Swapin::new(CPU, Orders::one(order()));
    folios.extend(entries.into_iter().map(|entry| swap.swap_in(entry, RUN_PAGES as u32, &how).expect("readable")));
}

fn machine(storage: Arc<dyn SwapStorage>) -> Swap {
    let swap = Swap::new(1, Profile::Newest).expect("one cpu");
    swap.swapon_storage(storage, Some(1), Discard::None).expect("a good device");
    swap
}

fn resident<'s>(swap: &'s Swap, runs: &[Vec<u8>]) -> Vec<MappedFolio<'s>> {
    runs.iter().map(|run| MappedFolio::map(swap.folio_with(order(), run).expect("memory"))).collect()
}

fn zram(rng: &mut ChaCha8Rng) {
    for (noise, what) in [(1, "2.2 to 1"), (4, "1.7 to 1"), (8, "1.3 to 1")] {
        let runs = runs(rng, noise);
        let swap = machine(Arc::new(Zram::new(1 << 16, &ZramOptions::default()).expect("a size")));
        let mut folios = resident(&swap, &runs);
        let mut back = runs.clone();
        let mut out = vec![0; get_maximum_output_size(PAGE_SIZE)];
        let mut kept = vec![vec![0; out.len()]; NR_RUNS * RUN_PAGES];
        let mut lengths = vec![0; NR_RUNS * RUN_PAGES];
        let plain = || {
            for (page, at) in back.iter().flat_map(|run| run.chunks_exact(PAGE_SIZE)).zip(0..) {
                let bytes = compress_into(black_box(page), &mut out).expect("room");
                kept[at][..bytes].copy_from_slice(&out[..bytes]);
                lengths[at] = bytes;
            }
            for (page, at) in back.iter_mut().flat_map(|run| run.chunks_exact_mut(PAGE_SIZE)).zip(0..) {
                decompress_into(&kept[at][..lengths[at]], black_box(page)).expect("whole");
            }
        };
        let name = format!("zram, lz4, {what}: 64 kB folios out and in over compress + memcpy + decompress");
        pairs(&name, || out_and_in(&swap, &mut folios), plain);
        for (folio, run) in folios.into_iter().zip(&runs) {
            assert!(*folio.folio().bytes().expect("no views") == **run, "the same bytes as at the start");
            swap.folio_unmap(folio, CPU).expect("a cpu");
        }
    }
}

fn file(rng: &mut ChaCha8Rng) {
    let runs = runs(rng, 8);
    let dir = std::env::temp_dir();
    let paths = ["swap", "plain"].map(|name| dir.join(format!("swapcore-bench-{}-{name}", std::process::id())));
    let last_page = (2 * NR_RUNS * RUN_PAGES) as u32;
    let header = SwapHeader { last_page, bad_pages: Vec::new(), uuid: [7; 16], label: "bench".into() };
    paths.iter().for_each(|path| File::create(path, &header, false).expect("room"));
    // The file is declared a block device, because the core allocates no large runs on a regular file.
    let options = FileOptions { is_block_device: Some(true), ..FileOptions::default() };
    let swap = machine(Arc::new(File::open(&paths[0], &options).expect("just made")));
    let plain_file = fs::OpenOptions::new().read(true).write(true).open(&paths[1]).expect("just made");
    let mut folios = resident(&swap, &runs);
    let mut back = runs.clone();
    let plain = || {
        for (i, run) in back.iter().enumerate() {
            plain_file.write_all_at(black_box(run), (PAGE_SIZE + i * RUN_BYTES) as u64).expect("room");
        }
        for (i, run) in back.iter_mut().enumerate() {
            plain_file.read_exact_at(black_box(run), (PAGE_SIZE + i * RUN_BYTES) as u64).expect("whole");
        }
    };
    pairs("file, page cache: 64 kB folios out and in over pwrite + pread", || out_and_in(&swap, &mut folios), plain);
    folios.into_iter().for_each(|folio| swap.folio_unmap(folio, CPU).expect("a cpu"));
    paths.iter().for_each(|path| fs::remove_file(path).expect("just made"));
}

/// Fills half of a device with cached folios of an order. The device must not be more than half full, because the
/// core frees the slots of cached folios when a device is more than half full.
fn fill(swap: &Swap, pages: u32, order: Order) {
    for _ in 0..pages >> order.get() {
        let folio = swap.memory_of_folios().alloc(order).expect("memory");
        swap.on_cpu(CPU).expect("a cpu").folio_alloc_swap(folio.folio()).expect("room");
    }
}

/// The number of lookups in one round.
const NR_LOOKUPS: usize = 1 << 14;

/// Visits slots `1024..1024 + nr` in an order that a CPU cannot predict. `look` returns a word whose top bit is
/// clear. With `IS_CHAINED` the next slot depends on the word of the last lookup, so that lookups do not overlap and
/// the bench measures their latency.
fn visit<const IS_CHAINED: bool>(nr: u64, mut look: impl FnMut(u64) -> u64) {
    let mut at = 0u64;
    for _ in 0..NR_LOOKUPS {
        let word = look(1024 + at);
        // `top` is always 0, but the compiler cannot know this because of `black_box`.
        let top = black_box(word) >> 63;
        let link = if IS_CHAINED { top } else { 0 };
        at = (at.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f + link)) & (nr - 1);
    }
    black_box(at);
}

fn lookup(_rng: &mut ChaCha8Rng) {
    for (nr, folio_order, what) in [(1u32 << 16, 0, "64 Ki"), (1 << 24, 9, "16 Mi")] {
        let pages = 2 * nr + 8192;
        let config = Config { memory_pages: u64::from(pages), ..Config::new(1, Profile::Newest) };
        let swap = Swap::with_config(config).expect("a good config");
        let device: Arc<SwapDevice> = swap.swapon(&DeviceSpec::new(pages)).expect("a good device");
        fill(&swap, nr + 2048, Order::new(folio_order).expect("an order"));
        // The plain side looks slots up in this array, which has one cached entry for each slot.
        let array: Vec<AtomicU64> =
            (0..pages).map(|slot| AtomicU64::new(SwapTableEntry::cached(Pfn(slot.into())).raw())).collect();
        let counts: Vec<AtomicU64> = (0..pages).map(|_| AtomicU64::new(1)).collect();
        println!("{what} slots:");
        let mut on_cpu = swap.on_cpu(CPU).expect("a cpu");
        // Relaxed: only this thread uses the array.
        let plain = |slot: u64| {
            let entry = SwapTableEntry::from_raw(array[slot as usize].load(Ordering::Relaxed));
            entry.pfn().expect("cached").0
        };
        let entry = |slot: u64| SwpEntry::new(device.ty(), SwpOffset(slot as u32));
        let ours = |slot: u64| device.get(SwpOffset(slot as u32)).pfn().expect("cached").0;
        let mut checked = |slot: u64| on_cpu.swap_cache_lookup(entry(slot)).expect("on").expect("cached").0;
        let name =
            |what: &str, how: &str| format!("swap cache lookup hit{what}, {how}, over a flat atomic array of entries");
        let one = "one after the other";
        pairs(&name("", one), || visit::<true>(nr.into(), ours), || visit::<true>(nr.into(), plain));
        pairs(&name(" by entry", one), || visit::<true>(nr.into(), &mut checked), || visit::<true>(nr.into(), plain));
        let many = "many under way";
        pairs(&name("", many), || visit::<false>(nr.into(), ours), || visit::<false>(nr.into(), plain));
        pairs(
            &name(" by entry", many),
            || visit::<false>(nr.into(), &mut checked),
            || visit::<false>(nr.into(), plain),
        );
        pairs(
            &format!("swap_cache_get_folio + put, {what} slots, over array index + a reference taken and put"),
            || {
                visit::<true>(nr.into(), |slot| {
                    on_cpu.swap_cache_get_folio(entry(slot)).expect("on").expect("cached").pfn().0
                })
            },
            || {
                visit::<true>(nr.into(), |slot| {
                    let found = plain(slot);
                    let count = &counts[found as usize];
                    let seen = count.load(Ordering::Relaxed);
                    let taken = count.compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed);
                    assert!(taken.is_ok(), "one thread");
                    count.fetch_sub(1, Ordering::Release);
                    found
                })
            },
        );
    }
}

/// A part of the bench, as a function.
type Part = fn(&mut ChaCha8Rng);

fn main() {
    println!("seed {SEED}");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    // An argument names the part to run. Without an argument all parts run.
    let wanted = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let parts: [(&str, Part); 3] = [("zram", zram), ("file", file), ("lookup", lookup)];
    parts
        .into_iter()
        .filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name))
        .for_each(|(_, part)| part(&mut rng));
}
