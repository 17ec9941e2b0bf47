//! A storage that keeps pages in memory, uncompressed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::io::Errno;

use super::{Call, StorageStats, StorageTraits, SwapStorage};
use crate::base::error::{Result, SwapError};
use crate::base::limits::{PAGE_SIZE, SWAPFILE_CLUSTER};
use crate::base::sync::SpinMutex;
use crate::base::types::SwpOffset;
use crate::storage::spec::DeviceSpec;

const SLOTS: usize = SWAPFILE_CLUSTER as usize;

type Page = Box<[u8; PAGE_SIZE]>;
/// The pages of the slots of one cluster. A slot without data has `None`.
type Chunk = Box<[SpinMutex<Option<Page>>]>;

/// A RAM disk. A write to a slot allocates memory for the page, and a free or discard of the slot frees the memory.
///
/// Kernel: `brd`; differs: the storage asks for free notifications, so that a freed slot takes no memory.
#[derive(Debug)]
pub struct Ram {
    max_pages: u32,
    chunks: Box<[OnceLock<Chunk>]>,
    nr_stored_pages: AtomicU64,
}

impl Ram {
    /// Makes an empty device of `max_pages` slots, header included. Errors: `DeviceTooSmall` (EINVAL), `NoMemory`
    /// (ENOMEM).
    pub fn new(max_pages: u32) -> Result<Self> {
        DeviceSpec::new(max_pages).check()?;
        let nr_chunks = max_pages.div_ceil(SWAPFILE_CLUSTER) as usize;
        let mut chunks = Vec::new();
        let bytes = nr_chunks * size_of::<OnceLock<Chunk>>();
        chunks.try_reserve_exact(nr_chunks).map_err(|_| SwapError::NoMemory(bytes as u64))?;
        chunks.extend((0..nr_chunks).map(|_| OnceLock::new()));
        Ok(Self { max_pages, chunks: chunks.into(), nr_stored_pages: AtomicU64::new(0) })
    }

    fn forget(&self, slot: SwpOffset) {
        let page = self.chunks[slot.cluster().index()].get().and_then(|chunk| chunk[slot.in_cluster()].lock().take());
        if page.is_some() {
            // Relaxed is enough, because the counter guards no other data and is only displayed.
            self.nr_stored_pages.fetch_sub(1, Relaxed);
        }
    }

    fn forget_range(&self, first: SwpOffset, nr_pages: u32) {
        (0..nr_pages).for_each(|i| self.forget(first.plus(i)));
    }
}

/// Allocates a page with a copy of the data, or returns `None` when the system has no memory.
fn new_page(data: &[u8]) -> Option<Page> {
    let mut page = Vec::new();
    page.try_reserve_exact(PAGE_SIZE).ok()?;
    page.extend_from_slice(data);
    page.into_boxed_slice().try_into().ok()
}

fn new_chunk() -> Chunk {
    (0..SLOTS).map(|_| SpinMutex::default()).collect()
}

impl SwapStorage for Ram {
    fn kind(&self) -> &'static str {
        "ram"
    }

    fn spec(&self) -> DeviceSpec {
        DeviceSpec { can_discard: true, ..DeviceSpec::new(self.max_pages) }
    }

    fn traits(&self) -> StorageTraits {
        StorageTraits::SYNCHRONOUS_IO | StorageTraits::FREE_NOTIFY
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        let call = Call::new("write", "ram", first, data.len());
        for (i, data) in data.chunks_exact(PAGE_SIZE).enumerate() {
            let slot = first.plus(i as u32);
            let chunk = self.chunks[slot.cluster().index()].get_or_init(new_chunk);
            if let Some(page) = &mut *chunk[slot.in_cluster()].lock() {
                page.copy_from_slice(data);
                continue;
            }
            let Some(page) = new_page(data) else {
                self.forget_range(first, call.nr_pages);
                return Err(call.failed(Errno::NOMEM, "no memory for a page"));
            };
            if chunk[slot.in_cluster()].lock().replace(page).is_none() {
                // Relaxed is enough, because the counter guards no other data and is only displayed.
                self.nr_stored_pages.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        for (i, data) in data.chunks_exact_mut(PAGE_SIZE).enumerate() {
            let slot = first.plus(i as u32);
            let held = self.chunks[slot.cluster().index()].get().map(|chunk| chunk[slot.in_cluster()].lock());
            match held.as_ref().and_then(|held| held.as_ref()) {
                Some(page) => data.copy_from_slice(&page[..]),
                None => data.fill(0),
            }
        }
        Ok(())
    }

    fn slot_free_notify(&self, first: SwpOffset, nr_pages: u32) {
        self.forget_range(first, nr_pages);
    }

    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        self.forget_range(first, nr_pages);
        Ok(())
    }

    /// Returns the counters `orig_data_size` and `mem_used_total` in bytes. The counters have zram's names, because
    /// `brd` has no counters.
    fn stats(&self) -> StorageStats {
        // Relaxed is enough, because the counter guards no other data and is only displayed.
        let bytes = self.nr_stored_pages.load(Relaxed) * PAGE_SIZE as u64;
        vec![("orig_data_size", bytes), ("mem_used_total", bytes)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_with_the_write_and_goes_with_the_free() {
        let ram = Ram::new(1024).expect("a size");
        let (data, mut back) = (vec![7; 3 * PAGE_SIZE], vec![1; 4 * PAGE_SIZE]);
        ram.write(SwpOffset(510), &data).expect("room");
        ram.write(SwpOffset(511), &data[..PAGE_SIZE]).expect("room");
        assert_eq!(ram.stats()[1], ("mem_used_total", 3 * 4096));
        ram.read(SwpOffset(510), &mut back).expect("memory");
        assert_eq!(back[..3 * PAGE_SIZE], data);
        assert!(back[3 * PAGE_SIZE..].iter().all(|&byte| byte == 0), "never written");
        ram.slot_free_notify(SwpOffset(510), 1);
        ram.discard(SwpOffset(511), 513).expect("never fails");
        assert_eq!(ram.stats()[1], ("mem_used_total", 0));
        ram.read(SwpOffset(510), &mut back).expect("memory");
        assert!(back.iter().all(|&byte| byte == 0), "freed");
    }

    #[test]
    fn a_device_without_room_is_refused() {
        assert_eq!(Ram::new(1).err(), Some(SwapError::DeviceTooSmall(1)));
    }
}
