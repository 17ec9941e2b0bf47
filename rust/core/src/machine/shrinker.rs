//! The one call upward: `datapath` and `reclaim` ask for room in zswap, and the writeback that makes room stands in
//! `swapping`.
//!
//! A store into a full zswap and reclaim both write pages of zswap back to a device. Writeback allocates a folio,
//! charges it and may reclaim, so its code stands above `datapath` and `reclaim`. This trait cuts the circle: `Swap`
//! holds an implementation, and `lifecycle` names the implementation when it makes a `Swap`.

use std::fmt::Debug;

use super::Swap;
use crate::base::error::Result;
use crate::base::types::{CpuId, CssId};

/// Writeback of zswap pages as the folders below `swapping` call it. Kernel: the shrinker that zswap registers, and
/// `shrink_memcg`.
pub(crate) trait ZswapShrinker: Debug + Send + Sync {
    /// Writes back a batch of the oldest pages of one group; returns how many. Errors: those of [`Swap::shrink_memcg`].
    fn make_room(&self, swap: &Swap, css: CssId, cpu: CpuId) -> Result<u64>;

    /// Writes back the share of a group's pages that reclaim at a priority wants; returns how many. `css` is `None`
    /// while memcg is disabled.
    fn shrink_for_reclaim(&self, swap: &Swap, css: Option<CssId>, priority: u8, cpu: CpuId) -> u64;
}
