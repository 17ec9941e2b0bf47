//! Where the pages of a device go: one trait, and the storages that implement it.

mod fault;
mod file;
mod ghost;
pub mod header;
mod null;
mod ram;
pub mod spec;
#[cfg(feature = "uring")]
mod uring;
mod zram;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

pub use fault::{FaultPlan, Faulty};
pub use file::{File, FileOptions};
pub use ghost::Ghost;
pub use null::Null;
pub use ram::Ram;
#[cfg(feature = "uring")]
pub use uring::Uring;
pub use zram::{Algorithm, Zram, ZramOptions};

use rustix::io::Errno;

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;
use crate::storage::spec::DeviceSpec;

bitflags::bitflags! {
    /// What a storage asks of those who use it.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StorageTraits: u32 {
        /// A call is as fast as memory: no readahead, and swap-in drops the slot. Kernel: `SWP_SYNCHRONOUS_IO`.
        const SYNCHRONOUS_IO = 1 << 0;
        /// Pages must not change while they are written. Kernel: `SWP_STABLE_WRITES`.
        const STABLE_WRITES = 1 << 1;
        /// Wants [`SwapStorage::slot_free_notify`]. Kernel: `swap_slot_free_notify` of the block device.
        const FREE_NOTIFY = 1 << 2;
    }
}

/// One contiguous run to write: pages for consecutive slots.
#[derive(Clone, Copy, Debug)]
pub struct WriteRun<'a> {
    /// The first slot.
    pub first: SwpOffset,
    /// Whole pages, page aligned.
    pub data: &'a [u8],
}

/// Figures of a storage: kernel name where there is one (units in the name) and value.
pub type StorageStats = Vec<(&'static str, u64)>;

/// A place for page contents. Kernel: the block device or file behind a `swap_info_struct`.
///
/// `data` is always a positive number of whole pages and starts page aligned; the range lies on the device and does not
/// touch slot 0. Calls come from many threads at once, but never two for the same slot where one writes: who owns the
/// folio of the slots sees to that. A call may sleep, except [`SwapStorage::slot_free_notify`].
///
/// Errors are `Io` with an errno. After a failed write the slots may hold anything; the caller keeps the data. After a
/// failed read `data` may hold anything; the caller drops it.
pub trait SwapStorage: Send + Sync + Debug {
    /// Names the kind: `null`, `ram`, `zram`, `file`, `ghost`, `faulty`.
    fn kind(&self) -> &'static str;

    /// Returns what makes the device: size, bad pages, properties; discard policy and priority are the caller's choice.
    fn spec(&self) -> DeviceSpec;

    /// Says whether pages that were written can be read back, as far as there is room: otherwise slots are all there is.
    fn keeps_data(&self) -> bool {
        self.wrapped().is_none_or(|inner| inner.keeps_data())
    }

    /// Returns what it asks of those who use it; constant.
    fn traits(&self) -> StorageTraits;

    /// Writes whole pages to the slots from `first` on. Errors: `Io`; `GhostWrite` (ENOSPC) there is no place for pages.
    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()>;

    /// Reads whole pages of the slots from `first` on. Errors: `Io`.
    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()>;

    /// Writes many runs, in any order, and returns a result for each; together they may cost less than one by one.
    fn write_runs(&self, runs: &[WriteRun<'_>]) -> Vec<Result<()>> {
        runs.iter().map(|run| self.write(run.first, run.data)).collect()
    }

    /// Forgets slots that were freed. Called under the cluster lock: must not sleep, call back or take long.
    fn slot_free_notify(&self, _first: SwpOffset, _nr_pages: u32) {}

    /// Gives the space of slots back; they read as zeros or as before. Errors: `Io`.
    fn discard(&self, _first: SwpOffset, _nr_pages: u32) -> Result<()> {
        Ok(())
    }

    /// Returns the storage that this one wraps, if it is a wrapper: that is what a device has a claim to.
    fn wrapped(&self) -> Option<&Arc<dyn SwapStorage>> {
        None
    }

    /// Returns its figures.
    fn stats(&self) -> StorageStats {
        Vec::new()
    }
}

/// One call on a storage, kept for the words of its error.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    op: &'static str,
    storage: &'a str,
    first: SwpOffset,
    nr_pages: u32,
}

impl<'a> Call<'a> {
    fn new(op: &'static str, storage: &'a str, first: SwpOffset, bytes: usize) -> Self {
        debug_assert!(bytes > 0 && bytes.is_multiple_of(PAGE_SIZE), "a call is of whole pages");
        Self { op, storage, first, nr_pages: (bytes / PAGE_SIZE) as u32 }
    }

    #[cold]
    fn failed(self, errno: Errno, what: impl Into<String>) -> SwapError {
        let Self { op, storage, first, nr_pages } = self;
        SwapError::Io { op, storage: storage.into(), first: first.0, nr_pages, errno, what: what.into() }
    }
}

/// Storages that are devices, of any subsystem of this process, by address.
static CLAIMED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// The right to be the one device on a storage: two would write the same slots. Kernel: the claim of `bdev_open`.
#[derive(Debug)]
pub(crate) struct Claim(usize);

impl Claim {
    /// Claims a storage. Errors: `StorageInUse` (EBUSY).
    pub(crate) fn new(storage: &Arc<dyn SwapStorage>) -> Result<Self> {
        let mut innermost = storage;
        while let Some(wrapped) = innermost.wrapped() {
            innermost = wrapped;
        }
        let address = Arc::as_ptr(innermost).addr();
        // A panic under it leaves a whole set: each change is one insertion or removal.
        let is_new = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
        if is_new {
            Ok(Self(address))
        } else {
            Err(SwapError::StorageInUse(format!("the {} storage", innermost.kind())))
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
