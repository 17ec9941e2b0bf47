//! Effective protection: the part of `memory.min` and `memory.low` that the groups above a group can give. Kernel:
//! `mem_cgroup_calculate_protection` (`mm/page_counter.c`).

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::{MemCgroup, MemCgroups};
use crate::base::types::CssId;

/// The protection of one group in one reclaim. The values are relative to the group at which the reclaim starts, so
/// the group at which the reclaim starts has no protection. Kernel: `memory.emin` and `memory.elow` of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Protection {
    /// Charged memory of the group, with all groups below it.
    pub(crate) usage_pages: u64,
    /// Pages that no reclaim takes. Kernel: `emin`.
    pub(crate) min_pages: u64,
    /// Pages that reclaim takes only when no unprotected page is left. Kernel: `elow`.
    pub(crate) low_pages: u64,
}

impl Protection {
    /// Returns whether the effective `memory.min` covers every page of the group. Kernel: `mem_cgroup_below_min`.
    pub(crate) fn is_below_min(&self) -> bool {
        self.usage_pages > 0 && self.usage_pages <= self.min_pages
    }

    /// Returns whether the effective `memory.low` covers every page of the group. Kernel: `mem_cgroup_below_low`.
    pub(crate) fn is_below_low(&self) -> bool {
        self.usage_pages > 0 && self.usage_pages <= self.low_pages
    }
}

/// Whether a child gets protection of its parent that no child claims. Kernel: the mount option
/// `memory_recursiveprot`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unclaimed {
    /// The children share the unclaimed protection, each in proportion to the part of its usage that its claim does
    /// not cover.
    Shared,
    /// The unclaimed protection protects no child.
    Lost,
}

/// One claim of a child, `memory.min` or `memory.low`, with the numbers of its parent, all in pages.
#[derive(Clone, Copy, Debug)]
struct Claim {
    usage: u64,
    parent_usage: u64,
    setting: u64,
    parent_effective: u64,
    /// The claims of all children of the parent together; a claim counts up to the usage of its child.
    siblings_claimed: u64,
}

impl Claim {
    /// Returns the pages of the child that its parent protects. Kernel: `effective_protection`.
    fn effective(self, unclaimed: Unclaimed) -> u64 {
        let claimed = self.usage.min(self.setting);
        if self.siblings_claimed > self.parent_effective {
            return share(self.parent_effective, claimed, self.siblings_claimed);
        }
        let is_shared = unclaimed == Unclaimed::Shared
            && self.parent_effective > self.siblings_claimed
            && self.parent_usage > self.siblings_claimed
            && self.usage > claimed;
        if !is_shared {
            return claimed;
        }
        let left = self.parent_effective - self.siblings_claimed;
        claimed + share(left, self.usage - claimed, self.parent_usage - self.siblings_claimed)
    }
}

/// Returns `amount * part / whole`, without an overflow.
fn share(amount: u64, part: u64, whole: u64) -> u64 {
    (u128::from(amount) * u128::from(part) / u128::from(whole)) as u64
}

/// The claims of the children of one group together, each up to the usage of its child. Kernel: `children_min_usage`
/// and `children_low_usage`; differs: each walk over the groups computes the sums anew.
#[derive(Clone, Copy, Default)]
struct Claimed {
    min_pages: u64,
    low_pages: u64,
}

impl MemCgroups {
    /// Returns the group `top` and all its descendants as [`MemCgroups::subtree`] does, each with its effective
    /// protection in a reclaim that starts at `top`. The effective protection of a child of `top` is its whole claim.
    /// Locks: the tree lock.
    pub(crate) fn protected_subtree(&self, top: CssId) -> Vec<(CssId, Protection)> {
        let found = self.subtree(top);
        // Relaxed: a reclaim that reads the old value acts as if it had run before the first claim of any group.
        if !self.has_protection.load(Ordering::Relaxed) {
            return found.into_iter().map(|css| (css, Protection::default())).collect();
        }
        let usages: Vec<u64> = found.iter().map(|&css| self.get(css).memory.usage_pages()).collect();
        let mut claimed: HashMap<CssId, Claimed> = HashMap::new();
        for (&css, &usage) in found.iter().zip(&usages).skip(1) {
            let group = self.get(css);
            let of = claimed.entry(group.parent().expect("only root has no parent")).or_default();
            of.min_pages += usage.min(group.min_pages());
            of.low_pages += usage.min(group.low_pages());
        }
        let mut known: HashMap<CssId, Protection> = HashMap::new();
        for (&css, &usage_pages) in found.iter().zip(&usages) {
            let own = match self.get(css).parent().filter(|_| css != top) {
                None => Protection { usage_pages, ..Protection::default() },
                Some(parent) => {
                    let above = (parent != top).then(|| (known[&parent], claimed[&parent]));
                    self.protection_below(self.get(css), usage_pages, above)
                }
            };
            known.insert(css, own);
        }
        found.into_iter().map(|css| (css, known[&css])).collect()
    }

