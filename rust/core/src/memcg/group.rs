//! One memory cgroup: its counters, its pins, its statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::CounterKind;
use super::counter::{PAGE_COUNTER_MAX, PageCounter};
use super::policy::GroupPolicy;
use crate::base::limits::PAGE_SIZE;
use crate::base::sync::SpinMutex;
use crate::base::types::{CssId, MemcgId};
use crate::workingset::Lruvec;

/// Statistics in pages or events that a group counts for itself. Sums over descendants are computed on request.
///
/// Kernel: the `memcg_stat_item`s and `vm_event_item`s of swap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum MemcgStat {
    /// Swap pages that the group owns. Kernel: `MEMCG_SWAP`.
    Swap,
    /// Charged pages that are in the swap cache. Kernel: `NR_SWAPCACHE`.
    Swapcached,
    /// Charged pages of anonymous folios, mapped or not. Kernel: `NR_ANON_MAPPED`, which counts mapped pages only.
    Anon,
    /// The part of `Anon` in folios of the size of a page table. Kernel: `NR_ANON_THPS`.
    AnonThp,
    /// Kernel: `PSWPIN`.
    PswpIn,
    /// Kernel: `PSWPOUT`.
    PswpOut,
    /// Kernel: `SWPIN_ZERO`.
    SwpInZero,
    /// Kernel: `SWPOUT_ZERO`.
    SwpOutZero,
    /// Kernel: `PGFAULT`.
    PgFault,
    /// Kernel: `PGMAJFAULT`.
    PgMajFault,
    /// Kernel: `THP_SWPOUT`.
    ThpSwpOut,
    /// Kernel: `THP_SWPOUT_FALLBACK`.
    ThpSwpOutFallback,
    /// Bytes of compressed pages. Kernel: `MEMCG_ZSWAP_B`.
    ZswapB,
    /// Pages before compression. Kernel: `MEMCG_ZSWAPPED`.
    Zswapped,
    /// Kernel: `ZSWPIN`.
    ZswpIn,
    /// Kernel: `ZSWPOUT`.
    ZswpOut,
    /// Kernel: `ZSWPWB`.
    ZswpWb,
    /// Folios charged, on v1. Kernel: `PGPGIN` of a memcg.
    PgPgIn,
    /// Folios uncharged, on v1. Kernel: `PGPGOUT` of a memcg.
    PgPgOut,
}

pub(super) const NR_STATS: usize = MemcgStat::PgPgOut as usize + 1;

/// Events of a group. On v2 an event is raised at every ancestor except root too. Kernel: `enum memcg_memory_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum MemcgEvent {
    /// Reclaim took pages although the usage was within `memory.low`.
    Low,
    /// Usage was over `memory.high`.
    High,
    /// A charge met `memory.max`.
    Max,
    /// No page could be reclaimed for a charge.
    Oom,
    /// A task was killed because no memory was left. Never raised here, because the charge fails and its caller
    /// decides. The kernel's files have a line for the event.
    OomKill,
    /// All tasks of a group were killed together. Never raised, as [`MemcgEvent::OomKill`].
    OomGroupKill,
    /// Usage was over `memory.swap.high`.
    SwapHigh,
    /// A swap charge met `memory.swap.max`.
    SwapMax,
    /// A folio got no slot or no swap charge.
    SwapFail,
}

pub(super) const NR_EVENTS: usize = MemcgEvent::SwapFail as usize + 1;

