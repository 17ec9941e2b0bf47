//! What a lookup without a lock sees of a cluster: which table it has. `tests/loom.rs` checks it under a memory model.

use crate::base::sync::atomics::{AtomicU64, Ordering, fence};

const ID_MASK: u64 = u32::MAX as u64;

/// The number of a cluster's table, and how often one was attached. Written under the cluster lock; that of a cluster that
/// comes and goes under the lock of the index.
///
/// Tables go from cluster to cluster: who looked at one while it went sees that this word has changed. Low half: the
/// number, 0 for none; high half: attachments. Zero memory is a cluster without a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShownTable<'a>(pub(crate) &'a AtomicU64);

impl ShownTable<'_> {
    /// Shows a table that is all NULL.
    pub(crate) fn attach(self, id: u32) {
        // Pairs with the Acquire fence in `read`: an entry that is written from now on is seen only with the detach from
        // the table's last owner before it.
        fence(Ordering::Release);
        // Relaxed: only the holder of the lock writes.
        let attached = (self.0.load(Ordering::Relaxed) & !ID_MASK).wrapping_add(ID_MASK + 1);
        // Release pairs with the Acquire in `read`.
        self.0.store(attached | u64::from(id), Ordering::Release);
    }

    /// Shows no table any more. The table is all NULL.
    pub(crate) fn detach(self) {
        // Relaxed: the pool's lock orders this before the table's next use, see the fence in `attach`.
        self.0.store(self.0.load(Ordering::Relaxed) & !ID_MASK, Ordering::Relaxed);
    }

    /// Returns the number of the table as it was a moment ago, `None` without one.
    #[inline]
    pub(crate) fn table(self) -> Option<u32> {
        // Relaxed: whoever goes on from here takes a lock and looks there whether it is still so.
        let id = (self.0.load(Ordering::Relaxed) & ID_MASK) as u32;
        (id != 0).then_some(id)
    }

    /// Reads something of the table with `look`, again if the table went meanwhile; `None` without a table.
    #[inline]
    pub(crate) fn read<T>(self, look: impl Fn(u32) -> T) -> Option<T> {
        loop {
            // Acquire pairs with the Release in `attach`: the table was NULL before it was published.
            let word = self.0.load(Ordering::Acquire);
            let id = (word & ID_MASK) as u32;
            if id == 0 {
                return None;
            }
            let seen = look(id);
            // Pairs with the Release fence in `attach`: what a later owner of the table wrote is seen only together with the
            // detach before it, and then the words differ.
            fence(Ordering::Acquire);
            // Relaxed: ordered by the fence.
            if self.0.load(Ordering::Relaxed) == word {
                return Some(seen);
            }
        }
    }
}
