//! Stores of folios into zswap and loads from zswap. This file checks the limits, records which zswap entry belongs
//! to a slot, and charges the entry to its group.

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CpuId, CssId, Order, SwpEntry, SwpOffset, ZswapId};
use crate::folio::LockedFolio;
use crate::machine::device::SwapDevice;
use crate::machine::{Event, OnCpu, Operation, OrderEvent, Swap};
use crate::memcg::{MemCgroup, MemcgStat, PAGE_COUNTER_MAX};
use crate::table::{Stored, VirtualWord};
use crate::zswap::{PoorPage, damaged};

impl Operation<'_> {
    /// Replaces the zswap entry of a slot by the entry `new`, or by none, and frees the old entry. If the slot is
    /// virtual, an entry `new` replaces any kind of backing of the slot. The caller holds the lock of the folio that
    /// caches the slot. Locks: the cluster lock.
    fn zswap_replace(&mut self, device: &SwapDevice, offset: SwpOffset, new: Option<ZswapId>) {
        if !device.is_virtual() {
            if let Some(old) = self.swap.zswap().map_replace(device.entry_at(offset), new) {
                self.swap.zswap_free(old);
            }
            return;
        }
        let slot = offset.in_cluster();
        let mut ci = device.clusters.lock_used(offset.cluster());
        let is_stored = matches!(ci.virtual_word(slot).stored(), Stored::Zswap(_));
        // If `new` is `None`, a real slot that backs the virtual slot stays, because the data in the real slot is not
        // in zswap.
        if new.is_some() || is_stored {
            self.release_backing(device, &mut ci, slot..slot + 1);
            ci.set_virtual_word(slot, new.map_or(VirtualWord::NONE, VirtualWord::zswap));
        }
    }
}

impl OnCpu<'_> {
    /// Replaces the zswap entries of the slots of a locked cached folio's pages `pages`; see
    /// `Operation::zswap_replace`. Errors: `NotCached` (EINVAL).
    fn zswap_replace_pages(&mut self, folio: &LockedFolio<'_>, pages: Range<u32>, new: Option<ZswapId>) -> Result<()> {
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        pages.for_each(|i| op.zswap_replace(device, offset.plus(i), new));
        self.finish();
        Ok(())
    }

    /// Frees the zswap entry `id` of a slot, and on a device that is not virtual removes the entry from the map of
    /// zswap entries, because the locked folio that caches the slot now holds the page. A virtual slot already has a
    /// real slot as its backing and no longer names the entry. Errors: `NotCached` (EINVAL).
    pub(crate) fn forget_in_zswap(&mut self, folio: &LockedFolio<'_>, id: ZswapId) -> Result<()> {
        let swap = self.swap();
        let (device, offset) = self.operation().folio_slots(folio.folio())?;
        if !device.is_virtual() {
            let old = swap.zswap().map_replace(device.entry_at(offset), None);
            debug_assert_eq!(old, Some(id), "the holder of the folio lock owns the entry");
        }
        swap.zswap_free(id);
        Ok(())
    }

    /// Makes `id` the zswap entry of a slot again after a failed writeback of the entry. If the slot is virtual and
    /// its backing is now a real slot, the real slot is freed. Errors: `NotCached` (EINVAL).
    pub(crate) fn put_back_in_zswap(&mut self, folio: &LockedFolio<'_>, id: ZswapId) -> Result<()> {
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        if device.is_virtual() {
            op.zswap_replace(device, offset, Some(id));
        }
        self.finish();
        Ok(())
    }
}

/// The result of a request to zswap to store a folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ZswapStore {
    /// zswap is off and holds no entries. Nothing changed.
    NotAsked,
    /// zswap holds no page of the folio. The call may have released the backing of the folio's virtual slots.
    Refused,
    /// zswap holds all pages of the folio.
    Stored,
}

