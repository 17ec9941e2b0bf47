//! The memory controller of a subsystem: the group that is charged for a folio, and the error for a charge that a
//! limit refused.

use super::Swap;
use rustix::io::Errno;

use crate::base::error::{Result, SwapError};
use crate::base::types::{CssId, SwpType};
use crate::folio::Folio;
use crate::memcg::{CounterKind, MemCgroup, MemCgroups, MemcgStat};

impl Swap {
    /// Returns the memory controller, or `None` while memcg is disabled.
    #[inline]
    pub fn memcg(&self) -> Option<&MemCgroups> {
        self.memory_of_folios().memcg()
    }

    /// Returns the group that is charged for a folio, or `None` when no group is charged.
    pub fn group_of(&self, folio: Folio<'_>) -> Option<&MemCgroup> {
        let css = folio.css()?;
        Some(self.memcg()?.get(css))
    }

    /// Returns the types of the devices that may hold the data of a folio, the best device first; see
    /// `MemCgroups::device_list`. `None` allows all devices. Locks: the lock of each group's policy table in turn.
    pub(crate) fn allowed_devices(&self, folio: Folio<'_>) -> Option<Vec<SwpType>> {
        self.memcg()?.device_list(self.group_of(folio)?)
    }

    /// Adds `nr` to a statistic of the group that is charged for a folio. Kernel: `count_memcg_folio_events`.
    pub(crate) fn count_memcg(&self, folio: Folio<'_>, stat: MemcgStat, nr: u32) {
        if let Some(group) = self.group_of(folio) {
            group.count(stat, nr.into());
        }
    }

    /// Returns the error for a charge that the limit of `level` refused: `OverLimit` (ENOMEM), with the path, usage
    /// and limit of the group.
    pub(crate) fn over_limit(&self, level: &MemCgroup, which: CounterKind, nr_pages: u64) -> SwapError {
        let groups = self.memcg().expect("a charge was tried");
        let counter = level.counter(which);
        let limit = match (which, groups.do_memsw_account()) {
            (CounterKind::Memory, false) => "memory.max",
            (CounterKind::Memory, true) => "memory.limit_in_bytes",
            (CounterKind::Swap, false) => "memory.swap.max",
            (CounterKind::Swap, true) => "memory.memsw.limit_in_bytes",
        };
        SwapError::OverLimit {
            limit,
            group: groups.path(level.css()),
            css: level.css(),
            nr_pages,
            usage_pages: counter.usage_pages(),
            max_pages: counter.max_pages(),
        }
    }

    /// Returns the memory controller. Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn memcg_enabled(&self) -> Result<&MemCgroups> {
        self.memcg().ok_or_else(|| SwapError::cgroup(Errno::INVAL, "memcg is disabled".into()))
    }

    /// Returns whether swap space, or the swap of the folio's group, is so full that the slots of a folio in memory
    /// should be freed. Kernel: `mem_cgroup_swap_full`.
    pub(crate) fn mem_cgroup_swap_full(&self, folio: Folio<'_>) -> bool {
        let is_full = || Some(self.memcg()?.is_swap_full(self.group_of(folio)?));
        self.vm_swap_full() || is_full().unwrap_or(false)
    }

    /// Returns the group with a given number, or `None` while memcg is disabled.
    pub(crate) fn group(&self, css: CssId) -> Option<&MemCgroup> {
        self.memcg().map(|groups| groups.get(css))
    }
}
