//! Functions that free cached slots without references: the slots of one folio, and all such slots of full clusters.
//! The discard of clusters and the workers are also in this file.

use std::sync::atomic::Ordering;

use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::sync::relax;
use crate::base::types::{SwpEntry, SwpOffset, SwpType};
use crate::cluster::{ClusterFlag, ListId};
use crate::folio::{FolioRef, LockedFolio};
use crate::machine::device::SwapDevice;
use crate::machine::profile::SyncDiscard;
use crate::machine::{Event, OnCpu, Operation, Swap, Workers};
use crate::table::SwapTableEntry;

/// The condition under which a cached slot without references is freed. Kernel: the `TTRS_*` flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReclaimWhen {
    /// No condition.
    Anyway,
    /// The folio is unmapped, or swap is over half full.
    UnmappedOrFull,
}

/// The folio that `try_to_reclaim` found, and whether its slots were freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reclaimed {
    /// No folio caches the slot.
    Nothing,
    /// A folio of this many pages caches the slot, and its slots were not freed.
    Kept(u32),
    /// A folio of this many pages cached the slot, and its slots were freed.
    Freed(u32),
}

/// The number of full clusters that one call of `reclaim_full` visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Budget {
    /// One cluster. A search for free slots uses this budget.
    One,
    /// As many clusters as the slots in use would fill. `reclaim_work` uses this budget.
    Force,
}

/// Returns the folio that caches a slot, with a reference, or `None`. Takes no lock. Kernel: `swap_cache_get_folio`.
///
/// If the folio is frozen, the loop spins, because the thread that froze the folio runs on another CPU and will soon
/// change the table entry.
#[inline]
pub(crate) fn get_folio<'s>(swap: &'s Swap, device: &SwapDevice, offset: SwpOffset) -> Option<FolioRef<'s>> {
    let mut round = 0;
    loop {
        let pfn = device.get(offset).pfn()?;
        if let Some(folio) = swap.memory_of_folios().folio(pfn).try_get()
            // The folio's page may have been freed and reused between the two reads of the table entry.
            && device.get(offset).pfn() == Some(pfn)
        {
            return Some(folio);
        }
        relax(round);
        round += 1;
    }
}

impl<'a> Operation<'a> {
    /// Removes the folio of a cached slot from the cache if its slots have no references, and frees these slots.
    /// Kernel: `__try_to_reclaim_swap`.
    ///
    /// The caller holds no cluster lock. The function does not wait for the folio lock: if another thread holds the
    /// lock, the slots stay.
    pub(crate) fn try_to_reclaim(&mut self, device: &SwapDevice, offset: SwpOffset, when: ReclaimWhen) -> Reclaimed {
        let entry = device.entry_at(offset);
        if let Some(owner) = device.get(offset).owner() {
            return self.try_to_reclaim_owner(owner, entry);
        }
        loop {
            let Some(folio) = get_folio(self.swap, device, offset) else { return Reclaimed::Nothing };
            let nr_pages = folio.nr_pages();
            let Some(locked) = folio.try_lock() else { return Reclaimed::Kept(nr_pages) };
            let covers = folio.covers(entry);
            let is_wanted = when == ReclaimWhen::Anyway || !folio.is_mapped() || self.swap.vm_swap_full();
            // The folio may have been split or replaced after the lookup. In that case either `covers` is false, or
            // the folio covers the slot with another number of pages, so the number is read again under the folio
            // lock.
            let nr_pages = folio.nr_pages();
            let is_freed = covers && is_wanted && self.del_if_unreferenced(&locked);
            drop(locked);
            if is_freed {
                self.counters.count(Event::ReclaimedPages, nr_pages as u64);
                return Reclaimed::Freed(nr_pages);
            }
            if covers {
                return Reclaimed::Kept(nr_pages);
            }
        }
    }

    /// Removes the folio that the virtual slot `owner` caches from the cache if its slots have no references. This
    /// frees the virtual slots and the real slot `entry`, which backs `owner`. The result counts only the real slot
    /// `entry`, because the other real slots of the run may back other folios. Kernel: the path of the scanner
    /// through the reverse map.
    fn try_to_reclaim_owner(&mut self, owner: SwpEntry, entry: SwpEntry) -> Reclaimed {
        let Some((device, offset)) = self.locate(owner) else { return Reclaimed::Kept(1) };
        let Some(folio) = get_folio(self.swap, device, offset) else { return Reclaimed::Kept(1) };
        let Some(locked) = folio.try_lock() else { return Reclaimed::Kept(1) };
        let nr_pages = folio.nr_pages();
        let is_freed = folio.covers(owner) && self.is_backed_by(owner, entry) && self.del_if_unreferenced(&locked);
        drop(locked);
        if !is_freed {
            return Reclaimed::Kept(1);
        }
        self.counters.count(Event::ReclaimedPages, nr_pages as u64);
        Reclaimed::Freed(1)
    }

