//! Swap-out of a folio that its holder maps, and the way back: the whole of steps O0 to O8 and I0 to I7 for users who
//! have no page tables of their own.

use std::ops::Range;

use crate::error::{Result, SwapError};
use crate::event::EventKind;
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio, check_home};
use crate::gfp::Gfp;
use crate::io::Writeout;
use crate::memcg::MemcgStat;
use crate::swap::{Event, OrderEvent, Swap};
use crate::swapin::{Orders, Swapin};
use crate::types::{CpuId, CssId, Order, SwpEntry, SwpType};

/// A folio with the pages of it that its holder maps, as one page table would.
#[derive(Debug)]
pub struct MappedFolio<'a> {
    folio: FolioRef<'a>,
    pages: Range<u32>,
}

impl<'a> MappedFolio<'a> {
    /// Maps a whole folio.
    pub fn map(folio: FolioRef<'a>) -> Self {
        folio.add_mappings(folio.nr_pages());
        Self { pages: 0..folio.nr_pages(), folio }
    }

    /// Returns the folio.
    pub fn folio(&self) -> &FolioRef<'a> {
        &self.folio
    }

    /// Returns the pages mapped.
    pub fn pages(&self) -> Range<u32> {
        self.pages.clone()
    }

    /// Takes the parts out, still mapped; [`MappedFolio::from_parts`] puts them together again.
    pub(crate) fn into_parts(self) -> (FolioRef<'a>, Range<u32>) {
        (self.folio, self.pages)
    }

    pub(crate) fn from_parts(folio: FolioRef<'a>, pages: Range<u32>) -> Self {
        Self { folio, pages }
    }
}

/// Why a swap-out did not happen, with the folio: mapped, resident, nothing of it lost. It may have its slots by now.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The folio.
    pub folio: MappedFolio<'a>,
    /// The reason.
    pub error: SwapError,
}

