//! Memory back from the swap cache: folios that nobody maps and that their slots can replace.

use crate::error::Result;
use crate::event::EventKind;
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::limits::{SHRINK_PAGES_MIN, SWAPFILE_CLUSTER};
use crate::memcg::{MemCgroup, RefaultJudge};
use crate::reclaim::get_folio;
use crate::swap::Swap;
use crate::types::{ClusterIdx, CpuId, Order, SwpEntry, SwpOffset};
use crate::workingset::{Lruvec, RefaultLevel};

impl Swap {
    /// Makes a folio, at the expense of the swap cache if memory has run out. Errors: `NoMemory` (ENOMEM).
    ///
    /// No lock may be held. Kernel: direct reclaim; differs: it takes from the swap cache only.
    pub(crate) fn folio_alloc_shrinking(&self, order: Order, cpu: CpuId) -> Result<FolioRef<'_>> {
        self.folio_alloc(order).or_else(|error| {
            match self.shrink_swap_cache(u64::from(order.nr_pages()).max(SHRINK_PAGES_MIN), cpu)? {
                0 => Err(error),
                _ => self.folio_alloc(order),
            }
        })
    }

    /// Drops folios that only the swap cache holds, until `nr_pages` pages are free or all were looked at; returns how many
    /// are. Those that are clean leave a shadow, those whose slots nobody refers to give them up; dirty ones stay.
    ///
    /// Locks: folio locks are tried. Kernel: `shrink_folio_list` over the swap cache; differs: by slot, not by age.
    pub fn shrink_swap_cache(&self, nr_pages: u64, cpu: CpuId) -> Result<u64> {
        let mut nr_freed = 0;
        for device in self.devices() {
            for idx in (0..device.clusters.len()).map(ClusterIdx).filter(|&idx| !device.clusters.is_untouched(idx)) {
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
        if !self.drop_clean(&locked, None, cpu)? {
            return Ok(0);
        }
        locked.keep();
        folio.into_raw();
        Ok(nr_pages.into())
    }

    /// Drops a locked clean folio from cache and memory; says whether it did, and the folio is gone then. Step O8.
    ///
    /// `target` are the lists of the group whose limit asks for it, `None` for everybody's.
    pub(crate) fn drop_clean(&self, locked: &LockedFolio<'_>, target: Option<&Lruvec>, cpu: CpuId) -> Result<bool> {
        let folio = locked.folio();
        let evict = |owner: Option<&MemCgroup>| {
            let lruvec = owner.map_or(self.memory_of_folios().lruvec(), MemCgroup::lruvec);
            let judge = self.memcg().map(|groups| groups.options().refault_level);
            let level = match (judge, target) {
                (Some(RefaultJudge::ReclaimRoot), Some(target)) => RefaultLevel::ReclaimRoot(target),
                (Some(RefaultJudge::ReclaimRoot), None) => RefaultLevel::ReclaimRoot(self.memory_of_folios().lruvec()),
                _ => RefaultLevel::Owner,
            };
            self.workingset.evict(folio.facts(), lruvec, level)
        };
        let (entry, order) = (folio.entry().unwrap_or(SwpEntry::NONE), folio.order());
        let mut on_cpu = self.on_cpu(cpu)?;
        if !on_cpu.remove_mapping(locked, 1, &evict) {
            return Ok(false);
        }
        on_cpu.note(EventKind::Evict, entry, order, 0);
        drop(on_cpu);
        folio.free_frozen();
        Ok(true)
    }
}
