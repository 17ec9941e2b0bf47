//! One memory cgroup: its counters, its pins, what it counted.

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

/// What a group counts of pages and happenings for itself; sums over descendants are made when asked for.
///
/// Kernel: the `memcg_stat_item`s and `vm_event_item`s of swap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum MemcgStat {
    /// Pages of swap owned. Kernel: `MEMCG_SWAP`.
    Swap,
    /// Pages charged that the swap cache holds. Kernel: `NR_SWAPCACHE`.
    Swapcached,
    /// Pages of anonymous folios charged, mapped or not. Kernel: `NR_ANON_MAPPED`, mapped ones only.
    Anon,
    /// Those of them in folios as large as a page table maps. Kernel: `NR_ANON_THPS`.
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
    /// Pages that they are. Kernel: `MEMCG_ZSWAPPED`.
    Zswapped,
    /// Kernel: `ZSWPIN`.
    ZswpIn,
    /// Kernel: `ZSWPOUT`.
    ZswpOut,
    /// Kernel: `ZSWPWB`.
    ZswpWb,
    /// Folios charged, v1. Kernel: `PGPGIN` of a memcg.
    PgPgIn,
    /// Folios uncharged, v1. Kernel: `PGPGOUT` of a memcg.
    PgPgOut,
}

pub(super) const NR_STATS: usize = MemcgStat::PgPgOut as usize + 1;

/// What is raised at a group and, on v2, at every one above it but the root. Kernel: `enum memcg_memory_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum MemcgEvent {
    /// Reclaimed although within its low protection.
    Low,
    /// Over `memory.high`.
    High,
    /// A charge met `memory.max`.
    Max,
    /// No page could be reclaimed for a charge.
    Oom,
    /// A task was killed for want of memory. Never raised, because the charge fails and its caller decides; the kernel's files
    /// have a line for the event.
    OomKill,
    /// All tasks of a group were killed together. Never raised, as [`MemcgEvent::OomKill`].
    OomGroupKill,
    /// Over `memory.swap.high`.
    SwapHigh,
    /// A swap charge met `memory.swap.max`.
    SwapMax,
    /// A folio got no slot or no swap charge.
    SwapFail,
}

pub(super) const NR_EVENTS: usize = MemcgEvent::SwapFail as usize + 1;

/// Where a group is in its life. Kernel: the css flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Life {
    /// Nobody's: kept for the next group made in this place.
    Free = 0,
    /// Made and not removed.
    Online = 1,
    /// Removed; what it is charged with lives on.
    Offline = 2,
}

/// One memory cgroup. Kernel: `struct mem_cgroup`; differs: never freed, but used again for a group made in the same place
/// of the tree once nothing refers to it, so a reference to it is always good.
#[derive(Debug)]
pub struct MemCgroup {
    css: CssId,
    parent: Option<CssId>,
    depth: u32,
    life: AtomicU8,
    /// Private id, 0 once released.
    pub(super) id: AtomicU32,
    /// 1 while online, 1 a slot that records the id. Kernel: `id.ref`.
    pub(super) id_refs: AtomicU64,
    /// Online, id, each charged folio, each child, each handle. Kernel: the css reference count.
    pub(super) css_refs: AtomicU64,
    /// Address spaces of the group's tasks.
    pub(super) nr_tasks: AtomicU64,
    /// Kernel: `memory`.
    pub memory: PageCounter,
    /// v2: swap. v1: memory and swap. Kernel: the union of `swap` and `memsw`.
    pub swap: PageCounter,
    stats: [AtomicI64; NR_STATS],
    /// Of descendants that are freed.
    gone: [AtomicI64; NR_STATS],
    events: [AtomicU64; NR_EVENTS],
    events_local: [AtomicU64; NR_EVENTS],
    lruvec: Arc<Lruvec>,
    /// v1: of this group. v2: root's is the system's.
    pub(super) swappiness: AtomicU8,
    pub(super) min_pages: AtomicU64,
    pub(super) low_pages: AtomicU64,
    /// Pages of memory that compressed pages of the group and of all below it may fill. Kernel: `zswap_max`.
    zswap_max_pages: AtomicU64,
    /// Pages of it may go on from zswap to a device. Kernel: `zswap_writeback`.
    may_zswap_writeback: AtomicBool,
    /// v1: the OOM killer is off for the group. Kept and shown.
    pub(super) is_oom_kill_disabled: AtomicBool,
    pub(super) policy: SpinMutex<GroupPolicy>,
    /// Time that its tasks would have slept for being over a high limit.
    throttled_ms: AtomicU64,
}

