//! Locks: a one-byte spin lock that frees with a plain store, and the guard types built on it.
//!
//! A taken lock costs one compare-exchange and a free one release store, half of what a parking lock takes; sections
//! under it are tens of nanoseconds, so a waiter spins a little and then yields its CPU. Only this file may hold
//! the `unsafe` that a lock needs.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::yield_now;

use crossbeam_utils::CachePadded;

use crate::base::limits::LOCK_SPINS;

/// The atomics of the two protocols that `tests/loom.rs` puts under a memory model, with others in their place.
pub(crate) mod atomics {
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

/// A one-byte lock word. Kernel: `spinlock_t`; differs: a waiter yields instead of spinning for ever.
#[derive(Debug, Default)]
pub(crate) struct SpinWord(AtomicBool);

impl SpinWord {
    /// Takes the lock, waiting for it.
    #[inline]
    pub(crate) fn lock(&self) {
        // Acquire pairs with the Release in `unlock`: the holder before us is done with what the lock protects.
        if self.0.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
    }

    #[cold]
    fn lock_contended(&self) {
        let mut spins = 0;
        loop {
            // Relaxed: only a peek, so that waiting does not write the line; the exchange decides.
            if !self.0.load(Ordering::Relaxed) && self.try_lock() {
                return;
            }
            spins += 1;
            if spins < LOCK_SPINS { spin_loop() } else { yield_now() }
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        // Acquire pairs with the Release in `unlock`.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Frees the lock; only its holder may.
    #[inline]
    pub(crate) fn unlock(&self) {
        debug_assert!(self.is_locked(), "unlock of a free lock");
        // Release pairs with the Acquire of the next holder.
        self.0.store(false, Ordering::Release);
    }

    /// Says whether somebody holds the lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// [`SpinWord`] in the shape that `lock_api` builds guards on.
#[derive(Debug, Default)]
pub(crate) struct RawSpin(SpinWord);

// SAFETY: `SpinWord::lock` and a successful `try_lock` give exclusive ownership until `unlock`: the word goes from
// false to true only by a compare-exchange, and back only by the holder's store.
#[expect(unsafe_code, reason = "lock_api asks for an unsafe impl of its lock contract")]
unsafe impl lock_api::RawMutex for RawSpin {
    const INIT: Self = Self(SpinWord(AtomicBool::new(false)));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        self.0.lock();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    // SAFETY: the contract is the trait's: the caller holds the lock. Nothing but the word is touched.
    #[inline]
    unsafe fn unlock(&self) {
        self.0.unlock();
    }
}

/// A mutex around data, spinning.
pub(crate) type SpinMutex<T> = lock_api::Mutex<RawSpin, T>;
/// The guard of a [`SpinMutex`].
pub(crate) type SpinGuard<'a, T> = lock_api::MutexGuard<'a, RawSpin, T>;

/// Waits a moment for something short that another thread does; `round` counts the waits.
pub(crate) fn relax(round: u32) {
    if round < LOCK_SPINS { spin_loop() } else { yield_now() }
}

const NR_WAIT_BUCKETS: usize = 64;

/// Where threads sleep until a condition on some numbered thing holds. Kernel: the hashed folio wait queues.
#[derive(Debug)]
pub(crate) struct WaitTable(Box<[CachePadded<Bucket>]>);

/// Those whose keys fall together.
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

    /// Sleeps until `is_done`. It is asked under the bucket's lock and must first announce the waiter to the waker.
    pub(crate) fn wait(&self, key: u64, mut is_done: impl FnMut() -> bool) {
        let (lock, condvar) = self.bucket(key);
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_done() {
            guard = condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes who sleeps for a key, and maybe others, who look again.
    #[cold]
    pub(crate) fn wake(&self, key: u64) {
        let (lock, condvar) = self.bucket(key);
        drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
        condvar.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_never_hold_one_lock() {
        let total = SpinMutex::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| *total.lock() += 1));
            }
        });
        assert_eq!(*total.lock(), 80_000);
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
