//! Freeing of slots. The functions release the backing of the slots, uncharge their owners, clear their table entries
//! and lower the usage counts. After slots are allocated or freed, other functions of this file move the cluster to
//! its list and decide whether the device is on the avail list.

use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::Order;
use crate::cluster::{ClusterFlag, ClusterGuard, ListId};
use crate::machine::Operation;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::table::{SwapTable, SwapTableEntry};

impl Operation<'_> {
    /// Frees slots and moves their cluster to the list where it belongs. Kernel: `swap_entries_free`.
    ///
    /// `ci` is the locked cluster of the slots and has `table`. The slots are in use, and each slot has at most one
    /// reference, which is dropped.
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

    /// Releases the records of the slots that are stored outside their table entries: the backing of virtual slots,
    /// and zswap entries. The function is not inlined, because most slots have no such record.
    #[cold]
    #[inline(never)]
    fn release_stored(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, slot: usize, nr: u32) {
        if device.is_virtual() {
            self.release_backing(device, ci, slot..slot + nr as usize);
        } else {
            self.swap.zswap_invalidate_run(device, ci.idx().base().plus(slot as u32), nr);
        }
    }

    /// Sets the table entries of slots to NULL. The slots are already uncharged.
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

    /// Updates the usage counts for slots whose entries were just set to NULL, and moves their cluster.
    #[inline]
    pub(crate) fn count_freed(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, nr: u32) {
        let was_full = ci.sub_count(nr);
        self.counters.add_inuse(device.ty(), -(nr as i64));
        if ci.flag() != ClusterFlag::Nonfull || ci.count() == 0 {
            self.move_freed(device, ci, was_full, nr);
        }
    }

    /// Moves a cluster in which `nr` slots were freed to the list where it belongs. If the device was full, the
    /// device is put back on the avail list.
    #[inline(never)]
    pub(super) fn move_freed(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, was_full: bool, nr: u32) {
        if was_full {
            self.add_to_avail(device);
        }
        // A closed cluster lies beyond the new end of a device that is being made smaller. Such a cluster is never on
        // a nonfull list, so `count_freed` calls this function for each free in the cluster.
        let is_closed = ci.is_closed();
        if is_closed {
            self.swap.add_closed(device.ty(), nr);
        }
        if ci.count() == 0 {
            self.free_cluster(device, ci);
        } else if !is_closed {
            ci.move_to(ListId::Nonfull(ci.order()));
        } else if ci.flag() != ClusterFlag::Full {
            ci.move_to(ListId::Full);
        }
    }

    /// Moves an empty cluster to the free list or the discard list. A cluster of a dynamic device is destroyed
    /// instead. Kernel: `free_cluster`.
    fn free_cluster(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>) {
        if device.clusters.is_dynamic() {
            return ci.destroy();
        }
        if device.has(SwpFlags::WRITEOK | SwpFlags::PAGE_DISCARD) {
            ci.move_to(ListId::Discard);
            *self.is_work_queued = true;
            return;
        }
        ci.detach_table();
        ci.move_to(ListId::Free);
        ci.set_order(Order::ZERO);
    }

    /// Moves a cluster to the list where it belongs after a scan of the cluster. Kernel: `relocate_cluster`.
    #[inline]
    pub(crate) fn relocate(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>) {
        if !ci.is_settled() {
            self.relocate_unsettled(device, ci);
        }
    }

    #[inline(never)]
    fn relocate_unsettled(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>) {
        match (ci.flag(), ci.count()) {
            (ClusterFlag::Discard, _) | (ClusterFlag::Free, 0) => {}
            (_, 0) => self.free_cluster(device, ci),
            (flag, count) if flag != ClusterFlag::Full && (count == SWAPFILE_CLUSTER || ci.is_closed()) => {
                ci.move_to(ListId::Full);
            }
            (ClusterFlag::Full, _) if ci.is_closed() => {}
            (flag, count) if count < SWAPFILE_CLUSTER && flag != ClusterFlag::Frag => {
                ci.move_to(ListId::Frag(ci.order()));
            }
            _ => {}
        }
    }

    /// Puts a device on the avail list again after a slot was freed, behind the devices of equal priority. Kernel:
    /// `add_to_avail_list`.
    fn add_to_avail(&mut self, device: &SwapDevice) {
        let mut avail = self.swap.avail.lock();
        let bit = 1 << device.ty().0;
        // The conditions are checked under the avail lock, because another thread may have turned the device off, put
        // it on the list, or filled it again since the slot was freed.
        if device.has(SwpFlags::WRITEOK) && avail.offlist & bit != 0 && !device.clusters.are_all_full() {
            avail.add(device);
        }
    }

    /// Removes a device without free slots from the avail list. Kernel: `del_from_avail_list`.
    ///
    /// The caller adds the slots that filled the device to the usage count after this call, because `vm_swap_full`
    /// must judge the state before these slots were taken, as in the kernel.
    pub(crate) fn remove_full(&mut self, device: &SwapDevice) {
        {
            let mut avail = self.swap.avail.lock();
            // The device stays on the list if another thread freed a slot after the device became full.
            if device.clusters.are_all_full() && avail.offlist & (1 << device.ty().0) == 0 {
                avail.remove(device);
            }
        }
        if self.swap.vm_swap_full() {
            // Relaxed: the flag publishes no data, because the worker takes the lock of each cluster before it reads
            // the cluster.
            device.is_reclaim_queued.store(true, std::sync::atomic::Ordering::Relaxed);
            *self.is_work_queued = true;
        }
    }
}
