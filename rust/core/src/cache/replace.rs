//! Replacement of one cached folio by other folios: split and migration. The counts, zero marks and owners of the
//! slots do not change.

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio, MappedFolio, Part};
use crate::machine::{OnCpu, OrderEvent, Swap};
use crate::table::SwapTable;

/// Returns the number of references that a folio has when its only references are those of its `nr_mapped` mappings,
/// of the cache, and of one other user.
fn expected_refs(folio: Folio<'_>, nr_mapped: u32) -> u32 {
    let nr_cached = if folio.has(FolioFlags::SWAPCACHE) { folio.nr_pages() } else { 0 };
    1 + nr_mapped + nr_cached
}

/// Replaces the frozen folio `old` by `new` in the table entries of the slots from `first` on, one slot per page of
/// `new`. `new` is another folio, or a part of the old folio after a split. Reference counts and zero marks do not
/// change. `table` is the table of these slots, and the caller holds the lock of their cluster. Kernel:
/// `__swap_cache_replace_folio`.
fn swap_cache_replace_folio(table: &SwapTable, old: Folio<'_>, new: Folio<'_>, first: SwpEntry) {
    let slot = first.offset().in_cluster();
    for slot in slot..slot + new.nr_pages() as usize {
        let word = table.get(slot);
        debug_assert_eq!(word.pfn(), Some(old.pfn()), "the slots hold the old folio");
        table.set(slot, word.with_pfn(new.pfn()).expect("cached"));
    }
    new.set_entry(first);
    new.set(FolioFlags::SWAPCACHE);
}

impl<'a> OnCpu<'a> {
    /// Splits a locked folio into folios of `order` and gives the caller one reference to each of these folios. The
    /// first of these folios stays locked.
    ///
    /// `nr_mapped` returns the number of mappings of a given range of the folio's pages. The caller owns all these
    /// mappings. Errors: `FolioPinned` (EBUSY) when another user holds a reference; `FolioBusy` (EBUSY) when the
    /// folio is under writeback. Kernel: `__folio_split`; differs: the pages stay mapped during the split.
    pub(crate) fn split_locked(
        &mut self,
        locked: &LockedFolio<'a>,
        order: Order,
        nr_mapped: impl Fn(Range<u32>) -> u32,
    ) -> Result<Vec<FolioRef<'a>>> {
        let folio = locked.folio();
        if folio.has(FolioFlags::WRITEBACK) {
            return Err(folio.busy());
        }
        let op = self.operation();
        let at = folio.entry().map(|_| op.lock_folio_slots(folio)).transpose()?;
        let expected = expected_refs(folio, nr_mapped(0..folio.nr_pages()));
        if !folio.freeze(expected) {
            return Err(SwapError::FolioPinned { refs: folio.refs(), expected });
        }
        if let Some(groups) = op.swap.memcg() {
            folio.split_charge(groups, folio.nr_pages() / order.nr_pages());
        }
        let (first, nr_pages, nr_part) = (folio.entry(), folio.nr_pages(), order.nr_pages());
        let starts = (0..nr_pages).step_by(nr_part as usize);
        // The loop starts with the last part, so that the folio is shrunk last. Until then, the table entries that
        // are not yet replaced name the whole folio by the frame number of its head page, which belongs to the first
        // part.
        for page in starts.clone().rev() {
            let part = folio.at(page);
            let mapcount = nr_mapped(page..page + nr_part);
            if page > 0 {
                folio.make_part(part, Part { order, mapcount });
            } else {
                folio.shrink(Part { order, mapcount });
            }
            if let (Some(at), Some(first)) = (&at, first) {
                swap_cache_replace_folio(at.table, folio, part, first.plus(page));
            }
        }
        drop(at);
        folio.lru_add_parts(starts.clone().skip(1).map(|page| folio.at(page)));
        starts.clone().for_each(|page| {
            let part = folio.at(page);
            let nr_mapped = part.mapcount();
            part.unfreeze(expected_refs(part, nr_mapped));
        });
        Ok(starts.map(|page| FolioRef::adopt(folio.at(page))).collect())
    }
}

