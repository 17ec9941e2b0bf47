//! Writeback of zswap pages to a device. The functions write back one entry, or the oldest pages of a group, for the
//! zswap worker and for reclaim.

use crate::base::error::{Result, SwapError};
use crate::base::gfp::Gfp;
use crate::base::limits::{PAGE_SIZE, ZSWAP_SHRINK_FAILURES_MAX};
use crate::base::types::{CpuId, CssId, SwpEntry, ZswapId};
use crate::folio::{FolioFlags, LockedFolio};
use crate::machine::profile::ZswapWritten;
use crate::machine::writeback::AfterWrite;
use crate::machine::{Event, Swap, ZswapShrinker};
use crate::memcg::{MemCgroup, MemcgStat};
use crate::slots::owner::CacheExit;
use crate::swapping::swapin::{NewFolio, Orders, Swapin};
use crate::table::Shadow;
use crate::workingset::RefaultContext;
use crate::zswap::{ZswapStat, damaged};

/// The action of a scan of zswap entries when the scan finds an entry whose page another thread is swapping in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AtFault {
    /// The scan goes on with the next entry.
    GoOn,
    /// The scan ends, because faults are likely to need the next pages too.
    Stop,
}

/// The request that causes a writeback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WritebackReason {
    /// A limit, reclaim, or a caller who names the slot.
    Pressure,
    /// `memory.reclaim` with `source=zswap`.
    Proactive,
}

/// The results of scans of zswap entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZswapShrunk {
    /// Pages written back.
    pub nr_written_pages: u64,
    /// Compressed bytes of these pages.
    pub written_bytes: u64,
    /// Entries that used their second chance: they lost the reference mark and stayed in zswap.
    pub nr_second_chances: u64,
}

impl Swap {
    /// Writes the page of one slot back from zswap to a device. The page is written to the slot itself or, if the
    /// slot is virtual, to a real slot that becomes the backing of the virtual slot. With `zswap_written=cached` the
    /// page stays in the swap cache.
    ///
    /// Errors: `AlreadyCached` (EEXIST) when another thread loads the page; `NotInUse` (ENOENT) when the slot was
    /// freed; `NotInZswap` (ENOENT) when zswap does not have the page; `NoMemory` (ENOMEM) when no folio is free;
    /// `NoWayOut` (ENOMEM) when no real slot is free, when the charge of the real slot is refused, or when another
    /// zswap entry replaced the entry of the slot; `NoWriteback` (EINVAL) for a ghost without virtual table; `Io`
    /// (EIO) when the compressed data is damaged, and the zswap entry stays; `Io` when the write failed, and the page
    /// is then in a dirty folio. Waits for no folio lock. The caller holds no other lock. Kernel:
    /// `zswap_writeback_entry`.
    pub fn zswap_writeback_entry(&self, entry: SwpEntry, cpu: CpuId) -> Result<()> {
        let _active = self.begin_activity();
        let mut on_cpu = self.on_cpu(cpu)?;
        let device = on_cpu.device_of(entry)?;
        let id = on_cpu.operation().zswap_id(&device, entry.offset()).ok_or(SwapError::NotInZswap(entry))?;
        drop(on_cpu);
        self.writeback(id, entry, WritebackReason::Pressure, cpu).map(|_| ())
    }

