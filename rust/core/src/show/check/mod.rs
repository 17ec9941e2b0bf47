//! [`Swap::check`] checks every numbered invariant, at any time. `docs/invariants.md` explains each invariant.

mod memcg;
mod virtuals;
mod zswap;

use std::collections::HashSet;

use crate::base::error::{Result, SwapError};
use crate::base::limits::{SWAPFILE_CLUSTER, SWP_TB_COUNT_MAX};
use crate::base::sync::SpinGuard;
use crate::base::types::{ClusterIdx, CssId, Order, SwpEntry};
use crate::cluster::{ClusterFlag, ClusterGuard, ListId};
use crate::folio::FolioFlags;
use crate::machine::device::{SwapDevice, SwpFlags};
use crate::machine::{CpuLocal, DeviceTable, Hints, Swap};
use crate::table::{EntryKind, SwapTableEntry};
use crate::workingset::Lruvec;

/// Every invariant with its description in one line.
pub const INVARIANTS: [(&str, &str); 23] = [
    ("I1", "a cluster is on exactly the list its flag and order name, and on none when isolated"),
    ("I2", "a cluster's count is the number of its entries that are not NULL, bad ones included"),
    ("I3", "a cluster has a table exactly when it is not free; a waiting discard keeps an all-NULL table"),
    ("I4", "an empty cluster has order 0, and a cluster with bad slots always has order 0"),
    ("I5", "the counters and the tables of a device give the same number of slots in use"),
    ("I6", "nr_swap_pages is the number of free slots of all enabled devices below their limits"),
    ("I7", "a hint is empty, or an aligned place inside a cluster with room for a run of the hint's order"),
    ("I8", "a slot without references is free or cached"),
    ("I9", "a count has a cell in an extend table exactly when the count is over 14"),
    ("I10", "a cached entry names a folio that owns the slot, and a cached folio owns each of its slots"),
    ("I11", "a device is tried exactly when it is enabled and not full"),
    ("I12", "no two clusters share a table, attached tables are counted, and an index names live clusters only"),
    ("I13", "a folio is marked as cached exactly while its slots hold it, and is up to date when it is dirty"),
    ("I14", "a cached folio has a reference for each of its pages and each of its mappings"),
    ("I15", "an LRU list links the pages that it counts, of folios whose flags name that list"),
    ("I16", "swap usage of a group (memsw on v1) is what the group and all groups below own, and never fell below 0"),
    ("I17", "memory usage of a group is the pages that are charged to the group and to all groups below"),
    ("I18", "MEMCG_SWAP of a group is the number of slots that the group itself owns, and every owner is a group"),
    ("I19", "the id of a group is pinned once while the group is online, and once by each slot that records the id"),
    ("I20", "a cached folio has a group, and swapcached of a group is its cached pages"),
    ("I21", "the slot of each zswap entry names the entry, and entries, groups and pools agree on the bytes"),
    ("I22", "the virtual word of a slot agrees with the slot's entry, and the data of a swapped-out slot has a place"),
    ("I23", "a real slot and the virtual slot on it name each other, and agree on whether only the cache has the page"),
];

fn broken(number: &str, what: String) -> SwapError {
    SwapError::Invariant(format!("{number} is broken: {what}"))
}

fn ensure(holds: bool, number: &str, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(broken(number, what())) }
}

impl Swap {
    /// Checks every invariant while no operation runs and every CPU is stopped. Waits for the operations that run.
    ///
    /// Errors: `Invariant`, which names the first broken invariant; `CheckInOperation` (EBUSY) inside an operation of
    /// this thread. Locks: the caller holds no lock. The check takes `swap_lock` and every CPU's local lock, and then
    /// cluster locks, list locks and LRU locks one at a time.
    pub fn check(&self) -> Result<()> {
        let gate = self.memory_of_folios().activity();
        let _paused = gate.pause().ok_or(SwapError::CheckInOperation)?;
        loop {
            let nr_frees = gate.frees();
            let result = self.check_paused();
            // A thread that drops the last reference to a folio outside an operation changes charges and LRU lists
            // during the walk, so an error of such a walk says nothing.
            if result.is_ok() || (nr_frees.is_some() && gate.frees() == nr_frees) {
                return result;
            }
        }
    }

