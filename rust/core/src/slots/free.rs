//! Giving slots back: what happens to the entries, the cluster, the device and the lists.

use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::Order;
use crate::cluster::{ClusterFlag, ClusterGuard, ListId};
use crate::machine::Cx;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::table::{SwapTable, SwapTableEntry};

impl Cx<'_> {
    /// Frees slots whose last reference is gone and moves the cluster. Kernel: `swap_entries_free`.
    ///
    /// `ci` is locked and has `table`; the slots lie in it and are in use with at most one reference.
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
            self.release_data(device, ci, slot, nr);
        }
        if let Some(groups) = self.swap.memcg() {
            self.uncharge_slots(groups, (device, ci), table, slot, nr);
        }
        self.clear_entries(device, ci, table, slot, nr);
    }

    /// Lets go of what the slots have elsewhere: out of line, as most devices have nothing.
    #[cold]
    #[inline(never)]
    fn release_data(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, slot: usize, nr: u32) {
        if device.is_virtual() {
            self.release_backing(device, ci, slot..slot + nr as usize);
        } else {
            self.swap.zswap_invalidate_run(device, ci.idx().base().plus(slot as u32), nr);
        }
    }

    /// Makes slots NULL that nobody is charged for any more.
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

    /// Counts slots that were just made NULL and moves their cluster.
    #[inline]
    pub(crate) fn count_freed(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, nr: u32) {
        let was_full = ci.sub_count(nr);
        self.counters.add_inuse(device.ty(), -(nr as i64));
        if ci.flag() != ClusterFlag::Nonfull || ci.count() == 0 {
            self.move_freed(device, ci, was_full);
        }
    }

    /// Moves a cluster in which slots were freed, and relists a device that was full until now.
    #[inline(never)]
    fn move_freed(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, was_full: bool) {
        if was_full {
            self.add_to_avail(device);
        }
        if ci.count() == 0 {
            self.free_cluster(device, ci);
        } else if !ci.is_closed() {
            ci.move_to(ListId::Nonfull(ci.order()));
        } else if ci.flag() != ClusterFlag::Full {
            ci.move_to(ListId::Full);
        }
    }

    /// Puts an empty cluster on the free list, or on the discard list; one that comes and goes, goes. Kernel:
    /// `free_cluster`.
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

    /// Puts a cluster where a scan leaves it. Kernel: `relocate_cluster`.
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

    /// A slot was freed in a full device: it is tried again, behind its equals. Kernel: `add_to_avail_list`.
    fn add_to_avail(&mut self, device: &SwapDevice) {
        let mut avail = self.swap.avail.lock();
        let bit = 1 << device.ty().0;
        // Checked under the lock: it may be going away, still be listed, or be full again by now.
        if device.has(SwpFlags::WRITEOK) && avail.offlist & bit != 0 && !device.clusters.are_all_full() {
            avail.add(device);
        }
    }

    /// The device has no free slot left: it is not tried any more. Kernel: `del_from_avail_list`.
    ///
    /// Called before the slots that filled it are counted, as `vm_swap_full` is asked at that moment.
    pub(crate) fn remove_full(&mut self, device: &SwapDevice) {
        {
            let mut avail = self.swap.avail.lock();
            // A slot may have been freed meanwhile; then the device stays.
            if device.clusters.are_all_full() && avail.offlist & (1 << device.ty().0) == 0 {
                avail.remove(device);
            }
        }
        if self.swap.vm_swap_full() {
            // Relaxed: the worker takes the cluster locks for whatever it looks at.
            device.is_reclaim_queued.store(true, std::sync::atomic::Ordering::Relaxed);
            *self.is_work_queued = true;
        }
    }
}
