//! Pageout of a range of pages on a user's request. Kernel: `MADV_PAGEOUT`.

use std::ops::Range;

use super::{Mm, Pte, Vma, folio_of, index};
use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, SwpEntry};
use crate::folio::{FolioFlags, FolioRef};
use crate::readahead::Vpn;
use crate::reclaim::{ReclaimStat, Shrink};

/// The results of a pageout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageoutReport {
    /// Number of pages that left memory.
    pub reclaimed_pages: u64,
    /// Number of pages that stay in memory because the page is shared, is in use, got no slot, or could not be
    /// written.
    pub kept_pages: u64,
    /// Number of large folios that were split because no run of slots was free, or because the range ends inside the
    /// folio.
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

/// Consecutive pages of one folio that one page table maps.
#[derive(Debug)]
struct Mapped<'m> {
    folio: FolioRef<'m>,
    first: Vpn,
    nr_pages: u32,
}

impl Mm {
    /// Swaps out the pages of a range in ascending order. Pages that another address space maps stay in memory.
    /// Errors: `NotMapped` (EFAULT).
    ///
    /// A large folio inside the range is swapped out as a whole, or is split when no run of slots is free. Kernel:
    /// `madvise_pageout`.
    pub fn pageout(&self, pages: Range<Vpn>, cpu: CpuId) -> Result<PageoutReport> {
        let active = self.swap.begin_activity();
        // The CPU number is checked here, because an unknown CPU must cause an error before any folio leaves the
        // folio's list.
        drop(self.swap.on_cpu(cpu)?);
        let mut report = PageoutReport::default();
        let mut vpn = pages.start;
        while vpn < pages.end {
            let vma = self.vma_of(vpn)?;
            match self.mapped_at(&vma, vpn) {
                Some(mapped) if vma.options().is_locked => {
                    report.kept_pages += u64::from(mapped.nr_pages);
                    vpn = Vpn(mapped.first.0 + u64::from(mapped.nr_pages));
                }
                Some(mapped) => vpn = self.pageout_folio(&vma, mapped, &pages, &mut report, cpu)?,
                None => {
                    self.pageout_cached(&vma, vpn, &mut report, cpu)?;
                    vpn.0 += 1;
                }
            }
        }
        self.swap.end_operation(active);
        Ok(report)
    }

    /// Continues the pageout of an unmapped page that is still in the swap cache, because the write of the page
    /// failed or the page was read ahead.
    ///
    /// Kernel: the page is on an inactive list, and reclaim continues the pageout of the page.
    fn pageout_cached(&self, vma: &Vma, vpn: Vpn, report: &mut PageoutReport, cpu: CpuId) -> Result<()> {
        let Some(entry) = vma.pte(vpn).slot() else { return Ok(()) };
        let Some(folio) = self.swap.swap_cache_get_folio(entry, cpu)? else { return Ok(()) };
        let busy = FolioFlags::LOCKED | FolioFlags::WRITEBACK;
        if folio.covers(entry) && !folio.is_mapped() && !folio.flags().intersects(busy) {
            self.reclaim_folio(folio, report, cpu);
        }
        Ok(())
    }

    /// Takes a folio off the folio's list and pages the folio out. The folio is paged out page by page when no run of
    /// slots is free. Kernel: `reclaim_pages` of one folio.
    fn reclaim_folio<'m>(&'m self, folio: FolioRef<'m>, report: &mut PageoutReport, cpu: CpuId) {
        let memory = self.swap.memory_of_folios();
        let nr_pages = u64::from(folio.nr_pages());
        let mut stat = ReclaimStat::default();
        if folio.lru_del() {
            memory.add_isolated(nr_pages as i64);
            folio.clear(FolioFlags::REFERENCED);
            if folio.has(FolioFlags::ACTIVE) {
                folio.set(FolioFlags::WORKINGSET);
            }
            let how = Shrink::by_user(self.swap.refault_level(None), cpu);
            let kept = self.swap.shrink_folio_list(vec![folio], how, &mut stat);
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

    /// Returns the folio of a page, and the consecutive pages of the folio that the page table of the page maps.
    fn mapped_at<'m>(&'m self, vma: &Vma, vpn: Vpn) -> Option<Mapped<'m>> {
        let table = vma.table(vpn);
        let Pte::Present { pfn, page, .. } = table[index(vpn)] else { return None };
        let folio = folio_of(&self.swap, pfn);
        let here = vma.same_table(vpn);
        let is_same = |at: u64, page: u64| table[index(Vpn(at))].names(folio.folio(), page as u32);
        let page = u64::from(page);
        let before = (1..=page).take_while(|&i| vpn.0 - i >= here.start && is_same(vpn.0 - i, page - i)).count() as u64;
        let after = (1..u64::from(folio.nr_pages()) - page)
            .take_while(|&i| vpn.0 + i < here.end && is_same(vpn.0 + i, page + i))
            .count() as u64;
        Some(Mapped { folio, first: Vpn(vpn.0 - before), nr_pages: (before + 1 + after) as u32 })
    }

    /// Pages out one folio, or splits a large folio that lies partly outside the range. Returns the page at which the
    /// pageout continues.
    fn pageout_folio(
        &self,
        vma: &Vma,
        mapped: Mapped<'_>,
        pages: &Range<Vpn>,
        report: &mut PageoutReport,
        cpu: CpuId,
    ) -> Result<Vpn> {
        let Mapped { folio, first, nr_pages } = mapped;
        let end = Vpn(first.0 + u64::from(nr_pages));
        let is_inside = first >= pages.start && end <= pages.end;
        // `is_whole` is false when another address space maps the folio, or when some pages of the folio are zapped.
        let is_whole = folio.mapcount() == folio.nr_pages() && nr_pages == folio.nr_pages();
        if !is_whole {
            let error = SwapError::FolioPinned { refs: folio.refs(), expected: folio.nr_pages() + 1 };
            return Ok(keep(report, &error, nr_pages, end));
        }
        if is_inside {
            let mut table = vma.table(first);
            table[index(first)..][..nr_pages as usize].iter_mut().for_each(|pte| {
                pte.test_and_clear_young();
            });
            drop(table);
            self.reclaim_folio(folio, report, cpu);
            return Ok(end);
        }
        let split = folio.folio().lock_for_io().and_then(|locked| self.swap.split_folio(&locked, cpu));
        match split {
            Ok(_parts) => {
                // `into_raw` forgets `folio` without dropping the reference, because the first part has taken over
                // the reference.
                folio.into_raw();
                report.split_folios += 1;
                Ok(Vpn(first.0.max(pages.start.0)))
            }
            Err(error) => Ok(keep(report, &error, nr_pages, end)),
        }
    }

    /// Returns the slot of a swapped-out page. Errors: `NotMapped` (EFAULT).
    pub fn swap_entry(&self, vpn: Vpn) -> Result<Option<SwpEntry>> {
        Ok(self.vma_of(vpn)?.pte(vpn).slot())
    }
}

fn keep(report: &mut PageoutReport, error: &SwapError, nr_pages: u32, end: Vpn) -> Vpn {
    report.kept_pages += u64::from(nr_pages);
    report.errno = error.errno();
    end
}
