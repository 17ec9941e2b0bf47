//! Compressed memory: each page on its own, in a pool of size classes.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::{Call, StorageStats, StorageTraits, SwapStorage};
use crate::base::error::Result;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;
use crate::base::zeroed::MappedSlice;
pub use crate::compress::Algorithm;
use crate::compress::zsmalloc::{Full, Handle, Pool};
use crate::compress::{Scratch, decompress, with_scratch};
use crate::storage::spec::DeviceSpec;

/// What a [`Zram`] is made from, beside its size.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZramOptions {
    /// How pages are compressed. Kernel: `comp_algorithm`.
    pub algorithm: Algorithm,
    /// The most memory of the pool in bytes, rounded up to pages; `None` or 0 for no limit. Kernel: `mem_limit`.
    pub mem_limit_bytes: Option<u64>,
}

/// What a slot holds; packed into one word, 0 for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Empty,
    /// The page is one word over and over; the word stands beside the state. Kernel: `ZRAM_SAME`.
    Same,
    /// Data of so many bytes in the pool; a whole page is raw. Kernel: `ZRAM_HUGE`.
    Stored(Handle, usize),
}

const KIND_BITS: u32 = 2;
const BYTES_BITS: u32 = 12;
const _: () = assert!(KIND_BITS + BYTES_BITS + Handle::BITS <= 64, "a state is one word");

impl State {
    fn pack(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Same => 1,
            Self::Stored(handle, bytes) => {
                2 | (bytes as u64 - 1) << KIND_BITS | handle.bits() << (KIND_BITS + BYTES_BITS)
            }
        }
    }

    fn unpack(word: u64) -> Self {
        match word & ((1 << KIND_BITS) - 1) {
            0 => Self::Empty,
            1 => Self::Same,
            _ => {
                let bytes = (word >> KIND_BITS & ((1 << BYTES_BITS) - 1)) as usize + 1;
                Self::Stored(Handle::from_bits(word >> (KIND_BITS + BYTES_BITS)), bytes)
            }
        }
    }
}

/// A state and the word of a same-filled page. Kernel: `struct zram_table_entry`, also 16 bytes.
type Slot = [AtomicU64; 2];

/// Compressed memory. Kernel: `zram` and the `zsmalloc` under it; differs: there is no backing device, no second
/// algorithm, and pages are compressed in the thread that writes, with scratch memory of the thread instead of the CPU.
///
/// A page of one repeated word costs no memory but its slot's 16 bytes. A page that does not shrink to 3624 bytes is
/// kept raw. Two threads share a lock only to take or free an object of one class, or to reach data of one zspage.
#[derive(Debug)]
pub struct Zram {
    max_pages: u32,
    algorithm: Algorithm,
    mem_limit_bytes: u64,
    slots: MappedSlice<Slot>,
    pool: Pool,
    nr_same: AtomicU64,
    nr_huge_since: AtomicU64,
    nr_failed_reads: AtomicU64,
    nr_failed_writes: AtomicU64,
    nr_notify_free: AtomicU64,
}

