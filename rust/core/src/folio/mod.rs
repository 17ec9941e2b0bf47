//! Folios: runs of pages with data, flags, a lock and counted references.

mod charged;
mod data;
mod lru;
mod lru_gen;
mod mapped;
mod memory;
mod refs;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::Ordering;

pub use data::{FolioBytes, FolioBytesMut, FolioView};
pub use mapped::MappedFolio;
pub use memory::Memory;
use refs::FolioRefs;

use crate::base::error::{Result, SwapError};
use crate::base::sync::relax;
use crate::base::types::{Order, Pfn, SwpEntry};
use crate::workingset::FolioFacts;

bitflags::bitflags! {
    /// State of a folio. Kernel: the `PG_*` flags of these names.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FolioFlags: u32 {
        /// The folio lock is taken.
        const LOCKED = 1 << 0;
        /// Somebody sleeps for the lock or for the end of writeback.
        const WAITERS = 1 << 1;
        /// The data is what it should be: read, or made here.
        const UPTODATE = 1 << 2;
        /// Differs from what the storage has.
        const DIRTY = 1 << 3;
        /// May get slots.
        const SWAPBACKED = 1 << 4;
        /// In the swap cache: its slots hold it.
        const SWAPCACHE = 1 << 5;
        /// Under write to its storage.
        const WRITEBACK = 1 << 6;
        /// Wanted by reclaim once written. The same bit as `READAHEAD`, as in the kernel.
        const RECLAIM = 1 << 7;
        /// Was used since it was last looked at.
        const REFERENCED = 1 << 8;
        /// On the active list, or on its way there. Clear while a generation lists the folio: see [`Folio::is_active`].
        const ACTIVE = 1 << 9;
        /// Part of the working set.
        const WORKINGSET = 1 << 10;
        /// On an LRU list.
        const LRU = 1 << 11;
        /// May not leave memory.
        const MLOCKED = 1 << 12;
        /// The user of a handle holds the lock or says that it is under writeback, for as long as he likes: swapoff does
        /// not wait for that. Kernel: none.
        const HELD = 1 << 13;
        /// On the list of those that may not leave memory.
        const UNEVICTABLE = 1 << 14;
        /// Its slots are charged to nobody: they were handed out without a folio. Kernel: none.
        const SWAP_UNCHARGED = 1 << 15;
        /// Read ahead of need and not used since.
        const READAHEAD = 1 << 7;
    }
}

/// What is different of a part of a split folio.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) order: Order,
    pub(crate) mapcount: u32,
}