impl Swap {
    /// Returns whether the limits of a group and of all groups above the group allow that zswap stores more pages for
    /// the group. Kernel: `obj_cgroup_may_zswap`.
    pub(crate) fn may_zswap(&self, group: &MemCgroup) -> bool {
        let Some(groups) = self.memcg().filter(|groups| !groups.do_memsw_account()) else { return true };
        groups.charged_levels(group).all(|level| match level.zswap_max_pages() {
            PAGE_COUNTER_MAX => true,
            max => groups.stat(level, MemcgStat::ZswapB).max(0) as u64 / (PAGE_SIZE as u64) < max,
        })
    }

    /// Returns whether pages of a group may be written to a device, by a swap-out or by a writeback from zswap: the
    /// group and all groups above the group must allow the writeback. While zswap is disabled, the result is true for
    /// every group, because a page that must not go to a device could then not be swapped out at all. Kernel:
    /// `mem_cgroup_zswap_writeback_enabled`.
    pub(crate) fn is_zswap_writeback_enabled(&self, group: Option<&MemCgroup>) -> bool {
        let (true, Some(groups), Some(group)) = (self.zswap.is_enabled(), self.memcg(), group) else { return true };
        groups.levels(group).all(MemCgroup::may_zswap_writeback)
    }

    /// Returns the group that is charged for the pages of a folio in zswap. It is the folio's group, or if that group
    /// is removed, its nearest online ancestor. Kernel: `get_obj_cgroup_from_folio`.
    fn zswap_group_of(&self, locked: &LockedFolio<'_>) -> Option<&MemCgroup> {
        let groups = self.memcg()?;
        self.group_of(locked.folio()).map(|group| groups.nearest_online(group))
    }

    /// Moves the zswap entries of a removed group, together with their charge, to the nearest online ancestor of the
    /// group. While the group is online, the call does nothing.
    ///
    /// The caller holds a reference to the group. Locks: the lock of zswap's entries. Kernel:
    /// `memcg_reparent_objcgs`, `memcg_reparent_list_lrus`.
    pub(crate) fn reparent_zswap(&self, css: CssId) {
        let Some(groups) = self.memcg() else { return };
        let mut from = groups.get(css);
        // The ancestor can be removed before the entries arrive on its list. The removal of the ancestor has then
        // moved the list without these entries, so the loop moves the entries on.
        while !from.is_online() {
            let to = groups.nearest_online(from);
            let mut nr_moved = 0;
            self.zswap.reparent(from.css(), to.css(), |compressed| {
                // The uncharge of `from` comes before the charge of `to`, so that the usage of common ancestors never
                // exceeds its old value, and no watermark rises.
                self.charge_zswap(from, -compressed);
                self.charge_zswap(to, compressed);
                nr_moved = compressed.nr_pages as u64;
                groups.css_get(to, nr_moved);
            });
            if nr_moved > 0 {
                groups.css_put(from, nr_moved);
            }
            from = to;
        }
    }

