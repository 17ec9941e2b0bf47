//! Swap-in. A folio is inserted over its slots first, and charged and read afterwards, so that one of any number of
//! concurrent faults does the read.

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::gfp::{Gfp, thp_limit_gfp_mask};
use crate::base::types::{CpuId, CssId, Order, SwpEntry};
pub use crate::containers::orders::Orders;
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::{IdOnlyRefault, MemCgroup, RefaultNotice, RefaultRule};
use crate::slots::owner::{CacheExit, SeenSlots};
use crate::table::Shadow;
use crate::workingset::{Refault, RefaultContext, Workingset, is_from_eviction};

/// The allocator of a swap-in: takes an order and an allocation mask, returns a folio. Kernel: allocation by the VMA
/// or the mempolicy.
pub type Allocate<'r> = &'r (dyn Fn(Order, Gfp) -> Result<FolioRef<'r>> + Sync);

/// The folio of a slot, and whether the call read it. `None` when the slot is free or memory has run out.
pub type Found<'r> = Option<(FolioRef<'r>, bool)>;

/// The parameters of a swap-in.
#[derive(Clone, Copy)]
pub struct Swapin<'r> {
    /// The CPU that the swap-in runs on.
    pub cpu: CpuId,
    /// Orders to try, the highest first.
    pub orders: Orders,
    /// The mask of an order-0 allocation. Larger allocations may do no more than this mask allows.
    pub gfp: Gfp,
    /// The mask that a larger allocation would have without the limit of `gfp`. Kernel: `vma_thp_gfp_mask`.
    pub huge_gfp: Gfp,
    /// The allocator. `None` stands for the subsystem's own memory.
    pub allocate: Option<Allocate<'r>>,
    /// Whether a fault or another caller swaps in.
    pub context: RefaultContext,
    /// The group of the faulting task. The group is charged when the slots have no owner.
    pub faulting: CssId,
}

impl std::fmt::Debug for Swapin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swapin").field("cpu", &self.cpu).field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Swapin<'_> {
    /// Returns the parameters of an ordinary fault on a CPU.
    pub fn new(cpu: CpuId, orders: Orders) -> Self {
        let (gfp, huge_gfp) = (Gfp::HIGHUSER_MOVABLE, Gfp::TRANSHUGE_LIGHT);
        Self { cpu, orders, gfp, huge_gfp, allocate: None, context: RefaultContext::Fault, faulting: CssId::ROOT }
    }
}

/// A folio that was just inserted: locked and not up to date. The thread that inserted the folio must read the
/// folio's data.
#[derive(Debug)]
pub(crate) struct NewFolio<'r> {
    pub(crate) folio: FolioRef<'r>,
    pub(crate) locked: LockedFolio<'r>,
    /// The notice for the refault policy, sent after the folio is read.
    pub(crate) notice: Option<RefaultNotice>,
}

/// Why a slot is read alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadReason {
    /// A fault wants the page.
    Fault,
    /// The page may be wanted soon: its folio is marked and counted as read ahead.
    Readahead,
}

impl Swap {
    /// Allocates, inserts and charges a folio of one order. Steps IN2 and IN3. Kernel: `__swap_cache_alloc`.
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
        // No lock is held here, because the allocation may sleep and reclaim. The insertion checks the range again.
        let folio = match how.allocate {
            Some(allocate) => allocate(order, gfp)?,
            // Only order 0 may shrink the cache for memory, because a large order is not worth cached folios.
            None if order == Order::ZERO => self.folio_alloc_shrinking(order, how.cpu)?,
            None => self.folio_alloc(order)?,
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
        Ok(NewFolio { folio, locked, notice })
    }

