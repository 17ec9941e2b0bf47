//! References to slots: functions that add, drop and read references. A slot is freed when its last reference is
//! dropped.

use crate::base::error::{Result, SwapError};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{CpuId, Order, SwpEntry, SwpOffset};
use crate::cluster::ClusterGuard;
use crate::containers::pieces::pieces;
use crate::machine::device::SwapDevice;
use crate::machine::{OnCpu, Operation, Swap};
use crate::memcg::OwnerStore;
use crate::slots::take_back::{ReclaimWhen, Reclaimed};
use crate::table::{EntryKind, SwapTableEntry};

/// The part of a range of slots that lies in one cluster.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first: SwpOffset,
    nr_pages: u32,
}

impl Piece {
    fn slots(self) -> std::ops::Range<usize> {
        self.first.in_cluster()..self.first.in_cluster() + self.nr_pages as usize
    }
}

/// Splits a range of slots at cluster borders.
fn cluster_pieces(first: SwpOffset, nr_pages: u32) -> impl Iterator<Item = Piece> {
    let start = u64::from(first.0);
    pieces::<{ SWAPFILE_CLUSTER as u64 }>(start..start + u64::from(nr_pages))
        .map(|piece| Piece { first: SwpOffset(piece.start as u32), nr_pages: (piece.end - piece.start) as u32 })
}

/// Locks the cluster of a piece of a range. Errors: `NotInUse` (ENOENT) when the cluster does not exist.
#[inline]
fn lock_piece(device: &SwapDevice, piece: Piece) -> Result<ClusterGuard<'_>> {
    let gone = || SwapError::NotInUse(device.entry_at(piece.first));
    device.clusters.lock(piece.first.cluster()).ok_or_else(gone)
}

