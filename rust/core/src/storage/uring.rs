//! A file whose batches of writes go to the system by io_uring, many in one call.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Mutex;

use io_uring::{IoUring, opcode, types};

use super::file::{at_byte, cause};
use super::{File, FileOptions, StorageStats, StorageTraits, SwapStorage, WriteRun};
use crate::base::error::{Result, SwapError};
use crate::base::types::SwpOffset;
use crate::storage::spec::DeviceSpec;

/// The most entries that the system allows a ring.
const ENTRIES_MAX: u32 = 32_768;
/// The most bytes of one entry; what a longer run has beyond them is written by a call of its own.
const ENTRY_BYTES_MAX: usize = 1 << 30;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;

/// A [`File`] that hands [`SwapStorage::write_runs`] to the system by io_uring; each run is one entry and fails alone.
///
/// Single writes, and reads, of which the trait has no batch, are calls as of `File`: one run is one call either way.
/// A thread at work has a ring of its own. Kernel: the block layer's plug.
pub struct Uring {
    file: File,
    nr_entries: u32,
    /// Rings that no thread is using.
    rings: Mutex<Vec<IoUring>>,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("file", &self.file).field("nr_entries", &self.nr_entries).finish_non_exhaustive()
    }
}

impl Uring {
    /// Opens a swap file or block device as [`File::open`] does, with rings of 1..=32768 entries.
    ///
    /// Errors: those of [`File::open`], `OutOfRange` (EINVAL), and `Io` with the errno of the system when it gives no
    /// ring (EPERM or ENOSYS: io_uring is turned off); it never falls back to plain calls by itself.
    pub fn open(path: &Path, options: &FileOptions, nr_entries: u32) -> Result<Self> {
        if !(1..=ENTRIES_MAX).contains(&nr_entries) {
            let (low, high) = (1, ENTRIES_MAX.into());
            return Err(SwapError::OutOfRange { what: "io_uring entries", value: nr_entries.into(), low, high });
        }
        let file = File::open(path, options)?;
        let ring = IoUring::new(nr_entries).map_err(|error| no_ring(file.path(), &error))?;
        Ok(Self { file, nr_entries, rings: Mutex::new(vec![ring]) })
    }

    /// Returns the file below.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn take_ring(&self) -> Result<IoUring> {
        let kept = self.rings.lock().expect("nothing panics under this lock").pop();
        match kept {
            Some(ring) => Ok(ring),
            None => IoUring::new(self.nr_entries).map_err(|error| no_ring(self.file.path(), &error)),
        }
    }

    /// Writes at most as many runs as the ring has entries; returns the system's result for each: bytes, or an errno
    /// below 0.
    fn submit(&self, ring: &mut IoUring, runs: &[WriteRun<'_>]) -> Vec<i32> {
        let fd = types::Fd(self.file.inner().as_raw_fd());
        let mut results = vec![0; runs.len()];
        for (run, i) in runs.iter().zip(0..) {
            let bytes = run.data.len().min(ENTRY_BYTES_MAX) as u32;
            let write = opcode::Write::new(fd, run.data.as_ptr(), bytes).offset(at_byte(run.first));
            let entry = write.build().user_data(i);
            // SAFETY: 1. the buffer is borrowed by our caller until we return, the descriptor is open as long as `self`.
            // 2. we return only when every entry has completed: the loop below has no other way out but to end the
            // process, and nothing in it panics. 3. the entry only reads from the buffer, within its length.
            #[expect(unsafe_code, reason = "an entry is a raw pointer that the system follows later")]
            let pushed = unsafe { ring.submission().push(&entry) };
            pushed.expect("a ring has room for as many as its entries");
        }
        let mut nr_left = runs.len();
        while nr_left > 0 {
            if let Err(error) = ring.submit_and_wait(nr_left) {
                match error.raw_os_error() {
                    _ if error.kind() == io::ErrorKind::Interrupted => {}
                    Some(EAGAIN | EBUSY) => std::thread::yield_now(),
                    // Entries may be under way with no way to wait for them; their buffers must not be given up.
                    _ => std::process::abort(),
                }
            }
            for completion in ring.completion() {
                results[completion.user_data() as usize] = completion.result();
                nr_left -= 1;
            }
        }
        results
    }
}

#[cold]
fn no_ring(path: &str, error: &io::Error) -> SwapError {
    let (errno, words) = cause(error);
    let what = format!("io_uring: {words}");
    SwapError::Io { op: "open", storage: path.into(), first: 0, nr_pages: 0, errno, what }
}

impl SwapStorage for Uring {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn spec(&self) -> DeviceSpec {
        self.file.spec()
    }

    fn traits(&self) -> StorageTraits {
        self.file.traits()
    }

    fn write(&self, first: SwpOffset, data: &[u8]) -> Result<()> {
        self.file.write(first, data)
    }

    fn read(&self, first: SwpOffset, data: &mut [u8]) -> Result<()> {
        self.file.read(first, data)
    }

    fn write_runs(&self, runs: &[WriteRun<'_>]) -> Vec<Result<()>> {
        let mut ring = match self.take_ring() {
            Ok(ring) => ring,
            Err(error) => return vec![Err(error); runs.len()],
        };
        let mut results = Vec::with_capacity(runs.len());
        for runs in runs.chunks(self.nr_entries as usize) {
            let ends = self.submit(&mut ring, runs);
            // What the system took in part or not at all is written again, whole: an error is then that of the call.
            results.extend(runs.iter().zip(ends).map(|(run, end)| match usize::try_from(end) {
                Ok(bytes) if bytes == run.data.len() => Ok(()),
                _ => self.file.write(run.first, run.data),
            }));
        }
        self.rings.lock().expect("nothing panics under this lock").push(ring);
        results
    }

    fn discard(&self, first: SwpOffset, nr_pages: u32) -> Result<()> {
        self.file.discard(first, nr_pages)
    }

    fn stats(&self) -> StorageStats {
        self.file.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::PAGE_SIZE;
    use crate::storage::header::SwapHeader;

    #[test]
    fn more_runs_than_entries_are_all_written() {
        let path = std::env::temp_dir().join(format!("swapcore-uring-{}", std::process::id()));
        let header = SwapHeader { last_page: 999, bad_pages: vec![], uuid: [0; 16], label: String::new() };
        File::create(&path, &header, true).expect("a new file");
        let opened = Uring::open(&path, &FileOptions::default(), 8);
        assert_eq!(Uring::open(&path, &FileOptions::default(), 0).expect_err("no entries").errno(), 22);
        std::fs::remove_file(&path).expect("ours");
        let uring = match opened {
            Err(error) => return println!("skipped: {error}"),
            Ok(uring) => uring,
        };
        let pages: Vec<_> = (1..100).map(|i| vec![i as u8; (1 + i as usize % 4) * PAGE_SIZE]).collect();
        let runs: Vec<_> = pages.iter().zip(1..).map(|(data, i)| WriteRun { first: SwpOffset(8 * i), data }).collect();
        assert!(uring.write_runs(&runs).iter().all(Result::is_ok));
        for run in &runs {
            let mut back = vec![0; run.data.len()];
            uring.read(run.first, &mut back).expect("there");
            assert_eq!(back, run.data);
        }
    }
}
