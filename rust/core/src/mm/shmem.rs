//! A file in memory. The file has no page tables, but an entry for each page index, which names a page in memory or a
//! slot. A swap-in of a file uses the order of the swap-out and frees the slots at once. A swap-in of anonymous
//! memory does neither.

use std::ops::Range;
use std::sync::Arc;

use super::{Found, folio_of, found_folio, read_pages, write_pages};
use crate::base::error::{Result, SwapError};
use crate::base::sync::SpinMutex;
use crate::base::types::{CpuId, CssId, Order, Pfn, SwpEntry};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::Swap;
use crate::slots::owner::CacheExit;
use crate::swapping::swapin::{Orders, Swapin};
use crate::table::Shadow;

/// The content of the file at an index. Kernel: a value of the mapping's XArray; differs: a large entry is stored at
/// each of its indices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShmemEntry {
    /// A hole, which reads as zeros.
    #[default]
    None,
    /// A page of a folio in memory.
    Page {
        /// The folio's first page.
        pfn: Pfn,
        /// Index of the page in the folio.
        page: u16,
    },
    /// A page that was swapped out with the other pages of an aligned range.
    Swap {
        /// The slot of this page.
        entry: SwpEntry,
        /// Order of the aligned range that was swapped out together.
        order: Order,
    },
}

/// A file in memory. Kernel: a `tmpfs` file, `mm/shmem.c`; differs: a file has a fixed size and one lock.
#[derive(Debug)]
pub struct Shmem {
    swap: Arc<Swap>,
    /// The entry of each page index. A thread takes locks in the order folio lock, lock of `entries`, local lock of a
    /// CPU. Kernel: `i_pages`.
    entries: SpinMutex<Box<[ShmemEntry]>>,
    /// Order of the folio that the first touch of a page allocates. The order is smaller where such a folio does not
    /// fit.
    order: Order,
}

impl Shmem {
    /// Makes a file of holes. Errors: `OutOfRange` (EINVAL).
    pub fn new(swap: Arc<Swap>, nr_pages: u64, order: Order) -> Result<Self> {
        let high = 1 << 32;
        if nr_pages == 0 || nr_pages > high {
            return Err(SwapError::OutOfRange { what: "pages of a file", value: nr_pages.into(), low: 1, high });
        }
        let entries = vec![ShmemEntry::None; nr_pages as usize].into_boxed_slice();
        Ok(Self { swap, entries: SpinMutex::new(entries), order })
    }

    /// Returns a snapshot of the entry at an index. Errors: `NotMapped` (EFAULT) beyond the end.
    pub fn entry(&self, index: u64) -> Result<ShmemEntry> {
        self.entries.lock().get(index as usize).copied().ok_or(SwapError::NotMapped(index))
    }

    /// Returns the folio at an index with a reference, and the index of the page in the folio. The folio is swapped
    /// in or allocated if necessary.
    ///
    /// Errors: `NotMapped` (EFAULT); `NoMemory` (ENOMEM); `Io` when the data cannot be read, in which case the data
    /// stays swapped out. Kernel: `shmem_get_folio_gfp`.
    pub fn get_folio(&self, index: u64, cpu: CpuId) -> Result<(FolioRef<'_>, u16)> {
        let _active = self.swap.begin_activity();
        loop {
            let swapped = {
                let entries = self.entries.lock();
                match *entries.get(index as usize).ok_or(SwapError::NotMapped(index))? {
                    ShmemEntry::Page { pfn, page } => return Ok((folio_of(&self.swap, pfn), page)),
                    ShmemEntry::Swap { entry, order } => Some((entry, order)),
                    ShmemEntry::None => None,
                }
            };
            match swapped {
                Some((entry, order)) => self.swapin(index, entry, order, cpu)?,
                None => self.add_zeros(index)?,
            }
        }
    }

    fn add_zeros(&self, index: u64) -> Result<()> {
        let mut order = self.order;
        loop {
            let nr_pages = order.nr_pages() as usize;
            let first = index as usize - index as usize % nr_pages;
            let folio = self.swap.folio_zeroed(order);
            let mut entries = self.entries.lock();
            if entries[index as usize] != ShmemEntry::None {
                return Ok(());
            }
            let range = entries.get_mut(first..first + nr_pages);
            match (folio, range.filter(|range| range.iter().all(|e| *e == ShmemEntry::None))) {
                (Ok(folio), Some(range)) => {
                    fill(range, &folio);
                    return Ok(());
                }
                (Err(error), _) if order == Order::ZERO => return Err(error),
                _ => order = Order::new(order.get().saturating_sub(1)).expect("smaller"),
            }
        }
    }

