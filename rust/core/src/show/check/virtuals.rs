//! The invariants of virtual devices. The backing of a virtual slot is the place of the slot's data, such as a real
//! slot. The backing agrees with the entry of the virtual slot and with the entry of the real slot.

use super::ensure;
use crate::base::error::Result;
use crate::base::types::SwpEntry;
use crate::machine::DeviceTable;
use crate::table::{Backing, EntryKind, Stored, SwapTableEntry, VirtualWord};

/// Checks that the virtual word (which names the backing) of a slot of a virtual device agrees with the table entry
/// of the slot.
pub(super) fn check_backing(
    swp: SwpEntry,
    entry: SwapTableEntry,
    word: VirtualWord,
    devices: &DeviceTable,
) -> Result<()> {
    let stored = word.stored();
    let has_own = stored != Stored::None;
    ensure(!has_own || matches!(entry.kind(), EntryKind::Shadow | EntryKind::Pfn), "I22", || {
        format!("{swp} is not in use and has {stored:?} behind it")
    })?;
    ensure(!has_own || !entry.is_zero(), "I22", || format!("{swp} is all zeros and has {stored:?} behind it"))?;
    let is_lost = entry.kind() == EntryKind::Shadow && word.backing(entry) == Backing::None;
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

/// Checks the table entry of the real slot `real`. If the entry is a Pointer, which names a virtual slot, this
/// virtual slot must have `real` as its backing (the place of its data). Any other kind of entry is correct.
pub(super) fn check_pointer(real: SwpEntry, entry: SwapTableEntry, devices: &DeviceTable) -> Result<()> {
    let Some(owner) = entry.owner() else { return Ok(()) };
    let device = devices.get(owner.ty().index()).and_then(Option::as_ref);
    let stored = device.map(|device| device.clusters.virtual_word(owner.offset()).stored());
    ensure(stored == Some(Stored::Swapfile(real)), "I23", || {
        format!("{real} backs {owner}, behind which is {stored:?}")
    })
}
