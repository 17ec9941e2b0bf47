//! Calls of policy hooks. No lock is held during a call.

use std::sync::Arc;

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, SwpType};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::Swap;
use crate::memcg::{MemcgEvent, MemcgPolicy, RefaultNotice};

/// The decision of policy tables and hooks about one folio's swap-out.
#[derive(Debug, Default)]
pub(crate) struct SwapOutDecision {
    is_refused: bool,
    /// Devices that the folio may go to, the best first; `None` allows all.
    devices: Option<Vec<SwpType>>,
}

/// Moves a locked folio to the active list of its group, or to the inactive list. Kernel: `folio_activate`,
/// `folio_deactivate`.
pub(crate) fn set_active(locked: &LockedFolio<'_>, is_active: bool) {
    // The folio leaves its list before the flag changes, because the flag selects the list.
    let was_listed = locked.lru_del();
    locked.assign(FolioFlags::ACTIVE, is_active);
    if was_listed {
        locked.lru_add();
    }
}

impl Swap {
    /// Registers hooks in place of the present ones; `None` removes them. Operations under way may still call the old
    /// hooks.
    pub fn set_policy(&self, policy: Option<Arc<dyn MemcgPolicy>>) {
        self.policies.set(policy);
    }

    /// Returns whether a folio may be swapped out, and to which devices. A folio that already has slots is allowed
    /// without a call of the hooks.
    pub(crate) fn ask_swap_policy(&self, folio: &FolioRef<'_>) -> SwapOutDecision {
        let group = if folio.entry().is_some() { None } else { self.group_of(folio.folio()) };
        let Some(group) = group else { return SwapOutDecision::default() };
        let (may_swap, devices) = group.with_policy(|policy| (policy.may_swap, policy.devices.clone()));
        let Some(hook) = self.policies.get().filter(|_| may_swap) else {
            return SwapOutDecision { is_refused: !may_swap, devices };
        };
        if hook.on_swap_charge(group.css(), folio.nr_pages()) == Some(false) {
            return SwapOutDecision { is_refused: true, devices: None };
        }
        let types: Vec<_> = self.avail.lock().list.iter().collect();
        let chosen = hook.choose_device(group.css(), folio.order(), &types);
        SwapOutDecision { is_refused: false, devices: chosen.map(|ty| vec![ty]).or(devices) }
    }

    /// Gives a locked folio slots as a policy decided. Errors: as [`Swap::add_to_swap`]; `PolicyRefused` (ENOMEM),
    /// which on v2 raises the events of a refusal by `memory.swap.max`.
    pub(crate) fn add_to_swap_as(&self, locked: &LockedFolio<'_>, wish: &SwapOutDecision, cpu: CpuId) -> Result<()> {
        if wish.is_refused
            && let (Some(groups), Some(group)) = (self.memcg(), self.group_of(locked.folio()))
        {
            if !groups.do_memsw_account() {
                groups.raise(group, MemcgEvent::SwapMax);
                groups.raise(group, MemcgEvent::SwapFail);
            }
            let nr_pages = locked.nr_pages().into();
            return Err(SwapError::PolicyRefused { group: groups.path(group.css()), nr_pages });
        }
        self.add_to_swap(locked, wish.devices.as_deref(), cpu)
    }

    /// Lets the hook decide whether a refaulted folio is active. The folio was read already.
    pub(crate) fn ask_refault_policy(&self, folio: &FolioRef<'_>, notice: RefaultNotice) {
        let (Some(group), Some(policy)) = (self.group_of(folio.folio()), self.policies.get()) else { return };
        let Some(is_active) = policy.on_refault(group.css(), notice) else { return };
        if is_active != folio.is_active() {
            set_active(&folio.folio().lock(), is_active);
        }
    }
}
