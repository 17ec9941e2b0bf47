//! Pages into zswap and out of it: who may store, where the number of a slot's entry is kept, who is charged.

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset, ZswapId};
use crate::folio::{FolioFlags, LockedFolio};
use crate::machine::device::SwapDevice;
use crate::machine::{Event, OnCpu, Operation, OrderEvent, Swap};
use crate::memcg::{MemCgroup, MemcgStat, PAGE_COUNTER_MAX};
use crate::table::{Stored, VirtualWord};
use crate::zswap::{PoorPage, damaged};

impl Operation<'_> {
    /// Puts another entry, or none, in the place of what a slot has in zswap and frees that; of a virtual slot whatever is
    /// behind it. The folio over the slot is locked. Locks: the cluster's.
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
        // Without a new one real slots stay: they are not zswap's.
        if new.is_some() || is_stored {
            self.release_backing(device, &mut ci, slot..slot + 1);
            ci.set_virtual_word(slot, new.map_or(VirtualWord::NONE, VirtualWord::zswap));
        }
    }
}

impl OnCpu<'_> {
    /// Lets a slot forget the entry whose page the locked folio over it holds by now, and frees that. A virtual slot has a real
    /// one behind it already. Errors: `NotCached` (EINVAL).
    pub(crate) fn forget_in_zswap(&mut self, folio: &LockedFolio<'_>, id: ZswapId) -> Result<()> {
        let swap = self.swap();
        let (device, offset) = self.operation().folio_slots(folio.folio())?;
        if !device.is_virtual() {
            let old = swap.zswap().map_replace(device.entry_at(offset), None);
            debug_assert_eq!(old, Some(id), "who has the folio locked owns the entry");
        }
        swap.zswap_free(id);
        Ok(())
    }

    /// Gives a slot back the entry that it was to give up; a real slot that was put behind a virtual one meanwhile is free.
    /// Errors: `NotCached` (EINVAL).
    pub(crate) fn put_back_in_zswap(&mut self, folio: &LockedFolio<'_>, id: ZswapId) -> Result<()> {
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        if device.is_virtual() {
            let slot = offset.in_cluster();
            let mut ci = device.clusters.lock_used(offset.cluster());
            op.release_backing(device, &mut ci, slot..slot + 1);
            ci.set_virtual_word(slot, VirtualWord::zswap(id));
        }
        self.finish();
        Ok(())
    }
}

/// What zswap says to a folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ZswapStore {
    /// Nothing: it is off and has nothing of any slot. Nothing changed.
    NotAsked,
    /// It has no page of the folio; of a virtual one some slots may have lost what was behind them.
    Refused,
    /// It has all pages of it.
    Stored,
}

/// Whether pages of a folio may be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Room {
    Yes,
    No,
}

/// What holds for every page of a folio that goes to zswap.
#[derive(Clone, Copy, Debug)]
struct StoreFor<'s> {
    /// The group that is charged; `None` without memcg.
    group: Option<&'s MemCgroup>,
    poor: PoorPage,
}

impl Swap {
    /// Says whether a group and all above it have room for compressed pages. Kernel: `obj_cgroup_may_zswap`.
    pub(crate) fn may_zswap(&self, group: &MemCgroup) -> bool {
        let Some(groups) = self.memcg().filter(|groups| !groups.do_memsw_account()) else { return true };
        groups.charged_levels(group).all(|level| match level.zswap_max_pages() {
            PAGE_COUNTER_MAX => true,
            max => groups.stat(level, MemcgStat::ZswapB).max(0) as u64 / (PAGE_SIZE as u64) < max,
        })
    }

    /// Says whether pages of a group may go on from zswap to a device: if it and all above it say so. Kernel:
    /// `mem_cgroup_zswap_writeback_enabled`.
    pub(crate) fn is_zswap_writeback_enabled(&self, group: Option<&MemCgroup>) -> bool {
        let (Some(groups), Some(group)) = (self.memcg(), group) else { return true };
        groups.levels(group).all(MemCgroup::may_zswap_writeback)
    }

