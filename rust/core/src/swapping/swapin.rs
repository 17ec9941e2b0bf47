//! Swap-in: a folio is put over its slots first and charged and read after, so that of any number of faults one does it.

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::gfp::{Gfp, thp_limit_gfp_mask};
pub use crate::base::orders::Orders;
use crate::base::types::{CpuId, CssId, Order, SwpEntry};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::{IdOnlyRefault, MemCgroup, RefaultNotice, RefaultRule};
use crate::slots::owner::{CacheExit, SeenSlots};
use crate::table::Shadow;
use crate::workingset::{Refault, RefaultContext, Workingset, is_from_eviction};

/// Where the memory of a swap-in comes from: order and mask in, a folio out. Kernel: the VMA's or the mempolicy.
pub type Allocate<'r> = &'r (dyn Fn(Order, Gfp) -> Result<FolioRef<'r>> + Sync);

/// How a slot is to be swapped in.
#[derive(Clone, Copy)]
pub struct Swapin<'r> {
    /// The CPU it happens on.
    pub cpu: CpuId,
    /// Orders to try, the highest first.
    pub orders: Orders,
    /// What an order-0 allocation may do; larger ones may do no more.
    pub gfp: Gfp,
    /// What a larger allocation would do if it were free to. Kernel: `vma_thp_gfp_mask`.
    pub huge_gfp: Gfp,
    /// Where memory comes from; `None` is the subsystem's own.
    pub allocate: Option<Allocate<'r>>,
    /// Whether a fault asks.
    pub context: RefaultContext,
    /// The group of who faults; it pays where the slots have no owner.
    pub faulting: CssId,
}

impl std::fmt::Debug for Swapin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swapin").field("cpu", &self.cpu).field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Swapin<'_> {
    /// An ordinary fault of a user on a CPU.
    pub fn new(cpu: CpuId, orders: Orders) -> Self {
        let (gfp, huge_gfp) = (Gfp::HIGHUSER_MOVABLE, Gfp::TRANSHUGE_LIGHT);
        Self { cpu, orders, gfp, huge_gfp, allocate: None, context: RefaultContext::Fault, faulting: CssId::ROOT }
    }
}

/// A folio that was just inserted: locked, not up to date, known to its maker as the one who must read it.
#[derive(Debug)]
pub(crate) struct NewFolio<'r> {
    pub(crate) folio: FolioRef<'r>,
    pub(crate) locked: LockedFolio<'r>,
    /// What to ask the policy about once the folio is read.
    pub(crate) notice: Option<RefaultNotice>,
}

