//! Defines [`SwapError`], the only error enum of the core. Every variant except `Invariant` has an errno.

use rustix::io::Errno;

use crate::base::limits::{
    MAX_CPUS, MAX_DEVICE_PAGES, MAX_ORDER, MAX_PRIORITY, MAX_SWAP_BADPAGES, MAX_SWAPFILES, PAGE_SIZE,
    SWAP_LABEL_BYTES_MAX, SWAPFILE_CLUSTER,
};
use crate::base::types::{CssId, SwpEntry};

/// Result of every call of the core that can fail.
pub type Result<T> = std::result::Result<T, SwapError>;

/// Error of a call. Most variants have the wrong value and the limit that the value broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// No device has a free run of the requested number of slots (ENOSPC; the kernel returns ENOMEM).
    #[error("{}", no_space(*.nr_pages))]
    NoSpace {
        /// Number of pages that the request asks for.
        nr_pages: u32,
    },
    /// The requested order is over [`MAX_ORDER`] (EINVAL).
    #[error("order {0} is over the largest order {MAX_ORDER}")]
    OrderTooLarge(u64),
    /// The CPU number is not below the number of CPUs (EINVAL).
    #[error("cpu {cpu} is not below nr_cpus {nr_cpus}")]
    BadCpu {
        /// CPU number that the call received.
        cpu: usize,
        /// Number of CPUs of the swap subsystem.
        nr_cpus: usize,
    },
    /// The number of CPUs is 0 or too large (EINVAL).
    #[error("nr_cpus {0} is not in 1..={MAX_CPUS}")]
    BadNrCpus(usize),
    /// The range of slots reaches beyond its device, or the entry names no slot (EINVAL).
    #[error("{}", out_of_device(*.entry, *.nr_pages, *.max_pages))]
    BadRange {
        /// First slot of the range.
        entry: SwpEntry,
        /// Number of slots in the range.
        nr_pages: u32,
        /// Number of slots of the device, header included; 0 when the entry can name no slot of any device.
        max_pages: u32,
    },
    /// The first slot of a large range is not a multiple of the number of slots in the range (EINVAL).
    #[error("{entry} is not a multiple of the folio's {nr_pages} slots")]
    Unaligned {
        /// First slot of the range.
        entry: SwpEntry,
        /// Number of slots in the range.
        nr_pages: u32,
    },
    /// The number given as a swap entry does not fit 64 bits (EINVAL).
    #[error("entry {0} is not in 0..=18446744073709551615")]
    NotAWord(String),
    /// No device with the swap type of the entry is on (ENOENT).
    #[error("no device with the swap type of {0} is on")]
    NoDevice(SwpEntry),
    /// The device was turned off (ENOENT).
    #[error("the device that had swap type {0} is turned off")]
    DeviceOff(u8),
    /// The device belongs to another swap subsystem, that is, to another [`Swap`](crate::Swap) (ENOENT).
    #[error("the device of type {0} belongs to another subsystem")]
    ForeignDevice(u8),
    /// The slot has no reference that the call could take, copy or release (ENOENT).
    #[error("{0} is not in use")]
    NotInUse(SwpEntry),
    /// The slot is the header of the device or a bad page (EINVAL).
    #[error("{0} is a bad slot")]
    BadSlot(SwpEntry),
    /// The slot backs a virtual slot, and only the virtual slot has references (EINVAL).
    #[error("{0} backs a virtual slot: it has no references of its own, and is freed with the virtual slot")]
    BacksVirtual(SwpEntry),
    /// The reference count of the slot would exceed 32 bits (EOVERFLOW).
    #[error("{0} has 4294967295 references, which is the largest count")]
    CountOverflow(SwpEntry),
    /// The slot is already in the swap cache; or the call allocates slots for a folio, and the folio already has
    /// slots (EEXIST).
    #[error("{0} is already in the swap cache")]
    AlreadyCached(SwpEntry),
    /// The folio that should enter the swap cache already has slots in the swap cache (EINVAL).
    #[error("the folio already owns {0} in the swap cache")]
    FolioCached(SwpEntry),
    /// A slot of a large range cannot be cached in the same folio as the first slot of the range (EBUSY).
    #[error("{0} cannot join a large folio: cached, unused or of another kind than the first slot")]
    NotUniform(SwpEntry),
    /// The folio is not in the swap cache (EINVAL).
    #[error("the folio is not in the swap cache")]
    NotCached,
    /// The folio was allocated from the memory of another swap subsystem (EINVAL).
    #[error("{} belongs to another subsystem", folio_at(*.0))]
    ForeignFolio(SwpEntry),
    /// The page number is not below the folio's number of pages (EINVAL).
    #[error("page {page} is not below the folio's {nr_pages} pages")]
    BadPage {
        /// Page number that the call received.
        page: u32,
        /// Number of pages of the folio.
        nr_pages: u32,
    },
    /// The folio is locked or under writeback (EBUSY).
    #[error("{} is locked or under writeback", folio_at(*.0))]
    FolioBusy(SwpEntry),
    /// The slot was swapped in and out again while the call allocated memory for a folio (EAGAIN).
    #[error("the shadow of {0} changed while memory for a folio was allocated")]
    ShadowChanged(SwpEntry),
    /// The folio is dirty, so the folio has the only copy of its content, and slots of the folio have references
    /// (EBUSY).
    #[error("{0} has references and its folio is dirty: write the folio before you drop it from the swap cache")]
    DirtyFolio(SwpEntry),
    /// The folio stays in memory, because it has more references than those of the swap cache and of the caller
    /// (EBUSY).
    #[error("the folio has {refs} references, but the operation allows only {expected}")]
    FolioPinned {
        /// Number of references of the folio.
        refs: u32,
        /// Number of references that the swap cache and the caller hold.
        expected: u32,
    },
    /// The handle has no folio, because a call through the handle swapped out, split, moved or dropped the folio
    /// (ENOENT).
    #[error("{}", gone(*.0))]
    FolioGone(SwpEntry),
    /// Callers hold views of the folio's bytes, so the core must not access the bytes (EBUSY).
    #[error("{0} views of the folio's bytes are in use")]
    DataInUse(u32),
    /// The slot is not a hibernation slot (ENOENT).
    #[error("{0} is not a hibernation slot")]
    NotHibernation(SwpEntry),
    /// The device has fewer than 2 pages (EINVAL).
    #[error("a swap device of {0} pages is too small: the header takes one page, so the least size is 2 pages")]
    DeviceTooSmall(u32),
    /// Every page of the device is the header or bad (EINVAL).
    #[error("all {0} pages of the device are bad")]
    NoGoodPages(u32),
    /// A bad page lies outside the device (EINVAL).
    #[error("bad page {page} is not in 1..={last_page}")]
    BadPageOutOfRange {
        /// The page that the list of bad pages names.
        page: u32,
        /// Last page of the device.
        last_page: u32,
    },
    /// A bad page is listed twice (EINVAL).
    #[error("bad page {0} is listed twice")]
    BadPageTwice(u32),
    /// The list has more bad pages than a header can hold (EINVAL).
    #[error("{0} bad pages are over the header's {MAX_SWAP_BADPAGES}")]
    TooManyBadPages(usize),
    /// The list names bad pages of a regular file, which must not have bad pages (EINVAL).
    #[error("a regular file must not have bad pages, but the list names {0}")]
    BadPagesOnFile(usize),
    /// The priority is out of range (EINVAL).
    #[error("priority {0} is not in 0..={MAX_PRIORITY}")]
    BadPriority(i64),
    /// Every swap type is in use, so no further device can be turned on (EPERM).
    #[error("all {MAX_SWAPFILES} swap types are in use")]
    TooManySwapfiles,
    /// No mapping contains the page (EFAULT).
    #[error("page {0:#x} is not mapped")]
    NotMapped(u64),
    /// The mapping of the page is locked, so its pages must stay in memory (EINVAL).
    #[error("page {0:#x} is in a locked mapping, whose pages must stay in memory")]
    MappingLocked(u64),
    /// The storage already belongs to a device that is on (EBUSY).
    #[error("{0} is a device already")]
    StorageInUse(String),
    /// The header page is not the header of a swap device (EINVAL).
    #[error("not a swap header: {0}")]
    BadHeader(&'static str),
    /// The header is the header of a swap device for another page size (EINVAL).
    #[error(
        "the swap header is for pages of {found_bytes} bytes ({byte_order}), but swapcore needs pages of {PAGE_SIZE} \
         bytes: File with fixpgsz writes the header again"
    )]
    WrongPageSize {
        /// Bytes of a page of the machine that made the header.
        found_bytes: usize,
        /// Byte order of the numbers in the header: `little-endian` or `big-endian`.
        byte_order: &'static str,
    },
    /// The label is longer than the label field of a swap header, or contains a zero byte (EINVAL).
    #[error("label {0:?} has {len} bytes: a label has at most {SWAP_LABEL_BYTES_MAX}, none of them zero", len = .0.len())]
    BadLabel(String),
    /// The header names more pages than the file or device has (EINVAL).
    #[error("{path} has {has_pages} pages, but its swap header names {needs_pages} pages{}", header_only(*.has_pages))]
    AreaTooShort {
        /// Path of the file or device.
        path: String,
        /// Number of whole pages of the file or device.
        has_pages: u64,
        /// Number of pages that the header names, the header page included.
        needs_pages: u64,
    },
    /// Slots of the device stay in use, a hibernation image pins the device, or another swapoff of the device is
    /// under way (EBUSY).
    #[error("swapoff of type {ty}: {inuse_pages} slots stay in use{why}")]
    StillInUse {
        /// The swap type.
        ty: u8,
        /// Number of slots in use.
        inuse_pages: u64,
        /// Text at the end of the error message that states the reason. The text may be empty.
        why: &'static str,
    },
    /// The thread called `Swap::check`, the check of the invariants, inside an operation of its own, for example in a
    /// hook (EBUSY).
    #[error("check() was called inside an operation of this thread, and would wait for that operation")]
    CheckInOperation,
    /// A swapoff of the device is under way (EBUSY).
    #[error("a swapoff of the device of type {0} is under way")]
    SwapoffRuns(u8),
    /// The unuse hook of swapoff failed (EINTR). The binding that passed the hook stores the reason.
    #[error("swapoff was interrupted by its unuse hook")]
    Interrupted,
    /// The name is not a known name (EINVAL).
    #[error("{what} {name:?} is not one of {known}")]
    UnknownName {
        /// Kind of name, for example `profile`.
        what: &'static str,
        /// Name that the call received.
        name: String,
        /// All known names, separated by commas.
        known: String,
    },
    /// An operation of a recorded trace contradicts the operations before it (EINVAL).
    #[error("operation {index} of the trace: {what}")]
    BadTrace {
        /// Index of the operation in the trace.
        index: usize,
        /// Description of the defect.
        what: &'static str,
    },
    /// A run of slots of a batch failed, and the runs of the batch before it succeeded (errno of the failure).
    #[error("run {nr_done} of the batch failed: {error}; the {nr_done} runs before the failed run succeeded")]
    InBatch {
        /// Number of runs that succeeded.
        nr_done: usize,
        /// Error of the run that failed.
        error: Box<SwapError>,
    },
    /// The duration is negative, not a number or too long (EINVAL).
    #[error("seconds {0} is not a duration of 0 or more seconds")]
    BadSeconds(String),
    /// An argument for which no other variant exists is out of range (EINVAL).
    #[error("{what} {value} is not in {low}..={high}")]
    OutOfRange {
        /// Name of the argument.
        what: &'static str,
        /// Value of the argument.
        value: i128,
        /// Least value allowed.
        low: u64,
        /// Greatest value allowed.
        high: u64,
    },
    /// A share or probability is out of range or not a number (EINVAL).
    #[error("{what} {value} is not in 0..={high}")]
    BadShare {
        /// Name of the argument.
        what: &'static str,
        /// Value of the argument.
        value: String,
        /// Greatest value allowed.
        high: u64,
    },
    /// Two options exclude each other (EINVAL).
    #[error("{0}")]
    Conflict(&'static str),
    /// A memory cgroup or a file of a memory cgroup refused an operation (the errno that the kernel returns for the
    /// same operation on the file or directory).
    #[error("{what}")]
    Cgroup {
        /// Errno of the refusal.
        errno: Errno,
        /// Description of the refusal, with the value and the limit.
        what: String,
    },
    /// The memory cgroup belongs to another swap subsystem (EINVAL).
    #[error("the group {0:?} belongs to another subsystem")]
    ForeignGroup(String),
    /// The OOM killer has ended the task (ESRCH).
    #[error("the OOM killer has ended the task of this address space")]
    Killed,
    /// A charge would exceed a limit, and reclaim did not free enough pages (ENOMEM).
    #[error("{nr_pages} more pages exceed {limit} of {group:?}: {usage_pages} of {max_pages} pages are charged")]
    OverLimit {
        /// Name of the file that sets the limit.
        limit: &'static str,
        /// Path of the group that has the limit.
        group: String,
        /// The number of the group.
        css: CssId,
        /// Number of pages of the charge.
        nr_pages: u64,
        /// Number of pages charged to the group.
        usage_pages: u64,
        /// The limit, in pages.
        max_pages: u64,
    },
    /// The policy table of a group, or a hook, refused the swap-out of a folio (ENOMEM).
    #[error("the policy of {group:?} refuses to swap {nr_pages} pages")]
    PolicyRefused {
        /// Path of the group.
        group: String,
        /// Number of pages of the folio.
        nr_pages: u64,
    },
    /// The system has no memory for this number of bytes (ENOMEM).
    #[error("no memory for {0} bytes")]
    NoMemory(u64),
    /// A call to a storage failed (the errno of the system, EIO when the system gives no errno).
    #[error("{op} of {nr_pages} slots at {first} on {storage}: {what} (errno {})", errno.raw_os_error())]
    Io {
        /// `read`, `write`, `discard`, `open` or `create`.
        op: &'static str,
        /// The storage: its kind, or the path of its file.
        storage: String,
        /// First slot of the call.
        first: u32,
        /// Number of slots of the call.
        nr_pages: u32,
        /// Errno of the system.
        errno: Errno,
        /// Error text of the system, or a text of the core when the system gave no text.
        what: String,
    },
    /// No device with storage has a free run of slots that could hold the data of virtual slots, and zswap did not
    /// take the pages (ENOSPC).
    #[error("no device with storage has a free run of {nr_pages} slots, and zswap is off or refused the pages")]
    NoBacking {
        /// Number of slots of the run.
        nr_pages: u32,
    },
    /// A writeback cannot move the page of a slot from zswap to a device: zswap now holds another page of the slot,
    /// no real slot is free, or a charge was refused (ENOMEM).
    #[error("the page of {0} stays in zswap: no real slot is free, memory.swap.max is reached, or the page changed")]
    NoWayOut(SwpEntry),
    /// A ghost device cannot provide the real slots behind virtual slots, because a ghost device has no storage
    /// (EINVAL).
    #[error("the device of type {0} is a ghost, which has no storage, so the device cannot back virtual slots")]
    GhostBacking(u8),
    /// A ghost device cannot keep a hibernation image, because a ghost device has no storage (EINVAL).
    #[error("device type {0} is a ghost, which has no storage for a hibernation image")]
    GhostHibernation(u8),
    /// zswap has no page of the slot (ENOENT).
    #[error("{0} has no page in zswap")]
    NotInZswap(SwpEntry),
    /// The slot is on a ghost device without a virtual table, so its page cannot be written back from zswap to a
    /// device (EINVAL).
    #[error("{0} is a slot of a ghost device without a virtual table: its page cannot be written back")]
    NoWriteback(SwpEntry),
    /// zswap refused a page, and the page must not go to a device, because its group forbids writeback (ENOSPC).
    #[error("zswap has no room for {nr_pages} pages, and memory.zswap.writeback of {group:?} or a group above it is 0")]
    WritebackForbidden {
        /// Path of the group.
        group: String,
        /// Number of pages of the folio.
        nr_pages: u32,
    },
    /// The group has no zswap entry that may be written back (ENOENT).
    #[error("no page to write back: the group has no pages in zswap, is removed, or has memory.zswap.writeback 0")]
    NothingToShrink,
    /// A scan examined zswap entries of the group, and wrote back none of these entries (EAGAIN).
    #[error("no page was written back from zswap: each entry had a second chance left or could not be written")]
    NoneWritten,
    /// A write to a ghost device failed, because a ghost device has no storage, and zswap did not take the pages
    /// (ENOSPC).
    #[error(
        "write of {nr_pages} slots at {first}: a ghost device has no storage, and zswap is off or refused the pages"
    )]
    GhostWrite {
        /// First slot of the call.
        first: u32,
        /// Number of slots of the call.
        nr_pages: u32,
    },
    /// The new size is not a positive multiple of the number of slots in a cluster (EINVAL).
    #[error("size {0} is not a positive multiple of the {SWAPFILE_CLUSTER} slots of a cluster")]
    BadSize(u32),
    /// The size of the device cannot change, because the device is not dynamic: swapon made all its clusters
    /// (EINVAL).
    #[error("the device of type {0} cannot change its size, because swapon made all its clusters")]
    FixedSize(u8),
    /// An invariant does not hold. The errno is 0, because the defect is in the core itself and not in the call.
    #[error("invariant {0}")]
    Invariant(String),
}