/// One memory cgroup. Kernel: `struct mem_cgroup`; differs: a group is never deallocated. When nothing refers to it
/// any more, the next group made in the same place of the tree reuses it, so a reference to it is always valid.
#[derive(Debug, Default)]
pub struct MemCgroup {
    css: CssId,
    parent: Option<CssId>,
    depth: u32,
    /// Created and not removed. Kernel: `CSS_ONLINE`.
    pub(super) is_online: AtomicBool,
    /// Private id, 0 after it is released.
    pub(super) id: AtomicU32,
    /// Pins: one while online, one for each slot that records the id. Kernel: `id.ref`.
    pub(super) id_refs: AtomicU64,
    /// References: one while online, one for the id, one for each charged folio, child and handle. Kernel: the css
    /// reference count.
    pub(super) css_refs: AtomicU64,
    /// Number of address spaces of tasks in the group.
    pub(super) nr_tasks: AtomicU64,
    /// Kernel: `memory`.
    pub memory: PageCounter,
    /// v2: swap. v1: memory and swap. Kernel: the union of `swap` and `memsw`.
    pub swap: PageCounter,
    stats: [AtomicI64; NR_STATS],
    /// Statistics of freed descendants.
    gone: [AtomicI64; NR_STATS],
    /// Events of this group and its descendants.
    pub(super) events: [AtomicU64; NR_EVENTS],
    /// Events of this group alone.
    pub(super) events_local: [AtomicU64; NR_EVENTS],
    lruvec: Arc<Lruvec>,
    /// Swappiness of this group on v1. On v2 the value of root applies to all groups.
    pub(super) swappiness: AtomicU8,
    pub(super) min_pages: AtomicU64,
    pub(super) low_pages: AtomicU64,
    /// Limit in pages on the memory of compressed pages, of the group and its descendants together. Kernel:
    /// `zswap_max`.
    zswap_max_pages: AtomicU64,
    /// Pages of the group may be written back from zswap to a device. Kernel: `zswap_writeback`.
    may_zswap_writeback: AtomicBool,
    /// The OOM killer is off for the group, on v1. The value is only stored and shown.
    pub(super) is_oom_kill_disabled: AtomicBool,
    pub(super) policy: SpinMutex<GroupPolicy>,
    /// Time that the group's tasks would have slept because of a high limit.
    throttled_ms: AtomicU64,
}

// Relaxed throughout, except for the pins: each statistic and each limit stands alone.
impl MemCgroup {
    /// Makes a group that is not online. [`MemCgroup::renew`] sets its limits and settings.
    pub(super) fn new(css: CssId, parent: Option<&Self>) -> Self {
        Self {
            css,
            parent: parent.map(|parent| parent.css),
            depth: parent.map_or(0, |parent| parent.depth + 1),
            lruvec: Lruvec::new(MemcgId(0), 0, parent.map(|parent| parent.lruvec.clone())),
            ..Self::default()
        }
    }

    /// Returns the group's number. No other group has it while this one lives.
    pub fn css(&self) -> CssId {
        self.css
    }

    /// Returns the number of the parent, or `None` for root.
    pub fn parent(&self) -> Option<CssId> {
        self.parent
    }

    /// Returns whether this is root, which is never charged.
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

    /// Returns the limit in pages on the memory of compressed pages, of the group and its descendants together.
    /// [`super::PAGE_COUNTER_MAX`] means no limit. Kernel: `memory.zswap.max`.
    pub fn zswap_max_pages(&self) -> u64 {
        self.zswap_max_pages.load(Ordering::Relaxed)
    }

    /// Sets the limit that [`MemCgroup::zswap_max_pages`] returns. Compressed pages over it stay.
    pub fn set_zswap_max_pages(&self, pages: u64) {
        self.zswap_max_pages.store(pages, Ordering::Relaxed);
    }

    /// Returns whether the group's own setting allows writeback of its pages from zswap. Kernel:
    /// `memory.zswap.writeback`.
    pub fn may_zswap_writeback(&self) -> bool {
        self.may_zswap_writeback.load(Ordering::Relaxed)
    }

    /// Sets the value that [`MemCgroup::may_zswap_writeback`] returns.
    pub fn set_zswap_writeback(&self, may_writeback: bool) {
        self.may_zswap_writeback.store(may_writeback, Ordering::Relaxed);
    }

    /// Adds to the bytes of the group's compressed pages. Returns the change of their size in whole pages, which may
    /// be negative.
    pub(crate) fn add_zswap_bytes(&self, bytes: i64) -> i64 {
        let before = self.stats[MemcgStat::ZswapB as usize].fetch_add(bytes, Ordering::Relaxed);
        let pages = |bytes: i64| (bytes + PAGE_SIZE as i64 - 1) / PAGE_SIZE as i64;
        pages(before + bytes) - pages(before)
    }

    /// Returns the private id that slots record, 0 after it is released.
    pub fn id(&self) -> MemcgId {
        MemcgId(self.id.load(Ordering::Relaxed) as u16)
    }

    /// Returns the number of pins of the private id: one while online, one for each slot that records the id.
    pub fn id_refs(&self) -> u64 {
        self.id_refs.load(Ordering::Relaxed)
    }

    /// Returns the number of references that keep the group from being freed.
    pub fn css_refs(&self) -> u64 {
        self.css_refs.load(Ordering::Relaxed)
    }

    /// Returns the number of address spaces of tasks in the group.
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

    /// Returns the number of pages that reclaim never takes. Kernel: `memory.min`.
    pub fn min_pages(&self) -> u64 {
        self.min_pages.load(Ordering::Relaxed)
    }

