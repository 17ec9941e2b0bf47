//! The swap cache, which records for each slot the folio that caches the slot. Every function of this module is short
//! and runs under the local lock of one CPU.

mod replace;

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{CpuId, Order, SwpEntry, SwpType};
use crate::cluster::ClusterGuard;
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio, check_home};
use crate::machine::device::SwapDevice;
use crate::machine::profile::SwapinCheck;
use crate::machine::{OnCpu, Operation, Swap};
use crate::slots::FolioSlots;
use crate::slots::owner::{CacheExit, Evict, Payer, SeenSlots};
use crate::slots::take_back::get_folio;
use crate::table::{Backing, EntryKind, Shadow, SwapTable, SwapTableEntry};

fn try_lock(folio: Folio<'_>) -> Result<LockedFolio<'_>> {
    folio.try_lock().ok_or_else(|| folio.busy())
}

impl Swap {
    /// Calls [`OnCpu::swap_cache_get_folio`] and holds the local lock only during that call. A caller that wrote
    /// `self.on_cpu(cpu)?` in the head of an `if let` would hold the local lock until the end of the block.
    pub(crate) fn swap_cache_get_folio(&self, entry: SwpEntry, cpu: CpuId) -> Result<Option<FolioRef<'_>>> {
        self.on_cpu(cpu)?.swap_cache_get_folio(entry)
    }
}

/// Returns the page numbers on which a call works: `page` alone, or all pages of the folio when `page` is `None`.
fn page_range(folio: Folio<'_>, page: Option<u32>) -> Range<u32> {
    page.map_or(0..folio.nr_pages(), |page| page..page.saturating_add(1))
}

impl<'a> Operation<'a> {
    /// Locks the cluster that contains the slots of a locked folio, and returns the slots of the pages `pages` of the
    /// folio. Errors: `NotCached`, `BadPage` (EINVAL).
    #[inline(always)]
    fn lock_pages(&self, folio: Folio<'_>, pages: Range<u32>) -> Result<FolioSlots<'a>> {
        let at = self.lock_folio_slots(folio)?;
        let nr_pages = folio.nr_pages();
        if pages.end > nr_pages {
            return Err(SwapError::BadPage { page: pages.end - 1, nr_pages });
        }
        let first = at.slots.start;
        Ok(FolioSlots { slots: first + pages.start as usize..first + pages.end as usize, ..at })
    }

    /// Writes a locked folio into the table entries of a range of slots, and takes one reference to the folio per
    /// page for the cache. The caller has checked the range with `check_batch`.
    fn insert(&mut self, at: &FolioSlots<'_>, folio: &LockedFolio<'_>) {
        let nr_pages = folio.nr_pages();
        folio.add_refs(nr_pages);
        // The flag UPTODATE is cleared, because the folio's bytes are not the data of the slots until a read fills
        // the folio.
        folio.clear(FolioFlags::UPTODATE | FolioFlags::DIRTY);
        folio.set(FolioFlags::SWAPBACKED | FolioFlags::SWAPCACHE);
        let table = at.table;
        for slot in at.slots.clone() {
            table.set(slot, table.get(slot).to_cached(folio.pfn()).expect("checked to be swapped out"));
        }
        folio.set_entry(at.entry_of(at.slots.start));
        self.counters.add_cached(nr_pages.into());
    }

    /// Locks the cluster of the aligned range of `order` that contains the slot `targ`. Returns the range, and the
    /// index of the slot `targ` in its cluster. Errors: `BadRange` (EINVAL); `NoDevice`, and `NotInUse` when the
    /// cluster has no table (ENOENT).
    #[inline(always)]
    fn lock_aligned(&self, targ: SwpEntry, order: Order) -> Result<(FolioSlots<'a>, usize)> {
        let (device, offset) = self.resolve(targ, 1)?;
        let ci = device.clusters.lock(offset.cluster()).ok_or(SwapError::NotInUse(targ))?;
        let table = ci.table().ok_or(SwapError::NotInUse(targ))?;
        let (slot, nr) = (offset.in_cluster(), order.nr_pages() as usize);
        // The range may contain the header of the device or slots beyond the end of the device. These slots are bad
        // slots of the same cluster, so `check_batch` rejects the range.
        let first = slot - slot % nr;
        Ok((FolioSlots { device, ci, table, slots: first..first + nr }, slot))
    }
}

impl<'a> OnCpu<'a> {
    /// Allocates the slots of a folio and inserts the folio into the cache. The table entries of the slots then name
    /// the folio, and the slots have no references.
    ///
    /// Errors: `NoSpace` (ENOSPC); `OverLimit` (ENOMEM) when the swap charge was refused; `AlreadyCached` (EEXIST);
    /// `FolioBusy` (EBUSY); `ForeignFolio` (EINVAL). Kernel: `folio_alloc_swap`; differs: takes the folio lock
    /// itself.
    pub fn folio_alloc_swap(&mut self, folio: Folio<'_>) -> Result<SwpEntry> {
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        let locked = folio.try_lock().ok_or(SwapError::FolioBusy(SwpEntry::NONE))?;
        self.alloc_for_folio(&locked, None)
    }

