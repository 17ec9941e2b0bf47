//! Folios: runs of pages with data, flags, a lock and a reference count.

mod activity;
mod data;
mod held;
mod lru;
mod lru_batch;
mod lru_gen;
mod mapcount;
mod memory;
mod refs;

use std::fmt;
use std::sync::atomic::Ordering;

pub(crate) use activity::Active;
pub use data::{FolioAccess, FolioBytes, FolioBytesMut, FolioView};
pub use held::{FolioRef, LockedFolio, MappedFolio};
pub(crate) use lru::Isolated;
pub use memory::Memory;
pub(crate) use memory::ZERO_PAGE;

use crate::base::error::{Result, SwapError};
use crate::base::sync::relax;
use crate::base::types::{Order, Pfn, SwpEntry};
use crate::workingset::FolioFacts;

bitflags::bitflags! {
    /// State of a folio. Kernel: the `PG_*` flags of the same names.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FolioFlags: u32 {
        /// The folio lock is taken.
        const LOCKED = 1 << 0;
        /// A thread sleeps until the folio lock is free or writeback ends.
        const WAITERS = 1 << 1;
        /// The bytes are valid: read from storage, or written by the caller.
        const UPTODATE = 1 << 2;
        /// The bytes differ from the data in storage.
        const DIRTY = 1 << 3;
        /// The folio may get swap slots.
        const SWAPBACKED = 1 << 4;
        /// The folio is in the swap cache: the table entries of its slots name the folio.
        const SWAPCACHE = 1 << 5;
        /// The folio is being written to its storage.
        const WRITEBACK = 1 << 6;
        /// Reclaim wants to free the folio as soon as its writeback ends. `READAHEAD` is the same bit, as in the
        /// kernel.
        const RECLAIM = 1 << 7;
        /// The folio was used after reclaim last examined the folio.
        const REFERENCED = 1 << 8;
        /// The folio is on the active list, or will be added to the active list. The flag is clear while a generation
        /// (MGLRU) lists the folio: see [`Folio::is_active`].
        const ACTIVE = 1 << 9;
        /// The folio is part of the working set.
        const WORKINGSET = 1 << 10;
        /// The folio is on an LRU list.
        const LRU = 1 << 11;
        /// The folio must not be swapped out.
        const MLOCKED = 1 << 12;
        /// The user of a handle holds the folio lock, or has set the writeback state, for an unlimited time. Swapoff
        /// does not wait for such a folio. Kernel: none.
        const HELD = 1 << 13;
        /// The folio is on the unevictable list.
        const UNEVICTABLE = 1 << 14;
        /// No group is charged for the folio's slots, because the slots were allocated without a folio. Kernel: none.
        const SWAP_UNCHARGED = 1 << 15;
        /// The large folio is anonymous and was mapped once. Kernel: `folio_test_anon`.
        const ANON = 1 << 16;
        /// A page of the large folio lost its last mapping while other pages stayed mapped.
        const PARTIALLY_MAPPED = 1 << 17;
        /// A handle mapped the folio and unmapped it while the folio was in the swap cache. The reverse map says the
        /// same of a folio that a page table or a file mapped. Kernel: `folio_test_anon`.
        const WAS_MAPPED = 1 << 18;
        /// The folio was read ahead and has not been used yet. `RECLAIM` is the same bit.
        const READAHEAD = 1 << 7;
    }
}

/// The bit in [`Folio::rmap`] that is set for the number of a file and clear for the number of an `AnonVma`. Kernel:
/// `FOLIO_MAPPING_ANON`, with the opposite meaning.
const FILE_RMAP: u32 = 1 << 31;

/// The fields in which a part of a split folio differs from the whole folio.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) order: Order,
    pub(crate) mapcount: u32,
}

/// A folio, identified by its page frame number, without a reference. The value is valid as long as another holder
/// has a reference. Kernel: `struct folio *`.
#[derive(Clone, Copy)]
pub struct Folio<'a> {
    memory: &'a Memory,
    pfn: Pfn,
}

