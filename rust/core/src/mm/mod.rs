//! Address spaces: page tables whose entries are pages, slots or nothing. This file has mmap, fork, zap, reads and
//! writes. `fault` has page faults, `madvise` has the pageout of a range, `unuse` has the walk of a swapoff, and
//! `shmem` has files in memory.
//!
//! A thread takes locks in the order folio lock, page table lock, local lock of a CPU. A thread takes a reference to
//! a mapped folio under the page table lock. The lock keeps the folio alive, because the page table entry holds a
//! reference and does not change under the lock.

mod fault;
mod madvise;
mod oom;
mod shmem;
#[cfg(test)]
mod tests;
mod unuse;

use std::ops::Range;
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

pub use fault::Access;
pub use madvise::PageoutReport;
pub use shmem::{FILE_PAGES_MAX, Shmem, ShmemEntry};

use crate::base::error::{Result, SwapError};
use crate::base::gfp::Gfp;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CpuId, CssId, Order, Pfn};
use crate::containers::pieces::pieces;
use crate::folio::{FolioRef, ZERO_PAGE};
use crate::machine::Swap;
use crate::memcg::{MemCgroup, MemCgroups};
use crate::readahead::Vpn;
pub use crate::rmap::{PTRS_PER_PTE, Pte, Vma, VmaOptions};
use crate::rmap::{PageTable, Pmd, Task, index};

/// Largest number of pages of one mapping: 1 TiB. A page table is allocated at the first use of the table, but the
/// locks of all page tables of a mapping exist from the start.
pub const MMAP_PAGES_MAX: u64 = 1 << 28;

/// One address space. Kernel: `struct mm_struct`.
#[derive(Debug)]
pub struct Mm {
    swap: Arc<Swap>,
    task: Arc<Task>,
}

impl Mm {
    /// Makes an empty address space of a task in the root group.
    pub fn new(swap: Arc<Swap>) -> Self {
        Self::in_group(swap, CssId::ROOT).expect("root takes every task")
    }

    /// Makes an empty address space of a task in a group. The group is charged for the task's pages and is not freed
    /// while the task exists.
    ///
    /// Errors: `Cgroup` (ENODEV) when the group is removed. Kernel: `get_mem_cgroup_from_mm`.
    pub fn in_group(swap: Arc<Swap>, css: CssId) -> Result<Self> {
        if let Some(groups) = swap.memcg() {
            groups.enter(css)?;
        }
        let task = swap.tasks.add_task(css);
        Ok(Self { swap, task })
    }

    /// Returns the group of the task.
    pub fn css(&self) -> CssId {
        self.task.css()
    }

    /// Moves the task to another group. The task's next pages are charged to the new group. The charges of pages and
    /// slots that the task already has stay with the old group.
    ///
    /// Errors, with the task in its old group: `Cgroup` (ENODEV) when the new group is removed; `Killed` (ESRCH).
    /// Locks: the tree lock. Kernel: a write of `cgroup.procs`, on v1 without `memory.move_charge_at_immigrate`.
    pub fn enter_group(&self, css: CssId) -> Result<()> {
        self.check_alive()?;
        if let Some(groups) = self.swap.memcg() {
            groups.enter(css)?;
            let old = self.task.replace_css(css);
            groups.leave(old.unwrap_or(css));
            return old.map(|_| ()).ok_or(SwapError::Killed);
        }
        Ok(())
    }

    /// Calls `call` with the group of the task. If the group was removed because the task moved to another group, the
    /// call is repeated for the new group.
    fn with_group<T>(&self, call: impl Fn(CssId) -> Result<T>) -> Result<T> {
        let groups = match self.swap.memcg() {
            Some(groups) if self.css() != CssId::ROOT => groups,
            _ => return call(self.css()),
        };
        loop {
            let group = self.get_task_group(groups);
            let result = call(group.css());
            let has_moved = self.css() != group.css();
            groups.css_put(group, 1);
            match result {
                Err(SwapError::Cgroup { .. }) if has_moved => {}
                result => return result,
            }
        }
    }

