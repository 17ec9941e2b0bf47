//! A naive model of the slot allocator. The model stores lists as vectors and slots in a map, and uses neither bit
//! operations nor locks.
//!
//! The model is written from a description of the kernel's behaviour, not from the crate. The devices of the model
//! are solid-state block devices without discard. The model has no swap cache, so reclaim finds no cached slots and
//! only rotates the list of full clusters.

use std::collections::BTreeMap;

/// The number of slots in a cluster.
pub(crate) const C: u32 = 512;
/// The number of orders. The orders are 0 to 9.
pub(crate) const NR_ORDERS: usize = 10;

const BAD: u32 = u32::MAX;

/// The list that a cluster is on. `Off` means no list: a scan takes a cluster off its list while it scans the
/// cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    Off,
    Free,
    Nonfull(usize),
    Frag(usize),
    Full,
}

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    place: Place,
    order: usize,
    count: u32,
}

/// The model of a device that is on.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) prio: i32,
    pub(crate) pages: u32,
    pub(crate) max_pages: u32,
    pub(crate) inuse: u32,
    /// The reference count of each slot that is not free.
    pub(crate) slots: BTreeMap<u32, u32>,
    clusters: Vec<Cluster>,
    lists: BTreeMap<Place, Vec<u32>>,
}

impl Device {
    fn new(max_pages: u32, bad_pages: &[u32], prio: i32) -> Self {
        let nr_clusters = max_pages.div_ceil(C);
        let mut slots = BTreeMap::from([(0, BAD)]);
        slots.extend(bad_pages.iter().chain(&Vec::from_iter(max_pages..nr_clusters * C)).map(|&slot| (slot, BAD)));
        let mut device = Self {
            prio,
            pages: max_pages - 1 - bad_pages.len() as u32,
            max_pages,
            inuse: 0,
            clusters: vec![Cluster { place: Place::Off, order: 0, count: 0 }; nr_clusters as usize],
            lists: BTreeMap::new(),
            slots,
        };
        for c in 0..nr_clusters {
            device.clusters[c as usize].count = device.slots.range(c * C..(c + 1) * C).count() as u32;
            let is_clean = device.clusters[c as usize].count == 0;
            device.place(c, if is_clean { Place::Free } else { Place::Nonfull(0) });
        }
        device
    }

    fn is_full(&self) -> bool {
        self.inuse == self.pages
    }

    /// Moves a cluster to the end of the list `place`. If the cluster is on this list already, it keeps its position.
    fn place(&mut self, c: u32, place: Place) {
        let from = self.clusters[c as usize].place;
        if from == place {
            return;
        }
        self.lists.entry(from).or_default().retain(|&other| other != c);
        if place != Place::Off {
            self.lists.entry(place).or_default().push(c);
        }
        self.clusters[c as usize].place = place;
    }

    fn isolate(&mut self, place: Place) -> Option<u32> {
        let c = *self.lists.get(&place)?.first()?;
        self.place(c, Place::Off);
        Some(c)
    }

    fn is_usable(&self, c: u32, order: usize) -> bool {
        let cluster = &self.clusters[c as usize];
        !matches!(cluster.place, Place::Free | Place::Full)
            && (order == 0 || cluster.count == 0 || cluster.order == order)
    }

    /// Puts a cluster on the list that its number of slots in use selects, as the allocator does after a scan of the
    /// cluster.
    fn relocate(&mut self, c: u32) {
        let Cluster { count, order, .. } = self.clusters[c as usize];
        match count {
            0 => self.release(c),
            C => self.place(c, Place::Full),
            _ => self.place(c, Place::Frag(order)),
        }
    }

    fn release(&mut self, c: u32) {
        self.place(c, Place::Free);
        self.clusters[c as usize].order = 0;
    }

    /// Allocates the first free aligned run between `from` and the end of the cluster of `from`. Returns the first
    /// slot of the run, and the slot at which the next scan starts. Returns `None` if no run is free.
    fn scan(&mut self, from: u32, order: usize) -> Option<(u32, Option<u32>)> {
        let (c, nr) = (from / C, 1 << order);
        let end = (c + 1) * C;
        let starts = (from..).step_by(nr as usize).take_while(|start| start + nr <= end);
        let found = starts.into_iter().find(|&start| self.slots.range(start..start + nr).next().is_none());
        if let Some(start) = found {
            self.slots.extend((start..start + nr).map(|slot| (slot, 1)));
            let cluster = &mut self.clusters[c as usize];
            if cluster.count == 0 {
                cluster.order = order;
            }
            cluster.count += nr;
            self.inuse += nr;
        }
        let has_room = self.clusters[c as usize].count < C;
        self.relocate(c);
        found.map(|start| (start, Some(start + nr).filter(|next| has_room && next + nr <= end)))
    }

