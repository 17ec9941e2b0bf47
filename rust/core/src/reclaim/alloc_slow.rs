//! Memory when it has run out: reclaim, and folios of the swap cache that nobody maps and that their slots can replace.

use crate::base::error::Result;
use crate::base::limits::{MAX_RECLAIM_RETRIES, SWAPFILE_CLUSTER};
use crate::base::types::{CpuId, Order, SwpOffset};
use crate::folio::{FolioFlags, FolioRef};
use crate::machine::Swap;
use crate::reclaim::ScanControl;
use crate::slots::take_back::get_folio;

impl Swap {
    /// Makes a folio, at the expense of others if memory has run out: single pages as long as that gets anywhere, larger
    /// folios with one attempt. Errors: `NoMemory` (ENOMEM).
    ///
    /// No lock may be held. Kernel: `__alloc_pages_slowpath`; differs: nothing is compacted, nobody is killed.
    pub(crate) fn folio_alloc_shrinking(&self, order: Order, cpu: CpuId) -> Result<FolioRef<'_>> {
        let sc = ScanControl::global(order.nr_pages().into(), cpu);
        let mut retries = if order == Order::ZERO { MAX_RECLAIM_RETRIES } else { 1 };
        loop {
            let error = match self.folio_alloc(order) {
                Ok(folio) => return Ok(folio),
                Err(error) => error,
            };
            if retries == 0 {
                return Err(error);
            }
            let nr_isolated = self.memory_of_folios().nr_isolated_pages();
            let nr_reclaimed = self.try_to_free_pages(&|| self.all_groups(), &sc)?;
            // Folios that are on no list: put over slots by hand.
            if nr_reclaimed == 0 && self.shrink_swap_cache(sc.nr_to_reclaim_pages, cpu)? == 0 {
                if nr_isolated == 0 {
                    // Nobody else is at it either.
                    retries = 1;
                }
                std::thread::yield_now();
            }
            retries -= 1;
        }
    }

    /// Drops folios that only the swap cache holds, until `nr_pages` pages are free or all were looked at; returns how many
    /// are. Those that are clean leave a shadow, those whose slots nobody refers to give them up; dirty ones stay.
    ///
    /// Locks: folio locks are tried. Kernel: `shrink_folio_list` over the swap cache; differs: by slot, not by age.
    pub fn shrink_swap_cache(&self, nr_pages: u64, cpu: CpuId) -> Result<u64> {
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
                        // The local lock keeps the device while its table is looked at.
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

    /// Drops one cached folio if nobody else has it; returns the pages freed.
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
            // Ours was the last reference beside the cache's.
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