    /// Checks every invariant. No operation runs.
    fn check_paused(&self) -> Result<()> {
        let active = self.active();
        let locals = self.locals.lock_all();
        let devices: Vec<&SwapDevice> = active.devices.iter().flatten().map(|device| &**device).collect();
        let mut cached_pages = 0;
        for device in &devices {
            cached_pages += self.check_device(device, &active.devices)?;
        }
        ensure(cached_pages == self.nr_swapcache_pages(), "I10", || {
            format!("{cached_pages} entries are cached, {} are counted", self.nr_swapcache_pages())
        })?;
        let free_pages = |device: &&SwapDevice| {
            // A device that swapoff empties has no free slots. The slots in use of such a device count as negative,
            // as in `Swap::nr_swap_pages`.
            let pages = if device.has(SwpFlags::WRITEOK) { device.pages() } else { 0 };
            let closed = if device.has(SwpFlags::WRITEOK) { device.closed_free_pages() } else { 0 };
            i64::from(pages) - closed - self.inuse_pages(device.ty()) as i64
        };
        let free: i64 = devices.iter().filter(|device| device.is_counted()).map(free_pages).sum();
        ensure(self.nr_swap_pages() == free, "I6", || {
            format!("nr_swap_pages {} but {free} slots are free", self.nr_swap_pages())
        })?;
        self.check_lists()?;
        for (cpu, local) in locals.iter().enumerate() {
            check_hints(cpu, local, &local.hints.ordinary, |device| !device.is_virtual())?;
            check_hints(cpu, local, &local.hints.virtuals, SwapDevice::is_virtual)?;
            for (ty, hints) in local.hints.named().iter().enumerate() {
                check_hints(cpu, local, hints, |device| device.ty().index() == ty)?;
            }
        }
        self.check_zswap(&active.devices)?;
        self.check_memcg(&devices)?;
        let avail = self.avail.lock();
        for device in &devices {
            let list = if device.is_virtual() { &avail.virtuals } else { &avail.list };
            let is_listed = list.iter().any(|ty| ty == device.ty());
            let is_full = self.inuse_pages(device.ty()) == device.pages() as u64;
            ensure(is_listed == (device.has(SwpFlags::WRITEOK) && !is_full), "I11", || {
                format!("type {} listed {is_listed}, full {is_full}", device.ty().0)
            })?;
        }
        Ok(())
    }

    /// Checks the LRU lists of every group in turn. Locks: the LRU list lock of one group at a time.
    fn check_lists(&self) -> Result<()> {
        let check = |lruvec: &Lruvec| self.memory_of_folios().check_lru(lruvec).map_err(|what| broken("I15", what));
        match self.memcg() {
            Some(groups) => groups.subtree(CssId::ROOT).into_iter().try_for_each(|css| check(groups.get(css).lruvec())),
            None => check(self.memory_of_folios().lruvec()),
        }
    }

    /// Checks one device. Returns the number of cached entries of the device.
    fn check_device(&self, device: &SwapDevice, devices: &DeviceTable) -> Result<u64> {
        let (mut nr_used, mut nr_cached, mut nr_full) = (0u64, 0, 0);
        let mut tables = HashSet::new();
        let mut expected: Vec<(ListId, HashSet<ClusterIdx>)> = ListId::all().map(|id| (id, HashSet::new())).collect();
        // The loop visits only clusters that exist and were used, because other clusters have no entries. A loop over
        // all cluster records, up to half a million, would also load all these records into memory.
        for idx in device.clusters.live() {
            let ci = device.clusters.lock(idx);
            ensure(ci.is_some() && idx.0 < device.clusters.len(), "I12", || {
                format!("{idx} of type {} has no record, or lies beyond the end", device.ty().0)
            })?;
            let ci = ci.expect("checked");
            if let Some(list) = ListId::of(ci.flag(), ci.order()) {
                let (_, members) = expected.iter_mut().find(|(id, _)| *id == list).expect("every list is there");
                members.insert(idx);
            }
            if let Some(number) = ci.table_number() {
                ensure(tables.insert(number), "I12", || format!("{idx} shares table {number}"))?;
            }
            nr_full += u32::from(ci.count() == SWAPFILE_CLUSTER);
            nr_used += ci.count() as u64;
            nr_cached += self.check_cluster(device, &ci, devices)?;
        }
        for (list, members) in expected {
            check_list(device, list, &members)?;
        }
        let inuse = nr_used.saturating_sub(device.nr_bad().into());
        ensure(self.inuse_pages(device.ty()) == inuse, "I5", || {
            format!("type {}: counters say {} in use, tables {inuse}", device.ty().0, self.inuse_pages(device.ty()))
        })?;
        ensure(device.clusters.are_all_full() == (nr_full == device.clusters.len()), "I11", || {
            format!("type {}: {nr_full} of {} clusters are full", device.ty().0, device.clusters.len())
        })?;
        ensure(inuse <= device.pages().into(), "I5", || {
            format!("type {}: {inuse} in use of {} pages", device.ty().0, device.pages())
        })?;
        let (attached, _) = device.clusters.nr_tables();
        ensure(attached as usize == tables.len(), "I12", || {
            format!("type {}: {attached} tables counted, {} attached", device.ty().0, tables.len())
        })?;
        Ok(nr_cached)
    }

