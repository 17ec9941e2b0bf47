//! Owners of slots that are recorded outside the table entries: one private memcg id per slot, 0 for no owner.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};

use bytemuck::Zeroable;

use super::TableId;
use crate::base::error::Result;
use crate::base::limits::{POOL_TABLES_HEAD_MAX, SWAPFILE_CLUSTER};
use crate::base::sync::SpinMutex;
use crate::base::types::{ClusterIdx, MemcgId};
use crate::containers::growing::GrowingSlice;
use crate::containers::shrink::remove_and_shrink;
use crate::containers::zeroed::MappedSlice;

/// The owner ids of the slots of one cluster. Kernel: `struct swap_memcg_table`.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct OwnerCells([AtomicU16; SWAPFILE_CLUSTER as usize]);

const _: () = assert!(size_of::<OwnerCells>() == 1024, "2 bytes a slot");

// SAFETY: all zero bytes are 512 atomics of value 0, which means no owner.
#[expect(unsafe_code, reason = "cells live in zeroed mappings")]
unsafe impl Zeroable for OwnerCells {}

/// The place where the owner ids of a device's slots are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerForm {
    /// In the table entries; [`Owners`] then stores nothing.
    Entry,
    /// In an array that swapon allocates, with one cell for each slot of the device.
    Array,
    /// In a block for each cluster that has a table.
    Table,
    /// In a block for each cluster in which a slot has an owner id.
    Sparse,
}

/// The owner ids of one device's slots, stored outside the table entries. The caller of each function holds the lock
/// of the slots' cluster.
#[derive(Debug)]
pub(crate) enum Owners {
    /// See [`OwnerForm::Entry`].
    Entry,
    /// One cell per slot of the device. Kernel: `swap_cgroup_ctrl`.
    Array(MappedSlice<AtomicU16>),
    /// One block per table number. A block is zeroed when its table is released. The next table with the same number
    /// uses the same block.
    Table(GrowingSlice<OwnerCells>),
    /// One block per cluster number, only for clusters in which a slot has an owner id.
    Sparse(SpinMutex<HashMap<ClusterIdx, Box<[u16; SWAPFILE_CLUSTER as usize]>>>),
}

/// The position of a slot: the cluster number, the table number and the slot's index in the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) cluster: ClusterIdx,
    pub(crate) table: TableId,
    pub(crate) slot: usize,
}

impl Cell {
    fn offset(self) -> usize {
        self.cluster.base().0 as usize + self.slot
    }
}