    /// Allocates and charges the slots of a locked folio. The slots are on the first device of `types` with enough
    /// free slots, or on any device when `types` is `None`. Steps OUT1 and OUT2 of docs/steps.md. Errors: as
    /// [`OnCpu::folio_alloc_swap`].
    pub(crate) fn alloc_for_folio(&mut self, locked: &LockedFolio<'_>, types: Option<&[SwpType]>) -> Result<SwpEntry> {
        let folio = locked.folio();
        check_home(folio, self.swap().memory_of_folios())?;
        if let Some(entry) = folio.entry() {
            return Err(SwapError::AlreadyCached(entry));
        }
        let nr_pages = folio.nr_pages();
        // The cache takes its references before any thread can find the folio in the cache.
        folio.add_refs(nr_pages);
        let mut op = self.operation();
        let run = op.alloc_cached(folio, types);
        op.bind_to_root(folio);
        let Some(entry) = run else {
            op.fail_swap(folio);
            folio.put_refs(nr_pages);
            self.finish();
            return Err(SwapError::NoSpace { nr_pages });
        };
        folio.set(FolioFlags::SWAPCACHE | FolioFlags::SWAPBACKED);
        // The new slots have no data yet, so a folio with data is the only copy of the data and becomes dirty. On a
        // virtual device the folio becomes dirty even without data, because a virtual slot whose data is stored
        // nowhere must not be read.
        let is_virtual = op.device(entry.ty()).is_some_and(SwapDevice::is_virtual);
        let flags = folio.flags();
        if is_virtual || flags.contains(FolioFlags::UPTODATE) && !flags.contains(FolioFlags::DIRTY) {
            folio.folio_mark_dirty();
        }
        op.counters.add_cached(nr_pages.into());
        if let Err(error) = op.try_charge_swap(locked) {
            self.del_locked(locked, CacheExit::Uncharged(Shadow::default()))?;
            return Err(error);
        }
        self.finish();
        Ok(entry)
    }

    /// Takes one more reference to every slot of a cached folio, or to the slot of one page.
    ///
    /// Errors, with nothing changed: `NotCached`, `BadPage` (EINVAL); `FolioBusy` (EBUSY); `CountOverflow`
    /// (EOVERFLOW). Kernel: `folio_dup_swap`; differs: takes the folio lock itself. Only this function may raise the
    /// reference count of a slot from 0 to 1.
    pub fn folio_dup_swap(&mut self, folio: Folio<'_>, page: Option<u32>) -> Result<()> {
        self.dup_locked(&try_lock(folio)?, page_range(folio, page))
    }

