//! zswap stores swapped-out pages compressed in memory instead of on a device, and may write them to a device later.
//! This folder contains the entries of the pages, the pools with the compressed data, and the lists of entries by
//! age. `datapath/zswap_store` decides whether a page may be stored, and `swapping/zswap_writeback` writes pages back
//! to devices.

mod entries;
mod map;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::io::Errno;

use crate::base::error::{Result, SwapError, check_share};
use crate::base::limits::{PAGE_SIZE, ZSWAP_MAP_SHARDS, ZSWAP_POOLS_MAX, ZSWAP_TREE_PAGES};
use crate::base::sync::SpinMutex;
use crate::base::types::{CssId, SwpEntry, ZswapId};
pub use crate::compress::Algorithm;
use crate::compress::zsmalloc::Pool;
use crate::compress::{decompress, with_scratch};

use entries::Entries;
pub(crate) use entries::{Compressed, Entry};
use map::{LEAF_SLOTS, Map};

/// Options of zswap. Kernel: the parameters of the module `zswap`, with the same defaults except for `is_enabled`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZswapOptions {
    /// Whether zswap stores new pages. Kernel: `enabled`.
    pub is_enabled: bool,
    /// Algorithm that compresses new pages. Kernel: `compressor`.
    pub compressor: Algorithm,
    /// Largest memory of all pools together, in percent of RAM, 0..=100. Kernel: `max_pool_percent`.
    pub max_pool_percent: u32,
    /// Size to which full pools must shrink before zswap stores pages again, in percent of the largest memory of all
    /// pools, 0..=100. Kernel: `accept_threshold_percent`.
    pub accept_threshold_percent: u32,
    /// Whether reclaim writes cold pages from zswap back to devices. Kernel: `shrinker_enabled`.
    pub is_shrinker_enabled: bool,
}

impl Default for ZswapOptions {
    fn default() -> Self {
        Self {
            is_enabled: true,
            compressor: Algorithm::default(),
            max_pool_percent: 20,
            accept_threshold_percent: 90,
            is_shrinker_enabled: false,
        }
    }
}

impl ZswapOptions {
    fn check(self) -> Result<Self> {
        let percents =
            [("max_pool_percent", self.max_pool_percent), ("accept_threshold_percent", self.accept_threshold_percent)];
        self.compressor.checked()?;
        match percents.into_iter().find(|&(_, percent)| percent > 100) {
            Some((what, value)) => Err(SwapError::OutOfRange { what, value: value.into(), low: 0, high: 100 }),
            None => Ok(self),
        }
    }
}

/// Probabilities of injected failures, each 0.0..=1.0. The default probabilities are 0.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ZswapFaults {
    /// Probability that the allocation of an entry fails.
    pub entry_alloc: f64,
    /// Probability that the allocation of memory for data fails.
    pub pool_alloc: f64,
    /// Probability that the compressor fails.
    pub compress: f64,
    /// Probability that the decompressor fails.
    pub decompress: f64,
    /// Seed of the random number generator.
    pub seed: u64,
}

/// Counters of zswap. Kernel: the files in debugfs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ZswapStat {
    PoolLimitHit,
    RejectReclaimFail,
    RejectAllocFail,
    RejectKmemcacheFail,
    RejectCompressFail,
    RejectCompressPoor,
    DecompressFail,
    WrittenBackPages,
    StoredPages,
    StoredIncompressiblePages,
}

const NR_STATS: usize = ZswapStat::StoredIncompressiblePages as usize + 1;

/// Counters of one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZpoolStats {
    /// Algorithm that compressed the pages of the pool.
    pub compressor: Algorithm,
    /// Pages stored in the pool.
    pub stored_pages: u64,
    /// Bytes of the pool's memory, in whole pages.
    pub pool_bytes: u64,
    /// Bytes of data in the pool.
    pub compressed_bytes: u64,
    /// Whether zswap stores new pages in this pool.
    pub is_current: bool,
}

/// Memory for the pages that one compressor has compressed. Kernel: `struct zswap_pool`.
#[derive(Debug)]
struct Zpool {
    number: u8,
    compressor: Algorithm,
    memory: Pool,
    nr_stored: AtomicU64,
}