    /// Stores all pages of a locked cached folio in zswap, or none of them. In both cases the older zswap entries of
    /// the folio's slots are freed. The caller holds the folio lock. No other lock is held while a page is
    /// compressed. Kernel: `zswap_store`.
    pub(crate) fn zswap_store(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<ZswapStore> {
        let is_enabled = self.zswap.is_enabled();
        if !is_enabled && !self.zswap.has_entries() {
            return Ok(ZswapStore::NotAsked);
        }
        let nr_pages = locked.nr_pages();
        if is_enabled && self.has_zswap_room(locked, cpu) && self.zswap_store_pages(locked, cpu)? {
            let on_cpu = self.on_cpu(cpu)?;
            on_cpu.counters().count(Event::ZswpOut, nr_pages.into());
            on_cpu.counters().count_order(OrderEvent::ZswpOut, locked.order());
            self.count_memcg(locked.folio(), MemcgStat::ZswpOut, nr_pages);
            return Ok(ZswapStore::Stored);
        }
        if is_enabled && self.zswap.is_full() && self.nr_real_swapfiles() > 0 {
            self.zswap.queue_shrink();
        }
        // Older zswap entries of the slots are stale, and a later load must not find them.
        self.on_cpu(cpu)?.zswap_replace_pages(locked, 0..nr_pages, None)?;
        Ok(ZswapStore::Refused)
    }

    /// Returns whether the limits allow that zswap stores the folio. The limit of the group is checked first. If it
    /// is reached, pages of the group are written back, in one attempt. The limit of the zswap pools is checked
    /// second.
    fn has_zswap_room(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> bool {
        let has_room = |group: &MemCgroup| {
            self.may_zswap(group) || self.zswap_shrinker.make_room(self, group.css(), cpu).is_ok_and(|nr| nr > 0)
        };
        self.zswap_group_of(locked).is_none_or(has_room) && !self.zswap.check_limits()
    }

    /// Stores the pages of a locked folio one after the other, and stops at the first page that zswap refuses.
    /// Returns whether every page was stored.
    fn zswap_store_pages(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<bool> {
        let poor = match self.is_zswap_writeback_enabled(self.group_of(locked.folio())) {
            true => PoorPage::Keep,
            false => PoorPage::Reject,
        };
        let group = self.zswap_group_of(locked);
        let first = locked.entry().ok_or(SwapError::NotCached)?;
        let bytes = locked.bytes()?;
        for (page, i) in bytes.chunks_exact(PAGE_SIZE).zip(0..) {
            let stored = self.zswap.store_page(page, first.plus(i), group.map(MemCgroup::css), poor);
            let Ok(id) = stored else { return Ok(false) };
            self.record_stored(locked, i, id, cpu)?;
        }
        Ok(true)
    }

    /// Charges a new zswap entry to its group, and makes it the zswap entry of the slot of page `page` of a locked
    /// folio.
    fn record_stored(&self, locked: &LockedFolio<'_>, page: u32, id: ZswapId, cpu: CpuId) -> Result<()> {
        let entry = self.zswap.entry(id);
        if let (Some(css), Some(groups)) = (entry.css, self.memcg()) {
            let group = groups.get(css);
            groups.css_get(group, 1);
            self.charge_zswap(group, entry.compressed());
        }
        self.zswap.count_stored(&entry);
        self.on_cpu(cpu)?.zswap_replace_pages(locked, page..page + 1, Some(id))?;
        // The entry is added to zswap's LRU list as the last step, because a thread can write back an entry as soon
        // as the entry is on the list.
        self.zswap.list(id);
        if let Some(css) = entry.css {
            self.reparent_zswap(css);
        }
        Ok(())
    }

    /// Returns the first zswap entry that belongs to a slot of a locked cached folio, together with the first slot of
    /// the folio. Returns `None` when zswap has no page of the folio.
    fn find_in_zswap(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<Option<(ZswapId, SwpEntry)>> {
        if !self.zswap.has_entries() {
            return Ok(None);
        }
        let mut on_cpu = self.on_cpu(cpu)?;
        let op = on_cpu.operation();
        let (device, offset) = op.folio_slots(locked.folio())?;
        let found = (0..locked.nr_pages()).find_map(|i| op.zswap_id(device, offset.plus(i)));
        Ok(found.map(|id| (id, device.entry_at(offset))))
    }

    /// Fills a locked folio of one page, which was just inserted into the cache, from zswap, and frees the zswap
    /// entry. The folio is dirty afterwards, because it is then the only copy of its data. Returns whether zswap had
    /// the page.
    ///
    /// Errors: `Io` (EIO) when the compressed data is damaged; the zswap entry then stays. Kernel: `zswap_load`.
    pub(crate) fn zswap_load(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<bool> {
        let Some((id, swp)) = self.find_in_zswap(locked, cpu)? else {
            if self.zswap.is_enabled() {
                self.zswap.note_disk_swapin(self.zswap_group_of(locked).map(MemCgroup::css));
            }
            return Ok(false);
        };
        // A large folio does not reach this line, because a swap-in inserts no large folio whose range has a page in
        // zswap.
        let is_one = locked.order() == Order::ZERO;
        if !is_one || !self.zswap.load_page(id, &mut locked.bytes_mut()?) {
            return Err(damaged(swp, locked.nr_pages()));
        }
        locked.folio_mark_dirty();
        self.on_cpu(cpu)?.zswap_replace_pages(locked, 0..1, None)?;
        Ok(true)
    }
}
