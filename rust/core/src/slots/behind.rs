//! The backing of virtual slots, which is the place of a slot's page: functions that read and release the backing,
//! and the cache-only bit of the reverse map.
//!
//! The backing of a cached slot changes only under the lock of the slot's folio. The backing of a slot without a
//! folio changes only when the slot is freed. The lock of the virtual cluster makes each change atomic. Lock order:
//! first the lock of the virtual cluster, then the lock of the real cluster.

use std::ops::Range;

use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{SwpEntry, SwpOffset, ZswapId};
use crate::cluster::ClusterGuard;
use crate::machine::device::SwapDevice;
use crate::machine::{Operation, Swap};
use crate::memcg::{CounterKind, MemCgroup, MemcgStat};
use crate::slots::FolioSlots;
use crate::table::{Holder, Stored, VirtualWord};
use crate::zswap::Compressed;

impl Operation<'_> {
    /// Returns the id of a slot's zswap entry. The id may be out of date if the caller does not hold the lock of the
    /// folio that the slot caches. Kernel: `xa_load` of the slot's tree, or the virtual word.
    pub(crate) fn zswap_id(&self, device: &SwapDevice, offset: SwpOffset) -> Option<ZswapId> {
        if !device.is_virtual() {
            return self.swap.zswap().map_get(device.entry_at(offset));
        }
        match device.clusters.virtual_word(offset).stored() {
            Stored::Zswap(id) => Some(id),
            _ => None,
        }
    }

    /// Releases the backing of slots of a virtual device. Real slots are freed and, on v2, uncharged; zswap entries
    /// are freed; the slots' second words, which name the backing, become NONE. Zero marks stay. `ci` is the locked
    /// cluster of the slots. Kernel: `vswap_release_backing`.
    #[inline(never)]
    pub(crate) fn release_backing(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, slots: Range<usize>) {
        debug_assert!(device.is_virtual());
        let (Some(words), Some(table)) = (ci.virtual_table(), ci.table()) else { return };
        let mut slot = slots.start;
        while slot < slots.end {
            let mut nr = 1;
            match words.get(slot).stored() {
                Stored::None => {}
                Stored::Zswap(id) => {
                    self.swap.zswap_free(id);
                    words.set(slot, VirtualWord::NONE);
                }
                Stored::Swapfile(first) => {
                    let room = (SWAPFILE_CLUSTER as usize - first.offset().in_cluster()).min(slots.end - slot);
                    let is_next = |&i: &usize| words.get(slot + i) == VirtualWord::swapfile(first.plus(i as u32));
                    nr += (1..room).take_while(is_next).count();
                    for slot in slot..slot + nr {
                        self.uncharge_backing(ci, table, slot);
                        words.set(slot, VirtualWord::NONE);
                    }
                    self.free_unnamed_run(first, nr as u32);
                }
            }
            slot += nr;
        }
    }

    /// Frees a run of real slots that lie in one cluster. No second word of a virtual slot names these real slots any
    /// more. The caller uncharges the run.
    pub(crate) fn free_unnamed_run(&mut self, first: SwpEntry, nr_pages: u32) {
        let device = self.device(first.ty()).expect("a device stays on while it backs a slot");
        let offset = first.offset();
        let mut ci = device.clusters.lock_used(offset.cluster());
        let table = ci.table().expect("slots in use have a table");
        self.clear_entries(device, &mut ci, table, offset.in_cluster(), nr_pages);
    }

    /// Stores a run of real slots as the backing of a locked folio's virtual slots. The caller releases the old
    /// backing first, or keeps the old backing as the source of the data.
    pub(crate) fn set_swapfile(&self, at: &mut FolioSlots<'_>, first: SwpEntry) {
        for (slot, i) in at.slots.clone().zip(0..) {
            let entry = first.plus(i);
            at.ci.set_virtual_word(slot, VirtualWord::swapfile(entry));
            if at.table.get(slot).is_cache_only() {
                self.mark_pointer(entry, Holder::CacheOnly);
            }
        }
    }

    /// Sets or clears the cache-only bit in the reverse map for a cached slot of a virtual device. The slot has just
    /// lost its last reference or got its first reference. `ci` is the locked cluster of the slot.
    #[inline]
    pub(crate) fn mark_backing(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, slot: usize, holder: Holder) {
        if device.is_virtual()
            && let Stored::Swapfile(entry) = ci.virtual_word(slot).stored()
        {
            self.mark_pointer(entry, holder);
        }
    }

    #[inline(never)]
    fn mark_pointer(&self, entry: SwpEntry, holder: Holder) {
        let device = self.device(entry.ty()).expect("a device stays on while it backs a slot");
        device.clusters.mark_holder(entry.offset(), holder);
    }

    /// Returns whether the real slot `entry` is the backing of the virtual slot `owner`. Kernel: the check that the
    /// link from a real slot to its virtual slot is still valid.
    pub(crate) fn is_backed_by(&self, owner: SwpEntry, entry: SwpEntry) -> bool {
        let Some((device, offset)) = self.locate(owner) else { return false };
        let ci = device.clusters.lock(offset.cluster());
        ci.is_some_and(|ci| ci.virtual_word(offset.in_cluster()) == VirtualWord::swapfile(entry))
    }
}

impl Swap {
    /// Frees the zswap entries of slots of a device that is not virtual. The cluster of the slots is locked. Kernel:
    /// `zswap_invalidate`.
    pub(crate) fn zswap_invalidate_run(&self, device: &SwapDevice, first: SwpOffset, nr: u32) {
        self.zswap.map_take_run(device.entry_at(first), nr, |old| self.zswap_free(old));
    }

    /// Frees and uncharges a zswap entry that no slot names any more. Locks: spin locks only.
    pub(crate) fn zswap_free(&self, id: ZswapId) {
        let entry = self.zswap.remove(id);
        if let (Some(css), Some(groups)) = (entry.css, self.memcg()) {
            let group = groups.get(css);
            self.charge_zswap(group, -entry.compressed());
            groups.css_put(group, 1);
        }
    }

    /// Charges compressed pages to a group, or uncharges them when the numbers are negative. Memory is charged in
    /// whole pages, and no limit refuses the charge. On v1 nothing is charged. Kernel: `obj_cgroup_charge_zswap`.
    pub(crate) fn charge_zswap(&self, group: &MemCgroup, compressed: Compressed) {
        let Some(groups) = self.memcg().filter(|groups| !groups.do_memsw_account()) else { return };
        group.count(MemcgStat::Zswapped, compressed.nr_pages);
        group.count(MemcgStat::ZswapIncomp, compressed.nr_incompressible_pages);
        match group.add_zswap_bytes(compressed.bytes) {
            0 => {}
            pages if pages > 0 => groups.charge(group, CounterKind::Memory, pages as u64),
            pages => groups.uncharge(group, CounterKind::Memory, pages.unsigned_abs()),
        }
    }
}
