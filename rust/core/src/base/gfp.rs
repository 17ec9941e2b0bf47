//! Allocation flags of a folio, and the rule by which the mask of a swap-in's caller limits the mask of a large
//! folio.
//!
//! Only flags that the core reads are defined. The bit positions differ from the kernel's, because a mask never
//! leaves the process.

bitflags::bitflags! {
    /// Permissions of a folio allocation, and the zones from which its memory may come. Kernel: `gfp_t`; differs: bit
    /// positions.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Gfp: u32 {
        /// Memory that old devices can address. Kernel: `__GFP_DMA`.
        const DMA = 1 << 0;
        /// Memory above the kernel's direct map. Kernel: `__GFP_HIGHMEM`.
        const HIGHMEM = 1 << 1;
        /// Memory below 4 GiB. Kernel: `__GFP_DMA32`.
        const DMA32 = 1 << 2;
        /// The page can be migrated; the flag also selects a zone. Kernel: `__GFP_MOVABLE`.
        const MOVABLE = 1 << 3;
        /// Starting device transfers is allowed. Kernel: `__GFP_IO`.
        const IO = 1 << 4;
        /// Calling into file systems is allowed. Kernel: `__GFP_FS`.
        const FS = 1 << 5;
        /// The allocation itself may reclaim pages. Kernel: `__GFP_DIRECT_RECLAIM`.
        const DIRECT_RECLAIM = 1 << 6;
        /// kswapd may be woken. Kernel: `__GFP_KSWAPD_RECLAIM`.
        const KSWAPD_RECLAIM = 1 << 7;
        /// A failure prints nothing. Kernel: `__GFP_NOWARN`.
        const NOWARN = 1 << 8;
        /// Reclaim is tried once, lightly. Kernel: `__GFP_NORETRY`.
        const NORETRY = 1 << 9;
        /// The pages form one compound page. Kernel: `__GFP_COMP`.
        const COMP = 1 << 10;
        /// Emergency reserves stay untouched. Kernel: `__GFP_NOMEMALLOC`.
        const NOMEMALLOC = 1 << 11;
        /// The cpuset policy is enforced. Kernel: `__GFP_HARDWALL`.
        const HARDWALL = 1 << 12;

        /// The zone bits. Kernel: `GFP_ZONEMASK`.
        const ZONEMASK = Self::DMA.bits() | Self::HIGHMEM.bits() | Self::DMA32.bits() | Self::MOVABLE.bits();
        /// Reclaim by the caller and by kswapd. Kernel: `__GFP_RECLAIM`.
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
        /// Flags that [`thp_limit_gfp_mask`] keeps only if both of its masks have the flag.
        const PERMISSIONS = Self::IO.bits() | Self::FS.bits() | Self::RECLAIM.bits();
        /// Flags that [`thp_limit_gfp_mask`] sets if one of its masks has the flag.
        const RESTRICTIONS = Self::NOWARN.bits() | Self::NORETRY.bits();
        /// Mask of most faults: a movable page for user space. Kernel: `GFP_HIGHUSER_MOVABLE`.
        const HIGHUSER_MOVABLE = Self::RECLAIM.bits() | Self::IO.bits() | Self::FS.bits() | Self::HARDWALL.bits()
            | Self::HIGHMEM.bits() | Self::MOVABLE.bits();
        /// Mask of an allocation that uses free memory only. Kernel: `GFP_NOWAIT`.
        const NOWAIT = Self::KSWAPD_RECLAIM.bits() | Self::NOWARN.bits();
        /// Mask of a large folio that is allocated without reclaim. Kernel: `GFP_TRANSHUGE_LIGHT`.
        const TRANSHUGE_LIGHT = Self::HIGHUSER_MOVABLE.bits() & !Self::RECLAIM.bits()
            | Self::COMP.bits() | Self::NOMEMALLOC.bits() | Self::NOWARN.bits();
        /// Mask of a large folio for which direct reclaim is allowed. Kernel: `GFP_TRANSHUGE`.
        const TRANSHUGE = Self::TRANSHUGE_LIGHT.bits() | Self::DIRECT_RECLAIM.bits();
    }
}

const _: () = assert!(Gfp::PERMISSIONS.intersection(Gfp::RESTRICTIONS.union(Gfp::ZONEMASK)).is_empty(), "apart");
const _: () = assert!(Gfp::RESTRICTIONS.intersection(Gfp::ZONEMASK).is_empty(), "restrictions are no zones");

/// Returns the mask of a swap-in of order over 0: the mask `huge`, limited by the caller's mask `limit`.
///
/// Zones come from `limit`. A permission must be in both masks. A restriction applies if either mask has the
/// restriction. All other bits come from `huge`. Kernel: `limit_gfp_mask` (mm/shmem.c). The result has the same bits
/// as in the kernel; the core calls the function for every large swap-in.
pub const fn thp_limit_gfp_mask(huge: Gfp, limit: Gfp) -> Gfp {
    let kept = huge.difference(Gfp::PERMISSIONS).difference(Gfp::ZONEMASK);
    kept.union(limit.intersection(Gfp::ZONEMASK.union(Gfp::RESTRICTIONS)))
        .union(huge.intersection(limit).intersection(Gfp::PERMISSIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_follows_the_reference_vector() {
        let huge = Gfp::IO | Gfp::FS | Gfp::KSWAPD_RECLAIM | Gfp::COMP | Gfp::NOWARN;
        let limit = Gfp::IO | Gfp::RECLAIM | Gfp::NORETRY | Gfp::DMA32;
        let limited = Gfp::IO | Gfp::KSWAPD_RECLAIM | Gfp::COMP | Gfp::NOWARN | Gfp::NORETRY | Gfp::DMA32;
        assert_eq!(thp_limit_gfp_mask(huge, limit), limited);
    }

    #[test]
    fn the_user_movable_mask_limits_nothing() {
        for huge in [Gfp::TRANSHUGE, Gfp::TRANSHUGE_LIGHT, Gfp::TRANSHUGE_LIGHT | Gfp::KSWAPD_RECLAIM] {
            assert_eq!(thp_limit_gfp_mask(huge, Gfp::HIGHUSER_MOVABLE), huge);
        }
    }

    /// Covers every pair of masks.
    #[test]
    fn each_bit_follows_its_class_for_every_pair_of_masks() {
        let nr_bits = Gfp::all().bits().trailing_ones();
        for pair in 0..1u32 << (2 * nr_bits) {
            let (huge, limit) = (pair >> nr_bits, pair & Gfp::all().bits());
            let limited = thp_limit_gfp_mask(Gfp::from_bits_truncate(huge), Gfp::from_bits_truncate(limit));
            // Bits 0..4 are zones, bits 4..8 are permissions, bits 8..10 are restrictions, and bits 10..13 are the
            // other flags.
            let expected = (limit & 0xf) | (huge & limit & 0xf0) | ((huge | limit) & 0x300) | (huge & 0x1c00);
            assert_eq!(limited.bits(), expected, "huge {huge:#x} limit {limit:#x}");
        }
    }
}
