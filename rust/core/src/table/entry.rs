//! The 64-bit swap table entry: its kinds, and the functions that turn an entry of one kind into an entry of another
//! kind.
//!
//! ```text
//! bit   63..60      59   58 ..............................  2  1  0
//! NULL  0                                                            free slot
//! Shadow count(4)    Z   shadow value, 58 bits (1..58)            1  in use, swapped out
//! PFN    count(4)    Z   unused | PFN from bit 2 (40 bits)    1   0  in use, cached by this folio
//! Pointer cache-only(63)  8 bits 43..51: type | 40 bits 3..43: slot  1 0 0  real slot, backs this virtual slot
//! Bad    all ones, shifted left by 3                               header, bad page, tail
//! ```
//!
//! Z is the zero mark. The functions take an entry by value and return the new entry; the caller stores the new entry
//! in the `SwapTable` under the cluster lock.

use crate::base::limits::{
    EVICTION_BITS, MEM_CGROUP_ID_SHIFT, NODES_SHIFT, PFN_BITS, SWP_TB_COUNT_BITS, SWP_TB_COUNT_MAX, SWP_TB_FLAGS_BITS,
};
use crate::base::types::{MemcgId, Pfn, SwpEntry, SwpOffset, SwpType};
use crate::base::words::words;

const COUNT_SHIFT: u32 = 64 - SWP_TB_COUNT_BITS;
const COUNT_ONE: u64 = 1 << COUNT_SHIFT;
const FLAGS_SHIFT: u32 = 64 - SWP_TB_FLAGS_BITS;
const FLAGS_MASK: u64 = !0 << FLAGS_SHIFT;
/// The zero mark: set when the content of the slot is all zeros and was never written to a storage. Kernel: the zero
/// flag of the swap table series, phase IV.
const ZERO_MARK: u64 = 1 << FLAGS_SHIFT;
const SHADOW_MARK: u64 = 1;
const PFN_MARK: u64 = 2;
const PFN_SHIFT: u32 = 2;
const POINTER_MARK: u64 = 0b100;
const POINTER_MASK: u64 = 0b111;
const OWNER_SHIFT: u32 = 3;
const OWNER_OFFSET_BITS: u32 = 40;
const OWNER_TYPE_SHIFT: u32 = OWNER_SHIFT + OWNER_OFFSET_BITS;
/// Set while the virtual slot that the Pointer names is cached and has no references.
const POINTER_CACHE_ONLY: u64 = 1 << 63;
const BAD: u64 = !0 << 3;

const WORKINGSET_SHIFT: u32 = 1;
const NODE_SHIFT: u32 = WORKINGSET_SHIFT + 1;
const MEMCG_SHIFT: u32 = NODE_SHIFT + NODES_SHIFT;
const EVICTION_SHIFT: u32 = MEMCG_SHIFT + MEM_CGROUP_ID_SHIFT;

const COUNT_MASK: u64 = !0 << COUNT_SHIFT;
const MEMCG_MASK: u64 = ((1 << MEM_CGROUP_ID_SHIFT) - 1) << MEMCG_SHIFT;

const _: () = assert!(EVICTION_SHIFT + EVICTION_BITS == FLAGS_SHIFT, "a shadow fills the bits below the flags");
const _: () = assert!(BAD & 0b111 == 0 && BAD & 0b1000 != 0, "Bad is told from Shadow, PFN and Pointer by low bits");

words! {
    /// The kind of a table entry, which is the state of its slot.
    pub enum EntryKind: "kind of entry" {
        /// The slot is free.
        Null = "null",
        /// The slot is in use and not cached.
        Shadow = "shadow",
        /// The slot is in use and cached by a folio.
        Pfn = "folio",
        /// The slot is never usable.
        Bad = "bad",
        /// The slot backs a virtual slot.
        Pointer = "pointer",
    }
}

