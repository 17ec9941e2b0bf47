//! Page frames: the allocation of folios, the headers of folios, and the group that is charged for a folio. Kernel:
//! the page allocator and `struct page`.

use std::fmt;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::activity::ActivityGate;
use super::lru_batch::LruBatches;
use super::mapcount::LargeFolios;
use super::refs::FolioRefs;
use super::{FILE_RMAP, Folio, FolioFlags, FolioRef};
use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_ORDER, MEMORY_PAGES_HEAD_MAX, PAGE_SIZE, SWAP_NR_ORDERS};
use crate::base::sync::{SpinMutex, WaitTable};
use crate::base::types::{CssId, MemcgId, Order, Pfn};
use crate::containers::growing::{GrowingSlice, SEGMENT};
use crate::containers::zeroed::MappedSlice;
use crate::memcg::{MemCgroup, MemCgroups, MemcgStat};
use crate::workingset::{Lruvec, Workingset};
use buddy_system_allocator::FrameAllocator;
use bytemuck::Zeroable;
use crossbeam_utils::CachePadded;

/// Number of pages that are added to the buddy lists at once; none of these pages was used before. The first frame
/// number is equal to this number, so that 0 is never a frame number.
const BLOCK_PAGES: usize = 1 << MAX_ORDER;
/// The frame number of the shared page of zeros, which every `Memory` has beside its pages. Kernel: `ZERO_PAGE`.
pub(crate) const ZERO_PAGE: Pfn = Pfn(1);
/// Number of pages of each order that are kept outside the buddy lists, for later requests of that order.
const HOT_PAGES: usize = 4 * BLOCK_PAGES;

/// The header of a folio, stored at the frame number of the folio's first page. Kernel: `struct folio`, which takes
/// the place of `struct page`.
///
/// A header of zero bytes describes a free page. The methods of [`Folio`] name the lock of each field.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct FolioHeader {
    /// Number of references. The swap cache holds one reference for each page, page tables hold one for each mapping,
    /// and each user holds one. 0 means that the folio is frozen or free.
    pub(super) refs: FolioRefs,
    pub(super) flags: AtomicU32,
    /// Number of page table entries that map pages of the folio.
    pub(super) mapcount: AtomicU32,
    /// Number of pages of a large folio that are mapped at all.
    pub(super) nr_pages_mapped: AtomicU32,
    /// Number of mappings of the whole folio by an entry of the page middle directory.
    pub(super) entire_mapcount: AtomicU32,
    /// Users of the folio's bytes: 0 means no user, n > 0 means n views, -1 means one writer inside the core, and
    /// -(n+1) means n readers inside the core.
    pub(super) users: AtomicI32,
    /// First slot of the folio; 0 when the folio is not in the swap cache.
    pub(super) swap: AtomicU64,
    pub(super) order: AtomicU8,
    /// Number of uses of the folio after the first use, 0..=3.
    pub(super) lru_refs: AtomicU8,
    /// 1 plus the place (index, 0..=3) of the generation that lists the folio; 0 when no generation lists the folio.
    pub(super) lru_gen: AtomicU8,
    /// Number of the group that is charged for the folio; 0 for no group.
    pub(super) css: AtomicU32,
    /// Frame numbers of the neighbours on the LRU list: `lru_prev` towards the head of the list, `lru_next` towards
    /// the tail; `NIL` at the ends.
    pub(super) lru_prev: AtomicU32,
    pub(super) lru_next: AtomicU32,
    /// Number that identifies the folio's `AnonVma`, which lists the mappings that may map the folio; 0 for no
    /// `AnonVma`.
    pub(super) anon_vma: AtomicU32,
    /// Page index of the folio's first page in the mappings of its `AnonVma`.
    pub(super) index: AtomicU32,
}

// SAFETY: zero is a valid value of every atomic, and a header of zero bytes describes a free page.
#[expect(unsafe_code, reason = "headers live in a zeroed mapping")]
unsafe impl Zeroable for FolioHeader {}

const _: () = assert!(
    MEMORY_PAGES_HEAD_MAX.is_multiple_of(BLOCK_PAGES) && SEGMENT.is_multiple_of(BLOCK_PAGES),
    "no block crosses the end of a segment"
);
const _: () = assert!(size_of::<FolioHeader>() == 64, "one header a cache line");

