//! The files of a group, by the names they have in the cgroup file system: what is read from them and written to them.
//!
//! A file is one line of a table: its name, whether root has it, and what reads and writes it. `amount` knows how
//! amounts are written, `limit` what a limit does that is set below usage, `stat` the long file of statistics, `v1` and
//! `v2` the tables, `attribute` how files and their texts look to a program. Nothing here holds a lock over a call that reclaims.

mod ages;
mod amount;
mod attribute;
mod limit;
mod stat;
mod v1;
mod v2;

pub use attribute::FileValue;
use rustix::io::Errno;

use crate::base::error::{Result, SwapError};
use crate::base::limits::MAX_SWAPPINESS;
use crate::base::types::{CpuId, CssId};
use crate::machine::Swap;
use crate::memcg::{Hierarchy, MemCgroup, MemCgroups};

/// A group whose file is read or written.
#[derive(Clone, Copy, Debug)]
struct TargetGroup<'a> {
    swap: &'a Swap,
    groups: &'a MemCgroups,
    group: &'a MemCgroup,
}

/// One write to a file.
#[derive(Clone, Copy, Debug)]
struct FileWrite<'a> {
    target: TargetGroup<'a>,
    file: &'static str,
    /// Without the white space around it.
    text: &'a str,
    /// The file is open with `O_NONBLOCK`: nothing is reclaimed for the new limit.
    nonblock: bool,
    cpu: CpuId,
}

/// What makes the text of a file.
type ReadFile = fn(TargetGroup<'_>) -> String;
/// What takes a text that is written.
type WriteFile = fn(FileWrite<'_>) -> Result<()>;

/// One file that groups have.
#[derive(Clone, Copy, Debug)]
struct CgroupFile {
    name: &'static str,
    /// Root has it too.
    on_root: bool,
    /// `None`: it can only be written.
    read: Option<ReadFile>,
    /// `None`: it can only be read.
    write: Option<WriteFile>,
}

/// Where a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// In every group.
    All,
    /// In every group but root.
    NonRoot,
}

impl CgroupFile {
    const fn new(name: &'static str, on: Presence, read: Option<ReadFile>, write: Option<WriteFile>) -> Self {
        Self { name, on_root: matches!(on, Presence::All), read, write }
    }
}

impl FileWrite<'_> {
    /// Says that the text is none for this file (EINVAL).
    fn bad(&self, expected: &str) -> SwapError {
        self.refused(Errno::INVAL, &format!("{expected} expected"))
    }

    /// Says why the text is not taken.
    fn refused(&self, errno: Errno, why: &str) -> SwapError {
        let path = self.target.groups.path(self.target.group.css());
        SwapError::cgroup(errno, format!("{} of {path:?}: {:?} refused: {why}", self.file, self.text))
    }

    /// Reads a number of a range. Errors: EINVAL.
    fn number(&self, high: u8) -> Result<u8> {
        let number = self.text.parse().ok().filter(|&number| number <= high);
        number.ok_or_else(|| self.bad(&format!("a number of 0..={high}")))
    }
}

impl Swap {
    /// Returns how readily anonymous pages are reclaimed: on v2 everybody's, on v1 root's. Kernel: `vm.swappiness`.
    ///
    /// Errors: `Cgroup` (EINVAL) memcg is disabled.
    pub fn swappiness(&self) -> Result<u8> {
        Ok(self.memcg_enabled()?.root().swappiness())
    }

    /// Sets it, 0..=200. Errors: `Cgroup` (EINVAL) memcg is disabled; `OutOfRange` (EINVAL).
    pub fn set_swappiness(&self, swappiness: u8) -> Result<()> {
        if swappiness > MAX_SWAPPINESS {
            let high = MAX_SWAPPINESS.into();
            return Err(SwapError::OutOfRange { what: "swappiness", value: swappiness.into(), low: 0, high });
        }
        self.memcg_enabled()?.root().set_swappiness(swappiness);
        Ok(())
    }

    fn target_group(&self, css: CssId) -> Result<TargetGroup<'_>> {
        let groups = self.memcg_enabled()?;
        Ok(TargetGroup { swap: self, groups, group: groups.get(css) })
    }

    /// Finds a file of a group. Errors: `Cgroup` (ENOENT) it has none of that name.
    fn find_file(&self, css: CssId, name: &str) -> Result<(TargetGroup<'_>, &'static CgroupFile)> {
        let target = self.target_group(css)?;
        let file = files(target).find(|file| file.name == name).ok_or_else(|| {
            let path = target.groups.path(css);
            SwapError::cgroup(Errno::NOENT, format!("the group {path:?} has no file {name:?}"))
        })?;
        Ok((target, file))
    }

    /// Returns the names of the files that a group has. Errors: `Cgroup` (EINVAL) memcg is disabled.
    pub fn memcg_files(&self, css: CssId) -> Result<Vec<&'static str>> {
        Ok(files(self.target_group(css)?).map(|file| file.name).collect())
    }

    /// Returns the text of a file of a group, also of a removed one.
    ///
    /// Errors, all `Cgroup`: ENOENT no such file; EINVAL it can only be written. Kernel: `read`; differs: a group that is
    /// removed has no files there.
    pub fn memcg_read(&self, css: CssId, file: &str) -> Result<String> {
        let (target, file) = self.find_file(css, file)?;
        let read = file.read.ok_or_else(|| {
            SwapError::cgroup(
                Errno::INVAL,
                format!("{} of {:?} can only be written", file.name, target.groups.path(css)),
            )
        })?;
        Ok(read(target))
    }

    /// Writes a text to a file of a group; white space around it does not count.
    ///
    /// With `nonblock` a limit below usage reclaims nothing. Errors: ENOENT no such file; EACCES it can only be read; ENODEV
    /// the group is removed; EINVAL the text is none for this file; EBUSY a v1 limit would stay below usage; EAGAIN
    /// `memory.reclaim` found too little. Locks: none may be held. Kernel: `write`.
    pub fn memcg_write(&self, css: CssId, file: &str, text: &str, nonblock: bool, cpu: CpuId) -> Result<()> {
        let (target, file) = self.find_file(css, file)?;
        let write = file.write.ok_or_else(|| {
            SwapError::cgroup(Errno::ACCESS, format!("{} of {:?} can only be read", file.name, target.groups.path(css)))
        })?;
        if !target.group.is_online() {
            return Err(MemCgroups::removed(&target.groups.name(css)));
        }
        let result = write(FileWrite { target, file: file.name, text: text.trim(), nonblock, cpu });
        self.end_operation();
        result
    }
}

/// Returns the files that a group has.
fn files(target: TargetGroup<'_>) -> impl Iterator<Item = &'static CgroupFile> {
    let table = match target.groups.options().hierarchy {
        Hierarchy::V1 => v1::FILES,
        Hierarchy::V2 => v2::FILES,
    };
    let is_root = target.group.is_root();
    table.iter().filter(move |file| file.on_root || !is_root)
}
