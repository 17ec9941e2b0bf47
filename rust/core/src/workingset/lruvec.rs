//! The LRU lists of one memcg on one node, their sizes, the age of evicted pages, and the counters of refaults.

use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::mglru::{MAX_NR_GENS, Mglru};
use crate::base::limits::NODES_SHIFT;
use crate::base::sync::{SpinGuard, SpinMutex};
use crate::base::types::{CssId, MemcgId};
use crate::base::words::words;
use crate::containers::index_list::IndexList;

/// One of the LRU lists of a lruvec. Kernel: `enum lru_list`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum LruList {
    /// Inactive anonymous pages, which reclaim evicts.
    InactiveAnon,
    /// Active anonymous pages, which reclaim first makes inactive.
    ActiveAnon,
    /// Inactive file pages, which reclaim evicts.
    InactiveFile,
    /// Active file pages, which reclaim first makes inactive.
    ActiveFile,
    /// Pages that must not be evicted.
    Unevictable,
}

impl LruList {
    /// All LRU lists.
    pub const ALL: [Self; 5] =
        [Self::InactiveAnon, Self::ActiveAnon, Self::InactiveFile, Self::ActiveFile, Self::Unevictable];
    /// The lists that reclaim scans, in scan order. Kernel: `for_each_evictable_lru`.
    pub const EVICTABLE: [Self; 4] = [Self::InactiveAnon, Self::ActiveAnon, Self::InactiveFile, Self::ActiveFile];

    /// Returns whether the list is one of the two active lists.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::ActiveAnon | Self::ActiveFile)
    }

    /// Returns the type of the pages on the list. All unevictable pages are anonymous, because this subsystem has no
    /// unevictable file pages.
    pub const fn ty(self) -> LruType {
        match self {
            Self::InactiveFile | Self::ActiveFile => LruType::File,
            _ => LruType::Anon,
        }
    }
}

/// One LRU list and the number of pages on the list. The folios store the links of the list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LruHead {
    /// The folios of the list. Each folio is named by the number of its first page. The newest folio is at the head
    /// of the list, and reclaim takes folios from the tail.
    pub(crate) list: IndexList,
    /// The number of pages on this list, without the lists of descendants.
    pub(crate) nr_pages: u64,
}

/// The lists of one lruvec. Evictable folios are either on `lists` (classic) or on `generations` (MGLRU).
#[derive(Debug, Default)]
pub(crate) struct LruHeads {
    /// The classic lists, indexed by [`LruList`]. Kernel: `lists` of `struct lruvec`.
    pub(crate) lists: [LruHead; LruList::ALL.len()],
    /// The generations of anonymous folios, indexed by [`super::mglru::gen_of`]. Kernel: `folios` of `struct
    /// lru_gen_folio`.
    pub(crate) generations: [LruHead; MAX_NR_GENS as usize],
}

/// The two types of pages that compete for memory. Kernel: `LRU_GEN_ANON`, `LRU_GEN_FILE`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum LruType {
    /// Anonymous pages, which are backed by swap.
    Anon,
    /// File pages, which are backed by files.
    File,
}

impl LruType {
    /// Both types of pages.
    pub const ALL: [Self; 2] = [Self::Anon, Self::File];
}

words! {
    /// The counters of a lruvec, in pages. The strings are the kernel's names of the counters.
    ///
    /// Kernel: the items with these names in `enum node_stat_item` and `enum vm_event_item`.
    #[derive(Hash)]
    #[repr(u8)]
    pub enum LruvecStat: "lruvec counter" {
        /// Refaulted pages. Kernel: `WORKINGSET_REFAULT_ANON`.
        RefaultAnon = "workingset_refault_anon",
        /// Refaulted pages that became active, because the refault followed soon after the eviction. Kernel:
        /// `WORKINGSET_ACTIVATE_ANON`.
        ActivateAnon = "workingset_activate_anon",
        /// Refaulted pages that were part of the working set at their eviction. Kernel: `WORKINGSET_RESTORE_ANON`.
        RestoreAnon = "workingset_restore_anon",
        /// Pages that reclaim scanned. Kernel: `PGSCAN`.
        Pgscan = "pgscan",
        /// Pages that reclaim freed. Kernel: `PGSTEAL`.
        Pgsteal = "pgsteal",
        /// The part of `Pgscan` that was scanned because of a limit or a lack of memory. Kernel: `PGSCAN_DIRECT`.
        PgscanDirect = "pgscan_direct",
        /// The part of `Pgscan` that was scanned because of a write to `memory.reclaim`. Kernel: `PGSCAN_PROACTIVE`.
        PgscanProactive = "pgscan_proactive",
        /// The part of `Pgsteal` that was freed because of a limit or a lack of memory. Kernel: `PGSTEAL_DIRECT`.
        PgstealDirect = "pgsteal_direct",
        /// The part of `Pgsteal` that was freed because of a write to `memory.reclaim`. Kernel: `PGSTEAL_PROACTIVE`.
        PgstealProactive = "pgsteal_proactive",
        /// Active pages that reclaim scanned. Under MGLRU, pages that a scan moved to another generation. Kernel:
        /// `PGREFILL`.
        Pgrefill = "pgrefill",
        /// Pages that reclaim made active. Kernel: `PGACTIVATE`.
        Pgactivate = "pgactivate",
        /// Pages that reclaim made inactive. Kernel: `PGDEACTIVATE`.
        Pgdeactivate = "pgdeactivate",
    }
}

