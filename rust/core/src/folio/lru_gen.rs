//! The lists of generations: folios by the generation in which they were used last. Kernel: MGLRU.
//!
//! A folio on such a list has the place of its generation in its header, and ACTIVE is clear. A folio that leaves one of the
//! two youngest generations gets ACTIVE, unless reclaim takes it. Generations and lists change under the LRU lock.

use std::sync::atomic::Ordering;

use super::lru::Isolated;
use super::{Folio, FolioFlags, Memory};
use crate::base::types::Pfn;
use crate::workingset::mglru::{MAX_LRU_BATCH, MAX_NR_GENS, MIN_LRU_BATCH, MIN_NR_GENS, Mglru, gen_of, is_evictable};
use crate::workingset::{LruHeads, LruList, LruType, Lruvec};

/// One of the ends of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListEnd {
    Head,
    Tail,
}

impl Folio<'_> {
    /// Returns the place of the folio's generation, or `None` when the folio is on no list of generations.
    pub(super) fn lru_gen(self) -> Option<usize> {
        // Acquire pairs with the Release in `set_lru_gen`: the group that the folio had when it was put on the list is seen.
        self.memory.header(self.pfn).lru_gen.load(Ordering::Acquire).checked_sub(1).map(usize::from)
    }

    fn set_lru_gen(self, at: Option<usize>) {
        // Release pairs with the Acquire in `lru_gen`.
        self.memory.header(self.pfn).lru_gen.store(at.map_or(0, |at| at as u8 + 1), Ordering::Release);
    }

    /// Says whether the folio is active: on an active list, in one of the two youngest generations, or on its way there.
    pub fn is_active(self) -> bool {
        let of_gen = |at| self.memory.lruvec_of(self).lrugen.list_of(at) == LruList::ActiveAnon;
        self.lru_gen().map_or_else(|| self.has(FolioFlags::ACTIVE), of_gen)
    }

    /// Returns how many generations are younger than the folio's, or `None` when it is on no list of generations.
    pub(crate) fn lru_gen_age(self) -> Option<u64> {
        let lrugen = &self.memory.lruvec_of(self).lrugen;
        self.lru_gen().map(|at| lrugen.max_seq().saturating_sub(lrugen.seq_at(at)))
    }

    /// Returns the generation in which the folio starts: the youngest for an active folio of the working set, the next one for
    /// other active folios and for new pages, and an old one for pages that came back otherwise.
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

    /// Puts the folio on the list of a generation. Kernel: `lru_gen_add_folio`.
    pub(super) fn lru_gen_add_folio(self, lruvec: &Lruvec, heads: &mut LruHeads, seq: u64, end: ListEnd) {
        let at = gen_of(seq);
        self.clear(FolioFlags::ACTIVE);
        self.set_lru_gen(Some(at));
        let head = &mut heads.generations[at];
        let (first, last) = (head.first, head.last);
        match end {
            ListEnd::Head => self.link(head, 0, first),
            ListEnd::Tail => self.link(head, last, 0),
        }
        head.nr_pages += u64::from(self.nr_pages());
        lruvec.add_lru_pages(lruvec.lrugen.list_of(at), self.nr_pages().into());
    }

    /// Takes the folio off the list of its generation; says whether that was an active one. Kernel: `lru_gen_del_folio`.
    pub(super) fn lru_gen_del_folio(self, lruvec: &Lruvec, heads: &mut LruHeads, at: usize) -> bool {
        let head = &mut heads.generations[at];
        self.unlink(head);
        head.nr_pages -= u64::from(self.nr_pages());
        let list = lruvec.lrugen.list_of(at);
        lruvec.add_lru_pages(list, -i64::from(self.nr_pages()));
        self.set_lru_gen(None);
        list == LruList::ActiveAnon
    }

    /// Moves the folio from one generation to another.
    pub(super) fn lru_gen_move(self, lruvec: &Lruvec, heads: &mut LruHeads, at: usize, seq: u64, end: ListEnd) {
        self.lru_gen_del_folio(lruvec, heads, at);
        self.lru_gen_add_folio(lruvec, heads, seq, end);
    }

    /// Moves the folio from the oldest generation to the next one, where its uses are counted anew. Kernel: `folio_inc_gen`.
    fn folio_inc_gen(self, lruvec: &Lruvec, heads: &mut LruHeads, end: ListEnd) {
        let seq = lruvec.lrugen.min_seq(LruType::Anon);
        self.forget_refs();
        self.lru_gen_move(lruvec, heads, gen_of(seq), seq + 1, end);
    }

    /// Notes that a page table entry says that the folio was used. The first use marks the folio as referenced, the next one
    /// as part of the working set; says whether this is such a next one. Kernel: `lru_gen_set_refs`.
    pub(crate) fn lru_gen_set_refs(self) -> bool {
        let is_next = self.flags().intersects(FolioFlags::REFERENCED | FolioFlags::WORKINGSET);
        self.forget_refs();
        self.set(if is_next { FolioFlags::WORKINGSET } else { FolioFlags::REFERENCED });
        is_next
    }

    /// Forgets how often the folio was used, but not that it is part of the working set. Kernel: `LRU_REFS_FLAGS`.
    pub(crate) fn forget_refs(self) {
        self.clear(FolioFlags::REFERENCED);
        self.set_lru_refs(0);
    }
}

