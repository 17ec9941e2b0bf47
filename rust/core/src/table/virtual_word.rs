//! The second word of a virtual slot, which names the place of the slot's data: the encodings of the word, and the
//! meaning of the word together with the table entry.
//!
//! ```text
//! bit       63..59   58 .......................  3   2  1  0
//! NONE      0                                                  no zswap entry and no real slot
//! ZSWAP              number of the zswap entry       0  0  1
//! SWAPFILE  type(5)  slot of a real device (56)      0  1  0
//! ```
//!
//! The second word does not say that the data is all zeros, or that the data is only in a folio. The table entry says
//! so: it has the zero mark, or it names the folio.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Zeroable;

use super::SwapTableEntry;
use crate::base::limits::{PAGE_SIZE, SWAPFILE_CLUSTER};
use crate::base::types::{SwpEntry, SwpOffset, SwpType, ZswapId};

const TAG_BITS: u32 = 3;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const ZSWAP: u64 = 1;
const SWAPFILE: u64 = 2;
const TYPE_BITS: u32 = 5;
const TYPE_SHIFT: u32 = 64 - TYPE_BITS;

const _: () = assert!(crate::base::limits::MAX_SWAPFILES <= 1 << TYPE_BITS, "a device type fits");

/// The place of a virtual slot's data. Kernel: the effective type of a vswap entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// No place, because the slot is free.
    None,
    /// The data is all zeros, and no storage has the data.
    Zero,
    /// The data is compressed in zswap.
    Zswap,
    /// The data is on this slot of a real device.
    Swapfile(SwpEntry),
    /// The data is only in the folio that caches the slot.
    Folio,
}

impl Backing {
    /// Returns the kernel's name of the place, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zero => "zero",
            Self::Zswap => "zswap",
            Self::Swapfile(_) => "swapfile",
            Self::Folio => "folio",
        }
    }

    /// Returns whether `next`, the backing of the slot `nr` slots behind the slot of `self`, belongs to the same run
    /// as `self`.
    pub fn continues(self, nr: u32, next: Self) -> bool {
        match (self, next) {
            (Self::Swapfile(first), Self::Swapfile(at)) => at.value() == first.value() + nr as u64,
            _ => self == next,
        }
    }
}

/// The decoded second word of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    None,
    Zswap(ZswapId),
    Swapfile(SwpEntry),
}

/// The second word of a virtual slot. Kernel: the entry of a virtual table, tags of `enum vswap_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct VirtualWord(u64);

impl VirtualWord {
    /// The word of a slot without a zswap entry and without a real slot.
    pub(crate) const NONE: Self = Self(0);

    /// Makes the word for data in the zswap entry `id`.
    pub(crate) const fn zswap(id: ZswapId) -> Self {
        Self((id.0.get() as u64) << TAG_BITS | ZSWAP)
    }

    /// Makes the word for data on a slot of a real device.
    pub(crate) fn swapfile(entry: SwpEntry) -> Self {
        Self(u64::from(entry.ty().0) << TYPE_SHIFT | u64::from(entry.offset().0) << TAG_BITS | SWAPFILE)
    }

    /// Decodes the word. Panics when the tag is unknown.
    pub(crate) fn stored(self) -> Stored {
        let payload = self.0 >> TAG_BITS;
        match self.0 & TAG_MASK {
            0 => Stored::None,
            ZSWAP => Stored::Zswap(ZswapId(NonZeroU32::new(payload as u32).expect("zswap numbers its entries from 1"))),
            SWAPFILE => {
                Stored::Swapfile(SwpEntry::new(SwpType((self.0 >> TYPE_SHIFT) as u8), SwpOffset(payload as u32)))
            }
            tag => unreachable!("tag {tag} of a virtual word"),
        }
    }

    /// Returns whether the data is on a slot of a real device.
    pub(crate) const fn is_swapfile(self) -> bool {
        self.0 & TAG_MASK == SWAPFILE
    }

    /// Returns the place of the data, from this word and the table entry `entry`. If this word is NONE and the entry
    /// has the zero mark, the result is [`Backing::Zero`], even if the slot is cached. Kernel: `vswap_type` of a
    /// slot.
    pub(crate) fn backing(self, entry: SwapTableEntry) -> Backing {
        match self.stored() {
            Stored::Zswap(_) => Backing::Zswap,
            Stored::Swapfile(entry) => Backing::Swapfile(entry),
            Stored::None if entry.is_zero() => Backing::Zero,
            Stored::None if entry.is_cached() => Backing::Folio,
            Stored::None => Backing::None,
        }
    }
}

