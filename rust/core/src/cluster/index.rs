//! The index of a device's clusters. For each cluster number, the index has the number of the cluster's table. On a
//! dynamic device the index also has the set of existing cluster numbers. `tests/loom.rs` and `tests/shuttle.rs`
//! check the index.
//!
//! The words of the index are one flat array in a memory mapping; a device that grows gets further mappings. A page of
//! the array takes memory only after its first use, so the array needs no radix tree of its own: the machine's page
//! tables do the work of one. Three levels of bits beside the array find the lowest free number. Kernel: an allocating
//! xarray; the newest patches use a sparse array like this one instead.

use std::ops::Range;

use crate::base::error::Result;
use crate::base::sync::SpinMutex;
use crate::base::sync::atomics::{AtomicU64, Ordering};
use crate::base::types::ClusterIdx;
use crate::containers::growing::GrowingSlice;
use crate::containers::zeroed::MappedSlice;
use crate::table::ShownTable;

const WORD_BITS: u32 = u64::BITS;
const NR_LEVELS: usize = 3;

/// A set of cluster numbers. Level 0 has one bit for each number. A bit of a higher level is set when all bits of one
/// word of the level below are set. Zeroed memory is the empty set. Only a thread that holds the lock around the set
/// may use the set.
#[derive(Debug)]
struct Taken {
    levels: [MappedSlice<AtomicU64>; NR_LEVELS],
    len: u32,
    /// The highest number that was ever in the set, plus one.
    end: u32,
}

// Relaxed throughout, because the lock around the set orders all accesses.
impl Taken {
    fn new(capacity: u32) -> Result<Self> {
        let mut nr_bits = capacity;
        let mut level = || {
            nr_bits = nr_bits.div_ceil(WORD_BITS);
            MappedSlice::zeroed(nr_bits as usize)
        };
        Ok(Self { levels: [level()?, level()?, level()?], len: 0, end: 0 })
    }

    fn word(&self, level: usize, at: u32) -> Option<u64> {
        Some(self.levels[level].get(at as usize)?.load(Ordering::Relaxed))
    }

    /// Returns the first clear bit of a level, from bit `from` on.
    fn first_clear(&self, level: usize, from: u32) -> Option<u32> {
        let at = from / WORD_BITS;
        let clear = !self.word(level, at)? & (u64::MAX << (from % WORD_BITS));
        if clear != 0 {
            return Some(at * WORD_BITS + clear.trailing_zeros());
        }
        let at = if level + 1 < NR_LEVELS {
            self.first_clear(level + 1, at + 1)?
        } else {
            (at + 1..self.levels[level].len() as u32).find(|&at| self.word(level, at) != Some(u64::MAX))?
        };
        Some(at * WORD_BITS + (!self.word(level, at)?).trailing_zeros())
    }

    /// Sets or clears the bit of a number. If all other bits of the changed word are set, the bit of that word in the
    /// next higher level changes in the same way.
    fn mark(&mut self, number: u32, is_taken: bool) {
        let mut at = number;
        for level in &self.levels {
            let (word, bit) = (&level[(at / WORD_BITS) as usize], 1 << (at % WORD_BITS));
            let taken = word.load(Ordering::Relaxed) | bit;
            word.store(if is_taken { taken } else { taken & !bit }, Ordering::Relaxed);
            if taken != u64::MAX {
                break;
            }
            at /= WORD_BITS;
        }
    }

    fn insert(&mut self, number: u32) {
        self.mark(number, true);
        self.len += 1;
        self.end = self.end.max(number + 1);
    }

    fn remove(&mut self, number: u32) {
        self.mark(number, false);
        self.len -= 1;
    }

    /// Returns the first member of the set from number `from` on.
    fn next(&self, from: u32) -> Option<u32> {
        let mut mask = u64::MAX << (from % WORD_BITS);
        (from / WORD_BITS..self.end.div_ceil(WORD_BITS)).find_map(|at| {
            let bits = self.word(0, at)? & std::mem::replace(&mut mask, u64::MAX);
            (bits != 0).then(|| at * WORD_BITS + bits.trailing_zeros())
        })
    }
}

/// The index: a word for each cluster number, which lookups read without a lock, and on a dynamic device the set of
/// the cluster numbers in use.
#[derive(Debug)]
pub(crate) struct Index {
    words: GrowingSlice<AtomicU64>,
    /// The set of cluster numbers in use; `None` when all clusters exist from swapon on. Kernel: the xarray under its
    /// lock.
    taken: Option<SpinMutex<Taken>>,
}