impl Memory {
    /// Says whether evictable folios are on lists of generations. Kernel: `lru_gen_enabled`.
    #[inline]
    pub(crate) fn lru_gen_enabled(&self) -> bool {
        self.lru_gen_enabled
    }

    /// Notes uses of folios that page table entries name, all under one hold of the LRU lock: those that were used before move
    /// to the youngest generation. Folios of other lruvecs are passed over.
    ///
    /// Called with the entries locked, which keep the folios. Kernel: `folio_update_gen`; differs: the folio moves at once, not
    /// when eviction comes by.
    pub(crate) fn folios_update_gen(&self, lruvec: &Lruvec, folios: impl Iterator<Item = Pfn>) {
        let mut heads = lruvec.lists();
        let youngest = lruvec.lrugen.max_seq();
        for folio in folios.map(|pfn| self.folio(pfn)) {
            // In this order: of a folio that is on a list the group is the one that has the list.
            let Some(at) = folio.lru_gen().filter(|_| std::ptr::eq(&**self.lruvec_of(folio), lruvec)) else { continue };
            if folio.lru_gen_set_refs() && at != gen_of(youngest) {
                folio.lru_gen_move(lruvec, &mut heads, at, youngest, ListEnd::Head);
            }
        }
    }

    /// Says whether aging may look at the entries of a folio: the folio is on a list of generations of the lruvec.
    pub(crate) fn is_in_generation_of(&self, pfn: Pfn, lruvec: &Lruvec) -> bool {
        let folio = self.folio(pfn);
        folio.lru_gen().is_some() && std::ptr::eq(&**self.lruvec_of(folio), lruvec)
    }

    /// Starts a generation unless another than `seq` is the youngest already; says whether it did. Folios of a fourth
    /// generation become the tail of the third.
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
            while heads.generations[oldest].first != 0 {
                let folio = self.folio(Pfn(heads.generations[oldest].first.into()));
                lrugen.protect(LruType::Anon, folio.facts().tier(), folio.nr_pages());
                folio.folio_inc_gen(lruvec, &mut heads, ListEnd::Tail);
            }
        }
        debug_assert_eq!(
            heads.generations[gen_of(seq + 1)].nr_pages,
            0,
            "the new generation has the place of one that is gone"
        );
        let nr_pages = heads.generations[gen_of(seq + 1 - MIN_NR_GENS)].nr_pages as i64;
        lruvec.add_lru_pages(LruList::ActiveAnon, -nr_pages);
        lruvec.add_lru_pages(LruList::InactiveAnon, nr_pages);
        lrugen.inc_max_seq();
        true
    }

    /// Gives up the oldest generations that are empty, down to two; says whether there were any. Of two evictable types
    /// neither comes down to two while the other one has four.
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
        if LruType::ALL.into_iter().all(|ty| is_evictable(ty, swappiness)) {
            let middle = limit - 1;
            match (anon.cmp(&middle), file.cmp(&middle)) {
                (std::cmp::Ordering::Greater, std::cmp::Ordering::Less) => anon = middle,
                (std::cmp::Ordering::Less, std::cmp::Ordering::Greater) => file = middle,
                _ => {}
            }
        }
        // Both, so no short circuit.
        lrugen.try_to_inc_min_seq(LruType::Anon, anon) | lrugen.try_to_inc_min_seq(LruType::File, file)
    }

    /// Takes folios off the tail of a type's oldest generation until so many pages were looked at or a batch is isolated.
    /// Folios that are protected move to the next generation; so do those that are written, go away, or belong to a user.
    ///
    /// With two generations left, nothing is looked at. Kernel: `scan_folios`.
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
            && heads.generations[at].last != 0
        {
            let folio = self.folio(Pfn(heads.generations[at].last.into()));
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

impl Folio<'_> {
    /// Moves a folio of the oldest generation to the next one if it is not to be evicted now; says whether it did.
    ///
    /// Kernel: `sort_folio`; differs: folios in use by a handle move on, too, because no list may keep them for ever.
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

    /// Takes a folio off the oldest generation to evict it. Kernel: `isolate_folio`.
    fn isolate_folio(self, lruvec: &Lruvec, heads: &mut LruHeads, at: usize) {
        if !self.has(FolioFlags::REFERENCED) {
            self.set_lru_refs(0);
        }
        self.lru_gen_del_folio(lruvec, heads, at);
        self.clear(FolioFlags::LRU);
    }
}
