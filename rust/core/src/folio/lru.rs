//! The LRU lists of folios. The headers of folios hold the links, which are frame numbers. The lock of a lruvec
//! protects its lists.
//!
//! The LRU flag of a folio, its links and the list sizes change together under this lock. The flag ACTIVE changes
//! only while a folio is new or isolated, and therefore on no list. The lock is a leaf: a thread that holds the lock
//! frees no folio and takes no other lock.

use std::sync::atomic::Ordering;

use super::lru_gen::{ListEnd, Reclaiming};
use super::{Folio, FolioFlags, FolioRef, Memory};
use crate::base::types::Pfn;
use crate::containers::index_list::{Links, NIL};
use crate::workingset::{LruHead, LruList, LruType, Lruvec};

/// The folios that a scan removed from the tail of a list, each with a reference, in the order of removal.
#[derive(Debug, Default)]
pub(crate) struct Isolated<'m> {
    pub(crate) folios: Vec<FolioRef<'m>>,
    /// Number of pages that the scan examined, including pages of folios that stay on the list.
    pub(crate) nr_scanned_pages: u64,
    /// Number of pages removed from the list.
    pub(crate) nr_taken_pages: u64,
    /// Number of pages that the scan moved to another generation instead; 0 on the classic (not MGLRU) lists.
    pub(crate) nr_sorted_pages: u64,
}

impl<'a> Folio<'a> {
    /// Returns the list that the flags of the folio select.
    pub(crate) fn lru_list(self) -> LruList {
        let flags = self.flags();
        if flags.contains(FolioFlags::UNEVICTABLE) {
            LruList::Unevictable
        } else if flags.contains(FolioFlags::ACTIVE) {
            LruList::ActiveAnon
        } else {
            LruList::InactiveAnon
        }
    }

    /// Returns the place (0..=3) of the generation that lists the folio, or `None` when no generation lists the
    /// folio. The place is the index of the generation in the lruvec's array of generations. Kernel: `folio_lru_gen`.
    pub(super) fn lru_gen(self) -> Option<usize> {
        // Acquire pairs with the Release in `set_lru_gen`: this thread then sees the group that the folio had when
        // the folio was added to the list.
        self.memory.header(self.pfn).lru_gen.load(Ordering::Acquire).checked_sub(1).map(usize::from)
    }

    /// Returns the frame number, with which list heads and links name the folio.
    pub(super) fn number(self) -> u32 {
        self.pfn.0 as u32
    }

    /// Adds the folio at the head of the list that its flags select. For an mlocked folio this is the unevictable
    /// list. The folio is on no list before the call. Kernel: `lruvec_add_folio`.
    pub(crate) fn lru_add(self) {
        let lruvec = self.memory.lruvec_of(self);
        let mut heads = lruvec.lists();
        let old = self.set(FolioFlags::LRU);
        debug_assert!(!old.contains(FolioFlags::LRU), "{self:?} is on a list already");
        if old.contains(FolioFlags::LRU) {
            return;
        }
        self.assign(FolioFlags::UNEVICTABLE, old.contains(FolioFlags::MLOCKED));
        if self.memory.lru_gen_enabled() && !old.contains(FolioFlags::MLOCKED) {
            return self.lru_gen_add_folio(lruvec, &mut heads);
        }
        let list = self.lru_list();
        self.lru_link(lruvec, &mut heads.lists[list as usize], list, ListEnd::Head);
    }

    /// Links the folio at an end of a list. Adds the number of the folio's pages to the size of the list in `head`,
    /// and to the size of the list kind `list` in the lruvec and in each ancestor of the lruvec.
    // Inlined, because the classic lists and the lists of generations call this function for each folio.
    #[inline(always)]
    pub(super) fn lru_link(self, lruvec: &Lruvec, head: &mut LruHead, list: LruList, end: ListEnd) {
        match end {
            ListEnd::Head => head.list.push_first(self.memory, self.number()),
            ListEnd::Tail => head.list.push_last(self.memory, self.number()),
        }
        head.nr_pages += u64::from(self.nr_pages());
        lruvec.add_lru_pages(list, self.nr_pages().into());
    }

    /// Unlinks the folio from a list and subtracts its pages from the sizes that [`Folio::lru_link`] increased.
    #[inline(always)]
    pub(super) fn lru_unlink(self, lruvec: &Lruvec, head: &mut LruHead, list: LruList) {
        head.list.unlink(self.memory, self.number());
        head.nr_pages -= u64::from(self.nr_pages());
        lruvec.add_lru_pages(list, -i64::from(self.nr_pages()));
    }