    fn del_if_unreferenced(&mut self, folio: &LockedFolio<'_>) -> bool {
        self.lock_folio_slots(folio.folio()).is_ok_and(|at| self.del_unreferenced(at, folio))
    }

    /// Frees the cached slots without references in full clusters. Kernel: `swap_reclaim_full_clusters`.
    pub(crate) fn reclaim_full(&mut self, device: &SwapDevice, budget: Budget) {
        let mut budget = match budget {
            Budget::One => 1,
            Budget::Force => self.swap.inuse_pages(device.ty()) / SWAPFILE_CLUSTER as u64,
        };
        while let Some(ci) = device.clusters.isolate(ListId::Full) {
            budget = budget.saturating_sub(1);
            let base = ci.idx().base().0;
            let end = (base as u64 + SWAPFILE_CLUSTER as u64).min(device.max_pages() as u64) as u32;
            let (mut offset, mut ci) = (SwpOffset(base), Some(ci));
            while let Some(held) = ci.take_if(|_| offset.0 < end) {
                let word = held.table().map_or(SwapTableEntry::NULL, |table| table.get(offset.in_cluster()));
                let is_cache_only = word.is_cache_only() || word.is_cache_only_pointer();
                let mut step = 1;
                ci = if is_cache_only {
                    held.unlocked(|| {
                        step = match self.try_to_reclaim(device, offset, ReclaimWhen::Anyway) {
                            Reclaimed::Nothing => 1,
                            Reclaimed::Kept(nr) | Reclaimed::Freed(nr) => nr,
                        };
                    })
                } else {
                    Some(held)
                };
                offset.0 += step;
            }
            if let Some(mut ci) = ci.filter(|ci| ci.flag() == ClusterFlag::None) {
                self.relocate(device, &mut ci);
            }
            if budget == 0 {
                return;
            }
        }
    }

    /// Discards the clusters that wait for a discard, and moves them to the free list. Returns the number of these
    /// clusters. Kernel: `swap_do_scheduled_discard`.
    pub(crate) fn discard_clusters(&mut self, device: &SwapDevice) -> u64 {
        let mut nr = 0;
        while let Some(idx) = device.clusters.take_discard() {
            let end = (idx.base().0 as u64 + SWAPFILE_CLUSTER as u64).min(device.max_pages() as u64) as u32;
            if device.storage().discard(idx.base(), end - idx.base().0).is_err() {
                // The cluster becomes free even if the storage refused the discard; only the space on the storage
                // stays allocated.
                self.counters.count(Event::DiscardErrors, 1);
            }
            device.clusters.lock_used(idx).finish_discard();
            nr += 1;
        }
        self.counters.count(Event::DiscardedClusters, nr);
        nr
    }

    /// Discards the clusters of one device: the first device, in the order of priority, with clusters that wait for a
    /// discard. Returns whether clusters were discarded.
    ///
    /// Kernel: `swap_sync_discard`.
    pub(crate) fn sync_discard(&mut self) -> bool {
        let types: Vec<SwpType> = match self.swap.switches.sync_discard {
            SyncDiscard::Avail => self.swap.avail.lock().list.iter().collect(),
            SyncDiscard::Active => self.swap.avail.lock().active.iter().collect(),
        };
        self.discard_first(&types)
    }

    /// Discards the clusters of the first device of `types` with clusters that wait for a discard. Returns whether
    /// clusters were discarded.
    pub(crate) fn discard_first(&mut self, types: &[SwpType]) -> bool {
        let device = types.iter().filter_map(|&ty| self.device(ty)).find(|device| device.has_discards());
        device.is_some_and(|device| self.discard_clusters(device) > 0)
    }

    /// Runs the queued work of every device. Returns the number of slots that were freed plus the number of clusters
    /// that were discarded.
    pub(crate) fn work(&mut self) -> u64 {
        *self.is_work_queued = false;
        let mut nr = 0;
        for device in self.devices.iter().flatten() {
            // Relaxed: the flag publishes no data; see `remove_full`.
            if device.is_reclaim_queued.swap(false, Ordering::Relaxed) {
                let before = self.swap.inuse_pages(device.ty());
                self.reclaim_full(device, Budget::Force);
                nr += before.saturating_sub(self.swap.inuse_pages(device.ty()));
            }
            if device.has_discards() {
                nr += self.discard_clusters(device);
            }
        }
        nr
    }
}

impl OnCpu<'_> {
    /// Runs the work that the last operation queued, if workers run inline.
    #[inline]
    pub(crate) fn finish(&mut self) {
        if self.has_queued_work() && self.swap().workers == Workers::Inline {
            self.operation().work();
        }
    }
}