/// Makes the error for a page whose data is damaged.
pub(crate) fn damaged(swp: SwpEntry, nr_pages: u32) -> SwapError {
    let (op, storage, what) = ("read", "zswap".into(), "its data is damaged".into());
    SwapError::Io { op, storage, first: swp.offset().0, nr_pages, errno: Errno::IO, what }
}

/// The treatment of a page that does not compress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PoorPage {
    /// zswap stores the page uncompressed.
    Keep,
    /// zswap does not store the page.
    Reject,
}

/// The error for a page that zswap does not store. The function that returns the error has counted the reason in a
/// [`ZswapStat`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rejected;

#[derive(Debug)]
struct Dice {
    faults: ZswapFaults,
    rng: ChaCha8Rng,
}

/// A part of the map from slots to entry numbers, for devices that are not virtual. One shard has the entries of
/// several ranges of 2^14 slots; the kernel has one tree for each such range.
type Shard = SpinMutex<Map>;

/// The compressed cache of one subsystem. Kernel: the globals of `mm/zswap.c`.
#[derive(Debug)]
pub struct Zswap {
    ram_pages: u64,
    options: SpinMutex<ZswapOptions>,
    /// Copy of the option `is_enabled` outside the lock of `options`, because every swap-out reads the option.
    is_enabled: AtomicBool,
    /// Whether zswap was ever enabled. Kernel: `zswap_ever_enabled`.
    was_enabled: AtomicBool,
    /// Whether the pools are full: the pools have reached the limit and have not yet shrunk to the threshold. Kernel:
    /// `zswap_pool_reached_full`.
    is_full: AtomicBool,
    /// Whether the shrink worker is queued.
    is_shrink_queued: AtomicBool,
    /// The group that the shrink worker scanned last, or 0 for no group. Kernel: `zswap_next_shrink`.
    shrink_cursor: AtomicU32,
    /// The pools. The current pool is the first pool. Kernel: `zswap_pools`.
    pools: SpinMutex<Vec<Arc<Zpool>>>,
    entries: SpinMutex<Entries>,
    map: Box<[Shard]>,
    stats: [AtomicU64; NR_STATS],
    has_faults: AtomicBool,
    dice: SpinMutex<Option<Dice>>,
}

// Every access to a flag or a counter is Relaxed, because flags and counters guard no other data. A lock orders the
// data of an entry: the lock of the folio over the entry's slot, or the cluster lock under which the slot is freed.
impl Zswap {
    /// Makes zswap for `ram_pages` pages of RAM. Errors: `OutOfRange` (EINVAL) when a percentage is over 100.
    pub(crate) fn new(ram_pages: u64, options: Option<ZswapOptions>) -> Result<Self> {
        let options = options.unwrap_or(ZswapOptions { is_enabled: false, ..ZswapOptions::default() }).check()?;
        Ok(Self {
            ram_pages,
            options: SpinMutex::new(options),
            is_enabled: AtomicBool::new(options.is_enabled),
            was_enabled: AtomicBool::new(options.is_enabled),
            is_full: AtomicBool::new(false),
            is_shrink_queued: AtomicBool::new(false),
            shrink_cursor: AtomicU32::new(0),
            pools: SpinMutex::default(),
            entries: SpinMutex::default(),
            map: (0..ZSWAP_MAP_SHARDS).map(|_| Shard::default()).collect(),
            stats: Default::default(),
            has_faults: AtomicBool::new(false),
            dice: SpinMutex::default(),
        })
    }

    /// Returns the current options.
    pub fn options(&self) -> ZswapOptions {
        *self.options.lock()
    }

    /// Replaces the options. A new compressor gets a new pool. The old pool is removed when the old pool is empty.
    /// When zswap is disabled, it keeps its stored pages but stores no new page. Errors, with nothing changed:
    /// `OutOfRange` (EINVAL).
    pub fn set_options(&self, options: ZswapOptions) -> Result<()> {
        let options = options.check()?;
        *self.options.lock() = options;
        self.is_enabled.store(options.is_enabled, Relaxed);
        self.was_enabled.fetch_or(options.is_enabled, Relaxed);
        Ok(())
    }

