//! Owners of slots: the effect of each step of swap-out, swap-in, removal and free on the counters of groups.
//!
//! The functions of this file add to counters, subtract from counters, and pin and unpin groups. A pin is a reference
//! to the private id of a group. The functions never sleep and never reclaim, so they may run under a cluster lock.
//! The charge of memory may reclaim and is therefore in `reclaim/charge.rs`. The options of the memory controller
//! choose where the owner of a slot is recorded and which group is charged; `docs/memcg.md` compares the choices.

use crate::base::error::{Result, SwapError};
use crate::base::types::{CssId, MemcgId, SwpEntry};
use crate::cluster::ClusterGuard;
use crate::folio::{Folio, FolioFlags, LockedFolio};
use crate::machine::device::SwapDevice;
use crate::machine::{Event, OnCpu, Operation};
use crate::memcg::{CounterKind, LimitKind, LimitNotice, MemCgroup, MemCgroups, MemcgEvent, MemcgStat, OwnerStore};
use crate::slots::FolioSlots;
use crate::table::{EntryKind, Shadow, SwapTable};

/// The state of a range of slots that a swap-in read before it inserts a folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeenSlots {
    /// The shadow of the target slot.
    pub(crate) shadow: Shadow,
    /// The private id of the group that is charged for the slots, or 0.
    pub(crate) owner: MemcgId,
    /// Whether a slot of the range has so many references that it counts as shared.
    pub(crate) is_shared: bool,
}

/// A function that makes the shadow of an eviction; its argument is the group of the evicted folio.
pub(crate) type Evict<'l> = &'l dyn Fn(Option<&MemCgroup>) -> Shadow;

/// The reason why a folio is removed from the swap cache. The reason decides which shadows the slots record.
#[derive(Clone, Copy)]
pub(crate) enum CacheExit<'l> {
    /// Reclaim removes the folio: the slots record the shadow that the given function makes, and the group that is
    /// charged for the slots.
    Reclaimed(Evict<'l>),
    /// Other code than reclaim removes the folio: the slots record the group that is charged for them, or the given
    /// shadow when no group is charged.
    Dropped(Shadow),
    /// The charge of the folio failed: the slots record the given shadow again, unchanged.
    Uncharged(Shadow),
}

/// The shadows that slots record when their folio is removed from the cache: one shadow for slots with references,
/// and one shadow for slots that are freed at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotShadows {
    pub(crate) referenced: Shadow,
    pub(crate) unreferenced: Shadow,
}

impl SlotShadows {
    fn both(shadow: Shadow) -> Self {
        Self { referenced: shadow, unreferenced: shadow }
    }
}

impl MemCgroups {
    /// Moves a charge of swap to another group. No limit refuses the move. Kernel: the charge and uncharge around
    /// `mem_cgroup_private_id_get_online`.
    fn move_swap_charge(&self, from: &MemCgroup, to: &MemCgroup, nr_pages: u64) {
        self.charge(to, CounterKind::Swap, nr_pages);
        self.uncharge(from, CounterKind::Swap, nr_pages);
    }

    /// Moves a charge of swap, and its pages in the statistic `MemcgStat::Swap`, to another group.
    fn move_swap(&self, from: &MemCgroup, to: &MemCgroup, nr_pages: u64) {
        self.move_swap_charge(from, to, nr_pages);
        to.count(MemcgStat::Swap, nr_pages as i64);
        from.count(MemcgStat::Swap, -(nr_pages as i64));
    }

    /// Uncharges slots that have the same recorded owner, and drops the pins on the owner that the slots hold.
    /// Kernel: `mem_cgroup_uncharge_swap`.
    pub(crate) fn uncharge_swap(&self, owner: MemcgId, nr_pages: u64) {
        if let Some(group) = self.lookup(owner) {
            self.uncharge_slots_of(group, nr_pages);
            self.id_put(group, nr_pages);
        }
    }

    /// Uncharges slots of a group. The group stays recorded as the owner of the slots.
    fn uncharge_slots_of(&self, group: &MemCgroup, nr_pages: u64) {
        self.uncharge(group, CounterKind::Swap, nr_pages);
        group.count(MemcgStat::Swap, -(nr_pages as i64));
    }