    /// Runs all steps of a writeback. The order of the steps ensures that no failure loses data. Returns the
    /// compressed bytes of the page.
    pub(crate) fn writeback(&self, id: ZswapId, entry: SwpEntry, reason: WritebackReason, cpu: CpuId) -> Result<u64> {
        let device = self.on_cpu(cpu)?.device_of(entry)?;
        if device.is_ghost() && !device.is_virtual() {
            // A ghost without virtual table has no storage and no real slots, so its pages cannot be written. The
            // error is returned here, before a folio is allocated.
            return Err(SwapError::NoWriteback(entry));
        }
        // WB1: a folio is inserted into the cache for the slot. Only the thread that inserts the folio may take the
        // zswap entry of the slot. The writeback may run inside a reclaim, so the allocation does not reclaim.
        // Kernel: `PF_MEMALLOC`.
        let allocate = |order, _| self.folio_alloc(order, Gfp::NOWAIT, cpu);
        let context = RefaultContext::Other;
        let how = Swapin { allocate: Some(&allocate), context, ..Swapin::new(cpu, Orders::ZERO) };
        let NewFolio { folio, locked, .. } = self.swap_cache_alloc_folio(entry, &how)?;
        let (real, bytes) = match self.take_out(&locked, id, reason, cpu) {
            Ok(taken) => taken,
            Err(error) => {
                // The folio is removed from the cache, because it is clean and has no data. The slot then has the
                // state again that it had before the writeback.
                self.on_cpu(cpu)?.del_locked(&locked, CacheExit::Dropped(Shadow::default()))?;
                return Err(error);
            }
        };
        let then = match self.switches.zswap_written {
            ZswapWritten::Dropped => AfterWrite::Drop,
            ZswapWritten::Cached => AfterWrite::Keep,
        };
        if self.is_write_queued(real, cpu) {
            self.queue_write(&locked, real, then, cpu);
            self.zswap().count(ZswapStat::WrittenBackPages);
            return Ok(bytes);
        }
        self.write_and_unlock(locked, real, cpu)?;
        self.zswap().count(ZswapStat::WrittenBackPages);
        if then == AfterWrite::Drop {
            self.drop_written(folio, cpu)?;
        }
        Ok(bytes)
    }

    /// Runs steps WB2 to WB5 on a locked folio. These steps load the page into the folio and free the zswap entry.
    /// Returns the real slot to which the page must be written, and the compressed bytes of the page.
    fn take_out(
        &self,
        locked: &LockedFolio<'_>,
        id: ZswapId,
        reason: WritebackReason,
        cpu: CpuId,
    ) -> Result<(SwpEntry, u64)> {
        let mut on_cpu = self.on_cpu(cpu)?;
        let op = on_cpu.operation();
        let (device, offset) = op.folio_slots(locked.folio())?;
        let swp = device.entry_at(offset);
        let no_way_out = SwapError::NoWayOut(swp);
        // WB2: the function stops if the slot has another zswap entry, because another thread may have freed the slot
        // and stored another page for it.
        if op.zswap_id(device, offset) != Some(id) {
            return Err(no_way_out);
        }
        // WB3: if no real slot can be allocated for the page, the page stays in zswap.
        let real = on_cpu.realloc_locked(locked).map_err(|_| no_way_out)?;
        drop(on_cpu);
        // WB4: the page is read from zswap.
        let loaded = locked.bytes_mut().map(|mut bytes| self.zswap().load_page(id, &mut bytes));
        let mut on_cpu = self.on_cpu(cpu)?;
        if loaded != Ok(true) {
            on_cpu.put_back_in_zswap(locked, id)?;
            return Err(loaded.err().unwrap_or_else(|| damaged(swp, 1)));
        }
        // WB5: the zswap entry is freed, because the folio holds the page.
        let bytes = u64::from(self.zswap().entry(id).bytes);
        on_cpu.forget_in_zswap(locked, id)?;
        on_cpu.counters().count(Event::ZswpWb, 1);
        drop(on_cpu);
        self.count_memcg(locked.folio(), MemcgStat::ZswpWb, 1);
        if reason == WritebackReason::Proactive {
            self.count_memcg(locked.folio(), MemcgStat::ZswpWbProactiveB, bytes as u32);
        }
        locked.set(FolioFlags::UPTODATE | FolioFlags::RECLAIM);
        Ok((real, bytes))
    }

    /// Examines up to `nr` of the oldest entries of a group, each entry at most once. An entry with the reference
    /// mark loses the mark and stays in zswap until a later call; this is its second chance. An entry without the
    /// mark is written back. Returns the number of entries that were written back.
    fn shrink_entries(&self, css: Option<CssId>, nr: u64, at_fault: AtFault, cpu: CpuId) -> u64 {
        self.shrink_up_to(css, nr, u64::MAX, (at_fault, WritebackReason::Pressure), cpu).nr_written_pages
    }

