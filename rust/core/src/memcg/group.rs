//! One memory cgroup: its counters, references, statistics and events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::CounterKind;
use super::counter::{PAGE_COUNTER_MAX, PageCounter};
use super::peak::Peaks;
use super::policy::GroupPolicy;
use crate::base::limits::PAGE_SIZE;
use crate::base::sync::SpinMutex;
use crate::base::types::{CssId, MemcgId};
use crate::workingset::{Lruvec, MemcgStatReads};

/// Statistics in pages or events that a group counts for itself. The sum over descendants is computed on request.
///
/// Kernel: the `memcg_stat_item`s and `vm_event_item`s of swap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum MemcgStat {
    /// Number of swap pages that the group owns. Kernel: `MEMCG_SWAP`.
    Swap,
    /// Number of charged pages that are in the swap cache. Kernel: `NR_SWAPCACHE`.
    Swapcached,
    /// Number of charged pages of anonymous folios that a page table or a handle maps. Kernel: `NR_ANON_MAPPED`.
    Anon,
    /// Number of charged pages of files in memory. Kernel: `NR_SHMEM`, and `NR_FILE_PAGES` because there are no other
    /// files.
    Shmem,
    /// The part of `Anon` in folios that an entry of the page middle directory maps as a whole. Kernel:
    /// `NR_ANON_THPS`.
    AnonThp,
    /// Pages read from a storage. Kernel: `PSWPIN`.
    PswpIn,
    /// Pages written to a storage. Kernel: `PSWPOUT`.
    PswpOut,
    /// Pages filled with zeros instead of read. Kernel: `SWPIN_ZERO`.
    SwpInZero,
    /// Pages marked as zeros instead of written. Kernel: `SWPOUT_ZERO`.
    SwpOutZero,
    /// Page faults of the group's tasks. Kernel: `PGFAULT`.
    PgFault,
    /// Page faults of the group's tasks that allocated or read a folio. Kernel: `PGMAJFAULT`.
    PgMajFault,
    /// Folios of the largest order written to a storage as a whole. Kernel: `THP_SWPOUT`.
    ThpSwpOut,
    /// Folios of the largest order that got no run of slots. Kernel: `THP_SWPOUT_FALLBACK`.
    ThpSwpOutFallback,
    /// Number of bytes of compressed pages. Kernel: `MEMCG_ZSWAP_B`.
    ZswapB,
    /// Number of pages that zswap stores for the group. Kernel: `MEMCG_ZSWAPPED`.
    Zswapped,
    /// The part of `Zswapped` in pages that zswap stores uncompressed, because these pages do not compress. Kernel:
    /// `MEMCG_ZSWAP_INCOMP`.
    ZswapIncomp,
    /// Pages loaded from zswap. Kernel: `ZSWPIN`.
    ZswpIn,
    /// Pages stored in zswap. Kernel: `ZSWPOUT`.
    ZswpOut,
    /// Pages written back from zswap to a device. Kernel: `ZSWPWB`.
    ZswpWb,
    /// Number of compressed bytes of the pages that `memory.reclaim` wrote back from zswap. Kernel:
    /// `zswpwb_proactive_b` of `memory.stat`.
    ZswpWbProactiveB,
    /// Folios charged; files show the number on v1 only. Kernel: `PGPGIN` of a memcg.
    PgPgIn,
    /// Folios uncharged; files show the number on v1 only. Kernel: `PGPGOUT` of a memcg.
    PgPgOut,
}

pub(super) const NR_STATS: usize = MemcgStat::PgPgOut as usize + 1;

/// Events of a group. On v2 an event of a group is also raised at every ancestor except root, unless the switch
/// `memory_localevents` is on. Kernel: `enum memcg_memory_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum MemcgEvent {
    /// Reclaim took pages although the usage was within the effective `memory.low`.
    Low,
    /// Usage was over `memory.high`.
    High,
    /// A charge would have exceeded `memory.max`.
    Max,
    /// No page could be reclaimed for a charge.
    Oom,
    /// A task was killed because no memory was left. The core raises this event only with the switch `oom=kill`.
    /// Otherwise the charge fails and the caller decides on the consequence.
    OomKill,
    /// No page could be reclaimed for a charge of a group that is killed as a whole (`memory.oom.group`). The core
    /// kills tasks only with the switch `oom=kill`.
    OomGroupKill,
    /// Usage was over `memory.swap.high`.
    SwapHigh,
    /// A swap charge would have exceeded `memory.swap.max`.
    SwapMax,
    /// A folio got no slots, or its swap charge was refused.
    SwapFail,
}