    /// Stores a locked cached folio, all of it or nothing. What zswap had of its slots is gone in either case. Locks: the
    /// folio's; nothing else is held while a page is compressed. Kernel: `zswap_store`.
    pub(crate) fn zswap_store(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<ZswapStore> {
        let is_enabled = self.zswap.is_enabled();
        if !is_enabled && !self.zswap.has_entries() {
            return Ok(ZswapStore::NotAsked);
        }
        let nr_pages = locked.nr_pages();
        if is_enabled && self.zswap_room(locked, cpu)? == Room::Yes && self.zswap_store_pages(locked, cpu)? {
            let on_cpu = self.on_cpu(cpu)?;
            on_cpu.counters().count(Event::ZswpOut, nr_pages.into());
            on_cpu.counters().count_order(OrderEvent::ZswpOut, locked.order());
            drop(on_cpu);
            self.count_memcg(locked.folio(), MemcgStat::ZswpOut, nr_pages);
            return Ok(ZswapStore::Stored);
        }
        if is_enabled && self.zswap.is_full() && self.nr_real_swapfiles() > 0 {
            self.zswap.queue_shrink();
        }
        // A stale older copy must never be read back.
        let mut on_cpu = self.on_cpu(cpu)?;
        let mut op = on_cpu.operation();
        let (device, offset) = op.folio_slots(locked.folio())?;
        (0..nr_pages).for_each(|i| op.zswap_replace(device, offset.plus(i), None));
        on_cpu.finish();
        Ok(ZswapStore::Refused)
    }

    /// Asks the limits: those of the group, which is shrunk once for it, and that of the pools.
    fn zswap_room(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<Room> {
        if let Some(group) = self.group_of(locked.folio())
            && !self.may_zswap(group)
            && self.zswap_shrinker.make_room(self, group.css(), cpu).unwrap_or(0) == 0
        {
            return Ok(Room::No);
        }
        Ok(if self.zswap.check_limits() { Room::No } else { Room::Yes })
    }

    /// Stores page after page; stops at the first that is refused.
    fn zswap_store_pages(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<bool> {
        let group = self.group_of(locked.folio());
        let poor = if self.is_zswap_writeback_enabled(group) { PoorPage::Keep } else { PoorPage::Reject };
        let bytes = locked.bytes()?;
        for (page, i) in bytes.chunks_exact(PAGE_SIZE).zip(0..) {
            self.zswap.begin_store();
            let stored = self.zswap_store_page(locked, page, i, StoreFor { group, poor }, cpu);
            self.zswap.end_store();
            if !stored? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stores one page of a locked folio and lets its slot name the entry; says whether it was taken.
    fn zswap_store_page(
        &self,
        locked: &LockedFolio<'_>,
        page: &[u8],
        i: u32,
        store_for: StoreFor<'_>,
        cpu: CpuId,
    ) -> Result<bool> {
        let StoreFor { group, poor } = store_for;
        let swp = locked.entry().ok_or(SwapError::NotCached)?.plus(i);
        let Ok(id) = self.zswap.store_page(page, swp, group.map(MemCgroup::css), poor) else { return Ok(false) };
        let entry = self.zswap.entry(id);
        if let (Some(group), Some(groups)) = (group, self.memcg()) {
            groups.css_get(group, 1);
            self.charge_zswap(group, entry.bytes.into());
        }
        self.zswap.count_stored(&entry);
        let mut on_cpu = self.on_cpu(cpu)?;
        let mut op = on_cpu.operation();
        let (device, offset) = op.folio_slots(locked.folio())?;
        op.zswap_replace(device, offset.plus(i), Some(id));
        on_cpu.finish();
        drop(on_cpu);
        // Last: from here on it may be written back, by whoever can insert a folio over the slot.
        self.zswap.list(id);
        Ok(true)
    }

    /// Finds the first entry that the slots of a locked cached folio have, and the folio's first slot.
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

    /// Fills a locked folio of one page that was just inserted from zswap and forgets the copy there; the folio is dirty then,
    /// being the only one. Says whether zswap had it.
    ///
    /// Errors: `Io` (EIO) the data is damaged, and stays. Kernel: `zswap_load`.
    pub(crate) fn zswap_load(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<bool> {
        let Some((id, swp)) = self.find_in_zswap(locked, cpu)? else {
            if self.zswap.is_enabled() {
                self.zswap.note_disk_swapin(self.group_of(locked.folio()).map(MemCgroup::css));
            }
            return Ok(false);
        };
        // The look before insertion keeps large folios away.
        let is_one = locked.order() == Order::ZERO;
        if !is_one || !self.zswap.load_page(id, &mut locked.bytes_mut()?) {
            return Err(damaged(swp, locked.nr_pages()));
        }
        locked.set(FolioFlags::DIRTY);
        let mut on_cpu = self.on_cpu(cpu)?;
        let mut op = on_cpu.operation();
        let (device, offset) = op.folio_slots(locked.folio())?;
        op.zswap_replace(device, offset, None);
        on_cpu.finish();
        Ok(true)
    }
}
