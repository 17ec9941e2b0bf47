//! Computes the number of pages that one scan of reclaim takes from each LRU list. The functions depend only on their
//! arguments.

use crate::base::limits::{MAX_SWAPPINESS, SWAP_CLUSTER_MAX, SWAPPINESS_ANON_ONLY};
use crate::workingset::{LruCost, LruList, LruType};

/// The inputs that decide how the scan is divided between the lists of one lruvec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Balance {
    /// The pages of each of the four lists, in the order of [`LruList::EVICTABLE`].
    pub(crate) list_pages: [u64; 4],
    /// The pages of each list without the share that `memory.min` and `memory.low` protect; see
    /// [`unprotected_pages`].
    pub(crate) unprotected_pages: [u64; 4],
    /// The swappiness: 0..=200, or [`SWAPPINESS_ANON_ONLY`].
    pub(crate) swappiness: u8,
    pub(crate) may_swap: bool,
    /// The number of pages that the memcg may still swap out.
    pub(crate) nr_swap_pages: i64,
    /// Whether reclaim runs because the machine ran out of memory. If false, reclaim runs because a memcg met its
    /// limit.
    pub(crate) is_global: bool,
    /// The priority of the scan. The number of pages to scan is the size of a list shifted right by this number.
    pub(crate) priority: u8,
    /// Whether almost no file pages exist. Kernel: `file_is_tiny`.
    pub(crate) is_file_tiny: bool,
    /// Whether enough inactive file pages exist, so that active file pages need no deactivation. Kernel:
    /// `cache_trim_mode`.
    pub(crate) is_cache_trim: bool,
    /// The recent reclaim costs of anonymous and of file pages in the lruvec for which reclaim runs.
    pub(crate) cost: LruCost,
    /// Whether the memcg is online. The value is false for a removed memcg.
    pub(crate) is_online: bool,
}

/// The shares of anonymous and of file pages in the scan. Each share is a fraction with the denominator `whole`.
struct Shares {
    anon: u128,
    file: u128,
    whole: u128,
}

impl Balance {
    fn can_reclaim_anon(&self) -> bool {
        self.may_swap && self.nr_swap_pages > 0
    }

    fn choose(&self) -> Shares {
        let all = |anon, file| Shares { anon, file, whole: 1 };
        if self.swappiness == SWAPPINESS_ANON_ONLY {
            return all(u128::from(self.can_reclaim_anon()), 0);
        }
        if !self.can_reclaim_anon() || (!self.is_global && self.swappiness == 0) {
            return all(0, 1);
        }
        if self.priority == 0 && self.swappiness > 0 {
            return all(1, 1);
        }
        if self.is_global && self.is_file_tiny {
            return all(1, 0);
        }
        if self.is_cache_trim {
            return all(0, 1);
        }
        let total = u128::from(self.cost.anon_pages) + u128::from(self.cost.file_pages);
        // The total is added to the cost of each type, so that each type gets at least one third of the scan at
        // swappiness 100.
        let (anon_cost, file_cost) =
            (total + u128::from(self.cost.anon_pages), total + u128::from(self.cost.file_pages));
        let both = anon_cost + file_cost;
        let swappiness = u128::from(self.swappiness);
        let anon = swappiness * (both + 1) / (anon_cost + 1);
        let file = (u128::from(MAX_SWAPPINESS) - swappiness) * (both + 1) / (file_cost + 1);
        Shares { anon, file, whole: anon + file }
    }
}

/// Returns the number of pages to scan on each list, in the order of [`LruList::EVICTABLE`]. Kernel:
/// `get_scan_count`.
pub(crate) fn get_scan_count(balance: &Balance) -> [u64; 4] {
    let shares = balance.choose();
    LruList::EVICTABLE.map(|list| {
        let size = balance.list_pages[list as usize];
        let shifted = balance.unprotected_pages[list as usize] >> balance.priority;
        // For a removed memcg at least one batch is scanned, so that the last pages of the memcg are reclaimed soon.
        let scan = if balance.is_online { shifted } else { shifted.max(size.min(SWAP_CLUSTER_MAX)) };
        let share = if list.ty() == LruType::Anon { shares.anon } else { shares.file };
        (u128::from(scan) * share / shares.whole) as u64
    })
}

/// Returns the pages of a list that reclaim may scan in a group with `usage_pages` of memory, of which
/// `protected_pages` are protected: the unprotected share of the list, but at least one batch, so that reclaim can
/// bring a group that is slightly above its protection down to its protection.
///
/// Kernel: the protection in `get_scan_count`.
pub(crate) fn unprotected_pages(list_pages: u64, usage_pages: u64, protected_pages: u64) -> u64 {
    // The usage may be below the protection, because the usage and the protection were read at different times.
    let usage_pages = u128::from(usage_pages.max(protected_pages));
    let protected = u128::from(list_pages) * u128::from(protected_pages) / (usage_pages + 1);
    (list_pages - protected as u64).max(SWAP_CLUSTER_MAX)
}

