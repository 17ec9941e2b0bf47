//! Policies of groups: tables that the core reads, and hooks that the core calls. A notice for a hook is queued until
//! the thread holds no lock.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{DeadSwapin, MemCgroup, MemCgroups};
use crate::base::sync::SpinMutex;
use crate::base::types::{CssId, Order, SwpType};
use crate::base::words::words;

words! {
    /// A group's rule for refaults, which overrides the working-set rule.
    pub enum RefaultRule: "refault" {
        /// Every refaulted page becomes active.
        Activate = "activate",
        /// No refaulted page becomes active.
        Never = "never",
    }
}

/// The policy table of one group. A new group starts with a copy of its parent's table, without the device list. A
/// group without a device list of its own uses the present list of its parent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPolicy {
    /// Folios of the group may be swapped out.
    pub may_swap: bool,
    /// The rule that selects the group that is charged at the swap-in of this group's slots after this group is
    /// removed. `None` selects the switch `dead_swapin` of the subsystem.
    pub dead_owner: Option<DeadSwapin>,
    /// Types of the devices that may hold data of the group, in order of preference, as far as the groups above allow
    /// these devices. `None` allows the devices of the parent, and for root all devices, in order of priority. If a
    /// virtual device is in the list, only the real devices of the list may back its slots; without a real device in
    /// the list, the data stays in zswap.
    pub devices: Option<Vec<SwpType>>,
    /// The rule for refaults of the group's pages. `None` selects the working-set rule of the subsystem.
    pub refault: Option<RefaultRule>,
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self { may_swap: true, dead_owner: None, devices: None, refault: None }
    }
}

impl MemCgroups {
    /// Replaces the policy table of a group. Locks: the lock of the policy table.
    pub(crate) fn replace_policy(&self, group: &MemCgroup, policy: GroupPolicy) {
        if policy.devices.is_some() {
            // Relaxed: a swap-out that reads the old value acts as if it had run before this call.
            self.has_device_lists.store(true, Ordering::Relaxed);
        }
        *group.policy.lock() = policy;
    }

    /// Returns the types of the devices that folios of a group may be swapped out to: the list of the group, or else
    /// of its nearest ancestor with a list, without the devices that are missing in the list of any higher ancestor.
    /// `None` allows all devices. Locks: the lock of the policy table of each group on the path to root, in turn.
    pub(crate) fn device_list(&self, group: &MemCgroup) -> Option<Vec<SwpType>> {
        // Relaxed: see `replace_policy`. Without the flag, each swap-out would lock the table of each group above.
        if !self.has_device_lists.load(Ordering::Relaxed) {
            return None;
        }
        let mut allowed: Option<Vec<SwpType>> = None;
        for level in self.levels(group) {
            level.with_policy(|policy| match (&mut allowed, &policy.devices) {
                (_, None) => {}
                (Some(allowed), Some(devices)) => allowed.retain(|ty| devices.contains(ty)),
                (None, Some(devices)) => allowed = Some(devices.clone()),
            });
        }
        allowed
    }
}

words! {
    /// The limit that refused a charge.
    pub enum LimitKind: "limit" {
        /// `memory.max`, v1 `memory.limit_in_bytes`.
        Memory = "memory",
        /// `memory.swap.max`.
        Swap = "swap",
        /// v1 `memory.memsw.limit_in_bytes`.
        Memsw = "memsw",
    }
}

/// The answer of the hook for a removed owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadOwnerAnswer {
    /// A rule chooses the group that is charged.
    Rule(DeadSwapin),
    /// This group is charged, and the slots belong to this group. If the group was removed meanwhile, its nearest
    /// online ancestor takes its place.
    Group(CssId),
}

/// The description of a refault that the hook receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefaultNotice {
    /// Number of pages of the folio.
    pub nr_pages: u32,
    /// Number of evictions and activations since the page's eviction, counted on the LRU lists of the group that
    /// [`super::RefaultJudge`] selects.
    pub distance_pages: u64,
    /// The working-set rule would activate the folio.
    pub is_activated: bool,
}

