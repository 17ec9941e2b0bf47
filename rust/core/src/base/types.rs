//! Newtypes for every kind of index, so that code that mixes two kinds does not compile. Each newtype has a short
//! display form for logs.

use std::fmt;

use crate::base::limits::{MAX_ORDER, SWAPFILE_CLUSTER, SWP_TYPE_SHIFT};

/// A swap entry: type and slot offset in one word. Value 0 means "no entry". Kernel: `swp_entry_t`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct SwpEntry(u64);

impl SwpEntry {
    /// The entry with value 0. This entry names no slot, because slot 0 of type 0 is a header and is never handed
    /// out.
    pub const NONE: Self = Self(0);

    /// Packs a type and an offset.
    pub const fn new(ty: SwpType, offset: SwpOffset) -> Self {
        Self(((ty.0 as u64) << SWP_TYPE_SHIFT) | offset.0 as u64)
    }

    /// Makes an entry from its value without a check; [`SwpEntry::parts`] checks whether the entry can name a slot.
    pub const fn from_value(value: u64) -> Self {
        Self(value)
    }

    /// Returns the value, which contains type and offset.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Returns the swap type, which is the number of the device.
    pub const fn ty(self) -> SwpType {
        SwpType((self.0 >> SWP_TYPE_SHIFT) as u8)
    }

    /// Returns the number of the slot on its device. The number is wrong for an entry with more than 32 offset bits;
    /// [`SwpEntry::parts`] returns `None` for such an entry.
    pub const fn offset(self) -> SwpOffset {
        SwpOffset(self.0 as u32)
    }

    /// Splits the entry into type and offset. Returns `None` when the entry cannot name a slot (bit 63 set, offset
    /// over 32 bits).
    pub const fn parts(self) -> Option<(SwpType, SwpOffset)> {
        if self.0 >> 63 != 0 || (self.0 << (64 - SWP_TYPE_SHIFT)) >> (64 - SWP_TYPE_SHIFT) > u32::MAX as u64 {
            return None;
        }
        Some((self.ty(), self.offset()))
    }

    /// Returns the entry of the slot that is `n` slots after this slot on the same device.
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0 + n as u64)
    }
}

impl fmt::Display for SwpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swp({}:{:#x})", self.0 >> SWP_TYPE_SHIFT, self.0 & ((1 << SWP_TYPE_SHIFT) - 1))
    }
}

impl fmt::Debug for SwpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a zswap entry, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ZswapId(pub std::num::NonZeroU32);

/// A device number, 0..[`crate::base::limits::MAX_SWAPFILES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct SwpType(pub u8);

impl SwpType {
    /// Returns the number as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A slot number on its device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct SwpOffset(pub u32);

impl SwpOffset {
    /// Returns the cluster of the slot.
    pub const fn cluster(self) -> ClusterIdx {
        ClusterIdx(self.0 / SWAPFILE_CLUSTER)
    }

    /// Returns the slot number that is greater by `n`.
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0 + n)
    }

    /// Returns the slot's index in its cluster.
    pub const fn in_cluster(self) -> usize {
        (self.0 % SWAPFILE_CLUSTER) as usize
    }
}

/// The number of a cluster on its device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ClusterIdx(pub u32);

impl ClusterIdx {
    /// Returns the cluster's first slot.
    pub const fn base(self) -> SwpOffset {
        SwpOffset(self.0 * SWAPFILE_CLUSTER)
    }

    /// Returns the number as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ClusterIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C{}", self.0)
    }
}

/// log2 of the number of pages of a request, 0..=[`MAX_ORDER`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// A single page.
    pub const ZERO: Self = Self(0);
    /// A whole cluster.
    pub const MAX: Self = Self(MAX_ORDER);

    /// Makes an order from a number. Returns `None` for a number over [`MAX_ORDER`].
    pub const fn new(order: u8) -> Option<Self> {
        if order > MAX_ORDER { None } else { Some(Self(order)) }
    }

    /// Makes an order from a stored number that [`Order::get`] returned when the number was stored.
    #[inline]
    pub(crate) const fn stored(order: u8) -> Self {
        debug_assert!(order <= MAX_ORDER);
        Self(order)
    }

    /// Returns every order, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=MAX_ORDER).map(Self)
    }

    /// Returns log2 of the number of pages.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Returns the number as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the number of pages, `1 << order`.
    pub const fn nr_pages(self) -> u32 {
        1 << self.0
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

/// Number of the CPU that a call uses. The number selects the CPU's allocation hints, counters and local lock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct CpuId(pub u16);

impl CpuId {
    /// Returns the number as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The private id of a memory cgroup, which is recorded as the owner of a slot; 0 means no owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct MemcgId(pub u16);

/// The number of a memory cgroup, counted from 1; 0 means no group. Kernel: a pointer to `struct mem_cgroup`.
///
/// A group also has a [`MemcgId`]. The `MemcgId` is released earlier than the `CssId`, and another group can get the
/// `MemcgId` from then on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct CssId(pub u32);

impl CssId {
    /// The root group.
    pub const ROOT: Self = Self(1);

    /// Returns the number as an array index; the index of the root is 0.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }
}

/// A page frame number. The frame number of a folio's first page names the folio in the subsystem's `Memory`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Pfn(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_packs_type_and_offset() {
        let entry = SwpEntry::new(SwpType(1), SwpOffset(0x2a3));
        assert_eq!(entry.value(), (1 << 58) | 0x2a3);
        assert_eq!(entry.parts(), Some((SwpType(1), SwpOffset(0x2a3))));
        assert_eq!(entry.to_string(), "swp(1:0x2a3)");
        assert_eq!(entry.plus(2).offset(), SwpOffset(0x2a5));
        assert_eq!([63, 32].map(|bit| SwpEntry::from_value(1 << bit).parts()), [None, None]);
    }

    #[test]
    fn order_over_the_largest_is_refused() {
        assert_eq!(Order::new(9).map(Order::nr_pages), Some(512));
        assert!(Order::new(10).is_none());
    }
}
