//! Working-set detection. At the eviction of a folio, the slots of the folio record a shadow. At the refault of the
//! folio, the shadow decides whether the folio becomes active.
//!
//! [`Lruvec`] has the state of one memcg on one node. [`Workingset`] is the rule that a subsystem uses. The classic
//! rule measures the time between eviction and refault in evictions and activations. The rule of [`mglru`] measures
//! this time in generations. Both rules handle only swap-backed folios. The caller finds the lruvec for the memcg id
//! in a shadow, and checks whether this memcg still exists.

mod lruvec;
pub mod mglru;

use std::ptr;

pub use lruvec::{LruCost, LruList, LruType, Lruvec, LruvecStat, MemcgStatReads};
pub(crate) use lruvec::{LruHead, LruHeads};

use crate::base::error::Result;
use crate::base::limits::{EVICTION_BITS, MEM_CGROUP_ID_SHIFT, NODES_SHIFT, SWP_TB_FLAGS_BITS};
use crate::base::words::unknown_name;
use crate::table::Shadow;

const EVICTION_MASK_ANON: u64 = (1 << EVICTION_BITS) - 1;

const _: () = assert!(anon_eviction_bits(NODES_SHIFT, SWP_TB_FLAGS_BITS) == EVICTION_BITS, "one width, two sums");

/// Returns the number of bits for an age in the shadow of a file folio. The result is 64 minus the bits for the mark
/// of a shadow, the workingset flag, the node and the memcg id.
///
/// Kernel: 64 - `EVICTION_SHIFT` (mm/workingset.c).
pub const fn file_eviction_bits(nodes_shift: u32) -> u32 {
    64 - (1 + 1 + nodes_shift + MEM_CGROUP_ID_SHIFT)
}

/// Returns the number of bits for an age in the shadow of a swap-backed folio. Such a shadow has `flags_bits` fewer
/// bits for the age, because the flags of the slot are in the same table entry.
///
/// Kernel: the width of `EVICTION_MASK_ANON` (mm/workingset.c).
pub const fn anon_eviction_bits(nodes_shift: u32, flags_bits: u32) -> u32 {
    file_eviction_bits(nodes_shift) - flags_bits
}

/// Returns the number of bits by which ages are shifted right, so that `eviction_bits` bits can count all pages of
/// memory.
///
/// Kernel: `bucket_order` (mm/workingset.c).
pub const fn bucket_order(total_pages: u64, eviction_bits: u32) -> u32 {
    let order = if total_pages <= 1 { 0 } else { u64::BITS - (total_pages - 1).leading_zeros() };
    order.saturating_sub(eviction_bits)
}

/// Returns whether a shadow may come from an eviction. The result is false for an empty shadow and for a shadow that
/// has only the id of an owner.
///
/// The result is also false for an eviction at age 0 on node 0 of a folio outside the working set, because the shadow
/// of such an eviction also has only the id of an owner.
pub const fn is_from_eviction(shadow: Shadow) -> bool {
    shadow.eviction != 0 || shadow.node != 0 || shadow.is_workingset
}

/// The properties of an evicted folio that the classic rule and the rule of MGLRU read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FolioFacts {
    /// The number of pages of the folio.
    pub nr_pages: u32,
    /// Whether the folio is part of the working set. Kernel: the workingset flag.
    pub is_workingset: bool,
    /// Whether the folio was used since it was allocated or read. Only MGLRU reads this field. Kernel: the referenced
    /// flag.
    pub is_referenced: bool,
    /// The number of uses after the first use, 0..=3. Only MGLRU reads this field. Kernel: `LRU_REFS_MASK` of the
    /// flags.
    pub lru_refs: u8,
}

impl FolioFacts {
    /// Returns the number of uses of the folio, 0..=4. Kernel: `folio_lru_refs`.
    pub const fn refs(self) -> u32 {
        if self.is_referenced { self.lru_refs as u32 + 1 } else { 0 }
    }

    /// Returns the tier of the folio in its generation. Kernel: `lru_tier_from_refs` of the folio's flags.
    pub const fn tier(self) -> usize {
        mglru::tier_of(self.refs(), self.is_workingset)
    }
}