impl SwapError {
    /// Makes the error of an operation that a memory cgroup refuses.
    pub(crate) fn cgroup(errno: Errno, what: String) -> Self {
        Self::Cgroup { errno, what }
    }

    /// Returns whether the error means that memory or a charge was refused. A retry with a smaller folio can succeed
    /// after such an error.
    pub(crate) fn is_no_memory(&self) -> bool {
        matches!(self, Self::NoMemory(_) | Self::OverLimit { .. } | Self::PolicyRefused { .. })
    }

    /// Returns whether the error means that no storage took the page of a write. Reclaim then keeps the page in
    /// memory. Kernel: `AOP_WRITEPAGE_ACTIVATE`.
    pub(crate) fn is_write_refused(&self) -> bool {
        matches!(
            self,
            Self::GhostWrite { .. }
                | Self::WritebackForbidden { .. }
                | Self::NoBacking { .. }
                | Self::NoSpace { .. }
                | Self::OverLimit { .. }
        )
    }

    /// Returns the number of the errno that the kernel returns for this error, or of the nearest errno. Returns 0 for
    /// [`SwapError::Invariant`].
    pub fn errno(&self) -> i32 {
        self.named_errno().map_or(0, Errno::raw_os_error)
    }

    /// Returns the errno whose number [`SwapError::errno`] returns, or `None` for [`SwapError::Invariant`].
    pub fn named_errno(&self) -> Option<Errno> {
        Some(match self {
            Self::NoSpace { .. }
            | Self::NoBacking { .. }
            | Self::GhostWrite { .. }
            | Self::WritebackForbidden { .. } => Errno::NOSPC,
            Self::NoDevice(_)
            | Self::DeviceOff(_)
            | Self::ForeignDevice(_)
            | Self::NotInUse(_)
            | Self::FolioGone(_)
            | Self::NotHibernation(_)
            | Self::NotInZswap(_)
            | Self::NothingToShrink => Errno::NOENT,
            Self::AlreadyCached(_) => Errno::EXIST,
            Self::NotUniform(_)
            | Self::FolioBusy(_)
            | Self::CheckInOperation
            | Self::StorageInUse(_)
            | Self::DataInUse(_)
            | Self::DirtyFolio(_)
            | Self::FolioPinned { .. }
            | Self::SwapoffRuns(_)
            | Self::StillInUse { .. } => Errno::BUSY,
            Self::ShadowChanged(_) | Self::NoneWritten => Errno::AGAIN,
            Self::NoMemory(_) | Self::NoWayOut(_) | Self::OverLimit { .. } | Self::PolicyRefused { .. } => Errno::NOMEM,
            Self::NotMapped(_) => Errno::FAULT,
            Self::TooManySwapfiles => Errno::PERM,
            Self::CountOverflow(_) => Errno::OVERFLOW,
            Self::Interrupted => Errno::INTR,
            Self::Killed => Errno::SRCH,
            Self::InBatch { error, .. } => return error.named_errno(),
            Self::Io { errno, .. } | Self::Cgroup { errno, .. } => *errno,
            Self::Invariant(_) => return None,
            _ => Errno::INVAL,
        })
    }
}

