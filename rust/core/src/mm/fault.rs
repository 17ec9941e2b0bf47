//! Page faults of three kinds: the first touch of a page, the swap-in, and the copy on write.

use std::ops::Range;

use super::{Found, Mm, Pte, Vma, folio_of, found_folio, index};
use crate::base::error::Result;
use crate::base::event::EventKind;
use crate::base::gfp::Gfp;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio};
use crate::machine::{Event, OrderEvent};
use crate::memcg::MemcgStat;
use crate::readahead::{ReadaheadFlag, Vpn};
use crate::rmap::{PageTable, Pmd};
use crate::slots::owner::CacheExit;
use crate::swapping::swapin::{Orders, ReadReason, Swapin};
use crate::table::Shadow;

/// The result of an attempt to map a folio for a fault.
enum Step {
    /// The page is mapped.
    Done,
    /// The page is not mapped, because the page table entry has changed, or because a new large folio does not match
    /// the entries of the folio's range any more. The fault starts again.
    Retry,
}

/// Kind of a task's access to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The task reads the page.
    Read,
    /// The task writes the page. Kernel: `FAULT_FLAG_WRITE`.
    Write,
}

impl Access {
    /// Returns `Write` when `is_write` is true, and otherwise `Read`.
    pub const fn of(is_write: bool) -> Self {
        if is_write { Self::Write } else { Self::Read }
    }
}

/// A fault on a swapped-out page. Kernel: `struct vm_fault`.
#[derive(Clone, Copy, Debug)]
struct SwapFault<'m> {
    vma: &'m Vma,
    vpn: Vpn,
    /// The slot that the page table entry names at the start of the fault.
    entry: SwpEntry,
    access: Access,
    cpu: CpuId,
}

impl Mm {
    /// Makes a page present, and writable for a write access. Returns the folio of the page with a reference, and the
    /// index of the page in the folio.
    ///
    /// Errors: `NotMapped` (EFAULT); `NoMemory`, `OverLimit` (ENOMEM), after which the OOM killer may have ended the
    /// task; `Killed` (ESRCH); `Io` when the data cannot be read, in which case the page stays swapped out. Kernel:
    /// `handle_mm_fault`, with `get_user_pages` around it.
    pub fn touch(&self, vpn: Vpn, access: Access, cpu: CpuId) -> Result<(FolioRef<'_>, u16)> {
        let vma = self.vma_of(vpn)?;
        loop {
            let pte = {
                let mut table = vma.table(vpn);
                let pte = &mut table[index(vpn)];
                if let Pte::Present { pfn, page, is_exclusive, is_young } = pte
                    && (*is_exclusive || access == Access::Read)
                {
                    *is_young = true;
                    return Ok((folio_of(&self.swap, *pfn), *page));
                }
                if let (Pte::Zero, Access::Read) = (*pte, access) {
                    return Ok((self.swap.memory_of_folios().zero_page()?, 0));
                }
                *pte
            };
            let active = self.swap.begin_activity();
            if let Some(group) = self.swap.group(self.css()) {
                group.count(MemcgStat::PgFault, 1);
            }
            let result = self.with_oom_killer(cpu, || match pte {
                Pte::None => self.do_anonymous_page(&vma, vpn, access, cpu),
                Pte::Zero => self.do_wp_zero(&vma, vpn, cpu),
                Pte::Present { .. } => self.do_wp_page(&vma, vpn, pte, cpu),
                Pte::Swap { entry, .. } => {
                    let fault = SwapFault { vma: &vma, vpn, entry, access, cpu };
                    self.do_swap_page(&fault).and_then(|()| self.do_wp_after_swapin(&fault))
                }
            });
            if pte.slot().is_some() {
                self.swap.end_operation(active);
            }
            result?;
            self.check_alive()?;
        }
    }

    /// Returns the mask for large folios of a mapping. Kernel: `vma_thp_gfp_mask`.
    fn thp_gfp_mask(&self, vma: &Vma) -> Gfp {
        self.swap.thp_defrag().gfp(vma.options().is_hugepage())
    }