/// Returns whether the inactive list is so short that active pages must be deactivated. The required share of
/// inactive pages is smaller when both lists together have more pages.
///
/// Kernel: `inactive_is_low`.
pub(crate) fn inactive_is_low(inactive_pages: u64, active_pages: u64) -> bool {
    let size_gib = (inactive_pages + active_pages) >> (30 - 12);
    let ratio = (10 * size_gib).isqrt().max(1);
    inactive_pages * ratio < active_pages
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Balance = Balance {
        list_pages: [4096, 8192, 40960, 81920],
        unprotected_pages: [4096, 8192, 40960, 81920],
        swappiness: 60,
        may_swap: true,
        nr_swap_pages: 1,
        is_global: true,
        priority: 2,
        is_file_tiny: false,
        is_cache_trim: false,
        cost: LruCost { anon_pages: 0, file_pages: 0 },
        is_online: true,
    };
    const ANON: [u64; 4] = [1024, 2048, 0, 0];
    const FILE: [u64; 4] = [0, 0, 10240, 20480];

    #[test]
    fn the_first_test_that_holds_decides() {
        let only_anon = Balance { swappiness: 201, is_cache_trim: true, ..PLAIN };
        assert_eq!(get_scan_count(&only_anon), ANON);
        assert_eq!(get_scan_count(&Balance { may_swap: false, ..only_anon }), [0; 4]);
        assert_eq!(get_scan_count(&Balance { nr_swap_pages: 0, ..only_anon }), [0; 4]);
        let tiny = Balance { is_file_tiny: true, is_cache_trim: true, ..PLAIN };
        assert_eq!(get_scan_count(&Balance { may_swap: false, ..tiny }), FILE);
        assert_eq!(get_scan_count(&Balance { nr_swap_pages: -3, ..tiny }), FILE);
        assert_eq!(get_scan_count(&tiny), ANON);
        // Tiny file lists matter only in global reclaim. Reclaim because of a limit uses `is_cache_trim` and scans
        // files.
        assert_eq!(get_scan_count(&Balance { is_global: false, ..tiny }), FILE);
        assert_eq!(get_scan_count(&Balance { is_global: false, swappiness: 0, ..PLAIN }), FILE);
        let last = Balance { priority: 0, ..tiny };
        assert_eq!(get_scan_count(&last), PLAIN.list_pages);
        assert_eq!(get_scan_count(&Balance { swappiness: 0, ..last })[0], 4096, "tiny file lists decide next");
        assert_eq!(get_scan_count(&Balance { is_cache_trim: true, ..PLAIN }), FILE);
    }

    #[test]
    fn swappiness_and_costs_weigh_the_types() {
        // Without costs anonymous pages get 60 / 200 of the scan, and file pages get 140 / 200.
        assert_eq!(get_scan_count(&PLAIN), [307, 614, 7168, 14336]);
        // The costs 300 and 100 become 300 + 400 = 700 and 100 + 400 = 500, in total 1200. The weights are
        // 60 * 1201 / 701 = 102 and 140 * 1201 / 501 = 335, in total 437.
        let cost = LruCost { anon_pages: 300, file_pages: 100 };
        let expected = [1024 * 102, 2048 * 102, 10240 * 335, 20480 * 335].map(|weighed| weighed / 437);
        assert_eq!(get_scan_count(&Balance { cost, ..PLAIN }), expected);
        // With swappiness 0 the weight of anonymous pages is 0.
        assert_eq!(get_scan_count(&Balance { swappiness: 0, ..PLAIN }), FILE);
    }

    #[test]
    fn what_a_dead_memcg_has_left_is_looked_at_from_the_start() {
        let few = Balance {
            list_pages: [40, 20, 0, 0],
            unprotected_pages: [40, 20, 0, 0],
            swappiness: 201,
            priority: 12,
            ..PLAIN
        };
        assert_eq!(get_scan_count(&few), [0; 4]);
        assert_eq!(get_scan_count(&Balance { is_online: false, ..few }), [32, 20, 0, 0]);
        let lists = [1 << 20, 0, 0, 0];
        let many = Balance { list_pages: lists, unprotected_pages: lists, is_online: false, ..few };
        assert_eq!(get_scan_count(&many), [256, 0, 0, 0]);
    }

    #[test]
    fn protected_pages_are_scanned_less() {
        let scan = |protected| unprotected_pages(1000, 1999, protected);
        assert_eq!([0, 500, 1000, 1999].map(scan), [1000, 750, 500, 32]);
        assert_eq!(scan(5000), 32, "the usage fell below the protection");
        assert_eq!(unprotected_pages(20, 1999, 1000), 32, "a batch is scanned even of a short list");
        let half = Balance { unprotected_pages: PLAIN.list_pages.map(|pages| pages / 2), ..PLAIN };
        assert_eq!(get_scan_count(&Balance { swappiness: 201, ..half }), ANON.map(|pages| pages / 2));
    }

    #[test]
    fn the_inactive_share_falls_with_the_size() {
        assert!(!inactive_is_low(10, 10) && inactive_is_low(9, 10));
        // Of 1 GiB a quarter must be inactive. Of 10 GiB an eleventh must be inactive.
        let gib = 1 << 18;
        assert!(!inactive_is_low(gib / 4, gib * 3 / 4) && inactive_is_low(gib / 4 - 1, gib * 3 / 4 + 1));
        let (part, rest) = (10 * gib / 11 + 1, 100 * gib / 11);
        assert!(!inactive_is_low(part, rest) && inactive_is_low(part - 2, rest + 2));
    }
}