    /// Checks the entries of one cluster. Returns the number of cached entries of the cluster.
    fn check_cluster(&self, device: &SwapDevice, ci: &ClusterGuard<'_>, devices: &DeviceTable) -> Result<u64> {
        let at = || format!("{} of type {}", ci.idx(), device.ty().0);
        let (flag, count) = (ci.flag(), ci.count());
        let may_be_unlisted = device.clusters.is_dynamic() && ci.idx() == ClusterIdx(0);
        ensure(flag != ClusterFlag::None || may_be_unlisted, "I1", || format!("{} is on no list", at()))?;
        let Some(table) = ci.table() else {
            ensure(flag == ClusterFlag::Free, "I3", || format!("{} is {} without a table", at(), flag.name()))?;
            return ensure(count == 0, "I2", || format!("{} counts {count} without a table", at())).map(|()| 0);
        };
        ensure(flag != ClusterFlag::Free, "I3", || format!("{} is free with a table", at()))?;
        let (mut nr_used, mut nr_cached, mut has_bad, mut has_extended) = (0, 0, false, false);
        for (slot, entry) in table.iter().enumerate() {
            nr_used += u32::from(!entry.is_null());
            nr_cached += u64::from(entry.is_cached());
            has_bad |= entry.kind() == EntryKind::Bad;
            has_extended |= entry.count() == Some(SWP_TB_COUNT_MAX);
            let swp = device.entry_at(ci.idx().base().plus(slot as u32));
            self.check_entry(ci, slot, swp, entry)?;
            if device.is_virtual() {
                virtuals::check_backing(swp, entry, ci.virtual_word(slot), devices)?;
            }
            virtuals::check_pointer(swp, entry, devices)?;
        }
        ensure(nr_used == count, "I2", || format!("{} counts {count}, {nr_used} entries are in use", at()))?;
        ensure((count == 0) == (flag == ClusterFlag::Discard), "I1", || {
            format!("{} counts {count} and is {}", at(), flag.name())
        })?;
        ensure((count == SWAPFILE_CLUSTER) <= matches!(flag, ClusterFlag::Full | ClusterFlag::Nonfull), "I1", || {
            format!("{} has no free slot and is {}", at(), flag.name())
        })?;
        ensure(flag != ClusterFlag::Full || count == SWAPFILE_CLUSTER || ci.is_closed(), "I1", || {
            format!("{} is full with {count} slots in use", at())
        })?;
        ensure(!has_bad || ci.order() == Order::ZERO, "I4", || format!("{} has bad slots and {}", at(), ci.order()))?;
        ensure(has_extended == ci.extend().has(ci.idx()), "I9", || format!("{} has a stray extend table", at()))?;
        Ok(nr_cached)
    }

    fn check_entry(&self, ci: &ClusterGuard<'_>, slot: usize, swp: SwpEntry, entry: SwapTableEntry) -> Result<()> {
        ensure(entry.kind() != EntryKind::Shadow || entry.count() != Some(0), "I8", || {
            format!("{swp} is swapped out without a reference")
        })?;
        let cell = ci.extend().count(ci.idx(), slot);
        let is_extended = entry.count() == Some(SWP_TB_COUNT_MAX);
        let fits = if is_extended { cell >= SWP_TB_COUNT_MAX as u32 } else { cell == 0 };
        ensure(fits, "I9", || format!("{swp} has inline count {:?} and extend cell {cell}", entry.count()))?;
        if let Some(pfn) = entry.pfn() {
            let folio = self.memory_of_folios().folio(pfn);
            ensure(folio.covers(swp), "I10", || format!("{swp} names a foreign folio"))?;
            let flags = folio.flags();
            ensure(flags.contains(FolioFlags::SWAPCACHE), "I13", || {
                format!("{swp}: {folio:?} is not marked as cached")
            })?;
            let is_sound = !flags.contains(FolioFlags::DIRTY) || flags.contains(FolioFlags::UPTODATE);
            ensure(is_sound, "I13", || format!("{swp}: {folio:?} is dirty and not up to date"))?;
            ensure(folio.refs() >= folio.nr_pages() + folio.mapcount(), "I14", || {
                format!("{swp}: {folio:?} lacks references for {} mappings", folio.mapcount())
            })?;
        }
        Ok(())
    }
}

fn check_list(device: &SwapDevice, list: ListId, members: &HashSet<ClusterIdx>) -> Result<()> {
    let linked = device.clusters.linked(list);
    let distinct: HashSet<_> = linked.iter().copied().collect();
    ensure(distinct.len() == linked.len() && distinct == *members, "I1", || {
        format!("type {}: {list:?} links {linked:?}, flags say {members:?}", device.ty().0)
    })
}

/// Checks the hints of one kind of request. `may_serve` returns whether a device may serve such a request.
fn check_hints(
    cpu: usize,
    local: &SpinGuard<'_, CpuLocal>,
    hints: &Hints,
    may_serve: impl Fn(&SwapDevice) -> bool,
) -> Result<()> {
    for (order, hint) in Order::all().zip(hints) {
        let slot = hint.offset().in_cluster() as u32;
        if hint.offset().0 == 0 {
            continue;
        }
        let fits = slot.is_multiple_of(order.nr_pages()) && slot + order.nr_pages() <= SWAPFILE_CLUSTER;
        let mut device = local.devices[hint.ty().index()].iter().filter(|device| may_serve(device));
        let is_on = device.any(|device| hint.offset().cluster().0 < device.clusters.len());
        ensure(fits && is_on, "I7", || format!("cpu {cpu} {order}: hint {hint}"))?;
    }
    Ok(())
}