    /// Maps the shared page of zeros for a read, or a folio of zeros for a write. The folio has the largest order
    /// whose window lies in the mapping and has no entry yet, or a smaller order when a larger folio does not fit in
    /// the free memory or in the limits. Kernel: `do_anonymous_page`, `alloc_anon_folio`.
    fn do_anonymous_page(&self, vma: &Vma, vpn: Vpn, access: Access, cpu: CpuId) -> Result<()> {
        let mut orders = anon_folio_orders(vma, vpn);
        if access == Access::Read {
            map_zero_page(vma, vpn, orders.highest());
            return Ok(());
        }
        loop {
            let order = orders.highest();
            let gfp = if order == Order::ZERO { Gfp::HIGHUSER_MOVABLE } else { self.thp_gfp_mask(vma) };
            match self.folio_for_task(order, gfp, cpu) {
                Ok(folio) => return self.map_zeros(vma, vpn, &folio, Pte::None, cpu),
                Err(error) if order == Order::ZERO => return Err(error),
                Err(error) => {
                    let events = (OrderEvent::AnonFaultFallback, OrderEvent::AnonFaultFallbackCharge);
                    self.swap.count_touch_fallback(&error, events, order, cpu)?;
                }
            }
            orders = orders.without(order);
        }
    }

    /// Maps a folio of zeros at a page that the shared page of zeros maps. A folio of the largest order replaces the
    /// mapping of a whole page table. Kernel: `do_huge_zero_wp_pmd`, and `do_wp_page` of `ZERO_PAGE`.
    fn do_wp_zero(&self, vma: &Vma, vpn: Vpn, cpu: CpuId) -> Result<()> {
        if vma.table(vpn).pmd == Pmd::Huge {
            match self.folio_for_task(Order::MAX, self.thp_gfp_mask(vma), cpu) {
                Ok(folio) => return self.map_zeros(vma, vpn, &folio, Pte::Zero, cpu),
                Err(error) => {
                    let events = (OrderEvent::AnonFaultFallback, OrderEvent::AnonFaultFallbackCharge);
                    self.swap.count_touch_fallback(&error, events, Order::MAX, cpu)?;
                }
            }
            vma.table(vpn).split_huge_pmd(self.swap.memory_of_folios());
        }
        let folio = self.folio_for_task(Order::ZERO, Gfp::HIGHUSER_MOVABLE, cpu)?;
        self.map_zeros(vma, vpn, &folio, Pte::Zero, cpu)
    }

    /// Fills a new folio with zeros and maps the folio at the aligned window that contains a page. If an entry of the
    /// window is not `expected` any more, or the entry above the page table has changed, the folio is dropped, and the
    /// fault starts again.
    fn map_zeros(&self, vma: &Vma, vpn: Vpn, folio: &FolioRef<'_>, expected: Pte, cpu: CpuId) -> Result<()> {
        vma.mlock_new_folio(folio.folio());
        self.swap.zero_anon(folio)?;
        let nr_pages = folio.nr_pages();
        let first = vma.window(vpn, nr_pages).expect("the order fits in the mapping").start;
        let mut table = vma.table(vpn);
        let (is_huge, was_zero) = (folio.order() == Order::MAX, expected == Pte::Zero);
        let is_other =
            |pmd| if is_huge { (pmd == Pmd::Huge) != was_zero || pmd == Pmd::Table } else { pmd == Pmd::Huge };
        if is_other(table.pmd) || table[index(first)..][..nr_pages as usize].iter().any(|pte| *pte != expected) {
            return Ok(());
        }
        table.pmd = if is_huge { Pmd::Huge } else { Pmd::Table };
        let entries = &mut table[index(first)..][..nr_pages as usize];
        vma.set_anon_rmap(folio.folio(), Some(first));
        folio.add_mappings(0..nr_pages);
        if is_huge {
            folio.add_entire_mapping();
        }
        for (page, pte) in entries.iter_mut().enumerate() {
            *pte = Pte::exclusive(folio.pfn(), page as u16);
        }
        drop(table);
        self.swap.count_large(OrderEvent::AnonFaultAlloc, folio.order(), cpu)
    }

