//! Functions that create and open swap files, and that find out the properties of the device.

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock, major, minor};
use rustix::io::Errno;

use super::{File, punch};
use crate::base::error::{Result, SwapError};
use crate::base::limits::{PAGE_SIZE, SWAP_HEADER_BYTES_MAX};
use crate::base::types::SwpOffset;
use crate::storage::header::{SwapHeader, VERSION_AT};
use crate::storage::spec::DeviceSpec;
use crate::storage::{Call, cause};

/// Options for opening a [`File`]. The default options take every property from the system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileOptions {
    /// Whether the file is opened with `O_DIRECT`. `O_DIRECT` bypasses the page cache and needs data that is page
    /// aligned in memory.
    pub direct: bool,
    /// Whether swapon treats the file as a block device. A regular file that is the image of a block device can then
    /// have bad pages and runs of several slots. `None` asks the system.
    pub is_block_device: Option<bool>,
    /// Whether the device is rotational. `None` asks the system about a block device, and means `false` for a regular
    /// file.
    pub is_rotational: Option<bool>,
    /// Whether a header for another page size is written again for this page size, as `swapon --fixpgsz` does. A
    /// header for this page size is not changed.
    pub fixpgsz: bool,
}

/// A buffer for the first bytes of a swap area, with the alignment in memory that direct I/O needs.
#[repr(C, align(4096))]
pub(super) struct HeaderArea(pub(super) [u8; SWAP_HEADER_BYTES_MAX]);

impl HeaderArea {
    pub(super) fn zeroed() -> Box<Self> {
        Box::new(Self([0; SWAP_HEADER_BYTES_MAX]))
    }
}

fn failed(op: &'static str, path: &Path, errno: Errno, what: impl Into<String>) -> SwapError {
    Call::new(op, &path.display().to_string(), SwpOffset(0), PAGE_SIZE).failed(errno, what)
}

fn os_failed(op: &'static str, path: &Path, error: &io::Error) -> SwapError {
    let (errno, words) = cause(error);
    failed(op, path, errno, words)
}

/// Reads a queue attribute of a block device. For a partition, reads the attribute of the whole device.
fn queue_number(device: u64, name: &str) -> Option<u64> {
    let base = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let read = |dir: &str| fs::read_to_string(format!("{base}/{dir}/{name}")).ok();
    read("queue").or_else(|| read("../queue"))?.trim().parse().ok()
}

