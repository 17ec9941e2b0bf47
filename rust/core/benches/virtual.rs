//! Measures the cost of virtual slots, and the time that a swapoff through the reverse map saves.
//!
//! Run `cargo bench -p swapcore --bench virtual`. In the output, `plain` is a device that serves folios itself. `on`
//! is the same device behind a virtual device. `off` is the same device without a virtual device, in a subsystem
//! whose zswap was turned off. Each round measures both sides of a comparison in one process.

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{NR_RUNS, RUN_PAGES, SEED, pairs, runs};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::spec::{GhostSpec, Visibility};
use swapcore::storage::{Ghost, Ram, SwapStorage, Zram, ZramOptions};
use swapcore::zswap::ZswapOptions;
use swapcore::{Config, CpuId, Discard, MappedFolio, Order, Orders, Profile, Swap, SwapDevice, Swapin, SwpEntry};

const CPU: CpuId = CpuId(0);

/// The device in front of the real device: no device, or a virtual device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    Nothing,
    Virtual,
}

fn machine(front: Front, has_zswap: bool, storage: Arc<dyn SwapStorage>) -> Arc<Swap> {
    let zswap = has_zswap.then(ZswapOptions::default);
    let config = Config { zswap, memory_pages: 1 << 19, ..Config::new(1, Profile::Newest) };
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    swap.swapon_storage(storage, Some(1), Discard::None).expect("a good device");
    if front == Front::Virtual {
        let spec = GhostSpec { has_virtual_table: true, visibility: Visibility::Hidden };
        let ghost = Arc::new(Ghost::new(1 << 24, spec).expect("a size"));
        swap.swapon_storage(ghost, Some(10), Discard::None).expect("a good device");
    }
    swap
}

fn resident<'s>(swap: &'s Swap, runs: &[Vec<u8>], order: Order) -> Vec<MappedFolio<'s>> {
    let bytes = order.nr_pages() as usize * PAGE_SIZE;
    let folios = runs.iter().flat_map(|run| run.chunks_exact(bytes));
    folios.map(|data| MappedFolio::map(swap.folio_with(order, data).expect("memory"))).collect()
}

fn out<'s>(swap: &'s Swap, folios: &mut Vec<MappedFolio<'s>>) -> Vec<SwpEntry> {
    let out = |folio: MappedFolio<'s>| {
        folio.folio().set(swapcore::FolioFlags::DIRTY);
        swap.swap_out(folio, CPU).map_err(|kept| kept.error).expect("room")
    };
    folios.drain(..).map(out).collect()
}

fn back<'s>(swap: &'s Swap, entries: &[SwpEntry], order: Order) -> Vec<MappedFolio<'s>> {
    let how = Swapin::new(CPU, Orders::one(order));
    entries
        .iter()
        .flat_map(|&entry| {
            let mut done = Vec::new();
            swap.swap_in_all(entry, order.nr_pages(), &how, &mut done).expect("readable");
            done
        })
        .collect()
}

/// Compares two subsystems in two measurements: swap-outs followed by swap-ins, and the free of swapped-out slots.
fn compare(name: &str, sides: [&Arc<Swap>; 2], runs: &[Vec<u8>], order: Order) {
    let [ours, plain] = sides;
    let cycle = |swap: &Arc<Swap>| {
        // Each round makes new folios, because a folio may be swapped in as several smaller folios.
        let mut folios = resident(swap, runs, order);
        let entries = out(swap, &mut folios);
        for folio in back(swap, &entries, order) {
            swap.folio_unmap(folio, CPU).expect("a cpu");
        }
    };
    pairs(&format!("{name}: make, out, in, drop"), || cycle(ours), || cycle(plain));
    let free = |swap: &Arc<Swap>| {
        let mut folios = resident(swap, runs, order);
        let entries = out(swap, &mut folios);
        let start = Instant::now();
        entries.iter().for_each(|&entry| swap.put(entry, order.nr_pages(), CPU).expect("one reference"));
        start.elapsed().as_secs_f64()
    };
    let mut ratios = Vec::new();
    let mut nanos = [Vec::new(), Vec::new()];
    for round in 0..101 {
        let (a, b) = if round % 2 == 0 {
            (free(ours), free(plain))
        } else {
            let b = free(plain);
            (free(ours), b)
        };
        ratios.push(a / b);
        let nr_slots = (NR_RUNS * RUN_PAGES) as f64;
        nanos[0].push(a * 1e9 / nr_slots);
        nanos[1].push(b * 1e9 / nr_slots);
    }
    let median = |samples: &mut Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    };
    let [mut ours_ns, mut plain_ns] = nanos;
    println!(
        "{name}: free of swapped-out slots: ratio {:.3}; {:.1} ns a slot, plain {:.1} ns",
        median(&mut ratios),
        median(&mut ours_ns),
        median(&mut plain_ns)
    );
}