/// The recent costs of reclaim for each type, in pages. Both costs are halved when their sum is greater than a
/// quarter of the pages on the evictable lists.
///
/// Kernel: `anon_cost` and `file_cost` of `struct lruvec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LruCost {
    /// The cost of anonymous pages.
    pub anon_pages: u64,
    /// The cost of file pages.
    pub file_pages: u64,
}

words! {
    /// The values that the rules of reclaim and of refaults read as the sizes of the lists and as the number of
    /// activations.
    #[derive(Default)]
    pub enum MemcgStatReads: "memcg_stat" {
        /// The present values.
        #[default]
        Exact = "exact",
        /// The values at the last flush. Kernel: the statistics of memcgs are flushed every 2 seconds, and at a read
        /// of `memory.stat` after many updates.
        Flushed = "flushed",
    }
}

/// The sizes of the lists and the number of activations at the last flush.
#[derive(Clone, Copy, Debug, Default)]
struct FlushedStats {
    /// The number of flushes at the time of the copy.
    nr_flushes: u64,
    lru_pages: [u64; LruList::ALL.len()],
    activate_anon_pages: u64,
}

/// The state of the flushes of all lruvecs below one root lruvec. Kernel: `stats_updates` and the rstat tree.
#[derive(Debug, Default)]
struct StatFlushes {
    nr_flushes: AtomicU64,
    /// The number of pages by which statistics changed since the last flush.
    nr_updates: AtomicU64,
    /// The number of updates after which a flush follows; 0 for no such flush.
    max_updates: AtomicU64,
}

/// The LRU lists of one memcg on one node. The sizes and counters of a lruvec include the pages of its descendants.
///
/// Kernel: `struct lruvec`. Differs: links are page numbers. A change of a size or counter is added to all ancestors
/// at once.
#[derive(Debug, Default)]
pub struct Lruvec {
    memcg: AtomicU32,
    node: u16,
    parent: Option<Arc<Lruvec>>,
    nonresident_age: AtomicU64,
    lru_pages: [AtomicU64; LruList::ALL.len()],
    /// The lists. Their lock is a leaf lock. Kernel: `lists`, under `lru_lock`.
    heads: SpinMutex<LruHeads>,
    /// The part of `lru_pages` in batches that are not drained yet, so that the list does not count these pages yet.
    batched_pages: [AtomicU64; LruList::ALL.len()],
    /// The part of `batched_pages` without descendants.
    own_batched_pages: [AtomicU64; LruList::ALL.len()],
    stats: [AtomicU64; LruvecStat::ALL.len()],
    stats_local: [AtomicU64; LruvecStat::ALL.len()],
    stat_reads: MemcgStatReads,
    /// Used with `MemcgStatReads::Flushed` only. The lock is a leaf lock.
    flushed: SpinMutex<FlushedStats>,
    /// The flushes, in the root lruvec.
    flushes: StatFlushes,
    /// File pages that no folio of this subsystem has; only the root lruvec has such pages.
    other_file_pages: AtomicU64,
    // A lock protects the two costs, because a thread must halve both costs in one step.
    cost: SpinMutex<LruCost>,
    /// The value of [`LruvecStat::ActivateAnon`] at the last reclaim of this lruvec. Kernel: `refaults`.
    refaults: AtomicU64,
    /// The memcg at which the last partial walk over this memcg's tree ended. Kernel: `struct
    /// mem_cgroup_reclaim_iter`.
    reclaim_cursor: AtomicU32,
    /// The generations and tiers of MGLRU. The numbers of the generations change under the LRU lock.
    pub lrugen: Mglru,
}

