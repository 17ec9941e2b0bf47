//! The swap cache: which folio holds which slots. Every call here is short and holds one CPU's local lock.

mod alloc;
mod replace;
mod validate;

use std::ops::Range;

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset};
use crate::cluster::ClusterGuard;
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio, check_home};
use crate::machine::device::SwapDevice;
use crate::machine::{OnCpu, Operation, Swap};
use crate::memcg::MemCgroup;
use crate::slots::owner::{CacheExit, Payer, SeenSlots};
use crate::slots::take_back::get_folio;
use crate::table::{EntryKind, Shadow};

fn try_lock(folio: Folio<'_>) -> Result<LockedFolio<'_>> {
    folio.try_lock().ok_or_else(|| folio.busy())
}

impl Operation<'_> {
    /// Puts another folio, or a part of a split one, in the place of a frozen one in the slots from `first` on, as many
    /// as `new` has pages; counts and zero marks stay. Kernel: `__swap_cache_replace_folio`.
    pub(crate) fn swap_cache_replace_folio(
        &self,
        ci: &ClusterGuard<'_>,
        old: Folio<'_>,
        new: Folio<'_>,
        first: SwpEntry,
    ) {
        let table = ci.table().expect("cached slots have a table");
        let slot = first.offset().in_cluster();
        for slot in slot..slot + new.nr_pages() as usize {
            let word = table.get(slot);
            debug_assert_eq!(word.pfn(), Some(old.pfn()), "the slots hold the old folio");
            table.set(slot, word.with_pfn(new.pfn()).expect("cached"));
        }
        new.set_entry(first);
        new.set(FolioFlags::SWAPCACHE);
    }
}

impl Swap {
    /// [`OnCpu::swap_cache_get_folio`] with the local lock of a CPU for as long as the look takes: in the head of
    /// an `if let` a guard would be held to its end.
    pub(crate) fn swap_cache_get_folio(&self, entry: SwpEntry, cpu: CpuId) -> Result<Option<FolioRef<'_>>> {
        self.on_cpu(cpu)?.swap_cache_get_folio(entry)
    }
}

/// Returns the pages meant: one, or all.
fn page_range(folio: Folio<'_>, page: Option<u32>) -> Range<u32> {
    page.map_or(0..folio.nr_pages(), |page| page..page.saturating_add(1))
}

/// The slots of a cached folio, or of some pages of it.
struct FolioSlots<'a> {
    device: &'a SwapDevice,
    offset: SwpOffset,
    slots: Range<usize>,
}

impl<'a> Operation<'a> {
    /// Returns the slots of some pages. Called with the folio locked. Errors: `NotCached`, `BadPage` (EINVAL).
    fn pages_of(&self, folio: Folio<'_>, pages: Range<u32>) -> Result<FolioSlots<'a>> {
        let (device, offset) = self.folio_slots(folio)?;
        let nr_pages = folio.nr_pages();
        if pages.end > nr_pages {
            return Err(SwapError::BadPage { page: pages.end - 1, nr_pages });
        }
        let first = offset.in_cluster();
        Ok(FolioSlots { device, offset, slots: first + pages.start as usize..first + pages.end as usize })
    }

    /// Writes a locked folio over a range that was checked and takes the cache's references.
    fn insert(&mut self, device: &SwapDevice, ci: &ClusterGuard<'_>, base: SwpOffset, folio: &LockedFolio<'_>) {
        let nr_pages = folio.nr_pages();
        folio.add_refs(nr_pages);
        // To be read: what is in the pages is not what the slots hold.
        folio.clear(FolioFlags::UPTODATE | FolioFlags::DIRTY);
        folio.set(FolioFlags::SWAPBACKED | FolioFlags::SWAPCACHE);
        let table = ci.table().expect("slots in use have a table");
        for slot in base.in_cluster()..base.in_cluster() + nr_pages as usize {
            table.set(slot, table.get(slot).to_cached(folio.pfn()).expect("checked to be swapped out"));
        }
        folio.set_entry(device.entry_at(base));
        self.counters.add_cached(nr_pages.into());
    }

    /// Returns the device, the first slot of the aligned range of an order that a slot lies in, and the slot. Errors:
    /// `BadRange` (EINVAL), `NoDevice` (ENOENT).
    fn aligned(&self, targ: SwpEntry, order: Order) -> Result<(&'a SwapDevice, SwpOffset, SwpOffset)> {
        let (device, offset) = self.resolve(targ, 1)?;
        let base = SwpOffset(offset.0 - offset.0 % order.nr_pages());
        // The header and what is beyond the end are bad slots of the same cluster: the look at the range finds them.
        Ok((device, base, offset))
    }
}

impl<'a> OnCpu<'a> {
    /// Adds one reference to every slot of a cached folio, or to that of one page.
    ///
    /// Errors: `NotCached`, `BadPage` (EINVAL); `FolioBusy` (EBUSY); `CountOverflow` (EOVERFLOW), and nothing changed.
    /// Kernel: `folio_dup_swap`; differs: it takes the folio lock itself. Only this may take a count from 0 to 1.
    pub fn folio_dup_swap(&mut self, folio: Folio<'_>, page: Option<u32>) -> Result<()> {
        self.dup_locked(&try_lock(folio)?, page_range(folio, page))
    }