    /// Makes a page writable: in place when the mapping is the only user of the page, otherwise in a copy. Kernel:
    /// `do_wp_page`.
    fn do_wp_page(&self, vma: &Vma, vpn: Vpn, seen: Pte, cpu: CpuId) -> Result<()> {
        let Pte::Present { pfn, page, .. } = seen else { return Ok(()) };
        let old = {
            let mut table = vma.table(vpn);
            if table[index(vpn)] != seen {
                return Ok(());
            }
            let old = folio_of(&self.swap, pfn);
            self.swap.memory_of_folios().lru_batch_drain_for(old.folio(), cpu);
            self.free_swap_of_reused(old.folio(), cpu)?;
            if is_reused(&mut table, vpn, old.folio()) {
                return Ok(());
            }
            table.split_huge_pmd(self.swap.memory_of_folios());
            old
        };
        let new = self.folio_for_task(Order::ZERO, Gfp::HIGHUSER_MOVABLE, cpu)?;
        let from = page as usize * PAGE_SIZE;
        new.bytes_mut()?.copy_from_slice(&old.bytes()?[from..from + PAGE_SIZE]);
        vma.mlock_new_folio(new.folio());
        self.swap.make_anon(&new);
        let mut table = vma.table(vpn);
        if table[index(vpn)] == seen {
            vma.set_anon_rmap(new.folio(), Some(vpn));
            new.add_mappings(0..1);
            table[index(vpn)] = Pte::exclusive(new.pfn(), 0);
            vma.remove_rmap(old.folio(), page.into()..u32::from(page) + 1);
        }
        drop(table);
        // The last user of the old folio may be the swap cache, whose slots no page table refers to any more. Kernel:
        // `wp_page_copy` with `free_swap_cache`.
        self.swap.free_folio_and_swap_cache(&old, cpu)
    }

    /// Frees the slot of a single cached page that only one page table entry maps, so that the entry can become
    /// writable in place. The caller holds a reference and the lock of the page table. Kernel: the call of
    /// `folio_free_swap` in `wp_can_reuse_anon_folio`.
    fn free_swap_of_reused(&self, folio: Folio<'_>, cpu: CpuId) -> Result<()> {
        // One reference each: of the entry, of the cache, of the caller.
        if folio.order() == Order::ZERO
            && folio.has(FolioFlags::SWAPCACHE)
            && (folio.mapcount(), folio.refs()) == (1, 3)
            && let Some(locked) = folio.try_lock()
        {
            self.swap.on_cpu(cpu)?.free_swap_locked(&locked)?;
        }
        Ok(())
    }

    /// Swaps a page in. Kernel: `do_swap_page`.
    fn do_swap_page(&self, fault: &SwapFault<'_>) -> Result<()> {
        let &SwapFault { vma, vpn, entry, cpu, .. } = fault;
        let shadow = self.swap.shadow_to_keep(entry, cpu)?;
        let found = self.swapin_for_fault(vma, vpn, entry, cpu);
        let is_unchanged = || vma.pte(vpn).slot() == Some(entry);
        let Some((folio, is_new)) = found_folio(found, is_unchanged)? else { return Ok(()) };
        if is_new {
            self.swap.count_major_fault(self.css(), cpu)?;
        }
        let locked = folio.folio().lock_for_fault()?;
        if fault.access == Access::Write {
            self.swap.memory_of_folios().lru_batch_drain_for(folio.folio(), cpu);
        }
        if !folio.covers(entry) {
            return Ok(());
        }
        if !locked.has(FolioFlags::UPTODATE) {
            // Kernel: the fault causes a bus error; differs: the thread that read the folio reports the error, and
            // the next fault reads the slot again.
            drop(locked);
            return self.swap.drop_unread(&folio, cpu);
        }
        match self.map_swapped(fault, &locked, is_new, shadow)? {
            Step::Done => Ok(()),
            Step::Retry => {
                // The page table entries have changed since the lookup of the folio, so the fault cannot map the
                // folio.
                let mut on_cpu = self.swap.on_cpu(cpu)?;
                if is_new && !folio.is_mapped() && !folio.has(FolioFlags::DIRTY) {
                    on_cpu.del_locked(&locked, CacheExit::Dropped(Shadow::default()))?;
                } else {
                    // If no slot of the folio has references, the slots are freed here. Kernel: reclaim frees such
                    // slots later.
                    on_cpu.free_swap_locked(&locked)?;
                }
                Ok(())
            }
        }
    }

    /// Copies the page that a write fault has swapped in, if another entry or slot refers to the page. The copy is a
    /// part of the same fault. Kernel: the call of `do_wp_page` in `do_swap_page`.
    fn do_wp_after_swapin(&self, fault: &SwapFault<'_>) -> Result<()> {
        if fault.access == Access::Read {
            return Ok(());
        }
        match fault.vma.pte(fault.vpn) {
            pte @ Pte::Present { is_exclusive: false, .. } => self.do_wp_page(fault.vma, fault.vpn, pte, fault.cpu),
            _ => Ok(()),
        }
    }