    /// Returns the number of pages that reclaim takes only when no unprotected pages are left. Kernel: `memory.low`.
    pub fn low_pages(&self) -> u64 {
        self.low_pages.load(Ordering::Relaxed)
    }

    pub(crate) fn set_swappiness(&self, swappiness: u8) {
        self.swappiness.store(swappiness, Ordering::Relaxed);
    }

    pub(crate) fn set_min_pages(&self, pages: u64) {
        self.min_pages.store(pages, Ordering::Relaxed);
    }

    pub(crate) fn set_low_pages(&self, pages: u64) {
        self.low_pages.store(pages, Ordering::Relaxed);
    }

    /// Returns whether the OOM killer is off for the group, as v1 allows.
    pub fn is_oom_kill_disabled(&self) -> bool {
        self.is_oom_kill_disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_oom_kill_disabled(&self, is_disabled: bool) {
        self.is_oom_kill_disabled.store(is_disabled, Ordering::Relaxed);
    }

    /// Returns the policy table of the group.
    pub fn policy(&self) -> GroupPolicy {
        self.policy.lock().clone()
    }

    /// Returns one of the two counters.
    #[inline]
    pub fn counter(&self, which: CounterKind) -> &PageCounter {
        match which {
            CounterKind::Memory => &self.memory,
            CounterKind::Swap => &self.swap,
        }
    }

    /// Calls a function with the policy table, under the table's lock.
    pub(crate) fn with_policy<T>(&self, look: impl FnOnce(&GroupPolicy) -> T) -> T {
        look(&self.policy.lock())
    }

    /// Sets the policy table. Groups that are made below this one copy it.
    pub fn set_policy(&self, policy: GroupPolicy) {
        *self.policy.lock() = policy;
    }

    /// Adds to a statistic of this group. Kernel: `mod_memcg_state`, `count_memcg_events`.
    #[inline]
    pub(crate) fn count(&self, stat: MemcgStat, delta: i64) {
        self.stats[stat as usize].fetch_add(delta, Ordering::Relaxed);
    }

    /// Returns the group's own part of a statistic. [`super::MemCgroups::stat`] adds the descendants.
    pub fn stat_local(&self, stat: MemcgStat) -> i64 {
        self.stats[stat as usize].load(Ordering::Relaxed)
    }

    pub(super) fn stat_gone(&self, stat: MemcgStat) -> i64 {
        self.gone[stat as usize].load(Ordering::Relaxed)
    }

    /// Returns how often an event was raised at this group or below.
    pub fn events(&self, event: MemcgEvent) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    /// Returns how often an event was raised at this group itself.
    pub fn events_local(&self, event: MemcgEvent) -> u64 {
        self.events_local[event as usize].load(Ordering::Relaxed)
    }

    /// Adds a delay because of a high limit. Kernel: the task sleeps; differs: the time is only counted, and the
    /// caller of a simulation lets it pass.
    pub(crate) fn throttle(&self, delay: Duration) {
        self.throttled_ms.fetch_add(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns the total delay of the group's tasks, in milliseconds.
    pub fn throttled_ms(&self) -> u64 {
        self.throttled_ms.load(Ordering::Relaxed)
    }

    /// Adds the statistics of this group to its parent, when this group is freed.
    pub(super) fn hand_over(&self, parent: &Self) {
        for (index, gone) in parent.gone.iter().enumerate() {
            let left = self.stats[index].swap(0, Ordering::Relaxed) + self.gone[index].swap(0, Ordering::Relaxed);
            gone.fetch_add(left, Ordering::Relaxed);
        }
    }

    /// Resets a freed group for its next life below the same parent.
    pub(super) fn renew(&self, parent: Option<&Self>) {
        self.memory.reset();
        self.swap.reset();
        self.events.iter().chain(&self.events_local).for_each(|count| count.store(0, Ordering::Relaxed));
        self.min_pages.store(0, Ordering::Relaxed);
        self.low_pages.store(0, Ordering::Relaxed);
        self.is_oom_kill_disabled.store(false, Ordering::Relaxed);
        self.zswap_max_pages.store(PAGE_COUNTER_MAX, Ordering::Relaxed);
        self.may_zswap_writeback.store(true, Ordering::Relaxed);
        self.swappiness.store(parent.map_or(SWAPPINESS_DEFAULT, Self::swappiness), Ordering::Relaxed);
        *self.policy.lock() = parent.map_or_else(GroupPolicy::default, Self::policy);
        self.throttled_ms.store(0, Ordering::Relaxed);
        self.lruvec.renew();
    }
}

/// Kernel: `vm.swappiness` at boot.
pub const SWAPPINESS_DEFAULT: u8 = 60;
