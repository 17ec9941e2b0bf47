//! Pages out of zswap to a device, the oldest first: one entry, one group, the worker, and the share that reclaim asks for.

use crate::base::error::{Result, SwapError};
use crate::base::limits::{PAGE_SIZE, ZSWAP_SHRINK_BATCH, ZSWAP_SHRINK_FAILURES_MAX};
use crate::base::types::{CpuId, CssId, SwpEntry, ZswapId};
use crate::folio::{FolioFlags, LockedFolio};
use crate::machine::{Event, Swap, ZswapShrinker};
use crate::memcg::{MemCgroup, MemcgStat};
use crate::slots::owner::CacheExit;
use crate::swapping::swapin::{NewFolio, Orders, Swapin};
use crate::table::Shadow;
use crate::workingset::RefaultContext;
use crate::zswap::{ZswapStat, damaged};

/// What a pass over entries does once a page turns out to be in the swap cache already: a fault was quicker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AtFault {
    /// The pass goes on with the next entry.
    GoOn,
    /// The pass ends, because the pages that follow are likely to be wanted, too.
    Stop,
}

/// What became of one entry that was to be written back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    Yes,
    /// Somebody else is at the slot: it is being faulted in now.
    IsFaulted,
    No,
}

impl Swap {
    /// Writes the page of one slot back from zswap to a device: its own, or the real slot that its virtual one gets.
    ///
    /// Errors: `AlreadyCached` (EEXIST) somebody loads it; `NotInUse` (ENOENT) it was freed; `NotInZswap` (ENOENT) zswap does
    /// not have it; `NoMemory` (ENOMEM) no folio; `NoWayOut` (ENOMEM) no real slot,
    /// no charge for it, or another entry is there by now; `NoWriteback` (EINVAL) a
    /// ghost without virtual table; `Io` (EIO) the data is damaged, and stays, or the write failed, and the page is in memory,
    /// dirty. Waits for no folio lock; no other lock may be held. Kernel: `zswap_writeback_entry`.
    pub fn zswap_writeback_entry(&self, entry: SwpEntry, cpu: CpuId) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        let device = on_cpu.device_of(entry)?;
        let id = on_cpu.operation().zswap_id(&device, entry.offset()).ok_or(SwapError::NotInZswap(entry))?;
        drop(on_cpu);
        self.writeback(id, entry, cpu)
    }

    /// The steps of a writeback, in the order that loses nothing.
    pub(crate) fn writeback(&self, id: ZswapId, entry: SwpEntry, cpu: CpuId) -> Result<()> {
        let device = self.on_cpu(cpu)?.device_of(entry)?;
        if device.is_ghost() && !device.is_virtual() {
            // Before any folio is made: there is nothing to write to.
            return Err(SwapError::NoWriteback(entry));
        }
        // WB1: the holder of the folio over the slot owns the entry.
        let allocate = |order, _| self.folio_alloc(order);
        let context = RefaultContext::Other;
        let how = Swapin { allocate: Some(&allocate), context, ..Swapin::new(cpu, Orders::ZERO) };
        let NewFolio { folio, locked, .. } = self.swap_cache_alloc_folio(entry, &how)?;
        let real = match self.take_out(&locked, id, cpu) {
            Ok(real) => real,
            Err(error) => {
                // Clean and not read: the slot gets back what it was.
                self.on_cpu(cpu)?.del_locked(&locked, CacheExit::Dropped(Shadow::default()))?;
                return Err(error);
            }
        };
        self.write_and_unlock(locked, real, cpu)?;
        self.zswap().count(ZswapStat::WrittenBackPages);
        // Nobody asked for it: it goes again at once if nobody does by now. Who has its lock does; a store that is short of
        // room may have come here with that of its own folio. Kernel: dropbehind.
        if let Some(locked) = folio.folio().try_lock() {
            locked.clear(FolioFlags::RECLAIM);
            if self.drop_clean(&locked, self.refault_level(None), cpu)? {
                locked.keep();
                folio.into_raw();
            }
        }
        Ok(())
    }

    /// Steps WB2 to WB5 with the folio locked: it holds the page then, and the entry is gone. Returns the real slot to write to.
    fn take_out(&self, locked: &LockedFolio<'_>, id: ZswapId, cpu: CpuId) -> Result<SwpEntry> {
        let mut on_cpu = self.on_cpu(cpu)?;
        let op = on_cpu.operation();
        let (device, offset) = op.folio_slots(locked.folio())?;
        let swp = device.entry_at(offset);
        let no_way_out = SwapError::NoWayOut(swp);
        // WB2: an entry that was freed and stored again in between is another page's data.
        if op.zswap_id(device, offset) != Some(id) {
            return Err(no_way_out);
        }
        // WB3: a page without a place to go stays where it is.
        let real = on_cpu.realloc_locked(locked).map_err(|_| no_way_out)?;
        drop(on_cpu);
        // WB4
        let loaded = locked.bytes_mut().map(|mut bytes| self.zswap().load_page(id, &mut bytes));
        let mut on_cpu = self.on_cpu(cpu)?;
        if loaded != Ok(true) {
            on_cpu.put_back_in_zswap(locked, id)?;
            return Err(loaded.err().unwrap_or_else(|| damaged(swp, 1)));
        }
        // WB5
        on_cpu.forget_in_zswap(locked, id)?;
        on_cpu.counters().count(Event::ZswpWb, 1);
        drop(on_cpu);
        self.count_memcg(locked.folio(), MemcgStat::ZswpWb, 1);
        locked.set(FolioFlags::UPTODATE | FolioFlags::RECLAIM);
        Ok(real)
    }

    /// Looks at the oldest entry of a group and writes it back if it had its second chance. `None`: there is none.
    fn shrink_one(&self, css: Option<CssId>, cpu: CpuId) -> Option<Option<Written>> {
        let scanned = self.zswap().scan_oldest(css)?;
        Some(scanned.map(|(id, entry)| match self.writeback(id, entry, cpu) {
            Ok(()) => Written::Yes,
            Err(error) => {
                self.zswap().count(ZswapStat::RejectReclaimFail);
                if matches!(error, SwapError::AlreadyCached(_)) { Written::IsFaulted } else { Written::No }
            }
        }))
    }

    /// Looks at up to so many entries of a group, at each once, and returns how many it wrote back: what gets its second chance
    /// has it until the next look.
    fn shrink_entries(&self, css: Option<CssId>, nr: u64, at_fault: AtFault, cpu: CpuId) -> u64 {
        let mut nr_written = 0;
        for _ in 0..nr.min(self.zswap().lru_len(css)) {
            let Some(look) = self.shrink_one(css, cpu) else { break };
            nr_written += u64::from(look == Some(Written::Yes));
            if at_fault == AtFault::Stop && look == Some(Written::IsFaulted) {
                break;
            }
        }
        nr_written
    }

    /// Writes back up to 32 of the oldest pages of a group; returns how many.
    ///
    /// Errors: `NothingToShrink` (ENOENT) writeback is off for it, it is gone or has no pages; `NoneWritten` (EAGAIN) it has,
    /// and none was written. Kernel: `shrink_memcg`.
    pub fn shrink_memcg(&self, css: CssId, cpu: CpuId) -> Result<u64> {
        let is_dead = self.memcg().is_some_and(|groups| !groups.get(css).is_online());
        if is_dead { Err(SwapError::NothingToShrink) } else { self.shrink_batch(css, cpu) }
    }

    /// [`Swap::shrink_memcg`] of a group that may be dead.
    fn shrink_batch(&self, css: CssId, cpu: CpuId) -> Result<u64> {
        let group = self.memcg().map(|groups| groups.get(css));
        let key = group.map(MemCgroup::css);
        if !self.is_zswap_writeback_enabled(group) || self.zswap().lru_len(key) == 0 {
            return Err(SwapError::NothingToShrink);
        }
        match self.shrink_entries(key, ZSWAP_SHRINK_BATCH, AtFault::GoOn, cpu) {
            0 => Err(SwapError::NoneWritten),
            nr => Ok(nr),
        }
    }

    /// Writes up to so many pages of a group and of all below it back, a batch of each group in turn; returns how many; none is
    /// no error. Kernel: `memory.reclaim` with `source=zswap`.
    pub fn zswap_shrink_groups(&self, css: CssId, nr_pages: u64, cpu: CpuId) -> Result<u64> {
        drop(self.on_cpu(cpu)?);
        let groups = self.memcg().map_or(vec![CssId::ROOT], |groups| groups.subtree(css));
        let mut nr_written = 0;
        for css in groups {
            let group = self.memcg().map(|groups| groups.get(css));
            if nr_written < nr_pages && self.is_zswap_writeback_enabled(group) {
                let nr = (nr_pages - nr_written).min(ZSWAP_SHRINK_BATCH);
                nr_written += self.shrink_entries(group.map(MemCgroup::css), nr, AtFault::GoOn, cpu);
            }
        }
        Ok(nr_written)
    }

    /// Writes pages back, a batch of each group in turn, until the pools are down at the threshold or it failed 16 times; returns
    /// how many. The next call goes on after the group where this one ended.
    ///
    /// Errors: `BadCpu` (EINVAL). Kernel: `shrink_worker`; differs: what dead groups left has its turn like that of others,
    /// where the kernel hands it to the group above.
    pub fn zswap_shrink_worker(&self, cpu: CpuId) -> Result<u64> {
        drop(self.on_cpu(cpu)?);
        let is_over = || self.zswap().total_pages() > self.zswap().accept_pages();
        let (mut nr_written, mut nr_failures) = (0, 0);
        while is_over() && nr_failures < ZSWAP_SHRINK_FAILURES_MAX {
            let mut has_pages = false;
            for css in self.groups_to_shrink() {
                if !is_over() || nr_failures == ZSWAP_SHRINK_FAILURES_MAX {
                    break;
                }
                let shrunk = self.shrink_batch(css, cpu);
                self.zswap().set_shrink_cursor(css);
                has_pages |= shrunk != Err(SwapError::NothingToShrink);
                match shrunk {
                    Ok(nr) => nr_written += nr,
                    Err(SwapError::NothingToShrink) => {}
                    Err(_) => nr_failures += 1,
                }
            }
            // Nobody has anything: all the rest is not to be had, or is just coming in.
            nr_failures += u32::from(!has_pages);
        }
        Ok(nr_written)
    }

    /// Returns all groups, dead ones too, from the one on that has its turn.
    fn groups_to_shrink(&self) -> Vec<CssId> {
        let Some(groups) = self.memcg() else { return vec![CssId::ROOT] };
        let mut all = groups.subtree(CssId::ROOT);
        let cursor = self.zswap().shrink_cursor();
        let first = all.iter().position(|&css| css == cursor).map_or(0, |at| at + 1);
        all.rotate_left(first);
        all
    }

    /// Estimates how many pages of a group reclaim should write back: the better they are compressed, the fewer. Kernel:
    /// `zswap_shrinker_count`.
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

/// Writeback as the folders below call it.
#[derive(Debug)]
pub(crate) struct ZswapWriteback;

/// The writeback that every [`Swap`] is made with.
pub(crate) static ZSWAP_WRITEBACK: ZswapWriteback = ZswapWriteback;

impl ZswapShrinker for ZswapWriteback {
    fn make_room(&self, swap: &Swap, css: CssId, cpu: CpuId) -> Result<u64> {
        swap.shrink_memcg(css, cpu)
    }

    /// Kernel: `zswap_shrinker_scan`.
    fn shrink_for_reclaim(&self, swap: &Swap, css: Option<CssId>, priority: u8, cpu: CpuId) -> u64 {
        swap.shrink_entries(css, swap.zswap_shrinker_count(css) >> priority, AtFault::Stop, cpu)
    }
}
