//! The search for a free run on one device. The search tries the device's lists of clusters in a fixed order, because
//! this order decides the slot of a run. It locks one cluster at a time and scans this cluster for a free run.

use super::Request;
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{Order, SwpOffset};
use crate::cluster::{ClusterGuard, ListId};
use crate::machine::Operation;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::machine::profile::{FirstSearch, GhostLargeOrders};
use crate::slots::take_back::{Budget, ReclaimWhen, Reclaimed};
use crate::table::{EntryKind, SwapTable};

/// The state of one range of slots in a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Range {
    Free,
    /// The range has cached slots without references, and swap is so full that the scan may free these slots. The
    /// other slots of the range are free.
    NeedsReclaim,
    InUse,
}

impl Operation<'_> {
    /// Allocates runs of a request from one device. Kernel: `cluster_alloc_swap_entry`.
    pub(super) fn cluster_alloc(&mut self, device: &SwapDevice, request: &mut Request<'_>) -> bool {
        if request.order != Order::ZERO && !self.takes_large_orders(device) {
            return false;
        }
        if device.has(SwpFlags::SOLIDSTATE) {
            return self.search(device, request);
        }
        // SEARCH2: the search on a rotational device starts at the position that the device stores for the order.
        // Kernel: `global_cluster_lock`, which is held during the whole search.
        let mut positions = device.next.lock();
        let position = &mut positions[request.order.index()];
        let at_position = *position != 0 && self.alloc_at(device, SwpOffset(*position), request);
        let is_served = at_position || self.search(device, request);
        if let Some(next) = request.position.take() {
            *position = next.0;
        }
        is_served
    }

    /// Returns whether the device accepts requests of orders above 0. Step SEARCH1.
    fn takes_large_orders(&self, device: &SwapDevice) -> bool {
        let is_refused = self.swap.switches.ghost_large_orders == GhostLargeOrders::Refused;
        device.has(SwpFlags::BLKDEV) || device.is_virtual() || (device.is_ghost() && !is_refused)
    }

    /// Tries the device's lists of clusters in the order of steps SEARCH3 to SEARCH10. The order decides the slot of
    /// a run.
    fn search(&mut self, device: &SwapDevice, request: &mut Request<'_>) -> bool {
        let order = request.order;
        let free_first = device.has(SwpFlags::PAGE_DISCARD) || self.swap.switches.first_search == FirstSearch::Free;
        // SEARCH3: free clusters that need no discard before use.
        if free_first && self.scan_whole(device, device.clusters.isolate(ListId::Free), request) {
            return true;
        }
        // SEARCH4: all partly used clusters of the order.
        if order < Order::MAX && self.alloc_all(device, ListId::Nonfull(order), request) {
            return true;
        }
        // SEARCH5: a new cluster of a dynamic device, with the lowest free number. Kernel: `alloc_swap_scan_dynamic`.
        if device.clusters.is_dynamic() && self.scan_whole(device, device.new_cluster(), request) {
            return true;
        }
        // SEARCH6: a free cluster, unless SEARCH3 has tried the free clusters.
        if !free_first && self.scan_whole(device, device.clusters.isolate(ListId::Free), request) {
            return true;
        }
        // SEARCH7: one full cluster gives up its cached slots without references. Later requests use these slots, not
        // this request.
        if self.takes_back(device) {
            self.reclaim_full(device, Budget::One);
        }
        // SEARCH8: the first cluster of the order's frag list.
        if order < Order::MAX && self.scan_whole(device, device.clusters.isolate(ListId::Frag(order)), request) {
            return true;
        }
        // SEARCH9: a request of an order above 0 fails. SEARCH10: a request of order 0 may use a cluster of any order
        // on the frag and nonfull lists.
        order == Order::ZERO
            && Order::all().skip(1).any(|o| {
                self.alloc_all(device, ListId::Frag(o), request) || self.alloc_all(device, ListId::Nonfull(o), request)
            })
    }

    /// Tries a cluster from its first slot on. Returns whether a run was taken; the result is false when `ci` is
    /// `None`.
    fn scan_whole(&mut self, device: &SwapDevice, ci: Option<ClusterGuard<'_>>, request: &mut Request<'_>) -> bool {
        let Some(ci) = ci else { return false };
        let base = ci.idx().base();
        self.scan(device, ci, base, request)
    }

    /// Scans the clusters of a list one after the other. Stops early when the device is being turned off, because a
    /// scan of such a device always fails.
    fn alloc_all(&mut self, device: &SwapDevice, list: ListId, request: &mut Request<'_>) -> bool {
        while device.has(SwpFlags::WRITEOK) {
            let Some(ci) = device.clusters.isolate(list) else { return false };
            let base = ci.idx().base();
            if self.scan(device, ci, base, request) {
                return true;
            }
        }
        false
    }

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

    /// Moves a cluster to the list where it belongs, and stores the offset from which the next request of this order
    /// starts.
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

    /// Stores the offset from which the next request of this order starts.
    fn leave_position(&mut self, device: &SwapDevice, request: &mut Request<'_>, next: Option<SwpOffset>) {
        let next = next.unwrap_or(SwpOffset(0));
        if device.has(SwpFlags::SOLIDSTATE) {
            self.hints_of(device, request)[request.order.index()] = device.entry_at(next);
        } else {
            request.position = Some(next);
        }
    }

    /// Finds the first run at or above `start` that is free or can be made free. The search may drop the cluster lock
    /// for some time. The returned cluster is locked; it is `None` when the cluster was destroyed while its lock was
    /// dropped.
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
                    // The cluster may have changed while its lock was dropped, so its state is read again.
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

    /// Returns whether a scan may free cached slots without references. On an ordinary device the result is true when
    /// swap is more than half full. On a virtual device a scan never frees such slots, because the number of virtual
    /// slots is arbitrary.
    pub(super) fn takes_back(&self, device: &SwapDevice) -> bool {
        !device.is_virtual() && self.swap.vm_swap_full()
    }

    /// Frees the cached slots without references in a range, and stops at the first slot that cannot be freed.
    /// Kernel: `cluster_reclaim_range`.
    ///
    /// The caller holds no cluster lock.
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

    /// Writes the table entries of a run and adds the run to the usage counts. Returns the offset from which the next
    /// request of the order starts, or `None` at the end of the cluster. Kernel: `__swap_cluster_alloc_entries`.
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
