//! An open file of a group.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::types::{CpuId, CssId};
use crate::machine::Swap;
use crate::memcg::{Descriptor, MemCgroup, MemCgroups};

/// An open file of a group, which keeps the group and its subsystem alive. Dropping the value closes the file. A
/// reset of a peak through the value is visible only to reads through this value. Kernel: a file descriptor.
#[derive(Debug)]
pub struct GroupFile {
    swap: Arc<Swap>,
    css: CssId,
    name: &'static str,
    descriptor: Descriptor,
}

impl GroupFile {
    /// Opens a file of a group. The caller holds a reference to the group. Errors, all `Cgroup`: EINVAL when memcg is
    /// disabled; ENOENT when there is no such file; ENODEV when the group is removed. Kernel: `open`.
    pub fn open(swap: &Arc<Swap>, css: CssId, file: &str) -> Result<Self> {
        let (target, file) = swap.find_file(css, file)?;
        if !target.group.is_online() || !target.groups.css_tryget(target.group) {
            return Err(MemCgroups::removed(&target.groups.name(css)));
        }
        Ok(Self { swap: swap.clone(), css, name: file.name, descriptor: target.group.open_descriptor() })
    }

    fn groups(&self) -> (&MemCgroups, &MemCgroup) {
        let groups = self.swap.memcg().expect("a group has a controller");
        (groups, groups.get(self.css))
    }

    /// Returns the subsystem to which the group belongs.
    pub fn swap(&self) -> &Arc<Swap> {
        &self.swap
    }

    /// Returns the name of the file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the text of the file. Errors: as [`Swap::memcg_read`]. Kernel: `pread` at offset 0.
    pub fn read(&self) -> Result<String> {
        self.swap.memcg_read_at(self.css, self.name, self.descriptor)
    }

    /// Writes a text to the file. Errors and locks: as [`Swap::memcg_write`]. Kernel: `write`.
    pub fn write(&self, text: &str, nonblock: bool, cpu: CpuId) -> Result<()> {
        self.swap.memcg_write_at(self.css, self.name, self.descriptor, text, nonblock, cpu)
    }
}

impl Drop for GroupFile {
    fn drop(&mut self) {
        let (groups, group) = self.groups();
        group.close_descriptor(self.descriptor);
        groups.css_put(group, 1);
    }
}
