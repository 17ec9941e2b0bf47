//! Clusters: 512 slots under one lock, with the lists of a device that hold them.
//!
//! `SwapCluster` is plain atomics so that half a million of them can start as untouched zero pages; its lock makes them
//! consistent, and `ClusterGuard` is the only way to change one.
//!
//! On a dynamic device clusters come and go: the index says which there are. A record then has the number of its table,
//! both from one pool, and stays mapped as long as the device: who comes late to one finds it dead, or another's.

mod guard;
mod index;
#[cfg(test)]
mod index_model;
mod list;

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

use bytemuck::Zeroable;

use crate::base::error::Result;
use crate::base::limits::{MAX_DEVICE_CLUSTERS, SWAPFILE_CLUSTER};
use crate::base::sync::{SpinMutex, SpinWord};
use crate::base::types::{ClusterIdx, Order, SwpOffset};
use crate::base::words::words;
use crate::base::zeroed::{MappedSlice, page_bytes};
use crate::table::{ExtendTables, Holder, OwnerForm, Owners, SwapTableEntry, TableId, TablePool, VirtualWord};

pub(crate) use guard::ClusterGuard;
use index::Index;
use list::Lists;
pub use list::{FreeOrder, ListId};

words! {
    /// Which list a cluster is on, or why on none. Kernel: `enum swap_cluster_flags`; the order of values matters.
    #[derive(PartialOrd, Ord)]
    #[repr(u8)]
    pub enum ClusterFlag: "cluster flag" {
        /// Off-list: some CPU has isolated it.
        None = "none",
        /// On the free list, without a table.
        Free = "free",
        /// A slot was freed in it since the last allocation from it.
        Nonfull = "nonfull",
        /// Allocated from, or scanned in vain, since the last free in it.
        Frag = "frag",
        /// No free slot.
        Full = "full",
        /// Empty and waiting for its discard.
        Discard = "discard",
        /// Gone, on a dynamic device: nothing of the record counts any more.
        Dead = "dead",
    }
}

impl ClusterFlag {
    /// Zero memory reads as `Free`: a cluster never touched is free.
    const fn stored(self) -> u8 {
        self as u8 ^ Self::Free as u8
    }

    const fn from_stored(byte: u8) -> Self {
        match byte ^ Self::Free as u8 {
            0 => Self::None,
            1 => Self::Free,
            2 => Self::Nonfull,
            3 => Self::Frag,
            4 => Self::Full,
            5 => Self::Discard,
            _ => Self::Dead,
        }
    }
}

/// The place of a cluster's record: the cluster's number where all are there, the number of its table where they come
/// and go. List links name records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct RecordId(u32);

/// State of one cluster. Kernel: `struct swap_cluster_info`; differs: list links are record numbers, the extend table
/// is found by number, and the flag is stored so that zero means free.
///
/// All fields but the links are changed only under `lock`, so Relaxed accesses suffice; the links belong to the
/// device's list lock. Lookups without the lock read `Clusters::index` instead.
#[derive(Debug)]
#[repr(C, align(32))]
pub(crate) struct SwapCluster {
    lock: SpinWord,
    flag: AtomicU8,
    order: AtomicU8,
    count: AtomicU16,
    prev: AtomicU32,
    next: AtomicU32,
    /// Table number, 0 for none.
    table: AtomicU32,
    /// 1 once the cluster in use has served slots that do not back virtual ones: they may have owners.
    is_direct: AtomicU8,
    /// The cluster's number, on a dynamic device. Kernel: `struct swap_cluster_info_dynamic`.
    index: AtomicU32,
}

const _: () =
    assert!(size_of::<SwapCluster>() == 32, "two clusters a cache line: CPUs at work on neighbours share few");

// SAFETY: all zero bytes are a free lock, zero counts and no table: an empty cluster on the free list.
#[expect(unsafe_code, reason = "clusters live in zeroed mappings")]
unsafe impl Zeroable for SwapCluster {}

impl SwapCluster {
    /// Returns the number of the table, if there is one; the cluster is locked.
    #[inline]
    fn table_id(&self) -> Option<TableId> {
        // Relaxed: changes only under the lock.
        std::num::NonZeroU32::new(self.table.load(Ordering::Relaxed)).map(TableId)
    }
}

