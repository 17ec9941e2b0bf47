//! The invariants of virtual devices: the backing of a slot agrees with the slot's entry and with the real slot's
//! entry.

use super::ensure;
use crate::base::error::Result;
use crate::base::types::{SwpEntry, SwpOffset};
use crate::cluster::ClusterGuard;
use crate::machine::device::SwapDevice;
use crate::machine::{DeviceTable, Swap};
use crate::table::{Backing, EntryKind, Stored, SwapTableEntry};

impl Swap {
    /// Checks the virtual word of a slot against its entry. `ci` is the locked cluster. Every CPU is stopped.
    pub(super) fn check_backing(
        &self,
        device: &SwapDevice,
        ci: &ClusterGuard<'_>,
        slot: usize,
        entry: SwapTableEntry,
        devices: &DeviceTable,
    ) -> Result<()> {
        if !device.is_virtual() {
            return Ok(());
        }
        let swp = device.entry_at(SwpOffset(ci.idx().base().0 + slot as u32));
        let stored = ci.virtual_word(slot).stored();
        let has_own = stored != Stored::None;
        ensure(!has_own || matches!(entry.kind(), EntryKind::Shadow | EntryKind::Pfn), "I22", || {
            format!("{swp} is not in use and has {stored:?} behind it")
        })?;
        ensure(!has_own || !entry.is_zero(), "I22", || format!("{swp} is all zeros and has {stored:?} behind it"))?;
        let is_lost = entry.kind() == EntryKind::Shadow && ci.virtual_word(slot).backing(entry) == Backing::None;
        ensure(!is_lost, "I22", || format!("{swp} is swapped out with nothing behind it: its data is lost"))?;
        if let Stored::Swapfile(real) = stored {
            let word = devices.get(real.ty().index()).and_then(Option::as_ref).map(|device| device.get(real.offset()));
            ensure(word.and_then(SwapTableEntry::owner) == Some(swp), "I23", || {
                format!("{swp} is on {real}, which holds {word:?}")
            })?;
            let says = word.is_some_and(SwapTableEntry::is_cache_only_pointer);
            ensure(says == entry.is_cache_only(), "I23", || {
                format!("{real} says of {swp} that only the cache has it: {says}")
            })?;
        }
        Ok(())
    }

    /// Checks that the virtual slot that a Pointer entry names has the real slot as its backing.
    pub(super) fn check_pointer(&self, real: SwpEntry, entry: SwapTableEntry, devices: &DeviceTable) -> Result<()> {
        let Some(owner) = entry.owner() else { return Ok(()) };
        let device = devices.get(owner.ty().index()).and_then(Option::as_ref);
        let stored = device.map(|device| device.clusters.virtual_word(owner.offset()).stored());
        ensure(stored == Some(Stored::Swapfile(real)), "I23", || {
            format!("{real} backs {owner}, behind which is {stored:?}")
        })
    }
}
