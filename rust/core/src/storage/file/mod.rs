//! A storage in a swap file or on a block device.

mod open;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

pub use open::FileOptions;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{Call, StorageStats, StorageTraits, SwapStorage};
use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::base::types::SwpOffset;
use crate::storage::header::SwapHeader;
use crate::storage::spec::DeviceSpec;

/// A swap file or block device with a SWAPSPACE2 header, locked against other users while it is open.
///
/// Each run is one positioned system call, so calls of many threads run in parallel. Writes go to the page cache
/// unless the file is opened `direct`. Data is never flushed, because swap does not outlive its user. Kernel: the
/// file behind a `swap_info_struct`; differs: I/O goes through the file system, so holes are no error and extents are
/// not mapped.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: String,
    header: SwapHeader,
    spec: DeviceSpec,
}

/// Returns the errno of an error and its text. EIO stands for an error without errno.
#[cold]
pub(super) fn cause(error: &io::Error) -> (Errno, String) {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default().to_owned();
    (Errno::from_io_error(error).unwrap_or(Errno::IO), words)
}

fn at_byte(slot: SwpOffset) -> u64 {
    u64::from(slot.0) * PAGE_SIZE as u64
}

const TRUNCATED: &str = "the file ends before it, truncated";
const WROTE_NOTHING: &str = "the system took no byte";

impl File {
    /// Returns the parsed header.
    pub fn header(&self) -> &SwapHeader {
        &self.header
    }

    /// Returns the path that the file was opened with.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn call(&self, op: &'static str, first: SwpOffset, bytes: usize) -> Call<'_> {
        Call::new(op, &self.path, first, bytes)
    }

    #[cold]
    fn failed(&self, op: &'static str, first: SwpOffset, bytes: usize, error: &io::Error) -> SwapError {
        let (errno, words) = cause(error);
        self.call(op, first, bytes).failed(errno, words)
    }
}

impl SwapStorage for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn spec(&self) -> DeviceSpec {
        self.spec.clone()
    }

    fn traits(&self) -> StorageTraits {
        StorageTraits::empty()
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        let mut written = 0;
        while written < data.len() {
            match self.file.write_at(&data[written..], at_byte(first) + written as u64) {
                Ok(0) => return Err(self.call("write", first, data.len()).failed(Errno::IO, WROTE_NOTHING)),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("write", first, data.len(), &error)),
            }
        }
        Ok(())
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        let mut read = 0;
        while read < data.len() {
            match self.file.read_at(&mut data[read..], at_byte(first) + read as u64) {
                Ok(0) => return Err(self.call("read", first, data.len()).failed(Errno::IO, TRUNCATED)),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", first, data.len(), &error)),
            }
        }
        Ok(())
    }

    /// Punches a hole; a block device treats it as a discard. Errors: `Io`, with EOPNOTSUPP where the file system has
    /// no holes or the device no discards; `can_discard` is false then.
    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        let bytes = nr_pages as usize * PAGE_SIZE;
        if !self.spec.can_discard {
            return Err(self.call("discard", first, bytes).failed(Errno::OPNOTSUPP, "no holes here"));
        }
        punch(&self.file, at_byte(first), bytes as u64).map_err(|error| self.failed("discard", first, bytes, &error))
    }

    /// Returns `allocated_bytes`, the space that the file takes on its file system. A block device has no figures.
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