/// The clusters of one device with their tables and lists.
#[derive(Debug)]
pub(crate) struct Clusters {
    /// Clusters come and go.
    is_dynamic: bool,
    array: MappedSlice<SwapCluster>,
    /// The table numbers again, for lookups without a lock: they need nothing else of a cluster, and find four times as many
    /// here in a cache line.
    index: Index,
    tables: TablePool,
    extend: ExtendTables,
    owners: Owners,
    /// Kernel: the lists of `swap_info_struct`, under `si->lock`.
    lists: SpinMutex<Lists>,
    /// Clusters without a free slot; all of them means a full device.
    nr_full: AtomicU32,
    /// Numbers that clusters may have.
    nr: AtomicU32,
    /// Those below this number may be allocated from: fewer than `nr` while a device shrinks.
    nr_open: AtomicU32,
    /// Clusters that may exist at a time: memory that runs out, for tests.
    max_live: AtomicU32,
    /// Clusters in direct use: the others, whose slots back virtual ones, need no owners of their own.
    nr_direct: AtomicU32,
}

impl Clusters {
    /// Makes `nr` clusters, all free. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn new(nr: u32, free_order: FreeOrder, owners: OwnerForm) -> Result<Self> {
        Ok(Self {
            is_dynamic: false,
            array: MappedSlice::zeroed(nr as usize)?,
            index: Index::fixed(nr)?,
            tables: TablePool::new(nr, false)?,
            extend: ExtendTables::default(),
            owners: Owners::new(owners, nr)?,
            lists: SpinMutex::new(Lists::new(nr, free_order)),
            nr_full: AtomicU32::new(0),
            nr: AtomicU32::new(nr),
            nr_open: AtomicU32::new(nr),
            max_live: AtomicU32::new(u32::MAX),
            nr_direct: AtomicU32::new(0),
        })
    }

    /// Makes an empty device of up to `nr` clusters that come and go; there is address space for as many as a device can
    /// have, and nothing else. With second words if it is virtual. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn dynamic(nr: u32, owners: OwnerForm, is_virtual: bool) -> Result<Self> {
        let owners = match owners {
            // A cell for every slot from the start is what such a device does without.
            OwnerForm::Array => OwnerForm::Table,
            form => form,
        };
        let mut clusters = Self::new(0, FreeOrder::Ascending, OwnerForm::Entry)?;
        clusters.is_dynamic = true;
        clusters.array = MappedSlice::zeroed(MAX_DEVICE_CLUSTERS as usize + 1)?;
        clusters.index = Index::dynamic(MAX_DEVICE_CLUSTERS)?;
        clusters.tables = TablePool::new(MAX_DEVICE_CLUSTERS, is_virtual)?;
        clusters.owners = Owners::new(owners, MAX_DEVICE_CLUSTERS)?;
        clusters.set_len(nr);
        clusters.set_open(nr);
        Ok(clusters)
    }

    /// Says whether clusters come and go.
    #[inline]
    pub(crate) fn is_dynamic(&self) -> bool {
        self.is_dynamic
    }

    /// Returns the number of clusters, of a dynamic device how many it may have.
    pub(crate) fn len(&self) -> u32 {
        // Relaxed: changes only while every CPU is stopped.
        self.nr.load(Ordering::Relaxed)
    }

    /// Sets how many clusters a dynamic device may have. Every CPU is stopped.
    pub(crate) fn set_len(&self, nr: u32) {
        self.nr.store(nr, Ordering::Relaxed);
    }

    /// Returns the number below which clusters may be allocated from.
    pub(crate) fn nr_open(&self) -> u32 {
        // Relaxed: as in `len`.
        self.nr_open.load(Ordering::Relaxed)
    }

    /// Lets only clusters below a number be allocated from: those above are taken for full. Every CPU is stopped.
    pub(crate) fn set_open(&self, nr: u32) {
        self.nr_open.store(nr, Ordering::Relaxed);
        for idx in self.live() {
            let mut ci = self.lock_used(idx);
            match (ci.is_closed(), ci.flag()) {
                (_, ClusterFlag::None) | (true, ClusterFlag::Full) => {}
                (true, _) => ci.move_to(ListId::Full),
                (false, ClusterFlag::Full) if ci.count() < SWAPFILE_CLUSTER => ci.move_to(ListId::Nonfull(ci.order())),
                (false, _) => {}
            }
        }
    }

    /// Lets at most `nr` clusters exist from now on, as if memory for more ran out.
    pub(crate) fn set_max_live(&self, nr: u32) {
        // Relaxed: a number on its own.
        self.max_live.store(nr, Ordering::Relaxed);
    }

    /// Makes a cluster of the lowest number that is free, locked, with a table, on no list; `None` when every number is
    /// taken or memory ran out. Kernel: `alloc_swap_scan_dynamic` up to its scan; differs: locked before it is published.
    ///
    /// No cluster lock is held. Locks: the new cluster's, the pool's and the index's.
    pub(crate) fn create(&self) -> Option<ClusterGuard<'_>> {
        // Relaxed: a number on its own.
        let id = self.tables.take_below(self.max_live.load(Ordering::Relaxed))?;
        let (record, ci) = (RecordId(id.0.get()), &self.array[id.0.get() as usize]);
        // A late comer of the record's last use may have it for a moment.
        ci.lock.lock();
        let prepare = |idx: ClusterIdx| {
            ci.index.store(idx.0, Ordering::Relaxed);
            ci.flag.store(ClusterFlag::None.stored(), Ordering::Relaxed);
            ci.table.store(id.0.get(), Ordering::Relaxed);
        };
        match self.index.store_lowest(0..self.nr_open(), id.0.get(), prepare) {
            Some(idx) => Some(ClusterGuard { all: self, ci, idx, record }),
            None => {
                ci.lock.unlock();
                self.tables.release(id);
                None
            }
        }
    }

    /// Takes a cluster's lock, waiting for it; `None` when there is no such cluster. Kernel: `swap_cluster_lock`.
    #[inline]
    pub(crate) fn lock(&self, idx: ClusterIdx) -> Option<ClusterGuard<'_>> {
        if self.is_dynamic() {
            return self.lock_dynamic(idx);
        }
        let ci = &self.array[idx.index()];
        ci.lock.lock();
        Some(ClusterGuard { all: self, ci, idx, record: RecordId(idx.0) })
    }

    #[inline(never)]
    fn lock_dynamic(&self, idx: ClusterIdx) -> Option<ClusterGuard<'_>> {
        self.index.find(idx, |table| self.lock_record(RecordId(table), idx))
    }

    /// Takes the lock of a record, if it is still that of a cluster.
    #[inline]
    fn lock_record(&self, record: RecordId, idx: ClusterIdx) -> Option<ClusterGuard<'_>> {
        let ci = &self.array[record.0 as usize];
        ci.lock.lock();
        let guard = ClusterGuard { all: self, ci, idx, record };
        // Relaxed: changes only under the lock.
        (guard.flag() != ClusterFlag::Dead && ci.index.load(Ordering::Relaxed) == idx.0).then_some(guard)
    }

    /// Takes the lock of a cluster that cannot go away: the caller holds a counted slot of it, or the lock of a folio that
    /// is cached there. Panics: when it is gone all the same.
    #[inline]
    pub(crate) fn lock_used(&self, idx: ClusterIdx) -> ClusterGuard<'_> {
        self.lock(idx).expect("a cluster with slots in use stays")
    }

    /// Returns the clusters that were ever used, of a dynamic device those that there are, ascending; others may come and
    /// go meanwhile. Locks: the list lock or the index's for each.
    pub(crate) fn live(&self) -> impl Iterator<Item = ClusterIdx> {
        self.live_from(0)
    }

    /// [`Clusters::live`] from a number on.
    pub(crate) fn live_from(&self, from: u32) -> impl Iterator<Item = ClusterIdx> {
        let mut from = from;
        std::iter::from_fn(move || {
            let idx = match self.is_dynamic() {
                true => self.index.next(from),
                false => (from..self.len()).map(ClusterIdx).find(|&idx| !self.is_untouched(idx)),
            };
            from = idx?.0 + 1;
            idx
        })
    }

    /// Returns the number of the cluster whose record is on a list; the list lock is held.
    fn idx_of(&self, record: RecordId) -> ClusterIdx {
        // Relaxed: a cluster leaves its list before its record is another's.
        let dynamic = || self.array[record.0 as usize].index.load(Ordering::Relaxed);
        ClusterIdx(if self.is_dynamic() { dynamic() } else { record.0 })
    }

    /// Takes the lock of a cluster on a list if it is free; the list lock is held.
    fn try_lock(&self, record: RecordId) -> Option<ClusterGuard<'_>> {
        let ci = &self.array[record.0 as usize];
        ci.lock.try_lock().then(|| ClusterGuard { all: self, ci, idx: self.idx_of(record), record })
    }

    /// Reads one entry without a lock; a snapshot. Kernel: `swap_table_get` under RCU.
    #[inline]
    pub(crate) fn entry(&self, offset: SwpOffset) -> SwapTableEntry {
        let look = |id| {
            let id = TableId(std::num::NonZeroU32::new(id).expect("0 is no table"));
            self.tables.table(id).get(offset.in_cluster())
        };
        self.index.shown(offset.cluster()).read(look).unwrap_or(SwapTableEntry::NULL)
    }

    /// Reads the second word of a slot without a lock; a hint, NONE when the cluster has no table or the device no such words.
    pub(crate) fn virtual_word(&self, offset: SwpOffset) -> VirtualWord {
        let look = |id| {
            let id = TableId(std::num::NonZeroU32::new(id).expect("0 is no table"));
            self.tables.virtual_table(id).map(|table| table.get(offset.in_cluster()))
        };
        self.index.shown(offset.cluster()).read(look).flatten().unwrap_or(VirtualWord::NONE)
    }

    /// Says in a Pointer what holds its owner. Called with the lock of the owner's cluster, which
    /// keeps the slot in use. Kernel: the atomic or / and-not on the reverse map.
    pub(crate) fn mark_holder(&self, offset: SwpOffset, holder: Holder) {
        let mark = |id| {
            let id = TableId(std::num::NonZeroU32::new(id).expect("0 is no table"));
            self.tables.table(id).mark_holder(offset.in_cluster(), holder);
        };
        self.index.shown(offset.cluster()).read(mark).expect("a slot in use has a table");
    }

    /// Says whether no cluster has a free slot.
    pub(crate) fn are_all_full(&self) -> bool {
        // SeqCst: with the counter's other accesses, so that of "became full" and "no longer full" one sees the other.
        self.nr_full.load(Ordering::SeqCst) == self.len()
    }

    /// Takes the first lockable cluster off a list, locked and with a table. Kernel: `isolate_lock_cluster`.
    ///
    /// Returns `None` when the list is empty or every cluster on it is locked.
    pub(crate) fn isolate(&self, list: ListId) -> Option<ClusterGuard<'_>> {
        let mut ci = self.lists.lock().take_first_lockable(self, list)?;
        ci.set_flag(ClusterFlag::None);
        if list == ListId::Free {
            ci.attach_table();
        }
        Some(ci)
    }

    /// Takes the head off the discard list; its flag stays `Discard` so that hints at it are refused.
    pub(crate) fn take_discard(&self) -> Option<ClusterIdx> {
        self.lists.lock().pop_first(self, ListId::Discard).map(|record| self.idx_of(record))
    }

    /// Says whether a list has clusters.
    pub(crate) fn has(&self, list: ListId) -> bool {
        self.lists.lock().len(list) > 0
    }

    /// Returns the clusters of a list, head first.
    pub(crate) fn list(&self, list: ListId) -> Vec<ClusterIdx> {
        self.lists.lock().iter(self, list)
    }

    /// Returns the clusters linked on a list, without the untouched ones of the free list.
    pub(crate) fn linked(&self, list: ListId) -> Vec<ClusterIdx> {
        self.lists.lock().linked(self, list)
    }

    /// Says whether a cluster was never used since swapon: free, and nothing of it was ever touched.
    pub(crate) fn is_untouched(&self, idx: ClusterIdx) -> bool {
        self.lists.lock().is_untouched(self, idx)
    }

    /// Puts partly bad clusters on `nonfull[0]`, ascending; called once, at swapon.
    pub(crate) fn list_bad(&self, idx: ClusterIdx) {
        let mut ci = self.lock_used(idx);
        ci.set_flag(ClusterFlag::None);
        ci.move_to(ListId::Nonfull(Order::ZERO));
    }

    /// Returns bytes there from the start, the clusters and their table words; a dynamic device has none.
    pub(crate) fn static_bytes(&self) -> u64 {
        match self.is_dynamic() {
            true => 0,
            false => size_of_val(&*self.array) as u64 + self.index.fixed_bytes(),
        }
    }

    /// Returns the bytes of the index of a dynamic device and of the records that were ever in use, in whole pages.
    pub(crate) fn index_bytes(&self) -> u64 {
        match self.is_dynamic() {
            // The record that would go with no table is in the first page.
            true => self.index.touched_bytes() + page_bytes::<SwapCluster>(self.tables.ever_used() as usize + 1),
            false => 0,
        }
    }

    /// Returns how many clusters exist. Locks: the index's.
    pub(crate) fn nr_live(&self) -> u32 {
        if self.is_dynamic() { self.index.len() } else { self.len() }
    }

    /// Returns the tables attached and those kept for reuse.
    pub(crate) fn nr_tables(&self) -> (u32, u32) {
        (self.tables.attached(), self.tables.hot())
    }

    /// Returns the bytes of owners beside the entries: those from the start, and those of clusters in use.
    pub(crate) fn owner_bytes(&self) -> (u64, u64) {
        // Relaxed: a number for display.
        self.owners.bytes(self.nr_direct.load(Ordering::Relaxed))
    }

    /// Returns the bytes of extend tables.
    pub(crate) fn extend_bytes(&self) -> u64 {
        self.extend.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_memory_is_a_free_cluster() {
        assert_eq!(ClusterFlag::from_stored(0), ClusterFlag::Free);
        for flag in [
            ClusterFlag::None,
            ClusterFlag::Free,
            ClusterFlag::Frag,
            ClusterFlag::Full,
            ClusterFlag::Discard,
            ClusterFlag::Dead,
        ] {
            assert_eq!(ClusterFlag::from_stored(flag.stored()), flag);
        }
    }

    #[test]
    fn isolated_cluster_is_locked_off_list_and_has_a_table() {
        let clusters = Clusters::new(3, FreeOrder::Ascending, OwnerForm::Entry).expect("memory");
        let mut ci = clusters.isolate(ListId::Free).expect("three free clusters");
        assert_eq!((ci.idx(), ci.flag(), ci.table().is_some()), (ClusterIdx(0), ClusterFlag::None, true));
        assert_eq!(clusters.isolate(ListId::Free).map(|ci| ci.idx()), Some(ClusterIdx(1)));
        ci.move_to(ListId::Frag(Order::ZERO));
        assert!(clusters.isolate(ListId::Frag(Order::ZERO)).is_none(), "a locked cluster is passed over");
        drop(ci);
        assert!(clusters.isolate(ListId::Frag(Order::ZERO)).is_some());
    }

    #[test]
    fn a_lockless_reader_sees_null_without_a_table() {
        let clusters = Clusters::new(1, FreeOrder::Ascending, OwnerForm::Entry).expect("memory");
        assert_eq!(clusters.entry(SwpOffset(5)), SwapTableEntry::NULL);
        let mut ci = clusters.isolate(ListId::Free).expect("one free cluster");
        ci.table().expect("attached").set(5, SwapTableEntry::SWAPPED_OUT);
        assert_eq!(clusters.entry(SwpOffset(5)), SwapTableEntry::SWAPPED_OUT);
        ci.table().expect("attached").set(5, SwapTableEntry::NULL);
        ci.detach_table();
        assert_eq!(clusters.entry(SwpOffset(5)), SwapTableEntry::NULL);
    }
}