/// The memcg whose lruvec counts an eviction and measures the distance at the refault. MGLRU always uses the memcg
/// that owns the slot.
///
/// Kernel: each kernel version uses one of the two memcgs.
#[derive(Clone, Copy, Debug)]
pub enum RefaultLevel<'a> {
    /// The memcg that owns the slot, even if the limit of another memcg caused the eviction.
    Owner,
    /// The memcg whose limit caused the reclaim, or root for global reclaim. The lruvec must be on the node of the
    /// folio.
    ReclaimRoot(&'a Lruvec),
}

/// The context in which a refault happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefaultContext {
    /// A page fault. Kernel: `lru_gen_in_fault`.
    Fault,
    /// Code outside a page fault: readahead without a fault, swapoff, or a system call.
    Other,
}

/// The inputs of the decision at the refault of a folio.
#[derive(Clone, Copy, Debug)]
pub struct Refault<'a> {
    /// The number of pages of the folio.
    pub nr_pages: u32,
    /// The shadow in the slot of the folio.
    pub shadow: Shadow,
    /// The lruvec of the memcg that is charged for the folio now, on the folio's node.
    pub lruvec: &'a Lruvec,
    /// The lruvec for the memcg id and the node in the shadow. If the memcg was freed, the caller passes `None` for
    /// the classic rule and root's lruvec for MGLRU, as the kernel does.
    pub evicted_from: Option<&'a Lruvec>,
    /// The number of pages that the memcg of the shadow may still swap out. Kernel: `mem_cgroup_get_nr_swap_pages`.
    pub nr_swap_pages: i64,
    /// The context of the refault.
    pub context: RefaultContext,
}

/// The decision at the refault of a folio. The function that makes the decision also counts the refault in the
/// lruvecs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RefaultVerdict {
    /// Whether the refault was counted.
    pub is_counted: bool,
    /// Whether the refault followed soon after the eviction, which means that the working set does not fit in memory.
    pub is_recent: bool,
    /// Whether the refault was counted as an activation. If so, the caller sets the active flag.
    pub is_activated: bool,
    /// Whether the refault was counted as a restore. If so, the caller sets the workingset flag.
    pub is_restored: bool,
    /// The number of references, 0..=3, that the caller stores in the folio; `None` stores nothing.
    pub lru_refs: Option<u8>,
}

/// The rule of working-set detection that is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workingset {
    /// The rule with active and inactive lists. Ages are shifted right by `bucket_order` bits.
    Classic {
        /// See [`bucket_order`].
        bucket_order: u32,
    },
    /// The rule with generations and tiers. Reclaim then scans the lists of generations and not the classic lists.
    Mglru,
}

impl Workingset {
    /// Returns the rule that has the name `name`, for a machine with `total_pages` pages of memory.
    ///
    /// Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str, total_pages: u64) -> Result<Self> {
        match name {
            "classic" => Ok(Self::Classic { bucket_order: bucket_order(total_pages, EVICTION_BITS) }),
            "mglru" => Ok(Self::Mglru),
            _ => Err(unknown_name("workingset", name, &["classic", "mglru"])),
        }
    }

    /// Returns the name of the rule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic { .. } => "classic",
            Self::Mglru => "mglru",
        }
    }

    /// Returns the number of pages that were evicted or became active between the eviction that made `shadow` and the
    /// age `age` of the same lruvec. The result is 0 for MGLRU, because generations measure no such distance.
    pub fn distance_pages(self, age: u64, shadow: Shadow) -> u64 {
        match self {
            Self::Classic { bucket_order } => age.wrapping_sub(shadow.eviction << bucket_order) & EVICTION_MASK_ANON,
            Self::Mglru => 0,
        }
    }

    /// Counts an eviction and returns the shadow for the folio's slots.
    ///
    /// `owner` is the lruvec, on the folio's node, of the folio's memcg or of the memcg's nearest ancestor whose id
    /// is not released. Kernel: `workingset_eviction` (mm/workingset.c). Differs: the refault level is an argument.
    pub fn evict(self, folio: FolioFacts, owner: &Lruvec, level: RefaultLevel<'_>) -> Shadow {
        let lruvec = match (self, level) {
            (Self::Classic { .. }, RefaultLevel::ReclaimRoot(target)) => target,
            _ => owner,
        };
        let eviction = match self {
            Self::Classic { bucket_order } => {
                lruvec.age_nonresident(folio.nr_pages) >> bucket_order & EVICTION_MASK_ANON
            }
            Self::Mglru => lruvec.lrugen.evict(LruType::Anon, folio.refs(), folio.is_workingset, folio.nr_pages),
        };
        debug_assert_eq!(lruvec.node(), owner.node(), "an eviction is remembered on the folio's node");
        Shadow { eviction, memcg: lruvec.memcg(), node: lruvec.node(), is_workingset: folio.is_workingset }
    }

    /// Counts the refault of a folio and decides whether the folio becomes active and part of the working set.
    ///
    /// Kernel: `workingset_refault` (mm/workingset.c). Differs: the caller sets the folio's flags.
    pub fn refault(self, refault: Refault<'_>) -> RefaultVerdict {
        match self {
            Self::Classic { bucket_order } => refault.classic(bucket_order),
            Self::Mglru => refault.mglru(),
        }
    }
}

