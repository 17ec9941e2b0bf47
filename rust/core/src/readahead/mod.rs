//! The readahead window: the set of pages that a swap fault reads together with its page. Cluster readahead takes
//! neighbours by slot number on the device. VMA readahead takes neighbours by page number in the VMA.
//!
//! Both kinds use [`swap_ra_window`]. Cluster readahead has one state for the whole system. VMA readahead has one
//! word per VMA. The state is only advice, because a race between threads can lose a hit and has no other effect.

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
/// Number of hits at the start of readahead. With 4 hits the first window has 8 pages, the size at the default
/// `page_cluster`.
const HITS_AT_START: u32 = 4;
/// Number of pages that one page table maps. A large folio fits in one page table. Kernel: `PTRS_PER_PTE`.
pub const PTRS_PER_PTE: u64 = 512;

/// Width in bits of the hits field, and of the window field, in a [`VmaRaWord`]. Kernel: `SWAP_RA_WIN_SHIFT`, half of
/// `PAGE_SHIFT`.
const SWAP_RA_WIN_SHIFT: u32 = PAGE_SIZE.ilog2() / 2;
const SWAP_RA_HITS_MAX: u64 = (1 << SWAP_RA_WIN_SHIFT) - 1;

const _: () = assert!(1 << SWAP_RA_ORDER_CEILING <= SWAP_RA_HITS_MAX, "the largest window fits its field");
const _: () = assert!(2 * SWAP_RA_WIN_SHIFT == PAGE_SIZE.ilog2(), "window and hits fill the page offset");

/// Returns the number of pages of the next window. The number is a power of two when `max_pages` and
/// `prev_window_pages` are powers of two.
///
/// `prev` is the slot or page number of the last fault, and `offset` is the slot or page number of this fault. `hits`
/// is the number of pages that were read ahead and used since the last window. If `hits` is 0 and `offset` is no
/// neighbour of `prev`, the wanted window is 1 page. A window is at least half of the previous window, even when that
/// half is over `max_pages`. Kernel: `__swapin_nr_pages` (mm/swap_state.c); differs: no computation overflows.
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

    /// Returns the slots of the window in the order in which the caller reads them.
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

// Every access is Relaxed, because each word is independent advice and guards no other data. The kernel also uses
// plain or relaxed accesses.
impl ClusterReadahead {
    /// Returns log2 of the largest window in slots. Kernel: `page_cluster`.
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

    /// Returns the slots that a fault on `target` reads, and stores the size of the window. The window is the aligned
    /// block that contains the target, without the header slot and without slots after the end of the device.
    /// `max_pages` is the number of slots of the device. `target` is in 1..`max_pages`.
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
        // If there are hits, the previous target is not updated, because `swap_ra_window` uses the previous target
        // only when there are no hits.
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

/// The readahead flag of a folio that a fault finds in the swap cache. A set flag means that the folio was read ahead
/// and was not used before this fault. Kernel: `PG_readahead`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadaheadFlag {
    /// The flag was set: the fault is a hit of readahead.
    Set,
    /// The flag was clear.
    Clear,
}

/// Readahead state of one VMA in one word: the page of the last fault, the number of pages of the last window, and
/// the number of hits since the last window. The word 0 stands for a VMA without a fault. The word 0 reads as page 0,
/// a window of 0 pages and 4 hits.
///
/// Kernel: the value of `vma->swap_readahead_info`, `SWAP_RA_VAL` (mm/swap_state.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct VmaRaWord(u64);

impl VmaRaWord {
    /// Makes a word from the page of a fault, the number of pages of that fault's window (0..=63) and the number of
    /// hits since that fault (0..=63).
    pub const fn new(fault: Vpn, window_pages: u32, hits: u32) -> Self {
        debug_assert!(window_pages as u64 <= SWAP_RA_HITS_MAX && hits as u64 <= SWAP_RA_HITS_MAX);
        Self((fault.0 * PAGE_SIZE as u64) | ((window_pages as u64) << SWAP_RA_WIN_SHIFT) | hits as u64)
    }

    /// Returns the page of the last fault or hit.
    pub const fn fault(self) -> Vpn {
        Vpn::of_address(self.0)
    }

    /// Returns the number of pages of the last window.
    pub const fn window_pages(self) -> u32 {
        (self.0 >> SWAP_RA_WIN_SHIFT & SWAP_RA_HITS_MAX) as u32
    }

    /// Returns the number of hits: pages that were read ahead and used since the last window.
    pub const fn hits(self) -> u32 {
        if self.0 == 0 { HITS_AT_START } else { (self.0 & SWAP_RA_HITS_MAX) as u32 }
    }

    /// Returns the word after a fault at `page` found a folio of order 0 in the swap cache. The page of the last
    /// fault becomes `page`. A page that was read ahead adds one hit, up to 63 hits.
    ///
    /// Kernel: the VMA half of `swap_update_readahead` (mm/swap_state.c); differs: the caller tests the readahead
    /// flag of the folio.
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

// Every access is Relaxed, because the word guards no other data. The read and the write of the word are two steps,
// as in the kernel. When two faults race, the hits of one fault are lost, which only makes a window smaller.
impl VmaReadahead {
    /// Returns the current word.
    pub fn word(&self) -> VmaRaWord {
        VmaRaWord(self.0.load(Ordering::Relaxed))
    }

    /// Returns the pages that a fault reads, and stores the word after the fault. If `fault` is the page after the
    /// last fault, the window starts at `fault`. If `fault` is the page before the last fault, the window ends at
    /// `fault`. Otherwise `fault` is in the middle of the window. The window is cut at the ends of the VMA and of the
    /// page table (512 pages) of `fault`. `vma` contains `fault`. `page_cluster` is log2 of the largest window, and a
    /// value over 5 counts as 5.
    pub fn window(&self, fault: Vpn, vma: Range<Vpn>, page_cluster: u32) -> Range<Vpn> {
        debug_assert!(vma.contains(&fault), "{fault:?} is not in {vma:?}");
        let (pages, word) = self.word().after_fault(fault, vma, page_cluster);
        self.0.store(word.0, Ordering::Relaxed);
        pages
    }

    /// Stores that a fault at `page` found a folio of order 0 in the swap cache. Kernel: `swap_update_readahead`.
    pub fn hit(&self, page: Vpn, flag: ReadaheadFlag) {
        self.0.store(self.word().after_hit(page, flag).0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
