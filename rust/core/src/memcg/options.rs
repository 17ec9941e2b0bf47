//! Options of memory cgroups: the hierarchy, the place where the owner of a slot is stored, and the group that is
//! charged for the slots of a removed owner.

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWP_TB_COUNT_MAX;
use crate::base::profile::{Profile, switches};
use crate::base::words::{Word, parse_optional, unknown_name, words};
use crate::workingset::MemcgStatReads;

words! {
    /// The interface of the memory controller. Kernel: the mounted hierarchy; `do_memsw_account` is true on v1.
    pub enum Hierarchy: "hierarchy" {
        /// One counter of memory, and one of swap.
        V2 = "v2",
        /// One counter of memory, and one of memory and swap together (memsw).
        V1 = "v1",
    }
}

impl Hierarchy {
    /// Returns the hierarchy of a name, or `None` for `disabled`. Errors: `UnknownName` (EINVAL).
    pub fn unless_disabled(name: &str) -> Result<Option<Self>> {
        parse_optional("hierarchy", "disabled", name)
    }
}

words! {
    /// The place where the id of a slot's owner is stored.
    pub enum OwnerStore: "owner_store" {
        /// In the shadow in the slot's table entry, which takes no additional memory. While a folio caches the slot,
        /// the group of the folio is the owner.
        Shadow = "shadow",
        /// In an array with 2 bytes for each slot, allocated at swapon. Kernel: `swap_cgroup`.
        Array = "array",
        /// In 1,024 bytes beside the table of each cluster in use. Kernel: `swap_memcg_table`.
        ClusterTable = "cluster_table",
        /// In the shadow, with one exception: the owner is stored beside the table entry while the slot is cached, if
        /// the owner was removed and a task of another group swapped the page in.
        Trampoline = "trampoline",
    }
}

impl OwnerStore {
    /// Returns whether the owner is stored beside the table entry for as long as the slot is charged.
    pub const fn is_record(self) -> bool {
        matches!(self, Self::Array | Self::ClusterTable)
    }
}

words! {
    /// The group that is charged for the page at the swap-in of a slot whose owner was removed.
    pub enum DeadSwapin: "dead_swapin" {
        /// The nearest online ancestor of the owner.
        Reparent = "reparent",
        /// The group of the faulting task.
        FaultMm = "fault_mm",
        /// The group of the faulting task if none of the slots counts as shared (see [`MemcgOptions::shared_count`]),
        /// else the owner's nearest online ancestor.
        ReparentIfShared = "reparent_if_shared",
    }
}

words! {
    /// The group whose LRU lists count an eviction (`nonresident_age`) and whose count decides whether the refaulted
    /// page belongs to the working set. Kernel: fixed by the kernel version.
    pub enum RefaultJudge: "refault_level" {
        /// The owner of the slot.
        Owner = "owner",
        /// The group whose limit caused the reclaim of the page.
        ReclaimRoot = "reclaim_root",
    }
}

words! {
    /// The treatment of a shadow that has an owner id but no time of eviction, at a refault.
    pub enum IdOnlyRefault: "idonly_refault" {
        /// Not a refault, because the folio was not evicted.
        Skip = "skip",
        /// A refault with distance 0.
        Count = "count",
    }
}

/// The options of memory cgroups, checked against each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemcgOptions {
    /// See [`Hierarchy`].
    pub hierarchy: Hierarchy,
    /// See [`OwnerStore`].
    pub owner_store: OwnerStore,
    /// See [`DeadSwapin`].
    pub dead_swapin: DeadSwapin,
    /// Least number of references with which a slot counts as shared, for `ReparentIfShared`.
    pub shared_count: u32,
    /// See [`RefaultJudge`].
    pub refault_level: RefaultJudge,
    /// See [`IdOnlyRefault`].
    pub idonly_refault: IdOnlyRefault,
    /// See [`MemcgSwitches::rfc_literal`]. The functions of `memcg/rfc_literal.rs` read this field.
    pub(super) is_rfc_literal: bool,
    /// The folios of a group that goes offline move to the parent of the group.
    pub has_lru_reparent: bool,
    /// Each CPU takes charges of memory from the counters in batches.
    pub has_stock: bool,
    /// See [`MemcgStatReads`].
    pub stat_reads: MemcgStatReads,
    /// Protection of a group (`memory.min`, `memory.low`) that no child claims is shared by the children in
    /// proportion to their usage. Kernel: the mount option `memory_recursiveprot`.
    pub has_recursive_protection: bool,
    /// An event counts in the files of its own group only. Kernel: the mount option `memory_localevents`.
    pub has_local_events: bool,
}

