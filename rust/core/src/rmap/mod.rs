//! The reverse map finds the page table entries that name a folio. This file also defines page table entries, page
//! tables and mappings, because reclaim changes page table entries and must not depend on the fault code, which is in
//! a higher layer.
//!
//! A mapping and all its copies by forks have the same addresses and share an `AnonVma`. A folio stores the number of
//! its `AnonVma` and the folio's page index in the mapping. A walk locks each page table that can map the folio and
//! checks which entries name the folio. A caller that needs all entries compares the number of found entries with the
//! folio's count of mappings.
//!
//! A file in memory has no page tables. `file` defines the entries of a file, one for each page index, which replace
//! page table entries. `pte` has page table entries and page tables.
//!
//! Locks, from the outermost to the innermost: the folio lock; page table locks in the order of forks, or the lock of
//! a file's entries; a CPU's local lock. The locks of the lists in this file are leaves: no other lock is taken under
//! them.

mod file;
mod pte;
mod tasks;

use std::ops::Range;
use std::sync::{Arc, Weak};

pub use file::ShmemEntry;
pub(crate) use file::{FileMapping, FileMappings};
pub use pte::Pte;
pub(crate) use pte::{PageTable, Pmd};
pub(crate) use tasks::{Task, Tasks};

use crate::base::sync::{SpinGuard, SpinMutex};
use crate::base::types::Order;
use crate::containers::orders::Orders;
use crate::containers::pieces::pieces;
use crate::folio::{Folio, FolioFlags, LockedFolio, Memory};
pub use crate::readahead::PTRS_PER_PTE;
use crate::readahead::{VmaRaWord, VmaReadahead, Vpn};

/// Options of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VmaOptions {
    /// Orders of folios that a swap-in may use. Kernel: the mTHP sizes that are enabled.
    pub orders: Orders,
    /// Order of the folio that the first touch of a page makes, if a folio of this order fits; otherwise the first
    /// touch makes a smaller folio, of an order of `orders` if `orders` has `anon_order`. Not used if `anon_orders` has
    /// an order.
    pub anon_order: u8,
    /// Orders that the first touch of a page may use, the largest first. Kernel: the mTHP sizes that are enabled.
    pub anon_orders: Orders,
    /// Whether the mapping is advised to be huge, see [`crate::machine::ThpDefrag`]; `None` means that the mapping is
    /// advised if a first touch may use a large folio. Kernel: `VM_HUGEPAGE`.
    pub is_hugepage: Option<bool>,
    /// Pages must stay in memory once they are touched. Kernel: `VM_LOCKED`, as `mlock2` with `MLOCK_ONFAULT` sets
    /// it.
    pub is_locked: bool,
    /// Whether a user handles faults page by page, so that faults use no large folios. Kernel: `userfaultfd_armed`.
    pub is_uffd_armed: bool,
}

impl VmaOptions {
    /// Returns whether the mapping is advised to be huge.
    pub(crate) fn is_hugepage(&self) -> bool {
        self.is_hugepage.unwrap_or_else(|| self.first_touch_orders().highest() != Order::ZERO)
    }

    /// Returns the orders of folios that a first touch may use: `anon_orders`; without these, `anon_order` and the
    /// smaller ones of `orders` if `orders` has `anon_order`, and otherwise every order up to `anon_order`.
    pub(crate) fn first_touch_orders(&self) -> Orders {
        if !self.anon_orders.is_empty() {
            return self.anon_orders;
        }
        let up_to = Orders::up_to(Order::new(self.anon_order).expect("checked by mmap"));
        let has_anon_order = self.orders.bits() >> self.anon_order & 1 == 1;
        if has_anon_order { Orders::from_bits(self.orders.bits() & up_to.bits()).expect("orders") } else { up_to }
    }
}

/// A range of pages with one set of options. Kernel: `struct vm_area_struct`.
#[derive(Debug)]
pub struct Vma {
    pages: Range<Vpn>,
    options: VmaOptions,
    /// The page tables in order. The mapping may use only a part of the first and of the last table.
    tables: Box<[SpinMutex<PageTable>]>,
    anon_vma: Arc<AnonVma>,
    pub(crate) readahead: VmaReadahead,
}

