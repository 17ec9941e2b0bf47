//! The backing of a folio's virtual slots: where their data is, and real slots for data that a writeout will write.
//!
//! The functions here run under the lock of the folio over the slots, which owns their backing. `docs/virtual.md` has
//! recipes.

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{CpuId, SwpEntry, SwpOffset};
use crate::cluster::ClusterGuard;
use crate::folio::{Folio, LockedFolio};
use crate::machine::device::SwpFlags;
use crate::machine::{OnCpu, Swap};
use crate::table::{Backing, Stored, SwapTableEntry, VirtualWord};

/// Returns the run of real slots behind a whole range of virtual slots, or `None`. `ci` is the locked cluster of the
/// virtual slots.
fn run_behind(ci: &ClusterGuard<'_>, offset: SwpOffset, nr_pages: u32) -> Option<SwpEntry> {
    let slot = offset.in_cluster();
    let Stored::Swapfile(first) = ci.virtual_word(slot).stored() else { return None };
    let is_run = |i: u32| ci.virtual_word(slot + i as usize) == VirtualWord::swapfile(first.plus(i));
    (1..nr_pages).all(is_run).then_some(first)
}

/// Content of the pages of a folio that is written out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Nothing but zeros: the slots are marked, and nothing is written.
    Zeros,
    /// Bytes that need a place.
    Bytes,
}

/// Sets or clears the zero marks of cached slots. `ci` is the locked cluster.
fn mark_zero(ci: &ClusterGuard<'_>, slots: Range<usize>, is_zero: bool) {
    let table = ci.table().expect("cached slots have a table");
    for slot in slots {
        let word = table.get(slot);
        if word.is_zero() != is_zero {
            table.set(slot, word.with_zero(is_zero).expect("a cached folio's slots hold it"));
        }
    }
}

