//! The transfer of page data between a folio and the place that backs the folio's slots: zero marks, zswap, or real
//! slots on a storage.
//!
//! A transfer holds only the folio lock. The holder of the folio lock also owns the backing of the folio's virtual
//! slots: the place of their data, and the real slots that are allocated for them and not written yet.
//! `docs/virtual.md` describes virtual slots.

pub(crate) mod zswap_store;

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::base::zero::is_zero_filled;
use crate::datapath::zswap_store::ZswapStore;
use crate::folio::{Folio, FolioFlags, LockedFolio};
use crate::machine::device::SwpFlags;
use crate::machine::writeback::{AfterWrite, QueuedWrite};
use crate::machine::{Event, OnCpu, OrderEvent, Swap, Writeback};
use crate::memcg::MemcgStat;
use crate::slots::FolioSlots;
use crate::table::{Backing, Stored, SwapTableEntry, VirtualWord};

/// The result of a writeout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Writeout {
    /// No slot had a reference. The slots were freed, and the folio is dirty and no longer in the cache.
    Freed,
    /// The folio is all zeros. The zero marks of the slots were set, nothing was written, and the folio is clean.
    Zero,
    /// zswap stored the folio. The folio is clean.
    Zswap,
    /// A device stored the folio. The folio is clean.
    Written,
    /// The write of the folio is queued. The folio is clean and under writeback.
    Queued,
}

