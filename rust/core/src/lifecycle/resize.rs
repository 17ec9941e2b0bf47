//! The resize of a ghost device, which has no storage, while the device is on and in use.

use std::sync::Arc;

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{ClusterIdx, CpuId, SwpEntry, SwpOffset};
use crate::cluster::ListId;
use crate::machine::Swap;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::slots::take_back::ReclaimWhen;

/// The result of a resize.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resize {
    /// Size in slots after the call, header included.
    pub max_pages: u32,
    /// First slot number that the allocator does not hand out. The number is less than `max_pages` while slots in use
    /// keep the device from shrinking.
    pub limit_pages: u32,
}

impl Swap {
    /// Gives a ghost device another size, which is a whole number of clusters. Kernel: none; the nearest call is the
    /// `limit` of a device of the `xswap` proposal.
    ///
    /// A larger size takes effect at once. For a smaller size the allocator stops handing out slots beyond the new
    /// size, and the call frees the slots beyond the new size that only the swap cache holds. If no slot beyond the
    /// new size is left in use, the new size takes effect. Otherwise the size stays, `limit_pages` of the result is
    /// the first slot that the allocator does not hand out, and a later call of `resize` continues. Errors:
    /// `FixedSize`, `BadSize` (EINVAL); `NoDevice` (ENOENT); `SwapoffRuns` (EBUSY) while a swapoff of the device
    /// runs. Locks: `swap_lock`, then every CPU's local lock at once.
    pub fn resize(&self, device: &Arc<SwapDevice>, max_pages: u32) -> Result<Resize> {
        if !device.clusters.is_dynamic() {
            return Err(SwapError::FixedSize(device.ty().0));
        }
        if max_pages == 0 || !max_pages.is_multiple_of(SWAPFILE_CLUSTER) {
            return Err(SwapError::BadSize(max_pages));
        }
        let active = self.active();
        if !active.devices[device.ty().index()].as_ref().is_some_and(|on| Arc::ptr_eq(on, device)) {
            return Err(SwapError::NoDevice(device.entry_at(SwpOffset(0))));
        }
        if !device.has(SwpFlags::WRITEOK) {
            return Err(SwapError::SwapoffRuns(device.ty().0));
        }
        if max_pages >= device.max_pages() {
            let _locals = self.locals.lock_all();
            self.set_size(device, max_pages);
        } else {
            self.close_above(device, max_pages);
            self.drain_closed(device)?;
            let _locals = self.locals.lock_all();
            if closed(device).all(|idx| is_unused(device, idx)) {
                self.set_size(device, max_pages);
            }
        }
        Ok(Resize { max_pages: device.max_pages(), limit_pages: device.limit_pages() })
    }

    /// Closes the clusters beyond a size, so that the allocator hands out no slot of these clusters.
    fn close_above(&self, device: &SwapDevice, max_pages: u32) {
        let mut locals = self.locals.lock_all();
        self.uncount_pages(device);
        device.clusters.set_open(max_pages / SWAPFILE_CLUSTER);
        self.recount_closed(device);
        self.count_pages(device);
        let is_beyond = |hint: SwpEntry| hint.ty() == device.ty() && hint.offset().0 >= max_pages;
        locals.iter_mut().for_each(|local| local.flush_hints(is_beyond));
    }

    /// Frees the slots that only the swap cache holds in clusters that `close_above` closed to allocation.
    fn drain_closed(&self, device: &SwapDevice) -> Result<()> {
        for idx in closed(device) {
            let mut on_cpu = self.on_cpu(CpuId(0))?;
            for slot in 0..SWAPFILE_CLUSTER {
                let offset = SwpOffset(idx.base().0 + slot);
                if device.get(offset).is_cache_only() {
                    on_cpu.operation().try_to_reclaim(device, offset, ReclaimWhen::Anyway);
                }
            }
        }
        Ok(())
    }

    /// Sets the size and the totals that depend on the size. The caller ensures that no slot beyond the new size is
    /// in use, and holds the local lock of every CPU.
    fn set_size(&self, device: &SwapDevice, max_pages: u32) {
        let tail = SwpOffset(device.max_pages() - 1).cluster();
        let first_bad = device.max_pages() % SWAPFILE_CLUSTER;
        if let Some(mut ci) = device.clusters.lock(tail).filter(|_| first_bad != 0) {
            ci.clear_bad(first_bad as usize..SWAPFILE_CLUSTER as usize);
            match ci.count() {
                0 => ci.destroy(),
                _ if ListId::of(ci.flag(), ci.order()) == Some(ListId::Full) => ci.move_to(ListId::Nonfull(ci.order())),
                _ => {}
            }
        }
        self.uncount_pages(device);
        device.set_max_pages(max_pages);
        device.clusters.set_open(device.clusters.len());
        self.recount_closed(device);
        self.count_pages(device);
        let mut avail = self.avail.lock();
        let is_off = avail.offlist & (1 << device.ty().0) != 0;
        match device.clusters.are_all_full() {
            true => avail.remove(device),
            false if is_off => avail.add(device),
            false => {}
        }
    }
}

/// Returns the clusters of a device that exist and are closed to allocation.
fn closed(device: &SwapDevice) -> impl Iterator<Item = ClusterIdx> {
    device.clusters.live_from(device.clusters.nr_open())
}

/// Returns whether a cluster has no slots in use, apart from bad slots at its end. The caller holds the local lock of
/// every CPU.
fn is_unused(device: &SwapDevice, idx: ClusterIdx) -> bool {
    let end = idx.base().0 as u64 + u64::from(SWAPFILE_CLUSTER);
    let nr_bad = end.saturating_sub(device.max_pages().into());
    device.clusters.lock(idx).is_none_or(|ci| u64::from(ci.count()) == nr_bad)
}