    /// [`OnCpu::folio_dup_swap`] of a folio that is locked. Step OUT4.
    pub(crate) fn dup_locked(&mut self, folio: &LockedFolio<'_>, pages: Range<u32>) -> Result<()> {
        let op = self.operation();
        let FolioSlots { device, offset, slots } = op.pages_of(folio.folio(), pages)?;
        let ci = device.clusters.lock_used(offset.cluster());
        for slot in slots.clone() {
            if let Err(error) = op.dup_slot(device, &ci, slot) {
                slots.take_while(|&done| done < slot).for_each(|done| op.put_slot(device, &ci, done));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes one reference from every slot of a cached folio, or from that of one page; frees nothing.
    ///
    /// Errors: `NotCached`, `BadPage` (EINVAL); `FolioBusy` (EBUSY); `NotInUse` (ENOENT) a count is 0, nothing changed.
    /// Kernel: `folio_put_swap`; differs: it takes the folio lock itself.
    pub fn folio_put_swap(&mut self, folio: Folio<'_>, page: Option<u32>) -> Result<()> {
        self.put_locked_folio(&try_lock(folio)?, page_range(folio, page))
    }

    /// [`OnCpu::folio_put_swap`] of a folio that is locked. Step IN6.
    pub(crate) fn put_locked_folio(&mut self, folio: &LockedFolio<'_>, pages: Range<u32>) -> Result<()> {
        let op = self.operation();
        let FolioSlots { device, offset, slots } = op.pages_of(folio.folio(), pages)?;
        let ci = device.clusters.lock_used(offset.cluster());
        let table = ci.table().expect("cached slots have a table");
        if let Some(slot) = slots.clone().find(|&slot| table.get(slot).is_cache_only()) {
            return Err(SwapError::NotInUse(device.entry_at(SwpOffset(ci.idx().base().0 + slot as u32))));
        }
        slots.for_each(|slot| op.put_slot(device, &ci, slot));
        Ok(())
    }

    /// Says whether some slot of a cached folio has references. Called with the folio locked. Kernel:
    /// `folio_maybe_swapped`.
    pub(crate) fn is_maybe_swapped(&mut self, folio: &LockedFolio<'_>) -> Result<bool> {
        let op = self.operation();
        let FolioSlots { device, offset, slots } = op.pages_of(folio.folio(), 0..folio.nr_pages())?;
        let ci = device.clusters.lock_used(offset.cluster());
        let table = ci.table().expect("cached slots have a table");
        Ok(slots.into_iter().any(|slot| !table.get(slot).is_cache_only()))
    }

    /// Looks whether the range of an order around a slot can be cached by one folio; returns what is there. Step IN2.
    ///
    /// Errors: `NotInUse`, `NoDevice` (ENOENT); `AlreadyCached` (EEXIST); `NotUniform` (EBUSY).
    pub(crate) fn swap_cache_check_batch(&mut self, targ: SwpEntry, order: Order) -> Result<SeenSlots> {
        let op = self.operation();
        let (device, base, offset) = op.aligned(targ, order)?;
        let ci = device.clusters.lock(base.cluster()).ok_or(SwapError::NotInUse(targ))?;
        validate::check_batch(&op, device, &ci, base, offset, order.nr_pages())
    }

    /// Looks again and inserts a locked folio. Errors: as [`OnCpu::swap_cache_check_batch`], and `ShadowChanged`
    /// (EAGAIN) the target was swapped in and out again meanwhile.
    pub(crate) fn swap_cache_insert(&mut self, folio: &LockedFolio<'_>, targ: SwpEntry, seen: SeenSlots) -> Result<()> {
        let mut op = self.operation();
        let order = folio.order();
        let (device, base, offset) = op.aligned(targ, order)?;
        let ci = device.clusters.lock(base.cluster()).ok_or(SwapError::NotInUse(targ))?;
        let now = validate::check_batch(&op, device, &ci, base, offset, order.nr_pages())?;
        if (now.shadow, now.owner) != (seen.shadow, seen.owner) {
            return Err(SwapError::ShadowChanged(targ));
        }
        op.insert(device, &ci, base, folio);
        Ok(())
    }

    /// Puts an uncached folio over swapped-out slots, as a swap-in does; what it holds is not what the slots hold.
    ///
    /// Errors: `AlreadyCached` (EEXIST) the first slot is cached; `NotInUse` (ENOENT) it is free; `NotUniform` (EBUSY)
    /// another slot is unsuitable; `BadRange` (EINVAL) misaligned or beyond the device; `BadSlot` (EINVAL) it is bad;
    /// `FolioCached` (EINVAL) the folio has slots already; `FolioBusy` (EBUSY). Kernel: `swap_cache_add_folio`.
    pub fn swap_cache_add_folio(&mut self, folio: Folio<'_>, entry: SwpEntry) -> Result<()> {
        let mut op = self.operation();
        check_home(folio, op.swap.memory_of_folios())?;
        let nr_pages = folio.nr_pages();
        let (device, offset) = op.resolve(entry, nr_pages)?;
        if offset.0 % nr_pages != 0 {
            return Err(SwapError::BadRange { entry, nr_pages, max_pages: device.max_pages() });
        }
        let locked = try_lock(folio)?;
        if let Some(owned) = folio.entry() {
            return Err(SwapError::FolioCached(owned));
        }
        let ci = device.clusters.lock(offset.cluster()).ok_or(SwapError::NotInUse(entry))?;
        if ci.table().is_some_and(|table| table.get(offset.in_cluster()).kind() == EntryKind::Bad) {
            return Err(SwapError::BadSlot(entry));
        }
        let seen = validate::check_batch(&op, device, &ci, offset, offset, nr_pages)?;
        op.insert(device, &ci, offset, &locked);
        drop(ci);
        match op.bind_to_root(folio) {
            Some(group) => op.settle_swapin(&locked, seen.owner, Payer { group, keeps_owner: false }),
            None => Ok(()),
        }
    }

    /// Takes a folio out of the cache, leaving who pays for its slots, or `shadow` when nobody does; slots without
    /// references are freed.
    ///
    /// Errors: `NotCached` (EINVAL); `FolioBusy` (EBUSY) locked or under writeback; `DirtyFolio` (EBUSY) its content is
    /// nowhere else and somebody refers to it. Kernel: `swap_cache_del_folio`; differs: takes the folio lock itself.
    pub fn swap_cache_del_folio(&mut self, folio: Folio<'_>, shadow: Shadow) -> Result<()> {
        self.del_locked(&try_lock(folio)?, CacheExit::Dropped(shadow))
    }

    /// [`OnCpu::swap_cache_del_folio`] of a folio that is locked; the caller has a reference of its own.
    pub(crate) fn del_locked(&mut self, folio: &LockedFolio<'_>, leave: CacheExit<'_>) -> Result<()> {
        let mut op = self.operation();
        let (device, offset) = op.folio_slots(folio.folio())?;
        if folio.has(FolioFlags::WRITEBACK) {
            return Err(folio.busy());
        }
        let nr_pages = folio.nr_pages();
        let mut ci = device.clusters.lock_used(offset.cluster());
        if folio.has(FolioFlags::DIRTY) {
            let table = ci.table().expect("cached slots have a table");
            let mut slots = offset.in_cluster()..offset.in_cluster() + nr_pages as usize;
            if let Some(slot) = slots.find(|&slot| !table.get(slot).is_cache_only()) {
                return Err(SwapError::DirtyFolio(device.entry_at(SwpOffset(ci.idx().base().0 + slot as u32))));
            }
        }
        op.del_folio(device, &mut ci, folio, leave);
        drop(ci);
        let is_leaked = matches!(leave, CacheExit::Uncharged(_))
            && op.swap.memcg().is_some_and(|groups| groups.options().leaks_refs_of_failed_charge());
        if !is_leaked {
            folio.put_refs(nr_pages);
        }
        self.finish();
        Ok(())
    }

    /// Takes a clean folio out of the cache for good if nobody but the cache and `nr_refs` others know it; says whether
    /// it did. It stays frozen then. Kernel: `__remove_mapping`. Step OUT8.
    ///
    /// `evict` is asked for a shadow once the folio is frozen: making one ages the LRU. Frozen within this local lock, so that
    /// who meets it frozen, under the lock of another CPU, never waits for a sleeper.
    pub(crate) fn remove_mapping(
        &mut self,
        folio: &LockedFolio<'_>,
        nr_refs: u32,
        evict: &dyn Fn(Option<&MemCgroup>) -> Shadow,
    ) -> bool {
        let mut op = self.operation();
        let Ok((device, offset)) = op.folio_slots(folio.folio()) else { return false };
        let nr_expected = folio.nr_pages() + nr_refs;
        if folio.has(FolioFlags::WRITEBACK) || !folio.freeze(nr_expected) {
            return false;
        }
        // Looked at when frozen: who dirties the folio has a reference.
        if folio.has(FolioFlags::DIRTY) {
            folio.unfreeze(nr_expected);
            return false;
        }
        let mut ci = device.clusters.lock_used(offset.cluster());
        op.del_folio(device, &mut ci, folio, CacheExit::Reclaimed(evict));
        drop(ci);
        self.finish();
        true
    }

    /// Frees the slots of a cached folio and dirties it, unless a slot has references or it is under writeback.
    ///
    /// Returns whether it did. Errors: `FolioBusy` (EBUSY) locked; `ForeignFolio` (EINVAL). Kernel: `folio_free_swap`.
    pub fn folio_free_swap(&mut self, folio: Folio<'_>) -> Result<bool> {
        self.free_swap_locked(&try_lock(folio)?)
    }

    /// [`OnCpu::folio_free_swap`] of a folio that is locked; the caller has a reference of its own.
    pub(crate) fn free_swap_locked(&mut self, folio: &LockedFolio<'_>) -> Result<bool> {
        let mut op = self.operation();
        let (device, offset) = match op.folio_slots(folio.folio()) {
            Ok(slots) => slots,
            Err(SwapError::NotCached) => return Ok(false),
            Err(error) => return Err(error),
        };
        let is_freed = !folio.has(FolioFlags::WRITEBACK)
            && !device.hibernation.pins()
            && op.del_unreferenced(device, offset, folio);
        self.finish();
        Ok(is_freed)
    }

    /// Returns the folio that caches a slot, with a reference. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    ///
    /// Takes no lock; waits for a frozen folio. Kernel: `swap_cache_get_folio`.
    pub fn swap_cache_get_folio(&mut self, entry: SwpEntry) -> Result<Option<FolioRef<'a>>> {
        let swap = self.swap();
        let (device, offset) = self.operation().resolve(entry, 1)?;
        Ok(get_folio(swap, device, offset))
    }

    /// Returns the number of the folio that caches a slot, without a reference: a momentary answer, for looking.
    ///
    /// Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Takes no lock. Kernel: `swap_cache_has_folio`.
    #[inline]
    pub fn swap_cache_lookup(&mut self, entry: SwpEntry) -> Result<Option<crate::base::types::Pfn>> {
        Ok(self.lookup(entry)?.pfn())
    }

    /// Returns the zero mark of a slot and how many slots from it on, at most `nr_max` within the cluster, share it.
    ///
    /// Errors: `BadRange` (EINVAL), `NoDevice`, `NotInUse` no table (ENOENT). Kernel: `swap_zeromap_batch`.
    pub fn zero_batch(&mut self, entry: SwpEntry, nr_max: u32) -> Result<(bool, u32)> {
        let op = self.operation();
        let (device, offset) = op.resolve(entry, 1)?;
        let ci = device.clusters.lock(offset.cluster()).ok_or(SwapError::NotInUse(entry))?;
        let table = ci.table().ok_or(SwapError::NotInUse(entry))?;
        let room = crate::base::limits::SWAPFILE_CLUSTER - offset.in_cluster() as u32;
        Ok(validate::zero_batch(table, offset.in_cluster(), nr_max.clamp(1, room)))
    }
}
