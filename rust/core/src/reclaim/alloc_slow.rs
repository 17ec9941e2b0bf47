//! Allocation of a folio. If memory has run out and the allocation mask (`Gfp`) allows reclaim, folios are reclaimed,
//! and unmapped folios are removed from the swap cache.

use crate::base::error::Result;
use crate::base::gfp::Gfp;
use crate::base::limits::{MAX_RECLAIM_RETRIES, SWAPFILE_CLUSTER};
use crate::base::types::{CpuId, Order, SwpOffset};
use crate::folio::{FolioFlags, FolioRef};
use crate::machine::Swap;
use crate::reclaim::{ReclaimGroup, ScanControl};
use crate::slots::take_back::get_folio;

impl Swap {
    /// Allocates a folio without clearing its bytes. If memory has run out and the mask `gfp` has `DIRECT_RECLAIM`,
    /// other folios are reclaimed. For a single page, reclaim is repeated while reclaim frees pages. For a larger
    /// folio, or if `gfp` has `NORETRY`, reclaim runs once. Errors: `NoMemory` (ENOMEM); `BadCpu` (EINVAL).
    ///
    /// With `DIRECT_RECLAIM` the caller holds no lock. Kernel: `folio_alloc`, `__alloc_pages_slowpath`; differs: no
    /// compaction, and no task is killed.
    pub fn folio_alloc(&self, order: Order, gfp: Gfp, cpu: CpuId) -> Result<FolioRef<'_>> {
        let memory = self.memory_of_folios();
        if !gfp.contains(Gfp::DIRECT_RECLAIM) {
            return memory.alloc(order);
        }
        let on_low = |group: &ReclaimGroup| self.raise_low(group);
        let sc = ScanControl { on_low: Some(&on_low), ..ScanControl::global(order.nr_pages().into(), cpu) };
        let is_repeated = order == Order::ZERO && !gfp.contains(Gfp::NORETRY);
        let mut retries = if is_repeated { MAX_RECLAIM_RETRIES } else { 1 };
        loop {
            match memory.alloc(order) {
                Ok(folio) => return Ok(folio),
                Err(error) if retries == 0 => return Err(error),
                Err(_) => {}
            }
            let nr_isolated = memory.nr_isolated_pages();
            let nr_reclaimed = self.try_to_free_pages(&|| self.all_groups(), &sc)?;
            // A folio that a caller inserted into the swap cache directly is on no LRU list, so only
            // `shrink_swap_cache` finds this folio.
            if nr_reclaimed == 0 && self.shrink_swap_cache(sc.nr_to_reclaim_pages, cpu)? == 0 {
                if nr_isolated == 0 {
                    // No other thread holds isolated folios, so this function tries the allocation only once more.
                    retries = 1;
                }
                std::thread::yield_now();
            }
            retries -= 1;
        }
    }

    /// Frees folios to which only the swap cache holds references. The call ends when `nr_pages` pages are freed or
    /// every cached slot was visited. Returns the number of freed pages. The table entries of a freed clean folio get
    /// a shadow. If the slots of a folio have no references, the slots are freed too. A dirty folio whose slots have
    /// references stays in the cache.
    ///
    /// Locks: each folio lock is tried, and a locked folio is skipped. Kernel: `shrink_folio_list` over the swap
    /// cache; differs: folios are visited in the order of their slots, not by age.
    pub fn shrink_swap_cache(&self, nr_pages: u64, cpu: CpuId) -> Result<u64> {
        let _active = self.begin_activity();
        let mut nr_freed = 0;
        for device in self.devices() {
            for idx in device.clusters.live() {
                let mut slot = 0;
                while slot < SWAPFILE_CLUSTER {
                    let offset = SwpOffset(idx.base().0 + slot);
                    if nr_freed >= nr_pages {
                        return Ok(nr_freed);
                    }
                    let found = {
                        // The device stays turned on while the local lock is held, so the swap table of the device
                        // can be read.
                        let _on_cpu = self.on_cpu(cpu)?;
                        get_folio(self, &device, offset)
                    };
                    let nr = found.as_ref().map_or(1, |folio| folio.nr_pages());
                    if let Some(folio) = found {
                        nr_freed += self.shrink_folio(folio, cpu)?;
                    }
                    slot = (slot + 1).next_multiple_of(nr);
                }
            }
        }
        Ok(nr_freed)
    }

    /// Frees one cached folio if only the cache and the caller hold references to the folio. Returns the number of
    /// freed pages.
    fn shrink_folio(&self, folio: FolioRef<'_>, cpu: CpuId) -> Result<u64> {
        let Some(locked) = folio.folio().try_lock() else { return Ok(0) };
        let flags = folio.flags();
        let nr_pages = folio.nr_pages();
        if !flags.contains(FolioFlags::SWAPCACHE)
            || flags.intersects(FolioFlags::WRITEBACK | FolioFlags::HELD)
            || folio.refs() != nr_pages + 1
        {
            return Ok(0);
        }
        if self.on_cpu(cpu)?.free_swap_locked(&locked)? {
            // The cache dropped its references, so the folio is freed when the caller's reference is dropped.
            return Ok(nr_pages.into());
        }
        if !self.drop_clean(&locked, self.refault_level(None), cpu)? {
            return Ok(0);
        }
        locked.keep();
        folio.into_raw();
        Ok(nr_pages.into())
    }
}
