//! The lists of generations: each list contains the folios whose last use is in one generation. Kernel: MGLRU.
//!
//! While a generation lists a folio, the header of the folio stores the place of the generation (its index, 0..=3),
//! and the flag ACTIVE is clear. A folio that is removed from one of the two youngest generations gets ACTIVE, unless
//! reclaim removes it. Generations and their lists change under the LRU lock, which is the lock of the lruvec.

use std::sync::atomic::Ordering;

use super::lru::Isolated;
use super::{Folio, FolioFlags, Memory};
use crate::base::types::Pfn;
use crate::containers::index_list::NIL;
use crate::workingset::mglru::{MAX_LRU_BATCH, MAX_NR_GENS, MIN_LRU_BATCH, MIN_NR_GENS, Mglru, gen_of, is_evictable};
use crate::workingset::{LruHeads, LruList, LruType, Lruvec};

/// One of the ends of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListEnd {
    Head,
    Tail,
}

/// Whether a folio is removed from its generation because reclaim takes it, or because it moves to another
/// generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reclaiming {
    Yes,
    /// The folio is removed for another reason. A folio of one of the two youngest generations then gets ACTIVE.
    No,
}

// The functions marked `inline(never)` are called from code that the classic lists also run. Because these functions
// are not inlined, each such call costs the classic lists only a branch.
impl Folio<'_> {
    /// Stores the place `at` of the generation that lists the folio, or that no generation lists the folio (`None`).
    fn set_lru_gen(self, at: Option<usize>) {
        // Release pairs with the Acquire in `lru_gen`.
        self.memory.header(self.pfn).lru_gen.store(at.map_or(0, |at| at as u8 + 1), Ordering::Release);
    }

    /// Returns whether the folio is active. An active folio is on an active list or in one of the two youngest
    /// generations, or is on no list and has ACTIVE.
    pub fn is_active(self) -> bool {
        let of_gen = |at| self.memory.lruvec_of(self).lrugen.list_of(at) == LruList::ActiveAnon;
        self.lru_gen().map_or_else(|| self.has(FolioFlags::ACTIVE), of_gen)
    }

    /// Returns the number of generations that are younger than the folio's generation, or `None` when no generation
    /// lists the folio.
    pub(crate) fn lru_gen_age(self) -> Option<u64> {
        let lrugen = &self.memory.lruvec_of(self).lrugen;
        self.lru_gen().map(|at| lrugen.max_seq().saturating_sub(lrugen.seq_at(at)))
    }

    /// Returns the number of the generation in which the folio starts. An active folio of the working set starts in
    /// the youngest generation. Any other active folio, and a new page, starts in the second youngest generation. An
    /// inactive folio of the swap cache starts in the third youngest generation if it is part of the working set, and
    /// else in the fourth youngest generation.
    ///
    /// Kernel: `lru_gen_folio_seq`.
    pub(crate) fn lru_gen_folio_seq(self, lrugen: &Mglru) -> u64 {
        let flags = self.flags();
        let nr_for_workingset = u64::from(flags.contains(FolioFlags::WORKINGSET));
        let age = if flags.contains(FolioFlags::ACTIVE) {
            1 - nr_for_workingset
        } else if flags.contains(FolioFlags::SWAPCACHE) {
            MAX_NR_GENS - 1 - nr_for_workingset
        } else {
            MIN_NR_GENS - 1
        };
        lrugen.max_seq().saturating_sub(age).max(lrugen.min_seq(LruType::Anon))
    }

    /// Adds the folio at the head of the list of the generation in which the folio starts; see
    /// [`Folio::lru_gen_folio_seq`]. Kernel: `lru_gen_add_folio`.
    #[inline(never)]
    pub(super) fn lru_gen_add_folio(self, lruvec: &Lruvec, heads: &mut LruHeads) {
        self.lru_gen_put(lruvec, heads, self.lru_gen_folio_seq(&lruvec.lrugen), ListEnd::Head);
    }

    /// Moves the folio to the generation of age `age`: `age` generations are younger than it. If no generation is
    /// that old, moves the folio to the oldest generation. A folio that no generation lists stays where it is.
    pub(crate) fn lru_gen_set_age(self, age: u64) {
        let lruvec = self.memory.lruvec_of(self);
        let mut heads = lruvec.lists();
        if let Some(at) = self.lru_gen() {
            let seq = lruvec.lrugen.max_seq().saturating_sub(age).max(lruvec.lrugen.min_seq(LruType::Anon));
            self.lru_gen_move(lruvec, &mut heads, at, seq, ListEnd::Head);
        }
    }

    /// Adds the folio at an end of the list of generation `seq`.
    fn lru_gen_put(self, lruvec: &Lruvec, heads: &mut LruHeads, seq: u64, end: ListEnd) {
        let at = gen_of(seq);
        self.clear(FolioFlags::ACTIVE);
        self.set_lru_gen(Some(at));
        self.lru_link(lruvec, &mut heads.generations[at], lruvec.lrugen.list_of(at), end);
    }

    /// Removes the folio from the list of its generation; `at` is the place of the generation. Kernel:
    /// `lru_gen_del_folio`.
    #[inline(never)]
    pub(super) fn lru_gen_del_folio(self, lruvec: &Lruvec, heads: &mut LruHeads, at: usize, reclaiming: Reclaiming) {
        let list = lruvec.lrugen.list_of(at);
        self.lru_unlink(lruvec, &mut heads.generations[at], list);
        self.set_lru_gen(None);
        if reclaiming == Reclaiming::No && list == LruList::ActiveAnon {
            self.set(FolioFlags::ACTIVE);
        }
    }

    /// Moves the folio from its generation, whose place is `at`, to an end of the list of generation `seq`.
    #[inline(never)]
    pub(super) fn lru_gen_move(self, lruvec: &Lruvec, heads: &mut LruHeads, at: usize, seq: u64, end: ListEnd) {
        self.lru_gen_del_folio(lruvec, heads, at, Reclaiming::Yes);
        self.lru_gen_put(lruvec, heads, seq, end);
    }

    /// Moves the folio from the oldest generation to an end of the second oldest generation, and resets the folio's
    /// count of uses. Kernel: `folio_inc_gen`.
    fn folio_inc_gen(self, lruvec: &Lruvec, heads: &mut LruHeads, end: ListEnd) {
        let seq = lruvec.lrugen.min_seq(LruType::Anon);
        self.forget_refs();
        self.lru_gen_move(lruvec, heads, gen_of(seq), seq + 1, end);
    }

    /// Records a use of the folio that the accessed bit of a page table entry shows. The first use sets REFERENCED,
    /// and a later use sets WORKINGSET. Returns whether this use is a later use. Kernel: `lru_gen_set_refs`.
    #[inline(never)]
    pub(crate) fn lru_gen_set_refs(self) -> bool {
        let is_next = self.flags().intersects(FolioFlags::REFERENCED | FolioFlags::WORKINGSET);
        self.forget_refs();
        self.set(if is_next { FolioFlags::WORKINGSET } else { FolioFlags::REFERENCED });
        is_next
    }

    /// Resets the folio's count of uses: clears REFERENCED and the number `lru_refs`. WORKINGSET does not change.
    /// Kernel: `LRU_REFS_FLAGS`.
    pub(crate) fn forget_refs(self) {
        self.clear(FolioFlags::REFERENCED);
        self.set_lru_refs(0);
    }

    /// Moves a folio of the oldest generation to the second oldest generation if the folio's tier is protected, or if
    /// the folio is under writeback or a user holds the folio through a handle. Returns whether the folio moved.
    ///
    /// Kernel: `sort_folio`; differs: a folio that a user holds moves too, because otherwise the generation of the
    /// folio might never become empty.
    fn sort_folio(self, lruvec: &Lruvec, heads: &mut LruHeads, tier_to_evict: usize) -> bool {
        let tier = self.facts().tier();
        let is_protected = tier > tier_to_evict;
        if is_protected {
            lruvec.lrugen.protect(LruType::Anon, tier, self.nr_pages());
        }
        let is_sorted = is_protected || self.has(FolioFlags::WRITEBACK) || self.is_held_by_user();
        if is_sorted {
            self.folio_inc_gen(lruvec, heads, ListEnd::Head);
        }
        is_sorted
    }

    /// Removes a folio that will be evicted from the list of the oldest generation; `at` is the place of the
    /// generation. Kernel: `isolate_folio`.
    fn isolate_folio(self, lruvec: &Lruvec, heads: &mut LruHeads, at: usize) {
        if !self.has(FolioFlags::REFERENCED) {
            self.set_lru_refs(0);
        }
        self.lru_gen_del_folio(lruvec, heads, at, Reclaiming::Yes);
        self.clear(FolioFlags::LRU);
    }
}