impl Vma {
    /// Makes a mapping. The reverse map lists the mapping until the mapping is dropped.
    pub(crate) fn new(pages: Range<Vpn>, options: VmaOptions, anon_vma: &Arc<AnonVma>) -> Arc<Self> {
        Self::with_readahead(pages, options, anon_vma, VmaRaWord::default())
    }

    fn with_readahead(
        pages: Range<Vpn>,
        options: VmaOptions,
        anon_vma: &Arc<AnonVma>,
        readahead: VmaRaWord,
    ) -> Arc<Self> {
        let nr_tables = pages.end.0.div_ceil(PTRS_PER_PTE) - pages.start.0 / PTRS_PER_PTE;
        let tables = (0..nr_tables).map(|_| SpinMutex::default()).collect();
        let readahead = VmaReadahead::new(readahead);
        let vma = Arc::new(Self { pages, options, tables, anon_vma: anon_vma.clone(), readahead });
        anon_vma.vmas.lock().push(Arc::downgrade(&vma));
        vma
    }

    /// Makes the child's mapping of a fork, without pages yet. The child inherits the readahead state, so that its
    /// first window continues the last window of the parent. The child does not inherit the mlock (`is_locked`).
    /// Kernel: `dup_mmap`, `vm_area_dup`, `anon_vma_fork`.
    pub(crate) fn fork(&self) -> Arc<Self> {
        let options = VmaOptions { is_locked: false, ..self.options };
        Self::with_readahead(self.pages(), options, &self.anon_vma, self.readahead.word())
    }

    /// Returns the pages of the mapping.
    pub fn pages(&self) -> Range<Vpn> {
        self.pages.clone()
    }

    /// Returns the options of the mapping.
    pub fn options(&self) -> VmaOptions {
        self.options
    }

    /// Returns the page tables, each with its lock.
    pub(crate) fn tables(&self) -> &[SpinMutex<PageTable>] {
        &self.tables
    }

    fn locked_table(&self, vpn: Vpn) -> SpinGuard<'_, PageTable> {
        self.tables[(vpn.0 / PTRS_PER_PTE - self.pages.start.0 / PTRS_PER_PTE) as usize].lock()
    }

    /// Locks the page table of a page and returns the table. The function [`index`] gives the position of the page's
    /// entry in the table.
    pub(crate) fn table(&self, vpn: Vpn) -> SpinGuard<'_, PageTable> {
        let mut table = self.locked_table(vpn);
        table.populate();
        table
    }

    /// Returns the aligned range of `nr_pages` pages that contains a page, or `None` when the mapping does not
    /// contain the whole range.
    pub(crate) fn window(&self, vpn: Vpn, nr_pages: u32) -> Option<Range<Vpn>> {
        let first = vpn.0 - vpn.0 % u64::from(nr_pages);
        let window = Vpn(first)..Vpn(first + u64::from(nr_pages));
        (window.start >= self.pages.start && window.end <= self.pages.end).then_some(window)
    }

    /// Returns the pages of this mapping that share a page table with page `vpn`.
    pub(crate) fn same_table(&self, vpn: Vpn) -> Range<u64> {
        let first = vpn.0 - vpn.0 % PTRS_PER_PTE;
        first.max(self.pages.start.0)..(first + PTRS_PER_PTE).min(self.pages.end.0)
    }

    /// Returns a copy of the page table entry of a page. Another thread may change the entry after the call.
    pub fn pte(&self, vpn: Vpn) -> Pte {
        self.table(vpn)[index(vpn)]
    }

    /// Stores the number of this mapping's `AnonVma` and the page index in a folio before the mapping maps the folio.
    /// `first` is the address of the folio's first page, or `None` if the first page would have a negative address.
    ///
    /// The caller holds the folio lock, or no other thread has a reference to the folio. A folio that is already
    /// mapped keeps its earlier values. Kernel: `folio_add_new_anon_rmap`, `__folio_set_anon`.
    pub(crate) fn set_anon_rmap(&self, folio: Folio<'_>, first: Option<Vpn>) {
        let index = first.and_then(|first| first.0.checked_sub(self.pages.start.0));
        if let Some(index) = index
            && !folio.is_mapped()
        {
            folio.set_anon_rmap(self.anon_vma.number, index as u32);
        }
    }

    /// Marks a new folio as mlocked if the mapping is mlocked (`is_locked`). The folio is on no list yet. Kernel:
    /// `mlock_new_folio`.
    pub(crate) fn mlock_new_folio(&self, folio: Folio<'_>) {
        folio.assign(FolioFlags::MLOCKED, self.options.is_locked);
    }

    /// Adds pages of a locked folio, the first of which is mapped at page `first`, to the folio's count of mappings.
    /// The caller holds the lock of the page table and writes the entries. Kernel: `folio_add_anon_rmap_ptes`,
    /// `mlock_vma_folio`.
    pub(crate) fn map_pages(&self, first: Vpn, locked: &LockedFolio<'_>, pages: Range<u32>) {
        self.set_anon_rmap(locked.folio(), first.0.checked_sub(pages.start.into()).map(Vpn));
        locked.add_mappings(pages);
        if self.options.is_locked && locked.order() == Order::ZERO {
            // A large folio gets the flag MLOCKED later, when reclaim scans the folio.
            locked.mlock();
        }
    }

    /// Subtracts pages of the mapping from a folio's count of mappings. If the mapping is mlocked, the folio loses
    /// the flag MLOCKED; reclaim sets the flag again if the mapping still maps other pages of the folio. The caller
    /// holds a reference. Kernel: `folio_remove_rmap_ptes`, `munlock_vma_folio`.
    pub(crate) fn remove_rmap(&self, folio: Folio<'_>, pages: Range<u32>) {
        if self.options.is_locked {
            folio.munlock();
        }
        folio.remove_mappings(pages);
    }

    /// Returns the pages of the mapping at which the pages of a folio can be mapped.
    fn range_of(&self, folio: Folio<'_>) -> Range<u64> {
        // The range is cut at the end of the mapping, because a folio without mappings may store a page index in
        // another mapping that is longer.
        let page = |index: u32| (self.pages.start.0 + u64::from(index)).min(self.pages.end.0);
        page(folio.page_index())..page(folio.page_index() + folio.nr_pages())
    }
}

