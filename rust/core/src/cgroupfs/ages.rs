//! Who owns single slots, and how long ago they were evicted: the working set as the slots of a group tell it.

use super::TargetGroup;
use crate::base::error::Result;
use crate::base::types::{CpuId, CssId, MemcgId, SwpEntry};
use crate::machine::Swap;
use crate::table::Shadow;
use crate::workingset::is_from_eviction;

impl Swap {
    /// Returns the private id of who is charged for a slot, 0 for nobody. A slot that a folio caches has none, unless the
    /// owner store keeps one beside it: its owner is the folio's.
    ///
    /// Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Locks: CPU 0's local lock, the slot's cluster.
    pub fn slot_owner_id(&self, entry: SwpEntry) -> Result<MemcgId> {
        let mut on_cpu = self.on_cpu(CpuId(0))?;
        let op = on_cpu.operation();
        let (device, offset) = op.resolve(entry, 1)?;
        let Some(ci) = device.clusters.lock(offset.cluster()) else { return Ok(MemcgId(0)) };
        Ok(ci.table().map_or(MemcgId(0), |table| op.slot_owner(&ci, table, offset.in_cluster())))
    }

    /// Returns, for each slot of a group that is swapped out and was evicted, the pages that were evicted or became active
    /// since, where its eviction is remembered. In no order; with `mglru`, which has no such distance, all 0.
    ///
    /// Errors: `Cgroup` (EINVAL) memcg is disabled. Locks: CPU 0's local lock for each cluster anew, the clusters in turn.
    /// Kernel: what `workingset_refault` would find.
    pub fn swap_ages(&self, css: CssId) -> Result<Vec<u64>> {
        let target = self.target_group(css)?;
        let id = target.group.id();
        let mut ages = Vec::new();
        if id.0 == 0 {
            // No slot records a released id.
            return Ok(ages);
        }
        for device in self.devices() {
            for idx in device.clusters.live() {
                let mut on_cpu = self.on_cpu(CpuId(0))?;
                let op = on_cpu.operation();
                let Some(ci) = device.clusters.lock(idx) else { continue };
                let Some(table) = ci.table() else { continue };
                let owned = table.iter().enumerate().filter(|&(slot, _)| op.slot_owner(&ci, table, slot) == id);
                let shadows = owned.filter_map(|(_, word)| word.shadow()).filter(|&shadow| is_from_eviction(shadow));
                ages.extend(shadows.filter_map(|shadow| self.age(target, shadow)));
            }
        }
        Ok(ages)
    }

    /// Returns the pages since an eviction; `None` if the group that remembers it is gone.
    fn age(&self, target: TargetGroup<'_>, shadow: Shadow) -> Option<u64> {
        let lruvec = target.groups.lookup(shadow.memcg)?.lruvec();
        Some(self.workingset.distance_pages(lruvec.nonresident_age(), shadow))
    }
}
