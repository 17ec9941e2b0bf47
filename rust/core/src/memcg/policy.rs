//! Policies of groups: tables that the core looks up, and hooks that the core calls. Notices for hooks wait until no
//! lock is held.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::DeadSwapin;
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

/// The policy table of one group. A group made below it starts with a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPolicy {
    /// Folios of the group may be swapped out.
    pub may_swap: bool,
    /// The payer for the group's slots after its removal. `None` selects the subsystem's rule.
    pub dead_owner: Option<DeadSwapin>,
    /// Devices that folios of the group may be swapped out to, the best first. `None` allows all devices, by
    /// priority.
    pub devices: Option<Vec<SwpType>>,
    /// The meaning of a refault. `None` selects the working-set rule.
    pub refault: Option<RefaultRule>,
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self { may_swap: true, dead_owner: None, devices: None, refault: None }
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

/// A refault, as the hook receives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefaultNotice {
    /// Pages of the folio.
    pub nr_pages: u32,
    /// Number of evictions and activations since the page's eviction, at the group that judges.
    pub distance_pages: u64,
    /// The working-set rule activates the folio.
    pub is_activated: bool,
}

/// Decisions that the core asks for while it works. The core holds no lock during a call, so a hook may call back.
/// `None` leaves the decision to the policy table and the rules.
///
/// Kernel: none.
pub trait MemcgPolicy: Send + Sync + Debug {
    /// Decides whether `nr_pages` of a group may be swapped out. Called before slots are allocated, when the group's
    /// table allows the swap-out. `Some(false)` acts as a refusal by `memory.swap.max`.
    fn on_swap_charge(&self, _group: CssId, _nr_pages: u32) -> Option<bool> {
        None
    }

    /// Chooses the payer for `nr_pages` of a removed group that a task of `faulting` swaps in. Called before memory
    /// is allocated.
    fn on_dead_owner(&self, _owner: CssId, _faulting: CssId, _nr_pages: u32) -> Option<DeadSwapin> {
        None
    }

    /// Reports that a limit of a group refused `nr_pages`. Called after the operation.
    fn on_limit(&self, _group: CssId, _limit: LimitKind, _nr_pages: u64) {}

    /// Decides whether a refaulted folio becomes active. Called after the folio was read.
    fn on_refault(&self, _group: CssId, _notice: RefaultNotice) -> Option<bool> {
        None
    }

    /// Chooses the device for a folio among `devices`, which are in the order of allocation. `None` keeps that order.
    fn choose_device(&self, _group: CssId, _order: Order, _devices: &[SwpType]) -> Option<SwpType> {
        None
    }
}

/// A limit that refused a charge, queued for the hooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitNotice {
    pub(crate) group: CssId,
    pub(crate) limit: LimitKind,
    pub(crate) nr_pages: u64,
}

/// The registered hooks and their queue.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// Read before anything else, because most subsystems have no hooks.
    is_set: AtomicBool,
    policy: RwLock<Option<Arc<dyn MemcgPolicy>>>,
    notices: SpinMutex<Vec<LimitNotice>>,
    /// Where `races` enters a swap-in between the insertion into the swap cache and the charge.
    #[cfg(test)]
    pub(crate) swapin_probe: std::sync::OnceLock<Arc<dyn SwapinProbe>>,
}

/// A step of the tests inside a swap-in. An error of the step takes the place of the charge's answer.
#[cfg(test)]
pub(crate) trait SwapinProbe: Send + Sync + std::fmt::Debug {
    /// Runs once a charge of a swap-in, before the charge. No lock is held but the folio's.
    fn before_charge(&self) -> crate::base::error::Result<()>;
}

impl Policies {
    /// Replaces the hooks.
    pub(crate) fn set(&self, policy: Option<Arc<dyn MemcgPolicy>>) {
        let mut place = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: a thread that reads the old value acts as if it had run a moment earlier.
        self.is_set.store(policy.is_some(), Ordering::Relaxed);
        let old = std::mem::replace(&mut *place, policy);
        drop(place);
        // The old hooks are dropped after the lock is released, because their destructor may call back into this
        // type. Notices still queued for them are discarded.
        drop(old);
        self.take_notices();
    }

    /// Returns whether hooks are registered.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Relaxed: see `set`.
        self.is_set.load(Ordering::Relaxed)
    }

    /// Returns the hooks.
    pub(crate) fn get(&self) -> Option<Arc<dyn MemcgPolicy>> {
        if !self.is_set() {
            return None;
        }
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Queues a notice.
    pub(crate) fn note(&self, notice: LimitNotice) {
        if self.is_set() {
            self.notices.lock().push(notice);
        }
    }

    /// Takes the queued notices.
    pub(crate) fn take_notices(&self) -> Vec<LimitNotice> {
        std::mem::take(&mut *self.notices.lock())
    }
}
