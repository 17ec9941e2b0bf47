//! The gate between operations and `Swap::check`, the check of the invariants. An operation changes a folio, its
//! slots and its charge in several steps, and no lock covers all steps. The check therefore pauses new operations and
//! waits until no operation runs.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::base::sync::relax;

/// Number of shards of a gate, each with its own counters. Threads are spread over the shards, so that few threads
/// write the same cache line.
const NR_SHARDS: usize = 32;
/// Time for which one attempt of a pause delays new operations. After this time the attempt ends and new operations
/// may start for a moment, because a running operation may wait for a delayed thread that holds a folio lock or the
/// lock of an interpreter.
const ATTEMPT: Duration = Duration::from_millis(20);
/// Time between two attempts of a pause.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(1);

thread_local! {
    /// The address of the gate of the operation that this thread runs; 0 when the thread runs no operation.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    /// The number of this thread, counted from 1; 0 before the first operation of the thread.
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug, Default)]
struct Shard {
    nr_running: AtomicUsize,
    nr_frees_begun: AtomicU64,
    nr_frees_ended: AtomicU64,
}

/// The gate of one swap subsystem. Kernel: none, because the kernel does not check all invariants.
#[derive(Debug)]
pub(crate) struct ActivityGate {
    shards: Box<[CachePadded<Shard>]>,
    is_paused: AtomicBool,
    /// The mutex that the thread that pauses the operations holds.
    pausing: Mutex<()>,
}

/// The guard of a running operation of this thread.
#[derive(Debug)]
pub(crate) struct Active<'a> {
    /// The shard that counts the operation; `None` for an operation that runs inside another operation of the thread.
    shard: Option<&'a Shard>,
    /// The value of `RUNNING` before this operation.
    outer: usize,
    /// Makes the guard stay on its thread, because `RUNNING` of this thread names the operation's gate.
    _on_thread: PhantomData<*const ()>,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        RUNNING.set(self.outer);
        if let Some(shard) = self.shard {
            // Release pairs with the load of `nr_running` in `pause`: the check of the invariants sees every write of
            // the operation.
            shard.nr_running.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The guard of a free of a folio that runs outside operations.
#[derive(Debug)]
pub(super) struct Freeing<'a>(&'a Shard);

impl Drop for Freeing<'_> {
    fn drop(&mut self) {
        // Release pairs with the load of `nr_frees_ended` in `frees`.
        self.0.nr_frees_ended.fetch_add(1, Ordering::Release);
    }
}

/// The guard of a pause of all operations. Operations start again when the guard is dropped.
#[derive(Debug)]
pub(crate) struct Paused<'a> {
    gate: &'a ActivityGate,
    _pausing: MutexGuard<'a, ()>,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.gate.is_paused.store(false, Ordering::Release);
    }
}

impl Default for ActivityGate {
    fn default() -> Self {
        let shards = (0..NR_SHARDS).map(|_| CachePadded::default()).collect();
        Self { shards, is_paused: AtomicBool::new(false), pausing: Mutex::new(()) }
    }
}

impl ActivityGate {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn shard(&self) -> &Shard {
        static NR_THREADS: AtomicUsize = AtomicUsize::new(0);
        let thread = match THREAD.get() {
            0 => {
                let thread = NR_THREADS.fetch_add(1, Ordering::Relaxed) + 1;
                THREAD.set(thread);
                thread
            }
            thread => thread,
        };
        &self.shards[thread % NR_SHARDS]
    }

