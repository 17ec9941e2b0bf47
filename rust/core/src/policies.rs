//! When the hooks of people are asked and told: always with no lock held.

use std::sync::Arc;

use crate::error::Result;
use crate::folio::{FolioFlags, FolioRef};
use crate::memcg::{MemcgEvent, MemcgPolicy, RefaultNotice, Which};
use crate::swap::Swap;
use crate::types::SwpType;

impl Swap {
    /// Hangs hooks in, in the place of those there are; `None` takes them away. Operations under way may still call those.
    pub fn set_policy(&self, policy: Option<Arc<dyn MemcgPolicy>>) {
        self.policies.set(policy);
    }

    /// Asks whether a folio may be swapped out, and to which devices; no limit on them is `None`. Errors: `OverLimit`
    /// (ENOMEM) it may not, as if its group's `memory.swap.max` refused.
    pub(crate) fn ask_swap(&self, folio: &FolioRef<'_>) -> Result<Option<Vec<SwpType>>> {
        let Some(group) = self.group_of(folio.folio()) else { return Ok(None) };
        let hook = self.policies.get();
        let table = group.policy();
        let allows = hook.as_ref().and_then(|hook| hook.on_swap_charge(group.css(), folio.nr_pages()));
        if !allows.unwrap_or(table.may_swap) {
            let groups = self.memcg().expect("the folio has a group");
            groups.raise(group, MemcgEvent::SwapMax);
            groups.raise(group, MemcgEvent::SwapFail);
            return Err(self.over_limit(group, Which::Swap, folio.nr_pages().into()));
        }
        let chosen = hook.and_then(|hook| {
            let types: Vec<_> = self.avail.lock().list.iter().collect();
            hook.choose_device(group.css(), folio.order(), &types)
        });
        Ok(chosen.map(|ty| vec![ty]).or(table.devices))
    }

    /// Tells the hooks of limits that refused charges. Whoever drives the subsystem calls it at the end of an operation, with
    /// no lock held.
    #[inline]
    pub fn tell_limits(&self) {
        if let Some(policy) = self.policies.get() {
            for notice in self.policies.take_notices() {
                policy.on_limit(notice.group, notice.limit, notice.nr_pages);
            }
        }
    }

    /// Asks whether a folio that came back and was read shall be active.
    pub(crate) fn ask_refault(&self, folio: &FolioRef<'_>, notice: RefaultNotice) {
        let (Some(group), Some(policy)) = (self.group_of(folio.folio()), self.policies.get()) else { return };
        let Some(is_active) = policy.on_refault(group.css(), notice) else { return };
        if is_active != folio.has(FolioFlags::ACTIVE) {
            let locked = folio.folio().lock();
            // The flag names the list: off the one, on the other.
            locked.lru_del();
            locked.assign(FolioFlags::ACTIVE, is_active);
            locked.lru_add();
        }
    }
}
