//! The steps of one folio's pageout: slots, write, removal from memory.

use crate::base::error::{Result, SwapError};
use crate::base::event::EventKind;
use crate::base::types::{CpuId, Order, SwpEntry, SwpType};
use crate::datapath::transfer::Writeout;
use crate::folio::{Folio, FolioFlags, LockedFolio};
use crate::machine::{Event, OrderEvent, Swap};
use crate::memcg::{MemCgroup, MemcgStat, RefaultJudge};
use crate::workingset::{Lruvec, RefaultLevel};

impl Swap {
    /// Gives a locked folio slots, charges them and marks the folio dirty. Steps OUT1 to OUT3. With `types`, only devices
    /// of these types are tried. Errors: `NoSpace` (ENOSPC); `OverLimit` (ENOMEM) when the charge was refused.
    pub(crate) fn add_to_swap(&self, locked: &LockedFolio<'_>, types: Option<&[SwpType]>, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.alloc_for_folio_on(locked, types)?;
        locked.set(FolioFlags::DIRTY);
        Ok(())
    }

    /// Counts a large folio that found no run of slots.
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

    /// Writes a locked, cached, unmapped folio out if that is necessary, and removes it from memory. The caller holds
    /// the only reference beside the cache's. `level` is the group at which the eviction is recorded. Steps OUT5 to OUT8.
    /// Returns the lock if the folio stays.
    ///
    /// Errors: `Io`, with the folio dirty, cached and resident; `DataInUse` (EBUSY).
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
        if locked.refs() != expected {
            let refs = locked.refs();
            return (Some(locked), Err(pinned(refs)));
        }
        if locked.has(FolioFlags::DIRTY) {
            locked.clear(FolioFlags::DIRTY);
            locked.set(FolioFlags::RECLAIM);
            let (again, result) = self.swap_writeout(locked, cpu);
            locked = again;
            match result {
                Ok(Writeout::Zero | Writeout::Zswap | Writeout::Written) => {}
                Ok(Writeout::Freed) => return (Some(locked), Err(SwapError::NotCached)),
                Err(error) => return (Some(locked), Err(error)),
            }
        }
        locked.clear(FolioFlags::RECLAIM);
        match self.drop_clean(&locked, level, cpu) {
            Ok(true) => {
                locked.keep();
                (None, Ok(()))
            }
            Ok(false) => {
                let refs = locked.refs();
                (Some(locked), Err(pinned(refs)))
            }
            Err(error) => (Some(locked), Err(error)),
        }
    }

    /// Returns the group at which evictions are recorded when the limit of `target`'s group causes them, or no limit
    /// does.
    pub(crate) fn refault_level<'l>(&'l self, target: Option<&'l Lruvec>) -> RefaultLevel<'l> {
        match self.memcg().map(|groups| groups.options().refault_level) {
            Some(RefaultJudge::ReclaimRoot) => {
                RefaultLevel::ReclaimRoot(target.unwrap_or_else(|| self.memory_of_folios().lruvec()))
            }
            _ => RefaultLevel::Owner,
        }
    }

    /// Removes a locked clean folio from the cache and from memory; returns whether the folio is gone. Step OUT8.
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
}
