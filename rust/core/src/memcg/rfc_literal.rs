//! The switch `rfc_literal`. With the switch on, the core has the defects of the swap table series, phase IV, as
//! posted; else the defects are repaired.
//!
//! Each function returns whether one defect is in force. The comment of the function starts with the label of the
//! defect in `docs/memcg.md`, K1 to K7. The caller branches on the result. The field `is_rfc_literal` is private to
//! this folder, so that no other code reads the switch. The defect K8 (a swap-in retries without limit while the
//! shadow changes) has no function, because the core retries without limit with the switch on and off. `check()`
//! makes no exception for the switch, and fails where a defect breaks an invariant.

use super::options::{DeadSwapin, IdOnlyRefault, MemcgOptions, MemcgSwitches, OwnerStore};
use crate::base::error::{Result, SwapError};

impl MemcgOptions {
    /// K1: returns whether the swap cache keeps its references to a folio whose charge failed, so that the folio
    /// leaks.
    #[inline]
    pub(crate) const fn leaks_refs_of_failed_charge(&self) -> bool {
        self.is_rfc_literal
    }

    /// K2: returns whether a swap-in of slots without an owner drops pins of a private id although there is no group.
    /// The kernel would dereference a null pointer. The core only counts the event.
    #[inline]
    pub(crate) const fn puts_pins_of_no_group(&self) -> bool {
        self.is_rfc_literal
    }

    /// K3, v1 only: returns whether a folio that leaves the cache without reclaim records an owner for all of its
    /// slots and charges no slot. Without the defect, the owner is charged for the slots that stay in use.
    #[inline]
    pub(crate) const fn records_uncharged_owner(&self) -> bool {
        self.is_rfc_literal
    }

    /// K4: returns whether a swap-in adds to `swapcached` before the folio has a group, so that no group counts the
    /// pages.
    #[inline]
    pub(crate) const fn counts_swapcached_without_group(&self) -> bool {
        self.is_rfc_literal
    }

    /// K5: returns whether the statistic `MEMCG_SWAP` stays with the removed owner of a cached folio's slots when the
    /// charge of the slots moves to another group.
    #[inline]
    pub(crate) const fn leaves_swap_stat_behind(&self) -> bool {
        self.is_rfc_literal
    }

    /// K7: returns whether a large swap-in outside of a fault ignores the allocation flags of its caller.
    #[inline]
    pub(crate) const fn ignores_gfp_outside_fault(&self) -> bool {
        self.is_rfc_literal
    }

    /// Checks that, if the switch is on, the other options are those of the posted series. Errors: `Conflict`
    /// (EINVAL).
    pub(super) fn check_rfc_literal(&self) -> Result<()> {
        if self.is_rfc_literal && self.owner_store != OwnerStore::Shadow {
            return Err(SwapError::Conflict("rfc_literal=on needs owner_store=shadow: that is what was posted"));
        }
        if self.is_rfc_literal && self.dead_swapin != DeadSwapin::Reparent {
            return Err(SwapError::Conflict("rfc_literal=on needs dead_swapin=reparent: that is what was posted"));
        }
        Ok(())
    }
}

impl MemcgSwitches {
    /// K6: returns the treatment of a shadow that has an owner id but no time of eviction. In the posted series a
    /// refault of such a shadow counts, so with the defect the switch `idonly_refault` has no effect.
    pub(super) const fn idonly_refault_in_force(&self) -> IdOnlyRefault {
        if self.rfc_literal { IdOnlyRefault::Count } else { self.idonly_refault }
    }
}
