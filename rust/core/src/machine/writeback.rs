//! The queue of writes to devices that are not as fast as memory. With [`Writeback::Queued`] a write is over when a
//! caller ends it, and the folio is under writeback until then, as in the kernel between `submit_bio` and the end of
//! the I/O.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::sync::SpinMutex;
use crate::base::types::{Pfn, SwpEntry};
use crate::base::words::words;

words! {
    /// Time at which a write to a device that is not as fast as memory is over. A write to a device as fast as memory
    /// is over when the swap-out returns.
    #[derive(Default)]
    pub enum Writeback: "writeback" {
        /// When the swap-out returns.
        #[default]
        Sync = "sync",
        /// In [`Swap::complete_writeback`](crate::Swap::complete_writeback), in the order of the swap-outs, or when a
        /// thread must wait for the write.
        Queued = "queued",
        /// As with `queued`, and a thread of the subsystem ends the writes as soon as it can.
        Thread = "thread",
    }
}

/// The fate of a folio after its write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterWrite {
    /// The folio stays in the swap cache until reclaim drops the folio.
    Keep,
    /// The folio is removed from the swap cache. Kernel: dropbehind.
    Drop,
}

/// A write that is not over. The folio is under writeback, so the references of the swap cache keep the folio alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedWrite {
    pub(crate) pfn: Pfn,
    /// The first of the real slots that get the data.
    pub(crate) real: SwpEntry,
    pub(crate) then: AfterWrite,
}

/// The writes that are not over, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct WritebackQueue {
    pub(crate) mode: Writeback,
    writes: SpinMutex<VecDeque<QueuedWrite>>,
    ending: Mutex<()>,
    /// The wait of the thread of [`Writeback::Thread`] for a write.
    idle: Mutex<()>,
    pushed: Condvar,
}

/// Longest wait of the thread of [`Writeback::Thread`], after which the thread looks whether the subsystem still
/// exists.
const IDLE_TIME: Duration = Duration::from_millis(20);

impl WritebackQueue {
    pub(super) fn new(mode: Writeback) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Adds a write.
    pub(crate) fn push_write(&self, write: QueuedWrite) {
        self.writes.lock().push_back(write);
        self.pushed.notify_one();
    }

    /// Waits until a write is queued, but not longer than `IDLE_TIME`.
    pub(crate) fn wait_for_write(&self) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A write that is added after the test and before the wait is found at the end of the wait.
        if self.nr_writes() == 0 {
            drop(self.pushed.wait_timeout(idle, IDLE_TIME));
        }
    }

    /// Removes the oldest write. The caller holds the guard of [`WritebackQueue::in_order`].
    pub(crate) fn pop_write(&self) -> Option<QueuedWrite> {
        self.writes.lock().pop_front()
    }

    /// Returns the guard that a thread holds while it ends a write, so that writes end in their order.
    pub(crate) fn in_order(&self) -> MutexGuard<'_, ()> {
        // A panic leaves the queue whole, because each change is one push or one pop.
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of writes that are not over.
    pub(crate) fn nr_writes(&self) -> usize {
        self.writes.lock().len()
    }
}
