//! The files of a memory cgroup, under their names in the cgroup file system. This folder makes the texts that a read
//! of these files returns, and applies the texts that are written to these files.
//!
//! A table has one line for each file: the name of the file, whether root has the file, how the text is made, and the
//! effect of a write. `v1` and `v2` hold the tables. `amount` parses and prints amounts of memory, `limit` sets
//! limits, and `stat` prints `memory.stat`. `open` has open files. `attribute` maps files to attributes of an object
//! in a program. No function in this folder calls reclaim while it holds a lock.

mod ages;
mod amount;
mod attribute;
mod limit;
mod open;
mod stat;
mod v1;
mod v2;

pub use attribute::FileValue;
pub use open::GroupFile;
use rustix::io::Errno;

use crate::base::error::{Result, SwapError};
use crate::base::limits::MAX_SWAPPINESS;
use crate::base::types::{CpuId, CssId};
use crate::machine::Swap;
use crate::memcg::{CounterKind, Descriptor, Hierarchy, MemCgroup, MemCgroups};
use amount::{bytes_line, limit_line, parse_number};

/// The group whose file is read or written, together with all groups and the subsystem.
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
    /// The written text, without the white space at both ends.
    text: &'a str,
    descriptor: Descriptor,
    /// Whether the file is open with `O_NONBLOCK`. A new limit then reclaims nothing.
    nonblock: bool,
    cpu: CpuId,
}

/// The way in which the text of a file is made.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// The file can only be written.
    WriteOnly,
    /// The text is a number of pages, shown in bytes.
    Bytes(fn(&MemCgroup) -> u64),
    /// The text is a limit of v2 in pages, shown in bytes or as `max`.
    Limit(fn(&MemCgroup) -> u64),
    /// The text is the peak of a counter, shown in bytes. Each descriptor that has reset the peak sees its own peak.
    Peak(CounterKind),
    /// The text is the number that the function returns.
    Number(fn(&MemCgroup) -> u64),
    /// The function makes the text.
    Text(fn(TargetGroup<'_>) -> String),
}

/// The effect of a text that is written to a file.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// The file can only be read.
    ReadOnly,
    /// The text is a limit. The function gets the limit in pages.
    SetLimit(fn(&MemCgroups, &MemCgroup, u64)),
    /// The text is a number from 0 to the number in the first field. The function gets the number from the text.
    SetNumber(u8, fn(&MemCgroup, u8)),
    /// The text is ignored. The function resets a value of the group.
    Reset(fn(&MemCgroup)),
    /// The text is ignored. The peak of a counter is reset for the file descriptor of the write only.
    ResetPeak(CounterKind),
    /// The function parses the text and applies the write.
    Call(fn(FileWrite<'_>) -> Result<()>),
}

/// One file that groups have: a line of a table of files.
#[derive(Clone, Copy, Debug)]
struct CgroupFile {
    name: &'static str,
    on: Presence,
    read: Read,
    write: Write,
}

/// The groups that have a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Every group.
    All,
    /// Every group except root.
    NonRoot,
}

/// Makes a line of a table of files.
const fn file(name: &'static str, on: Presence, read: Read, write: Write) -> CgroupFile {
    CgroupFile { name, on, read, write }
}

impl TargetGroup<'_> {
    /// Returns the error for a file that can only be read or that can only be written. `only` is "read" or "written".
    fn lacks(self, errno: Errno, file: &str, only: &str) -> SwapError {
        let path = self.groups.path(self.group.css());
        SwapError::cgroup(errno, format!("{file} of {path:?} can only be {only}"))
    }
}