/// The second words of the slots of one cluster.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct VirtualTable([AtomicU64; SWAPFILE_CLUSTER as usize]);

const _: () = assert!(size_of::<VirtualTable>() == PAGE_SIZE, "a virtual table is one page");

// SAFETY: all zero bytes are 512 atomics of value 0, which are 512 words NONE.
#[expect(unsafe_code, reason = "virtual tables live in zeroed mappings")]
unsafe impl Zeroable for VirtualTable {}

impl VirtualTable {
    /// Reads the second word of a slot. The word may be out of date if the caller does not hold the cluster lock.
    #[inline]
    pub(crate) fn get(&self, slot: usize) -> VirtualWord {
        // Relaxed: the word is self-contained. A caller that acts on the word holds the folio lock and the cluster
        // lock, which order the access.
        VirtualWord(self.0[slot].load(Ordering::Relaxed))
    }

    /// Writes the second word of a slot. Locks: the caller holds the cluster lock and, if the slot has a folio, the
    /// folio lock.
    #[inline]
    pub(crate) fn set(&self, slot: usize, word: VirtualWord) {
        // Relaxed: see `get`.
        self.0[slot].store(word.0, Ordering::Relaxed);
    }

    /// Returns whether the second word of every slot is NONE.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::types::Pfn;

    fn at(ty: u8, offset: u32) -> SwpEntry {
        SwpEntry::new(SwpType(ty), SwpOffset(offset))
    }

    #[test]
    fn words_keep_what_they_are_given() {
        assert_eq!(VirtualWord::NONE.stored(), Stored::None);
        for id in [1, 77, u32::MAX] {
            let id = ZswapId(NonZeroU32::new(id).expect("not 0"));
            assert_eq!(VirtualWord::zswap(id).stored(), Stored::Zswap(id));
        }
        for entry in [at(0, 1), at(7, 511), at(27, u32::MAX)] {
            let word = VirtualWord::swapfile(entry);
            assert!(word.is_swapfile());
            assert_eq!(word.stored(), Stored::Swapfile(entry));
        }
        assert_eq!(VirtualWord::swapfile(at(31, 5)).0, 31 << 59 | 5 << 3 | 2);
    }

    /// For every row of the table of states in `docs/steps.md`, the table entry and the second word of the row must
    /// give the place of the data that the row names.
    #[test]
    fn rows_of_the_state_table() {
        let (cached, swapped_out) = (SwapTableEntry::cached(Pfn(9)), SwapTableEntry::SWAPPED_OUT);
        let zero = swapped_out.to_cached(Pfn(9)).and_then(|entry| entry.with_zero(true)).expect("cached");
        let zero_out = zero.to_swapped_out(Default::default()).expect("cached");
        let (zswap, swapfile) = (VirtualWord::zswap(ZswapId(NonZeroU32::MIN)), VirtualWord::swapfile(at(1, 8)));
        let rows = [
            (VirtualWord::NONE, SwapTableEntry::NULL, Backing::None),
            (VirtualWord::NONE, cached, Backing::Folio),
            (VirtualWord::NONE, zero, Backing::Zero),
            (VirtualWord::NONE, zero_out, Backing::Zero),
            (zswap, cached, Backing::Zswap),
            (zswap, swapped_out, Backing::Zswap),
            (swapfile, cached, Backing::Swapfile(at(1, 8))),
            (swapfile, swapped_out, Backing::Swapfile(at(1, 8))),
        ];
        for (word, entry, backing) in rows {
            assert_eq!(word.backing(entry), backing, "{word:?} {entry:?}");
        }
    }

    #[test]
    fn a_run_on_a_device_needs_consecutive_slots() {
        let first = Backing::Swapfile(at(1, 8));
        assert!(first.continues(2, Backing::Swapfile(at(1, 10))));
        assert!(!first.continues(2, Backing::Swapfile(at(1, 11))));
        assert!(!first.continues(1, Backing::Swapfile(at(2, 9))));
        assert!(Backing::Zero.continues(5, Backing::Zero) && !Backing::Zero.continues(1, Backing::Zswap));
    }
}