    /// Swaps in the folio of an index. Kernel: `shmem_swapin_folio`.
    fn swapin(&self, index: u64, entry: SwpEntry, order: Order, cpu: CpuId) -> Result<()> {
        let found = self.find_or_read(entry, order, cpu);
        let is_unchanged = || self.entry(index) == Ok(ShmemEntry::Swap { entry, order });
        let found = found_folio(&self.swap, found, is_unchanged, CssId::ROOT, cpu)?;
        let Some((folio, _)) = found else { return Ok(()) };
        let locked = folio.folio().lock_for_io()?;
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

    fn find_or_read(&self, entry: SwpEntry, order: Order, cpu: CpuId) -> Result<Option<Found<'_>>> {
        if let Some(folio) = self.swap.swap_cache_get_folio(entry, cpu)? {
            return Ok(Some((folio, false)));
        }
        let how = Swapin::new(cpu, Orders::one(order));
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
        let mut entries = self.entries.lock();
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
        fill(&mut entries[range], locked);
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
        // `into_raw` forgets the first part without dropping the part's reference, because the caller already owns
        // this reference.
        parts.next().expect("a folio has a page").into_raw();
        // The slots of these parts are freed if the slots have no references, because the file no longer names the
        // slots.
        parts.try_for_each(|part| self.swap.free_folio_and_swap_cache(&part, cpu))?;
        self.swap.on_cpu(cpu)?.free_swap_locked(locked).map(|_| ())
    }

    /// Copies bytes out of the file. Errors: as [`Shmem::get_folio`].
    pub fn read(&self, offset_bytes: u64, to: &mut [u8], cpu: CpuId) -> Result<()> {
        read_pages(offset_bytes, to, |index| self.get_folio(index, cpu))
    }

    /// Copies bytes into the file. Errors: as [`Shmem::get_folio`].
    pub fn write(&self, offset_bytes: u64, from: &[u8], cpu: CpuId) -> Result<()> {
        write_pages(offset_bytes, from, |index| self.get_folio(index, cpu))
    }

    /// Swaps out the whole folio of an index. Errors, with the data kept: `NotMapped` (EFAULT); the errors of
    /// [`Swap::swap_out`].
    ///
    /// A page that is not resident is skipped. Kernel: `shmem_writeout`.
    pub fn writeout(&self, index: u64, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        let ShmemEntry::Page { .. } = self.entry(index)? else { return Ok(()) };
        let (folio, page) = self.get_folio(index, cpu)?;
        let first = index as usize - page as usize;
        let locked = folio.folio().try_lock().ok_or_else(|| folio.busy())?;
        if folio.has(FolioFlags::WRITEBACK) {
            return Err(folio.busy());
        }
        if !locked.has(FolioFlags::SWAPCACHE) {
            self.swap.add_to_swap(&locked, None, cpu)?;
        }
        let entry = locked.entry().expect("cached");
        let nr_pages = locked.nr_pages();
        {
            let mut entries = self.entries.lock();
            let range = &mut entries[first..first + nr_pages as usize];
            let is_here = |e: &ShmemEntry| matches!(*e, ShmemEntry::Page { pfn, .. } if pfn == locked.pfn());
            if !range.iter().all(is_here) {
                return Err(folio.busy());
            }
            self.swap.on_cpu(cpu)?.dup_locked(&locked, 0..nr_pages)?;
            for (i, e) in range.iter_mut().enumerate() {
                *e = ShmemEntry::Swap { entry: entry.plus(i as u32), order: locked.order() };
            }
            locked.remove_mappings(nr_pages);
        }
        match self.swap.pageout(locked, self.swap.refault_level(None), cpu) {
            (None, _) => {
                folio.into_raw();
                Ok(())
            }
            // The folio stays in the swap cache, where the next lookup finds it.
            (Some(locked), result) => Err(result.err().unwrap_or_else(|| locked.busy())),
        }
    }

    /// Turns the pages of a range into holes. Errors: `NotMapped` (EFAULT). Kernel: `shmem_undo_range`; differs: a
    /// large entry or folio that lies partly in the range is split.
    pub fn truncate(&self, range: Range<u64>, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        let taken: Vec<ShmemEntry> = {
            let mut entries = self.entries.lock();
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
                ShmemEntry::Page { pfn, .. } => folio_of(&self.swap, pfn).remove_mappings(1),
                ShmemEntry::Swap { entry, .. } => self.swap.put(entry, 1, cpu)?,
            }
        }
        Ok(())
    }
}

impl Drop for Shmem {
    fn drop(&mut self) {
        let end = self.entries.lock().len() as u64;
        // The error of a missing device is ignored, because a device that is off has no slots to free.
        let _ = self.truncate(0..end, CpuId(0));
    }
}

/// Stores the pages of a folio in a range of entries. Each entry gets one reference to the folio.
fn fill(range: &mut [ShmemEntry], folio: &crate::folio::Folio<'_>) {
    folio.add_mappings(range.len() as u32);
    for (page, entry) in range.iter_mut().enumerate() {
        *entry = ShmemEntry::Page { pfn: folio.pfn(), page: page as u16 };
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
