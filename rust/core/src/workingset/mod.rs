//! Telling a page that belongs to the working set from one that passes by: what a folio leaves behind when it is
//! evicted, and what that says when it comes back.
//!
//! [`Lruvec`] has the state of one memcg on one node, [`Workingset`] the rule that is in force: the classic one
//! measures the distance of a refault in evictions and activations, [`mglru`] counts generations. Both speak of
//! swap-backed folios only. Which lruvec an id in a shadow means, and whether it still lives, the caller looks up.

mod lruvec;
pub mod mglru;

use std::ptr;

pub use lruvec::{LruCost, LruList, LruType, Lruvec, LruvecStat};
pub(crate) use lruvec::{LruHead, LruHeads};

use crate::base::error::Result;
use crate::base::limits::{EVICTION_BITS, MEM_CGROUP_ID_SHIFT, NODES_SHIFT, SWP_TB_FLAGS_BITS};
use crate::base::words::unknown_name;
use crate::table::Shadow;

const EVICTION_MASK_ANON: u64 = (1 << EVICTION_BITS) - 1;

const _: () = assert!(anon_eviction_bits(NODES_SHIFT, SWP_TB_FLAGS_BITS) == EVICTION_BITS, "one width, two sums");

/// Returns the bits of an age in the shadow of a file folio: what mark, workingset bit, node and memcg id leave.
///
/// Kernel: 64 - `EVICTION_SHIFT` (mm/workingset.c).
pub const fn file_eviction_bits(nodes_shift: u32) -> u32 {
    64 - (1 + 1 + nodes_shift + MEM_CGROUP_ID_SHIFT)
}

/// Returns the bits of an age in the shadow of a swap-backed folio: `flags_bits` fewer, which the slot keeps.
///
/// Kernel: the width of `EVICTION_MASK_ANON` (mm/workingset.c).
pub const fn anon_eviction_bits(nodes_shift: u32, flags_bits: u32) -> u32 {
    file_eviction_bits(nodes_shift) - flags_bits
}

/// Returns by how many bits ages are shortened so that `eviction_bits` hold as many ages as memory has pages.
///
/// Kernel: `bucket_order` (mm/workingset.c). Differs: not at all.
pub const fn bucket_order(total_pages: u64, eviction_bits: u32) -> u32 {
    let order = if total_pages <= 1 { 0 } else { u64::BITS - (total_pages - 1).leading_zeros() };
    order.saturating_sub(eviction_bits)
}

/// Says whether a shadow may come from an eviction: not if it has an owner's id only, or nothing at all.
///
/// An eviction at age 0 on node 0 of a folio outside the working set leaves the same bits and is taken for none.
pub const fn is_from_eviction(shadow: Shadow) -> bool {
    shadow.eviction != 0 || shadow.node != 0 || shadow.is_workingset
}

/// The facts about an evicted folio that the rules read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FolioFacts {
    /// Pages of the folio.
    pub nr_pages: u32,
    /// It is part of the working set. Kernel: the workingset flag.
    pub is_workingset: bool,
    /// It was used since it came. Kernel: the referenced flag; MGLRU only.
    pub is_referenced: bool,
    /// Uses after the first, 0..=3. Kernel: `LRU_REFS_MASK` of the flags; MGLRU only.
    pub lru_refs: u8,
}

impl FolioFacts {
    /// Returns how often it was used, 0..=4. Kernel: `folio_lru_refs`.
    pub const fn refs(self) -> u32 {
        if self.is_referenced { self.lru_refs as u32 + 1 } else { 0 }
    }

    /// Returns the tier of the folio in its generation. Kernel: `lru_tier_from_refs` of the folio's flags.
    pub const fn tier(self) -> usize {
        mglru::tier_of(self.refs(), self.is_workingset)
    }
}

/// At which level an eviction is remembered and its refault judged; MGLRU knows the owner's only.
///
/// Kernel: fixed by version.
#[derive(Clone, Copy, Debug)]
pub enum RefaultLevel<'a> {
    /// At the slot's owner, whose limit need not be the reason.
    Owner,
    /// At the memcg whose limit made reclaim run (root's for global reclaim), on the folio's node.
    ReclaimRoot(&'a Lruvec),
}

/// Where a refault happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefaultContext {
    /// In a page fault. Kernel: `lru_gen_in_fault`.
    Fault,
    /// Elsewhere: readahead without a fault, swapoff, a system call.
    Other,
}

