//! The lists of clusters of a device: free, full, discard, and for each order a nonfull list and a frag list.
//! Clusters are added at the tail and taken from the head. Unlinking is O(1).
//!
//! Clusters that were never used since swapon are on the free list without links. A cursor names the next of these
//! clusters, and all of them come before the clusters that were freed later. A swapon of a device of 1 TiB therefore
//! touches no cluster.

use std::sync::atomic::Ordering::Relaxed;

use super::{ClusterFlag, ClusterGuard, Clusters, RecordId, SwapCluster};
use crate::base::limits::{SWAP_CLUSTER_COLS, SWAP_NR_ORDERS};
use crate::base::types::{ClusterIdx, Order};
use crate::base::words::words;
use crate::containers::growing::GrowingSlice;
use crate::containers::index_list::{IndexList, Links, NIL};

/// The name of one list of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListId {
    /// Empty clusters.
    Free,
    /// Clusters in which a slot was freed after the last allocation from the cluster.
    Nonfull(Order),
    /// Clusters in which no slot was freed after the last allocation from the cluster.
    Frag(Order),
    /// Clusters without a free slot.
    Full,
    /// Empty clusters that wait for a discard.
    Discard,
}

const NR_LISTS: usize = 3 + 2 * SWAP_NR_ORDERS;

impl ListId {
    const fn index(self) -> usize {
        match self {
            Self::Free => 0,
            Self::Full => 1,
            Self::Discard => 2,
            Self::Nonfull(order) => 3 + order.index(),
            Self::Frag(order) => 3 + SWAP_NR_ORDERS + order.index(),
        }
    }

    /// Returns the flag that clusters on this list have.
    pub const fn flag(self) -> ClusterFlag {
        match self {
            Self::Free => ClusterFlag::Free,
            Self::Nonfull(_) => ClusterFlag::Nonfull,
            Self::Frag(_) => ClusterFlag::Frag,
            Self::Full => ClusterFlag::Full,
            Self::Discard => ClusterFlag::Discard,
        }
    }

    /// Returns the list of a cluster with this flag and order, or `None` when such a cluster is on no list.
    pub const fn of(flag: ClusterFlag, order: Order) -> Option<Self> {
        match flag {
            ClusterFlag::None | ClusterFlag::Dead => None,
            ClusterFlag::Free => Some(Self::Free),
            ClusterFlag::Nonfull => Some(Self::Nonfull(order)),
            ClusterFlag::Frag => Some(Self::Frag(order)),
            ClusterFlag::Full => Some(Self::Full),
            ClusterFlag::Discard => Some(Self::Discard),
        }
    }

    /// Returns every list.
    pub fn all() -> impl Iterator<Item = Self> {
        let by_order = Order::all().flat_map(|order| [Self::Nonfull(order), Self::Frag(order)]);
        [Self::Free, Self::Full, Self::Discard].into_iter().chain(by_order)
    }
}

words! {
    /// The order in which clusters are taken from the free list of a fresh device.
    pub enum FreeOrder: "free_order" {
        /// In the order of cluster numbers, as in kernel 6.18 and later.
        Ascending = "ascending",
        /// The order of kernels up to 6.17. The cluster numbers stand row by row in a table with 32 columns, and the
        /// order goes down the columns, one column after the other.
        Columns = "columns",
    }
}

/// The clusters that were never used: the cluster `next`, and all clusters after `next` in the free list order
/// `order`.
#[derive(Debug)]
struct Untouched {
    next: Option<ClusterIdx>,
    nr_clusters: u32,
    order: FreeOrder,
}

impl Untouched {
    fn rank(&self, idx: ClusterIdx) -> (u32, u32) {
        match self.order {
            FreeOrder::Ascending => (0, idx.0),
            FreeOrder::Columns => (idx.0 % SWAP_CLUSTER_COLS, idx.0 / SWAP_CLUSTER_COLS),
        }
    }

    fn after(&self, idx: ClusterIdx) -> Option<ClusterIdx> {
        let below = |candidate: u32| (candidate < self.nr_clusters).then_some(ClusterIdx(candidate));
        match self.order {
            FreeOrder::Ascending => below(idx.0 + 1),
            FreeOrder::Columns => below(idx.0 + SWAP_CLUSTER_COLS).or_else(|| {
                let column = idx.0 % SWAP_CLUSTER_COLS + 1;
                if column < SWAP_CLUSTER_COLS { below(column) } else { None }
            }),
        }
    }

    fn contains(&self, idx: ClusterIdx) -> bool {
        self.next.is_some_and(|next| self.rank(idx) >= self.rank(next))
    }
}

// Relaxed throughout, because the list lock orders all accesses to the links.
impl Links for &GrowingSlice<SwapCluster> {
    #[inline]
    fn links(&self, at: u32) -> (u32, u32) {
        let ci = self.element(at as usize);
        (ci.prev.load(Relaxed), ci.next.load(Relaxed))
    }

    #[inline]
    fn set_links(&mut self, at: u32, prev: u32, next: u32) {
        let ci = self.element(at as usize);
        ci.prev.store(prev, Relaxed);
        ci.next.store(next, Relaxed);
    }

    #[inline]
    fn set_prev(&mut self, at: u32, prev: u32) -> bool {
        at != NIL && {
            self.element(at as usize).prev.store(prev, Relaxed);
            true
        }
    }