impl EntryKind {
    /// Returns the number of the kind in lists of slots: 0 free, 1 swapped out, 2 cached, 3 bad, 4 pointer.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Workingset data of a page that was evicted, with the group that is charged for the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shadow {
    /// The eviction age. A larger age is masked to [`EVICTION_BITS`] bits, not saturated.
    pub eviction: u64,
    /// The private id of the charged memcg; 0 when no memcg is charged.
    pub memcg: MemcgId,
    /// The NUMA node of the page.
    pub node: u16,
    /// Whether the page was part of the working set.
    pub is_workingset: bool,
}

/// The result of dropping one reference of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutStep {
    /// The entry with one reference less.
    Inline(SwapTableEntry),
    /// The extend table has the count, so the reference must be subtracted there. When the count falls to 14, the
    /// count is moved back into the entry.
    Extended,
}

/// The result of adding one reference to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DupStep {
    /// The entry with one reference more.
    Inline(SwapTableEntry),
    /// The entry with the overflow mark. The count in the extend table starts at 15.
    Overflow(SwapTableEntry),
    /// The extend table has the count, so the reference must be added there.
    Extended,
}

/// One entry of a swap table, a 64-bit word. Kernel: the value behind `swp_tb_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct SwapTableEntry(u64);

impl SwapTableEntry {
    /// The entry of a free slot.
    pub const NULL: Self = Self(0);
    /// The entry of a slot that is never handed out.
    pub const BAD: Self = Self(BAD);
    /// A swapped-out entry with one reference and no workingset data: the entry of a slot that `alloc` or hibernation
    /// just got.
    pub const SWAPPED_OUT: Self = Self(SHADOW_MARK | COUNT_ONE);

    /// Makes an entry from a raw word.
    pub const fn from_raw(word: u64) -> Self {
        Self(word)
    }

    /// Returns the raw word.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Builds a cached entry without references.
    pub const fn cached(pfn: Pfn) -> Self {
        Self((pfn.0 & ((1 << PFN_BITS) - 1)) << PFN_SHIFT | PFN_MARK)
    }

    /// Builds the entry of a real slot that backs the virtual slot `owner`. Kernel: the reverse map; differs: the
    /// entry also names the device.
    pub const fn pointer(owner: SwpEntry) -> Self {
        let (ty, offset) = (owner.ty().0 as u64, owner.offset().0 as u64);
        Self(ty << OWNER_TYPE_SHIFT | offset << OWNER_SHIFT | POINTER_MARK)
    }

    /// The difference between the raw Pointers of two neighbouring slots of a run.
    pub(crate) const POINTER_STEP: u64 = 1 << OWNER_SHIFT;

    /// The bit of a Pointer that is set while the virtual slot that the Pointer names is cached and has no
    /// references.
    pub(crate) const CACHE_ONLY_BIT: u64 = POINTER_CACHE_ONLY;

    /// Returns the virtual slot that a Pointer names.
    pub fn owner(self) -> Option<SwpEntry> {
        let (ty, offset) = (SwpType((self.0 >> OWNER_TYPE_SHIFT) as u8), SwpOffset((self.0 >> OWNER_SHIFT) as u32));
        (self.kind() == EntryKind::Pointer).then(|| SwpEntry::new(ty, offset))
    }

    /// Returns whether the entry is a Pointer to a virtual slot that is cached and has no references. The real slot
    /// of such a Pointer can be freed.
    pub const fn is_cache_only_pointer(self) -> bool {
        self.0 & POINTER_MASK == POINTER_MARK && self.0 & POINTER_CACHE_ONLY != 0
    }

    /// Builds a swapped-out entry with the inline reference count `count` (0..=14).
    pub const fn swapped_out(shadow: Shadow, count: u8) -> Self {
        debug_assert!(count < SWP_TB_COUNT_MAX);
        Self(shadow.pack() | (count as u64) << COUNT_SHIFT)
    }

    /// Returns the kind of the entry.
    pub const fn kind(self) -> EntryKind {
        if self.0 == 0 {
            EntryKind::Null
        } else if self.0 == BAD {
            EntryKind::Bad
        } else if self.0 & 0b11 == PFN_MARK {
            EntryKind::Pfn
        } else if self.0 & SHADOW_MARK != 0 {
            EntryKind::Shadow
        } else {
            EntryKind::Pointer
        }
    }

