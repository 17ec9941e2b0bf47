//! Freeing of slots: backing, owners, entries and the usage count.

use crate::cluster::{ClusterFlag, ClusterGuard};
use crate::machine::Operation;
use crate::machine::device::SwapDevice;
use crate::table::{SwapTable, SwapTableEntry};

impl Operation<'_> {
    /// Frees slots whose last reference is gone and moves their cluster. Kernel: `swap_entries_free`.
    ///
    /// `ci` is the locked cluster and has `table`. The slots lie in it and are in use with at most one reference
    /// each.
    #[inline]
    pub(crate) fn free_entries(
        &mut self,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        table: &SwapTable,
        slot: usize,
        nr: u32,
    ) {
        if device.is_virtual() || self.swap.zswap().has_entries() {
            self.release_stored(device, ci, slot, nr);
        }
        if let Some(groups) = self.swap.memcg() {
            self.uncharge_slots(groups, device, ci, table, slot, nr);
        }
        self.clear_entries(device, ci, table, slot, nr);
    }

    /// Releases what the slots have outside their entries. The code is out of line, because most devices have nothing
    /// there.
    #[cold]
    #[inline(never)]
    fn release_stored(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, slot: usize, nr: u32) {
        if device.is_virtual() {
            self.release_backing(device, ci, slot..slot + nr as usize);
        } else {
            self.swap.zswap_invalidate_run(device, ci.idx().base().plus(slot as u32), nr);
        }
    }

    /// Makes slots NULL that are already uncharged.
    #[inline]
    pub(super) fn clear_entries(
        &mut self,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        table: &SwapTable,
        slot: usize,
        nr: u32,
    ) {
        table.fill(slot, nr as usize, SwapTableEntry::NULL);
        if device.hibernation.pins() {
            device.hibernation.forget(ci.idx().base().plus(slot as u32), nr);
        }
        if device.wants_free_notify {
            device.storage().slot_free_notify(ci.idx().base().plus(slot as u32), nr);
        }
        self.count_freed(device, ci, nr);
    }

    /// Updates the usage counts for slots that were just made NULL, and moves their cluster.
    #[inline]
    pub(crate) fn count_freed(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, nr: u32) {
        let was_full = ci.sub_count(nr);
        self.counters.add_inuse(device.ty(), -(nr as i64));
        if ci.flag() != ClusterFlag::Nonfull || ci.count() == 0 {
            self.move_freed(device, ci, was_full);
        }
    }
}