/// A folio that comes back.
#[derive(Clone, Copy, Debug)]
pub struct Refault<'a> {
    /// Pages of the folio.
    pub nr_pages: u32,
    /// The shadow in its slot.
    pub shadow: Shadow,
    /// The lruvec of the memcg that is charged for the folio now, on the folio's node.
    pub lruvec: &'a Lruvec,
    /// The lruvec that the shadow's memcg id and node name; `None` when the memcg is gone. For MGLRU the caller gives
    /// root's then, as the kernel finds that.
    pub evicted_from: Option<&'a Lruvec>,
    /// Pages that the shadow's memcg may still swap. Kernel: `mem_cgroup_get_nr_swap_pages`.
    pub nr_swap_pages: i64,
    /// Where it happens.
    pub context: RefaultContext,
}

/// The effect of a refault on the folio. The lruvecs have counted the refault already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RefaultVerdict {
    /// It was counted as a refault.
    pub is_counted: bool,
    /// It came back soon: the working set does not fit.
    pub is_recent: bool,
    /// It was counted as activated: the caller sets the active flag.
    pub is_activated: bool,
    /// It was counted as restored: the caller sets the workingset flag.
    pub is_restored: bool,
    /// The stored references that the caller gives back to the folio, 0..=3.
    pub lru_refs: Option<u8>,
}

/// The rule of working-set detection in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workingset {
    /// Active and inactive lists; ages are shortened by `bucket_order` bits.
    Classic {
        /// See [`bucket_order`].
        bucket_order: u32,
    },
    /// Generations and tiers, for the lists of reclaim, too.
    Mglru,
}

impl Workingset {
    /// Returns the rule of that name, for a machine of so many pages.
    ///
    /// Errors: `UnknownName` (EINVAL).
    pub fn from_name(name: &str, total_pages: u64) -> Result<Self> {
        match name {
            "classic" => Ok(Self::Classic { bucket_order: bucket_order(total_pages, EVICTION_BITS) }),
            "mglru" => Ok(Self::Mglru),
            _ => Err(unknown_name("workingset", name, &["classic", "mglru"])),
        }
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic { .. } => "classic",
            Self::Mglru => "mglru",
        }
    }

    /// Returns the pages that were evicted or became active between an eviction and an age of the same lists; 0 for
    /// generations, which have no such distance.
    pub fn distance_pages(self, age: u64, shadow: Shadow) -> u64 {
        match self {
            Self::Classic { bucket_order } => age.wrapping_sub(shadow.eviction << bucket_order) & EVICTION_MASK_ANON,
            Self::Mglru => 0,
        }
    }

    /// Counts an eviction and returns what the folio leaves in its slots.
    ///
    /// `owner` is the lruvec of the folio's memcg, or of the nearest one above whose id lives, on the folio's node.
    /// Kernel: `workingset_eviction` (mm/workingset.c). Differs: the level is an argument.
    pub fn evict(self, folio: FolioFacts, owner: &Lruvec, level: RefaultLevel<'_>) -> Shadow {
        let (lruvec, eviction) = match (self, level) {
            (Self::Classic { bucket_order }, level) => {
                let lruvec = match level {
                    RefaultLevel::Owner => owner,
                    RefaultLevel::ReclaimRoot(target) => target,
                };
                (lruvec, lruvec.age_nonresident(folio.nr_pages) >> bucket_order & EVICTION_MASK_ANON)
            }
            (Self::Mglru, _) => {
                (owner, owner.lrugen.evict(LruType::Anon, folio.refs(), folio.is_workingset, folio.nr_pages))
            }
        };
        debug_assert_eq!(lruvec.node(), owner.node(), "an eviction is remembered on the folio's node");
        Shadow { eviction, memcg: lruvec.memcg(), node: lruvec.node(), is_workingset: folio.is_workingset }
    }

    /// Judges a folio that came back and counts it.
    ///
    /// Kernel: `workingset_refault` (mm/workingset.c). Differs: the folio's flags are the caller's to set.
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

    /// The pages that an anonymous page competes with: had they been fewer, it would still be there.
    fn workingset_pages(&self, evicted_from: &Lruvec) -> u64 {
        let file_pages = evicted_from.lru_pages(LruList::ActiveFile) + evicted_from.lru_pages(LruList::InactiveFile);
        // Without swap the active anonymous pages cannot make room.
        let anon_pages = if self.nr_swap_pages > 0 { evicted_from.lru_pages(LruList::ActiveAnon) } else { 0 };
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