    /// Returns whether the slot is free.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Returns whether a folio caches the slot.
    pub const fn is_cached(self) -> bool {
        self.0 & 0b11 == PFN_MARK
    }

    /// Returns whether the slot is swapped out, is not cached and has exactly one reference. Such a slot is freed by
    /// a single store.
    pub const fn is_last_swapped_out(self) -> bool {
        self.differs_from_last() == 0
    }

    /// Returns the bits in which the entry differs from a swapped-out entry with exactly one reference.
    pub(crate) const fn differs_from_last(self) -> u64 {
        (self.0 ^ (COUNT_ONE | SHADOW_MARK)) & (COUNT_MASK | SHADOW_MARK)
    }

    /// Returns the bits in which the entry differs from a swapped-out entry with exactly one reference and no owner
    /// in its shadow.
    pub(crate) const fn differs_from_last_unowned(self) -> u64 {
        (self.0 ^ (COUNT_ONE | SHADOW_MARK)) & (COUNT_MASK | SHADOW_MARK | MEMCG_MASK)
    }

    /// Returns the inline count, or `None` for Bad and Pointer, which have no count. Count 15 means that the extend
    /// table has the count.
    pub const fn count(self) -> Option<u8> {
        match self.kind() {
            EntryKind::Null | EntryKind::Shadow | EntryKind::Pfn => Some((self.0 >> COUNT_SHIFT) as u8),
            EntryKind::Pointer | EntryKind::Bad => None,
        }
    }

    /// Returns whether the slot is cached and has no references.
    pub const fn is_cache_only(self) -> bool {
        self.is_cached() && self.0 >> COUNT_SHIFT == 0
    }

    /// Returns whether the entry has the zero mark.
    pub const fn is_zero(self) -> bool {
        self.0 != BAD && self.0 & ZERO_MARK != 0
    }

    /// Returns the PFN of a cached entry.
    pub const fn pfn(self) -> Option<Pfn> {
        if self.is_cached() { Some(Pfn((self.0 & !FLAGS_MASK) >> PFN_SHIFT)) } else { None }
    }

    /// Returns the shadow of a swapped-out entry, `None` for other kinds.
    pub fn shadow(self) -> Option<Shadow> {
        (self.kind() == EntryKind::Shadow).then(|| Shadow::unpack(self.0))
    }

    /// Turns a swapped-out entry into a cached entry with the same count and zero mark. Returns `None` when the slot
    /// is not swapped out.
    pub fn to_cached(self, pfn: Pfn) -> Option<Self> {
        (self.kind() == EntryKind::Shadow).then(|| Self(Self::cached(pfn).0 | self.0 & FLAGS_MASK))
    }

    /// Turns a cached entry into a swapped-out entry with the same count and zero mark. Returns `None` when the slot
    /// is not cached.
    pub fn to_swapped_out(self, shadow: Shadow) -> Option<Self> {
        self.is_cached().then(|| Self(shadow.pack() | self.0 & FLAGS_MASK))
    }

    /// Replaces the PFN of a cached entry. The count and the zero mark do not change. Returns `None` when the slot is
    /// not cached.
    pub fn with_pfn(self, pfn: Pfn) -> Option<Self> {
        self.is_cached().then(|| Self(Self::cached(pfn).0 | self.0 & FLAGS_MASK))
    }

    /// Returns a cached entry with the zero mark set or cleared; `None` when the slot is not cached.
    pub fn with_zero(self, is_zero: bool) -> Option<Self> {
        self.is_cached().then_some(Self(if is_zero { self.0 | ZERO_MARK } else { self.0 & !ZERO_MARK }))
    }

    /// Sets the zero mark of a swapped-out entry whose slot was never written, because no storage has data of this
    /// slot and a swap-in must give zeros.
    pub(crate) const fn never_written(self) -> Self {
        debug_assert!(matches!(self.kind(), EntryKind::Shadow));
        Self(self.0 | ZERO_MARK)
    }

