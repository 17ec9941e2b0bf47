//! Slots: reference counts of single slots, and the removal of a folio from the slots that cache it.

pub(crate) mod alloc;
mod behind;
mod dup_put;
mod free;
pub(crate) mod owner;
pub(crate) mod take_back;

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::types::SwpEntry;
use crate::cluster::ClusterGuard;
use crate::folio::{Folio, FolioFlags, LockedFolio};
use crate::machine::Operation;
use crate::machine::device::SwapDevice;
use crate::slots::owner::CacheExit;
use crate::table::{DupStep, Holder, PutStep, Shadow, SwapTable};

/// The slots of a folio or of some of its pages, together with the lock of their cluster.
#[derive(Debug)]
pub(crate) struct FolioSlots<'a> {
    pub(crate) device: &'a SwapDevice,
    pub(crate) ci: ClusterGuard<'a>,
    pub(crate) table: &'a SwapTable,
    /// The indexes of the slots in the cluster.
    pub(crate) slots: Range<usize>,
}

impl FolioSlots<'_> {
    /// Returns the swap entry of a slot of the cluster.
    pub(crate) fn entry_of(&self, slot: usize) -> SwpEntry {
        self.device.entry_at(self.ci.idx().base().plus(slot as u32))
    }

    /// Returns the first slot that has a reference. All slots of `self` must cache the folio.
    pub(crate) fn first_referenced(&self) -> Option<usize> {
        self.slots.clone().find(|&slot| !self.table.get(slot).is_cache_only())
    }
}

impl<'a> Operation<'a> {
    /// Locks the cluster of a locked cached folio's slots. Errors: `NotCached`, `ForeignFolio` (EINVAL).
    // The function is always inlined, as are `lock_pages` and `lock_aligned` in `cache`, because otherwise the result
    // would be passed through memory.
    #[inline(always)]
    pub(crate) fn lock_folio_slots(&self, folio: Folio<'_>) -> Result<FolioSlots<'a>> {
        let (device, offset) = self.folio_slots(folio)?;
        let ci = device.clusters.lock_used(offset.cluster());
        let table = ci.table().expect("cached slots have a table");
        let first = offset.in_cluster();
        Ok(FolioSlots { device, ci, table, slots: first..first + folio.nr_pages() as usize })
    }

    /// Removes a folio from the cache and frees its slots without references. The references to the folio that the
    /// cache held now belong to the caller. Kernel: `__swap_cache_del_folio`.
    ///
    /// `at` has all slots of the folio. If no slot has references, all slots are freed by one call. Otherwise the
    /// slots without references are freed one by one in ascending order.
    pub(crate) fn del_folio(&mut self, mut at: FolioSlots<'_>, folio: &LockedFolio<'_>, leave: CacheExit<'_>) {
        debug_assert!(!folio.has(FolioFlags::WRITEBACK), "a folio under writeback stays cached");
        let records = self.removal_shadows(&mut at, folio, leave);
        let FolioSlots { device, mut ci, table, slots } = at;
        let nr = folio.nr_pages();
        let mut nr_unused = 0;
        for slot in slots.clone() {
            let word = table.get(slot);
            let is_unused = word.is_cache_only();
            nr_unused += u32::from(is_unused);
            let shadow = if is_unused { records.unreferenced } else { records.referenced };
            let word = word.to_swapped_out(shadow).expect("a cached folio's slots hold it");
            table.set(slot, word);
        }
        folio.set_entry(SwpEntry::NONE);
        folio.clear(FolioFlags::SWAPCACHE);
        self.counters.add_cached(-(nr as i64));
        if nr_unused == nr {
            self.free_entries(device, &mut ci, table, slots.start, nr);
        } else if nr_unused > 0 {
            for slot in slots {
                if table.get(slot).count() == Some(0) {
                    self.free_entries(device, &mut ci, table, slot, 1);
                }
            }
        }
    }

    /// Removes a folio from the cache if the folio is not under writeback and none of its slots has a reference. The
    /// removed folio is marked dirty, and the cache's references to it are dropped. Returns whether the folio was
    /// removed. The caller holds a reference to the folio. `at` has all slots of the folio.
    pub(crate) fn del_unreferenced(&mut self, at: FolioSlots<'_>, folio: &LockedFolio<'_>) -> bool {
        if folio.has(FolioFlags::WRITEBACK) || at.first_referenced().is_some() {
            return false;
        }
        self.del_folio(at, folio, CacheExit::Dropped(Shadow::default()));
        // The folio is now the only copy of its data.
        folio.set(FolioFlags::DIRTY);
        folio.put_refs(folio.nr_pages());
        true
    }

    /// Adds one reference to each slot of a range, or to no slot. `ci` is the locked cluster, and each table entry
    /// has a count. Errors: `CountOverflow` (EOVERFLOW).
    pub(crate) fn dup_slots(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, slots: Range<usize>) -> Result<()> {
        for slot in slots.clone() {
            if let Err(error) = self.dup_slot(device, ci, slot) {
                (slots.start..slot).for_each(|done| self.put_slot(device, ci, done));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds one reference to a slot that is in use. The caller holds the lock of the slot's cluster, `ci`. Errors:
    /// `CountOverflow` (EOVERFLOW).
    fn dup_slot(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, slot: usize) -> Result<()> {
        let table = ci.table().expect("a slot in use has a table");
        if table.get(slot).is_cache_only() {
            self.mark_backing(device, ci, slot, Holder::References);
        }
        match table.get(slot).dup().expect("the caller checked the kind") {
            DupStep::Inline(entry) => table.set(slot, entry),
            DupStep::Overflow(entry) => {
                ci.extend().start(ci.idx(), slot);
                table.set(slot, entry);
            }
            DupStep::Extended if ci.extend().add(ci.idx(), slot) => {}
            DupStep::Extended => {
                return Err(SwapError::CountOverflow(device.entry_at(ci.idx().base().plus(slot as u32))));
            }
        }
        Ok(())
    }

    /// Drops one reference of a slot whose count is above 0. The slot is not freed. `ci` is the locked cluster.
    pub(crate) fn put_slot(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, slot: usize) {
        let table = ci.table().expect("a slot in use has a table");
        let entry = table.get(slot);
        match entry.put().expect("the caller checked the count") {
            PutStep::Inline(entry) => {
                table.set(slot, entry);
                if entry.is_cache_only() {
                    self.mark_backing(device, ci, slot, Holder::CacheOnly);
                }
            }
            PutStep::Extended => {
                if ci.extend().sub(ci.idx(), slot) {
                    table.set(slot, entry.back_inline());
                }
            }
        }
    }
}
