//! The check whether one folio may cache a range of slots. A swap-in makes it before and after it allocates memory.

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::types::SwpOffset;
use crate::cluster::ClusterGuard;
use crate::machine::Operation;
use crate::machine::device::SwapDevice;
use crate::machine::profile::SwapinCheck;
use crate::slots::owner::SeenSlots;
use crate::table::{Backing, EntryKind, Shadow, SwapTable, SwapTableEntry};

fn is_swapped_out(word: SwapTableEntry) -> bool {
    word.kind() == EntryKind::Shadow && word.count() != Some(0)
}

/// Checks the range of `nr_pages` slots from `base`, which contains `targ`, and returns the state of the range.
///
/// Errors: `NotInUse` (ENOENT) when the target is free, bad or has no table; `AlreadyCached` (EEXIST) when the target
/// is cached; `NotUniform` (EBUSY) when another slot is cached, free or of another owner, or when zero marks differ.
/// With [`SwapinCheck::ZeroFirst`] the zero marks are compared before the target is checked. Kernel:
/// `swap_cache_check_batch`.
pub(super) fn check_batch(
    op: &Operation<'_>,
    device: &SwapDevice,
    ci: &ClusterGuard<'_>,
    base: SwpOffset,
    targ: SwpOffset,
    nr_pages: u32,
) -> Result<SeenSlots> {
    let order = op.swap.switches.swapin_check;
    let table = ci.table().ok_or(SwapError::NotInUse(device.entry_at(targ)))?;
    let slots = base.in_cluster()..base.in_cluster() + nr_pages as usize;
    let at = |slot: usize| device.entry_at(SwpOffset(ci.idx().base().0 + slot as u32));
    let differs = |slot: Option<usize>| slot.map_or(Ok(()), |slot| Err(SwapError::NotUniform(at(slot))));
    if order == SwapinCheck::ZeroFirst {
        differs(mixed_zero(table, slots.clone()))?;
    }
    let shadow = target_shadow(device, table, targ)?;
    if order == SwapinCheck::TargetFirst {
        differs(mixed_zero(table, slots.clone()))?;
    }
    let owner = op.slot_owner(ci, table, targ.in_cluster());
    let is_alike = |slot: usize| is_swapped_out(table.get(slot)) && op.slot_owner(ci, table, slot) == owner;
    differs(slots.clone().find(|&slot| !is_alike(slot)))?;
    differs(mixed_backing(op, device, ci, table, slots.clone()))?;
    let shared_count = op.swap.memcg().map_or(u32::MAX, |groups| groups.options().shared_count);
    let is_shared =
        slots.clone().any(|slot| table.get(slot).count().is_some_and(|count| u32::from(count) >= shared_count));
    Ok(SeenSlots { shadow, owner, is_shared })
}

fn target_shadow(device: &SwapDevice, table: &SwapTable, targ: SwpOffset) -> Result<Shadow> {
    let (word, entry) = (table.get(targ.in_cluster()), device.entry_at(targ));
    match word.shadow() {
        _ if word.is_cached() => Err(SwapError::AlreadyCached(entry)),
        Some(shadow) if word.count() != Some(0) => Ok(shadow),
        _ => Err(SwapError::NotInUse(entry)),
    }
}

/// Returns the first slot whose data one read cannot reach together with the first slot's: the data lies elsewhere,
/// or in zswap, which loads single pages. Kernel: `vswap_can_swapin_thp`, and the check of zswap beside it.
fn mixed_backing(
    op: &Operation<'_>,
    device: &SwapDevice,
    ci: &ClusterGuard<'_>,
    table: &SwapTable,
    mut slots: Range<usize>,
) -> Option<usize> {
    if slots.len() == 1 {
        return None;
    }
    if !device.is_virtual() {
        let base = ci.idx().base();
        let is_stored = |slot: usize| op.zswap_id(device, base.plus(slot as u32)).is_some();
        return if op.swap.zswap().has_entries() { slots.find(|&slot| is_stored(slot)) } else { None };
    }
    let backing = |slot: usize| ci.virtual_word(slot).backing(table.get(slot));
    let (start, first) = (slots.start, backing(slots.start));
    let is_read_alone = first == Backing::Zswap;
    slots.find(|&slot| is_read_alone || !first.continues((slot - start) as u32, backing(slot)))
}

/// Returns the first slot whose zero mark differs from the first slot's.
fn mixed_zero(table: &SwapTable, mut slots: Range<usize>) -> Option<usize> {
    let first = table.get(slots.start).is_zero();
    slots.find(|&slot| table.get(slot).is_zero() != first)
}

/// Returns the zero mark of a slot, and the number of slots from it on, at most `nr_max`, that have the same mark.
/// Kernel: `swap_zeromap_batch`.
pub(super) fn zero_batch(table: &SwapTable, slot: usize, nr_max: u32) -> (bool, u32) {
    let is_zero = table.get(slot).is_zero();
    let end = slot + nr_max as usize;
    (is_zero, (mixed_zero(table, slot..end).unwrap_or(end) - slot) as u32)
}
