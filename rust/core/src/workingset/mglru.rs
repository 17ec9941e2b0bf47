//! The generations and tiers of one lruvec. MGLRU uses the refaults after earlier evictions to choose the type and
//! the tiers of the folios to evict.
//!
//! This file stores the numbers of the live generations, and counts evicted, protected and refaulted pages by tier.
//! The choice of the type and the tiers depends only on these counts and on the swappiness. The lists of folios are
//! in [`super::lruvec`]. The code that moves folios between the lists is in `folio/lru_gen.rs`.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lruvec::{LruList, LruType};
use crate::base::limits::{EVICTION_BITS, MAX_SWAPPINESS};
use crate::base::sync::SpinMutex;

/// The smallest number of live generations. Kernel: `MIN_NR_GENS`.
pub const MIN_NR_GENS: u64 = 2;
/// The largest number of live generations. Kernel: `MAX_NR_GENS`.
pub const MAX_NR_GENS: u64 = 4;
/// The number of tiers of a generation. A folio with more uses is in a higher tier. Kernel: `MAX_NR_TIERS`.
pub const MAX_NR_TIERS: usize = 4;
/// The number of bits for the references that are stored in a folio. Kernel: `LRU_REFS_WIDTH`.
pub const LRU_REFS_WIDTH: u32 = 2;
/// The least number of refaulted pages at which a comparison of tiers uses the refaults of a tier. The comparison
/// also adds this number to the total of the other tiers. A batch that isolates folios ends at this number of pages.
/// Kernel: `MIN_LRU_BATCH`.
pub const MIN_LRU_BATCH: u64 = 64;
/// The largest number of pages that one batch of eviction scans. Kernel: `MAX_LRU_BATCH`.
pub const MAX_LRU_BATCH: u64 = 64 * MIN_LRU_BATCH;
/// The number of bits of a generation number in a shadow.
const SEQ_BITS: u32 = EVICTION_BITS - LRU_REFS_WIDTH;

/// Returns the tier of a folio with `refs` uses, 0..=4. A folio of the working set is in the last tier.
///
/// Kernel: `lru_tier_from_refs`.
pub const fn tier_of(refs: u32, is_workingset: bool) -> usize {
    debug_assert!(refs <= 1 << LRU_REFS_WIDTH);
    if is_workingset { MAX_NR_TIERS - 1 } else { refs.next_power_of_two().trailing_zeros() as usize }
}

/// Returns the index, 0..=3, of a generation in the array of generation lists. Kernel: `lru_gen_from_seq`.
pub const fn gen_of(seq: u64) -> usize {
    (seq % MAX_NR_GENS) as usize
}

/// Returns whether a reclaim with this swappiness, 0..=201, may evict a type. Kernel: `for_each_evictable_type`.
pub const fn is_evictable(ty: LruType, swappiness: u8) -> bool {
    match ty {
        LruType::Anon => swappiness > 0,
        LruType::File => swappiness <= MAX_SWAPPINESS,
    }
}

/// Returns the swappiness, 0..=201, with which [`Mglru::type_to_evict`] chooses a type. The result is 0 when swapping
/// is forbidden or when the memcg may swap fewer than 64 pages.
///
/// Kernel: `get_swappiness` of MGLRU. Differs: the permission to swap is an argument.
pub const fn mglru_swappiness(swappiness: u8, swapping: Swapping, nr_swap_pages: i64) -> u8 {
    match swapping {
        Swapping::Allowed if nr_swap_pages >= MIN_LRU_BATCH as i64 => swappiness,
        _ => 0,
    }
}

/// Whether a reclaim may swap pages out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swapping {
    /// The reclaim may swap pages out.
    Allowed,
    /// The reclaim must not swap pages out.
    Forbidden,
}

/// The refaults of one or more tiers, in pages, and the weight of these refaults in a comparison. Kernel: `struct
/// ctrl_pos`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtrlPos {
    /// The number of refaulted pages.
    pub refaulted: u64,
    /// The number of pages that were evicted or protected.
    pub total: u64,
    /// The weight: a comparison divides the rate `refaulted` / `total` by this number.
    pub gain: u64,
}

/// Returns whether the pages of `pv` may be evicted. The result is true if the weighted rate of refaults of `pv` is
/// not higher than the weighted rate of `sp`, or if `pv` has too few refaults for a comparison.
///
/// Kernel: `positive_ctrl_err` (mm/vmscan.c). Differs: the products cannot overflow.
pub fn positive_ctrl_err(sp: CtrlPos, pv: CtrlPos) -> bool {
    let product = |a: u64, b: u64, gain: u64| u128::from(a).saturating_mul(b.into()).saturating_mul(gain.into());
    pv.refaulted < MIN_LRU_BATCH
        || product(pv.refaulted, sp.total + MIN_LRU_BATCH, sp.gain) <= product(sp.refaulted + 1, pv.total, pv.gain)
}

