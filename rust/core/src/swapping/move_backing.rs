//! Requests of a caller that change the real slots behind virtual slots. [`Swap::folio_realloc_swap`] allocates a run
//! of real slots for a folio. [`Swap::move_backing`] moves the data of a virtual slot to another device.

use super::swapin::{Orders, Swapin};
use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, SwpEntry, SwpType};
use crate::base::words::words;
use crate::datapath::Content;
use crate::folio::{FolioFlags, FolioRef, check_home};
use crate::machine::Swap;
use crate::table::Backing;

words! {
    /// The result of a move of data to another device.
    pub enum Moved: "result" {
        /// The data is on the target device, and the old real slots are free.
        Done = "done",
        /// The data is on the target device already, so nothing was moved.
        InPlace = "in_place",
        /// The virtual slot was freed, so no data has to be moved.
        Freed = "freed",
        /// Nothing was moved, because the folio is locked or under writeback, or because the folio's data is not in
        /// one run of real slots.
        Skipped = "skipped",
        /// The target device has no free run of the folio's size.
        NoRoom = "no_room",
    }
}

impl Swap {
    /// Allocates a run of real slots as the backing of a cached folio's virtual slots, and returns the run. The call
    /// marks the folio dirty, because no data is written to the run. If one run backs the virtual slots already, the
    /// call returns this run and changes nothing.
    ///
    /// Errors: `NotCached` (EINVAL); `FolioBusy` (EBUSY) when the folio is locked, under writeback or not read yet;
    /// `NoBacking` (ENOSPC) when no run of the folio's order is free; `OverLimit` (ENOMEM) when the swap charge was
    /// refused; `GhostWrite` (ENOSPC) for a ghost without virtual table. After the last three errors the folio is
    /// dirty, and its virtual slots have no backing; after the other errors nothing is changed. Kernel:
    /// `folio_realloc_swap`; differs: takes the folio lock itself, and releases the old backing.
    pub fn folio_realloc_swap(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<SwpEntry> {
        let _active = self.begin_activity();
        check_home(folio.folio(), self.memory_of_folios())?;
        let locked = folio.folio().try_lock().ok_or_else(|| folio.busy())?;
        if !locked.has(FolioFlags::UPTODATE) || locked.has(FolioFlags::WRITEBACK) {
            return Err(locked.busy());
        }
        let mut on_cpu = self.on_cpu(cpu)?;
        if let Some(first) = on_cpu.real_run(locked.folio())? {
            return Ok(first);
        }
        // The folio is marked dirty, because the next two calls release the old backing, which has a copy of its
        // data, even if `realloc_locked` fails.
        locked.set(FolioFlags::DIRTY);
        on_cpu.begin_writeout(&locked, Content::Bytes)?;
        on_cpu.realloc_locked(&locked)
    }

    /// Moves the data of a virtual slot to another real device, together with the data of all slots of the folio in
    /// which the slot is cached.
    ///
    /// A failure changes nothing, because the old real slots stay the backing until the data is on the new real
    /// slots. Errors: `Io` of the read or the write; `NoDevice` (ENOENT), `BadRange` (EINVAL) of the entry;
    /// `NoDevice` (ENOENT) when the target device is turned off; `GhostBacking` (EINVAL) when the target is a ghost;
    /// `NoMemory` (ENOMEM). Does not wait for the folio lock: if another thread holds it, the result is
    /// [`Moved::Skipped`]. Kernel: none.
    pub fn move_backing(&self, entry: SwpEntry, to: SwpType, cpu: CpuId) -> Result<Moved> {
        let _active = self.begin_activity();
        let target = self.device(to)?;
        if target.is_ghost() {
            return Err(SwapError::GhostBacking(to.0));
        }
        loop {
            if !matches!(self.backing(entry, 1, cpu)?.0, Backing::Swapfile(first) if first != entry) {
                let is_used = self.on_cpu(cpu)?.lookup(entry)?;
                return Ok(if is_used.is_null() { Moved::Freed } else { Moved::Skipped });
            }
            let folio = match self.swapin_entry(entry, &Swapin::new(cpu, Orders::ZERO)) {
                Ok(folio) => folio,
                Err(SwapError::NotInUse(_)) => return Ok(Moved::Freed),
                Err(error) => return Err(error),
            };
            let Some(locked) = folio.folio().try_lock() else { return Ok(Moved::Skipped) };
            if !folio.covers(entry) {
                continue;
            }
            if !locked.has(FolioFlags::UPTODATE) || locked.has(FolioFlags::WRITEBACK) {
                return Ok(Moved::Skipped);
            }
            let Some(old) = self.on_cpu(cpu)?.real_run(locked.folio())? else { return Ok(Moved::Skipped) };
            if old.ty() == to {
                return Ok(Moved::InPlace);
            }
            let owner = locked.entry().ok_or(SwapError::NotCached)?;
            let mut on_cpu = self.on_cpu(cpu)?;
            let new = on_cpu.operation().alloc_backing(owner, locked.order(), Some(&[to]));
            on_cpu.finish();
            drop(on_cpu);
            let Some(new) = new else { return Ok(Moved::NoRoom) };
            let written = locked.bytes().and_then(|bytes| target.storage().write(new.offset(), &bytes));
            let mut on_cpu = self.on_cpu(cpu)?;
            if let Err(error) = written {
                on_cpu.operation().free_unnamed_run(new, locked.nr_pages());
                on_cpu.finish();
                return Err(error);
            }
            on_cpu.replace_run(&locked, old, new)?;
            return Ok(Moved::Done);
        }
    }
}
