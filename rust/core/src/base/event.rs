//! What happened when: a fixed-size ring of typed records per CPU, off until asked for. Kernel: tracepoints.

use std::collections::VecDeque;

use rustix::time::{ClockId, clock_gettime};

use crate::base::types::{CpuId, Order, SwpEntry};
use crate::base::words::words;

words! {
    /// What happened; a kind's number is its place in `NAMES`.
    #[repr(u8)]
    pub enum EventKind: "event" {
        /// A folio was written and is clean.
        SwapOut = "swap_out",
        /// A folio was found to be zeros and marked.
        SwapOutZero = "swap_out_zero",
        /// A large folio got no run.
        SwapOutFallback = "swap_out_fallback",
        /// A write failed.
        WriteError = "write_error",
        /// A folio was read.
        SwapIn = "swap_in",
        /// A folio was filled with zeros.
        SwapInZero = "swap_in_zero",
        /// A large order was given up.
        SwapInFallback = "swap_in_fallback",
        /// A read failed.
        ReadError = "read_error",
        /// A folio read ahead was wanted.
        ReadaheadHit = "readahead_hit",
        /// A folio left the cache with its slots still in use: its memory is free.
        Evict = "evict",
    }
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventRecord {
    /// When, on the monotonic clock.
    pub time_ns: u64,
    /// The first slot concerned; 0 for none.
    pub entry: SwpEntry,
    /// What.
    pub kind: EventKind,
    /// Of a folio of which order.
    pub order: Order,
    /// On which CPU.
    pub cpu: CpuId,
    /// Errno of a failure, else 0.
    pub errno: i32,
}

/// The last records of one CPU; under its local lock.
#[derive(Debug, Default)]
pub(crate) struct EventRing {
    records: VecDeque<EventRecord>,
    capacity: usize,
    /// Records that newer ones pushed out.
    nr_lost: u64,
}

impl EventRing {
    /// Starts anew with room for so many records; 0 turns it off.
    pub(crate) fn restart(&mut self, capacity: usize) {
        *self = Self { records: VecDeque::new(), capacity, nr_lost: 0 };
    }

    /// Says whether records are wanted.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.capacity > 0
    }

    pub(crate) fn push(&mut self, kind: EventKind, entry: SwpEntry, order: Order, cpu: CpuId, errno: i32) {
        if self.records.len() == self.capacity {
            self.records.pop_front();
            self.nr_lost += 1;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let time_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        self.records.push_back(EventRecord { time_ns, entry, kind, order, cpu, errno });
    }

    /// Takes the records out; the ring stays on.
    pub(crate) fn take(&mut self) -> (Vec<EventRecord>, u64) {
        (self.records.drain(..).collect(), std::mem::take(&mut self.nr_lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_records_make_room_and_are_counted() {
        let mut ring = EventRing::default();
        assert!(!ring.is_on());
        ring.restart(2);
        for errno in 1..=3 {
            ring.push(EventKind::ReadError, SwpEntry::NONE, Order::ZERO, CpuId(0), errno);
        }
        let (records, nr_lost) = ring.take();
        assert_eq!((records.iter().map(|record| record.errno).collect::<Vec<_>>(), nr_lost), (vec![2, 3], 1));
        assert_eq!(ring.take(), (Vec::new(), 0));
    }

    #[test]
    fn names_stand_at_their_numbers() {
        assert!(EventKind::ALL.iter().enumerate().all(|(place, &kind)| kind as usize == place));
    }
}
