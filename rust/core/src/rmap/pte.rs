//! Page table entries and page tables.

use std::ops::{Deref, DerefMut};

use super::PTRS_PER_PTE;
use crate::base::types::{Pfn, SwpEntry};
use crate::folio::{Folio, Memory};

/// One page table entry. Kernel: `pte_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pte {
    /// No page is mapped. The first touch makes a page of zeros.
    #[default]
    None,
    /// The shared page of zeros, because the page was read before its first write, or was all zeros when its folio was
    /// split. The page belongs to no group. Kernel: the entry of `ZERO_PAGE`.
    Zero,
    /// A page of a folio in memory.
    Present {
        /// The folio's first page.
        pfn: Pfn,
        /// Index of the page in the folio.
        page: u16,
        /// Whether no other page table entry names the page, so that a write needs no copy. Kernel: writable and
        /// exclusive together.
        is_exclusive: bool,
        /// Whether the page was touched since the last scan by reclaim. Kernel: the accessed bit.
        is_young: bool,
    },
    /// A page that was swapped out. The page table entry holds one reference to the slot.
    Swap {
        /// The slot.
        entry: SwpEntry,
        /// Whether no other page table entry named the page at the swap-out.
        is_exclusive: bool,
    },
}

impl Pte {
    /// Makes the entry of a page. The field `is_young` is true, because the fault that maps the page touches the
    /// page.
    pub(crate) fn present(pfn: Pfn, page: u16, is_exclusive: bool) -> Self {
        Self::Present { pfn, page, is_exclusive, is_young: true }
    }

    /// Makes the entry of a page that no other entry maps. The field `is_young` is true.
    pub(crate) fn exclusive(pfn: Pfn, page: u16) -> Self {
        Self::present(pfn, page, true)
    }

    /// Returns whether a page is in memory.
    pub fn is_present(self) -> bool {
        matches!(self, Self::Present { .. } | Self::Zero)
    }

    /// Returns the slot of a swapped-out page.
    pub fn slot(self) -> Option<SwpEntry> {
        match self {
            Self::Swap { entry, .. } => Some(entry),
            _ => None,
        }
    }

    /// Returns whether this entry and the entry `next` name consecutive pages of one folio, or consecutive slots.
    /// Kernel: `folio_pte_batch`, `swap_pte_batch`.
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        match (*self, *next) {
            (Self::Present { pfn, page, .. }, Self::Present { pfn: next_pfn, page: next_page, .. }) => {
                pfn == next_pfn && page + 1 == next_page
            }
            (Self::Swap { entry, .. }, Self::Swap { entry: next, .. }) => next == entry.plus(1),
            _ => false,
        }
    }

    /// Returns whether the entry names page `page` of a folio.
    pub(crate) fn names(&self, folio: Folio<'_>, page: u32) -> bool {
        matches!(*self, Self::Present { pfn, page: own, .. } if pfn == folio.pfn() && u32::from(own) == page)
    }

    /// Clears `is_young`. Returns whether the page was touched since the last call. Kernel:
    /// `ptep_test_and_clear_young`.
    pub(crate) fn test_and_clear_young(&mut self) -> bool {
        match self {
            Self::Present { is_young, .. } => std::mem::take(is_young),
            _ => false,
        }
    }
}

/// The entry of the page middle directory (PMD) that points to a page table. Kernel: `pmd_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Pmd {
    /// No page of the page table was touched since the start, or since the whole page table was zapped. Only such a
    /// range takes a folio of the largest order. Kernel: `pmd_none`.
    #[default]
    None,
    /// The entries of the page table are mappings of single pages.
    Table,
    /// One mapping of a folio of the largest order, or of the shared page of zeros, fills all entries. Kernel:
    /// `pmd_trans_huge`.
    Huge,
}

/// The entries of one page table. The vector is empty until the first use of the table, and then has all 512 entries.
#[derive(Debug, Default)]
pub(crate) struct PageTable {
    entries: Vec<Pte>,
    /// Kernel: the state of the entry above the page table.
    pub(crate) pmd: Pmd,
}

impl PageTable {
    /// Makes the entries, if the table has none yet.
    pub(crate) fn populate(&mut self) {
        if self.entries.is_empty() {
            self.entries.resize(PTRS_PER_PTE as usize, Pte::None);
        }
    }

    /// Replaces the mapping of a whole folio by mappings of its pages, before the entry of one page changes. Kernel:
    /// `__split_huge_pmd`.
    pub(crate) fn split_huge_pmd(&mut self, memory: &Memory) {
        if self.pmd == Pmd::Huge {
            self.end_huge(memory);
            self.pmd = Pmd::Table;
        }
    }

    /// Prepares the zap of `nr_entries` entries. A zap of all entries frees the page table. Kernel: `zap_huge_pmd`,
    /// `try_to_free_pte`.
    pub(crate) fn prepare_zap(&mut self, nr_entries: usize, memory: &Memory) {
        if nr_entries < PTRS_PER_PTE as usize {
            return self.split_huge_pmd(memory);
        }
        if self.pmd == Pmd::Huge {
            self.end_huge(memory);
        }
        self.pmd = Pmd::None;
    }

    fn end_huge(&self, memory: &Memory) {
        if let Pte::Present { pfn, .. } = self.entries[0] {
            memory.folio(pfn).remove_entire_mapping();
        }
    }
}

impl Deref for PageTable {
    type Target = [Pte];

    fn deref(&self) -> &[Pte] {
        &self.entries
    }
}

impl DerefMut for PageTable {
    fn deref_mut(&mut self) -> &mut [Pte] {
        &mut self.entries
    }
}
