//! A storage in compressed memory. Each page is compressed separately, and a pool with size classes stores the
//! compressed data.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::{Call, Claim, StorageStats, StorageTraits, SwapStorage};
use crate::base::error::Result;
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;
pub use crate::compress::Algorithm;
use crate::compress::zsmalloc::{Full, Handle, Pool};
use crate::compress::{Scratch, decompress, with_scratch};
use crate::containers::zeroed::MappedSlice;
use crate::storage::spec::DeviceSpec;

/// Options of a [`Zram`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZramOptions {
    /// Compression algorithm. Kernel: `comp_algorithm`.
    pub algorithm: Algorithm,
    /// Limit on the memory of the pool in bytes, rounded up to pages. `None` or 0 means no limit. Kernel:
    /// `mem_limit`.
    pub mem_limit_bytes: Option<u64>,
}

/// The content of a slot. `State::pack` packs a state into one word, and the word 0 means an empty slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Empty,
    /// The page repeats one word. The word is stored in the second word of the [`Slot`]. Kernel: `ZRAM_SAME`.
    Same,
    /// The page is an object in the pool, with the given size in bytes. The size of a whole page means that the data
    /// is not compressed. Kernel: `ZRAM_HUGE`.
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

/// Two words of a slot: the packed [`State`], and the repeated word of a [`State::Same`] page. Kernel: `struct
/// zram_table_entry`, which also has 16 bytes.
type Slot = [AtomicU64; 2];

/// A compressed RAM disk. Kernel: `zram` and the `zsmalloc` below it; differs: no backing device, no recompression by
/// a second algorithm, and the scratch memory of the compressor belongs to a thread instead of a CPU.
///
/// A page that repeats one word takes only the 16 bytes of the slot. A page whose compressed data is over 3624 bytes
/// is stored uncompressed. Two threads contend for a lock only when they allocate or free objects of one class, or
/// access data of one zspage.
#[derive(Debug)]
pub struct Zram {
    max_pages: u32,
    algorithm: Algorithm,
    slots: MappedSlice<Slot>,
    pool: Pool,
    counts: Counts,
}

/// Counters of slots and calls; see [`Zram::stats`].
#[derive(Debug, Default)]
struct Counts {
    same: AtomicU64,
    huge_since: AtomicU64,
    failed_reads: AtomicU64,
    failed_writes: AtomicU64,
    notify_free: AtomicU64,
}

