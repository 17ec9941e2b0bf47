//! Working-set detection: the shadow that an evicted folio leaves in its slots, and the verdict when the folio comes
//! back.
//!
//! [`Lruvec`] has the state of one memcg on one node. [`Workingset`] is the rule in force: the classic rule measures
//! the distance of a refault in evictions and activations, [`mglru`] counts generations. Both rules handle
//! swap-backed folios only. The caller finds the lruvec that the id in a shadow names, and whether its memcg still
//! lives.

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

/// Returns the bits of an age in the shadow of a file folio: 64 without the mark, workingset bit, node and memcg id.
///
/// Kernel: 64 - `EVICTION_SHIFT` (mm/workingset.c).
pub const fn file_eviction_bits(nodes_shift: u32) -> u32 {
    64 - (1 + 1 + nodes_shift + MEM_CGROUP_ID_SHIFT)
}

/// Returns the bits of an age in the shadow of a swap-backed folio. The slot's own flags take `flags_bits` of the
/// word.
///
/// Kernel: the width of `EVICTION_MASK_ANON` (mm/workingset.c).
pub const fn anon_eviction_bits(nodes_shift: u32, flags_bits: u32) -> u32 {
    file_eviction_bits(nodes_shift) - flags_bits
}

/// Returns by how many bits ages are shifted right so that `eviction_bits` bits can count all pages of memory.
///
/// Kernel: `bucket_order` (mm/workingset.c).
pub const fn bucket_order(total_pages: u64, eviction_bits: u32) -> u32 {
    let order = if total_pages <= 1 { 0 } else { u64::BITS - (total_pages - 1).leading_zeros() };
    order.saturating_sub(eviction_bits)
}

/// Returns whether a shadow may come from an eviction. An empty shadow and one with an owner's id alone do not.
///
/// An eviction at age 0 on node 0 of a folio outside the working set leaves the same bits as an owner's id alone, and
/// the result is false for it.
pub const fn is_from_eviction(shadow: Shadow) -> bool {
    shadow.eviction != 0 || shadow.node != 0 || shadow.is_workingset
}

/// The facts about an evicted folio that the rules read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FolioFacts {
    /// Pages of the folio.
    pub nr_pages: u32,
    /// The folio is part of the working set. Kernel: the workingset flag.
    pub is_workingset: bool,
    /// The folio was used since it was allocated or read. MGLRU only. Kernel: the referenced flag.
    pub is_referenced: bool,
    /// Number of uses after the first, 0..=3. MGLRU only. Kernel: `LRU_REFS_MASK` of the flags.
    pub lru_refs: u8,
}

impl FolioFacts {
    /// Returns how often the folio was used, 0..=4. Kernel: `folio_lru_refs`.
    pub const fn refs(self) -> u32 {
        if self.is_referenced { self.lru_refs as u32 + 1 } else { 0 }
    }

    /// Returns the tier of the folio in its generation. Kernel: `lru_tier_from_refs` of the folio's flags.
    pub const fn tier(self) -> usize {
        mglru::tier_of(self.refs(), self.is_workingset)
    }
}

/// The memcg whose lruvec ages at an eviction and judges the refault. MGLRU always uses the owner's.
///
/// Kernel: fixed by version.
#[derive(Clone, Copy, Debug)]
pub enum RefaultLevel<'a> {
    /// The slot's owner, even if another memcg's limit caused the eviction.
    Owner,
    /// The memcg whose limit caused the reclaim, or root for global reclaim. The lruvec is on the folio's node.
    ReclaimRoot(&'a Lruvec),
}

/// The place where a refault happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefaultContext {
    /// In a page fault. Kernel: `lru_gen_in_fault`.
    Fault,
    /// Outside of a page fault: in readahead without a fault, swapoff, or a system call.
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
    /// The lruvec of the shadow's memcg id and node, or `None` when the memcg is freed. For MGLRU the caller passes
    /// root's lruvec then, as the kernel does.
    pub evicted_from: Option<&'a Lruvec>,
    /// Pages that the shadow's memcg may still swap. Kernel: `mem_cgroup_get_nr_swap_pages`.
    pub nr_swap_pages: i64,
    /// The place of the refault.
    pub context: RefaultContext,
}

/// The effect of a refault on the folio. The lruvecs counted the refault already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RefaultVerdict {
    /// The refault was counted.
    pub is_counted: bool,
    /// The folio came back soon, so the working set does not fit in memory.
    pub is_recent: bool,
    /// The refault was counted as an activation. The caller sets the active flag.
    pub is_activated: bool,
    /// The refault was counted as a restore. The caller sets the workingset flag.
    pub is_restored: bool,
    /// The stored references that the caller sets in the folio, 0..=3.
    pub lru_refs: Option<u8>,
}

/// The rule of working-set detection in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workingset {
    /// Active and inactive lists. Ages are shifted right by `bucket_order` bits.
    Classic {
        /// See [`bucket_order`].
        bucket_order: u32,
    },
    /// Generations and tiers, which also replace the lists of reclaim.
    Mglru,
}

impl Workingset {
    /// Returns the rule of a name, for a machine with `total_pages` of memory.
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

    /// Returns the number of pages that were evicted or became active between the eviction of a shadow and an age of
    /// the same lruvec. For MGLRU the result is 0, because a generation has no such distance.
    pub fn distance_pages(self, age: u64, shadow: Shadow) -> u64 {
        match self {
            Self::Classic { bucket_order } => age.wrapping_sub(shadow.eviction << bucket_order) & EVICTION_MASK_ANON,
            Self::Mglru => 0,
        }
    }

    /// Counts an eviction and returns the shadow for the folio's slots.
    ///
    /// `owner` is the lruvec of the folio's memcg, or of the nearest ancestor whose id is not released, on the
    /// folio's node. Kernel: `workingset_eviction` (mm/workingset.c). Differs: the level is an argument.
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

    /// Judges a folio that came back and counts it.
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

    /// Returns the size of the working set in pages, against which the refault distance is compared. Kernel:
    /// `workingset_size`.
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
