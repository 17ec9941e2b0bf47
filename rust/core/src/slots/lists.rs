//! Where a cluster belongs after its slots changed, and whether its device is still tried.

use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::Order;
use crate::cluster::{ClusterFlag, ClusterGuard, ListId};
use crate::machine::Operation;
use crate::machine::device::{SwapDevice, SwpFlags};

impl Operation<'_> {
    /// Moves a cluster in which slots were freed, and relists a device that was full until now.
    #[inline(never)]
    pub(super) fn move_freed(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, was_full: bool) {
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
