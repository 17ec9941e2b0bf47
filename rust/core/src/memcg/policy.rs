//! What people may decide for a group: as a table that is looked up, or as hooks that are called.

use std::fmt::Debug;

use super::DeadSwapin;
use crate::base::types::{CssId, Order, SwpType};
use crate::base::words::words;

words! {
    /// What a group does with refaults, whatever the rule says.
    pub enum RefaultRule: "refault" {
        /// Every page that comes back is active.
        Activate = "activate",
        /// No page is made active by coming back.
        Never = "never",
    }
}

/// The decisions of one group in table form; groups made below it begin with the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPolicy {
    /// Folios of the group may be swapped out.
    pub may_swap: bool,
    /// Who pays for its slots once it is dead; `None` is the subsystem's rule.
    pub dead_owner: Option<DeadSwapin>,
    /// Devices its folios may go to, the best first; `None` is all, by priority.
    pub devices: Option<Vec<SwpType>>,
    /// What a refault means; `None` is the working-set rule.
    pub refault: Option<RefaultRule>,
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self { may_swap: true, dead_owner: None, devices: None, refault: None }
    }
}

words! {
    /// Which limit refused a charge.
    pub enum LimitKind: "limit" {
        /// `memory.max`, v1 `memory.limit_in_bytes`.
        Memory = "memory",
        /// `memory.swap.max`.
        Swap = "swap",
        /// v1 `memory.memsw.limit_in_bytes`.
        Memsw = "memsw",
    }
}

/// A folio that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefaultNotice {
    /// Pages of the folio.
    pub nr_pages: u32,
    /// Evictions and activations since it went, at the level that judges.
    pub distance_pages: u64,
    /// The rule found it part of the working set.
    pub is_activated: bool,
}

/// Decisions that are asked for while the subsystem works. Every call is made with no lock of the core held, so that a
/// hook may call back; `None` leaves a decision to the table and the rules.
///
/// Kernel: none.
pub trait MemcgPolicy: Send + Sync + Debug {
    /// May `nr_pages` of a group be swapped out, whose table allows it? `Some(false)` is as if `memory.swap.max` refused.
    /// Before slots are looked for.
    fn on_swap_charge(&self, _group: CssId, _nr_pages: u32) -> Option<bool> {
        None
    }

    /// Who pays for `nr_pages` of a dead group that `faulting` brings in? Before memory is looked for.
    fn on_dead_owner(&self, _owner: CssId, _faulting: CssId, _nr_pages: u32) -> Option<DeadSwapin> {
        None
    }

    /// Says that a limit of a group refused `nr_pages`. After the operation.
    fn on_limit(&self, _group: CssId, _limit: LimitKind, _nr_pages: u64) {}

    /// Shall a folio that came back be active? After it was read.
    fn on_refault(&self, _group: CssId, _notice: RefaultNotice) -> Option<bool> {
        None
    }

    /// Which of the devices, in the order they are tried, shall a folio go to? `None` is that order.
    fn choose_device(&self, _group: CssId, _order: Order, _devices: &[SwpType]) -> Option<SwpType> {
        None
    }
}
