//! The page table entries of a folio during reclaim: reading the accessed bits, unmapping, splitting.

use std::convert::Infallible;
use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, Order};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::Swap;
use crate::rmap::Pte;

impl Swap {
    /// Returns the number of mappings that touched a locked folio since the last call, and clears their accessed
    /// bits. An mlocked mapping marks the folio. Kernel: `folio_referenced`.
    pub(super) fn folio_referenced(&self, locked: &LockedFolio<'_>) -> u32 {
        let mut nr_vmas = 0;
        let walked: std::result::Result<(), Infallible> =
            self.anon_vmas.rmap_walk(locked.folio(), |vma, entries, first| {
                let (mut is_mapped, mut is_young) = (false, false);
                for (page, pte) in (first..).zip(entries).filter(|(page, pte)| pte.names(locked.folio(), *page)) {
                    debug_assert!(page < locked.nr_pages(), "a walk stays within the folio");
                    is_mapped = true;
                    is_young |= pte.test_and_clear_young();
                }
                if is_mapped && vma.options().is_locked {
                    locked.set(FolioFlags::MLOCKED);
                }
                nr_vmas += u32::from(is_young);
                Ok(())
            });
        let Ok(()) = walked;
        nr_vmas
    }

    /// Replaces every page table entry that maps a locked cached folio by its slot, with one reference each. Entries
    /// of mlocked mappings stay. Step OUT4. Kernel: `try_to_unmap`.
    ///
    /// Errors: `CountOverflow` (EOVERFLOW), with the remaining entries, and so the folio, still mapped. The folio's
    /// mapcount tells whether all entries are gone, because the reverse map may not know an entry.
    pub(crate) fn try_to_unmap(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<()> {
        self.anon_vmas.rmap_walk(locked.folio(), |vma, entries, first| {
            if vma.options().is_locked { Ok(()) } else { self.unmap_entries(locked, entries, first, cpu) }
        })
    }

    fn unmap_entries(&self, locked: &LockedFolio<'_>, entries: &mut [Pte], first: u32, cpu: CpuId) -> Result<()> {
        let entry = locked.entry().ok_or(SwapError::NotCached)?;
        let names = |at: usize, entries: &[Pte]| entries[at].names(locked.folio(), first + at as u32);
        let mut at = 0;
        while at < entries.len() {
            let end = (at..entries.len()).find(|&end| !names(end, entries)).unwrap_or(entries.len());
            if end == at {
                at += 1;
                continue;
            }
            let pages: Range<u32> = first + at as u32..first + end as u32;
            // The call fails as a whole, and then no entry of the run has changed.
            self.on_cpu(cpu)?.dup_locked(locked, pages.clone())?;
            for (page, pte) in pages.clone().zip(&mut entries[at..end]) {
                let is_exclusive = matches!(pte, Pte::Present { is_exclusive: true, .. });
                *pte = Pte::Swap { entry: entry.plus(page), is_exclusive };
            }
            locked.remove_mappings(pages.len() as u32);
            at = end;
        }
        Ok(())
    }

    /// Splits a locked folio into single pages that stay mapped, each with one reference for the caller, who holds
    /// one now. The first page stays locked. Kernel: `split_folio`.
    ///
    /// Errors, with nothing changed: `FolioPinned`, `FolioBusy` (EBUSY) when another user has a reference, or an
    /// entry that the reverse map does not know. Locks: all page tables of the folio, then the local lock.
    pub(crate) fn split_folio<'s>(&'s self, locked: &LockedFolio<'s>, cpu: CpuId) -> Result<Vec<FolioRef<'s>>> {
        let folio = locked.folio();
        let split = self.anon_vmas.with_all_entries(folio, |entries| {
            let mut nr_mapped = vec![0; folio.nr_pages() as usize];
            entries.iter().for_each(|(page, _)| nr_mapped[*page as usize] += 1);
            let sum = |pages: Range<u32>| nr_mapped[pages.start as usize..pages.end as usize].iter().sum();
            let parts = self.on_cpu(cpu)?.split_locked(locked, Order::ZERO, sum)?;
            for (of_old, pte) in entries {
                if let Pte::Present { pfn, page, .. } = &mut **pte {
                    (*pfn, *page) = (parts[*of_old as usize].pfn(), 0);
                }
            }
            Ok(parts)
        });
        split.unwrap_or_else(|| Err(folio.busy()))
    }
}
