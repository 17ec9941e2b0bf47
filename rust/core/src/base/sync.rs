//! Locks: a one-byte spin lock that is released with a plain store, and the guard types built on the spin lock.
//!
//! A lock and an unlock together cost one compare-exchange and one release store, which is half of the cost of a
//! parking lock. Sections under a lock take tens of nanoseconds, so a waiter spins for a short time and then yields
//! its CPU. Only this file may contain the `unsafe` code that a lock needs.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::yield_now;

use crossbeam_utils::CachePadded;

use crate::base::limits::LOCK_SPINS;

/// The atomics of the lock-free code that `tests/loom.rs` checks under a memory model. `tests/loom.rs` compiles the
/// same code with the atomics of the crate loom.
pub(crate) mod atomics {
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

/// A one-byte lock word. Kernel: `spinlock_t`; differs: a waiter spins for a limited time and then yields its CPU.
#[derive(Debug, Default)]
pub(crate) struct SpinWord(AtomicBool);

impl SpinWord {
    /// Takes the lock. Waits while another thread holds the lock.
    #[inline]
    pub(crate) fn lock(&self) {
        // Acquire pairs with the Release in `unlock`: this thread sees all writes that the previous holder made under
        // the lock.
        if self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
    }

    #[cold]
    fn lock_contended(&self) {
        let mut round = 0;
        // `is_locked` only reads the lock word, so the wait does not write to the cache line. The compare-exchange in
        // `try_lock` takes the lock.
        while self.is_locked() || !self.try_lock() {
            round += 1;
            relax(round);
        }
    }

    /// Takes the lock if the lock is free. Returns whether the lock was taken.
    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        // Acquire pairs with the Release in `unlock`.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Releases the lock. Only the holder of the lock may call this function.
    #[inline]
    pub(crate) fn unlock(&self) {
        debug_assert!(self.is_locked(), "unlock of a free lock");
        // Release pairs with the Acquire of the next holder.
        self.0.store(false, Ordering::Release);
    }

    /// Returns whether the lock is taken.
    pub(crate) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: `SpinWord::lock` and a successful `try_lock` give exclusive ownership until `unlock`: the word changes from
// false to true only by a compare-exchange, and from true to false only by the holder's store.
#[expect(unsafe_code, reason = "lock_api asks for an unsafe impl of its lock contract")]
unsafe impl lock_api::RawMutex for SpinWord {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        Self::lock(self);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        Self::try_lock(self)
    }

    // SAFETY: the contract of the trait is that the caller holds the lock. `unlock` touches only the lock word.
    #[inline]
    unsafe fn unlock(&self) {
        Self::unlock(self);
    }
}

/// A spinning mutex around a value.
pub(crate) type SpinMutex<T> = lock_api::Mutex<SpinWord, T>;
/// The guard of a [`SpinMutex`].
pub(crate) type SpinGuard<'a, T> = lock_api::MutexGuard<'a, SpinWord, T>;

/// Waits a moment for a short action of another thread. The call spins in the first `LOCK_SPINS` rounds of a wait
/// loop, and yields the CPU in later rounds. `round` is the number of the current round.
pub(crate) fn relax(round: u32) {
    if round < LOCK_SPINS { spin_loop() } else { yield_now() }
}

const NR_WAIT_BUCKETS: usize = 64;

/// Wait queues, selected by a key, in which threads sleep until a condition holds. Kernel: the hashed folio wait
/// queues.
#[derive(Debug)]
pub(crate) struct WaitTable(Box<[CachePadded<Bucket>]>);

/// One wait queue, shared by all keys that have the same remainder modulo `NR_WAIT_BUCKETS`.
type Bucket = (Mutex<()>, Condvar);

impl Default for WaitTable {
    fn default() -> Self {
        Self((0..NR_WAIT_BUCKETS).map(|_| CachePadded::default()).collect())
    }
}

impl WaitTable {
    fn bucket(&self, key: u64) -> &Bucket {
        &self.0[key as usize % NR_WAIT_BUCKETS]
    }

    /// Sleeps until `is_done` returns true. `is_done` is called under the lock of the key's wait queue. `is_done`
    /// must first announce the waiter to the thread that will call [`WaitTable::wake`], and then check its condition.
    pub(crate) fn wait(&self, key: u64, mut is_done: impl FnMut() -> bool) {
        let (lock, condvar) = self.bucket(key);
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_done() {
            guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes all threads that sleep for `key`. Threads that sleep for another key of the same bucket also wake and
    /// check their condition again.
    #[cold]
    pub(crate) fn wake(&self, key: u64) {
        let (lock, condvar) = self.bucket(key);
        drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
        condvar.notify_all();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Checks that two threads never hold a lock at the same time: threads add to a counter under the lock, and no
    /// increment is lost.
    pub(crate) fn assert_excludes<G>(lock: impl Fn() -> G + Sync) {
        let total = AtomicU32::new(0);
        let add_one = || {
            let guard = lock();
            let seen = total.load(Ordering::Relaxed);
            std::thread::yield_now();
            total.store(seen + 1, Ordering::Relaxed);
            drop(guard);
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| _ = scope.spawn(|| (0..500).for_each(|_| add_one())));
        });
        assert_eq!(total.into_inner(), 2000);
    }

    #[test]
    fn two_threads_never_hold_one_lock() {
        let lock = SpinMutex::new(());
        assert_excludes(|| lock.lock());
    }

    #[test]
    fn a_taken_lock_is_not_taken_again() {
        let word = SpinWord::default();
        word.lock();
        assert!(!word.try_lock());
        word.unlock();
        assert!(word.try_lock());
    }
}