impl FileWrite<'_> {
    /// Applies the effect of a write to the file. Errors: as [`Swap::memcg_write`].
    fn apply(self, effect: Write) -> Result<()> {
        let group = self.target.group;
        match effect {
            Write::ReadOnly => {}
            Write::SetLimit(set) => set(self.target.groups, group, self.limit_pages()?),
            Write::SetNumber(high, set) => set(group, self.number(high)?),
            Write::Reset(reset) => reset(group),
            Write::ResetPeak(which) => group.reset_peak(self.descriptor, which),
            Write::Call(call) => return call(self),
        }
        Ok(())
    }

    /// Returns the error for a text that the file does not accept (EINVAL).
    fn bad(&self, expected: &str) -> SwapError {
        self.refused(Errno::INVAL, &format!("{expected} expected"))
    }

    /// Returns the error for a written text that is refused; `why` is the reason.
    fn refused(&self, errno: Errno, why: &str) -> SwapError {
        let path = self.target.groups.path(self.target.group.css());
        SwapError::cgroup(errno, format!("{} of {path:?}: {:?} refused: {why}", self.file, self.text))
    }

    /// Parses a number of 0..=`high`. Errors: EINVAL.
    fn number(&self, high: u8) -> Result<u8> {
        parse_number(self.text, high).ok_or_else(|| self.bad(&format!("a number of 0..={high}")))
    }
}

