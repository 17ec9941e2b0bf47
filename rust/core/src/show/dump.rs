//! Reports of the state that decides where the allocator places a run of slots: cluster lists, hints of CPUs, start
//! slots of searches on rotational devices, and swap tables.

use std::sync::Arc;

use crate::base::limits::{SWAP_NR_ORDERS, SWAPFILE_CLUSTER};
use crate::base::types::{ClusterIdx, Order, SwpEntry, SwpOffset, SwpType};
use crate::cluster::{ClusterFlag, ListId};
use crate::machine::Swap;
use crate::machine::device::SwapDevice;
use crate::table::EntryKind;

/// The cluster lists of one device, and the slots at which the next searches on the device start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceDump {
    /// The number of the device.
    pub ty: SwpType,
    /// The priority of the device.
    pub prio: i32,
    /// Number of slots in use.
    pub inuse_pages: u64,
    /// Every cluster list that is not empty, with the clusters of the list from head to tail.
    pub lists: Vec<(ListId, Vec<ClusterIdx>)>,
    /// Slot at which a search on a rotational device starts, by order. The number 0 means no slot.
    pub next: [u32; SWAP_NR_ORDERS],
    /// The hints of every CPU for requests that name this device, by order; `SwpEntry::NONE` means no hint. Such
    /// requests come from a group whose policy table has a device list, and from a move of data to this device.
    pub named_hints: Vec<[SwpEntry; SWAP_NR_ORDERS]>,
}

/// The state of one cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterInfo {
    /// The cluster's number.
    pub idx: ClusterIdx,
    /// Number of slots in use, bad slots included.
    pub count: u32,
    /// The list that the cluster is on.
    pub flag: ClusterFlag,
    /// The order of the runs of slots that the cluster serves.
    pub order: Order,
}

impl Swap {
    /// Returns, for every device that is on, its lists of clusters and the slots at which the next searches start.
    pub fn dump_devices(&self) -> Vec<DeviceDump> {
        let dump = |device: &Arc<SwapDevice>| DeviceDump {
            ty: device.ty(),
            prio: device.prio(),
            inuse_pages: self.inuse_pages(device.ty()),
            lists: ListId::all()
                .map(|id| (id, device.clusters.list(id)))
                .filter(|(_, list)| !list.is_empty())
                .collect(),
            next: *device.next.lock(),
            named_hints: self.dump_named_hints(device.ty()),
        };
        self.active().devices.iter().flatten().map(dump).collect()
    }

    /// Returns the hints of every CPU, by order: the slots at which the next searches of devices that are not virtual
    /// start. `SwpEntry::NONE` means no hint.
    pub fn dump_hints(&self) -> Vec<[SwpEntry; SWAP_NR_ORDERS]> {
        let mut hints = Vec::with_capacity(self.nr_cpus());
        self.locals.for_each(|local| hints.push(local.hints.ordinary));
        hints
    }

    /// Returns the hints of every CPU, by order: the slots at which the next searches of virtual devices start.
    /// `SwpEntry::NONE` means no hint.
    pub fn dump_virtual_hints(&self) -> Vec<[SwpEntry; SWAP_NR_ORDERS]> {
        let mut hints = Vec::with_capacity(self.nr_cpus());
        self.locals.for_each(|local| hints.push(local.hints.virtuals));
        hints
    }

    fn dump_named_hints(&self, ty: SwpType) -> Vec<[SwpEntry; SWAP_NR_ORDERS]> {
        let mut hints = Vec::with_capacity(self.nr_cpus());
        let none = [SwpEntry::NONE; SWAP_NR_ORDERS];
        self.locals.for_each(|local| hints.push(local.hints.named().get(ty.index()).copied().unwrap_or(none)));
        hints
    }

    /// Returns the types of the available devices, in the order in which an allocation for a folio tries the devices.
    /// Virtual devices come first.
    pub fn dump_avail(&self) -> Vec<SwpType> {
        self.avail.lock().in_order()
    }
}

impl SwapDevice {
    /// Returns the clusters of the device in ascending order. For a dynamic device, the function returns only the
    /// clusters that exist at the time of the call.
    pub fn cluster_infos(&self) -> impl Iterator<Item = ClusterInfo> {
        let nr_fixed = if self.clusters.is_dynamic() { 0 } else { self.clusters.len() };
        let fixed = (0..nr_fixed).map(ClusterIdx);
        let dynamic = self.clusters.is_dynamic().then(|| self.clusters.live()).into_iter().flatten();
        fixed.chain(dynamic).filter_map(|idx| {
            if self.clusters.is_untouched(idx) {
                return Some(ClusterInfo { idx, count: 0, flag: ClusterFlag::Free, order: Order::ZERO });
            }
            let ci = self.clusters.lock(idx)?;
            Some(ClusterInfo { idx, count: ci.count(), flag: ci.flag(), order: ci.order() })
        })
    }

    /// Returns every slot that is not free, bad slots included, with its kind, in ascending order. The function reads
    /// the slots without locks. The cost grows with the number of clusters that exist, not with the size of the
    /// device.
    pub fn slot_kinds(&self) -> impl Iterator<Item = (SwpOffset, EntryKind)> {
        let max_pages = self.max_pages();
        let slots = |idx: ClusterIdx| (0..SWAPFILE_CLUSTER).map(move |slot| idx.base().plus(slot));
        let within = move |offset: &SwpOffset| offset.0 < max_pages;
        let kinds = self.clusters.live().flat_map(slots).filter(within).map(|offset| (offset, self.get(offset).kind()));
        kinds.filter(|(_, kind)| *kind != EntryKind::Null)
    }
}
