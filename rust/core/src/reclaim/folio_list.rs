//! Pageout of a list of isolated folios, one folio at a time. Kernel: `shrink_folio_list`.

use crate::base::error::{Result, SwapError};
use crate::base::types::{CpuId, Order};
use crate::folio::{FolioFlags, FolioRef, LockedFolio};
use crate::machine::Swap;
use crate::machine::profile::NeverMappedDirty;
use crate::reclaim::pageout::SwapOutDecision;
use crate::workingset::{LruvecStat, RefaultLevel};

/// The results of a scan, in pages except for the number of splits. Kernel: `struct reclaim_stat`.
#[derive(Debug, Default)]
pub(crate) struct ReclaimStat {
    /// Pages whose memory was freed.
    pub(crate) nr_reclaimed: u64,
    /// Pages that were written, or whose zero marks were set.
    pub(crate) nr_pageout: u64,
    /// Pages that became active.
    pub(crate) nr_activate: u64,
    /// Large folios that were split into single pages because no run of slots was free for the folio.
    pub(crate) nr_split_folios: u64,
    /// The last failure that kept a folio in memory.
    pub(crate) error: Option<SwapError>,
}

/// Whether recent use of a folio keeps the folio in memory. Kernel: `ignore_references`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum References {
    /// A recently used folio stays in memory until the next scan.
    Checked,
    /// Recent use is ignored, because a user requested the pageout.
    Ignored,
}

/// The parameters of a pageout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shrink<'l> {
    pub(crate) references: References,
    /// The group for which evictions are recorded.
    pub(crate) level: RefaultLevel<'l>,
    /// The CPU that the pageout runs on, below `nr_cpus`.
    pub(crate) cpu: CpuId,
}

impl<'l> Shrink<'l> {
    /// Returns the parameters of a pageout that a user requested and that no limit of a memcg caused.
    pub(crate) fn by_user(level: RefaultLevel<'l>, cpu: CpuId) -> Self {
        Self { references: References::Ignored, level, cpu }
    }
}

/// The result of the scan of one folio.
#[derive(PartialEq, Eq)]
enum Fate {
    /// The folio's memory was freed.
    Gone,
    /// The folio stays in memory, and its lock is still held.
    Keep,
    /// The folio stays in memory and becomes active.
    Activate,
}

/// The result of a step of a pageout. An error comes with the [`Fate`] of the folio.
type Step<T> = std::result::Result<T, (SwapError, Fate)>;

/// The state of a scan over isolated folios.
struct FolioListScan<'s, 'l> {
    swap: &'s Swap,
    how: Shrink<'l>,
    stat: &'l mut ReclaimStat,
    /// The folios that are still to be scanned. The last element is scanned next.
    work: &'l mut Vec<FolioRef<'s>>,
}

impl Swap {
    /// Pages out isolated folios in the given order. Returns the folios that stay in memory, which the caller puts
    /// back on their lists.
    ///
    /// A large folio is split into single pages if no run of slots is free for the folio. The first page is scanned
    /// at once. The other pages are scanned next, from the last page to the second. Locks: each folio lock is tried,
    /// and a locked folio stays in memory. Kernel: `shrink_folio_list`; differs: a write is complete when the call
    /// returns, unless it is queued.
    pub(crate) fn shrink_folio_list<'s>(
        &'s self,
        mut folios: Vec<FolioRef<'s>>,
        how: Shrink<'_>,
        stat: &mut ReclaimStat,
    ) -> Vec<FolioRef<'s>> {
        folios.reverse();
        let mut kept = Vec::new();
        while let Some(folio) = folios.pop() {
            let mut look = FolioListScan { swap: self, how, stat, work: &mut folios };
            if look.at(&folio) == Fate::Gone {
                // The scan already dropped the reference to the freed folio.
                folio.into_raw();
            } else {
                kept.push(folio);
            }
        }
        kept
    }
}

/// Returns whether no page table, file or handle ever mapped the folio.
fn is_never_mapped(locked: &LockedFolio<'_>) -> bool {
    !locked.is_mapped() && !locked.has_rmap() && !locked.has(FolioFlags::WAS_MAPPED)
}