impl OnCpu<'_> {
    /// Returns the place of a slot's data, and the number of slots from it on, at most `nr_max` in its cluster, whose
    /// data is in the same place: on a device, in one run. A slot of a device that is not virtual is its own place.
    ///
    /// Without the lock of the folio over the slot the answer is a hint. Errors: `BadRange` (EINVAL), `NoDevice`
    /// (ENOENT). Locks: the cluster lock. Kernel: `vswap_check_backing`.
    pub fn backing(&mut self, entry: SwpEntry, nr_max: u32) -> Result<(Backing, u32)> {
        let op = self.operation();
        let (device, offset) = op.resolve_any(entry)?;
        let first = offset.in_cluster();
        let end = (first + nr_max.max(1) as usize).min(SWAPFILE_CLUSTER as usize);
        let Some(ci) = device.clusters.lock(offset.cluster()) else { return Ok((Backing::None, 1)) };
        let at = |slot: usize| {
            let word = ci.table().map_or(SwapTableEntry::NULL, |table| table.get(slot));
            let offset = ci.idx().base().plus(slot as u32);
            let own = || Backing::Swapfile(device.entry_at(offset));
            match ci.virtual_word(slot).backing(word) {
                _ if !device.is_virtual() && op.zswap_id(device, offset).is_some() => Backing::Zswap,
                // A slot without a virtual word has its data in the folio alone while the folio is dirty. The entry
                // does not tell, so the slot itself is returned.
                Backing::None | Backing::Folio if !device.is_ghost() && !word.is_null() => own(),
                backing => backing,
            }
        };
        let backing = at(first);
        let nr = (first + 1..end).take_while(|&slot| backing.continues((slot - first) as u32, at(slot))).count();
        Ok((backing, 1 + nr as u32))
    }

    /// Returns the run of real slots that holds a locked cached folio's data or will hold it: the folio's own slots,
    /// or the run behind all its virtual slots. Returns `None` when there is no such run. Errors: `NotCached`
    /// (EINVAL).
    pub(crate) fn real_run(&mut self, folio: Folio<'_>) -> Result<Option<SwpEntry>> {
        let (device, offset) = self.operation().folio_slots(folio)?;
        if !device.is_virtual() {
            return Ok((!device.is_ghost()).then(|| device.entry_at(offset)));
        }
        Ok(run_behind(&device.clusters.lock_used(offset.cluster()), offset, folio.nr_pages()))
    }

    /// Returns whether the device with a slot's data is as fast as memory. Data in zswap, zeros and missing data give
    /// false. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Kernel: `swap_synchronous_io` of the backing.
    pub(crate) fn is_synchronous(&mut self, entry: SwpEntry) -> Result<bool> {
        let device = match self.device_of(entry)? {
            device if !device.is_virtual() => device,
            _ => match self.backing(entry, 1)?.0 {
                Backing::Swapfile(real) => self.device_of(real)?,
                _ => return Ok(false),
            },
        };
        Ok(device.has(SwpFlags::SYNCHRONOUS_IO))
    }

    /// Releases the backing that a writeout of a locked cached folio makes stale, and sets or clears the zero marks
    /// of its slots. On a virtual device all backing is released, except one run of real slots that the writeout
    /// overwrites. Errors: `NotCached` (EINVAL).
    pub(crate) fn begin_writeout(&mut self, folio: &LockedFolio<'_>, content: Content) -> Result<()> {
        let is_zero = content == Content::Zeros;
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        let (slot, nr_pages) = (offset.in_cluster(), folio.nr_pages());
        let mut ci = device.clusters.lock_used(offset.cluster());
        if device.is_virtual() && (is_zero || run_behind(&ci, offset, nr_pages).is_none()) {
            op.release_backing(device, &mut ci, slot..slot + nr_pages as usize);
        }
        mark_zero(&ci, slot..slot + nr_pages as usize, is_zero);
        drop(ci);
        self.finish();
        Ok(())
    }

    /// Releases all backing of a locked cached folio's virtual slots. The folio is the only copy of its data then.
    /// Errors: `NotCached` (EINVAL).
    pub(crate) fn release_folio_backing(&mut self, folio: &LockedFolio<'_>) -> Result<()> {
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        if device.is_virtual() {
            let slot = offset.in_cluster();
            let mut ci = device.clusters.lock_used(offset.cluster());
            op.release_backing(device, &mut ci, slot..slot + folio.nr_pages() as usize);
        }
        Ok(())
    }

    /// Puts a run of real slots behind the virtual slots of a locked cached folio and returns the run. An existing
    /// run stays, and a folio without virtual slots has its own slots. The caller releases other backing of the
    /// slots.
    ///
    /// Errors, with nothing changed: `NoBacking` (ENOSPC) when there is no run; `OverLimit` (ENOMEM) when the swap
    /// charge was refused; `NotCached` (EINVAL); `GhostWrite` (ENOSPC) for a ghost without virtual table. Locks: the
    /// real device's, then the virtual cluster's. Kernel: `folio_realloc_swap`; differs: the words are written after
    /// the run is taken, which the folio lock allows.
    pub(crate) fn realloc_locked(&mut self, folio: &LockedFolio<'_>) -> Result<SwpEntry> {
        if let Some(first) = self.real_run(folio.folio())? {
            return Ok(first);
        }
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        let nr_pages = folio.nr_pages();
        if !device.is_virtual() {
            return Err(SwapError::GhostWrite { first: offset.0, nr_pages });
        }
        op.try_charge_backing(folio)?;
        let Some(first) = op.alloc_backing(device.entry_at(offset), folio.order(), None) else {
            op.cancel_charge_backing(folio)?;
            self.finish();
            return Err(SwapError::NoBacking { nr_pages });
        };
        let mut ci = device.clusters.lock_used(offset.cluster());
        op.set_swapfile(&mut ci, offset.in_cluster(), nr_pages, first);
        drop(ci);
        self.finish();
        Ok(first)
    }

    /// Puts another run behind the virtual slots of a locked cached folio and frees the old run. No charge changes,
    /// because the number of slots stays. Errors: `NotCached` (EINVAL).
    pub(crate) fn replace_run(&mut self, folio: &LockedFolio<'_>, old: SwpEntry, new: SwpEntry) -> Result<()> {
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        let mut ci = device.clusters.lock_used(offset.cluster());
        op.set_swapfile(&mut ci, offset.in_cluster(), folio.nr_pages(), new);
        op.free_unnamed_run(old, folio.nr_pages());
        drop(ci);
        self.finish();
        Ok(())
    }
}

impl Swap {
    /// Returns the place of a virtual slot's data; see [`OnCpu::backing`].
    pub fn backing(&self, entry: SwpEntry, nr_max: u32, cpu: CpuId) -> Result<(Backing, u32)> {
        self.on_cpu(cpu)?.backing(entry, nr_max)
    }
}