    /// Removes the folio from its list. Returns whether the folio was on a list. Kernel: `lruvec_del_folio`.
    pub(crate) fn lru_del(self) -> bool {
        // The flag is tested before the lock is taken, because most calls come from a thread that drops the last
        // reference to a folio that is on no list. Only the thread that cleared the flag may set the flag again.
        if !self.has(FolioFlags::LRU) {
            return false;
        }
        let lruvec = self.memory.lruvec_of(self);
        let mut heads = lruvec.lists();
        let was_listed = self.clear(FolioFlags::LRU).contains(FolioFlags::LRU);
        if !was_listed {
            return false;
        }
        if let Some(at) = self.lru_gen() {
            self.lru_gen_del_folio(lruvec, &mut heads, at, Reclaiming::No);
        } else {
            let list = self.lru_list();
            self.lru_unlink(lruvec, &mut heads.lists[list as usize], list);
        }
        true
    }

    /// Marks the folio as mlocked and moves the folio to the unevictable list. An isolated folio is added to the
    /// unevictable list later, when reclaim puts it back. Kernel: `mlock_folio`.
    pub(crate) fn mlock(self) {
        if !self.set(FolioFlags::MLOCKED).contains(FolioFlags::MLOCKED) && self.lru_del() {
            self.clear(FolioFlags::ACTIVE);
            self.lru_add();
        }
    }

    /// Clears the mlocked mark of the folio and moves the folio to an evictable list. Kernel: `munlock_folio`;
    /// differs: the mlocks of a folio are not counted, because at most one mapping locks a folio.
    pub(crate) fn munlock(self) {
        if self.clear(FolioFlags::MLOCKED).contains(FolioFlags::MLOCKED) && self.lru_del() {
            self.lru_add();
        }
    }

    /// Moves the folio to the tail of its list, where reclaim examines the folio next. With generations, moves the
    /// folio to the tail of the oldest generation. A folio on the classic active list, and an isolated folio, do not
    /// move. Kernel: `lru_move_tail`.
    pub(crate) fn lru_move_tail(self) {
        let lruvec = self.memory.lruvec_of(self);
        let mut heads = lruvec.lists();
        if let Some(at) = self.lru_gen() {
            let oldest = lruvec.lrugen.min_seq(LruType::Anon);
            self.lru_gen_move(lruvec, &mut heads, at, oldest, ListEnd::Tail);
        } else if self.has(FolioFlags::LRU) && self.lru_list() == LruList::InactiveAnon {
            let list = &mut heads.lists[LruList::InactiveAnon as usize].list;
            list.unlink(self.memory, self.number());
            list.push_last(self.memory, self.number());
        }
    }

    /// Links the parts of a split folio behind the folio, if the folio is on a list. All parts are frozen and have
    /// the folio's flags. The size of the list in pages does not change. Kernel: `lru_add_split_folio`.
    pub(crate) fn lru_add_parts(self, parts: impl Iterator<Item = Folio<'a>>) {
        let mut heads = self.memory.lruvec_of(self).lists();
        if self.has(FolioFlags::LRU) {
            let head = match self.lru_gen() {
                Some(at) => &mut heads.generations[at],
                None => &mut heads.lists[self.lru_list() as usize],
            };
            let mut before = self;
            for part in parts {
                head.list.insert_behind(self.memory, part.number(), before.number());
                before = part;
            }
        }
    }

    /// Returns whether a user holds the folio through a handle. Reclaim skips such a folio, because no page table
    /// maps the folio, so that reclaim cannot take it, and because a reference that reclaim holds makes calls of the
    /// user fail.
    // Inlined, because reclaim calls this function for each folio that it isolates from the classic lists or from
    // generations.
    #[inline(always)]
    pub(super) fn is_held_by_user(self) -> bool {
        !self.has_rmap() && (self.is_mapped() || !self.has(FolioFlags::SWAPCACHE))
    }
}

// Relaxed throughout: the links of a folio change only under the lock of the lruvec.
impl Links for &Memory {
    fn links(&self, at: u32) -> (u32, u32) {
        let header = self.header(Pfn(at.into()));
        (header.lru_prev.load(Ordering::Relaxed), header.lru_next.load(Ordering::Relaxed))
    }