impl Swap {
    /// Makes a folio of zeros, mapped by the caller, dirty. Errors: `NoMemory` (ENOMEM). Kernel: an anonymous fault.
    pub fn folio_zeroed(&self, order: Order) -> Result<FolioRef<'_>> {
        self.folio_zeroed_in(order, CssId::ROOT, Gfp::HIGHUSER_MOVABLE, CpuId(0))
    }

    /// Makes a folio of zeros that a group is charged for. Errors: `NoMemory`, `OverLimit` (ENOMEM).
    pub fn folio_zeroed_in(&self, order: Order, css: CssId, gfp: Gfp, cpu: CpuId) -> Result<FolioRef<'_>> {
        let folio = self.folio_charged(order, css, gfp, cpu)?;
        folio.bytes_mut()?.fill(0);
        self.make_anon(&folio);
        Ok(folio)
    }

    /// Makes a folio that a group is charged for, with whatever bytes. Kernel: `alloc_anon_folio`.
    pub(crate) fn folio_charged(&self, order: Order, css: CssId, gfp: Gfp, cpu: CpuId) -> Result<FolioRef<'_>> {
        let folio = self.folio_alloc_shrinking(order, cpu)?;
        self.mem_cgroup_charge(&folio, css, gfp, cpu)?;
        Ok(folio)
    }

    /// Makes a folio with the bytes given, zeros behind them. Errors: `NoMemory` (ENOMEM); `OutOfRange` (EINVAL).
    pub fn folio_with(&self, order: Order, data: &[u8]) -> Result<FolioRef<'_>> {
        self.folio_with_in(order, data, CssId::ROOT, CpuId(0))
    }

    /// [`Swap::folio_with`] charged to a group. Errors: as there, and `OverLimit` (ENOMEM).
    pub fn folio_with_in(&self, order: Order, data: &[u8], css: CssId, cpu: CpuId) -> Result<FolioRef<'_>> {
        let high = order.nr_pages() as u64 * crate::limits::PAGE_SIZE as u64;
        if data.len() as u64 > high {
            return Err(SwapError::OutOfRange { what: "data bytes", value: data.len() as i128, low: 0, high });
        }
        let folio = self.folio_charged(order, css, Gfp::HIGHUSER_MOVABLE, cpu)?;
        {
            let mut bytes = folio.bytes_mut()?;
            let (given, rest) = bytes.split_at_mut(data.len());
            given.copy_from_slice(data);
            rest.fill(0);
        }
        self.make_anon(&folio);
        Ok(folio)
    }

    pub(crate) fn make_anon(&self, folio: &FolioRef<'_>) {
        folio.set(FolioFlags::UPTODATE | FolioFlags::DIRTY | FolioFlags::SWAPBACKED);
        folio.lru_add();
    }

    /// Gives a locked folio slots, charges them and dirties it. Steps O1 to O3. Errors: `NoSpace` (ENOSPC);
    /// `OverLimit` (ENOMEM) the charge was refused.
    pub(crate) fn add_to_swap(&self, locked: &LockedFolio<'_>, types: Option<&[SwpType]>, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.alloc_for_folio_on(locked, types)?;
        locked.set(FolioFlags::DIRTY);
        Ok(())
    }

    /// Gives a folio slots that may have some, charges them and dirties it: what a swap-out does before it unmaps.
    ///
    /// Errors: `NoSpace` (ENOSPC); `OverLimit` (ENOMEM) the charge or a policy refused; `AlreadyCached` (EEXIST); `FolioBusy`
    /// (EBUSY); `ForeignFolio` (EINVAL). Steps O1 to O3. Kernel: `folio_alloc_swap`; differs: it takes the folio lock itself.
    pub fn folio_alloc_swap(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<SwpEntry> {
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        check_home(folio.folio(), self.memory_of_folios())?;
        let types = self.ask_swap(folio)?;
        let locked = folio.folio().try_lock().ok_or(SwapError::FolioBusy(SwpEntry::NONE))?;
        self.add_to_swap(&locked, types.as_deref(), cpu)?;
        Ok(locked.entry().expect("it was given slots"))
    }

    /// Counts a large folio that did not get its run. Step I.5.
    pub(crate) fn count_fallback(&self, folio: Folio<'_>, cpu: CpuId) -> Result<()> {
        let order = folio.order();
        if order != Order::ZERO {
            let mut on_cpu = self.on_cpu(cpu)?;
            on_cpu.note(EventKind::SwapOutFallback, SwpEntry::NONE, order, 0);
            on_cpu.counters().count_order(OrderEvent::OutFallback, order);
            on_cpu.counters().count(Event::ThpSwpOutFallback, u64::from(order == Order::MAX));
            self.count_memcg(folio, MemcgStat::ThpSwpOutFallback, u32::from(order == Order::MAX));
        }
        Ok(())
    }

    /// Writes a locked, cached, unmapped folio out if it must be and drops it from memory; the caller's is the one
    /// reference beside the cache's. Steps O5 to O8. Says whether it is gone.
    ///
    /// Errors: `Io`, and the folio is dirty, cached and resident; `DataInUse` (EBUSY).
    pub(crate) fn pageout<'f>(&self, mut locked: LockedFolio<'f>, cpu: CpuId) -> (Option<LockedFolio<'f>>, Result<()>) {
        let expected = locked.nr_pages() + 1;
        let nr_views = locked.nr_views();
        let pinned = |refs| match nr_views {
            0 => SwapError::FolioPinned { refs, expected },
            _ => SwapError::DataInUse(nr_views),
        };
        if locked.refs() != expected {
            let refs = locked.refs();
            return (Some(locked), Err(pinned(refs)));
        }
        if locked.has(FolioFlags::DIRTY) {
            locked.clear(FolioFlags::DIRTY);
            locked.set(FolioFlags::RECLAIM);
            let (again, result) = self.swap_writeout(locked, cpu);
            locked = again;
            match result {
                Ok(Writeout::Zero | Writeout::Written) => {}
                Ok(Writeout::Freed) => return (Some(locked), Err(SwapError::NotCached)),
                Err(error) => return (Some(locked), Err(error)),
            }
        }
        locked.clear(FolioFlags::RECLAIM);
        match self.drop_clean(&locked, None, cpu) {
            Ok(true) => {
                locked.keep();
                (None, Ok(()))
            }
            Ok(false) => {
                let refs = locked.refs();
                (Some(locked), Err(pinned(refs)))
            }
            Err(error) => (Some(locked), Err(error)),
        }
    }

    /// Swaps a folio out that only its holder maps: slots, unmap, write, and the memory is free.
    ///
    /// The slots of the mapped pages have one reference more then, the caller's; the entry is that of the folio's first
    /// page. Errors, with the folio back, mapped and resident, with the slots it got: `NoSpace` (ENOSPC) no run of the
    /// order; `NoMemory` (ENOMEM) charge refused; `FolioPinned`, `DataInUse` (EBUSY) somebody else holds the folio or a
    /// view of its bytes; `Io` the write failed; `CountOverflow` (EOVERFLOW); `ForeignFolio` (EINVAL). Sleeps for the
    /// folio lock.
    /// Kernel: `shrink_folio_list` of one folio; differs: it is not split here when there is no room.
    pub fn swap_out<'s>(&'s self, mapped: MappedFolio<'s>, cpu: CpuId) -> std::result::Result<SwpEntry, Kept<'s>> {
        let (folio, pages) = mapped.into_parts();
        match self.swap_out_parts(&folio, pages.clone(), cpu) {
            Ok(entry) => {
                // The reference went with the folio.
                folio.into_raw();
                Ok(entry)
            }
            Err(error) => Err(Kept { folio: MappedFolio::from_parts(folio, pages), error }),
        }
    }

    fn swap_out_parts(&self, folio: &FolioRef<'_>, pages: Range<u32>, cpu: CpuId) -> Result<SwpEntry> {
        check_home(folio.folio(), self.memory_of_folios())?;
        let types = if folio.entry().is_none() { self.ask_swap(folio)? } else { None };
        let locked = folio.folio().lock_for_io()?;
        let is_new = !locked.has(FolioFlags::SWAPCACHE);
        if is_new && let Err(error) = self.add_to_swap(&locked, types.as_deref(), cpu) {
            if matches!(error, SwapError::NoSpace { .. }) {
                self.count_fallback(folio.folio(), cpu)?;
            }
            return Err(error);
        }
        let entry = locked.entry().expect("cached");
        self.unmap(&locked, pages.clone(), cpu)?;
        match self.pageout(locked, cpu) {
            (None, _) => Ok(entry),
            (Some(locked), result) => {
                self.remap(&locked, pages, cpu)?;
                Err(result.err().unwrap_or_else(|| locked.busy()))
            }
        }
    }

    /// Turns mappings of a locked folio into references to its slots. Step O4. Errors: `CountOverflow` (EOVERFLOW).
    fn unmap(&self, locked: &LockedFolio<'_>, pages: Range<u32>, cpu: CpuId) -> Result<()> {
        let nr = pages.len() as u32;
        self.on_cpu(cpu)?.dup_locked(locked, pages)?;
        locked.remove_mappings(nr);
        Ok(())
    }

    /// Turns references to the slots of a locked folio back into mappings. Step I6.
    fn remap(&self, locked: &LockedFolio<'_>, pages: Range<u32>, cpu: CpuId) -> Result<()> {
        let nr = pages.len() as u32;
        if locked.has(FolioFlags::SWAPCACHE) {
            self.on_cpu(cpu)?.put_locked_folio(locked, pages)?;
        }
        locked.add_mappings(nr);
        Ok(())
    }

    /// Counts a fault of a task of a group that had to allocate or read. Kernel: `count_memcg_event_mm`.
    pub(crate) fn count_major_fault(&self, css: CssId, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.counters().count(Event::MajorFaults, 1);
        if let Some(group) = self.group(css) {
            group.count(MemcgStat::PgMajFault, 1);
        }
        Ok(())
    }

    /// Swaps in what one reference a slot of `nr_pages` slots from `entry` stands for, and maps it for the caller.
    ///
    /// The folio may be smaller than that when the orders did not work out, or larger when it was cached: its mapped
    /// pages say which slots' references were taken, from `entry` on. Errors: `NotInUse`, `NoDevice` (ENOENT) a slot has
    /// no reference; `NoMemory` (ENOMEM); `Io` the read failed, and may be tried again; `BadRange` (EINVAL).
    /// Kernel: `do_swap_page` over `swapin_entry`; differs: there is no page table to look at, a count stands for it.
    pub fn swap_in<'s>(&'s self, entry: SwpEntry, nr_pages: u32, how: &Swapin<'s>) -> Result<MappedFolio<'s>> {
        loop {
            let (folio, is_new) = self.swapin_folio(entry, how)?;
            if is_new {
                self.count_major_fault(how.faulting, how.cpu)?;
            }
            let locked = folio.folio().lock_for_fault()?;
            if !folio.covers(entry) {
                continue;
            }
            if !locked.has(FolioFlags::UPTODATE) {
                // Whoever read it got the reason and takes it out of the cache; read it again.
                drop(locked);
                self.drop_unread(&folio, how.cpu)?;
                continue;
            }
            let first = entry.offset().0 - folio.entry().expect("covers").offset().0;
            let pages = first..(first + nr_pages).min(folio.nr_pages());
            self.remap(&locked, pages.clone(), how.cpu)?;
            if self.should_free_swap(folio.folio(), entry, how.cpu)? {
                self.on_cpu(how.cpu)?.free_swap_locked(&locked)?;
            }
            drop(locked);
            return Ok(MappedFolio::from_parts(folio, pages));
        }
    }

    /// Swaps everything in that `nr_pages` slots from `entry` stand for, as few folios as the orders allow.
    ///
    /// Errors: as [`Swap::swap_in`]; what was mapped before is unmapped again, its content given up only if another
    /// reference still has it: so it is handed back in `done`.
    pub fn swap_in_all<'s>(
        &'s self,
        entry: SwpEntry,
        nr_pages: u32,
        how: &Swapin<'s>,
        done: &mut Vec<MappedFolio<'s>>,
    ) -> Result<()> {
        let mut nr_done = 0;
        while nr_done < nr_pages {
            let (at, left) = (entry.plus(nr_done), nr_pages - nr_done);
            // A folio lies over an aligned range: one that begins before the slots asked for would cache others' too.
            let fits = at.offset().0.trailing_zeros().min(left.ilog2()).min(Order::MAX.get().into());
            let orders = Orders::from_bits(how.orders.bits() & ((2 << fits) - 1))?;
            let mapped = self.swap_in(at, left, &Swapin { orders, ..*how })?;
            nr_done += mapped.pages().len() as u32;
            done.push(mapped);
        }
        Ok(())
    }

    /// Says whether a slot is given up once its page is mapped. Step I7. Kernel: `should_try_to_free_swap`; differs: no
    /// mlock, no write fault: page tables know of those.
    pub(crate) fn should_free_swap(&self, folio: Folio<'_>, entry: SwpEntry, cpu: CpuId) -> Result<bool> {
        let is_synchronous = self.on_cpu(cpu)?.device_of(entry)?.has(crate::device::SwpFlags::SYNCHRONOUS_IO);
        Ok(is_synchronous || self.mem_cgroup_swap_full(folio))
    }

    /// Says whether a folio's slots are wanted for others. Kernel: `mem_cgroup_swap_full`.
    pub(crate) fn mem_cgroup_swap_full(&self, folio: Folio<'_>) -> bool {
        let is_full = || Some(self.memcg()?.is_swap_full(self.group_of(folio)?));
        self.vm_swap_full() || is_full().unwrap_or(false)
    }

    /// Unmaps and lets go: the memory is free once nobody else holds it, and slots that only the cache still has too.
    ///
    /// Kernel: `zap_pte_range` with `free_swap_cache`.
    pub fn folio_unmap(&self, mapped: MappedFolio<'_>, cpu: CpuId) -> Result<()> {
        let (folio, pages) = mapped.into_parts();
        folio.remove_mappings(pages.len() as u32);
        self.free_folio_and_swap_cache(&folio, cpu)
    }

    /// Gives slots up that only the cache of an unmapped folio still has. Kernel: `free_folio_and_swap_cache`.
    pub(crate) fn free_folio_and_swap_cache(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<()> {
        if !folio.is_mapped()
            && folio.has(FolioFlags::SWAPCACHE)
            && let Some(locked) = folio.folio().try_lock()
        {
            self.on_cpu(cpu)?.free_swap_locked(&locked)?;
        }
        Ok(())
    }
}