pub(super) const NR_EVENTS: usize = MemcgEvent::SwapFail as usize + 1;

/// One memory cgroup. Kernel: `struct mem_cgroup`; differs: the core never deallocates a group, so a reference to a
/// group is always valid. After the last reference to a group is dropped, the next group that is created below the
/// same parent reuses the structure.
#[derive(Debug, Default)]
pub struct MemCgroup {
    css: CssId,
    parent: Option<CssId>,
    depth: u32,
    /// The group was created and is not removed. Kernel: `CSS_ONLINE`.
    pub(super) is_online: AtomicBool,
    /// Private id; 0 after the id is released.
    pub(super) id: AtomicU32,
    /// Number of pins of the private id: one while the group is online, and one for each slot that records the id.
    /// Kernel: `id.ref`.
    pub(super) id_refs: AtomicU64,
    /// Number of references to the group: one while the group is online, one for the private id, and one for each
    /// charged folio, zswap entry, child, task, stock and handle. Kernel: the css reference count.
    pub(super) css_refs: AtomicU64,
    /// Number of address spaces whose tasks are in the group.
    pub(super) nr_tasks: AtomicU64,
    /// Charged memory. Kernel: `memory`.
    pub memory: PageCounter,
    /// Charged swap on v2; memory and swap together on v1. Kernel: the union of `swap` and `memsw`.
    pub swap: PageCounter,
    stats: [AtomicI64; NR_STATS],
    /// Statistics of freed descendants.
    gone: [AtomicI64; NR_STATS],
    /// Events of this group and its descendants together.
    pub(super) events: [AtomicU64; NR_EVENTS],
    /// Events of this group alone.
    pub(super) events_local: [AtomicU64; NR_EVENTS],
    lruvec: Arc<Lruvec>,
    /// Swappiness of this group on v1. On v2 the value of root applies to all groups.
    pub(super) swappiness: AtomicU8,
    pub(super) min_pages: AtomicU64,
    pub(super) low_pages: AtomicU64,
    /// Limit on the memory of the compressed pages of the group and its descendants together, in pages. Kernel:
    /// `zswap_max`.
    zswap_max_pages: AtomicU64,
    /// Pages of the group may be written back from zswap to a device. Kernel: `zswap_writeback`.
    may_zswap_writeback: AtomicBool,
    /// The OOM killer is off for the group, on v1. The value is only stored and shown.
    pub(super) is_oom_kill_disabled: AtomicBool,
    /// The OOM killer treats the group with all groups below as one workload. Kernel: `oom_group`.
    is_oom_group: AtomicBool,
    pub(super) policy: SpinMutex<GroupPolicy>,
    pub(super) peaks: SpinMutex<Peaks>,
    /// Time that the tasks of the group would have slept because usage was over a high limit.
    throttled_ms: AtomicU64,
}

// Relaxed throughout, because no thread draws a conclusion from one of these fields about another field. The
// orderings of `css_refs` are explained in `memcg/mod.rs`.
impl MemCgroup {
    /// Makes a group that is not online. [`MemCgroup::renew`] sets the limits and settings of the group.
    pub(super) fn new(css: CssId, parent: Option<&Self>, stat_reads: MemcgStatReads) -> Self {
        Self {
            css,
            parent: parent.map(|parent| parent.css),
            depth: parent.map_or(0, |parent| parent.depth + 1),
            lruvec: Lruvec::with_stat_reads(MemcgId(0), 0, parent.map(|parent| parent.lruvec.clone()), stat_reads),
            ..Self::default()
        }
    }

    /// Returns the group's number. No other group has the number until this group is freed.
    pub fn css(&self) -> CssId {
        self.css
    }

    /// Returns the number of the parent group, or `None` for root.
    pub fn parent(&self) -> Option<CssId> {
        self.parent
    }

