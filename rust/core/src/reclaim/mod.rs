//! Reclaim chooses folios when memory is short, and pages these folios out. Kernel: `mm/vmscan.c`.
//!
//! The files, from the lowest to the highest: `pageout` has the steps of one folio's pageout. `folio_list` pages out
//! a list of isolated folios. `balance` computes the number of pages to scan on each list. `generations` scans the
//! lists of MGLRU. This file scans the classic lists and has the loop over groups. Equal inputs give equal results,
//! because only the order of the lists decides which folio is reclaimed.

pub(crate) mod alloc_slow;
mod balance;
pub(crate) mod charge;
mod folio_list;
mod generations;
pub(crate) mod pageout;
mod reparent;
mod writeback;

use std::sync::Arc;

use balance::{Balance, get_scan_count, inactive_is_low};
use folio_list::References;
pub(crate) use folio_list::{ReclaimStat, Shrink};

use crate::base::error::Result;
use crate::base::limits::{DEF_PRIORITY, SWAP_CLUSTER_MAX};
use crate::base::types::{CpuId, CssId};
use crate::folio::{Folio, FolioFlags, Isolated, Memory};
use crate::machine::Swap;
use crate::memcg::{Protection, SWAPPINESS_DEFAULT};
use crate::workingset::{LruCost, LruList, LruType, Lruvec, LruvecStat};

/// A copy of the values of one memcg that reclaim needs.
#[derive(Clone, Debug)]
pub(crate) struct ReclaimGroup {
    pub(crate) css: CssId,
    pub(crate) lruvec: Arc<Lruvec>,
    /// The swappiness of the memcg, 0..=200.
    pub(crate) swappiness: u8,
    /// The number of pages that the memcg may still swap out. Kernel: `mem_cgroup_get_nr_swap_pages`.
    pub(crate) nr_swap_pages: i64,
    pub(crate) is_online: bool,
    /// The pages that `memory.min` protects in every reclaim, and the pages that `memory.low` protects while other
    /// groups have unprotected pages.
    pub(crate) protection: Protection,
}

/// The reason of a reclaim. Kernel: `reclaimer_offset`; differs: there is no kswapd and no khugepaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reclaimer {
    /// A limit, or a lack of memory.
    Direct,
    /// A write to `memory.reclaim`. Kernel: `MEMCG_RECLAIM_PROACTIVE`.
    Proactive {
        /// The swappiness that replaces the swappiness of every group; 201 selects anonymous pages only.
        swappiness: Option<u8>,
    },
}

impl Reclaimer {
    /// Returns the swappiness for a group whose own swappiness is `of_group`.
    fn swappiness(self, of_group: u8) -> u8 {
        match self {
            Self::Proactive { swappiness: Some(swappiness) } => swappiness,
            _ => of_group,
        }
    }

    /// Counts scanned pages of a lruvec.
    fn count_pgscan(self, lruvec: &Lruvec, nr_pages: u64) {
        lruvec.count(LruvecStat::Pgscan, nr_pages as u32);
        let is_direct = self == Self::Direct;
        let part = if is_direct { LruvecStat::PgscanDirect } else { LruvecStat::PgscanProactive };
        lruvec.count(part, nr_pages as u32);
    }

    /// Counts freed pages of a lruvec.
    fn count_pgsteal(self, lruvec: &Lruvec, nr_pages: u64) {
        lruvec.count(LruvecStat::Pgsteal, nr_pages as u32);
        let is_direct = self == Self::Direct;
        let part = if is_direct { LruvecStat::PgstealDirect } else { LruvecStat::PgstealProactive };
        lruvec.count(part, nr_pages as u32);
    }
}

/// The parameters of a reclaim. Kernel: `struct scan_control`.
#[derive(Clone)]
pub(crate) struct ScanControl<'c> {
    /// The lruvec of the memcg whose limit caused the reclaim; `None` when memory ran out.
    pub(crate) target_lruvec: Option<Arc<Lruvec>>,
    pub(crate) may_swap: bool,
    pub(crate) reclaimer: Reclaimer,
    pub(crate) nr_to_reclaim_pages: u64,
    pub(crate) cpu: CpuId,
    /// Called for each group from which reclaim takes pages although `memory.low` protects the group.
    pub(crate) on_low: Option<&'c dyn Fn(&ReclaimGroup)>,
}

