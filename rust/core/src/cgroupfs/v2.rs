//! The files of v2.

use super::Presence::{All, NonRoot};
use super::amount::{bytes_line, limit_line};
use super::stat::text_v2;
use super::{CgroupFile, TargetGroup};
use crate::memcg::{CounterKind, MemCgroup, MemcgEvent};

/// All files, in the order of their listing.
pub(super) const FILES: &[CgroupFile] = &[
    CgroupFile::new("memory.current", NonRoot, Some(|target| bytes_line(target.group.memory.usage_pages())), None),
    CgroupFile::new(
        "memory.peak",
        NonRoot,
        Some(|target| bytes_line(target.group.memory.watermark_pages())),
        Some(|write| {
            write.target.group.memory.reset_watermark();
            Ok(())
        }),
    ),
    CgroupFile::new(
        "memory.min",
        NonRoot,
        Some(|target| limit_line(target.group.min_pages())),
        Some(|write| {
            write.target.group.set_min_pages(write.limit_pages()?);
            Ok(())
        }),
    ),
    CgroupFile::new(
        "memory.low",
        NonRoot,
        Some(|target| limit_line(target.group.low_pages())),
        Some(|write| {
            write.target.group.set_low_pages(write.limit_pages()?);
            Ok(())
        }),
    ),
    CgroupFile::new(
        "memory.high",
        NonRoot,
        Some(|target| limit_line(target.group.memory.high_pages())),
        Some(|write| write.set_memory_high()),
    ),
    CgroupFile::new(
        "memory.max",
        NonRoot,
        Some(|target| limit_line(target.group.memory.max_pages())),
        Some(|write| write.set_memory_max()),
    ),
    CgroupFile::new("memory.events", NonRoot, Some(|target| events(target, MemCgroup::events)), None),
    CgroupFile::new("memory.events.local", NonRoot, Some(|target| events(target, MemCgroup::events_local)), None),
    CgroupFile::new("memory.stat", All, Some(text_v2), None),
    CgroupFile::new("memory.reclaim", All, None, Some(|write| write.reclaim())),
    CgroupFile::new("memory.swap.current", NonRoot, Some(|target| bytes_line(target.group.swap.usage_pages())), None),
    CgroupFile::new(
        "memory.swap.high",
        NonRoot,
        Some(|target| limit_line(target.group.swap.high_pages())),
        Some(|write| {
            write.target.groups.set_high(write.target.group, CounterKind::Swap, write.limit_pages()?);
            Ok(())
        }),
    ),
    CgroupFile::new(
        "memory.swap.max",
        NonRoot,
        Some(|target| limit_line(target.group.swap.max_pages())),
        Some(|write| {
            // Pages that are swapped out stay, because the limit applies to new charges only.
            write.target.group.swap.set_max(write.limit_pages()?);
            Ok(())
        }),
    ),
    CgroupFile::new(
        "memory.swap.peak",
        NonRoot,
        Some(|target| bytes_line(target.group.swap.watermark_pages())),
        Some(|write| {
            write.target.group.swap.reset_watermark();
            Ok(())
        }),
    ),
    CgroupFile::new("memory.swap.events", NonRoot, Some(swap_events), None),
    CgroupFile::new("memory.zswap.current", NonRoot, Some(|target| format!("{}\n", target.zswap_bytes())), None),
    CgroupFile::new(
        "memory.zswap.max",
        NonRoot,
        Some(|target| limit_line(target.group.zswap_max_pages())),
        Some(|write| {
            // Pages in zswap stay, because the limit applies to new pages only.
            write.target.group.set_zswap_max_pages(write.limit_pages()?);
            Ok(())
        }),
    ),
    CgroupFile::new(
        "memory.zswap.writeback",
        All,
        Some(|target| format!("{}\n", u8::from(target.group.may_zswap_writeback()))),
        Some(|write| {
            write.target.group.set_zswap_writeback(write.number(1)? == 1);
            Ok(())
        }),
    ),
];

/// Returns the text of `memory.events`. Sockets are never throttled here.
fn events(target: TargetGroup<'_>, count: fn(&MemCgroup, MemcgEvent) -> u64) -> String {
    use MemcgEvent::{High, Low, Max, Oom, OomGroupKill, OomKill};
    let named = [
        ("low", Low),
        ("high", High),
        ("max", Max),
        ("oom", Oom),
        ("oom_kill", OomKill),
        ("oom_group_kill", OomGroupKill),
    ];
    let mut text: String =
        named.iter().map(|(name, event)| format!("{name} {}\n", count(target.group, *event))).collect();
    text.push_str("sock_throttled 0\n");
    text
}

fn swap_events(target: TargetGroup<'_>) -> String {
    use MemcgEvent::{SwapFail, SwapHigh, SwapMax};
    let named = [("high", SwapHigh), ("max", SwapMax), ("fail", SwapFail)];
    named.iter().map(|(name, event)| format!("{name} {}\n", target.group.events(*event))).collect()
}