impl Memory {
    /// Records a use of each folio of `folios` that is on the generations of `lruvec`, under one hold of the LRU
    /// lock. A folio that was used before moves to the youngest generation. Folios of other lruvecs are skipped.
    ///
    /// Locks: the caller holds the locks of the page tables whose entries name the folios, so that no folio is freed.
    /// Kernel: `folio_update_gen`; differs: the folio moves at once, and in the kernel it moves when eviction scans
    /// it.
    pub(crate) fn folios_update_gen(&self, lruvec: &Lruvec, folios: impl Iterator<Item = Pfn>) {
        let mut heads = lruvec.lists();
        let youngest = lruvec.lrugen.max_seq();
        for folio in folios.map(|pfn| self.folio(pfn)) {
            // `lru_gen` is read before the folio's group, because this read ensures that the thread sees the group
            // that the folio had when it was added to the list.
            let Some(at) = folio.lru_gen().filter(|_| std::ptr::eq(&**self.lruvec_of(folio), lruvec)) else { continue };
            if folio.lru_gen_set_refs() && at != gen_of(youngest) {
                folio.lru_gen_move(lruvec, &mut heads, at, youngest, ListEnd::Head);
            }
        }
    }

    /// Returns whether a generation of the lruvec lists the folio. Aging skips a page table entry that names a folio
    /// for which the result is false.
    pub(crate) fn is_in_generation_of(&self, pfn: Pfn, lruvec: &Lruvec) -> bool {
        let folio = self.folio(pfn);
        folio.lru_gen().is_some() && std::ptr::eq(&**self.lruvec_of(folio), lruvec)
    }

