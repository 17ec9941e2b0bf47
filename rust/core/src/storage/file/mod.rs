//! A swap file or a block device.

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


/// A swap file or block device with a SWAPSPACE2 header, locked against a second user while it is open.
///
/// One system call for each run, at the slot's place, so calls of many threads go side by side. Writes go to the page
/// cache unless opened `direct`; nothing is flushed, as swap does not outlive its user. Kernel: the file behind a
/// `swap_info_struct`; differs: I/O goes through the file system, so holes are no error and extents are not mapped.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: String,
    header: SwapHeader,
    spec: DeviceSpec,
}

/// Returns the system's errno and its words; EIO where the system gives no errno.
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
    /// Returns what the header says.
    pub fn header(&self) -> &SwapHeader {
        &self.header
    }

    /// Returns the path it was opened by.
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

    /// Punches a hole, which a block device takes as a discard. Errors: `Io`, EOPNOTSUPP where the file system has no
    /// holes or the device no discards: then `can_discard` is false.
    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        let bytes = nr_pages as usize * PAGE_SIZE;
        if !self.spec.can_discard {
            return Err(self.call("discard", first, bytes).failed(Errno::OPNOTSUPP, "no holes here"));
        }
        punch(&self.file, at_byte(first), bytes as u64).map_err(|error| self.failed("discard", first, bytes, &error))
    }

    /// `allocated_bytes` that the file takes on its file system; nothing for a block device.
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
