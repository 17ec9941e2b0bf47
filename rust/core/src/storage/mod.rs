//! Storages: the trait for a place of page data, and its implementations.

mod fault;
mod file;
mod ghost;
pub mod header;
mod null;
mod ram;
pub mod spec;
mod zram;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

pub use fault::{FaultPlan, Faulty};
pub use file::{File, FileOptions};
pub use ghost::Ghost;
pub use null::Null;
pub use ram::Ram;
pub use zram::{Algorithm, Zram, ZramOptions};

use rustix::io::Errno;

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;
use crate::storage::spec::DeviceSpec;

bitflags::bitflags! {
    /// Properties of a storage that its callers must respect.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StorageTraits: u32 {
        /// A call is as fast as memory, so there is no readahead, and a swap-in frees the slot. Kernel:
        /// `SWP_SYNCHRONOUS_IO`.
        const SYNCHRONOUS_IO = 1 << 0;
        /// A page must not change while it is written. The core only shows the flag. A write of any storage holds the
        /// bytes of its folio shared, so a writer of the bytes waits. Kernel: `SWP_STABLE_WRITES`.
        const STABLE_WRITES = 1 << 1;
        /// The storage wants [`SwapStorage::slot_free_notify`]. Kernel: `swap_slot_free_notify` of the block device.
        const FREE_NOTIFY = 1 << 2;
    }
}

/// Counters of a storage: pairs of a name and a value. The name is the kernel's name where the kernel has the
/// counter; other names contain their unit.
pub type StorageStats = Vec<(&'static str, u64)>;

/// A place for page data. Kernel: the block device or file behind a `swap_info_struct`.
///
/// `data` is always a positive number of whole pages and starts page aligned. The range lies on the device without
/// slot 0. Many threads call at once. A write to a slot never runs at the same time as another call on that slot,
/// because the lock of the folio over the slot excludes that. A call may sleep, except
/// [`SwapStorage::slot_free_notify`].
///
/// Errors are `Io` with an errno. After a failed write the content of the slots is undefined, and the caller keeps
/// the data. After a failed read the content of `data` is undefined, and the caller drops the data.
pub trait SwapStorage: Send + Sync + Debug {
    /// Returns the name of the kind: `null`, `ram`, `zram`, `file`, `ghost`, `faulty`.
    fn kind(&self) -> &'static str;

    /// Returns the description of the device: size, bad pages, properties. The caller of swapon chooses discard
    /// policy and priority.
    fn spec(&self) -> DeviceSpec;

    /// Returns whether written pages can be read back. A storage without data has slots only.
    fn keeps_data(&self) -> bool {
        self.wrapped().is_none_or(|inner| inner.keeps_data())
    }

    /// Returns the properties that callers must respect. The answer is constant. By default a storage has no
    /// property, and a wrapper has the properties of the storage below.
    fn traits(&self) -> StorageTraits {
        self.wrapped().map_or(StorageTraits::empty(), |inner| inner.traits())
    }

    /// Writes whole pages to the slots from `first` on. Errors: `Io`; `GhostWrite` (ENOSPC) when the storage has no
    /// place for pages.
    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()>;

    /// Reads whole pages of the slots from `first` on. Errors: `Io`.
    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()>;

    /// Drops the data of slots that were freed. The caller holds the cluster lock, so the function must not sleep,
    /// call back or take long.
    fn slot_free_notify(&self, _first: SwpOffset, _nr_pages: u32) {}

    /// Frees the space of slots, which then read as zeros or as before. Errors: `Io`.
    fn discard(&self, _first: SwpOffset, _nr_pages: u32) -> Result<()> {
        Ok(())
    }

    /// Returns the storage that this storage wraps, if it is a wrapper. A device claims the innermost storage of a
    /// chain of wrappers.
    fn wrapped(&self) -> Option<&Arc<dyn SwapStorage>> {
        None
    }

    /// Returns the counters of the storage.
    fn stats(&self) -> StorageStats {
        Vec::new()
    }
}

/// One call on a storage, with the facts for its error message.
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

    /// Makes the error of a call that the system refused. EIO stands for an error without errno.
    #[cold]
    fn refused(self, error: &io::Error) -> SwapError {
        let (errno, words) = cause(error);
        self.failed(errno, words)
    }

    #[cold]
    fn failed(self, errno: Errno, what: impl Into<String>) -> SwapError {
        let Self { op, storage, first, nr_pages } = self;
        SwapError::Io { op, storage: storage.into(), first: first.0, nr_pages, errno, what: what.into() }
    }
}

/// Returns the errno of an error and its text. EIO stands for an error without errno.
#[cold]
fn cause(error: &io::Error) -> (Errno, String) {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default().to_owned();
    (Errno::from_io_error(error).unwrap_or(Errno::IO), words)
}

/// Addresses of the storages that are devices of any subsystem of this process.
static CLAIMED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// The exclusive right to use a storage as a device, because two devices would write the same slots. Kernel: the
/// claim of `bdev_open`.
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
        // A panic under the lock leaves a whole set, because each change is one insertion or removal.
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