    #[inline]
    fn set_next(&mut self, at: u32, next: u32) -> bool {
        at != NIL && {
            self.element(at as usize).next.store(next, Relaxed);
            true
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    list: IndexList,
    len: u32,
}

/// All lists of one device. A caller that has `&mut Lists` holds the list lock.
#[derive(Debug)]
pub(super) struct Lists {
    heads: [Head; NR_LISTS],
    untouched: Untouched,
}

impl Lists {
    pub(super) fn new(nr_clusters: u32, order: FreeOrder) -> Self {
        let next = (nr_clusters > 0).then_some(ClusterIdx(0));
        Self { heads: [Head::default(); NR_LISTS], untouched: Untouched { next, nr_clusters, order } }
    }

    #[inline]
    pub(super) fn link_tail(&mut self, all: &Clusters, list: ListId, record: RecordId) {
        let head = &mut self.heads[list.index()];
        head.list.push_last(&all.array, record.0);
        head.len += 1;
    }

    // Always inlined, because every move of a cluster between lists calls this function once.
    #[inline(always)]
    pub(super) fn unlink(&mut self, all: &Clusters, list: ListId, record: RecordId) {
        let head = &mut self.heads[list.index()];
        head.list.unlink(&all.array, record.0);
        head.len -= 1;
    }

    /// Unlinks the first cluster of a list whose cluster lock is free, and returns that cluster locked.
    pub(super) fn take_first_lockable<'a>(&mut self, all: &'a Clusters, list: ListId) -> Option<ClusterGuard<'a>> {
        if list == ListId::Free {
            while let Some(idx) = self.next_untouched(all) {
                // Only a device that is not dynamic has untouched clusters. On such a device the record number of a
                // cluster is the cluster number.
                let record = RecordId(idx.0);
                match all.try_lock(record) {
                    Some(ci) => return Some(ci),
                    // Another thread holds the lock of this untouched cluster, so the scan links the cluster to the
                    // free list and goes on.
                    None => self.link_tail(all, ListId::Free, record),
                }
            }
        }
        let mut at = self.heads[list.index()].list.first();
        while at != NIL {
            let record = RecordId(at);
            if let Some(ci) = all.try_lock(record) {
                self.unlink(all, list, record);
                return Some(ci);
            }
            at = (&all.array).links(at).1;
        }
        None
    }

    pub(super) fn pop_first(&mut self, all: &Clusters, list: ListId) -> Option<RecordId> {
        let first = self.heads[list.index()].list.first();
        if first == NIL {
            return None;
        }
        self.unlink(all, list, RecordId(first));
        Some(RecordId(first))
    }

    /// Returns the cluster at the cursor, which is the next untouched cluster, and advances the cursor. The cursor
    /// skips clusters with bad slots, because swapon did not put these clusters on the free list.
    fn next_untouched(&mut self, all: &Clusters) -> Option<ClusterIdx> {
        while let Some(idx) = self.untouched.next {
            self.untouched.next = self.untouched.after(idx);
            if Self::is_free(all.array.element(idx.index())) {
                return Some(idx);
            }
        }
        None
    }

    fn is_free(ci: &SwapCluster) -> bool {
        // Relaxed: the flag of a never-used cluster was last written at swapon.
        ClusterFlag::from_stored(ci.flag.load(Relaxed)) == ClusterFlag::Free
    }

    pub(super) fn is_untouched(&self, all: &Clusters, idx: ClusterIdx) -> bool {
        self.untouched.contains(idx) && Self::is_free(all.array.element(idx.index()))
    }

    /// Returns the number of linked clusters of a list. The untouched clusters of the free list are not linked and do
    /// not count.
    pub(super) fn len(&self, list: ListId) -> u32 {
        self.heads[list.index()].len
    }

    pub(super) fn iter(&self, all: &Clusters, list: ListId) -> Vec<ClusterIdx> {
        let next = self.untouched.next.filter(|_| list == ListId::Free);
        let untouched = std::iter::successors(next, |&idx| self.untouched.after(idx));
        let free = untouched.filter(|idx| Self::is_free(all.array.element(idx.index())));
        free.chain(self.linked(all, list)).collect()
    }

    pub(super) fn linked(&self, all: &Clusters, list: ListId) -> Vec<ClusterIdx> {
        self.heads[list.index()].list.iter(&all.array).map(|at| all.idx_of(RecordId(at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::OwnerForm;

    fn free_order(nr: u32, order: FreeOrder) -> Vec<u32> {
        let clusters = Clusters::new(nr, order, OwnerForm::Entry).expect("memory");
        std::iter::from_fn(|| clusters.isolate(ListId::Free).map(|ci| ci.idx().0)).collect()
    }

    #[test]
    fn fresh_clusters_come_out_ascending_or_column_by_column() {
        assert_eq!(free_order(5, FreeOrder::Ascending), [0, 1, 2, 3, 4]);
        let order = free_order(70, FreeOrder::Columns);
        assert_eq!(order[..9], [0, 32, 64, 1, 33, 65, 2, 34, 66]);
        assert_eq!(order.len(), 70);
    }

    #[test]
    fn freed_clusters_follow_the_untouched_ones() {
        let clusters = Clusters::new(4, FreeOrder::Ascending, OwnerForm::Entry).expect("memory");
        for _ in 0..2 {
            let mut ci = clusters.isolate(ListId::Free).expect("free");
            ci.detach_table();
            ci.move_to(ListId::Free);
        }
        let left: Vec<_> = clusters.list(ListId::Free).iter().map(|idx| idx.0).collect();
        assert_eq!(left, [2, 3, 0, 1]);
        assert!(clusters.is_untouched(ClusterIdx(3)) && !clusters.is_untouched(ClusterIdx(0)));
    }
}
