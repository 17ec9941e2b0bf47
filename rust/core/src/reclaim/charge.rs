//! The charge of memory to a group. A charge first uses the stock of the CPU, which is pages that were charged in
//! advance, and then the counters. When a limit refuses the charge, pages are reclaimed.

use std::cell::Cell;
use std::time::Duration;

use crate::base::error::Result;
use crate::base::gfp::Gfp;
use crate::base::limits::{MAX_RECLAIM_RETRIES, MEMCG_CHARGE_BATCH, PAGE_ALLOC_COSTLY_ORDER};
use crate::base::types::{CpuId, CssId};
use crate::folio::{Folio, FolioRef, LockedFolio};
use crate::machine::Swap;
use crate::memcg::{
    CounterKind, DeadOwnerAnswer, DeadSwapin, LimitKind, LimitNotice, MemCgroup, MemCgroups, MemcgEvent, OwnerStore,
};
use crate::reclaim::{ReclaimGroup, Reclaimer, ScanControl};
use crate::slots::owner::{Payer, SeenSlots};

thread_local! {
    /// Whether this thread is reclaiming. Limits do not refuse the charges of a reclaiming thread, because a refused
    /// charge would start a reclaim inside the reclaim.
    static IS_RECLAIMING: Cell<bool> = const { Cell::new(false) };
}

/// Whether reclaim because of a limit may swap pages out. Kernel: `MEMCG_RECLAIM_MAY_SWAP`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MaySwap {
    Yes,
    /// Reclaim must not swap out, because a swapped-out page stays charged to the counter that refused the charge.
    No,
}

impl MaySwap {
    /// Returns `Yes` if swap-out lowers the usage of a counter. On v1, swap-out does not lower the sum of memory and
    /// swap.
    pub(crate) fn over(which: CounterKind) -> Self {
        if which == CounterKind::Memory { Self::Yes } else { Self::No }
    }
}

impl Swap {
    /// Charges a new folio's memory to a group and binds the folio to the group. Errors: `OverLimit` (ENOMEM);
    /// `Cgroup` (ENODEV) when the group is removed. Locks: the caller holds at most the folio lock. Kernel:
    /// `mem_cgroup_charge`.
    pub(crate) fn mem_cgroup_charge(&self, folio: &FolioRef<'_>, css: CssId, gfp: Gfp, cpu: CpuId) -> Result<()> {
        let Some(groups) = self.memcg() else { return Ok(()) };
        let group = groups.get(css);
        // The reference keeps the group from being freed until the folio is bound to the group, because before that
        // the task may leave the group and the group may be removed.
        if !group.is_online() || !groups.css_tryget(group) {
            return Err(MemCgroups::removed(&groups.name(css)));
        }
        self.charge_and_bind(folio.folio(), groups, group, gfp, cpu)
    }