    /// Returns the group of the task, with a reference. Under the reference, the number of the group is not given to a
    /// new group, even if the group is removed. Kernel: `get_mem_cgroup_from_mm`.
    fn get_task_group<'a>(&self, groups: &'a MemCgroups) -> &'a MemCgroup {
        loop {
            let group = groups.get(self.css());
            if groups.css_tryget(group) {
                if self.css() == group.css() {
                    return group;
                }
                groups.css_put(group, 1);
            }
        }
    }

    /// Allocates a folio and charges the folio to the group of the task. Errors: as [`Swap::folio_charged`].
    fn folio_for_task(&self, order: Order, gfp: Gfp, cpu: CpuId) -> Result<FolioRef<'_>> {
        self.with_group(|css| self.swap.folio_charged(order, css, gfp, cpu))
    }

    /// Returns the subsystem.
    pub fn swap(&self) -> &Arc<Swap> {
        &self.swap
    }

    fn vmas(&self) -> RwLockReadGuard<'_, Vec<Arc<Vma>>> {
        self.task.vmas()
    }

    fn vmas_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Vma>>> {
        self.task.vmas_for_change()
    }

    /// Maps `nr_pages` pages and returns the mapping, which starts at a page table border. Errors: `OutOfRange`
    /// (EINVAL); `Killed` (ESRCH).
    pub fn mmap(&self, nr_pages: u64, options: VmaOptions) -> Result<Arc<Vma>> {
        let high = MMAP_PAGES_MAX;
        if nr_pages == 0 || nr_pages > high {
            return Err(SwapError::OutOfRange { what: "pages of a mapping", value: nr_pages.into(), low: 1, high });
        }
        if Order::new(options.anon_order).is_none() {
            return Err(SwapError::OrderTooLarge(options.anon_order.into()));
        }
        self.check_alive()?;
        let mut vmas = self.vmas_mut();
        let last = vmas.last().map_or(0, |vma| vma.pages().end.0);
        let start = (last + 1).next_multiple_of(PTRS_PER_PTE);
        let vma = Vma::new(Vpn(start)..Vpn(start + nr_pages), options, &self.swap.anon_vmas.alloc());
        vmas.push(vma.clone());
        Ok(vma)
    }

    /// Returns the mapping of a page. Errors: `NotMapped` (EFAULT); `Killed` (ESRCH).
    pub fn vma_of(&self, vpn: Vpn) -> Result<Arc<Vma>> {
        self.check_alive()?;
        let vmas = self.vmas();
        let at = vmas.partition_point(|vma| vma.pages().end <= vpn);
        vmas.get(at).filter(|vma| vma.pages().contains(&vpn)).cloned().ok_or(SwapError::NotMapped(vpn.0))
    }

    /// Checks that every page of a byte range is mapped. Errors: `NotMapped` (EFAULT), which names the first unmapped
    /// page.
    pub fn check_mapped(&self, address: u64, nr_bytes: u64) -> Result<()> {
        let end = address.saturating_add(nr_bytes).div_ceil(PAGE_SIZE as u64);
        let mut vpn = Vpn::of_address(address);
        while vpn.0 < end {
            vpn = self.vma_of(vpn)?.pages().end;
        }
        Ok(())
    }

    /// Copies bytes out of the address space, and faults pages in. Errors: `NotMapped` (EFAULT); the errors of
    /// [`Mm::touch`].
    pub fn read(&self, address: u64, to: &mut [u8], cpu: CpuId) -> Result<()> {
        read_pages(address, to, |page| self.touch(Vpn(page), Access::Read, cpu))
    }

    /// Copies bytes into the address space. Pages that are not present are faulted in, and a shared page is copied
    /// before the write. Errors: as [`Mm::read`].
    pub fn write(&self, address: u64, from: &[u8], cpu: CpuId) -> Result<()> {
        write_pages(address, from, |page| self.touch(Vpn(page), Access::Write, cpu))
    }

    /// Copies the address space. Pages are shared until a write, and slots get one more reference.
    ///
    /// Errors, with no copy made: `CountOverflow` (EOVERFLOW). Kernel: `copy_page_range`.
    pub fn fork(&self, cpu: CpuId) -> Result<Self> {
        self.check_alive()?;
        let _active = self.swap.begin_activity();
        let child = self.with_group(|css| Self::in_group(self.swap.clone(), css))?;
        for vma in self.vmas().iter() {
            let copy = vma.fork();
            child.vmas_mut().push(copy.clone());
            for (from, to) in vma.tables().iter().zip(copy.tables()) {
                let mut from = from.lock();
                let mut to = to.lock();
                if !from.is_empty() {
                    to.populate();
                }
                for (from, to) in from.iter_mut().zip(to.iter_mut()) {
                    self.copy_entry(from, to, cpu)?;
                }
                self.copy_pmd(&from, &mut to);
            }
        }
        Ok(child)
    }

    /// Copies the state of the entry above a page table whose entries are copied. Kernel: `copy_huge_pmd`.
    fn copy_pmd(&self, from: &PageTable, to: &mut PageTable) {
        to.pmd = from.pmd;
        if let (Pmd::Huge, Some(Pte::Present { pfn, .. })) = (from.pmd, from.first()) {
            self.swap.memory_of_folios().folio(*pfn).add_entire_mapping();
        }
    }

    fn copy_entry(&self, from: &mut Pte, to: &mut Pte, cpu: CpuId) -> Result<()> {
        match from {
            Pte::None | Pte::Zero => {}
            Pte::Present { pfn, page, is_exclusive, .. } => {
                *is_exclusive = false;
                let page = u32::from(*page);
                self.swap.memory_of_folios().folio(*pfn).add_mappings(page..page + 1);
            }
            Pte::Swap { entry, is_exclusive } => {
                self.swap.dup(*entry, 1, cpu)?;
                *is_exclusive = false;
            }
        }
        *to = *from;
        // The child's entry is not young, because the child has not touched the page.
        to.test_and_clear_young();
        Ok(())
    }

    /// Removes the pages of a range. Memory and slots without another user are freed. Errors: `NotMapped` (EFAULT);
    /// `MappingLocked` (EINVAL). The pages before the error are removed.
    ///
    /// Consecutive slots are freed by one call. Kernel: `madvise_dontneed_free`, `zap_pte_range`.
    pub fn zap(&self, pages: Range<Vpn>, cpu: CpuId) -> Result<()> {
        let _active = self.swap.begin_activity();
        self.swap.memory_of_folios().lru_batch_drain(cpu);
        let mut vpn = pages.start;
        while vpn < pages.end {
            let vma = self.unlocked_vma_of(vpn)?;
            let run = vma.same_table(vpn);
            let end = run.end.min(pages.end.0);
            let taken: Vec<Pte> = {
                let mut table = vma.table(vpn);
                table.prepare_zap((end - vpn.0) as usize, self.swap.memory_of_folios());
                (vpn.0..end).map(|vpn| std::mem::take(&mut table[index(Vpn(vpn))])).collect()
            };
            self.drop_entries(&vma, &taken, cpu)?;
            vpn = Vpn(end);
        }
        Ok(())
    }

    /// Drops the references to folios and slots that entries held before these entries were taken out of the page
    /// tables of a mapping.
    fn drop_entries(&self, vma: &Vma, taken: &[Pte], cpu: CpuId) -> Result<()> {
        for run in taken.chunk_by(Pte::is_followed_by) {
            match run[0] {
                Pte::None | Pte::Zero => {}
                Pte::Present { pfn, page, .. } => {
                    let folio = folio_of(&self.swap, pfn);
                    let page = u32::from(page);
                    vma.remove_rmap(folio.folio(), page..page + run.len() as u32);
                    self.swap.free_folio_and_swap_cache(&folio, cpu)?;
                }
                Pte::Swap { entry, .. } => self.swap.put(entry, run.len() as u32, cpu)?,
            }
        }
        Ok(())
    }

    /// Returns one word for each page of a range, see [`PAGEMAP_PRESENT`] and [`PAGEMAP_SWAP`]; 0 for a page without
    /// memory and slot. Errors: `NotMapped` (EFAULT). Locks: each page table in turn. Kernel: `/proc/PID/pagemap`,
    /// `pagemap_read`; differs: all other bits are 0.
    pub fn pagemap(&self, pages: Range<Vpn>) -> Result<Vec<u64>> {
        let mut words = Vec::new();
        let mut vpn = pages.start;
        while vpn < pages.end {
            let vma = self.vma_of(vpn)?;
            let end = vma.same_table(vpn).end.min(pages.end.0);
            let table = vma.table(vpn);
            words.extend(table[index(vpn)..][..(end - vpn.0) as usize].iter().map(|pte| pagemap_word(*pte)));
            vpn = Vpn(end);
        }
        Ok(words)
    }

    /// Returns the number of pages in memory and the number of swapped-out pages.
    pub fn nr_pages(&self) -> (u64, u64) {
        self.task.rss_pages()
    }
}