fn bump(counter: &AtomicU64) {
    // Relaxed: one number of its own, read for display.
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Returns the word that the page repeats, if it is nothing else. Kernel: `page_same_filled`.
#[inline]
fn same_filled(page: &[u8]) -> Option<u64> {
    // The ends first: a page of data seldom has them equal. Then equality with itself one word on is a period.
    let word = &page[..8];
    (word == &page[PAGE_SIZE - 8..] && page[8..] == page[..PAGE_SIZE - 8])
        .then(|| u64::from_ne_bytes(word.try_into().expect("8 bytes")))
}

impl Zram {
    /// An empty device of a size in slots, header included. Errors: `DeviceTooSmall`, `OutOfRange` (EINVAL), `NoMemory`
    /// (ENOMEM).
    pub fn new(max_pages: u32, options: &ZramOptions) -> Result<Self> {
        DeviceSpec::new(max_pages).check()?;
        let limit_pages = options
            .mem_limit_bytes
            .filter(|&bytes| bytes > 0)
            .map_or(u64::MAX, |bytes| bytes.div_ceil(PAGE_SIZE as u64));
        let [nr_same, nr_huge_since, nr_failed_reads, nr_failed_writes, nr_notify_free] =
            [const { AtomicU64::new(0) }; 5];
        Ok(Self {
            max_pages,
            algorithm: options.algorithm.checked()?,
            mem_limit_bytes: options
                .mem_limit_bytes
                .filter(|&bytes| bytes > 0)
                .map_or(0, |_| limit_pages.saturating_mul(PAGE_SIZE as u64)),
            slots: MappedSlice::zeroed(max_pages as usize)?,
            pool: Pool::new(limit_pages),
            nr_same,
            nr_huge_since,
            nr_failed_reads,
            nr_failed_writes,
            nr_notify_free,
        })
    }

    /// Moves objects together and returns the pages that this gave back; passes over what others are at work on.
    /// Kernel: a write to `compact`.
    pub fn compact(&self) -> u64 {
        self.pool.compact(|slot, old, new| {
            let state = &self.slots[slot as usize][0];
            // Acquire pairs with the Release of `put`: what is moved is what was stored.
            let word = state.load(Ordering::Acquire);
            let State::Stored(handle, bytes) = State::unpack(word) else { return false };
            let moved = State::Stored(new, bytes).pack();
            // Release pairs with the Acquire in `read_page`: the copy is there before the place is known. Relaxed: a
            // failure ends the attempt.
            handle == old && state.compare_exchange(word, moved, Ordering::Release, Ordering::Relaxed).is_ok()
        })
    }

    /// Gives the slot a new state and frees what it had; says whether that was anything.
    fn put(&self, slot: SwpOffset, new: State) -> bool {
        // Acquire and Release pair with each other across threads: who takes an object out sees it whole, and a reader's
        // Acquire in `read_page` sees what the state speaks of. The exchange also frees an object just once.
        let word = self.slots[slot.0 as usize][0].swap(new.pack(), Ordering::AcqRel);
        match State::unpack(word) {
            State::Empty => return false,
            // Relaxed: one number of its own, read for display.
            State::Same => drop(self.nr_same.fetch_sub(1, Ordering::Relaxed)),
            State::Stored(handle, bytes) => self.pool.free(handle, bytes),
        }
        true
    }

    fn forget_range(&self, first: SwpOffset, nr_pages: u32) -> u64 {
        (0..nr_pages).map(|i| u64::from(self.put(first.plus(i), State::Empty))).sum()
    }

    fn write_page(&self, slot: SwpOffset, page: &[u8], scratch: &mut Scratch) -> std::result::Result<(), Full> {
        if let Some(word) = same_filled(page) {
            // Relaxed: ordered by the Release of the state that follows.
            self.slots[slot.0 as usize][1].store(word, Ordering::Relaxed);
            bump(&self.nr_same);
            self.put(slot, State::Same);
            return Ok(());
        }
        let packed = scratch.compress(self.algorithm, page).filter(|data| data.len() <= self.pool.data_bytes_max());
        let data = packed.unwrap_or(page);
        let handle = self.pool.store(slot.0, data)?;
        if data.len() == PAGE_SIZE {
            bump(&self.nr_huge_since);
        }
        self.put(slot, State::Stored(handle, data.len()));
        Ok(())
    }

    /// Reads a page; says whether its data was whole.
    fn read_page(&self, slot: SwpOffset, page: &mut [u8]) -> bool {
        let [state, fill] = &self.slots[slot.0 as usize];
        loop {
            // Acquire pairs with the Release of `put` and of `compact`.
            let word = state.load(Ordering::Acquire);
            match State::unpack(word) {
                State::Empty => page.fill(0),
                // Relaxed: ordered by the Acquire of the state.
                State::Same => match fill.load(Ordering::Relaxed) {
                    0 => page.fill(0),
                    word => page.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&word.to_ne_bytes())),
                },
                State::Stored(handle, bytes) => {
                    // Relaxed: whoever moves or overwrites the object needs the lock that we hold when we look.
                    let still_there = || state.load(Ordering::Relaxed) == word;
                    let read = self.pool.read(handle, bytes, still_there, |data| {
                        if bytes < PAGE_SIZE {
                            return decompress(self.algorithm, data, page);
                        }
                        page.copy_from_slice(data);
                        true
                    });
                    match read {
                        Some(whole) => return whole,
                        None => continue,
                    }
                }
            }
            return true;
        }
    }
}

