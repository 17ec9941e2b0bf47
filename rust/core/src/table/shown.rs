//! The word that a lookup without a lock reads for a cluster: the number of the cluster's table. `tests/loom.rs`
//! checks the protocol under a memory model.

use crate::base::sync::atomics::{AtomicU64, Ordering, fence};

const ID_MASK: u64 = u32::MAX as u64;

/// The number of a cluster's table, and how many times a table was attached to the cluster, in one word. The word is
/// written under the cluster lock, and for a cluster of a dynamic device also under the lock of the index.
///
/// A table is attached to one cluster after another. A reader without a lock reads this word again after it read the
/// table; if the word changed, the reader discards what it read (a seqlock). Low half: the table number, 0 for no
/// table. High half: the number of attachments. Zeroed memory is the word of a cluster without a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShownTable<'a>(pub(crate) &'a AtomicU64);

impl ShownTable<'_> {
    /// Publishes a table whose entries are all NULL.
    pub(crate) fn attach(self, id: u32) {
        // The fence pairs with the Acquire fence in `read`: a reader that sees an entry written from now on also sees
        // that the table was detached from its previous cluster.
        fence(Ordering::Release);
        // Relaxed: only the holder of the cluster lock writes the word.
        let attached = (self.0.load(Ordering::Relaxed) & !ID_MASK).wrapping_add(ID_MASK + 1);
        // This Release store pairs with the Acquire load in `read`.
        self.0.store(attached | u64::from(id), Ordering::Release);
    }

    /// Removes the table number from the word. The entries of the table must all be NULL.
    pub(crate) fn detach(self) {
        // Relaxed: the pool lock orders this store before the next use of the table; see the fence in `attach`.
        self.0.store(self.0.load(Ordering::Relaxed) & !ID_MASK, Ordering::Relaxed);
    }

    /// Returns the number of the table, or `None` when the cluster has no table. The result may already be out of
    /// date.
    #[inline]
    pub(crate) fn table(self) -> Option<u32> {
        // Relaxed: a caller that acts on the number takes a lock and checks the number again under that lock.
        let id = (self.0.load(Ordering::Relaxed) & ID_MASK) as u32;
        (id != 0).then_some(id)
    }

    /// Reads from the table with `look`, and repeats the read if the table was detached meanwhile. Returns `None`
    /// when the cluster has no table.
    #[inline]
    pub(crate) fn read<T>(self, look: impl Fn(u32) -> T) -> Option<T> {
        loop {
            // This Acquire load pairs with the Release store in `attach`: the entries of the table were NULL before
            // the table was published.
            let word = self.0.load(Ordering::Acquire);
            let id = (word & ID_MASK) as u32;
            if id == 0 {
                return None;
            }
            let seen = look(id);
            // The fence pairs with the Release fence in `attach`. If `look` saw a write for a later cluster of the
            // table, the next load sees that the table was detached before that write, so the two words differ.
            fence(Ordering::Acquire);
            // Relaxed: the fence orders this load.
            if self.0.load(Ordering::Relaxed) == word {
                return Some(seen);
            }
        }
    }
}