/// Free page frames.
struct FreePages {
    buddy: FrameAllocator<SWAP_NR_ORDERS>,
    /// Runs of pages that were freed, by order, with the run freed last on top. The next request of the order takes
    /// this run, because its bytes are probably in the CPU cache, and the run needs no split.
    hot: [Vec<u32>; SWAP_NR_ORDERS],
    /// The first frame number of the pages that were never added to the buddy lists.
    next: usize,
    end: usize,
    nr_used: u64,
}

impl FreePages {
    fn alloc(&mut self, order: Order, pages: &GrowingSlice<PageBytes>) -> Option<u32> {
        let nr_pages = order.nr_pages() as usize;
        if let Some(pfn) = self.hot[order.index()].pop() {
            return Some(pfn);
        }
        if let Some(pfn) = self.buddy.alloc(nr_pages) {
            return Some(pfn as u32);
        }
        if self.next + BLOCK_PAGES <= self.end && pages.map_element(self.next).is_ok() {
            self.buddy.add_frame(self.next, self.next + BLOCK_PAGES);
            self.next += BLOCK_PAGES;
        } else {
            self.drain();
        }
        self.buddy.alloc(nr_pages).map(|pfn| pfn as u32)
    }

    /// Moves the runs in `hot` to the buddy lists, where a run merges with its free neighbours.
    fn drain(&mut self) {
        for order in Order::all() {
            for pfn in self.hot[order.index()].drain(..) {
                self.buddy.dealloc(pfn as usize, order.nr_pages() as usize);
            }
        }
    }

    /// Keeps a freed run in `hot` for the next request of its order, if `hot` has fewer than `HOT_PAGES` pages of
    /// this order. Returns whether the run was kept.
    fn keep_hot(&mut self, pfn: u32, order: Order) -> bool {
        let hot = &mut self.hot[order.index()];
        let has_room = hot.len() << order.get() < HOT_PAGES;
        if has_room {
            hot.push(pfn);
        }
        has_room
    }
}

/// The bytes of one page. The bytes are atomics, because the holder of the page writes through a shared reference.
type PageBytes = [AtomicU8; PAGE_SIZE];

struct Arena {
    /// A folio lies in the head or in one segment, because both are whole blocks.
    pages: GrowingSlice<PageBytes>,
    headers: MappedSlice<FolioHeader>,
    /// Numbers of mappings of each page of large folios. Kernel: `_mapcount` of `struct page`.
    page_mapcounts: MappedSlice<AtomicU32>,
    free: SpinMutex<FreePages>,
}

/// The memory of one [`Swap`](crate::Swap). Address space for pages is reserved when the pages are first needed. The
/// system provides memory for a page at the first write to the page.
pub struct Memory {
    nr_pages: u32,
    /// The LRU lists of the root group, which also contain the folios that belong to no group.
    lruvec: Arc<Lruvec>,
    memcg: Option<MemCgroups>,
    arena: OnceLock<Arena>,
    pub(super) waiters: WaitTable,
    /// Number of pages that reclaim has isolated from the lists.
    pub(super) nr_isolated: AtomicU64,
    /// Whether evictable folios are on the lists of generations (MGLRU).
    pub(super) lru_gen_enabled: bool,
    /// Padded, because threads change these numbers while other threads read the fields beside them.
    pub(super) large_folios: CachePadded<LargeFolios>,
    /// The batches of new folios, with the switch `lru_add_batch`.
    pub(super) lru_batches: Option<LruBatches>,
    /// The gate between operations and `Swap::check`, the check of the invariants.
    activity: ActivityGate,
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
    /// Makes a memory of `nr_pages` pages and reserves no address space yet. Errors: `OutOfRange` (EINVAL).
    pub(crate) fn new(nr_pages: u64, memcg: Option<MemCgroups>) -> Result<Self> {
        let (low, high) = (BLOCK_PAGES as u64, 1 << 31);
        if !(low..=high).contains(&nr_pages) {
            return Err(SwapError::OutOfRange { what: "memory pages", value: nr_pages.into(), low, high });
        }
        let lruvec = match &memcg {
            Some(groups) => groups.root().lruvec().clone(),
            None => Lruvec::new(MemcgId(0), 0, None),
        };
        lruvec.renew();
        Ok(Self {
            nr_pages: nr_pages as u32,
            lruvec,
            memcg,
            arena: OnceLock::new(),
            waiters: WaitTable::default(),
            nr_isolated: AtomicU64::new(0),
            lru_gen_enabled: false,
            large_folios: CachePadded::default(),
            lru_batches: None,
            activity: ActivityGate::default(),
        })
    }