// Every atomic access is Relaxed, because each value is a separate statistic, and concurrent changes need no order.
impl Lruvec {
    /// Makes the empty lruvec of a memcg on a node. `parent` is the lruvec of the memcg's parent on the same node.
    ///
    /// # Panics
    ///
    /// When `node` is 1 << [`NODES_SHIFT`] or greater, or differs from the parent's node.
    pub fn new(memcg: MemcgId, node: u16, parent: Option<Arc<Self>>) -> Arc<Self> {
        let stat_reads = parent.as_ref().map_or(MemcgStatReads::Exact, |parent| parent.stat_reads);
        Self::with_stat_reads(memcg, node, parent, stat_reads)
    }

    /// Makes an empty lruvec as [`Lruvec::new`] does. `stat_reads` is equal for all lruvecs below one root.
    pub(crate) fn with_stat_reads(
        memcg: MemcgId,
        node: u16,
        parent: Option<Arc<Self>>,
        stat_reads: MemcgStatReads,
    ) -> Arc<Self> {
        assert!(u32::from(node) < 1 << NODES_SHIFT, "node {node} does not fit {NODES_SHIFT} bits");
        assert!(parent.as_ref().is_none_or(|parent| parent.node == node), "the parent's lruvec is of another node");
        Arc::new(Self { memcg: AtomicU32::new(memcg.0.into()), node, parent, stat_reads, ..Self::default() })
    }

    /// Returns the private id of the memcg.
    pub fn memcg(&self) -> MemcgId {
        MemcgId(self.memcg.load(Ordering::Relaxed) as u16)
    }

    /// Sets the private id of the memcg. The id is 0 after the memcg was released.
    pub(crate) fn set_memcg(&self, memcg: MemcgId) {
        self.memcg.store(memcg.0.into(), Ordering::Relaxed);
    }

    /// Resets the lruvec for another memcg with the same parent. The lists must be empty.
    ///
    /// The age starts at 1, because the shadow of an eviction at age 0 could be all zeros, which means no eviction.
    /// The start value has no other effect, because the rules of working-set detection use only differences of ages.
    pub(crate) fn renew(&self) {
        self.nonresident_age.store(1, Ordering::Relaxed);
        self.stats.iter().chain(&self.stats_local).for_each(|stat| stat.store(0, Ordering::Relaxed));
        self.refaults.store(0, Ordering::Relaxed);
        self.reclaim_cursor.store(0, Ordering::Relaxed);
        *self.cost.lock() = LruCost::default();
        *self.flushed.lock() = FlushedStats::default();
        self.lrugen.renew();
    }

    /// Returns the number of the NUMA node.
    pub fn node(&self) -> u16 {
        self.node
    }

    /// Returns the number of pages that were evicted or became active so far, including pages of descendants. Kernel:
    /// `nonresident_age`.
    pub fn nonresident_age(&self) -> u64 {
        self.nonresident_age.load(Ordering::Relaxed)
    }

    /// Adds pages that were evicted or became active to the age of this lruvec and of all its ancestors. Returns the
    /// age of this lruvec before the call.
    ///
    /// Kernel: `workingset_age_nonresident` (mm/workingset.c).
    pub fn age_nonresident(&self, nr_pages: u32) -> u64 {
        let mut ages = self.chain().map(|lruvec| lruvec.nonresident_age.fetch_add(nr_pages.into(), Ordering::Relaxed));
        let own = ages.next().expect("a chain starts with its own lruvec");
        ages.for_each(drop);
        own
    }

    /// Adds pages to the size of a list of this lruvec and of all its ancestors. `delta_pages` may be negative.
    pub fn add_lru_pages(&self, list: LruList, delta_pages: i64) {
        self.before_update();
        for lruvec in self.chain() {
            let before = lruvec.lru_pages[list as usize].fetch_add(delta_pages as u64, Ordering::Relaxed);
            debug_assert!(before.checked_add_signed(delta_pages).is_some(), "{list:?} {before} {delta_pages:+}");
        }
        self.after_update(delta_pages.unsigned_abs());
    }

    /// Changes the number of pages of a list that are in batches, for this lruvec and all its ancestors.
    /// `delta_pages` may be negative. The list counts these pages when the batch is drained.
    pub(crate) fn add_batched_pages(&self, list: LruList, delta_pages: i64) {
        self.before_update();
        self.own_batched_pages[list as usize].fetch_add(delta_pages as u64, Ordering::Relaxed);
        for lruvec in self.chain() {
            lruvec.batched_pages[list as usize].fetch_add(delta_pages as u64, Ordering::Relaxed);
        }
    }