    /// Works as `shrink_entries`, and ends when the written pages have `most_bytes` compressed bytes.
    fn shrink_up_to(
        &self,
        css: Option<CssId>,
        nr: u64,
        most_bytes: u64,
        (at_fault, reason): (AtFault, WritebackReason),
        cpu: CpuId,
    ) -> ZswapShrunk {
        let mut done = ZswapShrunk::default();
        for _ in 0..nr.min(self.zswap().lru_len(css)) {
            if done.written_bytes >= most_bytes {
                break;
            }
            let Some(scanned) = self.zswap().scan_oldest(css) else { break };
            let Some((id, entry)) = scanned else {
                done.nr_second_chances += 1;
                continue;
            };
            let written = self.writeback(id, entry, reason, cpu);
            match written {
                Ok(bytes) => {
                    done.nr_written_pages += 1;
                    done.written_bytes += bytes;
                }
                Err(_) => self.zswap().count(ZswapStat::RejectReclaimFail),
            }
            // `AlreadyCached` means that another thread is swapping the page in.
            if at_fault == AtFault::Stop && matches!(written, Err(SwapError::AlreadyCached(_))) {
                break;
            }
        }
        done
    }

    /// Writes back up to 32 of the oldest pages of a group, or only the oldest page with `zswap_shrink_scan=one`, and
    /// returns the number of these pages.
    ///
    /// Errors: `NothingToShrink` (ENOENT) when writeback is disabled for the group, the group is removed, or the
    /// group has no pages in zswap; `NoneWritten` (EAGAIN) when the group has pages and no page was written. Kernel:
    /// `shrink_memcg`.
    pub fn shrink_memcg(&self, css: CssId, cpu: CpuId) -> Result<u64> {
        let _active = self.begin_activity();
        let group = self.memcg().map(|groups| groups.get(css));
        let key = group.map(MemCgroup::css);
        let is_dead = group.is_some_and(|group| !group.is_online());
        if is_dead || !self.is_zswap_writeback_enabled(group) || self.zswap().lru_len(key) == 0 {
            return Err(SwapError::NothingToShrink);
        }
        match self.shrink_entries(key, self.switches.zswap_shrink_scan.nr_entries(), AtFault::GoOn, cpu) {
            0 => Err(SwapError::NoneWritten),
            nr => Ok(nr),
        }
    }

    /// Writes back pages of a group and of all its descendants, one batch of entries from each group in turn, until
    /// these pages have `nr_bytes` compressed bytes or each group had a turn. Groups that forbid writeback are left
    /// out. Errors: `BadCpu` (EINVAL). Kernel: one round of `memory.reclaim` with `source=zswap`.
    pub fn zswap_shrink_groups(&self, css: CssId, nr_bytes: u64, cpu: CpuId) -> Result<ZswapShrunk> {
        let _active = self.begin_activity();
        drop(self.on_cpu(cpu)?);
        let groups = self.memcg().map_or(vec![CssId::ROOT], |groups| groups.subtree(css));
        let mut done = ZswapShrunk::default();
        for css in groups {
            let group = self.memcg().map(|groups| groups.get(css));
            if done.written_bytes < nr_bytes && self.is_zswap_writeback_enabled(group) {
                let (key, left_bytes) = (group.map(MemCgroup::css), nr_bytes - done.written_bytes);
                let how = (AtFault::GoOn, WritebackReason::Proactive);
                let nr = self.switches.zswap_shrink_scan.nr_entries();
                let turn = self.shrink_up_to(key, nr, left_bytes, how, cpu);
                done.nr_written_pages += turn.nr_written_pages;
                done.written_bytes += turn.written_bytes;
                done.nr_second_chances += turn.nr_second_chances;
            }
        }
        Ok(done)
    }

