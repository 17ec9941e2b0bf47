//! Pageout of a range of pages, and the read of a range into the swap cache, on a user's request. Kernel:
//! `MADV_PAGEOUT`, `MADV_WILLNEED`.

use std::ops::Range;
use std::sync::Arc;

use super::{Mm, Pte, Shmem, Vma, folio_of, index};
use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, SwpEntry};
use crate::folio::{FolioFlags, FolioRef};
use crate::machine::Swap;
use crate::readahead::Vpn;
use crate::reclaim::{ReclaimStat, Shrink};

/// The results of a pageout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageoutReport {
    /// Number of pages that left memory.
    pub reclaimed_pages: u64,
    /// Pages of the range that stay in memory: shared, in use, without a slot, or not written.
    pub kept_pages: u64,
    /// Large folios that were split because no run was free, because the range ends inside the folio, or because the
    /// address space does not map all pages of the folio.
    pub split_folios: u64,
    /// The errno of the last failure that kept pages in memory, or 0 without a failure.
    pub errno: i32,
}

impl PageoutReport {
    /// Adds the results of another pageout.
    pub fn add(&mut self, other: Self) {
        self.reclaimed_pages += other.reclaimed_pages;
        self.kept_pages += other.kept_pages;
        self.split_folios += other.split_folios;
        self.errno = if other.errno == 0 { self.errno } else { other.errno };
    }
}

/// The pages of one folio that one page table maps.
#[derive(Debug)]
struct Mapped<'m> {
    folio: FolioRef<'m>,
    /// Number of consecutive pages of the folio that are mapped from the given page to the end of the range.
    nr_batch_pages: u32,
    /// Number of all entries of the page table that map a page of the folio.
    nr_mapped_pages: u32,
}

impl Mapped<'_> {
    /// Returns whether another address space maps the folio too. Kernel: `folio_maybe_mapped_shared`.
    fn is_shared(&self) -> bool {
        self.folio.mapcount() > self.nr_mapped_pages
    }
}

impl Mm {
    /// Swaps out the pages of a range in ascending order. Pages that another address space maps stay.
    ///
    /// A large folio that the range maps completely is swapped out whole, or split when no run is free. A large folio
    /// of which the range maps only a part is split, and the pages in the range are swapped out one by one. Errors:
    /// `NotMapped` (EFAULT); `MappingLocked` (EINVAL). The pages before the error are swapped out. Kernel:
    /// `madvise_pageout`, `madvise_cold_or_pageout_pte_range`.
    pub fn pageout(&self, pages: Range<Vpn>, cpu: CpuId) -> Result<PageoutReport> {
        let active = self.swap.begin_activity();
        // The CPU number is checked here, because an unknown CPU must cause an error before any folio leaves the
        // folio's list.
        drop(self.swap.on_cpu(cpu)?);
        self.swap.memory_of_folios().lru_batch_drain(cpu);
        let mut report = PageoutReport::default();
        let mut vpn = pages.start;
        while vpn < pages.end {
            let vma = self.unlocked_vma_of(vpn)?;
            match self.mapped_at(&vma, vpn, pages.end) {
                Some(mapped) => vpn.0 += u64::from(self.pageout_folio(&vma, vpn, mapped, &mut report, cpu)),
                None => {
                    self.pageout_cached(&vma, vpn, &mut report, cpu)?;
                    vpn.0 += 1;
                }
            }
        }
        self.swap.end_operation(active);
        Ok(report)
    }

    /// Returns the mapping of a page. Errors: `NotMapped` (EFAULT); `MappingLocked` (EINVAL). Kernel:
    /// `can_madv_lru_vma`, and `madvise_dontneed_free_valid_vma` for `MADV_DONTNEED`.
    pub(super) fn unlocked_vma_of(&self, vpn: Vpn) -> Result<Arc<Vma>> {
        let vma = self.vma_of(vpn)?;
        if vma.options().is_locked { Err(SwapError::MappingLocked(vpn.0)) } else { Ok(vma) }
    }