impl ScanControl<'_> {
    /// Returns the parameters of a reclaim that runs because the machine ran out of memory.
    pub(crate) fn global(nr_to_reclaim_pages: u64, cpu: CpuId) -> Self {
        let reclaimer = Reclaimer::Direct;
        Self { target_lruvec: None, may_swap: true, reclaimer, nr_to_reclaim_pages, cpu, on_low: None }
    }
}

/// The changing state of one reclaim: the measures in force (see [`Progress::try_harder`]), and the results so far.
/// Kernel: the other fields of `struct scan_control`.
#[derive(Debug, Default)]
struct Progress {
    nr_to_reclaim: u64,
    nr_reclaimed: u64,
    priority: u8,
    /// Whether each walk over the groups starts at the first group and scans every group. Kernel: `memcg_full_walk`.
    is_full_walk: bool,
    is_deactivation_forced: bool,
    /// Whether this reclaim ignores `memory.low`. Kernel: `memcg_low_reclaim`.
    is_low_ignored: bool,
    was_deactivation_skipped: bool,
    /// Whether `memory.low` protected a group, wholly or in part. Kernel: `memcg_low_skipped`.
    was_low_skipped: bool,
    /// Whether active folios of a type may be deactivated; the index is the [`LruType`].
    may_deactivate: [bool; 2],
    is_file_tiny: bool,
    is_cache_trim: bool,
    /// The costs at the start of the walk, so that the scan of one group does not change the shares of the next.
    cost: LruCost,
}

/// One call of reclaim: its parameters and its progress.
struct Reclaim<'s, 'c> {
    swap: &'s Swap,
    sc: &'c ScanControl<'c>,
    /// The lruvec of the memcg whose limit caused the reclaim, or the root's lruvec when memory ran out.
    target: Arc<Lruvec>,
    now: Progress,
}

impl Swap {
    /// Frees memory of a tree of groups until enough pages are free, or until [`Progress::try_harder`] has no further
    /// measure. Returns the number of freed pages. `groups` is called before each walk over the tree, and returns the
    /// groups in preorder.
    ///
    /// Errors: `BadCpu` (EINVAL). The caller holds no lock. Kernel: `do_try_to_free_pages`.
    pub(crate) fn try_to_free_pages(
        &self,
        groups: &dyn Fn() -> Vec<ReclaimGroup>,
        sc: &ScanControl<'_>,
    ) -> Result<u64> {
        // An unknown CPU fails here, before any folio is isolated from its list.
        drop(self.on_cpu(sc.cpu)?);
        let root = || self.memory_of_folios().lruvec().clone();
        let target = sc.target_lruvec.clone().unwrap_or_else(root);
        let nr_to_reclaim = sc.nr_to_reclaim_pages.max(SWAP_CLUSTER_MAX);
        let mut reclaim = Reclaim { swap: self, sc, target, now: Progress { nr_to_reclaim, ..Progress::default() } };
        loop {
            reclaim.drop_priority(groups);
            reclaim.target.snapshot_refaults();
            let now = &mut reclaim.now;
            // Without progress, folios under writeback become clean before reclaim gives up. Kernel:
            // `reclaim_throttle`.
            let gives_up =
                |now: &mut Progress| Ok(!now.try_harder() && self.complete_writeback(SWAP_CLUSTER_MAX, sc.cpu)? == 0);
            if now.nr_reclaimed > 0 || gives_up(now)? {
                return Ok(now.nr_reclaimed);
            }
        }
    }

    /// Returns the groups of a reclaim at the group `top`: the group `top` and all its descendants, including removed
    /// groups.
    pub(crate) fn reclaim_groups(&self, top: CssId) -> Vec<ReclaimGroup> {
        let Some(groups) = self.memcg() else { return self.lists_of_all() };
        let free_pages = self.nr_swappable_pages();
        let as_seen = |(css, protection): (CssId, Protection)| {
            let group = groups.get(css);
            ReclaimGroup {
                css,
                lruvec: group.lruvec().clone(),
                swappiness: if groups.do_memsw_account() { group } else { groups.root() }.swappiness(),
                nr_swap_pages: groups.nr_swap_pages(group, free_pages),
                is_online: group.is_online(),
                protection,
            }
        };
        groups.protected_subtree(top).into_iter().map(as_seen).collect()
    }

