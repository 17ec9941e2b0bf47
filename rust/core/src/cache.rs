//! The swap cache, in the form the allocator needs: folios that own slots, and how they let go of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cluster::ClusterGuard;
use crate::device::SwapDevice;
use crate::error::{Result, SwapError};
use crate::folio::Folio;
use crate::swap::{Cx, OnCpu};
use crate::table::{DupStep, EntryKind, PutStep, Shadow, SwapTableEntry};
use crate::types::{SwpEntry, SwpOffset};

/// The folio lock, freed on drop.
struct LockedFolio<'a>(&'a Folio);

impl<'a> LockedFolio<'a> {
    fn try_lock(folio: &'a Folio) -> Result<Self> {
        let busy = || SwapError::FolioBusy(folio.entry().unwrap_or(SwpEntry::NONE));
        folio.try_lock().then(|| Self(folio)).ok_or_else(busy)
    }
}

impl Drop for LockedFolio<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

impl<'a> Cx<'a> {
    /// Returns the slots of a cached folio. Called with the folio locked. Errors: `NotCached` (EINVAL).
    pub(crate) fn folio_slots(&self, folio: &Folio) -> Result<(&'a SwapDevice, SwpOffset)> {
        let entry = folio.entry().ok_or(SwapError::NotCached)?;
        self.resolve(entry, folio.nr_pages())
    }

    /// Takes a locked folio out of the cache and frees its slots without references. Kernel: `__swap_cache_del_folio`.
    ///
    /// `ci` is the locked cluster of its slots. All counts 0: one free; some: one by one, ascending.
    pub(crate) fn del_folio(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, folio: &Folio, shadow: Shadow) {
        let entry = folio.entry().expect("the caller checked that the folio is cached");
        let (slot, nr) = (entry.offset().in_cluster(), folio.nr_pages());
        let table = ci.table().expect("cached slots have a table");
        let mut nr_unused = 0;
        for slot in slot..slot + nr as usize {
            let word = table.get(slot).to_swapped_out(shadow).expect("a cached folio's slots hold it");
            nr_unused += u32::from(word.count() == Some(0));
            table.set(slot, word);
        }
        folio.set_entry(SwpEntry::NONE);
        if nr_unused == nr {
            self.free_entries(device, ci, table, slot, nr);
        } else if nr_unused > 0 {
            for slot in slot..slot + nr as usize {
                if table.get(slot).count() == Some(0) {
                    self.free_entries(device, ci, table, slot, 1);
                }
            }
        }
        self.swap.folios.remove(folio);
    }

    /// Removes a locked folio if no slot of it has a reference; says whether it did.
    pub(crate) fn del_unreferenced(&mut self, device: &SwapDevice, offset: SwpOffset, folio: &Folio) -> bool {
        let mut ci = device.clusters.lock(offset.cluster());
        let table = ci.table().expect("cached slots have a table");
        let slots = offset.in_cluster()..offset.in_cluster() + folio.nr_pages() as usize;
        if !slots.into_iter().all(|slot| table.get(slot).is_cache_only()) {
            return false;
        }
        self.del_folio(device, &mut ci, folio, Shadow::default());
        // Relaxed: the folio is locked.
        folio.dirty.store(true, Ordering::Relaxed);
        true
    }

    /// Adds one reference to a slot. `ci` is locked and the entry has a count. Errors: `CountOverflow` (EOVERFLOW).
    pub(crate) fn dup_slot(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, slot: usize) -> Result<()> {
        let table = ci.table().expect("a slot in use has a table");
        match table.get(slot).dup().expect("the caller checked the kind") {
            DupStep::Inline(entry) => table.set(slot, entry),
            DupStep::Overflow(entry) => {
                ci.extend().start(ci.idx(), slot);
                table.set(slot, entry);
            }
            DupStep::Extended => {
                if !ci.extend().add(ci.idx(), slot) {
                    let offset = SwpOffset(ci.idx().base().0 + slot as u32);
                    return Err(SwapError::CountOverflow(device.entry_at(offset)));
                }
            }
        }
        Ok(())
    }