impl PartialEq for Folio<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.pfn == other.pfn && std::ptr::eq(self.memory, other.memory)
    }
}

impl fmt::Debug for Folio<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folio {} {} {:?} refs {}", self.pfn.0, self.order(), self.flags(), self.refs())
    }
}

impl<'a> Folio<'a> {
    /// Returns the frame number of the folio's first page. The table entries of the folio's slots contain this
    /// number.
    pub fn pfn(self) -> Pfn {
        self.pfn
    }

    /// Returns the order. The order changes only while the folio is frozen.
    #[inline]
    pub fn order(self) -> Order {
        // Relaxed: the order is written before the folio is published, or while the folio is frozen.
        Order::stored(self.memory.header(self.pfn).order.load(Ordering::Relaxed))
    }

    /// Returns the number of pages.
    #[inline]
    pub fn nr_pages(self) -> u32 {
        self.order().nr_pages()
    }

    /// Returns the folio that starts at page `page` of this folio, after a split at that page.
    pub(crate) fn at(self, page: u32) -> Self {
        Self { memory: self.memory, pfn: Pfn(self.pfn.0 + page as u64) }
    }

    /// Returns a snapshot of the flags.
    #[inline]
    pub fn flags(self) -> FolioFlags {
        // Acquire pairs with the Release in `set` and `clear`: a thread that reads a changed flag also sees the
        // writes that came before the change, for example the bytes with UPTODATE, or the result of the write when
        // WRITEBACK is clear.
        FolioFlags::from_bits_retain(self.memory.header(self.pfn).flags.load(Ordering::Acquire))
    }

    /// Returns whether every flag of `flags` is set.
    #[inline]
    pub fn has(self, flags: FolioFlags) -> bool {
        self.flags().contains(flags)
    }

    /// Sets flags and returns the old flags. A change of any flag except REFERENCED, READAHEAD, WAITERS and
    /// PARTIALLY_MAPPED needs the folio lock. Only the code of the LRU lists changes LRU and UNEVICTABLE. Only the
    /// thread that isolated the folio changes ACTIVE and WORKINGSET; while a generation lists the folio, the holder
    /// of the LRU lock changes these two flags.
    pub fn set(self, flags: FolioFlags) -> FolioFlags {
        // AcqRel: the Release pairs with the Acquire in `flags`, and the Acquire pairs with the Release of the last
        // change of the flags.
        let old = self.memory.header(self.pfn).flags.fetch_or(flags.bits(), Ordering::AcqRel);
        FolioFlags::from_bits_retain(old)
    }

    /// Marks the folio dirty and up to date, because the bytes of the folio are the newest data. A dirty cached folio
    /// must be up to date, because a fault could not map a folio that is not up to date, and could not drop a dirty
    /// folio and read the slot again. Kernel: `folio_mark_dirty`; differs: in the kernel the caller has made the
    /// folio up to date.
    pub fn folio_mark_dirty(self) {
        self.set(FolioFlags::DIRTY | FolioFlags::UPTODATE);
    }

    /// Clears flags and returns the old flags. Needs the same locks as [`Folio::set`].
    pub fn clear(self, flags: FolioFlags) -> FolioFlags {
        // AcqRel: as in `set`.
        let old = self.memory.header(self.pfn).flags.fetch_and(!flags.bits(), Ordering::AcqRel);
        FolioFlags::from_bits_retain(old)
    }

    /// Sets `flags` if `is_set` is true, else clears `flags`.
    pub fn assign(self, flags: FolioFlags, is_set: bool) {
        if is_set {
            self.set(flags)
        } else {
            self.clear(flags)
        };
    }

    /// Returns the folio's first slot, or `None` when the folio is not in the swap cache. Kernel: `folio->swap`.
    #[inline]
    pub fn entry(self) -> Option<SwpEntry> {
        // Acquire pairs with the Release in `set_entry`: the table entries of these slots already name the folio.
        let value = self.memory.header(self.pfn).swap.load(Ordering::Acquire);
        (value != 0).then_some(SwpEntry::from_value(value))
    }

