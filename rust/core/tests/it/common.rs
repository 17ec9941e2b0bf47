//! Code for tests of several subjects: machines, page contents, counters, and the load of one thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::mm::{Mm, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::{Ghost, SwapStorage};
use swapcore::{
    Config, CpuId, Discard, GhostSpec, MemcgId, Order, Orders, Profile, Swap, SwapDevice, SwpOffset, Visibility,
};

/// The CPU of tests with one thread.
pub(crate) const CPU: CpuId = CpuId(0);
/// Slots of a cluster.
pub(crate) const C: u32 = 512;

pub(crate) fn order(log2: u8) -> Order {
    Order::new(log2).expect("an order")
}

/// A counter of `Swap::stats`.
pub(crate) fn stat(swap: &Swap, name: &str) -> u64 {
    swap.stats().into_iter().find(|(known, _)| known == name).map(|(_, value)| value).expect("a counter")
}

/// Slots in use on all devices.
pub(crate) fn used_slots(swap: &Swap) -> u64 {
    swap.devices().iter().map(|device| swap.inuse_pages(device.ty())).sum()
}

/// The duration of a load: one second, or `SWAPCORE_STRESS_SECONDS`.
pub(crate) fn stress_time() -> Duration {
    let given = std::env::var("SWAPCORE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(given.unwrap_or(1.0))
}

/// The number of random programs of a test: the usual one times `SWAPCORE_PROGRAMS`.
pub(crate) fn nr_programs(usual: u64) -> u64 {
    let factor = std::env::var("SWAPCORE_PROGRAMS").ok().and_then(|text| text.parse().ok());
    usual * factor.unwrap_or(1)
}

/// A subsystem of `config` with one device of priority 1 on `storage`.
pub(crate) fn swap_on(config: Config, storage: Arc<dyn SwapStorage>) -> Arc<Swap> {
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    swap.swapon_storage(storage, Some(1), Discard::None).expect("a good device");
    swap
}

/// Turns a ghost device on.
pub(crate) fn ghost_on(swap: &Swap, max_pages: u32, spec: GhostSpec, priority: i16) -> Arc<SwapDevice> {
    let ghost = Arc::new(Ghost::new(max_pages, spec).expect("a size"));
    swap.swapon_storage(ghost, Some(priority), Discard::None).expect("a good device")
}

/// A subsystem with one ghost device, which has no virtual table.
pub(crate) fn with_ghost(nr_cpus: usize, profile: Profile, max_pages: u32) -> (Swap, Arc<SwapDevice>) {
    let swap = Swap::new(nr_cpus, profile).expect("CPUs");
    let device = ghost_on(&swap, max_pages, GhostSpec::default(), 1);
    (swap, device)
}

/// The spec of a virtual device.
pub(crate) fn virtual_spec(visibility: Visibility) -> GhostSpec {
    GhostSpec { has_virtual_table: true, visibility }
}

/// An owner by which a slot shows its cluster.
pub(crate) fn owner_of(offset: SwpOffset) -> MemcgId {
    MemcgId(offset.cluster().0 as u16 + 1)
}

/// A page that compresses.
pub(crate) fn text(tag: u64) -> Vec<u8> {
    (0..PAGE_SIZE as u64 / 8).flat_map(|i| (tag << 8 | (i / 64 + 1)).to_ne_bytes()).collect()
}

/// A page that does not compress.
pub(crate) fn noise(tag: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE];
    ChaCha8Rng::seed_from_u64(tag).fill_bytes(&mut page);
    page
}

/// The page of a tag: one in four is zeros, two compress, one does not.
pub(crate) fn page_of(tag: u64) -> Vec<u8> {
    match tag % 4 {
        0 => vec![0; PAGE_SIZE],
        1 | 2 => text(tag),
        _ => noise(tag),
    }
}

/// Tells threads whether to go on: for the time of a load, then for up to a minute until enough is done, because a
/// thread of a busy machine may get no CPU time for seconds.
pub(crate) fn load(is_enough: impl Fn() -> bool) -> impl Fn() -> bool {
    let start = Instant::now();
    let time = stress_time();
    move || start.elapsed() < time || (start.elapsed() < time + Duration::from_secs(60) && !is_enough())
}

/// Writes, pages out, zaps and reads a new mapping as long as `goes_on` returns true. Every page read is compared with
/// the last write. Returns the number of steps.
pub(crate) fn hammer_mapping(
    swap: &Arc<Swap>,
    css: CssId,
    cpu: CpuId,
    nr_pages: u64,
    goes_on: impl Fn() -> bool,
) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(cpu.0.into());
    let mm = Mm::in_group(swap.clone(), css).expect("online");
    let start = mm.mmap(nr_pages, options_of(cpu)).expect("a mapping").pages().start;
    let address = |at: u64| (start.0 + at) * PAGE_SIZE as u64;
    let mut tags = vec![0u64; nr_pages as usize];
    let mut page = vec![0; PAGE_SIZE];
    let mut step = 0;
    while goes_on() {
        step += 1;
        let at = rng.random_range(0..nr_pages);
        match rng.random_range(0..8) {
            0..3 => {
                let tag = step << 2 | rng.random_range(0..4);
                mm.write(address(at), &page_of(tag), cpu).expect("memory enough for all");
                tags[at as usize] = tag;
            }
            3..6 => {
                mm.read(address(at), &mut page, cpu).expect("memory enough for all");
                assert!(page == page_of(tags[at as usize]), "page {at} of cpu {} is not what was written", cpu.0);
            }
            6 => {
                let nr = rng.random_range(1..200).min(nr_pages - at);
                mm.pageout(Vpn(start.0 + at)..Vpn(start.0 + at + nr), cpu).expect("mapped");
            }
            _ => {
                let nr = rng.random_range(1..20).min(nr_pages - at);
                mm.zap(Vpn(start.0 + at)..Vpn(start.0 + at + nr), cpu).expect("mapped");
                tags[at as usize..(at + nr) as usize].fill(0);
            }
        }
    }
    for (at, &tag) in tags.iter().enumerate() {
        mm.read(address(at as u64), &mut page, cpu).expect("memory enough for all");
        assert!(page == page_of(tag), "page {at} of cpu {} is not what was written", cpu.0);
    }
    step
}

/// Large folios on even CPUs, single pages on odd ones.
pub(crate) fn options_of(cpu: CpuId) -> VmaOptions {
    let is_large = cpu.0.is_multiple_of(2);
    let orders = Orders::from_bits(if is_large { 0b1_0001_0100 } else { 0 }).expect("a mask");
    VmaOptions { orders, anon_order: if is_large { 4 } else { 0 }, ..VmaOptions::default() }
}

/// A temporary folder that is removed with the value.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("swapcore-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
