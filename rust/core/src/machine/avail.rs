//! Which devices are tried for slots, and in which order.

use crate::base::plist::Plist;
use crate::base::types::SwpType;
use crate::machine::device::SwapDevice;

/// The order of devices; under `swap_avail_lock`.
#[derive(Debug, Default)]
pub(crate) struct Avail {
    /// Devices with room, in the order they are tried. Kernel: `swap_avail_head`.
    pub(crate) list: Plist,
    /// Virtual devices with room: folios try them before all others. Kernel: the one `vswap` device.
    pub(crate) virtuals: Plist,
    /// Devices of `list` that have storage. Kernel: `nr_real_swapfiles`.
    pub(crate) nr_real: u64,
    /// Every enabled device. Kernel: `swap_active_head`, under `swap_lock`; here under the lock that a CPU may take.
    pub(crate) active: Plist,
    /// A bit a type: off the list, being full or going away. Kernel: `SWAP_USAGE_OFFLIST_BIT`.
    pub(crate) offlist: u32,
}

impl Avail {
    fn list_of(&mut self, device: &SwapDevice) -> &mut Plist {
        if device.is_virtual() { &mut self.virtuals } else { &mut self.list }
    }

    /// Returns the devices with room, virtual ones first.
    pub(crate) fn in_order(&self) -> Vec<SwpType> {
        self.virtuals.iter().chain(self.list.iter()).collect()
    }

    /// Lets a device be tried, behind its equals.
    pub(crate) fn add(&mut self, device: &SwapDevice) {
        self.offlist &= !(1 << device.ty().0);
        self.list_of(device).add(device.prio(), device.ty());
        self.nr_real += u64::from(!device.is_ghost());
    }

    /// Keeps a device from being tried, if it is not kept already.
    pub(crate) fn remove(&mut self, device: &SwapDevice) {
        self.offlist |= 1 << device.ty().0;
        if self.list_of(device).remove(device.ty()) {
            self.nr_real -= u64::from(!device.is_ghost());
        }
    }
}