impl Refault<'_> {
    fn classic(self, bucket_order: u32) -> RefaultVerdict {
        let Self { nr_pages, shadow, lruvec, .. } = self;
        lruvec.count(LruvecStat::RefaultAnon, nr_pages);
        let counted = RefaultVerdict { is_counted: true, ..RefaultVerdict::default() };
        let Some(evicted_from) = self.evicted_from else { return counted };
        let age = evicted_from.nonresident_age();
        let distance_pages = Workingset::Classic { bucket_order }.distance_pages(age, shadow);
        if distance_pages > self.workingset_pages(evicted_from) {
            return counted;
        }
        lruvec.age_nonresident(nr_pages);
        lruvec.count(LruvecStat::ActivateAnon, nr_pages);
        if shadow.is_workingset {
            lruvec.note_cost(LruType::Anon, nr_pages);
            lruvec.count(LruvecStat::RestoreAnon, nr_pages);
        }
        RefaultVerdict { is_recent: true, is_activated: true, is_restored: shadow.is_workingset, ..counted }
    }

    /// Returns the size of the working set in pages. The classic rule compares the refault distance with this size.
    /// Kernel: `workingset_size`.
    fn workingset_pages(&self, evicted_from: &Lruvec) -> u64 {
        let own_file_pages =
            evicted_from.page_state(LruList::ActiveFile) + evicted_from.page_state(LruList::InactiveFile);
        let file_pages = own_file_pages + evicted_from.other_file_pages();
        // If no page can be swapped out, active anonymous pages do not count, because they cannot be evicted.
        let anon_pages = if self.nr_swap_pages > 0 { evicted_from.page_state(LruList::ActiveAnon) } else { 0 };
        file_pages + anon_pages
    }

    fn mglru(self) -> RefaultVerdict {
        let Self { nr_pages, shadow, lruvec, .. } = self;
        if !self.evicted_from.is_some_and(|evicted_from| ptr::eq(evicted_from, lruvec)) {
            return RefaultVerdict::default();
        }
        lruvec.count(LruvecStat::RefaultAnon, nr_pages);
        let counted = RefaultVerdict { is_counted: true, ..RefaultVerdict::default() };
        if !lruvec.lrugen.is_recent(shadow.eviction) {
            return counted;
        }
        lruvec.lrugen.refault(LruType::Anon, shadow.eviction, shadow.is_workingset, nr_pages);
        let recent = RefaultVerdict { is_recent: true, ..counted };
        if !shadow.is_workingset {
            return RefaultVerdict { lru_refs: Some(mglru::stored_refs(shadow.eviction)), ..recent };
        }
        let is_activated = self.context == RefaultContext::Fault;
        if is_activated {
            lruvec.count(LruvecStat::ActivateAnon, nr_pages);
        }
        lruvec.count(LruvecStat::RestoreAnon, nr_pages);
        RefaultVerdict { is_activated, is_restored: true, ..recent }
    }
}

#[cfg(test)]
mod tests;
