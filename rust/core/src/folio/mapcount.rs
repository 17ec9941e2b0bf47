//! Mappings of a folio's pages: how many page table entries and handles map the folio, which of its pages are mapped at
//! all, and the statistics that follow from both. Kernel: `mm/rmap.c` and the deferred splits of `mm/huge_memory.c`.
//!
//! A single page has one count. A large folio has its count of mappings, a count for each page, the number of its
//! mapped pages, and the number of its mappings by an entry of the page middle directory (PMD). The counts of the
//! pages lie side by side in an array, so that a whole folio changes few cache lines. These counts are valid while
//! the folio is mapped: the first mapping stores them, and the last unmapping leaves them as they are.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::memory::FolioHeader;
use super::{Folio, FolioFlags, Part};
use crate::base::limits::SWAP_NR_ORDERS;
use crate::base::types::Order;
use crate::memcg::MemcgStat;

/// Numbers of large anonymous folios, by order. Kernel: the levels of `enum mthp_stat_item`, and
/// `MTHP_STAT_SPLIT_DEFERRED`.
#[derive(Debug, Default)]
pub(crate) struct LargeFolios {
    nr_anon: [AtomicI64; SWAP_NR_ORDERS],
    nr_anon_partially_mapped: [AtomicI64; SWAP_NR_ORDERS],
    split_deferred: [AtomicU64; SWAP_NR_ORDERS],
}

// Relaxed throughout: no thread concludes anything about other memory from these numbers.
impl LargeFolios {
    /// Returns the number of large anonymous folios of an order that were mapped once and are not freed or split yet.
    /// Kernel: `MTHP_STAT_NR_ANON`.
    pub(crate) fn nr_anon(&self, order: Order) -> u64 {
        self.nr_anon[order.index()].load(Ordering::Relaxed).max(0) as u64
    }

    /// Returns the part of [`LargeFolios::nr_anon`] that lost the last mapping of a page while other pages stayed
    /// mapped. Kernel: `MTHP_STAT_NR_ANON_PARTIALLY_MAPPED`.
    pub(crate) fn nr_anon_partially_mapped(&self, order: Order) -> u64 {
        self.nr_anon_partially_mapped[order.index()].load(Ordering::Relaxed).max(0) as u64
    }

    /// Returns how often a folio of an order became partially mapped. Kernel: `MTHP_STAT_SPLIT_DEFERRED`.
    pub(crate) fn split_deferred(&self, order: Order) -> u64 {
        self.split_deferred[order.index()].load(Ordering::Relaxed)
    }
}

fn add(level: &[AtomicI64; SWAP_NR_ORDERS], order: Order, delta: i64) {
    level[order.index()].fetch_add(delta, Ordering::Relaxed);
}