    /// Starts the generation after `seq`, unless `seq` is no longer the youngest generation. Returns whether a
    /// generation was started. If there are four generations already, the folios of the oldest generation move to the
    /// tail of the second oldest generation.
    ///
    /// Kernel: `inc_max_seq`, `inc_min_seq`.
    pub(crate) fn inc_max_seq(&self, lruvec: &Lruvec, seq: u64) -> bool {
        let mut heads = lruvec.lists();
        let lrugen = &lruvec.lrugen;
        if lrugen.max_seq() != seq {
            return false;
        }
        if lrugen.nr_gens(LruType::Anon) == MAX_NR_GENS {
            let oldest = gen_of(lrugen.min_seq(LruType::Anon));
            while heads.generations[oldest].list.first() != NIL {
                let folio = self.folio(Pfn(heads.generations[oldest].list.first().into()));
                lrugen.protect(LruType::Anon, folio.facts().tier(), folio.nr_pages());
                folio.folio_inc_gen(lruvec, &mut heads, ListEnd::Tail);
            }
        }
        debug_assert_eq!(heads.generations[gen_of(seq + 1)].nr_pages, 0, "a new generation starts empty");
        let nr_pages = heads.generations[gen_of(seq + 1 - MIN_NR_GENS)].nr_pages as i64;
        lruvec.add_lru_pages(LruList::ActiveAnon, -nr_pages);
        lruvec.add_lru_pages(LruList::InactiveAnon, nr_pages);
        lrugen.inc_max_seq();
        true
    }