    /// Charges slots to a group. If a limit refuses the charge, the function raises the swap events `max` and `fail`
    /// of the group, and the error is the group that has this limit. Kernel: `mem_cgroup_try_charge_swap`.
    fn try_charge_slots<'g>(&'g self, group: &'g MemCgroup, nr_pages: u64) -> std::result::Result<(), &'g MemCgroup> {
        self.try_charge(group, CounterKind::Swap, nr_pages).inspect_err(|_| {
            self.raise(group, MemcgEvent::SwapMax);
            self.raise(group, MemcgEvent::SwapFail);
        })?;
        group.count(MemcgStat::Swap, nr_pages as i64);
        Ok(())
    }

    /// Moves the charge of a folio to its slots, on v1 only. Kernel: `memcg1_swapout`.
    fn memcg1_swapout(&self, folio: Folio<'_>, owner: &MemCgroup, payer: &MemCgroup) {
        let nr_pages = u64::from(folio.nr_pages());
        payer.count(MemcgStat::Swap, nr_pages as i64);
        // The folio is removed from its LRU list before its group changes, because the group selects the list.
        folio.lru_del();
        folio.unbind(self);
        self.uncharge(owner, CounterKind::Memory, nr_pages);
        if payer.css() != owner.css() {
            self.move_swap_charge(owner, payer, nr_pages);
        }
        self.css_put(owner, 1);
    }
}

/// The group that is charged for the memory of a folio that is swapped in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payer<'s> {
    pub(crate) group: &'s MemCgroup,
    /// Whether a dead group stays the owner of the slots although another group is charged for the memory.
    pub(crate) keeps_owner: bool,
}

impl OnCpu<'_> {
    /// Returns the group that owns a slot in use: the group that the slot records, or else the group of the folio that
    /// caches the slot. A removed group still owns its slots. The result is `None` for a slot without an owner, for a
    /// real slot that backs a virtual slot, because the virtual slot has the owner, and without memcg.
    ///
    /// Errors: as [`OnCpu::lookup`]. Locks: the slot's cluster. Kernel: `lookup_swap_cgroup_id`; differs: the group of
    /// a cached folio is a result, too.
    pub fn slot_group(&mut self, entry: SwpEntry) -> Result<Option<CssId>> {
        let op = self.operation();
        let (device, offset) = op.resolve_any(entry)?;
        let Some(groups) = op.swap.memcg() else { return Ok(None) };
        let Some(ci) = device.clusters.lock(offset.cluster()) else { return Ok(None) };
        let Some(table) = ci.table() else { return Ok(None) };
        let slot = offset.in_cluster();
        let has_owner = matches!(table.get(slot).kind(), EntryKind::Shadow | EntryKind::Pfn);
        let group = if has_owner { op.group_of_slot(groups, &ci, table, slot) } else { None };
        Ok(group.map(MemCgroup::css))
    }
}

impl<'a> Operation<'a> {
    /// Returns the private id of the group that is charged for a swapped-out slot, or 0. `ci` is the locked cluster
    /// of the slot.
    #[inline]
    pub(crate) fn slot_owner(&self, ci: &ClusterGuard<'_>, table: &SwapTable, slot: usize) -> MemcgId {
        let recorded = ci.owner(slot);
        let in_shadow = || table.get(slot).shadow().map_or(MemcgId(0), |shadow| shadow.memcg);
        match self.swap.memcg().map(|groups| groups.options().owner_store) {
            Some(store) if store.is_record() => recorded,
            Some(_) if recorded.0 != 0 => recorded,
            Some(_) => in_shadow(),
            None => MemcgId(0),
        }
    }

