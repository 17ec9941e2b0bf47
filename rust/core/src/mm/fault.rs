//! Page faults of three kinds: the first touch of a page, the swap-in, and the copy on write.

use std::ops::Range;

use super::{Found, Mm, Pte, Vma, folio_of, found_folio, index, may_reuse};
use crate::base::error::Result;
use crate::base::event::EventKind;
use crate::base::gfp::Gfp;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::{CpuId, Order, SwpEntry};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::{Event, OrderEvent};
use crate::memcg::MemcgStat;
use crate::readahead::{ReadaheadFlag, Vpn};
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
    /// Errors: `NotMapped` (EFAULT); `NoMemory` (ENOMEM); `Io` when the data cannot be read, in which case the page
    /// stays swapped out. Kernel: `handle_mm_fault`, with `get_user_pages` around it.
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
                *pte
            };
            let active = self.swap.begin_activity();
            if let Some(group) = self.swap.group(self.css()) {
                group.count(MemcgStat::PgFault, 1);
            }
            match pte {
                Pte::None => self.do_anonymous_page(&vma, vpn, cpu)?,
                Pte::Present { .. } => self.do_wp_page(&vma, vpn, pte, cpu)?,
                Pte::Swap { entry, .. } => {
                    let result = self.do_swap_page(&SwapFault { vma: &vma, vpn, entry, access, cpu });
                    self.swap.end_operation(active);
                    result?;
                }
            }
        }
    }

    /// Maps a folio of zeros at a page. The folio has the order of the mapping, or a smaller order when a larger
    /// folio does not fit in the mapping or in the free memory.
    fn do_anonymous_page(&self, vma: &Vma, vpn: Vpn, cpu: CpuId) -> Result<()> {
        let mut order = Order::new(vma.options().anon_order).expect("checked by mmap");
        loop {
            let gfp =
                if order == Order::ZERO { Gfp::HIGHUSER_MOVABLE } else { self.swap.switches.defrag.thp_gfp_mask() };
            let window = vma.window(vpn, order.nr_pages());
            match window.map(|window| (window.start, self.folio_for_task(order, gfp, cpu))) {
                Some((first, Ok(folio))) => {
                    vma.mlock_new_folio(folio.folio());
                    self.swap.zero_anon(&folio)?;
                    let mut table = vma.table(vpn);
                    let entries = &mut table[index(first)..][..order.nr_pages() as usize];
                    if entries.iter().all(|pte| *pte == Pte::None) {
                        vma.set_anon_rmap(folio.folio(), Some(first));
                        folio.add_mappings(order.nr_pages());
                        for (page, pte) in entries.iter_mut().enumerate() {
                            *pte = Pte::exclusive(folio.pfn(), page as u16);
                        }
                        drop(table);
                        return self.swap.count_large(OrderEvent::AnonFaultAlloc, order, cpu);
                    }
                    if table[index(vpn)] != Pte::None {
                        return Ok(());
                    }
                }
                Some((_, Err(error))) if order == Order::ZERO => return Err(error),
                Some((_, Err(error))) => {
                    let events = (OrderEvent::AnonFaultFallback, OrderEvent::AnonFaultFallbackCharge);
                    self.swap.count_touch_fallback(&error, events, order, cpu)?;
                }
                None => {}
            }
            order = Order::new(order.get() - 1).unwrap_or(Order::ZERO);
        }
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
            // Only a folio outside the swap cache is reused, because the slots of a cached folio may have other
            // references.
            if !old.has(FolioFlags::SWAPCACHE) && may_reuse(old.folio(), 1) && old.order() == Order::ZERO {
                table[index(vpn)] = Pte::exclusive(pfn, page);
                return Ok(());
            }
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
            new.add_mappings(1);
            table[index(vpn)] = Pte::exclusive(new.pfn(), 0);
            vma.remove_rmap(old.folio());
        }
        drop(table);
        // The last user of the old folio may be the swap cache, whose slots no page table refers to any more. Kernel:
        // `wp_page_copy` with `free_swap_cache`.
        self.swap.free_folio_and_swap_cache(&old, cpu)
    }

    /// Swaps a page in. Kernel: `do_swap_page`.
    fn do_swap_page(&self, fault: &SwapFault<'_>) -> Result<()> {
        let &SwapFault { vma, vpn, entry, cpu, .. } = fault;
        let found = self.swapin_for_fault(vma, vpn, entry, cpu);
        let is_unchanged = || vma.pte(vpn).slot() == Some(entry);
        let found = found_folio(&self.swap, found, is_unchanged, self.css(), cpu)?;
        let Some((folio, is_new)) = found else { return Ok(()) };
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
        match self.map_swapped(fault, &locked, is_new)? {
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

    /// Returns the folio of a slot, and whether the folio was read for this fault. A folio that is not cached is read
    /// without readahead from a synchronous device, and with readahead from any other device.
    ///
    /// Returns `None` when the slot is free.
    fn swapin_for_fault(&self, vma: &Vma, vpn: Vpn, entry: SwpEntry, cpu: CpuId) -> Result<Option<Found<'_>>> {
        if let Some(folio) = self.swap.swap_cache_get_folio(entry, cpu)? {
            self.update_readahead(vma, vpn, &folio, cpu)?;
            return Ok(Some((folio, false)));
        }
        let is_synchronous = self.swap.on_cpu(cpu)?.is_synchronous(entry)?;
        let huge_gfp = self.swap.switches.defrag.thp_gfp_mask();
        let how = Swapin { faulting: self.css(), huge_gfp, ..Swapin::new(cpu, Orders::ZERO) };
        if is_synchronous {
            let orders = self.alloc_swap_folio_orders(vma, vpn, entry);
            return self.swap.swapin_folio_or_none(entry, &Swapin { orders, ..how });
        }
        if self.swap.has_rotational() {
            return self.swap.swap_cluster_readahead(entry, &how);
        }
        self.swap_vma_readahead(vma, vpn, entry, &how)
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
        if self.swap.has_rotational() {
            if is_ahead {
                self.swap.readahead().hit();
            }
        } else {
            vma.readahead.hit(vpn, flag);
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
        match window.end.0 - window.start.0 {
            0 | 1 => self.swap.swap_cache_read_folio(entry, how, ReadReason::Fault),
            _ => self.swap.read_window(entry, (window.start.0..window.end.0).map(Vpn).filter_map(swapped), how),
        }
    }

    /// Maps a swapped-in folio. The function maps all pages of the folio if the page table entries of all pages still
    /// name the slots of the folio. Otherwise the function maps only the faulting page, but returns `Step::Retry` for
    /// a large folio that this fault has read. Steps IN5 to IN7 of `docs/steps.md`.
    fn map_swapped(&self, fault: &SwapFault<'_>, locked: &LockedFolio<'_>, is_new: bool) -> Result<Step> {
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
        vma.set_anon_rmap(locked.folio(), first.0.checked_sub(pages.start.into()).map(Vpn));
        locked.add_mappings(nr);
        if vma.options().is_locked && locked.order() == Order::ZERO {
            // A large folio gets the flag MLOCKED later, when reclaim scans the folio.
            locked.mlock();
        }
        // The mapped pages stay exclusive only if no slot of these pages has another reference.
        let is_exclusive = is_exclusive && !on_cpu.is_maybe_swapped(locked)?;
        drop(on_cpu);
        for (i, pte) in table[index(first)..][..nr as usize].iter_mut().enumerate() {
            *pte = Pte::present(locked.pfn(), (pages.start + i as u32) as u16, is_exclusive);
        }
        drop(table);
        if self.should_try_to_free_swap(fault, locked)? {
            self.swap.on_cpu(cpu)?.free_swap_locked(locked)?;
        }
        Ok(Step::Done)
    }

    /// Returns whether the fault frees the slots of a mapped folio. Step IN7 of `docs/steps.md`. Kernel:
    /// `should_try_to_free_swap`.
    fn should_try_to_free_swap(&self, fault: &SwapFault<'_>, locked: &LockedFolio<'_>) -> Result<bool> {
        Ok(self.swap.should_free_swap(locked.folio(), fault.entry, fault.cpu)?
            || fault.vma.options().is_locked
            || locked.has(FolioFlags::MLOCKED)
            || (fault.access == Access::Write && may_reuse(locked.folio(), 1)))
    }
}

/// Returns whether all entries name consecutive slots and have equal `is_exclusive` flags. Kernel: `swap_pte_batch`.
fn is_swap_run(entries: &[Pte]) -> bool {
    let Some(&Pte::Swap { entry: first, is_exclusive }) = entries.first() else { return false };
    entries.iter().enumerate().all(|(i, pte)| *pte == Pte::Swap { entry: first.plus(i as u32), is_exclusive })
}