/// The bit of a word of [`Mm::pagemap`] for a page in memory. Bits 0 to 54 are the frame number. Kernel: `PM_PRESENT`.
pub const PAGEMAP_PRESENT: u64 = 1 << 63;
/// The bit of a word of [`Mm::pagemap`] for a swapped-out page. Bits 0 to 4 are the type of the slot, and bits 5 to 54
/// are its offset. Kernel: `PM_SWAP`.
pub const PAGEMAP_SWAP: u64 = 1 << 62;
/// Number of bits of the swap type in a word of [`Mm::pagemap`]. Kernel: `MAX_SWAPFILES_SHIFT`.
const PAGEMAP_TYPE_BITS: u32 = 5;

/// Returns the word of [`Mm::pagemap`] for a page table entry. Kernel: `pte_to_pagemap_entry`.
fn pagemap_word(pte: Pte) -> u64 {
    match pte {
        Pte::None => 0,
        Pte::Zero => PAGEMAP_PRESENT | ZERO_PAGE.0,
        Pte::Present { pfn, page, .. } => PAGEMAP_PRESENT | (pfn.0 + u64::from(page)),
        Pte::Swap { entry, .. } => {
            PAGEMAP_SWAP | u64::from(entry.offset().0) << PAGEMAP_TYPE_BITS | u64::from(entry.ty().0)
        }
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        let _active = self.swap.begin_activity();
        let css = self.task.mark_ended();
        self.exit_mmap(&self.task, CpuId(0));
        // A task that the OOM killer has ended is in no group.
        if let (Some(groups), Some(css)) = (self.swap.memcg(), css) {
            groups.leave(css);
        }
    }
}