    /// Takes one reference from a slot that has one; frees nothing. `ci` is locked.
    pub(crate) fn put_slot(&self, ci: &ClusterGuard<'_>, slot: usize) {
        let table = ci.table().expect("a slot in use has a table");
        let entry = table.get(slot);
        match entry.put().expect("the caller checked the count") {
            PutStep::Inline(entry) => table.set(slot, entry),
            PutStep::Extended => {
                if ci.extend().sub(ci.idx(), slot) {
                    table.set(slot, entry.back_inline());
                }
            }
        }
    }
}

impl OnCpu<'_> {
    /// Adds one reference to every slot of a cached folio, or to that of one page.
    ///
    /// Errors: `NotCached`, `BadPage` (EINVAL); `FolioBusy` (EBUSY); `CountOverflow` (EOVERFLOW), and nothing changed.
    /// Kernel: `folio_dup_swap`; differs: it takes the folio lock itself. Only this may take a count from 0 to 1.
    pub fn folio_dup_swap(&mut self, folio: &Folio, page: Option<u32>) -> Result<()> {
        let cx = self.cx();
        let _locked = LockedFolio::try_lock(folio)?;
        let (device, offset, slots) = folio_pages(&cx, folio, page)?;
        let ci = device.clusters.lock(offset.cluster());
        for slot in slots.clone() {
            if let Err(error) = cx.dup_slot(device, &ci, slot) {
                slots.take_while(|&done| done < slot).for_each(|done| cx.put_slot(&ci, done));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes one reference from every slot of a cached folio, or from that of one page; frees nothing.
    ///
    /// Errors: `NotCached`, `BadPage` (EINVAL); `FolioBusy` (EBUSY); `NotInUse` (ENOENT) a count is 0, nothing changed.
    /// Kernel: `folio_put_swap`; differs: it takes the folio lock itself.
    pub fn folio_put_swap(&mut self, folio: &Folio, page: Option<u32>) -> Result<()> {
        let cx = self.cx();
        let _locked = LockedFolio::try_lock(folio)?;
        let (device, offset, slots) = folio_pages(&cx, folio, page)?;
        let ci = device.clusters.lock(offset.cluster());
        let table = ci.table().expect("cached slots have a table");
        if let Some(slot) = slots.clone().find(|&slot| table.get(slot).is_cache_only()) {
            return Err(SwapError::NotInUse(device.entry_at(SwpOffset(ci.idx().base().0 + slot as u32))));
        }
        slots.for_each(|slot| cx.put_slot(&ci, slot));
        Ok(())
    }

    /// Puts an uncached folio over swapped-out slots, as a swap-in does.
    ///
    /// Errors: `AlreadyCached` (EEXIST) the folio or the first slot; `NotInUse` (ENOENT) the first slot is free;
    /// `NotUniform` (EBUSY) another slot is unsuitable; `BadRange` (EINVAL) misaligned or beyond the device;
    /// `FolioBusy` (EBUSY). Kernel: `swap_cache_add_folio`; differs: owners are not compared yet.
    pub fn swap_cache_add_folio(&mut self, folio: &Arc<Folio>, entry: SwpEntry) -> Result<()> {
        let cx = self.cx();
        let (device, offset) = cx.resolve(entry, folio.nr_pages())?;
        if offset.0 % folio.nr_pages() != 0 {
            return Err(SwapError::BadRange { entry, nr_pages: folio.nr_pages(), max_pages: device.max_pages() });
        }
        let _locked = LockedFolio::try_lock(folio)?;
        if let Some(owned) = folio.entry() {
            return Err(SwapError::AlreadyCached(owned));
        }
        let ci = device.clusters.lock(offset.cluster());
        let words = cacheable_words(device, &ci, offset, folio.nr_pages())?;
        let pfn = cx.swap.folios.insert(folio);
        let table = ci.table().expect("slots in use have a table");
        for (slot, word) in (offset.in_cluster()..).zip(words) {
            table.set(slot, word.to_cached(pfn).expect("checked to be swapped out"));
        }
        folio.set_entry(entry);
        Ok(())
    }

    /// Takes a folio out of the cache, leaving `shadow`; slots without references are freed.
    ///
    /// Errors: `NotCached` (EINVAL), `FolioBusy` (EBUSY) locked or under writeback. Kernel: `swap_cache_del_folio`.
    pub fn swap_cache_del_folio(&mut self, folio: &Folio, shadow: Shadow) -> Result<()> {
        let mut cx = self.cx();
        let _locked = LockedFolio::try_lock(folio)?;
        let (device, offset) = cx.folio_slots(folio)?;
        if folio.writeback.load(Ordering::Relaxed) {
            return Err(SwapError::FolioBusy(device.entry_at(offset)));
        }
        let mut ci = device.clusters.lock(offset.cluster());
        cx.del_folio(device, &mut ci, folio, shadow);
        Ok(())
    }

    /// Frees the slots of a cached folio and dirties it, unless a slot has references or it is under writeback.
    ///
    /// Returns whether it did. Errors: `FolioBusy` (EBUSY) locked. Kernel: `folio_free_swap`.
    pub fn folio_free_swap(&mut self, folio: &Folio) -> Result<bool> {
        let mut cx = self.cx();
        let _locked = LockedFolio::try_lock(folio)?;
        let Ok((device, offset)) = cx.folio_slots(folio) else { return Ok(false) };
        Ok(!folio.writeback.load(Ordering::Relaxed) && cx.del_unreferenced(device, offset, folio))
    }

    /// Returns the folio that caches a slot. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    ///
    /// Kernel: `swap_cache_get_folio`.
    pub fn folio_at(&mut self, entry: SwpEntry) -> Result<Option<Arc<Folio>>> {
        let cx = self.cx();
        let (device, offset) = cx.resolve(entry, 1)?;
        let folio = device.get(offset).pfn().and_then(|pfn| cx.swap.folios.get(pfn));
        Ok(folio.filter(|folio| folio.covers(entry)))
    }
}

/// Returns the device, the first slot, and the slot indexes of all pages or of one. Called with the folio locked.
fn folio_pages<'a>(
    cx: &Cx<'a>,
    folio: &Folio,
    page: Option<u32>,
) -> Result<(&'a SwapDevice, SwpOffset, std::ops::Range<usize>)> {
    let (device, offset) = cx.folio_slots(folio)?;
    let (first, nr_pages) = (offset.in_cluster(), folio.nr_pages());
    match page {
        None => Ok((device, offset, first..first + nr_pages as usize)),
        Some(page) if page < nr_pages => Ok((device, offset, first + page as usize..first + page as usize + 1)),
        Some(page) => Err(SwapError::BadPage { page, nr_pages }),
    }
}

/// Returns the entries of a range that may be cached together. Kernel: `swap_cache_check_batch`.
fn cacheable_words(
    device: &SwapDevice,
    ci: &ClusterGuard<'_>,
    offset: SwpOffset,
    nr_pages: u32,
) -> Result<Vec<SwapTableEntry>> {
    let entry = device.entry_at(offset);
    let table = ci.table().ok_or(SwapError::NotInUse(entry))?;
    let first = table.get(offset.in_cluster());
    match first.kind() {
        EntryKind::Pfn => return Err(SwapError::AlreadyCached(entry)),
        EntryKind::Bad => return Err(SwapError::BadSlot(entry)),
        EntryKind::Shadow if first.count() != Some(0) => {}
        _ => return Err(SwapError::NotInUse(entry)),
    }
    let words: Vec<_> = (0..nr_pages as usize).map(|i| table.get(offset.in_cluster() + i)).collect();
    let is_alike = |word: &SwapTableEntry| {
        word.kind() == EntryKind::Shadow && word.count() != Some(0) && word.is_zero() == first.is_zero()
    };
    match words.iter().position(|word| !is_alike(word)) {
        Some(at) => Err(SwapError::NotUniform(entry.plus(at as u32))),
        None => Ok(words),
    }
}