    /// Returns the folio of a slot, and whether the folio was read for this fault. A folio that is not cached is read
    /// without readahead from a synchronous device (see the switch `sync_swapin`), and with readahead from any other
    /// device.
    ///
    /// Returns `None` when the slot is free.
    fn swapin_for_fault(&self, vma: &Vma, vpn: Vpn, entry: SwpEntry, cpu: CpuId) -> Result<Option<Found<'_>>> {
        if let Some(folio) = self.swap.swap_cache_get_folio(entry, cpu)? {
            self.update_readahead(vma, vpn, &folio, cpu)?;
            return Ok(Some((folio, false)));
        }
        let huge_gfp = self.thp_gfp_mask(vma);
        let how = Swapin { faulting: self.css(), huge_gfp, ..Swapin::new(cpu, Orders::ZERO) };
        if self.swap.bypasses_readahead(entry, cpu)? {
            let orders = self.alloc_swap_folio_orders(vma, vpn, entry);
            return self.swap.swapin_folio_or_none(entry, &Swapin { orders, ..how });
        }
        self.swapin_readahead(vma, vpn, entry, &how)
    }

    /// Reads a slot as a single page and reads neighbours ahead. Kernel: `swapin_readahead`.
    pub(super) fn swapin_readahead<'m>(
        &'m self,
        vma: &Vma,
        vpn: Vpn,
        entry: SwpEntry,
        how: &Swapin<'m>,
    ) -> Result<Option<Found<'m>>> {
        if self.swap.swap_use_vma_readahead() {
            return self.swap_vma_readahead(vma, vpn, entry, how);
        }
        self.swap.swap_cluster_readahead(entry, how)
    }

    /// Updates the readahead state for a folio found in the cache. Kernel: `swap_update_readahead`.
    fn update_readahead(&self, vma: &Vma, vpn: Vpn, folio: &FolioRef<'_>, cpu: CpuId) -> Result<()> {
        if folio.order() != Order::ZERO {
            return Ok(());
        }
        // The flags `READAHEAD` and `RECLAIM` share one bit. During writeback the bit means `RECLAIM`, so this
        // function neither tests nor clears the bit.
        let is_ahead =
            !folio.has(FolioFlags::WRITEBACK) && folio.clear(FolioFlags::READAHEAD).contains(FolioFlags::READAHEAD);
        let flag = if is_ahead { ReadaheadFlag::Set } else { ReadaheadFlag::Clear };
        if self.swap.swap_use_vma_readahead() {
            vma.readahead.hit(vpn, flag);
        } else if is_ahead {
            self.swap.readahead().hit();
        }
        if is_ahead {
            let mut on_cpu = self.swap.on_cpu(cpu)?;
            on_cpu.counters().count(Event::SwapRaHit, 1);
            on_cpu.note(EventKind::ReadaheadHit, folio.entry().unwrap_or(SwpEntry::NONE), folio.order(), 0);
        }
        Ok(())
    }

    /// Returns the orders that a swap-in may use: the orders of the mapping up to the highest order that fits. An
    /// order fits if the aligned window of pages lies in the mapping, the slots have the same alignment as the pages,
    /// and the entries of the window name consecutive slots. Kernel: `alloc_swap_folio`, up to the allocation.
    pub(crate) fn alloc_swap_folio_orders(&self, vma: &Vma, vpn: Vpn, entry: SwpEntry) -> Orders {
        let options = vma.options();
        if options.is_uffd_armed {
            return Orders::ZERO;
        }
        let mut orders = self.swap.orders_beside_zswap(options.orders.below_pmd());
        let table = vma.table(vpn);
        while !orders.is_empty() {
            let order = orders.highest();
            let nr_pages = order.nr_pages();
            let is_aligned = vpn.0 % u64::from(nr_pages) == u64::from(entry.offset().0 % nr_pages);
            let is_run = |window: Range<Vpn>| is_swap_run(&table[index(window.start)..][..nr_pages as usize]);
            if is_aligned && vma.window(vpn, nr_pages).is_some_and(is_run) {
                break;
            }
            orders = orders.without(order);
        }
        orders
    }

    /// Reads the swapped-out pages around a fault. Kernel: `swap_vma_readahead`.
    fn swap_vma_readahead<'m>(
        &'m self,
        vma: &Vma,
        vpn: Vpn,
        entry: SwpEntry,
        how: &Swapin<'m>,
    ) -> Result<Option<Found<'m>>> {
        let window = vma.readahead.window(vpn, vma.pages(), self.swap.readahead().page_cluster());
        let swapped = |at| vma.pte(at).slot().map(|entry| (entry, at == vpn));
        let found = match window.end.0 - window.start.0 {
            0 | 1 => self.swap.swap_cache_read_folio(entry, how, ReadReason::Fault)?,
            _ => self.swap.read_window(entry, (window.start.0..window.end.0).map(Vpn).filter_map(swapped), how)?,
        };
        if let Some((folio, true)) = &found
            && self.was_read_from_device(folio, entry, how.cpu)?
        {
            // In the kernel the fault waits for the read, starts again and finds the folio in the swap cache, which
            // records the page of the fault. The window has recorded the page already, unless `page_cluster` is 0.
            vma.readahead.hit(vpn, ReadaheadFlag::Clear);
        }
        Ok(found)
    }

    /// Returns whether the data of a new folio of one page came from a device: the data is not zeros, and zswap did not
    /// have the data, because a page that zswap had is dirty.
    fn was_read_from_device(&self, folio: &FolioRef<'_>, entry: SwpEntry, cpu: CpuId) -> Result<bool> {
        Ok(!folio.has(FolioFlags::DIRTY) && !self.swap.on_cpu(cpu)?.zero_batch(entry, 1)?.0)
    }

    /// Maps a swapped-in folio. The function maps all pages of the folio if the page table entries of all pages still
    /// name the slots of the folio. Otherwise the function maps only the faulting page, but returns `Step::Retry` for
    /// a large folio that this fault has read. `shadow` is the shadow of the slot before the fault. Steps IN5 to IN7 of
    /// `docs/steps.md`.
    fn map_swapped(
        &self,
        fault: &SwapFault<'_>,
        locked: &LockedFolio<'_>,
        is_new: bool,
        shadow: Shadow,
    ) -> Result<Step> {
        let &SwapFault { vma, vpn, entry, cpu, .. } = fault;
        let page = entry.offset().0 - locked.entry().expect("covers the slot").offset().0;
        let nr_pages = locked.nr_pages();
        let mut table = vma.table(vpn);
        let Pte::Swap { entry: now, is_exclusive } = table[index(vpn)] else { return Ok(Step::Retry) };
        if now != entry {
            return Ok(Step::Retry);
        }
        let start = vpn.0.checked_sub(page.into()).filter(|&start| {
            let here = vma.same_table(vpn);
            start >= here.start && start + u64::from(nr_pages) <= here.end
        });
        let is_whole = start.is_some_and(|start| {
            let entries = &table[index(Vpn(start))..][..nr_pages as usize];
            is_swap_run(entries) && entries[0] == (Pte::Swap { entry: locked.entry().expect("cached"), is_exclusive })
        });
        let (first, pages) = match start {
            Some(start) if is_whole => (Vpn(start), 0..nr_pages),
            _ if nr_pages > 1 && is_new && !locked.is_mapped() => return Ok(Step::Retry),
            _ => (vpn, page..page + 1),
        };
        let nr = pages.len() as u32;
        let mut on_cpu = self.swap.on_cpu(cpu)?;
        on_cpu.put_locked_folio(locked, pages.clone())?;
        // The mapped pages stay exclusive only if no slot of these pages has another reference.
        let was_exclusive = is_exclusive && !on_cpu.is_maybe_swapped(locked)?;
        drop(on_cpu);
        if self.should_try_to_free_swap(fault, locked, is_new)? {
            self.swap.give_up_slots(locked, is_new, shadow, cpu)?;
        }
        // A folio without another reference than the fault's has no other user, also if a fork shared the slots once.
        let is_exclusive = was_exclusive || locked.refs() == 1;
        vma.map_pages(first, locked, pages.clone());
        for (i, pte) in table[index(first)..][..nr as usize].iter_mut().enumerate() {
            *pte = Pte::present(locked.pfn(), (pages.start + i as u32) as u16, is_exclusive);
        }
        Ok(Step::Done)
    }

    /// Returns whether the fault frees the slots of a folio that it is about to map. Step IN7 of `docs/steps.md`.
    /// Kernel: `should_try_to_free_swap`.
    fn should_try_to_free_swap(&self, fault: &SwapFault<'_>, locked: &LockedFolio<'_>, is_new: bool) -> Result<bool> {
        Ok(self.swap.should_free_swap(locked.folio(), fault.entry, is_new, fault.cpu)?
            || fault.vma.options().is_locked
            || locked.has(FolioFlags::MLOCKED)
            || (fault.access == Access::Write && locked.refs() == 1 + locked.nr_pages()))
    }
}

