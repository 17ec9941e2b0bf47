//! The files of v1.

use rustix::io::Errno;

use super::On::All;
use super::amount::bytes_line;
use super::stat::text_v1;
use super::{At, File, Write};
use crate::base::error::Result;
use crate::base::limits::MAX_SWAPPINESS;
use crate::memcg::{MemcgEvent, MemcgStat, PageCounter, Which};

/// Every file, in the order they are listed.
pub(super) const FILES: &[File] = &[
    File::new("memory.usage_in_bytes", All, Some(|at| usage(at, Which::Memory)), None),
    File::new(
        "memory.limit_in_bytes",
        All,
        Some(|at| bytes_line(at.group.memory.max_pages())),
        Some(|write| write.set_v1_limit(Which::Memory)),
    ),
    File::new(
        "memory.max_usage_in_bytes",
        All,
        Some(|at| bytes_line(at.group.memory.watermark_pages())),
        Some(|write| reset(write, PageCounter::reset_watermark, Which::Memory)),
    ),
    File::new(
        "memory.failcnt",
        All,
        Some(|at| line(at.group.memory.failcnt())),
        Some(|write| reset(write, PageCounter::reset_failcnt, Which::Memory)),
    ),
    File::new("memory.memsw.usage_in_bytes", All, Some(|at| usage(at, Which::Swap)), None),
    File::new(
        "memory.memsw.limit_in_bytes",
        All,
        Some(|at| bytes_line(at.group.swap.max_pages())),
        Some(|write| write.set_v1_limit(Which::Swap)),
    ),
    File::new(
        "memory.memsw.max_usage_in_bytes",
        All,
        Some(|at| bytes_line(at.group.swap.watermark_pages())),
        Some(|write| reset(write, PageCounter::reset_watermark, Which::Swap)),
    ),
    File::new(
        "memory.memsw.failcnt",
        All,
        Some(|at| line(at.group.swap.failcnt())),
        Some(|write| reset(write, PageCounter::reset_failcnt, Which::Swap)),
    ),
    File::new(
        "memory.swappiness",
        All,
        Some(|at| line(at.group.swappiness().into())),
        Some(|write| {
            write.at.group.set_swappiness(write.number(MAX_SWAPPINESS)?);
            Ok(())
        }),
    ),
    File::new("memory.stat", All, Some(text_v1), None),
    File::new("memory.force_empty", All, None, Some(|write| write.force_empty())),
    File::new("memory.oom_control", All, Some(oom_control), Some(set_oom_control)),
];

fn line(number: u64) -> String {
    format!("{number}\n")
}

/// Starts a watermark or a count of refusals anew, whatever is written.
fn reset(write: Write<'_>, reset: fn(&PageCounter), which: Which) -> Result<()> {
    reset(match which {
        Which::Memory => &write.at.group.memory,
        Which::Swap => &write.at.group.swap,
    });
    Ok(())
}

/// Shows what is in use; root, which is never charged, shows the pages there are.
fn usage(at: At<'_>, which: Which) -> String {
    let stat_pages = |stat| at.groups.stat(at.group, stat).max(0) as u64;
    bytes_line(match (at.group.is_root(), which) {
        (false, Which::Memory) => at.group.memory.usage_pages(),
        (false, Which::Swap) => at.group.swap.usage_pages(),
        (true, Which::Memory) => stat_pages(MemcgStat::Anon),
        (true, Which::Swap) => stat_pages(MemcgStat::Anon) + stat_pages(MemcgStat::Swap),
    })
}

/// Nobody is ever under OOM: a charge that finds no memory fails.
fn oom_control(at: At<'_>) -> String {
    let is_disabled = u8::from(at.group.is_oom_kill_disabled());
    format!("oom_kill_disable {is_disabled}\nunder_oom 0\noom_kill {}\n", at.group.events(MemcgEvent::OomKill))
}

fn set_oom_control(write: Write<'_>) -> Result<()> {
    let is_disabled = write.number(1)? == 1;
    if write.at.group.is_root() {
        return Err(write.refused(Errno::INVAL, "the OOM killer stays on for root"));
    }
    write.at.group.set_oom_kill_disabled(is_disabled);
    Ok(())
}