/// Counters in pages, indexed by type and tier. All generations share the counters. A kernel with `NR_HIST_GENS` 1
/// does the same.
type Counters = [[AtomicU64; MAX_NR_TIERS]; LruType::ALL.len()];

/// The moving average of a tier over the ended generations, in pages. When a generation ends, its count is added to
/// the average and the sum is halved.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    refaulted: u64,
    total: u64,
}

/// The generations of one lruvec. For each type, the live generations are `min_seq`..=`max_seq`. A type has 2 to 4
/// live generations.
///
/// Kernel: `struct lru_gen_folio`. Differs: the lists of folios are in the lruvec.
#[derive(Debug)]
pub struct Mglru {
    max_seq: AtomicU64,
    min_seq: [AtomicU64; LruType::ALL.len()],
    refaulted: Counters,
    /// The number of pages that were evicted or protected. Kernel: the sum of `evicted` and `protected`.
    total: Counters,
    // The lock is also held while a sequence number changes, so that the counters of each generation are added to the
    // averages only once.
    averages: SpinMutex<[[Average; MAX_NR_TIERS]; LruType::ALL.len()]>,
}

impl Default for Mglru {
    /// Makes the generations 0 to 3, which are all live and have no pages.
    fn default() -> Self {
        Self {
            max_seq: AtomicU64::new(MAX_NR_GENS - 1),
            min_seq: Default::default(),
            refaulted: Counters::default(),
            total: Counters::default(),
            averages: SpinMutex::default(),
        }
    }
}