impl Swap {
    /// Allocates a folio of one order, inserts it, charges it. Step I2 and I3. Kernel: `__swap_cache_alloc`.
    fn alloc_one<'r>(&'r self, targ: SwpEntry, order: Order, how: &Swapin<'r>) -> Result<NewFolio<'r>> {
        let seen = self.on_cpu(how.cpu)?.swap_cache_check_batch(targ, order)?;
        // As posted, a large folio without a fault is not held to what its caller may do.
        let is_unlimited =
            how.context == RefaultContext::Other && self.memcg().is_some_and(|groups| groups.options().is_rfc_literal);
        let gfp = match order {
            Order::ZERO => how.gfp,
            _ if is_unlimited => how.huge_gfp,
            _ => thp_limit_gfp_mask(how.huge_gfp, how.gfp),
        };
        let payer = self.payer(seen, how.faulting, order.nr_pages());
        // No lock is held: this may sleep and reclaim. The range is looked at again afterwards.
        let folio = match how.allocate {
            Some(allocate) => allocate(order, gfp)?,
            // A large order is not worth what the cache holds.
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

    /// Judges a folio by what it left in its slots; returns what a policy may be asked about. Kernel: `workingset_refault`.
    fn refault(&self, folio: &LockedFolio<'_>, seen: SeenSlots, context: RefaultContext) -> Option<RefaultNotice> {
        let shadow = seen.shadow;
        // Generations take what a fault brings for young. Kernel: `folio_add_lru` inside `lru_gen_enter_fault`.
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
        // A group that is gone is root to the rule of generations.
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

    /// Makes and inserts the folio of a swapped-out slot, the largest of the allowed orders that works.
    ///
    /// Errors: `AlreadyCached` (EEXIST) the slot is cached: use that folio. `NotInUse`, `NoDevice` (ENOENT) it is free.
    /// `NoMemory` (ENOMEM) no memory or charge refused, at order 0 too. EBUSY and EAGAIN are dealt with inside.
    /// Kernel: `swap_cache_alloc_folio`.
    pub(crate) fn swap_cache_alloc_folio<'r>(&'r self, targ: SwpEntry, how: &Swapin<'r>) -> Result<NewFolio<'r>> {
        let mut orders = if how.orders.is_empty() { how.orders } else { how.orders.with_zero() };
        let mut order = orders.highest();
        loop {
            let error = match self.alloc_one(targ, order, how) {
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

    /// Finds the folio of a slot or makes one and reads it, once however many ask. Errors: those of
    /// [`Swap::swapin_folio`] but EEXIST.
    ///
    /// The folio comes unlocked; that it is up to date and still covers the slot is to be looked at with its lock held.
    /// Kernel: `swapin_entry`; differs: an error instead of NULL, and a failed read is reported to who read.
    pub fn swapin_entry<'r>(&'r self, entry: SwpEntry, how: &Swapin<'r>) -> Result<FolioRef<'r>> {
        self.swapin_folio(entry, how).map(|(folio, _)| folio)
    }

    /// [`Swap::swapin_entry`] that also says whether the folio is new.
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

    /// [`Swap::swapin_folio`] for those to whom a slot that is free and memory that has run out are no folio, not an error.
    pub(crate) fn swapin_folio_or_none<'r>(
        &'r self,
        entry: SwpEntry,
        how: &Swapin<'r>,
    ) -> Result<Option<(FolioRef<'r>, bool)>> {
        match self.swapin_folio(entry, how) {
            Ok(found) => Ok(Some(found)),
            Err(SwapError::NotInUse(_)) => Ok(None),
            Err(error) if error.is_no_memory() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a folio whose read failed out of the cache, so that the next fault reads again.
    ///
    /// Kernel: it stays until reclaim drops it, and every fault gets a bus error meanwhile.
    pub(crate) fn drop_unread(&self, folio: &FolioRef<'_>, cpu: CpuId) -> Result<()> {
        let locked = folio.folio().lock();
        let flags = folio.flags();
        if flags.contains(FolioFlags::SWAPCACHE) && !flags.intersects(FolioFlags::UPTODATE | FolioFlags::DIRTY) {
            self.on_cpu(cpu)?.del_locked(&locked, CacheExit::Dropped(Shadow::default()))?;
        }
        Ok(())
    }

    /// Finds the folio of a slot or reads it alone; what readahead and asynchronous faults use. `Ok(None)`: the slot is
    /// free, or there is no memory. Errors: `NoDevice` (ENOENT), `BadRange` (EINVAL), `Io`.
    ///
    /// With `is_readahead` a folio that is read is marked and counted. Kernel: `swap_cache_read_folio`.
    pub(crate) fn swap_cache_read_folio<'r>(
        &'r self,
        entry: SwpEntry,
        how: &Swapin<'r>,
        is_readahead: bool,
    ) -> Result<Option<(FolioRef<'r>, bool)>> {
        if self.on_cpu(how.cpu)?.swap_count(entry)? == 0 {
            // A slot that only the cache holds has a folio, too.
            return Ok(self.swap_cache_get_folio(entry, how.cpu)?.map(|folio| (folio, false)));
        }
        let found = self.swapin_folio_or_none(entry, &Swapin { orders: Orders::ZERO, ..*how })?;
        if let Some((folio, true)) = &found
            && is_readahead
        {
            folio.set(FolioFlags::READAHEAD);
            self.on_cpu(how.cpu)?.counters().count(Event::SwapRa, 1);
        }
        Ok(found)
    }

    /// Reads the slots of a window, each with whether it is the target's, and then the target, most often a hit.
    ///
    /// Errors: those of the target; those of neighbours are left to who wants them.
    pub(crate) fn read_window<'r>(
        &'r self,
        targ: SwpEntry,
        window: impl Iterator<Item = (SwpEntry, bool)>,
        how: &Swapin<'r>,
    ) -> Result<Option<(FolioRef<'r>, bool)>> {
        let mut was_read = false;
        for (entry, is_target) in window {
            let read = self.swap_cache_read_folio(entry, how, !is_target);
            was_read |= is_target && read?.is_some_and(|(_, is_new)| is_new);
        }
        let found = self.swap_cache_read_folio(targ, how, false)?;
        Ok(found.map(|(folio, is_new)| (folio, is_new || was_read)))
    }

    /// Reads the aligned block of slots around a target, and the target. Kernel: `swap_cluster_readahead`.
    ///
    /// `Ok(None)`: the slot is free, or there is no memory. Errors: as [`Swap::swap_cache_read_folio`] of the target;
    /// those of neighbours are left to who wants them.
    pub fn swap_cluster_readahead<'r>(
        &'r self,
        targ: SwpEntry,
        how: &Swapin<'r>,
    ) -> Result<Option<(FolioRef<'r>, bool)>> {
        let device = self.on_cpu(how.cpu)?.device_of(targ)?;
        let window = self.readahead.window(targ.offset(), device.max_pages());
        match window.nr_pages() {
            0 | 1 => self.swap_cache_read_folio(targ, how, false),
            _ => {
                let slots = window.slots().map(|offset| (device.entry_at(offset), offset == targ.offset()));
                self.read_window(targ, slots, how)
            }
        }
    }
}
