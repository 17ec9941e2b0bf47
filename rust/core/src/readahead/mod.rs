//! Size of readahead: the number of neighbours that a swap fault reads with its page, by slot number on the device or
//! by page number in the VMA.
//!
//! Both kinds use [`swap_ra_window`] and differ in the place of their state: cluster readahead has one state for the
//! whole system, VMA readahead has one word per VMA. The state is only advice: a race between threads can lose a hit
//! and has no other effect.

use std::cmp::{max, min};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;

/// Default log2 of the slots of a cluster window. Kernel: `page_cluster` from 16 MB RAM up.
pub const PAGE_CLUSTER_DEFAULT: u32 = 3;
/// The largest `page_cluster`. Kernel: the bound of the sysctl `vm.page-cluster`.
pub const PAGE_CLUSTER_MAX: u32 = 31;
/// The largest log2 of the pages of a VMA window. Kernel: `SWAP_RA_ORDER_CEILING`.
pub const SWAP_RA_ORDER_CEILING: u32 = 5;
/// Hits at the start of readahead; the value makes the first window a full window.
const HITS_AT_START: u32 = 4;
/// Pages that one page table maps. Kernel: `PTRS_PER_PTE`. One page table maps all pages of a large folio.
pub const PTRS_PER_PTE: u64 = 512;

/// Bits of the hits, and bits of the window, in the word of a VMA. Kernel: `SWAP_RA_WIN_SHIFT`, half of `PAGE_SHIFT`.
const SWAP_RA_WIN_SHIFT: u32 = PAGE_SIZE.ilog2() / 2;
const SWAP_RA_HITS_MAX: u64 = (1 << SWAP_RA_WIN_SHIFT) - 1;

const _: () = assert!(1 << SWAP_RA_ORDER_CEILING <= SWAP_RA_HITS_MAX, "the largest window fits its field");
const _: () = assert!(2 * SWAP_RA_WIN_SHIFT == PAGE_SIZE.ilog2(), "window and hits fill the page offset");

/// Returns the pages of the next window, a power of two when `max_pages` and `prev_window_pages` are powers of two.
///
/// `prev` and `offset` are slot or page numbers; `hits` is the number of pages read ahead and used since the last
/// window. Without a hit and without a step to a neighbour the window is 1 page. A window is at least half of the
/// previous window, even when that half is over `max_pages`. Kernel: `__swapin_nr_pages` (mm/swap_state.c); differs:
/// no computation overflows.
pub fn swap_ra_window(prev: u64, offset: u64, hits: u32, max_pages: u32, prev_window_pages: u32) -> u32 {
    let wanted = match hits {
        0 if offset == prev.wrapping_add(1) || offset == prev.wrapping_sub(1) => 2,
        0 => 1,
        _ => (u64::from(hits) + 2).next_power_of_two().max(4),
    };
    // The result fits a u32, because `max_pages` is a u32.
    let window_pages = min(wanted, u64::from(max_pages)) as u32;
    max(window_pages, prev_window_pages / 2)
}

/// The slots that a fault reads, both ends included. The target slot is among these slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterWindow {
    /// The first slot.
    pub first: SwpOffset,
    /// The last slot.
    pub last: SwpOffset,
}

impl ClusterWindow {
    /// Returns the number of slots of the window, the target included.
    pub fn nr_pages(self) -> u32 {
        self.last.0 - self.first.0 + 1
    }

    /// Returns the slots in the order of the reads.
    pub fn slots(self) -> impl Iterator<Item = SwpOffset> {
        (self.first.0..=self.last.0).map(SwpOffset)
    }
}

/// Readahead of neighbouring slots, with one state for the whole system and all threads.
///
/// Kernel: `swap_cluster_readahead`, `swapin_nr_pages` and their globals (mm/swap_state.c); differs: the caller reads
/// the slots.
#[derive(Debug)]
pub struct ClusterReadahead {
    /// The counter has a cache line of its own, because every hit of every thread writes the counter.
    hits: CachePadded<AtomicU32>,
    prev_offset: AtomicU32,
    last_window_pages: AtomicU32,
    page_cluster: AtomicU32,
}