impl Swap {
    /// Returns the swappiness of root. On v2 the swappiness of root applies to every group, and on v1 only to root.
    /// Kernel: `vm.swappiness`.
    ///
    /// Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn swappiness(&self) -> Result<u8> {
        Ok(self.memcg_enabled()?.root().swappiness())
    }

    /// Sets the swappiness of root, 0..=200. Errors: `Cgroup` (EINVAL) when memcg is disabled; `OutOfRange` (EINVAL).
    pub fn set_swappiness(&self, swappiness: u8) -> Result<()> {
        if swappiness > MAX_SWAPPINESS {
            let high = MAX_SWAPPINESS.into();
            return Err(SwapError::OutOfRange { what: "swappiness", value: swappiness.into(), low: 0, high });
        }
        self.memcg_enabled()?.root().set_swappiness(swappiness);
        Ok(())
    }

    /// Makes the present sizes of the lists the sizes that the rules of reclaim and of refaults read with
    /// `memcg_stat=flushed`. With `memcg_stat=exact` the call has no effect. Kernel: `mem_cgroup_flush_stats`.
    ///
    /// Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn mem_cgroup_flush_stats(&self) -> Result<()> {
        self.memcg_enabled()?.root().lruvec().flush_stats();
        Ok(())
    }

    /// Makes the LRU lists count the new folios that are in the batch of a CPU. The call has an effect with the
    /// switch `lru_add_batch` only. Errors: `BadCpu` (EINVAL). Kernel: `lru_add_drain`.
    pub fn lru_add_drain(&self, cpu: CpuId) -> Result<()> {
        drop(self.on_cpu(cpu)?);
        self.memory_of_folios().lru_batch_drain(cpu);
        Ok(())
    }

    /// Returns the number of updates after which [`Swap::mem_cgroup_flush_stats`] runs without a call, counted in
    /// pages; 0 for no such flush. The number stands for the kernel's flush every 2 seconds.
    ///
    /// Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn memcg_flush_updates(&self) -> Result<u64> {
        Ok(self.memcg_enabled()?.root().lruvec().max_updates())
    }

    /// Sets the number that [`Swap::memcg_flush_updates`] returns. Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn set_memcg_flush_updates(&self, nr_updates: u64) -> Result<()> {
        self.memcg_enabled()?.root().lruvec().set_max_updates(nr_updates);
        Ok(())
    }

    /// Returns the number of file pages of the machine that no folio of this subsystem has, in pages. A refault of a
    /// folio whose eviction no limit caused is recent if the refault distance is at most the pages of the working
    /// set, which include these file pages.
    pub fn root_file_pages(&self) -> u64 {
        self.memory_of_folios().lruvec().other_file_pages()
    }

    /// Sets the number that [`Swap::root_file_pages`] returns.
    pub fn set_root_file_pages(&self, nr_pages: u64) {
        self.memory_of_folios().lruvec().set_other_file_pages(nr_pages);
    }

    fn target_group(&self, css: CssId) -> Result<TargetGroup<'_>> {
        let groups = self.memcg_enabled()?;
        Ok(TargetGroup { swap: self, groups, group: groups.get(css) })
    }

    /// Returns a file of a group by name. Errors: `Cgroup` (ENOENT) when the group has no file of that name.
    fn find_file(&self, css: CssId, name: &str) -> Result<(TargetGroup<'_>, &'static CgroupFile)> {
        let target = self.target_group(css)?;
        let file = files(target).find(|file| file.name == name).ok_or_else(|| {
            let path = target.groups.path(css);
            SwapError::cgroup(Errno::NOENT, format!("the group {path:?} has no file {name:?}"))
        })?;
        Ok((target, file))
    }

    /// Returns the names of a group's files. Errors: `Cgroup` (EINVAL) when memcg is disabled.
    pub fn memcg_files(&self, css: CssId) -> Result<Vec<&'static str>> {
        Ok(files(self.target_group(css)?).map(|file| file.name).collect())
    }

    /// Returns the text of a file of a group. The files of a removed group can be read too.
    ///
    /// Errors, all `Cgroup`: ENOENT when there is no such file; EINVAL when the file can only be written. Kernel:
    /// `read`; differs: a removed group has no files in the kernel.
    pub fn memcg_read(&self, css: CssId, file: &str) -> Result<String> {
        self.memcg_read_at(css, file, Descriptor::SHARED)
    }

    /// Returns the text of a file of a group for an open file descriptor. Errors: as [`Swap::memcg_read`].
    fn memcg_read_at(&self, css: CssId, file: &str, descriptor: Descriptor) -> Result<String> {
        let (target, file) = self.find_file(css, file)?;
        Ok(match file.read {
            Read::WriteOnly => return Err(target.lacks(Errno::INVAL, file.name, "written")),
            Read::Bytes(pages) => bytes_line(pages(target.group)),
            Read::Limit(pages) => limit_line(pages(target.group)),
            Read::Peak(which) => bytes_line(target.group.peak_pages(descriptor, which)),
            Read::Number(number) => format!("{}\n", number(target.group)),
            Read::Text(text) => text(target),
        })
    }

    /// Writes a text to a file of a group. White space around the text is ignored. An empty text changes nothing,
    /// because the kernel does not pass a write of 0 bytes to the file.
    ///
    /// With `nonblock` a limit below usage is set without reclaim. Errors: ENOENT when there is no such file; EACCES
    /// when the file can only be read; ENODEV when the group is removed; EINVAL when the file does not accept the
    /// text; EBUSY when usage would stay above a v1 limit; EAGAIN when `memory.reclaim` freed too little. The caller
    /// holds no lock. Kernel: `write`.
    pub fn memcg_write(&self, css: CssId, file: &str, text: &str, nonblock: bool, cpu: CpuId) -> Result<()> {
        self.memcg_write_at(css, file, Descriptor::SHARED, text, nonblock, cpu)
    }

    /// Writes a text to a file of a group through an open file descriptor. Errors and locks: as
    /// [`Swap::memcg_write`].
    fn memcg_write_at(
        &self,
        css: CssId,
        file: &str,
        descriptor: Descriptor,
        text: &str,
        nonblock: bool,
        cpu: CpuId,
    ) -> Result<()> {
        let active = self.begin_activity();
        let (target, file) = self.find_file(css, file)?;
        if matches!(file.write, Write::ReadOnly) && !text.is_empty() {
            return Err(target.lacks(Errno::ACCESS, file.name, "read"));
        }
        if !target.group.is_online() {
            return Err(MemCgroups::removed(&target.groups.name(css)));
        }
        if text.is_empty() {
            return Ok(());
        }
        let write = FileWrite { target, file: file.name, text: text.trim(), descriptor, nonblock, cpu };
        let result = write.apply(file.write);
        self.end_operation(active);
        result
    }
}

/// Returns the files of a group.
fn files(target: TargetGroup<'_>) -> impl Iterator<Item = &'static CgroupFile> {
    let table = match target.groups.options().hierarchy {
        Hierarchy::V1 => v1::FILES,
        Hierarchy::V2 => v2::FILES,
    };
    let is_root = target.group.is_root();
    table.iter().filter(move |file| file.on == Presence::All || !is_root)
}