    /// Continues the pageout of an unmapped page that is still in the swap cache, because the write of the page
    /// failed. A page that was read ahead, or for another task, stays.
    ///
    /// Kernel: the page is on an inactive list, and reclaim continues the pageout of the page; differs: the call
    /// itself repeats a failed write, so that the caller gets the error or the page is out.
    fn pageout_cached(&self, vma: &Vma, vpn: Vpn, report: &mut PageoutReport, cpu: CpuId) -> Result<()> {
        let Some(entry) = vma.pte(vpn).slot() else { return Ok(()) };
        // The reference to the folio is dropped before the pageout, which fails for a folio with another user.
        let cached = self.swap.swap_cache_get_folio(entry, cpu)?;
        let is_dirty = cached.is_some_and(|folio| folio.has(FolioFlags::DIRTY));
        if is_dirty { pageout_slot(&self.swap, entry, report, cpu) } else { Ok(()) }
    }

    /// Returns the folio of a page, and the pages of the folio that the page table maps. The batch of consecutive
    /// pages ends before the page `end`. Kernel: `madvise_folio_pte_batch`.
    fn mapped_at<'m>(&'m self, vma: &Vma, vpn: Vpn, end: Vpn) -> Option<Mapped<'m>> {
        let table = vma.table(vpn);
        let Pte::Present { pfn, page, .. } = table[index(vpn)] else { return None };
        let folio = folio_of(&self.swap, pfn);
        let (here, nr_pages, page) = (vma.same_table(vpn), u64::from(folio.nr_pages()), u64::from(page));
        let names = |at: &u64| table[index(Vpn(*at))].names(folio.folio(), (at + page - vpn.0) as u32);
        let last = (vpn.0 + nr_pages - page).min(here.end);
        let nr_batch = (vpn.0..last.min(end.0)).take_while(names).count();
        let nr_mapped = (vpn.0.saturating_sub(page).max(here.start)..last).filter(names).count();
        Some(Mapped { folio, nr_batch_pages: nr_batch as u32, nr_mapped_pages: nr_mapped as u32 })
    }

    /// Pages out the folio of page `vpn`, or splits the folio when the batch (the mapped pages from `vpn` on) does
    /// not have all pages of the folio. Returns the number of pages that are done: 0 after a split, because the
    /// caller then pages out the single pages.
    fn pageout_folio(&self, vma: &Vma, vpn: Vpn, mapped: Mapped<'_>, report: &mut PageoutReport, cpu: CpuId) -> u32 {
        let nr_batch = mapped.nr_batch_pages;
        let is_shared = mapped.is_shared();
        let folio = mapped.folio;
        let kept = if is_shared {
            SwapError::FolioPinned { refs: folio.refs(), expected: folio.nr_pages() + 1 }
        } else if nr_batch == folio.nr_pages() {
            let mut table = vma.table(vpn);
            table[index(vpn)..][..nr_batch as usize].iter_mut().for_each(|pte| {
                pte.test_and_clear_young();
            });
            drop(table);
            reclaim_folio(&self.swap, folio, report, cpu);
            return nr_batch;
        } else {
            match split_for_pageout(&self.swap, folio, report, cpu) {
                Ok(()) => return 0,
                Err(error) => error,
            }
        };
        report.kept_pages += u64::from(nr_batch);
        report.errno = kept.errno();
        nr_batch
    }

    /// Reads the swapped-out pages of a range into the swap cache, as single pages, and maps none of them. Returns
    /// the number of pages that were read. A page that cannot be read is skipped.
    ///
    /// Errors: `NotMapped` (EFAULT), with the pages before the error read; `BadCpu` (EINVAL). Kernel:
    /// `madvise_willneed` of anonymous memory; differs: the reads are over when the call returns.
    pub fn willneed(&self, pages: Range<Vpn>, cpu: CpuId) -> Result<u64> {
        let active = self.swap.begin_activity();
        // An unknown CPU causes an error here, because the loop below ignores a failed read.
        drop(self.swap.on_cpu(cpu)?);
        let mut nr_read_pages = 0;
        for vpn in (pages.start.0..pages.end.0).map(Vpn) {
            if let Some(entry) = self.vma_of(vpn)?.pte(vpn).slot() {
                nr_read_pages += self.swap.read_swap_cache_async(entry, self.css(), cpu);
            }
        }
        self.swap.end_operation(active);
        Ok(nr_read_pages)
    }

    /// Returns the slot of a swapped-out page. Errors: `NotMapped` (EFAULT).
    pub fn swap_entry(&self, vpn: Vpn) -> Result<Option<SwpEntry>> {
        Ok(self.vma_of(vpn)?.pte(vpn).slot())
    }
}

