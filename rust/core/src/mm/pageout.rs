//! Putting the pages of a range out, as a user asks for. Kernel: `MADV_PAGEOUT`.

use std::ops::Range;

use super::{Mm, Pte, Vma, index};
use crate::error::{Result, SwapError};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::readahead::Vpn;
use crate::types::{CpuId, Order, SwpEntry};

/// What became of the pages of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageoutReport {
    /// Pages that left memory.
    pub reclaimed_pages: u64,
    /// Pages that stay: shared, held by somebody, without a slot, or not written.
    pub kept_pages: u64,
    /// Large folios that were split for lack of a run or because the range ends within them.
    pub split_folios: u64,
    /// The last failure that kept pages in memory, by errno; 0 for none.
    pub errno: i32,
}

impl PageoutReport {
    /// Adds what became of further pages.
    pub fn add(&mut self, other: Self) {
        self.reclaimed_pages += other.reclaimed_pages;
        self.kept_pages += other.kept_pages;
        self.split_folios += other.split_folios;
        self.errno = if other.errno == 0 { self.errno } else { other.errno };
    }
}

/// The pages of one folio that one page table maps, from a page on.
#[derive(Debug)]
struct Mapped<'m> {
    folio: FolioRef<'m>,
    first: Vpn,
    nr_pages: u32,
}

impl Mm {
    /// Swaps the pages of a range out, in ascending order: not those that others map too. Errors: `NotMapped` (EFAULT).
    ///
    /// Large folios that lie in the range go whole, or split when there is no run for them. Kernel: `madvise_pageout`.
    pub fn pageout(&self, pages: Range<Vpn>, cpu: CpuId) -> Result<PageoutReport> {
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
        Ok(report)
    }

    /// Goes on with a page that was unmapped before but stayed in the swap cache: its write failed, or it was read ahead.
    ///
    /// Kernel: it is on an inactive list, and reclaim comes by again.
    fn pageout_cached(&self, vma: &Vma, vpn: Vpn, report: &mut PageoutReport, cpu: CpuId) -> Result<()> {
        let Pte::Swap { entry, .. } = vma.pte(vpn) else { return Ok(()) };
        let Some(folio) = self.swap.swap_cache_get_folio(entry, cpu)? else { return Ok(()) };
        let Some(locked) = folio.folio().try_lock() else { return Ok(()) };
        let nr_pages = folio.nr_pages();
        let is_idle = folio.covers(entry) && !folio.is_mapped() && !folio.has(FolioFlags::WRITEBACK);
        if !is_idle || !folio.has(FolioFlags::UPTODATE) {
            return Ok(());
        }
        match self.swap.pageout(locked, cpu) {
            (None, _) => {
                report.reclaimed_pages += u64::from(nr_pages);
                folio.into_raw();
            }
            (Some(_locked), Err(error)) => {
                keep(report, &error, nr_pages, vpn);
            }
            (Some(_locked), Ok(())) => {}
        }
        Ok(())
    }

