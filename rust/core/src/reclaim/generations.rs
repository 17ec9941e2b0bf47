//! Reclaim by generations: aging, and eviction from the oldest generation. Kernel: the MGLRU half of `mm/vmscan.c`.
//!
//! Aging reads the accessed bits of all page tables and starts a generation. Eviction takes folios from the oldest
//! generation, moves protected folios to the second oldest generation, and ends the oldest generation when no folio
//! is left in it. The code differs from the kernel in three points. Aging walks every page table without a filter.
//! Eviction does not read the neighbours of a page table entry. Global reclaim visits the groups in the same order as
//! reclaim because of a limit.

use super::{Reclaim, ReclaimGroup};
use crate::base::limits::DEF_PRIORITY;
use crate::base::types::Pfn;
use crate::folio::FolioFlags;
use crate::rmap::Pte;
use crate::workingset::mglru::{MIN_NR_GENS, Swapping, is_evictable, mglru_swappiness};
use crate::workingset::{LruType, Lruvec, LruvecStat};

impl Reclaim<'_, '_> {
    /// Ages one group and evicts folios from the group's oldest generation. Kernel: `lru_gen_shrink_lruvec`,
    /// `try_to_shrink_lruvec`.
    #[inline(never)]
    pub(super) fn lru_gen_shrink_lruvec(&mut self, group: &ReclaimGroup) {
        let swapping = if self.sc.may_swap { Swapping::Allowed } else { Swapping::Forbidden };
        let swappiness = self.sc.reclaimer.swappiness(group.swappiness);
        let swappiness = mglru_swappiness(swappiness, swapping, group.nr_swap_pages);
        if !is_evictable(LruType::Anon, swappiness) {
            // There is nothing to do, because anonymous folios cannot be evicted and this subsystem has no other
            // folios.
            return;
        }
        let mut nr_scanned_pages = 0;
        // Only global reclaim may stop before its scan of the group is complete. Reclaim because of a limit scans the
        // full number of pages, so that pages are taken from every group below the group with the limit.
        let may_stop = self.sc.target_lruvec.is_none();
        loop {
            let nr_to_scan_pages = self.get_nr_to_scan(group, swappiness);
            if nr_to_scan_pages <= nr_scanned_pages {
                return;
            }
            let nr_pages = self.evict_folios(&group.lruvec, nr_to_scan_pages, swappiness);
            nr_scanned_pages += nr_pages;
            if nr_pages == 0 || (may_stop && self.now.is_done()) {
                return;
            }
        }
    }

    /// Returns the number of pages of a group to scan: a share of the group's pages, or all pages of a removed group.
    ///
    /// If eviction would leave fewer than three generations, this function ages the group and returns 0. Reclaim then
    /// visits the group again after the other groups. At the first priority of a reclaim (`DEF_PRIORITY`), no group
    /// is aged. Kernel: `get_nr_to_scan`, `should_run_aging`.
    fn get_nr_to_scan(&mut self, group: &ReclaimGroup, swappiness: u8) -> u64 {
        let lruvec = &*group.lruvec;
        let seq = lruvec.lrugen.max_seq();
        let nr_younger = seq.saturating_sub(lruvec.lrugen.evictable_min_seq(swappiness));
        // While only two generations exist, no page can be evicted, because the two youngest generations are kept.
        let nr_pages = if nr_younger < MIN_NR_GENS { 0 } else { lruvec.own_generation_pages().iter().sum() };
        if nr_pages > 0 && !group.is_online {
            return nr_pages;
        }
        if nr_younger > MIN_NR_GENS || self.now.priority == DEF_PRIORITY {
            return self.unprotected_pages(&group.protection, nr_pages) >> self.now.priority;
        }
        self.try_to_inc_max_seq(lruvec, seq);
        0
    }

    /// Records which folios of a lruvec were used since generation `seq` started, and starts the next generation if
    /// no other thread started it.
    ///
    /// Locks: the lock of each page table in turn, and the LRU lock while the page table lock is held. Kernel:
    /// `try_to_inc_max_seq`, `walk_mm`; differs: every address space is walked, not only the address spaces of the
    /// group.
    fn try_to_inc_max_seq(&self, lruvec: &Lruvec, seq: u64) {
        let memory = self.memory();
        let mut used: Vec<Pfn> = Vec::new();
        self.swap.anon_vmas.for_each_table(|vma, table| {
            if vma.options().is_locked {
                return;
            }
            for pte in table {
                if let Pte::Present { pfn, is_young: true, .. } = *pte
                    && (used.last() == Some(&pfn) || memory.is_in_generation_of(pfn, lruvec))
                {
                    pte.test_and_clear_young();
                    // Adjacent page table entries of one folio count as one use of the folio, so the folio is stored
                    // once.
                    if used.last() != Some(&pfn) {
                        used.push(pfn);
                    }
                }
            }
            if !used.is_empty() {
                memory.folios_update_gen(lruvec, used.drain(..));
            }
        });
        memory.inc_max_seq(lruvec, seq);
    }

    /// Evicts one batch of folios. Returns the number of scanned pages, plus one if an empty generation ended.
    /// Kernel: `evict_folios`.
    fn evict_folios(&mut self, lruvec: &Lruvec, nr_to_scan_pages: u64, swappiness: u8) -> u64 {
        let chosen = lruvec.lrugen.type_to_evict(swappiness);
        let other = if chosen == LruType::Anon { LruType::File } else { LruType::Anon };
        // The type `other` is scanned only if no folio of the type `chosen` was scanned. Kernel: `isolate_folios`.
        let isolated = [chosen, other]
            .into_iter()
            .filter(|&ty| is_evictable(ty, swappiness))
            .map(|ty| self.memory().scan_folios(lruvec, ty, nr_to_scan_pages))
            .find(|isolated| isolated.nr_scanned_pages > 0)
            .unwrap_or_default();
        let has_ended = self.memory().try_to_inc_min_seq(lruvec, swappiness);
        let nr_scanned_pages = isolated.nr_scanned_pages + u64::from(has_ended);
        self.sc.reclaimer.count_pgscan(lruvec, isolated.nr_taken_pages);
        lruvec.count(LruvecStat::Pgrefill, isolated.nr_sorted_pages as u32);
        let lrugen = &lruvec.lrugen;
        self.shrink_isolated(lruvec, isolated, |folio| {
            // A folio that was not evicted becomes active, so that the folio is not put back into the oldest
            // generation.
            if folio.lru_gen_folio_seq(lrugen) == lrugen.min_seq(LruType::Anon) {
                folio.forget_refs();
                folio.set(FolioFlags::ACTIVE);
            }
        });
        nr_scanned_pages
    }
}
