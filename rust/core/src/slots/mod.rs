//! Slots: reference counts of single slots, and the removal of a folio from its slots.

pub(crate) mod alloc;
mod behind;
mod dup_put;
mod free;
pub(crate) mod owner;
pub(crate) mod take_back;

use crate::base::error::{Result, SwapError};
use crate::base::types::{SwpEntry, SwpOffset};
use crate::cluster::ClusterGuard;
use crate::folio::{FolioFlags, LockedFolio};
use crate::machine::Operation;
use crate::machine::device::SwapDevice;
use crate::slots::owner::{CacheExit, LockedSlots};
use crate::table::{DupStep, Holder, PutStep, Shadow};

impl<'a> Operation<'a> {
    /// Takes a folio out of the cache and frees its slots without references. The caller keeps the cache's references
    /// to the folio. Kernel: `__swap_cache_del_folio`.
    ///
    /// `ci` is the locked cluster of the slots. When all counts are 0 the slots are freed by one call, otherwise one
    /// by one in ascending order.
    pub(crate) fn del_folio(
        &mut self,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        folio: &LockedFolio<'_>,
        leave: CacheExit<'_>,
    ) {
        debug_assert!(!folio.has(FolioFlags::WRITEBACK), "a folio under writeback stays cached");
        let entry = folio.entry().expect("the caller checked that the folio is cached");
        let (slot, nr) = (entry.offset().in_cluster(), folio.nr_pages());
        let slots = slot..slot + nr as usize;
        let records = self.removal_shadows(LockedSlots { device, ci, slots }, folio, leave);
        let table = ci.table().expect("cached slots have a table");
        let mut nr_unused = 0;
        for slot in slot..slot + nr as usize {
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
            self.free_entries(device, ci, table, slot, nr);
        } else if nr_unused > 0 {
            for slot in slot..slot + nr as usize {
                if table.get(slot).count() == Some(0) {
                    self.free_entries(device, ci, table, slot, 1);
                }
            }
        }
    }

    /// Removes a folio from the cache if no slot of the folio has a reference, marks the folio dirty, and drops the
    /// cache's references to it. Returns whether the folio was removed. The caller holds a reference of its own to
    /// the folio.
    pub(crate) fn del_unreferenced(&mut self, device: &SwapDevice, offset: SwpOffset, folio: &LockedFolio<'_>) -> bool {
        let mut ci = device.clusters.lock_used(offset.cluster());
        let table = ci.table().expect("cached slots have a table");
        let slots = offset.in_cluster()..offset.in_cluster() + folio.nr_pages() as usize;
        if !slots.into_iter().all(|slot| table.get(slot).is_cache_only()) {
            return false;
        }
        self.del_folio(device, &mut ci, folio, CacheExit::Dropped(Shadow::default()));
        drop(ci);
        // The folio is now the only copy of its data.
        folio.set(FolioFlags::DIRTY);
        folio.put_refs(folio.nr_pages());
        true
    }

    /// Adds one reference to a slot. `ci` is the locked cluster, and the entry is of a kind with a count. Errors:
    /// `CountOverflow` (EOVERFLOW).
    pub(crate) fn dup_slot(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, slot: usize) -> Result<()> {
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
            DupStep::Extended => {
                if !ci.extend().add(ci.idx(), slot) {
                    let offset = SwpOffset(ci.idx().base().0 + slot as u32);
                    return Err(SwapError::CountOverflow(device.entry_at(offset)));
                }
            }
        }
        Ok(())
    }

    /// Takes one reference from a slot whose count is not 0, and frees nothing. `ci` is the locked cluster.
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