    fn free_slot(&mut self, slot: u32) {
        let c = slot / C;
        self.slots.remove(&slot);
        self.inuse -= 1;
        let cluster = &mut self.clusters[c as usize];
        cluster.count -= 1;
        let order = cluster.order;
        match cluster.count {
            0 => self.release(c),
            _ => self.place(c, Place::Nonfull(order)),
        }
    }

    /// Models the reclaim of cached slots in full clusters. The model has no cached slots, so each visited cluster
    /// only moves to the end of the list of full clusters.
    fn reclaim_full(&mut self, budget: u32) {
        for _ in 0..budget.max(1) {
            match self.isolate(Place::Full) {
                Some(c) => self.place(c, Place::Full),
                None => break,
            }
        }
    }

    /// Returns the clusters of every list that is not empty.
    pub(crate) fn lists(&self) -> Vec<(Place, Vec<u32>)> {
        self.lists
            .iter()
            .filter(|(place, list)| **place != Place::Off && !list.is_empty())
            .map(|(&place, list)| (place, list.clone()))
            .collect()
    }
}

/// The rules of the allocator that differ between the profiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// If true, devices without a priority get the priorities -2, -3 and so on. If false, all these devices get -1.
    pub(crate) descending: bool,
    /// If true, a hint that cannot be used is cleared, and the cluster of the hint moves to another list (E13), as in
    /// profile `series`.
    pub(crate) relocate: bool,
    /// If true, a queued reclaim worker runs at the end of the operation that queued it.
    pub(crate) inline: bool,
}

/// One machine's swap subsystem.
#[derive(Debug)]
pub(crate) struct Model {
    rules: Rules,
    pub(crate) devices: BTreeMap<u8, Device>,
    /// The types of the devices in the order in which an allocation tries them.
    pub(crate) avail: Vec<u8>,
    /// The hint of each CPU and order: a swap type and a slot.
    pub(crate) hints: Vec<[Option<(u8, u32)>; NR_ORDERS]>,
    work: Vec<u8>,
    least_priority: i32,
}

impl Model {
    pub(crate) fn new(nr_cpus: usize, rules: Rules) -> Self {
        Self {
            rules,
            devices: BTreeMap::new(),
            avail: Vec::new(),
            hints: vec![[None; NR_ORDERS]; nr_cpus],
            work: Vec::new(),
            least_priority: -1,
        }
    }

    pub(crate) fn nr_swap_pages(&self) -> u32 {
        self.devices.values().map(|device| device.pages - device.inuse).sum()
    }

    pub(crate) fn is_half_full(&self) -> bool {
        self.nr_swap_pages() * 2 < self.devices.values().map(|device| device.pages).sum()
    }

    fn list_avail(&mut self, ty: u8) {
        let prio = self.devices[&ty].prio;
        let at = self.avail.iter().filter(|other| self.devices[other].prio >= prio).count();
        self.avail.insert(at, ty);
    }

    pub(crate) fn swapon(&mut self, max_pages: u32, bad_pages: &[u32], priority: Option<i32>) -> u8 {
        let prio = priority.unwrap_or_else(|| {
            self.least_priority -= i32::from(self.rules.descending);
            self.least_priority
        });
        let ty = (0..).find(|ty| !self.devices.contains_key(ty)).expect("few devices");
        self.devices.insert(ty, Device::new(max_pages, bad_pages, prio));
        self.list_avail(ty);
        ty
    }

    pub(crate) fn swapoff(&mut self, ty: u8) {
        let gone = self.devices.remove(&ty).expect("a device that is on");
        self.avail.retain(|&other| other != ty);
        self.work.retain(|&other| other != ty);
        for hint in self.hints.iter_mut().flatten() {
            *hint = hint.filter(|(of, _)| *of != ty);
        }
        if self.rules.descending && gone.prio < 0 {
            self.least_priority += 1;
            self.devices.values_mut().filter(|device| device.prio < gone.prio).for_each(|device| device.prio += 1);
        }
    }

    /// Applies a swapoff that failed. The device is available again, behind the devices with the same priority.
    pub(crate) fn fail_swapoff(&mut self, ty: u8) {
        let before = self.avail.len();
        self.avail.retain(|&other| other != ty);
        if self.avail.len() < before {
            self.list_avail(ty);
        }
    }

