//! Counts of 15 and more: one 32-bit cell per slot, only in clusters that have a slot with such a count.

use std::collections::HashMap;

use crate::base::limits::{SWAPFILE_CLUSTER, SWP_TB_COUNT_MAX};
use crate::base::sync::SpinMutex;
use crate::base::types::ClusterIdx;
use crate::containers::shrink::remove_and_shrink;

type Cells = [u32; SWAPFILE_CLUSTER as usize];

/// The extend tables of one device. The caller of each function holds the lock of the cluster. Kernel:
/// `ci->extend_table`; differs: a table is found by cluster number, so that a cluster without a table needs no
/// pointer.
#[derive(Debug, Default)]
pub(crate) struct ExtendTables(SpinMutex<HashMap<ClusterIdx, Box<Cells>>>);

impl ExtendTables {
    /// Starts the cell of a slot at 15, because the inline count of the slot has just reached the overflow mark.
    pub(crate) fn start(&self, cluster: ClusterIdx, slot: usize) {
        let mut tables = self.0.lock();
        let cells = tables.entry(cluster).or_insert_with(|| Box::new([0; SWAPFILE_CLUSTER as usize]));
        debug_assert_eq!(cells[slot], 0, "an overflowing slot already has a cell");
        cells[slot] = SWP_TB_COUNT_MAX as u32;
    }

    /// Adds one reference. Returns `false` and changes nothing when the cell has its largest value.
    pub(crate) fn add(&self, cluster: ClusterIdx, slot: usize) -> bool {
        let mut tables = self.0.lock();
        let cell = &mut tables.get_mut(&cluster).expect("an overflowed slot has a table")[slot];
        let more = cell.checked_add(1);
        *cell = more.unwrap_or(*cell);
        more.is_some()
    }

    /// Drops one reference. Returns `true` when the count falls to 14, which the table entry then holds inline. The
    /// table is freed when all its cells are 0.
    pub(crate) fn sub(&self, cluster: ClusterIdx, slot: usize) -> bool {
        let mut tables = self.0.lock();
        let cells = tables.get_mut(&cluster).expect("an overflowed slot has a table");
        cells[slot] -= 1;
        if cells[slot] >= SWP_TB_COUNT_MAX as u32 {
            return false;
        }
        cells[slot] = 0;
        if cells.iter().all(|&cell| cell == 0) {
            remove_and_shrink(&mut tables, &cluster);
        }
        true
    }

    /// Returns the count of a slot; 0 when the slot has no cell.
    pub(crate) fn count(&self, cluster: ClusterIdx, slot: usize) -> u32 {
        self.0.lock().get(&cluster).map_or(0, |cells| cells[slot])
    }

    /// Returns whether a cluster has an extend table.
    pub(crate) fn has(&self, cluster: ClusterIdx) -> bool {
        self.0.lock().contains_key(&cluster)
    }

    /// Returns the bytes of all extend tables.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.lock().len() as u64 * size_of::<Cells>() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lives_from_the_fifteenth_reference_to_the_fourteenth() {
        let (tables, cluster) = (ExtendTables::default(), ClusterIdx(3));
        tables.start(cluster, 7);
        assert!(tables.add(cluster, 7));
        assert_eq!((tables.count(cluster, 7), tables.bytes()), (16, 2048));
        assert!(!tables.sub(cluster, 7));
        assert!(tables.sub(cluster, 7));
        assert!(!tables.has(cluster));
        assert_eq!(tables.bytes(), 0);
    }
}
