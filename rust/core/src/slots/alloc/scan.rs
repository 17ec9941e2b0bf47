//! The scan of one locked cluster for a free run.

use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{Order, SwpOffset};
use crate::cluster::ClusterGuard;
use crate::machine::Operation;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::slots::take_back::{ReclaimWhen, Reclaimed};
use crate::table::{EntryKind, SwapTable};

use super::Request;

/// The state of one range of slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Range {
    Free,
    /// The range has free slots and cached slots without references, and swap is full enough to take the cached slots
    /// back.
    NeedsReclaim,
    InUse,
}

impl Operation<'_> {
    /// Takes one run from a cluster, from `offset` upwards, and moves the cluster to the list where it belongs.
    /// Returns whether a run was taken. Kernel: `alloc_swap_scan_cluster`.
    pub(super) fn scan<'c>(
        &mut self,
        device: &'c SwapDevice,
        ci: ClusterGuard<'c>,
        offset: SwpOffset,
        request: &mut Request<'_>,
    ) -> bool {
        let (ci, found) = self.find_run(device, ci, offset, request.order);
        let Some(mut ci) = ci else {
            self.leave_position(device, request, None);
            return false;
        };
        let found = found.filter(|_| device.has(SwpFlags::WRITEOK));
        let next = found.and_then(|(table, at)| self.take_run(device, &mut ci, table, at, request));
        self.leave_cluster(device, &mut ci, request, next);
        found.is_some()
    }

    /// Relocates a cluster and stores where the next request of this order starts.
    pub(super) fn leave_cluster(
        &mut self,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        request: &mut Request<'_>,
        next: Option<SwpOffset>,
    ) {
        self.relocate(device, ci);
        self.leave_position(device, request, next);
    }

    /// Stores where the next request of this order starts.
    fn leave_position(&mut self, device: &SwapDevice, request: &mut Request<'_>, next: Option<SwpOffset>) {
        let next = next.unwrap_or(SwpOffset(0));
        if device.has(SwpFlags::SOLIDSTATE) {
            self.hints_at(device.is_virtual())[request.order.index()] = device.entry_at(next);
        } else {
            request.position = Some(next);
        }
    }

    /// Finds the first run at or above `start` that is free or can be freed. The search may drop the cluster lock for
    /// a while: the cluster comes back locked, or `None` when it is gone.
    fn find_run<'c>(
        &mut self,
        device: &'c SwapDevice,
        mut ci: ClusterGuard<'c>,
        start: SwpOffset,
        order: Order,
    ) -> (Option<ClusterGuard<'c>>, Option<(&'c SwapTable, SwpOffset)>) {
        let (base, nr_pages) = (ci.idx().base(), order.nr_pages());
        if ci.count() + nr_pages > SWAPFILE_CLUSTER {
            return (Some(ci), None);
        }
        let mut at = start.in_cluster() as u32;
        let Some(mut table) = ci.table() else { return (Some(ci), None) };
        if ci.count() == 0 {
            return (Some(ci), Some((table, start)));
        }
        while at + nr_pages <= SWAPFILE_CLUSTER {
            match self.look_at(device, table, at as usize, nr_pages) {
                Range::Free => return (Some(ci), Some((table, base.plus(at)))),
                Range::InUse => {}
                Range::NeedsReclaim => {
                    // The state of the cluster that was read before is void after the lock was dropped.
                    let again = ci.unlocked(|| self.reclaim_range(device, base.plus(at), nr_pages));
                    match again {
                        Some(again) if again.is_usable(order) => ci = again,
                        again => return (again, None),
                    }
                    if ci.count() == 0 {
                        at = 0;
                    }
                    table = ci.table().expect("a usable cluster has a table");
                    if table.is_null_run(at as usize, nr_pages as usize) {
                        return (Some(ci), Some((table, base.plus(at))));
                    }
                }
            }
            at += nr_pages;
        }
        (Some(ci), None)
    }

    #[inline]
    fn look_at(&self, device: &SwapDevice, table: &SwapTable, at: usize, nr_pages: u32) -> Range {
        let mut range = Range::Free;
        for slot in at..at + nr_pages as usize {
            let entry = table.get(slot);
            match entry.kind() {
                EntryKind::Null => {}
                EntryKind::Pfn if entry.is_cache_only() && self.takes_back(device) => range = Range::NeedsReclaim,
                EntryKind::Pointer if entry.is_cache_only_pointer() && self.takes_back(device) => {
                    range = Range::NeedsReclaim;
                }
                _ => return Range::InUse,
            }
        }
        range
    }

    /// Returns whether a scan takes cached slots without references back to make room: when swap is full. On a
    /// virtual device a scan never does, because the number of virtual slots is arbitrary.
    pub(super) fn takes_back(&self, device: &SwapDevice) -> bool {
        !device.is_virtual() && self.swap.vm_swap_full()
    }

    /// Takes the cached slots of a range back, and stops at the first slot that cannot be taken back. Kernel:
    /// `cluster_reclaim_range`.
    ///
    /// No cluster lock is held.
    fn reclaim_range(&mut self, device: &SwapDevice, first: SwpOffset, nr_pages: u32) {
        for offset in (first.0..first.0 + nr_pages).map(SwpOffset) {
            let entry = device.get(offset);
            if entry.count() != Some(0) && !entry.is_cache_only_pointer() {
                return;
            }
            if !entry.is_null()
                && let Reclaimed::Kept(_) = self.try_to_reclaim(device, offset, ReclaimWhen::Anyway)
            {
                return;
            }
        }
    }

    /// Writes the entries of a run and counts the run. Returns where the next request of the order starts, or `None`
    /// at the cluster's end. Kernel: `__swap_cluster_alloc_entries`.
    #[inline]
    fn take_run(
        &mut self,
        device: &SwapDevice,
        ci: &mut ClusterGuard<'_>,
        table: &SwapTable,
        at: SwpOffset,
        request: &mut Request<'_>,
    ) -> Option<SwpOffset> {
        let (slot, nr_pages) = (at.in_cluster(), request.order.nr_pages());
        let entry = device.entry_at(at);
        if ci.count() == 0 {
            ci.set_order(request.order);
        }
        if request.is_backing {
            table.fill_pointers(slot, nr_pages as usize, request.word);
        } else {
            ci.set_direct(true);
            table.fill(slot, nr_pages as usize, request.word);
        }
        if let Some(folio) = request.folio {
            folio.set_entry(entry);
        }
        if ci.add_count(nr_pages) {
            self.remove_full(device);
        }
        self.counters.add_inuse(device.ty(), nr_pages as i64);
        self.counters.count_runs(request.order, 1);
        request.push(entry);
        let fits = slot as u32 + 2 * nr_pages <= SWAPFILE_CLUSTER;
        (fits && ci.count() < SWAPFILE_CLUSTER).then(|| at.plus(nr_pages))
    }
}
