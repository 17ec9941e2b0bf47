//! Counters of each CPU: slots in use, events, cached pages.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::limits::{MAX_SWAPFILES, SWAP_NR_ORDERS};
use crate::base::types::{Order, SwpType};

/// Events that each CPU counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Event {
    /// Searches that took the slow path.
    SlowPath,
    /// Cached slots that a scan, a pass over full clusters, or a put took back.
    ReclaimedPages,
    /// Clusters that were discarded.
    DiscardedClusters,
    /// Discards that a storage refused.
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
    /// Faults that allocated a folio or read one. Kernel: `PGMAJFAULT`.
    MajorFaults,
    /// Pages read ahead. Kernel: `SWAP_RA`.
    SwapRa,
    /// Pages read ahead that a fault used later. Kernel: `SWAP_RA_HIT`.
    SwapRaHit,
    /// Insertions into the swap cache that started over, because the slot's shadow changed after the first check.
    ShadowRetries,
    /// Swap-ins of slots without an owner. The series as posted drops a reference of a group that does not exist
    /// there.
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
    /// Pages that have slots but no place for their data: zswap refused the pages, and no device stands behind the
    /// slots.
    SwpOutRefused,
    /// Folios of the largest order that were written to a storage. Kernel: `THP_SWPOUT`.
    ThpSwpOut,
    /// Folios of the largest order that got no run of slots. Kernel: `THP_SWPOUT_FALLBACK`.
    ThpSwpOutFallback,
}

const NR_EVENTS: usize = Event::ThpSwpOutFallback as usize + 1;

/// Events of large folios that each CPU counts by order. Kernel: `enum mthp_stat_item`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum OrderEvent {
    /// Folios read from a storage. Kernel: `MTHP_STAT_SWPIN`.
    In,
    /// Swap-ins that gave up the order. Kernel: `MTHP_STAT_SWPIN_FALLBACK`.
    InFallback,
    /// Swap-ins whose charge of the order failed. Kernel: `MTHP_STAT_SWPIN_FALLBACK_CHARGE`.
    InFallbackCharge,
    /// Folios written to a storage. Kernel: `MTHP_STAT_SWPOUT`.
    Out,
    /// Folios that got no run of slots. Kernel: `MTHP_STAT_SWPOUT_FALLBACK`.
    OutFallback,
    /// Folios stored in zswap. Kernel: `MTHP_STAT_ZSWPOUT`.
    ZswpOut,
}

const NR_ORDER_EVENTS: usize = OrderEvent::ZswpOut as usize + 1;

/// Counters of one CPU. Plain stores under the CPU's local lock write the counters, and any thread reads the
/// counters. So a sum over CPUs is exact while no operation is in flight, and off by at most one operation per CPU
/// otherwise.
#[derive(Debug, Default)]
pub(crate) struct CpuCounters {
    pub(super) inuse: [AtomicI64; MAX_SWAPFILES],
    pub(super) runs: [AtomicU64; SWAP_NR_ORDERS],
    pub(super) failures: [AtomicU64; SWAP_NR_ORDERS],
    pub(super) events: [AtomicU64; NR_EVENTS],
    pub(super) order_events: [[AtomicU64; SWAP_NR_ORDERS]; NR_ORDER_EVENTS],
    /// Slots whose entry holds a folio.
    pub(super) cached: AtomicI64,
}

// Relaxed load and store: the local lock allows one writer at a time, and a reader draws no conclusion from the
// number.
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

    /// Adds slots that a folio took, or subtracts slots that a folio left.
    pub(crate) fn add_cached(&self, nr: i64) {
        // Relaxed: as in `bump`.
        self.cached.store(self.cached.load(Ordering::Relaxed) + nr, Ordering::Relaxed);
    }
}