/// Makes the entry of a page writable if the page table is the only user of the page's folio: an entry above the page
/// table with all its pages, any other entry alone. Returns whether the entry is writable. Only a folio outside the
/// swap cache is reused, because the slots of a cached folio have references or are locked. Kernel:
/// `do_huge_pmd_wp_page`, `wp_can_reuse_anon_folio`.
fn is_reused(table: &mut PageTable, vpn: Vpn, folio: Folio<'_>) -> bool {
    if folio.has(FolioFlags::SWAPCACHE) || folio.refs() != folio.mapcount() + 1 {
        return false;
    }
    let is_of_folio = |pte: &Pte| matches!(pte, Pte::Present { pfn, .. } if *pfn == folio.pfn());
    if folio.order() != Order::ZERO || folio.mapcount() > 1 {
        // A large folio without a mapping in another page table has no other task.
        let nr_here = table.iter().filter(|pte| is_of_folio(pte)).count();
        if nr_here != folio.mapcount() as usize {
            return false;
        }
    }
    let make_writable = |pte: &mut Pte| {
        if let Pte::Present { is_exclusive, is_young, .. } = pte {
            (*is_exclusive, *is_young) = (true, true);
        }
    };
    match table.pmd {
        Pmd::Huge => table.iter_mut().for_each(make_writable),
        _ => make_writable(&mut table[index(vpn)]),
    }
    true
}