impl MemcgOptions {
    /// Checks that the owner store (see [`OwnerStore`]) supports a rule for removed owners. Errors: `Conflict`
    /// (EINVAL).
    pub fn check_dead_owner(&self, rule: DeadSwapin) -> Result<()> {
        if rule == DeadSwapin::FaultMm && self.owner_store == OwnerStore::Shadow {
            return Err(SwapError::Conflict(FAULT_MM_NEEDS_A_RECORD));
        }
        Ok(())
    }
}

const RECLAIM_ROOT_NEEDS_A_RECORD: &str = "refault_level=reclaim_root needs owner_store=array or cluster_table: the id in a \
    shadow must be the slot's owner, and cannot be that of the group whose limit reclaimed it as well";
const FAULT_MM_NEEDS_A_RECORD: &str = "fault_mm (dead_swapin) for slots of dead groups needs another owner_store than shadow: while a \
    folio is cached its slots have no owner but the folio's, so they cannot stay the dead group's under a folio of the \
    faulting one";

/// Least number of references with which a slot counts as shared, at least 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedCount(pub u32);

impl Word for SharedCount {
    fn parse(what: &'static str, word: &str) -> Result<Self> {
        let (low, high) = (2, u64::from(SWP_TB_COUNT_MAX));
        match word.parse::<u32>() {
            Ok(count) if (low..=high).contains(&u64::from(count)) => Ok(Self(count)),
            Ok(count) => Err(SwapError::OutOfRange { what, value: count.into(), low, high }),
            Err(_) => Err(unknown_name(what, word, &["a number"])),
        }
    }

    fn word(&self) -> String {
        self.0.to_string()
    }
}

switches! {
    /// The options as requested. `None` selects the default value for the selected `owner_store`.
    pub struct MemcgSwitches {
        /// The place where the id of a slot's owner is stored.
        owner_store: OwnerStore = OwnerStore::Shadow, V618 | P3 => OwnerStore::Array;
        /// The group that is charged for the page at the swap-in of a slot whose owner was removed.
        dead_swapin: Option<DeadSwapin> = None;
        /// Least number of references with which a slot counts as shared, for `ReparentIfShared`.
        shared_count: SharedCount = SharedCount(2);
        /// The group whose LRU lists decide whether a refaulted page belongs to the working set.
        refault_level: Option<RefaultJudge> = None;
        /// The treatment of a shadow that has an owner id but no time of eviction, at a refault.
        idonly_refault: IdOnlyRefault = IdOnlyRefault::Skip;
        /// The behaviour of the swap table series, phase IV, as posted, with its defects.
        rfc_literal: bool = false;
        /// The folios of a group that goes offline move to the parent of the group.
        lru_reparent: bool = false;
        /// Each CPU takes charges of memory from the counters in batches.
        memcg_stock: bool = true;
        /// The sizes of lists that the rules of reclaim and of refaults read: the present sizes, or the sizes at the
        /// last flush.
        memcg_stat: MemcgStatReads = MemcgStatReads::Exact;
        /// Protection of a group (`memory.min`, `memory.low`) that no child claims is shared by the children in
        /// proportion to their usage.
        memory_recursiveprot: bool = true;
        /// An event of v2 counts at its own group only, and not at the groups above.
        memory_localevents: bool = false;
    }
}

impl MemcgSwitches {
    /// The options of the swap table series, phase IV, with its defects repaired.
    pub const CANON: Self = Self::of(Profile::Newest);

    /// Replaces each `None` by the default for the selected `owner_store`, and checks that the options are
    /// compatible. Errors: `Conflict` (EINVAL), with the reason.
    pub fn resolve(self, hierarchy: Hierarchy) -> Result<MemcgOptions> {
        let (owner_store, keeps_record) = (self.owner_store, self.owner_store.is_record());
        let dead_swapin = if owner_store == OwnerStore::Shadow { DeadSwapin::Reparent } else { DeadSwapin::FaultMm };
        let refault_level = if keeps_record { RefaultJudge::ReclaimRoot } else { RefaultJudge::Owner };
        let options = MemcgOptions {
            hierarchy,
            owner_store,
            dead_swapin: self.dead_swapin.unwrap_or(dead_swapin),
            shared_count: self.shared_count.0,
            refault_level: self.refault_level.unwrap_or(refault_level),
            idonly_refault: self.idonly_refault_in_force(),
            is_rfc_literal: self.rfc_literal,
            has_lru_reparent: self.lru_reparent,
            has_stock: self.memcg_stock,
            stat_reads: self.memcg_stat,
            has_recursive_protection: self.memory_recursiveprot,
            has_local_events: self.memory_localevents,
        };
        if !keeps_record && options.refault_level == RefaultJudge::ReclaimRoot {
            return Err(SwapError::Conflict(RECLAIM_ROOT_NEEDS_A_RECORD));
        }
        options.check_dead_owner(options.dead_swapin)?;
        options.check_rfc_literal()?;
        Ok(options)
    }
}
