//! The owner of a single slot (the group that is charged for the slot), and the ages of the evictions that the slots
//! of a group record.

use super::TargetGroup;
use crate::base::error::Result;
use crate::base::types::{CpuId, CssId, MemcgId, SwpEntry};
use crate::machine::Swap;
use crate::table::Shadow;
use crate::workingset::is_from_eviction;

impl Swap {
    /// Returns the private id of the group that is charged for a slot, or 0. The result for a cached slot is usually
    /// 0, because the group of the folio is then charged for the slot. The result for a cached slot is the owner only
    /// if the configured owner store keeps owners in a place of their own, outside the table entries.
    ///
    /// Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Locks: CPU 0's local lock, the slot's cluster.
    pub fn slot_owner_id(&self, entry: SwpEntry) -> Result<MemcgId> {
        let mut on_cpu = self.on_cpu(CpuId(0))?;
        let op = on_cpu.operation();
        let (device, offset) = op.resolve(entry, 1)?;
        let Some(ci) = device.clusters.lock(offset.cluster()) else { return Ok(MemcgId(0)) };
        Ok(ci.table().map_or(MemcgId(0), |table| op.slot_owner(&ci, table, offset.in_cluster())))
    }

    /// Returns the ages of the evictions that the swapped-out slots of a group record. A slot without a recorded
    /// eviction gives no age. The age of an eviction is the number of pages that were evicted or activated since that
    /// eviction. The order of the ages is arbitrary. With the working-set rule `mglru` every age is 0, because MGLRU
    /// does not count evicted and activated pages.
    ///
    /// Errors: `Cgroup` (EINVAL) when memcg is disabled. Locks, for each cluster: CPU 0's local lock, then the
    /// cluster lock. Kernel: the distance that `workingset_refault` would find.
    pub fn swap_ages(&self, css: CssId) -> Result<Vec<u64>> {
        let target = self.target_group(css)?;
        let id = target.group.id();
        let mut ages = Vec::new();
        if id.0 == 0 {
            // Without an id, the group was removed and its id released, and no slot records a released id as its
            // owner.
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

    /// Returns the number of pages that were evicted or activated since the eviction that `shadow` records, or `None`
    /// when the group in the shadow was released.
    fn age(&self, target: TargetGroup<'_>, shadow: Shadow) -> Option<u64> {
        let lruvec = target.groups.lookup(shadow.memcg)?.lruvec();
        Some(self.workingset.distance_pages(lruvec.nonresident_age(), shadow))
    }
}
