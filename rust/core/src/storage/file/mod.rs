//! A storage in a swap file or on a block device.

mod open;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

pub use open::FileOptions;
use open::HeaderArea;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{Call, Claim, StorageStats, SwapStorage};
use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;
use crate::storage::header::SwapHeader;
use crate::storage::spec::DeviceSpec;

/// A swap file or block device with a SWAPSPACE2 header, which is locked against other users while the [`File`]
/// exists.
///
/// Each call is one positioned read or write, so calls of many threads run in parallel. Writes go to the page cache
/// unless [`FileOptions::direct`] is set. The storage never flushes data, because swapped-out data is useless after
/// the end of the process. Kernel: the file behind a `swap_info_struct`; differs: I/O goes through the file system,
/// so holes in the file are permitted, and extents are not mapped.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: String,
    /// The header as it is in the file. The lock is held while [`File::swaplabel`] changes the file.
    header: Mutex<SwapHeader>,
    spec: DeviceSpec,
}

fn at_byte(slot: SwpOffset) -> u64 {
    u64::from(slot.0) * PAGE_SIZE as u64
}

impl File {
    /// Returns the swap header of the file.
    pub fn header(&self) -> SwapHeader {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes another label or UUID to the header, and leaves the rest of the header as it is. `None` keeps the old
    /// value.
    ///
    /// Errors, with nothing changed: `BadLabel` (EINVAL); `StorageInUse` (EBUSY) while a device is on the file, because
    /// the kernel refuses writes to a swap file that is on; `Io` of the read. After `Io` of the write the header in the
    /// file is undefined. Locks: the lock of the header, which is held during the read and the write. Kernel: none; the
    /// program `swaplabel` of util-linux does the same.
    pub fn swaplabel(&self, label: Option<&str>, uuid: Option<[u8; 16]>) -> Result<()> {
        let _claim = Claim::new(self)?;
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        let mut area = HeaderArea::zeroed();
        let page = &mut area.0[..PAGE_SIZE];
        let failed = |op| move |error| self.failed(op, SwpOffset(0), PAGE_SIZE, &error);
        self.file.read_exact_at(page, 0).map_err(failed("read"))?;
        SwapHeader::relabel(page, label, uuid)?;
        let changed = SwapHeader::parse(page)?;
        let written = self.file.write_all_at(page, 0).and_then(|()| self.file.sync_all());
        written.map_err(failed("write"))?;
        *header = changed;
        Ok(())
    }

    #[cold]
    fn failed(&self, op: &'static str, first: SwpOffset, bytes: usize, error: &io::Error) -> SwapError {
        let call = Call::new(op, &self.path, first, bytes);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => call.failed(Errno::IO, "the file ends before it, truncated"),
            io::ErrorKind::WriteZero => call.failed(Errno::IO, "the system took no byte"),
            _ => call.refused(error),
        }
    }
}

impl SwapStorage for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn spec(&self) -> DeviceSpec {
        self.spec.clone()
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(data, at_byte(first));
        written.map_err(|error| self.failed("write", first, data.len(), &error))
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(data, at_byte(first));
        read.map_err(|error| self.failed("read", first, data.len(), &error))
    }

    /// Punches a hole in the file. On a block device the hole is a discard. Errors: `Io`, with EOPNOTSUPP when
    /// `can_discard` is false because the file system has no holes or the device has no discards.
    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        let bytes = nr_pages as usize * PAGE_SIZE;
        if !self.spec.can_discard {
            return Err(Call::new("discard", &self.path, first, bytes).failed(Errno::OPNOTSUPP, "no holes here"));
        }
        punch(&self.file, at_byte(first), bytes as u64).map_err(|error| self.failed("discard", first, bytes, &error))
    }

    /// Returns `allocated_bytes`, the space that the file takes on its file system. A block device has no counters.
    fn stats(&self) -> StorageStats {
        use std::os::unix::fs::MetadataExt;
        match self.file.metadata() {
            Ok(meta) if meta.is_file() => vec![("allocated_bytes", meta.blocks() * 512)],
            _ => Vec::new(),
        }
    }
}

fn punch(file: &fs::File, start_bytes: u64, bytes: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start_bytes, bytes) {
            Err(Errno::INTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
