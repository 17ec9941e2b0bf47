//! Transfers between a folio and its storage: writeout and read. A transfer holds no lock but the folio's.

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::base::zero::is_zero_filled;
use crate::datapath::backing::Content;
use crate::datapath::zswap_store::ZswapStore;
use crate::folio::{Folio, FolioFlags, LockedFolio};
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::MemcgStat;

/// The result of a writeout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Writeout {
    /// No slot had a reference. The slots are free, and the folio is dirty and uncached.
    Freed,
    /// The folio is all zeros. The slots are marked, nothing was written, and the folio is clean.
    Zero,
    /// zswap stored the folio. The folio is clean.
    Zswap,
    /// A device stored the folio. The folio is clean.
    Written,
}

impl Swap {
    /// Writes a dirty cached folio out, unless no write is needed. Steps OUT6 and OUT7.
    ///
    /// The folio lock is dropped during the transfer to a storage, while the folio is under writeback, and is taken
    /// again afterwards. Errors, with the folio dirty: `Io`; `DataInUse` (EBUSY) when a user got a view of the folio;
    /// `GhostWrite`, `WritebackForbidden`, `NoBacking` (ENOSPC) and `OverLimit` (ENOMEM) when no place takes the
    /// folio. Kernel: `swap_writeout`; differs: the transfer is complete on return.
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

    /// Handles the cases in which no write to a device is needed. Kernel: `swap_writeout` up to `__swap_writepage`.
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
        }
        drop(on_cpu);
        if is_zero {
            return Ok(Some(Writeout::Zero));
        }
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
            // Releases the pages that a store stored before it failed.
            self.on_cpu(cpu)?.begin_writeout(locked, Content::Bytes)?;
        }
        Ok(None)
    }

    /// Writes a locked cached folio to the real slots behind it, or to real slots that it gets now. Errors, with the
    /// folio dirty: those of [`Swap::swap_writeout`] and of [`crate::machine::OnCpu::realloc_locked`].
    pub(crate) fn write_to_storage<'f>(
        &self,
        locked: LockedFolio<'f>,
        cpu: CpuId,
    ) -> (LockedFolio<'f>, Result<Writeout>) {
        let folio = locked.folio();
        match self.on_cpu(cpu).and_then(|mut on_cpu| on_cpu.realloc_locked(&locked)) {
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

    /// Writes a locked cached folio to the real slots from `real` on, which are its own or behind it, and unlocks it.
    /// The folio is clean after success and dirty after an error. Waits for no folio lock. Errors: `Io`; `DataInUse`
    /// (EBUSY).
    pub(crate) fn write_and_unlock(&self, locked: LockedFolio<'_>, real: SwpEntry, cpu: CpuId) -> Result<()> {
        let folio = locked.folio();
        folio.set(FolioFlags::WRITEBACK);
        // The cache's references keep the folio alive, and writeback keeps it in the cache.
        drop(locked);
        let result = self.transfer_out(folio, real, cpu);
        if result.is_err() {
            // The flag is set before writeback ends, because another thread would take the folio for clean in
            // between.
            folio.set(FolioFlags::DIRTY);
        }
        // The flag is read before writeback ends, because after it the same bit means that the folio was read ahead.
        let is_wanted = folio.clear(FolioFlags::RECLAIM).contains(FolioFlags::RECLAIM) && result.is_ok();
        folio.end_writeback();
        if is_wanted {
            // The folio is clean, so reclaim takes it next. Kernel: `folio_rotate_reclaimable`.
            folio.lru_move_tail();
        }
        result
    }

    /// Writes a folio to the real slots from `real` on. Every write of a page to a device runs through this function.
    fn transfer_out(&self, folio: Folio<'_>, real: SwpEntry, cpu: CpuId) -> Result<()> {
        let entry = folio.entry().ok_or(SwapError::NotCached)?;
        let device = self.on_cpu(cpu)?.device_of(real)?;
        let result = folio.bytes().and_then(|bytes| device.storage().write(real.offset(), &bytes));
        let mut on_cpu = self.on_cpu(cpu)?;
        match &result {
            Ok(()) => {
                on_cpu.note(EventKind::SwapOut, entry, folio.order(), 0);
                let order = folio.order();
                on_cpu.counters().count(Event::PswpOut, folio.nr_pages().into());
                on_cpu.counters().count_order(OrderEvent::Out, order);
                on_cpu.counters().count(Event::ThpSwpOut, u64::from(order == Order::MAX));
                self.count_memcg(folio, MemcgStat::PswpOut, folio.nr_pages());
                self.count_memcg(folio, MemcgStat::ThpSwpOut, u32::from(order == Order::MAX));
            }
            Err(SwapError::Io { errno, .. }) => {
                on_cpu.note(EventKind::WriteError, entry, folio.order(), errno.raw_os_error());
                on_cpu.counters().count(Event::WriteErrors, 1);
            }
            // The error came from the folio, so no device failed.
            Err(_) => {}
        }
        result
    }

    /// Fills a locked folio that was just inserted over its slots, and unlocks it in any case. Step IN4.
    ///
    /// Errors, with the folio not up to date: `Io`; `NotUniform` (EBUSY) when zero marks differ. Kernel:
    /// `swap_read_folio`; differs: the transfer is complete on return.
    pub(crate) fn swap_read_folio(&self, locked: LockedFolio<'_>, cpu: CpuId) -> Result<()> {
        let folio = locked.folio();
        let entry = folio.entry().ok_or(SwapError::NotCached)?;
        let nr_pages = folio.nr_pages();
        let (is_zero, nr_alike) = self.on_cpu(cpu)?.zero_batch(entry, nr_pages)?;
        if nr_alike != nr_pages {
            // The check before the insertion excludes this case.
            return Err(SwapError::NotUniform(entry.plus(nr_alike)));
        }
        let (event, stat) = if is_zero {
            folio.bytes_mut()?.fill(0);
            (Event::SwpInZero, MemcgStat::SwpInZero)
        } else if self.zswap_load(&locked, cpu)? {
            (Event::ZswpIn, MemcgStat::ZswpIn)
        } else {
            let result = self.transfer_in(folio, entry, cpu);
            if let Err(error) = result {
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

    /// Reads a folio from the real slots that hold its data.
    fn transfer_in(&self, folio: Folio<'_>, entry: SwpEntry, cpu: CpuId) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        // No real slot holds the data. The read goes to the slot's own device, which returns the error.
        let real = on_cpu.real_run(folio)?.unwrap_or(entry);
        let device = on_cpu.device_of(real)?;
        drop(on_cpu);
        folio.bytes_mut().and_then(|mut bytes| device.storage().read(real.offset(), &mut bytes))
    }
}
