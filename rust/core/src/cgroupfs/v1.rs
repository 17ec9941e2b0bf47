//! The files of v1.

use rustix::io::Errno;

use super::Presence::All;
use super::amount::bytes_line;
use super::stat::text_v1;
use super::{CgroupFile, FileWrite, TargetGroup};
use crate::base::error::Result;
use crate::base::limits::MAX_SWAPPINESS;
use crate::memcg::{CounterKind, MemcgEvent, MemcgStat, PageCounter};

/// All files, in the order of their listing.
pub(super) const FILES: &[CgroupFile] = &[
    CgroupFile::new("memory.usage_in_bytes", All, Some(|target| usage(target, CounterKind::Memory)), None),
    CgroupFile::new(
        "memory.limit_in_bytes",
        All,
        Some(|target| bytes_line(target.group.memory.max_pages())),
        Some(|write| write.set_v1_limit(CounterKind::Memory)),
    ),
    CgroupFile::new(
        "memory.max_usage_in_bytes",
        All,
        Some(|target| bytes_line(target.group.memory.watermark_pages())),
        Some(|write| reset(write, PageCounter::reset_watermark, CounterKind::Memory)),
    ),
    CgroupFile::new(
        "memory.failcnt",
        All,
        Some(|target| line(target.group.memory.failcnt())),
        Some(|write| reset(write, PageCounter::reset_failcnt, CounterKind::Memory)),
    ),
    CgroupFile::new("memory.memsw.usage_in_bytes", All, Some(|target| usage(target, CounterKind::Swap)), None),
    CgroupFile::new(
        "memory.memsw.limit_in_bytes",
        All,
        Some(|target| bytes_line(target.group.swap.max_pages())),
        Some(|write| write.set_v1_limit(CounterKind::Swap)),
    ),
    CgroupFile::new(
        "memory.memsw.max_usage_in_bytes",
        All,
        Some(|target| bytes_line(target.group.swap.watermark_pages())),
        Some(|write| reset(write, PageCounter::reset_watermark, CounterKind::Swap)),
    ),
    CgroupFile::new(
        "memory.memsw.failcnt",
        All,
        Some(|target| line(target.group.swap.failcnt())),
        Some(|write| reset(write, PageCounter::reset_failcnt, CounterKind::Swap)),
    ),
    CgroupFile::new(
        "memory.swappiness",
        All,
        Some(|target| line(target.group.swappiness().into())),
        Some(|write| {
            write.target.group.set_swappiness(write.number(MAX_SWAPPINESS)?);
            Ok(())
        }),
    ),
    CgroupFile::new("memory.stat", All, Some(text_v1), None),
    CgroupFile::new("memory.force_empty", All, None, Some(|write| write.force_empty())),
    CgroupFile::new("memory.oom_control", All, Some(oom_control), Some(set_oom_control)),
];

fn line(number: u64) -> String {
    format!("{number}\n")
}

/// Resets a watermark or a count of refusals. The written text does not matter.
fn reset(write: FileWrite<'_>, reset: fn(&PageCounter), which: CounterKind) -> Result<()> {
    reset(match which {
        CounterKind::Memory => &write.target.group.memory,
        CounterKind::Swap => &write.target.group.swap,
    });
    Ok(())
}

/// Returns the usage of a counter. Root is never charged, so root returns the pages in use on the whole machine.
fn usage(target: TargetGroup<'_>, which: CounterKind) -> String {
    let stat_pages = |stat| target.groups.stat(target.group, stat).max(0) as u64;
    bytes_line(match (target.group.is_root(), which) {
        (false, CounterKind::Memory) => target.group.memory.usage_pages(),
        (false, CounterKind::Swap) => target.group.swap.usage_pages(),
        (true, CounterKind::Memory) => stat_pages(MemcgStat::Anon),
        (true, CounterKind::Swap) => stat_pages(MemcgStat::Anon) + stat_pages(MemcgStat::Swap),
    })
}

/// Returns the text of `memory.oom_control`. `under_oom` is always 0, because a charge without memory fails instead.
fn oom_control(target: TargetGroup<'_>) -> String {
    let is_disabled = u8::from(target.group.is_oom_kill_disabled());
    format!("oom_kill_disable {is_disabled}\nunder_oom 0\noom_kill {}\n", target.group.events(MemcgEvent::OomKill))
}

fn set_oom_control(write: FileWrite<'_>) -> Result<()> {
    let is_disabled = write.number(1)? == 1;
    if write.target.group.is_root() {
        return Err(write.refused(Errno::INVAL, "the OOM killer stays on for root"));
    }
    write.target.group.set_oom_kill_disabled(is_disabled);
    Ok(())
}
