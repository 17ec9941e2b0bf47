//! The switch `rfc_literal`: the defects of the posted series, which the core repairs otherwise.
//!
//! Each function returns whether one defect is in force, under the label K1 to K7 that `docs/memcg.md` gives the
//! defect. The caller branches on the result. The field is private to this folder, so that no other code reads the
//! switch. K8 has no function, because both states of the switch retry alike. `check()` makes no exception for the
//! switch, and fails where a defect breaks an invariant.

use super::options::{DeadSwapin, IdOnlyRefault, MemcgOptions, MemcgSwitches, OwnerStore};
use crate::base::error::{Result, SwapError};

impl MemcgOptions {
    /// K1: returns whether the swap cache keeps its references to a folio whose charge failed, so that the folio
    /// leaks.
    #[inline]
    pub(crate) const fn leaks_refs_of_failed_charge(&self) -> bool {
        self.is_rfc_literal
    }

    /// K2: returns whether a swap-in of slots without an owner puts the pins of no group. The kernel would
    /// dereference null there. The core counts the event.
    #[inline]
    pub(crate) const fn puts_pins_of_no_group(&self) -> bool {
        self.is_rfc_literal
    }

    /// K3, v1 only: returns whether a folio that leaves the cache without reclaim records an owner for all of its
    /// slots and charges none. Without the switch, the slots that live on are charged.
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

    /// K5: returns whether `MEMCG_SWAP` stays at the dead owner of a cached folio when the charge of its slots moves.
    #[inline]
    pub(crate) const fn leaves_swap_stat_behind(&self) -> bool {
        self.is_rfc_literal
    }

    /// K7: returns whether a large swap-in outside of a fault ignores the allocation flags of its caller.
    #[inline]
    pub(crate) const fn ignores_gfp_outside_fault(&self) -> bool {
        self.is_rfc_literal
    }

    /// Checks that the other options are those of the posted series, if the switch is on. Errors: `Conflict`
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
    /// K6: returns the meaning of an id without a time of eviction. In the posted series the id counts as a refault,
    /// so the switch `idonly_refault` has no effect.
    pub(super) const fn idonly_refault_in_force(&self) -> IdOnlyRefault {
        if self.rfc_literal { IdOnlyRefault::Count } else { self.idonly_refault }
    }
}