    /// Returns the groups of a reclaim of the whole machine.
    pub(crate) fn all_groups(&self) -> Vec<ReclaimGroup> {
        self.reclaim_groups(CssId::ROOT)
    }

    /// Returns the single set of lists that holds all folios while memcg is disabled.
    fn lists_of_all(&self) -> Vec<ReclaimGroup> {
        vec![ReclaimGroup {
            css: CssId::ROOT,
            lruvec: self.memory_of_folios().lruvec().clone(),
            swappiness: SWAPPINESS_DEFAULT,
            nr_swap_pages: self.nr_swappable_pages(),
            is_online: true,
            protection: Protection::default(),
        }]
    }
}

impl Progress {
    /// Turns on the next stronger measure after a reclaim at all priorities freed nothing. The measures are the full
    /// walk, forced deactivation, and reclaim below `memory.low`. Returns false when no further measure applies.
    fn try_harder(&mut self) -> bool {
        if !self.is_full_walk {
            self.is_full_walk = true;
        } else if self.was_deactivation_skipped && !self.is_deactivation_forced {
            self.is_deactivation_forced = true;
        } else if self.was_low_skipped && !self.is_low_ignored {
            self.is_low_ignored = true;
            self.is_deactivation_forced = false;
        } else {
            return false;
        }
        self.was_deactivation_skipped = false;
        self.was_low_skipped &= !self.is_low_ignored;
        true
    }

    fn is_done(&self) -> bool {
        self.nr_reclaimed >= self.nr_to_reclaim
    }
}

