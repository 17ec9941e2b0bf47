//! Clusters: a cluster is 512 slots under one lock. Each device has lists of its clusters, such as the free list and
//! the full list.
//!
//! A `SwapCluster` consists of plain atomics, because the half a million clusters of a device of 1 TiB must be valid
//! as untouched zero pages. The lock of a cluster makes its atomics consistent, and only `ClusterGuard` changes a
//! cluster.
//!
//! On a dynamic device clusters are created and destroyed, and the index holds the numbers of the existing clusters.
//! On such a device a cluster's record and its table have the same number, because both come from one pool. A record
//! stays mapped as long as the device exists. A lookup whose cluster is destroyed meanwhile therefore finds a dead
//! record, or the record of another cluster.

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
use crate::containers::growing::GrowingSlice;
use crate::containers::zeroed::page_bytes;
use crate::table::{ExtendTables, Holder, OwnerForm, Owners, SwapTableEntry, TableId, TablePool, VirtualWord};

pub(crate) use guard::ClusterGuard;
use index::Index;
use list::Lists;
pub use list::{FreeOrder, ListId};

words! {
    /// The list on which a cluster is, or the reason why the cluster is on no list. Kernel: `enum
    /// swap_cluster_flags`. The code compares flags by the order of the variants.
    #[derive(PartialOrd, Ord)]
    #[repr(u8)]
    pub enum ClusterFlag: "cluster flag" {
        /// On no list: a CPU has isolated the cluster.
        None = "none",
        /// On the free list, without a table.
        Free = "free",
        /// On a nonfull list: a slot of the cluster was freed after the last allocation from the cluster.
        Nonfull = "nonfull",
        /// On a frag list: after the last free in the cluster, slots were allocated or a scan found no free run.
        Frag = "frag",
        /// On the full list: the cluster has no free slot.
        Full = "full",
        /// Empty: the cluster waits for a discard.
        Discard = "discard",
        /// Destroyed, on a dynamic device only. All other fields of the record are meaningless.
        Dead = "dead",
    }
}