impl File {
    /// Opens a swap file or block device with a SWAPSPACE2 header, and locks the file until the returned value is
    /// dropped.
    ///
    /// Errors, with the file unchanged unless a write of [`FileOptions::fixpgsz`] fails: `StorageInUse` (EBUSY) when
    /// another user has the file open as swap; `Io` with the errno of the system (EINVAL when the path is neither a
    /// regular file nor a block device, or when `O_DIRECT` is not supported); `BadHeader`, `WrongPageSize` without
    /// [`FileOptions::fixpgsz`], `TooManyBadPages`, `AreaTooShort`, `DeviceTooSmall`, `BadPagesOnFile`,
    /// `BadPageOutOfRange` (EINVAL). Kernel: the first half of `swapon`; differs: the lock is `flock`, and a regular
    /// file does not become rotational on a rotational disk.
    pub fn open(path: &Path, options: &FileOptions) -> Result<Self> {
        let mut how = fs::OpenOptions::new();
        let flags = if options.direct { OFlags::DIRECT } else { OFlags::empty() };
        how.read(true).write(true).custom_flags(flags.bits() as i32);
        let mut file = how.open(path).map_err(|error| match Errno::from_io_error(&error) {
            Some(errno @ Errno::INVAL) if options.direct => {
                failed("open", path, errno, "its file system has no O_DIRECT")
            }
            _ => os_failed("open", path, &error),
        })?;
        let meta = file.metadata().map_err(|error| os_failed("open", path, &error))?;
        let is_block_special = meta.file_type().is_block_device();
        if !is_block_special && !meta.is_file() {
            return Err(failed("open", path, Errno::INVAL, "neither a regular file nor a block device"));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            Errno::WOULDBLOCK => SwapError::StorageInUse(path.display().to_string()),
            errno => os_failed("open", path, &errno.into()),
        })?;
        let size_bytes = file.seek(SeekFrom::End(0)).map_err(|error| os_failed("open", path, &error))?;
        let mut area = HeaderArea::zeroed();
        // Whole pages only, because direct I/O reads nothing else.
        let has_pages = size_bytes / PAGE_SIZE as u64;
        let area = &mut area.0[..(has_pages as usize).min(SWAP_HEADER_BYTES_MAX / PAGE_SIZE) * PAGE_SIZE];
        file.read_exact_at(area, 0).map_err(|error| os_failed("read", path, &error))?;
        let (mut header, rewritten_bytes) = match SwapHeader::parse(area) {
            Err(SwapError::WrongPageSize { found_bytes, .. }) if options.fixpgsz => {
                (SwapHeader::converted(area)?, found_bytes)
            }
            parsed => (parsed?, 0),
        };
        let needs_pages = u64::from(header.last_page.saturating_add(1));
        if has_pages < needs_pages {
            return Err(SwapError::AreaTooShort { path: path.display().to_string(), has_pages, needs_pages });
        }
        if rewritten_bytes > 0 {
            header.last_page = u32::try_from(has_pages - 1).unwrap_or(u32::MAX);
        }
        let spec = Self::spec_of(&file, &header, size_bytes, is_block_special.then(|| meta.rdev()), options);
        spec.check()?;
        if rewritten_bytes > 0 {
            let page = header.build()?;
            area[VERSION_AT..PAGE_SIZE].copy_from_slice(&page[VERSION_AT..]);
            // The zeros remove the old signature.
            area[PAGE_SIZE..].fill(0);
            let written = file.write_all_at(&area[..rewritten_bytes], 0).and_then(|()| file.sync_all());
            written.map_err(|error| os_failed("write", path, &error))?;
        }
        Ok(Self { file, path: path.display().to_string(), header: Mutex::new(header), spec })
    }

    fn spec_of(
        file: &fs::File,
        header: &SwapHeader,
        size_bytes: u64,
        device: Option<u64>,
        options: &FileOptions,
    ) -> DeviceSpec {
        let shown = |name| device.and_then(|device| queue_number(device, name)).unwrap_or(0) != 0;
        // `punch` tests whether the file system supports holes, because a file system without holes refuses the call.
        // The hole lies beyond the end of the file, so the hole changes no data.
        let past_end = size_bytes.next_multiple_of(PAGE_SIZE as u64);
        let can_discard = match device {
            Some(_) => shown("discard_max_bytes"),
            None => punch(file, past_end, PAGE_SIZE as u64).is_ok(),
        };
        // The size is the number of the last page plus 1. If the last page is `u32::MAX`, the size is `u32::MAX` too
        // and the last page is not used, because a larger size does not fit a `u32`.
        DeviceSpec {
            bad_pages: header.bad_pages.clone(),
            is_rotational: options.is_rotational.unwrap_or_else(|| shown("rotational")),
            is_block_device: options.is_block_device.unwrap_or(device.is_some()),
            can_discard,
            ..DeviceSpec::new(header.last_page.saturating_add(1))
        }
    }

    /// Creates a swap file with mode 0600 and writes the header. The function allocates the disk space of the file,
    /// or only sets the size of the file when `sparse` is true.
    ///
    /// Errors, with no file left behind: `Io` with the errno of the system (EEXIST when the file exists; EOPNOTSUPP
    /// when the file system cannot allocate space ahead); `BadHeader`, `BadLabel`, `TooManyBadPages`,
    /// `BadPageOutOfRange` (EINVAL). Kernel: none; the program `mkswap --file` of util-linux does the same.
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
            // This call created the file and removes it again, because the file is incomplete. An error of the
            // removal is ignored, because the caller gets the earlier error.
            let _ = fs::remove_file(path);
            let (errno, words) = cause(&error);
            let hint = if errno == Errno::OPNOTSUPP { "; a sparse file would do" } else { "" };
            failed("create", path, errno, words + hint)
        })
    }
}