    /// Returns the payer (the group that is charged for the folio) when a task of the group `faulting` swaps slots
    /// in. The caller holds no lock. Kernel: the first lines of `mem_cgroup_swapin_charge_folio`.
    pub(crate) fn payer(&self, seen: SeenSlots, faulting: CssId, nr_pages: u32) -> Option<Payer<'_>> {
        let groups = self.memcg()?;
        let faulting = groups.nearest_online(groups.get(faulting));
        let Some(owner) = groups.lookup(seen.owner) else {
            return Some(Payer { group: faulting, keeps_owner: false });
        };
        if owner.is_online() {
            return Some(Payer { group: owner, keeps_owner: false });
        }
        let options = groups.options();
        // The owner of the slots is removed, so the hook or a rule chooses the payer (the group that is charged for
        // the folio). The answer of the hook overrides the rule in the owner's policy table, and the rule in the
        // policy table overrides the switch `dead_swapin`. A rule that the owner store (`OwnerStore`) cannot
        // implement is skipped.
        let can_keep = |rule: &DeadSwapin| options.check_dead_owner(*rule).is_ok();
        let answer = self.policies.get().and_then(|policy| policy.on_dead_owner(owner.css(), faulting.css(), nr_pages));
        let by_hook = match answer {
            Some(DeadOwnerAnswer::Group(css)) => {
                return Some(Payer { group: groups.nearest_online(groups.get(css)), keeps_owner: false });
            }
            Some(DeadOwnerAnswer::Rule(rule)) => Some(rule),
            None => None,
        };
        let rule = by_hook
            .filter(can_keep)
            .or_else(|| owner.with_policy(|policy| policy.dead_owner).filter(can_keep))
            .unwrap_or(options.dead_swapin);
        let pays_faulting = match rule {
            DeadSwapin::Reparent => false,
            DeadSwapin::FaultMm => true,
            DeadSwapin::ReparentIfShared => !seen.is_shared,
        };
        let group = if pays_faulting { faulting } else { groups.nearest_online(owner) };
        let keeps_owner = rule == DeadSwapin::FaultMm && options.owner_store != OwnerStore::Shadow;
        Some(Payer { group, keeps_owner })
    }

    /// Charges the memory of a folio that was just inserted into the cache, and moves the charge of the folio's slots
    /// (see `Operation::settle_swapin`). Step IN3 of `docs/steps.md`.
    ///
    /// Errors, with nothing charged: `OverLimit` (ENOMEM). Locks: the caller holds only the folio lock. Kernel:
    /// `mem_cgroup_swapin_charge_folio`.
    pub(crate) fn charge_swapin(
        &self,
        folio: &LockedFolio<'_>,
        seen: SeenSlots,
        payer: Payer<'_>,
        gfp: Gfp,
        cpu: CpuId,
    ) -> Result<()> {
        let groups = self.memcg().expect("a payer is a group");
        #[cfg(test)]
        if let Some(probe) = self.policies.swapin_probe.get() {
            probe.before_charge()?;
        }
        // If the group that `payer` names was removed after the choice, its nearest online ancestor is charged.
        let group = groups.get_nearest_online(payer.group);
        self.charge_and_bind(folio.folio(), groups, group, gfp, cpu)?;
        #[cfg(test)]
        if let Some(probe) = self.policies.swapin_probe.get() {
            probe.before_settlement();
        }
        self.on_cpu(cpu)?.operation().settle_swapin(folio, seen.owner, Payer { group, ..payer })
    }

    /// Charges the pages of a folio to a group and binds the folio to the group. After a success the folio owns the
    /// caller's reference to the group; after an error this function drops the reference. Errors: as
    /// [`Swap::try_charge`].
    fn charge_and_bind(
        &self,
        folio: Folio<'_>,
        groups: &MemCgroups,
        group: &MemCgroup,
        gfp: Gfp,
        cpu: CpuId,
    ) -> Result<()> {
        let charged = self.try_charge(group, folio.nr_pages().into(), gfp, cpu);
        match charged {
            Ok(()) => folio.bind(group),
            Err(_) => groups.css_put(group, 1),
        }
        charged
    }

    /// Charges pages of memory to a group, from this CPU's stock or from the counters. When a limit refuses the
    /// charge, pages are reclaimed.
    ///
    /// Errors: `OverLimit` (ENOMEM). Locks: the caller holds at most the lock of a folio that reclaim cannot find.
    /// Kernel: `try_charge_memcg`; differs: when reclaim frees too few pages, the charge fails and no task is killed.
    /// If the group whose limit refused has tasks, the charge counts the attempts of the task that the kernel would
    /// have killed.
    pub fn try_charge(&self, group: &MemCgroup, nr_pages: u64, gfp: Gfp, cpu: CpuId) -> Result<()> {
        let _active = self.begin_activity();
        let groups = self.memcg().expect("a group has a controller");
        if group.is_root() {
            return Ok(());
        }
        let has_stock = groups.options().has_stock;
        let mut batch = if has_stock { nr_pages.max(MEMCG_CHARGE_BATCH) } else { nr_pages };
        let (mut retries, mut is_drained, mut has_killed) = (MAX_RECLAIM_RETRIES, false, false);
        let mut may_swap = MaySwap::Yes;
        loop {
            if groups.consume_stock(group, nr_pages, cpu) {
                return Ok(());
            }
            let Err((level, which)) = try_charge_counters(groups, group, batch) else {
                if batch > nr_pages {
                    groups.refill_stock(group, batch - nr_pages, cpu);
                }
                self.check_high(group, nr_pages, cpu)?;
                return Ok(());
            };
            if which == CounterKind::Swap && groups.do_memsw_account() {
                // From here on the charge reclaims without swap, also if the counter of memory refuses later and only
                // the batch was too large for the counter of memory and swap.
                may_swap = MaySwap::over(which);
            }
            if batch > nr_pages {
                batch = nr_pages;
                continue;
            }
            if IS_RECLAIMING.get() {
                force_charge(groups, group, nr_pages);
                return Ok(());
            }
            let refused = || Err(self.over_limit(level, which, nr_pages));
            if !gfp.contains(Gfp::DIRECT_RECLAIM) {
                return refused();
            }
            groups.raise(level, MemcgEvent::Max);
            self.policies.note(LimitNotice { group: level.css(), limit: limit_kind(which, groups), nr_pages });
            let got_pages = self.reclaim_for(level, nr_pages, may_swap, cpu)?;
            if self.mem_cgroup_margin(groups, level) >= nr_pages as i64 {
                continue;
            }
            if !is_drained {
                groups.drain_stocks_below(level);
                is_drained = true;
                continue;
            }
            if gfp.contains(Gfp::NORETRY) {
                return refused();
            }
            if got_pages > 0 && nr_pages <= 1 << PAGE_ALLOC_COSTLY_ORDER {
                continue;
            }
            if retries > 0 {
                retries -= 1;
                continue;
            }
            if nr_pages <= 1 << PAGE_ALLOC_COSTLY_ORDER && !has_killed {
                groups.raise_oom(level, group);
                if groups.has_oom_victim(level) {
                    // The killed task tries as often again before its charge fails.
                    (has_killed, retries) = (true, MAX_RECLAIM_RETRIES);
                    continue;
                }
            }
            return refused();
        }
    }

    /// Returns the number of pages that can be charged before the group `level` reaches a limit of its own. Kernel:
    /// `mem_cgroup_margin`.
    fn mem_cgroup_margin(&self, groups: &MemCgroups, level: &MemCgroup) -> i64 {
        let memory = level.memory.margin_pages();
        if groups.do_memsw_account() { memory.min(level.swap.margin_pages()) } else { memory }
    }

    /// Reclaims pages because of a limit of the group `level`. Returns the number of freed pages.
    pub(crate) fn reclaim_for(&self, level: &MemCgroup, nr_pages: u64, may_swap: MaySwap, cpu: CpuId) -> Result<u64> {
        self.try_to_free_mem_cgroup_pages(level, nr_pages, may_swap, Reclaimer::Direct, cpu)
    }

    /// Reclaims pages of a group and its descendants. Returns the number of freed pages. Errors: `BadCpu` (EINVAL).
    /// The caller holds no lock. Kernel: `try_to_free_mem_cgroup_pages`.
    pub(crate) fn try_to_free_mem_cgroup_pages(
        &self,
        level: &MemCgroup,
        nr_pages: u64,
        may_swap: MaySwap,
        reclaimer: Reclaimer,
        cpu: CpuId,
    ) -> Result<u64> {
        let on_low = |group: &ReclaimGroup| self.raise_low(group);
        let sc = ScanControl {
            target_lruvec: Some(level.lruvec().clone()),
            may_swap: may_swap == MaySwap::Yes,
            reclaimer,
            nr_to_reclaim_pages: nr_pages,
            cpu,
            on_low: Some(&on_low),
        };
        let was_reclaiming = IS_RECLAIMING.replace(true);
        let result = self.try_to_free_pages(&|| self.reclaim_groups(level.css()), &sc);
        IS_RECLAIMING.set(was_reclaiming);
        result
    }

    /// Raises the event `low` of a group from which reclaim takes pages although `memory.low` protects the group. The
    /// event is the same in reclaim because of a limit and in reclaim because memory ran out. Kernel:
    /// `shrink_node_memcgs`.
    pub(crate) fn raise_low(&self, group: &ReclaimGroup) {
        if let Some(groups) = self.memcg() {
            groups.raise(groups.get(group.css), MemcgEvent::Low);
        }
    }

    /// Reclaims pages and delays the task when a charge raised the usage of a group above the group's `memory.high`.
    /// Kernel: `mem_cgroup_handle_over_high`.
    fn check_high(&self, group: &MemCgroup, nr_pages: u64, cpu: CpuId) -> Result<()> {
        let groups = self.memcg().expect("a group has a controller");
        if !groups.has_high() || groups.do_memsw_account() || IS_RECLAIMING.get() {
            return Ok(());
        }
        let (mut memory_delay, mut swap_delay) = (Duration::ZERO, Duration::ZERO);
        for level in groups.charged_levels(group) {
            if level.memory.usage_pages() > level.memory.high_pages() {
                groups.raise(level, MemcgEvent::High);
                self.reclaim_for(level, nr_pages, MaySwap::Yes, cpu)?;
                let (usage, high) = (level.memory.usage_pages(), level.memory.high_pages());
                memory_delay = memory_delay.max(high_delay(usage, high, nr_pages));
            }
            let (usage, high) = (level.swap.usage_pages(), level.swap.high_pages());
            if usage > high {
                groups.raise(level, MemcgEvent::SwapHigh);
                swap_delay = swap_delay.max(high_delay(usage, high, nr_pages));
            }
        }
        let delay = (memory_delay + swap_delay).min(HIGH_DELAY_MAX);
        if delay > HIGH_DELAY_IGNORED {
            group.throttle(delay);
        }
        Ok(())
    }
}