fn bump(counter: &AtomicU64) {
    // Relaxed is enough, because the counter guards no other data and is only displayed.
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Returns the word that the page repeats, or `None`. Kernel: `page_same_filled`.
#[inline]
fn same_filled(page: &[u8]) -> Option<u64> {
    // The first and the last word are compared before the whole page, because they seldom match in a page that does
    // not repeat one word. A page repeats its first word when the page without the first word equals the page without
    // the last word.
    let word = &page[..8];
    (word == &page[PAGE_SIZE - 8..] && page[8..] == page[..PAGE_SIZE - 8])
        .then(|| u64::from_ne_bytes(word.try_into().expect("8 bytes")))
}

/// Returns the largest number of pages of the pool for a limit in bytes.
fn most_pages(mem_limit_bytes: u64) -> u64 {
    match mem_limit_bytes.div_ceil(PAGE_SIZE as u64) {
        0 => u64::MAX,
        pages => pages,
    }
}

impl Zram {
    /// Makes an empty device of `max_pages` slots, header included. Errors: `DeviceTooSmall`, `OutOfRange` (EINVAL),
    /// `NoMemory` (ENOMEM).
    pub fn new(max_pages: u32, options: &ZramOptions) -> Result<Self> {
        DeviceSpec::new(max_pages).check()?;
        Ok(Self {
            max_pages,
            algorithm: options.algorithm.checked()?,
            slots: MappedSlice::zeroed(max_pages as usize)?,
            pool: Pool::new(most_pages(options.mem_limit_bytes.unwrap_or(0))),
            counts: Counts::default(),
        })
    }

    /// Returns the limit on the memory of the pool in bytes, in whole pages; 0 means no limit. Kernel: `mem_limit`,
    /// the fourth field of `mm_stat`.
    pub fn mem_limit_bytes(&self) -> u64 {
        match self.pool.most_pages() {
            u64::MAX => 0,
            pages => pages.saturating_mul(PAGE_SIZE as u64),
        }
    }

    /// Changes the limit on the memory of the pool, also while a device is on the storage. The limit is rounded up to
    /// pages, and 0 means no limit. Stored pages stay. While the pool has more pages than the limit, every write of a
    /// page that needs memory fails with ENOMEM. Kernel: a write to `mem_limit`.
    pub fn set_mem_limit_bytes(&self, mem_limit_bytes: u64) {
        self.pool.set_most_pages(most_pages(mem_limit_bytes));
    }

    /// Lets `mem_used_max` start again at the present use. Kernel: a write of 0 to `mem_used_max`.
    pub fn reset_mem_used_max(&self) {
        self.pool.restart_nr_pages_max();
    }

    /// Drops all pages, gives the memory of the pool and of the slots back to the system, zeroes the statistics, and
    /// removes the limit on memory.
    ///
    /// The caller makes no other call of the storage at the same time. Errors, with nothing changed: `StorageInUse`
    /// (EBUSY) while a device is on the storage. Kernel: a write to `reset`; differs: the size and the algorithm stay,
    /// because both are arguments of [`Zram::new`].
    pub fn reset_zram(&self) -> Result<()> {
        let _claim = Claim::new(self)?;
        for slot in (0..self.max_pages).map(SwpOffset) {
            // Relaxed is enough, because `put` loads the state again. The loop does not write to an empty slot,
            // because the write would take memory for the slot.
            if self.slots[slot.0 as usize][0].load(Ordering::Relaxed) != 0 {
                self.put(slot, State::Empty);
            }
        }
        // Only whole pages of the array `slots` can be given back to the system. In the last, partial page, the loop
        // above has zeroed the state of each slot; the second word of a slot may stay, because an empty slot does not
        // use it.
        let slots_each = PAGE_SIZE / size_of::<Slot>();
        self.slots.release(0..self.slots.len() / slots_each * slots_each);
        self.pool.release_spare();
        self.pool.restart_nr_pages_max();
        self.pool.restart_nr_compacted_pages();
        self.set_mem_limit_bytes(0);
        let Counts { same, huge_since, failed_reads, failed_writes, notify_free } = &self.counts;
        for counter in [same, huge_since, failed_reads, failed_writes, notify_free] {
            // Relaxed is enough, because the counter guards no other data and is only displayed.
            counter.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Moves objects of the pool together, so that pages become free, and returns the number of freed pages. Objects
    /// that another thread uses are skipped. Kernel: a write to `compact`.
    pub fn compact(&self) -> u64 {
        self.pool.compact(|slot, old, new| {
            let state = &self.slots[slot as usize][0];
            // Acquire pairs with the Release of `put`, so the current thread sees the data of the object that the
            // state names.
            let word = state.load(Ordering::Acquire);
            let State::Stored(handle, bytes) = State::unpack(word) else { return false };
            let moved = State::Stored(new, bytes).pack();
            // Release pairs with the Acquire in `read_page`, because the copy of the object must be complete before
            // other threads see the new handle. Relaxed is enough for a failed exchange, because the object is then
            // not moved.
            handle == old && state.compare_exchange(word, moved, Ordering::Release, Ordering::Relaxed).is_ok()
        })
    }

    /// Stores a new state in a slot and frees the object of the old state. Returns whether the slot had a page.
    fn put(&self, slot: SwpOffset, new: State) -> bool {
        // The Acquire pairs with the Release of an earlier `put`, so the thread that removes an object sees the
        // complete object. The Release also pairs with the Acquire in `read_page`, because `read_page` reads the
        // object that the state names. The exchange gives each old state to exactly one thread, so each object is
        // freed once.
        let word = self.slots[slot.0 as usize][0].swap(new.pack(), Ordering::AcqRel);
        match State::unpack(word) {
            State::Empty => return false,
            // Relaxed is enough, because the counter guards no other data and is only displayed.
            State::Same => drop(self.counts.same.fetch_sub(1, Ordering::Relaxed)),
            State::Stored(handle, bytes) => self.pool.free(handle, bytes),
        }
        true
    }

    fn forget_range(&self, first: SwpOffset, nr_pages: u32) -> u64 {
        (0..nr_pages).map(|i| u64::from(self.put(first.plus(i), State::Empty))).sum()
    }

    fn write_page(&self, slot: SwpOffset, page: &[u8], scratch: &mut Scratch) -> std::result::Result<(), Full> {
        if let Some(word) = same_filled(page) {
            // Relaxed is enough, because the call of `put` below stores the state with Release, which orders this
            // store.
            self.slots[slot.0 as usize][1].store(word, Ordering::Relaxed);
            bump(&self.counts.same);
            self.put(slot, State::Same);
            return Ok(());
        }
        let packed = scratch.compress(self.algorithm, page).filter(|data| data.len() <= self.pool.data_bytes_max());
        let data = packed.unwrap_or(page);
        let handle = self.pool.store(slot.0, data)?;
        if data.len() == PAGE_SIZE {
            bump(&self.counts.huge_since);
        }
        self.put(slot, State::Stored(handle, data.len()));
        Ok(())
    }

    /// Reads the page of a slot. Returns whether the data of the page is intact.
    fn read_page(&self, slot: SwpOffset, page: &mut [u8]) -> bool {
        let [state, fill] = &self.slots[slot.0 as usize];
        loop {
            // Acquire pairs with the Release of `put` and of `compact`.
            let word = state.load(Ordering::Acquire);
            match State::unpack(word) {
                State::Empty => page.fill(0),
                // Relaxed is enough, because the Acquire load of the state orders this load.
                State::Same => match fill.load(Ordering::Relaxed) {
                    0 => page.fill(0),
                    word => page.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&word.to_ne_bytes())),
                },
                State::Stored(handle, bytes) => {
                    // Relaxed is enough, because the current thread holds the lock of the zspage. Another thread
                    // needs this lock to move or overwrite the object.
                    let still_there = || state.load(Ordering::Relaxed) == word;
                    let load = |data: &[u8]| decompress(self.algorithm, data, page);
                    match self.pool.read(handle, bytes, still_there, load) {
                        Some(is_whole) => return is_whole,
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
            bump(&self.counts.failed_writes);
            self.forget_range(first, call.nr_pages);
            let what = match full {
                Full::Limit => format!("mem_limit of {} bytes reached", self.mem_limit_bytes()),
                Full::System => "the system has no memory".into(),
            };
            call.failed(Errno::NOMEM, what)
        })
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        let call = Call::new("read", "zram", first, data.len());
        for (page, i) in data.chunks_exact_mut(PAGE_SIZE).zip(0..) {
            if !self.read_page(first.plus(i), page) {
                bump(&self.counts.failed_reads);
                return Err(call.failed(Errno::IO, format!("the data of slot {} does not decompress", first.plus(i).0)));
            }
        }
        Ok(())
    }

    fn slot_free_notify(&self, first: SwpOffset, nr_pages: u32) {
        // Relaxed is enough, because the counter guards no other data and is only displayed.
        self.counts.notify_free.fetch_add(self.forget_range(first, nr_pages), Ordering::Relaxed);
    }

    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        self.slot_free_notify(first, nr_pages);
        Ok(())
    }

    /// Returns the fields of `mm_stat` and `io_stat`. Sizes and limits are in bytes, and other fields are in pages or
    /// calls. The counters are exact while no call runs. `notify_free` counts slots that held a page; `failed_writes`
    /// and `failed_reads` count calls.
    fn stats(&self) -> StorageStats {
        let totals = self.pool.totals();
        // Relaxed is enough, because each counter guards no other data and is only displayed.
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let page = PAGE_SIZE as u64;
        vec![
            ("orig_data_size", (totals.nr_objects + of(&self.counts.same)) * page),
            ("compr_data_size", totals.data_bytes),
            ("mem_used_total", totals.nr_pages * page),
            ("mem_limit", self.mem_limit_bytes()),
            ("mem_used_max", totals.nr_pages_max * page),
            ("same_pages", of(&self.counts.same)),
            ("pages_compacted", totals.nr_compacted_pages),
            ("huge_pages", totals.nr_huge),
            ("huge_pages_since", of(&self.counts.huge_since)),
            ("failed_reads", of(&self.counts.failed_reads)),
            ("failed_writes", of(&self.counts.failed_writes)),
            // `invalid_io` is always 0, because callers check the range of slots before a call.
            ("invalid_io", 0),
            ("notify_free", of(&self.counts.notify_free)),
        ]
    }
}

#[cfg(test)]
mod tests;