impl Index {
    /// Makes an index of `nr` clusters that all exist. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn fixed(nr: u32) -> Result<Self> {
        Ok(Self { words: GrowingSlice::with_head(nr as usize, nr as usize)?, taken: None })
    }

    /// Makes an index for clusters with numbers below `capacity`, of which none exists yet. Numbers below `nr` have
    /// words from now on, and a higher number gets its word when a cluster takes the number. Errors: `NoMemory`
    /// (ENOMEM).
    pub(crate) fn dynamic(nr: u32, capacity: u32) -> Result<Self> {
        let words = GrowingSlice::with_head(nr as usize, capacity as usize)?;
        Ok(Self { words, taken: Some(SpinMutex::new(Taken::new(capacity)?)) })
    }

    fn taken(&self) -> &SpinMutex<Taken> {
        self.taken.as_ref().expect("only a dynamic index has a set of taken numbers")
    }

    /// Returns the index word of an existing cluster, which holds the number of the cluster's table.
    #[inline]
    pub(crate) fn shown(&self, idx: ClusterIdx) -> ShownTable<'_> {
        ShownTable(self.words.element(idx.index()))
    }

    /// Returns the index word of a cluster number, or `None` when no cluster ever had a number so high.
    #[inline]
    pub(crate) fn find_shown(&self, idx: ClusterIdx) -> Option<ShownTable<'_>> {
        self.words.find_element(idx.index()).map(ShownTable)
    }

    /// Takes the lowest free cluster number of a range and stores the table number `table` in the index word of that
    /// number. Returns `None` when the range has no free number or memory ran out.
    ///
    /// The caller holds the lock of the cluster record whose number is `table`, so that a lookup that finds the table
    /// waits for that lock. `prepare` is called before the index word is written. Locks: the lock of the index.
    /// Kernel: `xa_alloc` with limits.
    pub(crate) fn store_lowest(
        &self,
        range: Range<u32>,
        table: u32,
        prepare: impl FnOnce(ClusterIdx),
    ) -> Option<ClusterIdx> {
        let mut taken = self.taken().lock();
        let idx = ClusterIdx(taken.first_clear(0, range.start).filter(|number| range.contains(number))?);
        self.words.map_element(idx.index()).ok()?;
        taken.insert(idx.0);
        prepare(idx);
        self.shown(idx).attach(table);
        Some(idx)
    }

    /// Frees a cluster number. The caller holds the cluster's lock, and the entries of the cluster's table are all
    /// NULL. Locks: the lock of the index. Kernel: `xa_erase`.
    pub(crate) fn erase(&self, idx: ClusterIdx) {
        let mut taken = self.taken().lock();
        self.shown(idx).detach();
        taken.remove(idx.0);
    }

    /// Finds a cluster and locks its record. `lock` is called with the number of the cluster's table, and takes the
    /// lock of the record with that number. `lock` returns `None` if the record no longer belongs to the cluster
    /// `idx`. The function itself takes no lock. Kernel: `swap_cluster_lock`.
    #[inline]
    pub(crate) fn find<G>(&self, idx: ClusterIdx, lock: impl Fn(u32) -> Option<G>) -> Option<G> {
        loop {
            let table = self.find_shown(idx)?.table()?;
            // `lock` returns `None` when the record no longer belongs to the cluster. The index word changes before
            // the record is given to another cluster, and `lock` held the record's lock, so the next load of the
            // index word sees the change.
            if let Some(guard) = lock(table) {
                return Some(guard);
            }
        }
    }

    /// Returns the first existing cluster from number `from` on. The result is a snapshot. Locks: the lock of the
    /// index.
    pub(crate) fn next(&self, from: u32) -> Option<ClusterIdx> {
        self.taken().lock().next(from).map(ClusterIdx)
    }

    /// Returns the number of existing clusters. Locks: the lock of the index.
    pub(crate) fn len(&self) -> u32 {
        self.taken().lock().len
    }

    /// Returns the memory of the index in bytes: the pages of index words and of bits that all cluster numbers ever
    /// in use have touched.
    pub(crate) fn touched_bytes(&self) -> u64 {
        let end = self.taken().lock().end;
        let mut nr_words = end;
        let bits = (0..NR_LEVELS).map(|_| {
            nr_words = nr_words.div_ceil(WORD_BITS);
            nr_words
        });
        let words = std::iter::once(end).chain(bits);
        words.map(|nr| crate::containers::zeroed::page_bytes::<AtomicU64>(nr as usize)).sum()
    }

    /// Returns the bytes of all words of an index whose clusters all exist from swapon on.
    pub(crate) fn fixed_bytes(&self) -> u64 {
        self.words.head_bytes()
    }
}
