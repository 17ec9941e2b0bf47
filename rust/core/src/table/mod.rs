//! Swap tables: each table has 512 atomic entries for the slots of one cluster. The tables of a device come from a
//! pool. Counts over 14 are in separate extend tables.
//!
//! A table is attached to a cluster while the cluster is in use. When the cluster is empty, the table is returned to
//! the pool with all entries NULL.

mod entry;
mod extend;
mod owners;
mod pool;
mod shown;
mod virtual_word;

use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Zeroable;

use crate::base::limits::{PAGE_SIZE, SWAPFILE_CLUSTER};

pub use entry::{DupStep, EntryKind, PutStep, Shadow, SwapTableEntry};
pub(crate) use extend::ExtendTables;
pub(crate) use owners::{Cell, OwnerForm, Owners};
pub(crate) use pool::{TableId, TablePool};
pub(crate) use shown::ShownTable;
pub use virtual_word::Backing;
pub(crate) use virtual_word::{Stored, VirtualTable, VirtualWord};

/// The table entries of one cluster. Kernel: `struct swap_table`.
#[derive(Debug)]
#[repr(transparent)]
pub struct SwapTable([AtomicU64; SWAPFILE_CLUSTER as usize]);

const _: () = assert!(size_of::<SwapTable>() == PAGE_SIZE, "a table is one page");

// SAFETY: all zero bytes are 512 atomics of value 0, which are 512 NULL entries.
#[expect(unsafe_code, reason = "tables live in zeroed mappings")]
unsafe impl Zeroable for SwapTable {}

/// The state of the virtual slot that a Pointer names: whether it has references.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// The virtual slot is cached and has no references.
    CacheOnly,
    /// The virtual slot has references. It may be cached too.
    References,
}

impl SwapTable {
    /// Reads an entry. Without the cluster lock the returned entry may already be out of date.
    #[inline]
    pub fn get(&self, index: usize) -> SwapTableEntry {
        // Relaxed: the entry is one self-contained word. A caller that also reads other fields of the cluster takes
        // the cluster lock, which orders all these accesses.
        SwapTableEntry::from_raw(self.0[index].load(Ordering::Relaxed))
    }

    /// Writes an entry; the cluster lock is held.
    #[inline]
    pub(crate) fn set(&self, index: usize, entry: SwapTableEntry) {
        // Relaxed: the cluster lock orders all writers, and the readers that hold the lock.
        self.0[index].store(entry.raw(), Ordering::Relaxed);
    }

    /// Writes the same entry to a run; the cluster lock is held.
    #[inline]
    pub(crate) fn fill(&self, index: usize, nr: usize, entry: SwapTableEntry) {
        if nr == 1 {
            return self.set(index, entry);
        }
        for word in &self.0[index..index + nr] {
            word.store(entry.raw(), Ordering::Relaxed);
        }
    }

    /// Writes the Pointers of a run that backs consecutive virtual slots. `first` is the Pointer to the first virtual
    /// slot. The cluster lock is held.
    #[inline(never)]
    pub(crate) fn fill_pointers(&self, index: usize, nr: usize, first: SwapTableEntry) {
        for (i, word) in self.0[index..index + nr].iter().enumerate() {
            word.store(first.raw() + i as u64 * SwapTableEntry::POINTER_STEP, Ordering::Relaxed);
        }
    }

    /// Records in a Pointer whether the virtual slot that the Pointer names has references. The caller holds the lock
    /// of the virtual slot's cluster, not the lock of this table's cluster.
    pub(crate) fn mark_holder(&self, index: usize, holder: Holder) {
        // Relaxed: other threads only read the bit, and check the state of the virtual slot under its locks before
        // they act.
        match holder {
            Holder::CacheOnly => self.0[index].fetch_or(SwapTableEntry::CACHE_ONLY_BIT, Ordering::Relaxed),
            Holder::References => self.0[index].fetch_and(!SwapTableEntry::CACHE_ONLY_BIT, Ordering::Relaxed),
        };
    }

    /// Returns whether a whole run is free; the cluster lock is held.
    #[inline]
    pub(crate) fn is_null_run(&self, index: usize, nr: usize) -> bool {
        if nr == 1 {
            return self.get(index).is_null();
        }
        self.0[index..index + nr].iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// Returns the number of consecutive free slots from `index` on, at most `nr_max`. The cluster lock is held.
    #[inline]
    pub(crate) fn nr_null_from(&self, index: usize, nr_max: usize) -> usize {
        let words = self.0[index..index + nr_max].iter();
        words.take_while(|word| word.load(Ordering::Relaxed) == 0).count()
    }

    /// Returns whether `differs` is 0 for every entry of a run. The cluster lock is held. The loop does not stop at
    /// the first difference, because a branch for each entry costs more time.
    #[inline(always)]
    pub(crate) fn is_run_of(&self, index: usize, nr: usize, differs: impl Fn(SwapTableEntry) -> u64) -> bool {
        if nr == 1 {
            return differs(self.get(index)) == 0;
        }
        let words = self.0[index..index + nr].iter();
        words.fold(0, |bits, word| bits | differs(SwapTableEntry::from_raw(word.load(Ordering::Relaxed)))) == 0
    }

    /// Returns every entry, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = SwapTableEntry> {
        self.0.iter().map(|word| SwapTableEntry::from_raw(word.load(Ordering::Relaxed)))
    }
}