impl Owners {
    /// Allocates the storage for the owner ids of `nr_clusters` clusters. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn new(form: OwnerForm, nr_clusters: u32) -> Result<Self> {
        let nr = nr_clusters as usize;
        Ok(match form {
            OwnerForm::Entry => Self::Entry,
            OwnerForm::Array => Self::Array(MappedSlice::zeroed(nr * SWAPFILE_CLUSTER as usize)?),
            OwnerForm::Table => Self::Table(GrowingSlice::with_head(nr + 1, nr + 1)?),
            OwnerForm::Sparse => Self::Sparse(SpinMutex::default()),
        })
    }

    /// Prepares the storage for the owner ids of up to `capacity` clusters of a device that has `nr` clusters now and
    /// creates them on demand. [`Owners::map_table`] then makes the storage of a table. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn growing(form: OwnerForm, nr: u32, capacity: u32) -> Result<Self> {
        let nr_head = (nr as usize).min(POOL_TABLES_HEAD_MAX);
        match form {
            // A dynamic device must not allocate owner cells for all slots in advance.
            OwnerForm::Array | OwnerForm::Table => {
                Ok(Self::Table(GrowingSlice::with_head(nr_head + 1, capacity as usize + 1)?))
            }
            OwnerForm::Entry | OwnerForm::Sparse => Self::new(form, nr),
        }
    }

    /// Makes the storage for the owner ids of the cluster that gets a table. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn map_table(&self, table: TableId) -> Result<()> {
        match self {
            Self::Table(tables) => tables.map_element(table.index()),
            Self::Entry | Self::Array(_) | Self::Sparse(_) => Ok(()),
        }
    }

    /// Returns the owner id of a slot, 0 for no owner. Kernel: `lookup_swap_cgroup_id`.
    #[inline]
    pub(crate) fn get(&self, at: Cell) -> MemcgId {
        // Relaxed: the cluster lock orders all accesses.
        MemcgId(match self {
            Self::Entry => 0,
            Self::Array(ids) => ids[at.offset()].load(Ordering::Relaxed),
            Self::Table(tables) => tables.element(at.table.index()).0[at.slot].load(Ordering::Relaxed),
            Self::Sparse(clusters) => clusters.lock().get(&at.cluster).map_or(0, |ids| ids[at.slot]),
        })
    }

    /// Writes the owner id of `nr` slots, from `at` on. Kernel: `swap_cgroup_record`.
    pub(crate) fn fill(&self, at: Cell, nr: usize, id: MemcgId) {
        let store = |cells: &[AtomicU16]| cells.iter().for_each(|cell| cell.store(id.0, Ordering::Relaxed));
        match self {
            Self::Entry => {}
            Self::Array(ids) => store(&ids[at.offset()..at.offset() + nr]),
            Self::Table(tables) => store(&tables.element(at.table.index()).0[at.slot..at.slot + nr]),
            Self::Sparse(clusters) => {
                let mut clusters = clusters.lock();
                if id.0 == 0 && !clusters.contains_key(&at.cluster) {
                    return;
                }
                let ids = clusters.entry(at.cluster).or_insert_with(|| Box::new([0; SWAPFILE_CLUSTER as usize]));
                ids[at.slot..at.slot + nr].fill(id.0);
                if ids.iter().all(|&id| id == 0) {
                    remove_and_shrink(&mut clusters, &at.cluster);
                }
            }
        }
    }

    /// Returns the bytes that are allocated at swapon, and the bytes that are allocated for clusters in use.
    /// `nr_tables` is the number of clusters with a table.
    pub(crate) fn bytes(&self, nr_tables: u32) -> (u64, u64) {
        match self {
            Self::Entry => (0, 0),
            Self::Array(ids) => (size_of_val(&**ids) as u64, 0),
            Self::Table(_) => (0, u64::from(nr_tables) * size_of::<OwnerCells>() as u64),
            Self::Sparse(clusters) => (0, clusters.lock().len() as u64 * size_of::<OwnerCells>() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: usize) -> Cell {
        Cell { cluster: ClusterIdx(3), table: TableId(std::num::NonZeroU32::MIN), slot }
    }

    #[test]
    fn every_form_keeps_what_it_is_given() {
        for form in [OwnerForm::Array, OwnerForm::Table, OwnerForm::Sparse] {
            let owners = Owners::new(form, 8).expect("memory");
            owners.fill(at(5), 3, MemcgId(9));
            let ids: Vec<_> = (4..9).map(|slot| owners.get(at(slot)).0).collect();
            assert_eq!(ids, [0, 9, 9, 9, 0], "{form:?}");
            owners.fill(at(5), 3, MemcgId(0));
            assert_eq!(owners.get(at(6)), MemcgId(0), "{form:?}");
        }
        let entry = Owners::new(OwnerForm::Entry, 8).expect("nothing");
        entry.fill(at(5), 3, MemcgId(9));
        assert_eq!(entry.get(at(5)), MemcgId(0));
    }

    #[test]
    fn bytes_are_those_of_the_reference() {
        let of = |form| Owners::new(form, 1 << 19).expect("memory").bytes(7);
        // A device of one terabyte has half a million clusters.
        assert_eq!((of(OwnerForm::Entry), of(OwnerForm::Array)), ((0, 0), (512 << 20, 0)));
        assert_eq!((of(OwnerForm::Table), of(OwnerForm::Sparse)), ((0, 7 << 10), (0, 0)));
        let sparse = Owners::new(OwnerForm::Sparse, 8).expect("memory");
        sparse.fill(at(0), 1, MemcgId(2));
        assert_eq!(sparse.bytes(7), (0, 1024));
        sparse.fill(at(0), 1, MemcgId(0));
        assert_eq!(sparse.bytes(7), (0, 0), "the cells are freed with their last id");
    }
}
