//! What is counted per CPU: slots in use, events, cached pages.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::limits::{MAX_SWAPFILES, SWAP_NR_ORDERS};
use crate::base::types::{Order, SwpType};

/// Events that are counted per CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Event {
    /// Visits to the slow path.
    SlowPath,
    /// Cached slots taken back by a scan, by full reclaim or by a put.
    ReclaimedPages,
    /// Clusters that went through a discard.
    DiscardedClusters,
    /// Discards that the storage refused.
    DiscardErrors,
    /// Pages read from a storage. Kernel: `PSWPIN`.
    PswpIn,
    /// Pages written to a storage. Kernel: `PSWPOUT`.
    PswpOut,
    /// Pages filled with zeros instead of read. Kernel: `SWPIN_ZERO`.
    SwpInZero,
    /// Pages marked as zeros instead of written. Kernel: `SWPOUT_ZERO`.
    SwpOutZero,
    /// Reads of a storage that failed.
    ReadErrors,
    /// Writes to a storage that failed.
    WriteErrors,
    /// Faults that had to allocate or read. Kernel: `PGMAJFAULT`.
    MajorFaults,
    /// Pages read ahead. Kernel: `SWAP_RA`.
    SwapRa,
    /// Pages read ahead that were wanted later. Kernel: `SWAP_RA_HIT`.
    SwapRaHit,
    /// Insertions tried again because the shadow had changed meanwhile.
    ShadowRetries,
    /// Swap-ins of slots without an owner whose pins the series as posted would have put.
    RfcNullMemcg,
    /// Pages that came from zswap. Kernel: `ZSWPIN`.
    ZswpIn,
    /// Pages that went to zswap. Kernel: `ZSWPOUT`.
    ZswpOut,
    /// Pages that went on from zswap to a device. Kernel: `ZSWPWB`.
    ZswpWb,
    /// Real slots that a swapoff freed through the reverse map.
    SwapoffRmap,
    /// Page table entries that a swapoff looked at.
    SwapoffPtes,
    /// Pages whose slots are there and whose place is not: zswap refused, and no device is behind it.
    SwpOutRefused,
    /// Kernel: `THP_SWPOUT`.
    ThpSwpOut,
    /// Kernel: `THP_SWPOUT_FALLBACK`.
    ThpSwpOutFallback,
}

const NR_EVENTS: usize = Event::ThpSwpOutFallback as usize + 1;

/// Events that are counted per CPU and order, of large folios. Kernel: `enum mthp_stat_item`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum OrderEvent {
    /// Kernel: `MTHP_STAT_SWPIN`.
    In,
    /// Kernel: `MTHP_STAT_SWPIN_FALLBACK`.
    InFallback,
    /// Kernel: `MTHP_STAT_SWPIN_FALLBACK_CHARGE`.
    InFallbackCharge,
    /// Kernel: `MTHP_STAT_SWPOUT`.
    Out,
    /// Kernel: `MTHP_STAT_SWPOUT_FALLBACK`.
    OutFallback,
    /// Kernel: `MTHP_STAT_ZSWPOUT`.
    ZswpOut,
}

const NR_ORDER_EVENTS: usize = OrderEvent::ZswpOut as usize + 1;

/// Counters of one CPU. Written by plain stores under the CPU's local lock, read by anybody, so sums are exact when
/// nothing is in flight and at most one operation per CPU off otherwise.
#[derive(Debug, Default)]
pub(crate) struct CpuCounters {
    pub(super) inuse: [AtomicI64; MAX_SWAPFILES],
    pub(super) runs: [AtomicU64; SWAP_NR_ORDERS],
    pub(super) failures: [AtomicU64; SWAP_NR_ORDERS],
    pub(super) events: [AtomicU64; NR_EVENTS],
    pub(super) order_events: [[AtomicU64; SWAP_NR_ORDERS]; NR_ORDER_EVENTS],
    /// Slots that a folio owns.
    pub(super) cached: AtomicI64,
}

// Relaxed in both: one writer at a time by the local lock; a reader wants the number, not what it implies.
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

    /// Counts slots that a folio took or let go of.
    pub(crate) fn add_cached(&self, nr: i64) {
        // Relaxed: as in `bump`.
        self.cached.store(self.cached.load(Ordering::Relaxed) + nr, Ordering::Relaxed);
    }
}