impl Swap {
    /// Writes the data of a dirty cached folio to a place that stores it, unless no write is needed. Steps OUT6 and
    /// OUT7 of docs/steps.md.
    ///
    /// The folio lock is released during the transfer to a storage, while the folio is under writeback, and is taken
    /// again afterwards. Errors, with the folio dirty: `Io`; `DataInUse` (EBUSY) when a user has a view of the
    /// folio's bytes; `GhostWrite`, `WritebackForbidden`, `NoBacking` (ENOSPC) and `OverLimit` (ENOMEM) when neither
    /// zswap nor a device takes the folio. Kernel: `swap_writeout`; differs: the transfer is complete on return.
    pub(crate) fn swap_writeout<'f>(&self, locked: LockedFolio<'f>, cpu: CpuId) -> (LockedFolio<'f>, Result<Writeout>) {
        let (locked, result) = match self.prepare_writeout(&locked, cpu) {
            Ok(None) => self.write_to_storage(locked, cpu),
            Ok(Some(done)) => (locked, Ok(done)),
            Err(error) => {
                locked.set(FolioFlags::DIRTY);
                (locked, Err(error))
            }
        };
        if result.as_ref().is_err_and(SwapError::is_write_refused)
            && let Ok(on_cpu) = self.on_cpu(cpu)
        {
            on_cpu.counters().count(Event::SwpOutRefused, locked.nr_pages().into());
        }
        (locked, result)
    }

    /// Handles the cases in which no write to a device is needed, and returns the result. Returns `None` when a write
    /// to a device is needed. Kernel: `swap_writeout` up to the call of `__swap_writepage`.
    fn prepare_writeout(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<Option<Writeout>> {
        if self.on_cpu(cpu)?.free_swap_locked(locked)? {
            return Ok(Some(Writeout::Freed));
        }
        let is_zero = is_zero_filled(&locked.bytes()?);
        let mut on_cpu = self.on_cpu(cpu)?;
        on_cpu.begin_writeout(locked, if is_zero { Content::Zeros } else { Content::Bytes })?;
        if is_zero {
            on_cpu.counters().count(Event::SwpOutZero, locked.nr_pages().into());
            self.count_memcg(locked.folio(), MemcgStat::SwpOutZero, locked.nr_pages());
            on_cpu.note(EventKind::SwapOutZero, locked.entry().unwrap_or(SwpEntry::NONE), locked.order(), 0);
            return Ok(Some(Writeout::Zero));
        }
        drop(on_cpu);
        let store = self.zswap_store(locked, cpu)?;
        if store == ZswapStore::Stored {
            return Ok(Some(Writeout::Zswap));
        }
        let group = self.group_of(locked.folio());
        if let (Some(group), false) = (group, self.is_zswap_writeback_enabled(group)) {
            let group = self.memcg().map_or_else(String::new, |groups| groups.path(group.css()));
            return Err(SwapError::WritebackForbidden { group, nr_pages: locked.nr_pages() });
        }
        if store == ZswapStore::Refused {
            // zswap refused a page after it stored other pages of the folio. The call releases the zswap entries of
            // these pages.
            self.on_cpu(cpu)?.begin_writeout(locked, Content::Bytes)?;
        }
        Ok(None)
    }

    /// Writes a locked cached folio to real slots: the folio's own slots, or the real slots that back the folio's
    /// virtual slots. If no real slots back them, real slots are allocated. Errors, with the folio dirty: those of
    /// [`Swap::swap_writeout`] and of [`crate::machine::OnCpu::realloc_locked`].
    fn write_to_storage<'f>(&self, locked: LockedFolio<'f>, cpu: CpuId) -> (LockedFolio<'f>, Result<Writeout>) {
        let folio = locked.folio();
        match self.on_cpu(cpu).and_then(|mut on_cpu| on_cpu.realloc_locked(&locked)) {
            Ok(real) if self.is_write_queued(real, cpu) => {
                self.queue_write(&locked, real, AfterWrite::Keep, cpu);
                (locked, Ok(Writeout::Queued))
            }
            Ok(real) => {
                let result = self.write_and_unlock(locked, real, cpu);
                (folio.lock(), result.map(|()| Writeout::Written))
            }
            Err(error) => {
                folio.set(FolioFlags::DIRTY);
                folio.clear(FolioFlags::RECLAIM);
                (locked, Err(error))
            }
        }
    }

    /// Writes a locked cached folio to the real slots from `real` on and unlocks the folio. The real slots are the
    /// folio's own slots or the backing of the folio's virtual slots. The folio is clean after success and dirty
    /// after an error. Takes no folio lock. Errors: `Io`; `DataInUse` (EBUSY).
    pub(crate) fn write_and_unlock(&self, locked: LockedFolio<'_>, real: SwpEntry, cpu: CpuId) -> Result<()> {
        let folio = locked.folio();
        folio.set(FolioFlags::WRITEBACK);
        // The references of the cache keep the folio alive, and a folio under writeback is not removed from the
        // cache.
        drop(locked);
        let result = self.transfer_out(folio, real, cpu);
        if result.is_ok() {
            self.count_write(folio, cpu)?;
        }
        self.finish_write(folio, result)
    }

    /// Returns whether a write to a real slot is queued: queued writes are on, and the device is not as fast as
    /// memory. Kernel: `swap_writepage_bdev_async` instead of `swap_writepage_bdev_sync`.
    pub(crate) fn is_write_queued(&self, real: SwpEntry, cpu: CpuId) -> bool {
        if self.writes.mode == Writeback::Sync {
            return false;
        }
        let device = self.on_cpu(cpu).and_then(|mut on_cpu| on_cpu.device_of(real));
        device.is_ok_and(|device| !device.has(SwpFlags::SYNCHRONOUS_IO))
    }

    /// Queues the write of a locked cached folio to the real slots from `real` on. The folio is under writeback from
    /// this call on, and the write counts from this call on, as in the kernel.
    pub(crate) fn queue_write(&self, locked: &LockedFolio<'_>, real: SwpEntry, then: AfterWrite, cpu: CpuId) {
        locked.set(FolioFlags::WRITEBACK);
        // The result is ignored, because the function fails only for an unknown CPU, and the caller has used this CPU.
        let _ = self.count_write(locked.folio(), cpu);
        self.writes.push_write(QueuedWrite { pfn: locked.pfn(), real, then });
    }

    /// Writes the folio of a queued write, and ends its writeback. A folio whose write fails is dirty. Errors: `BadCpu`
    /// (EINVAL).
    pub(crate) fn end_write(&self, folio: Folio<'_>, real: SwpEntry, cpu: CpuId) -> Result<()> {
        let result = self.transfer_out(folio, real, cpu);
        // The result is ignored, because no caller waits for this write. The folio is dirty after an error.
        let _ = self.finish_write(folio, result);
        Ok(())
    }

    /// Ends the writeback of a folio whose write had the given result, and returns the result. The folio is dirty
    /// after an error. Kernel: `end_swap_bio_write`.
    fn finish_write(&self, folio: Folio<'_>, result: Result<()>) -> Result<()> {
        if result.is_err() {
            // The DIRTY flag is set before writeback ends, because another thread that sees the folio clean and not
            // under writeback could remove the folio, whose data was not written.
            folio.set(FolioFlags::DIRTY);
        }
        // The RECLAIM flag is read before writeback ends, because RECLAIM and READAHEAD are the same bit: for a folio
        // that is not under writeback, the bit means READAHEAD.
        let is_wanted = folio.clear(FolioFlags::RECLAIM).contains(FolioFlags::RECLAIM) && result.is_ok();
        folio.end_writeback();
        if is_wanted {
            // The folio is clean and reclaim wants to free it, so the folio moves to the tail of its LRU list, where
            // reclaim takes the next folio. Kernel: `folio_rotate_reclaimable`.
            folio.lru_move_tail();
        }
        result
    }

    /// Writes a folio to the real slots from `real` on. This function makes every write of a page to a device.
    fn transfer_out(&self, folio: Folio<'_>, real: SwpEntry, cpu: CpuId) -> Result<()> {
        let entry = folio.entry().ok_or(SwapError::NotCached)?;
        let device = self.on_cpu(cpu)?.device_of(real)?;
        let result = folio.bytes().and_then(|bytes| device.storage().write(real.offset(), &bytes));
        // Another error is about the folio and not about the device, so it does not count as a device error.
        if let Err(SwapError::Io { errno, .. }) = &result {
            let mut on_cpu = self.on_cpu(cpu)?;
            on_cpu.note(EventKind::WriteError, entry, folio.order(), errno.raw_os_error());
            on_cpu.counters().count(Event::WriteErrors, 1);
        }
        result
    }

    /// Counts a write of a folio to a device. Errors: `BadCpu` (EINVAL). Kernel: `count_swpout_vm_event`.
    fn count_write(&self, folio: Folio<'_>, cpu: CpuId) -> Result<()> {
        let (entry, order) = (folio.entry().unwrap_or(SwpEntry::NONE), folio.order());
        let mut on_cpu = self.on_cpu(cpu)?;
        on_cpu.note(EventKind::SwapOut, entry, order, 0);
        on_cpu.counters().count(Event::PswpOut, folio.nr_pages().into());
        on_cpu.counters().count_order(OrderEvent::Out, order);
        on_cpu.counters().count(Event::ThpSwpOut, u64::from(order == Order::MAX));
        self.count_memcg(folio, MemcgStat::PswpOut, folio.nr_pages());
        self.count_memcg(folio, MemcgStat::ThpSwpOut, u32::from(order == Order::MAX));
        Ok(())
    }

    /// Reads the data of its slots into a locked folio that was just inserted into the cache. Unlocks the folio after
    /// success and after an error. Step IN4 of docs/steps.md.
    ///
    /// Errors, with the folio not up to date: `Io`; `NotUniform` (EBUSY) when zero marks differ. Kernel:
    /// `swap_read_folio`; differs: the transfer is complete on return.
    pub(crate) fn swap_read_folio(&self, locked: LockedFolio<'_>, cpu: CpuId) -> Result<()> {
        let folio = locked.folio();
        let entry = folio.entry().ok_or(SwapError::NotCached)?;
        let nr_pages = folio.nr_pages();
        let (is_zero, nr_alike) = self.on_cpu(cpu)?.zero_batch(entry, nr_pages)?;
        if nr_alike != nr_pages {
            // A swap-in does not reach this case, because it compares the zero marks before it inserts the folio into
            // the cache.
            return Err(SwapError::NotUniform(entry.plus(nr_alike)));
        }
        let (event, stat) = if is_zero {
            folio.bytes_mut()?.fill(0);
            (Event::SwpInZero, MemcgStat::SwpInZero)
        } else if self.zswap_load(&locked, cpu)? {
            (Event::ZswpIn, MemcgStat::ZswpIn)
        } else {
            if let Err(error) = self.transfer_in(folio, entry, cpu) {
                let mut on_cpu = self.on_cpu(cpu)?;
                on_cpu.note(EventKind::ReadError, entry, folio.order(), error.errno());
                on_cpu.counters().count(Event::ReadErrors, 1);
                return Err(error);
            }
            (Event::PswpIn, MemcgStat::PswpIn)
        };
        let order = folio.order();
        self.count_memcg(folio, stat, nr_pages);
        folio.set(FolioFlags::UPTODATE);
        drop(locked);
        let mut on_cpu = self.on_cpu(cpu)?;
        on_cpu.counters().count(event, nr_pages.into());
        on_cpu.note(if is_zero { EventKind::SwapInZero } else { EventKind::SwapIn }, entry, order, 0);
        if event == Event::PswpIn {
            on_cpu.counters().count_order(OrderEvent::In, order);
        }
        Ok(())
    }

    /// Reads a folio from the real slots that hold the data of the folio's slots.
    fn transfer_in(&self, folio: Folio<'_>, entry: SwpEntry, cpu: CpuId) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        // When no real slot holds the data, the read goes to the folio's own slots, whose device returns the error.
        let real = on_cpu.real_run(folio)?.unwrap_or(entry);
        let device = on_cpu.device_of(real)?;
        drop(on_cpu);
        folio.bytes_mut().and_then(|mut bytes| device.storage().read(real.offset(), &mut bytes))
    }
}