/// Continues the pageout of the folio that the swap cache has for a slot and that no page table and no file names.
fn pageout_slot(swap: &Swap, entry: SwpEntry, report: &mut PageoutReport, cpu: CpuId) -> Result<()> {
    let Some(folio) = swap.swap_cache_get_folio(entry, cpu)? else { return Ok(()) };
    let busy = FolioFlags::LOCKED | FolioFlags::WRITEBACK;
    if folio.covers(entry) && !folio.is_mapped() && !folio.flags().intersects(busy) {
        reclaim_folio(swap, folio, report, cpu);
    }
    Ok(())
}

/// Takes a folio off the folio's list and pages the folio out. The folio is paged out page by page when no run of
/// slots is free. Kernel: `reclaim_pages` of one folio.
fn reclaim_folio<'s>(swap: &'s Swap, folio: FolioRef<'s>, report: &mut PageoutReport, cpu: CpuId) {
    let memory = swap.memory_of_folios();
    let nr_pages = u64::from(folio.nr_pages());
    let mut stat = ReclaimStat::default();
    if folio.lru_del() {
        memory.add_isolated(nr_pages as i64);
        folio.clear(FolioFlags::REFERENCED);
        if folio.has(FolioFlags::ACTIVE) {
            folio.set(FolioFlags::WORKINGSET);
        }
        let how = Shrink::by_user(swap.refault_level(None), cpu);
        let kept = swap.shrink_folio_list(vec![folio], how, &mut stat);
        memory.add_isolated(-(nr_pages as i64));
        kept.iter().for_each(|folio| folio.lru_add());
    } else {
        // Reclaim in another thread has taken the folio off the folio's list.
        stat.error = Some(folio.busy());
    }
    report.reclaimed_pages += stat.nr_reclaimed;
    report.split_folios += stat.nr_split_folios;
    report.kept_pages += nr_pages - stat.nr_reclaimed;
    report.errno = stat.error.map_or(report.errno, |error| error.errno());
}

/// Splits a large folio of which the range of a pageout has only a part. Errors: as `Swap::split_folio`, with the
/// folio unchanged.
fn split_for_pageout<'s>(swap: &'s Swap, folio: FolioRef<'s>, report: &mut PageoutReport, cpu: CpuId) -> Result<()> {
    let _parts = swap.lock_written(folio.folio(), cpu).and_then(|locked| swap.split_folio(&locked, cpu))?;
    // The first part took over the reference of `folio`, so dropping `folio` would drop the reference twice.
    folio.into_raw();
    report.split_folios += 1;
    Ok(())
}

impl Shmem {
    /// Swaps out the pages of a range in ascending order.
    ///
    /// A large folio that lies in the range is swapped out whole, or split when no run is free. A large folio that lies
    /// partly in the range is split first. Errors: `NotMapped` (EFAULT), with the pages before the error swapped out;
    /// `BadCpu` (EINVAL). Kernel: `madvise_pageout` of a shared mapping that maps the whole file.
    pub fn pageout(&self, range: Range<u64>, cpu: CpuId) -> Result<PageoutReport> {
        let active = self.swap().begin_activity();
        drop(self.swap().on_cpu(cpu)?);
        self.swap().memory_of_folios().lru_batch_drain(cpu);
        let mut report = PageoutReport::default();
        let mut index = range.start;
        while index < range.end {
            if let Some((entry, _)) = self.entry(index)?.swapped() {
                pageout_slot(self.swap(), entry, &mut report, cpu)?;
                index += 1;
            } else if let Some((folio, nr_batch)) = self.folio_in(index, range.end) {
                index += self.pageout_batch(folio, nr_batch, &mut report, cpu);
            } else {
                index += 1;
            }
        }
        self.swap().end_operation(active);
        Ok(report)
    }

    /// Pages out a folio of which the range has `nr_batch` pages, or splits the folio when the range has not all its
    /// pages. Returns the number of pages that are done: 0 after a split, because the pages are paged out next.
    fn pageout_batch(&self, folio: FolioRef<'_>, nr_batch: u64, report: &mut PageoutReport, cpu: CpuId) -> u64 {
        if nr_batch == u64::from(folio.nr_pages()) {
            reclaim_folio(self.swap(), folio, report, cpu);
            return nr_batch;
        }
        match split_for_pageout(self.swap(), folio, report, cpu) {
            Ok(()) => 0,
            Err(error) => {
                report.kept_pages += nr_batch;
                report.errno = error.errno();
                nr_batch
            }
        }
    }
}
