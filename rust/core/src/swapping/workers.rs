//! Work that waits for the end of an operation, when no lock is held: notices to hooks, and the queues of the workers.

use crate::base::types::CpuId;
use crate::machine::{Swap, Workers};

impl Swap {
    /// Runs queued reclaim_work and discard_work of all devices; returns the slots and clusters they released.
    pub fn run_workers(&self) -> u64 {
        let mut on_cpu = self.on_cpu(crate::base::types::CpuId(0)).expect("there is a CPU 0");
        let nr_done = on_cpu.operation().work();
        drop(on_cpu);
        nr_done + self.run_zswap_worker()
    }

    /// Does what may not be done under locks: tells the hooks of limits that refused charges, and runs zswap's worker if it was
    /// queued. Whoever drives the subsystem calls it at the end of an operation, with no lock held.
    #[inline]
    pub(crate) fn end_operation(&self) {
        if let Some(policy) = self.policies.get() {
            for notice in self.policies.take_notices() {
                policy.on_limit(notice.group, notice.limit, notice.nr_pages);
            }
        }
        if self.workers == Workers::Inline && self.zswap().is_shrink_queued() {
            self.run_zswap_worker();
        }
    }

    /// Runs the worker if it was queued, where no lock is held; returns the pages written back.
    #[cold]
    pub(crate) fn run_zswap_worker(&self) -> u64 {
        if self.zswap().take_shrink() { self.zswap_shrink_worker(CpuId(0)).unwrap_or(0) } else { 0 }
    }
}