fn layers(rng: &mut ChaCha8Rng) {
    let runs = runs(rng, 4);
    let ram = || -> Arc<dyn SwapStorage> { Arc::new(Ram::new(1 << 18).expect("a size")) };
    let zram = || -> Arc<dyn SwapStorage> { Arc::new(Zram::new(1 << 18, &ZramOptions::default()).expect("a size")) };
    for (log2, pages) in [(0, "4 kB"), (RUN_PAGES.ilog2() as u8, "64 kB")] {
        let order = Order::new(log2).expect("an order");
        let (on, plain) = (machine(Front::Virtual, false, ram()), machine(Front::Nothing, false, ram()));
        compare(&format!("ram, {pages}, on / plain"), [&on, &plain], &runs, order);
        let (on, plain) = (machine(Front::Virtual, false, zram()), machine(Front::Nothing, false, zram()));
        compare(&format!("zram, {pages}, on / plain"), [&on, &plain], &runs, order);
        let (on, plain) = (machine(Front::Virtual, true, ram()), machine(Front::Nothing, true, ram()));
        compare(&format!("zswap over ram, {pages}, on / plain"), [&on, &plain], &runs, order);
        let (off, plain) = (machine(Front::Nothing, true, ram()), machine(Front::Nothing, false, ram()));
        off.zswap().set_options(ZswapOptions { is_enabled: false, ..off.zswap().options() }).expect("off");
        compare(&format!("ram, {pages}, off (zswap made and turned off) / plain"), [&off, &plain], &runs, order);
    }
}

/// The number of slots in a GiB.
const GIB_PAGES: f64 = (1 << 18) as f64;

/// Measures the swapoff of a device that has one GiB of folios of one address space. For a device behind virtual
/// slots, swapoff finds the slots' owners through the reverse map. For a plain device, swapoff walks the page tables.
fn swapoff(rng: &mut ChaCha8Rng) {
    const NR_PAGES: u64 = 1 << 18;
    let data = runs(rng, 4);
    let ways = [(Front::Virtual, "fast, through the reverse map"), (Front::Nothing, "classic walk")];
    // The first round is not shown, because it includes the time of the first touch of each page of memory.
    for (round, (front, what)) in (0..3).flat_map(|round| ways.map(|way| (round, way))) {
        let swap = machine(front, false, Arc::new(Ram::new(NR_PAGES as u32 + 4096).expect("a size")));
        let mm = Mm::new(swap.clone());
        let vma = mm.mmap(NR_PAGES, VmaOptions::default()).expect("a mapping");
        let start = vma.pages().start.0;
        for page in 0..NR_PAGES {
            let run = &data[page as usize / RUN_PAGES % NR_RUNS];
            let bytes = &run[page as usize % RUN_PAGES * PAGE_SIZE..][..PAGE_SIZE];
            mm.write((start + page) * PAGE_SIZE as u64, bytes, CPU).expect("memory");
        }
        mm.pageout(Vpn(start)..Vpn(start + NR_PAGES), CPU).expect("mapped");
        let real: Arc<SwapDevice> =
            swap.devices().into_iter().find(|device| !device.is_ghost()).expect("the first one turned on");
        let nr_slots = swap.inuse_pages(real.ty());
        let begin = Instant::now();
        swap.swapoff(&real, |_, _| mm.unuse(real.ty(), CPU)).expect("memory for all of it");
        let seconds = begin.elapsed().as_secs_f64();
        let stat = |name: &str| swap.stats().into_iter().find(|(known, _)| known == name).map_or(0, |(_, value)| value);
        if round == 0 {
            continue;
        }
        println!(
            "swapoff, {what}: {nr_slots} slots, {:.3} s per GiB, {} page table entries visited",
            seconds * GIB_PAGES / nr_slots.max(1) as f64,
            stat("swapoff_ptes_visited")
        );
        swap.check().expect("every invariant");
    }
}

fn main() {
    println!("seed {SEED}");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let wanted = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    if is_wanted("swapoff") {
        swapoff(&mut rng);
    }
    if is_wanted("layers") {
        layers(&mut rng);
    }
}