/// Returns the position of a page's entry in its page table.
pub(crate) fn index(vpn: Vpn) -> usize {
    (vpn.0 % PTRS_PER_PTE) as usize
}

/// A mapping and all its copies by forks. Kernel: `struct anon_vma`; differs: a whole tree of forks has one
/// `AnonVma`.
#[derive(Debug)]
pub(crate) struct AnonVma {
    /// The number that folios store. The least number is 1.
    number: u32,
    home: Arc<AnonVmas>,
    /// The mappings, parents before children.
    vmas: SpinMutex<Vec<Weak<Vma>>>,
}

impl AnonVma {
    /// Returns the mappings that still exist, parents before children.
    fn vmas(&self) -> Vec<Arc<Vma>> {
        let mut vmas = self.vmas.lock();
        vmas.retain(|vma| vma.strong_count() > 0);
        vmas.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for AnonVma {
    fn drop(&mut self) {
        self.home.numbers.lock().release(self.number);
    }
}

/// A table of values, each with a number from 1. The number of a dropped value is used again. A folio without
/// mappings may store the number of a dropped value. If the number belongs to another value, that value does not name
/// the folio.
#[derive(Debug)]
struct Numbers<T> {
    by_number: Vec<Weak<T>>,
    free: Vec<u32>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { by_number: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbers<T> {
    /// Gives a free number to `make`, and stores and returns the value that `make` makes.
    fn alloc(&mut self, make: impl FnOnce(u32) -> T) -> Arc<T> {
        let number = self.free.pop().unwrap_or_else(|| {
            self.by_number.push(Weak::new());
            self.by_number.len() as u32
        });
        let value = Arc::new(make(number));
        self.by_number[number as usize - 1] = Arc::downgrade(&value);
        value
    }

    /// Returns the value of a number. Number 0 has no value.
    fn value_of(&self, number: u32) -> Option<Arc<T>> {
        number.checked_sub(1).and_then(|at| self.by_number[at as usize].upgrade())
    }

    /// Makes a number free, when its value is dropped.
    fn release(&mut self, number: u32) {
        self.by_number[number as usize - 1] = Weak::new();
        self.free.push(number);
    }
}

/// Every [`AnonVma`] by number.
#[derive(Debug, Default)]
pub(crate) struct AnonVmas {
    numbers: SpinMutex<Numbers<AnonVma>>,
}

impl AnonVmas {
    /// Makes an `AnonVma` without mappings. Kernel: `anon_vma_alloc`.
    pub(crate) fn alloc(self: &Arc<Self>) -> Arc<AnonVma> {
        let make = |number| AnonVma { number, home: self.clone(), vmas: SpinMutex::default() };
        self.numbers.lock().alloc(make)
    }

    /// Returns the mappings of an `AnonVma`, parents before children. Number 0 has no mappings.
    fn vmas_of(&self, number: u32) -> Vec<Arc<Vma>> {
        let anon_vma = self.numbers.lock().value_of(number);
        anon_vma.map_or(Vec::new(), |anon_vma| anon_vma.vmas())
    }

    /// Calls `call` for each page table that can map pages of a folio. `call` receives the mapping, the entries that
    /// can map the folio's pages, and the page index of the first entry. The page table is locked during the call.
    /// The walk stops at the first error. The caller holds the folio lock.
    ///
    /// Kernel: `rmap_walk`.
    pub(crate) fn rmap_walk<E>(
        &self,
        folio: Folio<'_>,
        mut call: impl FnMut(&Vma, &mut [Pte], u32) -> Result<(), E>,
    ) -> Result<(), E> {
        for vma in self.vmas_of(folio.anon_vma()) {
            let range = vma.range_of(folio);
            for piece in pieces::<PTRS_PER_PTE>(range.clone()) {
                let mut table = vma.locked_table(Vpn(piece.start));
                if !table.is_empty() {
                    let entries = &mut table[index(Vpn(piece.start))..][..(piece.end - piece.start) as usize];
                    call(&vma, entries, (piece.start - range.start) as u32)?;
                }
            }
        }
        Ok(())
    }

    /// Replaces each mapping of a whole folio of the largest order by mappings of its pages, before the folio is
    /// unmapped. Mappings of mlocked mappings stay. The caller holds the folio lock. Kernel: `TTU_SPLIT_HUGE_PMD`.
    pub(crate) fn split_huge_pmds(&self, folio: Folio<'_>, memory: &Memory) {
        for vma in self.vmas_of(folio.anon_vma()).iter().filter(|vma| !vma.options().is_locked) {
            let range = vma.range_of(folio);
            if !range.is_empty() {
                let mut table = vma.locked_table(Vpn(range.start));
                if table.first().is_some_and(|pte| pte.names(folio, 0)) {
                    table.split_huge_pmd(memory);
                }
            }
        }
    }

    /// Calls `call` with each page table that has entries, and with the mapping of the table. The table is locked
    /// during the call. The tables are visited in the order of the numbers of their `AnonVma`s. Kernel:
    /// `walk_page_range` over the address spaces of `lru_gen_mm_walk`.
    pub(crate) fn for_each_table(&self, mut call: impl FnMut(&Vma, &mut [Pte])) {
        let nr_numbers = self.numbers.lock().by_number.len() as u32;
        for number in 1..=nr_numbers {
            for vma in self.vmas_of(number) {
                for table in vma.tables() {
                    let mut table = table.lock();
                    if !table.is_empty() {
                        call(&vma, &mut table);
                    }
                }
            }
        }
    }

    /// Calls `call` once with a list of all entries that name a folio, each entry with its page index. All page
    /// tables of these entries are locked during the call. After a success of `call` the entries are mappings of single
    /// pages. Returns `None` without a call when the number of found
    /// entries differs from the folio's count of mappings, or when the folio is in more than one page table of a
    /// mapping. The caller holds the folio lock.
    ///
    /// Kernel: `unmap_folio` and `remap_page` of `__folio_split`. `call` is the work between `unmap_folio` and
    /// `remap_page`.
    pub(crate) fn with_all_entries<R, E>(
        &self,
        folio: Folio<'_>,
        call: impl FnOnce(&mut [(u32, &mut Pte)]) -> Result<R, E>,
    ) -> Option<Result<R, E>> {
        let vmas = self.vmas_of(folio.anon_vma());
        let mut tables = Vec::with_capacity(vmas.len());
        for vma in &vmas {
            let range = vma.range_of(folio);
            if range.is_empty() {
                continue;
            }
            if range.end > vma.same_table(Vpn(range.start)).end {
                return None;
            }
            tables.push((range, vma.locked_table(Vpn(vma.range_of(folio).start))));
        }
        // Another task may map another whole folio at the same pages.
        let is_huge = |(_, table): &(_, SpinGuard<'_, PageTable>)| table.pmd == Pmd::Huge && table[0].names(folio, 0);
        let huge: Vec<usize> = (0..tables.len()).filter(|&at| is_huge(&tables[at])).collect();
        let mut entries: Vec<(u32, &mut Pte)> = Vec::with_capacity(folio.mapcount() as usize);
        for (range, table) in tables.iter_mut().filter(|(_, table)| !table.is_empty()) {
            let first = index(Vpn(range.start));
            let here = table[first..].iter_mut().take((range.end - range.start) as usize);
            entries.extend((0..).zip(here).filter(|(page, pte)| pte.names(folio, *page)));
        }
        let result = (entries.len() == folio.mapcount() as usize).then(|| call(&mut entries));
        if let Some(Ok(_)) = result {
            huge.into_iter().for_each(|at| tables[at].1.pmd = Pmd::Table);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vma_of(home: &Arc<AnonVmas>) -> Arc<Vma> {
        Vma::new(Vpn(512)..Vpn(1600), VmaOptions::default(), &home.alloc())
    }

    fn map(vma: &Vma, folio: Folio<'_>, first: Vpn) {
        vma.set_anon_rmap(folio, Some(first));
        folio.add_mappings(0..folio.nr_pages());
        let mut table = vma.table(first);
        for page in 0..folio.nr_pages() {
            table[index(first) + page as usize] = Pte::present(folio.pfn(), page as u16, false);
        }
    }

    fn unmap(vma: &Vma, folio: Folio<'_>, first: Vpn) {
        vma.table(first)[index(first)..][..folio.nr_pages() as usize].fill(Pte::None);
        folio.remove_mappings(0..folio.nr_pages());
    }

    #[test]
    fn every_fork_is_walked_and_a_dropped_one_is_not() {
        let (memory, home) = (Memory::new(512, None).expect("a size"), Arc::new(AnonVmas::default()));
        let parent = vma_of(&home);
        let folio = memory.alloc(Order::new(2).expect("an order")).expect("room");
        map(&parent, folio.folio(), Vpn(1024));
        let child = parent.fork();
        map(&child, folio.folio(), Vpn(1024));
        assert_eq!((folio.anon_vma(), folio.page_index()), (1, 512));
        let walk = || {
            let mut seen = 0;
            let walked: Result<(), ()> = home.rmap_walk(folio.folio(), |_, entries, first| {
                let named = |(i, pte): (usize, &Pte)| pte.names(folio.folio(), first + i as u32);
                seen += entries.iter().enumerate().filter(|&entry| named(entry)).count();
                Ok(())
            });
            assert_eq!(walked, Ok(()));
            seen
        };
        assert_eq!(walk(), 8);
        let pages_of = |all: &mut [(u32, &mut Pte)]| Ok::<_, ()>(all.iter().map(|(page, _)| *page).collect::<Vec<_>>());
        let pages = home.with_all_entries(folio.folio(), pages_of);
        assert_eq!(pages, Some(Ok(vec![0, 1, 2, 3, 0, 1, 2, 3])));
        // The folio's count of mappings is one more than the number of its page table entries, so the walk finds too
        // few entries.
        folio.add_mappings(0..1);
        assert_eq!(home.with_all_entries(folio.folio(), |_| Ok::<_, ()>(())), None);
        folio.remove_mappings(0..1);
        unmap(&parent, folio.folio(), Vpn(1024));
        drop(parent);
        assert_eq!(walk(), 4);
        unmap(&child, folio.folio(), Vpn(1024));
        drop(child);
        assert_eq!(walk(), 0);
        // The next `AnonVma` gets the freed number 1. The walk of the folio finds no entry in the mapping of this
        // `AnonVma`.
        let other = vma_of(&home);
        assert_eq!((other.anon_vma.number, walk()), (1, 0));
    }
}
