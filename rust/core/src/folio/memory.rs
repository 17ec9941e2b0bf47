//! Page frames: where folios come from and where their headers lie. Kernel: the page allocator and `struct page`.

use std::fmt;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use buddy_system_allocator::FrameAllocator;
use bytemuck::Zeroable;

use super::refs::FolioRefs;
use super::{Folio, FolioFlags, FolioRef};
use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_ORDER, PAGE_SIZE, SWAP_NR_ORDERS};
use crate::base::sync::{SpinMutex, WaitTable};
use crate::base::types::{CssId, MemcgId, Order, Pfn};
use crate::base::zeroed::MappedSlice;
use crate::memcg::MemCgroups;
use crate::workingset::{Lruvec, Workingset};

/// Pages that are taken from the never used rest at one time; frame numbers start at one such block, so that 0 is none.
const BLOCK_PAGES: usize = 1 << MAX_ORDER;
/// Pages of one order kept outside the buddy lists for the next request of that order.
const HOT_PAGES: usize = 4 * BLOCK_PAGES;

/// What is known of a folio, at the number of its first page. Kernel: `struct folio`, in the page's place.
///
/// All zero bytes are a free page. Which lock orders which field is said at the methods of [`Folio`].
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct FolioHeader {
    /// Swap cache one a page, page table one a mapping, each user one; 0 is free or frozen.
    pub(super) refs: FolioRefs,
    pub(super) flags: AtomicU32,
    /// Page table entries that map pages of the folio.
    pub(super) mapcount: AtomicU32,
    /// Who may touch the data: 0 nobody, n > 0 views given out, -1 one writer inside, -(n+1) n readers inside.
    pub(super) users: AtomicI32,
    /// First slot owned, 0 when not in the swap cache.
    pub(super) swap: AtomicU64,
    pub(super) order: AtomicU8,
    /// Uses after the first, 0..=3.
    pub(super) lru_refs: AtomicU8,
    /// Place of the generation that lists the folio, from 1; 0 for none.
    pub(super) lru_gen: AtomicU8,
    /// The group that is charged, by number; 0 for none.
    pub(super) css: AtomicU32,
    /// Neighbours on the LRU list, towards its head and its tail; 0 at the ends.
    pub(super) lru_prev: AtomicU32,
    pub(super) lru_next: AtomicU32,
    /// Number of the mappings whose page tables may name the folio, 0 for none.
    pub(super) anon_vma: AtomicU32,
    /// Where in these mappings the first page is.
    pub(super) index: AtomicU32,
}

// SAFETY: zero is a valid value of every atomic, and all of them together are a free page.
#[expect(unsafe_code, reason = "headers live in a zeroed mapping")]
unsafe impl Zeroable for FolioHeader {}

const _: () = assert!(size_of::<FolioHeader>() == 64, "one header a cache line");

/// Free page frames.
struct FreePages {
    buddy: FrameAllocator<SWAP_NR_ORDERS>,
    /// Freed runs by order, the most recently used on top: their memory is warm and needs no splitting.
    hot: [Vec<u32>; SWAP_NR_ORDERS],
    /// Never used from here on.
    next: usize,
    end: usize,
    nr_used: u64,
}

impl FreePages {
    fn alloc(&mut self, order: Order) -> Option<u32> {
        let nr_pages = order.nr_pages() as usize;
        if let Some(pfn) = self.hot[order.index()].pop() {
            return Some(pfn);
        }
        if let Some(pfn) = self.buddy.alloc(nr_pages) {
            return Some(pfn as u32);
        }
        if self.next + BLOCK_PAGES <= self.end {
            self.buddy.add_frame(self.next, self.next + BLOCK_PAGES);
            self.next += BLOCK_PAGES;
        } else {
            self.drain();
        }
        self.buddy.alloc(nr_pages).map(|pfn| pfn as u32)
    }

    /// Lets hot runs merge with their neighbours.
    fn drain(&mut self) {
        for order in Order::all() {
            for pfn in self.hot[order.index()].drain(..) {
                self.buddy.dealloc(pfn as usize, order.nr_pages() as usize);
            }
        }
    }

    /// Keeps a freed run for the next request of its order, if there is room; says whether there was.
    fn keep_hot(&mut self, pfn: u32, order: Order) -> bool {
        let hot = &mut self.hot[order.index()];
        let has_room = hot.len() << order.get() < HOT_PAGES;
        if has_room {
            hot.push(pfn);
        }
        has_room
    }
}

