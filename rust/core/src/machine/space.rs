//! How much swap space there is, and how much of it is free: all sums over devices that nobody keeps together.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::Swap;
use super::counters::CpuCounters;
use crate::base::limits::MAX_SWAPFILES;
use crate::base::types::SwpType;
use crate::machine::device::SwapDevice;

/// Slots of enabled devices, and which types are of what kind, a bit each.
#[derive(Debug, Default)]
pub(super) struct SpaceTotals {
    /// Of those that count as swap space.
    total_swap_pages: AtomicU64,
    /// Of those that do not.
    uncounted_pages: AtomicU64,
    uncounted: AtomicU32,
    /// Of virtual ones among those that count.
    virtual_pages: AtomicU64,
    counted_virtual: AtomicU32,
}

impl Swap {
    /// Returns the slots of a type that are in use.
    pub fn inuse_pages(&self, ty: SwpType) -> u64 {
        self.counters.iter().map(|cpu| cpu.inuse[ty.index()].load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
    }

    /// Returns the free slots of all enabled devices that count as swap space. Kernel: `nr_swap_pages`.
    ///
    /// While a device is being turned off its slots in use count negative, as in the kernel.
    #[inline]
    pub fn nr_swap_pages(&self) -> i64 {
        // Relaxed throughout: exact on one thread; a momentary picture on many, as the kernel's is.
        let types = self.nr_types.load(Ordering::Relaxed);
        let used = |cpu: &CachePadded<CpuCounters>| -> i64 {
            cpu.inuse[..types].iter().map(|inuse| inuse.load(Ordering::Relaxed)).sum()
        };
        let free = self.total_swap_pages() as i64 - self.counters.iter().map(used).sum::<i64>();
        match self.space.uncounted.load(Ordering::Relaxed) {
            0 => free,
            types => free + self.inuse_of(types),
        }
    }

    /// Returns the slots in use of the types in a mask.
    #[cold]
    fn inuse_of(&self, types: u32) -> i64 {
        let types = (0..MAX_SWAPFILES as u8).filter(|ty| types & (1 << ty) != 0);
        types.map(|ty| self.inuse_pages(SwpType(ty)) as i64).sum()
    }

    /// Returns the pages that may still go to swap: the free slots that count as swap space and, where there are others, what
    /// zswap has room for as it compresses now. Kernel: the headroom of `mem_cgroup_get_nr_swap_pages` under vswap; differs: a
    /// bound where that is unlimited.
    pub(crate) fn nr_swappable_pages(&self) -> i64 {
        // Relaxed: as in `nr_swap_pages`.
        let uncounted = self.space.uncounted.load(Ordering::Relaxed);
        if uncounted == 0 {
            return self.nr_swap_pages();
        }
        let others = self.space.uncounted_pages.load(Ordering::Relaxed) as i64 - self.inuse_of(uncounted);
        self.nr_swap_pages() + others.min(self.zswap.room_pages() as i64)
    }

    /// Adds the slots of a device that is enabled, or was resized, to what there is; see [`Swap::uncount_pages`].
    pub(crate) fn count_pages(&self, device: &SwapDevice) {
        // Relaxed: numbers that `vm_swap_full` and its like compare; see there.
        self.total_of(device).fetch_add(device.pages().into(), Ordering::Relaxed);
        if device.is_counted() && device.is_virtual() {
            self.space.virtual_pages.fetch_add(device.pages().into(), Ordering::Relaxed);
        }
    }

    /// Takes the slots of a device from what there is.
    pub(crate) fn uncount_pages(&self, device: &SwapDevice) {
        // Relaxed: as in `count_pages`.
        self.total_of(device).fetch_sub(device.pages().into(), Ordering::Relaxed);
        if device.is_counted() && device.is_virtual() {
            self.space.virtual_pages.fetch_sub(device.pages().into(), Ordering::Relaxed);
        }
    }

    fn total_of(&self, device: &SwapDevice) -> &AtomicU64 {
        if device.is_counted() { &self.space.total_swap_pages } else { &self.space.uncounted_pages }
    }

    /// Notes what kind of device a type is from now on; it is not enabled.
    pub(crate) fn note_kind(&self, device: &SwapDevice) {
        let bit = 1 << device.ty().0;
        // Relaxed: nothing of the type is in use yet, so that whoever sees it late adds nothing.
        let note = |mask: &AtomicU32, is_set| match is_set {
            true => mask.fetch_or(bit, Ordering::Relaxed),
            false => mask.fetch_and(!bit, Ordering::Relaxed),
        };
        note(&self.space.uncounted, !device.is_counted());
        note(&self.space.counted_virtual, device.is_counted() && device.is_virtual());
    }

    /// Returns how many devices with storage are tried for slots: a full one does not count. Kernel: `nr_real_swapfiles`.
    ///
    /// Locks: the avail lock.
    pub fn nr_real_swapfiles(&self) -> u64 {
        self.avail.lock().nr_real
    }

    /// Returns the usable slots of all enabled devices. Kernel: `total_swap_pages`.
    #[inline]
    pub fn total_swap_pages(&self) -> u64 {
        self.space.total_swap_pages.load(Ordering::Relaxed)
    }

    /// Says whether less than half of all slots are free; those of virtual devices, of which there are as many as one wants,
    /// are left out. Kernel: `vm_swap_full`.
    #[inline]
    pub fn vm_swap_full(&self) -> bool {
        // Relaxed: as in `nr_swap_pages`.
        match self.space.counted_virtual.load(Ordering::Relaxed) {
            0 => self.nr_swap_pages() * 2 < self.total_swap_pages() as i64,
            types => self.is_rest_full(types),
        }
    }

    #[cold]
    fn is_rest_full(&self, virtual_types: u32) -> bool {
        let virtual_pages = self.space.virtual_pages.load(Ordering::Relaxed) as i64;
        let free = self.nr_swap_pages() - (virtual_pages - self.inuse_of(virtual_types));
        free * 2 < self.total_swap_pages() as i64 - virtual_pages
    }
}