    /// Charges the new slots of a locked folio to the folio's group. Step OUT2. Errors: `OverLimit` (ENOMEM), with
    /// nothing changed.
    ///
    /// Kernel: `mem_cgroup_try_charge_swap`.
    pub(crate) fn try_charge_swap(&mut self, folio: &LockedFolio<'_>) -> Result<()> {
        let Some(groups) = self.swap.memcg() else { return Ok(()) };
        let Some(own) = self.swap.group_of(folio.folio()) else { return Ok(()) };
        let nr_pages = u64::from(folio.nr_pages());
        if !groups.do_memsw_account() {
            let is_record = groups.options().owner_store.is_record();
            let payer = if is_record { groups.id_get_online(own, nr_pages) } else { own };
            // The owner of virtual slots is charged only when the virtual slots get real slots as their backing.
            let is_virtual = self.folio_slots(folio.folio())?.0.is_virtual();
            if !is_virtual && let Err(level) = groups.try_charge_slots(payer, nr_pages) {
                let error = self.refused_swap(level, nr_pages);
                if is_record {
                    groups.id_put(payer, nr_pages);
                }
                return Err(error);
            }
            if is_record {
                self.record_owner(folio.folio(), payer.id())?;
            }
        }
        own.count(MemcgStat::Swapcached, nr_pages as i64);
        Ok(())
    }

    /// Returns the error of a refused charge of swap, and queues a notice for the hooks.
    fn refused_swap(&self, level: &MemCgroup, nr_pages: u64) -> SwapError {
        self.swap.policies.note(LimitNotice { group: level.css(), limit: LimitKind::Swap, nr_pages });
        self.swap.over_limit(level, CounterKind::Swap, nr_pages)
    }

    /// Returns the number of a folio's slots for which their owner is charged. Of virtual slots, only the slots with
    /// a real slot as their backing are charged. On v1 all slots are charged, because memory and swap have one
    /// counter there.
    fn nr_charged(&self, at: &FolioSlots<'_>) -> u64 {
        if !at.device.is_virtual() || self.swap.memcg().is_none_or(|groups| groups.do_memsw_account()) {
            return at.slots.len() as u64;
        }
        at.slots.clone().filter(|&slot| at.ci.virtual_word(slot).is_swapfile()).count() as u64
    }

    /// Returns the group that is charged when a virtual slot gets a real slot as its backing, and that is uncharged
    /// when the real slot is freed. On v1 the result is `None`. `ci` is the locked cluster of the virtual slot.
    fn backing_payer(&self, ci: &ClusterGuard<'_>, table: &SwapTable, slot: usize) -> Option<&'a MemCgroup> {
        let groups = self.swap.memcg().filter(|groups| !groups.do_memsw_account())?;
        self.group_of_slot(groups, ci, table, slot)
    }

    /// Returns the group that a slot records as its owner, or else the group of the folio that caches the slot. `ci` is
    /// the locked cluster of the slot.
    fn group_of_slot(
        &self,
        groups: &'a MemCgroups,
        ci: &ClusterGuard<'_>,
        table: &SwapTable,
        slot: usize,
    ) -> Option<&'a MemCgroup> {
        match (self.slot_owner(ci, table, slot), table.get(slot).pfn()) {
            // On v1 a cached slot records no owner, because memory and swap have one charge, which the folio has.
            (MemcgId(0), Some(pfn)) if groups.do_memsw_account() || !groups.options().owner_store.is_record() => {
                let folio = self.swap.memory_of_folios().folio(pfn);
                if folio.has(FolioFlags::SWAP_UNCHARGED) { None } else { self.swap.group_of(folio) }
            }
            (owner, _) => groups.lookup(owner),
        }
    }

    /// Charges the owner of a locked cached folio's virtual slots for the real slots that will become their backing.
    /// Errors: `OverLimit` (ENOMEM), with nothing changed; `NotCached` (EINVAL). Kernel: the second step of the
    /// charge in the vswap proposal.
    pub(crate) fn try_charge_backing(&mut self, folio: &LockedFolio<'_>) -> Result<()> {
        let nr_pages = u64::from(folio.nr_pages());
        let Some(payer) = self.payer_of(folio)? else { return Ok(()) };
        let groups = self.swap.memcg().expect("it has the payer");
        groups.try_charge_slots(payer, nr_pages).map_err(|level| self.refused_swap(level, nr_pages))
    }

