//! Helpers that the tests of several subjects share: subsystems, page contents, counters, address spaces and loads by
//! threads.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swapcore::base::limits::PAGE_SIZE;
use swapcore::base::types::CssId;
use swapcore::mm::{Mm, Pte, VmaOptions};
use swapcore::readahead::Vpn;
use swapcore::storage::{Ghost, Ram, SwapStorage};
use swapcore::workingset::LruList;
use swapcore::{
    Config, CpuId, Discard, GhostSpec, MemcgId, Order, Orders, Profile, Swap, SwapDevice, SwpOffset, Visibility,
};

/// The CPU that tests with one thread use.
pub(crate) const CPU: CpuId = CpuId(0);
/// The number of slots in a cluster.
pub(crate) const C: u32 = 512;

pub(crate) fn order(log2: u8) -> Order {
    Order::new(log2).expect("an order")
}

/// Returns a counter of `Swap::stats`.
pub(crate) fn stat(swap: &Swap, name: &str) -> u64 {
    swap.stats().into_iter().find(|(known, _)| known == name).map(|(_, value)| value).expect("a counter")
}

/// Returns the number of slots in use on all devices.
pub(crate) fn used_slots(swap: &Swap) -> u64 {
    swap.devices().iter().map(|device| swap.inuse_pages(device.ty())).sum()
}