    pub(crate) fn alloc(&mut self, order: usize, cpu: usize) -> Option<(u8, u32)> {
        let found = self.alloc_by_hint(order, cpu).or_else(|| self.alloc_by_device(order, cpu));
        if self.rules.inline {
            self.run_workers();
        }
        found
    }

    fn alloc_by_hint(&mut self, order: usize, cpu: usize) -> Option<(u8, u32)> {
        let (ty, slot) = self.hints[cpu][order]?;
        let device = self.devices.get_mut(&ty).expect("a swapoff clears the hints at its device");
        if device.is_usable(slot / C, order) {
            return self.scan(ty, slot, order, cpu);
        }
        if self.rules.relocate {
            device.relocate(slot / C);
            self.hints[cpu][order] = None;
        }
        None
    }

    fn alloc_by_device(&mut self, order: usize, cpu: usize) -> Option<(u8, u32)> {
        for ty in self.avail.clone() {
            self.avail.retain(|&other| other != ty);
            self.list_avail(ty);
            let found = self.search(ty, order, cpu);
            // The allocation of a large folio tries one device only.
            if found.is_some() || order > 0 {
                return found;
            }
        }
        None
    }

    fn search(&mut self, ty: u8, order: usize, cpu: usize) -> Option<(u8, u32)> {
        let from = |model: &mut Self, place, most: usize| {
            for _ in 0..most {
                let c = model.devices.get_mut(&ty)?.isolate(place)?;
                if let found @ Some(_) = model.scan(ty, c * C, order, cpu) {
                    return found;
                }
            }
            None
        };
        let has_lists = order + 1 < NR_ORDERS;
        let all = self.devices[&ty].clusters.len();
        if has_lists && let found @ Some(_) = from(self, Place::Nonfull(order), all) {
            return found;
        }
        if let found @ Some(_) = from(self, Place::Free, 1) {
            return found;
        }
        if self.is_half_full() {
            self.devices.get_mut(&ty)?.reclaim_full(1);
        }
        if has_lists && let found @ Some(_) = from(self, Place::Frag(order), 1) {
            return found;
        }
        let others = (1..NR_ORDERS).filter(|_| order == 0).flat_map(|o| [Place::Frag(o), Place::Nonfull(o)]);
        others.into_iter().find_map(|place| from(self, place, all))
    }

    fn scan(&mut self, ty: u8, from: u32, order: usize, cpu: usize) -> Option<(u8, u32)> {
        let was_half_full = self.is_half_full();
        let device = self.devices.get_mut(&ty)?;
        let found = device.scan(from, order);
        self.hints[cpu][order] = found.and_then(|(_, next)| next).map(|next| (ty, next));
        if found.is_some() && device.is_full() {
            self.avail.retain(|&other| other != ty);
            // The worker is queued if swap was half full before this allocation, so `was_half_full` is read above.
            if was_half_full && !self.work.contains(&ty) {
                self.work.push(ty);
            }
        }
        found.map(|(slot, _)| (ty, slot))
    }

    pub(crate) fn run_workers(&mut self) {
        for ty in std::mem::take(&mut self.work) {
            let device = self.devices.get_mut(&ty).expect("a swapoff removes the work of its device");
            device.reclaim_full(device.inuse / C);
        }
    }

    /// Returns whether every slot of a range has a reference.
    pub(crate) fn is_referenced(&self, ty: u8, first: u32, nr: u32) -> bool {
        let slots = &self.devices[&ty].slots;
        (first..first + nr).all(|slot| slots.get(&slot).is_some_and(|&count| count != BAD))
    }

    /// Drops one reference of each slot of a range.
    pub(crate) fn put(&mut self, ty: u8, first: u32, nr: u32) {
        for slot in first..first + nr {
            let device = self.devices.get_mut(&ty).expect("a device that is on");
            let count = device.slots.get_mut(&slot).expect("a slot in use");
            *count -= 1;
            if *count == 0 {
                let was_full = device.is_full();
                device.free_slot(slot);
                if was_full {
                    self.list_avail(ty);
                }
            }
        }
    }

    /// Adds one reference to each slot of a range.
    pub(crate) fn dup(&mut self, ty: u8, first: u32, nr: u32) {
        let slots = &mut self.devices.get_mut(&ty).expect("a device that is on").slots;
        slots.range_mut(first..first + nr).for_each(|(_, count)| *count += 1);
    }
}