/// A folio by number, without a reference of its own: good while somebody else's holds. Kernel: `struct folio *`.
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
    /// Returns the number of the first page, which table entries hold.
    pub fn pfn(self) -> Pfn {
        self.pfn
    }

    /// Returns log2 of the pages. Changes only while the references are frozen.
    #[inline]
    pub fn order(self) -> Order {
        // Relaxed: written before the folio is published, or with its references frozen.
        Order::stored(self.memory.header(self.pfn).order.load(Ordering::Relaxed))
    }

    /// Returns the pages.
    #[inline]
    pub fn nr_pages(self) -> u32 {
        self.order().nr_pages()
    }

    /// Says whether the folio lies in a memory.
    pub(crate) fn is_in(self, memory: &Memory) -> bool {
        std::ptr::eq(self.memory, memory)
    }

    /// Returns the folio made of the pages from `page` on, once this one is split.
    pub(crate) fn at(self, page: u32) -> Self {
        Self { memory: self.memory, pfn: Pfn(self.pfn.0 + page as u64) }
    }

    /// Returns the flags, a snapshot.
    #[inline]
    pub fn flags(self) -> FolioFlags {
        // Acquire pairs with the Release in `set` and `clear`: what was done before a flag changed is seen with it
        // (UPTODATE: the data; WRITEBACK gone: the outcome).
        FolioFlags::from_bits_retain(self.memory.header(self.pfn).flags.load(Ordering::Acquire))
    }

    /// Says whether all of some flags are set.
    #[inline]
    pub fn has(self, flags: FolioFlags) -> bool {
        self.flags().contains(flags)
    }

    /// Sets flags; returns those there were. Needs the folio lock for all but REFERENCED, READAHEAD and WAITERS; LRU and
    /// UNEVICTABLE are the lists', ACTIVE and WORKINGSET belong to who isolated the folio; of a folio in a generation they
    /// change under the LRU lock.
    pub fn set(self, flags: FolioFlags) -> FolioFlags {
        // AcqRel: Release pairs with the Acquire in `flags`; Acquire pairs with the Release of whoever changed them last.
        let old = self.memory.header(self.pfn).flags.fetch_or(flags.bits(), Ordering::AcqRel);
        FolioFlags::from_bits_retain(old)
    }

    /// Clears flags; returns those there were. Needs what [`Folio::set`] needs.
    pub fn clear(self, flags: FolioFlags) -> FolioFlags {
        // AcqRel: as in `set`.
        let old = self.memory.header(self.pfn).flags.fetch_and(!flags.bits(), Ordering::AcqRel);
        FolioFlags::from_bits_retain(old)
    }

    /// Sets or clears flags.
    pub fn assign(self, flags: FolioFlags, is_set: bool) {
        if is_set {
            self.set(flags)
        } else {
            self.clear(flags)
        };
    }

    /// Returns the first slot owned, or `None` when the folio is not in the swap cache. Kernel: `folio->swap`.
    #[inline]
    pub fn entry(self) -> Option<SwpEntry> {
        // Acquire pairs with the Release in `set_entry`: the entry names slots that already hold the folio.
        let value = self.memory.header(self.pfn).swap.load(Ordering::Acquire);
        (value != 0).then_some(SwpEntry::from_value(value))
    }

    /// Writes the first slot owned; needs the folio lock.
    pub(crate) fn set_entry(self, entry: SwpEntry) {
        // Release pairs with the Acquire in `entry`.
        self.memory.header(self.pfn).swap.store(entry.value(), Ordering::Release);
    }

    /// Says whether this folio owns a slot.
    #[inline]
    pub(crate) fn covers(self, slot: SwpEntry) -> bool {
        self.entry()
            .is_some_and(|first| (first.value()..first.value() + self.nr_pages() as u64).contains(&slot.value()))
    }

    fn counted(self) -> &'a FolioRefs {
        &self.memory.header(self.pfn).refs
    }

    /// Returns the references: swap cache one a page, page tables one a mapping, each user one. 0 is frozen or free.
    pub fn refs(self) -> u32 {
        self.counted().get()
    }

    /// Takes a reference unless the folio is frozen or free. Kernel: `folio_try_get`.
    #[inline]
    pub(crate) fn try_get(self) -> Option<FolioRef<'a>> {
        self.counted().try_get().then(|| FolioRef::adopt(self))
    }

    /// Takes references beside one that is held. Kernel: `folio_ref_add`.
    pub(crate) fn add_refs(self, nr: u32) {
        self.counted().add(nr);
    }

    /// Gives references back; the last one frees the pages. Kernel: `folio_put_refs`.
    pub(crate) fn put_refs(self, nr: u32) {
        if self.counted().put(nr) {
            self.memory.free(self);
        }
    }

    /// Replaces exactly `nr` references by none, so that nobody can take one, or fails. Kernel: `folio_ref_freeze`.
    pub(crate) fn freeze(self, nr: u32) -> bool {
        self.counted().freeze(nr)
    }

    /// Ends a freeze with `nr` references. Kernel: `folio_ref_unfreeze`.
    pub(crate) fn unfreeze(self, nr: u32) {
        self.counted().publish(nr);
    }

    /// Frees the pages of a frozen folio.
    pub(crate) fn free_frozen(self) {
        debug_assert_eq!(self.refs(), 0, "only a frozen folio");
        self.memory.free(self);
    }

    /// Returns the page table entries that map pages of the folio. Kernel: `folio_mapcount`.
    pub fn mapcount(self) -> u32 {
        // Relaxed: changes under page table locks; a reader wants a momentary number.
        self.memory.header(self.pfn).mapcount.load(Ordering::Relaxed)
    }

    /// Says whether anything maps the folio.
    pub fn is_mapped(self) -> bool {
        self.mapcount() > 0
    }

    /// Counts new mappings, each with a reference. Kernel: `folio_add_anon_rmap_*`.
    pub(crate) fn add_mappings(self, nr: u32) {
        self.add_refs(nr);
        // Relaxed: see `mapcount`.
        self.memory.header(self.pfn).mapcount.fetch_add(nr, Ordering::Relaxed);
    }

    /// Uncounts mappings and gives their references back; the caller holds another one.
    pub(crate) fn remove_mappings(self, nr: u32) {
        // Relaxed: see `mapcount`.
        let old = self.memory.header(self.pfn).mapcount.fetch_sub(nr, Ordering::Relaxed);
        debug_assert!(old >= nr, "{nr} mappings removed, {old} are there");
        self.put_refs(nr);
    }

    /// Returns the number of the mappings whose page tables may name the folio; 0 for none. Kernel: `folio_anon_vma`.
    pub(crate) fn anon_vma(self) -> u32 {
        // Relaxed: written before an entry names the folio, which is seen under its page table lock.
        self.memory.header(self.pfn).anon_vma.load(Ordering::Relaxed)
    }

    /// Returns where in these mappings the folio's first page is, in pages. Kernel: `folio->index`.
    pub(crate) fn page_index(self) -> u32 {
        // Relaxed: as in `anon_vma`.
        self.memory.header(self.pfn).index.load(Ordering::Relaxed)
    }

    /// Sets what may name the folio, and where. Nothing maps it yet. Kernel: `__folio_set_anon`.
    pub(crate) fn set_anon_rmap(self, anon_vma: u32, index: u32) {
        let header = self.memory.header(self.pfn);
        // Relaxed: as in `anon_vma`.
        header.anon_vma.store(anon_vma, Ordering::Relaxed);
        header.index.store(index, Ordering::Relaxed);
    }

    /// Makes pages of this frozen folio a folio of their own: frozen, unlocked, flags and owner as here.
    pub(crate) fn make_part(self, part: Folio<'_>, as_part: Part) {
        let (from, to) = (self.memory.header(self.pfn), self.memory.header(part.pfn));
        let flags = self.flags() - FolioFlags::LOCKED - FolioFlags::WAITERS;
        // Relaxed throughout: the folio is frozen, and `unfreeze` publishes the part.
        to.order.store(as_part.order.get(), Ordering::Relaxed);
        to.flags.store(flags.bits(), Ordering::Relaxed);
        to.mapcount.store(as_part.mapcount, Ordering::Relaxed);
        to.css.store(from.css.load(Ordering::Relaxed), Ordering::Relaxed);
        to.lru_refs.store(from.lru_refs.load(Ordering::Relaxed), Ordering::Relaxed);
        to.lru_gen.store(from.lru_gen.load(Ordering::Relaxed), Ordering::Relaxed);
        part.set_anon_rmap(self.anon_vma(), self.page_index() + (part.pfn.0 - self.pfn.0) as u32);
    }

    /// Makes this frozen folio the first of its parts.
    pub(crate) fn shrink(self, as_part: Part) {
        let header = self.memory.header(self.pfn);
        // Relaxed: as in `make_part`.
        header.order.store(as_part.order.get(), Ordering::Relaxed);
        header.mapcount.store(as_part.mapcount, Ordering::Relaxed);
    }

    /// Takes over flags and owner of a folio that this one replaces. Kernel: `folio_migrate_flags`.
    pub(crate) fn take_over(self, old: Folio<'_>) {
        let mine = FolioFlags::LOCKED | FolioFlags::WAITERS | FolioFlags::LRU | FolioFlags::SWAPCACHE;
        // Off the list while it still says whose list that is; a young generation is left behind as a flag.
        let was_listed = old.lru_del();
        self.set(old.flags() - mine);
        self.set_anon_rmap(old.anon_vma(), old.page_index());
        self.set_lru_refs(old.facts().lru_refs);
        self.take_charge(old);
        if was_listed {
            self.lru_add();
        }
    }

    /// Forgets that a frozen folio was cached: another one is in its place.
    pub(crate) fn leave_cache(self) {
        self.set_entry(SwpEntry::NONE);
        self.clear(FolioFlags::SWAPCACHE);
    }

    /// Forgets the mappings of a frozen folio: another one has them.
    pub(crate) fn forget_mappings(self) {
        // Relaxed: see `mapcount`.
        self.memory.header(self.pfn).mapcount.store(0, Ordering::Relaxed);
    }

    /// Returns what working-set detection asks of the folio.
    // Always: an eviction, the aging of lists and tests of tiers call it, and each needs a part of it.
    #[inline(always)]
    pub(crate) fn facts(self) -> FolioFacts {
        let flags = self.flags();
        FolioFacts {
            nr_pages: self.nr_pages(),
            is_workingset: flags.contains(FolioFlags::WORKINGSET),
            is_referenced: flags.contains(FolioFlags::REFERENCED),
            // Relaxed: a hint, written by the same faults that set REFERENCED.
            lru_refs: self.memory.header(self.pfn).lru_refs.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_lru_refs(self, lru_refs: u8) {
        self.memory.header(self.pfn).lru_refs.store(lru_refs, Ordering::Relaxed);
    }

    /// Locks the folio unless somebody holds it. Kernel: `folio_trylock`.
    pub fn try_lock(self) -> Option<LockedFolio<'a>> {
        (!self.set(FolioFlags::LOCKED).contains(FolioFlags::LOCKED)).then(|| LockedFolio(self))
    }

    /// Locks the folio, sleeping while somebody holds it. No lock may be held. Kernel: `folio_lock`.
    pub fn lock(self) -> LockedFolio<'a> {
        self.wait_for(FolioFlags::LOCKED, || self.try_lock())
    }

    /// Locks the folio as a fault does: whatever writeback is under way, but not while the user of a handle keeps the lock.
    /// Errors: `FolioBusy` (EBUSY).
    pub(crate) fn lock_for_fault(self) -> Result<LockedFolio<'a>> {
        if self.has(FolioFlags::HELD | FolioFlags::LOCKED) { Err(self.busy()) } else { Ok(self.lock()) }
    }

    /// Locks the folio as [`Folio::lock`] does, but not while the user of a handle keeps its lock or says that it is under
    /// writeback: that may be for ever. Errors: `FolioBusy` (EBUSY).
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

    /// Sleeps until the folio is not under writeback. Kernel: `folio_wait_writeback`.
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
            // Announced first: whoever clears the flag after this sees WAITERS and wakes us.
            if !self.set(FolioFlags::WAITERS).contains(flag) {
                done = attempt();
            }
            done.is_some()
        });
        done.expect("wait returns when the attempt succeeded")
    }

    /// Clears a flag that others may sleep for.
    fn clear_and_wake(self, flag: FolioFlags) {
        let old = self.clear(flag);
        debug_assert!(old.contains(flag), "{flag:?} was not set");
        if old.contains(FolioFlags::WAITERS) {
            self.clear(FolioFlags::WAITERS);
            self.memory.waiters.wake(self.pfn.0);
        }
    }

    /// Says whether the folio is locked.
    pub fn is_locked(self) -> bool {
        self.has(FolioFlags::LOCKED)
    }

    /// Says that the folio is under writeback, or not any more, on behalf of a handle's user.
    pub(crate) fn hold_writeback(self, is_held: bool) {
        if is_held {
            self.set(FolioFlags::WRITEBACK | FolioFlags::HELD);
        } else if self.has(FolioFlags::WRITEBACK) {
            self.clear(FolioFlags::HELD);
            self.end_writeback();
        }
    }

    /// Ends writeback and wakes who waits for it. Kernel: `folio_end_writeback`.
    pub(crate) fn end_writeback(self) {
        self.clear_and_wake(FolioFlags::WRITEBACK);
    }

    /// Frees a lock that was kept by [`LockedFolio::keep`].
    pub fn unlock(self) {
        self.clear_and_wake(FolioFlags::LOCKED);
    }

    /// Says why a folio cannot be used now.
    pub(crate) fn busy(self) -> SwapError {
        SwapError::FolioBusy(self.entry().unwrap_or(SwpEntry::NONE))
    }
}

