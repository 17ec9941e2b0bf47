//! Swap-in. A swap-in inserts a folio into the cache before it charges and reads the folio, so that only one of
//! several concurrent faults reads the data.

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::gfp::{Gfp, thp_limit_gfp_mask};
use crate::base::types::{CpuId, CssId, Order, SwpEntry};
pub use crate::containers::orders::Orders;
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::profile::{SyncSwapin, ZswapLargeSwapin};
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::{IdOnlyRefault, MemCgroup, RefaultNotice, RefaultRule};
use crate::slots::owner::{CacheExit, SeenSlots};
use crate::table::Shadow;
use crate::workingset::{Refault, RefaultContext, Workingset, is_from_eviction};

/// The allocator of a swap-in: the function takes an order and an allocation mask, and returns a folio. Kernel:
/// allocation by the VMA or the mempolicy.
pub type Allocate<'r> = &'r (dyn Fn(Order, Gfp) -> Result<FolioRef<'r>> + Sync);

/// The folio of a slot, and whether this call read the folio. `None` means that the slot is free or memory has run
/// out.
pub type Found<'r> = Option<(FolioRef<'r>, bool)>;

/// The parameters of a swap-in.
#[derive(Clone, Copy)]
pub struct Swapin<'r> {
    /// The CPU that the swap-in runs on.
    pub cpu: CpuId,
    /// The orders to try, from the highest to the lowest.
    pub orders: Orders,
    /// The allocation mask for order 0. An allocation of a higher order may do only what this mask also allows.
    pub gfp: Gfp,
    /// The allocation mask for higher orders. `gfp` restricts this mask further. Kernel: `vma_thp_gfp_mask`.
    pub huge_gfp: Gfp,
    /// The allocator; `None` selects the allocator of the subsystem.
    pub allocate: Option<Allocate<'r>>,
    /// Whether a page fault or other code runs the swap-in.
    pub context: RefaultContext,
    /// The group of the faulting task. This group is charged when the slots have no owner.
    pub faulting: CssId,
}

impl std::fmt::Debug for Swapin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swapin").field("cpu", &self.cpu).field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Swapin<'_> {
    /// Returns the parameters of an ordinary fault that runs on `cpu`.
    pub fn new(cpu: CpuId, orders: Orders) -> Self {
        let (gfp, huge_gfp) = (Gfp::HIGHUSER_MOVABLE, Gfp::TRANSHUGE_LIGHT);
        Self { cpu, orders, gfp, huge_gfp, allocate: None, context: RefaultContext::Fault, faulting: CssId::ROOT }
    }
}

/// A folio that a swap-in inserted into the cache. The folio is locked and not up to date. The swap-in must read the
/// folio.
#[derive(Debug)]
pub(crate) struct NewFolio<'r> {
    pub(crate) folio: FolioRef<'r>,
    pub(crate) locked: LockedFolio<'r>,
    /// The notice for the refault policy. The swap-in sends the notice after it read the folio.
    pub(crate) notice: Option<RefaultNotice>,
}

/// The reason why a slot is read as a single page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadReason {
    /// A fault needs the page.
    Fault,
    /// A fault may need the page soon. The folio gets the readahead mark and is counted as read ahead.
    Readahead,
}