    /// Ends the oldest generations that are empty, as long as two generations remain. Returns whether a generation
    /// was ended. If both types (anonymous and file) are evictable, a type keeps three generations while the other
    /// type has four generations.
    ///
    /// Kernel: `try_to_inc_min_seq`.
    pub(crate) fn try_to_inc_min_seq(&self, lruvec: &Lruvec, swappiness: u8) -> bool {
        let heads = lruvec.lists();
        let lrugen = &lruvec.lrugen;
        let limit = lrugen.max_seq() + 1 - MIN_NR_GENS;
        let first_used = |ty| {
            let is_used = |seq: &u64| ty == LruType::Anon && heads.generations[gen_of(*seq)].nr_pages > 0;
            (lrugen.min_seq(ty)..limit).find(is_used).unwrap_or(limit)
        };
        let evictable = |ty| if is_evictable(ty, swappiness) { first_used(ty) } else { lrugen.min_seq(ty) };
        let [mut anon, mut file] = LruType::ALL.map(evictable);
        let is_both = LruType::ALL.into_iter().all(|ty| is_evictable(ty, swappiness));
        let middle = limit - 1;
        if is_both && anon.max(file) > middle && anon.min(file) < middle {
            (anon, file) = (anon.min(middle), file.min(middle));
        }
        // `|` and not `||`, because the second call is needed even if the first call returns true.
        lrugen.try_to_inc_min_seq(LruType::Anon, anon) | lrugen.try_to_inc_min_seq(LruType::File, file)
    }

    /// Removes folios from the tail of the list of a type's oldest generation, until `nr_to_scan_pages` pages were
    /// scanned or a batch is isolated. A folio that is protected, under writeback, being freed, or held by a user
    /// through a handle moves to the second oldest generation instead.
    ///
    /// When only two generations are left, no folio is scanned. Kernel: `scan_folios`.
    pub(crate) fn scan_folios(&self, lruvec: &Lruvec, ty: LruType, nr_to_scan_pages: u64) -> Isolated<'_> {
        let mut isolated = Isolated::default();
        let (lrugen, mut heads) = (&lruvec.lrugen, lruvec.lists());
        if ty == LruType::File || lrugen.nr_gens(ty) == MIN_NR_GENS {
            return isolated;
        }
        let at = gen_of(lrugen.min_seq(ty));
        let tier_to_evict = lrugen.tier_to_evict(ty);
        let nr_to_scan_pages = nr_to_scan_pages.min(MAX_LRU_BATCH);
        while isolated.nr_scanned_pages < nr_to_scan_pages
            && isolated.nr_taken_pages < MIN_LRU_BATCH
            && heads.generations[at].list.last() != NIL
        {
            let folio = self.folio(Pfn(heads.generations[at].list.last().into()));
            let nr_pages = u64::from(folio.nr_pages());
            isolated.nr_scanned_pages += nr_pages;
            if folio.sort_folio(lruvec, &mut heads, tier_to_evict) {
                isolated.nr_sorted_pages += nr_pages;
            } else if let Some(taken) = folio.try_get() {
                folio.isolate_folio(lruvec, &mut heads, at);
                isolated.nr_taken_pages += nr_pages;
                isolated.folios.push(taken);
            } else {
                folio.folio_inc_gen(lruvec, &mut heads, ListEnd::Head);
            }
        }
        self.add_isolated(isolated.nr_taken_pages as i64);
        isolated
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{self, pages, pfns};
    use super::*;
    use crate::base::types::{MemcgId, Order};
    use crate::folio::FolioRef;
    use crate::workingset::Workingset;