    fn set_links(&mut self, at: u32, prev: u32, next: u32) {
        let header = self.header(Pfn(at.into()));
        header.lru_prev.store(prev, Ordering::Relaxed);
        header.lru_next.store(next, Ordering::Relaxed);
    }

    fn set_prev(&mut self, at: u32, prev: u32) -> bool {
        (at != NIL).then(|| self.header(Pfn(at.into())).lru_prev.store(prev, Ordering::Relaxed)).is_some()
    }

    fn set_next(&mut self, at: u32, next: u32) -> bool {
        (at != NIL).then(|| self.header(Pfn(at.into())).lru_next.store(next, Ordering::Relaxed)).is_some()
    }
}

impl Memory {
    /// Returns whether evictable folios are on lists of generations (MGLRU). Kernel: `lru_gen_enabled`.
    #[inline]
    pub(crate) fn lru_gen_enabled(&self) -> bool {
        self.lru_gen_enabled
    }

    /// Removes folios from the tail of a list until `nr_to_scan_pages` pages were examined. A folio that is being
    /// freed, or that a user holds through a handle, is not removed and moves to the head of the list. Kernel:
    /// `isolate_lru_folios`.
    pub(crate) fn isolate_lru_folios(&self, lruvec: &Lruvec, list: LruList, nr_to_scan_pages: u64) -> Isolated<'_> {
        let folios = Vec::with_capacity(nr_to_scan_pages as usize);
        let mut isolated = Isolated { folios, ..Isolated::default() };
        let mut heads = lruvec.lists();
        let head = &mut heads.lists[list as usize];
        let nr_to_scan_pages = nr_to_scan_pages.min(head.nr_pages);
        while isolated.nr_scanned_pages < nr_to_scan_pages {
            let folio = self.folio(Pfn(head.list.last().into()));
            let nr_pages = u64::from(folio.nr_pages());
            isolated.nr_scanned_pages += nr_pages;
            head.list.unlink(self, folio.number());
            match if folio.is_held_by_user() { None } else { folio.try_get() } {
                Some(taken) => {
                    folio.clear(FolioFlags::LRU);
                    head.nr_pages -= nr_pages;
                    lruvec.add_lru_pages(list, -(nr_pages as i64));
                    isolated.nr_taken_pages += nr_pages;
                    isolated.folios.push(taken);
                }
                None => head.list.push_first(self, folio.number()),
            }
        }
        self.add_isolated(isolated.nr_taken_pages as i64);
        isolated
    }

    /// Adds `delta_pages` to the number of pages that reclaim has isolated from the lists. Kernel:
    /// `NR_ISOLATED_ANON`.
    pub(crate) fn add_isolated(&self, delta_pages: i64) {
        // Relaxed: no thread concludes anything about other memory from this number.
        self.nr_isolated.fetch_add(delta_pages as u64, Ordering::Relaxed);
    }

    /// Returns the number of pages that reclaim has isolated from the lists.
    pub(crate) fn nr_isolated_pages(&self) -> u64 {
        self.nr_isolated.load(Ordering::Relaxed)
    }

    /// Checks the lists of a lruvec. The error text describes the first defect that the check finds.
    pub(crate) fn check_lru(&self, lruvec: &Lruvec) -> Result<(), String> {
        let heads = lruvec.lists();
        let (lrugen, mut sums) = (&lruvec.lrugen, [0; LruList::ALL.len()]);
        for list in LruList::ALL {
            let is_on = |folio: Folio<'_>| folio.lru_gen().is_none() && folio.lru_list() == list;
            sums[list as usize] += self.check_list(&heads.lists[list as usize], &format!("{list:?}"), is_on)?;
            if self.lru_gen_enabled() && list != LruList::Unevictable && sums[list as usize] > 0 {
                return Err(format!("{list:?} has {} pages beside the generations", sums[list as usize]));
            }
        }
        for (at, head) in heads.generations.iter().enumerate() {
            let seq = lrugen.seq_at(at);
            let is_on = |folio: Folio<'_>| {
                folio.lru_gen() == Some(at) && !folio.flags().intersects(FolioFlags::ACTIVE | FolioFlags::UNEVICTABLE)
            };
            let nr_pages = self.check_list(head, &format!("generation {seq}"), is_on)?;
            if nr_pages > 0 && (!self.lru_gen_enabled() || seq > lrugen.max_seq()) {
                return Err(format!("generation {seq} has {nr_pages} pages and is not live"));
            }
            sums[lrugen.list_of(at) as usize] += nr_pages;
        }
        for list in LruList::ALL {
            if sums[list as usize] > lruvec.lru_pages(list) {
                let counted = lruvec.lru_pages(list);
                return Err(format!("{list:?} links {} pages and counts {counted}", sums[list as usize]));
            }
        }
        Ok(())
    }

    /// Checks one list. Returns the number of its pages, or a text that describes the first defect.
    fn check_list(&self, head: &LruHead, name: &str, is_on: impl Fn(Folio<'_>) -> bool) -> Result<u64, String> {
        let (mut before, mut nr_pages) = (NIL, 0);
        for at in head.list.iter(self) {
            let folio = self.folio(Pfn(at.into()));
            nr_pages += u64::from(folio.nr_pages());
            if self.links(at).0 != before || nr_pages > head.nr_pages {
                return Err(format!("{name} counts {} pages; its links are wrong at {folio:?}", head.nr_pages));
            }
            if !folio.has(FolioFlags::LRU) || !is_on(folio) {
                return Err(format!("{folio:?} is on {name}"));
            }
            before = at;
        }
        if before != head.list.last() || nr_pages != head.nr_pages {
            return Err(format!("{name} links {nr_pages} pages and counts {}", head.nr_pages));
        }
        Ok(nr_pages)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{listed, memory, pages, pfns};
    use super::*;
    use crate::base::types::Order;

    fn pages_on(memory: &Memory, list: LruList) -> Vec<u64> {
        let head = memory.lruvec().lists().lists[list as usize];
        pages(memory, head)
    }

    fn cached(memory: &Memory) -> FolioRef<'_> {
        listed(memory, Order::ZERO, FolioFlags::empty())
    }

    #[test]
    fn the_tail_is_isolated_first_and_put_back_at_the_head() {
        let memory = memory();
        let all = [(); 4].map(|()| cached(&memory));
        let numbers = pfns(all.each_ref());
        assert_eq!(pages_on(&memory, LruList::InactiveAnon), numbers);
        let two = memory.isolate_lru_folios(memory.lruvec(), LruList::InactiveAnon, 2);
        assert_eq!((two.nr_scanned_pages, two.nr_taken_pages, memory.nr_isolated_pages()), (2, 2, 2));
        assert!(two.folios.iter().map(|folio| folio.pfn().0).eq(numbers[..2].iter().copied()));
        two.folios[0].set(FolioFlags::ACTIVE);
        two.folios[1].set(FolioFlags::MLOCKED);
        two.folios.iter().for_each(|folio| folio.lru_add());
        assert_eq!(pages_on(&memory, LruList::ActiveAnon), numbers[..1]);
        assert_eq!(pages_on(&memory, LruList::Unevictable), numbers[1..2]);
        assert_eq!(pages_on(&memory, LruList::InactiveAnon), numbers[2..]);
        all[3].lru_move_tail();
        all[0].lru_move_tail();
        assert_eq!(pages_on(&memory, LruList::InactiveAnon), [numbers[3], numbers[2]]);
        assert_eq!(pages_on(&memory, LruList::ActiveAnon), numbers[..1], "an active folio does not move");
    }

    #[test]
    fn a_frozen_folio_and_one_of_a_handle_are_passed_over() {
        let memory = memory();
        let frozen = cached(&memory);
        let handle = memory.alloc(Order::ZERO).expect("room");
        handle.lru_add();
        let plain = cached(&memory);
        assert!(frozen.freeze(1));
        let all = memory.isolate_lru_folios(memory.lruvec(), LruList::InactiveAnon, 32);
        frozen.unfreeze(1);
        assert_eq!((all.nr_scanned_pages, all.folios.len()), (3, 1));
        assert_eq!(all.folios[0].pfn(), plain.pfn());
        assert_eq!(pages_on(&memory, LruList::InactiveAnon), pfns([&frozen, &handle]));
        assert_eq!(memory.lruvec().lru_pages(LruList::InactiveAnon), 2);
        drop((frozen, handle, all, plain));
        assert_eq!(memory.lruvec().own_pages(), [0; 5]);
        assert_eq!(memory.nr_used_pages(), 0);
    }
}