impl<'a> Folio<'a> {
    fn header(self) -> &'a FolioHeader {
        self.memory.header(self.pfn)
    }

    /// Returns the number of page table entries and handles that map pages of the folio, one for each page. Kernel:
    /// `folio_mapcount`.
    pub fn mapcount(self) -> u32 {
        // Relaxed: the count changes under page table locks, and the caller wants a snapshot.
        self.header().mapcount.load(Ordering::Relaxed)
    }

    /// Returns whether any page table entry or handle maps the folio.
    pub fn is_mapped(self) -> bool {
        self.mapcount() > 0
    }

    /// Returns the number of pages of the folio that are mapped at all. Kernel: `_nr_pages_mapped`.
    pub(crate) fn nr_pages_mapped(self) -> u32 {
        match self.order() {
            Order::ZERO => self.mapcount().min(1),
            // Relaxed: as in `mapcount`.
            _ => self.header().nr_pages_mapped.load(Ordering::Relaxed),
        }
    }

    /// Adds a mapping of each page of a range, each with a reference. The caller holds the folio lock, or a lock under
    /// which another mapping of the folio stays. Kernel: `folio_add_anon_rmap_ptes`, `folio_add_new_anon_rmap`.
    #[inline]
    pub(crate) fn add_mappings(self, pages: Range<u32>) {
        let nr = pages.len() as u32;
        self.add_refs(nr);
        let nr_new = match self.order() {
            // Relaxed: as in `mapcount`.
            Order::ZERO => u32::from(self.header().mapcount.fetch_add(nr, Ordering::Relaxed) == 0),
            _ => self.add_large_mappings(pages),
        };
        self.count_mapped(i64::from(nr_new));
    }

    /// Removes a mapping of each page of a range and drops the references of these mappings. The caller holds a further
    /// reference. Kernel: `folio_remove_rmap_ptes`.
    #[inline]
    pub(crate) fn remove_mappings(self, pages: Range<u32>) {
        let nr = pages.len() as u32;
        let nr_lost = match self.order() {
            // Relaxed: as in `mapcount`.
            Order::ZERO => u32::from(self.header().mapcount.fetch_sub(nr, Ordering::Relaxed) == nr),
            _ => self.remove_large_mappings(pages),
        };
        self.count_mapped(-i64::from(nr_lost));
        self.put_refs(nr);
    }

    /// Adds `delta_pages` to the mapped pages of the folio's group. Kernel: `NR_ANON_MAPPED`.
    fn count_mapped(self, delta_pages: i64) {
        if delta_pages != 0
            && self.file_mapping() == 0
            && let Some((css, groups)) = self.css().zip(self.memory.memcg())
        {
            groups.get(css).count(MemcgStat::Anon, delta_pages);
        }
    }

    /// Works as [`Folio::add_mappings`] on a large folio, without references. Returns the number of pages that were not
    /// mapped before.
    fn add_large_mappings(self, pages: Range<u32>) -> u32 {
        let (header, counts) = (self.header(), self.memory.page_mapcounts(self));
        let nr = pages.len() as u32;
        // Acquire pairs with the Release of the last unmapping, so that the stores below come after the last change of
        // these counts.
        let nr_new = if header.mapcount.load(Ordering::Acquire) == 0 {
            for (page, count) in (0..).zip(counts) {
                count.store(u32::from(pages.contains(&page)), Ordering::Relaxed);
            }
            if self.file_mapping() == 0 && !self.set(FolioFlags::ANON).contains(FolioFlags::ANON) {
                add(&self.memory.large_folios.nr_anon, self.order(), 1);
            }
            nr
        } else {
            let counts = &counts[pages.start as usize..pages.end as usize];
            counts.iter().filter(|count| count.fetch_add(1, Ordering::Relaxed) == 0).count() as u32
        };
        header.nr_pages_mapped.fetch_add(nr_new, Ordering::Relaxed);
        header.mapcount.fetch_add(nr, Ordering::Release);
        nr_new
    }

    /// Works as [`Folio::remove_mappings`] on a large folio, without references. Returns the number of pages that are
    /// not mapped any more.
    fn remove_large_mappings(self, pages: Range<u32>) -> u32 {
        let header = self.header();
        let nr = pages.len() as u32;
        if header.mapcount.load(Ordering::Acquire) == nr {
            // The caller's mappings are the only ones. The exchange fails if another thread adds one meanwhile.
            let nr_lost = header.nr_pages_mapped.load(Ordering::Relaxed);
            if header.mapcount.compare_exchange(nr, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                header.nr_pages_mapped.fetch_sub(nr_lost, Ordering::Relaxed);
                return nr_lost;
            }
        }
        let counts = &self.memory.page_mapcounts(self)[pages.start as usize..pages.end as usize];
        let nr_lost = counts.iter().filter(|count| count.fetch_sub(1, Ordering::Relaxed) == 1).count() as u32;
        let nr_left = header.nr_pages_mapped.fetch_sub(nr_lost, Ordering::Relaxed) - nr_lost;
        let old = header.mapcount.fetch_sub(nr, Ordering::AcqRel);
        debug_assert!(old >= nr, "{nr} mappings removed, but only {old} exist");
        if nr_lost > 0 && nr_left > 0 {
            self.deferred_split_folio();
        }
        nr_lost
    }

    /// Marks a large anonymous folio as partially mapped, because a page lost its last mapping while other pages stay
    /// mapped. Reclaim splits such a folio first. A folio in the swap cache is not marked, because reclaim is unmapping
    /// the folio. Kernel: `deferred_split_folio`.
    fn deferred_split_folio(self) {
        let has_list = self.order().get() > 1 && self.file_mapping() == 0 && !self.has(FolioFlags::SWAPCACHE);
        if has_list && !self.set(FolioFlags::PARTIALLY_MAPPED).contains(FolioFlags::PARTIALLY_MAPPED) {
            let large = &self.memory.large_folios;
            large.split_deferred[self.order().index()].fetch_add(1, Ordering::Relaxed);
            add(&large.nr_anon_partially_mapped, self.order(), 1);
        }
    }

    /// Takes a large folio out of the numbers of large folios, because the folio is freed or split. Kernel:
    /// `folio_unqueue_deferred_split`, and `MTHP_STAT_NR_ANON` in `free_pages_prepare`.
    pub(super) fn forget_large(self) {
        let (order, large) = (self.order(), &self.memory.large_folios);
        let marks = FolioFlags::ANON | FolioFlags::PARTIALLY_MAPPED;
        if order == Order::ZERO || !self.flags().intersects(marks) {
            return;
        }
        let old = self.clear(marks);
        if old.contains(FolioFlags::ANON) {
            add(&large.nr_anon, order, -1);
        }
        if old.contains(FolioFlags::PARTIALLY_MAPPED) {
            add(&large.nr_anon_partially_mapped, order, -1);
        }
    }

    /// Counts what a split of this frozen folio does to the numbers of large folios. In the kernel a split unmaps the
    /// pages one by one, so a folio that is mapped page by page becomes partially mapped on the way. Kernel:
    /// `unmap_folio`, `__folio_split`.
    pub(crate) fn count_large_split(self) {
        if self.nr_pages_mapped() > 1 && !self.is_pmd_mapped() {
            self.deferred_split_folio();
        }
        self.forget_large();
    }

    /// Sets the mapped pages of a part of a split folio, whose pages keep their mappings. The part is frozen.
    pub(super) fn set_part_mapcount(self, part: Part) {
        let header = self.header();
        // Relaxed throughout: the folio is frozen, and `unfreeze` publishes the part.
        header.mapcount.store(part.mapcount, Ordering::Relaxed);
        header.entire_mapcount.store(0, Ordering::Relaxed);
        if part.order == Order::ZERO {
            return;
        }
        let is_counted = |count: &&std::sync::atomic::AtomicU32| count.load(Ordering::Relaxed) > 0;
        let nr_mapped = match part.mapcount {
            0 => 0,
            _ => self.memory.page_mapcounts(self).iter().filter(is_counted).count() as u32,
        };
        header.nr_pages_mapped.store(nr_mapped, Ordering::Relaxed);
        if nr_mapped > 0 && self.file_mapping() == 0 {
            self.set(FolioFlags::ANON);
            add(&self.memory.large_folios.nr_anon, part.order, 1);
        }
    }

    /// Moves the mappings of the frozen folio `old`, which this folio replaces, to this folio. The charge moves too, so
    /// the mapped pages of the group do not change.
    pub(crate) fn take_mappings(self, old: Folio<'_>) {
        let (from, to) = (old.header(), self.header());
        let mapcount = old.mapcount();
        self.add_refs(mapcount);
        // Relaxed throughout: both folios are locked, and the old folio is frozen.
        for (from, to) in [
            (&from.mapcount, &to.mapcount),
            (&from.nr_pages_mapped, &to.nr_pages_mapped),
            (&from.entire_mapcount, &to.entire_mapcount),
        ] {
            to.store(from.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        for (from, to) in old.memory.page_mapcounts(old).iter().zip(self.memory.page_mapcounts(self)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Returns whether each mapping of the folio is the mapping of the whole folio by an entry of the page middle
    /// directory.
    fn is_pmd_mapped(self) -> bool {
        let nr_whole = self.header().entire_mapcount.load(Ordering::Relaxed);
        nr_whole > 0 && nr_whole * self.nr_pages() == self.mapcount()
    }

    /// Counts that an entry of the page middle directory maps the whole folio, whose pages [`Folio::add_mappings`] has
    /// counted. Kernel: `_entire_mapcount`, `NR_ANON_THPS`.
    pub(crate) fn add_entire_mapping(self) {
        if self.header().entire_mapcount.fetch_add(1, Ordering::Relaxed) == 0 {
            self.count_thp(1);
        }
    }

    /// Counts that one mapping of the whole folio is gone, or is a mapping page by page from now on.
    pub(crate) fn remove_entire_mapping(self) {
        if self.header().entire_mapcount.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.count_thp(-1);
        }
    }

    fn count_thp(self, sign: i64) {
        if let Some((css, groups)) = self.css().zip(self.memory.memcg()) {
            groups.get(css).count(MemcgStat::AnonThp, sign * i64::from(self.nr_pages()));
        }
    }

    /// Returns the pages of the folio in mappings of the whole folio by entries of the page middle directory: all or
    /// none.
    pub(super) fn nr_thp_pages(self) -> u32 {
        let is_thp = self.order() == Order::MAX && self.header().entire_mapcount.load(Ordering::Relaxed) > 0;
        if is_thp { self.nr_pages() } else { 0 }
    }

    /// Maps pages of the folio for a handle. A handle that maps all pages of a folio of the largest order counts as an
    /// entry of the page middle directory.
    pub(crate) fn add_handle_mappings(self, pages: Range<u32>) {
        let is_entire = self.order() == Order::MAX && pages == (0..self.nr_pages());
        self.add_mappings(pages);
        if is_entire {
            self.add_entire_mapping();
        }
    }

    /// Ends the mapping that [`Folio::add_handle_mappings`] counted.
    pub(crate) fn remove_handle_mappings(self, pages: Range<u32>) {
        if self.order() == Order::MAX && pages == (0..self.nr_pages()) {
            self.remove_entire_mapping();
        }
        self.remove_mappings(pages);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{memory, order};
    use super::*;

    fn numbers(memory: &super::super::Memory, of: Order) -> (u64, u64, u64) {
        let large = memory.large_folios();
        (large.nr_anon(of), large.nr_anon_partially_mapped(of), large.split_deferred(of))
    }

    #[test]
    fn a_page_without_mapping_among_mapped_pages_defers_one_split() {
        let memory = memory();
        let folio = memory.alloc(order(2)).expect("room");
        folio.add_mappings(0..4);
        folio.add_mappings(0..2);
        assert_eq!((folio.mapcount(), folio.nr_pages_mapped()), (6, 4));
        folio.remove_mappings(1..2);
        assert_eq!((folio.nr_pages_mapped(), numbers(&memory, order(2))), (4, (1, 0, 0)), "page 1 is still mapped");
        folio.remove_mappings(3..4);
        folio.remove_mappings(2..3);
        assert_eq!((folio.nr_pages_mapped(), numbers(&memory, order(2))), (2, (1, 1, 1)));
        folio.remove_mappings(0..2);
        folio.remove_mappings(0..1);
        assert_eq!((folio.mapcount(), folio.nr_pages_mapped()), (0, 0));
        folio.add_mappings(2..3);
        assert_eq!(folio.nr_pages_mapped(), 1, "the first mapping forgets older counts");
        folio.remove_mappings(2..3);
        drop(folio);
        assert_eq!(numbers(&memory, order(2)), (0, 0, 1));
    }

    #[test]
    fn a_folio_that_is_unmapped_at_once_is_never_partially_mapped() {
        let memory = memory();
        for (of, pages) in [(order(4), 0..16), (order(1), 0..1), (order(0), 0..1)] {
            let folio = memory.alloc(of).expect("room");
            folio.add_mappings(0..folio.nr_pages());
            folio.remove_mappings(pages.clone());
            folio.remove_mappings(pages.end..folio.nr_pages());
            assert_eq!(folio.nr_pages_mapped(), 0);
            drop(folio);
            assert_eq!(numbers(&memory, of), (0, 0, 0), "{of}: a folio of 2 pages is on no list");
        }
    }
}
