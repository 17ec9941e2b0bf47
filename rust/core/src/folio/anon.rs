//! Counts of the large anonymous folios of address spaces, by order. Kernel: `MTHP_STAT_NR_ANON` and the statistics
//! beside `MTHP_STAT_NR_ANON`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Folio, FolioFlags, Memory};
use crate::base::limits::SWAP_NR_ORDERS;
use crate::base::types::Order;

/// Counts of large anonymous folios, by order.
#[derive(Debug, Default)]
pub(super) struct AnonFolios {
    /// Number of folios.
    nr_anon: [AtomicU64; SWAP_NR_ORDERS],
    /// Number of folios with the flag PARTIALLY_MAPPED.
    nr_partially_mapped: [AtomicU64; SWAP_NR_ORDERS],
    /// Number of times that a folio got the flag PARTIALLY_MAPPED.
    split_deferred: [AtomicU64; SWAP_NR_ORDERS],
}

/// Adds a signed number to a count.
fn add(count: &AtomicU64, nr: i64) {
    // Relaxed: no thread draws a conclusion from the count about other data.
    count.fetch_add(nr as u64, Ordering::Relaxed);
}

impl Memory {
    /// Returns the number of anonymous folios of an order above 0. Kernel: `MTHP_STAT_NR_ANON`.
    pub fn nr_anon(&self, order: Order) -> u64 {
        self.anon_folios.nr_anon[order.index()].load(Ordering::Relaxed)
    }

    /// Returns the number of anonymous folios of an order of which only some pages are mapped. Kernel:
    /// `MTHP_STAT_NR_ANON_PARTIALLY_MAPPED`.
    pub fn nr_anon_partially_mapped(&self, order: Order) -> u64 {
        self.anon_folios.nr_partially_mapped[order.index()].load(Ordering::Relaxed)
    }

    /// Returns the number of times that an anonymous folio of an order became partially mapped, so that the kernel
    /// would queue it for a split. Kernel: `MTHP_STAT_SPLIT_DEFERRED`.
    pub fn split_deferred(&self, order: Order) -> u64 {
        self.anon_folios.split_deferred[order.index()].load(Ordering::Relaxed)
    }
}

impl Folio<'_> {
    fn is_large_anon(self) -> bool {
        self.order() != Order::ZERO && self.anon_vma() != 0
    }

    /// Adds `nr` to the number of anonymous folios of this folio's order. Folios of order 0 are not counted, and
    /// neither are folios that no address space has mapped. Kernel: `mod_mthp_stat`.
    pub(crate) fn count_as_anon(self, nr: i64) {
        if self.is_large_anon() {
            add(&self.memory.anon_folios.nr_anon[self.order().index()], nr);
        }
    }

    /// Marks a large anonymous folio as partially mapped if some of its pages are not mapped any more. A folio in the
    /// swap cache is not marked, because reclaim unmaps such a folio page by page. The caller has a reference.
    ///
    /// Kernel: the end of `__folio_remove_rmap` with `CONFIG_NO_PAGE_MAPCOUNT`, `deferred_split_folio`; differs: the
    /// folio is not queued.
    pub(crate) fn note_partial_mapping(self) {
        if !self.is_large_anon() || self.order().get() < 2 {
            return;
        }
        let mapcount = self.mapcount();
        if mapcount == 0 || mapcount >= self.nr_pages() || self.has(FolioFlags::SWAPCACHE) {
            return;
        }
        if !self.set(FolioFlags::PARTIALLY_MAPPED).contains(FolioFlags::PARTIALLY_MAPPED) {
            let counts = &self.memory.anon_folios;
            add(&counts.nr_partially_mapped[self.order().index()], 1);
            add(&counts.split_deferred[self.order().index()], 1);
        }
    }

    /// Removes the folio from the counts before its memory is freed or before it is split. Kernel:
    /// `folio_unqueue_deferred_split`, and the count of `free_pages_prepare`.
    pub(super) fn forget_anon(self) {
        if self.order() == Order::ZERO {
            return;
        }
        self.count_as_anon(-1);
        if self.has(FolioFlags::PARTIALLY_MAPPED) {
            self.clear(FolioFlags::PARTIALLY_MAPPED);
            add(&self.memory.anon_folios.nr_partially_mapped[self.order().index()], -1);
        }
    }

    /// Counts the parts of a folio that is being split into folios of `order`, in place of the folio. The folio is
    /// frozen, and `mapcount` is its number of mappings.
    ///
    /// A split of a mapped folio also counts as a deferred split, because the kernel unmaps the folio page by page, and
    /// the first of these pages queues the folio. Kernel: `unmap_folio`, and the counts of `__folio_split`.
    pub(crate) fn count_anon_parts(self, order: Order, mapcount: u32) {
        if !self.is_large_anon() {
            return;
        }
        let counts = &self.memory.anon_folios;
        if order != Order::ZERO {
            add(&counts.nr_anon[order.index()], i64::from(self.nr_pages() / order.nr_pages()));
        }
        let is_queued = self.flags().intersects(FolioFlags::PARTIALLY_MAPPED | FolioFlags::SWAPCACHE);
        if mapcount > 1 && !is_queued && self.order().get() >= 2 {
            add(&counts.split_deferred[self.order().index()], 1);
        }
        self.forget_anon();
    }
}