impl ClusterFlag {
    /// Returns the stored form of the flag. The stored form of `Free` is 0, because zeroed memory must read as free
    /// clusters.
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

/// The number of a cluster's record. On a fixed device it is the cluster's number, and on a dynamic device it is the
/// number of the cluster's table. List links are record numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct RecordId(u32);

/// State of one cluster. Kernel: `struct swap_cluster_info`; differs: list links are record numbers, the extend table
/// of a cluster is found by the cluster's number, and the flag is stored so that zero means free.
///
/// Relaxed accesses suffice: the links change only under the device's list lock, and all other fields change only
/// under `lock`. Lookups without the lock read `Clusters::index` instead.
#[derive(Debug)]
#[repr(C, align(32))]
pub(crate) struct SwapCluster {
    lock: SpinWord,
    flag: AtomicU8,
    order: AtomicU8,
    count: AtomicU16,
    prev: AtomicU32,
    next: AtomicU32,
    /// Number of the attached table, 0 when no table is attached.
    table: AtomicU32,
    /// The mark of direct use. The mark is 1 from the moment when the cluster hands out a slot that does not back a
    /// virtual slot until the cluster is empty. Such a slot can have an owner.
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
    /// Returns the number of the attached table, or `None` when no table is attached. The cluster is locked.
    #[inline]
    fn table_id(&self) -> Option<TableId> {
        // Relaxed: the field changes only under the lock.
        std::num::NonZeroU32::new(self.table.load(Ordering::Relaxed)).map(TableId)
    }
}

/// The clusters of one device, with their tables and lists.
#[derive(Debug)]
pub(crate) struct Clusters {
    /// Whether clusters are created and destroyed on demand.
    is_dynamic: bool,
    array: GrowingSlice<SwapCluster>,
    /// The table numbers of the clusters a second time, for lookups without a lock. A lookup reads no other field of
    /// a cluster, and a cache line of `index` serves four times as many clusters as a cache line of `array`.
    index: Index,
    tables: TablePool,
    extend: ExtendTables,
    owners: Owners,
    /// The lists of the device. Kernel: the lists of `swap_info_struct`, under `si->lock`.
    lists: SpinMutex<Lists>,
    /// Number of clusters without a free slot; the device is full when all clusters are full.
    nr_full: AtomicU32,
    /// An upper bound of the cluster numbers: every cluster number is below this value.
    nr: AtomicU32,
    /// Only clusters below this number may hand out slots. The value is below `nr` while the device shrinks.
    nr_open: AtomicU32,
    /// Largest number of clusters that may exist at a time. Tests set a small value to simulate lack of memory.
    max_live: AtomicU32,
    /// Number of clusters with the mark of direct use. All other clusters in use back virtual slots only, and need no
    /// owners.
    nr_direct: AtomicU32,
}

impl Clusters {
    /// Makes the clusters of a fixed device: `nr` clusters, all free. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn new(nr: u32, free_order: FreeOrder, owners: OwnerForm) -> Result<Self> {
        Ok(Self {
            is_dynamic: false,
            array: GrowingSlice::with_head(nr as usize, nr as usize)?,
            index: Index::fixed(nr)?,
            tables: TablePool::new(nr)?,
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

    /// Makes the clusters of a dynamic device: none yet, and later up to `nr` clusters, which are created and
    /// destroyed on demand. The call reserves address space by the size of the device, for tables of at most
    /// [`POOL_TABLES_HEAD_MAX`] clusters, and takes no memory yet. A cluster beyond the reserved space reserves more.
    /// With `is_virtual` each table entry has a second word. Errors: `NoMemory` (ENOMEM).
    ///
    /// [`POOL_TABLES_HEAD_MAX`]: crate::base::limits::POOL_TABLES_HEAD_MAX
    pub(crate) fn dynamic(nr: u32, owners: OwnerForm, is_virtual: bool) -> Result<Self> {
        const MAX: u32 = MAX_DEVICE_CLUSTERS;
        let mut clusters = Self::new(0, FreeOrder::Ascending, OwnerForm::Entry)?;
        clusters.is_dynamic = true;
        clusters.array = GrowingSlice::with_head(nr as usize + 1, MAX as usize + 1)?;
        clusters.index = Index::dynamic(nr, MAX)?;
        clusters.tables = TablePool::growing(nr, MAX, is_virtual)?;
        clusters.owners = Owners::growing(owners, nr, MAX)?;
        clusters.set_len(nr);
        clusters.set_open(nr);
        Ok(clusters)
    }

    /// Returns whether clusters are created and destroyed on demand.
    #[inline]
    pub(crate) fn is_dynamic(&self) -> bool {
        self.is_dynamic
    }

    /// Returns the number of clusters of the device. For a dynamic device, returns the number of clusters that the
    /// device may have.
    pub(crate) fn len(&self) -> u32 {
        // Relaxed: the value changes only while every CPU is stopped.
        self.nr.load(Ordering::Relaxed)
    }

    /// Sets the number of clusters that a dynamic device may have. Every CPU is stopped.
    pub(crate) fn set_len(&self, nr: u32) {
        self.nr.store(nr, Ordering::Relaxed);
    }

    /// Returns the bound of cluster numbers for allocation: only clusters with a number below the bound may hand out
    /// slots.
    pub(crate) fn nr_open(&self) -> u32 {
        // Relaxed: as in `len`.
        self.nr_open.load(Ordering::Relaxed)
    }

    /// Sets the bound of cluster numbers for allocation to `nr`. Clusters from `nr` on count as full. Every CPU is
    /// stopped.
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

    /// Limits the number of existing clusters to `nr`. The creation of more clusters then fails as if memory had run
    /// out.
    pub(crate) fn set_max_live(&self, nr: u32) {
        // Relaxed: no thread concludes anything about other memory from this value.
        self.max_live.store(nr, Ordering::Relaxed);
    }

    /// Creates a cluster with the lowest free number. The cluster is locked, has a table and is on no list. Returns
    /// `None` when every number is in use or memory has run out. Kernel: the part of `alloc_swap_scan_dynamic` before
    /// its scan; differs: the cluster is locked before the index publishes the cluster.
    ///
    /// The caller holds no cluster lock. Locks: the lock of the new cluster, the lock of the pool and the lock of the
    /// index.
    pub(crate) fn create(&self) -> Option<ClusterGuard<'_>> {
        // Relaxed: no thread concludes anything about other memory from `max_live`.
        let id = self.tables.take_below(self.max_live.load(Ordering::Relaxed))?;
        if self.array.map_element(id.0.get() as usize).is_err() || self.owners.map_table(id).is_err() {
            self.tables.release(id);
            return None;
        }
        let (record, ci) = (RecordId(id.0.get()), self.array.element(id.0.get() as usize));
        // A lookup of the destroyed cluster that had this record can still hold the record's lock for a moment.
        ci.lock.lock();
        let prepare = |idx: ClusterIdx| {
            ci.index.store(idx.0, Ordering::Relaxed);
            ci.flag.store(ClusterFlag::None.stored(), Ordering::Relaxed);
            ci.table.store(id.0.get(), Ordering::Relaxed);
        };
        let Some(idx) = self.index.store_lowest(0..self.nr_open(), id.0.get(), prepare) else {
            ci.lock.unlock();
            self.tables.release(id);
            return None;
        };
        Some(ClusterGuard { all: self, ci, idx, record })
    }

    /// Takes a cluster's lock, and waits while another thread holds the lock. Returns `None` when the cluster does
    /// not exist. Kernel: `swap_cluster_lock`.
    #[inline]
    pub(crate) fn lock(&self, idx: ClusterIdx) -> Option<ClusterGuard<'_>> {
        if self.is_dynamic() {
            return self.lock_dynamic(idx);
        }
        let ci = self.array.element(idx.index());
        ci.lock.lock();
        Some(ClusterGuard { all: self, ci, idx, record: RecordId(idx.0) })
    }

