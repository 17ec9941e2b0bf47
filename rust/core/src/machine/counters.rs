//! The counters of each CPU: slots in use, runs of slots that were handed out, failed requests, events, and cached
//! slots.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::limits::{MAX_SWAPFILES, SWAP_NR_ORDERS};
use crate::base::types::{Order, SwpType};

/// Events that each CPU counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Event {
    /// Searches for slots that took the slow path.
    SlowPath,
    /// Cached slots that were freed by a search for free slots, by a pass over full clusters, or by a put.
    ReclaimedPages,
    /// Clusters that were discarded.
    DiscardedClusters,
    /// Discards that failed in a storage.
    DiscardErrors,
    /// Pages read from a storage. Kernel: `PSWPIN`.
    PswpIn,
    /// Pages written to a storage. Kernel: `PSWPOUT`.
    PswpOut,
    /// Pages filled with zeros instead of read. Kernel: `SWPIN_ZERO`.
    SwpInZero,
    /// Pages marked as zeros instead of written. Kernel: `SWPOUT_ZERO`.
    SwpOutZero,
    /// Failed reads of a storage.
    ReadErrors,
    /// Failed writes to a storage.
    WriteErrors,
    /// Page faults that allocated or read a folio. Kernel: `PGMAJFAULT`.
    MajorFaults,
    /// Pages read ahead. Kernel: `SWAP_RA`.
    SwapRa,
    /// Pages read ahead that a fault used later. Kernel: `SWAP_RA_HIT`.
    SwapRaHit,
    /// Insertions into the swap cache that were repeated, because the shadow of the slot changed while the folio was
    /// allocated.
    ShadowRetries,
    /// Swap-ins of slots without an owner, counted only with the switch `rfc_literal`. In such a swap-in, the swap
    /// table series, phase IV, as posted, drops a reference through a null group pointer.
    RfcNullMemcg,
    /// Pages loaded from zswap. Kernel: `ZSWPIN`.
    ZswpIn,
    /// Pages stored in zswap. Kernel: `ZSWPOUT`.
    ZswpOut,
    /// Pages written back from zswap to a device. Kernel: `ZSWPWB`.
    ZswpWb,
    /// Real slots that a swapoff freed through the reverse map.
    SwapoffRmap,
    /// Page table entries that a swapoff visited.
    SwapoffPtes,
    /// Pages that have slots but no storage for their data: zswap refused the pages, and no device backs the slots.
    SwpOutRefused,
    /// Folios of the largest order written to a storage as a whole. Kernel: `THP_SWPOUT`.
    ThpSwpOut,
    /// Folios of the largest order that got no run of slots. Kernel: `THP_SWPOUT_FALLBACK`.
    ThpSwpOutFallback,
    /// Tasks that the OOM killer ended. Kernel: `OOM_KILL`.
    OomKill,
}

const NR_EVENTS: usize = Event::OomKill as usize + 1;

/// Events of folios that each CPU counts by order. Kernel: `enum mthp_stat_item`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum OrderEvent {
    /// Folios read from a storage. Kernel: `MTHP_STAT_SWPIN`.
    In,
    /// Swap-ins that fell back to a smaller order. Kernel: `MTHP_STAT_SWPIN_FALLBACK`.
    InFallback,
    /// Swap-ins that fell back to a smaller order because a charge was refused. Kernel:
    /// `MTHP_STAT_SWPIN_FALLBACK_CHARGE`.
    InFallbackCharge,
    /// Folios written to a storage as a whole. Kernel: `MTHP_STAT_SWPOUT`.
    Out,
    /// Folios that got no run of slots. Kernel: `MTHP_STAT_SWPOUT_FALLBACK`.
    OutFallback,
    /// Folios stored in zswap. Kernel: `MTHP_STAT_ZSWPOUT`.
    ZswpOut,
    /// Anonymous folios, each allocated at the first touch of a page. Kernel: `MTHP_STAT_ANON_FAULT_ALLOC`.
    AnonFaultAlloc,
    /// First touches of anonymous pages that fell back to a smaller order. Kernel: `MTHP_STAT_ANON_FAULT_FALLBACK`.
    AnonFaultFallback,
    /// First touches of anonymous pages that fell back to a smaller order because a charge was refused. Kernel:
    /// `MTHP_STAT_ANON_FAULT_FALLBACK_CHARGE`.
    AnonFaultFallbackCharge,
    /// Folios of files in memory, each allocated at the first touch of a page. Kernel: `MTHP_STAT_SHMEM_ALLOC`.
    ShmemAlloc,
    /// First touches of a file that fell back to a smaller order. Kernel: `MTHP_STAT_SHMEM_FALLBACK`.
    ShmemFallback,
    /// First touches of a file that fell back to a smaller order because a charge was refused. Kernel:
    /// `MTHP_STAT_SHMEM_FALLBACK_CHARGE`.
    ShmemFallbackCharge,
    /// Folios that were split. Kernel: `MTHP_STAT_SPLIT`.
    Split,
    /// Folios that could not be split, for example because another user held a reference. Kernel:
    /// `MTHP_STAT_SPLIT_FAILED`.
    SplitFailed,
}

const NR_ORDER_EVENTS: usize = OrderEvent::SplitFailed as usize + 1;

/// Counters of one CPU. The holder of the CPU's local lock changes the counters with plain stores, and any thread may
/// read the counters. So a sum over CPUs is exact while no operation is in progress, else wrong by at most one
/// operation per CPU.
#[derive(Debug, Default)]
pub(crate) struct CpuCounters {
    pub(super) inuse: [AtomicI64; MAX_SWAPFILES],
    pub(super) runs: [AtomicU64; SWAP_NR_ORDERS],
    pub(super) failures: [AtomicU64; SWAP_NR_ORDERS],
    pub(super) events: [AtomicU64; NR_EVENTS],
    pub(super) order_events: [[AtomicU64; SWAP_NR_ORDERS]; NR_ORDER_EVENTS],
    /// Number of slots whose table entry holds a folio.
    pub(super) cached: AtomicI64,
}

// Relaxed load and store: the local lock allows one writer at a time, and a reader draws no conclusion from the
// number about other data.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl CpuCounters {
    #[inline]
    pub(crate) fn add_inuse(&self, ty: SwpType, nr: i64) {
        let counter = &self.inuse[ty.index()];
        counter.store(counter.load(Ordering::Relaxed) + nr, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn count_runs(&self, order: Order, nr: usize) {
        bump(&self.runs[order.index()], nr as u64);
    }

    pub(crate) fn count_failure(&self, order: Order) {
        bump(&self.failures[order.index()], 1);
    }

    pub(crate) fn count(&self, event: Event, by: u64) {
        bump(&self.events[event as usize], by);
    }

    pub(crate) fn count_order(&self, event: OrderEvent, order: Order) {
        bump(&self.order_events[event as usize][order.index()], 1);
    }

    /// Adds `nr` to the number of slots whose table entry holds a folio. `nr` is negative when a folio is removed
    /// from the swap cache.
    pub(crate) fn add_cached(&self, nr: i64) {
        // Relaxed: as in `bump`.
        self.cached.store(self.cached.load(Ordering::Relaxed) + nr, Ordering::Relaxed);
    }
}