/// The bytes of one page: of atomics, as their owner changes them through a shared reference.
type PageBytes = [AtomicU8; PAGE_SIZE];

struct Arena {
    pages: MappedSlice<PageBytes>,
    headers: MappedSlice<FolioHeader>,
    free: SpinMutex<FreePages>,
}

/// The memory of one machine. Address space for all of it is taken with the first folio, memory when pages are written.
pub struct Memory {
    nr_pages: u32,
    /// The lists of folios that no group is charged for: root's.
    lruvec: Arc<Lruvec>,
    memcg: Option<MemCgroups>,
    arena: OnceLock<Arena>,
    pub(super) waiters: WaitTable,
    /// Pages that reclaim has off the lists.
    pub(super) nr_isolated: AtomicU64,
    /// Evictable folios are on lists of generations.
    pub(super) lru_gen_enabled: bool,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("nr_pages", &self.nr_pages)
            .field("nr_used_pages", &self.nr_used_pages())
            .finish()
    }
}

impl Memory {
    /// Describes a memory; nothing is mapped yet. Errors: `OutOfRange` (EINVAL).
    pub(crate) fn new(nr_pages: u64, memcg: Option<MemCgroups>) -> Result<Self> {
        let (low, high) = (BLOCK_PAGES as u64, 1 << 31);
        if !(low..=high).contains(&nr_pages) {
            return Err(SwapError::OutOfRange { what: "memory pages", value: nr_pages.into(), low, high });
        }
        let lruvec = match &memcg {
            Some(groups) => groups.root().lruvec().clone(),
            None => {
                let lruvec = Lruvec::new(MemcgId(0), 0, None);
                lruvec.renew();
                lruvec
            }
        };
        Ok(Self {
            nr_pages: nr_pages as u32,
            lruvec,
            memcg,
            arena: OnceLock::new(),
            waiters: WaitTable::default(),
            nr_isolated: AtomicU64::new(0),
            lru_gen_enabled: false,
        })
    }

    /// Chooses the lists for evictable folios by the rule in force. No folio is there yet.
    pub(crate) fn with_lists_of(mut self, workingset: Workingset) -> Self {
        self.lru_gen_enabled = workingset == Workingset::Mglru;
        self
    }

    fn arena(&self) -> Result<&Arena> {
        if let Some(arena) = self.arena.get() {
            return Ok(arena);
        }
        let end = self.nr_pages as usize + BLOCK_PAGES;
        let free = FreePages {
            buddy: FrameAllocator::new(),
            hot: Default::default(),
            next: BLOCK_PAGES,
            end: end - end % BLOCK_PAGES,
            nr_used: 0,
        };
        let (pages, headers) = (MappedSlice::zeroed(end)?, MappedSlice::zeroed(end)?);
        Ok(self.arena.get_or_init(|| Arena { pages, headers, free: SpinMutex::new(free) }))
    }

    /// Returns the header of a page that has been handed out once.
    #[inline]
    pub(super) fn header(&self, pfn: Pfn) -> &FolioHeader {
        &self.arena.get().expect("a page number comes from the arena").headers[pfn.0 as usize]
    }

    /// Returns where pages lie.
    pub(super) fn address(&self, pfn: Pfn, nr_pages: u32) -> *mut u8 {
        let first = pfn.0 as usize;
        let pages =
            &self.arena.get().expect("a page number comes from the arena").pages[first..first + nr_pages as usize];
        pages.as_ptr().cast::<u8>().cast_mut()
    }

    /// Returns the lists of root, all others' being below.
    pub fn lruvec(&self) -> &Arc<Lruvec> {
        &self.lruvec
    }

    /// Returns the lists that a folio is counted on. Kernel: `folio_lruvec`.
    #[inline]
    pub(crate) fn lruvec_of(&self, folio: Folio<'_>) -> &Arc<Lruvec> {
        match (&self.memcg, folio.css()) {
            (Some(groups), Some(css)) => groups.get(css).lruvec(),
            _ => &self.lruvec,
        }
    }

    /// Returns the memory controller, `None` while it is disabled.
    #[inline]
    pub(crate) fn memcg(&self) -> Option<&MemCgroups> {
        self.memcg.as_ref()
    }

