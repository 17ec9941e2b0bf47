//! The devices that allocation tries, and their order.

use crate::base::types::SwpType;
use crate::containers::plist::Plist;
use crate::machine::device::SwapDevice;

/// The order of devices. Protected by `swap_avail_lock`.
#[derive(Debug, Default)]
pub(crate) struct Avail {
    /// Devices with room, in the order that allocation tries them. Kernel: `swap_avail_head`.
    pub(crate) list: Plist,
    /// Virtual devices with room. Folios try them before all other devices. Kernel: the one `vswap` device.
    pub(crate) virtuals: Plist,
    /// Number of devices in `list` that have storage. Kernel: `nr_real_swapfiles`.
    pub(crate) nr_real: u64,
    /// Every enabled device. Kernel: `swap_active_head`, under `swap_lock`; differs: here the avail lock protects it,
    /// because a thread that holds a local lock may take the avail lock.
    pub(crate) active: Plist,
    /// One bit a type, set while the device is off the list because it is full or going away. Kernel:
    /// `SWAP_USAGE_OFFLIST_BIT`.
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

    /// Puts a device on the list, behind the devices of equal priority.
    pub(crate) fn add(&mut self, device: &SwapDevice) {
        self.offlist &= !(1 << device.ty().0);
        self.list_of(device).add(device.prio(), device.ty());
        self.nr_real += u64::from(!device.is_ghost());
    }

    /// Takes a device off the list, unless it is off already.
    pub(crate) fn remove(&mut self, device: &SwapDevice) {
        self.offlist |= 1 << device.ty().0;
        if self.list_of(device).remove(device.ty()) {
            self.nr_real -= u64::from(!device.is_ghost());
        }
    }
}