impl<'s> FolioListScan<'s, '_> {
    /// Scans one folio and applies the result to the folio.
    fn at(&mut self, folio: &FolioRef<'s>) -> Fate {
        let Some(locked) = folio.folio().try_lock() else {
            self.stat.error = Some(folio.busy());
            return Fate::Keep;
        };
        let mut rest = Some(locked);
        let fate = self.shrink(&mut rest, folio).unwrap_or_else(|(error, fate)| {
            self.stat.error = Some(error);
            fate
        });
        let Some(locked) = rest else { return fate };
        let nr_pages = locked.nr_pages();
        let is_activated = fate == Fate::Activate;
        // The folio stays in memory. The slots of the folio are freed if the slots have no references, because other
        // folios need slots when few slots are free.
        let wants_free = match is_activated {
            true => self.swap.mem_cgroup_swap_full(locked.folio()) || locked.has(FolioFlags::MLOCKED),
            // The folio is unmapped if another thread zapped the last page table entry. The other thread could not
            // free the slots while this scan held the folio lock, so this scan frees the slots.
            false => !locked.is_mapped() && locked.has_rmap(),
        };
        if wants_free && let Ok(mut on_cpu) = self.swap.on_cpu(self.how.cpu) {
            // The result is ignored, because slots that still have references are not freed.
            let _ = on_cpu.free_swap_locked(&locked);
        }
        if is_activated && !locked.has(FolioFlags::MLOCKED) {
            let lruvec = self.swap.memory_of_folios().lruvec_of(locked.folio());
            locked.set(FolioFlags::ACTIVE);
            lruvec.count(LruvecStat::Pgactivate, nr_pages);
            self.stat.nr_activate += u64::from(nr_pages);
        } else if !locked.is_mapped() && !locked.has(FolioFlags::SWAPCACHE) && locked.refs() == 1 {
            // This thread holds the last reference to the folio, so dropping the reference frees the memory.
            self.stat.nr_reclaimed += u64::from(nr_pages);
            drop(locked);
            folio.put_refs(1);
            return Fate::Gone;
        }
        fate
    }

    /// Runs all steps of the folio's pageout. On return `rest` holds the folio lock, or `None` when the folio was
    /// freed.
    fn shrink(&mut self, rest: &mut Option<LockedFolio<'s>>, folio: &FolioRef<'s>) -> Step<Fate> {
        let locked = rest.as_ref().expect("locked by the caller");
        if locked.has(FolioFlags::MLOCKED) {
            return Ok(Fate::Activate);
        }
        if locked.has(FolioFlags::WRITEBACK) && !self.wait_if_wanted(locked) {
            return Err((locked.busy(), Fate::Keep));
        }
        if self.how.references == References::Checked
            && let Some(fate) = self.check_references(locked)
        {
            return Ok(fate);
        }
        self.check_pins(locked).map_err(|error| (error, Fate::Keep))?;
        if !locked.has(FolioFlags::SWAPCACHE) {
            let wish = self.ask(rest, folio)?;
            if !self.get_slots(rest.as_ref().expect("locked again"), &wish)? {
                return Ok(Fate::Keep);
            }
        }
        let locked = rest.as_ref().expect("locked by the caller");
        if locked.is_mapped() {
            let unmapped = self.swap.try_to_unmap(locked, self.how.cpu);
            if locked.is_mapped() {
                return Err((unmapped.err().unwrap_or_else(|| locked.busy()), Fate::Activate));
            }
        }
        let nr_pages = u64::from(locked.nr_pages());
        let was_dirty = locked.has(FolioFlags::DIRTY);
        if was_dirty && self.swap.switches.never_mapped_dirty == NeverMappedDirty::Kept && is_never_mapped(locked) {
            return Err((locked.busy(), Fate::Activate));
        }
        let (locked, result) =
            self.swap.pageout(rest.take().expect("locked by the caller"), self.how.level, self.how.cpu);
        let is_written = was_dirty && locked.as_ref().is_none_or(|locked| !locked.has(FolioFlags::DIRTY));
        self.stat.nr_pageout += if is_written { nr_pages } else { 0 };
        *rest = locked;
        match (rest, result) {
            (None, _) => {
                self.stat.nr_reclaimed += nr_pages;
                Ok(Fate::Gone)
            }
            // No storage takes the folio's data, so the folio becomes active, and reclaim does not scan it again
            // soon. Kernel: `AOP_WRITEPAGE_ACTIVATE`.
            (Some(_), Err(error)) if error.is_write_refused() => Err((error, Fate::Activate)),
            (Some(locked), Err(error)) if locked.has(FolioFlags::SWAPCACHE) => Err((error, Fate::Keep)),
            (Some(_), _) => Ok(Fate::Keep),
        }
    }

    /// Marks a folio under writeback as wanted by reclaim. If reclaim wanted the folio before and the write is queued,
    /// waits for the write, because reclaim would find no other way to go on. A pageout that a user requested does not
    /// wait. Returns whether the writeback is over. Kernel: the three cases of `shrink_folio_list` for such a folio;
    /// differs: the folio does not become active meanwhile, and every reclaim may wait, not only that of a v1 group.
    fn wait_if_wanted(&self, locked: &LockedFolio<'s>) -> bool {
        if locked.has(FolioFlags::HELD) {
            return false;
        }
        // At the end of writeback, a folio with the RECLAIM flag moves to the tail of its list. Reclaim scans the tail
        // of the list first.
        let was_wanted = locked.set(FolioFlags::RECLAIM).contains(FolioFlags::RECLAIM);
        was_wanted
            && self.how.references == References::Checked
            && self.swap.folio_wait_writeback(locked.folio(), self.how.cpu) == Ok(true)
    }

    /// Asks the policy tables and hooks whether the folio may be swapped out. The folio lock is released during the
    /// calls, because hooks run with no lock held.
    fn ask(&self, rest: &mut Option<LockedFolio<'s>>, folio: &FolioRef<'s>) -> Step<SwapOutDecision> {
        if !self.swap.policies.is_set() {
            return Ok(self.swap.ask_swap_policy(folio));
        }
        drop(rest.take());
        let wish = self.swap.ask_swap_policy(folio);
        let busy = || (folio.busy(), Fate::Keep);
        let locked = folio.folio().try_lock().ok_or_else(busy)?;
        let is_as_before = !locked.flags().intersects(FolioFlags::SWAPCACHE | FolioFlags::WRITEBACK);
        let pins = self.check_pins(&locked);
        *rest = Some(locked);
        match pins {
            Ok(()) if is_as_before => Ok(wish),
            Ok(()) => Err(busy()),
            Err(error) => Err((error, Fate::Keep)),
        }
    }

    /// Decides from the recent uses of a folio whether the folio is paged out. A recently used folio stays in memory
    /// until the next scan. A folio that is used often or through several mappings becomes active. Returns `None` for
    /// a folio to page out. Kernel: `folio_check_references`.
    fn check_references(&mut self, locked: &LockedFolio<'s>) -> Option<Fate> {
        let nr_vmas = self.swap.folio_referenced(locked);
        if locked.has(FolioFlags::MLOCKED) {
            return Some(Fate::Activate);
        }
        if self.swap.memory_of_folios().lru_gen_enabled() {
            let is_used = nr_vmas > 0;
            return is_used.then(|| if locked.lru_gen_set_refs() { Fate::Activate } else { Fate::Keep });
        }
        let was_referenced = locked.has(FolioFlags::REFERENCED);
        locked.assign(FolioFlags::REFERENCED, nr_vmas > 0);
        match nr_vmas {
            0 => None,
            1 if !was_referenced => Some(Fate::Keep),
            _ => Some(Fate::Activate),
        }
    }

    /// Checks that only page tables, the cache and this scan hold references to the folio, and that no view of the
    /// folio's bytes exists. Errors: `DataInUse`, `FolioPinned` (EBUSY).
    fn check_pins(&self, locked: &LockedFolio<'s>) -> Result<()> {
        let nr_cached = if locked.has(FolioFlags::SWAPCACHE) { locked.nr_pages() } else { 0 };
        let (refs, expected) = (locked.refs(), locked.mapcount() + nr_cached + 1);
        let has_rmap = !locked.is_mapped() || locked.has_rmap();
        match locked.nr_views() {
            0 if refs == expected && has_rmap => Ok(()),
            0 => Err(SwapError::FolioPinned { refs, expected: nr_cached + 1 }),
            nr_views => Err(SwapError::DataInUse(nr_views)),
        }
    }

    /// Runs steps OUT1 to OUT3 of `docs/steps.md`, which allocate slots. If no run of slots is free for a large
    /// folio, the folio is split, and the steps run for its first page. An unmapped folio gets no slots. Returns
    /// whether the folio has slots.
    fn get_slots(&mut self, locked: &LockedFolio<'s>, wish: &SwapOutDecision) -> Step<bool> {
        if !locked.has(FolioFlags::SWAPBACKED) {
            return Err((locked.busy(), Fate::Keep));
        }
        let order = locked.order();
        // A large folio with an unmapped page is split, because a write of the unmapped page would be useless.
        // Only anonymous folios of an order above 1 have the mark.
        let has_hole = || locked.nr_pages_mapped() < locked.nr_pages();
        let has_no_mark = order.get() == 1 || locked.file_mapping() != 0;
        if order != Order::ZERO && (locked.has(FolioFlags::PARTIALLY_MAPPED) || has_no_mark && has_hole()) {
            self.split(locked)?;
        }
        if !locked.is_mapped() {
            return Ok(false);
        }
        let Err(error) = self.swap.add_to_swap_as(locked, wish, self.how.cpu) else { return Ok(true) };
        if locked.order() == Order::ZERO {
            return Err((error, Fate::Activate));
        }
        self.split(locked)?;
        self.stat.nr_split_folios += 1;
        // The result is ignored, because `count_fallback` fails only for an unknown CPU and this CPU exists.
        let _ = self.swap.count_fallback(locked.folio(), order, self.how.cpu);
        self.swap.add_to_swap_as(locked, wish, self.how.cpu).map(|()| true).map_err(|error| (error, Fate::Activate))
    }

    /// Splits a folio into single pages. `locked` is then the first page. The scan handles the other pages next, from
    /// the last page to the second.
    fn split(&mut self, locked: &LockedFolio<'s>) -> Step<()> {
        let parts = self.swap.split_folio(locked, self.how.cpu).map_err(|error| (error, Fate::Activate))?;
        let mut parts = parts.into_iter();
        // The caller already holds a reference to the first page.
        parts.next().expect("a folio has a page").into_raw();
        self.work.extend(parts);
        Ok(())
    }
}
