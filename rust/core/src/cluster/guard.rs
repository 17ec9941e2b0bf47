//! The guard of a held cluster lock. Only the functions of this guard change a cluster.

use std::sync::atomic::Ordering;

use super::{ClusterFlag, Clusters, ListId, RecordId, SwapCluster};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{ClusterIdx, MemcgId, Order};
use crate::table::{
    Cell, ExtendTables, Owners, ShownTable, SwapTable, SwapTableEntry, TableId, VirtualTable, VirtualWord,
};

/// A cluster whose lock is held. The lock is released when the guard is dropped.
#[derive(Debug)]
pub(crate) struct ClusterGuard<'a> {
    pub(super) all: &'a Clusters,
    pub(super) ci: &'a SwapCluster,
    pub(super) idx: ClusterIdx,
    pub(super) record: RecordId,
}

impl Drop for ClusterGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ci.lock.unlock();
    }
}

impl<'a> ClusterGuard<'a> {
    fn shown(&self) -> ShownTable<'a> {
        self.all.index.shown(self.idx)
    }

    /// Calls `work` without the cluster lock, and then takes the lock of the cluster again. In the meantime other
    /// threads can change or destroy the cluster. Returns `None` when the cluster was destroyed. Kernel: the lookup
    /// after every release of `ci->lock`.
    pub(crate) fn unlocked(self, work: impl FnOnce()) -> Option<Self> {
        let (all, idx) = (self.all, self.idx);
        drop(self);
        work();
        all.lock(idx)
    }

    #[inline]
    pub(crate) fn idx(&self) -> ClusterIdx {
        self.idx
    }

    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.ci.count.load(Ordering::Relaxed) as u32
    }

    #[inline]
    pub(crate) fn flag(&self) -> ClusterFlag {
        ClusterFlag::from_stored(self.ci.flag.load(Ordering::Relaxed))
    }

    pub(crate) fn set_flag(&mut self, flag: ClusterFlag) {
        self.ci.flag.store(flag.stored(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn order(&self) -> Order {
        Order::stored(self.ci.order.load(Ordering::Relaxed))
    }

    pub(crate) fn set_order(&mut self, order: Order) {
        debug_assert_eq!(self.count(), 0, "the order of a cluster in use is fixed");
        self.ci.order.store(order.get(), Ordering::Relaxed);
    }

    /// Returns the cluster's table, or `None` when the cluster has no table.
    #[inline(always)]
    pub(crate) fn table(&self) -> Option<&'a SwapTable> {
        self.ci.table_id().map(|id| self.all.tables.table(id))
    }

    /// Returns whether a request of `order` may take slots of this cluster. Kernel: `cluster_is_usable`.
    #[inline]
    pub(crate) fn is_usable(&self, order: Order) -> bool {
        self.flag() <= ClusterFlag::Frag
            && self.ci.table_id().is_some()
            && (order == Order::ZERO || self.count() == 0 || self.ci.order.load(Ordering::Relaxed) == order.get())
    }

    /// Returns the mark of direct use: whether the cluster, since it was last empty, handed out a slot that does not
    /// back a virtual slot.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        // Relaxed: the cluster lock orders the access.
        self.ci.is_direct.load(Ordering::Relaxed) != 0
    }

    /// Sets or clears the mark of direct use; see [`ClusterGuard::is_direct`]. The caller sets the mark when the
    /// cluster hands out a slot that does not back a virtual slot, and clears the mark when the cluster is empty.
    #[inline]
    pub(crate) fn set_direct(&mut self, is_direct: bool) {
        if is_direct == self.is_direct() {
            return;
        }
        self.ci.is_direct.store(is_direct.into(), Ordering::Relaxed);
        match is_direct {
            true => self.all.nr_direct.fetch_add(1, Ordering::Relaxed),
            false => self.all.nr_direct.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// Adds `nr` to the cluster's count of used slots. Returns true when this change makes the whole device full.
    #[inline]
    pub(crate) fn add_count(&mut self, nr: u32) -> bool {
        let count = self.count() + nr;
        debug_assert!(count <= SWAPFILE_CLUSTER);
        self.ci.count.store(count as u16, Ordering::Relaxed);
        // SeqCst: see `Clusters::are_all_full`.
        count == SWAPFILE_CLUSTER && self.all.nr_full.fetch_add(1, Ordering::SeqCst) + 1 == self.all.len()
    }

    /// Subtracts `nr` from the cluster's count of used slots. Returns true when the whole device was full before this
    /// change.
    #[inline]
    pub(crate) fn sub_count(&mut self, nr: u32) -> bool {
        let count = self.count();
        debug_assert!(nr <= count);
        self.ci.count.store((count - nr) as u16, Ordering::Relaxed);
        // SeqCst: see `Clusters::are_all_full`.
        count == SWAPFILE_CLUSTER && self.all.nr_full.fetch_sub(1, Ordering::SeqCst) == self.all.len()
    }

    /// Attaches a table from the pool to the cluster. Every entry of the table is NULL.
    pub(crate) fn attach_table(&mut self) {
        debug_assert!(self.table().is_none());
        let id = self.all.tables.take();
        // Relaxed: see `SwapCluster::table_id`.
        self.ci.table.store(id.0.get(), Ordering::Relaxed);
        self.shown().attach(id.0.get());
    }

    /// Sets the cluster's table number to 0 (no table) and returns the old number. The cluster is empty.
    fn take_table(&mut self) -> Option<TableId> {
        debug_assert_eq!(self.count(), 0);
        debug_assert!(!self.all.extend.has(self.idx), "a freed cluster has an extend table");
        self.set_direct(false);
        let id = self.ci.table_id()?;
        // Relaxed: see `SwapCluster::table_id`.
        self.ci.table.store(0, Ordering::Relaxed);
        Some(id)
    }

    /// Detaches the table of an empty cluster and returns the table to the pool.
    pub(crate) fn detach_table(&mut self) {
        let Some(id) = self.take_table() else { return };
        self.shown().detach();
        self.all.tables.release(id);
    }

    /// Destroys an empty cluster of a dynamic device. After the call, no lookup finds the cluster, and a new cluster
    /// can get its record and its table. Kernel: `swap_cluster_free_dynamic`. Locks: the list lock, then the lock of
    /// the index, then the lock of the table pool; each lock is released before the next lock is taken.
    pub(crate) fn destroy(&mut self) {
        let id = self.take_table().expect("a cluster that comes and goes has a table meanwhile");
        if let Some(list) = ListId::of(self.flag(), self.order()) {
            self.all.lists.lock().unlink(self.all, list, self.record);
        }
        self.all.index.erase(self.idx);
        self.set_flag(ClusterFlag::Dead);
        self.set_order(Order::ZERO);
        // The table is released last, because the release lets a new cluster get this record. The new cluster then
        // waits for this cluster's lock, so it sees every change above.
        self.all.tables.release(id);
    }

    /// Returns whether allocation from the cluster is forbidden, because the device shrinks.
    pub(crate) fn is_closed(&self) -> bool {
        self.idx.0 >= self.all.nr_open()
    }

    /// Frees bad slots behind the old end of the device, because the device grew over these slots. The cluster can be
    /// empty afterwards.
    pub(crate) fn clear_bad(&mut self, slots: std::ops::Range<usize>) {
        let table = self.table().expect("bad slots have a table");
        let nr = slots.len() as u32;
        table.fill(slots.start, slots.len(), SwapTableEntry::NULL);
        self.sub_count(nr);
    }

    /// Marks one slot of a device that is being set up as bad. Returns false when the slot was bad before.
    pub(crate) fn mark_bad(&mut self, slot: usize) -> bool {
        if self.table().is_none() {
            self.attach_table();
        }
        let table = self.table().expect("attached above");
        if table.get(slot) == SwapTableEntry::BAD {
            return false;
        }
        table.set(slot, SwapTableEntry::BAD);
        self.add_count(1);
        true
    }

    /// Returns whether a scan can leave the cluster on its list: the cluster is partly used and on its frag list.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.flag() == ClusterFlag::Frag && matches!(self.count(), 1..SWAPFILE_CLUSTER)
    }

    /// Moves the cluster to the tail of a list. Kernel: `move_cluster`. Locks: the list lock.
    #[inline(never)]
    pub(crate) fn move_to(&mut self, list: ListId) {
        let mut lists = self.all.lists.lock();
        if let Some(old) = ListId::of(self.flag(), self.order()) {
            lists.unlink(self.all, old, self.record);
        }
        lists.link_tail(self.all, list, self.record);
        drop(lists);
        self.set_flag(list.flag());
    }

    /// Puts a cluster back into use after its discard: adds the cluster at the tail of the free list. The caller has
    /// removed the cluster from the discard list.
    pub(crate) fn finish_discard(&mut self) {
        debug_assert_eq!(self.flag(), ClusterFlag::Discard);
        self.set_flag(ClusterFlag::None);
        self.detach_table();
        self.set_order(Order::ZERO);
        self.move_to(ListId::Free);
    }

    /// Returns the full reference count of a slot. `entry` is the table entry that the caller has just read from this
    /// slot.
    pub(crate) fn full_count(&self, slot: usize, entry: SwapTableEntry) -> u32 {
        match entry.count() {
            Some(crate::base::limits::SWP_TB_COUNT_MAX) => self.extend().count(self.idx, slot),
            count => count.unwrap_or(0) as u32,
        }
    }

    /// Returns the extend tables, which hold the reference counts of slots with more than 14 references.
    pub(crate) fn extend(&self) -> &'a ExtendTables {
        &self.all.extend
    }

    /// Returns the table of the second words of the cluster's table entries. Returns `None` when the device is not
    /// virtual or the cluster has no table.
    #[inline]
    pub(crate) fn virtual_table(&self) -> Option<&'a VirtualTable> {
        self.all.tables.virtual_table(self.ci.table_id()?)
    }

    /// Returns the second word of a slot's table entry. Returns NONE when the table entries of the cluster have no
    /// second words.
    #[inline]
    pub(crate) fn virtual_word(&self, slot: usize) -> VirtualWord {
        self.virtual_table().map_or(VirtualWord::NONE, |table| table.get(slot))
    }

    /// Writes the second word of a slot's table entry. The slot is in use, and the device is virtual.
    #[inline]
    pub(crate) fn set_virtual_word(&mut self, slot: usize, word: VirtualWord) {
        self.virtual_table().expect("a slot in use of a virtual device has two words").set(slot, word);
    }

    fn cell(&self, slot: usize) -> Option<Cell> {
        Some(Cell { cluster: self.idx, table: self.ci.table_id()?, slot })
    }

    /// Returns the owner of a slot (the id of the charged group) that is recorded outside the slot's table entry, or
    /// 0 when no owner is recorded there.
    #[inline]
    pub(crate) fn owner(&self, slot: usize) -> MemcgId {
        match &self.all.owners {
            Owners::Entry => MemcgId(0),
            owners => self.cell(slot).map_or(MemcgId(0), |cell| owners.get(cell)),
        }
    }

    /// Records `id` as the owner of `nr` slots from `slot` on, outside the table entries. With [`Owners::Entry`] the
    /// call changes nothing.
    pub(crate) fn set_owner(&mut self, slot: usize, nr: usize, id: MemcgId) {
        let cell = self.cell(slot).expect("slots in use have a table");
        self.all.owners.fill(cell, nr, id);
    }

    /// Returns the number of the attached table. `Swap::check` uses the numbers to check that no two clusters share a
    /// table.
    pub(crate) fn table_number(&self) -> Option<u32> {
        self.ci.table_id().map(|id| id.0.get())
    }
}