    /// Works as [`OnCpu::folio_dup_swap`] on the pages `pages` of a locked folio. Step OUT4 of docs/steps.md.
    pub(crate) fn dup_locked(&mut self, folio: &LockedFolio<'_>, pages: Range<u32>) -> Result<()> {
        let op = self.operation();
        let FolioSlots { device, ci, slots, .. } = op.lock_pages(folio.folio(), pages)?;
        op.dup_slots(device, &ci, slots)
    }

    /// Drops one reference to every slot of a cached folio, or to the slot of one page. No slot is freed, because the
    /// folio stays in the cache.
    ///
    /// Errors, with nothing changed: `NotCached`, `BadPage` (EINVAL); `FolioBusy` (EBUSY); `NotInUse` (ENOENT) when
    /// the reference count of a slot is 0. Kernel: `folio_put_swap`; differs: takes the folio lock itself.
    pub fn folio_put_swap(&mut self, folio: Folio<'_>, page: Option<u32>) -> Result<()> {
        self.put_locked_folio(&try_lock(folio)?, page_range(folio, page))
    }

    /// Works as [`OnCpu::folio_put_swap`] on the pages `pages` of a locked folio. Step IN6 of docs/steps.md.
    pub(crate) fn put_locked_folio(&mut self, folio: &LockedFolio<'_>, pages: Range<u32>) -> Result<()> {
        let op = self.operation();
        let at = op.lock_pages(folio.folio(), pages)?;
        if let Some(slot) = at.slots.clone().find(|&slot| at.table.get(slot).is_cache_only()) {
            return Err(SwapError::NotInUse(at.entry_of(slot)));
        }
        at.slots.for_each(|slot| op.put_slot(at.device, &at.ci, slot));
        Ok(())
    }

    /// Returns whether any slot of a locked cached folio has references. Kernel: `folio_maybe_swapped`.
    pub(crate) fn is_maybe_swapped(&mut self, folio: &LockedFolio<'_>) -> Result<bool> {
        Ok(self.operation().lock_folio_slots(folio.folio())?.first_referenced().is_some())
    }

    /// Checks whether one folio can cache the aligned range of `order` that contains the slot `targ`, and returns the
    /// state of the range. Step IN2 of docs/steps.md.
    ///
    /// Errors: `NotInUse`, `NoDevice` (ENOENT); `AlreadyCached` (EEXIST); `NotUniform` (EBUSY); `BadRange` (EINVAL).
    pub(crate) fn swap_cache_check_batch(&mut self, targ: SwpEntry, order: Order) -> Result<SeenSlots> {
        let op = self.operation();
        let (at, slot) = op.lock_aligned(targ, order)?;
        op.check_batch(&at, slot)
    }

    /// Checks a second time the range of slots that a locked folio will cache, and inserts the folio into the cache.
    /// `seen` is the result of the first check, [`OnCpu::swap_cache_check_batch`]. Errors: as for the first check,
    /// and `ShadowChanged` (EAGAIN) when the slot `targ` was swapped in and out since the first check.
    pub(crate) fn swap_cache_insert(&mut self, folio: &LockedFolio<'_>, targ: SwpEntry, seen: SeenSlots) -> Result<()> {
        let mut op = self.operation();
        let (at, slot) = op.lock_aligned(targ, folio.order())?;
        let now = op.check_batch(&at, slot)?;
        if (now.shadow, now.owner) != (seen.shadow, seen.owner) {
            return Err(SwapError::ShadowChanged(targ));
        }
        op.insert(&at, folio);
        Ok(())
    }