/// A folio with one reference that is given back on drop.
#[derive(Debug)]
pub struct FolioRef<'a>(Folio<'a>);

impl<'a> FolioRef<'a> {
    /// Takes over a reference that the caller has.
    pub(crate) fn adopt(folio: Folio<'a>) -> Self {
        Self(folio)
    }

    /// Returns the folio.
    pub fn folio(&self) -> Folio<'a> {
        self.0
    }

    /// Keeps the reference beyond this handle; [`FolioRef::adopt`] takes it up again.
    pub(crate) fn into_raw(self) -> Pfn {
        let pfn = self.0.pfn;
        std::mem::forget(self);
        pfn
    }
}

impl Clone for FolioRef<'_> {
    fn clone(&self) -> Self {
        self.0.add_refs(1);
        Self(self.0)
    }
}

impl<'a> Deref for FolioRef<'a> {
    type Target = Folio<'a>;

    fn deref(&self) -> &Folio<'a> {
        &self.0
    }
}

impl Drop for FolioRef<'_> {
    fn drop(&mut self) {
        self.0.put_refs(1);
    }
}

/// A folio whose lock is held; freed on drop.
#[derive(Debug)]
pub struct LockedFolio<'a>(Folio<'a>);

impl<'a> LockedFolio<'a> {
    /// Returns the folio.
    pub fn folio(&self) -> Folio<'a> {
        self.0
    }

    /// Keeps the lock beyond this guard; [`Folio::unlock`] frees it.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl<'a> Deref for LockedFolio<'a> {
    type Target = Folio<'a>;

    fn deref(&self) -> &Folio<'a> {
        &self.0
    }
}

impl Drop for LockedFolio<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// Checks that a folio is of a memory. Errors: `ForeignFolio` (EINVAL).
pub(crate) fn check_home(folio: Folio<'_>, memory: &Memory) -> Result<()> {
    if folio.is_in(memory) { Ok(()) } else { Err(SwapError::ForeignFolio(folio.entry().unwrap_or(SwpEntry::NONE))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(1024, None).expect("a size")
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
        let folio = folio.folio();
        let total = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let locked = folio.lock();
                        let seen = total.load(Ordering::Relaxed);
                        std::thread::yield_now();
                        total.store(seen + 1, Ordering::Relaxed);
                        drop(locked);
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 800);
        assert!(!folio.is_locked());
    }
}