    /// Returns whether the group is root, which is never charged.
    #[inline]
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Returns the number of ancestors.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns whether the group is created and not removed. Kernel: `mem_cgroup_online`.
    pub fn is_online(&self) -> bool {
        self.is_online.load(Ordering::Relaxed)
    }

    /// Returns the limit on the memory of the compressed pages of the group and its descendants together, in pages.
    /// [`super::PAGE_COUNTER_MAX`] means no limit. Kernel: `memory.zswap.max`.
    pub fn zswap_max_pages(&self) -> u64 {
        self.zswap_max_pages.load(Ordering::Relaxed)
    }

    /// Sets the limit that [`MemCgroup::zswap_max_pages`] returns. Compressed pages over a new limit stay in zswap.
    pub fn set_zswap_max_pages(&self, pages: u64) {
        self.zswap_max_pages.store(pages, Ordering::Relaxed);
    }

    /// Returns whether the setting of the group, without those of its ancestors, allows writeback from zswap. Kernel:
    /// `memory.zswap.writeback`.
    pub fn may_zswap_writeback(&self) -> bool {
        self.may_zswap_writeback.load(Ordering::Relaxed)
    }

    /// Sets the value that [`MemCgroup::may_zswap_writeback`] returns.
    pub fn set_zswap_writeback(&self, may_writeback: bool) {
        self.may_zswap_writeback.store(may_writeback, Ordering::Relaxed);
    }

    /// Adds `bytes` to the group's `ZswapB`. Returns the change of `ZswapB` in whole pages, rounded up before and
    /// after; the change may be negative.
    pub(crate) fn add_zswap_bytes(&self, bytes: i64) -> i64 {
        let before = self.stats[MemcgStat::ZswapB as usize].fetch_add(bytes, Ordering::Relaxed);
        let pages = |bytes: i64| (bytes + PAGE_SIZE as i64 - 1) / PAGE_SIZE as i64;
        pages(before + bytes) - pages(before)
    }

    /// Returns the private id that slots record; 0 after the id is released.
    pub fn id(&self) -> MemcgId {
        MemcgId(self.id.load(Ordering::Relaxed) as u16)
    }

    /// Returns the number of pins of the private id: one while the group is online, one for each slot that records
    /// the id.
    pub fn id_refs(&self) -> u64 {
        self.id_refs.load(Ordering::Relaxed)
    }

    /// Returns the number of references that keep the group from being freed.
    pub fn css_refs(&self) -> u64 {
        self.css_refs.load(Ordering::Relaxed)
    }

    /// Returns the number of address spaces whose tasks are in the group.
    pub fn nr_tasks(&self) -> u64 {
        self.nr_tasks.load(Ordering::Relaxed)
    }

    /// Returns the LRU lists of the group's folios.
    pub fn lruvec(&self) -> &Arc<Lruvec> {
        &self.lruvec
    }

    /// Returns the weight of anonymous pages in reclaim, 0..=200. On v2 the value of root applies to all groups.
    pub fn swappiness(&self) -> u8 {
        self.swappiness.load(Ordering::Relaxed)
    }

    /// Returns the number of pages that the group claims as protected against every reclaim. The effective protection
    /// is less when the groups above have less protection to give. Kernel: `memory.min`.
    pub fn min_pages(&self) -> u64 {
        self.min_pages.load(Ordering::Relaxed)
    }

    /// Returns the number of pages that the group claims as protected while other groups have unprotected pages. The
    /// effective protection is less when the groups above have less protection to give. Kernel: `memory.low`.
    pub fn low_pages(&self) -> u64 {
        self.low_pages.load(Ordering::Relaxed)
    }

    pub(crate) fn set_swappiness(&self, swappiness: u8) {
        self.swappiness.store(swappiness, Ordering::Relaxed);
    }