/// Checks a probability (`high` is 1) or a percentage (`high` is 100). Errors: `BadShare` (EINVAL) when the value is
/// not in 0..=`high` or is no number.
pub(crate) fn check_share(what: &'static str, value: f64, high: u32) -> Result<()> {
    if (0.0..=f64::from(high)).contains(&value) {
        return Ok(());
    }
    Err(SwapError::BadShare { what, value: value.to_string(), high: high.into() })
}

fn folio_at(entry: SwpEntry) -> String {
    if entry == SwpEntry::NONE { "the folio".into() } else { format!("the folio of {entry}") }
}

fn gone(entry: SwpEntry) -> String {
    match entry {
        SwpEntry::NONE => "the handle has no folio, because the folio was split, moved or dropped".into(),
        _ => format!("the folio is not in memory, because the folio was swapped out to {entry}"),
    }
}

fn header_only(has_pages: u64) -> &'static str {
    if has_pages == 1 { "; Ghost.open takes a file that is only a header" } else { "" }
}

fn out_of_device(entry: SwpEntry, nr_pages: u32, max_pages: u32) -> String {
    match (nr_pages, max_pages) {
        (_, 0) => format!("{entry} can name no slot: bit 63 is set, or the offset is over {MAX_DEVICE_PAGES}"),
        (0, _) => format!("{entry} with 0 slots: a range has at least 1 slot"),
        (1, _) => format!("{entry} is not in 1..{max_pages}, the usable slots of its device"),
        _ => format!("{entry} with {nr_pages} slots does not lie in 1..{max_pages} of its device"),
    }
}

fn no_space(nr_pages: u32) -> String {
    match nr_pages {
        1 => "no free slot on any device that the request may use".into(),
        _ => format!(
            "no free run of {nr_pages} slots: a large request tries only the next device in turn, and no regular file"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_their_range_and_numbers() {
        for (value, high) in [(0.0, 1), (1.0, 1), (-0.0, 1), (100.0, 100)] {
            assert_eq!(check_share("share", value, high), Ok(()));
        }
        for (value, high) in [(1.1, 1), (-0.1, 1), (100.1, 100), (f64::NAN, 1), (f64::INFINITY, 100)] {
            assert_eq!(check_share("share", value, high).expect_err("out of range").errno(), 22);
        }
        let error = check_share("share", 1.5, 1).expect_err("out of range");
        assert_eq!(error.to_string(), "share 1.5 is not in 0..=1");
    }
}
