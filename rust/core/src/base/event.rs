//! Events of swap-out and swap-in: one ring of typed records per CPU. A ring has a fixed capacity and is off by
//! default. Kernel: tracepoints.

use std::collections::VecDeque;

use rustix::time::{ClockId, clock_gettime};

use crate::base::types::{CpuId, Order, SwpEntry};
use crate::base::words::words;

words! {
    /// Kind of an event. The number of a kind is its index in `NAMES`.
    #[repr(u8)]
    pub enum EventKind: "event" {
        /// A folio was written to its slots and is clean now.
        SwapOut = "swap_out",
        /// A folio was all zeros, and its slots were marked instead of written.
        SwapOutZero = "swap_out_zero",
        /// A large folio got no run of slots, so the folio was not swapped out as a whole.
        SwapOutFallback = "swap_out_fallback",
        /// A write failed.
        WriteError = "write_error",
        /// The data of a folio was read from its slots.
        SwapIn = "swap_in",
        /// A folio was filled with zeros, because its slots have zero marks.
        SwapInZero = "swap_in_zero",
        /// A swap-in fell back from a large order to a smaller order.
        SwapInFallback = "swap_in_fallback",
        /// A read failed.
        ReadError = "read_error",
        /// A page fault used a folio that readahead had read.
        ReadaheadHit = "readahead_hit",
        /// A folio was removed from the swap cache and its memory was freed, while its slots stay in use.
        Evict = "evict",
    }
}

/// Record of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventRecord {
    /// Time on the monotonic clock, in nanoseconds.
    pub time_ns: u64,
    /// First slot of the folio; 0 for no slot.
    pub entry: SwpEntry,
    /// Kind of the event.
    pub kind: EventKind,
    /// Order of the folio.
    pub order: Order,
    /// CPU of the operation.
    pub cpu: CpuId,
    /// Errno of a failure; 0 for other events.
    pub errno: i32,
}

/// The most recent event records of one CPU. The local lock of that CPU protects the ring.
#[derive(Debug, Default)]
pub(crate) struct EventRing {
    records: VecDeque<EventRecord>,
    capacity: usize,
    /// Number of records that newer records replaced.
    nr_lost: u64,
}

impl EventRing {
    /// Removes all records and sets the capacity in records; capacity 0 turns the ring off.
    pub(crate) fn restart(&mut self, capacity: usize) {
        *self = Self { records: VecDeque::new(), capacity, nr_lost: 0 };
    }

    /// Returns whether the ring is on.
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

    /// Removes all records and their memory, and returns the records and the number of lost records; the ring stays
    /// on.
    pub(crate) fn take(&mut self) -> (Vec<EventRecord>, u64) {
        (std::mem::take(&mut self.records).into(), std::mem::take(&mut self.nr_lost))
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