/// Returns the folio that a page table entry or file entry names, with one more reference. The caller holds the lock
/// of the entry or has taken the entry out of the table, so the reference of the entry keeps the folio alive.
fn folio_of(swap: &Swap, pfn: Pfn) -> FolioRef<'_> {
    swap.memory_of_folios().folio(pfn).try_get().expect("an entry is a reference")
}

/// Splits a byte range at page borders into triples: a page, the byte offset in the page, and a range of the caller's
/// bytes.
fn page_pieces(start: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    const PAGE: u64 = PAGE_SIZE as u64;
    let in_caller = move |at: u64| (at - start) as usize;
    // The end of the range saturates. A range whose end overflows starts beyond every mapping and every file, so the
    // first piece fails.
    pieces::<PAGE>(start..start.saturating_add(len as u64)).map(move |piece| {
        (piece.start / PAGE, (piece.start % PAGE) as usize, in_caller(piece.start)..in_caller(piece.end))
    })
}

/// Copies bytes out of pages. `folio_at` returns the folio of a page with a reference, and the index of the page in
/// the folio.
fn read_pages<'f>(start: u64, to: &mut [u8], folio_at: impl Fn(u64) -> Result<(FolioRef<'f>, u16)>) -> Result<()> {
    for (page, at, range) in page_pieces(start, to.len()) {
        let (folio, index) = folio_at(page)?;
        let nr_bytes = range.len();
        to[range].copy_from_slice(&folio.bytes()?[usize::from(index) * PAGE_SIZE + at..][..nr_bytes]);
    }
    Ok(())
}

/// Copies bytes into pages. `folio_at` returns the folio of a page as in [`read_pages`], and also makes the page
/// writable.
fn write_pages<'f>(start: u64, from: &[u8], folio_at: impl Fn(u64) -> Result<(FolioRef<'f>, u16)>) -> Result<()> {
    for (page, at, range) in page_pieces(start, from.len()) {
        let (folio, index) = folio_at(page)?;
        write_page(&folio, index, at, &from[range])?;
    }
    Ok(())
}

/// Writes bytes to a page of a folio that was made writable, at `at` bytes from the start of the page.
pub(crate) fn write_page(folio: &FolioRef<'_>, page: u16, at: usize, bytes: &[u8]) -> Result<()> {
    folio.bytes_mut()?[usize::from(page) * PAGE_SIZE + at..][..bytes.len()].copy_from_slice(bytes);
    // The flags are set while the caller holds a reference to the folio. If reclaim wrote the folio to a device
    // before this copy, reclaim finds the reference or the flag `DIRTY`, and keeps the folio.
    folio.folio_mark_dirty();
    Ok(())
}

/// The folio of a slot, and whether the current call read the folio from the slot.
type Found<'s> = (FolioRef<'s>, bool);

/// Completes the lookup or the read of a slot. Returns `None` when `found` has no folio and the entry of the page has
/// changed, because another thread has then handled the fault.
///
/// Errors: `NoMemory` (ENOMEM) when `found` has no folio and the entry is unchanged; the error in `found`.
fn found_folio<'s>(found: Result<Option<Found<'s>>>, is_unchanged: impl Fn() -> bool) -> Result<Option<Found<'s>>> {
    match found {
        Ok(Some(found)) => Ok(Some(found)),
        Ok(None) | Err(_) if !is_unchanged() => Ok(None),
        Ok(None) => Err(SwapError::NoMemory(PAGE_SIZE as u64)),
        Err(error) => Err(error),
    }
}
