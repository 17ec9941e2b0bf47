//! The tables of one device. The pool hands tables out by number and reuses the table that was released last. A table
//! takes memory only after the table was touched.
//!
//! The memory of a table stays mapped as long as its device exists. A reader without a lock may therefore always read
//! a table. The table may belong to another cluster meanwhile, so the reader checks after the read that its cluster
//! still has the same table. Kernel: tables are freed by RCU or come from a type-safe slab; this pool corresponds to
//! the type-safe slab.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::{SwapTable, VirtualTable};
use crate::base::error::Result;
use crate::base::limits::{POOL_TABLES_HEAD_MAX, POOL_TABLES_HOT_MAX};
use crate::base::sync::SpinMutex;
use crate::containers::growing::GrowingSlice;

/// The number of a table in its pool, counted from 1 so that 0 can mean "no table".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableId(pub(crate) NonZeroU32);

impl TableId {
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0.get() as usize
    }
}

#[derive(Debug, Default)]
struct Free {
    /// Number of tables that were ever used; tables with a higher number were never used.
    next_fresh: u32,
    /// Released tables that still have memory, the oldest table first.
    hot: VecDeque<TableId>,
    /// Released tables whose memory was returned to the system.
    cold: Vec<TableId>,
    attached: u32,
}

/// All tables of one device.
#[derive(Debug)]
pub(crate) struct TablePool {
    tables: GrowingSlice<SwapTable>,
    /// The second words of the table entries of a virtual device, indexed by table number.
    virtuals: Option<GrowingSlice<VirtualTable>>,
    free: SpinMutex<Free>,
}

impl TablePool {
    /// Makes a pool of `nr` tables. The pool takes no memory before a table is touched. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn new(nr: u32) -> Result<Self> {
        Self::with_head(nr as usize, nr as usize, false)
    }

    /// Makes a pool of up to `capacity` tables for a device that has `nr` clusters now. Address space for tables is
    /// reserved when the tables are needed, because a ghost of 15 TiB has 7.5 million clusters and uses few of them. If
    /// `is_virtual`, each table entry has a second word. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn growing(nr: u32, capacity: u32, is_virtual: bool) -> Result<Self> {
        Self::with_head((nr as usize).min(POOL_TABLES_HEAD_MAX), capacity as usize, is_virtual)
    }

    fn with_head(nr_head: usize, capacity: usize, is_virtual: bool) -> Result<Self> {
        // The number of a table is its index in the arrays, which makes every lookup shorter. The arrays therefore
        // have one more element, at index 0, which is never touched.
        let virtuals = is_virtual.then(|| GrowingSlice::with_head(nr_head + 1, capacity + 1)).transpose()?;
        Ok(Self { tables: GrowingSlice::with_head(nr_head + 1, capacity + 1)?, virtuals, free: SpinMutex::default() })
    }

    /// Takes a table whose entries are all NULL. Locks: the pool lock. Panics: when all tables of the pool are taken.
    pub(crate) fn take(&self) -> TableId {
        self.take_below(u32::MAX).expect("one table a cluster at the most")
    }

    /// Takes a table. Returns `None` when `max` tables or all tables of the pool are taken, or when the system refuses
    /// address space for one more table. Locks: the pool lock.
    pub(crate) fn take_below(&self, max: u32) -> Option<TableId> {
        let mut free = self.free.lock();
        if free.attached >= max {
            return None;
        }
        let reused = free.hot.pop_back().or_else(|| free.cold.pop());
        let id = match reused {
            Some(id) => id,
            None if free.next_fresh as usize + 1 < self.tables.capacity() => {
                let fresh = free.next_fresh as usize + 1;
                self.tables.map_element(fresh).ok()?;
                self.virtuals.iter().try_for_each(|virtuals| virtuals.map_element(fresh)).ok()?;
                free.next_fresh += 1;
                TableId(NonZeroU32::new(free.next_fresh).expect("one more than a count of tables"))
            }
            None => return None,
        };
        free.attached += 1;
        Some(id)
    }

    /// Returns a table whose entries are all NULL to the pool. Locks: the pool lock.
    pub(crate) fn release(&self, id: TableId) {
        debug_assert!(self.table(id).iter().all(|entry| entry.is_null()), "a released table holds entries");
        debug_assert!(self.virtual_table(id).is_none_or(VirtualTable::is_empty), "a released table has backings");
        let cooled = {
            let mut free = self.free.lock();
            free.attached -= 1;
            free.hot.push_back(id);
            if free.hot.len() > POOL_TABLES_HOT_MAX { free.hot.pop_front() } else { None }
        };
        // The table `cooled` is neither in `hot` nor in `cold`, so no other thread can take the table while its
        // memory is released.
        if let Some(id) = cooled {
            let run = id.index()..id.index() + 1;
            self.tables.release_run(run.clone());
            self.virtuals.iter().for_each(|virtuals| virtuals.release_run(run.clone()));
            self.free.lock().cold.push(id);
        }
    }

    /// Returns a table by number.
    #[inline(always)]
    pub(crate) fn table(&self, id: TableId) -> &SwapTable {
        self.tables.element(id.index())
    }

    /// Returns the second words of a table's entries, or `None` when the device is not virtual.
    #[inline]
    pub(crate) fn virtual_table(&self, id: TableId) -> Option<&VirtualTable> {
        self.virtuals.as_ref().map(|virtuals| virtuals.element(id.index()))
    }

    /// Returns the number of tables attached to clusters.
    pub(crate) fn attached(&self) -> u32 {
        self.free.lock().attached
    }

    /// Returns the number of tables that were ever taken. This is also the highest table number ever in use.
    pub(crate) fn ever_used(&self) -> u32 {
        self.free.lock().next_fresh
    }

    /// Returns the number of released tables that still have memory.
    pub(crate) fn hot(&self) -> u32 {
        self.free.lock().hot.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::SwapTableEntry;

    #[test]
    fn a_released_table_is_reused_first() {
        let pool = TablePool::growing(4, 4, true).expect("memory");
        let (first, second) = (pool.take(), pool.take());
        assert_ne!(first, second);
        pool.release(first);
        assert_eq!(pool.take(), first);
        assert_eq!(pool.attached(), 2);
    }

    #[test]
    fn only_the_hottest_released_tables_keep_memory() {
        let nr = POOL_TABLES_HOT_MAX as u32 + 8;
        let pool = TablePool::growing(8, nr, false).expect("memory");
        let ids: Vec<_> = (0..nr).map(|_| pool.take()).collect();
        for &id in &ids {
            pool.table(id).set(0, SwapTableEntry::SWAPPED_OUT);
            pool.table(id).set(0, SwapTableEntry::NULL);
            pool.release(id);
        }
        assert_eq!((pool.attached(), pool.hot()), (0, POOL_TABLES_HOT_MAX as u32));
        let again: Vec<_> = (0..nr).map(|_| pool.take()).collect();
        assert_eq!(again.len(), ids.len());
        assert!(again.iter().all(|id| ids.contains(id)), "cold tables come back before fresh ones");
    }
}