    /// Inserts an uncached folio into the cache for swapped-out slots, as a swap-in does. The call reads no data, so
    /// the folio's bytes are not the data of the slots.
    ///
    /// Errors: `AlreadyCached` (EEXIST) when the first slot is cached; `NotInUse` (ENOENT) when the first slot is
    /// free; `NotUniform` (EBUSY) when another slot cannot be cached in one folio with the first slot; `Unaligned`,
    /// `BadRange` (EINVAL) when the range is misaligned or beyond the device; `BadSlot`, `BacksVirtual` (EINVAL) when
    /// the first slot is bad or backs a virtual slot; `FolioCached` (EINVAL) when the folio has slots already;
    /// `FolioBusy` (EBUSY). Kernel: `swap_cache_add_folio`.
    pub fn swap_cache_add_folio(&mut self, folio: Folio<'_>, entry: SwpEntry) -> Result<()> {
        let mut op = self.operation();
        check_home(folio, op.swap.memory_of_folios())?;
        let nr_pages = folio.nr_pages();
        let (_, offset) = op.resolve(entry, nr_pages)?;
        if offset.0 % nr_pages != 0 {
            return Err(SwapError::Unaligned { entry, nr_pages });
        }
        let locked = try_lock(folio)?;
        if let Some(owned) = folio.entry() {
            return Err(SwapError::FolioCached(owned));
        }
        let (at, slot) = op.lock_aligned(entry, folio.order())?;
        match at.table.get(slot).kind() {
            EntryKind::Bad => return Err(SwapError::BadSlot(entry)),
            EntryKind::Pointer => return Err(SwapError::BacksVirtual(entry)),
            _ => {}
        }
        let seen = op.check_batch(&at, slot)?;
        op.insert(&at, &locked);
        drop(at);
        match op.bind_to_root(folio) {
            Some(group) => op.settle_swapin(&locked, seen.owner, Payer { group, keeps_owner: false }),
            None => Ok(()),
        }
    }

    /// Removes a folio from the cache. The table entry of each slot then records the group that is charged for the
    /// slot, or `shadow` when no group is charged. Slots without references are freed.
    ///
    /// Errors: `NotCached` (EINVAL); `FolioBusy` (EBUSY) when the folio is locked or under writeback; `DirtyFolio`
    /// (EBUSY) when the folio is the only copy of its data and a slot has references. Kernel: `swap_cache_del_folio`;
    /// differs: takes the folio lock itself.
    pub fn swap_cache_del_folio(&mut self, folio: Folio<'_>, shadow: Shadow) -> Result<()> {
        self.del_locked(&try_lock(folio)?, CacheExit::Dropped(shadow))
    }

    /// Works as [`OnCpu::swap_cache_del_folio`] on a locked folio. The caller holds a reference to the folio.
    pub(crate) fn del_locked(&mut self, folio: &LockedFolio<'_>, leave: CacheExit<'_>) -> Result<()> {
        let mut op = self.operation();
        let at = op.lock_folio_slots(folio.folio())?;
        if folio.has(FolioFlags::WRITEBACK) {
            return Err(folio.busy());
        }
        if folio.has(FolioFlags::DIRTY)
            && let Some(slot) = at.first_referenced()
        {
            return Err(SwapError::DirtyFolio(at.entry_of(slot)));
        }
        op.del_folio(at, folio, leave);
        let is_leaked = matches!(leave, CacheExit::Uncharged(_))
            && op.swap.memcg().is_some_and(|groups| groups.options().leaks_refs_of_failed_charge());
        if !is_leaked {
            folio.put_refs(folio.nr_pages());
        }
        self.finish();
        Ok(())
    }