    /// Replaces the probabilities of injected failures. Errors, with nothing changed: `BadShare` (EINVAL).
    pub fn set_faults(&self, faults: ZswapFaults) -> Result<()> {
        let probabilities = [faults.entry_alloc, faults.pool_alloc, faults.compress, faults.decompress];
        probabilities.into_iter().try_for_each(|probability| check_share("fault probability", probability, 1))?;
        let has_faults = faults != ZswapFaults { seed: faults.seed, ..ZswapFaults::default() };
        let dice = Dice { faults, rng: ChaCha8Rng::seed_from_u64(faults.seed) };
        *self.dice.lock() = has_faults.then_some(dice);
        self.has_faults.store(has_faults, Relaxed);
        Ok(())
    }

    /// Decides at random whether an injected failure happens. `probability` selects the kind of failure.
    fn fails(&self, probability: impl Fn(&ZswapFaults) -> f64) -> bool {
        let roll = |dice: &mut Dice| dice.rng.random_bool(probability(&dice.faults));
        self.has_faults.load(Relaxed) && self.dice.lock().as_mut().is_some_and(roll)
    }

    /// Returns whether zswap stores new pages.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Relaxed)
    }

    /// Returns whether zswap was ever enabled. Kernel: the opposite of `zswap_never_enabled`.
    #[inline]
    pub fn was_enabled(&self) -> bool {
        self.was_enabled.load(Relaxed)
    }

    /// Returns whether any slot has an entry. If the result is false, the slots whose folio or cluster the caller has
    /// locked have no entry, because under one of these locks an entry is counted before its slot names it, and is
    /// uncounted after its slot does not name it any more.
    #[inline]
    pub(crate) fn has_entries(&self) -> bool {
        self.stat(ZswapStat::StoredPages) > 0
    }

    pub(crate) fn count(&self, stat: ZswapStat) {
        self.stats[stat as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn stat(&self, stat: ZswapStat) -> u64 {
        self.stats[stat as usize].load(Relaxed)
    }

    /// Returns the number of pages of memory that all pools have. Kernel: `zswap_total_pages`.
    pub fn total_pages(&self) -> u64 {
        self.pools.lock().iter().map(|pool| pool.memory.nr_pages()).sum()
    }

    /// Returns the largest number of pages that the pools may have. Kernel: `zswap_max_pages`.
    pub fn max_pages(&self) -> u64 {
        self.ram_pages * u64::from(self.options().max_pool_percent) / 100
    }

    /// Returns the number of pages to which full pools must shrink. Kernel: `zswap_accept_thr_pages`.
    pub fn accept_pages(&self) -> u64 {
        self.max_pages() * u64::from(self.options().accept_threshold_percent) / 100
    }

    /// Returns the number of further pages that fit into the pools, if the pages compress like the stored pages. The
    /// result is 0 when zswap is disabled.
    pub(crate) fn room_pages(&self) -> u64 {
        if !self.is_enabled() {
            return 0;
        }
        let (total, stored) = (self.total_pages(), self.stat(ZswapStat::StoredPages));
        let left = self.max_pages().saturating_sub(total);
        if total == 0 { left } else { (left as f64 * stored as f64 / total as f64) as u64 }
    }

    /// Updates the flag `is_full` and returns the flag. Pools become full at `max_pages`, and stay full until the
    /// pools have shrunk to `accept_pages`. Kernel: `zswap_check_limits`.
    pub(crate) fn check_limits(&self) -> bool {
        let total = self.total_pages();
        if total >= self.max_pages() {
            self.count(ZswapStat::PoolLimitHit);
            self.is_full.store(true, Relaxed);
        } else if self.is_full() && total <= self.accept_pages() {
            self.is_full.store(false, Relaxed);
        }
        self.is_full()
    }

    /// Returns whether the last call of `Zswap::check_limits` found that the pools are full.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    pub(crate) fn queue_shrink(&self) {
        self.is_shrink_queued.store(true, Relaxed);
    }

    /// Returns whether the shrink worker is queued.
    #[inline]
    pub(crate) fn is_shrink_queued(&self) -> bool {
        self.is_shrink_queued.load(Relaxed)
    }

    /// Returns the group that the shrink worker scanned last. The group may be deleted.
    pub(crate) fn shrink_cursor(&self) -> CssId {
        CssId(self.shrink_cursor.load(Relaxed))
    }

    pub(crate) fn set_shrink_cursor(&self, css: CssId) {
        self.shrink_cursor.store(css.0, Relaxed);
    }

    /// Removes the shrink worker from the queue. Returns whether the worker was queued.
    pub(crate) fn take_shrink(&self) -> bool {
        self.is_shrink_queued.swap(false, Relaxed)
    }

    /// Returns the pool for new pages. Makes a new pool if no pool has the current compressor. Returns `None` when no
    /// pool number is free. Kernel: `zswap_pool_current_get`.
    fn current_pool(&self) -> Option<Arc<Zpool>> {
        let compressor = self.options().compressor;
        if let Some(pool) = self.pools.lock().first().filter(|pool| pool.compressor == compressor) {
            return Some(pool.clone());
        }
        let memory = Pool::new(u64::MAX);
        let mut pools = self.pools.lock();
        if let Some(at) = pools.iter().position(|pool| pool.compressor == compressor) {
            pools[..=at].rotate_right(1);
        } else {
            // Only old pools without pages are removed, because entries name their pool by number. A pool that
            // another thread uses stays too, because this thread may add an entry.
            pools.retain(|pool| pool.nr_stored.load(Relaxed) > 0 || Arc::strong_count(pool) > 1);
            let number = (0..ZSWAP_POOLS_MAX as u8).find(|&number| pools.iter().all(|pool| pool.number != number))?;
            pools.insert(0, Arc::new(Zpool { number, compressor, memory, nr_stored: AtomicU64::new(0) }));
        }
        pools.first().cloned()
    }

    fn pool(&self, number: u8) -> Arc<Zpool> {
        let pools = self.pools.lock();
        pools.iter().find(|pool| pool.number == number).expect("a pool stays while it has entries").clone()
    }

    /// Compresses a page and stores the page in a new entry that no slot names yet. `poor` decides whether a page
    /// that does not compress is stored uncompressed. Kernel: `zswap_store_page`, up to the publication of the entry.
    pub(crate) fn store_page(
        &self,
        page: &[u8],
        swp: SwpEntry,
        css: Option<CssId>,
        poor: PoorPage,
    ) -> std::result::Result<ZswapId, Rejected> {
        let reject = |stat| {
            self.count(stat);
            Rejected
        };
        if self.fails(|faults| faults.entry_alloc) {
            return Err(reject(ZswapStat::RejectKmemcacheFail));
        }
        let pool = self.current_pool().ok_or_else(|| reject(ZswapStat::RejectAllocFail))?;
        let has_failed = self.fails(|faults| faults.compress);
        let (handle, bytes) = with_scratch(|scratch| {
            let packed = scratch.compress(pool.compressor, page).filter(|data| data.len() < PAGE_SIZE && !has_failed);
            let data = match packed {
                Some(data) => data,
                None if poor == PoorPage::Keep => page,
                None if has_failed => return Err(reject(ZswapStat::RejectCompressFail)),
                None => return Err(reject(ZswapStat::RejectCompressPoor)),
            };
            let no_memory = |_| reject(ZswapStat::RejectAllocFail);
            if self.fails(|faults| faults.pool_alloc) {
                return Err(no_memory(()));
            }
            let handle = pool.memory.store(swp.offset().0, data).map_err(|_| no_memory(()))?;
            Ok((handle, data.len()))
        })?;
        // `nr_stored` counts the page before the page's entry exists, because a pool with entries must never appear
        // empty.
        pool.nr_stored.fetch_add(1, Relaxed);
        let added = self.entries.lock().add(Entry::new(swp, handle, bytes, pool.number, css));
        added.ok_or_else(|| {
            pool.memory.free(handle, bytes);
            pool.nr_stored.fetch_sub(1, Relaxed);
            reject(ZswapStat::RejectKmemcacheFail)
        })
    }

    /// Counts an entry. The caller publishes the entry after this call.
    pub(crate) fn count_stored(&self, entry: &Entry) {
        self.count(ZswapStat::StoredPages);
        if usize::from(entry.bytes) == PAGE_SIZE {
            self.count(ZswapStat::StoredIncompressiblePages);
        }
    }

    /// Puts a published entry on the list of the entry's group. After this call the entry may be written back.
    pub(crate) fn list(&self, id: ZswapId) {
        self.entries.lock().list(id);
    }

    /// Moves the listed entries of a removed group to another group; see [`Entries::reparent`]. `settle` gets the
    /// amounts that are charged for these entries and moves the charge. The lock of the entries is held during this
    /// call, so that no entry is freed before its charge is moved.
    pub(crate) fn reparent(&self, from: CssId, to: CssId, settle: impl FnOnce(Compressed)) {
        let mut entries = self.entries.lock();
        settle(entries.reparent(from, to));
    }

    /// Frees an entry that no slot names any more, and the data of the entry. Returns the content of the entry.
    /// `count_stored` must have counted the entry, because this function lowers the counters. The function takes only
    /// spin locks, one at a time.
    pub(crate) fn remove(&self, id: ZswapId) -> Entry {
        let entry = self.entries.lock().remove(id);
        let pool = self.pool(entry.pool);
        pool.memory.free(entry.handle, entry.bytes.into());
        pool.nr_stored.fetch_sub(1, Relaxed);
        self.stats[ZswapStat::StoredPages as usize].fetch_sub(1, Relaxed);
        if usize::from(entry.bytes) == PAGE_SIZE {
            self.stats[ZswapStat::StoredIncompressiblePages as usize].fetch_sub(1, Relaxed);
        }
        entry
    }

    /// Returns a copy of an entry. The caller holds a lock that prevents a removal of the entry.
    pub(crate) fn entry(&self, id: ZswapId) -> Entry {
        self.entries.lock().get(id)
    }

    /// Decompresses the page of an entry. The caller holds a lock that prevents a removal of the entry. Returns
    /// whether the data gives a whole page.
    pub(crate) fn load_page(&self, id: ZswapId, page: &mut [u8]) -> bool {
        let entry = self.entry(id);
        let pool = self.pool(entry.pool);
        let bytes = usize::from(entry.bytes);
        let load = |data: &[u8]| decompress(pool.compressor, data, page);
        let is_whole = !self.fails(|faults| faults.decompress)
            && pool.memory.read(entry.handle, bytes, || true, load) == Some(true);
        if !is_whole {
            self.count(ZswapStat::DecompressFail);
        }
        is_whole
    }

    fn shard(&self, swp: SwpEntry) -> &Shard {
        &self.map[(swp.value() / ZSWAP_TREE_PAGES) as usize % ZSWAP_MAP_SHARDS]
    }

    /// Returns the entry of a slot on a device that is not virtual.
    pub(crate) fn map_get(&self, swp: SwpEntry) -> Option<ZswapId> {
        self.shard(swp).lock().get(swp)
    }

    /// Replaces the entry of a slot by `new` and returns the old entry. The device of the slot is not virtual.
    pub(crate) fn map_replace(&self, swp: SwpEntry, new: Option<ZswapId>) -> Option<ZswapId> {
        self.shard(swp).lock().replace(swp, new)
    }

    /// Removes the entries of a run of slots, leaf by leaf, and calls `body` for each entry with no lock held.
    pub(crate) fn map_take_run(&self, first: SwpEntry, nr_pages: u32, body: impl Fn(ZswapId)) {
        let (mut at, end) = (first.value(), first.value() + u64::from(nr_pages));
        while at < end {
            let swp = SwpEntry::from_value(at);
            let nr = (LEAF_SLOTS as u64 - at % LEAF_SLOTS as u64).min(end - at);
            let (taken, nr_taken) = self.shard(swp).lock().take_run(swp, nr as usize);
            if nr_taken > 0 {
                taken.into_iter().flatten().for_each(&body);
            }
            at += nr;
        }
    }

    /// Returns the number of slots with an entry, over all devices that are not virtual.
    pub(crate) fn map_len(&self) -> u64 {
        self.map.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Returns the bytes of the maps from slots to entries, which serve devices that are not virtual.
    pub fn map_bytes(&self) -> u64 {
        self.map.iter().map(|shard| shard.lock().bytes()).sum()
    }

    /// Returns the bytes that the pools take beside the pages that [`Zswap::total_pages`] counts: records of zspages,
    /// and memory that a pool keeps for reuse.
    pub fn kept_bytes(&self) -> u64 {
        self.pools.lock().iter().map(|pool| pool.memory.kept_bytes()).sum()
    }

    /// Frees the memory that the pools keep for reuse.
    pub(crate) fn release_spare(&self) {
        self.pools.lock().iter().for_each(|pool| pool.memory.release_spare());
    }

    /// Returns the bytes of the memory for entries. 64 entries share a piece of memory, which exists while one of
    /// these entries is in use; one unused piece is kept for reuse.
    pub fn entry_bytes(&self) -> u64 {
        self.entries.lock().totals().1
    }

    /// Scans the oldest entry of a group, as [`Entries::scan_oldest`] describes.
    pub(crate) fn scan_oldest(&self, css: Option<CssId>) -> Option<Option<(ZswapId, SwpEntry)>> {
        self.entries.lock().scan_oldest(css)
    }

    /// Returns the number of entries of a group that may be written back.
    pub(crate) fn lru_len(&self, css: Option<CssId>) -> u64 {
        self.entries.lock().len(css)
    }

    pub(crate) fn note_disk_swapin(&self, css: Option<CssId>) {
        self.entries.lock().note_disk_swapin(css);
    }

    pub(crate) fn consume_disk_swapins(&self, css: Option<CssId>) -> u64 {
        self.entries.lock().consume_disk_swapins(css)
    }

    /// Calls `body` for every entry, and holds the lock of the entries during all calls.
    pub(crate) fn for_each(&self, body: impl FnMut(ZswapId, &Entry)) {
        self.entries.lock().for_each(body);
    }

    /// Returns the counters of each pool. The current pool is the first pool. Empty old pools are left out.
    pub fn pools(&self) -> Vec<ZpoolStats> {
        let compressor = self.options().compressor;
        let stats = |pool: &Arc<Zpool>| ZpoolStats {
            compressor: pool.compressor,
            stored_pages: pool.nr_stored.load(Relaxed),
            pool_bytes: pool.memory.nr_pages() * PAGE_SIZE as u64,
            compressed_bytes: pool.memory.totals().data_bytes,
            is_current: pool.compressor == compressor,
        };
        self.pools.lock().iter().map(stats).filter(|pool| pool.is_current || pool.stored_pages > 0).collect()
    }

    /// Returns every counter under its kernel name, and the bytes of the memory for entries.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let stat = |stat| self.stat(stat);
        vec![
            ("pool_limit_hit", stat(ZswapStat::PoolLimitHit)),
            ("reject_reclaim_fail", stat(ZswapStat::RejectReclaimFail)),
            ("reject_alloc_fail", stat(ZswapStat::RejectAllocFail)),
            ("reject_kmemcache_fail", stat(ZswapStat::RejectKmemcacheFail)),
            ("reject_compress_fail", stat(ZswapStat::RejectCompressFail)),
            ("reject_compress_poor", stat(ZswapStat::RejectCompressPoor)),
            ("decompress_fail", stat(ZswapStat::DecompressFail)),
            ("written_back_pages", stat(ZswapStat::WrittenBackPages)),
            ("pool_total_size", self.total_pages() * PAGE_SIZE as u64),
            ("stored_pages", stat(ZswapStat::StoredPages)),
            ("stored_incompressible_pages", stat(ZswapStat::StoredIncompressiblePages)),
            ("entry_bytes", self.entry_bytes()),
        ]
    }
}