    /// Selects the classic lists or the lists of generations (MGLRU) for evictable folios, as the working-set rule
    /// `workingset` needs. The caller has allocated no folio yet.
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
        let pages = GrowingSlice::with_head(end.min(MEMORY_PAGES_HEAD_MAX), end)?;
        let (headers, page_mapcounts) = (MappedSlice::zeroed(end)?, MappedSlice::zeroed(end)?);
        // The header and the bytes of the shared page of zeros lie below the first frame number that `alloc` hands out.
        let zero: &FolioHeader = &headers[ZERO_PAGE.0 as usize];
        zero.flags.store(FolioFlags::UPTODATE.bits(), Ordering::Relaxed);
        zero.refs.publish(1);
        Ok(self.arena.get_or_init(|| Arena { pages, headers, page_mapcounts, free: SpinMutex::new(free) }))
    }

    /// Returns the header at a frame number. The page was handed out at least once.
    #[inline]
    pub(super) fn header(&self, pfn: Pfn) -> &FolioHeader {
        &self.arena.get().expect("a page number comes from the arena").headers[pfn.0 as usize]
    }

    /// Returns the numbers of mappings of the pages of a large folio. The numbers are valid while the folio is mapped.
    #[inline]
    pub(super) fn page_mapcounts(&self, folio: Folio<'_>) -> &[AtomicU32] {
        let first = folio.pfn.0 as usize;
        let arena = self.arena.get().expect("a page number comes from the arena");
        &arena.page_mapcounts[first..first + folio.nr_pages() as usize]
    }

    /// Returns the numbers of large anonymous folios.
    pub(crate) fn large_folios(&self) -> &LargeFolios {
        &self.large_folios
    }

    /// Returns the address of a run of pages.
    pub(super) fn address(&self, pfn: Pfn, nr_pages: u32) -> *mut u8 {
        let first = pfn.0 as usize;
        let arena = self.arena.get().expect("a page number comes from the arena");
        arena.pages.run_of(first..first + nr_pages as usize).as_ptr().cast::<u8>().cast_mut()
    }

    /// Returns the LRU lists of the root group. The sizes of these lists include the sizes of the lists of all
    /// groups.
    pub fn lruvec(&self) -> &Arc<Lruvec> {
        &self.lruvec
    }

    /// Returns the LRU lists of the group that is charged for a folio; for a folio without a group, those of root.
    /// Kernel: `folio_lruvec`.
    #[inline]
    pub(crate) fn lruvec_of(&self, folio: Folio<'_>) -> &Arc<Lruvec> {
        match (&self.memcg, folio.css()) {
            (Some(groups), Some(css)) => groups.get(css).lruvec(),
            _ => &self.lruvec,
        }
    }

    /// Returns the memory controller, or `None` while memcg is disabled.
    #[inline]
    pub(crate) fn memcg(&self) -> Option<&MemCgroups> {
        self.memcg.as_ref()
    }

    /// Returns the shared page of zeros with a reference. The page is charged to no group and must not be written.
    /// Errors: `NoMemory` (ENOMEM) when the address space of the pages cannot be reserved.
    pub(crate) fn zero_page(&self) -> Result<FolioRef<'_>> {
        self.arena()?;
        Ok(self.folio(ZERO_PAGE).try_get().expect("the page has a reference for ever"))
    }

    /// Returns every folio that is charged to a group, in order of frame numbers. The result can lack folios that
    /// other threads allocate or free during the walk.
    pub(crate) fn charged_folios(&self) -> impl Iterator<Item = Folio<'_>> {
        let end = self.arena.get().map_or(BLOCK_PAGES, |arena| arena.free.lock().next);
        (BLOCK_PAGES..end).map(|pfn| self.folio(Pfn(pfn as u64))).filter(|folio| folio.css().is_some())
    }

    /// Returns the gate between operations and `Swap::check`, the check of the invariants.
    pub(crate) fn activity(&self) -> &ActivityGate {
        &self.activity
    }

    /// Returns the size of the memory in pages.
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages.into()
    }

    /// Returns the number of pages that belong to folios, that is, the pages that are not free.
    pub fn nr_used_pages(&self) -> u64 {
        self.arena.get().map_or(0, |arena| arena.free.lock().nr_used)
    }

    /// Returns the bytes that the headers of all pages take that were ever in use.
    pub fn header_bytes(&self) -> u64 {
        let used = self.arena.get().map_or(0, |arena| arena.free.lock().next - BLOCK_PAGES);
        (used * (size_of::<FolioHeader>() + size_of::<AtomicU32>())) as u64
    }

    /// Allocates a folio with one reference and no flags. The folio is not in the swap cache, and its bytes are not
    /// cleared. Errors: `NoMemory` (ENOMEM).
    ///
    /// Kernel: `get_page_from_freelist`; differs: no zones.
    pub fn alloc(&self, order: Order) -> Result<FolioRef<'_>> {
        let arena = self.arena()?;
        let pfn = {
            let mut free = arena.free.lock();
            let pfn = free.alloc(order, &arena.pages);
            free.nr_used += if pfn.is_some() { order.nr_pages() as u64 } else { 0 };
            pfn
        };
        let pfn = Pfn(pfn.ok_or(SwapError::NoMemory(order.nr_pages() as u64 * PAGE_SIZE as u64))?.into());
        let header = self.header(pfn);
        // Relaxed: no other thread knows the page yet. The folio is later published by a table entry or under a lock.
        header.order.store(order.get(), Ordering::Relaxed);
        header.flags.store(0, Ordering::Relaxed);
        debug_assert_eq!(header.mapcount.load(Ordering::Relaxed), 0, "a free page is mapped");
        debug_assert_eq!(header.users.load(Ordering::Relaxed), 0, "the bytes of a free page have a user");
        header.lru_refs.store(0, Ordering::Relaxed);
        debug_assert_eq!(header.css.load(Ordering::Relaxed), 0, "a free page is charged");
        header.anon_vma.store(0, Ordering::Relaxed);
        // `publish` is the last step, so that a thread that takes a reference to a reused page sees the new fields of
        // the page.
        header.refs.publish(1);
        Ok(FolioRef::adopt(Folio { memory: self, pfn }))
    }

    /// Returns the folio with the frame number `pfn`, without a reference. The caller ensures that another reference
    /// exists.
    #[inline]
    pub(crate) fn folio(&self, pfn: Pfn) -> Folio<'_> {
        Folio { memory: self, pfn }
    }

    /// Frees the pages of a folio that has no references. A frozen folio counts as a folio without references.
    pub(super) fn free(&self, folio: Folio<'_>) {
        debug_assert!(!folio.has(FolioFlags::SWAPCACHE), "a cached folio has references");
        debug_assert_eq!(folio.mapcount(), 0, "a mapped folio has references");
        let freeing = self.activity.begin_free();
        folio.lru_del();
        folio.forget_large();
        if let Some(groups) = &self.memcg {
            folio.uncharge(groups);
        }
        drop(freeing);
        let (order, pfn) = (folio.order(), folio.pfn.0 as u32);
        let arena = self.arena.get().expect("the folio came from it");
        {
            let mut free = arena.free.lock();
            free.nr_used -= order.nr_pages() as u64;
            if free.keep_hot(pfn, order) {
                return;
            }
        }
        // The lock of the free pages is not held while the memory of the pages returns to the system. No list
        // contains the pages at this time, so no thread uses them.
        let (first, nr_pages) = (pfn as usize, order.nr_pages() as usize);
        arena.pages.release_run(first..first + nr_pages);
        arena.free.lock().buddy.dealloc(first, nr_pages);
    }
}

