//! The swap cache, in the form the allocator needs: folios get slots, lose them, and count references to them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cluster::ClusterGuard;
use crate::device::SwapDevice;
use crate::error::{Result, SwapError};
use crate::folio::Folio;
use crate::swap::{Cx, OnCpu};
use crate::table::{EntryKind, Shadow, SwapTableEntry};
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
    /// Errors: `AlreadyCached` (EEXIST) the first slot is cached; `NotInUse` (ENOENT) it is free; `NotUniform` (EBUSY)
    /// another slot is unsuitable; `BadRange` (EINVAL) misaligned or beyond the device; `FolioCached` (EINVAL) the folio
    /// has slots already; `FolioBusy` (EBUSY). Kernel: `swap_cache_add_folio`; differs: owners are not compared yet.
    pub fn swap_cache_add_folio(&mut self, folio: &Arc<Folio>, entry: SwpEntry) -> Result<()> {
        let cx = self.cx();
        let (device, offset) = cx.resolve(entry, folio.nr_pages())?;
        if offset.0 % folio.nr_pages() != 0 {
            return Err(SwapError::BadRange { entry, nr_pages: folio.nr_pages(), max_pages: device.max_pages() });
        }
        let _locked = LockedFolio::try_lock(folio)?;
        if let Some(owned) = folio.entry() {
            return Err(SwapError::FolioCached(owned));
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
        drop(ci);
        self.finish();
        Ok(())
    }

    /// Frees the slots of a cached folio and dirties it, unless a slot has references or it is under writeback.
    ///
    /// Returns whether it did. Errors: `FolioBusy` (EBUSY) locked; `ForeignFolio` (EINVAL). Kernel: `folio_free_swap`.
    pub fn folio_free_swap(&mut self, folio: &Folio) -> Result<bool> {
        let mut cx = self.cx();
        let _locked = LockedFolio::try_lock(folio)?;
        let (device, offset) = match cx.folio_slots(folio) {
            Ok(slots) => slots,
            Err(SwapError::NotCached) => return Ok(false),
            Err(error) => return Err(error),
        };
        let is_freed = !folio.writeback.load(Ordering::Relaxed) && cx.del_unreferenced(device, offset, folio);
        self.finish();
        Ok(is_freed)
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