    /// Adds one reference. Returns `None` for a kind without a count. The caller decides whether a count of 0 may
    /// become 1.
    pub const fn dup(self) -> Option<DupStep> {
        match self.count() {
            None => None,
            Some(SWP_TB_COUNT_MAX) => Some(DupStep::Extended),
            Some(count) => {
                let more = Self(self.0 + COUNT_ONE);
                Some(if count + 1 == SWP_TB_COUNT_MAX { DupStep::Overflow(more) } else { DupStep::Inline(more) })
            }
        }
    }

    /// Drops one reference. Returns `None` when the entry has no reference.
    pub const fn put(self) -> Option<PutStep> {
        match self.count() {
            None | Some(0) => None,
            Some(SWP_TB_COUNT_MAX) => Some(PutStep::Extended),
            Some(_) => Some(PutStep::Inline(Self(self.0 - COUNT_ONE))),
        }
    }

    /// Returns the entry with the inline count 14, after the count in the extend table fell to 14.
    pub const fn back_inline(self) -> Self {
        debug_assert!(self.0 >> COUNT_SHIFT == SWP_TB_COUNT_MAX as u64);
        Self(self.0 - COUNT_ONE)
    }
}

impl Shadow {
    /// Packs the shadow and the Shadow mark into bits 0..58.
    pub const fn pack(self) -> u64 {
        SHADOW_MARK
            | (self.is_workingset as u64) << WORKINGSET_SHIFT
            | (self.node as u64 & ((1 << NODES_SHIFT) - 1)) << NODE_SHIFT
            | (self.memcg.0 as u64) << MEMCG_SHIFT
            | (self.eviction & ((1 << EVICTION_BITS) - 1)) << EVICTION_SHIFT
    }

