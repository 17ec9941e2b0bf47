//! The devices that allocation tries, in their order, and the size of the swap space and of its free part. Each total
//! over devices is updated separately, so two totals that are read together may not match.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::Swap;
use super::counters::CpuCounters;
use crate::base::limits::MAX_SWAPFILES;
use crate::base::types::SwpType;
use crate::containers::plist::Plist;
use crate::machine::device::SwapDevice;
use crossbeam_utils::CachePadded;

/// Totals over enabled devices, and three masks of device types with one bit for each type.
#[derive(Debug, Default)]
pub(super) struct SpaceTotals {
    /// Usable slots of devices that count as swap space.
    total_swap_pages: AtomicU64,
    /// Usable slots of devices that do not count as swap space.
    uncounted_pages: AtomicU64,
    uncounted: AtomicU32,
    /// Usable slots of virtual devices that count as swap space.
    virtual_pages: AtomicU64,
    counted_virtual: AtomicU32,
    /// Types of the enabled devices that are being made smaller, so that a part of each device is closed to
    /// allocation.
    closing: AtomicU32,
    /// Free slots of each type that the allocator does not hand out, because they lie beyond the new end of a
    /// device that is being made smaller.
    closed: [AtomicI64; MAX_SWAPFILES],
}

impl Swap {
    /// Returns the number of slots in use on a device.
    pub fn inuse_pages(&self, ty: SwpType) -> u64 {
        self.counters.iter().map(|cpu| cpu.inuse[ty.index()].load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
    }

    /// Returns the number of free slots of all enabled devices that count as swap space, without the slots beyond the
    /// new end of a device that is being made smaller, which the allocator does not hand out. Kernel:
    /// `nr_swap_pages`.
    ///
    /// While swapoff empties a device, the total does not contain the size of the device, but the slots in use on the
    /// device are still subtracted, as in the kernel.
    #[inline]
    pub fn nr_swap_pages(&self) -> i64 {
        // Relaxed throughout: without other threads the sum is exact, else the sum is a momentary value, as in the
        // kernel.
        let types = self.nr_types.load(Ordering::Relaxed);
        let used = |cpu: &CachePadded<CpuCounters>| -> i64 {
            cpu.inuse[..types].iter().map(|inuse| inuse.load(Ordering::Relaxed)).sum()
        };
        let free = self.total_swap_pages() as i64 - self.counters.iter().map(used).sum::<i64>();
        let uncounted = self.space.uncounted.load(Ordering::Relaxed);
        match (uncounted, self.space.closing.load(Ordering::Relaxed)) {
            (0, 0) => free,
            (_, closing) => free + self.inuse_of(uncounted) - self.closed_of(closing & !uncounted),
        }
    }

    /// Returns the number of free slots that are closed to allocation on the devices of the mask `types`, because
    /// these devices are being made smaller.
    #[cold]
    fn closed_of(&self, types: u32) -> i64 {
        // Relaxed: as in `nr_swap_pages`.
        let types = (0..MAX_SWAPFILES).filter(|ty| types & (1 << ty) != 0);
        types.map(|ty| self.space.closed[ty].load(Ordering::Relaxed)).sum()
    }

    /// Adds `nr` freed slots beyond the new end of a device that is being made smaller. The allocator does not hand
    /// these slots out.
    #[cold]
    pub(crate) fn add_closed(&self, ty: SwpType, nr: u32) {
        // Relaxed: as in `nr_swap_pages`.
        self.space.closed[ty.index()].fetch_add(nr.into(), Ordering::Relaxed);
    }

    /// Counts anew the free slots of a device from [`SwapDevice::limit_pages`] on. [`Swap::count_pages`] makes the
    /// count take effect. The caller holds the local lock of every CPU.
    pub(crate) fn recount_closed(&self, device: &SwapDevice) {
        self.space.closed[device.ty().index()].store(device.closed_free_pages(), Ordering::Relaxed);
    }

    /// Returns the number of slots in use on the devices of the mask `types`.
    #[cold]
    fn inuse_of(&self, types: u32) -> i64 {
        let types = (0..MAX_SWAPFILES as u8).filter(|ty| types & (1 << ty) != 0);
        types.map(|ty| self.inuse_pages(SwpType(ty)) as i64).sum()
    }

    /// Returns the number of pages that can still be swapped out: the free slots that count as swap space and, when
    /// uncounted devices are on, the free slots of these devices, but of the latter at most the number of pages that
    /// zswap can still store at its present ratio of compression.
    ///
    /// Kernel: the headroom in `mem_cgroup_get_nr_swap_pages` under vswap; differs: the headroom in the kernel has no
    /// bound.
    pub(crate) fn nr_swappable_pages(&self) -> i64 {
        // Relaxed: as in `nr_swap_pages`.
        let uncounted = self.space.uncounted.load(Ordering::Relaxed);
        if uncounted == 0 {
            return self.nr_swap_pages();
        }
        let closed = self.closed_of(self.space.closing.load(Ordering::Relaxed) & uncounted);
        let others = self.space.uncounted_pages.load(Ordering::Relaxed) as i64 - self.inuse_of(uncounted) - closed;
        self.nr_swap_pages() + others.min(self.zswap.room_pages() as i64)
    }

    /// Adds the slots of an enabled or resized device to the totals. [`Swap::uncount_pages`] is the inverse.
    pub(crate) fn count_pages(&self, device: &SwapDevice) {
        // Relaxed: for the readers, such as `vm_swap_full`, a momentary value is sufficient.
        if device.limit_pages() < device.max_pages() {
            self.space.closing.fetch_or(1 << device.ty().0, Ordering::Relaxed);
        }
        self.total_of(device).fetch_add(device.pages().into(), Ordering::Relaxed);
        if device.is_counted() && device.is_virtual() {
            self.space.virtual_pages.fetch_add(device.pages().into(), Ordering::Relaxed);
        }
    }

    /// Subtracts the slots of a device from the totals. [`Swap::count_pages`] is the inverse.
    pub(crate) fn uncount_pages(&self, device: &SwapDevice) {
        // Relaxed: as in `count_pages`.
        self.space.closing.fetch_and(!(1 << device.ty().0), Ordering::Relaxed);
        self.total_of(device).fetch_sub(device.pages().into(), Ordering::Relaxed);
        if device.is_counted() && device.is_virtual() {
            self.space.virtual_pages.fetch_sub(device.pages().into(), Ordering::Relaxed);
        }
    }

    fn total_of(&self, device: &SwapDevice) -> &AtomicU64 {
        if device.is_counted() { &self.space.total_swap_pages } else { &self.space.uncounted_pages }
    }

    /// Records the kind of a device in the masks of `SpaceTotals`, before the device is enabled.
    pub(crate) fn note_kind(&self, device: &SwapDevice) {
        let bit = 1 << device.ty().0;
        self.recount_closed(device);
        // Relaxed: no slot of the type is in use yet, so a thread that reads the old mask adds 0 for the type.
        let note = |mask: &AtomicU32, is_set| match is_set {
            true => mask.fetch_or(bit, Ordering::Relaxed),
            false => mask.fetch_and(!bit, Ordering::Relaxed),
        };
        note(&self.space.uncounted, !device.is_counted());
        note(&self.space.counted_virtual, device.is_counted() && device.is_virtual());
    }

    /// Returns the number of devices with storage that allocation tries. A full device does not count. Kernel:
    /// `nr_real_swapfiles`.
    ///
    /// Locks: the avail lock.
    pub fn nr_real_swapfiles(&self) -> u64 {
        self.avail.lock().nr_real
    }

    /// Returns the number of usable slots of all enabled devices that count as swap space. Kernel:
    /// `total_swap_pages`.
    #[inline]
    pub fn total_swap_pages(&self) -> u64 {
        self.space.total_swap_pages.load(Ordering::Relaxed)
    }

    /// Returns whether fewer than half of all slots are free. Slots of virtual devices do not count, because the size
    /// of a virtual device is arbitrary. Kernel: `vm_swap_full`.
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
        let closed = self.closed_of(self.space.closing.load(Ordering::Relaxed) & virtual_types);
        let free = self.nr_swap_pages() - (virtual_pages - self.inuse_of(virtual_types) - closed);
        free * 2 < self.total_swap_pages() as i64 - virtual_pages
    }
}