impl SwapStorage for Zram {
    fn kind(&self) -> &'static str {
        "zram"
    }

    fn spec(&self) -> DeviceSpec {
        DeviceSpec { can_discard: true, ..DeviceSpec::new(self.max_pages) }
    }

    fn traits(&self) -> StorageTraits {
        StorageTraits::SYNCHRONOUS_IO | StorageTraits::STABLE_WRITES | StorageTraits::FREE_NOTIFY
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        let call = Call::new("write", "zram", first, data.len());
        let written = with_scratch(|scratch| {
            let mut pages = data.chunks_exact(PAGE_SIZE).zip(0..);
            pages.try_for_each(|(page, i)| self.write_page(first.plus(i), page, scratch))
        });
        written.map_err(|full| {
            bump(&self.nr_failed_writes);
            self.forget_range(first, call.nr_pages);
            match full {
                Full::Limit => {
                    call.failed(Errno::NOMEM, format!("mem_limit of {} bytes reached", self.mem_limit_bytes))
                }
                Full::System => call.failed(Errno::NOMEM, "the system has no memory"),
            }
        })
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        let call = Call::new("read", "zram", first, data.len());
        for (page, i) in data.chunks_exact_mut(PAGE_SIZE).zip(0..) {
            if !self.read_page(first.plus(i), page) {
                bump(&self.nr_failed_reads);
                return Err(call.failed(Errno::IO, format!("the data of slot {} does not decompress", first.plus(i).0)));
            }
        }
        Ok(())
    }

    fn slot_free_notify(&self, first: SwpOffset, nr_pages: u32) {
        // Relaxed: one number of its own, read for display.
        self.nr_notify_free.fetch_add(self.forget_range(first, nr_pages), Ordering::Relaxed);
    }

    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        self.slot_free_notify(first, nr_pages);
        Ok(())
    }

    /// The fields of `mm_stat` and `io_stat`: sizes and limits in bytes, the rest in pages or calls; exact when nobody is
    /// at work. `notify_free` counts slots that held a page, `failed_writes` and `failed_reads` count calls.
    fn stats(&self) -> StorageStats {
        let totals = self.pool.totals();
        // Relaxed: each is one number of its own, read for display.
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let page = PAGE_SIZE as u64;
        vec![
            ("orig_data_size", (totals.nr_objects + of(&self.nr_same)) * page),
            ("compr_data_size", totals.data_bytes),
            ("mem_used_total", totals.nr_pages * page),
            ("mem_limit", self.mem_limit_bytes),
            ("mem_used_max", totals.nr_pages_max * page),
            ("same_pages", of(&self.nr_same)),
            ("pages_compacted", totals.nr_compacted_pages),
            ("huge_pages", totals.nr_huge),
            ("huge_pages_since", of(&self.nr_huge_since)),
            ("failed_reads", of(&self.nr_failed_reads)),
            ("failed_writes", of(&self.nr_failed_writes)),
            // The caller's ranges are checked before they come here.
            ("invalid_io", 0),
            ("notify_free", of(&self.nr_notify_free)),
        ]
    }
}

#[cfg(test)]
mod tests;