/// Checks the invariants 50 times in a quarter of a second, while other threads work.
pub(crate) fn check_now_and_then(swap: &Swap) {
    for _ in 0..50 {
        swap.check().expect("every invariant at any time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the duration of a load: the value of `SWAPCORE_STRESS_SECONDS` in seconds, or one second.
pub(crate) fn stress_time() -> Duration {
    let given = std::env::var("SWAPCORE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(given.unwrap_or(1.0))
}

/// Returns the number of random programs of a test: `usual` times the value of `SWAPCORE_PROGRAMS`.
pub(crate) fn nr_programs(usual: u64) -> u64 {
    let factor = std::env::var("SWAPCORE_PROGRAMS").ok().and_then(|text| text.parse().ok());
    usual * factor.unwrap_or(1)
}

/// Returns a storage in memory with `pages` slots.
pub(crate) fn ram(pages: u32) -> Arc<Ram> {
    Arc::new(Ram::new(pages).expect("memory"))
}

/// Turns a storage on as a device.
pub(crate) fn storage_on(swap: &Swap, storage: Arc<dyn SwapStorage>, priority: i16) -> Arc<SwapDevice> {
    swap.swapon_storage(storage, Some(priority), Discard::None).expect("a good device")
}

/// Returns a subsystem of `config` with one device of priority 1 on `storage`.
pub(crate) fn swap_on(config: Config, storage: Arc<dyn SwapStorage>) -> Arc<Swap> {
    let swap = Arc::new(Swap::with_config(config).expect("a good config"));
    storage_on(&swap, storage, 1);
    swap
}

/// Shrinks the swap cache, and then checks the invariants and that no slot, page or list entry is in use.
pub(crate) fn assert_empty(swap: &Swap) {
    swap.shrink_swap_cache(u64::MAX, CPU).expect("a CPU");
    swap.check().expect("every invariant");
    let memory = swap.memory_of_folios();
    let left = (used_slots(swap), memory.nr_used_pages(), swap.nr_swapcache_pages());
    assert_eq!(left, (0, 0, 0), "slots, pages, cached pages");
    assert_eq!(LruList::ALL.map(|list| memory.lruvec().lru_pages(list)), [0; 5]);
}

/// Turns a ghost on as a device.
pub(crate) fn ghost_on(swap: &Swap, max_pages: u32, spec: GhostSpec, priority: i16) -> Arc<SwapDevice> {
    storage_on(swap, Arc::new(Ghost::new(max_pages, spec).expect("a size")), priority)
}

/// Returns a subsystem with one ghost device, which has no virtual table.
pub(crate) fn with_ghost(nr_cpus: usize, profile: Profile, max_pages: u32) -> (Swap, Arc<SwapDevice>) {
    let swap = Swap::new(nr_cpus, profile).expect("CPUs");
    let device = ghost_on(&swap, max_pages, GhostSpec::default(), 1);
    (swap, device)
}

/// Returns the spec of a virtual device, which is a ghost with a virtual table.
pub(crate) fn virtual_spec(visibility: Visibility) -> GhostSpec {
    GhostSpec { has_virtual_table: true, visibility }
}

/// Returns a memcg id that is derived from the cluster of a slot, so that the id identifies the cluster.
pub(crate) fn owner_of(offset: SwpOffset) -> MemcgId {
    MemcgId(offset.cluster().0 as u16 + 1)
}

/// Returns a page of data that compresses well. The content depends on `tag`.
pub(crate) fn text(tag: u64) -> Vec<u8> {
    (0..PAGE_SIZE as u64 / 8).flat_map(|i| (tag << 8 | (i / 64 + 1)).to_ne_bytes()).collect()
}

/// Returns a page of random data that does not compress. The content depends on `tag`.
pub(crate) fn noise(tag: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE];
    ChaCha8Rng::seed_from_u64(tag).fill_bytes(&mut page);
    page
}

/// Returns the page content for a tag. If `tag` is a multiple of 4, the page is zeros. Two thirds of the other tags
/// give pages that compress.
pub(crate) fn page_of(tag: u64) -> Vec<u8> {
    match tag % 4 {
        0 => vec![0; PAGE_SIZE],
        1 | 2 => text(tag),
        _ => noise(tag),
    }
}

/// Makes the end condition of a load: the returned function is true while the threads of the load must go on. The
/// load runs for [`stress_time`]. While `is_enough` is false after this time, the load goes on for up to a minute
/// more, because a thread on a busy machine may get no CPU time for seconds.
pub(crate) fn load(is_enough: impl Fn() -> bool) -> impl Fn() -> bool {
    let start = Instant::now();
    let time = stress_time();
    move || start.elapsed() < time || (start.elapsed() < time + Duration::from_secs(60) && !is_enough())
}

/// An address space with one mapping.
pub(crate) struct Space {
    pub(crate) mm: Mm,
    first: Vpn,
}

impl Space {
    pub(crate) fn new(swap: &Arc<Swap>, css: CssId, nr_pages: u64, options: VmaOptions) -> Self {
        let mm = Mm::in_group(swap.clone(), css).expect("online");
        let first = mm.mmap(nr_pages, options).expect("a mapping").pages().start;
        Self { mm, first }
    }

    pub(crate) fn page(&self, at: u64) -> Vpn {
        Vpn(self.first.0 + at)
    }

    pub(crate) fn pages(&self, range: Range<u64>) -> Range<Vpn> {
        self.page(range.start)..self.page(range.end)
    }

    pub(crate) fn address(&self, at: u64) -> u64 {
        self.page(at).0 * PAGE_SIZE as u64
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.mm.vma_of(self.first).expect("mapped").options().is_locked
    }

    pub(crate) fn nr_present(&self, pages: impl IntoIterator<Item = u64>) -> u64 {
        let is_present = |vpn| matches!(self.mm.vma_of(vpn).expect("mapped").pte(vpn), Pte::Present { .. });
        pages.into_iter().filter(|&page| is_present(self.page(page))).count() as u64
    }

    pub(crate) fn fork(&self, cpu: CpuId) -> Self {
        Self { mm: self.mm.fork(cpu).expect("room"), first: self.first }
    }
}

/// The load of one thread. The thread writes, reads, pages out, forks and zaps its own mapping. Every page that the
/// thread reads is compared with the last write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) css: CssId,
    pub(crate) cpu: CpuId,
    pub(crate) nr_pages: u64,
    /// Whether reads and writes of the device may fail.
    pub(crate) may_fail: bool,
}

impl Load {
    pub(crate) fn new(cpu: u16, nr_pages: u64) -> Self {
        Self { css: CssId::ROOT, cpu: CpuId(cpu), nr_pages, may_fail: false }
    }

    /// Runs random steps while `goes_on` returns true. Returns the number of steps.
    pub(crate) fn run(self, swap: &Arc<Swap>, mut goes_on: impl FnMut() -> bool) -> u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.cpu.0.into());
        let space = Space::new(swap, self.css, self.nr_pages, options_of(self.cpu));
        let mut tags = vec![0; self.nr_pages as usize];
        let mut child = None;
        let mut step = 0;
        while goes_on() {
            step += 1;
            let at = rng.random_range(0..self.nr_pages);
            let tag = step << 2 | rng.random_range(0..4);
            match rng.random_range(0..8) {
                0..3 => self.write(&space, &mut tags, at, tag),
                3..6 => self.check(&space, &tags, at),
                6 => {
                    let end = (at + rng.random_range(1..200)).min(self.nr_pages);
                    space.mm.pageout(space.pages(at..end), self.cpu).expect("mapped");
                }
                _ if rng.random_ratio(1, 40) => {
                    let (fork, mut tags) = (space.fork(self.cpu), tags.clone());
                    self.write(&fork, &mut tags, at, tag);
                    child = Some((fork, tags));
                }
                _ if rng.random_ratio(1, 4) => child.iter().for_each(|(child, tags)| self.check(child, tags, at)),
                _ => {
                    let end = (at + rng.random_range(1..20)).min(self.nr_pages);
                    space.mm.zap(space.pages(at..end), self.cpu).expect("mapped");
                    tags[at as usize..end as usize].fill(0);
                }
            }
        }
        drop(child);
        (0..self.nr_pages).for_each(|at| self.check(&space, &tags, at));
        step
    }

    fn write(&self, space: &Space, tags: &mut [u64], at: u64, tag: u64) {
        // A write fails if the page must be swapped in first and the read of the device fails.
        match space.mm.write(space.address(at), &page_of(tag), self.cpu) {
            Ok(()) => tags[at as usize] = tag,
            Err(error) => assert!(self.may_fail, "{error}"),
        }
    }

    fn check(&self, space: &Space, tags: &[u64], at: u64) {
        let mut page = vec![0; PAGE_SIZE];
        match space.mm.read(space.address(at), &mut page, self.cpu) {
            Ok(()) => {
                assert!(page == page_of(tags[at as usize]), "page {at} of {:?} is not what was written", self.cpu)
            }
            Err(error) => assert!(self.may_fail, "{error}"),
        }
    }
}

/// Returns the options of a mapping. On even CPUs the mapping has large folios, and on odd CPUs single pages.
pub(crate) fn options_of(cpu: CpuId) -> VmaOptions {
    let is_large = cpu.0.is_multiple_of(2);
    let orders = Orders::from_bits(if is_large { 0b1_0001_0100 } else { 0 }).expect("a mask");
    VmaOptions { orders, anon_order: if is_large { 4 } else { 0 }, ..VmaOptions::default() }
}

/// A temporary folder, which is removed when the value is dropped.
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
