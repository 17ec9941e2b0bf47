//! Where memcg is asked and told: the call points of the swap paths, with nothing behind them while memcg is disabled.

use std::fmt::Debug;

use crate::error::Result;
use crate::folio::Folio;
use crate::types::MemcgId;

/// What a memory controller does at each step. Kernel: the `mem_cgroup_*` functions named at each method.
///
/// Calls marked "cluster lock" are made under one: they add and subtract, and must not sleep or reclaim.
pub trait Charging: Send + Sync + Debug {
    /// Charges the slots that a folio just got to its owner; the folio is locked and cached. Errors: `NoMemory` refused.
    ///
    /// Kernel: `mem_cgroup_try_charge_swap`. Step O2.
    fn try_charge_swap(&self, folio: Folio<'_>) -> Result<()>;

    /// Uncharges slots that were freed, of one recorded owner. Cluster lock. Kernel: `mem_cgroup_uncharge_swap`.
    fn uncharge_swap(&self, owner: MemcgId, nr_pages: u32);

    /// Charges the memory of a folio that was just inserted over slots; it is locked and no lock else is held.
    /// `owner` is the id their shadow records. Errors: `NoMemory` refused.
    ///
    /// Kernel: `mem_cgroup_swapin_charge_folio`. Step I3.
    fn charge_swapin(&self, folio: Folio<'_>, owner: MemcgId) -> Result<()>;

    /// Takes back what memory and swap are now both charged with. Kernel: `memcg1_swapin`. Step I3, after the charge.
    fn swapin(&self, folio: Folio<'_>, owner: MemcgId);

    /// Says which id the slots of a folio that leaves the cache record, and pins it once a page. Cluster lock.
    ///
    /// Kernel: the owner step of `__swap_cache_del_folio`.
    fn removal_owner(&self, folio: Folio<'_>) -> MemcgId;

    /// Takes over the charge of another folio, at migration and split. Kernel: `mem_cgroup_migrate`, `split_page_memcg`.
    fn migrate(&self, old: Folio<'_>, new: Folio<'_>);

    /// Uncharges the memory of a folio that is freed. Kernel: `mem_cgroup_uncharge`.
    fn uncharge(&self, folio: Folio<'_>);
}