    /// Writes pages back, one batch from each group in turn, until the zswap pools are no larger than the accept
    /// threshold or 16 attempts failed. Returns the number of pages that were written back. The next call starts with
    /// the group after the group at which this call ended.
    ///
    /// Errors: `BadCpu` (EINVAL). Kernel: `shrink_worker`.
    pub fn zswap_shrink_worker(&self, cpu: CpuId) -> Result<u64> {
        let _active = self.begin_activity();
        drop(self.on_cpu(cpu)?);
        let is_over = || self.zswap().total_pages() > self.zswap().accept_pages();
        let (mut nr_written, mut nr_failures) = (0, 0);
        while is_over() && nr_failures < ZSWAP_SHRINK_FAILURES_MAX {
            let mut has_pages = false;
            for css in self.groups_to_shrink() {
                if !is_over() || nr_failures == ZSWAP_SHRINK_FAILURES_MAX {
                    break;
                }
                let shrunk = self.shrink_memcg(css, cpu);
                self.zswap().set_shrink_cursor(css);
                has_pages |= shrunk != Err(SwapError::NothingToShrink);
                match shrunk {
                    Ok(nr) => nr_written += nr,
                    Err(SwapError::NothingToShrink) => {}
                    Err(_) => nr_failures += 1,
                }
            }
            // A round in which no group has pages that may be written back counts as a failed attempt. The pools then
            // have only pages of groups that forbid writeback, and pages that another thread is storing.
            nr_failures += u32::from(!has_pages);
        }
        Ok(nr_written)
    }

    /// Returns all groups in the order in which the worker scans them. The list starts with the group after the
    /// shrink cursor, which names the group that the worker scanned last. Removed groups are in the list, but have no
    /// pages in zswap.
    fn groups_to_shrink(&self) -> Vec<CssId> {
        let Some(groups) = self.memcg() else { return vec![CssId::ROOT] };
        let mut all = groups.subtree(CssId::ROOT);
        let cursor = self.zswap().shrink_cursor();
        let first = all.iter().position(|&css| css == cursor).map_or(0, |at| at + 1);
        all.rotate_left(first);
        all
    }

    /// Estimates the number of zswap pages of a group that reclaim should write back. The number is smaller when the
    /// pages compress better, because their writeback then frees less memory. Kernel: `zswap_shrinker_count`.
    fn zswap_shrinker_count(&self, css: Option<CssId>) -> u64 {
        let zswap = self.zswap();
        let group = css.and_then(|css| self.memcg().map(|groups| groups.get(css)));
        if !zswap.options().is_shrinker_enabled
            || !self.is_zswap_writeback_enabled(group)
            || self.nr_real_swapfiles() == 0
        {
            return 0;
        }
        let freeable = zswap.lru_len(css).saturating_sub(zswap.consume_disk_swapins(css));
        let (compressed_pages, stored) = match (group, self.memcg()) {
            (Some(group), Some(groups)) if !groups.do_memsw_account() => {
                let stat = |stat| groups.stat(group, stat).max(0) as u64;
                (stat(MemcgStat::ZswapB) / PAGE_SIZE as u64, stat(MemcgStat::Zswapped))
            }
            _ => (zswap.total_pages(), zswap.stat(ZswapStat::StoredPages)),
        };
        (freeable * compressed_pages).checked_div(stored).unwrap_or(0)
    }
}

/// The implementation of [`ZswapShrinker`]. Code in lower folders calls the writeback of this file through the trait.
#[derive(Debug)]
pub(crate) struct ZswapWriteback;

/// The object of [`ZswapWriteback`] that every [`Swap`] gets.
pub(crate) static ZSWAP_WRITEBACK: ZswapWriteback = ZswapWriteback;

impl ZswapShrinker for ZswapWriteback {
    fn make_room(&self, swap: &Swap, css: CssId, cpu: CpuId) -> Result<u64> {
        swap.shrink_memcg(css, cpu)
    }

    /// Writes back the estimated number of pages, shifted right by the priority. Kernel: `zswap_shrinker_scan`.
    fn shrink_for_reclaim(&self, swap: &Swap, css: Option<CssId>, priority: u8, cpu: CpuId) -> u64 {
        swap.shrink_entries(css, swap.zswap_shrinker_count(css) >> priority, AtFault::Stop, cpu)
    }
}
