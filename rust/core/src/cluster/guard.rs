//! A cluster whose lock is held: the only way to change one.

use std::sync::atomic::Ordering;

use super::{ClusterFlag, Clusters, ListId, RecordId, SwapCluster};
use crate::base::limits::SWAPFILE_CLUSTER;
use crate::base::types::{ClusterIdx, MemcgId, Order};
use crate::table::{Cell, ExtendTables, Owners, ShownTable, SwapTable, SwapTableEntry, VirtualTable, VirtualWord};

/// A cluster whose lock is held; dropping it frees the lock.
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

    /// Runs work with the lock dropped; others may have done anything to the cluster afterwards, and `None` is that it is
    /// gone. Kernel: the lookup after every drop of `ci->lock`.
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

    /// Returns the cluster's table, if it has one.
    #[inline]
    pub(crate) fn table(&self) -> Option<&'a SwapTable> {
        self.ci.table_id().map(|id| self.all.tables.table(id))
    }

    /// Says whether a request may be served from here. Kernel: `cluster_is_usable`.
    #[inline]
    pub(crate) fn is_usable(&self, order: Order) -> bool {
        self.flag() <= ClusterFlag::Frag
            && self.ci.table_id().is_some()
            && (order == Order::ZERO || self.count() == 0 || self.ci.order.load(Ordering::Relaxed) == order.get())
    }

    /// Says whether slots of the cluster in use were handed out for something else than to back virtual ones.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        // Relaxed: the cluster lock orders.
        self.ci.is_direct.load(Ordering::Relaxed) != 0
    }

    /// Notes that slots are handed out directly, or that none is any more.
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

    /// Counts `nr` slots as used; returns true when that made the whole device full.
    #[inline]
    pub(crate) fn add_count(&mut self, nr: u32) -> bool {
        let count = self.count() + nr;
        debug_assert!(count <= SWAPFILE_CLUSTER);
        self.ci.count.store(count as u16, Ordering::Relaxed);
        // SeqCst: see `Clusters::are_all_full`.
        count == SWAPFILE_CLUSTER && self.all.nr_full.fetch_add(1, Ordering::SeqCst) + 1 == self.all.len()
    }

    /// Counts `nr` slots as free; returns true when the whole device was full before.
    #[inline]
    pub(crate) fn sub_count(&mut self, nr: u32) -> bool {
        let count = self.count();
        debug_assert!(nr <= count);
        self.ci.count.store((count - nr) as u16, Ordering::Relaxed);
        // SeqCst: see `Clusters::are_all_full`.
        count == SWAPFILE_CLUSTER && self.all.nr_full.fetch_sub(1, Ordering::SeqCst) == self.all.len()
    }

    /// Gives the cluster a table, all NULL.
    pub(crate) fn attach_table(&mut self) {
        debug_assert!(self.table().is_none());
        let id = self.all.tables.take();
        // Relaxed: see `SwapCluster::table_id`.
        self.ci.table.store(id.0.get(), Ordering::Relaxed);
        self.shown().attach(id.0.get());
    }

    /// Takes the table of an empty cluster away.
    pub(crate) fn detach_table(&mut self) {
        debug_assert_eq!(self.count(), 0);
        debug_assert!(!self.all.extend.has(self.idx), "a freed cluster has an extend table");
        self.set_direct(false);
        let Some(id) = self.ci.table_id() else { return };
        self.ci.table.store(0, Ordering::Relaxed);
        self.shown().detach();
        self.all.tables.release(id);
    }

    /// Ends an empty cluster of a dynamic device: nobody finds it from here on, and its record and table serve the next.
    /// Kernel: `swap_cluster_free_dynamic`. Locks: the list lock, the index's, the pool's, one after the other.
    pub(crate) fn destroy(&mut self) {
        debug_assert_eq!(self.count(), 0);
        debug_assert!(!self.all.extend.has(self.idx), "a freed cluster has an extend table");
        self.set_direct(false);
        let id = self.ci.table_id().expect("a cluster that comes and goes has a table meanwhile");
        if let Some(list) = ListId::of(self.flag(), self.order()) {
            self.all.lists.lock().unlink(self.all, list, self.record);
        }
        self.all.index.erase(self.idx);
        self.set_flag(ClusterFlag::Dead);
        self.set_order(Order::ZERO);
        // Relaxed: see `SwapCluster::table_id`.
        self.ci.table.store(0, Ordering::Relaxed);
        // Last: who takes the record next waits for this lock, and finds all of the above done.
        self.all.tables.release(id);
    }

    /// Says whether the cluster may not be allocated from, as the device shrinks.
    pub(crate) fn is_closed(&self) -> bool {
        self.idx.0 >= self.all.nr_open()
    }

    /// Makes bad slots of a tail free again, as the device grew over them; the cluster may be left empty.
    pub(crate) fn clear_bad(&mut self, slots: std::ops::Range<usize>) {
        let table = self.table().expect("bad slots have a table");
        let nr = slots.len() as u32;
        table.fill(slots.start, slots.len(), SwapTableEntry::NULL);
        self.sub_count(nr);
    }

    /// Marks one slot of a device that is being set up as bad; false when it already was.
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

    /// Says whether a scan would leave the cluster where it is: partly used and on its frag list.
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

    /// Puts a cluster that a worker took off the discard list back into use, on the free list's tail.
    pub(crate) fn finish_discard(&mut self) {
        debug_assert_eq!(self.flag(), ClusterFlag::Discard);
        self.set_flag(ClusterFlag::None);
        self.detach_table();
        self.set_order(Order::ZERO);
        self.move_to(ListId::Free);
    }

    /// Returns the true reference count of a slot whose entry was just read.
    pub(crate) fn full_count(&self, slot: usize, entry: SwapTableEntry) -> u32 {
        match entry.count() {
            Some(crate::base::limits::SWP_TB_COUNT_MAX) => self.extend().count(self.idx, slot),
            count => count.unwrap_or(0) as u32,
        }
    }

    /// Returns the counts over 14.
    pub(crate) fn extend(&self) -> &'a ExtendTables {
        &self.all.extend
    }

    /// Returns the second words of the cluster, on a virtual device.
    #[inline]
    pub(crate) fn virtual_table(&self) -> Option<&'a VirtualTable> {
        self.all.tables.virtual_table(self.ci.table_id()?)
    }

    /// Returns the second word of a slot; NONE on a device without.
    #[inline]
    pub(crate) fn virtual_word(&self, slot: usize) -> VirtualWord {
        self.virtual_table().map_or(VirtualWord::NONE, |table| table.get(slot))
    }

    /// Writes the second word of a slot in use, of a virtual device.
    #[inline]
    pub(crate) fn set_virtual_word(&mut self, slot: usize, word: VirtualWord) {
        self.virtual_table().expect("a slot in use of a virtual device has two words").set(slot, word);
    }

    fn cell(&self, slot: usize) -> Option<Cell> {
        Some(Cell { cluster: self.idx, table: self.ci.table_id()?, slot })
    }

    /// Returns the owner that is recorded for a slot beside its entry, 0 for none.
    #[inline]
    pub(crate) fn owner(&self, slot: usize) -> MemcgId {
        match &self.all.owners {
            Owners::Entry => MemcgId(0),
            owners => self.cell(slot).map_or(MemcgId(0), |cell| owners.get(cell)),
        }
    }

    /// Records the owner of slots beside their entries, where owners are kept there.
    pub(crate) fn set_owner(&mut self, slot: usize, nr: usize, id: MemcgId) {
        let cell = self.cell(slot).expect("slots in use have a table");
        self.all.owners.fill(cell, nr, id);
    }

    /// Returns the attached table's number, for the check that no two clusters share one.
    pub(crate) fn table_number(&self) -> Option<u32> {
        self.ci.table_id().map(|id| id.0.get())
    }
}