/// Maps the shared page of zeros at an empty page. With `Order::MAX`, which the window around the page takes, the
/// shared page of zeros fills a whole page table. Kernel: `set_huge_zero_folio`, and `do_anonymous_page` with
/// `ZERO_PAGE`.
fn map_zero_page(vma: &Vma, vpn: Vpn, order: Order) {
    let mut table = vma.table(vpn);
    match (table.pmd, order) {
        (Pmd::None, Order::MAX) => {
            table.fill(Pte::Zero);
            table.pmd = Pmd::Huge;
        }
        (Pmd::None | Pmd::Table, _) if table[index(vpn)] == Pte::None => {
            table[index(vpn)] = Pte::Zero;
            table.pmd = Pmd::Table;
        }
        // Another thread has handled the fault.
        _ => {}
    }
}

/// Returns the orders that the first touch of a page may use, up to the highest order that fits. An order fits if the
/// aligned window around the page lies in the mapping and has no entry. The largest order of all also needs a page
/// table that was never used. Kernel: `alloc_anon_folio`, up to the allocation.
fn anon_folio_orders(vma: &Vma, vpn: Vpn) -> Orders {
    let mut orders = vma.options().first_touch_orders();
    let table = vma.table(vpn);
    let is_empty = |window: Range<Vpn>| {
        let nr_pages = (window.end.0 - window.start.0) as usize;
        table[index(window.start)..][..nr_pages].iter().all(|pte| *pte == Pte::None)
    };
    let fits = |order: Order| {
        (order != Order::MAX || table.pmd == Pmd::None) && vma.window(vpn, order.nr_pages()).is_some_and(is_empty)
    };
    while orders.highest() != Order::ZERO && !fits(orders.highest()) {
        orders = orders.without(orders.highest());
    }
    orders
}

/// Returns whether all entries name consecutive slots and have equal `is_exclusive` flags. Kernel: `swap_pte_batch`.
fn is_swap_run(entries: &[Pte]) -> bool {
    let Some(&Pte::Swap { entry: first, is_exclusive }) = entries.first() else { return false };
    entries.iter().enumerate().all(|(i, pte)| *pte == Pte::Swap { entry: first.plus(i as u32), is_exclusive })
}