impl Swap {
    /// Splits a mapped folio into folios of the smaller order `order`. The new folios stay mapped and cached.
    ///
    /// Errors, with the folio given back: `OutOfRange` (EINVAL) when the order is not smaller; `FolioPinned`,
    /// `FolioBusy` (EBUSY). Kernel: `split_folio_to_order`.
    pub fn folio_split<'s>(
        &'s self,
        mapped: MappedFolio<'s>,
        order: Order,
        cpu: CpuId,
    ) -> std::result::Result<Vec<MappedFolio<'s>>, (MappedFolio<'s>, SwapError)> {
        let _active = self.begin_activity();
        let (folio, pages) = mapped.into_parts();
        match self.split_parts(&folio, pages.clone(), order, cpu) {
            Ok(parts) => {
                // The first of the new folios now owns the reference that `folio` held.
                folio.into_raw();
                let nr_part = order.nr_pages();
                let part_of = |(i, part)| {
                    let first = i as u32 * nr_part;
                    let within = |page: u32| page.clamp(first, first + nr_part) - first;
                    MappedFolio::from_parts(part, within(pages.start)..within(pages.end))
                };
                Ok(parts.into_iter().enumerate().map(part_of).collect())
            }
            Err(error) => Err((MappedFolio::from_parts(folio, pages), error)),
        }
    }

    fn split_parts<'s>(
        &'s self,
        folio: &FolioRef<'s>,
        pages: Range<u32>,
        order: Order,
        cpu: CpuId,
    ) -> Result<Vec<FolioRef<'s>>> {
        crate::folio::check_home(folio.folio(), self.memory_of_folios())?;
        if order >= folio.order() {
            let (what, high) = ("order after the split", u64::from(folio.order().get()).saturating_sub(1));
            return Err(SwapError::OutOfRange { what, value: order.get().into(), low: 0, high });
        }
        let nr_mapped =
            |part: Range<u32>| pages.end.clamp(part.start, part.end) - pages.start.clamp(part.start, part.end);
        let old_order = folio.order();
        let locked = folio.folio().lock_for_io();
        let split = locked.and_then(|locked| self.on_cpu(cpu)?.split_locked(&locked, order, nr_mapped));
        self.count_split(old_order, split, cpu)
    }

    /// Counts a split of a folio of `order` as a success or a failure, and returns the result of the split. Errors:
    /// `BadCpu` (EINVAL); the error of the split.
    pub(crate) fn count_split<T>(&self, order: Order, split: Result<T>, cpu: CpuId) -> Result<T> {
        let event = if split.is_ok() { OrderEvent::Split } else { OrderEvent::SplitFailed };
        self.on_cpu(cpu)?.counters().count_order(event, order);
        split
    }
}

impl OnCpu<'_> {
    /// Replaces the locked folio `old` by the new locked folio `new` in the cache, and moves the mappings to `new`.
    /// The old folio stays frozen. `mapped` is the range of mapped pages.
    pub(crate) fn migrate_locked(
        &mut self,
        old: &LockedFolio<'_>,
        new: &LockedFolio<'_>,
        mapped: Range<u32>,
    ) -> Result<()> {
        let op = self.operation();
        let expected = expected_refs(old.folio(), mapped.len() as u32);
        let at = old.entry().map(|_| op.lock_folio_slots(old.folio())).transpose()?;
        if !old.freeze(expected) {
            return Err(SwapError::FolioPinned { refs: old.refs(), expected });
        }
        new.take_over(old.folio());
        if let (Some(at), Some(first)) = (at, old.entry()) {
            new.add_refs(new.nr_pages());
            swap_cache_replace_folio(at.table, old.folio(), new.folio(), first);
            drop(at);
            old.leave_cache();
        }
        old.forget_mappings();
        new.add_mappings(mapped.len() as u32);
        Ok(())
    }
}