/// Checks that every slot of a piece has a reference. The cluster `ci` of the piece is locked. Errors: `BadSlot`,
/// `BacksVirtual` (EINVAL), `NotInUse` (ENOENT).
fn check_referenced(device: &SwapDevice, ci: &ClusterGuard<'_>, piece: Piece) -> Result<()> {
    let table = ci.table();
    for slot in piece.slots() {
        let entry = table.map_or(SwapTableEntry::NULL, |table| table.get(slot));
        let at = || device.entry_at(SwpOffset(ci.idx().base().0 + slot as u32));
        match (entry.kind(), entry.count()) {
            (EntryKind::Bad, _) => return Err(SwapError::BadSlot(at())),
            (EntryKind::Pointer, _) => return Err(SwapError::BacksVirtual(at())),
            (EntryKind::Null, _) | (_, Some(0)) => return Err(SwapError::NotInUse(at())),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that every slot of a range has a reference. Errors: `BadSlot`, `BacksVirtual` (EINVAL), `NotInUse`
/// (ENOENT).
fn check_pieces(device: &SwapDevice, first: SwpOffset, nr_pages: u32) -> Result<()> {
    cluster_pieces(first, nr_pages).try_for_each(|piece| check_referenced(device, &lock_piece(device, piece)?, piece))
}

impl Operation<'_> {
    /// Frees swapped-out slots that have one reference each, in a cluster that stays partly used. This is the common
    /// case of [`Operation::put_entries`]. If the slots or the cluster are in another state, the function changes
    /// nothing and returns false.
    #[inline(always)]
    fn put_in_used_cluster(&mut self, entry: SwpEntry, nr_pages: u32) -> bool {
        let Some((device, first)) = self.locate(entry) else { return false };
        let slot = first.in_cluster();
        if !device.has_range(first, nr_pages) || slot as u32 + nr_pages > SWAPFILE_CLUSTER {
            return false;
        }
        let Some(mut ci) = device.clusters.lock(first.cluster()) else { return false };
        (nr_pages + 1..SWAPFILE_CLUSTER).contains(&ci.count())
            && self.put_uncached(device, &mut ci, Piece { first, nr_pages })
    }

    /// Drops one reference of each slot of a range and frees the slots whose count becomes 0. Kernel:
    /// `swap_put_entries_direct`.
    fn put_entries(&mut self, entry: SwpEntry, nr_pages: u32) -> Result<()> {
        let (device, first) = self.resolve(entry, nr_pages)?;
        let piece = Piece { first, nr_pages };
        if first.in_cluster() + nr_pages as usize <= SWAPFILE_CLUSTER as usize {
            let ci = lock_piece(device, piece)?;
            return self.put_locked(device, ci, piece);
        }
        self.put_pieces(device, first, nr_pages)
    }

    /// Drops one reference of each slot of a range that crosses cluster borders. If one slot has no reference, no
    /// slot is changed.
    #[cold]
    fn put_pieces(&mut self, device: &SwapDevice, first: SwpOffset, nr_pages: u32) -> Result<()> {
        check_pieces(device, first, nr_pages)?;
        cluster_pieces(first, nr_pages).try_for_each(|piece| self.put_locked(device, lock_piece(device, piece)?, piece))
    }

    /// Drops one reference of each slot of a piece of a range. `ci` is the locked cluster of the piece; it is
    /// unlocked before cached slots without references are freed.
    fn put_locked(&mut self, device: &SwapDevice, mut ci: ClusterGuard<'_>, piece: Piece) -> Result<()> {
        if self.put_uncached(device, &mut ci, piece) {
            return Ok(());
        }
        self.put_mixed(device, ci, piece)
    }

    /// Frees the slots of a piece if all of them are swapped out with one reference each. Returns whether the slots
    /// were freed.
    #[inline]
    fn put_uncached(&mut self, device: &SwapDevice, ci: &mut ClusterGuard<'_>, piece: Piece) -> bool {
        let (slot, nr_pages) = (piece.first.in_cluster(), piece.nr_pages);
        let Some(table) = ci.table() else { return false };
        if !table.is_run_of(slot, nr_pages as usize, SwapTableEntry::differs_from_last) {
            return false;
        }
        self.free_entries(device, ci, table, slot, nr_pages);
        true
    }

    #[inline(never)]
    fn put_mixed(&mut self, device: &SwapDevice, mut ci: ClusterGuard<'_>, piece: Piece) -> Result<()> {
        check_referenced(device, &ci, piece)?;
        let table = ci.table().expect("slots with references have a table");
        let mut need_reclaim = false;
        // The first slot of the present run of slots that lose their last reference here. The whole run is freed by
        // one call.
        let mut batch = piece.slots().start;
        for slot in piece.slots() {
            let entry = table.get(slot);
            if entry.is_last_swapped_out() {
                continue;
            }
            need_reclaim |= entry.is_cached() && entry.count() == Some(1);
            self.put_slot(device, &ci, slot);
            if batch < slot {
                self.free_entries(device, &mut ci, table, batch, (slot - batch) as u32);
            }
            batch = slot + 1;
        }
        if batch < piece.slots().end {
            self.free_entries(device, &mut ci, table, batch, (piece.slots().end - batch) as u32);
        }
        drop(ci);
        if need_reclaim {
            self.reclaim_unreferenced(device, piece);
        }
        Ok(())
    }

    /// Calls `try_to_reclaim` for each folio that a slot of the piece caches.
    fn reclaim_unreferenced(&mut self, device: &SwapDevice, piece: Piece) {
        let end = piece.first.0 + piece.nr_pages;
        let mut at = piece.first.0;
        while at < end {
            at = match self.try_to_reclaim(device, SwpOffset(at), ReclaimWhen::UnmappedOrFull) {
                Reclaimed::Nothing => at + 1,
                Reclaimed::Kept(nr) | Reclaimed::Freed(nr) => (at + 1).next_multiple_of(nr),
            };
        }
    }

    /// Adds one reference to each slot of a range, or to no slot. Kernel: `swap_dup_entry_direct`, here for many
    /// slots.
    fn dup_entries(&mut self, entry: SwpEntry, nr_pages: u32) -> Result<()> {
        let (device, first) = self.resolve(entry, nr_pages)?;
        check_pieces(device, first, nr_pages)?;
        for piece in cluster_pieces(first, nr_pages) {
            if let Err(error) = self.dup_piece(device, piece) {
                self.undo_dup(device, first, piece.first.0 - first.0);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds one reference to each slot of a piece, or to no slot.
    fn dup_piece(&self, device: &SwapDevice, piece: Piece) -> Result<()> {
        let ci = lock_piece(device, piece)?;
        // Another CPU may have freed a slot or destroyed the cluster after the caller's check.
        check_referenced(device, &ci, piece)?;
        self.dup_slots(device, &ci, piece.slots())
    }

    fn undo_dup(&mut self, device: &SwapDevice, first: SwpOffset, nr_done: u32) {
        for piece in cluster_pieces(first, nr_done) {
            let ci = device.clusters.lock_used(piece.first.cluster());
            // The references are dropped by `put_locked`, not by a plain decrement, because other users may have
            // dropped all other references meanwhile. A slot that loses its last reference here must be freed.
            self.put_locked(device, ci, piece).expect("the references taken above are there to give back");
        }
    }

    /// Drops one reference of each slot of many runs of one order. The cluster lock is taken once for adjacent runs
    /// in one cluster. Returns at the first run that fails.
    fn put_batch(&mut self, order: Order, entries: &[SwpEntry]) -> (usize, Result<()>) {
        let nr_pages = order.nr_pages();
        let mut nr_done = 0;
        while nr_done < entries.len() {
            let result = match self.resolve(entries[nr_done], nr_pages) {
                Ok((device, first)) if first.in_cluster() + nr_pages as usize <= SWAPFILE_CLUSTER as usize => {
                    nr_done += self.put_while_in_cluster(device, first, nr_pages, &entries[nr_done..]);
                    match entries.get(nr_done) {
                        // This run is in another cluster, or its slots are not all swapped out with one reference.
                        // `put_entries` handles the run.
                        Some(&entry) => self.put_entries(entry, nr_pages),
                        None => return (nr_done, Ok(())),
                    }
                }
                Ok(_) => self.put_entries(entries[nr_done], nr_pages),
                Err(error) => Err(error),
            };
            if result.is_err() {
                return (nr_done, result);
            }
            nr_done += 1;
        }
        (nr_done, Ok(()))
    }

    /// Frees runs from `entries` while the runs are in the cluster of the first run and their slots are swapped out
    /// with one reference each. Returns the number of freed runs.
    ///
    /// The counts of the cluster and its list are updated once, at the end. The result is the same as with one update
    /// for each run, because no other thread sees the states between the updates under the cluster lock.
    // The function is not inlined, so that the registers of its loop do not depend on the caller.
    #[inline(never)]
    fn put_while_in_cluster(
        &mut self,
        device: &SwapDevice,
        first: SwpOffset,
        nr_pages: u32,
        entries: &[SwpEntry],
    ) -> usize {
        let base = device.entry_at(first.cluster().base()).value();
        let last_start = (SWAPFILE_CLUSTER - nr_pages) as u64;
        let Some(mut ci) = device.clusters.lock(first.cluster()) else { return 0 };
        let owner_store = self.swap.memcg().map(|groups| groups.options().owner_store);
        let is_plain = !device.hibernation.pins()
            && !device.wants_free_notify
            && !device.is_virtual()
            && !self.swap.zswap().has_entries()
            && matches!(owner_store, None | Some(OwnerStore::Shadow));
        let Some(table) = ci.table().filter(|_| is_plain) else { return 0 };
        let is_freed = |entry: &&SwpEntry| {
            let slot = entry.value().wrapping_sub(base);
            let differs = SwapTableEntry::differs_from_last_unowned;
            let is_common = slot <= last_start && table.is_run_of(slot as usize, nr_pages as usize, differs);
            if is_common {
                table.fill(slot as usize, nr_pages as usize, SwapTableEntry::NULL);
            }
            is_common
        };
        let nr_runs = entries.iter().take_while(is_freed).count();
        if nr_runs > 0 {
            self.count_freed(device, &mut ci, nr_runs as u32 * nr_pages);
        }
        nr_runs
    }
}

impl OnCpu<'_> {
    /// Drops one reference of each of `nr_pages` slots and frees the slots whose count becomes 0.
    ///
    /// Errors, with nothing changed: `BadRange`, `BadSlot` (EINVAL); `NoDevice`, `NotInUse` (ENOENT). Kernel:
    /// `swap_put_entries_direct`.
    #[inline]
    pub fn put(&mut self, entry: SwpEntry, nr_pages: u32) -> Result<()> {
        if self.operation().put_in_used_cluster(entry, nr_pages) { Ok(()) } else { self.put_any(entry, nr_pages) }
    }

    #[inline(never)]
    fn put_any(&mut self, entry: SwpEntry, nr_pages: u32) -> Result<()> {
        let result = self.operation().put_entries(entry, nr_pages);
        self.finish();
        result
    }

    /// Drops one reference of each slot of many runs. Returns the number of runs before the first failure, and the
    /// error of the run that failed, if any. Errors: as [`OnCpu::put`].
    pub fn put_batch(&mut self, order: Order, entries: &[SwpEntry]) -> (usize, Result<()>) {
        let result = self.operation().put_batch(order, entries);
        self.finish();
        result
    }

    /// Checks that every run is on a device that is turned on. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT).
    fn check_ranges(&mut self, order: Order, entries: &[SwpEntry]) -> Result<()> {
        let op = self.operation();
        entries.iter().try_for_each(|&entry| op.resolve(entry, order.nr_pages()).map(|_| ()))
    }

    /// Adds one reference to each of `nr_pages` slots.
    ///
    /// Errors, with nothing changed: as [`OnCpu::put`], and `CountOverflow` (EOVERFLOW). Kernel:
    /// `swap_dup_entry_direct`; differs: takes a range, and allocates the extend table itself; in the kernel the
    /// caller allocates the table.
    pub fn dup(&mut self, entry: SwpEntry, nr_pages: u32) -> Result<()> {
        self.operation().dup_entries(entry, nr_pages)
    }

    /// Reads the table entry of one slot. Errors: `BadRange` (EINVAL), `NoDevice` (ENOENT). Takes no cluster lock.
    ///
    /// Kernel: `swap_table_get`.
    #[inline]
    pub fn lookup(&mut self, entry: SwpEntry) -> Result<SwapTableEntry> {
        let (device, offset) = self.operation().resolve_any(entry)?;
        Ok(device.get(offset))
    }

    /// Returns the full reference count of one slot. Errors: as [`OnCpu::lookup`]. Kernel: `swap_swapcount`.
    pub fn swap_count(&mut self, entry: SwpEntry) -> Result<u32> {
        let (device, offset) = self.operation().resolve_any(entry)?;
        let Some(ci) = device.clusters.lock(offset.cluster()) else { return Ok(0) };
        let slot = offset.in_cluster();
        Ok(ci.table().map_or(0, |table| ci.full_count(slot, table.get(slot))))
    }

    /// Frees a hibernation slot. If readahead cached a folio in the slot, the slot is freed when that folio is
    /// removed from the cache.
    ///
    /// Errors: `NotHibernation` (ENOENT); as [`OnCpu::put`]. Kernel: `swap_free_hibernation_slot`.
    pub fn free_hibernation(&mut self, entry: SwpEntry) -> Result<()> {
        let (device, offset) = self.operation().resolve(entry, 1)?;
        if !device.hibernation.has(offset) {
            return Err(SwapError::NotHibernation(entry));
        }
        self.put(entry, 1)
    }
}

impl Swap {
    /// Drops one reference of each slot of a range. See [`OnCpu::put`].
    #[inline]
    pub fn put(&self, entry: SwpEntry, nr_pages: u32, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.put(entry, nr_pages)
    }

    /// Adds one reference to each slot of a range. See [`OnCpu::dup`].
    pub fn dup(&self, entry: SwpEntry, nr_pages: u32, cpu: CpuId) -> Result<()> {
        self.on_cpu(cpu)?.dup(entry, nr_pages)
    }

    /// Drops one reference of each slot of many runs. See [`OnCpu::put_batch`].
    ///
    /// Errors: `BadRange` (EINVAL) or `NoDevice` (ENOENT) of any run, with nothing changed; otherwise the error of
    /// the first run that fails, wrapped in `InBatch`, with all runs before that run handled.
    pub fn put_batch(&self, order: Order, entries: &[SwpEntry], cpu: CpuId) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        on_cpu.check_ranges(order, entries)?;
        let (nr_done, result) = on_cpu.put_batch(order, entries);
        result.map_err(|error| SwapError::InBatch { nr_done, error: Box::new(error) })
    }

    /// Adds one reference to every slot of many runs. Errors: as [`Swap::put_batch`]; the runs before the failed run
    /// keep their new references.
    pub fn dup_batch(&self, order: Order, entries: &[SwpEntry], cpu: CpuId) -> Result<()> {
        let mut on_cpu = self.on_cpu(cpu)?;
        on_cpu.check_ranges(order, entries)?;
        for (nr_done, &entry) in entries.iter().enumerate() {
            let result = on_cpu.dup(entry, order.nr_pages());
            result.map_err(|error| SwapError::InBatch { nr_done, error: Box::new(error) })?;
        }
        Ok(())
    }
}