// Every atomic access is Relaxed, because the sequence numbers change only under the LRU lock and the lock of the
// averages, and because each counter is a separate statistic. A sequence number that is read without a lock may be
// out of date.
impl Mglru {
    /// Resets the generations. The oldest generation is 1, because the shadow of an eviction from generation 0 could
    /// be all zeros, which means no eviction.
    pub(super) fn renew(&self) {
        let mut averages = self.averages.lock();
        *averages = Default::default();
        self.max_seq.store(MAX_NR_GENS, Ordering::Relaxed);
        self.min_seq.iter().for_each(|seq| seq.store(1, Ordering::Relaxed));
        let counters = self.refaulted.iter().chain(&self.total).flatten();
        counters.for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// Returns whether a generation is active. The two youngest generations are active. Kernel: `lru_gen_is_active`.
    pub fn is_active(&self, seq: u64) -> bool {
        seq + MIN_NR_GENS > self.max_seq()
    }

    /// Returns the number of the generation of anonymous folios at the index `at`, which is a result of [`gen_of`].
    /// If no live generation has this index, the result is the next number that [`gen_of`] maps to this index.
    pub(crate) fn seq_at(&self, at: usize) -> u64 {
        let min_seq = self.min_seq(LruType::Anon);
        min_seq + (at as u64 + MAX_NR_GENS - min_seq % MAX_NR_GENS) % MAX_NR_GENS
    }

    /// Returns the list whose size includes the pages of the generation at the index `at`, which is a result of
    /// [`gen_of`].
    pub(crate) fn list_of(&self, at: usize) -> LruList {
        if self.is_active(self.seq_at(at)) { LruList::ActiveAnon } else { LruList::InactiveAnon }
    }

    /// Returns the smallest generation number among the oldest generations of the types that may be evicted. Kernel:
    /// `evictable_min_seq`.
    pub fn evictable_min_seq(&self, swappiness: u8) -> u64 {
        let evictable = LruType::ALL.into_iter().filter(|&ty| is_evictable(ty, swappiness));
        evictable.map(|ty| self.min_seq(ty)).min().expect("a type is evictable")
    }

    /// Returns the number of the youngest generation.
    pub fn max_seq(&self) -> u64 {
        self.max_seq.load(Ordering::Relaxed)
    }

    /// Returns the number of the oldest generation of a type.
    pub fn min_seq(&self, ty: LruType) -> u64 {
        self.min_seq[ty as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of live generations of a type, 2..=4.
    pub fn nr_gens(&self, ty: LruType) -> u64 {
        // The lock is held, so that the numbers do not change between the two reads.
        let _averages = self.averages.lock();
        self.max_seq() - self.min_seq(ty) + 1
    }

    /// Starts a generation. If a type has four generations, the oldest generation of the type ends. The caller moves
    /// the folios of this generation to the next generation before the call.
    ///
    /// Kernel: `inc_max_seq` (mm/vmscan.c). Differs: the caller moves the folios.
    pub fn inc_max_seq(&self) {
        let mut averages = self.averages.lock();
        for ty in LruType::ALL {
            if self.max_seq() - self.min_seq(ty) + 1 == MAX_NR_GENS {
                self.set_min_seq(ty, self.min_seq(ty) + 1, &mut averages[ty as usize]);
            }
        }
        self.max_seq.store(self.max_seq() + 1, Ordering::Relaxed);
    }

    /// Ends the generations of a type that are older than `seq`. The caller passes a `seq` before which all
    /// generations are empty. The two youngest generations never end. Returns whether a generation ended.
    ///
    /// Kernel: the step of `try_to_inc_min_seq` (mm/vmscan.c) for one type. Differs: the caller finds the empty
    /// generations.
    pub fn try_to_inc_min_seq(&self, ty: LruType, seq: u64) -> bool {
        let mut averages = self.averages.lock();
        let seq = seq.min(self.max_seq() + 1 - MIN_NR_GENS);
        let is_more = seq > self.min_seq(ty);
        if is_more {
            self.set_min_seq(ty, seq, &mut averages[ty as usize]);
        }
        is_more
    }

    /// Adds the counters of the oldest generation to the averages and ends the generation. Kernel: `reset_ctrl_pos`.
    fn set_min_seq(&self, ty: LruType, seq: u64, averages: &mut [Average; MAX_NR_TIERS]) {
        for (tier, average) in averages.iter_mut().enumerate() {
            // One atomic swap reads the counter and sets it to 0, so that a page that another thread counts at the
            // same time is not lost.
            let take = |counters: &Counters| counters[ty as usize][tier].swap(0, Ordering::Relaxed);
            average.refaulted = (average.refaulted + take(&self.refaulted)) / 2;
            average.total = (average.total + take(&self.total)) / 2;
        }
        self.min_seq[ty as usize].store(seq, Ordering::Relaxed);
    }

    /// Counts an eviction from the oldest generation and returns the token, which is the age that the shadow stores.
    /// `refs` is the number of uses of the folio, 0..=4.
    ///
    /// Kernel: `lru_gen_eviction` (mm/workingset.c).
    pub fn evict(&self, ty: LruType, refs: u32, is_workingset: bool, nr_pages: u32) -> u64 {
        let seq = self.min_seq(ty);
        add(&self.total, ty, tier_of(refs, is_workingset), nr_pages);
        (seq << LRU_REFS_WIDTH | u64::from(refs.saturating_sub(1))) & ((1 << EVICTION_BITS) - 1)
    }

    /// Returns whether the generation of a token is fewer than four generations older than the youngest generation.
    /// Kernel: `lru_gen_test_recent` (mm/workingset.c).
    pub fn is_recent(&self, token: u64) -> bool {
        let max_seq = self.max_seq() & ((1 << SEQ_BITS) - 1);
        max_seq.abs_diff(token >> LRU_REFS_WIDTH) < MAX_NR_GENS
    }

    /// Counts a recent refault. The number of references in the token selects the tier.
    pub fn refault(&self, ty: LruType, token: u64, is_workingset: bool, nr_pages: u32) {
        let refs = stored_refs(token) + 1;
        add(&self.refaulted, ty, tier_of(refs.into(), is_workingset), nr_pages);
    }

    /// Counts protected pages: pages that were moved to the next generation in place of an eviction. Kernel:
    /// `sort_folio`.
    pub fn protect(&self, ty: LruType, tier: usize, nr_pages: u32) {
        add(&self.total, ty, tier, nr_pages);
    }

    /// Returns the sums over the tiers `tiers` of a type, including the averages of ended generations. Kernel:
    /// `read_ctrl_pos` (mm/vmscan.c).
    pub fn read_ctrl_pos(&self, ty: LruType, tiers: Range<usize>, gain: u64) -> CtrlPos {
        let averages = self.averages.lock();
        tiers.fold(CtrlPos { refaulted: 0, total: 0, gain }, |sum, tier| {
            let read = |counters: &Counters| counters[ty as usize][tier].load(Ordering::Relaxed);
            let average = averages[ty as usize][tier];
            CtrlPos {
                refaulted: sum.refaulted + average.refaulted + read(&self.refaulted),
                total: sum.total + average.total + read(&self.total),
                gain,
            }
        })
    }

    /// Returns the type to evict at a swappiness of 0..=201. Kernel: `get_type_to_scan` (mm/vmscan.c).
    pub fn type_to_evict(&self, swappiness: u8) -> LruType {
        match swappiness {
            0..=1 => return LruType::File,
            MAX_SWAPPINESS.. => return LruType::Anon,
            _ => {}
        }
        let sp = self.read_ctrl_pos(LruType::Anon, 0..MAX_NR_TIERS, swappiness.into());
        let pv = self.read_ctrl_pos(LruType::File, 0..MAX_NR_TIERS, (MAX_SWAPPINESS - swappiness).into());
        if positive_ctrl_err(sp, pv) { LruType::File } else { LruType::Anon }
    }

    /// Returns the highest tier whose folios are evicted. Folios of higher tiers are protected. Kernel:
    /// `get_tier_idx` (mm/vmscan.c).
    pub fn tier_to_evict(&self, ty: LruType) -> usize {
        // A tier is protected when its rate of refaults is more than 3 / 2 of the rate of tier 0. The factor 3 / 2
        // keeps the decision from changing often.
        let sp = self.read_ctrl_pos(ty, 0..1, 2);
        let is_evicted = |&tier: &usize| positive_ctrl_err(sp, self.read_ctrl_pos(ty, tier..tier + 1, 3));
        (1..MAX_NR_TIERS).take_while(is_evicted).last().unwrap_or(0)
    }
}

/// Returns the number of references that a token stores, 0..=3.
pub(super) fn stored_refs(token: u64) -> u8 {
    (token & ((1 << LRU_REFS_WIDTH) - 1)) as u8
}

fn add(counters: &Counters, ty: LruType, tier: usize, nr_pages: u32) {
    counters[ty as usize][tier].fetch_add(nr_pages.into(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use LruType::{Anon, File};

    fn pos(refaulted: u64, total: u64, gain: u64) -> CtrlPos {
        CtrlPos { refaulted, total, gain }
    }

    #[test]
    fn tiers_are_logarithms_of_references() {
        assert_eq!([0, 1, 2, 3, 4].map(|refs| tier_of(refs, false)), [0, 0, 1, 2, 2]);
        assert_eq!(tier_of(0, true), 3);
    }

    #[test]
    fn token_packs_generation_and_references() {
        let state = Mglru::default();
        assert!(state.try_to_inc_min_seq(Anon, 1));
        assert_eq!([0, 1, 2, 4].map(|refs| state.evict(Anon, refs, false, 1)), [4, 4, 5, 7]);
        assert_eq!(state.evict(File, 3, true, 1), 2, "the file type is still at generation 0");
        assert_eq!(state.read_ctrl_pos(Anon, 0..1, 1), pos(0, 2, 1));
        assert_eq!(state.read_ctrl_pos(Anon, 2..3, 1), pos(0, 1, 1));
        assert_eq!(state.read_ctrl_pos(File, 3..4, 1), pos(0, 1, 1));
        assert_eq!(stored_refs(7), 3);
    }

    #[test]
    fn generations_stay_between_two_and_four() {
        let state = Mglru::default();
        assert_eq!((state.nr_gens(Anon), state.max_seq()), (4, 3));
        assert!(state.try_to_inc_min_seq(Anon, 1) && state.try_to_inc_min_seq(Anon, 2));
        assert!(!state.try_to_inc_min_seq(Anon, 3), "two generations stay");
        assert_eq!([0, 1, 2, 3].map(|seq| state.is_active(seq)), [false, false, true, true]);
        state.inc_max_seq();
        assert_eq!((state.nr_gens(Anon), state.min_seq(Anon)), (3, 2));
        assert_eq!((state.nr_gens(File), state.min_seq(File)), (4, 1), "a fifth generation retires the first");
        assert_eq!([1, 201].map(|swappiness| state.evictable_min_seq(swappiness)), [1, 2]);
        assert_eq!(state.evictable_min_seq(0), 1);
        assert_eq!([0, 1, 2, 3].map(|at| state.seq_at(at)), [4, 5, 2, 3]);
        state.renew();
        assert_eq!((state.min_seq(Anon), state.min_seq(File), state.max_seq()), (1, 1, 4));
    }

    #[test]
    fn recent_is_fewer_than_four_generations_away() {
        let state = Mglru::default();
        assert!(state.is_recent(0) && state.is_recent(3));
        state.inc_max_seq();
        assert!(!state.is_recent(3), "generation 0 of 4");
        assert!(state.is_recent(1 << 2));
        // Generation numbers wrap after `SEQ_BITS` bits. A number after the wrap is recent. A number before the wrap
        // is not recent.
        state.max_seq.store(1 << SEQ_BITS, Ordering::Relaxed);
        assert!(state.is_recent(0) && state.is_recent(3 << 2));
        assert!(!state.is_recent(((1 << SEQ_BITS) - 1) << 2));
    }

    #[test]
    fn averages_halve_with_each_generation() {
        let state = Mglru::default();
        let token = state.evict(Anon, 0, false, 100);
        state.protect(Anon, 1, 20);
        state.refault(Anon, token, false, 50);
        state.inc_max_seq();
        assert_eq!(state.read_ctrl_pos(Anon, 0..4, 7), pos(25, 60, 7));
        state.evict(Anon, 0, false, 10);
        assert_eq!(state.read_ctrl_pos(Anon, 0..1, 7), pos(25, 60, 7), "50 of the average and 10 new");
        state.inc_max_seq();
        assert_eq!(state.read_ctrl_pos(Anon, 0..1, 7), pos(12, 30, 7), "(50 + 10) / 2");
        assert_eq!(state.read_ctrl_pos(Anon, 1..2, 7), pos(0, 5, 7));
    }

    #[test]
    fn balance_needs_64_refaults_and_weighs_rates() {
        assert!(positive_ctrl_err(pos(0, 0, 1), pos(63, 63, 1)));
        assert!(!positive_ctrl_err(pos(0, 0, 1), pos(64, 63, 1)), "64 * 64 > 1 * 63");
        assert!(positive_ctrl_err(pos(0, 0, 1), pos(64, 4096, 1)), "64 * 64 <= 4096");
        assert!(!positive_ctrl_err(pos(0, 0, 1), pos(64, 4095, 1)));
        assert!(positive_ctrl_err(pos(99, 136, 3), pos(100, 200, 3)), "100 * 200 <= 100 * 200");
        assert!(!positive_ctrl_err(pos(99, 136, 3), pos(101, 200, 3)));
        assert!(positive_ctrl_err(pos(u64::MAX / 2, u64::MAX / 2, 200), pos(64, u64::MAX / 2, 200)));
    }

    #[test]
    fn type_follows_swappiness_and_refaults() {
        let state = Mglru::default();
        assert_eq!([0, 1, 200, 201].map(|s| state.type_to_evict(s)), [File, File, Anon, Anon]);
        assert_eq!(state.type_to_evict(60), File, "without refaults file pages are evicted");
        // 100 of 1000 file pages are refaulted, and no anonymous page of 1000. 100 * 1064 * 60 > 1 * 1000 * 140, so
        // anonymous pages are evicted.
        state.evict(Anon, 0, false, 1000);
        let token = state.evict(File, 0, false, 1000);
        state.refault(File, token, false, 100);
        assert_eq!(state.type_to_evict(60), Anon);
        // 100 anonymous pages are refaulted, as many as file pages. At swappiness 60, file pages are evicted, because
        // 100 * 1064 * 60 <= 101 * 1000 * 140. At swappiness 150, anonymous pages are evicted, because
        // 100 * 1064 * 150 > 101 * 1000 * 50.
        state.refault(Anon, 0, false, 100);
        assert_eq!([60, 150].map(|s| state.type_to_evict(s)), [File, Anon]);
    }

    #[test]
    fn tiers_are_protected_from_the_first_that_refaults_more() {
        let state = Mglru::default();
        assert_eq!(state.tier_to_evict(Anon), 3, "no page came back, so every tier may be evicted");
        state.evict(Anon, 0, false, 936);
        state.refault(Anon, 0, false, 99);
        // Tier 0 has a refault rate of 10 %. Tier 2 is protected only when its rate is more than 15 %.
        state.evict(Anon, 4, false, 1000);
        state.refault(Anon, 3, false, 150);
        assert_eq!(state.tier_to_evict(Anon), 3, "150 * 1000 * 2 <= 100 * 1000 * 3");
        state.refault(Anon, 3, false, 10);
        assert_eq!(state.tier_to_evict(Anon), 1);
        state.evict(Anon, 2, false, 100);
        state.refault(Anon, 1, false, 64);
        assert_eq!(state.tier_to_evict(Anon), 0);
    }

    #[test]
    fn swappiness_is_nothing_without_room_to_swap() {
        use Swapping::{Allowed, Forbidden};
        let at = |swapping, nr| mglru_swappiness(60, swapping, nr);
        assert_eq!([at(Allowed, 64), at(Allowed, 63), at(Allowed, -1), at(Forbidden, 1000)], [60, 0, 0, 0]);
    }
}