    /// Stores the folio's first slot. Needs the folio lock.
    pub(crate) fn set_entry(self, entry: SwpEntry) {
        // Release pairs with the Acquire in `entry`.
        self.memory.header(self.pfn).swap.store(entry.value(), Ordering::Release);
    }

    /// Returns whether `slot` is one of the folio's slots.
    #[inline]
    pub(crate) fn covers(self, slot: SwpEntry) -> bool {
        self.entry()
            .is_some_and(|first| (first.value()..first.value() + self.nr_pages() as u64).contains(&slot.value()))
    }

    /// Returns the number of references. The swap cache holds one reference for each page, page tables hold one for
    /// each mapping, and each user holds one. 0 means that the folio is frozen or free.
    pub fn refs(self) -> u32 {
        self.memory.header(self.pfn).refs.get()
    }

    /// Takes a reference unless the folio is frozen or free. Kernel: `folio_try_get`.
    #[inline]
    pub(crate) fn try_get(self) -> Option<FolioRef<'a>> {
        self.memory.header(self.pfn).refs.try_get().then(|| FolioRef::adopt(self))
    }

    /// Takes `nr` references; the caller already holds a reference. Kernel: `folio_ref_add`.
    pub(crate) fn add_refs(self, nr: u32) {
        self.memory.header(self.pfn).refs.add(nr);
    }

    /// Drops `nr` references. If these are the last references, the call frees the pages. Kernel: `folio_put_refs`.
    pub(crate) fn put_refs(self, nr: u32) {
        if self.memory.header(self.pfn).refs.put(nr) {
            self.memory.free(self);
        }
    }

    /// Replaces a count of exactly `nr` references by 0, so that no thread can take a reference. Returns false when
    /// the count is not `nr`. Kernel: `folio_ref_freeze`.
    pub(crate) fn freeze(self, nr: u32) -> bool {
        self.memory.header(self.pfn).refs.freeze(nr)
    }

    /// Sets the reference count to `nr`, which ends a freeze. Kernel: `folio_ref_unfreeze`.
    pub(crate) fn unfreeze(self, nr: u32) {
        self.memory.header(self.pfn).refs.publish(nr);
    }

    /// Frees the pages of a frozen folio.
    pub(crate) fn free_frozen(self) {
        debug_assert_eq!(self.refs(), 0, "only a frozen folio");
        self.memory.free(self);
    }

    /// Returns the number of the folio's `AnonVma`, or the number of its file together with the bit [`FILE_RMAP`].
    /// Kernel: `folio->mapping`.
    #[inline(always)]
    fn rmap(self) -> u32 {
        // Relaxed: the field is written before a page table entry or an entry of a file names the folio, and the lock
        // of this table or file publishes the field.
        self.memory.header(self.pfn).anon_vma.load(Ordering::Relaxed)
    }

    /// Returns the number that identifies the `AnonVma` of the folio, which lists the mappings that may map the
    /// folio; 0 for no `AnonVma`. Kernel: `folio_anon_vma`.
    pub(crate) fn anon_vma(self) -> u32 {
        let number = self.rmap();
        if number & FILE_RMAP == 0 { number } else { 0 }
    }

    /// Returns the number that identifies the file of the folio; 0 for an anonymous folio.
    pub(crate) fn file_mapping(self) -> u32 {
        let number = self.rmap();
        if number & FILE_RMAP == 0 { 0 } else { number & !FILE_RMAP }
    }

    /// Returns whether the reverse map can find the page table entries and file entries that name the folio.
    #[inline(always)]
    pub(crate) fn has_rmap(self) -> bool {
        self.rmap() != 0
    }

    /// Returns the page index of the folio's first page in the mappings of [`Folio::anon_vma`], or in the file of
    /// [`Folio::file_mapping`]. Kernel: `folio->index`.
    pub(crate) fn page_index(self) -> u32 {
        // Relaxed: as in `rmap`.
        self.memory.header(self.pfn).index.load(Ordering::Relaxed)
    }

    /// Stores the number of the folio's `AnonVma`, and the page index of the folio in the mappings of the `AnonVma`.
    /// The folio is not mapped yet. Kernel: `__folio_set_anon`.
    pub(crate) fn set_anon_rmap(self, anon_vma: u32, index: u32) {
        let header = self.memory.header(self.pfn);
        // Relaxed: as in `rmap`.
        header.anon_vma.store(anon_vma, Ordering::Relaxed);
        header.index.store(index, Ordering::Relaxed);
    }

    /// Makes `part`, which is some pages of this frozen folio, a folio of its own. The new folio is frozen and
    /// unlocked, and has the flags and the group of this folio.
    pub(crate) fn make_part(self, part: Folio<'_>, as_part: Part) {
        let (from, to) = (self.memory.header(self.pfn), self.memory.header(part.pfn));
        let flags = self.flags() - FolioFlags::LOCKED - FolioFlags::WAITERS;
        // Relaxed throughout: the folio is frozen, and `unfreeze` publishes the part.
        to.order.store(as_part.order.get(), Ordering::Relaxed);
        to.flags.store(flags.bits(), Ordering::Relaxed);
        to.css.store(from.css.load(Ordering::Relaxed), Ordering::Relaxed);
        to.lru_refs.store(from.lru_refs.load(Ordering::Relaxed), Ordering::Relaxed);
        to.lru_gen.store(from.lru_gen.load(Ordering::Relaxed), Ordering::Relaxed);
        part.set_anon_rmap(self.rmap(), self.page_index() + (part.pfn.0 - self.pfn.0) as u32);
        part.set_part_mapcount(as_part);
    }

    /// Shrinks this frozen folio to the first part of its split.
    pub(crate) fn shrink(self, as_part: Part) {
        // Relaxed: as in `make_part`.
        self.memory.header(self.pfn).order.store(as_part.order.get(), Ordering::Relaxed);
        self.set_part_mapcount(as_part);
    }

    /// Copies the flags, reverse map and charge of the folio `old`, which this folio replaces. Kernel:
    /// `folio_migrate_flags`.
    pub(crate) fn take_over(self, old: Folio<'_>) {
        let mine = FolioFlags::LOCKED | FolioFlags::WAITERS | FolioFlags::LRU | FolioFlags::SWAPCACHE;
        // The old folio leaves its list before its charge moves to this folio, because the group of a folio selects
        // the list. `lru_del` sets ACTIVE if one of the two youngest generations listed the folio.
        let was_listed = old.lru_del();
        self.set(old.flags() - mine);
        // The number of large folios does not change, because this folio replaces the old folio.
        old.clear(FolioFlags::ANON | FolioFlags::PARTIALLY_MAPPED);
        self.set_anon_rmap(old.rmap(), old.page_index());
        self.set_lru_refs(old.facts().lru_refs);
        self.take_charge(old);
        if was_listed {
            self.lru_add();
        }
    }

    /// Removes the slots and the flag SWAPCACHE from a frozen folio after another folio replaced it in the swap
    /// cache.
    pub(crate) fn leave_cache(self) {
        self.set_entry(SwpEntry::NONE);
        self.clear(FolioFlags::SWAPCACHE);
    }

    /// Returns the facts about the folio that working-set detection uses.
    // Inlined, because each caller (evictions, aging of the lists, tests of tiers) uses only some of the facts.
    #[inline(always)]
    pub(crate) fn facts(self) -> FolioFacts {
        let flags = self.flags();
        FolioFacts {
            nr_pages: self.nr_pages(),
            is_workingset: flags.contains(FolioFlags::WORKINGSET),
            is_referenced: flags.contains(FolioFlags::REFERENCED),
            // Relaxed: the value is a hint. The faults that set REFERENCED write it.
            lru_refs: self.memory.header(self.pfn).lru_refs.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_lru_refs(self, lru_refs: u8) {
        self.memory.header(self.pfn).lru_refs.store(lru_refs, Ordering::Relaxed);
    }

    /// Locks the folio if the folio lock is free. Kernel: `folio_trylock`.
    pub fn try_lock(self) -> Option<LockedFolio<'a>> {
        (!self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED)).then(|| LockedFolio(self))
    }

    /// Locks the folio. Sleeps while another thread holds the lock. The caller holds no other lock. Kernel:
    /// `folio_lock`.
    pub fn lock(self) -> LockedFolio<'a> {
        self.wait_for(FolioFlags::LOCKED, || self.try_lock())
    }

    /// Returns whether the user of a handle holds the folio lock.
    pub(crate) fn is_locked_by_user(self) -> bool {
        self.has(FolioFlags::HELD | FolioFlags::LOCKED)
    }

    /// Locks the folio for a page fault. Does not wait for writeback of the folio. Errors: `FolioBusy` (EBUSY) while
    /// the user of a handle holds the folio lock.
    pub(crate) fn lock_for_fault(self) -> Result<LockedFolio<'a>> {
        if self.is_locked_by_user() { Err(self.busy()) } else { Ok(self.lock()) }
    }

    /// Locks the folio and waits for the end of its writeback. Errors: `FolioBusy` (EBUSY) while the user of a handle
    /// holds the folio lock or has set the writeback state, because the user may never end this state.
    pub(crate) fn lock_for_io(self) -> Result<LockedFolio<'a>> {
        if self.has(FolioFlags::HELD) {
            return Err(self.busy());
        }
        let locked = self.lock();
        if self.has(FolioFlags::HELD) {
            return Err(self.busy());
        }
        self.wait_writeback();
        Ok(locked)
    }

    /// Sleeps while the folio is under writeback. Kernel: `folio_wait_writeback`.
    pub fn wait_writeback(self) {
        self.wait_for(FolioFlags::WRITEBACK, || (!self.has(FolioFlags::WRITEBACK)).then_some(()));
    }

    fn wait_for<T>(self, flag: FolioFlags, mut attempt: impl FnMut() -> Option<T>) -> T {
        for round in 0..2 * crate::base::limits::LOCK_SPINS {
            if let Some(done) = attempt() {
                return done;
            }
            relax(round);
        }
        let mut done = None;
        self.memory.waiters.wait(self.pfn.0, || {
            // WAITERS is set before the attempt, so the thread that later clears `flag` sees WAITERS and wakes this
            // thread.
            if !self.set(FolioFlags::WAITERS).contains(flag) {
                done = attempt();
            }
            done.is_some()
        });
        done.expect("wait returns when the attempt succeeded")
    }

    /// Clears `flag`, and wakes the threads that sleep until `flag` is clear.
    fn clear_and_wake(self, flag: FolioFlags) {
        let old = self.clear(flag);
        debug_assert!(old.contains(flag), "{flag:?} was not set");
        if old.contains(FolioFlags::WAITERS) {
            self.clear(FolioFlags::WAITERS);
            self.memory.waiters.wake(self.pfn.0);
        }
    }

    /// Returns whether the folio is locked.
    pub fn is_locked(self) -> bool {
        self.has(FolioFlags::LOCKED)
    }

    /// Sets or clears the writeback state of the folio for the user of a handle.
    pub(crate) fn hold_writeback(self, is_held: bool) {
        if is_held {
            self.set(FolioFlags::WRITEBACK | FolioFlags::HELD);
        } else if self.has(FolioFlags::WRITEBACK) {
            self.clear(FolioFlags::HELD);
            self.end_writeback();
        }
    }

    /// Ends writeback and wakes the threads that wait for it. Kernel: `folio_end_writeback`.
    pub(crate) fn end_writeback(self) {
        self.clear_and_wake(FolioFlags::WRITEBACK);
    }

    /// Releases the folio lock that [`LockedFolio::keep`] left held.
    pub fn unlock(self) {
        self.clear_and_wake(FolioFlags::LOCKED);
    }

    /// Returns the error for a call that finds the folio locked or under writeback.
    pub(crate) fn busy(self) -> SwapError {
        SwapError::FolioBusy(self.entry().unwrap_or(SwpEntry::NONE))
    }
}