    const BOTH: u8 = 60;

    fn memory() -> Memory {
        tests::memory().with_lists_of(Workingset::Mglru)
    }

    fn listed(memory: &Memory, flags: FolioFlags) -> FolioRef<'_> {
        tests::listed(memory, Order::ZERO, flags)
    }

    fn seq_of(folio: &FolioRef<'_>) -> u64 {
        let lrugen = &folio.memory.lruvec().lrugen;
        lrugen.seq_at(folio.lru_gen().expect("in a generation"))
    }

    fn pages_of(memory: &Memory, seq: u64) -> Vec<u64> {
        let head = memory.lruvec().lists().generations[gen_of(seq)];
        pages(memory, head)
    }

    /// Returns the number of inactive pages and the number of active pages.
    fn nr_pages(memory: &Memory) -> [u64; 2] {
        [LruList::InactiveAnon, LruList::ActiveAnon].map(|list| memory.lruvec().lru_pages(list))
    }

    fn use_all(memory: &Memory, folios: &[&FolioRef<'_>]) {
        memory.folios_update_gen(memory.lruvec(), folios.iter().map(|folio| folio.pfn()));
    }

    fn evict_all(memory: &Memory, seq: u64) {
        while memory.lruvec().lrugen.min_seq(LruType::Anon) < seq {
            drop(memory.scan_folios(memory.lruvec(), LruType::Anon, MAX_LRU_BATCH));
            assert!(memory.try_to_inc_min_seq(memory.lruvec(), BOTH), "the oldest generation is empty");
        }
    }

    #[test]
    fn flags_say_where_a_folio_starts_and_what_it_leaves_behind() {
        let memory = memory();
        let ws = FolioFlags::WORKINGSET;
        let came_back = FolioFlags::SWAPCACHE;
        let flags = [FolioFlags::empty(), FolioFlags::ACTIVE, FolioFlags::ACTIVE | ws, came_back, came_back | ws];
        let folios = flags.map(|flags| listed(&memory, flags));
        assert_eq!(folios.each_ref().map(seq_of), [3, 3, 4, 1, 2], "the youngest generation is 4");
        assert_eq!(folios.each_ref().map(|folio| folio.lru_gen_age()), [1, 1, 0, 3, 2].map(Some));
        assert_eq!(nr_pages(&memory), [2, 3]);
        for (folio, is_active) in folios.iter().zip([true, true, true, false, false]) {
            assert_eq!((folio.is_active(), folio.has(FolioFlags::ACTIVE)), (is_active, false));
            assert!(folio.lru_del());
            assert_eq!((folio.has(FolioFlags::ACTIVE), folio.lru_gen()), (is_active, None));
            folio.clear(came_back);
        }
        folios[1].lru_gen_set_age(9);
        assert_eq!(folios[1].lru_gen(), None, "a folio on no list has no generation");
        for (folio, age) in folios.iter().zip([2, 9]) {
            folio.lru_add();
            folio.lru_gen_set_age(age);
        }
        folios[2].set(FolioFlags::MLOCKED);
        folios[2].lru_add();
        assert_eq!((seq_of(&folios[0]), seq_of(&folios[1]), folios[2].lru_gen()), (2, 1, None));
        assert_eq!((memory.lruvec().own_pages()[LruList::Unevictable as usize], nr_pages(&memory)), (1, [2, 0]));
        drop(folios);
        assert_eq!((memory.lruvec().own_pages(), memory.lruvec().own_generation_pages()), ([0; 5], [0; 4]));
        assert_eq!((nr_pages(&memory), memory.nr_used_pages()), ([0, 0], 0));
    }

    #[test]
    fn the_second_use_makes_a_folio_young() {
        let memory = memory();
        let [hot, idle] = [(); 2].map(|()| listed(&memory, FolioFlags::empty()));
        use_all(&memory, &[&hot]);
        assert!(hot.has(FolioFlags::REFERENCED) && !hot.has(FolioFlags::WORKINGSET) && seq_of(&hot) == 3);
        assert!(memory.inc_max_seq(memory.lruvec(), 4));
        use_all(&memory, &[&hot]);
        assert!(hot.has(FolioFlags::WORKINGSET) && !hot.has(FolioFlags::REFERENCED));
        assert_eq!((seq_of(&hot), seq_of(&idle)), (5, 3));
        // `use_all` skips an isolated folio, and a folio that no generation of the lruvec lists.
        idle.lru_del();
        use_all(&memory, &[&idle]);
        assert!(!idle.has(FolioFlags::REFERENCED));
        let other = Lruvec::new(MemcgId(1), 0, None);
        memory.folios_update_gen(&other, [hot.pfn()].into_iter());
        let is_in = |lruvec| memory.is_in_generation_of(hot.pfn(), lruvec);
        assert!(is_in(memory.lruvec()) && !is_in(&other));
        assert_eq!(pages_of(&memory, 5), pfns([&hot]));
    }

    #[test]
    fn a_fifth_generation_makes_the_first_two_one() {
        let memory = memory();
        let old = [(); 2].map(|()| listed(&memory, FolioFlags::SWAPCACHE));
        let next = listed(&memory, FolioFlags::SWAPCACHE | FolioFlags::WORKINGSET);
        let new = listed(&memory, FolioFlags::empty());
        let youngest = listed(&memory, FolioFlags::ACTIVE | FolioFlags::WORKINGSET);
        assert_eq!(nr_pages(&memory), [3, 2]);
        old[0].set(FolioFlags::REFERENCED);
        assert!(memory.inc_max_seq(memory.lruvec(), 4));
        assert!(!memory.inc_max_seq(memory.lruvec(), 4), "the youngest generation is 5 already");
        assert_eq!(pages_of(&memory, 2), pfns([&old[0], &old[1], &next]), "the order of both generations stays");
        assert!(!old[0].has(FolioFlags::REFERENCED), "the new generation counts uses from 0");
        assert_eq!((seq_of(&new), seq_of(&youngest)), (3, 4));
        assert_eq!(nr_pages(&memory), [4, 1], "only the two youngest generations are active");
        let lrugen = &memory.lruvec().lrugen;
        assert_eq!((lrugen.min_seq(LruType::Anon), lrugen.max_seq()), (2, 5));
        assert_eq!(lrugen.read_ctrl_pos(LruType::Anon, 0..4, 1).total, 1, "half of the two pages moved");
        old.iter().chain([&next]).for_each(|folio| _ = folio.clear(FolioFlags::SWAPCACHE));
    }

    #[test]
    fn the_oldest_generation_is_scanned_from_its_tail_down_to_two() {
        let memory = memory();
        let folios = [(); 3].map(|()| listed(&memory, FolioFlags::empty()));
        evict_all(&memory, 3);
        let lruvec = memory.lruvec();
        let none = memory.scan_folios(lruvec, LruType::Anon, 2);
        assert_eq!((none.nr_scanned_pages, lruvec.lrugen.nr_gens(LruType::Anon)), (0, 2), "two generations stay");
        assert!(!memory.try_to_inc_min_seq(lruvec, BOTH));
        assert!(memory.inc_max_seq(lruvec, 4));
        let two = memory.scan_folios(lruvec, LruType::Anon, 2);
        let nr_pages = [two.nr_scanned_pages, two.nr_taken_pages, two.nr_sorted_pages, memory.nr_isolated_pages()];
        assert_eq!(nr_pages, [2, 2, 0, 2]);
        assert!(two.folios.iter().map(|folio| folio.pfn().0).eq(pfns([&folios[0], &folios[1]])));
        assert!(!two.folios[0].has(FolioFlags::ACTIVE | FolioFlags::LRU), "reclaim isolated the folio");
        assert_eq!(memory.scan_folios(lruvec, LruType::File, 2).nr_scanned_pages, 0, "there are no file folios");
        memory.try_to_inc_min_seq(lruvec, BOTH);
        assert_eq!(lruvec.lrugen.min_seq(LruType::Anon), 3, "one folio is left in generation 3");
        assert_eq!(pages_of(&memory, 3), pfns([&folios[2]]));
    }

    #[test]
    fn a_tier_that_comes_back_more_often_is_protected() {
        let memory = memory();
        let lrugen = &memory.lruvec().lrugen;
        let [plain, kept] = [(); 2].map(|()| listed(&memory, FolioFlags::SWAPCACHE));
        kept.set(FolioFlags::WORKINGSET);
        let token = lrugen.evict(LruType::Anon, 0, true, 100);
        lrugen.evict(LruType::Anon, 0, false, 1000);
        lrugen.refault(LruType::Anon, token, true, 64);
        assert_eq!(lrugen.tier_to_evict(LruType::Anon), 2, "64 % of tier 3 came back, and nothing of tier 0");
        let isolated = memory.scan_folios(memory.lruvec(), LruType::Anon, 10);
        assert_eq!((isolated.nr_taken_pages, isolated.nr_sorted_pages), (1, 1));
        assert_eq!((isolated.folios[0].pfn(), seq_of(&kept)), (plain.pfn(), 2));
        assert!(kept.has(FolioFlags::WORKINGSET));
        assert_eq!(lrugen.read_ctrl_pos(LruType::Anon, 3..4, 1).total, 101, "100 evicted pages and the protected page");
        [&plain, &kept].into_iter().for_each(|folio| _ = folio.clear(FolioFlags::SWAPCACHE));
    }

    #[test]
    fn folios_that_cannot_be_taken_do_not_hold_a_generation_up() {
        let memory = memory();
        let [frozen, written, of_user] = [(); 3].map(|()| listed(&memory, FolioFlags::SWAPCACHE));
        written.set(FolioFlags::WRITEBACK);
        of_user.clear(FolioFlags::SWAPCACHE);
        of_user.set_anon_rmap(0, 0);
        assert!(frozen.freeze(1));
        let isolated = memory.scan_folios(memory.lruvec(), LruType::Anon, 10);
        frozen.unfreeze(1);
        assert_eq!((isolated.nr_scanned_pages, isolated.nr_taken_pages, isolated.nr_sorted_pages), (3, 0, 2));
        assert!(memory.try_to_inc_min_seq(memory.lruvec(), BOTH));
        assert_eq!(pages_of(&memory, 2).len(), 3);
        written.lru_move_tail();
        assert_eq!(pages_of(&memory, 2)[0], written.pfn().0, "a folio whose write ended is scanned next");
        let flags = FolioFlags::SWAPCACHE | FolioFlags::WRITEBACK;
        [&frozen, &written].into_iter().for_each(|folio| _ = folio.clear(flags));
    }

    #[test]
    fn types_do_not_run_away_from_each_other() {
        let memory = memory();
        let lruvec = memory.lruvec();
        let folio = listed(&memory, FolioFlags::SWAPCACHE);
        let seqs = || LruType::ALL.map(|ty| lruvec.lrugen.min_seq(ty));
        assert!(memory.try_to_inc_min_seq(lruvec, BOTH));
        // The file type has no folios, and keeps one generation less than the anonymous type.
        assert_eq!(seqs(), [1, 2]);
        assert!(memory.try_to_inc_min_seq(lruvec, 0) && seqs() == [1, 3], "anonymous folios cannot be evicted");
        folio.clear(FolioFlags::SWAPCACHE);
        drop(folio);
        assert!(memory.try_to_inc_min_seq(lruvec, 201) && seqs() == [3, 3]);
    }
}