/// Hooks that decide for the core. The core holds no lock during a call, so a hook may call functions of the core.
/// The result `None` leaves the decision to the policy table of the group and to the switches.
///
/// Kernel: none.
pub trait MemcgPolicy: Send + Sync + Debug {
    /// Decides whether `nr_pages` of a group may be swapped out. Called before slots are allocated, if the policy
    /// table of the group allows the swap-out. `Some(false)` has the effect of a refusal by `memory.swap.max`.
    fn on_swap_charge(&self, _group: CssId, _nr_pages: u32) -> Option<bool> {
        None
    }

    /// Chooses the group that is charged, or the rule for it, when a task of the group `faulting` swaps in `nr_pages`
    /// of the removed group `owner`. Called before memory is allocated.
    fn on_dead_owner(&self, _owner: CssId, _faulting: CssId, _nr_pages: u32) -> Option<DeadOwnerAnswer> {
        None
    }

    /// Reports that a limit of a group refused a charge of `nr_pages`. Called after the operation.
    fn on_limit(&self, _group: CssId, _limit: LimitKind, _nr_pages: u64) {}

    /// Decides whether a refaulted folio becomes active. Called after the folio was read.
    fn on_refault(&self, _group: CssId, _notice: RefaultNotice) -> Option<bool> {
        None
    }

    /// Chooses the device for the slots of a folio among `devices`, which are in the order of allocation, virtual
    /// devices first. `None` keeps the order. This hook is not called for the real device behind a virtual slot,
    /// because that device is chosen under the folio lock and hooks run with no lock held. The device list of the
    /// policy table selects that device.
    fn choose_device(&self, _group: CssId, _order: Order, _devices: &[SwpType]) -> Option<SwpType> {
        None
    }
}

/// A notice that a limit refused a charge, queued for the hooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitNotice {
    pub(crate) group: CssId,
    pub(crate) limit: LimitKind,
    pub(crate) nr_pages: u64,
}

/// The registered hooks and the queue of notices for the hooks.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Hooks are registered. The flag is read before `policy`, because most subsystems have no hooks.
    is_set: AtomicBool,
    policy: RwLock<Option<Arc<dyn MemcgPolicy>>>,
    notices: SpinMutex<Vec<LimitNotice>>,
    /// Functions of the tests in `races` that run between the steps of a swap-in.
    #[cfg(test)]
    pub(crate) swapin_probe: std::sync::OnceLock<Arc<dyn SwapinProbe>>,
}

/// Steps that a test inserts into a swap-in. The thread holds no lock except the folio lock.
#[cfg(test)]
pub(crate) trait SwapinProbe: Send + Sync + std::fmt::Debug {
    /// Runs between the insertion of the folio into the swap cache and the charge of the folio's memory. An error of
    /// the step replaces the result of the charge.
    fn before_charge(&self) -> crate::base::error::Result<()>;

    /// Runs between the charge of the folio's memory and the step that moves the charge of the folio's slots.
    fn before_settlement(&self);
}

impl Policies {
    /// Replaces the hooks and discards the queued notices.
    pub(crate) fn set(&self, policy: Option<Arc<dyn MemcgPolicy>>) {
        let mut place = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: a thread that reads the old value acts as if the thread had run before this call.
        self.is_set.store(policy.is_some(), Ordering::Relaxed);
        let old = std::mem::replace(&mut *place, policy);
        drop(place);
        // The old hooks are dropped after the lock is released, because their destructor may call back into this
        // type. Notices that are still queued for the old hooks are discarded.
        drop(old);
        self.take_notices();
    }

    /// Returns whether hooks are registered.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Relaxed: see `set`.
        self.is_set.load(Ordering::Relaxed)
    }

    /// Returns the hooks, or `None` when no hooks are registered.
    pub(crate) fn get(&self) -> Option<Arc<dyn MemcgPolicy>> {
        if !self.is_set() {
            return None;
        }
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues a notice, if hooks are registered.
    pub(crate) fn note(&self, notice: LimitNotice) {
        if self.is_set() {
            self.notices.lock().push(notice);
        }
    }

    /// Removes the queued notices and returns the notices.
    pub(crate) fn take_notices(&self) -> Vec<LimitNotice> {
        std::mem::take(&mut *self.notices.lock())
    }
}