/// Returns the first slot of the run of consecutive real slots that backs a range of virtual slots, or `None` when no
/// single run backs the whole range.
fn run_behind(at: &FolioSlots<'_>) -> Option<SwpEntry> {
    let slot = at.slots.start;
    let Stored::Swapfile(first) = at.ci.virtual_word(slot).stored() else { return None };
    let is_run = |i: u32| at.ci.virtual_word(slot + i as usize) == VirtualWord::swapfile(first.plus(i));
    (1..at.slots.len() as u32).all(is_run).then_some(first)
}

/// Content of the pages of a folio that is written out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// All bytes are zero. The writeout sets the zero marks of the slots and writes nothing.
    Zeros,
    /// A byte is not zero. The content must be stored in zswap or on a device.
    Bytes,
}

impl OnCpu<'_> {
    /// Returns the place of a slot's data, and the number of consecutive slots from this slot on whose data is in the
    /// same place. The data of several slots on a device counts as in the same place when the real slots are
    /// consecutive. The number of slots is at most `nr_max`, and ends at the end of the cluster. On a device that is
    /// not virtual, a slot holds its own data unless zswap has the data.
    ///
    /// The result can be stale at once if the caller does not hold the lock of the folio that caches the slot.
    /// Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Locks: the cluster lock. Kernel: `vswap_check_backing`.
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
                // While the folio of a slot on a device that is not virtual is dirty, only the folio has the slot's
                // data. The slot's table entry does not record this state, so the call returns the slot itself.
                Backing::None | Backing::Folio if !device.is_ghost() && !word.is_null() => own(),
                backing => backing,
            }
        };
        let backing = at(first);
        let nr = (first + 1..end).take_while(|&slot| backing.continues((slot - first) as u32, at(slot))).count();
        Ok((backing, 1 + nr as u32))
    }

    /// Returns the run of real slots that holds the data of a locked cached folio, or that a writeout of the folio
    /// will overwrite: the folio's own slots, or the run that backs all its virtual slots. Returns `None` when there
    /// is no such run. Errors: `NotCached` (EINVAL).
    pub(crate) fn real_run(&mut self, folio: Folio<'_>) -> Result<Option<SwpEntry>> {
        let op = self.operation();
        let (device, offset) = op.folio_slots(folio)?;
        if !device.is_virtual() {
            return Ok((!device.is_ghost()).then(|| device.entry_at(offset)));
        }
        Ok(run_behind(&op.lock_folio_slots(folio)?))
    }

    /// Returns whether the data of a slot is on a device that is as fast as memory. The result is false when the data
    /// is in zswap, is all zeros, or is missing. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Kernel:
    /// `swap_synchronous_io` of the backing.
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

    /// Prepares a writeout of a locked cached folio: sets or clears the zero marks of the folio's slots, and on a
    /// virtual device releases all backing of the slots, whose data the writeout makes stale. The call keeps a
    /// backing that is a single run of real slots if the writeout will overwrite this run. Errors: `NotCached`
    /// (EINVAL).
    pub(crate) fn begin_writeout(&mut self, folio: &LockedFolio<'_>, content: Content) -> Result<()> {
        let is_zero = content == Content::Zeros;
        let mut op = self.operation();
        let mut at = op.lock_folio_slots(folio.folio())?;
        if at.device.is_virtual() && (is_zero || run_behind(&at).is_none()) {
            op.release_backing(at.device, &mut at.ci, at.slots.clone());
        }
        for slot in at.slots.clone() {
            let word = at.table.get(slot);
            if word.is_zero() != is_zero {
                at.table.set(slot, word.with_zero(is_zero).expect("a cached folio's slots hold it"));
            }
        }
        drop(at);
        self.finish();
        Ok(())
    }

    /// Releases all backing of the virtual slots of a locked cached folio, that is, every stored copy of their data.
    /// The folio is then the only copy of the data. Errors: `NotCached` (EINVAL).
    pub(crate) fn release_folio_backing(&mut self, folio: &LockedFolio<'_>) -> Result<()> {
        let mut op = self.operation();
        let mut at = op.lock_folio_slots(folio.folio())?;
        if at.device.is_virtual() {
            op.release_backing(at.device, &mut at.ci, at.slots.clone());
        }
        Ok(())
    }

    /// Allocates a run of real slots as the backing of the virtual slots of a locked cached folio, and returns the
    /// run. If a run of real slots backs the virtual slots already, the call returns that run. If the folio's slots
    /// are not virtual, the call returns the folio's own slots. The caller releases any other backing of the slots.
    /// If the policy of the folio's group names devices, the run is on one of these devices.
    ///
    /// Errors, with nothing changed: `NoBacking` (ENOSPC) when no run is free; `OverLimit` (ENOMEM) when the swap
    /// charge was refused; `NotCached` (EINVAL); `GhostWrite` (ENOSPC) for a ghost device without a virtual table.
    /// Locks: the lock of the group's policy; the lock of the real cluster, then the lock of the virtual cluster.
    /// Kernel: `folio_realloc_swap`; differs: the second words of the virtual slots' table entries name the real
    /// slots only after the run is allocated, which is safe because the caller holds the folio lock.
    pub(crate) fn realloc_locked(&mut self, folio: &LockedFolio<'_>) -> Result<SwpEntry> {
        if let Some(first) = self.real_run(folio.folio())? {
            return Ok(first);
        }
        let types = self.swap().allowed_devices(folio.folio());
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        let nr_pages = folio.nr_pages();
        if !device.is_virtual() {
            return Err(SwapError::GhostWrite { first: offset.0, nr_pages });
        }
        op.try_charge_backing(folio)?;
        let Some(first) = op.alloc_backing(device.entry_at(offset), folio.order(), types.as_deref()) else {
            op.cancel_charge_backing(folio)?;
            self.finish();
            return Err(SwapError::NoBacking { nr_pages });
        };
        op.set_swapfile(&mut op.lock_folio_slots(folio.folio())?, first);
        self.finish();
        Ok(first)
    }

    /// Replaces the run of real slots that backs the virtual slots of a locked cached folio, and frees the old run.
    /// No charge changes, because the number of real slots does not change. Errors: `NotCached` (EINVAL).
    pub(crate) fn replace_run(&mut self, folio: &LockedFolio<'_>, old: SwpEntry, new: SwpEntry) -> Result<()> {
        let mut op = self.operation();
        let mut at = op.lock_folio_slots(folio.folio())?;
        op.set_swapfile(&mut at, new);
        op.free_unnamed_run(old, folio.nr_pages());
        drop(at);
        self.finish();
        Ok(())
    }
}

impl Swap {
    /// Returns the place of a slot's data; see [`OnCpu::backing`].
    pub fn backing(&self, entry: SwpEntry, nr_max: u32, cpu: CpuId) -> Result<(Backing, u32)> {
        self.on_cpu(cpu)?.backing(entry, nr_max)
    }
}