/// The order in which allocation tries the devices. Protected by the avail lock. Kernel: `swap_avail_lock`.
#[derive(Debug, Default)]
pub(crate) struct Avail {
    /// Devices that have free slots and are not virtual, in the order in which allocation tries devices. Kernel:
    /// `swap_avail_head`.
    pub(crate) list: Plist,
    /// Virtual devices with free slots. Allocation for a folio tries virtual devices before all other devices.
    /// Kernel: the only `vswap` device.
    pub(crate) virtuals: Plist,
    /// Number of devices in `list` that have storage. Kernel: `nr_real_swapfiles`.
    pub(crate) nr_real: u64,
    /// Every enabled device. Kernel: `swap_active_head`, under `swap_lock`; differs: here the avail lock protects the
    /// list, because a thread that holds a local lock may take the avail lock.
    pub(crate) active: Plist,
    /// One bit for each type, set while the device is not in `list` or `virtuals` because the device is full or being
    /// turned off. Kernel: `SWAP_USAGE_OFFLIST_BIT`.
    pub(crate) offlist: u32,
}

impl Avail {
    fn list_of(&mut self, device: &SwapDevice) -> &mut Plist {
        if device.is_virtual() { &mut self.virtuals } else { &mut self.list }
    }

    /// Returns the types of the devices with free slots, virtual devices first.
    pub(crate) fn in_order(&self) -> Vec<SwpType> {
        self.virtuals.iter().chain(self.list.iter()).collect()
    }

    /// Adds a device to its list, behind the devices of equal priority.
    pub(crate) fn add(&mut self, device: &SwapDevice) {
        self.offlist &= !(1 << device.ty().0);
        self.list_of(device).add(device.prio(), device.ty());
        self.nr_real += u64::from(!device.is_ghost());
    }

    /// Removes a device from its list if the device is on the list.
    pub(crate) fn remove(&mut self, device: &SwapDevice) {
        self.offlist |= 1 << device.ty().0;
        if self.list_of(device).remove(device.ty()) {
            self.nr_real -= u64::from(!device.is_ghost());
        }
    }
}