    /// Begins an operation, which ends when the returned guard is dropped. Waits while operations are paused, unless
    /// this thread is already inside an operation. The caller holds no lock of the core except folio locks.
    #[inline]
    pub(crate) fn enter(&self) -> Active<'_> {
        let outer = RUNNING.get();
        let shard = if outer == self.address() { None } else { Some(self.enter_shard()) };
        RUNNING.set(self.address());
        Active { shard, outer, _on_thread: PhantomData }
    }

    fn enter_shard(&self) -> &Shard {
        let shard = self.shard();
        let mut round = 0;
        loop {
            // SeqCst for `nr_running` and `is_paused`, here and in `pause`: of the two threads, at least one sees the
            // write of the other.
            shard.nr_running.fetch_add(1, Ordering::SeqCst);
            if !self.is_paused.load(Ordering::SeqCst) {
                return shard;
            }
            shard.nr_running.fetch_sub(1, Ordering::SeqCst);
            while self.is_paused.load(Ordering::Relaxed) {
                round += 1;
                relax(round);
            }
        }
    }

    /// Records that this thread begins to free a folio. Never waits, because the thread may hold any lock. Returns
    /// `None` inside an operation of this thread, because the operation is counted already.
    pub(super) fn begin_free(&self) -> Option<Freeing<'_>> {
        (RUNNING.get() != self.address()).then(|| {
            let shard = self.shard();
            // SeqCst: `nr_frees_begun` rises before the free changes any state that the check of the invariants
            // reads.
            shard.nr_frees_begun.fetch_add(1, Ordering::SeqCst);
            Freeing(shard)
        })
    }

    /// Returns the number of folios that were freed outside operations, or `None` while such a free runs. If the
    /// numbers before and after a walk are equal, no such free changed anything during the walk.
    pub(crate) fn frees(&self) -> Option<u64> {
        // `nr_frees_ended` is loaded before `nr_frees_begun`, so that a free that begins between the two loads makes
        // the sums differ.
        let sum = |of: fn(&Shard) -> u64| self.shards.iter().map(|shard| of(shard)).sum::<u64>();
        let ended = sum(|shard| shard.nr_frees_ended.load(Ordering::SeqCst));
        let begun = sum(|shard| shard.nr_frees_begun.load(Ordering::SeqCst));
        (begun == ended).then_some(begun)
    }

    /// Waits until no operation runs, and delays new operations until the returned guard is dropped. Returns `None`
    /// inside an operation of this thread, because the call would wait for this operation for ever. The caller holds
    /// no lock.
    pub(crate) fn pause(&self) -> Option<Paused<'_>> {
        if RUNNING.get() == self.address() {
            return None;
        }
        // A poisoned mutex is used like any other, because the mutex guards no data.
        let pausing = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.is_paused.store(true, Ordering::SeqCst);
            let end = Instant::now() + ATTEMPT;
            let mut round = 0;
            while Instant::now() < end {
                // SeqCst: see `enter_shard`. The load is also an Acquire that pairs with the Release in
                // `Active::drop`.
                if self.shards.iter().all(|shard| shard.nr_running.load(Ordering::SeqCst) == 0) {
                    return Some(Paused { gate: self, _pausing: pausing });
                }
                round += 1;
                relax(round);
            }
            self.is_paused.store(false, Ordering::Release);
            std::thread::sleep(BETWEEN_ATTEMPTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_excludes_operations_of_other_threads() {
        let (gate, counters) = (ActivityGate::default(), [AtomicU64::new(0), AtomicU64::new(0)]);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        let _active = gate.enter();
                        counters[0].fetch_add(1, Ordering::Relaxed);
                        let _nested = gate.enter();
                        counters[1].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..200 {
                let _paused = gate.pause().expect("this thread runs no operation");
                let seen = [&counters[0], &counters[1]].map(|counter| counter.load(Ordering::Relaxed));
                assert_eq!(seen[0], seen[1], "an operation is under way");
            }
            is_done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn an_operation_cannot_pause_itself() {
        let (gate, other) = (ActivityGate::default(), ActivityGate::default());
        {
            let _active = gate.enter();
            assert!(gate.pause().is_none());
            assert!(gate.begin_free().is_none());
            let _other = other.enter();
            assert!(other.pause().is_none());
        }
        assert!(gate.pause().is_some());
        assert!(other.pause().is_some());
    }

    #[test]
    fn frees_outside_operations_are_noticed() {
        let gate = ActivityGate::default();
        assert_eq!(gate.frees(), Some(0));
        let freeing = gate.begin_free();
        assert_eq!(gate.frees(), None);
        drop(freeing);
        assert_eq!(gate.frees(), Some(1));
    }

    #[test]
    fn a_pause_lets_operations_go_on_when_one_waits_for_another() {
        let gate = ActivityGate::default();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let active = gate.enter();
            scope.spawn(|| drop(gate.pause()));
            // The pause delays the operation of the second thread at first, and the operation of this thread waits
            // for that operation.
            scope.spawn(|| {
                std::thread::sleep(ATTEMPT / 4);
                let _second = gate.enter();
                sender.send(()).expect("the first operation waits");
            });
            receiver.recv_timeout(Duration::from_secs(20)).expect("the pause is given up for a moment");
            drop(active);
        });
    }
}
