//! The files of v2.

use super::On::{All, NonRoot};
use super::amount::{bytes_line, limit_line};
use super::stat::text_v2;
use super::{At, File};
use crate::memcg::{MemCgroup, MemcgEvent, Which};

/// Every file, in the order they are listed.
pub(super) const FILES: &[File] = &[
    File::new("memory.current", NonRoot, Some(|at| bytes_line(at.group.memory.usage_pages())), None),
    File::new(
        "memory.peak",
        NonRoot,
        Some(|at| bytes_line(at.group.memory.watermark_pages())),
        Some(|write| {
            write.at.group.memory.reset_watermark();
            Ok(())
        }),
    ),
    File::new(
        "memory.min",
        NonRoot,
        Some(|at| limit_line(at.group.min_pages())),
        Some(|write| {
            write.at.group.set_min_pages(write.limit_pages()?);
            Ok(())
        }),
    ),
    File::new(
        "memory.low",
        NonRoot,
        Some(|at| limit_line(at.group.low_pages())),
        Some(|write| {
            write.at.group.set_low_pages(write.limit_pages()?);
            Ok(())
        }),
    ),
    File::new(
        "memory.high",
        NonRoot,
        Some(|at| limit_line(at.group.memory.high_pages())),
        Some(|write| write.set_memory_high()),
    ),
    File::new(
        "memory.max",
        NonRoot,
        Some(|at| limit_line(at.group.memory.max_pages())),
        Some(|write| write.set_memory_max()),
    ),
    File::new("memory.events", NonRoot, Some(|at| events(at, MemCgroup::events)), None),
    File::new("memory.events.local", NonRoot, Some(|at| events(at, MemCgroup::events_local)), None),
    File::new("memory.stat", All, Some(text_v2), None),
    File::new("memory.reclaim", All, None, Some(|write| write.reclaim())),
    File::new("memory.swap.current", NonRoot, Some(|at| bytes_line(at.group.swap.usage_pages())), None),
    File::new(
        "memory.swap.high",
        NonRoot,
        Some(|at| limit_line(at.group.swap.high_pages())),
        Some(|write| {
            write.at.groups.set_high(write.at.group, Which::Swap, write.limit_pages()?);
            Ok(())
        }),
    ),
    File::new(
        "memory.swap.max",
        NonRoot,
        Some(|at| limit_line(at.group.swap.max_pages())),
        Some(|write| {
            // What is swapped out already stays: only new charges are refused.
            write.at.group.swap.set_max(write.limit_pages()?);
            Ok(())
        }),
    ),
    File::new(
        "memory.swap.peak",
        NonRoot,
        Some(|at| bytes_line(at.group.swap.watermark_pages())),
        Some(|write| {
            write.at.group.swap.reset_watermark();
            Ok(())
        }),
    ),
    File::new("memory.swap.events", NonRoot, Some(swap_events), None),
    File::new("memory.zswap.current", NonRoot, Some(|at| format!("{}\n", at.zswap_bytes())), None),
    File::new(
        "memory.zswap.max",
        NonRoot,
        Some(|at| limit_line(at.group.zswap_max_pages())),
        Some(|write| {
            // What is there stays: only new pages are refused.
            write.at.group.set_zswap_max_pages(write.limit_pages()?);
            Ok(())
        }),
    ),
    File::new(
        "memory.zswap.writeback",
        All,
        Some(|at| format!("{}\n", u8::from(at.group.may_zswap_writeback()))),
        Some(|write| {
            write.at.group.set_zswap_writeback(write.number(1)? == 1);
            Ok(())
        }),
    ),
];

/// Shows `memory.events`; nothing throttles sockets here.
fn events(at: At<'_>, count: fn(&MemCgroup, MemcgEvent) -> u64) -> String {
    use MemcgEvent::{High, Low, Max, Oom, OomGroupKill, OomKill};
    let named = [
        ("low", Low),
        ("high", High),
        ("max", Max),
        ("oom", Oom),
        ("oom_kill", OomKill),
        ("oom_group_kill", OomGroupKill),
    ];
    let mut text: String = named.iter().map(|(name, event)| format!("{name} {}\n", count(at.group, *event))).collect();
    text.push_str("sock_throttled 0\n");
    text
}

fn swap_events(at: At<'_>) -> String {
    use MemcgEvent::{SwapFail, SwapHigh, SwapMax};
    let named = [("high", SwapHigh), ("max", SwapMax), ("fail", SwapFail)];
    named.iter().map(|(name, event)| format!("{name} {}\n", at.group.events(*event))).collect()
}