/// Checks that a folio was allocated from `memory`. Errors: `ForeignFolio` (EINVAL).
pub(crate) fn check_home(folio: Folio<'_>, memory: &Memory) -> Result<()> {
    let is_home = std::ptr::eq(folio.memory, memory);
    is_home.then_some(()).ok_or_else(|| SwapError::ForeignFolio(folio.entry().unwrap_or(SwpEntry::NONE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::tests::assert_excludes;
    use crate::workingset::mglru::gen_of;
    use crate::workingset::{LruHead, LruList, Workingset};

    pub(super) fn memory() -> Memory {
        Memory::new(1024, None).expect("a size")
    }

    pub(super) fn order(order: u8) -> Order {
        Order::new(order).expect("an order")
    }

    /// Makes a folio and adds it to the list that its flags select. The folio has an `AnonVma`, so that reclaim may
    /// take it.
    pub(super) fn listed(memory: &Memory, order: Order, flags: FolioFlags) -> FolioRef<'_> {
        let folio = memory.alloc(order).expect("room");
        folio.set_anon_rmap(1, 0);
        folio.set(flags);
        folio.lru_add();
        folio
    }

    /// Returns the page numbers of a list, from the tail, which reclaim scans first. Also checks all LRU lists of the
    /// root group.
    pub(super) fn pages(memory: &Memory, head: LruHead) -> Vec<u64> {
        memory.check_lru(memory.lruvec()).expect("whole lists");
        let mut pages: Vec<u64> = head.list.iter(memory).map(u64::from).collect();
        pages.reverse();
        pages
    }

    pub(super) fn pfns<const N: usize>(folios: [&FolioRef<'_>; N]) -> [u64; N] {
        folios.map(|folio| folio.pfn().0)
    }

    #[test]
    fn parts_of_a_split_folio_follow_it_on_its_list() {
        for rule in [Workingset::Classic { bucket_order: 0 }, Workingset::Mglru] {
            let memory = memory().with_lists_of(rule);
            let lruvec = memory.lruvec();
            let [before, large, after] = [0, 1, 0].map(|at| listed(&memory, order(at), FolioFlags::empty()));
            let (head, tail) = (large.folio(), large.at(1));
            assert!(head.freeze(1));
            let single = Part { order: Order::ZERO, mapcount: 0 };
            head.make_part(tail, single);
            head.shrink(single);
            head.lru_add_parts([tail].into_iter());
            head.unfreeze(1);
            tail.unfreeze(1);
            let tail = FolioRef::adopt(tail);
            let list = || match rule {
                Workingset::Classic { .. } => lruvec.lists().lists[LruList::InactiveAnon as usize],
                Workingset::Mglru => lruvec.lists().generations[gen_of(3)],
            };
            assert_eq!(pages(&memory, list()), pfns([&before, &tail, &large, &after]));
            assert_eq!((tail.anon_vma(), tail.page_index(), list().nr_pages), (1, 1, 4));
            drop(large);
            assert_eq!(pages(&memory, list()), pfns([&before, &tail, &after]));
            drop((before, tail, after));
            let left = (lruvec.own_pages(), lruvec.own_generation_pages(), memory.nr_used_pages());
            assert_eq!(left, ([0; 5], [0; 4], 0));
        }
    }

    #[test]
    fn a_frozen_folio_gives_no_reference() {
        let memory = memory();
        let folio = memory.alloc(Order::ZERO).expect("room");
        let second = folio.try_get().expect("not frozen");
        assert!(!folio.freeze(1));
        assert!(folio.freeze(2));
        assert!(folio.try_get().is_none());
        folio.unfreeze(2);
        assert!(folio.try_get().is_some());
        drop(second);
        assert_eq!(folio.refs(), 1);
    }

    #[test]
    fn waiters_for_a_lock_are_woken() {
        let memory = memory();
        let folio = memory.alloc(Order::ZERO).expect("room");
        assert_excludes(|| folio.lock());
        assert!(!folio.is_locked());
    }
}