    #[inline(never)]
    fn lock_dynamic(&self, idx: ClusterIdx) -> Option<ClusterGuard<'_>> {
        self.index.find(idx, |table| self.lock_record(RecordId(table), idx))
    }

    /// Takes the lock of a record. Returns `None`, with the lock released, when the record is not the record of
    /// cluster `idx`.
    #[inline]
    fn lock_record(&self, record: RecordId, idx: ClusterIdx) -> Option<ClusterGuard<'_>> {
        let ci = self.array.element(record.0 as usize);
        ci.lock.lock();
        let guard = ClusterGuard { all: self, ci, idx, record };
        // Relaxed: the field changes only under the lock.
        (guard.flag() != ClusterFlag::Dead && ci.index.load(Ordering::Relaxed) == idx.0).then_some(guard)
    }

    /// Takes the lock of a cluster that cannot be destroyed now: the caller holds a reference to a slot of the
    /// cluster, or the lock of a folio whose slots are in the cluster. Panics when the cluster does not exist.
    #[inline]
    pub(crate) fn lock_used(&self, idx: ClusterIdx) -> ClusterGuard<'_> {
        self.lock(idx).expect("a cluster with slots in use stays")
    }

    /// Returns the clusters that were ever used or, on a dynamic device, the clusters that exist, in ascending order.
    /// Other threads can create and destroy clusters during the iteration. Locks, for each cluster: the list lock, or
    /// on a dynamic device the lock of the index.
    pub(crate) fn live(&self) -> impl Iterator<Item = ClusterIdx> {
        self.live_from(0)
    }

    /// Returns the clusters of [`Clusters::live`] from number `from` on.
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

    /// Returns the number of the cluster whose record is on a list. The caller holds the list lock.
    fn idx_of(&self, record: RecordId) -> ClusterIdx {
        // Relaxed: a record is taken off its list before it is given to another cluster, and the caller holds the
        // list lock.
        let dynamic = || self.array.element(record.0 as usize).index.load(Ordering::Relaxed);
        ClusterIdx(if self.is_dynamic() { dynamic() } else { record.0 })
    }

    /// Takes the lock of a listed cluster if the lock is free. Returns `None` if another thread holds the lock. The
    /// caller holds the list lock.
    fn try_lock(&self, record: RecordId) -> Option<ClusterGuard<'_>> {
        let ci = self.array.element(record.0 as usize);
        ci.lock.try_lock().then(|| ClusterGuard { all: self, ci, idx: self.idx_of(record), record })
    }

    /// Calls `look`, without a lock, with the table of the slot's cluster and with the index of the slot in the
    /// cluster. Returns `None` when the cluster has no table.
    #[inline]
    fn with_table<T>(&self, offset: SwpOffset, look: impl Fn(TableId, usize) -> T) -> Option<T> {
        let table = |id| TableId(std::num::NonZeroU32::new(id).expect("0 is no table"));
        self.index.find_shown(offset.cluster())?.read(|id| look(table(id), offset.in_cluster()))
    }

    /// Reads the table entry of a slot without a lock; the entry is a snapshot. Kernel: `swap_table_get` under RCU.
    #[inline]
    pub(crate) fn entry(&self, offset: SwpOffset) -> SwapTableEntry {
        let entry = self.with_table(offset, |id, slot| self.tables.table(id).get(slot));
        entry.unwrap_or(SwapTableEntry::NULL)
    }

    /// Reads the second word of a slot's table entry without a lock; the word is a snapshot. Returns NONE when the
    /// cluster has no table or the table entries of the device have no second words.
    pub(crate) fn virtual_word(&self, offset: SwpOffset) -> VirtualWord {
        let word = self.with_table(offset, |id, slot| Some(self.tables.virtual_table(id)?.get(slot)));
        word.flatten().unwrap_or(VirtualWord::NONE)
    }

    /// Records in the table entry of a real slot whether its virtual slot has references. The table entry of a real
    /// slot that backs a virtual slot is a Pointer, which names the virtual slot. The caller holds the lock of the
    /// virtual slot's cluster, which keeps the real slot in use. Kernel: the atomic or / and-not on the reverse map.
    pub(crate) fn mark_holder(&self, offset: SwpOffset, holder: Holder) {
        let marked = self.with_table(offset, |id, slot| self.tables.table(id).mark_holder(slot, holder));
        marked.expect("a slot in use has a table");
    }

    /// Returns whether every cluster is full.
    pub(crate) fn are_all_full(&self) -> bool {
        // SeqCst, as all accesses to the counter: if one thread makes the device full while another thread frees a
        // slot, at least one of the two threads sees the other's change of the counter.
        self.nr_full.load(Ordering::SeqCst) == self.len()
    }

    /// Removes the first cluster whose lock is free from a list. The returned cluster is locked and has a table.
    /// Kernel: `isolate_lock_cluster`.
    ///
    /// Returns `None` when the list is empty or every cluster on the list is locked.
    pub(crate) fn isolate(&self, list: ListId) -> Option<ClusterGuard<'_>> {
        let mut ci = self.lists.lock().take_first_lockable(self, list)?;
        ci.set_flag(ClusterFlag::None);
        if list == ListId::Free {
            ci.attach_table();
        }
        Some(ci)
    }

    /// Removes the head of the discard list. The flag of the cluster stays `Discard`, so that no CPU allocates from
    /// the cluster even if the CPU's allocation hint names the cluster.
    pub(crate) fn take_discard(&self) -> Option<ClusterIdx> {
        self.lists.lock().pop_first(self, ListId::Discard).map(|record| self.idx_of(record))
    }

    /// Returns whether a list has linked clusters. The untouched clusters of the free list are not linked.
    pub(crate) fn has(&self, list: ListId) -> bool {
        self.lists.lock().len(list) > 0
    }

    /// Returns the clusters of a list, in the order from head to tail.
    pub(crate) fn list(&self, list: ListId) -> Vec<ClusterIdx> {
        self.lists.lock().iter(self, list)
    }

    /// Returns the linked clusters of a list. The untouched clusters of the free list are not linked.
    pub(crate) fn linked(&self, list: ListId) -> Vec<ClusterIdx> {
        self.lists.lock().linked(self, list)
    }

    /// Returns whether a cluster is untouched: the cluster is free, and its memory was not touched since swapon.
    pub(crate) fn is_untouched(&self, idx: ClusterIdx) -> bool {
        self.lists.lock().is_untouched(self, idx)
    }

    /// Puts a cluster with some bad slots on the nonfull list of order 0. swapon calls this function once for each
    /// such cluster, in ascending order.
    pub(crate) fn list_bad(&self, idx: ClusterIdx) {
        let mut ci = self.lock_used(idx);
        ci.set_flag(ClusterFlag::None);
        ci.move_to(ListId::Nonfull(Order::ZERO));
    }

    /// Returns the bytes of the clusters and their index words, which are allocated at swapon. Returns 0 for a
    /// dynamic device.
    pub(crate) fn static_bytes(&self) -> u64 {
        match self.is_dynamic() {
            true => 0,
            false => self.array.head_bytes() + self.index.fixed_bytes(),
        }
    }

    /// Returns the bytes, in whole pages, of a dynamic device's index and of the records that were ever in use; 0 for
    /// other devices.
    pub(crate) fn index_bytes(&self) -> u64 {
        match self.is_dynamic() {
            // The number of records is one more than the number of tables, because record 0 has no table.
            true => self.index.touched_bytes() + page_bytes::<SwapCluster>(self.tables.ever_used() as usize + 1),
            false => 0,
        }
    }

    /// Returns the number of existing clusters. Locks: the lock of the index.
    pub(crate) fn nr_live(&self) -> u32 {
        if self.is_dynamic() { self.index.len() } else { self.len() }
    }

    /// Returns the number of attached tables, and the number of released tables that are kept for reuse.
    pub(crate) fn nr_tables(&self) -> (u32, u32) {
        (self.tables.attached(), self.tables.hot())
    }

    /// Returns the bytes that owners outside the table entries take: the first number is the bytes that are allocated
    /// at swapon, the second number is the bytes for the clusters in use.
    pub(crate) fn owner_bytes(&self) -> (u64, u64) {
        // Relaxed: the value is only displayed.
        self.owners.bytes(self.nr_direct.load(Ordering::Relaxed))
    }

    /// Returns the bytes of all extend tables.
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
        use ClusterFlag::{Dead, Discard, Frag, Free, Full, Nonfull};
        for flag in [ClusterFlag::None, Free, Nonfull, Frag, Full, Discard, Dead] {
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
        assert!(clusters.isolate(ListId::Frag(Order::ZERO)).is_none(), "isolate passes over a locked cluster");
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
