//! What may be chosen of memcg: the hierarchy, where a slot's owner is kept, and who pays when the owner is dead.

use crate::base::error::{Result, SwapError};

/// Which interface the memory controller is on. Kernel: the mount; `do_memsw_account` is true on v1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hierarchy {
    /// Memory, and memory and swap together (memsw).
    V1,
    /// Memory, and swap for itself.
    V2,
}

impl Hierarchy {
    /// Finds a hierarchy by name, `None` for `disabled`. Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str) -> Result<Option<Self>> {
        match name {
            "v1" => Ok(Some(Self::V1)),
            "v2" => Ok(Some(Self::V2)),
            "disabled" => Ok(None),
            _ => Err(SwapError::UnknownName { what: "memcg", name: name.into(), known: "v2, v1, disabled" }),
        }
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Where the id of a slot's owner lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerStore {
    /// In the shadow that the slot has anyway: no byte more. While a folio caches the slot, the folio's owner it is.
    Shadow,
    /// In an array of 2 bytes a slot that is there from swapon on. Kernel: `swap_cgroup`.
    Array,
    /// In 1,024 bytes beside the table of each cluster in use. Kernel: `swap_memcg_table`.
    ClusterTable,
    /// In the shadow, and beside it only for cached slots of a dead owner that a foreign fault brought in.
    Trampoline,
}

impl OwnerStore {
    /// Says whether the record is the slot's for as long as it is charged, rather than the shadow's.
    pub const fn is_record(self) -> bool {
        matches!(self, Self::Array | Self::ClusterTable)
    }
}

/// Who is charged for a page that comes back when the owner of its slot is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadSwapin {
    /// The nearest online ancestor of the owner.
    Reparent,
    /// The group of the task that faults.
    FaultMm,
    /// The faulting group if nobody else refers to the slots, else the ancestor.
    ReparentIfShared,
}

/// At which level refaults are judged. Kernel: fixed by version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefaultJudge {
    /// At the owner's.
    Owner,
    /// At that of the group whose limit made reclaim run.
    ReclaimRoot,
}

/// What an id without a time of eviction means at a refault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdOnlyRefault {
    /// Nothing: the folio was not evicted.
    Skip,
    /// A refault of age 0.
    Count,
}

/// The choices in force, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemcgOptions {
    /// See [`Hierarchy`].
    pub hierarchy: Hierarchy,
    /// See [`OwnerStore`].
    pub owner_store: OwnerStore,
    /// See [`DeadSwapin`].
    pub dead_swapin: DeadSwapin,
    /// References from which on a slot is shared, for `ReparentIfShared`.
    pub shared_count: u32,
    /// See [`RefaultJudge`].
    pub refault_level: RefaultJudge,
    /// See [`IdOnlyRefault`].
    pub idonly_refault: IdOnlyRefault,
    /// See [`MemcgSwitches::is_rfc_literal`]; `memcg/rfc_literal.rs` answers for it.
    pub(super) is_rfc_literal: bool,
    /// Folios of a group that goes offline go to its parent.
    pub has_lru_reparent: bool,
    /// Charges of memory are taken from the counters in batches a CPU.
    pub has_stock: bool,
}

impl MemcgOptions {
    /// Checks that the owner store can do what is asked of it for dead owners. Errors: `Conflict` (EINVAL).
    pub fn check_dead_owner(&self, rule: DeadSwapin) -> Result<()> {
        if rule == DeadSwapin::FaultMm && self.owner_store == OwnerStore::Shadow {
            return Err(SwapError::Conflict(FAULT_MM_NEEDS_A_RECORD));
        }
        Ok(())
    }
}

const FAULT_MM_NEEDS_A_RECORD: &str = "fault_mm (dead_swapin) for slots of dead groups needs another owner_store than shadow: while a \
    folio is cached its slots have no owner but the folio's, so they cannot stay the dead group's under a folio of the \
    faulting one";

/// What was asked for; `None` is the owner store's own rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemcgSwitches {
    /// See [`OwnerStore`].
    pub owner_store: OwnerStore,
    /// See [`DeadSwapin`].
    pub dead_swapin: Option<DeadSwapin>,
    /// See [`MemcgOptions::shared_count`].
    pub shared_count: u32,
    /// See [`RefaultJudge`].
    pub refault_level: Option<RefaultJudge>,
    /// See [`IdOnlyRefault`].
    pub idonly_refault: IdOnlyRefault,
    /// The series as posted, with the defects K1 to K7 of `docs/memcg.md`.
    pub is_rfc_literal: bool,
    /// See [`MemcgOptions::has_lru_reparent`].
    pub has_lru_reparent: bool,
    /// See [`MemcgOptions::has_stock`].
    pub has_stock: bool,
}

impl MemcgSwitches {
    /// The series with its defects repaired.
    pub const CANON: Self = Self {
        owner_store: OwnerStore::Shadow,
        dead_swapin: None,
        shared_count: 2,
        refault_level: None,
        idonly_refault: IdOnlyRefault::Skip,
        is_rfc_literal: false,
        has_lru_reparent: false,
        has_stock: true,
    };

    /// Fills the owner store's rules in and checks that the choices go together. Errors: `Conflict` (EINVAL), why not.
    pub fn resolve(self, hierarchy: Hierarchy) -> Result<MemcgOptions> {
        let keeps_record = self.owner_store.is_record();
        let dead_swapin = self.dead_swapin.unwrap_or(match self.owner_store {
            OwnerStore::Shadow => DeadSwapin::Reparent,
            _ => DeadSwapin::FaultMm,
        });
        let refault_level =
            self.refault_level.unwrap_or(if keeps_record { RefaultJudge::ReclaimRoot } else { RefaultJudge::Owner });
        let conflicts = [
            (
                !keeps_record && refault_level == RefaultJudge::ReclaimRoot,
                "refault_level=reclaim_root needs owner_store=array or cluster_table: the id in a shadow must be the slot's \
                 owner, and cannot be that of the group whose limit reclaimed it as well",
            ),
            (self.owner_store == OwnerStore::Shadow && dead_swapin == DeadSwapin::FaultMm, FAULT_MM_NEEDS_A_RECORD),
        ];
        let mut conflicts = conflicts.into_iter().chain(self.rfc_literal_conflicts(dead_swapin));
        if let Some((_, why)) = conflicts.find(|(is_one, _)| *is_one) {
            return Err(SwapError::Conflict(why));
        }
        Ok(MemcgOptions {
            hierarchy,
            owner_store: self.owner_store,
            dead_swapin,
            shared_count: self.shared_count,
            refault_level,
            idonly_refault: self.idonly_refault_in_force(),
            is_rfc_literal: self.is_rfc_literal,
            has_lru_reparent: self.has_lru_reparent,
            has_stock: self.has_stock,
        })
    }
}