    const fn unpack(word: u64) -> Self {
        Self {
            eviction: (word & !FLAGS_MASK) >> EVICTION_SHIFT,
            memcg: MemcgId((word >> MEMCG_SHIFT) as u16),
            node: (word >> NODE_SHIFT) as u16 & ((1 << NODES_SHIFT) - 1),
            is_workingset: word >> WORKINGSET_SHIFT & 1 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHADOW: Shadow = Shadow { eviction: 0xabcde, memcg: MemcgId(0x1234), node: 1, is_workingset: true };

    #[test]
    fn shadow_packs_as_the_reference_vectors() {
        assert_eq!(SHADOW.pack(), 0xabc_de12_3407);
        assert_eq!(Shadow { memcg: MemcgId(0x1234), ..Shadow::default() }.pack(), 0x12_3401);
        let masked = Shadow { eviction: (1 << 35) + 5, memcg: MemcgId(1), ..Shadow::default() };
        assert_eq!(masked.pack(), 0x500_0101);
    }

    #[test]
    fn shadow_with_flags_packs_and_unpacks() {
        let entry = SwapTableEntry::swapped_out(SHADOW, 3).to_cached(Pfn(9)).and_then(|e| e.with_zero(true));
        let entry = entry.and_then(|e| e.to_swapped_out(SHADOW)).expect("a cached entry leaves the cache");
        assert_eq!(entry.raw(), 0x3800_0abc_de12_3407);
        assert_eq!((entry.count(), entry.is_zero(), entry.shadow()), (Some(3), true, Some(SHADOW)));
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(SwapTableEntry::NULL.kind(), EntryKind::Null);
        assert_eq!(SwapTableEntry::BAD.kind(), EntryKind::Bad);
        assert_eq!(SwapTableEntry::cached(Pfn(u64::MAX)).kind(), EntryKind::Pfn);
        assert_eq!(SwapTableEntry::from_raw(0b1100).kind(), EntryKind::Pointer);
        assert_eq!(SwapTableEntry::SWAPPED_OUT.kind(), EntryKind::Shadow);
        assert_eq!(SwapTableEntry::SWAPPED_OUT.raw(), 0x1000_0000_0000_0001);
        let owned = SwapTableEntry::swapped_out(Shadow { memcg: MemcgId(7), ..SHADOW }, 1);
        let is_unowned = |entry: SwapTableEntry| entry.differs_from_last_unowned() == 0;
        assert!(is_unowned(SwapTableEntry::SWAPPED_OUT) && !is_unowned(owned) && owned.is_last_swapped_out());
        assert!(!is_unowned(SwapTableEntry::BAD) && !SwapTableEntry::BAD.is_last_swapped_out());
        assert_eq!(SwapTableEntry::BAD.count(), None);
        assert!(!SwapTableEntry::BAD.is_zero());
    }

    #[test]
    fn pointers_name_their_owner() {
        for owner in [SwpEntry::new(SwpType(0), SwpOffset(1)), SwpEntry::new(SwpType(23), SwpOffset(u32::MAX))] {
            let pointer = SwapTableEntry::pointer(owner);
            assert_eq!((pointer.kind(), pointer.owner(), pointer.count()), (EntryKind::Pointer, Some(owner), None));
            assert!(!pointer.is_cache_only_pointer() && !pointer.is_zero() && !pointer.is_cached());
            let cache_only = SwapTableEntry::from_raw(pointer.raw() | SwapTableEntry::CACHE_ONLY_BIT);
            assert_eq!((cache_only.is_cache_only_pointer(), cache_only.owner()), (true, Some(owner)));
            let next = SwapTableEntry::from_raw(pointer.raw() + SwapTableEntry::POINTER_STEP);
            assert_ne!(next.owner(), Some(owner));
        }
        assert!(!SwapTableEntry::BAD.is_cache_only_pointer() && SwapTableEntry::BAD.owner().is_none());
        assert_eq!(SwapTableEntry::pointer(SwpEntry::new(SwpType(2), SwpOffset(5))).raw(), 2 << 43 | 5 << 3 | 4);
    }

    #[test]
    fn moving_in_and_out_of_the_cache_keeps_the_flags() {
        let entry = SwapTableEntry::swapped_out(SHADOW, 7);
        let cached = entry.to_cached(Pfn(0x55)).expect("swapped out");
        assert_eq!((cached.pfn(), cached.count()), (Some(Pfn(0x55)), Some(7)));
        assert_eq!(cached.to_swapped_out(SHADOW), Some(entry));
        assert_eq!(cached.to_cached(Pfn(1)), None);
        let moved = cached.with_pfn(Pfn(0x66)).expect("cached");
        assert_eq!((moved.pfn(), moved.count()), (Some(Pfn(0x66)), Some(7)));
        assert_eq!(entry.with_pfn(Pfn(1)), None);
        assert_eq!(entry.to_swapped_out(SHADOW), None);
        assert_eq!(entry.with_zero(true), None);
        assert_eq!(SwapTableEntry::NULL.to_cached(Pfn(1)), None);
    }

    #[test]
    fn counting_up_and_down_passes_every_step() {
        let mut entry = SwapTableEntry::cached(Pfn(3));
        for count in 0..14 {
            assert_eq!(entry.count(), Some(count));
            let Some(DupStep::Inline(more)) = entry.dup() else { panic!("dup at {count}: {:?}", entry.dup()) };
            entry = more;
        }
        let Some(DupStep::Overflow(full)) = entry.dup() else { panic!("14 overflows") };
        assert_eq!((full.count(), full.dup()), (Some(15), Some(DupStep::Extended)));
        assert_eq!(full.put(), Some(PutStep::Extended));
        assert_eq!(full.back_inline(), entry);
        for count in (0..14).rev() {
            let Some(PutStep::Inline(less)) = entry.put() else { panic!("put to {count}: {:?}", entry.put()) };
            entry = less;
            assert_eq!(entry.count(), Some(count));
        }
        assert_eq!(entry.put(), None);
        assert!(entry.is_cache_only());
        assert_eq!(SwapTableEntry::BAD.dup(), None);
    }
}
