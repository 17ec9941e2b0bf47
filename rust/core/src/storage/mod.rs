//! The trait [`SwapStorage`] for a place of page data, and the implementations of the trait.

mod fault;
mod file;
mod ghost;
pub mod header;
mod null;
mod ram;
pub mod spec;
mod zram;

use std::any::Any;
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
    /// Properties of a storage that the callers of the storage must respect.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct StorageTraits: u32 {
        /// A call of the storage is as fast as memory. A swap-in from such a storage therefore does no readahead, and
        /// frees the slot. Kernel: `SWP_SYNCHRONOUS_IO`.
        const SYNCHRONOUS_IO = 1 << 0;
        /// A page must not change while the storage writes the page. The core only displays this flag, because each
        /// write to a storage holds a shared lock on the bytes of the folio. A thread that changes the bytes waits
        /// for this lock. Kernel: `SWP_STABLE_WRITES`.
        const STABLE_WRITES = 1 << 1;
        /// The storage wants a call of [`SwapStorage::slot_free_notify`] for each freed slot. Kernel:
        /// `swap_slot_free_notify` of the block device.
        const FREE_NOTIFY = 1 << 2;
    }
}

/// Counters of a storage: pairs of a name and a value. A counter that the kernel also has gets the kernel's name. The
/// name of any other counter contains the unit of the counter.
pub type StorageStats = Vec<(&'static str, u64)>;

/// A place for page data. Kernel: the block device or file behind a `swap_info_struct`.
///
/// `data` of a call is one or more whole pages and starts at a page-aligned address. All slots of a call lie on the
/// device, and slot 0 is never among the slots. Many threads call the storage at the same time. A write to a slot
/// never runs at the same time as another call for the slot, because the lock of the slot's folio excludes other
/// calls. Every function except [`SwapStorage::slot_free_notify`] may sleep.
///
/// Errors of a call are `Io` with an errno. After a failed write the content of the slots is undefined, and the
/// caller keeps the data. After a failed read the content of `data` is undefined, and the caller drops the data.
pub trait SwapStorage: Any + Send + Sync + Debug {
    /// Returns the name of the kind of storage: `null`, `ram`, `zram`, `file`, `ghost` or `faulty`.
    fn kind(&self) -> &'static str;

    /// Returns the description of the device: size, bad pages, properties. The caller of swapon chooses discard
    /// policy and priority.
    fn spec(&self) -> DeviceSpec;

    /// Returns whether a read returns the pages that were written. The result is false for a storage whose device has
    /// slots but keeps no data.
    fn keeps_data(&self) -> bool {
        self.wrapped().is_none_or(|inner| inner.keeps_data())
    }

    /// Returns the properties that callers must respect. The result is constant. By default a storage has no
    /// property, and a wrapper has the properties of the wrapped storage.
    fn traits(&self) -> StorageTraits {
        self.wrapped().map_or(StorageTraits::empty(), |inner| inner.traits())
    }

    /// Writes whole pages to the slots from `first` on. Errors: `Io`; `GhostWrite` (ENOSPC) when the storage has no
    /// place for pages.
    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()>;

    /// Reads whole pages of the slots from `first` on. Errors: `Io`.
    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()>;

    /// Drops the data of slots that were freed. The caller holds the cluster lock, so the function must not sleep,
    /// must not call the subsystem, and must return quickly.
    fn slot_free_notify(&self, _first: SwpOffset, _nr_pages: u32) {}

    /// Frees the space of slots. A later read of the slots returns zeros or the old data. Errors: `Io`.
    fn discard(&self, _first: SwpOffset, _nr_pages: u32) -> Result<()> {
        Ok(())
    }

    /// Returns the file that describes the storage, or `None`. A storage returns its file if two devices must not
    /// share the file and no lock of the file prevents this; the device then claims the file.
    fn header_file(&self) -> Option<FileIdentity> {
        None
    }

    /// Returns the storage that this storage wraps, or `None` when this storage is not a wrapper. A device claims the
    /// innermost storage of a chain of wrappers.
    fn wrapped(&self) -> Option<&Arc<dyn SwapStorage>> {
        None
    }

    /// Replaces the plan of faults of the first [`Faulty`] in the chain of wrappers that starts at this storage.
    /// Errors, with the old plan kept: `UnknownName` (EINVAL) when no storage of the chain is a `Faulty`; the errors
    /// of [`Faulty::set_plan`].
    fn plan_faults(&self, plan: FaultPlan) -> Result<()> {
        match self.wrapped() {
            Some(inner) => inner.plan_faults(plan),
            None => Err(SwapError::UnknownName {
                what: "storage with faults",
                name: self.kind().into(),
                known: "faulty".into(),
            }),
        }
    }

    /// Returns the counters of the storage.
    fn stats(&self) -> StorageStats {
        Vec::new()
    }
}

impl dyn SwapStorage {
    /// Returns the first storage of type `T` in the chain of wrappers that starts at this storage.
    pub fn find_storage<T: SwapStorage>(&self) -> Option<&T> {
        let here: &dyn Any = self;
        here.downcast_ref().or_else(|| self.wrapped()?.find_storage())
    }
}

/// One call of a storage, with the values that the error message of the call shows.
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

    /// Makes the error of a call from an error of the system. An error without an errno becomes EIO.
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

/// Returns the errno and the text of an error. The errno is EIO when the error has no errno.
#[cold]
fn cause(error: &io::Error) -> (Errno, String) {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default().to_owned();
    (Errno::from_io_error(error).unwrap_or(Errno::IO), words)
}

/// The file whose size and header describe a storage, by the numbers of its file system and of the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileIdentity {
    /// Number of the file system, `st_dev`.
    pub file_system: u64,
    /// Number of the file in its file system, `st_ino`.
    pub file: u64,
}

/// The key of a claim. Storages with the same key cannot be in use as two devices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum ClaimKey {
    /// The storage with this address.
    Storage(usize),
    /// The file whose size and header describe the storage.
    File(FileIdentity),
}

/// The claims of all storages that are in use as devices, in all subsystems of this process.
static CLAIMED: Mutex<BTreeSet<ClaimKey>> = Mutex::new(BTreeSet::new());

/// The exclusive right to use a storage as a device. Two devices cannot share a storage, because both devices write
/// the same slots. Kernel: the claim of `bdev_open`.
#[derive(Debug)]
pub(crate) struct Claim(ClaimKey);

impl Claim {
    /// Claims a storage. Errors: `StorageInUse` (EBUSY).
    pub(crate) fn new(storage: &dyn SwapStorage) -> Result<Self> {
        let mut innermost = storage;
        while let Some(wrapped) = innermost.wrapped() {
            innermost = &**wrapped;
        }
        let address = std::ptr::from_ref(innermost).addr();
        let key = innermost.header_file().map_or(ClaimKey::Storage(address), ClaimKey::File);
        // A poisoned lock is used like any other lock, because the set of claims is valid even after a panic: each
        // change of the set is one insertion or one removal.
        let is_new = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        if is_new { Ok(Self(key)) } else { Err(SwapError::StorageInUse(format!("the {} storage", innermost.kind()))) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