impl Swap {
    /// Allocates a folio of one order, inserts the folio into the cache and charges the folio. Steps IN2 and IN3.
    /// Kernel: `__swap_cache_alloc`.
    fn alloc_and_insert<'r>(&'r self, targ: SwpEntry, order: Order, how: &Swapin<'r>) -> Result<NewFolio<'r>> {
        let seen = self.on_cpu(how.cpu)?.swap_cache_check_batch(targ, order)?;
        let is_unlimited = how.context == RefaultContext::Other
            && self.memcg().is_some_and(|groups| groups.options().ignores_gfp_outside_fault());
        let gfp = match order {
            Order::ZERO => how.gfp,
            _ if is_unlimited => how.huge_gfp,
            _ => thp_limit_gfp_mask(how.huge_gfp, how.gfp),
        };
        let payer = self.payer(seen, how.faulting, order.nr_pages());
        // No lock is held here, because the allocation may sleep and reclaim. Another thread may change the slots
        // during the allocation, so the insertion checks the range of slots again.
        let folio = match how.allocate {
            Some(allocate) => allocate(order, gfp)?,
            None => self.folio_alloc(order, gfp, how.cpu)?,
        };
        let locked = folio.folio().lock();
        self.on_cpu(how.cpu)?.swap_cache_insert(&locked, targ, seen)?;
        if let Some(payer) = payer
            && let Err(error) = self.charge_swapin(&locked, seen, payer, gfp, how.cpu)
        {
            let mut on_cpu = self.on_cpu(how.cpu)?;
            on_cpu.del_locked(&locked, CacheExit::Uncharged(seen.shadow))?;
            on_cpu.counters().count_order(OrderEvent::InFallbackCharge, order);
            return Err(error);
        }
        let notice = self.refault(&locked, seen, how.context);
        folio.lru_add();
        self.memory_of_folios().lru_batch_add(folio.folio(), folio.lru_list(), how.cpu);
        Ok(NewFolio { folio, locked, notice })
    }

    /// Decides from the shadow of a folio's slots whether the folio becomes active at its refault. Returns the notice
    /// for the refault policy, or `None` when no notice is due. Kernel: `workingset_refault`.
    fn refault(&self, folio: &LockedFolio<'_>, seen: SeenSlots, context: RefaultContext) -> Option<RefaultNotice> {
        let shadow = seen.shadow;
        // Under MGLRU a folio that a fault swaps in starts as active. Kernel: `folio_add_lru` inside
        // `lru_gen_enter_fault`.
        let is_young = self.workingset == Workingset::Mglru && context == RefaultContext::Fault;
        if is_young {
            folio.set(FolioFlags::ACTIVE);
        }
        let options = self.memcg().map(|groups| groups.options());
        let is_judged = match options {
            Some(options) if options.owner_store.is_record() => shadow != Shadow::default(),
            Some(options) if options.idonly_refault == IdOnlyRefault::Count => true,
            _ => is_from_eviction(shadow),
        };
        if !is_judged {
            return None;
        }
        let root = self.memory_of_folios().lruvec();
        let lruvec = self.memory_of_folios().lruvec_of(folio.folio());
        let (evicted_from, nr_swap_pages) = match self.memcg() {
            Some(groups) => {
                let group = groups.lookup(shadow.memcg);
                let nr_swap_pages = |group| groups.nr_swap_pages(group, self.nr_swappable_pages());
                (group.map(MemCgroup::lruvec), group.map_or(0, nr_swap_pages))
            }
            None => (Some(root), self.nr_swappable_pages()),
        };
        // If the group that the shadow names is released, MGLRU uses the lruvec of root.
        let evicted_from = evicted_from.or((self.workingset == Workingset::Mglru).then_some(root));
        let age = evicted_from.map_or(0, |lruvec| lruvec.nonresident_age());
        let refault = Refault {
            nr_pages: folio.nr_pages(),
            shadow,
            lruvec,
            evicted_from: evicted_from.map(|of| &**of),
            nr_swap_pages,
            context,
        };
        let verdict = self.workingset.refault(refault);
        let rule = self.group_of(folio.folio()).and_then(|group| group.with_policy(|policy| policy.refault));
        let is_activated = rule.map_or(verdict.is_activated, |rule| rule == RefaultRule::Activate);
        folio.assign(FolioFlags::ACTIVE, rule.map_or(is_young || is_activated, |_| is_activated));
        folio.assign(FolioFlags::WORKINGSET, verdict.is_restored);
        if let Some(lru_refs) = verdict.lru_refs {
            folio.set_lru_refs(lru_refs);
        }
        let distance_pages = self.workingset.distance_pages(age, shadow);
        self.policies.is_set().then(|| RefaultNotice { nr_pages: folio.nr_pages(), distance_pages, is_activated })
    }

