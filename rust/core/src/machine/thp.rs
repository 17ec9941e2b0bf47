//! The rule by which the allocation of a large folio may reclaim memory. Kernel: `transparent_hugepage/defrag`.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Swap;
use crate::base::gfp::Gfp;
use crate::base::words::words;

words! {
    /// The mappings for whose large folios an allocation or a charge may reclaim memory.
    #[derive(Default)]
    pub enum ThpDefrag: "thp_defrag" {
        /// Every mapping. Reclaim is tried once for a mapping that is not advised to be huge.
        Always = "always",
        /// No mapping; kswapd may be woken.
        Defer = "defer",
        /// The mappings that are advised to be huge; for all others kswapd may be woken.
        DeferMadvise = "defer+madvise",
        /// The mappings that are advised to be huge.
        #[default]
        Madvise = "madvise",
        /// No mapping.
        Never = "never",
    }
}

impl ThpDefrag {
    /// Returns the allocation mask for the large folios of a mapping. `is_hugepage` says whether the mapping is
    /// advised to be huge. Kernel: `vma_thp_gfp_mask`.
    pub(crate) fn gfp(self, is_hugepage: bool) -> Gfp {
        match (self, is_hugepage) {
            (Self::Always, true) | (Self::DeferMadvise | Self::Madvise, true) => Gfp::TRANSHUGE,
            (Self::Always, false) => Gfp::TRANSHUGE | Gfp::NORETRY,
            (Self::Defer, _) | (Self::DeferMadvise, false) => Gfp::TRANSHUGE_LIGHT | Gfp::KSWAPD_RECLAIM,
            (Self::Madvise, false) | (Self::Never, _) => Gfp::TRANSHUGE_LIGHT,
        }
    }
}

/// The current word of [`ThpDefrag`], as an index of `ThpDefrag::ALL`.
#[derive(Debug)]
pub(crate) struct Defrag(AtomicU8);

impl Default for Defrag {
    fn default() -> Self {
        Self(AtomicU8::new(ThpDefrag::default() as u8))
    }
}

impl Swap {
    /// Returns the rule for reclaim in the allocation of large folios.
    pub fn thp_defrag(&self) -> ThpDefrag {
        // Relaxed: the word guards no other data.
        ThpDefrag::ALL[usize::from(self.defrag.0.load(Ordering::Relaxed))]
    }

    /// Sets the rule for reclaim in the allocation of large folios. Kernel: a write of
    /// `/sys/kernel/mm/transparent_hugepage/defrag`.
    pub fn set_thp_defrag(&self, defrag: ThpDefrag) {
        self.defrag.0.store(defrag as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_masks_of_the_kernel_reclaim() {
        let reclaims = |is_hugepage: bool| {
            let gfp = |defrag: &ThpDefrag| defrag.gfp(is_hugepage).contains(Gfp::DIRECT_RECLAIM);
            ThpDefrag::ALL.iter().map(gfp).collect::<Vec<_>>()
        };
        assert_eq!(reclaims(true), [true, false, true, true, false]);
        assert_eq!(reclaims(false), [true, false, false, false, false]);
        assert!(ThpDefrag::Always.gfp(false).contains(Gfp::NORETRY));
        assert!(!ThpDefrag::Always.gfp(true).contains(Gfp::NORETRY));
    }
}