    /// Returns whether the OOM killer is off for the group; only v1 can turn the OOM killer off.
    pub fn is_oom_kill_disabled(&self) -> bool {
        self.is_oom_kill_disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_oom_kill_disabled(&self, is_disabled: bool) {
        self.is_oom_kill_disabled.store(is_disabled, Ordering::Relaxed);
    }

    /// Returns whether the OOM killer treats the group with all groups below as one workload. Kernel:
    /// `memory.oom.group`.
    pub fn is_oom_group(&self) -> bool {
        self.is_oom_group.load(Ordering::Relaxed)
    }

    /// Sets the value that [`MemCgroup::is_oom_group`] returns.
    pub fn set_oom_group(&self, is_oom_group: bool) {
        self.is_oom_group.store(is_oom_group, Ordering::Relaxed);
    }

    /// Returns the policy table of the group.
    pub fn policy(&self) -> GroupPolicy {
        self.policy.lock().clone()
    }

    /// Returns the counter of the kind `which`.
    #[inline]
    pub fn counter(&self, which: CounterKind) -> &PageCounter {
        match which {
            CounterKind::Memory => &self.memory,
            CounterKind::Swap => &self.swap,
        }
    }

    /// Calls `look` with the policy table, under the table's lock.
    pub(crate) fn with_policy<T>(&self, look: impl FnOnce(&GroupPolicy) -> T) -> T {
        look(&self.policy.lock())
    }

    /// Adds `delta` to a statistic of this group. Kernel: `mod_memcg_state`, `count_memcg_events`.
    #[inline]
    pub(crate) fn count(&self, stat: MemcgStat, delta: i64) {
        self.stats[stat as usize].fetch_add(delta, Ordering::Relaxed);
    }

    /// Returns a statistic of the group without its descendants. [`super::MemCgroups::stat`] adds the descendants.
    pub fn stat_local(&self, stat: MemcgStat) -> i64 {
        self.stats[stat as usize].load(Ordering::Relaxed)
    }

    pub(super) fn stat_gone(&self, stat: MemcgStat) -> i64 {
        self.gone[stat as usize].load(Ordering::Relaxed)
    }

    /// Returns how often an event was raised at this group or, on v2 without `memory_localevents`, at one of its
    /// descendants.
    pub fn events(&self, event: MemcgEvent) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    /// Returns how often an event was raised at this group, without its descendants.
    pub fn events_local(&self, event: MemcgEvent) -> u64 {
        self.events_local[event as usize].load(Ordering::Relaxed)
    }

    /// Adds `delay` to the total delay of the group's tasks, because the usage of the group is over a high limit.
    /// Kernel: the task sleeps; differs: the core only counts the delay, and a simulator may advance its clock by the
    /// delay.
    pub(crate) fn throttle(&self, delay: Duration) {
        self.throttled_ms.fetch_add(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns the total delay of the group's tasks, in milliseconds.
    pub fn throttled_ms(&self) -> u64 {
        self.throttled_ms.load(Ordering::Relaxed)
    }

    /// Adds the statistics of this group to `gone` of its parent, when this group is freed.
    pub(super) fn hand_over(&self, parent: &Self) {
        for (index, gone) in parent.gone.iter().enumerate() {
            let left = self.stats[index].swap(0, Ordering::Relaxed) + self.gone[index].swap(0, Ordering::Relaxed);
            gone.fetch_add(left, Ordering::Relaxed);
        }
    }

    /// Resets a new or freed group, so that the structure can serve a group that is created below the same parent.
    pub(super) fn renew(&self, parent: Option<&Self>) {
        self.memory.reset();
        self.swap.reset();
        self.events.iter().chain(&self.events_local).for_each(|count| count.store(0, Ordering::Relaxed));
        self.min_pages.store(0, Ordering::Relaxed);
        self.low_pages.store(0, Ordering::Relaxed);
        self.is_oom_kill_disabled.store(false, Ordering::Relaxed);
        self.is_oom_group.store(false, Ordering::Relaxed);
        self.zswap_max_pages.store(PAGE_COUNTER_MAX, Ordering::Relaxed);
        self.may_zswap_writeback.store(true, Ordering::Relaxed);
        self.swappiness.store(parent.map_or(SWAPPINESS_DEFAULT, Self::swappiness), Ordering::Relaxed);
        let policy = parent.map_or_else(GroupPolicy::default, Self::policy);
        *self.policy.lock() = GroupPolicy { devices: None, ..policy };
        *self.peaks.lock() = Peaks::default();
        self.throttled_ms.store(0, Ordering::Relaxed);
        self.lruvec.renew();
    }
}

/// Swappiness of root at the start. Kernel: `vm.swappiness` at boot.
pub const SWAPPINESS_DEFAULT: u8 = 60;
