//! A file in memory. The file has no page tables, but an entry for each page index, which names a page in memory or a
//! slot. A swap-in of a file uses the order of the swap-out and frees the slots at once. A swap-in of anonymous
//! memory does neither.

use std::ops::Range;
use std::sync::Arc;

use super::{Found, folio_of, found_folio, read_pages, write_pages};
use crate::base::error::{Result, SwapError};
use crate::base::gfp::{Gfp, thp_limit_gfp_mask};
use crate::base::limits::PAGE_SIZE;
use crate::base::sync::SpinGuard;
use crate::base::types::{CpuId, CssId, Order, SwpEntry, SwpType};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::{OrderEvent, Swap};
use crate::rmap::FileMapping;
pub use crate::rmap::ShmemEntry;
use crate::slots::owner::CacheExit;
use crate::swapping::swapin::{Orders, Swapin};
use crate::table::Shadow;

/// Largest number of pages of a file in memory: 1 TiB. The entries of all pages exist from the start.
pub const FILE_PAGES_MAX: u64 = 1 << 28;

/// The reason of a swap-in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Toucher {
    /// A task touches the page. A read of the slot is a major fault of the task.
    Task,
    /// A swapoff reads the slots of its device. No fault is counted.
    Swapoff,
}

/// A file in memory. Kernel: a `tmpfs` file, `mm/shmem.c`; differs: a file has a fixed size and one lock.
///
/// The group of the task that touches a page first is charged for the page. Reclaim swaps the pages of the file out.
#[derive(Debug)]
pub struct Shmem {
    swap: Arc<Swap>,
    mapping: Arc<FileMapping>,
    /// Order of the folios that a first touch allocates, where they fit.
    order: Order,
}

impl Shmem {
    /// Makes a file of holes. Errors: `OutOfRange` (EINVAL); `NoMemory` (ENOMEM) when the entries find no memory.
    pub fn new(swap: Arc<Swap>, nr_pages: u64, order: Order) -> Result<Self> {
        let high = FILE_PAGES_MAX;
        if nr_pages == 0 || nr_pages > high {
            return Err(SwapError::OutOfRange { what: "pages of a file", value: nr_pages.into(), low: 1, high });
        }
        let mapping = swap.file_mappings.add_file(nr_pages as usize)?;
        Ok(Self { swap, mapping, order })
    }

