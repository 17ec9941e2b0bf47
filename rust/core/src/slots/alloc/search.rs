//! The search for a cluster on one device: the lists, in the order that decides placement.

use crate::base::types::{Order, SwpOffset};
use crate::cluster::ListId;
use crate::machine::Operation;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::machine::profile::{FirstSearch, GhostLargeOrders};
use crate::slots::take_back::Budget;

use super::Request;

impl Operation<'_> {
    /// Serves a request from one device. Kernel: `cluster_alloc_swap_entry`.
    pub(super) fn cluster_alloc(&mut self, device: &SwapDevice, request: &mut Request<'_>) -> bool {
        if request.order != Order::ZERO && !self.takes_large_orders(device) {
            return false;
        }
        if device.has(SwpFlags::SOLIDSTATE) {
            return self.search(device, request);
        }
        // SEARCH2. Kernel: `global_cluster_lock`, which is held over the whole search.
        let mut positions = device.next.lock();
        let position = &mut positions[request.order.index()];
        let at_position = *position != 0 && self.alloc_at(device, SwpOffset(*position), request);
        let is_served = at_position || self.search(device, request);
        if let Some(next) = request.position.take() {
            *position = next.0;
        }
        is_served
    }

    /// Returns whether the device takes requests of large orders. Step SEARCH1.
    fn takes_large_orders(&self, device: &SwapDevice) -> bool {
        let is_refused = self.swap.switches.ghost_large_orders == GhostLargeOrders::Refused;
        device.has(SwpFlags::BLKDEV) || device.is_virtual() || (device.is_ghost() && !is_refused)
    }

    /// Tries the lists in the order that decides placement: steps SEARCH3 to SEARCH10.
    fn search(&mut self, device: &SwapDevice, request: &mut Request<'_>) -> bool {
        let order = request.order;
        let free_first = device.has(SwpFlags::PAGE_DISCARD) || self.swap.switches.first_search == FirstSearch::Free;
        // SEARCH3: free clusters that need no discard before use.
        if free_first && self.alloc_one(device, ListId::Free, request) {
            return true;
        }
        // SEARCH4: all partly used clusters of the order.
        if order < Order::MAX && self.alloc_all(device, ListId::Nonfull(order), request) {
            return true;
        }
        // SEARCH5: a new cluster of a dynamic device.
        if device.clusters.is_dynamic() && self.alloc_dynamic(device, request) {
            return true;
        }
        // SEARCH6: a free cluster, when partly used clusters were tried first.
        if !free_first && self.alloc_one(device, ListId::Free, request) {
            return true;
        }
        // SEARCH7: a pass over full clusters, which frees slots for later requests and not for this one.
        if self.takes_back(device) {
            self.reclaim_full(device, Budget::One);
        }
        // SEARCH8: the first fragmented cluster of the order.
        if order < Order::MAX && self.alloc_one(device, ListId::Frag(order), request) {
            return true;
        }
        // SEARCH9 and SEARCH10: a single page may go into a partly used or fragmented cluster of any order.
        order == Order::ZERO
            && Order::all().skip(1).any(|o| {
                self.alloc_all(device, ListId::Frag(o), request) || self.alloc_all(device, ListId::Nonfull(o), request)
            })
    }

    /// Tries a new cluster with the lowest free number. Kernel: `alloc_swap_scan_dynamic`.
    fn alloc_dynamic(&mut self, device: &SwapDevice, request: &mut Request<'_>) -> bool {
        let Some(ci) = device.new_cluster() else { return false };
        let base = ci.idx().base();
        self.scan(device, ci, base, request)
    }

    /// Tries the first cluster of a list.
    fn alloc_one(&mut self, device: &SwapDevice, list: ListId, request: &mut Request<'_>) -> bool {
        let Some(ci) = device.clusters.isolate(list) else { return false };
        let base = ci.idx().base();
        self.scan(device, ci, base, request)
    }

    /// Tries the clusters of a list one after the other. Stops early when the device is being turned off, because
    /// every scan would fail.
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
}