impl<'s> Reclaim<'s, '_> {
    fn memory(&self) -> &'s Memory {
        self.swap.memory_of_folios()
    }

    /// Scans the tree with decreasing priority. A lower priority means that a larger part of each list is scanned.
    fn drop_priority(&mut self, groups: &dyn Fn() -> Vec<ReclaimGroup>) {
        for priority in (0..=DEF_PRIORITY).rev() {
            self.now.priority = priority;
            self.prepare_scan_control();
            self.shrink_node(&groups());
            if self.now.is_done() {
                break;
            }
        }
    }

    /// Computes the conditions that hold for all groups of one walk. Kernel: `prepare_scan_control`.
    fn prepare_scan_control(&mut self) {
        self.now.cost = self.target.cost();
        let pages = |list| self.target.page_state(list);
        let is_low = |inactive, active| inactive_is_low(pages(inactive), pages(active));
        self.now.may_deactivate = [
            self.target.has_new_refaults() || is_low(LruList::InactiveAnon, LruList::ActiveAnon),
            is_low(LruList::InactiveFile, LruList::ActiveFile),
        ];
        let inactive_file = pages(LruList::InactiveFile);
        // Almost no file pages exist when the inactive and the active file list together have fewer pages than one
        // batch.
        self.now.is_file_tiny = inactive_file + pages(LruList::ActiveFile) < SWAP_CLUSTER_MAX;
        let may_deactivate_file = self.now.may_deactivate[LruType::File as usize] || self.now.is_deactivation_forced;
        self.now.is_cache_trim = inactive_file >> self.now.priority > 0 && !may_deactivate_file;
    }

    /// Scans each group of one walk. A partial walk starts with the group after the group at which the previous
    /// partial walk ended, and ends with the last group at the latest. The partial walk after that starts with the
    /// first group. Kernel: `shrink_node_memcgs`, `mem_cgroup_iter`.
    fn shrink_node(&mut self, groups: &[ReclaimGroup]) {
        let cursor = if self.now.is_full_walk { CssId::default() } else { self.target.reclaim_cursor() };
        for group in &groups[first_turn(groups, cursor)..] {
            if !self.is_protected(group) {
                self.shrink_lruvec(group);
                self.shrink_zswap(group);
            }
            if !self.now.is_full_walk {
                self.target.set_reclaim_cursor(group.css);
                if self.now.is_done() {
                    return;
                }
            }
        }
        if !self.now.is_full_walk {
            self.target.set_reclaim_cursor(CssId::default());
        }
    }

    /// Writes zswap pages of a group back to devices, which frees the memory of the compressed pages. Kernel:
    /// `shrink_slab` with zswap's shrinker.
    fn shrink_zswap(&mut self, group: &ReclaimGroup) {
        let css = self.swap.memcg().map(|_| group.css);
        let before = self.swap.zswap().total_pages();
        if self.swap.zswap_shrinker.shrink_for_reclaim(self.swap, css, self.now.priority, self.sc.cpu) > 0 {
            self.now.nr_reclaimed += before.saturating_sub(self.swap.zswap().total_pages());
        }
    }

    /// Returns the number of pages of a list that a scan may take, before the priority is applied: `list_pages` less
    /// the protected share of the group's pages, but at least one batch. Kernel: the protection in `get_scan_count`
    /// and `apply_proportional_protection`.
    fn unprotected_pages(&mut self, protection: &Protection, list_pages: u64) -> u64 {
        let Protection { usage_pages, min_pages, low_pages } = *protection;
        if min_pages.max(low_pages) == 0 {
            return list_pages;
        }
        let is_low = low_pages > min_pages && !self.now.is_low_ignored;
        self.now.was_low_skipped |= is_low;
        balance::unprotected_pages(list_pages, usage_pages, if is_low { low_pages } else { min_pages })
    }

    fn is_protected(&mut self, group: &ReclaimGroup) -> bool {
        if group.protection.is_below_min() {
            return true;
        }
        if group.protection.is_below_low() {
            if !self.now.is_low_ignored {
                self.now.was_low_skipped = true;
                return true;
            }
            if let Some(on_low) = self.sc.on_low {
                on_low(group);
            }
        }
        false
    }

    /// Scans the lists of one group. Kernel: `shrink_lruvec`.
    fn shrink_lruvec(&mut self, group: &ReclaimGroup) {
        if self.memory().lru_gen_enabled() {
            return self.lru_gen_shrink_lruvec(group);
        }
        let lruvec = &*group.lruvec;
        let list_pages = lruvec.own_counted_pages();
        let mut left = get_scan_count(&Balance {
            list_pages,
            unprotected_pages: list_pages.map(|pages| self.unprotected_pages(&group.protection, pages)),
            swappiness: self.sc.reclaimer.swappiness(group.swappiness),
            may_swap: self.sc.may_swap,
            nr_swap_pages: group.nr_swap_pages,
            is_global: self.sc.target_lruvec.is_none(),
            priority: self.now.priority,
            is_file_tiny: self.now.is_file_tiny,
            is_cache_trim: self.now.is_cache_trim,
            cost: self.now.cost,
            is_online: group.is_online,
        });
        let wanted = [LruList::InactiveAnon, LruList::ActiveFile, LruList::InactiveFile];
        // The target counts anew for each group and each priority, so one call of reclaim may free several times the
        // target.
        let end = self.now.nr_reclaimed + self.now.nr_to_reclaim;
        while wanted.iter().any(|&list| left[list as usize] > 0) && self.now.nr_reclaimed < end {
            for list in LruList::EVICTABLE {
                let nr_to_scan = left[list as usize].min(SWAP_CLUSTER_MAX);
                left[list as usize] -= nr_to_scan;
                if nr_to_scan > 0 {
                    self.shrink_list(lruvec, list, nr_to_scan);
                }
            }
        }
        // Active anonymous pages are aged even when this scan takes no anonymous pages, so that a later scan finds
        // inactive anonymous pages.
        let may_age = self.sc.may_swap && group.nr_swap_pages > 0;
        if may_age && is_anon_low(lruvec) {
            self.shrink_active_list(lruvec, LruList::ActiveAnon, SWAP_CLUSTER_MAX);
        }
    }

    /// Pages out folios of an inactive list, or deactivates folios of an active list. Kernel: `shrink_list`.
    fn shrink_list(&mut self, lruvec: &Lruvec, list: LruList, nr_to_scan_pages: u64) {
        if !list.is_active() {
            self.shrink_inactive_list(lruvec, list, nr_to_scan_pages);
        } else if self.now.may_deactivate[list.ty() as usize] || self.now.is_deactivation_forced {
            self.shrink_active_list(lruvec, list, nr_to_scan_pages);
        } else {
            self.now.was_deactivation_skipped = true;
        }
    }

    /// Pages out folios from the tail of an inactive list. A folio that stays in memory is put at the head of its
    /// list. Kernel: `shrink_inactive_list`.
    fn shrink_inactive_list(&mut self, lruvec: &Lruvec, list: LruList, nr_to_scan_pages: u64) {
        self.memory().lru_batch_drain(self.sc.cpu);
        let isolated = self.memory().isolate_lru_folios(lruvec, list, nr_to_scan_pages);
        self.sc.reclaimer.count_pgscan(lruvec, isolated.nr_scanned_pages);
        let nr_scanned = isolated.nr_scanned_pages;
        let stat = self.shrink_isolated(lruvec, isolated, |_| ());
        // Each scanned page that stays in memory costs as much as a rotation of the page.
        let nr_rotated = nr_scanned.saturating_sub(stat.nr_reclaimed);
        lruvec.note_cost(list.ty(), (stat.nr_pageout * SWAP_CLUSTER_MAX + nr_rotated) as u32);
    }

    /// Pages out isolated folios. For each folio that stays in memory, `prepare` is called, and then the folio is put
    /// back on its list. A folio that became active ages the lists when the folio is put back, so that the evictions
    /// of the same batch are recorded at an age without the activations. Kernel: `move_folios_to_lru` at the end.
    fn shrink_isolated(&mut self, lruvec: &Lruvec, isolated: Isolated<'s>, prepare: impl Fn(Folio<'s>)) -> ReclaimStat {
        let mut stat = ReclaimStat::default();
        let level = self.swap.refault_level(Some(&self.target));
        let how = Shrink { references: References::Checked, level, cpu: self.sc.cpu };
        let kept = self.swap.shrink_folio_list(isolated.folios, how, &mut stat);
        self.memory().add_isolated(-(isolated.nr_taken_pages as i64));
        for folio in &kept {
            prepare(folio.folio());
            folio.lru_add();
            if folio.has(FolioFlags::ACTIVE) {
                lruvec.age_nonresident(folio.nr_pages());
            }
        }
        self.sc.reclaimer.count_pgsteal(lruvec, stat.nr_reclaimed);
        self.now.nr_reclaimed += stat.nr_reclaimed;
        stat
    }

    /// Moves folios from the tail of an active list to the inactive list, clears the accessed bits of these folios,
    /// and marks the folios as part of the working set. Kernel: `shrink_active_list`.
    fn shrink_active_list(&mut self, lruvec: &Lruvec, list: LruList, nr_to_scan_pages: u64) {
        self.memory().lru_batch_drain(self.sc.cpu);
        let isolated = self.memory().isolate_lru_folios(lruvec, list, nr_to_scan_pages);
        lruvec.count(LruvecStat::Pgrefill, isolated.nr_scanned_pages as u32);
        for folio in isolated.folios {
            // A locked folio keeps its accessed bits, because the walk of the reverse map needs the folio lock.
            if let Some(locked) = folio.folio().try_lock() {
                self.swap.folio_referenced(&locked);
            }
            folio.clear(FolioFlags::ACTIVE);
            folio.set(FolioFlags::WORKINGSET);
            folio.lru_add();
        }
        self.memory().add_isolated(-(isolated.nr_taken_pages as i64));
        lruvec.count(LruvecStat::Pgdeactivate, isolated.nr_taken_pages as u32);
    }
}

/// Returns the index after the group `cursor`, at which the last partial walk ended. Returns 0 when `groups` does not
/// contain `cursor`, and when `cursor` is the last group.
fn first_turn(groups: &[ReclaimGroup], cursor: CssId) -> usize {
    groups.iter().position(|group| group.css == cursor).map_or(0, |at| (at + 1) % groups.len())
}

/// Returns whether the inactive anonymous list of a lruvec is short in relation to its active anonymous list. The
/// lists of descendants are counted too.
fn is_anon_low(lruvec: &Lruvec) -> bool {
    inactive_is_low(lruvec.page_state(LruList::InactiveAnon), lruvec.page_state(LruList::ActiveAnon))
}

#[cfg(test)]
mod tests;
