//! Policies of groups: tables that the core looks up, and hooks that the core calls.

use std::fmt::Debug;

use super::DeadSwapin;
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