    /// Freezes a clean folio and removes the folio from the cache, if the only references to the folio are those of
    /// the cache and of `nr_refs` other users. Returns whether the folio was removed; the removed folio stays frozen.
    /// Kernel: `__remove_mapping`. Step OUT8 of docs/steps.md.
    ///
    /// `evict` makes the shadow. `evict` is called after the freeze, when the removal cannot fail any more, because
    /// making a shadow advances the age of the LRU. The folio is frozen and removed under one hold of the local lock.
    /// A thread that meets the frozen folio under the local lock of another CPU spins, and because the holder of a
    /// local lock never sleeps, that thread spins for a short time only.
    pub(crate) fn remove_mapping(&mut self, folio: &LockedFolio<'_>, nr_refs: u32, evict: Evict<'_>) -> bool {
        let mut op = self.operation();
        let Ok(at) = op.lock_folio_slots(folio.folio()) else { return false };
        let nr_expected = folio.nr_pages() + nr_refs;
        if folio.has(FolioFlags::WRITEBACK) || !folio.freeze(nr_expected) {
            return false;
        }
        // The DIRTY flag is read after the freeze, because a folio can become dirty until the freeze: any holder of a
        // reference can make it dirty, and a frozen folio has no other holder.
        if folio.has(FolioFlags::DIRTY) {
            folio.unfreeze(nr_expected);
            return false;
        }
        op.del_folio(at, folio, CacheExit::Reclaimed(evict));
        self.finish();
        true
    }

    /// Frees the slots of a cached folio and marks the folio dirty, unless a slot has references or the folio is
    /// under writeback.
    ///
    /// Returns whether the slots were freed. Errors: `FolioBusy` (EBUSY) when the folio is locked; `ForeignFolio`
    /// (EINVAL). Kernel: `folio_free_swap`.
    pub fn folio_free_swap(&mut self, folio: Folio<'_>) -> Result<bool> {
        self.free_swap_locked(&try_lock(folio)?)
    }

    /// Works as [`OnCpu::folio_free_swap`] on a locked folio. The caller holds a reference to the folio.
    pub(crate) fn free_swap_locked(&mut self, folio: &LockedFolio<'_>) -> Result<bool> {
        let mut op = self.operation();
        let is_freed = match op.lock_folio_slots(folio.folio()) {
            Ok(at) => !at.device.hibernation.pins() && op.del_unreferenced(at, folio),
            Err(SwapError::NotCached) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.finish();
        Ok(is_freed)
    }

    /// Returns the folio that caches a slot, with a reference. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    ///
    /// Takes no further lock. Spins while the folio is frozen. Kernel: `swap_cache_get_folio`.
    pub fn swap_cache_get_folio(&mut self, entry: SwpEntry) -> Result<Option<FolioRef<'a>>> {
        let swap = self.swap();
        let (device, offset) = self.operation().resolve(entry, 1)?;
        Ok(get_folio(swap, device, offset))
    }

    /// Returns the PFN of the folio that caches a slot, without a reference to the folio. The result is a snapshot.
    ///
    /// Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Takes no further lock. Kernel: `swap_cache_has_folio`.
    #[inline]
    pub fn swap_cache_lookup(&mut self, entry: SwpEntry) -> Result<Option<crate::base::types::Pfn>> {
        Ok(self.lookup(entry)?.pfn())
    }

