//! The whole path of one folio: swap-out, swap-in, writeback from zswap to a device, and the move from one device to
//! another device.
//!
//! The functions in this file run at the end of an operation, when no lock is held. They send notices to the hooks of
//! the policies and run the queued work of the workers.

mod migrate;
pub(crate) mod move_backing;
pub mod swapin;
pub mod swapout;
mod zswap_writeback;

use crate::base::types::CpuId;
use crate::folio::Active;
use crate::machine::{Swap, Workers};
#[cfg(test)]
pub(crate) use zswap_writeback::WritebackReason;
pub(crate) use zswap_writeback::ZSWAP_WRITEBACK;
pub use zswap_writeback::ZswapShrunk;

impl Swap {
    /// Runs the queued work of all devices (`reclaim_work` and `discard_work`) and the zswap worker. Returns the
    /// number of slots, clusters and zswap pages that were released.
    pub fn run_workers(&self) -> u64 {
        let _active = self.begin_activity();
        let mut on_cpu = self.on_cpu(CpuId(0)).expect("there is a CPU 0");
        let nr_done = on_cpu.operation().work();
        drop(on_cpu);
        nr_done + self.run_zswap_worker()
    }

    /// Ends an operation. Then calls the hooks for limits that refused charges, and runs the zswap worker if the
    /// worker is queued. Each public operation calls this function at its end with no lock held, because hooks and
    /// the worker may take any lock.
    #[inline]
    pub(crate) fn end_operation(&self, active: Active<'_>) {
        drop(active);
        if let Some(policy) = self.policies.get() {
            for notice in self.policies.take_notices() {
                policy.on_limit(notice.group, notice.limit, notice.nr_pages);
            }
        }
        if self.workers == Workers::Inline && self.zswap().is_shrink_queued() {
            self.run_zswap_worker();
        }
    }

    /// Runs the zswap worker if the worker is queued, and returns the number of pages written back. The caller holds
    /// no lock.
    #[cold]
    pub(crate) fn run_zswap_worker(&self) -> u64 {
        if self.zswap().take_shrink() { self.zswap_shrink_worker(CpuId(0)).unwrap_or(0) } else { 0 }
    }
}
