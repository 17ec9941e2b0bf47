//! The end of queued writes: on request, in the order of the swap-outs, and for a thread that must wait for a write.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::types::CpuId;
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio};
use crate::machine::writeback::AfterWrite;
use crate::machine::{Swap, Writeback};

impl Swap {
    /// Ends up to `nr` of the oldest queued writes, each after the data is on the device, and returns the number of
    /// writes that ended. A folio whose write failed is dirty again and stays in the swap cache. Without queued writes
    /// the result is 0.
    ///
    /// Errors: `BadCpu` (EINVAL). The caller holds no lock except folio locks. Kernel: the end of the I/O,
    /// `end_swap_bio_write`; differs: writes end in their order, and one at a time.
    pub fn complete_writeback(&self, nr: u64, cpu: CpuId) -> Result<u64> {
        let _active = self.begin_activity();
        drop(self.on_cpu(cpu)?);
        let mut nr_done = 0;
        while nr_done < nr && self.end_oldest_write(cpu)? {
            nr_done += 1;
        }
        Ok(nr_done)
    }

    /// Starts the thread that ends the queued writes, if the subsystem was made with [`Writeback::Thread`]. The thread
    /// runs as the last CPU and ends with the subsystem. A caller calls this function once. Kernel: the interrupts of
    /// the device.
    pub fn start_writeback(self: &Arc<Self>) {
        if self.writes.mode != Writeback::Thread {
            return;
        }
        let (swap, writes, cpu) = (Arc::downgrade(self), self.writes.clone(), CpuId(self.nr_cpus() as u16 - 1));
        // The thread keeps the subsystem alive only while it ends writes, so that a subsystem without writes ends with
        // its last user.
        std::thread::spawn(move || {
            while swap.strong_count() > 0 {
                writes.wait_for_write();
                if writes.nr_writes() > 0
                    && let Some(swap) = swap.upgrade()
                {
                    // The call fails only for an unknown CPU.
                    let _ = swap.complete_writeback(u64::MAX, cpu);
                }
            }
        });
    }

    /// Returns the number of queued writes that are not over. Kernel: `nr_writeback`, in folios.
    pub fn nr_queued_writes(&self) -> u64 {
        self.writes.nr_writes() as u64
    }

    /// Ends the oldest queued write. Returns false when no write is queued.
    fn end_oldest_write(&self, cpu: CpuId) -> Result<bool> {
        let _in_order = self.writes.in_order();
        let Some(write) = self.writes.pop_write() else { return Ok(false) };
        // The folio cannot be frozen, because a folio under writeback stays in the swap cache.
        let folio = self.memory_of_folios().folio(write.pfn).try_get().expect("the cache holds references");
        self.end_write(folio.folio(), write.real, cpu)?;
        if write.then == AfterWrite::Drop {
            self.drop_written(folio, cpu)?;
        }
        Ok(true)
    }

    /// Ends the queued writes up to the write of a folio, so that a thread that waits for the folio need not wait for
    /// a call of [`Swap::complete_writeback`]. Returns whether the folio is not under writeback any more. The folio may
    /// still be under writeback if another thread is writing the folio, or if the user of a handle set the state.
    /// Kernel: `folio_wait_writeback`.
    pub(crate) fn folio_wait_writeback(&self, folio: Folio<'_>, cpu: CpuId) -> Result<bool> {
        let is_waiting = || folio.has(FolioFlags::WRITEBACK) && !folio.has(FolioFlags::HELD);
        while is_waiting() && self.end_oldest_write(cpu)? {}
        Ok(!folio.has(FolioFlags::WRITEBACK))
    }

    /// Locks a folio and waits for the end of its writeback. Errors: as [`Folio::lock_for_io`].
    pub(crate) fn lock_written<'f>(&self, folio: Folio<'f>, cpu: CpuId) -> Result<LockedFolio<'f>> {
        let locked = folio.lock_for_fault()?;
        let flags = folio.flags();
        if flags.contains(FolioFlags::HELD) {
            return Err(folio.busy());
        }
        if flags.contains(FolioFlags::WRITEBACK) {
            // No thread queues a write of the folio while this thread holds the folio lock. A write that is still
            // under way after the first line is that of another thread, which ends the write without the lock.
            self.folio_wait_writeback(folio, cpu)?;
            folio.wait_writeback();
        }
        Ok(locked)
    }

    /// Removes the folio of a writeback from zswap from the cache, because the folio was inserted only for the
    /// writeback. If another thread holds the folio lock or a reference, the folio stays in the cache. The function
    /// does not wait for the lock, because its caller may hold the lock of another folio: a store into a full zswap
    /// writes back other pages. Kernel: dropbehind.
    pub(crate) fn drop_written(&self, folio: FolioRef<'_>, cpu: CpuId) -> Result<()> {
        if let Some(locked) = folio.folio().try_lock() {
            locked.clear(FolioFlags::RECLAIM);
            if self.drop_clean(&locked, self.refault_level(None), cpu)? {
                locked.keep();
                folio.into_raw();
            }
        }
        Ok(())
    }
}
