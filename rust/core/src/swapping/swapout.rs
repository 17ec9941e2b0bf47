//! Swap-out and swap-in of a folio that a caller maps without page tables: the steps OUT0 to OUT8 and IN0 to IN7 of
//! `docs/steps.md`.

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::gfp::Gfp;
use crate::base::types::{CpuId, CssId, Order, SwpEntry};
pub use crate::folio::MappedFolio;
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio, check_home};
use crate::machine::profile::SyncSwapin;
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::MemcgStat;
use crate::reclaim::pageout::set_active;
use crate::swapping::swapin::{Orders, Swapin};
use crate::workingset::LruList;

/// A folio whose swap-out failed. The folio is mapped and resident, and no byte is lost. The folio may have slots.
#[derive(Debug)]
pub struct KeptFolio<'a> {
    /// The folio.
    pub folio: MappedFolio<'a>,
    /// The reason of the failure.
    pub error: SwapError,
}

/// The state of a folio that was swapped out.
enum OutAs {
    /// The memory of the folio was freed.
    Freed,
    /// The folio is under writeback in the swap cache, because its write is queued.
    Queued,
}

impl Swap {
    /// Allocates a dirty folio of zeros, which the caller can map. Errors: `NoMemory` (ENOMEM). Kernel: an anonymous
    /// fault.
    pub fn folio_zeroed(&self, order: Order) -> Result<FolioRef<'_>> {
        self.folio_zeroed_in(order, CssId::ROOT, Gfp::HIGHUSER_MOVABLE, CpuId(0))
    }

    /// Allocates a folio of zeros and charges the folio to a group. Errors: `NoMemory`, `OverLimit` (ENOMEM).
    pub fn folio_zeroed_in(&self, order: Order, css: CssId, gfp: Gfp, cpu: CpuId) -> Result<FolioRef<'_>> {
        let folio = self.folio_charged(order, css, gfp, cpu)?;
        self.zero_anon(&folio)?;
        Ok(folio)
    }

    /// Allocates a folio, without clearing its bytes, and charges the folio to a group. Errors: `NoMemory`,
    /// `OverLimit` (ENOMEM); `Cgroup` (ENODEV) when the group is removed. Kernel: `alloc_anon_folio`.
    pub(crate) fn folio_charged(&self, order: Order, css: CssId, gfp: Gfp, cpu: CpuId) -> Result<FolioRef<'_>> {
        let active = self.begin_activity();
        let folio = self.folio_alloc(order, gfp, cpu)?;
        let charged = self.mem_cgroup_charge(&folio, css, gfp, cpu);
        if charged.is_ok() {
            // The caller adds the folio to the list.
            self.memory_of_folios().lru_batch_add(folio.folio(), LruList::InactiveAnon, cpu);
        }
        self.end_operation(active);
        charged.map(|()| folio)
    }

    /// Counts an event of a folio of `order`, unless the folio is a single page. Errors: `BadCpu` (EINVAL).
    pub(crate) fn count_large(&self, event: OrderEvent, order: Order, cpu: CpuId) -> Result<()> {
        if order != Order::ZERO {
            self.on_cpu(cpu)?.counters().count_order(event, order);
        }
        Ok(())
    }

    /// Counts that the first touch of a page got no folio of `order` and falls back to a smaller order. The first of
    /// `events` is counted for every fallback, and the second only for a fallback whose charge was refused. Errors:
    /// `BadCpu` (EINVAL).
    pub(crate) fn count_touch_fallback(
        &self,
        error: &SwapError,
        events: (OrderEvent, OrderEvent),
        order: Order,
        cpu: CpuId,
    ) -> Result<()> {
        if error.is_no_memory() {
            self.count_large(events.0, order, cpu)?;
            if !matches!(error, SwapError::NoMemory(_)) {
                self.count_large(events.1, order, cpu)?;
            }
        }
        Ok(())
    }

    /// Fills a new folio with zeros and adds the folio to its LRU list. Errors: as
    /// [`crate::folio::Folio::bytes_mut`].
    pub(crate) fn zero_anon(&self, folio: &FolioRef<'_>) -> Result<()> {
        folio.bytes_mut()?.fill(0);
        self.make_anon(folio);
        Ok(())
    }

    /// Allocates a folio that contains `data`, followed by zeros. Errors: `NoMemory` (ENOMEM); `OutOfRange` (EINVAL).
    pub fn folio_with(&self, order: Order, data: &[u8]) -> Result<FolioRef<'_>> {
        self.folio_with_in(order, data, CssId::ROOT, CpuId(0))
    }

    /// Works as [`Swap::folio_with`], and charges the folio to the group `css`. Errors: as [`Swap::folio_with`];
    /// `OverLimit` (ENOMEM).
    pub fn folio_with_in(&self, order: Order, data: &[u8], css: CssId, cpu: CpuId) -> Result<FolioRef<'_>> {
        let high = order.nr_pages() as u64 * crate::base::limits::PAGE_SIZE as u64;
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

    /// Allocates and charges the slots of a folio if the policies allow the swap-out, and marks the folio dirty.
    /// These are the steps of a swap-out that come before the unmap.
    ///
    /// Errors: `NoSpace` (ENOSPC); `OverLimit` (ENOMEM) when the charge or a policy refused; `AlreadyCached`
    /// (EEXIST); `FolioBusy` (EBUSY); `ForeignFolio` (EINVAL). Steps OUT1 to OUT3. Kernel: `folio_alloc_swap`;
    /// differs: takes the folio lock itself.
    pub fn folio_alloc_swap(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<SwpEntry> {
        let active = self.begin_activity();
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        check_home(folio.folio(), self.memory_of_folios())?;
        let wish = self.ask_swap_policy(folio);
        let locked = folio.folio().try_lock().ok_or(SwapError::FolioBusy(SwpEntry::NONE))?;
        let result = self.add_to_swap_as(&locked, &wish, cpu);
        let entry = locked.entry();
        drop(locked);
        self.end_operation(active);
        result.map(|()| entry.expect("it was given slots"))
    }

    /// Swaps out a folio that only the caller maps: allocates slots, unmaps the folio, writes the folio, and frees
    /// the folio's memory. If the write is queued, the folio stays in the swap cache and reclaim frees its memory after
    /// the write.
    ///
    /// The caller gets one reference to the slot of each mapped page. The returned entry belongs to the folio's first
    /// page. An error gives the folio back, mapped and resident. If slots were allocated before the error, the folio
    /// keeps these slots. Errors: `NoSpace` (ENOSPC) when no run of the order is free; `NoMemory` (ENOMEM) when the
    /// charge was refused; `FolioPinned`, `DataInUse` (EBUSY) when another user holds the folio or a view of its
    /// bytes; `Io` when the write failed; `CountOverflow` (EOVERFLOW); `ForeignFolio` (EINVAL). Sleeps for the folio
    /// lock. Kernel: `shrink_folio_list` of one folio; differs: does not split the folio when no run is free.
    pub fn swap_out<'s>(&'s self, mapped: MappedFolio<'s>, cpu: CpuId) -> std::result::Result<SwpEntry, KeptFolio<'s>> {
        let active = self.begin_activity();
        let (folio, pages) = mapped.into_parts();
        let result = self.swap_out_parts(&folio, pages.clone(), cpu);
        self.end_operation(active);
        match result {
            Ok((entry, OutAs::Freed)) => {
                // `into_raw` ends the handle without dropping a reference, because `pageout` dropped the caller's
                // reference when it freed the folio.
                folio.into_raw();
                Ok(entry)
            }
            Ok((entry, OutAs::Queued)) => Ok(entry),
            Err(error) => Err(KeptFolio { folio: MappedFolio::from_parts(folio, pages), error }),
        }
    }

    fn swap_out_parts(&self, folio: &FolioRef<'_>, pages: Range<u32>, cpu: CpuId) -> Result<(SwpEntry, OutAs)> {
        check_home(folio.folio(), self.memory_of_folios())?;
        let wish = self.ask_swap_policy(folio);
        let locked = self.lock_written(folio.folio(), cpu)?;
        let is_new = !locked.has(FolioFlags::SWAPCACHE);
        if is_new && let Err(error) = self.add_to_swap_as(&locked, &wish, cpu) {
            if matches!(error, SwapError::NoSpace { .. }) {
                self.count_fallback(folio.folio(), folio.order(), cpu)?;
            }
            return Err(error);
        }
        let entry = locked.entry().expect("cached");
        // OUT4: each mapping of a page is replaced by a reference to the slot of the page.
        self.on_cpu(cpu)?.dup_locked(&locked, pages.clone())?;
        locked.remove_handle_mappings(pages.clone());
        match self.pageout(locked, self.refault_level(None), cpu) {
            (None, _) => Ok((entry, OutAs::Freed)),
            (Some(_), Ok(())) => Ok((entry, OutAs::Queued)),
            (Some(locked), result) => {
                if result.as_ref().is_err_and(SwapError::is_write_refused) {
                    set_active(&locked, true);
                }
                self.remap(&locked, pages, cpu)?;
                Err(result.err().unwrap_or_else(|| locked.busy()))
            }
        }
    }

    /// Replaces references to the slots of a locked folio by mappings of its pages. Step IN6.
    fn remap(&self, locked: &LockedFolio<'_>, pages: Range<u32>, cpu: CpuId) -> Result<()> {
        if locked.has(FolioFlags::SWAPCACHE) {
            self.on_cpu(cpu)?.put_locked_folio(locked, pages.clone())?;
        }
        locked.add_handle_mappings(pages);
        Ok(())
    }

    /// Counts a major fault of a task of the group `css`. A major fault is a fault that allocated or read a folio.
    /// Kernel: `count_memcg_event_mm`.
    pub(crate) fn count_major_fault(&self, css: CssId, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.counters().count(Event::MajorFaults, 1);
        if let Some(group) = self.group(css) {
            group.count(MemcgStat::PgMajFault, 1);
        }
        Ok(())
    }

    /// Swaps in the data of `nr_pages` slots that start at `entry`, drops one reference of each slot, and maps the
    /// pages for the caller.
    ///
    /// The folio may be smaller than `nr_pages` when no allowed order fits, and larger when the folio was in the
    /// cache before the call. One reference is taken from the slot of each mapped page. Errors: `NotInUse`,
    /// `NoDevice` (ENOENT) when a slot has no reference; `NoMemory` (ENOMEM); `Io` when the read failed, and the
    /// caller may try again; `BadRange` (EINVAL). Kernel: `do_swap_page` over `swapin_entry`; differs: a count of
    /// mappings replaces the page table.
    pub fn swap_in<'s>(&'s self, entry: SwpEntry, nr_pages: u32, how: &Swapin<'s>) -> Result<MappedFolio<'s>> {
        let mut active = self.begin_activity();
        loop {
            let found = self.swapin_folio(entry, how);
            self.end_operation(active);
            active = self.begin_activity();
            let (folio, is_new) = found?;
            if is_new {
                self.count_major_fault(how.faulting, how.cpu)?;
            }
            let locked = folio.folio().lock_for_fault()?;
            if !folio.covers(entry) {
                continue;
            }
            if !locked.has(FolioFlags::UPTODATE) {
                // Another thread's read of the folio failed, and that thread got the error. This thread removes the
                // folio from the cache, unless the other thread has removed it, and then reads the slot again.
                drop(locked);
                self.drop_unread(&folio, how.cpu)?;
                continue;
            }
            let first = entry.offset().0 - folio.entry().expect("covers").offset().0;
            let pages = first..(first + nr_pages).min(folio.nr_pages());
            self.remap(&locked, pages.clone(), how.cpu)?;
            if self.should_free_swap(folio.folio(), entry, is_new, how.cpu)? {
                self.on_cpu(how.cpu)?.free_swap_locked(&locked)?;
            }
            drop(locked);
            return Ok(MappedFolio::from_parts(folio, pages));
        }
    }

    /// Swaps in the data of `nr_pages` slots that start at `entry`, in as few folios as the orders allow.
    ///
    /// Errors: as [`Swap::swap_in`]. The folios that were mapped before the error stay mapped and are in `done`,
    /// because an unmap could lose the only copy of their data.
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
            // A folio covers an aligned range of slots. Orders above `fits` are removed from the mask, because a
            // folio of such an order would also cache slots outside the requested range.
            let fits = at.offset().0.trailing_zeros().min(left.ilog2()).min(Order::MAX.get().into());
            let orders = Orders::from_bits(how.orders.bits() & ((2 << fits) - 1))?;
            let mapped = self.swap_in(at, left, &Swapin { orders, ..*how })?;
            nr_done += mapped.pages().len() as u32;
            done.push(mapped);
        }
        Ok(())
    }

    /// Returns whether a swap-in frees the slots of a folio. `is_new` is true if this swap-in has read the folio. Step
    /// IN7. Kernel: `should_try_to_free_swap`; differs: mlock and write faults do not matter, because there are no page
    /// tables.
    pub(crate) fn should_free_swap(&self, folio: Folio<'_>, entry: SwpEntry, is_new: bool, cpu: CpuId) -> Result<bool> {
        // A folio that another swap-in has read keeps the slots with the word `unshared`, because the slots had more
        // than one reference at that time.
        let may_bypass = is_new || self.switches.sync_swapin == SyncSwapin::Always;
        let is_synchronous = may_bypass && self.on_cpu(cpu)?.is_synchronous(entry)?;
        Ok(is_synchronous || self.mem_cgroup_swap_full(folio))
    }

    /// Unmaps a folio. The folio's memory is freed if no other user holds a reference to the folio. The folio's slots
    /// are freed if they have no references.
    ///
    /// Kernel: `zap_pte_range` with `free_swap_cache`.
    pub fn folio_unmap(&self, mapped: MappedFolio<'_>, cpu: CpuId) -> Result<()> {
        let _active = self.begin_activity();
        let (folio, pages) = mapped.into_parts();
        if folio.has(FolioFlags::SWAPCACHE) {
            folio.set(FolioFlags::WAS_MAPPED);
        }
        folio.remove_handle_mappings(pages);
        self.free_folio_and_swap_cache(&folio, cpu)
    }

    /// Frees the slots of an unmapped folio if the slots have no references. Kernel: `free_folio_and_swap_cache`.
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
