//! Replacements for modules of the core. The tests compile some files of the core with these replacements, so that
//! the files use the locks and atomics of loom or shuttle. `crate::model` names these locks and atomics.

/// The replacement for the core's module `base`.
pub(crate) mod base {
    pub(crate) use super::{error, sync, types};
}

/// The replacement for the core's module `containers`.
pub(crate) mod containers {
    pub(crate) use super::{growing, zeroed};
}

/// The replacement for the core's module `table`.
pub(crate) mod table {
    pub(crate) use crate::shown::ShownTable;
}

pub(crate) mod sync {
    use crate::model::{Mutex, MutexGuard};

    pub(crate) mod atomics {
        pub(crate) use crate::model::atomics::*;
    }

    /// The replacement for the core's spin lock, which uses the mutex of the model.
    #[derive(Debug)]
    pub(crate) struct SpinMutex<T>(Mutex<T>);

    impl<T> SpinMutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no panic under a lock")
        }
    }
}

pub(crate) mod error {
    pub(crate) type Result<T> = std::result::Result<T, std::convert::Infallible>;
}

pub(crate) mod zeroed {
    use super::error::Result;
    use crate::model::atomics::AtomicU64;

    /// The replacement for the core's `MappedSlice`, an array whose memory is mapped at the first use.
    #[derive(Debug)]
    pub(crate) struct MappedSlice<T>(Vec<T>);

    impl MappedSlice<AtomicU64> {
        pub(crate) fn zeroed(len: usize) -> Result<Self> {
            Ok(Self((0..len).map(|_| AtomicU64::new(0)).collect()))
        }
    }

    impl<T> std::ops::Deref for MappedSlice<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    pub(crate) fn page_bytes<T>(len: usize) -> u64 {
        (len * size_of::<T>()).next_multiple_of(4096) as u64
    }
}

pub(crate) mod growing {
    use super::error::Result;
    use super::zeroed::MappedSlice;
    use crate::model::atomics::AtomicU64;

    /// The replacement for the core's `GrowingSlice`, an array that has all of its elements from the start.
    #[derive(Debug)]
    pub(crate) struct GrowingSlice<T>(MappedSlice<T>);

    impl GrowingSlice<AtomicU64> {
        pub(crate) fn with_head(_nr_head: usize, capacity: usize) -> Result<Self> {
            Ok(Self(MappedSlice::zeroed(capacity)?))
        }

        pub(crate) fn element(&self, at: usize) -> &AtomicU64 {
            &self.0[at]
        }

        pub(crate) fn find_element(&self, at: usize) -> Option<&AtomicU64> {
            self.0.get(at)
        }

        pub(crate) fn map_element(&self, at: usize) -> Result<()> {
            assert!(at < self.0.len(), "an element beyond the capacity");
            Ok(())
        }

        pub(crate) fn head_bytes(&self) -> u64 {
            size_of_val(&*self.0) as u64
        }
    }
}

pub(crate) mod types {
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub(crate) struct ClusterIdx(pub(crate) u32);

    impl ClusterIdx {
        pub(crate) fn index(self) -> usize {
            self.0 as usize
        }
    }
}

/// A device whose clusters are created and destroyed, as in `cluster/mod.rs`. A cluster has a record and a table with
/// one entry. The core's index finds the record and the table by the number of the cluster.
pub(crate) mod device {
    use super::sync::SpinMutex;
    use super::types::ClusterIdx;
    use crate::index::Index;
    use crate::model::MutexGuard;
    use crate::model::atomics::{AtomicU64, Ordering};

    /// The fields of a cluster's record. The lock of the record protects these fields.
    #[derive(Debug)]
    pub(crate) struct Record {
        pub(crate) index: u32,
        pub(crate) is_dead: bool,
    }

    /// The device of the tests. `records[n]` and `entries[n]` belong to table `n`. The first table has the number 1.
    #[derive(Debug)]
    pub(crate) struct Device {
        pub(crate) index: Index,
        records: Vec<SpinMutex<Record>>,
        /// The only entry of each table.
        entries: Vec<AtomicU64>,
        pool: SpinMutex<Vec<u32>>,
    }

    pub(crate) struct Guard<'a> {
        record: MutexGuard<'a, Record>,
        device: &'a Device,
        table: u32,
    }

    impl Device {
        pub(crate) fn new(nr_records: u32, capacity: u32) -> Self {
            Self {
                index: Index::dynamic(capacity, capacity).expect("memory"),
                records: (0..=nr_records).map(|_| SpinMutex::new(Record { index: 0, is_dead: false })).collect(),
                entries: (0..=nr_records).map(|_| AtomicU64::new(0)).collect(),
                pool: SpinMutex::new((1..=nr_records).rev().collect()),
            }
        }

        /// Works as `Clusters::create` of the core.
        pub(crate) fn create(&self, range: std::ops::Range<u32>) -> Option<Guard<'_>> {
            let table = self.pool.lock().pop()?;
            let mut record = self.records[table as usize].lock();
            let prepare = |idx: ClusterIdx| *record = Record { index: idx.0, is_dead: false };
            if self.index.store_lowest(range, table, prepare).is_none() {
                drop(record);
                self.pool.lock().push(table);
                return None;
            }
            Some(Guard { record, device: self, table })
        }

        /// Works as `Clusters::lock` of the core.
        pub(crate) fn lock(&self, idx: u32) -> Option<Guard<'_>> {
            self.index.find(ClusterIdx(idx), |table| {
                let record = self.records[table as usize].lock();
                (!record.is_dead && record.index == idx).then_some(Guard { record, device: self, table })
            })
        }

        /// Works as `Clusters::entry` of the core.
        pub(crate) fn entry(&self, idx: u32) -> u64 {
            let look = |table| self.entries[table as usize].load(Ordering::Relaxed);
            self.index.shown(ClusterIdx(idx)).read(look).unwrap_or(0)
        }
    }

    impl Guard<'_> {
        pub(crate) fn idx(&self) -> u32 {
            self.record.index
        }

        pub(crate) fn get(&self) -> u64 {
            self.device.entries[self.table as usize].load(Ordering::Relaxed)
        }

        pub(crate) fn set(&self, entry: u64) {
            self.device.entries[self.table as usize].store(entry, Ordering::Relaxed);
        }

        /// Works as `ClusterGuard::destroy` of the core when the last slot of the cluster is freed.
        pub(crate) fn destroy(mut self) {
            self.set(0);
            self.device.index.erase(ClusterIdx(self.record.index));
            self.record.is_dead = true;
            self.device.pool.lock().push(self.table);
        }
    }
}