    /// Returns the number of pages on a list, including the lists of descendants, without the pages in batches.
    fn counted_pages(&self, list: LruList) -> u64 {
        // A folio that was freed while it was in a batch is not on its list any more.
        self.lru_pages(list).saturating_sub(self.batched_pages[list as usize].load(Ordering::Relaxed))
    }

    /// Returns the number of pages on a list, including the lists of descendants.
    pub fn lru_pages(&self, list: LruList) -> u64 {
        self.lru_pages[list as usize].load(Ordering::Relaxed)
    }

    /// Locks the lists. The lock is a leaf lock. Kernel: `lru_lock`.
    pub(crate) fn lists(&self) -> SpinGuard<'_, LruHeads> {
        self.heads.lock()
    }

    /// Returns the number of pages on each classic list of this lruvec, indexed by [`LruList`], without descendants.
    /// Pages in generations are not counted.
    pub(crate) fn own_pages(&self) -> [u64; LruList::ALL.len()] {
        self.lists().lists.map(|head| head.nr_pages)
    }

    /// Returns the number of pages that each evictable classic list of this lruvec counts, without descendants and
    /// without the pages in batches. Kernel: `lruvec_lru_size`.
    pub(crate) fn own_counted_pages(&self) -> [u64; 4] {
        let own_pages = self.own_pages();
        LruList::EVICTABLE.map(|list| {
            own_pages[list as usize].saturating_sub(self.own_batched_pages[list as usize].load(Ordering::Relaxed))
        })
    }

    /// Returns the number of pages in each generation of this lruvec, indexed by [`super::mglru::gen_of`], without
    /// descendants.
    pub(crate) fn own_generation_pages(&self) -> [u64; MAX_NR_GENS as usize] {
        self.lists().generations.map(|head| head.nr_pages)
    }

    /// Returns the number of pages on a list as the rules of reclaim and of refaults read the number, including the
    /// lists of descendants. Kernel: `lruvec_page_state`.
    pub(crate) fn page_state(&self, list: LruList) -> u64 {
        match self.stat_reads {
            MemcgStatReads::Exact => self.counted_pages(list),
            MemcgStatReads::Flushed => self.flushed_stats().lru_pages[list as usize],
        }
    }

    /// Returns [`LruvecStat::ActivateAnon`] as the rules of reclaim read the number.
    fn activate_anon_state(&self) -> u64 {
        match self.stat_reads {
            MemcgStatReads::Exact => self.stat(LruvecStat::ActivateAnon),
            MemcgStatReads::Flushed => self.flushed_stats().activate_anon_pages,
        }
    }

    /// Returns the values at the last flush.
    ///
    /// A flush copies no value. Instead, the first update after a flush copies the values of the updated lruvecs
    /// before it changes them. If no update followed the last flush, the present values are the flushed values.
    fn flushed_stats(&self) -> FlushedStats {
        let nr_flushes = self.root_lruvec().flushes.nr_flushes.load(Ordering::Relaxed);
        let mut flushed = self.flushed.lock();
        if flushed.nr_flushes != nr_flushes {
            let lru_pages = LruList::ALL.map(|list| self.counted_pages(list));
            let activate_anon_pages = self.stat(LruvecStat::ActivateAnon);
            *flushed = FlushedStats { nr_flushes, lru_pages, activate_anon_pages };
        }
        *flushed
    }

    fn before_update(&self) {
        if self.stat_reads == MemcgStatReads::Flushed {
            self.chain().for_each(|lruvec| _ = lruvec.flushed_stats());
        }
    }

    fn after_update(&self, nr_pages: u64) {
        if self.stat_reads == MemcgStatReads::Flushed {
            let flushes = &self.root_lruvec().flushes;
            let nr_updates = flushes.nr_updates.fetch_add(nr_pages, Ordering::Relaxed) + nr_pages;
            let max_updates = flushes.max_updates.load(Ordering::Relaxed);
            if max_updates > 0 && nr_updates >= max_updates {
                self.flush_stats();
            }
        }
    }

    /// Makes the present statistics of all lruvecs of the machine the flushed statistics. Without effect on what
    /// [`MemcgStatReads::Exact`] reads. Kernel: `mem_cgroup_flush_stats`.
    pub(crate) fn flush_stats(&self) {
        let flushes = &self.root_lruvec().flushes;
        flushes.nr_updates.store(0, Ordering::Relaxed);
        flushes.nr_flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// Flushes the statistics if they changed by more than `nr_updates` pages since the last flush. Kernel:
    /// `memcg_vmstats_needs_flush`.
    pub(crate) fn flush_stats_after(&self, nr_updates: u64) {
        if self.root_lruvec().flushes.nr_updates.load(Ordering::Relaxed) > nr_updates {
            self.flush_stats();
        }
    }

    /// Returns the number of updates after which the statistics are flushed without a request; 0 for no such flush.
    pub(crate) fn max_updates(&self) -> u64 {
        self.root_lruvec().flushes.max_updates.load(Ordering::Relaxed)
    }

    /// Sets the number that [`Lruvec::max_updates`] returns.
    pub(crate) fn set_max_updates(&self, nr_updates: u64) {
        self.root_lruvec().flushes.max_updates.store(nr_updates, Ordering::Relaxed);
    }

    /// Returns the number of file pages that no folio of this subsystem has.
    pub(crate) fn other_file_pages(&self) -> u64 {
        self.other_file_pages.load(Ordering::Relaxed)
    }

    /// Sets the number that [`Lruvec::other_file_pages`] returns.
    pub(crate) fn set_other_file_pages(&self, nr_pages: u64) {
        self.other_file_pages.store(nr_pages, Ordering::Relaxed);
    }

    /// Returns whether refaults made anonymous pages active since the last call of [`Lruvec::snapshot_refaults`].
    /// This subsystem has no refaults of file pages.
    pub(crate) fn has_new_refaults(&self) -> bool {
        self.activate_anon_state() != self.refaults.load(Ordering::Relaxed)
    }

    /// Stores the present value of [`LruvecStat::ActivateAnon`]. Kernel: `snapshot_refaults`.
    pub(crate) fn snapshot_refaults(&self) {
        self.refaults.store(self.activate_anon_state(), Ordering::Relaxed);
    }

    /// Returns the memcg at which the last partial walk over the tree ended, or 0. The next partial walk starts with
    /// the memcg after this one. With 0 the walk starts at the first memcg.
    pub(crate) fn reclaim_cursor(&self) -> CssId {
        CssId(self.reclaim_cursor.load(Ordering::Relaxed))
    }

    /// Stores the memcg at which a partial walk ended.
    pub(crate) fn set_reclaim_cursor(&self, memcg: CssId) {
        self.reclaim_cursor.store(memcg.0, Ordering::Relaxed);
    }

    /// Adds pages to a counter of this lruvec and of all its ancestors.
    pub(crate) fn count(&self, stat: LruvecStat, nr_pages: u32) {
        self.before_update();
        self.stats_local[stat as usize].fetch_add(nr_pages.into(), Ordering::Relaxed);
        self.chain().for_each(|lruvec| {
            lruvec.stats[stat as usize].fetch_add(nr_pages.into(), Ordering::Relaxed);
        });
        self.after_update(nr_pages.into());
    }

    /// Returns a counter in pages, including the pages of descendants.
    pub fn stat(&self, stat: LruvecStat) -> u64 {
        self.stats[stat as usize].load(Ordering::Relaxed)
    }

    /// Returns a counter in pages, without the pages of descendants.
    pub fn stat_local(&self, stat: LruvecStat) -> u64 {
        self.stats_local[stat as usize].load(Ordering::Relaxed)
    }

    /// Adds the cost of a reclaim of one type to this lruvec and all its ancestors. A cost of 0 changes nothing.
    /// Kernel: `lru_note_cost` (mm/swap.c).
    pub fn note_cost(&self, ty: LruType, nr_pages: u32) {
        if nr_pages == 0 {
            return;
        }
        for lruvec in self.chain() {
            let list_pages = LruList::EVICTABLE.map(|list| lruvec.page_state(list));
            let all_pages = list_pages.iter().sum::<u64>() + lruvec.other_file_pages();
            let mut cost = lruvec.cost.lock();
            match ty {
                LruType::Anon => cost.anon_pages += u64::from(nr_pages),
                LruType::File => cost.file_pages += u64::from(nr_pages),
            }
            if cost.anon_pages + cost.file_pages > all_pages / 4 {
                cost.anon_pages /= 2;
                cost.file_pages /= 2;
            }
        }
    }

    /// Returns the recent costs of reclaim for both types.
    pub fn cost(&self) -> LruCost {
        *self.cost.lock()
    }

    fn root_lruvec(&self) -> &Self {
        self.chain().last().expect("a chain starts with its own lruvec")
    }

    /// Returns this lruvec and all its ancestors.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        successors(Some(self), |lruvec| lruvec.parent.as_deref())
    }
}
