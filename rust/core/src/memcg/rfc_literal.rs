//! The switch `rfc_literal`: what the series does as it was posted, and the core does not.
//!
//! Each function answers for one defect of the posted series, under the label K1 to K7 that `docs/memcg.md` gives the defect. The
//! caller branches on the answer. Outside of this folder no code reads the switch, because the field is private to the folder.
//! K8 has no function, because both states of the switch retry alike. `check()` makes no exception for the switch: `check()` fails
//! where a defect breaks an invariant.

use super::options::{DeadSwapin, IdOnlyRefault, MemcgOptions, MemcgSwitches, OwnerStore};

impl MemcgOptions {
    /// K1: says whether the swap cache keeps its references to a folio whose charge failed. The folio leaks then.
    #[inline]
    pub(crate) const fn leaks_refs_of_failed_charge(&self) -> bool {
        self.is_rfc_literal
    }

    /// K2: says whether a swap-in of slots without an owner puts the pins of no group. The kernel would dereference null; the core
    /// counts the event.
    #[inline]
    pub(crate) const fn puts_pins_of_no_group(&self) -> bool {
        self.is_rfc_literal
    }

    /// K3, v1 only: says whether a folio that leaves the cache without reclaim records an owner for all of its slots and charges
    /// none. Repaired: the slots that live on are charged.
    #[inline]
    pub(crate) const fn records_uncharged_owner(&self) -> bool {
        self.is_rfc_literal
    }

    /// K4: says whether a swap-in adds to `swapcached` before the folio has a group, which adds to no group.
    #[inline]
    pub(crate) const fn counts_swapcached_without_group(&self) -> bool {
        self.is_rfc_literal
    }

    /// K5: says whether `MEMCG_SWAP` stays at the dead owner of a cached folio when the charge of its slots moves.
    #[inline]
    pub(crate) const fn leaves_swap_stat_behind(&self) -> bool {
        self.is_rfc_literal
    }

    /// K7: says whether a large swap-in outside of a fault ignores the allocation flags of its caller.
    #[inline]
    pub(crate) const fn ignores_gfp_outside_fault(&self) -> bool {
        self.is_rfc_literal
    }
}

impl MemcgSwitches {
    /// K6: returns what an id without a time of eviction means. As posted, the id counts as a refault, whatever the switch
    /// `idonly_refault` says.
    pub(super) const fn idonly_refault_in_force(&self) -> IdOnlyRefault {
        if self.rfc_literal { IdOnlyRefault::Count } else { self.idonly_refault }
    }

    /// Returns the choices that exclude the switch, each with whether it is made and with the words of the error.
    pub(super) fn rfc_literal_conflicts(&self, dead_swapin: DeadSwapin) -> [(bool, &'static str); 2] {
        [
            (
                self.rfc_literal && self.owner_store != OwnerStore::Shadow,
                "rfc_literal=on needs owner_store=shadow: that is what was posted",
            ),
            (
                self.rfc_literal && dead_swapin != DeadSwapin::Reparent,
                "rfc_literal=on needs dead_swapin=reparent: that is what was posted",
            ),
        ]
    }
}