impl Default for ClusterReadahead {
    fn default() -> Self {
        Self {
            hits: CachePadded::new(AtomicU32::new(HITS_AT_START)),
            prev_offset: AtomicU32::new(0),
            last_window_pages: AtomicU32::new(0),
            page_cluster: AtomicU32::new(PAGE_CLUSTER_DEFAULT),
        }
    }
}

// Every access is Relaxed, because each word is independent advice and guards no other data. Kernel: also plain or
// relaxed.
impl ClusterReadahead {
    /// Returns log2 of the largest window. Kernel: `page_cluster`.
    pub fn page_cluster(&self) -> u32 {
        self.page_cluster.load(Ordering::Relaxed)
    }

    /// Sets log2 of the largest window in slots, 0..=31; 0 turns readahead off.
    ///
    /// Errors: `OutOfRange` (EINVAL). Kernel: the sysctl `vm.page-cluster`.
    pub fn set_page_cluster(&self, page_cluster: u32) -> Result<()> {
        if page_cluster > PAGE_CLUSTER_MAX {
            let (value, high) = (page_cluster.into(), PAGE_CLUSTER_MAX.into());
            return Err(SwapError::OutOfRange { what: "page_cluster", value, low: 0, high });
        }
        self.page_cluster.store(page_cluster, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a page that was read ahead and then used. Kernel: the global half of `swap_update_readahead`.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the slots that a fault on `target` reads, and stores the window. The window is the aligned block
    /// around the target, without the header slot and cut at `max_pages`, the slots of the device. `target` is in
    /// 1..`max_pages`.
    ///
    /// Kernel: `swap_cluster_readahead` before its first read.
    pub fn window(&self, target: SwpOffset, max_pages: u32) -> ClusterWindow {
        debug_assert!((1..max_pages).contains(&target.0), "slot {} of {max_pages}", target.0);
        let mask = self.window_pages(target) - 1;
        ClusterWindow {
            first: SwpOffset((target.0 & !mask).max(1)),
            last: SwpOffset((target.0 | mask).min(max_pages - 1)),
        }
    }

    fn window_pages(&self, target: SwpOffset) -> u32 {
        let max_pages = 1 << self.page_cluster();
        if max_pages == 1 {
            return 1;
        }
        let hits = self.hits.swap(0, Ordering::Relaxed);
        let prev = self.prev_offset.load(Ordering::Relaxed);
        let last_pages = self.last_window_pages.load(Ordering::Relaxed);
        let window_pages = swap_ra_window(prev.into(), target.0.into(), hits, max_pages, last_pages);
        // `swap_ra_window` ignores the previous target when there are hits, so the previous target is stored only
        // without hits.
        if hits == 0 {
            self.prev_offset.store(target.0, Ordering::Relaxed);
        }
        self.last_window_pages.store(window_pages, Ordering::Relaxed);
        window_pages
    }
}

/// A virtual page number: an address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Vpn(pub u64);

impl Vpn {
    /// Returns the page of an address in bytes.
    pub const fn of_address(address_bytes: u64) -> Self {
        Self(address_bytes / PAGE_SIZE as u64)
    }
}

/// The readahead flag of a folio that was found in the swap cache: the folio was read ahead and not used since.
/// Kernel: the readahead flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadaheadFlag {
    /// The flag was set: the fault is a hit of readahead.
    Set,
    /// The flag was clear.
    Clear,
}

/// Readahead state of one VMA: page of the last fault, pages of the last window, hits since that window. Word 0
/// stands for a VMA without a fault and reads as page 0, a window of 0 pages and 4 hits.
///
/// Kernel: the value of `vma->swap_readahead_info`, `SWAP_RA_VAL` (mm/swap_state.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct VmaRaWord(u64);

impl VmaRaWord {
    /// Packs the page of a fault, the window of that fault (0..=63 pages) and the hits since (0..=63).
    pub const fn new(fault: Vpn, window_pages: u32, hits: u32) -> Self {
        debug_assert!(window_pages as u64 <= SWAP_RA_HITS_MAX && hits as u64 <= SWAP_RA_HITS_MAX);
        Self((fault.0 * PAGE_SIZE as u64) | ((window_pages as u64) << SWAP_RA_WIN_SHIFT) | hits as u64)
    }