// Relaxed throughout, but for the pins: statistics and limits are numbers by themselves.
impl MemCgroup {
    pub(super) fn new(css: CssId, parent: Option<&Self>) -> Self {
        let lruvec = Lruvec::new(MemcgId(0), 0, parent.map(|parent| parent.lruvec.clone()));
        Self {
            css,
            parent: parent.map(|parent| parent.css),
            depth: parent.map_or(0, |parent| parent.depth + 1),
            life: AtomicU8::new(Life::Free as u8),
            id: AtomicU32::new(0),
            id_refs: AtomicU64::new(0),
            css_refs: AtomicU64::new(0),
            nr_tasks: AtomicU64::new(0),
            memory: PageCounter::default(),
            swap: PageCounter::default(),
            stats: Default::default(),
            gone: Default::default(),
            events: Default::default(),
            events_local: Default::default(),
            lruvec,
            swappiness: AtomicU8::new(SWAPPINESS_DEFAULT),
            min_pages: AtomicU64::new(0),
            low_pages: AtomicU64::new(0),
            zswap_max_pages: AtomicU64::new(PAGE_COUNTER_MAX),
            may_zswap_writeback: AtomicBool::new(true),
            is_oom_kill_disabled: AtomicBool::new(false),
            policy: SpinMutex::default(),
            throttled_ms: AtomicU64::new(0),
        }
    }

    /// Returns the group's number, which no other group has while this one lives.
    pub fn css(&self) -> CssId {
        self.css
    }

    /// Returns the number of the group above; `None` for root.
    pub fn parent(&self) -> Option<CssId> {
        self.parent
    }

    /// Says whether this is the root, which is never charged.
    #[inline]
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Returns the groups above.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    pub(super) fn life(&self) -> Life {
        match self.life.load(Ordering::Relaxed) {
            1 => Life::Online,
            2 => Life::Offline,
            _ => Life::Free,
        }
    }

    pub(super) fn set_life(&self, life: Life) {
        self.life.store(life as u8, Ordering::Relaxed);
    }

    /// Says whether the group was made and not removed yet. Kernel: `mem_cgroup_online`.
    pub fn is_online(&self) -> bool {
        self.life() == Life::Online
    }

    /// Returns the pages of memory that compressed pages of the group and of all below it may fill;
    /// [`super::PAGE_COUNTER_MAX`] is no limit. Kernel: `memory.zswap.max`.
    pub fn zswap_max_pages(&self) -> u64 {
        self.zswap_max_pages.load(Ordering::Relaxed)
    }

    /// Sets what [`MemCgroup::zswap_max_pages`] returns; what is there stays.
    pub fn set_zswap_max_pages(&self, pages: u64) {
        self.zswap_max_pages.store(pages, Ordering::Relaxed);
    }

    /// Says whether pages of it may go on from zswap to a device, as far as it is asked itself. Kernel:
    /// `memory.zswap.writeback`.
    pub fn may_zswap_writeback(&self) -> bool {
        self.may_zswap_writeback.load(Ordering::Relaxed)
    }

    /// Sets what [`MemCgroup::may_zswap_writeback`] returns.
    pub fn set_zswap_writeback(&self, may_writeback: bool) {
        self.may_zswap_writeback.store(may_writeback, Ordering::Relaxed);
    }

    /// Changes the bytes of compressed pages that the group has itself; returns how many pages of memory more they round up
    /// to, below 0 for less.
    pub(crate) fn add_zswap_bytes(&self, bytes: i64) -> i64 {
        let before = self.stats[MemcgStat::ZswapB as usize].fetch_add(bytes, Ordering::Relaxed);
        let pages = |bytes: i64| (bytes + PAGE_SIZE as i64 - 1) / PAGE_SIZE as i64;
        pages(before + bytes) - pages(before)
    }

