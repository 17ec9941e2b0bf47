//! The files of a memory cgroup on v1.

use rustix::io::Errno;

use super::Read::{Bytes, Number, Text, WriteOnly};
use super::Write::{Call, ReadOnly, Reset, SetNumber};
use super::amount::bytes_line;
use super::stat::text_v1;
use super::{CgroupFile, FileWrite, Presence, Read, TargetGroup, Write};
use crate::base::error::Result;
use crate::base::limits::MAX_SWAPPINESS;
use crate::memcg::CounterKind::{self, Memory, Swap};
use crate::memcg::{MemCgroup, MemcgEvent, MemcgStat};

/// All files of v1, in the order in which a listing shows the files. `g` is the group.
pub(super) const FILES: &[CgroupFile] = &[
    file("memory.usage_in_bytes", Text(|target| usage(target, Memory)), ReadOnly),
    file("memory.limit_in_bytes", Bytes(|g| g.memory.max_pages()), Call(|write| write.set_v1_limit(Memory))),
    file("memory.max_usage_in_bytes", Bytes(|g| g.memory.watermark_pages()), Reset(|g| g.memory.reset_watermark())),
    file("memory.failcnt", Number(|g| g.memory.failcnt()), Reset(|g| g.memory.reset_failcnt())),
    file("memory.memsw.usage_in_bytes", Text(|target| usage(target, Swap)), ReadOnly),
    file("memory.memsw.limit_in_bytes", Bytes(|g| g.swap.max_pages()), Call(|write| write.set_v1_limit(Swap))),
    file("memory.memsw.max_usage_in_bytes", Bytes(|g| g.swap.watermark_pages()), Reset(|g| g.swap.reset_watermark())),
    file("memory.memsw.failcnt", Number(|g| g.swap.failcnt()), Reset(|g| g.swap.reset_failcnt())),
    file("memory.swappiness", Number(|g| g.swappiness().into()), SetNumber(MAX_SWAPPINESS, MemCgroup::set_swappiness)),
    file("memory.stat", Text(text_v1), ReadOnly),
    file("memory.force_empty", WriteOnly, Call(|write| write.force_empty())),
    file("memory.oom_control", Text(oom_control), Call(set_oom_control)),
    file("memory.use_hierarchy", Number(|_| 1), Call(set_use_hierarchy)),
    file("memory.move_charge_at_immigrate", Number(|_| 0), SetNumber(0, |_, _| ())),
];

/// Makes a line of the table [`FILES`]. On v1 root has every file.
const fn file(name: &'static str, read: Read, write: Write) -> CgroupFile {
    super::file(name, Presence::All, read, write)
}

/// Returns the usage of a counter in bytes, as text. For root the result is the usage of the whole machine, from the
/// statistics, because no page is charged to root's counters.
fn usage(target: TargetGroup<'_>, which: CounterKind) -> String {
    let stat_pages = |stat| target.groups.stat(target.group, stat).max(0) as u64;
    bytes_line(match which {
        _ if !target.group.is_root() => target.group.counter(which).usage_pages(),
        Memory => stat_pages(MemcgStat::Anon) + stat_pages(MemcgStat::Shmem),
        Swap => stat_pages(MemcgStat::Anon) + stat_pages(MemcgStat::Shmem) + stat_pages(MemcgStat::Swap),
    })
}

/// Returns the text of `memory.oom_control`. `under_oom` is always 0, because a charge that finds no memory fails and
/// does not wait.
fn oom_control(target: TargetGroup<'_>) -> String {
    let is_disabled = u8::from(target.group.is_oom_kill_disabled());
    format!("oom_kill_disable {is_disabled}\nunder_oom 0\noom_kill {}\n", target.group.events(MemcgEvent::OomKill))
}

/// Accepts only 1, because every group is hierarchical. Kernel: `mem_cgroup_hierarchy_write`.
fn set_use_hierarchy(write: FileWrite<'_>) -> Result<()> {
    if write.number(1)? == 1 { Ok(()) } else { Err(write.refused(Errno::INVAL, "every group is hierarchical")) }
}

fn set_oom_control(write: FileWrite<'_>) -> Result<()> {
    let is_disabled = write.number(1)? == 1;
    if write.target.group.is_root() {
        return Err(write.refused(Errno::INVAL, "the OOM killer stays on for root"));
    }
    write.target.group.set_oom_kill_disabled(is_disabled);
    Ok(())
}
