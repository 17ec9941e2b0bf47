//! Creating and opening swap files: header, lock, size, and the properties of the device.

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock, major, minor};
use rustix::io::Errno;

use super::{File, cause, punch};
use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;
use crate::storage::header::SwapHeader;
use crate::storage::spec::{DeviceSpec, Discard};

/// Options for opening a [`File`]. The default takes every property from the system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileOptions {
    /// Bypass the page cache by `O_DIRECT`. Data must be page aligned in memory then.
    pub direct: bool,
    /// Whether the file counts as a block device. A regular file may be the image of one, which may have bad pages
    /// and large runs. `None` asks the system.
    pub is_block_device: Option<bool>,
    /// Whether the device seeks. `None` asks the system for a block device; a regular file does not rotate.
    pub is_rotational: Option<bool>,
}

/// A page with the alignment that direct I/O needs.
#[repr(C, align(4096))]
struct HeaderPage([u8; PAGE_SIZE]);

fn failed(op: &'static str, path: &Path, errno: Errno, what: String) -> SwapError {
    SwapError::Io { op, storage: path.display().to_string(), first: 0, nr_pages: 1, errno, what }
}

fn os_failed(op: &'static str, path: &Path, error: &io::Error) -> SwapError {
    let (errno, words) = cause(error);
    failed(op, path, errno, words)
}

/// Returns the size of the file or device in bytes.
fn size_bytes(mut file: &fs::File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Reads a queue attribute of a block device, or of the device that it is a partition of.
fn queue_number(device: u64, name: &str) -> Option<u64> {
    let base = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let read = |dir: &str| fs::read_to_string(format!("{base}/{dir}/{name}")).ok();
    read("queue").or_else(|| read("../queue"))?.trim().parse().ok()
}

/// Reads page 0. A shorter file gives fewer bytes.
fn read_header(file: &fs::File) -> io::Result<SwapHeaderBytes> {
    let mut page = Box::new(HeaderPage([0; PAGE_SIZE]));
    let mut read = 0;
    while read < PAGE_SIZE {
        match file.read_at(&mut page.0[read..], read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(SwapHeaderBytes { page, read })
}

struct SwapHeaderBytes {
    page: Box<HeaderPage>,
    read: usize,
}

impl File {
    /// Opens a swap file or block device with a SWAPSPACE2 header, and locks it until the value is dropped.
    ///
    /// Errors: `StorageInUse` (EBUSY) when another user has it open as swap; `Io` with the errno of the system
    /// (EINVAL when it is neither a regular file nor a block device, or when `O_DIRECT` is not supported);
    /// `BadHeader`, `TooManyBadPages`, `AreaTooShort`, `DeviceTooSmall`, `BadPagesOnFile`, `BadPageOutOfRange`
    /// (EINVAL). Kernel: the first half of `swapon`; differs: the lock is `flock`, and a regular file does not
    /// inherit whether its disk rotates.
    pub fn open(path: &Path, options: &FileOptions) -> Result<Self> {
        let mut how = fs::OpenOptions::new();
        let flags = if options.direct { OFlags::DIRECT } else { OFlags::empty() };
        how.read(true).write(true).custom_flags(flags.bits() as i32);
        let file = how.open(path).map_err(|error| match cause(&error) {
            (Errno::INVAL, _) if options.direct => {
                failed("open", path, Errno::INVAL, "its file system has no O_DIRECT".into())
            }
            (errno, words) => failed("open", path, errno, words),
        })?;
        let meta = file.metadata().map_err(|error| os_failed("open", path, &error))?;
        let is_block_special = meta.file_type().is_block_device();
        if !is_block_special && !meta.is_file() {
            return Err(failed("open", path, Errno::INVAL, "neither a regular file nor a block device".into()));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            Errno::WOULDBLOCK => SwapError::StorageInUse(path.display().to_string()),
            errno => os_failed("open", path, &errno.into()),
        })?;
        let SwapHeaderBytes { page, read } = read_header(&file).map_err(|error| os_failed("read", path, &error))?;
        let header = SwapHeader::parse(&page.0[..read])?;
        let size_bytes = size_bytes(&file).map_err(|error| os_failed("open", path, &error))?;
        let spec = Self::spec_of(&file, &header, size_bytes, is_block_special.then(|| meta.rdev()), options);
        let (has_pages, needs_pages) = (size_bytes / PAGE_SIZE as u64, u64::from(spec.max_pages));
        let path = path.display().to_string();
        if has_pages < needs_pages {
            return Err(SwapError::AreaTooShort { path, has_pages, needs_pages });
        }
        spec.check()?;
        Ok(Self { file, path, header, spec })
    }

    fn spec_of(
        file: &fs::File,
        header: &SwapHeader,
        size_bytes: u64,
        device: Option<u64>,
        options: &FileOptions,
    ) -> DeviceSpec {
        let shown = |name| device.and_then(|device| queue_number(device, name)).unwrap_or(0) != 0;
        // A hole past the end changes nothing, and a file system without holes still refuses it.
        let past_end = size_bytes.next_multiple_of(PAGE_SIZE as u64);
        let can_discard = match device {
            Some(_) => shown("discard_max_bytes"),
            None => punch(file, past_end, PAGE_SIZE as u64).is_ok(),
        };
        DeviceSpec {
            // A last page of u32::MAX has no successor that fits the size, so that page is left out.
            max_pages: header.last_page.saturating_add(1),
            bad_pages: header.bad_pages.clone(),
            is_rotational: options.is_rotational.unwrap_or_else(|| shown("rotational")),
            is_block_device: options.is_block_device.unwrap_or(device.is_some()),
            can_discard,
            discard: Discard::None,
            priority: None,
            ghost: None,
        }
    }

    /// Creates a swap file with mode 0600, allocates its space, or only sets its size with `sparse`, and writes the
    /// header.
    ///
    /// Errors, with no file left behind: `Io` with the errno of the system (EEXIST when the file exists; EOPNOTSUPP
    /// when the file system cannot allocate space ahead); `BadHeader`, `TooManyBadPages`, `BadPageOutOfRange`
    /// (EINVAL). Kernel: none; `mkswap --file` of util-linux.
    pub fn create(path: &Path, header: &SwapHeader, sparse: bool) -> Result<()> {
        let page = header.build()?;
        let mut how = fs::OpenOptions::new();
        let file = how
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| os_failed("create", path, &error))?;
        let fill = || -> io::Result<()> {
            let bytes = (u64::from(header.last_page) + 1) * PAGE_SIZE as u64;
            if sparse {
                file.set_len(bytes)?;
            } else {
                fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            }
            file.write_all_at(&page, 0)?;
            file.sync_all()
        };
        fill().map_err(|error| {
            // The file is this call's own and useless. The first error is the one to report.
            let _ = fs::remove_file(path);
            match cause(&error) {
                (Errno::OPNOTSUPP, words) => {
                    failed("create", path, Errno::OPNOTSUPP, format!("{words}; a sparse file would do"))
                }
                (errno, words) => failed("create", path, errno, words),
            }
        })
    }
}
