//! The steps of one folio's pageout. The steps ask the policies, allocate slots, change the page table entries, write
//! the folio and remove the folio from memory. No lock is held during a call of a hook.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::types::{CpuId, Order, SwpEntry, SwpType};
use crate::base::zero::is_zero_filled;
use crate::datapath::Writeout;
use crate::folio::{Folio, FolioFlags, FolioRef, LockedFolio};
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::{MemCgroup, MemcgEvent, MemcgPolicy, MemcgStat, RefaultJudge, RefaultNotice};
use crate::rmap::{FileMapping, Pte, ShmemEntry};
use crate::workingset::{Lruvec, RefaultLevel};

/// The decision of policy tables and hooks about one folio's swap-out.
#[derive(Debug, Default)]
pub(crate) struct SwapOutDecision {
    is_refused: bool,
    /// The devices on which the folio may get slots, the best device first; `None` allows all devices.
    devices: Option<Vec<SwpType>>,
}

/// Moves a locked folio to the active list of its group, or to the inactive list if `is_active` is false. Kernel:
/// `folio_activate`, `folio_deactivate`.
pub(crate) fn set_active(locked: &LockedFolio<'_>, is_active: bool) {
    // The folio is removed from its list before the flag changes, because the flag selects the list.
    let was_listed = locked.lru_del();
    locked.assign(FolioFlags::ACTIVE, is_active);
    if was_listed {
        locked.lru_add();
    }
}

/// Makes the page table entries of a split folio name the single pages `parts`. The shared page of zeros takes the
/// place of a page of zeros outside the swap cache, which loses all its mappings. Kernel: `remap_page` with
/// `try_to_map_unused_to_zeropage`.
fn map_parts(parts: &[FolioRef<'_>], entries: &mut [(u32, &mut Pte)]) {
    let is_unused = |part: &FolioRef<'_>| {
        let is_kept = part.flags().intersects(FolioFlags::SWAPCACHE | FolioFlags::MLOCKED);
        part.is_mapped() && !is_kept && part.bytes().is_ok_and(|bytes| is_zero_filled(&bytes))
    };
    let is_unused: Vec<bool> = parts.iter().map(is_unused).collect();
    for (page, pte) in entries {
        let part = &parts[*page as usize];
        if is_unused[*page as usize] {
            **pte = Pte::Zero;
            part.remove_mappings(0..1);
        } else if let Pte::Present { pfn, page, .. } = &mut **pte {
            (*pfn, *page) = (part.pfn(), 0);
        }
    }
}

impl Swap {
    /// Replaces the registered hooks by `policy`. With `None` no hooks are registered. An operation that started
    /// before the call may still call the old hooks.
    pub fn set_policy(&self, policy: Option<Arc<dyn MemcgPolicy>>) {
        self.policies.set(policy);
    }

    /// Returns whether a folio may be swapped out, and on which devices the folio may get slots. The swap-out of a
    /// folio that already has slots is allowed without a call of the hooks.
    pub(crate) fn ask_swap_policy(&self, folio: &FolioRef<'_>) -> SwapOutDecision {
        let group = if folio.entry().is_some() { None } else { self.group_of(folio.folio()) };
        let Some(group) = group else { return SwapOutDecision::default() };
        let may_swap = group.with_policy(|policy| policy.may_swap);
        let devices = self.memcg().filter(|_| may_swap).and_then(|groups| groups.device_list(group));
        let Some(hook) = self.policies.get().filter(|_| may_swap) else {
            return SwapOutDecision { is_refused: !may_swap, devices };
        };
        if hook.on_swap_charge(group.css(), folio.nr_pages()) == Some(false) {
            return SwapOutDecision { is_refused: true, devices: None };
        }
        let types: Vec<_> = self.avail.lock().in_order();
        let chosen = hook.choose_device(group.css(), folio.order(), &types);
        SwapOutDecision { is_refused: false, devices: chosen.map(|ty| vec![ty]).or(devices) }
    }

    /// Allocates the slots of a locked folio according to `wish`, the decision of policy tables and hooks. Errors: as
    /// [`Swap::add_to_swap`]; `PolicyRefused` (ENOMEM), which on v2 raises the same events as a refusal by
    /// `memory.swap.max`.
    pub(crate) fn add_to_swap_as(&self, locked: &LockedFolio<'_>, wish: &SwapOutDecision, cpu: CpuId) -> Result<()> {
        if wish.is_refused
            && let (Some(groups), Some(group)) = (self.memcg(), self.group_of(locked.folio()))
        {
            if !groups.do_memsw_account() {
                groups.raise(group, MemcgEvent::SwapMax);
                groups.raise(group, MemcgEvent::SwapFail);
            }
            let nr_pages = locked.nr_pages().into();
            return Err(SwapError::PolicyRefused { group: groups.path(group.css()), nr_pages });
        }
        self.add_to_swap(locked, wish.devices.as_deref(), cpu)
    }

