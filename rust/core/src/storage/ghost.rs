//! The storage of a ghost, which is a device without a place for pages. The data of a ghost's slot is in zswap, is a
//! zero mark, or is in the place that the virtual word of the slot names.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::{Call, FileIdentity, SwapStorage};
use crate::base::error::{Result, SwapError};
use crate::base::limits::{MAX_DEVICE_PAGES, PAGE_SIZE, SWAP_HEADER_BYTES_MAX, SWAPFILE_CLUSTER};
use crate::base::types::SwpOffset;
use crate::storage::header::SwapHeader;
use crate::storage::spec::{DeviceSpec, GhostSpec};

/// Number of slots that a ghost has for each page of the machine's memory.
const RAM_FACTOR: u64 = 8;

/// The storage of a ghost device. Kernel: a swap file of one page, or `/dev/ghostswap`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ghost {
    spec: DeviceSpec,
    /// The file that [`Ghost::open`] read, or `None` for a ghost whose size is an argument.
    header_file: Option<FileIdentity>,
}

impl Ghost {
    /// Makes a ghost of `max_pages` slots, header included. Errors: `DeviceTooSmall` (EINVAL).
    pub fn new(max_pages: u32, spec: GhostSpec) -> Result<Self> {
        let spec = DeviceSpec { is_block_device: false, ghost: Some(spec), ..DeviceSpec::new(max_pages) };
        spec.check()?;
        Ok(Self { spec, header_file: None })
    }

    /// Makes a ghost for a machine with `ram_pages` pages of memory. The ghost has eight slots for each page, in
    /// whole clusters, up to the largest slot number. Errors: `DeviceTooSmall` (EINVAL). Kernel: `setup_ghost_swap`.
    pub fn for_ram(ram_pages: u64, spec: GhostSpec) -> Result<Self> {
        let cluster = u64::from(SWAPFILE_CLUSTER);
        let wanted = ram_pages.div_ceil(cluster).saturating_mul(cluster * RAM_FACTOR);
        let most = u64::from(MAX_DEVICE_PAGES) / cluster * cluster;
        Self::new(wanted.min(most) as u32, spec)
    }

    /// Makes a ghost of the size that the swap header of a file states. The file consists of only the header page.
    /// Only one device at a time can be on such a file.
    ///
    /// Errors: `Io`; `BadHeader`, `WrongPageSize`, `TooManyBadPages`, `BadPagesOnFile` (EINVAL).
    pub fn open(path: &Path, spec: GhostSpec) -> Result<Self> {
        let name = path.display().to_string();
        let mut page = Vec::with_capacity(PAGE_SIZE + 1);
        let read = fs::File::open(path).and_then(|file| {
            let meta = file.metadata()?;
            file.take(SWAP_HEADER_BYTES_MAX as u64).read_to_end(&mut page)?;
            Ok(FileIdentity { file_system: meta.dev(), file: meta.ino() })
        });
        let identity = read.map_err(|error| Call::new("open", &name, SwpOffset(0), PAGE_SIZE).refused(&error))?;
        let header = match SwapHeader::parse(&page) {
            Err(error @ SwapError::WrongPageSize { .. }) => return Err(error),
            _ if page.len() != PAGE_SIZE => {
                return Err(SwapError::BadHeader("a ghost's file is one page, its header"));
            }
            parsed => parsed?,
        };
        if !header.bad_pages.is_empty() {
            return Err(SwapError::BadPagesOnFile(header.bad_pages.len()));
        }
        Ok(Self { header_file: Some(identity), ..Self::new(header.last_page.saturating_add(1), spec)? })
    }
}

impl SwapStorage for Ghost {
    fn kind(&self) -> &'static str {
        "ghost"
    }

    fn spec(&self) -> DeviceSpec {
        self.spec.clone()
    }

    fn header_file(&self) -> Option<FileIdentity> {
        self.header_file
    }

    /// Refuses every write to the device. Errors: `GhostWrite` (ENOSPC).
    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        Err(SwapError::GhostWrite { first: first.0, nr_pages: (data.len() / PAGE_SIZE) as u32 })
    }

    /// Fails, because a ghost keeps no pages. A read reaches the ghost's storage only if the page of the slot is in
    /// no other place, so the page is lost. Errors: `Io` (EIO).
    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        Err(Call::new("read", self.kind(), first, data.len()).failed(Errno::IO, "a ghost keeps no pages"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_follows_from_memory() {
        let size = |ram| Ghost::for_ram(ram, GhostSpec::default()).map(|ghost| ghost.spec().max_pages);
        assert_eq!((size(1), size(512), size(513)), (Ok(4096), Ok(4096), Ok(8192)));
        assert_eq!(size(0), Err(SwapError::DeviceTooSmall(0)));
        assert_eq!(size(u64::MAX / 2), Ok(u32::MAX - 511), "whole clusters, up to the largest slot number");
    }

    #[test]
    fn nothing_can_be_written_or_read() {
        let ghost = Ghost::new(64, GhostSpec::default()).expect("a size");
        let error = ghost.write(SwpOffset(5), &[0; 2 * PAGE_SIZE]).expect_err("no place");
        assert_eq!((error.errno(), error), (28, SwapError::GhostWrite { first: 5, nr_pages: 2 }));
        assert_eq!(ghost.read(SwpOffset(5), &mut [0; PAGE_SIZE]).map_err(|error| error.errno()), Err(5));
    }
}