    /// Returns the private id that slots record; 0 once it is released.
    pub fn id(&self) -> MemcgId {
        MemcgId(self.id.load(Ordering::Relaxed) as u16)
    }

    /// Returns the pins of the private id: one while online, one a slot that records it.
    pub fn id_refs(&self) -> u64 {
        self.id_refs.load(Ordering::Relaxed)
    }

    /// Returns what keeps the group from being freed.
    pub fn css_refs(&self) -> u64 {
        self.css_refs.load(Ordering::Relaxed)
    }

    /// Returns the address spaces of its tasks.
    pub fn nr_tasks(&self) -> u64 {
        self.nr_tasks.load(Ordering::Relaxed)
    }

    /// Returns the lists of its folios.
    pub fn lruvec(&self) -> &Arc<Lruvec> {
        &self.lruvec
    }

    /// Returns how readily its anonymous pages are reclaimed, 0..=200; on v2 root's is everybody's.
    pub fn swappiness(&self) -> u8 {
        self.swappiness.load(Ordering::Relaxed)
    }

    /// Returns the pages that reclaim leaves the group whatever happens. Kernel: `memory.min`.
    pub fn min_pages(&self) -> u64 {
        self.min_pages.load(Ordering::Relaxed)
    }

    /// Returns the pages that reclaim leaves the group if others have some. Kernel: `memory.low`.
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

    /// Says whether the OOM killer is off for the group, as v1 lets users say.
    pub fn is_oom_kill_disabled(&self) -> bool {
        self.is_oom_kill_disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_oom_kill_disabled(&self, is_disabled: bool) {
        self.is_oom_kill_disabled.store(is_disabled, Ordering::Relaxed);
    }

    /// Returns what decides for the group without asking anybody.
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

    /// Looks at what decides for the group, which is locked meanwhile.
    pub(crate) fn with_policy<T>(&self, look: impl FnOnce(&GroupPolicy) -> T) -> T {
        look(&self.policy.lock())
    }

    /// Sets what decides for the group, and for groups made below it later.
    pub fn set_policy(&self, policy: GroupPolicy) {
        *self.policy.lock() = policy;
    }

    /// Counts for this group itself. Kernel: `mod_memcg_state`, `count_memcg_events`.
    #[inline]
    pub(crate) fn count(&self, stat: MemcgStat, delta: i64) {
        self.stats[stat as usize].fetch_add(delta, Ordering::Relaxed);
    }

    /// Returns the group's own part of a statistic; descendants' are added by [`super::MemCgroups::stat`].
    pub fn stat_local(&self, stat: MemcgStat) -> i64 {
        self.stats[stat as usize].load(Ordering::Relaxed)
    }

    pub(super) fn stat_gone(&self, stat: MemcgStat) -> i64 {
        self.gone[stat as usize].load(Ordering::Relaxed)
    }

    pub(super) fn raise_local(&self, event: MemcgEvent) {
        self.events_local[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn raise_here(&self, event: MemcgEvent) {
        self.events[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often an event was raised here or below.
    pub fn events(&self, event: MemcgEvent) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    /// Returns how often an event was raised here.
    pub fn events_local(&self, event: MemcgEvent) -> u64 {
        self.events_local[event as usize].load(Ordering::Relaxed)
    }

    /// Notes that a task is slowed down for being over a high limit. Kernel: it sleeps; here the time is counted, and who
    /// simulates lets it pass.
    pub(crate) fn throttle(&self, delay: Duration) {
        self.throttled_ms.fetch_add(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns for how long tasks of the group were slowed down, in all.
    pub fn throttled_ms(&self) -> u64 {
        self.throttled_ms.load(Ordering::Relaxed)
    }

    /// Leaves what it counted to the group above; it is nobody's from now on.
    pub(super) fn hand_over(&self, parent: &Self) {
        for (index, gone) in parent.gone.iter().enumerate() {
            let left = self.stats[index].swap(0, Ordering::Relaxed) + self.gone[index].swap(0, Ordering::Relaxed);
            gone.fetch_add(left, Ordering::Relaxed);
        }
    }

    /// Makes a freed group a new one, below the same parent.
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