    /// Calls the hook that decides whether a refaulted folio becomes active. The caller calls this function after the
    /// folio was read.
    pub(crate) fn ask_refault_policy(&self, folio: &FolioRef<'_>, notice: RefaultNotice) {
        let (Some(group), Some(policy)) = (self.group_of(folio.folio()), self.policies.get()) else { return };
        let Some(is_active) = policy.on_refault(group.css(), notice) else { return };
        if is_active != folio.is_active() {
            set_active(&folio.folio().lock(), is_active);
        }
    }

    /// Allocates and charges the slots of a locked folio, and marks the folio dirty. Steps OUT1 to OUT3 of
    /// `docs/steps.md`. If `types` is not `None`, only devices of these types are tried. Errors: `NoSpace` (ENOSPC);
    /// `OverLimit` (ENOMEM) when the charge was refused.
    pub(crate) fn add_to_swap(&self, locked: &LockedFolio<'_>, types: Option<&[SwpType]>, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.alloc_for_folio(locked, types)?;
        locked.folio_mark_dirty();
        Ok(())
    }

    /// Counts the fallback of a large folio for which no run of slots was free.
    pub(crate) fn count_fallback(&self, folio: Folio<'_>, order: Order, cpu: CpuId) -> Result<()> {
        if order != Order::ZERO {
            let mut on_cpu = self.on_cpu(cpu)?;
            on_cpu.note(EventKind::SwapOutFallback, SwpEntry::NONE, order, 0);
            on_cpu.counters().count_order(OrderEvent::OutFallback, order);
            on_cpu.counters().count(Event::ThpSwpOutFallback, u64::from(order == Order::MAX));
            self.count_memcg(folio, MemcgStat::ThpSwpOutFallback, u32::from(order == Order::MAX));
        }
        Ok(())
    }