    /// Locks the entries and returns them.
    fn entries(&self) -> SpinGuard<'_, Box<[ShmemEntry]>> {
        self.mapping.entries.lock()
    }

    /// Returns a snapshot of the entry at an index. Errors: `NotMapped` (EFAULT) beyond the end.
    pub fn entry(&self, index: u64) -> Result<ShmemEntry> {
        self.entries().get(index as usize).copied().ok_or(SwapError::NotMapped(index))
    }

    /// Returns the subsystem.
    pub fn swap(&self) -> &Arc<Swap> {
        &self.swap
    }

    /// Returns the size of the file.
    pub fn size_pages(&self) -> u64 {
        self.entries().len() as u64
    }

    /// Returns the order of the folios that a first touch allocates where they fit.
    pub fn touch_order(&self) -> Order {
        self.order
    }

    /// Returns the number of pages in memory and the number of swapped-out pages.
    pub fn nr_pages(&self) -> (u64, u64) {
        let entries = self.entries();
        let nr_resident = entries.iter().filter(|entry| matches!(entry, ShmemEntry::Page { .. })).count();
        (nr_resident as u64, entries.iter().filter(|entry| entry.swapped().is_some()).count() as u64)
    }

    /// Checks that a byte range lies in the file. Errors: `NotMapped` (EFAULT), which names the first page beyond the
    /// end.
    pub fn check_range(&self, offset_bytes: u64, nr_bytes: u64) -> Result<()> {
        let end = offset_bytes.saturating_add(nr_bytes).div_ceil(PAGE_SIZE as u64);
        let size_pages = self.size_pages();
        if end > size_pages {
            return Err(SwapError::NotMapped(size_pages.max(offset_bytes / PAGE_SIZE as u64)));
        }
        Ok(())
    }

    /// Returns the folio at an index with a reference, and the number of consecutive pages of the folio that the file
    /// has from the index to the end of a range. Returns `None` when no page is in memory at the index.
    pub(super) fn folio_in(&self, index: u64, end: u64) -> Option<(FolioRef<'_>, u64)> {
        let entries = self.entries();
        let ShmemEntry::Page { pfn, page } = *entries.get(index as usize)? else { return None };
        let folio = folio_of(&self.swap, pfn);
        let nr_rest = end.saturating_sub(index) as usize;
        let rest = entries[index as usize..].iter().take(nr_rest);
        let is_next = |&(page, entry): &(u32, &ShmemEntry)| entry.is_page_of(folio.folio(), page);
        let nr_batch = (u32::from(page)..).zip(rest).take_while(is_next).count();
        Some((folio, nr_batch as u64))
    }

    /// Returns the folio at an index with a reference, and the index of the page in the folio. The folio is swapped
    /// in or allocated if necessary.
    ///
    /// `faulting` is the group of the task that touches the page. The group is charged for a new page, and for a page
    /// whose slot has no owner; the owner of a slot is charged for a page that is swapped in. Errors: `NotMapped`
    /// (EFAULT); `NoMemory`, `OverLimit` (ENOMEM); `Cgroup` (ENODEV) when the group `faulting` is removed; `Io` when
    /// the data cannot be read, and the data stays swapped out. Kernel: `shmem_get_folio_gfp`.
    pub fn get_folio(&self, index: u64, faulting: CssId, cpu: CpuId) -> Result<(FolioRef<'_>, u16)> {
        self.get_folio_for(Toucher::Task, index, faulting, cpu)
    }

    fn get_folio_for(&self, toucher: Toucher, index: u64, faulting: CssId, cpu: CpuId) -> Result<(FolioRef<'_>, u16)> {
        loop {
            let swapped = {
                let entries = self.entries();
                match *entries.get(index as usize).ok_or(SwapError::NotMapped(index))? {
                    ShmemEntry::Page { pfn, page } => return Ok((folio_of(&self.swap, pfn), page)),
                    ShmemEntry::Swap { entry, order } => Some((entry, order)),
                    ShmemEntry::None => None,
                }
            };
            let active = self.swap.begin_activity();
            let added = match swapped {
                Some(swapped) => self.swapin(toucher, index, swapped, faulting, cpu),
                None => self.add_zeros(index, faulting, cpu),
            };
            self.swap.end_operation(active);
            added?;
        }
    }

    /// Adds a folio of zeros: of the file's order, or of a smaller order when the larger folio does not fit in the
    /// file or in the free memory. After the charge of a large folio is refused, the function tries a single page.
    /// Kernel: `shmem_alloc_and_add_folio`.
    fn add_zeros(&self, index: u64, faulting: CssId, cpu: CpuId) -> Result<()> {
        let mut order = self.order;
        loop {
            let gfp = match order {
                Order::ZERO => Gfp::HIGHUSER_MOVABLE,
                _ => thp_limit_gfp_mask(Gfp::TRANSHUGE_LIGHT, Gfp::HIGHUSER_MOVABLE),
            };
            let nr_pages = order.nr_pages() as usize;
            let first = index as usize - index as usize % nr_pages;
            let folio = self.swap.folio_zeroed_in(order, faulting, gfp, cpu);
            let mut entries = self.entries();
            if entries[index as usize] != ShmemEntry::None {
                return Ok(());
            }
            if let Err(error) = &folio {
                let events = (OrderEvent::ShmemFallback, OrderEvent::ShmemFallbackCharge);
                self.swap.count_touch_fallback(error, events, order, cpu)?;
            }
            let is_free =
                entries.get(first..first + nr_pages).is_some_and(|range| range.iter().all(|e| *e == ShmemEntry::None));
            order = match folio {
                Ok(folio) if is_free => {
                    self.mapping.fill(&mut entries, first, folio.folio());
                    drop(entries);
                    return self.swap.count_large(OrderEvent::ShmemAlloc, order, cpu);
                }
                Err(error) if order == Order::ZERO => return Err(error),
                Err(error) if !matches!(error, SwapError::NoMemory(_)) => Order::ZERO,
                _ => Order::new(order.get().saturating_sub(1)).expect("smaller"),
            };
        }
    }

    /// Swaps in the folio of an index. Kernel: `shmem_swapin_folio`.
    fn swapin(
        &self,
        toucher: Toucher,
        index: u64,
        (entry, order): (SwpEntry, Order),
        faulting: CssId,
        cpu: CpuId,
    ) -> Result<()> {
        let found = self.find_or_read(entry, order, faulting, cpu);
        let is_unchanged = || self.entry(index) == Ok(ShmemEntry::Swap { entry, order });
        let Some((folio, is_new)) = found_folio(found, is_unchanged)? else { return Ok(()) };
        if is_new && toucher == Toucher::Task {
            self.swap.count_major_fault(faulting, cpu)?;
        }
        let locked = self.swap.lock_written(folio.folio(), cpu)?;
        if !folio.covers(entry) || !is_unchanged() {
            // Another thread has changed the entry or the slots of the folio. If no slot of the folio has references,
            // the slots are freed here. Kernel: reclaim frees such slots later.
            self.swap.on_cpu(cpu)?.free_swap_locked(&locked)?;
            return Ok(());
        }
        if !locked.has(FolioFlags::UPTODATE) {
            drop(locked);
            return self.swap.drop_unread(&folio, cpu);
        }
        self.add_to_mapping(index, entry, &locked, cpu)
    }

    fn find_or_read(&self, entry: SwpEntry, order: Order, faulting: CssId, cpu: CpuId) -> Result<Option<Found<'_>>> {
        if let Some(folio) = self.swap.swap_cache_get_folio(entry, cpu)? {
            return Ok(Some((folio, false)));
        }
        let orders = self.swap.orders_beside_zswap(Orders::one(order));
        let how = Swapin { faulting, ..Swapin::new(cpu, orders) };
        let is_synchronous = self.swap.on_cpu(cpu)?.is_synchronous(entry)?;
        match is_synchronous {
            true => self.swap.swapin_folio_or_none(entry, &how),
            false => self.swap.swap_cluster_readahead(entry, &how),
        }
    }

    /// Replaces the swap entries of a locked folio by the pages of the folio, and frees the slots. If the folio is
    /// smaller than the swapped-out range, the rest of the range stays swapped out, and the entries of the rest get
    /// the folio's order. Kernel: `shmem_add_to_page_cache`, `shmem_split_large_entry`.
    fn add_to_mapping<'s>(&'s self, index: u64, entry: SwpEntry, locked: &LockedFolio<'s>, cpu: CpuId) -> Result<()> {
        let first_slot = locked.entry().expect("covers the slot");
        let page = entry.offset().0 - first_slot.offset().0;
        let nr_pages = locked.nr_pages();
        let mut entries = self.entries();
        let start = (index as usize).checked_sub(page as usize);
        let range = start.map(|start| start..start + nr_pages as usize).filter(|range| range.end <= entries.len());
        let is_at = |(i, e): (u32, &ShmemEntry)| match *e {
            ShmemEntry::Swap { entry, .. } => entry == first_slot.plus(i),
            _ => false,
        };
        let Some(range) = range.filter(|range| (0..).zip(&entries[range.clone()]).all(is_at)) else {
            drop(entries);
            // The entries of the range have changed since the read of the folio, so the file cannot use the folio.
            let removed = self.swap.on_cpu(cpu)?.del_locked(locked, CacheExit::Dropped(Shadow::default()));
            return match removed {
                // A dirty folio is the only copy of the folio's data, so the folio cannot be dropped. After the split
                // the file takes the pages one by one.
                Err(SwapError::DirtyFolio(_)) => self.split_cached(locked, cpu),
                removed => removed,
            };
        };
        split_entries(&mut entries, range.clone(), locked.order());
        self.mapping.fill(&mut entries, range.start, locked.folio());
        drop(entries);
        let mut on_cpu = self.swap.on_cpu(cpu)?;
        on_cpu.put_locked_folio(locked, 0..nr_pages)?;
        // The cache may drop even a dirty folio here, because no slot of the folio has a reference.
        on_cpu.del_locked(locked, CacheExit::Dropped(Shadow::default()))?;
        locked.set(FolioFlags::DIRTY);
        Ok(())
    }

    /// Splits a locked cached folio that is not mapped, so that the next lookup finds a single page. The split fails
    /// while another user holds a reference to the folio, and the caller then retries.
    fn split_cached<'s>(&'s self, locked: &LockedFolio<'s>, cpu: CpuId) -> Result<()> {
        let Ok(parts) = self.swap.split_folio(locked, cpu) else {
            std::thread::yield_now();
            return Ok(());
        };
        let mut parts = parts.into_iter();
        // `into_raw` forgets the first of the single pages without a drop of its reference, because the caller
        // already owns this reference.
        parts.next().expect("a folio has a page").into_raw();
        // The slots of the other single pages are freed if they have no references, because the file does not name
        // these slots any more.
        parts.try_for_each(|part| self.swap.free_folio_and_swap_cache(&part, cpu))?;
        self.swap.on_cpu(cpu)?.free_swap_locked(locked).map(|_| ())
    }

    /// Copies bytes out of the file. Errors: as [`Shmem::get_folio`].
    pub fn read(&self, offset_bytes: u64, to: &mut [u8], faulting: CssId, cpu: CpuId) -> Result<()> {
        read_pages(offset_bytes, to, |index| self.get_folio(index, faulting, cpu))
    }

    /// Copies bytes into the file. Errors: as [`Shmem::get_folio`].
    pub fn write(&self, offset_bytes: u64, from: &[u8], faulting: CssId, cpu: CpuId) -> Result<()> {
        write_pages(offset_bytes, from, |index| self.get_folio(index, faulting, cpu))
    }

    /// Swaps out the whole folio of an index. Errors, with the data kept: `NotMapped` (EFAULT); the errors of
    /// [`Swap::swap_out`].
    ///
    /// A page that is not resident is skipped. Kernel: `shmem_writeout`.
    pub fn writeout(&self, index: u64, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        let folio = {
            let entries = self.entries();
            match *entries.get(index as usize).ok_or(SwapError::NotMapped(index))? {
                ShmemEntry::Page { pfn, .. } => folio_of(&self.swap, pfn),
                _ => return Ok(()),
            }
        };
        let locked = folio.folio().try_lock().ok_or_else(|| folio.busy())?;
        if folio.has(FolioFlags::WRITEBACK) {
            return Err(folio.busy());
        }
        if !locked.has(FolioFlags::SWAPCACHE) {
            self.swap.add_to_swap(&locked, None, cpu)?;
        }
        self.swap.try_to_unmap(&locked, cpu)?;
        if locked.is_mapped() {
            return Err(folio.busy());
        }
        match self.swap.pageout(locked, self.swap.refault_level(None), cpu) {
            (None, _) => {
                folio.into_raw();
                Ok(())
            }
            // The write is queued.
            (Some(_), Ok(())) => Ok(()),
            // The folio stays in the swap cache, where the next lookup finds it.
            (Some(locked), result) => Err(result.err().unwrap_or_else(|| locked.busy())),
        }
    }

    /// Reads the swapped-out pages of a range into the swap cache, as single pages, for a task of the group `faulting`.
    /// Returns the number of pages that were read. A page that cannot be read is skipped.
    ///
    /// Errors: `NotMapped` (EFAULT), with the pages before the error read; `BadCpu` (EINVAL). Kernel:
    /// `force_shm_swapin_readahead`; differs: the reads are over when the call returns.
    pub fn willneed(&self, range: Range<u64>, faulting: CssId, cpu: CpuId) -> Result<u64> {
        let active = self.swap.begin_activity();
        // An unknown CPU causes an error here, because the loop below ignores a failed read.
        drop(self.swap.on_cpu(cpu)?);
        let mut nr_read_pages = 0;
        for index in range {
            if let Some((entry, _)) = self.entry(index)?.swapped() {
                nr_read_pages += self.swap.read_swap_cache_async(entry, faulting, cpu);
            }
        }
        self.swap.end_operation(active);
        Ok(nr_read_pages)
    }

    /// Swaps in every page whose slot is on the device `ty`, for a swapoff by a task of the group `faulting`. No faults
    /// are counted. Errors: as [`Shmem::get_folio`]. Kernel: `shmem_unuse`.
    pub fn unuse(&self, ty: SwpType, faulting: CssId, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        for index in 0..self.size_pages() {
            while self.entry(index)?.swapped().is_some_and(|(entry, _)| entry.ty() == ty) {
                self.get_folio_for(Toucher::Swapoff, index, faulting, cpu)?;
            }
        }
        Ok(())
    }

    /// Turns the pages of a range into holes. Errors: `NotMapped` (EFAULT). Kernel: `shmem_undo_range`; differs: a
    /// large entry or folio that lies partly in the range is split.
    pub fn truncate(&self, range: Range<u64>, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        let taken: Vec<ShmemEntry> = {
            let mut entries = self.entries();
            let end = entries.len() as u64;
            if range.start > range.end || range.end > end {
                return Err(SwapError::NotMapped(range.end));
            }
            let range = range.start as usize..range.end as usize;
            split_entries(&mut entries, range.clone(), Order::ZERO);
            entries[range].iter_mut().map(std::mem::take).collect()
        };
        for taken in taken {
            match taken {
                ShmemEntry::None => {}
                ShmemEntry::Page { pfn, page } => {
                    let folio = folio_of(&self.swap, pfn);
                    folio.remove_mappings(page.into()..u32::from(page) + 1);
                    self.swap.free_folio_and_swap_cache(&folio, cpu)?;
                }
                ShmemEntry::Swap { entry, .. } => self.swap.put(entry, 1, cpu)?,
            }
        }
        Ok(())
    }
}

impl Drop for Shmem {
    fn drop(&mut self) {
        let end = self.entries().len() as u64;
        // The error `NoDevice` is ignored, because a device that is off has no slots to free.
        let _ = self.truncate(0..end, CpuId(0));
    }
}

/// Lowers the order of the entries that overlap a range to at most `order`, so that the range can be cut out of
/// larger entries.
fn split_entries(entries: &mut [ShmemEntry], range: Range<usize>, order: Order) {
    let largest = entries[range.clone()].iter().map(|entry| match entry {
        ShmemEntry::Swap { order, .. } => *order,
        _ => Order::ZERO,
    });
    let nr_large = largest.max().unwrap_or(Order::ZERO).nr_pages() as usize;
    let first = range.start - range.start % nr_large;
    let end = range.end.next_multiple_of(nr_large).min(entries.len());
    for entry in &mut entries[first..end] {
        if let ShmemEntry::Swap { order: large, .. } = entry {
            *large = (*large).min(order);
        }
    }
}