/// The longest delay of a task for one charge above a high limit. Kernel: `MEMCG_MAX_HIGH_DELAY_JIFFIES`.
const HIGH_DELAY_MAX: Duration = Duration::from_secs(2);
/// A delay up to this value is not applied.
const HIGH_DELAY_IGNORED: Duration = Duration::from_millis(10);
/// Number of clock ticks per second. `high_delay` computes delays in ticks, as the kernel does. Kernel: `HZ`.
const HZ: u64 = 1000;

/// Returns the delay of a task that charged `nr_pages` to a group whose usage is above its high limit. Kernel:
/// `calculate_high_delay`.
fn high_delay(usage_pages: u64, high_pages: u64, nr_pages: u64) -> Duration {
    let overage = u128::from(usage_pages.saturating_sub(high_pages) << 20) / u128::from(high_pages.max(1));
    let ticks = (overage * overage * u128::from(HZ)) >> 34;
    let ticks = ticks * u128::from(nr_pages) / u128::from(MEMCG_CHARGE_BATCH);
    Duration::from_millis(u64::try_from(ticks).unwrap_or(u64::MAX).min(1 << 32) * 1000 / HZ)
}

/// Charges memory to the counters. On v1 the counter of memory and swap together (memsw) is charged before the
/// counter of memory. The error names the group and the counter that refused the charge.
fn try_charge_counters<'g>(
    groups: &'g MemCgroups,
    group: &'g MemCgroup,
    nr_pages: u64,
) -> std::result::Result<(), (&'g MemCgroup, CounterKind)> {
    let is_v1 = groups.do_memsw_account();
    if is_v1 {
        groups.try_charge(group, CounterKind::Swap, nr_pages).map_err(|level| (level, CounterKind::Swap))?;
    }
    groups.try_charge(group, CounterKind::Memory, nr_pages).map_err(|level| {
        if is_v1 {
            groups.uncharge(group, CounterKind::Swap, nr_pages);
        }
        (level, CounterKind::Memory)
    })
}

/// Charges memory to the counters even if a limit is exceeded.
fn force_charge(groups: &MemCgroups, group: &MemCgroup, nr_pages: u64) {
    groups.charge(group, CounterKind::Memory, nr_pages);
    if groups.do_memsw_account() {
        groups.charge(group, CounterKind::Swap, nr_pages);
    }
}

/// Returns the kind of limit that applies to a counter.
fn limit_kind(which: CounterKind, groups: &MemCgroups) -> LimitKind {
    match (which, groups.do_memsw_account()) {
        (CounterKind::Memory, _) => LimitKind::Memory,
        (CounterKind::Swap, false) => LimitKind::Swap,
        (CounterKind::Swap, true) => LimitKind::Memsw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_those_of_the_kernel() {
        let mib = |mib: u64| mib << 8;
        let ms = |usage: u64| high_delay(mib(usage), mib(100), 64).min(HIGH_DELAY_MAX).as_millis();
        assert_eq!([101, 102, 110, 120].map(ms), [6, 25, 639, 2000]);
        assert_eq!(high_delay(5, 0, 64).min(HIGH_DELAY_MAX), HIGH_DELAY_MAX, "the limit is 0");
    }
}