    /// Writes a locked, cached, unmapped folio out if the folio is dirty, and removes the folio from memory. Only the
    /// cache and the caller hold references to the folio. `level` is the group for which the eviction is recorded.
    /// Steps OUT5 to OUT8 of `docs/steps.md`. Returns the held folio lock if the folio stays in memory. Without an
    /// error such a folio is under writeback, because its write is queued.
    ///
    /// Errors: `Io`; `DataInUse` (EBUSY). After an `Io` error the folio is dirty, cached and resident.
    pub(crate) fn pageout<'f>(
        &self,
        mut locked: LockedFolio<'f>,
        level: RefaultLevel<'_>,
        cpu: CpuId,
    ) -> (Option<LockedFolio<'f>>, Result<()>) {
        let expected = locked.nr_pages() + 1;
        let nr_views = locked.nr_views();
        let pinned = |refs| match nr_views {
            0 => SwapError::FolioPinned { refs, expected },
            _ => SwapError::DataInUse(nr_views),
        };
        let refs = locked.refs();
        if refs != expected {
            return (Some(locked), Err(pinned(refs)));
        }
        if locked.has(FolioFlags::DIRTY) {
            locked.clear(FolioFlags::DIRTY);
            locked.set(FolioFlags::RECLAIM);
            let (again, result) = self.swap_writeout(locked, cpu);
            locked = again;
            match result {
                Ok(Writeout::Zero | Writeout::Zswap | Writeout::Written) => {}
                // The end of the write moves the folio to the tail of its list, because the folio keeps the flag
                // RECLAIM.
                Ok(Writeout::Queued) => return (Some(locked), Ok(())),
                Ok(Writeout::Freed) => return (Some(locked), Err(SwapError::NotCached)),
                Err(error) => return (Some(locked), Err(error)),
            }
        }
        locked.clear(FolioFlags::RECLAIM);
        let result = match self.drop_clean(&locked, level, cpu) {
            Ok(true) => {
                locked.keep();
                return (None, Ok(()));
            }
            Ok(false) => Err(pinned(locked.refs())),
            Err(error) => Err(error),
        };
        (Some(locked), result)
    }

    /// Returns the group for which evictions are recorded. `target` is the lruvec of the group whose limit causes the
    /// evictions, or `None` when no limit causes the evictions.
    pub(crate) fn refault_level<'l>(&'l self, target: Option<&'l Lruvec>) -> RefaultLevel<'l> {
        match self.memcg().map(|groups| groups.options().refault_level) {
            Some(RefaultJudge::ReclaimRoot) => {
                RefaultLevel::ReclaimRoot(target.unwrap_or_else(|| self.memory_of_folios().lruvec()))
            }
            _ => RefaultLevel::Owner,
        }
    }

    /// Removes a locked clean folio from the cache and from memory. Returns whether the folio was removed. Step OUT8
    /// of `docs/steps.md`.
    pub(crate) fn drop_clean(&self, locked: &LockedFolio<'_>, level: RefaultLevel<'_>, cpu: CpuId) -> Result<bool> {
        let folio = locked.folio();
        let evict = |owner: Option<&MemCgroup>| {
            let lruvec = owner.map_or(self.memory_of_folios().lruvec(), MemCgroup::lruvec);
            self.workingset.evict(folio.facts(), lruvec, level)
        };
        let (entry, order) = (folio.entry().unwrap_or(SwpEntry::NONE), folio.order());
        let mut on_cpu = self.on_cpu(cpu)?;
        if !on_cpu.remove_mapping(locked, 1, &evict) {
            return Ok(false);
        }
        on_cpu.note(EventKind::Evict, entry, order, 0);
        drop(on_cpu);
        folio.free_frozen();
        Ok(true)
    }

    /// Returns the number of mappings through which a locked folio was accessed since the last call, and clears the
    /// accessed bits of these mappings. If a mapping is mlocked, the folio gets the flag MLOCKED. Kernel:
    /// `folio_referenced`.
    pub(super) fn folio_referenced(&self, locked: &LockedFolio<'_>) -> u32 {
        let mut nr_vmas = 0;
        let walked: std::result::Result<(), Infallible> =
            self.anon_vmas.rmap_walk(locked.folio(), |vma, entries, first| {
                let (mut is_mapped, mut is_young) = (false, false);
                for (page, pte) in (first..).zip(entries).filter(|(page, pte)| pte.names(locked.folio(), *page)) {
                    debug_assert!(page < locked.nr_pages(), "a walk stays within the folio");
                    is_mapped = true;
                    is_young |= pte.test_and_clear_young();
                }
                if is_mapped && vma.options().is_locked {
                    locked.set(FolioFlags::MLOCKED);
                }
                nr_vmas += u32::from(is_young);
                Ok(())
            });
        let Ok(()) = walked;
        nr_vmas
    }

    /// Replaces every page table entry that maps a locked cached folio by a swap entry, which holds one reference to
    /// the slot. Entries of mlocked mappings stay. Step OUT4 of `docs/steps.md`. Kernel: `try_to_unmap`.
    ///
    /// Errors: `CountOverflow` (EOVERFLOW). After the error the remaining entries still map the folio. After a
    /// success the caller must read the folio's mapcount, because a page table entry that the reverse map does not
    /// find may still map the folio.
    pub(crate) fn try_to_unmap(&self, locked: &LockedFolio<'_>, cpu: CpuId) -> Result<()> {
        if let Some(mapping) = self.file_mappings.mapping_of(locked.folio()) {
            return self.unmap_file_entries(locked, &mapping, cpu);
        }
        if locked.order() == Order::MAX {
            self.anon_vmas.split_huge_pmds(locked.folio(), self.memory_of_folios());
        }
        self.anon_vmas.rmap_walk(locked.folio(), |vma, entries, first| {
            if !vma.options().is_locked {
                return self.unmap_entries(locked, entries, first, cpu);
            }
            if (first..).zip(entries).any(|(page, pte)| pte.names(locked.folio(), page)) {
                // The folio may lack the flag MLOCKED here, because the swap-in fault that mapped a large folio does
                // not set the flag, and an unmap of a part of the folio clears the flag.
                locked.set(FolioFlags::MLOCKED);
            }
            Ok(())
        })
    }

    /// Replaces every entry of a file that names a page of a locked cached folio by the swap entry of that page. If
    /// some pages of the folio are not in the file any more, the entries of the remaining pages get order 0. Kernel:
    /// `shmem_delete_from_page_cache` in `shmem_writeout`.
    fn unmap_file_entries(&self, locked: &LockedFolio<'_>, mapping: &FileMapping, cpu: CpuId) -> Result<()> {
        let first = locked.entry().ok_or(SwapError::NotCached)?;
        let mut entries = mapping.entries.lock();
        let entries = FileMapping::entries_of(&mut entries, locked.folio());
        let is_page = |(page, e): (u32, &ShmemEntry)| e.is_page_of(locked.folio(), page);
        let is_whole = entries.len() == locked.nr_pages() as usize && (0..).zip(entries.iter()).all(is_page);
        let order = if is_whole { locked.order() } else { Order::ZERO };
        let nr_run = order.nr_pages();
        for (run, entries) in (0..).step_by(nr_run as usize).zip(entries.chunks_mut(nr_run as usize)) {
            if !entries[0].is_page_of(locked.folio(), run) {
                continue;
            }
            self.on_cpu(cpu)?.dup_locked(locked, run..run + nr_run)?;
            for (page, e) in (run..).zip(entries) {
                *e = ShmemEntry::Swap { entry: first.plus(page), order };
            }
            locked.remove_mappings(run..run + nr_run);
        }
        Ok(())
    }

    fn unmap_entries(&self, locked: &LockedFolio<'_>, entries: &mut [Pte], first: u32, cpu: CpuId) -> Result<()> {
        let entry = locked.entry().ok_or(SwapError::NotCached)?;
        let names = |at: usize, entries: &[Pte]| entries[at].names(locked.folio(), first + at as u32);
        let mut at = 0;
        while at < entries.len() {
            let end = (at..entries.len()).find(|&end| !names(end, entries)).unwrap_or(entries.len());
            if end == at {
                at += 1;
                continue;
            }
            let pages: Range<u32> = first + at as u32..first + end as u32;
            // If `dup_locked` fails, no slot count of the run `pages` has changed, so no page table entry of the run
            // may change.
            self.on_cpu(cpu)?.dup_locked(locked, pages.clone())?;
            for (page, pte) in pages.clone().zip(&mut entries[at..end]) {
                let is_exclusive = matches!(pte, Pte::Present { is_exclusive: true, .. });
                *pte = Pte::Swap { entry: entry.plus(page), is_exclusive };
            }
            locked.remove_mappings(pages);
            at = end;
        }
        Ok(())
    }

    /// Splits a locked folio into single pages that stay mapped. The caller, who holds one reference to the folio,
    /// gets one reference to each page. The first page stays locked. Kernel: `split_folio`.
    ///
    /// Errors: `FolioPinned`, `FolioBusy` (EBUSY) when another user holds a reference, or when the reverse map does
    /// not find every page table entry that maps the folio. After an error nothing is changed. Locks: all page tables
    /// of the folio, then the local lock.
    pub(crate) fn split_folio<'s>(&'s self, locked: &LockedFolio<'s>, cpu: CpuId) -> Result<Vec<FolioRef<'s>>> {
        let order = locked.order();
        let split = match self.file_mappings.mapping_of(locked.folio()) {
            Some(mapping) => self.split_file_folio(locked, &mapping, cpu),
            None => self.split_anon_folio(locked, cpu),
        };
        self.count_split(order, split, cpu)
    }

    /// Splits a locked folio of address spaces, as [`Swap::split_folio`] does.
    fn split_anon_folio<'s>(&'s self, locked: &LockedFolio<'s>, cpu: CpuId) -> Result<Vec<FolioRef<'s>>> {
        let folio = locked.folio();
        let split = self.anon_vmas.with_all_entries(folio, |entries| {
            let mut nr_mapped = vec![0; folio.nr_pages() as usize];
            entries.iter().for_each(|(page, _)| nr_mapped[*page as usize] += 1);
            let sum = |pages: Range<u32>| nr_mapped[pages.start as usize..pages.end as usize].iter().sum();
            let parts = self.on_cpu(cpu)?.split_locked(locked, Order::ZERO, sum)?;
            map_parts(&parts, entries);
            Ok(parts)
        });
        split.unwrap_or_else(|| Err(folio.busy()))
    }

    /// Splits a locked folio of a file, as [`Swap::split_folio`] does. Locks: the lock of the file's entries.
    fn split_file_folio<'s>(
        &'s self,
        locked: &LockedFolio<'s>,
        mapping: &FileMapping,
        cpu: CpuId,
    ) -> Result<Vec<FolioRef<'s>>> {
        let folio = locked.folio();
        let mut entries = mapping.entries.lock();
        let entries = FileMapping::entries_of(&mut entries, folio);
        let in_file: Vec<bool> = (0..).zip(entries.iter()).map(|(page, e)| e.is_page_of(folio, page)).collect();
        let count = |pages: Range<u32>| {
            let end = in_file.len().min(pages.end as usize);
            in_file[end.min(pages.start as usize)..end].iter().filter(|&&is_in_file| is_in_file).count() as u32
        };
        if count(0..folio.nr_pages()) != folio.mapcount() {
            return Err(folio.busy());
        }
        let parts = self.on_cpu(cpu)?.split_locked(locked, Order::ZERO, count)?;
        for ((e, part), _) in entries.iter_mut().zip(&parts).zip(&in_file).filter(|(_, is_in_file)| **is_in_file) {
            *e = ShmemEntry::Page { pfn: part.pfn(), page: 0 };
        }
        Ok(parts)
    }
}