impl Folio<'_> {
    /// Returns the group that is charged for the folio, or `None`. Needs the folio lock. Kernel: `folio_memcg`.
    #[inline]
    pub fn css(self) -> Option<CssId> {
        // Relaxed: the field changes only while the folio is locked or frozen.
        match self.memory.header(self.pfn).css.load(Ordering::Relaxed) {
            0 => None,
            css => Some(CssId(css)),
        }
    }

    fn set_css(self, css: CssId) {
        self.memory.header(self.pfn).css.store(css.0, Ordering::Relaxed);
    }

    /// Stores the number of the folio's file, and the index of the folio's first page in the file. The folio is not
    /// mapped. After the call, the statistics count the pages of the folio as shared memory. Kernel:
    /// `shmem_add_to_page_cache`.
    pub(crate) fn set_file_rmap(self, mapping: u32, index: u32) {
        let group = self.css().zip(self.memory.memcg.as_ref()).map(|(css, groups)| groups.get(css));
        group.inspect(|group| self.count_memory(group, -1));
        self.set_anon_rmap(mapping | FILE_RMAP, index);
        group.inspect(|group| self.count_memory(group, 1));
    }

    /// Adds the folio to the statistics of a group, or takes the folio out if `sign` is -1: the pages of a file, or the
    /// mapped pages of an anonymous folio.
    fn count_memory(self, group: &MemCgroup, sign: i64) {
        if self.file_mapping() != 0 {
            group.count(MemcgStat::Shmem, sign * i64::from(self.nr_pages()));
            return;
        }
        // A new folio, and a folio that is being freed, are not mapped.
        if self.is_mapped() {
            group.count(MemcgStat::Anon, sign * i64::from(self.nr_pages_mapped()));
            group.count(MemcgStat::AnonThp, sign * i64::from(self.nr_thp_pages()));
        }
    }

    /// Binds a folio to the group to which its pages are charged. The binding takes over the caller's reference to
    /// the group. Kernel: `commit_charge`.
    pub(crate) fn bind(self, group: &MemCgroup) {
        debug_assert_eq!(self.css(), None, "a folio is charged once");
        self.set_css(group.css());
        self.count_memory(group, 1);
        group.count(MemcgStat::PgPgIn, 1);
    }

    /// Removes the binding of the folio to its group. The caller takes over the charge and the reference to the
    /// group.
    pub(crate) fn unbind(self, groups: &MemCgroups) {
        if let Some(css) = self.css() {
            let group = groups.get(css);
            self.count_memory(group, -1);
            group.count(MemcgStat::PgPgOut, 1);
            self.set_css(CssId::default());
        }
    }

    /// Binds a locked folio to `to`, the parent of its group `from`. Charges do not change. Kernel:
    /// `memcg_reparent_objcgs` for one folio.
    pub(crate) fn rebind(self, groups: &MemCgroups, from: &MemCgroup, to: &MemCgroup) {
        self.count_memory(from, -1);
        groups.css_get(to, 1);
        self.set_css(to.css());
        self.count_memory(to, 1);
        groups.css_put(from, 1);
    }

    /// Uncharges a folio that is being freed. Kernel: `mem_cgroup_uncharge`.
    pub(super) fn uncharge(self, groups: &MemCgroups) {
        if let Some(css) = self.css() {
            let group = groups.get(css);
            self.unbind(groups);
            groups.uncharge_memory(group, self.nr_pages().into());
            groups.css_put(group, 1);
        }
    }

    /// Takes over the charge of the frozen folio `old`, which this folio replaces. Kernel: `mem_cgroup_migrate`.
    pub(super) fn take_charge(self, old: Self) {
        self.set_css(old.css().unwrap_or_default());
        old.set_css(CssId::default());
    }

    /// Takes one more reference to the folio's group for each part of a split folio except the first part. Kernel:
    /// `split_page_memcg`.
    pub(crate) fn split_charge(self, groups: &MemCgroups, nr_parts: u32) {
        if let Some(css) = self.css() {
            let group = groups.get(css);
            groups.css_get(group, u64::from(nr_parts) - 1);
            group.count(MemcgStat::AnonThp, -i64::from(self.nr_thp_pages()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_runs_out_and_comes_back() {
        let memory = Memory::new(1024, None).expect("a size");
        assert!(Memory::new(511, None).is_err());
        let singles = [(); 512].map(|()| memory.alloc(Order::ZERO).expect("room"));
        let large = memory.alloc(Order::MAX).expect("room");
        assert_eq!(large.folio().pfn().0 % 512, 0);
        assert_eq!(memory.alloc(Order::ZERO).map(|_| ()), Err(SwapError::NoMemory(4096)));
        assert_eq!(memory.nr_used_pages(), 1024);
        drop(large);
        drop(singles);
        // The allocation of a large folio merges the freed single pages of its block.
        drop([(); 2].map(|()| memory.alloc(Order::MAX).expect("merged")));
        assert_eq!(memory.nr_used_pages(), 0);
    }
}