    /// Judges the refault of a folio by the shadow in its slots. Returns the notice for the policy, if there is one.
    /// Kernel: `workingset_refault`.
    fn refault(&self, folio: &LockedFolio<'_>, seen: SeenSlots, context: RefaultContext) -> Option<RefaultNotice> {
        let shadow = seen.shadow;
        // The rule of generations treats a page that a fault brings in as young. Kernel: `folio_add_lru` inside
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
        // The rule of generations uses root in place of a released group.
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

    /// Allocates and inserts the folio of a swapped-out slot, of the largest allowed order that works.
    ///
    /// Errors: `AlreadyCached` (EEXIST) when the slot is cached, and the caller uses the cached folio; `NotInUse`,
    /// `NoDevice` (ENOENT) when the slot is free; `NoMemory` (ENOMEM) when memory or the charge is refused at order 0
    /// too. EBUSY and EAGAIN are handled here. Kernel: `swap_cache_alloc_folio`.
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

    /// Returns the folio of a slot. If the slot is not cached, a folio is allocated and read once, for any number of
    /// concurrent callers. Errors: those of [`Swap::swapin_folio`] except EEXIST.
    ///
    /// The folio is unlocked. The caller locks the folio and then checks that the folio is up to date and still
    /// covers the slot. Kernel: `swapin_entry`; differs: returns an error instead of NULL, and reports a failed read
    /// to the caller that read.
    pub fn swapin_entry<'r>(&'r self, entry: SwpEntry, how: &Swapin<'r>) -> Result<FolioRef<'r>> {
        self.swapin_folio(entry, how).map(|(folio, _)| folio)
    }

    /// [`Swap::swapin_entry`] that also returns whether the folio is new.
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

    /// [`Swap::swapin_folio`] that returns `None` for a free slot and for memory that has run out.
    pub(crate) fn swapin_folio_or_none<'r>(&'r self, entry: SwpEntry, how: &Swapin<'r>) -> Result<Found<'r>> {
        match self.swapin_folio(entry, how) {
            Ok(found) => Ok(Some(found)),
            Err(SwapError::NotInUse(_)) => Ok(None),
            Err(error) if error.is_no_memory() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a folio whose read failed out of the cache, so that the next fault reads again.
    ///
    /// Kernel: the folio stays until reclaim drops it, and each fault gets a bus error meanwhile.
    pub(crate) fn drop_unread(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<()> {
        let locked = folio.folio().lock();
        let flags = folio.flags();
        if flags.contains(FolioFlags::SWAPCACHE) && !flags.intersects(FolioFlags::UPTODATE | FolioFlags::DIRTY) {
            self.on_cpu(cpu)?.del_locked(&locked, CacheExit::Dropped(Shadow::default()))?;
        }
        Ok(())
    }

    /// Returns the folio of a slot, or reads the slot as a single page. Readahead and asynchronous faults use this
    /// function. Returns `None` when the slot is free or memory has run out. Errors: `NoDevice` (ENOENT), `BadRange`
    /// (EINVAL), `Io`.
    ///
    /// With [`ReadReason::Readahead`] a folio that is read gets the readahead mark and is counted. Kernel:
    /// `swap_cache_read_folio`.
    pub(crate) fn swap_cache_read_folio<'r>(
        &'r self,
        entry: SwpEntry,
        how: &Swapin<'r>,
        reason: ReadReason,
    ) -> Result<Found<'r>> {
        if self.on_cpu(how.cpu)?.swap_count(entry)? == 0 {
            // A slot without references may still have a folio in the cache.
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

    /// Reads the slots of a window, and then the target slot, which usually is cached by then. The window yields each
    /// slot, and whether the slot is the target.
    ///
    /// Errors: those of the target. An error of a neighbour is ignored, because a later fault meets the error again.
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

    /// Reads the aligned block of slots around a target, and the target. Kernel: `swap_cluster_readahead`.
    ///
    /// Returns `None` when the slot is free or memory has run out. Errors: as [`Swap::swap_cache_read_folio`] of the
    /// target. An error of a neighbour is ignored, because a later fault meets the error again.
    pub fn swap_cluster_readahead<'r>(&'r self, targ: SwpEntry, how: &Swapin<'r>) -> Result<Found<'r>> {
        let device = self.on_cpu(how.cpu)?.device_of(targ)?;
        let window = self.readahead.window(targ.offset(), device.max_pages());
        if window.nr_pages() <= 1 {
            return self.swap_cache_read_folio(targ, how, ReadReason::Fault);
        }
        let slots = window.slots().map(|offset| (device.entry_at(offset), offset == targ.offset()));
        self.read_window(targ, slots, how)
    }
}