    /// Reverts [`Operation::try_charge_backing`]. Errors: `NotCached` (EINVAL).
    pub(crate) fn cancel_charge_backing(&mut self, folio: &LockedFolio<'_>) -> Result<()> {
        if let (Some(payer), Some(groups)) = (self.payer_of(folio)?, self.swap.memcg()) {
            groups.uncharge_slots_of(payer, folio.nr_pages().into());
        }
        Ok(())
    }

    fn payer_of(&self, folio: &LockedFolio<'_>) -> Result<Option<&'a MemCgroup>> {
        let FolioSlots { ci, table, slots, .. } = self.lock_folio_slots(folio.folio())?;
        Ok(self.backing_payer(&ci, table, slots.start))
    }

    /// Uncharges the owner of a virtual slot whose real slot is freed. `ci` is the locked cluster of the virtual
    /// slot.
    pub(crate) fn uncharge_backing(&self, ci: &ClusterGuard<'_>, table: &SwapTable, slot: usize) {
        if let (Some(payer), Some(groups)) = (self.backing_payer(ci, table, slot), self.swap.memcg()) {
            groups.uncharge_slots_of(payer, 1);
        }
    }

    /// Binds a folio without a group to root, which is never charged. Returns the group of the folio. The functions
    /// that cache a folio call this function, so that every cached folio has a group.
    pub(crate) fn bind_to_root(&self, folio: Folio<'_>) -> Option<&'a MemCgroup> {
        let groups = self.swap.memcg()?;
        if folio.css().is_none() {
            // A folio without a group is already on an LRU list of root, so the folio stays on this list.
            groups.css_get(groups.root(), 1);
            folio.bind(groups.root());
        }
        self.swap.group_of(folio)
    }

    /// Raises the swap event `fail` of the folio's group, because the folio got no slots. Kernel: the same event in
    /// `mem_cgroup_try_charge_swap`.
    pub(crate) fn fail_swap(&self, folio: Folio<'_>) {
        if let (Some(groups), Some(group)) = (self.swap.memcg(), self.swap.group_of(folio))
            && !groups.do_memsw_account()
        {
            groups.raise(group, MemcgEvent::SwapFail);
        }
    }

    /// Returns the number of slots of a locked cached folio that are charged to the folio's group because no other
    /// owner is recorded.
    pub(crate) fn nr_owned_slots(&self, folio: &LockedFolio<'_>) -> u64 {
        let Some(groups) = self.swap.memcg() else { return 0 };
        if groups.do_memsw_account()
            || groups.options().owner_store.is_record()
            || folio.has(FolioFlags::SWAP_UNCHARGED)
        {
            return 0;
        }
        match self.lock_folio_slots(folio.folio()) {
            Ok(at) if at.ci.owner(at.slots.start) == MemcgId(0) => self.nr_charged(&at),
            _ => 0,
        }
    }

    /// Records the owner of a locked cached folio's slots outside their table entries.
    fn record_owner(&mut self, folio: Folio<'_>, id: MemcgId) -> Result<()> {
        let FolioSlots { mut ci, slots, .. } = self.lock_folio_slots(folio)?;
        ci.set_owner(slots.start, slots.len(), id);
        Ok(())
    }

    /// Adjusts the charge and the owner of a folio's slots after the memory of the folio was charged to `payer` and
    /// the folio was bound to its group.
    ///
    /// With `keeps_owner` the slots keep a dead group as their owner although `payer` is charged for the memory.
    /// Kernel: the second half of `mem_cgroup_swapin_charge_folio`, and `memcg1_swapin`. Step IN3. Errors:
    /// `NotCached`.
    pub(crate) fn settle_swapin(&mut self, folio: &LockedFolio<'_>, owner: MemcgId, payer: Payer<'_>) -> Result<()> {
        let groups = self.swap.memcg().expect("it was charged");
        let nr_pages = u64::from(folio.nr_pages());
        let options = groups.options();
        match groups.lookup(owner) {
            None => {
                if options.puts_pins_of_no_group() {
                    self.counters.count(Event::RfcNullMemcg, 1);
                }
                if !options.owner_store.is_record() && !groups.do_memsw_account() {
                    folio.set(FolioFlags::SWAP_UNCHARGED);
                }
            }
            Some(owner) if options.owner_store.is_record() => self.settle_record(folio, owner, payer)?,
            Some(owner) => self.settle_shadow(folio, owner, payer)?,
        }
        if !options.counts_swapcached_without_group() {
            payer.group.count(MemcgStat::Swapcached, nr_pages as i64);
        }
        Ok(())
    }

    /// Works as [`Operation::settle_swapin`] for slots whose owner was recorded in their shadow. The cached folio has
    /// replaced the shadow, so from now on the group of the folio is the owner of the slots, unless `keeps_owner` is
    /// set.
    fn settle_shadow(&mut self, folio: &LockedFolio<'_>, owner: &MemCgroup, payer: Payer<'_>) -> Result<()> {
        let Payer { group: payer, keeps_owner } = payer;
        let groups = self.swap.memcg().expect("it was charged");
        let nr_pages = u64::from(folio.nr_pages());
        match (keeps_owner, groups.do_memsw_account()) {
            // The slots keep the dead group as their owner and keep its pins, although their folio belongs to another
            // group.
            (true, false) => self.record_owner(folio.folio(), owner.id())?,
            (true, true) => groups.uncharge_swap(owner.id(), nr_pages),
            (false, is_v1) => {
                if payer.css() != owner.css() {
                    let nr_charged = self.nr_charged(&self.lock_folio_slots(folio.folio())?);
                    groups.move_swap(owner, payer, nr_charged);
                }
                if is_v1 {
                    groups.uncharge_slots_of(payer, nr_pages);
                }
                groups.id_put(owner, nr_pages);
            }
        }
        Ok(())
    }

    /// Works as [`Operation::settle_swapin`] for slots whose owner is recorded outside their table entries. On v2
    /// this record stays; on v1 it is removed.
    fn settle_record(&mut self, folio: &LockedFolio<'_>, owner: &MemCgroup, payer: Payer<'_>) -> Result<()> {
        let Payer { group: payer, keeps_owner } = payer;
        let groups = self.swap.memcg().expect("it was charged");
        let nr_pages = u64::from(folio.nr_pages());
        if groups.do_memsw_account() {
            self.record_owner(folio.folio(), MemcgId(0))?;
            groups.uncharge_swap(owner.id(), nr_pages);
        } else if !keeps_owner && payer.css() != owner.css() {
            // The payer may have been removed after the memory was charged to it. In that case its nearest ancestor
            // with a private id becomes the owner of the slots, because a released id names no group.
            let heir = groups.id_get_online(payer, nr_pages);
            let nr_charged = self.nr_charged(&self.lock_folio_slots(folio.folio())?);
            groups.move_swap(owner, heir, nr_charged);
            self.record_owner(folio.folio(), heir.id())?;
            groups.id_put(owner, nr_pages);
        }
        Ok(())
    }

    /// Returns the shadows for the slots of a locked folio that is being removed from the cache, and moves charges
    /// and pins to match the shadows. `at` has all slots of the folio. Kernel: the owner step of
    /// `__swap_cache_del_folio`.
    pub(crate) fn removal_shadows(
        &mut self,
        at: &mut FolioSlots<'_>,
        folio: &LockedFolio<'_>,
        leave: CacheExit<'_>,
    ) -> SlotShadows {
        let (evict, shadow) = match leave {
            CacheExit::Uncharged(shadow) => return SlotShadows::both(shadow),
            CacheExit::Reclaimed(evict) => (Some(evict), Shadow::default()),
            CacheExit::Dropped(shadow) => (None, shadow),
        };
        let evicted = |group: Option<&MemCgroup>| SlotShadows::both(evict.map_or(shadow, |evict| evict(group)));
        let (Some(groups), Some(own)) = (self.swap.memcg(), self.swap.group_of(folio.folio())) else {
            return evicted(None);
        };
        own.count(MemcgStat::Swapcached, -i64::from(folio.nr_pages()));
        let recorded = |group: &MemCgroup| {
            let evicted = evict.map_or(Shadow::default(), |evict| evict(Some(group)));
            SlotShadows::both(Shadow { memcg: group.id(), ..evicted })
        };
        let nr_pages = u64::from(folio.nr_pages());
        let is_v1 = groups.do_memsw_account();
        let store = groups.options().owner_store;
        if store.is_record() {
            let records = evicted(Some(own));
            if is_v1 && evict.is_some() {
                let payer = groups.id_get_online(own, nr_pages);
                at.ci.set_owner(at.slots.start, at.slots.len(), payer.id());
                groups.memcg1_swapout(folio.folio(), own, payer);
            }
            return records;
        }
        let kept = at.ci.owner(at.slots.start);
        if kept.0 != 0 {
            // The swap-in kept the owner of these slots, with its pins and its charge, outside the table entries. Now
            // the shadow records the owner again.
            at.ci.set_owner(at.slots.start, at.slots.len(), MemcgId(0));
            return recorded(groups.lookup(kept).expect("pinned by the slots"));
        }
        if folio.has(FolioFlags::SWAP_UNCHARGED) {
            folio.clear(FolioFlags::SWAP_UNCHARGED);
            return SlotShadows::both(Shadow::default());
        }
        if is_v1 && evict.is_none() && !groups.options().records_uncharged_owner() {
            return self.removal_v1(at, own);
        }
        let payer = groups.id_get_online(own, nr_pages);
        let records = recorded(payer);
        if is_v1 && evict.is_some() {
            groups.memcg1_swapout(folio.folio(), own, payer);
        } else if payer.css() != own.css() {
            let nr_charged = self.nr_charged(at);
            match groups.options().leaves_swap_stat_behind() {
                true => groups.move_swap_charge(own, payer, nr_charged),
                false => groups.move_swap(own, payer, nr_charged),
            }
        }
        records
    }

    /// Returns the shadows on v1 when other code than reclaim removes the folio. The folio keeps its charge, so slots
    /// with references get a separate charge.
    fn removal_v1(&self, at: &FolioSlots<'_>, own: &MemCgroup) -> SlotShadows {
        let groups = self.swap.memcg().expect("the folio has a group");
        let nr_referenced = at.slots.clone().filter(|&slot| !at.table.get(slot).is_cache_only()).count() as u64;
        let unreferenced = Shadow::default();
        if nr_referenced == 0 {
            return SlotShadows::both(unreferenced);
        }
        let payer = groups.id_get_online(own, nr_referenced);
        groups.charge(payer, CounterKind::Swap, nr_referenced);
        payer.count(MemcgStat::Swap, nr_referenced as i64);
        SlotShadows { referenced: Shadow { memcg: payer.id(), ..Shadow::default() }, unreferenced }
    }

    /// Uncharges slots whose entries will be set to NULL, with one call for each run of slots with the same owner.
    /// The backing of virtual slots is already released. Kernel: in `swap_entries_free`.
    #[inline(never)]
    pub(crate) fn uncharge_slots(
        &self,
        groups: &MemCgroups,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        table: &SwapTable,
        slot: usize,
        nr: u32,
    ) {
        let slots = slot..slot + nr as usize;
        let is_charged = !device.is_virtual() || groups.do_memsw_account();
        let let_go = |owner, nr_run| match (is_charged, groups.lookup(owner)) {
            (true, _) => groups.uncharge_swap(owner, nr_run),
            (false, Some(group)) => groups.id_put(group, nr_run),
            (false, None) => {}
        };
        let (mut owner, mut nr_run) = (MemcgId(0), 0);
        for slot in slots.clone() {
            let this = self.slot_owner(ci, table, slot);
            if this != owner {
                let_go(owner, nr_run);
                (owner, nr_run) = (this, 0);
            }
            nr_run += 1;
        }
        let_go(owner, nr_run);
        if groups.options().owner_store != OwnerStore::Shadow {
            ci.set_owner(slots.start, slots.len(), MemcgId(0));
        }
    }
}