    /// Returns the folio of a page with what the page table maps of it.
    fn mapped_at<'m>(&'m self, vma: &Vma, vpn: Vpn) -> Option<Mapped<'m>> {
        let table = vma.table(vpn);
        let Pte::Present { pfn, page, .. } = table[index(vpn)] else { return None };
        let folio = self.folio_of(pfn);
        let here = vma.same_table(vpn);
        let is_same = |at: u64, page: u64| {
            matches!(table[index(Vpn(at))], Pte::Present { pfn: other, page: other_page, .. }
                if other == pfn && u64::from(other_page) == page)
        };
        let page = u64::from(page);
        let before = (1..=page).take_while(|&i| vpn.0 - i >= here.start && is_same(vpn.0 - i, page - i)).count() as u64;
        let after = (1..u64::from(folio.nr_pages()) - page)
            .take_while(|&i| vpn.0 + i < here.end && is_same(vpn.0 + i, page + i))
            .count() as u64;
        Some(Mapped { folio, first: Vpn(vpn.0 - before), nr_pages: (before + 1 + after) as u32 })
    }

    /// Puts one folio out, or its pages one by one; returns the page after it.
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
        // Somebody else maps it, or parts of it are gone.
        let is_whole = folio.mapcount() == folio.nr_pages() && nr_pages == folio.nr_pages();
        let result = match (is_whole, is_inside) {
            (true, true) => self.shrink_folio(vma, first, folio, cpu),
            (true, false) => Err((SwapError::NoSpace { nr_pages }, Some(folio))),
            (false, _) => Err((SwapError::FolioPinned { refs: folio.refs(), expected: folio.nr_pages() + 1 }, None)),
        };
        match result {
            Ok(()) => {
                report.reclaimed_pages += u64::from(nr_pages);
                Ok(end)
            }
            Err((SwapError::NoSpace { .. }, Some(folio))) if nr_pages > 1 => {
                if is_inside {
                    self.swap.count_fallback(folio.folio(), cpu)?;
                }
                match self.split_mapped(vma, first, folio, cpu) {
                    Ok(()) => {
                        report.split_folios += 1;
                        Ok(if is_inside { first } else { Vpn(first.0.max(pages.start.0)) })
                    }
                    Err(error) => Ok(keep(report, &error, nr_pages, end)),
                }
            }
            Err((error, _)) => Ok(keep(report, &error, nr_pages, end)),
        }
    }

    /// Steps O1 to O8 for a folio that one page table maps whole.
    fn shrink_folio<'m>(
        &'m self,
        vma: &Vma,
        first: Vpn,
        folio: FolioRef<'m>,
        cpu: CpuId,
    ) -> std::result::Result<(), (SwapError, Option<FolioRef<'m>>)> {
        let types = if folio.has(FolioFlags::SWAPCACHE) { Ok(None) } else { self.swap.ask_swap(&folio) };
        let types = match types {
            Ok(types) => types,
            Err(error) => return Err((error, Some(folio))),
        };
        let Some(locked) = folio.folio().try_lock() else { return Err((folio.busy(), None)) };
        if folio.has(FolioFlags::WRITEBACK) {
            return Err((folio.busy(), None));
        }
        if !locked.has(FolioFlags::SWAPCACHE)
            && let Err(error) = self.swap.add_to_swap(&locked, types.as_deref(), cpu)
        {
            drop(locked);
            return Err((error, Some(folio)));
        }
        if let Err(error) = self.try_to_unmap(vma, first, &locked, cpu) {
            return Err((error, None));
        }
        match self.swap.pageout(locked, cpu) {
            (None, _) => {
                folio.into_raw();
                Ok(())
            }
            // It stays in the swap cache, where the next fault finds it.
            (Some(locked), result) => Err((result.err().unwrap_or_else(|| locked.busy()), None)),
        }
    }

    /// Turns the entries of a locked cached folio into slots, one reference each. Step O4. Errors: `CountOverflow`
    /// (EOVERFLOW), and the entries are as before; `FolioPinned` they changed. Kernel: `try_to_unmap`.
    fn try_to_unmap(&self, vma: &Vma, first: Vpn, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<()> {
        let entry = locked.entry().expect("cached");
        let nr_pages = locked.nr_pages();
        let mut table = vma.table(first);
        let entries = &mut table[index(first)..][..nr_pages as usize];
        let is_here = |(i, pte): (usize, &Pte)| matches!(*pte, Pte::Present { pfn, page, .. } if pfn == locked.pfn() && usize::from(page) == i);
        if !entries.iter().enumerate().all(is_here) {
            return Err(SwapError::FolioPinned { refs: locked.refs(), expected: nr_pages + 1 });
        }
        self.swap.on_cpu(cpu)?.dup_locked(locked, 0..nr_pages)?;
        for (i, pte) in entries.iter_mut().enumerate() {
            let is_exclusive = matches!(pte, Pte::Present { is_exclusive: true, .. });
            *pte = Pte::Swap { entry: entry.plus(i as u32), is_exclusive };
        }
        locked.remove_mappings(nr_pages);
        Ok(())
    }

    /// Splits a folio that one page table maps whole into single pages, mapped where they were.
    fn split_mapped(&self, vma: &Vma, first: Vpn, folio: FolioRef<'_>, cpu: CpuId) -> Result<()> {
        let locked = folio.folio().lock_for_io()?;
        let mut table = vma.table(first);
        let nr_pages = folio.nr_pages();
        let entries = &mut table[index(first)..][..nr_pages as usize];
        let is_here = |pte: &Pte| matches!(*pte, Pte::Present { pfn, .. } if pfn == folio.pfn());
        if !entries.iter().all(is_here) {
            return Err(folio.busy());
        }
        let parts = self.swap.on_cpu(cpu)?.split_locked(locked, Order::ZERO, 0..nr_pages)?;
        for (pte, part) in entries.iter_mut().zip(&parts) {
            if let Pte::Present { pfn, page, .. } = pte {
                (*pfn, *page) = (part.pfn(), 0);
            }
        }
        drop(table);
        // The reference went to the first part, which has one of its own from the split.
        folio.into_raw();
        Ok(())
    }

    /// Returns the slot of a page that is swapped out. Errors: `NotMapped` (EFAULT).
    pub fn swap_entry(&self, vpn: Vpn) -> Result<Option<SwpEntry>> {
        match self.vma_of(vpn)?.pte(vpn) {
            Pte::Swap { entry, .. } => Ok(Some(entry)),
            _ => Ok(None),
        }
    }
}

fn keep(report: &mut PageoutReport, error: &SwapError, nr_pages: u32, end: Vpn) -> Vpn {
    report.kept_pages += u64::from(nr_pages);
    report.errno = error.errno();
    end
}