    /// Returns the zero mark of a slot, and the number of consecutive slots from this slot on that have the same
    /// mark. The count ends at `nr_max` slots and at the end of the cluster.
    ///
    /// Slots of a cluster without a table have no zero mark. Errors: `BadRange` (EINVAL); `NoDevice` (ENOENT).
    /// Kernel: `swap_zeromap_batch`.
    pub fn zero_batch(&mut self, entry: SwpEntry, nr_max: u32) -> Result<(bool, u32)> {
        let op = self.operation();
        let (device, offset) = op.resolve(entry, 1)?;
        let room = SWAPFILE_CLUSTER - offset.in_cluster() as u32;
        let nr_max = nr_max.clamp(1, room);
        let ci = device.clusters.lock(offset.cluster());
        let table = ci.as_ref().and_then(ClusterGuard::table);
        Ok(table.map_or((false, nr_max), |table| zero_batch(table, offset.in_cluster(), nr_max)))
    }
}

fn is_swapped_out(word: SwapTableEntry) -> bool {
    word.kind() == EntryKind::Shadow && word.count() != Some(0)
}

impl Operation<'_> {
    /// Checks whether one folio can cache the range `at`, which contains the slot `targ`, and returns the state of
    /// the range.
    ///
    /// Errors: `NotInUse` (ENOENT) when the slot `targ` is free or bad; `AlreadyCached` (EEXIST) when the slot `targ`
    /// is cached; `NotUniform` (EBUSY) when another slot is cached, is free or has another owner than the slot
    /// `targ`, when zero marks differ, or when one request cannot read the data of all slots. With
    /// [`SwapinCheck::ZeroFirst`] the zero marks are compared before the slot `targ` is checked. Kernel:
    /// `swap_cache_check_batch`.
    fn check_batch(&self, at: &FolioSlots<'_>, targ: usize) -> Result<SeenSlots> {
        let (ci, table, slots) = (&at.ci, at.table, at.slots.clone());
        let differs = |slot: Option<usize>| slot.map_or(Ok(()), |slot| Err(SwapError::NotUniform(at.entry_of(slot))));
        let order = self.swap.switches.swapin_check;
        if order == SwapinCheck::ZeroFirst {
            differs(mixed_zero(table, slots.clone()))?;
        }
        let word = table.get(targ);
        let shadow = match word.shadow() {
            _ if word.is_cached() => return Err(SwapError::AlreadyCached(at.entry_of(targ))),
            Some(shadow) if word.count() != Some(0) => shadow,
            _ => return Err(SwapError::NotInUse(at.entry_of(targ))),
        };
        if order == SwapinCheck::TargetFirst {
            differs(mixed_zero(table, slots.clone()))?;
        }
        let owner = self.slot_owner(ci, table, targ);
        let is_alike = |slot: usize| is_swapped_out(table.get(slot)) && self.slot_owner(ci, table, slot) == owner;
        differs(slots.clone().find(|&slot| !is_alike(slot)))?;
        differs(self.mixed_backing(at))?;
        let shared_count = self.swap.memcg().map_or(u32::MAX, |groups| groups.options().shared_count);
        let is_shared =
            slots.clone().any(|slot| table.get(slot).count().is_some_and(|count| u32::from(count) >= shared_count));
        Ok(SeenSlots { shadow, owner, is_shared })
    }

    /// Returns the first slot of the range whose data cannot be read in one request together with the data of the
    /// range's first slot. Such data does not follow the data of the preceding slots on a device, or is in zswap,
    /// which loads single pages. Kernel: `vswap_can_swapin_thp`, and the check of zswap next to its call.
    fn mixed_backing(&self, at: &FolioSlots<'_>) -> Option<usize> {
        let mut slots = at.slots.clone();
        if slots.len() == 1 {
            return None;
        }
        if !at.device.is_virtual() {
            let is_stored = |slot: usize| self.zswap_id(at.device, at.entry_of(slot).offset()).is_some();
            return if self.swap.zswap().has_entries() { slots.find(|&slot| is_stored(slot)) } else { None };
        }
        let backing = |slot: usize| at.ci.virtual_word(slot).backing(at.table.get(slot));
        let (start, first) = (slots.start, backing(slots.start));
        let is_read_alone = first == Backing::Zswap;
        slots.find(|&slot| is_read_alone || !first.continues((slot - start) as u32, backing(slot)))
    }
}

/// Returns the first slot of a range whose zero mark differs from the zero mark of the range's first slot.
fn mixed_zero(table: &SwapTable, mut slots: Range<usize>) -> Option<usize> {
    let first = table.get(slots.start).is_zero();
    slots.find(|&slot| table.get(slot).is_zero() != first)
}

/// Returns the zero mark of a slot, and the number of consecutive slots from this slot on, at most `nr_max`, that
/// have the same mark. Kernel: `swap_zeromap_batch`.
fn zero_batch(table: &SwapTable, slot: usize, nr_max: u32) -> (bool, u32) {
    let is_zero = table.get(slot).is_zero();
    let end = slot + nr_max as usize;
    (is_zero, (mixed_zero(table, slot..end).unwrap_or(end) - slot) as u32)
}