    /// Returns the page of the last fault or hit.
    pub const fn fault(self) -> Vpn {
        Vpn::of_address(self.0)
    }

    /// Returns the pages of the last window.
    pub const fn window_pages(self) -> u32 {
        (self.0 >> SWAP_RA_WIN_SHIFT & SWAP_RA_HITS_MAX) as u32
    }

    /// Returns the pages read ahead and used since the last window.
    pub const fn hits(self) -> u32 {
        if self.0 == 0 { HITS_AT_START } else { (self.0 & SWAP_RA_HITS_MAX) as u32 }
    }

    /// Returns the word after a folio of order 0 was found in the swap cache at `page`. The address changes to
    /// `page`. A page that was read ahead adds one hit, up to 63 hits.
    ///
    /// Kernel: the VMA half of `swap_update_readahead` (mm/swap_state.c); differs: the caller tests the flag.
    pub const fn after_hit(self, page: Vpn, flag: ReadaheadFlag) -> Self {
        let hits = match flag {
            ReadaheadFlag::Set if (self.hits() as u64) < SWAP_RA_HITS_MAX => self.hits() + 1,
            _ => self.hits(),
        };
        Self::new(page, self.window_pages(), hits)
    }

    /// Returns the pages that a fault reads, and the word after the fault. See [`VmaReadahead::window`].
    pub fn after_fault(self, fault: Vpn, vma: Range<Vpn>, page_cluster: u32) -> (Range<Vpn>, Self) {
        let max_pages = 1 << min(page_cluster, SWAP_RA_ORDER_CEILING);
        if max_pages == 1 {
            return (fault..Vpn(fault.0 + 1), self);
        }
        let prev = self.fault();
        let window_pages = swap_ra_window(prev.0, fault.0, self.hits(), max_pages, self.window_pages());
        let word = Self::new(fault, window_pages, 0);
        let pages_before = match fault.0.wrapping_sub(prev.0) as i64 {
            1 => 0,
            -1 => window_pages - 1,
            _ => (window_pages - 1) / 2,
        };
        let pages_after = window_pages - pages_before;
        let table = fault.0 / PTRS_PER_PTE * PTRS_PER_PTE;
        let start = fault.0.saturating_sub(pages_before.into()).max(vma.start.0).max(table);
        let end = (fault.0 + u64::from(pages_after)).min(vma.end.0).min(table + PTRS_PER_PTE);
        (Vpn(start)..Vpn(end), word)
    }
}

/// Readahead of neighbouring pages of one VMA.
///
/// Kernel: `swap_vma_readahead`, `swap_vma_ra_win` (mm/swap_state.c); differs: the caller reads the pages.
#[derive(Debug, Default)]
pub struct VmaReadahead(AtomicU64);

// Relaxed: the word is self-contained. Reading and writing the word are two steps, as in the kernel: when two faults
// race, the hits of one fault are lost, which only makes a window smaller.
impl VmaReadahead {
    /// Returns the current word.
    pub fn word(&self) -> VmaRaWord {
        VmaRaWord(self.0.load(Ordering::Relaxed))
    }

    /// Returns the pages that a fault reads, and stores the word after the fault. The pages lie in the direction of
    /// the last step, within the VMA and within the page table (512 pages) of the fault. `vma` contains `fault`;
    /// `page_cluster` is log2 of pages, and a value over 5 counts as 5.
    pub fn window(&self, fault: Vpn, vma: Range<Vpn>, page_cluster: u32) -> Range<Vpn> {
        debug_assert!(vma.contains(&fault), "{fault:?} is not in {vma:?}");
        let (pages, word) = self.word().after_fault(fault, vma, page_cluster);
        self.0.store(word.0, Ordering::Relaxed);
        pages
    }

    /// Stores that a folio of order 0 was found in the swap cache. Kernel: `swap_update_readahead`.
    pub fn hit(&self, page: Vpn, flag: ReadaheadFlag) {
        self.0.store(self.word().after_hit(page, flag).0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