    /// Calls with every folio that a group is charged for, by frame number; what changes meanwhile may be missed.
    pub(crate) fn for_each_charged(&self, mut call: impl FnMut(Folio<'_>, CssId)) {
        let Some(arena) = self.arena.get() else { return };
        let end = arena.free.lock().next;
        for pfn in BLOCK_PAGES..end {
            let folio = self.folio(Pfn(pfn as u64));
            if let Some(css) = folio.css() {
                call(folio, css);
            }
        }
    }

    /// Returns the pages there are.
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages.into()
    }

    /// Returns the pages that folios have.
    pub fn nr_used_pages(&self) -> u64 {
        self.arena.get().map_or(0, |arena| arena.free.lock().nr_used)
    }

    /// Returns the bytes of headers of pages ever used.
    pub fn header_bytes(&self) -> u64 {
        let used = self.arena.get().map_or(0, |arena| arena.free.lock().next - BLOCK_PAGES);
        (used * size_of::<FolioHeader>()) as u64
    }

    /// Makes a folio: one reference, no flag, not cached, old bytes in it. Errors: `NoMemory` (ENOMEM).
    ///
    /// Kernel: `folio_alloc`; differs: no zones, no reclaim.
    pub fn alloc(&self, order: Order) -> Result<FolioRef<'_>> {
        let arena = self.arena()?;
        let pfn = {
            let mut free = arena.free.lock();
            let pfn = free.alloc(order);
            free.nr_used += if pfn.is_some() { order.nr_pages() as u64 } else { 0 };
            pfn
        };
        let pfn = Pfn(pfn.ok_or(SwapError::NoMemory(order.nr_pages() as u64 * PAGE_SIZE as u64))?.into());
        let header = self.header(pfn);
        // Relaxed: nobody knows the page yet; who learns of it does so through an entry or a lock.
        header.order.store(order.get(), Ordering::Relaxed);
        header.flags.store(0, Ordering::Relaxed);
        debug_assert_eq!(header.mapcount.load(Ordering::Relaxed), 0, "a free page is mapped");
        debug_assert_eq!(header.users.load(Ordering::Relaxed), 0, "a free page's data is in use");
        header.lru_refs.store(0, Ordering::Relaxed);
        debug_assert_eq!(header.css.load(Ordering::Relaxed), 0, "a free page is charged");
        header.anon_vma.store(0, Ordering::Relaxed);
        // Who gets a reference to a reused page sees its new fields.
        header.refs.publish(1);
        Ok(FolioRef::adopt(Folio { memory: self, pfn }))
    }

    /// Returns a handle to a folio by number, without a reference: the caller sees to it that there is one.
    #[inline]
    pub(crate) fn folio(&self, pfn: Pfn) -> Folio<'_> {
        Folio { memory: self, pfn }
    }

    /// Takes the pages of a folio back whose references are gone or frozen.
    pub(super) fn free(&self, folio: Folio<'_>) {
        debug_assert!(!folio.has(FolioFlags::SWAPCACHE), "a cached folio has references");
        debug_assert_eq!(folio.mapcount(), 0, "a mapped folio has references");
        folio.lru_del();
        if let Some(groups) = &self.memcg {
            folio.uncharge(groups);
        }
        let (order, pfn) = (folio.order(), folio.pfn.0 as u32);
        let arena = self.arena.get().expect("the folio came from it");
        {
            let mut free = arena.free.lock();
            free.nr_used -= order.nr_pages() as u64;
            if free.keep_hot(pfn, order) {
                return;
            }
        }
        // Between the locks the pages are nobody's but ours: their memory goes back to the system.
        let (first, nr_pages) = (pfn as usize, order.nr_pages() as usize);
        arena.pages.release(first..first + nr_pages);
        arena.free.lock().buddy.dealloc(first, nr_pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_runs_out_and_comes_back() {
        let memory = Memory::new(1024, None).expect("a size");
        assert!(Memory::new(511, None).is_err());
        let singles: Vec<_> = (0..512).map(|_| memory.alloc(Order::ZERO).expect("room")).collect();
        let large = memory.alloc(Order::MAX).expect("room");
        assert_eq!(large.folio().pfn().0 % 512, 0);
        assert_eq!(memory.alloc(Order::ZERO).map(|_| ()), Err(SwapError::NoMemory(4096)));
        assert_eq!(memory.nr_used_pages(), 1024);
        drop(large);
        drop(singles);
        // Single pages merge again when a large folio needs it.
        let two: Vec<_> = (0..2).map(|_| memory.alloc(Order::MAX).expect("merged")).collect();
        drop(two);
        assert_eq!(memory.nr_used_pages(), 0);
    }
}