    /// Returns those of the caller's orders that the switch `zswap_large_swapin` allows. Kernel: the callers of
    /// `zswap_never_enabled`.
    pub(crate) fn orders_beside_zswap(&self, orders: Orders) -> Orders {
        let is_single = self.switches.zswap_large_swapin == ZswapLargeSwapin::Never && self.zswap().was_enabled();
        if is_single { Orders::ZERO } else { orders }
    }

    /// Returns whether a fault reads a slot without readahead and as a folio of any order. Errors: `BadRange` (EINVAL),
    /// `NoDevice` (ENOENT). Kernel: the test of `SWP_SYNCHRONOUS_IO` in `do_swap_page`.
    pub(crate) fn bypasses_readahead(&self, entry: SwpEntry, cpu: CpuId) -> Result<bool> {
        let mut on_cpu = self.on_cpu(cpu)?;
        let is_synchronous = on_cpu.is_synchronous(entry)?;
        Ok(is_synchronous && (self.switches.sync_swapin == SyncSwapin::Always || on_cpu.swap_count(entry)? == 1))
    }

    /// Frees the slots of a locked folio that a fault maps. With the word `unshared` of the switch `sync_swapin`, a
    /// folio that this fault has read (`is_new`) also leaves the cache if some of its slots have references of other
    /// page table entries, which then swap these pages in for themselves. These slots get the shadow `shadow`.
    /// Kernel: `folio_free_swap`; for `unshared` the swap-in that bypasses the swap cache.
    pub(crate) fn give_up_slots(
        &self,
        locked: &LockedFolio<'_>,
        is_new: bool,
        shadow: Shadow,
        cpu: CpuId,
    ) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        let is_bypass = is_new && locked.order() != Order::ZERO && self.switches.sync_swapin == SyncSwapin::Unshared;
        if !on_cpu.free_swap_locked(locked)? && is_bypass && !locked.has(FolioFlags::DIRTY) {
            on_cpu.del_locked(locked, CacheExit::Dropped(shadow))?;
            locked.folio_mark_dirty();
        }
        Ok(())
    }

    /// Returns the shadow of a slot that a fault is about to read, for [`Swap::give_up_slots`]; an empty shadow where
    /// no slot outlives the fault. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    pub(crate) fn shadow_to_keep(&self, entry: SwpEntry, cpu: CpuId) -> Result<Shadow> {
        match self.switches.sync_swapin {
            SyncSwapin::Always => Ok(Shadow::default()),
            SyncSwapin::Unshared => Ok(self.on_cpu(cpu)?.lookup(entry)?.shadow().unwrap_or_default()),
        }
    }

    /// Returns the orders of a swap-in whose caller names no orders. The result is the largest order that `nr_pages`
    /// slots fill if the device that holds the data is as fast as memory, and order 0 otherwise. Errors: `BadRange`
    /// (EINVAL), `NoDevice` (ENOENT).
    ///
    /// Kernel: the choice of `do_swap_page`, which reads large folios only with `SWP_SYNCHRONOUS_IO`; differs: the
    /// neighbours of the slot are not read ahead.
    pub fn default_orders(&self, entry: SwpEntry, nr_pages: u32, cpu: CpuId) -> Result<Orders> {
        if nr_pages < 2 || !self.on_cpu(cpu)?.is_synchronous(entry)? {
            return Ok(Orders::ZERO);
        }
        let largest = nr_pages.ilog2().min(Order::MAX.get().into());
        Ok(self.orders_beside_zswap(Orders::from_bits(1 << largest)?))
    }

    /// Allocates the folio of a swapped-out slot and inserts the folio into the cache. The folio has the largest
    /// allowed order for which allocation and insertion succeed.
    ///
    /// Errors: `AlreadyCached` (EEXIST) when the slot is cached, so that the caller must use the cached folio;
    /// `NotInUse`, `NoDevice` (ENOENT) when the slot is free; `NoMemory` (ENOMEM) when the memory or the charge is
    /// refused also at order 0. The function handles EBUSY and EAGAIN itself. Kernel: `swap_cache_alloc_folio`.
    pub(crate) fn swap_cache_alloc_folio<'r>(&'r self, targ: SwpEntry, how: &Swapin<'r>) -> Result<NewFolio<'r>> {
        let mut orders = if how.orders.is_empty() { how.orders } else { how.orders.with_zero() };
        let mut order = orders.highest();
        loop {
            let error = match self.alloc_and_insert(targ, order, how) {
                Err(SwapError::ShadowChanged(_)) => {
                    self.on_cpu(how.cpu)?.counters().count(Event::ShadowRetries, 1);
                    continue;
                }
                Err(error) => error,
                Ok(new) => return Ok(new),
            };
            let is_worth_less = matches!(error, SwapError::NotUniform(_)) || error.is_no_memory();
            if order == Order::ZERO || !is_worth_less {
                return Err(error);
            }
            let mut on_cpu = self.on_cpu(how.cpu)?;
            on_cpu.counters().count_order(OrderEvent::InFallback, order);
            on_cpu.note(EventKind::SwapInFallback, targ, order, error.errno());
            drop(on_cpu);
            orders = orders.without(order);
            order = orders.highest();
        }
    }

    /// Returns the folio of a slot. If the slot is not cached, exactly one of several concurrent callers allocates
    /// and reads a folio. Errors: as [`Swap::swapin_folio`].
    ///
    /// The returned folio is unlocked. The caller locks the folio and then checks that the folio is up to date and
    /// still covers the slot. Kernel: `swapin_entry`; differs: returns an error instead of NULL, and reports a failed
    /// read to the caller that read the folio.
    pub fn swapin_entry<'r>(&'r self, entry: SwpEntry, how: &Swapin<'r>) -> Result<FolioRef<'r>> {
        let _active = self.begin_activity();
        self.swapin_folio(entry, how).map(|(folio, _)| folio)
    }

    /// Works as [`Swap::swapin_entry`], and also returns whether this call allocated and read the folio.
    ///
    /// Errors: `NotInUse`, `NoDevice` (ENOENT); `NoMemory` (ENOMEM); `BadRange` (EINVAL); `Io` of the read.
    pub(crate) fn swapin_folio<'r>(&'r self, entry: SwpEntry, how: &Swapin<'r>) -> Result<(FolioRef<'r>, bool)> {
        loop {
            if let Some(folio) = self.swap_cache_get_folio(entry, how.cpu)? {
                return Ok((folio, false));
            }
            match self.swap_cache_alloc_folio(entry, how) {
                Ok(NewFolio { folio, locked, notice }) => {
                    if let Err(error) = self.swap_read_folio(locked, how.cpu) {
                        self.drop_unread(&folio, how.cpu)?;
                        return Err(error);
                    }
                    if let Some(notice) = notice {
                        self.ask_refault_policy(&folio, notice);
                    }
                    return Ok((folio, true));
                }
                Err(SwapError::AlreadyCached(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Works as [`Swap::swapin_folio`], but returns `None` when the slot is free.
    pub(crate) fn swapin_folio_or_none<'r>(&'r self, entry: SwpEntry, how: &Swapin<'r>) -> Result<Found<'r>> {
        match self.swapin_folio(entry, how) {
            Ok(found) => Ok(Some(found)),
            Err(SwapError::NotInUse(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a folio whose read failed from the cache, so that the next fault reads the slot again.
    ///
    /// Differs from the kernel, where the folio stays until reclaim frees the folio and each fault gets a bus error.
    pub(crate) fn drop_unread(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<()> {
        let locked = folio.folio().lock();
        let flags = folio.flags();
        if flags.contains(FolioFlags::SWAPCACHE) && !flags.intersects(FolioFlags::UPTODATE | FolioFlags::DIRTY) {
            self.on_cpu(cpu)?.del_locked(&locked, CacheExit::Dropped(Shadow::default()))?;
        }
        Ok(())
    }

    /// Returns the cached folio of a slot. If the slot is not cached, reads the slot as a single page. Readahead and
    /// asynchronous faults call this function. Returns `None` when the slot is free. Errors: `NoDevice` (ENOENT),
    /// `BadRange` (EINVAL), `Io`, `NoMemory`, `OverLimit` (ENOMEM).
    ///
    /// With [`ReadReason::Readahead`] a folio that the call reads gets the readahead mark and is counted as read
    /// ahead. Kernel: `swap_cache_read_folio`.
    pub(crate) fn swap_cache_read_folio<'r>(
        &'r self,
        entry: SwpEntry,
        how: &Swapin<'r>,
        reason: ReadReason,
    ) -> Result<Found<'r>> {
        if self.on_cpu(how.cpu)?.swap_count(entry)? == 0 {
            // A slot without references may still be cached.
            return Ok(self.swap_cache_get_folio(entry, how.cpu)?.map(|folio| (folio, false)));
        }
        let found = self.swapin_folio_or_none(entry, &Swapin { orders: Orders::ZERO, ..*how })?;
        if let Some((folio, true)) = &found
            && reason == ReadReason::Readahead
        {
            folio.set(FolioFlags::READAHEAD);
            self.on_cpu(how.cpu)?.counters().count(Event::SwapRa, 1);
        }
        Ok(found)
    }

    /// Reads a slot into the swap cache as a single page, without the readahead mark. Returns the number of pages
    /// that were read: 0 for a slot that is cached or free, and for a failed read, which a later fault repeats.
    ///
    /// Kernel: `read_swap_cache_async`; differs: the read is over when the call returns.
    pub(crate) fn read_swap_cache_async(&self, entry: SwpEntry, faulting: CssId, cpu: CpuId) -> u64 {
        let how = Swapin { faulting, context: RefaultContext::Other, ..Swapin::new(cpu, Orders::ZERO) };
        let found = self.swap_cache_read_folio(entry, &how, ReadReason::Fault);
        u64::from(matches!(found, Ok(Some((_, true)))))
    }

    /// Reads the slots of a window, and then the target slot, which usually is cached after the window was read. The
    /// iterator `window` yields each slot, and whether it is the target slot.
    ///
    /// Errors: the errors of the target slot. An error of another slot is ignored, because a later fault on this slot
    /// gets the error again.
    pub(crate) fn read_window<'r>(
        &'r self,
        targ: SwpEntry,
        window: impl Iterator<Item = (SwpEntry, bool)>,
        how: &Swapin<'r>,
    ) -> Result<Found<'r>> {
        let mut was_read = false;
        for (entry, is_target) in window {
            let reason = if is_target { ReadReason::Fault } else { ReadReason::Readahead };
            let read = self.swap_cache_read_folio(entry, how, reason);
            was_read |= is_target && read?.is_some_and(|(_, is_new)| is_new);
        }
        let found = self.swap_cache_read_folio(targ, how, ReadReason::Fault)?;
        Ok(found.map(|(folio, is_new)| (folio, is_new || was_read)))
    }

    /// Reads the slots of the aligned block that contains a target slot, and the target slot. Kernel:
    /// `swap_cluster_readahead`.
    ///
    /// Returns `None` when the target slot is free. Errors: as [`Swap::swap_cache_read_folio`]
    /// of the target slot. An error of another slot is ignored, because a later fault on this slot gets the error
    /// again.
    pub fn swap_cluster_readahead<'r>(&'r self, targ: SwpEntry, how: &Swapin<'r>) -> Result<Found<'r>> {
        let _active = self.begin_activity();
        let device = self.on_cpu(how.cpu)?.device_of(targ)?;
        let window = self.readahead.window(targ.offset(), device.max_pages());
        if window.nr_pages() <= 1 {
            return self.swap_cache_read_folio(targ, how, ReadReason::Fault);
        }
        let slots = window.slots().map(|offset| (device.entry_at(offset), offset == targ.offset()));
        self.read_window(targ, slots, how)
    }
}