    /// Returns the protection of a group. `above` is the protection of the group's parent and the claims of the
    /// parent's children, or `None` when reclaim starts at the parent.
    fn protection_below(
        &self,
        group: &MemCgroup,
        usage_pages: u64,
        above: Option<(Protection, Claimed)>,
    ) -> Protection {
        let (min_pages, low_pages) = (group.min_pages(), group.low_pages());
        let Some((parent, claimed)) = above else { return Protection { usage_pages, min_pages, low_pages } };
        let unclaimed = if self.options.has_recursive_protection { Unclaimed::Shared } else { Unclaimed::Lost };
        let effective = |setting, parent_effective, siblings_claimed| {
            let parent_usage = parent.usage_pages;
            Claim { usage: usage_pages, parent_usage, setting, parent_effective, siblings_claimed }.effective(unclaimed)
        };
        Protection {
            usage_pages,
            min_pages: effective(min_pages, parent.min_pages, claimed.min_pages),
            low_pages: effective(low_pages, parent.low_pages, claimed.low_pages),
        }
    }

    /// Sets the number of pages that a group claims as protected against every reclaim. Kernel: `memory.min`.
    pub(crate) fn set_min(&self, group: &MemCgroup, pages: u64) {
        self.has_protection.store(true, Ordering::Relaxed);
        group.min_pages.store(pages, Ordering::Relaxed);
    }

    /// Sets the number of pages that a group claims as protected while other groups have unprotected pages. Kernel:
    /// `memory.low`.
    pub(crate) fn set_low(&self, group: &MemCgroup, pages: u64) {
        self.has_protection.store(true, Ordering::Relaxed);
        group.low_pages.store(pages, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcg::{CounterKind, Hierarchy, MemcgSwitches};

    const CLAIM: Claim =
        Claim { usage: 50, parent_usage: 150, setting: 75, parent_effective: 50, siblings_claimed: 75 };

    #[test]
    fn claims_over_the_parents_protection_are_cut_in_proportion() {
        for unclaimed in [Unclaimed::Shared, Unclaimed::Lost] {
            // The first child claims 75, which counts only up to its usage of 50. The second child claims 25. The
            // parent has an effective protection of 50.
            assert_eq!(CLAIM.effective(unclaimed), 33);
            assert_eq!(Claim { setting: 25, ..CLAIM }.effective(unclaimed), 16);
            assert_eq!(Claim { setting: 0, ..CLAIM }.effective(unclaimed), 0);
            assert_eq!(Claim { usage: 0, setting: 500, ..CLAIM }.effective(unclaimed), 0);
            assert_eq!(Claim { parent_effective: 75, ..CLAIM }.effective(unclaimed), 50, "all claims fit");
        }
        let max = u64::MAX >> 13;
        let largest = Claim { usage: max, setting: max, parent_effective: max, siblings_claimed: 2 * max, ..CLAIM };
        assert_eq!(largest.effective(Unclaimed::Lost), max / 2, "no product overflows");
    }

    #[test]
    fn protection_that_no_child_claims_goes_to_usage_without_a_claim() {
        let claim = Claim { setting: 10, parent_effective: 60, siblings_claimed: 30, ..CLAIM };
        // 30 protected pages of the parent are unclaimed. The children share the 30 pages for 120 pages of usage
        // without a claim, of which the child has 40.
        assert_eq!((claim.effective(Unclaimed::Shared), claim.effective(Unclaimed::Lost)), (10 + 10, 10));
        let covered = Claim { setting: 50, ..claim };
        assert_eq!(covered.effective(Unclaimed::Shared), 50, "the claim covers the whole usage");
    }

    #[test]
    fn protection_is_relative_to_the_group_where_reclaim_starts() {
        for (memory_recursiveprot, unclaimed_pages) in [(true, 20), (false, 0)] {
            let switches = MemcgSwitches { memory_recursiveprot, ..MemcgSwitches::CANON };
            let groups = MemCgroups::new(switches.resolve(Hierarchy::V2).expect("options"), 1).expect("memory");
            let a = groups.create(CssId::ROOT, "a").expect("a group");
            let b = groups.create(a.css(), "b").expect("a group");
            let c = groups.create(b.css(), "c").expect("a group");
            groups.set_min(b, 20);
            groups.set_low(c, 70);
            groups.charge(c, CounterKind::Memory, 100);
            let of = |top: &MemCgroup| groups.protected_subtree(top.css());
            let protection = |min_pages, low_pages| Protection { usage_pages: 100, min_pages, low_pages };
            // Group a claims no protection, so its descendants have none in a reclaim from root, and the reclaim
            // takes every page.
            let nothing = protection(0, 0);
            let root = Protection::default();
            assert_eq!(
                of(groups.root()).into_iter().map(|(_, of)| of).collect::<Vec<_>>(),
                [root, nothing, nothing, nothing]
            );
            let from_a = [(a.css(), nothing), (b.css(), protection(20, 0)), (c.css(), protection(unclaimed_pages, 0))];
            assert_eq!(of(a), from_a);
            assert_eq!(of(b), [(b.css(), nothing), (c.css(), protection(0, 70))]);
            assert!(protection(100, 0).is_below_min() && !protection(99, 100).is_below_min());
            assert!(protection(99, 100).is_below_low() && !Protection::default().is_below_low());
            groups.uncharge(c, CounterKind::Memory, 100);
        }
    }
}
